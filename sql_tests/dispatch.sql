--
-- Dispatching: options, order, transactions, payloads of the Python package
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA d;
SET search_path = d, public;
CREATE TABLE got (n serial, value text);
CREATE FUNCTION note(v text) RETURNS void LANGUAGE sql AS $$ INSERT INTO d.got (value) VALUES (v) $$;
SELECT asynctasq.register_handler('note', 'note(text)');

-- arguments
SELECT asynctasq.args();
SELECT asynctasq.args('a', 1, 'b', 'x', 'c', NULL::text, 'd', ARRAY[1.5, 2]);
SELECT asynctasq.args('a');
SELECT asynctasq.args(1, 2);
SELECT asynctasq.args(NULL, 2);
SELECT asynctasq.args('a', 1, 'a', 2);
SELECT asynctasq.args(VARIADIC ARRAY['a', 'b', 'c', 'd']);
SELECT asynctasq.args(VARIADIC NULL::text[]);
SELECT asynctasq.set(ARRAY['x', 'y']);

-- ids ascend; order is by priority, then id
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'second')) AS a \gset
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'third')) AS b \gset
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'first'), priority => -1) AS c \gset
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'last'), priority => 2147483647) AS d \gset
SELECT :a < :b AND :b < :c AND :c < :d AS ascending;
SELECT task, queue, status, priority, attempt, max_attempts, args FROM asynctasq.tasks ORDER BY id;
SELECT asynctasq.drain(max_tasks => 1), asynctasq.drain(max_tasks => 0), asynctasq.drain();
SELECT value FROM got ORDER BY n;
TRUNCATE got;

-- many at once
SELECT count(*) = 3 AND min(id) < max(id) AS ok
FROM asynctasq.dispatch_many('note', ARRAY[asynctasq.args('v', 'a'), '{"v": "b"}', '{"v": "c"}'], priority => 3) id;
SELECT asynctasq.drain();
SELECT asynctasq.dispatch_many('note', '{}');
SELECT asynctasq.dispatch_many('note', NULL);
SELECT asynctasq.dispatch_many('note', ARRAY[NULL::asynctasq.msgpack]);
SELECT value FROM got ORDER BY n;
TRUNCATE got;

-- rolled back, it never was
BEGIN;
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'no')) > 0 AS ok;
SAVEPOINT s;
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'no')) > 0 AS ok;
ROLLBACK TO s;
SELECT count(*) FROM asynctasq.tasks;
ROLLBACK;
SELECT count(*) FROM asynctasq.tasks;

-- later
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'later'), delay => '1 hour') AS id \gset
SELECT status, run_at - dispatched_at BETWEEN '59 min' AND '61 min' AS in_an_hour FROM asynctasq.task_info(:id);
SELECT asynctasq.drain();
SELECT asynctasq.cancel(:id);
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'past'), run_at => '2000-01-01') AS id \gset
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'now'), delay => '0') AS id \gset
SELECT asynctasq.drain();

-- what is refused
SELECT asynctasq.dispatch('nobody');
SELECT asynctasq.dispatch(NULL);
SELECT asynctasq.dispatch('note', NULL);
SELECT asynctasq.dispatch('note', '[1]');
SELECT asynctasq.dispatch('note', delay => '1 s', run_at => now());
SELECT asynctasq.dispatch('note', delay => '-1 s');
SELECT asynctasq.dispatch('note', delay => '100000 years');
SELECT asynctasq.dispatch('note', run_at => 'infinity');
SELECT asynctasq.dispatch('note', max_attempts => 0);
SELECT asynctasq.dispatch('note', max_attempts => 1001);
SELECT asynctasq.dispatch('note', retry_delay => '-1 s');
SELECT asynctasq.dispatch('note', timeout => '0');
SELECT asynctasq.dispatch('note', timeout => '1 year');
SELECT asynctasq.dispatch('note', queue => '');
SELECT asynctasq.dispatch('note', queue => repeat('x', 256));
SELECT asynctasq.dispatch('note', queue => E'a\nb');
SELECT asynctasq.drain('no such queue');
SELECT asynctasq.drain(max_tasks => -1);
BEGIN READ ONLY;
SELECT asynctasq.dispatch('note', '{"v": "x"}');
ROLLBACK;
SET asynctasq.max_payload = '1kB';
SELECT asynctasq.dispatch('note', asynctasq.args('v', repeat('x', 2000)));
RESET asynctasq.max_payload;
SELECT count(*) FROM asynctasq.tasks;
TRUNCATE got;

-- an unknown queue is made on first use, and belongs to the handler's role
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'elsewhere'), queue => 'made') > 0 AS ok;
SELECT queue, owner = current_user AS ours, durable, ready FROM asynctasq.stat_queues ORDER BY queue;
SELECT asynctasq.drain('default'), asynctasq.drain('made');

-- durable queues
SELECT asynctasq.create_queue('safe', durable => true);
SELECT asynctasq.dispatch('note', asynctasq.args('v', 'durable'), queue => 'safe') > 0 AS ok;
SELECT tableoid::regclass, task FROM asynctasq.task;
SELECT asynctasq.drain('safe');
SELECT value FROM got ORDER BY n;
TRUNCATE got;

-- names that nothing interpolates
SELECT asynctasq.register_handler('n"o''t; e', 'note(text)', queue => 'q"''; DROP');
SELECT asynctasq.dispatch('n"o''t; e', asynctasq.args('v', 'odd name')) > 0 AS ok;
SELECT asynctasq.drain();
SELECT value FROM got ORDER BY n;
TRUNCATE got;

-- from triggers and functions
CREATE TABLE orders (id int PRIMARY KEY);
CREATE FUNCTION on_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM asynctasq.dispatch('note', asynctasq.args('v', 'order ' || NEW.id));
	RETURN NULL;
END $$;
CREATE TRIGGER on_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION on_order();
INSERT INTO orders VALUES (1), (2);
SELECT asynctasq.drain();
SELECT value FROM got ORDER BY n;
TRUNCATE got;

--
-- tasks that the Python package wrote
--
\getenv abs_srcdir PG_ABS_SRCDIR
CREATE TABLE lines (line jsonb);
\set path :abs_srcdir '/data/payloads.jsonl'
COPY lines FROM :'path' CSV QUOTE E'\x01' DELIMITER E'\x02';
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE articles (id int PRIMARY KEY, title text);
CREATE TABLE invoices (id uuid PRIMARY KEY, total numeric);
INSERT INTO users VALUES (42, 'Ann');
INSERT INTO articles VALUES (7, 'News');
INSERT INTO invoices VALUES ('a1b2c3d4-e5f6-4711-8899-aabbccddeeff', 12.5);
SELECT asynctasq.register_model('shop.sa_models.User', 'users'),
	asynctasq.register_model('shop.dj_models.Article', 'articles', orm => 'django'),
	asynctasq.register_model('shop.dj_models.Invoice', 'invoices', orm => 'django');
CREATE FUNCTION plain(a jsonb DEFAULT NULL, b text DEFAULT NULL, c float8 DEFAULT NULL, d text DEFAULT NULL,
	flag bool DEFAULT NULL, "when" timestamp DEFAULT NULL, ids uuid[] DEFAULT NULL, "by" jsonb DEFAULT NULL)
RETURNS void LANGUAGE sql AS $$ INSERT INTO d.got (value) VALUES (concat_ws(' ', 'plain', a, b, c, d, flag, "when", ids, "by")) $$;
CREATE FUNCTION send_email(recipient text, subject text, attachments bytea[], amount numeric)
RETURNS void LANGUAGE sql AS $$ INSERT INTO d.got (value) VALUES (concat_ws(' ', recipient, subject, attachments, amount)) $$;
CREATE FUNCTION crunch(n int, data jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO d.got (value) VALUES (concat_ws(' ', n, data)) $$;
CREATE FUNCTION charge("user" users, amount numeric, currency text, tags text[])
RETURNS void LANGUAGE sql AS $$ INSERT INTO d.got (value) VALUES (concat_ws(' ', "user".name, amount, currency, tags)) $$;
CREATE FUNCTION nightly() RETURNS void LANGUAGE sql AS $$ INSERT INTO d.got (value) VALUES ('nightly') $$;
SELECT asynctasq.register_handler('shop.tasks.plain', (SELECT oid::regprocedure FROM pg_proc WHERE proname = 'plain')),
	asynctasq.register_handler('shop.tasks.send_email', 'send_email(text, text, bytea[], numeric)'),
	asynctasq.register_handler('shop.tasks.crunch', 'crunch(int, jsonb)'),
	asynctasq.register_handler('shop.tasks.ChargeCard', 'charge(users, numeric, text, text[])'),
	asynctasq.register_handler('shop.tasks.Nightly', 'nightly()');
SELECT count(asynctasq.dispatch_payload(decode(line ->> 'hex', 'hex')))
FROM (SELECT line FROM lines WHERE line ->> 'kind' = 'task' ORDER BY line ->> 'name') l;
SELECT task, queue, max_attempts, correlation_id FROM asynctasq.tasks ORDER BY id;
SELECT asynctasq.drain();
SELECT value FROM got ORDER BY n;
SELECT task, error ->> 'message' AS message FROM asynctasq.dead_letters;
-- later
SELECT asynctasq.dispatch_payload(decode(line ->> 'hex', 'hex'), delay => '1 hour') > 0 AS ok
FROM lines WHERE line ->> 'name' = 'task_class_no_params';
SELECT status FROM asynctasq.tasks;

-- payloads that are none
SELECT asynctasq.dispatch_payload(NULL);
SELECT asynctasq.dispatch_payload('\x');
SELECT asynctasq.dispatch_payload('\xc1');
SELECT asynctasq.dispatch_payload('\x93010203');
SELECT asynctasq.dispatch_payload('{"params": {}, "metadata": {}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "x", "metadata": {}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "x", "params": {}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": 1, "params": {}, "metadata": {}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "x", "params": {}, "metadata": []}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "no.such", "params": {}, "metadata": {}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "asynctasq.tasks.types.function_task.FunctionTask", "params": {}, "metadata": {}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "note", "params": {}, "metadata": {"max_attempts": "x"}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "note", "params": {}, "metadata": {"retry_delay": -1}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "note", "params": {}, "metadata": {"timeout": 0}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "note", "params": [], "metadata": {}}'::asynctasq.msgpack::bytea);
SELECT asynctasq.dispatch_payload('{"class": "note", "params": {"v": "x"}, "metadata": {}}'::asynctasq.msgpack::bytea, delay => '-1 s');

RESET search_path;
DROP EXTENSION asynctasq CASCADE;
\set VERBOSITY terse
DROP SCHEMA d CASCADE;
