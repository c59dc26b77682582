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

RESET search_path;
SELECT asynctasq.unregister_model('M');
\set VERBOSITY terse
DROP SCHEMA keyread CASCADE;
