# The file that keeps the evidence of crashes: whatever it looks like the
# server starts, and ids never come twice.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	streaming => 1,
	'restart_after_crash' => 'on',
	'wal_writer_delay' => '10s',
	'autovacuum' => 'off');
create_tenant($node, 'shop', 'app');
create_test_functions($node, 'shop');
my $file = $node->data_dir . '/pg_stat_tmp/asynctasq.evidence';
my $size = -s $file;

app($node, 'shop', 'app', q{
	CREATE TABLE effects (what text, attempt int);
	CREATE FUNCTION work(what text, kill boolean) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF kill THEN
			PERFORM test.atq_test_kill_self();
		END IF;
		INSERT INTO app.effects VALUES (what, (asynctasq.current_task()).attempt);
	END $$;
	SELECT asynctasq.create_queue('safe', durable => true);
	SELECT asynctasq.create_queue('default');
	SELECT asynctasq.register_handler('work', 'work(text, boolean)', queue => 'safe', retry_delay => '0 s', max_attempts => 1);
	SELECT asynctasq.register_handler('later', 'work(text, boolean)');
	CREATE FUNCTION await_and_fail() RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock(42); RAISE 'no luck'; END $$;
	SELECT asynctasq.register_handler('awaits', 'await_and_fail()', queue => 'safe', max_attempts => 2, retry_delay => '1 h');});

sub bytes
{
	my ($path, $bytes, $mode) = @_;

	open(my $fh, $mode // '>', $path) or die "could not open $path: $!";
	binmode $fh;
	syswrite $fh, $bytes;
	close $fh;
	return;
}

# The server, stopped, runs tasks after the file has been changed by $change.
sub starts_with
{
	my ($change, $log, $name) = @_;
	my $offset = -s $node->logfile;

	$change->();
	$node->start;
	app($node, 'shop', 'app', qq{SELECT asynctasq.dispatch('work', asynctasq.args('what', '$name', 'kill', false))});
	wait_for($node, 'shop', "SELECT count(*) = 1 FROM app.effects WHERE what = '$name'");
	like(slurp_file($node->logfile, $offset), $log, "$name: the server starts and says so");
	return;
}

# A crash is counted, in whatever the evidence is kept.
sub counts_crash
{
	my ($name) = @_;

	dispatch_deadly($node, 'shop',
		qq{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'x', 'kill', true), correlation_id => '$name')});
	wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE correlation_id = '$name'");
	return pass("$name: a crash is counted");
}

my $anew = qr/LOG:  file "pg_stat_tmp\/asynctasq.evidence" is not as long as it should be and is made anew/;
my $foreign = qr/LOG:  file "pg_stat_tmp\/asynctasq.evidence" is of another release or cluster and is made anew/;
my $cannot = qr/LOG:  could not open file "pg_stat_tmp\/asynctasq.evidence"/;
my $nothing = qr/ready to accept connections/;
my $whole;

$node->stop;
$whole = slurp_file($file);
is(length $whole, $size, 'the file has its length');
starts_with(sub { unlink $file }, $nothing, 'no file');
counts_crash('no file');
$node->stop('immediate');
starts_with(sub { bytes($file, substr($whole, 0, 1000)) }, $anew, 'cut off');
$node->stop('immediate');
starts_with(sub { bytes($file, '') }, $nothing, 'empty');
$node->stop('immediate');
starts_with(sub { bytes($file, 'x', '>>') }, $anew, 'too long');
$node->stop('immediate');
starts_with(sub { bytes($file, "\xff" x $size) }, $foreign, 'garbage');
$node->stop('immediate');
starts_with(sub { bytes($file, substr($whole, 0, 4) . pack('L', $size + 8) . substr($whole, 8)) },
	$foreign, 'another version');
$node->stop('immediate');
starts_with(sub { bytes($file, substr($whole, 0, 8) . pack('Q', 42) . substr($whole, 16)) },
	$foreign, 'another cluster');
counts_crash('made anew');
$node->stop('immediate');
starts_with(sub { bytes($file, substr($whole, 0, 16) . ("\xff" x ($size - 16))) },
	$nothing, 'torn, every field -1');
$node->stop('immediate');
starts_with(sub { bytes($file, substr($whole, 0, 16) . ("\x7f" x ($size - 16))) },
	$nothing, 'torn, every field large');
counts_crash('torn');

# Where there can be no file, memory stands for it.
SKIP:
{
	skip 'root may open every file', 2 if $> == 0;
	$node->stop('immediate');
	starts_with(sub { chmod 0, $file }, $cannot, 'not to be opened');
	counts_crash('not to be opened');
	chmod 0600, $file;
}
$node->stop('immediate');
starts_with(sub { unlink $file; mkdir $file }, $cannot, 'a directory');
counts_crash('a directory');
$node->stop('immediate');
rmdir $file;
starts_with(sub { system_or_bail('mkfifo', $file) }, $cannot, 'a pipe');
counts_crash('a pipe');
$node->stop('immediate');
unlink $file;
$node->start;

# Changed under the running server: removed, then cut.  Whatever looks at it first
# crashes, the scanner or who dispatches: the first task may be lost or not.
unlink $file;
counts_crash('removed meanwhile');
$node->restart;
my $offset = -s $node->logfile;
truncate $file, 0;
my $cut = q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'cut', 'kill', false))};
$node->psql('shop', $cut, extra_params => [ '-U', 'app' ]);
wait_for($node, 'shop', 'SELECT true');
app($node, 'shop', 'app', $cut);
wait_for($node, 'shop', "SELECT count(*) > 0 FROM app.effects WHERE what = 'cut'");
like(slurp_file($node->logfile, $offset), qr/all server processes terminated; reinitializing/,
	'cut meanwhile: crashes once and recovers');
counts_crash('cut meanwhile');
is(-s $file, $size, 'and the file is whole again');

# It counts for one attempt: not where somebody else has made that one since.
my $locker = $node->background_psql('shop');
my $crashed;
$locker->query_safe('SELECT pg_advisory_lock(42)');
$crashed = app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('awaits')});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
$node->append_conf('postgresql.conf', 'asynctasq.enabled = off');
$node->reload;
wait_for($node, 'shop', q{SELECT current_setting('asynctasq.enabled') = 'off'});
kill 'KILL', $node->safe_psql('shop', q{SELECT pid FROM asynctasq.stat_workers WHERE task = 'awaits'});
$locker->{run}->finish;
wait_for($node, 'shop', 'SELECT true');
is(app($node, 'shop', 'app', 'SELECT asynctasq.drain()'), '1', 'a task that was running in a crash is run by drain()');
$node->append_conf('postgresql.conf', 'asynctasq.enabled = on');
$node->reload;
app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('work', asynctasq.args('what', 'behind', 'kill', false))});
wait_for($node, 'shop', q{SELECT count(*) = 1 FROM app.effects WHERE what = 'behind'});
query_is($node, 'shop', "SELECT status, attempt FROM asynctasq.task_info($crashed)", 'scheduled|1', 'the crash was during the same attempt, which counts once');
app($node, 'shop', 'app', "SELECT asynctasq.cancel($crashed)");

# A base backup has none of it.
$node->backup('base');
ok(!-e $node->backup_dir . '/base/pg_stat_tmp/asynctasq.evidence', 'a base backup leaves the file out');

# Ids: the sequence's WAL record is that of a transaction which has not
# committed, so nothing flushes it, and the crash takes the sequence back.
$node->safe_psql('shop', 'CHECKPOINT');
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
$session->query_safe(q{BEGIN; SELECT asynctasq.dispatch('later', delay => '1 h')});
my $told = app($node, 'shop', 'app', q{
	SELECT asynctasq.dispatch('later', delay => '1 h') FROM generate_series(1, 5)});
$told = (split /\n/, $told)[-1];
$node->psql('shop', 'SELECT test.atq_test_kill_self()');
$session->{run}->finish;
wait_for($node, 'shop', 'SELECT true');
cmp_ok($node->safe_psql('shop', 'SELECT last_value FROM asynctasq.task_id_seq'),
	'<', $told, 'the crash has taken the sequence back');
cmp_ok(app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('later', delay => '1 h')}),
	'>', $told, 'an id that was told does not come again');
wait_for($node, 'shop', "SELECT status = 'unknown' FROM asynctasq.task_info($told)");
pass('and is known to be from before the crash');

# What a file says of ids that are far ahead is not believed.
$node->stop('immediate');
my $bytes = slurp_file($file);
my ($database, $sequence) = (100, 100);
$node->start;
($database, $sequence) = split /\|/, $node->safe_psql('shop',
	"SELECT d.oid, 'asynctasq.task_id_seq'::regclass::oid FROM pg_database AS d WHERE datname = 'shop'");
$node->stop('immediate');
$bytes = slurp_file($file);
my $at = index($bytes, pack('LL', $database, $sequence));
isnt($at, -1, 'the mark of the sequence is found');
substr($bytes, $at + 16, 8) = pack('Q', 2**62);
$offset = -s $node->logfile;
bytes($file, $bytes);
$node->start;
cmp_ok(app($node, 'shop', 'app', q{SELECT asynctasq.dispatch('later', delay => '1 h')}),
	'<', 2**40, 'ids that are far ahead are not believed');
like(slurp_file($node->logfile, $offset),
	qr/LOG:  file "pg_stat_tmp\/asynctasq.evidence" is wrong about the ids of database $database/,
	'and the log says so');

$node->stop;
done_testing();
