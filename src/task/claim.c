/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  Choosing the next tasks of a lane.
 *
 * Claiming writes nothing to any table.  A line's cursor in shared memory is
 * the id below which no ready task is known; claiming means to read the next
 * ids from there and to move the cursor behind them:
 *
 *	1. Under the lane's spinlock, note cursor, rewind, announcements and
 *	   claims.
 *	2. Take a snapshot.  Who announced before step 1 has committed before it
 *	   and is seen.
 *	3. Read from Min(cursor, rewind) on.
 *	4. Under the spinlock again: if claims has changed, another worker claimed
 *	   meanwhile, and all starts anew.  Else count claims up and move the
 *	   cursor.  If announcements has changed, an id that was announced since
 *	   step 1 may lie below the new cursor and not have been seen: late, the
 *	   lowest of them, becomes the rewind mark.
 *
 * Nobody waits for anybody: a worker that is stopped between 1 and 4 changes
 * nothing, and nothing is lost when it dies.  What was read is only a hint:
 * the task belongs to who deletes its row (storage.c), so reading an id twice
 * is harmless.
 *
 * A worker that dies or is asked to leave announces the rest of its claim
 * anew (atq_claim_release), and an idle one does so on behalf of another
 * whose current task takes long (atq_claim_steal).
 *
 * The candidates live in the context given to atq_claim_make.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "store/notice.h"
#include "task/claim.h"

/* What a claim noted of its line before it read. */
typedef struct LineMark
{
	int			line;
	int32		priority;
	int64		from;
	int64		cursor;
	uint32		announcements;
	uint32		claims;
} LineMark;

/* How soon to look again for what is due and held by others. */
#define HELD_MS			100

/* Whose tasks are made ready, and how many were due. */
typedef struct Promotion
{
	Oid			role;
	int			ndue;
} Promotion;

/* The queue after which the next claim starts to look. */
static int32 last_queue_id = 0;

static bool claim_queue(AtqClaim *claim, const AtqQueue *queue, int limit);
static bool find_line(int lane, int32 queue_id, LineMark *mark);
static bool settle_claim(int lane, const LineMark *mark, int64 last,
						 bool drained);
static void drain_unclaimable(const AtqClaim *claim);
static bool reserve_place(AtqSlot *slot, const AtqQueue *queue);
static int	promote_queue(const AtqQueue *queue, TimestampTz now);
static void announce_promoted(int32 queue_id, int32 priority, int64 id,
							  void *arg);

AtqClaim *
atq_claim_make(int lane, MemoryContext context)
{
	AtqClaim   *claim = MemoryContextAllocZero(context, sizeof(AtqClaim));

	claim->lane = lane;
	claim->line = -1;
	claim->room = ATQ_CLAIM_WINDOWS * atq_claim_size;
	claim->candidates =
		MemoryContextAlloc(context, sizeof(AtqCandidate) * claim->room);
	return claim;
}

/*
 * Queues take turns: the search starts behind the one served last.  What
 * changed them is known here before what was announced because of that.
 */
bool
atq_claim_next(AtqClaim *claim, AtqSlot *slot, int limit, int least)
{
	AtqQueue  **queues;
	int			n;
	int			start = 0;

	claim->announcements =
		pg_atomic_read_u32(&atq_shared->lanes[claim->lane].announcements);
	AcceptInvalidationMessages();
	least = Min(least, claim->room);
	limit = Max(least, Min(limit, claim->room));
	n = atq_registry_queues_of(GetUserId(), &queues);
	for (int i = 0; i < n; i++)
	{
		if (queues[i]->id == last_queue_id)
			start = i + 1;
	}
	for (int i = 0; i < n; i++)
	{
		AtqQueue   *queue = queues[(start + i) % n];

		if (queue->paused || !reserve_place(slot, queue))
			continue;
		if (claim_queue(claim, queue,
						queue->max_concurrency > 0 ? least : limit))
		{
			last_queue_id = queue->id;
			return true;
		}
	}
	SpinLockAcquire(&slot->mutex);
	slot->queue_id = 0;
	SpinLockRelease(&slot->mutex);
	drain_unclaimable(claim);
	return false;
}

/*
 * Lines of queues that are paused or gone have nothing for this lane until
 * they are announced again; else idle workers would come back to them for
 * ever.  Those of queues at their limit of concurrency stay.
 */
static void
drain_unclaimable(const AtqClaim *claim)
{
	AtqLane    *lane = &atq_shared->lanes[claim->lane];
	AtqQueue  **queues;
	int			n = atq_registry_queues_of(GetUserId(), &queues);

	LWLockAcquire(atq_shared->lock, LW_SHARED);
	SpinLockAcquire(&lane->mutex);
	if (pg_atomic_read_u32(&lane->announcements) == claim->announcements)
	{
		for (int i = lane->first_line; i >= 0; i = atq_shared->lines[i].next)
		{
			AtqLine    *line = &atq_shared->lines[i];
			bool		claimable = false;

			for (int j = 0; j < n && !line->drained; j++)
				claimable |= queues[j]->id == line->queue_id &&
					!queues[j]->paused;
			line->drained = !claimable;
		}
	}
	SpinLockRelease(&lane->mutex);
	LWLockRelease(atq_shared->lock);
}

/* Tries the queue's lines in the order of their priorities. */
static bool
claim_queue(AtqClaim *claim, const AtqQueue *queue, int limit)
{
	LineMark	mark;

	while (find_line(claim->lane, queue->id, &mark))
	{
		int			n;
		int64		last;

		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetLatestSnapshot());
		n = atq_storage_read_ready(queue->durable, queue->id, mark.priority,
								   mark.from, GetActiveSnapshot(),
								   claim->candidates, limit);
		PopActiveSnapshot();
		last = n > 0 ? claim->candidates[n - 1].id : mark.from - 1;
		if (!settle_claim(claim->lane, &mark, last, n < limit) || n == 0)
			continue;
		claim->line = mark.line;
		claim->queue_id = queue->id;
		claim->priority = mark.priority;
		claim->durable = queue->durable;
		claim->next = 0;
		claim->count = n;
		return true;
	}
	return false;
}

/* The first line of a queue, by priority, that may have tasks. */
static bool
find_line(int lane_index, int32 queue_id, LineMark *mark)
{
	AtqLane    *lane = &atq_shared->lanes[lane_index];

	mark->line = -1;
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	SpinLockAcquire(&lane->mutex);
	for (int i = lane->first_line; i >= 0; i = atq_shared->lines[i].next)
	{
		AtqLine    *line = &atq_shared->lines[i];

		if (line->queue_id != queue_id || line->drained)
			continue;
		if (mark->line >= 0 && line->priority > mark->priority)
			continue;
		mark->line = i;
		mark->priority = line->priority;
		mark->cursor = line->cursor;
		mark->from = Min(line->cursor, line->rewind);
		mark->announcements = line->announcements;
		mark->claims = line->claims;
	}
	SpinLockRelease(&lane->mutex);
	LWLockRelease(atq_shared->lock);
	return mark->line >= 0;
}

/*
 * Moves the cursor behind what was read; false when another worker has
 * claimed meanwhile.
 */
static bool
settle_claim(int lane_index, const LineMark *mark, int64 last, bool drained)
{
	AtqLane    *lane = &atq_shared->lanes[lane_index];
	AtqLine    *line = &atq_shared->lines[mark->line];
	bool		won;

	SpinLockAcquire(&lane->mutex);
	won = line->claims == mark->claims;
	if (won)
	{
		bool		quiet = line->announcements == mark->announcements;

		line->claims++;
		line->cursor = Max(line->cursor, last + 1);
		line->rewind = !drained && last + 1 < line->cursor ?
			last + 1 : ATQ_ID_NONE;
		if (!quiet)
			line->rewind = Min(line->rewind, line->late);
		line->late = ATQ_ID_NONE;
		line->drained = drained && quiet;
	}
	SpinLockRelease(&lane->mutex);
	return won;
}

/*
 * Keeps one of a limited queue's places for this worker, by naming the queue
 * in its slot.  A queue without limit needs none.
 */
static bool
reserve_place(AtqSlot *slot, const AtqQueue *queue)
{
	int			taken = 0;

	if (queue->max_concurrency == 0)
		return true;
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot    *other = &atq_shared->slots[i];

		if (other != slot && other->lane >= 0 &&
			other->database == slot->database &&
			other->queue_id == queue->id)
			taken++;
	}
	if (taken < queue->max_concurrency)
		slot->queue_id = queue->id;
	LWLockRelease(atq_shared->lock);
	return taken < queue->max_concurrency;
}

void
atq_claim_release(AtqClaim *claim, AtqSlot *slot)
{
	bool		rest = claim->next < claim->count;

	if (rest)
		atq_lane_announce(claim->lane, claim->queue_id, claim->priority,
						  claim->candidates[claim->next].id);
	claim->next = claim->count = 0;
	SpinLockAcquire(&slot->mutex);
	slot->unrun_id = ATQ_ID_NONE;
	slot->queue_id = 0;
	SpinLockRelease(&slot->mutex);
}

void
atq_claim_drop(AtqClaim *claim)
{
	claim->next = claim->count = 0;
}

bool
atq_claim_overtaken(const AtqClaim *claim)
{
	LineMark	mark;
	uint32		announcements =
		pg_atomic_read_u32(&atq_shared->lanes[claim->lane].announcements);

	if (announcements == claim->announcements)
		return false;
	return find_line(claim->lane, claim->queue_id, &mark) &&
		mark.priority < claim->priority;
}

/*
 * The time of the next due task is forgotten before the tables are read, so
 * that one dispatched meanwhile, which lowers it, is not overwritten.  Rows
 * that others hold, as who cancels a task until his transaction ends, are
 * looked for again a little later.
 */
void
atq_claim_promote_due(int lane_index)
{
	AtqLane    *lane = &atq_shared->lanes[lane_index];
	TimestampTz now = GetCurrentTimestamp();
	bool		kept = atq_registry_keep(true);
	AtqQueue  **queues;
	int			n;

	SpinLockAcquire(&lane->mutex);
	lane->next_due = DT_NOEND;
	SpinLockRelease(&lane->mutex);
	n = atq_registry_queues_of(GetUserId(), &queues);
	for (int i = 0; i < n; i++)
	{
		AtqQueue   *queue = queues[i];
		TimestampTz due;

		PushActiveSnapshot(GetLatestSnapshot());
		due = atq_storage_next_due(queue->durable, queue->id,
								   GetActiveSnapshot());
		if (due <= now)
			due = promote_queue(queue, now) > 0 ? now :
				TimestampTzPlusMilliseconds(now, HELD_MS);
		PopActiveSnapshot();
		if (due != DT_NOEND)
			atq_lane_announce_due(lane_index, due);
	}
	(void) atq_registry_keep(kept);
}

/* How many tasks were made ready; behind many that are held it looks further. */
static int
promote_queue(const AtqQueue *queue, TimestampTz now)
{
	Promotion	promotion = {GetUserId(), 0};
	int			limit = atq_claim_size;
	int			promoted;

	for (;;)
	{
		promotion.ndue = 0;
		promoted = atq_storage_promote_due(queue->durable, queue->id, now,
										   limit, announce_promoted,
										   &promotion);
		if (promoted > 0 || promotion.ndue < limit ||
			limit > PG_INT32_MAX / 4)
			return promoted;
		limit *= 4;
	}
}

/* The lane, our own, is told when the task can be seen. */
static void
announce_promoted(int32 queue_id, int32 priority, int64 id, void *arg)
{
	Promotion  *promotion = arg;

	promotion->ndue++;
	atq_notice_add(promotion->role, queue_id, priority, id, 0);
}

bool
atq_claim_steal(int lane_index, AtqSlot *own, int after_ms)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		stolen = false;

	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot    *slot = &atq_shared->slots[i];
		AtqSlot		copy;

		if (slot == own || !atq_slot_read(i, &copy) ||
			copy.lane != lane_index || copy.unrun_id == ATQ_ID_NONE ||
			(copy.claimed_at <= now &&
			 !TimestampDifferenceExceeds(copy.claimed_at, now, after_ms)))
			continue;
		SpinLockAcquire(&slot->mutex);
		if (slot->unrun_id == copy.unrun_id)
		{
			slot->unrun_id = ATQ_ID_NONE;
			slot->robbed = true;
		}
		SpinLockRelease(&slot->mutex);
		atq_lane_announce(lane_index, atq_shared->lines[copy.line].queue_id,
						  atq_shared->lines[copy.line].priority,
						  copy.unrun_id);
		stolen = true;
	}
	return stolen;
}
