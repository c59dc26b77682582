--
-- Tasks that dispatch tasks: how deep they are, and the limit to it
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA chains;
SET search_path = chains, public;

CREATE TABLE ran (task text, attempt int, depth int);
CREATE TABLE users (id int PRIMARY KEY);
INSERT INTO users VALUES (1), (2);
SELECT asynctasq.register_model('chains.User', 'users');
CREATE FUNCTION note() RETURNS void LANGUAGE sql AS $$
	INSERT INTO chains.ran (task, attempt, depth) SELECT task, attempt, depth FROM asynctasq.current_task()
$$;
CREATE FUNCTION leaf(x jsonb) RETURNS void LANGUAGE sql AS $$ SELECT chains.note() $$;
SELECT asynctasq.register_handler('leaf', 'leaf(jsonb)', queue => 'leaves');

-- outcome(): how many attempts ended, what was done, and what has failed; leaves stay in their queue
CREATE FUNCTION outcome(OUT ran bigint, OUT done text, OUT failed text) LANGUAGE plpgsql AS $$
BEGIN
	ran := asynctasq.drain('default', 1000);
	SELECT string_agg(format('%s of depth %s', n, depth), ', ' ORDER BY depth) INTO done
	FROM (SELECT count(*) AS n, depth FROM chains.ran GROUP BY depth) AS r;
	SELECT string_agg(format('%s with %s', n, sqlstate), ', ' ORDER BY sqlstate) INTO failed
	FROM (SELECT count(*) AS n, error ->> 'sqlstate' AS sqlstate FROM asynctasq.dead_letters GROUP BY sqlstate) AS d;
	TRUNCATE chains.ran;
	PERFORM asynctasq.purge_queue('default', true);
END $$;
CREATE FUNCTION leaves(OUT depths int[]) LANGUAGE plpgsql AS $$
BEGIN
	SELECT array_agg(depth ORDER BY id) INTO depths FROM asynctasq.tasks WHERE queue = 'leaves';
	PERFORM asynctasq.purge_queue('leaves', true);
END $$;

-- a handler that dispatches itself twice ends at the limit: 1 + 2 + 4 + 8
CREATE FUNCTION bomb() RETURNS void LANGUAGE sql AS $$
	SELECT chains.note();
	SELECT asynctasq.dispatch('bomb') FROM generate_series(1, 2);
$$;
SELECT asynctasq.register_handler('bomb', 'bomb()', max_attempts => 1);
SET asynctasq.max_chain_depth = 3;
SELECT asynctasq.dispatch('bomb') > 0 AS ok;
SELECT asynctasq.drain(max_tasks => 100);
SELECT depth, count(*) FROM ran GROUP BY depth ORDER BY depth;
SELECT count(*), d.error ->> 'sqlstate' AS sqlstate, key, value FROM asynctasq.dead_letters AS d, jsonb_each_text(error)
WHERE key IN ('message', 'detail', 'hint') GROUP BY 2, 3, 4 ORDER BY 3;
TRUNCATE ran;
SELECT asynctasq.purge_queue('default', true);
-- attempts that fail make it neither deeper nor more: 7 tasks and 8 that have three attempts
SELECT asynctasq.register_handler('bomb', 'bomb()', max_attempts => 3, retry_delay => '0 s');
SELECT asynctasq.dispatch('bomb') > 0 AS ok;
SELECT asynctasq.drain('default') AS first \gset
SELECT asynctasq.drain('default') AS second \gset
SELECT asynctasq.drain('default') AS third \gset
SELECT :first + :second + :third AS ended;
SELECT * FROM outcome();
CREATE FUNCTION flaky() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF (asynctasq.current_task()).attempt < 3 THEN
		RAISE EXCEPTION 'not yet';
	END IF;
	PERFORM chains.note();
	IF (asynctasq.current_task()).depth < 2 THEN
		PERFORM asynctasq.dispatch('flaky');
	END IF;
END $$;
SELECT asynctasq.register_handler('flaky', 'flaky()', max_attempts => 3, retry_delay => '0 s');
SELECT asynctasq.dispatch('flaky') > 0 AS ok;
SELECT 'SELECT asynctasq.drain(''default'') >= 0 AS ok' FROM generate_series(1, 9) \gexec
SELECT * FROM outcome();
-- a task that heeds the error goes on, and has dispatched nothing
CREATE FUNCTION heedful() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM chains.note();
	PERFORM asynctasq.dispatch('heedful');
EXCEPTION WHEN program_limit_exceeded THEN
	PERFORM chains.note();
END $$;
SELECT asynctasq.register_handler('heedful', 'heedful()', max_attempts => 1);
SELECT asynctasq.dispatch('heedful') > 0 AS ok;
SELECT * FROM outcome();

-- without a limit, which is the default, chains go on
RESET asynctasq.max_chain_depth;
SHOW asynctasq.max_chain_depth;
CREATE FUNCTION step(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF n > 0 THEN
		PERFORM asynctasq.dispatch('step', asynctasq.args('n', n - 1));
	ELSE
		PERFORM chains.note();
	END IF;
END $$;
SELECT asynctasq.register_handler('step', 'step(int)');
SELECT asynctasq.dispatch('step', asynctasq.args('n', 500)) > 0 AS ok;
SELECT * FROM outcome();

-- whatever dispatches while a task runs makes it deeper
CREATE FUNCTION spread(how text, dead bigint DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE how
		WHEN 'dispatch' THEN PERFORM asynctasq.dispatch('leaf', '{"x": 1}');
		WHEN 'dispatch_many' THEN PERFORM asynctasq.dispatch_many('leaf', ARRAY['{"x": 1}', '{"x": 2}']::asynctasq.msgpack[]);
		WHEN 'dispatch_each' THEN PERFORM asynctasq.dispatch_each('leaf', asynctasq.objects('chains.User'), 'x');
		WHEN 'dispatch_payload' THEN PERFORM asynctasq.dispatch_payload('{"class": "leaf", "params": {"x": 1}, "metadata": {}}'::asynctasq.msgpack::bytea);
		WHEN 'later' THEN PERFORM asynctasq.dispatch('leaf', '{"x": 1}', delay => '1 hour');
		WHEN 'fail' THEN RAISE EXCEPTION 'no luck';
		WHEN 'retry' THEN PERFORM asynctasq.retry(dead);
	END CASE;
END $$;
CREATE FUNCTION on_failure(task jsonb, error jsonb) RETURNS void LANGUAGE sql AS $$ SELECT asynctasq.dispatch('leaf', '{"x": 1}') $$;
CREATE FUNCTION should_retry(task jsonb, error jsonb) RETURNS boolean LANGUAGE sql AS $$
	SELECT asynctasq.dispatch('leaf', '{"x": 1}') = 0
$$;
SELECT asynctasq.register_handler('spread', 'spread(text, bigint)', max_attempts => 1);
SELECT asynctasq.register_handler('tells', 'spread(text, bigint)', max_attempts => 1, on_failure => 'on_failure(jsonb, jsonb)');
SELECT asynctasq.register_handler('asks', 'spread(text, bigint)', max_attempts => 2, should_retry => 'should_retry(jsonb, jsonb)');
CREATE FUNCTION failing_leaf(x jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no luck'; END $$;
SELECT asynctasq.register_handler('failing leaf', 'failing_leaf(jsonb)', queue => 'leaves', max_attempts => 1);
CREATE TABLE ways (how text, handler text);
INSERT INTO ways VALUES ('dispatch', 'spread'), ('dispatch_many', 'spread'), ('dispatch_each', 'spread'), ('dispatch_payload', 'spread'),
	('later', 'spread'), ('retry', 'spread'), ('fail', 'tells'), ('fail', 'asks');
-- run_task(): a task that dispatches leaves, itself of the depth 0 or 1
CREATE FUNCTION relay(handler text, args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT asynctasq.dispatch(handler, args) $$;
SELECT asynctasq.register_handler('relay', 'relay(text, jsonb)');
CREATE FUNCTION run_task(way ways, relayed boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	dead bigint := asynctasq.dispatch('failing leaf', '{"x": 1}');
	args jsonb := jsonb_build_object('how', way.how, 'dead', dead);
BEGIN
	IF way.how = 'retry' THEN
		PERFORM asynctasq.drain('leaves');
	ELSE
		PERFORM asynctasq.cancel(dead);
	END IF;
	IF relayed THEN
		PERFORM asynctasq.dispatch('relay', jsonb_build_object('handler', way.handler, 'args', args));
	ELSE
		PERFORM asynctasq.dispatch(way.handler, args);
	END IF;
	PERFORM asynctasq.drain('default');
END $$;
CREATE FUNCTION depths_of(way ways, relayed boolean) RETURNS int[] LANGUAGE plpgsql AS $$
BEGIN
	PERFORM chains.run_task(way, relayed);
	PERFORM asynctasq.purge_queue('default', true);
	RETURN chains.leaves();
END $$;
SELECT w.*, depths_of(w, false), depths_of(w, true) AS relayed FROM ways AS w;
-- and finds the limit
SET asynctasq.max_chain_depth = 1;
CREATE FUNCTION error_of(way ways) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
BEGIN
	PERFORM chains.run_task(way, true);
	SELECT concat_ws(' ', d.error ->> 'sqlstate', d.error ->> 'message') INTO message FROM asynctasq.dead_letters AS d WHERE queue = 'default';
	PERFORM asynctasq.purge_queue('default', true);
	RETURN message;
END $$;
SELECT w.*, error_of(w), leaves() FROM ways AS w WHERE handler = 'spread';
RESET asynctasq.max_chain_depth;

-- a batch is as deep as the deepest of its tasks
CREATE FUNCTION gather(a int[]) RETURNS void LANGUAGE sql AS $$
	SELECT chains.note();
	SELECT asynctasq.dispatch('leaf', asynctasq.args('x', a));
$$;
SELECT asynctasq.register_handler('gather', 'gather(int[])', queue => 'batches', batch_size => 10, max_attempts => 1);
CREATE FUNCTION make_batch() RETURNS void LANGUAGE sql AS $$
	SELECT asynctasq.dispatch('gather', '{"a": 1}');
	SELECT asynctasq.dispatch('relay', '{"handler": "gather", "args": {"a": 2}}');
	SELECT asynctasq.drain('default');
	SELECT asynctasq.dispatch('gather', '{"a": 3}');
	SELECT asynctasq.drain('batches');
$$;
SELECT make_batch();
SELECT args ->> 'x' AS x, depth FROM asynctasq.tasks WHERE queue = 'leaves' ORDER BY id;
SELECT leaves();
-- the one that is too deep takes no other with it
SET asynctasq.max_chain_depth = 1;
SELECT make_batch();
SELECT args ->> 'x' AS x, depth FROM asynctasq.tasks WHERE queue = 'leaves' ORDER BY id;
SELECT args, error ->> 'sqlstate' AS sqlstate FROM asynctasq.dead_letters;
SELECT asynctasq.purge_queue('batches', true), leaves();
TRUNCATE ran;

-- drain() leaves deferred triggers to the caller's commit, and what they dispatch is the caller's
CREATE TABLE fuses (task text);
CREATE FUNCTION go_off() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.dispatch(NEW.task, '{"x": 1}');
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER go_off AFTER INSERT ON fuses DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION go_off();
CREATE FUNCTION time_bomb() RETURNS void LANGUAGE sql AS $$ INSERT INTO chains.fuses VALUES ('leaf') $$;
SELECT asynctasq.register_handler('time bomb', 'time_bomb()', max_attempts => 1);
SELECT asynctasq.dispatch('relay', '{"handler": "time bomb", "args": {}}') > 0 AS ok;
BEGIN;
SELECT asynctasq.drain('default');
SELECT leaves();
COMMIT;
SELECT leaves();
-- unless the task has them fire
CREATE OR REPLACE FUNCTION time_bomb() RETURNS void LANGUAGE sql AS $$
	INSERT INTO chains.fuses VALUES ('leaf');
	SET CONSTRAINTS ALL IMMEDIATE;
$$;
SELECT asynctasq.dispatch('relay', '{"handler": "time bomb", "args": {}}') > 0 AS ok;
SELECT asynctasq.drain('default');
SELECT error ->> 'sqlstate' AS sqlstate FROM asynctasq.dead_letters;
SELECT asynctasq.purge_queue('default', true), leaves();

-- what is known of a task; retry() by hand begins a chain anew
CREATE FUNCTION late() RETURNS void LANGUAGE sql AS $$ SELECT chains.note(); SELECT asynctasq.dispatch('leaf', '{"x": 1}') $$;
SELECT asynctasq.register_handler('late', 'late()', queue => 'late', max_attempts => 1);
SELECT asynctasq.dispatch('relay', '{"handler": "late", "args": {}}') > 0 AS ok;
SELECT asynctasq.drain('default');
SELECT id FROM asynctasq.tasks WHERE queue = 'late' \gset
SELECT status, depth FROM asynctasq.task_info(:id);
SELECT asynctasq.drain('late');
SELECT status, depth, error ->> 'sqlstate' AS sqlstate FROM asynctasq.task_info(:id);
SELECT asynctasq.retry(:id);
SELECT status, depth FROM asynctasq.task_info(:id);
SELECT asynctasq.drain('late');
SELECT task, depth FROM ran;
SELECT leaves();
SELECT asynctasq.task_info(:id) IS NULL AS gone, asynctasq.current_task() IS NULL AS none;

-- who may set it
SET asynctasq.max_chain_depth = -1;
CREATE ROLE regress_atq_chains LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_chains;
GRANT USAGE, CREATE ON SCHEMA chains TO regress_atq_chains;
SET ROLE regress_atq_chains;
SET asynctasq.max_chain_depth = 0;
SELECT set_config('asynctasq.max_chain_depth', '1000', true);
RESET asynctasq.max_chain_depth;
ALTER ROLE regress_atq_chains SET asynctasq.max_chain_depth = 0;
CREATE FUNCTION loose() RETURNS void LANGUAGE sql SET asynctasq.max_chain_depth = 0 AS $$ SELECT asynctasq.dispatch('loose') $$;
-- nor does a task
CREATE FUNCTION loose() RETURNS void LANGUAGE sql AS $$
	SELECT set_config('asynctasq.max_chain_depth', '0', true);
	SELECT asynctasq.dispatch('loose');
$$;
SELECT asynctasq.register_handler('loose', 'loose()', max_attempts => 1);
SELECT asynctasq.dispatch('loose') > 0 AS ok;
SELECT asynctasq.drain(max_tasks => 100);
SELECT error ->> 'sqlstate' AS sqlstate, error ->> 'message' AS message FROM asynctasq.dead_letters;
SELECT asynctasq.purge_queue('default', true);
SELECT asynctasq.unregister_handler('loose');
SELECT asynctasq.drop_queue('default');
RESET ROLE;
DROP OWNED BY regress_atq_chains;
DROP ROLE regress_atq_chains;

RESET asynctasq.max_chain_depth;
RESET search_path;
SELECT count(asynctasq.unregister_handler(h)) FROM unnest('{leaf,failing leaf,bomb,flaky,heedful,step,time bomb,spread,tells,asks,relay,gather,late}'::text[]) AS h;
SELECT asynctasq.unregister_model('chains.User');
SELECT count(asynctasq.drop_queue(q)) FROM unnest('{leaves,batches,late}'::text[]) AS q;
\set VERBOSITY terse
DROP SCHEMA chains CASCADE;
