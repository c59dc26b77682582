/*-------------------------------------------------------------------------
 *
 * held.h
 *	  Locks that a transaction has anyway, and need not be asked for again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_HELD_H
#define ATQ_BASE_HELD_H

#include "access/xact.h"
#include "storage/proc.h"

#include "base/compat.h"

/* Which lock, and the last transaction in which it was taken; zeros: none. */
typedef struct AtqHeld
{
	Oid			relation;
	LocalTransactionId by;
} AtqHeld;

/* True where this transaction holds the lock until its end. */
static inline bool
atq_is_held(const AtqHeld *held, Oid relation)
{
	return held->relation == relation && held->by == atq_my_lxid();
}

/* It has just been taken.  What a subtransaction takes its end may release. */
static inline void
atq_hold(AtqHeld *held, Oid relation)
{
	if (GetCurrentTransactionNestLevel() > 1)
		return;
	held->relation = relation;
	held->by = atq_my_lxid();
}

#endif							/* ATQ_BASE_HELD_H */
