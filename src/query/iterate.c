/*-------------------------------------------------------------------------
 *
 * iterate.c
 *	  iterate(): the rows of a query set as they are wanted.
 *
 * A cursor, here or on the other server, gives the rows in chunks.  One chunk is
 * held with what is prefetched for it, or two of rows from elsewhere.  Where
 * the executor wants no more the cursor is closed.
 *
 * Between two chunks the registry may have changed, and what was looked up in
 * it be gone.  So the model is looked up again for each chunk; it must still be
 * of the same relation, which is locked.
 *
 * Memory: the iteration lives in the function's multi-call context, a chunk in
 * one below.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "funcapi.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "query/remoterows.h"
#include "query/result.h"
#include "query/terminal.h"
#include "remote/cursor.h"
#include "store/trust.h"

typedef struct Iteration
{
	AtqQuerySet *set;
	AtqQuery   *query;
	Oid			relation;
	int			chunk_size;
	char	   *portal;			/* its name; NULL: on another server */
	TupleDesc	desc;			/* of its rows */
	AtqCursor  *cursor;			/* .. there */
	AtqResult  *result;			/* the chunk */
	int			next;			/* row in it */
	bool		last;			/* no chunk comes after it */
} Iteration;

static Datum begin(PG_FUNCTION_ARGS);
static void open_portal(Iteration *iteration, ExprContext *econtext);
static Datum next_chunk(PG_FUNCTION_ARGS);
static void check_model(Iteration *iteration);
static void fetch_here(Iteration *iteration);
static void fetch_there(Iteration *iteration);
static void end(Iteration *iteration, ExprContext *econtext);
static void close_portal(Datum arg);

PG_FUNCTION_INFO_V1(atq_sql_queryset_iterate);

Datum
atq_sql_queryset_iterate(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *context;
	Iteration  *iteration;

	if (SRF_IS_FIRSTCALL())
	{
		context = SRF_FIRSTCALL_INIT();
		(void) atq_query_call(begin, fcinfo);
	}
	context = SRF_PERCALL_SETUP();
	iteration = context->user_fctx;
	if (iteration->next == iteration->result->nrows && !iteration->last)
		(void) atq_query_call(next_chunk, fcinfo);
	if (iteration->next < iteration->result->nrows)
		SRF_RETURN_NEXT(context,
						JsonbPGetDatum(atq_result_row(iteration->result,
													  iteration->next++)));
	end(iteration, rsinfo->econtext);
	SRF_RETURN_DONE(context);
}

static Datum
begin(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *context = fcinfo->flinfo->fn_extra;
	MemoryContext old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
	Iteration  *iteration = palloc0(sizeof(Iteration));
	AtqQuery   *query;

	iteration->chunk_size = PG_ARGISNULL(1) ? 2000 : PG_GETARG_INT32(1);
	atq_cursor_check_size("chunk_size", iteration->chunk_size);
	iteration->set = atq_terminal_set(fcinfo, 0, true);
	query = atq_query_compile(iteration->set, ATQ_QUERY_OBJECTS);
	query->server = query->server == NULL ? NULL : pstrdup(query->server);
	iteration->query = query;
	iteration->relation = query->model->model->relation;
	iteration->result =
		atq_result_make(query, AllocSetContextCreate(CurrentMemoryContext,
													 "asynctasq chunk",
													 ALLOCSET_DEFAULT_SIZES));
	if (query->server == NULL)
		open_portal(iteration, rsinfo->econtext);
	else
		iteration->cursor = atq_remoterows_cursor(query,
												  iteration->chunk_size,
												  rsinfo->econtext);
	context->user_fctx = iteration;
	MemoryContextSwitchTo(old);
	return (Datum) 0;
}

static void
open_portal(Iteration *iteration, ExprContext *econtext)
{
	const AtqQuery *query = iteration->query;
	ParamListInfo params = atq_query_params(query);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	Portal		portal;

	SPI_connect();
	portal = SPI_cursor_open_with_paramlist(NULL,
											atq_query_plan(query->sql,
														   query->nparams,
														   query->types,
														   query->model->guarded),
											params, false);
	iteration->portal = MemoryContextStrdup(context, portal->name);
	old = MemoryContextSwitchTo(context);
	iteration->desc = CreateTupleDescCopy(portal->tupDesc);
	MemoryContextSwitchTo(old);
	SPI_finish();
	RegisterExprContextCallback(econtext, close_portal,
								PointerGetDatum(iteration));
}

static Datum
next_chunk(PG_FUNCTION_ARGS)
{
	FuncCallContext *context = fcinfo->flinfo->fn_extra;
	Iteration  *iteration = context->user_fctx;
	AtqResult  *result = iteration->result;
	MemoryContext old;

	atq_result_clear(result);
	MemoryContextReset(result->context);
	iteration->next = 0;
	old = MemoryContextSwitchTo(result->context);
	check_model(iteration);
	if (iteration->portal != NULL)
		fetch_here(iteration);
	else
		fetch_there(iteration);
	iteration->last = result->nrows < iteration->chunk_size;
	atq_result_complete(result);
	MemoryContextSwitchTo(old);
	return (Datum) 0;
}

/* The model lasts until the next chunk. */
static void
check_model(Iteration *iteration)
{
	AtqQueryModel *model = atq_query_model_open(iteration->set->orm,
												iteration->set->class_name,
												AccessShareLock);

	atq_query_model_close(model);
	if (model->model->relation != iteration->relation)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model \"%s\" has changed while its rows were read",
						iteration->set->class_name)));
	iteration->query->model = model;
	iteration->result->guarded = atq_trust_guarded();
}

/* The user may have closed the cursor, and made another one of its name. */
static void
fetch_here(Iteration *iteration)
{
	Portal		portal = SPI_cursor_find(iteration->portal);

	if (!PortalIsValid(portal) || portal->tupDesc == NULL ||
		!equalTupleDescs(portal->tupDesc, iteration->desc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_CURSOR),
				 errmsg("the cursor of iterate() has been closed")));
	(void) PortalRunFetch(portal, FETCH_FORWARD, iteration->chunk_size,
						  atq_query_receiver(atq_result_add,
											 iteration->result));
}

static void
fetch_there(Iteration *iteration)
{
	AtqRemoteRows *rows = atq_cursor_next(iteration->cursor);

	if (rows != NULL)
		(void) atq_remoterows_give(rows, atq_result_add, iteration->result);
}

static void
end(Iteration *iteration, ExprContext *econtext)
{
	if (iteration->portal == NULL)
	{
		atq_cursor_close(iteration->cursor);
		return;
	}
	UnregisterExprContextCallback(econtext, close_portal,
								  PointerGetDatum(iteration));
	close_portal(PointerGetDatum(iteration));
}

/* The executor wants no more rows. */
static void
close_portal(Datum arg)
{
	Iteration  *iteration = (Iteration *) DatumGetPointer(arg);
	Portal		portal = SPI_cursor_find(iteration->portal);

	if (PortalIsValid(portal))
		SPI_cursor_close(portal);
}
