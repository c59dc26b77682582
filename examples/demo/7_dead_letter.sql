-- A task that fails for good, and is run again from the dead letters.

SET search_path = shop;
\set ECHO queries
CREATE FUNCTION ship_order("order" orders) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shop.orders SET shipped = true WHERE id = "order".id;
	UPDATE shop.items SET stock = stock - quantity
	FROM shop.order_items WHERE item_id = items.id AND order_id = "order".id;
END $$;
SELECT asynctasq.register_handler('ship_order', 'ship_order(orders)', max_attempts => 1) \g /dev/null

UPDATE items SET stock = 0 WHERE id IN (SELECT item_id FROM order_items WHERE order_id = 7);
SELECT asynctasq.dispatch('ship_order', asynctasq.args('order', o)) AS id
FROM orders AS o WHERE id = 7 \gset
\set ECHO none
SELECT set_config('demo.id', :'id', false) \gset _
CALL demo.wait_until($$SELECT count(*) = 1 FROM asynctasq.dead_letters
	WHERE id = current_setting('demo.id')::bigint$$);
\echo
\set ECHO queries
\x on
SELECT task, attempt, args, error ->> 'sqlstate' AS sqlstate, error ->> 'message' AS message,
	error ->> 'detail' AS detail
FROM asynctasq.dead_letters WHERE id = :id;
\x off
SELECT shipped FROM orders WHERE id = 7;
\set ECHO none
SELECT demo.expect(error ->> 'sqlstate' = '23514' AND error ->> 'message' ~ 'items_in_stock',
	'a dead letter with the violated constraint')
FROM asynctasq.dead_letters WHERE id = :id \gset
SELECT demo.expect(NOT shipped, 'no effect of the failed task') FROM orders WHERE id = 7 \gset
\echo Nothing that the handler did has stayed. New stock arrives, and the task is given another try:
\echo
\set ECHO queries
UPDATE items SET stock = 100 WHERE stock = 0;
SELECT asynctasq.retry(:id);
\set ECHO none
CALL demo.wait_until($$SELECT shipped FROM shop.orders WHERE id = 7$$);
\set ECHO queries
SELECT shipped FROM orders WHERE id = 7;
\set ECHO none
SELECT demo.expect(count(*) = 0, 'no dead letter after the retry') FROM asynctasq.dead_letters \gset
