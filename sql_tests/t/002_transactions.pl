# A task exists if and only if its transaction committed, and runs once.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 1000) AS n;
	CREATE TABLE log (user_id int, name text);
	CREATE TABLE committed (n bigint);
	CREATE TABLE ran (n bigint);
	CREATE FUNCTION greet("user" users) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO log VALUES ("user".id, "user".name); END;
	CREATE FUNCTION note(n bigint) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO ran VALUES (n); END;
	SELECT asynctasq.register_handler('greet', 'greet(users)');
	SELECT asynctasq.register_handler('note', 'note(bigint)');});

# Nothing is left and nothing is running.
sub wait_until_done
{
	wait_for($node, 'shop',
		'SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues');
	return;
}

is( app($node, 'shop', 'app',
		q{SELECT count(asynctasq.dispatch('greet', asynctasq.args('user', u))) FROM users AS u}
	),
	'1000',
	'1,000 tasks with references dispatched in one transaction');
wait_for($node, 'shop', 'SELECT count(*) >= 1000 FROM app.log');
wait_until_done();
query_is(
	$node, 'shop', q{
	SELECT count(*), count(DISTINCT user_id),
		count(*) FILTER (WHERE name = 'user ' || user_id) FROM app.log},
	'1000|1000|1000',
	'all ran once, each with its row');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.task',
	'0', 'and none is left');

app($node, 'shop', 'app', q{
	BEGIN;
	SELECT count(asynctasq.dispatch('greet', asynctasq.args('user', u))) FROM users AS u;
	ROLLBACK;
	SELECT asynctasq.dispatch('note', asynctasq.args('n', 1));});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.ran');
wait_until_done();
query_is($node, 'shop', 'SELECT count(*) FROM app.log',
	'1000', 'after a rollback none runs');

app($node, 'shop', 'app', q{
	BEGIN;
	SELECT asynctasq.dispatch('note', asynctasq.args('n', 2));
	SAVEPOINT s;
	SELECT asynctasq.dispatch('note', asynctasq.args('n', 3));
	ROLLBACK TO s;
	SELECT asynctasq.dispatch('note', asynctasq.args('n', 4));
	RELEASE s;
	COMMIT;});
wait_for($node, 'shop', 'SELECT EXISTS (SELECT FROM app.ran WHERE n = 4)');
wait_until_done();
query_is($node, 'shop', q{SELECT string_agg(n::text, ',' ORDER BY n) FROM app.ran},
	'1,2,4', 'a savepoint takes only its own tasks back');

# A session that is ended: what it had committed runs, and nothing else.
{
	my $session = $node->background_psql('shop', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_safe(q{SELECT asynctasq.dispatch('note', asynctasq.args('n', 5))});
	$session->query_safe(q{BEGIN; SELECT asynctasq.dispatch('note', asynctasq.args('n', 6))});
	$node->safe_psql('shop', "SELECT pg_terminate_backend($pid, 30000)");
	$session->{run}->finish;
	wait_for($node, 'shop', 'SELECT EXISTS (SELECT FROM app.ran WHERE n = 5)');
	app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('note', asynctasq.args('n', 7))});
	wait_for($node, 'shop', 'SELECT EXISTS (SELECT FROM app.ran WHERE n = 7)');
	wait_until_done();
	query_is($node, 'shop', q{SELECT string_agg(n::text, ',' ORDER BY n) FROM app.ran},
		'1,2,4,5,7', 'the end of a session takes only what it had not committed');
}

# Several clients, some of which roll back.
my $script = PostgreSQL::Test::Utils::tempdir() . '/dispatch.sql';
append_to_file($script, q{
\set way random(1, 4)
BEGIN;
INSERT INTO committed VALUES (nextval('asynctasq_test')) RETURNING n \gset
SELECT asynctasq.dispatch('note', asynctasq.args('n', :n::bigint));
\if :way = 1
ROLLBACK;
\else
COMMIT;
\endif
});
app($node, 'shop', 'app', 'CREATE SEQUENCE asynctasq_test START 1001');
command_ok(
	[
		'pgbench', '-n', '-U', 'app', '-c', '4', '-t', '250',
		'-h', $node->host, '-p', $node->port, '-f', $script, 'shop'
	],
	'1,000 transactions of four clients');
wait_for($node, 'shop', q{
	SELECT (SELECT count(*) FROM app.committed) <= (SELECT count(*) FROM app.ran WHERE n > 1000)});
wait_until_done();
query_is(
	$node, 'shop', q{
	SELECT count(*) FROM (SELECT n, count(*) FROM app.ran WHERE n > 1000 GROUP BY n) AS ran (n, times)
		FULL JOIN app.committed USING (n) WHERE times IS DISTINCT FROM 1 OR committed.n IS NULL},
	'0',
	'what committed ran once, what rolled back did not');

$node->stop;
done_testing();
