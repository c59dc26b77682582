/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The process that keeps workers running.
 *
 * One launcher serves the cluster.  It connects to no database, reads only
 * pg_database, and never touches a task: from shared memory it sees which
 * lanes have work, and it starts and releases workers.
 *
 *	- A lane that has work and no worker gets one at once.
 *	- A lane whose workers are all busy gets another one when its work has
 *	  waited for BACKLOG_MS, or they have found work whenever they looked for
 *	  that long, up to asynctasq.workers_per_lane.
 *	- Workers above that number, after it was lowered, are asked to leave.
 *	- When all slots are taken, an idle worker of another lane is asked to
 *	  leave, else the one that has served longest, after SHARE_MS, so that no
 *	  lane waits for another's backlog to end.  So it is when the server has no
 *	  background worker left.
 *	- Every asynctasq.sweep_interval each database known to have the extension
 *	  gets a scanner (scanner.c), and once after the launcher's start all do.
 *	  Scanners use a slot that workers never use, one at a time.
 *
 * It sleeps on its latch until the next of these times.  Workers are dynamic
 * and are never restarted by the postmaster: a worker that fails at start
 * would be restarted for ever.  Its lane is given a growing pause instead
 * (worker.c, set_backoff).
 *
 * When the server crashes again and again soon after workers were started,
 * the next ones wait (pause_after_crashes_ms).
 *
 * When the launcher itself fails, the postmaster restarts it; it finds the
 * slots as they are and goes on.
 *
 * The clock may be set back.  A time that lies further ahead than anything is
 * put off counts as past, so that nothing waits for the old time to come again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/bgworker_internals.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/evidence.h"
#include "base/guc.h"
#include "base/lane.h"
#include "base/stats.h"
#include "process/launcher.h"
#include "process/worker.h"

#define RESTART_S		5
#define BACKLOG_MS		20
#define SHARE_MS		1000
#define STARVED_MS		50		/* how soon to look again for a free slot */
#define START_RETRY_MS	1000
#define CRASH_PAUSE_MS	1000	/* after the second of several crashes */
#define CRASH_PAUSE_MAX_MS	60000
#define START_LIMIT_MS	60000	/* after which a start is given up */
#define PAUSE_LIMIT_MS	60000	/* the longest that a lane is held or paused */

/* What the launcher sees of a lane in one turn. */
typedef struct LaneView
{
	Oid			database;
	Oid			role;
	bool		work;
	TimestampTz next_due;
	TimestampTz not_before;
	TimestampTz pending_since;
	TimestampTz work_since;
	int			workers;
	bool		spare;			/* one of them is idle or starting */
	TimestampTz busy_since;		/* start of the longest running task */
} LaneView;

/* Handles of the workers started by this launcher, by slot. */
static BackgroundWorkerHandle **handles = NULL;
static bool warned = false;
static int	last_served = 0;	/* the lane that got the last worker */

static bool is_registered(const char *name);
static void clear_procno(int code, Datum arg);
static int	pause_after_crashes_ms(void);
static void scan_databases(void);
static List *list_databases(void);
static bool accepts_connections(Form_pg_database database);
static void forget_dropped(List *databases);
static TimestampTz serve_lanes(TimestampTz now);
static bool view_lane(int lane, TimestampTz now, LaneView *view);
static void view_slots(int lane, LaneView *view);
static TimestampTz serve_lane(int lane, const LaneView *view,
							  TimestampTz now);
static void release_surplus(int lane);
static bool may_connect(int lane, const LaneView *view);
static int	find_slot(bool scanner);
static bool start_worker(int lane, int slot, const LaneView *view);
static bool is_lane(int i, const LaneView *view);
static bool make_room(int lane, TimestampTz now);
static void free_slot(int slot, bool failed);
static void reap_failed_starts(TimestampTz now);
static void remove_absent(void);

void
atq_launcher_init(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = RESTART_S;
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "asynctasq");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "atq_launcher_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "asynctasq launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, "asynctasq launcher");
	RegisterBackgroundWorker(&worker);
	if (!is_registered(worker.bgw_name))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("asynctasq launcher cannot be started: no background worker slot is free"),
				 errdetail("Tasks can be dispatched, but none will run."),
				 errhint("Increase max_worker_processes and restart the server.")));
}

/* In the postmaster; the server's own message about a refusal has no name. */
static bool
is_registered(const char *name)
{
	AtqWorkerIter iter;

	atq_worker_foreach(iter)
	{
		if (strcmp(atq_worker_at(iter)->bgw_name, name) == 0)
			return true;
	}
	return false;
}

void
atq_launcher_main(Datum arg)
{
	TimestampTz last_scan = 0;
	TimestampTz begin;
	int			pause_ms;
	uint32		none = PG_UINT32_MAX;
	uint32		wait_event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	handles = MemoryContextAllocZero(TopMemoryContext,
									 sizeof(BackgroundWorkerHandle *) *
									 atq_shared->nslots);
	wait_event = atq_wait_event("AsynctasqLauncherMain");
	if (!pg_atomic_compare_exchange_u32(&atq_shared->launcher_procno, &none,
										atq_my_procno()))
	{
		ereport(LOG, (errmsg("asynctasq launcher is running already")));
		proc_exit(0);
	}
	on_shmem_exit(clear_procno, (Datum) 0);

	pause_ms = pause_after_crashes_ms();
	begin = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause_ms);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz next_scan;
		TimestampTz wake;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		reap_failed_starts(now);
		remove_absent();
		if (last_scan > now)
			last_scan = 0;
		if (begin <= now)
			begin = 0;
		begin = Min(begin, TimestampTzPlusMilliseconds(now, pause_ms));
		next_scan = last_scan + atq_sweep_interval_s * USECS_PER_SEC;
		if (now >= next_scan)
		{
			scan_databases();
			last_scan = now;
			next_scan = now + atq_sweep_interval_s * USECS_PER_SEC;
		}
		wake = now >= begin ? serve_lanes(now) : begin;
		wake = Min(wake, next_scan);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(1, TimestampDifferenceMilliseconds(now, wake)),
						 wait_event);
		ResetLatch(MyLatch);
	}
}

/*
 * A first crash may be anybody's doing; one that follows soon after workers
 * were started again may be a task's.
 */
static int
pause_after_crashes_ms(void)
{
	int			crashes = atq_evidence_crashes();
	int			ms;

	if (crashes < 2)
		return 0;
	ms = Min(CRASH_PAUSE_MS << Min(crashes - 2, 10), CRASH_PAUSE_MAX_MS);
	ereport(LOG,
			(errmsg("server has crashed %d times in a row soon after workers were started: starting none for %d ms",
					crashes, ms)));
	return ms;
}

static void
clear_procno(int code, Datum arg)
{
	pg_atomic_write_u32(&atq_shared->launcher_procno, PG_UINT32_MAX);
}

/*
 * Has databases scanned: those that accept connections since the last time,
 * and those known to have the extension.
 */
static void
scan_databases(void)
{
	static List *known = NIL;
	MemoryContext old;
	List	   *databases;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	databases = list_databases();
	forget_dropped(databases);
	foreach(lc, databases)
	{
		Oid			database = lfirst_oid(lc);
		bool		is_new = !list_member_oid(known, database);
		int			lane = atq_lane_find(database, InvalidOid, is_new);

		if (lane < 0)
			continue;
		SpinLockAcquire(&atq_shared->lanes[lane].mutex);
		if (atq_shared->lanes[lane].pending_since == 0)
			atq_shared->lanes[lane].pending_since = GetCurrentTimestamp();
		SpinLockRelease(&atq_shared->lanes[lane].mutex);
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	list_free(known);
	known = list_copy(databases);
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
}

/* Databases that one can connect to. */
static List *
list_databases(void)
{
	List	   *list = NIL;
	Relation	rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan;
	HeapTuple	tuple;

	PushActiveSnapshot(GetTransactionSnapshot());
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (accepts_connections(database))
			list = lappend_oid(list, database->oid);
	}
	table_endscan(scan);
	PopActiveSnapshot();
	table_close(rel, AccessShareLock);
	return list;
}

/* Not template0, nor what DROP DATABASE has left half way. */
static bool
accepts_connections(Form_pg_database database)
{
	return database->datallowconn &&
		database->datconnlimit != ATQ_INVALID_DATABASE;
}

static void
forget_dropped(List *databases)
{
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		AtqLane    *lane = &atq_shared->lanes[i];

		if (!lane->in_use || list_member_oid(databases, lane->database))
			continue;
		atq_stats_forget(lane->database);
		atq_lane_forget(lane->database);
	}
}

/*
 * Starts what has to be started; returns when to look again.  Lanes take
 * turns: a slot that has become free is for those behind the lane that was
 * given the last one.
 */
static TimestampTz
serve_lanes(TimestampTz now)
{
	TimestampTz wake = DT_NOEND;

	if (!atq_enabled)
		return wake;
	for (int n = 1; n <= ATQ_MAX_LANES; n++)
	{
		int			i = (last_served + n) % ATQ_MAX_LANES;
		LaneView	view;
		TimestampTz again;

		if (!view_lane(i, now, &view))
			continue;
		again = serve_lane(i, &view, now);
		wake = Min(wake, again);
	}
	return wake;
}

static bool
view_lane(int i, TimestampTz now, LaneView *view)
{
	AtqLane    *lane = &atq_shared->lanes[i];

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	if (!lane->in_use)
	{
		LWLockRelease(atq_shared->lock);
		return false;
	}
	view->database = lane->database;
	view->role = lane->role;
	SpinLockAcquire(&lane->mutex);
	view->next_due = lane->next_due;
	view->not_before = lane->not_before;
	view->pending_since = lane->pending_since;
	view->work_since = lane->work_since;
	SpinLockRelease(&lane->mutex);
	view->work = false;
	view_slots(i, view);
	LWLockRelease(atq_shared->lock);
	view->work |= atq_lane_has_work(i, now);
	return true;
}

/* The lock is held. */
static void
view_slots(int lane, LaneView *view)
{
	view->workers = 0;
	view->spare = false;
	view->busy_since = DT_NOEND;
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];

		if (slot->lane != lane)
			continue;
		view->workers++;
		SpinLockAcquire(&slot->mutex);
		if (slot->state != ATQ_SLOT_BUSY)
			view->spare = true;
		else if (slot->unrun_id != ATQ_ID_NONE)
			view->work = true;
		if (slot->state == ATQ_SLOT_BUSY && slot->task_id != 0)
			view->busy_since = Min(view->busy_since, slot->task_started_at);
		SpinLockRelease(&slot->mutex);
	}
}

/* Starts a worker for the lane if it needs one; returns when to look again. */
static TimestampTz
serve_lane(int i, const LaneView *view, TimestampTz now)
{
	bool		scanner = !OidIsValid(view->role);
	TimestampTz since;
	int			slot;

	if (!scanner && view->workers > atq_workers_per_lane)
		release_surplus(i);
	if (!view->work)
		return view->workers == 0 ? view->next_due : DT_NOEND;
	if (view->spare || view->workers >= (scanner ? 1 : atq_workers_per_lane))
		return DT_NOEND;
	if (view->not_before > now &&
		view->not_before <= TimestampTzPlusMilliseconds(now, PAUSE_LIMIT_MS))
		return view->not_before;
	if (view->workers > 0)
	{
		since = view->busy_since != DT_NOEND ? view->busy_since : now;
		if (view->pending_since != 0)
			since = Min(since, view->pending_since);
		if (view->work_since != 0)
			since = Min(since, view->work_since);
		if (since <= now && !TimestampDifferenceExceeds(since, now, BACKLOG_MS))
			return TimestampTzPlusMilliseconds(now, BACKLOG_MS);
	}
	if (!may_connect(i, view))
		return DT_NOEND;
	slot = find_slot(scanner);
	if (slot < 0)
	{
		if (!scanner && view->workers == 0)
			(void) make_room(i, now);
		return TimestampTzPlusMilliseconds(now, STARVED_MS);
	}
	if (!start_worker(i, slot, view))
		return TimestampTzPlusMilliseconds(now, view->workers == 0 &&
										   make_room(i, now) ?
										   STARVED_MS : START_RETRY_MS);
	if (!scanner)
		last_served = i;
	return DT_NOEND;
}

/* There may be fewer workers than when these were started. */
static void
release_surplus(int lane)
{
	int			n = 0;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];

		if (slot->lane == lane && !slot->release &&
			++n > atq_workers_per_lane)
			atq_slot_release(slot);
	}
	LWLockRelease(atq_shared->lock);
}

/* Parks a lane whose role or database is out of reach. */
static bool
may_connect(int lane, const LaneView *view)
{
	uint32		mark = atq_lane_mark(lane);
	const char *reason = NULL;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(view->database));
	if (!HeapTupleIsValid(tuple))
		reason = "the database does not exist";
	else
	{
		if (!accepts_connections((Form_pg_database) GETSTRUCT(tuple)))
			reason = "the database does not accept connections";
		ReleaseSysCache(tuple);
	}
	if (reason == NULL && OidIsValid(view->role) &&
		!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(view->role)))
		reason = "the role does not exist";
	if (reason != NULL)
		atq_lane_park(lane, mark);
	if (reason != NULL && OidIsValid(view->role))
		ereport(LOG,
				(errmsg("tasks of role %u in database %u do not run: %s",
						view->role, view->database, reason)));
	CommitTransactionCommand();
	return reason == NULL;
}

/* The last slot is the scanners'. */
static int
find_slot(bool scanner)
{
	int			found = -1;
	int			last = atq_shared->nslots - 1;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = scanner ? last : 0; i < (scanner ? last + 1 : last); i++)
	{
		if (atq_shared->slots[i].lane < 0)
		{
			found = i;
			break;
		}
	}
	LWLockRelease(atq_shared->lock);
	return found;
}

static bool
start_worker(int lane, int slot_index, const LaneView *view)
{
	AtqSlot    *slot = &atq_shared->slots[slot_index];
	const char *kind = OidIsValid(view->role) ? "worker" : "scanner";
	BackgroundWorker worker;
	AtqWorkerStart start;
	bool		started;

	start.slot = slot_index;
	start.database = view->database;
	start.role = view->role;
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	if (!is_lane(lane, view))
	{
		LWLockRelease(atq_shared->lock);
		return true;
	}
	start.generation = ++slot->generation;
	slot->lane = lane;
	slot->database = view->database;
	slot->role = view->role;
	SpinLockAcquire(&slot->mutex);
	slot->state = ATQ_SLOT_STARTING;
	slot->pid = 0;
	slot->release = false;
	slot->task_id = 0;
	slot->settling_id = 0;
	slot->queue_id = 0;
	slot->unrun_id = ATQ_ID_NONE;
	slot->started_at = GetCurrentTimestamp();
	SpinLockRelease(&slot->mutex);
	LWLockRelease(atq_shared->lock);

	if (OidIsValid(view->role))
		atq_evidence_worker_started(GetCurrentTimestamp());
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "asynctasq");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "atq_worker_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "asynctasq %s %d", kind,
			 slot_index + 1);
	snprintf(worker.bgw_type, BGW_MAXLEN, "asynctasq %s", kind);
	memcpy(worker.bgw_extra, &start, sizeof(start));
	if (handles[slot_index] != NULL)
		pfree(handles[slot_index]);
	handles[slot_index] = NULL;
	MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&worker, &handles[slot_index]);
	if (!started)
	{
		free_slot(slot_index, false);
		if (!warned)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("could not start an asynctasq worker: no background worker slot is free"),
					 errhint("Consider increasing max_worker_processes.")));
	}
	warned = !started;
	return started;
}

/* False where the lane has made room for another one; the lock is held. */
static bool
is_lane(int i, const LaneView *view)
{
	const AtqLane *lane = &atq_shared->lanes[i];

	return lane->in_use && lane->database == view->database &&
		lane->role == view->role;
}

/*
 * Asks a worker of another lane to give its slot back, and its process: an idle
 * one, else the one that has served longest, if it has had its share.  False
 * where there is none, or one has been asked that has not left yet.
 */
static bool
make_room(int lane, TimestampTz now)
{
	AtqSlot    *victim = NULL;
	bool		victim_idle = false;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < atq_shared->nslots - 1; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];
		bool		idle = slot->state == ATQ_SLOT_IDLE;

		if (slot->lane < 0 || slot->lane == lane ||
			slot->state == ATQ_SLOT_STARTING)
			continue;
		if (slot->release)
		{
			victim = NULL;
			break;
		}
		if (!idle && (victim_idle ||
					  (slot->started_at <= now &&
					   !TimestampDifferenceExceeds(slot->started_at, now,
												   SHARE_MS))))
			continue;
		if (victim == NULL || (idle && !victim_idle) ||
			slot->started_at < victim->started_at)
		{
			victim = slot;
			victim_idle = idle;
		}
	}
	LWLockRelease(atq_shared->lock);
	if (victim != NULL)
		atq_slot_release(victim);
	return victim != NULL;
}

/* Unless its worker has taken it, which gives it back itself. */
static void
free_slot(int i, bool failed)
{
	AtqSlot    *slot = &atq_shared->slots[i];
	AtqLane    *lane;

	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	if (slot->lane < 0 || slot->pid != 0)
	{
		LWLockRelease(atq_shared->lock);
		return;
	}
	lane = &atq_shared->lanes[slot->lane];
	slot->lane = -1;
	slot->generation++;
	slot->state = ATQ_SLOT_FREE;
	SpinLockAcquire(&lane->mutex);
	if (failed)
		lane->not_before = Max(lane->not_before,
							   TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														   START_RETRY_MS));
	SpinLockRelease(&lane->mutex);
	LWLockRelease(atq_shared->lock);
}

/* Takes slots back whose worker ended before it could take them. */
static void
reap_failed_starts(TimestampTz now)
{
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];
		pid_t		pid;

		if (slot->lane < 0 || slot->state != ATQ_SLOT_STARTING)
			continue;
		if (handles[i] != NULL ?
			GetBackgroundWorkerPid(handles[i], &pid) == BGWH_STOPPED :
			TimestampDifferenceExceeds(slot->started_at, now, START_LIMIT_MS))
			free_slot(i, true);
	}
}

/* Databases that turned out not to have the extension are not scanned again. */
static void
remove_absent(void)
{
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		AtqLane    *lane = &atq_shared->lanes[i];

		if (lane->in_use && lane->absent && lane->pending_since == 0)
			atq_lane_forget(lane->database);
	}
}
