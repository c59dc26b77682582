# Roles are kept apart: what they see, what they may do, as whom they run.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main');
create_tenant($node, 'shop', 'app', 'other', 'monitor');
$node->safe_psql('shop', 'GRANT pg_monitor TO monitor');

foreach my $role ('app', 'other')
{
	app($node, 'shop', $role, qq{
		CREATE TABLE log (who name, current name, what text);
		CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql
			BEGIN ATOMIC INSERT INTO log VALUES (session_user, current_user, what); END;
		SELECT asynctasq.register_handler('${role}_note', 'note(text)');
		SELECT asynctasq.register_handler('${role}_fail', 'note(text)', max_attempts => 1);
		SELECT asynctasq.create_queue('default');
		SELECT asynctasq.dispatch('${role}_fail', asynctasq.args('nothing', 1));
		SELECT asynctasq.dispatch('${role}_note', asynctasq.args('what', 'hello'));});
}
wait_for($node, 'shop',
	'SELECT count(*) = 1 FROM app.log UNION ALL SELECT count(*) = 1 FROM other.log',
	"t\nt");
query_is(
	$node, 'shop',
	'SELECT * FROM app.log UNION ALL SELECT * FROM other.log',
	"app|app|hello\nother|other|hello",
	'each handler runs as the role that registered it');
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM asynctasq.dead_letters');

# What they see.
my %id;
foreach my $role ('app', 'other')
{
	app($node, 'shop', $role, q{SELECT asynctasq.pause_queue('default')});
	$id{$role} = app($node, 'shop', $role,
		qq{SELECT asynctasq.dispatch('${role}_note', asynctasq.args('what', 'secret of $role'))}
	);
}
foreach my $role ('app', 'other')
{
	my $not = $role eq 'app' ? 'other' : 'app';

	is(app($node, 'shop', $role, 'SELECT id, task, args FROM asynctasq.tasks'),
		qq($id{$role}|${role}_note|{"what": "secret of $role"}),
		"$role sees its own tasks");
	is( app($node, 'shop', $role, 'SELECT task FROM asynctasq.dead_letters'),
		"${role}_fail", "$role sees its own dead letters");
	is( app($node, 'shop', $role,
			'SELECT queue, owner, ready, paused FROM asynctasq.stat_queues'),
		"default|$role|1|t", "$role sees its own queue");
	is( app($node, 'shop', $role,
			"SELECT count(*) FROM asynctasq.stat_workers WHERE role <> '$role'"),
		'0', "$role sees its own workers");
	is( app($node, 'shop', $role,
			"SELECT count(*) FROM asynctasq.stat_handlers WHERE role <> '$role'"),
		'0', "$role sees its own handlers");
	is( app($node, 'shop', $role,
			"SELECT status IS NULL FROM asynctasq.task_info($id{$not})"),
		't', "$role gets no information on a task of $not");

	# What they may not do.
	my ($status, $stdout) = $node->psql(
		'shop',
		"SELECT asynctasq.cancel($id{$not})",
		extra_params => [ '-U', $role ]);
	isnt($stdout, 't', "$role does not cancel a task of $not");
	app_fails($node, 'shop', $role,
		qq{SELECT asynctasq.dispatch('${not}_note', asynctasq.args('what', 'x'))},
		qr/ERROR:  42501: .*"${not}_note"/,
		"$role dispatches to a handler of $not");
	app_fails($node, 'shop', $role,
		qq{SELECT asynctasq.register_handler('${not}_note', 'note(text)')},
		qr/ERROR:  42501: .*"${not}_note"/,
		"$role takes a handler of $not over");
	app_fails($node, 'shop', $role,
		qq{SELECT asynctasq.unregister_handler('${not}_note')},
		qr/ERROR:  42501: .*"${not}_note"/,
		"$role unregisters a handler of $not");
	app_fails($node, 'shop', $role,
		qq{SELECT asynctasq.register_handler('mine', 'note(text)', run_as => '$not')},
		qr/ERROR:  42501/,
		"$role registers a handler that runs as $not");
	foreach my $table ('task', 'task_unlogged', 'handler', 'queue', 'dead_letter', 'result')
	{
		app_fails($node, 'shop', $role, "SELECT * FROM asynctasq.$table",
			qr/ERROR:  42501/, "$role reads table $table");
	}
}
is( app($node, 'shop', 'monitor',
		q{SELECT string_agg(task, ',' ORDER BY task), count(args) FROM asynctasq.tasks}),
	'app_note,other_note|0',
	'a member of pg_monitor sees all tasks, but no arguments');
is( app($node, 'shop', 'monitor', q{SELECT count(*) FROM asynctasq.stat_queues}),
	'2', 'and all queues');
query_is($node, 'shop',
	'SELECT count(*) FROM asynctasq.tasks WHERE args IS NOT NULL',
	'2', 'a superuser sees everything');

# The same name of a queue is two queues.
app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('default')});
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM app.log');
query_is($node, 'shop', 'SELECT count(*) FROM other.log',
	'1', 'resuming a queue leaves the other role\'s queue paused');
is(app($node, 'shop', 'other', "SELECT asynctasq.cancel($id{other})"),
	't', 'a role cancels its own task');

# Leave to dispatch.
app($node, 'shop', 'app', q{SELECT asynctasq.grant_dispatch('app_note', 'other')});
app($node, 'shop', 'other',
	q{SELECT asynctasq.dispatch('app_note', asynctasq.args('what', 'from other'))});
wait_for($node, 'shop',
	q{SELECT count(*) = 1 FROM app.log WHERE what = 'from other'});
query_is($node, 'shop', q{SELECT who FROM app.log WHERE what = 'from other'},
	'app', 'who was granted it dispatches; the handler runs as its own role');
app($node, 'shop', 'app', q{SELECT asynctasq.revoke_dispatch('app_note', 'other')});
app_fails($node, 'shop', 'other',
	q{SELECT asynctasq.dispatch('app_note', asynctasq.args('what', 'x'))},
	qr/ERROR:  42501: .*"app_note"/, 'dispatch after the revocation');

# A handler can do what its role can do, and no more.
app($node, 'shop', 'other', q{
	CREATE FUNCTION peek() RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		RETURN (SELECT count(*) FROM app.log);
	END $$;
	CREATE FUNCTION climb() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		RESET ROLE;
		RESET SESSION AUTHORIZATION;
		EXECUTE 'ALTER ROLE other SUPERUSER';
	END $$;
	SELECT asynctasq.register_handler('peek', 'peek()', max_attempts => 1);
	SELECT asynctasq.register_handler('climb', 'climb()', max_attempts => 1);
	SELECT asynctasq.resume_queue('default');
	SELECT asynctasq.dispatch('peek'), asynctasq.dispatch('climb');});
wait_for($node, 'shop',
	q{SELECT count(*) = 2 FROM asynctasq.dead_letters WHERE task IN ('peek', 'climb')});
query_is(
	$node, 'shop', q{
	SELECT task, error ->> 'sqlstate' FROM asynctasq.dead_letters
	WHERE task IN ('peek', 'climb') ORDER BY task},
	"climb|42501\npeek|42501",
	'a handler has no more privileges than its role');

$node->stop;
done_testing();
