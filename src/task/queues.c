/*-------------------------------------------------------------------------
 *
 * queues.c
 *	  Making, pausing, emptying and dropping queues.
 *
 * A queue is known by its owner and its name.  Callers give only the name: it
 * means their own queue, else the only one of that name that belongs to a
 * role they are members of.  Nobody is told of other roles' queues more than
 * whose they are.
 *
 * A queue that is looked up may be gone when the statement comes to it; the
 * statement then finds no row, which is reported as if it had not been there.
 *
 * A dispatch locks its queue until its transaction ends, a drop locks it
 * exclusively before it looks for tasks: a task that commits has a queue.  A
 * queue is not dropped under a snapshot that may be older than that lock.  Nor
 * is one that is a handler's: the next dispatch would make it again, and not
 * durable.
 *
 * Triggers on the table empty the caches and have the lanes look again, so
 * resuming needs nothing more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/argument.h"
#include "base/compat.h"
#include "store/storage.h"

static int32 find_queue(const char *name);
static void deny_queue(const char *name, Oid owner) atq_noreturn;
static void miss_queue(const char *name) atq_noreturn;
static void set_paused(const char *name, bool paused);
static bool drop_unused(int32 id, char **handler);

PG_FUNCTION_INFO_V1(atq_sql_create_queue);

Datum
atq_sql_create_queue(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {OIDOID, TEXTOID, BOOLOID, INT4OID};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};
	char	   *name;
	uint64		n;

	PreventCommandIfReadOnly("create_queue()");
	name = atq_text_arg(fcinfo, 0, "name");
	atq_registry_check_name("queue", name);
	if (!PG_ARGISNULL(2) && PG_GETARG_INT32(2) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_concurrency must be at least 1"),
				 errdetail("It is %d.", PG_GETARG_INT32(2)),
				 errhint("NULL sets no limit; pause_queue() stops a queue.")));
	values[0] = ObjectIdGetDatum(GetUserId());
	values[1] = CStringGetTextDatum(name);
	values[2] = BoolGetDatum(!PG_ARGISNULL(1) && PG_GETARG_BOOL(1));
	values[3] = PG_GETARG_DATUM(2);
	if (PG_ARGISNULL(2))
		nulls[3] = 'n';
	n = atq_spi_execute(&plan,
						"INSERT INTO asynctasq.queue "
						"(owner, name, durable, max_concurrency) "
						"VALUES ($1::pg_catalog.regrole, $2, $3, $4) "
						"ON CONFLICT DO NOTHING",
						4, types, values, nulls, SPI_OK_INSERT);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("queue \"%s\" already exists", name)));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(atq_sql_pause_queue);

Datum
atq_sql_pause_queue(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("pause_queue()");
	set_paused(atq_text_arg(fcinfo, 0, "name"), true);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(atq_sql_resume_queue);

Datum
atq_sql_resume_queue(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("resume_queue()");
	set_paused(atq_text_arg(fcinfo, 0, "name"), false);
	PG_RETURN_VOID();
}

static void
set_paused(const char *name, bool paused)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT4OID, BOOLOID};
	Datum		values[2];
	uint64		n;

	values[0] = Int32GetDatum(find_queue(name));
	values[1] = BoolGetDatum(paused);
	n = atq_spi_execute(&plan,
						"UPDATE asynctasq.queue SET paused = $2 "
						"WHERE id OPERATOR(pg_catalog.=) $1",
						2, types, values, NULL, SPI_OK_UPDATE);
	if (n == 0)
		miss_queue(name);
}

PG_FUNCTION_INFO_V1(atq_sql_drop_queue);

Datum
atq_sql_drop_queue(PG_FUNCTION_ARGS)
{
	char	   *name;
	char	   *handler;
	int32		id;
	bool		dropped;

	PreventCommandIfReadOnly("drop_queue()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot drop a queue in a transaction that keeps its snapshot"),
				 errhint("Call drop_queue() in a READ COMMITTED transaction.")));
	name = atq_text_arg(fcinfo, 0, "name");
	id = find_queue(name);
	atq_registry_queue_lock(id, AccessExclusiveLock);
	if (atq_registry_queue(id) == NULL)
		miss_queue(name);
	dropped = drop_unused(id, &handler);
	if (handler != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("queue \"%s\" cannot be dropped because it is the queue of handler \"%s\"",
						name, handler),
				 errhint("Register the handler with another queue, or remove it with asynctasq.unregister_handler(%s).",
						 quote_literal_cstr(handler))));
	if (!dropped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("queue \"%s\" cannot be dropped because it holds tasks or dead letters",
						name),
				 errhint("Remove them with asynctasq.purge_queue(%s, dead_letters => true).",
						 quote_literal_cstr(name))));
	PG_RETURN_VOID();
}

/*
 * Drops a queue unless it is in use; false when it is.  *handler is one whose
 * queue it is, palloc'd, or NULL.  Tasks are looked for in two ways because
 * each of the partial indexes has only one kind.
 */
static bool
drop_unused(int32 id, char **handler)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT4OID};
	Datum		value = Int32GetDatum(id);
	MemoryContext old = CurrentMemoryContext;
	bool		dropped;
	AtqSpi		spi;

	atq_spi_begin(&spi);
	atq_spi_run(&plan,
				"WITH users AS (SELECT h.name FROM asynctasq.handler AS h "
				"JOIN asynctasq.queue AS q "
				"ON q.owner OPERATOR(pg_catalog.=) h.role "
				"AND q.name OPERATOR(pg_catalog.=) h.queue "
				"WHERE q.id OPERATOR(pg_catalog.=) $1), "
				"dropped AS (DELETE FROM asynctasq.queue "
				"WHERE id OPERATOR(pg_catalog.=) $1 "
				"AND NOT EXISTS (SELECT FROM users) "
				"AND NOT EXISTS (SELECT FROM asynctasq.task "
				"WHERE queue_id OPERATOR(pg_catalog.=) $1 "
				"AND run_at IS NULL) "
				"AND NOT EXISTS (SELECT FROM asynctasq.task "
				"WHERE queue_id OPERATOR(pg_catalog.=) $1 "
				"AND run_at IS NOT NULL) "
				"AND NOT EXISTS (SELECT FROM asynctasq.dead_letter "
				"WHERE queue_id OPERATOR(pg_catalog.=) $1) "
				"RETURNING id), "
				"results AS (DELETE FROM asynctasq.result "
				"USING dropped "
				"WHERE queue_id OPERATOR(pg_catalog.=) dropped.id) "
				"SELECT (SELECT pg_catalog.min(name) FROM users), "
				"(SELECT id FROM dropped)",
				1, types, &value, NULL, SPI_OK_SELECT);
	MemoryContextSwitchTo(old);
	*handler = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	dropped = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						   2) != NULL;
	atq_spi_end(&spi);
	return dropped;
}

PG_FUNCTION_INFO_V1(atq_sql_purge_queue);

/* Rows that a worker holds are skipped: their tasks run already. */
Datum
atq_sql_purge_queue(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT4OID, BOOLOID};
	Datum		values[2];
	bool		isnull;
	int64		count;
	AtqSpi		spi;

	PreventCommandIfReadOnly("purge_queue()");
	values[0] = Int32GetDatum(find_queue(atq_text_arg(fcinfo, 0, "name")));
	values[1] = BoolGetDatum(!PG_ARGISNULL(1) && PG_GETARG_BOOL(1));
	atq_spi_begin(&spi);
	atq_spi_run(&plan,
				"WITH tasks AS (DELETE FROM asynctasq.task "
				"WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY("
				"SELECT id FROM asynctasq.task "
				"WHERE queue_id OPERATOR(pg_catalog.=) $1 "
				"FOR UPDATE SKIP LOCKED)) RETURNING id), "
				"letters AS (DELETE FROM asynctasq.dead_letter "
				"WHERE queue_id OPERATOR(pg_catalog.=) $1 AND $2 "
				"RETURNING id) "
				"SELECT (SELECT pg_catalog.count(*) FROM tasks) "
				"OPERATOR(pg_catalog.+) "
				"(SELECT pg_catalog.count(*) FROM letters)",
				2, types, values, NULL, SPI_OK_SELECT);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	atq_spi_end(&spi);
	PG_RETURN_INT64(count);
}

/*
 * Id of the queue that the caller means.  Throws 42704 when there is none,
 * 42501 when there are only other roles', 42P09 when there are several.
 */
static int32
find_queue(const char *name)
{
	AtqQueue   *queue = atq_registry_queue_named(GetUserId(), name);
	AtqQueue   *foreign = NULL;
	ListCell   *lc;

	if (queue != NULL)
		return queue->id;
	foreach(lc, atq_registry_queues())
	{
		AtqQueue   *other = lfirst(lc);

		if (strcmp(other->name, name) != 0)
			continue;
		if (!has_privs_of_role(GetUserId(), other->owner))
			foreign = other;
		else if (queue == NULL)
			queue = other;
		else
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_ALIAS),
					 errmsg("queue name \"%s\" is ambiguous", name),
					 errdetail("Several roles that you are a member of have a queue of that name."),
					 errhint("SET ROLE to the owner of the queue first.")));
	}
	if (queue == NULL && foreign != NULL)
		deny_queue(name, foreign->owner);
	if (queue == NULL)
		miss_queue(name);
	return queue->id;
}

static void
deny_queue(const char *name, Oid owner)
{
	char	   *role = GetUserNameFromId(owner, true);

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for queue \"%s\"", name),
			 role != NULL ?
			 errdetail("It belongs to role \"%s\".", role) :
			 errdetail("It belongs to a role that has been dropped.")));
}

static void
miss_queue(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("queue \"%s\" does not exist", name)));
}
