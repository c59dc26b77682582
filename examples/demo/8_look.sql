-- What has been going on.

-- Tasks are counted just after they have committed.
CALL demo.wait_until($$SELECT sum(completed) = 14210 AND sum(failed) = 1
	AND sum(ready + scheduled + running) = 0 FROM asynctasq.stat_queues$$);
\set ECHO queries
SELECT queue, durable, ready, scheduled, running, completed, failed, retried,
	round(mean_ms::numeric, 3) AS mean_ms
FROM asynctasq.stat_queues ORDER BY queue;

SELECT task, calls, failures, round(total_ms::numeric, 1) AS total_ms,
	round(mean_ms::numeric, 3) AS mean_ms, round(max_ms::numeric, 3) AS max_ms
FROM asynctasq.stat_handlers ORDER BY calls DESC, task;

SELECT pid, role, state, tasks_done, started_at::timestamptz(0) FROM asynctasq.stat_workers;

SELECT pid, usename, backend_type, application_name, query
FROM pg_stat_activity WHERE backend_type LIKE 'asynctasq%';
