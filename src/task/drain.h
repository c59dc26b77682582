/*-------------------------------------------------------------------------
 *
 * drain.h
 *	  What a task may not do in the session of drain().
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_DRAIN_H
#define ATQ_TASK_DRAIN_H

#include "nodes/nodes.h"

/*
 * A task is about to run a command, or to call a function: throws 0A000 if
 * drain() runs it and could not undo what that does to the session.
 */
extern void atq_drain_check_command(Node *statement);
extern void atq_drain_check_call(Oid function);

#endif							/* ATQ_TASK_DRAIN_H */
