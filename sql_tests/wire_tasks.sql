--
-- Names, options and payloads that are odd: stored as they are or refused,
-- never interpolated, never retried in vain
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset format unaligned
CREATE SCHEMA odd;
SET search_path = odd, public, asynctasq;
CREATE TABLE got (n serial, value text);
CREATE FUNCTION note(v text) RETURNS void LANGUAGE sql AS $$ INSERT INTO odd.got (value) VALUES (v) $$;
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed'; END $$;

-- What a query gives, or the error.
CREATE FUNCTION outcome(query text, arg text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	result text;
BEGIN
	EXECUTE query INTO result USING arg;
	RETURN coalesce(nullif(result, ''), 'done');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;

--
-- names
--
CREATE TABLE name (n serial, what text, name text);
INSERT INTO name (what, name) VALUES ('null', NULL), ('empty', ''), ('10 KB', repeat('n', 10240)), ('255 bytes', repeat('n', 255)), ('256 bytes', repeat('n', 256)),
	('85 characters of 3 bytes', repeat(U&'\20AC', 85)), ('86 characters of 3 bytes', repeat(U&'\20AC', 86)), ('quotes', '''"`'), ('statement', '''; DROP TABLE odd.got; --'), ('dollar quote', '$$ $1 %s %I'), ('backslash', E'a\\b'),
	('space', ' '), ('unicode', U&'\00E9\4E2D\+01F600'), ('right to left', U&'a\202Eb'), ('zero width', U&'\200B'), ('tab', E'\t'), ('newline', E'a\nb'), ('bell', E'\u0007'), ('escape', E'\x1b[2J'), ('delete', E'\x7f'), ('C1 control', E'\u0085'), ('look-alike', U&'n\043Ete'), ('upper case', 'NOTE');
SELECT what, left(outcome('SELECT asynctasq.register_handler($1, ''odd.note(text)'')', name), 120) AS handler,
	left(outcome('SELECT asynctasq.create_queue($1)', name), 120) AS queue,
	left(outcome('SELECT asynctasq.register_model($1, ''odd.got'', key => ''{n}'')', name), 120) AS model
FROM name ORDER BY n;
-- verbatim where they were taken, in every function that takes one
SELECT count(*) AS taken, count(*) FILTER (WHERE q.queue IS NOT NULL) AS same_queue,
	count(*) FILTER (WHERE outcome('SELECT asynctasq.dispatch($1, asynctasq.args(''v'', $1), queue => $1) > 0', name) = 'true') AS dispatched,
	count(*) FILTER (WHERE outcome('SELECT asynctasq.pause_queue($1)', name) = 'done') AS paused,
	count(*) FILTER (WHERE outcome('SELECT asynctasq.resume_queue($1)', name) = 'done') AS resumed,
	count(*) FILTER (WHERE outcome('SELECT asynctasq.grant_dispatch($1, current_user)', name) = 'done') AS granted
FROM name LEFT JOIN asynctasq.stat_queues AS q ON q.queue = name.name
WHERE length(name) > 0 AND octet_length(name) < 256 AND name !~ '[\x01-\x1f\x7f]';
SELECT count(*) FROM asynctasq.tasks JOIN name ON task = name AND queue = name AND args = jsonb_build_object('v', name);
SELECT drain();
SELECT count(*) FROM got JOIN name ON value = name;
SELECT count(*) FROM name WHERE outcome('SELECT asynctasq.unregister_handler($1)', name) = 'done'
	AND outcome('SELECT asynctasq.unregister_model($1)', name) = 'done' AND outcome('SELECT asynctasq.drop_queue($1)', name) = 'done';
-- where a name is only looked for
SELECT what, left(outcome('SELECT asynctasq.dispatch($1)', name), 100) AS dispatch, left(outcome('SELECT asynctasq.purge_queue($1)', name), 100) AS purge, left(outcome('SELECT asynctasq.drain($1)', name), 100) AS drain
FROM name WHERE what IN ('null', 'empty', '10 KB', 'statement', 'newline') ORDER BY n;
SELECT register_handler('note', 'note(text)');
SELECT what, left(outcome('SELECT asynctasq.dispatch(''note'', ''{}'', queue => $1) > 0', name), 100) AS queue,
	left(outcome('SELECT asynctasq.dispatch(''note'', ''{}'', correlation_id => $1) > 0', name), 100) AS correlation_id FROM name WHERE what IN ('null', 'empty', '10 KB', 'newline') ORDER BY n;
SELECT task, queue, left(correlation_id, 20) AS correlation_id, length(correlation_id) FROM asynctasq.tasks ORDER BY id;
SELECT purge_queue('default');
-- in payloads too
SELECT what, left(outcome('SELECT asynctasq.dispatch_payload($1::jsonb::asynctasq.msgpack::bytea) > 0',
	jsonb_build_object('class', 'note', 'params', '{}'::jsonb, 'metadata', jsonb_build_object('queue', name))::text), 100) AS queue,
	left(outcome('SELECT asynctasq.dispatch_payload($1::jsonb::asynctasq.msgpack::bytea) > 0',
	jsonb_build_object('class', name, 'params', '{}'::jsonb, 'metadata', '{}'::jsonb)::text), 100) AS class
FROM name WHERE what IN ('null', 'empty', '10 KB', 'statement', 'newline') ORDER BY n;
SELECT queue FROM asynctasq.tasks ORDER BY id;
SELECT purge_queue(queue) FROM asynctasq.stat_queues WHERE ready > 0 ORDER BY queue;

--
-- options at their extremes
--
SELECT option, value, outcome(format('SELECT asynctasq.dispatch(''note'', ''{}'', %s => %s) > 0', option, value)) AS outcome
FROM (VALUES ('delay', '''0'''), ('delay', '''3650 days'''), ('delay', '''3650 days 1 us'''), ('delay', '''-1 us'''), ('delay', '''178000000 years'''), ('delay', '''-178000000 years'''), ('delay', '''2147483647 days'''), ('delay', '''200000000000 s'''), ('delay', '''10 years -3650 days'''), ('delay', '''1000000000 months -1000000000 days'''),
	('run_at', '''294276-12-31 23:59:59.999999+00'''), ('run_at', '''-infinity'''), ('run_at', '''infinity'''), ('run_at', '''4714-11-24 00:00+00 BC'''),
	('priority', '2147483647'), ('priority', '-2147483648'), ('max_attempts', '1'), ('max_attempts', '1000'), ('max_attempts', '0'), ('max_attempts', '-2147483648'), ('max_attempts', '2147483647'),
	('retry_delay', '''0'''), ('retry_delay', '''3650 days'''), ('retry_delay', '''3651 days'''), ('retry_delay', '''178000000 years'''), ('retry_delay', '''-1 day'''),
	('timeout', '''1 ms'''), ('timeout', '''999 us'''), ('timeout', '''24 days 20:31:23.647'''), ('timeout', '''24 days 20:31:23.648'''), ('timeout', '''-1 s'''), ('timeout', '''178000000 years''')) AS v (option, value);
SELECT status, priority, count(*) FROM asynctasq.tasks GROUP BY 1, 2 ORDER BY 1, 2;
SELECT purge_queue('default');
SELECT option, value, outcome(format('SELECT asynctasq.register_handler(''note'', ''odd.note(text)'', %s => %s)', option, value)) AS outcome
FROM (VALUES ('retry_delay', '''3650 days'''), ('retry_delay', '''3651 days'''), ('retry_delay', '''-1 s'''), ('retry_delay', 'NULL'), ('max_attempts', '0'), ('max_attempts', '1000'), ('max_attempts', '2147483647'), ('timeout', '''0'''), ('timeout', '''178000000 years'''), ('priority', '-2147483648'), ('retry_strategy', '''linear'''), ('retry_strategy', 'NULL'), ('queue', '''''')) AS v (option, value);
SELECT register_handler('note', 'note(text)');
SELECT key, value, outcome('SELECT asynctasq.dispatch_payload($1::asynctasq.msgpack::bytea) > 0', format('{"class": "note", "params": {"v": "x"}, "metadata": {"%s": %s}}', key, value)) AS outcome
FROM (VALUES ('retry_delay', '{"__float__": "NaN"}'), ('retry_delay', '{"__float__": "Infinity"}'), ('retry_delay', '{"__float__": "-0"}'), ('retry_delay', '{"__float__": "1e15"}'), ('retry_delay', '315360000'), ('retry_delay', '315360001'), ('retry_delay', '18446744073709551615'), ('retry_delay', '-1'), ('retry_delay', 'null'), ('retry_delay', '"60"'), ('retry_delay', 'true'),
	('timeout', '{"__float__": "NaN"}'), ('timeout', '{"__float__": "Infinity"}'), ('timeout', '0'), ('timeout', '0.001'), ('timeout', '1e15'), ('timeout', '2147483.647'), ('timeout', '2147484'), ('timeout', 'null'), ('timeout', '-1'),
	('max_attempts', '0'), ('max_attempts', '1000'), ('max_attempts', '1001'), ('max_attempts', '9223372036854775807'), ('max_attempts', '18446744073709551615'), ('max_attempts', '3.5'), ('max_attempts', 'null'),
	('current_attempt', '-1'), ('current_attempt', '0'), ('current_attempt', '1000'), ('current_attempt', '1001'), ('current_attempt', 'null'), ('task_id', 'null'), ('task_id', '5'), ('queue', 'null'), ('queue', '5'), ('visibility_timeout', '{"__float__": "NaN"}'), ('dispatched_at', '"x"')) AS v (key, value);
SELECT drain() > 0 AS all_ran, count(*) AS dead FROM asynctasq.dead_letters;
TRUNCATE got;

-- a failure is settled whatever its number and its delay: never 22008
SELECT register_handler('fail', 'fail()');
CREATE TABLE retried (n serial, attempt int, delay text);
INSERT INTO retried (attempt, delay) VALUES (0, '60 s'), (1, '60 s'), (30, '60 s'), (62, '60 s'), (63, '60 s'), (64, '60 s'), (200, '60 s'), (998, '60 s'), (200, '1 us'), (200, '3650 days'), (998, '3650 days'), (200, '0'), (999, '3650 days');
SELECT count(dispatch_payload(format('{"class": "fail", "params": {}, "metadata": {"task_id": "%s", "max_attempts": 1000, "current_attempt": %s, "retry_delay": %s}}', n, attempt,
	extract(epoch FROM delay::interval))::asynctasq.msgpack::bytea)) FROM retried;
SELECT drain() > 0 AS ran;
SELECT r.attempt AS attempts_before, delay, t.status, t.attempt, CASE WHEN run_at > now() + '3649 days' THEN '3650 days' WHEN run_at > now() THEN justify_interval(date_trunc('minute', run_at - dispatched_at))::text ELSE 'at once' END AS next
FROM asynctasq.tasks AS t JOIN retried AS r ON t.correlation_id = r.n::text ORDER BY r.n;
SELECT correlation_id, attempt, error ->> 'sqlstate' AS sqlstate FROM asynctasq.dead_letters ORDER BY id;
SELECT purge_queue('default', true) > 0 AS purged;
SELECT register_handler('fail', 'fail()', retry_strategy => 'fixed', retry_delay => '3650 days', max_attempts => 1000);
SELECT dispatch('fail') AS id \gset
SELECT drain();
SELECT status, attempt, run_at > now() + '3649 days' AS later FROM task_info(:id);
SELECT purge_queue('default') > 0 AS purged;

--
-- text that is none: refused at the door; text that the server cannot hold:
-- a dead letter of one attempt
--
SELECT what, outcome('SELECT asynctasq.dispatch_payload($1::bytea)', ('\x83a5636c617373' || class || 'a6706172616d73' || params || 'a86d6574616461746180')) AS outcome
FROM (VALUES ('0xff in the class', 'a2ff61', '80'), ('overlong in the class', 'a2c0af', '80'), ('surrogate in the class', 'a3eda080', '80'), ('U+0000 in the class', 'a3610062', '80'),
	('0xff in a key', 'a46e6f7465', '81a2ff6101'), ('truncated in a key', 'a46e6f7465', '81a2e69701'), ('beyond U+10FFFF in a key', 'a46e6f7465', '81a4f490808001'), ('overlong in a value', 'a46e6f7465', '81a176a2c0af'), ('truncated in a value', 'a46e6f7465', '81a176a361e697'),
	('0xff in a set', 'a46e6f7465', '81a176c7030591a1ff'), ('surrogate in a key of a map in a list', 'a46e6f7465', '81a1769181a3eda08001'), ('0xff in the class of a reference', 'a46e6f7465', '81a17682b15f5f6f726d3a706f7374677265735f5f01ad5f5f6f726d5f636c6173735f5fa1ff')) AS v (what, class, params);
CREATE TABLE labels (label text PRIMARY KEY);
CREATE FUNCTION take_row(v labels) RETURNS void LANGUAGE sql AS '';
SELECT register_handler('take_row', 'take_row(labels)');
SELECT what, dispatch('note', args::msgpack) > 0 AS ok
FROM (VALUES ('U+0000 in the value', '\x81a176a3610062'::bytea), ('U+0000 in the name', '\x81a3760061a178'), ('name that is no text', '\x8101a178'), ('nil as name', '\x81c0a178'), ('map as name', '\x8180a178'), ('name that is not known', '\x81a177a178'), ('both names', '\x82a176a17801a178')) AS v (what, args);
SELECT count(dispatch('take_row', ('\x81a176'::bytea || ref)::msgpack))
FROM (VALUES ('\x82b0'::bytea || '__orm:postgres__' || '\x01ad' || '__orm_class__' || '\xa3610062'), ('\x82b0'::bytea || '__orm:postgres__' || '\xa3610062ad' || '__orm_class__' || '\xaa' || 'odd.labels')) AS v (ref);
SELECT drain();
SELECT attempt, error ->> 'sqlstate' AS sqlstate, error ->> 'message' AS message, args FROM asynctasq.dead_letters ORDER BY id;
SELECT count(*) FROM asynctasq.tasks;
SELECT purge_queue('default', true) > 0 AS purged;

--
-- ext types that no parameter takes, or that are malformed within their form: an error for each task
--
CREATE FUNCTION take_date(v date) RETURNS text LANGUAGE sql RETURN v::text;
CREATE FUNCTION take_numeric(v numeric) RETURNS text LANGUAGE sql RETURN v::text;
CREATE FUNCTION take_moment(v timestamptz) RETURNS text LANGUAGE sql RETURN v AT TIME ZONE 'UTC';
CREATE FUNCTION take_json(v jsonb) RETURNS text LANGUAGE sql RETURN v::text;
CREATE FUNCTION take_list(v int[]) RETURNS text LANGUAGE sql RETURN v::text;
SELECT register_handler('date', 'take_date(date)', keep_result => true), register_handler('numeric', 'take_numeric(numeric)', keep_result => true),
	register_handler('moment', 'take_moment(timestamptz)', keep_result => true), register_handler('json', 'take_json(jsonb)', keep_result => true), register_handler('list', 'take_list(int[])', keep_result => true);
SET datestyle = 'ISO';
SET timezone = 'UTC';
CREATE TABLE sent AS
SELECT row_number() OVER () AS n, what, handler, dispatch(handler, ('\x81a176'::bytea || v)::msgpack) AS id
FROM (VALUES ('Decimal NaN', 'numeric', '\xc703044e614e'::bytea), ('Decimal sNaN', 'numeric', '\xd604734e614e'), ('Decimal sNaN', 'json', '\xd604734e614e'),
	('Decimal 1e99999', 'date', '\xc7070431653939393939'), ('Decimal 1e999999', 'numeric', '\xd7043165393939393939'), ('Decimal 1e999999', 'json', '\xd7043165393939393939'),
	('set of sets', 'list', '\xc7090592d5059101c7010590'), ('set of sets', 'json', '\xc7090592d5059101c7010590'),
	('timestamp 32', 'moment', '\xd6ff65937f25'), ('timestamp 64', 'moment', '\xd7ff0000000465937f25'), ('timestamp 64 beyond 2^32', 'moment', '\xd7ff00000001ffffffff'), ('timestamp 96', 'moment', '\xc70cff00000001ffffffffffffffff'), ('timestamp 96, 292277 million years', 'moment', '\xc70cff000000007fffffffffffffff'),
	('timestamp 96, before 4713 BC', 'moment', '\xc70cff00000000ffffffc000000000'), ('timestamp 96, year 10000', 'moment', '\xc70cff000000000000003afff44180'), ('timestamp 96, year 10000', 'json', '\xc70cff000000000000003afff44180'), ('timestamp', 'date', '\xd6ff65937f25'), ('unknown code', 'json', '\xd46400'), ('unknown code', 'date', '\xd46400'), ('negative code', 'json', '\xd48000')) AS v (what, handler, v);
SELECT drain();
SELECT what, handler, status, attempt, result #>> '{}' AS result, error ->> 'sqlstate' AS sqlstate, error ->> 'message' AS message FROM sent, task_info(id) ORDER BY n;

RESET search_path;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION asynctasq CASCADE;
DROP SCHEMA odd CASCADE;
