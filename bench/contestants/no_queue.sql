-- The limit: the same handlers called in a loop, in one transaction, with no
-- queue at all.

CREATE FUNCTION bench.left_over() RETURNS bigint LANGUAGE sql AS 'SELECT 0';

CREATE TABLE bench.todo (count int);

CREATE PROCEDURE bench.fill(job text, first int, count int) LANGUAGE sql AS $$
	INSERT INTO bench.todo VALUES (count);
$$;

CREATE PROCEDURE bench.work(job text, worker int) LANGUAGE plpgsql AS $$
DECLARE
	n int;
	item bench.item;
BEGIN
	DELETE FROM bench.todo RETURNING count INTO n;
	IF job = 'real' THEN
		FOR i IN 1 .. n LOOP
			SELECT * INTO item FROM bench.item AS t WHERE t.id = 1 + i % 100000;
			PERFORM bench.real(item);
		END LOOP;
	ELSIF job = 'real_scattered' THEN
		FOR i IN 1 .. n LOOP
			SELECT * INTO item FROM bench.item AS t WHERE t.id = bench.item_of('real_scattered', i);
			PERFORM bench.real(item);
		END LOOP;
	ELSIF job = 'real_inline' THEN
		FOR i IN 1 .. n LOOP
			SELECT * INTO item FROM bench.item AS t WHERE t.id = 1 + i % 100000;
			INSERT INTO bench.effect VALUES (item.id, item.name);
		END LOOP;
	ELSE
		FOR i IN 1 .. n LOOP
			PERFORM bench.noop(i);
		END LOOP;
	END IF;
END $$;
