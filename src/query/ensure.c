/*-------------------------------------------------------------------------
 *
 * ensure.c
 *	  get_or_create() and update_or_create().
 *
 * Two sessions may make the same object at the same time: INSERT .. ON CONFLICT
 * DO NOTHING waits for the other one to end.  Where that has made the row, the
 * next statement, with a snapshot of its own, finds it; under REPEATABLE READ
 * the INSERT throws 40001.  A row that is in the way but not found, because the
 * lookups say nothing of the values that collide or because row security
 * hides it, is left to a plain INSERT, whose error names the constraint.
 *
 * update_or_create() finds by an UPDATE, which waits for others and looks at
 * what they have made of the row; where that gives a second row, the error
 * undoes the first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "query/queryset.h"
#include "query/run.h"
#include "query/statement.h"
#include "query/write.h"

/* Arguments of both; the second ones are update_or_create()'s alone. */
enum
{
	ENSURE_CLASS = 0, ENSURE_LOOKUPS, ENSURE_DEFAULTS, GET_ORM,
	UPDATE_CREATE_DEFAULTS = GET_ORM, UPDATE_ORM
};

typedef struct Search
{
	AtqQueryModel *model;
	const Jsonb *lookups;
	const Jsonb *changes;		/* of the row that is found, or NULL */
} Search;

static Datum get_or_create(FunctionCallInfo fcinfo);
static Datum update_or_create(FunctionCallInfo fcinfo);
static const Jsonb *get_lookups(FunctionCallInfo fcinfo,
								const AtqQueryModel *model);
static JsonbContainer *get_defaults(FunctionCallInfo fcinfo, int arg,
									const char *name);
static Datum ensure(FunctionCallInfo fcinfo, Search *search,
					JsonbContainer *defaults);
static Jsonb *find(const Search *search);
static Jsonb *read_row(AtqQuerySet *set);
static Jsonb *change_row(const Search *search, const AtqQuery *query);
static AtqObject *make_object(const Search *search, JsonbContainer *defaults);
static Datum make_result(FunctionCallInfo fcinfo, Search *search,
						 Jsonb *object, bool created);

ATQ_QUERY_FUNCTION(atq_sql_queryset_get_or_create, get_or_create);

static Datum
get_or_create(FunctionCallInfo fcinfo)
{
	Search		search = {atq_write_open(fcinfo, GET_ORM)};

	search.lookups = get_lookups(fcinfo, search.model);
	return ensure(fcinfo, &search,
				  get_defaults(fcinfo, ENSURE_DEFAULTS, "defaults"));
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_update_or_create, update_or_create);

/* With nothing to update, what is found is as it was. */
static Datum
update_or_create(FunctionCallInfo fcinfo)
{
	Search		search = {atq_write_open(fcinfo, UPDATE_ORM)};
	JsonbContainer *defaults;

	search.lookups = get_lookups(fcinfo, search.model);
	defaults = get_defaults(fcinfo, ENSURE_DEFAULTS, "defaults");
	if (JsonContainerSize(defaults) > 0)
		search.changes = atq_object_flatten(search.model,
											PG_GETARG_JSONB_P(ENSURE_DEFAULTS));
	if (!PG_ARGISNULL(UPDATE_CREATE_DEFAULTS))
		defaults = get_defaults(fcinfo, UPDATE_CREATE_DEFAULTS,
								"create_defaults");
	return ensure(fcinfo, &search, defaults);
}

static const Jsonb *
get_lookups(FunctionCallInfo fcinfo, const AtqQueryModel *model)
{
	(void) atq_write_object(fcinfo, ENSURE_LOOKUPS, "lookups");
	return atq_object_flatten(model, PG_GETARG_JSONB_P(ENSURE_LOOKUPS));
}

/* NULL is an object without members. */
static JsonbContainer *
get_defaults(FunctionCallInfo fcinfo, int arg, const char *name)
{
	static JsonbContainer none = {JB_FOBJECT};

	return PG_ARGISNULL(arg) ? &none : atq_write_object(fcinfo, arg, name);
}

static Datum
ensure(FunctionCallInfo fcinfo, Search *search, JsonbContainer *defaults)
{
	AtqQueryModel *model = search->model;
	AtqObject  *object;
	Jsonb	   *row = find(search);

	if (row != NULL)
		return make_result(fcinfo, search, row, false);
	object = make_object(search, defaults);
	row = atq_statement_insert(model, object, object->given,
							   " ON CONFLICT DO NOTHING");
	if (row != NULL)
		return make_result(fcinfo, search, row, true);
	row = find(search);
	if (row != NULL)
		return make_result(fcinfo, search, row, false);
	row = atq_statement_insert(model, object, object->given, "");
	return make_result(fcinfo, search, row, row != NULL);
}

/* The row, changed where it is to be; NULL where there is none. */
static Jsonb *
find(const Search *search)
{
	AtqQuerySet *set = atq_queryset_make(search->model->model->orm,
										 search->model->model->class_name);

	atq_queryset_filter(set, search->lookups);
	if (search->changes != NULL)
		return change_row(search, atq_query_update(set, search->changes));
	return read_row(set);
}

static Jsonb *
read_row(AtqQuerySet *set)
{
	AtqQuery   *query;
	Jsonb	   *rows;
	JsonbValue *row;

	set->sliced = true;
	set->stop = 2;
	query = atq_query_compile(set, ATQ_QUERY_OBJECTS);
	rows = atq_query_list(query);
	if (JB_ROOT_COUNT(rows) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ROWS),
				 errmsg("query for \"%s\" gives more than one row",
						query->model->model->class_name)));
	row = getIthJsonbValueFromContainer(&rows->root, 0);
	return row == NULL ? NULL : JsonbValueToJsonb(row);
}

static Jsonb *
change_row(const Search *search, const AtqQuery *query)
{
	AtqStatement statement = {search->model, query->model->guarded};

	initStringInfo(&statement.sql);
	appendStringInfoString(&statement.sql, query->sql);
	atq_statement_returning(&statement.sql, search->model->rel);
	statement.nparams = query->nparams;
	statement.types = query->types;
	statement.values = query->values;
	statement.nulls = query->nulls;
	return atq_statement_row(&statement);
}

/* What the lookups say of columns, and the defaults, which go before. */
static AtqObject *
make_object(const Search *search, JsonbContainer *defaults)
{
	AtqObject  *object = atq_object_read(search->model,
										 &((Jsonb *) search->lookups)->root,
										 ATQ_OBJECT_LOOKUPS, NULL);

	atq_object_merge(object, atq_object_read(search->model, defaults,
											 ATQ_OBJECT_VALUES, NULL));
	return object;
}

static Datum
make_result(FunctionCallInfo fcinfo, Search *search, Jsonb *object,
			bool created)
{
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = PointerGetDatum(object);
	nulls[0] = object == NULL;
	values[1] = BoolGetDatum(created);
	nulls[1] = false;
	atq_query_model_close(search->model);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
