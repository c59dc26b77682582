# What is asked of other servers has the time that it has, whatever the clock
# of the system is set to meanwhile.

use strict;
use warnings;

use AtqRemote;
use AtqTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';
my $day = 86400;

set_clock($clock, 0);
$ENV{LD_PRELOAD} = "$ENV{TESTDIR}/sql_tests/module/clock.so";
$ENV{ATQ_TEST_CLOCK} = $clock;
my $node = new_cluster('main', 'autovacuum' => 'off');
delete $ENV{LD_PRELOAD};
delete $ENV{ATQ_TEST_CLOCK};

# It accepts whoever connects, and says nothing.
my $silent = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1') or die "could not listen: $!";
my $silent_address = "host '127.0.0.1', port '" . $silent->sockport . "'";

create_tenant($node, 'shop', 'app', 'other');
create_servers($node, 'shop', "user 'other'",
	self => address_of($node, 'shop'),
	silent => $silent_address,
	patient => "$silent_address, connect_timeout '2'");

# The clock is set to so many seconds from now while a session asks, and $then
# is done; what the session is told.
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ], on_error_stop => 0);
my $asking = q{FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND wait_event_type = 'Extension'};

sub told_while
{
	my ($seconds, $timeout, $query, $then) = @_;
	my $told;

	set_clock($clock, 0);
	$session->query_safe("SET asynctasq.fetch_timeout = '$timeout'");
	$session->query_until(qr/asks/, "\\echo asks\n$query;\n");
	wait_for($node, 'shop', "SELECT count(*) = 1 $asking");
	set_clock($clock, $seconds);
	$then->() if $then;
	$told = $session->query('SELECT true');
	set_clock($clock, 0);
	return $told;
}

foreach my $seconds (-$day, $day)
{
	my $way = $seconds < 0 ? 'back' : 'forwards';
	my $locker = $node->background_psql('shop');

	like(told_while($seconds, '2s', q{SELECT error FROM asynctasq.gather('silent', 'SELECT 1')}),
		qr/08001: no connection to server "silent" within 2000 ms/, "fetch_timeout while connecting, clock set $way");
	like(told_while($seconds, '0', q{SELECT error FROM asynctasq.gather('patient', 'SELECT 1')}),
		qr/08001: .*The time for connecting is over/, "connect_timeout, clock set $way");
	$locker->query_safe('SELECT pg_advisory_lock(42)');
	like(told_while($seconds, '2s', q{SELECT error FROM asynctasq.gather('self', 'SELECT pg_advisory_xact_lock_shared(42)')}),
		qr/08006: server "self" did not answer within 2000 ms/, "fetch_timeout, clock set $way");

	# The one who asks looks at the clock before the answer comes.
	like(told_while($seconds, '1h', q{SELECT rows FROM asynctasq.gather('self', 'SELECT pg_advisory_xact_lock_shared(42)::text AS locked')}, sub {
			my $offset = -s $node->logfile;

			$node->safe_psql('shop', "SELECT pg_log_backend_memory_contexts(pid) $asking");
			$node->wait_for_log(qr/Grand total: /, $offset);
			$locker->quit;
		}), qr/"locked": ""/, "an answer that comes in time, clock set $way");
}
query_is($node, 'shop', q{
	SELECT string_agg(server, ' ' ORDER BY server) FROM asynctasq.stat_pools
	WHERE queries > 0 AND max_ms BETWEEN 1000 AND 3600000 AND total_ms >= max_ms}, 'patient self silent', 'and the counted times are those that have passed');

$session->quit;
$node->stop;
done_testing();
