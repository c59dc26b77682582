-- Servers without and with delays, a model for each table, and two handlers.

SET client_min_messages = error;
CREATE EXTENSION asynctasq;
CREATE EXTENSION dblink;
CREATE EXTENSION postgres_fdw;
CREATE TABLE measured (what text, delay int, ms float8);
CREATE SCHEMA far;
CREATE TABLE far.a (id int PRIMARY KEY, name text, n int);
CREATE TABLE far.b (id int PRIMARY KEY, name text, n int);
SELECT set_config('bench.place', :'place', false) \gset
DO $$
DECLARE
    s text;
    f int;
    d int;
    t text;
BEGIN
    FOR f IN 1 .. 2 LOOP
        FOREACH d IN ARRAY '{0,1,10}'::int[] LOOP
            s := format('far%s_%s', f, d);
            EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER asynctasq OPTIONS (host %L, port %L, dbname ''postgres'')',
                s, current_setting('bench.place'), CASE d WHEN 0 THEN 5432 WHEN 1 THEN 6000 ELSE 6100 END + f);
            EXECUTE format('CREATE USER MAPPING FOR postgres SERVER %I OPTIONS (user ''postgres'')', s);
            EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname ''postgres'')',
                'fdw_' || s, current_setting('bench.place'), CASE d WHEN 0 THEN 5432 WHEN 1 THEN 6000 ELSE 6100 END + f);
            EXECUTE format('CREATE USER MAPPING FOR postgres SERVER %I OPTIONS (user ''postgres'')', 'fdw_' || s);
            FOREACH t IN ARRAY '{a,b}'::text[] LOOP
                EXECUTE format('CREATE FOREIGN TABLE %I (id int, name text, n int) SERVER %I OPTIONS (schema_name ''far'', table_name %L)',
                    s || t, 'fdw_' || s, t);
                PERFORM asynctasq.register_model(s || t, ('far.' || t)::regclass, server => s);
            END LOOP;
        END LOOP;
    END LOOP;
END $$;

CREATE TABLE got (n int);
CREATE FUNCTION take_batch(r far.a[]) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.got SELECT v.n FROM unnest(r) AS v $$;
CREATE FUNCTION take_one(r far.a) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.got VALUES (r.n) $$;
SELECT asynctasq.register_handler('batch', 'take_batch(far.a[])', batch_size => 100),
    asynctasq.register_handler('one', 'take_one(far.a)') \gset

-- The least of several times, in ms; the first has made the connections.
CREATE FUNCTION least_ms(query text, times int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz;
    ms float8 := 'Infinity';
BEGIN
    EXECUTE query;
    FOR i IN 1 .. times LOOP
        begun := clock_timestamp();
        EXECUTE query;
        ms := least(ms, 1000 * extract(epoch FROM clock_timestamp() - begun));
    END LOOP;
    RETURN ms;
END $$;

-- The same of tasks that workers run, from their dispatch to the last one's effect.
CREATE PROCEDURE least_ms_of_tasks(INOUT ms float8, handler text, model text, times int) LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz;
BEGIN
    ms := 'Infinity';
    FOR i IN 0 .. times LOOP
        TRUNCATE got;
        COMMIT;
        begun := clock_timestamp();
        PERFORM asynctasq.dispatch(handler, asynctasq.args('r', asynctasq.ref(model, n))) FROM generate_series(1, 1000) AS n;
        COMMIT;
        WHILE (SELECT count(*) FROM got) < 1000 LOOP
            PERFORM pg_sleep(0.001);
            COMMIT;
        END LOOP;
        ms := CASE i WHEN 0 THEN ms ELSE least(ms, 1000 * extract(epoch FROM clock_timestamp() - begun)) END;
    END LOOP;
END $$;

-- Keys one after the other over a connection that is there.
CREATE FUNCTION one_by_one(tables text[], n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint := 0;
BEGIN
    FOR i IN 1 .. n LOOP
        found := found + (SELECT count(*) FROM dblink(split_part(tables[1 + i % array_length(tables, 1)], '.', 1),
            format('SELECT id, name, n FROM far.%I WHERE id = %s', split_part(tables[1 + i % array_length(tables, 1)], '.', 2), i))
            AS r (id int, name text, n int));
    END LOOP;
    RETURN found;
END $$;
