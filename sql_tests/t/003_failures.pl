# Every way in which a task fails leaves its record, none of its effects, and a
# queue that goes on.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main');
create_tenant($node, 'shop', 'app');

app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text);
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE failures (task text, message text);
	CREATE FUNCTION fine(what text) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO effects VALUES (what); END;
	SELECT asynctasq.register_handler('fine', 'fine(text)');});

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

# dispatch('task', "'key', value"[, ', option => value']): the id
sub dispatch
{
	my ($task, $args, $options) = @_;

	$options //= '';
	return sql("SELECT asynctasq.dispatch('$task', asynctasq.args($args)$options)");
}

# dead_letter($id, $expression): waits for the dead letter
sub dead_letter
{
	my ($id, $expression) = @_;

	wait_for($node, 'shop',
		"SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE id = $id");
	return sql("SELECT $expression FROM asynctasq.dead_letters WHERE id = $id");
}

# The queue is alive, and what is expected is all that was done.
sub goes_on
{
	my ($name) = @_;

	dispatch('fine', "'what', '$name'");
	wait_for($node, 'shop', "SELECT count(*) > 0 FROM app.effects");
	is(sql('DELETE FROM effects RETURNING what'),
		$name, "after $name: no effect of it, and the queue goes on");
	return;
}

# An error.
sql(q{
	CREATE FUNCTION fail(what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES (what);
		RAISE EXCEPTION 'no luck with %', what
			USING ERRCODE = 'AB123', DETAIL = 'the detail', HINT = 'the hint';
	END $$;
	SELECT asynctasq.register_handler('fail', 'fail(text)', max_attempts => 1);});
my $id = dispatch('fail', "'what', 'x'", q{, correlation_id => 'c-1'});
is( dead_letter(
		$id, q{task, queue, attempt, args, correlation_id, error ->> 'sqlstate',
		error ->> 'message', error ->> 'detail', error ->> 'hint', error ->> 'attempt',
		(error ->> 'failed_at')::timestamptz <= now()}),
	'fail|default|1|{"what": "x"}|c-1|AB123|no luck with x|the detail|the hint|1|t',
	'a dead letter holds the whole error');
like(dead_letter($id, q{error ->> 'context'}),
	qr/PL\/pgSQL function.*fail\(text\)/, 'and its context');
is(sql("SELECT status FROM asynctasq.task_info($id)"),
	'failed', 'the task is failed');
goes_on('an error');

# It is retried once its cause is repaired.
sql(q{
	CREATE OR REPLACE FUNCTION fail(what text) RETURNS void LANGUAGE sql
		BEGIN ATOMIC INSERT INTO effects VALUES ('repaired ' || what); END;});
is(sql("SELECT asynctasq.retry($id)"), 't', 'retry() of a dead letter');
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.effects');
is(sql('DELETE FROM effects RETURNING what'),
	'repaired x', 'runs it with the new body of the function');
is(sql("SELECT count(*) FROM asynctasq.dead_letters WHERE id = $id"),
	'0', 'and takes it from the dead letters');
is(sql("SELECT asynctasq.retry($id)"), 'f', 'retry() of no dead letter');

# Retries, as planned.
sql(q{
	CREATE FUNCTION divide(by int) RETURNS int LANGUAGE sql RETURN 1 / by;
	SELECT asynctasq.register_handler('fixed', 'divide(int)', max_attempts => 3,
		retry_delay => '1 hour', retry_strategy => 'fixed');
	SELECT asynctasq.register_handler('exponential', 'divide(int)', max_attempts => 3,
		retry_delay => '1 hour');});
foreach my $strategy ('fixed', 'exponential')
{
	$id = dispatch($strategy, "'by', 0");
	wait_for($node, 'shop',
		"SELECT count(*) = 1 FROM asynctasq.tasks WHERE id = $id AND status = 'scheduled'");
	is( sql(qq{
		SELECT attempt, max_attempts,
			run_at BETWEEN now() + '59 min' AND now() + '1 h' FROM asynctasq.tasks WHERE id = $id}),
		'1|3|t', "$strategy: the first retry waits for the delay");
	is(sql("SELECT asynctasq.cancel($id)"), 't', 'a waiting task is cancelled');
	is(sql("SELECT status FROM asynctasq.task_info($id)"),
		'cancelled', 'and says so');
}

# Retries, as they happen.  What a sequence holds survives the rollback.
sql(q{
	CREATE SEQUENCE attempt1; CREATE SEQUENCE attempt2;
	CREATE SEQUENCE attempt3; CREATE SEQUENCE attempt4;
	CREATE FUNCTION note_attempt() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM setval('app.attempt' || (asynctasq.current_task()).attempt,
			(extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
		RAISE EXCEPTION 'again';
	END $$;});
foreach my $strategy ('fixed', 'exponential')
{
	my ($second, $third) = $strategy eq 'fixed' ? (100, 100) : (200, 400);

	sql(qq{
		SELECT asynctasq.register_handler('note_$strategy', 'note_attempt()', max_attempts => 4,
			retry_delay => '100 ms', retry_strategy => '$strategy');});
	$id = sql("SELECT asynctasq.dispatch('note_$strategy')");
	is(dead_letter($id, 'attempt'), '4', "$strategy: four attempts");
	is( sql(qq{
		SELECT a2.last_value - a1.last_value >= 100000,
			a3.last_value - a2.last_value >= ${second}000,
			a4.last_value - a3.last_value >= ${third}000
		FROM attempt1 AS a1, attempt2 AS a2, attempt3 AS a3, attempt4 AS a4}),
		't|t|t', "$strategy: each after its delay");
}

# should_retry and on_failure.
sql(q{
	CREATE FUNCTION not_by_zero(task jsonb, error jsonb) RETURNS boolean LANGUAGE sql
		RETURN error ->> 'sqlstate' <> '22012';
	CREATE FUNCTION note_failure(task jsonb, error jsonb) RETURNS void LANGUAGE sql
		BEGIN ATOMIC
			INSERT INTO failures VALUES (task ->> 'task', error ->> 'message');
		END;
	CREATE FUNCTION fail_again(task jsonb, error jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'on_failure fails too';
	END $$;
	SELECT asynctasq.register_handler('picky', 'divide(int)', max_attempts => 5,
		should_retry => 'not_by_zero(jsonb, jsonb)', on_failure => 'note_failure(jsonb, jsonb)');
	SELECT asynctasq.register_handler('clumsy', 'divide(int)', max_attempts => 1,
		on_failure => 'fail_again(jsonb, jsonb)');});
$id = dispatch('picky', "'by', 0");
is(dead_letter($id, 'attempt'), '1', 'should_retry says no');
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.failures');
is(sql('SELECT * FROM failures'),
	'picky|division by zero', 'on_failure was called');
$id = dispatch('clumsy', "'by', 0");
is(dead_letter($id, q{error ->> 'message'}),
	'division by zero', 'a failing on_failure changes nothing');
goes_on('a failing on_failure');

# Too long.
sql(q{
	CREATE FUNCTION nap(seconds int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES ('nap');
		SET LOCAL statement_timeout = 0;
		PERFORM pg_sleep(seconds);
	END $$;
	SELECT asynctasq.register_handler('nap', 'nap(int)', max_attempts => 1, timeout => '200 ms');});
$id = dispatch('nap', "'seconds', 600");
is(dead_letter($id, q{error ->> 'sqlstate'}), '57014', 'a timeout');
goes_on('a timeout');

# At the commit.
sql(q{
	CREATE FUNCTION orphan(parent int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES ('orphan');
		INSERT INTO app.children VALUES (parent);
	END $$;
	SELECT asynctasq.register_handler('orphan', 'orphan(int)', max_attempts => 1);});
$id = dispatch('orphan', "'parent', 7");
is(dead_letter($id, q{error ->> 'sqlstate'}),
	'23503', 'a deferred constraint that fails at the commit');
goes_on('a failed commit');

# No such handler, no such function, wrong arguments.
app_fails($node, 'shop', 'app', q{SELECT asynctasq.dispatch('nobody')},
	qr/ERROR:  42704: .*"nobody"/, 'dispatch to an unknown handler');
sql(q{
	CREATE FUNCTION short_lived() RETURNS void LANGUAGE sql AS '';
	SELECT asynctasq.register_handler('dropped', 'short_lived()');
	SELECT asynctasq.register_handler('unregistered', 'fine(text)');
	SELECT asynctasq.pause_queue('default');});
$id = sql(q{SELECT asynctasq.dispatch('dropped', max_attempts => 1)});
my $other = dispatch('unregistered', "'what', 'x'", ', max_attempts => 1');
sql(q{
	DROP FUNCTION short_lived();
	SELECT asynctasq.unregister_handler('unregistered');
	SELECT asynctasq.resume_queue('default');});
is(dead_letter($id, q{error ->> 'sqlstate'}),
	'42883', 'a function dropped since the dispatch');
like(dead_letter($other, q{error ->> 'message'}),
	qr/unregistered/, 'a handler unregistered since the dispatch');
$id = dispatch('fine', "'when', 1", ', max_attempts => 1');
like(
	dead_letter($id, q{(error ->> 'sqlstate') || ' ' || (error ->> 'message')}),
	qr/^22023 .*"wh(en|at)"/,
	'an argument that the function does not have');
$id = dispatch('fine', "'what', ARRAY[1, 2]", ', max_attempts => 1');
like(dead_letter($id, q{error ->> 'sqlstate'}),
	qr/^42804/, 'an argument of another type');
goes_on('wrong arguments');

# The worker dies.
sql(q{
	CREATE FUNCTION die() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES ('die');
		PERFORM pg_terminate_backend(pg_backend_pid());
		PERFORM pg_sleep(600);
	END $$;
	SELECT asynctasq.register_handler('die', 'die()', max_attempts => 2, retry_delay => '10 ms');});
$id = sql(q{SELECT asynctasq.dispatch('die')});
is(dead_letter($id, 'attempt'), '2', 'FATAL counts as an attempt');
like(dead_letter($id, q{error ->> 'sqlstate'}), qr/^[0-9A-Z]{5}$/,
	'and has a SQLSTATE');
goes_on('FATAL');

# Not before its time.
$id = dispatch('fine', "'what', 'later'", q{, delay => '300 ms'});
is( sql("SELECT status, run_at > now() - interval '5 s' FROM asynctasq.task_info($id) WHERE status = 'scheduled'
	UNION ALL SELECT 'scheduled', true LIMIT 1"),
	'scheduled|t', 'a delayed task is scheduled');
sql(q{ALTER TABLE effects ADD COLUMN at timestamptz DEFAULT clock_timestamp()});
$id = sql(q{
	SELECT asynctasq.dispatch('fine', asynctasq.args('what', 'at ' || clock_timestamp() + '300 ms'),
		run_at => clock_timestamp() + '300 ms')});
wait_for($node, 'shop', 'SELECT count(*) = 2 FROM app.effects');
is( sql(q{SELECT at >= substr(what, 4)::timestamptz FROM effects WHERE what LIKE 'at %'}),
	't', 'a task runs when it is due, not before');

$node->stop;
done_testing();
