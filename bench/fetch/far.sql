-- The tables of each of the two other servers.

CREATE SCHEMA far;
CREATE TABLE far.a (id int PRIMARY KEY, name text, n int);
INSERT INTO far.a SELECT i, 'row ' || i, i FROM generate_series(1, 10000) AS i;
CREATE TABLE far.b AS TABLE far.a;
ALTER TABLE far.b ADD PRIMARY KEY (id);
ANALYZE;
