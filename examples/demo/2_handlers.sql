-- Handlers are ordinary functions.  A parameter of a table's row type gets
-- the row as it is when the task runs.

SET search_path = shop;
\set ECHO queries

CREATE FUNCTION send_welcome_mail(customer customers) RETURNS void LANGUAGE sql
BEGIN ATOMIC
	INSERT INTO mail (recipient, subject, body)
	VALUES (customer.email, 'Welcome, ' || customer.name, 'Good to have you here.');
END;

CREATE FUNCTION order_total("order" orders) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	sum numeric;
BEGIN
	UPDATE shop.orders SET total = (
		SELECT sum(quantity * price)
		FROM shop.order_items AS oi JOIN shop.items AS i ON i.id = oi.item_id
		WHERE oi.order_id = orders.id)
	WHERE id = "order".id RETURNING total INTO STRICT sum;

	-- A handler may dispatch too: this task exists if the total was stored.
	PERFORM asynctasq.dispatch('order_confirmation',
		asynctasq.args('order', o, 'customer', c, 'address', a))
	FROM shop.orders AS o
		JOIN shop.customers AS c ON c.id = o.customer_id
		JOIN shop.addresses AS a ON a.id = o.address_id
	WHERE o.id = "order".id;
	RETURN sum;
END $$;

CREATE FUNCTION order_confirmation("order" orders, customer customers, address addresses)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.mail (recipient, subject, body)
	VALUES (customer.email, format('Your order no. %s', "order".id),
		format('%s EUR, to be sent to %s, %s %s.', "order".total,
			address.street, address.postcode, address.city));
END $$;

CREATE FUNCTION send_newsletter(customer customers, issue int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.mail (recipient, subject, body)
	VALUES (customer.email, 'Newsletter no. ' || issue, 'Dear ' || customer.name || ', ...');
END $$;

SELECT asynctasq.register_handler('send_welcome_mail', 'send_welcome_mail(customers)'),
	asynctasq.register_handler('order_total', 'order_total(orders)'),
	asynctasq.register_handler('order_confirmation',
		'order_confirmation(orders, customers, addresses)'),
	asynctasq.register_handler('send_newsletter', 'send_newsletter(customers, int)',
		queue => 'bulk', priority => 10)
\g /dev/null
