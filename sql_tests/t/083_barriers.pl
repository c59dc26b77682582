# Whatever a worker is doing, it takes part when all processes have to agree,
# as for CREATE and DROP DATABASE: these end while it is still doing it.

use strict;
use warnings;

use AtqRemote;
use AtqTest;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'only where libraries can be preloaded' if $^O ne 'linux';

# It accepts whoever connects, and says nothing.
my $silent = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1') or die $!;

$ENV{LD_PRELOAD} = "$ENV{TESTDIR}/sql_tests/module/names.so";
my $node = new_cluster(
	'main',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.max_payload' => '64MB',
	'asynctasq.fetch_timeout' => '0');
delete $ENV{LD_PRELOAD};
create_tenant($node, 'shop', 'app', 'other');
create_servers($node, 'shop', "user 'other'",
	self => address_of($node, 'shop'),
	hole => black_hole(),
	silent => "host '127.0.0.1', port '" . $silent->sockport . "'",
	slow => "host 'slow.test'");
$node->safe_psql('shop', 'GRANT pg_write_server_files TO app');
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 1000) AS n;
	CREATE FUNCTION nothing() RETURNS void LANGUAGE sql RETURN NULL;
	CREATE FUNCTION one(u users) RETURNS void LANGUAGE sql RETURN NULL;
	CREATE FUNCTION hold() RETURNS void LANGUAGE sql RETURN pg_advisory_xact_lock_shared(42);
	CREATE FUNCTION compute() RETURNS void LANGUAGE plpgsql AS 'BEGIN LOOP END LOOP; END';
	CREATE FUNCTION copy() RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN COPY (SELECT generate_series(1, 1000000000000)) TO '/dev/null'; END $$;
	CREATE FUNCTION ask(server text) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN PERFORM asynctasq.gather(server, 'COPY (SELECT pg_sleep(3600)) TO STDOUT'); END $$;
	CREATE FUNCTION read() RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN PERFORM asynctasq.stream('self', 'SELECT pg_sleep(n) FROM generate_series(0, 3600) AS n', fetch_size => 1); END $$;
	CREATE FUNCTION many(v timestamptz[]) RETURNS void LANGUAGE plpgsql AS
		'BEGIN PERFORM pg_advisory_xact_lock_shared(42); END';
	CREATE FUNCTION document(v jsonb) RETURNS void LANGUAGE plpgsql AS
		'BEGIN PERFORM pg_advisory_xact_lock_shared(42); END';
	CREATE FUNCTION rows(v users[]) RETURNS void LANGUAGE plpgsql AS
		'BEGIN PERFORM pg_advisory_xact_lock_shared(42); END';
	-- {"v": [item, item, ..]}
	CREATE FUNCTION list_of(item bytea, n int) RETURNS asynctasq.msgpack LANGUAGE sql RETURN
		('\x81a176dd'::bytea || int4send(n) || decode(repeat(encode(item, 'hex'), n), 'hex'))::asynctasq.msgpack;
	-- {"v": {"89abcdef": 7, ..}}, in no order
	CREATE FUNCTION object_of(n int) RETURNS asynctasq.msgpack LANGUAGE sql RETURN
		('\x81a176df'::bytea || int4send(n) || (
			SELECT string_agg('\xa8'::bytea || convert_to(lpad(to_hex((i::bigint * 2654435761) % 4294967296), 8, '0'), 'UTF8') || '\x07'::bytea, '')
			FROM generate_series(1, n) AS i))::asynctasq.msgpack;
	SELECT asynctasq.register_handler('nothing', 'nothing()'), asynctasq.register_handler('one', 'one(users)'),
		asynctasq.register_handler('hold', 'hold()'), asynctasq.register_handler('compute', 'compute()'),
		asynctasq.register_handler('copy', 'copy()'), asynctasq.register_handler('ask', 'ask(text)'),
		asynctasq.register_handler('read', 'read()'), asynctasq.register_handler('many', 'many(timestamptz[])'),
		asynctasq.register_handler('document', 'document(jsonb)'), asynctasq.register_handler('rows', 'rows(users[])');
	SELECT asynctasq.register_model('User', 'users'), asynctasq.register_model('Far', 'users', server => 'silent');});

# What the worker is doing: the same as before only if it has gone on with it.
my $doing = q{
	SELECT concat_ws(' ', pid, w.state, task_id, tasks_done, coalesce(wait_event, 'computes'), query_start)
	FROM asynctasq.stat_workers AS w JOIN pg_stat_activity AS a USING (pid) WHERE role = 'app'};

# The worker goes on as it was while another database comes and goes; returns
# whether it has.
my $admin = $node->background_psql('shop', on_error_stop => 0);
$admin->set_query_timer_restart;
$admin->query_safe(q{SET statement_timeout = '60s'});

sub agrees
{
	my ($sql, $commands) = @_;
	my $before = $admin->query_safe($sql // $doing);
	my $failed;

	$admin->query($commands // "CREATE DATABASE aside STRATEGY file_copy;\nDROP DATABASE aside;");
	$failed = $admin->{stderr} =~ /(ERROR: .*)/;
	diag($1) if $failed;
	note($before);
	return !$failed && $before ne '' && $admin->query_safe($sql // $doing) eq $before;
}

sub dispatch
{
	my ($call) = @_;

	return app($node, 'shop', 'app', "SELECT asynctasq.dispatch($call)");
}

# state($name, $call, $condition, $more): a task that gets nowhere until it is
# cancelled, when it is where a condition on $a, the worker's activity, says.
sub state
{
	my ($name, $call, $condition, $more) = @_;
	my $id = dispatch($call);

	wait_for($node, 'shop', qq{
		SELECT count(*) = 1 FROM asynctasq.stat_workers AS w JOIN pg_stat_activity AS a USING (pid)
		WHERE task_id = $id AND $condition});
	$more->() if $more;
	ok(agrees(), $name);
	is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', "$name: the task was still running");
	wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($id)");
	return;
}

my $waits = q{a.wait_event_type = 'Extension'};

sub remote_query
{
	my ($query) = @_;

	return sub {
		wait_for($node, 'shop', qq{
			SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'other' AND wait_event = 'PgSleep' AND query LIKE '$query%'});
	};
}

dispatch(q{'nothing'});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE state = 'idle' AND tasks_done > 0});
ok(agrees(), 'idle');

my $locker = $node->background_psql('shop');
$locker->set_query_timer_restart;
$locker->query_safe('BEGIN; LOCK TABLE app.users; SELECT pg_advisory_xact_lock(42)');
state('waiting for the row of a reference', q{'one', asynctasq.args('u', asynctasq.ref('User', 1))}, q{a.wait_event = 'relation'});
state('waiting in a handler', q{'hold'}, q{a.wait_event = 'advisory'});
$locker->query_safe('ROLLBACK');

state('computing in a handler', q{'compute'}, 'a.wait_event IS NULL');
state('in COPY', q{'copy'}, 'EXISTS (SELECT FROM pg_stat_progress_copy AS c WHERE c.pid = a.pid AND tuples_processed > 0)');
state('connecting to a black hole', q{'ask', asynctasq.args('server', 'hole'::text)}, $waits);
state('looking a host name up', q{'ask', asynctasq.args('server', 'slow'::text)}, $waits);
state('logging in at another server', q{'ask', asynctasq.args('server', 'silent'::text)}, $waits);
state('.. for the row of a reference', q{'one', asynctasq.args('u', asynctasq.ref('Far', 1))}, $waits);
state('waiting for another server', q{'ask', asynctasq.args('server', 'self'::text)}, $waits, remote_query('COPY'));
state('.. for more of its rows', q{'read'}, $waits, remote_query('FETCH'));

# What ends by itself takes longer than DROP DATABASE, which is what waits for
# all processes.  The handler waits, so that a worker which does not has not come
# to it.  If one is too fast, the next one is tried.
sub busy
{
	my ($name, $call) = @_;
	my $agreed = 0;

	for (my $tries = 0; !$agreed && $tries < 10; $tries++)
	{
		my $id;

		$locker->query_safe('SELECT pg_advisory_lock(42)');
		$admin->query_safe('CREATE DATABASE aside STRATEGY file_copy');
		$id = dispatch($call);
		wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $id");
		$agreed = agrees(qq{
			SELECT concat_ws(' ', pid, task_id) FROM asynctasq.stat_workers AS w JOIN pg_stat_activity USING (pid)
			WHERE task_id = $id AND wait_event IS DISTINCT FROM 'advisory'}, 'DROP DATABASE aside');
		wait_for_held($node, 1);
		$locker->query_safe('SELECT pg_advisory_unlock(42)');
		wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
	}
	ok($agreed, $name);
	return;
}

busy('decoding 64 MB of times', q{'many', app.list_of('\xc71901' || convert_to('2026-01-02T03:04:05+00:00', 'UTF8'), 2390000)});
busy('decoding 64 MB of text into a document', q{'document', app.list_of('\xd90a' || convert_to('0123456789', 'UTF8'), 5500000)});
busy('reading rows for references', q{'rows', app.list_of((SELECT substring(asynctasq.args('v', asynctasq.ref('User', 7))::bytea FROM 4)), 1650000)});

# Sorting the keys of a large document: then a process computes, and its memory,
# which is that of all the pairs, stays as it is, but for a few pages.  Returns
# how many it has, or 0 when the worker has come to its handler.
sub sorts
{
	my ($pid) = @_;
	my ($pages, $since) = (0, 0);

	while ($admin->query_safe("SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") ne 'advisory')
	{
		my ($resident, $ticks) = (pages($pid), (split / /, slurp_file("/proc/$pid/stat") =~ s/.*\) //r)[11]);

		($pages, $since) = ($resident, $ticks) if abs($resident - $pages) > 1000;
		return $pages if $pages > 120_000_000 / 4096 && $ticks - $since >= 20;
	}
	return 0;
}

sub pages
{
	my ($pid) = @_;

	return (split / /, slurp_file("/proc/$pid/statm"))[1];
}

# How fast the machine is decides whether a process is met at it.
if ($ENV{ATQ_TEST_LARGE})
{
	# A new worker, which has no memory of other tasks.
	$node->safe_psql('shop', 'SELECT pg_terminate_backend(pid, 60000) FROM asynctasq.stat_workers');
	my $agreed = 0;
	for (my $tries = 0; !$agreed && $tries < 3; $tries++)
	{
		my ($pid, $sorting);

		$admin->query_safe('CREATE DATABASE aside STRATEGY file_copy');
		$locker->query_safe('SELECT pg_advisory_lock(42)');
		dispatch(q{'document', app.object_of(3000000)});
		wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'document'});
		$pid = $admin->query_safe(q{SELECT pid FROM asynctasq.stat_workers WHERE task = 'document'});
		$sorting = sorts($pid);
		$admin->query_safe('DROP DATABASE aside');
		$agreed = $sorting > 0 && abs(pages($pid) - $sorting) <= 1000;
		$locker->query_safe('SELECT pg_advisory_unlock(42)');
		wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
	}
	ok($agreed, 'sorting the keys of a document');
}

query_is($node, 'postgres', 'SELECT count(*) FROM pg_database WHERE datconnlimit = -2', '0', 'no database is invalid');
$_->quit foreach ($locker, $admin);
$node->stop;
done_testing();
