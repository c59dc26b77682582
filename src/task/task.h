/*-------------------------------------------------------------------------
 *
 * task.h
 *	  One task through all stages: take, call, settle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_TASK_H
#define ATQ_TASK_TASK_H

#include "base/lane.h"
#include "task/attempt.h"

/*
 * Runs one claimed task: its effects and its removal, or the record of its
 * failure.  False when the task was gone or held by another.  Throws only
 * what concerns the caller itself (see runner's rethrow), and when a failure
 * could not be recorded.
 */
extern bool atq_task_run(const AtqRunner *runner, bool durable,
						 const AtqCandidate *candidate);

/*
 * Settles an attempt that its worker did not survive, as a failure with
 * SQLSTATE 57P01.
 */
extern void atq_task_settle_orphan(const AtqRunner *runner,
								   const AtqOrphan *orphan);

#endif							/* ATQ_TASK_TASK_H */
