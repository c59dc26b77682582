/*-------------------------------------------------------------------------
 *
 * attempt.h
 *	  An attempt: one run of a task, and who runs it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_ATTEMPT_H
#define ATQ_TASK_ATTEMPT_H

#include "base/compat.h"
#include "base/lane.h"
#include "base/stats.h"
#include "store/storage.h"

/*
 * How attempts are run: by a worker in a transaction, by drain() in a
 * subtransaction of the caller's.
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

	/*
	 * makes way for the next task in the same transaction, and like begin
	 * sets the statement's time; NULL: no groups, and begin sets none
	 */
	void		(*next) (void);
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
	int			max_attempts;	/* or -1: the handler's, which is not known yet */
	TimestampTz started_at;
	int			depth;			/* the task's, or the greatest of its batch */
	uint64		signature;		/* of tasks like it, as the evidence has it; 0
								 * where tasks survive a crash */
	bool		called;			/* the arguments were bound, the handler
								 * itself was reached */
	bool		crashed;		/* the server did: settled afterwards */
	bool		quarantined;	/* not run: tasks like it crash the server */
	bool		timed_out;
	bool		cancelled;		/* cancel() meant this task */
	bool		asked;			/* should_retry is not asked (again) */
} AtqAttempt;

/* The attempt under way in this backend (of a batch the first), or NULL. */
extern PGDLLIMPORT AtqAttempt *atq_attempt_current;

/*
 * Makes an attempt the one under way, and says so in the worker's slot unless
 * that is NULL; unrun_id is the claimed task behind it, or ATQ_ID_NONE.
 */
extern void atq_attempt_begin(AtqAttempt *attempt, AtqSlot *slot,
							  int64 unrun_id);

/*
 * The depth of a task that is dispatched here and now: 0 where no task runs.
 * Throws 54000 where asynctasq.max_chain_depth does not allow it.
 */
extern int	atq_attempt_next_depth(void);

/* Says that a task shares the transaction of the one under way. */
extern void atq_attempt_add_member(AtqSlot *slot, int64 task_id);

/*
 * Says that of all tasks held only this one is, or with 0 that none is: the
 * transaction is about to be rolled back.
 */
extern void atq_attempt_keep_only(AtqSlot *slot, int64 task_id);

/* Says that the tasks held have their outcome, ntasks of them. */
extern void atq_attempt_settled(AtqSlot *slot, int ntasks);

/*
 * Starts the time that the task may take, 0 meaning for ever, and ends it.
 * When it is over the task is cancelled.
 */
extern void atq_attempt_arm(int64 timeout_us);
extern void atq_attempt_disarm(void);

/* True when the time that was armed last has run out. */
extern bool atq_attempt_timed_out(void);

/*
 * Says in the worker's slot that the running task is told to stop; from signal
 * handlers.
 */
extern void atq_attempt_stop(AtqSlot *slot);

/*
 * The task has heard cancel(): unless it is disarmed in time, the worker ends.
 */
extern void atq_attempt_cancel_heard(void);

/*
 * Notes that user code did what lasts longer than its task; true when that
 * was so since the attempt under way began.
 */
extern void atq_attempt_touch_session(void);
extern bool atq_attempt_touched_session(void);

/* Notes that user code is about to call a function. */
extern void atq_attempt_note_call(Oid function);

/*
 * True for a function whose effects outlive a rollback: advisory locks of the
 * session, the seed of random().
 */
extern bool atq_attempt_leaves_session(Oid function);

/* Gives random() a new seed if user code has set one. */
extern void atq_attempt_forget_seed(void);

/*
 * From PG_CATCH: rolls back what the runner has begun and throws the error,
 * which was copied to the current context, to the caller.
 */
extern void atq_attempt_rethrow(const AtqRunner *runner, ErrorData *error)
			atq_noreturn;

/* The attempt's task as jsonb, as should_retry and on_failure get it. */
extern Jsonb *atq_attempt_json(const AtqAttempt *attempt);

#endif							/* ATQ_TASK_ATTEMPT_H */
