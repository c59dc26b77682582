# No handler gains rights that its role does not have: by what it leaves to the
# commit, by what stands in the way of the extension's own names, by signals,
# or by what its role once was.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'asynctasq.workers_per_lane' => '1', 'log_statement' => 'all');
create_tenant($node, 'shop', 'app', 'evil', 'signaller', 'risen');
$node->safe_psql('shop', 'GRANT pg_signal_backend TO signaller');

# run($role, $sql, $options): has a handler execute SQL; returns its task's id
my %made;
sub run
{
	my ($role, $sql, $options) = @_;

	$options //= '';
	$sql =~ s/'/''/g;
	app($node, 'shop', $role, qq{
		CREATE FUNCTION run(command text) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE command; END \$\$;
		CREATE FUNCTION run_all(command text[]) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE command[1]; END \$\$;
		SELECT asynctasq.register_handler('$role single', 'run(text)', max_attempts => 1),
			asynctasq.register_handler('$role group', 'run(text)', max_attempts => 1, group_size => 5),
			asynctasq.register_handler('$role batch', 'run_all(text[])', max_attempts => 1, batch_size => 5);})
	  if !$made{$role}++;
	return app($node, 'shop', $role, qq{SELECT asynctasq.dispatch('$role ' || what, asynctasq.args('command', '$sql')$options)
		FROM unnest('{single,group,batch}'::text[]) AS what});
}

sub wait_until_done
{
	wait_for($node, 'shop', 'SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues');
	return;
}

# What the tasks of a role failed with, for each of the three ways to run.
sub failures
{
	my ($role) = @_;

	wait_until_done();
	my $failures = app($node, 'shop', $role, q{SELECT string_agg(error ->> 'sqlstate', ' ' ORDER BY id) FROM asynctasq.dead_letters});
	app($node, 'shop', $role, q{SELECT asynctasq.purge_queue('default', true)});
	return $failures;
}

# At the commit
app($node, 'shop', 'evil', q{
	CREATE FUNCTION rise() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RESET ROLE;
		RESET SESSION AUTHORIZATION;
		ALTER ROLE evil SUPERUSER;
		RETURN 'risen';
	END $$;
	CREATE FUNCTION rise_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.rise(); RETURN NULL; END $$;
	CREATE TABLE ladder (n int);
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON ladder DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rise_later();
	CREATE FUNCTION hold_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT evil.rise()'; RETURN NULL; END $$;
	CREATE TABLE stool (n int);
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON stool DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_later();});
foreach my $case (
	[ 'a deferred trigger', 'INSERT INTO evil.ladder VALUES (1)', '42501' ],
	[ 'a cursor WITH HOLD', 'DECLARE c CURSOR WITH HOLD FOR SELECT evil.rise()', '42501' ],
	[ 'a cursor WITH HOLD that a deferred trigger leaves', 'INSERT INTO evil.stool VALUES (1)', '42501' ],
	[ 'RESET ROLE', 'RESET ROLE; ALTER ROLE evil SUPERUSER', '42501' ],
	[ 'SET ROLE', 'SET ROLE app', '42501' ],
	[ 'SET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION app', '42501' ],
	[ 'set_config', 'SELECT set_config($$role$$, $$postgres$$, false)', '42501' ],
	[ 'set_config of the session\'s user', 'SELECT set_config($$session_authorization$$, $$postgres$$, true)', '42501' ],
	[ 'LOCK TABLE', 'LOCK TABLE asynctasq.task_unlogged', '42501' ],
	[ 'a look at the tasks', 'SELECT * FROM asynctasq.task_unlogged', '42501' ],
	[ 'a setting that is not its own', 'SET log_min_messages = panic', '42501' ],
	[ 'a library', 'LOAD $$auto_explain$$', '42501' ],
	[ 'COMMIT', 'DO $d$ BEGIN COMMIT; END $d$', '2D000' ])
{
	my ($name, $sql, $sqlstate) = @$case;

	run('evil', $sql);
	is(failures('evil'), "$sqlstate $sqlstate $sqlstate", $name);
}
query_is($node, 'shop', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'evil'}, 'f', 'none of it made a superuser');

# An administrator dispatches to a handler that its owner replaces.
app($node, 'shop', 'app', q{
	CREATE TABLE log (who text);
	GRANT INSERT ON log TO PUBLIC;
	GRANT USAGE ON SCHEMA app TO PUBLIC;});
app($node, 'shop', 'evil', q{
	CREATE FUNCTION innocent() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
	SELECT asynctasq.register_handler('innocent', 'innocent()', max_attempts => 1), asynctasq.pause_queue('default')});
$node->safe_psql('shop', q{SELECT asynctasq.dispatch('innocent')});
app($node, 'shop', 'evil', q{
	CREATE OR REPLACE FUNCTION innocent() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.log VALUES (session_user || ' ' || current_user);
	END $$;
	SELECT asynctasq.resume_queue('default')});
wait_until_done();
query_is($node, 'shop', 'SELECT * FROM app.log', 'evil evil', 'what an administrator dispatches runs as the handler\'s role');

# A role that was, and is no longer, a superuser; and the other way round
app($node, 'shop', 'risen', q{SELECT asynctasq.create_queue('default'); SELECT asynctasq.pause_queue('default')});
run('risen', 'CREATE ROLE made_by_risen');
$node->safe_psql('shop', 'ALTER ROLE risen SUPERUSER');
app($node, 'shop', 'risen', q{SELECT asynctasq.resume_queue('default')});
wait_until_done();
query_is($node, 'shop', q{SELECT count(*) FROM pg_roles WHERE rolname = 'made_by_risen'}, '1', 'a role has the rights that it has when the task runs');
failures('risen');
run('risen', 'SET SESSION AUTHORIZATION app');
is(failures('risen'), '', 'a superuser may become another one');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE role = 'risen'});
$node->safe_psql('shop', 'ALTER ROLE risen NOSUPERUSER');
# one task sees that its role was altered, the next has another worker
run('risen', 'SELECT 1');
wait_until_done();
run('risen', 'SET SESSION AUTHORIZATION app');
is(failures('risen'), '42501 42501 42501', 'who is no superuser any more may not, even where a worker had begun as one');

# Signals
my $launcher = $node->safe_psql('shop', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'asynctasq launcher'});
foreach my $role ('evil', 'signaller')
{
	run($role, "SELECT pg_terminate_backend($launcher)");
	is(failures($role), '42501 42501 42501', "$role may not terminate the launcher");
	run($role, "SELECT pg_cancel_backend($launcher)");
	is(failures($role), '42501 42501 42501', "$role may not cancel the launcher");
}
app($node, 'shop', 'app', q{
	CREATE FUNCTION sleep() RETURNS void LANGUAGE sql RETURN pg_sleep(3600);
	SELECT asynctasq.register_handler('sleep', 'sleep()', max_attempts => 1), asynctasq.dispatch('sleep', queue => 'slow');});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'sleep'});
my $worker = $node->safe_psql('shop', q{SELECT pid FROM asynctasq.stat_workers WHERE task = 'sleep'});
$node->safe_psql('shop', q{GRANT pg_monitor TO evil});
app_fails($node, 'shop', 'evil', "SELECT pg_terminate_backend($worker)", qr/42501/, 'a role terminates the worker of another');
is(app($node, 'shop', 'signaller', "SELECT pg_terminate_backend($worker)"), 't', 'a member of pg_signal_backend may');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE task = 'sleep'});
query_is($node, 'shop', q{SELECT error ->> 'sqlstate' FROM asynctasq.dead_letters WHERE task = 'sleep'}, '57P01', 'which costs the attempt');
$node->safe_psql('shop', q{REVOKE pg_monitor FROM evil});

# A handler that ends itself, and one that ends a sibling of the same role
run('evil', 'SELECT pg_terminate_backend(pg_backend_pid())');
like(failures('evil'), qr/^57P01 57P01 57P01$/, 'a handler that terminates itself has failed');
run('evil', 'SELECT 1');
is(failures('evil'), '', 'and the next one runs');

# Objects in the way of what the extension uses, first in the search path by
# settings of the database, the role, and both.
$node->safe_psql('shop', q{
	CREATE SCHEMA trap;
	GRANT USAGE ON SCHEMA trap TO PUBLIC;
	CREATE TABLE trap.sprung (what text, who text);
	GRANT ALL ON trap.sprung TO PUBLIC;
	CREATE FUNCTION trap.spring(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO trap.sprung VALUES (what, current_user); END;});
# one function and operator of the same name and types for each of pg_catalog
# that has ordinary parameters, in SQL, which records that it was called
$node->safe_psql('shop', q{
	DO $do$
	DECLARE
		f record;
	BEGIN
		FOR f IN
			SELECT proname, oidvectortypes(proargtypes) AS args, format_type(prorettype, NULL) AS result, p.oid
			FROM pg_proc AS p
			WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset AND provariadic = 0
				AND prorettype NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p' AND typname <> 'void')
				AND NOT EXISTS (SELECT FROM unnest(proargtypes) AS t JOIN pg_type ON pg_type.oid = t WHERE typtype = 'p')
				AND (proname ~ '^(pg_has_role|clock_timestamp|pg_get_userbyid|current_database|now|set_config|current_setting|format|to_reg.*|array_.*|jsonb_.*|lower|upper|concat)$'
					OR p.oid IN (SELECT oprcode FROM pg_operator WHERE oprname IN ('=', '<>', '<', '>', '<=', '>=', '-', '+', '/', '||', '->', '->>')
						AND oprleft <> 0))
		LOOP
			EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS %s LANGUAGE sql AS %L', f.proname, f.args, f.result,
				format('SELECT trap.spring(%L); SELECT NULL::%s', f.proname, f.result));
		END LOOP;
		FOR f IN
			SELECT oprname, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r, proname
			FROM pg_operator JOIN pg_proc AS p ON p.oid = oprcode
			WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprname IN ('=', '<>', '<', '>', '<=', '>=', '-', '+', '/', '||', '->', '->>') AND oprleft <> 0
				AND to_regprocedure(format('trap.%I(%s)', proname, oidvectortypes(proargtypes))) IS NOT NULL
		LOOP
			EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trap.%I)', f.oprname, f.l, f.r, f.proname);
		END LOOP;
		FOR f IN SELECT relname FROM pg_class WHERE relnamespace = 'asynctasq'::regnamespace AND relkind IN ('r', 'p', 'v') LOOP
			EXECUTE format('CREATE TABLE trap.%I (id bigint, name text, queue_id int)', f.relname);
		END LOOP;
		CREATE TYPE trap.msgpack AS (x int);
		CREATE DOMAIN trap.regrole AS text CHECK (trap.spring('regrole') IS NULL);
		CREATE DOMAIN trap.timestamptz AS text CHECK (trap.spring('timestamptz') IS NULL);
		CREATE DOMAIN trap.int8 AS text CHECK (trap.spring('int8') IS NULL);
		CREATE DOMAIN trap.jsonb AS text CHECK (trap.spring('jsonb') IS NULL);
		CREATE DOMAIN trap.text AS pg_catalog.text CHECK (trap.spring('text') IS NULL);
	END $do$;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA trap TO PUBLIC;});
cmp_ok($node->safe_psql('shop', q{SELECT count(*) FROM pg_operator WHERE oprnamespace = 'trap'::regnamespace}), '>', 100, 'there are enough traps');
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20) AS n;
	SELECT asynctasq.register_model('User', 'users', on_missing => 'error');
	CREATE FUNCTION greet(u users, us users[], n int, at timestamptz, d jsonb, x numeric DEFAULT 3) RETURNS jsonb LANGUAGE plpgsql
		SET search_path = pg_catalog AS $$ BEGIN IF n < 0 THEN RAISE 'no'; END IF; RETURN to_jsonb(u); END $$;
	CREATE FUNCTION note(task jsonb, error jsonb) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN END $$;
	CREATE FUNCTION ask(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN RETURN true; END $$;
	SELECT asynctasq.register_handler('greet', 'greet(users, users[], int, timestamptz, jsonb, numeric)', keep_result => true, max_attempts => 2,
		retry_delay => '1 ms', should_retry => 'ask(jsonb, jsonb)', on_failure => 'note(jsonb, jsonb)');});
my $everything = q{
	SELECT count(asynctasq.dispatch('greet', m, queue => q, delay => d)) FROM
		(SELECT asynctasq.args('u', u, 'us', (SELECT array_agg(v) FROM app.users AS v), 'n', u.id - 2, 'at', now(), 'd', asynctasq.set(ARRAY[1])) AS m FROM app.users AS u) AS a,
		unnest('{one,two}'::text[]) AS q, unnest(ARRAY['0', '1 ms']::interval[]) AS d;};
app($node, 'shop', 'app', "SELECT asynctasq.create_queue('two', durable => true); $everything");
wait_until_done();
wait_for($node, 'shop', q{SELECT sum(scheduled) = 0 FROM asynctasq.stat_queues WHERE owner = 'app' AND queue IN ('one', 'two')});
my $outcome = q{SELECT status, count(*) FROM (SELECT status FROM asynctasq.result WHERE task = 'greet'
	UNION ALL SELECT 'failed' FROM asynctasq.dead_letter WHERE task = 'greet') AS r GROUP BY status ORDER BY status};
my $expected = "completed|76\nfailed|4";
query_is($node, 'shop', $outcome, $expected, 'without traps');
my $untrapped = '-c search_path=pg_catalog -c statement_timeout=0';
my $sprung = 'SELECT what, who, count(*) FROM trap.sprung GROUP BY 1, 2';
foreach my $for ('DATABASE shop', 'ROLE app')
{
	$node->safe_psql('shop', qq{
		DELETE FROM asynctasq.result; DELETE FROM asynctasq.dead_letter; TRUNCATE trap.sprung;
		ALTER $for SET search_path = trap, pg_temp, pg_catalog;
		ALTER $for SET transform_null_equals = on;
		ALTER $for SET "DateStyle" = 'German';
		ALTER $for SET "TimeZone" = 'Asia/Kathmandu';
		ALTER $for SET "IntervalStyle" = 'iso_8601';
		ALTER $for SET default_transaction_deferrable = on;
		ALTER $for SET lock_timeout = '1ms';
		ALTER $for SET statement_timeout = '1ms';
		ALTER $for SET row_security = off;
		ALTER $for SET standard_conforming_strings = off;
		ALTER $for SET enable_indexscan = off;
		ALTER $for SET work_mem = '64kB';});
	# workers, the scanner and the launcher begin anew
	$node->restart;
	{
		local $ENV{PGOPTIONS} = $untrapped;
		$node->safe_psql('shop', "SET ROLE app; $everything");
		wait_for($node, 'shop', q{SELECT sum(ready + running + scheduled) = 0 FROM asynctasq.stat_queues WHERE owner = 'app' AND queue IN ('one', 'two')});
		query_is($node, 'shop', $outcome, $expected, "ALTER $for: tasks run as ever");
		query_is($node, 'shop', $sprung, '', "ALTER $for: and no trap is sprung");
	}

	# neither in a session that has them, by any of the functions
	my ($status, $stdout, $stderr) = $node->psql('shop', q{
		SET statement_timeout = 0;
		SET ROLE app;
		SELECT asynctasq.create_queue('three'), asynctasq.pause_queue('three');
		SELECT asynctasq.dispatch('greet', '{}', queue => 'three'::pg_catalog.text) AS id \gset
		SELECT asynctasq.task_info(:id), asynctasq.result(:id), asynctasq.cancel(:id);
		SELECT asynctasq.wait(0), asynctasq.retry(0);
		SELECT asynctasq.register_model('Two', 'app.users'), asynctasq.unregister_model('Two');
		SELECT asynctasq.register_handler('h', 'app.greet(app.users, app.users[], pg_catalog.int4, pg_catalog.timestamptz, pg_catalog.jsonb, pg_catalog.numeric)');
		SELECT asynctasq.grant_dispatch('h', 'evil'), asynctasq.revoke_dispatch('h', 'evil'), asynctasq.unregister_handler('h');
		SELECT pg_catalog.count(*) FROM asynctasq.tasks;
		SELECT pg_catalog.count(*) FROM asynctasq.dead_letters;
		SELECT pg_catalog.count(*) FROM asynctasq.stat_queues;
		SELECT pg_catalog.count(*) FROM asynctasq.stat_workers;
		SELECT pg_catalog.count(*) FROM asynctasq.stat_handlers;
		SELECT asynctasq.fetch(asynctasq.ref('User'::pg_catalog.text, 1));
		SELECT asynctasq.resume_queue('three'), asynctasq.drain('three'), asynctasq.purge_queue('three', true), asynctasq.drop_queue('three');},
		on_error_stop => 1);
	is($stderr, '', "ALTER $for: in a session nothing is in the way");
	local $ENV{PGOPTIONS} = $untrapped;
	query_is($node, 'shop', $sprung, '', "ALTER $for: nor sprung");
	$node->safe_psql('shop', "ALTER $for RESET ALL");
}

# What a task was given is in no log and no one else's sight.
app($node, 'shop', 'app', q{
	CREATE FUNCTION number(n int) RETURNS void LANGUAGE sql AS '';
	CREATE FUNCTION refuse(x text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
	SELECT asynctasq.register_handler('number', 'number(int)', max_attempts => 1), asynctasq.register_handler('refuse', 'refuse(text)', max_attempts => 1)});
my $offset = -s $node->logfile;
# the bytes, so that the client's own statement in the log does not show it
$node->safe_psql('shop', q{
	SELECT convert_from('\x63616e6172792d37', 'UTF8') AS canary \gset
	SET log_statement = 'none';
	SET ROLE app;
	SELECT asynctasq.dispatch('number', asynctasq.args('n', :'canary'::text)), asynctasq.dispatch('sleep', asynctasq.args('x', :'canary'::text)),
		asynctasq.dispatch('refuse', asynctasq.args('x', :'canary'::text));});
wait_for($node, 'shop', q{SELECT count(*) = 3 FROM asynctasq.dead_letters WHERE task IN ('number', 'sleep', 'refuse') AND args::text ~ 'canary'});
$node->safe_psql('shop', q{SELECT asynctasq.dispatch('number', '{"n": 1}')});
unlike(slurp_file($node->logfile, $offset), qr/canary-7/, 'arguments are not in the log');
is(app($node, 'shop', 'evil', q{SELECT count(*) FROM asynctasq.dead_letters}), 0, 'nor in the sight of another role');
$node->safe_psql('shop', q{GRANT pg_monitor TO evil});
is(app($node, 'shop', 'evil', q{SELECT count(*) FROM asynctasq.dead_letters WHERE args IS NOT NULL}), 0, 'nor of one that watches');

$node->stop;
done_testing();
