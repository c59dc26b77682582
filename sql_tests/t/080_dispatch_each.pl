# dispatch_each(): as many tasks as rows, at the memory of a few, from here and
# from another server, and what workers make of them.

use strict;
use warnings;

use AtqRemote;
use AtqTest;
use Test::More;

# What the memory contexts may grow by between the 20,000th row and the last, and
# what the whole may take.
my $growth_limit = 256 * 1024;
my $memory_limit = 2 * 1024 * 1024;

my $rows = 200000;
my $node = new_cluster('main', 'asynctasq.workers_per_lane' => 2, 'max_wal_size' => '1GB');
create_tenant($node, 'shop', 'app');

# The key's type notes, at each row, what memory is in use.
my $noting = q{
	CREATE FUNCTION note(id int) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		IF id % 20000 = 0 AND current_setting('app.noting', true) = 'on' THEN
			PERFORM set_config('app.used', concat_ws(' ', nullif(current_setting('app.used', true), ''),
				(SELECT sum(total_bytes) FROM pg_catalog.pg_backend_memory_contexts)), false);
		END IF;
		RETURN true;
	END $$;};
app($node, 'shop', 'app', qq{
	$noting
	CREATE DOMAIN noted AS int CHECK (app.note(VALUE));
	CREATE TABLE users (id int PRIMARY KEY, name text, score int);
	INSERT INTO users SELECT i, 'user ' || i, i % 7 FROM generate_series(1, $rows) AS i;
	ANALYZE users;
	CREATE VIEW noted_users AS SELECT id, name FROM users WHERE note(id);
	CREATE TABLE far_users (id noted PRIMARY KEY, name text, score int);
	CREATE TABLE got (name text, note text);
	CREATE FUNCTION take(us users[], note text[]) RETURNS void LANGUAGE sql AS \$\$
		INSERT INTO app.got SELECT x.name, x.note FROM unnest(us, note) AS x (id, name, score, note)
	\$\$;
	CREATE FUNCTION never(x jsonb) RETURNS void LANGUAGE sql AS \$\$ SELECT \$\$;
	SELECT asynctasq.register_model('User', 'users'), asynctasq.register_model('Noted', 'noted_users', key => '{id}'),
		asynctasq.register_handler('take', 'take(users[], text[])', batch_size => 100),
		asynctasq.register_handler('never', 'never(jsonb)', queue => 'paused'),
		asynctasq.create_queue('paused'), asynctasq.pause_queue('paused');});
$node->safe_psql('postgres', 'GRANT pg_read_all_stats TO app');

# The memory in use before it, at the first row that is noted, .. and at the
# last; the session has done the same for a few rows before.
sub growth
{
	my ($set, $name) = @_;
	my $result = app($node, 'shop', 'app', qq{
		SELECT asynctasq.dispatch_each('never', asynctasq.slice($set, 0, 10), 'x');
		SELECT asynctasq.purge_queue('paused');
		SET app.noting = on;
		SELECT note(0);
		SELECT asynctasq.dispatch_each('never', $set, 'x', asynctasq.args('y', repeat('z', 100)));
		SELECT current_setting('app.used');});
	my (undef, undef, undef, $count, $used) = split /\n/, $result;
	my ($before, @used) = split / /, $used;

	is($count, $rows, "$name: a task for each row");
	is(scalar @used, $rows / 20000, "$name: measured");
	note("memory: $used");
	cmp_ok($used[-1] - $used[0], '<', $growth_limit, "$name: at the same memory");
	cmp_ok($used[0] - $before, '<', $memory_limit, "$name: which is little");
	query_is($node, 'shop', qq{
		SELECT count(*), count(DISTINCT args #>> '{x,__orm:sqlalchemy__}'), bool_and(args #>> '{x,__orm_class__}' IS NOT NULL AND length(args ->> 'y') = 100)
		FROM asynctasq.tasks}, "$rows|$rows|t", "$name: each with its row's reference");
	app($node, 'shop', 'app', q{SELECT asynctasq.purge_queue('paused')});
	return;
}

growth(q{asynctasq.objects('Noted')}, 'here');

# In the set's order, also where the server could read rows in parallel.
app($node, 'shop', 'app', q{
	SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SELECT asynctasq.dispatch_each('never', asynctasq.slice(asynctasq.order_by(asynctasq.filter(asynctasq.objects('User'), '{"score": 3}'), '-name'), 0, 1000), 'x')});
query_is($node, 'shop', q{
	SELECT count(*), bool_and(u.name = w.name) FROM (SELECT row_number() OVER (ORDER BY id) AS n, (args #>> '{x,__orm:sqlalchemy__}')::int AS id FROM asynctasq.tasks) AS t
		JOIN app.users AS u USING (id) JOIN (SELECT row_number() OVER (ORDER BY name DESC) AS n, name FROM app.users WHERE score = 3) AS w USING (n)},
	'1000|t', 'in the order of the set');
app($node, 'shop', 'app', q{SELECT asynctasq.purge_queue('paused')});

# All of them or none.
app($node, 'shop', 'app', q{BEGIN; SELECT asynctasq.dispatch_each('never', asynctasq.filter(asynctasq.objects('User'), '{"id__lt": 100}'), 'x'); ROLLBACK});
app($node, 'shop', 'app', q{
	CREATE VIEW breaking AS SELECT id, name FROM users WHERE 1 / (50 - id) <> 5;
	SELECT asynctasq.register_model('Breaking', 'breaking', key => '{id}')});
app_fails($node, 'shop', 'app', q{SELECT asynctasq.dispatch_each('never', asynctasq.order_by(asynctasq.objects('Breaking'), 'id'), 'x')},
	qr/22012: division by zero/, 'an error at a later row');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.tasks', '0', 'and there is no task');

# Workers find the rows.
is(app($node, 'shop', 'app', q{SELECT asynctasq.dispatch_each('take', asynctasq.filter(asynctasq.objects('User'), '{"id__lte": 5000}'), 'us', asynctasq.args('note', 'run'))}),
	'5000', 'tasks for workers');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is($node, 'shop', q{SELECT count(*), count(DISTINCT got.name), min(note) FROM app.got JOIN app.users USING (name) WHERE id <= 5000}, '5000|5000|run', 'each has got its row');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters', '0', 'none has failed');

# Keys of another server come over the pool.
$node->safe_psql('postgres', 'CREATE DATABASE far');
$node->safe_psql('far', 'CREATE SCHEMA AUTHORIZATION app');
app($node, 'far', 'app', qq{
	CREATE TABLE far_users (id int PRIMARY KEY, name text, score int);
	INSERT INTO far_users SELECT i, 'far ' || i, 0 FROM generate_series(1, $rows) AS i;});
create_servers($node, 'shop', "user 'app'", far => address_of($node, 'far'));
app($node, 'shop', 'app', q{SELECT asynctasq.register_model('Far', 'far_users', server => 'far')});
growth(q{asynctasq.objects('Far')}, 'there');
app($node, 'shop', 'app', q{
	CREATE FUNCTION take_far(x far_users) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got VALUES (x.name, 'far') $$;
	SELECT asynctasq.register_handler('take_far', 'take_far(far_users)')});
is(app($node, 'shop', 'app', q{SELECT asynctasq.dispatch_each('take_far', asynctasq.slice(asynctasq.order_by(asynctasq.objects('Far'), '-id'), 0, 3), 'x')}), '3', 'some of them');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is($node, 'shop', q{SELECT string_agg(name, ',' ORDER BY name DESC) FROM app.got WHERE note = 'far'}, 'far 200000,far 199999,far 199998', 'and their rows');

$node->stop;
done_testing();
