/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Handlers, queues and models, cached in each backend.
 *
 * Changes to the registries, by anyone, empty the cache through a relcache
 * invalidation, at the next look-up.  What a look-up returned stays valid
 * until then, and while atq_registry_keep is in force until the end of the
 * transaction.  All look-ups need a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_REGISTRY_H
#define ATQ_STORE_REGISTRY_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

#include "base/held.h"
#include "wire/msgpack.h"

/* Relations of the extension, by which their OIDs are asked for. */
typedef enum AtqTable
{
	ATQ_TABLE_HANDLER,
	ATQ_TABLE_HANDLER_KEY,
	ATQ_TABLE_HANDLER_GRANT,
	ATQ_TABLE_HANDLER_GRANT_KEY,
	ATQ_TABLE_MODEL,
	ATQ_TABLE_MODEL_KEY,
	ATQ_TABLE_QUEUE,
	ATQ_TABLE_QUEUE_KEY,
	ATQ_TABLE_QUEUE_OWNER_NAME,
	ATQ_TABLE_TASK_UNLOGGED,
	ATQ_TABLE_TASK_UNLOGGED_ID,
	ATQ_TABLE_TASK_UNLOGGED_READY,
	ATQ_TABLE_TASK_UNLOGGED_DELAYED,
	ATQ_TABLE_TASK_LOGGED,
	ATQ_TABLE_TASK_LOGGED_ID,
	ATQ_TABLE_TASK_LOGGED_READY,
	ATQ_TABLE_TASK_LOGGED_DELAYED,
	ATQ_TABLE_TASK_ID_SEQ,
	ATQ_TABLE_HOME,
	ATQ_TABLE_HOME_KEY,
	ATQ_NTABLES
} AtqTable;

/* How rows are locked when they are read. */
typedef enum AtqRowLock
{
	ATQ_LOCK_NONE,
	ATQ_LOCK_SHARE,
	ATQ_LOCK_UPDATE,
	ATQ_NLOCKS
} AtqRowLock;

/*
 * For whom something was allowed, as of which generation: changes of
 * privileges, of row security, of roles and their memberships begin a new one.
 */
typedef struct AtqAllowed
{
	Oid			user;
	uint64		generation;
} AtqAllowed;

typedef struct AtqHandler
{
	char	   *name;
	Oid			role;			/* runs as */
	char	   *function;		/* qualified signature, as regprocedure prints
								 * it */
	char	   *queue;
	int			max_attempts;
	int64		retry_delay_us;
	bool		exponential;
	int64		timeout_us;		/* 0: none */
	int			priority;
	char	   *should_retry;	/* qualified signatures, or NULL */
	char	   *on_failure;
	bool		keep_result;
	int			group_size;
	int			batch_size;		/* 0: called for one task at a time */
	AtqRowLock	lock;			/* of the rows that its arguments refer to */
	struct AtqStat *stat;		/* counters, or NULL */
	void	   *call;			/* task/handler.c's, made on first use in
								 * atq_registry_context() */
} AtqHandler;

typedef struct AtqQueue
{
	int32		id;
	Oid			owner;
	char	   *name;
	bool		durable;
	bool		paused;
	int			max_concurrency;	/* 0: no limit */
	struct AtqStat *stat;
} AtqQueue;

typedef enum AtqOnMissing
{
	ATQ_MISSING_NULL,
	ATQ_MISSING_ERROR,
	ATQ_MISSING_DISCARD
} AtqOnMissing;

typedef struct AtqModel
{
	char	   *orm;
	char	   *class_name;
	Oid			owner;			/* who registered it; InvalidOid: nobody did */
	Oid			relation;		/* InvalidOid: dropped */
	bool		made_again;		/* it is not the one that was registered, but
								 * has its name */
	char	   *relation_name;	/* when it was registered, qualified and
								 * quoted */
	int			nkeys;
	char	  **keys;			/* column names in key order */
	AtqOnMissing on_missing;
	char	   *server;			/* where the rows are; NULL: here */
	AtqAllowed	trusted;		/* store/trust.c's */
	AtqHeld		held;			/* task/target.c's, of the relation */
	void	   *plan;			/* task/modelplan.c's, made on first use in
								 * atq_registry_context() */
} AtqModel;

/* Whether tasks run in this database: see store/home.c. */
typedef struct AtqHome
{
	bool		known;			/* there is a row for it and this cluster */
	bool		upgraded;		/* .. for it and one of an older version */
	bool		here;			/* what they say */
} AtqHome;

/* Sets the invalidation callbacks; from _PG_init. */
extern void atq_registry_init(void);

/* True where the extension is installed in the library's version. */
extern bool atq_registry_installed(void);

/* Has all backends look for the extension anew after the commit. */
extern void atq_registry_invalidate(void);

/* OID of a table; throws 55000 where the extension is not installed so. */
extern Oid	atq_registry_table(AtqTable table);

/* Owner of the extension: the identity for statements on its tables. */
extern Oid	atq_registry_owner(void);

/*
 * Context of everything cached, for what others hang on its entries; emptied
 * when a registry, a function or a relation that is used changes.
 */
extern MemoryContext atq_registry_context(void);

/*
 * While true, what has been looked up outlives invalidations until the
 * transaction ends: for whoever calls user code in between.  Returns what was
 * in force before, which the caller restores on every path.
 */
extern bool atq_registry_keep(bool keep);

/* Has the cache emptied at the next look-up. */
extern void atq_registry_forget(void);

/* Changes whenever what was read from the registry may be out of date. */
extern uint64 atq_registry_generation(void);

/*
 * True when what was allowed then still is.  Else *now is what is to be kept,
 * if it turns out to be allowed.
 */
extern bool atq_registry_still_allowed(const AtqAllowed *then,
									   AtqAllowed *now);

/*
 * Look-ups; NULL when there is none.  A class of the ORM "postgres" that is
 * not registered is the qualified name of a table.
 */
extern AtqHandler *atq_registry_handler(const char *name);
extern AtqQueue *atq_registry_queue(int32 id);
extern AtqQueue *atq_registry_queue_named(Oid owner, const char *name);
extern AtqModel *atq_registry_model(const char *orm, AtqSpan class_name);

/*
 * True unless the model's class is the qualified name of another table than its
 * own, whose owner and the current user need not have it so: then the class
 * means that table, where no ORM is given or it is "postgres".
 */
extern bool atq_registry_has_name(const AtqModel *model);

/* True where a table could have the class as its name: it has a schema's. */
extern bool atq_registry_is_table_name(const char *class_name);

/* Classes of all registered models: of char *, in the current context. */
extern List *atq_registry_classes(void);

/*
 * The model a relation was registered as, the first by (orm, class) of those
 * that the current user may take for it (atq_trust_registration).
 */
extern AtqModel *atq_registry_model_of(Oid relation);

/* True where a relation has a name, qualified and quoted. */
extern bool atq_registry_is_relation(Oid relation, const char *name);

/* Whether tasks run here; never NULL. */
extern const AtqHome *atq_registry_home(void);

/* All queues of a role: array in the cache, count returned. */
extern int	atq_registry_queues_of(Oid owner, AtqQueue ***queues);

/* All queues of the database, a list in the current context. */
extern List *atq_registry_queues(void);

/*
 * The queue of that name, made (not durable) when there is none.  Name must
 * have been checked.
 */
extern AtqQueue *atq_registry_queue_ensure(Oid owner, const char *name);

/*
 * Locks a queue until the transaction ends: AccessShareLock to send tasks to
 * it, AccessExclusiveLock to drop it.  What was looked up before may be gone.
 */
extern void atq_registry_queue_lock(int32 id, LOCKMODE mode);

/* True when the role may dispatch to the handler: member or granted. */
extern bool atq_registry_may_dispatch(const AtqHandler *handler, Oid role);

/*
 * Checks a name of a handler, queue or class: not empty, below ATQ_NAME_LEN
 * bytes, no control characters; what is the word for it.  Throws 22023.
 */
extern void atq_registry_check_name(const char *what, const char *name);

/* An interval as microseconds, a month being 30 days; saturates. */
extern int64 atq_interval_us(const Interval *interval);

#endif							/* ATQ_STORE_REGISTRY_H */
