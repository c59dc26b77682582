# A role's isolation level is for its tasks, not for what workers do between
# them.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'asynctasq.workers_per_lane' => '4',
	'asynctasq.max_workers' => '4',
	'asynctasq.worker_idle_timeout' => '1h');
create_tenant($node, 'shop', 'app');
app($node, 'shop', 'app', q{
	CREATE TABLE levels (level text, attempt int);
	CREATE FUNCTION note(fails bool DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF fails AND (asynctasq.current_task()).attempt = 1 THEN
			RAISE 'once';
		END IF;
		PERFORM pg_sleep(0.001);
		INSERT INTO app.levels VALUES (current_setting('transaction_isolation'), (asynctasq.current_task()).attempt);
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('note', 'note(bool)', max_attempts => 20, retry_delay => '1 ms')});

foreach my $level ('repeatable read', 'serializable')
{
	my ($offset, $log);

	$node->safe_psql('shop', "ALTER ROLE app SET default_transaction_isolation = '$level'; TRUNCATE app.levels");
	$node->restart;
	$offset = -s $node->logfile;
	app($node, 'shop', 'app', q{
		SELECT count(asynctasq.dispatch('note', asynctasq.args('fails', n % 10 = 0),
			queue => CASE WHEN n % 2 = 0 THEN 'safe' END, delay => '500 ms'))
		FROM generate_series(1, 3000) AS n});
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
	query_is($node, 'shop', 'SELECT level, count(*) FROM app.levels GROUP BY 1',
		"$level|3000", "$level: for tasks");
	$log = slurp_file($node->logfile, $offset);
	unlike($log, qr/asynctasq worker.*exited with exit code 1/, "$level: no worker ends");
	unlike($log, qr/could not serialize access/, "$level: workers do not meet each other");
}

$node->stop;
done_testing();
