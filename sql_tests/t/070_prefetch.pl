# Rows of other servers that are asked for before their tasks begin: when they
# are used and when not, and what becomes of them when something goes wrong.

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
	CREATE ROLE other LOGIN;
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO app, other;
	CREATE TABLE app.users (id int PRIMARY KEY, name text);
	INSERT INTO app.users SELECT i, 'old' FROM generate_series(1, 1000) AS i;
	CREATE TABLE app.places (id int PRIMARY KEY, name text);
	INSERT INTO app.places VALUES (1, 'here');
	GRANT ALL ON app.users, app.places TO app;});

my $node = new_cluster('near', 'asynctasq.workers_per_lane' => 1, 'asynctasq.worker_idle_timeout' => '1h', 'asynctasq.sweep_interval' => '1s');
create_tenant($node, 'shop', 'app');
create_servers($node, 'shop', "user 'app'", far => address_of($remote, 'postgres'));
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	CREATE TABLE places (id int PRIMARY KEY, name text);
	CREATE TYPE mood AS ENUM ('sad', 'glad');
	CREATE TABLE moods (id mood PRIMARY KEY, name text);
	CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text);
	CREATE FUNCTION take(u users) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (u.id || ' ' || u.name) $$;
	CREATE FUNCTION take_all(us users[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) SELECT (u).id || ' ' || (u).name FROM unnest(us) AS u $$;
	CREATE FUNCTION take_and_wait(u users, wait boolean) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock(1) WHERE wait;
		PERFORM app.take(u); END $$;
	CREATE FUNCTION take_all_and_wait(us users[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock(1) FROM unnest(us) AS u WHERE u.id = 50;
		PERFORM app.take_all(us); END $$;
	CREATE FUNCTION take_any(v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (v ->> 'name') $$;
	CREATE FUNCTION take_lazy(u asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got (what) VALUES (asynctasq.fetch(u) ->> 'name') $$;
	CREATE FUNCTION wait_here(query text = NULL) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock(1);
		IF query IS NOT NULL THEN EXECUTE query; END IF; END $$;
	SELECT asynctasq.create_queue('default'),
		asynctasq.register_model('User', 'users', server => 'far', on_missing => 'error'),
		asynctasq.register_model('Place', 'places', server => 'far', on_missing => 'error'),
		asynctasq.register_handler('take', 'take(users)', max_attempts => 1),
		asynctasq.register_handler('take_all', 'take_all(users[])', max_attempts => 1, batch_size => 20),
		asynctasq.register_handler('take_group', 'take(users)', max_attempts => 1, group_size => 20),
		asynctasq.register_handler('take_and_wait', 'take_and_wait(users, boolean)', max_attempts => 1, group_size => 20),
		asynctasq.register_handler('take_all_and_wait', 'take_all_and_wait(users[])', max_attempts => 1, batch_size => 100),
		asynctasq.register_handler('take_any', 'take_any(jsonb)', max_attempts => 1),
		asynctasq.register_handler('take_lazy', 'take_lazy(asynctasq.msgpack)', max_attempts => 1),
		asynctasq.register_handler('wait_here', 'wait_here(text)', max_attempts => 1);});

my $lock = $node->background_psql('shop');
my $none = q{SELECT count(*) = 0 FROM asynctasq.tasks};
my $waits = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted};

sub settings
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_") foreach @_;
	$node->reload;
	return;
}

sub user
{
	my ($id, $task, $parameter) = @_;

	return sprintf q{asynctasq.dispatch('%s', asynctasq.args('%s', asynctasq.ref('User', %s)))}, $task // 'take', $parameter // 'u', $id;
}

my $log;
my $wait = q{asynctasq.dispatch('wait_here')};

# A new worker claims the tasks all at once and runs them in their order.
sub start_tasks
{
	my (@tasks) = @_;

	$node->safe_psql('shop', q{SELECT pg_terminate_backend(pid, 10000) FROM asynctasq.stat_workers; TRUNCATE app.got});
	app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('default')});
	app($node, 'shop', 'app', join(';', map { "SELECT $_" } @tasks));
	$lock->query_safe('SELECT pg_advisory_lock(1)');
	$log = -s $remote->logfile;
	app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('default')});
	return;
}

# What has come of them, when the lock is free.
sub end_tasks
{
	$lock->query_safe('SELECT pg_advisory_unlock(1)');
	wait_for($node, 'shop', $none);
	return app($node, 'shop', 'app', q{SELECT string_agg(what, ',' ORDER BY n) FROM got});
}

sub change
{
	my ($name) = @_;

	$remote->safe_psql('postgres', "UPDATE app.users SET name = '$name'");
	return;
}

sub queries
{
	return $node->safe_psql('shop', q{SELECT sum(queries) FROM asynctasq.stat_pools AS p JOIN asynctasq.stat_workers AS w USING (pid)});
}

# What the other server has been asked for rows, by its log, since start_tasks.
sub asked
{
	return scalar(() = slurp_file($remote->logfile, $log) =~ /execute <unnamed>: SELECT asynctasq_key/g);
}

sub errors
{
	my $errors = $node->safe_psql('shop', q{SELECT string_agg(error ->> 'sqlstate', ',' ORDER BY id) FROM asynctasq.dead_letters});

	$node->safe_psql('shop', 'TRUNCATE asynctasq.dead_letter');
	return $errors;
}

# One query for many tasks.
settings(q{asynctasq.fetch_max_age = '1h'});
start_tasks($wait, map { user($_) } 1 .. 9);
is(end_tasks(), join(',', map { "$_ old" } 1 .. 9), 'tasks get their rows');
is(queries(), '2', 'the first by a query of its own, the others by one for all');
my $place = q{asynctasq.dispatch('take_any', asynctasq.args('v', asynctasq.ref('Place', 1)))};
start_tasks($wait, (map { user($_) } 1 .. 4), ($place) x 3);
is(end_tasks(), join(',', (map { "$_ old" } 1 .. 4), ('here') x 3), 'rows of two models');
is(queries(), '3', 'one query for each model');
start_tasks($wait, (map { user($_) } 1 .. 4), (q{asynctasq.dispatch('take_lazy', asynctasq.args('u', asynctasq.ref('Place', 1)))}) x 2);
is(end_tasks(), join(',', (map { "$_ old" } 1 .. 4), ('here') x 2), 'some of them lazy');
is(asked(), '4', 'what is lazy is not asked for ahead');
foreach my $task ('take', 'take_all', 'take_group')
{
	start_tasks(map { user("(SELECT $_)", $task, $task eq 'take_all' ? 'us' : 'u') } 1 .. 200);
	is(end_tasks(), join(',', map { "$_ old" } 1 .. 200), "$task: two hundred tasks");
	cmp_ok(queries(), '<', $task eq 'take_all' ? 10 : 150, "$task: .. by less queries");
}

# The first batch of ten has the worker look ahead: at the next hundred tasks, and
# before these run at those behind them.
start_tasks(map { user($_, 'take_all_and_wait', 'us') } 1 .. 210);
wait_for($node, 'shop', $waits);
$remote->wait_for_log(qr/(execute <unnamed>: SELECT asynctasq_key.*){3}/s, $log);
is(end_tasks(), join(',', map { "$_ old" } 1 .. 210), 'two windows of tasks');
is(asked(), '3', 'the second is asked for while the first runs');

# How old a row may be.
start_tasks(user(1), $wait, user(2));
wait_for($node, 'shop', $waits);
change('new');
is(end_tasks(), '1 old,2 old', 'a row that was asked for before is used while it is young');
change('old');
settings(q{asynctasq.fetch_max_age = '100ms'});
start_tasks(user(1), $wait, user(2));
wait_for($node, 'shop', $waits);
change('new');
wait_for($node, 'shop', q{SELECT clock_timestamp() - task_started_at > '100 ms' FROM asynctasq.stat_workers WHERE task = 'wait_here'});
is(end_tasks(), '1 old,2 new', 'one that is too old is fetched again');
change('old');
settings(q{asynctasq.fetch_max_age = '2s'});
my $too_old = q{SELECT clock_timestamp() - task_started_at > '2 s' FROM asynctasq.stat_workers WHERE task = 'take_and_wait'};
my @waiting = map { sprintf q{asynctasq.dispatch('take_and_wait', asynctasq.args('u', asynctasq.ref('User', %s), 'wait', %s))}, $_, $_ == 2 ? 'true' : 'false' } 2 .. 4;
start_tasks(user(1), $waiting[0], map { user($_) } 3 .. 9);
wait_for($node, 'shop', $waits);
change('new');
wait_for($node, 'shop', $too_old);
is(end_tasks(), join(',', '1 old', '2 old', map { "$_ new" } 3 .. 9), 'rows of many tasks that have come and are too old');
is(asked(), '3', 'are asked for together once more');
change('old');
settings(q{asynctasq.group_duration = '10s'});
start_tasks(user(1), @waiting);
wait_for($node, 'shop', $waits);
change('new');
wait_for($node, 'shop', $too_old);
is(end_tasks(), '1 old,2 old,3 new,4 new', 'rows that become too old while a group runs');
change('old');
settings(q{asynctasq.group_duration = '10ms'});
settings(q{asynctasq.fetch_max_age = '0'});
start_tasks($wait, map { user($_) } 1 .. 9);
is(end_tasks(), join(',', map { "$_ old" } 1 .. 9), 'without looking ahead');
is(queries(), '9', 'each asks for itself');
is(asked(), '9', 'and nobody else asks');

# A task that is dispatched later sees what was there then.
settings(q{asynctasq.fetch_max_age = '1h'});
start_tasks(user(1), $wait, user(2));
wait_for($node, 'shop', $waits);
change('new');
app($node, 'shop', 'app', 'SELECT ' . user(2));
is(end_tasks(), '1 old,2 old,2 new', 'a row is used for the tasks only for which it was asked for');
change('old');

# A row that was missing may be there when its task begins.
start_tasks(user(1), $wait, user(2000));
wait_for($node, 'shop', $waits);
$remote->safe_psql('postgres', q{INSERT INTO app.users VALUES (2000, 'late')});
is(end_tasks(), '1 old,2000 late', 'a row that was not there is looked for again');

# What a task has written the next ones see.
start_tasks(user(1), q{asynctasq.dispatch('wait_here', asynctasq.args('query', 'SELECT asynctasq.execute(''far'', ''UPDATE app.users SET name = ''''written'''' WHERE id = 2'')'))}, user(2));
is(end_tasks(), '1 old,2 written', 'a row that a task before has written');
change('old');

# Other rights, another place, another form.
start_tasks(user(1), $wait, user(2));
wait_for($node, 'shop', $waits);
$node->safe_psql('shop', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'other')});
is(end_tasks(), '1 old', 'a mapping to somebody who may not read the row');
is(errors(), '42501', 'is an error of the task');
$node->safe_psql('shop', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'app')});
start_tasks(user(1), $wait, user(2));
wait_for($node, 'shop', $waits);
$node->safe_psql('shop', 'REVOKE USAGE ON FOREIGN SERVER far FROM app');
is(end_tasks(), '1 old', 'without the privilege on the server');
is(errors(), '42501', 'it is an error too');
$node->safe_psql('shop', 'GRANT USAGE ON FOREIGN SERVER far TO app');
start_tasks(user(1), $wait, user(2));
wait_for($node, 'shop', $waits);
app($node, 'shop', 'app', q{SELECT asynctasq.register_model('User', 'places', server => 'far', on_missing => 'error')});
is(end_tasks(), '1 old', 'another table');
is(errors(), 'P0002', 'has another row, or none');
app($node, 'shop', 'app', q{SELECT asynctasq.register_model('User', 'users', server => 'far', on_missing => 'error')});
start_tasks(user(1), $wait, user(2));
wait_for($node, 'shop', $waits);
app($node, 'shop', 'app', q{ALTER TABLE users ALTER name TYPE int USING 0});
is(end_tasks(), '1 old', 'a column of another type');
is(errors(), '22P02', 'cannot take the value');
app($node, 'shop', 'app', q{ALTER TABLE users ALTER name TYPE text});

# Errors of some are not those of others.
app($node, 'shop', 'app', q{SELECT asynctasq.register_model('Gone', 'places', server => 'far')});
my $gone = app($node, 'shop', 'app', q{SELECT asynctasq.args('u', asynctasq.ref('Gone', 1))::text});
app($node, 'shop', 'app', q{SELECT asynctasq.unregister_model('Gone')});
start_tasks(user(1), user(2), user("'x'::text"), (map { user($_) } 3 .. 5), q{asynctasq.dispatch('take', asynctasq.args('v', 1))}, user(6), "asynctasq.dispatch('take', '$gone'::asynctasq.msgpack)");
is(end_tasks(), join(',', map { "$_ old" } 1 .. 6), 'tasks beside some that cannot run');
is(errors(), '22P02,22023,42704', 'each of which has its own error');
cmp_ok(queries(), '<', 6, 'rows of some were asked for together');
start_tasks(user(1), user(2), user(3000), user(3));
is(end_tasks(), '1 old,2 old,3 old', 'tasks beside one whose row is missing');
is(errors(), 'P0002', 'which fails');

# Answers that take too long: each task asks for itself, and for a while no
# other is asked for ahead.
settings(q{asynctasq.fetch_max_age = '100ms'});
$remote->safe_psql('postgres', q{CREATE VIEW app.slow AS SELECT id, name || pg_sleep(0.2) AS name FROM app.users WHERE id < 3; GRANT SELECT ON app.slow TO app});
app($node, 'shop', 'app', q{
	CREATE TABLE slow (id int PRIMARY KEY, name text);
	SELECT asynctasq.register_model('Slow', 'slow', server => 'far', on_missing => 'error')});
start_tasks(map { sprintf q{asynctasq.dispatch('take_any', asynctasq.args('v', asynctasq.ref('Slow', %s)))}, $_ } 1, 2, 1, 2);
is(end_tasks(), 'old,old,old,old', 'answers that come too late');
is(queries(), '5', 'are asked for once');
settings(q{asynctasq.fetch_max_age = '1h'});

# Keys of types that are not the server's own are left to their tasks.
$remote->safe_psql('postgres', q{CREATE TYPE app.mood AS ENUM ('sad', 'glad'); CREATE TABLE app.moods (id app.mood PRIMARY KEY, name text); INSERT INTO app.moods VALUES ('sad', 'tears'); GRANT ALL ON app.moods TO app});
app($node, 'shop', 'app', q{SELECT asynctasq.register_model('Mood', 'moods', server => 'far', on_missing => 'error')});
start_tasks($wait, map { sprintf q{asynctasq.dispatch('take_any', asynctasq.args('v', asynctasq.ref('Mood', 'sad')))} } 1 .. 3);
is(end_tasks(), 'tears,tears,tears', 'keys that are of a type of users');
is(queries(), '3', 'each task asks for itself');

# While the answers are under way a task uses the same server; the pool has
# one connection for both.
$node->safe_psql('shop', q{ALTER SERVER far OPTIONS (ADD pool_max_size '1', ADD pool_max_overflow '0')});
start_tasks(user(1), q{asynctasq.dispatch('wait_here', asynctasq.args('query', 'INSERT INTO app.got (what) SELECT rows #>> ''{0,n}'' FROM asynctasq.gather(''far'', ''SELECT 42 AS n'')'))}, user(2), user(3));
is(end_tasks(), '1 old,42,2 old,3 old', 'a task that gathers meanwhile');
$node->safe_psql('shop', q{ALTER SERVER far OPTIONS (DROP pool_max_size, DROP pool_max_overflow)});
start_tasks(user(1), q{asynctasq.dispatch('wait_here', asynctasq.args('query', 'INSERT INTO app.got (what) SELECT rows #>> ''{0,n}'' FROM asynctasq.gather(''far'', ''SELECT 42 AS n'', ''SELECT 43 AS n'')'))}, user(2), user(3));
is(end_tasks(), '1 old,42,43,2 old,3 old', 'with connections for both');
is(queries(), '4', 'the answers are used all the same');

# Nothing stays behind on the other side, however long a task takes.
my $locker = $remote->background_psql('postgres');
my $blocked = q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'app'};
$locker->query_safe('BEGIN; LOCK TABLE app.places');
start_tasks(user(1), $wait, user(2), $place, user(3));
wait_for($node, 'shop', $waits);
wait_for($remote, 'postgres', $blocked, '1');
wait_for($remote, 'postgres', $blocked, '0');
ok(1, 'the query is given up while the task goes on');
$locker->query_safe('COMMIT');
is(end_tasks(), '1 old,2 old,here,3 old', 'tasks ask again');

# The worker is ended, the server dropped.
start_tasks(user(1), $wait, user(2), user(3));
wait_for($node, 'shop', $waits);
$node->safe_psql('shop', q{SELECT pg_terminate_backend(pid, 10000) FROM asynctasq.stat_workers});
wait_for($remote, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app' AND query LIKE '%asynctasq_row%' AND state <> 'idle'});
is(end_tasks(), '1 old,2 old,3 old', 'another worker goes on');
is(errors(), '57P01', 'the one that ran has failed');
start_tasks(user(1), $wait, user(2), user(3));
wait_for($node, 'shop', $waits);
$node->safe_psql('shop', 'DROP SERVER far CASCADE');
is(end_tasks(), '1 old', 'the server is dropped meanwhile');
is(errors(), '42704,42704', 'what needs it fails');

$lock->quit;
$locker->quit;
$node->stop;
$remote->stop;
done_testing();
