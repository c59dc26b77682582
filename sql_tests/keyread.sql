--
-- A reference is answered from an index only where a query would say the same
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA keyread;
SET search_path = keyread, public;

-- answer(key): the row, or the error
CREATE FUNCTION answer(VARIADIC key text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN asynctasq.fetch(CASE WHEN cardinality(key) = 1 THEN asynctasq.ref('M', key[1])
		ELSE asynctasq.ref('M', key[1], key[2]) END);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

-- a key without any index, with one that is not unique, is partial, or is on an expression
CREATE TABLE t (code text, active boolean);
INSERT INTO t VALUES ('a', true), ('a', false);
SELECT asynctasq.register_model('M', 't', key => '{code}');
SELECT answer('a'), answer('b');
CREATE INDEX t_code ON t (code);
SELECT answer('a'), answer('b');
DROP INDEX t_code;
CREATE UNIQUE INDEX t_active ON t (code) WHERE active;
SELECT answer('a'), answer('b');
DROP INDEX t_active;
CREATE UNIQUE INDEX t_both ON t (code, active);
SELECT answer('a'), answer('b');
DELETE FROM t WHERE NOT active;
CREATE UNIQUE INDEX t_one ON t (code);
SELECT answer('a'), answer('b');
-- that is dropped again, in the same transaction as well
BEGIN;
SELECT answer('a');
DROP INDEX t_one;
INSERT INTO t VALUES ('a', false);
SELECT answer('a');
ROLLBACK;
SELECT answer('a');

-- an index that means something else by "equal"
CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
DROP INDEX t_one;
CREATE UNIQUE INDEX t_anycase ON t (code COLLATE anycase);
SELECT answer('a'), answer('A') AS no_row;
DROP TABLE t;

-- a composite key in another order than the index has it
CREATE TABLE pairs (a int, b text, note text, PRIMARY KEY (b, a));
INSERT INTO pairs VALUES (1, '2', 'one two'), (2, '1', 'two one');
SELECT asynctasq.register_model('M', 'pairs', key => '{a,b}');
SELECT answer('1', '2'), answer('2', '1'), answer('1', '1') AS no_row;

-- values out of line, columns added with a default, generated, dropped
CREATE TABLE wide (id text PRIMARY KEY, gone int, long text, twice int GENERATED ALWAYS AS (2) STORED);
INSERT INTO wide SELECT 'x', 1, string_agg(md5(n::text), '') FROM generate_series(1, 1000) AS n;
ALTER TABLE wide DROP COLUMN gone;
ALTER TABLE wide ADD COLUMN later text DEFAULT 'a default';
SELECT asynctasq.register_model('M', 'wide');
SELECT length(r.long), r.twice, r.later
FROM (SELECT (asynctasq.fetch(NULL::wide, asynctasq.ref('M', 'x'))).*) AS r;

-- what the same statement or transaction has changed before is seen
CREATE TABLE counted (id text PRIMARY KEY, n int);
INSERT INTO counted VALUES ('x', 0);
SELECT asynctasq.register_model('M', 'counted');
CREATE FUNCTION count_up() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	UPDATE keyread.counted SET n = n + 1;
	RETURN asynctasq.fetch(asynctasq.ref('M', 'x'));
END $$;
SELECT count_up(), count_up();
BEGIN;
DELETE FROM counted;
SELECT answer('x') AS deleted;
ROLLBACK;

-- children of a table
CREATE TABLE parents (id text PRIMARY KEY);
SELECT asynctasq.register_model('M', 'parents');
SELECT answer('child') AS no_row;
CREATE TABLE children () INHERITS (parents);
INSERT INTO children VALUES ('child');
SELECT answer('child');

-- keys that are side by side in the index are found where the last ones were
CREATE TABLE side (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off);
CREATE INDEX side_n ON side (n);
INSERT INTO side SELECT i, i FROM generate_series(1, 2000) AS i;
SELECT asynctasq.register_model('M', 'side');
-- has(id, n): whether the row with that id, asked for three times, has that n
CREATE FUNCTION has(id int, n int) RETURNS boolean LANGUAGE sql AS $$
	SELECT (answer(id::text)::jsonb = answer(id::text)::jsonb) AND
		answer(id::text)::jsonb = jsonb_build_object('id', id, 'n', n)
$$;
SELECT count(*) AS wrong FROM generate_series(1, 2000) AS i WHERE NOT has(i, i);
-- .. ahead, back, and far apart
SELECT count(*) AS wrong FROM (SELECT generate_series(2000, 1, -1) AS i) AS keys WHERE NOT has(i, i);
SELECT count(*) AS wrong FROM (SELECT generate_series(1, 2000, 7) AS i) AS keys WHERE NOT has(i, i);
SELECT count(*) AS wrong FROM (SELECT 1 + i * 977 % 2000 AS i FROM generate_series(1, 2000) AS i) AS keys WHERE NOT has(i, i);
-- .. rows that have gone, come back, or have several versions
SELECT has(500, 500), has(501, 501);
UPDATE side SET n = 0 WHERE id = 502;
SELECT has(502, 0);
DELETE FROM side WHERE id = 503;
SELECT answer('503');
SELECT has(502, 0);
INSERT INTO side VALUES (503, -1);
SELECT has(503, -1), has(504, 504), answer('0') AS below, answer('2001') AS above;
BEGIN;
SELECT has(505, 505), has(506, 506);
DO $$ BEGIN
	FOR i IN 1 .. 2000 LOOP
		UPDATE side SET n = -i WHERE id = 506;
	END LOOP;
END $$;
SELECT has(505, 505), has(506, -2000), has(507, 507), has(506, -2000);
SAVEPOINT s;
UPDATE side SET n = 1 WHERE id = 506;
SELECT has(506, 1);
ROLLBACK TO s;
SELECT has(506, -2000);
ROLLBACK;
SELECT has(505, 505), has(506, 506);
-- .. more versions than a page has room for, but in lists
CREATE TABLE versions (id int PRIMARY KEY, n int);
CREATE INDEX versions_n ON versions (n);
INSERT INTO versions SELECT i, i FROM generate_series(1, 20) AS i;
SELECT asynctasq.register_model('M', 'versions');
BEGIN;
SELECT has(5, 5), has(6, 6);
DO $$ BEGIN
	FOR i IN 1 .. 600 LOOP
		UPDATE versions SET n = -i WHERE id = 6;
	END LOOP;
END $$;
SELECT has(5, 5), has(6, -600), has(7, 7), has(6, -600);
ROLLBACK;
SELECT asynctasq.register_model('M', 'side');
-- .. in an index whose pages are others now
BEGIN;
TRUNCATE side;
INSERT INTO side VALUES (505, 1), (506, 2);
SELECT has(505, 1), has(506, 2);
TRUNCATE side;
SELECT answer('505');
INSERT INTO side SELECT i, i FROM generate_series(1, 2000) AS i;
SELECT has(505, 505), has(506, 506);
ROLLBACK;
SELECT has(505, 505), has(506, 506);
VACUUM (FULL) side;
SELECT has(505, 505), has(506, 506);
DELETE FROM side WHERE id > 10;
VACUUM side;
SELECT answer('506'), has(10, 10);
INSERT INTO side SELECT i, i FROM generate_series(11, 2000) AS i;
SELECT count(*) AS wrong FROM generate_series(1, 2000) AS i WHERE NOT has(i, i);
-- .. which a serializable transaction has searched
SELECT has(505, 505), has(506, 506);
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT has(507, 507);
SELECT locktype, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND relation = 'side_pkey'::regclass AND mode = 'SIReadLock';
COMMIT;

-- .. with several columns in descending order
CREATE TABLE several (a int, b text, n int);
CREATE UNIQUE INDEX ON several (b DESC, a DESC) INCLUDE (n);
INSERT INTO several SELECT i % 40, i / 40, i FROM generate_series(1, 2000) AS i;
SELECT asynctasq.register_model('M', 'several', key => '{a,b}');
SELECT count(*) AS wrong FROM generate_series(1, 2000) AS i
WHERE answer((i % 40)::text, (i / 40)::text)::jsonb ->> 'n' <> i::text;

RESET search_path;
SELECT asynctasq.unregister_model('M');
\set VERBOSITY terse
DROP SCHEMA keyread CASCADE;
