-- The handlers and queues of one role: run by north and by south.
--
-- Those that fail do so after their effect, and by the number of the attempt.
-- Attempts that the nemesis ends count, so max_attempts is large; tasks that
-- are to become dead letters are dispatched with a small one.

CREATE FUNCTION note(n bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO soak.effect (n, id) SELECT note.n, id FROM asynctasq.current_task()
$$;

CREATE FUNCTION slow(n bigint, seconds float8) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note(n);
    PERFORM pg_sleep(seconds);
END $$;

CREATE FUNCTION fails(n bigint, times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note(n);
    IF (SELECT attempt <= times FROM asynctasq.current_task()) THEN
        RAISE EXCEPTION 'soak: no luck';
    END IF;
END $$;

CREATE FUNCTION dies(n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note(n);
    IF (SELECT attempt = 1 FROM asynctasq.current_task()) THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(60);
    END IF;
END $$;

CREATE FUNCTION chains(n bigint, child bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note(n);
    PERFORM asynctasq.dispatch(current_user || '.note', asynctasq.args('n', child), queue => 'safe');
END $$;

CREATE FUNCTION batch(n bigint[], bad boolean[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO soak.effect (n) SELECT unnest(batch.n);
    IF true = ANY (bad) THEN
        RAISE EXCEPTION 'soak: bad batch';
    END IF;
END $$;

SELECT asynctasq.register_handler(current_user || '.' || name, signature::regprocedure, max_attempts => 1000,
        retry_delay => '100 ms', retry_strategy => 'fixed', keep_result => name = 'kept',
        group_size => CASE name WHEN 'group' THEN 20 ELSE 1 END, batch_size => CASE name WHEN 'batch' THEN 30 END),
    asynctasq.grant_dispatch(current_user || '.' || name, 'clerk')
FROM (VALUES ('note', 'note(bigint)'), ('kept', 'note(bigint)'), ('group', 'fails(bigint, int)'),
    ('slow', 'slow(bigint, float8)'), ('fails', 'fails(bigint, int)'), ('dies', 'dies(bigint)'),
    ('chains', 'chains(bigint, bigint)'), ('batch', 'batch(bigint[], boolean[])')) AS handler (name, signature);

SELECT asynctasq.create_queue('safe', durable => true), asynctasq.create_queue('vault', durable => true),
    asynctasq.create_queue('default'), asynctasq.create_queue('bulk');
