-- Tasks as the Python package asynctasq wrote them.

SET search_path = shop;
\set ECHO queries
CREATE TABLE invoices (id uuid PRIMARY KEY, number text NOT NULL, amount numeric NOT NULL);
INSERT INTO invoices VALUES ('a1b2c3d4-e5f6-4711-8899-aabbccddeeff', '2024-0042', 120.50);

SELECT asynctasq.register_model('shop.sa_models.User', 'customers', 'sqlalchemy'),
	asynctasq.register_model('shop.dj_models.Article', 'items', 'django'),
	asynctasq.register_model('shop.dj_models.Invoice', 'invoices', 'django')
\g /dev/null

CREATE TABLE python_log (
	task_id bigint DEFAULT (asynctasq.current_task()).id,
	task text DEFAULT (asynctasq.current_task()).task,
	what text
);

CREATE FUNCTION charge_card("user" customers, amount numeric, currency text, tags text[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.python_log (what)
	VALUES (format('%s %s from %s <%s>, tags %s', amount, currency, "user".name, "user".email, tags));
END $$;

-- Positional arguments are bound by position, keyword arguments by name.
CREATE FUNCTION plain(a jsonb = NULL, b text = NULL, c float8 = NULL, d text = NULL,
	flag boolean = NULL, "when" timestamp = NULL, ids uuid[] = NULL, by jsonb = NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.python_log (what)
	VALUES (concat_ws(', ', 'a: ' || coalesce(a ->> 'name', a::text), 'b: ' || b, 'c: ' || c,
		'flag: ' || flag, 'when: ' || "when", 'ids: ' || ids::text,
		'invoice: ' || (by -> 'invoice' ->> 'number')));
END $$;

-- The rest of them in the same way.
\set ECHO none
CREATE FUNCTION send_email(recipient text, subject text, attachments bytea[], amount numeric)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.python_log (what)
	VALUES (format('to %s: "%s", %s EUR, attached %s', recipient, subject, amount, attachments[1]));
END $$;

CREATE FUNCTION crunch(n int, data jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.python_log (what)
	SELECT format('n %s, sum of the matrix %s', n, sum(x::numeric))
	FROM jsonb_array_elements(data -> 'm') AS line, jsonb_array_elements_text(line) AS x;
END $$;

CREATE FUNCTION nightly() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.python_log (what) VALUES ('good night');
END $$;

\set ECHO queries
SELECT asynctasq.register_handler('shop.tasks.plain',
		'plain(jsonb, text, float8, text, boolean, timestamp, uuid[], jsonb)'),
	asynctasq.register_handler('shop.tasks.send_email', 'send_email(text, text, bytea[], numeric)'),
	asynctasq.register_handler('shop.tasks.crunch', 'crunch(int, jsonb)'),
	asynctasq.register_handler('shop.tasks.ChargeCard', 'charge_card(customers, numeric, text, text[])'),
	asynctasq.register_handler('shop.tasks.Nightly', 'nightly()')
\g /dev/null
\set ECHO none
\ir python_payloads.sql
\echo
\echo SELECT asynctasq.dispatch_payload(payload) FROM python_payloads;
\echo
CREATE TABLE sent AS
SELECT name, asynctasq.dispatch_payload(payload) AS id FROM python_payloads ORDER BY name;
DO $$
BEGIN
	PERFORM asynctasq.wait(id) FROM shop.sent;
END $$;
SELECT name AS "written by Python as", task AS "run by", what AS "what the handler got"
FROM sent LEFT JOIN python_log ON task_id = id ORDER BY id;
SELECT demo.expect(count(*) = 8, 'eight Python tasks') FROM sent JOIN python_log ON task_id = id \gset
SELECT demo.expect(bool_or(what ~ 'Blue.*2024-0042'), 'Django references, resolved')
FROM python_log \gset
