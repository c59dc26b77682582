/*-------------------------------------------------------------------------
 *
 * remoterows.c
 *	  Rows of query sets on other servers.
 *
 * Parameters go as what the output functions of their types write, and rows
 * come as text, which the input functions of the local types read.  Those may
 * run users' code, so they are called after the run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "query/remoterows.h"
#include "remote/pool.h"
#include "wire/datum.h"

static void begin_rows(AtqJob *job);
static AtqFailure *take_row(AtqJob *job, const PGresult *result, int row);
static Datum read_value(AtqRemoteRows *rows, int column, char *str);
static void report_row(void *arg);
static void begin_chunk(void *chunk);
static AtqFailure *take_chunk_row(void *chunk, const PGresult *result,
								  int row);

static const AtqJobReader rows_reader = {begin_rows, take_row, NULL};

AtqRemoteRows *
atq_remoterows_make(const AtqQuery *query)
{
	AtqRemoteRows *rows = palloc0(sizeof(AtqRemoteRows));

	rows->query = query;
	rows->context = CurrentMemoryContext;
	return rows;
}

const char *const *
atq_remoterows_params(const AtqQuery *query)
{
	const char **params = palloc0((query->nparams + 1) * sizeof(char *));
	int			level = atq_datum_pin_settings();

	for (int i = 0; i < query->nparams; i++)
	{
		Oid			output;
		bool		is_varlena;

		if (query->nulls != NULL && query->nulls[i] == 'n')
			continue;
		getTypeOutputInfo(query->types[i], &output, &is_varlena);
		params[i] = OidOutputFunctionCall(output, query->values[i]);
	}
	AtEOXact_GUC(true, level);
	return params;
}

AtqJob *
atq_remoterows_job(const AtqQuery *query)
{
	AtqJob	   *job = atq_job_make(atq_pool_named(query->server));
	AtqJobStatement *statement = palloc0(sizeof(AtqJobStatement));

	statement->sql = query->sql;
	statement->nparams = query->nparams;
	statement->params = atq_remoterows_params(query);
	job->statements = statement;
	job->nstatements = 1;
	job->reader = &rows_reader;
	job->arg = atq_remoterows_make(query);
	return job;
}

static void
begin_rows(AtqJob *job)
{
	atq_remoterows_begin(job->arg);
}

static AtqFailure *
take_row(AtqJob *job, const PGresult *result, int row)
{
	return atq_remoterows_take(job->arg, result, row);
}

void
atq_remoterows_begin(AtqRemoteRows *rows)
{
	rows->n = rows->max = 0;
}

/* Pointers and texts of a row are one piece of memory. */
AtqFailure *
atq_remoterows_take(AtqRemoteRows *rows, const PGresult *result, int row)
{
	int			n = rows->query->ncolumns;
	Size		size = n * sizeof(char *);
	char	  **values;
	char	   *at;

	if (PQnfields(result) != n)
		return atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
								"server \"%s\" answers with %d columns instead of %d",
								rows->query->server, PQnfields(result), n);
	for (int i = 0; i < n; i++)
		size += PQgetlength(result, row, i) + 1;
	values = palloc(size);
	at = (char *) (values + n);
	for (int i = 0; i < n; i++)
	{
		values[i] = NULL;
		if (PQgetisnull(result, row, i))
			continue;
		values[i] = at;
		memcpy(at, PQgetvalue(result, row, i),
			   PQgetlength(result, row, i) + 1);
		at += PQgetlength(result, row, i) + 1;
	}
	if (rows->n == rows->max)
	{
		bool		first = rows->max == 0;

		rows->max = first ? 64 : 2 * rows->max;
		rows->rows = first ? palloc(rows->max * sizeof(char **)) :
			repalloc_huge(rows->rows, rows->max * sizeof(char **));
	}
	rows->rows[rows->n++] = values;
	return NULL;
}

bool
atq_remoterows_give(AtqRemoteRows *rows, AtqQueryTaker take, void *arg)
{
	int			n = rows->query->ncolumns;
	Datum	   *values = palloc0(n * sizeof(Datum));
	bool	   *nulls = palloc0(n * sizeof(bool));
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext,
											  "asynctasq row",
											  ALLOCSET_DEFAULT_SIZES);
	bool		more = true;

	for (int i = 0; i < rows->n && more; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(row);
		ErrorContextCallback callback;

		CHECK_FOR_INTERRUPTS();
		callback.callback = report_row;
		callback.arg = (void *) rows->query;
		callback.previous = error_context_stack;
		error_context_stack = &callback;
		for (int j = 0; j < n; j++)
		{
			nulls[j] = rows->rows[i][j] == NULL;
			if (!nulls[j])
				values[j] = read_value(rows, j, rows->rows[i][j]);
		}
		error_context_stack = callback.previous;
		more = take(values, nulls, arg);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	MemoryContextDelete(row);
	return more;
}

static Datum
read_value(AtqRemoteRows *rows, int column, char *str)
{
	if (rows->inputs == NULL)
	{
		rows->inputs = MemoryContextAllocZero(rows->context,
											  rows->query->ncolumns * sizeof(FmgrInfo));
		rows->ioparams = MemoryContextAllocZero(rows->context,
												rows->query->ncolumns * sizeof(Oid));
	}
	if (!OidIsValid(rows->inputs[column].fn_oid))
	{
		Oid			input;

		getTypeInputInfo(rows->query->column_types[column], &input,
						 &rows->ioparams[column]);
		fmgr_info_cxt(input, &rows->inputs[column], rows->context);
	}
	return InputFunctionCall(&rows->inputs[column], str,
							 rows->ioparams[column], -1);
}

static void
report_row(void *arg)
{
	const AtqQuery *query = arg;

	errcontext("row of model \"%s\" from server \"%s\"",
			   query->model->model->class_name, query->server);
}

/*
 * The query's statement and the chunks last as long as the cursor, all in the
 * current context.
 */
AtqCursor *
atq_remoterows_cursor(const AtqQuery *query, int fetch_size,
					  ExprContext *econtext)
{
	static const AtqCursorReader reader = {begin_chunk, take_chunk_row};
	AtqJobStatement *statement = palloc0(sizeof(AtqJobStatement));
	AtqCursorOptions options = {0};

	statement->sql = query->sql;
	statement->nparams = query->nparams;
	statement->params = atq_remoterows_params(query);
	options.query = statement;
	options.fetch_size = fetch_size;
	options.reader = &reader;
	options.chunks[0] = atq_remoterows_make(query);
	options.chunks[1] = atq_remoterows_make(query);
	return atq_cursor_open(atq_pool_named(query->server), &options, econtext);
}

static void
begin_chunk(void *chunk)
{
	atq_remoterows_begin(chunk);
}

static AtqFailure *
take_chunk_row(void *chunk, const PGresult *result, int row)
{
	return atq_remoterows_take(chunk, result, row);
}

void
atq_remoterows_stream(const AtqQuery *query, AtqQueryTaker take, void *arg)
{
	AtqCursor  *cursor = atq_remoterows_cursor(query, ATQ_QUERY_CHUNK, NULL);
	AtqRemoteRows *rows;

	while ((rows = atq_cursor_next(cursor)) != NULL)
	{
		if (!atq_remoterows_give(rows, take, arg))
			break;
	}
	atq_cursor_close(cursor);
}
