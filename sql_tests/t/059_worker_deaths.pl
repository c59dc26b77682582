# What workers leave behind when they end under their tasks, and when a table
# is rewritten under them, is neither lost nor held against the wrong task.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.cancel_grace' => '50ms',
	'asynctasq.sweep_interval' => '1d');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');

app($node, 'shop', 'app', q{
	CREATE TABLE calls (seq bigserial, ids int[]);
	CREATE TABLE effects (n int);
	CREATE FUNCTION end_worker() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_terminate_backend(pg_backend_pid());
		PERFORM pg_sleep(3600);
		RETURN true;
	END $$;
	CREATE FUNCTION work_many(n int[], what text[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.end_worker() WHERE 'end' = ANY (what);
		PERFORM test.atq_test_fatal() WHERE 'fatal' = ANY (what);
		PERFORM test.atq_test_swallow_cancel() WHERE 'swallow' = ANY (what);
		INSERT INTO app.calls (ids) VALUES (n);
	END $$;
	CREATE FUNCTION work(n int, what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.end_worker() WHERE what = 'end';
		PERFORM pg_advisory_xact_lock(42) WHERE what = 'await';
		INSERT INTO app.effects VALUES (n);
	END $$;
	CREATE FUNCTION ask_and_end(task jsonb, error jsonb) RETURNS boolean LANGUAGE sql RETURN app.end_worker();
	CREATE FUNCTION notify_and_end(task jsonb, error jsonb) RETURNS void LANGUAGE sql
		BEGIN ATOMIC SELECT app.end_worker(); END;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('batched', 'work_many(int[], text[])', max_attempts => 1, batch_size => 8);
	SELECT asynctasq.register_handler('work', 'work(int, text)', max_attempts => 2, retry_delay => '0 s');
	SELECT asynctasq.register_handler('asks', 'work(int, text)', max_attempts => 2, retry_delay => '0 s',
		should_retry => 'ask_and_end(jsonb, jsonb)');
	SELECT asynctasq.register_handler('tells', 'work(int, text)', max_attempts => 1,
		on_failure => 'notify_and_end(jsonb, jsonb)');
	CREATE FUNCTION await_and_fail() RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock(42); RAISE 'no luck'; END $$;
	SELECT asynctasq.register_handler('awaits', 'await_and_fail()', max_attempts => 2, retry_delay => '1 h')});

sub dispatch
{
	my ($handler, $options, @what) = @_;
	my $n = 0;
	my $values = join ', ', map { $n++; "($n, '$_')" } @what;

	$node->safe_psql('shop', 'TRUNCATE app.calls, app.effects; DELETE FROM asynctasq.dead_letter');
	return app($node, 'shop', 'app', qq{
		SELECT asynctasq.dispatch('$handler', asynctasq.args('n', n, 'what', what) $options)
		FROM (VALUES $values) AS t (n, what) ORDER BY n;});
}

sub settled
{
	return wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
}

my $dead = q{SELECT string_agg(concat_ws(' ', args ->> 'n', attempt, error ->> 'sqlstate'), ', ' ORDER BY id)
	FROM asynctasq.dead_letters};

# Whichever task of a batch it was, it is found when they run alone.
foreach my $end ([ 'end', '57P01' ], [ 'fatal', '57P01' ], [ 'swallow', '57014' ])
{
	foreach my $queue ('default', 'safe')
	{
		my ($how, $sqlstate) = @$end;

		dispatch('batched', ", queue => '$queue', timeout => '200 ms'", 'fine', 'fine', $how, 'fine');
		settled();
		query_is($node, 'shop', $dead, "3 1 $sqlstate", "a batch whose worker ends ($how, $queue): only its cause is charged");
		query_is($node, 'shop', q{SELECT string_agg(ids::text, ' ' ORDER BY seq) FROM app.calls},
			'{1} {2} {4}', "($how, $queue): the others run alone, once");
	}
}

# A worker that ends while it settles what another one has left.
dispatch('asks', '', 'end', 'fine');
settled();
query_is($node, 'shop', $dead, '1 2 57P01', 'a worker that ends in should_retry of an orphan: each attempt counts once');
query_is($node, 'shop', 'SELECT string_agg(n::text, $$ $$) FROM app.effects', '2', 'the next task runs, once');
dispatch('tells', '', 'end', 'fine');
settled();
query_is($node, 'shop', $dead, '1 1 57P01', 'a worker that ends in on_failure of an orphan: the attempt counts once');
query_is($node, 'shop', 'SELECT string_agg(n::text, $$ $$) FROM app.effects', '2', 'the next task runs, once');

# What a worker has left is of one attempt: when somebody else has made that
# one meanwhile, it counts once.
{
	my $session = $node->background_psql('shop');
	my $worker = q{SELECT pid FROM asynctasq.stat_workers WHERE task = 'awaits'};

	$node->safe_psql('shop', 'TRUNCATE app.effects; DELETE FROM asynctasq.dead_letter');
	$session->query_safe('SELECT pg_advisory_lock(42)');
	app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('awaits')});
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
	$node->append_conf('postgresql.conf', 'asynctasq.enabled = off');
	$node->reload;
	wait_for($node, 'shop', q{SELECT current_setting('asynctasq.enabled') = 'off'});
	$node->safe_psql('shop', "SELECT pg_terminate_backend(pid, 10000) FROM ($worker) AS w");
	$session->quit;
	is(app($node, 'shop', 'app', 'SELECT asynctasq.drain()'), '1', 'a task whose worker has ended is run by drain()');
	$node->append_conf('postgresql.conf', 'asynctasq.enabled = on');
	$node->reload;
	app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('work', '{"n": 1, "what": "fine"}')});
	wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
	query_is($node, 'shop', q{SELECT status, attempt FROM asynctasq.tasks}, 'scheduled|1', 'and its worker, too, has made one attempt, the same');
	query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters', '0', 'so there is another one');
	$node->safe_psql('shop', 'DELETE FROM asynctasq.task');
}

# A task whose row is free, because its attempt is over, is met by another
# worker before there is an outcome: it is left to the one who records that.
app($node, 'shop', 'app', q{
	CREATE SEQUENCE calls_made;
	CREATE FUNCTION fail(how text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('app.calls_made');
		PERFORM app.end_worker() WHERE how = 'end';
		PERFORM test.atq_test_linger() WHERE how = 'linger';
		RAISE 'no luck';
	END $$;
	CREATE FUNCTION ask_later(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN true; END $$;
	SELECT asynctasq.register_handler('fails', 'fail(text)', max_attempts => 2, retry_delay => '0 s',
		should_retry => 'ask_later(jsonb, jsonb)'),
		asynctasq.register_handler('lingers', 'fail(text)', max_attempts => 1)});
$node->append_conf('postgresql.conf', 'asynctasq.workers_per_lane = 2');
$node->reload;
foreach my $case ([ 'fails', 'fail', '2 P0001', 2 ], [ 'fails', 'end', '2 57P01', 2 ], [ 'lingers', 'linger', '1 57P01', 1 ])
{
	my ($handler, $how, $outcome, $calls) = @$case;
	my $session = $node->background_psql('shop');
	my $lingers = $node->data_dir . '/atq_test.lingers';

	$node->safe_psql('shop', 'TRUNCATE app.effects; DELETE FROM asynctasq.dead_letter; ALTER SEQUENCE app.calls_made RESTART');
	$session->query_safe('SELECT pg_advisory_lock(42)');
	app($node, 'shop', 'app', qq{SELECT asynctasq.dispatch('$handler', asynctasq.args('how', '$how'::text))});
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) if $handler eq 'fails';
	wait_for($node, 'shop', q{SELECT (pg_stat_file('atq_test.lingers', true)).size IS NOT NULL}) if $handler eq 'lingers';
	app($node, 'shop', 'app', q{
		SELECT asynctasq.pause_queue('default');
		SELECT asynctasq.dispatch('work', '{"n": 1, "what": "fine"}')});
	app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('default')});
	# the first in the queue is the one that is free
	wait_for($node, 'shop', q{SELECT (SELECT count(*) FROM app.effects) + (SELECT count(*) FROM pg_locks
		WHERE locktype = 'advisory' AND NOT granted) >= } . ($handler eq 'fails' ? 2 : 1));
	$session->quit;
	unlink $lingers;
	settled();
	query_is($node, 'shop', q{SELECT string_agg(concat_ws(' ', attempt, error ->> 'sqlstate'), ', ') FROM asynctasq.dead_letters},
		$outcome, "$how: a task that another worker meets while it is settled has each attempt counted");
	query_is($node, 'shop', 'SELECT last_value FROM app.calls_made', $calls, "$how: and no more");
}
$node->append_conf('postgresql.conf', 'asynctasq.workers_per_lane = 1');
$node->reload;

# Claimed tasks whose places have changed are found again, without a sweep.
# The first one, under way, holds the table.
foreach my $command ('VACUUM FULL asynctasq.task_unlogged', 'CLUSTER asynctasq.task_unlogged USING task_unlogged_id')
{
	my $session = $node->background_psql('shop');

	$session->query_safe('SELECT pg_advisory_lock(42)');
	app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('default')});
	dispatch('work', '', 'await', ('fine') x 10);
	# the others move up
	$node->safe_psql('shop', 'DELETE FROM asynctasq.task WHERE id = (SELECT min(id) + 1 FROM asynctasq.task)');
	app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('default')});
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'work'});
	my $rewriting = $node->background_psql('shop');
	$rewriting->query_until(qr/go/, "\\echo go\n$command;\n");
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'});
	$session->quit;
	settled();
	query_is($node, 'shop', 'SELECT count(*), count(DISTINCT n) FROM app.effects', '10|10', "$command: claimed tasks run, once");
	$rewriting->quit;
}

$node->stop;
done_testing();
