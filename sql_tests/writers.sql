-- Members of pg_write_all_data may write all tables, but those of the extension.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE ROLE regress_atq_writer LOGIN;
CREATE ROLE regress_atq_boss LOGIN SUPERUSER;
CREATE ROLE regress_atq_deputy LOGIN;
GRANT pg_write_all_data, pg_read_all_data TO regress_atq_writer;
GRANT SET ON PARAMETER session_replication_role TO regress_atq_writer;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_writer;
SELECT extowner::regrole AS owner FROM pg_extension WHERE extname = 'asynctasq' \gset
GRANT :owner TO regress_atq_deputy;
CREATE TEMP VIEW relation AS
SELECT c.oid, c.relname AS name, c.relkind AS kind
FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
  AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asynctasq');

-- every table has the trigger, whatever session_replication_role is
SELECT name FROM relation
WHERE kind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_trigger
                  WHERE tgrelid = relation.oid AND tgname = 'owner_only'
                    AND tgfoid = 'asynctasq.owner_only'::regproc
                    AND tgenabled = 'A'
                    -- before statements, of all four kinds
                    AND tgtype = 2 | 4 | 8 | 16 | 32);
SELECT kind, count(*) > 3 AS several FROM relation WHERE kind IN ('r', 'v')
GROUP BY kind ORDER BY kind;

-- try(role): what comes of writing each of them
CREATE FUNCTION pg_temp.try(replication_role text)
RETURNS TABLE (attack text, outcome text, on_all boolean)
LANGUAGE plpgsql AS $$
DECLARE
    way text;
    statement text;
    target record;
    col name;
BEGIN
    TRUNCATE outcome;
    PERFORM set_config('session_replication_role', replication_role, true);
    FOR target IN SELECT * FROM pg_temp.relation WHERE kind IN ('r', 'p') LOOP
        SELECT attname INTO col FROM pg_attribute
        WHERE attrelid = target.oid AND attnum = 1;
        FOREACH way IN ARRAY ARRAY['INSERT INTO %1$s DEFAULT VALUES',
            'INSERT INTO %1$s OVERRIDING SYSTEM VALUE SELECT * FROM %1$s LIMIT 0',
            'UPDATE %1$s SET %2$I = DEFAULT WHERE false',
            'DELETE FROM %1$s',
            'MERGE INTO %1$s AS t USING (SELECT) AS s ON false WHEN MATCHED THEN DELETE']
        LOOP
            statement := format(way, target.oid::regclass, col);
            BEGIN
                EXECUTE statement;
                INSERT INTO outcome VALUES (way, target.name, 'done');
            EXCEPTION WHEN OTHERS THEN
                INSERT INTO outcome
                VALUES (way, target.name,
                        SQLSTATE || ' ' || replace(SQLERRM, target.name, '...'));
            END;
        END LOOP;
    END LOOP;
    RETURN QUERY SELECT o.attack, o.what,
        count(*) = (SELECT count(*) FROM pg_temp.relation WHERE kind IN ('r', 'p'))
    FROM outcome AS o GROUP BY o.attack, o.what ORDER BY o.attack COLLATE "C", o.what;
END $$;
GRANT SELECT ON relation TO regress_atq_writer;
SET SESSION AUTHORIZATION regress_atq_writer;
CREATE TEMP TABLE outcome (attack text, relation name, what text);
SELECT * FROM pg_temp.try('origin');
SELECT * FROM pg_temp.try('replica');
COPY asynctasq.handler_grant FROM stdin;
x	regress_atq_writer
\.
RESET SESSION AUTHORIZATION;

-- nor where triggers were off for a while, as pg_restore --disable-triggers has them
SET client_min_messages = error;
DO $$
DECLARE
    target regclass;
BEGIN
    FOR target IN SELECT oid FROM relation WHERE kind IN ('r', 'p') LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER ALL', target);
        EXECUTE format('ALTER TABLE %s ENABLE TRIGGER ALL', target);
    END LOOP;
END $$;
ALTER TABLE asynctasq.handler DISABLE TRIGGER USER;
ALTER TABLE asynctasq.handler ENABLE TRIGGER USER;
ALTER TABLE asynctasq.task_logged DISABLE TRIGGER owner_only, ENABLE TRIGGER owner_only;
RESET client_min_messages;
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
WHERE tgrelid IN (SELECT oid FROM relation) AND NOT tgisinternal AND tgenabled <> 'A';
SET SESSION AUTHORIZATION regress_atq_writer;
SELECT DISTINCT outcome FROM pg_temp.try('replica');
RESET SESSION AUTHORIZATION;
-- who wants one off has it off
BEGIN;
ALTER TABLE asynctasq.queue DISABLE TRIGGER queue_made;
ALTER TABLE asynctasq.queue ENABLE TRIGGER owner_only;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'asynctasq.queue'::regclass AND NOT tgisinternal ORDER BY tgname;
ROLLBACK;
SELECT asynctasq.adopt();

-- no view leads to a table
SELECT name, pg_relation_is_updatable(oid, true) AS updatable FROM relation
WHERE kind = 'v' AND pg_relation_is_updatable(oid, true) <> 0;

-- TRUNCATE is in no such role; who was given it is refused, too
SET SESSION AUTHORIZATION regress_atq_writer;
TRUNCATE asynctasq.dead_letter;
RESET SESSION AUTHORIZATION;
GRANT TRUNCATE ON asynctasq.dead_letter TO regress_atq_writer;
SET SESSION AUTHORIZATION regress_atq_writer;
TRUNCATE asynctasq.dead_letter;
\set VERBOSITY default
UPDATE asynctasq.handler SET role = 10 WHERE false;
\set VERBOSITY terse
RESET SESSION AUTHORIZATION;
REVOKE TRUNCATE ON asynctasq.dead_letter FROM regress_atq_writer;

-- what it is there for: a task that runs as somebody else
CREATE SCHEMA writer AUTHORIZATION regress_atq_writer;
SET SESSION AUTHORIZATION regress_atq_writer;
CREATE FUNCTION writer.rise() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    ALTER ROLE regress_atq_writer SUPERUSER;
    RETURN session_user;
END $$;
SELECT asynctasq.register_handler('rise', 'writer.rise()', max_attempts => 1);
UPDATE asynctasq.handler SET role = 'regress_atq_boss' WHERE name = 'rise';
INSERT INTO asynctasq.handler_grant VALUES ('rise', 'regress_atq_writer');
INSERT INTO asynctasq.queue (owner, name) VALUES ('regress_atq_boss', 'default');
SELECT asynctasq.dispatch('rise') > 0 AS dispatched;
UPDATE asynctasq.task SET queue_id = 0 WHERE task = 'rise';
SELECT asynctasq.drain();
SELECT error ->> 'sqlstate' AS sqlstate FROM asynctasq.dead_letters;
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_atq_writer';

-- its own are its own by the functions, as anybody's
SELECT asynctasq.retry(id) FROM asynctasq.dead_letters;
SELECT asynctasq.purge_queue('default', true);
SELECT asynctasq.dispatch('rise', delay => '1 day') AS id \gset
SELECT asynctasq.cancel(:id), (asynctasq.task_info(:id)).status;
SELECT asynctasq.pause_queue('default');
SELECT asynctasq.unregister_handler('rise');
SELECT asynctasq.drop_queue('default');

-- it may set sequences; an id that is there already is refused
SELECT asynctasq.register_handler('rise', 'writer.rise()', max_attempts => 1);
SELECT asynctasq.dispatch('rise', delay => '1 day') AS id \gset
SELECT setval('asynctasq.task_id_seq', :id, false) = :id AS set;
\set VERBOSITY sqlstate
SELECT asynctasq.dispatch('rise', delay => '1 day');
\set VERBOSITY terse
SELECT (asynctasq.task_info(:id)).status;
SELECT asynctasq.purge_queue('default');
SELECT asynctasq.unregister_handler('rise');
SELECT asynctasq.drop_queue('default');

-- what the trigger is, and whom it lets through
SELECT asynctasq.owner_only();
RESET SESSION AUTHORIZATION;
SELECT asynctasq.owner_only();
UPDATE asynctasq.handler SET name = name WHERE false;
SET SESSION AUTHORIZATION regress_atq_boss;
UPDATE asynctasq.handler SET name = name WHERE false;
SET SESSION AUTHORIZATION regress_atq_deputy;
UPDATE asynctasq.handler SET name = name WHERE false;
RESET SESSION AUTHORIZATION;

DROP SCHEMA writer CASCADE;
REVOKE SET ON PARAMETER session_replication_role FROM regress_atq_writer;
DROP OWNED BY regress_atq_writer;
DROP ROLE regress_atq_writer, regress_atq_boss, regress_atq_deputy;
