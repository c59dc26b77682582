/*-------------------------------------------------------------------------
 *
 * condition.c
 *	  Lookups to conditions in SQL.
 *
 * A condition is an object whose members all hold:
 *
 *	"field"                 equals the value (null: is null)
 *	"field__lookup"         gt, in, contains, ..
 *	"field__date__lookup"   a part of a date: date, year, month, day
 *	"and", "or": [..]       of conditions
 *	"not": ..               of a condition, or a list of those that all hold
 *
 * Members that lead over the same relation to many rows are one EXISTS, if no
 * "or" or "not" stands between them.
 *
 * What a lookup compares with is a parameter of the type that the operator
 * takes.  The operators are those of the type's default operator class; LIKE,
 * regular expressions and @> are pg_catalog's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "miscadmin.h"
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

/* One member of a condition that is about a field. */
typedef struct Lookup
{
	char	   *text;			/* "author__name__in", for messages */
	char	  **names;			/* what follows the path */
	int			n;
	AtqPath		path;
	JsonbValue	value;
} Lookup;

/* Lookups on rows that one relation leads to. */
typedef struct Group
{
	AtqSource  *table;
	AtqFieldRelation *relation;
	List	   *lookups;
} Group;

typedef struct Condition
{
	char	   *sql;			/* NULL: there is none */
	bool		nullable;
} Condition;

/* What a condition object consists of, with those of its "and"s. */
typedef struct Members
{
	List	   *lookups;		/* of Lookup * */
	List	   *others;			/* of Condition * */
} Members;

static void gather(AtqSource *table, const JsonbValue *object,
				   Members *members, const bool *having);
static void gather_list(AtqSource *table, const char *name,
						const JsonbValue *list, Members *members,
						const bool *having);
static Condition *any_of(AtqSource *table, const JsonbValue *list);
static Condition *none_of(AtqSource *table, const JsonbValue *value);
static Condition all_in(AtqSource *table, const JsonbValue *value);
static Condition all_of(AtqSource *table, Members *members);
static Lookup *make_lookup(const char *text, const JsonbValue *value);
static bool is_list(const JsonbValue *value);
static bool is_object(const JsonbValue *value);
static bool over_groups(AtqSource *table, const char *name,
						const JsonbValue *value);
static bool any_over_groups(AtqSource *table, const JsonbValue *value);
static void add(Condition *to, const char *sql, bool nullable);
static void add_group(List **groups, Lookup *lookup);
static bool is_existence(const Lookup *lookup);
static char *exists(const Group *group);
static bool is_about_key(Relation rel, const char *name);
static char *existence(const Lookup *lookup);
static Condition one(Lookup *lookup);
static LookupKind lookup_kind(const Lookup *lookup, const char *name);
static void refuse_lookup(const Lookup *lookup,
						  const char *name) atq_noreturn;
static void refuse_type(const Lookup *lookup, const char *name,
						Oid type) atq_noreturn;
static void refuse_null(const Lookup *lookup) atq_noreturn;
static void refuse_list(const Lookup *lookup, const char *what) atq_noreturn;
static bool is_transform(const char *name);
static AtqExpression *transform(AtqBuild *build, const Lookup *lookup,
								const AtqExpression *operand,
								const char *name);
static char *local_time(AtqBuild *build, const AtqExpression *operand);
static Condition compare(AtqSource *table, const Lookup *lookup,
						 const AtqExpression *left, LookupKind kind);
static char *compare_year(AtqBuild *build, const Lookup *lookup,
						  const AtqExpression *left, LookupKind kind);
static char *year_bound(AtqBuild *build, const Lookup *lookup,
						const AtqExpression *left, const JsonbValue *value,
						int offset, LookupKind kind);
static Oid	comparison(const Lookup *lookup, const AtqExpression *left,
					   LookupKind kind, Oid *right_type);
static char *operator_name(Oid operator);
static char *binary(const Lookup *lookup, AtqBuild *build,
					const AtqExpression *left, const JsonbValue *value,
					LookupKind kind);
static char *match_text(AtqBuild *build, const Lookup *lookup,
						const AtqExpression *left, LookupKind kind);
static char *contained(AtqBuild *build, const Lookup *lookup,
					   const AtqExpression *left);
static bool has_containment(Oid type);
static Datum pattern(const char *text, bool open_start, bool open_end);
static char *within(AtqSource *table, const Lookup *lookup,
					const AtqExpression *left);
static bool is_queryset(const JsonbValue *value);
static char *within_queryset(AtqBuild *build, const Lookup *lookup,
							 List *columns);
static Condition compare_key(AtqSource *table, Lookup *lookup);
static char *key_equals(AtqBuild *build, const Lookup *lookup,
						const JsonbValue *value);
static char *key_within(AtqBuild *build, const Lookup *lookup);
static char *key_isnull(const Lookup *lookup);
static void check_key_value(const Lookup *lookup, const JsonbValue *value);

char *
atq_build_conditions(AtqSource *table, List *conditions, bool having)
{
	StringInfoData sql;
	ListCell   *lc;

	if (having && !table->scope->grouped)
		return NULL;
	initStringInfo(&sql);
	foreach(lc, conditions)
	{
		Members		members = {NIL, NIL};
		Condition	condition;

		gather(table, lfirst(lc), &members,
			   table->scope->grouped ? &having : NULL);
		condition = all_of(table, &members);
		if (condition.sql != NULL)
			appendStringInfo(&sql, "%s%s", sql.len == 0 ? "" : " AND ",
							 condition.sql);
	}
	return sql.len == 0 ? NULL : sql.data;
}

/*
 * Members of an object that all hold.  having, where it is given: only those
 * that are over groups, or only those that are not.
 */
static void
gather(AtqSource *table, const JsonbValue *object, Members *members,
	   const bool *having)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	check_stack_depth();
	if (!is_object(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("condition must be an object of lookups")));
	it = JsonbIteratorInit(object->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		(void) JsonbIteratorNext(&it, &value, true);
		if (strcmp(name, "and") == 0)
		{
			gather_list(table, name, &value, members, having);
			continue;
		}
		if (having != NULL && over_groups(table, name, &value) != *having)
			continue;
		if (strcmp(name, "or") == 0)
			members->others = lappend(members->others, any_of(table, &value));
		else if (strcmp(name, "not") == 0)
			members->others = lappend(members->others, none_of(table, &value));
		else
			members->lookups = lappend(members->lookups,
									   make_lookup(name, &value));
	}
}

static void
gather_list(AtqSource *table, const char *name, const JsonbValue *list,
			Members *members, const bool *having)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (!is_list(list))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a list of conditions", name)));
	it = JsonbIteratorInit(list->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			gather(table, &element, members, having);
	}
}

static Condition *
any_of(AtqSource *table, const JsonbValue *list)
{
	Condition  *result = palloc0(sizeof(Condition));
	StringInfoData sql;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (!is_list(list))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a list of conditions", "or")));
	initStringInfo(&sql);
	it = JsonbIteratorInit(list->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		Condition	condition;

		if (token != WJB_ELEM)
			continue;
		condition = all_in(table, &element);
		if (condition.sql == NULL)
			continue;
		appendStringInfo(&sql, "%s%s", sql.len == 0 ? "(" : " OR ",
						 condition.sql);
		result->nullable = result->nullable || condition.nullable;
	}
	if (sql.len == 0)
		return result;
	appendStringInfoChar(&sql, ')');
	result->sql = sql.data;
	return result;
}

/* All that for which the condition does not hold, be it false or null. */
static Condition *
none_of(AtqSource *table, const JsonbValue *value)
{
	Condition  *result = palloc0(sizeof(Condition));
	Condition	condition = all_in(table, value);

	if (condition.sql == NULL)
		return result;
	result->sql = psprintf(condition.nullable ? "(%s) IS NOT TRUE" :
						   "NOT (%s)", condition.sql);
	return result;
}

/* An object, or a list of them that all hold. */
static Condition
all_in(AtqSource *table, const JsonbValue *value)
{
	Members		members = {NIL, NIL};

	if (is_list(value))
		gather_list(table, "not", value, &members, NULL);
	else
		gather(table, value, &members, NULL);
	return all_of(table, &members);
}

static Condition
all_of(AtqSource *table, Members *members)
{
	Condition	result = {NULL, false};
	List	   *groups = NIL;
	ListCell   *lc;

	foreach(lc, members->lookups)
	{
		Lookup	   *lookup = lfirst(lc);
		Condition	condition;

		lookup->path = atq_build_path(table, lookup->names, lookup->n);
		lookup->names += lookup->path.used;
		lookup->n -= lookup->path.used;
		if (lookup->path.many == NULL)
		{
			condition = one(lookup);
			add(&result, condition.sql, condition.nullable);
		}
		else if (is_existence(lookup))
			add(&result, existence(lookup), false);
		else
			add_group(&groups, lookup);
	}
	foreach(lc, groups)
		add(&result, exists(lfirst(lc)), false);
	foreach(lc, members->others)
	{
		Condition  *other = lfirst(lc);

		add(&result, other->sql, other->nullable);
	}
	return result;
}

static void
add(Condition *to, const char *sql, bool nullable)
{
	if (sql == NULL)
		return;
	to->sql = to->sql == NULL ? pstrdup(sql) :
		psprintf("%s AND %s", to->sql, sql);
	to->nullable = to->nullable || nullable;
}

static Lookup *
make_lookup(const char *text, const JsonbValue *value)
{
	Lookup	   *lookup = palloc0(sizeof(Lookup));

	lookup->text = pstrdup(text);
	lookup->names = atq_build_split(text, &lookup->n);
	lookup->value = *value;
	return lookup;
}

static bool
is_list(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsArray(value->val.binary.data) &&
		!JsonContainerIsScalar(value->val.binary.data);
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

/* True when a member is about an annotation that is over groups. */
static bool
over_groups(AtqSource *table, const char *name, const JsonbValue *value)
{
	AtqBuild   *build = table->scope->build;
	int			nparams = build->nparams;
	List	   *built = table->scope->built;
	AtqPath		path;
	char	  **names;
	int			n;

	if (strcmp(name, "or") == 0 || strcmp(name, "not") == 0)
		return any_over_groups(table, value);
	names = atq_build_split(name, &n);
	table->scope->built = NIL;
	path = atq_build_path(table, names, n);
	table->scope->built = built;
	build->nparams = nparams;
	return list_length(path.columns) == 1 &&
		((AtqExpression *) linitial(path.columns))->aggregate;
}

/* The same of any member of an object, or of the objects in a list. */
static bool
any_over_groups(AtqSource *table, const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	part;

	check_stack_depth();
	if (!is_list(value) && !is_object(value))
		return false;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &part, true)) != WJB_DONE)
	{
		char	   *name;

		if (token == WJB_ELEM && any_over_groups(table, &part))
			return true;
		if (token != WJB_KEY)
			continue;
		name = pnstrdup(part.val.string.val, part.val.string.len);
		(void) JsonbIteratorNext(&it, &part, true);
		if (strcmp(name, "and") == 0 ? any_over_groups(table, &part) :
			over_groups(table, name, &part))
			return true;
	}
	return false;
}

static void
add_group(List **groups, Lookup *lookup)
{
	Group	   *group;
	ListCell   *lc;

	foreach(lc, *groups)
	{
		group = lfirst(lc);
		if (group->table == lookup->path.table &&
			strcmp(group->relation->name, lookup->path.many->name) == 0)
		{
			group->lookups = lappend(group->lookups, lookup);
			return;
		}
	}
	group = palloc(sizeof(Group));
	group->table = lookup->path.table;
	group->relation = lookup->path.many;
	group->lookups = list_make1(lookup);
	*groups = lappend(*groups, group);
}

/* "comment__isnull": are there any rows? */
static bool
is_existence(const Lookup *lookup)
{
	return lookup->n == 1 && strcmp(lookup->names[0], "isnull") == 0;
}

static char *
existence(const Lookup *lookup)
{
	AtqScope   *scope = atq_build_related(lookup->path.table,
										  lookup->path.many);

	if (lookup->value.type != jbvBool)
		refuse_list(lookup, "true or false");
	return psprintf("%sEXISTS (SELECT 1 FROM %s WHERE %s)",
					lookup->value.val.boolean ? "NOT " : "",
					atq_build_from(scope),
					atq_build_join_condition(scope->root));
}

/* A bare relation, or one with a lookup, is about the key. */
static char *
exists(const Group *group)
{
	AtqScope   *scope = atq_build_related(group->table, group->relation);
	Members		members = {NIL, NIL};
	Condition	condition;
	ListCell   *lc;

	foreach(lc, group->lookups)
	{
		Lookup	   *lookup = lfirst(lc);
		Lookup	   *inner = palloc(sizeof(Lookup));

		*inner = *lookup;
		if (lookup->n == 0 || is_about_key(scope->root->rel, lookup->names[0]))
		{
			inner->names = palloc((lookup->n + 1) * sizeof(char *));
			inner->names[0] = "pk";
			for (int i = 0; i < lookup->n; i++)
				inner->names[i + 1] = lookup->names[i];
			inner->n++;
		}
		members.lookups = lappend(members.lookups, inner);
	}
	condition = all_of(scope->root, &members);
	return psprintf("EXISTS (SELECT 1 FROM %s WHERE %s AND %s)",
					atq_build_from(scope),
					atq_build_join_condition(scope->root), condition.sql);
}

/* True for a transform or a lookup that is not the name of a field as well. */
static bool
is_about_key(Relation rel, const char *name)
{
	return atq_build_is_lookup(name) &&
		atq_field_column(rel, name) == InvalidAttrNumber &&
		atq_field_relation(rel, name) == NULL;
}

/* A lookup on what is in the FROM clause. */
static Condition
one(Lookup *lookup)
{
	AtqBuild   *build = lookup->path.table->scope->build;
	const AtqExpression *left = linitial(lookup->path.columns);
	int			i = 0;
	LookupKind	kind;
	Condition	condition;

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
		refuse_lookup(lookup, lookup->names[i]);
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
lookup_kind(const Lookup *lookup, const char *name)
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
refuse_lookup(const Lookup *lookup, const char *name)
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
refuse_type(const Lookup *lookup, const char *name, Oid type)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("lookup \"%s\" does not exist for type %s", name,
					format_type_be(type)),
			 errdetail("It stands in \"%s\".", lookup->text)));
}

static void
refuse_null(const Lookup *lookup)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("value of \"%s\" must not be null", lookup->text),
			 errhint("Use the lookup \"isnull\".")));
}

static void
refuse_list(const Lookup *lookup, const char *what)
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
transform(AtqBuild *build, const Lookup *lookup, const AtqExpression *operand,
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

static Condition
compare(AtqSource *table, const Lookup *lookup, const AtqExpression *left,
		LookupKind kind)
{
	AtqBuild   *build = table->scope->build;
	const JsonbValue *value = &lookup->value;
	Condition	condition = {NULL, left->nullable};

	if (kind == LOOKUP_ISNULL ||
		(value->type == jbvNull &&
		 (kind == LOOKUP_EXACT || kind == LOOKUP_IEXACT)))
	{
		if (value->type != jbvBool && value->type != jbvNull)
			refuse_list(lookup, "true or false");
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
			if (!is_list(value) ||
				JsonContainerSize(value->val.binary.data) != 2)
				refuse_list(lookup, "a list of two values");
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
compare_year(AtqBuild *build, const Lookup *lookup, const AtqExpression *left,
			 LookupKind kind)
{
	const JsonbValue *value = &lookup->value;
	const JsonbValue *last = value;
	Oid			type = getBaseType(left->type);
	char	   *first;

	if (type != DATEOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID)
		refuse_type(lookup, "year", left->type);
	if (kind == LOOKUP_RANGE && is_list(value) &&
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
year_bound(AtqBuild *build, const Lookup *lookup, const AtqExpression *left,
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
comparison(const Lookup *lookup, const AtqExpression *left, LookupKind kind,
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
binary(const Lookup *lookup, AtqBuild *build, const AtqExpression *left,
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
match_text(AtqBuild *build, const Lookup *lookup, const AtqExpression *left,
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
contained(AtqBuild *build, const Lookup *lookup, const AtqExpression *left)
{
	Oid			type = getBaseType(left->type);
	bool		isnull;
	Datum		value = atq_field_value(&lookup->value, type, -1, lookup->text,
										&isnull);

	return psprintf("%s OPERATOR(pg_catalog.@>) %s", left->sql,
					atq_build_param(build, type, value, isnull));
}

static char *
within(AtqSource *table, const Lookup *lookup, const AtqExpression *left)
{
	AtqBuild   *build = table->scope->build;
	Oid			type;
	Oid			operator;
	Oid			array_type;

	if (is_queryset(&lookup->value))
		return within_queryset(build, lookup, list_make1((void *) left));
	if (!is_list(&lookup->value))
		refuse_list(lookup, "a list of values, or a query set");
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

	if (!is_object(value))
		return false;
	key.type = jbvString;
	key.val.string.val = "class";
	key.val.string.len = strlen("class");
	return findJsonbValueFromContainer(value->val.binary.data, JB_FOBJECT,
									   &key) != NULL;
}

/* The columns are compared as the parser compares them. */
static char *
within_queryset(AtqBuild *build, const Lookup *lookup, List *columns)
{
	AtqQuerySet *set = atq_queryset_read(JsonbValueToJsonb((JsonbValue *) &lookup->value));
	List	   *others;
	char	   *sql = atq_build_subquery(build, set, &others);
	StringInfoData result;
	ListCell   *lc;

	if (list_length(columns) != list_length(others))
		refuse_list(lookup, "a query set of one field");
	initStringInfo(&result);
	foreach(lc, columns)
		appendStringInfo(&result, "%s%s", result.len == 0 ? "(" : ", ",
						 ((AtqExpression *) lfirst(lc))->sql);
	appendStringInfo(&result, ") IN (%s)", sql);
	return result.data;
}

/* A key of several columns: its values are lists. */
static Condition
compare_key(AtqSource *table, Lookup *lookup)
{
	AtqBuild   *build = table->scope->build;
	LookupKind	kind = lookup->n == 0 ? LOOKUP_EXACT :
		lookup_kind(lookup, lookup->names[0]);
	Condition	condition = {NULL, false};
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
key_equals(AtqBuild *build, const Lookup *lookup, const JsonbValue *value)
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
check_key_value(const Lookup *lookup, const JsonbValue *value)
{
	int			n = list_length(lookup->path.columns);

	if (!is_list(value) || JsonContainerSize(value->val.binary.data) != n)
		refuse_list(lookup, psprintf("a list of the key's %d values", n));
}

/* (a, b) IN (SELECT .. FROM the columns' arrays) */
static char *
key_within(AtqBuild *build, const Lookup *lookup)
{
	const JsonbValue *value = &lookup->value;
	int			n = is_list(value) ? JsonContainerSize(value->val.binary.data) : 0;
	StringInfoData columns;
	StringInfoData arrays;
	ListCell   *lc;

	if (!is_list(value))
		refuse_list(lookup, "a list of keys, or a query set");
	for (int i = 0; i < n; i++)
		check_key_value(lookup,
						getIthJsonbValueFromContainer(value->val.binary.data, i));
	initStringInfo(&columns);
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
		appendStringInfo(&columns, "%s%s", columns.len == 0 ? "" : ", ",
						 column->sql);
		appendStringInfo(&arrays, "%spg_catalog.unnest(%s)",
						 arrays.len == 0 ? "" : ", ",
						 atq_build_param(build, get_array_type(type),
										 atq_field_array(parts, type,
														 lookup->text), false));
	}
	return psprintf("(%s) IN (SELECT * FROM ROWS FROM (%s))", columns.data,
					arrays.data);
}

static char *
key_isnull(const Lookup *lookup)
{
	bool		isnull = lookup->value.type == jbvNull ||
		(lookup->value.type == jbvBool && lookup->value.val.boolean);
	StringInfoData sql;
	ListCell   *lc;

	if (lookup->value.type != jbvNull && lookup->value.type != jbvBool)
		refuse_list(lookup, "true or false");
	initStringInfo(&sql);
	foreach(lc, lookup->path.columns)
		appendStringInfo(&sql, "%s%s IS %sNULL",
						 sql.len == 0 ? "(" : isnull ? " OR " : " AND ",
						 ((AtqExpression *) lfirst(lc))->sql,
						 isnull ? "" : "NOT ");
	appendStringInfoChar(&sql, ')');
	return sql.data;
}
