/*-------------------------------------------------------------------------
 *
 * models.c
 *	  Models, in the registry's cache.
 *
 * A model is found by its ORM and class, and by its relation.  A table that
 * nobody has registered is a model too, by its own name; where another table's
 * model is registered by that name, it depends on who asks which one is meant
 * (atq_registry_has_name), so both are kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "base/lane.h"
#include "store/cache.h"
#include "store/trust.h"

/* Columns of the table, as the install script orders them. */
enum
{
	MODEL_ORM = 1, MODEL_CLASS, MODEL_OWNER, MODEL_RELATION,
	MODEL_RELATION_NAME, MODEL_CURRENT_NAME, MODEL_KEY, MODEL_ON_MISSING,
	MODEL_SERVER
};

typedef struct ModelKey
{
	const char *orm;
	AtqSpan		class_name;
} ModelKey;

typedef struct ModelEntry
{
	ModelKey	key;
	AtqModel   *model;
} ModelEntry;

typedef struct RelationEntry
{
	Oid			relation;
	List	   *models;			/* of AtqModel *, by (orm, class) */
} RelationEntry;

static void make_models(void);
static uint32 hash_model(const void *key, Size size);
static int	match_model(const void *a, const void *b, Size size);
static AtqModel *find_table_model(AtqSpan class_name);
static AtqModel *by_class(const char *orm, AtqSpan class_name,
						  AtqModel *model);
static AtqModel *make_table_model(const char *class_name);
static Oid	find_relation(const char *name, bool registered);
static void read_model(const AtqCacheRow *row, void *arg);
static void read_model_key(AtqModel *model, const AtqCacheRow *row);
static void read_relation(const AtqCacheRow *row, void *arg);
static void read_class(const AtqCacheRow *row, void *arg);

AtqModel *
atq_registry_model(const char *orm, AtqSpan class_name)
{
	ModelKey	key = {orm, class_name};
	ModelEntry *entry;
	AtqModel   *model = NULL;
	ScanKeyData keys[2];
	char	   *name;

	atq_cache_open();
	if (atq_cache.models == NULL)
		make_models();
	entry = atq_cache.last_model;
	if (entry == NULL || match_model(&entry->key, &key, sizeof(key)) != 0)
		entry = hash_search(atq_cache.models, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		atq_cache.last_model = entry;
		return by_class(orm, class_name, entry->model);
	}
	if (class_name.len >= ATQ_NAME_LEN ||
		memchr(class_name.data, '\0', class_name.len) != NULL)
		return NULL;
	name = pnstrdup(class_name.data, class_name.len);
	ScanKeyInit(&keys[0], MODEL_ORM, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(orm));
	ScanKeyInit(&keys[1], MODEL_CLASS, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	atq_cache_scan(ATQ_TABLE_MODEL, ATQ_TABLE_MODEL_KEY, 2, keys, read_model,
				   &model);
	if (model == NULL && strcmp(orm, "postgres") == 0)
		model = make_table_model(name);
	if (model == NULL)
		return NULL;
	key.orm = model->orm;
	key.class_name.data = model->class_name;
	key.class_name.len = strlen(model->class_name);
	entry = hash_search(atq_cache.models, &key, HASH_ENTER, NULL);
	entry->model = model;
	return by_class(orm, class_name, model);
}

/* What a class means where a model is registered for it, or made of a table. */
static AtqModel *
by_class(const char *orm, AtqSpan class_name, AtqModel *model)
{
	return strcmp(orm, "postgres") != 0 || atq_registry_has_name(model) ?
		model : find_table_model(class_name);
}

/* The hash table of models by (orm, class). */
static void
make_models(void)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(ModelKey);
	ctl.entrysize = sizeof(ModelEntry);
	ctl.hash = hash_model;
	ctl.match = match_model;
	ctl.hcxt = atq_cache.context;
	atq_cache.models = hash_create("asynctasq models", 32, &ctl,
								   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								   HASH_CONTEXT);
}

static uint32
hash_model(const void *key, Size size)
{
	const ModelKey *name = key;

	return hash_bytes((const unsigned char *) name->class_name.data,
					  name->class_name.len);
}

static int
match_model(const void *a, const void *b, Size size)
{
	const ModelKey *left = a;
	const ModelKey *right = b;

	return left->class_name.len != right->class_name.len ||
		memcmp(left->class_name.data, right->class_name.data,
			   left->class_name.len) != 0 ||
		strcmp(left->orm, right->orm) != 0;
}

bool
atq_registry_has_name(const AtqModel *model)
{
	Oid			named = OidIsValid(model->owner) ?
		find_relation(model->class_name, true) : InvalidOid;

	return !OidIsValid(named) || named == model->relation ||
		atq_trust_registration(model, named);
}

bool
atq_registry_is_table_name(const char *class_name)
{
	List	   *names;

	return SplitIdentifierString(pstrdup(class_name), '.', &names) &&
		list_length(names) == 2 &&
		OidIsValid(get_namespace_oid(linitial(names), true));
}

/* That of a table whose name is taken; kept as if of an ORM of its own. */
static AtqModel *
find_table_model(AtqSpan class_name)
{
	ModelKey	key = {"table", class_name};
	ModelEntry *entry = hash_search(atq_cache.models, &key, HASH_FIND, NULL);
	AtqModel   *model;

	if (entry != NULL)
		return entry->model;
	model = make_table_model(pnstrdup(class_name.data, class_name.len));
	if (model == NULL)
		return NULL;
	key.class_name.data = model->class_name;
	entry = hash_search(atq_cache.models, &key, HASH_ENTER, NULL);
	entry->model = model;
	return model;
}

/* The model that a table is by its own name, where it is not registered. */
static AtqModel *
make_table_model(const char *class_name)
{
	Oid			relation = find_relation(class_name, false);
	AtqModel   *model;

	if (!OidIsValid(relation))
		return NULL;
	(void) hash_search(atq_cache.watched, &relation, HASH_ENTER, NULL);
	model = MemoryContextAllocZero(atq_cache.context, sizeof(AtqModel));
	model->orm = "postgres";
	model->class_name = MemoryContextStrdup(atq_cache.context, class_name);
	model->relation = relation;
	model->relation_name = model->class_name;
	model->on_missing = ATQ_MISSING_ERROR;
	return model;
}

/*
 * A relation by its qualified name; InvalidOid when there is none.  Throws
 * 42501 where the user may not use the schema, unless the name is a registered
 * one's: then it may be looked at on the way to another.
 */
static Oid
find_relation(const char *name, bool registered)
{
	List	   *names;
	Oid			schema;

	if (!SplitIdentifierString(pstrdup(name), '.', &names) ||
		list_length(names) != 2)
		return InvalidOid;
	schema = registered ? get_namespace_oid(linitial(names), true) :
		LookupExplicitNamespace(linitial(names), true);
	return OidIsValid(schema) ? get_relname_relid(lsecond(names), schema) :
		InvalidOid;
}

bool
atq_registry_is_relation(Oid relation, const char *name)
{
	return OidIsValid(relation) && find_relation(name, true) == relation;
}

/*
 * An OID is that of the relation that was registered only if the relation has
 * the name that is kept up to date (follow.c): one that is dropped goes into a
 * dump as a number, which may be any relation's where the dump is restored.
 */
static void
read_model(const AtqCacheRow *row, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(atq_cache.context);
	AtqModel   *model = palloc0(sizeof(AtqModel));
	char	   *on_missing = atq_cache_text(row, MODEL_ON_MISSING);

	model->orm = atq_cache_text(row, MODEL_ORM);
	model->class_name = atq_cache_text(row, MODEL_CLASS);
	model->owner = atq_cache_oid(row, MODEL_OWNER);
	model->relation = atq_cache_oid(row, MODEL_RELATION);
	model->relation_name = atq_cache_text(row, MODEL_RELATION_NAME);
	model->server = atq_cache_text(row, MODEL_SERVER);
	if (!atq_registry_is_relation(model->relation,
								  atq_cache_text(row, MODEL_CURRENT_NAME)))
	{
		model->relation = find_relation(model->relation_name, true);
		model->made_again = true;
	}
	if (OidIsValid(model->relation))
		(void) hash_search(atq_cache.watched, &model->relation, HASH_ENTER,
						   NULL);
	read_model_key(model, row);
	model->on_missing = ATQ_MISSING_ERROR;
	if (strcmp(on_missing, "null") == 0)
		model->on_missing = ATQ_MISSING_NULL;
	if (strcmp(on_missing, "discard") == 0)
		model->on_missing = ATQ_MISSING_DISCARD;
	MemoryContextSwitchTo(old);
	*(AtqModel **) arg = model;
}

static void
read_model_key(AtqModel *model, const AtqCacheRow *row)
{
	bool		isnull;
	Datum		value = heap_getattr(row->tuple, MODEL_KEY, row->desc, &isnull);
	Datum	   *elements;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &model->nkeys);
	model->keys = palloc(sizeof(char *) * Max(model->nkeys, 1));
	for (int i = 0; i < model->nkeys; i++)
		model->keys[i] = TextDatumGetCString(elements[i]);
}

AtqModel *
atq_registry_model_of(Oid relation)
{
	RelationEntry *entry;
	ListCell   *lc;

	atq_cache_open();
	if (atq_cache.relations == NULL)
	{
		HTAB	   *found = atq_cache_hash("asynctasq model relations",
										   sizeof(Oid), sizeof(RelationEntry),
										   false);

		atq_cache_scan(ATQ_TABLE_MODEL, ATQ_TABLE_MODEL_KEY, 0, NULL,
					   read_relation, found);
		atq_cache.relations = found;
	}
	entry = hash_search(atq_cache.relations, &relation, HASH_FIND, NULL);
	if (entry == NULL)
		return NULL;
	foreach(lc, entry->models)
	{
		AtqModel   *model = lfirst(lc);

		if (atq_trust_registration(model, relation) &&
			(strcmp(model->orm, "postgres") != 0 ||
			 atq_registry_has_name(model)))
			return model;
	}
	return NULL;
}

static void
read_relation(const AtqCacheRow *row, void *arg)
{
	AtqModel   *model;
	RelationEntry *entry;
	MemoryContext old;
	bool		found;

	read_model(row, &model);
	if (!OidIsValid(model->relation))
		return;
	entry = hash_search((HTAB *) arg, &model->relation, HASH_ENTER, &found);
	old = MemoryContextSwitchTo(atq_cache.context);
	entry->models = lappend(found ? entry->models : NIL, model);
	MemoryContextSwitchTo(old);
}

List *
atq_registry_classes(void)
{
	List	   *classes = NIL;

	atq_cache_open();
	atq_cache_scan(ATQ_TABLE_MODEL, ATQ_TABLE_MODEL_KEY, 0, NULL, read_class,
				   &classes);
	return classes;
}

static void
read_class(const AtqCacheRow *row, void *arg)
{
	List	  **classes = arg;

	*classes = lappend(*classes, atq_cache_text(row, MODEL_CLASS));
}
