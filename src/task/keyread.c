/*-------------------------------------------------------------------------
 *
 * keyread.c
 *	  Reading rows by key through an index, without a query.
 *
 * Most references are to rows of plain tables by their primary key.  For
 * these, starting and ending an executor costs several times what finding the
 * row costs, so the row is read as the executor would read it: from the
 * unique index, under the active snapshot, with the same locks.  Where the last
 * keys were near, the index is not searched from its root (leaf.c).
 *
 * That must be just what the user's own SELECT would give.  It is where
 *
 *	- the relation is a table without children,
 *	- a unique index that is checked at once is on exactly the key's columns,
 *	  with the equality of their types and their collations,
 *	- the user may use the table's schema and SELECT all of the table, no row
 *	  security applies to it, and no extension wants to be asked about
 *	  privileges,
 *	- no column's value is computed when it is read.
 *
 * What may change while the table is locked against DDL is looked at each
 * time: who reads, and children.  In every other case the caller's query
 * decides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "store/registry.h"
#include "store/relkey.h"
#include "task/keyread.h"
#include "task/leaf.h"

struct AtqKeyReader
{
	Oid			relation;
	Oid			index;
	AtqHeld		held;			/* the index's lock */
	int			nkeys;
	int			positions[ATQ_MAX_KEYS];	/* in the index, of each key */
	ScanKeyData scan_keys[ATQ_MAX_KEYS];	/* in the index's order */
	AtqLeaf    *leaf;			/* of the index */
	TupleTableSlot *slot;		/* empty but while a row is read */
	AtqAllowed	allowed;		/* to read all of it */
};

static bool is_readable(Relation rel);
static bool uses_index(AtqKeyReader *reader, Relation rel, Relation index,
					   const AttrNumber *columns);
static bool uses_column(AtqKeyReader *reader, Relation rel, Relation index,
						int position, Form_pg_attribute column);
static bool may_read_all(AtqKeyReader *reader);
static bool find_on_leaf(AtqKeyReader *reader, Relation rel, Relation index);
static bool find_by_scan(AtqKeyReader *reader, Relation rel, Relation index);
static Datum copy_row(TupleTableSlot *slot);

AtqKeyReader *
atq_keyread_make(Relation rel, int nkeys, const AttrNumber *columns,
				 MemoryContext context)
{
	MemoryContext old;
	AtqKeyReader *reader;
	ListCell   *lc;
	bool		found = false;

	if (!is_readable(rel))
		return NULL;
	old = MemoryContextSwitchTo(context);
	reader = palloc0(sizeof(AtqKeyReader));
	reader->relation = RelationGetRelid(rel);
	reader->nkeys = nkeys;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		reader->index = RelationGetRelid(index);
		found = uses_index(reader, rel, index, columns);
		if (found)
			reader->leaf = atq_leaf_make(index, nkeys);
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	if (found)
		reader->slot =
			MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)),
									 table_slot_callbacks(rel));
	MemoryContextSwitchTo(old);
	return found ? reader : NULL;
}

/* What does not depend on who reads. */
static bool
is_readable(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		!rel->rd_rel->relhassubclass &&
		!atq_has_virtual_columns(RelationGetDescr(rel));
}

/* True where the index finds the row with a key, and no other. */
static bool
uses_index(AtqKeyReader *reader, Relation rel, Relation index,
		   const AttrNumber *columns)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID || !form->indisunique ||
		!form->indimmediate || !form->indisvalid || form->indcheckxmin ||
		form->indnkeyatts != reader->nkeys ||
		RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < reader->nkeys; i++)
	{
		int			position = 0;

		while (position < reader->nkeys &&
			   form->indkey.values[position] != columns[i])
			position++;
		if (position == reader->nkeys ||
			!uses_column(reader, rel, index, position,
						 TupleDescAttr(RelationGetDescr(rel), columns[i] - 1)))
			return false;
		reader->positions[i] = position;
	}
	return true;
}

/* The index must mean by "equal" what the column's type does. */
static bool
uses_column(AtqKeyReader *reader, Relation rel, Relation index, int position,
			Form_pg_attribute column)
{
	Oid			type = getBaseType(column->atttypid);
	Oid			family = index->rd_opfamily[position];
	Oid			index_type = index->rd_opcintype[position];
	Oid			equal = get_opfamily_member(family, index_type, index_type,
											BTEqualStrategyNumber);

	if (!OidIsValid(equal) ||
		equal != lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr ||
		index->rd_indcollation[position] != column->attcollation)
		return false;
	ScanKeyEntryInitialize(&reader->scan_keys[position], 0, position + 1,
						   BTEqualStrategyNumber, index_type,
						   index->rd_indcollation[position],
						   get_opcode(equal), (Datum) 0);
	return true;
}

Relation
atq_keyread_open(AtqKeyReader *reader)
{
	Relation	rel;

	if (ExecutorCheckPerms_hook != NULL || !may_read_all(reader))
		return NULL;
	rel = table_open(reader->relation, NoLock);
	if (is_readable(rel))
		return rel;
	table_close(rel, NoLock);
	return NULL;
}

static bool
may_read_all(AtqKeyReader *reader)
{
	AtqAllowed	now;

	if (atq_registry_still_allowed(&reader->allowed, &now))
		return true;
	if (!atq_relkey_may_name(reader->relation) ||
		pg_class_aclcheck(reader->relation, now.user,
						  ACL_SELECT) != ACLCHECK_OK ||
		check_enable_rls(reader->relation, InvalidOid, true) != RLS_NONE)
		return false;
	reader->allowed = now;
	return true;
}

bool
atq_keyread_find(AtqKeyReader *reader, Relation rel, const Datum *keys,
				 Datum *row)
{
	bool		held = atq_is_held(&reader->held, reader->index);
	Relation	index = index_open(reader->index,
								   held ? NoLock : AccessShareLock);
	volatile bool found = false;

	atq_hold(&reader->held, reader->index);
	for (int i = 0; i < reader->nkeys; i++)
		reader->scan_keys[reader->positions[i]].sk_argument = keys[i];
	PG_TRY();
	{
		found = find_on_leaf(reader, rel, index) ||
			find_by_scan(reader, rel, index);
		if (found)
			*row = copy_row(reader->slot);
	}
	PG_FINALLY();
	{
		ExecClearTuple(reader->slot);
	}
	PG_END_TRY();
	index_close(index, NoLock);
	return found;
}

/* What it finds is counted as a scan; if it finds nothing, one has to follow. */
static bool
find_on_leaf(AtqKeyReader *reader, Relation rel, Relation index)
{
	ItemPointerData tid;
	IndexFetchTableData *fetch;
	bool		again = false;
	bool		found;

	if (!atq_leaf_find(reader->leaf, index, reader->scan_keys, &tid))
		return false;
	fetch = table_index_fetch_begin(rel);
	found = table_index_fetch_tuple(fetch, &tid, GetActiveSnapshot(),
									reader->slot, &again, NULL);
	table_index_fetch_end(fetch);
	if (found)
	{
		pgstat_count_index_scan(index);
		pgstat_count_index_tuples(index, 1);
		pgstat_count_heap_fetch(index);
	}
	return found;
}

static bool
find_by_scan(AtqKeyReader *reader, Relation rel, Relation index)
{
	IndexScanDesc scan = atq_index_beginscan(rel, index, GetActiveSnapshot(),
											 reader->nkeys);
	bool		found;

	index_rescan(scan, reader->scan_keys, reader->nkeys, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, reader->slot);
	if (found)
		atq_leaf_note(reader->leaf, scan);
	index_endscan(scan);
	return found;
}

/*
 * The row as a composite value.  One with values out of line is built anew,
 * and one that is older than its table's last columns, as whoever gets it may
 * not know their defaults.
 */
static Datum
copy_row(TupleTableSlot *slot)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	bool		owned;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &owned);

	if (HeapTupleHasExternal(tuple) ||
		HeapTupleHeaderGetNatts(tuple->t_data) < desc->natts)
	{
		slot_getallattrs(slot);
		tuple = toast_build_flattened_tuple(desc, slot->tts_values,
											slot->tts_isnull);
		return HeapTupleHeaderGetDatum(tuple->t_data);
	}
	return heap_copy_tuple_as_datum(tuple, desc);
}

void
atq_keyread_close(Relation rel)
{
	table_close(rel, NoLock);
}
