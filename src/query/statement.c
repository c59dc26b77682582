/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Statements that write rows of a model.
 *
 * Values are parameters of their columns' types, so the text is that of the
 * columns alone, and the plan is kept by it.  A row that was written comes back
 * as one column of the relation's row type, of which its object is made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/rel.h"

#include "query/run.h"
#include "query/statement.h"
#include "wire/datum.h"

static char *column_param(AtqStatement *statement, const AtqObject *object,
						  AttrNumber column);

void
atq_statement_begin(AtqStatement *statement, const AtqQueryModel *model,
					int max)
{
	statement->model = model;
	statement->guarded = model->guarded;
	initStringInfo(&statement->sql);
	statement->nparams = 0;
	statement->types = palloc(max * sizeof(Oid));
	statement->values = palloc(max * sizeof(Datum));
	statement->nulls = palloc(max * sizeof(char));
}

char *
atq_statement_param(AtqStatement *statement, Oid type, Datum value,
					bool isnull)
{
	int			i = statement->nparams++;

	statement->types[i] = type;
	statement->values[i] = value;
	statement->nulls[i] = isnull ? 'n' : ' ';
	return psprintf("$%d", i + 1);
}

static char *
column_param(AtqStatement *statement, const AtqObject *object,
			 AttrNumber column)
{
	Oid			type = TupleDescAttr(RelationGetDescr(statement->model->rel),
									 column - 1)->atttypid;

	return atq_statement_param(statement, type, object->values[column - 1],
							   object->nulls[column - 1]);
}

const char *
atq_statement_name(Relation rel, AttrNumber column)
{
	return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel),
												  column - 1)->attname));
}

void
atq_statement_names(StringInfo sql, Relation rel, const Bitmapset *columns)
{
	const char *separator = "";
	int			column = -1;

	while ((column = bms_next_member(columns, column)) >= 0)
	{
		appendStringInfo(sql, "%s%s", separator,
						 atq_statement_name(rel, column));
		separator = ", ";
	}
}

char *
atq_statement_conflict(Relation rel, const Bitmapset *unique,
					   const Bitmapset *set)
{
	StringInfoData sql;
	const char *separator = "UPDATE SET ";
	int			column = -1;

	initStringInfo(&sql);
	appendStringInfoString(&sql, " ON CONFLICT (");
	atq_statement_names(&sql, rel, unique);
	appendStringInfoString(&sql, bms_is_empty(set) ? ") DO NOTHING" : ") DO ");
	while ((column = bms_next_member(set, column)) >= 0)
	{
		const char *name = atq_statement_name(rel, column);

		appendStringInfo(&sql, "%s%s = EXCLUDED.%s", separator, name, name);
		separator = ", ";
	}
	return sql.data;
}

/* The cast makes "t0.*" the row, whatever its columns are named. */
void
atq_statement_returning(StringInfo sql, Relation rel)
{
	appendStringInfo(sql, " RETURNING t0.*::%s", atq_relkey_name(rel));
}

void
atq_statement_run(const AtqStatement *statement, long limit)
{
	SPIPlanPtr	plan;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = atq_query_plan(statement->sql.data, statement->nparams,
						  statement->types, statement->guarded);
	result = SPI_execute_plan(plan, statement->values, statement->nulls, false,
							  limit);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s",
			 SPI_result_code_string(result));
}

void
atq_statement_end(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

Jsonb *
atq_statement_row(const AtqStatement *statement)
{
	const AtqQueryModel *model = statement->model;
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *object = NULL;

	atq_statement_run(statement, 2);
	if (SPI_processed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ROWS),
				 errmsg("query for \"%s\" gives more than one row",
						model->model->class_name)));
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		row = SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(context);

		object = atq_datum_jsonb(row, model->rel->rd_rel->reltype);
		MemoryContextSwitchTo(old);
	}
	atq_statement_end();
	return object;
}

Jsonb *
atq_statement_insert(const AtqQueryModel *model, const AtqObject *object,
					 const Bitmapset *columns, const char *conflict)
{
	AtqStatement statement;
	StringInfo	sql = &statement.sql;
	const char *separator = "";
	int			column = -1;

	atq_statement_begin(&statement, model, bms_num_members(columns));
	appendStringInfo(sql, "INSERT INTO %s AS t0 ", atq_relkey_name(model->rel));
	if (bms_is_empty(columns))
		appendStringInfoString(sql, "DEFAULT VALUES");
	else
	{
		appendStringInfoChar(sql, '(');
		atq_statement_names(sql, model->rel, columns);
		appendStringInfoString(sql, ") VALUES (");
		while ((column = bms_next_member(columns, column)) >= 0)
		{
			appendStringInfo(sql, "%s%s", separator,
							 column_param(&statement, object, column));
			separator = ", ";
		}
		appendStringInfoChar(sql, ')');
	}
	appendStringInfoString(sql, conflict);
	atq_statement_returning(sql, model->rel);
	return atq_statement_row(&statement);
}

Jsonb *
atq_statement_update(const AtqQueryModel *model, const AtqObject *object,
					 const Bitmapset *set)
{
	AtqStatement statement;
	StringInfo	sql = &statement.sql;
	char	   *table = atq_relkey_name(model->rel);
	const char *separator = "";
	int			column = -1;

	atq_statement_begin(&statement, model,
						bms_num_members(set) + model->nkeys);
	if (bms_is_empty(set))
		appendStringInfo(sql, "SELECT t0.*::%s FROM %s AS t0", table, table);
	else
		appendStringInfo(sql, "UPDATE %s AS t0 SET ", table);
	while ((column = bms_next_member(set, column)) >= 0)
	{
		appendStringInfo(sql, "%s%s = %s", separator,
						 atq_statement_name(model->rel, column),
						 column_param(&statement, object, column));
		separator = ", ";
	}
	for (int i = 0; i < model->nkeys; i++)
	{
		appendStringInfoString(sql, i == 0 ? " WHERE " : " AND ");
		atq_relkey_equals(sql, model->rel, model->keys[i], "t0",
						  column_param(&statement, object, model->keys[i]));
	}
	if (!bms_is_empty(set))
		atq_statement_returning(sql, model->rel);
	return atq_statement_row(&statement);
}
