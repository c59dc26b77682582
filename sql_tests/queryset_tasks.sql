--
-- Query sets as arguments of tasks, and a task for each row of one
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA queryset_tasks;
SET search_path = queryset_tasks, asynctasq, public;
SET timezone = 'UTC';
CREATE TABLE users (id int PRIMARY KEY, name text, active boolean, born date, spent numeric, extra jsonb);
CREATE TABLE posts (id int PRIMARY KEY, author_id int NOT NULL REFERENCES users, title text);
CREATE TABLE lines (order_id int, day timestamptz, code uuid, qty int, PRIMARY KEY (day, code, order_id));
CREATE TABLE plain (id int PRIMARY KEY, name text);
CREATE TABLE heap (id int, name text);
CREATE VIEW loose AS SELECT id, name FROM heap;
INSERT INTO users SELECT i, 'user ' || i, i % 2 = 1, date '2020-01-01' + i, i + 0.5, jsonb_build_object('n', i) FROM generate_series(1, 5) AS i;
INSERT INTO users VALUES (9, 'tagged', NULL, NULL, NULL, '{"no": {"__uuid__": "no uuid"}, "set": {"__set__": [1]}, "map": {"__map__": [["a", 1]]}}');
INSERT INTO posts SELECT i, i % 2 + 1, 'post ' || i FROM generate_series(1, 4) AS i;
INSERT INTO lines VALUES (10, '2024-01-02 03:04:05.6+00', '12345678-1234-5678-1234-567812345678', 7), (11, '2024-01-02 03:04:05.6+00', '12345678-1234-5678-1234-567812345678', 8);
INSERT INTO plain VALUES (1, 'plain');
INSERT INTO heap VALUES (1, 'one'), (NULL, 'no key');
SELECT register_model('User', 'users'), register_model('blog.Post', 'posts', orm => 'django'),
	register_model('Line', 'lines', orm => 'tortoise', key => '{order_id,day,code}'), register_model('Loose', 'loose', key => '{id}');

CREATE TABLE got (n serial, value text);
CREATE FUNCTION outcome() RETURNS TABLE (task text, sqlstate text, message text, context text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.drain();
	RETURN QUERY
		SELECT d.task, d.error ->> 'sqlstate',
			(d.error ->> 'message') || coalesce(' | ' || (d.error ->> 'detail'), '') || coalesce(' | ' || (d.error ->> 'hint'), ''),
			substring(d.error ->> 'context' FROM 'argument[^\n]*')
		FROM asynctasq.dead_letters d ORDER BY d.id;
	PERFORM asynctasq.purge_queue('default', true);
END $$;
CREATE FUNCTION take_rows(us users[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO got (value) SELECT format('%s rows: %s', cardinality(us), (SELECT string_agg(u.name, ', ' ORDER BY ord) FROM unnest(us) WITH ORDINALITY AS u (id, name, active, born, spent, extra, ord)))
$$;
CREATE FUNCTION take_json(us jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) VALUES (us) $$;
CREATE FUNCTION take_text_json(us json, x int) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) VALUES (us) $$;
CREATE FUNCTION take_elements(us jsonb[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) VALUES (us) $$;
CREATE FUNCTION take_lazy(us queryset) RETURNS void LANGUAGE sql AS $$
	INSERT INTO got (value) VALUES (us), (asynctasq.count(asynctasq.filter(us, '{"active": true}')))
$$;
CREATE FUNCTION take_lazies(us queryset[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) SELECT asynctasq.count(u) FROM unnest(us) AS u $$;
CREATE FUNCTION take_msgpack(us msgpack) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) VALUES (us), (asynctasq.fetch(us)) $$;
CREATE FUNCTION take_user(us users) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) VALUES (us.name) $$;
CREATE FUNCTION take_int(us int) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION take_text(us text) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION take_texts(us text[]) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION take_posts(us posts[]) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE DOMAIN few AS users[] CHECK (cardinality(VALUE) < 4);
CREATE FUNCTION take_few(us few) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) VALUES (cardinality(us)) $$;
SELECT register_handler(proname, oid::regprocedure, max_attempts => 2, retry_delay => '0 s') FROM pg_proc WHERE pronamespace = 'queryset_tasks'::regnamespace AND proname ~ '^take_';

-- what it is on its way
SELECT args('us', filter(objects('User'), '{"id__lte": 3}'));
SELECT args('us', ARRAY[objects('User'), order_by(objects('blog.Post', 'django'), '-id')], 'set', set(ARRAY[objects('User')]));
SELECT args('us', filter(objects('User'), '{"extra": {"no": {"__uuid__": "no uuid"}, "set": {"__set__": [1]}, "map": {"__map__": [["a", 1]]}}, "spent": 1.50, "id__in": [1, 1e30, 0.1]}'))::bytea;
SELECT (args('us', filter(objects('User'), '{"extra": {"__uuid__": "no uuid"}}')) -> 'us')::jsonb;

-- and what arrives: rows, as they are when the task runs
SELECT dispatch(task, args('us', order_by(filter(objects('User'), '{"id__lte": 3}'), '-id'))) > 0 AS ok
FROM unnest('{take_rows,take_json,take_elements,take_lazy,take_msgpack,take_few}'::text[]) AS task;
SELECT dispatch('take_text_json', args('us', values_list(order_by(objects('User'), 'id'), true, 'id'), 'x', 1)) > 0 AS ok;
UPDATE users SET name = 'fresh' WHERE id = 2;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;
-- none
SELECT dispatch(task, args('us', filter(objects('User'), '{"id": -1}'))) > 0 AS ok FROM unnest('{take_rows,take_json,take_elements,take_lazies}'::text[]) AS task;
SELECT dispatch('take_lazies', args('us', ARRAY[objects('User'), objects('blog.Post')])) > 0 AS ok;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;
-- what looks like a tag is none, on both ways
SELECT dispatch(task, args('us', filter(objects('User'), '{"extra": {"no": {"__uuid__": "no uuid"}, "set": {"__set__": [1]}, "map": {"__map__": [["a", 1]]}}}'))) > 0 AS ok
FROM unnest('{take_rows,take_lazy}'::text[]) AS task;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;
-- in forms of their own, nested, beside references, and all arguments as one
SELECT dispatch('take_json', args('us', args(
	'values', asynctasq.values(order_by(filter(objects('User'), '{"id__in": [1, 2]}'), 'id'), 'id', 'active'),
	'related', set(ARRAY[order_by(select_related(filter(objects('blog.Post'), '{"author__name": "user 1"}'), 'author'), '-pk')]),
	'list', ARRAY[args('deep', values_list(slice(order_by(objects('User'), 'id'), 1, 3), true, 'name')), args('user', u)]))) > 0 AS ok FROM users AS u WHERE id = 4;
SELECT dispatch('take_json', args('one', values_list(slice(order_by(objects('User'), 'id'), 0, 1), true, 'name'), 'two', ref('User', 1))) > 0 AS ok;
SELECT * FROM outcome();
SELECT jsonb_pretty(value::jsonb) FROM got ORDER BY n;
TRUNCATE got;
-- as Python may write it: what JSON lacks becomes what a lookup takes
SELECT dispatch('take_rows', '{"us": {"__orm_queryset__": {"class": "User", "order_by": ["id"], "where": [{"born__gte": {"__date__": "2020-01-03"}},
	{"spent__lt": {"__decimal__": "5.50"}}, {"id__in": {"__set__": [1, 2, 3]}}]}}}') > 0 AS ok;
-- and what only looks like a query set
SELECT dispatch('take_json', '{"us": [{"__orm_queryset__": 5}, {"__orm_queryset__": {"class": "User"}, "x": 1}, {"__orm_queryset__": []}]}') > 0 AS ok;
-- a row that a reference inside of one names is nobody's
SELECT dispatch('take_lazy', args('us', filter(objects('User'), '{"extra": {"__orm:sqlalchemy__": 1, "__orm_class__": "Nobody"}}'))) > 0 AS ok;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;

-- types that take none
SELECT dispatch(task, args('us', objects('User'))) > 0 AS ok FROM unnest('{take_user,take_int,take_text,take_texts,take_posts,take_few}'::text[]) AS task;
SELECT * FROM outcome();
-- what is wrong with it: an error before the handler, so a dead letter at the first of two attempts
SELECT dispatch('take_rows', format('{"us": {"__orm_queryset__": %s}}', set)::msgpack) > 0 AS ok FROM unnest(ARRAY[
	'{}', '{"class": 5}', '{"class": "User", "were": []}', '{"class": "User", "where": 5}', '{"class": "Usr"}', '{"class": "User", "orm": "django"}',
	'{"class": "User", "where": [{"nme": 1}]}', '{"class": "User", "where": [{"name__lik": 1}]}', '{"class": "User", "where": [{"id": "one"}]}', '{"class": "users; DROP TABLE x"}']) AS set;
SELECT dispatch('take_lazy', '{"us": {"__orm_queryset__": {"class": "User", "were": []}}}') > 0 AS ok;
SELECT dispatch('take_lazy', '{"us": {"class": "User"}}') > 0 AS ok;
-- rows are rows, whatever else the set would give
SELECT dispatch('take_rows', args('us', asynctasq.values(order_by(asynctasq.only(filter(objects('User'), '{"id__lt": 4}'), 'id'), 'id'), 'id'))) > 0 AS ok;
SELECT * FROM outcome();
SELECT asynctasq.fetch(NULL::users, args('x', objects('User')) -> 'x');
SELECT fetch_related(args('x', objects('User')) -> 'x', 'id');
SELECT asynctasq.fetch(args('x', values_list(order_by(filter(objects('User'), '{"id__in": [1, 2]}'), 'id'), true, 'name'), 'u', ref('User', 3)));
TABLE got;

-- batches: each task's by itself
CREATE FUNCTION batch(us jsonb[], qs queryset[], fs few[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO got (value) SELECT format('%s %s %s', u, asynctasq.count(q), cardinality(f)) FROM unnest(us, qs, fs) AS x (u, q, f)
$$;
SELECT register_handler('batch', 'batch(jsonb[], queryset[], few[])', batch_size => 10, max_attempts => 2);
SELECT dispatch('batch', args('us', values_list(filter(objects('User'), jsonb_build_object('id', i)), true, 'name'), 'qs', filter(objects('User'), jsonb_build_object('id__lt', i)),
	'fs', slice(objects('User'), 0, i))) > 0 AS ok FROM generate_series(1, 4) AS i;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY value;
TRUNCATE got;
-- a lock is for references
SELECT register_handler('take_json', 'take_json(jsonb)', lock => 'update');
BEGIN;
SELECT dispatch('take_json', args('us', values_list(filter(objects('User'), '{"id": 4}'), true, 'id'))) > 0 AS ok;
SELECT drain();
SELECT xmax = 0 AS not_locked FROM users WHERE id = 4;
SELECT dispatch('take_json', args('us', ref('User', 4))) > 0 AS ok;
SELECT drain();
SELECT xmax = 0 AS not_locked FROM users WHERE id = 4;
ROLLBACK;

--
-- dispatch_each(): in the set's order, with the row's reference beside what is given
--
CREATE FUNCTION one("user" users, note text DEFAULT '-', x int DEFAULT 0) RETURNS void LANGUAGE sql AS $$ INSERT INTO got (value) VALUES (concat_ws(' ', "user".name, note, x)) $$;
SELECT register_handler('one', 'one(users, text, int)', max_attempts => 1, priority => 3, queue => 'default');
SELECT dispatch_each('one', order_by(filter(objects('User'), '{"id__lt": 4}'), '-id'), 'user');
SELECT dispatch_each('one', slice(order_by(objects('User'), 'id'), 1, 3), 'user', args('note', 'given', 'x', 7));
SELECT dispatch_each('one', asynctasq.values(filter(objects('User'), '{"id": 1}'), 'name'), 'user', '{"__args__": [], "__kwargs__": {"note": "by name"}}');
SELECT dispatch_each('one', filter(objects('User'), '{"id": 1}'), 'user', '{"__args__": 5, "__kwargs__": 6}');
SELECT dispatch_each('one', filter(objects('User'), '{"id": -1}'), 'user');
SELECT args, priority, attempt, status, queue FROM tasks ORDER BY id;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;
-- keys of all kinds, classes of all ORMs, and a table that is no model
SELECT register_handler('take_json', 'take_json(jsonb)');
SELECT dispatch_each('take_json', filter(objects('blog.Post'), '{"author__name__startswith": "user", "id": 2}'), 'x'), dispatch_each('take_json', order_by(objects('Line'), 'order_id'), 'x'),
	dispatch_each('take_json', objects('queryset_tasks.plain'), 'x'), dispatch_each('take_json', filter(objects('Loose'), '{"id__isnull": false}'), 'x');
SELECT args FROM tasks ORDER BY id;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;
-- of a set that leads along relations to many, each row once
SELECT dispatch_each('one', filter(objects('User'), '{"posts__id__gt": 0}'), 'user');
SELECT count(*) FROM tasks;
SELECT purge_queue('default');

-- into a queue that is made for them
SELECT register_handler('elsewhere', 'take_json(jsonb)', queue => 'made');
SELECT dispatch_each('elsewhere', filter(objects('User'), '{"id": 4}'), 'x');
SELECT drain('made');
SELECT value::jsonb #> '{x,name}' FROM got;
TRUNCATE got;

-- refused, whatever the rows: nothing is dispatched
SELECT dispatch_each('one', objects('User'), 'user', '{"user": 1}');
SELECT dispatch_each('one', filter(objects('User'), '{"id": -1}'), 'user', '{"user": 1}');
SELECT dispatch_each('one', objects('User'), 'user', '{"__args__": [], "__kwargs__": {"user": 1}}');
SELECT dispatch_each('one', objects('User'), 'user', '5');
SELECT dispatch_each('nobody', objects('User'), 'user');
SELECT dispatch_each('one', objects('queryset_tasks.heap'), 'user');
SELECT dispatch_each('one', objects('Loose'), 'user');
SELECT dispatch_each('one', annotate(asynctasq.values(objects('User'), 'active'), '{"n": {"Count": "*"}}'), 'user');
SELECT dispatch_each('one', filter(objects('User'), '{"nme": 1}'), 'user');
SELECT dispatch_each(NULL, objects('User'), 'user');
SELECT dispatch_each('one', NULL, 'user');
SELECT dispatch_each('one', objects('User'), NULL);
SELECT dispatch_each('one', objects('User'), 'user', NULL);
BEGIN READ ONLY;
SELECT dispatch_each('one', objects('User'), 'user');
ROLLBACK;
\set VERBOSITY sqlstate
SELECT dispatch_each('one', objects('User'), 'user', '{"user": 1}');
SELECT dispatch_each('one', objects('User'), 'user', '5');
SELECT dispatch_each('nobody', objects('User'), 'user');
SELECT dispatch_each('one', objects('queryset_tasks.heap'), 'user');
SELECT dispatch_each('one', objects('Loose'), 'user');
SELECT dispatch_each('one', annotate(asynctasq.values(objects('User'), 'active'), '{"n": {"Count": "*"}}'), 'user');
SELECT dispatch_each('one', NULL, 'user');
SET asynctasq.max_payload = '1kB';
SELECT dispatch_each('one', objects('User'), 'user', args('note', repeat('x', 990)));
RESET asynctasq.max_payload;
\set VERBOSITY default
SELECT count(*) FROM tasks;

RESET search_path;
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA queryset_tasks CASCADE;
