/*-------------------------------------------------------------------------
 *
 * terminal.c
 *	  What is asked of query sets: get(), first(), list(), count(), ..
 *
 * A terminal takes a query set apart, changes it where its question wants that
 * (a slice, an order, a condition), and has it compiled and run.  Each runs its
 * statement as a volatile function does: it sees what the transaction has done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/argument.h"
#include "query/run.h"
#include "query/terminal.h"

/* The first row, and how many have come. */
typedef struct Found
{
	MemoryContext context;
	Jsonb	   *row;
	int			n;
} Found;

/* Rows by their keys, on their way into an object. */
typedef struct Bulk
{
	MemoryContext context;
	JsonbParseState *state;
	int			nkeys;
	char	   *keys[ATQ_MAX_KEYS]; /* names of the columns */
} Bulk;

static Datum get(PG_FUNCTION_ARGS);
static Datum first(PG_FUNCTION_ARGS);
static Datum last(PG_FUNCTION_ARGS);
static Datum count(PG_FUNCTION_ARGS);
static Datum exists(PG_FUNCTION_ARGS);
static Datum list(PG_FUNCTION_ARGS);
static Datum rows(PG_FUNCTION_ARGS);
static Datum in_bulk(PG_FUNCTION_ARGS);
static Datum aggregate(PG_FUNCTION_ARGS);
static Datum explain(PG_FUNCTION_ARGS);
static Datum sql(PG_FUNCTION_ARGS);
static Datum run_scalar(const AtqQuerySet *set, AtqQueryPurpose purpose);
static Datum return_first(FunctionCallInfo fcinfo, AtqQuerySet *set,
						  const char *order);
static void check_order(const AtqQuerySet *set);
static void limit(AtqQuerySet *set, int n);
static Found find_rows(const AtqQuery *query);
static bool take_found(Jsonb *row, void *arg);
static bool store_json(Jsonb *row, void *arg);
static bool store_values(const Datum *values, const bool *nulls, void *arg);
static Jsonb *key_condition(const Jsonb *keys);
static void read_keys(const AtqQuery *query, Bulk *bulk);
static bool take_bulk(Jsonb *row, void *arg);
static char *key_text(const Bulk *bulk, const Jsonb *row);
static JsonbValue *key_value(const Jsonb *row, const char *name);

AtqQuerySet *
atq_terminal_set(FunctionCallInfo fcinfo, int arg, bool copy)
{
	atq_require_arg(fcinfo, arg, "query set");
	if (copy)
		return atq_queryset_read(PG_GETARG_JSONB_P_COPY(arg));
	return ATQ_GETARG_QUERYSET(arg);
}

/* ---- one row ---- */

ATQ_QUERY_FUNCTION(atq_sql_queryset_get, get);

/* A second row is enough to know that there are several. */
static Datum
get(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = atq_terminal_set(fcinfo, 0, false);
	Found		found;

	if (!PG_ARGISNULL(1))
		atq_queryset_filter(set, PG_GETARG_JSONB_P(1));
	if (!set->sliced && set->distinct_on == NIL)
	{
		set->order = NIL;
		set->reversed = false;
	}
	limit(set, 2);
	found = find_rows(atq_query_compile(set, ATQ_QUERY_OBJECTS));
	if (found.n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("\"%s\" matching the query does not exist",
						set->class_name)));
	if (found.n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ROWS),
				 errmsg("query for \"%s\" gives more than one row",
						set->class_name)));
	PG_RETURN_JSONB_P(found.row);
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_first, first);

static Datum
first(PG_FUNCTION_ARGS)
{
	return return_first(fcinfo, atq_terminal_set(fcinfo, 0, false), "pk");
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_last, last);

static Datum
last(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = atq_terminal_set(fcinfo, 0, false);

	if (set->sliced)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot reverse a query for \"%s\" that is sliced",
						set->class_name)));
	if (set->order != NIL)
		set->reversed = !set->reversed;
	return return_first(fcinfo, set, "-pk");
}

/* order: that of a set without one. */
static Datum
return_first(FunctionCallInfo fcinfo, AtqQuerySet *set, const char *order)
{
	Found		found;

	if (set->order == NIL)
	{
		check_order(set);
		set->order = list_make1((char *) order);
	}
	limit(set, 1);
	found = find_rows(atq_query_compile(set, ATQ_QUERY_OBJECTS));
	if (found.n == 0)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(found.row);
}

/* Throws where the key cannot be the order. */
static void
check_order(const AtqQuerySet *set)
{
	if (set->sliced)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot order a query for \"%s\" that is sliced",
						set->class_name),
				 errhint("Give it an order before the slice.")));
	if (set->grouped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("query for \"%s\" gives groups in no order",
						set->class_name),
				 errhint("Give it one with asynctasq.order_by().")));
}

/* No more than n rows. */
static void
limit(AtqQuerySet *set, int n)
{
	if (!set->sliced)
		set->start = 0;
	if (!set->sliced || set->stop < 0 || set->stop - set->start > n)
		set->stop = set->start + n;
	set->sliced = true;
}

static Found
find_rows(const AtqQuery *query)
{
	Found		found = {CurrentMemoryContext, NULL, 0};

	atq_query_each(query, take_found, &found);
	return found;
}

static bool
take_found(Jsonb *row, void *arg)
{
	Found	   *found = arg;

	if (found->n++ == 0)
	{
		found->row = MemoryContextAlloc(found->context, VARSIZE(row));
		memcpy(found->row, row, VARSIZE(row));
	}
	return true;
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_count, count);

static Datum
count(PG_FUNCTION_ARGS)
{
	return run_scalar(atq_terminal_set(fcinfo, 0, false), ATQ_QUERY_COUNT);
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_exists, exists);

static Datum
exists(PG_FUNCTION_ARGS)
{
	return run_scalar(atq_terminal_set(fcinfo, 0, false), ATQ_QUERY_EXISTS);
}

static Datum
run_scalar(const AtqQuerySet *set, AtqQueryPurpose purpose)
{
	bool		isnull;

	return atq_query_scalar(atq_query_compile(set, purpose), &isnull);
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_aggregate, aggregate);

static Datum
aggregate(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = atq_terminal_set(fcinfo, 0, false);
	Found		found;

	atq_require_arg(fcinfo, 1, "aggregates");
	found = find_rows(atq_query_aggregate(set, PG_GETARG_JSONB_P(1)));
	if (found.n == 0)
		elog(ERROR, "aggregates of \"%s\" have no row", set->class_name);
	PG_RETURN_JSONB_P(found.row);
}

/* ---- all rows ---- */

ATQ_QUERY_FUNCTION(atq_sql_queryset_list, list);

static Datum
list(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = atq_terminal_set(fcinfo, 0, false);

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	atq_query_each(atq_query_compile(set, ATQ_QUERY_OBJECTS), store_json,
				   fcinfo->resultinfo);
	return (Datum) 0;
}

static bool
store_json(Jsonb *row, void *arg)
{
	Datum		value = JsonbPGetDatum(row);
	bool		isnull = false;

	return store_values(&value, &isnull, arg);
}

static bool
store_values(const Datum *values, const bool *nulls, void *arg)
{
	ReturnSetInfo *rsinfo = arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
						 (Datum *) values, (bool *) nulls);
	return true;
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_rows, rows);

static Datum
rows(PG_FUNCTION_ARGS)
{
	AtqQuery   *query = atq_query_compile(atq_terminal_set(fcinfo, 1, false),
										  ATQ_QUERY_ROWS);
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			row_type = get_rel_type_id(query->model->model->relation);

	if (type != row_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("rows of model \"%s\" are of type %s, not %s",
						query->model->model->class_name,
						format_type_be(row_type), format_type_be(type))));
	InitMaterializedSRF(fcinfo, 0);
	atq_query_run(query, store_values, fcinfo->resultinfo);
	return (Datum) 0;
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_in_bulk, in_bulk);

static Datum
in_bulk(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = atq_terminal_set(fcinfo, 0, false);
	Bulk		bulk = {CurrentMemoryContext};
	AtqQuery   *query;

	if (set->form != ATQ_FORM_MODEL || set->grouped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot call in_bulk() on a query for \"%s\" that gives values",
						set->class_name)));
	if (!PG_ARGISNULL(1))
		atq_queryset_filter(set, key_condition(PG_GETARG_JSONB_P(1)));
	query = atq_query_compile(set, ATQ_QUERY_OBJECTS);
	read_keys(query, &bulk);
	pushJsonbValue(&bulk.state, WJB_BEGIN_OBJECT, NULL);
	atq_query_each(query, take_bulk, &bulk);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&bulk.state,
													   WJB_END_OBJECT, NULL)));
}

/* {"pk__in": keys} */
static Jsonb *
key_condition(const Jsonb *keys)
{
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvBinary};

	if (!JB_ROOT_IS_ARRAY(keys) || JB_ROOT_IS_SCALAR(keys))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys must be a JSON array")));
	key.val.string.val = "pk__in";
	key.val.string.len = strlen(key.val.string.val);
	value.val.binary.data = (JsonbContainer *) &keys->root;
	value.val.binary.len = VARSIZE(keys) - VARHDRSZ;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
read_keys(const AtqQuery *query, Bulk *bulk)
{
	const AtqQueryModel *model = query->model;

	if (model->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("\"%s\" has no primary key",
						model->model->class_name)));
	bulk->nkeys = model->nkeys;
	for (int i = 0; i < model->nkeys; i++)
		bulk->keys[i] = get_attname(model->model->relation, model->keys[i],
									false);
}

static bool
take_bulk(Jsonb *row, void *arg)
{
	Bulk	   *bulk = arg;
	MemoryContext old = MemoryContextSwitchTo(bulk->context);
	Jsonb	   *copy = palloc(VARSIZE(row));
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvBinary};

	memcpy(copy, row, VARSIZE(row));
	key.val.string.val = key_text(bulk, copy);
	key.val.string.len = strlen(key.val.string.val);
	value.val.binary.data = &copy->root;
	value.val.binary.len = VARSIZE(copy) - VARHDRSZ;
	pushJsonbValue(&bulk->state, WJB_KEY, &key);
	pushJsonbValue(&bulk->state, WJB_VALUE, &value);
	MemoryContextSwitchTo(old);
	return true;
}

/* A key of several columns goes as a list. */
static char *
key_text(const Bulk *bulk, const Jsonb *row)
{
	JsonbParseState *state = NULL;
	JsonbValue *value;
	Jsonb	   *json;

	if (bulk->nkeys == 1)
	{
		value = key_value(row, bulk->keys[0]);
		if (value->type == jbvString)
			return pnstrdup(value->val.string.val, value->val.string.len);
		json = JsonbValueToJsonb(value);
		return JsonbToCString(NULL, &json->root, VARSIZE(json));
	}
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < bulk->nkeys; i++)
		pushJsonbValue(&state, WJB_ELEM, key_value(row, bulk->keys[i]));
	json = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

static JsonbValue *
key_value(const Jsonb *row, const char *name)
{
	JsonbValue *value =
		getKeyJsonValueFromContainer((JsonbContainer *) &row->root, name,
									 strlen(name), NULL);

	if (value == NULL)
		elog(ERROR, "row of a query set lacks its key");
	return value;
}

/* ---- the statement itself ---- */

ATQ_QUERY_FUNCTION(atq_sql_queryset_explain, explain);

static Datum
explain(PG_FUNCTION_ARGS)
{
	AtqQuery   *query = atq_query_compile(atq_terminal_set(fcinfo, 0, false),
										  ATQ_QUERY_OBJECTS);
	Oid			type = TEXTOID;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	query->sql = psprintf("EXPLAIN %s", query->sql);
	query->ncolumns = 1;
	query->column_types = &type;
	atq_query_run(query, store_values, fcinfo->resultinfo);
	return (Datum) 0;
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_sql, sql);

static Datum
sql(PG_FUNCTION_ARGS)
{
	AtqQuery   *query = atq_query_compile(atq_terminal_set(fcinfo, 0, false),
										  ATQ_QUERY_OBJECTS);

	PG_RETURN_TEXT_P(cstring_to_text(query->sql));
}
