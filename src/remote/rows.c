/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Rows of tables on other servers, by key.
 *
 * A table there is read by one query: the join with the unnested arrays of
 * its keys' values.  Names and operators in it are qualified.  The values come
 * as text and are read by the input functions of the local relation's columns,
 * which may run users' code, so only after the run has ended.
 *
 * An answer is kept as text, so it does not matter when it is read: it is
 * valid for whoever would ask the same.
 *
 * Memory: an answer lives in the context in which it was asked for, rows in
 * the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"
#include "utils/typcache.h"

#include "remote/pool.h"
#include "remote/rows.h"
#include "wire/datum.h"

struct AtqRemoteTable
{
	char	   *sql;
	int			nkeys;
	Oid		   *array_types;
	TupleDesc	desc;
	int			ncolumns;		/* that are there */
	AttInMetadata *input;		/* made on first use */
	MemoryContext context;
};

/* For the error context of reading a value. */
typedef struct ValueContext
{
	const AtqRemoteTable *table;
	const char *server;
} ValueContext;

static char *make_statement(Relation rel, int nkeys,
							const AttrNumber *columns, const Oid *types);
static char *option_value(List *options, const char *name, char *missing);
static const char *const *make_params(const AtqRowsRequest *request);
static void begin_rows(AtqJob *job);
static AtqFailure *take_row(AtqJob *job, const PGresult *result, int row);
static void read_rows(AtqRowsRequest *request, const AtqRowsAnswer *answer);
static Datum make_row(AtqRemoteTable *table, char **values);
static void report_value(void *arg);

static const AtqJobReader rows_reader = {begin_rows, take_row, NULL};

AtqRemoteTable *
atq_rows_prepare(Relation rel, int nkeys, const AttrNumber *columns,
				 const Oid *types, const Oid *array_types,
				 MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	AtqRemoteTable *table = palloc0(sizeof(AtqRemoteTable));

	table->context = context;
	table->nkeys = nkeys;
	table->sql = make_statement(rel, nkeys, columns, types);
	table->array_types = palloc(nkeys * sizeof(Oid));
	memcpy(table->array_types, array_types, nkeys * sizeof(Oid));
	table->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	for (int i = 0; i < table->desc->natts; i++)
	{
		if (!TupleDescAttr(table->desc, i)->attisdropped)
			table->ncolumns++;
	}
	MemoryContextSwitchTo(old);
	return table;
}

/* "SELECT number of the key, columns FROM keys JOIN table ON key" */
static char *
make_statement(Relation rel, int nkeys, const AttrNumber *columns,
			   const Oid *types)
{
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT asynctasq_key.ord");
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&sql, ", asynctasq_row.%s",
							 atq_rows_column_name(rel, i + 1));
	}
	appendStringInfoString(&sql, " FROM ROWS FROM (");
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&sql, "%spg_catalog.unnest($%d::%s[])",
						 i == 0 ? "" : ", ", i + 1,
						 format_type_be_qualified(types[i]));
	appendStringInfoString(&sql, ") WITH ORDINALITY AS asynctasq_key (");
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&sql, "k%d, ", i + 1);
	appendStringInfo(&sql, "ord) JOIN %s AS asynctasq_row ON ",
					 atq_rows_table_name(rel));
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, columns[i] - 1);

		appendStringInfoString(&sql, i == 0 ? "" : " AND ");
		generate_operator_clause(&sql,
								 psprintf("asynctasq_row.%s",
										  atq_rows_column_name(rel, columns[i])),
								 column->atttypid,
								 lookup_type_cache(types[i],
												   TYPECACHE_EQ_OPR)->eq_opr,
								 psprintf("asynctasq_key.k%d", i + 1),
								 types[i]);
	}
	return sql.data;
}

char *
atq_rows_table_name(Relation rel)
{
	List	   *options = NIL;

	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		options = GetForeignTable(RelationGetRelid(rel))->options;
	return quote_qualified_identifier(option_value(options, "schema_name",
												   get_namespace_name(RelationGetNamespace(rel))),
									  option_value(options, "table_name",
												   RelationGetRelationName(rel)));
}

char *
atq_rows_column_name(Relation rel, AttrNumber column)
{
	List	   *options = NIL;

	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		options = GetForeignColumnOptions(RelationGetRelid(rel), column);
	return pstrdup(quote_identifier(option_value(options, "column_name",
												 NameStr(TupleDescAttr(RelationGetDescr(rel),
																	   column - 1)->attname))));
}

static char *
option_value(List *options, const char *name, char *missing)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return missing;
}

void
atq_rows_fetch(AtqRowsRequest *requests, int n)
{
	AtqRowsAnswer **answers = palloc(n * sizeof(AtqRowsAnswer *));
	AtqJob	  **jobs = palloc(n * sizeof(AtqJob *));

	for (int i = 0; i < n; i++)
	{
		answers[i] = atq_rows_ask(&requests[i]);
		jobs[i] = answers[i]->job;
	}
	atq_job_run(jobs, n);
	for (int i = 0; i < n; i++)
	{
		if (jobs[i]->failure != NULL)
			atq_failure_throw(jobs[i]->failure, requests[i].server);
		read_rows(&requests[i], answers[i]);
	}
}

AtqRowsAnswer *
atq_rows_ask(const AtqRowsRequest *request)
{
	AtqRemoteTable *table = request->table;
	AtqRowsAnswer *answer = palloc0(sizeof(AtqRowsAnswer));
	AtqJobStatement *statement = palloc(sizeof(AtqJobStatement));
	AtqPool    *pool = atq_pool_named(request->server);

	answer->mapping = pool->key.mapping;
	answer->user = pool->key.user;
	answer->generation = pool->generation;
	answer->server = pstrdup(request->server);
	answer->sql = pstrdup(table->sql);
	answer->writes = atq_job_writes;
	answer->context = CurrentMemoryContext;
	answer->n = request->n;
	answer->ncolumns = table->ncolumns;
	answer->rows = palloc(request->n * sizeof(char **));
	statement->sql = answer->sql;
	statement->nparams = table->nkeys;
	statement->params = make_params(request);
	answer->job = atq_job_make(pool);
	answer->job->statements = statement;
	answer->job->nstatements = 1;
	answer->job->reader = &rows_reader;
	answer->job->arg = answer;
	return answer;
}

/* Values of keys are written as they are for the wire. */
static const char *const *
make_params(const AtqRowsRequest *request)
{
	const AtqRemoteTable *table = request->table;
	const char **params = palloc(table->nkeys * sizeof(char *));
	int			level = atq_datum_pin_settings();

	for (int i = 0; i < table->nkeys; i++)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(table->array_types[i], &output, &is_varlena);
		params[i] = OidOutputFunctionCall(output, request->keys[i]);
	}
	AtEOXact_GUC(true, level);
	return params;
}

bool
atq_rows_same(const AtqRowsAnswer *answer, const AtqRemoteTable *table,
			  const char *server)
{
	const AtqPool *pool = atq_pool_named(server);

	return pool->key.mapping == answer->mapping &&
		pool->key.user == answer->user &&
		pool->generation == answer->generation &&
		atq_job_writes == answer->writes &&
		strcmp(table->sql, answer->sql) == 0;
}

static void
begin_rows(AtqJob *job)
{
	AtqRowsAnswer *answer = job->arg;

	memset(answer->rows, 0, answer->n * sizeof(char **));
	answer->ambiguous = false;
}

static AtqFailure *
take_row(AtqJob *job, const PGresult *result, int row)
{
	AtqRowsAnswer *answer = job->arg;
	MemoryContext old;
	int64		ord;
	char	  **values;

	if (PQnfields(result) != answer->ncolumns + 1)
		return atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
								"server \"%s\" answers with %d columns instead of %d",
								answer->server, PQnfields(result),
								answer->ncolumns + 1);
	ord = strtoll(PQgetvalue(result, row, 0), NULL, 10);
	if (ord < 1 || ord > answer->n)
		return atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
								"server \"%s\" answers with a row that was not asked for",
								answer->server);
	if (answer->rows[ord - 1] != NULL)
	{
		answer->ambiguous = true;
		answer->ambiguous_key = ord - 1;
		return NULL;
	}
	old = MemoryContextSwitchTo(answer->context);
	values = palloc0((answer->ncolumns + 1) * sizeof(char *));
	for (int i = 0; i < answer->ncolumns; i++)
	{
		if (!PQgetisnull(result, row, i + 1))
			values[i] = pnstrdup(PQgetvalue(result, row, i + 1),
								 PQgetlength(result, row, i + 1));
	}
	answer->rows[ord - 1] = values;
	MemoryContextSwitchTo(old);
	return NULL;
}

static void
read_rows(AtqRowsRequest *request, const AtqRowsAnswer *answer)
{
	request->ambiguous = answer->ambiguous;
	request->ambiguous_key = answer->ambiguous_key;
	request->found = palloc0(request->n * sizeof(bool));
	request->rows = palloc0(request->n * sizeof(Datum));
	for (int i = 0; i < request->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (answer->rows[i] == NULL)
			continue;
		request->rows[i] = atq_rows_read(answer, i, request->table);
		request->found[i] = true;
	}
}

Datum
atq_rows_read(const AtqRowsAnswer *answer, int key, AtqRemoteTable *table)
{
	ValueContext context = {table, answer->server};
	ErrorContextCallback callback;
	Datum		row;

	callback.callback = report_value;
	callback.arg = &context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	row = make_row(table, answer->rows[key]);
	error_context_stack = callback.previous;
	return row;
}

/* The values are those of the columns that are there, in their order. */
static Datum
make_row(AtqRemoteTable *table, char **values)
{
	char	  **all = palloc0((table->desc->natts + 1) * sizeof(char *));

	if (table->input == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(table->context);

		table->input = TupleDescGetAttInMetadata(table->desc);
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < table->desc->natts; i++)
	{
		if (!TupleDescAttr(table->desc, i)->attisdropped)
			all[i] = *values++;
	}
	return heap_copy_tuple_as_datum(BuildTupleFromCStrings(table->input, all),
									table->desc);
}

static void
report_value(void *arg)
{
	ValueContext *context = arg;

	errcontext("row of type %s from server \"%s\"",
			   format_type_be(context->table->desc->tdtypeid),
			   context->server);
}
