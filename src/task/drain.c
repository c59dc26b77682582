/*-------------------------------------------------------------------------
 *
 * drain.c
 *	  drain(): running due tasks here and now, for tests.
 *
 * Runs tasks of the current user's own queues in the calling session, each (or
 * each batch) in a subtransaction of the caller's transaction, in the order in
 * which a worker would.  Tasks that the caller itself has dispatched are seen before
 * they are committed.  What is different from a worker: session state is not
 * wiped between tasks, deferred constraints wait for the caller's commit, and
 * nothing is final before it.
 *
 * A cancel of the caller's statement is the caller's, not the task's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "store/home.h"
#include "store/notice.h"
#include "task/task.h"

/* Tasks that a batch can have, at most. */
#define READ_SIZE	ATQ_MAX_MEMBERS

static void begin_subtransaction(void);
static void commit_subtransaction(void);
static void abort_subtransaction(void);
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
	.finish = NULL,
	.next = NULL,
	.rethrow = is_ours,
	.slot = NULL
};

/* What the subtransaction under way must give back. */
static MemoryContext outer_context;
static ResourceOwner outer_owner;

PG_FUNCTION_INFO_V1(atq_sql_drain);

Datum
atq_sql_drain(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		max_tasks = PG_ARGISNULL(1) ? PG_INT64_MAX :
		PG_GETARG_INT32(1);

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
	PG_RETURN_INT64(drain_queues(name, max_tasks));
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
	BeginInternalSubTransaction(NULL);
}

static void
commit_subtransaction(void)
{
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

static bool
is_ours(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN;
}
