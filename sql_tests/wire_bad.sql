-- Bytes that are no MessagePack, or too much of it: always an error with the
-- offset, never a read past the end, never memory by a header's word.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
SET search_path = public, asynctasq;

-- What a value is refused with.
CREATE FUNCTION pg_temp.refusal(bytes bytea) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    PERFORM bytes::asynctasq.msgpack;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

\getenv abs_srcdir PG_ABS_SRCDIR
\set path :abs_srcdir '/data/payloads.jsonl'
\set content `cat :'path'`
CREATE TEMP TABLE payload AS
SELECT pg_catalog.decode(line::json ->> 'hex', 'hex') AS bytes
FROM regexp_split_to_table(:'content', E'\n') AS line
WHERE line <> '';

-- every payload, cut at every byte, and with one byte too many
SELECT left(pg_temp.refusal(substr(bytes, 1, n)), 5) AS cut, count(*)
FROM payload, generate_series(0, length(bytes) - 1) AS n
GROUP BY 1;
SELECT left(pg_temp.refusal(bytes || '\x00'), 5) AS trailing, count(*)
FROM payload
GROUP BY 1;

SELECT v.what, pg_temp.refusal(v.bytes)
FROM (VALUES
    ('nothing', '\x'::bytea),
    ('the reserved byte', '\xc1'),
    ('the reserved byte inside', '\x9201c1'),
    ('array of 4 billion', '\xddffffffff'),
    ('map of 4 billion', '\xdfffffffff'),
    ('str of 4 billion', '\xdbffffffff'),
    ('bin of 4 billion', '\xc6ffffffff00'),
    ('ext of 4 billion', '\xc9ffffffff05'),
    ('ext of 4 billion less one', '\xc9fffffffe05'),
    ('invalid UTF-8', '\xa2c328'),
    ('overlong UTF-8', '\xa2c0af'),
    ('surrogate', '\xa3eda080'),
    ('cut character', '\xa2e697'),
    ('invalid UTF-8 behind U+0000', '\xa300ff61'),
    ('invalid UTF-8 in a key', '\x81a1ff01'),
    ('same key', '\x82a16101a16102'),
    ('same key in another length', '\x82a16101d9016102'),
    ('same int key in another width', '\x820101cc0102'),
    ('same key among many', '\xde0012' ||
     (SELECT string_agg(decode(lpad(to_hex(i % 17), 2, '0') || 'c0', 'hex'), '')
      FROM generate_series(0, 17) AS i)),
    ('same array key', '\x82910101910102'),
    ('same array key in another width', '\x82910101dc0001cc0102'),
    ('same float key in another width', '\x82ca3f80000001cb3ff000000000000002'),
    ('same ext key in another length', '\x82d564000001c70264000002'),
    ('same set key in another length', '\x82d505910101c70205910102'),
    ('same nested key', '\x8291819101c0019181dc000101c002'),
    ('two classes', '\x83b25f5f6f726d3a73716c616c6368656d795f5f01ad5f5f6f726d5f636c6173735f5fa161ad5f5f6f726d5f636c6173735f5fa162'),
    ('datetime without time', '\xc70a01' || '2024-01-01'::bytea),
    ('no date', '\xc70a02' || '2024-02-30'::bytea),
    ('year 10000', '\xc70b02' || '10000-01-01'::bytea),
    ('UUID of 15', '\xc70f03' || '123456789012345'::bytea),
    ('UUID of 17', '\xc71103' || '12345678901234567'::bytea),
    ('Decimal', '\xc70304' || '1e+'::bytea),
    ('Decimal with s', '\xd504' || 's1'::bytea),
    ('empty set', '\xc70005'),
    ('set of an int', '\xd40501'),
    ('set with more than its array', '\xd50590c0'),
    ('set whose array goes on', '\xd50591a1'),
    ('set whose array ends outside', '\xd50592c0c0'),
    ('set in a set', '\xc70405' || '\x91d40501'::bytea),
    ('timestamp of 1', '\xd4ff00'),
    ('timestamp with 10^9 ns', '\xd7ffee6b280000000000')
) AS v (what, bytes);

-- legal, if odd
SELECT v.what, pg_temp.refusal(v.bytes)
FROM (VALUES
    ('1 and "1"', '\x820101a13102'::bytea),
    ('nil key', '\x81c0c0'),
    ('unknown ext', '\xd46400'),
    ('empty unknown ext', '\xc70064'),
    ('array keys that differ', '\x82910101910201'),
    ('array key inside array keys', '\x829191010191910201'),
    ('bin and str key', '\x82a16101c4016102')
) AS v (what, bytes);

-- depth: maps, arrays and sets count, the limit itself is good
SET asynctasq.max_depth = 3;
SELECT '[[[1]]]'::msgpack, '{"__set__": [{"__set__": [[]]}]}'::msgpack;
SELECT '[[[[1]]]]'::msgpack;
SELECT '{"__set__": [{"__set__": [[[]]]}]}'::msgpack;
SELECT '{"a": {"a": {"a": {}}}}'::jsonb::msgpack;
SELECT pg_temp.refusal('\x91919190');
RESET asynctasq.max_depth;
SELECT pg_temp.refusal(decode(repeat('91', 512) || 'c0', 'hex')) AS at_limit,
       pg_temp.refusal(decode(repeat('91', 513) || 'c0', 'hex')) AS over_limit,
       pg_temp.refusal(decode(repeat('81a161', 513) || 'c0', 'hex')) AS maps,
       pg_temp.refusal(decode(repeat('91', 100000) || 'c0', 'hex')) AS far_over;
SELECT length(decode(repeat('91', 512) || 'c0', 'hex')::msgpack::jsonb::text);
SELECT length(decode(repeat('81a161', 512) || 'c0', 'hex')::msgpack::text);

-- size
SET asynctasq.max_payload = '1kB';
SELECT length(('"' || repeat('x', 1021) || '"')::msgpack::bytea);
SELECT length(('"' || repeat('x', 1022) || '"')::msgpack::bytea);
SELECT pg_temp.refusal(decode(repeat('c0', 1025), 'hex'));
SELECT ('[' || repeat('1,', 100000) || '1]')::msgpack;
RESET asynctasq.max_payload;

-- JSON that no value is written as
CREATE FUNCTION pg_temp.json_refusal(input text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM input::asynctasq.msgpack;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT json, pg_temp.json_refusal(json)
FROM (VALUES ('{"a": 1, "a": 2}'), ('{'), (''), ('"\u0000"'),
    ('{"__date__": "2024-02-30"}'), ('{"__date__": 5}'),
    ('{"__uuid__": "5"}'), ('{"__decimal__": "1,5"}'), ('{"__set__": 1}'),
    ('{"__map__": [[1]]}'), ('{"__map__": [[1, 2], [1, 3]]}'),
    ('{"__ext__": [200, ""]}'), ('{"__ext__": [3, "AA=="]}'),
    ('{"__bytes__": "***"}'), ('{"__str__": "/w=="}'),
    ('{"__float__": "one"}'), ('{"__timestamp__": "2024-01-01T00:00:00"}')
) AS v (json);
SELECT '{"a": "x\u0000y"}'::msgpack;
SELECT '{"__uuid__": 5}'::jsonb::msgpack;
