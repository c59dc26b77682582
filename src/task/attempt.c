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
 * grace period (asynctasq.cancel_grace), and a worker ends at the third time.
 * A task that swallows cancel() has one grace period: it starts when the cancel
 * becomes an error in the task (task.c), because a timer cannot be set where
 * the signal arrives.
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
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/evidence.h"
#include "base/guc.h"
#include "task/attempt.h"
#include "wire/jsonform.h"

#define TIMEOUT_FIRES		3

AtqAttempt *atq_attempt_current = NULL;

static AtqSlot *worker_slot = NULL;
static bool touched_session = false;
static bool timeout_registered = false;
static bool armed = false;
static TimeoutId timeout_id;
static volatile sig_atomic_t timeout_fires = 0;
static volatile sig_atomic_t cancel_heard = false;
static bool seed_set = false;

static void announce_again(const AtqSlot *slot, int64 id);
static void start_timer(TimestampTz until);
static void timeout_fired(void);
static void publish(AtqSlot *slot, const AtqAttempt *attempt,
					int64 unrun_id);

void
atq_attempt_begin(AtqAttempt *attempt, AtqSlot *slot, int64 unrun_id)
{
	atq_attempt_current = attempt;
	touched_session = false;
	worker_slot = slot;
	if (slot != NULL)
		publish(slot, attempt, unrun_id);
}

static void
publish(AtqSlot *slot, const AtqAttempt *attempt, int64 unrun_id)
{
	char		activity[ATQ_NAME_LEN + 64];
	Size		name_len = strnlen(attempt->task.task, ATQ_NAME_LEN - 1);
	char	   *end = activity;

	SpinLockAcquire(&slot->mutex);
	slot->task_id = attempt->task.id;
	slot->queue_id = attempt->task.queue_id;
	slot->attempt = attempt->number;
	slot->task_started_at = attempt->started_at;
	slot->stopped_at = 0;
	slot->settling = false;
	slot->wanted = false;
	slot->unrun_id = unrun_id;
	memcpy(slot->task, attempt->task.task, name_len);
	slot->task[name_len] = '\0';
	SpinLockRelease(&slot->mutex);
	atq_evidence_begin(slot, attempt->task.id, attempt->number,
					   attempt->started_at, attempt->signature);
	end = stpcpy(end, "task ");
	end += pg_lltoa(attempt->task.id, end);
	end = stpcpy(end, ": ");
	memcpy(end, attempt->task.task, name_len);
	end[name_len] = '\0';
	pgstat_report_activity(STATE_RUNNING, activity);
}

int
atq_attempt_next_depth(void)
{
	const AtqAttempt *attempt = atq_attempt_current;
	int			depth;

	if (attempt == NULL)
		return 0;
	depth = Min(attempt->depth, PG_INT32_MAX - 1) + 1;
	if (atq_max_chain_depth > 0 && depth > atq_max_chain_depth)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("chain of tasks that dispatch each other is too long"),
				 errdetail("A task of depth %d was to be dispatched, and \"%s\" is %d.",
						   depth, "asynctasq.max_chain_depth",
						   atq_max_chain_depth),
				 errhint("Have an administrator raise the limit if the tasks are meant to go on so long.")));
	return depth;
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
	slot->stopped_at = 0;
	slot->settling = task_id != 0;
	SpinLockRelease(&slot->mutex);
	atq_slot_set_unsettled(slot, task_id != 0);
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
	int64		wanted_id;

	while (known < commit &&
		   !pg_atomic_compare_exchange_u64(&atq_shared->last_commit, &known,
										   commit))
		;
	atq_evidence_end(slot);
	SpinLockAcquire(&slot->mutex);
	wanted_id = slot->wanted ? slot->task_id : 0;
	slot->wanted = false;
	slot->nmembers = 0;
	slot->task_id = 0;
	slot->cancelled_id = 0;
	slot->stopped_at = 0;
	slot->settling = false;
	slot->tasks_done += ntasks;
	SpinLockRelease(&slot->mutex);
	atq_slot_set_unsettled(slot, false);
	QueryCancelPending = false;
	if (wanted_id != 0)
		announce_again(slot, wanted_id);
	if (pg_atomic_read_u32(&atq_shared->waiters) > 0)
		ConditionVariableBroadcast(&atq_shared->settled);
}

/* To the line that it was claimed from. */
static void
announce_again(const AtqSlot *slot, int64 id)
{
	const AtqLine *line = &atq_shared->lines[slot->line];

	atq_lane_announce(slot->lane, line->queue_id, line->priority, id);
	atq_lane_wake(slot->lane);
}

void
atq_attempt_arm(int64 timeout_us)
{
	timeout_fires = 0;
	cancel_heard = false;
	if (timeout_us > 0)
		start_timer(GetCurrentTimestamp() + timeout_us);
}

/* It fires then, and again after each grace period. */
static void
start_timer(TimestampTz until)
{
	if (!timeout_registered)
	{
		timeout_id = RegisterTimeout(USER_TIMEOUT, timeout_fired);
		timeout_registered = true;
	}
	enable_timeout_every(timeout_id, until, atq_cancel_grace_ms);
	armed = true;
}

void
atq_attempt_cancel_heard(void)
{
	if (cancel_heard)
		return;
	cancel_heard = true;
	start_timer(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											atq_cancel_grace_ms));
}

void
atq_attempt_disarm(void)
{
	if (armed)
		disable_timeout(timeout_id, false);
	armed = false;
	cancel_heard = false;
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
	if (!cancel_heard)
		timeout_fires++;
	if ((cancel_heard || timeout_fires >= TIMEOUT_FIRES) &&
		MyBgworkerEntry != NULL)
		ProcDiePending = true;
	if (worker_slot != NULL)
		atq_attempt_stop(worker_slot);
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

void
atq_attempt_stop(AtqSlot *slot)
{
	if (slot->stopped_at == 0)
		slot->stopped_at = GetCurrentTimestamp();
}

void
atq_attempt_rethrow(const AtqRunner *runner, ErrorData *error)
{
	FlushErrorState();
	HOLD_INTERRUPTS();
	runner->abort();
	RESUME_INTERRUPTS();
	ReThrowError(error);
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

/* A notification cannot be taken back before the commit, but then it is. */
void
atq_attempt_note_call(Oid function)
{
	if (atq_attempt_current == NULL ||
		(function != F_PG_NOTIFY && !atq_attempt_leaves_session(function)))
		return;
	touched_session = true;
	if (function == F_SETSEED)
		seed_set = true;
}

bool
atq_attempt_leaves_session(Oid function)
{
	switch (function)
	{
		case F_SETSEED:
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_INT8:
		case F_PG_ADVISORY_UNLOCK_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT8:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_ALL:
			return true;
		default:
			return false;
	}
}

void
atq_attempt_forget_seed(void)
{
	uint32		seed;

	if (!seed_set)
		return;
	seed_set = false;
	if (!pg_strong_random(&seed, sizeof(seed)))
		seed = (uint32) GetCurrentTimestamp();
	(void) DirectFunctionCall1(setseed,
							   Float8GetDatum(seed / (double) PG_UINT32_MAX));
}

/* Columns as task_info() has them. */
PG_FUNCTION_INFO_V1(atq_sql_current_task);

Datum
atq_sql_current_task(PG_FUNCTION_ARGS)
{
	AtqAttempt *attempt = atq_attempt_current;
	TupleDesc	desc;
	Datum		values[17] = {0};
	bool		nulls[17];
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
	values[16] = Int32GetDatum(task->depth);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
