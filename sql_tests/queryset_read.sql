--
-- Reading query sets: get, first, last, count, exists, list, rows, iterate,
-- in_bulk, aggregate, explain, gather_lists; kept plans; rights
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA queryset_read;
SET search_path = queryset_read, public;
CREATE TABLE companies (id int PRIMARY KEY, name text);
CREATE TABLE authors (id int PRIMARY KEY, gone int, name text, born date, company_id int REFERENCES companies);
ALTER TABLE authors DROP COLUMN gone;
CREATE TABLE books (id int PRIMARY KEY, title text, author_id int NOT NULL REFERENCES authors, pages int);
CREATE TABLE places (country text, code int, name text, PRIMARY KEY (country, code));
CREATE TABLE visits (id int PRIMARY KEY, country text, code int, FOREIGN KEY (country, code) REFERENCES places);
CREATE TABLE notes (what text);
INSERT INTO companies VALUES (1, 'Acme');
INSERT INTO authors VALUES (1, 'Ann', '1970-01-02', 1), (2, 'Bela', NULL, NULL), (3, 'Cleo', '1990-12-31', 1);
INSERT INTO books VALUES (10, 'Alpha', 1, 100), (11, 'Beta', 1, 200), (12, 'Gamma', 2, 300);
INSERT INTO places VALUES ('DE', 1, 'north'), ('DE', 2, 'south'), ('FR', 1, 'east');
INSERT INTO visits VALUES (1, 'DE', 2), (2, NULL, 2), (3, 'FR', 1), (4, 'DE', 2);
INSERT INTO notes VALUES ('one');
SELECT asynctasq.register_model('Author', 'authors'), asynctasq.register_model('Book', 'books'),
	asynctasq.register_model('Place', 'places'), asynctasq.register_model('Visit', 'visits');
CREATE FUNCTION o(class text) RETURNS asynctasq.queryset LANGUAGE sql IMMUTABLE RETURN asynctasq.objects(class);
CREATE FUNCTION fails(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE sql;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ': ' || sqlerrm;
END $$;

-- get()
SELECT asynctasq.get(o('Author'), '{"pk": 2}');
SELECT asynctasq.get(asynctasq.filter(o('Author'), '{"name": "Cleo"}'));
SELECT asynctasq.get(asynctasq.filter(o('Author'), '{"company_id": 1}'), '{"born__lt": "1980-01-01"}') ->> 'name';
SELECT asynctasq.get(asynctasq.values_list(o('Author'), true, 'born'), '{"id": 2}');
SELECT asynctasq.get(asynctasq.slice(asynctasq.order_by(o('Author'), '-id'), 1, 2)) ->> 'name';
SELECT asynctasq.get(asynctasq.distinct(asynctasq.order_by(o('Author'), 'company_id', '-id'), 'company_id'), '{"company_id": 1}') ->> 'name';
SELECT fails($$SELECT asynctasq.get(o('Author'), '{"pk": 9}')$$);
SELECT fails($$SELECT asynctasq.get(o('Author'), '{"company_id": 1}')$$);
SELECT fails($$SELECT asynctasq.get(asynctasq.slice(asynctasq.order_by(o('Author'), 'id'), 0, 2))$$);
SELECT fails($$SELECT asynctasq.get(asynctasq.slice(o('Author'), 0, 1), '{"id": 1}')$$);
SELECT fails($$SELECT asynctasq.get(o('Author'), '[1]')$$);
SELECT n, left(fails(format($$SELECT asynctasq.get(o('Author'), '{"%sid": 1}')$$, repeat('x__', n))), 5)
FROM (VALUES (99), (100)) AS paths (n);

-- first(), last()
SELECT asynctasq.first(o('Author')) ->> 'name', asynctasq.last(o('Author')) ->> 'name';
SELECT asynctasq.first(asynctasq.reverse(o('Author'))) ->> 'name', asynctasq.last(asynctasq.reverse(o('Author'))) ->> 'name';
SELECT asynctasq.first(asynctasq.order_by(o('Author'), '-name')) ->> 'name', asynctasq.last(asynctasq.order_by(o('Author'), '-name')) ->> 'name';
SELECT asynctasq.first(o('Place')), asynctasq.last(o('Place'));
SELECT asynctasq.first(asynctasq.slice(asynctasq.order_by(o('Author'), 'id'), 1, 3)) ->> 'name',
	asynctasq.first(asynctasq.slice(asynctasq.order_by(o('Author'), 'id'), 1)) ->> 'name',
	asynctasq.first(asynctasq.slice(asynctasq.order_by(o('Author'), 'id'), 1, 1)) IS NULL;
SELECT asynctasq.first(asynctasq.filter(o('Author'), '{"id": 9}')) IS NULL, asynctasq.last(asynctasq.filter(o('Author'), '{"id": 9}')) IS NULL;
SELECT asynctasq.first(asynctasq.order_by(asynctasq.annotate(asynctasq.values(o('Book'), 'author_id'), '{"n": {"Count": "*"}}'), '-author_id'));
SELECT asynctasq.first(asynctasq.prefetch_related(o('Author'), 'books')) -> 'books' -> 1 ->> 'title';
SELECT fails($$SELECT asynctasq.first(asynctasq.slice(o('Author'), 0, 1))$$);
SELECT fails($$SELECT asynctasq.last(asynctasq.slice(asynctasq.order_by(o('Author'), 'id'), 0, 1))$$);
SELECT fails($$SELECT asynctasq.first(asynctasq.annotate(asynctasq.values(o('Book'), 'author_id'), '{"n": {"Count": "*"}}'))$$);
SELECT fails($$SELECT asynctasq.first(asynctasq.objects('queryset_read.notes'))$$);

-- count(), exists()
SELECT asynctasq.count(o('Author')), asynctasq.count(asynctasq.filter(o('Author'), '{"company_id": 1}')), asynctasq.count(asynctasq.slice(o('Author'), 1)),
	asynctasq.count(asynctasq.distinct(asynctasq.values(o('Author'), 'company_id')));
SELECT asynctasq.exists(o('Author')), asynctasq.exists(asynctasq.filter(o('Author'), '{"id": 9}')), asynctasq.exists(asynctasq.slice(o('Author'), 3));

-- list(): its forms
SELECT asynctasq.list(asynctasq.order_by(o('Author'), 'id'));
SELECT * FROM asynctasq.list(asynctasq.order_by(asynctasq.only(o('Author'), 'name'), '-id')) AS row;
SELECT asynctasq.list(asynctasq.order_by(asynctasq.values(o('Book'), 'title', 'author__name'), 'id'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.values_list(o('Book'), false, 'title', 'pages'), 'id'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.values_list(o('Author'), true, 'born'), 'id'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.select_related(o('Author'), 'company'), 'id'));
SELECT count(*) FROM asynctasq.list(asynctasq.filter(o('Author'), '{"id": 9}'));

-- Values are what to_jsonb() makes of them.
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, "B c" text);
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
CREATE DOMAIN word AS text;
CREATE DOMAIN smalls AS small[];
CREATE TABLE kinds (id int PRIMARY KEY, b bool, i2 int2, i8 int8, n numeric, f4 float4, f8 float8, t text, v varchar(9), c char(5), bytes bytea,
	d date, ts timestamp, tz timestamptz, iv interval, ti time, u uuid, js json, jb jsonb, m mood, p pair, ai int[], at text[], am mood[], ds small,
	dw word, da smalls, r int4range, mr int4multirange, ip inet, pt point, rc regclass, nm name, ch "char", ba bit(3), l tsvector, o oid, ov oidvector);
INSERT INTO kinds (id) VALUES (1);
INSERT INTO kinds VALUES (2, true, -1, -9223372036854775808, 1.50, 0.1, 1e300, 'x "y" \ z', 'é', 'ab', '\x0102', '2020-02-03', '2020-02-03 04:05:06.7', '2020-02-03 04:05:06.7+02',
	'1 day -02:03:04', '04:05', '5d5b4d5e-0000-4000-8000-000000000001', ' [1, {"a":2}] ', '{"b": [null, true], "a": 1}', 'glad', '(1,"x y")', '[2:3]={1,NULL}', '{a,NULL,"b,c"}', '{sad}',
	7, 'w', '{1,2}', '[1,5)', '{[1,2),[4,6)}', '10.0.0.1', '(1,2)', 'queryset_read.authors', 'n', 'z', B'101', 'a:1 b:2', 42, '1 2');
INSERT INTO kinds (id, n, f4, f8, t, d, ts, tz, jb, js, ai) VALUES (3, 'NaN', '-Infinity', 'NaN', '', 'infinity', '-infinity', 'infinity', '"s"', '"\u00e9"', '{}'),
	(4, 'Infinity', '1e-20', '-0', repeat('long ', 100000), '0044-03-15 BC', '0044-03-15 01:02:03 BC', '0044-03-15 01:02:03+00 BC', 'null', 'null', '{{1,2},{3,4}}'),
	(5, 12345678901234567890.1234567890, 3.4e38, 1.7976931348623157e308, E'\u20ac\n', '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '1.10', '1.10', '{NULL}');
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET intervalstyle = 'iso_8601';
SET bytea_output = 'escape';
SELECT count(*), count(*) FILTER (WHERE q = to_jsonb(k) AND q::text = to_jsonb(k)::text)
FROM asynctasq.list(asynctasq.objects('queryset_read.kinds')) AS q JOIN kinds AS k ON k.id = (q ->> 'id')::int;
RESET timezone;
RESET datestyle;
RESET intervalstyle;
RESET bytea_output;

-- rows(): the table's own type.
SELECT * FROM asynctasq.rows(NULL::authors, asynctasq.order_by(o('Author'), 'id'));
SELECT (r).name, (r).born IS NULL, (r).id FROM (SELECT asynctasq.rows(NULL::authors, asynctasq.order_by(asynctasq.only(o('Author'), 'name'), 'id')) AS r) AS q;
SELECT a.id, a.name IS NULL, c.name FROM asynctasq.rows(NULL::authors, asynctasq.defer(o('Author'), 'name')) AS a JOIN companies AS c ON c.id = a.company_id ORDER BY 1;
SELECT count(*), bool_and(got::text = kinds::text) FROM asynctasq.rows(NULL::kinds, asynctasq.objects('queryset_read.kinds')) AS got JOIN kinds USING (id);
SELECT fails($$SELECT asynctasq.rows(NULL::books, o('Author'))$$);
SELECT fails($$SELECT asynctasq.rows(1, o('Author'))$$);
SELECT fails($$SELECT asynctasq.rows(NULL::books, asynctasq.annotate(asynctasq.values(o('Book'), 'author_id'), '{"n": {"Count": "*"}}'))$$);

-- prefetch_related(): lists, single objects, nested, of several columns.
SELECT asynctasq.list(asynctasq.order_by(asynctasq.prefetch_related(asynctasq.only(o('Author'), 'name'), 'books'), 'id'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.prefetch_related(asynctasq.only(o('Author'), 'name'), 'company'), 'id'));
SELECT asynctasq.get(asynctasq.prefetch_related(o('Book'), 'author__books', 'author__company'), '{"pk": 11}');
SELECT asynctasq.list(asynctasq.order_by(asynctasq.prefetch_related(o('Visit'), 'places'), 'id'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.prefetch_related(o('Place'), 'visits'), 'pk'));
SELECT asynctasq.iterate(asynctasq.order_by(asynctasq.prefetch_related(asynctasq.values(o('Author')), 'books'), 'id')) WHERE false;
-- .. of more rows than are held at once.
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent_id int REFERENCES parents);
INSERT INTO parents SELECT generate_series(1, 2500);
INSERT INTO children SELECT i, 1 + i % 2500 FROM generate_series(1, 5000) AS i;
SELECT count(*), sum(jsonb_array_length(q -> 'children')), bool_and((q -> 'children' -> 0 ->> 'parent_id')::int = (q ->> 'id')::int),
	bool_and((q -> 'children' -> 0 -> 'parent') = jsonb_build_object('id', q -> 'id')), count(DISTINCT q)
FROM asynctasq.list(asynctasq.prefetch_related(asynctasq.objects('queryset_read.parents'), 'children__parent')) AS q;
SELECT count(*), sum(jsonb_array_length(q -> 'children'))
FROM (SELECT asynctasq.iterate(asynctasq.prefetch_related(asynctasq.objects('queryset_read.parents'), 'children'), 700) AS q) AS s;

-- iterate(): whatever the chunks are.
SELECT n, string_agg(q ->> 'name', ',') FROM (SELECT n, asynctasq.iterate(asynctasq.order_by(o('Author'), 'id'), n) AS q FROM generate_series(1, 4) AS n) AS s GROUP BY n ORDER BY n;
SELECT count(*) FROM asynctasq.iterate(asynctasq.filter(o('Author'), '{"id": 9}')) AS q;
SELECT asynctasq.iterate(asynctasq.order_by(o('Author'), 'id'), 2) ->> 'name', asynctasq.iterate(asynctasq.order_by(o('Book'), 'id'), 1) ->> 'title';
BEGIN;
SELECT asynctasq.iterate(asynctasq.objects('queryset_read.parents'), 10) LIMIT 11 \g /dev/null
SELECT asynctasq.iterate(asynctasq.objects('queryset_read.parents'), 10) \g /dev/null
SELECT count(*) FROM pg_cursors;
COMMIT;
SELECT fails($$SELECT asynctasq.iterate(o('Author'), 0)$$);
SELECT fails($$SELECT asynctasq.iterate(o('Author'), 100001)$$);
SELECT fails($$SELECT 1 / ((asynctasq.iterate(asynctasq.order_by(o('Author'), 'id'), 1) ->> 'id')::int - 2)$$);
SELECT count(*) FROM pg_cursors;
-- A loop that writes sees the rows as they were, and may commit.
CREATE PROCEDURE grow() LANGUAGE plpgsql AS $$
DECLARE
	row jsonb;
	n int := 0;
BEGIN
	FOR row IN SELECT asynctasq.iterate(asynctasq.objects('queryset_read.parents'), 100) LOOP
		INSERT INTO queryset_read.parents VALUES ((row ->> 'id')::int + 10000);
		n := n + 1;
		IF n = 50 THEN
			COMMIT;
		END IF;
	END LOOP;
	RAISE NOTICE '% rows', n;
END $$;
CALL grow();
SELECT count(*) FROM parents;
-- Its cursor goes with the subtransaction that it was made in.
BEGIN;
DECLARE c CURSOR FOR SELECT asynctasq.iterate(asynctasq.order_by(o('Author'), 'id'), 1) ->> 'name';
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK TO s;
FETCH 1 FROM c;
ROLLBACK;
-- Nor is another one of its name read in its place.
BEGIN;
DECLARE c CURSOR FOR SELECT asynctasq.iterate(asynctasq.order_by(o('Author'), 'id'), 1) ->> 'name';
FETCH 1 FROM c;
SELECT name AS inner FROM pg_cursors WHERE name <> 'c' \gset
CLOSE :"inner";
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK TO s;
DECLARE d CURSOR FOR SELECT asynctasq.iterate(asynctasq.order_by(o('Author'), 'id'), 1) ->> 'name';
FETCH 1 FROM d;
SELECT name AS inner FROM pg_cursors WHERE name NOT IN ('c', 'd') \gset
CLOSE :"inner";
DECLARE :"inner" CURSOR FOR SELECT 1, 2, 3 FROM generate_series(1, 3);
FETCH 1 FROM d;
ROLLBACK;
-- The model must stay what it is.
BEGIN;
SELECT asynctasq.register_model('Changing', 'authors');
DECLARE c CURSOR FOR SELECT asynctasq.iterate(asynctasq.order_by(o('Changing'), 'id'), 1) ->> 'name';
FETCH 1 FROM c;
SELECT asynctasq.register_model('Other', 'books');
FETCH 1 FROM c;
SELECT asynctasq.register_model('Changing', 'books');
FETCH 1 FROM c;
ROLLBACK;

-- in_bulk()
SELECT asynctasq.in_bulk(asynctasq.only(o('Author'), 'name'), '[3, 1, 9, 3]');
SELECT asynctasq.in_bulk(asynctasq.only(o('Author'), 'born')), asynctasq.in_bulk(o('Author'), '[]');
SELECT asynctasq.in_bulk(asynctasq.filter(o('Place'), '{"country": "DE"}')), asynctasq.in_bulk(o('Place'), '[["FR", 1], ["FR", 2]]');
SELECT asynctasq.in_bulk(asynctasq.prefetch_related(asynctasq.only(o('Author'), 'name'), 'books'), '[2]');
SELECT asynctasq.in_bulk(asynctasq.slice(asynctasq.order_by(asynctasq.only(o('Author'), 'name'), 'id'), 1));
CREATE TABLE words (word text PRIMARY KEY);
INSERT INTO words VALUES ('a "b"'), ('');
CREATE TABLE flags (flag bool PRIMARY KEY);
INSERT INTO flags VALUES (true);
SELECT asynctasq.in_bulk(asynctasq.objects('queryset_read.words'), '["a \"b\"", ""]'), asynctasq.in_bulk(asynctasq.objects('queryset_read.flags'));
SELECT fails($$SELECT asynctasq.in_bulk(o('Author'), '{"id": 1}')$$);
SELECT fails($$SELECT asynctasq.in_bulk(o('Author'), '1')$$);
SELECT fails($$SELECT asynctasq.in_bulk(o('Author'), '["x"]')$$);
SELECT fails($$SELECT asynctasq.in_bulk(asynctasq.values(o('Author'), 'name'), '[1]')$$);
SELECT fails($$SELECT asynctasq.in_bulk(asynctasq.slice(o('Author'), 1), '[1]')$$);
SELECT fails($$SELECT asynctasq.in_bulk(asynctasq.objects('queryset_read.notes'))$$);

-- aggregate()
SELECT asynctasq.aggregate(asynctasq.filter(o('Book'), '{"author_id": 1}'), '{"n": {"Count": "*"}, "pages": {"Sum": "pages"}, "last": {"Max": "title"}, "mean": {"Avg": "pages"}}');
SELECT asynctasq.aggregate(asynctasq.filter(o('Book'), '{"id": 9}'), '{"n": {"Count": "*"}, "pages": {"Sum": "pages"}}');
SELECT fails($$SELECT asynctasq.aggregate(o('Book'), NULL)$$);

-- explain(), sql()
SET enable_seqscan = off;
SELECT line FROM asynctasq.explain(asynctasq.filter(o('Book'), '{"pk": 12}')) AS line WHERE line LIKE '%Cond%';
RESET enable_seqscan;
SELECT asynctasq.sql(asynctasq.order_by(asynctasq.filter(o('Book'), '{"pk": 12}'), '-title'));

-- gather_lists(): one that fails does so alone.
CREATE VIEW broken AS SELECT id, 1 / (id - 2) AS bad FROM authors;
CREATE FUNCTION undo() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO queryset_read.notes VALUES ('undone'); RAISE EXCEPTION 'no' USING DETAIL = 'really'; END $$;
CREATE VIEW undoing AS SELECT undo() AS id;
CREATE FUNCTION cancel() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cancelled' USING ERRCODE = 'query_canceled'; END $$;
CREATE VIEW cancelling AS SELECT cancel() AS id;
SELECT * FROM asynctasq.gather_lists(asynctasq.order_by(asynctasq.values(o('Author'), 'name'), 'id'), o('Auhtor'), asynctasq.filter(o('Book'), '{"nope": 1}'),
	asynctasq.objects('queryset_read.broken'), asynctasq.objects('queryset_read.undoing'), asynctasq.filter(o('Author'), '{"id": 9}'),
	asynctasq.order_by(asynctasq.prefetch_related(asynctasq.only(o('Author'), 'name'), 'books', 'company'), 'id'),
	asynctasq.values_list(asynctasq.order_by(o('Book'), 'id'), true, 'id'));
SELECT what FROM notes;
SELECT count(*) FROM asynctasq.gather_lists();
SELECT fails($$SELECT asynctasq.gather_lists(o('Author'), NULL)$$);
SELECT fails($$SELECT asynctasq.gather_lists(VARIADIC NULL::asynctasq.queryset[])$$);
SELECT * FROM asynctasq.gather_lists(o('Author'), asynctasq.objects('queryset_read.cancelling'));

-- A query set that is null is an error everywhere.
SELECT fails(format('SELECT asynctasq.%s', f)) FROM unnest('{get(NULL),first(NULL),last(NULL),count(NULL),exists(NULL),list(NULL),"rows(NULL::authors, NULL)",iterate(NULL),in_bulk(NULL),"aggregate(NULL, ''{}'')",explain(NULL),sql(NULL)}'::text[]) AS f;

-- What the transaction has done is seen, by handlers too.
CREATE FUNCTION seen() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO queryset_read.companies VALUES (2, 'New');
	RETURN asynctasq.count(asynctasq.objects('queryset_read.companies'));
END $$;
SELECT seen();

-- A statement whose table has changed.
ALTER TABLE companies ADD COLUMN city text DEFAULT 'Bonn';
SELECT asynctasq.list(asynctasq.order_by(asynctasq.objects('queryset_read.companies'), 'id'));
ALTER TABLE companies ALTER COLUMN name TYPE varchar, ALTER COLUMN id TYPE bigint;
SELECT asynctasq.get(asynctasq.objects('queryset_read.companies'), '{"id": 2}');

-- Plans are kept, but not any number of them; not while they are in use.
CREATE TABLE wide (id int PRIMARY KEY);
INSERT INTO wide VALUES (1);
DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('ALTER TABLE queryset_read.wide ADD COLUMN c%s int', i); END LOOP; END $$;
CREATE FUNCTION use_many(n int) RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(asynctasq.count(asynctasq.filter(asynctasq.objects('queryset_read.wide'), jsonb_build_object('c' || i || '__isnull', true)))) FROM generate_series(1, n) AS i $$;
CREATE FUNCTION kept(text) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'CachedPlanSource' AND ident LIKE $1 || ' FROM queryset_read.wide%' $$;
SELECT use_many(5), use_many(5), kept('SELECT pg_catalog.count(*)');
SELECT use_many(300), kept('SELECT pg_catalog.count(*)');
CREATE VIEW using_many AS SELECT id, use_many(300) AS n FROM authors;
SELECT asynctasq.list(asynctasq.order_by(asynctasq.objects('queryset_read.using_many'), 'id'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.objects('queryset_read.using_many'), 'id'));

-- Rights are those of the SELECT, with a plan kept for whom it was made too.
CREATE ROLE regress_queryset_reader;
CREATE ROLE regress_queryset_other;
GRANT USAGE ON SCHEMA asynctasq, queryset_read TO regress_queryset_reader, regress_queryset_other;
GRANT SELECT ON authors TO regress_queryset_reader;
CREATE TABLE diary (id int PRIMARY KEY, who name, entry text);
INSERT INTO diary VALUES (1, 'regress_queryset_reader', 'mine'), (2, 'regress_queryset_other', 'theirs');
ALTER TABLE diary ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON diary USING (who = current_user);
GRANT SELECT ON diary TO regress_queryset_reader, regress_queryset_other;
SELECT asynctasq.list(asynctasq.order_by(asynctasq.values_list(asynctasq.objects('queryset_read.diary'), true, 'entry'), 'id'));
SET ROLE regress_queryset_reader;
SELECT asynctasq.list(asynctasq.order_by(asynctasq.values_list(asynctasq.objects('queryset_read.diary'), true, 'entry'), 'id'));
SELECT asynctasq.count(o('Author'));
SELECT fails($$SELECT asynctasq.count(o('Book'))$$);
SELECT fails($$SELECT asynctasq.list(asynctasq.prefetch_related(o('Author'), 'books'))$$);
SET ROLE regress_queryset_other;
SELECT asynctasq.list(asynctasq.order_by(asynctasq.values_list(asynctasq.objects('queryset_read.diary'), true, 'entry'), 'id'));
SELECT fails($$SELECT asynctasq.count(o('Author'))$$);
SELECT * FROM asynctasq.gather_lists(o('Author'), asynctasq.values_list(asynctasq.objects('queryset_read.diary'), true, 'entry'));
RESET ROLE;

-- A relation of somebody who is not trusted is read under guard, whatever plan
-- somebody else has had.
CREATE ROLE regress_queryset_mallory;
GRANT USAGE, CREATE ON SCHEMA queryset_read TO regress_queryset_mallory;
GRANT USAGE ON SCHEMA asynctasq TO regress_queryset_mallory;
CREATE VIEW clock AS SELECT 1 AS id, clock_timestamp() > '2020-01-01' AS late;
GRANT SELECT ON clock TO regress_queryset_reader;
SET ROLE regress_queryset_mallory;
CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
CREATE VIEW bait AS SELECT 1 AS id, trap() AS who;
CREATE TABLE hook (id int PRIMARY KEY, bait_id int);
INSERT INTO hook VALUES (1, 1);
GRANT SELECT ON bait, hook TO regress_queryset_reader;
SELECT asynctasq.list(asynctasq.objects('queryset_read.bait'));
SET ROLE regress_queryset_reader;
SELECT fails($$SELECT asynctasq.list(asynctasq.objects('queryset_read.bait'))$$);
SELECT fails($$SELECT asynctasq.iterate(asynctasq.objects('queryset_read.bait'))$$);
SELECT fails($$SELECT asynctasq.explain(asynctasq.objects('queryset_read.bait'))$$);
SELECT asynctasq.count(asynctasq.objects('queryset_read.hook'));
SELECT ord, rows, error FROM asynctasq.gather_lists(asynctasq.objects('queryset_read.bait'), asynctasq.values(asynctasq.objects('queryset_read.hook')), asynctasq.objects('queryset_read.clock'), asynctasq.values_list(o('Author'), true, 'id'));
SET ROLE regress_queryset_mallory;
SELECT asynctasq.list(asynctasq.objects('queryset_read.bait'));
RESET ROLE;
SELECT fails($$SELECT asynctasq.list(asynctasq.objects('queryset_read.bait'))$$);

SET client_min_messages = warning;
DROP SCHEMA queryset_read CASCADE;
SELECT count(asynctasq.unregister_model(class)) FROM unnest('{Author,Book,Place,Visit}'::text[]) AS class;
REVOKE USAGE ON SCHEMA asynctasq FROM regress_queryset_reader, regress_queryset_other, regress_queryset_mallory;
DROP ROLE regress_queryset_reader, regress_queryset_other, regress_queryset_mallory;
