/*-------------------------------------------------------------------------
 *
 * task.h
 *	  Tasks through all stages: take, call, settle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_TASK_H
#define ATQ_TASK_TASK_H

#include "base/evidence.h"
#include "base/lane.h"
#include "task/attempt.h"

/* What atq_task_run has to say, set to zeros by the caller. */
typedef struct AtqRun
{
	int			ended;			/* tasks that were not gone or held by another */
	int			batch_size;		/* of the handler called, or 0 */
	bool		moved;			/* some were not where they had been, because
								 * their table was rewritten */
} AtqRun;

/*
 * Runs the first of n claimed tasks, and the following ones that may share
 * its transaction: their effects and their removal, or the record of their
 * failure.  Returns how many of the n are done with, at least one.  Throws
 * only what concerns the caller itself (see runner's rethrow), and when a
 * failure could not be recorded.
 */
extern int	atq_task_run(const AtqRunner *runner, bool durable,
						 const AtqCandidate *candidates, int n, AtqRun *run);

/*
 * Settles an attempt that its worker did not survive, as a failure with
 * SQLSTATE 57P01.
 */
extern void atq_task_settle_orphan(const AtqRunner *runner,
								   const AtqOrphan *orphan);

/*
 * Settles an attempt that a crash of the server has ended, as a failure with
 * SQLSTATE 57P02, unless another worker does.
 */
extern void atq_task_settle_crashed(const AtqRunner *runner,
									const AtqCrashed *crashed);

#endif							/* ATQ_TASK_TASK_H */
