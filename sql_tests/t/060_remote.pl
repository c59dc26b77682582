# Queries on other servers: options, privileges, gather, scalar, stream,
# execute, and what the pool does with its connections.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $remote = PostgreSQL::Test::Cluster->new('remote');
$remote->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$remote->append_conf('postgresql.conf', "shared_buffers = '16MB'\nmax_connections = 30");
$remote->start;
$remote->safe_psql('postgres', q{
	CREATE ROLE app LOGIN;
	CREATE DATABASE far;});
$remote->safe_psql('far', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 10000) AS i;
	GRANT ALL ON users TO app;});

my $node = new_cluster('near', 'asynctasq.enabled' => 'off');
create_tenant($node, 'shop', 'app');
create_servers($node, 'shop', "user 'app'",
	far => address_of($remote, 'far') . ", pool_max_size '3', pool_max_overflow '2'");

# In order, one failing alone, rows as to_jsonb() gives them.
is(app($node, 'shop', 'app', q{SELECT * FROM asynctasq.gather('far',
		'SELECT id, name FROM users WHERE id < 3 ORDER BY id', 'SELECT nonsense', 'SELECT FROM users WHERE false', 'SELECT current_user AS u, 1 AS n')}),
	q{1|[{"id": 1, "name": "user 1"}, {"id": 2, "name": "user 2"}]|
2||42703: column "nonsense" does not exist
3|[]|
4|[{"n": 1, "u": "app"}]|}, 'gather');

my $types = q{SELECT true AS b, NULL::int AS nil, 1::int2 AS i2, -9223372036854775808 AS i8, 1.50::numeric AS n, 'NaN'::numeric AS nan,
	0.1::float4 AS f4, 1e300::float8 AS f8, '-Infinity'::float8 AS inf, 'x "y" \\ z'::text AS t, 'a'::"char" AS c, '\x0102'::bytea AS bytes,
	'2020-02-03'::date AS d, 'infinity'::date AS di, '0044-03-15 BC'::date AS bc, '2020-02-03 04:05:06.7'::timestamp AS ts,
	'2020-02-03 04:05:06.7+02'::timestamptz AS tz, '0044-03-15 01:02:03+00 BC'::timestamptz AS tzbc, '-infinity'::timestamptz AS tzi,
	'1 day -02:03:04'::interval AS iv, '04:05:06+01'::timetz AS ttz, '{"a": [1, null, "x"]}'::jsonb AS jb, ' [1,2] '::json AS js, '"s"'::jsonb AS jss,
	'5d5b4d5e-0000-4000-8000-000000000001'::uuid AS u, ARRAY[1, NULL, 3] AS ai, ARRAY[['a', 'b,"c"'], ['', 'NULL']] AS at, '[2:3]={1,2}'::int[] AS lb,
	'{}'::text[] AS e, ARRAY[true, false] AS ab, ARRAY['2020-02-03 04:05:06.7+02'::timestamptz] AS atz, ARRAY['{"k": 1}'::jsonb] AS ajb,
	'(1,2)'::point AS p, '10.0.0.1'::inet AS ip, 'pg_class'::regclass AS rc, int4range(1, 5) AS r};
my $local = app($node, 'shop', 'app', qq{SET timezone = 'UTC'; SELECT to_jsonb(q) FROM ($types) AS q});
$types =~ s/'/''/g;
is(app($node, 'shop', 'app', qq{SET timezone = 'UTC'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; SELECT rows -> 0 FROM asynctasq.gather('far', '$types')}),
	$local, 'values of all types are what to_jsonb() makes of them');

is(app($node, 'shop', 'app', q{SELECT * FROM asynctasq.gather('far',
		'SELECT ''{"a": "\\u0000"}''::json AS j', 'INSERT INTO users VALUES (0)', 'COPY users TO STDOUT', '', 'SELECT 1 AS a; SELECT 2')}),
	q{1|[{"j": "{\"a\": \"\\\\u0000\"}"}]|
2||25006: cannot execute INSERT in a read-only transaction
3||0A000: COPY cannot be used here
4|[]|
5||42601: cannot insert multiple commands into a prepared statement}, 'what is not for gather');

# Scalars, with parameters, which are never part of the text.
is(app($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT count(*) FROM users')}), '10000', 'scalar');
is(app($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT name FROM users WHERE id = $1 AND name = $2', '[7, "user 7"]')}), '"user 7"', 'scalar with parameters');
is(app($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT $1 || $2', '["''; DROP TABLE users; --", "x"]')}), q{"'; DROP TABLE users; --x"}, 'a parameter stays one');
is(app($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT ARRAY[$1::text, $2::bool::text, $3::jsonb ->> ''a'', $4]', '[null, true, {"a": "b"}, 1.50]')}), q{[null, "true", "b", "1.50"]}, 'kinds of parameters');
is(app($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT 1 WHERE false') IS NULL, asynctasq.scalar('far', 'SELECT NULL') IS NULL, asynctasq.scalar('far', $$SELECT '{"a": 1}'::jsonb$$)}), 't|t|{"a": 1}', 'no value, and an object');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT 1 FROM users')}, qr/21000: query of scalar\(\) returned more than one row/, 'many rows');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT 1, 2')}, qr/42601: query of scalar\(\) must return one column/, 'two columns');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT $1', '{"a": 1}')}, qr/22023: parameters must be a JSON array/, 'parameters that are no array');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT 1/0')}, qr/22012: division by zero.*query on server "far"/s, 'an error of the query');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar(NULL, 'SELECT 1')}, qr/22004: server must not be null/, 'no server');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', NULL)}, qr/22004: query must not be null/, 'no query');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.gather('far', 'SELECT 1', NULL)}, qr/22004: queries must not contain nulls/, 'a query that is null');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', $$DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''57014'', MESSAGE = ''no''; END'$$)}, qr/HV000: no/, 'a SQLSTATE that means something here');

# Transactions, all or nothing.
is(app($node, 'shop', 'app', q{SELECT asynctasq.execute('far', 'INSERT INTO users VALUES (-1, ''a''), (-2, ''b'')', ' /* x /* y */ */ UPDATE users SET name = ''c'' WHERE id = -1', 'SELECT 1 FROM users WHERE id < 0', 'CREATE TEMP TABLE t ()')}), '{2,1,2,0}', 'execute');
is(app($node, 'shop', 'app', q{SELECT asynctasq.execute('far', ARRAY['DELETE FROM users WHERE id = $1', 'DELETE FROM users WHERE name = $1', 'SELECT'], '[[-1], ["b"], null]')}), '{1,1,1}', 'execute with parameters');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.execute('far', 'DELETE FROM users', 'INSERT INTO users VALUES (1), (1)')}, qr/23505: duplicate key/, 'a statement that fails');
is(app($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT count(*) FROM users')}), '10000', 'undoes all');
$remote->safe_psql('far', 'CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int REFERENCES parents DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON parents, children TO app');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.execute('far', 'INSERT INTO children VALUES (1)')}, qr/23503: insert or update on table "children" violates/, 'a commit that fails');
foreach my $sql ('commit', 'ROLLBACK', '/* */ -- x
		End', 'begin', 'START TRANSACTION', 'abort', 'SAVEPOINT s', 'release s', ";;prepare transaction 'x'")
{
	app_fails($node, 'shop', 'app', qq{SELECT asynctasq.execute('far', 'DELETE FROM users', \$\$$sql\$\$)}, qr/2D000: execute\(\) cannot run/, "execute of $sql");
}
app_fails($node, 'shop', 'app', q{SELECT asynctasq.execute('far', ARRAY['SELECT 1'], '[[], []]')}, qr/22023: parameters must be a JSON array with an array for each of 1 statements/, 'wrong number of parameter lists');
is(app($node, 'shop', 'app', q{SELECT asynctasq.execute('far', VARIADIC '{}')}), '{}', 'nothing to execute');

# Streams.
is(app($node, 'shop', 'app', q{SELECT count(*), min((r ->> 'id')::int), max((r ->> 'id')::int), count(DISTINCT r) FROM (SELECT asynctasq.stream('far', 'SELECT * FROM users ORDER BY id', fetch_size => 7) AS r) AS s}), '10000|1|10000|10000', 'a stream');
is(app($node, 'shop', 'app', q{SELECT string_agg(r ->> 'id', ',') FROM asynctasq.stream('far', 'SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2', '[3, 4]', 2) AS r}), '4,5,6,7', 'with parameters, in FROM');
is(app($node, 'shop', 'app', q{SELECT count(*) FROM asynctasq.stream('far', 'SELECT 1 WHERE false')}), '0', 'without rows');
is(app($node, 'shop', 'app', q{
	SELECT asynctasq.stream('far', 'SELECT i FROM generate_series(1, 10000000) AS i', fetch_size => 10) LIMIT 3;
	SELECT connects, size, checked_out, idle FROM asynctasq.stat_pools WHERE pid = pg_backend_pid()}),
	qq({"i": 1}\n{"i": 2}\n{"i": 3}\n1|1|0|1), 'stops at LIMIT, and the connection is used again');
wait_for($remote, 'far', "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app' AND xact_start IS NOT NULL");
app_fails($node, 'shop', 'app', q{SELECT 1 / (7 - (asynctasq.stream('far', 'SELECT id FROM users ORDER BY id', fetch_size => 2) ->> 'id')::int)}, qr/22012/, 'an error beside a stream');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.stream('far', 'SELECT 1 / (7 - id) FROM users ORDER BY id', fetch_size => 2)}, qr/22012/, 'an error in a stream');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.stream('far', 'DELETE FROM users RETURNING id')}, qr/42601|0A000|25006/, 'a stream that writes');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.stream('far', 'SELECT 1', fetch_size => 0)}, qr/22023: fetch_size must be between 1 and 100000/, 'no fetch_size');
is(app($node, 'shop', 'app', q{
	DO $$ BEGIN PERFORM 1 / (asynctasq.stream('far', 'SELECT 0 AS id FROM generate_series(1, 5)', fetch_size => 2) ->> 'id')::int; EXCEPTION WHEN division_by_zero THEN NULL; END $$;
	SELECT count(*) FROM asynctasq.stat_pools WHERE checked_out > 0}), '0', 'an error that is caught gives the connection back');
is(app($node, 'shop', 'app', q{SELECT asynctasq.stream('far', 'SELECT i FROM generate_series(1, 3) AS i', fetch_size => 1) ->> 'i', asynctasq.scalar('far', 'SELECT 5'), asynctasq.stream('far', 'SELECT i FROM generate_series(11, 13) AS i', fetch_size => 1) ->> 'i'}),
	"1|5|11\n2|5|12\n3|5|13", 'two streams and a scalar beside each other');

# Many queries: no more connections than the pool may have, overflow closed.
is(app($node, 'shop', 'app', q{
	SELECT count(*), count(error), sum((rows #>> '{0,i}')::int) FROM (SELECT * FROM asynctasq.gather('far', VARIADIC (SELECT array_agg('SELECT ' || i || ' AS i, pg_sleep(0.001)') FROM generate_series(1, 200) AS i))) AS g;
	SELECT connects, size, overflow, waits, timeouts, errors, queries FROM asynctasq.stat_pools}),
	"200|0|20100\n5|3|0|200|0|0|200", 'two hundred queries over five connections');
is(app($node, 'shop', 'app', q{SELECT string_agg(ord::text || (rows #>> '{0,i}'), ',') FROM asynctasq.gather('far', VARIADIC (SELECT array_agg('SELECT ' || i || ' AS i, pg_sleep(' || (i * 7) % 5 * 0.005 || ')') FROM generate_series(1, 20) AS i))}),
	join(',', map { "$_$_" } 1 .. 20), 'in their order, whenever they end');
is(app($node, 'shop', 'app', q{
	SELECT count(DISTINCT rows #>> '{0,pid}') FROM (SELECT (asynctasq.gather('far', 'SELECT pg_backend_pid() AS pid')).rows FROM generate_series(1, 5)) AS s;
	SELECT connects FROM asynctasq.stat_pools}), "1\n1", 'one connection is used again');

# What a query leaves in the session is gone for the next one.
is(app($node, 'shop', 'app', q{
	SELECT count(*) FROM asynctasq.gather('far', 'SELECT set_config(''search_path'', ''x'', false), set_config(''timezone'', ''UTC'', false)');
	SELECT asynctasq.scalar('far', 'SELECT current_setting(''search_path'') || current_setting(''TimeZone'')');
	SELECT count(*) FROM asynctasq.check_servers();
	SELECT asynctasq.scalar('far', 'SELECT current_setting(''search_path'')');
	SELECT count(asynctasq.scalar('far', 'SELECT pg_advisory_lock(42) IS NULL'));
	SELECT (asynctasq.gather('far', 'BEGIN READ WRITE')).error;
	SELECT count(*) FROM asynctasq.gather('far', 'LISTEN x', 'CREATE TEMP TABLE t ()');
	SELECT asynctasq.scalar('far', 'SELECT to_regclass(''t'') IS NULL AND current_setting(''transaction_read_only'') = ''on'' AND (SELECT count(*) FROM pg_locks WHERE locktype = ''advisory'') = 0');
	SELECT connects <= 4 FROM asynctasq.stat_pools}), qq(1\n"\\"\$user\\", publicGMT"\n1\n"\\"\$user\\", public"\n1\n\n2\ntrue\nt), 'the session is reset');

# Changed options count at the next use; dropped ones end it.
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
my $pid = $session->query_safe(q{SELECT asynctasq.scalar('far', 'SELECT pg_backend_pid()')});
is($session->query_safe(q{SELECT asynctasq.scalar('far', 'SELECT pg_backend_pid()')}), $pid, 'the same connection');
$node->safe_psql('shop', q{ALTER SERVER far OPTIONS (ADD application_name 'renamed')});
is($session->query_safe(q{SELECT asynctasq.scalar('far', 'SELECT current_setting(''application_name'')')}), '"renamed"', 'new options of the server');
wait_for($remote, 'far', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
$node->safe_psql('shop', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'postgres')});
is($session->query_safe(q{SELECT asynctasq.scalar('far', 'SELECT current_user')}), '"postgres"', 'new options of the mapping');
$node->safe_psql('shop', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'app')});
is($session->query_safe(q{SELECT (asynctasq.gather('far', 'SELECT current_user')).rows}), '[{"current_user": "app"}]', 'and back');
$node->safe_psql('shop', 'DROP USER MAPPING FOR app SERVER far');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT 1')}, qr/42704: user mapping for "app" on server "far" does not exist/, 'without a mapping');
is($session->query_safe(q{SELECT error FROM asynctasq.check_servers()}), '42704: user mapping for "app" on server "far" does not exist', 'check_servers says so');
wait_for($remote, 'far', "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
is($session->query_safe('SELECT count(*) FROM asynctasq.stat_pools'), '0', 'the pool is gone with its mapping');
$node->safe_psql('shop', q{CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'app', password_required 'false')});
is($session->query_safe(q{SELECT * FROM asynctasq.check_servers()}), 'far|t|', 'a mapping for PUBLIC');

# The pool's options: recycling, pre-ping, no pool at all, a minimum.
$session->query_safe(q{SET asynctasq.pool_recycle = 0; SELECT asynctasq.scalar('far', 'SELECT 1')});
$session->query_safe(q{SELECT asynctasq.scalar('far', 'SELECT 1')});
cmp_ok($session->query_safe('SELECT recycled FROM asynctasq.stat_pools'), '>=', 1, 'pool_recycle');
$session->quit;
is(app($node, 'shop', 'app', q{
	SET asynctasq.pool_class = 'null';
	SELECT count(asynctasq.scalar('far', 'SELECT 1')) FROM generate_series(1, 3);
	SELECT connects, size FROM asynctasq.stat_pools}), "3\n3|0", 'pool_class null');
is(app($node, 'shop', 'app', q{
	SET asynctasq.pool_min_size = 2;
	SELECT asynctasq.scalar('far', 'SELECT 1');
	SELECT connects, size FROM asynctasq.stat_pools}), "1\n2|2", 'pool_min_size');

# A server that was restarted: reads go on, and so do transactions.
$session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
foreach my $pre_ping ('off', 'on')
{
	$session->query_safe("SET asynctasq.pool_pre_ping = $pre_ping");
	foreach my $sql (q{SELECT count(error) FROM asynctasq.gather('far', 'SELECT 1', 'SELECT 2', 'SELECT 3')}, q{SELECT asynctasq.execute('far', 'UPDATE users SET name = name WHERE id = 1')},
		q{SELECT count(*) FROM asynctasq.stream('far', 'SELECT 1')})
	{
		my $expected = $session->query_safe($sql);
		$remote->restart;
		is($session->query_safe($sql), $expected, "after a restart, pre-ping $pre_ping: $sql");
	}
}

# The query that is cancelled here is cancelled there.
foreach my $sql (q{SELECT asynctasq.scalar('far', 'SELECT pg_sleep(1000)')}, q{SELECT asynctasq.execute('far', 'SELECT pg_sleep(1000)')},
	q{SELECT asynctasq.stream('far', 'SELECT pg_sleep(1000)')}, q{SELECT asynctasq.gather('far', 'SELECT pg_sleep(1000)', 'SELECT pg_sleep(1000)')})
{
	my $n = $sql =~ /gather/ ? 2 : 1;
	$session->query_until(qr/waits/, "\\echo waits\nDO \$\$ BEGIN PERFORM * FROM ($sql) AS q; EXCEPTION WHEN query_canceled THEN NULL; END \$\$;\n");
	wait_for($remote, 'far', "SELECT count(*) = $n FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	$node->safe_psql('shop', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()});
	wait_for($remote, 'far', "SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	is($session->query_safe(q{SELECT asynctasq.scalar('far', 'SELECT 5')}), '5', "cancelled: $sql");
}
$session->quit;

# Limits of time and size.
app_fails($node, 'shop', 'app', q{SET asynctasq.fetch_timeout = '200ms'; SELECT asynctasq.scalar('far', 'SELECT pg_sleep(1000)')}, qr/08006: server "far" did not answer within 200 ms/, 'fetch_timeout');
wait_for($remote, 'far', "SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
is(app($node, 'shop', 'app', q{SET asynctasq.fetch_timeout = '500ms'; SELECT ord, error FROM asynctasq.gather('far', 'SELECT pg_sleep(1000)', 'SELECT 1')}), "1|08006: server \"far\" did not answer within 500 ms\n2|", 'one of two');
$node->safe_psql('postgres', q{ALTER SYSTEM SET asynctasq.max_answer = '1MB'});
$node->reload;
is(app($node, 'shop', 'app', q{SELECT ord, error FROM asynctasq.gather('far', 'SELECT repeat(''x'', 3000000)', 'SELECT 1', 'SELECT i FROM generate_series(1, 10000000) AS i')}),
	"1|54000: answer of server \"far\" is larger than asynctasq.max_answer\n2|\n3|54000: answer of server \"far\" is larger than asynctasq.max_answer", 'max_answer');
is(app($node, 'shop', 'app', q{SELECT count(*) FROM (SELECT asynctasq.stream('far', 'SELECT i FROM generate_series(1, 100000) AS i')) AS s}), '100000', 'a stream may be longer');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET asynctasq.max_answer');
$node->reload;

# A pool that streams have used up.
app_fails($node, 'shop', 'app', q{
	SET asynctasq.pool_max_size = 1;
	SELECT } . join(', ', map { "asynctasq.stream('far', 'SELECT i FROM generate_series(1, 10) AS i', fetch_size => 1)" } 1 .. 6),
	qr/53300: pool of server "far" is exhausted/, 'a pool used up by streams');

# However long a stream is, it takes the memory of two chunks.
$session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
my $local_pid = $session->query_safe('SELECT pg_backend_pid()');
my $peak = sub { slurp_file("/proc/$local_pid/status") =~ /VmHWM:\s+(\d+)/ ? $1 : 0 };
$session->query_safe(q{SELECT count(*) FROM (SELECT asynctasq.stream('far', 'SELECT i, repeat(''x'', 100) AS x FROM generate_series(1, 2000) AS i')) AS s});
my $before = $peak->();
my $rows = amount(300000, 10000000);
is($session->query_safe("SELECT count(*) FROM (SELECT asynctasq.stream('far', 'SELECT i, repeat(''x'', 100) AS x FROM generate_series(1, $rows) AS i')) AS s"), $rows, 'a long stream');
cmp_ok($peak->() - $before, '<', 4000, 'in constant memory');
$session->quit;

# Fewer connections there than the pool would take: it makes do.
$remote->safe_psql('postgres', 'ALTER ROLE app CONNECTION LIMIT 2');
is(app($node, 'shop', 'app', q{SELECT count(*), count(error) FROM asynctasq.gather('far', VARIADIC (SELECT array_agg('SELECT ' || i) FROM generate_series(1, 20) AS i))}), '20|0', 'fewer connections than wanted');
$remote->safe_psql('postgres', 'ALTER ROLE app CONNECTION LIMIT 0');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('far', 'SELECT 1')}, qr/53300: could not connect to server "far".*too many connections for role "app"/s, 'too many connections');
$remote->safe_psql('postgres', 'ALTER ROLE app CONNECTION LIMIT -1');

# Several servers, some of which are not there.
create_servers($node, 'shop', "user 'app'",
	closed => "host '" . $remote->host . "', port '1'",
	nameless => "host 'no.such.host.invalid', connect_timeout '2'",
	nodb => address_of($remote, 'none'));
create_fdw_server($node, 'shop', "user 'app'", fdw => address_of($remote, 'far'));
$node->safe_psql('shop', q{
	CREATE FOREIGN DATA WRAPPER other;
	CREATE SERVER other FOREIGN DATA WRAPPER other;
	CREATE SERVER hidden FOREIGN DATA WRAPPER asynctasq;
	GRANT USAGE ON FOREIGN SERVER other TO app;});
my $answer = app($node, 'shop', 'app', q{SELECT server, rows, error FROM asynctasq.gather_many('{far,closed,fdw,nameless,nodb}', 'SELECT $1::int AS n', '[5]')});
like($answer, qr/^far\|\[\{"n": 5\}\]\|\nclosed\|\|08001: could not connect to server "closed" .*\nfdw\|\[\{"n": 5\}\]\|\nnameless\|\|08001: could not connect to server "nameless" .*\nnodb\|\|08001: could not connect to server "nodb" .*database "none" does not exist/s, 'gather_many');
is(app($node, 'shop', 'app', q{SELECT server, reachable, left(error, 6) FROM asynctasq.check_servers()}), "closed|f|08001:\nfar|t|\nfdw|t|\nnameless|f|08001:\nnodb|f|08001:", 'check_servers');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.gather_many('{far,none}', 'SELECT 1')}, qr/42704: server "none" does not exist/, 'no such server');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('hidden', 'SELECT 1')}, qr/42501: permission denied for foreign server hidden/, 'no privilege');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.scalar('other', 'SELECT 1')}, qr/42809: server "other" cannot be used.*neither asynctasq nor postgres_fdw/s, 'another wrapper');

$node->stop;
$remote->stop;
done_testing();
