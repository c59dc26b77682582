-- Other servers: what is asked of one over a pool, and what goes wrong.  What
-- is dropped from the caches has connections closed, so their number differs.
CREATE SERVER far FOREIGN DATA WRAPPER asynctasq OPTIONS (host :'HOST', port :'PORT', dbname :'DBNAME', pool_max_size '2', pool_max_overflow '1');
CREATE SERVER gone FOREIGN DATA WRAPPER asynctasq OPTIONS (host :'HOST', port '1');
GRANT USAGE ON FOREIGN SERVER far, gone TO app;
CREATE USER MAPPING FOR app SERVER far OPTIONS (user 'app', password_required 'false');
CREATE USER MAPPING FOR app SERVER gone OPTIONS (user 'app', password_required 'false');
SET SESSION AUTHORIZATION app;
SET search_path = app;
CREATE TABLE users (id int PRIMARY KEY, name text);
INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 100) AS i;
RESET SESSION AUTHORIZATION;
SET debug_discard_caches = :discard;
SET SESSION AUTHORIZATION app;
SET search_path = app, asynctasq;

SELECT * FROM gather('far', 'SELECT id, name FROM users WHERE id < 3 ORDER BY id', 'SELECT nonsense', 'SELECT FROM users WHERE false', 'INSERT INTO users VALUES (0)',
	$$SELECT 1.50 AS n, ARRAY[['a', 'b']] AS t, '{"k": 1}'::jsonb AS j, 'NaN'::float8 AS f, '\x01'::bytea AS b, now() IS NULL AS x, '10.0.0.1'::inet AS ip$$);
SELECT count(*), count(error), sum((rows #>> '{0,i}')::int) FROM gather('far', VARIADIC (SELECT array_agg('SELECT ' || i || ' AS i') FROM generate_series(1, 20) AS i));
SELECT ord, server, rows, left(error, 5) FROM gather_many('{far,gone,far}', 'SELECT $1::int AS n', '[7]');
SELECT scalar('far', 'SELECT name FROM users WHERE id = $1', '[7]'), scalar('far', 'SELECT 1 WHERE false');
\set ON_ERROR_STOP off
SELECT scalar('far', 'SELECT 1 / 0');
SELECT scalar('far', 'SELECT 1 FROM users');
SELECT scalar('nowhere', 'SELECT 1');
\set ON_ERROR_STOP on
SELECT execute('far', 'INSERT INTO users VALUES (-1, ''a''), (-2, ''b'')', 'UPDATE users SET name = ''c'' WHERE id = -1'),
	execute('far', ARRAY['DELETE FROM users WHERE id = $1'], '[[-1]]');
\set ON_ERROR_STOP off
SELECT execute('far', 'DELETE FROM users', 'INSERT INTO users VALUES (1), (1)');
SELECT execute('far', 'COMMIT');
\set ON_ERROR_STOP on
SELECT stream('far', 'SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT 5', '[3]', 2);
SELECT count(*) FROM stream('far', 'SELECT * FROM users', fetch_size => 7);
SELECT stream('far', 'SELECT i FROM generate_series(1, 1000) AS i', fetch_size => 10) LIMIT 3;
\set ON_ERROR_STOP off
SELECT 1 / (7 - (stream('far', 'SELECT id FROM users ORDER BY id', fetch_size => 2) ->> 'id')::int);
\set ON_ERROR_STOP on
SELECT stream('far', 'SELECT i FROM generate_series(1, 3) AS i', fetch_size => 1) ->> 'i', scalar('far', 'SELECT 5'), stream('far', 'SELECT i FROM generate_series(11, 13) AS i', fetch_size => 1) ->> 'i';
SELECT server, reachable FROM check_servers() ORDER BY server;
SELECT server, checked_out FROM stat_pools ORDER BY server;
-- what is changed counts at the next use
RESET SESSION AUTHORIZATION;
ALTER SERVER far OPTIONS (ADD application_name 'renamed');
SET SESSION AUTHORIZATION app;
SELECT scalar('far', 'SELECT current_setting(''application_name'')');
RESET SESSION AUTHORIZATION;
DROP USER MAPPING FOR app SERVER far;
SET SESSION AUTHORIZATION app;
\set ON_ERROR_STOP off
SELECT scalar('far', 'SELECT 1');
