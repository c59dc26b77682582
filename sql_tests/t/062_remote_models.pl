# References to rows of other servers: the same values as from here, one query
# for each model and server, and what happens when a server is not there.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $remote = PostgreSQL::Test::Cluster->new('remote');
$remote->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$remote->append_conf('postgresql.conf', "shared_buffers = '16MB'\nlog_statement = 'none'");
$remote->start;

my $node = new_cluster('near', 'asynctasq.worker_idle_timeout' => '1h');
create_tenant($node, 'shop', 'app');

# The same tables, types and rows on both sides.
my $tables = q{
	CREATE TYPE mood AS ENUM ('sad', 'glad');
	CREATE TYPE pair AS (a int, "B c" text);
	CREATE DOMAIN small AS int CHECK (VALUE < 100000);
	CREATE TABLE users (id small PRIMARY KEY, gone int, name varchar(20), "Odd ""name""" text, born date, seen timestamptz, at timestamp,
		spent numeric(10, 2), ratio float8, tags text[], mood mood, pair pair, extra jsonb, data bytea, period tstzrange, pause interval, table_id regclass, doubled int GENERATED ALWAYS AS (id * 2) STORED);
	ALTER TABLE users DROP gone;
	INSERT INTO users SELECT i, 'user ' || i, E'x"y\'\\\\' || i, '2020-02-03', '2020-02-03 04:05:06.7+02', '0044-03-15 01:02:03 BC', i / 3.0, 'NaN', ARRAY['a', NULL, 'b,"c"'], 'glad',
		ROW(i, 'z')::pair, '{"a": [1.50, null]}', '\x00ff', '[2020-01-01 00:00+00,)', '-1 year 2 days -03:04:05', 'pg_class' FROM generate_series(1, 1000) AS i;
	INSERT INTO users (id) VALUES (2000);
	CREATE TABLE places (country text, code uuid, opened timestamptz, PRIMARY KEY (country, code, opened));
	INSERT INTO places VALUES ('de', '5d5b4d5e-0000-4000-8000-000000000001', '2020-01-02 03:04:05.6+00'), ('x"y,{}\ NULL', '5d5b4d5e-0000-4000-8000-000000000002', '2020-01-02 03:04:05.6+00');
	CREATE TABLE days (day date PRIMARY KEY, mood mood);
	INSERT INTO days VALUES ('2020-02-03', 'sad');
	CREATE TABLE twice (id int, n int);
	INSERT INTO twice VALUES (1, 1), (1, 2), (2, 3);};
$remote->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE DATABASE far; CREATE EXTENSION IF NOT EXISTS plpgsql');
$remote->safe_psql('far', 'CREATE SCHEMA AUTHORIZATION app');
$remote->safe_psql('far', $tables, extra_params => [ '-U', 'app' ]);
app($node, 'shop', 'app', $tables);
create_servers($node, 'shop', "user 'app'",
	far => address_of($remote, 'far'),
	gone => "host '" . $remote->host . "', port '1'");
create_fdw_server($node, 'shop', "user 'app'", also => address_of($remote, 'far'));
$node->safe_psql('shop', 'CREATE SERVER hidden FOREIGN DATA WRAPPER asynctasq');
app($node, 'shop', 'app', q{
	CREATE FOREIGN TABLE clients (number int OPTIONS (column_name 'id'), "Name" text OPTIONS (column_name 'name')) SERVER also OPTIONS (schema_name 'app', table_name 'users');
	SELECT asynctasq.register_model('Here', 'users'),
		asynctasq.register_model('User', 'users', server => 'far'),
		asynctasq.register_model('Also', 'users', server => 'also', on_missing => 'error'),
		asynctasq.register_model('Gone', 'users', server => 'gone'),
		asynctasq.register_model('Place', 'places', server => 'far'),
		asynctasq.register_model('Day', 'days', server => 'far', on_missing => 'discard'),
		asynctasq.register_model('Twice', 'twice', server => 'far', key => '{id}'),
		asynctasq.register_model('Client', 'clients', server => 'also', key => '{number}');});
app_fails($node, 'shop', 'app', q{SELECT asynctasq.register_model('X', 'users', server => 'none')}, qr/42704: server "none" does not exist/, 'no such server');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.register_model('X', 'users', server => 'hidden')}, qr/42501: permission denied for foreign server hidden/, 'no privilege on the server');

# As from here: as a row, in jsonb, in other settings.
is(app($node, 'shop', 'app', q{
	SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET search_path = 'public'; SET extra_float_digits = 0;
	SELECT count(*), count(*) FILTER (WHERE asynctasq.fetch(asynctasq.ref('Here', i)) = asynctasq.fetch(asynctasq.ref('User', i))),
		count(*) FILTER (WHERE asynctasq.fetch(NULL::app.users, asynctasq.ref('Here', i))::text = asynctasq.fetch(NULL::app.users, asynctasq.ref('User', i))::text)
	FROM unnest('{1,7,1000,2000}'::int[]) AS i}), '4|4|4', 'rows are the same as from here');
is(app($node, 'shop', 'app', q{
	SET timezone = 'Asia/Tokyo'; SET datestyle = 'German';
	SELECT asynctasq.fetch(asynctasq.ref('Place', 'de', '5d5b4d5e-0000-4000-8000-000000000001'::uuid, '2020-01-02 03:04:05.6+00'::timestamptz)) ->> 'country',
		asynctasq.fetch(asynctasq.ref('Place', 'x"y,{}\ NULL', '5d5b4d5e-0000-4000-8000-000000000002'::uuid, '2020-01-02 03:04:05.6+00'::timestamptz)) ->> 'country',
		asynctasq.fetch(asynctasq.ref('Day', '2020-02-03'::date)) ->> 'mood',
		asynctasq.fetch(asynctasq.ref('Client', 7))}), 'de|x"y,{}\ NULL|sad|{"Name": "user 7", "number": 7}', 'keys of all kinds, and a foreign table');

# What is missing, ambiguous, or cannot be had of another server.
is(app($node, 'shop', 'app', q{SELECT asynctasq.fetch(asynctasq.ref('User', 5000)) = 'null', asynctasq.fetch(NULL::users, asynctasq.ref('User', 5000)) IS NULL}), 't|t', 'missing: null');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.fetch(asynctasq.ref('Also', 5000))}, qr/P0002: "Also" with key 5000 does not exist/, 'missing: error');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.fetch(asynctasq.ref('Day', '2021-01-01'::date))}, qr/QT001/, 'missing: discard');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.fetch(asynctasq.ref('Twice', 1))}, qr/P0003: model "Twice" has more than one row with key 1/, 'ambiguous');
is(app($node, 'shop', 'app', q{SELECT asynctasq.fetch(asynctasq.ref('Twice', 2))}), '{"n": 3, "id": 2}', 'not all are');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.fetch_related(asynctasq.ref('User', 1), 'id')}, qr/42809: foreign keys of model "User" cannot be followed.*fetch\(\)/s, 'fetch_related');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.fetch(asynctasq.ref('Gone', 1))}, qr/08001: could not connect to server "gone"/, 'a server that is not there');

# Handlers of all kinds, run by a worker.
app($node, 'shop', 'app', q{
	CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text);
	CREATE FUNCTION take(u users) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (u.id || ' ' || u.name) $$;
	CREATE FUNCTION take_all(us users[], v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) SELECT count(*) || ' ' || sum((u).id) || ' ' || jsonb_array_length(v) FROM unnest(us) AS u $$;
	CREATE FUNCTION take_batch(u users[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) SELECT (v).id || ' ' || (v).name FROM unnest(u) AS v $$;
	CREATE FUNCTION take_lazy(u asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (asynctasq.fetch(u) ->> 'name') $$;
	SELECT asynctasq.register_handler('take', 'take(users)', max_attempts => 2, retry_delay => '1 hour'),
		asynctasq.register_handler('take_all', 'take_all(users[], jsonb)', max_attempts => 1),
		asynctasq.register_handler('take_batch', 'take_batch(users[])', max_attempts => 1, batch_size => 100),
		asynctasq.register_handler('take_group', 'take(users)', max_attempts => 1, group_size => 50),
		asynctasq.register_handler('take_lazy', 'take_lazy(asynctasq.msgpack)', max_attempts => 1),
		asynctasq.register_handler('take_locked', 'take(users)', max_attempts => 2, lock => 'share');});

sub run_tasks
{
	my ($sql) = @_;

	app($node, 'shop', 'app', "DELETE FROM got; $sql");
	wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks WHERE status <> 'scheduled'});
	return app($node, 'shop', 'app', q{SELECT count(*) || ' ' || count(DISTINCT what) || ' ' || coalesce(min(what), '') FROM got});
}

is(run_tasks(q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', 7)))}), '1 1 7 user 7', 'a row');
is(run_tasks(q{SELECT asynctasq.dispatch('take_all', asynctasq.args('us', (SELECT array_agg(asynctasq.ref('User', i)) FROM generate_series(1, 1000) AS i), 'v', ARRAY[asynctasq.ref('Also', 1), asynctasq.ref('Place', 'x', '5d5b4d5e-0000-4000-8000-000000000001'::uuid, now())]))}),
	'1 1 1000 500500 2', 'arrays and jsonb, of two servers');
is(run_tasks(q{SELECT asynctasq.dispatch_many('take_batch', array_agg(asynctasq.args('u', asynctasq.ref('User', i)))) FROM generate_series(1, 300) AS i}), '300 300 1 user 1', 'batches');
is(run_tasks(q{SELECT asynctasq.dispatch_many('take_group', array_agg(asynctasq.args('u', asynctasq.ref('User', i)))) FROM generate_series(1, 300) AS i}), '300 300 1 user 1', 'groups');
is(run_tasks(q{SELECT asynctasq.dispatch('take_lazy', asynctasq.args('u', asynctasq.ref('User', 8)))}), '1 1 user 8', 'a lazy argument');

# Only those fail that need what is not there: later again, or not at all.
is(run_tasks(q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref(m, 7))) FROM unnest('{Gone,User,Also}'::text[]) AS m}), '2 1 7 user 7', 'the others run');
query_is($node, 'shop', q{SELECT status, attempt FROM asynctasq.tasks}, 'scheduled|1', 'the one is tried again later');
app($node, 'shop', 'app', q{SELECT asynctasq.purge_queue('default')});
is(run_tasks(q{SELECT asynctasq.dispatch('take_locked', asynctasq.args('u', asynctasq.ref('User', 7)))}), '0 0 ', 'rows elsewhere cannot be locked');
query_is($node, 'shop', q{SELECT task, attempt, error ->> 'sqlstate', error ->> 'message' FROM asynctasq.dead_letters}, 'take_locked|1|42809|rows of model "User" cannot be locked', 'which is final');
$remote->safe_psql('far', 'REVOKE SELECT ON app.users FROM app');
$node->safe_psql('shop', 'TRUNCATE asynctasq.dead_letter');
is(run_tasks(q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', 7)))}), '0 0 ', 'not allowed to read them there');
query_is($node, 'shop', q{SELECT task, attempt, error ->> 'sqlstate', error ->> 'message', error ->> 'context' LIKE '%server "far"%' FROM asynctasq.dead_letters}, 'take|1|42501|permission denied for table users|t', 'is final too');
$remote->safe_psql('far', 'GRANT SELECT ON app.users TO app');
$node->safe_psql('shop', 'TRUNCATE asynctasq.dead_letter');
app($node, 'shop', 'app', 'ALTER TABLE users ALTER name TYPE int USING 0');
is(run_tasks(q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', 7)))}), '0 0 ', 'rows of another form');
query_is($node, 'shop', q{SELECT error ->> 'sqlstate', error ->> 'message', error ->> 'context' LIKE '%row of type %users from server "far"%' FROM asynctasq.dead_letters}, '22P02|invalid input syntax for type integer: "user 7"|t', 'are an error of the value');
app($node, 'shop', 'app', q{ALTER TABLE users ALTER name TYPE varchar(20) USING ''});

# A restart in between: what had connections goes on.
$remote->restart;
is(run_tasks(q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', 7)))}), '1 1 7 user 7', 'after a restart of the other server');
query_is($node, 'shop', q{SELECT count(*) > 0 FROM asynctasq.stat_pools AS p JOIN asynctasq.stat_workers AS w USING (pid) WHERE p.server = 'far' AND p.size > 0 AND p.checked_out = 0}, 't', 'pools belong to workers');

# A cancelled task leaves nothing running there.
my $locker = $remote->background_psql('far');
$locker->query_safe('BEGIN; LOCK TABLE app.users');
my $id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', 7)))});
wait_for($remote, 'far', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'app'});
is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', 'cancelled while the other server is busy');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($id)");
wait_for($remote, 'far', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'app'});
$id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', 7)), timeout => '200 ms', max_attempts => 1)});
wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($id)");
query_is($node, 'shop', "SELECT error ->> 'sqlstate' FROM asynctasq.task_info($id)", '57014', "a task's own time limit");

# Workers in the midst of a query leave when a database is dropped or copied.
$id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('take', asynctasq.args('u', asynctasq.ref('User', 7)), max_attempts => 1)});
wait_for($remote, 'far', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'app'});
$node->safe_psql('postgres', 'CREATE DATABASE unrelated');
$node->safe_psql('shop', q{SELECT pg_terminate_backend(pid, 10000) FROM asynctasq.stat_workers WHERE task = 'take'});
wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($id)");
query_is($node, 'shop', "SELECT error ->> 'sqlstate' FROM asynctasq.task_info($id)", '57P01', 'a worker that is terminated meanwhile');
$locker->query_safe('COMMIT');
$locker->quit;

# Whoever may dispatch cannot make the handler's role use its rights elsewhere.
$node->safe_psql('shop', q{
	CREATE ROLE guest LOGIN;
	GRANT USAGE ON SCHEMA asynctasq TO guest;
	CREATE SCHEMA AUTHORIZATION guest;
	GRANT USAGE ON FOREIGN SERVER also TO guest;});
app($node, 'shop', 'guest', q{
	CREATE FOREIGN TABLE secrets (id int, name text) SERVER also OPTIONS (schema_name 'app', table_name 'users');
	SELECT asynctasq.register_model('Secret', 'secrets', server => 'also', key => '{id}');});
app_fails($node, 'shop', 'app', q{SELECT asynctasq.fetch(asynctasq.ref('Secret', 1))}, qr/42501: permission denied for model "Secret".*whose rights on server "also" it would use/s, "another role's model");

# The extension's tables are dumped with the server's name.
query_is($node, 'shop', q{SELECT string_agg(class || ' ' || server, ', ' ORDER BY class) FROM asynctasq.model WHERE server IS NOT NULL AND class <> 'Secret'}, 'Also also, Client also, Day far, Gone gone, Place far, Twice far, User far', 'models and their servers');

$node->stop;
$remote->stop;
done_testing();
