# A clock that is set forwards and back neither loses nor repeats a task, and
# what is done to the queue is seen by statistics and vacuum.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($library) = glob('/usr/lib/*/faketime/libfaketime.so.1');

sub sql
{
	my ($node, $sql) = @_;

	return app($node, 'shop', 'app', $sql);
}

sub make_handler
{
	my ($node) = @_;

	create_tenant($node, 'shop', 'app');
	sql($node, q{
		CREATE TABLE log (n int);
		CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (n); END;
		SELECT asynctasq.register_handler('note', 'note(int)', group_size => 100)});
	return;
}

# The queue's turnover is seen, and vacuumed.
my $node = new_cluster('turnover', 'autovacuum_naptime' => '1s', 'autovacuum_vacuum_threshold' => '1000');
make_handler($node);
sql($node, q{SELECT count(asynctasq.dispatch('note', asynctasq.args('n', n))) FROM generate_series(1, 100000) AS n});
wait_for($node, 'shop', 'SELECT count(*) = 100000 FROM app.log');
wait_for($node, 'shop', q{SELECT n_tup_ins >= 100000 AND n_tup_del >= 100000 FROM pg_stat_all_tables WHERE relid = 'asynctasq.task_unlogged'::regclass});
wait_for($node, 'shop', q{SELECT autovacuum_count > 0 AND n_dead_tup < 1000 FROM pg_stat_all_tables WHERE relid = 'asynctasq.task_unlogged'::regclass});
pass('100,000 tasks are counted and vacuumed');
$node->stop;

# The clock
die 'libfaketime is missing' if !defined $library;
my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';

sub set_clock
{
	my ($time) = @_;

	PostgreSQL::Test::Utils::append_to_file("$clock.new", "$time\n");
	rename "$clock.new", $clock or die;
	return;
}

set_clock('+0');
$node = PostgreSQL::Test::Cluster->new('clock');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', <<~'CONF');
	shared_preload_libraries = 'asynctasq'
	shared_buffers = '16MB'
	asynctasq.sweep_interval = '1s'
	asynctasq.worker_idle_timeout = '100ms'
	CONF
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{FAKETIME_TIMESTAMP_FILE} = $clock;
	local $ENV{FAKETIME_NO_CACHE} = 1;
	local $ENV{FAKETIME_DONT_FAKE_MONOTONIC} = 1;
	$node->start;
}
make_handler($node);
my $n = 0;

# What is dispatched runs, now and delayed, once.
sub runs
{
	my ($name) = @_;

	$n++;
	sql($node, qq{
		SELECT asynctasq.dispatch('note', asynctasq.args('n', i)) FROM generate_series($n * 100 + 1, $n * 100 + 20) AS i;
		SELECT asynctasq.dispatch('note', asynctasq.args('n', $n * 100 + 30), delay => '200 ms')});
	wait_for($node, 'shop', "SELECT count(*) = 21 FROM app.log WHERE n / 100 = $n");
	pass("tasks run: $name");
	return;
}

my $year = $node->safe_psql('shop', 'SELECT extract(year FROM now())');
runs('as it is');
my $tomorrow = sql($node, q{SELECT asynctasq.dispatch('note', '{"n": 1}', delay => '23 hours')});
my $later = sql($node, q{SELECT asynctasq.dispatch('note', '{"n": 2}', delay => '47 hours')});
runs('with a task for tomorrow');
set_clock('+1d');
wait_for($node, 'shop', "SELECT now() > '$year-01-01'::timestamptz AND count(*) = 1 FROM app.log WHERE n = 1");
pass('a delayed task runs when the clock is set past its time');
runs('a day ahead');
# a lane in a pause after a failure, which the clock's way back must not prolong
sql($node, q{
	CREATE FUNCTION die() RETURNS void LANGUAGE sql RETURN pg_terminate_backend(pg_backend_pid());
	SELECT asynctasq.register_handler('die', 'die()', max_attempts => 1);
	SELECT asynctasq.dispatch('die')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE task = 'die'});
sql($node, q{SELECT asynctasq.dispatch('die')});
wait_for($node, 'shop', q{SELECT count(*) = 2 FROM asynctasq.dead_letters WHERE task = 'die'});
set_clock('-1d');
runs('a day behind');
foreach my $turn (1 .. 3)
{
	set_clock('+1h');
	runs("an hour ahead, $turn");
	set_clock('-1h');
	runs("an hour behind, $turn");
}
set_clock('+2d');
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.log WHERE n = 2');
runs('two days ahead');
set_clock('+0');
runs('back');
query_is($node, 'shop', 'SELECT count(*) - count(DISTINCT n) FROM app.log', 0, 'no task has run twice');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.task', 0, 'none is left');

$node->stop;
done_testing();
