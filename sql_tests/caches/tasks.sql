-- Tasks: dispatch() in all forms, handlers of all kinds, groups, batches,
-- failures and what follows them, control, and the registry itself.
CREATE SCHEMA elsewhere AUTHORIZATION app;
SET SESSION AUTHORIZATION app;
CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION note(a int, b text DEFAULT 'dflt', c numeric DEFAULT 1 + 1) RETURNS text
LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (concat_ws(' ', a, b, c)) RETURNING what $$;
CREATE FUNCTION kinds(i8 int8, f float8, n numeric, x bytea, u uuid, d date, ts timestamp, tz timestamptz, iv interval,
	ia int[], ta text[], p pair, m mood, ps positive, j jsonb, raw asynctasq.msgpack, c "char", ip inet) RETURNS jsonb
LANGUAGE sql AS $$ SELECT jsonb_build_object('all', concat_ws(' ', i8, f, n, x, u, d, ts, tz, iv, ia, ta, p, m, ps, j, raw, c, ip)) $$;
CREATE FUNCTION everything(payload jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT payload';
CREATE FUNCTION gives_row(OUT a int, OUT b text[], OUT p app.pair) LANGUAGE sql AS $$ SELECT 1, '{x,y}'::text[], ROW(2, 'z')::app.pair $$;
CREATE FUNCTION inside() RETURNS jsonb LANGUAGE sql AS $$
	SELECT to_jsonb(t) - '{id,dispatched_at,started_at,worker_pid}'::text[] FROM asynctasq.current_task() AS t
$$;
CREATE FUNCTION fails(state text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.got (what) VALUES ('undone');
	RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'it broke', DETAIL = n, HINT = 'Mend it.';
END $$;
CREATE FUNCTION defers(n int) RETURNS void LANGUAGE sql AS 'INSERT INTO app.children VALUES (n)';
CREATE FUNCTION sleeps() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(600)';
CREATE FUNCTION again(task jsonb, error jsonb) RETURNS boolean LANGUAGE sql AS $$ SELECT error ->> 'sqlstate' = '40001' $$;
CREATE FUNCTION failed(task jsonb, error jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES ('failed: ' || (error ->> 'message')) $$;
CREATE FUNCTION dispatches(n int) RETURNS void LANGUAGE sql AS $$
	SELECT asynctasq.dispatch('note', asynctasq.args('a', i)) FROM generate_series(1, n) AS i
$$;
CREATE FUNCTION registers() RETURNS void LANGUAGE sql AS $$
	SELECT asynctasq.register_handler('made', 'app.note(int, text, numeric)', queue => 'made');
	SELECT asynctasq.dispatch('made', '{"a": 7}');
$$;
CREATE FUNCTION adds(a int[], b text[]) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.got (what) VALUES (a::text);
	IF 3 = ANY (a) THEN
		RAISE EXCEPTION 'not with %', a;
	END IF;
	RETURN b;
END $$;
CREATE FUNCTION notifies(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL search_path = app;
	PERFORM pg_notify('channel', 'n');
	INSERT INTO got (what) VALUES ('notified ' || n);
	RETURN n;
END $$;
RESET SESSION AUTHORIZATION;
SET debug_discard_caches = :discard;
SET SESSION AUTHORIZATION app;
SET search_path = app, asynctasq;

-- registered, and registered anew
SELECT register_handler('note', 'note(int, text, numeric)', keep_result => true, max_attempts => 1),
	register_handler('kinds', (SELECT oid FROM pg_proc WHERE proname = 'kinds' AND pronamespace = 'app'::regnamespace), keep_result => true, max_attempts => 1),
	register_handler('everything', 'everything(jsonb)', keep_result => true),
	register_handler('gives_row', 'gives_row()', keep_result => true),
	register_handler('inside', 'inside()', keep_result => true),
	register_handler('fails', 'fails(text, int)', max_attempts => 2, retry_delay => '0 s', retry_strategy => 'fixed', should_retry => 'again(jsonb, jsonb)', on_failure => 'failed(jsonb, jsonb)'),
	register_handler('defers', 'defers(int)', max_attempts => 1),
	register_handler('sleeps', 'sleeps()', max_attempts => 1, timeout => '1 ms'),
	register_handler('dispatches', 'dispatches(int)'),
	register_handler('registers', 'registers()', queue => 'other'),
	register_handler('grouped', 'note(int, text, numeric)', group_size => 10, max_attempts => 1),
	register_handler('group_defers', 'defers(int)', group_size => 10, max_attempts => 1),
	register_handler('group_fails', 'fails(text, int)', group_size => 10, max_attempts => 1),
	register_handler('group_ends', 'notifies(int)', group_size => 10, max_attempts => 1),
	register_handler('adds', 'adds(int[], text[])', batch_size => 8, max_attempts => 1, keep_result => true);
SELECT register_handler('note', 'note(int, text, numeric)', keep_result => true, max_attempts => 1);
SELECT create_queue('durable', durable => true, max_concurrency => 2);

-- dispatch(), all options; dispatch_many(); a payload of Python's
SELECT dispatch('note', args('a', 1, 'b', 'x'::text, 'c', 1.50), queue => 'durable', priority => 3, max_attempts => 2, retry_delay => '1 min', timeout => '1 h', correlation_id => 'c-1'),
	dispatch('note', '{"__args__": [2, "y"], "__kwargs__": {"c": 7}}', queue => 'new', delay => '1 day'),
	dispatch('note', args('a', 3), run_at => '2020-01-01 00:00+00');
SELECT * FROM dispatch_many('note', ARRAY[args('a', 4), args('a', 5), '{"b": "no a"}'], priority => 1);
SELECT task, queue, status, args, attempt, max_attempts, priority, correlation_id FROM tasks ORDER BY id;
SELECT drain('durable'), drain();
SELECT what FROM got ORDER BY n;
SELECT task, error ->> 'sqlstate', error ->> 'message' FROM dead_letters ORDER BY id;
SELECT result(1), status, attempt FROM task_info(1);
\set ON_ERROR_STOP off
SELECT dispatch('nobody');
\set ON_ERROR_STOP on
SELECT purge_queue('default', true), purge_queue('new');

-- values of all kinds, and results
SELECT dispatch('kinds', args('i8', 9223372036854775807, 'f', 'NaN'::float8, 'n', 12345678901234567890.5, 'x', '\x00ff'::bytea, 'u', '12345678-1234-5678-1234-567812345678'::uuid,
	'd', '2024-02-29'::date, 'ts', '2024-01-02 03:04:05.678'::timestamp, 'tz', '2024-01-02 03:04:05+02'::timestamptz, 'iv', '1 day 2 seconds'::interval,
	'ia', ARRAY[1, NULL, 3], 'ta', ARRAY['a', 'b'], 'p', ROW(1, 'one')::pair, 'm', 'glad'::mood, 'ps', 5, 'j', '{"k": [1, null]}'::jsonb, 'raw', set(ARRAY[1, 2]), 'c', 'z'::text, 'ip', '10.0.0.1'::text)) AS id \gset a_
SELECT dispatch('everything', args('a', ROW(1, 'x')::pair, 'b', ARRAY[ROW(1, 'x')::pair, NULL], 'm', 'sad'::mood)) AS id \gset b_
SELECT dispatch('gives_row') AS id \gset c_
SELECT dispatch('inside', correlation_id => 'inside') AS id \gset d_
SELECT drain();
SELECT result(:a_id), result(:b_id), result(:c_id), result(:d_id);
SELECT error FROM dead_letters;

-- failures: a retry, a dead letter, one revived, a constraint at the end, a timeout; what cannot be bound
SELECT dispatch('fails', args('state', '40001'::text, 'n', 1)) AS id \gset
SELECT dispatch('fails', args('state', 'P0001'::text, 'n', 2)), dispatch('defers', args('n', 9)), dispatch('sleeps'),
	dispatch('note', args('a', 'no number'::text)), dispatch('note', args('z', 1));
SELECT drain();
SELECT drain();
SELECT task, attempt, error - '{failed_at,context}'::text[] FROM dead_letters ORDER BY id;
SELECT retry(:id), task_info(:id) IS NOT NULL;
\set ON_ERROR_STOP off
SELECT wait(dead_letters.id) FROM dead_letters WHERE task = 'defers';
\set ON_ERROR_STOP on
SELECT cancel(:id), cancel(:id);
SELECT status FROM task_info(:id);
SELECT what FROM got ORDER BY n;
TRUNCATE got;
SELECT purge_queue('default', true);

-- tasks that dispatch and register
SELECT dispatch('dispatches', args('n', 2)), dispatch('registers');
SELECT drain();
SELECT what FROM got ORDER BY n;
TRUNCATE got;

-- groups: all well, one that fails, one that ends the group, a deferred constraint
SELECT count(dispatch('grouped', args('a', i))) FROM generate_series(1, 3) AS i;
SELECT dispatch('group_ends', args('n', 1)), dispatch('group_ends', args('n', 2)), dispatch('group_defers', args('n', 8)), dispatch('group_fails', args('state', '22012'::text, 'n', 3)),
	dispatch('grouped', args('a', 4));
SELECT drain();
SELECT what FROM got ORDER BY n;
SELECT task, error ->> 'sqlstate' FROM dead_letters ORDER BY id;
TRUNCATE got;
SELECT purge_queue('default', true);

-- batches: halves, down to the one that fails; a result for each
SELECT min(dispatch('adds', args('a', i, 'b', 'b' || i))) AS id FROM generate_series(1, 4) AS i \gset
SELECT dispatch('adds', args('a', 5)), dispatch('adds', args('a', 'six'::text, 'b', 'b'::text));
SELECT drain();
SELECT what FROM got ORDER BY n;
SELECT result(:id), result(:id + 1), result(:id + 3);
SELECT task, error ->> 'sqlstate' FROM dead_letters ORDER BY id;
SELECT purge_queue('default', true);

-- queues, grants, what is renamed, views
SELECT dispatch('registers'), pause_queue('other');
SELECT drain();
SELECT resume_queue('other');
SELECT drain('other');
SELECT purge_queue('new'), drop_queue('new');
SELECT grant_dispatch('note', 'other'), revoke_dispatch('note', 'other'), grant_dispatch('note', 'public');
ALTER FUNCTION note RENAME TO noted;
ALTER FUNCTION noted SET SCHEMA elsewhere;
SELECT dispatch('note', args('a', 9)) AS id \gset
SELECT drain();
SELECT result(:id);
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION other;
SELECT asynctasq.dispatch('note', asynctasq.args('a', 10)) > 0 AS granted;
\set ON_ERROR_STOP off
SELECT asynctasq.dispatch('kinds');
SELECT asynctasq.register_handler('note', 'pg_catalog.now()');
\set ON_ERROR_STOP on
SELECT count(*) FROM asynctasq.tasks;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION app;
SELECT queue, ready, scheduled, completed, failed, retried FROM stat_queues ORDER BY queue;
SELECT task, calls, failures, retries FROM stat_handlers ORDER BY task;
SELECT count(*) FROM stat_workers;
SELECT unregister_handler('made');
\set ON_ERROR_STOP off
SELECT dispatch_payload('\x80');
\set ON_ERROR_STOP on
RESET SESSION AUTHORIZATION;
SELECT asynctasq.adopt();
