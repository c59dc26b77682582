-- Customers with addresses, items, and orders of them.  The remote program
-- wants these tables on both sides: there with the rows, here for their form.

DROP SCHEMA IF EXISTS workshop CASCADE;
CREATE SCHEMA workshop;
SET search_path = workshop;

CREATE TABLE customers (
	id int PRIMARY KEY,
	name text NOT NULL);
CREATE TABLE addresses (
	id int PRIMARY KEY,
	customer_id int NOT NULL REFERENCES customers,
	street text NOT NULL,
	city text NOT NULL);
CREATE TABLE items (
	id int PRIMARY KEY,
	description text NOT NULL,
	price numeric(10, 2) NOT NULL);
CREATE TABLE orders (
	id int PRIMARY KEY,
	customer_id int NOT NULL REFERENCES customers,
	ordered_on date NOT NULL);
CREATE TABLE order_items (
	order_id int REFERENCES orders,
	item_id int REFERENCES items,
	quantity int NOT NULL CHECK (quantity > 0),
	PRIMARY KEY (order_id, item_id));
