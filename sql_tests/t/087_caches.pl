# What sql_tests/caches/*.sql do gives the same whether the server keeps its
# caches or drops all entries wherever that may happen.  The scripts walk each
# path of the code once, because that is a hundred times slower: it is done
# where the environment has ATQ_TEST_DISCARD, on a server with assertions.
# Anywhere else they only have to run.

use strict;
use warnings;

use AtqTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main',
	'asynctasq.enabled' => 'off',
	'autovacuum' => 'off');
create_tenant($node, 'pattern', 'app', 'other');

# Starts a script in a database of its own, as a superuser, with the setting
# that it gives itself when its tables and functions are made.
sub start_script
{
	my ($script, $discard) = @_;
	my $database = "${script}_$discard";
	my $output = "$PostgreSQL::Test::Utils::tmp_check/$database.out";

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE pattern");
	return {
		output => $output,
		psql => IPC::Run::start(
			[
				'psql', '-X', '-a', '-v', 'ON_ERROR_STOP=1',
				'-v', "discard=$discard", '-d', $node->connstr($database),
				'-f', "sql_tests/caches/$script.sql"
			],
			'<', \undef, '>', $output, '2>&1') };
}

sub ends_well
{
	my ($run, $name) = @_;

	return ok($run->{psql}->finish, $name)
	  || diag((split /^/m, slurp_file($run->{output}))[ -5 .. -1 ]);
}

my @scripts = map { m{(\w+)\.sql$} } glob 'sql_tests/caches/*.sql';
my %with = map { $_ => start_script($_, 0) } @scripts;

ends_well($with{$_}, "$_ with caches") foreach @scripts;
if ($ENV{ATQ_TEST_DISCARD})
{
	my %without = map { $_ => start_script($_, 1) } @scripts;

	foreach my $script (@scripts)
	{
		ends_well($without{$script}, "$script without caches");
		is(`diff -U 3 $with{$script}{output} $without{$script}{output}`,
			'', "$script: the same without caches");
	}
}

$node->stop;
done_testing();
