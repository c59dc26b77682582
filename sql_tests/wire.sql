-- The type msgpack: every payload the Python package writes is accepted,
-- shown as tagged JSON and turned back into the same bytes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
SET search_path = public, asynctasq;

\getenv abs_srcdir PG_ABS_SRCDIR
\set path :abs_srcdir '/data/payloads.jsonl'
\set content `cat :'path'`

CREATE TEMP TABLE payload AS
SELECT line::json ->> 'name' AS name,
       pg_catalog.decode(line::json ->> 'hex', 'hex') AS bytes
FROM regexp_split_to_table(:'content', E'\n') AS line
WHERE line <> '';

SELECT count(*) AS payloads,
       count(*) FILTER (WHERE bytes::msgpack::bytea = bytes) AS through_type,
       count(*) FILTER (WHERE bytes::msgpack::text::msgpack::bytea = bytes) AS through_text,
       count(*) FILTER (WHERE bytes::msgpack::json::msgpack::bytea = bytes) AS through_json,
       count(*) FILTER (WHERE msgpack_send(bytes::msgpack) = bytes) AS through_send
FROM payload;

-- jsonb keeps every value but sorts the keys, so the bytes are the same from
-- the second time on.
SELECT count(*) FILTER (WHERE v::jsonb::msgpack::jsonb = v::jsonb) AS same_values,
       count(*) FILTER (WHERE v::jsonb::msgpack::jsonb::msgpack = v::jsonb::msgpack) AS same_bytes,
       count(*) FILTER (WHERE length(v::jsonb::msgpack::bytea) = length(v::bytea)) AS same_length
FROM (SELECT bytes::msgpack AS v FROM payload) AS p;

-- stored and read again
CREATE TEMP TABLE stored (name text, v msgpack);
INSERT INTO stored SELECT name, bytes::msgpack FROM payload;
SELECT count(*) FROM stored JOIN payload USING (name) WHERE v::bytea = bytes;

-- the tagged form
SELECT name, v -> 'params' AS params FROM stored
WHERE name IN ('ints_uint64', 'floats_finite', 'none_bools', 'keys_nonstr',
               'keys_enum', 'dates', 'times_timedeltas_native', 'uuids',
               'decimals', 'frozensets', 'dict_special_mixed', 'sa_ref_int',
               'sa_ref_composite', 'dj_ref_uuid', 'dj_ref_unsaved',
               'tortoise_stub_lazy_proxy')
ORDER BY name COLLATE "C";

-- every form again, from JSON and back
CREATE TEMP TABLE form (id serial, v msgpack);
INSERT INTO form (v) VALUES
    ('null'), ('[]'), ('{}'), ('""'),
    ('[-9223372036854775808, 9223372036854775807, 9223372036854775808, 18446744073709551615]'),
    ('[18446744073709551616, -9223372036854775809]'),
    ('[0.1, 1.50, 1.0, 1e5, -0.0, 5e-324, 1e400, 0.10000000000000000001]'),
    ('[{"__float__": "NaN"}, {"__float__": "-Infinity"}, {"__float__": "1"}, {"__float__": "NaN(fff8000000000000)"}]'),
    ('{"__datetime__": "2024-01-02T03:04:05.678901+00:09:21"}'),
    ('{"__datetime__": "2024-01-02T03:04:05"}'),
    ('{"__date__": "2024-02-29"}'),
    ('{"__uuid__": "12345678-1234-5678-1234-567812345678"}'),
    ('[{"__decimal__": "-0"}, {"__decimal__": "sNaN"}, {"__decimal__": "-NaN12"}, {"__decimal__": "1E-999999"}]'),
    ('{"__set__": [1, {"__frozenset__": [2, {"__set__": []}]}]}'),
    ('{"__bytes__": "AAH/"}'),
    ('{"__str__": "YQBi"}'),
    ('[{"__timestamp__": "2024-01-02T03:04:05+00:00"}, {"__timestamp__": "2024-01-02T03:04:05.123456789+00:00"}, {"__timestamp__": "1900-01-01T00:00:00.000001+00:00"}]'),
    ('{"__map__": [[null, 1], [true, 2], [1, 3], ["1", 4], [1.5, 5], [{"__bytes__": ""}, 6], [[1], 7], [{}, 8]]}'),
    ('{"__map__": [["__date__", "2024-02-29"]]}'),
    ('{"__map__": [["__set__", 1]]}'),
    ('{"__date__": "x", "other": 1}'),
    ('{"__ext__": [100, "AAH/"]}'),
    ('{"__ext__": [-1, "AAAAAAAAAAAAAAAA"]}'),
    ('{"b": 1, "a": 2, "": 3}');
SELECT id, v::bytea AS bytes, v FROM form ORDER BY id;
SELECT count(*) FILTER (WHERE v::text::msgpack::bytea <> v::bytea) AS text_differs,
       count(*) FILTER (WHERE v::jsonb::msgpack::jsonb <> v::jsonb) AS jsonb_differs
FROM form;

-- bytes that Python does not write: what changes and what does not
SELECT '\xca3fc00000'::bytea::msgpack::text::msgpack::bytea AS float_32_becomes_64;
SELECT '\xcd0001'::bytea::msgpack::text::msgpack::bytea AS int_becomes_shortest;
SELECT '\xd7ff0000000065937f25'::bytea::msgpack AS timestamp_of_longer_form_is_kept;
SELECT '\xc70cff00000000c000000000000000'::bytea::msgpack AS timestamp_beyond_years_is_kept;

-- access without a detour over jsonb
SELECT m -> 'a' -> -1 AS last, m -> 'a' ->> 0 AS first, m ->> 'c' AS text,
       m ->> 'n' IS NULL AS nil_as_text, m -> 'n' AS nil, m -> 'x' IS NULL AS none,
       m ->> 'd' AS datetime, m ->> 's' AS set, m -> 's' ->> 0 AS of_set,
       m -> 'a' -> 2 IS NULL AS beyond
FROM (SELECT '{"a": [1, 2], "n": null, "c": "x", "d": {"__datetime__": "2024-01-01T00:00:00"}, "s": {"__set__": [7]}}'::msgpack) AS v (m);
SELECT '{"__map__": [[5, "five"], [-1, "minus one"]]}'::msgpack ->> -1 AS by_int_key,
       '[1]'::msgpack -> 'a' IS NULL AS list_by_text,
       '1'::msgpack -> 0 IS NULL AS scalar;
SELECT '{"a": {"__str__": "YQBi"}}'::msgpack ->> 'a';

-- equality, DISTINCT, joins, order
SELECT '[1]'::msgpack = '[1]'::msgpack AS eq, '[1]'::msgpack <> '[1]'::msgpack AS ne,
       '{"a": 1, "b": 2}'::msgpack = '{"b": 2, "a": 1}'::msgpack AS order_counts;
SELECT count(DISTINCT v) FROM (VALUES ('[1]'::msgpack), ('[1]'), ('[2]')) AS t (v);
SELECT DISTINCT v FROM (VALUES ('[2]'::msgpack), ('[1]'), ('[2]')) AS t (v) ORDER BY v;
SET enable_mergejoin = off;
SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT FROM stored AS a JOIN stored AS b USING (v);
SELECT count(*) FROM stored AS a JOIN stored AS b USING (v);
RESET enable_mergejoin;
RESET enable_nestloop;
SELECT opcname, amname, amvalidate(o.oid)
FROM pg_opclass AS o JOIN pg_am AS a ON a.oid = opcmethod
WHERE opcname = 'msgpack_ops' ORDER BY amname;

-- casts
SELECT castsource::regtype, casttarget::regtype, castcontext
FROM pg_cast
WHERE 'asynctasq.msgpack'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text, casttarget::regtype::text;
