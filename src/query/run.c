/*-------------------------------------------------------------------------
 *
 * run.c
 *	  Statements of query sets, run here or on other servers.
 *
 * Here they run by SPI as the current user, each under a new snapshot and with
 * what the transaction has done before in sight, and give their rows one by
 * one to a receiver; elsewhere over a pool, and the rows are taken after the
 * run.
 *
 * Memory: a chunk of rows is held where relations are prefetched for them, in
 * a context that is reset after each; else one row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "query/remoterows.h"
#include "query/result.h"
#include "remote/pool.h"

typedef struct Receiver
{
	DestReceiver pub;
	AtqQueryTaker take;
	void	   *arg;
} Receiver;

/* Rows on their way to a visitor. */
typedef struct Visit
{
	AtqQueryVisitor visit;
	void	   *arg;
	AtqResult  *result;
	bool		more;
} Visit;

/* Rows on their way into an array. */
typedef struct Array
{
	TupleDesc	desc;
	ArrayBuildState *state;
	MemoryContext context;
} Array;

/* A value, kept. */
typedef struct Scalar
{
	Datum		value;
	bool		isnull;
} Scalar;

static void run_here(const AtqQuery *query, AtqQueryTaker take, void *arg);
static uint64 execute_plan(const AtqQuery *query, SPIExecuteOptions *options);
static void run_there(const AtqQuery *query, AtqQueryTaker take, void *arg);
static bool receive_slot(TupleTableSlot *slot, DestReceiver *self);
static void receive_startup(DestReceiver *self, int operation,
							TupleDesc typeinfo);
static void receive_end(DestReceiver *self);
static bool take_for_visit(const Datum *values, const bool *nulls, void *arg);
static void visit_rows(Visit *visit);
static bool take_for_array(const Datum *values, const bool *nulls, void *arg);
static bool take_scalar(const Datum *values, const bool *nulls, void *arg);

void
atq_query_run(const AtqQuery *query, AtqQueryTaker take, void *arg)
{
	if (query->server == NULL)
		run_here(query, take, arg);
	else
		run_there(query, take, arg);
}

static void
run_here(const AtqQuery *query, AtqQueryTaker take, void *arg)
{
	SPIExecuteOptions options = {
		.must_return_tuples = true,
		.dest = atq_query_receiver(take, arg)
	};

	(void) execute_plan(query, &options);
}

/* The number of rows that it has read, or changed. */
static uint64
execute_plan(const AtqQuery *query, SPIExecuteOptions *options)
{
	uint64		processed;
	int			code;

	options->params = atq_query_params(query);
	SPI_connect();
	code = SPI_execute_plan_extended(atq_query_plan(query->sql,
													query->nparams,
													query->types,
													query->model->guarded),
									 options);
	if (code < 0)
		elog(ERROR, "could not run a query set's statement: %s",
			 SPI_result_code_string(code));
	processed = SPI_processed;
	SPI_finish();
	return processed;
}

static void
run_there(const AtqQuery *query, AtqQueryTaker take, void *arg)
{
	AtqJob	   *job = atq_remoterows_job(query);

	atq_job_run_one(job);
	(void) atq_remoterows_give(job->arg, take, arg);
}

ParamListInfo
atq_query_params(const AtqQuery *query)
{
	ParamListInfo params = makeParamList(query->nparams);

	for (int i = 0; i < query->nparams; i++)
	{
		params->params[i].value = query->values[i];
		params->params[i].isnull = query->nulls != NULL &&
			query->nulls[i] == 'n';
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = query->types[i];
	}
	return params;
}

/* SPI looks at what kind of receiver it is: any that keeps rows will do. */
DestReceiver *
atq_query_receiver(AtqQueryTaker take, void *arg)
{
	Receiver   *receiver = palloc0(sizeof(Receiver));

	receiver->pub.receiveSlot = receive_slot;
	receiver->pub.rStartup = receive_startup;
	receiver->pub.rShutdown = receive_end;
	receiver->pub.rDestroy = receive_end;
	receiver->pub.mydest = DestTuplestore;
	receiver->take = take;
	receiver->arg = arg;
	return &receiver->pub;
}

static bool
receive_slot(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;

	slot_getallattrs(slot);
	return receiver->take(slot->tts_values, slot->tts_isnull, receiver->arg);
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
receive_end(DestReceiver *self)
{
}

/* ---- as JSON ---- */

void
atq_query_each(const AtqQuery *query, AtqQueryVisitor visit, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "asynctasq chunk",
												  ALLOCSET_DEFAULT_SIZES);
	Visit		rows = {visit, arg, atq_result_make(query, context), true};

	atq_query_run(query, take_for_visit, &rows);
	if (rows.more)
		visit_rows(&rows);
	MemoryContextDelete(context);
}

static bool
take_for_visit(const Datum *values, const bool *nulls, void *arg)
{
	Visit	   *rows = arg;
	AtqResult  *result = rows->result;

	if (result->query->prefetches == NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(result->context);

		rows->more = rows->visit(atq_result_json(result, values, nulls),
								 rows->arg);
		MemoryContextSwitchTo(old);
		MemoryContextReset(result->context);
		return rows->more;
	}
	(void) atq_result_add(values, nulls, result);
	if (result->nrows == ATQ_QUERY_CHUNK)
		visit_rows(rows);
	return rows->more;
}

/* Those that are held, which are forgotten. */
static void
visit_rows(Visit *rows)
{
	AtqResult  *result = rows->result;
	MemoryContext old = MemoryContextSwitchTo(result->context);

	atq_result_complete(result);
	for (int i = 0; i < result->nrows && rows->more; i++)
		rows->more = rows->visit(atq_result_row(result, i), rows->arg);
	MemoryContextSwitchTo(old);
	atq_result_clear(result);
	MemoryContextReset(result->context);
}

Jsonb *
atq_query_list(const AtqQuery *query)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(outer, "asynctasq list",
												  ALLOCSET_DEFAULT_SIZES);
	AtqResult  *result = atq_result_make(query, context);
	Jsonb	   *list;

	atq_result_read(result);
	MemoryContextSwitchTo(context);
	list = atq_result_list(result);
	MemoryContextSwitchTo(outer);
	list = DatumGetJsonbP(datumCopy(JsonbPGetDatum(list), false, -1));
	MemoryContextDelete(context);
	return list;
}

/* ---- as values ---- */

Datum
atq_query_array(const AtqQuery *query)
{
	Oid			type = get_rel_type_id(query->model->model->relation);
	Array		array;

	array.context = CurrentMemoryContext;
	array.desc = lookup_rowtype_tupdesc_copy(type, -1);
	array.state = initArrayResult(type, CurrentMemoryContext, true);
	atq_query_run(query, take_for_array, &array);
	return makeArrayResult(array.state, CurrentMemoryContext);
}

static bool
take_for_array(const Datum *values, const bool *nulls, void *arg)
{
	Array	   *array = arg;
	MemoryContext old = MemoryContextSwitchTo(array->context);
	HeapTuple	tuple = heap_form_tuple(array->desc, (Datum *) values,
										(bool *) nulls);
	Datum		row = HeapTupleGetDatum(tuple);

	(void) accumArrayResult(array->state, row, false,
							array->state->element_type, array->context);
	if (DatumGetPointer(row) != (Pointer) tuple->t_data)
		pfree(DatumGetPointer(row));
	pfree(tuple);
	MemoryContextSwitchTo(old);
	return true;
}

Datum
atq_query_scalar(const AtqQuery *query, bool *isnull)
{
	Scalar		scalar = {(Datum) 0, true};

	atq_query_run(query, take_scalar, &scalar);
	*isnull = scalar.isnull;
	return scalar.value;
}

static bool
take_scalar(const Datum *values, const bool *nulls, void *arg)
{
	Scalar	   *scalar = arg;

	scalar->value = values[0];
	scalar->isnull = nulls[0];
	return false;
}

uint64
atq_query_execute(const AtqQuery *query)
{
	SPIExecuteOptions options = {0};

	Assert(query->server == NULL);
	return execute_plan(query, &options);
}
