--
-- A row that its role may not read is as absent from a task as from a SELECT
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE ROLE regress_atq_owner LOGIN;
CREATE ROLE regress_atq_reader LOGIN;
CREATE ROLE regress_atq_group;
GRANT regress_atq_group TO regress_atq_reader;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_owner, regress_atq_reader;
CREATE SCHEMA visible AUTHORIZATION regress_atq_owner;
GRANT USAGE ON SCHEMA visible TO regress_atq_reader;
SET SESSION AUTHORIZATION regress_atq_owner;
SET search_path = visible;
CREATE TABLE all_rows (id int PRIMARY KEY, secret text);
CREATE TABLE some_rows (id int PRIMARY KEY, reader name, secret text, all_id int REFERENCES all_rows);
CREATE TABLE some_columns (id int PRIMARY KEY, open text, secret text, some_id int REFERENCES some_rows);
INSERT INTO all_rows VALUES (1, 'canary one'), (2, 'canary two');
INSERT INTO some_rows VALUES (1, 'regress_atq_reader', 'of the reader', 1), (2, 'regress_atq_owner', 'canary of the owner', 2);
INSERT INTO some_columns VALUES (1, 'open', 'canary column', 1), (2, 'open', 'canary column', 2);
ALTER TABLE some_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON some_rows USING (reader = current_user);
GRANT SELECT ON some_rows TO regress_atq_reader;
GRANT SELECT (id, open, some_id) ON some_columns TO regress_atq_reader;
SELECT asynctasq.register_model('All', 'all_rows', on_missing => 'error'),
	asynctasq.register_model('Some', 'some_rows', on_missing => 'error'),
	asynctasq.register_model('Columns', 'some_columns', on_missing => 'error');

CREATE TABLE got (who name DEFAULT current_user, value text);
GRANT INSERT ON got TO PUBLIC;
CREATE FUNCTION take(v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO visible.got (value) VALUES (v) $$;
CREATE FUNCTION follow(v asynctasq.msgpack, name text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO visible.got (value) VALUES (coalesce(asynctasq.fetch_related(v, name)::text, 'NULL'))
$$;
CREATE FUNCTION outcome() RETURNS TABLE (outcome text) LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	RETURN QUERY SELECT who || ' got ' || value FROM visible.got;
	DELETE FROM visible.got;
END $$;
CREATE FUNCTION failures() RETURNS TABLE (failure text, everything text) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY
		SELECT concat_ws(' ', d.error ->> 'sqlstate', d.error ->> 'message', '| ' || (d.error ->> 'detail'), '| ' || (d.error ->> 'hint')),
			CASE WHEN d.error::text ~ 'canary' THEN d.error::text END
		FROM asynctasq.dead_letters d ORDER BY d.id;
	PERFORM asynctasq.purge_queue('default', true);
END $$;
CREATE FUNCTION send(class text, key text, name text DEFAULT NULL, handler text DEFAULT 'take') RETURNS void LANGUAGE sql AS $$
	SELECT CASE WHEN name IS NULL THEN asynctasq.dispatch(current_user || handler, asynctasq.args('v', r))
		ELSE asynctasq.dispatch(current_user || 'follow', asynctasq.args('v', r, 'name', name)) END
	FROM CAST(format('{"__orm:sqlalchemy__": %s, "__orm_class__": "%s"}', key, class) AS asynctasq.msgpack) AS r
$$;
SELECT asynctasq.register_handler(current_user || 'take', 'take(jsonb)', max_attempts => 1),
	asynctasq.register_handler(current_user || 'follow', 'follow(asynctasq.msgpack, text)', max_attempts => 1);
SET SESSION AUTHORIZATION regress_atq_reader;
SELECT asynctasq.register_handler(current_user || 'take', 'take(jsonb)', max_attempts => 1),
	asynctasq.register_handler(current_user || 'lock', 'take(jsonb)', max_attempts => 1, lock => 'share'),
	asynctasq.register_handler(current_user || 'follow', 'follow(asynctasq.msgpack, text)', max_attempts => 1);

-- no privilege on the table, on a column; row security; and what may be read
SELECT send('All', '1'), send('Columns', '1'), send('Some', '2'), send('Some', '1');
SELECT asynctasq.drain();
SELECT * FROM outcome();
SELECT * FROM failures();
-- the same words for a row that is not there
SELECT send('Some', '3'), send('All', '3');
SELECT asynctasq.drain();
SELECT * FROM failures();
-- what a SELECT says
SELECT * FROM all_rows WHERE id = 1;
SELECT * FROM some_columns WHERE id = 1;
SELECT count(*) FROM some_rows WHERE id = 2;

-- along a foreign key: columns that are granted suffice to follow, rows are those of a SELECT
SELECT send('Columns', '1', 'some_id'), send('Columns', '2', 'some_id'), send('Some', '1', 'all_id'), send('Some', '2', 'all_id');
SELECT asynctasq.drain();
SELECT * FROM outcome();
SELECT * FROM failures();

-- a lock needs more than SELECT, as FOR SHARE does
SELECT send('Some', '1', handler => 'lock');
SELECT asynctasq.drain();
SELECT * FROM failures();
SELECT id FROM some_rows FOR SHARE;
RESET SESSION AUTHORIZATION;
GRANT UPDATE (secret) ON visible.some_rows TO regress_atq_reader;
SET SESSION AUTHORIZATION regress_atq_reader;
SELECT send('Some', '1', handler => 'lock'), send('Some', '2', handler => 'lock');
SELECT asynctasq.drain();
SELECT * FROM outcome();
SELECT * FROM failures();

-- the owner is exempt, until row security is forced on him
SET SESSION AUTHORIZATION regress_atq_owner;
SELECT send('Some', '1');
SELECT asynctasq.drain();
SELECT * FROM outcome();
ALTER TABLE some_rows FORCE ROW LEVEL SECURITY;
SELECT send('Some', '1'), send('Some', '2');
SELECT asynctasq.drain();
SELECT * FROM outcome();
SELECT * FROM failures();

-- in one session as two roles, each by its own rights
RESET SESSION AUTHORIZATION;
SET ROLE regress_atq_reader;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}') ->> 'secret';
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 2, "__orm_class__": "Some"}') ->> 'secret';
SET ROLE regress_atq_owner;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}') ->> 'secret';
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 2, "__orm_class__": "Some"}') ->> 'secret';
RESET ROLE;
SELECT asynctasq.fetch('[{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}, {"__orm:sqlalchemy__": 2, "__orm_class__": "Some"}]') -> 1 ->> 'id' AS superuser;
SET ROLE regress_atq_reader;
SELECT asynctasq.fetch('[{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}, {"__orm:sqlalchemy__": 2, "__orm_class__": "Some"}]');
SET row_security = off;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}');
RESET row_security;

-- rights that change are followed at once: of the schema, by way of a group too
RESET ROLE;
REVOKE USAGE ON SCHEMA visible FROM regress_atq_reader;
SET ROLE regress_atq_reader;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}');
RESET ROLE;
GRANT USAGE ON SCHEMA visible TO regress_atq_group;
SET ROLE regress_atq_reader;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}') ->> 'secret';
RESET ROLE;
REVOKE regress_atq_group FROM regress_atq_reader;
SET ROLE regress_atq_reader;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "Some"}') ->> 'secret';

RESET ROLE;
RESET search_path;
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA visible CASCADE;
DROP OWNED BY regress_atq_owner, regress_atq_reader, regress_atq_group;
DROP ROLE regress_atq_owner, regress_atq_reader, regress_atq_group;
