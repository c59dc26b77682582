-- Queries gathered over pools of different sizes, 1 ms added to each answer,
-- and what a connection costs in this process's memory.

SET client_min_messages = error;
SET asynctasq.pool_max_overflow = 0;
CREATE TEMP TABLE memory (n int, kb int);
CREATE FUNCTION pg_temp.resident_kb() RETURNS int LANGUAGE sql AS $$
    SELECT substring(pg_read_file('/proc/' || pg_backend_pid() || '/status') FROM 'VmRSS:\s+(\d+)')::int
$$;
\echo == queries gathered, 1 ms added to each answer
SELECT count(*) FROM asynctasq.gather('far1_0', 'SELECT 1') \gset
SELECT pg_temp.resident_kb() AS before \gset
SELECT format('%s queries, pool of %s: %s ms', n, size, round(least_ms(format($q$
    SELECT set_config('asynctasq.pool_max_size', '%s', true);
    SELECT count(error) FROM asynctasq.gather('far1_1', VARIADIC array_fill('SELECT 1'::text, ARRAY[%s]))$q$, size, n), 3)::numeric, 1))
FROM unnest('{100,1000}'::int[]) AS n, unnest('{1,10,20}'::int[]) AS size;
SELECT pg_temp.resident_kb() AS after \gset
SELECT format('memory: %s kB more for %s connections', :after - :before, sum(size)) FROM asynctasq.stat_pools WHERE server = 'far1_1' AND pid = pg_backend_pid();
SELECT format('FAILED: %s of 1,000 queries gathered', count(error)) AS failure, count(error) > 0 AS failed FROM asynctasq.gather('far1_1', VARIADIC array_fill('SELECT 1'::text, ARRAY[1000])) \gset
\if :failed
\echo :failure
\endif
