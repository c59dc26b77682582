/*-------------------------------------------------------------------------
 *
 * codec.c
 *	  Nanoseconds that the codec and jsonb's parser take, for bench/codec/run.
 *
 * A module of its own, linked with the extension's objects, for a server that
 * does not preload asynctasq.  Every function repeats one thing n times, in a
 * memory context that is reset each time, and returns nanoseconds for once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"

#include "task/handler.h"
#include "wire/datum.h"

PG_MODULE_MAGIC;

typedef struct Run
{
	AtqSpan		input;
	AtqTypeInfo *type;
	AtqHandler *handler;
	FmgrInfo	input_function;
	Oid			input_ioparam;
} Run;

static double measure(void (*once) (Run *), Run *run, int n);
static AtqSpan span_argument(FunctionCallInfo fcinfo, int i);

PG_FUNCTION_INFO_V1(bench_check);
PG_FUNCTION_INFO_V1(bench_decode);
PG_FUNCTION_INFO_V1(bench_call);
PG_FUNCTION_INFO_V1(bench_input);
PG_FUNCTION_INFO_V1(bench_handler);

static void
check_once(Run *run)
{
	atq_msgpack_check(run->input);
}

/* bench_check(payload bytea, n int): accepting bytes as a value. */
Datum
bench_check(PG_FUNCTION_ARGS)
{
	Run			run = {span_argument(fcinfo, 0)};

	PG_RETURN_FLOAT8(measure(check_once, &run, PG_GETARG_INT32(1)));
}

static void
decode_once(Run *run)
{
	bool		isnull;

	(void) atq_datum_decode(run->input, run->type, NULL, &isnull);
}

/* bench_decode(payload bytea, type regtype, n int): bytes to a SQL value. */
Datum
bench_decode(PG_FUNCTION_ARGS)
{
	Run			run = {span_argument(fcinfo, 0)};

	run.type = atq_datum_prepare(PG_GETARG_OID(1), -1, CurrentMemoryContext);
	PG_RETURN_FLOAT8(measure(decode_once, &run, PG_GETARG_INT32(2)));
}

static void
call_once(Run *run)
{
	AtqTask		task = {0};
	bool		called;

	task.args = run->input;
	atq_handler_call(run->handler, &task, NULL, &called);
}

/*
 * bench_call(payload bytea, function regprocedure, n int): all that stands
 * between a task's bytes and the return of its handler.
 */
Datum
bench_call(PG_FUNCTION_ARGS)
{
	Run			run = {span_argument(fcinfo, 0)};

	run.handler = palloc0(sizeof(AtqHandler));
	run.handler->name = "bench";
	run.handler->function = format_procedure_qualified(PG_GETARG_OID(1));
	PG_RETURN_FLOAT8(measure(call_once, &run, PG_GETARG_INT32(2)));
}

static void
input_once(Run *run)
{
	(void) InputFunctionCall(&run->input_function,
							 (char *) run->input.data,
							 run->input_ioparam, -1);
}

/* bench_input(text, type regtype, n int): a type's own input function. */
Datum
bench_input(PG_FUNCTION_ARGS)
{
	Run			run;
	Oid			function;

	run.input.data = text_to_cstring(PG_GETARG_TEXT_PP(0));
	getTypeInputInfo(PG_GETARG_OID(1), &function, &run.input_ioparam);
	fmgr_info(function, &run.input_function);
	PG_RETURN_FLOAT8(measure(input_once, &run, PG_GETARG_INT32(2)));
}

/* A handler that does nothing. */
Datum
bench_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_VOID();
}

/* The first time is not counted: it fills caches. */
static double
measure(void (*once) (Run *), Run *run, int n)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "bench",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	instr_time	start;
	instr_time	end;

	once(run);
	MemoryContextSwitchTo(context);
	INSTR_TIME_SET_CURRENT(start);
	for (int i = 0; i < n; i++)
	{
		once(run);
		MemoryContextReset(context);
	}
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return INSTR_TIME_GET_DOUBLE(end) * 1e9 / n;
}

static AtqSpan
span_argument(FunctionCallInfo fcinfo, int i)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(i);
	AtqSpan		span = {VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)};

	return span;
}
