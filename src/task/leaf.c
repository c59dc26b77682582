/*-------------------------------------------------------------------------
 *
 * leaf.c
 *	  The leaf page of a B-tree on which the last keys were found.
 *
 * Tasks that are dispatched one after the other often refer to rows that were
 * inserted one after the other, whose keys are side by side in the index.  To
 * find such a key from the root costs several times what it costs on the page
 * where the last one was.  So when two keys in a row were found on one page,
 * the next one is looked for there first.
 *
 * An entry of the key on a leaf page of a unique index whose row is visible is
 * what a scan would give: there is no other visible one.  That says nothing of
 * how the page was found, so it matters not what has become of it since, as
 * long as it is a leaf of this index.  Where it has no such entry, a scan is
 * what tells.
 *
 * The page is not pinned from one key to the next.  It is looked for where it
 * was in the buffers, and not read again if it has left them.  Nor is it while
 * the row is read: no row that a snapshot taken before sees can have taken the
 * place of another since.
 *
 * A serializable transaction must note the pages that it has searched; for it
 * there is always a scan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/xact.h"
#include "pgstat.h"
#include "storage/bufmgr.h"

#include "base/compat.h"
#include "task/leaf.h"

struct AtqLeaf
{
	BlockNumber block;			/* of the page that answered last */
	Buffer		buffer;			/* where it was when it had answered twice */
	OffsetNumber offset;		/* of the entry found there last */
	BTScanInsert key;
};

static bool find_on_page(AtqLeaf *leaf, Relation index, Page page,
						 ItemPointer tid);

AtqLeaf *
atq_leaf_make(Relation index, int nkeys)
{
	AtqLeaf    *leaf = palloc(sizeof(AtqLeaf));

	leaf->block = InvalidBlockNumber;
	leaf->buffer = InvalidBuffer;
	leaf->offset = InvalidOffsetNumber;
	leaf->key = _bt_mkscankey(index, NULL);
	_bt_metaversion(index, &leaf->key->heapkeyspace,
					&leaf->key->allequalimage);
	leaf->key->anynullkeys = false;
	leaf->key->keysz = nkeys;
	for (int i = 0; i < nkeys; i++)
		leaf->key->scankeys[i].sk_flags &= ~SK_ISNULL;
	return leaf;
}

bool
atq_leaf_find(AtqLeaf *leaf, Relation index, const ScanKeyData *keys,
			  ItemPointer tid)
{
	bool		found;

	if (!BufferIsValid(leaf->buffer) || IsolationIsSerializable())
		return false;
	if (!atq_read_recent_buffer(index, leaf->block, leaf->buffer))
	{
		leaf->buffer = InvalidBuffer;
		return false;
	}
	pgstat_count_buffer_read(index);
	pgstat_count_buffer_hit(index);
	for (int i = 0; i < leaf->key->keysz; i++)
		leaf->key->scankeys[i].sk_argument = keys[i].sk_argument;
	_bt_lockbuf(index, leaf->buffer, BT_READ);
	_bt_checkpage(index, leaf->buffer);
	found = find_on_page(leaf, index, BufferGetPage(leaf->buffer), tid);
	_bt_relbuf(index, leaf->buffer);
	return found;
}

/*
 * Looks at the entry behind the one that was found last, then in growing steps
 * behind it, and by halves once the key is passed.
 */
static bool
find_on_page(AtqLeaf *leaf, Relation index, Page page, ItemPointer tid)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);
	int			low = P_FIRSTDATAKEY(opaque);
	int			high = PageGetMaxOffsetNumber(page) + 1;
	int			at = leaf->offset + 1;
	int			step = 0;

	if (!P_ISLEAF(opaque) || P_IGNORE(opaque))
		return false;
	if (at < low || at >= high)
		at = (low + high) / 2;
	while (low < high)
	{
		int32		order = _bt_compare(index, leaf->key, page, at);

		if (order == 0)
		{
			ItemId		item = PageGetItemId(page, at);

			*tid = *BTreeTupleGetHeapTID((IndexTuple) PageGetItem(page, item));
			leaf->offset = at;
			return true;
		}
		if (order > 0)
			low = at + 1;
		else
		{
			high = at;
			step = high;
		}
		at = low + Min(step, (high - low) / 2);
		step = 2 * step + 1;
	}
	return false;
}

void
atq_leaf_note(AtqLeaf *leaf, IndexScanDesc scan)
{
	BlockNumber block = ((BTScanOpaque) scan->opaque)->currPos.currPage;

	if (block != leaf->block)
	{
		leaf->block = block;
		leaf->buffer = InvalidBuffer;
	}
	else if (!BufferIsValid(leaf->buffer))
	{
		leaf->buffer = ReadBuffer(scan->indexRelation, block);
		ReleaseBuffer(leaf->buffer);
	}
}
