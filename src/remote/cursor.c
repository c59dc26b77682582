/*-------------------------------------------------------------------------
 *
 * cursor.c
 *	  Another server's rows, a chunk at a time.
 *
 * A cursor on the other side gives the rows in chunks.  While the caller takes
 * the rows of one the next is under way, so there are two in memory at most,
 * however many rows there are.  The cursor holds its connection, in a
 * transaction of its own, from the first row to the last.
 *
 * When the executor wants no more (LIMIT), the chunk under way is read to its
 * end for a moment, and the connection is given back; else it is closed.  The
 * same happens, by the reset of the cursor's memory context, after an error.
 *
 * Memory: each of the two chunks has a context, below that of the cursor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "utils/memutils.h"

#include "remote/cursor.h"
#include "remote/pool.h"

#define MAX_FETCH_SIZE	100000
#define DRAIN_MS		100

struct AtqCursor
{
	AtqJob	   *job;			/* of the chunk that comes next */
	AtqCursorOptions options;
	AtqJobStatement statements[4];
	MemoryContext contexts[2];	/* of the chunks */
	int			current;		/* whose rows are taken */
	int			nrows;			/* in it */
	bool		last;			/* no chunk comes after it */
	ExprContext *econtext;
	MemoryContextCallback callback;
};

static int	make_statements(AtqCursor *cursor);
static void begin_chunk(AtqJob *job);
static AtqFailure *take_row(AtqJob *job, const PGresult *result, int row);
static void stop_cursor(Datum arg);
static void drop_cursor(void *arg);

static const AtqJobReader chunk_reader = {begin_chunk, take_row, NULL};

void
atq_cursor_check_size(const char *name, int size)
{
	if (size < 1 || size > MAX_FETCH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d", name,
						MAX_FETCH_SIZE)));
}

AtqCursor *
atq_cursor_open(AtqPool *pool, const AtqCursorOptions *options,
				ExprContext *econtext)
{
	AtqCursor  *cursor = palloc0(sizeof(AtqCursor));

	cursor->options = *options;
	for (int i = 0; i < 2; i++)
		cursor->contexts[i] = AllocSetContextCreate(CurrentMemoryContext,
													"asynctasq stream",
													ALLOCSET_DEFAULT_SIZES);
	cursor->job = atq_job_make(pool);
	cursor->job->statements = cursor->statements;
	cursor->job->nstatements = make_statements(cursor);
	cursor->job->reader = &chunk_reader;
	cursor->job->arg = cursor;
	cursor->job->users = options->users;
	cursor->job->hold = true;
	cursor->callback.func = drop_cursor;
	cursor->callback.arg = cursor;
	MemoryContextRegisterResetCallback(CurrentMemoryContext,
									   &cursor->callback);
	cursor->econtext = econtext;
	if (econtext != NULL)
		RegisterExprContextCallback(econtext, stop_cursor,
									PointerGetDatum(cursor));
	return cursor;
}

/* The last one comes again.  Ours are wanted to their end. */
static int
make_statements(AtqCursor *cursor)
{
	const AtqJobStatement *query = cursor->options.query;
	AtqJobStatement *statements = cursor->statements;
	int			n = 0;

	statements[n++].sql = "BEGIN READ ONLY";
	if (!cursor->options.users)
		statements[n++].sql = "SET LOCAL cursor_tuple_fraction = 1";
	statements[n] = *query;
	statements[n++].sql =
		psprintf("DECLARE asynctasq_stream NO SCROLL CURSOR FOR %s",
				 query->sql);
	statements[n++].sql = psprintf("FETCH FORWARD %d FROM asynctasq_stream",
								   cursor->options.fetch_size);
	return n;
}

void *
atq_cursor_next(AtqCursor *cursor)
{
	AtqJob	   *job = cursor->job;
	MemoryContext old;

	if (cursor->last)
		return NULL;
	cursor->current = 1 - cursor->current;
	MemoryContextReset(cursor->contexts[cursor->current]);
	old = MemoryContextSwitchTo(cursor->contexts[cursor->current]);
	if (job->state == ATQ_JOB_SENT)
		begin_chunk(job);
	atq_job_run_one(job);
	MemoryContextSwitchTo(old);
	cursor->last = cursor->nrows < cursor->options.fetch_size;
	if (!cursor->last)
	{
		job->statements = &job->statements[job->nstatements - 1];
		job->nstatements = 1;
		if (!atq_job_send(job))
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("connection to server \"%s\" was lost",
							job->pool->login->server_name)));
	}
	return cursor->options.chunks[cursor->current];
}

static void
begin_chunk(AtqJob *job)
{
	AtqCursor  *cursor = job->arg;

	if (job->state == ATQ_JOB_DONE)
		return;					/* sent ahead: its chunk is still in use */
	cursor->nrows = 0;
	cursor->options.reader->begin(cursor->options.chunks[cursor->current]);
}

static AtqFailure *
take_row(AtqJob *job, const PGresult *result, int row)
{
	AtqCursor  *cursor = job->arg;

	if (cursor->nrows++ == cursor->options.fetch_size)
		return atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
								"server \"%s\" sends more rows than were asked for",
								job->pool->login->server_name);
	return cursor->options.reader->row(cursor->options.chunks[cursor->current],
									   result, row);
}

void
atq_cursor_close(AtqCursor *cursor)
{
	if (cursor->econtext != NULL)
		UnregisterExprContextCallback(cursor->econtext, stop_cursor,
									  PointerGetDatum(cursor));
	drop_cursor(cursor);
}

/* The executor wants no more rows. */
static void
stop_cursor(Datum arg)
{
	AtqCursor  *cursor = (AtqCursor *) DatumGetPointer(arg);
	AtqConn    *conn = cursor->job->conn;

	if (conn != NULL && conn->held)
		(void) atq_job_drain(conn, DRAIN_MS);
	drop_cursor(cursor);
}

/* Gives the connection back if all is read, else closes it. */
static void
drop_cursor(void *arg)
{
	AtqCursor  *cursor = arg;
	AtqConn    *conn = cursor->job->conn;

	cursor->job->conn = NULL;
	if (conn != NULL && conn->held)
		atq_job_release(conn);
}
