# Workers are in nobody's way, and tasks survive what they should survive.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	streaming => 1,
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.max_workers' => '8',
	'max_worker_processes' => '16');

# A database with the extension, a handler, and a worker that idles.
sub make_database
{
	my ($db) = @_;

	create_tenant($node, $db, 'app');
	app($node, $db, 'app', q{
		CREATE TABLE users (id int PRIMARY KEY, name text);
		INSERT INTO users VALUES (1, 'Ann');
		CREATE TABLE log (what text);
		CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql
			BEGIN ATOMIC INSERT INTO log VALUES (what); END;
		SELECT asynctasq.register_handler('note', 'note(text)');
		SELECT asynctasq.register_model('shop.User', 'users');
		SELECT asynctasq.create_queue('safe', durable => true);});
	run_one($db, 'first');
	return;
}

sub run_one
{
	my ($db, $what) = @_;

	app($node, $db, 'app',
		"SELECT asynctasq.dispatch('note', asynctasq.args('what', '$what'))");
	wait_for($node, $db, "SELECT EXISTS (SELECT FROM app.log WHERE what = '$what')");
	return;
}

sub workers_in
{
	my ($db) = @_;

	return $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'asynctasq%' AND datname = '$db'"
	);
}

# Two databases at once.
make_database($_) foreach ('one', 'two');
isnt(workers_in('one'), '0', 'a worker idles in a database');
isnt(workers_in('two'), '0', 'and one in another');

# None of these may wait for a worker: a session that waits is cancelled.
$node->append_conf('postgresql.conf', "statement_timeout = '30s'");
$node->reload;

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE one');
pass('CREATE DATABASE from one where a worker idles');
run_one('one', 'after the copy');
$node->safe_psql('one', 'DROP EXTENSION asynctasq CASCADE');
pass('DROP EXTENSION where a worker idles');
wait_for($node, 'postgres', q{
	SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type LIKE 'asynctasq%' AND datname = 'one'});
$node->safe_psql('one', 'CREATE EXTENSION asynctasq');
app($node, 'one', 'app', q{SELECT asynctasq.register_handler('note', 'note(text)')});
run_one('one', 'after the new extension');
pass('the extension comes back and runs tasks');
$node->safe_psql('one', 'BEGIN; DROP EXTENSION asynctasq CASCADE; ROLLBACK');
run_one('one', 'after the rollback');
pass('DROP EXTENSION that is rolled back changes nothing');
$node->safe_psql('postgres', 'DROP DATABASE one');
pass('DROP DATABASE where a worker idles');
run_one('two', 'after the drop');
$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
run_one('renamed', 'after the renaming');
pass('a copied and renamed database runs its tasks');
$node->safe_psql('postgres', 'DROP DATABASE renamed');

# A clean restart keeps what waits, and runs it without being told.
$node->append_conf('postgresql.conf', "asynctasq.enabled = off");
$node->restart;
app($node, 'two', 'app', q{
	SELECT count(asynctasq.dispatch('note', asynctasq.args('what', 'waiting ' || n)))
	FROM generate_series(1, 100) AS n;
	SELECT asynctasq.dispatch('note', asynctasq.args('what', 'safe'), queue => 'safe');});
query_is($node, 'two', 'SELECT count(*) FROM asynctasq.tasks',
	'101', 'nothing runs while asynctasq.enabled is off');
$node->append_conf('postgresql.conf', "asynctasq.enabled = on");
$node->restart;
wait_for($node, 'two',
	q{SELECT count(*) >= 101 FROM app.log WHERE what LIKE 'waiting%' OR what = 'safe'});
wait_for($node, 'two', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is(
	$node, 'two',
	q{SELECT count(*), count(DISTINCT what) FROM app.log WHERE what LIKE 'waiting%' OR what = 'safe'},
	'101|101', 'all tasks ran once after a clean restart');

# Dump and restore.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/two.dump';
app($node, 'two', 'app', q{
	SELECT asynctasq.pause_queue('safe');
	SELECT asynctasq.dispatch('note', asynctasq.args('what', 'dumped'), queue => 'safe');});
my $last_id = $node->safe_psql('two', 'SELECT max(id) FROM asynctasq.task');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'two' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', $dump ],
	'pg_restore');
query_is(
	$node, 'restored', q{
	SELECT (SELECT string_agg(name, ',') FROM asynctasq.handler),
		(SELECT string_agg(class, ',') FROM asynctasq.model),
		(SELECT string_agg(name, ',' ORDER BY name) FROM asynctasq.queue),
		(SELECT string_agg(queue, ',') FROM asynctasq.tasks)},
	'note|shop.User|default,safe|safe',
	'handlers, models, queues and durable tasks are restored');
$node->safe_psql('restored', 'SELECT asynctasq.adopt()');
run_one('restored', 'after the restoration');
cmp_ok($node->safe_psql('restored', 'SELECT last_value FROM asynctasq.task_id_seq'),
	'>', $last_id, 'ids go on rising');
app($node, 'restored', 'app', q{SELECT asynctasq.resume_queue('safe')});
wait_for($node, 'restored', q{SELECT EXISTS (SELECT FROM app.log WHERE what = 'dumped')});
pass('a restored durable task runs when its queue is resumed');

# A standby has no workers until it is promoted.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'log_min_messages = debug1');
$standby->start;
app($node, 'two', 'app', q{
	SELECT asynctasq.dispatch('note', asynctasq.args('what', 'kept safe'), queue => 'safe')});
run_one('two', 'last on the primary');
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
query_is($standby, 'postgres',
	"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'asynctasq%'",
	'0', 'a standby has no launcher and no worker');
# It has replayed, and let clients in, with what it may run by then.
my $started = qr/starting background worker process "asynctasq/;
unlike(slurp_file($standby->logfile), $started, 'and has not started any');
$node->stop;
$standby->promote;
app($standby, 'two', 'app', q{SELECT asynctasq.resume_queue('safe')});
wait_for($standby, 'two', q{SELECT count(*) = 2 FROM app.log WHERE what IN ('dumped', 'kept safe')});
pass('a promoted standby runs what is durable');
like(slurp_file($standby->logfile), $started, 'which it has started workers for');

$standby->stop;
done_testing();
