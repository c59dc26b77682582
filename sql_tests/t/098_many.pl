# Many tasks: each is claimed once by whatever plan, however many sessions and
# processes do it, and a backlog keeps nobody else waiting (cases T26, T31, T44).

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'autovacuum' => 'off',
	'log_min_messages' => 'warning',
	'asynctasq.enabled' => 'off',
	'asynctasq.max_workers' => '2',
	'asynctasq.sweep_interval' => '1d');

foreach my $db ('shop', 'yard')
{
	create_tenant($node, $db, 'app');
	app($node, $db, 'app', q{
		CREATE TABLE effects (n int, at timestamptz DEFAULT clock_timestamp(), pid int DEFAULT pg_backend_pid());
		CREATE FUNCTION work(n int) RETURNS void LANGUAGE sql BEGIN ATOMIC
			INSERT INTO effects (n) VALUES (n);
		END;
		SELECT asynctasq.register_handler('work', 'work(int)');});
}

# dispatch($db, $queue, $first, $last, $options)
sub dispatch
{
	my ($db, $queue, $first, $last, $options) = @_;

	app($node, $db, 'app', "SELECT count(asynctasq.dispatch('work', asynctasq.args('n', n), queue => '$queue' @{[ $options // '' ]}))
		FROM generate_series($first, $last) AS n");
	return;
}

my $once = 'SELECT count(*), count(DISTINCT n) FROM app.effects';

# Sessions that drain the same queues, with plans that nobody would choose.
{
	local $ENV{PGOPTIONS} = '-c enable_hashjoin=off -c enable_mergejoin=off -c enable_material=off -c enable_indexscan=off';
	my $script = PostgreSQL::Test::Utils::tempdir() . '/drain.sql';

	dispatch('shop', 'default', 1, 8000);
	dispatch('shop', 'default', 8001, 9000, ", delay => '1 ms'");
	dispatch('shop', 'safe', 9001, 10000);
	foreach my $n (1, 7)
	{
		is(app($node, 'shop', 'app', "SELECT asynctasq.drain(max_tasks => $n)"), $n, "drain() runs $n as it is told");
	}
	query_is($node, 'shop', $once, '8|8', 'and no more');
	append_to_file($script, "SELECT asynctasq.drain(max_tasks => 7);\n");
	command_ok(
		[
			'pgbench', '-n', '-U', 'app', '-c', '16', '-t', '100',
			'-h', $node->host, '-p', $node->port, '-f', $script, 'shop'
		],
		'16 sessions drain');
	app($node, 'shop', 'app', 'SELECT asynctasq.drain()');
	query_is($node, 'shop', $once, '10000|10000', 'each of their tasks is run once');
	query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.task', '0', 'and none is left');
}

# Processes that are replaced after a hundred tasks.
$node->safe_psql('shop', 'TRUNCATE app.effects');
dispatch('shop', 'default', 1, 10000);
$node->append_conf('postgresql.conf', "asynctasq.enabled = on\nasynctasq.worker_max_tasks = 100");
$node->reload;
wait_for($node, 'shop', 'SELECT count(*) >= 10000 FROM app.effects');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is($node, 'shop', $once, '10000|10000', 'each task of workers that are replaced is run once');
query_is($node, 'shop', 'SELECT max(tasks) FROM (SELECT count(*) AS tasks FROM app.effects GROUP BY pid) AS p',
	'100', 'none of them has run more than it may');

# A backlog, then a few tasks of another queue and of another database, for one
# worker in all: a lane may keep it for a second.
$node->append_conf('postgresql.conf', "asynctasq.worker_max_tasks = 0\nasynctasq.max_workers = 1");
$node->restart;
$node->safe_psql('shop', 'TRUNCATE app.effects');
app($node, 'shop', 'app', q{SELECT asynctasq.create_queue('backlog'), asynctasq.pause_queue('backlog')});
dispatch('shop', 'backlog', 1, 300000);
app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('backlog')});
wait_for($node, 'shop', 'SELECT EXISTS (SELECT FROM app.effects)');
dispatch('yard', 'default', 1, 10);
dispatch('shop', 'default', 300001, 300010);
wait_for($node, 'shop', 'SELECT count(*) >= 300010 FROM app.effects');
wait_for($node, 'yard', 'SELECT count(*) = 10 FROM app.effects');
query_is($node, 'shop', $once, '300010|300010', 'each task of a backlog is run once');
my $half = $node->safe_psql('shop', 'SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY at) FROM app.effects WHERE n <= 300000');
query_is($node, 'shop', "SELECT max(at) < '$half' FROM app.effects WHERE n > 300000",
	't', 'another queue has not waited for half of it');
my $end = $node->safe_psql('shop', 'SELECT max(at) FROM app.effects');
query_is($node, 'yard', "SELECT max(at) < '$end' FROM app.effects",
	't', 'nor has another database for all of it');

$node->stop;
done_testing();
