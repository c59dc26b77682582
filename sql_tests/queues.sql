-- Queues: made, paused, emptied and dropped, each by its owner's members and
-- by nobody else.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE ROLE regress_atq_one LOGIN;
CREATE ROLE regress_atq_two LOGIN;
CREATE ROLE regress_atq_lead LOGIN;
CREATE ROLE regress_atq_stranger LOGIN;
GRANT regress_atq_one, regress_atq_two TO regress_atq_lead;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_one, regress_atq_two,
    regress_atq_lead, regress_atq_stranger;
CREATE SCHEMA regress_atq_queues;
GRANT USAGE ON SCHEMA regress_atq_queues TO PUBLIC;
SET search_path = regress_atq_queues, asynctasq;

-- What a command is refused with.
CREATE FUNCTION refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''),
                     nullif(hint, ''));
END $$;
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE VIEW queues AS
SELECT owner, name, durable, paused, max_concurrency,
       EXISTS (SELECT FROM asynctasq.crash_mark WHERE queue_id = id) AS marked
FROM asynctasq.queue;

--
-- Making
--

SET ROLE regress_atq_one;
SELECT create_queue('mail');
SELECT create_queue('books', durable => true, max_concurrency => 2);
SELECT create_queue('nulls', NULL, NULL);
SET ROLE regress_atq_two;
SELECT create_queue('mail', max_concurrency => 1);
RESET ROLE;
SELECT * FROM queues ORDER BY owner::text, name;

SET ROLE regress_atq_one;
SELECT refusal(format('SELECT create_queue(%s)', args)), args
FROM (VALUES
    ($$NULL$$),
    ($$''$$),
    ($$E'a\tb'$$),
    ($$repeat('x', 256)$$),
    ($$'q', max_concurrency => 0$$),
    ($$'mail'$$),
    ($$'mail', durable => true$$)
) AS v (args);

-- A queue that a dispatch has made exists too.
SELECT register_handler('nothing', 'nothing()', queue => 'new');
SELECT dispatch('nothing', delay => '1 day') > 0 AS dispatched;
SELECT refusal($$SELECT create_queue('new')$$);

--
-- Which queue is meant
--

-- One's own; one that a role has that one is a member of; not strangers'.
SET ROLE regress_atq_two;
SELECT pause_queue('mail');
SET ROLE regress_atq_lead;
SELECT pause_queue('books');
SELECT refusal($$SELECT pause_queue('mail')$$);
SELECT create_queue('mail');
SELECT pause_queue('mail');
SELECT resume_queue('mail');
SELECT drop_queue('mail');
SET ROLE regress_atq_stranger;
SELECT refusal(format('SELECT %s', call)), call
FROM (VALUES
    ($$pause_queue('books')$$),
    ($$resume_queue('books')$$),
    ($$drop_queue('books')$$),
    ($$purge_queue('books')$$),
    ($$pause_queue('missing')$$),
    ($$resume_queue('missing')$$),
    ($$drop_queue('missing')$$),
    ($$purge_queue('missing')$$),
    ($$pause_queue('')$$),
    ($$pause_queue(NULL)$$),
    ($$resume_queue(NULL)$$),
    ($$drop_queue(NULL)$$),
    ($$purge_queue(NULL)$$)
) AS v (call);
RESET ROLE;
SELECT owner, name, paused FROM queues ORDER BY owner::text, name;
SET ROLE regress_atq_one;
SELECT resume_queue('books');
SELECT resume_queue('books');
RESET ROLE;
SELECT owner, name, paused FROM queues WHERE name = 'books';

--
-- Emptying and dropping
--

-- Ready, delayed and durable tasks; other queues' stay.  The queues are
-- paused, that no worker is faster.
SET ROLE regress_atq_one;
SELECT pause_queue('mail');
SELECT pause_queue('books');
SELECT count(dispatch('nothing', queue => 'mail')) FROM generate_series(1, 3);
SELECT dispatch('nothing', queue => 'mail', delay => '1 day') > 0 AS delayed;
SELECT count(dispatch('nothing', queue => 'books')) FROM generate_series(1, 2);
SELECT refusal($$SELECT drop_queue('mail')$$);
SELECT purge_queue('mail');
SELECT purge_queue('mail');
SELECT dispatch('nothing', queue => 'mail', delay => '1 day') > 0 AS delayed;
SELECT refusal($$SELECT drop_queue('mail')$$);
SELECT purge_queue('mail', NULL);
RESET ROLE;
SELECT queue.name, count(*) FROM asynctasq.task
JOIN asynctasq.queue ON queue.id = queue_id GROUP BY 1 ORDER BY 1;

-- Dead letters hold a queue until they are asked to go, results do not.
INSERT INTO asynctasq.dead_letter (id, queue_id, priority, attempt, task,
    args, dispatched_at, failed_at, error)
SELECT 1000000 + id, id, 0, 1, 'nothing', '{}', now(), now(), '{}'
FROM asynctasq.queue WHERE owner = 'regress_atq_one'::regrole
AND name IN ('books', 'mail');
INSERT INTO asynctasq.result (id, queue_id, priority, attempt, max_attempts,
    status, task, args, dispatched_at, finished_at)
SELECT 1000000 + id, id, 0, 1, 3, 'completed', 'nothing', '{}', now(), now()
FROM asynctasq.queue WHERE owner = 'regress_atq_one'::regrole
AND name IN ('books', 'mail');
SET ROLE regress_atq_one;
SELECT refusal($$SELECT drop_queue('mail')$$);
SELECT purge_queue('mail');
SELECT purge_queue('mail', dead_letters => true);
SELECT drop_queue('mail');
SELECT purge_queue('books', true);
RESET ROLE;
SELECT * FROM queues ORDER BY owner::text, name;
SELECT queue.name, count(*) FROM asynctasq.result
LEFT JOIN asynctasq.queue ON queue.id = queue_id GROUP BY 1;
SELECT count(*) FROM asynctasq.crash_mark
WHERE queue_id NOT IN (SELECT id FROM asynctasq.queue);

-- A dropped queue can be made again, and is by a dispatch.
SET ROLE regress_atq_one;
SELECT create_queue('mail', durable => true);
SELECT drop_queue('mail');
SELECT dispatch('nothing', queue => 'mail', delay => '1 day') > 0 AS dispatched;
SELECT purge_queue('mail');

-- A handler's queue stays, or the next dispatch would make it again, and not
-- durable.  Another role's handler means a queue of that role.
SELECT create_queue('steady', durable => true);
SELECT register_handler('steady', 'nothing()', queue => 'steady');
SELECT refusal($$SELECT drop_queue('steady')$$);
SELECT register_handler('steady', 'nothing()', queue => 'new');
SET ROLE regress_atq_two;
SELECT register_handler('theirs', 'nothing()', queue => 'steady');
SET ROLE regress_atq_one;
SELECT drop_queue('steady');

-- Not under a snapshot that may be older than what others have dispatched.
SELECT create_queue('steady');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT refusal($$SELECT drop_queue('steady')$$);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT refusal($$SELECT drop_queue('steady')$$);
COMMIT;
SELECT drop_queue('steady');

-- In one transaction, and undone with it.
BEGIN;
SELECT create_queue('brief');
SELECT dispatch('nothing', queue => 'brief') > 0 AS dispatched;
SELECT purge_queue('brief');
SELECT drop_queue('brief');
SELECT pause_queue('mail');
ROLLBACK;
SELECT refusal($$SELECT drop_queue('brief')$$);
RESET ROLE;
SELECT name, paused FROM queues WHERE name IN ('brief', 'mail')
AND owner = 'regress_atq_one'::regrole;

-- Only one's own and members': the lead's choice is clear once one is gone.
SET ROLE regress_atq_one;
SELECT drop_queue('mail');
SET ROLE regress_atq_lead;
SELECT resume_queue('mail');
SELECT drop_queue('mail');

-- Nothing is written in a read-only transaction.
SET ROLE regress_atq_one;
BEGIN READ ONLY;
SELECT refusal(format('SELECT %s', call))
FROM (VALUES ($$create_queue('x')$$), ($$pause_queue('books')$$),
             ($$resume_queue('books')$$), ($$drop_queue('books')$$),
             ($$purge_queue('books')$$)) AS v (call);
COMMIT;
RESET ROLE;

DELETE FROM asynctasq.task;
DELETE FROM asynctasq.result;
DELETE FROM asynctasq.queue;
DELETE FROM asynctasq.crash_mark;
DELETE FROM asynctasq.handler;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_atq_queues CASCADE;
DROP OWNED BY regress_atq_one, regress_atq_two, regress_atq_lead,
    regress_atq_stranger;
DROP ROLE regress_atq_one, regress_atq_two, regress_atq_lead,
    regress_atq_stranger;
