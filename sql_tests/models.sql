--
-- Models: what rows can be referred to, by which keys, and what is refused
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE SCHEMA models;
CREATE SCHEMA "Other ""schema";
SET search_path = models, public;
SET timezone = 'Asia/Kolkata';

CREATE TABLE parted (id int, region text, n int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parted_eu (n int, gone int, id int NOT NULL, region text NOT NULL);
ALTER TABLE parted_eu DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_eu FOR VALUES IN ('eu');
CREATE TABLE parted_us PARTITION OF parted FOR VALUES IN ('us');
INSERT INTO parted VALUES (1, 'eu', 10), (1, 'us', 20);
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO child VALUES (7, 'of the child', 1);
CREATE UNLOGGED TABLE loose (id int PRIMARY KEY, name text);
INSERT INTO loose VALUES (1, 'unlogged');
CREATE TABLE "Other ""schema"."Table" ("select" int PRIMARY KEY, gone int, "a b" text,
	made text GENERATED ALWAYS AS ("a b" || '!') STORED);
ALTER TABLE "Other ""schema"."Table" DROP COLUMN gone;
INSERT INTO "Other ""schema"."Table" VALUES (5, 'quoted');
CREATE TABLE base (id int PRIMARY KEY, name text, hidden boolean DEFAULT false);
INSERT INTO base VALUES (1, 'shown', false), (2, 'hidden', true);
CREATE VIEW shown AS SELECT id, name FROM base WHERE NOT hidden;
CREATE MATERIALIZED VIEW kept AS SELECT id, upper(name) AS name FROM base;
CREATE TABLE alias (asynctasq_row int, asynctasq_key int, ord int, PRIMARY KEY (asynctasq_row, ord));
INSERT INTO alias VALUES (1, 2, 3), (4, 5, 6);
DO $$
BEGIN
	EXECUTE format('CREATE SERVER models_loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
		split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database());
	EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER models_loop OPTIONS (user %L)', current_user);
END $$;
CREATE FOREIGN TABLE remote (id int, name text) SERVER models_loop OPTIONS (schema_name 'models', table_name 'base');

-- a handler that says which row it was given
CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, value text);
CREATE FUNCTION plain(v jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO models.got (value) VALUES (v) $$;
SELECT asynctasq.register_handler('plain', 'plain(jsonb)', max_attempts => 1);
CREATE FUNCTION outcome() RETURNS TABLE (outcome text, context text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.drain();
	RETURN QUERY SELECT value, NULL FROM models.got ORDER BY n;
	RETURN QUERY
		SELECT concat_ws(' ', d.error ->> 'sqlstate', d.error ->> 'message', '| ' || (d.error ->> 'detail'), '| ' || (d.error ->> 'hint')),
			substring(d.error ->> 'context' FROM '^key [^\n]*')
		FROM asynctasq.dead_letters d ORDER BY d.id;
	PERFORM asynctasq.purge_queue('default', true);
	TRUNCATE models.got;
END $$;
CREATE FUNCTION refer(v asynctasq.msgpack) RETURNS void LANGUAGE sql AS $$
	SELECT asynctasq.dispatch('plain', asynctasq.args('v', v))
$$;
CREATE FUNCTION refer(class text, key text, orm text DEFAULT 'sqlalchemy') RETURNS void LANGUAGE sql AS $$
	SELECT models.refer(format('{"__orm:%s__": %s, "__orm_class__": %s}', orm, key, to_json(class))::asynctasq.msgpack)
$$;

--
-- Kinds of relations, registered
--
SELECT asynctasq.register_model('Parted', 'parted'),
	asynctasq.register_model('Parted by id', 'parted', key => '{id, region}'),
	asynctasq.register_model('Parent', 'parent'),
	asynctasq.register_model('Loose', 'loose'),
	asynctasq.register_model('Quoted', '"Other ""schema"."Table"'),
	asynctasq.register_model('Shown', 'shown', key => '{id}', on_missing => 'error'),
	asynctasq.register_model('Kept', 'kept', key => '{id}'),
	asynctasq.register_model('Alias', 'alias'),
	asynctasq.register_model('Remote', 'remote', key => '{id}', on_missing => 'error');
SELECT refer('Parted', '["us", 1]'), refer('Parted by id', '[1, "eu"]'), refer('Parent', '7'), refer('Loose', '1'),
	refer('Quoted', '5'), refer('Shown', '1'), refer('Shown', '2'), refer('Kept', '2'), refer('Alias', '[1, 3]'),
	refer('Remote', '2'), refer('Remote', '3');
SELECT * FROM outcome();

-- many at once, from each
SELECT refer(asynctasq.args('parted', ARRAY[asynctasq.ref('Parted', 'us', 1), asynctasq.ref('Parted', 'eu', 1)],
	'alias', (SELECT array_agg(a ORDER BY ord) FROM alias a),
	'remote', ARRAY[asynctasq.ref('Remote', 2), asynctasq.ref('Remote', 1)],
	'quoted', ARRAY[asynctasq.ref('Quoted', 5), asynctasq.ref('Quoted', 5)]));
SELECT * FROM outcome();

-- not registered: a table with a key is its own class, anything else goes by value
CREATE TEMP TABLE fleeting (id int PRIMARY KEY, name text);
INSERT INTO fleeting VALUES (1, 'temporary');
CREATE TABLE jsonb_key (id jsonb PRIMARY KEY);
INSERT INTO jsonb_key VALUES ('{"a": 1}');
CREATE TABLE array_key (id int[] PRIMARY KEY);
INSERT INTO array_key VALUES ('{1}');
CREATE TABLE code_key (code varchar(3) PRIMARY KEY, name text);
INSERT INTO code_key VALUES ('a', 'first');
SELECT asynctasq.args('v', c) FROM code_key c;
SELECT asynctasq.args('v', p) FROM parted_us p;
SELECT asynctasq.args('v', f) FROM fleeting f;
SELECT asynctasq.args('v', j) FROM jsonb_key j;
SELECT asynctasq.args('v', a) FROM array_key a;
SELECT asynctasq.args('v', b) FROM (SELECT id, name FROM base WHERE id = 1) b;
SELECT asynctasq.ref(f) FROM fleeting f;
SELECT refer('models.code_key', '"a"', 'postgres'), refer('models.parted_us', '["us", 1]', 'postgres');
SELECT * FROM outcome();

-- and only such a table
CREATE SEQUENCE counter;
SELECT refer('models.shown', '1', 'postgres'), refer('models.counter', '1', 'postgres'), refer('models.base_pkey', '1', 'postgres'),
	refer('models.jsonb_key', '"x"', 'postgres'), refer('models.array_key', '[1]', 'postgres'),
	refer('pg_catalog.pg_authid', '10', 'postgres'), refer('asynctasq.handler', '"plain"', 'postgres'),
	refer('code_key', '"a"', 'postgres'), refer('other.models.code_key', '"a"', 'postgres');
SELECT refer(pg_my_temp_schema()::regnamespace || '.fleeting', '1', 'postgres');
SELECT * FROM outcome();

-- keys that cannot be
CREATE TABLE unkeyed (j json, a int[], r base, d jsonb, p point);
SELECT asynctasq.register_model('Unkeyed', 'unkeyed', key => '{j}');
SELECT asynctasq.register_model('Unkeyed', 'unkeyed', key => '{a}');
SELECT asynctasq.register_model('Unkeyed', 'unkeyed', key => '{r}');
SELECT asynctasq.register_model('Unkeyed', 'unkeyed', key => '{d}');
SELECT asynctasq.register_model('Unkeyed', 'unkeyed', key => '{p}');
SELECT asynctasq.register_model('Unkeyed', 'jsonb_key');

--
-- Keys from the wire
--
CREATE TYPE mood AS ENUM ('ok', 'Bad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN label AS text CHECK (VALUE <> 'none');
CREATE TABLE keys (i2 smallint UNIQUE, i4 int UNIQUE, i8 bigint UNIQUE, num numeric UNIQUE, f8 float8 UNIQUE, b boolean UNIQUE,
	t text UNIQUE, v varchar(10) UNIQUE, c char(4) UNIQUE, nm name UNIQUE, u uuid UNIQUE, d date UNIQUE, ts timestamp UNIQUE,
	tz timestamptz UNIQUE, tm time UNIQUE, iv interval UNIQUE, by bytea UNIQUE, e mood UNIQUE, p positive UNIQUE, l label UNIQUE,
	ip inet UNIQUE, r int4range UNIQUE);
INSERT INTO keys VALUES (-1, 2, 9223372036854775807, 0.19, 1.5, true, 'text', 'varchar', 'c', 'name',
	'12345678-1234-5678-1234-567812345678', '2024-02-29', '2024-02-29 12:00:00.000001', '2024-02-29 12:00:00.000001+00',
	'12:34:56', '1 day 02:00:00', '\x00ff', 'Bad', 3, 'label', '10.0.0.1', '[1,5)');
SELECT count(asynctasq.register_model('key ' || attname, 'keys', key => ARRAY[attname::text]))
FROM pg_attribute WHERE attrelid = 'keys'::regclass AND attnum > 0;
-- what the row's own reference has for each, and that it comes back
CREATE FUNCTION own_keys() RETURNS TABLE (col name, key asynctasq.msgpack, comes_back boolean) LANGUAGE plpgsql AS $$
BEGIN
	FOR col IN SELECT attname FROM pg_attribute WHERE attrelid = 'keys'::regclass AND attnum > 0 ORDER BY attnum LOOP
		EXECUTE format('SELECT asynctasq.ref(%L, k.%I) FROM models.keys k', 'key ' || col, col) INTO key;
		comes_back := asynctasq.fetch(key) ->> 'i4' = '2';
		RETURN NEXT;
	END LOOP;
END $$;
SELECT col, key::text::json ->> '__orm:sqlalchemy__' AS key, comes_back FROM own_keys();

-- other forms of the same key
CREATE FUNCTION found(class text, key text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN coalesce(asynctasq.fetch(format('{"__orm:sqlalchemy__": %s, "__orm_class__": "key %s"}', key, class)::asynctasq.msgpack) ->> 'i4', 'null');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SET client_min_messages = error;
SELECT class, key, found(class, key) FROM (VALUES
	('i4', '"2"'), ('i4', '" 2 "'), ('i4', '"two"'), ('i4', '"2.0"'), ('i4', '""'), ('i4', '2.5'), ('i4', '{"__float__": "2"}'), ('i4', 'true'),
	('i4', '2147483648'), ('i4', '"2147483648"'), ('i2', '40000'), ('i8', '9223372036854775808'), ('i8', '"9223372036854775807"'),
	('i4', '{"__decimal__": "2"}'), ('i4', '{"__bytes__": "Mg=="}'), ('i4', '[2]'), ('i4', '[2, 2]'), ('i4', '[]'), ('i4', '[null]'), ('i4', 'null'),
	('num', '"0.190"'), ('num', '{"__decimal__": "0.19"}'), ('num', '0.19'), ('num', '"x"'), ('num', '"NaN"'),
	('f8', '1.5'), ('f8', '"1.5"'), ('b', 'true'), ('b', '1'),
	('t', '"text"'), ('t', '5'), ('t', 'true'), ('t', '1.5'), ('t', '{"__bytes__": "dGV4dA=="}'), ('v', '5'), ('c', '5'), ('c', '"c"'), ('nm', '5'), ('l', '5'),
	('t', '{"__str__": "AHRleHQ="}'),
	('u', '"12345678123456781234567812345678"'), ('u', '{"__uuid__": "12345678-1234-5678-1234-567812345678"}'), ('u', '"1234"'), ('u', '5'),
	('d', '"2024-02-29"'), ('d', '{"__date__": "2024-02-29"}'), ('d', '"2023-02-29"'), ('d', '20240229'),
	('ts', '"2024-02-29T12:00:00.000001"'), ('ts', '{"__timestamp__": "2024-02-29T06:30:00.000001+00:00"}'),
	('tz', '{"__timestamp__": "2024-02-29T12:00:00.000001+00:00"}'), ('tz', '{"__datetime__": "2024-02-29T13:00:00.000001+01:00"}'),
	('tz', '"2024-02-29T17:30:00.000001"'), ('tz', '5'),
	('by', '{"__bytes__": "AP8="}'), ('by', '"\\x00ff"'), ('e', '"Bad"'), ('e', '"bad"'), ('e', '2'), ('p', '3'), ('p', '"3"'), ('p', '-3'), ('p', '"-3"'),
	('l', '"none"'), ('r', '"[1,4]"'), ('ip', '"10.0.0.1"'), ('ip', '"x"')) AS v (class, key);
-- aware datetimes in all three forms of the timestamp: 32, 64 and 96 bits
CREATE TABLE moments (at timestamptz PRIMARY KEY);
INSERT INTO moments VALUES ('2024-02-29 12:00:00+00'), ('2024-02-29 12:00:00.5+00'), ('1960-01-01 00:00:00.25+00');
SELECT asynctasq.register_model('Moment', 'moments');
SELECT substr(ref::bytea::text, 43, 2) AS type, asynctasq.fetch(ref) FROM moments m, asynctasq.ref(m) AS ref ORDER BY at;
SELECT asynctasq.fetch(ref) -> 'at' FROM unnest(ARRAY[
	'\x82b25f5f6f726d3a73716c616c6368656d795f5fd6ff65e071c0ad5f5f6f726d5f636c6173735f5fa64d6f6d656e74',
	'\x82b25f5f6f726d3a73716c616c6368656d795f5fd7ff7735940065e071c0ad5f5f6f726d5f636c6173735f5fa64d6f6d656e74',
	'\x82b25f5f6f726d3a73716c616c6368656d795f5fc70cff0ee6b280ffffffffed300880ad5f5f6f726d5f636c6173735f5fa64d6f6d656e74'
	]::bytea[]) AS bytes, CAST(bytes AS asynctasq.msgpack) AS ref;
RESET client_min_messages;

--
-- What cannot be followed: the class is named, the task fails, the others do not
--
SELECT asynctasq.register_model('Composite', 'parted', orm => 'django', key => '{region, id}');
SELECT refer('Nobody', '1'), refer('Parent', '7', 'django'), refer('Parent', 'null'), refer('Parent', '[1, 2]'), refer('Parted', '"us"'),
	refer('Composite', '["us", null]', 'django'), refer('Composite', '["us", "one"]', 'django'), refer('Composite', '["us", 9]', 'django'),
	refer('Parent', '"7; DROP TABLE base"'), refer('Parent', '7'),
	refer('models.base; DROP TABLE base', '1', 'postgres'), refer('models."base"x', '1', 'postgres'), refer('models.b' || U&'\0430' || 'se', '1', 'postgres'),
	refer('"', '1', 'postgres'), refer('', '1', 'postgres'), refer('models.' || repeat('x', 10000), '1', 'postgres'), refer(repeat('y', 300), '1'),
	refer('models.base', '1', 'postgres');
SELECT left(outcome, 90) AS outcome, context FROM outcome();
SELECT refer('{"__orm:sqlalchemy__": 7, "__orm_class__": "Parent", "__orm_class_file__": "/no/such/file"}'::asynctasq.msgpack),
	refer('{"__orm:tortoise__": 7, "__orm_class__": "Parent", "__orm_class_file__": "/no/such/file"}'::asynctasq.msgpack),
	refer('{"__type__": "__lazy_orm_proxy__", "model_class": "Parent", "pk": 7}'::asynctasq.msgpack),
	refer('{"__orm:sqlalchemy__": 7}'::asynctasq.msgpack), refer('{"__orm:sqlalchemy__": 7, "__orm_class__": "Parent", "x": 1}'::asynctasq.msgpack);
SELECT * FROM outcome();

-- classes are told apart by their ORM
SELECT asynctasq.register_model('Twice', 'parent', orm => 'sqlalchemy'),
	asynctasq.register_model('Twice', 'loose', orm => 'django'),
	asynctasq.register_model('Twice', 'base', orm => 'tortoise');
SELECT refer('Twice', '7'), refer('Twice', '1', 'django'), refer('Twice', '1', 'tortoise'), refer('Twice', '1', 'postgres');
SELECT refer('{"__type__": "__lazy_orm_proxy__", "model_class": "Twice", "pk": 2}'::asynctasq.msgpack);
SELECT * FROM outcome();

-- a key that is not unique
CREATE TABLE doubled (id int, name text);
INSERT INTO doubled VALUES (1, 'secret one'), (1, 'secret two');
SELECT asynctasq.register_model('Doubled', 'doubled', key => '{id}');
SELECT refer('Doubled', '1');
SELECT * FROM outcome();

-- what can be locked: as PostgreSQL has it
CREATE VIEW counted AS SELECT id, count(*) FROM base GROUP BY id;
CREATE VIEW joined AS SELECT b.id, l.name FROM base b JOIN loose l USING (id);
SELECT asynctasq.register_model('Counted', 'counted', key => '{id}'), asynctasq.register_model('Joined', 'joined', key => '{id}'),
	asynctasq.register_handler('plain', 'plain(jsonb)', max_attempts => 1, lock => 'share');
SELECT refer('Parted', '["us", 1]'), refer('Parent', '7'), refer('Shown', '1'), refer('Joined', '1'), refer('Counted', '1'),
	refer('Kept', '1'), refer('Remote', '1'), refer(asynctasq.args('many', ARRAY[asynctasq.ref('Shown', 1), asynctasq.ref('Shown', 1::text)])),
	refer(asynctasq.args('many', ARRAY[asynctasq.ref('Counted', 1), asynctasq.ref('Counted', 2)]));
SELECT * FROM outcome();
SELECT lock FROM asynctasq.stat_handlers WHERE task = 'plain';

RESET search_path;
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SERVER models_loop CASCADE;
DROP EXTENSION postgres_fdw;
DROP SCHEMA models, "Other ""schema" CASCADE;
