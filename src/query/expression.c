/*-------------------------------------------------------------------------
 *
 * expression.c
 *	  Values that a statement computes: {"F": ..}, and aggregates.
 *
 *	{"F": "views"}                     a field
 *	{"F": ["views", "+", 1]}           an operation; operands nest
 *	{"F": ["name", "||", {"Value": "!"}]}  a string that is no field
 *	{"Count": "*"}                     all rows of a group
 *	{"Sum": "views"}                   a field, or {"F": ..}
 *	{"Count": "comment", "distinct": true, "filter": {..}}
 *
 * An aggregate over relations to many rows is a subquery of its own, on the rows
 * that belong to the row outside.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

#include "query/build.h"

typedef struct Aggregate
{
	const char *name;			/* here .. */
	const char *function;		/* .. and in pg_catalog */
} Aggregate;

static const Aggregate aggregates[] = {
	{"Count", "count"}, {"Sum", "sum"}, {"Avg", "avg"}, {"Min", "min"},
	{"Max", "max"}
};

static const char *const operations[] = {"+", "-", "*", "/", "%", "||"};

/* {function: argument, "distinct": .., "filter": ..} */
typedef struct Call
{
	const char *name;			/* the annotation's */
	const Aggregate *aggregate; /* NULL: {"F": argument} */
	JsonbValue	argument;
	bool		distinct;
	JsonbValue *filter;			/* or NULL */
} Call;

static AtqExpression *build_annotation(AtqSource *table,
									   const AtqAnnotation *annotation);
static bool is_group(const AtqScope *scope, const char *name);
static void read_call(const AtqAnnotation *annotation, Call *call);
static const Aggregate *find_aggregate(const char *name);
static AtqExpression *operand(AtqSource *table, const JsonbValue *json,
							  const char *field);
static AtqExpression *operation(AtqSource *table, const JsonbValue *json,
								const char *field);
static const char *operation_name(const JsonbValue *json, const char *field);
static JsonbValue *only_member(const JsonbValue *json, const char *name);
static bool is_constant(const JsonbValue *json, JsonbValue *constant);
static AtqExpression *constant(AtqBuild *build, const JsonbValue *json,
							   const AtqExpression *other, const char *field);
static Oid	constant_type(const JsonbValue *json, const AtqExpression *other);
static bool is_integral(const JsonbValue *json);
static Oid	operation_type(const char *name, const AtqExpression *left,
						   const AtqExpression *right, const char *field);
static AtqExpression *call_aggregate(AtqSource *table, const Call *call);
static AtqExpression *call_related(AtqSource *table, const Call *call,
								   const AtqPath *path, char **names, int n);
static bool leads_to_many(AtqSource *table, const Call *call, AtqPath *path,
						  char ***names, int *n);
static AtqExpression *call_on(AtqSource *table, const Call *call,
							  const AtqExpression *argument);
static Oid	aggregate_type(const Call *call, Oid argument);
static AtqExpression *argument_of(AtqSource *table, const Call *call);
static AtqExpression *argument_path(AtqSource *table, const Call *call);
static bool is_count(const Call *call);
static void refuse_shape(const char *name) atq_noreturn;
static void refuse_operand(const char *field) atq_noreturn;

AtqExpression *
atq_build_annotation(AtqSource *table, const AtqAnnotation *annotation)
{
	AtqBuilt   *built;
	ListCell   *lc;

	foreach(lc, table->scope->built)
	{
		built = lfirst(lc);
		if (built->annotation == annotation)
			return built->expression;
	}
	built = palloc(sizeof(AtqBuilt));
	built->annotation = annotation;
	built->expression = build_annotation(table, annotation);
	table->scope->built = lappend(table->scope->built, built);
	return built->expression;
}

static AtqExpression *
build_annotation(AtqSource *table, const AtqAnnotation *annotation)
{
	Call		call;
	AtqPath		path;
	char	  **names;
	int			n;
	bool		grouped;

	check_stack_depth();
	read_call(annotation, &call);
	if (call.aggregate == NULL)
		return atq_build_expression(table, &call.argument, call.name);
	grouped = table->scope->grouped && !is_group(table->scope, call.name);
	if (leads_to_many(table, &call, &path, &names, &n))
	{
		if (grouped)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("annotation \"%s\" aggregates over relation \"%s\" and over a group",
							call.name, path.many->name),
					 errhint("Annotate before values(), or query the other model.")));
		return call_related(table, &call, &path, names, n);
	}
	if (!grouped)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("annotation \"%s\" aggregates over single rows",
						call.name),
				 errhint("Call values() with the fields to group by before annotate(), or use aggregate().")));
	return call_aggregate(table, &call);
}

/* An annotation that groups are by is about each row. */
static bool
is_group(const AtqScope *scope, const char *name)
{
	ListCell   *lc;

	foreach(lc, scope->group)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

AtqExpression *
atq_build_aggregate(AtqSource *table, const AtqAnnotation *annotation)
{
	Call		call;

	read_call(annotation, &call);
	if (call.aggregate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an aggregate", call.name)));
	return call_aggregate(table, &call);
}

static void
read_call(const AtqAnnotation *annotation, Call *call)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	bool		found = false;

	memset(call, 0, sizeof(Call));
	call->name = annotation->name;
	if (annotation->expression->type != jbvBinary)
		refuse_shape(call->name);
	it = JsonbIteratorInit(annotation->expression->val.binary.data);
	if (JsonbIteratorNext(&it, &key, true) != WJB_BEGIN_OBJECT)
		refuse_shape(call->name);
	while ((token = JsonbIteratorNext(&it, &key, true)) == WJB_KEY)
	{
		char	   *name = pnstrdup(key.val.string.val, key.val.string.len);

		(void) JsonbIteratorNext(&it, &value, true);
		if (strcmp(name, "distinct") == 0 && value.type == jbvBool)
			call->distinct = value.val.boolean;
		else if (strcmp(name, "filter") == 0 && value.type == jbvBinary &&
				 JsonContainerIsObject(value.val.binary.data))
		{
			call->filter = palloc(sizeof(JsonbValue));
			*call->filter = value;
		}
		else if (!found && (strcmp(name, "F") == 0 ||
							find_aggregate(name) != NULL))
		{
			call->aggregate = find_aggregate(name);
			call->argument = value;
			found = true;
		}
		else
			refuse_shape(call->name);
	}
	if (!found || (call->aggregate == NULL &&
				   (call->distinct || call->filter != NULL)))
		refuse_shape(call->name);
}

static const Aggregate *
find_aggregate(const char *name)
{
	for (int i = 0; i < lengthof(aggregates); i++)
	{
		if (strcmp(aggregates[i].name, name) == 0)
			return &aggregates[i];
	}
	return NULL;
}

static void
refuse_shape(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no expression", name),
			 errdetail("It must be an object with one of \"Count\", \"Sum\", \"Avg\", \"Min\", \"Max\" and optionally \"distinct\" (a boolean) and \"filter\" (lookups), or with \"F\" alone.")));
}

JsonbValue *
atq_build_f(const JsonbValue *json)
{
	return only_member(json, "F");
}

/* The value of an object's only member, if it has that name; else NULL. */
static JsonbValue *
only_member(const JsonbValue *json, const char *name)
{
	JsonbValue	key;

	if (!atq_json_is_object(json) ||
		JsonContainerSize(json->val.binary.data) != 1)
		return NULL;
	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(json->val.binary.data, JB_FOBJECT,
									   &key);
}

AtqExpression *
atq_build_expression(AtqSource *table, const JsonbValue *json,
					 const char *field)
{
	JsonbValue	value;

	if (is_constant(json, &value))
		return constant(table->scope->build, &value, NULL, field);
	return operand(table, json, field);
}

/* What is no constant: a field's name, {"F": ..} or an operation. */
static AtqExpression *
operand(AtqSource *table, const JsonbValue *json, const char *field)
{
	JsonbValue *inner;
	List	   *columns;

	check_stack_depth();
	if (json->type == jbvString)
	{
		columns = atq_build_columns(table,
									pnstrdup(json->val.string.val,
											 json->val.string.len));
		if (list_length(columns) != 1)
			refuse_operand(field);
		return linitial(columns);
	}
	inner = atq_build_f(json);
	if (inner != NULL)
		return operand(table, inner, field);
	return operation(table, json, field);
}

/* [operand, operator, operand] */
static AtqExpression *
operation(AtqSource *table, const JsonbValue *json, const char *field)
{
	AtqExpression *result = palloc0(sizeof(AtqExpression));
	AtqExpression *left = NULL;
	AtqExpression *right = NULL;
	JsonbValue *parts[3];
	JsonbValue	constants[2];
	bool		is_left;
	bool		is_right;
	const char *name;

	if (!atq_json_is_list(json) ||
		JsonContainerSize(json->val.binary.data) != 3)
		refuse_operand(field);
	for (int i = 0; i < 3; i++)
		parts[i] = getIthJsonbValueFromContainer(json->val.binary.data, i);
	name = operation_name(parts[1], field);
	is_left = is_constant(parts[0], &constants[0]);
	is_right = is_constant(parts[2], &constants[1]);
	if (is_left && is_right)
		refuse_operand(field);
	if (!is_left)
		left = operand(table, parts[0], field);
	if (!is_right)
		right = operand(table, parts[2], field);
	if (is_left)
		left = constant(table->scope->build, &constants[0], right, field);
	if (is_right)
		right = constant(table->scope->build, &constants[1], left, field);
	result->sql = psprintf("(%s OPERATOR(pg_catalog.%s) %s)", left->sql, name,
						   right->sql);
	result->type = operation_type(name, left, right, field);
	result->nullable = true;
	result->aggregate = left->aggregate || right->aggregate;
	return result;
}

static const char *
operation_name(const JsonbValue *json, const char *field)
{
	for (int i = 0; i < lengthof(operations); i++)
	{
		if (json->type == jbvString &&
			json->val.string.len == strlen(operations[i]) &&
			memcmp(json->val.string.val, operations[i],
				   json->val.string.len) == 0)
			return operations[i];
	}
	refuse_operand(field);
}

static void
refuse_operand(const char *field)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is given no valid expression", field),
			 errdetail("{\"F\": ..} holds the name of a field of one column or a list of an operand, one of \"+\", \"-\", \"*\", \"/\", \"%%\", \"||\" and an operand, of which one may be a number, true, false or {\"Value\": ..}.")));
}

/* A number or boolean, or {"Value": scalar}. */
static bool
is_constant(const JsonbValue *json, JsonbValue *constant)
{
	JsonbValue *value = only_member(json, "Value");

	*constant = value != NULL ? *value : *json;
	if (value == NULL)
		return json->type == jbvNumeric || json->type == jbvBool;
	return IsAJsonbScalar(value) && value->type != jbvNull;
}

/* Of the type that goes with the other operand, if there is one. */
static AtqExpression *
constant(AtqBuild *build, const JsonbValue *json, const AtqExpression *other,
		 const char *field)
{
	AtqExpression *result = palloc0(sizeof(AtqExpression));
	bool		isnull;
	Datum		value;

	result->type = constant_type(json, other);
	value = atq_field_value(json, result->type, -1, field, &isnull);
	result->sql = atq_build_param(build, result->type, value, isnull);
	return result;
}

static Oid
constant_type(const JsonbValue *json, const AtqExpression *other)
{
	Oid			type = other == NULL ? InvalidOid : getBaseType(other->type);

	if (json->type == jbvBool)
		return BOOLOID;
	if (OidIsValid(type))
	{
		switch (TypeCategory(type))
		{
			case TYPCATEGORY_NUMERIC:
				if (json->type == jbvNumeric && !is_integral(json) &&
					(type == INT2OID || type == INT4OID || type == INT8OID))
					return NUMERICOID;
				return type;
			case TYPCATEGORY_DATETIME:
				return json->type == jbvNumeric ? INT4OID : INTERVALOID;
			case TYPCATEGORY_TIMESPAN:
				return json->type == jbvNumeric ? FLOAT8OID : type;
			default:
				break;
		}
	}
	if (json->type == jbvNumeric)
		return is_integral(json) ? INT8OID : NUMERICOID;
	return TEXTOID;
}

/* A number that an int8 can hold. */
static bool
is_integral(const JsonbValue *json)
{
	Datum		number = NumericGetDatum(json->val.numeric);
	Datum		whole;

	if (numeric_is_nan(json->val.numeric) || numeric_is_inf(json->val.numeric))
		return false;
	whole = DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0));
	return DatumGetBool(DirectFunctionCall2(numeric_eq, number, whole)) &&
		DatumGetBool(DirectFunctionCall2(numeric_lt,
										 DirectFunctionCall1(numeric_abs, number),
										 DirectFunctionCall1(int8_numeric,
															 Int64GetDatum(PG_INT64_MAX))));
}

static Oid
operation_type(const char *name, const AtqExpression *left,
			   const AtqExpression *right, const char *field)
{
	List	   *names = list_make2(makeString("pg_catalog"),
								   makeString((char *) name));
	HeapTuple	tuple = oper(NULL, names, getBaseType(left->type),
							 getBaseType(right->type), true, -1);
	Oid			type;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("operator does not exist: %s %s %s",
						format_type_be(left->type), name,
						format_type_be(right->type)),
				 errdetail("It was asked for by \"%s\".", field)));
	type = ((Form_pg_operator) GETSTRUCT(tuple))->oprresult;
	ReleaseSysCache(tuple);
	return IsPolymorphicType(type) ? getBaseType(left->type) : type;
}

/*
 * Whether the argument's path leads out of the FROM clause; where to, and what
 * of the path is left.
 */
static bool
leads_to_many(AtqSource *table, const Call *call, AtqPath *path, char ***names,
			  int *n)
{
	char	   *text;

	if (call->argument.type != jbvString)
		return false;
	text = pnstrdup(call->argument.val.string.val,
					call->argument.val.string.len);

	if (strcmp(text, "*") == 0)
		return false;
	*names = atq_build_split(text, n);
	*path = atq_build_path(table, *names, *n);
	*names += path->used;
	*n -= path->used;
	return path->many != NULL;
}

/* (SELECT count(..) FROM the relation's rows WHERE filter) */
static AtqExpression *
call_related(AtqSource *table, const Call *call, const AtqPath *path,
			 char **names, int n)
{
	AtqScope   *scope = atq_build_related(path->table, path->many);
	AtqBuild   *build = scope->build;
	List	   *outer = build->bound;
	AtqExpression *argument = NULL;
	AtqExpression *result;
	Call		inner = *call;
	char	   *filter = NULL;
	char	   *sql;

	inner.filter = NULL;
	if (atq_build_bind(scope->root, names, n) > 0 || call->distinct ||
		!is_count(call))
		argument = argument_of(table, call);
	result = call_on(table, &inner, argument);
	if (call->filter != NULL)
		filter = atq_build_conditions(table, list_make1(call->filter), false);
	build->bound = outer;
	sql = psprintf("(SELECT %s FROM %s WHERE %s%s%s)", result->sql,
				   atq_build_from(scope),
				   atq_build_join_condition(scope->root),
				   filter == NULL ? "" : " AND ",
				   filter == NULL ? "" : filter);
	result->sql = sql;
	result->aggregate = false;
	return result;
}

static AtqExpression *
call_aggregate(AtqSource *table, const Call *call)
{
	return call_on(table, call, argument_of(table, call));
}

/* NULL: all rows. */
static AtqExpression *
argument_of(AtqSource *table, const Call *call)
{
	JsonbValue *inner;

	if (call->argument.type == jbvString)
	{
		if (call->argument.val.string.len == 1 &&
			call->argument.val.string.val[0] == '*')
		{
			if (!is_count(call) || call->distinct)
				refuse_shape(call->name);
			return NULL;
		}
		return argument_path(table, call);
	}
	inner = atq_build_f(&call->argument);
	if (inner == NULL)
		refuse_shape(call->name);
	return operand(table, inner, call->name);
}

/* Rows can be counted by any column of their key. */
static AtqExpression *
argument_path(AtqSource *table, const Call *call)
{
	List	   *columns = atq_build_columns(table,
											pnstrdup(call->argument.val.string.val,
													 call->argument.val.string.len));

	if (list_length(columns) > 1 && (!is_count(call) || call->distinct))
		refuse_operand(call->name);
	return linitial(columns);
}

static bool
is_count(const Call *call)
{
	return call->aggregate == find_aggregate("Count");
}

static AtqExpression *
call_on(AtqSource *table, const Call *call, const AtqExpression *argument)
{
	AtqExpression *result = palloc0(sizeof(AtqExpression));
	char	   *filter = call->filter == NULL ? NULL :
		atq_build_conditions(table, list_make1(call->filter), false);

	if (argument != NULL && argument->aggregate)
		ereport(ERROR,
				(errcode(ERRCODE_GROUPING_ERROR),
				 errmsg("\"%s\" aggregates an aggregate", call->name)));
	result->sql = psprintf("pg_catalog.%s(%s%s)%s%s%s",
						   call->aggregate->function,
						   call->distinct ? "DISTINCT " : "",
						   argument == NULL ? "*" : argument->sql,
						   filter == NULL ? "" : " FILTER (WHERE ",
						   filter == NULL ? "" : filter,
						   filter == NULL ? "" : ")");
	result->type = argument == NULL ? INT8OID :
		aggregate_type(call, argument->type);
	result->nullable = !is_count(call);
	result->aggregate = true;
	return result;
}

/* The type of the result, as the parser would find it. */
static Oid
aggregate_type(const Call *call, Oid argument)
{
	List	   *names = list_make2(makeString("pg_catalog"),
								   makeString((char *) call->aggregate->function));
	Oid			function;
	Oid			type;
	bool		is_set;
	int			nvariadic;
	Oid			variadic;
	Oid		   *true_types;

	if (func_get_detail(names, NIL, NIL, 1, &argument, false, false, false,
						&function, &type, &is_set, &nvariadic, &variadic,
						&true_types, NULL) != FUNCDETAIL_AGGREGATE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("\"%s\" of type %s does not exist",
						call->aggregate->name, format_type_be(argument)),
				 errdetail("It was asked for by \"%s\".", call->name)));
	return IsPolymorphicType(type) ? getBaseType(argument) : type;
}
