/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *	  Bringing tasks into their queues.
 *
 * A dispatch inserts rows in the caller's transaction and has the lane told at
 * its commit (notice.c).  The handler, the queue and the options are looked
 * up once for any number of tasks.
 *
 * Everything is allocated in the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "store/home.h"
#include "store/notice.h"
#include "task/attempt.h"
#include "task/dispatch.h"
#include "wire/type.h"

struct AtqDispatch
{
	Oid			role;
	AtqTask		task;			/* all but id and args */
	AtqInserter *inserter;
};

/* Positions of the options among the arguments of dispatch(). */
enum
{
	ARG_TASK = 0, ARG_ARGS, ARG_QUEUE, ARG_DELAY, ARG_RUN_AT, ARG_PRIORITY,
	ARG_MAX_ATTEMPTS, ARG_RETRY_DELAY, ARG_TIMEOUT, ARG_CORRELATION_ID
};

static AtqQueue *hold_queue(Oid role, const char *name);
static void fill_task(AtqTask *task, const AtqHandler *handler,
					  const AtqDispatchOptions *options);
static char *read_options(FunctionCallInfo fcinfo,
						  AtqDispatchOptions *options);
static TimestampTz read_run_at(FunctionCallInfo fcinfo);
static int64 check_interval(const char *option, const Interval *value);

void
atq_dispatch_defaults(AtqDispatchOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->max_attempts = -1;
	options->retry_delay_us = -1;
	options->timeout_us = -1;
}

AtqDispatch *
atq_dispatch_begin(const char *name, const AtqDispatchOptions *options)
{
	AtqDispatch *dispatch = palloc0(sizeof(AtqDispatch));
	AtqHandler *handler;
	AtqQueue   *queue;
	const char *queue_name;

	PreventCommandIfReadOnly("dispatch()");
	PreventCommandIfParallelMode("dispatch()");
	(void) atq_home_enter();
	handler = atq_registry_handler(name);
	if (handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("handler \"%s\" does not exist", name),
				 errhint("Register it with asynctasq.register_handler().")));
	if (!atq_registry_may_dispatch(handler, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to dispatch to handler \"%s\"",
						name),
				 errhint("Its owner can allow it with asynctasq.grant_dispatch().")));
	queue_name = options->queue ? options->queue : handler->queue;
	atq_registry_check_name("queue", queue_name);
	queue_name = pstrdup(queue_name);
	dispatch->role = handler->role;
	queue = hold_queue(dispatch->role, queue_name);
	dispatch->task.queue_id = queue->id;
	dispatch->task.durable = queue->durable;

	/* the cache may have been emptied, and may be by looking again */
	handler = atq_registry_handler(name);
	if (handler == NULL || handler->role != dispatch->role)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("handler \"%s\" does not exist any more", name)));
	fill_task(&dispatch->task, handler, options);
	dispatch->inserter = atq_insert_begin(dispatch->task.durable);
	return dispatch;
}

/*
 * The queue, made when it is new, and locked against being dropped until the
 * transaction ends.  It may have been dropped while the lock was waited for;
 * then it is made anew.
 */
static AtqQueue *
hold_queue(Oid role, const char *name)
{
	for (;;)
	{
		int32		id = atq_registry_queue_ensure(role, name)->id;
		AtqQueue   *queue;

		atq_registry_queue_lock(id, AccessShareLock);
		queue = atq_registry_queue_named(role, name);
		if (queue != NULL && queue->id == id)
			return queue;
	}
}

static void
fill_task(AtqTask *task, const AtqHandler *handler,
		  const AtqDispatchOptions *options)
{
	task->task = pstrdup(handler->name);
	task->priority = options->has_priority ? options->priority :
		handler->priority;
	task->attempt = options->attempt;
	task->max_attempts = options->max_attempts;
	task->retry_delay_us = options->retry_delay_us;
	task->timeout_us = options->timeout_us;
	task->depth = atq_attempt_next_depth();
	task->dispatched_at = GetCurrentTimestamp();
	task->run_at = options->run_at > task->dispatched_at ?
		options->run_at : 0;
	task->correlation_id = options->correlation_id ?
		pstrdup(options->correlation_id) : NULL;
}

int64
atq_dispatch_task(AtqDispatch *dispatch, AtqSpan args)
{
	AtqTask    *task = &dispatch->task;

	atq_dispatch_check_args(args);
	task->id = atq_storage_next_id();
	task->args = args;
	atq_insert_task(dispatch->inserter, task);
	atq_notice_add(dispatch->role, task->queue_id, task->priority, task->id,
				   task->run_at);
	return task->id;
}

void
atq_dispatch_end(AtqDispatch *dispatch)
{
	atq_insert_end(dispatch->inserter);
	pfree(dispatch);
}

void
atq_dispatch_check_args(AtqSpan args)
{
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, args);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments of a task must be a map of names to values"),
				 errhint("Make it with asynctasq.args('name', value, ...) or give a JSON object.")));
	atq_msgpack_check(args);
}

int
atq_check_max_attempts(int value)
{
	if (value < 1 || value > ATQ_MAX_ATTEMPTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_attempts must be between 1 and %d",
						ATQ_MAX_ATTEMPTS),
				 errdetail("It is %d.", value)));
	return value;
}

TimestampTz
atq_check_delay(const Interval *value)
{
	int64		us = check_interval("delay", value);

	return us == 0 ? 0 : GetCurrentTimestamp() + us;
}

int64
atq_check_retry_delay(const Interval *value)
{
	return check_interval("retry_delay", value);
}

static int64
check_interval(const char *option, const Interval *value)
{
	int64		us = atq_interval_us(value);

	if (us < 0 || us > ATQ_MAX_INTERVAL_US)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 0 and 3650 days", option)));
	return us;
}

int64
atq_check_timeout(const Interval *value)
{
	int64		us = atq_interval_us(value);

	if (us < 1000 || us / 1000 > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be between 1 millisecond and 24 days")));
	return us;
}

PG_FUNCTION_INFO_V1(atq_sql_dispatch);

Datum
atq_sql_dispatch(PG_FUNCTION_ARGS)
{
	AtqDispatchOptions options;
	char	   *name = read_options(fcinfo, &options);
	AtqDispatch *dispatch;
	int64		id;

	atq_require_arg(fcinfo, ARG_ARGS, "args");
	dispatch = atq_dispatch_begin(name, &options);
	id = atq_dispatch_task(dispatch, ATQ_GETARG_MSGPACK(ARG_ARGS));
	atq_dispatch_end(dispatch);
	PG_RETURN_INT64(id);
}

PG_FUNCTION_INFO_V1(atq_sql_dispatch_many);

Datum
atq_sql_dispatch_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	AtqDispatchOptions options;
	char	   *name = read_options(fcinfo, &options);
	AtqDispatch *dispatch;
	ArrayType  *array;
	ArrayIterator iterator;
	Datum		value;
	bool		isnull;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	atq_require_arg(fcinfo, ARG_ARGS, "args");
	array = PG_GETARG_ARRAYTYPE_P(ARG_ARGS);
	dispatch = atq_dispatch_begin(name, &options);
	iterator = array_create_iterator(array, 0, NULL);
	while (array_iterate(iterator, &value, &isnull))
	{
		Datum		id;

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("args must not contain nulls")));
		id = Int64GetDatum(atq_dispatch_task(dispatch, atq_type_span(value)));
		isnull = false;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &id,
							 &isnull);
	}
	array_free_iterator(iterator);
	atq_dispatch_end(dispatch);
	return (Datum) 0;
}

/* Reads and checks all options; returns the handler's name. */
static char *
read_options(FunctionCallInfo fcinfo, AtqDispatchOptions *options)
{
	atq_dispatch_defaults(options);
	atq_require_arg(fcinfo, ARG_TASK, "task");
	if (!PG_ARGISNULL(ARG_QUEUE))
		options->queue = text_to_cstring(PG_GETARG_TEXT_PP(ARG_QUEUE));
	options->run_at = read_run_at(fcinfo);
	options->has_priority = !PG_ARGISNULL(ARG_PRIORITY);
	if (options->has_priority)
		options->priority = PG_GETARG_INT32(ARG_PRIORITY);
	if (!PG_ARGISNULL(ARG_MAX_ATTEMPTS))
		options->max_attempts =
			atq_check_max_attempts(PG_GETARG_INT32(ARG_MAX_ATTEMPTS));
	if (!PG_ARGISNULL(ARG_RETRY_DELAY))
		options->retry_delay_us =
			atq_check_retry_delay(PG_GETARG_INTERVAL_P(ARG_RETRY_DELAY));
	if (!PG_ARGISNULL(ARG_TIMEOUT))
		options->timeout_us =
			atq_check_timeout(PG_GETARG_INTERVAL_P(ARG_TIMEOUT));
	if (!PG_ARGISNULL(ARG_CORRELATION_ID))
		options->correlation_id =
			text_to_cstring(PG_GETARG_TEXT_PP(ARG_CORRELATION_ID));
	return text_to_cstring(PG_GETARG_TEXT_PP(ARG_TASK));
}

static TimestampTz
read_run_at(FunctionCallInfo fcinfo)
{
	TimestampTz run_at;

	if (!PG_ARGISNULL(ARG_DELAY) && !PG_ARGISNULL(ARG_RUN_AT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delay and run_at must not be given together")));
	if (!PG_ARGISNULL(ARG_RUN_AT))
	{
		run_at = PG_GETARG_TIMESTAMPTZ(ARG_RUN_AT);
		if (TIMESTAMP_NOT_FINITE(run_at))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("run_at must be finite")));
		return run_at;
	}
	if (PG_ARGISNULL(ARG_DELAY))
		return 0;
	return atq_check_delay(PG_GETARG_INTERVAL_P(ARG_DELAY));
}
