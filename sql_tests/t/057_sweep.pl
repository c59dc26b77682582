# A sweep finds the task of a COMMIT PREPARED, also when the interval is made
# shorter while the launcher waits for the next one.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main',
	'max_prepared_transactions' => '1',
	'asynctasq.sweep_interval' => '1d');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', q{
	CREATE TABLE ran (n int);
	CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO ran VALUES (n); END;
	SELECT asynctasq.register_handler('note', 'note(int)');
	SELECT asynctasq.dispatch('note', '{"n": 1}');});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.ran');

app($node, 'shop', 'app', q{
	BEGIN;
	SELECT asynctasq.dispatch('note', '{"n": 2}');
	PREPARE TRANSACTION 'later';});
app($node, 'shop', 'app', "COMMIT PREPARED 'later'");
$node->append_conf('postgresql.conf', "asynctasq.sweep_interval = '1s'");
$node->reload;
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM app.ran');
query_is($node, 'shop', 'SELECT n FROM app.ran ORDER BY n',
	"1\n2", 'the task ran');

$node->stop;
done_testing();
