# More combinations of queue and priority than there is room for in shared
# memory: what finds none is found by the next sweep.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $tasks = 9000;
my $node = new_cluster('main', 'asynctasq.sweep_interval' => '1s');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', qq{
	CREATE TABLE ran (n int);
	CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO ran VALUES (n); END;
	SELECT asynctasq.register_handler('note', 'note(int)');
	SELECT count(asynctasq.dispatch('note', asynctasq.args('n', n), priority => n))
	FROM generate_series(1, $tasks) AS n;});
wait_for($node, 'shop', "SELECT count(*) >= $tasks FROM app.ran");
query_is($node, 'shop', 'SELECT count(*), count(DISTINCT n) FROM app.ran',
	"$tasks|$tasks", 'tasks of 9,000 priorities ran once each');

$node->stop;
done_testing();
