-- Orders, each placed in a transaction of its own that dispatches its task.

SET search_path = shop;
\set ECHO queries
CREATE PROCEDURE place_orders(how_many int) LANGUAGE plpgsql AS $$
DECLARE
	placed orders;
BEGIN
	FOR n IN 1 .. how_many LOOP
		INSERT INTO orders (customer_id, address_id)
		SELECT customer_id, id FROM addresses WHERE id = 1 + n * 11 % 1250
		RETURNING * INTO placed;
		INSERT INTO order_items (order_id, item_id, quantity)
		SELECT placed.id, 1 + (n * 17 + k * 29) % 200, 1 + (n + k) % 3
		FROM generate_series(1, 1 + n % 4) AS k;
		PERFORM asynctasq.dispatch('order_total', asynctasq.args('order', placed));
		COMMIT;
	END LOOP;
END $$;
\set ECHO none
-- A procedure that commits can have no search_path of its own.
SELECT clock_timestamp() AS start \gset
\echo CALL place_orders(2000);
CALL place_orders(2000);
SELECT clock_timestamp() AS placed \gset
CALL demo.wait_until($$SELECT count(*) = 2000 FROM shop.mail WHERE subject LIKE 'Your order%'$$);
SELECT demo.expect(count(*) = 2000, 'a total for each order')
FROM orders AS o JOIN (
	SELECT order_id, sum(quantity * price) FROM order_items JOIN items ON items.id = item_id
	GROUP BY order_id) AS s ON s.order_id = o.id AND s.sum = o.total \gset
\echo
\echo Three of the 2,000 orders, and the mails about them:
\echo
SELECT id, total, (SELECT count(*) FROM order_items WHERE order_id = o.id) AS items
FROM orders AS o ORDER BY id LIMIT 3;
SELECT subject, body FROM mail WHERE subject LIKE 'Your order%' ORDER BY id LIMIT 3;
SELECT 2000 AS orders, (SELECT count(*) FROM order_items) AS "order items", 4000 AS tasks,
	round(extract(epoch FROM :'placed'::timestamptz - :'start')::numeric, 2) AS "placed in s",
	round(extract(epoch FROM max(written_at) - :'start')::numeric, 2) AS "all run after s",
	round(4000 / extract(epoch FROM max(written_at) - :'start')::numeric) AS "tasks/s"
FROM mail WHERE subject LIKE 'Your order%';
