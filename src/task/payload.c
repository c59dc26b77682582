/*-------------------------------------------------------------------------
 *
 * payload.c
 *	  Tasks as the Python package asynctasq serialised them.
 *
 * A payload is a map with the keys "class", "params" and "metadata"
 * (docs/wire.md).  The handler's name is the class, or for a function task
 * its module and name.  What the metadata asks for (queue, attempts, delays)
 * is an option of the dispatch.  Nothing in a payload names a file to open:
 * "class_file" and "func_file" are skipped.
 *
 * The stored arguments are the params' own bytes.  A function task with
 * positional arguments is stored in the call form, a map of "__args__" and
 * "__kwargs__".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/argument.h"
#include "base/compat.h"
#include "store/registry.h"
#include "task/dispatch.h"
#include "wire/text.h"
#include "wire/type.h"

#define FUNCTION_TASK	"asynctasq.tasks.types.function_task.FunctionTask"

/* The parts of a payload; a span without data was not there. */
typedef struct Payload
{
	AtqSpan		class_name;
	AtqSpan		params;
	AtqSpan		metadata;
} Payload;

typedef struct Metadata
{
	AtqSpan		func_module;
	AtqSpan		func_name;
} Metadata;

typedef void (*PairVisitor) (const AtqToken *key, AtqSpan value, void *arg);

static void visit_map(AtqSpan map, const char *what, PairVisitor visit,
					  void *arg);
static void read_part(const AtqToken *key, AtqSpan value, void *arg);
static void read_function(const AtqToken *key, AtqSpan value, void *arg);
static void read_option(const AtqToken *key, AtqSpan value, void *arg);
static char *handler_name(const Payload *payload, bool *is_function);
static AtqSpan call_arguments(AtqSpan params);
static char *read_str(AtqSpan value, const char *what);
static bool read_seconds(AtqSpan value, const char *what, int64 *us);
static int	read_count(AtqSpan value, const char *what, int low, int high);
static void malformed(const char *what, const char *wanted)
			atq_noreturn;

PG_FUNCTION_INFO_V1(atq_sql_dispatch_payload);

Datum
atq_sql_dispatch_payload(PG_FUNCTION_ARGS)
{
	AtqDispatchOptions options;
	AtqDispatch *dispatch;
	Payload		payload = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
	AtqSpan		span;
	bool		is_function;
	char	   *name;
	int64		id;

	atq_require_arg(fcinfo, 0, "payload");
	span = atq_type_check_bytea(PG_GETARG_DATUM(0));
	visit_map(span, "outermost value", read_part, &payload);
	if (payload.class_name.data == NULL)
		malformed("class", "given");
	if (payload.params.data == NULL)
		malformed("params", "given");
	if (payload.metadata.data == NULL)
		malformed("metadata", "given");

	atq_dispatch_defaults(&options);
	visit_map(payload.metadata, "metadata", read_option, &options);
	if (options.max_attempts > 0)
		options.attempt = Min(options.attempt, options.max_attempts - 1);
	if (!PG_ARGISNULL(1))
		options.run_at = atq_check_delay(PG_GETARG_INTERVAL_P(1));
	name = handler_name(&payload, &is_function);
	if (is_function)
		payload.params = call_arguments(payload.params);
	dispatch = atq_dispatch_begin(name, &options);
	id = atq_dispatch_task(dispatch, payload.params);
	atq_dispatch_end(dispatch);
	PG_RETURN_INT64(id);
}

/* Calls visit with each pair of a map whose key is a str. */
static void
visit_map(AtqSpan map, const char *what, PairVisitor visit, void *arg)
{
	AtqReader	reader;
	AtqToken	token;
	uint32		count;

	atq_msgpack_open(&reader, map);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		malformed(what, "a map");
	count = token.count;
	for (uint32 i = 0; i < count; i++)
	{
		AtqSpan		value = atq_msgpack_pair(&reader, &token);

		if (token.kind == ATQ_TOKEN_STR)
			visit(&token, value, arg);
	}
}

static void
read_part(const AtqToken *key, AtqSpan value, void *arg)
{
	Payload    *payload = arg;

	if (atq_token_is(key, "class"))
		payload->class_name = value;
	else if (atq_token_is(key, "params"))
		payload->params = value;
	else if (atq_token_is(key, "metadata"))
		payload->metadata = value;
}

static char *
handler_name(const Payload *payload, bool *is_function)
{
	Metadata	metadata = {{NULL, 0}, {NULL, 0}};
	char	   *module;
	char	   *name;
	char	   *class_name = read_str(payload->class_name, "class");

	if (class_name == NULL)
		malformed("class", "a str");
	*is_function = strcmp(class_name, FUNCTION_TASK) == 0;
	if (!*is_function)
		return class_name;
	visit_map(payload->metadata, "metadata", read_function, &metadata);
	if (metadata.func_module.data == NULL)
		malformed("func_module", "given");
	if (metadata.func_name.data == NULL)
		malformed("func_name", "given");
	module = read_str(metadata.func_module, "func_module");
	name = read_str(metadata.func_name, "func_name");
	if (module == NULL || name == NULL)
		malformed("func_module and func_name", "a str");
	return psprintf("%s.%s", module, name);
}

static void
read_function(const AtqToken *key, AtqSpan value, void *arg)
{
	Metadata   *metadata = arg;

	if (atq_token_is(key, "func_module"))
		metadata->func_module = value;
	else if (atq_token_is(key, "func_name"))
		metadata->func_name = value;
}

static void
read_option(const AtqToken *key, AtqSpan value, void *arg)
{
	AtqDispatchOptions *options = arg;

	if (atq_token_is(key, "task_id"))
		options->correlation_id = read_str(value, "task_id");
	else if (atq_token_is(key, "queue"))
		options->queue = read_str(value, "queue");
	else if (atq_token_is(key, "current_attempt"))
		options->attempt = read_count(value, "current_attempt", 0,
									  ATQ_MAX_ATTEMPTS);
	else if (atq_token_is(key, "max_attempts"))
		options->max_attempts = read_count(value, "max_attempts", 1,
										   ATQ_MAX_ATTEMPTS);
	else if (atq_token_is(key, "retry_delay"))
		(void) read_seconds(value, "retry_delay", &options->retry_delay_us);
	else if (atq_token_is(key, "timeout"))
	{
		if (read_seconds(value, "timeout", &options->timeout_us) &&
			(options->timeout_us < 1000 ||
			 options->timeout_us / 1000 > PG_INT32_MAX))
			malformed("timeout",
					  "a number of seconds between 0.001 and 24 days");
	}
}

static void
read_params(const AtqToken *key, AtqSpan value, void *arg)
{
	AtqSpan    *parts = arg;

	if (atq_token_is(key, "args"))
		parts[0] = value;
	else if (atq_token_is(key, "kwargs"))
		parts[1] = value;
}

/* The params of a function task as they are stored. */
static AtqSpan
call_arguments(AtqSpan params)
{
	AtqSpan		parts[2] = {{NULL, 0}, {NULL, 0}};
	StringInfoData buf;
	AtqReader	reader;
	AtqToken	token;

	visit_map(params, "params", read_params, parts);
	if (parts[0].data == NULL || parts[1].data == NULL)
		malformed("params",
				  "a map of \"args\" and \"kwargs\"");
	atq_msgpack_open(&reader, parts[1]);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		malformed("kwargs", "a map");
	atq_msgpack_open(&reader, parts[0]);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_ARRAY)
		malformed("args", "an array");
	if (token.count == 0)
		return parts[1];

	initStringInfo(&buf);
	atq_pack_map(&buf, 2);
	atq_pack_str(&buf, "__args__", strlen("__args__"));
	appendBinaryStringInfo(&buf, parts[0].data, parts[0].len);
	atq_pack_str(&buf, "__kwargs__", strlen("__kwargs__"));
	appendBinaryStringInfo(&buf, parts[1].data, parts[1].len);
	return (AtqSpan)
	{
		buf.data, buf.len
	};
}

/* A str as a C string in the server's encoding; nil is NULL. */
static char *
read_str(AtqSpan value, const char *what)
{
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_NIL)
		return NULL;
	if (token.kind != ATQ_TOKEN_STR)
		malformed(what, "a str");
	return atq_text_cstring(token.v.bytes);
}

/* A number of seconds as microseconds; false, and no change, when nil. */
static bool
read_seconds(AtqSpan value, const char *what, int64 *us)
{
	AtqReader	reader;
	AtqToken	token;
	double		seconds;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_NIL)
		return false;
	if (token.kind == ATQ_TOKEN_INT)
		seconds = (double) token.v.i;
	else if (token.kind == ATQ_TOKEN_FLOAT)
		seconds = token.v.f;
	else
		malformed(what, "a number of seconds");
	if (!(seconds >= 0 && seconds <= ATQ_MAX_INTERVAL_US / USECS_PER_SEC))
		malformed(what, "a number of seconds between 0 and 3650 days");
	*us = (int64) (seconds * USECS_PER_SEC);
	return true;
}

static int
read_count(AtqSpan value, const char *what, int low, int high)
{
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_INT || token.v.i < low || token.v.i > high)
		malformed(what, psprintf("a whole number between %d and %d", low,
								 high));
	return (int) token.v.i;
}

static void
malformed(const char *what, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("payload is not a task of the Python package asynctasq"),
			 errdetail("Its %s must be %s.", what, wanted)));
}
