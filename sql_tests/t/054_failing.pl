# What a handler fails with, of whatever kind and size, is its own task's
# failure, has a record, and leaves the worker as it was.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'asynctasq.workers_per_lane' => '2',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.group_duration' => '10s',
	'deadlock_timeout' => '10ms',
	'restart_after_crash' => 'on');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

my $all_done = 'SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues';

# failure($id): SQLSTATE, message, and attempts
sub failure
{
	my ($id) = @_;

	wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE id = $id");
	return sql("SELECT error ->> 'sqlstate', error ->> 'message', attempt FROM asynctasq.dead_letters WHERE id = $id");
}

sql(q{
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE effects (seq bigserial, n int, xid text DEFAULT pg_current_xact_id()::text,
		parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
	CREATE FUNCTION check_later() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.n = 7 THEN
			RAISE EXCEPTION 'seven is refused' USING ERRCODE = '23514';
		END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_later();
	CREATE FUNCTION work(n int) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO effects (n, parent) VALUES (n, CASE WHEN n = 5 THEN 5 END); END;
	CREATE FUNCTION work_all(n int[]) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO effects (n, parent) SELECT v, CASE WHEN v = 5 THEN 5 END FROM unnest(n) AS v; END;
	SELECT asynctasq.register_handler('single', 'work(int)', max_attempts => 1),
		asynctasq.register_handler('group', 'work(int)', max_attempts => 1, group_size => 10),
		asynctasq.register_handler('batch', 'work_all(int[])', max_attempts => 1, batch_size => 10)});

# Deferred constraints and triggers: two of ten fail.
foreach my $handler ('single', 'group', 'batch')
{
	sql("SELECT asynctasq.dispatch('$handler', asynctasq.args('n', n)) FROM generate_series(1, 10) AS n");
	wait_for($node, 'shop', $all_done);
	is(sql('SELECT string_agg(n::text, $$ $$ ORDER BY n) FROM effects'), '1 2 3 4 6 8 9 10', "$handler: eight tasks have their effects");
	is( sql(q{SELECT string_agg(concat_ws(' ', args ->> 'n', error ->> 'sqlstate', error ->> 'message'), ', ' ORDER BY id) FROM asynctasq.dead_letters}),
		'5 23503 insert or update on table "effects" violates foreign key constraint "effects_parent_fkey", 7 23514 seven is refused',
		"$handler: two have failed, with what they were refused for");
	sql(q{SELECT asynctasq.purge_queue('default', true); TRUNCATE effects});
}

# Transaction ids: one for a task by itself, one for a group; and never more
# subtransactions than the server remembers.
sql(q{
	CREATE SEQUENCE most;
	CREATE FUNCTION try(n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 2 LOOP
			BEGIN
				INSERT INTO app.effects (n) VALUES (-n);
				INSERT INTO app.effects (n) VALUES (1 / (i - 1));
			EXCEPTION WHEN division_by_zero THEN
				INSERT INTO app.effects (n) VALUES (n + 100);
			END;
		END LOOP;
	END $$;
	SELECT asynctasq.register_handler('try', 'try(int)', max_attempts => 1, group_size => 1000)});
foreach my $case ([ 'single', 1000, 1000 ], [ 'group', 1000, 100 ])
{
	my ($handler, $n, $most) = @$case;

	sql("SELECT count(asynctasq.dispatch('$handler', asynctasq.args('n', n + 100))) FROM generate_series(1, $n) AS n");
	wait_for($node, 'shop', $all_done);
	is(sql('SELECT count(*) FROM effects'), $n, "$handler: $n tasks are done");
	my $xids = sql('SELECT count(DISTINCT xid) FROM effects');
	cmp_ok($xids, '<=', $handler eq 'single' ? $n : $n / 5, "$handler: they take $xids transaction ids");
	sql('TRUNCATE effects');
}
my $xid = $node->safe_psql('shop', q{SELECT pg_current_xact_id()::text});
sql("SELECT count(asynctasq.dispatch('single', asynctasq.args('n', n + 100))) FROM generate_series(1, 1000) AS n");
wait_for($node, 'shop', $all_done);
# one for each task, one for each of a few hundred statements that watch
cmp_ok($node->safe_psql('shop', qq{SELECT pg_current_xact_id()::text::bigint - $xid}), '<', 1100, 'a task by itself costs one transaction id and nothing beside');
sql('TRUNCATE effects');
sql("SELECT count(asynctasq.dispatch('try', asynctasq.args('n', n))) FROM generate_series(1, 500) AS n");
wait_for($node, 'shop', $all_done);
is(sql('SELECT count(*) FILTER (WHERE n > 100), count(*) FILTER (WHERE n < 0) FROM effects'), '500|500', 'tasks with subtransactions in groups');
my $largest = sql('SELECT max(n) FROM (SELECT count(DISTINCT n) AS n FROM effects WHERE n < 0 GROUP BY xid) AS g');
cmp_ok($largest, '>', 1, 'do share transactions');
cmp_ok($largest, '<', 64, 'but not so many that their ids overflow the server\'s cache');
sql('TRUNCATE effects');

# Conflicts with other transactions are failures like others: the next attempt
# follows after the delay.
sql(q{
	CREATE SEQUENCE tries;
	CREATE FUNCTION conflict(state text) RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		IF nextval('app.tries') % 3 <> 0 THEN
			RAISE EXCEPTION 'conflict' USING ERRCODE = state;
		END IF;
		RETURN (asynctasq.current_task()).attempt;
	END $$;
	SELECT asynctasq.register_handler('conflict', 'conflict(text)', max_attempts => 3, retry_delay => '1 ms', keep_result => true)});
foreach my $state ('40001', '40P01', '55P03')
{
	my $id = sql(qq{SELECT asynctasq.dispatch('conflict', asynctasq.args('state', '$state'))});
	is(sql("SELECT asynctasq.wait($id)"), '3', "$state: tried again, and each attempt counts");
}

# Two handlers that deadlock
sql(q{
	CREATE TABLE a (n int);
	CREATE TABLE b (n int);
	CREATE SEQUENCE meeting;
	CREATE FUNCTION cross(first text, second text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('LOCK TABLE app.%I', first);
		-- the first time both wait for each other
		IF (asynctasq.current_task()).attempt = 1 THEN
			PERFORM nextval('app.meeting');
			WHILE (SELECT last_value < 2 FROM app.meeting) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END IF;
		EXECUTE format('LOCK TABLE app.%I', second);
		EXECUTE format('INSERT INTO app.%I VALUES (1)', second);
	END $$;
	SELECT asynctasq.register_handler('cross', 'cross(text, text)', max_attempts => 20, retry_delay => '1 ms');
	SELECT asynctasq.dispatch('cross', asynctasq.args('first', 'a', 'second', 'b'));
	SELECT asynctasq.dispatch('cross', asynctasq.args('first', 'b', 'second', 'a'))});
wait_for($node, 'shop', q{SELECT calls - retries = 2 FROM asynctasq.stat_handlers WHERE task = 'cross'});
is(sql(q{SELECT failures, retries > 0 FROM asynctasq.stat_handlers WHERE task = 'cross'}), '0|t', 'of two that deadlock one is tried again');
is(sql('SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)'), '1|1', 'and both are done');

# A handler with the privilege locks the extension's tables: others wait for as
# long as they want.
$node->safe_psql('shop', q{
	CREATE FUNCTION public.hog() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		LOCK TABLE asynctasq.task, asynctasq.dead_letter, asynctasq.result IN ACCESS EXCLUSIVE MODE;
		PERFORM pg_sleep(3600);
	END $$;
	SELECT asynctasq.register_handler('hog', 'public.hog()', max_attempts => 10, retry_delay => '1 ms', timeout => '1 h')});
my $hog = $node->safe_psql('shop', q{SELECT asynctasq.dispatch('hog')});
wait_for($node, 'shop', q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'asynctasq.task_unlogged'::regclass AND mode = 'AccessExclusiveLock' AND granted});
foreach my $call (
	"dispatch('single', asynctasq.args('n', 1))", 'cancel(1)', 'retry(1)', "purge_queue('default', true)",
	"drop_queue('default')", 'drain()', 'task_info(1)', 'result(1)', "wait(1, '1 h')")
{
	app_fails($node, 'shop', 'app', "SET lock_timeout = '10 ms'; SELECT asynctasq.$call", qr/55P03/,
		"$call while a handler has locked the tables");
}
$node->safe_psql('shop', "SELECT asynctasq.cancel($hog)");
sql(q{SELECT asynctasq.dispatch('single', asynctasq.args('n', 1))});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
pass('when it is cancelled all go on');

# Too much
sql(q{
	CREATE FUNCTION recurse(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN app.recurse(n + 1); END $$;
	CREATE FUNCTION allocate() RETURNS int LANGUAGE sql RETURN length(repeat('x', 1000000000));
	CREATE FUNCTION shout(n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION '%', repeat('€', n) USING DETAIL = repeat('d', n), HINT = repeat('h', n);
	END $$;
	CREATE FUNCTION large() RETURNS text LANGUAGE sql RETURN repeat('x', 268435456);
	CREATE FUNCTION odd() RETURNS bytea LANGUAGE sql RETURN '\x00'::bytea;
	CREATE FUNCTION bad_text() RETURNS void LANGUAGE sql RETURN test.atq_test_bad_text();
	CREATE FUNCTION fatal() RETURNS void LANGUAGE sql RETURN test.atq_test_fatal();
	SELECT asynctasq.register_handler('recurse', 'recurse(int)', max_attempts => 1),
		asynctasq.register_handler('allocate', 'allocate()', max_attempts => 1),
		asynctasq.register_handler('shout', 'shout(int)', max_attempts => 1),
		asynctasq.register_handler('large', 'large()', max_attempts => 1, keep_result => true),
		asynctasq.register_handler('odd', 'odd()', max_attempts => 1, keep_result => true),
		asynctasq.register_handler('bad_text', 'bad_text()', max_attempts => 1),
		asynctasq.register_handler('fatal', 'fatal()', max_attempts => 1)});
my $worker = "SELECT pid FROM asynctasq.stat_workers WHERE role = 'app' ORDER BY started_at LIMIT 1";
my $pid = sql($worker);
like(failure(sql(q{SELECT asynctasq.dispatch('recurse', '{"n": 1}')})), qr/^54001\|stack depth limit exceeded\|1$/, 'endless recursion');
my $id = sql(q{SELECT asynctasq.dispatch('shout', '{"n": 5000000}')});
like(failure($id), qr/^P0001\|(€){1365}\|/, 'an error of ten megabytes');
is(sql("SELECT length(error::text) < 20000, error ->> 'detail' ~ '^d+', error ->> 'hint' ~ '^h+' FROM asynctasq.dead_letters WHERE id = $id"), 't|t|t', 'is cut');
$id = sql(q{SELECT asynctasq.dispatch('bad_text')});
like(failure($id), qr/^P0001\|bad: é \?+ \?+x+/, 'an error that is no text');
like(failure(sql(q{SELECT asynctasq.dispatch('large')})), qr/^54000\|/, 'a result too large for jsonb');
is(sql(q{SELECT asynctasq.dispatch('odd') AS id \gset
	SELECT asynctasq.wait(:id)}), '"\\\\x00"', 'a result with a zero byte');
foreach my $kept (
	[ 'text', 'test.atq_test_bad_result(zero)' ],
	[ 'jsonb', "jsonb_build_object('n', ARRAY[test.atq_test_bad_result(false)])" ])
{
	my ($type, $value) = @$kept;

	sql(qq{CREATE OR REPLACE FUNCTION app.keep_$type(zero bool) RETURNS $type LANGUAGE sql AS \$\$ SELECT $value \$\$;
		SELECT asynctasq.register_handler('keep_$type', 'keep_$type(bool)', max_attempts => 1, keep_result => true)});
	foreach my $zero ('true', 'false')
	{
		like(failure(sql(qq{SELECT asynctasq.dispatch('keep_$type', '{"zero": $zero}')})),
			qr/^22021\|invalid byte sequence for encoding "UTF8": /, "a result of type $type that is no text ($zero)");
	}
}
is(sql($worker), $pid, 'the worker has survived all that');

# Memory: the worker may have no more than a little beside what it has.
system_or_bail('prlimit', '--pid', $pid, '--as=' . (1024 * 1024 * 1024));
system_or_bail('prlimit', '--pid', $_, '--as=' . (1024 * 1024 * 1024))
  foreach split /\n/, sql("SELECT pid FROM asynctasq.stat_workers WHERE role = 'app'");
like(failure(sql(q{SELECT asynctasq.dispatch('allocate')})), qr/^53200\|out of memory\|1$/, 'no memory');
sql(q{TRUNCATE effects; SELECT asynctasq.dispatch('single', asynctasq.args('n', 1))});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
is(sql("SELECT count(*) FROM asynctasq.stat_workers WHERE pid = $pid"), 1, 'the worker has survived that too');

# FATAL ends the worker, and costs the attempt
like(failure(sql(q{SELECT asynctasq.dispatch('fatal')})), qr/^57P01\|worker was terminated while it ran the task\|1$/, 'FATAL');

# A chain has no end of its own: pausing its queue ends it.
sql(q{
	CREATE SEQUENCE links;
	CREATE FUNCTION breed() RETURNS void LANGUAGE sql BEGIN ATOMIC
		SELECT nextval('links');
		SELECT asynctasq.dispatch('breed'), asynctasq.dispatch('breed');
	END;
	SELECT asynctasq.register_handler('breed', 'breed()', queue => 'hutch');
	SELECT asynctasq.dispatch('breed')});
wait_for($node, 'shop', 'SELECT last_value > 1000 FROM app.links');
sql(q{TRUNCATE effects; SELECT asynctasq.dispatch('single', asynctasq.args('n', 1))});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
pass('other queues are served while a chain grows');
sql(q{SELECT asynctasq.pause_queue('hutch')});
wait_for($node, 'shop', q{SELECT running = 0 FROM asynctasq.stat_queues WHERE queue = 'hutch'});
my $links = sql('SELECT last_value FROM links');
sql(q{SELECT asynctasq.purge_queue('hutch')});
sql(q{TRUNCATE effects; SELECT asynctasq.dispatch('single', asynctasq.args('n', 1))});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
is(sql('SELECT last_value FROM links'), $links, 'a paused queue\'s chain ends');

$node->stop;
done_testing();
