# Signals to the launcher, twenty times; the end of the postmaster while
# workers do all that they may be doing; a stop while recovery is held up.

use strict;
use warnings;

use AtqRemote;
use AtqTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	streaming => 1,
	'restart_after_crash' => 'on',
	'max_prepared_transactions' => '5',
	'max_worker_processes' => '16',
	'asynctasq.max_workers' => '8',
	'asynctasq.workers_per_lane' => '2',
	'asynctasq.worker_idle_timeout' => '1h');
create_tenant($node, 'shop', 'app', 'other');
create_test_functions($node, 'shop');

app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text);
	CREATE FUNCTION work(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO effects VALUES (what); END;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text)', queue => 'safe', retry_delay => '0 s')});

# dispatch($what, $n)
sub dispatch
{
	my ($what, $n) = @_;

	return app($node, 'shop', 'app', qq{
		SELECT count(asynctasq.dispatch('work', asynctasq.args('what', '$what ' || n))) FROM generate_series(1, $n) AS n});
}

sub effects_once
{
	my ($server, $what, $n, $name) = @_;

	wait_for($server, 'shop', "SELECT count(*) >= $n FROM app.effects WHERE what LIKE '$what %'");
	wait_for($server, 'shop', "SELECT count(*) = 0 FROM asynctasq.tasks WHERE args ->> 'what' LIKE '$what %'");
	return query_is($server, 'shop', "SELECT count(*), count(DISTINCT what) FROM app.effects WHERE what LIKE '$what %'",
		"$n|$n", $name);
}

# The launcher
my $launchers = "FROM pg_stat_activity WHERE backend_type = 'asynctasq launcher'";
my $workers = "FROM pg_stat_activity WHERE backend_type = 'asynctasq worker'";

foreach my $round (1 .. 20)
{
	my $how = ('cancel', 'terminate', 'KILL', 'TERM')[$round % 4];
	my $pid;

	wait_for($node, 'shop', "SELECT count(*) = 1 $launchers");
	$pid = $node->safe_psql('shop', "SELECT pid $launchers");
	if ($how =~ /[a-z]/)
	{
		$node->safe_psql('shop', "SELECT pg_${how}_backend($pid)");
	}
	else
	{
		kill $how, $pid;
	}
	wait_for($node, 'shop', "SELECT count(*) = 1 $launchers AND pid <> $pid") if $how ne 'cancel';
	dispatch("round $round", 20);
	effects_once($node, "round $round", 20, "round $round, $how: tasks run, once");
	query_is($node, 'shop', "SELECT (SELECT count(*) $launchers), (SELECT count(*) BETWEEN 1 AND 2 $workers)",
		'1|t', "round $round, $how: one launcher, as many workers as there may be");
	# else the launcher waits longer after each crash
	$node->restart if $how eq 'KILL';
}
query_is($node, 'shop', "SELECT count(*) $workers AND pid NOT IN (SELECT pid FROM asynctasq.stat_workers)",
	'0', 'no worker is without its slot');

# The postmaster.  A server that accepts connections and says nothing holds
# whoever connects.
my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "could not listen: $!";
my $held;

create_servers($node, 'shop', "user 'other'",
	self => address_of($node, 'shop'),
	silent => "host '127.0.0.1', port '" . $silent->sockport . "', connect_timeout '60'");
app($node, 'shop', 'app', q{
	CREATE SEQUENCE calls;
	CREATE FUNCTION busy(how text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		-- one that computes hears of nothing, and may still commit
		PERFORM test.atq_test_loop_uninterruptible(2000) WHERE how = 'compute';
		IF how IN ('idle', 'compute') OR (asynctasq.current_task()).attempt > 1 THEN
			INSERT INTO app.effects VALUES (how || ' ' || (asynctasq.current_task()).id);
			RETURN;
		END IF;
		INSERT INTO app.effects VALUES ('never');
		PERFORM pg_sleep(3600) WHERE how = 'sleep';
		PERFORM asynctasq.gather('self', 'SELECT pg_sleep(3600)') WHERE how = 'wait for a server';
		PERFORM asynctasq.gather('silent', 'SELECT 1') WHERE how = 'connect to a server';
	END $$;
	SELECT asynctasq.register_handler('busy', 'busy(text)', queue => 'safe', retry_delay => '0 s')});

foreach my $how ('idle', 'sleep', 'wait for a server', 'connect to a server', 'compute')
{
	app($node, 'shop', 'app', "SELECT asynctasq.dispatch('busy', asynctasq.args('how', '$how'))");
	wait_for($node, 'shop', $how eq 'idle' ?
		"SELECT count(*) >= 1 FROM asynctasq.stat_workers WHERE state = 'idle'" :
		"SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'busy'");
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'other' AND query LIKE '%pg_sleep(3600)%' AND state = 'active'})
	  if $how eq 'wait for a server';
	$held = $silent->accept if $how eq 'connect to a server';
	kill_postmaster($node);
	pass("$how: all processes end with the postmaster");
	$node->start;
	effects_once($node, $how, 1, "$how: the task runs, once");
	$node->restart;
}
query_is($node, 'shop', q{SELECT count(*) FROM app.effects WHERE what = 'never'}, '0', 'no attempt that was ended has effects');

# A standby that crashes, and is told to stop while its recovery waits for the
# archive: for any file ("all"), or for one, where it has begun to replay.
my $block = $node->basedir . '/block';
my $script = $node->basedir . '/restore';

append_to_file($script, <<~SH);
	#!/bin/sh
	while case \$(cat "$block" 2> /dev/null) in all|"\$1") true ;; *) false ;; esac; do
		touch "$block.seen"
		sleep 0.1
	done
	exit 1
	SH
chmod 0755, $script;
dispatch('before', 3);
effects_once($node, 'before', 3, 'tasks before the backup');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "restore_command = '$script %f'");
$standby->start;
$node->safe_psql('shop', q{SELECT asynctasq.pause_queue('safe')}, extra_params => [ '-U', 'app' ]);

# Until a condition holds, or for too long.
sub wait_until
{
	my ($condition) = @_;

	for (my $tries = 0; !$condition->() && $tries < 10 * $PostgreSQL::Test::Utils::timeout_default; $tries++)
	{
		select undef, undef, undef, 0.1;
	}
	return;
}

sub crash_and_hold
{
	my ($what) = @_;

	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	append_to_file($block, $what);
	$standby->psql('shop', 'SELECT test.atq_test_kill_self()');
	wait_until(sub { -e "$block.seen" });
	ok(-e "$block.seen", "recovery after a crash is held up ($what)");
	unlink "$block.seen";
	return;
}

dispatch('behind', 3);
crash_and_hold('all');

# Before it has begun to replay, some releases of the server wait for their own
# checkpointer, so that only an immediate stop ends them; nothing of ours may
# be left.
my $postmaster = (split /\n/, slurp_file($standby->data_dir . '/postmaster.pid'))[0];

sub children
{
	my ($pattern) = @_;

	return scalar grep { /$pattern/ } split /\n/, `ps --ppid $postmaster -o args`;
}

kill 'INT', $postmaster;
wait_until(sub { !children('startup') });
is(children('startup'), 0, 'a fast stop ends recovery meanwhile');
is(children('asynctasq'), 0, 'and nothing of ours is left');
$standby->stop('immediate', fail_ok => 1);
unlink $block;
$standby->start;

# When it replays, a fast stop is one.
$node->safe_psql('shop', 'SELECT pg_switch_wal()');
dispatch('further behind', 3);
my $segment = $node->safe_psql('shop', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
my $offset = -s $standby->logfile;
crash_and_hold($segment);
like(slurp_file($standby->logfile, $offset), qr/redo starts/, 'which has begun to replay');
ok($standby->stop('fast', fail_ok => 1), 'a fast stop completes');
like(slurp_file($standby->logfile, $offset), qr/database system is shut down/, 'and is one');
unlink $block;
$standby->start;
$standby->promote;
app($standby, 'shop', 'app', q{SELECT asynctasq.resume_queue('safe')});
effects_once($standby, 'behind', 3, 'its tasks run when it is promoted');
effects_once($standby, 'further behind', 3, 'the later ones, too');
$standby->stop;

$node->stop;
done_testing();
