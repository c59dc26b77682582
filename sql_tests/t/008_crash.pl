# A crash of the server: a durable task runs again and has its effects once,
# the other queues are empty and say so, and no id comes twice.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'restart_after_crash' => 'on');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');

app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text, attempt int);
	CREATE FUNCTION hold(what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES (what, (asynctasq.current_task()).attempt);
		PERFORM pg_advisory_xact_lock(42);
	END $$;
	SELECT asynctasq.register_handler('hold', 'hold(text)', retry_delay => '0 s');
	SELECT asynctasq.create_queue('safe', durable => true);});

my $session = $node->background_psql('shop');
$session->query_safe('SELECT pg_advisory_lock(42)');
app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('hold', asynctasq.args('what', 'durable'), queue => 'safe')});
my $lost = app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('hold', asynctasq.args('what', 'lost'), delay => '1 hour')});
wait_for_held($node, 1);

# The crash ends the session that holds the lock, too.
kill 'KILL', $node->safe_psql('shop', q{
	SELECT pid FROM asynctasq.stat_workers WHERE task = 'hold'});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects});
wait_for($node, 'shop', q{
	SELECT lost_at IS NOT NULL FROM asynctasq.stat_queues WHERE queue = 'default'});
query_is($node, 'shop', 'SELECT what, attempt FROM app.effects',
	'durable|2', 'a durable task ran again, as its second attempt, and had its effects once');
query_is(
	$node, 'shop', q{
	SELECT queue, ready + scheduled, lost IS NULL, lost_at IS NOT NULL, emptied
	FROM asynctasq.stat_queues ORDER BY queue},
	"default|0|t|t|1\nsafe|0|f|f|0",
	'the queue that was emptied says so');
my $log = slurp_file($node->logfile);
is(
	scalar(() = $log =~ /WARNING:  recovery of the server has emptied 1 queues/g),
	1, 'and the log once');
cmp_ok(
	app($node, 'shop', 'app', q{
		SELECT asynctasq.dispatch('hold', asynctasq.args('what', 'new'))}),
	'>', $lost, 'ids go on rising');
wait_for($node, 'shop', q{SELECT count(*) = 2 FROM app.effects});
query_is(
	$node, 'shop', qq{
	SELECT id, task IS NULL, status, error ->> 'message',
		(error ->> 'crashed_at')::timestamptz = (SELECT max(lost_at) FROM asynctasq.stat_queues)
	FROM asynctasq.task_info($lost)},
	"$lost|t|unknown|task has ended or was lost in a crash of the server|t",
	'the lost task is unknown, and why');
query_is(
	$node, 'shop',
	"SELECT count(*) FROM asynctasq.task_info($lost + 1000) WHERE id IS NOT NULL",
	'0', 'of an id that came later no crash is to blame');

# One more is counted, a clean restart is not.  The crash may take what was
# committed just before.
$node->psql('shop', 'SELECT test.atq_test_kill_self()');
wait_for($node, 'shop', q{
	SELECT emptied = 2 FROM asynctasq.stat_queues WHERE queue = 'default'});
$node->restart;
app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('hold', asynctasq.args('what', 'last'))});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'last'});
query_is($node, 'shop', 'SELECT string_agg(emptied::text, $$ $$ ORDER BY queue) FROM asynctasq.stat_queues',
	'2 0', 'each crash is counted, a clean restart is not');

$node->stop;
done_testing();
