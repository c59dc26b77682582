# A task is stopped by its timeout and by cancel(), whatever it does about it,
# and none but the one that is meant; its effects go with it.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.group_duration' => '10s',
	'asynctasq.cancel_grace' => '100ms');
create_tenant($node, 'shop', 'app', 'other');
create_test_functions($node, 'shop');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

sql(q{
	CREATE TABLE effects (seq bigserial, what text, pid int DEFAULT pg_backend_pid());
	CREATE TABLE go (what text);
	CREATE SEQUENCE heard;
	CREATE FUNCTION work(what text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects (what) VALUES (what);
		-- by no command, which would end the group
		PERFORM set_config(t || '_timeout', '0', false) FROM unnest('{statement,lock,idle_in_transaction_session}'::text[]) AS t;
		CASE split_part(what, ' ', 1)
			WHEN 'fine' THEN NULL;
			WHEN 'sleep' THEN PERFORM pg_sleep(3600);
			WHEN 'loop' THEN LOOP END LOOP;
			WHEN 'fail' THEN RAISE EXCEPTION 'no luck';
			WHEN 'await' THEN
				WHILE NOT EXISTS (SELECT FROM app.go) LOOP
					PERFORM pg_sleep(0.01);
				END LOOP;
			WHEN 'swallow' THEN
				LOOP
					BEGIN
						PERFORM pg_sleep(3600);
					EXCEPTION WHEN query_canceled THEN
						PERFORM nextval('app.heard');
					END;
				END LOOP;
			WHEN 'swallow_once' THEN
				BEGIN
					PERFORM pg_sleep(3600);
				EXCEPTION WHEN query_canceled THEN
					PERFORM nextval('app.heard');
				END;
			WHEN 'swallow_in_c' THEN PERFORM test.atq_test_swallow_cancel();
			WHEN 'fail_then' THEN
				BEGIN
					PERFORM pg_sleep(3600);
				EXCEPTION WHEN query_canceled THEN
					RAISE EXCEPTION 'something else';
				END;
			WHEN 'deferred' THEN INSERT INTO app.slow VALUES (1);
			WHEN 'held' THEN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT pg_sleep(3600)';
		END CASE;
		RETURN what;
	END $$;
	CREATE FUNCTION work_all(what text[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.work(w) FROM unnest(what) AS w;
	END $$;
	CREATE FUNCTION sleep_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NULL; END $$;
	CREATE TABLE slow (n int);
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep_later();
	CREATE FUNCTION hook(task jsonb, error jsonb) RETURNS void LANGUAGE sql RETURN pg_sleep(3600);
	CREATE FUNCTION ask(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN PERFORM pg_sleep(3600); RETURN false; END $$;
	CREATE FUNCTION ask_and_swallow(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				PERFORM pg_sleep(3600);
			EXCEPTION WHEN query_canceled THEN
			END;
		END LOOP;
	END $$;});

my $running = "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = ";
my $all_done = 'SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues';

sub register
{
	my ($options) = @_;

	sql(qq{SELECT asynctasq.register_handler('single', 'work(text)', max_attempts => 1, keep_result => true $options),
		asynctasq.register_handler('group', 'work(text)', max_attempts => 1, group_size => 5, keep_result => true $options),
		asynctasq.register_handler('batch', 'work_all(text[])', max_attempts => 1, batch_size => 5, keep_result => true $options)});
	return;
}

sub dispatch
{
	my ($handler, @what) = @_;
	my $list = join ', ', map { "'$_'" } @what;

	return split /\n/, sql("SELECT asynctasq.dispatch('$handler', asynctasq.args('what', w)) FROM unnest(ARRAY[$list]) WITH ORDINALITY AS t (w, n) ORDER BY n");
}

# outcome(@ids): the status of each task, with the SQLSTATE if it has failed;
# then the effects
sub outcome
{
	my @ids = @_;
	my $ids = join ', ', @ids;

	wait_for($node, 'shop', $all_done);
	my $outcome = sql("SELECT string_agg(concat_ws(':', t.status, CASE WHEN t.status = 'failed' THEN t.error ->> 'sqlstate' END), ' ' ORDER BY n)
		FROM unnest(ARRAY[$ids]::bigint[]) WITH ORDINALITY AS i (id, n), LATERAL asynctasq.task_info(i.id) AS t");
	my $effects = sql("SELECT coalesce(string_agg(what, ', ' ORDER BY seq), '-') FROM effects");
	sql("SELECT asynctasq.purge_queue('default', true); TRUNCATE effects, go");
	return "$outcome | $effects";
}

# A worker that has run something slow claims one task at a time, so that there
# would be no group.
sub new_worker
{
	$node->safe_psql('shop', 'ALTER SYSTEM SET asynctasq.enabled = off');
	$node->safe_psql('shop', 'SELECT pg_reload_conf()');
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
	$node->safe_psql('shop', 'ALTER SYSTEM RESET asynctasq.enabled');
	$node->safe_psql('shop', 'SELECT pg_reload_conf()');
	return;
}

# Timeouts
register(", timeout => '200 ms'");
foreach my $what ('sleep', 'loop', 'swallow', 'swallow_once', 'swallow_in_c', 'fail_then', 'deferred', 'held')
{
	my $sqlstate = $what eq 'fail_then' ? 'P0001' : '57014';

	is(outcome(dispatch('single', $what)), "failed:$sqlstate | -", "timeout: $what, alone");
	new_worker();
	is(outcome(dispatch('group', 'fine 1', 'fine 2', $what, 'fine 3')),
		"completed completed failed:$sqlstate completed | fine 1, fine 2, fine 3", "timeout: $what, in a group");
}
foreach my $what ('sleep', 'loop', 'swallow_once', 'deferred', 'held')
{
	new_worker();
	is(outcome(dispatch('batch', 'fine 1', $what, 'fine 2', 'fine 3')),
		"completed failed:57014 completed completed | fine 1, fine 2, fine 3", "timeout: $what, in a batch");
}
like(sql('SELECT last_value FROM heard'), qr/^[1-9]/, 'some had heard of it and went on');
my ($id) = dispatch('single', 'swallow');
wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($id)");
is(sql("SELECT error ->> 'message', attempt FROM asynctasq.dead_letters WHERE id = $id"),
	'task was stopped by its timeout|1', 'the dead letter says that it was the timeout');
outcome($id);

# should_retry and on_failure have as long
sql(q{SELECT asynctasq.register_handler('hooked', 'work(text)', max_attempts => 1, timeout => '100 ms', on_failure => 'hook(jsonb, jsonb)'),
	asynctasq.register_handler('asked', 'work(text)', max_attempts => 2, timeout => '100 ms', retry_delay => '10 ms', should_retry => 'ask(jsonb, jsonb)'),
	asynctasq.register_handler('asked for ever', 'work(text)', max_attempts => 2, timeout => '100 ms', retry_delay => '10 ms',
		should_retry => 'ask_and_swallow(jsonb, jsonb)')});
foreach my $handler ('hooked', 'asked', 'asked for ever')
{
	($id) = dispatch($handler, 'fail');
	wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($id)");
	is(outcome($id, dispatch('single', 'fine')), 'failed:P0001 completed | fine', "$handler: the timeout holds, the task fails as it would have");
}

# cancel()
register('');
foreach my $what ('sleep', 'loop', 'swallow', 'swallow_once', 'swallow_in_c', 'fail_then', 'deferred', 'held')
{
	foreach my $handler ('single', 'group')
	{
		new_worker();
		my @ids = dispatch($handler, 'fine 1', $what, 'fine 2');

		wait_for($node, 'shop', $running . $ids[1]);
		is(sql("SELECT asynctasq.cancel($ids[1])"), 't', "cancel() of a task that runs: $what");
		is(outcome(@ids), 'completed cancelled completed | fine 1, fine 2', "$what, $handler: it has no effect, the others have theirs");
	}
}
# of one that waits for the commit of the one that runs, whatever that does
foreach my $what ('sleep', 'swallow', 'swallow_once', 'fail_then')
{
	new_worker();
	my @ids = dispatch('group', 'fine 1', 'fine 2', $what, 'fine 3');
	wait_for($node, 'shop', $running . $ids[2]);
	is(sql("SELECT asynctasq.cancel($ids[0])"), 't', "cancel() of a task that waits for the commit of $what");
	wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($ids[0])");
	wait_for($node, 'shop', $running . $ids[2]);
	sql("SELECT asynctasq.cancel($ids[2])");
	is(outcome(@ids), 'cancelled completed cancelled completed | fine 2, fine 3', "$what: only those are cancelled");
}
foreach my $what ('sleep', 'swallow', 'swallow_once')
{
	new_worker();
	my @ids = dispatch('batch', 'fine 1', $what, 'fine 2', 'fine 3');

	wait_for($node, 'shop', $running . $ids[0]);
	is(sql("SELECT asynctasq.cancel($ids[1])"), 't', "cancel() of a task in a batch: $what");
	is(outcome(@ids), 'completed cancelled completed completed | fine 1, fine 2, fine 3', 'only this one is cancelled');
}

# How long it takes, the best of some.
my $best = sql(q{SELECT 3600000});
foreach (1 .. 5)
{
	($id) = dispatch('single', 'sleep');
	wait_for($node, 'shop', $running . $id);
	my $took = $node->safe_psql('shop', qq{
		SELECT clock_timestamp() AS start \\gset
		SELECT asynctasq.cancel($id);
		DO \$\$ BEGIN PERFORM asynctasq.wait($id); EXCEPTION WHEN query_canceled THEN END \$\$;
		SELECT (extract(epoch FROM clock_timestamp() - :'start') * 1000)::int;});
	$took =~ s/.*\n//s;
	$best = $took if $took < $best;
}
note("cancel() stopped a task within $best ms");
outcome($id);

# while its failure is recorded
sql(q{SELECT asynctasq.register_handler('asked', 'work(text)', max_attempts => 2, retry_delay => '10 ms', should_retry => 'ask(jsonb, jsonb)')});
($id) = dispatch('asked', 'fail');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'asynctasq worker' AND wait_event = 'PgSleep'});
is(sql("SELECT asynctasq.cancel($id)"), 't', 'cancel() of a task whose failure is being recorded');
is(outcome($id), 'cancelled | -', 'it is not tried again');

# A cancel that comes when its task has ended hits no other one.
my $pid = sql('SELECT pid FROM asynctasq.stat_workers');
my @ids = dispatch('single', ('fine') x 300);
my $cancels = join '', map { "SELECT asynctasq.cancel($_);" } @ids;
my $cancelled = () = sql($cancels . "SELECT pg_sleep(0)") =~ /^t$/mg;
wait_for($node, 'shop', $all_done);
is(sql('SELECT count(*) FROM asynctasq.dead_letters'), 0, 'no task has failed for another one\'s cancel()');
my $completed = sql('SELECT count(*) FROM effects');
cmp_ok($completed, '>=', 300 - $cancelled, 'those that were not cancelled are done');
cmp_ok($completed, '<=', 300, 'once');
sql("SELECT asynctasq.purge_queue('default', true); TRUNCATE effects");
foreach (1 .. 50)
{
	# also where the signal is sent to whoever runs
	$node->safe_psql('shop', q{SELECT pg_cancel_backend(pid) FROM asynctasq.stat_workers});
}
is(outcome(dispatch('single', 'fine')), 'completed | fine', 'pg_cancel_backend() of an idle worker hits no task');

# Nothing stops it: it shows, and others go on.
sql(q{CREATE FUNCTION stuck() RETURNS void LANGUAGE sql RETURN test.atq_test_loop_uninterruptible(3000);
	SELECT asynctasq.register_handler('stuck', 'stuck()', max_attempts => 1, timeout => '10 ms', queue => 'stuck')});
app($node, 'shop', 'other', q{
	CREATE FUNCTION fine() RETURNS void LANGUAGE sql AS '';
	SELECT asynctasq.register_handler('others', 'fine()', keep_result => true)});
my $stuck = sql(q{SELECT asynctasq.dispatch('stuck')});
wait_for($node, 'shop', "SELECT state = 'stuck' FROM asynctasq.stat_workers WHERE task_id = $stuck");
is(app($node, 'shop', 'other', q{SELECT asynctasq.dispatch('others') AS id \gset
	SELECT asynctasq.wait(:id)}), 'null', 'other roles\' tasks run meanwhile');
wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($stuck)");
is(sql("SELECT error ->> 'message' FROM asynctasq.dead_letters WHERE id = $stuck"), 'task was stopped by its timeout', 'when it ends it has failed');
unlike(slurp_file($node->logfile), qr/signal 9|SIGKILL|was terminated by signal/, 'no process was killed');

$node->stop;
done_testing();
