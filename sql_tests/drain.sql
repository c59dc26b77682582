--
-- drain() in a client's session: the tasks gain nothing of the client's rights
-- and leave the session as it was
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse
SELECT current_user AS super \gset
CREATE ROLE regress_atq_drain LOGIN;
CREATE ROLE regress_atq_climber LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_drain, regress_atq_climber;
CREATE SCHEMA drain AUTHORIZATION regress_atq_drain;
GRANT USAGE, CREATE ON SCHEMA drain TO regress_atq_climber;

CREATE FUNCTION outcome() RETURNS TABLE (task text, sqlstate text, message text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.drain();
	RETURN QUERY
		SELECT coalesce(d.args ->> 'command', d.task), d.error ->> 'sqlstate', d.error ->> 'message'
		FROM asynctasq.dead_letters d ORDER BY d.id;
	PERFORM asynctasq.purge_queue('default', true);
END $$;

--
-- Rights
--
SET SESSION AUTHORIZATION regress_atq_climber;
CREATE FUNCTION drain.rise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'rising as %', current_user;
	RESET ROLE;
	RESET SESSION AUTHORIZATION;
	ALTER ROLE regress_atq_climber SUPERUSER;
	RETURN NULL;
END $$;
CREATE FUNCTION drain.rising() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'rising as %', current_user;
	RESET ROLE;
	RESET SESSION AUTHORIZATION;
	ALTER ROLE regress_atq_climber SUPERUSER;
	RETURN 1;
END $$;
CREATE TABLE drain.ladder (n int);
CREATE CONSTRAINT TRIGGER rise AFTER INSERT ON drain.ladder DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION drain.rise();
CREATE FUNCTION drain.climb(command text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; END $$;
CREATE FUNCTION drain.climb_again(task jsonb, error jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE task -> 'args' ->> 'command'; END $$;
CREATE FUNCTION drain.ask_to_climb(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE task -> 'args' ->> 'command'; RETURN false; END $$;
CREATE FUNCTION drain.climb_all(command text[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE command[1]; END $$;
SELECT asynctasq.register_handler('climb', 'drain.climb(text)', max_attempts => 1, on_failure => 'drain.climb_again(jsonb, jsonb)'),
	asynctasq.register_handler('climb twice', 'drain.climb(text)', max_attempts => 2, should_retry => 'drain.ask_to_climb(jsonb, jsonb)'),
	asynctasq.register_handler('climb together', 'drain.climb_all(text[])', max_attempts => 1, batch_size => 5);
CREATE FUNCTION drain.try(command text) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(asynctasq.dispatch(name, asynctasq.args('command', command))) FROM unnest('{climb,climb twice,climb together}'::text[]) AS name
$$;
CREATE FUNCTION drain.try_all() RETURNS numeric LANGUAGE sql AS $$
	SELECT sum(drain.try(command)) FROM unnest(ARRAY['RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE postgres', 'SET SESSION AUTHORIZATION DEFAULT',
		'SELECT set_config(''role'', ''none'', false)', 'INSERT INTO drain.ladder VALUES (1)', 'DECLARE c CURSOR WITH HOLD FOR SELECT drain.rising()',
		'CREATE TEMP TABLE t ON COMMIT DROP AS SELECT drain.rising()', 'SELECT drain.rising()', 'DO $d$ BEGIN COMMIT; END $d$']) AS command
$$;
RESET SESSION AUTHORIZATION;

-- by a superuser, as another user in two ways, and by way of a function of the owner's
BEGIN;
SET LOCAL ROLE regress_atq_climber;
SELECT drain.try_all();
SELECT DISTINCT task, sqlstate, message FROM outcome() ORDER BY 1;
COMMIT;
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_atq_climber';
SET SESSION AUTHORIZATION regress_atq_climber;
BEGIN;
SELECT drain.try_all();
SELECT count(*) FROM outcome();
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_atq_climber';
CREATE FUNCTION drain.drain() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT asynctasq.drain()';
ALTER FUNCTION drain.drain() OWNER TO regress_atq_climber;
SET SESSION AUTHORIZATION regress_atq_climber;
SELECT drain.try_all();
RESET SESSION AUTHORIZATION;
SELECT drain.drain();
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_atq_climber';
-- the caller is who he was
SELECT current_user = session_user AS same;
CREATE TEMP TABLE still_allowed ();
SET ROLE regress_atq_climber;
RESET ROLE;

--
-- Who drains his own tasks: the session is the same afterwards, and for each task
--
\c - regress_atq_drain
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE TABLE drain.parents (id int PRIMARY KEY);
CREATE TABLE drain.children (parent int REFERENCES drain.parents DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION drain.session() RETURNS TABLE (what text, name text) LANGUAGE sql AS $$
	SELECT 'cursor', name FROM pg_cursors WHERE name !~ '^<unnamed'
	UNION ALL SELECT 'statement', name FROM pg_prepared_statements
	UNION ALL SELECT 'temporary', relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'v', 'S')
	UNION ALL SELECT 'temporary', proname FROM pg_proc WHERE pronamespace = pg_my_temp_schema()
	UNION ALL SELECT 'temporary', typname FROM pg_type WHERE typnamespace = pg_my_temp_schema() AND typrelid = 0 AND typelem = 0
	UNION ALL SELECT 'lock', objid::text FROM pg_locks WHERE locktype = 'advisory'
	UNION ALL SELECT 'channel', c FROM pg_listening_channels() AS c
	UNION ALL SELECT 'setting', current_setting('drain.x', true)
	UNION ALL SELECT 'setting', current_setting('work_mem')
	ORDER BY 1, 2
$$;
CREATE FUNCTION drain.work(command text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	before jsonb := (SELECT jsonb_agg(concat_ws(' ', what, name)) FROM drain.session());
	c CURSOR FOR SELECT 1;
BEGIN
	OPEN c;
	EXECUTE command;
	RETURN before;
END $$;
SELECT asynctasq.register_handler('work', 'drain.work(text)', max_attempts => 1, keep_result => true);
-- what the client has
SET drain.x = 'mine';
SET work_mem = '5MB';
PREPARE mine AS SELECT 1;
CREATE TEMP TABLE mine (n int);
LISTEN mine;
SELECT pg_advisory_lock(7);
BEGIN;
DECLARE mine CURSOR FOR SELECT generate_series(1, 3);
FETCH mine;
CREATE TEMP TABLE mine_too ();
CREATE FUNCTION drain.try() RETURNS TABLE (command text, outcome text, same boolean) LANGUAGE plpgsql AS $f$
DECLARE
	before jsonb := (SELECT jsonb_agg(s) FROM drain.session() AS s);
	id bigint;
BEGIN
	FOREACH command IN ARRAY ARRAY['SET drain.x = ''theirs''', 'SELECT set_config(''work_mem'', ''7MB'', true)', 'SET SESSION work_mem = ''7MB''', 'RESET ALL',
		'PREPARE theirs AS SELECT 1', 'CREATE TEMP TABLE theirs (n serial)', 'CREATE TEMP VIEW theirs AS SELECT 1', 'CREATE FUNCTION pg_temp.theirs() RETURNS int LANGUAGE sql RETURN 1',
		'CREATE TYPE pg_temp.theirs AS ENUM ()', 'CREATE TEMP SEQUENCE theirs', 'CREATE TEMP TABLE theirs ON COMMIT DROP AS SELECT 1', 'DO $$ BEGIN CREATE TEMP TABLE theirs (); EXCEPTION WHEN OTHERS THEN NULL; END $$',
		'DECLARE theirs CURSOR WITH HOLD FOR SELECT 1', 'DECLARE theirs CURSOR FOR SELECT 1',
		'INSERT INTO mine VALUES (1)', 'SELECT pg_notify(''theirs'', ''news'')', 'NOTIFY theirs', 'SELECT pg_advisory_xact_lock(7)',
		'SELECT pg_advisory_lock(8)', 'SELECT pg_try_advisory_lock_shared(1, 2)', 'SELECT pg_advisory_unlock(7)', 'SELECT pg_advisory_unlock_all()',
		'DEALLOCATE mine', 'DEALLOCATE ALL', 'CLOSE mine', 'CLOSE ALL', 'FETCH mine', 'MOVE mine', 'LISTEN theirs', 'UNLISTEN *', 'DISCARD TEMP', 'DISCARD PLANS', 'DISCARD SEQUENCES', 'DISCARD ALL',
		'SELECT setseed(0.5)', 'LOAD ''plpgsql''', 'SELECT asynctasq.drain()', 'SELECT 1 / 0']
	LOOP
		id := asynctasq.dispatch('work', asynctasq.args('command', command));
		PERFORM asynctasq.drain();
		outcome := CASE WHEN (asynctasq.task_info(id)).status = 'failed' THEN (asynctasq.task_info(id)).error ->> 'message' ELSE 'done' END;
		same := before IS NOT DISTINCT FROM (SELECT jsonb_agg(s) FROM drain.session() AS s);
		RETURN NEXT;
	END LOOP;
END $f$;
SELECT * FROM drain.session();
SELECT * FROM drain.try();
FETCH mine;
SELECT * FROM drain.session();
COMMIT;
EXECUTE mine;
-- a deferred constraint is checked when the client commits
BEGIN;
SELECT asynctasq.dispatch('work', asynctasq.args('command', 'INSERT INTO drain.children VALUES (1)')) > 0 AS ok;
SELECT asynctasq.drain();
INSERT INTO drain.parents VALUES (1);
COMMIT;
-- a timeout holds here too
SELECT asynctasq.register_handler('work', 'drain.work(text)', max_attempts => 1, timeout => '20 ms');
SELECT asynctasq.dispatch('work', asynctasq.args('command', 'SELECT pg_sleep(3600)')) > 0 AS ok;
SELECT asynctasq.dispatch('work', asynctasq.args('command', 'DO $$ BEGIN PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN END $$')) > 0 AS ok;
SELECT asynctasq.drain();
SELECT error ->> 'sqlstate' AS sqlstate, error ->> 'message' AS message FROM asynctasq.dead_letters WHERE error ->> 'sqlstate' = '57014';
-- a cursor that goes may take another along, which iterate() has opened for it
INSERT INTO drain.parents SELECT generate_series(100, 110);
CREATE FUNCTION drain.half(cursor refcursor) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	row jsonb;
BEGIN
	OPEN cursor FOR SELECT asynctasq.iterate(asynctasq.objects('drain.parents'), 1);
	FETCH cursor INTO row;
END $$;
SELECT asynctasq.register_handler('half', 'drain.half(refcursor)', max_attempts => 1);
SELECT count(asynctasq.dispatch('half', asynctasq.args('cursor', 'c' || n))) FROM generate_series(1, 20) AS n;
SELECT asynctasq.drain();
SELECT count(*) FROM pg_cursors WHERE name ~ '^c|^<unnamed' AND NOT statement ~ 'pg_cursors';
SELECT count(*) FROM asynctasq.dead_letters WHERE task = 'half';
-- the client's own timeout is his
SET statement_timeout = '50 ms';
SELECT asynctasq.register_handler('work', 'drain.work(text)', max_attempts => 1);
SELECT asynctasq.dispatch('work', asynctasq.args('command', 'SELECT pg_sleep(3600)')) AS id \gset
SELECT asynctasq.drain();
RESET statement_timeout;
-- and ends his statement, no less and no more
SELECT status FROM asynctasq.task_info(:id);
BEGIN;
SAVEPOINT s;
SET LOCAL statement_timeout = '50 ms';
SELECT asynctasq.drain();
ROLLBACK TO s;
SELECT status FROM asynctasq.task_info(:id);
COMMIT;
SELECT pg_advisory_unlock(7);
SELECT asynctasq.purge_queue('default', true) > 0 AS purged;
-- tasks that it makes ready itself, in more than one step
SELECT count(asynctasq.dispatch('work', asynctasq.args('command', 'SELECT'), delay => '1 ms')) FROM generate_series(1, 250);
DO $$ BEGIN WHILE EXISTS (SELECT FROM asynctasq.tasks WHERE run_at > clock_timestamp()) LOOP END LOOP; END $$;
SELECT asynctasq.drain();
SELECT count(*) FROM asynctasq.tasks;

\c - :super
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA drain CASCADE;
DROP FUNCTION outcome();
DROP OWNED BY regress_atq_drain, regress_atq_climber;
DROP ROLE regress_atq_drain, regress_atq_climber;
