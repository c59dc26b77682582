/*-------------------------------------------------------------------------
 *
 * poolstat.h
 *	  What each process's pools do, in shared memory, for stat_pools.
 *
 * An entry belongs to one pool of one process, which alone writes it; its
 * spinlock lets others read it whole.  It goes with the pool.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_POOLSTAT_H
#define ATQ_REMOTE_POOLSTAT_H

#include "storage/spin.h"

#define ATQ_MAX_POOLS	1024	/* of all processes */

typedef struct AtqPoolCounts
{
	int			size;			/* connections, of all states */
	int			checked_out;	/* in use */
	int64		waits;			/* requests that found none ready */
	int64		timeouts;		/* .. and got none in time */
	int64		connects;
	int64		recycled;
	int64		errors;			/* connections that failed */
	int64		queries;
	double		total_ms;		/* of the queries, with their waits */
	double		max_ms;
} AtqPoolCounts;

typedef struct AtqPoolStat
{
	int			pid;			/* 0: unused; guarded by the LWLock */
	Oid			database;
	Oid			server;
	Oid			user;
	int			max_size;		/* more than these are overflow */

	slock_t		mutex;			/* guards counts */
	AtqPoolCounts counts;
} AtqPoolStat;

/* Reserves the shared memory; from _PG_init only. */
extern void atq_poolstat_init(void);

/* An entry for this process's pool; NULL when there is no more room. */
extern AtqPoolStat *atq_poolstat_add(Oid server, Oid user);

/* Writes an entry anew; stat may be NULL. */
extern void atq_poolstat_set(AtqPoolStat *stat, int max_size,
							 const AtqPoolCounts *counts);

/* Gives it back; stat may be NULL. */
extern void atq_poolstat_remove(AtqPoolStat *stat);

#endif							/* ATQ_REMOTE_POOLSTAT_H */
