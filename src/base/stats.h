/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  Counters of queues and handlers in shared memory.
 *
 * They start at zero with the server.  An entry is found or made once and
 * stays where it is; its spinlock guards its counters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_STATS_H
#define ATQ_BASE_STATS_H

#include "storage/spin.h"
#include "utils/timestamp.h"

#include "base/lane.h"

#define ATQ_MAX_STATS	2048	/* of each kind */

typedef enum AtqOutcome
{
	ATQ_OUTCOME_COMPLETED,
	ATQ_OUTCOME_RETRIED,		/* failed, will be tried again */
	ATQ_OUTCOME_FAILED,			/* failed for good */
	ATQ_OUTCOME_CANCELLED
} AtqOutcome;

typedef struct AtqStat
{
	Oid			database;		/* InvalidOid: unused */
	int32		queue_id;		/* of a queue, else 0 */
	Oid			role;			/* of a handler, else InvalidOid */
	char		name[ATQ_NAME_LEN]; /* of a handler, else empty */

	slock_t		mutex;
	int64		completed;
	int64		failed;
	int64		retried;
	int64		cancelled;
	double		total_ms;
	double		max_ms;
	int64		minute;			/* number of the minute counted last */
	int64		in_minute;		/* outcomes in it */
	int64		in_minute_before;	/* and in the one before */
} AtqStat;

extern void atq_stats_init(void);

/* Found or made; NULL when there is no more room. */
extern AtqStat *atq_stats_queue(Oid database, int32 queue_id);
extern AtqStat *atq_stats_handler(Oid database, Oid role, const char *name);

/* Counts one outcome; stat may be NULL. */
extern void atq_stats_count(AtqStat *stat, AtqOutcome outcome,
							TimestampTz started_at, TimestampTz now);

/* Copies entry number i; false when it is unused. */
extern bool atq_stats_read_queue(int i, AtqStat *copy);
extern bool atq_stats_read_handler(int i, AtqStat *copy);

/* Outcomes per minute, over the last full minute and the current one. */
extern double atq_stats_per_minute(const AtqStat *copy, TimestampTz now);

/* Drops the entries of a database that is gone. */
extern void atq_stats_forget(Oid database);

#endif							/* ATQ_BASE_STATS_H */
