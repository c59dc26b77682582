# Wherever the server crashes on a task's path: a durable task has its effects
# once and is not lost, one that is not durable never has them twice.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'restart_after_crash' => 'on',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.claim_size' => '1');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');

# The second task kills its worker at its first attempt.  What is said to
# happen "before" the handler happens in the default of its parameter.
app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text, attempt int);
	CREATE FUNCTION kill_first(point text, here text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF point <> here OR (asynctasq.current_task()).attempt > 1 THEN
			RETURN;
		END IF;
		CASE point
			WHEN 'commit' THEN PERFORM test.atq_test_kill_at('before commit', 1);
			WHEN 'committed' THEN PERFORM test.atq_test_kill_at('after commit', 1);
			WHEN 'claimed' THEN PERFORM test.atq_test_kill_at('after commit', 2);
			ELSE PERFORM test.atq_test_kill_self();
		END CASE;
	END $$;
	CREATE FUNCTION before() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM kill_first('before', args ->> 'point')
		FROM (SELECT (asynctasq.current_task()).args) AS task;
		RETURN true;
	END $$;
	CREATE FUNCTION work(what text, point text, ready boolean DEFAULT before()) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM kill_first(point, 'begin');
		INSERT INTO app.effects VALUES (what, (asynctasq.current_task()).attempt);
		PERFORM kill_first(point, 'end'), kill_first(point, 'commit'),
			kill_first(point, 'committed'), kill_first(point, 'claimed');
	END $$;
	CREATE FUNCTION fail(what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM test.atq_test_kill_at('before commit', 1) WHERE (asynctasq.current_task()).attempt = 1;
		RAISE 'no luck';
	END $$;
	CREATE FUNCTION give_up(what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM test.atq_test_kill_at('before commit', 2);
		RAISE 'no luck';
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text, text, boolean)', queue => 'safe', retry_delay => '0 s');
	SELECT asynctasq.register_handler('fail', 'fail(text)', queue => 'safe', retry_delay => '0 s', max_attempts => 3);
	SELECT asynctasq.register_handler('give_up', 'give_up(text)', queue => 'safe', retry_delay => '0 s', max_attempts => 1);
	SELECT asynctasq.create_queue('unsafe');});

my $three = q{
	SELECT asynctasq.dispatch('work', asynctasq.args('what', what, 'point', point), queue => '%s')
	FROM (VALUES (1, 'first', 'none'), (2, 'second', '%s'), (3, 'third', 'none')) AS v (n, what, point)
	ORDER BY n;};

sub crash
{
	my ($sql) = @_;
	my $offset;

	$node->safe_psql('shop', 'TRUNCATE app.effects');
	$node->safe_psql('shop', 'DELETE FROM asynctasq.dead_letter');
	$node->restart;
	$offset = -s $node->logfile;
	dispatch_deadly($node, 'shop', "BEGIN; $sql COMMIT;");
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	wait_for($node, 'shop', q{
		SELECT count(*) = 0 FROM asynctasq.tasks});
	wait_for($node, 'shop', 'SELECT lost_at > pg_postmaster_start_time() FROM asynctasq.stat_queues '
		  . "WHERE queue = 'unsafe'");
	return;
}

# The attempt at which each task had its effects.
my $effects = q{SELECT string_agg(what || ' ' || attempt, ', ' ORDER BY what) FROM app.effects};

foreach my $synchronous ('off', 'on')
{
	$node->append_conf('postgresql.conf', "asynctasq.synchronous_commit = $synchronous");
	foreach my $point ('before', 'begin', 'end', 'commit', 'committed', 'claimed')
	{
		my $name = "synchronous_commit $synchronous, $point";
		my $done = ($point eq 'committed' && $synchronous eq 'on') || $point eq 'claimed';

		crash(sprintf($three, 'safe', $point));
		if ($point eq 'claimed' || $synchronous eq 'off')
		{
			# what had committed may have reached the disk or not
			query_is($node, 'shop', "SELECT count(*), count(DISTINCT what) FROM app.effects",
				'3|3', "$name: durable tasks have their effects once");
		}
		else
		{
			query_is($node, 'shop', $effects,
				$done ? 'first 1, second 1, third 1' : 'first 1, second 2, third 1',
				"$name: durable tasks have their effects once, at the right attempt");
		}
		query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters',
			'0', "$name: and none fails");

		crash(sprintf($three, 'unsafe', $point));
		query_is($node, 'shop',
			'SELECT count(*) - count(DISTINCT what), count(*) FILTER (WHERE attempt > 1) FROM app.effects',
			'0|0', "$name: no other task has its effects twice, or runs again");
	}
}

# A crash before the outcome of a failed attempt is recorded.
crash(q{SELECT asynctasq.dispatch('fail', asynctasq.args('what', 'x'));});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM asynctasq.dead_letters');
query_is($node, 'shop', q{SELECT attempt, error ->> 'message' FROM asynctasq.dead_letters},
	'3|no luck', 'crash before a retry is recorded: the attempt counts once');
crash(q{SELECT asynctasq.dispatch('give_up', asynctasq.args('what', 'x'));});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM asynctasq.dead_letters');
query_is($node, 'shop', q{SELECT attempt, error ->> 'sqlstate' FROM asynctasq.dead_letters},
	'1|57P02', 'crash before a dead letter is recorded: it is recorded afterwards');

$node->stop;
done_testing();
