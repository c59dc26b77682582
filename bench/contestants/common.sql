-- What every contestant starts from: rows to work on, and the two jobs.
--
-- Each contestant's file then defines
--   fill(job, first, count)  puts jobs first .. first + count - 1 into its queue
--   work(job, worker)        runs the jobs of the queue until there is none
--   left_over()              the number of jobs in the queue
-- Job number i is about the item of item_of(job, i): of one behind the other, or,
-- where the job is "real_scattered", of one far from the other.

CREATE SCHEMA bench;
CREATE TABLE bench.item (
	id int PRIMARY KEY,
	name text NOT NULL,
	price int NOT NULL);
INSERT INTO bench.item
	SELECT i, 'item ' || i, i % 1000 FROM generate_series(1, 100000) AS i;
CREATE FUNCTION bench.item_of(job text, i int) RETURNS int IMMUTABLE LANGUAGE sql
	RETURN 1 + CASE WHEN job LIKE '%\_scattered' THEN (i * 7919::bigint % 100000)::int ELSE i % 100000 END;
CREATE TABLE bench.effect (item int, name text);
CREATE TABLE bench.latency (sent timestamptz, started timestamptz);

CREATE FUNCTION bench.noop(item int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
END $$;

CREATE FUNCTION bench.real(item bench.item) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.effect VALUES (item.id, item.name);
END $$;

CREATE FUNCTION bench.note_start(sent timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.latency VALUES (sent, clock_timestamp());
END $$;

-- One job after the other on an idle queue: the next one is dispatched when
-- the last one has run and the worker has had 5 ms to fall asleep again.
-- Contestants define ping(sent), which puts one job that calls note_start().
CREATE PROCEDURE bench.ping_often(how_often int) LANGUAGE plpgsql AS $$
DECLARE
	before int;
	arrived int;
BEGIN
	SELECT count(*) INTO before FROM bench.latency;
	FOR i IN 1 .. how_often LOOP
		PERFORM bench.ping(clock_timestamp());
		COMMIT;
		LOOP
			PERFORM pg_sleep(0.001);
			SELECT count(*) INTO arrived FROM bench.latency;
			COMMIT;
			EXIT WHEN arrived = before + i;
		END LOOP;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;
