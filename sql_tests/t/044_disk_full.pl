# A full disk: dispatches fail, workers fail, the server may stop; when there
# is room again all that was durable is done, once.
#
# The disk is a small one in memory, in a namespace of its own, which not every
# machine lets an unprivileged user have.

use strict;
use warnings;

use AtqTest;
use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @namespace = (
	'unshare', '--user', '--map-current-user', '--keep-caps', '--mount',
	'setpriv', '--pdeathsig', 'TERM', 'sh', '-c');
my $disk = PostgreSQL::Test::Utils::tempdir();
my $mount = 'mount -t tmpfs -o size=160m,mode=700 none "$1"';

plan skip_all => 'a user namespace with a file system of its own is needed'
  if !run_log([ @namespace, $mount, 'sh', $disk ]);

my $node = new_cluster('main', 'restart_after_crash' => 'on',
	'max_wal_size' => '32MB', 'min_wal_size' => '32MB');
create_tenant($node, 'shop', 'app');
app($node, 'shop', 'app', q{
	CREATE TABLE effects (id bigint, text text);
	CREATE FUNCTION work(text text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.effects VALUES ((asynctasq.current_task()).id, text);
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.register_handler('work', 'work(text)', queue => 'safe', max_attempts => 1000,
		retry_delay => '100 ms', retry_strategy => 'fixed');});
$node->stop;

# The server is started again when it has ended, with room.
my $postgres = $node->config_data('--bindir') . '/postgres';
my $log = $node->logfile . '.disk';
my $holder = start(
	[
		@namespace,
		"$mount && cp -a \"\$2/.\" \"\$1\" || exit 1
		while true; do
			setpriv --pdeathsig INT \"\$3\" -D \"\$1\"
			rm -f \"\$1/filler\"
		done",
		'sh', $disk, $node->data_dir, $postgres
	],
	'<', '/dev/null', '>', $log, '2>&1');

END
{
	my $status = $?;

	$holder->signal('TERM') if $holder;
	$? = $status;
}

# try($sql, $role): what the statement returns, or nothing if it fails.
sub try
{
	my ($sql, @role) = @_;
	my ($status, $stdout, $stderr) =
	  $node->psql('shop', $sql, extra_params => [ map { ('-U', $_) } @role ]);

	return $status == 0 ? $stdout : undef;
}

wait_for($node, 'shop', 'SELECT true');
app($node, 'shop', 'app', q{SELECT asynctasq.pause_queue('safe')});
my $text = q{(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 600))};
my @ids = split /\n/, app($node, 'shop', 'app', qq{
	SELECT asynctasq.dispatch('work', asynctasq.args('text', $text)) FROM generate_series(1, 50)});
app($node, 'shop', 'app', q{SELECT asynctasq.resume_queue('safe')})
  if $node->safe_psql('shop', q{
	COPY (SELECT 1) TO PROGRAM 'dd if=/dev/zero of=filler bs=64k 2> /dev/null; true'}) eq '';
my $refused = 0;

for my $n (1 .. 200)
{
	my $id = try(qq{SELECT asynctasq.dispatch('work', asynctasq.args('text', $text))}, 'app');

	push @ids, $id if defined $id;
	$refused++ if !defined $id;
}
cmp_ok($refused, '>', 0, 'with a full disk dispatches fail');
like(slurp_file($log), qr/No space left on device/, 'for lack of space');

# Room again.
for (my $tries = 0; $tries < 10 * $PostgreSQL::Test::Utils::timeout_default; $tries++)
{
	last if defined try(q{COPY (SELECT 1) TO PROGRAM 'rm -f filler'});
	select undef, undef, undef, 0.1;
}
my $list = join ',', @ids;
wait_for($node, 'shop', "SELECT count(DISTINCT id) = @{[ scalar @ids ]} FROM app.effects WHERE id IN ($list)");
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
query_is($node, 'shop', 'SELECT count(*) - count(DISTINCT id) FROM app.effects',
	'0', 'with room again each durable task is done, once');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters', '0', 'and none has failed');

# The holder ends first, so that it starts no other server.
my $pid = (split /\n/, $node->safe_psql('shop', q{SELECT pg_read_file('postmaster.pid')}))[0];
$holder->signal('TERM');
for (my $tries = 0; kill(0, $pid) && $tries < 10 * $PostgreSQL::Test::Utils::timeout_default; $tries++)
{
	select undef, undef, undef, 0.1;
}
ok(!kill(0, $pid), 'the server has stopped');
done_testing();
