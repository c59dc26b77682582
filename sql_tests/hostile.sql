--
-- Roles that mean ill: owners of handlers, dispatchers, and what their tables,
-- functions and objects in the way could make others do
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE ROLE regress_atq_victim LOGIN;
CREATE ROLE regress_atq_evil LOGIN;
CREATE ROLE regress_atq_deputy LOGIN;
GRANT regress_atq_victim TO regress_atq_deputy;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_victim, regress_atq_evil;
CREATE SCHEMA victim AUTHORIZATION regress_atq_victim;
CREATE SCHEMA evil AUTHORIZATION regress_atq_evil;
GRANT USAGE ON SCHEMA evil, victim TO PUBLIC;

--
-- The extension's own tables: nobody can attach anything to them
--
SET SESSION AUTHORIZATION regress_atq_evil;
CREATE FUNCTION evil.harm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'called by %', current_user; RETURN NULL; END $$;
CREATE FUNCTION evil.harm(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'called by %', current_user; RETURN ''; END $$;
CREATE TABLE evil.outcomes (attacker name DEFAULT current_user, relation name, attack text, outcome text, message text);
GRANT INSERT ON evil.outcomes TO PUBLIC;
CREATE PROCEDURE evil.attack() LANGUAGE plpgsql AS $$
DECLARE
	attack text;
	relation name;
BEGIN
	FOR relation IN
		SELECT c.relname FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid
		WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'v')
			AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'asynctasq')
	LOOP
		FOREACH attack IN ARRAY ARRAY[
			'CREATE TRIGGER t AFTER INSERT ON asynctasq.%1$I FOR EACH STATEMENT EXECUTE FUNCTION evil.harm()',
			'CREATE CONSTRAINT TRIGGER t AFTER INSERT ON asynctasq.%1$I DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.harm()',
			'CREATE RULE r AS ON INSERT TO asynctasq.%1$I DO ALSO NOTIFY x',
			'CREATE POLICY p ON asynctasq.%1$I USING (true)',
			'ALTER TABLE asynctasq.%1$I ENABLE ROW LEVEL SECURITY',
			'CREATE INDEX ON asynctasq.%1$I (evil.harm(''''))',
			'CREATE STATISTICS evil.s ON (evil.harm('''')) FROM asynctasq.%1$I',
			'CREATE TABLE evil.child () INHERITS (asynctasq.%1$I)',
			'CREATE TABLE evil.part PARTITION OF asynctasq.%1$I DEFAULT',
			'CREATE TABLE evil.referrer (n bigint REFERENCES asynctasq.%1$I ON DELETE CASCADE)',
			'ALTER TABLE asynctasq.%1$I ADD CHECK (evil.harm('''') IS NULL)',
			'ALTER TABLE asynctasq.%1$I ADD COLUMN x text DEFAULT evil.harm('''')',
			'CREATE PUBLICATION p FOR TABLE asynctasq.%1$I',
			'LOCK TABLE asynctasq.%1$I IN ACCESS SHARE MODE',
			'INSERT INTO asynctasq.%1$I DEFAULT VALUES',
			'UPDATE asynctasq.%1$I SET task = '''' ',
			'DELETE FROM asynctasq.%1$I',
			'TRUNCATE asynctasq.%1$I',
			'DROP TABLE asynctasq.%1$I']
		LOOP
			BEGIN
				EXECUTE format(attack, relation);
				INSERT INTO evil.outcomes VALUES (DEFAULT, relation, attack, 'done', '');
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO evil.outcomes VALUES (DEFAULT, relation, attack, SQLSTATE, SQLERRM);
			END;
		END LOOP;
	END LOOP;
END $$;
-- by whoever has to do with the extension, and may otherwise do what an attack takes
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_atq_granted LOGIN;
CREATE ROLE regress_atq_watch LOGIN IN ROLE pg_monitor;
CREATE ROLE regress_atq_writer LOGIN IN ROLE pg_write_all_data;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_granted, regress_atq_watch, regress_atq_writer;
SELECT current_database() AS db \gset
GRANT CREATE ON DATABASE :"db" TO regress_atq_evil, regress_atq_victim, regress_atq_granted, regress_atq_watch, regress_atq_writer;
GRANT CREATE ON SCHEMA evil TO regress_atq_victim, regress_atq_granted, regress_atq_watch, regress_atq_writer;
SET SESSION AUTHORIZATION regress_atq_evil;
CALL evil.attack();
SET SESSION AUTHORIZATION regress_atq_victim;
CREATE FUNCTION victim.nothing() RETURNS void LANGUAGE sql AS '';
SELECT asynctasq.register_handler('victim_nothing', 'victim.nothing()'), asynctasq.grant_dispatch('victim_nothing', 'regress_atq_granted');
CALL evil.attack();
SELECT asynctasq.unregister_handler('victim_nothing');
SET SESSION AUTHORIZATION regress_atq_granted;
CALL evil.attack();
SET SESSION AUTHORIZATION regress_atq_watch;
CALL evil.attack();
SET SESSION AUTHORIZATION regress_atq_writer;
CALL evil.attack();
RESET SESSION AUTHORIZATION;
SELECT attacker, count(*) > 200 AS attacks FROM evil.outcomes GROUP BY attacker ORDER BY attacker COLLATE "C";
-- who sees a view may lock it as a reader; what fails otherwise fails for all
SELECT attacker, relation, attack FROM evil.outcomes WHERE outcome = 'done' AND attack !~ '^LOCK';
-- not for want of something else
SELECT attacker, attack, message FROM evil.outcomes
WHERE outcome = '42501' AND message !~ ('^(permission denied for|must be owner of) (table|view|relation) ' || relation || '$');
SELECT attack, outcome, attackers, string_agg(relation, ' ' ORDER BY relation COLLATE "C")
FROM (SELECT attack, outcome, relation, count(*) AS attackers FROM evil.outcomes GROUP BY attack, outcome, relation) AS o
	JOIN pg_class AS c ON c.relname = relation AND c.relnamespace = 'asynctasq'::regnamespace
WHERE relkind IN ('r', 'p') AND outcome NOT IN ('42501', 'done') GROUP BY attack, outcome, attackers ORDER BY attack COLLATE "C", outcome;
REVOKE CREATE ON SCHEMA evil FROM regress_atq_victim;
REVOKE CREATE ON DATABASE :"db" FROM regress_atq_evil, regress_atq_victim;
DROP OWNED BY regress_atq_granted, regress_atq_watch, regress_atq_writer;
DROP ROLE regress_atq_granted, regress_atq_watch, regress_atq_writer;
SET SESSION AUTHORIZATION regress_atq_evil;
-- nor put something into the schema
CREATE FUNCTION asynctasq.dispatch(text, jsonb) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR asynctasq.= (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
ALTER FUNCTION asynctasq.dispatch_payload(bytea, interval) SECURITY DEFINER;
ALTER EXTENSION asynctasq ADD FUNCTION evil.harm();
DROP EXTENSION asynctasq;
RESET SESSION AUTHORIZATION;

--
-- A dispatcher chooses the model that a reference names.  What reading it calls
-- must not act as the handler's role.
--
SET SESSION AUTHORIZATION regress_atq_victim;
SET search_path = victim;
CREATE TABLE secrets (id int PRIMARY KEY, secret text);
INSERT INTO secrets VALUES (1, 'canary');
CREATE FUNCTION take(v jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'took %', v; END $$;
CREATE FUNCTION take_all(v jsonb[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'took %', v; END $$;
CREATE FUNCTION follow(v asynctasq.msgpack) RETURNS void LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'followed to %', asynctasq.fetch_related(v, 'other'); END $$;
SELECT asynctasq.register_handler('victim_take', 'take(jsonb)', max_attempts => 1), asynctasq.grant_dispatch('victim_take', 'regress_atq_evil'),
	asynctasq.register_handler('victim_lock', 'take(jsonb)', max_attempts => 1, lock => 'share'), asynctasq.grant_dispatch('victim_lock', 'regress_atq_evil'),
	asynctasq.register_handler('victim_take_all', 'take_all(jsonb[])', max_attempts => 1, batch_size => 10), asynctasq.grant_dispatch('victim_take_all', 'regress_atq_evil'),
	asynctasq.register_handler('victim_follow', 'follow(asynctasq.msgpack)', max_attempts => 1), asynctasq.grant_dispatch('victim_follow', 'regress_atq_evil');

SET SESSION AUTHORIZATION regress_atq_evil;
SET search_path = evil;
CREATE TABLE log (what text);
GRANT INSERT ON log TO PUBLIC;
-- what all of it comes down to
CREATE FUNCTION steal() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO evil.log SELECT current_user || ' gave ' || secret FROM victim.secrets;
	RAISE NOTICE '% has been robbed', current_user;
	RETURN true;
END $$;
-- one that lies about itself, one that hides in an operator, in a domain, in a type
CREATE FUNCTION lie(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN evil.steal(); END $$;
CREATE FUNCTION compare(int, int) RETURNS boolean STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN evil.steal(); END $$;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = compare, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE DOMAIN checked AS int CHECK (evil.lie(VALUE));
CREATE TYPE pair AS (n checked);
CREATE TYPE told AS ENUM ('x');
CREATE FUNCTION tell(told) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.steal(); RETURN '1'; END $$;
CREATE CAST (told AS json) WITH FUNCTION tell(told);
CREATE TABLE in_cast (id int PRIMARY KEY, n told);
INSERT INTO in_cast VALUES (1, 'x');
CREATE AGGREGATE sums(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE TABLE plain (id int PRIMARY KEY, other int REFERENCES plain);
INSERT INTO plain SELECT n % 3, n % 3 FROM generate_series(0, 2) AS n;
CREATE TABLE policed (id int PRIMARY KEY, other int REFERENCES plain);
INSERT INTO policed TABLE plain;
ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON policed USING (evil.steal());
CREATE TABLE harmless (id int PRIMARY KEY, reader name);
INSERT INTO harmless VALUES (1, 'regress_atq_victim'), (2, 'regress_atq_evil');
ALTER TABLE harmless ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON harmless USING (reader = current_user OR reader = current_setting('evil.reader', true));
CREATE TABLE indexed (id int PRIMARY KEY, other int REFERENCES plain);
INSERT INTO indexed VALUES (1, 1);
CREATE TABLE partial (id int NOT NULL, n int);
INSERT INTO partial VALUES (1, 1);
-- made when it did no harm yet
CREATE FUNCTION later(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;
CREATE INDEX ON indexed (id) WHERE evil.later(1);
CREATE UNIQUE INDEX ON partial (id) WHERE evil.later(1);
CREATE VIEW called AS SELECT 1 AS id, evil.steal() AS x;
CREATE VIEW in_from AS SELECT 1 AS id, x FROM evil.steal() AS x;
CREATE VIEW in_operator AS SELECT * FROM plain WHERE id === 1;
CREATE VIEW in_domain AS SELECT 1 AS id, '1'::text::checked AS n;
CREATE VIEW in_type AS SELECT 1 AS id, '(1)'::text::pair AS n;
CREATE VIEW in_json AS SELECT 1 AS id, jsonb_populate_record(NULL::pair, '{"n": 1}') AS n;
CREATE VIEW in_aggregate AS SELECT 1 AS id, sums(id) FROM plain;
CREATE VIEW deputised AS SELECT 1 AS id, asynctasq.register_handler('evil_two', 'evil.steal()') IS NULL AS x;
CREATE VIEW set_role AS SELECT 1 AS id, set_config('evil.x', 'y', false) AS x;
CREATE OR REPLACE FUNCTION later(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN evil.steal(); END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
GRANT UPDATE ON ALL TABLES IN SCHEMA evil TO PUBLIC;
GRANT REFERENCES ON plain, policed TO PUBLIC;
ANALYZE plain;
SELECT asynctasq.register_model('evil.' || name, ('evil.' || name)::regclass, key => '{id}')
FROM unnest('{called,in_from,in_operator,in_domain,in_type,in_json,in_cast,in_aggregate,deputised,set_role,policed,harmless,indexed,partial,plain}'::text[]) AS name;
TRUNCATE log;
CREATE FUNCTION send(handler text, name text) RETURNS boolean LANGUAGE sql AS $$
	SELECT asynctasq.dispatch(handler, asynctasq.args('v', format('{"__orm:%s__": 1, "__orm_class__": "%s"}',
		CASE WHEN name ~ '^table ' THEN 'postgres' ELSE 'sqlalchemy' END, replace(name, 'table ', ''))::asynctasq.msgpack)) > 0
$$;
CREATE VIEW attempts AS SELECT handler, name FROM unnest('{victim_take,victim_take_all,victim_lock,victim_follow}'::text[]) WITH ORDINALITY AS h (handler, h),
	unnest('{evil.called,evil.in_from,evil.in_operator,evil.in_domain,evil.in_type,evil.in_json,evil.in_cast,evil.in_aggregate,evil.deputised,evil.set_role,evil.policed,evil.indexed,evil.partial,table evil.policed,table evil.indexed}'::text[]) WITH ORDINALITY AS n (name, n)
WHERE CASE handler WHEN 'victim_follow' THEN name ~ 'policed|indexed' WHEN 'victim_lock' THEN true ELSE name !~ 'indexed' END
ORDER BY h, n;
SELECT count(send(handler, name)) FROM attempts;
SELECT send('victim_take', 'evil.harmless'), send('victim_take', 'evil.plain'), send('victim_follow', 'evil.plain'), send('victim_lock', 'evil.plain');

SET SESSION AUTHORIZATION regress_atq_victim;
SELECT asynctasq.drain() > 41 AS ran;
TABLE evil.log;
SELECT name FROM asynctasq.handler_counters() AS c (name) WHERE name ~ 'evil';
SELECT d.task, d.args #>> '{v,__orm_class__}' AS class, d.error ->> 'sqlstate' AS sqlstate, d.error ->> 'message' AS message FROM asynctasq.dead_letters AS d ORDER BY id;
SELECT DISTINCT error ->> 'detail' AS detail, error ->> 'hint' AS hint FROM asynctasq.dead_letters WHERE error ->> 'message' ~ 'must not be called';
SELECT asynctasq.purge_queue('default', true) > 40 AS purged;
-- the index alone, without a plan, calls nothing; where a library wants to be
-- asked about privileges, there is a plan
SET SESSION AUTHORIZATION regress_atq_evil;
SELECT count(evil.send(handler, name)) FROM unnest('{victim_take,victim_take_all}'::text[]) AS handler, unnest('{evil.indexed,table evil.indexed}'::text[]) AS name;
SET SESSION AUTHORIZATION regress_atq_victim;
SET client_min_messages = warning;
SELECT asynctasq.drain();
RESET client_min_messages;
TABLE evil.log;
SELECT count(*) = CASE WHEN EXISTS (SELECT FROM pg_settings WHERE name = 'pgaudit.log') THEN 4 ELSE 0 END AS as_it_should,
	count(*) FILTER (WHERE error ->> 'sqlstate' <> '42501') AS other_errors FROM asynctasq.dead_letters;
SELECT asynctasq.purge_queue('default', true) >= 0 AS purged;
-- who fetches a payload is as safe
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.called"}');
SELECT asynctasq.fetch_related('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.policed"}', 'other');
CREATE TABLE victim.trusting (id int PRIMARY KEY, other int REFERENCES evil.plain, policed int REFERENCES evil.policed);
INSERT INTO victim.trusting VALUES (1, 1, 1);
SELECT asynctasq.fetch_related('{"__orm:postgres__": 1, "__orm_class__": "victim.trusting"}', 'other');
SELECT asynctasq.fetch_related('{"__orm:postgres__": 1, "__orm_class__": "victim.trusting"}', 'policed');
RESET SESSION AUTHORIZATION;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.called"}');
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.policed"}') ->> 'id' AS superuser_has_no_policies;
-- also after its owner has read it in the same session, and before
SET ROLE regress_atq_evil;
CREATE FUNCTION evil.admit() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'called by %', current_user; RETURN true; END $$;
CREATE VIEW evil.own AS SELECT 1 AS id, evil.admit() AS x;
SELECT asynctasq.register_model('evil.own', 'evil.own', key => '{id}');
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.own"}');
RESET ROLE;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.own"}');
SET ROLE regress_atq_evil;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.own"}');
RESET ROLE;
-- the guard ends with the fetch
SELECT evil.admit();
-- a superuser, the reader, or who can act as the reader vouches for a model
GRANT SELECT ON evil.own TO regress_atq_victim, regress_atq_deputy;
DO $$ BEGIN PERFORM asynctasq.unregister_model('evil.own'); PERFORM asynctasq.register_model('evil.own', 'evil.own', key => '{id}'); END $$;
SET ROLE regress_atq_victim;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.own"}');
RESET ROLE;
UPDATE asynctasq.model SET owner = 'regress_atq_deputy' WHERE class = 'evil.own';
SET ROLE regress_atq_victim;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.own"}');
RESET ROLE;
UPDATE asynctasq.model SET owner = 'regress_atq_victim' WHERE class = 'evil.own';
SET ROLE regress_atq_deputy;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.own"}');
RESET ROLE;
ALTER VIEW evil.own OWNER TO regress_atq_deputy;
UPDATE asynctasq.model SET owner = 'regress_atq_evil' WHERE class = 'evil.own';
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_deputy;
SET ROLE regress_atq_deputy;
SELECT asynctasq.fetch('{"__orm:sqlalchemy__": 1, "__orm_class__": "evil.own"}');
RESET ROLE;

--
-- A handler runs as its role, whoever dispatched to it and by whatever function
--
SET SESSION AUTHORIZATION regress_atq_evil;
CREATE FUNCTION evil.who() RETURNS text LANGUAGE sql RETURN concat_ws(' ', session_user, current_user);
SELECT asynctasq.register_handler('evil_who', 'evil.who()', keep_result => true), asynctasq.grant_dispatch('evil_who', 'public');
RESET SESSION AUTHORIZATION;
CREATE FUNCTION victim.wrapper() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT asynctasq.dispatch('evil_who'); END;
SELECT asynctasq.dispatch('evil_who') AS by_superuser \gset
SET SESSION AUTHORIZATION regress_atq_evil;
SELECT victim.wrapper() AS by_wrapper \gset
SELECT asynctasq.drain('default');
SELECT asynctasq.result(:by_superuser), asynctasq.result(:by_wrapper);
RESET SESSION AUTHORIZATION;
-- the superuser's queues have nothing of it
SELECT asynctasq.drain();

--
-- A role of the same name is not the same role
--
CREATE ROLE regress_atq_gone LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_gone;
CREATE FUNCTION victim.anybody() RETURNS text LANGUAGE sql RETURN 'ran';
SET SESSION AUTHORIZATION regress_atq_gone;
SELECT asynctasq.register_handler('gone', 'victim.anybody()'), asynctasq.dispatch('gone') > 0 AS ok;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_atq_gone;
DROP ROLE regress_atq_gone;
CREATE ROLE regress_atq_gone LOGIN SUPERUSER;
SET SESSION AUTHORIZATION regress_atq_gone;
SELECT asynctasq.drain();
SELECT count(*) FROM asynctasq.stat_queues WHERE owner = 'regress_atq_gone';
RESET SESSION AUTHORIZATION;
SELECT asynctasq.dispatch('gone') > 0 AS ok;
DROP ROLE regress_atq_gone;
DELETE FROM asynctasq.task;

--
-- Models whose tables are not what they were
--
CREATE SCHEMA lair AUTHORIZATION regress_atq_evil;
SET SESSION AUTHORIZATION regress_atq_evil;
CREATE TABLE lair.gone (id int PRIMARY KEY);
SELECT asynctasq.register_model('lair.gone', 'lair.gone');
DROP TABLE lair.gone;
SET SESSION AUTHORIZATION regress_atq_victim;
-- a schema that others may not use is in nobody's way
SELECT asynctasq.args('s', s) FROM victim.secrets AS s;
SELECT asynctasq.list(asynctasq.objects('lair.gone'));
SELECT asynctasq.list(asynctasq.objects('lair.none'));
RESET SESSION AUTHORIZATION;

-- who registers a table vouches for that one, not for what gets its name
CREATE SCHEMA commons;
GRANT ALL ON SCHEMA commons TO PUBLIC;
CREATE TABLE commons.t (id int PRIMARY KEY);
SELECT asynctasq.register_model('commons.t', 'commons.t', key => '{id}');
DROP TABLE commons.t;
SET SESSION AUTHORIZATION regress_atq_evil;
CREATE VIEW commons.t AS SELECT 1 AS id, evil.admit() AS x;
GRANT SELECT ON commons.t TO PUBLIC;
SET SESSION AUTHORIZATION regress_atq_victim;
SELECT asynctasq.fetch(asynctasq.ref('commons.t', 1));
SELECT asynctasq.list(asynctasq.objects('commons.t'));
RESET SESSION AUTHORIZATION;
SELECT asynctasq.fetch(asynctasq.ref('commons.t', 1));
ALTER VIEW commons.t OWNER TO CURRENT_USER;
ALTER FUNCTION evil.admit() OWNER TO CURRENT_USER;
SELECT asynctasq.fetch(asynctasq.ref('commons.t', 1));
ALTER FUNCTION evil.admit() OWNER TO regress_atq_evil;

-- nor does one who may only read a table say what its rows go by
GRANT SELECT ON victim.secrets TO regress_atq_evil;
SET SESSION AUTHORIZATION regress_atq_evil;
SELECT asynctasq.register_model('a', 'victim.secrets', orm => 'django');
SELECT asynctasq.args('s', s) FROM victim.secrets AS s;
SET SESSION AUTHORIZATION regress_atq_victim;
SELECT asynctasq.args('s', s) FROM victim.secrets AS s;
SELECT asynctasq.register_model('b', 'victim.secrets');
SELECT asynctasq.args('s', s) FROM victim.secrets AS s;
RESET SESSION AUTHORIZATION;
SELECT asynctasq.args('s', s) FROM victim.secrets AS s;

-- nor does a class that is another's table's name mean anything else
CREATE TABLE victim.account (id int PRIMARY KEY, what text);
ALTER TABLE victim.account OWNER TO regress_atq_victim;
INSERT INTO victim.account VALUES (1, 'mine');
SET SESSION AUTHORIZATION regress_atq_evil;
CREATE TABLE evil.account AS SELECT 1 AS id, 'forged' AS what;
GRANT SELECT, INSERT ON evil.account TO PUBLIC;
SELECT asynctasq.register_model('victim.account', 'evil.account', orm => orm, key => '{id}') FROM unnest('{postgres,django}'::text[]) AS orm;
SELECT asynctasq.list(asynctasq.objects('victim.account'));
SET SESSION AUTHORIZATION regress_atq_victim;
SELECT asynctasq.fetch(asynctasq.args('a', a)) FROM victim.account AS a;
SELECT asynctasq.ref('victim.account', 1);
SELECT asynctasq.list(asynctasq.objects('victim.account'));
SELECT asynctasq.create('victim.account', '{"id": 2, "what": "secret"}');
SELECT asynctasq.list(asynctasq.objects('victim.account', 'django')) AS asked_for;
-- but what he who owns the table, or the user, has registered is another thing
SELECT asynctasq.register_model('evil.account', 'victim.account', orm => 'postgres');
SELECT asynctasq.list(asynctasq.objects('evil.account')) AS own;
SET SESSION AUTHORIZATION regress_atq_evil;
SELECT asynctasq.list(asynctasq.objects('evil.account')) AS as_before;
RESET SESSION AUTHORIZATION;

--
-- A schema that one may not use hides what is in it, in each way of reading
--
CREATE SCHEMA vault;
CREATE TABLE vault.t (id int PRIMARY KEY, up int REFERENCES vault.t);
INSERT INTO vault.t VALUES (1, 1);
GRANT ALL ON vault.t TO regress_atq_evil;
SELECT asynctasq.register_model('vault.T', 'vault.t');
CREATE VIEW commons.ways AS SELECT * FROM (VALUES
	(1, 'SELECT asynctasq.fetch(asynctasq.ref(''vault.T'', 1))::text'),
	(2, 'SELECT asynctasq.fetch(asynctasq.args(''a'', asynctasq.ref(''vault.T'', 1), ''b'', asynctasq.ref(''vault.T'', 2)))::text'),
	(3, 'SELECT asynctasq.list(asynctasq.objects(''vault.T''))::text'),
	(4, 'SELECT asynctasq.list(asynctasq.prefetch_related(asynctasq.objects(''vault.T''), ''t''))::text'),
	(5, 'SELECT asynctasq.fetch_related(asynctasq.ref(''vault.T'', 1), ''up'')::text'),
	(6, 'SELECT asynctasq.save(''vault.T'', ''{"id": 1, "up": 1}'')::text'),
	(7, 'SELECT asynctasq.update(asynctasq.objects(''vault.T''), ''{"up": 1}'')::text')) AS w (n, way);
GRANT SELECT ON commons.ways TO PUBLIC;
CREATE FUNCTION commons.try(way text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE way INTO result;
	RETURN result;
EXCEPTION WHEN insufficient_privilege THEN
	RETURN SQLERRM;
END $$;
SET SESSION AUTHORIZATION regress_atq_evil;
SELECT n, commons.try(way) FROM commons.ways ORDER BY n;
RESET SESSION AUTHORIZATION;
SELECT n, commons.try(way) FROM commons.ways ORDER BY n;
-- also where plans are kept of somebody who may
SET SESSION AUTHORIZATION regress_atq_evil;
SELECT n, commons.try(way) FROM commons.ways ORDER BY n;
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA vault TO regress_atq_evil;
SET SESSION AUTHORIZATION regress_atq_evil;
SELECT count(*) FROM commons.ways WHERE commons.try(way) ~ 'denied';
RESET SESSION AUTHORIZATION;

--
-- Operators in the reader's search_path
--
SET SESSION AUTHORIZATION regress_atq_evil;
CREATE FUNCTION commons.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN evil.steal(); END $$;
CREATE OPERATOR commons.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = commons.same);
SET SESSION AUTHORIZATION regress_atq_victim;
SET search_path = commons;
CREATE TABLE victim.pair (a varchar, b varchar, c int, PRIMARY KEY (a, b));
CREATE TABLE victim.single (a varchar PRIMARY KEY, pair_a varchar, pair_b varchar, FOREIGN KEY (pair_a, pair_b) REFERENCES victim.pair);
INSERT INTO victim.pair VALUES ('a', 'b', 1);
INSERT INTO victim.single VALUES ('a', 'a', 'b');
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('victim.single'), '{"a__in": {"class": "victim.single", "values": ["a"]}}'));
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('victim.pair'), '{"pk__in": {"class": "victim.pair"}}'));
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('victim.pair'), '{"pk__in": [["a", "b"]]}'));
SELECT asynctasq.aggregate(asynctasq.slice(asynctasq.objects('victim.single'), 0, 1), '{"n": {"Count": "*"}}');
SELECT asynctasq.delete(asynctasq.filter(asynctasq.objects('victim.single'), '{"pair__c": 1}'));
SELECT asynctasq.get_or_create('victim.single', '{"a": "x"}'), asynctasq.save('victim.single', '{"a": "x"}');
RESET search_path;
RESET SESSION AUTHORIZATION;

--
-- What no command or expression calls: the functions of a type
--
SET SESSION AUTHORIZATION regress_atq_evil;
CREATE FUNCTION evil.apart(int, int) RETURNS float8 IMMUTABLE LANGUAGE sql AS 'SELECT ($1 - $2)::float8';
CREATE TYPE evil.span AS RANGE (SUBTYPE = int, SUBTYPE_DIFF = evil.apart);
CREATE TABLE evil.spans (id int PRIMARY KEY, s evil.span);
INSERT INTO evil.spans SELECT n, evil.span(n, n + 100) FROM generate_series(1, 1000) AS n;
CREATE INDEX ON evil.spans USING gist (s);
ANALYZE evil.spans;
CREATE VIEW evil.overlaps AS SELECT id FROM evil.spans WHERE s && '[5,50)';
GRANT SELECT, INSERT ON evil.spans, evil.overlaps TO PUBLIC;
SELECT asynctasq.register_model('evil.overlaps', 'evil.overlaps', key => '{id}');
CREATE OR REPLACE FUNCTION evil.apart(int, int) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'called by %', current_user; END $$;
\connect -
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET SESSION AUTHORIZATION regress_atq_victim;
SELECT asynctasq.fetch(asynctasq.ref('evil.overlaps', 1));
SELECT asynctasq.count(asynctasq.objects('evil.overlaps'));
SELECT asynctasq.create('evil.spans', '{"id": 0, "s": "[1,2)"}');
-- whose settings make no difference
RESET SESSION AUTHORIZATION;
ALTER FUNCTION evil.apart(int, int) SET search_path = '';
SET SESSION AUTHORIZATION regress_atq_victim;
SELECT asynctasq.count(asynctasq.objects('evil.overlaps'));
RESET SESSION AUTHORIZATION;
ALTER FUNCTION evil.apart(int, int) SECURITY DEFINER;
SET SESSION AUTHORIZATION regress_atq_victim;
SELECT asynctasq.count(asynctasq.objects('evil.overlaps'));
RESET SESSION AUTHORIZATION;

RESET search_path;
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA victim, evil, lair, commons, vault, asynctasq CASCADE;

--
-- The schema is there before the extension
--
CREATE SCHEMA asynctasq AUTHORIZATION regress_atq_evil;
CREATE EXTENSION asynctasq;
ALTER SCHEMA asynctasq OWNER TO CURRENT_USER;
GRANT CREATE ON SCHEMA asynctasq TO regress_atq_evil;
CREATE EXTENSION asynctasq;
REVOKE CREATE ON SCHEMA asynctasq FROM regress_atq_evil;
GRANT CREATE ON SCHEMA asynctasq TO PUBLIC;
CREATE EXTENSION asynctasq;
REVOKE CREATE ON SCHEMA asynctasq FROM PUBLIC;
-- what is there already could be taken for ours, or be called instead: a name of
-- ours, another signature of it, the name of an index that a table gets
CREATE FUNCTION pg_temp.beside(object text, make text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	refusal text := 'installed';
BEGIN
	EXECUTE 'CREATE ' || make;
	BEGIN
		CREATE EXTENSION asynctasq;
	EXCEPTION WHEN OTHERS THEN
		refusal := SQLSTATE || ' ' || SQLERRM;
	END;
	EXECUTE 'DROP ' || object;
	RETURN refusal;
END $$;
SELECT object, pg_temp.beside(object, make) FROM (VALUES
	('FUNCTION asynctasq.drain(text, int)', 'FUNCTION asynctasq.drain(queue text, max_tasks int) RETURNS bigint LANGUAGE sql AS $$SELECT 1$$'),
	('FUNCTION asynctasq.dispatch(text, jsonb)', 'FUNCTION asynctasq.dispatch(text, jsonb) RETURNS bigint LANGUAGE sql AS $$SELECT 1$$'),
	('PROCEDURE asynctasq.cancel()', 'PROCEDURE asynctasq.cancel() LANGUAGE sql AS $$SELECT 1$$'),
	('AGGREGATE asynctasq.count(int)', 'AGGREGATE asynctasq.count(int) (SFUNC = int4pl, STYPE = int)'),
	('TABLE asynctasq.queue', 'TABLE asynctasq.queue (id int, owner regrole, name text)'),
	('TABLE asynctasq.handler_pkey', 'TABLE asynctasq.handler_pkey ()'),
	('VIEW asynctasq.tasks', 'VIEW asynctasq.tasks AS SELECT 1 AS id'),
	('SEQUENCE asynctasq.task_id_seq', 'SEQUENCE asynctasq.task_id_seq'),
	('TYPE asynctasq.msgpack', 'TYPE asynctasq.msgpack'),
	('TYPE asynctasq.msgpack', 'TYPE asynctasq.msgpack AS (x int)'),
	('DOMAIN asynctasq.queryset', 'DOMAIN asynctasq.queryset AS text'),
	('OPERATOR asynctasq.= (text, text)', 'OPERATOR asynctasq.= (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)'),
	('OPERATOR CLASS asynctasq.msgpack_ops USING hash; DROP OPERATOR FAMILY asynctasq.msgpack_ops USING hash',
		'OPERATOR CLASS asynctasq.msgpack_ops FOR TYPE text USING hash AS STORAGE text'),
	('COLLATION asynctasq."C"', 'COLLATION asynctasq."C" FROM "C"')) AS v (object, make);
-- there is one schema that it goes into
CREATE SCHEMA "a ""b$$";
CREATE EXTENSION asynctasq SCHEMA "a ""b$$";
SET search_path = "a ""b$$";
CREATE EXTENSION asynctasq;
RESET search_path;
SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'asynctasq';
ALTER EXTENSION asynctasq SET SCHEMA "a ""b$$";
ALTER EXTENSION asynctasq SET SCHEMA public;
DROP EXTENSION asynctasq;
DROP SCHEMA asynctasq, "a ""b$$";
DROP OWNED BY regress_atq_victim, regress_atq_evil, regress_atq_deputy;
DROP ROLE regress_atq_victim, regress_atq_evil, regress_atq_deputy;
