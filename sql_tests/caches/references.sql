-- References: to rows of models of each ORM, by keys of several kinds, here
-- and on another server; eager, lazy, locked, in batches, under guard.
CREATE SERVER far FOREIGN DATA WRAPPER asynctasq OPTIONS (host :'HOST', port :'PORT', dbname :'DBNAME');
CREATE SERVER gone FOREIGN DATA WRAPPER asynctasq OPTIONS (host :'HOST', port '1');
GRANT USAGE ON FOREIGN SERVER far, gone TO app;
CREATE USER MAPPING FOR app SERVER far OPTIONS (user 'app', password_required 'false');
CREATE USER MAPPING FOR app SERVER gone OPTIONS (user 'app', password_required 'false');
SET SESSION AUTHORIZATION other;
GRANT USAGE ON SCHEMA other TO app;
CREATE FUNCTION other.upped(name text) RETURNS text LANGUAGE sql AS 'SELECT upper(name)';
CREATE TABLE other.secrets (id int PRIMARY KEY, name text);
ALTER TABLE other.secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON other.secrets USING (other.upped(name) <> 'HIDDEN');
INSERT INTO other.secrets VALUES (1, 'seen'), (2, 'hidden');
CREATE VIEW other.view AS SELECT id, other.upped(name) AS name FROM other.secrets;
GRANT SELECT ON other.secrets, other.view TO app;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION app;
SET search_path = app;
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN small AS int CHECK (VALUE < 100000);
CREATE TABLE users (id small PRIMARY KEY, gone int, name varchar(20), mood mood, tags text[], extra jsonb, boss int REFERENCES users);
ALTER TABLE users DROP gone;
INSERT INTO users SELECT i, 'user ' || i, 'glad', ARRAY['a', NULL], '{"a": [1.50]}', nullif(i - 1, 0) FROM generate_series(1, 50) AS i;
CREATE TABLE places (country text, code uuid, opened timestamptz, PRIMARY KEY (country, code, opened));
INSERT INTO places VALUES ('de', '12345678-1234-5678-1234-567812345678', '2020-01-02 03:04:05.6+00');
CREATE TABLE lots (region text, id bigint, name text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE lots_a PARTITION OF lots FOR VALUES IN ('a');
INSERT INTO lots VALUES ('a', 1, 'lot');
CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION one(u users, x int DEFAULT 0) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (concat_ws(' ', u.id, u.name, u.mood, u.tags, x)) $$;
CREATE FUNCTION several(us users[], p places, v jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.got (what) SELECT concat_ws(' ', count(*), sum(u.id), p, v) FROM unnest(us) AS u
$$;
CREATE FUNCTION batch(u users[], n int[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) SELECT 'batch ' || concat_ws(' ', v.id, v.name) FROM unnest(u) AS v $$;
CREATE FUNCTION lazy(u asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$
	INSERT INTO app.got (what) VALUES (asynctasq.fetch(u)), ((asynctasq.fetch(NULL::app.users, u)).name), (asynctasq.refresh(u) ->> 'id'), (asynctasq.fetch_related(u, 'boss') ->> 'id')
$$;
CREATE FUNCTION secret(s other.secrets, v other.view) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES ('secret ' || coalesce(s.name, 'none') || coalesce(v.name, 'none')) $$;
CREATE FUNCTION nothing(u users) RETURNS void LANGUAGE sql AS '';
RESET SESSION AUTHORIZATION;
SET debug_discard_caches = :discard;
SET SESSION AUTHORIZATION app;
SET search_path = app, asynctasq;

SELECT register_model('User', 'users'), register_model('User', 'users', orm => 'django'), register_model('Strict', 'users', orm => 'tortoise', on_missing => 'discard'),
	register_model('Place', 'places', key => '{country,code,opened}'), register_model('Lot', 'lots'),
	register_model('Far', 'users', server => 'far'), register_model('FarPlace', 'places', server => 'far'), register_model('Gone', 'users', server => 'gone'),
	register_model('Secret', 'other.secrets'), register_model('View', 'other.view', key => '{id}');
SELECT register_handler('one', 'one(users, int)', max_attempts => 1), register_handler('several', 'several(users[], places, jsonb)', max_attempts => 1),
	register_handler('batch', 'batch(users[], int[])', batch_size => 8, max_attempts => 1), register_handler('lazy', 'lazy(asynctasq.msgpack)', max_attempts => 1),
	register_handler('locked', 'one(users, int)', lock => 'update', max_attempts => 1), register_handler('grouped', 'one(users, int)', group_size => 8, lock => 'share', max_attempts => 1),
	register_handler('secret', 'secret(other.secrets, other.view)', max_attempts => 1), register_handler('nothing', 'nothing(users)', max_attempts => 1);

-- rows as values
SELECT ref(u) FROM users AS u WHERE id = 1;
SELECT ref(p), ref(l) FROM places AS p, lots AS l;
SELECT args('u', ARRAY(SELECT u FROM users AS u WHERE id < 3 ORDER BY id), 'more', ref('Far', 7), 'set', set(ARRAY[ref('User', 1)]));
\set ON_ERROR_STOP off
SELECT ref('Nobody', 1);
\set ON_ERROR_STOP on

-- here: as a row, an array, in JSON, a partitioned table; then missing ones
SELECT dispatch('one', args('u', u, 'x', 1)) FROM users AS u WHERE id < 3;
SELECT dispatch('several', args('us', ARRAY(SELECT ref('User', i) FROM generate_series(1, 40) AS i), 'p', p, 'v', ARRAY[ref('Lot', 'a', 1), ref('app.users', 3)])) FROM places AS p;
SELECT dispatch('one', '{"u": {"__orm:django__": 4, "__orm_class__": "User"}}'), dispatch('locked', args('u', ref('User', 5))), dispatch('nothing', args('u', ref('User', 999))),
	dispatch('one', '{"u": {"__orm:django__": 999, "__orm_class__": "User"}}'), dispatch('one', '{"u": {"__orm:tortoise__": 999, "__orm_class__": "Strict"}}'),
	dispatch('one', '{"u": {"__orm:django__": "x", "__orm_class__": "User"}}');
SELECT count(dispatch('batch', args('u', ref('User', i), 'n', i))), count(dispatch('grouped', args('u', ref('User', i)))) FROM generate_series(6, 8) AS i;
SELECT dispatch('lazy', args('u', ref('User', 9)));
SELECT drain();
SELECT what FROM got ORDER BY n;
SELECT task, error ->> 'sqlstate', error ->> 'message' FROM dead_letters ORDER BY id;
TRUNCATE got;
SELECT purge_queue('default', true);

-- on another server, and on one that is not there
SELECT dispatch('one', args('u', ref('Far', 1))), dispatch('several', args('us', ARRAY(SELECT ref('Far', i) FROM generate_series(1, 40) AS i),
		'p', ref('FarPlace', 'de', '12345678-1234-5678-1234-567812345678'::uuid, '2020-01-02 03:04:05.6+00'::timestamptz), 'v', ARRAY[ref('User', 3), ref('Far', 3)])),
	dispatch('nothing', args('u', ref('Far', 999))), dispatch('nothing', args('u', ref('Gone', 1)));
SELECT count(dispatch('batch', args('u', ref('Far', i), 'n', i))), count(dispatch('grouped', args('u', ref('Far', i)))) FROM generate_series(6, 7) AS i;
SELECT drain();
SELECT what FROM got ORDER BY n;
SELECT task, error ->> 'sqlstate' FROM dead_letters ORDER BY id;
TRUNCATE got;
SELECT purge_queue('default', true);
SELECT asynctasq.fetch(args('far', ref('Far', 2), 'here', ref('User', 3), 'list', ARRAY[ref('Far', 4), ref('Lot', 'a', 1)]));
SELECT asynctasq.fetch(NULL::users, ref('Far', 2)), refresh(ref('Far', 3)) -> 'id';
\set ON_ERROR_STOP off
SELECT refresh(ref('Far', 999));
\set ON_ERROR_STOP on

-- what is not ours
SELECT dispatch('secret', args('s', ref('Secret', 1), 'v', ref('View', 1))), dispatch('secret', args('s', ref('Secret', 2), 'v', ref('View', 2)));
SELECT drain();
SELECT what FROM got ORDER BY n;
SELECT asynctasq.fetch(ref('Secret', 1)), asynctasq.fetch(ref('View', 1)), fetch_related(ref('User', 1), 'boss'), fetch_related(ref('User', 2), 'boss');
\set ON_ERROR_STOP off
SELECT fetch_related(ref('Far', 1), 'boss');
\set ON_ERROR_STOP on

-- the table changes between two uses, and goes
ALTER TABLE users ADD added int DEFAULT 7;
SELECT asynctasq.fetch(ref('User', 1)), asynctasq.fetch(ref('Far', 1));
ALTER TABLE users RENAME TO clients;
SELECT asynctasq.fetch(ref('User', 1));
DROP FUNCTION one, several, batch, nothing;
DROP TABLE clients CASCADE;
\set ON_ERROR_STOP off
SELECT asynctasq.fetch(ref('User', 1));
\set ON_ERROR_STOP on
SELECT unregister_model('User'), unregister_model('User', 'django');
