# Sessions that dispatch do not wait for each other at commit, as they would for
# the lock that NOTIFY takes for the whole server (case T144).

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 32;
my $transactions = 100;
my $node = new_cluster('main',
	'max_connections' => $clients + 10,
	'log_statement' => 'none',
	'log_lock_waits' => 'on',
	'deadlock_timeout' => '1ms');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', q{
	CREATE FUNCTION quick(n int) RETURNS void LANGUAGE sql RETURN NULL;
	SELECT asynctasq.register_handler('quick', 'quick(int)');});

# How often somebody waited for the lock while many sessions ran a transaction.
sub waits
{
	my ($name, $sql) = @_;
	my $file = $PostgreSQL::Test::Utils::tmp_check . "/$name.sql";
	my $offset = -s $node->logfile;

	append_to_file($file, "BEGIN; $sql COMMIT;");
	$node->command_ok(
		[
			'pgbench', '--no-vacuum', '--client', $clients, '--jobs', 2,
			'--transactions', $transactions, '--file', $file,
			'--username', 'app', 'shop' ],
		"$name: all transactions commit");
	return () = slurp_file($node->logfile, $offset) =~
	  /still waiting for \w+ on object 0 of class 1262/g;
}

my $dispatch = q{SELECT asynctasq.dispatch('quick', '{"n": 1}');};
is(waits('dispatch', $dispatch), 0, 'nobody waited for the lock of NOTIFY');
wait_for($node, 'shop',
	"SELECT calls = $clients * $transactions FROM asynctasq.stat_handlers WHERE task = 'quick'");
isnt(waits('notify', "$dispatch NOTIFY somebody;"), 0, 'with NOTIFY they did');

$node->stop;
done_testing();
