# Waiting for an outcome, and asking for it later.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main');
create_tenant($node, 'shop', 'app');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

sql(q{
	CREATE FUNCTION add(a int, b int) RETURNS int LANGUAGE sql RETURN a + b;
	CREATE FUNCTION divide(by int) RETURNS int LANGUAGE sql RETURN 1 / by;
	CREATE FUNCTION hold(key int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(key);
		RETURN 'let go';
	END $$;
	SELECT asynctasq.register_handler('add', 'add(int, int)', keep_result => true);
	SELECT asynctasq.register_handler('add_only', 'add(int, int)');
	SELECT asynctasq.register_handler('divide', 'divide(int)', max_attempts => 1);
	SELECT asynctasq.register_handler('hold', 'hold(int)', keep_result => true);});

my $id = sql(q{SELECT asynctasq.dispatch('add', asynctasq.args('a', 40, 'b', 2))});
is(sql("SELECT asynctasq.wait($id)"), '42', 'wait() returns the result');
is(sql("SELECT asynctasq.result($id)"), '42', 'result() returns it again');
is(sql("SELECT asynctasq.wait($id)"), '42', 'and so does another wait()');

$id = sql(q{SELECT asynctasq.dispatch('add_only', asynctasq.args('a', 40, 'b', 2))});
is(sql("SELECT asynctasq.wait($id) IS NULL"),
	't', 'wait() for a task whose result is not kept returns NULL');
is(sql("SELECT asynctasq.result($id) IS NULL"), 't', 'and so does result()');
is(sql("SELECT id IS NULL FROM asynctasq.task_info($id)"),
	't', 'it leaves no row');

$id = sql(q{SELECT asynctasq.dispatch('divide', asynctasq.args('by', 0))});
app_fails($node, 'shop', 'app', "SELECT asynctasq.wait($id)",
	qr/ERROR:  .*$id/, 'wait() for a task that fails');

# While it runs: a time limit, then the outcome.
my $holder = $node->background_psql('shop');
$holder->query_safe('SELECT pg_advisory_lock(1)');
$id = sql(q{SELECT asynctasq.dispatch('hold', asynctasq.args('key', 1))});
my ($status, $stdout, $stderr) = $node->psql(
	'shop',
	"SELECT asynctasq.wait($id, '100 ms')",
	extra_params => [ '-U', 'app' ]);
ok($stdout eq '', 'wait() ends after its time');
my $waiter = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
$waiter->query_until(
	qr/waiting/, qq{
	\\echo waiting
	SELECT asynctasq.wait($id) AS outcome;
	\\echo done
});
wait_for($node, 'shop',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%AS outcome%' AND pid <> pg_backend_pid()"
);
$holder->query_safe('SELECT pg_advisory_unlock(1)');
$holder->quit;
like($waiter->query_until(qr/done/, ''),
	qr/let go/, 'a waiting session gets the outcome when it comes');
$waiter->quit;

$node->stop;
done_testing();
