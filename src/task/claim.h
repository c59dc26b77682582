/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  Choosing the next tasks of a lane.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_CLAIM_H
#define ATQ_TASK_CLAIM_H

#include "base/lane.h"
#include "store/storage.h"

/* How much larger a claim is where tasks are looked at ahead. */
#define ATQ_CLAIM_WINDOWS	2

/* Tasks claimed from one line, and how far they have been run. */
typedef struct AtqClaim
{
	int			lane;
	int			line;			/* -1: nothing claimed yet */
	int32		queue_id;
	int32		priority;
	bool		durable;
	uint32		announcements;	/* of the lane, when it was claimed */
	int			next;			/* first that has not been run */
	int			count;
	AtqCandidate *candidates;	/* room for ATQ_CLAIM_WINDOWS times
								 * asynctasq.claim_size */
	int			room;
} AtqClaim;

/* Makes an empty claim of a lane; its memory lives in context. */
extern AtqClaim *atq_claim_make(int lane, MemoryContext context);

/*
 * Claims up to limit tasks, or least if that is more, from the lane's next
 * queue in turn that has any; of a queue of limited concurrency up to least.
 * False when there is none.  Needs a transaction without a snapshot.  slot is
 * the worker's own, which keeps the place in a queue of limited concurrency.
 */
extern bool atq_claim_next(AtqClaim *claim, AtqSlot *slot, int limit,
						   int least);

/* Gives back what has not been run; never throws. */
extern void atq_claim_release(AtqClaim *claim, AtqSlot *slot);

/* Forgets what has not been run: another worker has been given it. */
extern void atq_claim_drop(AtqClaim *claim);

/*
 * True when a line of the same queue that comes before the claimed one has
 * got a task since.
 */
extern bool atq_claim_overtaken(const AtqClaim *claim);

/*
 * Makes delayed tasks of the lane's queues ready where they are due, and
 * notes when the next one will be.  Needs a transaction.
 */
extern void atq_claim_promote_due(int lane);

/*
 * Takes over what other workers of the lane have claimed but cannot begin,
 * because their current task takes long; true when there is any.
 */
extern bool atq_claim_steal(int lane, AtqSlot *own, int after_ms);

#endif							/* ATQ_TASK_CLAIM_H */
