/*-------------------------------------------------------------------------
 *
 * write.c
 *	  create(), save(), update() and delete().
 *
 * save() is an UPDATE of the row that has the object's key and, where there is
 * none, an INSERT.  A session that inserts the same row at that moment does no
 * harm where a unique index says that it is the same: what it has inserted is
 * updated then.
 *
 * What a trigger keeps from being written gives no row, and is NULL here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/argument.h"
#include "query/queryset.h"
#include "query/run.h"
#include "query/statement.h"
#include "query/write.h"

static Datum create(FunctionCallInfo fcinfo);
static Datum update(FunctionCallInfo fcinfo);
static Datum delete(FunctionCallInfo fcinfo);
static Datum save(FunctionCallInfo fcinfo);
static Jsonb *save_fields(FunctionCallInfo fcinfo, AtqQueryModel *model);
static Jsonb *save_object(FunctionCallInfo fcinfo, AtqQueryModel *model);
static Jsonb *save_new(const AtqQueryModel *model, const AtqObject *object);
static bool has_key(const AtqQueryModel *model, const AtqObject *object);
static bool has_unique_key(const AtqQueryModel *model);
static bool is_index_on(Relation index, const Bitmapset *columns);
static Bitmapset *to_insert(Relation rel, const AtqObject *object);
static Bitmapset *to_update(const AtqQueryModel *model,
							const AtqObject *object);
static void refuse_missing(const AtqQueryModel *model,
						   const AtqObject *object) atq_noreturn;

ATQ_QUERY_FUNCTION(atq_sql_queryset_create, create);

static Datum
create(FunctionCallInfo fcinfo)
{
	AtqQueryModel *model = atq_write_open(fcinfo, 2);
	AtqObject  *object = atq_object_read(model,
										 atq_write_object(fcinfo, 1, "values"),
										 ATQ_OBJECT_VALUES, NULL);
	Jsonb	   *row = atq_statement_insert(model, object, object->given, "");

	atq_query_model_close(model);
	if (row == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(row);
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_update, update);

static Datum
update(FunctionCallInfo fcinfo)
{
	AtqQuerySet *set;
	AtqQueryModel *model;
	const Jsonb *values;

	atq_require_arg(fcinfo, 0, "qs");
	(void) atq_write_object(fcinfo, 1, "values");
	set = ATQ_GETARG_QUERYSET(0);
	model = atq_query_model_open(set->orm, set->class_name, RowExclusiveLock);
	values = atq_object_flatten(model, PG_GETARG_JSONB_P(1));
	atq_query_model_close(model);
	PG_RETURN_INT64((int64) atq_query_execute(atq_query_update(set, values)));
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_delete, delete);

static Datum
delete(FunctionCallInfo fcinfo)
{
	AtqQuery   *query;

	atq_require_arg(fcinfo, 0, "qs");
	query = atq_query_compile(ATQ_GETARG_QUERYSET(0), ATQ_QUERY_DELETE);
	PG_RETURN_INT64((int64) atq_query_execute(query));
}

ATQ_QUERY_FUNCTION(atq_sql_queryset_save, save);

static Datum
save(FunctionCallInfo fcinfo)
{
	AtqQueryModel *model = atq_write_open(fcinfo, 3);
	Jsonb	   *row;

	atq_write_require_key(model);
	row = PG_ARGISNULL(2) ? save_object(fcinfo, model) :
		save_fields(fcinfo, model);
	atq_query_model_close(model);
	if (row == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(row);
}

/* With update_fields: only an UPDATE, of only these. */
static Jsonb *
save_fields(FunctionCallInfo fcinfo, AtqQueryModel *model)
{
	Bitmapset  *key = atq_write_key(model);
	Bitmapset  *set = atq_write_columns(fcinfo, 2, "update_fields", model);
	Bitmapset  *wanted = bms_union(key, set);
	AtqObject  *object;
	Jsonb	   *row;

	if (bms_overlap(key, set))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key of \"%s\" cannot be in update_fields",
						model->model->class_name)));
	object = atq_object_read(model, atq_write_object(fcinfo, 1, "object"),
							 ATQ_OBJECT_ROW, wanted);
	atq_write_require_values(model, object, wanted);
	row = atq_statement_update(model, object, set);
	if (row == NULL)
		refuse_missing(model, object);
	return row;
}

static Jsonb *
save_object(FunctionCallInfo fcinfo, AtqQueryModel *model)
{
	AtqObject  *object = atq_object_read(model,
										 atq_write_object(fcinfo, 1, "object"),
										 ATQ_OBJECT_ROW, NULL);
	Bitmapset  *set;
	Jsonb	   *row;

	if (!has_key(model, object))
		return save_new(model, object);
	set = to_update(model, object);
	row = atq_statement_update(model, object, set);
	if (row != NULL)
		return row;
	row = atq_statement_insert(model, object, to_insert(model->rel, object),
							   has_unique_key(model) ?
							   atq_statement_conflict(model->rel,
													  atq_write_key(model),
													  set) : "");
	if (row == NULL && bms_is_empty(set))
		row = atq_statement_update(model, object, set);
	return row;
}

/* What is null of the key gets its default. */
static Jsonb *
save_new(const AtqQueryModel *model, const AtqObject *object)
{
	Bitmapset  *columns = to_insert(model->rel, object);

	for (int i = 0; i < model->nkeys; i++)
	{
		if (object->nulls[model->keys[i] - 1])
			columns = bms_del_member(columns, model->keys[i]);
	}
	return atq_statement_insert(model, object, columns, "");
}

static bool
has_key(const AtqQueryModel *model, const AtqObject *object)
{
	for (int i = 0; i < model->nkeys; i++)
	{
		if (object->nulls[model->keys[i] - 1])
			return false;
	}
	return true;
}

/* True where ON CONFLICT can name the key: views and others cannot. */
static bool
has_unique_key(const AtqQueryModel *model)
{
	Bitmapset  *key = atq_write_key(model);
	bool		unique = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(model->rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		unique = unique || is_index_on(index, key);
		index_close(index, AccessShareLock);
	}
	return unique;
}

/* True for a unique index that holds at once, for all rows, on the columns. */
static bool
is_index_on(Relation index, const Bitmapset *columns)
{
	Bitmapset  *indexed = NULL;

	if (!index->rd_index->indisunique || !index->rd_index->indimmediate ||
		!index->rd_index->indisvalid ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	column = index->rd_index->indkey.values[i];

		if (column <= 0)
			return false;
		indexed = bms_add_member(indexed, column);
	}
	return bms_equal(indexed, columns);
}

/*
 * A row that was read has its generated columns too.  They are left out, and
 * when it is updated the key and what is GENERATED ALWAYS AS IDENTITY.
 */
static Bitmapset *
to_insert(Relation rel, const AtqObject *object)
{
	Bitmapset  *columns = bms_copy(object->given);
	int			column = -1;

	while ((column = bms_next_member(object->given, column)) >= 0)
	{
		if (TupleDescAttr(RelationGetDescr(rel), column - 1)->attgenerated)
			columns = bms_del_member(columns, column);
	}
	return columns;
}

static Bitmapset *
to_update(const AtqQueryModel *model, const AtqObject *object)
{
	Bitmapset  *columns = bms_del_members(to_insert(model->rel, object),
										  atq_write_key(model));
	int			column = -1;

	while ((column = bms_next_member(object->given, column)) >= 0)
	{
		if (TupleDescAttr(RelationGetDescr(model->rel),
						  column - 1)->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			columns = bms_del_member(columns, column);
	}
	return columns;
}

static void
refuse_missing(const AtqQueryModel *model, const AtqObject *object)
{
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < model->nkeys; i++)
	{
		AttrNumber	column = model->keys[i];
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(TupleDescAttr(RelationGetDescr(model->rel),
										column - 1)->atttypid,
						  &output, &is_varlena);
		appendStringInfo(&key, "%s%s", i == 0 ? "" : ", ",
						 OidOutputFunctionCall(output,
											   object->values[column - 1]));
	}
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("\"%s\" with key %s does not exist",
					model->model->class_name, key.data)));
}

AtqQueryModel *
atq_write_open(FunctionCallInfo fcinfo, int orm_arg)
{
	AtqQueryModel *model;

	atq_require_arg(fcinfo, 0, "class");
	model = atq_query_model_open(PG_ARGISNULL(orm_arg) ? NULL :
								 text_to_cstring(PG_GETARG_TEXT_PP(orm_arg)),
								 text_to_cstring(PG_GETARG_TEXT_PP(0)),
								 RowExclusiveLock);
	if (model->model->server != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot write rows of \"%s\" on server \"%s\"",
						model->model->class_name, model->model->server),
				 errdetail("That could not be undone with the transaction."),
				 errhint("Use asynctasq.execute().")));
	atq_relkey_check_schema(model->model->relation);
	return model;
}

void
atq_write_require_key(const AtqQueryModel *model)
{
	if (model->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("relation %s of model \"%s\" has no primary key",
						model->model->relation_name, model->model->class_name),
				 errhint("Register the model with asynctasq.register_model(..., key => ...).")));
	for (int i = 0; i < model->nkeys; i++)
		(void) atq_relkey_type(model->rel, model->keys[i]);
}

Bitmapset *
atq_write_key(const AtqQueryModel *model)
{
	Bitmapset  *key = NULL;

	for (int i = 0; i < model->nkeys; i++)
		key = bms_add_member(key, model->keys[i]);
	return key;
}

void
atq_write_require_values(const AtqQueryModel *model, const AtqObject *object,
						 const Bitmapset *columns)
{
	int			column = -1;

	while ((column = bms_next_member(columns, column)) >= 0)
	{
		if (!bms_is_member(column, object->given))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("object of \"%s\" has no value for column \"%s\"",
							model->model->class_name,
							NameStr(TupleDescAttr(RelationGetDescr(model->rel),
												  column - 1)->attname))));
	}
	if (!has_key(model, object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("object of \"%s\" has no key",
						model->model->class_name)));
}

JsonbContainer *
atq_write_object(FunctionCallInfo fcinfo, int arg, const char *name)
{
	Jsonb	   *json;

	atq_require_arg(fcinfo, arg, name);
	json = PG_GETARG_JSONB_P(arg);
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", name)));
	return &json->root;
}

JsonbContainer *
atq_write_list(FunctionCallInfo fcinfo, int arg, const char *name)
{
	Jsonb	   *json;

	atq_require_arg(fcinfo, arg, name);
	json = PG_GETARG_JSONB_P(arg);
	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON list of objects", name)));
	return &json->root;
}

Bitmapset *
atq_write_columns(FunctionCallInfo fcinfo, int arg, const char *name,
				  const AtqQueryModel *model)
{
	Bitmapset  *columns = NULL;
	Datum	   *fields;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(arg))
		return NULL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false,
					  TYPALIGN_INT, &fields, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not contain null", name)));
		columns = bms_add_member(columns,
								 atq_field_written(model,
												   TextDatumGetCString(fields[i])));
	}
	return columns;
}
