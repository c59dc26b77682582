-- PgQ: a consumer in PL/pgSQL that takes a batch, runs its events, and
-- finishes it in the same transaction.  The ticker is called after every 1,000
-- events, which makes them a batch.  A consumer of PgQ gets all events of its
-- queue, so two workers are given a queue each, and half of the events.

CREATE EXTENSION pgq;
GRANT pgq_admin TO bench;
SELECT pgq.create_queue('jobs' || i), pgq.register_consumer('jobs' || i, 'worker'),
	pgq.set_queue_config('jobs' || i, 'ticker_max_count', '1')
FROM generate_series(1, 2) AS i;

CREATE FUNCTION bench.left_over() RETURNS bigint LANGUAGE sql
	AS $$SELECT sum(pending_events) FROM pgq.get_consumer_info()$$;

CREATE PROCEDURE bench.fill(job text, first int, count int) LANGUAGE plpgsql AS $$
DECLARE
	workers int := current_setting('bench.workers');
	queue text;
BEGIN
	FOR start IN first .. first + count - 1 BY 1000 LOOP
		queue := 'jobs' || 1 + start / 1000 % workers;
		PERFORM pgq.insert_event(queue, job, bench.item_of(job, i)::text)
		FROM generate_series(start, least(start + 1000, first + count) - 1) AS i;
		COMMIT;
		PERFORM pgq.ticker(queue);
		COMMIT;
	END LOOP;
END $$;

CREATE PROCEDURE bench.work(job text, worker int) LANGUAGE plpgsql AS $$
DECLARE
	queue text := 'jobs' || worker;
	batch bigint;
	kind text := replace(job, '_scattered', '');
	item_id int;
	item bench.item;
BEGIN
	LOOP
		batch := pgq.next_batch(queue, 'worker');
		EXIT WHEN batch IS NULL;
		FOR item_id IN SELECT ev_data::int FROM pgq.get_batch_events(batch) LOOP
			IF kind = 'real' THEN
				SELECT * INTO item FROM bench.item AS t WHERE t.id = item_id;
				PERFORM bench.real(item);
			ELSIF kind = 'real_inline' THEN
				SELECT * INTO item FROM bench.item AS t WHERE t.id = item_id;
				INSERT INTO bench.effect VALUES (item.id, item.name);
			ELSE
				PERFORM bench.noop(item_id);
			END IF;
		END LOOP;
		PERFORM pgq.finish_batch(batch);
		COMMIT;
	END LOOP;
END $$;
