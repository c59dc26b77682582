-- Jsonb made of MessagePack is, byte for byte, what the server makes of the
-- same value's text.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
SET search_path = public, asynctasq;

\getenv abs_srcdir PG_ABS_SRCDIR
\set path :abs_srcdir '/data/payloads.jsonl'
\set content `cat :'path'`

-- record_image_eq compares bytes
CREATE FUNCTION pg_temp.same(jsonb) RETURNS boolean LANGUAGE sql RETURN record_image_eq(ROW($1), ROW($1::text::jsonb));
CREATE FUNCTION pg_temp.is_same(msgpack) RETURNS boolean LANGUAGE sql
RETURN record_image_eq(ROW($1::jsonb), ROW($1::text::jsonb)) AND pg_temp.same(asynctasq.fetch($1));

-- what Python writes, but for what has no plain form
CREATE TEMP TABLE payload AS
SELECT line::json ->> 'name' AS name,
       pg_catalog.decode(line::json ->> 'hex', 'hex')::msgpack AS value
FROM regexp_split_to_table(:'content', E'\n') AS line
WHERE line <> '';
SELECT count(*) AS payloads, count(*) FILTER (WHERE NOT record_image_eq(ROW(value::jsonb), ROW(value::text::jsonb))) AS others FROM payload;

-- scalars that stand alone
SELECT v FROM unnest(ARRAY['null', 'true', 'false', '0', '-1', '12345678901234567890', '1.5', '""', '"x"', '[]', '{}', '[[]]', '{"a": {}}']) AS v
WHERE NOT pg_temp.is_same(v::msgpack);

-- around the number of items that have an offset of their own, with items of
-- all types, of which some must be aligned
SET asynctasq.max_payload = '4MB';
CREATE TEMP TABLE counted AS
SELECT n FROM unnest(ARRAY[1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 100000]) AS n;
SELECT n FROM counted WHERE NOT pg_temp.is_same((SELECT json_agg(i) FROM generate_series(1, n) AS i)::msgpack);
SELECT n FROM counted WHERE NOT pg_temp.is_same((SELECT json_agg(repeat('x', i % 7)) FROM generate_series(1, n) AS i)::msgpack);
SELECT n FROM counted WHERE NOT pg_temp.is_same((
	SELECT json_agg(CASE i % 8
		WHEN 0 THEN to_json(repeat('x', i % 5)) WHEN 1 THEN to_json(i * 0.25) WHEN 2 THEN 'null' WHEN 3 THEN to_json(i % 16 = 3)
		WHEN 4 THEN json_build_array(i, 'x', NULL) WHEN 5 THEN json_build_object('k', i) WHEN 6 THEN '[]' ELSE '{}' END)
	FROM generate_series(1, n) AS i)::msgpack);

-- objects, in no order and in all others
SELECT n FROM counted WHERE NOT pg_temp.is_same((SELECT json_object_agg((i * 7919) % 100003, i) FROM generate_series(1, n) AS i)::msgpack);
SELECT n FROM counted WHERE NOT pg_temp.is_same((
	SELECT json_object_agg(repeat('k', i % 9) || i, CASE i % 6
		WHEN 0 THEN to_json(repeat('x', i % 5)) WHEN 1 THEN to_json(i) WHEN 2 THEN 'null'
		WHEN 3 THEN json_build_array(i, json_build_object('b', 'x', 'a', i, '', 'y'))
		WHEN 4 THEN json_build_object('long', 'x', 's', json_build_object('b', i, 'a', '[1]'::json)) ELSE 'true' END)
	FROM generate_series(1, n) AS i)::msgpack);
SELECT n FROM counted
WHERE n <= 1000 AND EXISTS (
	SELECT FROM (SELECT (SELECT json_object_agg((i * 7919) % 100003, i) FROM generate_series(1, n) AS i)::msgpack::jsonb AS v) AS o, generate_series(1, n) AS i
	WHERE v -> ((i * 7919) % 100003)::text IS DISTINCT FROM to_jsonb(i));

-- maps that become pairs, tags and sets, beside objects and below them
SELECT v FROM unnest(ARRAY[
	'{"b": {"__map__": [[1, {"y": 1, "x": 2}], [{"d": 1, "c": 2}, "z"]]}, "a": {"q": 1, "p": {"__map__": [[null, {}]]}}}',
	'[{"b": {"__set__": [{"__map__": []}, 1]}, "a": {"__decimal__": "1.50"}}, {"__map__": [["__set__", 1]]}, {"b": 1, "a": 2}]',
	'{"z": [{"__ext__": [7, "AAEC"]}, {"__float__": "1e+300"}], "y": {"__str__": "AAA="}, "x": {"__bytes__": "AQID"}}']) AS v
WHERE NOT record_image_eq(ROW(v::msgpack::jsonb), ROW(v::msgpack::text::jsonb));
SELECT asynctasq.fetch('{"b": {"__map__": [[1, {"y": 1, "x": 2}], [{"d": 1, "c": 2}, "z"]]}, "a": {"q": 1, "p": {"__map__": [[null, {}]]}}}');
SELECT pg_temp.same(asynctasq.fetch('{"b": {"__map__": [[1, {"y": 1, "x": 2}], [{"d": 1, "c": 2}, "z"]]}, "a": {"q": 1, "p": {"__map__": [[null, {}]]}}}'));

-- rows that references stand for are put in whole, and what is behind them is
-- found, also among the members of an object, which are in another order
CREATE TABLE regress_atq_jsonb (id int PRIMARY KEY, name text, doc jsonb);
INSERT INTO regress_atq_jsonb VALUES (1, 'one', '{"b": [1, {"y": "x", "x": null}], "a": 1.50}'), (2, NULL, '"scalar"');
SELECT register_model('JsonbRow', 'regress_atq_jsonb') \gset
CREATE FUNCTION pg_temp.row_of(id int) RETURNS jsonb LANGUAGE sql RETURN to_jsonb((SELECT r FROM regress_atq_jsonb AS r WHERE r.id = $1));
SELECT v = w AND pg_temp.same(v) AS same
FROM (SELECT asynctasq.fetch(args('z', ref('JsonbRow', 1), 'yy', 1, 'x', '[0]'::jsonb, 'list', '[[], {"b": 1, "a": 2}]'::jsonb, 'w', ref('JsonbRow', 2), 'last', '{"b": 1, "a": {"d": 1, "c": 2}}'::jsonb)) AS v,
	jsonb_build_object('z', pg_temp.row_of(1), 'yy', 1, 'x', '[0]'::jsonb, 'list', '[[], {"b": 1, "a": 2}]'::jsonb, 'w', pg_temp.row_of(2), 'last', '{"b": 1, "a": {"d": 1, "c": 2}}'::jsonb) AS w) AS o;
SELECT pg_temp.same(v) AS same, v - 'list' AS v, v -> 'list' = jsonb_build_array(pg_temp.row_of(2), '{"b": 1, "a": 2}'::jsonb, pg_temp.row_of(1), '{"d": 1, "c": [2]}'::jsonb) AS list
FROM (SELECT asynctasq.fetch(format('{"a": {"c": 1, "b": 2}, "list": [%s, {"b": 1, "a": 2}, %s, {"d": 1, "c": [2]}]}', ref('JsonbRow', 2), ref('JsonbRow', 1))::msgpack) AS v) AS o;

-- random values
SELECT setseed(0.25);
CREATE FUNCTION pg_temp.random_json(depth int) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	n int := floor(random() ^ 3 * 40);
BEGIN
	CASE floor(random() * CASE WHEN depth > 0 THEN 8 ELSE 5 END)
		WHEN 0 THEN RETURN 'null';
		WHEN 1 THEN RETURN to_json(random() < 0.5);
		WHEN 2 THEN RETURN to_json(floor(random() * 1e6)::int);
		WHEN 3 THEN RETURN to_json((random() * 1e3)::numeric(9, 4));
		WHEN 4 THEN RETURN to_json(repeat(chr(97 + n % 26), n));
		WHEN 5 THEN RETURN coalesce((SELECT json_agg(pg_temp.random_json(depth - 1)) FROM generate_series(1, n)), '[]');
		ELSE RETURN coalesce((SELECT json_object_agg(repeat(chr(97 + i % 26), 1 + i / 26), pg_temp.random_json(depth - 1)) FROM generate_series(1, n) AS i), '{}');
	END CASE;
END $$;
SELECT count(*), count(*) FILTER (WHERE NOT pg_temp.is_same(v::msgpack)) AS others, sum(length(v::text)) > 100000 AS large
FROM (SELECT pg_temp.random_json(4) AS v FROM generate_series(1, 2000)) AS r;

-- more than Jsonb can hold
SET asynctasq.max_payload = '64MB';
SELECT ('\xdd'::bytea || int4send(23000000) || decode(repeat('01', 23000000), 'hex'))::msgpack::jsonb;
RESET asynctasq.max_payload;

DELETE FROM asynctasq.model WHERE class = 'JsonbRow';
DROP FUNCTION pg_temp.row_of;
DROP TABLE regress_atq_jsonb;
