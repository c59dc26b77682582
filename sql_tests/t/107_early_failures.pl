# An attempt that is ended before its handler has been found is one of as many
# as the handler has, and no task's last.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main', 'asynctasq.workers_per_lane' => '1', 'asynctasq.worker_idle_timeout' => '10ms');
create_tenant($node, 'shop', 'app');
app($node, 'shop', 'app', q{
	CREATE TABLE effects (n int, attempt int);
	CREATE FUNCTION work(n int) RETURNS void LANGUAGE sql AS
		'INSERT INTO app.effects SELECT work.n, attempt FROM asynctasq.current_task()';
	CREATE FUNCTION work(n int[]) RETURNS void LANGUAGE sql AS
		'INSERT INTO app.effects SELECT unnest(work.n), attempt FROM asynctasq.current_task()';
	SELECT asynctasq.create_queue('default');
	SELECT asynctasq.register_handler('one', 'work(int)', max_attempts => 3, retry_delay => '0 s'),
		asynctasq.register_handler('group', 'work(int)', max_attempts => 3, retry_delay => '0 s', group_size => 10),
		asynctasq.register_handler('batch', 'work(int[])', max_attempts => 3, retry_delay => '0 s', batch_size => 10)});

# A worker reads of a handler what it does not know of it yet, and waits.
foreach my $handler ('one', 'group', 'batch')
{
	my $admin = $node->background_psql('shop');

	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
	app($node, 'shop', 'app', qq{
		SELECT asynctasq.pause_queue('default');
		SELECT asynctasq.dispatch('$handler', asynctasq.args('n', 1));
		TRUNCATE effects});
	$admin->query_safe('BEGIN; LOCK TABLE asynctasq.handler');
	app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('default')});
	my $waits = q{FROM pg_stat_activity WHERE backend_type = 'asynctasq worker' AND wait_event = 'relation'};
	wait_for($node, 'shop', "SELECT count(*) = 1 $waits");
	$node->safe_psql('shop', "SELECT pg_cancel_backend(pid) $waits");
	$admin->query_safe('COMMIT');
	$admin->quit;
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
	query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters', '0', "$handler: no dead letter");
	query_is($node, 'shop', 'SELECT * FROM app.effects', '1|2', "$handler: the second attempt is made");
}

$node->stop;
done_testing();
