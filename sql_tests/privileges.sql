-- What a role may see and do: its own, and nothing of another's.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never

--
-- Nothing but the views and the functions is anybody's.
--
CREATE ROLE regress_atq_anna LOGIN;
CREATE ROLE regress_atq_bert LOGIN;
CREATE ROLE regress_atq_head LOGIN;
CREATE ROLE regress_atq_watch LOGIN;
CREATE ROLE regress_atq_nobody LOGIN;
GRANT regress_atq_anna TO regress_atq_head;
GRANT pg_monitor TO regress_atq_watch;

-- without the administrator's grant, not even these
SET SESSION AUTHORIZATION regress_atq_anna;
SELECT asynctasq.task_info(1);
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_anna, regress_atq_bert,
    regress_atq_head, regress_atq_watch, regress_atq_nobody;

CREATE TEMP VIEW object AS
SELECT c.oid, c.relname AS name, c.relkind
FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
  AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asynctasq');
SELECT relkind, count(*) > 3 AS several FROM object
WHERE relkind IN ('r', 'v') GROUP BY relkind ORDER BY relkind;
SELECT name, privilege
FROM object, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',
                          'REFERENCES', 'TRIGGER']) AS privilege
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (has_table_privilege('regress_atq_anna', oid, privilege)
       OR has_table_privilege('regress_atq_watch', oid, privilege))
ORDER BY name COLLATE "C", privilege;
SELECT name, privilege
FROM object, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES'])
     AS privilege
WHERE relkind IN ('r', 'p')
  AND has_any_column_privilege('regress_atq_anna', oid, privilege);
SELECT name FROM object
WHERE CASE WHEN relkind = 'S' THEN
      has_sequence_privilege('regress_atq_anna', oid, 'USAGE, SELECT, UPDATE')
      END;
SELECT name FROM object
WHERE relkind = 'v'
  AND 'security_barrier=true' <> ALL
      (coalesce((SELECT reloptions FROM pg_class AS c WHERE c.oid = object.oid),
                '{}'));
SELECT has_schema_privilege('regress_atq_anna', 'asynctasq', 'CREATE')
    AS create_in_schema;

-- functions: what anybody may call who may use the schema, and what nobody may
CREATE TEMP VIEW function AS
SELECT p.oid, p.proname AS name, p.prosecdef, p.proconfig
FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asynctasq');
SELECT name, count(*) FROM function
WHERE has_function_privilege('regress_atq_anna', oid, 'EXECUTE')
GROUP BY name ORDER BY name COLLATE "C";
SELECT oid::regprocedure FROM function
WHERE NOT has_function_privilege('regress_atq_anna', oid, 'EXECUTE')
ORDER BY name COLLATE "C";
SELECT oid::regprocedure FROM function
WHERE has_function_privilege('regress_atq_anna', oid, 'EXECUTE')
      <> has_function_privilege('public', oid, 'EXECUTE');
-- none of them runs as its owner with the caller's search_path
SELECT oid::regprocedure FROM function
WHERE prosecdef AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'));
SET SESSION AUTHORIZATION regress_atq_anna;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT oid FROM pg_proc
        WHERE pronamespace = 'asynctasq'::regnamespace
          AND prorettype = 'trigger'::regtype ORDER BY proname
    LOOP
        BEGIN
            EXECUTE format('SELECT %s', f);
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE '% %', SQLSTATE, SQLERRM;
        END;
    END LOOP;
END $$;
RESET SESSION AUTHORIZATION;

-- every object says what it is
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
FROM pg_depend AS d
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asynctasq')
  AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass,
                    'pg_type'::regclass)
  AND obj_description(d.objid, d.classid::regclass::name) IS NULL
  AND NOT EXISTS (SELECT FROM pg_class AS c
                  WHERE c.oid = d.objid AND d.classid = 'pg_class'::regclass
                    AND (c.relkind = 'i' OR c.relispartition
                         OR EXISTS (SELECT FROM pg_depend AS i
                                    WHERE i.objid = c.oid
                                      AND i.deptype IN ('a', 'i'))))
  AND NOT EXISTS (SELECT FROM pg_type AS t
                  WHERE t.oid = d.objid AND d.classid = 'pg_type'::regclass
                    AND (t.typrelid <> 0 OR t.typelem <> 0))
ORDER BY 1;

--
-- Each role has a handler, a dead letter, a kept result and a task
--
CREATE SCHEMA regress_atq_privileges;
GRANT USAGE ON SCHEMA regress_atq_privileges TO PUBLIC;
SET search_path = regress_atq_privileges, asynctasq;
CREATE FUNCTION work(fails boolean) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    IF fails THEN
        RAISE EXCEPTION 'of %', session_user;
    END IF;
    RETURN 1;
END $$;
CREATE TABLE task_of (kind text, role name DEFAULT current_user, id bigint);
GRANT SELECT, INSERT ON task_of TO PUBLIC;
CREATE FUNCTION fill(task text) RETURNS void LANGUAGE sql AS $$
    SELECT asynctasq.register_handler(task, 'regress_atq_privileges.work(boolean)',
                                      max_attempts => 1, keep_result => true);
    INSERT INTO regress_atq_privileges.task_of (kind, id) VALUES
    ('dead', asynctasq.dispatch(task, asynctasq.args('fails', true))),
    ('done', asynctasq.dispatch(task, asynctasq.args('fails', false)));
    SELECT asynctasq.drain();
    INSERT INTO regress_atq_privileges.task_of (kind, id)
    SELECT 'waiting', asynctasq.dispatch(task,
               asynctasq.args('fails', false), delay => '1 day');
$$;
SET SESSION AUTHORIZATION regress_atq_anna;
SELECT fill('annas');
SET SESSION AUTHORIZATION regress_atq_bert;
SELECT fill('berts');
RESET SESSION AUTHORIZATION;

-- What the session's role gets to see.
CREATE FUNCTION sight() RETURNS TABLE (place text, shown text)
LANGUAGE sql AS $$
    SELECT 'tasks', concat_ws(' ', t.task, t.args)
    FROM asynctasq.tasks AS t WHERE t.task IN ('annas', 'berts')
    UNION ALL
    SELECT 'dead_letters', concat_ws(' ', d.task, d.args,
                                     d.error ->> 'message')
    FROM asynctasq.dead_letters AS d WHERE d.task IN ('annas', 'berts')
    UNION ALL
    SELECT 'stat_queues', concat_ws(' ', q.owner, q.queue, q.scheduled)
    FROM asynctasq.stat_queues AS q
    WHERE q.owner ~ 'regress_atq_(anna|bert)'
    UNION ALL
    SELECT 'stat_handlers', concat_ws(' ', h.role, h.task)
    FROM asynctasq.stat_handlers AS h
    WHERE h.role ~ 'regress_atq_(anna|bert)'
    UNION ALL
    SELECT 'counters', concat('queues ', (SELECT count(*)
        FROM asynctasq.queue_counters() AS c
        WHERE c.completed > 0 AND c.failed > 0) > 0)
    UNION ALL
    SELECT 'counters', concat('handler ', c.task)
    FROM asynctasq.handler_counters() AS c WHERE c.task IN ('annas', 'berts')
    UNION ALL
    SELECT 'task_info', concat_ws(' ', i.status, i.task, i.args, i.result)
    FROM regress_atq_privileges.task_of AS o,
         LATERAL asynctasq.task_info(o.id) AS i WHERE i.id IS NOT NULL
    UNION ALL
    SELECT 'result', concat_ws(' ', o.role, asynctasq.result(o.id))
    FROM regress_atq_privileges.task_of AS o
    WHERE asynctasq.result(o.id) IS NOT NULL
    ORDER BY 1, 2
$$;
SET SESSION AUTHORIZATION regress_atq_anna;
SELECT * FROM sight();
SET SESSION AUTHORIZATION regress_atq_head;
SELECT * FROM sight();
-- what the views are made of has nothing for who has nothing
SET SESSION AUTHORIZATION regress_atq_nobody;
SELECT * FROM sight();
SELECT (SELECT count(*) FROM asynctasq.queue_counters()) AS queues,
       (SELECT count(*) FROM asynctasq.handler_counters()) AS handlers,
       (SELECT count(*) FROM asynctasq.worker_slots()) AS workers,
       (SELECT count(*) FROM asynctasq.pool_counters()) AS pools;
SET SESSION AUTHORIZATION regress_atq_watch;
SELECT (SELECT count(*) > 1 FROM asynctasq.queue_counters()) AS queues,
       (SELECT count(*) > 1 FROM asynctasq.handler_counters()) AS handlers;
SELECT * FROM sight();
SELECT count(*) >= 0 AS workers FROM stat_workers;

-- what is another's is absent
SELECT id AS waiting FROM task_of
WHERE role = 'regress_atq_bert' AND kind = 'waiting' \gset
SELECT id AS dead FROM task_of
WHERE role = 'regress_atq_bert' AND kind = 'dead' \gset
SELECT id AS done FROM task_of
WHERE role = 'regress_atq_bert' AND kind = 'done' \gset
SET SESSION AUTHORIZATION regress_atq_anna;
SELECT task_info(:waiting) IS NULL AS info, cancel(:waiting), retry(:dead),
       result(:done), wait(:waiting) IS NULL AS wait,
       wait(:dead) IS NULL AS wait_dead, wait(:done) IS NULL AS wait_done;

-- who watches does not control, and does not read results
SET SESSION AUTHORIZATION regress_atq_watch;
SELECT cancel(:waiting), retry(:dead), result(:done), wait(:done);
DO $$
BEGIN
    PERFORM asynctasq.wait(id) FROM regress_atq_privileges.task_of
    WHERE role = 'regress_atq_bert' AND kind = 'dead';
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', SQLSTATE, regexp_replace(SQLERRM, '\d+', 'N');
END $$;

-- nor are arguments converted for who may not have them
RESET SESSION AUTHORIZATION;
BEGIN;
CREATE OR REPLACE FUNCTION asynctasq.msgpack_to_jsonb(asynctasq.msgpack) RETURNS jsonb
LANGUAGE plpgsql AS $$ BEGIN RAISE 'arguments were converted'; END $$;
SET LOCAL SESSION AUTHORIZATION regress_atq_anna;
SELECT task_info(:waiting) IS NULL AS info, task_info(:dead) IS NULL AS dead;
SET LOCAL SESSION AUTHORIZATION regress_atq_watch;
SELECT task, status, args FROM task_info(:waiting);
SELECT task, status, args FROM tasks WHERE id = :waiting;
SET LOCAL SESSION AUTHORIZATION regress_atq_bert;
SELECT task_info(:waiting);
ROLLBACK;

-- no function of the reader's own is called with others' rows
SET SESSION AUTHORIZATION regress_atq_anna;
CREATE FUNCTION pg_temp.leak(text) RETURNS boolean COST 0.0001
LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
SELECT task FROM tasks WHERE pg_temp.leak(task);
SELECT task FROM dead_letters WHERE pg_temp.leak(task);
SELECT task FROM stat_handlers WHERE pg_temp.leak(task);
SELECT owner FROM stat_queues WHERE pg_temp.leak(owner::text);

-- a member may do what the owner may
SET SESSION AUTHORIZATION regress_atq_head;
SELECT a.kind, CASE a.kind WHEN 'dead' THEN retry(a.id)
                           WHEN 'waiting' THEN cancel(a.id) END AS done
FROM task_of AS a
WHERE a.role = 'regress_atq_anna' AND a.kind <> 'done' ORDER BY a.kind;
RESET SESSION AUTHORIZATION;
SELECT o.kind, (task_info(o.id)).status FROM task_of AS o
WHERE o.role = 'regress_atq_anna' AND o.kind <> 'dead' ORDER BY o.kind;

--
-- An owner that is gone: its rows are shown to monitors, and hurt nobody.
--
UPDATE asynctasq.queue SET owner = 4000000000::oid
WHERE owner = 'regress_atq_bert'::regrole;
UPDATE asynctasq.handler SET role = 4000000000::oid
WHERE role = 'regress_atq_bert'::regrole;
SET SESSION AUTHORIZATION regress_atq_watch;
SELECT queue, owner FROM stat_queues WHERE owner ~ '4000000000';
SELECT task, role FROM stat_handlers WHERE role ~ '4000000000';
SELECT task, status, args FROM tasks WHERE task = 'berts';
SELECT status, args FROM task_info(:waiting);
SET SESSION AUTHORIZATION regress_atq_bert;
SELECT count(*) FROM tasks;
SELECT count(*) FROM dead_letters;
SELECT count(*) FROM stat_queues;
SELECT count(*) FROM stat_handlers;
SELECT task_info(:waiting) IS NULL AS info, cancel(:waiting);
RESET SESSION AUTHORIZATION;

-- a queue that is gone while a dead letter of it is not
DELETE FROM asynctasq.queue WHERE owner::oid = 4000000000;
SELECT task, queue, args FROM dead_letters WHERE task = 'berts';
SELECT task, queue, status FROM task_info(:dead);
DO $$
BEGIN
    PERFORM asynctasq.retry(id) FROM regress_atq_privileges.task_of
    WHERE role = 'regress_atq_bert' AND kind = 'dead';
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '% %', SQLSTATE, regexp_replace(SQLERRM, '\d+', 'N');
END $$;

DELETE FROM asynctasq.task WHERE id IN (SELECT id FROM task_of);
DELETE FROM asynctasq.dead_letter WHERE id IN (SELECT id FROM task_of);
DELETE FROM asynctasq.result WHERE id IN (SELECT id FROM task_of);
DELETE FROM asynctasq.handler WHERE name IN ('annas', 'berts');
DELETE FROM asynctasq.queue WHERE owner = 'regress_atq_anna'::regrole;
DROP OWNED BY regress_atq_anna, regress_atq_bert, regress_atq_head,
    regress_atq_watch, regress_atq_nobody CASCADE;
SET client_min_messages = warning;
DROP SCHEMA regress_atq_privileges CASCADE;
DROP ROLE regress_atq_anna, regress_atq_bert, regress_atq_head,
    regress_atq_watch, regress_atq_nobody;
