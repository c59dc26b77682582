/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  Shared memory of lanes, their lines and the workers' slots.
 *
 * A lane is one (database, role).  Its lines, one for each (queue, priority),
 * say from which id on ready tasks may be found.  A slot is the place of one
 * worker process.  The lane of role InvalidOid is its database's own: its
 * worker is the scanner, which looks for tasks that no commit announced.
 *
 * Locks.  AtqShared.lock (LWLock) guards the set of lanes and lines and each
 * slot's binding to a lane: taken exclusively to add or remove one, shared to
 * walk them.  AtqLane.mutex (spinlock) guards what changes with each dispatch
 * and claim: the fields of the lane and of its lines.  AtqSlot.mutex
 * (spinlock) guards what its worker says of itself.  A spinlock is never held
 * across anything that can throw, and never together with another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_LANE_H
#define ATQ_BASE_LANE_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#define ATQ_MAX_WORKERS 256
#define ATQ_MAX_LANES	512
#define ATQ_MAX_LINES	8192
#define ATQ_MAX_ORPHANS	16
#define ATQ_MAX_MEMBERS	1000	/* tasks that share a transaction */
#define ATQ_NAME_LEN	256		/* handler names, with their NUL */

#define ATQ_ID_NONE		PG_INT64_MAX	/* "no id": above every task's */

/*
 * One (queue, priority).  A claim reads ready ids from Min(cursor, rewind) on
 * and, if nobody claimed meanwhile (claims is unchanged), moves cursor behind
 * what it read.  A commit that brings an id below the cursor lowers rewind;
 * any commit lowers late, counts up announcements and clears drained.  See
 * task/claim.c.
 */
typedef struct AtqLine
{
	int32		queue_id;		/* fixed while in use */
	int32		priority;
	int			next;			/* next line of the lane, or -1 */
	int64		cursor;			/* no ready id below, but for rewind */
	int64		rewind;			/* lowest ready id below the cursor, or
								 * ATQ_ID_NONE */
	int64		late;			/* lowest id announced since the last claim,
								 * or ATQ_ID_NONE */
	uint32		announcements;
	uint32		claims;
	bool		drained;		/* the last claim saw the end */
} AtqLine;

/* Why a worker ended with a task. */
typedef enum AtqOrphanReason
{
	ATQ_ORPHAN_TERMINATED,
	ATQ_ORPHAN_TIMEOUT,			/* the task did not heed its timeout */
	ATQ_ORPHAN_CANCELLED		/* or cancel() */
} AtqOrphanReason;

/*
 * An attempt that its worker, but not the server, did not survive, to be
 * settled by the next.
 */
typedef struct AtqOrphan
{
	int64		task_id;
	int32		queue_id;
	int			attempt;		/* 0 where it is not known */
	TimestampTz started_at;
	AtqOrphanReason reason;
	bool		settling;		/* it had failed, should_retry was called */
} AtqOrphan;

typedef struct AtqLane
{
	bool		in_use;			/* shared lock */
	Oid			database;
	Oid			role;			/* InvalidOid: the database's scanner */
	int			first_line;		/* shared lock; or -1 */

	slock_t		mutex;
	TimestampTz next_due;		/* next delayed task, or DT_NOEND */
	TimestampTz not_before;		/* no worker is started before */
	TimestampTz pending_since;	/* when work was announced to nobody */
	TimestampTz work_since;		/* since when each look for work has found
								 * some, or 0 */
	int			failures;		/* starts that failed in a row */
	bool		absent;			/* scanner: the extension is not here */
	bool		held;			/* scanner: it has said that tasks may not run
								 * here; only it reads and writes this */
	int			norphans;
	AtqOrphan	orphans[ATQ_MAX_ORPHANS];
	pg_atomic_uint32 announcements; /* of all kinds; read without a lock */
} AtqLane;

typedef enum AtqSlotState
{
	ATQ_SLOT_FREE,				/* -> STARTING by the launcher */
	ATQ_SLOT_STARTING,			/* -> IDLE or BUSY by the worker, FREE by it
								 * or the launcher */
	ATQ_SLOT_IDLE,				/* <-> BUSY by the worker */
	ATQ_SLOT_BUSY				/* -> FREE by the worker when it exits */
} AtqSlotState;

typedef struct AtqSlot
{
	int			lane;			/* shared lock; index, -1 when free */
	uint32		generation;		/* shared lock; counts uses of the slot */
	Oid			database;		/* of the lane, for readers */
	Oid			role;

	slock_t		mutex;
	AtqSlotState state;
	int			pid;			/* 0 until the worker has started */
	int			pgprocno;		/* its PGPROC, for its latch */
	bool		release;		/* asked to give its lane's slot back */
	TimestampTz started_at;
	TimestampTz idle_since;
	int64		tasks_done;
	int64		task_id;		/* running now, or 0 */
	int64		settling_id;	/* whose attempt ended with another process
								 * and is being settled, or 0 */
	int32		queue_id;
	int			attempt;		/* of the running task, from 1 */
	TimestampTz task_started_at;
	char		task[ATQ_NAME_LEN]; /* its handler's name */
	int64		cancel_id;		/* the task that cancel() means, or 0; set
								 * before SIGINT is sent, cleared when it
								 * arrives */
	int64		cancelled_id;	/* the task that it has reached */
	TimestampTz stopped_at;		/* when the running task was told to stop, or
								 * 0; set by signal handlers, without lock */
	bool		settling;		/* its failure is being recorded */
	bool		unsettled;		/* see atq_slot_set_unsettled() */
	bool		wanted;			/* another worker has given its row back */
	int			line;			/* of the claimed tasks, or -1 */
	TimestampTz claimed_at;
	int64		unrun_id;		/* first claimed and not yet run, or
								 * ATQ_ID_NONE */
	bool		robbed;			/* an idle worker has been given what was
								 * unrun */
	int			nmembers;		/* tasks that share the running one's
								 * transaction */
	int64		members[ATQ_MAX_MEMBERS];	/* last: see atq_slot_read */
} AtqSlot;

typedef struct AtqShared
{
	LWLock	   *lock;
	pg_atomic_uint64 last_commit;	/* WAL position of the latest outcome */
	pg_atomic_uint32 waiters;	/* backends in wait() */
	ConditionVariable settled;	/* broadcast when waiters > 0 */
	pg_atomic_uint32 launcher_procno;	/* or PG_UINT32_MAX */
	char		padding[PG_CACHE_LINE_SIZE];	/* what follows changes seldom */
	pg_atomic_uint32 unsettled; /* number of slots that are */
	int			nslots;			/* asynctasq.max_workers, and one that only
								 * scanners use, the last */
	AtqLane		lanes[ATQ_MAX_LANES];
	AtqLine		lines[ATQ_MAX_LINES];
	AtqSlot		slots[FLEXIBLE_ARRAY_MEMBER];
} AtqShared;

/* Attached at server start; never NULL in a running backend. */
extern AtqShared *atq_shared;

/* Reserves and creates the shared memory; from _PG_init only. */
extern void atq_lane_init(void);

/*
 * Index of the lane, made when create is set; -1 when there is none or no
 * room for one.
 */
extern int	atq_lane_find(Oid database, Oid role, bool create);

/*
 * Removes the lanes of a database that is gone, with their lines; lanes that
 * still have a worker stay.
 */
extern void atq_lane_forget(Oid database);

/*
 * Tells a lane that a ready task with this id (and maybe others behind it)
 * has come to a queue.  Never throws; called after commit.
 */
extern void atq_lane_announce(int lane, int32 queue_id, int32 priority,
							  int64 id);

/*
 * Tells a lane that a delayed task will be due, and who sleeps until a later
 * one.  Never throws.
 */
extern void atq_lane_announce_due(int lane, TimestampTz due);

/* Wakes an idle worker of the lane, and the launcher if there is none. */
extern void atq_lane_wake(int lane);

/*
 * A worker has claimed, and there is more to do: wakes an idle worker, or the
 * launcher where there may be another one.
 */
extern void atq_lane_share(int lane);

/* Has a database's scanner announce all tasks that it finds. */
extern void atq_lane_scan(Oid database);

/* Asks a database's workers to exit when their task has ended. */
extern void atq_lane_leave(Oid database);

/*
 * The same, and starts none for hold_ms; 0 ends the
 * hold.
 */
extern void atq_lane_hold(Oid database, int hold_ms);

/*
 * Has a lane forget what it was told before the mark was taken, because
 * nothing of it can run: its role, its database or the extension is gone.
 * Where more has been announced since, nothing is forgotten.
 */
extern uint32 atq_lane_mark(int lane);
extern void atq_lane_park(int lane, uint32 mark);

/* Asks a worker to exit when its task has ended. */
extern void atq_slot_release(AtqSlot *slot);

/* Number of a database's workers and scanners. */
extern int	atq_lane_slots(Oid database);

/* True when a worker of the lane would find something to do. */
extern bool atq_lane_has_work(int lane, TimestampTz now);

extern void atq_launcher_wake(void);

/*
 * Copies what a slot's worker says of itself, but for the members'
 * ids, consistently; false when the slot is free.
 */
extern bool atq_slot_read(int slot, AtqSlot *copy);

/*
 * Says, before the row of a task that the slot names can be free, that its
 * attempt is over and has no outcome yet; and when it has, that this is so no
 * more.  To be called by the slot's process alone.
 */
extern void atq_slot_set_unsettled(AtqSlot *slot, bool unsettled);

/*
 * True when the row that has been taken is that of a task of this database
 * that a worker settles; it announces the task again when it has settled it.
 * Asks no other worker's slot as long as none is unsettled.
 */
extern bool atq_slot_want(Oid database, int64 task_id);

/*
 * The same for a task whose outcome waits for the commit of the running one's
 * transaction, or which is that; *copy is the slot as of atq_slot_read.
 */
extern int	atq_slot_holding(Oid database, int64 task_id, AtqSlot *copy);

/*
 * Says that a slot's worker settles a task of its database; false when another
 * one does, or runs it.  It is unsettled then; undone by atq_slot_settled().
 */
extern bool atq_slot_settle(AtqSlot *slot, int64 task_id);

/* True when another worker has wanted the task meanwhile. */
extern bool atq_slot_settled(AtqSlot *slot);

/* Whether a slot holds the task; its mutex must be held. */
extern bool atq_slot_holds(const AtqSlot *slot, int64 task_id);

#endif							/* ATQ_BASE_LANE_H */
