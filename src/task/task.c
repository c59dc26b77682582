/*-------------------------------------------------------------------------
 *
 * task.c
 *	  One task through all stages: take, call, settle.
 *
 * An attempt is one transaction: the task's row is deleted, the handler is
 * called, the result is kept, and all of it commits or nothing does.  An
 * error rolls it back and settle.c records it.
 *
 * Between the rollback of a failed attempt and its record the task's row is
 * free, and another worker that had read its id may take it.  It sees in the
 * first one's slot, which names the task until the failure is recorded, that
 * the row is not its own, and gives it back.
 *
 * What a handler leaves to the end of its transaction (deferred triggers,
 * WITH HOLD cursors) is done by runner->finish before the commit, while the
 * settings that it changed and the task's timeout are still in force: it is
 * the task's own doing.
 *
 * The timeout is armed in C, because statement_timeout does nothing in a
 * background worker and a handler could change it.  When it fires it cancels
 * the task; when the handler swallows that, it does so again after each
 * grace period, and a worker ends at the third time.
 *
 * Memory: everything of one attempt lives in the context "asynctasq task",
 * made once in TopMemoryContext, or for drain() in a child of the caller's,
 * and reset after each task.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "task/handler.h"
#include "task/settle.h"
#include "task/task.h"
#include "wire/jsonform.h"

#define TIMEOUT_GRACE_MS	5000
#define TIMEOUT_FIRES		3

AtqAttempt *atq_attempt_current = NULL;

static bool timeout_registered = false;
static TimeoutId timeout_id;
static volatile sig_atomic_t timeout_fires = 0;

static ErrorData *try_attempt(const AtqRunner *runner, bool durable,
							  const AtqCandidate *candidate,
							  AtqAttempt *attempt, bool *taken);
static void start_attempt(const AtqRunner *runner, AtqAttempt *attempt);
static void call_handler(const AtqRunner *runner, AtqAttempt *attempt);
static AtqHandler *find_handler(AtqAttempt *attempt);
static ErrorData *catch_error(const AtqRunner *runner, AtqAttempt *attempt);
static void arm_timeout(int64 timeout_us);
static void disarm_timeout(void);
static void timeout_fired(void);
static void count_outcome(const AtqAttempt *attempt, AtqOutcome outcome);
static void publish(AtqSlot *slot, const AtqAttempt *attempt);
static void unpublish(AtqSlot *slot);
static void report_context(void *arg);

bool
atq_task_run(const AtqRunner *runner, bool durable,
			 const AtqCandidate *candidate)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "asynctasq task",
												  ALLOCSET_DEFAULT_SIZES);
	AtqAttempt *attempt;
	AtqAttempt *outer = atq_attempt_current;
	ErrorData  *failure;
	bool		taken = false;

	MemoryContextSwitchTo(context);
	attempt = palloc0(sizeof(AtqAttempt));
	atq_registry_keep(true);
	PG_TRY();
	{
		AtqOutcome	outcome = ATQ_OUTCOME_COMPLETED;

		failure = try_attempt(runner, durable, candidate, attempt, &taken);
		if (failure != NULL)
			outcome = atq_settle_failure(runner, attempt, failure);
		if (taken)
			count_outcome(attempt, outcome);
	}
	PG_FINALLY();
	{
		atq_registry_keep(outer != NULL);
		atq_attempt_current = outer;
		if (taken && runner->slot != NULL)
			unpublish(runner->slot);
		MemoryContextSwitchTo(old);
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	return taken;
}

/* Returns the error that ended the attempt, or NULL. */
static ErrorData *
try_attempt(const AtqRunner *runner, bool durable,
			const AtqCandidate *candidate, AtqAttempt *attempt, bool *taken)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile failure = NULL;
	ErrorContextCallback callback;

	callback.callback = report_context;
	callback.arg = attempt;
	callback.previous = error_context_stack;

	runner->begin();
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (atq_storage_take(durable, candidate, &attempt->task))
			*taken = runner->slot == NULL ||
				atq_slot_running(MyDatabaseId, candidate->id) < 0;
		if (*taken)
		{
			error_context_stack = &callback;
			start_attempt(runner, attempt);
			call_handler(runner, attempt);
			error_context_stack = callback.previous;
			runner->commit();
		}
		else
			runner->abort();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (!*taken)
			PG_RE_THROW();
		failure = catch_error(runner, attempt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return failure;
}

static void
start_attempt(const AtqRunner *runner, AtqAttempt *attempt)
{
	AtqQueue   *queue = atq_registry_queue(attempt->task.queue_id);

	attempt->number = attempt->task.attempt + 1;
	attempt->max_attempts = Max(attempt->task.max_attempts, 1);
	attempt->started_at = GetCurrentTimestamp();
	attempt->role = GetUserId();
	if (queue != NULL)
	{
		strlcpy(attempt->queue, queue->name, ATQ_NAME_LEN);
		attempt->queue_stat = queue->stat;
	}
	atq_attempt_current = attempt;
	if (runner->slot != NULL)
		publish(runner->slot, attempt);
}

static void
call_handler(const AtqRunner *runner, AtqAttempt *attempt)
{
	AtqHandler *handler = find_handler(attempt);
	int64		timeout_us = attempt->task.timeout_us >= 0 ?
		attempt->task.timeout_us : handler->timeout_us;
	bool		keep = handler->keep_result;
	Jsonb	   *result = NULL;
	int			level = NewGUCNestLevel();

	arm_timeout(timeout_us);
	atq_handler_call(handler, &attempt->task, keep ? &result : NULL,
					 &attempt->called);
	if (runner->finish != NULL)
		runner->finish();
	disarm_timeout();
	AtEOXact_GUC(false, level);
	if (!keep)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	atq_storage_keep(&attempt->task, "completed", attempt->number,
					 attempt->max_attempts, attempt->started_at, result,
					 NULL);
	PopActiveSnapshot();
}

/*
 * The handler belongs to the role of the task's queue, as whom this process
 * runs.  Where it was registered anew by another role, its task is nobody's.
 */
static AtqHandler *
find_handler(AtqAttempt *attempt)
{
	AtqHandler *handler = atq_registry_handler(attempt->task.task);

	if (handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler \"%s\" does not exist", attempt->task.task),
				 errhint("Register it with asynctasq.register_handler() and call asynctasq.retry(" INT64_FORMAT ").",
						 attempt->task.id)));
	if (handler->role != attempt->role)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("handler \"%s\" belongs to another role than the task's queue",
						attempt->task.task)));
	if (attempt->task.max_attempts < 0)
		attempt->max_attempts = handler->max_attempts;
	attempt->handler_stat = handler->stat;
	return handler;
}

/* From PG_CATCH: rolls the attempt back, keeps its error. */
static ErrorData *
catch_error(const AtqRunner *runner, AtqAttempt *attempt)
{
	ErrorData  *failure = CopyErrorData();

	disarm_timeout();
	attempt->timed_out = timeout_fires > 0 &&
		failure->sqlerrcode == ERRCODE_QUERY_CANCELED;
	if (runner->slot != NULL && failure->sqlerrcode == ERRCODE_QUERY_CANCELED)
		attempt->cancelled = runner->slot->cancelled_id == attempt->task.id;
	if (!attempt->timed_out && runner->rethrow(failure))
		PG_RE_THROW();
	if (runner->slot != NULL)
		EmitErrorReport();
	FlushErrorState();
	HOLD_INTERRUPTS();
	QueryCancelPending = false;
	runner->abort();
	RESUME_INTERRUPTS();
	return failure;
}

void
atq_task_settle_orphan(const AtqRunner *runner, const AtqOrphan *orphan)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "asynctasq orphan",
												  ALLOCSET_DEFAULT_SIZES);
	AtqAttempt *attempt;
	AtqCandidate candidate;
	bool		durable;
	bool		found;
	ErrorData	failure = {0};

	attempt = MemoryContextAllocZero(context, sizeof(AtqAttempt));
	runner->begin();
	MemoryContextSwitchTo(context);
	found = atq_storage_find(orphan->task_id, &durable, &candidate) &&
		atq_storage_take(durable, &candidate, &attempt->task);
	if (found)
	{
		AtqRunner	silent = *runner;

		silent.slot = NULL;
		start_attempt(&silent, attempt);
		attempt->started_at = orphan->started_at;
		attempt->called = true;
		if (atq_registry_handler(attempt->task.task) != NULL)
			(void) find_handler(attempt);
	}
	atq_attempt_current = NULL;
	runner->abort();
	MemoryContextSwitchTo(context);
	if (found)
	{
		failure.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
		failure.message = "worker was terminated while it ran the task";
		count_outcome(attempt,
					  atq_settle_failure(runner, attempt, &failure));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

static void
arm_timeout(int64 timeout_us)
{
	timeout_fires = 0;
	if (timeout_us <= 0)
		return;
	if (!timeout_registered)
	{
		timeout_id = RegisterTimeout(USER_TIMEOUT, timeout_fired);
		timeout_registered = true;
	}
	enable_timeout_every(timeout_id,
						 GetCurrentTimestamp() + timeout_us,
						 TIMEOUT_GRACE_MS);
}

static void
disarm_timeout(void)
{
	if (timeout_registered)
		disable_timeout(timeout_id, false);
}

/* In a signal handler. */
static void
timeout_fired(void)
{
	timeout_fires++;
	if (timeout_fires >= TIMEOUT_FIRES && MyBgworkerEntry != NULL)
		ProcDiePending = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static void
count_outcome(const AtqAttempt *attempt, AtqOutcome outcome)
{
	double		ms = (GetCurrentTimestamp() - attempt->started_at) / 1000.0;

	atq_stats_count(attempt->queue_stat, outcome, ms);
	atq_stats_count(attempt->handler_stat, outcome, ms);
}

static void
publish(AtqSlot *slot, const AtqAttempt *attempt)
{
	char		activity[ATQ_NAME_LEN + 64];

	SpinLockAcquire(&slot->mutex);
	slot->task_id = attempt->task.id;
	slot->queue_id = attempt->task.queue_id;
	slot->attempt = attempt->number;
	slot->task_started_at = attempt->started_at;
	strlcpy(slot->task, attempt->task.task, ATQ_NAME_LEN);
	SpinLockRelease(&slot->mutex);
	snprintf(activity, sizeof(activity), "task " INT64_FORMAT ": %s",
			 attempt->task.id, attempt->task.task);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/*
 * The outcome's place in the WAL is published before the task is no longer
 * said to run: wait() answers in the other order, and flushes up to there.
 */
static void
unpublish(AtqSlot *slot)
{
	uint64		commit = XactLastCommitEnd;
	uint64		known = pg_atomic_read_u64(&atq_shared->last_commit);

	while (known < commit &&
		   !pg_atomic_compare_exchange_u64(&atq_shared->last_commit, &known,
										   commit))
		;
	SpinLockAcquire(&slot->mutex);
	slot->task_id = 0;
	slot->tasks_done++;
	SpinLockRelease(&slot->mutex);
	if (pg_atomic_read_u32(&atq_shared->waiters) > 0)
		ConditionVariableBroadcast(&atq_shared->settled);
}

static void
report_context(void *arg)
{
	AtqAttempt *attempt = arg;

	errcontext("task " INT64_FORMAT ", handler \"%s\", attempt %d",
			   attempt->task.id, attempt->task.task, attempt->number);
}

/* Columns as task_info() has them. */
PG_FUNCTION_INFO_V1(atq_sql_current_task);

Datum
atq_sql_current_task(PG_FUNCTION_ARGS)
{
	AtqAttempt *attempt = atq_attempt_current;
	TupleDesc	desc;
	Datum		values[16] = {0};
	bool		nulls[16];
	const AtqTask *task;

	if (attempt == NULL)
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	task = &attempt->task;
	memset(nulls, false, sizeof(nulls));
	values[0] = Int64GetDatum(task->id);
	values[1] = CStringGetTextDatum(task->task);
	values[2] = CStringGetTextDatum(attempt->queue);
	values[3] = CStringGetTextDatum("running");
	values[4] = JsonbPGetDatum(atq_json_tagged(task->args));
	values[5] = Int32GetDatum(attempt->number);
	values[6] = Int32GetDatum(attempt->max_attempts);
	values[7] = Int32GetDatum(task->priority);
	values[8] = TimestampTzGetDatum(task->dispatched_at);
	nulls[9] = true;
	values[10] = TimestampTzGetDatum(attempt->started_at);
	nulls[11] = nulls[12] = nulls[13] = true;
	if (task->correlation_id != NULL)
		values[14] = CStringGetTextDatum(task->correlation_id);
	else
		nulls[14] = true;
	values[15] = Int32GetDatum(MyProcPid);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
