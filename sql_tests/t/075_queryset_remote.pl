# Query sets on other servers: the same rows and errors as from here, several
# at once over the pool, cursors of iterate(), and servers that fail.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $remote = PostgreSQL::Test::Cluster->new('remote');
$remote->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$remote->append_conf('postgresql.conf', "shared_buffers = '16MB'\nmax_connections = 30");
$remote->start;

my $node = new_cluster('near', 'asynctasq.enabled' => 'off');
create_tenant($node, 'shop', 'app');

# The same tables in two schemas here: near has the rows, as has far on the
# other server; here far is empty.
my $types = q{
	CREATE TYPE public.mood AS ENUM ('sad', 'glad');
	CREATE TYPE public.pair AS (a int, "B c" text);
	CREATE DOMAIN public.small AS int CHECK (VALUE < 100000);};
my $tables = q{
	CREATE SCHEMA SCHEMA;
	SET search_path = SCHEMA, public;
	CREATE TABLE companies (id int PRIMARY KEY, name text);
	CREATE TABLE authors (id int PRIMARY KEY, gone int, name text, born date, company_id int REFERENCES companies);
	ALTER TABLE authors DROP gone;
	CREATE TABLE books (id int PRIMARY KEY, title text, author_id int NOT NULL REFERENCES authors, pages int);
	CREATE TABLE places (country text, code int, name text, PRIMARY KEY (country, code));
	CREATE TABLE visits (id int PRIMARY KEY, country text, code int, FOREIGN KEY (country, code) REFERENCES places);
	CREATE TABLE kinds (id small PRIMARY KEY, gone int, name varchar(20), "Odd ""name""" text, born date, seen timestamptz, at timestamp,
		spent numeric(10, 2), ratio float8, tags text[], mood mood, pair pair, extra jsonb, data bytea, period tstzrange, pause interval, table_id regclass, u uuid, js json, b bool);
	ALTER TABLE kinds DROP gone;};
my $rows = q{
	INSERT INTO companies VALUES (1, 'Acme'), (2, 'Zeta');
	INSERT INTO authors VALUES (1, 'Ann', '1970-01-02', 1), (2, 'Bela', NULL, NULL), (3, 'Cleo', '1990-12-31', 2);
	INSERT INTO books SELECT i, 'book ' || i, 1 + i % 2, i * 10 FROM generate_series(1, 25) AS i;
	INSERT INTO places VALUES ('DE', 1, 'north'), ('DE', 2, 'south'), ('FR', 1, 'east');
	INSERT INTO visits VALUES (1, 'DE', 2), (2, NULL, 2), (3, 'FR', 1), (4, 'DE', 2);
	INSERT INTO kinds SELECT i, 'user ' || i, E'x"y\'\\\\' || i, '2020-02-03', '2020-02-03 04:05:06.7+02', '0044-03-15 01:02:03 BC', i / 3.0, 'NaN', ARRAY['a', NULL, 'b,"c"'], 'glad',
		ROW(i, 'z')::pair, '{"a": [1.50, null]}', '\x00ff', '[2020-01-01 00:00+00,)', '-1 year 2 days -03:04:05', 'pg_class', '5d5b4d5e-0000-4000-8000-000000000001', '[1, {"a":2}]', i % 2 = 0
		FROM generate_series(1, 10) AS i;
	INSERT INTO kinds (id) VALUES (2000);};

sub in_schema
{
	my ($schema, $sql) = @_;

	return $sql =~ s/\bSCHEMA\b/$schema/gr =~ s/CREATE $schema $schema/CREATE SCHEMA $schema/r;
}

$remote->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE DATABASE far; CREATE DATABASE one');
$remote->safe_psql('far', "$types GRANT CREATE ON DATABASE far TO app");
$remote->safe_psql('far', in_schema('far', $tables) . $rows, extra_params => [ '-U', 'app' ]);
$node->safe_psql('shop', "$types GRANT CREATE ON DATABASE shop TO app");
app($node, 'shop', 'app', in_schema('near', $tables) . $rows);
app($node, 'shop', 'app', in_schema('far', $tables));
create_servers($node, 'shop', "user 'app'",
	far => address_of($remote, 'far') . ", pool_max_size '4', pool_max_overflow '0'",
	single => address_of($remote, 'far') . ", pool_max_size '1', pool_max_overflow '0'",
	gone => "host '" . $remote->host . "', port '1'");
create_fdw_server($node, 'shop', "user 'app'", also => address_of($remote, 'far'));
$node->safe_psql('shop', 'CREATE SERVER hidden FOREIGN DATA WRAPPER asynctasq');
app($node, 'shop', 'app', q{
	SELECT asynctasq.register_model('far.' || t, ('far.' || t)::regclass, orm => 'postgres', server => 'far') FROM unnest('{companies,authors,books,places,visits,kinds}'::text[]) AS t;
	CREATE FOREIGN TABLE clients (number int OPTIONS (column_name 'id'), "Name" text OPTIONS (column_name 'name')) SERVER also OPTIONS (schema_name 'far', table_name 'authors');
	SELECT asynctasq.register_model('Client', 'clients', server => 'also', key => '{number}'),
		asynctasq.register_model('Gone', 'far.authors', server => 'gone'),
		asynctasq.register_model('Single', 'far.authors', server => 'single');
	CREATE TABLE absent (id int PRIMARY KEY);
	CREATE TABLE moody (id int PRIMARY KEY, mood mood);
	SELECT asynctasq.register_model('Absent', 'absent', server => 'far'), asynctasq.register_model('Moody', 'moody', server => 'far');});

# Whatever is asked, it is as from here.
my $settings = q{SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET extra_float_digits = 0; SET bytea_output = 'escape';};
my @same = (
	q{list(order_by(O('kinds'), 'id'))},
	q{list(order_by(filter(O('kinds'), '{"born": "2020-02-03", "seen": "2020-02-03T02:05:06.7Z", "mood": "glad", "u": "5d5b4d5e-0000-4000-8000-000000000001", "spent__gt": 1.5, "b": true, "id__in": [2, 4, 5]}'), '-id'))},
	q{list(order_by(filter(O('kinds'), '{"pause__lt": "1 day", "seen__year": 2020, "seen__date__gte": "2020-02-03", "name__istartswith": "USER", "pk__range": [3, 5]}'), 'pk'))},
	q{count(filter(O('kinds'), '{"born__isnull": true}'))},
	q{list(order_by(values(O('books'), 'title', 'author__name', 'author__company__name'), '-pages'))},
	q{list(order_by(values_list(filter(O('books'), '{"author__company__name__in": ["Acme", "None"]}'), true, 'id'), 'author__born', 'id'))},
	q{list(order_by(values_list(O('authors'), false, 'born', 'pk'), 'id'))},
	q{list(order_by(select_related(only(O('books'), 'title', 'author_id'), 'author__company'), 'id'))},
	q{list(order_by(annotate(filter(O('authors'), '{"books__pages__gte": 20}'), '{"n": {"Count": "books"}, "s": {"Sum": "books__pages"}}'), 'name'))},
	q{list(order_by(annotate(values(O('books'), 'author_id'), '{"n": {"Count": "*"}}'), 'author_id'))},
	q{list(order_by(distinct(values(O('books'), 'author_id')), 'author_id'))},
	q{list(slice(order_by(O('books'), 'id'), 3, 6))},
	q{list(order_by(filter(O('places'), '{"pk": ["DE", 2]}'), 'pk'))},
	q{list(order_by(prefetch_related(O('authors'), 'books', 'company'), 'id'))},
	q{list(order_by(prefetch_related(O('books'), 'author__books', 'author__company'), 'id'))},
	q{list(order_by(prefetch_related(O('visits'), 'places'), 'id'))},
	q{list(order_by(prefetch_related(O('places'), 'visits'), 'pk'))},
	q{get(O('authors'), '{"pk": 2}')},
	q{get(values_list(O('authors'), true, 'born'), '{"pk": 2}')},
	q{first(O('places'))}, q{last(O('places'))}, q{first(filter(O('places'), '{"code": 9}'))},
	q{exists(filter(O('places'), '{"code": 9}'))}, q{exists(O('places'))},
	q{in_bulk(O('authors'), '[1, 3, 5]')}, q{in_bulk(O('places'))},
	q{aggregate(O('books'), '{"n": {"Count": "*"}, "s": {"Sum": "pages"}, "a": {"Count": "author_id", "distinct": true, "filter": {"pages__gt": 30}}}')},
	q{rows(NULL::SCHEMA.kinds, order_by(O('kinds'), 'id'))::text},
	q{rows(NULL::SCHEMA.authors, order_by(defer(O('authors'), 'born'), 'id'))::text},
	q{iterate(order_by(O('books'), 'id'), 7)}, q{iterate(order_by(O('books'), 'id'), 25)}, q{iterate(filter(O('books'), '{"id": 0}'), 1)},
	q{iterate(order_by(prefetch_related(O('authors'), 'books__author'), 'id'), 2)},
	q{iterate(order_by(O('kinds'), 'id'), 3)});
foreach my $question (@same)
{
	my $sql = $question =~ s/\b(\w+)\(/asynctasq.$1(/gr =~ s/asynctasq\.O\('/asynctasq.objects('SCHEMA./gr;
	my @answers = map { app($node, 'shop', 'app', "$settings SELECT " . in_schema($_, $sql)) } ('near', 'far');

	is($answers[1], $answers[0], $question);
}
isnt(app($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('far.kinds'))}), '', 'which is something');
is(app($node, 'shop', 'app', q{SELECT count(*) FROM far.kinds}), '0', 'and not from here');

# Names of foreign tables, using(), and what the statement is.
is(app($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.filter(asynctasq.objects('Client'), '{"Name__startswith": "B"}'));
	SELECT * FROM asynctasq.rows(NULL::clients, asynctasq.objects('Client')) WHERE number = 3;
	SELECT asynctasq.in_bulk(asynctasq.objects('Client'), '[1]')}), qq({"Name": "Bela", "number": 2}\n3|Cleo\n{"1": {"Name": "Ann", "number": 1}}), 'a foreign table');
is(app($node, 'shop', 'app', q{SELECT asynctasq.count(asynctasq.using(asynctasq.objects('far.authors'), 'single')), asynctasq.count(asynctasq.objects('Client')), asynctasq.count(asynctasq.objects('near.authors'))}), '3|3|3', 'using()');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.count(asynctasq.using(asynctasq.objects('near.authors'), 'far'))}, qr/42P01: relation "near\.authors" does not exist.*query on server "far"/s, 'a table that is not there');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.count(asynctasq.using(asynctasq.objects('far.authors'), 'nowhere'))}, qr/42704: server "nowhere" does not exist/, 'no such server');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.count(asynctasq.using(asynctasq.objects('far.authors'), 'hidden'))}, qr/42501: permission denied for foreign server hidden/, 'no privilege on the server');
like(app($node, 'shop', 'app', q{SELECT asynctasq.explain(asynctasq.filter(asynctasq.objects('far.books'), '{"title": "book 7"}'))}), qr/Seq Scan on books t0 .*Filter: \(title = 'book 7'::text\)/s, 'explain()');
like(app($node, 'shop', 'app', q{SELECT asynctasq.sql(asynctasq.objects('Client'))}), qr/^SELECT t0\.id, t0\.name FROM far\.authors AS t0$/, 'sql()');

# What is wrong there, or with its values here.
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('Absent'))}, qr/42P01: relation "app\.absent" does not exist/, 'a table that is missing');
$remote->safe_psql('far', q{CREATE SCHEMA app; CREATE TYPE public.other AS ENUM ('sad', 'angry'); CREATE TABLE app.moody (id int PRIMARY KEY, mood other); INSERT INTO app.moody VALUES (1, 'sad'), (2, 'angry'); GRANT USAGE ON SCHEMA app TO app});
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('Moody'))}, qr/42501: permission denied for table moody/, 'no privilege there');
$remote->safe_psql('far', q{GRANT SELECT ON app.moody TO app});
is(app($node, 'shop', 'app', q{SELECT asynctasq.get(asynctasq.objects('Moody'), '{"id": 1}')}), '{"id": 1, "mood": "sad"}', 'a value that fits');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('Moody'))}, qr/22P02: invalid input value for enum mood: "angry".*row of model "Moody" from server "far"/s, 'a value that does not fit');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('Gone'))}, qr/08001: could not connect to server "gone"/, 'a server that is not there');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.iterate(asynctasq.objects('Gone'))}, qr/08001: could not connect to server "gone"/, 'iterate() there');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.get(asynctasq.objects('far.authors'), '{"id": 9}')}, qr/P0002: "far\.authors" matching the query does not exist/, 'no row');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.get(asynctasq.objects('far.authors'))}, qr/P0003: query for "far\.authors" gives more than one row/, 'several rows');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.prefetch_related(asynctasq.using(asynctasq.objects('far.authors'), 'gone'), 'books'))}, qr/08001: could not connect to server "gone"/, 'prefetched');

# Several at once: what fails does so alone, the others go on.
is(app($node, 'shop', 'app', q{
	SELECT ord, rows, regexp_replace(error, '\(.*', '') FROM asynctasq.gather_lists(asynctasq.values_list(asynctasq.order_by(asynctasq.objects('far.authors'), 'id'), true, 'name'), asynctasq.objects('Gone'), asynctasq.objects('Moody'),
		asynctasq.using(asynctasq.objects('far.authors'), 'nowhere'), asynctasq.objects('Absent'),
		asynctasq.values_list(asynctasq.order_by(asynctasq.objects('near.authors'), 'id'), true, 'name'), asynctasq.filter(asynctasq.objects('far.authors'), '{"nope": 1}'),
		asynctasq.filter(asynctasq.objects('far.authors'), '{"id": 9}'), asynctasq.only(asynctasq.objects('Client'), 'number'))}),
	q{1|["Ann", "Bela", "Cleo"]|
2||08001: could not connect to server "gone" 
3||22P02: invalid input value for enum mood: "angry"
4||42704: server "nowhere" does not exist
5||42P01: relation "app.absent" does not exist
6|["Ann", "Bela", "Cleo"]|
7||42703: "far.authors" has no field "nope"
8|[]|
9|[{"number": 1}, {"number": 2}, {"number": 3}]|}, 'gather_lists()');
is(app($node, 'shop', 'app', q{
	SELECT count(*), count(error), count(DISTINCT rows), min(jsonb_array_length(rows -> 0 -> 'books')) FROM asynctasq.gather_lists(VARIADIC
		(SELECT array_agg(asynctasq.prefetch_related(asynctasq.filter(asynctasq.objects('far.authors'), '{"id": 1}'), 'books', 'company')) FROM generate_series(1, 20)));
	SELECT connects > 1, size, checked_out, queries FROM asynctasq.stat_pools}), "20|0|1|12\nt|4|0|60", 'over all connections of the pool, and no more');
is(app($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.prefetch_related(asynctasq.objects('Single'), 'books')) IS NULL LIMIT 1}), 'f', 'one connection serves a list and what is prefetched');

# Cursors: they hold their connection, and give it back whatever happens.
is(app($node, 'shop', 'app', q{
	SELECT asynctasq.iterate(asynctasq.order_by(asynctasq.values_list(asynctasq.objects('far.books'), true, 'id'), 'id'), 2) LIMIT 3;
	SELECT connects, size, checked_out FROM asynctasq.stat_pools;
	SELECT count(*) FROM (SELECT asynctasq.iterate(asynctasq.objects('far.books'), 2)) AS s;
	SELECT count(*) FROM (SELECT asynctasq.iterate(asynctasq.objects('far.books'), 100)) AS s;
	SELECT asynctasq.count(asynctasq.objects('far.books'));
	SELECT connects, size, checked_out FROM asynctasq.stat_pools}), "1\n2\n3\n1|1|0\n25\n25\n25\n1|1|0", 'LIMIT gives the connection back, as the end does');
is(app($node, 'shop', 'app', q{
	DO $$ BEGIN PERFORM 1 / ((asynctasq.iterate(asynctasq.order_by(asynctasq.objects('far.books'), 'id'), 2) ->> 'id')::int - 3); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
	SELECT checked_out FROM asynctasq.stat_pools;
	SELECT asynctasq.count(asynctasq.objects('far.books'))}), "0\n25", 'so does an error');
is(app($node, 'shop', 'app', q{SELECT asynctasq.iterate(asynctasq.order_by(asynctasq.objects('far.authors'), 'id'), 1) ->> 'name', asynctasq.count(asynctasq.objects('far.books')), asynctasq.iterate(asynctasq.order_by(asynctasq.objects('far.places'), 'pk'), 2) ->> 'name'}),
	"Ann|25|north\nBela|25|south\nCleo|25|east", 'two beside each other');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.iterate(asynctasq.using(asynctasq.objects('far.authors'), 'single'), 1), asynctasq.iterate(asynctasq.using(asynctasq.objects('far.books'), 'single'), 1)}, qr/53300: pool of server "single" is exhausted/, 'more than there are connections');
is(app($node, 'shop', 'app', q{
	SELECT asynctasq.iterate(asynctasq.values(asynctasq.objects('far.companies'), 'id')) LIMIT 1;
	SELECT asynctasq.scalar('far', 'SELECT current_setting(''search_path'') || current_setting(''cursor_tuple_fraction'')')}), qq({"id": 1}\n"\\"\$user\\", public0.1"), 'nothing of it stays in the session');
wait_for($remote, 'far', "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app' AND xact_start IS NOT NULL");

# Answers have a limit; chunks are below it.
$remote->safe_psql('far', q{INSERT INTO far.places SELECT 'XX', i, repeat('x', 1000) FROM generate_series(1, 200) AS i});
$node->safe_psql('shop', q{ALTER DATABASE shop SET asynctasq.max_answer = '64kB'});
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('far.places'))}, qr/54000: answer of server "far" is larger than asynctasq\.max_answer/, 'too large');
is(app($node, 'shop', 'app', q{SELECT count(*), max(length(q ->> 'name')) FROM (SELECT asynctasq.iterate(asynctasq.objects('far.places'), 20) AS q) AS s}), '203|1000', 'in chunks it is not');
is(app($node, 'shop', 'app', q{SELECT ord, jsonb_array_length(rows), error FROM asynctasq.gather_lists(asynctasq.objects('far.places'), asynctasq.objects('far.authors'))}), qq(1||54000: answer of server "far" is larger than asynctasq.max_answer\n2|3|), 'nor for others');
$node->safe_psql('shop', q{ALTER DATABASE shop RESET asynctasq.max_answer});

# Handlers have them as everything else.
app($node, 'shop', 'app', q{
	CREATE TABLE got (what text);
	CREATE FUNCTION take(who int) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.got SELECT row ->> 'title' FROM asynctasq.list(asynctasq.order_by(asynctasq.filter(asynctasq.objects('far.books'), jsonb_build_object('author_id', who)), 'id')) AS row $$;
	SELECT asynctasq.register_handler('take', 'take(int)');
	SELECT asynctasq.dispatch('take', asynctasq.args('who', 1));
	SELECT asynctasq.drain();});
is(app($node, 'shop', 'app', q{SELECT count(*), min(what) FROM got}), '12|book 10', 'a handler');

# A server that goes, and comes back.
my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ], on_error_stop => 0);
is($session->query_safe(q{SELECT asynctasq.count(asynctasq.objects('far.books'))}), '25', 'a session');
$session->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT asynctasq.iterate(asynctasq.order_by(asynctasq.values_list(asynctasq.objects('far.books'), true, 'id'), 'id'), 1)});
is($session->query_safe('FETCH 1 FROM c'), '1', 'a cursor');
$remote->stop('immediate');
my ($out, $failed) = $session->query('FETCH ALL FROM c');
ok($failed, 'is lost with the server');
like($session->{stderr}, qr/connection to server "far" was lost|08006|server closed/, 'which it says');
$session->{stderr} = '';
$session->query('ROLLBACK');
is($session->query_safe(q{SELECT error ~ '^08(001|006): ' FROM asynctasq.gather_lists(asynctasq.objects('far.books'))}), 't', 'nothing is to be had');
$remote->start;
is($session->query_safe(q{SELECT asynctasq.count(asynctasq.objects('far.books'))}), '25', 'until it is there again');
$session->quit;

# A server that answers wrongly.
create_servers($node, 'shop', "user 'app'", fake => start_fake_server() . ", dbname 'fine'");
app($node, 'shop', 'app', q{
	CREATE TABLE ones (id int PRIMARY KEY);
	CREATE TABLE twos (id int PRIMARY KEY, n int);
	CREATE TABLE fault_rows (id int PRIMARY KEY);
	CREATE TABLE fault_number (id int PRIMARY KEY, ones_id int REFERENCES ones);
	SELECT asynctasq.register_model('app.' || t, ('app.' || t)::regclass, orm => 'postgres', server => 'fake') FROM unnest('{ones,twos,fault_rows,fault_number}'::text[]) AS t;});
is(app($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('app.ones'))}), '{"id": 1}', 'it can answer rightly');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.objects('app.twos'))}, qr/08P01: server "fake" answers with 1 columns instead of 2/, 'too few columns');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.list(asynctasq.prefetch_related(asynctasq.objects('app.ones'), 'fault_number'))}, qr/08P01: server "fake" answers with a row that was not asked for/, 'a prefetched row of no row');
app_fails($node, 'shop', 'app', q{SELECT asynctasq.iterate(asynctasq.objects('app.fault_rows'), 10)}, qr/08P01: server "fake" sends more rows than were asked for/, 'too many rows');
is(app($node, 'shop', 'app', q{SELECT * FROM asynctasq.gather_lists(asynctasq.objects('app.twos'), asynctasq.prefetch_related(asynctasq.objects('app.ones'), 'fault_number'), asynctasq.objects('app.ones'))}),
	qq(1||08P01: server "fake" answers with 1 columns instead of 2\n2||08P01: server "fake" answers with a row that was not asked for\n3|[{"id": 1}]|), 'each by itself');

done_testing();
