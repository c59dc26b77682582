# The main job: a task dispatched in SQL is run by a background worker, as the
# handler's role, with the fresh row, after the commit and not before.  No sweep
# looks for tasks here: whatever runs was announced.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $workers = "FROM pg_stat_activity WHERE backend_type = 'asynctasq worker'";
my $node = new_cluster(
	'main',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.sweep_interval' => '1d',
	'log_min_messages' => 'debug1');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT n, 'before' FROM generate_series(1, 9) AS n;
	CREATE TABLE log (id bigint, who name, name text);
	CREATE FUNCTION greet("user" users) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.log VALUES ((asynctasq.current_task()).id, session_user, "user".name);
		RETURN 'hello ' || "user".name;
	END $$;
	CREATE FUNCTION hold(key int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(key);
	END $$;
	SELECT asynctasq.register_handler('greet', 'greet(users)', keep_result => true);
	SELECT asynctasq.register_handler('hold', 'hold(int)');});

# The row changes between dispatch and commit.
my $id = app($node, 'shop', 'app', q{
	BEGIN;
	SELECT asynctasq.dispatch('greet', asynctasq.args('user', u)) FROM users AS u WHERE id = 1;
	UPDATE users SET name = 'after' WHERE id = 1;
	COMMIT;});
wait_for($node, 'shop', "SELECT count(*) = 1 FROM app.log");
query_is($node, 'shop', 'SELECT id, who, name FROM app.log',
	"$id|app|after", 'ran once, as its role, with the committed row');
is( app($node, 'shop', 'app', "SELECT asynctasq.result($id)"),
	'"hello after"', 'its result was kept');
is( app($node, 'shop', 'app',
		"SELECT status, attempt FROM asynctasq.task_info($id)"),
	'completed|1', 'it is completed');

# Arguments too large for a page, and not to be compressed.
$id = app($node, 'shop', 'app', q{
	CREATE FUNCTION measure(text text) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT length(text); END;
	SELECT asynctasq.register_handler('measure', 'measure(text)', keep_result => true) \gset ignored_
	SELECT asynctasq.dispatch('measure', asynctasq.args('text',
		(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 10000) AS n)))
	FROM generate_series(1, 3);});
$id = (split /\n/, $id)[-1];
is(app($node, 'shop', 'app', "SELECT asynctasq.wait($id)"), '320000', 'large arguments arrive');

# Nothing runs before the commit, while other tasks do.
my $session =
  $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
$session->query_safe('BEGIN');
my $early = $session->query_safe(q{
	SELECT asynctasq.dispatch('greet', asynctasq.args('user', u)) FROM users AS u WHERE id = 2});
my $late = app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('greet', asynctasq.args('user', u)) FROM users AS u WHERE id = 3});
wait_for($node, 'shop', "SELECT EXISTS (SELECT FROM app.log WHERE id = $late)");
query_is($node, 'shop', "SELECT count(*) FROM app.log WHERE id = $early",
	'0', 'a task does not run before its commit');
$session->query_safe('COMMIT');
wait_for($node, 'shop', "SELECT EXISTS (SELECT FROM app.log WHERE id = $early)");
query_is($node, 'shop', 'SELECT count(*) FROM app.log',
	'3', 'a task that commits after a later one runs too');

# What is running shows.
$session->query_safe('SELECT pg_advisory_lock(42)');
$id = app($node, 'shop', 'app',
	q{SELECT asynctasq.dispatch('hold', asynctasq.args('key', 42))});
wait_for($node, 'shop',
	"SELECT count(*) = 1 $workers AND wait_event = 'advisory'");
like(
	$node->safe_psql('shop',
		"SELECT usename, datname, application_name, query $workers AND wait_event = 'advisory'"
	),
	qr/^app\|shop\|asynctasq.*$id.*hold|^app\|shop\|asynctasq.*hold.*$id/,
	'pg_stat_activity shows role, database, task and handler');
is( app($node, 'shop', 'app',
		"SELECT role, task, task_id FROM asynctasq.stat_workers WHERE task_id IS NOT NULL"
	),
	"app|hold|$id",
	'stat_workers shows the running task');
is( app($node, 'shop', 'app', "SELECT status FROM asynctasq.task_info($id)"),
	'running', 'task_info shows that it is running');
$session->query_safe('SELECT pg_advisory_unlock(42)');
wait_for($node, 'shop',
	"SELECT count(*) = 0 FROM asynctasq.tasks WHERE id = $id");
$session->quit;

# An idle worker leaves after its time, and comes back for the next task.
$node->append_conf('postgresql.conf', "asynctasq.worker_idle_timeout = '10ms'");
$node->reload;
wait_for($node, 'shop', "SELECT count(*) = 0 $workers");
query_is($node, 'shop',
	"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'asynctasq launcher'",
	'1', 'idle workers are gone, the launcher is not');
app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('greet', asynctasq.args('user', u)) FROM users AS u WHERE id = 4});
wait_for($node, 'shop', 'SELECT count(*) = 4 FROM app.log');
pass('a new worker came for the next task');

$node->stop;

# Processes are started for a reason: a worker for each time that there was
# none, a scanner for each database at the start and after few changes.
my $log = slurp_file($node->logfile);
my $started = 'DEBUG:  starting background worker process "asynctasq';
is(scalar(() = $log =~ /$started worker/g), 2, 'two workers were started in all');
cmp_ok(scalar(() = $log =~ /$started scanner/g), '<', 10, 'and few scanners');

done_testing();
