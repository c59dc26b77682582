-- A queue written by hand: a table, and a loop that takes 1,000 jobs with
-- SKIP LOCKED, runs and deletes them, and commits.  The variable persistence
-- is UNLOGGED or empty.

CREATE :persistence TABLE bench.job (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	item int NOT NULL);

CREATE FUNCTION bench.left_over() RETURNS bigint LANGUAGE sql
	AS 'SELECT count(*) FROM bench.job';

CREATE PROCEDURE bench.fill(job text, first int, count int) LANGUAGE sql AS $$
	INSERT INTO bench.job (item)
		SELECT bench.item_of(job, i) FROM generate_series(first, first + count - 1) AS i;
$$;

CREATE PROCEDURE bench.work(job text, worker int) LANGUAGE plpgsql AS $$
DECLARE
	kind text := replace(job, '_scattered', '');
	item_id int;
	item bench.item;
	found_some boolean;
BEGIN
	LOOP
		found_some := false;
		FOR item_id IN
			DELETE FROM bench.job AS j
			WHERE j.id = ANY (ARRAY(
				SELECT c.id FROM bench.job AS c ORDER BY c.id LIMIT 1000
				FOR UPDATE SKIP LOCKED))
			RETURNING j.item
		LOOP
			found_some := true;
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
		COMMIT;
		EXIT WHEN NOT found_some;
	END LOOP;
END $$;
