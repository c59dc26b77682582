# A server whose background worker slots are all taken when it starts: tasks
# wait, the log says why, and they run as soon as there is a slot.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @dbs = ('shop', 'other');
my $node = new_cluster(
	'main',
	'max_logical_replication_workers' => '0',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.sweep_interval' => '1h');
foreach my $db (@dbs)
{
	create_tenant($node, $db, 'app');
	app($node, $db, 'app', q{
		CREATE TABLE log (what text);
		CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (what); END;
		SELECT asynctasq.create_queue('safe', durable => true);
		SELECT asynctasq.register_handler('note', 'note(text)', queue => 'safe');});
}

sub dispatch
{
	my ($what) = @_;

	app($node, $_, 'app', "SELECT asynctasq.dispatch('note', asynctasq.args('what', '$what ' || n)) FROM generate_series(1, 10) AS n")
	  foreach @dbs;
	return;
}

sub all_done
{
	my ($tasks, $name) = @_;

	foreach my $db (@dbs)
	{
		wait_for($node, $db, 'SELECT count(*) = 0 FROM asynctasq.tasks');
		query_is($node, $db, 'SELECT count(*), count(DISTINCT what) FROM app.log', "$tasks|$tasks", "$name: each task runs once, in $db");
	}
	return;
}

# restart(setting => value, ...): with tasks from before, the log emptied
my $libraries = $node->safe_psql('postgres', 'SHOW dynamic_library_path');
$node->append_conf('postgresql.conf', <<~CONF);
	dynamic_library_path = '$ENV{TESTDIR}/sql_tests/module:$libraries'
	shared_preload_libraries = 'atq_test, asynctasq'
	CONF

sub restart
{
	my (%settings) = @_;

	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") foreach sort keys %settings;
	$node->stop;
	truncate($node->logfile, 0) or die "could not empty the log: $!";
	$node->start;
	return;
}

# There is one for the launcher, and none for a worker.
$node->append_conf('postgresql.conf', 'asynctasq.enabled = off');
$node->reload;
wait_for($node, 'shop', 'SHOW asynctasq.enabled', 'off');
dispatch('before');
restart('asynctasq.enabled' => 'on', 'max_worker_processes' => '3', 'atq_test.processes' => '2');
my $refusal = qr/WARNING:  could not start an asynctasq worker: no background worker slot is free\n.*HINT: .*max_worker_processes/;
$node->wait_for_log($refusal);
query_is($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'asynctasq test'}, '2', 'others have all slots');
dispatch('meanwhile');
query_is($node, $_, 'SELECT count(*) FROM asynctasq.tasks', '20', "tasks wait in $_") foreach @dbs;
my @refusals = slurp_file($node->logfile) =~ /$refusal/g;
is(scalar @refusals, 1, 'the log says so once');
$node->safe_psql('postgres', q{
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'asynctasq test' LIMIT 1});
all_done(20, 'a slot is free');
query_is($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'asynctasq test'}, '1', 'one');

# Two lanes share it, while one of them always has work.
app($node, 'shop', 'app', q{
	CREATE TABLE stop (what text);
	CREATE FUNCTION go_on() RETURNS void LANGUAGE sql AS $$
		SELECT pg_sleep(0.01);
		SELECT asynctasq.dispatch('go on') WHERE NOT EXISTS (SELECT FROM app.stop);
	$$;
	SELECT asynctasq.register_handler('go on', 'go_on()');
	SELECT asynctasq.dispatch('go on') FROM generate_series(1, 2);});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'go on'});
app($node, 'other', 'app', q{SELECT asynctasq.dispatch('note', asynctasq.args('what', 'beside'))});
wait_for($node, 'other', q{SELECT count(*) = 1 FROM app.log WHERE what = 'beside'});
query_is($node, 'shop', q{SELECT count(*) > 0 FROM asynctasq.tasks}, 't', 'no lane waits for the end of the other one');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'go on'});
app($node, 'shop', 'app', q{INSERT INTO stop VALUES ('on')});
app($node, 'other', 'app', q{DELETE FROM log WHERE what = 'beside'});
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');

# There is none for the launcher.
restart('max_worker_processes' => '2');
like(slurp_file($node->logfile),
	qr/WARNING:  asynctasq launcher cannot be started: no background worker slot is free\n.*DETAIL: .*none will run.*\n.*HINT: .*max_worker_processes/,
	'the log says that nothing will run');
dispatch('without launcher');
query_is($node, $_, 'SELECT count(*) FROM asynctasq.tasks', '10', "tasks wait in $_") foreach @dbs;
query_is($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'asynctasq (launcher|worker|scanner)'}, '0', 'and nothing of ours runs');
restart('max_worker_processes' => '4');
unlike(slurp_file($node->logfile), qr/launcher cannot be started/, 'a server with a slot for it does not say so');
all_done(30, 'after a restart with more slots');

$node->stop;
done_testing();
