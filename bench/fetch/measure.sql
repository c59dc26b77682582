-- With :delay ms added to each answer.

SET client_min_messages = error;
SELECT dblink_connect('far1', 'fdw_far1_' || :'delay'), dblink_connect('far2', 'fdw_far2_' || :'delay') \gset
SELECT format('== %s ms added to each answer', :'delay');

SELECT format('100 references, 4 models, 2 servers: pool      %s ms', round(ms::numeric, 1)) AS line, ms AS pool FROM least_ms(format($q$
    SELECT asynctasq.fetch(asynctasq.args('v', array_agg(asynctasq.ref(
        (ARRAY['far1_%1$s' || 'a', 'far1_%1$s' || 'b', 'far2_%1$s' || 'a', 'far2_%1$s' || 'b'])[1 + i %% 4], i)))) FROM generate_series(1, 100) AS i
    $q$, :'delay'), 5) AS ms \gset
\echo :line
SELECT format('                                     one by one %s ms (%s times)', round(ms::numeric, 1), round((ms / :pool)::numeric)) AS line
FROM least_ms($q$SELECT one_by_one('{far1.a,far1.b,far2.a,far2.b}', 100)$q$, 1) AS ms \gset
\echo :line
SELECT format('                          joins of postgres_fdw %s ms (%s times)', round(ms::numeric, 1), round((ms / :pool)::numeric, 1)) AS line
FROM least_ms(format($q$
    WITH keys AS MATERIALIZED (SELECT array_agg(i) AS k FROM generate_series(1, 100) AS i)
    SELECT (SELECT jsonb_agg(r) FROM far1_%1$sa AS r WHERE r.id = ANY (k)), (SELECT jsonb_agg(r) FROM far1_%1$sb AS r WHERE r.id = ANY (k)),
        (SELECT jsonb_agg(r) FROM far2_%1$sa AS r WHERE r.id = ANY (k)), (SELECT jsonb_agg(r) FROM far2_%1$sb AS r WHERE r.id = ANY (k)) FROM keys
    $q$, :'delay'), 3) AS ms \gset
\echo :line

SELECT format('1,000 tasks with a reference each:  one by one %s ms', round(ms::numeric, 1)) AS line, ms AS one_by_one FROM least_ms($q$SELECT one_by_one('{far1.a}', 1000)$q$, 1) AS ms \gset
\echo :line
CALL least_ms_of_tasks(NULL, 'one', format('far1_%sa', :'delay'), 5) \gset one_
SELECT format('                   tasks, each in a transaction %s ms (%s times)', round(:one_ms, 1), round((:one_by_one / :one_ms)::numeric, 1)) AS line \gset
\echo :line
CALL least_ms_of_tasks(NULL, 'batch', format('far1_%sa', :'delay'), 5) \gset batch_
SELECT format('                          tasks, batches of 100 %s ms (%s times)', round(:batch_ms, 1), round((:one_by_one / :batch_ms)::numeric, 1)) AS line \gset
\echo :line
SELECT coalesce(string_agg('FAILED: ' || claim, E'\n'), '') AS failure FROM (VALUES
    ('100 references took more than 1.3 delays and 20 ms', :'delay' = '10' AND :pool > 1.3 * 10 + 20),
    ('1,000 tasks were not 20 times as fast as one by one', :'delay' = '1' AND :one_ms * 20 > :one_by_one),
    ('1,000 tasks in batches were not 20 times as fast as one by one', :'delay' = '1' AND :batch_ms * 20 > :one_by_one)) AS claims (claim, missed)
WHERE missed \gset
SELECT :'failure' <> '' AS failed \gset
\if :failed
\echo :failure
\endif
