/*-------------------------------------------------------------------------
 *
 * chain.c
 *	  The functions that make a query set from another.
 *
 * Their meaning is that of Django's methods of the same names.  They look no
 * name up and read no table, so they are immutable: what they do not know of
 * the model is seen when the query set is compiled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/argument.h"
#include "query/queryset.h"

/* Functions of annotations that make one value of many rows. */
static const char *const aggregates[] = {"Avg", "Count", "Max", "Min", "Sum"};

static Datum return_set(const AtqQuerySet *set);
static Datum add_conditions(FunctionCallInfo fcinfo, bool negated);
static List *conditions_of(ArrayType *array);
static Jsonb *join_conditions(List *conditions, bool negated);
static void push_object(JsonbParseState **state, JsonbIteratorToken token,
						Jsonb *object);
static void push_key(JsonbParseState **state, const char *name);
static List *names_of(ArrayType *array);
static bool is_single_null(ArrayType *array);
static bool has_name(List *names, const char *name);
static List *add_names(List *names, List *more);
static List *without_names(List *names, List *others);
static void refuse_sliced(const AtqQuerySet *set, const char *function);
static void refuse_values(const AtqQuerySet *set, const char *function);
static int64 slice_bound(int64 start, int32 distance, int64 stop);
static Datum set_values(FunctionCallInfo fcinfo, AtqQueryForm form,
						ArrayType *fields);
static bool add_annotations(AtqQuerySet *set, Jsonb *annotations);
static bool aggregates_rows(const JsonbValue *expression);

PG_FUNCTION_INFO_V1(atq_sql_queryset_objects);
PG_FUNCTION_INFO_V1(atq_sql_queryset_filter);
PG_FUNCTION_INFO_V1(atq_sql_queryset_exclude);
PG_FUNCTION_INFO_V1(atq_sql_queryset_order_by);
PG_FUNCTION_INFO_V1(atq_sql_queryset_reverse);
PG_FUNCTION_INFO_V1(atq_sql_queryset_distinct);
PG_FUNCTION_INFO_V1(atq_sql_queryset_slice);
PG_FUNCTION_INFO_V1(atq_sql_queryset_only);
PG_FUNCTION_INFO_V1(atq_sql_queryset_defer);
PG_FUNCTION_INFO_V1(atq_sql_queryset_values);
PG_FUNCTION_INFO_V1(atq_sql_queryset_values_list);
PG_FUNCTION_INFO_V1(atq_sql_queryset_select_related);
PG_FUNCTION_INFO_V1(atq_sql_queryset_prefetch_related);
PG_FUNCTION_INFO_V1(atq_sql_queryset_annotate);
PG_FUNCTION_INFO_V1(atq_sql_queryset_using);

Datum
atq_sql_queryset_objects(PG_FUNCTION_ARGS)
{
	atq_require_arg(fcinfo, 0, "class");
	return return_set(atq_queryset_make(PG_ARGISNULL(1) ? NULL :
										text_to_cstring(PG_GETARG_TEXT_PP(1)),
										text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

static Datum
return_set(const AtqQuerySet *set)
{
	PG_RETURN_JSONB_P(atq_queryset_write(set));
}

/* ---------------------------------------------------------------------
 * Conditions
 * ------------------------------------------------------------------ */

Datum
atq_sql_queryset_filter(PG_FUNCTION_ARGS)
{
	return add_conditions(fcinfo, false);
}

Datum
atq_sql_queryset_exclude(PG_FUNCTION_ARGS)
{
	return add_conditions(fcinfo, true);
}

static Datum
add_conditions(FunctionCallInfo fcinfo, bool negated)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);
	List	   *conditions = conditions_of(PG_GETARG_ARRAYTYPE_P(1));

	if (conditions != NIL)
		atq_queryset_filter(set, join_conditions(conditions, negated));
	return return_set(set);
}

/* Those that are not empty; of Jsonb *. */
static List *
conditions_of(ArrayType *array)
{
	List	   *conditions = NIL;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, JSONBOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		Jsonb	   *json;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("condition must not be null")));
		json = DatumGetJsonbP(values[i]);
		atq_queryset_check_condition(json);
		if (JB_ROOT_COUNT(json) > 0)
			conditions = lappend(conditions, json);
	}
	return conditions;
}

/* One condition that says what several say together. */
static Jsonb *
join_conditions(List *conditions, bool negated)
{
	JsonbParseState *state = NULL;
	Jsonb	   *joined = linitial(conditions);
	ListCell   *lc;

	if (list_length(conditions) > 1)
	{
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_key(&state, "and");
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		foreach(lc, conditions)
			push_object(&state, WJB_ELEM, lfirst(lc));
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
		joined = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT,
												  NULL));
	}
	if (negated)
	{
		state = NULL;
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_key(&state, "not");
		push_object(&state, WJB_VALUE, joined);
		joined = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT,
												  NULL));
	}
	return joined;
}

static void
push_object(JsonbParseState **state, JsonbIteratorToken token, Jsonb *object)
{
	JsonbValue	value;

	JsonbToJsonbValue(object, &value);
	pushJsonbValue(state, token, &value);
}

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
}

/* ---------------------------------------------------------------------
 * Lists of names
 * ------------------------------------------------------------------ */

/* Of char *. */
static List *
names_of(ArrayType *array)
{
	List	   *names = NIL;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name of a field must not be null")));
		names = lappend(names, TextDatumGetCString(values[i]));
	}
	return names;
}

/* True for what stands for Django's None: f(qs, NULL). */
static bool
is_single_null(ArrayType *array)
{
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 1 &&
		array_contains_nulls(array);
}

static bool
has_name(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/* Names with those of the others that are not among them. */
static List *
add_names(List *names, List *more)
{
	ListCell   *lc;

	foreach(lc, more)
	{
		if (!has_name(names, lfirst(lc)))
			names = lappend(names, lfirst(lc));
	}
	return names;
}

static List *
without_names(List *names, List *others)
{
	List	   *rest = NIL;
	ListCell   *lc;

	foreach(lc, names)
	{
		if (!has_name(others, lfirst(lc)))
			rest = lappend(rest, lfirst(lc));
	}
	return rest;
}

/* ---------------------------------------------------------------------
 * Order, distinct rows, slices
 * ------------------------------------------------------------------ */

Datum
atq_sql_queryset_order_by(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);

	refuse_sliced(set, "order_by");
	set->order = names_of(PG_GETARG_ARRAYTYPE_P(1));
	return return_set(set);
}

Datum
atq_sql_queryset_reverse(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);

	refuse_sliced(set, "reverse");
	set->reversed = !set->reversed;
	return return_set(set);
}

Datum
atq_sql_queryset_distinct(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);

	refuse_sliced(set, "distinct");
	set->distinct = true;
	set->distinct_on = names_of(PG_GETARG_ARRAYTYPE_P(1));
	return return_set(set);
}

static void
refuse_sliced(const AtqQuerySet *set, const char *function)
{
	if (set->sliced)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot call %s() on a query for \"%s\" that is sliced",
						function, set->class_name)));
}

/* A slice of a slice: positions count from the first row that there is. */
Datum
atq_sql_queryset_slice(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set;
	int32		start = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);
	int32		stop = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (start < 0 || stop < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("positions of a slice must not be negative"),
				 errhint("Reverse the order to count from the end.")));
	set = ATQ_GETARG_QUERYSET(0);
	if (!PG_ARGISNULL(2))
		set->stop = slice_bound(set->start, stop, set->stop);
	set->start = slice_bound(set->start, start, set->stop);
	set->sliced = set->start > 0 || set->stop >= 0;
	return return_set(set);
}

/* A position behind start, but not behind stop. */
static int64
slice_bound(int64 start, int32 distance, int64 stop)
{
	int64		bound;

	if (pg_add_s64_overflow(start, distance, &bound))
		bound = PG_INT64_MAX;
	return stop >= 0 ? Min(bound, stop) : bound;
}

/* ---------------------------------------------------------------------
 * What becomes of a row
 * ------------------------------------------------------------------ */

/* The columns given, but for those that defer() has left out before. */
Datum
atq_sql_queryset_only(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);

	refuse_values(set, "only");
	set->only = without_names(names_of(PG_GETARG_ARRAYTYPE_P(1)), set->defer);
	set->defer = NIL;
	return return_set(set);
}

/*
 * Takes columns from those of only(); where none remains, and without only(),
 * all columns are read but these.
 */
Datum
atq_sql_queryset_defer(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	List	   *only = set->only;

	refuse_values(set, "defer");
	if (is_single_null(array))
	{
		set->only = NIL;
		set->defer = NIL;
		return return_set(set);
	}
	set->only = without_names(only, names_of(array));
	if (set->only == NIL)
		set->defer = add_names(set->defer,
							   without_names(names_of(array), only));
	return return_set(set);
}

Datum
atq_sql_queryset_values(PG_FUNCTION_ARGS)
{
	return set_values(fcinfo, ATQ_FORM_VALUES, PG_GETARG_ARRAYTYPE_P(1));
}

Datum
atq_sql_queryset_values_list(PG_FUNCTION_ARGS)
{
	return set_values(fcinfo,
					  PG_GETARG_BOOL(1) ? ATQ_FORM_FLAT : ATQ_FORM_LIST,
					  PG_GETARG_ARRAYTYPE_P(2));
}

/* What only concerns objects of the model goes. */
static Datum
set_values(FunctionCallInfo fcinfo, AtqQueryForm form, ArrayType *fields)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);

	atq_queryset_form(set, form, names_of(fields));
	set->only = NIL;
	set->defer = NIL;
	set->select_related = NIL;
	set->prefetch_related = NIL;
	return return_set(set);
}

Datum
atq_sql_queryset_select_related(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);

	refuse_values(set, "select_related");
	set->select_related = is_single_null(array) ? NIL :
		add_names(set->select_related, names_of(array));
	return return_set(set);
}

Datum
atq_sql_queryset_prefetch_related(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);

	refuse_values(set, "prefetch_related");
	set->prefetch_related = is_single_null(array) ? NIL :
		add_names(set->prefetch_related, names_of(array));
	return return_set(set);
}

static void
refuse_values(const AtqQuerySet *set, const char *function)
{
	if (set->form != ATQ_FORM_MODEL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot call %s() on a query for \"%s\" that gives values",
						function, set->class_name)));
}

/* ---------------------------------------------------------------------
 * Annotations, servers
 * ------------------------------------------------------------------ */

/*
 * Annotations that follow values() are among them.  The first that aggregates
 * makes one row of all with equal values; without fields in values() each row
 * of the model stays one.
 */
Datum
atq_sql_queryset_annotate(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set = ATQ_GETARG_QUERYSET(0);
	List	   *fields = list_copy(set->fields);

	if (add_annotations(set, PG_GETARG_JSONB_P(1)) && fields != NIL &&
		!set->grouped)
	{
		set->grouped = true;
		set->group = fields;
	}
	return return_set(set);
}

/* Returns true where one of them aggregates. */
static bool
add_annotations(AtqQuerySet *set, Jsonb *annotations)
{
	bool		aggregating = false;
	bool		listed = set->fields != NIL && set->form != ATQ_FORM_FLAT;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;

	if (!JB_ROOT_IS_OBJECT(annotations))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("annotations are not a JSON object")));
	it = JsonbIteratorInit(&annotations->root);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		JsonbValue *expression;
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		expression = palloc(sizeof(JsonbValue));
		(void) JsonbIteratorNext(&it, expression, true);
		atq_queryset_annotate(set, name, expression);
		if (listed)
			set->fields = lappend(set->fields, name);
		aggregating = aggregating || aggregates_rows(expression);
	}
	return aggregating;
}

static bool
aggregates_rows(const JsonbValue *expression)
{
	for (int i = 0; i < lengthof(aggregates); i++)
	{
		if (getKeyJsonValueFromContainer(expression->val.binary.data,
										 aggregates[i], strlen(aggregates[i]),
										 NULL) != NULL)
			return true;
	}
	return false;
}

/* Without a server: where the model is. */
Datum
atq_sql_queryset_using(PG_FUNCTION_ARGS)
{
	AtqQuerySet *set;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	set = ATQ_GETARG_QUERYSET(0);
	set->server = PG_ARGISNULL(1) ? NULL :
		pstrdup(NameStr(*PG_GETARG_NAME(1)));
	return return_set(set);
}
