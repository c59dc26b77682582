# What resolving references costs: none for a few rows, else one query for each
# model and task, counted by pg_stat_statements.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'queries',
	'shared_preload_libraries' => 'asynctasq,pg_stat_statements',
	'pg_stat_statements.track' => 'all');
create_tenant($node, 'shop', 'app');
$node->safe_psql('shop', 'CREATE EXTENSION pg_stat_statements');

app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text);
	INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 1000) AS n;
	CREATE TABLE countries (code text PRIMARY KEY, name text);
	INSERT INTO countries SELECT 'c' || n, 'country ' || n FROM generate_series(1, 1000) AS n;
	CREATE FUNCTION read("values" jsonb) RETURNS int
		LANGUAGE sql RETURN jsonb_array_length("values");
	CREATE FUNCTION keep("values" asynctasq.msgpack) RETURNS int
		LANGUAGE sql RETURN jsonb_array_length("values"::jsonb);
	SELECT asynctasq.register_handler('read', 'read(jsonb)', keep_result => true);
	SELECT asynctasq.register_handler('keep', 'keep(asynctasq.msgpack)', keep_result => true);
	SELECT asynctasq.register_model('User', 'users');
	SELECT asynctasq.register_model('Country', 'countries');});

my $document = slurp_file('docs/references.md');

# costs($handler, $values, $what, $queries, $rows): tasks, one for each row of
# $values, make so many queries for so many rows, and the document says so.
# The statement that dispatches names the tables without their schema.
sub costs
{
	my ($handler, $values, $what, $queries, $rows) = @_;

	$node->safe_psql('shop', 'SELECT pg_stat_statements_reset()');
	app($node, 'shop', 'app', qq{
		CREATE TEMP TABLE sent AS
		SELECT asynctasq.dispatch('$handler', asynctasq.args('values', refs)) AS id
		FROM ($values) AS v (refs);
		SELECT asynctasq.wait(id) FROM sent;});
	query_is(
		$node, 'shop', q{
		SELECT coalesce(sum(calls), 0), coalesce(sum(rows), 0)
		FROM pg_stat_statements
		WHERE userid = 'app'::regrole AND query ~ '\mapp\.(users|countries)\M'},
		"$queries|$rows", $what);
	like($document, qr/^\| \Q$what\E \| \Q$queries\E \| \Q$rows\E \|$/m,
		"$what: documented");
	return;
}

costs('read', 'SELECT ARRAY[u] FROM users AS u WHERE id = 1',
	'one reference', 0, 0);
costs('read', 'SELECT array_agg(u) FROM users AS u',
	'1000 references to one model', 1, 1000);
costs('read', 'SELECT array_agg(u) FROM users AS u, generate_series(1, 1000) WHERE u.id = 1',
	'1000 references to one row', 0, 0);
costs('read',
	q{SELECT ARRAY[asynctasq.set(array_agg(asynctasq.ref(u))), asynctasq.args('deeper', array_agg(c))]
		FROM users AS u JOIN countries AS c ON c.code = 'c' || u.id},
	'1000 references to each of two models, in sets and maps', 2, 2000);
costs('read', 'SELECT ARRAY[u] FROM users AS u WHERE id <= 10',
	'ten tasks of one reference each', 0, 0);
costs('keep', 'SELECT array_agg(u) FROM users AS u',
	'1000 references, kept as they are by a parameter of type `msgpack`', 0, 0);

# The sizes in the document are those that payload_size.sql measures.
my @sizes = grep { /^\| / } split /\n/, slurp_file('expected/payload_size.out');
is(scalar(@sizes), 6, 'sizes were measured');
ok($document =~ /^\Q$_\E$/m, "documented: $_") foreach @sizes;

$node->stop;
done_testing();
