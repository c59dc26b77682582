/*-------------------------------------------------------------------------
 *
 * prefetch.h
 *	  Rows of other servers, asked for before their tasks begin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_PREFETCH_H
#define ATQ_TASK_PREFETCH_H

#include "task/attempt.h"
#include "task/resolve.h"

/*
 * Asks for rows that the first of n claimed tasks and those behind it will
 * need, as far as that is not done already; never waits for an answer.  A
 * batch is the number of tasks that may run at once.  Called where the runner
 * has begun nothing.
 */
extern void atq_prefetch_ask(const AtqRunner *runner, bool durable,
							 const AtqCandidate *candidates, int n,
							 int batch);

/* True where tasks are looked at ahead: a claim may have more of them. */
extern bool atq_prefetch_is_on(void);

/* What has been asked for a task, or NULL. */
extern AtqResolution *atq_prefetch_of(int64 task_id);

/* The claim has ended: nothing of it is kept.  Never throws. */
extern void atq_prefetch_forget(void);

#endif							/* ATQ_TASK_PREFETCH_H */
