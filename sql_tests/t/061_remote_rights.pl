# Who may connect with what: as postgres_fdw has it.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $remote = PostgreSQL::Test::Cluster->new('remote');
$remote->init;
$remote->start;
$remote->safe_psql('postgres', q{
	CREATE ROLE app LOGIN PASSWORD 'secret';
	CREATE ROLE other LOGIN PASSWORD 'hidden';
	CREATE ROLE trusted LOGIN;});
unlink($remote->data_dir . '/pg_hba.conf');
$remote->append_conf('pg_hba.conf', "local all app,other scram-sha-256\nlocal all all trust");
$remote->reload;

my $node = new_cluster('near', 'asynctasq.enabled' => 'off');
my ($host, $port) = ($remote->host, $remote->port);
create_tenant($node, 'shop', 'app', 'guest');
$node->safe_psql('shop', qq{
	GRANT USAGE ON FOREIGN DATA WRAPPER asynctasq TO app;
	CREATE ROLE boss SUPERUSER LOGIN;});
my $who = q{SELECT asynctasq.scalar('far', 'SELECT current_user')};

# What the validator takes, and from whom.
app($node, 'shop', 'app', qq{CREATE SERVER far FOREIGN DATA WRAPPER asynctasq OPTIONS (host '$host', port '$port', dbname 'postgres', sslmode 'disable', pool_max_size '2', pool_timeout '500ms', pool_pre_ping 'on', pool_class 'queue')});
my %bad_server = (
	"user 'app'" => qr/HV00D: invalid option "user".*Valid options in this context are: .*host.*pool_min_size/s,
	"password 'x'" => qr/HV00D/,
	"client_encoding 'x'" => qr/HV00D/,
	"fallback_application_name 'x'" => qr/HV00D/,
	"replication 'on'" => qr/HV00D/,
	"oauth_issuer 'https://localhost'" => qr/HV00D/,
	"pool_size '5'" => qr/HV00D/,
	"password_required 'true'" => qr/HV00D/,
	"pool_max_size '0'" => qr/22023: invalid value for option "pool_max_size": "0"/,
	"pool_min_size 'many'" => qr/22023/,
	"pool_timeout '-1'" => qr/22023/,
	"pool_max_overflow '-2'" => qr/22023/,
	"pool_max_size '2147483647'" => qr/22023: .*\n.*It must be an integer between 1 and 1000\./,
	"pool_recycle '30d'" => qr/22023: .*\n.*It must be an integer between -1 and 2147483\./,
	"pool_recycle '1 fortnight'" => qr/22023/,
	"pool_pre_ping 'maybe'" => qr/42601|22023/,
	"pool_class 'static'" => qr/22023: invalid value for option "pool_class": "static".*queue, null/s);
app_fails($node, 'shop', 'app', "CREATE SERVER bad FOREIGN DATA WRAPPER asynctasq OPTIONS ($_)", $bad_server{$_}, "server with $_") for sort keys %bad_server;
my %bad_mapping = (
	"host 'x'" => qr/HV00D: invalid option "host".*Valid options in this context are: .*user.*password_required/s,
	"pool_max_size '1'" => qr/HV00D/,
	"password_required 'false'" => qr/42501: password_required=false is superuser-only/,
	"sslcert 'x'" => qr/42501: sslcert and sslkey are superuser-only/,
	"sslkey 'x'" => qr/42501: sslcert and sslkey are superuser-only/);
app_fails($node, 'shop', 'app', "CREATE USER MAPPING FOR app SERVER far OPTIONS ($_)", $bad_mapping{$_}, "mapping with $_") for sort keys %bad_mapping;
app_fails($node, 'shop', 'boss', q{ALTER FOREIGN DATA WRAPPER asynctasq OPTIONS (host 'x')}, qr/HV00D.*There are no valid options in this context/s, 'the wrapper has no options');

# Without a password of the mapping's own nobody but a superuser connects.
my $passfile = $node->basedir . '/passfile';
append_to_file($passfile, "*:*:*:*:secret\n");
chmod 0600, $passfile;
app($node, 'shop', 'app', q{CREATE USER MAPPING FOR app SERVER far OPTIONS (user 'trusted')});
app_fails($node, 'shop', 'app', $who, qr/2F003: password is required.*Non-superusers must provide a password in the user mapping/s, 'no password');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (ADD password '')});
app_fails($node, 'shop', 'app', $who, qr/2F003: password is required.*Non-superusers must provide/s, 'an empty password');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET password 'unused')});
app_fails($node, 'shop', 'app', $who, qr/2F003: password is required.*cannot connect if the server does not request a password/s, 'a server that trusts');
app($node, 'shop', 'app', qq{ALTER SERVER far OPTIONS (ADD passfile '$passfile'); ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'app', DROP password)});
app_fails($node, 'shop', 'app', $who, qr/2F003: password is required.*Non-superusers must provide/s, 'a password file');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (ADD password 'wrong')});
app_fails($node, 'shop', 'app', $who, qr/08001: could not connect to server "far".*password authentication failed for user "app"/s, 'a wrong password');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET password 'secret')});
is(app($node, 'shop', 'app', $who), '"app"', 'the right password');
is(app($node, 'shop', 'app', q{SELECT * FROM asynctasq.check_servers()}), 'far|t|', 'and check_servers');

# The password of a mapping is in no one else's sight: not in the log, an error,
# a dead letter, on the other side, or in the catalogs.  It is given as bytes, so
# that the statement in the log does not show it.
my $offset = -s $node->logfile;
my $remote_offset = -s $remote->logfile;
$node->safe_psql('shop', q{
	SET log_statement = 'none';
	SELECT format('ALTER USER MAPPING FOR app SERVER far OPTIONS (SET password %L)', convert_from('\x63616e6172792d39', 'UTF8')) \gexec
	RESET log_statement;});
app_fails($node, 'shop', 'app', $who, qr/^(?!.*canary-9).*08001/s, 'a wrong password is not in the error');
app($node, 'shop', 'app', q{
	CREATE FUNCTION ask() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN asynctasq.scalar('far', 'SELECT 1'); END $$;
	SELECT asynctasq.register_handler('ask', 'ask()', max_attempts => 1);
	SELECT asynctasq.dispatch('ask');
	SELECT asynctasq.drain();});
is(app($node, 'shop', 'app', q{SELECT error ->> 'sqlstate', d::text ~ 'canary.9' FROM asynctasq.dead_letters AS d}), '08001|f', 'nor in a dead letter, context and all');
is(app($node, 'shop', 'app', q{SELECT error ~ '^08001', error ~ 'canary.9' FROM asynctasq.check_servers()}), 't|f', 'nor in check_servers');
unlike(slurp_file($node->logfile, $offset) . slurp_file($remote->logfile, $remote_offset),
	qr/canary-9/, 'nor in a log');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_stat_activity AS a WHERE pid <> pg_backend_pid() AND a::text ~ 'canary.9'}), '0', 'nor in pg_stat_activity');
$node->safe_psql('shop', 'GRANT pg_monitor, pg_read_all_data TO guest');
is(app($node, 'shop', 'guest', q{SELECT umoptions FROM pg_user_mappings WHERE usename = 'app'}), '', 'options of the mapping of another role');
like(app($node, 'shop', 'app', q{SELECT umoptions FROM pg_user_mappings WHERE usename = 'app'}), qr/canary-9/, 'which has them itself');
$node->safe_psql('shop', 'REVOKE pg_monitor, pg_read_all_data FROM guest');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET password 'secret'); SELECT asynctasq.purge_queue('default', true)});

# A superuser may lift the rule for a mapping, and needs none.
$node->safe_psql('shop', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'trusted', ADD password_required 'false')});
is(app($node, 'shop', 'app', $who), '"trusted"', 'password_required false');
app_fails($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET password_required 'false')}, qr/42501/, 'which only a superuser may say');
$node->safe_psql('shop', q{CREATE USER MAPPING FOR boss SERVER far OPTIONS (user 'trusted')});
is(app($node, 'shop', 'boss', $who), '"trusted"', 'a superuser needs no password');
$node->safe_psql('shop', 'GRANT USAGE ON FOREIGN SERVER far TO boss; GRANT USAGE ON SCHEMA asynctasq TO boss');
my $demoted = $node->background_psql('shop', extra_params => [ '-U', 'boss' ]);
is($demoted->query_safe($who), '"trusted"', 'in a session, too');
$node->safe_psql('shop', 'ALTER ROLE boss NOSUPERUSER');
is($demoted->query_safe(q{SELECT left(error, 5) FROM asynctasq.check_servers() WHERE server = 'far'}), '2F003', 'who is none any more does');
$node->safe_psql('shop', 'ALTER ROLE boss SUPERUSER; REVOKE USAGE ON FOREIGN SERVER far FROM boss');
$demoted->quit;
app_fails($node, 'shop', 'guest', $who, qr/42501: permission denied for foreign server far/, 'no privilege on the server');

# A connection that a superuser's rights made is not used by others.
$node->safe_psql('shop', q{
	GRANT USAGE ON FOREIGN SERVER far TO guest;
	DROP USER MAPPING FOR boss SERVER far;
	CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'trusted');
	CREATE FUNCTION guest.ask() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT asynctasq.scalar('far', 'SELECT current_user') $$;
	ALTER FUNCTION guest.ask() OWNER TO boss;});
is(app($node, 'shop', 'guest', 'SELECT guest.ask()'), '"trusted"', 'within a function of a superuser');
app_fails($node, 'shop', 'guest', "SELECT guest.ask(); $who", qr/2F003: password is required/, 'not for others, on the same mapping');

# Each role is itself on the other side, its own mapping before PUBLIC's.
$node->safe_psql('shop', q{
	ALTER USER MAPPING FOR PUBLIC SERVER far OPTIONS (SET user 'other', ADD password 'hidden');
	ALTER USER MAPPING FOR app SERVER far OPTIONS (SET user 'app', DROP password_required);});
my $changes = amount(2000, 100000);
is($node->safe_psql('shop', qq{
	SELECT count(*) FROM (SELECT set_config('role', CASE i % 2 WHEN 0 THEN 'app' ELSE 'guest' END, false) AS role,
		asynctasq.scalar('far', 'SELECT current_user') #>> '{}' AS there, i FROM generate_series(1, $changes) AS i) AS s
		WHERE there <> CASE i % 2 WHEN 0 THEN 'app' ELSE 'other' END}), '0', 'the right role every time');
is($node->safe_psql('shop', q{
	SELECT count(*) FROM (SELECT set_config('role', CASE i % 2 WHEN 0 THEN 'app' ELSE 'guest' END, false), asynctasq.scalar('far', 'SELECT 1') FROM generate_series(1, 20) AS i) AS s;
	RESET role;
	SELECT role, connects FROM asynctasq.stat_pools WHERE pid = pg_backend_pid() ORDER BY role}), "20\napp|1\nguest|1", 'with a pool for each');

# A password that is changed there, then here.
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
is($session->query_safe($who), '"app"', 'before the change');
$remote->safe_psql('postgres', q{ALTER ROLE app PASSWORD 'new'});
is($session->query_safe($who), '"app"', 'what is open stays open');
$remote->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'});
is($session->query_safe(q{SELECT left(error, 6) FROM asynctasq.gather('far', 'SELECT 1')}), '08001:', 'a new connection fails');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (SET password 'new')});
is($session->query_safe($who), '"app"', 'and succeeds with the new password');

# A stream goes on when its mapping becomes useless; nothing else does.
is($session->query_safe(q{
	BEGIN;
	DECLARE s CURSOR FOR SELECT asynctasq.stream('far', 'SELECT i FROM generate_series(1, 5) AS i', fetch_size => 1);
	FETCH FROM s;}), '{"i": 1}', 'a stream has begun');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (DROP password)});
is($session->query_safe(q{SELECT checked_out FROM asynctasq.stat_pools; SELECT error FROM asynctasq.check_servers(); SELECT error FROM asynctasq.check_servers(); FETCH 3 FROM s}),
	"1\n2F003: password is required (Non-superusers must provide a password in the user mapping.)\n2F003: password is required (Non-superusers must provide a password in the user mapping.)\n{\"i\": 2}\n{\"i\": 3}\n{\"i\": 4}", 'it goes on');
app($node, 'shop', 'app', q{ALTER USER MAPPING FOR app SERVER far OPTIONS (ADD password 'new')});
is($session->query_safe("COMMIT; $who"), '"app"', 'and with the password all does');

# stat_pools shows a role its own pools, pg_monitor all.
is(app($node, 'shop', 'guest', 'SELECT count(*) FROM asynctasq.stat_pools'), '0', 'not the pools of others');
$node->safe_psql('shop', 'GRANT pg_monitor TO guest');
is(app($node, 'shop', 'guest', 'SELECT server, role, size FROM asynctasq.stat_pools'), 'far|app|1', 'but as a member of pg_monitor');
$session->quit;

$node->stop;
$remote->stop;
done_testing();
