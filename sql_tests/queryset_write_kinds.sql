--
-- Query sets: writing rows of all kinds of relations, with the rights of who writes
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA queryset_kinds;
SET search_path = queryset_kinds, public;

--
-- Keys of several columns, and foreign keys to them
--
CREATE TABLE region (country text, code int, name text, PRIMARY KEY (country, code));
CREATE TABLE shop (id int PRIMARY KEY, country text, code int, FOREIGN KEY (country, code) REFERENCES region);
SELECT asynctasq.register_model('Region', 'region'), asynctasq.register_model('Shop', 'shop');
SELECT asynctasq.create('Region', '{"pk": ["DE", 1], "name": "north"}'), asynctasq.create('Region', '{"country": "DE", "code": 2}') ->> 'code' AS by_columns;
SELECT asynctasq.save('Region', '{"country": "DE", "code": 1, "name": "North"}'), asynctasq.save('Region', '{"pk": ["FR", 1], "name": "nord"}');
SELECT asynctasq.save('Region', '{"country": "DE", "code": 9}', '{}');
SELECT asynctasq.save('Region', '{"country": "DE", "code": null}');
SELECT asynctasq.bulk_update('Region', '[{"pk": ["DE", 1], "name": "n"}, {"country": "DE", "code": 2, "name": "s"}]', '{name}');
SELECT * FROM region ORDER BY country, code;
SELECT asynctasq.bulk_create('Region', '[{"pk": ["DE", 1], "name": "again"}]', update_conflicts => true, update_fields => '{name}');
SELECT asynctasq.create('Shop', '{"id": 1, "region": {"country": "DE", "code": 2, "name": "s"}}'), asynctasq.create('Shop', '{"id": 2, "region": null}');
SELECT object, created FROM asynctasq.get_or_create('Shop', '{"region": {"country": "DE", "code": 2}}');
SELECT object, created FROM asynctasq.update_or_create('Shop', '{"id": 1}', '{"region": {"country": "FR", "code": 1}}');
SELECT asynctasq.create('Region', '{"pk": "DE", "name": "x"}');
SELECT asynctasq.create('Region', '{"pk": ["DE"], "name": "x"}');
SELECT asynctasq.create('Shop', '{"id": 3, "region": 5}');
SELECT asynctasq.create('Shop', '{"id": 3, "region": {"country": "DE"}}');

--
-- Names that need quotes, types of many kinds
--
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN word AS text NOT NULL;
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE "Odd ""one""" (
	"the ID" uuid PRIMARY KEY,
	"select" int,
	"t0" text,
	"r" text,
	ordinality int,
	n positive,
	moods mood[],
	pair pair,
	pairs pair[],
	matrix int[],
	span int4range,
	amount numeric(10, 2),
	ratio float8,
	code char(3),
	bits bytea,
	j json,
	jb jsonb,
	jbs jsonb[],
	pause interval,
	"at" timestamptz);
SELECT asynctasq.register_model('Odd', '"Odd ""one"""');
SET timezone = 'UTC';
CREATE TABLE odd_value (value jsonb);
INSERT INTO odd_value VALUES ('{"the ID": "00000000-0000-0000-0000-000000000001", "select": 1, "t0": "it''s; --", "r": "$1", "ordinality": 7, "n": 5,
	"moods": ["glad", null, "sad"], "pair": {"a": 1, "b": "x, y"}, "pairs": [{"a": null, "b": "q"}, null], "matrix": [[1, 2], [3, 4]], "span": "[1,5)",
	"amount": 12345.678, "ratio": "NaN", "code": "ab", "bits": "\\x00ff", "j": {"k": [1, 2.50]}, "jb": {"k": [null, {"b": true}]}, "jbs": [{"a": 1}, [2], "s"],
	"pause": "P1DT2H", "at": "2024-02-29T12:00:00+02:00"}');
SELECT asynctasq.create('Odd', value) FROM odd_value;
SELECT asynctasq.save('Odd', asynctasq.create('Odd', value || '{"the ID": "00000000-0000-0000-0000-000000000002"}') || '{"select": 2}') ->> 'select' AS "select" FROM odd_value;
SELECT count(*), count(DISTINCT row - 'the ID') FROM odd_value, asynctasq.bulk_create('Odd', jsonb_build_array(value - 'the ID' || '{"pk": "00000000-0000-0000-0000-000000000003", "select": 2}', value - 'the ID' || '{"pk": "00000000-0000-0000-0000-000000000004", "select": 2}')) AS row;
SELECT asynctasq.bulk_update('Odd', (SELECT jsonb_agg(to_jsonb(o) || '{"jb": [1], "pair": {"a": 5}, "moods": []}') FROM "Odd ""one""" AS o WHERE "select" = 2), '{jb, pair, moods, span}');
SELECT count(*) FROM "Odd ""one""" GROUP BY "select", "t0", "r", ordinality, n, pairs, matrix, span, amount, ratio, code, bits, j::text, jbs, pause, "at" ORDER BY "select";
SELECT DISTINCT jb, pair, moods FROM "Odd ""one""" ORDER BY jb;
SELECT asynctasq.create('Odd', '{"pk": "00000000-0000-0000-0000-000000000005", "n": 0}');
SELECT asynctasq.create('Odd', '{"pk": "00000000-0000-0000-0000-000000000005", "moods": ["angry"]}');
SELECT asynctasq.create('Odd', '{"pk": "00000000-0000-0000-0000-000000000005", "matrix": "x"}');
SELECT asynctasq.create('Odd', '{"SELECT": 1}');
CREATE TABLE wants (id int PRIMARY KEY, word word DEFAULT 'x');
SELECT asynctasq.create('queryset_kinds.wants', '{"id": 1}');
\set VERBOSITY terse
SELECT asynctasq.create('queryset_kinds.wants', '{"id": 2, "word": null}');
SELECT asynctasq.bulk_create('queryset_kinds.wants', '[{"id": 2, "word": null}]');
SELECT asynctasq.save('queryset_kinds.wants', '{"id": 1, "word": null}');
SELECT asynctasq.update(asynctasq.objects('queryset_kinds.wants'), '{"word": null}');
\set VERBOSITY default
SELECT * FROM wants;

CREATE TABLE under (id serial PRIMARY KEY, a__b text);
SELECT object, created FROM asynctasq.get_or_create('queryset_kinds.under', '{"a__b": "x"}');
SELECT object, created FROM asynctasq.get_or_create('queryset_kinds.under', '{"a__b__exact": "y", "id__exact": 9, "id__gt": 5}');
SELECT object, created FROM asynctasq.get_or_create('queryset_kinds.under', '{"a__b__exact": "y"}');

--
-- Partitions, children
--
CREATE TABLE part (id int, kind text, note text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
CREATE TABLE part_b (note text, kind text NOT NULL, gone int, id int NOT NULL);
ALTER TABLE part_b DROP COLUMN gone;
ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
SELECT asynctasq.register_model('Part', 'part');
SELECT asynctasq.bulk_create('Part', '[{"id": 1, "kind": "a", "note": "x"}, {"id": 1, "kind": "b", "note": "y"}]');
SELECT asynctasq.save('Part', '{"id": 1, "kind": "b", "note": "yy"}'), asynctasq.save('Part', '{"id": 2, "kind": "b", "note": "new"}');
SELECT asynctasq.update(asynctasq.filter(asynctasq.objects('Part'), '{"kind": "b"}'), '{"kind": "a", "id": {"F": ["id", "+", 10]}}');
SELECT asynctasq.bulk_update('Part', '[{"id": 11, "kind": "a", "note": "moved"}]', '{note}');
SELECT object, created FROM asynctasq.update_or_create('Part', '{"id": 12, "kind": "a"}', '{"note": "changed"}');
SELECT object, created FROM asynctasq.get_or_create('Part', '{"id": 3, "kind": "b"}');
SELECT tableoid::regclass, * FROM part ORDER BY id, kind;
SELECT asynctasq.create('Part', '{"id": 1, "kind": "c"}');
SELECT asynctasq.delete(asynctasq.objects('Part'));
CREATE TABLE parent (id int PRIMARY KEY, note text);
CREATE TABLE child (more int) INHERITS (parent);
INSERT INTO child VALUES (1, 'child', 5);
SELECT asynctasq.save('queryset_kinds.parent', '{"id": 1, "note": "saved"}'), asynctasq.update(asynctasq.objects('queryset_kinds.parent'), '{"note": "updated"}');
TABLE child;

--
-- Views, rules, triggers, keys that no index holds
--
CREATE TABLE base (id int PRIMARY KEY, note text, hidden bool NOT NULL DEFAULT false);
CREATE VIEW shown AS SELECT id, note FROM base WHERE NOT hidden WITH CHECK OPTION;
SELECT asynctasq.register_model('Shown', 'shown', key => '{id}');
SELECT asynctasq.create('Shown', '{"id": 1, "note": "a"}'), asynctasq.save('Shown', '{"id": 1, "note": "b"}'), asynctasq.save('Shown', '{"id": 2, "note": "c"}');
SELECT asynctasq.bulk_create('Shown', '[{"id": 2, "note": "x"}, {"id": 3, "note": "x"}]', ignore_conflicts => true);
SELECT asynctasq.bulk_create('Shown', '[{"id": 2, "note": "x"}]', update_conflicts => true, update_fields => '{note}');
SELECT asynctasq.bulk_update('Shown', '[{"id": 2, "note": "y"}]', '{note}');
SELECT object, created FROM asynctasq.update_or_create('Shown', '{"id": 4}', '{"note": "z"}');
UPDATE base SET hidden = true WHERE id = 1;
SELECT asynctasq.save('Shown', '{"id": 1, "note": "b"}');
SELECT * FROM asynctasq.get_or_create('Shown', '{"id": 1}');
CREATE VIEW counted AS SELECT id, count(*) AS n, max(note) AS note FROM base GROUP BY id;
SELECT asynctasq.register_model('Counted', 'counted', key => '{id}');
SELECT asynctasq.create('Counted', '{"id": 9}');
CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.id < 0 THEN
		RETURN NULL;
	END IF;
	INSERT INTO queryset_kinds.base (id, note) VALUES (new.id, new.note) ON CONFLICT (id) DO UPDATE SET note = new.note;
	RETURN new;
END $$;
CREATE TRIGGER counted INSTEAD OF INSERT OR UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION counted();
SELECT asynctasq.create('Counted', '{"id": 9, "note": "made"}'), asynctasq.create('Counted', '{"id": -9}') IS NULL AS nothing;
SELECT asynctasq.save('Counted', '{"id": 9, "note": "saved"}'), asynctasq.save('Counted', '{"id": 10, "note": "new"}'), asynctasq.save('Counted', '{"id": -10}') IS NULL AS nothing;
SELECT object, created FROM asynctasq.get_or_create('Counted', '{"id": 11}', '{"note": "got"}');
SELECT object, created FROM asynctasq.get_or_create('Counted', '{"id": -11}', '{"note": "got"}');
SELECT object, created FROM asynctasq.update_or_create('Counted', '{"id": 11}', '{"note": "updated"}');
SELECT asynctasq.bulk_create('Counted', '[{"id": 12}, {"id": -12}, {"id": 13}]');
SELECT asynctasq.bulk_update('Counted', '[{"id": 12, "note": "bulk"}, {"id": 13, "note": "bulk"}]', '{note}');
SELECT * FROM base WHERE id > 8 ORDER BY id;
CREATE TABLE keyless (a int, b int);
INSERT INTO keyless VALUES (1, 1), (1, 2);
SELECT asynctasq.save('queryset_kinds.keyless', '{"a": 1}');
SELECT asynctasq.bulk_update('queryset_kinds.keyless', '[]', '{b}');
SELECT asynctasq.bulk_create('queryset_kinds.keyless', '[{"a": 2, "b": 3}]');
SELECT asynctasq.bulk_create('queryset_kinds.keyless', '[{"a": 2}]', update_conflicts => true, update_fields => '{b}');
SELECT asynctasq.create('queryset_kinds.keyless', '{"pk": 2}');
SELECT object, created FROM asynctasq.update_or_create('queryset_kinds.keyless', '{"a": 2}', '{"b": 4}');
SELECT asynctasq.register_model('Keyless', 'keyless', key => '{a}');
SELECT asynctasq.save('Keyless', '{"a": 1, "b": 5}');
SELECT asynctasq.save('Keyless', '{"a": 3, "b": 5}');
TABLE keyless ORDER BY a, b;
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, always int GENERATED ALWAYS AS IDENTITY, note text);
SELECT asynctasq.register_model('Late', 'late', key => '{id}');
SELECT asynctasq.save('Late', '{"id": 1, "note": "a"}'), asynctasq.save('Late', '{"id": 1, "note": "b", "always": 7}');
SELECT asynctasq.create('Late', '{"id": 2, "always": 7}');
CREATE MATERIALIZED VIEW stored AS SELECT id FROM base;
SELECT asynctasq.create('queryset_kinds.stored', '{"id": 1}');

--
-- Rights are those of the statement
--
CREATE ROLE regress_query_owner;
CREATE ROLE regress_query_user;
GRANT USAGE ON SCHEMA asynctasq TO regress_query_owner, regress_query_user;
GRANT USAGE, CREATE ON SCHEMA queryset_kinds TO regress_query_owner, regress_query_user;
CREATE TABLE note (id int PRIMARY KEY, owner text NOT NULL DEFAULT current_user, body text, secret text);
GRANT SELECT (id, owner, body), INSERT (id, body), UPDATE (body) ON note TO regress_query_user;
SELECT asynctasq.register_model('Note', 'note');
SET ROLE regress_query_user;
\set VERBOSITY sqlstate
SELECT asynctasq.create('Note', '{"id": 1, "body": "x"}');
SELECT asynctasq.create('Region', '{"pk": ["US", 1]}');
RESET ROLE;
GRANT SELECT, DELETE ON note TO regress_query_user;
SET ROLE regress_query_user;
SELECT asynctasq.create('Note', '{"id": 1, "body": "x"}');
SELECT asynctasq.create('Note', '{"id": 2, "secret": "x"}');
SELECT asynctasq.save('Note', '{"id": 1, "body": "y"}');
SELECT asynctasq.save('Note', '{"id": 1, "secret": "y"}');
SELECT asynctasq.bulk_update('Note', '[{"id": 1, "owner": "y"}]', '{owner}');
SELECT asynctasq.update(asynctasq.objects('Note'), '{"owner": "y"}');
\set VERBOSITY default
RESET ROLE;
INSERT INTO note VALUES (7, 'somebody', 'not yours');
ALTER TABLE note ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON note USING (owner = current_user);
SET ROLE regress_query_user;
SELECT asynctasq.create('Note', '{"id": 3, "body": "mine"}');
SELECT asynctasq.bulk_update('Note', '[{"id": 3, "body": "changed"}, {"id": 7, "body": "changed"}]', '{body}');
SELECT asynctasq.update(asynctasq.objects('Note'), '{"body": "all of mine"}');
SELECT asynctasq.save('Note', '{"id": 7, "body": "changed"}');
SELECT asynctasq.save('Note', '{"id": 7, "body": "changed"}', '{body}');
SELECT * FROM asynctasq.get_or_create('Note', '{"id": 7}');
SELECT * FROM asynctasq.update_or_create('Note', '{"id": 7}', '{"body": "changed"}');
SELECT asynctasq.delete(asynctasq.objects('Note'));
RESET ROLE;
TABLE note;

--
-- A relation of somebody else may have nothing called that is not to be trusted
--
SET ROLE regress_query_owner;
CREATE TABLE theirs (id int PRIMARY KEY, note text, at timestamptz DEFAULT now());
CREATE TABLE part_of (id int REFERENCES theirs);
CREATE TABLE split (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (10);
CREATE VIEW looks AS SELECT id, note FROM theirs;
GRANT ALL ON theirs, looks, split, part_of TO regress_query_user;
CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;
SET ROLE regress_query_user;
SELECT asynctasq.create('queryset_kinds.theirs', '{"id": 1, "note": "a"}') - 'at', asynctasq.save('queryset_kinds.theirs', '{"id": 1, "note": "b"}') - 'at';
SELECT asynctasq.create('queryset_kinds.part_of', '{"id": 1}');
SELECT asynctasq.bulk_create('queryset_kinds.split', '[{"id": 1}]');
SELECT asynctasq.create('queryset_kinds.looks', '{"id": 2}');
SET ROLE regress_query_owner;
CREATE TRIGGER theirs AFTER INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION theirs();
CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE ON split_1 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION theirs();
SET ROLE regress_query_user;
SELECT asynctasq.create('queryset_kinds.theirs', '{"id": 3}');
SELECT asynctasq.bulk_create('queryset_kinds.theirs', '[{"id": 3}]');
SELECT asynctasq.create('queryset_kinds.looks', '{"id": 3}');
SELECT asynctasq.create('queryset_kinds.split', '{"id": 3}');
SELECT asynctasq.update(asynctasq.objects('queryset_kinds.split'), '{"note": "x"}');
SELECT * FROM asynctasq.get_or_create('queryset_kinds.theirs', '{"id": 3}');
SET ROLE regress_query_owner;
DROP TRIGGER theirs ON theirs;
SET ROLE regress_query_user;
SELECT asynctasq.save('queryset_kinds.theirs', '{"id": 1, "note": "c"}') - 'at', asynctasq.delete(asynctasq.filter(asynctasq.objects('queryset_kinds.theirs'), '{"id": 2}'));
SET ROLE regress_query_owner;
ALTER TABLE part_of DROP CONSTRAINT part_of_id_fkey, ADD FOREIGN KEY (id) REFERENCES theirs ON DELETE CASCADE;
CREATE TRIGGER theirs AFTER DELETE ON part_of FOR EACH ROW EXECUTE FUNCTION theirs();
SET ROLE regress_query_user;
SELECT asynctasq.delete(asynctasq.objects('queryset_kinds.theirs'));
SELECT asynctasq.create('queryset_kinds.theirs', '{"id": 5}') -> 'id' AS inserted;
SET ROLE regress_query_owner;
ALTER TABLE theirs ADD n serial;
GRANT ALL ON SEQUENCE theirs_n_seq TO regress_query_user;
SET ROLE regress_query_user;
SELECT asynctasq.create('queryset_kinds.theirs', '{"id": 6}');
RESET ROLE;
-- who trusts it says so
SELECT asynctasq.register_model('Theirs', 'theirs');
SET ROLE regress_query_user;
SELECT asynctasq.create('Theirs', '{"id": 6}') -> 'n' AS n;
SELECT asynctasq.delete(asynctasq.filter(asynctasq.objects('Theirs'), '{"id": 1}'));
RESET ROLE;

--
-- Rows on another server are not written
--
CREATE SERVER regress_query_server FOREIGN DATA WRAPPER asynctasq;
SELECT asynctasq.register_model('Far', 'shop', server => 'regress_query_server');
SELECT asynctasq.create('Far', '{}');
SELECT asynctasq.bulk_create('Far', '[]');
SELECT asynctasq.bulk_update('Far', '[]', '{code}');
SELECT asynctasq.save('Far', '{}');
SELECT * FROM asynctasq.get_or_create('Far', '{}');
SELECT * FROM asynctasq.update_or_create('Far', '{}');
SELECT asynctasq.update(asynctasq.objects('Far'), '{"code": 1}');
SELECT asynctasq.delete(asynctasq.using(asynctasq.objects('Shop'), 'regress_query_server'));

--
-- The same class for several ORMs
--
SELECT asynctasq.register_model('Region', 'shop', orm => 'django');
SELECT asynctasq.create('Region', '{"id": 50}');
SELECT asynctasq.create('Region', '{"id": 50}', 'django') -> 'id' AS id, asynctasq.save('Region', '{"id": 50}', orm => 'django') -> 'id' AS saved,
	asynctasq.bulk_update('Region', '[]', '{code}', orm => 'django') AS updated;
SELECT b FROM asynctasq.bulk_create('Region', '[{"id": 51}]', orm => 'django') AS b;
SELECT created FROM asynctasq.get_or_create('Region', '{"id": 51}', orm => 'django');
SELECT created FROM asynctasq.update_or_create('Region', '{"id": 51}', orm => 'django');

RESET search_path;
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA queryset_kinds CASCADE;
DROP OWNED BY regress_query_owner, regress_query_user;
DROP ROLE regress_query_owner, regress_query_user;
