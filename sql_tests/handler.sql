--
-- Calling handlers: binding of arguments, results, and what is refused
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA handlers;
SET search_path = handlers, public;
CREATE TABLE got (n serial, handler text, value text);

-- runs what was dispatched and shows what came of it
CREATE FUNCTION outcome() RETURNS TABLE (task text, outcome text, sqlstate text, message text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.drain();
	RETURN QUERY
		SELECT d.task, 'failed', d.error ->> 'sqlstate',
			(d.error ->> 'message') || coalesce(' | ' || replace(d.error ->> 'hint', d.id::text, 'ID'), '')
		FROM asynctasq.dead_letters d ORDER BY d.id;
	PERFORM asynctasq.purge_queue('default', true);
END $$;

--
-- by name, by position, with defaults
--
CREATE FUNCTION note(a int, b text DEFAULT 'dflt', c numeric DEFAULT 1 + 1) RETURNS void
LANGUAGE sql AS $$ INSERT INTO handlers.got (handler, value) VALUES ('note', format('%s %s %s', a, b, c)) $$;
SELECT asynctasq.register_handler('note', 'note(int, text, numeric)', max_attempts => 1);
SELECT asynctasq.dispatch('note', asynctasq.args('a', 1)) > 0 AS ok;
SELECT asynctasq.dispatch('note', asynctasq.args('c', 3.5, 'a', 2)) > 0 AS ok;
SELECT asynctasq.dispatch('note', '{"__args__": [3, "x"], "__kwargs__": {"c": 7}}') > 0 AS ok;
SELECT asynctasq.dispatch('note', '{"__args__": [4, null, {"__decimal__": "1.20"}], "__kwargs__": {}}') > 0 AS ok;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;

--
-- arguments that do not fit: dead letters at once, nothing called
--
SELECT asynctasq.register_handler('note', 'note(int, text, numeric)', max_attempts => 3);
SELECT asynctasq.dispatch('note') > 0 AS missing;
SELECT asynctasq.dispatch('note', asynctasq.args('a', 1, 'z', 1)) > 0 AS surplus;
SELECT asynctasq.dispatch('note', asynctasq.args('a', 'x')) > 0 AS wrong_type;
SELECT asynctasq.dispatch('note', asynctasq.args('a', 3000000000)) > 0 AS out_of_range;
SELECT asynctasq.dispatch('note', '{"__args__": [1], "__kwargs__": {"a": 2}}') > 0 AS twice;
SELECT asynctasq.dispatch('note', '{"__args__": [1, "2", 3, 4], "__kwargs__": {}}') > 0 AS too_many;
SELECT asynctasq.dispatch('note', '{"__args__": {}, "__kwargs__": {}}') > 0 AS no_array;
SELECT asynctasq.dispatch('note', '{"__args__": [], "__kwargs__": []}') > 0 AS no_map;
SELECT * FROM outcome();
SELECT count(*) FROM got;
-- nor does what a domain refuses become good by waiting
CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0);
CREATE FUNCTION count_down(n positive) RETURNS void LANGUAGE sql AS '';
SELECT asynctasq.register_handler('count_down', 'count_down(positive)');
SELECT count(asynctasq.dispatch('count_down', asynctasq.args('n', n))) FROM unnest(ARRAY[0, NULL, 1]) AS n;
SELECT * FROM outcome();

-- what decoding writes is there when the handler is called
CREATE FUNCTION noted(value int) RETURNS bool LANGUAGE sql AS $$ INSERT INTO handlers.got (value) VALUES (value) RETURNING true $$;
CREATE DOMAIN noted AS int CHECK (handlers.noted(VALUE));
CREATE FUNCTION count_noted(given noted) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM handlers.got WHERE value = given::text';
SELECT asynctasq.register_handler('count_noted', 'count_noted(noted)', keep_result => true);
SELECT asynctasq.dispatch('count_noted', asynctasq.args('given', 7)) AS noted \gset
SELECT * FROM outcome();
SELECT asynctasq.result(:noted);
TRUNCATE got;

--
-- every kind of scalar
--
CREATE FUNCTION scalars(b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, t text,
	v varchar, y bytea, u uuid, d date, ts timestamp, tz timestamptz, ti time, iv interval, ia int[], ta text[])
RETURNS void LANGUAGE sql AS $$
	INSERT INTO handlers.got (handler, value) VALUES ('scalars',
		concat_ws(' ', b, i2, i4, i8, f4, f8, n, t, v, y, u, d, ts, tz, ti, iv, ia, ta))
$$;
SELECT asynctasq.register_handler('scalars', (SELECT oid::regprocedure FROM pg_proc WHERE proname = 'scalars'), max_attempts => 1);
SET timezone = 'UTC';
SET intervalstyle = 'iso_8601';
SELECT asynctasq.dispatch('scalars', asynctasq.args('b', true, 'i2', 1::int2, 'i4', -2, 'i8', 9223372036854775807,
	'f4', 1.5, 'f8', 'NaN'::float8, 'n', 123456789012345678901234567890.5, 't', 'é'::text, 'v', 'w'::varchar,
	'y', '\x00ff'::bytea, 'u', '12345678-1234-5678-1234-567812345678'::uuid, 'd', '2024-02-29'::date,
	'ts', '2024-01-02 03:04:05.678'::timestamp, 'tz', '2024-01-02 03:04:05+02'::timestamptz,
	'ti', '12:34:56'::time, 'iv', '1 day 2 seconds'::interval, 'ia', ARRAY[1, NULL, 3], 'ta', ARRAY['a', 'b'])) > 0 AS ok;
SELECT * FROM outcome();
SELECT value FROM got;
TRUNCATE got;

--
-- one jsonb parameter takes all arguments, unless one bears its name
--
CREATE FUNCTION everything(payload jsonb) RETURNS jsonb
LANGUAGE sql AS $$ INSERT INTO handlers.got (handler, value) VALUES ('everything', payload::text) RETURNING payload $$;
SELECT asynctasq.register_handler('everything', 'everything(jsonb)', keep_result => true);
SELECT asynctasq.dispatch('everything', asynctasq.args('a', 1, 'when', '2024-01-02'::date, 'n', 1.50,
	'set', asynctasq.set(ARRAY[1, 2]), 'bytes', '\x0102'::bytea)) > 0 AS ok;
SELECT asynctasq.dispatch('everything', asynctasq.args('payload', 'only this')) > 0 AS ok;
SELECT asynctasq.dispatch('everything') > 0 AS ok;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;

--
-- results
--
CREATE FUNCTION gives(what text) RETURNS text LANGUAGE sql AS $$ SELECT what $$;
CREATE FUNCTION gives_row(OUT a int, OUT b text) LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION gives_nothing() RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION strictly(a int, b int) RETURNS int LANGUAGE sql STRICT AS $$ SELECT a + b $$;
SELECT asynctasq.register_handler('gives', 'gives(text)', keep_result => true),
	asynctasq.register_handler('gives_row', 'gives_row()', keep_result => true),
	asynctasq.register_handler('gives_nothing', 'gives_nothing()', keep_result => true),
	asynctasq.register_handler('strictly', 'strictly(int, int)', keep_result => true);
SELECT asynctasq.dispatch('gives', asynctasq.args('what', 'it')) AS id \gset a_
SELECT asynctasq.dispatch('gives', asynctasq.args('what', NULL::text)) AS id \gset b_
SELECT asynctasq.dispatch('gives_row') AS id \gset c_
SELECT asynctasq.dispatch('gives_nothing') AS id \gset d_
SELECT asynctasq.dispatch('strictly', asynctasq.args('a', 1, 'b', 2)) AS id \gset e_
SELECT asynctasq.dispatch('strictly', asynctasq.args('a', 1, 'b', NULL::int)) AS id \gset f_
SELECT * FROM outcome();
SELECT asynctasq.result(:a_id), asynctasq.result(:b_id), asynctasq.result(:c_id),
	asynctasq.result(:d_id), asynctasq.result(:e_id), asynctasq.result(:f_id);

-- other kinds of results and parameters
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION gives_pair() RETURNS pair LANGUAGE sql RETURN ROW(1, 'x')::pair;
CREATE FUNCTION gives_record() RETURNS record LANGUAGE sql AS $$ SELECT 1 AS a, 'x'::text AS b $$;
CREATE FUNCTION gives_positive(n int) RETURNS positive LANGUAGE plpgsql AS $$ BEGIN RETURN n; END $$;
CREATE FUNCTION increments(INOUT n int) LANGUAGE sql AS $$ SELECT n + 1 $$;
CREATE FUNCTION counts(VARIADIC n int[]) RETURNS int LANGUAGE sql RETURN cardinality(n);
SELECT asynctasq.register_handler('gives_pair', 'gives_pair()', keep_result => true),
	asynctasq.register_handler('gives_record', 'gives_record()', keep_result => true),
	asynctasq.register_handler('gives_positive', 'gives_positive(int)', keep_result => true, max_attempts => 1),
	asynctasq.register_handler('increments', 'increments(int)', keep_result => true),
	asynctasq.register_handler('counts', 'counts(int[])', keep_result => true, max_attempts => 1);
SELECT asynctasq.dispatch('gives_pair') AS id \gset a_
SELECT asynctasq.dispatch('gives_record') AS id \gset b_
SELECT asynctasq.dispatch('gives_positive', '{"n": 1}') AS id \gset c_
SELECT asynctasq.dispatch('gives_positive', '{"n": -1}') AS id \gset d_
SELECT asynctasq.dispatch('increments', '{"n": 1}') AS id \gset e_
SELECT asynctasq.dispatch('counts', '{"n": [1, 2]}') AS id \gset f_
SELECT asynctasq.dispatch('counts', '{"__args__": [[1, 2, 3]], "__kwargs__": {}}') AS id \gset g_
SELECT asynctasq.dispatch('counts', '{"__args__": [1, 2, 3], "__kwargs__": {}}') AS id \gset h_
SELECT * FROM outcome();
SELECT asynctasq.result(:a_id), asynctasq.result(:b_id), asynctasq.result(:c_id), asynctasq.result(:e_id),
	asynctasq.result(:f_id), asynctasq.result(:g_id);

-- no transaction ends inside
CREATE FUNCTION commits() RETURNS void LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE FUNCTION rolls_back() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ROLLBACK; END $$;
CREATE PROCEDURE commit_here() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE PROCEDURE roll_back_here() LANGUAGE plpgsql AS $$ BEGIN ROLLBACK; END $$;
CREATE FUNCTION calls_commit() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL handlers.commit_here(); END $$;
CREATE FUNCTION calls_rollback() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL handlers.roll_back_here(); END $$;
SELECT asynctasq.register_handler(f, (f || '()')::regprocedure, max_attempts => 1), asynctasq.dispatch(f) > 0 AS ok
FROM unnest('{commits,rolls_back,calls_commit,calls_rollback}'::text[]) AS f;
SELECT * FROM outcome();

--
-- inside a handler
--
CREATE FUNCTION inside() RETURNS jsonb LANGUAGE sql AS $$
	SELECT to_jsonb(t) - 'id' - 'dispatched_at' - 'started_at' - 'worker_pid' FROM asynctasq.current_task() t
$$;
SELECT asynctasq.register_handler('inside', 'inside()', keep_result => true);
SELECT asynctasq.dispatch('inside', correlation_id => 'c-1', priority => 5) AS id \gset
SELECT * FROM outcome();
SELECT asynctasq.result(:id);
SELECT asynctasq.current_task() IS NULL AS outside;
CREATE FUNCTION nested() RETURNS void LANGUAGE sql AS $$ SELECT asynctasq.drain() $$;
SELECT asynctasq.register_handler('nested', 'nested()', max_attempts => 1);
SELECT asynctasq.dispatch('nested') > 0 AS ok;
SELECT * FROM outcome();

--
-- settings of a handler end with it
--
CREATE FUNCTION sets() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('work_mem', '77MB', false), set_config('timezone', 'Asia/Tokyo', true);
	SET search_path = pg_catalog;
	RETURN current_setting('work_mem');
END $$;
SELECT asynctasq.register_handler('sets', 'sets()', keep_result => true);
SELECT asynctasq.dispatch('sets') AS id \gset
SELECT * FROM outcome();
SELECT asynctasq.result(:id), current_setting('work_mem') = '77MB' AS leaked, current_setting('timezone'), current_setting('search_path');

--
-- a handler that fails leaves nothing, and is tried again later
--
CREATE FUNCTION fails(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handlers.got (handler, value) VALUES ('fails', n);
	RAISE EXCEPTION 'no luck with %', n USING DETAIL = 'some detail', HINT = 'some hint', ERRCODE = 'AB123';
END $$;
SELECT asynctasq.register_handler('fails', 'fails(int)', max_attempts => 2, retry_delay => '1 hour');
SELECT asynctasq.dispatch('fails', asynctasq.args('n', 1)) AS id \gset
SELECT asynctasq.drain();
SELECT count(*) FROM got;
SELECT status, attempt, max_attempts, run_at > now() + '59 min'::interval AS later FROM asynctasq.task_info(:id);
SELECT asynctasq.drain();
-- exponential: the second retry would wait for twice as long
SELECT asynctasq.register_handler('fails', 'fails(int)', max_attempts => 4, retry_delay => '0');
SELECT asynctasq.dispatch('fails', asynctasq.args('n', 2)) AS id \gset
SELECT asynctasq.drain();
SELECT status, attempt, error - 'failed_at' - 'context' AS error FROM asynctasq.task_info(:id);
SELECT count(*) FROM got;
SELECT asynctasq.purge_queue('default', true);

--
-- should_retry and on_failure
--
CREATE FUNCTION again(task jsonb, error jsonb) RETURNS boolean
LANGUAGE sql AS $$ SELECT (task -> 'args' ->> 'n')::int = 1 $$;
CREATE FUNCTION gave_up(task jsonb, error jsonb) RETURNS void
LANGUAGE sql AS $$ INSERT INTO handlers.got (handler, value)
	VALUES (task ->> 'task', format('%s %s %s', task ->> 'attempt', error ->> 'sqlstate', error ->> 'message')) $$;
SELECT asynctasq.register_handler('fails', 'fails(int)', max_attempts => 3, retry_delay => '0',
	should_retry => 'again(jsonb, jsonb)', on_failure => 'gave_up(jsonb, jsonb)');
SELECT asynctasq.dispatch('fails', asynctasq.args('n', 1)) > 0 AS ok;
SELECT asynctasq.dispatch('fails', asynctasq.args('n', 2)) > 0 AS ok;
SELECT task, outcome, sqlstate FROM outcome();
SELECT handler, value FROM got ORDER BY n;
TRUNCATE got;
-- their own failures change nothing
CREATE OR REPLACE FUNCTION again(task jsonb, error jsonb) RETURNS boolean LANGUAGE sql AS $$ SELECT 1 / 0 > 0 $$;
CREATE OR REPLACE FUNCTION gave_up(task jsonb, error jsonb) RETURNS void LANGUAGE sql AS $$ SELECT 1 / 0 $$;
SELECT asynctasq.dispatch('fails', asynctasq.args('n', 3)) AS id \gset
SELECT task, outcome, sqlstate FROM outcome();

--
-- a handler that is gone
--
SELECT asynctasq.dispatch('gives', asynctasq.args('what', 'x')) > 0 AS ok;
SELECT asynctasq.unregister_handler('gives');
SELECT * FROM outcome();
SELECT asynctasq.dispatch('gives_nothing') > 0 AS ok;
DROP FUNCTION gives_nothing();
SELECT * FROM outcome();
-- replaced: the new body runs
SELECT asynctasq.dispatch('gives_row') AS id \gset
CREATE OR REPLACE FUNCTION gives_row(OUT a int, OUT b text) LANGUAGE sql AS $$ SELECT 2, 'y' $$;
SELECT * FROM outcome();
SELECT asynctasq.result(:id);

--
-- what cannot be a handler
--
CREATE FUNCTION a_set() RETURNS SETOF int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION a_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION polymorphic(anyelement) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE PROCEDURE a_procedure() LANGUAGE sql AS $$ SELECT 1 $$;
SELECT asynctasq.register_handler('x', 'a_set()');
SELECT asynctasq.register_handler('x', 'a_trigger()');
SELECT asynctasq.register_handler('x', 'polymorphic(anyelement)');
SELECT asynctasq.register_handler('x', 'a_procedure()');
SELECT asynctasq.register_handler('x', 'count(*)');
SELECT asynctasq.register_handler('x', 'row_number()');
SELECT asynctasq.register_handler('x', 'int4in(cstring)');
SELECT asynctasq.register_handler('x', 'note(int, text, numeric)', should_retry => 'gave_up(jsonb, jsonb)');
SELECT asynctasq.register_handler('x', 'note(int, text, numeric)', on_failure => 'again(jsonb, jsonb)');

RESET search_path;
DROP EXTENSION asynctasq CASCADE;
\set VERBOSITY terse
DROP SCHEMA handlers CASCADE;
