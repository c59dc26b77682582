# The tests that the documents name as proof are there.

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

done_testing();
