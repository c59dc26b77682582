# The functions of sql_tests/module do what their names say: other tests rest
# on that.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'restart_after_crash' => 'on');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');

# A session's last words, and whether the server survived them.
sub last_words
{
	my ($sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql('shop', $sql);

	wait_for($node, 'shop', 'SELECT true');
	return $stderr;
}

foreach my $crash ('segfault()', 'kill_self()', 'panic()',
	"kill_at('before commit', 1)", "kill_at('after commit', 1)")
{
	my $offset = -s $node->logfile;

	last_words("SELECT test.atq_test_$crash");
	$node->wait_for_log(qr/database system was not properly shut down/, $offset);
	like(slurp_file($node->logfile, $offset), qr/all server processes terminated; reinitializing/,
		"$crash crashes the server");
}
my $offset = -s $node->logfile;
like(last_words('SELECT test.atq_test_fatal()'), qr/FATAL:  a handler raised FATAL/, 'fatal() ends a session');
like(last_words('SELECT test.atq_test_bad_text()'), qr/ERROR:  bad: /, 'bad_text() raises an error');
unlike(slurp_file($node->logfile, $offset), qr/reinitializing/, 'and neither crashes the server');
isnt(
	last_words("SET statement_timeout = '1ms'; SELECT test.atq_test_loop_uninterruptible(20)"),
	'', 'loop_uninterruptible() is cancelled when it has ended');

# A cancel is swallowed, termination is not.
my $session = $node->background_psql('shop', on_error_stop => 0);
$session->query_until(qr/go/, "\\echo go\nSELECT test.atq_test_swallow_cancel();\n");
my $running = "FROM pg_stat_activity WHERE query LIKE 'SELECT test.atq_test_swallow_cancel%'";
wait_for($node, 'shop', "SELECT count(*) = 1 $running");
$node->safe_psql('shop', "SELECT pg_cancel_backend(pid) $running");
$node->safe_psql('shop', "SELECT pg_cancel_backend(pid) $running AND state = 'active'");
query_is($node, 'shop', "SELECT state $running", 'active', 'swallow_cancel() goes on when it is cancelled');
$node->safe_psql('shop', "SELECT pg_terminate_backend(pid) $running");
wait_for($node, 'shop', "SELECT count(*) = 0 $running");
pass('and ends when it is terminated');
$session->{run}->finish;

$node->stop;
done_testing();
