/*-------------------------------------------------------------------------
 *
 * each.c
 *	  dispatch_each(): a task for each row of a query set.
 *
 * Only the rows' keys are read, and each row's task is inserted before the next
 * is looked at: a million rows take no more memory than one, or than two chunks
 * where they come from another server.  The arguments of all tasks begin with the same bytes, which
 * are written once: what was given, with the parameter's name; behind them
 * comes the row's reference.
 *
 * Memory: all lives in the caller's context but what a row needs, which is in
 * a context of its own, emptied with each row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/argument.h"
#include "query/remoterows.h"
#include "task/dispatch.h"
#include "wire/reference.h"
#include "wire/text.h"
#include "wire/type.h"

typedef struct Each
{
	AtqDispatch *dispatch;
	const AtqQueryModel *model;
	Relation	rel;			/* the model's */
	StringInfoData args;		/* of the task at hand */
	int			shared;			/* bytes of it that are the same for all */
	MemoryContext row_context;
	int64		count;
} Each;

/* Positions of the arguments of dispatch_each(). */
enum
{
	ARG_TASK = 0, ARG_QUERYSET, ARG_PARAMETER, ARG_ARGS
};

static Datum dispatch_each(FunctionCallInfo fcinfo);
static void check_nulls(FunctionCallInfo fcinfo);
static void begin_args(Each *each, AtqSpan args, const char *parameter);
static AtqReader find_names(AtqSpan args);
static bool dispatch_row(const Datum *values, const bool *nulls, void *arg);

ATQ_QUERY_FUNCTION(atq_sql_dispatch_each, dispatch_each);

static Datum
dispatch_each(FunctionCallInfo fcinfo)
{
	AtqDispatchOptions options;
	AtqQuery   *query;
	Each		each = {0};

	check_nulls(fcinfo);
	begin_args(&each, ATQ_GETARG_MSGPACK(ARG_ARGS),
			   text_to_cstring(PG_GETARG_TEXT_PP(ARG_PARAMETER)));
	each.row_context = AllocSetContextCreate(CurrentMemoryContext,
											 "asynctasq dispatch_each",
											 ALLOCSET_DEFAULT_SIZES);
	atq_dispatch_defaults(&options);
	each.dispatch =
		atq_dispatch_begin(text_to_cstring(PG_GETARG_TEXT_PP(ARG_TASK)),
						   &options);
	query = atq_query_compile(ATQ_GETARG_QUERYSET(ARG_QUERYSET),
							  ATQ_QUERY_KEYS);
	each.model = query->model;
	each.rel = relation_open(query->model->model->relation, NoLock);
	if (query->server == NULL)
		atq_query_run(query, dispatch_row, &each);
	else
		atq_remoterows_stream(query, dispatch_row, &each);
	relation_close(each.rel, NoLock);
	atq_dispatch_end(each.dispatch);
	PG_RETURN_INT64(each.count);
}

static void
check_nulls(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"task", "qs", "parameter", "args"};

	for (int i = 0; i < lengthof(names); i++)
		atq_require_arg(fcinfo, i, names[i]);
}

/*
 * Writes what the arguments of all tasks begin with.  They are checked with
 * nil for the reference: a name that is given twice is found without a row.
 */
static void
begin_args(Each *each, AtqSpan args, const char *parameter)
{
	StringInfo	buf = &each->args;
	AtqReader	reader;
	AtqToken	token;

	atq_dispatch_check_args(args);
	reader = find_names(args);
	initStringInfo(buf);
	appendBinaryStringInfo(buf, args.data, (int) reader.off);
	atq_msgpack_next(&reader, &token);
	atq_pack_map(buf, token.count + 1);
	appendBinaryStringInfo(buf, args.data + reader.off,
						   (int) (args.len - reader.off));
	atq_text_pack(buf, parameter, strlen(parameter));
	each->shared = buf->len;
	atq_pack_nil(buf);
	atq_msgpack_check((AtqSpan) {
		buf->data, buf->len
	});
}

/*
 * A reader at the map of arguments by name, which ends where the arguments
 * end: they themselves, or "__kwargs__" in the call form (see payload.c).
 */
static AtqReader
find_names(AtqSpan args)
{
	AtqReader	whole;
	AtqReader	reader;
	AtqReader	names;
	AtqToken	token;

	atq_msgpack_open(&whole, args);
	reader = whole;
	atq_msgpack_next(&reader, &token);
	if (token.count != 2)
		return whole;
	atq_msgpack_next(&reader, &token);
	if (!atq_token_is(&token, "__args__"))
		return whole;
	(void) atq_msgpack_skip(&reader);
	atq_msgpack_next(&reader, &token);
	names = reader;
	if (!atq_token_is(&token, "__kwargs__"))
		return whole;
	atq_msgpack_next(&reader, &token);
	return token.kind == ATQ_TOKEN_MAP ? names : whole;
}

static bool
dispatch_row(const Datum *values, const bool *nulls, void *arg)
{
	Each	   *each = arg;
	const AtqQueryModel *model = each->model;
	MemoryContext old = MemoryContextSwitchTo(each->row_context);
	StringInfoData key;

	initStringInfo(&key);
	atq_relkey_pack(&key, each->rel, model->nkeys, model->keys, values,
					nulls);
	each->args.len = each->shared;
	atq_reference_pack(&each->args, model->model->orm,
					   model->model->class_name, (AtqSpan) {
						   key.data, key.len
					   });
	(void) atq_dispatch_task(each->dispatch, (AtqSpan) {
		each->args.data, each->args.len
	});
	each->count++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(each->row_context);
	return true;
}
