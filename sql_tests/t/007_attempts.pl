# A failed task is not run again by a second worker while the first one has
# rolled it back and not yet recorded its failure.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $tasks = 2000;
my $node = new_cluster('main', 'asynctasq.workers_per_lane' => '4');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', q{
	CREATE SEQUENCE runs;
	CREATE TABLE gave_up (id bigint);
	CREATE FUNCTION fails() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('app.runs');
		RAISE EXCEPTION 'no luck';
	END $$;
	CREATE FUNCTION note(task jsonb, error jsonb) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO gave_up VALUES ((task ->> 'id')::bigint); END;
	SELECT asynctasq.register_handler('fails', 'fails()', max_attempts => 1,
		on_failure => 'note(jsonb, jsonb)');});

# Each in a transaction of its own, so that ids are announced one by one while
# the workers claim.
app($node, 'shop', 'app', qq{
	DO \$\$
	BEGIN
		FOR n IN 1 .. $tasks LOOP
			PERFORM asynctasq.dispatch('fails');
			COMMIT;
		END LOOP;
	END \$\$;});
wait_for($node, 'shop', "SELECT count(*) >= $tasks FROM asynctasq.dead_letters");
wait_for($node, 'shop',
	'SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues');

query_is($node, 'shop', 'SELECT last_value FROM app.runs',
	$tasks, 'each task ran once');
query_is(
	$node, 'shop',
	'SELECT calls, failures FROM asynctasq.stat_handlers',
	"$tasks|$tasks", 'and was counted once');
wait_for($node, 'shop', "SELECT count(*) >= $tasks FROM app.gave_up");
query_is($node, 'shop', 'SELECT count(*), count(DISTINCT id) FROM app.gave_up',
	"$tasks|$tasks", 'and on_failure was called once for each');

done_testing();
