/*-------------------------------------------------------------------------
 *
 * target.c
 *	  What a resolution has noted: models, and the keys of their rows.
 *
 * A task refers to few models, which are searched one by one; keys are indexed
 * by a hash where they are more than ATQ_FEW_ROWS.  All of it lives in the
 * resolution's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"

#include "task/target.h"
#include "wire/text.h"

/* An entry in its target's index. */
typedef struct EntryLink
{
	AtqSpan		key;
	AtqEntry   *entry;
} EntryLink;

/* For the error context of converting a key. */
typedef struct KeyContext
{
	const AtqTarget *target;
	AtqSpan		key;
} KeyContext;

static void look_up_model(AtqTarget *target, AtqSpan class_name);
static AtqModel *find_model(const char *orm, AtqSpan class_name);
static void index_entries(AtqResolution *resolution, AtqTarget *target);
static void index_entry(AtqTarget *target, AtqEntry *entry);
static uint32 hash_key(const void *key, Size size);
static int	match_key(const void *a, const void *b, Size size);
static bool lock_relation(AtqHeld *held, Oid relation, bool wait);
static void report_key(void *arg);

AtqTarget *
atq_target_find(AtqResolution *resolution, const AtqReference *reference,
				bool create)
{
	AtqTarget  *target;
	ListCell   *lc;

	foreach(lc, resolution->targets)
	{
		target = lfirst(lc);
		if (strcmp(target->orm, reference->orm) == 0 &&
			atq_text_is(reference->class_name, target->class_name))
			return target;
	}
	if (!create)
		return NULL;
	target = atq_target_make(reference);
	resolution->targets = lappend(resolution->targets, target);
	return target;
}

AtqTarget *
atq_target_make(const AtqReference *reference)
{
	AtqTarget  *target = palloc0(sizeof(AtqTarget));

	target->orm = reference->orm;
	target->class_name = pnstrdup(reference->class_name.data,
								  reference->class_name.len);
	look_up_model(target, reference->class_name);
	return target;
}

static void
look_up_model(AtqTarget *target, AtqSpan class_name)
{
	target->model = find_model(target->orm, class_name);
	target->generation = atq_registry_generation();
}

static AtqModel *
find_model(const char *orm, AtqSpan class_name)
{
	AtqModel   *model = atq_registry_model(orm, atq_text_import(class_name));

	if (model == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("model \"%s\" (%s) is not registered",
						atq_text_cstring(class_name), orm),
				 errhint("Register it with asynctasq.register_model().")));
	return model;
}

AtqEntry *
atq_target_entry(const AtqTarget *target, AtqSpan key)
{
	EntryLink  *link;
	ListCell   *lc;

	if (target->index != NULL)
	{
		link = hash_search(target->index, &key, HASH_FIND, NULL);
		return link ? link->entry : NULL;
	}
	foreach(lc, target->entries)
	{
		AtqEntry   *entry = lfirst(lc);

		if (match_key(&entry->key, &key, 0) == 0)
			return entry;
	}
	return NULL;
}

void
atq_target_add(AtqResolution *resolution, AtqTarget *target, AtqSpan key)
{
	AtqEntry   *entry = palloc0(sizeof(AtqEntry));

	entry->key = key;
	entry->number = list_length(target->entries);
	entry->ahead = resolution->offered;
	target->entries = lappend(target->entries, entry);
	if (target->index != NULL)
		index_entry(target, entry);
	else if (list_length(target->entries) > ATQ_FEW_ROWS)
		index_entries(resolution, target);
}

static void
index_entries(AtqResolution *resolution, AtqTarget *target)
{
	HASHCTL		ctl;
	ListCell   *lc;

	ctl.keysize = sizeof(AtqSpan);
	ctl.entrysize = sizeof(EntryLink);
	ctl.hash = hash_key;
	ctl.match = match_key;
	ctl.hcxt = resolution->context;
	target->index = hash_create("asynctasq references", 64, &ctl,
								HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								HASH_CONTEXT);
	foreach(lc, target->entries)
		index_entry(target, lfirst(lc));
}

static void
index_entry(AtqTarget *target, AtqEntry *entry)
{
	EntryLink  *link = hash_search(target->index, &entry->key, HASH_ENTER,
								   NULL);

	link->entry = entry;
}

static uint32
hash_key(const void *key, Size size)
{
	const AtqSpan *span = key;

	return hash_bytes((const unsigned char *) span->data, span->len);
}

static int
match_key(const void *a, const void *b, Size size)
{
	const AtqSpan *left = a;
	const AtqSpan *right = b;

	if (left->len != right->len)
		return 1;
	return memcmp(left->data, right->data, left->len);
}

bool
atq_target_lock(AtqTarget *target, bool wait)
{
	AtqSpan		name = {target->class_name, strlen(target->class_name)};
	Oid			relation;

	do
	{
		relation = target->model->relation;
		if (OidIsValid(relation) &&
			!lock_relation(&target->model->held, relation, wait))
			return false;
		if (target->generation == atq_registry_generation())
			return true;
		look_up_model(target, name);
	} while (target->model->relation != relation);
	return true;
}

static bool
lock_relation(AtqHeld *held, Oid relation, bool wait)
{
	if (atq_is_held(held, relation))
		return true;
	if (wait)
		LockRelationOid(relation, AccessShareLock);
	else if (!ConditionalLockRelationOid(relation, AccessShareLock))
		return false;
	atq_hold(held, relation);
	return true;
}

/* The model may have been registered anew while its lock was waited for. */
void
atq_target_check_place(const AtqTarget *target, bool elsewhere)
{
	if ((target->model->server != NULL) != elsewhere)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("model \"%s\" has been moved to another server",
						target->model->class_name)));
}

Datum *
atq_target_key_arrays(const AtqTarget *target, List *entries, int first, int n)
{
	AtqModelPlan *plan = target->plan;
	Datum	   *columns[ATQ_MAX_KEYS];
	Datum	   *arrays = palloc(sizeof(Datum) * plan->nkeys);

	for (int i = 0; i < plan->nkeys; i++)
		columns[i] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		AtqEntry   *entry = list_nth(entries, first + i);
		Datum		values[ATQ_MAX_KEYS];

		CHECK_FOR_INTERRUPTS();
		atq_target_read_keys(target, entry->key, values);
		for (int j = 0; j < plan->nkeys; j++)
			columns[j][i] = values[j];
	}
	for (int i = 0; i < plan->nkeys; i++)
	{
		AtqTypeInfo *type = plan->types[i];

		arrays[i] = PointerGetDatum(construct_array(columns[i], n, type->type,
													type->len, type->by_value,
													type->align));
	}
	return arrays;
}

void
atq_target_read_keys(const AtqTarget *target, AtqSpan key, Datum *values)
{
	AtqModelPlan *plan = target->plan;
	KeyContext	context = {target, key};
	ErrorContextCallback callback;
	AtqReader	reader;
	AtqToken	token;
	uint32		count = 1;

	atq_msgpack_open(&reader, key);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_NIL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reference to model \"%s\" has no key",
						target->model->class_name),
				 errhint("The object had not been saved when the task was dispatched.")));
	if (token.kind == ATQ_TOKEN_ARRAY)
		count = token.count;
	else
		atq_msgpack_open(&reader, key);
	if (count != plan->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key of a reference to model \"%s\" has %u values, but %d are needed",
						target->model->class_name, count, plan->nkeys)));

	callback.callback = report_key;
	callback.arg = &context;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	for (int i = 0; i < plan->nkeys; i++)
	{
		AtqReader	at = reader;

		atq_msgpack_next(&at, &token);
		if (token.kind == ATQ_TOKEN_NIL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("key of a reference to model \"%s\" contains nil",
							target->model->class_name)));
		values[i] = atq_datum_decode_key(atq_msgpack_skip(&reader),
										 plan->types[i]);
	}
	error_context_stack = callback.previous;
}

static void
report_key(void *arg)
{
	KeyContext *context = arg;

	errcontext("key %s of a reference to model \"%s\"",
			   atq_target_key_text(context->key),
			   context->target->model->class_name);
}

void
atq_target_refuse_ambiguous(const AtqTarget *target, AtqSpan key)
{
	ereport(ERROR,
			(errcode(ERRCODE_TOO_MANY_ROWS),
			 errmsg("model \"%s\" has more than one row with key %s",
					target->model->class_name, atq_target_key_text(key))));
}

char *
atq_target_key_text(AtqSpan key)
{
	StringInfoData buf;

	initStringInfo(&buf);
	atq_json_print(&buf, key);
	return buf.data;
}
