# Commands that drop, rename or move what workers use, while workers are busy.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.sweep_interval' => '1h',
	'asynctasq.max_workers' => '8',
	'asynctasq.workers_per_lane' => '2',
	'max_worker_processes' => '24',
	'deadlock_timeout' => '100ms');

sub super { return $node->safe_psql(@_); }
sub sql { return app($node, $_[0], 'app', $_[1]); }

# A database with handlers of all kinds of effects.
sub register
{
	my ($db) = @_;

	sql($db, q{
		SELECT asynctasq.register_handler('note', 'note(text)', keep_result => true);
		SELECT asynctasq.register_handler('fail', 'fail(text)', max_attempts => 2,
			retry_delay => '1 ms');
		SELECT asynctasq.register_handler('hold', 'hold(text)');
		SELECT asynctasq.create_queue('safe', durable => true);});
	return;
}

sub make_database
{
	my ($db) = @_;

	create_tenant($node, $db, 'app');
	sql($db, q{
		CREATE TABLE log (what text);
		CREATE FUNCTION note(what text) RETURNS text LANGUAGE sql
			BEGIN ATOMIC INSERT INTO log VALUES (what) RETURNING what; END;
		CREATE FUNCTION fail(what text) RETURNS void LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION '%', what; END $$;
		CREATE FUNCTION hold(what text) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(42);
			INSERT INTO app.log VALUES (what);
			PERFORM asynctasq.dispatch('note', asynctasq.args('what', what || ' held'),
				queue => 'safe');
		END $$;});
	register($db);
	runs($db, 'first');
	return;
}

sub dispatch
{
	my ($db, $task, $what) = @_;

	sql($db, "SELECT asynctasq.dispatch('$task', asynctasq.args('what', '$what'))");
	return;
}

sub runs
{
	my ($db, $what) = @_;

	dispatch($db, 'note', $what);
	wait_for($node, $db, "SELECT count(*) = 1 FROM app.log WHERE what = '$what'");
	return;
}

# Two workers with a lot to do, some of which fails.
sub load
{
	my ($db, $n) = @_;

	sql($db, qq{
		SELECT count(asynctasq.dispatch(CASE WHEN n % 10 = 0 THEN 'fail' ELSE 'note' END,
			asynctasq.args('what', 'load'), queue => CASE WHEN n % 2 = 0 THEN 'safe' END))
		FROM generate_series(1, $n) AS n});
	wait_for($node, $db, q{SELECT count(*) > 0 FROM app.log WHERE what = 'load'});
	return;
}

# A worker inside of a handler, until let_go() is called.
my $gate;

sub hold
{
	my ($db) = @_;

	$gate = $node->background_psql($db);
	$gate->query_safe('SELECT pg_advisory_lock(42)');
	dispatch($db, 'hold', 'gate');
	wait_for_held($node, 1);
	return;
}

sub let_go
{
	$gate->quit;
	return;
}

# A command that locks all of our tables waits for a task under way, which goes
# on to use some of them.
sub waits_for_task
{
	my ($command) = @_;

	super('shop', q{DELETE FROM app.log WHERE what = 'gate'});
	hold('shop');
	my $session = $node->background_psql('shop', on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\n$command;\n\\echo ended\n");
	wait_for($node, 'postgres', q{
		SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE datname = 'shop' AND backend_type = 'client backend'
			AND locktype IN ('object', 'relation') AND NOT granted});
	let_go();
	$session->query_until(qr/ended/, '');
	$session->quit;
	query_is($node, 'shop', q{SELECT count(*) FROM app.log WHERE what = 'gate'},
		'1', "$command waits for a task under way");
	return;
}

sub no_workers_in
{
	my ($db) = @_;

	wait_for($node, 'postgres', qq{
		SELECT count(*) = 0 FROM pg_stat_activity
		WHERE backend_type LIKE 'asynctasq%' AND datname = '$db'});
	return;
}

# No session waits long.
$node->append_conf('postgresql.conf', "statement_timeout = '30s'");
$node->reload;

# DROP EXTENSION, in every way, under load.
make_database('shop');
my %ways = (
	'commit' => [ 'DROP EXTENSION asynctasq CASCADE', 1 ],
	'rollback' => [ 'BEGIN; DROP EXTENSION asynctasq CASCADE; ROLLBACK', 0 ],
	'savepoint' => [
		'BEGIN; SAVEPOINT s; DROP EXTENSION asynctasq CASCADE; ROLLBACK TO s; COMMIT', 0 ],
	'anew' => [
		'BEGIN; DROP EXTENSION asynctasq CASCADE; CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app; COMMIT',
		2 ],
	'schema' => [ 'DROP SCHEMA asynctasq CASCADE', 1 ]);
foreach my $round (1 .. 10)
{
	foreach my $way (sort keys %ways)
	{
		my ($command, $dropped) = @{ $ways{$way} };
		my ($status, undef, $stderr);

		load('shop', 200);
		($status, undef, $stderr) = $node->psql('shop', $command);
		if ($dropped == 1)
		{
			no_workers_in('shop');
			super('shop', 'CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app');
		}
		register('shop') if $dropped;
		super('shop', q{DELETE FROM app.log WHERE what <> 'load'});
		runs('shop', 'after');
		super('shop', q{DELETE FROM app.log});
		is($status, 0, "DROP EXTENSION under load: $way, round $round")
		  or diag($stderr);
	}
}
cmp_ok(
	super('shop', 'SELECT count(*) FROM asynctasq.stat_workers'),
	'<=', 2, 'no more workers than there may be');

# DROP EXTENSION waits for a task under way, and can be cancelled.
hold('shop');
my ($status, undef, $stderr) =
  $node->psql('shop', q{SET lock_timeout = '100ms'; DROP EXTENSION asynctasq CASCADE});
like($stderr, qr/lock timeout/, 'DROP EXTENSION waits for a task under way');
runs('shop', 'beside');
let_go();
waits_for_task('DROP EXTENSION asynctasq CASCADE');
no_workers_in('shop');

# Not who may not drop it.
super('shop', 'CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app');
register('shop');
runs('shop', 'before');
my $pids = super('shop', 'SELECT array_agg(pid) FROM asynctasq.stat_workers');
foreach my $command (
	'DROP EXTENSION asynctasq CASCADE', 'DROP SCHEMA asynctasq CASCADE',
	'ALTER EXTENSION asynctasq UPDATE', 'DROP OWNED BY postgres',
	'REASSIGN OWNED BY postgres TO app',
	'BEGIN; ALTER FUNCTION note DEPENDS ON EXTENSION asynctasq; DROP EXTENSION asynctasq')
{
	app_fails($node, 'shop', 'app', $command, qr/ERROR:  42501/, $command);
}
foreach my $command (
	'DROP DATABASE shop', 'ALTER DATABASE shop RENAME TO mine',
	'CREATE DATABASE mine TEMPLATE shop')
{
	app_fails($node, 'postgres', 'app', $command, qr/ERROR:  42501/, $command);
}
runs('shop', 'between');
query_is($node, 'shop',
	"SELECT count(*) > 0 FROM asynctasq.stat_workers WHERE pid = ANY ('$pids')",
	't', 'workers stay for a command of one who may not run it');
app_fails($node, 'shop', 'postgres', 'ALTER SCHEMA asynctasq RENAME TO other',
	qr/ERROR:  2BP01: .*schema "asynctasq"/, 'renaming the schema');
app_fails($node, 'shop', 'postgres', 'ALTER EXTENSION asynctasq SET SCHEMA app',
	qr/ERROR:  0A000/, 'another schema');

# The extension's owner goes, with all that is his.
foreach my $command ('DROP OWNED BY boss CASCADE', 'REASSIGN OWNED BY boss TO chief')
{
	super('postgres', q{
		CREATE ROLE boss SUPERUSER LOGIN; CREATE ROLE chief SUPERUSER LOGIN})
	  if super('postgres', q{SELECT count(*) FROM pg_roles WHERE rolname = 'boss'}) eq '0';
	super('shop', 'DROP EXTENSION asynctasq CASCADE');
	app($node, 'shop', 'boss', 'CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app');
	register('shop');
	waits_for_task($command);
	no_workers_in('shop') if $command =~ /^DROP/;
	app($node, 'shop', 'boss', 'CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app')
	  if $command =~ /^DROP/;
	super('shop', 'REASSIGN OWNED BY chief TO boss') if $command =~ /^REASSIGN/;
	foreach my $round (1 .. 10)
	{
		register('shop') if $command =~ /^DROP/;
		load('shop', 200);
		($status, undef, $stderr) = $node->psql('shop', $command);
		is($status, 0, "$command under load, round $round") or diag($stderr);
		if ($command =~ /^DROP/)
		{
			no_workers_in('shop');
			app($node, 'shop', 'boss',
				'CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app');
		}
		else
		{
			super('shop', 'REASSIGN OWNED BY chief TO boss') if $round < 10;
		}
		super('shop', 'DELETE FROM app.log');
	}
}
runs('shop', 'with a new owner');
is( super('shop', q{
		SELECT extowner::regrole FROM pg_extension WHERE extname = 'asynctasq'}),
	'chief', 'the extension has the new owner');
super('shop', 'DROP OWNED BY boss');
super('postgres', 'DROP OWNED BY boss; DROP ROLE boss');
runs('shop', 'without the old owner');

# DROP DATABASE.
foreach my $force ('', ' WITH (FORCE)')
{
	make_database('brief');
	load('brief', 1000);
	super('postgres', "DROP DATABASE brief$force");
	no_workers_in('brief');
	pass("DROP DATABASE$force under load");
}
make_database('brief');
hold('brief');
let_go();
wait_for($node, 'brief', q{SELECT count(*) = 1 FROM app.log WHERE what = 'gate'});
my $session = $node->background_psql('brief');
$session->query_safe('SELECT 1');
($status, undef, $stderr) = $node->psql('postgres', 'DROP DATABASE brief');
like($stderr, qr/being accessed by other users/, 'DROP DATABASE fails for a session');
$session->quit;
runs('brief', 'after the failure');
pass('and the workers return');
super('postgres', 'ALTER DATABASE brief RENAME TO renamed');
runs('renamed', 'after the renaming');
mkdir $node->basedir . '/space';
super('postgres', sprintf(q{CREATE TABLESPACE space LOCATION '%s/space'}, $node->basedir));
super('postgres', 'ALTER DATABASE renamed SET TABLESPACE space');
runs('renamed', 'after the move');
super('postgres', 'ALTER DATABASE renamed OWNER TO app');
super('postgres', 'ALTER DATABASE renamed CONNECTION LIMIT 1');
runs('renamed', 'with a limit');
pass('RENAME, SET TABLESPACE, OWNER and CONNECTION LIMIT');

# A database that is renamed while its worker starts.
foreach my $round (1 .. 10)
{
	my ($old, $new) = $round % 2 ? ('renamed', 'again') : ('again', 'renamed');

	dispatch($old, 'note', "round $round");
	super('postgres', "ALTER DATABASE $old RENAME TO $new");
}
wait_for($node, 'renamed', q{SELECT count(*) = 10 FROM app.log WHERE what LIKE 'round%'});
pass('tasks run in a database that is renamed all the time');

# Workers that wait and workers that compute are in nobody's way who makes and
# drops another database: all processes have to agree.
super('postgres', 'ALTER DATABASE renamed CONNECTION LIMIT -1');
sql('renamed', q{
	CREATE TABLE users (id int PRIMARY KEY);
	INSERT INTO users VALUES (1);
	CREATE FUNCTION greet("user" users) RETURNS void LANGUAGE sql AS '';
	SELECT asynctasq.register_handler('greet', 'greet(users)');
	SELECT asynctasq.register_model('User', 'users');});
my $locker = $node->background_psql('renamed');
$locker->query_safe('BEGIN; LOCK TABLE app.users');
sql('renamed', q{SELECT asynctasq.dispatch('greet', asynctasq.args('user', asynctasq.ref('User', 1)))});
wait_for($node, 'postgres', q{
	SELECT count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'asynctasq worker' AND wait_event = 'relation'});
hold('shop');
super('postgres', q{CREATE ROLE big LOGIN});
super('renamed', q{GRANT USAGE ON SCHEMA asynctasq TO big; CREATE SCHEMA AUTHORIZATION big});
app($node, 'renamed', 'big', q{
	CREATE TABLE log (what text);
	CREATE FUNCTION measure(blob jsonb) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO log VALUES ('measured'); END;
	SELECT asynctasq.register_handler('big', 'measure(jsonb)')});
super('renamed', q{
	SET asynctasq.max_payload = '64MB';
	SET ROLE big;
	SELECT asynctasq.dispatch('big', asynctasq.args('blob', ('[' || repeat('[1, "two"], ', 500000) || '1]')::jsonb))
	FROM generate_series(1, 10)});
foreach my $round (1 .. 10)
{
	super('postgres', 'CREATE DATABASE aside STRATEGY file_copy');
	super('postgres', 'DROP DATABASE aside');
}
$locker->query_safe('ROLLBACK');
$locker->quit;
let_go();
wait_for($node, 'renamed', 'SELECT count(*) = 10 FROM big.log');
wait_for($node, 'renamed', q{SELECT count(*) = 0 FROM asynctasq.task});
query_is($node, 'postgres', 'SELECT count(*) FROM pg_database WHERE datconnlimit = -2',
	'0', 'other databases are made and dropped while workers wait and compute');
# A database that is closed for a while, in which a task becomes due.
sql('renamed', q{
	SELECT asynctasq.pause_queue('safe');
	SELECT asynctasq.dispatch('note', asynctasq.args('what', 'kept'), queue => 'safe');
	SELECT asynctasq.dispatch('note', asynctasq.args('what', 'delayed'), delay => '1 s');});
super('postgres', 'ALTER DATABASE renamed ALLOW_CONNECTIONS false');
super('postgres', q{
	SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = 'renamed'});
$node->wait_for_log(qr/tasks of role \d+ in database \d+ do not run: the database does not accept connections/);
super('postgres', 'ALTER DATABASE renamed ALLOW_CONNECTIONS true');
$node->append_conf('postgresql.conf', "asynctasq.sweep_interval = '1s'");
$node->reload;
wait_for($node, 'renamed', q{SELECT count(*) = 1 FROM app.log WHERE what = 'delayed'});
pass('a database that accepts connections again runs its tasks');

# Sweeps remove an old result, and so show that they have been.  Each takes one
# database after the other: when a second one has begun, all of the first is done.
sub wait_for_sweep
{
	foreach my $n (1 .. 2)
	{
		super('shop', q{
			INSERT INTO asynctasq.result (id, queue_id, priority, attempt, max_attempts, status, task, args, dispatched_at, finished_at)
			SELECT -1, min(id), 0, 1, 1, 'completed', 'old', '{}', '2000-01-01', '2000-01-01' FROM asynctasq.queue});
		wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.result WHERE id = -1');
	}
	return;
}

# Nobody of ours tries to enter a database while it sweeps, twice: one may have
# been on the way before.
sub is_left_alone
{
	my ($name) = @_;

	wait_for_sweep();
	my $offset = -s $node->logfile;
	wait_for_sweep();
	unlike(slurp_file($node->logfile, $offset), qr/FATAL|invalid database|does not exist|"broken"/, $name);
	return;
}

# One that DROP DATABASE has left half way, which marks it so; and that is gone.
make_database('broken');
sql('broken', q{
	SELECT asynctasq.pause_queue('safe');
	SELECT asynctasq.dispatch('note', asynctasq.args('what', 'kept'), queue => 'safe');});
super('postgres', q{UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'});
super('postgres', q{SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = 'broken'});
is_left_alone('a database that is not valid is left alone');
super('postgres', q{UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'broken'});
sql('broken', q{SELECT asynctasq.resume_queue('safe')});
wait_for($node, 'broken', q{SELECT count(*) = 1 FROM app.log WHERE what = 'kept'});
pass('and is served when it is valid again');
sql('broken', q{
	SELECT asynctasq.pause_queue('safe');
	SELECT asynctasq.dispatch('note', asynctasq.args('what', 'lost'), queue => 'safe');});
super('postgres', q{UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'});
super('postgres', 'DROP DATABASE broken');
is_left_alone('one that was dropped is not looked for again');

# Maintenance of our tables only delays: claimed tasks that it has moved are
# found again.
super('shop', 'DELETE FROM app.log; DELETE FROM asynctasq.dead_letter');
load('shop', 2000);
super('shop', $_)
  foreach (
	'VACUUM FULL asynctasq.task_logged',
	'VACUUM FULL asynctasq.task_unlogged',
	'CLUSTER asynctasq.task_logged USING task_logged_id',
	'REINDEX TABLE asynctasq.task_unlogged',
	'REINDEX TABLE CONCURRENTLY asynctasq.task_logged',
	'VACUUM FULL asynctasq.handler',
	'ALTER TABLE asynctasq.task_unlogged SET LOGGED',
	'ALTER TABLE asynctasq.task_unlogged SET UNLOGGED');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
query_is(
	$node, 'shop', q{
	SELECT (SELECT count(*) FROM app.log WHERE what = 'load'),
		(SELECT count(*) FROM asynctasq.dead_letter WHERE error ->> 'message' = 'load'),
		(SELECT count(*) FROM asynctasq.dead_letter WHERE error ->> 'message' <> 'load')},
	'1800|200|0', 'VACUUM FULL, CLUSTER, REINDEX and SET LOGGED lose no task');

# An administrator empties the tables.
foreach my $command ('TRUNCATE asynctasq.task', 'DELETE FROM asynctasq.task')
{
	load('shop', 2000);
	super('shop', $command);
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
	runs('shop', $command);
	super('shop', 'DELETE FROM app.log');
}

# Nothing of all this was a crash, or an error over and over.
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|was terminated by signal|TRAP:/, 'no crash');
unlike($log, qr/deadlock detected/, 'no deadlock');
my %errors;
$errors{$_}++ foreach grep { !/ERROR:  load$/ } $log =~ /^\S+ \S+ \S+ \[\d+\] ((?:ERROR|FATAL): .*)$/mg;
is_deeply([ grep { $errors{$_} > 3 && !/administrator command/ } sort keys %errors ],
	[], 'no process of ours repeats an error');

$node->stop;
done_testing();
