# What scripts/test-matrix says where it cannot make a chroot: servers, and so
# these tests, are not run by root.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my ($stdout, $stderr) = run_command([ 'scripts/test-matrix', 'one', 'two' ]);
is($?, 0, 'nothing failed');
is( $stdout,
	"one: skipped: not root\ntwo: skipped: not root\n0 passed, 0 failed",
	'releases are skipped, with the reason');

($stdout, $stderr) = run_command([ 'scripts/test-matrix', '--required', 'one' ]);
isnt($?, 0, 'what is required is a failure');
is( $stdout,
	"one: skipped: not root\n0 passed, 1 failed",
	'and counted as one');

done_testing();
