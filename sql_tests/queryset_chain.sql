-- Query sets as values: the type, and the functions that make one from another.
-- None of them looks a name up, so no model is there.  Some names are keywords
-- and so need the schema.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\getenv abs_builddir PG_ABS_BUILDDIR
\set file :abs_builddir '/results/queryset_chain.data'

CREATE ROLE regress_atq_chain LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_chain;
CREATE SCHEMA regress_atq_chain AUTHORIZATION regress_atq_chain;
SET SESSION AUTHORIZATION regress_atq_chain;
SET search_path = regress_atq_chain, asynctasq;

-- What a command is refused with.
CREATE FUNCTION refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(hint, ''));
END $$;

-- A start.
SELECT objects('User');
SELECT objects('User', 'django');
SELECT objects('shop.users', NULL);
SELECT refusal('SELECT asynctasq.objects(NULL)');

-- Conditions.
SELECT filter(objects('User'), '{"name": "Ada", "age__gte": 18}');
SELECT filter(objects('User'), '{"name": "Ada"}', '{"age": 18}');
SELECT filter(filter(objects('User'), '{"name": "Ada"}'), '{"age": 18}');
SELECT filter(objects('User'), '{"or": [{"name": "Ada"}, {"not": {"and": [{"a": 1}, {"b": null}]}}]}');
SELECT exclude(objects('User'), '{"name": "Ada", "age": 18}');
SELECT exclude(objects('User'), '{"name": "Ada"}', '{"age": 18}');
-- those that say nothing
SELECT filter(objects('User'));
SELECT filter(objects('User'), '{}');
SELECT filter(objects('User'), '{}', '{"age": 18}');
SELECT filter(objects('User'), VARIADIC '{}'), exclude(objects('User')),
    exclude(objects('User'), '{}', '{}');
SELECT filter(NULL, '{"age": 18}') IS NULL AS of_nothing;
-- what is no condition
SELECT condition, refusal(format('SELECT asynctasq.filter(asynctasq.objects(%L), %L)', 'User', condition)) AS filter,
    refusal(format('SELECT asynctasq.exclude(asynctasq.objects(%L), %L, %L)', 'User', '{"a": 1}', condition))
        = refusal(format('SELECT asynctasq.filter(asynctasq.objects(%L), %L)', 'User', condition)) AS excluded_alike
FROM unnest(ARRAY['1', '"a"', 'null', '[]', '[{"a": 1}]', '{"and": {}}',
    '{"and": [1]}', '{"or": null}', '{"or": [[]]}', '{"or": [{"and": 1}]}',
    '{"not": [{"a": 1}]}', '{"not": "a"}', '{"not": [1]}', '{"not": {"not": 1}}', '{"a": {"or": 1}}', NULL]) AS condition;
-- as deep as the stack is
SELECT refusal(format('SELECT asynctasq.filter(asynctasq.objects(''User''), (repeat(''{"not": '', %s) || ''{}'' || repeat(''}'', %s))::jsonb)',
    depth, depth)) AS refusal
FROM unnest(ARRAY[100, 1000000]) AS depth;

-- Order.
SELECT order_by(objects('User'), 'name', '-id', '?');
SELECT order_by(order_by(objects('User'), 'name'), '-id');
SELECT order_by(order_by(objects('User'), 'name'));
SELECT reverse(order_by(objects('User'), 'name')), reverse(reverse(objects('User')));
SELECT order_by(reverse(objects('User')), 'name') AS still_reversed;
SELECT refusal('SELECT asynctasq.order_by(asynctasq.objects(''User''), ''a'', NULL)');

-- Distinct rows.
SELECT asynctasq.distinct(objects('User')), asynctasq.distinct(objects('User'), 'name', 'id');
SELECT asynctasq.distinct(asynctasq.distinct(objects('User'), 'name')), asynctasq.distinct(asynctasq.distinct(objects('User'), 'name'), 'id');

-- Slices.
SELECT start, stop, slice(objects('User'), start, stop)::jsonb -> 'slice' AS slice,
    slice(slice(objects('User'), 10, 20), start, stop)::jsonb -> 'slice' AS of_10_20,
    slice(slice(objects('User'), 10, NULL), start, stop)::jsonb -> 'slice' AS of_10_on
FROM (VALUES (0, 5), (3, 5), (5, 3), (3, NULL), (NULL, 4), (NULL, NULL), (8, 15), (15, 30),
    (0, 0), (2147483647, 2147483647)) AS s (start, stop);
SELECT slice(objects('User'), 2);
SELECT slice('{"class": "User", "slice": [9223372036854775800, null]}', 100, 200)::jsonb -> 'slice' AS at_the_end;
SELECT slice(NULL, 1, 2) IS NULL AS of_nothing;
SELECT refusal(format('SELECT asynctasq.slice(asynctasq.objects(''User''), %s)', bounds))
FROM unnest(ARRAY['-1, 2', '0, -1']) AS bounds;
-- and after one
SELECT call, refusal(format('SELECT asynctasq.%s', replace(call, '$', 'asynctasq.slice(asynctasq.objects(''User''), 0, 5)')))
FROM unnest(ARRAY['filter($, ''{"a": 1}'')', 'exclude($, ''{"a": 1}'')',
    'order_by($, ''a'')', 'reverse($)', 'distinct($)', 'filter($, ''{}'')',
    'values($, ''a'')', 'annotate($, ''{"n": {"Count": "*"}}'')', 'only($, ''a'')',
    'select_related($, ''a'')', 'prefetch_related($, ''a'')', 'using($, ''s'')']) AS call;

-- Columns.
SELECT asynctasq.only(objects('User'), 'a', 'b'), asynctasq.only(asynctasq.only(objects('User'), 'a', 'b'), 'c');
SELECT asynctasq.only(asynctasq.only(objects('User'), 'a'));
SELECT defer(defer(objects('User'), 'a', 'b'), 'b', 'c');
SELECT asynctasq.only(defer(objects('User'), 'a'), 'a', 'b') AS not_the_deferred;
SELECT defer(asynctasq.only(objects('User'), 'a', 'b'), 'b', 'c') AS the_rest_of_only,
    defer(asynctasq.only(objects('User'), 'a'), 'a', 'c') AS nothing_of_only;
SELECT defer(defer(objects('User'), 'a'), NULL), defer(asynctasq.only(objects('User'), 'a'), NULL);
SELECT refusal('SELECT asynctasq.only(asynctasq.objects(''User''), NULL)');

-- Values.
SELECT asynctasq.values(objects('User')), asynctasq.values(objects('User'), 'a', 'b__c');
SELECT values_list(objects('User'), false, 'a', 'b'), values_list(objects('User'), false);
SELECT values_list(objects('User'), true, 'a');
SELECT refusal(format('SELECT asynctasq.values_list(asynctasq.objects(''User''), true%s)', fields))
FROM unnest(ARRAY['', ', ''a'', ''b''']) AS fields;
SELECT values_list(asynctasq.values(objects('User'), 'a'), true, 'b'),
    asynctasq.values(values_list(objects('User'), true, 'b'), 'a');
-- what concerns objects goes, and cannot come
SELECT asynctasq.values(prefetch_related(select_related(asynctasq.only(objects('User'), 'a'), 'b'), 'c'), 'a'),
    asynctasq.values(defer(objects('User'), 'a'));
SELECT call, refusal(format('SELECT asynctasq.%s(asynctasq.values_list(asynctasq.objects(''User''), false), ''a'')', call))
FROM unnest(ARRAY['only', 'defer', 'select_related', 'prefetch_related', 'order_by', 'distinct']) AS call;

-- Related objects.
SELECT select_related(select_related(objects('User'), 'a', 'b__c'), 'd', 'a');
SELECT prefetch_related(prefetch_related(objects('User'), 'a', 'b__c'), 'd', 'a');
SELECT select_related(select_related(objects('User'), 'a'), NULL),
    prefetch_related(prefetch_related(objects('User'), 'a'), NULL);
SELECT refusal(format('SELECT asynctasq.%s(asynctasq.objects(''User''), ''a'', NULL)', call))
FROM unnest(ARRAY['select_related', 'prefetch_related', 'defer']) AS call;

-- Annotations.
SELECT annotate(objects('User'), '{"n": {"Count": "comment"}, "last": {"Max": "comment__id", "filter": {"a": 1}}}');
SELECT annotate(annotate(objects('User'), '{"n": {"Count": "comment"}}'), '{"a": {"F": ["b", "+", 1]}}');
SELECT annotate(asynctasq.values(objects('User'), 'a', 'b'), '{"n": {"Count": "*"}}') AS grouped;
SELECT annotate(annotate(asynctasq.values(objects('User'), 'a'), '{"n": {"Count": "*"}}'), '{"m": {"Max": "b"}}') AS once;
SELECT asynctasq.values(annotate(asynctasq.values(objects('User'), 'a'), '{"n": {"Count": "*"}}'), 'n') AS stays_grouped;
SELECT annotate(asynctasq.values(annotate(objects('User'), '{"n": {"Count": "comment"}}'), 'n'), '{"m": {"Count": "*"}}') AS grouped_by_annotation;
SELECT annotate(values_list(objects('User'), false, 'a'), '{"n": {"Avg": "b"}}') AS listed,
    annotate(values_list(objects('User'), true, 'a'), '{"n": {"Min": "b"}}') AS flat;
SELECT annotate(asynctasq.values(objects('User'), 'a'), '{"b": {"F": ["b", "+", 1]}}') AS not_grouped,
    annotate(asynctasq.values(objects('User')), '{"n": {"Sum": "b"}}') AS neither;
SELECT annotate(objects('User'), '{}');
SELECT refusal(format('SELECT asynctasq.annotate(asynctasq.annotate(asynctasq.objects(''User''), ''{"n": {"Count": "*"}}''), %L)', annotations))
FROM unnest(ARRAY['{"n": {"Sum": "a"}}', '{"m": "Sum"}', '{"m": [{"Sum": "a"}]}', '[]', '1']) AS annotations;

-- Servers.
SELECT asynctasq.using(objects('User'), 'replica'), asynctasq.using(asynctasq.using(objects('User'), 'replica'), NULL);
SELECT asynctasq.using(NULL, 'replica') IS NULL AS of_nothing;

-- The value a query set came from is as it was.
DO $$
DECLARE
    one asynctasq.queryset := asynctasq.filter(asynctasq.objects('User'), '{"a": 1}');
    other asynctasq.queryset := asynctasq.slice(asynctasq.order_by(one, 'a'), 0, 1);
BEGIN
    ASSERT one::jsonb = '{"class": "User", "where": [{"a": 1}]}';
    ASSERT other::jsonb <> one::jsonb;
END $$;

-- As JSON and back: the same value, in one form whatever was given.
CREATE TABLE sets (qs queryset);
INSERT INTO sets VALUES
    (objects('User', 'django')),
    (slice(order_by(exclude(filter(objects('User'), '{"a": [1, {"b": null}]}'), '{"c__in": []}'), '-a', '?'), 3, 9)),
    (asynctasq.using(prefetch_related(select_related(asynctasq.only(objects('ünïcode "class"'), 'a'), 'b'), 'c__d'), 'replica')),
    (annotate(asynctasq.distinct(reverse(values_list(objects('User'), true, 'a')), 'a'), '{"n": {"Count": "*"}}')),
    (annotate(asynctasq.values(objects('User'), 'a'), '{"n": {"Count": "*"}}')),
    (slice(asynctasq.distinct(defer(objects('User'), 'a')), 3));
SELECT count(*), bool_and(qs::jsonb::queryset::jsonb = qs::jsonb) AS by_jsonb,
    bool_and(qs::text::queryset::jsonb = qs::jsonb) AS by_text
FROM sets;
SELECT input::queryset FROM unnest(ARRAY[
    '{"class": "User"}',
    '{"slice": [0, null], "class": "User", "where": [], "reverse": false, "distinct": []}',
    '{"class": "User", "distinct": false, "order_by": [], "annotate": [], "only": []}',
    '{"class": "User", "slice": [0, 3.0], "distinct": ["a"], "values_list": ["a"], "flat": false}',
    '{"class": "User", "group": []}']) AS input;
SELECT input, refusal(format('SELECT %L::asynctasq.queryset', input)) AS refusal,
    refusal(format('SELECT %L::asynctasq.queryset', input))
        = refusal(format('SELECT asynctasq.queryset(%L::jsonb)', input)) AS cast_alike
FROM unnest(ARRAY[
    'User', '"User"', '[]', '[{"class": "User"}]', 'null', '{}', '{"class": null}', '{"class": 1}', '{"class": ["User"]}',
    '{"class": "User", "limit": 1}', '{"class": "User", "Where": []}', '{"class": "User", "orm": 1}', '{"class": "User", "using": {}}',
    '{"class": "User", "where": {}}', '{"class": "User", "where": [1]}', '{"class": "User", "where": [[]]}',
    '{"class": "User", "where": [{"or": 1}]}', '{"class": "User", "annotate": {}}', '{"class": "User", "annotate": [1]}',
    '{"class": "User", "annotate": [["n"]]}', '{"class": "User", "annotate": [[1, {}]]}', '{"class": "User", "annotate": [["n", "Count"]]}',
    '{"class": "User", "annotate": [["n", {}], ["n", {}]]}', '{"class": "User", "group": "a"}', '{"class": "User", "order_by": ["a", 1]}',
    '{"class": "User", "order_by": [["a"]]}', '{"class": "User", "reverse": 1}', '{"class": "User", "distinct": "a"}',
    '{"class": "User", "distinct": [true]}', '{"class": "User", "slice": 1}', '{"class": "User", "slice": [1]}',
    '{"class": "User", "slice": [null, 1]}', '{"class": "User", "slice": [-1, 1]}', '{"class": "User", "slice": [1.5, null]}',
    '{"class": "User", "slice": [1e40, null]}', '{"class": "User", "slice": [2, 1]}', '{"class": "User", "slice": [0, 1, 2]}',
    '{"class": "User", "slice": [0, "1"]}', '{"class": "User", "only": ["a"], "defer": ["a"]}', '{"class": "User", "only": "a"}',
    '{"class": "User", "values": 1}', '{"class": "User", "values": [], "values_list": []}', '{"class": "User", "flat": true}',
    '{"class": "User", "flat": true, "values_list": []}', '{"class": "User", "flat": true, "values_list": ["a", "b"]}',
    '{"class": "User", "flat": 1, "values_list": ["a"]}', '{"class": "User", "select_related": true}', '{"class": "User", "prefetch_related": [null]}'
    ]) AS input;
-- the binary form, that of jsonb, checked too
SELECT bool_and(queryset_send(qs) = jsonb_send(qs::jsonb)) AS that_of_jsonb FROM sets;
RESET SESSION AUTHORIZATION;
CREATE TABLE copied (LIKE sets);
COPY sets TO :'file' (FORMAT binary);
COPY copied FROM :'file' (FORMAT binary);
SELECT count(*) AS same FROM sets JOIN copied ON sets.qs::jsonb = copied.qs::jsonb;
COPY (SELECT '{"class": "User", "slice": [0, 1, 2]}'::jsonb) TO :'file' (FORMAT binary);
COPY copied FROM :'file' (FORMAT binary);
SET SESSION AUTHORIZATION regress_atq_chain;
-- no operators, but those of jsonb
SELECT refusal('SELECT asynctasq.objects(''a'') = asynctasq.objects(''a'')');
SELECT objects('a')::jsonb = objects('a')::jsonb AS equal, objects('User')::jsonb ->> 'class' AS class;
-- only by a cast
SELECT refusal('SELECT asynctasq.filter(''{"class": "User"}''::jsonb)'),
    refusal('SELECT jsonb_typeof(asynctasq.objects(''User''))');

-- Indexes may be made of them: they are immutable.
SELECT count(*) FILTER (WHERE provolatile = 'i' AND proparallel = 's') = count(*) AS all_immutable, count(*)
FROM pg_proc WHERE prorettype = 'asynctasq.queryset'::regtype;

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA regress_atq_chain CASCADE;
DROP OWNED BY regress_atq_chain;
DROP ROLE regress_atq_chain;
