-- The program on tables of this database:
--   psql -f schema.sql -f rows.sql -f local.sql

\set ON_ERROR_STOP on
\ir handlers.sql
\pset format unaligned
\pset tuples_only on

SELECT asynctasq.register_model('Customer', 'customers'), asynctasq.register_model('Item', 'items'),
    asynctasq.register_model('Order', 'orders') \gset

-- Customers with their addresses, one after the other.
BEGIN;
DECLARE customer CURSOR FOR
    SELECT c.name || ': ' || coalesce(string_agg(a.city, ', ' ORDER BY a.id), 'no address')
    FROM customers AS c LEFT JOIN addresses AS a ON a.customer_id = c.id GROUP BY c.id ORDER BY c.id;
FETCH NEXT FROM customer;
FETCH NEXT FROM customer;
FETCH NEXT FROM customer;
COMMIT;

-- What an order costs, as one value.
SELECT sum(i.price * o.quantity) FROM order_items AS o JOIN items AS i ON i.id = o.item_id WHERE o.order_id = 1;

-- Items of an order: all of them or none.
INSERT INTO order_items VALUES (2, 2, 3), (2, 3, 1);
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
INSERT INTO order_items VALUES (2, 1, 1), (2, 99, 1);
\set ON_ERROR_STOP on
SELECT count(*) FROM order_items WHERE order_id = 2;

-- Tasks with references to an order, its customer and its items.
SELECT asynctasq.dispatch('confirm', asynctasq.args('order', o, 'customer', asynctasq.ref('Customer', o.customer_id))) AS id
FROM orders AS o WHERE o.id = 2 \gset
SELECT asynctasq.wait(:id) \gset
SELECT asynctasq.dispatch('pick', asynctasq.args('items', array_agg(asynctasq.ref('Item', item_id)))) AS id
FROM order_items WHERE order_id = 2 \gset
SELECT asynctasq.wait(:id) \gset
SELECT line FROM log ORDER BY n;
