# A backlog of one queue or one role does not keep others waiting, workers that
# are idle hold no snapshot, and sessions that dispatch all day do not grow
# (cases T31, T34).  A worker that runs a long task does hold one (case T47).

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main',
	'asynctasq.max_workers' => 1,
	'asynctasq.workers_per_lane' => 1);
create_tenant($node, 'shop', 'app', 'guest');
$node->safe_psql('shop', 'CREATE SEQUENCE place; GRANT ALL ON SEQUENCE place TO PUBLIC; GRANT pg_read_all_stats TO app');
foreach my $role ('app', 'guest')
{
	app($node, 'shop', $role, qq{
		CREATE TABLE ran (queue text, place bigint);
		CREATE FUNCTION run(queue text, seconds float) RETURNS void LANGUAGE sql BEGIN ATOMIC
			SELECT pg_sleep(seconds);
			INSERT INTO ran VALUES (queue, nextval('public.place'));
		END;
		SELECT asynctasq.register_handler('$role', 'run(text, float)');});
}

sub dispatch
{
	my ($role, $queue, $n, $seconds) = @_;

	app($node, 'shop', $role,
		"SELECT count(asynctasq.dispatch('$role', asynctasq.args('queue', '$queue', 'seconds', $seconds), queue => '$queue'))
		 FROM generate_series(1, $n)");
	return;
}

sub wait_until_done
{
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
	return;
}

# The worker looks at the other queue after each claim.
dispatch('app', 'long', 20000, 0);
wait_for($node, 'shop', q{SELECT count(*) > 0 FROM app.ran});
dispatch('app', 'short', 1, 0);
dispatch('app', 'long', 20000, 0);
wait_until_done();
query_is($node, 'shop', q{
	SELECT max(place) FILTER (WHERE queue = 'short') < max(place) FILTER (WHERE queue = 'long') FROM app.ran},
	't', 'a task of another queue did not wait for the end of a backlog');

# The only worker there may be is given to the other role.
dispatch('app', 'long', 3000, 0.001);
wait_for($node, 'shop', q{SELECT last_value > 40002 FROM place});
dispatch('guest', 'short', 1, 0);
wait_until_done();
query_is($node, 'shop', 'SELECT (SELECT place FROM guest.ran) < max(place) FROM app.ran',
	't', 'a task of another role did not wait for the end of a backlog');

# What waits is in nobody's way.
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE state = 'idle'});
query_is($node, 'shop',
	q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'asynctasq'
		AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)},
	'0', 'idle workers and the launcher hold no snapshot');

# One session, many transactions that dispatch.
app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('long')});
my $used = 'SELECT sum(total_bytes) AS bytes FROM pg_backend_memory_contexts';
my $dispatch = q{asynctasq.dispatch('app', asynctasq.args('queue', 'long', 'seconds', 0.0), queue => 'long')};
my $growth = app($node, 'shop', 'app', qq{
	\\o /dev/null
	SELECT \$q\$SELECT $dispatch\$q\$ FROM generate_series(1, 1000) \\gexec
	$used \\gset before_
	SELECT \$q\$SELECT $dispatch\$q\$ FROM generate_series(1, 20000) \\gexec
	$used \\gset after_
	\\o
	SELECT :after_bytes - :before_bytes;});
cmp_ok($growth, '<', 65536, 'a session does not grow with the transactions that dispatch');

$node->stop;
done_testing();
