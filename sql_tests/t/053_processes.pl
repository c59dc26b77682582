# The launcher and its workers go on where processes, connections and parallel
# workers are short, and where a database or a role cannot be served.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# One process for the launcher, one for whoever comes first.
my $node = new_cluster(
	'main',
	'max_worker_processes' => '2',
	'max_logical_replication_workers' => '0',
	'max_prepared_transactions' => '1',
	'asynctasq.max_workers' => '8',
	'asynctasq.worker_idle_timeout' => '10ms');
create_tenant($node, 'shop', 'app', 'other', 'third');

foreach my $role ('app', 'other', 'third')
{
	app($node, 'shop', $role, qq{
		CREATE TABLE go (what text);
		CREATE TABLE log (what text);
		CREATE FUNCTION await() RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			WHILE NOT EXISTS (SELECT FROM $role.go) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END \$\$;
		CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (what); END;
		SELECT asynctasq.register_handler('${role}_await', 'await()'), asynctasq.register_handler('${role}_note', 'note(text)')});
}

# No process is left.
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('app_await')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'app_await'});
my $offset = 0;
app($node, 'shop', 'other', q{SELECT asynctasq.dispatch('other_note', asynctasq.args('what', n::text)) FROM generate_series(1, 20) AS n});
$node->wait_for_log(qr/could not start an asynctasq worker: no background worker slot is free/);
app($node, 'shop', 'third', q{SELECT asynctasq.dispatch('third_note', asynctasq.args('what', 'x'))});
app($node, 'shop', 'app', q{INSERT INTO go VALUES ('on')});
wait_for($node, 'shop', 'SELECT count(*) = 20 FROM other.log');
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM third.log');
my @warnings = slurp_file($node->logfile, $offset) =~ /could not start an asynctasq worker/g;
cmp_ok(scalar(@warnings), '<=', 5, 'the lack of processes is said once, and again only when there were some');
pass('and tasks run as soon as there is one');

# Databases and roles that cannot be served
$node->stop;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nlog_min_messages = log\n");
$node->start;
create_tenant($node, $_, 'app') foreach ('closed', 'limited', 'broken');
foreach my $db ('closed', 'limited', 'broken')
{
	app($node, $db, 'app', q{
		CREATE TABLE log (what text);
		CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (what); END;
		SELECT asynctasq.register_handler('note', 'note(text)'), asynctasq.create_queue('q', durable => true), asynctasq.pause_queue('q');
		SELECT asynctasq.dispatch('note', asynctasq.args('what', 'x'), queue => 'q')});
}
$node->safe_psql('postgres', q{
	ALTER DATABASE broken SET session_preload_libraries = 'no_such_library';
	ALTER DATABASE limited CONNECTION LIMIT 0;
	ALTER ROLE app CONNECTION LIMIT 0});
$node->safe_psql('shop', q{
	SELECT asynctasq.dispatch('other_note', asynctasq.args('what', 'y'))});
isnt($node->psql('broken', 'SELECT 1', on_error_die => 0), 0, 'a library that is not there lets nobody in');
{
	local $ENV{PGOPTIONS} = '-c session_preload_libraries=';

	foreach my $db ('limited', 'broken')
	{
		$node->safe_psql($db, q{UPDATE asynctasq.queue SET paused = false});
		wait_for($node, $db, 'SELECT count(*) = 1 FROM app.log');
		pass("workers are no connections, and load no library of a session: $db");
	}
}
$node->safe_psql('postgres', 'ALTER ROLE app CONNECTION LIMIT -1');

# A role that may not log in, and a database that takes no connections: tasks
# wait, others run, the log does not grow without end.
my $login = $node->safe_psql('postgres', 'SHOW server_version_num') < 170000;
$offset = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER ROLE third NOLOGIN');
$node->safe_psql('shop', q{SELECT asynctasq.dispatch('third_note', asynctasq.args('what', 'z'))});
if ($login)
{
	$node->wait_for_log(qr/role "third" is not permitted to log in/, $offset);
}
else
{
	wait_for($node, 'shop', 'SELECT count(*) = 2 FROM third.log');
}
$node->safe_psql('shop', q{TRUNCATE other.log; SELECT asynctasq.dispatch('other_note', asynctasq.args('what', n::text)) FROM generate_series(1, 50) AS n});
wait_for($node, 'shop', 'SELECT count(*) = 50 FROM other.log');
pass('others run while a role cannot be served');
$node->safe_psql('postgres', 'ALTER ROLE third LOGIN');
wait_for($node, 'shop', q{SELECT count(*) >= 2 FROM third.log WHERE what IN ('x', 'z')});
pass('its tasks run when it may log in again');
my @refusals = slurp_file($node->logfile, $offset) =~ /is not permitted to log in/g;
cmp_ok(scalar(@refusals), '<=', 12, 'it was tried with growing pauses');

$node->safe_psql('closed', q{SELECT asynctasq.create_queue('mine')});
$node->safe_psql('postgres', q{ALTER DATABASE closed ALLOW_CONNECTIONS false; ALTER SYSTEM SET asynctasq.sweep_interval = '1s'});
$node->restart;
$offset = -s $node->logfile;
$node->safe_psql('shop', q{TRUNCATE other.log; SELECT asynctasq.dispatch('other_note', asynctasq.args('what', n::text)) FROM generate_series(1, 50) AS n});
wait_for($node, 'shop', 'SELECT count(*) = 50 FROM other.log');
pass('others run while a database takes no connections');
# a sweep finds this one, so there has been one
$node->safe_psql('shop', q{BEGIN; SELECT asynctasq.dispatch('other_note', asynctasq.args('what', 'swept')); PREPARE TRANSACTION 'sweep'});
$node->safe_psql('shop', q{COMMIT PREPARED 'sweep'});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM other.log WHERE what = 'swept'});
@refusals = slurp_file($node->logfile, $offset) =~ /^.*database "closed".*$/mg;
cmp_ok(scalar(@refusals), '<=', 3, 'nobody tries it again and again');
$node->safe_psql('postgres', q{ALTER DATABASE closed ALLOW_CONNECTIONS true; ALTER SYSTEM RESET asynctasq.sweep_interval});
$node->safe_psql('closed', q{UPDATE asynctasq.queue SET paused = false});
wait_for($node, 'closed', 'SELECT count(*) = 1 FROM app.log');
pass('its tasks run when it does again');

# Parallel queries in a handler, with free processes and without
$node->safe_psql('shop', q{ALTER SYSTEM SET max_parallel_workers_per_gather = 2});
app($node, 'shop', 'app', q{
	CREATE TABLE big AS SELECT n FROM generate_series(1, 100000) AS n;
	ALTER TABLE big SET (parallel_workers = 4);
	ANALYZE big;
	CREATE FUNCTION total() RETURNS jsonb LANGUAGE plpgsql SET parallel_setup_cost = 0 SET parallel_tuple_cost = 0 SET min_parallel_table_scan_size = 0 AS $$
	DECLARE
		line text;
		plan text := '';
	BEGIN
		FOR line IN EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT sum(n) FROM app.big LOOP
			plan := plan || line;
		END LOOP;
		RETURN jsonb_build_object('sum', (SELECT sum(n) FROM app.big), 'planned', substring(plan FROM 'Workers Planned: (\d)'),
			'launched', substring(plan FROM 'Workers Launched: (\d)') > '0');
	END $$;
	SELECT asynctasq.register_handler('total', 'total()', keep_result => true)});
foreach my $workers (8, 0)
{
	$node->safe_psql('shop', "ALTER SYSTEM SET max_parallel_workers = $workers");
	$node->safe_psql('shop', 'SELECT pg_reload_conf()');
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
	is( app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('total') AS id \gset
			SELECT asynctasq.wait(:id)}),
		sprintf('{"sum": 5000050000, "planned": "2", "launched": %s}', $workers ? 'true' : 'false'),
		"the same answer with $workers parallel workers");
}

# The server ends a transaction of a client that takes too long; tasks that
# share one are none.
SKIP:
{
	skip 'transaction_timeout is of PostgreSQL 17', 2 if $login;
	# the first batch takes longer than the limit
	app($node, 'shop', 'app', q{
		CREATE FUNCTION nap(n int[]) RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT pg_sleep(2) WHERE 1 = ANY (n); INSERT INTO log SELECT 'napped' FROM unnest(n); END;
		SELECT asynctasq.register_handler('nap', 'nap(int[])', batch_size => 100, max_attempts => 1)});
	$node->safe_psql('shop', q{ALTER SYSTEM SET transaction_timeout = '1s'});
	$node->safe_psql('shop', 'SELECT pg_reload_conf()');
	$offset = -s $node->logfile;
	app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('nap', asynctasq.args('n', n)) FROM generate_series(1, 100) AS n});
	wait_for($node, 'shop', q{SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues});
	query_is($node, 'shop', q{SELECT count(*) FROM app.log WHERE what = 'napped'}, 100, 'tasks that share a transaction are all done');
	unlike(slurp_file($node->logfile, $offset), qr/due to transaction timeout/, 'transaction_timeout ends no worker');
}

$node->stop;

# No connection is left: workers are none.
$node = new_cluster(
	'small',
	'max_connections' => '6',
	'superuser_reserved_connections' => '1',
	'max_locks_per_transaction' => '10',
	'autovacuum' => 'off');
create_tenant($node, 'shop', 'app');
app($node, 'shop', 'app', q{
	CREATE TABLE log (what text);
	CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (what); END;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('note', 'note(text)', queue => 'safe')});
my @sessions;
while (@sessions < 5)
{
	push @sessions, $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
}
app_fails($node, 'shop', 'app', 'SELECT 1', qr/too many|remaining connection slots/, 'one more connection');
$sessions[0]->query_safe(q{SELECT asynctasq.dispatch('note', asynctasq.args('what', n::text)) FROM generate_series(1, 100) AS n});
wait_for($node, 'shop', 'SELECT count(*) = 100 FROM app.log');
pass('tasks run while no connection is left');
$_->quit foreach @sessions;

# No lock is left: launcher and workers fail, and come back until there are some.
# What is locked here stays with the session when the statement has failed.
app($node, 'shop', 'app', 'TRUNCATE log');
$node->append_conf('postgresql.conf', 'asynctasq.enabled = off');
$node->reload;
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('note', asynctasq.args('what', n::text)) FROM generate_series(1, 100) AS n});
my $locker = $node->background_psql('shop', on_error_stop => 0);
$locker->query('SELECT count(pg_advisory_lock(n)) FROM generate_series(1, 1000000) AS n');
like($locker->{stderr}, qr/out of shared memory/, 'all locks are taken');
$offset = -s $node->logfile;
$node->append_conf('postgresql.conf', 'asynctasq.enabled = on');
$node->reload;
$node->wait_for_log(qr/(?:ERROR|FATAL):  out of shared memory.*(?:"asynctasq worker" \(PID \d+\) exited with exit code 1.*){2}/s, $offset);
$locker->query('SELECT pg_advisory_unlock_all()');
$locker->quit;
wait_for($node, 'shop', 'SELECT count(*) = 100 FROM app.log');
query_is($node, 'shop', 'SELECT count(*), count(DISTINCT what) FROM app.log', '100|100', 'all tasks run, once, when there are locks again');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|was terminated by signal/, 'and nothing has crashed');

$node->stop;
done_testing();
