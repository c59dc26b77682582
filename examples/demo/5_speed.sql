-- How fast: many tasks of one transaction, then one task after the other.

SET search_path = shop;
\set ECHO queries
SELECT count(asynctasq.dispatch('send_newsletter', asynctasq.args('customer', c, 'issue', issue)))
	AS dispatched
FROM customers AS c, generate_series(1, 10) AS issue WHERE c.id <= 1000;
\set ECHO none
SELECT clock_timestamp() AS committed \gset
CALL demo.wait_until($$SELECT count(*) = 10000 FROM shop.mail WHERE subject LIKE 'Newsletter%'$$);
SELECT count(*) AS tasks, count(DISTINCT (recipient, subject)) AS "different mails",
	round(extract(epoch FROM max(written_at) - :'committed')::numeric, 2) AS "all run after s",
	round(count(*) / extract(epoch FROM max(written_at) - :'committed')::numeric) AS "tasks/s"
FROM mail WHERE subject LIKE 'Newsletter%';
SELECT demo.expect(count(DISTINCT (recipient, subject)) = 10000 AND count(*) = 10000,
	'each newsletter exactly once')
FROM mail WHERE subject LIKE 'Newsletter%' \gset

CREATE TABLE latency (sent timestamptz, started timestamptz);
CREATE FUNCTION note_start(sent timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.latency VALUES (sent, clock_timestamp());
END $$;
SELECT asynctasq.register_handler('note_start', 'note_start(timestamptz)') \g /dev/null
CREATE PROCEDURE ping(how_many int) LANGUAGE plpgsql AS $$
DECLARE
	task_id bigint;
BEGIN
	FOR n IN 1 .. how_many LOOP
		task_id := asynctasq.dispatch('note_start', asynctasq.args('sent', clock_timestamp()));
		COMMIT;
		PERFORM asynctasq.wait(task_id);
		COMMIT;
	END LOOP;
END $$;
CALL ping(200);
\echo From just before the COMMIT that dispatches a task to the first statement of its handler,
\echo 200 times, the worker idle in between:
\echo
SELECT count(*) AS tasks,
	round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 2) AS "median ms",
	round(percentile_cont(0.95) WITHIN GROUP (ORDER BY ms)::numeric, 2) AS "95% below ms",
	round(max(ms)::numeric, 2) AS "longest ms"
FROM (SELECT extract(epoch FROM started - sent) * 1000 AS ms FROM latency) AS l;
SELECT demo.expect(count(*) = 200, '200 pings') FROM latency \gset
