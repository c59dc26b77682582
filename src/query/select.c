/*-------------------------------------------------------------------------
 *
 * select.c
 *	  The select list of a query set, and the JSON that is made of its rows.
 *
 * An expression stands in the list once, however often it is needed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "query/select.h"

static int	append_expression(AtqSelect *select, AtqExpression *expression);
static AtqOutput *select_model(AtqSelect *select, const AtqQuerySet *set);
static AtqOutput *select_fields(AtqSelect *select, const AtqQuerySet *set);
static void select_field(AtqSelect *select, AtqOutput *output, const char *name);
static void select_annotations(AtqSelect *select, AtqOutput *output);
static bool *wanted_columns(const AtqQuerySet *set, AtqSource *table);
static void mark_columns(AtqSource *table, List *names, bool *wanted,
						 bool mark);
static void select_related(AtqSelect *select, AtqOutput *output,
						   AtqSource *table, List *paths);
static void select_one_related(AtqSelect *select, AtqOutput *output,
							   AtqSource *table, const char *name,
							   List *further);
static List *further_paths(List *paths, const char *name);
static char *first_name(const char *path);

void
atq_select_begin(AtqSelect *select, AtqScope *scope)
{
	select->scope = scope;
	select->expressions = NIL;
	initStringInfo(&select->sql);
}

/* The number of its column, from 0; each expression stands there once. */
int
atq_select_expression(AtqSelect *select, AtqExpression *expression)
{
	ListCell   *lc;

	foreach(lc, select->expressions)
	{
		if (strcmp(((AtqExpression *) lfirst(lc))->sql, expression->sql) == 0)
			return foreach_current_index(lc);
	}
	return append_expression(select, expression);
}

static int
append_expression(AtqSelect *select, AtqExpression *expression)
{
	appendStringInfo(&select->sql, "%s%s", select->sql.len == 0 ? "" : ", ",
					 expression->sql);
	select->expressions = lappend(select->expressions, expression);
	return list_length(select->expressions) - 1;
}

AtqOutput *
atq_select_output(AtqOutputKind kind, const char *name)
{
	AtqOutput  *output = palloc0(sizeof(AtqOutput));

	output->kind = kind;
	output->name = name;
	output->column = -1;
	return output;
}

AtqOutput *
atq_select_column(AtqSelect *select, AtqExpression *expression, const char *name)
{
	AtqOutput  *output = atq_select_output(ATQ_OUTPUT_COLUMN, name);

	output->column = atq_select_expression(select, expression);
	output->type = expression->type;
	return output;
}

AtqOutput *
atq_select_form(AtqSelect *select, const AtqQuerySet *set)
{
	return set->form == ATQ_FORM_MODEL ? select_model(select, set) :
		select_fields(select, set);
}

static AtqOutput *
select_model(AtqSelect *select, const AtqQuerySet *set)
{
	AtqOutput  *output = atq_select_output(ATQ_OUTPUT_OBJECT, NULL);
	AtqSource  *root = select->scope->root;

	atq_select_columns(select, output, root, wanted_columns(set, root));
	select_annotations(select, output);
	select_related(select, output, root, set->select_related);
	return output;
}

static AtqOutput *
select_fields(AtqSelect *select, const AtqQuerySet *set)
{
	AtqOutput  *output = atq_select_output(set->form == ATQ_FORM_VALUES ?
										   ATQ_OUTPUT_OBJECT : ATQ_OUTPUT_LIST,
										   NULL);
	ListCell   *lc;

	if (set->fields == NIL)
		atq_select_columns(select, output, select->scope->root, NULL);
	foreach(lc, set->fields)
		select_field(select, output, lfirst(lc));
	select_annotations(select, output);
	if (set->form != ATQ_FORM_FLAT)
		return output;
	if (list_length(output->parts) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("values_list() with flat needs one field")));
	return linitial(output->parts);
}

/* Several columns of a key are a list. */
static void
select_field(AtqSelect *select, AtqOutput *output, const char *name)
{
	List	   *columns = atq_build_columns(select->scope->root, name);
	AtqOutput  *part = atq_select_output(ATQ_OUTPUT_LIST, name);
	ListCell   *lc;

	if (list_length(columns) == 1)
		part = atq_select_column(select, linitial(columns), name);
	else
	{
		foreach(lc, columns)
			part->parts = lappend(part->parts,
								  atq_select_column(select, lfirst(lc), NULL));
	}
	output->parts = lappend(output->parts, part);
}

/* Those that were not asked for by name. */
static void
select_annotations(AtqSelect *select, AtqOutput *output)
{
	ListCell   *lc;

	foreach(lc, select->scope->annotations)
	{
		AtqAnnotation *annotation = lfirst(lc);
		bool		asked = false;
		ListCell   *part;

		foreach(part, output->parts)
			asked = asked ||
			strcmp(((AtqOutput *) lfirst(part))->name,
				   annotation->name) == 0;
		if (!asked)
			output->parts = lappend(output->parts,
									atq_select_column(select,
													  atq_build_annotation(select->scope->root,
																		   annotation),
													  annotation->name));
	}
}

/* wanted NULL: all.  None of them stands there yet. */
void
atq_select_columns(AtqSelect *select, AtqOutput *output, AtqSource *table,
				   const bool *wanted)
{
	TupleDesc	desc = RelationGetDescr(table->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		AtqExpression *expression;
		AtqOutput  *part;

		if (column->attisdropped || (wanted != NULL && !wanted[i]))
			continue;
		expression = atq_build_column(table, i + 1);
		part = atq_select_output(ATQ_OUTPUT_COLUMN,
								 pstrdup(NameStr(column->attname)));
		part->column = append_expression(select, expression);
		part->type = expression->type;
		output->parts = lappend(output->parts, part);
	}
}

/* By number, from 0; NULL: all. */
static bool *
wanted_columns(const AtqQuerySet *set, AtqSource *table)
{
	int			natts = RelationGetDescr(table->rel)->natts;
	bool	   *wanted;
	AtqQueryModel *model = table->scope->build->model;

	if (set->only == NIL && set->defer == NIL)
		return NULL;
	wanted = palloc(natts * sizeof(bool));
	memset(wanted, set->only == NIL, natts * sizeof(bool));
	mark_columns(table, set->only, wanted, true);
	mark_columns(table, set->defer, wanted, false);
	for (int i = 0; i < model->nkeys; i++)
		wanted[model->keys[i] - 1] = true;
	return wanted;
}

static void
mark_columns(AtqSource *table, List *names, bool *wanted, bool mark)
{
	AtqQueryModel *model = table->scope->build->model;
	ListCell   *lc;

	foreach(lc, names)
	{
		const char *name = lfirst(lc);

		if (strcmp(name, "pk") != 0)
			wanted[atq_field_written(model, name) - 1] = mark;
	}
}

/* The rows that paths lead to, nested under the names of relations. */
static void
select_related(AtqSelect *select, AtqOutput *output, AtqSource *table,
			   List *paths)
{
	List	   *done = NIL;
	ListCell   *lc;
	ListCell   *other;

	check_stack_depth();
	foreach(lc, paths)
	{
		char	   *name = first_name(lfirst(lc));
		bool		repeated = false;

		foreach(other, done)
			repeated = repeated || strcmp(lfirst(other), name) == 0;
		if (repeated)
			continue;
		done = lappend(done, name);
		select_one_related(select, output, table, name,
						   further_paths(paths, name));
	}
}

static void
select_one_related(AtqSelect *select, AtqOutput *output, AtqSource *table,
				   const char *name, List *further)
{
	AtqFieldRelation *relation = atq_field_relation(table->rel, name);
	AtqOutput  *part = atq_select_output(ATQ_OUTPUT_OBJECT, name);
	AtqSource  *other;
	ListCell   *lc;

	if (relation == NULL)
		atq_field_missing(table->rel, table->class_name, name, NIL);
	if (relation->many)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" leads to many rows of \"%s\"", name,
						get_rel_name(relation->other)),
				 errhint("Use prefetch_related().")));
	other = atq_build_join(table, relation);
	atq_select_columns(select, part, other, NULL);
	if (other->optional)
		part->column = atq_select_expression(select,
											 atq_build_column(other,
															  relation->to[0]));
	select_related(select, part, other, further);
	foreach(lc, output->parts)
	{
		AtqOutput  *column = lfirst(lc);

		if (column->name != NULL && strcmp(column->name, name) == 0)
			output->parts = foreach_delete_current(output->parts, lc);
	}
	output->parts = lappend(output->parts, part);
}

/* What follows the name in the paths that begin with it. */
static List *
further_paths(List *paths, const char *name)
{
	Size		len = strlen(name);
	List	   *further = NIL;
	ListCell   *lc;

	foreach(lc, paths)
	{
		char	   *path = lfirst(lc);

		if (strncmp(path, name, len) == 0 && path[len] == '_' &&
			path[len + 1] == '_')
			further = lappend(further, path + len + 2);
	}
	return further;
}

static char *
first_name(const char *path)
{
	int			n;

	return atq_build_split(path, &n)[0];
}

/* All attributes of the relation, by number. */
void
atq_select_attributes(AtqSelect *select, const AtqQuerySet *set)
{
	AtqSource  *root = select->scope->root;
	TupleDesc	desc = RelationGetDescr(root->rel);
	bool	   *wanted = wanted_columns(set, root);

	for (int i = 0; i < desc->natts; i++)
	{
		AtqExpression *expression;

		if (TupleDescAttr(desc, i)->attisdropped)
			expression = atq_build_text("NULL::pg_catalog.int4", INT4OID);
		else
		{
			expression = atq_build_column(root, i + 1);
			if (wanted != NULL && !wanted[i])
				expression->sql = psprintf("NULL::%s",
										   format_type_be_qualified(expression->type));
		}
		(void) append_expression(select, expression);
	}
}

void
atq_select_key(AtqSelect *select)
{
	ListCell   *lc;

	foreach(lc, atq_build_key(select->scope->root))
		(void) atq_select_expression(select, lfirst(lc));
}

List *
atq_select_prefetches(AtqSelect *select, List *paths)
{
	AtqSource  *root = select->scope->root;
	List	   *prefetches = NIL;
	List	   *done = NIL;
	ListCell   *lc;
	ListCell   *other;

	foreach(lc, paths)
	{
		char	   *name = first_name(lfirst(lc));
		AtqFieldRelation *relation = atq_field_relation(root->rel, name);
		AtqPrefetch *prefetch;
		bool		repeated = false;

		foreach(other, done)
			repeated = repeated || strcmp(lfirst(other), name) == 0;
		if (repeated)
			continue;
		if (relation == NULL)
			atq_field_missing(root->rel, root->class_name, name, NIL);
		done = lappend(done, name);
		prefetch = palloc0(sizeof(AtqPrefetch));
		prefetch->relation = relation;
		prefetch->nested = further_paths(paths, name);
		for (int i = 0; i < relation->nkeys; i++)
		{
			AtqExpression *column = atq_build_column(root, relation->from[i]);

			prefetch->columns[i] = atq_select_expression(select, column);
			prefetch->types[i] = getBaseType(column->type);
		}
		prefetches = lappend(prefetches, prefetch);
	}
	return prefetches;
}
