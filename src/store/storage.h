/*-------------------------------------------------------------------------
 *
 * storage.h
 *	  Every statement on the extension's own tables, one function each.
 *
 * The path of a task that succeeds (insert, read ready ids, take the row)
 * goes through the table and index access methods: no SQL, no planning, no
 * privileges, no search_path.  What happens rarely goes through SPI, as the
 * extension's owner for just that statement and under a pinned search_path
 * (atq_spi_begin).
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_STORAGE_H
#define ATQ_STORE_STORAGE_H

#include "executor/spi.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "store/registry.h"

/* A task as its row holds it; text and args palloc'd by who filled it. */
typedef struct AtqTask
{
	int64		id;
	int32		queue_id;
	int32		priority;
	int			attempt;		/* attempts that have ended */
	int			depth;			/* tasks between it and one that no task has
								 * dispatched */
	int			max_attempts;	/* -1: the handler's */
	int64		retry_delay_us; /* -1: the handler's */
	int64		timeout_us;		/* -1: the handler's */
	bool		durable;
	TimestampTz dispatched_at;
	TimestampTz run_at;			/* 0: ready */
	char	   *task;			/* handler's name */
	char	   *correlation_id; /* or NULL */
	AtqSpan		args;
	struct AtqResolution *ahead;	/* rows fetched for it, or NULL: set by
									 * who runs it */
} AtqTask;

/* A claimed task: where its row was. */
typedef struct AtqCandidate
{
	int64		id;
	ItemPointerData tid;
	Oid			file;			/* the table's relfilenode */
} AtqCandidate;

/* State for inserting many tasks into one partition. */
typedef struct AtqInserter AtqInserter;

extern AtqInserter *atq_insert_begin(bool durable);
extern void atq_insert_task(AtqInserter *inserter, const AtqTask *task);
extern void atq_insert_end(AtqInserter *inserter);

/* Counts the tasks that this backend has inserted. */
extern uint64 atq_storage_inserts;

/* The next task id. */
extern int64 atq_storage_next_id(void);

/*
 * Reads up to limit ready tasks of a queue and priority with id >= from in
 * the order of their ids, under the given snapshot; returns their number.
 */
extern int	atq_storage_read_ready(bool durable, int32 queue_id,
								   int32 priority, int64 from,
								   Snapshot snapshot,
								   AtqCandidate *candidates, int limit);

/*
 * The smallest (priority, id) of a queue's ready tasks with priority >= from;
 * false when there is none.
 */
extern bool atq_storage_first_ready(bool durable, int32 queue_id,
									int64 from_priority, Snapshot snapshot,
									int32 *priority, int64 *id);

/* When the queue's next delayed task is due, or DT_NOEND. */
extern TimestampTz atq_storage_next_due(bool durable, int32 queue_id,
										Snapshot snapshot);

/*
 * Reads a claimed task's row and deletes it in the current transaction,
 * without waiting.  Unless only is NULL, a task of another handler is left
 * alone.  What it returns lives in the current memory context.
 */
typedef enum AtqTake
{
	ATQ_TAKE_DONE,
	ATQ_TAKE_GONE,				/* or changed, or locked by another */
	ATQ_TAKE_MOVED,				/* maybe gone, or elsewhere: its table was
								 * rewritten */
	ATQ_TAKE_OTHER				/* a task of another handler */
} AtqTake;

extern AtqTake atq_storage_take(bool durable, const AtqCandidate *candidate,
								const char *only, AtqTask *task);

/* Reads it and leaves it; false where it is gone or has been changed. */
extern bool atq_storage_peek(bool durable, const AtqCandidate *candidate,
							 AtqTask *task);

/*
 * Finds a task's row by id, as the latest snapshot sees it, without a lock;
 * false when there is none.  *candidate is for atq_storage_take.
 */
extern bool atq_storage_find(int64 id, bool *durable,
							 AtqCandidate *candidate);

/* Rare statements, each in the current transaction. */

/*
 * Makes up to limit delayed tasks that are due ready, less those that others
 * hold; calls announce for all of them.  Returns the number made ready.
 */
typedef void (*AtqAnnounce) (int32 queue_id, int32 priority, int64 id,
							 void *arg);
extern int	atq_storage_promote_due(bool durable, int32 queue_id,
									TimestampTz now, int limit,
									AtqAnnounce announce, void *arg);

/*
 * Failure of an attempt: the row waits until run_at for the next attempt.
 * False when the row is gone or that attempt has been recorded already.
 */
extern bool atq_storage_postpone(int64 id, int attempt, TimestampTz run_at);

/* Failure for good: the row becomes a dead letter.  False as above. */
extern bool atq_storage_bury(int64 id, int attempt, TimestampTz started_at,
							 Jsonb *error);

/* Keeps a task's outcome; status is "completed" or "cancelled". */
extern void atq_storage_keep(const AtqTask *task, const char *status,
							 int attempt, int max_attempts,
							 TimestampTz started_at, Jsonb *result,
							 Jsonb *error);

/*
 * SPI as the extension's owner under a pinned search_path; end undoes both
 * and must be called by whoever began unless an error unwinds the
 * (sub)transaction, which undoes them as well.
 */
typedef struct AtqSpi
{
	Oid			user;
	int			security_context;
	int			guc_level;
} AtqSpi;

extern void atq_spi_begin(AtqSpi *spi);
extern void atq_spi_end(AtqSpi *spi);

/*
 * Runs one statement inside atq_spi_begin/end with its parameters, checks
 * that it returned the expected SPI code, and gives the number of rows.  The
 * plan is kept in *plan for the next time.
 */
extern uint64 atq_spi_run(SPIPlanPtr *plan, const char *sql, int nargs,
						  Oid *types, Datum *values, const char *nulls,
						  int expected);

/* The same by itself, for a statement whose rows nobody reads. */
extern uint64 atq_spi_execute(SPIPlanPtr *plan, const char *sql, int nargs,
							  Oid *types, Datum *values, const char *nulls,
							  int expected);

#endif							/* ATQ_STORE_STORAGE_H */
