
=pod

=head1 NAME

AtqTest - what the TAP tests of asynctasq share

=head1 DESCRIPTION

Where the extension was not installed into the server's directories, the file
named by TEMP_CONFIG, which PostgreSQL::Test::Cluster appends to each
cluster's configuration, says where it is.

Tests wait on conditions, never for a time: see C<wait_for>.

=cut

package AtqTest;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_cluster create_tenant create_test_functions
  new_deadly_cluster dispatch_deadly hold_task crashes_are app app_fails
  wait_for wait_for_held amount query_is kill_at_command kill_postmaster
  set_clock python);

# new_cluster($name, setting => value, ...): a running cluster that preloads
# the extension.  The pseudo setting "streaming" prepares it for standbys.
sub new_cluster
{
	my ($name, %settings) = @_;
	my $streaming = delete $settings{streaming};
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		allows_streaming => $streaming,
		extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', <<~'CONF');
		shared_preload_libraries = 'asynctasq'
		shared_buffers = '16MB'
		log_min_messages = 'info'
		CONF
	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'")
	  for sort keys %settings;
	$node->start;
	return $node;
}

# create_tenant($node, $db, @roles): the extension in a database, made if need
# be, and ordinary roles that may use it, each with a schema of its own.
sub create_tenant
{
	my ($node, $db, @roles) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db")
	  if $node->safe_psql('postgres',
		"SELECT 1 FROM pg_database WHERE datname = '$db'") eq '';
	$node->safe_psql($db, 'CREATE EXTENSION asynctasq');
	foreach my $role (@roles)
	{
		$node->safe_psql('postgres', "CREATE ROLE $role LOGIN")
		  if $node->safe_psql('postgres',
			"SELECT 1 FROM pg_roles WHERE rolname = '$role'") eq '';
		$node->safe_psql(
			$db, qq{
			GRANT USAGE ON SCHEMA asynctasq TO $role;
			CREATE SCHEMA AUTHORIZATION $role;});
	}
	return;
}

# create_test_functions($node, $db): the functions of sql_tests/module, which
# misbehave as only C code can, in a schema "test" that anybody may use.
sub create_test_functions
{
	my ($node, $db) = @_;
	my $module = "$ENV{TESTDIR}/sql_tests/module/atq_test.so";
	my $sql = 'CREATE SCHEMA test; GRANT USAGE ON SCHEMA test TO PUBLIC;';

	$sql .= "CREATE FUNCTION test.$_ RETURNS void LANGUAGE c AS '$module';"
	  foreach ('atq_test_segfault()', 'atq_test_kill_self()',
		'atq_test_kill_at(event text, n int)',
		'atq_test_loop_uninterruptible(ms int)',
		'atq_test_swallow_cancel()', 'atq_test_fatal()', 'atq_test_linger()',
		'atq_test_panic()', 'atq_test_bad_text()',
		'atq_test_start_launcher()');
	$sql .= "CREATE FUNCTION test.atq_test_bad_result(zero bool) RETURNS text LANGUAGE c AS '$module';";
	$sql .= "CREATE FUNCTION test.atq_test_deep_record(levels int) RETURNS record LANGUAGE c AS '$module';";
	$node->safe_psql($db, $sql);
	return;
}

# new_deadly_cluster(): a cluster that restarts after crashes, with a database
# "shop" in which the role app has functions for handlers.  work(what, how) and
# work_many(what[], how[]) crash the server when an argument says so, else keep
# what they did in app.effects.  The argument how is a way to die, or "not";
# "fuse" is a segmentation fault as long as app.fuse is empty.  hold() has its
# effect when it gets the advisory lock 42: see hold_task.
sub new_deadly_cluster
{
	my $node = new_cluster(
		'main',
		'restart_after_crash' => 'on',
		'asynctasq.worker_idle_timeout' => '1h');

	create_tenant($node, 'shop', 'app');
	create_test_functions($node, 'shop');
	app($node, 'shop', 'app', q{
		CREATE TABLE effects (what text, attempt int);
		CREATE TABLE fuse (burnt boolean);
		CREATE FUNCTION die(how text) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			CASE how
				WHEN 'segfault' THEN PERFORM test.atq_test_segfault();
				WHEN 'kill' THEN PERFORM test.atq_test_kill_self();
				WHEN 'panic' THEN PERFORM test.atq_test_panic();
				WHEN 'error' THEN RAISE 'no luck';
				WHEN 'fuse' THEN
					IF NOT EXISTS (SELECT FROM app.fuse) THEN
						PERFORM test.atq_test_segfault();
					END IF;
				WHEN 'not' THEN NULL;
			END CASE;
		END $$;
		CREATE FUNCTION work(what text, how text DEFAULT 'not') RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM die(how);
			INSERT INTO app.effects VALUES (what, (asynctasq.current_task()).attempt);
		END $$;
		CREATE FUNCTION work_many(what text[], how text[]) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM die(h) FROM unnest(how) AS h;
			INSERT INTO app.effects SELECT unnest(what), (asynctasq.current_task()).attempt;
		END $$;
		CREATE FUNCTION hold() RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock(42);
			INSERT INTO app.effects VALUES ('held', (asynctasq.current_task()).attempt);
		END $$;});
	return $node;
}

# dispatch_deadly($node, $db, $sql): runs SQL as the role app.  The session may
# be gone with the server before it has said good-bye.
sub dispatch_deadly
{
	my ($node, $db, $sql) = @_;

	$node->psql($db, $sql, extra_params => [ '-U', 'app' ]);
	return;
}

# hold_task($node): has a worker run a task of the handler "hold" until the
# session that is returned ends.
sub hold_task
{
	my ($node) = @_;
	my $session = $node->background_psql('shop');

	$session->query_safe('SELECT pg_advisory_lock(42)');
	app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('hold')});
	wait_for_held($node, 1);
	return $session;
}

# crashes_are($node, $offset, $n, $name): the server has crashed so many times
# since its log was so long.
sub crashes_are
{
	my ($node, $offset, $n, $name) = @_;
	my @crashes = slurp_file($node->logfile, $offset) =~ /all server processes terminated; reinitializing/g;

	return is(scalar @crashes, $n, "$name: crashes");
}

# app($node, $db, $role, $sql): runs SQL as a role; dies on an error.
sub app
{
	my ($node, $db, $role, $sql) = @_;

	return $node->safe_psql($db, $sql, extra_params => [ '-U', $role ]);
}

# app_fails($node, $db, $role, $sql, $pattern, $name): the SQL must fail with
# a message, SQLSTATE first, that matches.
sub app_fails
{
	my ($node, $db, $role, $sql, $pattern, $name) = @_;
	my ($status, $stdout, $stderr) = $node->psql(
		$db,
		"\\set VERBOSITY verbose\n$sql",
		extra_params => [ '-U', $role ]);

	isnt($status, 0, "$name: fails");
	return like($stderr, $pattern, "$name: message");
}

# wait_for($node, $db, $sql, $expected): until a query gives what is expected
# (by default "t"); dies when it does not in time.  Some releases of IPC::Run
# die when psql ends before it has read the query, as where the server does not
# accept connections yet.
sub wait_for
{
	my ($node, $db, $sql, $expected) = @_;
	my $met;

	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$met = eval { $node->poll_query_until($db, $sql, $expected // 't') || 0 };
		last if defined $met || $@ !~ /Broken pipe/;
	}
	die $@ if !defined $met;
	croak "waited in vain for: $sql" if !$met;
	return;
}

# wait_for_held($node, $n): until so many workers, and no more, wait for an
# advisory lock.
sub wait_for_held
{
	my ($node, $n) = @_;

	return wait_for($node, 'postgres', qq{
		SELECT count(*) = $n FROM pg_stat_activity
		WHERE backend_type = 'asynctasq worker' AND wait_event = 'advisory'});
}

# amount($usual, $large): how much of something to do, which is the larger
# where the environment has ATQ_TEST_LARGE.
sub amount
{
	my ($usual, $large) = @_;

	return $ENV{ATQ_TEST_LARGE} ? $large : $usual;
}

# query_is($node, $db, $sql, $expected, $name)
sub query_is
{
	my ($node, $db, $sql, $expected, $name) = @_;

	return is($node->safe_psql($db, $sql), $expected, $name);
}

# kill_at_command($node, $db, $tag, $sql): runs SQL whose session kills itself
# when the first command of this tag in it has ended; needs the functions of
# create_test_functions.  Returns when the server is back.
sub kill_at_command
{
	my ($node, $db, $tag, $sql) = @_;
	my $offset = -s $node->logfile;

	$node->safe_psql(
		$db, qq{
		CREATE FUNCTION test.kill_self() RETURNS event_trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM test.atq_test_kill_self(); END';
		CREATE EVENT TRIGGER kill_self ON ddl_command_end WHEN TAG IN ('$tag')
			EXECUTE FUNCTION test.kill_self();});
	$node->psql($db, $sql);
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
	wait_for($node, $db, 'SELECT true');
	$node->safe_psql($db, 'DROP EVENT TRIGGER kill_self; DROP FUNCTION test.kill_self()');
	return;
}

# kill_postmaster($node): by SIGKILL; returns when none of the server's
# processes is left, dies when one stays.
sub kill_postmaster
{
	my ($node) = @_;
	my @pids = ((split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0],
		split /\n/, $node->safe_psql('postgres',
			'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));

	$node->kill9;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if !grep { kill 0, $_ } @pids;
		select undef, undef, undef, 0.1;
	}
	croak "processes @pids do not end with the postmaster";
}

# set_clock($file, $seconds): a server that preloads module/clock.so with this
# file takes it to be so many seconds later than it is.
sub set_clock
{
	my ($file, $seconds) = @_;

	open(my $fh, -e $file ? '+<' : '+>', $file) or die "could not set the clock: $!";
	syswrite $fh, pack('q', $seconds);
	close $fh;
	return;
}

# python($node, $db, @arguments): what a Python program prints, without the
# last line end, as a client of the role "app"; dies when the program fails.
# It is the distribution's Python with its packages, whatever the PATH has.
sub python
{
	my ($node, $db, @arguments) = @_;
	local %ENV = (
		%ENV,
		PGHOST => $node->host,
		PGPORT => $node->port,
		PGDATABASE => $db,
		PGUSER => 'app',
		PYTHONDONTWRITEBYTECODE => 1,
		PYTHONNOUSERSITE => 1);
	delete $ENV{PYTHONPATH};
	my ($stdout, $stderr) = run_command([ '/usr/bin/python3', @arguments ]);

	croak "python3 @arguments failed: $stderr" if $?;
	diag($stderr) if $stderr ne '';
	return $stdout;
}

1;
