/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  From references to fresh rows, by primary key through SPI.
 *
 * A resolution keeps a target for each model and an entry for each distinct
 * reference (target.c).  All entries of a target are read by one query: by the
 * key if there is one entry, else by a join with the unnested arrays of the
 * key columns' values, whose ordinality says which row answers which entry.
 * Only when there are more than ATQ_MAX_CHUNK of them it takes several
 * queries, so that no more than these are held twice.
 *
 * Rows of models on other servers are read first, of all such models at once
 * (elsewhere.c).
 *
 * Up to ATQ_FEW_ROWS rows of a plain table are read from the key's index
 * instead, where that is just what the query would give (keyread.c): all under
 * one snapshot, taken when the tables are locked.
 *
 * The statements run as the current user, with nothing to help them, and what
 * they may call is limited where the model is not the user's to trust
 * (trust.c): table privileges, column privileges and row security are those
 * of a SELECT of that user.
 *
 * The statements of a model are prepared once and kept with it (modelplan.c).
 * Before one is used its relation is locked and the model looked up once more:
 * whatever has been done to the relation before is known then, and nothing
 * more is done to it until the transaction ends.  A model whose table had been
 * dropped and is there again is looked up anew.  All else lives in the
 * caller's context.
 *
 * Query sets are not read here, but where they are met (queryarg.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/relkey.h"
#include "store/trust.h"
#include "task/modelplan.h"
#include "task/queryarg.h"
#include "task/target.h"

static void note_reference(const AtqReference *reference, void *arg);
static List *list_remote(const AtqResolution *resolution);
static void lock_target(AtqTarget *target);
static void fetch_target(AtqResolution *resolution, AtqTarget *target);
static void fetch_guarded(AtqResolution *resolution, AtqTarget *target);
static void read_target(AtqResolution *resolution, AtqTarget *target);
static bool fetch_by_index(AtqResolution *resolution, AtqTarget *target);
static SPIPlanPtr prepare(const AtqTarget *target, SPIPlanPtr *kept,
						  char *sql, int nargs, Oid *types);
static void fetch_one(AtqResolution *resolution, AtqTarget *target);
static void fetch_many(AtqResolution *resolution, AtqTarget *target,
					   int first, int n);
static void keep_row(AtqResolution *resolution, const AtqTarget *target,
					 AtqEntry *entry, int row, int column);
static void report_missing(const AtqModel *model, AtqSpan key, int level,
						   int code);
static AtqEntry *answer(AtqResolution *resolution,
						const AtqReference *reference, AtqTarget **target);
static Datum resolve_row(const AtqReference *reference, Oid row_type,
						 bool *isnull, void *arg);
static Datum resolve_set(const AtqReference *reference,
						 const AtqTypeInfo *type, void *arg);
static Jsonb *resolve_json(const AtqReference *reference, void *arg);
static Jsonb *row_json(const AtqTarget *target, Datum row);

AtqResolution *
atq_resolve_begin(AtqRowLock lock)
{
	AtqResolution *resolution = palloc0(sizeof(AtqResolution));

	resolution->lock = lock;
	resolution->context = CurrentMemoryContext;
	resolution->resolver.row = resolve_row;
	resolution->resolver.set = resolve_set;
	resolution->resolver.json = resolve_json;
	resolution->resolver.arg = resolution;
	return resolution;
}

AtqResolution *
atq_resolve_begin_ahead(void)
{
	AtqResolution *ahead = atq_resolve_begin(ATQ_LOCK_NONE);

	ahead->is_ahead = true;
	return ahead;
}

void
atq_resolve_require(AtqResolution *resolution)
{
	resolution->required = true;
}

void
atq_resolve_note(AtqResolution *resolution, AtqSpan value,
				 AtqResolution *ahead)
{
	resolution->offered = ahead;
	atq_reference_scan(value, note_reference, resolution);
}

const AtqResolver *
atq_resolve_resolver(AtqResolution *resolution)
{
	return &resolution->resolver;
}

/* Query sets are run where they are met. */
static void
note_reference(const AtqReference *reference, void *arg)
{
	AtqResolution *resolution = arg;
	AtqTarget  *target;
	AtqEntry   *entry;

	if (reference->set.data != NULL)
	{
		resolution->later = true;
		return;
	}
	target = atq_target_find(resolution, reference, true);
	if (resolution->is_ahead && target->model->server == NULL)
		return;
	entry = atq_target_entry(target, reference->key);
	if (entry == NULL)
		atq_target_add(resolution, target, reference->key);
	else if (entry->ahead != resolution->offered)
		entry->ahead = NULL;
}

bool
atq_resolve_fetch(AtqResolution *resolution)
{
	List	   *remote = list_remote(resolution);
	ListCell   *lc;

	if (remote != NIL)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		atq_elsewhere_fetch(resolution, remote);
		PopActiveSnapshot();
	}
	foreach(lc, resolution->targets)
	{
		if (!list_member_ptr(remote, lfirst(lc)))
			lock_target(lfirst(lc));
	}
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, resolution->targets)
	{
		if (!list_member_ptr(remote, lfirst(lc)))
			fetch_target(resolution, lfirst(lc));
	}
	return !resolution->later;
}

static List *
list_remote(const AtqResolution *resolution)
{
	List	   *remote = NIL;
	ListCell   *lc;

	foreach(lc, resolution->targets)
	{
		AtqTarget  *target = lfirst(lc);

		if (target->model->server != NULL)
			remote = lappend(remote, target);
	}
	return remote;
}

static void
lock_target(AtqTarget *target)
{
	(void) atq_target_lock(target, true);
	atq_target_check_place(target, false);
}

static void
fetch_target(AtqResolution *resolution, AtqTarget *target)
{
	target->guarded = !atq_trust_model(target->model);
	if (target->guarded)
		fetch_guarded(resolution, target);
	else
		read_target(resolution, target);
}

static void
fetch_guarded(AtqResolution *resolution, AtqTarget *target)
{
	const AtqModel *before = atq_trust_guarded();

	atq_trust_guard(target->model);
	PG_TRY();
	{
		read_target(resolution, target);
	}
	PG_FINALLY();
	{
		atq_trust_guard(before);
	}
	PG_END_TRY();
}

static void
read_target(AtqResolution *resolution, AtqTarget *target)
{
	int			n = list_length(target->entries);

	target->plan = atq_modelplan_get(target->model);
	if (n <= ATQ_FEW_ROWS && fetch_by_index(resolution, target))
		return;
	resolution->later = true;
	atq_relkey_check_schema(target->model->relation);
	if (n == 1)
		fetch_one(resolution, target);
	else
	{
		for (int first = 0; first < n; first += ATQ_MAX_CHUNK)
			fetch_many(resolution, target, first,
					   Min(n - first, ATQ_MAX_CHUNK));
	}
}

/* Reads the rows without a query; false where it takes one. */
static bool
fetch_by_index(AtqResolution *resolution, AtqTarget *target)
{
	AtqKeyReader *reader = target->plan->reader;
	Relation	rel;
	ListCell   *lc;

	if (reader == NULL || resolution->lock != ATQ_LOCK_NONE)
		return false;
	rel = atq_keyread_open(reader);
	if (rel == NULL)
		return false;
	foreach(lc, target->entries)
	{
		AtqEntry   *entry = lfirst(lc);
		Datum		keys[ATQ_MAX_KEYS];

		atq_target_read_keys(target, entry->key, keys);
		entry->found = atq_keyread_find(reader, rel, keys, &entry->row);
	}
	atq_keyread_close(rel);
	return true;
}

/*
 * Makes a statement and keeps it, unless it is guarded: that it was planned
 * for one user says nothing about the next.
 */
static SPIPlanPtr
prepare(const AtqTarget *target, SPIPlanPtr *kept, char *sql, int nargs,
		Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(sql, nargs, types);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	if (target->guarded)
		return plan;
	SPI_keepplan(plan);
	*kept = plan;
	return plan;
}

static void
fetch_one(AtqResolution *resolution, AtqTarget *target)
{
	AtqModelPlan *plan = target->plan;
	SPIPlanPtr	statement = plan->one[resolution->lock];
	AtqEntry   *entry = linitial(target->entries);
	Datum		values[ATQ_MAX_KEYS];
	Oid			types[ATQ_MAX_KEYS];

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < plan->nkeys; i++)
		types[i] = plan->types[i]->type;
	atq_target_read_keys(target, entry->key, values);
	if (statement == NULL || target->guarded)
		statement = prepare(target, &plan->one[resolution->lock],
							atq_modelplan_one(plan, resolution->lock),
							plan->nkeys, types);
	if (SPI_execute_plan(statement, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	for (uint64 i = 0; i < SPI_processed; i++)
		keep_row(resolution, target, entry, i, 1);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* Reads the rows of n entries, beginning with the first. */
static void
fetch_many(AtqResolution *resolution, AtqTarget *target, int first, int n)
{
	AtqModelPlan *plan = target->plan;
	SPIPlanPtr	statement = plan->many[resolution->lock];
	Datum	   *arrays;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	arrays = atq_target_key_arrays(target, target->entries, first, n);
	if (statement == NULL || target->guarded)
		statement = prepare(target, &plan->many[resolution->lock],
							atq_modelplan_many(plan, resolution->lock),
							plan->nkeys, plan->array_types);
	if (SPI_execute_plan(statement, arrays, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		ord;

		CHECK_FOR_INTERRUPTS();
		ord = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1, &isnull));
		keep_row(resolution, target,
				 list_nth(target->entries, first + ord - 1), i, 2);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* Copies a row of the SPI result into the resolution's context. */
static void
keep_row(AtqResolution *resolution, const AtqTarget *target, AtqEntry *entry,
		 int row, int column)
{
	MemoryContext old;
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	if (entry->found)
		atq_target_refuse_ambiguous(target, entry->key);
	old = MemoryContextSwitchTo(resolution->context);
	entry->row = datumCopy(value, false, -1);
	entry->found = true;
	MemoryContextSwitchTo(old);
}

void
atq_resolve_locate(const AtqReference *reference, AtqLocation *location)
{
	AtqTarget  *target = atq_target_make(reference);

	if (target->model->server != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("foreign keys of model \"%s\" cannot be followed",
						target->model->class_name),
				 errdetail("Its rows are on server \"%s\".",
						   target->model->server),
				 errhint("Use asynctasq.fetch() with a reference by the key's value.")));
	lock_target(target);
	if (!atq_trust_model(target->model))
		atq_trust_guard(target->model);
	target->plan = atq_modelplan_get(target->model);
	location->model = target->model;
	location->table = target->plan->table;
	location->condition = target->plan->by_key;
	location->nkeys = target->plan->nkeys;
	for (int i = 0; i < location->nkeys; i++)
		location->types[i] = target->plan->types[i]->type;
	atq_target_read_keys(target, reference->key, location->values);
}

void
atq_resolve_missing(const AtqModel *model, AtqSpan key)
{
	if (model->on_missing == ATQ_MISSING_NULL)
		report_missing(model, key, WARNING, ERRCODE_WARNING);
	else if (model->on_missing == ATQ_MISSING_DISCARD)
		report_missing(model, key, ERROR, ATQ_ERRCODE_DISCARD);
	else
		report_missing(model, key, ERROR, ERRCODE_NO_DATA_FOUND);
}

static void
report_missing(const AtqModel *model, AtqSpan key, int level, int code)
{
	ereport(level,
			(errcode(code),
			 errmsg("\"%s\" with key %s does not exist",
					model->class_name, atq_target_key_text(key))));
}

/*
 * The entry that answers a reference, or NULL where the row is missing and
 * its model says that this is no error.
 */
static AtqEntry *
answer(AtqResolution *resolution, const AtqReference *reference,
	   AtqTarget **target)
{
	AtqEntry   *entry;

	*target = atq_target_find(resolution, reference, false);
	entry = *target ? atq_target_entry(*target, reference->key) : NULL;
	if (entry == NULL)
		elog(ERROR, "reference was not fetched");
	if (entry->found)
		return entry;
	if (resolution->required)
		report_missing((*target)->model, reference->key, ERROR,
					   ERRCODE_NO_DATA_FOUND);
	atq_resolve_missing((*target)->model, reference->key);
	return NULL;
}

static Datum
resolve_row(const AtqReference *reference, Oid row_type, bool *isnull,
			void *arg)
{
	AtqTarget  *target;
	AtqEntry   *entry = answer(arg, reference, &target);

	*isnull = entry == NULL;
	if (entry == NULL)
		return (Datum) 0;
	if (target->plan->row_type != row_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a reference to model \"%s\" is a row of type %s, not %s",
						target->model->class_name,
						format_type_be(target->plan->row_type),
						format_type_be(row_type))));
	return entry->row;
}

static Datum
resolve_set(const AtqReference *reference, const AtqTypeInfo *type, void *arg)
{
	return atq_queryarg_value(reference, type);
}

static Jsonb *
resolve_json(const AtqReference *reference, void *arg)
{
	AtqTarget  *target;
	AtqEntry   *entry;

	if (reference->set.data != NULL)
		return atq_queryarg_json(reference);
	entry = answer(arg, reference, &target);
	if (entry == NULL)
		return NULL;
	return row_json(target, entry->row);
}

/* Types of the row's columns may have casts to JSON. */
static Jsonb *
row_json(const AtqTarget *target, Datum row)
{
	const AtqModel *before = atq_trust_guarded();
	Jsonb	   *json;

	if (target->guarded)
		atq_trust_guard(target->model);
	PG_TRY();
	{
		json = atq_datum_jsonb(row, target->plan->row_type);
	}
	PG_FINALLY();
	{
		atq_trust_guard(before);
	}
	PG_END_TRY();
	return json;
}
