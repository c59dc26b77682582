--
-- Lazy arguments: fetch() and fetch_related()
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA lazy;
SET search_path = lazy, public;
CREATE TABLE customers (id int PRIMARY KEY, name text, boss int REFERENCES customers);
CREATE TABLE regions (country text, code int, name text, PRIMARY KEY (country, code));
CREATE TABLE lots (region text, id bigint, name text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE lots_a PARTITION OF lots FOR VALUES IN ('a');
CREATE TABLE lots_b PARTITION OF lots FOR VALUES IN ('b');
CREATE TABLE orders (
	id int PRIMARY KEY,
	gone int,
	customer_id bigint REFERENCES customers,
	"Payer" int CONSTRAINT "the payer" REFERENCES customers,
	country text,
	region int,
	lot_region text,
	lot bigint,
	code varchar(10),
	note text,
	FOREIGN KEY (country, region) REFERENCES regions,
	FOREIGN KEY (lot_region, lot) REFERENCES lots);
ALTER TABLE orders DROP COLUMN gone;
INSERT INTO customers VALUES (1, 'Ann', NULL), (2, 'Bela', 1);
INSERT INTO regions VALUES ('DE', 5, 'north');
INSERT INTO lots VALUES ('a', 1, 'lot a'), ('b', 1, 'lot b');
INSERT INTO orders VALUES (10, 1, 2, 'DE', 5, 'b', 1, 'x', 'first'), (11, NULL, NULL, 'DE', NULL, NULL, NULL, NULL, 'second');
CREATE VIEW orders_view AS SELECT * FROM orders;
SELECT asynctasq.register_model('Order', 'orders'),
	asynctasq.register_model('Order', 'orders', orm => 'django'),
	asynctasq.register_model('Order', 'orders', orm => 'tortoise', on_missing => 'discard'),
	asynctasq.register_model('View', 'orders_view', key => '{id}');
CREATE FUNCTION r(id int, orm text DEFAULT 'sqlalchemy', class text DEFAULT 'Order') RETURNS asynctasq.msgpack LANGUAGE sql
	RETURN format('{"__orm:%s__": %s, "__orm_class__": "%s"}', orm, id, class)::asynctasq.msgpack;

-- a row of its own type
SELECT * FROM asynctasq.fetch(NULL::orders, r(10));
SELECT (asynctasq.fetch(NULL::customers, asynctasq.ref('lazy.customers', 2))).name;
SELECT (asynctasq.fetch(NULL::orders_view, r(11, class => 'View'))).note;
SELECT asynctasq.fetch(o, r(11)) FROM orders o WHERE id = 10;
-- also what the same statement has written, as with any volatile function
BEGIN;
WITH made AS (INSERT INTO customers VALUES (3, 'Cleo') RETURNING id) SELECT (asynctasq.fetch(NULL::customers, asynctasq.ref('lazy.customers', id))).name FROM made;
WITH made AS (INSERT INTO orders (id, note) VALUES (12, 'third') RETURNING id) SELECT (asynctasq.fetch(NULL::orders_view, r(id, class => 'View'))).note FROM made;
ROLLBACK;
SELECT asynctasq.fetch(NULL::orders, NULL) IS NULL AS null_reference, asynctasq.fetch(NULL::orders, 'null'::asynctasq.msgpack) IS NULL AS nil;
-- missing, as the model says
SELECT asynctasq.fetch(NULL::orders, r(99));
SELECT asynctasq.fetch(NULL::orders, r(99, 'django'));
\set VERBOSITY sqlstate
SELECT asynctasq.fetch(NULL::orders, r(99, 'tortoise'));
SELECT asynctasq.fetch(NULL::customers, r(10));
SELECT asynctasq.fetch(NULL::int, r(10));
SELECT asynctasq.fetch(NULL::orders[], r(10));
SELECT asynctasq.fetch(NULL::orders, '[]'::asynctasq.msgpack);
\set VERBOSITY default
SELECT asynctasq.fetch(NULL::customers, r(10));
SELECT asynctasq.fetch(NULL::int, r(10));
SELECT asynctasq.fetch(NULL::orders, 5::text::asynctasq.msgpack);
SELECT asynctasq.fetch(NULL::orders, jsonb_build_array(r(10)::jsonb)::asynctasq.msgpack);
SELECT asynctasq.fetch(NULL::orders, '{"id": 10}'::asynctasq.msgpack);
SELECT asynctasq.fetch(NULL::orders, r(10, class => 'Nobody'));

-- read again: it must be there
SELECT asynctasq.refresh(r(10)), asynctasq.refresh(r(11, class => 'View')) ->> 'note' AS view, asynctasq.refresh(NULL) IS NULL AS null_reference;
SELECT asynctasq.refresh(r(99));
\set VERBOSITY sqlstate
SELECT asynctasq.refresh(r(99));
SELECT asynctasq.refresh(r(99, 'tortoise'));
\set VERBOSITY default
SELECT asynctasq.refresh('null');
SELECT asynctasq.refresh(jsonb_build_array(r(10)::jsonb)::asynctasq.msgpack);
SELECT asynctasq.refresh(r(10, class => 'Nobody'));

-- along a foreign key: by column, of several columns, by name
SELECT asynctasq.fetch_related(r(10), 'customer_id') AS customer, asynctasq.fetch_related(r(10), 'Payer') AS payer,
	asynctasq.fetch_related(r(10), 'the payer') AS by_name;
SELECT asynctasq.fetch_related(r(10), 'country') AS region, asynctasq.fetch_related(r(10), 'region') AS region_too;
SELECT asynctasq.fetch_related(r(10), 'lot') AS partitioned, asynctasq.fetch_related(asynctasq.ref('lazy.customers', 2), 'boss') AS self;
SELECT asynctasq.fetch_related(r(11), 'customer_id') AS no_customer, asynctasq.fetch_related(r(11), 'region') AS half_null,
	asynctasq.fetch_related(NULL, 'customer_id') AS no_reference, asynctasq.fetch_related('null', 'customer_id') AS nil;
-- a column in several foreign keys: its own goes first, else the name is needed
ALTER TABLE orders ADD CONSTRAINT order_region_too FOREIGN KEY (region, country) REFERENCES regions (code, country) NOT VALID;
SELECT asynctasq.fetch_related(r(10), 'region');
SELECT asynctasq.fetch_related(r(10), 'order_region_too');
CREATE TABLE countries (code text PRIMARY KEY, name text);
INSERT INTO countries VALUES ('DE', 'Germany');
ALTER TABLE orders ADD CONSTRAINT order_country FOREIGN KEY (country) REFERENCES countries;
SELECT asynctasq.fetch_related(r(10), 'country');
ALTER TABLE orders ADD FOREIGN KEY (country) REFERENCES countries;
SELECT asynctasq.fetch_related(r(10), 'country');
SELECT asynctasq.fetch_related(r(10), 'order_country');
-- refused
SELECT asynctasq.fetch_related(r(10), 'note');
SELECT asynctasq.fetch_related(r(10), 'nothing');
SELECT asynctasq.fetch_related(r(10), 'gone');
SELECT asynctasq.fetch_related(r(10), 'ctid');
SELECT asynctasq.fetch_related(asynctasq.ref('lazy.customers', 2), 'name; DROP TABLE orders');
SELECT asynctasq.fetch_related(r(10, class => 'View'), 'customer_id');
SELECT asynctasq.fetch_related('5', 'customer_id');
SELECT asynctasq.fetch_related(r(10, class => 'Nobody'), 'customer_id');
SELECT asynctasq.fetch_related('{"__orm:sqlalchemy__": [1, 2], "__orm_class__": "Order"}', 'customer_id');
\set VERBOSITY sqlstate
SELECT asynctasq.fetch_related(r(10), 'note');
SELECT asynctasq.fetch_related(r(10), 'nothing');
SELECT asynctasq.fetch_related(r(10), 'region');
SELECT asynctasq.fetch_related('5', 'customer_id');
\set VERBOSITY default
-- the row itself is missing: as its model says
SELECT asynctasq.fetch_related(r(99), 'customer_id');
SELECT asynctasq.fetch_related(r(99, 'django'), 'customer_id');
-- the row it leads to is not there, where nobody checked
SET session_replication_role = replica;
INSERT INTO orders (id, customer_id) VALUES (12, 77);
RESET session_replication_role;
SELECT asynctasq.fetch_related(r(12), 'customer_id');
-- what is changed is seen
BEGIN;
ALTER TABLE customers RENAME TO clients;
ALTER TABLE clients RENAME id TO key;
ALTER TABLE orders RENAME customer_id TO client;
UPDATE clients SET name = 'renamed' WHERE key = 1;
SELECT asynctasq.fetch_related(r(10), 'client');
ROLLBACK;

-- nothing is read before it is asked for, and then in the task's transaction
CREATE TABLE log (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION note_read(id int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO lazy.log (what) VALUES ('order ' || id || ' is read');
	RETURN true;
END $$;
CREATE VIEW noted AS SELECT id, note, note_read(id) FROM orders;
SELECT asynctasq.register_model('Noted', 'noted', key => '{id}');
CREATE FUNCTION look(o asynctasq.msgpack, when_asked boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE found lazy.noted;
BEGIN
	INSERT INTO lazy.log (what) VALUES ('begin');
	IF when_asked THEN
		UPDATE lazy.orders SET note = 'changed by the task' WHERE id = 10;
		found := asynctasq.fetch(found, o);
		INSERT INTO lazy.log (what) VALUES (found.note), (asynctasq.fetch(o) ->> 'note');
	END IF;
END $$;
SELECT asynctasq.register_handler('look', 'look(asynctasq.msgpack, boolean)', max_attempts => 1);
SELECT count(asynctasq.dispatch('look', asynctasq.args('o', r(10, class => 'Noted'), 'when_asked', w)))
FROM unnest(ARRAY[false, true]) AS w;
SELECT asynctasq.drain();
SELECT what FROM log ORDER BY n;

-- what the registry has given survives a change under way: row security that registers models
CREATE FUNCTION unruly(id int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.register_model('Made ' || i, 'lazy.customers') FROM generate_series(1, 3) AS i;
	PERFORM asynctasq.ref('Made 1', 1);
	RETURN true;
END $$;
CREATE VIEW unruly_orders AS SELECT id, note FROM orders WHERE unruly(id);
SELECT asynctasq.register_model('Unruly', 'unruly_orders', key => '{id}');
SELECT asynctasq.fetch(jsonb_build_array(r(10, class => 'Unruly')::jsonb, r(11, class => 'Unruly')::jsonb, r(10)::jsonb, r(11)::jsonb)::asynctasq.msgpack) -> 1;
SELECT asynctasq.fetch(NULL::unruly_orders, r(11, class => 'Unruly'));

RESET search_path;
SET client_min_messages = error;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA lazy CASCADE;
