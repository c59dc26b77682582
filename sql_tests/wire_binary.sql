--
-- The binary form: the bytes themselves, through COPY BINARY as drivers in
-- binary mode pass them; checked on the way in like everything else
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset format unaligned
CREATE SCHEMA wire_binary;
SET search_path = wire_binary, public, asynctasq;
\getenv abs_srcdir PG_ABS_SRCDIR
\getenv abs_builddir PG_ABS_BUILDDIR
\set path :abs_srcdir '/data/payloads.jsonl'
\set content `cat :'path'`
\set file :abs_builddir '/results/wire_binary.data'

CREATE TABLE payload AS
SELECT line::json ->> 'name' AS name, pg_catalog.decode(line::json ->> 'hex', 'hex') AS bytes
FROM regexp_split_to_table(:'content', E'\n') AS line WHERE line <> '';
CREATE TABLE value AS SELECT name, bytes::msgpack AS v FROM payload;
INSERT INTO value VALUES ('null', NULL), ('large', args('v', repeat('x', 1000000))), ('compressed', args('v', array_fill(0, ARRAY[100000])));

-- out and in again
COPY value TO :'file' (FORMAT binary);
CREATE TABLE copied (name text, v msgpack);
COPY copied FROM :'file' (FORMAT binary);
SELECT count(*) = (SELECT count(*) FROM payload) + 3 AS all, count(*) FILTER (WHERE c.v::bytea = v.v::bytea) = count(v.v) AS same, count(*) FILTER (WHERE c.v IS NULL) AS nulls
FROM copied AS c JOIN value AS v USING (name);

-- it is the bytes, no more and no less: a bytea reads it, and what a bytea wrote is read
CREATE TABLE raw (name text, v bytea);
COPY raw FROM :'file' (FORMAT binary);
SELECT count(*) FILTER (WHERE raw.v = p.bytes) = count(*) AS same FROM raw JOIN payload AS p USING (name);
COPY raw TO :'file' (FORMAT binary);
TRUNCATE copied;
COPY copied FROM :'file' (FORMAT binary);
SELECT count(*) FILTER (WHERE c.v::bytea = raw.v) = count(raw.v) AS same FROM copied AS c JOIN raw USING (name);
-- the text form of COPY as well
COPY copied TO :'file';
CREATE TABLE from_text (name text, v msgpack);
COPY from_text FROM :'file';
SELECT count(*) FILTER (WHERE c.v = t.v) = count(c.v) AS same FROM copied AS c JOIN from_text AS t USING (name);

-- bad bytes
CREATE FUNCTION received(bytes bytea, file text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE format('COPY (SELECT %L::bytea) TO %L (FORMAT binary)', bytes, file);
	CREATE TEMP TABLE target (v asynctasq.msgpack);
	EXECUTE format('COPY target FROM %L (FORMAT binary)', file);
	DROP TABLE target;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
SET client_min_messages = warning;
SELECT what, received(bytes, :'file')
FROM (VALUES ('good', '\x93010203'::bytea), ('nothing', '\x'), ('reserved', '\xc1'), ('cut', '\x930102'), ('trailing', '\xc0c0'), ('trailing in a set', '\xd50590c0'), ('huge count', '\xddffffffff'), ('huge str', '\xdbffffffff61'),
	('no UTF-8', '\x93a161a162a1ff'), ('same key', '\x82a16101a16102'), ('UUID of 15', '\xc70f03000102030405060708090a0b0c0d0e'), ('date', '\x92c0c70402' || '2024'::bytea), ('too deep', decode(repeat('91', 513) || 'c0', 'hex'))) AS v (what, bytes);
SET asynctasq.max_payload = '1kB';
SELECT received('\xc50400' || convert_to(repeat('x', 1024), 'UTF8'), :'file');
RESET asynctasq.max_payload;

-- bytea casts: explicit both ways, no copy of unchecked bytes
SELECT '\x81a16101'::bytea::msgpack, '{"a": 1}'::msgpack::bytea;
INSERT INTO copied VALUES ('cast', '\x81a16101'::bytea);
SELECT convert_from('{"a": 1}'::msgpack, 'UTF8');

-- equality is that of the bytes: other widths, other orders of keys are other values
SELECT '\x01'::bytea::msgpack = '\xcc01'::bytea::msgpack AS widths, '\xca3f800000'::bytea::msgpack = '\xcb3ff0000000000000'::bytea::msgpack AS floats;
SELECT count(DISTINCT v) * 2 = count(v) AS "distinct" FROM (SELECT v FROM value UNION ALL SELECT v FROM copied) AS twice;
SELECT count(*) = (SELECT count(*) FROM value) AS common FROM (SELECT v FROM value INTERSECT SELECT v FROM copied) AS common;
SELECT count(*) FROM (SELECT v, count(*) FROM (SELECT v FROM value UNION ALL SELECT v FROM copied) AS twice GROUP BY v HAVING count(*) % 2 = 1) AS unpaired;
CREATE UNIQUE INDEX ON copied (v) WHERE name = 'dates';
CREATE INDEX ON copied USING hash (v);
SET enable_seqscan = off;
SELECT name FROM copied WHERE v = (SELECT v FROM value WHERE name = 'compressed');
RESET enable_seqscan;

RESET search_path;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA wire_binary CASCADE;
