/*-------------------------------------------------------------------------
 *
 * follow.h
 *	  Handlers and models follow their functions and relations to new names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_FOLLOW_H
#define ATQ_TASK_FOLLOW_H

#include "nodes/pg_list.h"

/* What the handlers and models mean, before something is renamed. */
extern List *atq_follow_note(void);

/* Has them mean the same ones, by the names they have. */
extern void atq_follow_update(List *noted);

#endif							/* ATQ_TASK_FOLLOW_H */
