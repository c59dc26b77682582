/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  From references to fresh rows, by primary key through SPI.
 *
 * A resolution keeps a target for each model and an entry for each distinct
 * reference.  All entries of a target are read by one query: by the key if
 * there is one entry, else by a join with the unnested arrays of the key
 * columns' values, whose ordinality says which row answers which entry.
 *
 * The statements run as the current user, with nothing to help them: table
 * privileges, column privileges and row security are those of a SELECT of
 * that user.  All names and operators in them are qualified.
 *
 * The query of a model is prepared once and kept in its registry entry
 * (AtqModel.plan), in the registry's context; a callback frees the SPI plans
 * when that context goes.  A model whose table had been dropped and is there
 * again is looked up anew.  All else lives in the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "store/relkey.h"
#include "task/resolve.h"
#include "wire/text.h"

/* The query of a model; owned by the registry's context. */
typedef struct ModelPlan
{
	Oid			relation;
	Oid			row_type;
	int			nkeys;
	AtqTypeInfo *types[ATQ_MAX_KEYS];
	Oid			array_types[ATQ_MAX_KEYS];
	char	   *one_sql;
	char	   *many_sql;
	SPIPlanPtr	one;
	SPIPlanPtr	many;
	MemoryContextCallback callback;
} ModelPlan;

typedef struct Target
{
	const char *orm;
	char	   *class_name;
	AtqModel   *model;
	ModelPlan  *plan;
	List	   *entries;
} Target;

typedef struct EntryKey
{
	Target	   *target;
	AtqSpan		key;
} EntryKey;

typedef struct Entry
{
	EntryKey	id;
	bool		found;
	Datum		row;
} Entry;

struct AtqResolution
{
	List	   *targets;
	HTAB	   *entries;		/* made with the first reference */
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
static Entry *find_entry(AtqResolution *resolution, Target *target,
						 AtqSpan key, bool create);
static HTAB *make_entries(MemoryContext context);
static uint32 hash_entry(const void *key, Size size);
static int	match_entry(const void *a, const void *b, Size size);
static void fetch_target(AtqResolution *resolution, Target *target);
static ModelPlan *get_plan(Target *target);
static ModelPlan *make_plan(const Target *target, MemoryContext context);
static void free_plans(void *arg);
static char *key_condition(Relation rel, AttrNumber column,
						   const char *value);
static char *one_statement(Relation rel, int nkeys,
						   const AttrNumber *columns);
static char *many_statement(Relation rel, int nkeys,
							const AttrNumber *columns);
static void prepare(SPIPlanPtr *plan, const char *sql, int nargs,
					Oid *types);
static void fetch_one(AtqResolution *resolution, Target *target);
static void fetch_many(AtqResolution *resolution, Target *target);
static void keep_row(AtqResolution *resolution, const Target *target,
					 Entry *entry, int row, int column);
static void read_keys(const Target *target, const Entry *entry,
					  Datum *values);
static void report_key(void *arg);
static char *key_text(AtqSpan key);
static Entry *answer(AtqResolution *resolution,
					 const AtqReference *reference);
static Datum resolve_row(const AtqReference *reference, Oid row_type,
						 bool *isnull, void *arg);
static Jsonb *resolve_json(const AtqReference *reference, void *arg);

AtqResolution *
atq_resolve_begin(void)
{
	AtqResolution *resolution = palloc0(sizeof(AtqResolution));

	resolution->context = CurrentMemoryContext;
	resolution->resolver.row = resolve_row;
	resolution->resolver.json = resolve_json;
	resolution->resolver.arg = resolution;
	return resolution;
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

static void
note_reference(const AtqReference *reference, void *arg)
{
	AtqResolution *resolution = arg;
	Target	   *target = find_target(resolution, reference, true);

	(void) find_entry(resolution, target, reference->key, true);
}

/* The target of a reference's model; a task refers to few models. */
static Target *
find_target(AtqResolution *resolution, const AtqReference *reference,
			bool create)
{
	Target	   *target;
	ListCell   *lc;
	AtqSpan		name;

	foreach(lc, resolution->targets)
	{
		target = lfirst(lc);
		if (strcmp(target->orm, reference->orm) == 0 &&
			atq_text_is(reference->class_name, target->class_name))
			return target;
	}
	if (!create)
		return NULL;
	target = palloc0(sizeof(Target));
	target->orm = reference->orm;
	target->class_name = pnstrdup(reference->class_name.data,
								  reference->class_name.len);
	name = atq_text_import(reference->class_name);
	target->model = atq_registry_model(reference->orm, name);
	if (target->model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" (%s) is not registered",
						atq_text_cstring(reference->class_name),
						reference->orm),
				 errhint("Register it with asynctasq.register_model().")));
	resolution->targets = lappend(resolution->targets, target);
	return target;
}

static Entry *
find_entry(AtqResolution *resolution, Target *target, AtqSpan key,
		   bool create)
{
	EntryKey	id = {target, key};
	Entry	   *entry;
	bool		found;

	if (resolution->entries == NULL)
		resolution->entries = make_entries(resolution->context);
	entry = hash_search(resolution->entries, &id,
						create ? HASH_ENTER : HASH_FIND, &found);
	if (create && !found)
	{
		entry->found = false;
		target->entries = lappend(target->entries, entry);
	}
	return entry;
}

static HTAB *
make_entries(MemoryContext context)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(EntryKey);
	ctl.entrysize = sizeof(Entry);
	ctl.hash = hash_entry;
	ctl.match = match_entry;
	ctl.hcxt = context;
	return hash_create("asynctasq references", 16, &ctl,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
					   HASH_CONTEXT);
}

static uint32
hash_entry(const void *key, Size size)
{
	const EntryKey *id = key;

	return hash_combine(hash_bytes((const unsigned char *) id->key.data,
								   id->key.len),
						hash_bytes((const unsigned char *) &id->target,
								   sizeof(id->target)));
}

static int
match_entry(const void *a, const void *b, Size size)
{
	const EntryKey *left = a;
	const EntryKey *right = b;

	if (left->target != right->target || left->key.len != right->key.len)
		return 1;
	return memcmp(left->key.data, right->key.data, left->key.len);
}

void
atq_resolve_fetch(AtqResolution *resolution)
{
	ListCell   *lc;

	foreach(lc, resolution->targets)
		fetch_target(resolution, lfirst(lc));
}

static void
fetch_target(AtqResolution *resolution, Target *target)
{
	target->plan = get_plan(target);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (list_length(target->entries) == 1)
		fetch_one(resolution, target);
	else
		fetch_many(resolution, target);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* The model's kept query; made in a context of its own until complete. */
static ModelPlan *
get_plan(Target *target)
{
	AtqModel   *model = target->model;
	MemoryContext context;
	ModelPlan  *plan;

	if (model->plan != NULL)
		return model->plan;
	context = AllocSetContextCreate(CurrentMemoryContext,
									"asynctasq model",
									ALLOCSET_SMALL_SIZES);
	plan = make_plan(target, context);
	MemoryContextSetParent(context, GetMemoryChunkContext(model));
	plan->callback.func = free_plans;
	plan->callback.arg = plan;
	MemoryContextRegisterResetCallback(context, &plan->callback);
	model->plan = plan;
	return plan;
}

static void
free_plans(void *arg)
{
	ModelPlan  *plan = arg;

	if (plan->one != NULL)
		SPI_freeplan(plan->one);
	if (plan->many != NULL)
		SPI_freeplan(plan->many);
}

static ModelPlan *
make_plan(const Target *target, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	AtqModel   *model = target->model;
	ModelPlan  *plan = palloc0(sizeof(ModelPlan));
	AttrNumber	columns[ATQ_MAX_KEYS];
	Relation	rel;

	rel = OidIsValid(model->relation) ?
		try_relation_open(model->relation, AccessShareLock) : NULL;
	if (rel == NULL)
	{
		atq_registry_forget();
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s of model \"%s\" does not exist",
						model->relation_name, model->class_name)));
	}
	plan->relation = RelationGetRelid(rel);
	plan->row_type = rel->rd_rel->reltype;
	plan->nkeys = atq_relkey_columns(rel, model, columns);
	if (plan->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("relation %s of model \"%s\" has no primary key",
						model->relation_name, model->class_name),
				 errhint("Register the model with asynctasq.register_model(..., key => ...).")));
	for (int i = 0; i < plan->nkeys; i++)
	{
		Form_pg_attribute column =
			TupleDescAttr(RelationGetDescr(rel), columns[i] - 1);
		Oid			type = getBaseType(column->atttypid);

		plan->types[i] = atq_datum_prepare(type, -1, context);
		plan->array_types[i] = get_array_type(type);
	}
	plan->one_sql = one_statement(rel, plan->nkeys, columns);
	plan->many_sql = many_statement(rel, plan->nkeys, columns);
	relation_close(rel, AccessShareLock);
	MemoryContextSwitchTo(old);
	return plan;
}

static char *
qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/* "row.column = value", by the equality operator of the column's type. */
static char *
key_condition(Relation rel, AttrNumber column, const char *value)
{
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(rel), column - 1);
	Oid			type = getBaseType(attribute->atttypid);
	TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	HeapTuple	tuple;
	Form_pg_operator operator;
	char	   *condition;

	if (!OidIsValid(cache->eq_opr))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("key column \"%s\" of relation \"%s\" has a type without equality operator: %s",
						NameStr(attribute->attname),
						RelationGetRelationName(rel), format_type_be(type))));
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(cache->eq_opr));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", cache->eq_opr);
	operator = (Form_pg_operator) GETSTRUCT(tuple);
	condition = psprintf("asynctasq_row.%s OPERATOR(%s.%s) %s",
						 quote_identifier(NameStr(attribute->attname)),
						 quote_identifier(get_namespace_name(operator->oprnamespace)),
						 NameStr(operator->oprname), value);
	ReleaseSysCache(tuple);
	return condition;
}

static char *
one_statement(Relation rel, int nkeys, const AttrNumber *columns)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT asynctasq_row FROM %s AS asynctasq_row",
					 qualified_name(rel));
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&sql, " %s %s", i == 0 ? "WHERE" : "AND",
						 key_condition(rel, columns[i],
									   psprintf("$%d", i + 1)));
	return sql.data;
}

static char *
many_statement(Relation rel, int nkeys, const AttrNumber *columns)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT asynctasq_key.ord, asynctasq_row FROM ROWS FROM (");
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&sql, "%spg_catalog.unnest($%d)",
						 i == 0 ? "" : ", ", i + 1);
	appendStringInfoString(&sql, ") WITH ORDINALITY AS asynctasq_key (");
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&sql, "k%d, ", i + 1);
	appendStringInfo(&sql, "ord) JOIN %s AS asynctasq_row ON",
					 qualified_name(rel));
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&sql, "%s %s", i == 0 ? "" : " AND",
						 key_condition(rel, columns[i],
									   psprintf("asynctasq_key.k%d", i + 1)));
	return sql.data;
}

static void
prepare(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr	made;

	if (*plan != NULL)
		return;
	made = SPI_prepare(sql, nargs, types);
	if (made == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(made);
	*plan = made;
}

static void
fetch_one(AtqResolution *resolution, Target *target)
{
	ModelPlan  *plan = target->plan;
	Entry	   *entry = linitial(target->entries);
	Datum		values[ATQ_MAX_KEYS];
	Oid			types[ATQ_MAX_KEYS];

	for (int i = 0; i < plan->nkeys; i++)
		types[i] = plan->types[i]->type;
	read_keys(target, entry, values);
	prepare(&plan->one, plan->one_sql, plan->nkeys, types);
	if (SPI_execute_plan(plan->one, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	for (uint64 i = 0; i < SPI_processed; i++)
		keep_row(resolution, target, entry, i, 1);
}

static void
fetch_many(AtqResolution *resolution, Target *target)
{
	ModelPlan  *plan = target->plan;
	int			n = list_length(target->entries);
	Datum	   *columns[ATQ_MAX_KEYS];
	Datum		arrays[ATQ_MAX_KEYS];
	ListCell   *lc;

	for (int i = 0; i < plan->nkeys; i++)
		columns[i] = palloc(sizeof(Datum) * n);
	foreach(lc, target->entries)
	{
		Datum		values[ATQ_MAX_KEYS];

		CHECK_FOR_INTERRUPTS();
		read_keys(target, lfirst(lc), values);
		for (int i = 0; i < plan->nkeys; i++)
			columns[i][foreach_current_index(lc)] = values[i];
	}
	for (int i = 0; i < plan->nkeys; i++)
	{
		AtqTypeInfo *type = plan->types[i];

		arrays[i] = PointerGetDatum(construct_array(columns[i], n, type->type,
													type->len, type->by_value,
													type->align));
	}
	prepare(&plan->many, plan->many_sql, plan->nkeys, plan->array_types);
	if (SPI_execute_plan(plan->many, arrays, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		ord;

		ord = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 1, &isnull));
		keep_row(resolution, target, list_nth(target->entries, ord - 1), i,
				 2);
	}
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
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ROWS),
				 errmsg("model \"%s\" has more than one row with key %s",
						target->model->class_name, key_text(entry->id.key))));
	old = MemoryContextSwitchTo(resolution->context);
	entry->row = datumCopy(value, false, -1);
	entry->found = true;
	MemoryContextSwitchTo(old);
}

/* The key's values in the types of the key's columns. */
static void
read_keys(const Target *target, const Entry *entry, Datum *values)
{
	ModelPlan  *plan = target->plan;
	KeyContext	context = {target, entry->id.key};
	ErrorContextCallback callback;
	AtqReader	reader;
	AtqToken	token;
	uint32		count = 1;

	atq_msgpack_open(&reader, entry->id.key);
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
		atq_msgpack_open(&reader, entry->id.key);
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
		values[i] = atq_datum_decode_key(atq_msgpack_skip(&reader),
										 plan->types[i]);
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

/*
 * The entry that answers a reference, or NULL where the row is missing and
 * its model says that this is no error.
 */
static Entry *
answer(AtqResolution *resolution, const AtqReference *reference)
{
	Target	   *target = find_target(resolution, reference, false);
	Entry	   *entry = target == NULL ? NULL :
		find_entry(resolution, target, reference->key, false);
	bool		discard;

	if (entry == NULL)
		elog(ERROR, "reference was not fetched");
	if (entry->found)
		return entry;
	if (target->model->on_missing == ATQ_MISSING_NULL)
	{
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("\"%s\" with key %s does not exist",
						target->model->class_name,
						key_text(reference->key))));
		return NULL;
	}
	discard = target->model->on_missing == ATQ_MISSING_DISCARD;
	ereport(ERROR,
			(errcode(discard ? ATQ_ERRCODE_DISCARD : ERRCODE_NO_DATA_FOUND),
			 errmsg("\"%s\" with key %s does not exist",
					target->model->class_name, key_text(reference->key))));
}

static Datum
resolve_row(const AtqReference *reference, Oid row_type, bool *isnull,
			void *arg)
{
	Entry	   *entry = answer(arg, reference);

	*isnull = entry == NULL;
	if (entry == NULL)
		return (Datum) 0;
	if (entry->id.target->plan->row_type != row_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a reference to model \"%s\" is a row of type %s, not %s",
						entry->id.target->model->class_name,
						format_type_be(entry->id.target->plan->row_type),
						format_type_be(row_type))));
	return entry->row;
}

static Jsonb *
resolve_json(const AtqReference *reference, void *arg)
{
	Entry	   *entry = answer(arg, reference);

	if (entry == NULL)
		return NULL;
	return atq_datum_jsonb(entry->row, entry->id.target->plan->row_type);
}
