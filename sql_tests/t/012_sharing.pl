# One transaction's tasks are run by as many workers as the lane may have,
# whether these are there or must be started first, and however quick the
# tasks before them were.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main',
	'asynctasq.workers_per_lane' => 3,
	'asynctasq.claim_size' => 1000);
create_tenant($node, 'shop', 'app');

# A task of meet() ends when three of them are running at the same time.
app($node, 'shop', 'app', q{
	CREATE TABLE met (round int, pid int);
	CREATE FUNCTION meet(round int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			EXIT WHEN (SELECT count(*) FROM asynctasq.stat_workers
				WHERE task = 'meet') = 3;
			EXIT WHEN EXISTS (SELECT FROM met WHERE met.round = meet.round);
			PERFORM pg_sleep(0.001);
		END LOOP;
		INSERT INTO met VALUES (round, pg_backend_pid());
	END $$;
	CREATE FUNCTION quick(n int) RETURNS void LANGUAGE sql RETURN NULL;
	SELECT asynctasq.register_handler('meet', 'meet(int)', timeout => '60 s', max_attempts => 1);
	SELECT asynctasq.register_handler('quick', 'quick(int)');});

sub meet
{
	my ($round, $name) = @_;

	app($node, 'shop', 'app',
		"SELECT count(asynctasq.dispatch('meet', asynctasq.args('round', $round)))
		 FROM generate_series(1, 3);");
	wait_for($node, 'shop', "SELECT count(*) = 3 FROM app.met WHERE round = $round");
	query_is($node, 'shop', "SELECT count(DISTINCT pid) FROM app.met WHERE round = $round",
		'3', $name);
}

meet(1, 'workers were started for one transaction');
meet(2, 'idle workers woke each other');

# The workers have found by now that a thousand of these take no time at all.
app($node, 'shop', 'app',
	"SELECT count(asynctasq.dispatch('quick', asynctasq.args('n', n)))
	 FROM generate_series(1, 5000) AS n;");
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
meet(3, 'an idle worker took over what a busy one had claimed');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters', '0',
	'no task waited in vain');

$node->stop;
done_testing();
