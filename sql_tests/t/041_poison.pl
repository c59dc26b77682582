# A task that crashes the server is tried max_attempts times and no more, and
# costs no other task anything.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_deadly_cluster();

# Dispatches reach the disk; nothing else is flushed unless it has to be.
$node->append_conf('postgresql.conf', 'synchronous_commit = off');
$node->safe_psql('shop', 'ALTER ROLE app SET synchronous_commit = on');
$node->reload;

app($node, 'shop', 'app', q{
	CREATE FUNCTION crash_again(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM test.atq_test_segfault();
		RETURN true;
	END $$;
	CREATE FUNCTION crash_at_last(task jsonb, error jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM test.atq_test_segfault();
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.create_queue('one by one', durable => true, max_concurrency => 1);
	SELECT asynctasq.register_handler('work', 'work(text, text)', queue => 'safe', retry_delay => '0 s');
	SELECT asynctasq.register_handler('grouped', 'work(text, text)', queue => 'safe', retry_delay => '0 s',
		group_size => 100, max_attempts => 2);
	SELECT asynctasq.register_handler('batched', 'work_many(text[], text[])', queue => 'safe', retry_delay => '0 s',
		batch_size => 100, max_attempts => 2);
	SELECT asynctasq.register_handler('hold', 'hold()', queue => 'safe', retry_delay => '0 s');
	SELECT asynctasq.register_handler('asks', 'work(text, text)', queue => 'safe', retry_delay => '0 s',
		max_attempts => 2, should_retry => 'crash_again(jsonb, jsonb)');
	SELECT asynctasq.register_handler('tells', 'work(text, text)', queue => 'safe', retry_delay => '0 s',
		max_attempts => 1, on_failure => 'crash_at_last(jsonb, jsonb)');
	SELECT asynctasq.register_handler('unsafe', 'work(text, text)', retry_delay => '0 s');});

# After a clean restart, the tasks of $sql must leave the given dead letters
# (task, attempts, SQLSTATE) and effects (number of tasks, of effects, highest
# attempt) with so many crashes.
sub outcome_is
{
	my ($sql, $dead, $effects, $crashes, $name) = @_;
	my $offset;

	$node->safe_psql('shop', 'TRUNCATE app.effects');
	$node->safe_psql('shop', 'DELETE FROM asynctasq.dead_letter');
	$node->restart;
	$offset = -s $node->logfile;
	dispatch_deadly($node, 'shop', $sql);
	wait_for($node, 'shop', q{
		SELECT count(*) = 0 FROM asynctasq.tasks});
	wait_for($node, 'shop',
		"SELECT coalesce(string_agg(concat_ws(' ', task, attempt, error ->> 'sqlstate', error ->> 'message'), ','), '') FROM asynctasq.dead_letters",
		$dead);
	query_is($node, 'shop',
		'SELECT count(DISTINCT what), count(*), max(attempt) FROM app.effects',
		$effects, "$name: the others have their effects once");
	crashes_are($node, $offset, $crashes, $name);
	return slurp_file($node->logfile, $offset);
}

my $reason = '57P02 server crashed while running';
my $ninety_nine = q{
	SELECT count(asynctasq.dispatch('%1$s', asynctasq.args('what', 'before ' || n, 'how', 'not')))
	FROM generate_series(1, 50) AS n;
	SELECT asynctasq.dispatch('%1$s', asynctasq.args('what', 'poison', 'how', '%2$s'));
	SELECT count(asynctasq.dispatch('%1$s', asynctasq.args('what', 'behind ' || n, 'how', 'not')))
	FROM generate_series(1, 49) AS n;};

my $log = outcome_is("BEGIN;" . sprintf($ninety_nine, 'work', 'segfault') . "COMMIT;",
	"work 3 $reason", '99|99|1', 3, 'a segmentation fault');
like($log, qr/LOG:  server has crashed 3 times in a row soon after workers were started: starting none for 2000 ms/,
	'after crashes in a row the launcher waits');
outcome_is("BEGIN;" . sprintf($ninety_nine, 'work', 'kill') . "COMMIT;",
	"work 3 $reason", '99|99|1', 3, 'a worker that kills itself');
outcome_is("BEGIN;" . sprintf($ninety_nine, 'grouped', 'panic') . "COMMIT;",
	"grouped 2 $reason", '99|99|1', 2, 'a PANIC in a group');
outcome_is("BEGIN;" . sprintf($ninety_nine, 'batched', 'segfault') . "COMMIT;",
	"batched 2 $reason", '99|99|1', 3, 'one task of a batch');
outcome_is("BEGIN;" . sprintf($ninety_nine, 'asks', 'error') . "COMMIT;",
	'asks 2 P0001 no luck', '99|99|1', 1, 'should_retry crashes');
outcome_is("BEGIN;" . sprintf($ninety_nine, 'asks', 'segfault') . "COMMIT;",
	"asks 2 $reason", '99|99|1', 2, 'should_retry is not asked after a crash');
outcome_is("BEGIN;" . sprintf($ninety_nine, 'tells', 'error') . "COMMIT;",
	'tells 1 P0001 no luck', '99|99|1', 1, 'on_failure crashes');
outcome_is("BEGIN;" . sprintf($ninety_nine, 'tells', 'segfault') . "COMMIT;",
	"tells 1 $reason", '99|99|1', 2, 'and after a crash again');

# What is not durable is gone with the first crash.
$node->restart;
my $offset = -s $node->logfile;
dispatch_deadly($node, 'shop', q{
	SELECT asynctasq.dispatch('unsafe', asynctasq.args('what', 'poison', 'how', 'segfault'))});
$node->wait_for_log(qr/recovery of the server has emptied 1 queues/, $offset);
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.tasks', '0', 'an unlogged poison is lost');

# Who is told to quit because another one crashes is not charged; where none
# of ours has crashed, all that ran are.
foreach my $culprit ('task', 'session')
{
	$node->safe_psql('shop', 'TRUNCATE app.effects');
	$node->restart;
	my $session = hold_task($node);
	if ($culprit eq 'task')
	{
		dispatch_deadly($node, 'shop', q{
			SELECT asynctasq.dispatch('work', asynctasq.args('what', 'poison', 'how', 'segfault'), max_attempts => 1)});
	}
	else
	{
		$node->psql('shop', 'SELECT test.atq_test_segfault()');
	}
	wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
	query_is($node, 'shop', 'SELECT what, attempt FROM app.effects',
		$culprit eq 'task' ? 'held|1' : 'held|2', "a $culprit crashes: whether the others are charged");
	$session->{run}->finish;
}

# A stop that is in order costs no attempt, an immediate one is a crash.
foreach my $mode ('fast', 'immediate')
{
	$node->safe_psql('shop', 'TRUNCATE app.effects');
	my $session = hold_task($node);
	$node->stop($mode);
	$session->{run}->finish;
	$node->start;
	wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
	query_is($node, 'shop', 'SELECT what, attempt FROM app.effects',
		$mode eq 'fast' ? 'held|1' : 'held|2', "$mode stop: attempts");
}

$node->stop;
done_testing();
