-- A query set's plan is that of the statement one would write by hand.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE ROLE regress_atq_plans LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_plans;
CREATE SCHEMA regress_atq_plans AUTHORIZATION regress_atq_plans;
SET SESSION AUTHORIZATION regress_atq_plans;
SET search_path = regress_atq_plans, asynctasq;

CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL) WITH (autovacuum_enabled = false);
CREATE TABLE author (id int PRIMARY KEY, name text NOT NULL, email text, age int NOT NULL, joined timestamptz NOT NULL, company_id int REFERENCES company) WITH (autovacuum_enabled = false);
CREATE TABLE post (id int PRIMARY KEY, author_id int NOT NULL REFERENCES author, title text NOT NULL, views bigint NOT NULL) WITH (autovacuum_enabled = false);
CREATE TABLE comment (id int PRIMARY KEY, post_id int NOT NULL REFERENCES post, body text NOT NULL) WITH (autovacuum_enabled = false);
CREATE INDEX ON author (name text_pattern_ops);
CREATE INDEX ON author (age);
CREATE INDEX ON author (joined);
CREATE INDEX ON post (author_id);
CREATE INDEX ON comment (post_id);
INSERT INTO company SELECT i, 'company ' || i FROM generate_series(1, 100) AS i;
INSERT INTO author SELECT i, md5(i::text), i || '@example.com', i % 90, '2026-01-01 00:00+00'::timestamptz + i * '1 hour'::interval, i % 100 + 1 FROM generate_series(1, 10000) AS i;
INSERT INTO post SELECT i, i % 10000 + 1, 'post ' || i, i % 1000 FROM generate_series(1, 20000) AS i;
INSERT INTO comment SELECT i, i % 5000 + 1, 'comment ' || i FROM generate_series(1, 20000) AS i;
ANALYZE company, author, post, comment;

CREATE FUNCTION model(name text) RETURNS queryset LANGUAGE sql AS
$$ SELECT asynctasq.objects('regress_atq_plans.' || name) $$;

-- Both plans without their costs; throws where they differ, or where the one
-- expected is not what the shape is about.
CREATE FUNCTION same_plan(qs queryset, by_hand text, expected text)
RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    line text;
    generated text;
    written text := '';
BEGIN
    SELECT string_agg(regexp_replace(l, '\s+\(cost=.*\)$', ''), E'\n') || E'\n' INTO generated
    FROM asynctasq.explain(qs) AS l;
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || by_hand LOOP
        written := written || line || E'\n';
    END LOOP;
    IF generated <> written OR generated !~ expected THEN
        RAISE EXCEPTION E'plans differ, or are not "%"', expected
            USING DETAIL = asynctasq.sql(qs) || E'\n' || generated || by_hand || E'\n' || written;
    END IF;
    RETURN true;
END $$;

CREATE TABLE shape (id int GENERATED ALWAYS AS IDENTITY, what text, qs queryset, by_hand text, expected text);
INSERT INTO shape (what, qs, by_hand, expected) VALUES
    ('primary key', filter(model('author'), '{"pk": 42}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.id = 42', 'Index Scan using author_pkey'),
    ('comparison', filter(model('author'), '{"age__gte": 89}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.age >= 89', 'author_age_idx'),
    ('range', filter(model('author'), '{"id__range": [10, 20]}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.id BETWEEN 10 AND 20', 'Index Scan using author_pkey'),
    ('in', filter(model('author'), '{"id__in": [1, 5, 9]}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.id IN (1, 5, 9)', 'author_pkey'),
    ('startswith', filter(model('author'), '{"name__startswith": "abcd"}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.name LIKE ''abcd%''', 'author_name_idx'),
    ('year', filter(model('author'), '{"joined__year": 2027}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.joined >= ''2027-01-01'' AND t0.joined < ''2028-01-01''', 'author_joined_idx'),
    ('several fields', filter(model('author'), '{"age": 30, "name__gt": "f", "email__isnull": false}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.age = 30 AND t0.name > ''f'' AND t0.email IS NOT NULL', 'author_age_idx'),
    ('or', filter(model('author'), '{"or": [{"id": 3}, {"name": "x"}]}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.id = 3 OR t0.name = ''x''', 'BitmapOr'),
    ('exclude', exclude(model('author'), '{"age__gt": 0}'),
     'SELECT t0.* FROM author AS t0 WHERE NOT t0.age > 0', 'author_age_idx'),
    ('foreign key', filter(model('post'), '{"author__age": 30}'),
     'SELECT t0.* FROM post AS t0 JOIN author AS t1 ON t1.id = t0.author_id WHERE t1.age = 30', 'author_age_idx'),
    ('foreign key''s key', filter(model('post'), '{"author": 30}'),
     'SELECT t0.* FROM post AS t0 WHERE t0.author_id = 30', 'post_author_id_idx'),
    ('two foreign keys', filter(model('comment'), '{"post__author__id": 30}'),
     'SELECT t0.* FROM comment AS t0 JOIN post AS t1 ON t1.id = t0.post_id WHERE t1.author_id = 30', 'post_author_id_idx'),
    ('relation back', filter(model('author'), '{"post__views": 999}'),
     'SELECT t0.* FROM author AS t0 WHERE EXISTS (SELECT 1 FROM post AS t1 WHERE t1.author_id = t0.id AND t1.views = ''999'')', 'Join|Loop'),
    ('relation back excluded', exclude(model('author'), '{"post__views": 999}'),
     'SELECT t0.* FROM author AS t0 WHERE NOT EXISTS (SELECT 1 FROM post AS t1 WHERE t1.author_id = t0.id AND t1.views = ''999'')', 'Anti'),
    ('order', order_by(model('author'), '-id'),
     'SELECT t0.* FROM author AS t0 ORDER BY t0.id DESC', 'Backward'),
    ('order and slice', slice(order_by(filter(model('author'), '{"age__gt": 10}'), 'name'), 0, 10),
     'SELECT t0.* FROM author AS t0 WHERE t0.age > 10 ORDER BY t0.name LIMIT 10', 'Limit'),
    ('slice', slice(order_by(model('author'), 'id'), 20, 30),
     'SELECT t0.* FROM author AS t0 ORDER BY t0.id LIMIT 10 OFFSET 20', 'Index Scan using author_pkey'),
    ('values', asynctasq.values(order_by(model('author'), 'id'), 'id'),
     'SELECT t0.id FROM author AS t0 ORDER BY t0.id', 'author_pkey'),
    ('distinct values', asynctasq.distinct(asynctasq.values(model('author'), 'age')),
     'SELECT DISTINCT t0.age FROM author AS t0', 'HashAggregate'),
    ('distinct on', asynctasq.distinct(order_by(model('author'), 'age', 'id'), 'age'),
     'SELECT DISTINCT ON (t0.age) t0.* FROM author AS t0 ORDER BY t0.age, t0.id', 'Unique'),
    ('select_related', select_related(filter(model('post'), '{"id": 7}'), 'author__company'),
     'SELECT t0.*, t1.*, t2.* FROM post AS t0 JOIN author AS t1 ON t1.id = t0.author_id LEFT JOIN company AS t2 ON t2.id = t1.company_id WHERE t0.id = 7', 'Nested Loop'),
    ('count of a relation', annotate(filter(model('author'), '{"id__lte": 3}'), '{"posts": {"Count": "post"}}'),
     'SELECT t0.*, (SELECT count(*) FROM post AS t1 WHERE t1.author_id = t0.id) FROM author AS t0 WHERE t0.id <= 3', 'SubPlan'),
    ('groups', annotate(asynctasq.values(model('author'), 'company_id'), '{"n": {"Count": "*"}, "oldest": {"Max": "age"}}'),
     'SELECT t0.company_id, count(*), max(t0.age) FROM author AS t0 GROUP BY t0.company_id', 'HashAggregate'),
    ('expression', filter(model('author'), '{"age": {"F": "company_id"}}'),
     'SELECT t0.* FROM author AS t0 WHERE t0.age = t0.company_id', 'Seq Scan');

SELECT what, same_plan(qs, by_hand, expected) FROM shape ORDER BY id;
-- a comparison that finds differences
SELECT same_plan(filter(model('author'), '{"id": 42}'), 'SELECT * FROM author AS t0 WHERE age = 42', 'Scan');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA regress_atq_plans CASCADE;
DROP OWNED BY regress_atq_plans;
DROP ROLE regress_atq_plans;
