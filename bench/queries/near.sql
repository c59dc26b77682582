-- The models, here and on the other server without and with 1 ms, and what
-- measures.

SET client_min_messages = error;
CREATE EXTENSION asynctasq;
SELECT set_config('bench.place', :'place', false) \gset
DO $$
BEGIN
    FOR ms IN 0 .. 1 LOOP
        EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER asynctasq OPTIONS (host %L, port %L, dbname ''postgres'', pool_max_size ''10'', pool_max_overflow ''0'')',
            'far' || ms, current_setting('bench.place'), CASE ms WHEN 0 THEN 5433 ELSE 6001 END);
        EXECUTE format('CREATE USER MAPPING FOR postgres SERVER %I OPTIONS (user ''postgres'')', 'far' || ms);
    END LOOP;
    EXECUTE format('CREATE SERVER single FOREIGN DATA WRAPPER asynctasq OPTIONS (host %L, port ''5433'', dbname ''postgres'', pool_max_size ''1'', pool_max_overflow ''0'')',
        current_setting('bench.place'));
    CREATE USER MAPPING FOR postgres SERVER single OPTIONS (user 'postgres');
    PERFORM asynctasq.register_model('Author', 'author'), asynctasq.register_model('Post', 'post');
END $$;

-- Microseconds that a statement of PL/pgSQL takes, the median of five rounds,
-- the loop's own not counted.  It may use i, k (1 to 10,000), lookups (for that
-- author, on three fields) and found.
CREATE FUNCTION microseconds(statement text, times int) RETURNS float8
LANGUAGE plpgsql AS $$
DECLARE
    body text := $b$
        CREATE OR REPLACE FUNCTION pg_temp.timed(times int) RETURNS float8 LANGUAGE plpgsql AS $f$
        DECLARE
            all_lookups jsonb[] := array(SELECT jsonb_build_object('id', n, 'age__gte', 0, 'name__startswith', 'author') FROM generate_series(1, 1000) AS n);
            lookups jsonb;
            k int;
            found jsonb;
            begun timestamptz := clock_timestamp();
        BEGIN
            FOR i IN 1 .. times LOOP
                k := i %% 1000 + 1;
                lookups := all_lookups[k];
                %s
            END LOOP;
            RETURN extract(epoch FROM clock_timestamp() - begun) * 1e6 / times;
        END $f$ $b$;
    empty float8[];
    full_ float8[];
BEGIN
    FOR round IN 0 .. 5 LOOP
        EXECUTE format(body, 'NULL;');
        empty[round] := pg_temp.timed(times);
        EXECUTE format(body, statement);
        full_[round] := pg_temp.timed(times);
    END LOOP;
    RETURN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY full_[r] - empty[r]) FROM generate_series(1, 5) AS r);
END $$;

CREATE TABLE case_ (id int GENERATED ALWAYS AS IDENTITY, what text, by_hand text, query_set text, us_by_hand float8, us_query_set float8);
INSERT INTO case_ (what, by_hand, query_set) VALUES
    ('a row by its key',
     'SELECT to_jsonb(a) INTO found FROM author AS a WHERE a.id = k;',
     'found := asynctasq.get(asynctasq.objects(''Author''), jsonb_build_object(''pk'', k));'),
    ('a filter of three fields, one row',
     'PERFORM to_jsonb(a) FROM author AS a WHERE a.id = (lookups ->> ''id'')::int AND a.age >= 0 AND a.name LIKE ''author%'';',
     'PERFORM asynctasq.list(asynctasq.filter(asynctasq.objects(''Author''), lookups));'),
    ('a join, five rows',
     'PERFORM to_jsonb(p) FROM post AS p JOIN author AS a ON a.id = p.author_id WHERE a.id = k AND a.age >= 0;',
     'PERFORM asynctasq.list(asynctasq.filter(asynctasq.objects(''Post''), jsonb_build_object(''author__id'', k, ''author__age__gte'', 0)));'),
    ('the last ten rows',
     'PERFORM to_jsonb(p) FROM post AS p ORDER BY p.id DESC LIMIT 10;',
     'PERFORM asynctasq.list(asynctasq.slice(asynctasq.order_by(asynctasq.objects(''Post''), ''-id''), 0, 10));'),
    ('count of five rows',
     'PERFORM count(*) FROM post AS p WHERE p.author_id = k;',
     'PERFORM asynctasq.count(asynctasq.filter(asynctasq.objects(''Post''), jsonb_build_object(''author'', k)));'),
    ('1,000 rows',
     'IF i % 100 = 0 THEN PERFORM to_jsonb(p) FROM post AS p WHERE p.id <= 1000; END IF;',
     'IF i % 100 = 0 THEN PERFORM asynctasq.list(asynctasq.filter(asynctasq.objects(''Post''), ''{"id__lte": 1000}'')); END IF;');

CREATE TABLE generation (us float8, at_most float8 DEFAULT 20, fits boolean GENERATED ALWAYS AS (us < at_most) STORED);

-- Small queries on another server, one after the other or all at once: how long
-- each was waited for, in ms.
CREATE TABLE waited (server text, queries int, at_once boolean, turn int, ms float8);
CREATE FUNCTION small_query(server name, i int) RETURNS asynctasq.queryset LANGUAGE sql AS $$
    SELECT asynctasq.using(asynctasq.filter(asynctasq.objects('Author'), jsonb_build_object('id', i)), server)
$$;
CREATE FUNCTION one_by_one(server name, queries int, calls int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz;
BEGIN
    FOR turn IN 0 .. calls LOOP
        FOR i IN 1 .. queries LOOP
            begun := clock_timestamp();
            PERFORM asynctasq.list(small_query(server, i));
            INSERT INTO waited SELECT server, queries, false, turn, 1000 * extract(epoch FROM clock_timestamp() - begun) WHERE turn > 0;
        END LOOP;
    END LOOP;
END $$;
CREATE FUNCTION all_at_once(server name, queries int, calls int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz;
    got bigint;
BEGIN
    FOR turn IN 0 .. calls LOOP
        begun := clock_timestamp();
        SELECT count(*) INTO got FROM asynctasq.gather_lists(VARIADIC array(SELECT small_query(server, i) FROM generate_series(1, queries) AS i))
        WHERE jsonb_array_length(rows) = 1;
        INSERT INTO waited SELECT server, queries, true, turn, 1000 * extract(epoch FROM clock_timestamp() - begun) WHERE turn > 0;
        ASSERT got = queries;
    END LOOP;
END $$;
CREATE FUNCTION resident_kb() RETURNS int LANGUAGE sql AS $$
    SELECT substring(pg_read_file('/proc/' || pg_backend_pid() || '/status') FROM 'RssAnon:\s+(\d+)')::int
$$;
