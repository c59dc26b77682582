/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  stream(): the rows of another server's query as they come.
 *
 * A cursor on the other side gives the rows in chunks.  While the executor
 * takes the rows of one the next is under way, so there are two in memory at
 * most, however many rows there are.  The stream holds its connection, in a
 * transaction of its own, from the first row to the last.
 *
 * When the executor wants no more (LIMIT), the chunk under way is read to its
 * end for a moment, and the connection is given back; else it is closed.  The
 * same happens, by the reset of the stream's memory context, after an error.
 *
 * Memory: "stream" lives in the function's multi-call context, and has one
 * context for each of the two chunks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "remote/pool.h"
#include "remote/value.h"

#define MAX_FETCH_SIZE	100000
#define DRAIN_MS		100

typedef struct Chunk
{
	MemoryContext context;
	AtqRowsReader columns;
	Jsonb	  **rows;
	int			n;
} Chunk;

typedef struct Stream
{
	AtqJob	   *job;			/* of the chunk that comes next */
	int			fetch_size;
	AtqStatement statements[3];
	Chunk		chunks[2];
	int			current;		/* whose rows are taken */
	int			next;			/* row in it */
	bool		last;			/* no chunk comes after it */
	MemoryContextCallback callback;
} Stream;

static void begin_stream(FunctionCallInfo fcinfo, FuncCallContext *context);
static Jsonb *next_row(Stream *stream);
static void next_chunk(Stream *stream);
static void begin_chunk(AtqJob *job);
static AtqFailure *take_row(AtqJob *job, const PGresult *result, int row);
static void stop_stream(Datum arg);
static void drop_stream(void *arg);

static const AtqJobReader chunk_reader = {begin_chunk, take_row, NULL};

PG_FUNCTION_INFO_V1(atq_sql_stream);

Datum
atq_sql_stream(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *context;
	Stream	   *stream;
	Jsonb	   *row;

	if (SRF_IS_FIRSTCALL())
	{
		context = SRF_FIRSTCALL_INIT();
		begin_stream(fcinfo, context);
	}
	context = SRF_PERCALL_SETUP();
	stream = context->user_fctx;
	row = next_row(stream);
	if (row != NULL)
		SRF_RETURN_NEXT(context, JsonbPGetDatum(row));
	UnregisterExprContextCallback(rsinfo->econtext, stop_stream,
								  PointerGetDatum(stream));
	drop_stream(stream);
	SRF_RETURN_DONE(context);
}

static void
begin_stream(FunctionCallInfo fcinfo, FuncCallContext *context)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
	Stream	   *stream = palloc0(sizeof(Stream));
	AtqFailure *failure = NULL;
	char	   *server;
	AtqPool    *pool;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null",
						PG_ARGISNULL(0) ? "server" : "query")));
	stream->fetch_size = PG_ARGISNULL(3) ? 1000 : PG_GETARG_INT32(3);
	if (stream->fetch_size < 1 || stream->fetch_size > MAX_FETCH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fetch_size must be between 1 and %d",
						MAX_FETCH_SIZE)));
	server = NameStr(*PG_GETARG_NAME(0));
	pool = atq_pool_get(atq_server_find(server, GetUserId()), GetUserId(),
						&failure);
	if (pool == NULL)
		atq_failure_throw(failure, server);
	stream->statements[0].sql = "BEGIN READ ONLY";
	stream->statements[1].sql =
		psprintf("DECLARE asynctasq_stream NO SCROLL CURSOR FOR %s",
				 text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!PG_ARGISNULL(2))
		stream->statements[1].params =
			atq_value_params(PG_GETARG_JSONB_P(2),
							 &stream->statements[1].nparams);
	stream->statements[2].sql =
		psprintf("FETCH FORWARD %d FROM asynctasq_stream",
				 stream->fetch_size);
	for (int i = 0; i < 2; i++)
	{
		stream->chunks[i].context =
			AllocSetContextCreate(context->multi_call_memory_ctx,
								  "asynctasq stream", ALLOCSET_DEFAULT_SIZES);
		stream->chunks[i].rows = palloc(stream->fetch_size * sizeof(Jsonb *));
	}
	stream->job = atq_job_make(pool);
	stream->job->statements = stream->statements;
	stream->job->nstatements = lengthof(stream->statements);
	stream->job->reader = &chunk_reader;
	stream->job->arg = stream;
	stream->job->users = stream->job->hold = true;
	stream->callback.func = drop_stream;
	stream->callback.arg = stream;
	MemoryContextRegisterResetCallback(context->multi_call_memory_ctx,
									   &stream->callback);
	RegisterExprContextCallback(rsinfo->econtext, stop_stream,
								PointerGetDatum(stream));
	context->user_fctx = stream;
	MemoryContextSwitchTo(old);
	next_chunk(stream);
}

/* NULL at the end. */
static Jsonb *
next_row(Stream *stream)
{
	if (stream->next == stream->chunks[stream->current].n && !stream->last)
		next_chunk(stream);
	if (stream->next == stream->chunks[stream->current].n)
		return NULL;
	return stream->chunks[stream->current].rows[stream->next++];
}

/* Waits for the next chunk, and has the one after it sent. */
static void
next_chunk(Stream *stream)
{
	AtqJob	   *job = stream->job;
	MemoryContext old;

	stream->current = 1 - stream->current;
	stream->next = 0;
	MemoryContextReset(stream->chunks[stream->current].context);
	old = MemoryContextSwitchTo(stream->chunks[stream->current].context);
	if (job->state == ATQ_JOB_SENT)
		begin_chunk(job);
	atq_job_run_one(job);
	MemoryContextSwitchTo(old);
	stream->last = stream->chunks[stream->current].n < stream->fetch_size;
	if (stream->last)
		return;
	job->statements = &stream->statements[2];
	job->nstatements = 1;
	if (!atq_job_send(job))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("connection to server \"%s\" was lost",
						job->pool->login->server_name)));
}

static void
begin_chunk(AtqJob *job)
{
	Stream	   *stream = job->arg;

	if (job->state == ATQ_JOB_DONE)
		return;					/* sent ahead: its chunk is still in use */
	stream->chunks[stream->current].n = 0;
	atq_value_begin(&stream->chunks[stream->current].columns);
}

static AtqFailure *
take_row(AtqJob *job, const PGresult *result, int row)
{
	Stream	   *stream = job->arg;
	Chunk	   *chunk = &stream->chunks[stream->current];
	JsonbParseState *state = NULL;
	JsonbValue *object;
	AtqFailure *failure;

	if (chunk->n == stream->fetch_size)
		return atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
								"server \"%s\" sends more rows than were asked for",
								job->pool->login->server_name);
	failure = atq_value_push_row(&chunk->columns, &state, result, row,
								 &object);
	if (failure == NULL)
		chunk->rows[chunk->n++] = JsonbValueToJsonb(object);
	return failure;
}

/* The executor wants no more rows. */
static void
stop_stream(Datum arg)
{
	Stream	   *stream = (Stream *) DatumGetPointer(arg);
	AtqConn    *conn = stream->job->conn;

	if (conn != NULL && conn->held)
		(void) atq_job_drain(conn, DRAIN_MS);
	drop_stream(stream);
}

/* Gives the connection back if all is read, else closes it. */
static void
drop_stream(void *arg)
{
	Stream	   *stream = arg;
	AtqConn    *conn = stream->job->conn;

	stream->job->conn = NULL;
	if (conn != NULL && conn->held)
		atq_job_release(conn);
}
