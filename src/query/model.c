/*-------------------------------------------------------------------------
 *
 * model.c
 *	  The model of a query set, ready to be used.
 *
 * Its relation is locked before it is looked at, and the model looked up once
 * more: nothing is done to the relation between compiling a query set and
 * running its statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"

#include "query/field.h"
#include "query/model.h"
#include "store/trust.h"

/* ORMs in which a class without one is looked for; the last has all tables. */
static const char *const orms[] = {"sqlalchemy", "django", "tortoise", "postgres"};

/* A class without an ORM, as it is in a generation of the registry. */
typedef struct KnownClass
{
	uint64		generation;
	AtqModel   *model;
} KnownClass;

static KnownClass known_classes[16];

static AtqModel *look_up(const char *orm, const char *class_name);
static AtqModel *look_everywhere(const char *class_name);
static AtqModel *find_everywhere(const char *class_name);
static void refuse_ambiguous(const char *class_name, const AtqModel *one,
							 const AtqModel *other) atq_noreturn;
static void refuse_unknown(const char *orm,
						   const char *class_name) atq_noreturn;

AtqQueryModel *
atq_query_model_open(const char *orm, const char *class_name, LOCKMODE lock)
{
	AtqQueryModel *result = palloc0(sizeof(AtqQueryModel));
	AtqModel   *model = look_up(orm, class_name);
	uint64		generation = atq_registry_generation();

	for (;;)
	{
		Oid			relation = model->relation;

		if (OidIsValid(relation))
			LockRelationOid(relation, lock);
		if (generation == atq_registry_generation())
			break;
		model = look_up(orm, class_name);
		generation = atq_registry_generation();
		if (model->relation == relation)
			break;
	}
	result->model = model;
	result->rel = OidIsValid(model->relation) ?
		try_relation_open(model->relation, NoLock) : NULL;
	if (result->rel == NULL)
	{
		atq_registry_forget();
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation %s of model \"%s\" does not exist",
						model->relation_name, model->class_name)));
	}
	atq_relkey_check_kind(result->rel);
	result->nkeys = atq_relkey_columns(result->rel, model, result->keys);
	if (!atq_trust_model(model))
	{
		atq_trust_guard(model);
		result->guarded = true;
	}
	return result;
}

void
atq_query_model_close(AtqQueryModel *model)
{
	relation_close(model->rel, NoLock);
	model->rel = NULL;
}

static AtqModel *
look_up(const char *orm, const char *class_name)
{
	AtqSpan		name = {class_name, strlen(class_name)};
	AtqModel   *model = orm == NULL ? look_everywhere(class_name) :
		atq_registry_model(orm, name);

	if (model == NULL)
		refuse_unknown(orm, class_name);
	return model;
}

/*
 * A table goes by its name where no registered class has it, or one that who
 * registered it had no right to (atq_registry_has_name).  That there
 * is no row for a class is not in the registry's cache, and most classes have
 * one ORM: what was found is remembered here, for as long as nothing changes.
 */
static AtqModel *
look_everywhere(const char *class_name)
{
	KnownClass *known = &known_classes[hash_bytes((const unsigned char *) class_name,
												  strlen(class_name)) %
									   lengthof(known_classes)];
	uint64		generation = atq_registry_generation();
	AtqModel   *found;

	if (known->model != NULL && known->generation == generation &&
		strcmp(known->model->class_name, class_name) == 0)
		return known->model;
	found = find_everywhere(class_name);
	if (found != NULL && OidIsValid(found->owner) &&
		!atq_registry_is_table_name(class_name) &&
		generation == atq_registry_generation())
	{
		known->generation = generation;
		known->model = found;
	}
	return found;
}

static AtqModel *
find_everywhere(const char *class_name)
{
	AtqSpan		name = {class_name, strlen(class_name)};
	AtqModel   *found = NULL;

	for (int i = 0; i < lengthof(orms); i++)
	{
		AtqModel   *model = atq_registry_model(orms[i], name);

		if (model == NULL ||
			(found != NULL && !OidIsValid(model->owner)) ||
			!atq_registry_has_name(model))
			continue;
		if (found != NULL && found->relation != model->relation)
			refuse_ambiguous(class_name, found, model);
		if (found == NULL)
			found = model;
	}
	return found;
}

static void
refuse_ambiguous(const char *class_name, const AtqModel *one,
				 const AtqModel *other)
{
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_ALIAS),
			 errmsg("class \"%s\" is that of several models", class_name),
			 errdetail("It is registered for the ORMs \"%s\" and \"%s\".",
					   one->orm, other->orm),
			 errhint("Say which: asynctasq.objects(class, orm).")));
}

static void
refuse_unknown(const char *orm, const char *class_name)
{
	const char *nearest = atq_field_nearest(class_name,
											atq_registry_classes());

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 orm == NULL ?
			 errmsg("model \"%s\" is not registered", class_name) :
			 errmsg("model \"%s\" of ORM \"%s\" is not registered",
					class_name, orm),
			 nearest != NULL ?
			 errhint("Perhaps you meant the model \"%s\".", nearest) :
			 errhint("Register it with asynctasq.register_model(), or give a table as schema.table.")));
}

Datum
atq_query_call(PGFunction body, FunctionCallInfo fcinfo)
{
	bool		kept = atq_registry_keep(true);
	const AtqModel *guarded = atq_trust_guarded();
	Datum		result;

	PG_TRY();
	{
		result = body(fcinfo);
	}
	PG_FINALLY();
	{
		atq_trust_guard(guarded);
		(void) atq_registry_keep(kept);
	}
	PG_END_TRY();
	return result;
}
