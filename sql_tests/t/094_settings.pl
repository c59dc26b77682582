# All settings that a reload can change are changed again and again while tasks
# run: each process takes up each change, there are as many workers as there may
# be, and no task is lost.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $rounds = amount(50, 1000);
my $node = new_cluster(
	'main',
	'asynctasq.max_workers' => '10',
	'asynctasq.worker_idle_timeout' => '1h',
	'asynctasq.sweep_interval' => '1h',
	'max_worker_processes' => '24');
create_tenant($node, 'shop', 'app');
app($node, 'shop', 'app', q{
	CREATE TABLE log (n int);
	CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log VALUES (n); END;
	CREATE FUNCTION hold() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT pg_advisory_xact_lock_shared(42); END;
	-- what a process has read last
	CREATE FUNCTION look() RETURNS text LANGUAGE sql AS $$
		SELECT current_setting('test.round', true) || string_agg(' ' || name || '=' || setting, '' ORDER BY name)
		FROM pg_settings WHERE name LIKE 'asynctasq.%'
	$$;
	SELECT asynctasq.create_queue('safe', durable => true),
		asynctasq.register_handler('note', 'note(int)', group_size => 5),
		asynctasq.register_handler('hold', 'hold()', queue => 'held'),
		asynctasq.register_handler('look', 'look()', queue => 'looks', keep_result => true, priority => -1);});

# Two values for each setting: the default, and another one as far as it goes.
my %values;
foreach my $line (split /\n/, $node->safe_psql('shop', q{
	SELECT name, boot_val, CASE vartype
		WHEN 'bool' THEN CASE boot_val WHEN 'on' THEN 'off' ELSE 'on' END
		WHEN 'integer' THEN (CASE WHEN boot_val::bigint > 0 AND boot_val <> max_val THEN least(2 * boot_val::bigint, max_val::bigint)
				ELSE greatest(min_val::bigint, least(100, max_val::bigint - 1)) END)::text
		WHEN 'enum' THEN (SELECT min(v) FROM unnest(enumvals) AS v WHERE v <> boot_val)
		END
	FROM pg_settings WHERE name LIKE 'asynctasq.%' AND context IN ('sighup', 'superuser', 'user')}))
{
	my ($name, @both) = split /\|/, $line;

	$values{$name} = \@both;
}
cmp_ok(scalar keys %values, '>', 15, 'there are settings');
is_deeply([ grep { !defined $values{$_}[1] || $values{$_}[1] eq $values{$_}[0] } sort keys %values ], [], 'each has two values');
$values{'asynctasq.workers_per_lane'} = [ 8, 1 ];
# off is tried by itself, below; and these make tasks wait for their time
delete $values{$_} foreach ('asynctasq.enabled', 'asynctasq.worker_idle_timeout', 'asynctasq.sweep_interval');

# Changes all of them, by one reload.
$node->append_conf('postgresql.conf', "include = 'changing.conf'");
my $session;
sub change
{
	my ($round, %more) = @_;
	my %all = ((map { $_ => $values{$_}[ $round % 2 ] } keys %values), 'test.round' => $round, %more);
	my $file = $node->data_dir . '/changing.conf';

	open my $conf, '>', "$file.new" or die $!;
	print $conf map { "$_ = '$all{$_}'\n" } sort keys %all;
	close $conf;
	rename "$file.new", $file or die $!;
	if (!defined $session)
	{
		$node->reload;
		$session = $node->background_psql('shop');
		$session->set_query_timer_restart();
	}
	else
	{
		$session->query_safe('SELECT pg_reload_conf()');
	}
	return;
}

# This session and a worker have read all that was written in a round.  No other
# change is made before.
sub is_taken_up
{
	my ($round) = @_;

	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $id = $session->query_safe(q{SELECT asynctasq.dispatch('look')});
		my $result = $session->query_safe("SELECT asynctasq.wait($id) #>> '{}', app.look()");
		my ($worker, $mine) = split /\|/, $result;

		return !grep { $worker !~ / \Q$_=$values{$_}[ $round % 2 ]\E( |$)/ } keys %values
		  if $worker eq $mine && $worker =~ /^$round /;
		select undef, undef, undef, 0.01;
	}
	return 0;
}

# As many workers as there may be, no more.
sub workers_are
{
	my ($n) = @_;
	my $gate = $node->background_psql('shop');

	$gate->query_safe('SELECT pg_advisory_lock(42)');
	app($node, 'shop', 'app', q{SELECT count(asynctasq.dispatch('hold')) FROM generate_series(1, 9)});
	wait_for($node, 'shop', qq{SELECT count(*) = $n AND count(*) FILTER (WHERE task = 'hold') = $n FROM asynctasq.stat_workers WHERE role = 'app'});
	$gate->quit;
	wait_for($node, 'shop', q{SELECT count(*) = 0 FROM asynctasq.tasks WHERE task = 'hold'});
	return;
}

change(0);
foreach my $round (1 .. $rounds)
{
	change($round);
	$session->query_safe(qq{SELECT count(asynctasq.dispatch('note', asynctasq.args('n', $round * 100 + n), queue => CASE WHEN n % 2 = 0 THEN 'safe' END)) FROM generate_series(1, 20) AS n});
	is_taken_up($round) or die "no worker has taken up change $round";
	workers_are($values{'asynctasq.workers_per_lane'}[ $round % 2 ]) if $round % 5 == 0;
}
pass('a worker takes up each of many changes');
pass('there are 8 workers, and 1, and 8 again');
wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.task');
my $n = 20 * $rounds;
query_is($node, 'shop', 'SELECT count(*), count(DISTINCT n) FROM app.log', "$n|$n", 'no task is lost, none runs twice');

# Off, and on again
foreach my $round (1 .. 10)
{
	change(0, 'asynctasq.enabled' => 'off');
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.stat_workers');
	$session->query_safe("SELECT asynctasq.dispatch('note', asynctasq.args('n', -$round))");
	query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.tasks', 1, 'a task waits') if $round == 10;
	change(0);
	wait_for($node, 'shop', 'SELECT count(*) = 0 FROM asynctasq.tasks');
}
query_is($node, 'shop', 'SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE n < 0) FROM app.log', ($n + 10) . '|' . ($n + 10) . '|10', 'each of them runs when workers may again');
query_is($node, 'shop', 'SELECT count(*) FROM asynctasq.dead_letters', 0, 'and none has failed');

$session->quit;
$node->stop;
done_testing();
