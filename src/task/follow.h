/*-------------------------------------------------------------------------
 *
 * follow.h
 *	  Handlers follow their functions to new names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_FOLLOW_H
#define ATQ_TASK_FOLLOW_H

#include "nodes/pg_list.h"

/* Which functions the handlers mean, before something is renamed. */
extern List *atq_follow_note(void);

/* Has the handlers mean the same ones, by the names they have. */
extern void atq_follow_update(List *noted);

#endif							/* ATQ_TASK_FOLLOW_H */
