# A model means the table of its name where a dump is restored, never the one
# that has the number of a table that was dropped.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'asynctasq.enabled' => 'off');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';

# Tables that stay, are renamed and moved, are made again, take another's place,
# and go.
create_tenant($node, 'shop', 'app');
$node->safe_psql('shop', 'CREATE SCHEMA "Other place" AUTHORIZATION app');
app($node, 'shop', 'app', q{
	CREATE TABLE stays (id int PRIMARY KEY, what text);
	CREATE TABLE renamed (LIKE stays INCLUDING ALL);
	CREATE TABLE again (LIKE stays INCLUDING ALL);
	CREATE TABLE swapped (LIKE stays INCLUDING ALL);
	CREATE TABLE gone (LIKE stays INCLUDING ALL);
	SELECT asynctasq.register_model(name, name::regclass) FROM unnest('{stays,renamed,again,swapped,gone}'::text[]) AS name;});
my %number = map { $_ => $node->safe_psql('shop', "SELECT 'app.$_'::regclass::oid") } ('again', 'swapped', 'gone');
app($node, 'shop', 'app', q{
	ALTER TABLE renamed RENAME TO "New name";
	ALTER TABLE "New name" SET SCHEMA "Other place";
	CREATE TABLE renamed (LIKE stays INCLUDING ALL);
	DROP TABLE again, gone;
	CREATE TABLE again (LIKE stays INCLUDING ALL);
	CREATE TABLE new (LIKE stays INCLUDING ALL);
	ALTER TABLE swapped RENAME TO old;
	ALTER TABLE new RENAME TO swapped;
	DROP TABLE old;
	INSERT INTO stays VALUES (1, 'stays');
	INSERT INTO renamed VALUES (1, 'has the old name');
	INSERT INTO "Other place"."New name" VALUES (1, 'renamed');
	INSERT INTO again VALUES (1, 'again');
	INSERT INTO swapped VALUES (1, 'swapped');});

# What each model gives, or the error.
my $rows = q{
	CREATE FUNCTION pg_temp.row(class text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN asynctasq.fetch(asynctasq.ref(class, 1)) ->> 'what';
	EXCEPTION WHEN OTHERS THEN
		RETURN SQLSTATE;
	END $$;
	SELECT string_agg(pg_temp.row(class), ', ' ORDER BY class) FROM asynctasq.model;};
my $expected = 'again, 42P01, renamed, stays, swapped';
query_is($node, 'shop', $rows, $expected, 'before the dump');
$node->command_ok([ 'pg_dump', '-f', $dump, 'shop' ], 'pg_dump');

# There the numbers are another table's.
$node->safe_psql('postgres', 'CREATE DATABASE other');
my $secret = $node->safe_psql('other', q{
	CREATE TABLE public.secret (id int PRIMARY KEY, what text);
	INSERT INTO public.secret VALUES (1, 'secret');
	SELECT 'secret'::regclass::oid;});
my $text = slurp_file($dump);
foreach my $name (sort keys %number)
{
	is($text =~ s/^(sqlalchemy\t$name\tapp)\t$number{$name}\t/$1\t$secret\t/mg, 1, "the dump has a number for $name");
}
open(my $fh, '>', $dump) or die "could not write $dump: $!";
print $fh $text;
close $fh;
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $dump, 'other' ], 'psql');
query_is($node, 'other', q{SELECT count(*) FROM asynctasq.model WHERE relation = 'secret'::regclass}, '3',
	'an unrelated table has the numbers');
query_is($node, 'other', $rows, $expected, 'after the restore');
$node->safe_psql('other', 'ALTER TABLE secret RENAME TO again_secret');
query_is($node, 'other', $rows, $expected, 'after that table was renamed');
query_is($node, 'other', q{SELECT count(*) FROM asynctasq.model WHERE current_name ~ 'secret'}, '0', 'no model has followed it');
app($node, 'other', 'app', 'ALTER TABLE stays RENAME TO stayed');
query_is($node, 'other', $rows, $expected, 'after a table was renamed that is a model');

# The other way round: which model a row is of.
query_is($node, 'other', q{
	SET search_path = app;
	SELECT (asynctasq.ref(s)::jsonb ->> '__orm_class__') FROM stayed AS s
	UNION ALL SELECT (asynctasq.ref(s)::jsonb ->> '__orm_class__') FROM public.again_secret AS s},
	"stays\npublic.again_secret", 'rows are of the models of their tables');

$node->stop;
done_testing();
