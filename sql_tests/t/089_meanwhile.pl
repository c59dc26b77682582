# What ends or changes while something is under way: a process with its cursor,
# a mapping that a statement is about to use, the queues whose delayed tasks
# are made ready.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('near', 'asynctasq.enabled' => 'off');
create_tenant($node, 'shop', 'app');
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach ('one', 'two', 'three');
create_servers($node, 'shop', "user 'app'",
	map { ($_ => address_of($node, $_)) } 'one', 'two', 'three');

# Waits until no session of this role is in one of the other databases.
sub nobody_left
{
	my ($name) = @_;

	wait_for($node, 'shop', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname IN ('one', 'two', 'three')});
	return pass($name);
}

# A session ends while its cursor is open: by its client, and by SIGTERM.  The
# cursor has a chunk under way, or has had all of them.
my $log = -s $node->logfile;
foreach my $rows (100000, 15)
{
	my $cursor = qq{
		BEGIN;
		DECLARE c CURSOR FOR SELECT asynctasq.stream('one', 'SELECT i, repeat(''x'', 100) FROM generate_series(1, $rows) AS i', fetch_size => 10);
		FETCH 11 FROM c;};

	like(app($node, 'shop', 'app', $cursor), qr/"i": 11,/, "a client leaves a cursor of $rows rows");
	nobody_left('and its connection ends');
	$node->psql('shop', "$cursor SELECT pg_terminate_backend(pg_backend_pid());", extra_params => [ '-U', 'app' ]);
	nobody_left('so it does with the process');
}
unlike(slurp_file($node->logfile, $log), qr/was terminated by signal|reinitializing/, 'the server has not crashed');

# A mapping is dropped while a statement is about to ask several servers: it
# asks those that it has named.  The session has been on the first server, and
# waits for the second one's mapping while the first one's goes.
my $dropper = $node->background_psql('shop');
$dropper->query_safe(q{
	BEGIN;
	LOCK TABLE pg_catalog.pg_user_mapping IN ACCESS EXCLUSIVE MODE;});
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ], on_error_stop => 0);
$dropper->query_safe('COMMIT');
$session->query_safe(q{SELECT asynctasq.scalar('one', 'SELECT 1')});
$dropper->query_safe(q{
	BEGIN;
	LOCK TABLE pg_catalog.pg_user_mapping IN ACCESS EXCLUSIVE MODE;
	DROP USER MAPPING FOR app SERVER one;});
$session->query_until(qr/begun/, q{
	\echo begun
	SELECT string_agg(rows #>> '{0,db}', ' ' ORDER BY ord) FROM asynctasq.gather_many('{one,two,three}', 'SELECT current_database() AS db');
	\echo ended
});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'pg_user_mapping'::regclass AND NOT granted});
$dropper->query_safe('COMMIT');
like($session->query_until(qr/ended/, ''), qr/^one two three$/m, 'each server is asked as it was named');
is($session->query_safe('SELECT asynctasq.scalar(\'two\', \'SELECT 2\')'), '2', 'the session goes on');
is($session->query_safe(q{SELECT string_agg(DISTINCT server, ' ' ORDER BY server) FROM asynctasq.stat_pools WHERE pid = pg_backend_pid()}), 'three two', 'and forgets what was dropped');
$session->quit;

# The queues are read anew, because a function is made, while a worker makes
# their delayed tasks ready.
app($node, 'shop', 'app', q{
	CREATE TABLE log (queue text);
	CREATE FUNCTION note(queue text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (queue); END;
	SELECT asynctasq.register_handler('note', 'note(text)');
	SELECT asynctasq.dispatch('note', asynctasq.args('queue', q), queue => q, delay => '100 ms') FROM unnest('{a,b,c,d,e,f}'::text[]) AS q;});
$dropper->query_safe(q{
	BEGIN;
	CREATE FUNCTION unrelated() RETURNS void LANGUAGE sql RETURN NULL;
	LOCK TABLE asynctasq.task_unlogged IN ACCESS EXCLUSIVE MODE;});
$node->append_conf('postgresql.conf', "asynctasq.enabled = on\nasynctasq.sweep_interval = '1d'");
$node->reload;
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT granted AND backend_type = 'asynctasq worker'});
$dropper->query_safe('COMMIT');
wait_for($node, 'shop', 'SELECT count(*) = 6 FROM app.log');
query_is($node, 'shop', q{SELECT string_agg(queue, ' ' ORDER BY queue) FROM app.log}, 'a b c d e f', 'delayed tasks of all queues run');

# A worker that settles what another one left is no help to other tasks while
# on_failure lasts, so there is a second one for them.
app($node, 'shop', 'app', q{
	CREATE FUNCTION die(n int) RETURNS void LANGUAGE sql RETURN pg_terminate_backend(pg_backend_pid());
	CREATE FUNCTION linger(task jsonb, error jsonb) RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT pg_advisory_xact_lock(7); END;
	SELECT asynctasq.register_handler('die', 'die(int)', max_attempts => 1, on_failure => 'linger(jsonb, jsonb)');});
my $gate = $node->background_psql('shop');
$gate->query_safe('SELECT pg_advisory_lock(7)');
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('die', '{"n": 1}')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('note', '{"queue": "meanwhile"}', delay => '100 ms')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.log WHERE queue = 'meanwhile'});
query_is($node, 'shop', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, '1', 'tasks run while on_failure of another one does');
$gate->quit;

# There are more roles than lanes: those that have nothing to do make room.
$node->append_conf('postgresql.conf', "asynctasq.max_workers = 16\nmax_worker_processes = 24\nasynctasq.worker_idle_timeout = 0");
$dropper->quit;
$node->restart;
$node->safe_psql('shop', q{
	GRANT USAGE ON SCHEMA asynctasq TO PUBLIC;
	CREATE FUNCTION nothing() RETURNS void LANGUAGE sql RETURN NULL;
	DO $$
	BEGIN
		FOR i IN 1 .. 530 LOOP
			EXECUTE format('CREATE ROLE lane%s LOGIN', i);
			PERFORM asynctasq.register_handler('lane' || i, 'nothing()', run_as => ('lane' || i)::name);
		END LOOP;
	END $$;
	SELECT count(asynctasq.dispatch('lane' || i)) FROM generate_series(1, 500) AS i;});
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
$node->safe_psql('shop', q{SELECT count(asynctasq.dispatch('lane' || i)) FROM generate_series(501, 530) AS i});
wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
pass('tasks of more roles than there are lanes run');

# A transaction holds more due tasks than are made ready at a time: those
# behind them run.
app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('note', '{"queue": "held"}', run_at => now() + interval '3 s') FROM generate_series(1, 250);
	SELECT asynctasq.dispatch('note', '{"queue": "behind"}', run_at => now() + interval '4 s');});
my $holder = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
is($holder->query_safe(q{BEGIN; SELECT count(*) FROM asynctasq.tasks AS t WHERE status = 'scheduled' AND run_at < (SELECT max(run_at) FROM asynctasq.tasks) AND asynctasq.cancel(id)}), '250', 'tasks are cancelled');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.log WHERE queue = 'behind'});
query_is($node, 'shop', q{SELECT count(*) FROM app.log WHERE queue = 'held'}, '0', 'the one behind them runs');
$holder->query_safe('COMMIT');
$holder->quit;

# An array costs memory as its elements do, not a buffer for each.
my ($length, $peak) = split /\n/, $node->safe_psql('shop', q{
	CREATE USER MAPPING FOR CURRENT_USER SERVER two;
	SELECT jsonb_array_length(asynctasq.scalar('two', 'SELECT array_agg(i) FROM generate_series(1, 200000) AS i'));
	SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)');});
is($length, '200000', 'a large array');
cmp_ok($peak, '<', 150000, 'costs no more than its elements');

# A commit that fails, on a connection that is closed after use.
$node->safe_psql('two', 'CREATE TABLE late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON late TO app');
app_fails($node, 'shop', 'app', q{
	SET asynctasq.pool_class = 'null';
	SELECT asynctasq.execute('two', 'INSERT INTO late VALUES (1), (1)')}, qr/23505/, 'a commit that fails');

$node->stop;
done_testing();
