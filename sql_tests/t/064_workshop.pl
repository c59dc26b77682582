# The workshop example: the same program on local and on remote tables.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $store = PostgreSQL::Test::Cluster->new('store');
$store->init;
$store->start;
$store->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE DATABASE store OWNER app');

my $node = new_cluster('workshop');
create_tenant($node, 'shop', 'app');
create_servers($node, 'shop', "user 'app'", store => address_of($store, 'store'));
$node->safe_psql('shop', 'GRANT CREATE ON DATABASE shop TO app');

# What a program prints, and the SQLSTATE that it is to run into.
sub program
{
	my ($at, $db, @files) = @_;
	my ($stdout, $stderr) = run_command([ 'psql', '-XqU', 'app', '-h', $at->host, '-p', $at->port, '-d', $db, map { ('-f', "examples/workshop/$_") } @files ]);

	$stderr =~ s/^.*NOTICE:.*\n?//mg;
	$stderr =~ s/^(DETAIL|and \d+ other|drop cascades).*\n?//mg;
	return ($stdout, $stderr =~ /ERROR:  (\S+)\s*$/ ? $1 : $stderr);
}

my $expected = "Ann: Aarhus, Bergen\nBela: Cork\nCleo: no address\n11.70\n2\norder 2 of Bela is confirmed\npicked paper, lamp";
is_deeply([ program($node, 'shop', qw(schema.sql rows.sql local.sql)) ], [ $expected, '23503' ], 'on local tables');
program($store, 'store', qw(schema.sql rows.sql));
is_deeply([ program($node, 'shop', qw(schema.sql remote.sql)) ], [ $expected, '23503' ], 'on remote tables');
query_is($node, 'shop', 'SELECT count(*) FROM workshop.customers', '0', 'which are empty here');

$node->stop;
$store->stop;
done_testing();
