# Host names: looked up without blocking, whatever the name server does.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'only where libraries can be preloaded' if $^O ne 'linux';

$ENV{LD_PRELOAD} = "$ENV{TESTDIR}/sql_tests/module/names.so";
my $node = new_cluster('near', 'asynctasq.worker_idle_timeout' => '1h');
delete $ENV{LD_PRELOAD};
create_tenant($node, 'shop', 'app');

create_servers($node, 'shop', "user 'app'",
	self => address_of($node, 'shop'),
	slow => "host 'slow.test'",
	none => "host 'none.test'",
	here => "host 'here.test', port '1'",
	both => "host 'none.test,here.test', port '2,1'",
	given => "host 'slow.test', hostaddr '127.0.0.1', port '1'",
	numeric => "host '127.0.0.1', port '1'");

sub error_of
{
	my ($server) = @_;

	return app($node, 'shop', 'app', "SET asynctasq.fetch_timeout = '300ms'; SELECT error FROM asynctasq.gather('$server', 'SELECT 1')");
}

like(error_of('none'), qr/^08001: .*could not translate host name "none.test" to address: /, 'a name that is not known');
like(app($node, 'shop', 'app', q{SELECT string_agg(error, ' ') FROM asynctasq.gather('none', 'SELECT 1', 'SELECT 2', 'SELECT 3')}), qr/^(08001: [^(]*\(could not translate host name "none.test" to address: Name or service not known\) ?){3}$/, 'nobody else asks for it');
is($node->safe_psql('shop', q{
	CREATE USER MAPPING FOR CURRENT_USER SERVER none;
	DO 'BEGIN FOR i IN 1 .. 50 LOOP PERFORM * FROM asynctasq.gather(''none'', ''SELECT 1''); END LOOP; END';
	SELECT sum(total_bytes) < 30000 FROM pg_backend_memory_contexts WHERE name IN ('asynctasq pool', 'asynctasq host')}), 't', 'and what it was told does not pile up');
like(error_of('here'), qr/^08001: .*127.0.0.1.*, port 1 failed: /s, 'an address that a name has given');
like(error_of('both'), qr/^08001: .*127.0.0.1.*, port 1 failed: /s, 'one of two names, with its port');
like(error_of('given'), qr/^08001: .*"?127.0.0.1"?.*port 1 failed: /s, 'no look-up where the address is given');
like(error_of('numeric'), qr/^08001: .*"127.0.0.1", port 1 failed: /s, 'nor for an address');
like(error_of('slow'), qr/^08001: /, 'a name server that does not answer');
is(app($node, 'shop', 'app', "SET asynctasq.fetch_timeout = '300ms'; SELECT server, left(error, 6) FROM asynctasq.gather_many('{slow,self}', 'SELECT 1')"), "slow|08001:\nself|", 'others are not affected');

# A worker that waits for it gives way at once; no child process is left.
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY);
	CREATE FUNCTION take(v jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
	SELECT asynctasq.register_model('Slow', 'users', server => 'slow'), asynctasq.register_handler('take', 'take(jsonb)', max_attempts => 1);});
my $id;
sub start_task
{
	$id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('take', asynctasq.args('v', asynctasq.ref('Slow', 1)))});
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'asynctasq worker' AND wait_event_type = 'Extension' AND query LIKE '%take%'});
	return $node->safe_psql('shop', q{SELECT pid FROM asynctasq.stat_workers WHERE task = 'take'});
}
sub children
{
	my ($parent) = @_;

	# Processes may end while they are looked at.
	return scalar grep { (eval { slurp_file($_) } // '') =~ /^PPid:\s+$parent$/m } glob('/proc/[0-9]*/status');
}

my $pid = start_task();
is(children($pid), 1, 'a child process looks the name up');
is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', 'cancelled');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($id)");
is(children($pid), 0, 'and no child is left');
is(start_task(), $pid, 'the same worker');
$node->safe_psql('postgres', 'CREATE DATABASE unrelated');
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)"), 't', 'terminated');
my $terminated = $id;
start_task();
wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($terminated)");
$node->stop('fast');
ok(1, 'a fast shutdown does not wait for the name server');

done_testing();
