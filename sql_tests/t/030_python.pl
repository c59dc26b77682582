# What Python reads from the wire is what SQL put there, and the other way
# round: real MessagePack on both sides, down to the last digit.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $script = 'sql_tests/t/check_wire.py';
my $node = new_cluster('main', 'asynctasq.max_payload' => '4MB');
create_tenant($node, 'shop', 'app');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

# From SQL to Python.  The text of a value comes from PostgreSQL's own output,
# and Python says what it means.
sql(q{
	CREATE TABLE value (type text, text text, wire asynctasq.msgpack);
	CREATE FUNCTION put(type text, text text, value anyelement) RETURNS void
		LANGUAGE sql AS 'INSERT INTO app.value SELECT type, text, asynctasq.args(''v'', value)';
	CREATE TYPE entry AS (n int, amount numeric, at timestamptz, tags text[]);
	SET extra_float_digits = 3;
	SET timezone = 'Asia/Kathmandu';

	-- every width of an integer, with its neighbours
	SELECT put('int', v::text, v)
	FROM generate_series(0, 62) AS bits, unnest(ARRAY[1, -1]) AS sign, generate_series(-1, 1) AS around,
		LATERAL (SELECT sign * ((1::bigint << bits) + around) AS v) AS v;
	SELECT put('int', v::text, v)
	FROM unnest(ARRAY[9223372036854775807, -9223372036854775807 - 1]) AS v;
	SELECT put('int', v::text, v) FROM unnest(ARRAY[-32768, 32767]::smallint[]) AS v;
	SELECT put('int', v::text, v) FROM unnest(ARRAY[0, 4294967295]::oid[]) AS v;

	-- numeric, to more digits than anything else has
	SELECT put('numeric', v::text, v)
	FROM generate_series(1, 300) AS i, unnest(ARRAY[1, -1]) AS sign,
		LATERAL (SELECT sign * (translate(repeat(md5(i::text), 1 + i % 5), 'abcdef', '012345') || 'e' || (i % 90 - 60))::numeric AS v) AS v;
	SELECT put('numeric', v::text, v)
	FROM unnest(ARRAY['0', '0.000', '-1.50', '1e100', '1e-100', 'NaN', 'Infinity', '-Infinity']::numeric[]) AS v;

	SELECT put('float8', v::text, v)
	FROM generate_series(1, 300) AS i, unnest(ARRAY[1, -1]) AS sign,
		LATERAL (SELECT sign * sqrt(i::float8) * (10::float8 ^ (i * 2 - 300)) AS v) AS v;
	SELECT put('float8', v::text, v)
	FROM unnest(ARRAY['0', '-0', '1', '5e-324', '1.7976931348623157e308', 'NaN', 'Infinity', '-Infinity']::float8[]) AS v;
	SELECT put('float4', v::text, v)
	FROM unnest(ARRAY['0.1', '-0', '1e-45', '3.4028235e38', '16777216', 'NaN', '-Infinity']::float4[]) AS v;

	SELECT put('text', v, v)
	FROM unnest(ARRAY['', 'x', U&'\00E9\20AC\+01F600', E'"\\\\''\n\t\u0001', repeat('x', 31), repeat('x', 32),
		repeat('x', 256), repeat('x', 65536)]) AS v;
	SELECT put('bytea', v::text, v)
	FROM unnest(ARRAY['\x', '\x00', '\x00ff5c27', decode(repeat('00ff', 128), 'hex'), decode(repeat('00ff', 40000), 'hex')]) AS v;
	SELECT put('uuid', v::text, v) FROM generate_series(1, 50) AS i, CAST(md5(i::text) AS uuid) AS v;
	SELECT put('bool', v::text, v) FROM unnest(ARRAY[true, false]) AS v;

	-- the whole calendar, with and without a fraction
	SELECT put('date', to_char(v, 'YYYY-MM-DD'), v)
	FROM generate_series(0, 3652058, 12347) AS i, CAST('0001-01-01'::date + i AS date) AS v;
	SELECT put('timestamp', to_char(v, 'YYYY-MM-DD"T"HH24:MI:SS.US'), v)
	FROM generate_series(0, 500) AS i, CAST('0001-01-01'::timestamp + i * interval '7300 days 07:13:11.000123' AS timestamp) AS v;
	SELECT put('timestamptz', to_char(v AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), v)
	FROM generate_series(0, 500) AS i, CAST('0001-01-01 00:00+00'::timestamptz + i * interval '175200 hours 13 min 11.000123 s' AS timestamptz) AS v;
	SELECT put('timestamp', v, v::timestamp)
	FROM unnest(ARRAY['0001-01-01T00:00:00.000000', '9999-12-31T23:59:59.999999', '2000-01-01T00:00:00.000000']) AS v;
	SELECT put('time', v::text, v::time)
	FROM unnest(ARRAY['00:00:00.000000', '23:59:59.999999', '12:34:56.000789']) AS v;
	SELECT put('micros', v::text, v * interval '1 microsecond')
	FROM unnest(ARRAY[0, 1, -1, 1000000, 86400000000, -86399999999, 172800000003]) AS v;
	SELECT put('micros', (days::numeric * 86400000000 + 7)::text, days * interval '1 day' + interval '7 microseconds')
	FROM unnest(ARRAY[0, 1, 999999998]) AS days;
	SELECT put('micros', (-days::numeric * 86400000000 - 7)::text, days * interval '-1 day' - interval '7 microseconds')
	FROM unnest(ARRAY[1, 999999998]) AS days;

	-- containers
	SELECT put('json', to_json(v)::text, v)
	FROM unnest(ARRAY[0, 1, 15, 16, 65536]) AS n, LATERAL (SELECT array(SELECT generate_series(1, n))) AS a (v);
	SELECT put('json', to_json(v)::text, v) FROM (VALUES (ARRAY[[1, 2], [3, NULL]]), ('{}'), ('{{{1}}}')) AS a (v);
	SELECT put('json', v::text, v) FROM (VALUES (
		'{"b": [1, 2.5, 1e400, 12345678901234567890123, 0.10000000000000000001, null, true, "x"], "": {}}'::json)) AS a (v);
	SELECT put('json', v::text, v) FROM (VALUES (
		'{"b": [1, 2.5, 1e400, 12345678901234567890123, 0.10000000000000000001, null, true, "x"], "": {}}'::jsonb)) AS a (v);
	SELECT put('json', '{"n": 1, "amount": 12.50, "at": null, "tags": ["a", null]}', ROW(1, 12.50, NULL, ARRAY['a', NULL])::entry);
	INSERT INTO value SELECT 'set', to_json(v)::text, asynctasq.args('v', asynctasq.set(v))
	FROM (VALUES (ARRAY['a', 'b', 'c']), (ARRAY[]::text[])) AS a (v);});

my $lines = sql(q{SELECT json_build_object('type', type, 'text', text, 'wire', encode(wire::bytea, 'hex')) FROM value});
my $count = () = $lines =~ /^/mg;
my $file = $node->basedir . '/values';
append_to_file($file, "$lines\n");
is( python($node, 'shop', $script, 'decode', $file),
	"$count read, 0 differ", 'Python reads what SQL has put on the wire');
cmp_ok($count, '>', 3000, 'for many values');

# From Python to SQL, through tasks that workers run.
$file = $node->basedir . '/tasks';
append_to_file($file, python($node, 'shop', $script, 'encode') . "\n");
sql(qq{
	CREATE TABLE sent (n serial, line json, id bigint);
	\\copy sent (line) FROM '$file' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
	CREATE TABLE taken (id bigint, value text);});
foreach my $type ('numeric', 'bigint', 'float8', 'timestamp', 'timestamptz', 'date', 'time',
	'text', 'bytea', 'uuid', 'boolean', 'int[]', 'numeric[]', 'jsonb', 'sorted')
{
	my $parameter = $type eq 'sorted' ? 'int[]' : $type;
	my $value =
	  $type eq 'sorted'
	  ? '(SELECT coalesce(array_agg(i ORDER BY i), ARRAY[]::int[]) FROM unnest(v) AS i)'
	  : 'v';

	sql(qq{
		CREATE FUNCTION "take $type"(v $parameter) RETURNS void LANGUAGE sql
			SET extra_float_digits = 3
			AS 'INSERT INTO app.taken SELECT (asynctasq.current_task()).id, ($value)::text';
		SELECT asynctasq.register_handler('take $type', '"take $type"($parameter)');});
}
sql(q{
	UPDATE sent SET id = asynctasq.dispatch_payload(decode(line ->> 'wire', 'hex'));});
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
is( sql(q{SELECT task, error ->> 'message' FROM asynctasq.dead_letters ORDER BY id LIMIT 5}),
	'', 'no task from Python fails');

sql(q{
	CREATE FUNCTION meaning(type text, text text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		result text;
	BEGIN
		EXECUTE format('SELECT $1::%s::text', replace(type, 'sorted', 'int[]')) INTO result USING text;
		RETURN result;
	END $$;});
is( sql(q{
		SET extra_float_digits = 3;
		SELECT line ->> 'type', left(line ->> 'text', 100), left(value, 100)
		FROM sent LEFT JOIN taken USING (id)
		WHERE meaning(line ->> 'type', line ->> 'text') IS DISTINCT FROM value ORDER BY n LIMIT 10}),
	'', 'and what its handler got is what Python had');
cmp_ok(sql('SELECT count(*) FROM taken'), '>', 2500, 'for many values');

# Nothing of the bytes is touched on the way.
is( sql(q{SELECT count(*) FROM sent WHERE decode(line ->> 'wire', 'hex') <>
		decode(line ->> 'wire', 'hex')::asynctasq.msgpack::text::asynctasq.msgpack::bytea}),
	'0', 'the text form gives the same bytes');

done_testing();
