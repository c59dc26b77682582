# Who may write all tables writes none of the extension's by a subscription
# either, whose apply worker fires no triggers of statements; and who may read
# all tables makes backups.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# A publisher that the writer has to himself: tables of our names, not ours.
my $liar = PostgreSQL::Test::Cluster->new('liar');
$liar->init(allows_streaming => 'logical');
$liar->start;
$liar->safe_psql('postgres', q{
	CREATE SCHEMA asynctasq;
	CREATE TABLE asynctasq.handler_grant (handler text COLLATE "C", role oid, PRIMARY KEY (handler, role));
	CREATE TABLE asynctasq.handler (name text COLLATE "C" PRIMARY KEY, role oid);
	CREATE TABLE asynctasq.task_logged (id bigint NOT NULL, queue_id int, task text COLLATE "C", args text);
	CREATE UNIQUE INDEX task_logged_id ON asynctasq.task_logged (id);
	ALTER TABLE asynctasq.task_logged REPLICA IDENTITY USING INDEX task_logged_id;
	CREATE PUBLICATION lies FOR ALL TABLES;});

my $node = new_cluster('main', 'asynctasq.enabled' => 'off');
create_tenant($node, 'shop', 'app', 'writer', 'backup');
app($node, 'shop', 'app', q{
	CREATE FUNCTION work(what text) RETURNS void LANGUAGE sql AS '';
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text)', 'safe');
	SELECT asynctasq.dispatch('work', asynctasq.args('what', 'app''s')) FROM generate_series(1, 2);});
my ($role, $writer) = map { $node->safe_psql('shop', "SELECT '$_'::regrole::oid") } ('app', 'writer');
my $task = $node->safe_psql('shop', 'SELECT min(id) FROM asynctasq.task');

# The liar has the rows that he wants to change.
$liar->safe_psql('postgres', qq{
	INSERT INTO asynctasq.handler VALUES ('work', $role);
	INSERT INTO asynctasq.task_logged VALUES ($task, 1, 'work', '{}');});
$node->safe_psql('shop', 'ALTER ROLE writer SUPERUSER');
app($node, 'shop', 'writer', sprintf(
	q{CREATE SUBSCRIPTION lies CONNECTION '%s dbname=postgres' PUBLICATION lies WITH (copy_data = false, disable_on_error = true%s)},
	$liar->connstr,
	$node->pg_version >= 16 ? ', run_as_owner = true, password_required = false' : ''));
$node->safe_psql('shop', q{ALTER ROLE writer NOSUPERUSER; GRANT pg_write_all_data, pg_read_all_data TO writer});
wait_for($node, 'shop', q{SELECT count(*) = 3 FROM pg_subscription_rel WHERE srsubstate = 'r'});

my $ours = q{
	SELECT (SELECT string_agg(name || role, ',') FROM asynctasq.handler),
		(SELECT count(*) FROM asynctasq.handler_grant),
		(SELECT string_agg(task || args::text, ',') FROM asynctasq.task)};
my $before = $node->safe_psql('shop', $ours);
foreach my $case (
	[ 'handler_grant', "INSERT INTO asynctasq.handler_grant VALUES ('work', $writer)" ],
	[ 'handler', "UPDATE asynctasq.handler SET role = $writer" ],
	[ 'handler', 'DELETE FROM asynctasq.handler' ],
	[ 'task_logged', "INSERT INTO asynctasq.task_logged VALUES (1000000, 1, 'work', '{}')" ],
	[ 'task_logged', qq{UPDATE asynctasq.task_logged SET args = '{"what": "the writer''s"}'} ])
{
	my ($table, $lie) = @$case;
	my $offset = -s $node->logfile;

	$liar->safe_psql('postgres', $lie);
	$node->wait_for_log(qr/ERROR:  permission denied for table $table$/m, $offset);
	my $log = slurp_file($node->logfile, $offset);
	like($log, qr/permission denied for table $table$/m, "refused: $lie");
	wait_for($node, 'shop', 'SELECT NOT subenabled FROM pg_subscription');
	is($node->safe_psql('shop', $ours), $before, 'and nothing has changed');

	# past it
	my ($lsn) = $log =~ m{finished at ([0-9A-F]+/[0-9A-F]+)};
	$node->safe_psql('shop', "ALTER ROLE writer SUPERUSER; ALTER SUBSCRIPTION lies SKIP (lsn = '$lsn'); ALTER ROLE writer NOSUPERUSER; ALTER SUBSCRIPTION lies ENABLE");
	wait_for($node, 'shop', q{SELECT subskiplsn = '0/0' FROM pg_subscription});
}
$node->safe_psql('shop', 'ALTER SUBSCRIPTION lies DISABLE; ALTER SUBSCRIPTION lies SET (slot_name = NONE); DROP SUBSCRIPTION lies');

# A backup has all that the tables have.
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('shop', 'GRANT pg_read_all_data TO backup');
$node->command_ok([ 'pg_dump', '-U', 'backup', '-Fc', '-f', "$dir/dump", 'shop' ], 'pg_dump by a member of pg_read_all_data');
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'again', "$dir/dump" ], 'pg_restore by a superuser');
is($node->safe_psql('again', $ours), $before, 'it has what was dumped');
app_fails($node, 'shop', 'backup', q{INSERT INTO asynctasq.handler_grant VALUES ('work', 'backup')},
	qr/42501: permission denied for table handler_grant/, 'who may read all tables writes none');

$node->stop;
$liar->stop;
done_testing();
