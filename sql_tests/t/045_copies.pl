# Copies of a database have its tasks and leave them alone: a template's copy,
# a restored dump, a subscriber, a physical copy.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %settings = (
	'asynctasq.sweep_interval' => '1s',
	'asynctasq.max_workers' => '8',
	'max_worker_processes' => '24');
my $node = new_cluster(
	'main',
	streaming => 1,
	wal_level => 'logical',
	'asynctasq.enabled' => 'off',
	%settings);
my $other = new_cluster('other', %settings);
my $dir = PostgreSQL::Test::Utils::tempdir();

sub switch
{
	my ($on, $state) = @_;

	$on->append_conf('postgresql.conf', "asynctasq.enabled = $state");
	$on->reload;
	wait_for($on, 'postgres', 'SHOW asynctasq.enabled', $state);
	return;
}

sub make_tables
{
	my ($on, $db) = @_;

	create_tenant($on, $db, 'app');
	app($on, $db, 'app', q{
		CREATE TABLE log (what text);
		CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql
			BEGIN ATOMIC INSERT INTO log VALUES (what); END;
		CREATE FUNCTION keep() RETURNS text LANGUAGE sql RETURN 'kept';});
	return;
}

sub dispatch
{
	my ($on, $db, $what, $queue) = @_;

	return app($on, $db, 'app',
		"SELECT asynctasq.dispatch('note', asynctasq.args('what', '$what'), queue => '$queue')");
}

sub logged
{
	my ($on, $db) = @_;

	return $on->safe_psql($db,
		q{SELECT count(*), count(DISTINCT what) FROM app.log});
}

# The scanner has looked through a database, and said that nothing runs.
sub is_held
{
	my ($on, $db, $tasks, $name) = @_;

	$on->wait_for_log(qr/LOG:  tasks in database "$db" do not run/);
	query_is($on, $db, 'SELECT count(*) FROM asynctasq.task',
		$tasks, "$name: its tasks wait");
	is(logged($on, $db), '0|0', "$name: none has run");
	return;
}

sub adopt
{
	my ($on, $db, $tasks, $name) = @_;

	$on->safe_psql($db, 'SELECT asynctasq.adopt()');
	wait_for($on, $db, 'SELECT count(*) = 0 FROM asynctasq.task');
	is(logged($on, $db), "$tasks|$tasks", "$name: once adopted, each runs once");
	return;
}

# The original: 100 tasks in a durable queue and 100 in another, some delayed,
# a dead letter and a kept result.
make_tables($node, 'shop');
switch($node, 'on');
app($node, 'shop', 'app', q{
	SELECT asynctasq.register_handler('note', 'note(text)', max_attempts => 1);
	SELECT asynctasq.register_handler('keep', 'keep()', keep_result => true);
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.create_queue('spare');
	SELECT asynctasq.register_model('shop.Log', 'log', key => '{what}');
	SELECT asynctasq.dispatch('note', asynctasq.args('nonsense', 1), queue => 'safe');});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM asynctasq.dead_letter');
my $kept = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('keep', queue => 'safe')});
wait_for($node, 'shop', 'SELECT count(*) = 1 FROM asynctasq.result');
switch($node, 'off');
app($node, 'shop', 'app', q{
	SELECT count(asynctasq.dispatch('note', asynctasq.args('what', queue || n),
		queue => queue, delay => CASE WHEN n > 50 THEN interval '1 ms' END))
	FROM generate_series(1, 100) AS n, unnest(ARRAY['safe', 'spare']) AS queue});
my $last_id = $node->safe_psql('shop', 'SELECT max(id) FROM asynctasq.task');

# Dumps of it.
$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dir/plain", 'shop' ], 'pg_dump -Fp');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", 'shop' ], 'pg_dump -Fc');
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', "$dir/directory", 'shop' ],
	'pg_dump -Fd -j2');

# Copies as of a template.
foreach my $strategy ('wal_log', 'file_copy')
{
	$node->safe_psql('postgres',
		"CREATE DATABASE copy_$strategy TEMPLATE shop STRATEGY $strategy");
}
# And of the whole cluster.
$node->backup('physical');
switch($node, 'on');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
is(logged($node, 'shop'), '200|200', 'the original runs its tasks');

foreach my $strategy ('wal_log', 'file_copy')
{
	my $db = "copy_$strategy";

	is_held($node, $db, 200, $strategy);
	app($node, $db, 'app', q{SELECT asynctasq.pause_queue('safe'), asynctasq.resume_queue('safe')});
	dispatch($node, $db, 'new', 'spare');
	app_fails($node, $db, 'app', 'SELECT asynctasq.drain()',
		qr/ERROR:  55000: .*do not run.*HINT: .*adopt/s, "$strategy: drain()");
	app_fails($node, $db, 'app', 'SELECT asynctasq.adopt()',
		qr/ERROR:  42501/, "$strategy: adopt() as an ordinary role");
	is_held($node, $db, 201, $strategy);
	adopt($node, $db, 201, $strategy);
}

# A cluster that is a physical copy is not told from its original.
my $physical = PostgreSQL::Test::Cluster->new('physical');
$physical->init_from_backup($node, 'physical');
$physical->append_conf('postgresql.conf', 'log_min_messages = debug1');
$physical->start;
# When the launcher first waits it has looked at all databases; what it would
# have started, the postmaster has heard of before it lets another client in.
wait_for($physical, 'postgres', q{
	SELECT count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'asynctasq launcher' AND wait_event_type = 'Extension'});
$physical->safe_psql('postgres', 'SELECT 1');
my $started = qr/registering background worker "asynctasq (worker|scanner)/;
unlike(slurp_file($physical->logfile), $started, 'a physical copy with asynctasq.enabled off starts no worker');
query_is($physical, 'shop',
	q{SELECT count(*) FROM asynctasq.task WHERE durable},
	'100', 'and runs nothing');
switch($physical, 'on');
wait_for($physical, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
like(slurp_file($physical->logfile), $started, 'it starts some');
is( $physical->safe_psql('shop', q{
		SELECT count(*), count(DISTINCT what) FROM app.log WHERE what LIKE 'safe%'}),
	'100|100', 'and all when it is switched on');
$physical->stop;

# What a restored dump must have.
sub is_restored
{
	my ($on, $db, $name, $lost) = @_;

	$lost //= 0;
	is_held($on, $db, 100, $name);
	query_is(
		$on, $db, q{
		SELECT (SELECT string_agg(name || function, ',' ORDER BY name) FROM asynctasq.handler),
			(SELECT string_agg(class, ',') FROM asynctasq.model),
			(SELECT string_agg(name || durable || coalesce(lost, -1), ',' ORDER BY name)
				FROM asynctasq.queue),
			(SELECT count(*) FROM asynctasq.task WHERE durable AND run_at IS NOT NULL),
			(SELECT count(*) FROM asynctasq.dead_letter),
			(SELECT string_agg(id || task || status || result, ',') FROM asynctasq.result)},
		"keepapp.keep(),noteapp.note(pg_catalog.text)|shop.Log|safetrue0,sparefalse$lost|50|1|${kept}keepcompleted\"kept\"",
		"$name: registrations, tasks, dead letters and results are as they were");
	is(app($on, $db, 'app', "SELECT asynctasq.result($kept)"), '"kept"', "$name: and the result can be asked for");
	cmp_ok(dispatch($on, $db, 'new', 'spare'), '>', $last_id, "$name: ids go on rising");
	adopt($on, $db, 101, $name);
	query_is($on, $db, 'SELECT asynctasq.retry(id) FROM asynctasq.dead_letter',
		't', "$name: a dead letter can be retried");
	return;
}

foreach my $on ($node, $other)
{
	my $where = $on->name;

	$on->safe_psql('postgres', "CREATE DATABASE $_")
	  foreach ('plain', 'custom', 'parallel');
	$on->safe_psql('postgres', 'CREATE ROLE app LOGIN') if $on == $other;
	$on->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null',
			'-f', "$dir/plain", 'plain' ], "$where: psql of a plain dump");
	is_restored($on, 'plain', "$where, plain");
	$on->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'custom', "$dir/custom" ],
		"$where: pg_restore");
	is_restored($on, 'custom', "$where, custom");
	$on->command_ok([ 'pg_restore', '-j4', '-d', 'parallel', "$dir/directory" ],
		"$where: pg_restore -j4");
	is_restored($on, 'parallel', "$where, parallel");
}

# Over what is there, with a worker that idles.
dispatch($other, 'custom', 'before', 'safe');
wait_for($other, 'custom', q{SELECT EXISTS (SELECT FROM app.log WHERE what = 'before')});
truncate($other->logfile, 0);
$other->command_ok(
	[ 'pg_restore', '--clean', '--if-exists', '--exit-on-error', '-d', 'custom', "$dir/custom" ],
	'pg_restore --clean');
is_restored($other, 'custom', 'pg_restore --clean');

# Data alone, with and without our triggers.
foreach my $triggers ('with', 'without')
{
	my $db = "${triggers}_triggers";

	make_tables($other, $db);
	$other->command_ok(
		[
			'pg_restore', '--data-only', '--exit-on-error',
			$triggers eq 'without' ? '--disable-triggers' : (),
			'-d', $db, "$dir/custom"
		],
		"pg_restore --data-only, $triggers triggers");
	is_restored($other, $db, "data alone, $triggers triggers",
		$triggers eq 'without' ? -1 : 0);
	query_is($other, $db, q{
		SELECT count(*) FROM pg_trigger
		WHERE tgrelid::regclass::text ~ '^asynctasq\.' AND NOT tgisinternal AND tgenabled <> 'A'},
		'0', "data alone, $triggers triggers: they all fire always afterwards");
}

# A restore that takes its time.
my $plain = slurp_file("$dir/plain");
$plain =~ s/^\\(un)?restrict .*\n//mg;
$plain =~ /\A(.*^COPY asynctasq\.task_logged .*?^\\\.\n)(.*)\z/ms
  or die 'no tasks in the dump';
my ($first, $rest) = ($1, $2);
$other->safe_psql('postgres', 'CREATE DATABASE slow');
$other->safe_psql('slow', $first);
is_held($other, 'slow', 100, 'half way');
$other->safe_psql('slow', $rest);
is_restored($other, 'slow', 'slow');

# A subscriber of all tables.
$node->safe_psql('shop', 'TRUNCATE app.log; ALTER TABLE app.log ADD n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY');
$node->safe_psql('shop', 'CREATE PUBLICATION everything FOR ALL TABLES');
make_tables($other, 'follower');
$other->safe_psql('follower', 'ALTER TABLE app.log ADD n int PRIMARY KEY');
$other->safe_psql('follower', sprintf(
	q{CREATE SUBSCRIPTION follower CONNECTION '%s dbname=shop' PUBLICATION everything},
	$node->connstr));
wait_for($other, 'follower',
	q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')});
app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('safe')});
dispatch($node, 'shop', "published $_", 'safe') foreach (1 .. 20);
wait_for($other, 'follower', 'SELECT count(*) = 20 FROM asynctasq.task');
is_held($other, 'follower', 20, 'subscriber');
app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('safe')});
dispatch($node, 'shop', "more $_", 'safe') foreach (1 .. 20);
app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('note', asynctasq.args('nonsense', 2), queue => 'safe')});
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
is(logged($node, 'shop'), '40|40', 'the publisher runs its tasks, each once');
# Workers' commits reach the subscriber when the WAL writer has written them.
wait_for($other, 'follower',
	'SELECT (SELECT count(*) FROM asynctasq.task), (SELECT count(*) FROM asynctasq.dead_letter)',
	$node->safe_psql('shop', 'SELECT 0, count(*) FROM asynctasq.dead_letter'));
pass('a subscriber has seen them come and go');
is(logged($other, 'follower'), '40|40', 'it has run none');
app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('safe')});
dispatch($node, 'shop', 'left behind', 'safe');
$node->wait_for_catchup('follower');
$other->safe_psql('follower', 'DROP SUBSCRIPTION follower; ALTER TABLE app.log ALTER n SET DEFAULT 0');
app($other, 'follower', 'app', q{SELECT asynctasq.resume_queue('safe')});
$other->safe_psql('follower', 'SELECT asynctasq.adopt()');
wait_for($other, 'follower', q{SELECT EXISTS (SELECT FROM app.log WHERE what = 'left behind')});
pass('a subscriber that takes over runs what is left');

$node->stop;
$other->stop;
done_testing();
