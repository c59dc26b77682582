/*-------------------------------------------------------------------------
 *
 * notice.h
 *	  Telling lanes of new tasks at commit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_NOTICE_H
#define ATQ_STORE_NOTICE_H

#include "datatype/timestamp.h"

/*
 * Notes that the transaction under way has made a task ready (run_at 0) or
 * delayed in a queue of the role; its lane is told when it has committed.
 */
extern void atq_notice_add(Oid role, int32 queue_id, int32 priority, int64 id,
						   TimestampTz run_at);

/* Has the database scanned for tasks when the transaction has committed. */
extern void atq_notice_scan(void);

/*
 * Has the database's workers leave when the transaction has committed, and
 * ends a hold of its lanes when the transaction has ended either way.
 */
extern void atq_notice_leave(void);

#endif							/* ATQ_STORE_NOTICE_H */
