# What a crash of the server takes and what it leaves: ids, dead letters, the
# word about it (cases T2, T3), where a session crashed and no worker.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'restart_after_crash' => 'on',
	'asynctasq.sweep_interval' => '1d');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');

app($node, 'shop', 'app', q{
	CREATE TABLE effects (n int);
	CREATE FUNCTION work(n int, fail boolean) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES (n);
		IF fail THEN
			RAISE 'no luck with %', n;
		END IF;
	END $$;
	SELECT asynctasq.register_handler('work', 'work(int, boolean)', max_attempts => 1);});

# Tasks with these numbers, in one transaction, of which one fails.
sub dispatch
{
	my ($first, $last, $fails) = @_;

	return split /\n/, app($node, 'shop', 'app', qq{
		SELECT asynctasq.dispatch('work', asynctasq.args('n', n, 'fail', n = $fails))
		FROM generate_series($first, $last) AS n ORDER BY n});
}

sub wait_until_done
{
	return wait_for($node, 'shop', 'SELECT coalesce(sum(ready + running), 0) = 0 FROM asynctasq.stat_queues');
}

my $dead = q{SELECT string_agg(id || ' ' || (args ->> 'n') || ' ' || (error ->> 'message'), ', ' ORDER BY id) FROM asynctasq.dead_letters};

# Five tasks of which one fails, and a backlog that waits.
my @before = dispatch(1, 5, 3);
wait_until_done();
query_is($node, 'shop', $dead, "$before[2] 3 no luck with 3", 'one of five tasks is a dead letter');
app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('default')});
my @backlog = dispatch(101, 200, 0);

# A session that has nothing to do with tasks crashes.
my $offset = -s $node->logfile;
$node->psql('postgres', q{SELECT pg_backend_pid() AS pid \gset
	\setenv PID :pid
	\! kill -KILL $PID
	SELECT 1});
$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
wait_for($node, 'shop', 'SELECT lost_at IS NOT NULL AND emptied = 1 AND ready = 0 AND paused FROM asynctasq.stat_queues');
pass('the backlog is gone, which the queue says');
app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('default')});

# Five more, of which one fails.
my @after = dispatch(6, 10, 9);
wait_until_done();
cmp_ok($after[0], '>', $backlog[-1], 'ids go on rising');
query_is($node, 'shop', $dead, "$before[2] 3 no luck with 3, $after[3] 9 no luck with 9",
	'the dead letter from before is there, and a new one beside it');
query_is($node, 'shop', q{SELECT string_agg(n::text, ' ' ORDER BY n) FROM app.effects},
	'1 2 4 5 6 7 8 10', 'each of the others had its effects once, and none of the backlog');
query_is($node, 'shop', "SELECT id, status, args ->> 'n' FROM asynctasq.task_info($before[2])",
	"$before[2]|failed|3", 'an old dead letter is what its id says');
foreach my $id (@before[0, 1, 3, 4], @backlog[0, 99])
{
	query_is($node, 'shop', "SELECT id, task IS NULL, status, error ->> 'message' FROM asynctasq.task_info($id)",
		"$id|t|unknown|task has ended or was lost in a crash of the server",
		"of task $id no new task's status is told");
}
query_is($node, 'shop', qq{SELECT count(DISTINCT id) FROM unnest('{@{[ join ',', @before, @backlog, @after ]}}'::bigint[]) AS id},
	'110', 'no id came twice');

my @warnings = slurp_file($node->logfile, $offset) =~ /WARNING:  recovery of the server has emptied 1 queues/g;
is(scalar @warnings, 1, 'the log says once that the queue was emptied');

$node->stop;
done_testing();
