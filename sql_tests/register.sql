-- Registering handlers and models, and who may dispatch: what is written,
-- every refusal, and that nobody replaces what is another role's.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS asynctasq;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE ROLE regress_atq_app LOGIN;
CREATE ROLE regress_atq_other LOGIN;
CREATE ROLE regress_atq_team NOLOGIN;
CREATE ROLE regress_atq_gone LOGIN;
GRANT regress_atq_team TO regress_atq_app;
GRANT USAGE ON SCHEMA asynctasq
    TO regress_atq_app, regress_atq_other, regress_atq_team, regress_atq_gone;
CREATE SCHEMA regress_atq_register;
GRANT USAGE ON SCHEMA regress_atq_register TO PUBLIC;
SET search_path = regress_atq_register, asynctasq;

-- What a command is refused with.
CREATE FUNCTION refusal(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    detail text;
    hint text;
BEGIN
    EXECUTE command;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''),
                     nullif(hint, ''));
END $$;

CREATE FUNCTION greet(name text) RETURNS text LANGUAGE sql
AS $$ SELECT 'hello ' || name $$;
CREATE FUNCTION retriable(task jsonb, error jsonb) RETURNS boolean
LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION failed(task jsonb, error jsonb) RETURNS void
LANGUAGE sql AS '';
CREATE FUNCTION secret() RETURNS void LANGUAGE sql AS '';
REVOKE ALL ON FUNCTION secret() FROM PUBLIC;
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN RETURN NULL; END';
CREATE PROCEDURE proceed() LANGUAGE sql AS '';
CREATE FUNCTION several() RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION anything(anyelement) RETURNS int LANGUAGE sql AS 'SELECT 1';

--
-- Handlers
--

-- Defaults, also where NULL is given.
SET ROLE regress_atq_app;
SELECT register_handler('greet', 'greet(text)');
SELECT register_handler('greet_null', 'greet(text)', NULL, NULL, NULL, NULL,
                        NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT register_handler('greet_all', 'greet(text)', queue => 'mail',
    max_attempts => 7, retry_delay => '1 min', retry_strategy => 'fixed',
    timeout => '5 s', priority => -3, should_retry => 'retriable(jsonb,jsonb)',
    on_failure => 'failed(jsonb,jsonb)', keep_result => true,
    group_size => 1000, run_as => 'regress_atq_app', lock => 'update');
RESET ROLE;
\x on
SELECT * FROM asynctasq.handler WHERE name LIKE 'greet%' ORDER BY name;
\x off

-- Again: replaced, and options that are not given are the defaults.
SET ROLE regress_atq_app;
SELECT register_handler('greet_all', 'greet(text)', priority => 5);
RESET ROLE;
SELECT queue, max_attempts, timeout, priority, should_retry, keep_result,
       group_size
FROM asynctasq.handler WHERE name = 'greet_all';

-- Arguments.
SELECT refusal(format('SELECT register_handler(%s)', args)), args
FROM (VALUES
    ($$NULL, 'greet(text)'$$),
    ($$'h', NULL$$),
    ($$'', 'greet(text)'$$),
    ($$E'a\nb', 'greet(text)'$$),
    ($$repeat('x', 256), 'greet(text)'$$),
    ($$'h', 'greet(text)', queue => ''$$),
    ($$'h', 'greet(text)', max_attempts => 0$$),
    ($$'h', 'greet(text)', max_attempts => 1001$$),
    ($$'h', 'greet(text)', retry_delay => '-1 s'$$),
    ($$'h', 'greet(text)', retry_delay => '3651 days'$$),
    ($$'h', 'greet(text)', retry_strategy => 'linear'$$),
    ($$'h', 'greet(text)', timeout => '0'$$),
    ($$'h', 'greet(text)', timeout => '1 year'$$),
    ($$'h', 'greet(text)', group_size => 0$$),
    ($$'h', 'greet(text)', group_size => 1001$$),
    ($$'h', 'greet(text)', lock => 'exclusive'$$),
    ($$'h', 'no_such_function()'$$),
    ($$'h', 'greet(text)', run_as => 'regress_atq_nobody'$$)
) AS v (args);
SELECT register_handler(repeat('x', 255), 'greet(text)');
SELECT unregister_handler(repeat('x', 255));

-- Functions.
SELECT refusal(format('SELECT register_handler(''h'', %s)', args)), args
FROM (VALUES
    ($$'fires()'$$),
    ($$'proceed()'$$),
    ($$'several()'$$),
    ($$'anything(anyelement)'$$),
    ($$'pg_catalog.sum(int4)'$$),
    ($$'pg_catalog.row_number()'$$),
    ($$4294967295$$),
    ($$'greet(text)', should_retry => 'greet(text)'$$),
    ($$'greet(text)', should_retry => 'failed(jsonb,jsonb)'$$),
    ($$'greet(text)', on_failure => 'greet(text)'$$),
    ($$'greet(text)', on_failure => 'retriable(jsonb,jsonb)'$$),
    ($$'secret()', run_as => 'regress_atq_app'$$)
) AS v (args);

-- Roles.  A role that cannot log in can be one that handlers run as from
-- PostgreSQL 17 on.
SELECT CASE
    WHEN current_setting('server_version_num')::int >= 170000
        THEN refused = 'accepted'
    ELSE refused LIKE '55000 | role "regress_atq_team" is not permitted to log in | %'
    END AS nologin
FROM refusal($$SELECT register_handler('team', 'greet(text)',
                                       run_as => 'regress_atq_team')$$)
     AS refused;
ALTER ROLE regress_atq_team LOGIN;
SET ROLE regress_atq_app;
SELECT register_handler('team', 'greet(text)', run_as => 'regress_atq_team');
SELECT refusal($$SELECT register_handler('h', 'greet(text)',
                                         run_as => 'regress_atq_other')$$);
SELECT refusal($$SELECT register_handler('h', 'secret()')$$);

-- Another role's registration is neither replaced nor removed, a member's is.
SET ROLE regress_atq_other;
SELECT refusal($$SELECT register_handler('greet', 'greet(text)')$$);
SELECT refusal($$SELECT unregister_handler('greet')$$);
SELECT refusal($$SELECT unregister_handler('nothing')$$);
SELECT refusal($$SELECT unregister_handler(NULL)$$);
SET ROLE regress_atq_app;
SELECT register_handler('team', 'greet(text)');
RESET ROLE;
SELECT name, role FROM asynctasq.handler ORDER BY name;

-- A superuser's handlers run as himself; he may replace any.
SELECT register_handler('super', 'secret()');
SELECT role::text = current_user AS own FROM asynctasq.handler
WHERE name = 'super';
SELECT unregister_handler('super');

-- Nothing is written in a read-only transaction.
BEGIN READ ONLY;
SELECT refusal($$SELECT register_handler('h', 'greet(text)')$$);
SELECT refusal($$SELECT unregister_handler('greet')$$);
SELECT refusal($$SELECT register_model('M', 'asynctasq.handler')$$);
SELECT refusal($$SELECT grant_dispatch('greet', 'public')$$);
COMMIT;

-- The search path of the caller is no way into the statements.
CREATE FUNCTION wrong(text, text) RETURNS boolean LANGUAGE sql
AS 'SELECT 1 / 0 = 1';
CREATE OPERATOR = (FUNCTION = wrong, LEFTARG = text, RIGHTARG = text);
SET search_path = regress_atq_register, asynctasq, pg_catalog;
SELECT register_handler('greet', 'greet(text)');
SELECT unregister_handler('team');
SET search_path = regress_atq_register, asynctasq;
DROP OPERATOR regress_atq_register.= (text, text);

--
-- Who may dispatch
--

SELECT unregister_handler('greet');
SET ROLE regress_atq_app;
SELECT register_handler('greet', 'greet(text)');
SET ROLE regress_atq_other;
SELECT refusal($$SELECT dispatch('greet')$$);
SELECT refusal($$SELECT grant_dispatch('greet', 'regress_atq_other')$$);
SELECT refusal($$SELECT revoke_dispatch('greet', 'regress_atq_other')$$);
SET ROLE regress_atq_app;
SELECT refusal($$SELECT grant_dispatch(NULL, 'regress_atq_other')$$);
SELECT refusal($$SELECT grant_dispatch('greet', NULL)$$);
SELECT refusal($$SELECT grant_dispatch('nothing', 'regress_atq_other')$$);
SELECT refusal($$SELECT grant_dispatch('greet', 'regress_atq_nobody')$$);
SELECT refusal($$SELECT revoke_dispatch('greet', 'regress_atq_nobody')$$);
SELECT grant_dispatch('greet', 'regress_atq_other');
SELECT grant_dispatch('greet', 'regress_atq_other');
SET ROLE regress_atq_other;
SELECT dispatch('greet') > 0 AS granted;
SET ROLE regress_atq_app;
SELECT revoke_dispatch('greet', 'regress_atq_other');
SELECT revoke_dispatch('greet', 'regress_atq_other');
SET ROLE regress_atq_other;
SELECT refusal($$SELECT dispatch('greet')$$);
SET ROLE regress_atq_app;
SELECT grant_dispatch('greet', 'public');
SET ROLE regress_atq_other;
SELECT dispatch('greet') > 0 AS public;
RESET ROLE;
SELECT * FROM asynctasq.handler_grant;

-- Replacing a handler keeps its grants, removing it does not.
SET ROLE regress_atq_app;
SELECT register_handler('greet', 'greet(text)', priority => 1);
RESET ROLE;
SELECT count(*) FROM asynctasq.handler_grant;
SET ROLE regress_atq_app;
SELECT unregister_handler('greet');
RESET ROLE;
SELECT count(*) FROM asynctasq.handler_grant;

--
-- Models
--

CREATE TABLE plain (id int PRIMARY KEY, code text, "A b" int);
CREATE TABLE pair (a int, b int, PRIMARY KEY (b, a));
CREATE TABLE keyless (id int, code text);
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE "Odd name" (id int PRIMARY KEY);
CREATE VIEW seen AS SELECT id, code FROM plain;
CREATE MATERIALIZED VIEW kept AS SELECT id, code FROM plain;
CREATE SEQUENCE counter;
CREATE TYPE composite AS (a int);
CREATE INDEX plain_code ON plain (code);
CREATE TEMP TABLE fleeting (id int PRIMARY KEY);
CREATE TABLE withheld (id int PRIMARY KEY);
CREATE TABLE wide (id int PRIMARY KEY);
DO $$
BEGIN
    FOR i IN 1 .. 33 LOOP
        EXECUTE format('ALTER TABLE wide ADD c%s int', i);
    END LOOP;
END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA regress_atq_register TO PUBLIC;
REVOKE SELECT ON withheld FROM PUBLIC;

SET ROLE regress_atq_app;
SELECT register_model('Plain', 'plain');
SELECT register_model('Plain', 'plain', 'django');
SELECT register_model('Plain', 'plain', 'tortoise', on_missing => 'discard');
SELECT register_model('plain', 'plain', 'postgres', key => '{code,"A b"}');
SELECT register_model('Pair', 'pair', on_missing => 'error');
SELECT register_model('Parted', 'parted', NULL, NULL, NULL);
SELECT register_model('Odd', '"Odd name"');
SELECT register_model('Seen', 'seen', key => '{id}');
SELECT register_model('Kept', 'kept', key => '{id}');
SELECT register_model('Keyless', 'keyless', key => '{code,id}');
RESET ROLE;
SELECT orm, class, owner, relation, relation_name, key, on_missing
FROM asynctasq.model ORDER BY orm, class;

SELECT refusal(format('SELECT register_model(%s)', args)), args
FROM (VALUES
    ($$NULL, 'plain'$$),
    ($$'M', NULL$$),
    ($$'', 'plain'$$),
    ($$'M', 'plain', 'peewee'$$),
    ($$'M', 'plain', on_missing => 'ignore'$$),
    ($$'M', 'plain', key => '{}'$$),
    ($$'M', 'plain', key => '{{id},{code}}'$$),
    ($$'M', 'plain', key => '{id,NULL}'$$),
    ($$'M', 'plain', key => '{id,nothing}'$$),
    ($$'M', 'plain', key => '{id,code,id}'$$),
    ($$'M', 'plain', key => '{ctid}'$$),
    ($$'M', 'wide', key => (SELECT array_agg('c' || i)
                            FROM generate_series(1, 33) AS i)$$),
    ($$'M', 'keyless'$$),
    ($$'M', 'seen'$$),
    ($$'M', 'kept'$$),
    ($$'M', 'counter'$$),
    ($$'M', 'composite'$$),
    ($$'M', 'plain_code'$$),
    ($$'M', 'fleeting'$$),
    ($$'M', 'pg_catalog.pg_class'$$),
    ($$'M', 'information_schema.sql_parts'$$),
    ($$'M', 'asynctasq.handler'$$),
    ($$'M', 4294967295$$)
) AS v (args);

-- To read the relation is needed, or to own it.
SET ROLE regress_atq_app;
SELECT refusal($$SELECT register_model('M', 'withheld')$$);
RESET ROLE;
ALTER TABLE withheld OWNER TO regress_atq_app;
REVOKE ALL ON withheld FROM regress_atq_app;
SET ROLE regress_atq_app;
SELECT register_model('Withheld', 'withheld');

-- Another role's model is neither replaced nor removed.
SET ROLE regress_atq_other;
SELECT refusal($$SELECT register_model('Plain', 'pair')$$);
SELECT refusal($$SELECT unregister_model('Plain')$$);
SELECT refusal($$SELECT unregister_model('Nothing')$$);
SELECT refusal($$SELECT unregister_model('Seen', 'django')$$);
SELECT refusal($$SELECT unregister_model(NULL)$$);
SELECT refusal($$SELECT unregister_model('Plain', 'peewee')$$);
SET ROLE regress_atq_app;
SELECT register_model('Plain', 'pair', key => '{a}', on_missing => 'error');
SELECT unregister_model('Plain', 'django');
RESET ROLE;
SELECT orm, class, relation, key, on_missing
FROM asynctasq.model WHERE class = 'Plain' ORDER BY orm;

-- What a role has left behind when it was dropped is for superusers.
SET ROLE regress_atq_gone;
SELECT register_handler('left', 'greet(text)');
SELECT register_model('Left', 'plain');
RESET ROLE;
DROP OWNED BY regress_atq_gone;
DROP ROLE regress_atq_gone;
SET ROLE regress_atq_app;
SELECT refusal($$SELECT register_handler('left', 'greet(text)')$$);
SELECT refusal($$SELECT unregister_model('Left')$$);
RESET ROLE;
SELECT unregister_handler('left');
SELECT unregister_model('Left');

DELETE FROM asynctasq.task;
DELETE FROM asynctasq.dead_letter;
DELETE FROM asynctasq.queue;
DELETE FROM asynctasq.crash_mark;
DELETE FROM asynctasq.handler;
DELETE FROM asynctasq.model;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_atq_register CASCADE;
DROP OWNED BY regress_atq_app, regress_atq_other, regress_atq_team;
DROP ROLE regress_atq_app, regress_atq_other, regress_atq_team;
