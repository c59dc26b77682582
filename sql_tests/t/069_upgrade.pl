# pg_upgrade from an older release: nothing runs meanwhile, and afterwards each
# task of a durable queue runs once.
#
# It needs an older release beside this one, with its headers, where Debian
# puts it.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $here = $ENV{PG_CONFIG} // 'pg_config';
my ($release) = `$here --version` =~ /PostgreSQL (\d+)/;
my $old_config;

foreach my $pg_config (glob '/usr/lib/postgresql/*/bin/pg_config')
{
	my ($other) = $pg_config =~ m{/(\d+)/bin};
	my $headers = `$pg_config --includedir-server`;

	chomp $headers;
	$old_config = $pg_config
	  if defined $other && $other >= 15 && $other < $release && -e "$headers/postgres.h";
}
plan skip_all => 'no older release of PostgreSQL is installed with its headers'
  if !defined $old_config;

# The library for the older release, built from a copy of the tree.
my $place = PostgreSQL::Test::Utils::tempdir();
my $tree = "$place/tree";
my ($libdir, $sharedir, $bindir) = map { my $dir = `$old_config --$_`; chomp $dir; $dir } ('pkglibdir', 'sharedir', 'bindir');

system_or_bail('cp', '-r', '.', $tree);
system_or_bail('make', '-s', '-C', $tree, "PG_CONFIG=$old_config", 'clean');
system_or_bail('make', '-s', '-C', $tree, "PG_CONFIG=$old_config", 'all');
system_or_bail('make', '-s', '-C', $tree, "PG_CONFIG=$old_config", "DESTDIR=$place/install", 'install');

my $settings = <<~'CONF';
	shared_preload_libraries = 'asynctasq'
	shared_buffers = '16MB'
	asynctasq.worker_idle_timeout = '1h'
	CONF
my $old = PostgreSQL::Test::Cluster->new('old', install_path => "$bindir/..");
{
	# what it names is for the release under test
	local $ENV{TEMP_CONFIG} = undef;

	$old->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
}
$old->append_conf('postgresql.conf', $settings);

# Where an older release can be told to look for the extension, or has it.
my %where = (
	extension_destdir => "$place/install",
	extension_control_path => "$place/install$sharedir:\$system");
my ($setting) = grep { system("$bindir/postgres -D " . $old->data_dir . " -C $_ >/dev/null 2>&1") == 0 } sort keys %where;

if (defined $setting)
{
	$old->append_conf('postgresql.conf', <<~CONF);
		dynamic_library_path = '$place/install$libdir:\$libdir'
		$setting = '$where{$setting}'
		CONF
}
elsif (!-e "$sharedir/extension/asynctasq.control")
{
	plan skip_all => "PostgreSQL in $bindir finds extensions in its own directories only";
}
$old->start;
create_tenant($old, 'shop', 'app');

app($old, 'shop', 'app', q{
	CREATE TABLE effects (what text, attempt int);
	CREATE FUNCTION work(what text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		IF what = 'dead' THEN
			RAISE 'no luck';
		END IF;
		INSERT INTO app.effects VALUES (what, (asynctasq.current_task()).attempt);
		PERFORM pg_sleep(3600) WHERE what = 'running' AND (asynctasq.current_task()).attempt = 1
			AND current_setting('server_version_num')::int < 10000 * (SELECT release FROM app.new);
		RETURN what;
	END $$;
	CREATE TABLE new (release int);
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.create_queue('paused', durable => true);
	SELECT asynctasq.create_queue('unsafe');
	SELECT asynctasq.pause_queue('paused'), asynctasq.pause_queue('unsafe');
	SELECT asynctasq.register_handler('work', 'work(text)', queue => 'safe', max_attempts => 1, keep_result => true);});
$old->safe_psql('shop', "INSERT INTO app.new VALUES ($release)");
my $result = app($old, 'shop', 'app', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'before'))});
app($old, 'shop', 'app', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'dead'))});
wait_for($old, 'shop', 'SELECT count(*) = 1 FROM asynctasq.dead_letters');
wait_for($old, 'shop', "SELECT asynctasq.result($result) IS NOT NULL");
app($old, 'shop', 'app', q{
	SELECT asynctasq.dispatch('work', asynctasq.args('what', 'pending ' || n), queue => 'paused') FROM generate_series(1, 10) AS n;
	SELECT asynctasq.dispatch('work', asynctasq.args('what', 'unsafe ' || n), queue => 'unsafe') FROM generate_series(1, 10) AS n;
	SELECT asynctasq.dispatch('work', asynctasq.args('what', 'running'))});
wait_for($old, 'shop', q{SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task = 'work'});
my $last = $old->safe_psql('shop', 'SELECT last_value FROM asynctasq.task_id_seq');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ '--encoding=UTF8', '--locale=C', $release >= 18 ? '--no-data-checksums' : () ]);
$new->append_conf('postgresql.conf', $settings);
my $new_bindir = $new->config_data('--bindir');
chdir $place or die "could not enter $place: $!";
my ($stdout, $stderr) = run_command([
		'pg_upgrade', '--retain', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $new_bindir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ]);
my $status = $?;
if ($status != 0)
{
	diag($stdout, $stderr);
	diag(slurp_file($_)) foreach glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_{dump_*,server}.log');
}
is($status, 0, 'pg_upgrade');
unlike(slurp_file($_), qr/asynctasq (launcher|worker|scanner)/, "no process of ours while it upgrades: $_")
  foreach glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log'), grep { -e $_ } ($new->logfile);

$new->start;
wait_for($new, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'running'});
pass('a task that was running when the old server stopped runs');
app($new, 'shop', 'app', q{SELECT asynctasq.resume_queue('paused'), asynctasq.resume_queue('unsafe')});
wait_for($new, 'shop', q{SELECT count(*) = 10 FROM app.effects WHERE what LIKE 'pending %'});
wait_for($new, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is($new, 'shop', q{SELECT count(DISTINCT what), count(*), max(attempt) FROM app.effects WHERE what NOT LIKE 'unsafe %'},
	'12|12|1', 'each durable task has run, once');
query_is($new, 'shop', q{SELECT count(DISTINCT what) - count(*) FROM app.effects}, '0', 'and no other twice');
is(app($new, 'shop', 'app', "SELECT asynctasq.result($result)"), '"before"', 'a result is there');
my $dead = app($new, 'shop', 'app', 'SELECT id FROM asynctasq.dead_letters');
app($new, 'shop', 'app', "SELECT asynctasq.retry($dead)");
wait_for($new, 'shop', q{SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE error ->> 'message' = 'no luck'});
pass('and so is a dead letter, which can be retried');
cmp_ok(app($new, 'shop', 'app', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'new'))}),
	'>', $last, 'ids go on rising');
wait_for($new, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'new'});
pass('and new tasks run');

$new->stop;
done_testing();
