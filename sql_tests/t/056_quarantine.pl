# Tasks of a queue that is not durable are lost when they crash the server.
# Whoever dispatches the same again does so three times at most.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_deadly_cluster();

app($node, 'shop', 'app', q{
	CREATE FUNCTION sorry(task jsonb, error jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES ('sorry', 0);
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text, text)', retry_delay => '0 s', max_attempts => 10,
		on_failure => 'sorry(jsonb, jsonb)');
	SELECT asynctasq.register_handler('grouped', 'work(text, text)', retry_delay => '0 s', group_size => 100);
	SELECT asynctasq.register_handler('batched', 'work_many(text[], text[])', retry_delay => '0 s', batch_size => 100);
	SELECT asynctasq.register_handler('hold', 'hold()', retry_delay => '0 s');});

my $offset;

# Nothing is known of crashes any more, nor of what was there.
sub begin_anew
{
	$node->safe_psql('shop', 'TRUNCATE app.effects, app.fuse; DELETE FROM asynctasq.dead_letter');
	$node->restart;
	$offset = -s $node->logfile;
	return;
}

# Dispatches what crashes the server so many times, each time when it is back.
sub crash
{
	my ($n, $sql) = @_;

	foreach my $round (1 .. $n)
	{
		my $from = -s $node->logfile;

		dispatch_deadly($node, 'shop', $sql);
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $from);
		wait_for($node, 'shop', 'SELECT true');
	}
	return;
}

my $poison = q{SELECT asynctasq.dispatch('%s', asynctasq.args('what', 'poison', 'how', 'segfault'));};
my $dead = q{SELECT task, attempt, error ->> 'sqlstate', error ->> 'message', error ->> 'detail' FROM asynctasq.dead_letters};
my $reason = '57P02|server crashed while running|It did so 3 times in a row with this handler and these arguments, so the task was not run.';

# A task that is hit by the crashes of another one is not held responsible.
my $session;
foreach my $round (1 .. 4)
{
	$session->{run}->finish if $round > 1;
	begin_anew() if $round == 1;
	$session = hold_task($node);
	crash(1, sprintf($poison, 'work')) if $round < 4;
}
my $id = app($node, 'shop', 'app', sprintf($poison, 'work'));
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM asynctasq.dead_letters');
query_is($node, 'shop', $dead, "work|1|$reason", 'after three crashes the same task is a dead letter');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'sorry'});
pass('on_failure is called');
$session->quit;
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'held'});
pass('one that was running each time runs');
dispatch_deadly($node, 'shop', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'other', 'how', 'not'))});
dispatch_deadly($node, 'shop', q{SELECT asynctasq.dispatch('grouped', asynctasq.args('what', 'with others ' || n, 'how', 'not')) FROM generate_series(1, 3) AS n});
wait_for($node, 'shop', q{SELECT count(*) = 5 FROM app.effects WHERE what <> 'sorry'});
pass('so do others of its handler, and of other handlers');
app($node, 'shop', 'app', sprintf($poison, 'work'));
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM asynctasq.dead_letters');
query_is($node, 'shop', $dead, "work|1|$reason\nwork|1|$reason", 'and a fifth time it is one again');
crashes_are($node, $offset, 3, 'the same task again and again');
crash(1, "SELECT asynctasq.retry($id)");
crashes_are($node, $offset, 4, 'retry() has it run all the same');

# What has ended well since does not count.
begin_anew();
my $fused = q{SELECT asynctasq.dispatch('grouped', asynctasq.args('what', 'fused', 'how', 'fuse'));};
crash(2, $fused);
$node->safe_psql('shop', 'INSERT INTO app.fuse VALUES (true)');
dispatch_deadly($node, 'shop', $fused);
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'fused'});
$node->safe_psql('shop', 'TRUNCATE app.fuse');
crash(2, $fused);
crashes_are($node, $offset, 4, 'a task that succeeds in between');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters', '0', 'is not held back');

# Nor does what was before a clean restart.
begin_anew();
crash(2, $fused);
crashes_are($node, $offset, 2, 'after a clean restart');

# Which task of a batch it was shows when they run alone.
begin_anew();
my $batch = q{BEGIN;
	SELECT asynctasq.dispatch('batched', asynctasq.args('what', 'before', 'how', 'not'));}
  . sprintf($poison, 'batched') . q{
	SELECT asynctasq.dispatch('batched', asynctasq.args('what', 'behind', 'how', 'not'));
	COMMIT;};
crash(4, $batch);
query_is($node, 'shop', q{SELECT string_agg(DISTINCT what, ',') FROM app.effects},
	'before', 'the others of a batch run alone after a crash');
dispatch_deadly($node, 'shop', $batch);
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM asynctasq.dead_letters');
query_is($node, 'shop', $dead, "batched|1|$reason", 'one task of a batch is a dead letter after three more');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'behind'});
crashes_are($node, $offset, 4, 'one task of a batch');

# Whoever runs when the postmaster is killed has not killed it.
begin_anew();
foreach my $round (1 .. 4)
{
	$session = hold_task($node);
	last if $round == 4;
	kill_postmaster($node);
	$session->{run}->finish;
	$node->start;
}
$session->quit;
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'held'});
pass('a task that was running whenever the postmaster was killed runs');

# Attempts of durable tasks are counted with their rows, by max_attempts.
begin_anew();
dispatch_deadly($node, 'shop', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'poison', 'how', 'segfault'), queue => 'safe', max_attempts => 4)});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM asynctasq.dead_letters');
query_is($node, 'shop', q{SELECT attempt, error ->> 'message', error -> 'detail' FROM asynctasq.dead_letters},
	'4|server crashed while running|null', 'a durable task has all its attempts');
crashes_are($node, $offset, 4, 'a durable task');

$node->stop;
done_testing();
