/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  Calling a handler function with a task's arguments.
 *
 * A handler is stored as a qualified signature and resolved when it is first
 * called: a call (HandlerCall) holds the function's lookup data, its
 * parameters and what decoding to their types needs.  It hangs on the
 * registry entry and goes with it when a function, a schema, a role or the
 * registration changes.
 *
 * Arguments are bound to parameters by name, or by position where the task
 * came from Python with positional arguments (the call form, see payload.c).
 * Binding first finds the bytes of each argument, then notes and reads the
 * rows that they refer to, all at once, and then decodes.  References in an
 * argument for a parameter of type msgpack are left alone.
 *
 * A batch is bound in the same way, one task after the other; each parameter
 * then gets an array of what the tasks have for it, NULLs included.
 *
 * Everything runs as the current user, and the privilege to execute is
 * checked at each call.
 *
 * Memory: the call lives in the registry's context; arguments and rows live
 * in the caller's, which is the task's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "pgstat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "task/handler.h"
#include "task/resolve.h"
#include "wire/text.h"
#include "wire/type.h"

typedef struct HandlerCall
{
	Oid			function;
	FmgrInfo	flinfo;
	Oid			result_type;
	int			nparams;
	char	  **names;			/* NULL where a parameter has none */
	AtqTypeInfo **types;
	int			ndefaults;		/* of the last parameters */
	List	   *defaults;		/* expressions */
	AtqAllowed	allowed;		/* to execute it */
} HandlerCall;

/* Where the arguments of a task are. */
typedef struct Binding
{
	const AtqHandler *handler;
	const HandlerCall *call;
	bool		whole;			/* one jsonb parameter takes them all */
	AtqSpan		spans[FLEXIBLE_ARRAY_MEMBER];	/* of the parameters; no data:
												 * not given */
} Binding;

typedef struct ArgumentContext
{
	const AtqHandler *handler;
	const char *name;
	int			position;
} ArgumentContext;

static char *check_function(Oid function, Oid role, const char *what);
static void check_parameters(Form_pg_proc proc, const char *what);
static void check_hook(Oid function, const char *what, Oid result_type);
static HandlerCall *get_call(AtqHandler *handler);
static HandlerCall *make_call(const AtqHandler *handler,
							  MemoryContext context);
static Oid	find_function(const AtqHandler *handler, const char *signature);
static void read_parameters(HandlerCall *call, HeapTuple tuple,
							MemoryContext context);
static void check_execute(HandlerCall *call);
static Size binding_size(const HandlerCall *call);
static void bind_arguments(Binding *binding, AtqSpan args);
static void bind_call_form(Binding *binding, AtqReader *reader);
static void bind_positional(Binding *binding, AtqSpan array);
static void bind_named(Binding *binding, AtqSpan map);
static int	find_parameter(const HandlerCall *call, AtqSpan name);
static void set_span(Binding *binding, int param, AtqSpan value);
static void surplus_argument(const Binding *binding, AtqSpan name)
			atq_noreturn;
static void missing_argument(const Binding *binding, int param)
			atq_noreturn;
static AtqTypeInfo *parameter_type(const Binding *binding, int param);
static bool takes_whole(const Binding *binding, AtqSpan args);
static bool decode_arguments(const Binding *binding, const AtqTask *task,
							 FunctionCallInfo fcinfo);
static void decode_argument(const Binding *binding, AtqSpan args, int param,
							const AtqResolver *resolver,
							NullableDatum *result);
static void note_references(const Binding *binding, const AtqTask *task,
							AtqResolution *resolution);
static bool decode_batch(Binding **bindings, const AtqTask **tasks, int n,
						 FunctionCallInfo fcinfo);
static Datum decode_array(Binding **bindings, const AtqTask **tasks, int n,
						  int param, const AtqResolver *resolver);
static Datum call_function(FunctionCallInfo fcinfo, bool fresh);
static void split_results(Oid type, Datum value, bool isnull, int n,
						  Jsonb **results);
static void evaluate_default(const HandlerCall *call, int param,
							 NullableDatum *result);
static void report_argument(void *arg);
static Datum invoke(FunctionCallInfo fcinfo);
static Jsonb *result_json(Oid type, Datum value, bool isnull);
static void check_encoding(Oid type, Datum value, Jsonb *json);
static Datum call_hook(const AtqHandler *handler, const char *signature,
					   Jsonb *task, Jsonb *error, bool *isnull);

char *
atq_handler_check(Oid function, Oid role)
{
	return check_function(function, role, "handler");
}

char *
atq_handler_check_should_retry(Oid function, Oid role)
{
	char	   *signature = check_function(function, role, "should_retry");

	check_hook(function, "should_retry", BOOLOID);
	return signature;
}

char *
atq_handler_check_on_failure(Oid function, Oid role)
{
	char	   *signature = check_function(function, role, "on_failure");

	check_hook(function, "on_failure", VOIDOID);
	return signature;
}

static char *
check_function(Oid function, Oid role, const char *what)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset ||
		proc->prorettype == TRIGGEROID ||
		proc->prorettype == EVENT_TRIGGEROID)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function %s cannot be used as %s",
						format_procedure(function), what),
				 errdetail("Aggregates, window functions, procedures, trigger functions and functions that return a set cannot.")));
	check_parameters(proc, what);
	if (atq_function_aclcheck(function, role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s",
						NameStr(proc->proname)),
				 errdetail("Role \"%s\", which is to call it, may not execute it.",
						   GetUserNameFromId(role, false))));
	ReleaseSysCache(tuple);
	return format_procedure_qualified(function);
}

static void
check_parameters(Form_pg_proc proc, const char *what)
{
	for (int i = 0; i <= proc->pronargs; i++)
	{
		bool		is_result = i == proc->pronargs;
		Oid			type = is_result ? proc->prorettype :
			proc->proargtypes.values[i];

		if (get_typtype(type) != TYPTYPE_PSEUDO)
			continue;
		if (is_result && (type == VOIDOID || type == RECORDOID))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot be used as %s",
						format_procedure(proc->oid), what),
				 errdetail("Type %s cannot be the type of its parameters or result.",
						   format_type_be(type))));
	}
}

static void
check_hook(Oid function, const char *what, Oid result_type)
{
	Oid		   *types;
	int			n;
	Oid			result = get_func_signature(function, &types, &n);

	if (n != 2 || types[0] != JSONBOID || types[1] != JSONBOID ||
		result != result_type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot be used as %s",
						format_procedure(function), what),
				 errdetail("It must be (task jsonb, error jsonb) and return %s.",
						   format_type_be(result_type))));
}

void
atq_handler_check_batch(Oid function)
{
	Oid		   *types;
	int			n;

	(void) get_func_signature(function, &types, &n);
	for (int i = 0; i < n; i++)
	{
		if (!OidIsValid(atq_datum_element_type(getBaseType(types[i]))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
					 errmsg("function %s cannot be used as handler of batches",
							format_procedure(function)),
					 errdetail("Its parameters must be arrays, with an element for each task; %s is none.",
							   format_type_be(types[i]))));
	}
}

void
atq_handler_call(AtqHandler *handler, const AtqTask *task, Jsonb **result,
				 bool *called)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	HandlerCall *call = get_call(handler);
	Oid			result_type = call->result_type;
	Binding    *binding = palloc0(binding_size(call));
	bool		fresh;
	Datum		value;

	check_execute(call);
	binding->handler = handler;
	binding->call = call;
	InitFunctionCallInfoData(*fcinfo, &call->flinfo, call->nparams,
							 DEFAULT_COLLATION_OID, NULL, NULL);
	bind_arguments(binding, task->args);
	fresh = decode_arguments(binding, task, fcinfo);

	*called = true;
	value = call_function(fcinfo, fresh);
	if (result != NULL)
		*result = result_json(result_type, value, fcinfo->isnull);
	PopActiveSnapshot();
}

void
atq_handler_note(AtqHandler *handler, const AtqTask *task,
				 AtqResolution *resolution)
{
	HandlerCall *call = get_call(handler);
	Binding    *binding = palloc0(binding_size(call));

	check_execute(call);
	binding->handler = handler;
	binding->call = call;
	bind_arguments(binding, task->args);
	note_references(binding, task, resolution);
}

void
atq_handler_call_batch(AtqHandler *handler, const AtqTask **tasks, int n,
					   Jsonb **results, bool *called)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	HandlerCall *call = get_call(handler);
	Oid			result_type = call->result_type;
	Binding   **bindings = palloc(n * sizeof(Binding *));
	bool		fresh;
	Datum		value;

	check_execute(call);
	for (int i = 0; i < n; i++)
	{
		bindings[i] = palloc0(binding_size(call));
		bindings[i]->handler = handler;
		bindings[i]->call = call;
		bind_arguments(bindings[i], tasks[i]->args);
	}
	InitFunctionCallInfoData(*fcinfo, &call->flinfo, call->nparams,
							 DEFAULT_COLLATION_OID, NULL, NULL);
	fresh = decode_batch(bindings, tasks, n, fcinfo);

	*called = true;
	value = call_function(fcinfo, fresh);
	if (results != NULL)
		split_results(result_type, value, fcinfo->isnull, n, results);
	PopActiveSnapshot();
}

/*
 * Calls the function, unless it is strict and an argument null: then its
 * result is null.  It is called under the active snapshot if the arguments are
 * of that one and nothing was written since, else under a new one in its place.
 */
static Datum
call_function(FunctionCallInfo fcinfo, bool fresh)
{
	bool		skip = false;

	for (int i = 0; i < fcinfo->nargs && fcinfo->flinfo->fn_strict; i++)
		skip |= fcinfo->args[i].isnull;
	fcinfo->isnull = true;
	CommandCounterIncrement();
	if (!fresh || GetActiveSnapshot()->curcid != GetCurrentCommandId(false))
	{
		PopActiveSnapshot();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	return skip ? (Datum) 0 : invoke(fcinfo);
}

/* The handler's call, made in a context of its own until it is complete. */
static HandlerCall *
get_call(AtqHandler *handler)
{
	MemoryContext context;
	HandlerCall *call;

	if (handler->call != NULL)
		return handler->call;
	context = AllocSetContextCreate(CurrentMemoryContext,
									"asynctasq handler",
									ALLOCSET_SMALL_SIZES);
	call = make_call(handler, context);
	MemoryContextSetParent(context, GetMemoryChunkContext(handler));
	handler->call = call;
	return call;
}

static HandlerCall *
make_call(const AtqHandler *handler, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	HandlerCall *call = palloc0(sizeof(HandlerCall));
	HeapTuple	tuple;

	call->function = find_function(handler, handler->function);
	(void) check_function(call->function, GetUserId(), "handler");
	if (handler->batch_size > 0)
		atq_handler_check_batch(call->function);
	fmgr_info_cxt(call->function, &call->flinfo, context);
	fmgr_info_set_expr((Node *) makeFuncExpr(call->function,
											 get_func_rettype(call->function),
											 NIL, InvalidOid,
											 DEFAULT_COLLATION_OID,
											 COERCE_EXPLICIT_CALL),
					   &call->flinfo);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->function);
	read_parameters(call, tuple, context);
	ReleaseSysCache(tuple);
	MemoryContextSwitchTo(old);
	return call;
}

/* to_regprocedure() checks the privilege to use the schema. */
static Oid
find_function(const AtqHandler *handler, const char *signature)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		function;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(signature);
	fcinfo->args[0].isnull = false;
	function = to_regprocedure(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s of handler \"%s\" does not exist",
						signature, handler->name),
				 errhint("Create it, or register the handler again.")));
	return DatumGetObjectId(function);
}

static void
read_parameters(HandlerCall *call, HeapTuple tuple, MemoryContext context)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	Datum		names;
	Datum		modes;
	Datum		defaults;
	bool		no_names;
	bool		no_modes;
	bool		no_defaults;
	char	  **found = NULL;

	call->result_type = proc->prorettype;
	call->nparams = proc->pronargs;
	call->names = palloc0(sizeof(char *) * (call->nparams + 1));
	call->types = palloc(sizeof(AtqTypeInfo *) * (call->nparams + 1));
	names = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargnames,
							&no_names);
	modes = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargmodes,
							&no_modes);
	if (!no_names)
		(void) get_func_input_arg_names(names, no_modes ? (Datum) 0 : modes,
										&found);
	for (int i = 0; i < call->nparams; i++)
	{
		if (found != NULL && found[i] != NULL && found[i][0] != '\0')
			call->names[i] = found[i];
		call->types[i] = atq_datum_prepare(proc->proargtypes.values[i], -1,
										   context);
	}
	call->ndefaults = proc->pronargdefaults;
	defaults = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargdefaults,
							   &no_defaults);
	if (!no_defaults)
		call->defaults = castNode(List, stringToNode(TextDatumGetCString(defaults)));
}

static void
check_execute(HandlerCall *call)
{
	AtqAllowed	now;
	AclResult	result;

	if (atq_registry_still_allowed(&call->allowed, &now))
		return;
	result = atq_function_aclcheck(call->function, now.user);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(call->function));
	call->allowed = now;
}

static Size
binding_size(const HandlerCall *call)
{
	return offsetof(Binding, spans) + call->nparams * sizeof(AtqSpan);
}

/*
 * Finds the bytes of each argument.  The arguments are a map, or the call
 * form: a map of "__args__" and "__kwargs__".
 */
static void
bind_arguments(Binding *binding, AtqSpan args)
{
	AtqReader	reader;
	AtqReader	at;
	AtqToken	token;

	atq_msgpack_open(&reader, args);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_MAP && token.count == 2)
	{
		at = reader;
		atq_msgpack_next(&at, &token);
		if (token.kind == ATQ_TOKEN_STR && atq_token_is(&token, "__args__"))
		{
			bind_call_form(binding, &reader);
			return;
		}
	}
	if (takes_whole(binding, args))
		binding->whole = true;
	else
		bind_named(binding, args);
}

static void
bind_call_form(Binding *binding, AtqReader *reader)
{
	AtqSpan		positional;
	AtqToken	token;
	AtqReader	keys;

	(void) atq_msgpack_skip(reader);
	positional = atq_msgpack_skip(reader);
	keys = *reader;
	atq_msgpack_next(&keys, &token);
	if (token.kind != ATQ_TOKEN_STR || !atq_token_is(&token, "__kwargs__"))
		surplus_argument(binding, atq_msgpack_skip(reader));
	bind_positional(binding, positional);
	bind_named(binding, atq_msgpack_skip(&keys));
}

static void
bind_positional(Binding *binding, AtqSpan array)
{
	AtqReader	reader;
	AtqToken	token;
	uint32		count;

	atq_msgpack_open(&reader, array);
	atq_msgpack_next(&reader, &token);
	count = token.count;
	if (token.kind != ATQ_TOKEN_ARRAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("positional arguments of handler \"%s\" are not an array",
						binding->handler->name)));
	if (count > binding->call->nparams)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler \"%s\" takes %d arguments, but %u were given by position",
						binding->handler->name, binding->call->nparams,
						count)));
	for (uint32 i = 0; i < count; i++)
		set_span(binding, i, atq_msgpack_skip(&reader));
}

static void
bind_named(Binding *binding, AtqSpan map)
{
	AtqReader	reader;
	AtqToken	token;
	uint32		count;

	atq_msgpack_open(&reader, map);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments of handler \"%s\" are not a map",
						binding->handler->name)));
	count = token.count;
	for (uint32 i = 0; i < count; i++)
	{
		AtqReader	start = reader;
		AtqSpan		value = atq_msgpack_pair(&reader, &token);
		int			param = -1;

		if (token.kind == ATQ_TOKEN_STR)
			param = find_parameter(binding->call, token.v.bytes);
		if (param < 0)
			surplus_argument(binding, atq_msgpack_skip(&start));
		set_span(binding, param, value);
	}
}

/* The parameter of that name, given in UTF-8; -1 when there is none. */
static int
find_parameter(const HandlerCall *call, AtqSpan name)
{
	AtqSpan		local = atq_text_import(name);

	for (int i = 0; i < call->nparams; i++)
	{
		if (call->names[i] != NULL &&
			strlen(call->names[i]) == local.len &&
			memcmp(call->names[i], local.data, local.len) == 0)
			return i;
	}
	return -1;
}

static const char *
parameter_name(const HandlerCall *call, int param)
{
	return call->names[param] ? call->names[param] :
		psprintf("%d", param + 1);
}

static void
set_span(Binding *binding, int param, AtqSpan value)
{
	if (binding->spans[param].data != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" of handler \"%s\" is given twice",
						parameter_name(binding->call, param),
						binding->handler->name)));
	binding->spans[param] = value;
}

static void
surplus_argument(const Binding *binding, AtqSpan name)
{
	StringInfoData text;
	StringInfoData list;

	initStringInfo(&text);
	atq_json_print(&text, name);
	initStringInfo(&list);
	for (int i = 0; i < binding->call->nparams; i++)
		appendStringInfo(&list, "%s\"%s\"", i == 0 ? "" : ", ",
						 parameter_name(binding->call, i));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("handler \"%s\" has no parameter %s",
					binding->handler->name, text.data),
			 binding->call->nparams == 0 ?
			 errhint("It has no parameters.") :
			 errhint("Its parameters are %s.", list.data)));
}

static void
missing_argument(const Binding *binding, int param)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" of handler \"%s\" is missing",
					parameter_name(binding->call, param),
					binding->handler->name)));
}

/* The type of one task's value: in a batch, of the array's elements. */
static AtqTypeInfo *
parameter_type(const Binding *binding, int param)
{
	AtqTypeInfo *type = binding->call->types[param];

	return binding->handler->batch_size > 0 ? type->element : type;
}

/* One parameter of type jsonb takes all arguments, unless one bears its name. */
static bool
takes_whole(const Binding *binding, AtqSpan args)
{
	const HandlerCall *call = binding->call;
	AtqReader	reader;
	AtqToken	token;
	uint32		count;

	if (call->nparams != 1 || parameter_type(binding, 0)->type != JSONBOID)
		return false;
	atq_msgpack_open(&reader, args);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		return false;
	count = token.count;
	for (uint32 i = 0; i < count; i++)
	{
		(void) atq_msgpack_pair(&reader, &token);
		if (token.kind == ATQ_TOKEN_STR &&
			find_parameter(call, token.v.bytes) == 0)
			return false;
	}
	return true;
}

/*
 * Reads the rows that the arguments refer to, and decodes the arguments, under
 * a snapshot that stays active; false where they may show what it does not.
 */
static bool
decode_arguments(const Binding *binding, const AtqTask *task,
				 FunctionCallInfo fcinfo)
{
	AtqResolution *resolution = atq_resolve_begin(binding->handler->lock);
	const AtqResolver *resolver = atq_resolve_resolver(resolution);
	bool		fresh;

	note_references(binding, task, resolution);
	fresh = atq_resolve_fetch(resolution);
	for (int i = 0; i < binding->call->nparams; i++)
		decode_argument(binding, task->args, i, resolver, &fcinfo->args[i]);
	return fresh;
}

/* The same for a batch, with the rows of all its tasks read at once. */
static bool
decode_batch(Binding **bindings, const AtqTask **tasks, int n,
			 FunctionCallInfo fcinfo)
{
	AtqResolution *resolution = atq_resolve_begin(bindings[0]->handler->lock);
	const AtqResolver *resolver = atq_resolve_resolver(resolution);
	bool		fresh;

	for (int i = 0; i < n; i++)
		note_references(bindings[i], tasks[i], resolution);
	fresh = atq_resolve_fetch(resolution);
	for (int i = 0; i < fcinfo->nargs; i++)
	{
		fcinfo->args[i].value = decode_array(bindings, tasks, n, i, resolver);
		fcinfo->args[i].isnull = false;
	}
	return fresh;
}

static Datum
decode_array(Binding **bindings, const AtqTask **tasks, int n, int param,
			 const AtqResolver *resolver)
{
	AtqTypeInfo *array = bindings[0]->call->types[param];
	const AtqTypeInfo *element = array->element;
	Datum		result;
	Datum	   *values = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	int			dims[1] = {n};
	int			lower[1] = {1};

	for (int i = 0; i < n; i++)
	{
		NullableDatum value;

		CHECK_FOR_INTERRUPTS();
		if (!bindings[i]->whole && bindings[i]->spans[param].data == NULL)
			missing_argument(bindings[i], param);
		decode_argument(bindings[i], tasks[i]->args, param, resolver, &value);
		values[i] = value.value;
		nulls[i] = value.isnull;
	}
	result = PointerGetDatum(construct_md_array(values, nulls, 1, dims, lower,
												array->element_type,
												element->len,
												element->by_value,
												element->align));
	atq_datum_check_domain(result, false, array);
	return result;
}

static void
note_references(const Binding *binding, const AtqTask *task,
				AtqResolution *resolution)
{
	if (binding->whole)
	{
		atq_resolve_note(resolution, task->args, task->ahead);
		return;
	}
	for (int i = 0; i < binding->call->nparams; i++)
	{
		if (binding->spans[i].data != NULL &&
			!parameter_type(binding, i)->is_msgpack)
			atq_resolve_note(resolution, binding->spans[i], task->ahead);
	}
}

static void
decode_argument(const Binding *binding, AtqSpan args, int param,
				const AtqResolver *resolver, NullableDatum *result)
{
	const HandlerCall *call = binding->call;
	ArgumentContext context = {binding->handler, call->names[param],
	param + 1};
	ErrorContextCallback callback;

	if (binding->whole)
	{
		result->value = JsonbPGetDatum(atq_json_plain(args, resolver->json,
													  resolver->arg));
		result->isnull = false;
		return;
	}
	if (binding->spans[param].data == NULL)
	{
		if (param < call->nparams - call->ndefaults)
			missing_argument(binding, param);
		evaluate_default(call, param, result);
		return;
	}
	callback.callback = report_argument;
	callback.arg = &context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	result->value = atq_datum_decode(binding->spans[param],
									 parameter_type(binding, param),
									 resolver, &result->isnull);
	error_context_stack = callback.previous;
}

static void
evaluate_default(const HandlerCall *call, int param, NullableDatum *result)
{
	AtqTypeInfo *type = call->types[param];
	EState	   *estate = CreateExecutorState();
	Expr	   *expression = list_nth(call->defaults,
									  param - (call->nparams - call->ndefaults));
	ExprState  *state = ExecPrepareExpr(expression, estate);
	Datum		value;

	value = ExecEvalExprSwitchContext(state, GetPerTupleExprContext(estate),
									  &result->isnull);
	result->value = result->isnull ? (Datum) 0 :
		datumCopy(value, type->by_value, type->len);
	FreeExecutorState(estate);
}

static void
report_argument(void *arg)
{
	ArgumentContext *context = arg;

	if (context->name != NULL)
		errcontext("argument \"%s\" of handler \"%s\"", context->name,
				   context->handler->name);
	else
		errcontext("argument %d of handler \"%s\"", context->position,
				   context->handler->name);
}

static Datum
invoke(FunctionCallInfo fcinfo)
{
	PgStat_FunctionCallUsage usage;
	Datum		value;

	fcinfo->isnull = false;
	pgstat_init_function_usage(fcinfo, &usage);
	value = FunctionCallInvoke(fcinfo);
	pgstat_end_function_usage(&usage, true);
	return value;
}

static Jsonb *
result_json(Oid type, Datum value, bool isnull)
{
	Jsonb	   *json;

	if (isnull || type == VOIDOID)
	{
		JsonbValue	null;

		null.type = jbvNull;
		return JsonbValueToJsonb(&null);
	}
	json = atq_datum_jsonb(value, type);
	check_encoding(type, value, json);
	return json;
}

/*
 * A function in C may return what is no text.  Kept, it would make a dump that
 * cannot be restored.  JSON of a text ends at a zero byte.
 */
static void
check_encoding(Oid type, Datum value, Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	item;

	if (getBaseType(type) == TEXTOID)
	{
		text	   *string = DatumGetTextPP(value);

		(void) pg_verifymbstr(VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string),
							  false);
	}
	while ((token = JsonbIteratorNext(&it, &item, false)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if ((token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM) &&
			item.type == jbvString)
			(void) pg_verifymbstr(item.val.string.val, item.val.string.len,
								  false);
	}
}

/* What each task of a batch returned. */
static void
split_results(Oid type, Datum value, bool isnull, int n, Jsonb **results)
{
	Oid			element = get_element_type(getBaseType(type));
	int16		len;
	bool		by_value;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	if (isnull || !OidIsValid(element))
	{
		for (int i = 0; i < n; i++)
			results[i] = result_json(type, value, isnull);
		return;
	}
	get_typlenbyvalalign(element, &len, &by_value, &align);
	deconstruct_array(DatumGetArrayTypeP(value), element, len, by_value,
					  align, &values, &nulls, &count);
	if (count != n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler returned %d results for a batch of %d tasks",
						count, n)));
	for (int i = 0; i < n; i++)
		results[i] = result_json(element, values[i], nulls[i]);
}

bool
atq_handler_should_retry(AtqHandler *handler, Jsonb *task, Jsonb *error)
{
	bool		isnull;
	Datum		value = call_hook(handler, handler->should_retry, task, error,
								  &isnull);

	return isnull || DatumGetBool(value);
}

void
atq_handler_on_failure(AtqHandler *handler, Jsonb *task, Jsonb *error)
{
	bool		isnull;

	(void) call_hook(handler, handler->on_failure, task, error, &isnull);
}

static Datum
call_hook(const AtqHandler *handler, const char *signature, Jsonb *task,
		  Jsonb *error, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo	flinfo;
	Oid			function = find_function(handler, signature);
	Datum		value;

	(void) check_function(function, GetUserId(), "hook of a handler");
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 2, DEFAULT_COLLATION_OID,
							 NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(task);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(error);
	fcinfo->args[1].isnull = false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	value = invoke(fcinfo);
	PopActiveSnapshot();
	*isnull = fcinfo->isnull;
	return value;
}
