# File descriptors are short, for a server, for one task, and for all processes
# for a while: errors where they are needed, and no durable task is lost.

use strict;
use warnings;

use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'prlimit is needed' if !-e "/proc/$$/fd" || system('prlimit --pid $$ --nofile > /dev/null') != 0;

# As few as a server starts with: tables have more files than that.
my $node = new_cluster(
	'main',
	'max_files_per_process' => '64',
	'restart_after_crash' => 'on',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.worker_idle_timeout' => '1h');
create_tenant($node, 'shop', 'app', 'other');
create_servers($node, 'shop', "user 'other'",
	self => address_of($node, 'shop') . ", pool_max_overflow '-1'");
app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text) PARTITION BY LIST (what);
	SELECT format('CREATE TABLE effects_%1$s PARTITION OF effects FOR VALUES IN (%1$L)', n)
	FROM generate_series(1, 100) AS n \gexec
	CREATE TABLE others PARTITION OF effects DEFAULT;
	CREATE FUNCTION work(what text) RETURNS void LANGUAGE plpgsql AS
		'BEGIN INSERT INTO app.effects VALUES (what); END';
	CREATE FUNCTION spread(what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects SELECT n FROM generate_series(1, 100) AS n;
		PERFORM count(*) FROM app.effects;
	END $$;
	-- as many connections as there can be, all in use
	CREATE FUNCTION connect(what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES ('never');
		EXECUTE 'SELECT ' || (SELECT string_agg($q$asynctasq.stream('self', 'SELECT generate_series(1, 10)', fetch_size => 1)$q$, ', ')
			FROM generate_series(1, 60));
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text)', queue => 'safe', max_attempts => 1000, retry_delay => '100 ms', retry_strategy => 'fixed'),
		asynctasq.register_handler('spread', 'spread(text)', queue => 'safe', max_attempts => 1),
		asynctasq.register_handler('connect', 'connect(text)', queue => 'safe', max_attempts => 2, retry_delay => '0 s')});

sub dispatch
{
	my ($task, @what) = @_;

	return join ';', map { "SELECT asynctasq.dispatch('$task', asynctasq.args('what', '$_'::text))" } @what;
}

sub all_done
{
	return wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
}

app($node, 'shop', 'app', 'BEGIN;' . dispatch('spread', 'x') . ';' . dispatch('connect', 'x') . ';' . dispatch('work', 'y') . '; COMMIT');
all_done();
query_is($node, 'shop', q{SELECT count(*) FROM app.effects WHERE what BETWEEN '0' AND '9999'}, '100',
	'a task uses more files than the server may have open');
query_is($node, 'shop', q{SELECT task, attempt, error ->> 'sqlstate' FROM asynctasq.dead_letters}, 'connect|2|53000',
	'a task that needs more descriptors than there are fails');
query_is($node, 'shop', q{SELECT count(*) FROM app.effects WHERE what = 'y'}, '1', 'the next one runs');
query_is($node, 'shop', q{SELECT min(tasks_done) FROM asynctasq.stat_workers}, '4', 'and the worker is still the same');

# Lets a process open no file whose descriptor is so many or more.
sub limit
{
	my ($pid, $n) = @_;

	system_or_bail('prlimit', '--pid', $pid, "--nofile=$n:");
	return;
}

sub limit_of
{
	return (split /\s+/, `prlimit --pid $_[0] --nofile --noheadings --output SOFT`)[0];
}

# One of a worker that runs.
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
my $usual = limit_of($postmaster);
my $worker = $node->safe_psql('shop', q{SELECT pid FROM asynctasq.stat_workers});
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
my $watcher = $node->background_psql('shop');
my $offset = -s $node->logfile;

$session->query_safe(dispatch('work', 'before'));
all_done();
limit($worker, 3);
$session->query_safe(dispatch('spread', 'again'));
$session->query_safe(dispatch('work', 'short 1', 'short 2', 'short 3'));
$node->wait_for_log(qr/Too many open files/, $offset);
limit($worker, $usual);
all_done();
query_is($node, 'shop', q{SELECT count(*), count(DISTINCT what) FROM app.effects WHERE what LIKE 'short%'}, '3|3',
	'a worker that may open nothing for a while: each task is done, once');

# All that start while the postmaster may open nothing: workers and sessions.
# Nothing is known of tasks but by those that are there.
$node->append_conf('postgresql.conf', q{asynctasq.worker_idle_timeout = '10ms'});
$node->reload;
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
$offset = -s $node->logfile;
limit($postmaster, 3);
$session->query_safe(dispatch('work', map { "none $_" } 1 .. 20));
# A server without OpenSSL reads what is random from a file.
$node->wait_for_log(qr/"asynctasq worker" \(PID \d+\) exited with exit code 1|could not generate random/, $offset);
like(slurp_file($node->logfile, $offset), qr/Too many open files|signalfd\(\) failed|could not generate random/,
	'workers cannot start for lack of descriptors');
is($watcher->query_safe(q{SELECT sum(ready) FROM asynctasq.stat_queues}), '20', 'their tasks wait');
limit($postmaster, $usual);
all_done();
query_is($node, 'shop', q{SELECT count(*), count(DISTINCT what) FROM app.effects WHERE what LIKE 'none%'}, '20|20',
	'and are done, once, when there are some again');

# The launcher.
my $launcher = $node->safe_psql('shop', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'asynctasq launcher'});
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
limit($launcher, 3);
$session->query_safe(dispatch('work', map { "launcher $_" } 1 .. 20));
all_done();
query_is($node, 'shop', q{SELECT count(*), count(DISTINCT what) FROM app.effects WHERE what LIKE 'launcher%'}, '20|20',
	'tasks run where the launcher may open nothing');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|was terminated by signal/, 'nothing has crashed');

$_->quit foreach ($session, $watcher);
$node->stop;
done_testing();
