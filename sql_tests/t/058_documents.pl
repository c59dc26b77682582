# The tests that the documents name as proof are there, and what
# docs/query-sets.md shows is what its test shows.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

# Those of docs/guarantees.md stand in the last cells of its tables; in
# SECURITY.md they have their folder's name.
my @names = map { split /, / }
  slurp_file('docs/guarantees.md') =~ /^\|.*\| ([^|]+) \|$/mg;
push @names, slurp_file('SECURITY.md') =~ m{`((?:t|specs)/\w+)`}g;
@names = grep { !/^(proof|`make fuzz`|soak)$/ } @names;

cmp_ok(scalar @names, '>', 50, 'the documents name tests');
foreach my $name (@names)
{
	my @places = map { "sql_tests/$_" } "$name.pl", "$name.spec", "$name.sql";

	ok((grep { -f $_ } @places), "$name is there");
}

# Each block of SQL stands in the test's output, with what follows it here.
my $page = slurp_file('docs/query-sets.md');
my $shown = slurp_file('expected/queryset_docs.out');
my $blocks = 0;

while ($page =~ /^```sql\n(.*?)^```\n(?:^```text\n(.*?)^```\n)?/msg)
{
	my ($statement, $output) = ($1, $2 // '');

	$blocks++;
	isnt(index($shown, $statement . $output),
		-1, 'query-sets.md: ' . ($statement =~ /^(.*)/)[0]);
}
cmp_ok($blocks, '>', 30, 'query-sets.md shows statements');

done_testing();
