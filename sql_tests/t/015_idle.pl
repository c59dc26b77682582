# What has nothing to do does nothing: of 64 idle workers one task wakes one or
# two, one that is rolled back none, and a sweep of idle databases executes one
# statement (case T147).

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# The timer for deadlocks has gone off before those who wait for a lock get it;
# else it would wake them later.
my $workers = 64;
my $node = new_cluster('main',
	'shared_preload_libraries' => 'asynctasq,pg_stat_statements',
	'pg_stat_statements.track' => 'all',
	'max_worker_processes' => $workers + 8,
	'autovacuum' => 'off',
	'deadlock_timeout' => '1ms',
	'asynctasq.max_workers' => $workers,
	'asynctasq.workers_per_lane' => $workers,
	'asynctasq.worker_idle_timeout' => '1d',
	'asynctasq.sweep_interval' => '1d');
create_tenant($node, 'shop', 'app');
$node->safe_psql('shop', 'CREATE EXTENSION pg_stat_statements');

app($node, 'shop', 'app', q{
	CREATE FUNCTION meet(n int) RETURNS void LANGUAGE sql BEGIN ATOMIC
		SELECT pg_advisory_xact_lock_shared(1);
	END;
	CREATE FUNCTION quick(n int) RETURNS void LANGUAGE sql RETURN NULL;
	SELECT asynctasq.register_handler('meet', 'meet(int)');
	SELECT asynctasq.register_handler('quick', 'quick(int)');});

# How often each worker has gone to sleep.
sub sleeps
{
	my %sleeps;

	foreach my $pid (split /\n/,
		$node->safe_psql('shop',
			q{SELECT pid FROM asynctasq.stat_workers WHERE state = 'idle'}))
	{
		slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m
		  or die "process $pid does not say how often it has slept";
		$sleeps{$pid} = $1;
	}
	return \%sleeps;
}

sub number_woken
{
	my ($before, $after) = @_;

	return scalar grep { $before->{$_} != ($after->{$_} // -1) } keys %$before;
}

# How often they have slept when all of them sleep on.
sub sleeps_of_all
{
	my $quiet = 0;
	my $last = sleeps();

	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $now = sleeps();

		$quiet = keys %$now == $workers && number_woken($last, $now) == 0 ?
		  $quiet + 1 : 0;
		return $now if $quiet == 10;
		$last = $now;
	}
	die 'the workers do not come to rest';
}

# Each worker has a task that waits, though the first have claimed several.
my $gate = $node->background_psql('shop');
$gate->query_safe('SELECT pg_advisory_lock(1)');
app($node, 'shop', 'app',
	"SELECT count(asynctasq.dispatch('meet', asynctasq.args('n', n)))
	 FROM generate_series(1, $workers) AS n");
wait_for($node, 'shop',
	"SELECT count(*) = $workers FROM asynctasq.stat_workers WHERE task = 'meet'");
$gate->quit;

foreach my $round (1 .. 5)
{
	my $before = sleeps_of_all();
	my $woken;

	app($node, 'shop', 'app',
		"SELECT asynctasq.dispatch('quick', asynctasq.args('n', $round))");
	wait_for($node, 'shop',
		"SELECT calls = $round FROM asynctasq.stat_handlers WHERE task = 'quick'");
	$woken = number_woken($before, sleeps_of_all());
	cmp_ok($woken, '>=', 1, "task $round: a worker has woken");
	cmp_ok($woken, '<=', 2, "task $round: no more than two have");
}

# What is rolled back wakes nobody, and leaves nothing for the next commit of
# its session to tell (case T35).
{
	my $before = sleeps_of_all();

	app($node, 'shop', 'app', q{
		BEGIN;
		SELECT asynctasq.dispatch('quick', asynctasq.args('n', 6));
		SELECT asynctasq.dispatch('quick', asynctasq.args('n', 7), delay => '1 ms');
		ROLLBACK;
		SELECT pg_current_xact_id();});
	is(number_woken($before, sleeps_of_all()), 0, 'a dispatch that is rolled back wakes nobody');
	query_is($node, 'shop', q{SELECT (SELECT count(*) FROM asynctasq.tasks), sum(ready + scheduled + running), max(calls)
		FROM asynctasq.stat_queues, asynctasq.stat_handlers WHERE task = 'quick'}, '0|0|5', 'and leaves nothing');
}

# What we ask ourselves names the view.
$node->safe_psql('shop', q{SELECT FROM pg_stat_statements_reset()});
$node->append_conf('postgresql.conf', "asynctasq.sweep_interval = '1s'");
$node->reload;
wait_for($node, 'shop', 'SELECT max(calls) >= 3 FROM pg_stat_statements');
query_is($node, 'shop',
	q{SELECT count(*) FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'},
	'1', 'an idle sweep is one statement');

# So is a task that is due and held by who cancels it, now and then.
my $id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('quick', '{"n": 1}', delay => '2 s')});
my $holder = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
is($holder->query_safe("BEGIN; SELECT asynctasq.cancel($id)"), 't', 'a task that waits is cancelled');
wait_for($node, 'shop', "SELECT run_at < clock_timestamp() FROM asynctasq.tasks WHERE id = $id");
$node->safe_psql('shop', q{SELECT FROM pg_stat_statements_reset()});
wait_for($node, 'shop', q{SELECT max(calls) >= 3 FROM pg_stat_statements WHERE query LIKE 'WITH old AS%'});
query_is($node, 'shop', q{SELECT sum(calls) BETWEEN 1 AND 1000 FROM pg_stat_statements WHERE query LIKE 'WITH due AS%'}, 't',
	'while it is due and held no worker is kept busy');
$holder->query_safe('COMMIT');
$holder->quit;

$node->stop;
done_testing();
