-- What an administrator does once: a role and a database for an application,
-- the extension, and leave to use it.

\set ECHO queries
CREATE ROLE shop LOGIN;
CREATE DATABASE shop OWNER shop;
\set ECHO none
\connect shop postgres
\set ECHO queries
CREATE EXTENSION asynctasq;
GRANT USAGE ON SCHEMA asynctasq TO shop;
\set ECHO none

-- Helpers of the demonstration itself.
CREATE SCHEMA demo AUTHORIZATION shop;
SET ROLE shop;

CREATE FUNCTION demo.expect(ok boolean, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF ok IS NOT TRUE THEN
		RAISE EXCEPTION 'the demonstration went wrong: expected %', what;
	END IF;
END $$;

CREATE PROCEDURE demo.wait_until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	reached boolean := false;
	deadline timestamptz := clock_timestamp() + interval '60 s';
BEGIN
	LOOP
		EXECUTE condition INTO reached;
		EXIT WHEN reached;
		IF clock_timestamp() > deadline THEN
			RAISE EXCEPTION 'the demonstration went wrong: waited in vain for: %', condition;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;
