-- What lookups, paths, expressions and aggregates mean: each is set beside a
-- condition written by hand, and the statement that it becomes is shown.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
CREATE SCHEMA queryset_lookups;
SET search_path = queryset_lookups;
SET timezone = 'UTC';

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE city (
	id int PRIMARY KEY,
	name text NOT NULL);
CREATE TABLE author (
	id int PRIMARY KEY,
	name text NOT NULL,
	city_id int REFERENCES city,
	born timestamptz);
CREATE TABLE profile (
	id int PRIMARY KEY,
	author_id int UNIQUE REFERENCES author,
	bio text);
CREATE TABLE post (
	id bigint PRIMARY KEY,
	title varchar(50) NOT NULL,
	author_id int NOT NULL REFERENCES author,
	editor_id int REFERENCES author,
	views int NOT NULL DEFAULT 0,
	rating numeric(4, 2),
	share percent,
	mood mood,
	tags text[],
	data jsonb,
	created timestamp NOT NULL,
	seen timestamptz,
	day date,
	"odd ""name" text,
	double__name text);
CREATE TABLE comment (
	id int PRIMARY KEY,
	post_id bigint NOT NULL REFERENCES post,
	author_id int REFERENCES author,
	votes int,
	date date,
	txt text);
CREATE TABLE seat (
	hall int,
	no text,
	price numeric(8, 2),
	PRIMARY KEY (hall, no));
CREATE TABLE ticket (
	id int PRIMARY KEY,
	hall int,
	no text,
	FOREIGN KEY (hall, no) REFERENCES seat);

INSERT INTO city VALUES (1, 'Rome'), (2, 'Oslo');
INSERT INTO author VALUES (1, 'Ann', 1, '1980-05-01 12:00+00'),
	(2, 'bob', 2, NULL), (3, 'Cy_d', NULL, '1999-12-31 23:30+00');
INSERT INTO profile VALUES (1, 1, 'writes'), (2, 2, NULL);
INSERT INTO post VALUES
	(1, 'Alpha', 1, NULL, 10, 1.5, 50, 'ok', '{a,b}', '{"k": 1}',
	 '2024-01-01 00:00', '2024-01-01 00:00+00', '2024-02-29', 'x', 'd'),
	(2, 'alphabet', 1, 2, 20, 2.25, 0, 'sad', '{b}', '{"k": 2, "l": [1]}',
	 '2024-12-31 23:59:59.999', '2024-12-31 23:30+00', '2023-07-01', NULL, NULL),
	(3, '100% \_x', 2, 3, 0, NULL, NULL, NULL, NULL, NULL,
	 '2025-06-15 12:00', NULL, NULL, 'it''s "q"', NULL),
	(4, 'Beta', 3, 1, 30, 9.99, 100, 'happy', '{}', '{}',
	 '2023-03-03 03:03', '2023-03-03 03:03+00', '2024-12-31', NULL, 'e');
INSERT INTO comment VALUES (1, 1, 2, 5, '2024-01-02', 'good'),
	(2, 1, 3, -1, '2024-02-03', 'bad'), (3, 2, 2, 7, NULL, 'good'),
	(4, 2, NULL, NULL, NULL, NULL);
INSERT INTO seat VALUES (1, 'a', 5), (1, 'b', 6), (2, 'a', 7);
INSERT INTO ticket VALUES (1, 1, 'a'), (2, 2, 'a'), (3, NULL, NULL),
	(4, 1, NULL);
SELECT asynctasq.register_model('City', 'city', 'django'),
	asynctasq.register_model('Author', 'author', 'django'),
	asynctasq.register_model('Profile', 'profile', 'django'),
	asynctasq.register_model('Post', 'post', 'django'),
	asynctasq.register_model('Comment', 'comment', 'django'),
	asynctasq.register_model('Seat', 'seat', 'django'),
	asynctasq.register_model('Ticket', 'ticket', 'django');

-- The keys of a query set's rows, and what follows SELECT .. FROM in its
-- statement; an error where the condition by hand gives other rows.
CREATE FUNCTION compare(qs asynctasq.queryset, condition text)
RETURNS TABLE (keys text, statement text) LANGUAGE plpgsql AS $$
DECLARE
	"table" text := lower(qs::jsonb ->> 'class');
	expected text;
BEGIN
	keys := (SELECT pg_catalog.jsonb_agg(k ORDER BY k)
		FROM asynctasq.list(asynctasq.values_list(qs, true, 'id')) AS k);
	EXECUTE format('SELECT pg_catalog.jsonb_agg(id ORDER BY id) FROM %I AS t0 WHERE %s',
		"table", condition) INTO expected;
	IF keys IS DISTINCT FROM expected THEN
		RAISE EXCEPTION 'got %, expected % of %', keys, expected,
			asynctasq.sql(qs);
	END IF;
	statement := regexp_replace(asynctasq.sql(asynctasq.values_list(qs, true, 'id')),
		'^SELECT t0.id FROM queryset_lookups.\w+ AS t0 ?', '');
	statement := replace(statement, 'queryset_lookups.', '');
	statement := regexp_replace(statement, 'OPERATOR\(pg_catalog\.([^)]+)\)', '\1', 'g');
	RETURN NEXT;
END $$;
CREATE FUNCTION posts(VARIADIC lookups jsonb[]) RETURNS asynctasq.queryset
LANGUAGE sql AS $$
	SELECT asynctasq.filter(asynctasq.objects('Post', 'django'), VARIADIC lookups)
$$;
\pset format unaligned
\pset fieldsep ' : '
\pset tuples_only on

-- Comparisons.
SELECT * FROM compare(posts('{"title": "Alpha"}'), 'title = $$Alpha$$');
SELECT * FROM compare(posts('{"title__exact": "alpha"}'), 'title = $$alpha$$');
SELECT * FROM compare(posts('{"title__iexact": "ALPHA"}'), 'upper(title) = $$ALPHA$$');
SELECT * FROM compare(posts('{"views__gt": 10}'), 'views > 10');
SELECT * FROM compare(posts('{"views__gte": 10}'), 'views >= 10');
SELECT * FROM compare(posts('{"views__lt": 10}'), 'views < 10');
SELECT * FROM compare(posts('{"views__lte": "10"}'), 'views <= 10');
SELECT * FROM compare(posts('{"rating__range": [1.5, 2.25]}'), 'rating BETWEEN 1.5 AND 2.25');
SELECT * FROM compare(posts('{"views__in": [0, 30, null, 99]}'), 'views IN (0, 30, 99)');
SELECT * FROM compare(posts('{"views__in": []}'), 'false');
SELECT * FROM compare(posts('{"editor": null}'), 'editor_id IS NULL');
SELECT * FROM compare(posts('{"rating__isnull": true}'), 'rating IS NULL');
SELECT * FROM compare(posts('{"rating__isnull": false}'), 'rating IS NOT NULL');
SELECT * FROM compare(posts('{"mood": "ok"}'), 'mood = $$ok$$');
SELECT * FROM compare(posts('{"mood__gt": "sad"}'), 'mood > $$sad$$');
SELECT * FROM compare(posts('{"mood__in": ["sad", "happy"]}'), 'mood IN ($$sad$$, $$happy$$)');
SELECT * FROM compare(posts('{"share__gte": 50}'), 'share >= 50');
SELECT * FROM compare(posts('{"share": 200}'), 'share = 200');
SELECT * FROM compare(posts('{"tags": ["b"]}'), 'tags = $${b}$$');
SELECT * FROM compare(posts('{"data": {"k": 1}}'), 'data = $${"k": 1}$$');

-- Text. What LIKE has a meaning for is taken as it stands.
SELECT * FROM compare(posts('{"title__contains": "lph"}'), 'title LIKE $$%lph%$$');
SELECT * FROM compare(posts('{"title__contains": "% \\_"}'), 'strpos(title, $$% \_$$) > 0');
SELECT * FROM compare(posts('{"title__icontains": "LPH"}'), 'title ILIKE $$%LPH%$$');
SELECT * FROM compare(posts('{"title__startswith": "Al"}'), 'title LIKE $$Al%$$');
SELECT * FROM compare(posts('{"title__istartswith": "Al"}'), 'title ILIKE $$Al%$$');
SELECT * FROM compare(posts('{"title__endswith": "ta"}'), 'title LIKE $$%ta$$');
SELECT * FROM compare(posts('{"title__iendswith": "HA"}'), 'title ILIKE $$%HA$$');
SELECT * FROM compare(posts('{"title__regex": "^[Ab]"}'), 'title ~ $$^[Ab]$$');
SELECT * FROM compare(posts('{"title__iregex": "^[Ab]"}'), 'title ~* $$^[Ab]$$');
SELECT * FROM compare(posts('{"views__startswith": 1}'), 'views::text LIKE $$1%$$');
SELECT * FROM compare(posts('{"tags__contains": ["a"]}'), 'tags @> $${a}$$');
SELECT * FROM compare(posts('{"data__contains": {"l": []}}'), 'data @> $${"l": []}$$');

-- Dates.
SELECT * FROM compare(posts('{"created__year": 2024}'), 'extract(year FROM created) = 2024');
SELECT * FROM compare(posts('{"created__year__gt": 2023}'), 'extract(year FROM created) > 2023');
SELECT * FROM compare(posts('{"created__year__gte": 2024}'), 'extract(year FROM created) >= 2024');
SELECT * FROM compare(posts('{"created__year__lt": 2024}'), 'extract(year FROM created) < 2024');
SELECT * FROM compare(posts('{"created__year__lte": 2024}'), 'extract(year FROM created) <= 2024');
SELECT * FROM compare(posts('{"created__year__range": [2024, 2025]}'), 'extract(year FROM created) BETWEEN 2024 AND 2025');
SELECT * FROM compare(posts('{"created__year__in": [2023, 2025]}'), 'extract(year FROM created) IN (2023, 2025)');
SELECT * FROM compare(posts('{"day__month": 2}'), 'extract(month FROM day) = 2');
SELECT * FROM compare(posts('{"day__day__gte": 29}'), 'extract(day FROM day) >= 29');
SELECT * FROM compare(posts('{"created__date": "2024-12-31"}'), 'created::date = $$2024-12-31$$');
SELECT * FROM compare(posts('{"seen__date__gt": "2024-01-01"}'), 'seen::date > $$2024-01-01$$');
SET timezone = 'Asia/Tokyo';
SELECT * FROM compare(posts('{"seen__year": 2025}'), 'extract(year FROM seen) = 2025');
SELECT * FROM compare(posts('{"seen__date": "2025-01-01"}'), 'seen::date = $$2025-01-01$$');
SET timezone = 'UTC';

-- Keys and relations.
SELECT * FROM compare(posts('{"pk": 2}'), 'id = 2');
SELECT * FROM compare(posts('{"pk__in": [1, 2]}'), 'id IN (1, 2)');
SELECT * FROM compare(posts('{"author": 1}'), 'author_id = 1');
SELECT * FROM compare(posts('{"author_id": 1}'), 'author_id = 1');
SELECT * FROM compare(posts('{"author__id__in": [2, 3]}'), 'author_id IN (2, 3)');
SELECT * FROM compare(posts('{"author__pk__gt": 1}'), 'author_id > 1');
SELECT * FROM compare(posts('{"author__name": "Ann"}'),
	'(SELECT name FROM author WHERE id = author_id) = $$Ann$$');
SELECT * FROM compare(posts('{"author__city__name": "Oslo", "author__name__startswith": "b"}'),
	'(SELECT c.name FROM author AS a JOIN city AS c ON c.id = a.city_id WHERE a.id = author_id) = $$Oslo$$');
SELECT * FROM compare(posts('{"editor__name__gt": "C"}'),
	'(SELECT name FROM author WHERE id = editor_id) > $$C$$');
SELECT * FROM compare(posts('{"editor__city__isnull": true}'),
	'(SELECT city_id FROM author WHERE id = editor_id) IS NULL');
SELECT * FROM compare(posts('{"author__profile__bio": "writes"}'), 'author_id = 1');
SELECT * FROM compare(posts('{"author__profile__isnull": true}'), 'author_id = 3');
SELECT * FROM compare(posts('{"odd \"name": "it''s \"q\""}'), 'id = 3');
SELECT * FROM compare(posts('{"double__name": "d"}'), 'id = 1');
SELECT * FROM compare(posts('{"double__name__in": ["e"]}'), 'id = 4');

-- Relations to many rows: conditions of one filter() hold for the same row.
SELECT * FROM compare(posts('{"comment": 3}'), 'id = 2');
SELECT * FROM compare(posts('{"comment__in": [1, 2]}'), 'id = 1');
SELECT * FROM compare(posts('{"comment__isnull": true}'), 'id IN (3, 4)');
SELECT * FROM compare(posts('{"comment__isnull": false}'), 'id IN (1, 2)');
SELECT * FROM compare(posts('{"comment__date": "2024-01-02"}'), 'id = 1');
SELECT * FROM compare(posts('{"comment__date__year": 2024}'), 'id = 1');
SELECT * FROM compare(posts('{"comment__txt": "good", "comment__votes__lt": 0}'), 'false');
SELECT * FROM compare(posts('{"comment__txt": "good"}', '{"comment__votes__lt": 0}'), 'false');
SELECT * FROM compare(asynctasq.filter(posts('{"comment__txt": "good"}'), '{"comment__votes__lt": 0}'), 'id = 1');
SELECT * FROM compare(posts('{"comment__author__name": "Cy_d"}'), 'id = 1');
SELECT * FROM compare(posts('{"comment__author__city__name": "Oslo"}'), 'id IN (1, 2)');
SELECT * FROM compare(asynctasq.filter(asynctasq.objects('City'), '{"author__comment__votes": 7}'), 'id = 2');
SELECT * FROM compare(asynctasq.filter(asynctasq.objects('Author'), '{"post_editor__title": "Beta"}'), 'id = 1');
SELECT * FROM compare(asynctasq.filter(asynctasq.objects('Author'), '{"post_author__title": "Beta"}'), 'id = 3');

-- And, or, not. exclude() gives all rows that filter() does not.
SELECT * FROM compare(posts('{"or": [{"views": 0}, {"views": 30}]}'), 'views = 0 OR views = 30');
SELECT * FROM compare(posts('{"or": [{"views": 0}, {"and": [{"title": "Beta"}, {"views": 30}]}], "rating__isnull": false}'), 'id = 4');
SELECT * FROM compare(posts('{"not": {"rating__gt": 2}}'), '(rating > 2) IS NOT TRUE');
SELECT * FROM compare(posts('{"not": {"views__gt": 10}}'), 'NOT views > 10');
SELECT * FROM compare(posts('{"not": [{"views": 0}, {"title": "x"}]}'), 'true');
SELECT * FROM compare(asynctasq.exclude(asynctasq.objects('Post'), '{"editor__name": "bob"}'), 'editor_id IS DISTINCT FROM 2');
SELECT * FROM compare(asynctasq.exclude(asynctasq.objects('Post'), '{"comment__votes__gt": 0}'), 'id IN (3, 4)');
SELECT * FROM compare(asynctasq.exclude(asynctasq.objects('Post'), '{"comment__votes__gt": 0, "views": 10}'), 'id <> 1');
SELECT * FROM compare(posts('{"or": []}'), 'true');
SELECT * FROM compare(posts('{"and": [{}, {"not": {}}]}'), 'true');

-- Keys of several columns.
CREATE FUNCTION keys(qs asynctasq.queryset) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(k::text, ' ' ORDER BY k) FROM asynctasq.list(asynctasq.values_list(qs, true, 'pk')) AS k
$$;
SELECT keys(asynctasq.filter(asynctasq.objects('Seat'), '{"pk": [1, "b"]}'));
SELECT keys(asynctasq.filter(asynctasq.objects('Seat'), '{"pk__in": [[1, "a"], [2, "a"], [3, "c"]]}'));
SELECT keys(asynctasq.filter(asynctasq.objects('Seat'), '{"ticket__isnull": true}'));
SELECT keys(asynctasq.filter(asynctasq.objects('Ticket'), '{"seat": [1, "a"]}'));
SELECT keys(asynctasq.filter(asynctasq.objects('Ticket'), '{"seat__in": [[2, "a"]]}'));
SELECT keys(asynctasq.filter(asynctasq.objects('Ticket'), '{"seat__isnull": true}'));
SELECT keys(asynctasq.filter(asynctasq.objects('Ticket'), '{"seat": null}'));
SELECT keys(asynctasq.exclude(asynctasq.objects('Ticket'), '{"seat": [1, "a"]}'));
SELECT keys(asynctasq.filter(asynctasq.objects('Ticket'), '{"seat__price__lt": 7}'));

-- Query sets as values.
SELECT * FROM compare(posts(jsonb_build_object('author__in',
	asynctasq.filter(asynctasq.objects('Author'), '{"city__name": "Rome"}')::jsonb)), 'author_id = 1');
SELECT * FROM compare(posts(jsonb_build_object('views__in',
	asynctasq.values_list(asynctasq.slice(asynctasq.order_by(asynctasq.objects('Post'), '-views'), 0, 1), true, 'views')::jsonb)), 'views = 30');
SELECT keys(asynctasq.filter(asynctasq.objects('Ticket'), jsonb_build_object('seat__in',
	asynctasq.filter(asynctasq.objects('Seat'), '{"price": 7}')::jsonb)));

-- Expressions.
SELECT * FROM compare(posts('{"id": {"F": "author"}}'), 'id = author_id');
SELECT * FROM compare(posts('{"views__gt": {"F": ["id", "*", 9]}}'), 'views > id * 9');
SELECT * FROM compare(posts('{"rating__lt": {"F": [["id", "+", 0.5], "/", {"F": "author__id"}]}}'), 'rating < (id + 0.5) / author_id');
SELECT * FROM compare(posts('{"day__gt": {"F": ["day", "-", 1]}}'), 'day IS NOT NULL');
SELECT * FROM compare(posts('{"created__lt": {"F": ["created", "+", {"Value": "1 day"}]}}'), 'true');
SELECT * FROM compare(posts('{"title__lt": {"F": ["title", "||", {"Value": "!"}]}}'), 'true');

-- Annotations.
\pset tuples_only off
SELECT asynctasq.list(asynctasq.values(asynctasq.order_by(asynctasq.annotate(asynctasq.objects('Post'),
	'{"n": {"Count": "comment"}, "best": {"Max": "comment__votes"},
	  "good": {"Sum": "comment__votes", "filter": {"comment__txt": "good"}},
	  "voters": {"Count": "comment__author", "distinct": true},
	  "twice": {"F": ["views", "*", 2]}}'), '-n', 'id'),
	'id', 'n', 'best', 'good', 'voters', 'twice'));
SELECT asynctasq.list(asynctasq.values(asynctasq.filter(asynctasq.annotate(asynctasq.objects('Post'),
	'{"n": {"Count": "comment"}}'), '{"n__gt": 0, "n__lte": {"F": "id"}}'), 'id', 'n'));
SELECT asynctasq.sql(asynctasq.values(asynctasq.order_by(asynctasq.annotate(asynctasq.objects('Post'),
	'{"n": {"Count": "comment"}}'), '-n'), 'id', 'n'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.annotate(asynctasq.objects('City'),
	'{"n": {"Count": "author__comment"}, "votes": {"Sum": "author__comment__votes"},
	  "good": {"Count": "author__comment", "filter": {"author__comment__txt": "good", "author__name": "bob"}}}'), 'id'));
-- over groups
SELECT asynctasq.list(asynctasq.order_by(asynctasq.annotate(asynctasq.values(asynctasq.objects('Post'), 'author'),
	'{"n": {"Count": "*"}, "sum": {"Sum": "views", "filter": {"views__gt": 10}}}'), 'author'));
SELECT asynctasq.list(asynctasq.filter(asynctasq.annotate(asynctasq.values(
	asynctasq.filter(asynctasq.objects('Post'), '{"views__lt": 100}'), 'author__name'),
	'{"n": {"Count": "*"}}'), '{"n__gt": 1, "or": [{"n": 2}, {"n": 3}]}'));
SELECT asynctasq.sql(asynctasq.filter(asynctasq.annotate(asynctasq.values(asynctasq.objects('Post'), 'author'),
	'{"n": {"Count": "*"}}'), '{"n__gt": 1, "views__gt": 0}'));
-- .. which an annotation may make
SELECT asynctasq.list(asynctasq.order_by(asynctasq.annotate(asynctasq.values(asynctasq.annotate(asynctasq.objects('Post'),
	'{"n": {"Count": "comment"}}'), 'n'), '{"posts": {"Count": "*"}, "sum": {"Sum": "views"}}'), 'n'));

-- Aggregates.
SELECT asynctasq.aggregate(asynctasq.objects('Post'),
	'{"n": {"Count": "*"}, "rated": {"Count": "rating"}, "views": {"Sum": "views"},
	  "avg": {"Avg": "views"}, "first": {"Min": "title"}, "last": {"Max": "created"},
	  "mood": {"Max": "mood"}, "many": {"Count": "*", "filter": {"views__gt": 10}},
	  "authors": {"Count": "author", "distinct": true}, "double": {"Sum": {"F": ["views", "*", 2]}}}');
SELECT asynctasq.aggregate(posts('{"views__lte": 20}'),
	'{"comments": {"Count": "comment"}, "votes": {"Sum": "comment__votes"},
	  "mean": {"Avg": "comment__votes", "filter": {"comment__txt": "good"}}, "n": {"Count": "*"}}');
SELECT asynctasq.aggregate(asynctasq.slice(asynctasq.order_by(asynctasq.objects('Post'), '-views'), 0, 2),
	'{"views": {"Sum": "views"}}');
SELECT asynctasq.aggregate(asynctasq.annotate(asynctasq.objects('Post'), '{"n": {"Count": "comment"}}'),
	'{"most": {"Max": "n"}}');
SELECT asynctasq.aggregate(asynctasq.objects('City'),
	'{"n": {"Count": "author__comment"}, "votes": {"Sum": "author__comment__votes", "filter": {"author__comment__votes__gt": 5}}}');
SELECT asynctasq.aggregate(asynctasq.objects('Seat'), '{"n": {"Count": "ticket__seat"}}');
SELECT asynctasq.aggregate(posts('{"views": -1}'), '{"n": {"Count": "*"}, "s": {"Sum": "views"}}');

-- What is wrong, and where.
\set VERBOSITY default
SELECT asynctasq.count(posts('{"viewz": 1}'));
SELECT asynctasq.count(posts('{"author__nam": 1}'));
SELECT asynctasq.count(posts('{"comment__vote": 1}'));
SELECT asynctasq.count(posts('{"views__gtt": 1}'));
SELECT asynctasq.count(posts('{"views__gt__lt": 1}'));
SELECT asynctasq.count(posts('{"views__year": 1}'));
SELECT asynctasq.count(posts('{"created__year": 0}'));
SELECT asynctasq.count(posts('{"created__month": "x"}'));
SELECT asynctasq.count(posts('{"views": "ten"}'));
SELECT asynctasq.count(posts('{"views": [1]}'));
SELECT asynctasq.count(posts('{"views": {"a": 1}}'));
SELECT asynctasq.count(posts('{"views__in": 1}'));
SELECT asynctasq.count(posts('{"views__in": ["ten"]}'));
SELECT asynctasq.count(posts('{"views__range": [1]}'));
SELECT asynctasq.count(posts('{"views__range": [1, null]}'));
SELECT asynctasq.count(posts('{"views__isnull": 1}'));
SELECT asynctasq.count(posts('{"views__gt": null}'));
SELECT asynctasq.count(posts('{"mood": "glad"}'));
SELECT asynctasq.count(posts('{"title__regex": "("}'));
SELECT asynctasq.count(posts('{"or": {"views": 1}}'));
SELECT asynctasq.count(posts('{"views": {"F": ["views", "^", 1]}}'));
SELECT asynctasq.count(posts('{"views": {"F": ["views", "+", "title"]}}'));
SELECT asynctasq.count(posts('{"title": {"F": [{"Value": "Al"}, "||", {"Value": "pha"}]}}'));
SELECT asynctasq.count(posts('{"views": {"F": "viewz"}}'));
SELECT asynctasq.count(posts('{"views": {"F": "comment__votes"}}'));
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('Seat'), '{"pk": 1}'));
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('Seat'), '{"pk__in": [[1]]}'));
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('Seat'), '{"pk__gt": [1, "a"]}'));
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('Author'), '{"post__title": "x"}'));
SELECT asynctasq.count(asynctasq.objects('Pots'));
SELECT asynctasq.count(asynctasq.objects('Nothing like it', 'django'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.objects('Post'), 'titel'));
SELECT asynctasq.list(asynctasq.order_by(asynctasq.objects('Post'), 'comment__votes'));
SELECT asynctasq.list(asynctasq.values(asynctasq.objects('Post'), 'author__nme'));
SELECT asynctasq.list(asynctasq.only(asynctasq.objects('Post'), 'nme'));
SELECT asynctasq.list(asynctasq.select_related(asynctasq.objects('Post'), 'comment'));
SELECT asynctasq.list(asynctasq.select_related(asynctasq.objects('Post'), 'autor'));
SELECT asynctasq.list(asynctasq.prefetch_related(asynctasq.objects('Post'), 'coment'));
SELECT asynctasq.list(asynctasq.annotate(asynctasq.objects('Post'), '{"n": {"Count": "*"}}'));
SELECT asynctasq.list(asynctasq.annotate(asynctasq.objects('Post'), '{"n": {"Sum": "comment"}}'));
SELECT asynctasq.list(asynctasq.annotate(asynctasq.objects('Post'), '{"n": {"Median": "comment"}}'));
SELECT asynctasq.list(asynctasq.annotate(asynctasq.objects('Post'), '{"n": {"Sum": "comment__txt"}}'));
SELECT asynctasq.list(asynctasq.annotate(asynctasq.objects('Post'), '{"views": {"Count": "comment"}}'));
SELECT asynctasq.list(asynctasq.annotate(asynctasq.values(asynctasq.objects('Post'), 'author'),
	'{"n": {"Count": "*"}, "c": {"Count": "comment"}}'));
SELECT asynctasq.aggregate(asynctasq.objects('Post'), '{"n": {"F": "views"}}');
SELECT asynctasq.aggregate(asynctasq.objects('Post'), '{"n": {"Count": "*", "of": 1}}');
SELECT asynctasq.aggregate(asynctasq.objects('Post'), '{}');

-- Aggregates over relations alone, of no row and of several.
SELECT asynctasq.aggregate(asynctasq.filter(asynctasq.objects('Author'), '{"id": 0}'), '{"n": {"Count": "post_author"}, "m": {"Max": "post_author__views"}}');
SELECT asynctasq.aggregate(asynctasq.slice(asynctasq.objects('Author'), 100), '{"m": {"Min": "comment"}}');
SELECT asynctasq.aggregate(asynctasq.filter(asynctasq.objects('Author'), '{"id__gt": 1}'), '{"n": {"Count": "comment"}}');
SELECT asynctasq.aggregate(asynctasq.filter(asynctasq.objects('Author'), '{"id": 0}'), '{"n": {"Count": "comment"}, "a": {"Count": "*"}}');

-- Columns whose types have operators of their own, in another schema.
CREATE SCHEMA queryset_lookups_own;
CREATE FUNCTION queryset_lookups_own.lt(mood, mood) RETURNS bool IMMUTABLE STRICT LANGUAGE internal AS 'enum_lt';
CREATE FUNCTION queryset_lookups_own.le(mood, mood) RETURNS bool IMMUTABLE STRICT LANGUAGE internal AS 'enum_le';
CREATE FUNCTION queryset_lookups_own.eq(mood, mood) RETURNS bool IMMUTABLE STRICT LANGUAGE internal AS 'enum_eq';
CREATE FUNCTION queryset_lookups_own.ge(mood, mood) RETURNS bool IMMUTABLE STRICT LANGUAGE internal AS 'enum_ge';
CREATE FUNCTION queryset_lookups_own.gt(mood, mood) RETURNS bool IMMUTABLE STRICT LANGUAGE internal AS 'enum_gt';
CREATE FUNCTION queryset_lookups_own.cmp(mood, mood) RETURNS int IMMUTABLE STRICT LANGUAGE internal AS 'enum_cmp';
CREATE OPERATOR queryset_lookups_own.< (LEFTARG = mood, RIGHTARG = mood, FUNCTION = queryset_lookups_own.lt);
CREATE OPERATOR queryset_lookups_own.<= (LEFTARG = mood, RIGHTARG = mood, FUNCTION = queryset_lookups_own.le);
CREATE OPERATOR queryset_lookups_own.= (LEFTARG = mood, RIGHTARG = mood, FUNCTION = queryset_lookups_own.eq);
CREATE OPERATOR queryset_lookups_own.>= (LEFTARG = mood, RIGHTARG = mood, FUNCTION = queryset_lookups_own.ge);
CREATE OPERATOR queryset_lookups_own.> (LEFTARG = mood, RIGHTARG = mood, FUNCTION = queryset_lookups_own.gt);
CREATE OPERATOR CLASS queryset_lookups_own.ops DEFAULT FOR TYPE mood USING btree AS
	OPERATOR 1 queryset_lookups_own.<, OPERATOR 2 queryset_lookups_own.<=, OPERATOR 3 queryset_lookups_own.=,
	OPERATOR 4 queryset_lookups_own.>=, OPERATOR 5 queryset_lookups_own.>, FUNCTION 1 queryset_lookups_own.cmp(mood, mood);
CREATE TABLE feeling (mood mood, n int, PRIMARY KEY (mood, n));
INSERT INTO feeling VALUES ('sad', 1), ('ok', 1), ('ok', 2);
SELECT asynctasq.sql(asynctasq.filter(asynctasq.objects('queryset_lookups.feeling'), '{"pk__in": [["ok", 1], ["sad", 2]]}'));
SELECT asynctasq.list(asynctasq.filter(asynctasq.objects('queryset_lookups.feeling'), '{"pk__in": [["ok", 1], ["sad", 2]]}'));
SELECT asynctasq.sql(asynctasq.filter(asynctasq.objects('queryset_lookups.feeling'), '{"mood__in": {"class": "queryset_lookups.feeling", "values": ["mood"]}}'));
SELECT asynctasq.sql(asynctasq.filter(asynctasq.objects('queryset_lookups.feeling'), '{"n__in": {"class": "queryset_lookups.post", "values": ["id"]}}'));
SELECT asynctasq.count(asynctasq.filter(asynctasq.objects('queryset_lookups.feeling'), '{"n__in": {"class": "queryset_lookups.post", "values": ["id"]}}'));
SELECT asynctasq.list(asynctasq.filter(asynctasq.objects('queryset_lookups.feeling'),
	'{"pk__in": {"class": "queryset_lookups.feeling", "where": [{"n": 1}]}}'));
SELECT asynctasq.list(asynctasq.exclude(asynctasq.objects('queryset_lookups.feeling'),
	'{"pk__in": {"class": "queryset_lookups.feeling", "where": [{"n": 1}]}}'));

SELECT count(asynctasq.unregister_model(c, 'django')) FROM unnest('{City,Author,Profile,Post,Comment,Seat,Ticket}'::text[]) AS c;
DROP SCHEMA queryset_lookups, queryset_lookups_own CASCADE;
