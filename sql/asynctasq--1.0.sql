/* asynctasq 1.0: types, tables, functions, views, grants, comments */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION asynctasq" to load this file. \quit

-- The schema may be there already.  Who owns it could put objects beside ours,
-- and what has been put there could be taken for ours.
DO LANGUAGE plpgsql $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
			JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
			WHERE n.nspname OPERATOR(pg_catalog.=) 'asynctasq'
			AND (r.rolsuper OR r.rolname OPERATOR(pg_catalog.=) CURRENT_USER))
		OR EXISTS (SELECT FROM pg_catalog.pg_namespace AS n,
			pg_catalog.aclexplode(n.nspacl) AS a
			JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) a.grantee
			WHERE n.nspname OPERATOR(pg_catalog.=) 'asynctasq'
			AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
			AND NOT r.rolsuper AND r.rolname OPERATOR(pg_catalog.<>) CURRENT_USER)
		OR EXISTS (SELECT FROM pg_catalog.pg_namespace AS n,
			pg_catalog.aclexplode(n.nspacl) AS a
			WHERE n.nspname OPERATOR(pg_catalog.=) 'asynctasq'
			AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
			AND a.grantee OPERATOR(pg_catalog.=) 0)
	THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = 'schema "asynctasq" belongs to another role, or others may create objects in it',
			HINT = 'Drop the schema; CREATE EXTENSION makes it.';
	END IF;
	IF EXISTS (SELECT FROM pg_catalog.pg_depend AS d
			JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) d.refobjid
			WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
			AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass
			AND d.deptype OPERATOR(pg_catalog.=) 'n'::pg_catalog."char"
			AND n.nspname OPERATOR(pg_catalog.=) 'asynctasq')
	THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'schema "asynctasq" is not empty',
			HINT = 'Drop the schema; CREATE EXTENSION makes it.';
	END IF;
END $$;

------------------------------------------------------------------------
-- The wire type
------------------------------------------------------------------------

/* ---------------------------------------------------------------------
 * The type msgpack
 * ------------------------------------------------------------------ */

CREATE TYPE asynctasq.msgpack;

CREATE FUNCTION asynctasq.msgpack_in(pg_catalog.cstring)
RETURNS asynctasq.msgpack
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_in'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_out(asynctasq.msgpack)
RETURNS pg_catalog.cstring
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_out'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_recv(pg_catalog.internal)
RETURNS asynctasq.msgpack
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_recv'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_send(asynctasq.msgpack)
RETURNS pg_catalog.bytea
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_send'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE asynctasq.msgpack (
    INPUT = asynctasq.msgpack_in,
    OUTPUT = asynctasq.msgpack_out,
    RECEIVE = asynctasq.msgpack_recv,
    SEND = asynctasq.msgpack_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = extended,
    CATEGORY = 'U'
);

COMMENT ON TYPE asynctasq.msgpack IS
    'MessagePack value; its text form is tagged JSON, its binary form the raw bytes';
COMMENT ON FUNCTION asynctasq.msgpack_in(pg_catalog.cstring) IS
    'returns the MessagePack value of tagged JSON; 22P02 for bad JSON, 54000 beyond asynctasq.max_payload or max_depth';
COMMENT ON FUNCTION asynctasq.msgpack_out(asynctasq.msgpack) IS
    'returns tagged JSON, lossless and with keys in their order';
COMMENT ON FUNCTION asynctasq.msgpack_recv(pg_catalog.internal) IS
    'returns the MessagePack value of raw bytes; 22P03 when they are malformed';
COMMENT ON FUNCTION asynctasq.msgpack_send(asynctasq.msgpack) IS
    'returns the raw MessagePack bytes';

/* Casts */

CREATE FUNCTION asynctasq.msgpack(pg_catalog.json)
RETURNS asynctasq.msgpack
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_from_json'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack(pg_catalog.jsonb)
RETURNS asynctasq.msgpack
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_from_jsonb'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack(pg_catalog.bytea)
RETURNS asynctasq.msgpack
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_from_bytea'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_to_json(asynctasq.msgpack)
RETURNS pg_catalog.json
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_to_json'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_to_jsonb(asynctasq.msgpack)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_to_jsonb'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (pg_catalog.json AS asynctasq.msgpack)
    WITH FUNCTION asynctasq.msgpack(pg_catalog.json) AS IMPLICIT;
CREATE CAST (pg_catalog.jsonb AS asynctasq.msgpack)
    WITH FUNCTION asynctasq.msgpack(pg_catalog.jsonb) AS IMPLICIT;
CREATE CAST (pg_catalog.bytea AS asynctasq.msgpack)
    WITH FUNCTION asynctasq.msgpack(pg_catalog.bytea);
CREATE CAST (asynctasq.msgpack AS pg_catalog.json)
    WITH FUNCTION asynctasq.msgpack_to_json(asynctasq.msgpack);
CREATE CAST (asynctasq.msgpack AS pg_catalog.jsonb)
    WITH FUNCTION asynctasq.msgpack_to_jsonb(asynctasq.msgpack);
CREATE CAST (asynctasq.msgpack AS pg_catalog.bytea) WITHOUT FUNCTION;

COMMENT ON FUNCTION asynctasq.msgpack(pg_catalog.json) IS
    'returns the MessagePack value of tagged JSON, keys in their order; 22P02 for a bad tag, 54000 beyond the limits';
COMMENT ON FUNCTION asynctasq.msgpack(pg_catalog.jsonb) IS
    'returns the MessagePack value of tagged JSON; 22P02 for a bad tag, 54000 beyond the limits';
COMMENT ON FUNCTION asynctasq.msgpack(pg_catalog.bytea) IS
    'returns the bytes as a MessagePack value; 22P03 when they are malformed, 22021 for bad UTF-8, 54000 beyond the limits';
COMMENT ON FUNCTION asynctasq.msgpack_to_json(asynctasq.msgpack) IS
    'returns tagged JSON, lossless and with keys in their order';
COMMENT ON FUNCTION asynctasq.msgpack_to_jsonb(asynctasq.msgpack) IS
    'returns tagged JSON, lossless but for the order of keys';
COMMENT ON CAST (pg_catalog.json AS asynctasq.msgpack) IS
    'tagged JSON to MessagePack';
COMMENT ON CAST (pg_catalog.jsonb AS asynctasq.msgpack) IS
    'tagged JSON to MessagePack';
COMMENT ON CAST (pg_catalog.bytea AS asynctasq.msgpack) IS
    'raw MessagePack bytes, checked';
COMMENT ON CAST (asynctasq.msgpack AS pg_catalog.json) IS
    'MessagePack to tagged JSON';
COMMENT ON CAST (asynctasq.msgpack AS pg_catalog.jsonb) IS
    'MessagePack to tagged JSON';
COMMENT ON CAST (asynctasq.msgpack AS pg_catalog.bytea) IS
    'raw MessagePack bytes';

/* Access */

CREATE FUNCTION asynctasq.msgpack_field(asynctasq.msgpack, pg_catalog.text)
RETURNS asynctasq.msgpack
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_field'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_field_text(asynctasq.msgpack, pg_catalog.text)
RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_field_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_item(asynctasq.msgpack, pg_catalog.int4)
RETURNS asynctasq.msgpack
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_item'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_item_text(asynctasq.msgpack, pg_catalog.int4)
RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'atq_sql_msgpack_item_text'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR asynctasq.-> (
    LEFTARG = asynctasq.msgpack, RIGHTARG = pg_catalog.text,
    FUNCTION = asynctasq.msgpack_field
);
CREATE OPERATOR asynctasq.->> (
    LEFTARG = asynctasq.msgpack, RIGHTARG = pg_catalog.text,
    FUNCTION = asynctasq.msgpack_field_text
);
CREATE OPERATOR asynctasq.-> (
    LEFTARG = asynctasq.msgpack, RIGHTARG = pg_catalog.int4,
    FUNCTION = asynctasq.msgpack_item
);
CREATE OPERATOR asynctasq.->> (
    LEFTARG = asynctasq.msgpack, RIGHTARG = pg_catalog.int4,
    FUNCTION = asynctasq.msgpack_item_text
);

COMMENT ON FUNCTION asynctasq.msgpack_field(asynctasq.msgpack, pg_catalog.text) IS
    'returns the value of a map''s text key, NULL when there is none';
COMMENT ON FUNCTION asynctasq.msgpack_field_text(asynctasq.msgpack, pg_catalog.text) IS
    'returns the value of a map''s text key as text, NULL when there is none or it is nil';
COMMENT ON FUNCTION asynctasq.msgpack_item(asynctasq.msgpack, pg_catalog.int4) IS
    'returns an item of a list or set, counted from 0 or backwards from -1, or the value of a map''s integer key; NULL when there is none';
COMMENT ON FUNCTION asynctasq.msgpack_item_text(asynctasq.msgpack, pg_catalog.int4) IS
    'returns an item of a list or set, or the value of a map''s integer key, as text; NULL when there is none or it is nil';
COMMENT ON OPERATOR asynctasq.-> (asynctasq.msgpack, pg_catalog.text) IS
    'value of a map''s key';
COMMENT ON OPERATOR asynctasq.->> (asynctasq.msgpack, pg_catalog.text) IS
    'value of a map''s key as text';
COMMENT ON OPERATOR asynctasq.-> (asynctasq.msgpack, pg_catalog.int4) IS
    'item of a list or set';
COMMENT ON OPERATOR asynctasq.->> (asynctasq.msgpack, pg_catalog.int4) IS
    'item of a list or set as text';

/* Comparison: that of the bytes, by the functions of bytea */

CREATE FUNCTION asynctasq.msgpack_eq(asynctasq.msgpack, asynctasq.msgpack)
RETURNS pg_catalog.bool
AS 'byteaeq' LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_ne(asynctasq.msgpack, asynctasq.msgpack)
RETURNS pg_catalog.bool
AS 'byteane' LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_lt(asynctasq.msgpack, asynctasq.msgpack)
RETURNS pg_catalog.bool
AS 'bytealt' LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_le(asynctasq.msgpack, asynctasq.msgpack)
RETURNS pg_catalog.bool
AS 'byteale' LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_gt(asynctasq.msgpack, asynctasq.msgpack)
RETURNS pg_catalog.bool
AS 'byteagt' LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_ge(asynctasq.msgpack, asynctasq.msgpack)
RETURNS pg_catalog.bool
AS 'byteage' LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_cmp(asynctasq.msgpack, asynctasq.msgpack)
RETURNS pg_catalog.int4
AS 'byteacmp' LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_hash(asynctasq.msgpack)
RETURNS pg_catalog.int4
AS 'hashvarlena' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.msgpack_hash_extended(asynctasq.msgpack, pg_catalog.int8)
RETURNS pg_catalog.int8
AS 'hashvarlenaextended' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR asynctasq.= (
    LEFTARG = asynctasq.msgpack, RIGHTARG = asynctasq.msgpack,
    FUNCTION = asynctasq.msgpack_eq,
    COMMUTATOR = OPERATOR(asynctasq.=), NEGATOR = OPERATOR(asynctasq.<>),
    RESTRICT = pg_catalog.eqsel, JOIN = pg_catalog.eqjoinsel,
    HASHES, MERGES
);
CREATE OPERATOR asynctasq.<> (
    LEFTARG = asynctasq.msgpack, RIGHTARG = asynctasq.msgpack,
    FUNCTION = asynctasq.msgpack_ne,
    COMMUTATOR = OPERATOR(asynctasq.<>), NEGATOR = OPERATOR(asynctasq.=),
    RESTRICT = pg_catalog.neqsel, JOIN = pg_catalog.neqjoinsel
);
CREATE OPERATOR asynctasq.< (
    LEFTARG = asynctasq.msgpack, RIGHTARG = asynctasq.msgpack,
    FUNCTION = asynctasq.msgpack_lt,
    COMMUTATOR = OPERATOR(asynctasq.>), NEGATOR = OPERATOR(asynctasq.>=),
    RESTRICT = pg_catalog.scalarltsel, JOIN = pg_catalog.scalarltjoinsel
);
CREATE OPERATOR asynctasq.<= (
    LEFTARG = asynctasq.msgpack, RIGHTARG = asynctasq.msgpack,
    FUNCTION = asynctasq.msgpack_le,
    COMMUTATOR = OPERATOR(asynctasq.>=), NEGATOR = OPERATOR(asynctasq.>),
    RESTRICT = pg_catalog.scalarlesel, JOIN = pg_catalog.scalarlejoinsel
);
CREATE OPERATOR asynctasq.> (
    LEFTARG = asynctasq.msgpack, RIGHTARG = asynctasq.msgpack,
    FUNCTION = asynctasq.msgpack_gt,
    COMMUTATOR = OPERATOR(asynctasq.<), NEGATOR = OPERATOR(asynctasq.<=),
    RESTRICT = pg_catalog.scalargtsel, JOIN = pg_catalog.scalargtjoinsel
);
CREATE OPERATOR asynctasq.>= (
    LEFTARG = asynctasq.msgpack, RIGHTARG = asynctasq.msgpack,
    FUNCTION = asynctasq.msgpack_ge,
    COMMUTATOR = OPERATOR(asynctasq.<=), NEGATOR = OPERATOR(asynctasq.<),
    RESTRICT = pg_catalog.scalargesel, JOIN = pg_catalog.scalargejoinsel
);

CREATE OPERATOR CLASS asynctasq.msgpack_ops
DEFAULT FOR TYPE asynctasq.msgpack USING btree AS
    OPERATOR 1 asynctasq.<,
    OPERATOR 2 asynctasq.<=,
    OPERATOR 3 asynctasq.=,
    OPERATOR 4 asynctasq.>=,
    OPERATOR 5 asynctasq.>,
    FUNCTION 1 asynctasq.msgpack_cmp(asynctasq.msgpack, asynctasq.msgpack);

CREATE OPERATOR CLASS asynctasq.msgpack_ops
DEFAULT FOR TYPE asynctasq.msgpack USING hash AS
    OPERATOR 1 asynctasq.=,
    FUNCTION 1 asynctasq.msgpack_hash(asynctasq.msgpack),
    FUNCTION 2 asynctasq.msgpack_hash_extended(asynctasq.msgpack, pg_catalog.int8);

COMMENT ON FUNCTION asynctasq.msgpack_eq(asynctasq.msgpack, asynctasq.msgpack) IS
    'returns whether the bytes of the first are equal to those of the second';
COMMENT ON OPERATOR asynctasq.= (asynctasq.msgpack, asynctasq.msgpack) IS
    'equal, by bytes';
COMMENT ON FUNCTION asynctasq.msgpack_ne(asynctasq.msgpack, asynctasq.msgpack) IS
    'returns whether the bytes of the first are not equal to those of the second';
COMMENT ON OPERATOR asynctasq.<> (asynctasq.msgpack, asynctasq.msgpack) IS
    'not equal, by bytes';
COMMENT ON FUNCTION asynctasq.msgpack_lt(asynctasq.msgpack, asynctasq.msgpack) IS
    'returns whether the bytes of the first are less than those of the second';
COMMENT ON OPERATOR asynctasq.< (asynctasq.msgpack, asynctasq.msgpack) IS
    'less than, by bytes';
COMMENT ON FUNCTION asynctasq.msgpack_le(asynctasq.msgpack, asynctasq.msgpack) IS
    'returns whether the bytes of the first are less than or equal to those of the second';
COMMENT ON OPERATOR asynctasq.<= (asynctasq.msgpack, asynctasq.msgpack) IS
    'less than or equal, by bytes';
COMMENT ON FUNCTION asynctasq.msgpack_gt(asynctasq.msgpack, asynctasq.msgpack) IS
    'returns whether the bytes of the first are greater than those of the second';
COMMENT ON OPERATOR asynctasq.> (asynctasq.msgpack, asynctasq.msgpack) IS
    'greater than, by bytes';
COMMENT ON FUNCTION asynctasq.msgpack_ge(asynctasq.msgpack, asynctasq.msgpack) IS
    'returns whether the bytes of the first are greater than or equal to those of the second';
COMMENT ON OPERATOR asynctasq.>= (asynctasq.msgpack, asynctasq.msgpack) IS
    'greater than or equal, by bytes';
COMMENT ON FUNCTION asynctasq.msgpack_cmp(asynctasq.msgpack, asynctasq.msgpack) IS
    'returns less than, equal to or greater than zero as the bytes compare';
COMMENT ON FUNCTION asynctasq.msgpack_hash(asynctasq.msgpack) IS
    'returns a 32-bit hash of the bytes';
COMMENT ON FUNCTION asynctasq.msgpack_hash_extended(asynctasq.msgpack, pg_catalog.int8) IS
    'returns a 64-bit hash of the bytes with a seed';
COMMENT ON OPERATOR CLASS asynctasq.msgpack_ops USING btree IS
    'orders MessagePack values by their bytes';
COMMENT ON OPERATOR CLASS asynctasq.msgpack_ops USING hash IS
    'hashes MessagePack values by their bytes';
COMMENT ON OPERATOR FAMILY asynctasq.msgpack_ops USING btree IS
    'orders MessagePack values by their bytes';
COMMENT ON OPERATOR FAMILY asynctasq.msgpack_ops USING hash IS
    'hashes MessagePack values by their bytes';

------------------------------------------------------------------------
-- Registries
------------------------------------------------------------------------

CREATE TABLE asynctasq.queue (
	id pg_catalog.int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	owner pg_catalog.regrole NOT NULL,
	name pg_catalog.text COLLATE "C" NOT NULL,
	durable pg_catalog.bool NOT NULL DEFAULT false,
	paused pg_catalog.bool NOT NULL DEFAULT false,
	max_concurrency pg_catalog.int4,
	lost pg_catalog.int8 DEFAULT 0,
	lost_at pg_catalog.timestamptz,
	emptied pg_catalog.int8 NOT NULL DEFAULT 0,
	CONSTRAINT queue_owner_name_key UNIQUE (owner, name),
	CONSTRAINT queue_max_concurrency_check CHECK (max_concurrency OPERATOR(pg_catalog.>) 0)
);
COMMENT ON TABLE asynctasq.queue IS
'Queues: lines of tasks, each owned by the role that its handlers run as.';

CREATE TABLE asynctasq.handler (
	name pg_catalog.text COLLATE "C" PRIMARY KEY,
	role pg_catalog.regrole NOT NULL,
	function pg_catalog.text NOT NULL,
	queue pg_catalog.text COLLATE "C" NOT NULL,
	max_attempts pg_catalog.int4 NOT NULL,
	retry_delay pg_catalog.interval NOT NULL,
	retry_strategy pg_catalog.text COLLATE "C" NOT NULL,
	timeout pg_catalog.interval,
	priority pg_catalog.int4 NOT NULL,
	should_retry pg_catalog.text,
	on_failure pg_catalog.text,
	keep_result pg_catalog.bool NOT NULL,
	group_size pg_catalog.int4 NOT NULL,
	batch_size pg_catalog.int4,
	lock pg_catalog.text COLLATE "C"
);
COMMENT ON TABLE asynctasq.handler IS
'Handlers: registered functions, by qualified signature, and the defaults of their tasks.';

CREATE TABLE asynctasq.handler_grant (
	handler pg_catalog.text COLLATE "C" NOT NULL
		REFERENCES asynctasq.handler (name) ON DELETE CASCADE,
	role pg_catalog.regrole NOT NULL,
	CONSTRAINT handler_grant_pkey PRIMARY KEY (handler, role)
);
COMMENT ON TABLE asynctasq.handler_grant IS
'Roles that may dispatch to a handler without being members of its role; "-" is PUBLIC.';

CREATE TABLE asynctasq.model (
	orm pg_catalog.text COLLATE "C" NOT NULL,
	class pg_catalog.text COLLATE "C" NOT NULL,
	owner pg_catalog.regrole NOT NULL,
	relation pg_catalog.regclass NOT NULL,
	relation_name pg_catalog.text NOT NULL,
	current_name pg_catalog.text NOT NULL,
	key pg_catalog.text[],
	on_missing pg_catalog.text COLLATE "C" NOT NULL,
	server pg_catalog.text COLLATE "C",
	CONSTRAINT model_pkey PRIMARY KEY (orm, class)
);
COMMENT ON TABLE asynctasq.model IS
'Models: ORM class names bound to a table and its key; relation_name is what the table was called when it was registered, current_name what it is called; key is NULL where it is the primary key, server where the table is in this database.';

------------------------------------------------------------------------
-- Tasks
------------------------------------------------------------------------

CREATE SEQUENCE asynctasq.task_id_seq;
COMMENT ON SEQUENCE asynctasq.task_id_seq IS
'Ids of tasks. A logged sequence of its own, so that ids never repeat after a crash.';

CREATE TABLE asynctasq.task (
	id pg_catalog.int8 NOT NULL,
	dispatched_at pg_catalog.timestamptz NOT NULL,
	run_at pg_catalog.timestamptz,
	queue_id pg_catalog.int4 NOT NULL,
	priority pg_catalog.int4 NOT NULL,
	attempt pg_catalog.int4 NOT NULL,
	durable pg_catalog.bool NOT NULL,
	task pg_catalog.text COLLATE "C" NOT NULL,
	args asynctasq.msgpack NOT NULL,
	max_attempts pg_catalog.int4,
	retry_delay pg_catalog.interval,
	timeout pg_catalog.interval,
	correlation_id pg_catalog.text,
	depth pg_catalog.int4
) PARTITION BY LIST (durable);
CREATE UNLOGGED TABLE asynctasq.task_unlogged
	PARTITION OF asynctasq.task FOR VALUES IN (false);
CREATE TABLE asynctasq.task_logged
	PARTITION OF asynctasq.task FOR VALUES IN (true);
CREATE UNIQUE INDEX task_unlogged_id ON asynctasq.task_unlogged (id);
CREATE UNIQUE INDEX task_logged_id ON asynctasq.task_logged (id);
ALTER TABLE asynctasq.task_logged REPLICA IDENTITY USING INDEX task_logged_id;
CREATE INDEX task_unlogged_ready ON asynctasq.task_unlogged
	(queue_id, priority, id) WHERE run_at IS NULL;
CREATE INDEX task_logged_ready ON asynctasq.task_logged
	(queue_id, priority, id) WHERE run_at IS NULL;
CREATE INDEX task_unlogged_delayed ON asynctasq.task_unlogged
	(queue_id, run_at) WHERE run_at IS NOT NULL;
CREATE INDEX task_logged_delayed ON asynctasq.task_logged
	(queue_id, run_at) WHERE run_at IS NOT NULL;
COMMENT ON TABLE asynctasq.task IS
'Tasks that are ready (run_at is NULL) or delayed. A row is removed by the transaction that runs its task. depth: how many tasks have dispatched each other down to it, NULL for none.';

CREATE TABLE asynctasq.dead_letter (
	id pg_catalog.int8 PRIMARY KEY,
	queue_id pg_catalog.int4 NOT NULL,
	priority pg_catalog.int4 NOT NULL,
	attempt pg_catalog.int4 NOT NULL,
	task pg_catalog.text COLLATE "C" NOT NULL,
	args asynctasq.msgpack NOT NULL,
	max_attempts pg_catalog.int4,
	retry_delay pg_catalog.interval,
	timeout pg_catalog.interval,
	correlation_id pg_catalog.text,
	dispatched_at pg_catalog.timestamptz NOT NULL,
	started_at pg_catalog.timestamptz,
	failed_at pg_catalog.timestamptz NOT NULL,
	error pg_catalog.jsonb NOT NULL
);
COMMENT ON TABLE asynctasq.dead_letter IS
'Dead letters: tasks that failed and will not be tried again unless retry() is called.';

CREATE TABLE asynctasq.result (
	id pg_catalog.int8 PRIMARY KEY,
	queue_id pg_catalog.int4 NOT NULL,
	priority pg_catalog.int4 NOT NULL,
	attempt pg_catalog.int4 NOT NULL,
	max_attempts pg_catalog.int4 NOT NULL,
	status pg_catalog.text COLLATE "C" NOT NULL,
	task pg_catalog.text COLLATE "C" NOT NULL,
	args asynctasq.msgpack NOT NULL,
	correlation_id pg_catalog.text,
	dispatched_at pg_catalog.timestamptz NOT NULL,
	started_at pg_catalog.timestamptz,
	finished_at pg_catalog.timestamptz NOT NULL,
	result pg_catalog.jsonb,
	error pg_catalog.jsonb
);
CREATE INDEX result_finished_at ON asynctasq.result (finished_at);
COMMENT ON TABLE asynctasq.result IS
'Outcomes of completed tasks whose handler keeps results, and of cancelled tasks, for asynctasq.result_retention.';

CREATE UNLOGGED TABLE asynctasq.crash_mark (
	queue_id pg_catalog.int4 PRIMARY KEY
		REFERENCES asynctasq.queue (id) ON DELETE CASCADE
);
COMMENT ON TABLE asynctasq.crash_mark IS
'One row for each queue that is not durable and has been seen since the last crash, which empties this table too.';

CREATE TABLE asynctasq.crash (
	last_id pg_catalog.int8 PRIMARY KEY,
	crashed_at pg_catalog.timestamptz NOT NULL
);
COMMENT ON TABLE asynctasq.crash IS
'Crashes that emptied queues: the last id handed out before each, and when the server found out.';

CREATE TABLE asynctasq.home (
	database pg_catalog.oid NOT NULL,
	system_identifier pg_catalog.int8 NOT NULL,
	version pg_catalog.int4 NOT NULL,
	here pg_catalog.bool NOT NULL,
	CONSTRAINT home_pkey PRIMARY KEY (database, system_identifier)
);
COMMENT ON TABLE asynctasq.home IS
'Where these tasks run: a database''s OID and its cluster''s system identifier, the major version of the server that wrote the row, and whether tasks run there. Not dumped.';

-- A role that is gone is dumped as a number, which may be another role's where
-- the dump is restored: rows that name one are left out.  Tasks of such a queue
-- are not, and wait for it.
SELECT pg_catalog.pg_extension_config_dump('asynctasq.queue',
	$$WHERE owner::pg_catalog.text OPERATOR(pg_catalog.!~) '^[0-9]+$'$$);
SELECT pg_catalog.pg_extension_config_dump('asynctasq.queue_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('asynctasq.handler',
	$$WHERE role::pg_catalog.text OPERATOR(pg_catalog.!~) '^[0-9]+$'$$);
SELECT pg_catalog.pg_extension_config_dump('asynctasq.handler_grant',
	$$WHERE role::pg_catalog.text OPERATOR(pg_catalog.!~) '^[0-9]+$'
	AND handler OPERATOR(pg_catalog.=) ANY (SELECT h.name FROM asynctasq.handler AS h
	WHERE h.role::pg_catalog.text OPERATOR(pg_catalog.!~) '^[0-9]+$')$$);
SELECT pg_catalog.pg_extension_config_dump('asynctasq.model',
	$$WHERE owner::pg_catalog.text OPERATOR(pg_catalog.!~) '^[0-9]+$'$$);
SELECT pg_catalog.pg_extension_config_dump('asynctasq.task_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('asynctasq.task_logged', '');
SELECT pg_catalog.pg_extension_config_dump('asynctasq.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('asynctasq.result', '');

-- Whoever changes a registry, by whatever statement: the caches follow.
CREATE FUNCTION asynctasq.registry_changed() RETURNS pg_catalog.trigger
	AS 'MODULE_PATHNAME', 'atq_registry_changed' LANGUAGE C;
COMMENT ON FUNCTION asynctasq.registry_changed() IS
'Trigger function: empties the caches of registries in all backends.';
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON asynctasq.queue FOR EACH STATEMENT
	EXECUTE FUNCTION asynctasq.registry_changed();
ALTER TABLE asynctasq.queue ENABLE ALWAYS TRIGGER registry_changed;
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON asynctasq.handler FOR EACH STATEMENT
	EXECUTE FUNCTION asynctasq.registry_changed();
ALTER TABLE asynctasq.handler ENABLE ALWAYS TRIGGER registry_changed;
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON asynctasq.handler_grant FOR EACH STATEMENT
	EXECUTE FUNCTION asynctasq.registry_changed();
ALTER TABLE asynctasq.handler_grant ENABLE ALWAYS TRIGGER registry_changed;
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON asynctasq.model FOR EACH STATEMENT
	EXECUTE FUNCTION asynctasq.registry_changed();
ALTER TABLE asynctasq.model ENABLE ALWAYS TRIGGER registry_changed;
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON asynctasq.home FOR EACH STATEMENT
	EXECUTE FUNCTION asynctasq.registry_changed();
ALTER TABLE asynctasq.home ENABLE ALWAYS TRIGGER registry_changed;

-- A queue that was not there before has lost nothing.
CREATE FUNCTION asynctasq.queue_made() RETURNS pg_catalog.trigger
	AS 'MODULE_PATHNAME', 'atq_queue_made' LANGUAGE C;
COMMENT ON FUNCTION asynctasq.queue_made() IS
'Trigger function: gives a new queue its row of crash_mark.';
CREATE TRIGGER queue_made AFTER INSERT ON asynctasq.queue
	FOR EACH ROW WHEN (NOT NEW.durable)
	EXECUTE FUNCTION asynctasq.queue_made();
ALTER TABLE asynctasq.queue ENABLE ALWAYS TRIGGER queue_made;

-- dispatch() fires no trigger: what does comes from a dump or a publisher.
CREATE FUNCTION asynctasq.task_copied() RETURNS pg_catalog.trigger
	AS 'MODULE_PATHNAME', 'atq_task_copied' LANGUAGE C;
COMMENT ON FUNCTION asynctasq.task_copied() IS
'Trigger function: has no task of this database run until adopt() is called.';
CREATE TRIGGER task_copied BEFORE INSERT ON asynctasq.task_unlogged
	FOR EACH ROW EXECUTE FUNCTION asynctasq.task_copied();
ALTER TABLE asynctasq.task_unlogged ENABLE ALWAYS TRIGGER task_copied;
CREATE TRIGGER task_copied BEFORE INSERT ON asynctasq.task_logged
	FOR EACH ROW EXECUTE FUNCTION asynctasq.task_copied();
ALTER TABLE asynctasq.task_logged ENABLE ALWAYS TRIGGER task_copied;

CREATE FUNCTION asynctasq.adopt() RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_adopt'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.adopt() IS
'Has the tasks of this database run after the commit of this transaction, also those that came with it from a template or another cluster, from a dump, or from a publisher. Errors: 42501 the caller is not a member of the role that owns the extension, 25006 in a read-only transaction.';
SELECT asynctasq.adopt();

------------------------------------------------------------------------
-- Arguments and dispatching
------------------------------------------------------------------------

CREATE FUNCTION asynctasq.args() RETURNS asynctasq.msgpack
	AS 'MODULE_PATHNAME', 'atq_sql_args_none'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.args() IS
'No arguments: an empty map.';

CREATE FUNCTION asynctasq.args(VARIADIC pg_catalog."any") RETURNS asynctasq.msgpack
	AS 'MODULE_PATHNAME', 'atq_sql_args'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.args(pg_catalog."any") IS
'Arguments of a task: name, value, ... A row of a table that has a key becomes a reference to it. Errors: 22023 odd number of arguments, 22004 a name that is null, 22P03 a name given twice, 22008 a date that is infinite or outside the years 1 to 9999, 54000 too large or too deep.';

CREATE FUNCTION asynctasq.set(pg_catalog.anyarray) RETURNS asynctasq.msgpack
	AS 'MODULE_PATHNAME', 'atq_sql_set'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.set(pg_catalog.anyarray) IS
'The elements of an array as a set, which Python reads as a set.';

CREATE FUNCTION asynctasq.ref(pg_catalog.record) RETURNS asynctasq.msgpack
	AS 'MODULE_PATHNAME', 'atq_sql_ref_row'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.ref(pg_catalog.record) IS
'A reference to the given row of a table. Errors: 42P16 the table has no key, 22004 a key column is null.';

CREATE FUNCTION asynctasq.ref(class pg_catalog.text, VARIADIC key pg_catalog."any") RETURNS asynctasq.msgpack
	AS 'MODULE_PATHNAME', 'atq_sql_ref_key'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.ref(pg_catalog.text, pg_catalog."any") IS
'A reference to a row of a registered model by the values of its key; the table is not read. Errors: 42704 the model is not registered, 22004 a value is null.';

CREATE FUNCTION asynctasq.dispatch(
	task pg_catalog.text,
	args asynctasq.msgpack DEFAULT '{}',
	queue pg_catalog.text DEFAULT NULL,
	delay pg_catalog.interval DEFAULT NULL,
	run_at pg_catalog.timestamptz DEFAULT NULL,
	priority pg_catalog.int4 DEFAULT NULL,
	max_attempts pg_catalog.int4 DEFAULT NULL,
	retry_delay pg_catalog.interval DEFAULT NULL,
	timeout pg_catalog.interval DEFAULT NULL,
	correlation_id pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_dispatch'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.dispatch(pg_catalog.text, asynctasq.msgpack, pg_catalog.text, pg_catalog.interval, pg_catalog.timestamptz, pg_catalog.int4, pg_catalog.int4, pg_catalog.interval, pg_catalog.interval, pg_catalog.text) IS
'Dispatches a task to a handler and returns its id. It runs after the commit of this transaction, or after delay or at run_at. Options that are NULL are the handler''s. Errors: 42704 the handler does not exist, 42501 not allowed to dispatch to it, 22023 an option out of range or arguments that are no map, 54000 arguments too large or too deep, or the chain of tasks longer than asynctasq.max_chain_depth, 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.dispatch_many(
	task pg_catalog.text,
	args asynctasq.msgpack[],
	queue pg_catalog.text DEFAULT NULL,
	delay pg_catalog.interval DEFAULT NULL,
	run_at pg_catalog.timestamptz DEFAULT NULL,
	priority pg_catalog.int4 DEFAULT NULL,
	max_attempts pg_catalog.int4 DEFAULT NULL,
	retry_delay pg_catalog.interval DEFAULT NULL,
	timeout pg_catalog.interval DEFAULT NULL,
	correlation_id pg_catalog.text DEFAULT NULL) RETURNS SETOF pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_dispatch_many'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.dispatch_many(pg_catalog.text, asynctasq.msgpack[], pg_catalog.text, pg_catalog.interval, pg_catalog.timestamptz, pg_catalog.int4, pg_catalog.int4, pg_catalog.interval, pg_catalog.interval, pg_catalog.text) IS
'Dispatches one task for each element of args, all with the same options, and returns their ids in order. Errors as dispatch().';

CREATE FUNCTION asynctasq.dispatch_payload(
	payload pg_catalog.bytea,
	delay pg_catalog.interval DEFAULT NULL) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_dispatch_payload'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.dispatch_payload(pg_catalog.bytea, pg_catalog.interval) IS
'Dispatches a task as the Python package asynctasq serialised it and returns its id. Queue, attempts and delays are those of its metadata, its task_id becomes the correlation id. Errors: 22P03 no MessagePack, 22023 no task, and as dispatch().';

CREATE FUNCTION asynctasq.drain(
	queue pg_catalog.text DEFAULT NULL,
	max_tasks pg_catalog.int4 DEFAULT NULL) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_drain'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.drain(pg_catalog.text, pg_catalog.int4) IS
'Runs due tasks of the current user''s queues, or of one of them, in this transaction, each in a subtransaction, and returns how many ran: for tests. Errors: 42704 no such queue of the current user, 22023 max_tasks is negative, 55000 called from inside a task or where tasks do not run (see adopt()), 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.current_task(
	OUT id pg_catalog.int8,
	OUT task pg_catalog.text,
	OUT queue pg_catalog.text,
	OUT status pg_catalog.text,
	OUT args pg_catalog.jsonb,
	OUT attempt pg_catalog.int4,
	OUT max_attempts pg_catalog.int4,
	OUT priority pg_catalog.int4,
	OUT dispatched_at pg_catalog.timestamptz,
	OUT run_at pg_catalog.timestamptz,
	OUT started_at pg_catalog.timestamptz,
	OUT finished_at pg_catalog.timestamptz,
	OUT result pg_catalog.jsonb,
	OUT error pg_catalog.jsonb,
	OUT correlation_id pg_catalog.text,
	OUT worker_pid pg_catalog.int4,
	OUT depth pg_catalog.int4)
	AS 'MODULE_PATHNAME', 'atq_sql_current_task'
	LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.current_task() IS
'The task that runs in this session, inside a handler, in the form of task_info(); NULL elsewhere.';

CREATE FUNCTION asynctasq.fetch(asynctasq.msgpack) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_fetch'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.fetch(asynctasq.msgpack) IS
'The value in plain JSON, its references replaced by the rows they stand for, read now and as the current user. A missing row is a JSON null or an error, as its model says. Errors: 42704 a model is not registered, P0002 a row does not exist.';

CREATE FUNCTION asynctasq.fetch("row" pg_catalog.anyelement, reference asynctasq.msgpack) RETURNS pg_catalog.anyelement
	AS 'MODULE_PATHNAME', 'atq_sql_fetch_row'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.fetch(pg_catalog.anyelement, asynctasq.msgpack) IS
'The row that a reference stands for, read now and as the current user; the first argument only gives its type: fetch(NULL::users, reference). NULL for nil, and for a missing row where its model says so. Errors: 42804 the type is no row type, or not that of the model''s table, 22023 the value is not one reference, and as fetch(msgpack).';

CREATE FUNCTION asynctasq.refresh(reference asynctasq.msgpack) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_refresh'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.refresh(asynctasq.msgpack) IS
'The row that a reference stands for, in JSON, read now and as the current user. Errors: P0002 the row does not exist, whatever its model says of missing rows, 22023 the value is not one reference, and as fetch(msgpack).';

CREATE FUNCTION asynctasq.fetch_related(reference asynctasq.msgpack, name pg_catalog.text) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_fetch_related'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.fetch_related(asynctasq.msgpack, pg_catalog.text) IS
'The row, in JSON, to which a foreign key of the row that a reference stands for leads, both read now and as the current user. name is that of a column, or of the constraint where a column is in several. NULL for nil, for a foreign key that is null, and for a row that is not there or not visible. Errors: 22023 the value is not one reference, or the column has no foreign key, 42703 no such column, 42702 it is in several foreign keys, and for the reference itself as fetch(msgpack).';

------------------------------------------------------------------------
-- Registration and queues
------------------------------------------------------------------------

CREATE FUNCTION asynctasq.register_handler(
	name pg_catalog.text,
	function pg_catalog.regprocedure,
	queue pg_catalog.text DEFAULT 'default',
	max_attempts pg_catalog.int4 DEFAULT 3,
	retry_delay pg_catalog.interval DEFAULT '60 s',
	retry_strategy pg_catalog.text DEFAULT 'exponential',
	timeout pg_catalog.interval DEFAULT NULL,
	priority pg_catalog.int4 DEFAULT 0,
	should_retry pg_catalog.regprocedure DEFAULT NULL,
	on_failure pg_catalog.regprocedure DEFAULT NULL,
	keep_result pg_catalog.bool DEFAULT false,
	group_size pg_catalog.int4 DEFAULT 1,
	batch_size pg_catalog.int4 DEFAULT NULL,
	run_as pg_catalog.name DEFAULT NULL,
	lock pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_register_handler'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.register_handler(pg_catalog.text, pg_catalog.regprocedure, pg_catalog.text, pg_catalog.int4, pg_catalog.interval, pg_catalog.text, pg_catalog.interval, pg_catalog.int4, pg_catalog.regprocedure, pg_catalog.regprocedure, pg_catalog.bool, pg_catalog.int4, pg_catalog.int4, pg_catalog.name, pg_catalog.text) IS
'Registers a function as the handler of the tasks of a name, or replaces what is registered. It runs as run_as, or as the current user. group_size: up to so many tasks may share a transaction, which asks that all effects of the function are in this database; batch_size: the function takes arrays and is called once for up to so many tasks, in one transaction; lock, share or update, has the rows that its arguments refer to read FOR SHARE or FOR UPDATE; fetch() does not lock. Errors: 22004 name or function is null, 22023 a name or an option out of range, or group_size and batch_size together, 42704 the role does not exist, 42501 not allowed to become the role, the role may not execute a function, or the name is registered for a role that the caller is not a member of, 42809 or 42P13 the function cannot be a handler, 55000 the role is not permitted to log in (before PostgreSQL 17), 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.unregister_handler(name pg_catalog.text) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_unregister_handler'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.unregister_handler(pg_catalog.text) IS
'Removes a handler and its grants; its tasks stay in their queues. Errors: 22004 name is null, 42704 the handler does not exist, 42501 the caller is not a member of its role, 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.register_model(
	class pg_catalog.text,
	relation pg_catalog.regclass,
	orm pg_catalog.text DEFAULT 'sqlalchemy',
	key pg_catalog.text[] DEFAULT NULL,
	on_missing pg_catalog.text DEFAULT NULL,
	server pg_catalog.name DEFAULT NULL) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_register_model'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.register_model(pg_catalog.text, pg_catalog.regclass, pg_catalog.text, pg_catalog.text[], pg_catalog.text, pg_catalog.name) IS
'Binds a class of an ORM (sqlalchemy, django, tortoise, or postgres) to a table or view and the columns that identify its rows, or replaces what is registered. on_missing says what becomes of a reference to a row that is not there: null (the default of sqlalchemy), error (of the others) or discard, which ends the task. With server, the rows are read there, from the table that the relation is named after (or that its options name, where it is a foreign table), and the relation only gives their type. Errors: 22004 class, relation or a column is null, 22023 a name, orm, on_missing or number of columns out of range, 42703, 42701 or 42P10 a column does not exist, is given twice or is a system column, 42P16 no key and no primary key, 42809 the relation is temporary, of the system or has no rows, 42501 not allowed to read it or to use the server, 42704 no such server, 42809 a server of another kind, or the class is registered by a role that the caller is not a member of, 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.unregister_model(
	class pg_catalog.text,
	orm pg_catalog.text DEFAULT 'sqlalchemy') RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_unregister_model'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.unregister_model(pg_catalog.text, pg_catalog.text) IS
'Removes a model. Errors: 22004 class is null, 22023 no such orm, 42704 the model does not exist, 42501 a role that the caller is not a member of has registered it, 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.grant_dispatch(
	handler pg_catalog.text,
	role pg_catalog.name) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_grant_dispatch'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.grant_dispatch(pg_catalog.text, pg_catalog.name) IS
'Allows a role and its members, or public, to dispatch to a handler. Errors: 22004 an argument is null, 42704 the handler or the role does not exist, 42501 the caller is not a member of the handler''s role, 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.revoke_dispatch(
	handler pg_catalog.text,
	role pg_catalog.name) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_revoke_dispatch'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.revoke_dispatch(pg_catalog.text, pg_catalog.name) IS
'Takes back what grant_dispatch() has granted, if it has. Errors as grant_dispatch().';

CREATE FUNCTION asynctasq.create_queue(
	name pg_catalog.text,
	durable pg_catalog.bool DEFAULT false,
	max_concurrency pg_catalog.int4 DEFAULT NULL) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_create_queue'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.create_queue(pg_catalog.text, pg_catalog.bool, pg_catalog.int4) IS
'Makes a queue of the current user. Tasks of a durable queue survive a crash of the server; at most max_concurrency of them run at once (NULL: no limit). Errors: 22004 name is null, 22023 name or max_concurrency out of range, 42710 the current user has a queue of that name, 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.pause_queue(name pg_catalog.text) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_pause_queue'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.pause_queue(pg_catalog.text) IS
'Has no further task of a queue begun, until resume_queue(); tasks can still be dispatched to it. Errors: 22004 name is null, 42704 the queue does not exist, 42501 it belongs to a role that the caller is not a member of, 42P09 several such roles have a queue of that name, 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.resume_queue(name pg_catalog.text) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_resume_queue'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.resume_queue(pg_catalog.text) IS
'Has a queue''s tasks begun again after pause_queue(). Errors as pause_queue().';

CREATE FUNCTION asynctasq.drop_queue(name pg_catalog.text) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_drop_queue'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.drop_queue(pg_catalog.text) IS
'Removes an empty queue and the results of its tasks. Errors: 55006 it holds tasks or dead letters, 2BP01 it is the queue of a handler, 25001 the transaction is not READ COMMITTED, and as pause_queue().';

CREATE FUNCTION asynctasq.purge_queue(
	name pg_catalog.text,
	dead_letters pg_catalog.bool DEFAULT false) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_purge_queue'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.purge_queue(pg_catalog.text, pg_catalog.bool) IS
'Removes the waiting tasks of a queue, and its dead letters if asked to, and returns their number; tasks that run are left alone. Errors as pause_queue().';

------------------------------------------------------------------------
-- Control of tasks, views
------------------------------------------------------------------------

CREATE FUNCTION asynctasq.cancel(id pg_catalog.int8) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'atq_sql_cancel'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.cancel(pg_catalog.int8) IS
'Cancels a task. One that waits is removed when this transaction commits; one that runs is interrupted at once, and its effects are rolled back. Returns false when there is no such task of a queue of the caller''s roles, or when another transaction holds it. Errors: 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.retry(id pg_catalog.int8) RETURNS pg_catalog.bool
	AS 'MODULE_PATHNAME', 'atq_sql_retry'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.retry(pg_catalog.int8) IS
'Puts a dead letter back into its queue, with the same id and all its attempts ahead; it runs after the commit of this transaction. Its depth begins anew; a task that calls this counts as having dispatched it. Returns false when there is no such dead letter of a queue of the caller''s roles. Errors: 55000 the queue does not exist any more, 54000 as dispatch(), 25006 in a read-only transaction.';

CREATE FUNCTION asynctasq.result(id pg_catalog.int8) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_result'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.result(pg_catalog.int8) IS
'What the handler of a completed task returned, where the handler keeps results, for asynctasq.result_retention; else NULL.';

CREATE FUNCTION asynctasq.wait(
	id pg_catalog.int8,
	timeout pg_catalog.interval DEFAULT '30 s') RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_wait'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.wait(pg_catalog.int8, pg_catalog.interval) IS
'Waits until a task has ended, at most for timeout (NULL: without limit), and returns its result as result() does. NULL at once for a task that is unknown, or not of a queue of the caller''s roles. Errors: the task''s own SQLSTATE when it has failed for good, 57014 it was cancelled or has not ended in time, 55000 it was dispatched by this transaction or waits for itself, 25001 the transaction is not READ COMMITTED, 22023 a negative timeout.';

CREATE FUNCTION asynctasq.task_info(
	INOUT id pg_catalog.int8,
	OUT task pg_catalog.text,
	OUT queue pg_catalog.text,
	OUT status pg_catalog.text,
	OUT args pg_catalog.jsonb,
	OUT attempt pg_catalog.int4,
	OUT max_attempts pg_catalog.int4,
	OUT priority pg_catalog.int4,
	OUT dispatched_at pg_catalog.timestamptz,
	OUT run_at pg_catalog.timestamptz,
	OUT started_at pg_catalog.timestamptz,
	OUT finished_at pg_catalog.timestamptz,
	OUT result pg_catalog.jsonb,
	OUT error pg_catalog.jsonb,
	OUT correlation_id pg_catalog.text,
	OUT worker_pid pg_catalog.int4,
	OUT depth pg_catalog.int4)
	AS 'MODULE_PATHNAME', 'atq_sql_task_info'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.task_info(pg_catalog.int8) IS
'One task: status is pending, scheduled, running, completed, failed or cancelled, attempt counts the attempts that have started, depth the tasks that have dispatched each other down to this one (0: no task has dispatched it; NULL when it has ended). NULL for a task that is unknown, that has succeeded without a kept result, or that is not of a queue of the caller''s roles; where such an id is from before a crash that emptied queues, status is unknown and error an object with message and crashed_at. Members of pg_monitor see all tasks, without args and result.';

-- What shared memory knows. Each shows only what the caller may see.
CREATE FUNCTION asynctasq.worker_slots(
	OUT pid pg_catalog.int4,
	OUT database pg_catalog.oid,
	OUT role pg_catalog.oid,
	OUT state pg_catalog.text,
	OUT queue_id pg_catalog.int4,
	OUT task pg_catalog.text,
	OUT task_id pg_catalog.int8,
	OUT attempt pg_catalog.int4,
	OUT task_started_at pg_catalog.timestamptz,
	OUT tasks_done pg_catalog.int8,
	OUT started_at pg_catalog.timestamptz) RETURNS SETOF pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_worker_slots'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION asynctasq.worker_slots() IS
'Worker processes of the caller''s roles in all databases, as stat_workers shows them; queue_id is of the worker''s database.';

CREATE FUNCTION asynctasq.queue_counters(
	OUT queue_id pg_catalog.int4,
	OUT completed pg_catalog.int8,
	OUT failed pg_catalog.int8,
	OUT retried pg_catalog.int8,
	OUT cancelled pg_catalog.int8,
	OUT total_ms pg_catalog.float8,
	OUT max_ms pg_catalog.float8,
	OUT per_minute pg_catalog.float8) RETURNS SETOF pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_queue_counters'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION asynctasq.queue_counters() IS
'Attempts that have ended since the server started, by queue of the caller''s roles and outcome, and their times in milliseconds; behind stat_queues.';

CREATE FUNCTION asynctasq.handler_counters(
	OUT task pg_catalog.text,
	OUT role pg_catalog.oid,
	OUT completed pg_catalog.int8,
	OUT failed pg_catalog.int8,
	OUT retried pg_catalog.int8,
	OUT cancelled pg_catalog.int8,
	OUT total_ms pg_catalog.float8,
	OUT max_ms pg_catalog.float8,
	OUT per_minute pg_catalog.float8) RETURNS SETOF pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_handler_counters'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION asynctasq.handler_counters() IS
'Attempts that have ended since the server started, by handler of the caller''s roles and outcome, and their times in milliseconds; behind stat_handlers.';

-- Views read the tables as the extension's owner, and show each role its own.
CREATE VIEW asynctasq.tasks WITH (security_barrier) AS
SELECT t.id,
	t.task::pg_catalog.text AS task,
	q.name::pg_catalog.text AS queue,
	CASE WHEN w.task_id IS NOT NULL THEN 'running'
		WHEN t.run_at IS NOT NULL THEN 'scheduled'
		ELSE 'pending' END AS status,
	t.priority,
	COALESCE(w.attempt, t.attempt) AS attempt,
	COALESCE(t.max_attempts, h.max_attempts) AS max_attempts,
	t.dispatched_at,
	CASE WHEN w.task_id IS NULL THEN t.run_at END AS run_at,
	t.correlation_id,
	COALESCE(t.depth, 0) AS depth,
	CASE WHEN pg_catalog.pg_has_role(q.owner::pg_catalog.oid, 'USAGE')
		THEN t.args::pg_catalog.jsonb END AS args
FROM asynctasq.task AS t
	LEFT JOIN asynctasq.queue AS q ON q.id OPERATOR(pg_catalog.=) t.queue_id
	LEFT JOIN asynctasq.handler AS h ON h.name OPERATOR(pg_catalog.=) t.task
		AND h.role OPERATOR(pg_catalog.=) q.owner
	LEFT JOIN (SELECT s.task_id, s.attempt
		FROM asynctasq.worker_slots() AS s
		WHERE s.task_id IS NOT NULL AND s.database OPERATOR(pg_catalog.=)
			(SELECT d.oid FROM pg_catalog.pg_database AS d
			WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) AS w
		ON w.task_id OPERATOR(pg_catalog.=) t.id
WHERE pg_catalog.pg_has_role(q.owner::pg_catalog.oid, 'USAGE')
	OR (SELECT pg_catalog.pg_has_role('pg_monitor'::pg_catalog.name, 'USAGE'));
COMMENT ON VIEW asynctasq.tasks IS
'Tasks that have not ended, of the queues of the reader''s roles; members of pg_monitor see all, args excepted. id; task: the handler''s name; queue; status: pending, scheduled or running; priority: the smaller number runs first; attempt: attempts that have started; max_attempts; dispatched_at; run_at: when a scheduled task is due; correlation_id; depth: as in task_info(); args: in tagged JSON.';

CREATE VIEW asynctasq.dead_letters WITH (security_barrier) AS
SELECT t.id,
	t.task::pg_catalog.text AS task,
	q.name::pg_catalog.text AS queue,
	t.attempt,
	CASE WHEN pg_catalog.pg_has_role(q.owner::pg_catalog.oid, 'USAGE')
		THEN t.args::pg_catalog.jsonb END AS args,
	t.error,
	t.failed_at,
	t.correlation_id
FROM asynctasq.dead_letter AS t
	LEFT JOIN asynctasq.queue AS q ON q.id OPERATOR(pg_catalog.=) t.queue_id
WHERE pg_catalog.pg_has_role(q.owner::pg_catalog.oid, 'USAGE')
	OR (SELECT pg_catalog.pg_has_role('pg_monitor'::pg_catalog.name, 'USAGE'));
COMMENT ON VIEW asynctasq.dead_letters IS
'Tasks that failed for good, of the queues of the reader''s roles; members of pg_monitor see all, args excepted. id: for retry(); task: the handler''s name; queue; attempt: attempts made; args: in tagged JSON; error: object with sqlstate, message, detail, hint, context, attempt, failed_at; failed_at; correlation_id.';

CREATE VIEW asynctasq.stat_queues WITH (security_barrier) AS
SELECT q.name::pg_catalog.text AS queue,
	pg_catalog.pg_get_userbyid(q.owner::pg_catalog.oid) AS owner,
	q.durable,
	q.paused,
	GREATEST(r.ready OPERATOR(pg_catalog.-) COALESCE(w.running, 0), 0) AS ready,
	s.scheduled,
	COALESCE(w.running, 0) AS running,
	COALESCE(c.completed, 0) AS completed,
	COALESCE(c.failed, 0) AS failed,
	COALESCE(c.retried, 0) AS retried,
	CASE WHEN r.ready OPERATOR(pg_catalog.>) COALESCE(w.running, 0)
		THEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) r.oldest
		END AS oldest_ready_age,
	c.total_ms OPERATOR(pg_catalog./) NULLIF(c.completed
		OPERATOR(pg_catalog.+) c.failed OPERATOR(pg_catalog.+) c.retried
		OPERATOR(pg_catalog.+) c.cancelled, 0)::pg_catalog.float8 AS mean_ms,
	COALESCE(c.per_minute, 0) AS per_minute,
	q.lost,
	q.lost_at,
	q.emptied
FROM asynctasq.queue AS q
	LEFT JOIN asynctasq.queue_counters() AS c
		ON c.queue_id OPERATOR(pg_catalog.=) q.id
	LEFT JOIN (SELECT n.queue_id, pg_catalog.count(*) AS running,
			pg_catalog.array_agg(n.task_id) AS ids
		FROM asynctasq.worker_slots() AS n
		WHERE n.task_id IS NOT NULL AND n.database OPERATOR(pg_catalog.=)
			(SELECT d.oid FROM pg_catalog.pg_database AS d
			WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
		GROUP BY n.queue_id) AS w ON w.queue_id OPERATOR(pg_catalog.=) q.id
	CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS ready,
			pg_catalog.min(t.dispatched_at) FILTER (WHERE w.ids IS NULL
				OR t.id OPERATOR(pg_catalog.<>) ALL (w.ids)) AS oldest
		FROM asynctasq.task AS t
		WHERE t.queue_id OPERATOR(pg_catalog.=) q.id AND t.run_at IS NULL) AS r
	CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS scheduled
		FROM asynctasq.task AS t
		WHERE t.queue_id OPERATOR(pg_catalog.=) q.id
			AND t.run_at IS NOT NULL) AS s
WHERE pg_catalog.pg_has_role(q.owner::pg_catalog.oid, 'USAGE')
	OR (SELECT pg_catalog.pg_has_role('pg_monitor'::pg_catalog.name, 'USAGE'));
COMMENT ON VIEW asynctasq.stat_queues IS
'Queues of the reader''s roles; members of pg_monitor see all. queue; owner: the role; durable; paused; ready, scheduled, running: tasks now; completed, failed, retried: attempts that ended so since the server started; oldest_ready_age: time since the dispatch of the oldest ready task; mean_ms: of an attempt, in milliseconds; per_minute: attempts that ended in the last minute; lost: tasks that went with a crash of the server, NULL where their number is not known; lost_at: when a crash last emptied it; emptied: how many crashes have done so. Ready tasks are counted by reading them.';

CREATE VIEW asynctasq.stat_workers WITH (security_barrier) AS
SELECT w.pid,
	d.datname AS database,
	CASE WHEN w.role IS NOT NULL
		THEN pg_catalog.pg_get_userbyid(w.role) END AS role,
	w.state,
	q.name::pg_catalog.text AS queue,
	w.task,
	w.task_id,
	w.task_started_at,
	w.tasks_done,
	w.started_at
FROM asynctasq.worker_slots() AS w
	LEFT JOIN pg_catalog.pg_database AS d
		ON d.oid OPERATOR(pg_catalog.=) w.database
	LEFT JOIN asynctasq.queue AS q
		ON q.id OPERATOR(pg_catalog.=) w.queue_id
		AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();
COMMENT ON VIEW asynctasq.stat_workers IS
'Worker processes of the reader''s roles, in all databases; members of pg_monitor see all. pid: NULL while it starts; database; role: as whom it runs tasks, NULL for a scanner, which only looks for them; state: starting, idle, busy, or stuck where a task was told to stop and goes on for longer than asynctasq.cancel_grace; queue, task, task_id, task_started_at: of the running task, NULL when there is none, queue also in another database; tasks_done: since started_at.';

CREATE VIEW asynctasq.stat_handlers WITH (security_barrier) AS
SELECT h.name::pg_catalog.text AS task,
	pg_catalog.pg_get_userbyid(h.role::pg_catalog.oid) AS role,
	COALESCE(n.calls, 0) AS calls,
	COALESCE(c.failed, 0) AS failures,
	COALESCE(c.retried, 0) AS retries,
	COALESCE(c.total_ms, 0) AS total_ms,
	c.total_ms OPERATOR(pg_catalog./)
		NULLIF(n.calls, 0)::pg_catalog.float8 AS mean_ms,
	COALESCE(c.max_ms, 0) AS max_ms,
	h.lock::pg_catalog.text AS lock
FROM asynctasq.handler AS h
	LEFT JOIN asynctasq.handler_counters() AS c
		ON c.task OPERATOR(pg_catalog.=) h.name
		AND c.role OPERATOR(pg_catalog.=) h.role::pg_catalog.oid
	LEFT JOIN LATERAL (SELECT c.completed OPERATOR(pg_catalog.+) c.failed
		OPERATOR(pg_catalog.+) c.retried
		OPERATOR(pg_catalog.+) c.cancelled AS calls) AS n ON true
WHERE pg_catalog.pg_has_role(h.role::pg_catalog.oid, 'USAGE')
	OR (SELECT pg_catalog.pg_has_role('pg_monitor'::pg_catalog.name, 'USAGE'));
COMMENT ON VIEW asynctasq.stat_handlers IS
'Handlers of the reader''s roles; members of pg_monitor see all. task: the handler''s name; role: as whom it runs; calls: attempts that have ended since the server started; failures: those after which a task failed for good; retries: those that will be made again; total_ms, mean_ms, max_ms: their times in milliseconds, mean_ms NULL before the first; lock: share or update where the rows that arguments refer to are read so, else NULL.';

------------------------------------------------------------------------
-- Other servers
------------------------------------------------------------------------

CREATE FUNCTION asynctasq.fdw_validator(options pg_catalog.text[], catalog pg_catalog.oid) RETURNS pg_catalog.void
	AS 'MODULE_PATHNAME', 'atq_sql_fdw_validator'
	LANGUAGE C STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.fdw_validator(pg_catalog.text[], pg_catalog.oid) IS
'Checks options of servers and user mappings of the foreign-data wrapper asynctasq. Errors: HV00D no such option there, 22023 a value is none of its option, 42501 password_required=false, sslcert or sslkey in a mapping, given by someone who is no superuser.';

CREATE FOREIGN DATA WRAPPER asynctasq VALIDATOR asynctasq.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER asynctasq IS
'Servers whose rows tasks refer to, and which gather(), stream(), scalar() and execute() ask. Servers take libpq''s options and pool_min_size, pool_max_size, pool_max_overflow, pool_timeout, pool_pre_ping, pool_recycle, pool_class; user mappings take user, password and password_required.';

CREATE FUNCTION asynctasq.gather(
	server pg_catalog.name,
	VARIADIC queries pg_catalog.text[],
	OUT ord pg_catalog.int4,
	OUT rows pg_catalog.jsonb,
	OUT error pg_catalog.text) RETURNS SETOF pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_gather'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION asynctasq.gather(pg_catalog.name, pg_catalog.text[]) IS
'Runs queries on another server, all at once over the pool, and returns a row for each, in order: its number, its rows as an array of objects, or NULL and its error, "SQLSTATE: message". They run in read-only transactions of their own. Errors: 22004 server or a query is null, 42704 no such server or no user mapping, 42501 no USAGE on the server, 42809 a server of another kind, 2F003 a password is required.';

CREATE FUNCTION asynctasq.gather_many(
	servers pg_catalog.name[],
	query pg_catalog.text,
	params pg_catalog.jsonb DEFAULT NULL,
	OUT ord pg_catalog.int4,
	OUT server pg_catalog.name,
	OUT rows pg_catalog.jsonb,
	OUT error pg_catalog.text) RETURNS SETOF pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_gather_many'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION asynctasq.gather_many(pg_catalog.name[], pg_catalog.text, pg_catalog.jsonb) IS
'Runs one query on several servers at once and returns a row for each, as gather() does. params: an array with the values of $1, $2, ... Errors: 22023 params is no array, and as gather().';

CREATE FUNCTION asynctasq.stream(
	server pg_catalog.name,
	query pg_catalog.text,
	params pg_catalog.jsonb DEFAULT NULL,
	fetch_size pg_catalog.int4 DEFAULT 1000) RETURNS SETOF pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_stream'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION asynctasq.stream(pg_catalog.name, pg_catalog.text, pg_catalog.jsonb, pg_catalog.int4) IS
'The rows of a query on another server, as objects, as they come: fetch_size at a time, two times as many in memory at most. It holds a connection until its end, in one read-only transaction. In the SELECT list rows are taken as they are wanted; in FROM the executor collects them first. Errors: those of the query, 22023 fetch_size out of range or params no array, 08xxx and 53xxx the server cannot be reached, 54000 a chunk larger than asynctasq.max_answer, and as gather().';

CREATE FUNCTION asynctasq.scalar(
	server pg_catalog.name,
	query pg_catalog.text,
	params pg_catalog.jsonb DEFAULT NULL) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_scalar'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.scalar(pg_catalog.name, pg_catalog.text, pg_catalog.jsonb) IS
'The one value that a query on another server gives; NULL where it is null or there is no row. Errors: 21000 several rows, 42601 several columns, and as stream().';

CREATE FUNCTION asynctasq.execute(
	server pg_catalog.name,
	VARIADIC statements pg_catalog.text[]) RETURNS pg_catalog.int8[]
	AS 'MODULE_PATHNAME', 'atq_sql_execute'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.execute(pg_catalog.name, pg_catalog.text[]) IS
'Runs statements on another server in one transaction, which commits before this returns, all or nothing; returns the number of rows that each has touched. What happens to the local transaction later does not undo it. Errors: those of the statements, 2D000 a statement would end the transaction, 08007 the connection was lost during the commit, so that it is not known whether it took place, and as gather().';

CREATE FUNCTION asynctasq.execute(
	server pg_catalog.name,
	statements pg_catalog.text[],
	params pg_catalog.jsonb) RETURNS pg_catalog.int8[]
	AS 'MODULE_PATHNAME', 'atq_sql_execute'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.execute(pg_catalog.name, pg_catalog.text[], pg_catalog.jsonb) IS
'The same with parameters: an array that has for each statement an array with the values of its $1, $2, ..., or null. Errors: 22023 params is not such an array.';

CREATE FUNCTION asynctasq.check_servers(
	OUT server pg_catalog.name,
	OUT reachable pg_catalog.bool,
	OUT error pg_catalog.text) RETURNS SETOF pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_check_servers'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION asynctasq.check_servers() IS
'Whether each server that the current user may use can be reached with the user''s mapping, all asked at once; error, "SQLSTATE: message", says why not.';

-- What shared memory knows. Shows only what the caller may see.
CREATE FUNCTION asynctasq.pool_counters(
	OUT pid pg_catalog.int4,
	OUT server pg_catalog.oid,
	OUT role pg_catalog.oid,
	OUT size pg_catalog.int4,
	OUT checked_out pg_catalog.int4,
	OUT overflow pg_catalog.int4,
	OUT waits pg_catalog.int8,
	OUT timeouts pg_catalog.int8,
	OUT connects pg_catalog.int8,
	OUT recycled pg_catalog.int8,
	OUT errors pg_catalog.int8,
	OUT queries pg_catalog.int8,
	OUT total_ms pg_catalog.float8,
	OUT max_ms pg_catalog.float8) RETURNS SETOF pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_pool_counters'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION asynctasq.pool_counters() IS
'Pools of this database''s processes, as stat_pools shows them.';

CREATE VIEW asynctasq.stat_pools WITH (security_barrier) AS
SELECT p.pid,
	s.srvname AS server,
	pg_catalog.pg_get_userbyid(p.role) AS role,
	p.size,
	p.checked_out,
	p.size OPERATOR(pg_catalog.-) p.checked_out AS idle,
	p.overflow,
	p.waits,
	p.timeouts,
	p.connects,
	p.recycled,
	p.errors,
	p.queries,
	p.total_ms,
	p.total_ms OPERATOR(pg_catalog./)
		NULLIF(p.queries, 0)::pg_catalog.float8 AS mean_ms,
	p.max_ms
FROM asynctasq.pool_counters() AS p
	LEFT JOIN pg_catalog.pg_foreign_server AS s
		ON s.oid OPERATOR(pg_catalog.=) p.server;
COMMENT ON VIEW asynctasq.stat_pools IS
'Pools of connections to other servers, one for each process, server and user, of the reader''s roles; members of pg_monitor see all. pid: the worker or session; server; role: the user; size: connections; checked_out, idle: those in use and not; overflow: those beyond pool_max_size; waits: queries that found no connection ready; timeouts: those that got none within pool_timeout; connects: connections made; recycled: those replaced for their age or because the server''s options had changed; errors: those that failed; queries; total_ms, mean_ms, max_ms: their times with all waiting, in milliseconds.';

------------------------------------------------------------------------
-- Query sets
------------------------------------------------------------------------

/* ---------------------------------------------------------------------
 * The type queryset, and what makes one from another
 * ------------------------------------------------------------------ */

CREATE TYPE asynctasq.queryset;

CREATE FUNCTION asynctasq.queryset_in(pg_catalog.cstring)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_in'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.queryset_out(asynctasq.queryset)
RETURNS pg_catalog.cstring
AS 'MODULE_PATHNAME', 'atq_sql_queryset_out'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.queryset_recv(pg_catalog.internal)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_recv'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION asynctasq.queryset_send(asynctasq.queryset)
RETURNS pg_catalog.bytea
AS 'MODULE_PATHNAME', 'atq_sql_queryset_send'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE asynctasq.queryset (
    INPUT = asynctasq.queryset_in,
    OUTPUT = asynctasq.queryset_out,
    RECEIVE = asynctasq.queryset_recv,
    SEND = asynctasq.queryset_send,
    LIKE = pg_catalog.jsonb,
    CATEGORY = 'U'
);

CREATE FUNCTION asynctasq.queryset(pg_catalog.jsonb)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_from_jsonb'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (pg_catalog.jsonb AS asynctasq.queryset)
    WITH FUNCTION asynctasq.queryset(pg_catalog.jsonb);
CREATE CAST (asynctasq.queryset AS pg_catalog.jsonb) WITHOUT FUNCTION;

COMMENT ON TYPE asynctasq.queryset IS
    'query over a model, run by the functions that take one; its text form is a JSON object';
COMMENT ON FUNCTION asynctasq.queryset_in(pg_catalog.cstring) IS
    'returns the query set of a JSON object; 22P02 for bad JSON, 22023 where it is no query set';
COMMENT ON FUNCTION asynctasq.queryset_out(asynctasq.queryset) IS
    'returns the query set as a JSON object';
COMMENT ON FUNCTION asynctasq.queryset_recv(pg_catalog.internal) IS
    'returns the query set of jsonb''s binary form; 22P02 for bad JSON, 22023 where it is no query set';
COMMENT ON FUNCTION asynctasq.queryset_send(asynctasq.queryset) IS
    'returns the query set in jsonb''s binary form';
COMMENT ON FUNCTION asynctasq.queryset(pg_catalog.jsonb) IS
    'returns the query set of a JSON object; 22023 where it is none';
COMMENT ON CAST (pg_catalog.jsonb AS asynctasq.queryset) IS
    'a JSON object as a query set, checked';
COMMENT ON CAST (asynctasq.queryset AS pg_catalog.jsonb) IS
    'a query set as a JSON object';

CREATE FUNCTION asynctasq.objects(class pg_catalog.text,
    orm pg_catalog.text DEFAULT NULL)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_objects'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.objects(pg_catalog.text, pg_catalog.text) IS
'returns the query set of all rows of a model: its class, or schema.table; orm tells which where several ORMs have the class. Whether there is such a model is seen when the query runs. 22004 without a class.';

CREATE FUNCTION asynctasq.filter(qs asynctasq.queryset,
    VARIADIC lookups pg_catalog.jsonb[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_filter'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.filter(asynctasq.queryset, VARIADIC pg_catalog.jsonb[]) IS
'returns the query set of those rows for which all conditions hold. A condition is an object of lookups ({"name": "Ada", "age__gte": 18}), all to hold; its members and, or hold lists of conditions, not holds one or a list of those that do not all hold. An empty one says nothing. 22023 for what is no condition, 22004 for NULL, 55000 after slice().';

CREATE FUNCTION asynctasq.exclude(qs asynctasq.queryset,
    VARIADIC lookups pg_catalog.jsonb[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_exclude'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.exclude(asynctasq.queryset, VARIADIC pg_catalog.jsonb[]) IS
'returns the query set without those rows for which all conditions (see filter()) hold. 22023 for what is no condition, 22004 for NULL, 55000 after slice().';

CREATE FUNCTION asynctasq.order_by(qs asynctasq.queryset,
    VARIADIC fields pg_catalog.text[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_order_by'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.order_by(asynctasq.queryset, VARIADIC pg_catalog.text[]) IS
'returns the query set ordered by fields, -field for descending, ? for random; the order it had is gone. Without fields it has none. 55000 after slice().';

CREATE FUNCTION asynctasq.reverse(qs asynctasq.queryset)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_reverse'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.reverse(asynctasq.queryset) IS
'returns the query set with its order reversed. 55000 after slice().';

CREATE FUNCTION asynctasq.distinct(qs asynctasq.queryset,
    VARIADIC fields pg_catalog.text[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_distinct'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.distinct(asynctasq.queryset, VARIADIC pg_catalog.text[]) IS
'returns the query set without equal rows, or with fields only the first row of all that have equal values of these. 55000 after slice().';

CREATE FUNCTION asynctasq.slice(qs asynctasq.queryset,
    start pg_catalog.int4,
    stop pg_catalog.int4 DEFAULT NULL)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_slice'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.slice(asynctasq.queryset, pg_catalog.int4, pg_catalog.int4) IS
'returns the query set''s rows from start, which counts from 0, up to but not including stop; NULL: from the first, to the last. A slice of a slice counts from the first row of that. 22023 for negative ones.';

CREATE FUNCTION asynctasq.only(qs asynctasq.queryset,
    VARIADIC fields pg_catalog.text[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_only'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.only(asynctasq.queryset, VARIADIC pg_catalog.text[]) IS
'returns the query set with objects of these columns, but for those that defer() has named before; each only() replaces the one before, without fields all columns are there. 55000 after values() and values_list().';

CREATE FUNCTION asynctasq.defer(qs asynctasq.queryset,
    VARIADIC fields pg_catalog.text[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_defer'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.defer(asynctasq.queryset, VARIADIC pg_catalog.text[]) IS
'returns the query set with objects without these columns, too; NULL: with all columns. 55000 after values() and values_list().';

CREATE FUNCTION asynctasq.values(qs asynctasq.queryset,
    VARIADIC fields pg_catalog.text[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_values'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.values(asynctasq.queryset, VARIADIC pg_catalog.text[]) IS
'returns the query set with objects of these fields in place of whole rows, and of annotations that follow; without fields of all columns. Ends only(), defer(), select_related() and prefetch_related().';

CREATE FUNCTION asynctasq.values_list(qs asynctasq.queryset,
    flat pg_catalog.bool,
    VARIADIC fields pg_catalog.text[] DEFAULT '{}')
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_values_list'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.values_list(asynctasq.queryset, pg_catalog.bool, VARIADIC pg_catalog.text[]) IS
'returns the query set with lists of these fields'' values in place of objects, or if flat with the value of the only one. 22023 if flat and not one field.';

CREATE FUNCTION asynctasq.select_related(qs asynctasq.queryset,
    VARIADIC paths pg_catalog.text[])
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_select_related'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.select_related(asynctasq.queryset, VARIADIC pg_catalog.text[]) IS
'returns the query set with the objects that these relations lead to nested in its own, too: author, or author__company; NULL: with none. One row at most must be at each one''s end. 55000 after values() and values_list().';

CREATE FUNCTION asynctasq.prefetch_related(qs asynctasq.queryset,
    VARIADIC paths pg_catalog.text[])
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_prefetch_related'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.prefetch_related(asynctasq.queryset, VARIADIC pg_catalog.text[]) IS
'returns the query set with lists of the objects that these relations lead to in its own, too, read by a statement for each: comment, or comment__author; NULL: with none. 55000 after values() and values_list().';

CREATE FUNCTION asynctasq.annotate(qs asynctasq.queryset,
    annotations pg_catalog.jsonb)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_annotate'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.annotate(asynctasq.queryset, pg_catalog.jsonb) IS
'returns the query set with values beside each row''s columns: {"comments": {"Count": "comment"}}. After values() with fields there is one row for all with equal values, and the annotations are over those. 22023 for what is no object of objects, 42712 for a name that is there already.';

CREATE FUNCTION asynctasq.using(qs asynctasq.queryset,
    server pg_catalog.name)
RETURNS asynctasq.queryset
AS 'MODULE_PATHNAME', 'atq_sql_queryset_using'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION asynctasq.using(asynctasq.queryset, pg_catalog.name) IS
'returns the query set to be run on a server; NULL: where its model is.';

/* ---------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------ */

CREATE FUNCTION asynctasq.get(qs asynctasq.queryset,
    lookups pg_catalog.jsonb DEFAULT NULL)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_queryset_get'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.get(asynctasq.queryset, pg_catalog.jsonb) IS
'returns the only row of the query set, of those for which the lookups (see filter()) hold. P0002 for none, P0003 for several; 22004 without a query set; those of any query set: 42704 for an unknown class, 42703 for an unknown field, 42883 for an unknown lookup, 22P02 for a value that does not fit, and what the statement throws, or the server that it runs on.';

CREATE FUNCTION asynctasq.first(qs asynctasq.queryset)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_queryset_first'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.first(asynctasq.queryset) IS
'returns the first row of the query set, by the key where it has no order; NULL for none. 55000 without an order after slice(), or of groups; and as get().';

CREATE FUNCTION asynctasq.last(qs asynctasq.queryset)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_queryset_last'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.last(asynctasq.queryset) IS
'returns the last row of the query set, by the key where it has no order; NULL for none. 55000 after slice(), and as first().';

CREATE FUNCTION asynctasq.count(qs asynctasq.queryset)
RETURNS pg_catalog.int8
AS 'MODULE_PATHNAME', 'atq_sql_queryset_count'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.count(asynctasq.queryset) IS
'returns how many rows the query set has. Errors as get().';

CREATE FUNCTION asynctasq.exists(qs asynctasq.queryset)
RETURNS pg_catalog.bool
AS 'MODULE_PATHNAME', 'atq_sql_queryset_exists'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.exists(asynctasq.queryset) IS
'returns whether the query set has a row. Errors as get().';

CREATE FUNCTION asynctasq.list(qs asynctasq.queryset)
RETURNS SETOF pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_queryset_list'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION asynctasq.list(asynctasq.queryset) IS
'returns the rows of the query set, as objects of their columns or as values() and values_list() say. They are collected first, beyond work_mem on disk; of other servers no more than asynctasq.max_answer. Errors as get(), and 54000 for more than that.';

CREATE FUNCTION asynctasq.rows(row_type pg_catalog.anyelement,
    qs asynctasq.queryset)
RETURNS SETOF pg_catalog.anyelement
AS 'MODULE_PATHNAME', 'atq_sql_queryset_rows'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION asynctasq.rows(pg_catalog.anyelement, asynctasq.queryset) IS
'returns the rows of the query set as those of its table: row_type is NULL::table. Columns that only() and defer() leave out are NULL. 42804 where the table is another one, 0A000 for groups of rows, and as list().';

CREATE FUNCTION asynctasq.iterate(qs asynctasq.queryset,
    chunk_size pg_catalog.int4 DEFAULT 2000)
RETURNS SETOF pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_queryset_iterate'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION asynctasq.iterate(asynctasq.queryset, pg_catalog.int4) IS
'returns the rows of the query set as list() does, but chunk_size at a time, as they are wanted: no more than two chunks are in memory, however many rows there are. So in the SELECT list and in loops over it; in FROM the executor collects them first. On another server it holds a connection until its end. 22023 for a chunk_size out of range, 34000 where its cursor was closed, 54000 for a chunk larger than asynctasq.max_answer, and as get().';

CREATE FUNCTION asynctasq.in_bulk(qs asynctasq.queryset,
    keys pg_catalog.jsonb DEFAULT NULL)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_queryset_in_bulk'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.in_bulk(asynctasq.queryset, pg_catalog.jsonb) IS
'returns the rows of the query set with these keys, a JSON array, or all: one object with the rows by their keys, as text; of several columns as a JSON array. Keys of no row are left out. 22023 where keys is no array, 55000 after values(), or with keys after slice(), 42P16 for a table without a primary key, and as get().';

CREATE FUNCTION asynctasq.aggregate(qs asynctasq.queryset,
    aggregates pg_catalog.jsonb)
RETURNS pg_catalog.jsonb
AS 'MODULE_PATHNAME', 'atq_sql_queryset_aggregate'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.aggregate(asynctasq.queryset, pg_catalog.jsonb) IS
'returns an object with aggregates over all rows of the query set: {"n": {"Count": "*"}, "s": {"Sum": "views", "distinct": true, "filter": {..}}}; the functions are Count, Sum, Avg, Min and Max. Errors as get().';

CREATE FUNCTION asynctasq.explain(qs asynctasq.queryset)
RETURNS SETOF pg_catalog.text
AS 'MODULE_PATHNAME', 'atq_sql_queryset_explain'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION asynctasq.explain(asynctasq.queryset) IS
'returns the plan of the statement that list() runs, with the values it has, a line each; not those of prefetched relations. Errors as get().';

CREATE FUNCTION asynctasq.sql(qs asynctasq.queryset)
RETURNS pg_catalog.text
AS 'MODULE_PATHNAME', 'atq_sql_queryset_sql'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION asynctasq.sql(asynctasq.queryset) IS
'returns the statement that list() runs. Values are its parameters, $1, $2, ..; those of prefetched relations have others. Errors as get().';

CREATE FUNCTION asynctasq.gather_lists(VARIADIC qs asynctasq.queryset[] DEFAULT '{}',
    OUT ord pg_catalog.int4,
    OUT rows pg_catalog.jsonb,
    OUT error pg_catalog.text)
RETURNS SETOF pg_catalog.record
AS 'MODULE_PATHNAME', 'atq_sql_queryset_gather_lists'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION asynctasq.gather_lists(VARIADIC asynctasq.queryset[]) IS
'returns a row for each query set, in order: its number, its rows as an array, or NULL and its error, "SQLSTATE: message". Those of other servers are asked for together over the pools. 22004 for a query set that is null.';

/* ---------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------ */

CREATE FUNCTION asynctasq.create(
	class pg_catalog.text,
	"values" pg_catalog.jsonb DEFAULT '{}',
	orm pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_create'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.create(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text) IS
'Inserts a row and returns it as an object of its columns, as to_jsonb() gives them; NULL where a trigger has kept it from being inserted. class: a model, or a table as schema.table; orm: which of several models of that name. values: an object of values by field, which is a column, "pk" for the key (a list where it has several columns) or a foreign key''s name ("author" for a column author_id), its value being a key or an object that has it; columns that it does not name get their defaults. Errors: 42704 no such class, 42725 several have that name, 42703 no such field, 22P02 and others a value does not fit its column, 22023 values is no object, a related object has no key or a column has two values, 0A000 the rows are on another server, and those of the INSERT.';

CREATE FUNCTION asynctasq.bulk_create(
	class pg_catalog.text,
	rows pg_catalog.jsonb,
	batch_size pg_catalog.int4 DEFAULT NULL,
	ignore_conflicts pg_catalog.bool DEFAULT false,
	update_conflicts pg_catalog.bool DEFAULT false,
	update_fields pg_catalog.text[] DEFAULT NULL,
	unique_fields pg_catalog.text[] DEFAULT NULL,
	orm pg_catalog.text DEFAULT NULL) RETURNS SETOF pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_bulk_create'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.bulk_create(pg_catalog.text, pg_catalog.jsonb, pg_catalog.int4, pg_catalog.bool, pg_catalog.bool, pg_catalog.text[], pg_catalog.text[], pg_catalog.text) IS
'Inserts rows and returns their objects, in the order of the list. rows: a list of objects as create() takes them; those that follow each other and have the same fields go in one statement, of at most batch_size (1000 unless given) rows. ignore_conflicts: rows that collide with others are not inserted, and not returned. update_conflicts: they update update_fields of the row that has the same unique_fields (the key unless given). Errors: 22023 rows is no list of objects, batch_size is below 1, or the fields do not fit the conflicts, 42P16 the model has no key, 42P10 no unique constraint is on unique_fields, 21000 two rows of a statement would update the same one, and as create(), with the number of the object.';

CREATE FUNCTION asynctasq.update(
	qs asynctasq.queryset,
	"values" pg_catalog.jsonb) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_update'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.update(asynctasq.queryset, pg_catalog.jsonb) IS
'Updates the rows of a query set, in one statement, and returns their number. values: an object as create() takes it, which may have expressions too, {"views": {"F": ["views", "+", 1]}}. Errors: 22023 values is no object or an empty one, 55000 the query set is sliced, 42703 no such field, 0A000 the rows are on another server or the query set is one that cannot be updated, and those of the UPDATE.';

CREATE FUNCTION asynctasq.bulk_update(
	class pg_catalog.text,
	rows pg_catalog.jsonb,
	fields pg_catalog.text[],
	orm pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_bulk_update'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.bulk_update(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.text) IS
'Updates fields of the rows that have the keys of the objects, in one statement, and returns the number of rows. rows: a list of objects, each with its key and the fields; what else they have is left alone. Of objects with the same key any one is taken. Errors: 22023 rows is no list of objects, one lacks its key or a field, fields is empty or has the key in it, 42P16 the model has no key, and as create().';

CREATE FUNCTION asynctasq.delete(qs asynctasq.queryset) RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_delete'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.delete(asynctasq.queryset) IS
'Deletes the rows of a query set, in one statement, and returns their number, without those that foreign keys delete with them. Errors: 0A000 the rows are on another server or the query set is one that cannot be deleted, and those of the DELETE.';

CREATE FUNCTION asynctasq.save(
	class pg_catalog.text,
	object pg_catalog.jsonb,
	update_fields pg_catalog.text[] DEFAULT NULL,
	orm pg_catalog.text DEFAULT NULL) RETURNS pg_catalog.jsonb
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_save'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.save(pg_catalog.text, pg_catalog.jsonb, pg_catalog.text[], pg_catalog.text) IS
'Writes an object as a row and returns the row''s object: updates the columns that the object has in the row with its key; inserts it where there is none, or where the object has no key. Generated columns, and objects that relations back have brought along, are left alone. With update_fields it only updates, and only these. NULL where a trigger has kept it from being written. Errors: P0002 with update_fields: there is no such row, 42P16 the model has no key, 22023 update_fields has the key in it, or the object lacks it or one of update_fields, and as create().';

CREATE FUNCTION asynctasq.get_or_create(
	class pg_catalog.text,
	lookups pg_catalog.jsonb,
	defaults pg_catalog.jsonb DEFAULT '{}',
	orm pg_catalog.text DEFAULT NULL,
	OUT object pg_catalog.jsonb,
	OUT created pg_catalog.bool) RETURNS pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_get_or_create'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.get_or_create(pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.text) IS
'The row that the lookups find, made where there is none: of the lookups that say what a column is, and of defaults, which go before. object: the row''s; created: whether it was made. Of two that make the same row at the same time one gets the other''s, if a unique constraint says that it is the same; under REPEATABLE READ it gets 40001. Errors: P0003 the lookups find more than one row, 23505 a row is in the way that they do not find, and as filter() and create().';

CREATE FUNCTION asynctasq.update_or_create(
	class pg_catalog.text,
	lookups pg_catalog.jsonb,
	defaults pg_catalog.jsonb DEFAULT '{}',
	create_defaults pg_catalog.jsonb DEFAULT NULL,
	orm pg_catalog.text DEFAULT NULL,
	OUT object pg_catalog.jsonb,
	OUT created pg_catalog.bool) RETURNS pg_catalog.record
	AS 'MODULE_PATHNAME', 'atq_sql_queryset_update_or_create'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.update_or_create(pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.jsonb, pg_catalog.text) IS
'The row that the lookups find, with defaults assigned to it as update() does; made where there is none, as get_or_create() does, of the lookups and of create_defaults, or of defaults where that is NULL. object: the row''s; created: whether it was made. Errors: as get_or_create() and update().';

/* ---------------------------------------------------------------------
 * Tasks for the rows of a query set
 * ------------------------------------------------------------------ */

CREATE FUNCTION asynctasq.dispatch_each(
	task pg_catalog.text,
	qs asynctasq.queryset,
	parameter pg_catalog.text,
	args asynctasq.msgpack DEFAULT '{}') RETURNS pg_catalog.int8
	AS 'MODULE_PATHNAME', 'atq_sql_dispatch_each'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION asynctasq.dispatch_each(pg_catalog.text, asynctasq.queryset, pg_catalog.text, asynctasq.msgpack) IS
'Dispatches a task to a handler for each row of a query set, in its order, and returns how many. Their arguments are args and, under the name parameter, a reference to the row. Only the rows'' keys are read. Errors: 42P16 the model has no key, 22004 a row''s key is null, 0A000 a query set of groups, 22P03 args has that name already, as reading the query set, and as dispatch().';

------------------------------------------------------------------------
-- Privileges
------------------------------------------------------------------------

-- Privileges of pg_write_all_data are on all tables there are: a trigger asks who
-- writes ours. Whoever may set session_replication_role must not get around it.
CREATE FUNCTION asynctasq.owner_only() RETURNS pg_catalog.trigger
	AS 'MODULE_PATHNAME', 'atq_owner_only' LANGUAGE C;
COMMENT ON FUNCTION asynctasq.owner_only() IS
'Trigger function: lets nobody but the owner of the table, its members and superusers write it.';
DO LANGUAGE plpgsql $$
DECLARE
	name pg_catalog.name;
BEGIN
	FOR name IN SELECT c.relname FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
		WHERE n.nspname OPERATOR(pg_catalog.=) 'asynctasq'
		AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
	LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER owner_only
			BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON asynctasq.%I
			FOR EACH STATEMENT EXECUTE FUNCTION asynctasq.owner_only()', name);
		EXECUTE pg_catalog.format('ALTER TABLE asynctasq.%I
			ENABLE ALWAYS TRIGGER owner_only', name);
	END LOOP;
	-- a subscription's apply worker fires only triggers of rows
	FOREACH name IN ARRAY ARRAY['queue', 'handler', 'handler_grant', 'model', 'home'] LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER owner_only_rows
			BEFORE INSERT OR UPDATE OR DELETE ON asynctasq.%I
			FOR EACH ROW EXECUTE FUNCTION asynctasq.owner_only()', name);
		EXECUTE pg_catalog.format('ALTER TABLE asynctasq.%I
			ENABLE ALWAYS TRIGGER owner_only_rows', name);
	END LOOP;
	-- task_copied sees rows that are inserted, and ours only change the others
	FOREACH name IN ARRAY ARRAY['task_logged', 'task_unlogged'] LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER owner_only_rows
			AFTER UPDATE OF id, queue_id, durable, task, args ON asynctasq.%I
			FOR EACH ROW EXECUTE FUNCTION asynctasq.owner_only()', name);
		EXECUTE pg_catalog.format('ALTER TABLE asynctasq.%I
			ENABLE ALWAYS TRIGGER owner_only_rows', name);
	END LOOP;
END $$;

-- Who may use the schema is the administrator's decision. Tables are nobody's.
REVOKE ALL ON ALL TABLES IN SCHEMA asynctasq FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA asynctasq FROM PUBLIC;
REVOKE ALL ON FUNCTION asynctasq.registry_changed(), asynctasq.queue_made(),
	asynctasq.task_copied(), asynctasq.owner_only() FROM PUBLIC;
GRANT SELECT ON asynctasq.tasks, asynctasq.dead_letters,
	asynctasq.stat_queues, asynctasq.stat_workers, asynctasq.stat_handlers,
	asynctasq.stat_pools
	TO PUBLIC;
