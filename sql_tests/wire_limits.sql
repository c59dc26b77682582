--
-- Limits of depth and size, exactly where they are, whatever the way in or
-- out; numbers at the edges of the wire's types
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset format unaligned
SET search_path = public, asynctasq;

-- The SQLSTATE of a query, or "accepted".
CREATE FUNCTION pg_temp.outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE query;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;

-- A value of some levels, as bytes and as tagged JSON.
CREATE TABLE shape (n serial, name text, bytes text, json_open text, json_close text);
INSERT INTO shape (name, bytes, json_open, json_close) VALUES
	('array', '91', '[', ']'),
	('map', '81a161', '{"a": ', '}'),
	('map with int key', '8101', '{"__map__": [[1, ', ']]}'),
	('key', NULL, '{"__map__": [[', ', null]]}'),
	('set', NULL, '{"__set__": [', ']}'),
	('alternating', NULL, NULL, NULL);
CREATE FUNCTION pg_temp.nest(what text, levels int) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	result bytea;
BEGIN
	IF what = 'key' THEN
		RETURN decode(repeat('81', levels) || 'c0' || repeat('c0', levels), 'hex');
	END IF;
	IF what IN (SELECT name FROM shape WHERE bytes IS NOT NULL) THEN
		RETURN (SELECT decode(repeat(bytes, levels) || 'c0', 'hex') FROM shape WHERE name = what);
	END IF;
	-- the length of a set is that of all levels within
	SELECT string_agg(CASE kind WHEN 0 THEN '\xc9'::bytea || int4send(within + 2) || '\x0591'
			WHEN 1 THEN '\x91' ELSE '\x81a161' END, '' ORDER BY level)
		|| '\xc0' INTO result
	FROM (SELECT level, kind, coalesce(sum((ARRAY[7, 1, 3])[kind + 1]) OVER (ORDER BY level DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::int AS within
		FROM (SELECT level, CASE what WHEN 'set' THEN 0 ELSE level % 3 END AS kind FROM generate_series(1, levels) AS level) AS l) AS l;
	RETURN result;
END $$;
CREATE FUNCTION pg_temp.nest_json(what text, levels int) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN what <> 'alternating' THEN repeat(json_open, levels) || 'null' || repeat(json_close, levels)
		ELSE (SELECT string_agg((ARRAY['{"__set__": [', '[', '{"a": '])[i % 3 + 1], '' ORDER BY i) || 'null' ||
				string_agg((ARRAY[']}', ']', '}'])[i % 3 + 1], '' ORDER BY i DESC)
			FROM generate_series(1, levels) AS i) END
	FROM shape WHERE name = what
$$;
CREATE FUNCTION pg_temp.ways(levels int) RETURNS TABLE (shape text, bytea_in text, text_out text, json_out text, jsonb_out text, text_in text, jsonb_in text, access text, dispatch_payload text)
LANGUAGE plpgsql AS $$
DECLARE
	bytes bytea;
	json text;
	what text;
BEGIN
	FOR what IN SELECT name FROM shape ORDER BY n LOOP
		bytes := pg_temp.nest(what, levels);
		json := pg_temp.nest_json(what, levels);
		RETURN QUERY SELECT what,
			pg_temp.outcome(format('SELECT %L::bytea::asynctasq.msgpack', bytes)),
			pg_temp.outcome(format('SELECT %L::bytea::asynctasq.msgpack::text', bytes)),
			pg_temp.outcome(format('SELECT %L::bytea::asynctasq.msgpack::json', bytes)),
			pg_temp.outcome(format('SELECT %L::bytea::asynctasq.msgpack::jsonb', bytes)),
			pg_temp.outcome(format('SELECT %L::asynctasq.msgpack', json)),
			pg_temp.outcome(format('SELECT %L::jsonb::asynctasq.msgpack', json)),
			pg_temp.outcome(format('SELECT %L::bytea::asynctasq.msgpack -> 0', bytes)),
			pg_temp.outcome(format('SELECT asynctasq.dispatch_payload(%L)', bytes));
	END LOOP;
END $$;
SELECT name, pg_temp.nest(name, 512)::msgpack::text = pg_temp.nest_json(name, 512) AS same FROM shape ORDER BY n;
-- 22023: it got as far as to be no payload
SELECT * FROM pg_temp.ways(512);
SELECT * FROM pg_temp.ways(513);
SELECT * FROM pg_temp.ways(100000);

-- as deep as the setting allows, on the largest stack that is common
SET asynctasq.max_depth = 4096;
SET max_stack_depth = '7MB';
SELECT * FROM pg_temp.ways(4096);
SELECT * FROM pg_temp.ways(4097);

-- on the smallest stack the answer may be that it is too small (54001), and
-- the checks, which need none, are the same
SET max_stack_depth = '100kB';
SELECT * FROM pg_temp.ways(4096);
SELECT shape, bytea_in, ARRAY[text_out, json_out, jsonb_out, text_in, jsonb_in] <@ ARRAY['54000', '54001'] AS others, access, dispatch_payload FROM pg_temp.ways(4097);
RESET asynctasq.max_depth;
SELECT shape, bytea_in, ARRAY[text_out, json_out, jsonb_out, text_in, jsonb_in] <@ ARRAY['accepted', '54001'] AS others FROM pg_temp.ways(512);
RESET max_stack_depth;

-- args() adds a level, set() another
SET asynctasq.max_depth = 4;
SELECT args('v', ARRAY[[[1]]]);
SELECT args('v', ARRAY[[[[1]]]]);
SELECT args('v', '[[[1]]]'::msgpack);
SELECT args('v', '[[[[1]]]]'::msgpack);
SELECT args('v', '[[[[1]]]]'::json);
SELECT args('v', ROW(ROW(ROW(1))));
SELECT args('v', ROW(ROW(ROW(ROW(1)))));
SELECT set(ARRAY[ARRAY[ARRAY[ARRAY[1]]]]);
SELECT set(ARRAY['[[[[1]]]]'::jsonb]);
RESET asynctasq.max_depth;

-- a handler's parameters, down to the limit
CREATE FUNCTION depth_of(v jsonb) RETURNS int LANGUAGE sql RETURN length(v::text) - length(replace(v::text, '[', ''));
CREATE FUNCTION take_raw(v msgpack) RETURNS int LANGUAGE sql RETURN length(v::bytea);
SELECT register_handler('depth_of', 'depth_of(jsonb)', keep_result => true), register_handler('take_raw', 'take_raw(asynctasq.msgpack)', keep_result => true);
SELECT dispatch('depth_of', args('v', pg_temp.nest('array', 511)::msgpack)) AS id \gset a_
SELECT dispatch('take_raw', args('v', pg_temp.nest('set', 511)::msgpack)) AS id \gset b_
SELECT drain();
SELECT result(:a_id), result(:b_id);

--
-- size: the limit itself is good, one byte more is not, in both directions
--
SET asynctasq.max_payload = '1kB';
SELECT length(args('v', repeat('x', 1018))::bytea);
SELECT args('v', repeat('x', 1019));
SELECT length(args('v', convert_to(repeat('x', 1018), 'UTF8'))::bytea);
SELECT args('v', convert_to(repeat('x', 1019), 'UTF8'));
SELECT length(set(array_fill(1, ARRAY[1021 - 4]))::bytea);
SELECT set(array_fill(1, ARRAY[1022 - 4]));
SELECT pg_temp.outcome($$SELECT ('\xc503fd'::bytea || convert_to(repeat('x', 1021), 'UTF8'))::msgpack$$),
	pg_temp.outcome($$SELECT ('\xc503fe'::bytea || convert_to(repeat('x', 1022), 'UTF8'))::msgpack$$),
	pg_temp.outcome($$SELECT dispatch_payload(convert_to(repeat('x', 1025), 'UTF8'))$$),
	pg_temp.outcome($$SELECT ref('nobody', repeat('x', 1025))$$);
SELECT pg_temp.outcome(format('SELECT %L::%s::msgpack', '"' || repeat('x', n) || '"', type)), type, n
FROM unnest(ARRAY['json', 'jsonb', 'text']) AS type, generate_series(1021, 1022) AS n WHERE type <> 'text';
-- given up long before all is encoded: the size says where
SELECT args('v', array_agg(i)) FROM generate_series(1, 200000) AS i;
SELECT args('v', array_agg(ROW(i))) FROM generate_series(1, 200000) AS i;
SELECT set(array_agg(i::text)) FROM generate_series(1, 200000) AS i;
-- and a large value at once
SELECT pg_temp.outcome($$SELECT convert_to(repeat('x', 100000000), 'UTF8')::msgpack$$);
RESET asynctasq.max_payload;

--
-- numbers: from bytes to each form and back
--
SELECT what, bytes::msgpack AS value, bytes::msgpack::jsonb::msgpack::bytea = bytes AND bytes::msgpack::text::msgpack::bytea = bytes AS same
FROM (VALUES ('2^63 - 1', '\xcf7fffffffffffffff'::bytea), ('2^63', '\xcf8000000000000000'), ('2^64 - 1', '\xcfffffffffffffffff'), ('-2^63', '\xd38000000000000000'),
	('127', '\x7f'), ('128', '\xcc80'), ('256', '\xcd0100'), ('65536', '\xce00010000'), ('2^32', '\xcf0000000100000000'), ('-32', '\xe0'), ('-33', '\xd0df'), ('-129', '\xd1ff7f'), ('-32769', '\xd2ffff7fff'), ('-2^31 - 1', '\xd3ffffffff7fffffff'),
	('-0.0', '\xcb8000000000000000'), ('0.0', '\xcb0000000000000000'), ('smallest subnormal', '\xcb0000000000000001'), ('largest subnormal', '\xcb000fffffffffffff'), ('largest', '\xcb7fefffffffffffff'),
	('NaN', '\xcb7ff8000000000000'), ('negative NaN', '\xcbfff8000000000000'), ('NaN with payload', '\xcb7ff8000000000001'), ('signaling NaN', '\xcb7ff0000000000001'), ('Infinity', '\xcb7ff0000000000000'), ('-Infinity', '\xcbfff0000000000000'),
	('2^53 - 1', '\xcf001fffffffffffff'), ('2^53', '\xcf0020000000000000'), ('2^53 + 1', '\xcf0020000000000001'), ('2.0^53', '\xcb4340000000000000'), ('2.0^53 - 1', '\xcb433fffffffffffff'), ('0.1', '\xcb3fb999999999999a'), ('1e23', '\xcb44b52d02c7e14af6'),
	('0.1 + 0.2', '\xcb3fd3333333333334')) AS v (what, bytes);
-- the wider forms of a number become its shortest one, a float 32 the same float 64
SELECT bytes::msgpack AS value, bytes::msgpack::text::msgpack::bytea AS shortest
FROM (VALUES ('\xd37fffffffffffffff'::bytea), ('\xd30000000000000001'), ('\xd2ffffffff'), ('\xd1ff80'), ('\xd001'), ('\xcf0000000000000080'), ('\xce00000000'), ('\xca3dcccccd'), ('\xca80000000'), ('\xca7f800000'), ('\xca00000001'), ('\xca7fc00000'), ('\xcaff7fffff')) AS v (bytes);

DROP FUNCTION depth_of, take_raw;
DROP TABLE shape;
RESET search_path;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION asynctasq CASCADE;
