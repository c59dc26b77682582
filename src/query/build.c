/*-------------------------------------------------------------------------
 *
 * build.c
 *	  A statement under construction: its tables, columns and parameters.
 *
 * A scope is a FROM clause: a root table and those joined to it, each by a
 * relation that leads to one row at most.  A relation to many rows opens a scope
 * of its own, in a subquery.  All relations are locked when they are named, so
 * that they are the same when the statement is parsed, and closed by compile.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "query/build.h"
#include "remote/rows.h"
#include "store/trust.h"

/* Of a path; what is to be done for one grows faster than their number. */
#define MAX_NAMES	100

static AtqSource *make_table(AtqScope *scope, Relation rel,
							 const char *class_name);
static const char *class_of(Relation rel);
static void check_server(const AtqBuild *build, const AtqModel *model,
						 Relation rel);
static AtqSource *find_child(AtqSource *table, const AtqFieldRelation *relation);
static char *table_name(const AtqSource *table);
static int	find_name(AtqSource *table, char **names, int n, AtqPath *path,
					  AtqFieldRelation **relation);
static char *join_names(char **names, int n);
static bool follow(AtqSource **table, AtqFieldRelation *relation,
				   char **names, int n, AtqPath *path);
static AtqSource *find_bound(const AtqSource *table,
							 const AtqFieldRelation *relation);
static List *own_columns(AtqSource *table, const AtqFieldRelation *relation);
static bool is_field(Relation rel, char **names, int n);
static bool is_target(const AtqFieldRelation *relation, Relation other,
					  const char *name);
static const AtqAnnotation *find_annotation(const AtqSource *table,
											const char *name);
static List *extra_names(const AtqSource *table);
static int	model_key(Relation rel, AttrNumber *keys);

char	  **
atq_build_split(const char *path, int *n)
{
	int			max = strlen(path) / 3 + 1;
	char	  **names = palloc(max * sizeof(char *));
	const char *start = path;

	*n = 0;
	for (;;)
	{
		const char *end = start[0] == '\0' ? NULL : strstr(start + 1, "__");

		if (end == NULL || end[2] == '\0')
			break;
		if (*n == MAX_NAMES - 1)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("a path of a query set has more than %d names",
							MAX_NAMES),
					 errdetail("It begins with \"%s\".", names[0])));
		names[(*n)++] = pnstrdup(start, end - start);
		start = end + 2;
	}
	names[(*n)++] = pstrdup(start);
	return names;
}

AtqScope *
atq_build_scope(AtqBuild *build, Relation rel, const char *class_name)
{
	AtqScope   *scope = palloc0(sizeof(AtqScope));

	scope->build = build;
	scope->root = make_table(scope, rel, class_name);
	return scope;
}

AtqScope *
atq_build_related(AtqSource *table, const AtqFieldRelation *relation)
{
	AtqBuild   *build = table->scope->build;
	const char *class_name;
	Relation	rel = atq_build_open(build, relation->other, &class_name);
	AtqScope   *scope = atq_build_scope(build, rel, class_name);

	scope->root->by = relation;
	scope->root->parent = table;
	return scope;
}

AtqSource *
atq_build_join(AtqSource *table, const AtqFieldRelation *relation)
{
	AtqSource  *child = find_child(table, relation);
	const char *class_name;
	Relation	rel;

	if (child != NULL)
		return child;
	rel = atq_build_open(table->scope->build, relation->other, &class_name);
	child = make_table(table->scope, rel, class_name);
	child->by = relation;
	child->parent = table;
	child->optional = table->optional || relation->optional;
	table->children = lappend(table->children, child);
	table->scope->joined = lappend(table->scope->joined, child);
	return child;
}

static AtqSource *
find_child(AtqSource *table, const AtqFieldRelation *relation)
{
	ListCell   *lc;

	foreach(lc, table->children)
	{
		AtqSource  *child = lfirst(lc);

		if (strcmp(child->by->name, relation->name) == 0)
			return child;
	}
	return NULL;
}

static AtqSource *
make_table(AtqScope *scope, Relation rel, const char *class_name)
{
	AtqSource  *table = palloc0(sizeof(AtqSource));

	table->scope = scope;
	table->rel = rel;
	table->class_name = class_name;
	table->alias = psprintf("t%d", scope->build->naliases++);
	return table;
}

Relation
atq_build_open(AtqBuild *build, Oid relation, const char **class_name)
{
	Relation	rel = relation_open(relation, AccessShareLock);
	AtqModel   *model = atq_registry_model_of(relation);

	build->opened = lappend(build->opened, rel);
	*class_name = class_of(rel);
	check_server(build, model, rel);
	if (!build->model->guarded &&
		!(model != NULL ? atq_trust_model(model) : atq_trust_relation(relation)))
	{
		atq_trust_guard(build->model->model);
		build->model->guarded = true;
	}
	return rel;
}

/* What messages call a relation. */
static const char *
class_of(Relation rel)
{
	AtqModel   *model = atq_registry_model_of(RelationGetRelid(rel));

	return model != NULL ? model->class_name : RelationGetRelationName(rel);
}

/* All tables of a statement are on the server where it runs. */
static void
check_server(const AtqBuild *build, const AtqModel *model, Relation rel)
{
	const char *server = model == NULL ? NULL : model->server;

	if (build->anywhere || model == NULL ||
		(server == NULL && build->server == NULL) ||
		(server != NULL && build->server != NULL &&
		 strcmp(server, build->server) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("models \"%s\" and \"%s\" are on different servers",
					build->model->model->class_name, model->class_name),
			 errhint("Read them one after the other.")));
}

/* The operators are between what is referred to and what refers. */
char *
atq_build_join_condition(const AtqSource *table)
{
	const AtqFieldRelation *by = table->by;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < by->nkeys; i++)
	{
		AtqExpression *here = atq_build_column((AtqSource *) table, by->to[i]);
		AtqExpression *there = atq_build_column(table->parent, by->from[i]);
		AtqExpression *left = by->forward ? here : there;
		AtqExpression *right = by->forward ? there : here;

		appendStringInfoString(&sql, i == 0 ? "" : " AND ");
		generate_operator_clause(&sql, left->sql, left->type,
								 by->operators[i], right->sql, right->type);
	}
	return sql.data;
}

char *
atq_build_from(const AtqScope *scope)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "%s AS %s", table_name(scope->root),
					 scope->root->alias);
	foreach(lc, scope->joined)
	{
		AtqSource  *table = lfirst(lc);

		appendStringInfo(&sql, " %s %s AS %s ON %s",
						 table->optional ? "LEFT JOIN" : "JOIN",
						 table_name(table), table->alias,
						 atq_build_join_condition(table));
	}
	return sql.data;
}

static char *
table_name(const AtqSource *table)
{
	return table->scope->build->server != NULL ?
		atq_rows_table_name(table->rel) : atq_relkey_name(table->rel);
}

AtqExpression *
atq_build_column(AtqSource *table, AttrNumber column)
{
	AtqExpression *expression = palloc0(sizeof(AtqExpression));
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(table->rel), column - 1);
	const char *name;

	if (table->scope->build->server != NULL)
		name = atq_rows_column_name(table->rel, column);
	else
		name = quote_identifier(NameStr(attribute->attname));
	expression->sql = psprintf("%s.%s", table->alias, name);
	expression->type = attribute->atttypid;
	expression->nullable = table->optional || !attribute->attnotnull;
	return expression;
}

AtqExpression *
atq_build_text(char *sql, Oid type)
{
	AtqExpression *expression = palloc0(sizeof(AtqExpression));

	expression->sql = sql;
	expression->type = type;
	return expression;
}

List *
atq_build_key(AtqSource *table)
{
	AtqQueryModel *model = table->scope->build->model;
	AttrNumber	keys[ATQ_MAX_KEYS];
	List	   *columns = NIL;
	int			n;

	if (RelationGetRelid(table->rel) == model->model->relation)
	{
		n = model->nkeys;
		memcpy(keys, model->keys, n * sizeof(AttrNumber));
	}
	else
		n = model_key(table->rel, keys);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("\"%s\" has no primary key", table->class_name),
				 errhint("Register the model with asynctasq.register_model(..., key => ...).")));
	for (int i = 0; i < n; i++)
		columns = lappend(columns, atq_build_column(table, keys[i]));
	return columns;
}

static int
model_key(Relation rel, AttrNumber *keys)
{
	return atq_relkey_columns(rel,
							  atq_registry_model_of(RelationGetRelid(rel)),
							  keys);
}

/* On other servers nothing else says the type. */
char *
atq_build_param(AtqBuild *build, Oid type, Datum value, bool isnull)
{
	int			n = build->nparams++;

	if (n == build->max_params)
	{
		build->max_params = Max(8, 2 * n);
		if (n == 0)
		{
			build->types = palloc(build->max_params * sizeof(Oid));
			build->values = palloc(build->max_params * sizeof(Datum));
			build->nulls = palloc(build->max_params);
		}
		else
		{
			build->types = repalloc(build->types,
									build->max_params * sizeof(Oid));
			build->values = repalloc(build->values,
									 build->max_params * sizeof(Datum));
			build->nulls = repalloc(build->nulls, build->max_params);
		}
	}
	if (n >= PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("query set has too many values"),
				 errhint("Give lists of values with the lookup \"in\".")));
	build->types[n] = type;
	build->values[n] = value;
	build->nulls[n] = isnull ? 'n' : ' ';
	if (build->server == NULL)
		return psprintf("$%d", n + 1);
	return psprintf("$%d::%s", n + 1, format_type_be_qualified(type));
}

/*
 * Each name is a column, a relation or an annotation of the table that the
 * names before have led to.
 */
AtqPath
atq_build_path(AtqSource *table, char **names, int n)
{
	AtqPath		result = {NIL, table, NULL, 0};

	while (result.columns == NIL && result.many == NULL)
	{
		AtqFieldRelation *relation = NULL;
		int			used;

		CHECK_FOR_INTERRUPTS();
		used = find_name(table, names + result.used, n - result.used,
						 &result, &relation);
		if (used == 0)
			atq_field_missing(table->rel, table->class_name,
							  names[result.used], extra_names(table));
		result.used += used;
		if (relation != NULL &&
			!follow(&table, relation, names + result.used, n - result.used,
					&result))
			break;
		result.table = table;
	}
	return result;
}

/*
 * What the first name is, or the first few where a name has "__" in it;
 * returns how many names that took, 0 where it is nothing.
 */
static int
find_name(AtqSource *table, char **names, int n, AtqPath *path,
		  AtqFieldRelation **relation)
{
	for (int used = 1; used <= n; used++)
	{
		char	   *name = join_names(names, used);
		AttrNumber	column = atq_field_column(table->rel, name);
		const AtqAnnotation *annotation = find_annotation(table, name);

		if (annotation != NULL)
		{
			path->columns = list_make1(atq_build_annotation(table, annotation));
			return used;
		}
		if (column == InvalidAttrNumber || used < n)
			*relation = atq_field_relation(table->rel, name);
		if (*relation != NULL && column != InvalidAttrNumber)
		{
			Relation	other = relation_open((*relation)->other,
											  AccessShareLock);
			bool		further = is_field(other, names + used, n - used);

			relation_close(other, NoLock);
			if (!further)
				*relation = NULL;
		}
		if (*relation != NULL)
			return used;
		if (column != InvalidAttrNumber)
		{
			path->columns = list_make1(atq_build_column(table, column));
			return used;
		}
		if (strcmp(name, "pk") == 0)
		{
			path->columns = atq_build_key(table);
			return used;
		}
	}
	return 0;
}

static char *
join_names(char **names, int n)
{
	StringInfoData joined;

	if (n == 1)
		return names[0];
	initStringInfo(&joined);
	for (int i = 0; i < n; i++)
		appendStringInfo(&joined, "%s%s", i == 0 ? "" : "__", names[i]);
	return joined.data;
}

/*
 * Goes on to the table that a relation leads to; false where the path ends:
 * at the columns of the foreign key, or because there may be many rows.
 */
static bool
follow(AtqSource **table, AtqFieldRelation *relation, char **names, int n,
	   AtqPath *path)
{
	Relation	other = relation_open(relation->other, AccessShareLock);
	bool		further = is_field(other, names, n);
	AtqSource  *bound;

	if (!further && n > 0 && !atq_build_is_lookup(names[0]))
		atq_field_missing(other, class_of(other), names[0], NIL);
	if (relation->forward &&
		(!further || is_target(relation, other, names[0])))
	{
		path->columns = own_columns(*table, relation);
		path->used += further ? 1 : 0;
		relation_close(other, NoLock);
		return false;
	}
	relation_close(other, NoLock);
	bound = find_bound(*table, relation);
	if (bound != NULL)
		*table = bound;
	else if (relation->many)
	{
		path->many = relation;
		return false;
	}
	else
		*table = atq_build_join(*table, relation);
	if (further)
		return true;
	path->table = *table;
	path->columns = atq_build_key(*table);
	return false;
}

static AtqSource *
find_bound(const AtqSource *table, const AtqFieldRelation *relation)
{
	ListCell   *lc;

	foreach(lc, table->scope->build->bound)
	{
		AtqSource  *bound = lfirst(lc);

		if (bound->parent == table &&
			strcmp(bound->by->name, relation->name) == 0)
			return bound;
	}
	return NULL;
}

int
atq_build_bind(AtqSource *root, char **names, int n)
{
	AtqBuild   *build = root->scope->build;
	AtqSource  *table = root;

	build->bound = lappend(list_copy(build->bound), root);
	while (n > 0)
	{
		AtqPath		path = atq_build_path(table, names, n);

		if (path.many == NULL)
			break;
		table = atq_build_join(path.table, path.many);
		table->optional = false;
		build->bound = lappend(build->bound, table);
		names += path.used;
		n -= path.used;
	}
	return n;
}

static List *
own_columns(AtqSource *table, const AtqFieldRelation *relation)
{
	List	   *columns = NIL;

	for (int i = 0; i < relation->nkeys; i++)
		columns = lappend(columns, atq_build_column(table, relation->from[i]));
	return columns;
}

/* True when the names begin with a field of the relation. */
static bool
is_field(Relation rel, char **names, int n)
{
	for (int used = 1; used <= n; used++)
	{
		char	   *name = join_names(names, used);

		if (strcmp(name, "pk") == 0 ||
			atq_field_column(rel, name) != InvalidAttrNumber ||
			atq_field_relation(rel, name) != NULL)
			return true;
	}
	return false;
}

/* True when the name is of just what a foreign key refers to, no more. */
static bool
is_target(const AtqFieldRelation *relation, Relation other, const char *name)
{
	AttrNumber	keys[ATQ_MAX_KEYS];

	if (strcmp(name, "pk") == 0)
	{
		if (model_key(other, keys) != relation->nkeys)
			return false;
		return memcmp(keys, relation->to,
					  relation->nkeys * sizeof(AttrNumber)) == 0;
	}
	return relation->nkeys == 1 &&
		atq_field_column(other, name) == relation->to[0] &&
		atq_field_relation(other, name) == NULL;
}

static const AtqAnnotation *
find_annotation(const AtqSource *table, const char *name)
{
	ListCell   *lc;

	if (table->scope->root != table)
		return NULL;
	foreach(lc, table->scope->annotations)
	{
		const AtqAnnotation *annotation = lfirst(lc);

		if (strcmp(annotation->name, name) == 0)
			return annotation;
	}
	return NULL;
}

static List *
extra_names(const AtqSource *table)
{
	List	   *names = NIL;
	ListCell   *lc;

	if (table->scope->root != table)
		return NIL;
	foreach(lc, table->scope->annotations)
		names = lappend(names, (char *) ((AtqAnnotation *) lfirst(lc))->name);
	return names;
}

List *
atq_build_columns(AtqSource *table, const char *path)
{
	int			n;
	char	  **names = atq_build_split(path, &n);
	AtqPath		found = atq_build_path(table, names, n);

	if (found.many != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" leads to many rows of \"%s\"", path,
						found.many->name),
				 errhint("Use prefetch_related(), or annotate() with an aggregate.")));
	if (found.used < n)
		atq_field_missing(found.table->rel, found.table->class_name,
						  names[found.used], NIL);
	return found.columns;
}
