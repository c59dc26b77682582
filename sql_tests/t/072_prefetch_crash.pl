# While crashes of the server follow each other no task is looked at before it
# has begun: what it may do to the server is its own attempt's.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $remote = PostgreSQL::Test::Cluster->new('remote');
$remote->init;
$remote->start;
$remote->safe_psql('postgres', q{
	CREATE ROLE app LOGIN;
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO app;
	CREATE TABLE app.users (id int PRIMARY KEY, name text);
	INSERT INTO app.users SELECT i, 'user ' || i FROM generate_series(1, 100) AS i;
	GRANT SELECT ON app.users TO app;});

my $node = new_cluster('near', 'restart_after_crash' => 'on', 'asynctasq.workers_per_lane' => 1, 'asynctasq.worker_idle_timeout' => '1h', 'asynctasq.sweep_interval' => '1s', 'asynctasq.fetch_max_age' => '1h');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');
create_servers($node, 'shop', "user 'app'", far => address_of($remote, 'postgres'));
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	CREATE FUNCTION take(u users) RETURNS void LANGUAGE sql AS $$ SELECT $$;
	CREATE FUNCTION die() RETURNS void LANGUAGE sql AS $$ SELECT test.atq_test_kill_self() $$;
	SELECT asynctasq.create_queue('safe', durable => true),
		asynctasq.register_model('User', 'users', server => 'far', on_missing => 'error'),
		asynctasq.register_handler('take', 'take(users)', queue => 'safe', max_attempts => 1),
		asynctasq.register_handler('die', 'die()', queue => 'safe', max_attempts => 2, retry_delay => '0 s');});

# How many queries nine tasks take that are claimed together.
sub queries
{
	app($node, 'shop', 'app', q{
		SELECT asynctasq.pause_queue('safe');
		SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', i))) FROM generate_series(1, 9) AS i;
		SELECT asynctasq.resume_queue('safe');});
	wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
	return $node->safe_psql('shop', q{SELECT sum(queries) FROM asynctasq.stat_pools AS p JOIN asynctasq.stat_workers AS w USING (pid)});
}

is(queries(), '2', 'rows are asked for ahead');
dispatch_deadly($node, 'shop', q{SELECT asynctasq.dispatch('die')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM asynctasq.dead_letters});
is(queries(), '9', 'but not after two crashes');

$node->stop;
$remote->stop;
done_testing();
