# A batch in a worker: what stops it stops the task that is meant, or ends in
# single tasks.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main', 'asynctasq.workers_per_lane' => '1');
create_tenant($node, 'shop', 'app');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

sql(q{
	CREATE TABLE calls (seq bigserial, ids int[]);
	CREATE TABLE go (what text);
	CREATE FUNCTION work(n int[], what text[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.calls (ids) VALUES (n);
		IF 'sleep' = ANY (what) THEN
			PERFORM pg_sleep(3600);
		END IF;
		WHILE 'await' = ANY (what) AND NOT EXISTS (SELECT FROM app.go) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;
	SELECT asynctasq.register_handler('work', 'work(int[], text[])', max_attempts => 1, batch_size => 8);});

sub dispatch
{
	my @what = @_;
	my $n = 0;
	my $values = join ', ', map { $n++; "($n, '$_')" } @what;

	return split /\n/, sql(qq{
		TRUNCATE calls, go;
		SELECT asynctasq.dispatch('work', asynctasq.args('n', n, 'what', what))
		FROM (VALUES $values) AS t (n, what) ORDER BY n;});
}

sub outcome
{
	wait_for($node, 'shop', 'SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues');
	my $done = sql(q{SELECT coalesce(string_agg(ids::text, ' ' ORDER BY seq), '-') FROM calls});
	my $failed = sql(q{SELECT coalesce(string_agg(format('%s:%s', args ->> 'n', error ->> 'sqlstate'), ' ' ORDER BY id), '-')
		FROM asynctasq.dead_letters});
	sql(q{SELECT asynctasq.purge_queue('default', true)});
	return "$done | $failed";
}

dispatch(('fine') x 8);
is(outcome(), '{1,2,3,4,5,6,7,8} | -', 'one call for all');
is(sql('SELECT calls, failures FROM asynctasq.stat_handlers'), '8|0', 'each task is counted');

my @ids = dispatch('fine', 'await', 'fine');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[0]");
is(sql("SELECT string_agg(status, ' ') FROM unnest(ARRAY[$ids[0], $ids[1], $ids[2]]) AS id, asynctasq.task_info(id)"),
	'running running running', 'all of them run');
is(sql("SELECT asynctasq.cancel($ids[2])"), 't', 'one can be cancelled');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($ids[2])");
sql('INSERT INTO go VALUES (1)');
is(outcome(), '{1,2} | -', 'and the others are done');

sql(q{SELECT asynctasq.register_handler('work', 'work(int[], text[])', max_attempts => 1, batch_size => 8,
	timeout => '200 ms')});
dispatch('fine', 'fine', 'sleep', 'fine');
is(outcome(), '{1,2} {4} | 3:57014', 'a timeout ends with the task that takes so long');
sql(q{SELECT asynctasq.register_handler('work', 'work(int[], text[])', max_attempts => 1, batch_size => 8)});

@ids = dispatch('fine', 'sleep');
wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $ids[0]");
$node->safe_psql('shop', "SELECT pg_cancel_backend(pid) FROM asynctasq.stat_workers WHERE task_id = $ids[0]");
is(outcome(), '- | 1:57014 2:57014', 'pg_cancel_backend is a failure of all of them');

done_testing();
