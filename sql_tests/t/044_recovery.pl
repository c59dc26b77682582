# Restarts, recoveries and promotions: what is durable is done, once; what is
# not survives a clean restart, or is known to be lost.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	streaming => 1,
	'restart_after_crash' => 'on',
	'max_prepared_transactions' => '5',
	'asynctasq.worker_idle_timeout' => '1h');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');
$node->append_conf('postgresql.conf', "archive_mode = on\narchive_command = 'cp %p \"" . $node->archive_dir . "/%f\"'");
mkdir $node->archive_dir;

app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text, attempt int);
	CREATE FUNCTION work(what text, key int DEFAULT 0) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES (what, (asynctasq.current_task()).attempt);
		PERFORM pg_advisory_xact_lock(key) WHERE key > 0;
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text, int)', retry_delay => '0 s');});

# dispatch_all($queue, $n, $what, $key)
sub dispatch_all
{
	my ($queue, $n, $what, $key) = @_;

	return app($node, 'shop', 'app', qq{
		SELECT count(asynctasq.dispatch('work', asynctasq.args('what', '$what ' || n, 'key', @{[ $key // 0 ]}), queue => '$queue'))
		FROM generate_series(1, $n) AS n});
}

# Each of the $n tasks has had its effects, and once.
sub effects_once
{
	my ($server, $what, $n, $name) = @_;

	wait_for($server, 'shop', "SELECT count(*) >= $n FROM app.effects WHERE what LIKE '$what %'");
	wait_for($server, 'shop', "SELECT count(*) = 0 FROM asynctasq.tasks WHERE args ->> 'what' LIKE '$what %'");
	return query_is($server, 'shop',
		"SELECT count(*), count(DISTINCT what) FROM app.effects WHERE what LIKE '$what %'",
		"$n|$n", $name);
}

# A task that waits for this lock is busy.  It is held by a prepared
# transaction, because a session would let go of it when it ends.
sub hold
{
	$node->safe_psql('shop', q{BEGIN; SELECT pg_advisory_xact_lock(42); PREPARE TRANSACTION 'holder'});
	return;
}

sub let_go
{
	my ($server) = @_;

	$server->safe_psql('shop', q{ROLLBACK PREPARED 'holder'});
	return;
}

my $processes = "FROM pg_stat_activity WHERE backend_type LIKE 'asynctasq %'";
my $launchers = "FROM pg_stat_activity WHERE backend_type = 'asynctasq launcher'";

# A clean restart keeps what is not durable.
$node->append_conf('postgresql.conf', 'asynctasq.enabled = off');
$node->restart;
dispatch_all('default', 1000, 'kept');
$node->append_conf('postgresql.conf', 'asynctasq.enabled = on');
$node->restart;
effects_once($node, 'kept', 1000, 'a clean restart keeps queues that are not durable');

# The launcher: told to cancel, terminated, killed; one comes back each time.
for my $round (1 .. 3)
{
	foreach my $how ('pg_cancel_backend(pid)', 'pg_terminate_backend(pid)')
	{
		my $before = $node->safe_psql('shop', "SELECT pid $launchers");

		$node->safe_psql('shop', "SELECT $how $launchers");
		wait_for($node, 'shop', "SELECT count(*) = 1 $launchers AND pid <> $before")
		  if $how =~ /terminate/;
		dispatch_all('default', 10, "launcher $round $how");
		effects_once($node, "launcher $round $how", 10, "$how: tasks run, round $round");
	}
}
kill 'KILL', $node->safe_psql('shop', "SELECT pid $launchers");
wait_for($node, 'shop', "SELECT count(*) = 1 $launchers");
dispatch_all('default', 10, 'launcher killed');
effects_once($node, 'launcher killed', 10, 'SIGKILL of the launcher: tasks run');
query_is($node, 'shop', "SELECT count(*) $launchers", '1', 'and there is one launcher');

# A second launcher finds that there is one.
my $offset = -s $node->logfile;
$node->safe_psql('shop', 'SELECT test.atq_test_start_launcher()');
$node->wait_for_log(qr/LOG:  asynctasq launcher is running already/, $offset);
wait_for($node, 'shop', "SELECT count(*) = 1 $launchers");
dispatch_all('default', 10, 'two launchers');
effects_once($node, 'two launchers', 10, 'a second launcher leaves: tasks run, once');

# Crashes again and again, by a session: nothing of the server's grows, that is
# no descriptor and no mapping, of a file or of shared memory of any kind.
# CRASHES is how many.
sub footprint
{
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @fds = glob("/proc/$pid/fd/*");
	my $maps = () = slurp_file("/proc/$pid/maps") =~ m{asynctasq\.evidence|/dev/shm/|/SYSV|/dev/zero}g;

	return scalar(@fds) . " $maps";
}

my $crashes = $ENV{CRASHES} // 10;

SKIP:
{
	skip 'needs /proc', 2 if !-e '/proc/self/fd';
	my $before;

	$node->restart;
	$offset = -s $node->logfile;
	for my $round (1 .. $crashes + 1)
	{
		dispatch_all('safe', 3, "round $round");
		$node->psql('shop', 'SELECT test.atq_test_kill_self()');
		wait_for($node, 'shop', 'SELECT true');
		$before //= footprint();
	}
	is(footprint(), $before, 'more crashes leave no descriptor or mapping behind');
	crashes_are($node, $offset, $crashes + 1, 'each restarts it once');
	$node->restart;
	effects_once($node, "round", 3 * ($crashes + 1), 'and all durable tasks are done, once');
}

# The end of the postmaster ends all, also a worker that is busy.
hold();
dispatch_all('safe', 1, 'orphaned', 42);
wait_for_held($node, 1);
kill_postmaster($node);
pass('all processes end with the postmaster');
$node->start;
let_go($node);
effects_once($node, 'orphaned', 1, 'and its task runs after the start');
query_is($node, 'shop', "SELECT attempt FROM app.effects WHERE what = 'orphaned 1'",
	'2', 'as its second attempt');

# A server that does not restart by itself.
$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->reload;
hold();
dispatch_all('safe', 1, 'stays down', 42);
wait_for_held($node, 1);
kill 'KILL', $node->safe_psql('shop', q{SELECT pid FROM asynctasq.stat_workers WHERE task = 'work' AND task_id IS NOT NULL});
{
	my $pidfile = $node->data_dir . '/postmaster.pid';

	for (my $tries = 0; -e $pidfile && $tries < 10 * $PostgreSQL::Test::Utils::timeout_default; $tries++)
	{
		select undef, undef, undef, 0.1;
	}
	ok(!-e $pidfile, 'restart_after_crash = off: the server stays down after a worker\'s crash');
}
$node->_update_pid(0);
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->start;
let_go($node);
effects_once($node, 'stays down', 1, 'and its task runs after the start');
query_is($node, 'shop', "SELECT attempt FROM app.effects WHERE what = 'stays down 1'",
	'2', 'as its second attempt');

# A crash in the middle of CREATE EXTENSION leaves nothing behind.
$node->safe_psql('postgres', 'CREATE DATABASE half');
create_test_functions($node, 'half');
foreach my $tag ('CREATE SEQUENCE', 'CREATE VIEW')
{
	kill_at_command($node, 'half', $tag, 'CREATE EXTENSION asynctasq');
	query_is($node, 'half', q{
		SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'asynctasq')
			+ (SELECT count(*) FROM pg_namespace WHERE nspname = 'asynctasq')},
		'0', "a crash in CREATE EXTENSION ($tag): nothing of it is there");
}
create_tenant($node, 'half', 'app');
pass('and can be created');

# Base backup with tasks that wait and one that runs; a standby; recovery to a
# point in time.
hold();
dispatch_all('safe', 1, 'backup held', 42);
wait_for_held($node, 1);
app($node, 'shop', 'app', q{
	SELECT asynctasq.create_queue('paused', durable => true);
	SELECT asynctasq.create_queue('paused unsafe');
	SELECT asynctasq.pause_queue('paused');
	SELECT asynctasq.pause_queue('paused unsafe');});
dispatch_all('paused', 10, 'backup waiting');
my $lost = app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('work', asynctasq.args('what', 'not in it'), queue => 'paused unsafe')});
$node->backup('base');
let_go($node);
effects_once($node, 'backup held', 1, 'the running task ends here');

sub restored_is_usable
{
	my ($server, $name) = @_;

	effects_once($server, 'backup held', 1, "$name: what was running runs");
	app($server, 'shop', 'app', q{
		SELECT asynctasq.resume_queue('paused'), asynctasq.resume_queue('paused unsafe')});
	effects_once($server, 'backup waiting', 10, "$name: what was waiting runs");
	wait_for($server, 'shop', q{
		SELECT lost_at IS NOT NULL FROM asynctasq.stat_queues WHERE queue = 'paused unsafe'});
	cmp_ok(app($server, 'shop', 'app', q{
		SELECT asynctasq.dispatch('work', asynctasq.args('what', 'new 1'), queue => 'paused unsafe')}),
		'>', $lost, "$name: ids go on rising");
	effects_once($server, 'new', 1, "$name: the emptied queue is usable");
	return;
}

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'base');
$copy->append_conf('postgresql.conf', 'archive_mode = off');
$copy->start;
let_go($copy);
restored_is_usable($copy, 'a base backup');
$copy->stop;

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'archive_mode = off');
$standby->start;
hold();
dispatch_all('safe', 1, 'of the dead', 42);
wait_for_held($node, 1);
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
app_fails($standby, 'shop', 'app', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'x'))},
	qr/25006/, 'dispatch on a standby');
query_is($standby, 'shop', "SELECT count(*) $processes", '0', 'nothing of ours runs there');

$node->safe_psql('shop', q{SELECT pg_create_restore_point('here')});
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'too late 1'), queue => 'paused')});
my $segment = $node->safe_psql('shop', 'SELECT pg_walfile_name(pg_switch_wal())');
wait_for($node, 'shop', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver");
$node->stop('immediate');
$standby->promote;
let_go($standby);
effects_once($standby, 'of the dead', 1, 'a promoted standby runs the task of the dead primary');
restored_is_usable($standby, 'a promoted standby');
$standby->stop;

# The archive may lack the last segment: it is taken from the dead primary.
my $pitr = PostgreSQL::Test::Cluster->new('pitr');
$pitr->init_from_backup($node, 'base', has_restoring => 1, standby => 0);
$pitr->append_conf('postgresql.conf', <<~CONF);
	archive_mode = off
	restore_command = 'cp "@{[ $node->archive_dir ]}/%f" "%p" || cp "@{[ $node->data_dir ]}/pg_wal/%f" "%p"'
	recovery_target_name = 'here'
	recovery_target_action = 'pause'
	CONF
$pitr->start;
wait_for($pitr, 'postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'});
query_is($pitr, 'shop', "SELECT count(*) $processes", '0', 'before recovery ends nothing of ours runs');
query_is($pitr, 'shop', q{SELECT count(*) FROM app.effects WHERE what ~ '^(backup|of the dead)'}, '1',
	'and no task that was there has run');
$pitr->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
wait_for($pitr, 'postgres', 'SELECT NOT pg_is_in_recovery()');
let_go($pitr);
effects_once($pitr, 'of the dead', 1, 'recovery to a point in time: what ran then runs');
restored_is_usable($pitr, 'recovery to a point in time');
query_is($pitr, 'shop', q{
	SELECT (SELECT count(*) FROM asynctasq.tasks) + (SELECT count(*) FROM app.effects WHERE what = 'too late 1')},
	'0', 'and what came later is not there');
$pitr->stop;

done_testing();
