# Workers that are ended while they start, in all ways: nothing of them stays,
# and no task is lost.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs /proc' if !-e '/proc/self/fd';

my ($kills, $drops, $crashes) = (amount(100, 1000), amount(10, 100), amount(5, 100));

# Segments of dynamic shared memory are files, so that they can be counted.
my $node = new_cluster(
	'main',
	'dynamic_shared_memory_type' => 'mmap',
	'restart_after_crash' => 'on',
	'autovacuum' => 'off',
	'max_worker_processes' => '16',
	'asynctasq.max_workers' => '8',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.worker_idle_timeout' => '10ms');
my @roles = map { "role_$_" } 1 .. 50;
create_tenant($node, 'shop', @roles);
create_test_functions($node, 'shop');
$node->safe_psql('shop', q{
	CREATE TABLE effects (who text, what text);
	GRANT INSERT ON effects TO PUBLIC;});
$node->safe_psql('shop', qq{
	SET ROLE $_;
	CREATE FUNCTION $_.work(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO public.effects VALUES (current_user, what); END;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('$_', '$_.work(text)', queue => 'safe', retry_delay => '0 s');}) for @roles;

# In the order of their creation; what the kernel knows of them goes by the
# process that has made it.
sub footprint
{
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @fds = glob("/proc/$pid/fd/*");
	my @files = glob($node->data_dir . '/pg_dynshmem/*');
	my @mapped = slurp_file("/proc/$pid/maps") =~ m{asynctasq\.evidence|/SYSV|/dev/zero|pg_dynshmem}g;
	my @segments = grep { (split)[4] == $pid } (split /\n/, slurp_file('/proc/sysvipc/shm'))[1 .. 1000];

	return sprintf '%d descriptors, %d files, %d mappings, %d segments', scalar @fds, scalar @files, scalar @mapped, scalar @segments;
}

# Who starts, in a database, reads the settings that it has for roles: there it
# is held up.  Sessions that are there already go on.
my $holder = $node->background_psql('shop');
my $watcher = $node->background_psql('shop');
my $dispatcher = $node->background_psql('shop');
my $starting = q{
	SELECT string_agg(pid::text, ' ') FROM pg_locks
	WHERE relation = 'pg_db_role_setting'::regclass AND NOT granted};

sub hold
{
	$holder->query_safe('BEGIN; LOCK TABLE pg_db_role_setting');
	return;
}

sub let_go
{
	$holder->query_safe('ROLLBACK');
	return;
}

# The processes that are held up, when there are some.
sub starters
{
	for (my $tries = 0; $tries < 100 * $PostgreSQL::Test::Utils::timeout_default; $tries++)
	{
		my $pids = $watcher->query_safe($starting);

		return split / /, $pids if $pids ne '';
		select undef, undef, undef, 0.01;
	}
	die 'no worker starts';
}

sub dispatch_all
{
	my ($what) = @_;

	$dispatcher->query_safe("SET ROLE $_; SELECT asynctasq.dispatch('$_', asynctasq.args('what', '$what'::text))") foreach @roles;
	return;
}

sub all_done
{
	my ($what) = @_;

	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
	return query_is($node, 'shop', "SELECT count(*), count(DISTINCT who) FROM effects WHERE what = '$what'",
		scalar(@roles) . '|' . scalar(@roles), "$what: each task is done, once");
}

dispatch_all('undisturbed');
all_done('undisturbed');
my $before = footprint();
note($before);

# Told to end.
my $offset = -s $node->logfile;
my %killed;

hold();
dispatch_all('told to end');
while (keys %killed < $kills)
{
	foreach my $pid (grep { !$killed{$_} } starters())
	{
		if (keys(%killed) % 2)
		{
			kill 'TERM', $pid;
		}
		else
		{
			$watcher->query_safe("SELECT pg_terminate_backend($pid)");
		}
		$killed{$pid} = 1;
	}
}
let_go();
all_done('told to end');
my @ends = slurp_file($node->logfile, $offset) =~ /FATAL:  terminating background worker "asynctasq worker" due to administrator command/g;
cmp_ok(scalar @ends, '>=', $kills, "$kills workers were told to end while they started");
is(footprint(), $before, 'they leave nothing behind');

# Their database is dropped: the command waits for the worker that connects.
foreach my $round (1 .. $drops)
{
	my ($session, $dropping);

	create_tenant($node, 'brief', 'app');
	app($node, 'brief', 'app', q{
		CREATE FUNCTION work() RETURNS void LANGUAGE sql RETURN NULL;
		SELECT asynctasq.register_handler('work', 'work()');});
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
	$session = $node->background_psql('brief', extra_params => [ '-U', 'app' ]);
	$dropping = $node->background_psql('postgres');
	hold();
	$session->query_safe(q{SELECT asynctasq.dispatch('work')});
	starters();
	$session->quit;
	$dropping->query_until(qr/drops/, "\\echo drops\nDROP DATABASE brief WITH (FORCE);\n");
	for (my $waits = 'f'; $waits ne 't';)
	{
		$waits = $watcher->query_safe(q{
			SELECT count(*) = 1 FROM pg_locks
			WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted});
	}
	let_go();
	$dropping->quit;
}
query_is($node, 'shop', q{SELECT count(*) FROM pg_database WHERE datname = 'brief'}, '0', 'their database is dropped');
dispatch_all('database dropped');
all_done('database dropped');
is(footprint(), $before, 'they leave nothing behind');

# Killed: the server restarts each time.
$_->quit foreach ($holder, $watcher, $dispatcher);
$node->restart;
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
foreach my $round (0 .. $crashes)
{
	my $from = -s $node->logfile;

	$_ = $node->background_psql('shop') foreach ($holder, $watcher, $dispatcher);
	hold();
	dispatch_all("killed $round");
	kill 'KILL', (starters())[0];
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $from);
	wait_for($node, 'shop', 'SELECT true');
	$_->{run}->finish foreach ($holder, $watcher, $dispatcher);
	$before = footprint() if $round == 0;
	# else the launcher waits longer after each crash
	$node->restart if $crashes > 5 && $round % 5 == 4;
}
is(footprint(), $before, 'they leave nothing behind');
$node->restart;
all_done("killed $_") foreach (0 .. $crashes);

$node->stop;
done_testing();
