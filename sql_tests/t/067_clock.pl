# A clock that is set forwards and back neither loses nor repeats a task, and
# holds nothing up for longer than a sweep.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = "$ENV{TESTDIR}/sql_tests/module/clock.so";
my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';

my ($hour, $day) = (3600, 86400);

set_clock($clock, 0);
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'asynctasq'
	shared_buffers = '16MB'
	restart_after_crash = on
	max_prepared_transactions = 5
	autovacuum = off
	asynctasq.sweep_interval = '1s'
	asynctasq.worker_idle_timeout = '100ms'
	CONF

sub start
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{ATQ_TEST_CLOCK} = $clock;

	$node->start;
	return;
}

start();
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

sql(q{
	CREATE TABLE log (n int);
	CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (n); END;
	CREATE FUNCTION end_worker() RETURNS void LANGUAGE sql RETURN pg_terminate_backend(pg_backend_pid());
	CREATE FUNCTION hold(n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(42) WHERE n = 8;
		INSERT INTO app.log VALUES (n);
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('note', 'note(int)', group_size => 100, queue => 'safe');
	SELECT asynctasq.register_handler('hold', 'hold(int)', queue => 'safe');
	SELECT asynctasq.register_handler('end_worker', 'end_worker()', max_attempts => 1, queue => 'safe')});

# What is dispatched runs, now, delayed, and found by a sweep.
my $n = 0;

sub runs
{
	my ($name) = @_;

	$n++;
	sql(qq{
		SELECT asynctasq.dispatch('note', asynctasq.args('n', i)) FROM generate_series($n * 100 + 1, $n * 100 + 20) AS i;
		SELECT asynctasq.dispatch('note', asynctasq.args('n', $n * 100 + 30), delay => '200 ms');
		BEGIN;
		SELECT asynctasq.dispatch('note', asynctasq.args('n', $n * 100 + 40));
		PREPARE TRANSACTION 'later';
		COMMIT PREPARED 'later';});
	wait_for($node, 'shop', "SELECT count(*) = 22 FROM app.log WHERE n / 100 = $n");
	return pass("tasks run: $name");
}

# The clock is that of the test, set to so many days from now.
sub clock_is
{
	my ($days, $name) = @_;

	return cmp_ok(abs($node->safe_psql('shop', 'SELECT extract(epoch FROM clock_timestamp())') - time() - $days * 86400),
		'<', 3600, $name);
}

runs('as it is');
sql(q{SELECT asynctasq.dispatch('note', '{"n": 1}', delay => '23 hours'), asynctasq.dispatch('note', '{"n": 2}', delay => '47 hours')});
runs('with a task for tomorrow');
set_clock($clock, $day);
clock_is(1, 'the server sees the clock that is set');
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.log WHERE n = 1');
pass('a delayed task runs when the clock is set past its time');
runs('a day ahead');

# A lane in a pause after failures, which the clock's way back must not prolong.
foreach my $i (1 .. 2)
{
	sql(q{SELECT asynctasq.dispatch('end_worker')});
	wait_for($node, 'shop', "SELECT count(*) = $i FROM asynctasq.dead_letters WHERE task = 'end_worker'");
}
set_clock($clock, -$day);
clock_is(-1, 'set back by two days');
runs('a day behind');
foreach my $turn (1 .. 3)
{
	set_clock($clock, $hour);
	runs("an hour ahead, $turn");
	set_clock($clock, -$hour);
	runs("an hour behind, $turn");
}

# What a worker has claimed and cannot begin is taken from it all the same.
my $session = $node->background_psql('shop');
$session->query_safe('SELECT pg_advisory_lock(42)');
sql(q{SELECT asynctasq.dispatch('hold', asynctasq.args('n', i)) FROM unnest(ARRAY[8, 3, 4, 5]) AS i});
wait_for_held($node, 1);
set_clock($clock, -2 * $day);
wait_for($node, 'shop', 'SELECT count(*) = 3 FROM app.log WHERE n BETWEEN 3 AND 5');
pass('claimed tasks behind a long one run when the clock is set back');
sql(q{SELECT asynctasq.dispatch('note', '{"n": 6}')});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.log WHERE n = 6');
$session->quit;
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.log WHERE n = 8');

# wait() has its timeout.
$session = $node->background_psql('shop', on_error_stop => 0);
$session->query_until(qr/go/, qq{\\echo go\nSELECT asynctasq.wait((SELECT max(id) FROM asynctasq.task), '2 s');\n});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT asynctasq.wait%' AND state = 'active'});
set_clock($clock, -3 * $day);
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'SELECT asynctasq.wait%' AND state = 'active'});
pass('wait() has its timeout');
$session->quit;

# An idle worker leaves in time.
$node->append_conf('postgresql.conf', q{asynctasq.worker_idle_timeout = '3s'});
$node->reload;
sql(q{SELECT asynctasq.dispatch('note', '{"n": 9}')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.log WHERE n = 9});
set_clock($clock, -4 * $day);
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.stat_workers});
pass('idle workers leave');

# The launcher's pause after crashes.
foreach my $crash (1 .. 4)
{
	sql("SELECT asynctasq.dispatch('note', asynctasq.args('n', 10 + $crash))");
	wait_for($node, 'shop', "SELECT count(*) = 1 FROM app.log WHERE n = 10 + $crash");
	$node->psql('shop', 'SELECT test.atq_test_kill_self()');
	wait_for($node, 'shop', 'SELECT true');
}
set_clock($clock, -5 * $day);
runs('after a pause that began on another day');

set_clock($clock, 2 * $day);
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.log WHERE n = 2');
runs('two days ahead');
set_clock($clock, 0);
runs('back');
query_is($node, 'shop', 'SELECT count(*) - count(DISTINCT n) FROM app.log', '0', 'no task has run twice');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.task', '0', 'none is left');

$node->stop;
done_testing();
