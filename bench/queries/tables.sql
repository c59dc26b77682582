-- The tables of both servers.

CREATE TABLE author (id int PRIMARY KEY, name text NOT NULL, age int NOT NULL, is_active boolean NOT NULL);
CREATE TABLE post (id int PRIMARY KEY, author_id int NOT NULL REFERENCES author, title text NOT NULL, views bigint NOT NULL);
CREATE INDEX ON post (author_id);
INSERT INTO author SELECT i, 'author ' || i, i % 90, i % 2 = 0 FROM generate_series(1, 10000) AS i;
INSERT INTO post SELECT i, i % 10000 + 1, 'post ' || i, i FROM generate_series(1, 50000) AS i;
VACUUM ANALYZE author, post;
