-- What the soak keeps inside: run once, by the superuser.

CREATE EXTENSION asynctasq;

-- north and south own the handlers; clerk may dispatch to them.
CREATE ROLE north LOGIN;
CREATE ROLE south LOGIN;
CREATE ROLE clerk LOGIN;
CREATE SCHEMA AUTHORIZATION north;
CREATE SCHEMA AUTHORIZATION south;
CREATE SCHEMA soak;
GRANT USAGE ON SCHEMA asynctasq, soak TO north, south, clerk;

-- The data that a dispatching transaction changes: a row here says that it
-- has committed.
CREATE TABLE soak.marker (tx bigint PRIMARY KEY);
-- What handlers do.  No unique key: a task that ran twice must show.
CREATE TABLE soak.effect (
    n bigint NOT NULL,
    id bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT INSERT, SELECT ON soak.marker, soak.effect TO north, south, clerk;
