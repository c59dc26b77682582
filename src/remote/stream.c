/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  stream(): the rows of another server's query as they come.
 *
 * Memory: "stream" lives in the function's multi-call context; see cursor.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/argument.h"
#include "remote/cursor.h"
#include "remote/pool.h"
#include "remote/value.h"

typedef struct Chunk
{
	AtqRowsReader columns;
	Jsonb	  **rows;
	int			n;
} Chunk;

typedef struct Stream
{
	AtqCursor  *cursor;
	AtqJobStatement query;
	Chunk		chunks[2];
	Chunk	   *current;		/* whose rows are taken, or NULL */
	int			next;			/* row in it */
} Stream;

static void begin_stream(FunctionCallInfo fcinfo, FuncCallContext *context);
static Jsonb *next_row(Stream *stream);
static void begin_chunk(void *chunk);
static AtqFailure *take_row(void *chunk, const PGresult *result, int row);

static const AtqCursorReader chunk_reader = {begin_chunk, take_row};

PG_FUNCTION_INFO_V1(atq_sql_stream);

Datum
atq_sql_stream(PG_FUNCTION_ARGS)
{
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
	atq_cursor_close(stream->cursor);
	SRF_RETURN_DONE(context);
}

static void
begin_stream(FunctionCallInfo fcinfo, FuncCallContext *context)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
	Stream	   *stream = palloc0(sizeof(Stream));
	AtqCursorOptions options = {0};
	AtqPool    *pool;

	atq_require_arg(fcinfo, 0, "server");
	stream->query.sql = atq_text_arg(fcinfo, 1, "query");
	options.fetch_size = PG_ARGISNULL(3) ? 1000 : PG_GETARG_INT32(3);
	atq_cursor_check_size("fetch_size", options.fetch_size);
	pool = atq_pool_named(NameStr(*PG_GETARG_NAME(0)));
	if (!PG_ARGISNULL(2))
		stream->query.params = atq_value_params(PG_GETARG_JSONB_P(2),
												&stream->query.nparams);
	options.query = &stream->query;
	options.users = true;
	options.reader = &chunk_reader;
	for (int i = 0; i < 2; i++)
	{
		stream->chunks[i].rows = palloc(options.fetch_size * sizeof(Jsonb *));
		options.chunks[i] = &stream->chunks[i];
	}
	stream->cursor = atq_cursor_open(pool, &options, rsinfo->econtext);
	context->user_fctx = stream;
	MemoryContextSwitchTo(old);
}

/* NULL at the end. */
static Jsonb *
next_row(Stream *stream)
{
	if (stream->current == NULL || stream->next == stream->current->n)
	{
		stream->current = atq_cursor_next(stream->cursor);
		stream->next = 0;
	}
	if (stream->current == NULL || stream->current->n == 0)
		return NULL;
	return stream->current->rows[stream->next++];
}

static void
begin_chunk(void *arg)
{
	Chunk	   *chunk = arg;

	chunk->n = 0;
	atq_value_begin(&chunk->columns);
}

static AtqFailure *
take_row(void *arg, const PGresult *result, int row)
{
	Chunk	   *chunk = arg;
	JsonbParseState *state = NULL;
	JsonbValue *object;
	AtqFailure *failure = atq_value_push_row(&chunk->columns, &state, result,
											 row, &object);

	if (failure == NULL)
		chunk->rows[chunk->n++] = JsonbValueToJsonb(object);
	return failure;
}
