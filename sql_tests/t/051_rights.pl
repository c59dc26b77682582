# No handler gains rights that its role does not have: by what it leaves to the
# commit, by signals, or by what its role once was.

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
	CREATE PROCEDURE commit_here() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
	CREATE PROCEDURE roll_back_here() LANGUAGE plpgsql AS $$ BEGIN ROLLBACK; END $$;
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
	[ 'libraries of a session', 'SET session_preload_libraries = $$auto_explain$$', '42501' ],
	[ 'COMMIT', 'DO $d$ BEGIN COMMIT; END $d$', '2D000' ],
	[ 'ROLLBACK', 'DO $d$ BEGIN ROLLBACK; END $d$', '2D000' ],
	[ 'a procedure that commits', 'CALL evil.commit_here()', '2D000' ],
	[ 'a procedure that rolls back', 'CALL evil.roll_back_here()', '2D000' ])
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
foreach my $role ('evil', 'signaller')
{
	app_fails($node, 'shop', $role, "SELECT pg_${_}_backend($launcher)", qr/42501/, "$role, as a client: ${_}_backend of the launcher")
	  foreach ('terminate', 'cancel');
}
is(app($node, 'shop', 'signaller', "SELECT pg_terminate_backend($worker)"), 't', 'a member of pg_signal_backend may');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE task = 'sleep'});
query_is($node, 'shop', q{SELECT error ->> 'sqlstate' FROM asynctasq.dead_letters WHERE task = 'sleep'}, '57P01', 'which costs the attempt');
$node->safe_psql('shop', q{REVOKE pg_monitor FROM evil});
# so may a client whose role it is; one of a superuser is out of reach
my $sleeps = q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'sleep' AND role = };
app($node, 'shop', 'app', q{SELECT asynctasq.purge_queue('slow', true), asynctasq.dispatch('sleep', queue => 'slow')});
wait_for($node, 'shop', "$sleeps 'app'");
is(app($node, 'shop', 'app', q{SELECT pg_terminate_backend(pid) FROM asynctasq.stat_workers WHERE task = 'sleep'}), 't', 'a client ends a worker of its own role');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE task = 'sleep' AND error ->> 'sqlstate' = '57P01'});
$node->safe_psql('shop', q{ALTER ROLE risen SUPERUSER});
app($node, 'shop', 'risen', q{
	SELECT asynctasq.register_handler('long', 'app.sleep()', max_attempts => 1), asynctasq.dispatch('long', queue => 'slow')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'long'});
$worker = $node->safe_psql('shop', q{SELECT pid FROM asynctasq.stat_workers WHERE task = 'long'});
app_fails($node, 'shop', $_, "SELECT pg_terminate_backend($worker)", qr/42501/, "$_ terminates the worker of a superuser")
  foreach ('evil', 'signaller');
$node->safe_psql('shop', q{SELECT asynctasq.cancel(task_id) FROM asynctasq.stat_workers WHERE task = 'long'});
wait_until_done();
$node->safe_psql('shop', q{ALTER ROLE risen NOSUPERUSER});

# The worker of a superuser
$node->safe_psql('shop', 'ALTER ROLE risen SUPERUSER');
my $asleep = app($node, 'shop', 'risen', q{
	CREATE FUNCTION sleep() RETURNS void LANGUAGE sql RETURN pg_sleep(3600);
	SELECT asynctasq.register_handler('risen sleep', 'risen.sleep()', max_attempts => 1);
	SELECT asynctasq.dispatch('risen sleep')});
$asleep = (split /\n/, $asleep)[-1];
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $asleep");
$worker = $node->safe_psql('shop', "SELECT pid FROM asynctasq.stat_workers WHERE task_id = $asleep");
app_fails($node, 'shop', 'signaller', "SELECT pg_${_}_backend($worker)", qr/42501/, "a member of pg_signal_backend, pg_${_}_backend() of a superuser's worker")
  foreach ('terminate', 'cancel');
$node->safe_psql('shop', "SELECT asynctasq.cancel($asleep)");
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($asleep)");
$node->safe_psql('shop', 'ALTER ROLE risen NOSUPERUSER');

# A handler that ends itself
run('evil', 'SELECT pg_terminate_backend(pg_backend_pid())');
like(failures('evil'), qr/^57P01 57P01 57P01$/, 'a handler that terminates itself has failed');
run('evil', 'SELECT 1');
is(failures('evil'), '', 'and the next one runs');

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
# nor where all can look, while such a task runs
app($node, 'shop', 'app', q{
	CREATE FUNCTION nap(x text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); END $$;
	SELECT asynctasq.register_handler('nap', 'nap(text)', max_attempts => 1)});
$node->safe_psql('shop', q{
	SELECT convert_from('\x63616e6172792d37', 'UTF8') AS canary \gset
	SET log_statement = 'none';
	SET ROLE app;
	SELECT asynctasq.dispatch('nap', asynctasq.args('x', :'canary'::text));});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'nap'});
query_is($node, 'shop', q{SELECT count(*) FROM pg_stat_activity AS a WHERE a::text ~ convert_from('\x63616e6172792d37', 'UTF8')}, '0', 'nor in pg_stat_activity');
my $slots = q{SELECT count(*) FROM asynctasq.worker_slots() WHERE role = 'app'::regrole AND task = 'nap'};
is(app($node, 'shop', 'app', $slots), '1', 'a role sees its worker');
is(app($node, 'shop', 'evil', $slots), '0', 'another one does not');
app($node, 'shop', 'app', q{SELECT asynctasq.cancel(id) FROM asynctasq.tasks WHERE task = 'nap'});
wait_until_done();
unlike(slurp_file($node->logfile, $offset), qr/canary-7/, 'arguments are not in the log');
is(app($node, 'shop', 'evil', q{SELECT count(*) FROM asynctasq.dead_letters}), 0, 'nor in the sight of another role');
$node->safe_psql('shop', q{GRANT pg_monitor TO evil});
is(app($node, 'shop', 'evil', q{SELECT count(*) FROM asynctasq.dead_letters WHERE args IS NOT NULL}), 0, 'nor of one that watches');

$node->stop;
done_testing();
