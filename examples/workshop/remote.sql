-- The same program on tables of another database, which the server "store"
-- leads to:
--   there: psql -f schema.sql -f rows.sql
--   here:  psql -f schema.sql -f remote.sql

\set ON_ERROR_STOP on
\ir handlers.sql
\pset format unaligned
\pset tuples_only on

SELECT asynctasq.register_model('Customer', 'customers', server => 'store'), asynctasq.register_model('Item', 'items', server => 'store'),
    asynctasq.register_model('Order', 'orders', server => 'store') \gset

-- Customers with their addresses, one after the other.
BEGIN;
DECLARE customer CURSOR FOR
    SELECT asynctasq.stream('store', $$
        SELECT c.name, string_agg(a.city, ', ' ORDER BY a.id) AS cities
        FROM workshop.customers AS c LEFT JOIN workshop.addresses AS a ON a.customer_id = c.id
        GROUP BY c.id ORDER BY c.id$$, fetch_size => 1) AS c;
CREATE FUNCTION pg_temp.show(c jsonb) RETURNS text LANGUAGE sql AS $$ SELECT (c ->> 'name') || ': ' || coalesce(c ->> 'cities', 'no address') $$;
FETCH NEXT FROM customer \gset
SELECT pg_temp.show(:'c');
FETCH NEXT FROM customer \gset
SELECT pg_temp.show(:'c');
FETCH NEXT FROM customer \gset
SELECT pg_temp.show(:'c');
COMMIT;

-- What an order costs, as one value.
SELECT asynctasq.scalar('store', $$
    SELECT sum(i.price * o.quantity) FROM workshop.order_items AS o JOIN workshop.items AS i ON i.id = o.item_id
    WHERE o.order_id = $1$$, '[1]');

-- Items of an order: all of them or none.
SELECT asynctasq.execute('store',
    ARRAY['INSERT INTO workshop.order_items VALUES ($1, $2, $3)', 'INSERT INTO workshop.order_items VALUES ($1, $2, $3)'],
    '[[2, 2, 3], [2, 3, 1]]') \gset
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
SELECT asynctasq.execute('store',
    'INSERT INTO workshop.order_items VALUES (2, 1, 1)', 'INSERT INTO workshop.order_items VALUES (2, 99, 1)');
\set ON_ERROR_STOP on
SELECT asynctasq.scalar('store', 'SELECT count(*) FROM workshop.order_items WHERE order_id = 2');

-- Tasks with references to an order, its customer and its items.
SELECT asynctasq.dispatch('confirm', asynctasq.args('order', asynctasq.ref('Order', 2), 'customer', asynctasq.ref('Customer', 2))) AS id \gset
SELECT asynctasq.wait(:id) \gset
SELECT asynctasq.dispatch('pick', asynctasq.args('items', array_agg(asynctasq.ref('Item', (i ->> 'item_id')::int)))) AS id
FROM asynctasq.stream('store', 'SELECT item_id FROM workshop.order_items WHERE order_id = $1', '[2]') AS i \gset
SELECT asynctasq.wait(:id) \gset
SELECT line FROM log ORDER BY n;
