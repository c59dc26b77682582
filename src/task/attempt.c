/*-------------------------------------------------------------------------
 *
 * attempt.c
 *	  What holds while a task runs: who knows of it, and how long it may take.
 *
 * A worker says in its slot which task it runs.  A task that has run but
 * shares the transaction of the next one stays there as a member until the
 * unit has ended: cancel() and wait() count on that.
 *
 * The timeout is armed in C, because statement_timeout does nothing in a
 * background worker and a handler could change it.  When it fires it cancels
 * the task; when the handler swallows that, it does so again after each
 * grace period, and a worker ends at the third time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/evidence.h"
#include "task/attempt.h"
#include "wire/jsonform.h"

#define TIMEOUT_GRACE_MS	5000
#define TIMEOUT_FIRES		3

AtqAttempt *atq_attempt_current = NULL;

static bool touched_session = false;
static bool timeout_registered = false;
static bool armed = false;
static TimeoutId timeout_id;
static volatile sig_atomic_t timeout_fires = 0;

static void timeout_fired(void);
static void publish(AtqSlot *slot, const AtqAttempt *attempt,
					int64 unrun_id);

void
atq_attempt_begin(AtqAttempt *attempt, AtqSlot *slot, int64 unrun_id)
{
	atq_attempt_current = attempt;
	touched_session = false;
	if (slot != NULL)
		publish(slot, attempt, unrun_id);
}

static void
publish(AtqSlot *slot, const AtqAttempt *attempt, int64 unrun_id)
{
	char		activity[ATQ_NAME_LEN + 64] = "task ";
	int			len = strlen(activity);

	SpinLockAcquire(&slot->mutex);
	slot->task_id = attempt->task.id;
	slot->queue_id = attempt->task.queue_id;
	slot->attempt = attempt->number;
	slot->task_started_at = attempt->started_at;
	slot->unrun_id = unrun_id;
	strlcpy(slot->task, attempt->task.task, ATQ_NAME_LEN);
	SpinLockRelease(&slot->mutex);
	atq_evidence_begin(slot, attempt->task.id, attempt->number,
					   attempt->started_at);
	len += pg_lltoa(attempt->task.id, activity + len);
	activity[len++] = ':';
	activity[len++] = ' ';
	strlcpy(activity + len, attempt->task.task, sizeof(activity) - len);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* A signal that comes meanwhile sees the task counted or not at all. */
void
atq_attempt_add_member(AtqSlot *slot, int64 task_id)
{
	SpinLockAcquire(&slot->mutex);
	slot->members[slot->nmembers] = task_id;
	pg_write_barrier();
	slot->nmembers++;
	SpinLockRelease(&slot->mutex);
}

void
atq_attempt_keep_only(AtqSlot *slot, int64 task_id)
{
	if (task_id == 0)
		atq_evidence_end(slot);
	SpinLockAcquire(&slot->mutex);
	slot->nmembers = 0;
	slot->task_id = task_id;
	SpinLockRelease(&slot->mutex);
}

/*
 * The outcome's place in the WAL is published before the tasks are no longer
 * said to run: wait() answers in the other order, and flushes up to there.
 * A cancel that came too late for them must not hit the next ones.
 */
void
atq_attempt_settled(AtqSlot *slot, int ntasks)
{
	uint64		commit = XactLastCommitEnd;
	uint64		known = pg_atomic_read_u64(&atq_shared->last_commit);

	while (known < commit &&
		   !pg_atomic_compare_exchange_u64(&atq_shared->last_commit, &known,
										   commit))
		;
	atq_evidence_end(slot);
	SpinLockAcquire(&slot->mutex);
	slot->nmembers = 0;
	slot->task_id = 0;
	slot->tasks_done += ntasks;
	SpinLockRelease(&slot->mutex);
	QueryCancelPending = false;
	if (pg_atomic_read_u32(&atq_shared->waiters) > 0)
		ConditionVariableBroadcast(&atq_shared->settled);
}

void
atq_attempt_arm(int64 timeout_us)
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
	armed = true;
}

void
atq_attempt_disarm(void)
{
	if (armed)
		disable_timeout(timeout_id, false);
	armed = false;
}

bool
atq_attempt_timed_out(void)
{
	return timeout_fires > 0;
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

void
atq_attempt_touch_session(void)
{
	touched_session = true;
}

bool
atq_attempt_touched_session(void)
{
	return touched_session;
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
