-- The tables for docs/benchmarks.md.

SET client_min_messages = error;
SET max_parallel_workers_per_gather = 0;
SET jit = off;
UPDATE case_ SET us_by_hand = microseconds(by_hand, 10000), us_query_set = microseconds(query_set, 10000);
UPDATE case_ SET us_by_hand = us_by_hand * 100, us_query_set = us_query_set * 100 WHERE what = '1,000 rows';
INSERT INTO generation SELECT microseconds('PERFORM asynctasq.sql(asynctasq.filter(asynctasq.objects(''Author''), lookups));', 20000);

\echo
\echo '## Query sets'
\echo
\echo 'Written by `make bench-queries`, in PL/pgSQL, on one connection. By hand: the statement as one would write it there, with `to_jsonb` of the row. The query'
\echo 'set is built anew each time. Medians of five rounds, in microseconds.'
\echo
\echo '| | by hand | query set | more |'
\echo '|---|---|---|---|'
SELECT format('| %s | %s | %s | %s |', what, round(us_by_hand::numeric, 1), round(us_query_set::numeric, 1), round((us_query_set - us_by_hand)::numeric, 1))
FROM case_ ORDER BY id;
SELECT format(E'\nTo build a filter of three fields and generate its statement takes %s microseconds; at most %s are allowed%s.',
    round(us::numeric, 1), at_most, CASE WHEN fits THEN '' ELSE ', **missed**' END) FROM generation;

-- What a pool of ten connections takes beyond what one of a single takes, in a
-- process that has nothing to spare from before.
\connect
SET client_min_messages = error;
CREATE TABLE memory (kb int, connections int);
SELECT all_at_once('single', 10, 1) \gset
SELECT resident_kb() AS kb \gset
SELECT all_at_once('far1', 10, 1) \gset
INSERT INTO memory SELECT resident_kb() - :kb, size FROM asynctasq.stat_pools WHERE pid = pg_backend_pid() AND server = 'far1';
TRUNCATE waited;
SELECT one_by_one(s, n, 2000 / n), all_at_once(s, n, 20000 / n)
FROM unnest('{far0,far1}'::name[]) AS s, unnest('{100,1000}'::int[]) AS n \g /dev/null

\echo
\echo 'Queries of one row by its key on another server, on this machine: one after the other with `list`, and all in one `gather_lists` over a pool of'
\echo '10 connections. Waited: from asking to having the row, 99th percentile; in `gather_lists` each is waited for until all are there. Memory: what'
\echo 'each of the ten takes in the process that has the pool (`RssAnon`).'
\echo
\echo '| queries | added to each answer | | per second | waited, 99 %, ms | memory of a connection, kB |'
\echo '|---|---|---|---|---|---|'
SELECT format('| %s | %s ms | %s | %s | %s | %s |', to_char(queries, 'FM9,999'), right(server, 1),
    CASE WHEN at_once THEN '`gather_lists`' ELSE 'one after the other' END,
    to_char(CASE WHEN at_once THEN queries * count(*) ELSE count(*) END * 1000 / sum(ms), 'FM999,999'),
    round((percentile_cont(0.99) WITHIN GROUP (ORDER BY ms))::numeric, 2),
    CASE WHEN at_once THEN (SELECT round(kb::numeric / connections) FROM memory) END)
FROM waited GROUP BY queries, server, at_once ORDER BY queries, server, at_once;
