/*-------------------------------------------------------------------------
 *
 * drain.c
 *	  drain(): running due tasks here and now, for tests.
 *
 * Runs tasks of the current user's own queues in the calling session, each (or
 * each batch) in a subtransaction of the caller's transaction, in the order in
 * which a worker would.  Tasks that the caller itself has dispatched are seen before
 * they are committed.  What is different from a worker: deferred constraints
 * wait for the caller's commit, cursors WITH HOLD are closed unread, and
 * nothing is final before it.
 *
 * The session is the caller's, and is left as it was.  At the end of each task
 * settings are undone, and cursors, prepared statements and temporary objects
 * that it has made are dropped (finish_task).  Commands and functions whose
 * effects on the session cannot be undone are refused to the task.  What a
 * session remembers of sequences is not restored.
 *
 * Nor may a task gain the caller's rights.  Where the session could become
 * another user than the one whose tasks it drains (it has logged in as another
 * one, or drain() is called by a function that runs as its owner), a RESET
 * ROLE, or what is left to the commit, would run as that one.  There tasks are
 * restricted as the server restricts index functions: no SET ROLE, deferred
 * triggers, temporary tables and cursors WITH HOLD.
 *
 * A cancel of the caller's statement is the caller's, not the task's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_namespace.h"
#include "commands/prepare.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "store/home.h"
#include "store/notice.h"
#include "task/drain.h"
#include "task/task.h"

/* Tasks that a batch can have, at most. */
#define READ_SIZE	ATQ_MAX_MEMBERS

static void begin_subtransaction(void);
static void commit_subtransaction(void);
static void abort_subtransaction(void);
static bool could_become_another(void);
static void finish_task(void);
static List *list_names(const char *query);
static bool is_new(const char *name, const List *before);
static void drop_temporary_objects(void);
static bool is_in_task(HeapTuple tuple);
static bool leaves_session(Node *statement);
static bool is_ours(const ErrorData *error);
static int64 drain_queues(const char *name, int64 max_tasks);
static int64 drain_queue(AtqQueue *queue, int64 max_tasks);
static int	next_tasks(const AtqQueue *queue, int64 *from_priority,
					   int64 from_id, AtqCandidate *candidates, int limit);
static void promote_due(const AtqQueue *queue);
static void announce_promoted(int32 queue_id, int32 priority, int64 id,
							  void *arg);

static const AtqRunner drain_runner = {
	.begin = begin_subtransaction,
	.commit = commit_subtransaction,
	.abort = abort_subtransaction,
	.finish = finish_task,
	.next = NULL,
	.rethrow = is_ours,
	.slot = NULL
};

/* What the subtransaction under way must give back. */
static MemoryContext outer_context;
static ResourceOwner outer_owner;
static Oid	outer_user;
static int	outer_security;

/* Names in the caller's session, while it drains. */
static List *cursors = NIL;
static List *statements = NIL;

#define CURSORS		"SELECT name FROM pg_catalog.pg_cursor()"
#define STATEMENTS	"SELECT name FROM pg_catalog.pg_prepared_statement()"

static bool draining = false;

PG_FUNCTION_INFO_V1(atq_sql_drain);

Datum
atq_sql_drain(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		max_tasks = PG_ARGISNULL(1) ? PG_INT64_MAX :
		PG_GETARG_INT32(1);
	int64		total;

	PreventCommandIfReadOnly("drain()");
	PreventCommandIfParallelMode("drain()");
	if (max_tasks < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_tasks must not be negative")));
	if (atq_attempt_current != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("drain() cannot be called from inside a task")));
	if (!atq_home_enter())
		atq_home_deny();
	if (name != NULL && atq_registry_queue_named(GetUserId(), name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" has no queue \"%s\"",
						GetUserNameFromId(GetUserId(), false), name),
				 errhint("drain() runs tasks of the current user's own queues; SET ROLE to their owner first.")));
	cursors = list_names(CURSORS);
	statements = list_names(STATEMENTS);
	draining = true;
	PG_TRY();
	{
		total = drain_queues(name, max_tasks);
	}
	PG_FINALLY();
	{
		draining = false;
	}
	PG_END_TRY();
	PG_RETURN_INT64(total);
}

/*
 * Goes round until a round finds nothing, because tasks may dispatch tasks.
 */
static int64
drain_queues(const char *name, int64 max_tasks)
{
	int64		total = 0;
	int64		round;

	do
	{
		AtqQueue  **queues;
		int			n = atq_registry_queues_of(GetUserId(), &queues);
		int32	   *ids = palloc(sizeof(int32) * Max(n, 1));

		round = 0;
		for (int i = 0; i < n; i++)
			ids[i] = queues[i]->id;
		for (int i = 0; i < n; i++)
		{
			AtqQueue   *queue = atq_registry_queue(ids[i]);

			if (queue == NULL || queue->paused ||
				(name != NULL && strcmp(queue->name, name) != 0))
				continue;
			round += drain_queue(queue, max_tasks - total - round);
		}
		pfree(ids);
		total += round;
	} while (round > 0 && total < max_tasks);
	return total;
}

static int64
drain_queue(AtqQueue *queue, int64 max_tasks)
{
	bool		durable = queue->durable;
	AtqQueue	copy = *queue;
	AtqCandidate *candidates = palloc(READ_SIZE * sizeof(AtqCandidate));
	int64		from_priority = PG_INT32_MIN;
	int64		from_id = 0;
	int64		total = 0;
	int			n;

	promote_due(&copy);
	while (total < max_tasks &&
		   (n = next_tasks(&copy, &from_priority, from_id, candidates,
						   (int) Min(max_tasks - total, READ_SIZE))) > 0)
	{
		uint64		inserts = atq_storage_inserts;
		AtqRun		run = {0};
		int			done = 0;

		/* a task that was dispatched meanwhile may come first */
		while (done < n && inserts == atq_storage_inserts)
		{
			CHECK_FOR_INTERRUPTS();
			done += atq_task_run(&drain_runner, durable, candidates + done,
								 n - done, &run);
			CommandCounterIncrement();
		}
		from_id = candidates[done - 1].id + 1;
		total += run.ended;
	}
	pfree(candidates);
	return total;
}

/*
 * The first ready tasks at or behind (priority, id), all of one priority; how
 * many.
 */
static int
next_tasks(const AtqQueue *queue, int64 *from_priority, int64 from_id,
		   AtqCandidate *candidates, int limit)
{
	int			n = 0;
	int32		priority;
	int64		id;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	while (n == 0 &&
		   atq_storage_first_ready(queue->durable, queue->id, *from_priority,
								   GetActiveSnapshot(), &priority, &id))
	{
		if (priority > *from_priority)
			from_id = 0;
		n = atq_storage_read_ready(queue->durable, queue->id, priority,
								   from_id, GetActiveSnapshot(), candidates,
								   limit);
		*from_priority = n > 0 ? priority : (int64) priority + 1;
	}
	PopActiveSnapshot();
	return n;
}

static void
promote_due(const AtqQueue *queue)
{
	Oid			role = GetUserId();

	PushActiveSnapshot(GetTransactionSnapshot());
	while (atq_storage_promote_due(queue->durable, queue->id,
								   GetCurrentTimestamp(), 1000,
								   announce_promoted, &role) == 1000)
		CHECK_FOR_INTERRUPTS();
	PopActiveSnapshot();
}

/* What max_tasks leaves is for a worker, when the caller commits. */
static void
announce_promoted(int32 queue_id, int32 priority, int64 id, void *arg)
{
	atq_notice_add(*(Oid *) arg, queue_id, priority, id, 0);
}

static void
begin_subtransaction(void)
{
	outer_context = CurrentMemoryContext;
	outer_owner = CurrentResourceOwner;
	GetUserIdAndSecContext(&outer_user, &outer_security);
	BeginInternalSubTransaction(NULL);
	if (could_become_another())
		SetUserIdAndSecContext(outer_user, outer_security |
							   SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
}

static bool
could_become_another(void)
{
	return GetUserId() != GetSessionUserId() ||
		GetUserId() != GetAuthenticatedUserId();
}

static void
commit_subtransaction(void)
{
	SetUserIdAndSecContext(outer_user, outer_security);
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(outer_context);
	CurrentResourceOwner = outer_owner;
}

static void
abort_subtransaction(void)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(outer_context);
	CurrentResourceOwner = outer_owner;
}

/* What the task has made in the session goes; a cursor may take others along. */
static void
finish_task(void)
{
	ListCell   *lc;

	foreach(lc, list_names(CURSORS))
	{
		Portal		portal = GetPortalByName(lfirst(lc));

		if (PortalIsValid(portal) && is_new(lfirst(lc), cursors))
			PortalDrop(portal, false);
	}
	foreach(lc, list_names(STATEMENTS))
	{
		if (is_new(lfirst(lc), statements))
			DropPreparedStatement(lfirst(lc), false);
	}
	drop_temporary_objects();
}

/* The first column of a query's rows. */
static List *
list_names(const char *query)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *names = NIL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i],
										SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(context);

		names = lappend(names, pstrdup(name));
		MemoryContextSwitchTo(old);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return names;
}

static bool
is_new(const char *name, const List *before)
{
	ListCell   *lc;

	foreach(lc, before)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return false;
	}
	return true;
}

/*
 * Each object in a namespace depends on it, so those that the task has put
 * into the session's temporary one are found among the dependencies that it
 * has written.
 */
static void
drop_temporary_objects(void)
{
	ObjectAddresses *objects;
	Oid			namespace;
	Oid			toast;
	ScanKeyData keys[2];
	Relation	depend;
	SysScanDesc scan;
	HeapTuple	tuple;

	GetTempNamespaceState(&namespace, &toast);
	if (!OidIsValid(namespace))
		return;
	CommandCounterIncrement();
	objects = new_object_addresses();
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(NamespaceRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(namespace));
	depend = table_open(DependRelationId, AccessShareLock);
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2,
							  keys);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress object;

		ObjectAddressSubSet(object, form->classid, form->objid,
							form->objsubid);
		if (is_in_task(tuple))
			add_exact_object_address(&object, objects);
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	performMultipleDeletions(objects, DROP_CASCADE,
							 PERFORM_DELETION_INTERNAL |
							 PERFORM_DELETION_QUIETLY |
							 PERFORM_DELETION_SKIP_EXTENSIONS);
	free_object_addresses(objects);
	CommandCounterIncrement();
}

/* Written by the subtransaction under way, or by one inside of it. */
static bool
is_in_task(HeapTuple tuple)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return TransactionIdIsNormal(xmin) &&
		TransactionIdFollowsOrEquals(xmin, GetCurrentTransactionId());
}

void
atq_drain_check_command(Node *statement)
{
	if (draining && leaves_session(statement))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot execute %s in a task that drain() runs",
						GetCommandTagName(CreateCommandTag(statement))),
				 errdetail("The session is the caller's.")));
}

/* Does a command change the session in a way that finish_task cannot undo? */
static bool
leaves_session(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DeallocateStmt:
		case T_DiscardStmt:
		case T_ListenStmt:
		case T_LoadStmt:
		case T_UnlistenStmt:
			return true;
		case T_ClosePortalStmt:
			return ((ClosePortalStmt *) statement)->portalname == NULL ||
				!is_new(((ClosePortalStmt *) statement)->portalname, cursors);
		case T_FetchStmt:
			return !is_new(((FetchStmt *) statement)->portalname, cursors);
		default:
			return false;
	}
}

void
atq_drain_check_call(Oid function)
{
	if (draining && atq_attempt_leaves_session(function))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot call %s in a task that drain() runs",
						format_procedure(function)),
				 errdetail("The session is the caller's.")));
}

static bool
is_ours(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN;
}
