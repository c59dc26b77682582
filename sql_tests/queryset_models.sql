-- Which model a class without an ORM is: what was found once holds until the
-- registry changes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset tuples_only on
\pset format unaligned

CREATE ROLE regress_atq_models LOGIN;
GRANT USAGE ON SCHEMA asynctasq TO regress_atq_models;
CREATE SCHEMA regress_atq_models AUTHORIZATION regress_atq_models;
SET SESSION AUTHORIZATION regress_atq_models;
SET search_path = regress_atq_models, asynctasq;

CREATE TABLE one (id int PRIMARY KEY);
CREATE TABLE two (id int PRIMARY KEY);
INSERT INTO one VALUES (1);
INSERT INTO two VALUES (1), (2);

SELECT count(objects('Thing'));
SELECT register_model('Thing', 'one', 'django') \g /dev/null
SELECT count(objects('Thing')), count(objects('Thing'));
-- bound to another table
SELECT register_model('Thing', 'two', 'django') \g /dev/null
SELECT count(objects('Thing'));
-- of a second ORM, of the same table and of another
SELECT register_model('Thing', 'two', 'tortoise') \g /dev/null
SELECT count(objects('Thing'));
SELECT register_model('Thing', 'one', 'tortoise') \g /dev/null
SELECT count(objects('Thing'));
SELECT count(objects('Thing', 'tortoise')), count(objects('Thing', 'django'));
SELECT unregister_model('Thing', 'django') \g /dev/null
SELECT count(objects('Thing'));
-- in a transaction that is rolled back
BEGIN;
SELECT register_model('Thing', 'two', 'tortoise') \g /dev/null
SELECT count(objects('Thing'));
ROLLBACK;
SELECT count(objects('Thing'));
-- the table renamed, and gone
ALTER TABLE one RENAME TO first;
SELECT asynctasq.sql(objects('Thing'));
SELECT unregister_model('Thing', 'tortoise') \g /dev/null
SELECT count(objects('Thing'));
-- a table, until a model has its name
SELECT count(objects('regress_atq_models.two'));
SELECT register_model('regress_atq_models.two', 'first', 'django') \g /dev/null
SELECT count(objects('regress_atq_models.two'));
SELECT unregister_model('regress_atq_models.two', 'django') \g /dev/null
SELECT count(objects('regress_atq_models.two'));

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA regress_atq_models CASCADE;
DROP OWNED BY regress_atq_models;
DROP ROLE regress_atq_models;
