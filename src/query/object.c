/*-------------------------------------------------------------------------
 *
 * object.c
 *	  JSON objects as values for a model's columns.
 *
 * An object that was read with select_related() has a column's value twice, as
 * "author_id" and within "author".  They must be the same: there is no telling
 * which of two was meant.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "query/object.h"
#include "query/queryset.h"

/* An object under way. */
typedef struct Reading
{
	const AtqQueryModel *model;
	AtqObjectKind kind;
	const Bitmapset *wanted;
	AtqObject  *object;
} Reading;

static AtqObject *make_object(int ncolumns);
static char *field_of_lookup(const AtqQueryModel *model, char *name);
static void read_member(Reading *reading, const char *name,
						const JsonbValue *value);
static void refuse_member(const AtqQueryModel *model, const char *name,
						  const AtqFieldRelation *relation) atq_noreturn;
static bool may_be_related(Relation rel, AttrNumber column,
						   const JsonbValue *value);
static bool is_object(const JsonbValue *value);
static void put_key(Reading *reading, const JsonbValue *value);
static void put_related(Reading *reading, const AtqFieldRelation *relation,
						const JsonbValue *value);
static void put_related_column(Reading *reading,
							   const AtqFieldRelation *relation, int i,
							   const JsonbValue *value);
static void put_value(Reading *reading, AttrNumber column, const char *name,
					  const JsonbValue *json);
static void refuse_two_values(const AtqQueryModel *model, const char *column,
							  const char *field) atq_noreturn;
static bool push_related(const AtqQueryModel *model, const Jsonb *json,
						 JsonbParseState **state, const JsonbValue *name,
						 const JsonbValue *value);
static JsonbValue *related_value(const AtqFieldRelation *relation, int i,
								 const JsonbValue *value);

AtqObject *
atq_object_read(const AtqQueryModel *model, JsonbContainer *json,
				AtqObjectKind kind, const Bitmapset *wanted)
{
	Reading		reading = {model, kind, wanted};
	JsonbIterator *it = JsonbIteratorInit(json);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	reading.object = make_object(RelationGetDescr(model->rel)->natts);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			name = pnstrdup(value.val.string.val, value.val.string.len);
			if (kind == ATQ_OBJECT_LOOKUPS)
				name = field_of_lookup(model, name);
		}
		else if (token == WJB_VALUE && name != NULL)
			read_member(&reading, name, &value);
	}
	return reading.object;
}

static AtqObject *
make_object(int ncolumns)
{
	AtqObject  *object = palloc(sizeof(AtqObject));

	object->given = NULL;
	object->values = palloc0(ncolumns * sizeof(Datum));
	object->nulls = palloc(ncolumns * sizeof(bool));
	memset(object->nulls, true, ncolumns * sizeof(bool));
	return object;
}

/* The field whose value a lookup gives, or NULL. */
static char *
field_of_lookup(const AtqQueryModel *model, char *name)
{
	static const char exact[] = "__exact";
	Size		len = strlen(name);
	Size		suffix = sizeof(exact) - 1;

	if (strcmp(name, "and") == 0 || strcmp(name, "or") == 0 ||
		strcmp(name, "not") == 0)
		return NULL;
	if (atq_field_column(model->rel, name) != InvalidAttrNumber)
		return name;
	if (len > suffix && strcmp(name + len - suffix, exact) == 0)
		name[len - suffix] = '\0';
	if (strstr(name, "__") == NULL ||
		atq_field_column(model->rel, name) != InvalidAttrNumber)
		return name;
	return NULL;
}

static void
read_member(Reading *reading, const char *name, const JsonbValue *value)
{
	Relation	rel = reading->model->rel;
	AttrNumber	column = atq_field_column(rel, name);
	AtqFieldRelation *relation = NULL;

	if (column == InvalidAttrNumber && strcmp(name, "pk") == 0 &&
		reading->model->nkeys > 0)
	{
		put_key(reading, value);
		return;
	}
	if (column == InvalidAttrNumber || may_be_related(rel, column, value))
		relation = atq_field_relation(rel, name);
	if (relation != NULL && relation->forward)
		put_related(reading, relation, value);
	else if (column != InvalidAttrNumber)
		put_value(reading, column, name, value);
	else if (reading->wanted == NULL &&
			 (relation == NULL || reading->kind != ATQ_OBJECT_ROW))
		refuse_member(reading->model, name, relation);
}

static void
refuse_member(const AtqQueryModel *model, const char *name,
			  const AtqFieldRelation *relation)
{
	if (relation == NULL)
		atq_field_missing(model->rel, model->model->class_name, name, NIL);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("field \"%s\" of \"%s\" has no column", name,
					model->model->class_name),
			 errdetail("Its value is in relation \"%s\".",
					   get_rel_name(relation->other))));
}

/* True for an object that is no value of the column's type. */
static bool
may_be_related(Relation rel, AttrNumber column, const JsonbValue *value)
{
	Oid			type;

	if (!is_object(value))
		return false;
	type = getBaseType(TupleDescAttr(RelationGetDescr(rel),
									 column - 1)->atttypid);
	return type != JSONBOID && type != JSONOID && !type_is_rowtype(type);
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

/* "pk": one value, or the list of those of a key of several columns. */
static void
put_key(Reading *reading, const JsonbValue *value)
{
	const AtqQueryModel *model = reading->model;

	if (model->nkeys == 1)
	{
		put_value(reading, model->keys[0], "pk", value);
		return;
	}
	if (!atq_json_is_list(value) ||
		JsonContainerSize(value->val.binary.data) != model->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"pk\" of \"%s\" must be a list of %d values",
						model->model->class_name, model->nkeys)));
	for (int i = 0; i < model->nkeys; i++)
		put_value(reading, model->keys[i], "pk",
				  getIthJsonbValueFromContainer(value->val.binary.data, i));
}

static void
put_related(Reading *reading, const AtqFieldRelation *relation,
			const JsonbValue *value)
{
	if (relation->nkeys > 1 && value->type != jbvNull && !is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value of field \"%s\" must be an object with the columns of its key",
						relation->name)));
	for (int i = 0; i < relation->nkeys; i++)
	{
		if (is_object(value))
			put_related_column(reading, relation, i, value);
		else
			put_value(reading, relation->from[i], relation->name, value);
	}
}

/* An object without a key is one that has not been saved. */
static void
put_related_column(Reading *reading, const AtqFieldRelation *relation, int i,
				   const JsonbValue *value)
{
	JsonbValue *key = related_value(relation, i, value);

	if (key == NULL || key->type == jbvNull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("object in field \"%s\" has no \"%s\"",
						relation->name,
						get_attname(relation->other, relation->to[i], false)),
				 errhint("Save it first.")));
	put_value(reading, relation->from[i], relation->name, key);
}

static void
put_value(Reading *reading, AttrNumber column, const char *name,
		  const JsonbValue *json)
{
	AtqObject  *object = reading->object;
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(reading->model->rel),
												column - 1);
	bool		isnull;
	Datum		value;

	if (reading->wanted != NULL && !bms_is_member(column, reading->wanted))
		return;
	value = atq_field_value(json, attribute->atttypid, attribute->atttypmod,
							name, &isnull);
	if (bms_is_member(column, object->given) &&
		(isnull != object->nulls[column - 1] ||
		 (!isnull && !datum_image_eq(value, object->values[column - 1],
									 attribute->attbyval,
									 attribute->attlen))))
		refuse_two_values(reading->model, NameStr(attribute->attname), name);
	object->given = bms_add_member(object->given, column);
	object->values[column - 1] = value;
	object->nulls[column - 1] = isnull;
}

static void
refuse_two_values(const AtqQueryModel *model, const char *column,
				  const char *field)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("column \"%s\" of \"%s\" is given two values", column,
					model->model->class_name),
			 errdetail("One of them is in field \"%s\".", field)));
}

/* What has not the key of a related object may be an expression: it stays. */
const Jsonb *
atq_object_flatten(const AtqQueryModel *model, const Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit((JsonbContainer *) &json->root);
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	name;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = value;
		else if (token == WJB_VALUE &&
				 !push_related(model, json, &state, &name, &value))
		{
			(void) pushJsonbValue(&state, WJB_KEY, &name);
			(void) pushJsonbValue(&state, WJB_VALUE, &value);
		}
		else if (token != WJB_VALUE)
			result = pushJsonbValue(&state, token, NULL);
	}
	return JsonbValueToJsonb(result);
}

/* Pushes a related object's key; false for what is none. */
static bool
push_related(const AtqQueryModel *model, const Jsonb *json,
			 JsonbParseState **state, const JsonbValue *name,
			 const JsonbValue *value)
{
	AtqFieldRelation *relation;
	JsonbValue *keys[ATQ_MAX_KEYS];

	if (!is_object(value))
		return false;
	relation = atq_field_relation(model->rel,
								  pnstrdup(name->val.string.val,
										   name->val.string.len));
	if (relation == NULL || !relation->forward)
		return false;
	for (int i = 0; i < relation->nkeys; i++)
	{
		keys[i] = related_value(relation, i, value);
		if (keys[i] == NULL)
			return false;
	}
	for (int i = 0; i < relation->nkeys; i++)
	{
		char	   *column_name = NameStr(TupleDescAttr(RelationGetDescr(model->rel),
														relation->from[i] - 1)->attname);
		JsonbValue	column;

		column.type = jbvString;
		column.val.string.val = column_name;
		column.val.string.len = strlen(column_name);
		if (strcmp(column_name, relation->name) != 0 &&
			getKeyJsonValueFromContainer((JsonbContainer *) &json->root,
										 column_name, strlen(column_name),
										 NULL) != NULL)
			refuse_two_values(model, column_name, relation->name);
		(void) pushJsonbValue(state, WJB_KEY, &column);
		(void) pushJsonbValue(state, WJB_VALUE, keys[i]);
	}
	return true;
}

/* The value of a column that a foreign key refers to, or NULL. */
static JsonbValue *
related_value(const AtqFieldRelation *relation, int i, const JsonbValue *value)
{
	char	   *name = get_attname(relation->other, relation->to[i], false);

	return getKeyJsonValueFromContainer(value->val.binary.data, name,
										strlen(name), NULL);
}

void
atq_object_merge(AtqObject *object, const AtqObject *other)
{
	int			column = -1;

	while ((column = bms_next_member(other->given, column)) >= 0)
	{
		object->given = bms_add_member(object->given, column);
		object->values[column - 1] = other->values[column - 1];
		object->nulls[column - 1] = other->nulls[column - 1];
	}
}
