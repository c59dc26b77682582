# What is done to the queue is seen by statistics and vacuum.

use strict;
use warnings;

use AtqTest;
use Test::More;

sub sql
{
	my ($node, $sql) = @_;

	return app($node, 'shop', 'app', $sql);
}

sub make_handler
{
	my ($node) = @_;

	create_tenant($node, 'shop', 'app');
	sql($node, q{
		CREATE TABLE log (n int);
		CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (n); END;
		SELECT asynctasq.register_handler('note', 'note(int)', group_size => 100)});
	return;
}

# The queue's turnover is seen, and vacuumed.
my $node = new_cluster('turnover', 'autovacuum_naptime' => '1s', 'autovacuum_vacuum_threshold' => '1000');
make_handler($node);
sql($node, q{SELECT count(asynctasq.dispatch('note', asynctasq.args('n', n))) FROM generate_series(1, 100000) AS n});
wait_for($node, 'shop', 'SELECT count(*) = 100000 FROM app.log');
wait_for($node, 'shop', q{SELECT n_tup_ins >= 100000 AND n_tup_del >= 100000 FROM pg_stat_all_tables WHERE relid = 'asynctasq.task_unlogged'::regclass});
wait_for($node, 'shop', q{SELECT autovacuum_count > 0 AND n_dead_tup < 1000 FROM pg_stat_all_tables WHERE relid = 'asynctasq.task_unlogged'::regclass});
pass('100,000 tasks are counted and vacuumed');
$node->stop;
done_testing();
