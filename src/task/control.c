/*-------------------------------------------------------------------------
 *
 * control.c
 *	  Looking at a task, waiting for it, cancelling it, trying it again.
 *
 * A task is in one place: its row in asynctasq.task until its outcome
 * commits, afterwards a dead letter, a kept result, or nothing.  One
 * statement looks into all three (look_up), under one snapshot, so that a
 * task on its way from one to another is never missed.  That a task runs
 * stands in no table: its row is untouched until the outcome commits, and the
 * worker's slot says so.
 *
 * Who may do what: members of the queue's owner see and control its tasks,
 * members of pg_monitor see them, without arguments and results.  A task that
 * one may not see is as absent.
 *
 * cancel() of a waiting task is part of the caller's transaction; a running
 * task is told by a signal, at once, and AtqSlot.cancel_id tells its worker
 * which task the signal means.
 *
 * wait() must see what other transactions commit, so it takes a new snapshot
 * each time, and refuses to run where the transaction keeps its first one.
 * It sleeps on AtqShared.settled, which workers broadcast while
 * AtqShared.waiters is not zero; outcomes that come from elsewhere (cancel()
 * of a waiting task, drain()) are noticed by the look each WAIT_LOOK_MS.  A
 * worker may commit without waiting for the disk; what wait() answers must
 * not be lost in a crash, so it flushes up to the latest outcome first.
 *
 * Memory: what look_up returns lives in the caller's context; wait() has one
 * of its own, "asynctasq wait", reset at each look and freed with the call's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/evidence.h"
#include "base/lane.h"
#include "store/notice.h"
#include "store/storage.h"
#include "task/attempt.h"
#include "wire/type.h"

#define WAIT_LOOK_MS	1000	/* between looks that nothing prompted */
#define CANCEL_TRIES	5
#define CANCEL_PAUSE_MS 10

/* Columns of task_info(), from 0. */
enum
{
	INFO_ID, INFO_TASK, INFO_QUEUE, INFO_STATUS, INFO_ARGS, INFO_ATTEMPT,
	INFO_MAX_ATTEMPTS, INFO_PRIORITY, INFO_DISPATCHED_AT, INFO_RUN_AT,
	INFO_STARTED_AT, INFO_FINISHED_AT, INFO_RESULT, INFO_ERROR,
	INFO_CORRELATION_ID, INFO_WORKER_PID, INFO_DEPTH,
	INFO_NCOLUMNS
};

/* What look_up's statement returns behind them. */
enum
{
	LOOK_OWNER = INFO_NCOLUMNS, LOOK_PLACE, LOOK_XMIN,
	LOOK_NCOLUMNS
};

/* The table that holds the row; numbers are in look_up's statement. */
typedef enum TaskPlace
{
	PLACE_TASK,
	PLACE_DEAD_LETTER,
	PLACE_RESULT,
	PLACE_NONE
} TaskPlace;

typedef struct TaskLook
{
	TaskPlace	place;
	bool		ours;			/* the caller may control it */
	TransactionId xmin;			/* of the row */
	Datum		values[LOOK_NCOLUMNS];
	bool		nulls[LOOK_NCOLUMNS];
} TaskLook;

/* What wait() is waiting for, and where it has got to. */
typedef struct Wait
{
	int64		id;
	int64		timeout_us;
	TimestampTz deadline;
	TaskLook	look;
	bool		found;			/* look holds the task */
} Wait;

static bool may_control(Oid owner);
static bool may_see(Oid owner);
static bool look_up(int64 id, bool with_args, TaskLook *look);
static bool read_look(TaskLook *look);
static bool look_for_crash(int64 id, TaskLook *look);
static void show_running(int64 id, TaskLook *look);
static bool cancel_running(int64 id);
static bool cancel_waiting(int64 id);
static int	effective_max_attempts(const TaskLook *look);
static void pause_briefly(void);
static bool take_dead_letter(int64 id, AtqTask *task);
static void read_dead_letter(AtqTask *task);
static Datum look_column(int column, bool *isnull);
static char *look_text(int column);
static int64 look_interval_us(int column);
static void check_may_wait(int64 id);
static TimestampTz deadline_after(int64 timeout_us);
static void wait_until_settled(Wait *wait);
static bool has_settled(Wait *wait);
static bool is_running(int64 id);
static void sleep_until_told(Wait *wait);
static void stop_waiting(int code, Datum arg);
static void fail_timeout(const Wait *wait) atq_noreturn;
static void flush_outcome(void);
static Datum wait_result(FunctionCallInfo fcinfo, const Wait *wait);
static void fail_as_task(int64 id, Jsonb *error) atq_noreturn;
static int	error_sqlstate(Jsonb *error);
static char *error_text(Jsonb *error, const char *key);

extern Datum atq_sql_current_task(PG_FUNCTION_ARGS);

/* A handler that asks about its own task gets what current_task() says. */
PG_FUNCTION_INFO_V1(atq_sql_task_info);

Datum
atq_sql_task_info(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	TupleDesc	desc;
	TaskLook	look;

	if (atq_attempt_current != NULL && atq_attempt_current->task.id == id)
		return atq_sql_current_task(fcinfo);
	if (!look_up(id, true, &look) && !look_for_crash(id, &look))
		PG_RETURN_NULL();
	if (look.place == PLACE_TASK)
		show_running(id, &look);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, look.values,
													  look.nulls)));
}

PG_FUNCTION_INFO_V1(atq_sql_result);

Datum
atq_sql_result(PG_FUNCTION_ARGS)
{
	TaskLook	look;

	if (!look_up(PG_GETARG_INT64(0), false, &look) ||
		look.nulls[INFO_RESULT])
		PG_RETURN_NULL();
	PG_RETURN_DATUM(look.values[INFO_RESULT]);
}

static bool
may_control(Oid owner)
{
	return has_privs_of_role(GetUserId(), owner);
}

static bool
may_see(Oid owner)
{
	return may_control(owner) ||
		has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/*
 * Finds a task that the caller may see, under a new snapshot where the
 * isolation level has one; false when there is none.  Arguments are converted
 * only on demand; they and results are withheld from who may not control it.
 */
static bool
look_up(int64 id, bool with_args, TaskLook *look)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT8OID, BOOLOID, OIDOID};
	Datum		values[3];
	AtqSpi		spi;
	bool		found;
	Oid			owner;

	values[0] = Int64GetDatum(id);
	values[1] = BoolGetDatum(with_args);
	values[2] = ObjectIdGetDatum(GetUserId());
	atq_spi_begin(&spi);
	found = atq_spi_run(&plan,
						"SELECT t.id, t.task, q.name, t.status, "
						"CASE WHEN $2 AND pg_catalog.pg_has_role($3, "
						"COALESCE(q.owner::pg_catalog.oid, 0::pg_catalog.oid), 'USAGE') "
						"THEN t.args::pg_catalog.jsonb END, "
						"t.attempt, "
						"COALESCE(t.max_attempts, h.max_attempts), "
						"t.priority, t.dispatched_at, t.run_at, "
						"t.started_at, t.finished_at, t.result, t.error, "
						"t.correlation_id, NULL::pg_catalog.int4, t.depth, "
						"q.owner::pg_catalog.oid, t.place, t.born "
						"FROM (SELECT id, task, queue_id, "
						"CASE WHEN run_at IS NULL THEN 'pending' "
						"ELSE 'scheduled' END AS status, args, attempt, "
						"max_attempts, priority, dispatched_at, run_at, "
						"NULL::pg_catalog.timestamptz AS started_at, "
						"NULL::pg_catalog.timestamptz AS finished_at, "
						"NULL::pg_catalog.jsonb AS result, "
						"NULL::pg_catalog.jsonb AS error, "
						"correlation_id, COALESCE(depth, 0) AS depth, "
						"0 AS place, xmin AS born "
						"FROM asynctasq.task "
						"WHERE id OPERATOR(pg_catalog.=) $1 "
						"UNION ALL SELECT id, task, queue_id, 'failed', "
						"args, attempt, max_attempts, priority, "
						"dispatched_at, NULL, started_at, failed_at, NULL, "
						"error, correlation_id, NULL, 1, xmin "
						"FROM asynctasq.dead_letter "
						"WHERE id OPERATOR(pg_catalog.=) $1 "
						"UNION ALL SELECT id, task, queue_id, status, args, "
						"attempt, max_attempts, priority, dispatched_at, "
						"NULL, started_at, finished_at, result, error, "
						"correlation_id, NULL, 2, xmin FROM asynctasq.result "
						"WHERE id OPERATOR(pg_catalog.=) $1) AS t "
						"LEFT JOIN asynctasq.queue AS q "
						"ON q.id OPERATOR(pg_catalog.=) t.queue_id "
						"LEFT JOIN asynctasq.handler AS h "
						"ON h.name OPERATOR(pg_catalog.=) t.task "
						"AND h.role OPERATOR(pg_catalog.=) q.owner",
						3, types, values, NULL, SPI_OK_SELECT) > 0 &&
		read_look(look);
	atq_spi_end(&spi);
	if (!found)
		return false;
	owner = look->nulls[LOOK_OWNER] ? InvalidOid :
		DatumGetObjectId(look->values[LOOK_OWNER]);
	look->ours = may_control(owner);
	if (!look->ours)
		look->nulls[INFO_RESULT] = true;
	return may_see(owner);
}

/* Copies SPI's row into the context in which SPI was connected. */
static bool
read_look(TaskLook *look)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (int i = 0; i < LOOK_NCOLUMNS; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		look->values[i] = look_column(i, &look->nulls[i]);
		if (!look->nulls[i])
			look->values[i] = SPI_datumTransfer(look->values[i],
												column->attbyval,
												column->attlen);
	}
	look->place = (TaskPlace) DatumGetInt32(look->values[LOOK_PLACE]);
	look->xmin = DatumGetTransactionId(look->values[LOOK_XMIN]);
	return true;
}

/*
 * Of a task that is in no place but has an id from before a crash that emptied
 * queues, nobody can say whether it had ended; false when there is no such
 * crash.
 */
static bool
look_for_crash(int64 id, TaskLook *look)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT8OID};
	Datum		values[1];
	AtqSpi		spi;
	bool		found;
	bool		isnull;

	values[0] = Int64GetDatum(id);
	atq_spi_begin(&spi);
	found = id > 0 &&
		atq_spi_run(&plan,
					"SELECT pg_catalog.jsonb_build_object('message', "
					"'task has ended or was lost in a crash of the server', "
					"'crashed_at', crashed_at) FROM asynctasq.crash "
					"WHERE last_id OPERATOR(pg_catalog.>=) $1 "
					"ORDER BY last_id LIMIT 1",
					1, types, values, NULL, SPI_OK_SELECT) > 0;
	if (found)
	{
		memset(look->nulls, true, sizeof(look->nulls));
		look->place = PLACE_NONE;
		look->values[INFO_ID] = Int64GetDatum(id);
		look->values[INFO_ERROR] = SPI_datumTransfer(look_column(0, &isnull),
													 false, -1);
		look->nulls[INFO_ID] = look->nulls[INFO_ERROR] = false;
	}
	atq_spi_end(&spi);
	if (found)
	{
		look->values[INFO_STATUS] = CStringGetTextDatum("unknown");
		look->nulls[INFO_STATUS] = false;
	}
	return found;
}

/* Puts in what the slot knows of a task that runs. */
static void
show_running(int64 id, TaskLook *look)
{
	AtqSlot		slot;

	if (atq_slot_holding(MyDatabaseId, id, &slot) < 0)
		return;
	look->values[INFO_STATUS] = CStringGetTextDatum("running");
	look->values[INFO_ATTEMPT] =
		Int32GetDatum(slot.task_id == id ? slot.attempt :
					  DatumGetInt32(look->values[INFO_ATTEMPT]) + 1);
	look->values[INFO_STARTED_AT] = TimestampTzGetDatum(slot.task_started_at);
	look->values[INFO_WORKER_PID] = Int32GetDatum(slot.pid);
	look->nulls[INFO_STARTED_AT] = look->nulls[INFO_WORKER_PID] = false;
	look->nulls[INFO_RUN_AT] = true;
}

/*
 * A row that another holds belongs to a worker that is about to say so, or
 * to a transaction that cancels, purges or drains.  So it looks a few times.
 */
PG_FUNCTION_INFO_V1(atq_sql_cancel);

Datum
atq_sql_cancel(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);

	PreventCommandIfReadOnly("cancel()");
	PreventCommandIfParallelMode("cancel()");
	for (int i = 0; i < CANCEL_TRIES; i++)
	{
		TaskLook	look;

		if (i > 0)
			pause_briefly();
		if (cancel_running(id))
			PG_RETURN_BOOL(true);
		if (!look_up(id, false, &look) || !look.ours ||
			look.place != PLACE_TASK)
			PG_RETURN_BOOL(false);
		if (cancel_waiting(id))
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}

/* Signals the worker that runs the task; false when none does. */
static bool
cancel_running(int64 id)
{
	AtqSlot    *slot;
	AtqSlot		copy;
	int			i = atq_slot_holding(MyDatabaseId, id, &copy);
	int			pid = 0;

	if (i < 0 || !may_control(copy.role))
		return false;
	slot = &atq_shared->slots[i];
	SpinLockAcquire(&slot->mutex);
	if (atq_slot_holds(slot, id) && slot->database == MyDatabaseId)
	{
		slot->cancel_id = id;
		pid = slot->pid;
	}
	SpinLockRelease(&slot->mutex);
	if (pid == 0)
		return false;
	return kill(pid, SIGINT) == 0;
}

/* Removes a task that waits; false when its row is gone or held. */
static bool
cancel_waiting(int64 id)
{
	AtqCandidate candidate;
	TaskLook	look;
	AtqTask		task;
	bool		durable;

	if (!atq_storage_find(id, &durable, &candidate) ||
		!look_up(id, false, &look) ||
		atq_storage_take(durable, &candidate, NULL, &task) != ATQ_TAKE_DONE)
		return false;
	atq_storage_keep(&task, "cancelled", task.attempt,
					 effective_max_attempts(&look), 0, NULL, NULL);
	return true;
}

/* What is known of it; 1 where the handler is gone. */
static int
effective_max_attempts(const TaskLook *look)
{
	if (look->nulls[INFO_MAX_ATTEMPTS])
		return 1;
	return DatumGetInt32(look->values[INFO_MAX_ATTEMPTS]);
}

static void
pause_briefly(void)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = atq_wait_event("AsynctasqCancel");
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 CANCEL_PAUSE_MS, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

PG_FUNCTION_INFO_V1(atq_sql_retry);

Datum
atq_sql_retry(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	TaskLook	look;
	AtqQueue   *queue;
	AtqTask		task;
	AtqInserter *inserter;
	Oid			owner;

	PreventCommandIfReadOnly("retry()");
	PreventCommandIfParallelMode("retry()");
	if (!look_up(id, false, &look) || !look.ours ||
		look.place != PLACE_DEAD_LETTER || !take_dead_letter(id, &task))
		PG_RETURN_BOOL(false);
	queue = atq_registry_queue(task.queue_id);
	if (queue == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue of task " INT64_FORMAT " does not exist any more",
						id),
				 errhint("Dispatch the task anew.")));
	owner = queue->owner;
	task.durable = queue->durable;
	task.depth = atq_attempt_next_depth();
	inserter = atq_insert_begin(task.durable);
	atq_insert_task(inserter, &task);
	atq_insert_end(inserter);
	atq_notice_add(owner, task.queue_id, task.priority, id, 0);
	atq_evidence_forgive(MyDatabaseId,
						 atq_evidence_signature(owner, task.task,
												task.args.data,
												task.args.len));
	PG_RETURN_BOOL(true);
}

/* Deletes a dead letter and returns it as a new task; false if it is gone. */
static bool
take_dead_letter(int64 id, AtqTask *task)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT8OID};
	Datum		value = Int64GetDatum(id);
	MemoryContext old = CurrentMemoryContext;
	AtqSpi		spi;
	bool		found;

	atq_spi_begin(&spi);
	found = atq_spi_run(&plan,
						"DELETE FROM asynctasq.dead_letter "
						"WHERE id OPERATOR(pg_catalog.=) $1 "
						"RETURNING id, queue_id, priority, max_attempts, "
						"dispatched_at, task, correlation_id, retry_delay, "
						"timeout, args",
						1, types, &value, NULL, SPI_OK_DELETE_RETURNING) > 0;
	if (found)
	{
		MemoryContext mine = MemoryContextSwitchTo(old);

		read_dead_letter(task);
		MemoryContextSwitchTo(mine);
	}
	atq_spi_end(&spi);
	return found;
}

/* From the row that take_dead_letter's statement returned. */
static void
read_dead_letter(AtqTask *task)
{
	bool		isnull;
	Datum		args;

	memset(task, 0, sizeof(AtqTask));
	task->id = DatumGetInt64(look_column(0, &isnull));
	task->queue_id = DatumGetInt32(look_column(1, &isnull));
	task->priority = DatumGetInt32(look_column(2, &isnull));
	task->max_attempts = DatumGetInt32(look_column(3, &isnull));
	if (isnull)
		task->max_attempts = -1;
	task->dispatched_at = DatumGetTimestampTz(look_column(4, &isnull));
	task->task = look_text(5);
	task->correlation_id = look_text(6);
	task->retry_delay_us = look_interval_us(7);
	task->timeout_us = look_interval_us(8);
	args = look_column(9, &isnull);
	task->args = atq_type_span(PointerGetDatum(PG_DETOAST_DATUM_COPY(args)));
}

/* Column of SPI's first row, counted from 0. */
static Datum
look_column(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						 column + 1, isnull);
}

/* A text of that row, palloc'd, or NULL. */
static char *
look_text(int column)
{
	bool		isnull;
	Datum		value = look_column(column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* An interval of that row; -1 stands for null. */
static int64
look_interval_us(int column)
{
	bool		isnull;
	Datum		value = look_column(column, &isnull);

	return isnull ? -1 : atq_interval_us(DatumGetIntervalP(value));
}

/* A timeout that is NULL is none. */
PG_FUNCTION_INFO_V1(atq_sql_wait);

Datum
atq_sql_wait(PG_FUNCTION_ARGS)
{
	Wait		wait = {0};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	wait.id = PG_GETARG_INT64(0);
	wait.timeout_us = PG_ARGISNULL(1) ? PG_INT64_MAX :
		atq_interval_us(PG_GETARG_INTERVAL_P(1));
	if (wait.timeout_us < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	check_may_wait(wait.id);
	wait.deadline = deadline_after(wait.timeout_us);
	wait_until_settled(&wait);
	flush_outcome();
	return wait_result(fcinfo, &wait);
}

static void
check_may_wait(int64 id)
{
	PreventCommandIfParallelMode("wait()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot wait for a task in a transaction that keeps its snapshot"),
				 errhint("Call wait() in a READ COMMITTED transaction.")));
	if (atq_attempt_current != NULL && atq_attempt_current->task.id == id)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("task " INT64_FORMAT " cannot wait for itself", id)));
}

static TimestampTz
deadline_after(int64 timeout_us)
{
	TimestampTz deadline;

	if (pg_add_s64_overflow(GetCurrentTimestamp(), timeout_us, &deadline))
		return DT_NOEND;
	return deadline;
}

/*
 * Returns when the task has ended, with what was left of it in wait->look;
 * throws when it has not by the deadline.
 */
static void
wait_until_settled(Wait *wait)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "asynctasq wait",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	pg_atomic_fetch_add_u32(&atq_shared->waiters, 1);
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	{
		ConditionVariablePrepareToSleep(&atq_shared->settled);
		while (!has_settled(wait))
		{
			sleep_until_told(wait);
			MemoryContextReset(context);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	stop_waiting(0, (Datum) 0);
	MemoryContextSwitchTo(old);
}

/*
 * The row goes when the outcome commits, the slot is cleared afterwards and
 * once the outcome's place in the WAL is known: both are asked, in this
 * order.
 */
static bool
has_settled(Wait *wait)
{
	wait->found = look_up(wait->id, false, &wait->look);
	if (!wait->found || wait->look.place != PLACE_TASK)
		return !is_running(wait->id);
	if (TransactionIdIsCurrentTransactionId(wait->look.xmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("task " INT64_FORMAT " was dispatched by this transaction",
						wait->id),
				 errhint("It cannot start before this transaction commits: call wait() afterwards.")));
	return false;
}

/* True when a worker runs the task and the caller may see it. */
static bool
is_running(int64 id)
{
	AtqSlot		slot;

	return atq_slot_holding(MyDatabaseId, id, &slot) >= 0 &&
		may_see(slot.role);
}

/*
 * Neither SPI nor a snapshot of ours is held meanwhile.  Throws at the
 * deadline.
 */
static void
sleep_until_told(Wait *wait)
{
	static uint32 wait_event = 0;
	TimestampTz now = GetCurrentTimestamp();
	long		ms = WAIT_LOOK_MS;

	wait->deadline = Min(wait->deadline, deadline_after(wait->timeout_us));
	if (now >= wait->deadline)
		fail_timeout(wait);
	if (wait_event == 0)
		wait_event = atq_wait_event("AsynctasqWait");
	if (wait->deadline != DT_NOEND)
		ms = Min(ms, TimestampDifferenceMilliseconds(now, wait->deadline));
	(void) ConditionVariableTimedSleep(&atq_shared->settled, Max(ms, 1),
									   wait_event);
}

/* However the wait ends; also when the process exits. */
static void
stop_waiting(int code, Datum arg)
{
	ConditionVariableCancelSleep();
	pg_atomic_fetch_sub_u32(&atq_shared->waiters, 1);
}

static void
fail_timeout(const Wait *wait)
{
	int64		ms = wait->timeout_us / 1000;
	bool		seconds = ms % 1000 == 0;

	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("task " INT64_FORMAT " has not ended within " INT64_FORMAT " %s",
					wait->id, seconds ? ms / 1000 : ms,
					seconds ? "s" : "ms"),
			 errhint("Call wait() again, or with a longer timeout.")));
}

static void
flush_outcome(void)
{
	XLogRecPtr	commit = pg_atomic_read_u64(&atq_shared->last_commit);

	if (!XLogRecPtrIsInvalid(commit) && !RecoveryInProgress())
		XLogFlush(commit);
}

/* The kept result or null; throws for a task that did not succeed. */
static Datum
wait_result(FunctionCallInfo fcinfo, const Wait *wait)
{
	const TaskLook *look = &wait->look;
	char	   *status;

	if (!wait->found)
		PG_RETURN_NULL();
	if (look->place == PLACE_DEAD_LETTER)
		fail_as_task(wait->id, DatumGetJsonbP(look->values[INFO_ERROR]));
	status = TextDatumGetCString(look->values[INFO_STATUS]);
	if (strcmp(status, "cancelled") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("task " INT64_FORMAT " was cancelled", wait->id)));
	if (look->nulls[INFO_RESULT])
		PG_RETURN_NULL();
	PG_RETURN_DATUM(look->values[INFO_RESULT]);
}

/* Throws the error that made the task a dead letter. */
static void
fail_as_task(int64 id, Jsonb *error)
{
	char	   *message = error_text(error, "message");
	char	   *detail = error_text(error, "detail");
	char	   *hint = error_text(error, "hint");

	ereport(ERROR,
			(errcode(error_sqlstate(error)),
			 message ? errmsg("task " INT64_FORMAT " failed: %s", id, message)
			 : errmsg("task " INT64_FORMAT " failed", id),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

static int
error_sqlstate(Jsonb *error)
{
	char	   *state = error_text(error, "sqlstate");

	if (state == NULL || strlen(state) != 5 ||
		strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 ||
		strncmp(state, "00", 2) == 0)
		return ERRCODE_INTERNAL_ERROR;
	return MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
}

/* A string of the error object, palloc'd, or NULL. */
static char *
error_text(Jsonb *error, const char *key)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(error) ||
		getKeyJsonValueFromContainer(&error->root, key, strlen(key),
									 &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}
