# Each task finds the session as the first one found it, whatever the one
# before has done to it: by itself, in a group, in a batch, after an error, and
# whatever should_retry and on_failure have done.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster(
	'main',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.group_duration' => '10s');
create_tenant($node, 'shop', 'app', 'team');
$node->safe_psql('shop', 'GRANT team TO app; GRANT USAGE ON SCHEMA app TO team');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

# What a task can see of its session.
sql(q{
	CREATE SEQUENCE numbers;
	CREATE TABLE seen (seq bigserial, who text, pid int DEFAULT pg_backend_pid(), what text);
	GRANT ALL ON ALL TABLES IN SCHEMA app TO PUBLIC;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA app TO PUBLIC;
	CREATE FUNCTION session() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		last bigint;
		current bigint;
	BEGIN
		BEGIN
			last := lastval();
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			NULL;
		END;
		BEGIN
			current := currval('app.numbers');
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			NULL;
		END;
		RETURN concat_ws(' ', 'user', session_user, current_user,
			'settings', (SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
				WHERE source = 'session' AND name NOT IN ('application_name', 'synchronous_commit')),
			-- empty when it has been set, see below
			nullif(current_setting('app.left', true), ''),
			'cursors', (SELECT count(*) FROM pg_cursors WHERE name !~ '^<unnamed'),
			'statements', (SELECT count(*) FROM pg_prepared_statements),
			'temporary', (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
			(SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()),
			'locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
			'sequences', last, current,
			'constraints', current_setting('transaction_isolation'));
	END $$;
	CREATE FUNCTION note(whose text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		found text := app.session();
	BEGIN
		INSERT INTO app.seen (who, what) VALUES (whose, found);
	END $$;
	CREATE FUNCTION work(command text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.note(command);
		EXECUTE command;
	END $$;
	CREATE FUNCTION work_all(command text[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.work(c) FROM unnest(command) AS c WHERE array_length(command, 1) = 1;
		IF array_length(command, 1) > 1 THEN
			-- taken in what will be rolled back
			PERFORM pg_advisory_lock(9);
			RAISE EXCEPTION 'one at a time';
		END IF;
	END $$;
	CREATE FUNCTION fail_later(command text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.note('failing');
		RAISE EXCEPTION 'no luck';
	END $$;
	CREATE FUNCTION do_it(task jsonb, error jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.note('on_failure');
		EXECUTE task -> 'args' ->> 'command';
	END $$;
	CREATE FUNCTION ask_it(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.note('should_retry');
		EXECUTE task -> 'args' ->> 'command';
		RETURN false;
	END $$;
	CREATE FUNCTION look() RETURNS void LANGUAGE sql RETURN note('look');
	CREATE FUNCTION remains() RETURNS text LANGUAGE sql
		RETURN coalesce(current_setting('app.left', true), 'missing') || ', temporary schema: ' || (pg_my_temp_schema() <> 0);
	SELECT asynctasq.register_handler('single', 'work(text)', max_attempts => 1),
		asynctasq.register_handler('group', 'work(text)', max_attempts => 1, group_size => 5),
		asynctasq.register_handler('batch', 'work_all(text[])', max_attempts => 1, batch_size => 5),
		asynctasq.register_handler('asking', 'fail_later(text)', max_attempts => 2,
			should_retry => 'ask_it(jsonb, jsonb)', on_failure => 'do_it(jsonb, jsonb)'),
		asynctasq.register_handler('look', 'look()'),
		asynctasq.register_handler('remains', 'remains()', keep_result => true);});

sub wait_until_done
{
	wait_for($node, 'shop',
		"SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues WHERE owner = 'app'");
	return;
}

sub remains
{
	return sql(q{SELECT asynctasq.dispatch('remains') AS id \gset
		SELECT asynctasq.wait(:id) #>> '{}'});
}

sql(q{SELECT asynctasq.dispatch('look')});
wait_until_done();
is(remains(), 'missing, temporary schema: false', 'the first task finds no setting and no temporary schema');
my $pristine = sql('SELECT what FROM seen');
like($pristine, qr/^user app app settings default_transaction_read_only=off cursors 0 statements 0 temporary 0 0 locks 0 sequences constraints read committed$/,
	'the first task finds an empty session');

my @commands = (
	'SET work_mem = $$7MB$$',
	'SELECT set_config($$app.left$$, $$behind$$, false), set_config($$work_mem$$, $$7MB$$, true)',
	'SET ROLE team',
	'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE',
	'SET LOCAL search_path = team',
	'CREATE TEMP TABLE t AS SELECT 1 AS n',
	'CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS n',
	'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql RETURN 1',
	'PREPARE p AS SELECT 1',
	'DECLARE c CURSOR WITH HOLD FOR SELECT 1',
	'DECLARE c CURSOR FOR SELECT 1',
	'SELECT pg_advisory_lock(1)',
	'SELECT pg_try_advisory_lock_shared(1, 2), pg_advisory_xact_lock(3)',
	'SELECT nextval($$app.numbers$$)',
	'SELECT set_config($$transaction_read_only$$, $$on$$, true)',
	'SET CONSTRAINTS ALL DEFERRED',
	# all that survives a rollback
	'DO $d$ BEGIN PERFORM pg_advisory_lock(1), nextval($$app.numbers$$); EXECUTE $$PREPARE p AS SELECT 1$$; RAISE EXCEPTION $$x$$; END $d$',
	'DO $d$ BEGIN BEGIN PERFORM pg_advisory_lock(1); RAISE EXCEPTION $$x$$; EXCEPTION WHEN OTHERS THEN END; END $d$');

foreach my $handler ('single', 'group', 'batch', 'asking')
{
	sql('TRUNCATE seen');
	# each command twice, because leaving something is one thing and finding
	# it in the way is another
	sql(join '', map { my $c = $_; $c =~ s/'/''/g;
		("SELECT asynctasq.dispatch('$handler', asynctasq.args('command', '$c'));") x 2 } @commands);
	sql(q{SELECT asynctasq.dispatch('look')});
	wait_until_done();
	is( sql('SELECT string_agg(who || $$: $$ || what, chr(10) ORDER BY seq) FROM seen WHERE what <> ' . "'$pristine'"),
		'', "$handler: each task finds an empty session");
	is(sql("SELECT count(DISTINCT pid) FROM seen"), 1, "$handler: all in one process");
	is( sql(q{SELECT string_agg(DISTINCT error ->> 'message', ', ') FROM asynctasq.dead_letters}),
		$handler eq 'asking' ? 'no luck' : 'x', "$handler: nothing was in the way of the second");
	sql(q{SELECT asynctasq.purge_queue('default', true)});
}

# What PostgreSQL itself does not wipe
is( remains(), sql(q{
	CREATE TEMP TABLE t (n int); \o /dev/null
	SELECT set_config('app.left', 'behind', false); \o
	DISCARD ALL; SELECT app.remains()}),
	'what DISCARD ALL leaves is left');
is(remains(), ', temporary schema: true', 'which is an empty setting and a temporary schema');

# One that had an error in a group has it again by itself, not another one.
sql(q{
	TRUNCATE seen;
	BEGIN;
	SELECT asynctasq.dispatch('group', asynctasq.args('command', 'SELECT 1'));
	SELECT asynctasq.dispatch('group', asynctasq.args('command', 'DO $d$ BEGIN EXECUTE $$PREPARE p AS SELECT 1$$; RAISE EXCEPTION $$x$$; END $d$'));
	COMMIT;});
wait_until_done();
is(sql(q{SELECT error ->> 'message' FROM asynctasq.dead_letters}), 'x', 'what a rolled back group has left is gone when it runs again');
sql(q{SELECT asynctasq.purge_queue('default', true)});

# random() is not the last task's to choose.
foreach my $handler ('single', 'group')
{
	sql(qq{
		TRUNCATE seen;
		BEGIN;
		SELECT asynctasq.dispatch('$handler', asynctasq.args('command', 'SELECT setseed(0.5)'));
		SELECT asynctasq.dispatch('$handler', asynctasq.args('command', 'INSERT INTO app.seen (who, what) SELECT \$\$random\$\$, random()'));
		COMMIT;});
	wait_until_done();
	is( sql(q{SELECT setseed(0.5); SELECT count(*) FROM seen WHERE who = 'random' AND what <> random()::text}),
		"\n1", "$handler: setseed() is forgotten");
}

# A role that a handler has taken is not the next one's; neither is the one
# that the session begins with.
$ENV{PGOPTIONS} = '-c role=none';
my $before = $node->safe_psql('shop', q{SELECT pid FROM asynctasq.stat_workers WHERE role = 'app'});
$node->safe_psql('shop', q{
	ALTER ROLE app SET role = team;
	ALTER DATABASE shop SET role = team;
	ALTER ROLE app CONNECTION LIMIT 0;
	TRUNCATE app.seen;
	SELECT asynctasq.dispatch('look')});
wait_until_done();
query_is($node, 'shop', qq{SELECT substr(what, 1, 12), pid <> $before FROM app.seen}, 'user app app|t',
	'a worker leaves when its role is altered, and the next one runs as that role, whatever ALTER ROLE SET role says');
$node->safe_psql('shop', 'ALTER ROLE app RESET role; ALTER ROLE app CONNECTION LIMIT -1; ALTER DATABASE shop RESET role');
delete $ENV{PGOPTIONS};

# Recycling
sql('TRUNCATE seen');
$node->safe_psql('shop', 'ALTER SYSTEM SET asynctasq.worker_max_tasks = 100');
$node->safe_psql('shop', 'SELECT pg_reload_conf()');
sql(q{SELECT count(asynctasq.dispatch('single', asynctasq.args('command', 'SELECT ' || n))) FROM generate_series(1, 2000) AS n});
wait_until_done();
is(sql('SELECT count(*), count(DISTINCT who) FROM seen'), '2000|2000', 'workers that are replaced lose no task and run none twice');
is(sql('SELECT count(DISTINCT pid) >= 19, max(n) <= 110 FROM (SELECT pid, count(*) AS n FROM seen GROUP BY pid) AS p'), 't|t',
	'each runs about worker_max_tasks of them');
$node->stop;
done_testing();
