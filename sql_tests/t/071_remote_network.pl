# Other servers over TCP: encrypted, restarted while somebody logs in, gone
# while something is written to them, and swallowing whatever is sent.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $remote = PostgreSQL::Test::Cluster->new('remote');
$remote->init;
my $port = $remote->port;
my $data = $remote->data_dir;
my $has_ssl = system("openssl req -new -x509 -days 10 -nodes -subj /CN=localhost -out $data/server.crt -keyout $data/server.key 2>/dev/null") == 0;
chmod 0600, "$data/server.key" if $has_ssl;
$remote->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'\nlog_statement = 'none'");
$remote->start;
$remote->safe_psql('postgres', q{
	CREATE ROLE app LOGIN PASSWORD 'secret';
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO app;
	CREATE TABLE app.users (id int PRIMARY KEY, name text);
	INSERT INTO app.users SELECT i, 'user ' || i FROM generate_series(1, 1000) AS i;
	GRANT SELECT ON app.users TO app;});
unlink("$data/pg_hba.conf");
$remote->append_conf('pg_hba.conf', "hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all trust");
$has_ssl &&= $remote->safe_psql('postgres', q{SELECT setting <> '' FROM pg_settings WHERE name = 'ssl_library'}) eq 't';
$remote->append_conf('postgresql.conf', 'ssl = on') if $has_ssl;
$remote->reload;

my $node = new_cluster('near', 'asynctasq.worker_idle_timeout' => '1h', 'asynctasq.workers_per_lane' => 1);
create_tenant($node, 'shop', 'app');
my $hole = black_hole();
create_servers($node, 'shop', "user 'app', password 'secret'",
	safe => "host '127.0.0.1', port '$port', dbname 'postgres', sslmode 'require'",
	plain => "host '127.0.0.1', port '$port', dbname 'postgres', sslmode 'disable'",
	verified => "host 'localhost', hostaddr '127.0.0.1', port '$port', dbname 'postgres', sslmode 'verify-full', sslrootcert '$data/server.crt'",
	misnamed => "host 'other.test', hostaddr '127.0.0.1', port '$port', dbname 'postgres', sslmode 'verify-full', sslrootcert '$data/server.crt'",
	near => address_of($remote, 'postgres'),
	hole => $hole,
	patient => "$hole, connect_timeout '2'",
	leaves => start_fake_server() . ", dbname 'login_leaves'");
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text);
	CREATE FUNCTION take(u users) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (u.name) $$;
	SELECT asynctasq.register_handler('take', 'take(users)', max_attempts => 1000, retry_delay => '50 ms'),
		asynctasq.register_model('Safe', 'users', server => 'safe', on_missing => 'error'),
		asynctasq.register_model('User', 'users', server => 'near', on_missing => 'error'),
		asynctasq.register_model('Hole', 'users', server => 'hole', on_missing => 'error'),
		asynctasq.register_model('Leaves', 'users', server => 'leaves', on_missing => 'error');});
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'AsynctasqRemote' OR wait_event_type = 'Extension' AND backend_type IN ('client backend', 'asynctasq worker') AND state = 'active'};

sub error_of
{
	my ($server) = @_;

	return $session->query_safe("SELECT error FROM asynctasq.gather('$server', 'SELECT 1')");
}

# A signal to the other server's processes takes its time.
sub wait_for_setting
{
	my ($there) = @_;

	1 while $there->query_safe('SHOW pre_auth_delay') ne '1min';
	return;
}

sub dispatch
{
	my ($model, $ids, $options) = @_;

	return app($node, 'shop', 'app', sprintf q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('%s', i)) %s) FROM generate_series(%s) AS i}, $model, $options // '', $ids);
}

# Encrypted: in all forms, with answers that are larger than a record.
SKIP:
{
	skip 'the server, or openssl, is not there', 9 if !$has_ssl;
	is($session->query_safe(q{SELECT asynctasq.scalar('safe', 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')}), 'true', 'encrypted');
	is($session->query_safe(q{SELECT sum(length(rows #>> '{0,x}')), count(error) FROM asynctasq.gather('safe', VARIADIC array_fill('SELECT repeat(''x'', 1000000) AS x'::text, ARRAY[10]))}), '10000000|0', 'large answers');
	is($session->query_safe(q{SELECT count(*), sum((r ->> 'i')::int) FROM (SELECT asynctasq.stream('safe', 'SELECT i FROM generate_series(1, 100000) AS i') AS r) AS s}), '100000|5000050000', 'a stream');
	is($session->query_safe(q{SELECT asynctasq.execute('safe', 'CREATE TEMP TABLE t (x text)', 'INSERT INTO t VALUES (repeat(''x'', 1000000))')}), '{0,1}', 'a transaction');
	like(error_of('plain'), qr/^08001: .*no encryption/s, 'which the server asks for');
	is(error_of('verified'), '', 'with the right certificate');
	like(error_of('misnamed'), qr/^08001: .*server certificate for "localhost" does not match host name "other.test"/s, 'that of another server');
	$session->query_until(qr/waits/, "\\echo waits\nDO \$\$ BEGIN PERFORM asynctasq.scalar('safe', 'SELECT pg_sleep(1000)'); EXCEPTION WHEN query_canceled THEN NULL; END \$\$;\n");
	wait_for($remote, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
	$node->safe_psql('shop', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()});
	wait_for($remote, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
	is(error_of('safe'), '', 'cancelled');
	dispatch('Safe', '1, 500');
	wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
	is(app($node, 'shop', 'app', q{SELECT count(DISTINCT what) FROM got}), '500', 'rows of tasks, ahead of them');
	$remote->restart;
	is(error_of('safe'), '', 'after a restart');
}

# Restarted while a session and a task log in: the session has an error, the
# task is tried again.
app($node, 'shop', 'app', 'TRUNCATE got');
my $slow = $remote->background_psql('postgres');
$slow->query_safe(q{ALTER SYSTEM SET pre_auth_delay = '1min'});
$remote->reload;
wait_for_setting($slow);
$session->query_until(qr/waits/, "\\echo waits\nSELECT error FROM asynctasq.gather('near', 'SELECT 1');\n\\echo done\n");
dispatch('User', '1, 1');
wait_for($node, 'shop', $waiting, '2');
$slow->quit;
$remote->stop('immediate');
$remote->append_conf('postgresql.auto.conf', "pre_auth_delay = 0");
$remote->start;
like($session->query_safe('SELECT 1'), qr/08001: could not connect to server "near"/, 'a restart while a session logs in');
is(error_of('near'), '', 'it connects the next time');
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
is(app($node, 'shop', 'app', q{SELECT what FROM got}), 'user 1', 'a task is tried again');

# A server that is gone while something is written to it.
my $pid = $session->query_safe('SELECT pg_backend_pid()');
like($session->query_safe(q{SELECT error FROM asynctasq.gather('leaves', 'SELECT ''' || repeat('x', 20000000) || '''')}), qr/^08/, 'writing to a server that is gone');
is($session->query_safe('SELECT pg_backend_pid()'), $pid, 'is an error like any other');
my $worker = $node->safe_psql('shop', 'SELECT pid FROM asynctasq.stat_workers');
dispatch('Leaves', '1, 3', ', max_attempts => 1');
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
query_is($node, 'shop', q{SELECT count(*), min(left(error ->> 'sqlstate', 2)) FROM asynctasq.dead_letters}, '3|08', 'and of tasks');
query_is($node, 'shop', 'SELECT pid FROM asynctasq.stat_workers', $worker, 'whose worker goes on');
$node->safe_psql('shop', 'TRUNCATE asynctasq.dead_letter');

# A black hole.
like(error_of('patient'), qr/^08001: could not connect to server "patient" \(The time for connecting is over\.\)/, 'connect_timeout');
$session->query_safe(q{SET asynctasq.fetch_timeout = '300ms'});
like(error_of('hole'), qr/^08001: /, 'fetch_timeout');
is($session->query_safe(q{SELECT server, left(error, 5) FROM asynctasq.gather_many('{hole,near}', 'SELECT 1')}), "hole|08001\nnear|", 'other servers are not affected');
$session->query_safe(q{SET asynctasq.fetch_timeout = 0});
$session->query_until(qr/waits/, "\\echo waits\nDO \$\$ BEGIN PERFORM * FROM asynctasq.gather('hole', 'SELECT 1'); EXCEPTION WHEN query_canceled THEN NULL; END \$\$;\n\\echo cancelled\n");
wait_for($node, 'shop', $waiting, '1');
$node->safe_psql('shop', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%hole%' AND pid <> pg_backend_pid()});
like($session->query_safe('SELECT 1'), qr/cancelled/, 'a session gives up at once');
$node->safe_psql('postgres', 'ALTER ROLE app SET asynctasq.fetch_timeout = 0');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'asynctasq worker'});
my $id = dispatch('Hole', '1, 1');
my $rest = dispatch('User', '2, 4');
wait_for($node, 'shop', $waiting, '1');
is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', 'a task in the hole is cancelled');
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
query_is($node, 'shop', "SELECT status FROM asynctasq.task_info($id)", 'cancelled', '.. and is that');
is(app($node, 'shop', 'app', q{SELECT string_agg(what, ',' ORDER BY n) FROM got}), 'user 1,user 2,user 3,user 4', 'the others run');

$session->quit;
$node->stop;
$remote->stop;
done_testing();
