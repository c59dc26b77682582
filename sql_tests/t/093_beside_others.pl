# Regression and isolation tests on a server that preloads other libraries with
# hooks where ours are, before and behind ours.

use strict;
use warnings;

use AtqTest;
use Cwd;
use File::Basename;
use PostgreSQL::Test::Utils;
use Test::More;

my $libdir = `@{[ $ENV{PG_CONFIG} // 'pg_config' ]} --pkglibdir`;
chomp $libdir;
my @others = grep { -e "$libdir/$_.so" } ('pg_stat_statements', 'auto_explain', 'pgaudit');
plan skip_all => 'no other library is installed' if !@others;

my %settings = (
	pg_stat_statements => "pg_stat_statements.track = 'all'\npg_stat_statements.track_planning = on\n",
	auto_explain => "auto_explain.log_min_duration = 0\nauto_explain.log_analyze = on\nauto_explain.log_timing = off\n"
	  . "auto_explain.log_nested_statements = on\nauto_explain.log_triggers = on\nauto_explain.log_verbose = on\n",
	pgaudit => "pgaudit.log = 'all'\npgaudit.log_relation = on\n");
my $pg_regress = $ENV{PG_REGRESS};
my $pg_isolation_regress = dirname($pg_regress) . '/../isolation/pg_isolation_regress';
my ($release) = `$pg_regress --version` =~ /(\d+)/;

# A folder as pg_regress wants it.
my $dir = PostgreSQL::Test::Utils::tempdir();
my $tree = dirname(dirname(dirname(Cwd::abs_path(__FILE__))));
symlink "$tree/sql_tests", "$dir/sql" or die $!;
symlink "$tree/sql_tests/$_", "$dir/$_" or die $! foreach ('data', 'specs');
symlink "$tree/expected", "$dir/expected" or die $!;

# Those in which most of our hooks, locks and transactions take part.
my @regress = ('batches', 'control', 'dispatch', 'drain', 'handler', 'hostile', 'keyread', 'lazy', 'privileges', 'queryset_tasks', 'references', 'visible');
my @specs = ('take', 'rows', 'redefine', 'revoke');

sub run_suite
{
	my ($node, $program, $name, @tests) = @_;
	my @command = ($program, "--inputdir=$dir", "--outputdir=$dir", '--bindir=' . $node->config_data('--bindir'),
		'--host=' . $node->host, '--port=' . $node->port, '--user=postgres', '--dbname=contrib_regression', @tests);

	push @command, "--expecteddir=$dir" if $release >= 16;
	my ($stdout, $stderr) = run_command(\@command);
	is($?, 0, $name) or diag($stdout, $stderr, -e "$dir/regression.diffs" ? slurp_file("$dir/regression.diffs") : '');
	return;
}

foreach my $list ([ @others, 'asynctasq' ], [ 'asynctasq', @others ])
{
	my $libraries = join ', ', @$list;
	my $node = new_cluster($list->[0], 'asynctasq.enabled' => 'off', 'max_prepared_transactions' => '5',
		'compute_query_id' => 'regress');

	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'\n" . join '', map { $settings{$_} } @others);
	$node->restart;
	run_suite($node, $pg_regress, "regression tests with $libraries", @regress);
	run_suite($node, $pg_isolation_regress, "isolation tests with $libraries", @specs);
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|was terminated by signal/, 'and nothing has crashed');
	$node->stop;
}
done_testing();
