/*-------------------------------------------------------------------------
 *
 * leaf.h
 *	  The leaf page of a B-tree on which the last keys were found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_LEAF_H
#define ATQ_TASK_LEAF_H

#include "access/relscan.h"
#include "utils/rel.h"

typedef struct AtqLeaf AtqLeaf;

/* For a unique B-tree with nkeys key columns; in the current context. */
extern AtqLeaf *atq_leaf_make(Relation index, int nkeys);

/*
 * Looks for a key, given by the arguments of scan keys in the index's order.
 * True when the page has an entry of it: *tid says where its row is.  If the
 * caller's snapshot, an MVCC one, does not see that row, or if the answer is
 * false, the index must be asked.
 */
extern bool atq_leaf_find(AtqLeaf *leaf, Relation index,
						  const ScanKeyData *keys, ItemPointer tid);

/* A scan of the index has just found an entry. */
extern void atq_leaf_note(AtqLeaf *leaf, IndexScanDesc scan);

#endif							/* ATQ_TASK_LEAF_H */
