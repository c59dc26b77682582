--
-- Batches: one call for several tasks
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA batches;
SET search_path = batches, public;

CREATE TABLE users (id int PRIMARY KEY, name text);
INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 10) AS i;
CREATE TABLE calls (n serial, ids int[], note text);
SELECT asynctasq.register_model('batches.User', 'users');

-- failures(): and what else there is to know after drain()
CREATE FUNCTION failures() RETURNS TABLE (args jsonb, sqlstate text, message text) LANGUAGE sql AS $$
	SELECT args, error ->> 'sqlstate', error ->> 'message' FROM asynctasq.dead_letters ORDER BY id
$$;

-- one call, an element for each task; order is that of the tasks
CREATE FUNCTION add(a int[], b text[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO batches.calls (ids, note) VALUES (a, array_to_string(b, ',', '-'))
$$;
SELECT asynctasq.register_handler('add', 'add(int[], text[])', batch_size => 4);
SELECT count(asynctasq.dispatch('add', asynctasq.args('a', i, 'b', CASE WHEN i <> 3 THEN 't' || i END)))
FROM generate_series(1, 10) AS i;
SELECT asynctasq.drain();
SELECT ids, note FROM calls ORDER BY n;
TRUNCATE calls;

-- what is asked of the function
CREATE FUNCTION scalar(a int) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT asynctasq.register_handler('scalar', 'scalar(int)', batch_size => 4);
CREATE FUNCTION vectors(a int2vector, b oidvector) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT asynctasq.register_handler('vectors', 'vectors(int2vector, oidvector)', batch_size => 4);
SELECT asynctasq.register_handler('add', 'add(int[], text[])', batch_size => 0);
SELECT asynctasq.register_handler('add', 'add(int[], text[])', batch_size => 1001);
SELECT asynctasq.register_handler('add', 'add(int[], text[])', batch_size => 4, group_size => 4);

-- references of all tasks are read by one query, of any model and type
CREATE FUNCTION greet(u users[], at timestamptz[], extra jsonb[], raw asynctasq.msgpack[])
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	names text[];
BEGIN
	FOR i IN 1 .. cardinality(u) LOOP
		names[i] := u[i].name;
	END LOOP;
	INSERT INTO batches.calls (note) VALUES (names), (array_length(at, 1)), (extra), (raw[10]);
	RETURN names;
END $$;
SELECT asynctasq.register_handler('greet', 'greet(users[], timestamptz[], jsonb[], asynctasq.msgpack[])',
	batch_size => 100, keep_result => true);
SELECT min(asynctasq.dispatch('greet', asynctasq.args('u', u, 'at', now(), 'extra', ARRAY[u.id],
	'raw', asynctasq.ref('batches.User', u.id)))) AS first FROM users AS u \gset
SELECT asynctasq.drain();
SELECT note FROM calls ORDER BY n;
TRUNCATE calls;
-- each task has its element of the result
SELECT asynctasq.result(:first), asynctasq.result(:first + 9);

-- or the result, where it is no array
CREATE FUNCTION total(a int[]) RETURNS bigint LANGUAGE sql AS $$ SELECT sum(x) FROM unnest(a) AS x $$;
SELECT asynctasq.register_handler('total', 'total(int[])', batch_size => 3, keep_result => true);
SELECT min(asynctasq.dispatch('total', asynctasq.args('a', i))) AS first FROM generate_series(1, 4) AS i \gset
SELECT asynctasq.drain();
SELECT asynctasq.result(:first), asynctasq.result(:first + 2), asynctasq.result(:first + 3);
-- null is null for each
CREATE FUNCTION nothing(a int[]) RETURNS int[] LANGUAGE sql AS $$ SELECT NULL::int[] $$;
SELECT asynctasq.register_handler('nothing', 'nothing(int[])', batch_size => 3, keep_result => true);
SELECT min(asynctasq.dispatch('nothing', asynctasq.args('a', i))) AS first FROM generate_series(1, 2) AS i \gset
SELECT asynctasq.drain();
SELECT asynctasq.result(:first), asynctasq.result(:first + 1);
-- an array of another length is an error
CREATE FUNCTION too_few(a int[]) RETURNS int[] LANGUAGE sql AS $$ SELECT a[2:] $$;
SELECT asynctasq.register_handler('too_few', 'too_few(int[])', batch_size => 3, keep_result => true, max_attempts => 1);
SELECT count(asynctasq.dispatch('too_few', asynctasq.args('a', i))) FROM generate_series(1, 2) AS i;
SELECT asynctasq.drain();
SELECT * FROM failures();
SELECT asynctasq.purge_queue('default', true);

-- an error: halves, down to the one that fails; the others are done once
CREATE FUNCTION picky(a int[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO batches.calls (ids) VALUES (a);
	IF 3 = ANY (a) OR 8 = ANY (a) THEN
		RAISE EXCEPTION 'not with %', a;
	END IF;
END $$;
SELECT asynctasq.register_handler('picky', 'picky(int[])', batch_size => 10, max_attempts => 1);
SELECT count(asynctasq.dispatch('picky', asynctasq.args('a', i))) FROM generate_series(1, 10) AS i;
SELECT asynctasq.drain();
SELECT ids FROM calls ORDER BY n;
SELECT * FROM failures();
TRUNCATE calls;
SELECT asynctasq.purge_queue('default', true);

-- arguments that cannot be bound are their own task's failure
SELECT count(asynctasq.dispatch('add', args)) FROM (VALUES
	('{"a": 1, "b": "x"}'::asynctasq.msgpack), ('{"a": 2}'), ('{"a": "no", "b": "x"}'),
	('{"a": 3, "b": "x", "c": 1}'), ('{"a": 4, "b": "x"}')) AS t (args);
SELECT asynctasq.drain();
SELECT ids, note FROM calls ORDER BY n;
SELECT * FROM failures();
TRUNCATE calls;
SELECT asynctasq.purge_queue('default', true);

-- nor is an array passed that its domain does not allow
CREATE DOMAIN pairs AS int[] CHECK (cardinality(VALUE) <= 2 AND 3 <> ALL (VALUE));
CREATE FUNCTION checked(a pairs) RETURNS void LANGUAGE sql AS $$
	INSERT INTO batches.calls (ids) VALUES (a)
$$;
SELECT asynctasq.register_handler('checked', 'checked(pairs)', batch_size => 10, max_attempts => 1);
SELECT count(asynctasq.dispatch('checked', asynctasq.args('a', i))) FROM generate_series(1, 4) AS i;
SELECT asynctasq.drain();
SELECT ids FROM calls ORDER BY n;
SELECT * FROM failures();
TRUNCATE calls;
SELECT asynctasq.purge_queue('default', true);

-- a default cannot stand for one task's element
CREATE FUNCTION defaults(a int[], b int[] DEFAULT '{7}') RETURNS void LANGUAGE sql AS $$
	INSERT INTO batches.calls (ids) VALUES (a)
$$;
SELECT asynctasq.register_handler('defaults', 'defaults(int[], int[])', batch_size => 10, max_attempts => 1);
SELECT asynctasq.dispatch('defaults', '{"a": 1}') > 0 AS ok;
SELECT asynctasq.drain();
SELECT * FROM failures();
SELECT asynctasq.purge_queue('default', true);

-- nor does it what a type's name has come to mean
CREATE DOMAIN changing AS int[];
CREATE FUNCTION changed(a changing) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT asynctasq.register_handler('changed', 'changed(changing)', batch_size => 10, max_attempts => 1);
DROP FUNCTION changed;
DROP DOMAIN changing;
CREATE DOMAIN changing AS int;
CREATE FUNCTION changed(a changing) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT asynctasq.dispatch('changed', '{"a": 1}') > 0 AS ok;
SELECT asynctasq.drain();
SELECT * FROM failures();
SELECT asynctasq.purge_queue('default', true);

-- missing rows, as the model has it
CREATE FUNCTION names(u users[]) RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(x.name) FROM unnest(u) AS x
$$;
SELECT asynctasq.register_handler('names', 'names(users[])', batch_size => 10, max_attempts => 1, keep_result => true);
SELECT asynctasq.register_model('batches.User', 'users', on_missing => 'error');
SELECT min(asynctasq.dispatch('names', asynctasq.args('u', asynctasq.ref('batches.User', i)))) AS first
FROM generate_series(9, 12) AS i \gset
SELECT asynctasq.drain();
SELECT asynctasq.result(:first), asynctasq.result(:first + 1), asynctasq.result(:first + 2);
SELECT * FROM failures();
SELECT asynctasq.purge_queue('default', true);

-- all arguments of each task as one element
CREATE FUNCTION whole(all_args jsonb[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO batches.calls (note) VALUES (array_to_string(all_args, ' '))
$$;
SELECT asynctasq.register_handler('whole', 'whole(jsonb[])', batch_size => 10);
SELECT count(asynctasq.dispatch('whole', asynctasq.args('i', i))) FROM generate_series(1, 3) AS i;
SELECT asynctasq.drain();
SELECT note FROM calls;
TRUNCATE calls;

-- only consecutive tasks of one handler, and as many as asked for
SELECT asynctasq.dispatch('total', asynctasq.args('a', 1)), asynctasq.dispatch('add', asynctasq.args('a', 1, 'b', 'x')),
	asynctasq.dispatch('add', asynctasq.args('a', 2, 'b', 'x')), asynctasq.dispatch('total', asynctasq.args('a', 1)),
	asynctasq.dispatch('add', asynctasq.args('a', 3, 'b', 'x')), asynctasq.dispatch('add', asynctasq.args('a', 4, 'b', 'x')) \gset ignored_
SELECT asynctasq.drain(max_tasks => 5);
SELECT asynctasq.drain();
SELECT ids FROM calls ORDER BY n;

RESET search_path;
SELECT asynctasq.unregister_handler(h) FROM unnest('{add,greet,total,nothing,too_few,picky,checked,defaults,changed,names,whole}'::text[]) AS h;
SELECT asynctasq.unregister_model('batches.User');
\set VERBOSITY terse
DROP SCHEMA batches CASCADE;
