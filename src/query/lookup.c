/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  One lookup on a field to a condition in SQL.
 *
 * What a lookup compares with is a parameter of the type that the operator
 * takes.  The operators are those of the type's default operator class; LIKE,
 * regular expressions and @> are pg_catalog's.  A key of several columns is
 * compared with lists.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "query/build.h"

typedef enum LookupKind
{
	LOOKUP_EXACT,
	LOOKUP_IEXACT,
	LOOKUP_CONTAINS,
	LOOKUP_ICONTAINS,
	LOOKUP_STARTSWITH,
	LOOKUP_ISTARTSWITH,
	LOOKUP_ENDSWITH,
	LOOKUP_IENDSWITH,
	LOOKUP_GT,
	LOOKUP_GTE,
	LOOKUP_LT,
	LOOKUP_LTE,
	LOOKUP_IN,
	LOOKUP_RANGE,
	LOOKUP_ISNULL,
	LOOKUP_REGEX,
	LOOKUP_IREGEX,
	LOOKUP_KINDS
} LookupKind;

static const char *const lookup_names[LOOKUP_KINDS] = {
	[LOOKUP_EXACT] = "exact",
	[LOOKUP_IEXACT] = "iexact",
	[LOOKUP_CONTAINS] = "contains",
	[LOOKUP_ICONTAINS] = "icontains",
	[LOOKUP_STARTSWITH] = "startswith",
	[LOOKUP_ISTARTSWITH] = "istartswith",
	[LOOKUP_ENDSWITH] = "endswith",
	[LOOKUP_IENDSWITH] = "iendswith",
	[LOOKUP_GT] = "gt",
	[LOOKUP_GTE] = "gte",
	[LOOKUP_LT] = "lt",
	[LOOKUP_LTE] = "lte",
	[LOOKUP_IN] = "in",
	[LOOKUP_RANGE] = "range",
	[LOOKUP_ISNULL] = "isnull",
	[LOOKUP_REGEX] = "regex",
	[LOOKUP_IREGEX] = "iregex",
};

static const char *const transforms[] = {"date", "year", "month", "day"};

static LookupKind lookup_kind(const AtqLookup *lookup, const char *name);
static void refuse_lookup(const AtqLookup *lookup,
						  const char *name) atq_noreturn;
static void refuse_type(const AtqLookup *lookup, const char *name,
						Oid type) atq_noreturn;
static void refuse_null(const AtqLookup *lookup) atq_noreturn;
static bool is_transform(const char *name);
static AtqExpression *transform(AtqBuild *build, const AtqLookup *lookup,
								const AtqExpression *operand,
								const char *name);
static char *local_time(AtqBuild *build, const AtqExpression *operand);
static AtqCondition compare(AtqSource *table, const AtqLookup *lookup,
							const AtqExpression *left, LookupKind kind);
static char *compare_year(AtqBuild *build, const AtqLookup *lookup,
						  const AtqExpression *left, LookupKind kind);
static char *year_bound(AtqBuild *build, const AtqLookup *lookup,
						const AtqExpression *left, const JsonbValue *value,
						int offset, LookupKind kind);
static Oid	comparison(const AtqLookup *lookup, const AtqExpression *left,
					   LookupKind kind, Oid *right_type);
static char *operator_name(Oid operator);
static char *binary(const AtqLookup *lookup, AtqBuild *build,
					const AtqExpression *left, const JsonbValue *value,
					LookupKind kind);
static char *match_text(AtqBuild *build, const AtqLookup *lookup,
						const AtqExpression *left, LookupKind kind);
static char *contained(AtqBuild *build, const AtqLookup *lookup,
					   const AtqExpression *left);
static bool has_containment(Oid type);
static Datum pattern(const char *text, bool open_start, bool open_end);
static char *within(AtqSource *table, const AtqLookup *lookup,
					const AtqExpression *left);
static bool is_queryset(const JsonbValue *value);
static char *within_queryset(AtqBuild *build, const AtqLookup *lookup,
							 List *columns);
static char *equality(const AtqExpression *left, const AtqExpression *right);
static AtqCondition compare_key(AtqSource *table, AtqLookup *lookup);
static char *key_equals(AtqBuild *build, const AtqLookup *lookup,
						const JsonbValue *value);
static char *key_within(AtqBuild *build, const AtqLookup *lookup);
static char *key_isnull(const AtqLookup *lookup);
static void check_key_value(const AtqLookup *lookup, const JsonbValue *value);


AtqCondition
atq_build_lookup(AtqLookup *lookup)
{
	AtqBuild   *build = lookup->path.table->scope->build;
	const AtqExpression *left = linitial(lookup->path.columns);
	int			i = 0;
	LookupKind	kind;
	AtqCondition condition;

	if (list_length(lookup->path.columns) > 1)
		return compare_key(lookup->path.table, lookup);
	if (lookup->n > 0 && strcmp(lookup->names[0], "year") == 0)
	{
		kind = lookup->n == 1 ? LOOKUP_EXACT :
			lookup_kind(lookup, lookup->names[1]);
		condition.sql = lookup->n > 2 ? NULL :
			compare_year(build, lookup, left, kind);
		condition.nullable = left->nullable;
		if (condition.sql != NULL)
			return condition;
	}
	if (lookup->n > 0 && is_transform(lookup->names[0]))
		left = transform(build, lookup, left, lookup->names[i++]);
	if (lookup->n > i + 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("lookup \"%s\" does not exist after \"%s\"",
						lookup->names[i + 1], lookup->names[i]),
				 errdetail("It stands in \"%s\".", lookup->text)));
	kind = lookup->n == i ? LOOKUP_EXACT :
		lookup_kind(lookup, lookup->names[i]);
	return compare(lookup->path.table, lookup, left, kind);
}

bool
atq_build_is_lookup(const char *name)
{
	return is_transform(name) || lookup_kind(NULL, name) != LOOKUP_KINDS;
}

/* lookup NULL: LOOKUP_KINDS instead of an error. */
static LookupKind
lookup_kind(const AtqLookup *lookup, const char *name)
{
	for (int i = 0; i < LOOKUP_KINDS; i++)
	{
		if (strcmp(lookup_names[i], name) == 0)
			return i;
	}
	if (lookup != NULL)
		refuse_lookup(lookup, name);
	return LOOKUP_KINDS;
}

static void
refuse_lookup(const AtqLookup *lookup, const char *name)
{
	List	   *names = NIL;
	const char *nearest;

	for (int i = 0; i < LOOKUP_KINDS; i++)
		names = lappend(names, (char *) lookup_names[i]);
	for (int i = 0; i < lengthof(transforms); i++)
		names = lappend(names, (char *) transforms[i]);
	nearest = atq_field_nearest(name, names);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("lookup \"%s\" does not exist", name),
			 errdetail("It stands in \"%s\".", lookup->text),
			 nearest == NULL ? 0 :
			 errhint("Perhaps you meant the lookup \"%s\".", nearest)));
}

static void
refuse_type(const AtqLookup *lookup, const char *name, Oid type)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("lookup \"%s\" does not exist for type %s", name,
					format_type_be(type)),
			 errdetail("It stands in \"%s\".", lookup->text)));
}

static void
refuse_null(const AtqLookup *lookup)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("value of \"%s\" must not be null", lookup->text),
			 errhint("Use the lookup \"isnull\".")));
}

void
atq_build_refuse_value(const AtqLookup *lookup, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("value of \"%s\" must be %s", lookup->text, what)));
}

static bool
is_transform(const char *name)
{
	for (int i = 0; i < lengthof(transforms); i++)
	{
		if (strcmp(transforms[i], name) == 0)
			return true;
	}
	return false;
}

/* A date, or a part of it as a number. */
static AtqExpression *
transform(AtqBuild *build, const AtqLookup *lookup, const AtqExpression *operand,
		  const char *name)
{
	AtqExpression *result = palloc(sizeof(AtqExpression));
	Oid			type = getBaseType(operand->type);

	if (type != DATEOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID)
		refuse_type(lookup, name, operand->type);
	*result = *operand;
	if (strcmp(name, "date") == 0)
	{
		result->sql = psprintf("%s::pg_catalog.date",
							   local_time(build, operand));
		result->type = DATEOID;
	}
	else
	{
		result->sql = psprintf("EXTRACT(%s FROM %s)", name,
							   local_time(build, operand));
		result->type = NUMERICOID;
	}
	return result;
}

/* In the session's time zone; another server's sessions have their own. */
static char *
local_time(AtqBuild *build, const AtqExpression *operand)
{
	if (build->server == NULL || getBaseType(operand->type) != TIMESTAMPTZOID)
		return operand->sql;
	return psprintf("(%s AT TIME ZONE %s)", operand->sql,
					atq_build_param(build, TEXTOID,
									CStringGetTextDatum(pg_get_timezone_name(session_timezone)),
									false));
}

static AtqCondition
compare(AtqSource *table, const AtqLookup *lookup, const AtqExpression *left,
		LookupKind kind)
{
	AtqBuild   *build = table->scope->build;
	const JsonbValue *value = &lookup->value;
	AtqCondition condition = {NULL, left->nullable};

	if (kind == LOOKUP_ISNULL ||
		(value->type == jbvNull &&
		 (kind == LOOKUP_EXACT || kind == LOOKUP_IEXACT)))
	{
		if (value->type != jbvBool && value->type != jbvNull)
			atq_build_refuse_value(lookup, "true or false");
		condition.sql = psprintf("%s IS %sNULL", left->sql,
								 value->type == jbvNull ||
								 value->val.boolean ? "" : "NOT ");
		condition.nullable = false;
		return condition;
	}
	if (value->type == jbvNull)
		refuse_null(lookup);
	switch (kind)
	{
		case LOOKUP_EXACT:
		case LOOKUP_GT:
		case LOOKUP_GTE:
		case LOOKUP_LT:
		case LOOKUP_LTE:
			{
				JsonbValue *f = atq_build_f(value);

				if (f == NULL)
					condition.sql = binary(lookup, build, left, value, kind);
				else
				{
					Oid			type;
					Oid			operator = comparison(lookup, left, kind,
													  &type);
					AtqExpression *right = atq_build_expression(table, f,
																lookup->text);

					condition.sql = psprintf("%s %s %s", left->sql,
											 operator_name(operator),
											 right->sql);
					condition.nullable |= right->nullable;
				}
				break;
			}
		case LOOKUP_IN:
			condition.sql = within(table, lookup, left);
			condition.nullable |= is_queryset(value);
			break;
		case LOOKUP_RANGE:
			if (!atq_json_is_list(value) ||
				JsonContainerSize(value->val.binary.data) != 2)
				atq_build_refuse_value(lookup, "a list of two values");
			condition.sql = binary(lookup, build, left,
								   getIthJsonbValueFromContainer(value->val.binary.data, 0),
								   LOOKUP_GTE);
			condition.sql = psprintf("%s AND %s", condition.sql,
									 binary(lookup, build, left,
											getIthJsonbValueFromContainer(value->val.binary.data, 1),
											LOOKUP_LTE));
			break;
		default:
			condition.sql = kind == LOOKUP_CONTAINS &&
				has_containment(left->type) ?
				contained(build, lookup, left) :
				match_text(build, lookup, left, kind);
			break;
	}
	return condition;
}

/*
 * Years as ranges, which an index serves; NULL for lookups that take the year
 * as a number.
 */
static char *
compare_year(AtqBuild *build, const AtqLookup *lookup, const AtqExpression *left,
			 LookupKind kind)
{
	const JsonbValue *value = &lookup->value;
	const JsonbValue *last = value;
	Oid			type = getBaseType(left->type);
	char	   *first;

	if (type != DATEOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID)
		refuse_type(lookup, "year", left->type);
	if (kind == LOOKUP_RANGE && atq_json_is_list(value) &&
		JsonContainerSize(value->val.binary.data) == 2)
	{
		last = getIthJsonbValueFromContainer(value->val.binary.data, 1);
		value = getIthJsonbValueFromContainer(value->val.binary.data, 0);
	}
	if (value->type != jbvNumeric || last->type != jbvNumeric)
		return NULL;
	switch (kind)
	{
		case LOOKUP_EXACT:
		case LOOKUP_RANGE:
			first = year_bound(build, lookup, left, value, 0, LOOKUP_GTE);
			return psprintf("%s AND %s", first,
							year_bound(build, lookup, left, last, 1,
									   LOOKUP_LT));
		case LOOKUP_GT:
			return year_bound(build, lookup, left, value, 1, LOOKUP_GTE);
		case LOOKUP_GTE:
			return year_bound(build, lookup, left, value, 0, LOOKUP_GTE);
		case LOOKUP_LT:
			return year_bound(build, lookup, left, value, 0, LOOKUP_LT);
		case LOOKUP_LTE:
			return year_bound(build, lookup, left, value, 1, LOOKUP_LT);
		default:
			return NULL;
	}
}

/* Compares with the first day of a year. */
static char *
year_bound(AtqBuild *build, const AtqLookup *lookup, const AtqExpression *left,
		   const JsonbValue *value, int offset, LookupKind kind)
{
	bool		isnull;
	int			year = DatumGetInt32(atq_field_value(value, INT4OID, -1,
													 lookup->text, &isnull));
	JsonbValue	bound;

	if (year < 1 || year >= JULIAN_MAXYEAR)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
				 errmsg("year of \"%s\" out of range: %d", lookup->text,
						year)));
	bound.type = jbvString;
	bound.val.string.val = psprintf("%04d-01-01", year + offset);
	bound.val.string.len = strlen(bound.val.string.val);
	return binary(lookup, build, left, &bound, kind);
}

/* The operator of a comparison, and the type of what stands on its right. */
static Oid
comparison(const AtqLookup *lookup, const AtqExpression *left, LookupKind kind,
		   Oid *right_type)
{
	Oid			type = getBaseType(left->type);
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR |
											  TYPECACHE_LT_OPR |
											  TYPECACHE_GT_OPR |
											  TYPECACHE_BTREE_OPFAMILY);
	Oid			operator = InvalidOid;
	Oid			left_type;

	switch (kind)
	{
		case LOOKUP_EXACT:
			operator = entry->eq_opr;
			break;
		case LOOKUP_LT:
			operator = entry->lt_opr;
			break;
		case LOOKUP_GT:
			operator = entry->gt_opr;
			break;
		case LOOKUP_LTE:
		case LOOKUP_GTE:
			if (OidIsValid(entry->btree_opf))
				operator = get_opfamily_member(entry->btree_opf,
											   entry->btree_opintype,
											   entry->btree_opintype,
											   kind == LOOKUP_LTE ?
											   BTLessEqualStrategyNumber :
											   BTGreaterEqualStrategyNumber);
			break;
		default:
			break;
	}
	if (!OidIsValid(operator))
		refuse_type(lookup, lookup_names[kind], left->type);
	op_input_types(operator, &left_type, right_type);
	if (IsPolymorphicType(*right_type) || *right_type == RECORDOID)
		*right_type = type;
	return operator;
}

static char *
operator_name(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/* left operator $n */
static char *
binary(const AtqLookup *lookup, AtqBuild *build, const AtqExpression *left,
	   const JsonbValue *value, LookupKind kind)
{
	Oid			type;
	Oid			operator = comparison(lookup, left, kind, &type);
	bool		isnull;
	Datum		datum;

	if (value->type == jbvNull)
		refuse_null(lookup);
	datum = atq_field_value(value, type, -1, lookup->text, &isnull);
	return psprintf("%s %s %s", left->sql, operator_name(operator),
					atq_build_param(build, type, datum, isnull));
}

static char *
match_text(AtqBuild *build, const AtqLookup *lookup, const AtqExpression *left,
		   LookupKind kind)
{
	Oid			type = getBaseType(left->type);
	char	   *column = type == TEXTOID || type == VARCHAROID ? left->sql :
		psprintf("%s::pg_catalog.text", left->sql);
	bool		fold = kind == LOOKUP_IEXACT || kind == LOOKUP_ICONTAINS ||
		kind == LOOKUP_ISTARTSWITH || kind == LOOKUP_IENDSWITH;
	const char *operator = "~~";
	bool		isnull;
	Datum		value = atq_field_value(&lookup->value, TEXTOID, -1,
										lookup->text, &isnull);
	char	   *words = TextDatumGetCString(value);
	char	   *param;

	switch (kind)
	{
		case LOOKUP_IEXACT:
			operator = "=";
			break;
		case LOOKUP_REGEX:
			operator = "~";
			break;
		case LOOKUP_IREGEX:
			operator = "~*";
			break;
		case LOOKUP_CONTAINS:
		case LOOKUP_ICONTAINS:
			value = pattern(words, true, true);
			break;
		case LOOKUP_STARTSWITH:
		case LOOKUP_ISTARTSWITH:
			value = pattern(words, false, true);
			break;
		case LOOKUP_ENDSWITH:
		case LOOKUP_IENDSWITH:
			value = pattern(words, true, false);
			break;
		default:
			elog(ERROR, "unexpected lookup: %d", (int) kind);
	}
	param = atq_build_param(build, TEXTOID, value, false);
	if (fold)
		return psprintf("pg_catalog.upper(%s) OPERATOR(pg_catalog.%s) pg_catalog.upper(%s)",
						column, operator, param);
	return psprintf("%s OPERATOR(pg_catalog.%s) %s", column, operator, param);
}

/* What LIKE matches the text by, and what may stand around it. */
static Datum
pattern(const char *text, bool open_start, bool open_end)
{
	StringInfoData result;

	initStringInfo(&result);
	if (open_start)
		appendStringInfoChar(&result, '%');
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == '%' || *c == '_' || *c == '\\')
			appendStringInfoChar(&result, '\\');
		appendStringInfoChar(&result, *c);
	}
	if (open_end)
		appendStringInfoChar(&result, '%');
	return CStringGetTextDatum(result.data);
}

static bool
has_containment(Oid type)
{
	Oid			base = getBaseType(type);

	return base == JSONBOID || OidIsValid(get_element_type(base)) ||
		type_is_range(base) || type_is_multirange(base);
}

/* left @> $n */
static char *
contained(AtqBuild *build, const AtqLookup *lookup, const AtqExpression *left)
{
	Oid			type = getBaseType(left->type);
	bool		isnull;
	Datum		value = atq_field_value(&lookup->value, type, -1, lookup->text,
										&isnull);

	return psprintf("%s OPERATOR(pg_catalog.@>) %s", left->sql,
					atq_build_param(build, type, value, isnull));
}

static char *
within(AtqSource *table, const AtqLookup *lookup, const AtqExpression *left)
{
	AtqBuild   *build = table->scope->build;
	Oid			type;
	Oid			operator;
	Oid			array_type;

	if (is_queryset(&lookup->value))
		return within_queryset(build, lookup, list_make1((void *) left));
	if (!atq_json_is_list(&lookup->value))
		atq_build_refuse_value(lookup, "a list of values, or a query set");
	operator = comparison(lookup, left, LOOKUP_EXACT, &type);
	array_type = get_array_type(type);
	if (!OidIsValid(array_type))
		refuse_type(lookup, lookup_names[LOOKUP_IN], left->type);
	return psprintf("%s %s ANY (%s)", left->sql, operator_name(operator),
					atq_build_param(build, array_type,
									atq_field_array(&lookup->value, type,
													lookup->text), false));
}

static bool
is_queryset(const JsonbValue *value)
{
	JsonbValue	key;

	if (!atq_json_is_object(value))
		return false;
	key.type = jbvString;
	key.val.string.val = "class";
	key.val.string.len = strlen("class");
	return findJsonbValueFromContainer(value->val.binary.data, JB_FOBJECT,
									   &key) != NULL;
}

static char *
within_queryset(AtqBuild *build, const AtqLookup *lookup, List *columns)
{
	AtqQuerySet *set = atq_queryset_read(JsonbValueToJsonb((JsonbValue *) &lookup->value));
	List	   *others;
	char	   *sql = atq_build_subquery(build, set, &others);

	if (list_length(columns) != list_length(others))
		atq_build_refuse_value(lookup, "a query set of one field");
	return atq_build_within(columns, others, sql);
}

/* Rows are compared as such where all columns are by the same operator. */
char *
atq_build_within(List *columns, List *others, const char *sql)
{
	char	   *operator = equality(linitial(columns), linitial(others));
	bool		same = true;
	StringInfoData row;
	StringInfoData names;
	StringInfoData equal;
	ListCell   *lc;
	ListCell   *lc2;

	initStringInfo(&row);
	initStringInfo(&names);
	initStringInfo(&equal);
	forboth(lc, columns, lc2, others)
	{
		const AtqExpression *column = lfirst(lc);
		char	   *by = equality(column, lfirst(lc2));
		int			n = foreach_current_index(lc) + 1;

		same = same && strcmp(by, operator) == 0;
		appendStringInfo(&row, "%s%s", n == 1 ? "" : ", ", column->sql);
		appendStringInfo(&names, "%sc%d", n == 1 ? "" : ", ", n);
		appendStringInfo(&equal, "%s%s %s asynctasq_in.c%d",
						 n == 1 ? "" : " AND ", column->sql, by, n);
	}
	if (same)
		return psprintf("(%s) %s ANY (%s)", row.data, operator, sql);
	return psprintf("EXISTS (SELECT 1 FROM (%s) AS asynctasq_in (%s) WHERE %s)",
					sql, names.data, equal.data);
}

/* Of two types, or of one that has none, pg_catalog's, if there is one. */
static char *
equality(const AtqExpression *left, const AtqExpression *right)
{
	Oid			type = getBaseType(left->type);
	Oid			operator = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;

	if (!OidIsValid(operator) || type != getBaseType(right->type))
		return "OPERATOR(pg_catalog.=)";
	return operator_name(operator);
}

/* A key of several columns: its values are lists. */
static AtqCondition
compare_key(AtqSource *table, AtqLookup *lookup)
{
	AtqBuild   *build = table->scope->build;
	LookupKind	kind = lookup->n == 0 ? LOOKUP_EXACT :
		lookup_kind(lookup, lookup->names[0]);
	AtqCondition condition = {NULL, false};
	ListCell   *lc;

	if (lookup->n > 1)
		refuse_lookup(lookup, lookup->names[1]);
	foreach(lc, lookup->path.columns)
		condition.nullable |= ((AtqExpression *) lfirst(lc))->nullable;
	if (kind == LOOKUP_EXACT && lookup->value.type != jbvNull)
		condition.sql = key_equals(build, lookup, &lookup->value);
	else if (kind == LOOKUP_IN && is_queryset(&lookup->value))
	{
		condition.sql = within_queryset(build, lookup, lookup->path.columns);
		condition.nullable = true;
	}
	else if (kind == LOOKUP_IN)
		condition.sql = key_within(build, lookup);
	else if (kind == LOOKUP_ISNULL || kind == LOOKUP_EXACT)
	{
		condition.sql = key_isnull(lookup);
		condition.nullable = false;
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("lookup \"%s\" does not exist for a key of several columns",
						lookup_names[kind]),
				 errdetail("It stands in \"%s\".", lookup->text)));
	return condition;
}

static char *
key_equals(AtqBuild *build, const AtqLookup *lookup, const JsonbValue *value)
{
	StringInfoData sql;
	ListCell   *lc;

	check_key_value(lookup, value);
	initStringInfo(&sql);
	foreach(lc, lookup->path.columns)
		appendStringInfo(&sql, "%s%s", sql.len == 0 ? "" : " AND ",
						 binary(lookup, build, lfirst(lc),
								getIthJsonbValueFromContainer(value->val.binary.data,
															  foreach_current_index(lc)),
								LOOKUP_EXACT));
	return sql.data;
}

static void
check_key_value(const AtqLookup *lookup, const JsonbValue *value)
{
	int			n = list_length(lookup->path.columns);

	if (!atq_json_is_list(value) || JsonContainerSize(value->val.binary.data) != n)
		atq_build_refuse_value(lookup, psprintf("a list of the key's %d values", n));
}

/* (a, b) = ANY (SELECT .. FROM the columns' arrays) */
static char *
key_within(AtqBuild *build, const AtqLookup *lookup)
{
	const JsonbValue *value = &lookup->value;
	int			n = atq_json_is_list(value) ? JsonContainerSize(value->val.binary.data) : 0;
	List	   *others = NIL;
	StringInfoData arrays;
	ListCell   *lc;

	if (!atq_json_is_list(value))
		atq_build_refuse_value(lookup, "a list of keys, or a query set");
	for (int i = 0; i < n; i++)
		check_key_value(lookup,
						getIthJsonbValueFromContainer(value->val.binary.data, i));
	initStringInfo(&arrays);
	foreach(lc, lookup->path.columns)
	{
		AtqExpression *column = lfirst(lc);
		JsonbParseState *state = NULL;
		JsonbValue *parts;
		Oid			type;

		(void) comparison(lookup, column, LOOKUP_EXACT, &type);
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (int i = 0; i < n; i++)
		{
			JsonbValue *key = getIthJsonbValueFromContainer(value->val.binary.data, i);
			JsonbValue *part = getIthJsonbValueFromContainer(key->val.binary.data,
															 foreach_current_index(lc));

			if (part->type == jbvNull)
				refuse_null(lookup);
			pushJsonbValue(&state, WJB_ELEM, part);
		}
		parts = palloc(sizeof(JsonbValue));
		parts->type = jbvBinary;
		parts->val.binary.data = &JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL))->root;
		others = lappend(others, atq_build_text(NULL, type));
		appendStringInfo(&arrays, "%spg_catalog.unnest(%s)",
						 arrays.len == 0 ? "" : ", ",
						 atq_build_param(build, get_array_type(type),
										 atq_field_array(parts, type,
														 lookup->text), false));
	}
	return atq_build_within(lookup->path.columns, others,
							psprintf("SELECT * FROM ROWS FROM (%s)",
									 arrays.data));
}

static char *
key_isnull(const AtqLookup *lookup)
{
	bool		isnull = lookup->value.type == jbvNull ||
		(lookup->value.type == jbvBool && lookup->value.val.boolean);
	StringInfoData sql;
	ListCell   *lc;

	if (lookup->value.type != jbvNull && lookup->value.type != jbvBool)
		atq_build_refuse_value(lookup, "true or false");
	initStringInfo(&sql);
	foreach(lc, lookup->path.columns)
		appendStringInfo(&sql, "%s%s IS %sNULL",
						 sql.len == 0 ? "(" : isnull ? " OR " : " AND ",
						 ((AtqExpression *) lfirst(lc))->sql,
						 isnull ? "" : "NOT ");
	appendStringInfoChar(&sql, ')');
	return sql.data;
}
