-- The rows to begin with.

INSERT INTO workshop.customers VALUES (1, 'Ann'), (2, 'Bela'), (3, 'Cleo');
INSERT INTO workshop.addresses VALUES (1, 1, 'Long Street 1', 'Aarhus'), (2, 1, 'Short Street 2', 'Bergen'), (3, 2, 'High Street 3', 'Cork');
INSERT INTO workshop.items VALUES (1, 'pencil', 0.75), (2, 'paper', 4.20), (3, 'lamp', 39.90);
INSERT INTO workshop.orders VALUES (1, 1, '2026-03-01'), (2, 2, '2026-03-02');
INSERT INTO workshop.order_items VALUES (1, 1, 10), (1, 2, 1);
