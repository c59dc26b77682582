/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Handlers, queues and models, cached in each backend.
 *
 * Entries are read from the registry tables one at a time, when first asked
 * for, through the tables' indexes and under a fresh catalog snapshot, so
 * that neither privileges nor search_path nor plans are involved.
 *
 * All of the cache lives in registry_context, made with the first entry.  An
 * invalidation of one of our tables, of a model's relation, of a function, of
 * a namespace, of a role or of a membership only marks it as stale; the next
 * look-up deletes the context and starts anew.  While a task runs the old one is not deleted but left to the
 * transaction: the task's handler may look something up itself, and what
 * its caller holds must survive that (atq_registry_keep).
 *
 * Our own tables' OIDs are looked up by name below the extension's schema and
 * kept until an invalidation of one of them.  That the extension is not
 * installed is not remembered.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "base/stats.h"
#include "store/extension.h"
#include "store/notice.h"
#include "store/registry.h"
#include "store/storage.h"
#include "store/trust.h"

static const char *const table_names[ATQ_NTABLES] = {
	[ATQ_TABLE_HANDLER] = "handler",
	[ATQ_TABLE_HANDLER_KEY] = "handler_pkey",
	[ATQ_TABLE_HANDLER_GRANT] = "handler_grant",
	[ATQ_TABLE_HANDLER_GRANT_KEY] = "handler_grant_pkey",
	[ATQ_TABLE_MODEL] = "model",
	[ATQ_TABLE_MODEL_KEY] = "model_pkey",
	[ATQ_TABLE_QUEUE] = "queue",
	[ATQ_TABLE_QUEUE_KEY] = "queue_pkey",
	[ATQ_TABLE_QUEUE_OWNER_NAME] = "queue_owner_name_key",
	[ATQ_TABLE_TASK_UNLOGGED] = "task_unlogged",
	[ATQ_TABLE_TASK_UNLOGGED_ID] = "task_unlogged_id",
	[ATQ_TABLE_TASK_UNLOGGED_READY] = "task_unlogged_ready",
	[ATQ_TABLE_TASK_UNLOGGED_DELAYED] = "task_unlogged_delayed",
	[ATQ_TABLE_TASK_LOGGED] = "task_logged",
	[ATQ_TABLE_TASK_LOGGED_ID] = "task_logged_id",
	[ATQ_TABLE_TASK_LOGGED_READY] = "task_logged_ready",
	[ATQ_TABLE_TASK_LOGGED_DELAYED] = "task_logged_delayed",
	[ATQ_TABLE_TASK_ID_SEQ] = ATQ_GATE,
	[ATQ_TABLE_HOME] = "home",
	[ATQ_TABLE_HOME_KEY] = "home_pkey",
};

/* Columns of the registry tables, as the install script orders them. */
enum
{
	QUEUE_ID = 1, QUEUE_OWNER, QUEUE_NAME, QUEUE_DURABLE, QUEUE_PAUSED,
	QUEUE_MAX_CONCURRENCY
};
enum
{
	HANDLER_NAME = 1, HANDLER_ROLE, HANDLER_FUNCTION, HANDLER_QUEUE,
	HANDLER_MAX_ATTEMPTS, HANDLER_RETRY_DELAY, HANDLER_RETRY_STRATEGY,
	HANDLER_TIMEOUT, HANDLER_PRIORITY, HANDLER_SHOULD_RETRY,
	HANDLER_ON_FAILURE, HANDLER_KEEP_RESULT, HANDLER_GROUP_SIZE,
	HANDLER_BATCH_SIZE, HANDLER_LOCK
};
enum
{
	GRANT_HANDLER = 1, GRANT_ROLE
};
enum
{
	MODEL_ORM = 1, MODEL_CLASS, MODEL_OWNER, MODEL_RELATION,
	MODEL_RELATION_NAME, MODEL_KEY, MODEL_ON_MISSING, MODEL_SERVER
};
enum
{
	HOME_DATABASE = 1, HOME_SYSTEM_IDENTIFIER, HOME_VERSION, HOME_HERE
};

typedef struct HandlerEntry
{
	char		name[ATQ_NAME_LEN];
	AtqHandler *handler;
} HandlerEntry;

typedef struct QueueEntry
{
	int32		id;
	AtqQueue   *queue;
} QueueEntry;

typedef struct LaneEntry
{
	Oid			owner;
	int			nqueues;
	AtqQueue  **queues;
} LaneEntry;

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

typedef enum Finding
{
	FOUND, ABSENT, OTHER_VERSION
} Finding;

typedef void (*RowVisitor) (HeapTuple tuple, TupleDesc desc, void *arg);

/* The extension and OIDs of its tables, valid while tables_known. */
static bool tables_known = false;
static Oid	tables[ATQ_NTABLES];
static AtqExtension extension;

/* The cache; the hash tables live in the context. */
static bool registry_stale = false;
static bool registry_kept = false;
static uint64 registry_generation = 0;
static MemoryContext registry_context = NULL;
static HTAB *handlers = NULL;
static HTAB *queues = NULL;
static HTAB *lanes = NULL;
static HTAB *models = NULL;
static HTAB *relations = NULL;
static AtqHome *home = NULL;
static HTAB *watched = NULL;	/* OIDs of all models' relations looked up */

static void relation_changed(Datum arg, Oid relid);
static void catalog_changed(Datum arg, int cacheid, uint32 hashvalue);
static void require_tables(void);
static Finding find_tables(void);
static void make_cache(void);
static HTAB *make_hash(const char *name, Size keysize, Size entrysize,
					   bool strings);
static uint32 hash_model(const void *key, Size size);
static int	match_model(const void *a, const void *b, Size size);
static void visit_rows(AtqTable table, AtqTable index, int nkeys,
					   ScanKey keys, RowVisitor visit, void *arg);
static void read_handler(HeapTuple tuple, TupleDesc desc, void *arg);
static void read_queue(HeapTuple tuple, TupleDesc desc, void *arg);
static void read_lane_queue(HeapTuple tuple, TupleDesc desc, void *arg);
static AtqModel *find_table_model(AtqSpan class_name);
static AtqModel *make_table_model(const char *class_name);
static Oid	find_relation(const char *name, bool registered);
static void read_model(HeapTuple tuple, TupleDesc desc, void *arg);
static void read_relation(HeapTuple tuple, TupleDesc desc, void *arg);
static void read_class(HeapTuple tuple, TupleDesc desc, void *arg);
static void read_grant(HeapTuple tuple, TupleDesc desc, void *arg);
static void read_home(HeapTuple tuple, TupleDesc desc, void *arg);

void
atq_registry_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, catalog_changed, (Datum) 0);
}

/* Also of the relations of models, whose columns plans were made for. */
static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) ||
		(watched != NULL &&
		 hash_search(watched, &relid, HASH_FIND, NULL) != NULL))
		registry_stale = true;
	for (int i = 0; i < ATQ_NTABLES && tables_known; i++)
	{
		if (!OidIsValid(relid) || tables[i] == relid)
		{
			tables_known = false;
			registry_stale = true;
		}
	}
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	registry_stale = true;
}

/*
 * Trigger function on the registry tables.  A queue that was resumed or
 * restored from a dump may have tasks that nobody announced, as has a
 * database that has become their home.
 */
PG_FUNCTION_INFO_V1(atq_registry_changed);

Datum
atq_registry_changed(PG_FUNCTION_ARGS)
{
	Relation	rel;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("asynctasq.registry_changed() must be called as a trigger")));
	rel = ((TriggerData *) fcinfo->context)->tg_relation;
	CacheInvalidateRelcache(rel);
	if (RelationGetRelid(rel) == atq_registry_table(ATQ_TABLE_QUEUE) ||
		RelationGetRelid(rel) == atq_registry_table(ATQ_TABLE_HOME))
		atq_notice_scan();
	PG_RETURN_POINTER(NULL);
}

bool
atq_registry_installed(void)
{
	return find_tables() == FOUND;
}

/* Until the transaction's end, the tables are what they are. */
Oid
atq_registry_table(AtqTable table)
{
	do
		require_tables();
	while (atq_extension_enter(tables[ATQ_TABLE_TASK_ID_SEQ]));
	return tables[table];
}

static void
require_tables(void)
{
	switch (find_tables())
	{
		case FOUND:
			break;
		case ABSENT:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension \"%s\" is not installed in this database",
							ATQ_EXTENSION),
					 errhint("Run CREATE EXTENSION %s.", ATQ_EXTENSION)));
			break;
		case OTHER_VERSION:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension \"%s\" has another version in this database than its library",
							ATQ_EXTENSION),
					 errdetail("The library's version is %s.", ATQ_VERSION),
					 errhint(ATQ_VERSION_HINT)));
			break;
	}
}

Oid
atq_registry_owner(void)
{
	(void) atq_registry_table(ATQ_TABLE_HANDLER);
	return extension.owner;
}

void
atq_registry_invalidate(void)
{
	if (atq_registry_installed())
		CacheInvalidateRelcacheByRelid(tables[ATQ_TABLE_HANDLER]);
}

static Finding
find_tables(void)
{
	if (tables_known)
		return FOUND;
	if (!atq_extension_find(&extension))
		return ABSENT;
	if (!extension.fits && !creating_extension)
		return OTHER_VERSION;
	for (int i = 0; i < ATQ_NTABLES; i++)
	{
		tables[i] = get_relname_relid(table_names[i], extension.schema);
		if (!OidIsValid(tables[i]))
			return ABSENT;
	}
	tables_known = extension.fits;
	return FOUND;
}

MemoryContext
atq_registry_context(void)
{
	make_cache();
	return registry_context;
}

uint64
atq_registry_generation(void)
{
	make_cache();
	return registry_generation;
}

bool
atq_registry_still_allowed(const AtqAllowed *then, AtqAllowed *now)
{
	now->user = GetUserId();
	now->generation = atq_registry_generation();
	return then->generation == now->generation && then->user == now->user;
}

bool
atq_registry_keep(bool keep)
{
	bool		kept = registry_kept;

	registry_kept = keep;
	return kept;
}

void
atq_registry_forget(void)
{
	registry_stale = true;
}

/* Makes an empty cache where there is none or it is stale. */
static void
make_cache(void)
{
	HASHCTL		ctl;

	(void) atq_registry_table(ATQ_TABLE_HANDLER);
	if (registry_context != NULL && !registry_stale)
		return;
	handlers = queues = lanes = models = relations = watched = NULL;
	home = NULL;
	if (registry_context != NULL && registry_kept)
		MemoryContextSetParent(registry_context, TopTransactionContext);
	else if (registry_context != NULL)
		MemoryContextDelete(registry_context);
	registry_context = NULL;
	registry_context = AllocSetContextCreate(CacheMemoryContext,
											 "asynctasq registry",
											 ALLOCSET_DEFAULT_SIZES);
	registry_stale = true;		/* until it is complete */
	registry_generation++;
	handlers = make_hash("asynctasq handlers", ATQ_NAME_LEN,
						 sizeof(HandlerEntry), true);
	queues = make_hash("asynctasq queues", sizeof(int32),
					   sizeof(QueueEntry), false);
	lanes = make_hash("asynctasq lanes", sizeof(Oid), sizeof(LaneEntry),
					  false);
	ctl.keysize = sizeof(ModelKey);
	ctl.entrysize = sizeof(ModelEntry);
	ctl.hash = hash_model;
	ctl.match = match_model;
	ctl.hcxt = registry_context;
	models = hash_create("asynctasq models", 32, &ctl,
						 HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
						 HASH_CONTEXT);
	watched = make_hash("asynctasq watched", sizeof(Oid), sizeof(Oid), false);
	registry_stale = false;
}

static HTAB *
make_hash(const char *name, Size keysize, Size entrysize, bool strings)
{
	HASHCTL		ctl;

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = registry_context;
	return hash_create(name, 32, &ctl,
					   HASH_ELEM | HASH_CONTEXT |
					   (strings ? HASH_STRINGS : HASH_BLOBS));
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

/*
 * Calls visit with each row of a table that an index finds, in the index's
 * order.
 */
static void
visit_rows(AtqTable table, AtqTable index, int nkeys, ScanKey keys,
		   RowVisitor visit, void *arg)
{
	Relation	rel = table_open(atq_registry_table(table), AccessShareLock);
	Relation	irel = index_open(tables[index], AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;

	scan = systable_beginscan_ordered(rel, irel, NULL, nkeys, keys);
	while ((tuple = systable_getnext_ordered(scan,
											 ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		visit(tuple, RelationGetDescr(rel), arg);
	}
	systable_endscan_ordered(scan);
	index_close(irel, AccessShareLock);
	table_close(rel, AccessShareLock);
}

static char *
get_text(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int32
get_int(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static bool
get_bool(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;

	return DatumGetBool(heap_getattr(tuple, column, desc, &isnull));
}

static Oid
get_oid(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;

	return DatumGetObjectId(heap_getattr(tuple, column, desc, &isnull));
}

static int64
get_interval(HeapTuple tuple, int column, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? 0 : atq_interval_us(DatumGetIntervalP(value));
}

AtqHandler *
atq_registry_handler(const char *name)
{
	HandlerEntry *entry;
	AtqHandler *handler = NULL;
	ScanKeyData key;

	make_cache();
	if (strlen(name) >= ATQ_NAME_LEN)
		return NULL;
	entry = hash_search(handlers, name, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->handler;
	ScanKeyInit(&key, HANDLER_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	visit_rows(ATQ_TABLE_HANDLER, ATQ_TABLE_HANDLER_KEY, 1, &key,
			   read_handler, &handler);
	if (handler == NULL)
		return NULL;
	entry = hash_search(handlers, name, HASH_ENTER, NULL);
	entry->handler = handler;
	return handler;
}

static void
read_handler(HeapTuple tuple, TupleDesc desc, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(registry_context);
	AtqHandler *handler = palloc0(sizeof(AtqHandler));
	char	   *strategy = get_text(tuple, HANDLER_RETRY_STRATEGY, desc);
	char	   *lock = get_text(tuple, HANDLER_LOCK, desc);

	handler->name = get_text(tuple, HANDLER_NAME, desc);
	handler->role = get_oid(tuple, HANDLER_ROLE, desc);
	handler->function = get_text(tuple, HANDLER_FUNCTION, desc);
	handler->queue = get_text(tuple, HANDLER_QUEUE, desc);
	handler->max_attempts = get_int(tuple, HANDLER_MAX_ATTEMPTS, desc);
	handler->retry_delay_us = get_interval(tuple, HANDLER_RETRY_DELAY, desc);
	handler->exponential = strcmp(strategy, "exponential") == 0;
	handler->timeout_us = get_interval(tuple, HANDLER_TIMEOUT, desc);
	handler->priority = get_int(tuple, HANDLER_PRIORITY, desc);
	handler->should_retry = get_text(tuple, HANDLER_SHOULD_RETRY, desc);
	handler->on_failure = get_text(tuple, HANDLER_ON_FAILURE, desc);
	handler->keep_result = get_bool(tuple, HANDLER_KEEP_RESULT, desc);
	handler->group_size = get_int(tuple, HANDLER_GROUP_SIZE, desc);
	handler->batch_size = get_int(tuple, HANDLER_BATCH_SIZE, desc);
	if (lock != NULL)
		handler->lock = strcmp(lock, "share") == 0 ? ATQ_LOCK_SHARE :
			ATQ_LOCK_UPDATE;
	handler->stat = atq_stats_handler(MyDatabaseId, handler->role,
									  handler->name);
	MemoryContextSwitchTo(old);
	*(AtqHandler **) arg = handler;
}

/* Trigger function on queues: see crash_mark in scanner.c. */
PG_FUNCTION_INFO_V1(atq_queue_made);

Datum
atq_queue_made(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT4OID};
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Datum		value;
	AtqSpi		spi;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("asynctasq.queue_made() must be called as a trigger")));
	value = Int32GetDatum(get_int(trigger->tg_trigtuple, QUEUE_ID,
								  RelationGetDescr(trigger->tg_relation)));
	atq_spi_begin(&spi);
	atq_spi_run(&plan,
				"INSERT INTO asynctasq.crash_mark (queue_id) VALUES ($1) "
				"ON CONFLICT DO NOTHING",
				1, types, &value, NULL, SPI_OK_INSERT);
	atq_spi_end(&spi);
	PG_RETURN_POINTER(NULL);
}

AtqQueue *
atq_registry_queue(int32 id)
{
	QueueEntry *entry;
	AtqQueue   *queue = NULL;
	ScanKeyData key;

	make_cache();
	entry = hash_search(queues, &id, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->queue;
	ScanKeyInit(&key, QUEUE_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(id));
	visit_rows(ATQ_TABLE_QUEUE, ATQ_TABLE_QUEUE_KEY, 1, &key, read_queue,
			   &queue);
	if (queue == NULL)
		return NULL;
	entry = hash_search(queues, &id, HASH_ENTER, NULL);
	entry->queue = queue;
	return queue;
}

static void
read_queue(HeapTuple tuple, TupleDesc desc, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(registry_context);
	AtqQueue   *queue = palloc0(sizeof(AtqQueue));

	queue->id = get_int(tuple, QUEUE_ID, desc);
	queue->owner = get_oid(tuple, QUEUE_OWNER, desc);
	queue->name = get_text(tuple, QUEUE_NAME, desc);
	queue->durable = get_bool(tuple, QUEUE_DURABLE, desc);
	queue->paused = get_bool(tuple, QUEUE_PAUSED, desc);
	queue->max_concurrency = get_int(tuple, QUEUE_MAX_CONCURRENCY, desc);
	queue->stat = atq_stats_queue(MyDatabaseId, queue->id);
	MemoryContextSwitchTo(old);
	*(AtqQueue **) arg = queue;
}

AtqQueue *
atq_registry_queue_named(Oid owner, const char *name)
{
	AtqQueue  **owned;
	int			n = atq_registry_queues_of(owner, &owned);

	for (int i = 0; i < n; i++)
	{
		if (strcmp(owned[i]->name, name) == 0)
			return owned[i];
	}
	return NULL;
}

List *
atq_registry_queues(void)
{
	List	   *list = NIL;

	make_cache();
	visit_rows(ATQ_TABLE_QUEUE, ATQ_TABLE_QUEUE_KEY, 0, NULL,
			   read_lane_queue, &list);
	return list;
}

int
atq_registry_queues_of(Oid owner, AtqQueue ***result)
{
	LaneEntry  *entry;
	List	   *list = NIL;
	ScanKeyData key;

	make_cache();
	entry = hash_search(lanes, &owner, HASH_FIND, NULL);
	if (entry == NULL)
	{
		AtqQueue  **array;
		ListCell   *lc;
		int			n = 0;

		ScanKeyInit(&key, QUEUE_OWNER, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(owner));
		visit_rows(ATQ_TABLE_QUEUE, ATQ_TABLE_QUEUE_OWNER_NAME, 1, &key,
				   read_lane_queue, &list);
		array = MemoryContextAlloc(registry_context,
								   sizeof(AtqQueue *) * (list_length(list) + 1));
		foreach(lc, list)
			array[n++] = lfirst(lc);
		entry = hash_search(lanes, &owner, HASH_ENTER, NULL);
		entry->nqueues = n;
		entry->queues = array;
	}
	*result = entry->queues;
	return entry->nqueues;
}

static void
read_lane_queue(HeapTuple tuple, TupleDesc desc, void *arg)
{
	List	  **list = arg;
	AtqQueue   *queue;

	read_queue(tuple, desc, &queue);
	*list = lappend(*list, queue);
}

AtqQueue *
atq_registry_queue_ensure(Oid owner, const char *name)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {OIDOID, TEXTOID};
	AtqQueue   *queue = atq_registry_queue_named(owner, name);
	Datum		values[2];
	AtqSpi		spi;

	if (queue != NULL)
		return queue;
	values[0] = ObjectIdGetDatum(owner);
	values[1] = CStringGetTextDatum(name);
	atq_spi_begin(&spi);
	atq_spi_run(&plan,
				"INSERT INTO asynctasq.queue (owner, name) "
				"VALUES ($1::pg_catalog.regrole, $2) "
				"ON CONFLICT DO NOTHING",
				2, types, values, NULL, SPI_OK_INSERT);
	atq_spi_end(&spi);
	CommandCounterIncrement();
	registry_stale = true;
	queue = atq_registry_queue_named(owner, name);
	if (queue == NULL)
		elog(ERROR, "queue \"%s\" vanished while it was made", name);
	return queue;
}

AtqModel *
atq_registry_model(const char *orm, AtqSpan class_name)
{
	ModelKey	key = {orm, class_name};
	ModelEntry *entry;
	AtqModel   *model = NULL;
	ScanKeyData keys[2];
	char	   *name;

	make_cache();
	entry = hash_search(models, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return strcmp(orm, "postgres") != 0 ||
			atq_registry_has_name(entry->model) ? entry->model :
			find_table_model(class_name);
	if (class_name.len >= ATQ_NAME_LEN ||
		memchr(class_name.data, '\0', class_name.len) != NULL)
		return NULL;
	name = pnstrdup(class_name.data, class_name.len);
	ScanKeyInit(&keys[0], MODEL_ORM, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(orm));
	ScanKeyInit(&keys[1], MODEL_CLASS, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	visit_rows(ATQ_TABLE_MODEL, ATQ_TABLE_MODEL_KEY, 2, keys, read_model,
			   &model);
	if (model == NULL && strcmp(orm, "postgres") == 0)
		model = make_table_model(name);
	if (model == NULL)
		return NULL;
	key.orm = model->orm;
	key.class_name.data = model->class_name;
	key.class_name.len = strlen(model->class_name);
	entry = hash_search(models, &key, HASH_ENTER, NULL);
	entry->model = model;
	return atq_registry_model(orm, class_name);
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
	ModelEntry *entry = hash_search(models, &key, HASH_FIND, NULL);
	AtqModel   *model;

	if (entry != NULL)
		return entry->model;
	model = make_table_model(pnstrdup(class_name.data, class_name.len));
	if (model == NULL)
		return NULL;
	key.class_name.data = model->class_name;
	entry = hash_search(models, &key, HASH_ENTER, NULL);
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
	(void) hash_search(watched, &relation, HASH_ENTER, NULL);
	model = MemoryContextAllocZero(registry_context, sizeof(AtqModel));
	model->orm = "postgres";
	model->class_name = MemoryContextStrdup(registry_context, class_name);
	model->relation = relation;
	model->relation_name = model->class_name;
	model->on_missing = ATQ_MISSING_ERROR;
	return model;
}

/*
 * A relation by its qualified name; InvalidOid when there is none.  Throws 42501
 * where the user may not use the schema, unless the name is a registered one's:
 * then it may be looked at on the way to another.
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

static void
read_model_key(AtqModel *model, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, MODEL_KEY, desc, &isnull);
	Datum	   *elements;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &model->nkeys);
	model->keys = palloc(sizeof(char *) * Max(model->nkeys, 1));
	for (int i = 0; i < model->nkeys; i++)
		model->keys[i] = TextDatumGetCString(elements[i]);
}

static void
read_model(HeapTuple tuple, TupleDesc desc, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(registry_context);
	AtqModel   *model = palloc0(sizeof(AtqModel));
	char	   *on_missing = get_text(tuple, MODEL_ON_MISSING, desc);

	model->orm = get_text(tuple, MODEL_ORM, desc);
	model->class_name = get_text(tuple, MODEL_CLASS, desc);
	model->owner = get_oid(tuple, MODEL_OWNER, desc);
	model->relation = get_oid(tuple, MODEL_RELATION, desc);
	model->relation_name = get_text(tuple, MODEL_RELATION_NAME, desc);
	model->server = get_text(tuple, MODEL_SERVER, desc);
	if (get_rel_relkind(model->relation) == '\0')
	{
		model->relation = find_relation(model->relation_name, true);
		model->made_again = true;
	}
	if (OidIsValid(model->relation))
		(void) hash_search(watched, &model->relation, HASH_ENTER, NULL);
	read_model_key(model, tuple, desc);
	model->on_missing = ATQ_MISSING_ERROR;
	if (strcmp(on_missing, "null") == 0)
		model->on_missing = ATQ_MISSING_NULL;
	if (strcmp(on_missing, "discard") == 0)
		model->on_missing = ATQ_MISSING_DISCARD;
	MemoryContextSwitchTo(old);
	*(AtqModel **) arg = model;
}

AtqModel *
atq_registry_model_of(Oid relation)
{
	RelationEntry *entry;
	ListCell   *lc;

	make_cache();
	if (relations == NULL)
	{
		HTAB	   *found = make_hash("asynctasq model relations",
									  sizeof(Oid), sizeof(RelationEntry),
									  false);

		visit_rows(ATQ_TABLE_MODEL, ATQ_TABLE_MODEL_KEY, 0, NULL,
				   read_relation, found);
		relations = found;
	}
	entry = hash_search(relations, &relation, HASH_FIND, NULL);
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
read_relation(HeapTuple tuple, TupleDesc desc, void *arg)
{
	AtqModel   *model;
	RelationEntry *entry;
	MemoryContext old;
	bool		found;

	read_model(tuple, desc, &model);
	if (!OidIsValid(model->relation))
		return;
	entry = hash_search((HTAB *) arg, &model->relation, HASH_ENTER, &found);
	old = MemoryContextSwitchTo(registry_context);
	entry->models = lappend(found ? entry->models : NIL, model);
	MemoryContextSwitchTo(old);
}

List *
atq_registry_classes(void)
{
	List	   *classes = NIL;

	make_cache();
	visit_rows(ATQ_TABLE_MODEL, ATQ_TABLE_MODEL_KEY, 0, NULL, read_class,
			   &classes);
	return classes;
}

static void
read_class(HeapTuple tuple, TupleDesc desc, void *arg)
{
	List	  **classes = arg;

	*classes = lappend(*classes, get_text(tuple, MODEL_CLASS, desc));
}

void
atq_registry_queue_lock(int32 id, LOCKMODE mode)
{
	LockDatabaseObject(atq_registry_table(ATQ_TABLE_QUEUE), id, 0, mode);
}

bool
atq_registry_may_dispatch(const AtqHandler *handler, Oid role)
{
	ScanKeyData key;
	List	   *granted = NIL;
	ListCell   *lc;

	if (has_privs_of_role(role, handler->role))
		return true;
	ScanKeyInit(&key, GRANT_HANDLER, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(handler->name));
	visit_rows(ATQ_TABLE_HANDLER_GRANT, ATQ_TABLE_HANDLER_GRANT_KEY, 1, &key,
			   read_grant, &granted);
	foreach(lc, granted)
	{
		Oid			grantee = lfirst_oid(lc);

		if (!OidIsValid(grantee) || has_privs_of_role(role, grantee))
			return true;
	}
	return false;
}

static void
read_grant(HeapTuple tuple, TupleDesc desc, void *arg)
{
	List	  **granted = arg;

	*granted = lappend_oid(*granted, get_oid(tuple, GRANT_ROLE, desc));
}

const AtqHome *
atq_registry_home(void)
{
	make_cache();
	if (home == NULL)
	{
		AtqHome		found = {0};
		ScanKeyData key;

		ScanKeyInit(&key, HOME_DATABASE, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(MyDatabaseId));
		visit_rows(ATQ_TABLE_HOME, ATQ_TABLE_HOME_KEY, 1, &key, read_home,
				   &found);
		home = MemoryContextAlloc(registry_context, sizeof(AtqHome));
		*home = found;
	}
	return home;
}

/* Rows of another cluster count only if this one may be its upgrade. */
static void
read_home(HeapTuple tuple, TupleDesc desc, void *arg)
{
	AtqHome    *found = arg;
	bool		isnull;
	int64		identifier;

	identifier = DatumGetInt64(heap_getattr(tuple, HOME_SYSTEM_IDENTIFIER,
											desc, &isnull));
	if (identifier == (int64) GetSystemIdentifier())
	{
		found->known = true;
		found->here = get_bool(tuple, HOME_HERE, desc);
	}
	else if (!found->known &&
			 get_int(tuple, HOME_VERSION, desc) < ATQ_SERVER_MAJOR)
	{
		found->here = get_bool(tuple, HOME_HERE, desc) &&
			(found->here || !found->upgraded);
		found->upgraded = true;
	}
}

void
atq_registry_check_name(const char *what, const char *name)
{
	Size		len = strlen(name);

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a %s must not be empty", what)));
	if (len >= ATQ_NAME_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a %s is too long", what),
				 errdetail("It has %zu bytes; at most %d are allowed.",
						   len, ATQ_NAME_LEN - 1)));
	for (Size i = 0; i < len; i++)
	{
		if ((unsigned char) name[i] < ' ' || name[i] == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("name of a %s must not contain control characters",
							what)));
	}
}

int64
atq_interval_us(const Interval *interval)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH +
		interval->day;
	int64		us;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &us) ||
		pg_add_s64_overflow(us, interval->time, &us))
		return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return us;
}
