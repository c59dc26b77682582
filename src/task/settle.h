/*-------------------------------------------------------------------------
 *
 * settle.h
 *	  Giving a failed task its outcome.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_SETTLE_H
#define ATQ_TASK_SETTLE_H

#include "task/attempt.h"

/*
 * Records a failed attempt, in transactions of its own: a later retry, a dead
 * letter, or a cancelled task; asks should_retry and tells on_failure.
 * Throws only when not even the shortest record could be written.
 */
extern AtqOutcome atq_settle_failure(const AtqRunner *runner,
									 AtqAttempt *attempt,
									 const ErrorData *failure);

#endif							/* ATQ_TASK_SETTLE_H */
