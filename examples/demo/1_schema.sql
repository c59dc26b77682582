-- The shop: tables of role "shop", filled with the same rows every time.

CREATE SCHEMA shop;

CREATE TABLE shop.customers (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	email text NOT NULL UNIQUE,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE shop.addresses (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id int NOT NULL REFERENCES shop.customers,
	street text NOT NULL,
	postcode text NOT NULL,
	city text NOT NULL
);
CREATE INDEX ON shop.addresses (customer_id);
CREATE TABLE shop.items (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL UNIQUE,
	price numeric(10,2) NOT NULL,
	stock int NOT NULL CONSTRAINT items_in_stock CHECK (stock >= 0)
);
CREATE TABLE shop.orders (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id int NOT NULL REFERENCES shop.customers,
	address_id int NOT NULL REFERENCES shop.addresses,
	total numeric(12,2),
	shipped boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE shop.order_items (
	order_id int REFERENCES shop.orders,
	item_id int REFERENCES shop.items,
	quantity int NOT NULL CHECK (quantity > 0),
	PRIMARY KEY (order_id, item_id)
);
CREATE TABLE shop.mail (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	recipient text NOT NULL,
	subject text NOT NULL,
	body text NOT NULL,
	written_by text NOT NULL DEFAULT session_user,
	written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO shop.customers (name, email)
SELECT first || ' ' || last,
	lower(first) || '.' || lower(last) || n || '@example.org'
FROM generate_series(0, 999) AS n,
	LATERAL (SELECT
		('{Ann,Bela,Carlos,Dana,Emil,Fatima,Goran,Hana,Ivan,Julia,Kofi,Lena,Mario,
		Nadia,Omar,Paula,Quentin,Rosa,Sami,Tara,Umar,Vera,Wen,Xenia,Yusuf}'::text[])[n % 25 + 1] AS first,
		('{Adler,Baker,Costa,Dubois,Evans,Fischer,Garcia,Hansen,Ito,Jensen,Kowalski,
		Lopez,Meyer,Novak,Okafor,Petrov,Quinn,Rossi,Silva,Tanaka,Ueda,Varga,Weber,
		Yilmaz,Zhang,Lindt,Moreau}'::text[])[n * 7 % 27 + 1] AS last) AS names
ORDER BY n;

-- Everybody has one address, every fourth customer a second one.
INSERT INTO shop.addresses (customer_id, street, postcode, city)
SELECT c.id,
	1 + c.id * 13 % 120 || ' ' ||
		('{Mill Lane,Station Road,Harbour Street,Rue des Lilas,Lindenweg,
		Via Roma,Calle Mayor,Elm Avenue}'::text[])[c.id * 5 % 8 + 1],
	to_char(10000 + c.id * 37 % 89999, 'FM00000'),
	('{Ghent,Porto,Graz,Lyon,Turin,Malmo,Cork,Brno,Gdansk}'::text[])[(c.id + k) % 9 + 1]
FROM shop.customers AS c, generate_series(1, 2) AS k
WHERE k = 1 OR c.id % 4 = 0
ORDER BY c.id, k;

INSERT INTO shop.items (name, price, stock)
SELECT colour || ' ' || material || ' ' || thing,
	round((5 + 7 * n % 90)::numeric + 0.01 * (n * 31 % 100), 2), 10000
FROM generate_series(0, 199) AS n,
	LATERAL (SELECT
		('{Red,Blue,Green,Black,White}'::text[])[n % 5 + 1] AS colour,
		('{wool,linen,oak,steel,clay}'::text[])[n / 5 % 5 + 1] AS material,
		('{scarf,lamp,bowl,chair,clock,basket,tray,vase}'::text[])[n / 25 + 1] AS thing) AS names
ORDER BY n;

ANALYZE shop.customers, shop.addresses, shop.items;
