# A backlog of one queue or one role does not keep others waiting, nor does a
# long task hold up what the server cleans; sessions that dispatch all day do
# not grow (cases T31, T34, T47).

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $backlog = 20000;
my $claim_size = 100;
my $node = new_cluster('main',
	'asynctasq.max_workers' => 1,
	'asynctasq.workers_per_lane' => 1,
	'asynctasq.claim_size' => $claim_size);
create_tenant($node, 'shop', 'app', 'guest');

foreach my $role ('app', 'guest')
{
	app($node, 'shop', $role, q{
		CREATE TABLE ran (place serial, queue text, seen bigint);
		CREATE SEQUENCE done;
		CREATE FUNCTION run(queue text) RETURNS void LANGUAGE sql BEGIN ATOMIC
			INSERT INTO ran (queue, seen) VALUES (queue, nextval('done'));
		END;} . "SELECT asynctasq.register_handler('$role', 'run(text)');");
}

sub dispatch
{
	my ($role, $queue, $n) = @_;

	app($node, 'shop', $role,
		"SELECT count(asynctasq.dispatch('$role', asynctasq.args('queue', '$queue'), queue => '$queue'))
		 FROM generate_series(1, $n)");
	return;
}

# The worker looks at the other queue after each claim.
dispatch('app', 'long', $backlog);
wait_for($node, 'shop', 'SELECT last_value > 100 FROM app.done');
my $before = app($node, 'shop', 'app', 'SELECT last_value FROM done');
dispatch('app', 'short', 1);
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.ran WHERE queue = 'short'});
my $seen = app($node, 'shop', 'app', q{SELECT seen FROM ran WHERE queue = 'short'});
cmp_ok($seen, '<', $backlog, 'a task of another queue did not wait for the end of the backlog');

# The only worker there may be is given to the other role.
dispatch('app', 'long', 10 * $backlog);
dispatch('guest', 'short', 1);
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM guest.ran');
query_is($node, 'shop', q{SELECT count(*) > 0 FROM asynctasq.task}, 't',
	'a task of another role did not wait for the end of the backlog');
app($node, 'shop', 'app', q{SELECT asynctasq.purge_queue('long')});

# Nothing is held back by workers that wait.
$node->append_conf('postgresql.conf', "asynctasq.worker_idle_timeout = '1h'");
$node->reload;
dispatch('guest', 'short', 1);
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM guest.ran');
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE state = 'idle'});
query_is($node, 'shop',
	q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'asynctasq'
		AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)},
	'0', 'idle workers and the launcher hold no snapshot');

# One session, many transactions that dispatch.
app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('long')});
my $memory = app($node, 'shop', 'app', q{
	CREATE TEMP TABLE used (n int, bytes bigint);
	CREATE PROCEDURE dispatch_often(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM asynctasq.dispatch('app', asynctasq.args('queue', 'long'), queue => 'long');
			COMMIT;
		END LOOP;
		INSERT INTO used SELECT n, sum(total_bytes) FROM pg_backend_memory_contexts;
	END $$;
	CALL dispatch_often(1000);
	CALL dispatch_often(1000);
	CALL dispatch_often(20000);
	SELECT max(bytes) FILTER (WHERE n = 20000) - max(bytes) FILTER (WHERE n = 1000) FROM used;});
cmp_ok($memory, '<', 65536, 'a session does not grow with the transactions that dispatch');

$node->stop;
done_testing();
