# Two workers of a lane, and what happens to one of them: its own task bears
# it, the other's goes on, and nothing happens twice (cases T10, T19, T28, T41,
# T61, T64).

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'autovacuum' => 'off',
	'asynctasq.workers_per_lane' => '2',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.sweep_interval' => '1d');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text, attempt int, pid int DEFAULT pg_backend_pid());
	CREATE TABLE sleepy (what text);
	CREATE FUNCTION work(what text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		grown text[];
	BEGIN
		BEGIN
			INSERT INTO app.effects VALUES (what, (asynctasq.current_task()).attempt);
		EXCEPTION WHEN unique_violation THEN NULL;
		END;
		CASE split_part(what, ' ', 1)
			WHEN 'hold' THEN PERFORM pg_advisory_xact_lock_shared(42);
			WHEN 'sleep' THEN PERFORM pg_sleep(3600) FROM app.sleepy;
			WHEN 'end' THEN
				PERFORM pg_terminate_backend(pid) FROM asynctasq.stat_workers
				WHERE task_id IS NOT NULL AND pid <> pg_backend_pid();
			WHEN 'take' THEN PERFORM length(repeat('x', 50 * 1024 * 1024));
			WHEN 'grow' THEN
				FOR i IN 1 .. 100000 LOOP
					grown[i] := repeat(md5(i::text), 40000);
				END LOOP;
			ELSE NULL;
		END CASE;
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text)', max_attempts => 1, keep_result => true),
		asynctasq.register_handler('grouped', 'work(text)', max_attempts => 1, group_size => 100);});

sub dispatch
{
	my ($what, $queue) = @_;

	return app($node, 'shop', 'app', "SELECT asynctasq.dispatch('work', asynctasq.args('what', '$what'), queue => '"
		. ($queue // 'default') . "')");
}

sub has_status
{
	my ($id, $status) = @_;

	return wait_for($node, 'shop', "SELECT status = '$status' FROM asynctasq.task_info($id)");
}

# The process that runs a task, when the task waits for the gate.
sub held_by
{
	my ($id) = @_;
	my $held = "FROM asynctasq.stat_workers JOIN pg_stat_activity USING (pid)
		WHERE task_id = $id AND wait_event = 'advisory'";

	wait_for($node, 'shop', "SELECT count(*) = 1 $held");
	return $node->safe_psql('shop', "SELECT pid $held");
}

my $gate;

sub close_gate
{
	$node->safe_psql('shop', 'TRUNCATE app.effects');
	$gate = $node->background_psql('shop');
	$gate->query_safe('SELECT pg_advisory_lock(42)');
	return;
}

my $launchers = q{FROM pg_stat_activity WHERE backend_type = 'asynctasq launcher'};
my $workers = q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM asynctasq.stat_workers};

# A handler ends the worker beside it, as its role may.
close_gate();
my $offset = -s $node->logfile;
my $held = dispatch('hold');
my $victim = held_by($held);
my $id = dispatch('end');
has_status($held, 'failed');
has_status($id, 'completed');
query_is($node, 'shop', "SELECT error ->> 'sqlstate', attempt FROM asynctasq.dead_letter WHERE id = $held",
	'57P01|1', 'a handler that ends a sibling costs that one its attempt');
query_is($node, 'shop', q{SELECT string_agg(what, ',') FROM app.effects}, 'end', 'and its effects');
$node->wait_for_log(qr/\[$victim\] FATAL:  terminating background worker "asynctasq worker" due to administrator command/, $offset);
pass('which the log says');

# A worker is ended, then the launcher: a busy sibling goes on.
$node->safe_psql('shop', 'TRUNCATE app.effects');
my @ids = map { dispatch("hold $_") } 1, 2;
my @pids = map { held_by($_) } @ids;
kill 'TERM', $pids[0];
has_status($ids[0], 'failed');
query_is($node, 'shop', "SELECT status, attempt, worker_pid FROM asynctasq.task_info($ids[1])",
	"running|1|$pids[1]", 'a sibling of a worker that is ended goes on');
my $idle = dispatch('quick');
has_status($idle, 'completed');
my $before = $node->safe_psql('shop', $workers);
my $launcher = $node->safe_psql('shop', "SELECT pid $launchers");
kill 'TERM', $launcher;
wait_for($node, 'shop', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $launcher");
$idle = dispatch('while there is none');
has_status($idle, 'completed');
pass('an idle worker runs tasks, with or without a launcher');
wait_for($node, 'shop', "SELECT count(*) = 1 $launchers");
query_is($node, 'shop', $workers, $before, 'the end of the launcher ends no worker');
query_is($node, 'shop', "SELECT status, worker_pid FROM asynctasq.task_info($ids[1])",
	"running|$pids[1]", 'nor the task that one runs');
$gate->quit;
has_status($ids[1], 'completed');
query_is($node, 'shop', "SELECT attempt, pid FROM app.effects WHERE what = 'hold 2'",
	"1|$pids[1]", 'which has its effects once');

# One that is stopped in its handler, with more tasks claimed, holds up none
# but its own, and ends it when it goes on.
close_gate();
($held) = split /\n/, app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('work', asynctasq.args('what', what))
	FROM (SELECT 'hold' UNION ALL SELECT 'other ' || n FROM generate_series(1, 50) AS n) AS t (what)});
my $stopped = held_by($held);
kill 'STOP', $stopped;
wait_for($node, 'shop', 'SELECT count(*) = 50 FROM app.effects');
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'later ' || n)) FROM generate_series(1, 50) AS n});
wait_for($node, 'shop', 'SELECT count(*) = 100 FROM app.effects');
$gate->quit;
query_is($node, 'shop', "SELECT status, attempt, worker_pid FROM asynctasq.task_info($held)",
	"running|1|$stopped", 'nobody takes the task of a worker that is stopped');
kill 'CONT', $stopped;
has_status($held, 'completed');
query_is($node, 'shop', 'SELECT count(*), count(DISTINCT what), max(attempt) FROM app.effects',
	'101|101|1', 'each task has its effects once');
query_is($node, 'shop', q{SELECT pid FROM app.effects WHERE what = 'hold'}, $stopped, 'by whom it was begun');

# Transaction ids: one for each task, and one for its block.  In groups, too.
foreach my $handler ('work', 'grouped')
{
	$node->safe_psql('shop', 'TRUNCATE app.effects');
	my $next = 'SELECT pg_snapshot_xmax(pg_current_snapshot())';
	my $first = $node->safe_psql('shop', $next);
	app($node, 'shop', 'app', qq{SELECT count(asynctasq.dispatch('$handler', asynctasq.args('what', n::text))) FROM generate_series(1, 100) AS n});
	wait_for($node, 'shop', 'SELECT count(*) = 100 FROM app.effects');
	cmp_ok($node->safe_psql('shop', $next) - $first, '<=', 201, "$handler: two transaction ids for each task");
}

# Memory runs out for one task.
SKIP:
{
	my $tasks = q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM asynctasq.stat_workers WHERE role = 'app'};

	skip 'needs /proc and prlimit', 3 if !-e '/proc/self/status' || system('prlimit --version >/dev/null 2>&1') != 0;
	$before = $node->safe_psql('shop', $tasks);
	foreach my $pid (split / /, $before)
	{
		my ($size) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s*(\d+) kB/m;

		system_or_bail('prlimit', '--pid', $pid, '--as=' . 1024 * ($size + 200 * 1024));
	}
	$id = dispatch('grow');
	has_status($id, 'failed');
	query_is($node, 'shop', "SELECT error ->> 'sqlstate' FROM asynctasq.dead_letter WHERE id = $id",
		'53200', 'a task that takes all memory fails');
	foreach my $round (1 .. 4)
	{
		$id = dispatch("take $round");
		has_status($id, 'completed');
	}
	pass('and what it took is free for the next ones');
	query_is($node, 'shop', $tasks, $before, 'in the same processes');
}

# A stop of the server is no attempt's fault.
foreach my $mode ('smart', 'fast')
{
	$node->safe_psql('shop', q{TRUNCATE app.effects; INSERT INTO app.sleepy VALUES ('now')});
	@ids = map { dispatch("sleep $_", $_) } 'default', 'safe';
	wait_for($node, 'shop', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'asynctasq worker' AND wait_event = 'PgSleep'});
	$node->safe_psql('shop', 'DELETE FROM app.sleepy');
	$node->stop($mode);
	$node->start;
	has_status($_, 'completed') foreach @ids;
	query_is($node, 'shop', q{SELECT string_agg(what || ' ' || attempt, ', ' ORDER BY what) FROM app.effects},
		'sleep default 1, sleep safe 1', "$mode stop: its task runs again, and the attempt does not count");
}

$node->stop;
done_testing();
