/*-------------------------------------------------------------------------
 *
 * dispatch.h
 *	  Bringing tasks into their queues.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_DISPATCH_H
#define ATQ_TASK_DISPATCH_H

#include "store/storage.h"

/* Options of a dispatch; a NULL or negative one is the handler's default. */
typedef struct AtqDispatchOptions
{
	const char *queue;
	TimestampTz run_at;			/* 0: at once */
	bool		has_priority;
	int			priority;
	int			attempt;		/* attempts that have ended elsewhere */
	int			max_attempts;
	int64		retry_delay_us;
	int64		timeout_us;
	const char *correlation_id;
} AtqDispatchOptions;

/* A dispatch under way: one handler, one set of options, any number. */
typedef struct AtqDispatch AtqDispatch;

extern void atq_dispatch_defaults(AtqDispatchOptions *options);

/*
 * Finds the handler and the queue (making it when it is new) and checks that
 * the current user may dispatch.  Throws 42704, 42501, 22023, 25006, and
 * 54000 where the chain of tasks is too long.
 */
extern AtqDispatch *atq_dispatch_begin(const char *handler,
									   const AtqDispatchOptions *options);

/* Throws where arguments are no map (22023), or are too large (54000). */
extern void atq_dispatch_check_args(AtqSpan args);

/* Inserts one task, its arguments checked.  Returns its id. */
extern int64 atq_dispatch_task(AtqDispatch *dispatch, AtqSpan args);

extern void atq_dispatch_end(AtqDispatch *dispatch);

/* Ranges of options, also of registrations; throw 22023 naming the option. */
#define ATQ_MAX_ATTEMPTS	1000
#define ATQ_MAX_INTERVAL_US	(INT64CONST(3650) * USECS_PER_DAY)
extern TimestampTz atq_check_delay(const Interval *value);	/* run_at, or 0 */
extern int	atq_check_max_attempts(int value);
extern int64 atq_check_retry_delay(const Interval *value);
extern int64 atq_check_timeout(const Interval *value);

#endif							/* ATQ_TASK_DISPATCH_H */
