/*-------------------------------------------------------------------------
 *
 * queryset.c
 *	  The SQL type asynctasq.queryset: query sets as values.
 *
 * A value is that of a jsonb object; src/README, "Query sets", has its members.
 * Whatever becomes a value is taken apart and written anew: all values have
 * one form, with no members that say what goes without saying, and none that a
 * reader does not know.  Names are not looked up here: they may be those of
 * another server, or of a time to come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "query/queryset.h"

/* All members that a value may have. */
static const char *const members[] = {
	"annotate", "class", "defer", "distinct", "flat", "group", "only", "order_by",
	"orm", "prefetch_related", "reverse", "select_related", "slice", "using",
	"values", "values_list", "where"
};

static Datum return_checked(Jsonb *json);
static JsonbValue *find_member(JsonbContainer *object, const char *name);
static char *read_string(JsonbContainer *object, const char *name);
static bool read_true(JsonbContainer *object, const char *name);
static JsonbContainer *read_list(JsonbContainer *object, const char *name);
static List *read_names(JsonbContainer *object, const char *name);
static List *read_where(JsonbContainer *object);
static void read_annotations(JsonbContainer *object, AtqQuerySet *set);
static void read_annotation(JsonbContainer *pair, AtqQuerySet *set);
static void read_distinct(JsonbContainer *object, AtqQuerySet *set);
static void read_slice(JsonbContainer *object, AtqQuerySet *set);
static bool read_bound(const JsonbValue *value, int64 *bound);
static void read_form(JsonbContainer *object, AtqQuerySet *set);
static void refuse_both(JsonbContainer *object, const char *one,
						const char *other);
static void refuse_unknown(JsonbContainer *object);
static void refuse_member(const char *name, const char *what) atq_noreturn;
static bool is_string(const JsonbValue *value, const char *string);
static void check_condition(JsonbContainer *condition);
static void check_conditions(const JsonbValue *list, const char *name,
							 const char *what);
static void refuse_condition(const char *name, const char *what) atq_noreturn;
static void write_string(JsonbParseState **state, JsonbIteratorToken token,
						 const char *string);
static void write_key(JsonbParseState **state, const char *name);
static void write_text(JsonbParseState **state, const char *name,
					   const char *string);
static void write_true(JsonbParseState **state, const char *name, bool value);
static void write_names(JsonbParseState **state, const char *name,
						List *names);
static void write_list(JsonbParseState **state, const char *name, List *names);
static void write_where(JsonbParseState **state, List *where);
static void write_annotations(JsonbParseState **state, List *annotations);
static void write_slice(JsonbParseState **state, const AtqQuerySet *set);
static void write_form(JsonbParseState **state, const AtqQuerySet *set);

PG_FUNCTION_INFO_V1(atq_sql_queryset_in);
PG_FUNCTION_INFO_V1(atq_sql_queryset_out);
PG_FUNCTION_INFO_V1(atq_sql_queryset_recv);
PG_FUNCTION_INFO_V1(atq_sql_queryset_send);
PG_FUNCTION_INFO_V1(atq_sql_queryset_from_jsonb);

Oid
atq_queryset_type(void)
{
	Oid			schema = get_namespace_oid("asynctasq", true);

	if (!OidIsValid(schema))
		return InvalidOid;
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
						   CStringGetDatum("queryset"),
						   ObjectIdGetDatum(schema));
}

Datum
atq_sql_queryset_in(PG_FUNCTION_ARGS)
{
	return return_checked(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															 PG_GETARG_DATUM(0))));
}

Datum
atq_sql_queryset_out(PG_FUNCTION_ARGS)
{
	return jsonb_out(fcinfo);
}

Datum
atq_sql_queryset_recv(PG_FUNCTION_ARGS)
{
	return return_checked(DatumGetJsonbP(DirectFunctionCall1(jsonb_recv,
															 PG_GETARG_DATUM(0))));
}

Datum
atq_sql_queryset_send(PG_FUNCTION_ARGS)
{
	return jsonb_send(fcinfo);
}

Datum
atq_sql_queryset_from_jsonb(PG_FUNCTION_ARGS)
{
	return return_checked(PG_GETARG_JSONB_P(0));
}

/* JSON as a value of the type, in its one form. */
static Datum
return_checked(Jsonb *json)
{
	PG_RETURN_JSONB_P(atq_queryset_write(atq_queryset_read(json)));
}

AtqQuerySet *
atq_queryset_make(const char *orm, const char *class_name)
{
	AtqQuerySet *set = palloc0(sizeof(AtqQuerySet));

	set->orm = orm;
	set->class_name = class_name;
	set->stop = -1;
	return set;
}

void
atq_queryset_check_condition(const Jsonb *condition)
{
	if (!JB_ROOT_IS_OBJECT(condition))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("condition is not a JSON object")));
	check_condition((JsonbContainer *) &condition->root);
}

void
atq_queryset_filter(AtqQuerySet *set, const Jsonb *condition)
{
	JsonbValue *value;

	atq_queryset_check_condition(condition);
	if (JB_ROOT_COUNT(condition) == 0)
		return;
	if (set->sliced)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot filter a query for \"%s\" that is sliced",
						set->class_name)));
	value = palloc(sizeof(JsonbValue));
	JsonbToJsonbValue((Jsonb *) condition, value);
	set->where = lappend(set->where, value);
}

void
atq_queryset_annotate(AtqQuerySet *set, const char *name,
					  JsonbValue *expression)
{
	AtqAnnotation *annotation;
	ListCell   *lc;

	if (!atq_json_is_object(expression))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("annotation \"%s\" is not a JSON object", name)));
	CHECK_FOR_INTERRUPTS();
	foreach(lc, set->annotations)
	{
		if (strcmp(((AtqAnnotation *) lfirst(lc))->name, name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_ALIAS),
					 errmsg("query for \"%s\" has an annotation \"%s\" already",
							set->class_name, name)));
	}
	annotation = palloc(sizeof(AtqAnnotation));
	annotation->name = name;
	annotation->expression = expression;
	set->annotations = lappend(set->annotations, annotation);
}

void
atq_queryset_form(AtqQuerySet *set, AtqQueryForm form, List *fields)
{
	if (form == ATQ_FORM_FLAT && list_length(fields) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("flat values must be those of one field, not %d",
						list_length(fields))));
	set->form = form;
	set->fields = fields;
}

/* ---------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------ */

AtqQuerySet *
atq_queryset_read(const Jsonb *value)
{
	JsonbContainer *object = (JsonbContainer *) &value->root;
	AtqQuerySet *set;

	if (!JB_ROOT_IS_OBJECT(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query set is not a JSON object")));
	refuse_unknown(object);
	set = atq_queryset_make(read_string(object, "orm"),
							read_string(object, "class"));
	if (set->class_name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query set has no member \"class\"")));
	set->server = read_string(object, "using");
	set->where = read_where(object);
	read_annotations(object, set);
	set->grouped = read_list(object, "group") != NULL;
	set->group = read_names(object, "group");
	set->order = read_names(object, "order_by");
	set->reversed = read_true(object, "reverse");
	read_distinct(object, set);
	read_slice(object, set);
	refuse_both(object, "only", "defer");
	set->only = read_names(object, "only");
	set->defer = read_names(object, "defer");
	read_form(object, set);
	set->select_related = read_names(object, "select_related");
	set->prefetch_related = read_names(object, "prefetch_related");
	return set;
}

/* A member's value, or NULL; palloc'd. */
static JsonbValue *
find_member(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

static char *
read_string(JsonbContainer *object, const char *name)
{
	JsonbValue *value = find_member(object, name);

	if (value == NULL)
		return NULL;
	if (value->type != jbvString)
		refuse_member(name, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static bool
read_true(JsonbContainer *object, const char *name)
{
	JsonbValue *value = find_member(object, name);

	if (value == NULL)
		return false;
	if (value->type != jbvBool)
		refuse_member(name, "true or false");
	return value->val.boolean;
}

static JsonbContainer *
read_list(JsonbContainer *object, const char *name)
{
	JsonbValue *value = find_member(object, name);

	if (value == NULL)
		return NULL;
	if (!atq_json_is_list(value))
		refuse_member(name, "a list");
	return value->val.binary.data;
}

static List *
read_names(JsonbContainer *object, const char *name)
{
	JsonbContainer *list = read_list(object, name);
	List	   *names = NIL;

	for (uint32 i = 0; list != NULL && i < JsonContainerSize(list); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(list, i);

		if (value->type != jbvString)
			refuse_member(name, "a list of strings");
		names = lappend(names, pnstrdup(value->val.string.val,
										value->val.string.len));
	}
	return names;
}

static List *
read_where(JsonbContainer *object)
{
	JsonbContainer *list = read_list(object, "where");
	List	   *where = NIL;

	for (uint32 i = 0; list != NULL && i < JsonContainerSize(list); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(list, i);

		if (!atq_json_is_object(value))
			refuse_member("where", "a list of objects");
		check_condition(value->val.binary.data);
		where = lappend(where, value);
	}
	return where;
}

static void
read_annotations(JsonbContainer *object, AtqQuerySet *set)
{
	JsonbContainer *list = read_list(object, "annotate");

	for (uint32 i = 0; list != NULL && i < JsonContainerSize(list); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(list, i);

		if (!atq_json_is_list(value) || JsonContainerSize(value->val.binary.data) != 2)
			refuse_member("annotate", "a list of names with objects");
		read_annotation(value->val.binary.data, set);
	}
}

static void
read_annotation(JsonbContainer *pair, AtqQuerySet *set)
{
	JsonbValue *name = getIthJsonbValueFromContainer(pair, 0);

	if (name->type != jbvString)
		refuse_member("annotate", "a list of names with objects");
	atq_queryset_annotate(set, pnstrdup(name->val.string.val,
										name->val.string.len),
						  getIthJsonbValueFromContainer(pair, 1));
}

static void
read_distinct(JsonbContainer *object, AtqQuerySet *set)
{
	JsonbValue *value = find_member(object, "distinct");

	if (value == NULL)
		return;
	if (atq_json_is_list(value))
	{
		set->distinct = true;
		set->distinct_on = read_names(object, "distinct");
	}
	else if (value->type == jbvBool)
		set->distinct = value->val.boolean;
	else
		refuse_member("distinct", "true, false or a list of strings");
}

static void
read_slice(JsonbContainer *object, AtqQuerySet *set)
{
	JsonbContainer *list = read_list(object, "slice");
	JsonbValue *stop;

	if (list == NULL)
		return;
	if (JsonContainerSize(list) != 2 ||
		!read_bound(getIthJsonbValueFromContainer(list, 0), &set->start))
		refuse_member("slice", "a list of two positions");
	stop = getIthJsonbValueFromContainer(list, 1);
	if (stop->type != jbvNull &&
		(!read_bound(stop, &set->stop) || set->stop < set->start))
		refuse_member("slice", "a list of two positions");
	set->sliced = set->start > 0 || set->stop >= 0;
}

/* False where the value is no position: a whole number from 0. */
static bool
read_bound(const JsonbValue *value, int64 *bound)
{
	Datum		number;
	Datum		limit = NumericGetDatum(int64_to_numeric(PG_INT64_MAX));

	if (value->type != jbvNumeric)
		return false;
	number = NumericGetDatum(value->val.numeric);
	if (!DatumGetBool(DirectFunctionCall2(numeric_le, number, limit)))
		return false;
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, number,
										 NumericGetDatum(int64_to_numeric(0)))))
		return false;
	*bound = DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
	return DatumGetBool(DirectFunctionCall2(numeric_eq, number,
											NumericGetDatum(int64_to_numeric(*bound))));
}

static void
read_form(JsonbContainer *object, AtqQuerySet *set)
{
	bool		flat = read_true(object, "flat");

	refuse_both(object, "values", "values_list");
	if (find_member(object, "values") != NULL)
		atq_queryset_form(set, ATQ_FORM_VALUES, read_names(object, "values"));
	else if (find_member(object, "values_list") != NULL)
		atq_queryset_form(set, flat ? ATQ_FORM_FLAT : ATQ_FORM_LIST,
						  read_names(object, "values_list"));
	if (flat && set->form != ATQ_FORM_FLAT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query set has a member \"flat\" without \"values_list\"")));
}

static void
refuse_both(JsonbContainer *object, const char *one, const char *other)
{
	if (find_member(object, one) != NULL && find_member(object, other) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query set has both members \"%s\" and \"%s\"",
						one, other)));
}

static void
refuse_unknown(JsonbContainer *object)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		int			i = 0;

		if (token != WJB_KEY)
			continue;
		while (i < lengthof(members) && !is_string(&value, members[i]))
			i++;
		if (i == lengthof(members))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("query set has an unknown member \"%s\"",
							pnstrdup(value.val.string.val,
									 value.val.string.len))));
	}
}

static void
refuse_member(const char *name, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("member \"%s\" of a query set is not %s", name, what)));
}

bool
atq_json_is_object(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

bool
atq_json_is_list(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsArray(value->val.binary.data);
}

static bool
is_string(const JsonbValue *value, const char *string)
{
	return value->val.string.len == strlen(string) &&
		memcmp(value->val.string.val, string, value->val.string.len) == 0;
}

/*
 * Throws 22023 where "and", "or" and "not" do not hold what they must, at any
 * depth.
 */
static void
check_condition(JsonbContainer *condition)
{
	JsonbIterator *it = JsonbIteratorInit(condition);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	check_stack_depth();
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if (is_string(&key, "not") && atq_json_is_object(&value))
			check_condition(value.val.binary.data);
		else if (is_string(&key, "not"))
			check_conditions(&value, "not", "an object or a list of objects");
		else if (is_string(&key, "and"))
			check_conditions(&value, "and", "a list of objects");
		else if (is_string(&key, "or"))
			check_conditions(&value, "or", "a list of objects");
	}
}

static void
check_conditions(const JsonbValue *list, const char *name, const char *what)
{
	JsonbContainer *conditions;

	if (!atq_json_is_list(list))
		refuse_condition(name, what);
	conditions = list->val.binary.data;
	for (uint32 i = 0; i < JsonContainerSize(conditions); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(conditions, i);

		if (!atq_json_is_object(value))
			refuse_condition(name, what);
		check_condition(value->val.binary.data);
	}
}

static void
refuse_condition(const char *name, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("member \"%s\" of a condition is not %s", name, what)));
}

/* ---------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------ */

Jsonb *
atq_queryset_write(const AtqQuerySet *set)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	write_text(&state, "class", set->class_name);
	write_text(&state, "orm", set->orm);
	write_text(&state, "using", set->server);
	write_where(&state, set->where);
	write_annotations(&state, set->annotations);
	if (set->grouped)
		write_list(&state, "group", set->group);
	write_names(&state, "order_by", set->order);
	write_true(&state, "reverse", set->reversed);
	if (set->distinct_on == NIL)
		write_true(&state, "distinct", set->distinct);
	else
		write_list(&state, "distinct", set->distinct_on);
	write_slice(&state, set);
	write_names(&state, "only", set->only);
	write_names(&state, "defer", set->defer);
	write_form(&state, set);
	write_names(&state, "select_related", set->select_related);
	write_names(&state, "prefetch_related", set->prefetch_related);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
write_string(JsonbParseState **state, JsonbIteratorToken token,
			 const char *string)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = (char *) string;
	value.val.string.len = strlen(string);
	pushJsonbValue(state, token, &value);
}

static void
write_key(JsonbParseState **state, const char *name)
{
	write_string(state, WJB_KEY, name);
}

static void
write_text(JsonbParseState **state, const char *name, const char *string)
{
	if (string == NULL)
		return;
	write_key(state, name);
	write_string(state, WJB_VALUE, string);
}

static void
write_true(JsonbParseState **state, const char *name, bool value)
{
	JsonbValue	boolean = {.type = jbvBool,.val.boolean = true};

	if (!value)
		return;
	write_key(state, name);
	pushJsonbValue(state, WJB_VALUE, &boolean);
}

static void
write_names(JsonbParseState **state, const char *name, List *names)
{
	if (names != NIL)
		write_list(state, name, names);
}

static void
write_list(JsonbParseState **state, const char *name, List *names)
{
	ListCell   *lc;

	write_key(state, name);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, names)
		write_string(state, WJB_ELEM, lfirst(lc));
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
write_where(JsonbParseState **state, List *where)
{
	ListCell   *lc;

	if (where == NIL)
		return;
	write_key(state, "where");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, where)
		pushJsonbValue(state, WJB_ELEM, lfirst(lc));
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
write_annotations(JsonbParseState **state, List *annotations)
{
	ListCell   *lc;

	if (annotations == NIL)
		return;
	write_key(state, "annotate");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, annotations)
	{
		AtqAnnotation *annotation = lfirst(lc);

		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		write_string(state, WJB_ELEM, annotation->name);
		pushJsonbValue(state, WJB_ELEM, annotation->expression);
		pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
write_slice(JsonbParseState **state, const AtqQuerySet *set)
{
	JsonbValue	value;

	if (!set->sliced)
		return;
	write_key(state, "slice");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(set->start);
	pushJsonbValue(state, WJB_ELEM, &value);
	if (set->stop >= 0)
		value.val.numeric = int64_to_numeric(set->stop);
	else
		value.type = jbvNull;
	pushJsonbValue(state, WJB_ELEM, &value);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
write_form(JsonbParseState **state, const AtqQuerySet *set)
{
	switch (set->form)
	{
		case ATQ_FORM_MODEL:
			break;
		case ATQ_FORM_VALUES:
			write_list(state, "values", set->fields);
			break;
		case ATQ_FORM_FLAT:
			write_true(state, "flat", true);
			/* FALLTHROUGH */
		case ATQ_FORM_LIST:
			write_list(state, "values_list", set->fields);
			break;
	}
}
