# Query sets as arguments, in worker processes: they are read as the handler's
# role, with what that role may read, and nobody's code runs for it.

use strict;
use warnings;

use AtqRemote;
use AtqTest;
use Test::More;

my $node = new_cluster('main', 'asynctasq.workers_per_lane' => 1, 'asynctasq.worker_idle_timeout' => '1h');
create_tenant($node, 'shop', 'app', 'team', 'evil');
$node->safe_psql('shop', 'GRANT USAGE ON SCHEMA app, team, evil TO PUBLIC');

app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 5) AS i;
	CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text);
	CREATE FUNCTION take(v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (v) $$;
	CREATE FUNCTION take_users(v users[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (cardinality(v) || ' users') $$;
	CREATE FUNCTION take_lazy(v asynctasq.queryset) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.got (what) SELECT coalesce(sum(count), 0) || ' of ' || asynctasq.count(v) FROM (SELECT 1 AS count FROM asynctasq.list(asynctasq.order_by(v, '-pk'))) AS l
	$$;
	CREATE FUNCTION take_fetch(v asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (asynctasq.fetch(v)) $$;
	CREATE FUNCTION take_changed(v asynctasq.queryset) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE app.users SET name = 'changed' WHERE id = 1;
		INSERT INTO app.got (what) VALUES (asynctasq.count(asynctasq.filter(v, '{"name": "changed"}')));
	END $$;
	SELECT asynctasq.register_model('User', 'users');
	SELECT asynctasq.register_handler(name, (name || '(' || type || ')')::regprocedure, max_attempts => 2, retry_delay => '1 ms'), asynctasq.grant_dispatch(name, 'evil')
	FROM (VALUES ('take', 'jsonb'), ('take_users', 'users[]'), ('take_lazy', 'asynctasq.queryset'), ('take_fetch', 'asynctasq.msgpack'), ('take_changed', 'asynctasq.queryset')) AS h (name, type);});

# Dispatches a query set as a role, and returns what became of the task: what
# the handler got, or the error with the number of the last attempt.
sub run_set
{
	my ($role, $task, $set) = @_;

	app($node, 'shop', 'app', 'DELETE FROM got');
	my $id = app($node, 'shop', $role, "SELECT asynctasq.dispatch('$task', asynctasq.args('v', $set))");
	wait_for($node, 'shop', "SELECT count(*) = 0 FROM asynctasq.tasks WHERE id = $id");
	return app($node, 'shop', 'app', qq{
		SELECT string_agg(what, ';' ORDER BY n) FROM got HAVING count(*) > 0;
		SELECT concat_ws('|', error ->> 'sqlstate', error ->> 'message', attempt) FROM asynctasq.dead_letters WHERE id = $id});
}

is(run_set('app', 'take', q{asynctasq.values_list(asynctasq.filter(asynctasq.objects('User'), '{"id__lt": 3}'), true, 'name')}),
	'["user 1", "user 2"]', 'a list of values');
is(run_set('app', 'take_users', q{asynctasq.objects('User')}), '5 users', 'an array of rows');
is(run_set('app', 'take_lazy', q{asynctasq.filter(asynctasq.objects('User'), '{"id__gt": 1}')}), '4 of 4', 'left to the handler');
is(run_set('app', 'take_changed', q{asynctasq.objects('User')}), '1', 'which sees what it has changed');
is(run_set('evil', 'take', q{asynctasq.values_list(asynctasq.filter(asynctasq.objects('User'), '{"id": 2}'), true, 'name')}),
	'["user 2"]', 'read as the role of the handler, not of the dispatcher');

# What the role may read.
app($node, 'shop', 'team', q{
	CREATE TABLE hidden (id int PRIMARY KEY, name text);
	CREATE TABLE partly (id int PRIMARY KEY, name text, secret text);
	INSERT INTO partly VALUES (1, 'one', 'canary');
	GRANT SELECT (id, name) ON partly TO app;
	CREATE TABLE policed (id int PRIMARY KEY, reader name);
	INSERT INTO policed VALUES (1, 'app'), (2, 'team');
	ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
	CREATE POLICY p ON policed USING (reader = current_user);
	GRANT SELECT ON policed TO app;
	SELECT asynctasq.register_model(name, name::regclass) FROM unnest('{hidden,partly,policed}'::text[]) AS name;});
foreach my $task ('take', 'take_lazy', 'take_fetch')
{
	is(run_set('app', $task, q{asynctasq.objects('hidden')}), '42501|permission denied for table hidden|' . ($task eq 'take' ? 1 : 2), "$task: no privilege on the table");
}
is(run_set('app', 'take', q{asynctasq.objects('partly')}), '42501|permission denied for table partly|1', 'none on a column');
is(run_set('app', 'take', q{asynctasq.values(asynctasq.objects('partly'), 'id', 'name')}), '[{"id": 1, "name": "one"}]', 'which another set does not read');
is(run_set('app', 'take', q{asynctasq.filter(asynctasq.values(asynctasq.objects('partly'), 'id'), '{"secret": "canary"}')}), '42501|permission denied for table partly|1', 'nor may ask for');
is(run_set('app', 'take', q{asynctasq.values_list(asynctasq.objects('policed'), true, 'id')}), '[1]', 'row security');

# A dispatcher chooses the model.  What reading it calls must not act as the
# handler's role, also where it is only met on the way to other rows.
app($node, 'shop', 'app', 'GRANT REFERENCES ON users TO evil');
app($node, 'shop', 'evil', q{
	CREATE TABLE log (what text);
	GRANT INSERT ON log TO PUBLIC;
	CREATE FUNCTION steal() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO evil.log VALUES (current_user || ' was here');
		RETURN true;
	END $$;
	CREATE FUNCTION lie(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN evil.steal(); END $$;
	CREATE FUNCTION later(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;
	CREATE DOMAIN checked AS int CHECK (evil.lie(VALUE));
	CREATE VIEW called AS SELECT 1 AS id, evil.steal() AS x;
	CREATE VIEW in_where AS SELECT 1 AS id WHERE evil.steal();
	CREATE VIEW in_domain AS SELECT 1 AS id, '1'::text::evil.checked AS n;
	CREATE TABLE policed (id int PRIMARY KEY, owner_id int REFERENCES app.users);
	INSERT INTO policed VALUES (1, 1);
	ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
	CREATE POLICY p ON policed USING (evil.steal());
	CREATE TABLE indexed (id int PRIMARY KEY, policed_id int REFERENCES policed);
	INSERT INTO indexed VALUES (1, 1);
	CREATE INDEX ON indexed (id) WHERE evil.later(1);
	CREATE OR REPLACE FUNCTION later(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN evil.steal(); END $$;
	CREATE TABLE typed (id int PRIMARY KEY, n checked);
	GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
	SELECT asynctasq.register_model(name, name::regclass, key => '{id}', orm => 'django') FROM unnest('{called,in_where,in_domain,policed,indexed,typed}'::text[]) AS name;
	TRUNCATE log;});
my $refused = qr/^42501\|function evil\.\w+\([a-z]*\) must not be called to read or write rows of model "[\w.]+"\|/;
foreach my $set (
	(map { "asynctasq.objects('$_', 'django')" } 'called', 'in_where', 'in_domain', 'policed', 'indexed'),
	q{asynctasq.objects('evil.policed', 'postgres')},
	q{asynctasq.values(asynctasq.objects('indexed', 'django'), 'policed__owner_id')},
	q{asynctasq.filter(asynctasq.objects('User'), '{"policed__id": 1}')},
	q{asynctasq.filter(asynctasq.objects('User'), '{"policed__indexed__id": 1}')},
	q{asynctasq.exclude(asynctasq.objects('User'), '{"policed__id": 1}')},
	q{asynctasq.annotate(asynctasq.objects('User'), '{"n": {"Count": "policed"}}')},
	q{asynctasq.prefetch_related(asynctasq.objects('User'), 'policed')})
{
	foreach my $task ('take', 'take_lazy', 'take_fetch')
	{
		like(run_set('evil', $task, $set), $refused, "$task: $set");
	}
}
# users[] takes rows of users alone, but what they are chosen by is as dangerous
like(run_set('evil', 'take_users', q{asynctasq.filter(asynctasq.objects('User'), '{"policed__id": 1}')}), $refused, 'take_users: by a relation');
query_is($node, 'shop', 'TABLE evil.log', '', 'nobody was there');
is(run_set('evil', 'take', q{asynctasq.values_list(asynctasq.filter(asynctasq.objects('typed', 'django'), '{"id": 1}'), true, 'id')}), '[]', 'a table of the same role that does no harm');
# So with dispatch_each(), which inserts tasks while the guard is on.
app_fails($node, 'shop', 'app', q{SELECT asynctasq.dispatch_each('take', asynctasq.objects('called', 'django'), 'v')},
	qr/42501: function evil\.steal\(\) must not be called/, 'dispatch_each() of rows that would do harm');
app($node, 'shop', 'evil', 'INSERT INTO typed VALUES (1); DELETE FROM log');
is(app($node, 'shop', 'app', q{
	DELETE FROM got;
	SELECT asynctasq.dispatch_each('take', asynctasq.objects('typed', 'django'), 'v')}), '1', 'and of one that does not');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is($node, 'shop', 'SELECT what FROM app.got', '{"n": null, "id": 1}', 'which a worker reads');
query_is($node, 'shop', 'TABLE evil.log', '', 'and still nobody was there');
# The next task's own statements are free of the guard.
app($node, 'shop', 'evil', q{CREATE FUNCTION evil.admit() RETURNS int LANGUAGE sql RETURN 1; GRANT EXECUTE ON FUNCTION evil.admit() TO PUBLIC});
app($node, 'shop', 'app', q{
	CREATE FUNCTION takes_note(v jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.got (what) VALUES (evil.admit()); END $$;
	SELECT asynctasq.register_handler('takes_note', 'takes_note(jsonb)', max_attempts => 1)});
is(run_set('app', 'takes_note', q{asynctasq.values(asynctasq.objects('typed', 'django'), 'id')}), '1', 'the guard ends with the argument');

# Reading can be cancelled.
app($node, 'shop', 'app', q{
	CREATE FUNCTION slow(id int) RETURNS int LANGUAGE sql AS $$ SELECT id FROM pg_catalog.pg_sleep(60) $$;
	CREATE VIEW slow_users AS SELECT id, slow(id) AS slow FROM users;
	SELECT asynctasq.register_model('Slow', 'slow_users', key => '{id}')});
my $id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('take', asynctasq.args('v', asynctasq.objects('Slow')))});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', 'cancelled while its rows are read');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($id)");

# On another server, over the pool.
$node->safe_psql('postgres', 'CREATE DATABASE far');
$node->safe_psql('far', 'CREATE SCHEMA AUTHORIZATION app');
app($node, 'far', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users VALUES (1, 'far away');});
create_servers($node, 'shop', "user 'app'", far => address_of($node, 'far'));
$node->safe_psql('shop', 'GRANT USAGE ON FOREIGN SERVER far TO evil');
app($node, 'shop', 'app', q{SELECT asynctasq.register_model('Far', 'users', server => 'far')});
is(run_set('app', 'take', q{asynctasq.objects('Far')}), '[{"id": 1, "name": "far away"}]', 'objects of another server');
is(run_set('app', 'take_users', q{asynctasq.objects('Far')}), '1 users', 'rows of another server');
is(run_set('app', 'take_lazy', q{asynctasq.objects('Far')}), '1 of 1', 'left to the handler');
is(run_set('evil', 'take', q{asynctasq.objects('Far')}), '[{"id": 1, "name": "far away"}]', 'whoever dispatches');
app($node, 'shop', 'evil', q{SELECT asynctasq.register_model('Trap', 'typed', server => 'far')});
foreach my $task ('take', 'take_lazy', 'take_fetch')
{
	like(run_set('evil', $task, q{asynctasq.objects('Trap')}), qr/^42501\|role "app" must not read rows of model "Trap" from another server\|/, "$task: but not of a model that is not to be trusted");
}
foreach my $task ('take', 'take_lazy', 'take_users', 'take_fetch')
{
	like(run_set('app', $task, q{asynctasq.using(asynctasq.objects('Far'), 'far')}), qr/^42501\|query set of "Far" in an argument must not name a server\|/, "$task: using() is not for arguments");
}

$node->stop;
done_testing();
