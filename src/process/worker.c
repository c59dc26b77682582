/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The process that runs the tasks of one lane.
 *
 * A worker is bound to one database and one role for all of its life, and
 * connects as that role: its session user is the role, so a handler has
 * nothing to go back to.  It claims tasks, runs each in a transaction of its
 * own, wipes the session, and waits on its latch when there is nothing to do.
 * After asynctasq.worker_idle_timeout it gives its slot back, as it does after
 * asynctasq.worker_max_tasks and when its role has been altered.
 *
 * Its slot says what it does.  The slot is given back by an on_shmem_exit
 * callback, which runs after the transaction under way has been rolled back;
 * there the rest of its claim is announced anew, and if it died running a
 * task, the lane is left a note (an orphan) by which the next worker settles
 * that attempt.  So a FATAL error costs the task an attempt, and nothing
 * else.  In a call for several tasks it costs none of them anything, but each
 * runs alone then.
 *
 * Of a crash of the server the slots do not survive, but the evidence does
 * (base/evidence.c), which workers of the lane settle in the same way.
 *
 * Signals: SIGTERM ends the worker (die), SIGINT cancels the running task if
 * there is one, SIGHUP reloads.  A SIGINT between tasks is ignored, so it
 * cannot hit the next one; one that cancel() sent names its task in the slot.
 *
 * How many tasks it claims at a time follows from how long they take, so
 * that slow ones are not hoarded (CLAIM_MS); but it claims enough to fill a
 * batch where the last handler was called with batches, and twice as many
 * where rows are asked for ahead, so that a batch is there behind the one that
 * runs.
 *
 * Memory: the claim and all else that lasts lives in TopMemoryContext; each
 * turn of the loop runs in "asynctasq worker", reset after it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/evidence.h"
#include "base/guc.h"
#include "process/worker.h"
#include "store/extension.h"
#include "store/home.h"
#include "task/claim.h"
#include "task/prefetch.h"
#include "task/task.h"

#define CLAIM_MS		10		/* how much work to claim at a time */
#define FIRST_CLAIM		10		/* tasks, while their time is not known */
#define STEAL_AFTER_MS	20
#define BACKOFF_MIN_MS	100
#define BACKOFF_MAX_MS	60000

/* A version of the row of pg_authid. */
typedef struct RoleVersion
{
	TransactionId xmin;
	ItemPointerData tid;
} RoleVersion;

/* This process's own. */
static AtqSlot *slot = NULL;
static int	lane = -1;
static AtqClaim *claim = NULL;
static bool connected = false;
static bool ended_well = false;
static double task_ms = 0;		/* moving average */
static int	least_claim = 1;	/* the batch that was run last */
static bool temp_used = false;
static bool careful = false;	/* as of atq_evidence_careful */
static uint32 my_role_hash = 0;
static RoleVersion my_role;
static bool role_is_stale = true;
static AtqOrphan settling = {0};	/* off the lane's list, while it has a task */
static uint32 idle_wait_event = 0;

static bool attach(const AtqWorkerStart *start);
static void break_off(int code, Datum arg);
static void detach(int code, Datum arg);
static void leave_orphan(void);
static void add_orphan(const AtqOrphan *orphan);
static void set_backoff(void);
static void cancel_task(SIGNAL_ARGS);
static void quit_in_crash(SIGNAL_ARGS);
static void connect_to(const AtqWorkerStart *start);
static void watch_role(void);
static void role_changed(Datum arg, int cacheid, uint32 hash);
static void read_role(RoleVersion *version);
static bool role_was_altered(void);
static void apply_settings(void);
static void run_lane(void);
static bool should_exit(void);
static void settle_orphans(void);
static bool take_orphan(void);
static void mark_busy(void);
static void note_work(TimestampTz now);
static bool claim_more(void);
static void run_next(void);
static void note_taken_up(void);
static void note_progress(void);
static void note_claim(TimestampTz now);
static void note_no_work(void);
static bool wait_for_work(void);
static long idle_wait_ms(TimestampTz now, TimestampTz deadline);
static bool sibling_holds_claim(void);
static void mark_idle(void);
static void begin_transaction(void);
static void begin_own_transaction(void);
static void commit_transaction(void);
static void abort_transaction(void);
static void finish_transaction(void);
static bool never(const ErrorData *error);
static void next_in_transaction(void);
static void wipe_session(void);

static AtqRunner worker_runner = {
	.begin = begin_transaction,
	.commit = commit_transaction,
	.abort = abort_transaction,
	.finish = finish_transaction,
	.next = next_in_transaction,
	.rethrow = never
};

void
atq_worker_main(Datum arg)
{
	AtqWorkerStart start;

	memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof(start));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, cancel_task);
	pqsignal(SIGTERM, die);
	pqsignal(SIGQUIT, quit_in_crash);
	BackgroundWorkerUnblockSignals();
	if (!attach(&start))
		proc_exit(0);
	connect_to(&start);
	before_shmem_exit(break_off, (Datum) 0);
	connected = true;
	if (OidIsValid(start.role))
		run_lane();
	else
		atq_scanner_run(lane);
	ended_well = true;
	proc_exit(0);
}

/* Takes the slot that the launcher has prepared; false when it was taken back. */
static bool
attach(const AtqWorkerStart *start)
{
	AtqSlot    *mine = &atq_shared->slots[start->slot];
	bool		ours;

	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	ours = mine->lane >= 0 && mine->generation == start->generation;
	if (ours)
	{
		SpinLockAcquire(&mine->mutex);
		mine->pid = MyProcPid;
		mine->pgprocno = atq_my_procno();
		mine->started_at = mine->idle_since = GetCurrentTimestamp();
		mine->tasks_done = 0;
		mine->task_id = mine->settling_id = 0;
		mine->cancel_id = mine->cancelled_id = 0;
		mine->stopped_at = 0;
		mine->settling = false;
		mine->queue_id = 0;
		mine->unrun_id = ATQ_ID_NONE;
		mine->nmembers = 0;
		mine->robbed = false;
		mine->line = -1;
		SpinLockRelease(&mine->mutex);
		slot = mine;
		lane = mine->lane;
	}
	LWLockRelease(atq_shared->lock);
	if (ours)
		on_shmem_exit(detach, (Datum) 0);
	return ours;
}

/* Before the transaction under way is rolled back. */
static void
break_off(int code, Datum arg)
{
	if (slot->task_id != 0)
		atq_slot_set_unsettled(slot, true);
}

/*
 * However the process ends, short of a crash.  The end of the postmaster is a
 * crash, of which there is evidence.  What it may have been about to announce
 * when it was ended is for a scanner to find.
 */
static void
detach(int code, Datum arg)
{
	leave_orphan();
	if (PostmasterIsAlive())
		atq_evidence_end(slot);
	else
		atq_evidence_told_to_quit(slot);
	LockReleaseAll(DEFAULT_LOCKMETHOD, true);
	if (claim != NULL)
		atq_claim_release(claim, slot);
	set_backoff();
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	SpinLockAcquire(&slot->mutex);
	slot->state = ATQ_SLOT_FREE;
	slot->pid = 0;
	slot->task_id = 0;
	slot->settling_id = 0;
	slot->queue_id = 0;
	slot->release = false;
	SpinLockRelease(&slot->mutex);
	atq_slot_set_unsettled(slot, false);
	slot->lane = -1;
	slot->generation++;
	LWLockRelease(atq_shared->lock);
	if (connected && !ended_well)
		atq_lane_scan(slot->database);
	atq_launcher_wake();
}

static void
leave_orphan(void)
{
	AtqOrphan	orphan;

	if (settling.task_id != 0)
	{
		settling.settling = true;
		add_orphan(&settling);
	}
	SpinLockAcquire(&slot->mutex);
	orphan.task_id = slot->task_id;
	orphan.queue_id = slot->queue_id;
	orphan.attempt = slot->attempt;
	orphan.started_at = slot->task_started_at;
	orphan.settling = slot->settling;
	orphan.reason = ATQ_ORPHAN_TERMINATED;
	if (slot->cancelled_id != 0 && atq_slot_holds(slot, slot->cancelled_id))
	{
		orphan.task_id = slot->cancelled_id;
		orphan.attempt = 0;
		orphan.reason = ATQ_ORPHAN_CANCELLED;
	}
	else if (atq_attempt_timed_out() && !slot->settling)
		orphan.reason = ATQ_ORPHAN_TIMEOUT;
	SpinLockRelease(&slot->mutex);
	if (orphan.task_id == 0)
		return;
	if (orphan.reason != ATQ_ORPHAN_CANCELLED && !orphan.settling &&
		atq_evidence_note_batch(slot))
		return;
	add_orphan(&orphan);
}

static void
add_orphan(const AtqOrphan *orphan)
{
	AtqLane    *mine = &atq_shared->lanes[lane];

	SpinLockAcquire(&mine->mutex);
	if (mine->norphans < ATQ_MAX_ORPHANS)
		mine->orphans[mine->norphans++] = *orphan;
	SpinLockRelease(&mine->mutex);
}

/* A lane whose workers fail gets its next one after a growing pause. */
static void
set_backoff(void)
{
	AtqLane    *mine = &atq_shared->lanes[lane];
	TimestampTz now = GetCurrentTimestamp();
	int			pause_ms = 0;

	SpinLockAcquire(&mine->mutex);
	if (ended_well)
		mine->failures = 0;
	else
	{
		mine->failures = Min(mine->failures + 1, 20);
		pause_ms = BACKOFF_MIN_MS << Min(mine->failures - 1, 10);
		pause_ms = Min(pause_ms, BACKOFF_MAX_MS);
		mine->not_before = Max(mine->not_before,
							   TimestampTzPlusMilliseconds(now, pause_ms));
	}
	SpinLockRelease(&mine->mutex);
}

/*
 * SIGINT, from cancel() with the task it means in the slot, or from anywhere
 * else.  One that comes too late for its task is ignored.  The slot is read
 * without its lock, which a signal handler cannot take: only this process
 * writes task_id and the members, and cancel_id is set before the signal is
 * sent.
 */
static void
cancel_task(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (slot != NULL && slot->task_id != 0 && !proc_exit_inprogress &&
		(slot->cancel_id == 0 || atq_slot_holds(slot, slot->cancel_id)))
	{
		slot->cancelled_id = slot->cancel_id;
		if (slot->cancel_id != 0)
			atq_attempt_stop(slot);
		InterruptPending = true;
		QueryCancelPending = true;
	}
	if (slot != NULL)
		slot->cancel_id = 0;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* SIGQUIT: another process has crashed, or the server stops at once. */
static void
quit_in_crash(SIGNAL_ARGS)
{
	if (slot != NULL)
		atq_evidence_told_to_quit(slot);
	SignalHandlerForCrashExit(postgres_signal_arg);
}

static void
connect_to(const AtqWorkerStart *start)
{
	BackgroundWorkerInitializeConnectionByOid(start->database, start->role,
											  OidIsValid(start->role) ?
											  ATQ_BYPASS_LOGIN_CHECK : 0);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_type,
					PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_OVERRIDE);
	atq_disable_transaction_timeout();
	apply_settings();
}

static void
watch_role(void)
{
	begin_transaction();
	my_role_hash = GetSysCacheHashValue1(AUTHOID,
										 ObjectIdGetDatum(slot->role));
	CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
	read_role(&my_role);
	CommitTransactionCommand();
}

static void
role_changed(Datum arg, int cacheid, uint32 hash)
{
	if (hash == 0 || hash == my_role_hash)
		role_is_stale = true;
}

/* Which version of the role's row there is; no row is a version too. */
static void
read_role(RoleVersion *version)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID,
										ObjectIdGetDatum(slot->role));

	memset(version, 0, sizeof(*version));
	if (!HeapTupleIsValid(tuple))
		return;
	version->xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	version->tid = tuple->t_self;
	ReleaseSysCache(tuple);
}

/*
 * What the role may do is partly settled when a session begins, so the next
 * tasks are for another worker.  Not where only a cache was emptied: that may
 * be as often as there are tasks.
 */
static bool
role_was_altered(void)
{
	RoleVersion now;

	if (!role_is_stale)
		return false;
	begin_transaction();
	role_is_stale = false;
	read_role(&now);
	CommitTransactionCommand();
	return now.xmin != my_role.xmin ||
		!ItemPointerEquals(&now.tid, &my_role.tid);
}

/*
 * Tasks write, whatever the default of their database or role.  One may do
 * harm that crashes the server when it has committed.  So that it does not
 * come back each time, while crashes follow each other commits wait for the
 * disk.  Nor is a task looked at then before it has begun, so that whatever it
 * does it is named in the evidence.
 */
static void
apply_settings(void)
{
	careful = atq_evidence_careful();
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("synchronous_commit",
					careful && atq_synchronous_commit == SYNCHRONOUS_COMMIT_OFF ?
					"local" : GetConfigOption("asynctasq.synchronous_commit",
											  false, false),
					PGC_USERSET, PGC_S_SESSION);
}

static void
run_lane(void)
{
	MemoryContext turn = AllocSetContextCreate(TopMemoryContext,
											   "asynctasq worker",
											   ALLOCSET_DEFAULT_SIZES);

	idle_wait_event = atq_wait_event("AsynctasqWorkerIdle");
	worker_runner.slot = slot;
	claim = atq_claim_make(lane, TopMemoryContext);
	watch_role();
	while (!should_exit())
	{
		MemoryContextSwitchTo(turn);
		MemoryContextReset(turn);
		settle_orphans();
		if (claim->next < claim->count)
			run_next();
		else if (!claim_more() && !wait_for_work())
			break;
	}
}

static bool
should_exit(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		apply_settings();
	}
	else if (careful && !atq_evidence_careful())
		apply_settings();
	return !atq_enabled || slot->release ||
		(atq_worker_max_tasks > 0 && slot->tasks_done >= atq_worker_max_tasks) ||
		role_was_altered();
}

/*
 * Settles what workers of this lane left when they or the server died.  Hooks
 * of handlers may take long, so whoever has work for the lane must not count
 * on this worker meanwhile.
 */
static void
settle_orphans(void)
{
	AtqCrashed	crashed = {0};

	while (atq_evidence_next(slot->database, slot->role, crashed.task_id,
							 &crashed))
	{
		mark_busy();
		atq_task_settle_crashed(&worker_runner, &crashed);
	}

	while (take_orphan())
	{
		mark_busy();
		atq_task_settle_orphan(&worker_runner, &settling);
		settling.task_id = 0;
	}
}

static void
mark_busy(void)
{
	SpinLockAcquire(&slot->mutex);
	slot->state = ATQ_SLOT_BUSY;
	SpinLockRelease(&slot->mutex);
	note_work(GetCurrentTimestamp());
}

/* Since when the lane has work. */
static void
note_work(TimestampTz now)
{
	AtqLane    *mine = &atq_shared->lanes[lane];

	SpinLockAcquire(&mine->mutex);
	if (mine->work_since == 0)
		mine->work_since = now;
	SpinLockRelease(&mine->mutex);
}

static bool
take_orphan(void)
{
	AtqLane    *mine = &atq_shared->lanes[lane];
	bool		found;

	if (mine->norphans == 0)
		return false;
	SpinLockAcquire(&mine->mutex);
	found = mine->norphans > 0;
	if (found)
		settling = mine->orphans[--mine->norphans];
	SpinLockRelease(&mine->mutex);
	return found;
}

/*
 * Claims the next tasks; false when there are none, or when the extension is
 * not there any more or tasks may not run here.
 */
static bool
claim_more(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			limit = FIRST_CLAIM;
	int			least;
	int			windows = 1;
	uint32		mark;
	bool		found = false;

	atq_prefetch_forget();
	atq_claim_release(claim, slot);
	note_taken_up();
	if (!atq_lane_has_work(lane, now))
	{
		note_no_work();
		return false;
	}
	if (atq_prefetch_is_on())
		windows = ATQ_CLAIM_WINDOWS;
	if (task_ms > 0)
		limit = (int) Max(1, Min(CLAIM_MS / task_ms, claim->room));
	limit = Min(limit, windows * claim->room / ATQ_CLAIM_WINDOWS);
	least = Min(least_claim, claim->room / ATQ_CLAIM_WINDOWS);
	if (least > 1)
		least *= windows;
	mark = atq_lane_mark(lane);
	begin_own_transaction();
	if (!atq_registry_installed() || !atq_home_is_here())
	{
		atq_lane_park(lane, mark);
		slot->release = true;
	}
	else
	{
		if (atq_shared->lanes[lane].next_due <= now)
		{
			atq_claim_promote_due(lane);
			CommitTransactionCommand();
			begin_own_transaction();
		}
		found = atq_claim_next(claim, slot, limit, least);
	}
	CommitTransactionCommand();
	note_progress();
	if (found)
		note_claim(now);
	else
		note_no_work();
	return found;
}

/*
 * What this worker leaves, or may be long in coming to, is work for an idle
 * one, or in time for one that is started.  So is what siblings have claimed
 * and not yet run: this one, had it stayed idle, would have taken it over.
 */
static void
note_claim(TimestampTz now)
{
	SpinLockAcquire(&slot->mutex);
	slot->state = ATQ_SLOT_BUSY;
	slot->claimed_at = now;
	slot->unrun_id = claim->candidates[0].id;
	slot->line = claim->line;
	slot->robbed = false;
	SpinLockRelease(&slot->mutex);
	note_work(now);
	if (claim->count > 1 || atq_lane_has_work(lane, now) ||
		sibling_holds_claim())
		atq_lane_share(lane);
}

static void
note_no_work(void)
{
	AtqLane    *mine = &atq_shared->lanes[lane];

	SpinLockAcquire(&mine->mutex);
	mine->work_since = 0;
	SpinLockRelease(&mine->mutex);
}

/* What was announced to nobody has found somebody. */
static void
note_taken_up(void)
{
	AtqLane    *mine = &atq_shared->lanes[lane];

	SpinLockAcquire(&mine->mutex);
	mine->pending_since = 0;
	SpinLockRelease(&mine->mutex);
}

/* The lane works: it is in no need of a pause. */
static void
note_progress(void)
{
	AtqLane    *mine = &atq_shared->lanes[lane];

	SpinLockAcquire(&mine->mutex);
	mine->failures = 0;
	SpinLockRelease(&mine->mutex);
}

static void
run_next(void)
{
	TimestampTz before = GetCurrentTimestamp();
	AtqRun		run = {0};
	int			done;

	if (slot->robbed)
	{
		atq_claim_drop(claim);
		return;
	}
	if (!careful)
		atq_prefetch_ask(&worker_runner, claim->durable,
						 &claim->candidates[claim->next],
						 claim->count - claim->next, least_claim);
	done = atq_task_run(&worker_runner, claim->durable,
						&claim->candidates[claim->next],
						claim->count - claim->next, &run);
	if (run.moved)
		atq_claim_release(claim, slot);
	else
		claim->next += done;
	if (run.ended > 0)
	{
		double		ms = (GetCurrentTransactionStopTimestamp() - before) /
			1000.0 / run.ended;

		task_ms = task_ms == 0 ? ms : task_ms * 0.8 + ms * 0.2;
		least_claim = Max(1, run.batch_size);
	}
	pgstat_report_stat(false);
	if (atq_claim_overtaken(claim))
		atq_claim_release(claim, slot);
}

/*
 * Waits for the latch; false when the worker has been idle long enough.
 * It is marked idle before it looks for work once more, so that whoever
 * announces work either is seen by that look or sees the mark.
 */
static bool
wait_for_work(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline;

	if (slot->state != ATQ_SLOT_IDLE || slot->idle_since > now)
	{
		mark_idle();
		pgstat_report_activity(STATE_IDLE, NULL);
		pgstat_report_stat(true);
	}
	ResetLatch(MyLatch);
	if (claim_more() || slot->release)
		return true;
	deadline = TimestampTzPlusMilliseconds(slot->idle_since,
										   atq_worker_idle_timeout_ms);
	if (now >= deadline && atq_shared->lanes[lane].next_due > deadline)
	{
		if (atq_shared->lanes[lane].next_due == DT_NOEND)
			atq_evidence_clear_suspects(slot->database, slot->role);
		return false;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 idle_wait_ms(now, deadline), idle_wait_event);
	if (sibling_holds_claim())
		(void) atq_claim_steal(lane, slot, STEAL_AFTER_MS);
	return true;
}

/* Until the idle timeout, the next due task, or a look at the siblings. */
static long
idle_wait_ms(TimestampTz now, TimestampTz deadline)
{
	TimestampTz due = atq_shared->lanes[lane].next_due;
	TimestampTz until = Max(deadline, now);
	long		ms;

	ms = TimestampDifferenceMilliseconds(now, Min(until, due));
	if (sibling_holds_claim())
		ms = Min(ms, STEAL_AFTER_MS);
	return Max(ms, 1);
}

static bool
sibling_holds_claim(void)
{
	bool		holds = false;

	for (int i = 0; i < atq_shared->nslots && !holds; i++)
	{
		AtqSlot    *other = &atq_shared->slots[i];

		holds = other != slot && other->lane == lane &&
			other->unrun_id != ATQ_ID_NONE;
	}
	return holds;
}

static void
mark_idle(void)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&slot->mutex);
	slot->idle_since = now;
	slot->state = ATQ_SLOT_IDLE;
	SpinLockRelease(&slot->mutex);
}

/*
 * The worker ends here if the extension is gone, or the role, whose lane the
 * launcher parks.
 */
static void
begin_transaction(void)
{
	uint32		mark = atq_lane_mark(lane);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!atq_extension_hold())
		atq_lane_park(lane, mark);
	else if (!role_is_stale ||
			 SearchSysCacheExists1(AUTHOID,
								   ObjectIdGetDatum(GetSessionUserId())))
		return;
	ended_well = true;
	proc_exit(0);
}

/* One in which no user code runs: the role's isolation level is for that. */
static void
begin_own_transaction(void)
{
	begin_transaction();
	XactIsoLevel = XACT_READ_COMMITTED;
}

static void
commit_transaction(void)
{
	CommitTransactionCommand();
	wipe_session();
}

/*
 * What it has done to temporary objects is undone with it, and all locks are
 * released, those of the session too.
 */
static void
abort_transaction(void)
{
	AbortCurrentTransaction();
	atq_extension_released();
	temp_used = false;
	wipe_session();
}

/*
 * What PostgreSQL does first at a commit: deferred triggers run, and cursors
 * WITH HOLD read their rows, until there are no more of either.  At the commit
 * itself no user code is left to run.
 */
static void
finish_transaction(void)
{
	bool		held = false;

	for (;;)
	{
		AfterTriggerFireDeferred();
		if (!PreCommit_Portals(false))
			break;
		held = true;
	}
	if (held)
		PortalHashTableDeleteAll();
	temp_used = (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0;
}

static bool
never(const ErrorData *error)
{
	return false;
}

/*
 * Between two tasks of one transaction: what a task that ended its own would
 * have left behind is gone, and now() is the start of the next one, as is the
 * statement's time.  The server sets them only for a parallel worker, which it
 * tells from this one by ParallelWorkerNumber.
 */
static void
next_in_transaction(void)
{
	int			number = ParallelWorkerNumber;
	TimestampTz now = GetCurrentTimestamp();

	DropAllPreparedStatements();
	ResetSequenceCaches();
	ParallelWorkerNumber = 0;
	SetParallelStartTimestamps(now, now);
	ParallelWorkerNumber = number;
}

/*
 * What DISCARD ALL would do, less what the task's end has done already, after
 * each transaction in which user code may have run.
 */
static void
wipe_session(void)
{
	DropAllPreparedStatements();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetSequenceCaches();
	atq_attempt_forget_seed();
	if (temp_used)
	{
		temp_used = false;
		begin_transaction();
		PushActiveSnapshot(GetTransactionSnapshot());
		ResetTempTableNamespace();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
}
