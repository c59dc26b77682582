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
 * What a lookup is by itself stands in lookup.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "query/build.h"

/* Lookups on rows that one relation leads to. */
typedef struct Group
{
	AtqSource  *table;
	AtqFieldRelation *relation;
	List	   *lookups;
} Group;

/* What a condition object consists of, with those of its "and"s. */
typedef struct Members
{
	List	   *lookups;		/* of AtqLookup * */
	List	   *others;			/* of AtqCondition * */
} Members;

static void gather(AtqSource *table, const JsonbValue *object,
				   Members *members, const bool *having);
static void gather_list(AtqSource *table, const char *name,
						const JsonbValue *list, Members *members,
						const bool *having);
static int	list_size(const JsonbValue *list, const char *name);
static AtqCondition *any_of(AtqSource *table, const JsonbValue *list);
static AtqCondition *none_of(AtqSource *table, const JsonbValue *value);
static AtqCondition all_in(AtqSource *table, const JsonbValue *value);
static AtqCondition all_of(AtqSource *table, Members *members);
static AtqLookup *make_lookup(const char *text, const JsonbValue *value);
static bool over_groups(AtqSource *table, const char *name,
						const JsonbValue *value);
static bool any_over_groups(AtqSource *table, const JsonbValue *value);
static void add(AtqCondition *to, StringInfo joined, const char *sql,
				bool nullable);
static void add_group(List **groups, AtqLookup *lookup);
static bool is_existence(const AtqLookup *lookup);
static char *exists(const Group *group);
static char *existence(const AtqLookup *lookup);
static bool is_about_key(Relation rel, const char *name);

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
		AtqCondition condition;

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
	if (!atq_json_is_object(object))
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
	int			n = list_size(list, name);

	for (int i = 0; i < n; i++)
		gather(table, getIthJsonbValueFromContainer(list->val.binary.data, i),
			   members, having);
}

static int
list_size(const JsonbValue *list, const char *name)
{
	if (!atq_json_is_list(list))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be a list of conditions", name)));
	return JsonContainerSize(list->val.binary.data);
}

static AtqCondition *
any_of(AtqSource *table, const JsonbValue *list)
{
	AtqCondition *result = palloc0(sizeof(AtqCondition));
	int			n = list_size(list, "or");
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < n; i++)
	{
		AtqCondition condition = all_in(table,
										getIthJsonbValueFromContainer(list->val.binary.data, i));

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
static AtqCondition *
none_of(AtqSource *table, const JsonbValue *value)
{
	AtqCondition *result = palloc0(sizeof(AtqCondition));
	AtqCondition condition = all_in(table, value);

	if (condition.sql == NULL)
		return result;
	result->sql = psprintf(condition.nullable ? "(%s) IS NOT TRUE" :
						   "NOT (%s)", condition.sql);
	return result;
}

/* An object, or a list of them that all hold. */
static AtqCondition
all_in(AtqSource *table, const JsonbValue *value)
{
	Members		members = {NIL, NIL};

	if (atq_json_is_list(value))
		gather_list(table, "not", value, &members, NULL);
	else
		gather(table, value, &members, NULL);
	return all_of(table, &members);
}

static AtqCondition
all_of(AtqSource *table, Members *members)
{
	AtqCondition result = {NULL, false};
	StringInfoData joined = {0};
	List	   *groups = NIL;
	ListCell   *lc;

	foreach(lc, members->lookups)
	{
		AtqLookup  *lookup = lfirst(lc);
		AtqCondition condition;

		lookup->path = atq_build_path(table, lookup->names, lookup->n);
		lookup->names += lookup->path.used;
		lookup->n -= lookup->path.used;
		if (lookup->path.many == NULL)
		{
			condition = atq_build_lookup(lookup);
			add(&result, &joined, condition.sql, condition.nullable);
		}
		else if (is_existence(lookup))
			add(&result, &joined, existence(lookup), false);
		else
			add_group(&groups, lookup);
	}
	foreach(lc, groups)
		add(&result, &joined, exists(lfirst(lc)), false);
	foreach(lc, members->others)
	{
		AtqCondition *other = lfirst(lc);

		add(&result, &joined, other->sql, other->nullable);
	}
	return result;
}

/* The text is in joined, which grows. */
static void
add(AtqCondition *to, StringInfo joined, const char *sql, bool nullable)
{
	if (sql == NULL)
		return;
	if (joined->data == NULL)
		initStringInfo(joined);
	else
		appendStringInfoString(joined, " AND ");
	appendStringInfoString(joined, sql);
	to->sql = joined->data;
	to->nullable = to->nullable || nullable;
}

static AtqLookup *
make_lookup(const char *text, const JsonbValue *value)
{
	AtqLookup  *lookup = palloc0(sizeof(AtqLookup));

	lookup->text = pstrdup(text);
	lookup->names = atq_build_split(text, &lookup->n);
	lookup->value = *value;
	return lookup;
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
	if (!atq_json_is_list(value) && !atq_json_is_object(value))
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
add_group(List **groups, AtqLookup *lookup)
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
is_existence(const AtqLookup *lookup)
{
	return lookup->n == 1 && strcmp(lookup->names[0], "isnull") == 0;
}

static char *
existence(const AtqLookup *lookup)
{
	AtqScope   *scope = atq_build_related(lookup->path.table,
										  lookup->path.many);

	if (lookup->value.type != jbvBool)
		atq_build_refuse_value(lookup, "true or false");
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
	AtqCondition condition;
	ListCell   *lc;

	foreach(lc, group->lookups)
	{
		AtqLookup  *lookup = lfirst(lc);
		AtqLookup  *inner = palloc(sizeof(AtqLookup));

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
