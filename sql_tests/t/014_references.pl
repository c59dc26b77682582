# References in worker processes: one query per model at most, whatever the number of
# references; bounded memory; a wait for a row's lock ends with the task.

use strict;
use warnings;

use AtqTest;
use Test::More;

# Bytes of all memory contexts that reading 100,000 references may take beside
# the rows, which are counted apart.
my $memory_limit = 48 * 1024 * 1024;

my $node = new_cluster(
	'main',
	'shared_preload_libraries' => 'pg_stat_statements, asynctasq',
	'asynctasq.workers_per_lane' => 1,
	'asynctasq.max_payload' => '64MB',
	'pg_stat_statements.track' => 'all');
create_tenant($node, 'shop', 'app');
$node->safe_psql('shop', 'CREATE EXTENSION pg_stat_statements');
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users);
	INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 100000) AS i;
	INSERT INTO orders SELECT i, i FROM generate_series(1, 1000) AS i;
	ANALYZE;
	CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text);
	CREATE FUNCTION count_users(us users[], o jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.got (what) SELECT format('%s users %s, %s orders', count(*), sum((u).id), jsonb_array_length(o)) FROM unnest(us) AS u;
	$$;
	CREATE FUNCTION take(u users) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (u.id || ' ' || u.name) $$;
	CREATE FUNCTION take_json(v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (v) $$;
	SELECT asynctasq.register_handler('count_users', 'count_users(users[], jsonb)', max_attempts => 1),
		asynctasq.register_handler('take', 'take(users)', max_attempts => 1),
		asynctasq.register_handler('take_json', 'take_json(jsonb)', max_attempts => 1),
		asynctasq.register_handler('locking', 'take(users)', max_attempts => 1, lock => 'update'),
		asynctasq.register_handler('patient', 'take(users)', max_attempts => 1, lock => 'update', timeout => '200 ms'),
		asynctasq.register_model('User', 'users'),
		asynctasq.register_model('Order', 'orders');});

# Dispatches, waits until the task has ended, and returns what is in table got.
sub run_task
{
	my ($task, $args) = @_;
	my $result = app($node, 'shop', 'app', qq{
		DELETE FROM got;
		SELECT asynctasq.dispatch('$task', $args) AS id \\gset
		SELECT asynctasq.wait(:id, '1 hour');
		SELECT string_agg(what, ';' ORDER BY n) FROM got;});

	$result =~ s/^\s+//;
	return $result;
}

# How many queries have read rows, and how many rows; from release 18 on
# pg_stat_statements does not tell those of different tables apart.
sub queries
{
	return $node->safe_psql(
		'shop', q{
		SELECT format('%s queries, %s rows', coalesce(sum(s.calls), 0), coalesce(sum(s.rows), 0))
		FROM pg_stat_statements AS s WHERE s.query ~ 'AS asynctasq_row'});
}

foreach my $n (1, 8, 9, 1000)
{
	my $queries = $n > 8 ? 2 : 0;
	my $rows = $n > 8 ? 2 * $n : 0;

	$node->safe_psql('shop', 'SELECT pg_stat_statements_reset()');
	is( run_task('count_users', qq{(SELECT asynctasq.args('us', array_agg(u), 'o',
			(SELECT array_agg(o) FROM orders AS o WHERE id <= $n)) FROM users AS u WHERE id <= $n)}),
		"$n users " . $n * ($n + 1) / 2 . ", $n orders",
		"$n references to each of two models");
	is(queries(), "$queries queries, $rows rows", 'one query for each model, none for a few rows');
}

# Twice the same, nested and in a set: still one query, and each row once.
$node->safe_psql('shop', 'SELECT pg_stat_statements_reset()');
run_task('take_json', q{(SELECT asynctasq.args('v', asynctasq.args('a', u, 'b', ARRAY[u, u],
	'c', asynctasq.set(ARRAY[u]), 'd', asynctasq.args('e', asynctasq.args('f', asynctasq.set(ARRAY[v]))),
	'g', (SELECT array_agg(w) FROM users AS w WHERE id <= 10))) FROM users AS u, users AS v
	WHERE u.id = 1 AND v.id = 2)});
is(queries(), '1 queries, 10 rows', 'one query for references at any depth');

# A lazy argument costs no query.
$node->safe_psql('shop', 'SELECT pg_stat_statements_reset()');
app($node, 'shop', 'app', q{
	CREATE FUNCTION lazy(u asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (u::text) $$;
	SELECT asynctasq.register_handler('lazy', 'lazy(asynctasq.msgpack)', max_attempts => 1)});
like(run_task('lazy', q{asynctasq.args('u', asynctasq.ref('User', 1))}),
	qr/__orm_class__/, 'a lazy argument stays a reference');
is(queries(), '0 queries, 0 rows', 'no query for it');

# A worker that dispatches nothing itself follows what is done to the table.
is(run_task('take_json', q{asynctasq.args('v', asynctasq.ref('Order', 7))}),
	'{"id": 7, "user_id": 7}', 'before the change');
my $worker = $node->safe_psql('shop', 'SELECT pid FROM asynctasq.stat_workers WHERE role IS NOT NULL');
app($node, 'shop', 'app', 'ALTER TABLE orders RENAME id TO number; ALTER TABLE orders ADD note text; ALTER TABLE orders RENAME TO "Orders"');
is(run_task('take_json', q{asynctasq.args('v', asynctasq.ref('Order', 7))}),
	'{"note": null, "number": 7, "user_id": 7}', 'after it');
query_is($node, 'shop', 'SELECT pid FROM asynctasq.stat_workers WHERE role IS NOT NULL',
	$worker, 'in the same process');

# Tasks run while the table is changed again and again: each finds the row.
my $tasks = 2000;
$node->safe_psql('postgres', 'ALTER SYSTEM SET asynctasq.workers_per_lane = 3');
$node->reload;
app($node, 'shop', 'app', q{
	CREATE TABLE shifting (id int PRIMARY KEY, name text);
	INSERT INTO shifting VALUES (1, 'found'), (2, 'found');
	CREATE TABLE remade AS TABLE shifting;
	ALTER TABLE remade ADD PRIMARY KEY (id);
	SELECT asynctasq.register_model('Shifting', 'shifting', on_missing => 'error'),
		asynctasq.register_model('Remade', 'remade', on_missing => 'error');
	CREATE FUNCTION take_shifting(v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) SELECT w ->> 'name' FROM jsonb_array_elements(v) AS w $$;
	SELECT asynctasq.register_handler('take_shifting', 'take_shifting(jsonb)', max_attempts => 1);
	DELETE FROM got;});
$node->safe_psql('shop', 'CREATE SCHEMA elsewhere AUTHORIZATION app');
for (1 .. 5)
{
	app($node, 'shop', 'app', qq{
		SELECT count(asynctasq.dispatch('take_shifting', asynctasq.args('v', CASE WHEN i % 2 = 0 THEN ARRAY[asynctasq.ref('Shifting', 1), asynctasq.ref('Remade', 1)]
			ELSE ARRAY[asynctasq.ref('Remade', 2), asynctasq.ref('Remade', 1), asynctasq.ref('Shifting', 1), asynctasq.ref('Shifting', 2)] END))) FROM generate_series(1, $tasks / 5) AS i;
		ALTER TABLE shifting ADD extra int DEFAULT 5;
		ALTER TABLE shifting RENAME id TO key;
		ALTER TABLE shifting ALTER key TYPE bigint;
		ALTER TABLE shifting SET SCHEMA elsewhere;
		ALTER TABLE elsewhere.shifting RENAME key TO id;
		ALTER TABLE elsewhere.shifting DROP CONSTRAINT shifting_pkey, ADD PRIMARY KEY (id);
		ALTER TABLE elsewhere.shifting SET SCHEMA app;
		ALTER TABLE shifting DROP extra;
		BEGIN;
		DROP TABLE remade;
		CREATE TABLE remade (name text, id int PRIMARY KEY);
		INSERT INTO remade VALUES ('found', 2), ('found', 1);
		COMMIT;});
}
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is($node, 'shop', q{SELECT count(*) || ' ' || string_agg(DISTINCT what, ',') FROM app.got},
	$tasks * 3 . ' found', 'all tasks have found their rows');
query_is($node, 'shop', q{SELECT count(*), min(error::text) FROM asynctasq.dead_letters WHERE task = 'take_shifting'},
	'0|', 'none has failed');

# 100,000 references in one task: in pieces, with memory for one piece.  The
# view says how much is in use when its last rows are read.
app($node, 'shop', 'app', q{
	CREATE FUNCTION used(id int) RETURNS bigint LANGUAGE sql AS $$
		SELECT sum(total_bytes)::bigint FROM pg_catalog.pg_backend_memory_contexts
	$$;
	CREATE VIEW measured AS SELECT id, CASE WHEN id % 1000 = 0 THEN used(id) END AS used FROM users;
	CREATE FUNCTION measure(us measured[]) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.got (what) SELECT format('%s %s %s', count(*), max((u).used),
			sum(pg_column_size(u))) FROM unnest(us) AS u
	$$;
	SELECT asynctasq.register_model('Measured', 'measured', key => '{id}'),
		asynctasq.register_handler('measure', 'measure(measured[])', max_attempts => 1);});
$node->safe_psql('postgres', 'GRANT pg_read_all_stats TO app');
$node->safe_psql('shop', 'SELECT pg_stat_statements_reset()');
my ($count, $used, $rows) = split / /,
  run_task('measure', q{(SELECT asynctasq.args('us', array_agg(m)) FROM (SELECT id, NULL::bigint FROM users) AS u, LATERAL asynctasq.ref('Measured', u.id) AS m)});
is($count, 100000, '100,000 references in one task');
is(queries(), '10 queries, 100000 rows', 'are read in ten pieces');
cmp_ok($used - $rows, '<', $memory_limit, 'within bounded memory');
note("memory $used, of which rows $rows");

# Keys that are side by side in an index are found on the page of the last one,
# not from the root, and are counted as scans.
app($node, 'shop', 'app', q{
	CREATE TABLE side AS SELECT generate_series(1, 2000) AS id;
	ALTER TABLE side ADD CONSTRAINT side_pkey PRIMARY KEY (id);
	SELECT asynctasq.register_model('Side', 'side');
	SELECT count(asynctasq.fetch(asynctasq.ref('Side', i))) FROM generate_series(1, 2000) AS i;
	SELECT pg_stat_force_next_flush();});
query_is($node, 'shop', q{SELECT s.idx_scan, s.idx_tup_read, s.idx_tup_fetch, (io.idx_blks_hit + io.idx_blks_read) / 2000
	FROM pg_stat_user_indexes AS s JOIN pg_statio_user_indexes AS io USING (indexrelid) WHERE s.indexrelname = 'side_pkey'},
	'2000|2000|2000|1', '2,000 keys of an index are found on a page each');

# Reading them can be cancelled.
app($node, 'shop', 'app', q{
	CREATE FUNCTION slow(id int) RETURNS int LANGUAGE sql AS $$ SELECT id FROM pg_catalog.pg_sleep(0.1) $$;
	CREATE VIEW slow_users AS SELECT id, slow(id) AS slow FROM users;
	CREATE FUNCTION take_slow(us slow_users[]) RETURNS void LANGUAGE sql AS $$ SELECT $$;
	SELECT asynctasq.register_model('Slow', 'slow_users', key => '{id}'),
		asynctasq.register_handler('take_slow', 'take_slow(slow_users[])', max_attempts => 1);});
my $id = app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('take_slow', asynctasq.args('us', array_agg(asynctasq.ref('Slow', id)))) FROM users});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', 'cancelled while its rows are read');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($id)");

# So can waiting for a row that someone else has locked; the task's time ends it too.
my $locker = $node->background_psql('shop');
$locker->query_safe('BEGIN');
$locker->query_safe('SELECT FROM app.users WHERE id = 1 FOR UPDATE');
$id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('locking', asynctasq.args('u', asynctasq.ref('User', 1)))});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'app'});
is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', 'cancelled while it waits for a row');
wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($id)");
$id = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('patient', asynctasq.args('u', asynctasq.ref('User', 1)))});
wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($id)");
query_is($node, 'shop', "SELECT error ->> 'sqlstate' FROM asynctasq.task_info($id)",
	'57014', 'its time limit ends the wait for a row');
is(run_task('take', q{asynctasq.args('u', asynctasq.ref('User', 1))}),
	'1 user 1', 'a handler without a lock does not wait');
$locker->query_safe('COMMIT');
$locker->quit;
is(run_task('patient', q{asynctasq.args('u', asynctasq.ref('User', 1))}),
	'1 user 1', 'nor one with a lock when nobody holds the row');

$node->stop;
done_testing();
