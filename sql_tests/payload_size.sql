--
-- Bytes on the wire for a user of 25 columns: as a reference and as values.
-- The rows below stand in docs/references.md, too.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
CREATE SCHEMA shop;
SET search_path = shop, asynctasq, public;
SET timezone = 'UTC';
CREATE TABLE users (
	id bigint PRIMARY KEY,
	public_id uuid NOT NULL,
	email text NOT NULL,
	name text NOT NULL,
	display_name text,
	password_hash text NOT NULL,
	phone text,
	birthday date,
	language text NOT NULL,
	timezone text NOT NULL,
	street text,
	postal_code text,
	city text,
	country text,
	picture text,
	about text,
	credit numeric NOT NULL,
	logins int NOT NULL,
	newsletter boolean NOT NULL,
	verified boolean NOT NULL,
	tags text[] NOT NULL,
	preferences jsonb NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	last_login_at timestamptz
);
INSERT INTO users
SELECT 1000 + n, '12345678-1234-5678-1234-567812345678', 'ann.miller@example.org',
	'Ann Miller', 'Ann', '$2b$12$' || repeat('x', 53), '+49 30 1234567', '1990-02-28', 'de',
	'Europe/Berlin', 'Unter den Linden 1', '10117', 'Berlin', 'DE',
	'https://cdn.example.org/pictures/1001/portrait.jpg',
	'Reads on trains, writes at night, and answers letters on Sundays.', 12.50, 42, true, true, '{vip,early}', '{"theme": "dark", "page": 50}',
	'2024-01-02 03:04:05.678901+00', '2024-05-06 07:08:09.101112+00', NULL
FROM generate_series(1, 100) AS n;
SELECT count(*) FROM pg_attribute
WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped;
SELECT asynctasq.register_model('shop.models.User', 'users');

-- A row of a view has no key: it goes as a map of its columns.
CREATE VIEW user_values AS TABLE users;

CREATE VIEW payload_size AS
WITH payload (ord, arguments, rows, args) AS (
	SELECT 1, 'a reference', 1, asynctasq.args('user', u)
	FROM users AS u WHERE id = 1001
	UNION ALL
	SELECT 2, 'its values, with their types', 1, asynctasq.args('user', u)
	FROM user_values AS u WHERE id = 1001
	UNION ALL
	SELECT 3, 'its values, from `to_jsonb`', 1, asynctasq.args('user', to_jsonb(u))
	FROM users AS u WHERE id = 1001
	UNION ALL
	SELECT 4, 'its values, from `row_to_json`', 1, asynctasq.args('user', row_to_json(u))
	FROM users AS u WHERE id = 1001
	UNION ALL
	SELECT 5, 'a list of references', 100, asynctasq.args('users', array_agg(u))
	FROM users AS u
	UNION ALL
	SELECT 6, 'a list of their values', 100, asynctasq.args('users', array_agg(u))
	FROM user_values AS u
)
SELECT *, octet_length(args::bytea) AS bytes,
	first_value(octet_length(args::bytea)) OVER (PARTITION BY rows ORDER BY ord) AS reference
FROM payload;

-- What is measured are references, and the values of the same rows.
SELECT ord, args -> 'user' ->> '__orm_class__' AS class, args -> 'user' ->> 'email' AS email
FROM payload_size WHERE rows = 1 ORDER BY ord;
SELECT jsonb_array_length(args::jsonb -> 'users') AS items,
	args -> 'users' -> 99 ->> '__orm:sqlalchemy__' AS reference,
	args -> 'users' -> 99 ->> 'id' AS id
FROM payload_size WHERE rows > 1 ORDER BY ord;

-- 90 % are saved, and more.
SELECT bool_and(reference < 0.1 * bytes) FROM payload_size WHERE bytes <> reference;
\pset format unaligned
\pset tuples_only
SELECT format('| %s | %s | %s | %s |', rows, arguments, bytes,
	CASE WHEN bytes <> reference THEN round(100 - 100.0 * reference / bytes, 1) || ' %' END)
FROM payload_size ORDER BY ord;
\pset tuples_only
\pset format aligned

SELECT asynctasq.unregister_model('shop.models.User');
SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;
