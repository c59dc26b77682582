/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Handlers, queues and models, cached in each backend.
 *
 * Entries are read from the registry tables one at a time, when first asked
 * for, through the tables' indexes and under a fresh catalog snapshot, so
 * that neither privileges nor search_path nor plans are involved.  Those of
 * models are read by models.c.
 *
 * All of the cache lives in a context of its own, made with the first entry.
 * An invalidation of one of our tables, of a model's relation, of a function,
 * of a namespace, of a role or of a membership only marks it as stale; the next
 * look-up deletes the context and starts anew.  While a task runs the old one
 * is not deleted but left to the transaction: the task's handler may look
 * something up itself, and what its caller holds must survive that
 * (atq_registry_keep).
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
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/stats.h"
#include "store/cache.h"
#include "store/extension.h"
#include "store/notice.h"
#include "store/storage.h"

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

typedef enum Finding
{
	FOUND, ABSENT, OTHER_VERSION
} Finding;

/* The extension and OIDs of its tables, valid while tables_known. */
static bool tables_known = false;
static Oid	tables[ATQ_NTABLES];
static AtqExtension extension;

AtqCache	atq_cache;

static bool cache_stale = false;
static bool cache_kept = false;
static uint64 cache_generation = 0;

static void relation_changed(Datum arg, Oid relid);
static void catalog_changed(Datum arg, int cacheid, uint32 hashvalue);
static void require_tables(void);
static Finding find_tables(void);
static int32 get_int(const AtqCacheRow *row, int column);
static bool get_bool(const AtqCacheRow *row, int column);
static int64 get_interval(const AtqCacheRow *row, int column);
static void read_handler(const AtqCacheRow *row, void *arg);
static void read_queue(const AtqCacheRow *row, void *arg);
static void read_lane_queue(const AtqCacheRow *row, void *arg);
static void read_grant(const AtqCacheRow *row, void *arg);
static void read_home(const AtqCacheRow *row, void *arg);

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
		(atq_cache.watched != NULL &&
		 hash_search(atq_cache.watched, &relid, HASH_FIND, NULL) != NULL))
		cache_stale = true;
	for (int i = 0; i < ATQ_NTABLES && tables_known; i++)
	{
		if (!OidIsValid(relid) || tables[i] == relid)
		{
			tables_known = false;
			cache_stale = true;
		}
	}
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	cache_stale = true;
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
	atq_cache_open();
	return atq_cache.context;
}

uint64
atq_registry_generation(void)
{
	atq_cache_open();
	return cache_generation;
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
	bool		kept = cache_kept;

	cache_kept = keep;
	return kept;
}

void
atq_registry_forget(void)
{
	cache_stale = true;
}

void
atq_cache_open(void)
{
	MemoryContext old = atq_cache.context;

	(void) atq_registry_table(ATQ_TABLE_HANDLER);
	if (old != NULL && !cache_stale)
		return;
	memset(&atq_cache, 0, sizeof(AtqCache));
	if (old != NULL && cache_kept)
		MemoryContextSetParent(old, TopTransactionContext);
	else if (old != NULL)
		MemoryContextDelete(old);
	atq_cache.context = AllocSetContextCreate(CacheMemoryContext,
											  "asynctasq registry",
											  ALLOCSET_DEFAULT_SIZES);
	cache_stale = true;			/* until it is complete */
	cache_generation++;
	atq_cache.handlers = atq_cache_hash("asynctasq handlers", ATQ_NAME_LEN,
										sizeof(HandlerEntry), true);
	atq_cache.queues = atq_cache_hash("asynctasq queues", sizeof(int32),
									  sizeof(QueueEntry), false);
	atq_cache.lanes = atq_cache_hash("asynctasq lanes", sizeof(Oid),
									 sizeof(LaneEntry), false);
	atq_cache.watched = atq_cache_hash("asynctasq watched", sizeof(Oid),
									   sizeof(Oid), false);
	cache_stale = false;
}

HTAB *
atq_cache_hash(const char *name, Size keysize, Size entrysize, bool strings)
{
	HASHCTL		ctl;

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = atq_cache.context;
	return hash_create(name, 32, &ctl,
					   HASH_ELEM | HASH_CONTEXT |
					   (strings ? HASH_STRINGS : HASH_BLOBS));
}

void
atq_cache_scan(AtqTable table, AtqTable index, int nkeys, ScanKey keys,
			   AtqCacheReader read, void *arg)
{
	Relation	rel = table_open(atq_registry_table(table), AccessShareLock);
	Relation	irel = index_open(tables[index], AccessShareLock);
	AtqCacheRow row = {.desc = RelationGetDescr(rel)};
	SysScanDesc scan;

	scan = systable_beginscan_ordered(rel, irel, NULL, nkeys, keys);
	while ((row.tuple = systable_getnext_ordered(scan,
												 ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		read(&row, arg);
	}
	systable_endscan_ordered(scan);
	index_close(irel, AccessShareLock);
	table_close(rel, AccessShareLock);
}

char *
atq_cache_text(const AtqCacheRow *row, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(row->tuple, column, row->desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static int32
get_int(const AtqCacheRow *row, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(row->tuple, column, row->desc, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static bool
get_bool(const AtqCacheRow *row, int column)
{
	bool		isnull;

	return DatumGetBool(heap_getattr(row->tuple, column, row->desc, &isnull));
}

Oid
atq_cache_oid(const AtqCacheRow *row, int column)
{
	bool		isnull;

	return DatumGetObjectId(heap_getattr(row->tuple, column, row->desc,
										 &isnull));
}

static int64
get_interval(const AtqCacheRow *row, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(row->tuple, column, row->desc, &isnull);

	return isnull ? 0 : atq_interval_us(DatumGetIntervalP(value));
}

AtqHandler *
atq_registry_handler(const char *name)
{
	HandlerEntry *entry;
	AtqHandler *handler = NULL;
	ScanKeyData key;

	atq_cache_open();
	if (atq_cache.last_handler != NULL &&
		strcmp(atq_cache.last_handler->name, name) == 0)
		return atq_cache.last_handler;
	if (strlen(name) >= ATQ_NAME_LEN)
		return NULL;
	entry = hash_search(atq_cache.handlers, name, HASH_FIND, NULL);
	if (entry != NULL)
		return atq_cache.last_handler = entry->handler;
	ScanKeyInit(&key, HANDLER_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	atq_cache_scan(ATQ_TABLE_HANDLER, ATQ_TABLE_HANDLER_KEY, 1, &key,
				   read_handler, &handler);
	if (handler == NULL)
		return NULL;
	entry = hash_search(atq_cache.handlers, name, HASH_ENTER, NULL);
	entry->handler = handler;
	return handler;
}

static void
read_handler(const AtqCacheRow *row, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(atq_cache.context);
	AtqHandler *handler = palloc0(sizeof(AtqHandler));
	char	   *strategy = atq_cache_text(row, HANDLER_RETRY_STRATEGY);
	char	   *lock = atq_cache_text(row, HANDLER_LOCK);

	handler->name = atq_cache_text(row, HANDLER_NAME);
	handler->role = atq_cache_oid(row, HANDLER_ROLE);
	handler->function = atq_cache_text(row, HANDLER_FUNCTION);
	handler->queue = atq_cache_text(row, HANDLER_QUEUE);
	handler->max_attempts = get_int(row, HANDLER_MAX_ATTEMPTS);
	handler->retry_delay_us = get_interval(row, HANDLER_RETRY_DELAY);
	handler->exponential = strcmp(strategy, "exponential") == 0;
	handler->timeout_us = get_interval(row, HANDLER_TIMEOUT);
	handler->priority = get_int(row, HANDLER_PRIORITY);
	handler->should_retry = atq_cache_text(row, HANDLER_SHOULD_RETRY);
	handler->on_failure = atq_cache_text(row, HANDLER_ON_FAILURE);
	handler->keep_result = get_bool(row, HANDLER_KEEP_RESULT);
	handler->group_size = get_int(row, HANDLER_GROUP_SIZE);
	handler->batch_size = get_int(row, HANDLER_BATCH_SIZE);
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
	AtqCacheRow row;
	Datum		value;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("asynctasq.queue_made() must be called as a trigger")));
	if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		RelationGetRelid(trigger->tg_relation) !=
		atq_registry_table(ATQ_TABLE_QUEUE))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("asynctasq.queue_made() must be called for rows of table \"queue\"")));
	row.tuple = trigger->tg_trigtuple;
	row.desc = RelationGetDescr(trigger->tg_relation);
	value = Int32GetDatum(get_int(&row, QUEUE_ID));
	atq_spi_execute(&plan,
					"INSERT INTO asynctasq.crash_mark (queue_id) VALUES ($1) "
					"ON CONFLICT DO NOTHING",
					1, types, &value, NULL, SPI_OK_INSERT);
	PG_RETURN_POINTER(NULL);
}

AtqQueue *
atq_registry_queue(int32 id)
{
	QueueEntry *entry;
	AtqQueue   *queue = NULL;
	ScanKeyData key;

	atq_cache_open();
	if (atq_cache.last_queue != NULL && atq_cache.last_queue->id == id)
		return atq_cache.last_queue;
	entry = hash_search(atq_cache.queues, &id, HASH_FIND, NULL);
	if (entry != NULL)
		return atq_cache.last_queue = entry->queue;
	ScanKeyInit(&key, QUEUE_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(id));
	atq_cache_scan(ATQ_TABLE_QUEUE, ATQ_TABLE_QUEUE_KEY, 1, &key, read_queue,
				   &queue);
	if (queue == NULL)
		return NULL;
	entry = hash_search(atq_cache.queues, &id, HASH_ENTER, NULL);
	entry->queue = queue;
	return queue;
}

static void
read_queue(const AtqCacheRow *row, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(atq_cache.context);
	AtqQueue   *queue = palloc0(sizeof(AtqQueue));

	queue->id = get_int(row, QUEUE_ID);
	queue->owner = atq_cache_oid(row, QUEUE_OWNER);
	queue->name = atq_cache_text(row, QUEUE_NAME);
	queue->durable = get_bool(row, QUEUE_DURABLE);
	queue->paused = get_bool(row, QUEUE_PAUSED);
	queue->max_concurrency = get_int(row, QUEUE_MAX_CONCURRENCY);
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

	atq_cache_open();
	atq_cache_scan(ATQ_TABLE_QUEUE, ATQ_TABLE_QUEUE_KEY, 0, NULL,
				   read_lane_queue, &list);
	return list;
}

int
atq_registry_queues_of(Oid owner, AtqQueue ***result)
{
	LaneEntry  *entry;
	List	   *list = NIL;
	ScanKeyData key;

	atq_cache_open();
	entry = hash_search(atq_cache.lanes, &owner, HASH_FIND, NULL);
	if (entry == NULL)
	{
		AtqQueue  **array;
		ListCell   *lc;
		int			n = 0;

		ScanKeyInit(&key, QUEUE_OWNER, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(owner));
		atq_cache_scan(ATQ_TABLE_QUEUE, ATQ_TABLE_QUEUE_OWNER_NAME, 1, &key,
					   read_lane_queue, &list);
		array = MemoryContextAlloc(atq_cache.context,
								   sizeof(AtqQueue *) * (list_length(list) + 1));
		foreach(lc, list)
			array[n++] = lfirst(lc);
		entry = hash_search(atq_cache.lanes, &owner, HASH_ENTER, NULL);
		entry->nqueues = n;
		entry->queues = array;
	}
	*result = entry->queues;
	return entry->nqueues;
}

static void
read_lane_queue(const AtqCacheRow *row, void *arg)
{
	List	  **list = arg;
	AtqQueue   *queue;

	read_queue(row, &queue);
	*list = lappend(*list, queue);
}

AtqQueue *
atq_registry_queue_ensure(Oid owner, const char *name)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {OIDOID, TEXTOID};
	AtqQueue   *queue = atq_registry_queue_named(owner, name);
	Datum		values[2];

	if (queue != NULL)
		return queue;
	values[0] = ObjectIdGetDatum(owner);
	values[1] = CStringGetTextDatum(name);
	atq_spi_execute(&plan,
					"INSERT INTO asynctasq.queue (owner, name) "
					"VALUES ($1::pg_catalog.regrole, $2) "
					"ON CONFLICT DO NOTHING",
					2, types, values, NULL, SPI_OK_INSERT);
	CommandCounterIncrement();
	cache_stale = true;
	queue = atq_registry_queue_named(owner, name);
	if (queue == NULL)
		elog(ERROR, "queue \"%s\" vanished while it was made", name);
	return queue;
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
	atq_cache_scan(ATQ_TABLE_HANDLER_GRANT, ATQ_TABLE_HANDLER_GRANT_KEY, 1,
				   &key, read_grant, &granted);
	foreach(lc, granted)
	{
		Oid			grantee = lfirst_oid(lc);

		if (!OidIsValid(grantee) || has_privs_of_role(role, grantee))
			return true;
	}
	return false;
}

static void
read_grant(const AtqCacheRow *row, void *arg)
{
	List	  **granted = arg;

	*granted = lappend_oid(*granted, atq_cache_oid(row, GRANT_ROLE));
}

const AtqHome *
atq_registry_home(void)
{
	atq_cache_open();
	if (atq_cache.home == NULL)
	{
		AtqHome		found = {0};
		ScanKeyData key;

		ScanKeyInit(&key, HOME_DATABASE, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(MyDatabaseId));
		atq_cache_scan(ATQ_TABLE_HOME, ATQ_TABLE_HOME_KEY, 1, &key, read_home,
					   &found);
		atq_cache.home = MemoryContextAlloc(atq_cache.context,
											sizeof(AtqHome));
		*atq_cache.home = found;
	}
	return atq_cache.home;
}

/* Rows of another cluster count only if this one may be its upgrade. */
static void
read_home(const AtqCacheRow *row, void *arg)
{
	AtqHome    *found = arg;
	bool		isnull;
	int64		identifier;

	identifier = DatumGetInt64(heap_getattr(row->tuple,
											HOME_SYSTEM_IDENTIFIER,
											row->desc, &isnull));
	if (identifier == (int64) GetSystemIdentifier())
	{
		found->known = true;
		found->here = get_bool(row, HOME_HERE);
	}
	else if (!found->known &&
			 get_int(row, HOME_VERSION) < ATQ_SERVER_MAJOR)
	{
		found->here = get_bool(row, HOME_HERE) &&
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
