# What belonged to a role that was dropped belongs to nobody where a dump is
# restored, also if there the role's number is another one's.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'asynctasq.enabled' => 'off');
my $other = new_cluster('other', 'asynctasq.sweep_interval' => '1s');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';

# Roles that stay and one that goes: each with a handler, a model, a durable
# queue with tasks and a dead letter, and the right to dispatch to the others'.
create_tenant($node, 'shop', 'app', 'gone');
app($node, 'shop', 'app', q{
	CREATE TABLE log (who name, what text);
	GRANT USAGE ON SCHEMA app TO gone;
	GRANT SELECT, INSERT ON log TO gone;
	CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO app.log VALUES (session_user, what); END;});
foreach my $role ('app', 'gone')
{
	app($node, 'shop', $role, qq{
		SELECT asynctasq.register_handler('$role', 'app.note(text)', 'safe', max_attempts => 1),
			asynctasq.register_model('$role', 'app.log', key => '{what}'),
			asynctasq.create_queue('safe', durable => true),
			asynctasq.grant_dispatch('$role', 'public'),
			asynctasq.grant_dispatch('$role', 'app'),
			asynctasq.grant_dispatch('$role', 'gone');
		SELECT asynctasq.dispatch('$role', asynctasq.args('nonsense', 1));
		SELECT asynctasq.drain();
		SELECT asynctasq.dispatch('$role', asynctasq.args('what', '$role ' || n))
		FROM generate_series(1, 3) AS n;});
}
my $number = $node->safe_psql('shop', q{SELECT 'gone'::regrole::oid});
$node->safe_psql('shop', 'DROP OWNED BY gone CASCADE; DROP ROLE gone');
query_is($node, 'shop', 'SELECT (SELECT count(*) FROM asynctasq.task), (SELECT count(*) FROM asynctasq.dead_letter)',
	'6|2', 'tasks of both roles, one of which is gone');
$node->command_ok([ 'pg_dump', '-f', $dump, 'shop' ], 'pg_dump');

# There the number is a superuser's.
$other->safe_psql('postgres', qq{
	CREATE ROLE app LOGIN;
	CREATE ROLE heir LOGIN SUPERUSER;
	CREATE ROLE watch LOGIN IN ROLE pg_monitor;
	SET allow_system_table_mods = on;
	UPDATE pg_authid SET oid = $number WHERE rolname = 'heir';
	CREATE DATABASE shop;});
query_is($other, 'postgres', "SELECT $number\::regrole", 'heir', 'a superuser has the number');
$other->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $dump, 'shop' ], 'psql');
query_is($other, 'shop', q{
	SELECT (SELECT string_agg(name || role, ',') FROM asynctasq.handler),
		(SELECT string_agg(handler || role, ',' ORDER BY role) FROM asynctasq.handler_grant),
		(SELECT string_agg(class || owner, ',') FROM asynctasq.model),
		(SELECT string_agg(name || owner, ',') FROM asynctasq.queue)},
	'appapp|app-,appapp|appapp|safeapp', 'what named the role is not there');
query_is($other, 'shop', 'SELECT (SELECT count(*) FROM asynctasq.task), (SELECT count(*) FROM asynctasq.dead_letter)',
	'6|2', 'all tasks and dead letters are');

# The others run, these do not.
$other->safe_psql('shop', 'GRANT USAGE ON SCHEMA asynctasq TO app, heir, watch; SELECT asynctasq.adopt()');
wait_for($other, 'shop', q{SELECT count(*) = 3 FROM app.log});
$other->restart;
app($other, 'shop', 'heir', q{
	SELECT asynctasq.register_handler('heir', 'app.note(text)'), asynctasq.register_handler('gone', 'app.note(text)'),
		asynctasq.dispatch('heir', asynctasq.args('what', 'heir''s'), 'safe');});
wait_for($other, 'shop', q{SELECT count(*) = 4 FROM app.log});
query_is($other, 'shop', q{SELECT who, count(*), count(DISTINCT what) FROM app.log GROUP BY who ORDER BY who},
	"app|3|3\nheir|1|1", 'the tasks run that have a role');
query_is($other, 'shop', q{SELECT string_agg(task || (args OPERATOR(asynctasq.->>) 'what'), ',' ORDER BY id) FROM asynctasq.task},
	'gonegone 1,gonegone 2,gonegone 3', 'the others wait, also where their handler and queue have a namesake');
app_fails($other, 'shop', 'heir', q{SELECT asynctasq.retry(id) FROM asynctasq.dead_letter WHERE task = 'gone'},
	qr/55000/, 'retry() of the dead letter');
is(app($other, 'shop', 'app', q{SELECT count(*) FROM asynctasq.tasks}), '0', 'nobody sees them');
is(app($other, 'shop', 'watch', q{SELECT count(*) FROM asynctasq.tasks WHERE queue IS NULL AND args IS NULL}), '3', 'but who watches');

# An administrator decides whose they are.
$other->safe_psql('shop', q{
	CREATE ROLE next LOGIN;
	GRANT USAGE ON SCHEMA app, asynctasq TO next;
	GRANT INSERT ON app.log TO next;
	SELECT asynctasq.unregister_handler('gone');
	SELECT asynctasq.register_handler('gone', 'app.note(text)', 'safe', run_as => 'next');
	INSERT INTO asynctasq.queue (id, owner, name, durable) OVERRIDING SYSTEM VALUE
	SELECT DISTINCT queue_id, 'next'::regrole, 'safe', true FROM asynctasq.task;});
wait_for($other, 'shop', q{SELECT count(*) = 7 FROM app.log});
query_is($other, 'shop', q{SELECT who, count(*) FROM app.log WHERE what ~ '^gone' GROUP BY who},
	'next|3', 'and they run as the role that they were given to');

$node->stop;
$other->stop;
done_testing();
