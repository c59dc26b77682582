--
-- SQL values to MessagePack by args(), and back into the parameters of
-- handlers: each type, each combination that is refused
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset format unaligned
CREATE SCHEMA wire_values;
SET search_path = wire_values, public, asynctasq;

CREATE TYPE mood AS ENUM ('sad', 'so "so"', 'glad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN price AS numeric(6, 2);
CREATE DOMAIN code AS varchar(3);
CREATE DOMAIN given AS text NOT NULL;
CREATE DOMAIN ints AS int[];
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nested AS (p pair, l pair[], d date, n price);
CREATE TYPE sized AS (n numeric(4, 1), v varchar(3), c char(4), vs varchar(3)[], ts timestamp(0), tz timestamptz(3), t time(0), i interval(0), b bit(3));
CREATE DOMAIN good_pair AS pair CHECK ((VALUE).a > 0);
CREATE TABLE keyed (id int, part date, note text, PRIMARY KEY (part, id));
CREATE TABLE keyless (x int, gone int, y text);
ALTER TABLE keyless DROP COLUMN gone;
INSERT INTO keyed VALUES (1, '2024-02-29', 'first');
INSERT INTO keyless VALUES (1, 'y');

-- A handler with one parameter of each type that is asked for.
CREATE TABLE taker (name text, type text PRIMARY KEY);
CREATE FUNCTION taker_of(wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	handler text := (SELECT name FROM taker WHERE type = wanted);
BEGIN
	IF handler IS NULL THEN
		handler := 'take_' || (SELECT count(*) FROM taker);
		INSERT INTO taker VALUES (handler, wanted);
		EXECUTE format('CREATE FUNCTION %I(v %s) RETURNS text LANGUAGE sql RETURN coalesce(v::text, ''NULL'')',
			handler, wanted);
		PERFORM asynctasq.register_handler(handler, format('%I(%s)', handler, wanted)::regprocedure, keep_result => true);
	END IF;
	RETURN handler;
END $$;

-- What a handler with a parameter of a type sees as text, or the error.
CREATE FUNCTION taken(type text, args asynctasq.msgpack) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	task bigint := asynctasq.dispatch(taker_of(type), args);
	info record;
BEGIN
	PERFORM asynctasq.drain();
	SELECT * INTO info FROM asynctasq.task_info(task);
	IF info.status = 'completed' THEN
		RETURN info.result #>> '{}';
	END IF;
	IF info.attempt <> 1 OR info.status <> 'failed' OR (info.error ->> 'context') !~ 'argument "v" of handler' THEN
		RAISE EXCEPTION 'not a dead letter of one attempt that names its argument: %', info;
	END IF;
	RETURN info.error ->> 'sqlstate';
END $$;

-- There and back.
CREATE FUNCTION trip(type text, value text, OUT args asynctasq.msgpack, OUT back text)
LANGUAGE plpgsql AS $$
DECLARE
	original text;
BEGIN
	EXECUTE format('SELECT asynctasq.args(''v'', $1::%s), coalesce($1::%1$s::text, ''NULL'')', type)
		INTO args, original USING value;
	back := taken(type, args);
	IF back = original THEN
		back := 'same';
	END IF;
END $$;

SET extra_float_digits = 3;
SELECT type, value, trip.args -> 'v' AS wire, back
FROM (SELECT row_number() OVER () AS n, v.* FROM (VALUES
	('boolean', 'true'), ('boolean', 'false'),
	('smallint', '-32768'), ('smallint', '32767'),
	('int', '-2147483648'), ('int', '2147483647'),
	('bigint', '-9223372036854775808'), ('bigint', '9223372036854775807'),
	('oid', '0'), ('oid', '4294967295'),
	('real', '0.1'), ('real', '-0'), ('real', '1e-45'), ('real', '3.4028235e38'), ('real', 'NaN'), ('real', '-Infinity'),
	('float8', '0.1'), ('float8', '1'), ('float8', '-0'), ('float8', '5e-324'), ('float8', '1.7976931348623157e308'),
	('float8', 'NaN'), ('float8', 'Infinity'), ('float8', '-Infinity'), ('float8', '9007199254740993'),
	('numeric', '0'), ('numeric', '0.00'), ('numeric', '-1.50'), ('numeric', '1e40'),
	('numeric', '123456789012345678901234567890.123456789012345678901234567890'),
	('numeric', 'NaN'), ('numeric', 'Infinity'), ('numeric', '-Infinity'), ('numeric(6,2)', '1.005'),
	('text', ''), ('text', E'\u00e9\u20ac\U0001F600 "q" \\ \n\t\u0001'), ('varchar', 'v'), ('char(3)', 'c'), ('name', 'n'), ('"char"', 'x'), ('"char"', ''),
	('bytea', '\x'), ('bytea', '\x00ff5c27'),
	('uuid', '00010203-0405-0607-0809-0a0b0c0d0eff'),
	('date', '2024-02-29'), ('date', '0001-01-01'), ('date', '9999-12-31'),
	('time', '00:00'), ('time', '23:59:59.999999'), ('timetz', '12:34:56.000789+05:30'), ('timetz', '12:00-15:59:59'),
	('timestamp', '2024-01-02 03:04:05'), ('timestamp', '0001-01-01 00:00:00.000001'), ('timestamp', '9999-12-31 23:59:59.999999'),
	('timestamptz', '2024-01-02 03:04:05.6+02'), ('timestamptz', '0001-01-01 00:00:00+00'), ('timestamptz', '9999-12-31 23:59:59.999999+00'),
	('interval', '1 day 2.000003 s'), ('interval', '0'), ('interval', '-1 s'), ('interval', '-3 days -0.5 s'),
	('interval', '1 day -1 s'), ('interval', '1 year 2 mons -3 days'), ('interval', '-1 mon'), ('interval', '999999999 days 86399.999999 s'),
	('interval', '-2147483648 days'), ('interval', '2147483647 days'), ('interval', '-1000000000 hours'),
	('int[]', '{}'), ('int[]', '{1,NULL,3}'), ('int[]', '{{1,2},{3,4},{5,6}}'), ('int[]', '{{{1},{NULL}}}'), ('text[]', '{"a,b",NULL,"",NULL}'),
	('date[]', '{2024-02-29,2024-03-01}'), ('numeric[]', '{1.0,NaN}'), ('bytea[]', '{"\\x00"}'),
	('mood[]', '{sad,"so \"so\""}'), ('pair[]', '{"(1,x)","(,)",NULL}'), ('jsonb[]', '{"{\"a\": [1]}","[2]"}'), ('ints', '{1,2}'), ('positive[]', '{1,2}'),
	('int4range', '[1,5)'), ('int4range', 'empty'), ('numrange', '(,1.50]'), ('daterange', '[2024-01-02,)'),
	('tsrange', '[2024-01-02 03:04:05,2024-01-03)'), ('tstzrange', '[2024-01-02 03:04:05+02,)'),
	('int4multirange', '{[1,5),[7,9)}'), ('datemultirange', '{}'), ('tstzmultirange', '{[2024-01-02 00:00+00,2024-02-03 00:00+00)}'),
	('mood', 'so "so"'), ('positive', '7'), ('price', '12.345'), ('code', 'abc'),
	('json', '{"b": 1, "a": [null, true, 1.5]}'), ('jsonb', '{"b": 1, "a": [null, true, 1.5]}'), ('jsonb', 'null'), ('jsonb', '18446744073709551616'), ('jsonb', '"x"'),
	('pair', '(1,"x y")'), ('pair', '(,)'), ('good_pair', '(1,)'), ('nested', '("(1,x)","{""(2,y)"",NULL}",2024-02-29,1.50)'),
	('keyless', '(1,y)'), ('asynctasq.msgpack', '{"b": {"__date__": "2024-02-29"}, "a": 1}'),
	('inet', '192.168.0.1/24'), ('cidr', '::/0'), ('macaddr', '08:00:2b:01:02:03'), ('money', '1234.50'), ('bit(4)', '1010'), ('varbit', '1'),
	('xml', '<a b="c">d</a>'), ('tsvector', '''cat'':3A ''it''''s'':1'), ('tsquery', '''a'' & !''b'''), ('point', '(0.1,-1e-300)'),
	('box', '(2,2),(0.1,0.1)'), ('path', '[(0,0),(1,1)]'), ('regclass', 'keyed'), ('regclass', 'pg_class'), ('regtype', 'mood'), ('regprocedure', 'taker_of(text)'),
	('regrole', 'pg_monitor'), ('xid8', '18446744073709551615'), ('pg_lsn', '16/B374D848'), ('tid', '(1,2)'), ('jsonpath', '$."a"[*]'), ('oidvector', '1 2'),
	('int', NULL), ('text', NULL), ('int[]', NULL), ('pair', NULL), ('mood', NULL), ('jsonb', NULL), ('asynctasq.msgpack', NULL)
	) AS v (type, value)) AS v, trip(type, value)
ORDER BY n;
RESET extra_float_digits;

-- what has no place on the wire
CREATE FUNCTION refusal(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE query;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
SELECT value, refusal('SELECT asynctasq.args(''v'', ' || value || ')')
FROM (VALUES ($$'infinity'::date$$), ($$'-infinity'::date$$), ($$'0001-12-31 BC'::date$$), ($$'10000-01-01'::date$$),
	($$'infinity'::timestamp$$), ($$'0001-12-31 23:59:59 BC'::timestamp$$), ($$'10000-01-01'::timestamp$$),
	($$'-infinity'::timestamptz$$), ($$'4714-11-24 00:00 BC'::timestamptz$$), ($$'9999-12-31 23:00-05'::timestamptz$$),
	($$'24:00'::time$$), ($$'24:00+01'::timetz$$), ($$ARRAY['infinity'::date]$$), ($$ROW('infinity'::timestamp)$$),
	($$'{"a": "x\u0000"}'::json$$)) AS v (value);

-- values without a name of their own
SELECT asynctasq.args('literal', 'x', 'null', NULL, 'row', ROW(1, 'x', ROW(NULL)), 'rows', ARRAY[ROW(1), ROW(2)],
	'cstring', cstring_out('c'), 'name', current_schema(), 'vector', '1 2'::int2vector);
SELECT asynctasq.args('varchar'::varchar, 1, 'name'::name, 2);
SELECT asynctasq.args('void', pg_advisory_unlock_all());

-- rows: as a reference by their key, in the key's order, at any depth; without a key as a map
SELECT asynctasq.args('row', k) FROM keyed AS k;
SELECT asynctasq.args('list', ARRAY[k], 'inside', ROW(k)) FROM keyed AS k;
SELECT asynctasq.set(ARRAY[k]) FROM keyed AS k;
SELECT asynctasq.args('row', k) FROM keyless AS k;
SELECT asynctasq.args('null', k) FROM keyed AS k RIGHT JOIN (SELECT) AS one ON k.id = 2;
SELECT taken('keyed', asynctasq.args('v', k)), taken('keyed[]', asynctasq.args('v', ARRAY[k, k])),
	taken('keyed[]', asynctasq.args('v', asynctasq.set(ARRAY[k]))), taken('jsonb', asynctasq.args('v', k))
FROM keyed AS k;

-- keys of references bypass the ext types, and come back from what Python writes
CREATE TABLE key_types (i bigint, n numeric, u uuid, d date, ts timestamp, tz timestamptz, b bytea, t text, e mood,
	PRIMARY KEY (i, n, u, d, ts, tz, b, t, e));
INSERT INTO key_types VALUES (9223372036854775807, 1.50, '00010203-0405-0607-0809-0a0b0c0d0eff', '2024-02-29', '2024-01-02 03:04:05.000006',
	'2024-01-02 03:04:05.6+02', '\x00ff', 'x', 'glad'), (-1, 'NaN', '00010203-0405-0607-0809-0a0b0c0d0eff', '0001-01-01', '0001-01-01',
	'1900-01-01 00:00:00.000001+00', '', '', 'sad');
SELECT asynctasq.ref(k) -> '__orm:postgres__' AS key, taken('key_types', asynctasq.args('v', k)) = k::text AS found
FROM key_types AS k ORDER BY i;
SELECT refusal($$SELECT asynctasq.ref(ROW(1, 'infinity', '')::wire_values.keyed)$$);

-- sets
SELECT asynctasq.set(ARRAY[1, 2]), asynctasq.set('{}'::text[]), asynctasq.set(ARRAY[NULL, 'a']), asynctasq.set(ARRAY['2024-02-29'::date]);
SELECT taken('int[]', asynctasq.args('v', asynctasq.set(ARRAY[1, 2]))), taken('int[]', asynctasq.args('v', asynctasq.set('{}'::int[])));

--
-- text of other types does not depend on settings of either session
--
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Kolkata';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SET xmloption = 'document';
SELECT asynctasq.args('range', '[2024-01-02,2024-04-03)'::daterange, 'instants', '[2024-01-02 03:04:05+00,)'::tstzrange,
	'point', '(0.123456789012345,1)'::point, 'table', 'keyed'::regclass, 'type', 'wire_values.mood'::regtype, 'interval', '-1 day -2:03:04.5'::interval,
	'day', '2024-01-02'::date, 'moment', '2024-01-02 03:04:05'::timestamptz, 'float', 0.1::float8, 'bytes', '\xff'::bytea) AS args \gset
SELECT taken('daterange', asynctasq.args('v', '[2024-01-02,2024-04-03)'::daterange)) AS dmy;
SELECT current_setting('datestyle') AS datestyle, current_setting('extra_float_digits') AS digits, current_setting('search_path') AS path;
RESET datestyle;
RESET timezone;
RESET intervalstyle;
RESET extra_float_digits;
RESET bytea_output;
RESET xmloption;
SELECT jsonb_pretty(:'args'::jsonb) AS pinned;
SET datestyle = 'SQL, DMY';
CREATE TABLE kept AS SELECT asynctasq.args('v', '[2024-01-02,2024-04-03)'::daterange) AS args;
SET datestyle = 'SQL, MDY';
SELECT taken('daterange', args) AS mdy FROM kept;
RESET datestyle;

CREATE FUNCTION pg_temp.datetime(text text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN ('{"v": {"__datetime__": "' || text || '"}}')::asynctasq.msgpack::jsonb;
EXCEPTION WHEN invalid_text_representation THEN
	RETURN NULL;
END $$;

--
-- every wire type into every SQL type: what is accepted, and what it becomes
--
CREATE TABLE wire (n serial, name text, v asynctasq.msgpack);
INSERT INTO wire (name, v) VALUES ('bool', 'true'), ('int', '5'), ('uint64', '18446744073709551615'), ('float', '2.5'), ('str', '"x"'), ('bin', '{"__bytes__": "AP8="}'),
	('datetime', '{"__datetime__": "2024-01-02T03:04:05.678901"}'), ('aware', '{"__datetime__": "2024-01-02T03:04:05+00:09:21"}'), ('date', '{"__date__": "2024-02-29"}'),
	('uuid', '{"__uuid__": "00010203-0405-0607-0809-0a0b0c0d0eff"}'), ('decimal', '{"__decimal__": "2.50"}'), ('set', '{"__set__": [5]}'), ('frozenset', '{"__frozenset__": [5]}'),
	('timestamp', '{"__timestamp__": "2024-01-02T03:04:05+00:00"}'), ('array', '[5]'), ('map', '{"a": 5}'), ('ext', '{"__ext__": [100, "AA=="]}');
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT type, string_agg(name || '=' || outcome, ' ' ORDER BY w.n) FILTER (WHERE outcome <> '42804') AS outcome,
	count(*) FILTER (WHERE outcome = '42804') AS refused
FROM unnest(ARRAY['boolean', 'smallint', 'int', 'bigint', 'oid', 'real', 'float8', 'numeric', 'text', 'varchar', 'bpchar', 'name', 'bytea', 'uuid', 'date',
	'timestamp', 'timestamptz', 'time', 'timetz', 'interval', 'mood', 'int4range', 'int4multirange', 'inet', 'int[]', 'text[]', 'ints', 'pair', 'good_pair',
	'keyed', 'json', 'jsonb', 'asynctasq.msgpack', 'positive', 'price', 'code', 'given']) WITH ORDINALITY AS t (type, n), wire AS w, taken(type, asynctasq.args('v', v)) AS outcome
GROUP BY t.n, type ORDER BY t.n;

-- nil is NULL in all of them, except where a domain forbids it
SELECT taken(type, '{"v": null}') AS outcome, string_agg(type, ' ' ORDER BY type) FROM taker GROUP BY 1 ORDER BY 1;

-- text that means a value of the type
SELECT type, value, taken(type, jsonb_build_object('v', value)) AS outcome
FROM (SELECT row_number() OVER () AS n, v.* FROM (VALUES ('date', '2024-02-29'), ('date', 'infinity'), ('date', '2024-02-30'), ('date', ''), ('timestamp', '2024-01-02T03:04:05'), ('timestamp', 'infinity'),
	('timestamptz', '2024-01-02T03:04:05Z'), ('timestamptz', '2024-01-02 03:04:05-23:59:59'), ('timestamptz', '2024-01-02T03:04:05+24:00'),
	('time', '12:34:56.000789'), ('time', '24:00:01'), ('timetz', '12:34:56+05:30:15'), ('interval', 'P1DT2.000003S'), ('interval', '-P1DT2.5S'), ('interval', '-P'), ('interval', '--P1D'),
	('interval', 'PT86399.999999S'), ('interval', 'P99999999999D'), ('uuid', '{00010203-04050607-0809-0a0b0c0d0eff}'), ('uuid', '00010203'), ('mood', 'glad'), ('mood', 'bad'), ('int', '5'), ('boolean', 't'),
	('numeric', '5'), ('int4range', '[5,1)'), ('regclass', 'wire_values.keyed'), ('regclass', 'wire_values.nothing'), ('bit(4)', '101'), ('xml', '<a'), ('code', 'abcd'), ('code', 'abc  '), ('given', ''),
	('name', repeat('n', 100))) AS v (type, value)) AS v ORDER BY n;

-- numbers at the edges of a type
SELECT type, value, taken(type, jsonb_build_object('v', value::jsonb)) AS outcome
FROM (SELECT row_number() OVER () AS n, v.* FROM (VALUES ('smallint', '32767'), ('smallint', '32768'), ('smallint', '-32769'), ('int', '2147483648'), ('int', '-2147483649'), ('bigint', '9223372036854775807'), ('bigint', '9223372036854775808'),
	('bigint', '-9223372036854775808'), ('oid', '-1'), ('oid', '4294967296'), ('int', '{"__float__": "1"}'), ('int', '{"__decimal__": "1"}'),
	('real', '{"__float__": "1e39"}'), ('real', '{"__float__": "1e-46"}'), ('real', '{"__float__": "Infinity"}'), ('real', '16777217'), ('float8', '18446744073709551615'),
	('float8', '{"__decimal__": "1E+400"}'), ('float8', '{"__decimal__": "1E-400"}'), ('float8', '{"__decimal__": "NaN"}'), ('float8', '{"__decimal__": "-Infinity"}'),
	('numeric', '18446744073709551615'), ('numeric', '-9223372036854775808'), ('numeric', '{"__float__": "1e23"}'), ('numeric', '{"__float__": "0.1"}'), ('numeric', '{"__float__": "NaN"}'), ('numeric', '{"__float__": "-Infinity"}'),
	('numeric', '{"__decimal__": "-0"}'), ('numeric', '{"__decimal__": "1.10E+3"}'), ('numeric', '{"__decimal__": "-NaN12"}'), ('numeric', '{"__decimal__": "sNaN"}'), ('numeric', '{"__decimal__": "1E-999999"}'), ('numeric', '{"__decimal__": "1E+999999"}'),
	('numeric', '{"__decimal__": "1E+99999999999999999999"}'), ('price', '9999.994'), ('price', '9999.995'), ('price', '{"__decimal__": "Infinity"}'), ('price', '10000'), ('positive', '0'), ('positive', '1'), ('positive[]', '[1, 0]')
	) AS v (type, value)) AS v ORDER BY n;
SELECT length(taken('numeric', '{"v": {"__decimal__": "1E+99999"}}')) AS digits;

-- arrays of one shape, rows of known names
SELECT type, value, taken(type, jsonb_build_object('v', value::jsonb)) AS outcome
FROM (SELECT row_number() OVER () AS n, v.* FROM (VALUES ('int[]', '[[1, 2], [3, 4]]'), ('int[]', '[[1, 2], [3]]'), ('int[]', '[1, [2]]'), ('int[]', '[[1], 2]'), ('int[]', '[[], []]'), ('int[]', '[[], [1]]'), ('int[]', '[[1], null]'), ('int[]', '[[], 1]'),
	('int[]', '[[[[[[1]]]]]]'), ('int[]', '[[[[[[[1]]]]]]]'), ('int[]', '[{"__set__": [1]}]'), ('int[]', '{"__set__": [[1]]}'), ('int[]', '[1, "2"]'), ('jsonb[]', '[[1, [2]], 3]'), ('asynctasq.msgpack[]', '[[1], null]'),
	('pair', '{}'), ('pair', '{"b": "x"}'), ('pair', '{"a": 1, "c": 2}'), ('pair', '{"a": "x"}'), ('pair', '[1, "x"]'), ('pair', '{"__map__": [[1, 2]]}'), ('good_pair', '{"a": 0}'), ('good_pair', '{}'),
	('nested', '{"p": {"a": 1}, "l": [{"b": "x"}, null], "d": {"__date__": "2024-02-29"}, "n": 1.005}'), ('nested', '{"n": 10000}'), ('keyless', '{"x": 1, "y": "z"}'), ('keyless', '{"gone": 1}'), ('keyless', '{"........pg.dropped.2........": 1}'),
	('pair[]', '[{"a": 1}, {"a": 2}]'), ('sized', '{"n": 1.25, "v": "abc  ", "c": "x", "vs": ["abc", null], "ts": {"__datetime__": "2024-01-02T03:04:05.6"}, "tz": {"__datetime__": "2024-01-02T03:04:05.0006Z"}, "t": "01:02:03.6", "i": "PT1.6S", "b": "101"}'),
	('sized', '{"n": 1000}'), ('sized', '{"v": "abcd"}'), ('sized', '{"c": "abcde"}'), ('sized', '{"vs": ["abcd"]}'), ('sized', '{"b": "10"}')) AS v (type, value)) AS v ORDER BY n;

-- naive and aware datetimes: the session's time zone decides
SET timezone = 'Europe/Paris';
SELECT name, taken('timestamp', asynctasq.args('v', v)) AS "timestamp", taken('timestamptz', asynctasq.args('v', v)) AS "timestamptz"
FROM wire WHERE name IN ('datetime', 'aware', 'timestamp') ORDER BY n;

-- a datetime's text is isoformat()'s or PostgreSQL's; it is kept, and read to the microsecond
SELECT text, args -> 'v' ->> '__datetime__' = text AS kept, CASE WHEN args IS NOT NULL THEN taken('timestamptz', args::asynctasq.msgpack) END AS outcome
FROM unnest(ARRAY['2024-01-02T03:04:05.678901-05:00', '2024-01-02T03:04:05+00:00:00.500000', to_json(timestamptz '2024-01-02 03:04:05.60Z') #>> '{}', timestamp '2024-07-02 03:04:05.25'::text,
	'2024-01-02T03:04:05.1234567Z', '2024-01-02T03:04:05.123456789', '2024-01-02T03:04-05:30', '2024-01-02T03:04:05.1234567891', '2024-01-02T03:04:05.', '2024-01-02T03', '2024-01-02', '2024-01-02t03:04:05',
	'2024-01-02T24:00:00', '2024-01-02T03:60:00', '2024-01-02T03:04:60', '2024-01-02T03:04:05z', '2024-01-02T03:04:05+0100', '2024-01-02T03:04:05+24:00', '2024-01-02T03:04:05 ', 'now']) AS t (text), pg_temp.datetime(text) AS args;
RESET timezone;
RESET datestyle;

-- markers that older producers wrote are what they stand for, if well formed
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT type, value, taken(type, ('{"v": ' || value || '}')::asynctasq.msgpack) AS outcome
FROM (SELECT row_number() OVER () AS n, v.* FROM (VALUES ('date', '{"__map__": [["__date__", "2024-02-29"]]}'), ('date', '{"__map__": [["__date__", "2024-02-30"]]}'), ('timestamp', '{"__map__": [["__datetime__", "2024-02-29T01:02:03"]]}'),
	('numeric', '{"__map__": [["__decimal__", "1.50"]]}'), ('uuid', '{"__map__": [["__uuid__", "00010203-0405-0607-0809-0a0b0c0d0eff"]]}'), ('int[]', '{"__map__": [["__set__", [1, 2]]]}'),
	('jsonb', '{"__map__": [["__set__", [1, {"__map__": [["__decimal__", "2.0"]]}]]]}')) AS v (type, value)) AS v ORDER BY n;

-- plain JSON, which a jsonb parameter gets
SELECT value, taken('jsonb', ('{"v": ' || value || '}')::asynctasq.msgpack) AS outcome
FROM (VALUES ('{"__float__": "NaN"}'), ('{"__float__": "1"}'), ('{"__decimal__": "1.50"}'), ('{"__decimal__": "sNaN"}'), ('{"__decimal__": "1E-999999"}'), ('{"__str__": "YQBi"}'), ('{"__map__": [[1, 2], [null, 3], [1.5, 4], [[1], 5]]}'),
	('{"__map__": [[1, 2], ["1", 3]]}'), ('{"__timestamp__": "2024-01-02T03:04:05+00:00"}'), ('{"__bytes__": "AP8="}'), ('{"__ext__": [100, "AA=="]}'), ('{"__ext__": [-1, "AAAAAP//////////"]}'), ('{"__set__": [{"__frozenset__": []}]}'), ('18446744073709551615')) AS v (value);

RESET search_path;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA wire_values CASCADE;
