/*-------------------------------------------------------------------------
 *
 * bulk.c
 *	  bulk_create() and bulk_update().
 *
 * The rows of a statement are one parameter, an array of the relation's row
 * type; the statement takes from it the columns that the objects have.  A
 * column that they do not have gets its default, so that all objects of one
 * INSERT have the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "query/run.h"
#include "query/statement.h"
#include "query/write.h"
#include "wire/datum.h"

/* Rows that one statement is to write. */
typedef struct Batch
{
	const AtqQueryModel *model;
	Bitmapset  *columns;		/* that they have */
	int			nrows;
	int			max;
	Datum	   *rows;
	MemoryContext context;		/* of the three; reset after each statement */
	MemoryContext row_context;	/* of an object; reset when it has been added */
} Batch;

/* Arguments of bulk_create(). */
enum
{
	CREATE_CLASS = 0, CREATE_ROWS, CREATE_SIZE, CREATE_IGNORE, CREATE_UPDATE,
	CREATE_UPDATE_FIELDS, CREATE_UNIQUE_FIELDS, CREATE_ORM
};

static Datum bulk_create(FunctionCallInfo fcinfo);
static Datum bulk_update(FunctionCallInfo fcinfo);
static char *conflict_clause(FunctionCallInfo fcinfo,
							 const AtqQueryModel *model);
static bool get_bool(FunctionCallInfo fcinfo, int arg);
static int	get_batch_size(FunctionCallInfo fcinfo);
static void begin_batch(Batch *batch, const AtqQueryModel *model);
static void end_batch(Batch *batch);
static AtqObject *next_object(JsonbIterator **it, Batch *batch,
							  const Bitmapset *wanted, int *number);
static AtqObject *read_object(const JsonbValue *value,
							  const AtqQueryModel *model,
							  const Bitmapset *wanted);
static void report_object(void *arg);
static void add_row(Batch *batch, const AtqObject *object,
					const Bitmapset *columns);
static void insert_batch(Batch *batch, const char *conflict,
						 ReturnSetInfo *result);
static void put_rows(const Batch *batch, ReturnSetInfo *result);
static uint64 update_batch(Batch *batch, const Bitmapset *set);
static void begin_statement(AtqStatement *statement, const Batch *batch);
static void append_source(AtqStatement *statement, const Batch *batch);

ATQ_QUERY_FUNCTION(atq_sql_queryset_bulk_create, bulk_create);

static Datum
bulk_create(FunctionCallInfo fcinfo)
{
	AtqQueryModel *model = atq_write_open(fcinfo, CREATE_ORM);
	JsonbContainer *rows = atq_write_list(fcinfo, CREATE_ROWS, "rows");
	int			size = get_batch_size(fcinfo);
	char	   *conflict = conflict_clause(fcinfo, model);
	JsonbIterator *it = JsonbIteratorInit(rows);
	int			number = 0;
	AtqObject  *object;
	Batch		batch;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	begin_batch(&batch, model);
	while ((object = next_object(&it, &batch, NULL, &number)) != NULL)
	{
		if (batch.nrows == size ||
			(batch.nrows > 0 && !bms_equal(batch.columns, object->given)))
			insert_batch(&batch, conflict, (ReturnSetInfo *) fcinfo->resultinfo);
		add_row(&batch, object, object->given);
	}
	if (batch.nrows > 0)
		insert_batch(&batch, conflict, (ReturnSetInfo *) fcinfo->resultinfo);
	end_batch(&batch);
	atq_query_model_close(model);
	return (Datum) 0;
}

static char *
conflict_clause(FunctionCallInfo fcinfo, const AtqQueryModel *model)
{
	bool		ignore = get_bool(fcinfo, CREATE_IGNORE);
	bool		update = get_bool(fcinfo, CREATE_UPDATE);
	Bitmapset  *set = atq_write_columns(fcinfo, CREATE_UPDATE_FIELDS,
										"update_fields", model);
	Bitmapset  *unique = atq_write_columns(fcinfo, CREATE_UNIQUE_FIELDS,
										   "unique_fields", model);

	if (ignore && update)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conflicts cannot be both ignored and updated")));
	if (!update && (set != NULL || unique != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("update_fields and unique_fields need update_conflicts")));
	if (!update)
		return ignore ? " ON CONFLICT DO NOTHING" : "";
	if (set == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("update_conflicts needs update_fields")));
	if (unique == NULL)
	{
		atq_write_require_key(model);
		unique = atq_write_key(model);
	}
	return atq_statement_conflict(model->rel, unique, set);
}

static bool
get_bool(FunctionCallInfo fcinfo, int arg)
{
	return !PG_ARGISNULL(arg) && PG_GETARG_BOOL(arg);
}

static int
get_batch_size(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(CREATE_SIZE))
		return ATQ_QUERY_CHUNK;
	if (PG_GETARG_INT32(CREATE_SIZE) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be at least 1")));
	return PG_GETARG_INT32(CREATE_SIZE);
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_bulk_update, bulk_update);

static Datum
bulk_update(FunctionCallInfo fcinfo)
{
	AtqQueryModel *model = atq_write_open(fcinfo, 3);
	JsonbContainer *rows = atq_write_list(fcinfo, 1, "rows");
	Bitmapset  *set = atq_write_columns(fcinfo, 2, "fields", model);
	JsonbIterator *it = JsonbIteratorInit(rows);
	int			number = 0;
	uint64		n = 0;
	Bitmapset  *wanted;
	AtqObject  *object;
	Batch		batch;

	atq_write_require_key(model);
	if (set == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fields must name at least one field")));
	if (bms_overlap(set, atq_write_key(model)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key of \"%s\" cannot be in fields",
						model->model->class_name)));
	wanted = bms_union(set, atq_write_key(model));
	begin_batch(&batch, model);
	while ((object = next_object(&it, &batch, wanted, &number)) != NULL)
		add_row(&batch, object, wanted);
	if (batch.nrows > 0)
		n = update_batch(&batch, set);
	end_batch(&batch);
	atq_query_model_close(model);
	PG_RETURN_INT64((int64) n);
}

static void
begin_batch(Batch *batch, const AtqQueryModel *model)
{
	memset(batch, 0, sizeof(Batch));
	batch->model = model;
	batch->context = AllocSetContextCreate(CurrentMemoryContext,
										   "asynctasq batch",
										   ALLOCSET_DEFAULT_SIZES);
	batch->row_context = AllocSetContextCreate(CurrentMemoryContext,
											   "asynctasq batch row",
											   ALLOCSET_SMALL_SIZES);
}

static void
end_batch(Batch *batch)
{
	MemoryContextDelete(batch->row_context);
	MemoryContextDelete(batch->context);
}

/*
 * The next object of a list, in the batch's row_context; NULL at the end.
 * Where columns are wanted, it has them all.
 */
static AtqObject *
next_object(JsonbIterator **it, Batch *batch, const Bitmapset *wanted,
			int *number)
{
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(it, &value, true)) != WJB_DONE)
	{
		ErrorContextCallback callback;
		MemoryContext old;
		AtqObject  *object;

		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		(*number)++;
		callback.callback = report_object;
		callback.arg = number;
		callback.previous = error_context_stack;
		error_context_stack = &callback;
		old = MemoryContextSwitchTo(batch->row_context);
		object = read_object(&value, batch->model, wanted);
		MemoryContextSwitchTo(old);
		error_context_stack = callback.previous;
		return object;
	}
	return NULL;
}

static AtqObject *
read_object(const JsonbValue *value, const AtqQueryModel *model,
			const Bitmapset *wanted)
{
	AtqObject  *object;

	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows must be a JSON list of objects")));
	if (wanted == NULL)
		return atq_object_read(model, value->val.binary.data,
							   ATQ_OBJECT_VALUES, NULL);
	object = atq_object_read(model, value->val.binary.data, ATQ_OBJECT_ROW,
							 wanted);
	atq_write_require_values(model, object, wanted);
	return object;
}

static void
report_object(void *arg)
{
	errcontext("object %d of the list", *(int *) arg);
}

static void
add_row(Batch *batch, const AtqObject *object, const Bitmapset *columns)
{
	TupleDesc	desc = RelationGetDescr(batch->model->rel);
	MemoryContext old = MemoryContextSwitchTo(batch->row_context);
	Datum		row = HeapTupleGetDatum(heap_form_tuple(desc, object->values,
														object->nulls));

	MemoryContextSwitchTo(batch->context);
	if (batch->nrows == 0)
		batch->columns = bms_copy(columns);
	if (batch->rows == NULL)
	{
		batch->max = ATQ_QUERY_CHUNK;
		batch->rows = palloc(batch->max * sizeof(Datum));
	}
	else if (batch->nrows == batch->max)
	{
		batch->max *= 2;
		batch->rows = repalloc(batch->rows, batch->max * sizeof(Datum));
	}
	batch->rows[batch->nrows++] = datumCopy(row, false, -1);
	MemoryContextSwitchTo(old);
	MemoryContextReset(batch->row_context);
}

/* Inserts the rows, and puts what becomes of them into the result. */
static void
insert_batch(Batch *batch, const char *conflict, ReturnSetInfo *result)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Relation	rel = batch->model->rel;
	AtqStatement statement;
	StringInfo	sql = &statement.sql;
	const char *separator = "";
	int			column = -1;

	begin_statement(&statement, batch);
	appendStringInfo(sql, "INSERT INTO %s AS t0 ", atq_relkey_name(rel));
	if (!bms_is_empty(batch->columns))
	{
		appendStringInfoChar(sql, '(');
		atq_statement_names(sql, rel, batch->columns);
		appendStringInfoString(sql, ") ");
	}
	appendStringInfoString(sql, "SELECT ");
	while ((column = bms_next_member(batch->columns, column)) >= 0)
	{
		appendStringInfo(sql, "%sr.c%d", separator, column);
		separator = ", ";
	}
	append_source(&statement, batch);
	appendStringInfo(sql, " ORDER BY r.n%s", conflict);
	atq_statement_returning(sql, rel);
	atq_statement_run(&statement, 0);
	put_rows(batch, result);
	atq_statement_end();
	MemoryContextSwitchTo(old);
	MemoryContextReset(batch->context);
	batch->rows = NULL;
	batch->nrows = 0;
}

static void
put_rows(const Batch *batch, ReturnSetInfo *result)
{
	Oid			type = batch->model->rel->rd_rel->reltype;
	MemoryContext context = AllocSetContextCreate(batch->context,
												  "asynctasq batch result",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		row = SPI_getbinval(SPI_tuptable->vals[i],
										SPI_tuptable->tupdesc, 1, &isnull);
		Datum		object;

		CHECK_FOR_INTERRUPTS();
		object = JsonbPGetDatum(atq_datum_jsonb(row, type));
		tuplestore_putvalues(result->setResult, result->setDesc, &object,
							 &isnull);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
}

/* The number of rows. */
static uint64
update_batch(Batch *batch, const Bitmapset *set)
{
	const AtqQueryModel *model = batch->model;
	AtqStatement statement;
	StringInfo	sql = &statement.sql;
	const char *separator = "";
	int			column = -1;
	uint64		n;

	begin_statement(&statement, batch);
	appendStringInfo(sql, "UPDATE %s AS t0 SET ", atq_relkey_name(model->rel));
	while ((column = bms_next_member(set, column)) >= 0)
	{
		appendStringInfo(sql, "%s%s = r.c%d", separator,
						 atq_statement_name(model->rel, column), column);
		separator = ", ";
	}
	append_source(&statement, batch);
	for (int i = 0; i < model->nkeys; i++)
	{
		appendStringInfoString(sql, i == 0 ? " WHERE " : " AND ");
		atq_relkey_equals(sql, model->rel, model->keys[i], "t0",
						  psprintf("r.c%d", model->keys[i]));
	}
	atq_statement_run(&statement, 0);
	n = SPI_processed;
	atq_statement_end();
	return n;
}

/* The rows are its only parameter. */
static void
begin_statement(AtqStatement *statement, const Batch *batch)
{
	Oid			type = batch->model->rel->rd_rel->reltype;
	ArrayType  *rows = construct_array(batch->rows, batch->nrows, type, -1,
									   false, TYPALIGN_DOUBLE);

	atq_statement_begin(statement, batch->model, 1);
	(void) atq_statement_param(statement, get_array_type(type),
							   PointerGetDatum(rows), false);
}

/* FROM the rows: their columns are c and the number, n is their place. */
static void
append_source(AtqStatement *statement, const Batch *batch)
{
	TupleDesc	desc = RelationGetDescr(batch->model->rel);

	appendStringInfoString(&statement->sql,
						   " FROM pg_catalog.unnest($1) WITH ORDINALITY AS r (");
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&statement->sql, "c%d, ", i + 1);
	}
	appendStringInfoString(&statement->sql, "n)");
}
