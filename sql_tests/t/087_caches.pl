# What sql_tests/caches/*.sql and workers do is the same whether the server
# keeps its caches or drops all entries wherever that may happen.  Each path of
# the code is walked once, because that is a hundred times slower: it is done
# where the environment has ATQ_TEST_DISCARD, on a server with assertions.
# Anywhere else the scripts only have to run.

use strict;
use warnings;

use AtqRemote;
use AtqTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $discard = $ENV{ATQ_TEST_DISCARD} ? 1 : 0;

my $node = new_cluster('main',
	'asynctasq.enabled' => 'off',
	'autovacuum' => 'off',
	'debug_discard_caches' => '0');
create_tenant($node, 'pattern', 'app', 'other');

# Starts a script in a database of its own, as a superuser, with the setting
# that it gives itself when its tables and functions are made.
sub start_script
{
	my ($script, $discard) = @_;
	my $database = "${script}_$discard";
	my $output = "$PostgreSQL::Test::Utils::tmp_check/$database.out";

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE pattern");
	return {
		output => $output,
		psql => IPC::Run::start(
			[
				'psql', '-X', '-a', '-v', 'ON_ERROR_STOP=1',
				'-v', "discard=$discard", '-d', $node->connstr($database),
				'-f', "sql_tests/caches/$script.sql"
			],
			'<', \undef, '>', $output, '2>&1') };
}

sub ends_well
{
	my ($run, $name) = @_;

	return ok($run->{psql}->finish, $name)
	  || diag((split /^/m, slurp_file($run->{output}))[ -5 .. -1 ]);
}

my @scripts = map { m{(\w+)\.sql$} } glob 'sql_tests/caches/*.sql';
my %with = map { $_ => start_script($_, 0) } @scripts;

ends_well($with{$_}, "$_ with caches") foreach @scripts;
if ($discard)
{
	my %without = map { $_ => start_script($_, 1) } @scripts;

	foreach my $script (@scripts)
	{
		ends_well($without{$script}, "$script without caches");
		is(`diff -U 3 $with{$script}{output} $without{$script}{output}`,
			'', "$script: the same without caches");
	}
}

$node->stop;

# Workers, the launcher and scanners, but not the sessions of this test.
$node = new_cluster(
	'workers',
	'autovacuum' => 'off',
	'debug_discard_caches' => '0',
	'asynctasq.workers_per_lane' => '2',
	'asynctasq.worker_idle_timeout' => '1h');
create_tenant($node, 'shop', 'app');
create_servers($node, 'shop', "user 'app'", self => address_of($node, 'shop'));
$node->safe_psql('shop', q{
	SET SESSION AUTHORIZATION app;
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 50) AS i;
	CREATE TABLE got (what text);
	CREATE TABLE children (id int REFERENCES users DEFERRABLE INITIALLY DEFERRED);
	CREATE FUNCTION note(a int) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO app.got VALUES ('note ' || a) RETURNING to_jsonb(what) $$;
	CREATE FUNCTION one(u users) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got VALUES ('one ' || u.name) $$;
	CREATE FUNCTION batch(u users[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got SELECT 'batch ' || v.name FROM unnest(u) AS v $$;
	CREATE FUNCTION several(us users[], x jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got VALUES (concat_ws(' ', 'several', cardinality(us), x)) $$;
	CREATE FUNCTION lazy(u asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got VALUES ('lazy ' || (asynctasq.fetch(u) ->> 'name')) $$;
	CREATE FUNCTION temporary(a int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		CREATE TEMP TABLE mine ON COMMIT DROP AS SELECT a;
		INSERT INTO app.got SELECT 'temporary ' || mine.a FROM mine;
	END $$;
	CREATE FUNCTION defers(a int) RETURNS void LANGUAGE sql AS 'INSERT INTO app.children VALUES (a)';
	CREATE FUNCTION fails(state text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = state; END $$;
	CREATE FUNCTION again(task jsonb, error jsonb) RETURNS boolean LANGUAGE sql AS $$ SELECT error ->> 'sqlstate' = '40001' $$;
	CREATE FUNCTION failed(task jsonb, error jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got VALUES ('failed ' || (error ->> 'sqlstate')) $$;
	CREATE FUNCTION sleeps() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(3600)';
	CREATE FUNCTION ends() RETURNS void LANGUAGE sql AS 'SELECT pg_terminate_backend(pg_backend_pid())';
	SELECT asynctasq.create_queue('durable', durable => true, max_concurrency => 1), asynctasq.register_model('User', 'users'), asynctasq.register_model('Far', 'users', server => 'self'),
		asynctasq.register_handler('note', 'note(int)', keep_result => true, max_attempts => 1), asynctasq.register_handler('one', 'one(users)', max_attempts => 1, lock => 'share'),
		asynctasq.register_handler('far', 'one(users)', max_attempts => 1), asynctasq.register_handler('batch', 'batch(users[])', batch_size => 8, max_attempts => 1),
		asynctasq.register_handler('several', 'several(users[], jsonb)', max_attempts => 1), asynctasq.register_handler('lazy', 'lazy(asynctasq.msgpack)', max_attempts => 1),
		asynctasq.register_handler('group', 'note(int)', group_size => 8, max_attempts => 1), asynctasq.register_handler('group_temporary', 'temporary(int)', group_size => 8, max_attempts => 1),
		asynctasq.register_handler('group_defers', 'defers(int)', group_size => 8, max_attempts => 1), asynctasq.register_handler('group_fails', 'fails(text)', group_size => 8, max_attempts => 1),
		asynctasq.register_handler('fails', 'fails(text)', max_attempts => 2, retry_delay => '0 s', should_retry => 'again(jsonb, jsonb)', on_failure => 'failed(jsonb, jsonb)'),
		asynctasq.register_handler('sleeps', 'sleeps()', max_attempts => 1), asynctasq.register_handler('ends', 'ends()', max_attempts => 1);});
$node->safe_psql('shop', 'ALTER ROLE CURRENT_USER SET debug_discard_caches = 0');
$node->append_conf('postgresql.conf', "debug_discard_caches = $discard");
$node->reload;

# as_app($sql): by the superuser, whose sessions have caches.
sub as_app
{
	my ($sql) = @_;

	return $node->safe_psql('shop', "SET SESSION AUTHORIZATION app; $sql");
}

my $sleeping = as_app(q{SELECT asynctasq.dispatch('sleeps')});
as_app(q{
	SELECT asynctasq.dispatch('note', asynctasq.args('a', i)), asynctasq.dispatch('note', asynctasq.args('a', 10 + i), queue => 'durable'), asynctasq.dispatch('note', asynctasq.args('a', 20 + i), delay => '1 ms'),
		asynctasq.dispatch('one', asynctasq.args('u', asynctasq.ref('User', i))), asynctasq.dispatch('lazy', asynctasq.args('u', asynctasq.ref('User', i))) FROM generate_series(1, 2) AS i;
	SELECT asynctasq.dispatch('far', asynctasq.args('u', asynctasq.ref('Far', i))) FROM generate_series(3, 8) AS i;
	SELECT asynctasq.dispatch('batch', asynctasq.args('u', asynctasq.ref(CASE WHEN i % 2 = 0 THEN 'Far' ELSE 'User' END, i))) FROM generate_series(1, 4) AS i;
	SELECT asynctasq.dispatch('group', asynctasq.args('a', 30 + i)) FROM generate_series(1, 3) AS i;
	SELECT asynctasq.dispatch('group_temporary', asynctasq.args('a', 1)), asynctasq.dispatch('group_defers', asynctasq.args('a', 1)), asynctasq.dispatch('group_defers', asynctasq.args('a', 99)),
		asynctasq.dispatch('group_fails', asynctasq.args('state', '22012'::text)), asynctasq.dispatch('fails', asynctasq.args('state', '40001'::text)), asynctasq.dispatch('fails', asynctasq.args('state', 'P0001'::text)),
		asynctasq.dispatch('sleeps', timeout => '10 ms'), asynctasq.dispatch('ends'),
		asynctasq.dispatch('several', asynctasq.args('us', asynctasq.objects('User'), 'x', asynctasq.values_list(asynctasq.filter(asynctasq.objects('Far'), '{"id": 7}'), true, 'name')));});
wait_for($node, 'shop', "SELECT status = 'running' FROM asynctasq.tasks WHERE id = $sleeping");
is(as_app("SELECT asynctasq.cancel($sleeping)"), 't', 'a running task is told to stop');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
is( as_app("SELECT string_agg(what, ', ' ORDER BY what COLLATE \"C\") FROM app.got"),
	'batch user 1, batch user 2, batch user 3, batch user 4, failed 40001, failed P0001, lazy user 1, lazy user 2, '
	  . 'note 1, note 11, note 12, note 2, note 21, note 22, note 31, note 32, note 33, '
	  . 'one user 1, one user 2, one user 3, one user 4, one user 5, one user 6, one user 7, one user 8, several 50 ["user 7"], temporary 1',
	'what workers have done');
is( as_app("SELECT string_agg(task || ' ' || (error ->> 'sqlstate'), ', ' ORDER BY task, error ->> 'sqlstate') FROM asynctasq.dead_letters"),
	'ends 57P01, fails 40001, fails P0001, group_defers 23503, group_fails 22012, sleeps 57014',
	'what has failed');
is(as_app('SELECT count(*) FROM children'), '1', 'and one constraint held');
is(as_app("SELECT status FROM asynctasq.task_info($sleeping)"), 'cancelled', 'the running task has stopped');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'no process has crashed');

$node->stop;
done_testing();
