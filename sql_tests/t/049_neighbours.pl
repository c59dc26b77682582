# Beside other libraries that hook into the server, and with settings that
# change all the time.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @libraries = grep { -e PostgreSQL::Test::Utils::run_command([ 'pg_config', '--pkglibdir' ]) . "/$_.so" }
  ('pg_stat_statements', 'auto_explain');

my $node = new_cluster(
	'main',
	'asynctasq.max_workers' => '8',
	'asynctasq.workers_per_lane' => '8',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.sweep_interval' => '1s',
	'max_worker_processes' => '16');
create_tenant($node, 'shop', 'app');

sub sql { return app($node, 'shop', 'app', $_[0]); }

sql(q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 100) AS n;
	CREATE TABLE log (what text);
	CREATE FUNCTION greet("user" users) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.log VALUES ("user".name);
		RETURN "user".name;
	END $$;
	CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION greet_all("user" users[]) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO log SELECT name FROM unnest("user"); END;
	CREATE FUNCTION hold() RETURNS void LANGUAGE sql
		AS 'SELECT pg_advisory_xact_lock_shared(42)';
	SELECT asynctasq.register_handler('greet', 'greet(users)', keep_result => true);
	SELECT asynctasq.register_handler('group', 'greet(users)', group_size => 10);
	SELECT asynctasq.register_handler('batch', 'greet_all(users[])', batch_size => 10);
	SELECT asynctasq.register_handler('fail', 'fail()', max_attempts => 1);
	SELECT asynctasq.register_handler('hold', 'hold()');});

sub load
{
	my ($rounds) = @_;

	sql(qq{
		SELECT count(asynctasq.dispatch(task, asynctasq.args('user', u)))
		FROM users AS u, generate_series(1, $rounds),
			unnest(ARRAY['greet', 'group', 'batch']) AS task;
		SELECT count(asynctasq.dispatch('fail')) FROM generate_series(1, $rounds);});
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
	return;
}

sub outcome
{
	return sql(q{
		SELECT (SELECT count(*) FROM log),
			(SELECT count(*) FROM asynctasq.dead_letters WHERE error ->> 'message' = 'no'),
			(SELECT count(*) FROM asynctasq.dead_letters)});
}

# As many workers as there may be, no more.
sub workers_are
{
	my ($n) = @_;
	my $gate = $node->background_psql('shop');

	$gate->query_safe('SELECT pg_advisory_lock(42)');
	sql('SELECT count(asynctasq.dispatch(\'hold\')) FROM generate_series(1, 10)');
	wait_for($node, 'shop', qq{
		SELECT count(*) = $n AND count(task_id) = $n
		FROM asynctasq.stat_workers WHERE role IS NOT NULL});
	pass("$n workers");
	$gate->quit;
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
	return;
}

foreach my $n (8, 1, 8, 2)
{
	$node->append_conf('postgresql.conf', "asynctasq.workers_per_lane = $n");
	$node->reload;
	wait_for($node, 'shop', "SELECT count(*) <= $n FROM asynctasq.stat_workers WHERE role IS NOT NULL");
	workers_are($n);
}

# All settings change, again and again.
my %settings = (
	'asynctasq.workers_per_lane' => [ 1, 4 ],
	'asynctasq.worker_idle_timeout' => [ '1ms', '1h' ],
	'asynctasq.claim_size' => [ 1, 100 ],
	'asynctasq.sweep_interval' => [ '1s', '2s' ],
	'asynctasq.synchronous_commit' => [ 'on', 'off' ],
	'asynctasq.group_duration' => [ '0', '10ms' ],
	'asynctasq.result_retention' => [ '1h', '1d' ],
	'asynctasq.enabled' => [ 'off', 'on' ]);
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
$node->append_conf('postgresql.conf', "include = 'changing.conf'");
sql(q{
	SELECT count(asynctasq.dispatch(task, asynctasq.args('user', u)))
	FROM users AS u, generate_series(1, 10), unnest(ARRAY['greet', 'group', 'batch']) AS task});
foreach my $round (1 .. 1000)
{
	open my $conf, '>', $node->data_dir . '/changing.conf' or die $!;
	foreach my $i (0 .. keys(%settings) - 1)
	{
		my $name = (sort keys %settings)[$i];

		print $conf "$name = '$settings{$name}[($round >> $i) & 1]'\n";
	}
	close $conf;
	kill 'HUP', $postmaster;
	sql("SELECT asynctasq.dispatch('fail')") if $round % 100 == 0;
}
unlink $node->data_dir . '/changing.conf';
append_to_file($node->data_dir . '/changing.conf', "asynctasq.enabled = on\n");
$node->reload;
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
is(outcome(), '3000|10|10', 'no task is lost while settings change');

# Beside other libraries.
SKIP:
{
	skip 'no other libraries are installed', 6 unless @libraries == 2;

	$node->append_conf('postgresql.conf', q{
		asynctasq.workers_per_lane = 1
		auto_explain.log_min_duration = 0
		auto_explain.log_analyze = on
		auto_explain.log_nested_statements = on});
	foreach my $list ("asynctasq, pg_stat_statements, auto_explain",
		"auto_explain, pg_stat_statements, asynctasq")
	{
		$node->append_conf('postgresql.conf', "shared_preload_libraries = '$list'");
		$node->restart;
		$node->safe_psql('shop', q{
			CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
			DELETE FROM app.log; DELETE FROM asynctasq.dead_letter;});
		load(5);
		is(outcome(), '1500|5|5', "beside $list");
		query_is($node, 'shop',
			q{SELECT calls > 0 FROM pg_stat_statements WHERE query ~ '^INSERT INTO app.log'},
			't', 'statements of handlers are counted');
		my $before = worker_memory();
		load(20);
		cmp_ok(worker_memory() - $before, '<', 65536, 'and memory stays as it is');
	}
}

# What an idle worker holds, in bytes.
sub worker_memory
{
	my $offset = -s $node->logfile;

	wait_for($node, 'shop', q{
		SELECT count(*) = 1 AND bool_and(state = 'idle') FROM asynctasq.stat_workers
		WHERE role IS NOT NULL});
	$node->safe_psql('shop',
		'SELECT pg_log_backend_memory_contexts(pid) FROM asynctasq.stat_workers WHERE role IS NOT NULL');
	$node->wait_for_log(qr/Grand total: /, $offset);
	slurp_file($node->logfile, $offset) =~ /Grand total: (\d+) bytes/ or die;
	return $1;
}

$node->stop;
done_testing();
