# What tasks belong to goes away: their role, their function, the extension, by
# their own doing too; and what was prepared in one session ends in another.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'asynctasq.sweep_interval' => '1s',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.max_workers' => '6',
	'max_worker_processes' => '16',
	'max_prepared_transactions' => '5');

sub register
{
	my ($role) = @_;

	app($node, 'shop', $role, qq{
		CREATE TABLE log (who name, what text);
		CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql
			BEGIN ATOMIC INSERT INTO log VALUES (session_user, what); END;
		SELECT asynctasq.register_handler('${role}_note', 'note(text)');
		SELECT asynctasq.create_queue('safe', durable => true);});
	return;
}

sub dispatch
{
	my ($role, $what) = @_;

	return app($node, 'shop', $role,
		"SELECT asynctasq.dispatch('${role}_note', asynctasq.args('what', '$what'), queue => 'safe')");
}

sub runs
{
	my ($role, $what) = @_;

	dispatch($role, $what);
	wait_for($node, 'shop', "SELECT count(*) = 1 FROM $role.log WHERE what = '$what'");
	return;
}

# Prepared in one session, ended in another, with a crash in between.
create_tenant($node, 'shop', 'app', 'gone', 'heir');
register($_) foreach ('app', 'gone', 'heir');
foreach my $way ('committed', 'rolled back', 'committed after a crash')
{
	app($node, 'shop', 'app', qq{
		BEGIN;
		SELECT asynctasq.dispatch('app_note', asynctasq.args('what', '$way'), queue => 'safe');
		SELECT asynctasq.dispatch('app_note', asynctasq.args('what', '$way later'), queue => 'safe',
			delay => '1 ms');
		PREPARE TRANSACTION '$way';});
	runs('app', "beside $way");
}
query_is($node, 'shop', q{SELECT string_agg(what, ',' ORDER BY what) FROM app.log},
	'beside committed,beside committed after a crash,beside rolled back',
	'what is prepared does not run');
$node->safe_psql('shop', q{COMMIT PREPARED 'committed'});
wait_for($node, 'shop', q{SELECT count(*) = 2 FROM app.log WHERE what LIKE 'committed%'});
pass('what another session commits runs');
$node->stop('immediate');
$node->start;
query_is($node, 'shop', 'SELECT count(*) FROM pg_prepared_xacts',
	'2', 'what is prepared survives a crash');
$node->safe_psql('shop', q{ROLLBACK PREPARED 'rolled back'});
$node->safe_psql('shop', q{COMMIT PREPARED 'committed after a crash'});
wait_for($node, 'shop',
	q{SELECT count(*) = 2 FROM app.log WHERE what LIKE 'committed after a crash%'});
runs('app', 'last');
query_is($node, 'shop', q{SELECT count(*) FROM app.log WHERE what LIKE 'rolled back%'},
	'0', 'what another session rolls back does not');

# DROP EXTENSION that is prepared: no worker runs, none is in the way.
$node->safe_psql('shop', q{BEGIN; DROP EXTENSION asynctasq CASCADE; PREPARE TRANSACTION 'drop'});
$node->safe_psql('shop', q{ROLLBACK PREPARED 'drop'});
runs('app', 'after the prepared drop');
pass('a prepared DROP EXTENSION is rolled back');

# A default of read-only transactions is for others.
$node->safe_psql('postgres', 'ALTER DATABASE shop SET default_transaction_read_only = on');
$node->safe_psql('postgres', 'ALTER ROLE app SET default_transaction_read_only = on');
$node->safe_psql('shop', q{
	SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
	WHERE backend_type = 'asynctasq worker'});
app_fails($node, 'shop', 'app', q{SELECT asynctasq.dispatch('app_note')},
	qr/ERROR:  25006/, 'dispatch() in a read-only transaction');
app($node, 'shop', 'app', q{
	SET default_transaction_read_only = off;
	SELECT asynctasq.dispatch('app_note', asynctasq.args('what', 'written'))});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.log WHERE what = 'written'});
pass('workers write in a database whose default is read-only');
$node->safe_psql('postgres', q{
	ALTER ROLE app RESET ALL;
	SET default_transaction_read_only = off;
	ALTER DATABASE shop RESET ALL;});

# A handler's function goes to another owner, or away with its owner's things.
$node->safe_psql('shop', 'CREATE ROLE other; REASSIGN OWNED BY gone TO other; GRANT gone TO other; GRANT ALL ON SCHEMA gone TO gone; GRANT ALL ON gone.log TO gone');
runs('gone', 'reassigned');
query_is($node, 'shop', q{SELECT who FROM gone.log},
	'gone', 'a reassigned function runs as the role of its handler');
my $before = dispatch('gone', 'before');
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM gone.log');
$node->safe_psql('shop', 'DROP OWNED BY other CASCADE');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.dispatch('gone_note')},
	qr/ERROR:  42501/, 'DROP OWNED gives nobody rights');
my $id = dispatch('gone', 'without function');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.dead_letter WHERE id = $id");
query_is($node, 'shop', "SELECT error ->> 'sqlstate' FROM asynctasq.dead_letter WHERE id = $id",
	'42883', 'the function is gone: a dead letter');

# The role goes, with tasks that wait, and comes again as another one.
app($node, 'shop', 'gone', q{SELECT asynctasq.pause_queue('safe')});
$node->safe_psql('shop', 'CREATE SCHEMA IF NOT EXISTS gone AUTHORIZATION gone; GRANT USAGE ON SCHEMA asynctasq TO gone');
app($node, 'shop', 'gone', q{
	CREATE TABLE gone.log (who name, what text);
	CREATE FUNCTION gone.note(what text) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO gone.log VALUES (session_user, what); END;});
dispatch('gone', $_) foreach (1 .. 3);
app($node, 'shop', 'gone', q{
	SELECT asynctasq.dispatch('gone_note', asynctasq.args('what', 'due'), delay => '1 s')});
$node->safe_psql('shop', 'DROP OWNED BY gone CASCADE');
$node->safe_psql('shop', 'DROP ROLE gone');
$node->safe_psql('shop', 'UPDATE asynctasq.queue SET paused = false WHERE owner NOT IN (SELECT oid FROM pg_roles)');
$node->wait_for_log(qr/LOG:  tasks of role \d+ in database \d+ do not run: the role does not exist/);
runs('heir', 'meanwhile');
my $launcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'asynctasq launcher'};
$node->restart;
my $offset = -s $node->logfile;
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM ($launcher) AS l");
my $pid = $node->safe_psql('postgres', $launcher);
runs('heir', 'after the restart');
runs('app', 'after the restart');
query_is($node, 'postgres', $launcher, $pid, 'other roles go on, with the same launcher');
unlike(slurp_file($node->logfile, $offset), qr/"asynctasq launcher" \(PID \d+\) (?:exited|was terminated)/,
	'which has not ended');
$node->safe_psql('shop', q{
	CREATE ROLE gone LOGIN SUPERUSER;
	CREATE SCHEMA gone AUTHORIZATION gone;
	CREATE TABLE gone.log (who name, what text);
	CREATE FUNCTION gone.note(what text) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO gone.log VALUES (session_user, what); END;});
app_fails($node, 'shop', 'app', q{SELECT asynctasq.dispatch('gone_note')},
	qr/ERROR:  42501/, 'a role of the same name gives nobody rights');
app($node, 'shop', 'gone', q{
	SELECT asynctasq.unregister_handler('gone_note');
	SELECT asynctasq.register_handler('gone_note', 'gone.note(text)');
	SELECT asynctasq.create_queue('safe', durable => true);});
runs('gone', 'new');
$node->restart;
runs('gone', 'newer');
query_is($node, 'shop', q{SELECT string_agg(what, ',' ORDER BY what) FROM gone.log},
	'new,newer', 'a new role of the same name does not run the tasks of the old one');
query_is($node, 'shop', q{SELECT count(*) FROM asynctasq.task WHERE durable},
	'3', 'which stay');

# Handlers that pull the ground from under themselves.
$node->safe_psql('shop', q{
	CREATE ROLE suicide LOGIN SUPERUSER;
	CREATE SCHEMA suicide AUTHORIZATION suicide;
	SET ROLE suicide;
	CREATE FUNCTION suicide.run(what text) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN EXECUTE what; END $$;
	SELECT asynctasq.register_handler('run', 'suicide.run(text)', max_attempts => 2,
		retry_delay => '1 ms', keep_result => true);
	SELECT asynctasq.create_queue('safe', durable => true);});

sub commits_suicide
{
	my ($what) = @_;

	return app($node, 'shop', 'suicide',
		"SELECT asynctasq.dispatch('run', asynctasq.args('what', '$what'), queue => 'safe')");
}

$id = commits_suicide('DROP FUNCTION suicide.run(text)');
wait_for($node, 'shop', q{SELECT to_regprocedure('suicide.run(text)') IS NULL});
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.task WHERE task = 'run'});
query_is($node, 'shop', "SELECT status FROM asynctasq.task_info($id)",
	'completed', 'a handler drops its own function');
$node->safe_psql('shop', q{
	CREATE FUNCTION suicide.run(what text) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN EXECUTE what; END $$});
$id = commits_suicide('DROP ROLE suicide');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.dead_letter WHERE id = $id");
query_is($node, 'shop', "SELECT error ->> 'sqlstate' FROM asynctasq.dead_letter WHERE id = $id",
	'55006', 'a handler cannot drop its own role');
$id = commits_suicide('DROP EXTENSION asynctasq CASCADE');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.dead_letter WHERE id = $id");
query_is($node, 'shop', "SELECT error ->> 'sqlstate' FROM asynctasq.dead_letter WHERE id = $id",
	'55000', 'nor the extension, when its result is to be kept');
$node->safe_psql('shop', q{
	SET ROLE suicide;
	SELECT asynctasq.register_handler('run', 'suicide.run(text)')});
commits_suicide('DROP EXTENSION asynctasq CASCADE');
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM pg_extension WHERE extname = 'asynctasq'});
wait_for($node, 'postgres',
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'asynctasq worker'});
pass('a handler drops the extension');

# Two of them at once: one of them wins.
$node->safe_psql('shop', q{CREATE EXTENSION asynctasq});
$node->safe_psql('shop', q{
	SET ROLE suicide;
	SELECT asynctasq.register_handler('run', 'suicide.run(text)', max_attempts => 2,
		retry_delay => '1 ms')});
my $gate = $node->background_psql('shop');
$gate->query_safe('SELECT pg_advisory_lock(42)');
$node->append_conf('postgresql.conf', "deadlock_timeout = '100ms'");
$node->reload;
app($node, 'shop', 'suicide', q{
	SELECT asynctasq.dispatch('run', asynctasq.args('what',
		'SELECT pg_advisory_xact_lock_shared(42); DROP EXTENSION asynctasq CASCADE'))
	FROM generate_series(1, 2)});
wait_for_held($node, 2);
$gate->quit;
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM pg_extension WHERE extname = 'asynctasq'});
wait_for($node, 'postgres',
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'asynctasq worker'});
pass('two handlers drop the extension');
$node->safe_psql('shop', 'CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app');
app($node, 'shop', 'app', q{
	SELECT asynctasq.register_handler('app_note', 'note(text)');
	SELECT asynctasq.create_queue('safe', durable => true);});
runs('app', 'at last');

unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal|TRAP:/, 'no crash');
my $log = slurp_file($node->logfile);
my %errors;
$errors{$_}++ foreach $log =~ /^\S+ \S+ \S+ \[\d+\] ((?:ERROR|FATAL): .*)$/mg;
is_deeply([ grep { $errors{$_} > 3 && !/administrator command/ } sort keys %errors ],
	[], 'no process of ours repeats an error');

$node->stop;
done_testing();
