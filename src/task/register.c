/*-------------------------------------------------------------------------
 *
 * register.c
 *	  Registering handlers and models, and granting dispatch.
 *
 * Each function checks its arguments as the caller and then writes with one
 * statement as the extension's owner.  Whether the caller may replace or
 * remove what is registered is part of that statement: two roles that
 * register the same name at once cannot overwrite each other's row unseen.
 * Only when no row was written, what the caches know tells which error it is.
 *
 * A registration that exists belongs to the role that it names; a role that
 * has been dropped leaves it to superusers.  Replacing a handler keeps its
 * grants.
 *
 * Triggers on the tables empty the caches and have the lanes look again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/argument.h"
#include "base/compat.h"
#include "base/lane.h"
#include "remote/option.h"
#include "store/relkey.h"
#include "store/storage.h"
#include "task/dispatch.h"
#include "task/handler.h"

/* Arguments of register_handler(). */
enum
{
	HANDLER_NAME = 0, HANDLER_FUNCTION, HANDLER_QUEUE, HANDLER_MAX_ATTEMPTS,
	HANDLER_RETRY_DELAY, HANDLER_RETRY_STRATEGY, HANDLER_TIMEOUT,
	HANDLER_PRIORITY, HANDLER_SHOULD_RETRY, HANDLER_ON_FAILURE,
	HANDLER_KEEP_RESULT, HANDLER_GROUP_SIZE, HANDLER_BATCH_SIZE,
	HANDLER_RUN_AS, HANDLER_LOCK, HANDLER_NARGS
};

/* Arguments of register_model(). */
enum
{
	MODEL_CLASS = 0, MODEL_RELATION, MODEL_ORM, MODEL_KEY, MODEL_ON_MISSING,
	MODEL_SERVER
};

/* What an option given as NULL means; the SQL script has the same. */
#define DEFAULT_QUEUE			"default"
#define DEFAULT_MAX_ATTEMPTS	3
#define DEFAULT_RETRY_DELAY_US	(60 * USECS_PER_SEC)
#define DEFAULT_RETRY_STRATEGY	"exponential"
#define DEFAULT_ORM				"sqlalchemy"

static const char *const strategies[] = {"fixed", "exponential", NULL};
static const char *const orms[] = {"sqlalchemy", "django", "tortoise",
"postgres", NULL};
static const char *const locks[] = {"share", "update", NULL};
static const char *const missing_words[] = {"null", "error", "discard", NULL};

static char *get_text_arg(FunctionCallInfo fcinfo, int arg,
						  const char *missing);
static void check_choice(const char *what, const char *value,
						 const char *const *choices);
static Oid	get_run_as(FunctionCallInfo fcinfo);
static void read_functions(FunctionCallInfo fcinfo, Oid role, Datum *values,
						   char *nulls);
static void read_retries(FunctionCallInfo fcinfo, Datum *values, char *nulls);
static void read_rest(FunctionCallInfo fcinfo, Datum *values, char *nulls);
static void read_sizes(FunctionCallInfo fcinfo, Datum *values, char *nulls);
static void check_size(const char *what, int size);
static void write_handler(const char *name, Datum *values, const char *nulls);
static Oid	get_handler_role(const char *name);
static void deny_handler(const char *name, Oid role) atq_noreturn;
static void change_grant(FunctionCallInfo fcinfo, SPIPlanPtr *plan,
						 const char *sql, int expected);
static char *check_relation(AtqModel *model);
static void check_select(Oid relid);
static void check_key(Relation rel, AtqModel *model);
static void read_key(AtqModel *model, ArrayType *array);
static void deny_model(const char *orm, const char *class_name)
			atq_noreturn;

PG_FUNCTION_INFO_V1(atq_sql_register_handler);

Datum
atq_sql_register_handler(PG_FUNCTION_ARGS)
{
	Datum		values[HANDLER_NARGS + 1] = {0};
	char		nulls[HANDLER_NARGS + 1];
	char	   *name;
	Oid			role;

	PreventCommandIfReadOnly("register_handler()");
	atq_require_arg(fcinfo, HANDLER_NAME, "name");
	atq_require_arg(fcinfo, HANDLER_FUNCTION, "function");
	name = text_to_cstring(PG_GETARG_TEXT_PP(HANDLER_NAME));
	atq_registry_check_name("handler", name);
	role = get_run_as(fcinfo);
	memset(nulls, ' ', sizeof(nulls));
	values[HANDLER_NAME] = CStringGetTextDatum(name);
	values[HANDLER_RUN_AS] = ObjectIdGetDatum(role);
	values[HANDLER_NARGS] = ObjectIdGetDatum(GetUserId());
	read_retries(fcinfo, values, nulls);
	read_rest(fcinfo, values, nulls);
	read_functions(fcinfo, role, values, nulls);
	write_handler(name, values, nulls);
	PG_RETURN_VOID();
}

/* The role that the handler will run as, which the caller may become. */
static Oid
get_run_as(FunctionCallInfo fcinfo)
{
	Oid			role = GetUserId();
	HeapTuple	tuple;
	bool		can_login;
	char	   *name;

	if (!PG_ARGISNULL(HANDLER_RUN_AS))
		role = get_role_oid(NameStr(*PG_GETARG_NAME(HANDLER_RUN_AS)), false);
	name = GetUserNameFromId(role, false);
	if (!atq_may_set_role(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to register a handler that runs as role \"%s\"",
						name),
				 errdetail("Only roles that may SET ROLE \"%s\" can.", name)));
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for role %u", role);
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (ATQ_WORKER_NEEDS_LOGIN && !can_login)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" is not permitted to log in", name),
				 errdetail("Before PostgreSQL 17 a worker process cannot run as such a role."),
				 errhint("Give a role with LOGIN as run_as, or ALTER ROLE %s LOGIN; without a password nobody else can use it.",
						 quote_identifier(name))));
	return role;
}

/* The function and the two that it may be followed by, as signatures. */
static void
read_functions(FunctionCallInfo fcinfo, Oid role, Datum *values, char *nulls)
{
	char	   *signature;

	signature = atq_handler_check(PG_GETARG_OID(HANDLER_FUNCTION), role);
	values[HANDLER_FUNCTION] = CStringGetTextDatum(signature);
	if (PG_ARGISNULL(HANDLER_SHOULD_RETRY))
		nulls[HANDLER_SHOULD_RETRY] = 'n';
	else
	{
		signature =
			atq_handler_check_should_retry(PG_GETARG_OID(HANDLER_SHOULD_RETRY),
										   role);
		values[HANDLER_SHOULD_RETRY] = CStringGetTextDatum(signature);
	}
	if (PG_ARGISNULL(HANDLER_ON_FAILURE))
		nulls[HANDLER_ON_FAILURE] = 'n';
	else
	{
		signature =
			atq_handler_check_on_failure(PG_GETARG_OID(HANDLER_ON_FAILURE),
										 role);
		values[HANDLER_ON_FAILURE] = CStringGetTextDatum(signature);
	}
}

/* How often, when and how long an attempt is made. */
static void
read_retries(FunctionCallInfo fcinfo, Datum *values, char *nulls)
{
	int			max_attempts = DEFAULT_MAX_ATTEMPTS;
	Interval   *delay = palloc0(sizeof(Interval));
	char	   *strategy = get_text_arg(fcinfo, HANDLER_RETRY_STRATEGY,
										DEFAULT_RETRY_STRATEGY);

	if (!PG_ARGISNULL(HANDLER_MAX_ATTEMPTS))
		max_attempts = PG_GETARG_INT32(HANDLER_MAX_ATTEMPTS);
	delay->time = DEFAULT_RETRY_DELAY_US;
	if (!PG_ARGISNULL(HANDLER_RETRY_DELAY))
		delay = PG_GETARG_INTERVAL_P(HANDLER_RETRY_DELAY);
	(void) atq_check_retry_delay(delay);
	check_choice("retry_strategy", strategy, strategies);
	values[HANDLER_MAX_ATTEMPTS] =
		Int32GetDatum(atq_check_max_attempts(max_attempts));
	values[HANDLER_RETRY_DELAY] = IntervalPGetDatum(delay);
	values[HANDLER_RETRY_STRATEGY] = CStringGetTextDatum(strategy);
	if (PG_ARGISNULL(HANDLER_TIMEOUT))
	{
		nulls[HANDLER_TIMEOUT] = 'n';
		return;
	}
	(void) atq_check_timeout(PG_GETARG_INTERVAL_P(HANDLER_TIMEOUT));
	values[HANDLER_TIMEOUT] = PG_GETARG_DATUM(HANDLER_TIMEOUT);
}

static void
read_rest(FunctionCallInfo fcinfo, Datum *values, char *nulls)
{
	char	   *queue = get_text_arg(fcinfo, HANDLER_QUEUE, DEFAULT_QUEUE);

	atq_registry_check_name("queue", queue);
	read_sizes(fcinfo, values, nulls);
	values[HANDLER_QUEUE] = CStringGetTextDatum(queue);
	values[HANDLER_PRIORITY] = PG_ARGISNULL(HANDLER_PRIORITY) ?
		Int32GetDatum(0) : PG_GETARG_DATUM(HANDLER_PRIORITY);
	values[HANDLER_KEEP_RESULT] = PG_ARGISNULL(HANDLER_KEEP_RESULT) ?
		BoolGetDatum(false) : PG_GETARG_DATUM(HANDLER_KEEP_RESULT);
	if (PG_ARGISNULL(HANDLER_LOCK))
	{
		nulls[HANDLER_LOCK] = 'n';
		return;
	}
	check_choice("lock", get_text_arg(fcinfo, HANDLER_LOCK, NULL), locks);
	values[HANDLER_LOCK] = PG_GETARG_DATUM(HANDLER_LOCK);
}

/* How many tasks may share a transaction, and how. */
static void
read_sizes(FunctionCallInfo fcinfo, Datum *values, char *nulls)
{
	int			group_size = 1;

	if (!PG_ARGISNULL(HANDLER_GROUP_SIZE))
		group_size = PG_GETARG_INT32(HANDLER_GROUP_SIZE);
	check_size("group_size", group_size);
	values[HANDLER_GROUP_SIZE] = Int32GetDatum(group_size);
	if (PG_ARGISNULL(HANDLER_BATCH_SIZE))
	{
		nulls[HANDLER_BATCH_SIZE] = 'n';
		return;
	}
	check_size("batch_size", PG_GETARG_INT32(HANDLER_BATCH_SIZE));
	if (group_size > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group_size and batch_size cannot be combined"),
				 errdetail("A batch is one call, in one transaction.")));
	atq_handler_check_batch(PG_GETARG_OID(HANDLER_FUNCTION));
	values[HANDLER_BATCH_SIZE] = PG_GETARG_DATUM(HANDLER_BATCH_SIZE);
}

static void
check_size(const char *what, int size)
{
	if (size < 1 || size > ATQ_MAX_MEMBERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d", what,
						ATQ_MAX_MEMBERS),
				 errdetail("It is %d.", size)));
}

/* Values are in the order of the arguments; the last one is the caller. */
static void
write_handler(const char *name, Datum *values, const char *nulls)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, INTERVALOID,
		TEXTOID, INTERVALOID, INT4OID, TEXTOID, TEXTOID, BOOLOID, INT4OID,
	INT4OID, OIDOID, TEXTOID, OIDOID};
	uint64		n;

	StaticAssertStmt(lengthof(types) == HANDLER_NARGS + 1,
					 "one type for each argument, and the caller");
	n = atq_spi_execute(&plan,
						"INSERT INTO asynctasq.handler AS h (name, function, "
						"queue, max_attempts, retry_delay, retry_strategy, "
						"timeout, priority, should_retry, on_failure, "
						"keep_result, group_size, batch_size, role, lock) "
						"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, "
						"$12, $13, $14::pg_catalog.regrole, $15) "
						"ON CONFLICT (name) DO UPDATE SET "
						"function = EXCLUDED.function, queue = EXCLUDED.queue, "
						"max_attempts = EXCLUDED.max_attempts, "
						"retry_delay = EXCLUDED.retry_delay, "
						"retry_strategy = EXCLUDED.retry_strategy, "
						"timeout = EXCLUDED.timeout, "
						"priority = EXCLUDED.priority, "
						"should_retry = EXCLUDED.should_retry, "
						"on_failure = EXCLUDED.on_failure, "
						"keep_result = EXCLUDED.keep_result, "
						"group_size = EXCLUDED.group_size, "
						"batch_size = EXCLUDED.batch_size, "
						"role = EXCLUDED.role, lock = EXCLUDED.lock "
						"WHERE pg_catalog.pg_has_role($16, h.role, 'USAGE')",
						lengthof(types), types, values, nulls, SPI_OK_INSERT);
	if (n == 0)
		deny_handler(name, get_handler_role(name));
}

PG_FUNCTION_INFO_V1(atq_sql_unregister_handler);

Datum
atq_sql_unregister_handler(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TEXTOID, OIDOID};
	Datum		values[2];
	char	   *name;
	uint64		n;

	PreventCommandIfReadOnly("unregister_handler()");
	name = atq_text_arg(fcinfo, 0, "name");
	values[0] = PG_GETARG_DATUM(0);
	values[1] = ObjectIdGetDatum(GetUserId());
	n = atq_spi_execute(&plan,
						"DELETE FROM asynctasq.handler "
						"WHERE name OPERATOR(pg_catalog.=) $1 "
						"AND pg_catalog.pg_has_role($2, role, 'USAGE')",
						2, types, values, NULL, SPI_OK_DELETE);
	if (n == 0)
		deny_handler(name, get_handler_role(name));
	PG_RETURN_VOID();
}

/* The role of a handler; throws 42704 when there is none. */
static Oid
get_handler_role(const char *name)
{
	AtqHandler *handler = atq_registry_handler(name);

	if (handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("handler \"%s\" does not exist", name)));
	return handler->role;
}

static void
deny_handler(const char *name, Oid role)
{
	char	   *owner = GetUserNameFromId(role, true);

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for handler \"%s\"", name),
			 owner != NULL ?
			 errdetail("It runs as role \"%s\".", owner) :
			 errdetail("It runs as a role that has been dropped.")));
}

PG_FUNCTION_INFO_V1(atq_sql_grant_dispatch);

Datum
atq_sql_grant_dispatch(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;

	PreventCommandIfReadOnly("grant_dispatch()");
	change_grant(fcinfo, &plan,
				 "INSERT INTO asynctasq.handler_grant (handler, role) "
				 "VALUES ($1, $2::pg_catalog.regrole) ON CONFLICT DO NOTHING",
				 SPI_OK_INSERT);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(atq_sql_revoke_dispatch);

Datum
atq_sql_revoke_dispatch(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;

	PreventCommandIfReadOnly("revoke_dispatch()");
	change_grant(fcinfo, &plan,
				 "DELETE FROM asynctasq.handler_grant "
				 "WHERE handler OPERATOR(pg_catalog.=) $1 "
				 "AND role OPERATOR(pg_catalog.=) $2",
				 SPI_OK_DELETE);
	PG_RETURN_VOID();
}

/*
 * Runs a statement with handler and role, after the check that the caller may
 * grant; InvalidOid is PUBLIC, which no role can be named.
 */
static void
change_grant(FunctionCallInfo fcinfo, SPIPlanPtr *plan, const char *sql,
			 int expected)
{
	static Oid	types[] = {TEXTOID, OIDOID};
	char	   *name = atq_text_arg(fcinfo, 0, "handler");
	Datum		values[2];
	Oid			owner;
	char	   *role;

	atq_require_arg(fcinfo, 1, "role");
	owner = get_handler_role(name);
	if (!has_privs_of_role(GetUserId(), owner))
		deny_handler(name, owner);
	role = NameStr(*PG_GETARG_NAME(1));
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(strcmp(role, "public") == 0 ? InvalidOid :
								 get_role_oid(role, false));
	atq_spi_execute(plan, sql, lengthof(types), types, values, NULL, expected);
}

PG_FUNCTION_INFO_V1(atq_sql_register_model);

Datum
atq_sql_register_model(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TEXTOID, TEXTOID, OIDOID, OIDOID, TEXTOID,
	TEXTARRAYOID, TEXTOID, TEXTOID};
	Datum		values[lengthof(types)] = {0};
	char		nulls[lengthof(types)];
	AtqModel	model = {0};
	char	   *on_missing;
	uint64		n;

	PreventCommandIfReadOnly("register_model()");
	atq_require_arg(fcinfo, MODEL_CLASS, "class");
	atq_require_arg(fcinfo, MODEL_RELATION, "relation");
	model.class_name = text_to_cstring(PG_GETARG_TEXT_PP(MODEL_CLASS));
	atq_registry_check_name("class", model.class_name);
	model.orm = get_text_arg(fcinfo, MODEL_ORM, DEFAULT_ORM);
	check_choice("orm", model.orm, orms);
	on_missing = get_text_arg(fcinfo, MODEL_ON_MISSING,
							  strcmp(model.orm, "sqlalchemy") == 0 ?
							  "null" : "error");
	check_choice("on_missing", on_missing, missing_words);
	model.relation = PG_GETARG_OID(MODEL_RELATION);
	if (!PG_ARGISNULL(MODEL_KEY))
		read_key(&model, PG_GETARG_ARRAYTYPE_P(MODEL_KEY));
	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(model.orm);
	values[1] = CStringGetTextDatum(model.class_name);
	values[2] = ObjectIdGetDatum(GetUserId());
	values[3] = ObjectIdGetDatum(model.relation);
	values[4] = CStringGetTextDatum(check_relation(&model));
	values[5] = PG_GETARG_DATUM(MODEL_KEY);
	if (model.nkeys == 0)
		nulls[5] = 'n';
	values[6] = CStringGetTextDatum(on_missing);
	if (PG_ARGISNULL(MODEL_SERVER))
		nulls[7] = 'n';
	else
	{
		char	   *server = NameStr(*PG_GETARG_NAME(MODEL_SERVER));

		(void) atq_server_find(server, GetUserId());
		values[7] = CStringGetTextDatum(server);
	}
	n = atq_spi_execute(&plan,
						"INSERT INTO asynctasq.model AS m (orm, class, owner, "
						"relation, relation_name, current_name, key, "
						"on_missing, server) "
						"VALUES ($1, $2, $3::pg_catalog.regrole, "
						"$4::pg_catalog.regclass, $5, $5, $6, $7, $8) "
						"ON CONFLICT (orm, class) DO UPDATE SET "
						"owner = EXCLUDED.owner, relation = EXCLUDED.relation, "
						"relation_name = EXCLUDED.relation_name, "
						"current_name = EXCLUDED.current_name, "
						"key = EXCLUDED.key, on_missing = EXCLUDED.on_missing, "
						"server = EXCLUDED.server "
						"WHERE pg_catalog.pg_has_role($3, m.owner, 'USAGE')",
						lengthof(types), types, values, nulls, SPI_OK_INSERT);
	if (n == 0)
		deny_model(model.orm, model.class_name);
	PG_RETURN_VOID();
}

/* Takes the names of key columns from the argument. */
static void
read_key(AtqModel *model, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key must be a one-dimensional array")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &model->nkeys);
	if (model->nkeys < 1 || model->nkeys > ATQ_MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key must have between 1 and %d columns",
						ATQ_MAX_KEYS),
				 errdetail("It has %d.", model->nkeys)));
	model->keys = palloc(sizeof(char *) * model->nkeys);
	for (int i = 0; i < model->nkeys; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("key must not contain nulls")));
		model->keys[i] = TextDatumGetCString(elements[i]);
	}
}

/*
 * Checks that the relation can be referred to, by this key, and that the
 * caller may read it; returns its qualified name.  Keeps the lock.
 */
static char *
check_relation(AtqModel *model)
{
	Relation	rel;
	char	   *name;

	check_select(model->relation);
	rel = relation_open(model->relation, AccessShareLock);
	atq_relkey_check_kind(rel);
	check_key(rel, model);
	name = atq_relkey_name(rel);
	relation_close(rel, NoLock);
	return name;
}

/* Before the relation is locked, that nobody can lock what he cannot read. */
static void
check_select(Oid relid)
{
	AclResult	result = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK && !atq_relation_ownercheck(relid, GetUserId()))
		aclcheck_error(result, get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

static void
check_key(Relation rel, AtqModel *model)
{
	AttrNumber	columns[ATQ_MAX_KEYS];
	int			n = atq_relkey_columns(rel, model, columns);

	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("relation \"%s\" has no primary key",
						RelationGetRelationName(rel)),
				 errhint("Name the columns that identify a row: key => ARRAY['column', ...].")));
	for (int i = 0; i < n; i++)
	{
		(void) atq_relkey_type(rel, columns[i]);
		for (int j = 0; j < i; j++)
		{
			if (columns[i] == columns[j])
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("key contains column \"%s\" twice",
								model->keys[i])));
		}
	}
}

PG_FUNCTION_INFO_V1(atq_sql_unregister_model);

Datum
atq_sql_unregister_model(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TEXTOID, TEXTOID, OIDOID};
	Datum		values[3];
	char	   *class_name;
	char	   *orm;
	uint64		n;

	PreventCommandIfReadOnly("unregister_model()");
	class_name = atq_text_arg(fcinfo, 0, "class");
	orm = get_text_arg(fcinfo, 1, DEFAULT_ORM);
	check_choice("orm", orm, orms);
	values[0] = CStringGetTextDatum(orm);
	values[1] = PG_GETARG_DATUM(0);
	values[2] = ObjectIdGetDatum(GetUserId());
	n = atq_spi_execute(&plan,
						"DELETE FROM asynctasq.model "
						"WHERE orm OPERATOR(pg_catalog.=) $1 "
						"AND class OPERATOR(pg_catalog.=) $2 "
						"AND pg_catalog.pg_has_role($3, owner, 'USAGE')",
						3, types, values, NULL, SPI_OK_DELETE);
	if (n == 0)
		deny_model(orm, class_name);
	PG_RETURN_VOID();
}

/* Says why no row was written: there is none, or it is another role's. */
static void
deny_model(const char *orm, const char *class_name)
{
	AtqSpan		span;

	span.data = class_name;
	span.len = strlen(class_name);
	if (atq_registry_model(orm, span) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" of %s does not exist", class_name,
						orm)));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for model \"%s\" of %s", class_name,
					orm),
			 errdetail("Another role has registered it.")));
}

/* A copy of a text argument, or of what it means when it is missing. */
static char *
get_text_arg(FunctionCallInfo fcinfo, int arg, const char *missing)
{
	if (PG_ARGISNULL(arg))
		return pstrdup(missing);
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* Throws 22023 unless value is one of the choices, which end with NULL. */
static void
check_choice(const char *what, const char *value, const char *const *choices)
{
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; choices[i] != NULL; i++)
	{
		if (strcmp(value, choices[i]) == 0)
			return;
		appendStringInfo(&words, "%s%s", i > 0 ? ", " : "", choices[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s: \"%s\"", what, value),
			 errhint("Valid values are: %s.", words.data)));
}
