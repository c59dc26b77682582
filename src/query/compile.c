/*-------------------------------------------------------------------------
 *
 * compile.c
 *	  Query sets to statements.
 *
 * A statement is put together from a scope (its tables), a select list and the
 * clauses behind it.  The select list is of plain columns; AtqOutput says how
 * the JSON is made of them.  What is not part of that but needed, such as the
 * keys for prefetched relations, stands behind the rest.
 *
 * All memory is the caller's context's.  The relations are closed at the end,
 * and stay locked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "query/select.h"

static AtqBuild *begin(const AtqQuerySet *set, LOCKMODE lock);
static void refuse_guarded(const AtqBuild *build) atq_noreturn;
static AtqScope *set_scope(AtqBuild *build, const AtqQuerySet *set,
						   AtqQueryModel *model);
static AtqQuery *finish(AtqBuild *build, char *sql, const AtqSelect *select);
static char *tail(AtqBuild *build, AtqScope *scope, const AtqQuerySet *set,
				  AtqSelect *select, bool ordered);
static char *group_clause(AtqScope *scope, const AtqQuerySet *set);
static char *column_list(AtqScope *scope, List *fields);
static char *order_clause(AtqScope *scope, const AtqQuerySet *set,
						  AtqSelect *select);
static char *distinct_clause(AtqScope *scope, const AtqQuerySet *set);
static char *slice_clause(AtqBuild *build, const AtqQuerySet *set);
static char *limit_param(AtqBuild *build, int64 value);
static char *statement(AtqBuild *build, AtqScope *scope,
					   const AtqQuerySet *set, AtqSelect *select);
static bool is_restricted(const AtqQuerySet *set);
static AtqQuery *compile_count(const AtqQuerySet *set);
static AtqQuery *compile_exists(const AtqQuerySet *set);
static AtqQuery *compile_delete(const AtqQuerySet *set);
static AtqExpression *aggregate_apart(AtqBuild *build,
									  const AtqQuerySet *set,
									  const AtqAnnotation *annotation,
									  const char *path);
static char *aggregated_path(AtqSource *table, const AtqAnnotation *annotation);
static char *set_condition(AtqScope *scope, const AtqQuerySet *set);
static AtqExpression *aggregate_one(AtqBuild *build, AtqScope *scope,
									const AtqQuerySet *set,
									const AtqAnnotation *annotation);
static void refuse_change(const AtqQuerySet *set, const char *what);
static char *changed_rows(AtqBuild *build, const AtqQuerySet *set,
						  AtqScope *scope);
static char *assignments_clause(AtqScope *scope, const Jsonb *assignments);
static char *assigned(AtqScope *scope, AttrNumber column,
					  const JsonbValue *value, const char *name);
static char *key_within(AtqScope *scope, const AtqQuerySet *set);
static AtqBuild *begin_change(const AtqQuerySet *set, const char *what);
static char *prefetch_keys(AtqBuild *build, const AtqPrefetch *prefetch,
						   const Datum *arrays);
static char *prefetch_condition(AtqSource *table,
								const AtqPrefetch *prefetch);
static char *prefetch_order(AtqSource *table);

AtqQuery *
atq_query_compile(const AtqQuerySet *set, AtqQueryPurpose purpose)
{
	AtqBuild   *build;
	AtqScope   *scope;
	AtqSelect	select;
	AtqQuery   *query;
	AtqOutput  *output = NULL;
	List	   *prefetches = NIL;

	switch (purpose)
	{
		case ATQ_QUERY_COUNT:
			return compile_count(set);
		case ATQ_QUERY_EXISTS:
			return compile_exists(set);
		case ATQ_QUERY_DELETE:
			return compile_delete(set);
		default:
			break;
	}
	build = begin(set, AccessShareLock);
	scope = set_scope(build, set, build->model);
	atq_select_begin(&select, scope);
	if (purpose != ATQ_QUERY_OBJECTS && set->grouped)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("groups of rows of \"%s\" are not rows of it",
						set->class_name)));
	if (purpose == ATQ_QUERY_OBJECTS)
	{
		output = atq_select_form(&select, set);
		if (set->prefetch_related != NIL && set->form != ATQ_FORM_MODEL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("prefetch_related() does not go with values()")));
		prefetches = atq_select_prefetches(&select, set->prefetch_related);
	}
	else if (purpose == ATQ_QUERY_ROWS)
		atq_select_attributes(&select, set);
	else
		atq_select_key(&select);
	query = finish(build, statement(build, scope, set, &select), &select);
	query->output = output;
	query->prefetches = prefetches;
	return query;
}

static AtqBuild *
begin(const AtqQuerySet *set, LOCKMODE lock)
{
	AtqBuild   *build = palloc0(sizeof(AtqBuild));

	build->model = atq_query_model_open(set->orm, set->class_name, lock);
	build->opened = list_make1(build->model->rel);
	build->anywhere = set->server != NULL;
	build->server = set->server != NULL ? set->server :
		build->model->model->server;
	if (build->server != NULL && build->model->guarded)
		refuse_guarded(build);
	return build;
}

static void
refuse_guarded(const AtqBuild *build)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" must not read rows of model \"%s\" from another server",
					GetUserNameFromId(GetUserId(), false),
					build->model->model->class_name),
			 errdetail("Neither who has registered it nor the owner of its relation may act as role \"%s\", whose rights on server \"%s\" it would use.",
					   GetUserNameFromId(GetUserId(), false),
					   build->server)));
}

static AtqScope *
set_scope(AtqBuild *build, const AtqQuerySet *set, AtqQueryModel *model)
{
	AtqScope   *scope = atq_build_scope(build, model->rel,
										model->model->class_name);
	ListCell   *lc;

	scope->annotations = set->annotations;
	scope->grouped = set->grouped;
	scope->group = set->group;
	foreach(lc, set->annotations)
	{
		AtqAnnotation *annotation = lfirst(lc);

		if (atq_field_column(model->rel,
							 annotation->name) != InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_ALIAS),
					 errmsg("annotation \"%s\" is named like a field of \"%s\"",
							annotation->name, set->class_name)));
	}
	return scope;
}

/*
 * Takes what has been built; closes the relations, which the user must be allowed
 * to name where the statement runs here.
 */
static AtqQuery *
finish(AtqBuild *build, char *sql, const AtqSelect *select)
{
	AtqQuery   *query = palloc0(sizeof(AtqQuery));
	ListCell   *lc;

	query->model = build->model;
	query->server = build->server;
	query->anywhere = build->anywhere;
	query->sql = sql;
	query->nparams = build->nparams;
	query->types = build->types;
	query->values = build->values;
	query->nulls = build->nulls;
	if (select != NULL)
	{
		query->ncolumns = list_length(select->expressions);
		query->column_types = palloc(Max(query->ncolumns, 1) * sizeof(Oid));
		foreach(lc, select->expressions)
			query->column_types[foreach_current_index(lc)] =
			((AtqExpression *) lfirst(lc))->type;
	}
	foreach(lc, build->opened)
	{
		if (build->server == NULL)
			atq_relkey_check_schema(RelationGetRelid((Relation) lfirst(lc)));
		relation_close(lfirst(lc), NoLock);
	}
	build->model->rel = NULL;
	return query;
}

/* SELECT .. FROM .. and all that follows. */
static char *
statement(AtqBuild *build, AtqScope *scope, const AtqQuerySet *set,
		  AtqSelect *select)
{
	char	   *distinct = distinct_clause(scope, set);
	char	   *rest = tail(build, scope, set, select, true);

	return psprintf("SELECT %s%s FROM %s%s", distinct, select->sql.data,
					atq_build_from(scope), rest);
}

/*
 * What follows FROM, whose tables are complete only when this is.  select may
 * get further columns, which an order needs.
 */
static char *
tail(AtqBuild *build, AtqScope *scope, const AtqQuerySet *set, AtqSelect *select,
	 bool ordered)
{
	char	   *where = atq_build_conditions(scope->root, set->where, false);
	char	   *group = group_clause(scope, set);
	char	   *having = atq_build_conditions(scope->root, set->where, true);
	char	   *order = ordered ? order_clause(scope, set, select) : "";

	return psprintf("%s%s%s%s%s%s%s",
					where == NULL ? "" : " WHERE ",
					where == NULL ? "" : where, group,
					having == NULL ? "" : " HAVING ",
					having == NULL ? "" : having, order,
					slice_clause(build, set));
}

static char *
group_clause(AtqScope *scope, const AtqQuerySet *set)
{
	if (set->group == NIL)
		return "";
	return psprintf(" GROUP BY %s", column_list(scope, set->group));
}

/* The columns of fields, with commas between them. */
static char *
column_list(AtqScope *scope, List *fields)
{
	StringInfoData sql;
	ListCell   *lc;
	ListCell   *column;

	initStringInfo(&sql);
	foreach(lc, fields)
	{
		foreach(column, atq_build_columns(scope->root, lfirst(lc)))
			appendStringInfo(&sql, "%s%s", sql.len == 0 ? "" : ", ",
							 ((AtqExpression *) lfirst(column))->sql);
	}
	return sql.data;
}

/* SELECT DISTINCT wants to see what it is ordered by. */
static char *
order_clause(AtqScope *scope, const AtqQuerySet *set, AtqSelect *select)
{
	StringInfoData sql;
	ListCell   *lc;
	ListCell   *column;

	initStringInfo(&sql);
	foreach(lc, set->order)
	{
		const char *name = lfirst(lc);
		bool		descending = name[0] == '-';
		List	   *columns;

		if (descending)
			name++;
		if (strcmp(name, "?") == 0)
			columns = list_make1(atq_build_text("pg_catalog.random()",
												FLOAT8OID));
		else
			columns = atq_build_columns(scope->root, name);
		foreach(column, columns)
		{
			AtqExpression *expression = lfirst(column);

			if (set->distinct && select != NULL)
				(void) atq_select_expression(select, expression);
			appendStringInfo(&sql, "%s%s%s",
							 sql.len == 0 ? " ORDER BY " : ", ",
							 expression->sql,
							 descending != set->reversed ? " DESC" : "");
		}
	}
	return sql.data;
}

static char *
distinct_clause(AtqScope *scope, const AtqQuerySet *set)
{
	if (!set->distinct)
		return "";
	if (set->distinct_on == NIL)
		return "DISTINCT ";
	return psprintf("DISTINCT ON (%s) ",
					column_list(scope, set->distinct_on));
}

static char *
slice_clause(AtqBuild *build, const AtqQuerySet *set)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (!set->sliced)
		return sql.data;
	if (set->stop >= 0)
		appendStringInfo(&sql, " LIMIT %s",
						 limit_param(build, Max(set->stop - set->start, 0)));
	if (set->start > 0)
		appendStringInfo(&sql, " OFFSET %s", limit_param(build, set->start));
	return sql.data;
}

static char *
limit_param(AtqBuild *build, int64 value)
{
	return atq_build_param(build, INT8OID, Int64GetDatum(value), false);
}

/* True when rows are left out, or made, by more than conditions. */
static bool
is_restricted(const AtqQuerySet *set)
{
	return set->sliced || set->distinct || set->grouped;
}

static AtqQuery *
compile_count(const AtqQuerySet *set)
{
	AtqBuild   *build = begin(set, AccessShareLock);
	AtqScope   *scope = set_scope(build, set, build->model);
	AtqSelect	count;
	AtqSelect	inner;
	char	   *sql;

	atq_select_begin(&count, scope);
	atq_select_begin(&inner, scope);
	(void) atq_select_expression(&count,
								 atq_build_text("pg_catalog.count(*)", INT8OID));
	if (!is_restricted(set))
	{
		char	   *rest = tail(build, scope, set, NULL, false);

		sql = psprintf("SELECT %s FROM %s%s", count.sql.data,
					   atq_build_from(scope), rest);
	}
	else
	{
		if (set->distinct && set->distinct_on == NIL)
			(void) atq_select_form(&inner, set);
		else
			(void) atq_select_expression(&inner, atq_build_text("1", INT4OID));
		sql = psprintf("SELECT %s FROM (%s) AS asynctasq_set",
					   count.sql.data, statement(build, scope, set, &inner));
	}
	return finish(build, sql, &count);
}

static AtqQuery *
compile_exists(const AtqQuerySet *set)
{
	AtqBuild   *build = begin(set, AccessShareLock);
	AtqScope   *scope = set_scope(build, set, build->model);
	AtqSelect	exists;
	char	   *rest;
	char	   *sql;

	atq_select_begin(&exists, scope);
	rest = tail(build, scope, set, NULL, false);
	sql = psprintf("EXISTS (SELECT 1 FROM %s%s)", atq_build_from(scope),
				   rest);
	(void) atq_select_expression(&exists, atq_build_text(sql, BOOLOID));
	return finish(build, psprintf("SELECT %s", sql), &exists);
}

char *
atq_build_subquery(AtqBuild *build, const AtqQuerySet *set, List **columns)
{
	AtqQueryModel *model = atq_query_model_open(set->orm, set->class_name,
												AccessShareLock);
	AtqQueryModel *outer = build->model;
	AtqScope   *scope;
	AtqSelect	select;
	char	   *sql;

	check_stack_depth();
	build->opened = lappend(build->opened, model->rel);
	if (!build->anywhere &&
		(model->model->server == NULL) != (build->server == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("models \"%s\" and \"%s\" are on different servers",
						outer->model->class_name, set->class_name)));
	model->guarded = model->guarded || outer->guarded;
	build->model = model;
	scope = set_scope(build, set, model);
	atq_select_begin(&select, scope);
	if (set->form == ATQ_FORM_MODEL)
		atq_select_key(&select);
	else
		(void) atq_select_form(&select, set);
	sql = statement(build, scope, set, &select);
	outer->guarded = model->guarded;
	build->model = outer;
	*columns = select.expressions;
	return sql;
}

/*
 * Aggregates over the set's own rows make one row of all of them; where all are
 * subqueries, these rows are not wanted.
 */
AtqQuery *
atq_query_aggregate(const AtqQuerySet *set, const Jsonb *aggregates)
{
	AtqBuild   *build = begin(set, AccessShareLock);
	AtqScope   *scope = set_scope(build, set, build->model);
	AtqOutput  *output = atq_select_output(ATQ_OUTPUT_OBJECT, NULL);
	JsonbIterator *it = JsonbIteratorInit((JsonbContainer *) &aggregates->root);
	JsonbIteratorToken token;
	JsonbValue	part;
	AtqSelect	select;
	bool		over_rows = false;
	char	   *from = "";
	AtqQuery   *query;

	if (set->grouped)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot aggregate groups of rows of \"%s\"",
						set->class_name)));
	if (!JB_ROOT_IS_OBJECT(aggregates) || JB_ROOT_COUNT(aggregates) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("aggregates must be an object of names and functions")));
	atq_select_begin(&select, scope);
	while ((token = JsonbIteratorNext(&it, &part, true)) != WJB_DONE)
	{
		AtqAnnotation annotation;
		AtqExpression *expression;

		if (token != WJB_KEY)
			continue;
		annotation.name = pnstrdup(part.val.string.val, part.val.string.len);
		(void) JsonbIteratorNext(&it, &part, true);
		annotation.expression = &part;
		expression = aggregate_one(build, scope, set, &annotation);
		over_rows = over_rows || expression->aggregate;
		output->parts = lappend(output->parts,
								atq_select_column(&select, expression,
												  annotation.name));
	}
	if (over_rows)
	{
		char	   *where = set_condition(scope, set);

		from = psprintf(" FROM %s%s%s", atq_build_from(scope),
						where == NULL ? "" : " WHERE ",
						where == NULL ? "" : where);
	}
	query = finish(build, psprintf("SELECT %s%s", select.sql.data, from),
				   &select);
	query->output = output;
	return query;
}

/* Over a relation to many rows: a subquery, so that rows do not multiply. */
static AtqExpression *
aggregate_one(AtqBuild *build, AtqScope *scope, const AtqQuerySet *set,
			  const AtqAnnotation *annotation)
{
	char	   *path = aggregated_path(scope->root, annotation);

	return path == NULL ? atq_build_aggregate(scope->root, annotation) :
		aggregate_apart(build, set, annotation, path);
}

/* What is aggregated, if it is a path over a relation to many rows. */
static char *
aggregated_path(AtqSource *table, const AtqAnnotation *annotation)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	part;

	if (annotation->expression->type != jbvBinary)
		return NULL;
	it = JsonbIteratorInit(annotation->expression->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &part, true)) != WJB_DONE)
	{
		char	  **names;
		char	   *path;
		int			n;

		if (token != WJB_VALUE || part.type != jbvString ||
			(part.val.string.len == 1 && part.val.string.val[0] == '*'))
			continue;
		path = pnstrdup(part.val.string.val, part.val.string.len);
		names = atq_build_split(path, &n);
		if (atq_build_path(table, names, n).many != NULL)
			return path;
	}
	return NULL;
}

/* The rows of the set that conditions leave, however it is sliced. */
static char *
set_condition(AtqScope *scope, const AtqQuerySet *set)
{
	AtqQuerySet keys = *set;

	if (!set->sliced && set->distinct_on == NIL)
		return atq_build_conditions(scope->root, set->where, false);
	keys.form = ATQ_FORM_MODEL;
	return key_within(scope, &keys);
}

/* The rows whose keys the set gives. */
static char *
key_within(AtqScope *scope, const AtqQuerySet *set)
{
	List	   *columns;
	char	   *sql = atq_build_subquery(scope->build, set, &columns);

	return atq_build_within(atq_build_key(scope->root), columns, sql);
}

/* (SELECT aggregate FROM model JOIN the rows that path leads to WHERE ..) */
static AtqExpression *
aggregate_apart(AtqBuild *build, const AtqQuerySet *set,
				const AtqAnnotation *annotation, const char *path)
{
	AtqScope   *scope = set_scope(build, set, build->model);
	List	   *outer = build->bound;
	int			n;
	char	  **names = atq_build_split(path, &n);
	AtqPath		many = atq_build_path(scope->root, names, n);
	AtqScope   *rows = atq_build_related(many.table, many.many);
	AtqExpression *result;
	char	   *where;

	(void) atq_build_bind(rows->root, names + many.used, n - many.used);
	result = atq_build_aggregate(scope->root, annotation);
	build->bound = outer;
	where = set_condition(scope, set);
	result->sql = psprintf("(SELECT %s FROM %s JOIN %s ON %s%s%s)",
						   result->sql, atq_build_from(scope),
						   atq_build_from(rows),
						   atq_build_join_condition(rows->root),
						   where == NULL ? "" : " WHERE ",
						   where == NULL ? "" : where);
	result->aggregate = false;
	return result;
}

/* Throws where rows of a set cannot be changed. */
static void
refuse_change(const AtqQuerySet *set, const char *what)
{
	if (set->sliced)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot %s a query set of \"%s\" that is sliced",
						what, set->class_name)));
	if (set->distinct || set->grouped || set->form != ATQ_FORM_MODEL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s a query set of \"%s\" after distinct() or values()",
						what, set->class_name)));
}

/* Where another server's rows are to be changed, throws. */
static AtqBuild *
begin_change(const AtqQuerySet *set, const char *what)
{
	AtqBuild   *build;

	refuse_change(set, what);
	build = begin(set, RowExclusiveLock);
	if (build->server != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s rows of \"%s\" on server \"%s\"", what,
						set->class_name, build->server),
				 errdetail("That could not be undone with the transaction."),
				 errhint("Use asynctasq.execute().")));
	return build;
}

/*
 * The condition on the root of the scope that says which rows change: the
 * set's own, or, where that takes further tables, by the keys.
 */
static char *
changed_rows(AtqBuild *build, const AtqQuerySet *set, AtqScope *scope)
{
	AtqBuild	saved = *build;
	char	   *where = atq_build_conditions(scope->root, set->where, false);
	AtqQuerySet keys = *set;

	if (scope->joined == NIL)
		return where;
	build->nparams = saved.nparams;
	scope->joined = NIL;
	scope->root->children = NIL;
	keys.order = NIL;
	return key_within(scope, &keys);
}

static AtqQuery *
compile_delete(const AtqQuerySet *set)
{
	AtqBuild   *build = begin_change(set, "delete");
	AtqScope   *scope = set_scope(build, set, build->model);
	char	   *where = changed_rows(build, set, scope);

	return finish(build, psprintf("DELETE FROM %s%s%s", atq_build_from(scope),
								  where == NULL ? "" : " WHERE ",
								  where == NULL ? "" : where), NULL);
}

AtqQuery *
atq_query_update(const AtqQuerySet *set, const Jsonb *assignments)
{
	AtqBuild   *build = begin_change(set, "update");
	AtqScope   *scope = set_scope(build, set, build->model);
	char	   *clause = assignments_clause(scope, assignments);
	char	   *where = changed_rows(build, set, scope);

	return finish(build, psprintf("UPDATE %s SET %s%s%s",
								  atq_build_from(scope), clause,
								  where == NULL ? "" : " WHERE ",
								  where == NULL ? "" : where), NULL);
}

static char *
assignments_clause(AtqScope *scope, const Jsonb *assignments)
{
	JsonbIterator *it = JsonbIteratorInit((JsonbContainer *) &assignments->root);
	JsonbIteratorToken token;
	JsonbValue	part;
	StringInfoData sql;

	if (!JB_ROOT_IS_OBJECT(assignments) || JB_ROOT_COUNT(assignments) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("new values must be an object of fields")));
	initStringInfo(&sql);
	while ((token = JsonbIteratorNext(&it, &part, true)) != WJB_DONE)
	{
		char	   *name;
		AttrNumber	column;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(part.val.string.val, part.val.string.len);
		(void) JsonbIteratorNext(&it, &part, true);
		column = atq_field_written(scope->build->model, name);
		appendStringInfo(&sql, "%s%s = %s", sql.len == 0 ? "" : ", ",
						 quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(scope->root->rel),
																column - 1)->attname)),
						 assigned(scope, column, &part, name));
	}
	return sql.data;
}

/* What a column is set to: a parameter of its type, or an expression. */
static char *
assigned(AtqScope *scope, AttrNumber column, const JsonbValue *value,
		 const char *name)
{
	Oid			type = TupleDescAttr(RelationGetDescr(scope->root->rel),
									 column - 1)->atttypid;
	JsonbValue *f = atq_build_f(value);
	AtqExpression *expression;
	bool		isnull;
	Datum		datum;

	if (f == NULL)
	{
		datum = atq_field_value(value, type, -1, name, &isnull);
		return atq_build_param(scope->build, type, datum, isnull);
	}
	expression = atq_build_expression(scope->root, f, name);
	if (scope->joined != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("new value of \"%s\" refers to another table",
						name)));
	return expression->sql;
}

/*
 * SELECT columns, ord FROM the unnested arrays JOIN the relation's table, in the
 * order of the rows that they are for, then of the key.
 */
AtqQuery *
atq_query_prefetch(const AtqQuery *parent, const AtqPrefetch *prefetch,
				   const Datum *arrays)
{
	AtqBuild   *build = palloc0(sizeof(AtqBuild));
	AtqModel   *model = atq_registry_model_of(prefetch->relation->other);
	AtqOutput  *output = atq_select_output(ATQ_OUTPUT_OBJECT, NULL);
	const char *class_name;
	Relation	rel;
	AtqScope   *scope;
	AtqSelect	select;
	List	   *prefetches;
	char	   *keys;
	AtqQuery   *query;

	build->model = parent->model;
	build->anywhere = parent->anywhere;
	build->server = parent->anywhere || model == NULL ? parent->server :
		model->server;
	rel = atq_build_open(build, prefetch->relation->other, &class_name);
	if (build->server != NULL && build->model->guarded)
		refuse_guarded(build);
	scope = atq_build_scope(build, rel, class_name);
	atq_select_begin(&select, scope);
	atq_select_columns(&select, output, scope->root, NULL);
	prefetches = atq_select_prefetches(&select, prefetch->nested);
	(void) atq_select_expression(&select, atq_build_text("asynctasq_key.ord",
														 INT8OID));
	keys = prefetch_keys(build, prefetch, arrays);
	query = finish(build, psprintf("SELECT %s FROM %s JOIN %s ON %s ORDER BY asynctasq_key.ord%s",
								   select.sql.data, keys,
								   atq_build_from(scope),
								   prefetch_condition(scope->root, prefetch),
								   prefetch_order(scope->root)), &select);
	query->output = output;
	query->prefetches = prefetches;
	return query;
}

static char *
prefetch_keys(AtqBuild *build, const AtqPrefetch *prefetch,
			  const Datum *arrays)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "ROWS FROM (");
	for (int i = 0; i < prefetch->relation->nkeys; i++)
		appendStringInfo(&sql, "%spg_catalog.unnest(%s)",
						 i == 0 ? "" : ", ",
						 atq_build_param(build,
										 get_array_type(prefetch->types[i]),
										 arrays[i], false));
	appendStringInfoString(&sql, ") WITH ORDINALITY AS asynctasq_key (");
	for (int i = 0; i < prefetch->relation->nkeys; i++)
		appendStringInfo(&sql, "k%d, ", i + 1);
	appendStringInfoString(&sql, "ord)");
	return sql.data;
}

/* As a foreign key's own: what is referred to stands on the left. */
static char *
prefetch_condition(AtqSource *table, const AtqPrefetch *prefetch)
{
	const AtqFieldRelation *relation = prefetch->relation;
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < relation->nkeys; i++)
	{
		AtqExpression *column = atq_build_column(table, relation->to[i]);
		AtqExpression *key = atq_build_text(psprintf("asynctasq_key.k%d", i + 1),
											prefetch->types[i]);
		AtqExpression *left = relation->forward ? column : key;
		AtqExpression *right = relation->forward ? key : column;

		appendStringInfoString(&sql, i == 0 ? "" : " AND ");
		generate_operator_clause(&sql, left->sql, left->type,
								 relation->operators[i], right->sql,
								 right->type);
	}
	return sql.data;
}

static char *
prefetch_order(AtqSource *table)
{
	AttrNumber	keys[ATQ_MAX_KEYS];
	int			n = atq_relkey_columns(table->rel,
									   atq_registry_model_of(RelationGetRelid(table->rel)),
									   keys);
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, ", %s",
						 atq_build_column(table, keys[i])->sql);
	return sql.data;
}
