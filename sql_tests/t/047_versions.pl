# ALTER EXTENSION UPDATE with workers busy, and a library and SQL objects that
# do not fit each other.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'restart_after_crash' => 'on', 'asynctasq.worker_idle_timeout' => '1h');

# Where the server looks for scripts.
my $scripts = $node->config_data('--sharedir') . '/extension';
my ($setting, $value) = split /\|/, $node->safe_psql('postgres', q{
	SELECT name, split_part(setting, ':', 1) FROM pg_settings
	WHERE name IN ('extension_destdir', 'extension_control_path')});
$scripts = $setting eq 'extension_destdir' ? "$value$scripts" : "$value/extension"
  if defined $setting;
if (!-w $scripts)
{
	$node->stop;
	plan skip_all => 'scripts of the extension can be installed by root alone';
}

# Locks taken in another order than a task takes them.
my $changes = q{
	ALTER TABLE asynctasq.result ALTER id SET STATISTICS 10;
	ALTER TABLE asynctasq.handler ALTER queue SET DEFAULT 'default';
	ALTER TABLE asynctasq.task_logged ALTER id SET DEFAULT 0, ALTER id DROP DEFAULT;
	ALTER TABLE asynctasq.task_unlogged ALTER id SET DEFAULT 0, ALTER id DROP DEFAULT;
	UPDATE asynctasq.handler SET retry_delay = retry_delay;};
my %scripts = map { ("$scripts/asynctasq--$_.sql" => $changes) }
  ('1.0--1.0.1', '1.0.1--1.0', '1.0--1.1', '1.1--1.0', '1.0--0.9', '0.9--1.0',
	'1.0--1.01', '1.01--1.0');
$scripts{"$scripts/asynctasq--1.0--1.01.sql"} = '-- changes nothing that invalidates a cache';
append_to_file($_, $scripts{$_}) foreach keys %scripts;
END { unlink keys %scripts; }

create_tenant($node, 'shop', 'app');
create_tenant($node, 'other', 'app');

sub sql { return app($node, 'shop', 'app', $_[0]); }

sql(q{
	CREATE TABLE log (what text);
	CREATE FUNCTION note(what text) RETURNS text LANGUAGE sql
		BEGIN ATOMIC INSERT INTO log VALUES (what) RETURNING what; END;
	SELECT asynctasq.register_handler('note', 'note(text)', keep_result => true);
	SELECT asynctasq.create_queue('safe', durable => true);});

sub load
{
	my ($what, $n) = @_;

	sql(qq{
		SELECT count(asynctasq.dispatch('note', asynctasq.args('what', '$what'),
			queue => CASE WHEN n % 2 = 0 THEN 'safe' END)) FROM generate_series(1, $n) AS n});
	return;
}

# Updates that change no more than SQL, under load.
load('update', 4000);
foreach my $round (1 .. 5)
{
	foreach my $version ('1.0.1', '1.0')
	{
		my ($status, undef, $stderr) =
		  $node->psql('shop', "ALTER EXTENSION asynctasq UPDATE TO '$version'");

		is($status, 0, "update to $version under load, round $round") or diag($stderr);
		load('update', 200);
	}
}
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
query_is($node, 'shop', q{SELECT count(*) FROM app.log},
	'6000', 'no task was lost, none ran twice');

# A version that does not fit.
foreach my $version ('1.1', '0.9', '1.01')
{
	my $offset = -s $node->logfile;

	sql(q{SELECT asynctasq.pause_queue('safe')});
	load($version, 100);
	wait_for($node, 'shop', 'SELECT count(*) = 50 FROM asynctasq.task');
	my $session = $node->background_psql('shop', on_error_stop => 0);
	$session->query_safe('SELECT asynctasq.task_info(1)');
	$node->safe_psql('shop', "ALTER EXTENSION asynctasq UPDATE TO '$version'");
	$node->wait_for_log(
		qr/WARNING:  tasks in database "shop" do not run\n.*DETAIL: .*another version there than its library, which is 1\.0\./,
		$offset);
	query_is($node, 'postgres',
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'asynctasq worker'},
		'0', "$version: workers have left");
	foreach my $call (
		q{dispatch('note', asynctasq.args('what', 'x'))}, q{task_info(1)}, 'drain()',
		q{register_handler('x', 'note(text)')})
	{
		app_fails($node, 'shop', 'app', "SELECT asynctasq.$call",
			qr/ERROR:  55000: .*another version.*HINT: .*ALTER EXTENSION asynctasq UPDATE/s,
			"$version: $call");
	}
	$session->query('SELECT asynctasq.task_info(1)');
	like($session->{stderr}, qr/another version/, "$version: a session that was there before");
	$session->quit;
	is(sql('SELECT count(*) FROM asynctasq.tasks'),
		'50', "$version: the views show what waits");
	$node->restart;
	$node->wait_for_log(
		qr/ready to accept connections.*WARNING:  tasks in database "shop" do not run/s, $offset);
	my $errors = () = slurp_file($node->logfile, $offset) =~ /ERROR: /g;
	is($errors, 5, "$version: no error but those of the calls");

	$node->safe_psql('shop', "ALTER EXTENSION asynctasq UPDATE TO '1.0'");
	$offset = -s $node->logfile;
	sql(q{SELECT asynctasq.resume_queue('safe')});
	wait_for($node, 'shop', "SELECT count(*) = 100 FROM app.log WHERE what = '$version'");
	pass("$version: tasks run when the versions fit again");
	unlike(slurp_file($node->logfile, $offset), qr/WARNING|another version/, "$version: of which nothing is logged");
}

# A crash in the middle of an update leaves the version that was.
create_test_functions($node, 'shop');
sql(q{SELECT asynctasq.pause_queue('safe')});
load('crash', 100);
kill_at_command($node, 'shop', 'ALTER TABLE', q{ALTER EXTENSION asynctasq UPDATE TO '1.0.1'});
query_is($node, 'shop', q{SELECT extversion FROM pg_extension WHERE extname = 'asynctasq'}, '1.0',
	'a crash in ALTER EXTENSION UPDATE: the version is what it was');
sql(q{SELECT asynctasq.resume_queue('safe')});
wait_for($node, 'shop', "SELECT count(*) >= 50 FROM app.log WHERE what = 'crash'");
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
pass('and tasks run');
$node->safe_psql('shop', q{ALTER EXTENSION asynctasq UPDATE TO '1.0.1'; ALTER EXTENSION asynctasq UPDATE TO '1.0'});
load('updated', 10);
wait_for($node, 'shop', "SELECT count(*) = 10 FROM app.log WHERE what = 'updated'");
pass('and the update works when it is tried again');

$node->safe_psql('other', q{ALTER EXTENSION asynctasq UPDATE TO '1.1'});
$node->safe_psql('other', 'DROP EXTENSION asynctasq');
pass('a version that does not fit can be dropped');

$node->stop;
done_testing();
