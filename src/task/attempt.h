/*-------------------------------------------------------------------------
 *
 * attempt.h
 *	  An attempt: one run of a task, and who runs it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_ATTEMPT_H
#define ATQ_TASK_ATTEMPT_H

#include "base/lane.h"
#include "base/stats.h"
#include "store/storage.h"

/*
 * How attempts are run: by a worker each in a transaction of its own, by
 * drain() each in a subtransaction of the caller's.
 */
typedef struct AtqRunner
{
	void		(*begin) (void);
	void		(*commit) (void);
	void		(*abort) (void);

	/*
	 * what the handler left to the end of its transaction, run while an error
	 * is still the task's; or NULL
	 */
	void		(*finish) (void);
	/* true for an error that is not the task's: it goes on to the caller */
	bool		(*rethrow) (const ErrorData *error);
	AtqSlot    *slot;			/* the worker's own, or NULL */
} AtqRunner;

typedef struct AtqAttempt
{
	AtqTask		task;
	char		queue[ATQ_NAME_LEN];
	Oid			role;			/* the queue's owner */
	AtqStat    *queue_stat;		/* counters, or NULL */
	AtqStat    *handler_stat;
	int			number;			/* from 1 */
	int			max_attempts;
	TimestampTz started_at;
	bool		called;			/* the arguments were bound, the handler
								 * itself was reached */
	bool		timed_out;
	bool		cancelled;		/* cancel() meant this task */
} AtqAttempt;

/* The attempt under way in this backend, or NULL. */
extern PGDLLIMPORT AtqAttempt *atq_attempt_current;

/* The attempt's task as jsonb, as should_retry and on_failure get it. */
extern Jsonb *atq_attempt_json(const AtqAttempt *attempt);

#endif							/* ATQ_TASK_ATTEMPT_H */
