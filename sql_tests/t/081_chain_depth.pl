# Tasks that dispatch each other end at asynctasq.max_chain_depth, in workers,
# however the attempt that dispatches is run and ends.

use strict;
use warnings;

use AtqTest;
use Test::More;

# Nothing but a full group ends one.
my $node = new_cluster(
	'main',
	'asynctasq.group_duration' => '10s',
	'asynctasq.workers_per_lane' => '1');
create_tenant($node, 'shop', 'app');
$node->safe_psql('shop', 'ALTER DATABASE shop SET asynctasq.max_chain_depth = 4');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

sql(q{
	CREATE TABLE ran (depth int, xid text DEFAULT pg_current_xact_id()::text);
	CREATE FUNCTION note() RETURNS void LANGUAGE sql AS
		'INSERT INTO app.ran SELECT depth FROM asynctasq.current_task()';
	CREATE FUNCTION bomb() RETURNS void LANGUAGE sql AS $$
		SELECT app.note();
		SELECT asynctasq.dispatch((asynctasq.current_task()).task) FROM generate_series(1, 2);
	$$;
	CREATE TABLE fuses (task text);
	CREATE FUNCTION go_off() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM asynctasq.dispatch(NEW.task) FROM generate_series(1, 2);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER go_off AFTER INSERT ON fuses DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION go_off();
	CREATE FUNCTION time_bomb() RETURNS void LANGUAGE sql AS $$
		SELECT app.note();
		INSERT INTO app.fuses SELECT task FROM asynctasq.current_task();
	$$;
	CREATE FUNCTION relay(task text) RETURNS void LANGUAGE sql AS $$
		SELECT app.note();
		SELECT asynctasq.dispatch(task, '{"task": "leaf"}');
	$$;
	CREATE FUNCTION die() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_terminate_backend(pg_backend_pid());
		PERFORM pg_sleep(3600);
	END $$;
	CREATE FUNCTION dispatch_again(task jsonb, error jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT app.note();
		SELECT asynctasq.dispatch('mortal') WHERE (SELECT count(*) FROM app.ran) < 10;
	$$;
	SELECT asynctasq.register_handler('bomb', 'bomb()', max_attempts => 1),
		asynctasq.register_handler('grouped bomb', 'bomb()', max_attempts => 1, group_size => 50),
		asynctasq.register_handler('time bomb', 'time_bomb()', max_attempts => 1),
		asynctasq.register_handler('grouped time bomb', 'time_bomb()', max_attempts => 1, group_size => 50),
		asynctasq.register_handler('relay', 'relay(text)', max_attempts => 1),
		asynctasq.register_handler('grouped', 'relay(text)', queue => 'groups', max_attempts => 1, group_size => 50),
		asynctasq.register_handler('leaf', 'note()', queue => 'leaves'),
		asynctasq.register_handler('mortal', 'die()', max_attempts => 1, on_failure => 'dispatch_again(jsonb, jsonb)');});

# outcome(): how many have ended well by depth, and how many have failed
sub outcome
{
	wait_for($node, 'shop', q{SELECT sum(ready + running) = 0 FROM asynctasq.stat_queues WHERE NOT paused});
	my $outcome = sql(q{
		SELECT string_agg(format('%s of depth %s', n, depth), ', ' ORDER BY depth) FROM (SELECT depth, count(*) AS n FROM ran GROUP BY depth) AS r
		UNION ALL SELECT string_agg(format('%s with %s', n, sqlstate), ', ' ORDER BY sqlstate)
		FROM (SELECT error ->> 'sqlstate' AS sqlstate, count(*) AS n FROM asynctasq.dead_letters GROUP BY 1) AS d;});
	sql(q{TRUNCATE ran; SELECT asynctasq.purge_queue('default', true)});
	return $outcome;
}

# Deferred triggers are part of their task.
foreach my $handler ('bomb', 'grouped bomb', 'time bomb', 'grouped time bomb')
{
	sql("SELECT asynctasq.dispatch('$handler')");
	is(outcome(), "1 of depth 0, 2 of depth 1, 4 of depth 2, 8 of depth 3\n16 with 54000", "$handler: ends at the limit");
}

# Of a group whose tasks differ each counts for itself.
sql(q{
	SELECT asynctasq.create_queue('groups'), asynctasq.create_queue('leaves');
	SELECT asynctasq.pause_queue('groups'), asynctasq.pause_queue('leaves');
	SELECT asynctasq.dispatch('grouped', asynctasq.args('task', 'leaf')),
		asynctasq.dispatch('relay', asynctasq.args('task', 'grouped'));});
wait_for($node, 'shop', q{SELECT ready = 2 FROM asynctasq.stat_queues WHERE queue = 'groups'});
sql(q{
	TRUNCATE ran;
	SELECT asynctasq.dispatch('grouped', asynctasq.args('task', 'leaf'));
	SELECT asynctasq.resume_queue('groups');});
wait_for($node, 'shop', q{SELECT ready = 3 FROM asynctasq.stat_queues WHERE queue = 'leaves'});
is(sql(q{SELECT string_agg(depth::text, ' ' ORDER BY id) FROM asynctasq.tasks WHERE queue = 'leaves'}), '1 2 1', 'tasks of a group');
is(sql(q{SELECT count(DISTINCT xid) FROM ran}), '1', 'which was one');
sql(q{SELECT asynctasq.purge_queue('leaves')});
outcome();

# A role has a limit of its own, which a worker gets when it starts.
$node->safe_psql('shop', 'ALTER ROLE app SET asynctasq.max_chain_depth = 2');
$node->safe_psql('shop', 'SELECT pg_terminate_backend(pid) FROM asynctasq.stat_workers');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
sql(q{SELECT asynctasq.dispatch('bomb')});
is(outcome(), "1 of depth 0, 2 of depth 1\n4 with 54000", q{the role's limit});

# on_failure goes on with the chain, also for a task whose worker has died.
# It runs after the dead letter is there, when no task is.
sql(q{SELECT asynctasq.dispatch('mortal')});
wait_for($node, 'shop', 'SELECT count(*) = 3 FROM asynctasq.dead_letters');
is(outcome(), "1 of depth 0, 1 of depth 1\n3 with 57P01", 'a worker that dies does not begin the chain anew');

done_testing();
