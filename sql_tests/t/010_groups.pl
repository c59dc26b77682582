# Tasks that share a transaction end as if each had had its own.

use strict;
use warnings;

use AtqTest;
use Test::More;

# Nothing but a full group ends one, and a worker claims ten tasks at first.
my $node = new_cluster(
	'main',
	'asynctasq.group_duration' => '10s',
	'asynctasq.workers_per_lane' => '1',
	'deadlock_timeout' => '10ms');
create_tenant($node, 'shop', 'app', 'other');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

sql(q{
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE effects (
		seq bigserial, n int, xid text DEFAULT pg_current_xact_id()::text,
		at timestamptz DEFAULT now(), note text,
		parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE go (what text);
	CREATE FUNCTION work(n int, what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects (n, note)
			VALUES (n, current_setting('app.left_behind', true));
		CASE what
			WHEN 'fine' THEN NULL;
			WHEN 'error' THEN RAISE EXCEPTION 'no luck with %', n;
			WHEN 'orphan' THEN UPDATE app.effects e SET parent = -1 WHERE e.n = work.n;
			WHEN 'temp' THEN CREATE TEMP TABLE scratch AS SELECT 1 AS one;
			WHEN 'on commit' THEN CREATE TEMP TABLE scratch ON COMMIT DROP AS SELECT 1 AS one;
			WHEN 'setting' THEN PERFORM set_config('app.left_behind', 'setting', false);
			WHEN 'immediate' THEN SET CONSTRAINTS ALL IMMEDIATE;
			WHEN 'late parent' THEN
				UPDATE app.effects e SET parent = work.n WHERE e.n = work.n;
				INSERT INTO app.parents VALUES (work.n);
			WHEN 'prepare' THEN EXECUTE 'PREPARE p AS SELECT 1';
			WHEN 'cursor' THEN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1';
			WHEN 'open cursor' THEN EXECUTE 'DECLARE c CURSOR FOR SELECT 1';
			WHEN 'notify' THEN PERFORM pg_notify('channel', 'news');
			WHEN 'advisory' THEN PERFORM pg_advisory_lock(1);
			WHEN 'no locks' THEN
				IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory') THEN
					RAISE EXCEPTION 'a lock was left behind';
				END IF;
			WHEN 'block', 'blocks' THEN
				FOR i IN 1 .. CASE what WHEN 'block' THEN 1 ELSE 16 END LOOP
					BEGIN
						INSERT INTO app.parents VALUES (100 * work.n + i);
					EXCEPTION WHEN unique_violation THEN NULL;
					END;
				END LOOP;
			WHEN 'sequence' THEN PERFORM nextval('app.effects_seq_seq');
			WHEN 'sleep' THEN PERFORM pg_sleep(3600);
			WHEN 'await' THEN
				WHILE NOT EXISTS (SELECT FROM app.go) LOOP
					PERFORM pg_sleep(0.01);
				END LOOP;
		END CASE;
	END $$;
	SELECT asynctasq.register_handler('work', 'work(int, text)', max_attempts => 1,
		group_size => 5, keep_result => true);});

my $all_done = 'SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues';

# dispatch(@what): tasks 1, 2, .. in one transaction; returns their ids
sub dispatch
{
	my @what = @_;
	my $n = 0;
	my $values = join ', ', map { $n++; "($n, '$_')" } @what;

	return split /\n/, sql(qq{
		TRUNCATE effects, parents, go;
		SELECT asynctasq.dispatch('work', asynctasq.args('n', n, 'what', what))
		FROM (VALUES $values) AS t (n, what) ORDER BY n;});
}

# outcome(): what was done, in order, and with what failures
sub outcome
{
	wait_for($node, 'shop', $all_done);
	my $done = sql(q{SELECT coalesce(string_agg(n::text, ' ' ORDER BY seq), '-') FROM effects});
	my $failed = sql(q{SELECT coalesce(string_agg(format('%s:%s', args ->> 'n', error ->> 'sqlstate'), ' ' ORDER BY id), '-')
		FROM asynctasq.dead_letters});
	sql(q{SELECT asynctasq.purge_queue('default', true)});
	return "$done | $failed";
}

# groups(): the sizes of the groups
sub groups
{
	return sql(q{SELECT string_agg(size::text, ' ' ORDER BY first)
		FROM (SELECT count(*) AS size, min(seq) AS first FROM effects GROUP BY xid) AS g});
}

# A worker that has run something claims more at a time; so each check begins
# with a new one.
sub new_worker
{
	$node->safe_psql('shop', "ALTER SYSTEM SET asynctasq.enabled = off");
	$node->safe_psql('shop', "SELECT pg_reload_conf()");
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
	$node->safe_psql('shop', "ALTER SYSTEM RESET asynctasq.enabled");
	$node->safe_psql('shop', "SELECT pg_reload_conf()");
	return;
}

dispatch(('fine') x 10);
is(outcome(), '1 2 3 4 5 6 7 8 9 10 | -', 'a group does all of its tasks');
is(groups(), '5 5', 'in one transaction each');
is(sql('SELECT count(DISTINCT at) FROM effects'), 10, 'now() is the start of each');
is(sql(q{SELECT count(*) FROM (SELECT at, lag(at) OVER (ORDER BY seq) AS before FROM effects) AS e
	WHERE at < before}), 0, 'and goes forward');

new_worker();
dispatch(qw(fine fine error fine fine), qw(error fine fine fine error));
is(outcome(), '1 2 4 5 7 8 9 | 3:P0001 6:P0001 10:P0001', 'an error hits its own task alone');
is(groups(), '2 2 3', 'those before it in one transaction again');

new_worker();
dispatch('fine', 'fine', 'orphan', 'fine', 'late parent');
is(outcome(), '1 2 4 5 | 3:23503', 'so does a deferred constraint');
is(groups(), '2 2', 'which is checked when its task ends');

# What a transaction's end would have undone.
foreach my $case (
	['temp', 'temporary tables'],
	['on commit', 'temporary tables of a transaction'],
	['prepare', 'prepared statements'],
	['cursor', 'cursors that outlive their transaction'],
	['open cursor', 'cursors'],
	['notify', 'notifications'],
	['advisory', 'locks of the session'],
	['blocks', '16 subtransactions'])
{
	my ($what, $name) = @$case;

	new_worker();
	dispatch($what, $what, 'fine', 'fine', 'fine');
	is(outcome(), '1 2 3 4 5 | -', "$name are not in the next task's way");
	is(groups(), '1 1 3', "$name end the group");
}

new_worker();
dispatch('setting', 'fine', 'sequence', 'fine');
is(outcome(), '1 2 3 4 | -', 'settings and sequences are no reason to end it');
is(groups(), '4', '..');
is(sql('SELECT count(note) FROM effects WHERE note <> $$$$'), 0, 'and a setting is undone');

new_worker();
dispatch('block', 'block', 'block', 'fine');
is(outcome(), '1 2 3 4 | -', 'so are a few subtransactions');
is(groups(), '4', '..');

new_worker();
dispatch('immediate', 'late parent', 'fine');
is(outcome(), '1 2 3 | -', 'SET CONSTRAINTS is undone');
is(groups(), '1 2', 'by the end of the group');

new_worker();
dispatch('fine', 'advisory', 'no locks', 'fine');
is(outcome(), '1 2 3 4 | -', 'a lock of the session is gone for the next task');

# Another isolation level
$node->safe_psql('shop', 'ALTER ROLE app SET default_transaction_isolation = $$repeatable read$$');
new_worker();
dispatch('fine', 'fine', 'fine');
is(outcome(), '1 2 3 | -', 'repeatable read');
is(groups(), '1 1 1', 'has no groups');
$node->safe_psql('shop', 'ALTER ROLE app RESET default_transaction_isolation');

# Timeout
new_worker();
sql(q{SELECT asynctasq.register_handler('work', 'work(int, text)', max_attempts => 1,
	group_size => 5, keep_result => true, timeout => '200 ms')});
dispatch('fine', 'sleep', 'fine');
is(outcome(), '1 3 | 2:57014', 'a timeout hits its own task alone');
sql(q{SELECT asynctasq.register_handler('work', 'work(int, text)', max_attempts => 1,
	group_size => 5, keep_result => true)});

# Cancel of a task that waits for the commit, and of the one under way
new_worker();
my @ids = dispatch('fine', 'fine', 'await');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[2]");
is(sql("SELECT status, attempt FROM asynctasq.task_info($ids[0])"), 'running|1',
	'a task that waits for the commit still runs');
is(sql("SELECT asynctasq.cancel($ids[0])"), 't', 'it can be cancelled');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($ids[0])");
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[2]");
sql('INSERT INTO go VALUES (1)');
is(outcome(), '2 3 | -', 'and the others are done');

new_worker();
@ids = dispatch('fine', 'fine', 'sleep', 'fine');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[2]");
is(sql("SELECT asynctasq.cancel($ids[2])"), 't', 'the task under way can be cancelled');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($ids[2])");
is(outcome(), '1 2 4 | -', 'and the others are done');

new_worker();
@ids = dispatch('fine', 'fine', 'sleep', 'fine');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[2]");
$node->safe_psql('shop', "SELECT pg_cancel_backend(pid) FROM asynctasq.stat_workers WHERE task_id = $ids[2]");
is(outcome(), '1 2 4 | 3:57014', 'pg_cancel_backend is a failure of the task under way');

# wait() does not answer before the commit
new_worker();
@ids = dispatch('fine', 'await');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[1]");
app_fails($node, 'shop', 'app', "SELECT asynctasq.wait($ids[0], '50 ms')", qr/57014.*has not ended/,
	'wait() for a task that waits for the commit');
sql('INSERT INTO go VALUES (1)');
is(sql("SELECT asynctasq.wait($ids[0])"), 'null', 'wait() after it');
is(outcome(), '1 2 | -', 'both are done');

# The end of the worker
new_worker();
@ids = dispatch('fine', 'fine', 'sleep', 'fine');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[2]");
$node->safe_psql('shop', "SELECT pg_terminate_backend(pid) FROM asynctasq.stat_workers WHERE task_id = $ids[2]");
wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($ids[2])");
like(outcome(), qr/^1 2 4 \| 3:57P01$/, 'costs the task under way its attempt, and the others nothing');

# A deadlock between two groups, which single transactions would not have had
foreach my $role ('app', 'other')
{
	app($node, 'shop', $role, q{
		CREATE SEQUENCE meetings;
		CREATE TABLE locked (n int);
		CREATE FUNCTION take(n int, meet boolean) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock(n);
			-- The first time only: both hold their first lock.
			IF meet AND nextval(format('%I.meetings', current_user)) = 1 THEN
				WHILE (SELECT count(*) < 2 FROM pg_locks WHERE locktype = 'advisory' AND granted) LOOP
					PERFORM pg_sleep(0.01);
				END LOOP;
			END IF;
			EXECUTE format('INSERT INTO %I.locked VALUES ($1)', current_user) USING n;
		END $$;});
	app($node, 'shop', $role, qq{SELECT asynctasq.register_handler('take_$role', 'take(int, boolean)',
		max_attempts => 1, group_size => 5)});
}
new_worker();
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch_many('take_app', ARRAY[asynctasq.args('n', 1, 'meet', true), asynctasq.args('n', 2, 'meet', false)])});
app($node, 'shop', 'other', q{SELECT asynctasq.dispatch_many('take_other', ARRAY[asynctasq.args('n', 2, 'meet', true), asynctasq.args('n', 1, 'meet', false)])});
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM app.locked');
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM other.locked');
wait_for($node, 'shop', $all_done);
query_is($node, 'shop', "SELECT count(*) FROM pg_stat_database WHERE datname = 'shop' AND deadlocks > 0", 1,
	'there was a deadlock between two groups');
query_is($node, 'shop', 'SELECT sum(failures), sum(retries) FROM asynctasq.stat_handlers WHERE task LIKE $$take%$$', '0|0',
	'it is no failure of any task');

done_testing();
