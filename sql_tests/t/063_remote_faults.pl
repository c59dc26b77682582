# A server that answers wrongly, or not at all: an error each time, of a class
# that says what it is, never more memory or time than allowed, and nothing of
# it for whoever does not need that server.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('near', 'asynctasq.worker_idle_timeout' => '1h', 'asynctasq.max_answer' => '1MB', 'max_connections' => '100');
create_tenant($node, 'shop', 'app');
my $fake = start_fake_server();

my @logins = qw(fine login_silent login_closes login_half login_drips login_garbage login_unknown login_starting login_many login_parameters login_notices);
create_servers($node, 'shop', "user 'app'",
	self => address_of($node, 'shop'),
	map { ($_ => "$fake, dbname '$_'") } @logins);

# One session for all of it: it must outlive every fault.
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe(q{SET asynctasq.fetch_timeout = '400ms'});
is($session->query_safe(q{SELECT * FROM asynctasq.gather('fine', 'SELECT fault_none')}), '1|[{"a": 1}]|', 'the server can answer rightly');

# The highest amount of memory that the session has ever had, in kB.
sub peak
{
	return slurp_file("/proc/$pid/status") =~ /VmHWM:\s+(\d+)/ ? $1 : 0;
}
my $before = peak();

my %login = (
	login_silent => qr/^08001: /,
	login_closes => qr/^08001: .*closed the connection/,
	login_half => qr/^08001: /,
	login_drips => qr/^08001: /,
	login_garbage => qr/^08001: /,
	login_unknown => qr/^08001: /,
	login_starting => qr/^08001: could not connect to server "login_starting" \(.*the database system is starting up\)/,
	login_many => qr/^53300: could not connect to server "login_many" \(.*too many clients already\)/,
	login_parameters => qr/^08P01: server "login_parameters" sends too much before the session begins/,
	login_notices => qr/^08P01: /);
foreach my $name (grep { $_ ne 'fine' } @logins)
{
	like($session->query_safe(qq{SELECT error FROM asynctasq.gather('$name', 'SELECT 1')}), $login{$name}, $name);
}

my %answer = (
	columns => qr/^08006: /,
	more_columns => qr/^08006: /,
	no_description => qr/^08006: /,
	types => qr/^$/,
	negative_value => qr/^08006|^08P01/,
	long_value => qr/^08006: /,
	negative_message => qr/^08006: /,
	huge_row => qr/^54000: answer of server "fine" is larger than asynctasq.max_answer|^08006: .*memory/,
	encoding => qr/^22021: answer of server "fine" is not valid in encoding "UTF8"/,
	name => qr/^22021: /,
	message => qr/^22012: bad \?\? bytes/,
	code => qr/^08P01: no such code/,
	discard => qr/^HV000: pretends/,
	success => qr/^HV000: an error that is none/,
	copy_out => qr/^0A000: |^08006: /,
	copy_in => qr/^0A000: |^08006: /,
	copy_both => qr/^0A000: |^08006: /,
	notices => qr/^54000: /,
	notifies => qr/^54000: /,
	parameter => qr/^08006: |^54000: /,
	parameters => qr/^54000: /,
	rows => qr/^54000: /,
	results => qr/^08006: |^54000: |^08P01: /,
	ready => qr/^08P01: server "fine" ends an answer before it is complete/,
	authentication => qr/^08006: /,
	unknown => qr/^08006: /,
	silent => qr/^08006: server "fine" did not answer within 400 ms/,
	drips => qr/^08006: server "fine" did not answer within 400 ms/,
	half => qr/^08006: connection to server "fine" was lost/,
	reset => qr/^08006: connection to server "fine" was lost/,
	fatal => qr/^08006: connection to server "fine" was lost \(terminating connection due to administrator command\)/,
	short => qr/^08006: connection to server "fine" was lost/);
foreach my $name (sort keys %answer)
{
	my $result = $session->query_safe(qq{
		SELECT string_agg(coalesce(error, ''), E'\n' ORDER BY ord) FROM asynctasq.gather_many('{fine,self}', 'SELECT 1 AS fault_$name');});

	like((split /\n/, $result)[0] // '', $answer{$name}, "answer: $name");
	is((split /\n/, $result)[1] // '', '', "$name: the other server is not affected");
	is($session->query_safe(q{SELECT rows FROM asynctasq.gather('fine', 'SELECT 1')}), '[{"a": 1}]', "$name: the next query is answered");
}
is($session->query_safe(q{SELECT rows FROM asynctasq.gather('fine', 'SELECT fault_types')}), '[{"a": "many", "b": "tomorrow", "c": "{1,{", "d": "x", "e": "y"}]', 'values that are none of their type are strings');
cmp_ok(peak() - $before, '<', 30000, 'memory stays within bounds');
is($session->query_safe('SELECT pg_backend_pid()'), $pid, 'in one and the same session');
is($session->query_safe('SELECT sum(checked_out) FROM asynctasq.stat_pools'), '0', 'no connection is left in use');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.gather('fine', 'SELECT fault_json')}, qr/22P02/, 'json that is none');

# What is read is sent once more.
is(app($node, 'shop', 'app', q{SELECT rows, error FROM asynctasq.gather('fine', 'SELECT fault_once')}), '[{"a": 1}]|', 'a read is sent once more');
is(app($node, 'shop', 'app', q{SELECT count(*) > 0 FROM asynctasq.stream('fine', 'SELECT fault_once')}), 't', 'so is the beginning of a stream');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.execute('fine', 'SELECT fault_once')}, qr/08006/, 'a write is not');
is(app($node, 'shop', 'app', q{SELECT asynctasq.execute('fine', 'SELECT fault_once')}), '{1}', 'but by its caller');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.execute('fine', 'SELECT fault_results')}, qr/08P01: server "fine" answers more than it was asked/, 'a write is answered once');

# A connection that has died unnoticed while it was idle is found out first.
is(app($node, 'shop', 'app', q{
	SELECT rows FROM asynctasq.gather('fine', 'SELECT fault_last');
	SELECT asynctasq.execute('fine', 'SELECT 1');
	SELECT connects, errors FROM asynctasq.stat_pools WHERE pid = pg_backend_pid()}), qq([{"a": 1}]\n{1}\n2|1), 'before a write');

# What is written is sent once; how it ended is known, or is said not to be.
foreach my $name (qw(half reset short fatal))
{
	app_fails($node, 'shop', 'app', qq{SET asynctasq.fetch_timeout = '5s'; SELECT asynctasq.execute('fine', 'SELECT fault_$name')}, qr/08006/, "execute: $name");
	app_fails($node, 'shop', 'app', qq{SET asynctasq.fetch_timeout = '5s'; SELECT asynctasq.stream('fine', 'SELECT fault_$name')}, qr/08006/, "stream: $name");
}

# Thousands of failures leave nothing behind.
my $failures = amount(1000, 33334);
$session->query_safe(q{SELECT count(*) FROM generate_series(1, 200), asynctasq.gather('fine', 'SELECT fault_half', 'SELECT fault_code', 'SELECT fault_encoding')});
$before = peak();
$session->query_safe("DO 'BEGIN FOR i IN 1 .. $failures LOOP PERFORM * FROM asynctasq.gather(''fine'', ''SELECT fault_half'', ''SELECT fault_code'', ''SELECT fault_encoding''); END LOOP; END'");
cmp_ok(peak() - $before, '<', 4000, 'thousands of failures cost no memory');
$session->quit;

# Tasks: references to rows of that server.
app($node, 'shop', 'app', q{
	CREATE TABLE got (what text);
	CREATE TABLE users (id int PRIMARY KEY, name text);
	CREATE TABLE fault_columns (id int PRIMARY KEY, name text);
	CREATE TABLE fault_silent (id int PRIMARY KEY, name text);
	CREATE TABLE fault_half (id int PRIMARY KEY, name text);
	INSERT INTO users VALUES (1, 'found');
	CREATE FUNCTION take(v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got VALUES (v ->> 'name') $$;
	SELECT asynctasq.register_handler('take', 'take(jsonb)', max_attempts => 1),
		asynctasq.register_handler('take_group', 'take(jsonb)', max_attempts => 1, group_size => 10),
		asynctasq.register_model('User', 'users', server => 'self', on_missing => 'error'),
		asynctasq.register_model('Fewer', 'users', server => 'fine', on_missing => 'error'),
		asynctasq.register_model('Columns', 'fault_columns', server => 'fine', on_missing => 'error'),
		asynctasq.register_model('Silent', 'fault_silent', server => 'fine', on_missing => 'error'),
		asynctasq.register_model('Half', 'fault_half', server => 'fine', on_missing => 'error'),
		asynctasq.register_model('Starting', 'users', server => 'login_starting', on_missing => 'error');});
$node->safe_psql('postgres', q{ALTER ROLE app SET asynctasq.fetch_timeout = '500ms'});
foreach my $task ('take', 'take_group')
{
	app($node, 'shop', 'app', qq{
		SELECT asynctasq.dispatch('$task', asynctasq.args('v', asynctasq.ref(m, 1))) FROM unnest('{User,Fewer,User,Columns,User,Silent,User,Half,User,Starting,User}'::text[]) AS m});
	wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks});
	is(app($node, 'shop', 'app', 'SELECT count(*) FROM got'), '6', "$task: the tasks that do not need that server have run");
	query_is($node, 'shop', q{SELECT string_agg(left(error ->> 'sqlstate', 2), ',' ORDER BY id) FROM asynctasq.dead_letters}, '08,08,08,08,08', "$task: the others have failed");
	$node->safe_psql('shop', 'TRUNCATE asynctasq.dead_letter; TRUNCATE app.got');
}

# A worker that waits for such a server gives way at once, in every state.
foreach my $server (qw(login_silent fine))
{
	my $model = $server eq 'fine' ? 'Silent' : 'Slow';

	app($node, 'shop', 'app', "SELECT asynctasq.register_model('Slow', 'users', server => 'login_silent')");
	$node->safe_psql('postgres', q{ALTER ROLE app SET asynctasq.fetch_timeout = 0});
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type LIKE 'asynctasq worker%'});
	my $id = app($node, 'shop', 'app', "SELECT asynctasq.dispatch('take', asynctasq.args('v', asynctasq.ref('$model', 1)), max_attempts => 1)");
	wait_for($node, 'shop', "SELECT status = 'running' FROM asynctasq.task_info($id)");
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'asynctasq worker%' AND query LIKE '%take%' AND wait_event_type = 'Extension'});
	is(app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)"), 't', "$server: cancelled");
	wait_for($node, 'shop', "SELECT status = 'cancelled' FROM asynctasq.task_info($id)");
	$id = app($node, 'shop', 'app', "SELECT asynctasq.dispatch('take', asynctasq.args('v', asynctasq.ref('$model', 1)), max_attempts => 1)");
	wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'asynctasq worker%' AND query LIKE '%take%' AND wait_event_type = 'Extension'});
	$node->safe_psql('postgres', 'CREATE DATABASE other; DROP DATABASE other');
	is($node->safe_psql('shop', q{SELECT pg_terminate_backend(pid, 10000) FROM asynctasq.stat_workers WHERE task = 'take'}), 't', "$server: terminated");
	wait_for($node, 'shop', "SELECT status = 'failed' FROM asynctasq.task_info($id)");
}

# The server itself as another one, whose row the task has locked: time ends it.
$node->safe_psql('postgres', q{ALTER ROLE app SET asynctasq.fetch_timeout = '500ms'});
app_fails($node, 'shop', 'app', q{SET asynctasq.fetch_timeout = '300ms'; BEGIN; LOCK TABLE users; SELECT asynctasq.fetch(asynctasq.ref('User', 1))}, qr/08006: server "self" did not answer within 300 ms/, 'waiting for oneself');

# Descriptors are short: an error, and the worker lives.
$node->append_conf('postgresql.conf', 'max_files_per_process = 128');
$node->restart;
app_fails($node, 'shop', 'app', q{SET asynctasq.pool_max_overflow = -1; SELECT } . join(', ', map { "asynctasq.stream('self', 'SELECT i FROM generate_series(1, 10) AS i', fetch_size => 1)" } 1 .. 60),
	qr/53000: could not connect to server "self".*too many open files on the local server/s, 'too many open files');
is(app($node, 'shop', 'app', q{SET asynctasq.pool_max_overflow = -1; SELECT count(*), count(error) FROM asynctasq.gather('self', VARIADIC (SELECT array_agg('SELECT ' || i) FROM generate_series(1, 100) AS i))}), '100|0', 'a gather makes do with what there is');

$node->stop;
done_testing();
