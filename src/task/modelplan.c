/*-------------------------------------------------------------------------
 *
 * modelplan.c
 *	  How the rows of a model are read: its key, names and statements.
 *
 * A plan is kept in its model's registry entry (AtqModel.plan), in the registry's
 * context; a callback frees the SPI plans, which resolve.c makes of the
 * statements here, when that context goes.  All names and operators in them
 * are qualified.  Rows that are to be locked are locked in the order of their
 * keys, so that two tasks that want the same ones do not deadlock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "store/registry.h"
#include "task/modelplan.h"

static const char *const lock_clauses[ATQ_NLOCKS] = {
	[ATQ_LOCK_NONE] = "",
	[ATQ_LOCK_SHARE] = " FOR SHARE OF asynctasq_row",
	[ATQ_LOCK_UPDATE] = " FOR UPDATE OF asynctasq_row",
};

static AtqModelPlan *make_plan(AtqModel *model, MemoryContext context);
static AtqRemoteTable *make_remote(Relation rel, const AtqModelPlan *plan,
								   const AttrNumber *columns,
								   MemoryContext context);
static void free_plans(void *arg);
static char *key_condition(Relation rel, int nkeys, const AttrNumber *columns,
						   const char *value);
static char *key_order(Relation rel, int nkeys, const AttrNumber *columns);

/* The model's kept query; made in a context of its own until complete. */
AtqModelPlan *
atq_modelplan_get(AtqModel *model)
{
	MemoryContext context;
	AtqModelPlan *plan;

	if (model->plan != NULL)
		return model->plan;
	context = AllocSetContextCreate(CurrentMemoryContext,
									"asynctasq model",
									ALLOCSET_SMALL_SIZES);
	plan = make_plan(model, context);
	MemoryContextSetParent(context, GetMemoryChunkContext(model));
	plan->callback.func = free_plans;
	plan->callback.arg = plan;
	MemoryContextRegisterResetCallback(context, &plan->callback);
	model->plan = plan;
	return plan;
}

static void
free_plans(void *arg)
{
	AtqModelPlan *plan = arg;

	for (int i = 0; i < ATQ_NLOCKS; i++)
	{
		if (plan->one[i] != NULL)
			SPI_freeplan(plan->one[i]);
		if (plan->many[i] != NULL)
			SPI_freeplan(plan->many[i]);
	}
}

/* The relation is locked; it may be gone all the same. */
static AtqModelPlan *
make_plan(AtqModel *model, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	AtqModelPlan *plan = palloc0(sizeof(AtqModelPlan));
	AttrNumber	columns[ATQ_MAX_KEYS];
	Relation	rel;

	rel = OidIsValid(model->relation) ?
		try_relation_open(model->relation, NoLock) : NULL;
	if (rel == NULL)
	{
		atq_registry_forget();
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s of model \"%s\" does not exist",
						model->relation_name, model->class_name)));
	}
	atq_relkey_check_kind(rel);
	plan->row_type = rel->rd_rel->reltype;
	plan->nkeys = atq_relkey_columns(rel, model, columns);
	if (plan->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("relation %s of model \"%s\" has no primary key",
						model->relation_name, model->class_name),
				 errhint("Register the model with asynctasq.register_model(..., key => ...).")));
	for (int i = 0; i < plan->nkeys; i++)
	{
		Oid			type = atq_relkey_type(rel, columns[i]);

		plan->types[i] = atq_datum_prepare(type, -1, context);
		plan->array_types[i] = get_array_type(type);
	}
	plan->table = atq_relkey_name(rel);
	plan->by_key = key_condition(rel, plan->nkeys, columns, "$");
	plan->by_join = key_condition(rel, plan->nkeys, columns,
								  "asynctasq_key.k");
	plan->order = key_order(rel, plan->nkeys, columns);
	if (model->server == NULL)
		plan->reader = atq_keyread_make(rel, plan->nkeys, columns, context);
	else
		plan->remote = make_remote(rel, plan, columns, context);
	relation_close(rel, NoLock);
	MemoryContextSwitchTo(old);
	return plan;
}

static AtqRemoteTable *
make_remote(Relation rel, const AtqModelPlan *plan, const AttrNumber *columns,
			MemoryContext context)
{
	Oid			types[ATQ_MAX_KEYS];

	for (int i = 0; i < plan->nkeys; i++)
		types[i] = plan->types[i]->type;
	return atq_rows_prepare(rel, plan->nkeys, columns, types,
							plan->array_types, context);
}

/* "row.column = value1 AND ..." */
static char *
key_condition(Relation rel, int nkeys, const AttrNumber *columns,
			  const char *value)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < nkeys; i++)
	{
		appendStringInfoString(&sql, i == 0 ? "" : " AND ");
		atq_relkey_equals(&sql, rel, columns[i], "asynctasq_row",
						  psprintf("%s%d", value, i + 1));
	}
	return sql.data;
}

/* ORDER BY the columns whose types have an order. */
static char *
key_order(Relation rel, int nkeys, const AttrNumber *columns)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute column =
			TupleDescAttr(RelationGetDescr(rel), columns[i] - 1);
		TypeCacheEntry *type = lookup_type_cache(column->atttypid,
												 TYPECACHE_LT_OPR);

		if (OidIsValid(type->lt_opr))
			appendStringInfo(&sql, "%s asynctasq_row.%s",
							 sql.len == 0 ? " ORDER BY" : ",",
							 quote_identifier(NameStr(column->attname)));
	}
	return sql.data;
}

/* The cast makes "row.*" the row, whatever its columns are named. */
char *
atq_modelplan_one(const AtqModelPlan *plan, AtqRowLock lock)
{
	return psprintf("SELECT asynctasq_row.*::%s FROM %s AS asynctasq_row "
					"WHERE %s%s",
					plan->table, plan->table, plan->by_key,
					lock_clauses[lock]);
}

char *
atq_modelplan_many(const AtqModelPlan *plan, AtqRowLock lock)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT asynctasq_key.ord, asynctasq_row.*::%s FROM ROWS FROM (",
					 plan->table);
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(&sql, "%spg_catalog.unnest($%d)",
						 i == 0 ? "" : ", ", i + 1);
	appendStringInfoString(&sql, ") WITH ORDINALITY AS asynctasq_key (");
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(&sql, "k%d, ", i + 1);
	appendStringInfo(&sql, "ord) JOIN %s AS asynctasq_row ON %s",
					 plan->table, plan->by_join);
	if (lock != ATQ_LOCK_NONE)
		appendStringInfo(&sql, "%s%s", plan->order, lock_clauses[lock]);
	return sql.data;
}
