-- Where tasks run: asynctasq.home, as copies of a database find it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE ROLE regress_atq_home LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_home;
CREATE SCHEMA regress_atq_home;
SET search_path = regress_atq_home, asynctasq;
CREATE TABLE ran (n int);
CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql
BEGIN ATOMIC INSERT INTO ran VALUES (n); END;
SELECT register_handler('note', 'note(int)');
CREATE VIEW homes AS
SELECT database = (SELECT oid FROM pg_database
                   WHERE datname = current_database()) AS this_database,
       h.system_identifier = s.system_identifier AS this_cluster,
       version = current_setting('server_version_num')::int / 10000 AS version,
       here
FROM asynctasq.home AS h, pg_control_system() AS s
ORDER BY 1, 2;
CREATE FUNCTION dispatched(n int) RETURNS bool LANGUAGE sql
RETURN asynctasq.dispatch('note', asynctasq.args('n', n)) > 0;

-- CREATE EXTENSION has written the row.
TABLE homes;
SELECT dispatched(1);
SELECT drain();

-- A template's copy that has no tasks is their home from the first one on.
UPDATE home SET database = 1;
SELECT dispatched(2);
TABLE homes;
SELECT drain();

-- One that has tasks is not, until they are adopted.
SELECT dispatched(3);
DELETE FROM home WHERE database = 1;
UPDATE home SET database = 1;
SELECT dispatched(4);
SELECT drain();
SELECT count(*) FROM tasks;
BEGIN;
SELECT adopt();
ROLLBACK;
SELECT drain();
SELECT adopt();
SELECT drain();
TABLE homes;
DELETE FROM home WHERE database = 1;

-- Another cluster: a copy of the same version, and an upgrade.
SELECT dispatched(5);
UPDATE home SET system_identifier = 1;
SELECT drain();
UPDATE home SET version = version - 1;
SELECT drain();
TABLE homes;
SELECT dispatched(6);
DELETE FROM home WHERE system_identifier <> 1;
INSERT INTO home SELECT database, 2, version, false FROM home;
SELECT drain();
DELETE FROM home WHERE system_identifier IN (1, 2);
SELECT dispatched(7);
SELECT drain();
SELECT adopt();
SELECT drain();

-- Tasks that come in another way than dispatch().
SELECT dispatched(8);
BEGIN;
INSERT INTO task SELECT id + 1000, dispatched_at, run_at, queue_id, priority,
    attempt, durable, task, args FROM task;
SELECT drain();
ROLLBACK;
TABLE homes;
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO task SELECT id + 1000, dispatched_at, run_at, queue_id, priority,
    attempt, durable, task, args FROM task;
COMMIT;
TABLE homes;
SELECT dispatched(9);
SELECT drain();
SELECT adopt();
SELECT drain();
ALTER TABLE task_unlogged DISABLE TRIGGER ALL;
TABLE homes;
SELECT adopt();
ALTER TABLE task_unlogged ENABLE ALWAYS TRIGGER task_copied;
ALTER TABLE handler DISABLE TRIGGER ALL;
ALTER TABLE handler ENABLE ALWAYS TRIGGER registry_changed;
TABLE homes;

-- Who may adopt, and when.
SET ROLE regress_atq_home;
SELECT adopt();
RESET ROLE;
BEGIN READ ONLY;
SELECT adopt();
ROLLBACK;
SELECT task_copied();
SELECT queue_made();
CREATE TABLE not_a_queue (id text);
CREATE TRIGGER made AFTER INSERT ON not_a_queue FOR EACH ROW EXECUTE FUNCTION queue_made();
INSERT INTO not_a_queue VALUES ('a text');
DROP TRIGGER made ON not_a_queue;
CREATE TRIGGER made AFTER INSERT ON asynctasq.queue EXECUTE FUNCTION queue_made();
SELECT create_queue('none');
DROP TRIGGER made ON asynctasq.queue;
SELECT n, count(*) FROM ran GROUP BY n ORDER BY n;

RESET search_path;
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA regress_atq_home CASCADE;
DROP OWNED BY regress_atq_home;
DROP ROLE regress_atq_home;
