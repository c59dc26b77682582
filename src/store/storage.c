/*-------------------------------------------------------------------------
 *
 * storage.c
 *	  Every statement on the extension's own tables, one function each.
 *
 * A task's row is written once, by dispatch, and deleted by the transaction
 * that runs it; it is updated only when an attempt failed or a delay has
 * passed.  Both partitions have the same columns and three indexes: by id,
 * the ready ones by (queue_id, priority, id), the delayed ones by (queue_id,
 * run_at).  The partition is chosen here, from the queue's durability.
 *
 * A candidate is the place where a row was when it was claimed.  By the time
 * it is taken the row may be gone and its place reused, so the row is read
 * again under a new snapshot and its id compared; while that snapshot is
 * active nothing can remove the row, and only then is it deleted.
 *
 * Memory: the inserter owns an executor state, freed by atq_insert_end or
 * with the transaction's context; all else is allocated in the caller's
 * context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "storage/sinval.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/evidence.h"
#include "store/storage.h"
#include "wire/type.h"

/* Columns of asynctasq.task, as the install script orders them. */
enum
{
	TASK_ID = 1, TASK_DISPATCHED_AT, TASK_RUN_AT, TASK_QUEUE_ID,
	TASK_PRIORITY, TASK_ATTEMPT, TASK_DURABLE, TASK_TASK, TASK_ARGS,
	TASK_MAX_ATTEMPTS, TASK_RETRY_DELAY, TASK_TIMEOUT, TASK_CORRELATION_ID,
	TASK_DEPTH,
	TASK_NCOLUMNS = TASK_DEPTH
};

/* Columns of the indexes. */
enum
{
	READY_QUEUE_ID = 1, READY_PRIORITY, READY_ID
};

struct AtqInserter
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
};

/* An index scan over one partition, and what it has open. */
typedef struct TaskScan
{
	Relation	rel;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} TaskScan;

static void fill_slot(TupleTableSlot *slot, const AtqTask *task);
static void set_column(TupleTableSlot *slot, int column, Datum value);
static Datum interval_datum(int64 us);
static void begin_scan(TaskScan *scan, AtqTable table, AtqTable index,
					   int nkeys, ScanKey keys, Snapshot snapshot);
static bool next_row(TaskScan *scan);
static void end_scan(TaskScan *scan);
static Datum get_column(TupleTableSlot *slot, int column);
static bool text_column_is(TupleTableSlot *slot, int column,
						   const char *text);
static bool has_column(TupleTableSlot *slot, int column);
static TupleTableSlot *take_slot(bool durable, Relation rel);
static bool has_block(bool durable, Relation rel, BlockNumber block);
static bool find_candidate(bool durable, Relation rel, TupleTableSlot *slot,
						   const AtqCandidate *candidate);
static bool delete_task(Relation rel, TupleTableSlot *slot);
static bool lock_own_task(Relation rel, ItemPointer tid);
static AtqSpan read_args(Datum args);
static void read_task(TupleTableSlot *slot, AtqTask *task);
static int64 read_interval(TupleTableSlot *slot, int column);
static bool find_in(AtqTable table, AtqTable index, int64 id,
					AtqCandidate *candidate);

static AtqTable
task_table(bool durable)
{
	return durable ? ATQ_TABLE_TASK_LOGGED : ATQ_TABLE_TASK_UNLOGGED;
}

static AtqTable
ready_index(bool durable)
{
	return durable ? ATQ_TABLE_TASK_LOGGED_READY :
		ATQ_TABLE_TASK_UNLOGGED_READY;
}

int64
atq_storage_next_id(void)
{
	Oid			sequence = atq_registry_table(ATQ_TABLE_TASK_ID_SEQ);
	int64		id;

	do
	{
		CHECK_FOR_INTERRUPTS();
		id = nextval_internal(sequence, false);
	} while (!atq_evidence_new_id(sequence, id));
	return id;
}

uint64		atq_storage_inserts = 0;

AtqInserter *
atq_insert_begin(bool durable)
{
	AtqInserter *inserter = palloc(sizeof(AtqInserter));

	inserter->rel = table_open(atq_registry_table(task_table(durable)),
							   RowExclusiveLock);
	inserter->estate = CreateExecutorState();
	inserter->result = makeNode(ResultRelInfo);
	InitResultRelInfo(inserter->result, inserter->rel, 1, NULL, 0);
	ExecOpenIndices(inserter->result, false);
	inserter->slot = table_slot_create(inserter->rel, NULL);
	return inserter;
}

void
atq_insert_task(AtqInserter *inserter, const AtqTask *task)
{
	MemoryContext old;

	ResetPerTupleExprContext(inserter->estate);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(inserter->estate));
	ExecClearTuple(inserter->slot);
	fill_slot(inserter->slot, task);
	ExecStoreVirtualTuple(inserter->slot);
	table_tuple_insert(inserter->rel, inserter->slot,
					   GetCurrentCommandId(true), 0, NULL);
	atq_insert_index_tuples(inserter->result, inserter->slot,
							inserter->estate);
	MemoryContextSwitchTo(old);
	atq_storage_inserts++;
}

void
atq_insert_end(AtqInserter *inserter)
{
	ExecDropSingleTupleTableSlot(inserter->slot);
	ExecCloseIndices(inserter->result);
	FreeExecutorState(inserter->estate);
	table_close(inserter->rel, NoLock);
	pfree(inserter);
}

static void
fill_slot(TupleTableSlot *slot, const AtqTask *task)
{
	memset(slot->tts_isnull, true, sizeof(bool) * TASK_NCOLUMNS);
	set_column(slot, TASK_ID, Int64GetDatum(task->id));
	set_column(slot, TASK_DISPATCHED_AT,
			   TimestampTzGetDatum(task->dispatched_at));
	if (task->run_at != 0)
		set_column(slot, TASK_RUN_AT, TimestampTzGetDatum(task->run_at));
	set_column(slot, TASK_QUEUE_ID, Int32GetDatum(task->queue_id));
	set_column(slot, TASK_PRIORITY, Int32GetDatum(task->priority));
	set_column(slot, TASK_ATTEMPT, Int32GetDatum(task->attempt));
	set_column(slot, TASK_DURABLE, BoolGetDatum(task->durable));
	set_column(slot, TASK_TASK, CStringGetTextDatum(task->task));
	set_column(slot, TASK_ARGS, atq_type_make(task->args.data,
											  task->args.len));
	if (task->max_attempts >= 0)
		set_column(slot, TASK_MAX_ATTEMPTS,
				   Int32GetDatum(task->max_attempts));
	if (task->retry_delay_us >= 0)
		set_column(slot, TASK_RETRY_DELAY,
				   interval_datum(task->retry_delay_us));
	if (task->timeout_us >= 0)
		set_column(slot, TASK_TIMEOUT, interval_datum(task->timeout_us));
	if (task->correlation_id != NULL)
		set_column(slot, TASK_CORRELATION_ID,
				   CStringGetTextDatum(task->correlation_id));
	if (task->depth > 0)
		set_column(slot, TASK_DEPTH, Int32GetDatum(task->depth));
}

static void
set_column(TupleTableSlot *slot, int column, Datum value)
{
	slot->tts_values[column - 1] = value;
	slot->tts_isnull[column - 1] = false;
}

static Datum
interval_datum(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return IntervalPGetDatum(interval);
}

int
atq_storage_read_ready(bool durable, int32 queue_id, int32 priority,
					   int64 from, Snapshot snapshot,
					   AtqCandidate *candidates, int limit)
{
	ScanKeyData keys[3];
	TaskScan	scan;
	int			n = 0;

	ScanKeyInit(&keys[0], READY_QUEUE_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(queue_id));
	ScanKeyInit(&keys[1], READY_PRIORITY, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(priority));
	ScanKeyInit(&keys[2], READY_ID, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(from));
	begin_scan(&scan, task_table(durable), ready_index(durable), 3, keys,
			   snapshot);
	while (n < limit && next_row(&scan))
	{
		candidates[n].id = DatumGetInt64(get_column(scan.slot, TASK_ID));
		candidates[n].tid = scan.slot->tts_tid;
		candidates[n].file = scan.rel->rd_rel->relfilenode;
		n++;
	}
	end_scan(&scan);
	return n;
}

bool
atq_storage_first_ready(bool durable, int32 queue_id, int64 from_priority,
						Snapshot snapshot, int32 *priority, int64 *id)
{
	ScanKeyData keys[2];
	TaskScan	scan;
	bool		found;

	if (from_priority > PG_INT32_MAX)
		return false;
	ScanKeyInit(&keys[0], READY_QUEUE_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(queue_id));
	ScanKeyInit(&keys[1], READY_PRIORITY, BTGreaterEqualStrategyNumber,
				F_INT4GE, Int32GetDatum((int32) from_priority));
	begin_scan(&scan, task_table(durable), ready_index(durable), 2, keys,
			   snapshot);
	found = next_row(&scan);
	if (found)
	{
		*priority = DatumGetInt32(get_column(scan.slot, TASK_PRIORITY));
		*id = DatumGetInt64(get_column(scan.slot, TASK_ID));
	}
	end_scan(&scan);
	return found;
}

TimestampTz
atq_storage_next_due(bool durable, int32 queue_id, Snapshot snapshot)
{
	ScanKeyData key;
	TaskScan	scan;
	TimestampTz due = DT_NOEND;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(queue_id));
	begin_scan(&scan, task_table(durable),
			   durable ? ATQ_TABLE_TASK_LOGGED_DELAYED :
			   ATQ_TABLE_TASK_UNLOGGED_DELAYED, 1, &key, snapshot);
	if (next_row(&scan))
		due = DatumGetTimestampTz(get_column(scan.slot, TASK_RUN_AT));
	end_scan(&scan);
	return due;
}

static void
begin_scan(TaskScan *scan, AtqTable table, AtqTable index, int nkeys,
		   ScanKey keys, Snapshot snapshot)
{
	scan->rel = table_open(atq_registry_table(table), AccessShareLock);
	scan->index = index_open(atq_registry_table(index), AccessShareLock);
	scan->slot = table_slot_create(scan->rel, NULL);
	scan->scan = atq_index_beginscan(scan->rel, scan->index, snapshot, nkeys);
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

static bool
next_row(TaskScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

static void
end_scan(TaskScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, NoLock);
	table_close(scan->rel, NoLock);
}

/*
 * The slot in which rows of a table are looked at.  It is kept as long as
 * what is known of the tables, and empty but while a row is looked at.
 */
static TupleTableSlot *
take_slot(bool durable, Relation rel)
{
	static TupleTableSlot *slots[2];
	static uint64 generations[2];
	uint64		generation = atq_registry_generation();
	MemoryContext old;

	if (generations[durable] != generation)
	{
		old = MemoryContextSwitchTo(atq_registry_context());
		slots[durable] =
			MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(rel)),
									 table_slot_callbacks(rel));
		MemoryContextSwitchTo(old);
		generations[durable] = generation;
	}
	return slots[durable];
}

/*
 * Whether a table is that long.  How long it is is asked for when the block is
 * behind what is known, and when it may have become shorter or another file,
 * which every process is sent a message about before it gets a lock on it.
 */
static bool
has_block(bool durable, Relation rel, BlockNumber block)
{
	static BlockNumber lengths[2];
	static uint64 messages[2];

	if (block >= lengths[durable] ||
		messages[durable] != SharedInvalidMessageCounter)
	{
		messages[durable] = SharedInvalidMessageCounter;
		lengths[durable] = RelationGetNumberOfBlocks(rel);
	}
	return block < lengths[durable];
}

/*
 * False where the row is not to be had.  Values out of line need a snapshot;
 * a server with assertions asks for one wherever there could be some.
 */
static bool
delete_task(Relation rel, TupleTableSlot *slot)
{
	bool		free_tuple;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &free_tuple);
	bool		external = HeapTupleHasExternal(tuple);
	TM_FailureData failure;
	TM_Result	result;

#ifdef USE_ASSERT_CHECKING
	external = true;
#endif
	if (external)
		PushActiveSnapshot(GetTransactionSnapshot());
	result = table_tuple_delete(rel, &slot->tts_tid, GetCurrentCommandId(true),
								SnapshotSelf, InvalidSnapshot, false,
								&failure, false);
	if (result == TM_BeingModified && lock_own_task(rel, &slot->tts_tid))
		result = table_tuple_delete(rel, &slot->tts_tid,
									GetCurrentCommandId(true), SnapshotSelf,
									InvalidSnapshot, true, &failure, false);
	if (external)
		PopActiveSnapshot();
	if (free_tuple)
		heap_freetuple(tuple);
	return result == TM_Ok;
}

/*
 * Locks a row that this transaction itself has locked: drain() has made it
 * ready.  For a delete that does not wait, that is somebody's row.  False where
 * somebody else has it.
 */
static bool
lock_own_task(Relation rel, ItemPointer tid)
{
	TupleTableSlot *slot;
	TM_FailureData failure;
	TM_Result	result;

	if (!IsSubTransaction())
		return false;
	slot = table_slot_create(rel, NULL);
	result = table_tuple_lock(rel, tid, SnapshotSelf, slot,
							  GetCurrentCommandId(true), LockTupleExclusive,
							  LockWaitSkip, 0, &failure);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/*
 * The row is looked at as it is now (SnapshotSelf), which the delete checks
 * again: no snapshot needs to be taken for it.  Its place may be behind the
 * end of a table that has been rewritten or truncated since it was claimed;
 * who reads there disturbs who extends the table.
 */
static bool
find_candidate(bool durable, Relation rel, TupleTableSlot *slot,
			   const AtqCandidate *candidate)
{
	ItemPointerData tid = candidate->tid;

	return has_block(durable, rel, ItemPointerGetBlockNumber(&tid)) &&
		table_tuple_fetch_row_version(rel, &tid, SnapshotSelf, slot) &&
		DatumGetInt64(get_column(slot, TASK_ID)) == candidate->id;
}

AtqTake
atq_storage_take(bool durable, const AtqCandidate *candidate,
				 const char *only, AtqTask *task)
{
	static AtqHeld held[2];
	Oid			table = atq_registry_table(task_table(durable));
	Relation	rel = table_open(table, atq_is_held(&held[durable], table) ?
								 NoLock : RowExclusiveLock);
	TupleTableSlot *slot = take_slot(durable, rel);
	volatile AtqTake result = rel->rd_rel->relfilenode == candidate->file ?
		ATQ_TAKE_GONE : ATQ_TAKE_MOVED;

	atq_hold(&held[durable], table);
	PG_TRY();
	{
		if (find_candidate(durable, rel, slot, candidate))
		{
			if (only != NULL && !text_column_is(slot, TASK_TASK, only))
				result = ATQ_TAKE_OTHER;
			else if (delete_task(rel, slot))
			{
				read_task(slot, task);
				result = ATQ_TAKE_DONE;
			}
		}
	}
	PG_FINALLY();
	{
		ExecClearTuple(slot);
	}
	PG_END_TRY();
	table_close(rel, NoLock);
	return result;
}

bool
atq_storage_peek(bool durable, const AtqCandidate *candidate, AtqTask *task)
{
	Relation	rel = table_open(atq_registry_table(task_table(durable)),
								 AccessShareLock);
	TupleTableSlot *slot = take_slot(durable, rel);
	volatile bool found = false;

	PG_TRY();
	{
		found = find_candidate(durable, rel, slot, candidate);
		if (found)
			read_task(slot, task);
	}
	PG_FINALLY();
	{
		ExecClearTuple(slot);
	}
	PG_END_TRY();
	table_close(rel, NoLock);
	return found;
}

static Datum
get_column(TupleTableSlot *slot, int column)
{
	bool		isnull;

	return slot_getattr(slot, column, &isnull);
}

static bool
text_column_is(TupleTableSlot *slot, int column, const char *text)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(get_column(slot, column));

	return VARSIZE_ANY_EXHDR(value) == strlen(text) &&
		memcmp(VARDATA_ANY(value), text, strlen(text)) == 0;
}

static bool
has_column(TupleTableSlot *slot, int column)
{
	return !slot_attisnull(slot, column);
}

/* A copy of the arguments; those stored out of line need a snapshot. */
static AtqSpan
read_args(Datum args)
{
	bool		external = VARATT_IS_EXTERNAL(DatumGetPointer(args));
	struct varlena *copy;

	if (external)
		PushActiveSnapshot(GetTransactionSnapshot());
	copy = PG_DETOAST_DATUM_COPY(args);
	if (external)
		PopActiveSnapshot();
	return atq_type_span(PointerGetDatum(copy));
}

static void
read_task(TupleTableSlot *slot, AtqTask *task)
{
	slot_getallattrs(slot);
	task->id = DatumGetInt64(get_column(slot, TASK_ID));
	task->queue_id = DatumGetInt32(get_column(slot, TASK_QUEUE_ID));
	task->priority = DatumGetInt32(get_column(slot, TASK_PRIORITY));
	task->attempt = DatumGetInt32(get_column(slot, TASK_ATTEMPT));
	task->durable = DatumGetBool(get_column(slot, TASK_DURABLE));
	task->dispatched_at =
		DatumGetTimestampTz(get_column(slot, TASK_DISPATCHED_AT));
	task->run_at = has_column(slot, TASK_RUN_AT) ?
		DatumGetTimestampTz(get_column(slot, TASK_RUN_AT)) : 0;
	task->task = TextDatumGetCString(get_column(slot, TASK_TASK));
	task->args = read_args(get_column(slot, TASK_ARGS));
	task->max_attempts = has_column(slot, TASK_MAX_ATTEMPTS) ?
		DatumGetInt32(get_column(slot, TASK_MAX_ATTEMPTS)) : -1;
	task->retry_delay_us = read_interval(slot, TASK_RETRY_DELAY);
	task->timeout_us = read_interval(slot, TASK_TIMEOUT);
	task->correlation_id = has_column(slot, TASK_CORRELATION_ID) ?
		TextDatumGetCString(get_column(slot, TASK_CORRELATION_ID)) : NULL;
	task->depth = has_column(slot, TASK_DEPTH) ?
		DatumGetInt32(get_column(slot, TASK_DEPTH)) : 0;
}

static int64
read_interval(TupleTableSlot *slot, int column)
{
	if (!has_column(slot, column))
		return -1;
	return atq_interval_us(DatumGetIntervalP(get_column(slot, column)));
}

bool
atq_storage_find(int64 id, bool *durable, AtqCandidate *candidate)
{
	*durable = false;
	if (find_in(ATQ_TABLE_TASK_UNLOGGED, ATQ_TABLE_TASK_UNLOGGED_ID, id,
				candidate))
		return true;
	*durable = true;
	return find_in(ATQ_TABLE_TASK_LOGGED, ATQ_TABLE_TASK_LOGGED_ID, id,
				   candidate);
}

static bool
find_in(AtqTable table, AtqTable index, int64 id, AtqCandidate *candidate)
{
	ScanKeyData key;
	TaskScan	scan;
	bool		found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	PushActiveSnapshot(GetLatestSnapshot());
	begin_scan(&scan, table, index, 1, &key, GetActiveSnapshot());
	found = next_row(&scan);
	if (found)
	{
		candidate->id = id;
		candidate->tid = scan.slot->tts_tid;
		candidate->file = scan.rel->rd_rel->relfilenode;
	}
	end_scan(&scan);
	PopActiveSnapshot();
	return found;
}

/*
 * Of a queue ($1), $3 at most of what is due at $2 is made ready: a row for
 * each that was due, with the id twice where this statement made it ready.
 */
#define PROMOTE_DUE(table) \
	"WITH due AS MATERIALIZED (" \
	"SELECT id, priority FROM asynctasq." table " " \
	"WHERE queue_id OPERATOR(pg_catalog.=) $1 " \
	"AND run_at OPERATOR(pg_catalog.<=) $2 " \
	"ORDER BY run_at LIMIT $3), " \
	"promoted AS (" \
	"UPDATE asynctasq." table " SET run_at = NULL " \
	"WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	"SELECT id FROM asynctasq." table " " \
	"WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT id FROM due)) " \
	"AND run_at OPERATOR(pg_catalog.<=) $2 " \
	"FOR UPDATE SKIP LOCKED)) " \
	"RETURNING id) " \
	"SELECT due.priority, due.id, promoted.id FROM due " \
	"LEFT JOIN promoted ON promoted.id OPERATOR(pg_catalog.=) due.id"

/*
 * All that were due are announced, not only those made ready here: the row
 * locks may have followed a row that another worker has just made ready, and
 * whoever claims it finds it locked and passes it over.
 */
int
atq_storage_promote_due(bool durable, int32 queue_id, TimestampTz now,
						int limit, AtqAnnounce announce, void *arg)
{
	static SPIPlanPtr plans[2] = {NULL, NULL};
	static const char *const sql[2] = {
		PROMOTE_DUE("task_unlogged"), PROMOTE_DUE("task_logged")
	};
	static Oid	types[] = {INT4OID, TIMESTAMPTZOID, INT4OID};
	Datum		values[3];
	AtqSpi		spi;
	uint64		n;
	int			promoted = 0;

	values[0] = Int32GetDatum(queue_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = Int32GetDatum(limit);
	atq_spi_begin(&spi);
	n = atq_spi_run(&plans[durable], sql[durable], 3, types, values, NULL,
					SPI_OK_SELECT);
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		announce(queue_id,
				 DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull)),
				 DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull)), arg);
		(void) SPI_getbinval(row, desc, 3, &isnull);
		if (!isnull)
			promoted++;
	}
	atq_spi_end(&spi);
	return promoted;
}

bool
atq_storage_postpone(int64 id, int attempt, TimestampTz run_at)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT8OID, INT4OID, TIMESTAMPTZOID};
	Datum		values[3];

	values[0] = Int64GetDatum(id);
	values[1] = Int32GetDatum(attempt);
	values[2] = TimestampTzGetDatum(run_at);
	return atq_spi_execute(&plan,
						   "UPDATE asynctasq.task "
						   "SET attempt = $2, run_at = $3 "
						   "WHERE id OPERATOR(pg_catalog.=) $1 "
						   "AND attempt OPERATOR(pg_catalog.<) $2",
						   3, types, values, NULL, SPI_OK_UPDATE) > 0;
}

bool
atq_storage_bury(int64 id, int attempt, TimestampTz started_at,
				 Jsonb *error)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT8OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	JSONBOID};
	Datum		values[5];

	values[0] = Int64GetDatum(id);
	values[1] = Int32GetDatum(attempt);
	values[2] = TimestampTzGetDatum(started_at);
	values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[4] = JsonbPGetDatum(error);
	return atq_spi_execute(&plan,
						   "WITH dead AS (DELETE FROM asynctasq.task "
						   "WHERE id OPERATOR(pg_catalog.=) $1 "
						   "AND attempt OPERATOR(pg_catalog.<) $2 RETURNING *) "
						   "INSERT INTO asynctasq.dead_letter (id, queue_id, "
						   "priority, attempt, task, args, max_attempts, "
						   "retry_delay, timeout, correlation_id, "
						   "dispatched_at, started_at, failed_at, error) "
						   "SELECT id, queue_id, priority, $2, task, args, "
						   "max_attempts, retry_delay, timeout, correlation_id, "
						   "dispatched_at, $3, $4, $5 FROM dead",
						   5, types, values, NULL, SPI_OK_INSERT) > 0;
}

void
atq_storage_keep(const AtqTask *task, const char *status, int attempt,
				 int max_attempts, TimestampTz started_at, Jsonb *result,
				 Jsonb *error)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT8OID, INT4OID, INT4OID, INT4OID, INT4OID,
		TEXTOID, TEXTOID, BYTEAOID, TEXTOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID, JSONBOID};
	char		nulls[lengthof(types)];
	Datum		values[lengthof(types)] = {0};

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(task->id);
	values[1] = Int32GetDatum(task->queue_id);
	values[2] = Int32GetDatum(task->priority);
	values[3] = Int32GetDatum(attempt);
	values[4] = Int32GetDatum(max_attempts);
	values[5] = CStringGetTextDatum(status);
	values[6] = CStringGetTextDatum(task->task);
	values[7] = atq_type_make(task->args.data, task->args.len);
	if (task->correlation_id != NULL)
		values[8] = CStringGetTextDatum(task->correlation_id);
	else
		nulls[8] = 'n';
	values[9] = TimestampTzGetDatum(task->dispatched_at);
	values[10] = TimestampTzGetDatum(started_at);
	if (started_at == 0)
		nulls[10] = 'n';
	values[11] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[12] = JsonbPGetDatum(result);
	if (result == NULL)
		nulls[12] = 'n';
	values[13] = JsonbPGetDatum(error);
	if (error == NULL)
		nulls[13] = 'n';
	atq_spi_execute(&plan,
					"INSERT INTO asynctasq.result (id, queue_id, priority, "
					"attempt, max_attempts, status, task, args, "
					"correlation_id, dispatched_at, started_at, finished_at, "
					"result, error) "
					"VALUES ($1, $2, $3, $4, $5, $6, $7, "
					"$8::asynctasq.msgpack, $9, $10, $11, $12, $13, $14)",
					lengthof(types), types, values, nulls, SPI_OK_INSERT);
}

void
atq_spi_begin(AtqSpi *spi)
{
	Oid			owner = atq_registry_owner();

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GetUserIdAndSecContext(&spi->user, &spi->security_context);
	SetUserIdAndSecContext(owner, spi->security_context |
						   SECURITY_LOCAL_USERID_CHANGE);
	spi->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	/* a worker waits however impatient its role is */
	if (MyBgworkerEntry != NULL)
		(void) set_config_option("lock_timeout", "0", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
}

void
atq_spi_end(AtqSpi *spi)
{
	AtEOXact_GUC(false, spi->guc_level);
	SetUserIdAndSecContext(spi->user, spi->security_context);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

uint64
atq_spi_run(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types,
			Datum *values, const char *nulls, int expected)
{
	int			code;

	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(sql, nargs, types);

		if (made == NULL)
			elog(ERROR, "SPI_prepare failed: %s",
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(made);
		*plan = made;
	}
	code = SPI_execute_plan(*plan, values, nulls, false, 0);
	if (code != expected)
		elog(ERROR, "SPI_execute_plan returned %s",
			 SPI_result_code_string(code));
	return SPI_processed;
}

uint64
atq_spi_execute(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types,
				Datum *values, const char *nulls, int expected)
{
	AtqSpi		spi;
	uint64		n;

	atq_spi_begin(&spi);
	n = atq_spi_run(plan, sql, nargs, types, values, nulls, expected);
	atq_spi_end(&spi);
	return n;
}
