--
-- References: rows go as their keys and arrive fresh
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA shop;
SET search_path = shop, public;
SET timezone = 'UTC';
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE countries (code text PRIMARY KEY, name text);
CREATE TABLE documents (id uuid PRIMARY KEY, title text);
CREATE TABLE lines (order_id int, line_no int, qty int, PRIMARY KEY (line_no, order_id));
CREATE TABLE rates (rate numeric PRIMARY KEY, name text);
CREATE TABLE events (kind text, at timestamp, seen timestamptz, PRIMARY KEY (kind, at));
CREATE TABLE "Odd ""name" ("the key" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, "Value" text);
ALTER TABLE "Odd ""name" DROP COLUMN gone;
CREATE TABLE heap (id int, name text);
CREATE VIEW adults AS SELECT id, name FROM users WHERE id < 3;
INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 1000) i;
INSERT INTO countries VALUES ('DE', 'Germany');
INSERT INTO documents VALUES ('12345678-1234-5678-1234-567812345678', 'a document');
INSERT INTO lines VALUES (10, 3, 7);
INSERT INTO rates VALUES (0.19, 'vat');
INSERT INTO events VALUES ('k', '2024-01-02 03:04:05.678901', '2024-01-02 03:04:05+00');
INSERT INTO "Odd ""name" ("Value") VALUES ('odd');
INSERT INTO heap VALUES (1, 'no key');

CREATE TABLE got (n serial, value text);
CREATE FUNCTION outcome() RETURNS TABLE (task text, outcome text, sqlstate text, message text)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.drain();
	RETURN QUERY
		SELECT d.task, 'failed', d.error ->> 'sqlstate',
			(d.error ->> 'message') || coalesce(' | ' || (d.error ->> 'hint'), '')
		FROM asynctasq.dead_letters d ORDER BY d.id;
	PERFORM asynctasq.purge_queue('default', true);
END $$;

-- what a row becomes
SELECT asynctasq.register_model('shop.models.User', 'users'),
	asynctasq.register_model('shop.models.Country', 'countries', orm => 'django'),
	asynctasq.register_model('shop.models.Document', 'documents'),
	asynctasq.register_model('shop.models.Line', 'lines', orm => 'tortoise', key => '{order_id,line_no}'),
	asynctasq.register_model('shop.models.Rate', 'rates'),
	asynctasq.register_model('shop.models.Event', 'events'),
	asynctasq.register_model('shop.models.Adult', 'adults', key => '{id}');
SELECT asynctasq.ref(u) FROM users u WHERE id = 1;
SELECT asynctasq.ref(c) FROM countries c;
SELECT asynctasq.ref(d) FROM documents d;
SELECT asynctasq.ref(l) FROM lines l;
SELECT asynctasq.ref(r) FROM rates r;
SELECT asynctasq.ref(e) FROM events e;
SELECT asynctasq.ref(o) FROM "Odd ""name" o;
SELECT asynctasq.args('user', u, 'n', 1) FROM users u WHERE id = 1;
SELECT asynctasq.args('row', h) FROM heap h;
SELECT asynctasq.ref(h) FROM heap h;
SELECT asynctasq.ref('shop.models.User', 5);
SELECT asynctasq.ref('shop.models.Line', 10, 3);
SELECT asynctasq.ref('shop.models.Nobody', 1);
SELECT asynctasq.ref('shop.models.User', NULL);
SELECT asynctasq.ref(NULL, 5);
SELECT asynctasq.ref('shop.models.User');

-- and what arrives
CREATE FUNCTION all_kinds(u users, c countries, d documents, l lines, r rates, e events, o "Odd ""name", a adults)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO shop.got (value) VALUES (concat_ws(', ', u.name, c.name, d.title, l.qty, r.name, e.seen, o."Value", a.name))
$$;
SELECT asynctasq.register_handler('all_kinds', (SELECT oid::regprocedure FROM pg_proc WHERE proname = 'all_kinds'), max_attempts => 1);
SELECT asynctasq.dispatch('all_kinds', asynctasq.args('u', u, 'c', c, 'd', d, 'l', l, 'r', r, 'e', e, 'o', o,
	'a', asynctasq.ref('shop.models.Adult', 2))) > 0 AS ok
FROM users u, countries c, documents d, lines l, rates r, events e, "Odd ""name" o WHERE u.id = 1;
-- fresh: what is changed after dispatch is what the handler sees
UPDATE users SET name = 'renamed' WHERE id = 1;
SELECT * FROM outcome();
SELECT value FROM got;
TRUNCATE got;

-- many, the same one twice, nested, in sets, and one query for all
CREATE FUNCTION many(us users[], j jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO shop.got (value)
	SELECT format('%s %s %s', cardinality(us), (SELECT sum((x).id) FROM unnest(us) x), j)
$$;
SELECT asynctasq.register_handler('many', 'many(users[], jsonb)', max_attempts => 1);
SELECT asynctasq.dispatch('many', asynctasq.args('us', array_agg(u), 'j',
	asynctasq.args('first', asynctasq.ref('shop.models.User', 1), 'set', asynctasq.set(ARRAY[asynctasq.ref('shop.models.User', 2)]),
		'again', asynctasq.ref('shop.models.User', 1)))) > 0 AS ok
FROM users u;
SELECT * FROM outcome();
SELECT value FROM got;
TRUNCATE got;

-- what one task changes, the next one sees
CREATE FUNCTION rename(u users) RETURNS void LANGUAGE sql AS $$
	INSERT INTO shop.got (value) VALUES (u.name);
	UPDATE shop.users SET name = name || '!' WHERE id = u.id
$$;
SELECT asynctasq.register_handler('rename', 'rename(users)', max_attempts => 1);
SELECT count(asynctasq.dispatch('rename', asynctasq.args('u', u))) FROM users u, generate_series(1, 3) WHERE id = 2;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;

-- lazy: read when wanted
CREATE FUNCTION lazy(u asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$
	INSERT INTO shop.got (value) VALUES (u::text), (asynctasq.fetch(u)::text)
$$;
SELECT asynctasq.register_handler('lazy', 'lazy(asynctasq.msgpack)', max_attempts => 1);
SELECT asynctasq.dispatch('lazy', asynctasq.args('u', asynctasq.ref('shop.models.Country', 'DE'))) > 0 AS ok;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
TRUNCATE got;
SELECT asynctasq.fetch(asynctasq.ref('shop.models.Country', 'XX'));

-- missing rows, as the ORM has it or as the model says
CREATE FUNCTION takes(u users, c countries, l lines) RETURNS void LANGUAGE sql AS $$
	INSERT INTO shop.got (value) VALUES (format('%s %s %s', u.id, c.code, l.qty))
$$;
SELECT asynctasq.register_handler('takes', 'takes(users, countries, lines)', max_attempts => 1);
SELECT asynctasq.dispatch('takes', asynctasq.args('u', asynctasq.ref('shop.models.User', -1), 'c', NULL::text, 'l', NULL::text)) > 0 AS ok;
SELECT asynctasq.dispatch('takes', asynctasq.args('u', NULL::text, 'c', asynctasq.ref('shop.models.Country', 'XX'), 'l', NULL::text)) > 0 AS ok;
SELECT asynctasq.dispatch('takes', asynctasq.args('u', NULL::text, 'c', NULL::text, 'l', asynctasq.ref('shop.models.Line', 1, 1))) > 0 AS ok;
SELECT * FROM outcome();
SELECT asynctasq.register_model('shop.models.User', 'users', on_missing => 'error');
SELECT asynctasq.register_model('shop.models.Country', 'countries', orm => 'django', on_missing => 'discard');
SELECT asynctasq.dispatch('takes', asynctasq.args('u', asynctasq.ref('shop.models.User', -1), 'c', NULL::text, 'l', NULL::text)) > 0 AS ok;
SELECT asynctasq.dispatch('takes', asynctasq.args('u', NULL::text, 'c', asynctasq.ref('shop.models.Country', 'XX'), 'l', NULL::text)) AS id \gset
SELECT * FROM outcome();
SELECT status, error ->> 'sqlstate' AS sqlstate, error ->> 'message' AS message FROM asynctasq.task_info(:id);
SELECT value FROM got;
TRUNCATE got;

-- references that cannot be resolved
CREATE FUNCTION one_user(u users) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT asynctasq.register_handler('one_user', 'one_user(users)', max_attempts => 1);
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:sqlalchemy__": null, "__orm_class__": "shop.models.User"}}') > 0 AS unsaved;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:sqlalchemy__": 1, "__orm_class__": "shop.models.Nobody"}}') > 0 AS unknown;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:django__": 1, "__orm_class__": "shop.models.User"}}') > 0 AS other_orm;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:sqlalchemy__": [1, 2], "__orm_class__": "shop.models.User"}}') > 0 AS arity;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:sqlalchemy__": "one", "__orm_class__": "shop.models.User"}}') > 0 AS no_number;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:sqlalchemy__": "12", "__orm_class__": "shop.models.User"}}') > 0 AS a_number;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:sqlalchemy__": "0.19", "__orm_class__": "shop.models.Rate"}}') > 0 AS other_type;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:sqlalchemy__": 1, "__orm_class__": "shop.models.User", "__orm_class_file__": "/etc/passwd"}}') > 0 AS file_ignored;
SELECT asynctasq.dispatch('one_user', '{"u": {"__orm:postgres__": 1, "__orm_class__": "users; drop table x"}}') > 0 AS injection;
SELECT asynctasq.dispatch('one_user', '{"u": 5}') > 0 AS no_reference;
SELECT * FROM outcome();

-- a table that is made anew, or changed, is followed
SELECT asynctasq.dispatch('many', asynctasq.args('us', ARRAY[u], 'j', u)) > 0 AS ok FROM users u WHERE id = 3;
ALTER TABLE users ADD COLUMN email text DEFAULT 'new';
SELECT * FROM outcome();
SELECT value FROM got;
TRUNCATE got;
ALTER TABLE documents RENAME TO old_documents;
CREATE TABLE documents2 (LIKE old_documents INCLUDING ALL);
CREATE FUNCTION plain(j jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO shop.got (value) VALUES (j) $$;
SELECT asynctasq.register_handler('plain', 'plain(jsonb)', max_attempts => 1);
SELECT asynctasq.dispatch('plain', asynctasq.args('d', d)) > 0 AS renamed FROM old_documents d;
SELECT * FROM outcome();
DROP TABLE countries CASCADE;
SELECT asynctasq.dispatch('plain', '{"c": {"__orm:django__": "FR", "__orm_class__": "shop.models.Country"}}') > 0 AS dropped;
SELECT * FROM outcome();
CREATE TABLE countries (code text PRIMARY KEY, name text, capital text);
INSERT INTO countries VALUES ('FR', 'France', 'Paris');
SELECT asynctasq.dispatch('plain', '{"c": {"__orm:django__": "FR", "__orm_class__": "shop.models.Country"}}') > 0 AS made_again;
SELECT * FROM outcome();
SELECT value FROM got ORDER BY n;
-- a column of a view may be named like what is no column of a table
CREATE VIEW shadow AS SELECT 1 AS ctid, 2 AS x;
SELECT asynctasq.register_model('shop.Shadow', 'shadow', key => '{ctid}');
SELECT asynctasq.fetch(asynctasq.ref('shop.Shadow', 1));
DROP VIEW shadow;
CREATE TABLE shadow (x int PRIMARY KEY);
INSERT INTO shadow VALUES (2);
SELECT asynctasq.fetch(asynctasq.ref('shop.Shadow', 1));
SELECT asynctasq.args('s', s) FROM shadow AS s;
SELECT asynctasq.list(asynctasq.only(asynctasq.objects('shop.Shadow'), 'x'));
SELECT asynctasq.register_model('shop.Shadow', 'shadow', key => '{ctid}');

RESET search_path;
DROP EXTENSION asynctasq CASCADE;
\set VERBOSITY terse
DROP SCHEMA shop CASCADE;
