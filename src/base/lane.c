/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  Shared memory of lanes, their lines and the workers' slots.
 *
 * lane.h says which lock guards what.  Lanes and lines live in fixed arrays;
 * a free line has queue_id 0 (ids of queues start at 1) and is found by a
 * scan, because lines are made a few times in the life of a server.  When all
 * are taken, one without tasks is taken away from its lane, which costs that
 * one a look from the first id on when it gets a task again.  So it is with
 * lanes: where all are in use one that has nothing to do makes room.  What does not
 * fit is not lost: the scanner of the database finds the tasks of a lane or
 * line that could not be announced, as soon as there is room.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/lane.h"
#include "base/shmem.h"

AtqShared  *atq_shared = NULL;

static void attach_shared(void *memory, LWLock *lock, bool fresh);
static int	find_lane(Oid database, Oid role);
static int	add_lane(Oid database, Oid role);
static int	free_lane(void);
static bool has_rest(const AtqLane *lane);
static AtqLine *find_line(AtqLane *lane, int32 queue_id, int32 priority);
static AtqLine *add_line(AtqLane *lane, int32 queue_id, int32 priority);
static int	free_line(void);
static int	take_drained_line(AtqLane *lane);
static void drop_lines(AtqLane *lane);
static bool lane_has_slot(int lane);
static bool wake_idle_slot(int lane, int *workers);
static void set_slot_latch(AtqSlot *slot);

void
atq_lane_init(void)
{
	atq_shmem_reserve("asynctasq lanes",
					  offsetof(AtqShared, slots) +
					  (atq_max_workers + 1) * sizeof(AtqSlot),
					  attach_shared);
}

static void
attach_shared(void *memory, LWLock *lock, bool fresh)
{
	atq_shared = memory;
	if (!fresh)
		return;
	atq_shared->lock = lock;
	pg_atomic_init_u64(&atq_shared->last_commit, 0);
	pg_atomic_init_u32(&atq_shared->waiters, 0);
	pg_atomic_init_u32(&atq_shared->unsettled, 0);
	pg_atomic_init_u32(&atq_shared->launcher_procno, PG_UINT32_MAX);
	ConditionVariableInit(&atq_shared->settled);
	atq_shared->nslots = atq_max_workers + 1;
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		SpinLockInit(&atq_shared->lanes[i].mutex);
		pg_atomic_init_u32(&atq_shared->lanes[i].announcements, 0);
	}
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		atq_shared->slots[i].lane = -1;
		SpinLockInit(&atq_shared->slots[i].mutex);
	}
}

int
atq_lane_find(Oid database, Oid role, bool create)
{
	int			lane;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	lane = find_lane(database, role);
	LWLockRelease(atq_shared->lock);
	if (lane >= 0 || !create)
		return lane;

	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	lane = find_lane(database, role);
	if (lane < 0)
		lane = add_lane(database, role);
	LWLockRelease(atq_shared->lock);
	return lane;
}

static int
find_lane(Oid database, Oid role)
{
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		AtqLane    *lane = &atq_shared->lanes[i];

		if (lane->in_use && lane->database == database && lane->role == role)
			return i;
	}
	return -1;
}

/* The lock is held exclusively. */
static int
add_lane(Oid database, Oid role)
{
	int			i = free_lane();
	AtqLane    *lane;

	if (i < 0)
		return -1;
	lane = &atq_shared->lanes[i];
	lane->database = database;
	lane->role = role;
	lane->first_line = -1;
	lane->next_due = DT_NOEND;
	lane->not_before = 0;
	lane->pending_since = 0;
	lane->work_since = 0;
	lane->failures = 0;
	lane->absent = false;
	lane->held = false;
	lane->norphans = 0;
	lane->in_use = true;
	return i;
}

/* A lane that is free, or a role's that has no worker and no work. */
static int
free_lane(void)
{
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		if (!atq_shared->lanes[i].in_use)
			return i;
	}
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		AtqLane    *lane = &atq_shared->lanes[i];

		if (OidIsValid(lane->role) && !lane_has_slot(i) && has_rest(lane))
		{
			drop_lines(lane);
			lane->in_use = false;
			return i;
		}
	}
	return -1;
}

static bool
has_rest(const AtqLane *lane)
{
	bool		rest = lane->norphans == 0 && lane->next_due == DT_NOEND;

	for (int i = lane->first_line; i >= 0 && rest;
		 i = atq_shared->lines[i].next)
		rest = atq_shared->lines[i].drained;
	return rest;
}

void
atq_lane_forget(Oid database)
{
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		AtqLane    *lane = &atq_shared->lanes[i];

		if (!lane->in_use || lane->database != database || lane_has_slot(i))
			continue;
		drop_lines(lane);
		lane->in_use = false;
	}
	LWLockRelease(atq_shared->lock);
}

static void
drop_lines(AtqLane *lane)
{
	int			i = lane->first_line;

	while (i >= 0)
	{
		AtqLine    *line = &atq_shared->lines[i];

		i = line->next;
		line->queue_id = 0;
	}
	lane->first_line = -1;
}

static bool
lane_has_slot(int lane)
{
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		if (atq_shared->slots[i].lane == lane)
			return true;
	}
	return false;
}

void
atq_lane_announce(int lane_index, int32 queue_id, int32 priority, int64 id)
{
	AtqLane    *lane;
	AtqLine    *line;

	if (lane_index < 0)
		return;
	lane = &atq_shared->lanes[lane_index];
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	line = find_line(lane, queue_id, priority);
	if (line == NULL)
	{
		LWLockRelease(atq_shared->lock);
		LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
		line = find_line(lane, queue_id, priority);
		if (line == NULL)
			line = add_line(lane, queue_id, priority);
	}
	if (line != NULL)
	{
		SpinLockAcquire(&lane->mutex);
		if (id < line->cursor)
			line->rewind = Min(line->rewind, id);
		line->late = Min(line->late, id);
		line->announcements++;
		line->drained = false;
		pg_atomic_fetch_add_u32(&lane->announcements, 1);
		SpinLockRelease(&lane->mutex);
	}
	LWLockRelease(atq_shared->lock);
}

static AtqLine *
find_line(AtqLane *lane, int32 queue_id, int32 priority)
{
	for (int i = lane->first_line; i >= 0; i = atq_shared->lines[i].next)
	{
		AtqLine    *line = &atq_shared->lines[i];

		if (line->queue_id == queue_id && line->priority == priority)
			return line;
	}
	return NULL;
}

/*
 * The lock is held exclusively.  A new line's cursor starts at the first id.
 * claims goes on from where it was, so that who claims from a line that is
 * taken away under it finds it changed.
 */
static AtqLine *
add_line(AtqLane *lane, int32 queue_id, int32 priority)
{
	int			i = free_line();
	AtqLine    *line;

	if (i < 0)
		return NULL;
	line = &atq_shared->lines[i];
	SpinLockAcquire(&lane->mutex);
	line->queue_id = queue_id;
	line->priority = priority;
	line->cursor = 0;
	line->rewind = ATQ_ID_NONE;
	line->late = ATQ_ID_NONE;
	line->drained = false;
	line->next = lane->first_line;
	lane->first_line = i;
	SpinLockRelease(&lane->mutex);
	return line;
}

/* A line that is free, or that has no tasks and is taken from its lane. */
static int
free_line(void)
{
	for (int i = 0; i < ATQ_MAX_LINES; i++)
	{
		if (atq_shared->lines[i].queue_id == 0)
			return i;
	}
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		int			line = take_drained_line(&atq_shared->lanes[i]);

		if (line >= 0)
			return line;
	}
	return -1;
}

static int
take_drained_line(AtqLane *lane)
{
	int		   *link = &lane->first_line;
	int			found = -1;

	if (!lane->in_use)
		return -1;
	SpinLockAcquire(&lane->mutex);
	while (*link >= 0 && found < 0)
	{
		AtqLine    *line = &atq_shared->lines[*link];

		if (line->drained && line->rewind == ATQ_ID_NONE)
		{
			found = *link;
			*link = line->next;
			line->queue_id = 0;
			line->claims++;
		}
		else
			link = &line->next;
	}
	SpinLockRelease(&lane->mutex);
	return found;
}

void
atq_lane_announce_due(int lane_index, TimestampTz due)
{
	AtqLane    *lane;
	bool		earlier;

	if (lane_index < 0)
		return;
	lane = &atq_shared->lanes[lane_index];
	SpinLockAcquire(&lane->mutex);
	earlier = due < lane->next_due;
	if (earlier)
		lane->next_due = due;
	pg_atomic_fetch_add_u32(&lane->announcements, 1);
	SpinLockRelease(&lane->mutex);
	if (earlier && !wake_idle_slot(lane_index, NULL))
		atq_launcher_wake();
}

void
atq_lane_wake(int lane_index)
{
	AtqLane    *lane;

	if (lane_index < 0)
		return;
	if (wake_idle_slot(lane_index, NULL))
		return;
	lane = &atq_shared->lanes[lane_index];
	SpinLockAcquire(&lane->mutex);
	if (lane->pending_since == 0)
		lane->pending_since = GetCurrentTimestamp();
	pg_atomic_fetch_add_u32(&lane->announcements, 1);
	SpinLockRelease(&lane->mutex);
	atq_launcher_wake();
}

void
atq_lane_share(int lane)
{
	int			workers;

	if (!wake_idle_slot(lane, &workers) && workers < atq_workers_per_lane)
		atq_launcher_wake();
}

/*
 * The worker marks itself idle before it looks for work a last time, so
 * either it is seen here or it sees the announcement.  When none is idle, says
 * how many workers there are.
 */
static bool
wake_idle_slot(int lane, int *workers)
{
	bool		woken = false;
	int			present = 0;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < atq_shared->nslots && !woken; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];

		if (slot->lane != lane)
			continue;
		present++;
		if (slot->release)
			continue;
		SpinLockAcquire(&slot->mutex);
		woken = slot->state == ATQ_SLOT_IDLE;
		SpinLockRelease(&slot->mutex);
		if (woken)
			set_slot_latch(slot);
	}
	LWLockRelease(atq_shared->lock);
	if (workers != NULL)
		*workers = present;
	return woken;
}

/*
 * Sets the latch of a slot's process.  When the process has gone meanwhile,
 * another one's latch is set, which every process must bear.
 */
static void
set_slot_latch(AtqSlot *slot)
{
	SetLatch(&ProcGlobal->allProcs[slot->pgprocno].procLatch);
}

void
atq_lane_scan(Oid database)
{
	int			lane = atq_lane_find(database, InvalidOid, true);

	atq_lane_wake(lane);
}

void
atq_lane_hold(Oid database, int hold_ms)
{
	TimestampTz until;

	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), hold_ms);
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < ATQ_MAX_LANES; i++)
	{
		AtqLane    *lane = &atq_shared->lanes[i];

		if (!lane->in_use || lane->database != database)
			continue;
		SpinLockAcquire(&lane->mutex);
		lane->not_before = hold_ms > 0 ? until : 0;
		SpinLockRelease(&lane->mutex);
	}
	LWLockRelease(atq_shared->lock);
	if (hold_ms > 0)
		atq_lane_leave(database);
	else
		atq_launcher_wake();
}

void
atq_lane_leave(Oid database)
{
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];

		if (slot->lane >= 0 && slot->database == database)
			atq_slot_release(slot);
	}
	LWLockRelease(atq_shared->lock);
}

void
atq_slot_release(AtqSlot *slot)
{
	int			pid;

	SpinLockAcquire(&slot->mutex);
	slot->release = true;
	pid = slot->pid;
	SpinLockRelease(&slot->mutex);
	if (pid != 0)
		set_slot_latch(slot);
}

int
atq_lane_slots(Oid database)
{
	int			n = 0;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];

		if (slot->lane >= 0 && slot->database == database)
			n++;
	}
	LWLockRelease(atq_shared->lock);
	return n;
}

uint32
atq_lane_mark(int lane)
{
	return pg_atomic_read_u32(&atq_shared->lanes[lane].announcements);
}

void
atq_lane_park(int lane_index, uint32 mark)
{
	AtqLane    *lane = &atq_shared->lanes[lane_index];

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	SpinLockAcquire(&lane->mutex);
	if (pg_atomic_read_u32(&lane->announcements) == mark)
	{
		lane->next_due = DT_NOEND;
		lane->pending_since = 0;
		lane->norphans = 0;
		for (int i = lane->first_line; i >= 0; i = atq_shared->lines[i].next)
		{
			atq_shared->lines[i].cursor = 0;
			atq_shared->lines[i].drained = true;
		}
	}
	SpinLockRelease(&lane->mutex);
	LWLockRelease(atq_shared->lock);
}

bool
atq_lane_has_work(int lane_index, TimestampTz now)
{
	AtqLane    *lane = &atq_shared->lanes[lane_index];
	bool		work;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	SpinLockAcquire(&lane->mutex);
	work = lane->norphans > 0 || lane->next_due <= now;
	for (int i = lane->first_line; i >= 0 && !work;
		 i = atq_shared->lines[i].next)
		work = !atq_shared->lines[i].drained;
	if (!OidIsValid(lane->role))
		work = lane->pending_since != 0;
	SpinLockRelease(&lane->mutex);
	LWLockRelease(atq_shared->lock);
	return work;
}

void
atq_launcher_wake(void)
{
	uint32		procno = pg_atomic_read_u32(&atq_shared->launcher_procno);

	if (procno != PG_UINT32_MAX)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

bool
atq_slot_read(int i, AtqSlot *copy)
{
	AtqSlot    *slot = &atq_shared->slots[i];
	bool		used;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	used = slot->lane >= 0;
	if (used)
	{
		SpinLockAcquire(&slot->mutex);
		memcpy(copy, slot, offsetof(AtqSlot, members));
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(atq_shared->lock);
	return used;
}

void
atq_slot_set_unsettled(AtqSlot *slot, bool unsettled)
{
	if (slot->unsettled == unsettled)
		return;
	slot->unsettled = unsettled;
	if (unsettled)
		pg_atomic_fetch_add_u32(&atq_shared->unsettled, 1);
	else
		pg_atomic_fetch_sub_u32(&atq_shared->unsettled, 1);
}

bool
atq_slot_want(Oid database, int64 task_id)
{
	bool		found = false;

	pg_read_barrier();
	if (pg_atomic_read_u32(&atq_shared->unsettled) == 0)
		return false;
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < atq_shared->nslots && !found; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];

		if (slot->lane < 0 || slot->database != database)
			continue;
		SpinLockAcquire(&slot->mutex);
		found = slot->task_id == task_id || slot->settling_id == task_id;
		slot->wanted |= found;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(atq_shared->lock);
	return found;
}

bool
atq_slot_settle(AtqSlot *slot, int64 task_id)
{
	bool		free = true;

	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < atq_shared->nslots && free; i++)
	{
		AtqSlot    *other = &atq_shared->slots[i];

		if (other == slot || other->lane < 0 ||
			other->database != slot->database)
			continue;
		SpinLockAcquire(&other->mutex);
		free = other->task_id != task_id && other->settling_id != task_id;
		SpinLockRelease(&other->mutex);
	}
	if (free)
	{
		SpinLockAcquire(&slot->mutex);
		slot->settling_id = task_id;
		SpinLockRelease(&slot->mutex);
		atq_slot_set_unsettled(slot, true);
	}
	LWLockRelease(atq_shared->lock);
	return free;
}

bool
atq_slot_settled(AtqSlot *slot)
{
	bool		wanted;

	SpinLockAcquire(&slot->mutex);
	wanted = slot->wanted;
	slot->wanted = false;
	slot->settling_id = 0;
	SpinLockRelease(&slot->mutex);
	atq_slot_set_unsettled(slot, false);
	return wanted;
}

int
atq_slot_holding(Oid database, int64 task_id, AtqSlot *copy)
{
	int			found = -1;

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < atq_shared->nslots && found < 0; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];

		if (slot->lane < 0 || slot->database != database)
			continue;
		SpinLockAcquire(&slot->mutex);
		if (atq_slot_holds(slot, task_id))
		{
			memcpy(copy, slot, offsetof(AtqSlot, members));
			found = i;
		}
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(atq_shared->lock);
	return found;
}

bool
atq_slot_holds(const AtqSlot *slot, int64 task_id)
{
	bool		holds = slot->task_id == task_id;

	for (int i = 0; i < slot->nmembers && !holds; i++)
		holds = slot->members[i] == task_id;
	return holds;
}
