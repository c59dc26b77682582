-- One task: looking at it, waiting for it, cancelling it, trying it again.
-- Tasks are run by drain() in the transaction that dispatches them, so no
-- worker is faster.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE ROLE regress_atq_control LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_control;
CREATE SCHEMA regress_atq_control AUTHORIZATION regress_atq_control;
SET SESSION AUTHORIZATION regress_atq_control;
SET search_path = regress_atq_control, asynctasq;

-- What a command is refused with; tasks are nameless.
CREATE FUNCTION refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN query_canceled OR OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE,
                     regexp_replace(SQLERRM, 'task -?\d+', 'task N'),
                     nullif(detail, ''), nullif(hint, ''));
END $$;

CREATE TABLE switch (broken boolean);
INSERT INTO switch VALUES (true);
CREATE FUNCTION add(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION look(x int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    info record := asynctasq.task_info((asynctasq.current_task()).id);
BEGIN
    RETURN jsonb_build_object('status', info.status, 'args', info.args,
                              'same', info = asynctasq.current_task());
END $$;
CREATE FUNCTION fail(state text, detail text) RETURNS int
LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT broken FROM switch) THEN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'it broke',
            DETAIL = detail, HINT = 'Mend it.';
    END IF;
    RETURN 1;
END $$;
CREATE FUNCTION wait_for_itself() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM asynctasq.wait((asynctasq.current_task()).id);
END $$;
SELECT register_handler('add', 'add(int, int)', keep_result => true, max_attempts => 5);
SELECT register_handler('look', 'look(int)', keep_result => true);
SELECT register_handler('forgets', 'add(int, int)');
SELECT register_handler('fail', 'fail(text, text)', max_attempts => 1,
                        keep_result => true);
SELECT register_handler('wait_for_itself', 'wait_for_itself()',
                        max_attempts => 1);

-- Everything of a task but what differs from run to run.
CREATE FUNCTION show(bigint) RETURNS TABLE (
    task text, queue text, status text, args jsonb, attempt int,
    max_attempts int, priority int, times text, result jsonb, error jsonb,
    correlation_id text, worker boolean)
LANGUAGE sql AS $$
    SELECT i.task, i.queue, i.status, i.args, i.attempt, i.max_attempts,
           i.priority,
           concat_ws(' ', CASE WHEN i.id = $1 THEN 'id' END,
                     CASE WHEN i.dispatched_at <= clock_timestamp()
                          THEN 'dispatched' END,
                     CASE WHEN i.run_at > now() THEN 'due' END,
                     CASE WHEN i.started_at >= i.dispatched_at
                          THEN 'started' END,
                     CASE WHEN i.finished_at >= i.started_at
                               OR i.finished_at >= i.dispatched_at
                          THEN 'finished' END),
           i.result, i.error - 'failed_at' - 'context', i.correlation_id,
           i.worker_pid IS NOT NULL
    FROM asynctasq.task_info($1) AS i WHERE i.id IS NOT NULL
$$;

--
-- A task's states
--
BEGIN;
SELECT dispatch('add', args('a', 1, 'b', 2), priority => 7,
                correlation_id => 'c-1') AS id \gset
SELECT * FROM show(:id);
SELECT id = :id AS id, task, queue, status, priority, attempt, max_attempts,
       run_at, correlation_id, args FROM tasks;
SELECT result(:id);
SELECT drain();
SELECT * FROM show(:id);
SELECT result(:id), wait(:id);
COMMIT;
SELECT result(:id), wait(:id), wait(:id, NULL), wait(:id, '0');
SELECT cancel(:id), retry(:id);

SELECT dispatch('add', args('a', 1, 'b', 2), delay => '1 day',
                max_attempts => 2) AS id \gset
SELECT * FROM show(:id);
SELECT status, max_attempts, run_at > now() AS later FROM tasks;

-- inside the handler
BEGIN;
SELECT dispatch('look', args('x', 1)) AS id \gset
SELECT drain();
SELECT result(:id);
COMMIT;

-- no trace of it, no such task, no task
BEGIN;
SELECT dispatch('forgets', args('a', 1, 'b', 2)) AS id \gset
SELECT drain();
COMMIT;
SELECT count(*) FROM show(:id);
SELECT task_info(:id) IS NULL AS info, result(:id), wait(:id), cancel(:id),
       retry(:id);
SELECT task_info(0) IS NULL AS info, result(0), wait(0), cancel(0), retry(0);
SELECT task_info(NULL) IS NULL AS info, result(NULL), wait(NULL),
       cancel(NULL), retry(NULL);

--
-- cancel
--
SELECT id FROM tasks \gset
BEGIN;
SELECT cancel(:id);
SELECT cancel(:id);
SELECT status FROM task_info(:id);
ROLLBACK;
SELECT status FROM task_info(:id);
SELECT cancel(:id);
SELECT * FROM show(:id);
SELECT count(*) FROM tasks;
SELECT cancel(:id), retry(:id), result(:id);
SELECT refusal(format('SELECT wait(%s)', :id));
BEGIN;
SELECT dispatch('add', args('a', 1, 'b', 2)) AS id \gset
SELECT cancel(:id);
SELECT drain();
SELECT status, attempt, started_at, finished_at IS NOT NULL AS finished
FROM task_info(:id);
ROLLBACK;

--
-- Failure and retry
--
BEGIN;
SELECT dispatch('fail', args('state', 'AB123', 'detail', 'Deep down.'),
                correlation_id => 'c-2', priority => -1) AS id \gset
SELECT drain();
COMMIT;
SELECT * FROM show(:id);
SELECT id = :id AS id, task, queue, attempt, args, error ->> 'sqlstate' AS sqlstate,
       failed_at <= now() AS failed, correlation_id FROM dead_letters;
SELECT result(:id), cancel(:id);
SELECT refusal(format('SELECT wait(%s)', :id));

BEGIN;
SELECT retry(:id);
SELECT retry(:id);
SELECT * FROM show(:id);
SELECT count(*) FROM dead_letters;
SELECT drain();
SELECT status, attempt FROM task_info(:id);
ROLLBACK;
SELECT count(*) FROM dead_letters;
UPDATE switch SET broken = false;
BEGIN;
SELECT retry(:id);
SELECT drain();
COMMIT;
SELECT status, attempt, error FROM task_info(:id);
SELECT wait(:id), retry(:id);
UPDATE switch SET broken = true;

-- durable queues too
SELECT create_queue('kept', durable => true);
BEGIN;
SELECT dispatch('fail', args('state', '22012', 'detail', NULL),
                queue => 'kept') AS id \gset
SELECT drain();
SELECT retry(:id);
SELECT durable FROM stat_queues WHERE queue = 'kept';
SELECT queue, status FROM task_info(:id);
SELECT cancel(:id);
COMMIT;
SELECT queue, status FROM task_info(:id);

-- a dead letter's SQLSTATE that is none
RESET SESSION AUTHORIZATION;
INSERT INTO asynctasq.dead_letter (id, queue_id, priority, attempt, task,
    args, dispatched_at, failed_at, error)
SELECT n, (SELECT min(id) FROM asynctasq.queue), 0, 1, 'none', '{}', now(),
       now(), error
FROM (VALUES (-1, '{"sqlstate": "00000", "message": "a"}'::jsonb),
             (-2, '{"sqlstate": "abc"}'), (-3, '{"sqlstate": 42}'),
             (-4, '{}'), (-5, '[]'), (-6, '"x"')) AS v (n, error);
DO $$
BEGIN
    FOR n IN 1 .. 6 LOOP
        BEGIN
            PERFORM asynctasq.wait(-n);
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE '% %', SQLSTATE, SQLERRM;
        END;
    END LOOP;
END $$;
SELECT max_attempts, status FROM asynctasq.task_info(-1);
DELETE FROM asynctasq.dead_letter WHERE id < 0;
SET SESSION AUTHORIZATION regress_atq_control;

--
-- wait
--
SELECT dispatch('add', args('a', 1, 'b', 2), delay => '1 day') AS id \gset
SELECT refusal(format($$SELECT wait(%s, '20 ms')$$, :id));
SELECT refusal(format($$SELECT wait(%s, '0')$$, :id));
SELECT refusal(format($$SELECT wait(%s, '-1 s')$$, :id));
SET statement_timeout = '100 ms';
SELECT refusal(format('SELECT wait(%s, NULL)', :id));
RESET statement_timeout;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT refusal(format('SELECT wait(%s)', :id));
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT refusal('SELECT wait(0)');
ROLLBACK;
BEGIN READ ONLY;
SELECT refusal(format($$SELECT wait(%s, '10 ms')$$, :id));
ROLLBACK;

-- dispatched by this very transaction, also in a subtransaction
BEGIN;
SELECT dispatch('add', args('a', 1, 'b', 2)) AS own \gset
SELECT refusal(format('SELECT wait(%s)', :own));
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT dispatch('add', args('a', 1, 'b', 2)) AS own \gset
RELEASE s;
SELECT refusal(format('SELECT wait(%s)', :own));
ROLLBACK;

-- by this very transaction ended
BEGIN;
SELECT cancel(:id);
SELECT refusal(format('SELECT wait(%s)', :id));
ROLLBACK;

-- for itself
BEGIN;
SELECT dispatch('wait_for_itself') AS own \gset
SELECT drain();
COMMIT;
SELECT error ->> 'sqlstate' AS sqlstate,
       replace(error ->> 'message', :'own', 'N') AS message
FROM task_info(:own);

-- where nothing may be written
BEGIN READ ONLY;
SELECT status FROM task_info(:id);
SELECT result(:id);
SAVEPOINT s;
SELECT cancel(:id);
ROLLBACK TO s;
SELECT retry(:id);
ROLLBACK;
SELECT cancel(:id);

--
-- Counters: since the server started, so only what this test has added
--
SELECT queue, owner, durable, paused, ready, scheduled, running,
       completed > 0 AS completed, failed > 0 AS failed, retried,
       oldest_ready_age, mean_ms >= 0 AS mean_ms, per_minute >= 0 AS per_minute,
       lost, lost_at, emptied
FROM stat_queues ORDER BY queue COLLATE "C";
SELECT task, role, calls > 0 AS called, failures > 0 AS failures, retries,
       total_ms >= 0 AS total_ms, mean_ms <= max_ms AS mean_below_max
FROM stat_handlers ORDER BY task COLLATE "C";
BEGIN;
SELECT dispatch('add', args('a', 1, 'b', 2)) > 0 AS ready,
       dispatch('add', args('a', 1, 'b', 2), delay => '1 h') > 0 AS scheduled;
SELECT queue, ready, scheduled, running,
       oldest_ready_age BETWEEN '0' AND '1 min' AS oldest_ready_age
FROM stat_queues WHERE queue = 'default';
ROLLBACK;

--
-- Ids from before crashes that emptied queues: the first of these crashes
-- counts, and only for what is in no place
--
RESET SESSION AUTHORIZATION;
INSERT INTO asynctasq.crash (last_id, crashed_at)
VALUES (1000000, '2001-02-03 04:05:06-08'), (2000000, '2002-02-03 04:05:06-08');
SET SESSION AUTHORIZATION regress_atq_control;
SELECT status, error FROM task_info(dispatch('add', args('a', 1, 'b', 2), delay => '1 h'));
SELECT jsonb_strip_nulls(to_jsonb(t)) FROM task_info(1000000) AS t;
SELECT error ->> 'crashed_at' FROM task_info(1000001);
SELECT id, status FROM task_info(2000001);
SELECT id, status FROM task_info(0);
SELECT result(1000000), wait(1000000), cancel(1000000), retry(1000000);
RESET SESSION AUTHORIZATION;
DELETE FROM asynctasq.crash;
SET SESSION AUTHORIZATION regress_atq_control;
SELECT purge_queue('default');

RESET SESSION AUTHORIZATION;
DELETE FROM asynctasq.result AS r USING asynctasq.queue AS q
WHERE q.id = r.queue_id AND q.owner = 'regress_atq_control'::regrole;
DELETE FROM asynctasq.dead_letter AS d USING asynctasq.queue AS q
WHERE q.id = d.queue_id AND q.owner = 'regress_atq_control'::regrole;
DELETE FROM asynctasq.handler WHERE role = 'regress_atq_control'::regrole;
DELETE FROM asynctasq.queue WHERE owner = 'regress_atq_control'::regrole;
DROP OWNED BY regress_atq_control CASCADE;
DROP ROLE regress_atq_control;
