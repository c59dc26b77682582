# Values and types that hold others, many levels deep or many times over: an
# error or a result, and a worker that hears what it is told meanwhile.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main', 'restart_after_crash' => 'on');
create_tenant($node, 'shop', 'app', 'narrow');
create_test_functions($node, 'shop');
my $started = $node->safe_psql('shop', 'SELECT pg_postmaster_start_time()');

# The task's SQLSTATE, or how it ended.
sub outcome
{
	my ($role, $task) = @_;
	my $id = app($node, 'shop', $role, "SELECT asynctasq.dispatch('$task')");

	wait_for($node, 'shop',
		"SELECT (asynctasq.task_info($id)).finished_at IS NOT NULL");
	return $node->safe_psql('shop', qq{
		SELECT coalesce(error ->> 'sqlstate', status) FROM asynctasq.task_info($id)});
}

# A record in a record, deeper than the stack, as a result.
app($node, 'shop', 'app', q{
	CREATE FUNCTION deep() RETURNS record LANGUAGE sql AS 'SELECT test.atq_test_deep_record(200000)';
	SELECT asynctasq.register_handler('deep', 'deep()', max_attempts => 1, keep_result => true);});
is(outcome('app', 'deep'), '54001', 'a record that is too deep is an error');

# A type that has another one twice, which has another one twice, ...  From the
# top: the server itself looks at all of a type that is given to another.
app($node, 'shop', 'app', q{
	DO $$
	BEGIN
		FOR i IN 0 .. 60 LOOP
			EXECUTE format('CREATE TYPE many%s AS (n int)', i);
		END LOOP;
		FOR i IN REVERSE 60 .. 1 LOOP
			EXECUTE format('ALTER TYPE many%s ADD ATTRIBUTE a many%s, ADD ATTRIBUTE b many%s', i, i - 1, i - 1);
		END LOOP;
	END $$;
	CREATE FUNCTION many() RETURNS many60 LANGUAGE sql AS 'SELECT 1, NULL::many59, NULL::many59';
	SELECT asynctasq.register_handler('many', 'many()', max_attempts => 1, keep_result => true);});
is(outcome('app', 'many'), 'completed', 'a type is looked at once, however often it is in another');

# An array of arrays of arrays ..., as a parameter.
$node->safe_psql('shop', "ALTER ROLE narrow SET max_stack_depth = '100kB'");
app($node, 'shop', 'narrow', q{
	DO $$
	BEGIN
		CREATE DOMAIN nested0 AS int;
		FOR i IN 1 .. 2000 LOOP
			EXECUTE format('CREATE DOMAIN nested%s AS nested%s[]', i, i - 1);
		END LOOP;
	END $$;
	CREATE FUNCTION nested(n nested2000 DEFAULT NULL) RETURNS void LANGUAGE sql AS 'SELECT';
	SELECT asynctasq.register_handler('nested', 'nested(nested2000)', max_attempts => 1, keep_result => true);});
is(outcome('narrow', 'nested'), '54001', 'a type that is too deep is an error');

is($node->safe_psql('shop', 'SELECT pg_postmaster_start_time()'), $started, 'the server did not crash');

$node->stop;
done_testing();
