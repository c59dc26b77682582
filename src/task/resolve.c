/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  From references to fresh rows, by primary key through SPI.
 *
 * A resolution keeps a target for each model and an entry for each distinct
 * reference.  All entries of a target are read by one query: by the key if
 * there is one entry, else by a join with the unnested arrays of the key
 * columns' values, whose ordinality says which row answers which entry.  Only
 * when there are more than MAX_CHUNK of them it takes several queries, so that
 * no more than these are held twice.
 *
 * Rows of models on other servers are read first, of all such models at once
 * (remote/rows.c).
 *
 * Up to FEW_ROWS rows of a plain table are read from the key's index instead,
 * where that is just what the query would give (keyread.c).
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
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/relkey.h"
#include "store/trust.h"
#include "task/modelplan.h"
#include "task/queryarg.h"
#include "task/resolve.h"
#include "wire/text.h"

/* Rows that one query reads at most. */
#define MAX_CHUNK	10000

/* Rows of a model up to which no index of entries, and no query, is worth it. */
#define FEW_ROWS	8

typedef struct Target
{
	const char *orm;
	char	   *class_name;
	AtqModel   *model;
	uint64		generation;		/* of the registry, when it was looked up */
	AtqModelPlan *plan;
	bool		guarded;		/* see trust.h */
	List	   *entries;
	HTAB	   *index;			/* of the entries, if they are many */
} Target;

typedef struct Entry
{
	AtqSpan		key;
	bool		found;
	Datum		row;
} Entry;

/* An entry in its target's index. */
typedef struct EntryLink
{
	AtqSpan		key;
	Entry	   *entry;
} EntryLink;

struct AtqResolution
{
	AtqRowLock	lock;
	bool		required;		/* a missing row is an error */
	List	   *targets;
	MemoryContext context;
	AtqResolver resolver;
};

/* For the error context of converting a key. */
typedef struct KeyContext
{
	const Target *target;
	AtqSpan		key;
} KeyContext;

static void note_reference(const AtqReference *reference, void *arg);
static Target *find_target(AtqResolution *resolution,
						   const AtqReference *reference, bool create);
static Target *make_target(const AtqReference *reference);
static void look_up_model(Target *target, AtqSpan class_name);
static AtqModel *find_model(const char *orm, AtqSpan class_name);
static Entry *find_entry(const Target *target, AtqSpan key);
static void add_entry(AtqResolution *resolution, Target *target, AtqSpan key);
static void index_entries(AtqResolution *resolution, Target *target);
static void index_entry(Target *target, Entry *entry);
static uint32 hash_key(const void *key, Size size);
static int	match_key(const void *a, const void *b, Size size);
static void lock_target(Target *target);
static void fetch_target(AtqResolution *resolution, Target *target);
static void fetch_guarded(AtqResolution *resolution, Target *target);
static void read_target(AtqResolution *resolution, Target *target);
static void fetch_remote(AtqResolution *resolution, List *targets);
static void request_rows(Target *target, int first, AtqRowsRequest *request);
static void keep_rows(Target *target, int first,
					  const AtqRowsRequest *request);
static void refuse_ambiguous(const Target *target, AtqSpan key) atq_noreturn;
static Datum *key_arrays(Target *target, int first, int n);
static bool fetch_by_index(AtqResolution *resolution, Target *target);
static SPIPlanPtr prepare(const Target *target, SPIPlanPtr *kept, char *sql,
						  int nargs, Oid *types);
static void fetch_one(AtqResolution *resolution, Target *target);
static void fetch_many(AtqResolution *resolution, Target *target, int first,
					   int n);
static void keep_row(AtqResolution *resolution, const Target *target,
					 Entry *entry, int row, int column);
static void read_keys(const Target *target, AtqSpan key, Datum *values);
static void report_key(void *arg);
static void report_missing(const AtqModel *model, AtqSpan key, int level,
						   int code);
static char *key_text(AtqSpan key);
static Entry *answer(AtqResolution *resolution,
					 const AtqReference *reference, Target **target);
static Datum resolve_row(const AtqReference *reference, Oid row_type,
						 bool *isnull, void *arg);
static Datum resolve_set(const AtqReference *reference,
						 const AtqTypeInfo *type, void *arg);
static Jsonb *resolve_json(const AtqReference *reference, void *arg);

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

void
atq_resolve_require(AtqResolution *resolution)
{
	resolution->required = true;
}

void
atq_resolve_note(AtqResolution *resolution, AtqSpan value)
{
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
	Target	   *target;

	if (reference->set.data != NULL)
		return;
	target = find_target(resolution, reference, true);
	if (find_entry(target, reference->key) == NULL)
		add_entry(resolution, target, reference->key);
}

/* The target of a reference's model; a task refers to few models. */
static Target *
find_target(AtqResolution *resolution, const AtqReference *reference,
			bool create)
{
	Target	   *target;
	ListCell   *lc;

	foreach(lc, resolution->targets)
	{
		target = lfirst(lc);
		if (strcmp(target->orm, reference->orm) == 0 &&
			atq_text_is(reference->class_name, target->class_name))
			return target;
	}
	if (!create)
		return NULL;
	target = make_target(reference);
	resolution->targets = lappend(resolution->targets, target);
	return target;
}

static Target *
make_target(const AtqReference *reference)
{
	Target	   *target = palloc0(sizeof(Target));

	target->orm = reference->orm;
	target->class_name = pnstrdup(reference->class_name.data,
								  reference->class_name.len);
	look_up_model(target, reference->class_name);
	return target;
}

static void
look_up_model(Target *target, AtqSpan class_name)
{
	target->model = find_model(target->orm, class_name);
	target->generation = atq_registry_generation();
}

static AtqModel *
find_model(const char *orm, AtqSpan class_name)
{
	AtqModel   *model = atq_registry_model(orm, atq_text_import(class_name));

	if (model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" (%s) is not registered",
						atq_text_cstring(class_name), orm),
				 errhint("Register it with asynctasq.register_model().")));
	return model;
}

static Entry *
find_entry(const Target *target, AtqSpan key)
{
	EntryLink  *link;
	ListCell   *lc;

	if (target->index != NULL)
	{
		link = hash_search(target->index, &key, HASH_FIND, NULL);
		return link ? link->entry : NULL;
	}
	foreach(lc, target->entries)
	{
		Entry	   *entry = lfirst(lc);

		if (match_key(&entry->key, &key, 0) == 0)
			return entry;
	}
	return NULL;
}

static void
add_entry(AtqResolution *resolution, Target *target, AtqSpan key)
{
	Entry	   *entry = palloc0(sizeof(Entry));

	entry->key = key;
	target->entries = lappend(target->entries, entry);
	if (target->index != NULL)
		index_entry(target, entry);
	else if (list_length(target->entries) > FEW_ROWS)
		index_entries(resolution, target);
}

static void
index_entries(AtqResolution *resolution, Target *target)
{
	HASHCTL		ctl;
	ListCell   *lc;

	ctl.keysize = sizeof(AtqSpan);
	ctl.entrysize = sizeof(EntryLink);
	ctl.hash = hash_key;
	ctl.match = match_key;
	ctl.hcxt = resolution->context;
	target->index = hash_create("asynctasq references", 64, &ctl,
								HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								HASH_CONTEXT);
	foreach(lc, target->entries)
		index_entry(target, lfirst(lc));
}

static void
index_entry(Target *target, Entry *entry)
{
	EntryLink  *link = hash_search(target->index, &entry->key, HASH_ENTER,
								   NULL);

	link->entry = entry;
}

static uint32
hash_key(const void *key, Size size)
{
	const AtqSpan *span = key;

	return hash_bytes((const unsigned char *) span->data, span->len);
}

static int
match_key(const void *a, const void *b, Size size)
{
	const AtqSpan *left = a;
	const AtqSpan *right = b;

	if (left->len != right->len)
		return 1;
	return memcmp(left->data, right->data, left->len);
}

void
atq_resolve_fetch(AtqResolution *resolution)
{
	List	   *remote = NIL;
	ListCell   *lc;

	foreach(lc, resolution->targets)
	{
		Target	   *target = lfirst(lc);

		if (target->model->server != NULL)
			remote = lappend(remote, target);
	}
	if (remote != NIL)
		fetch_remote(resolution, remote);
	foreach(lc, resolution->targets)
	{
		if (!list_member_ptr(remote, lfirst(lc)))
			fetch_target(resolution, lfirst(lc));
	}
}

/* One query for each model, all under way at the same time. */
static void
fetch_remote(AtqResolution *resolution, List *targets)
{
	AtqRowsRequest *requests;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, targets)
	{
		Target	   *target = lfirst(lc);

		if (resolution->lock != ATQ_LOCK_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("rows of model \"%s\" cannot be locked",
							target->model->class_name),
					 errdetail("They are on server \"%s\".",
							   target->model->server)));
		lock_target(target);
		if (!atq_trust_model(target->model))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for model \"%s\"",
							target->model->class_name),
					 errdetail("Neither who has registered it nor the owner of its relation may act as role \"%s\", whose rights on server \"%s\" it would use.",
							   GetUserNameFromId(GetUserId(), false),
							   target->model->server)));
		target->plan = atq_modelplan_get(target->model);
		n += list_length(target->entries) / MAX_CHUNK + 1;
	}
	requests = palloc0(n * sizeof(AtqRowsRequest));
	n = 0;
	foreach(lc, targets)
	{
		Target	   *target = lfirst(lc);

		for (int first = 0; first < list_length(target->entries);
			 first += MAX_CHUNK)
			request_rows(target, first, &requests[n++]);
	}
	atq_rows_fetch(requests, n);
	n = 0;
	foreach(lc, targets)
	{
		Target	   *target = lfirst(lc);

		for (int first = 0; first < list_length(target->entries);
			 first += MAX_CHUNK)
			keep_rows(target, first, &requests[n++]);
	}
}

static void
request_rows(Target *target, int first, AtqRowsRequest *request)
{
	request->table = target->plan->remote;
	request->server = target->model->server;
	request->n = Min(list_length(target->entries) - first, MAX_CHUNK);
	request->keys = key_arrays(target, first, request->n);
}

static void
keep_rows(Target *target, int first, const AtqRowsRequest *request)
{
	if (request->ambiguous)
		refuse_ambiguous(target,
						 ((Entry *) list_nth(target->entries,
											 first + request->ambiguous_key))->key);
	for (int i = 0; i < request->n; i++)
	{
		Entry	   *entry = list_nth(target->entries, first + i);

		entry->found = request->found[i];
		entry->row = request->rows[i];
	}
}

static void
fetch_target(AtqResolution *resolution, Target *target)
{
	lock_target(target);
	target->guarded = !atq_trust_model(target->model);
	if (target->guarded)
		fetch_guarded(resolution, target);
	else
		read_target(resolution, target);
}

static void
fetch_guarded(AtqResolution *resolution, Target *target)
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
read_target(AtqResolution *resolution, Target *target)
{
	int			n = list_length(target->entries);

	target->plan = atq_modelplan_get(target->model);
	if (n <= FEW_ROWS && fetch_by_index(resolution, target))
		return;
	if (n == 1)
		fetch_one(resolution, target);
	else
	{
		for (int first = 0; first < n; first += MAX_CHUNK)
			fetch_many(resolution, target, first, Min(n - first, MAX_CHUNK));
	}
}

/*
 * Waits for whoever changes the model's relation, and takes the model as it
 * is then.  SELECT takes the same lock.
 */
static void
lock_target(Target *target)
{
	AtqSpan		name = {target->class_name, strlen(target->class_name)};
	Oid			relation;

	do
	{
		relation = target->model->relation;
		if (OidIsValid(relation))
			LockRelationOid(relation, AccessShareLock);
		if (target->generation == atq_registry_generation())
			return;
		look_up_model(target, name);
	} while (target->model->relation != relation);
}

/* Reads the rows without a query; false where it takes one. */
static bool
fetch_by_index(AtqResolution *resolution, Target *target)
{
	AtqKeyReader *reader = target->plan->reader;
	Relation	rel;
	ListCell   *lc;

	if (reader == NULL || resolution->lock != ATQ_LOCK_NONE)
		return false;
	rel = atq_keyread_open(reader);
	if (rel == NULL)
		return false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, target->entries)
	{
		Entry	   *entry = lfirst(lc);
		Datum		keys[ATQ_MAX_KEYS];

		read_keys(target, entry->key, keys);
		entry->found = atq_keyread_find(reader, rel, keys, &entry->row);
	}
	PopActiveSnapshot();
	atq_keyread_close(rel);
	return true;
}

/*
 * Makes a statement and keeps it, unless it is guarded: that it was planned
 * for one user says nothing about the next.
 */
static SPIPlanPtr
prepare(const Target *target, SPIPlanPtr *kept, char *sql, int nargs,
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
fetch_one(AtqResolution *resolution, Target *target)
{
	AtqModelPlan *plan = target->plan;
	SPIPlanPtr	statement = plan->one[resolution->lock];
	Entry	   *entry = linitial(target->entries);
	Datum		values[ATQ_MAX_KEYS];
	Oid			types[ATQ_MAX_KEYS];

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < plan->nkeys; i++)
		types[i] = plan->types[i]->type;
	read_keys(target, entry->key, values);
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
fetch_many(AtqResolution *resolution, Target *target, int first, int n)
{
	AtqModelPlan *plan = target->plan;
	SPIPlanPtr	statement = plan->many[resolution->lock];
	Datum	   *arrays;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	arrays = key_arrays(target, first, n);
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

/* The values of n entries, an array for each column of the key. */
static Datum *
key_arrays(Target *target, int first, int n)
{
	AtqModelPlan *plan = target->plan;
	Datum	   *columns[ATQ_MAX_KEYS];
	Datum	   *arrays = palloc(sizeof(Datum) * plan->nkeys);

	for (int i = 0; i < plan->nkeys; i++)
		columns[i] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		Entry	   *entry = list_nth(target->entries, first + i);
		Datum		values[ATQ_MAX_KEYS];

		CHECK_FOR_INTERRUPTS();
		read_keys(target, entry->key, values);
		for (int j = 0; j < plan->nkeys; j++)
			columns[j][i] = values[j];
	}
	for (int i = 0; i < plan->nkeys; i++)
	{
		AtqTypeInfo *type = plan->types[i];

		arrays[i] = PointerGetDatum(construct_array(columns[i], n, type->type,
													type->len, type->by_value,
													type->align));
	}
	return arrays;
}

/* Copies a row of the SPI result into the resolution's context. */
static void
keep_row(AtqResolution *resolution, const Target *target, Entry *entry,
		 int row, int column)
{
	MemoryContext old;
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	if (entry->found)
		refuse_ambiguous(target, entry->key);
	old = MemoryContextSwitchTo(resolution->context);
	entry->row = datumCopy(value, false, -1);
	entry->found = true;
	MemoryContextSwitchTo(old);
}

static void
refuse_ambiguous(const Target *target, AtqSpan key)
{
	ereport(ERROR,
			(errcode(ERRCODE_TOO_MANY_ROWS),
			 errmsg("model \"%s\" has more than one row with key %s",
					target->model->class_name, key_text(key))));
}

/* The key's values in the types of the key's columns. */
static void
read_keys(const Target *target, AtqSpan key, Datum *values)
{
	AtqModelPlan *plan = target->plan;
	KeyContext	context = {target, key};
	ErrorContextCallback callback;
	AtqReader	reader;
	AtqToken	token;
	uint32		count = 1;

	atq_msgpack_open(&reader, key);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_NIL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reference to model \"%s\" has no key",
						target->model->class_name),
				 errhint("The object had not been saved when the task was dispatched.")));
	if (token.kind == ATQ_TOKEN_ARRAY)
		count = token.count;
	else
		atq_msgpack_open(&reader, key);
	if (count != plan->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key of a reference to model \"%s\" has %u values, but %d are needed",
						target->model->class_name, count, plan->nkeys)));

	callback.callback = report_key;
	callback.arg = &context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	for (int i = 0; i < plan->nkeys; i++)
	{
		AtqReader	at = reader;

		atq_msgpack_next(&at, &token);
		if (token.kind == ATQ_TOKEN_NIL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("key of a reference to model \"%s\" contains nil",
							target->model->class_name)));
		values[i] = atq_datum_decode_key(atq_msgpack_skip(&reader),
										 plan->types[i]);
	}
	error_context_stack = callback.previous;
}

static void
report_key(void *arg)
{
	KeyContext *context = arg;

	errcontext("key %s of a reference to model \"%s\"",
			   key_text(context->key), context->target->model->class_name);
}

static char *
key_text(AtqSpan key)
{
	StringInfoData buf;

	initStringInfo(&buf);
	atq_json_print(&buf, key);
	return buf.data;
}

void
atq_resolve_locate(const AtqReference *reference, AtqLocation *location)
{
	Target	   *target = make_target(reference);

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
	read_keys(target, reference->key, location->values);
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
					model->class_name, key_text(key))));
}

/*
 * The entry that answers a reference, or NULL where the row is missing and
 * its model says that this is no error.
 */
static Entry *
answer(AtqResolution *resolution, const AtqReference *reference,
	   Target **target)
{
	Entry	   *entry;

	*target = find_target(resolution, reference, false);
	entry = *target ? find_entry(*target, reference->key) : NULL;
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
	Target	   *target;
	Entry	   *entry = answer(arg, reference, &target);

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
	Target	   *target;
	Entry	   *entry;

	if (reference->set.data != NULL)
		return atq_queryarg_json(reference);
	entry = answer(arg, reference, &target);
	if (entry == NULL)
		return NULL;
	return atq_datum_jsonb(entry->row, target->plan->row_type);
}
