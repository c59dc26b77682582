-- asynctasq: handlers are the functions of common.sql.  Each kind of handler
-- is registered by prepare(), when it is measured.  The variable durable is
-- true or false.

CREATE EXTENSION asynctasq;
GRANT USAGE ON SCHEMA asynctasq TO bench;

-- A table of the same columns and indexes, for plain INSERTs to compare with.
CREATE UNLOGGED TABLE bench.twin (LIKE asynctasq.task_unlogged INCLUDING ALL);
CREATE SEQUENCE bench.twin_id_seq;
GRANT ALL ON bench.twin, bench.twin_id_seq TO bench;

-- Long enough for another worker to be started beside the one that runs it.
CREATE FUNCTION bench.warm_up_a_while(item int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.1);
END $$;

CREATE FUNCTION bench.noop_batch(item int[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
END $$;

SET ROLE bench;
SELECT asynctasq.create_queue('jobs', durable => :durable);
SELECT asynctasq.register_handler('warm_up', 'bench.warm_up_a_while(int)', queue => 'jobs');
SELECT asynctasq.register_handler('ping', 'bench.note_start(timestamptz)', queue => 'jobs');
RESET ROLE;

CREATE FUNCTION bench.prepare(job text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE job
		WHEN 'noop' THEN
			PERFORM asynctasq.register_handler(job, 'bench.noop(int)', queue => 'jobs');
		WHEN 'real' THEN
			PERFORM asynctasq.register_handler(job, 'bench.real(bench.item)', queue => 'jobs');
		WHEN 'noop_group' THEN
			PERFORM asynctasq.register_handler(job, 'bench.noop(int)', queue => 'jobs',
				group_size => 60);
		WHEN 'real_group', 'real_scattered' THEN
			PERFORM asynctasq.register_handler(job, 'bench.real(bench.item)', queue => 'jobs',
				group_size => 60);
		WHEN 'noop_batch' THEN
			PERFORM asynctasq.register_handler(job, 'bench.noop_batch(int[])', queue => 'jobs',
				batch_size => 1000);
	END CASE;
END $$;

CREATE FUNCTION bench.left_over() RETURNS bigint LANGUAGE sql
	AS 'SELECT count(*) FROM asynctasq.tasks WHERE status <> ''scheduled''';

CREATE PROCEDURE bench.fill(job text, first int, count int) LANGUAGE plpgsql AS $$
BEGIN
	IF job LIKE 'real%' THEN
		PERFORM asynctasq.dispatch(job, asynctasq.args('item', t))
		FROM generate_series(first, first + count - 1) AS i
			JOIN bench.item AS t ON t.id = bench.item_of(job, i);
	ELSE
		PERFORM asynctasq.dispatch(job, asynctasq.args('item', 1 + i % 100000))
		FROM generate_series(first, first + count - 1) AS i;
	END IF;
END $$;

CREATE FUNCTION bench.completed() RETURNS bigint LANGUAGE sql
	AS 'SELECT coalesce(sum(completed), 0)::bigint FROM asynctasq.queue_counters()';

CREATE FUNCTION bench.failed() RETURNS bigint LANGUAGE sql
	AS 'SELECT coalesce(sum(failed + retried + cancelled), 0)::bigint FROM asynctasq.queue_counters()';

-- Counters are read from shared memory; no task is looked at.
CREATE PROCEDURE bench.wait_until_completed(total bigint) LANGUAGE plpgsql AS $$
DECLARE
	before bigint := bench.failed();
	bad bigint;
BEGIN
	LOOP
		EXIT WHEN bench.completed() >= total;
		bad := bench.failed() - before;
		IF bad > 0 THEN
			RAISE EXCEPTION '% attempts failed', bad
				USING DETAIL = (SELECT error FROM asynctasq.dead_letters LIMIT 1);
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;

-- Brings up all workers, and leaves them asleep beside a paused queue.
CREATE PROCEDURE bench.warm_up(workers int) LANGUAGE plpgsql AS $$
DECLARE
	total bigint := bench.completed();
	present int;
BEGIN
	FOR burst IN 1 .. 20 LOOP
		FOR i IN 1 .. 2 * workers LOOP
			PERFORM asynctasq.dispatch('warm_up', asynctasq.args('item', i));
			COMMIT;
		END LOOP;
		total := total + 2 * workers;
		CALL bench.wait_until_completed(total);
		SELECT count(*) INTO present FROM asynctasq.stat_workers
		WHERE database = current_database() AND role = 'bench' AND tasks_done > 0;
		EXIT WHEN present >= workers;
	END LOOP;
	IF present <> workers THEN
		RAISE EXCEPTION '% workers instead of %', present, workers;
	END IF;
	PERFORM asynctasq.pause_queue('jobs');
END $$;

-- Runs the tasks that wait in the paused queue, and pauses it again.
CREATE PROCEDURE bench.run(count int) LANGUAGE plpgsql AS $$
DECLARE
	total bigint := bench.completed() + count;
BEGIN
	PERFORM asynctasq.resume_queue('jobs');
	COMMIT;
	CALL bench.wait_until_completed(total);
END $$;

-- Runs tasks that fail, in a queue of their own.
CREATE FUNCTION bench.refuse(item int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE 'refused';
END $$;

CREATE PROCEDURE bench.run_failing(count int) LANGUAGE plpgsql AS $$
DECLARE
	total bigint := bench.failed() + count;
BEGIN
	PERFORM asynctasq.register_handler('refuse', 'bench.refuse(int)', queue => 'failing', max_attempts => 1);
	PERFORM asynctasq.dispatch('refuse', asynctasq.args('item', i)) FROM generate_series(1, count) AS i;
	COMMIT;
	WHILE bench.failed() < total LOOP
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;

CREATE FUNCTION bench.ping(sent timestamptz) RETURNS void LANGUAGE sql AS $$
	SELECT asynctasq.dispatch('ping', asynctasq.args('sent', sent));
$$;
