/*-------------------------------------------------------------------------
 *
 * poolstat.c
 *	  What each process's pools do, in shared memory, for stat_pools.
 *
 * One array of fixed size; an LWLock guards which entries are in use.  When
 * it is full further pools work all the same, and are not shown.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/acl.h"

#include "base/shmem.h"
#include "remote/poolstat.h"

#define NCOLUMNS		14

typedef struct PoolStats
{
	LWLock	   *lock;
	AtqPoolStat entries[ATQ_MAX_POOLS];
} PoolStats;

static PoolStats *stats = NULL;

static void attach_stats(void *memory, LWLock *lock, bool fresh);
static bool read_entry(AtqPoolStat *entry, AtqPoolStat *copy);
static void put_row(ReturnSetInfo *rsinfo, const AtqPoolStat *stat);

void
atq_poolstat_init(void)
{
	atq_shmem_reserve("asynctasq pools", sizeof(PoolStats), attach_stats);
}

static void
attach_stats(void *memory, LWLock *lock, bool fresh)
{
	stats = memory;
	if (!fresh)
		return;
	stats->lock = lock;
	for (int i = 0; i < ATQ_MAX_POOLS; i++)
		SpinLockInit(&stats->entries[i].mutex);
}

AtqPoolStat *
atq_poolstat_add(Oid server, Oid user)
{
	AtqPoolStat *found = NULL;

	LWLockAcquire(stats->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ATQ_MAX_POOLS && found == NULL; i++)
	{
		if (stats->entries[i].pid == 0)
			found = &stats->entries[i];
	}
	if (found != NULL)
	{
		found->pid = MyProcPid;
		found->database = MyDatabaseId;
		found->server = server;
		found->user = user;
		memset(&found->counts, 0, sizeof(AtqPoolCounts));
	}
	LWLockRelease(stats->lock);
	return found;
}

void
atq_poolstat_set(AtqPoolStat *stat, int max_size, const AtqPoolCounts *counts)
{
	if (stat == NULL)
		return;
	SpinLockAcquire(&stat->mutex);
	stat->max_size = max_size;
	stat->counts = *counts;
	SpinLockRelease(&stat->mutex);
}

void
atq_poolstat_remove(AtqPoolStat *stat)
{
	if (stat == NULL)
		return;
	LWLockAcquire(stats->lock, LW_EXCLUSIVE);
	stat->pid = 0;
	LWLockRelease(stats->lock);
}

/* Pools of this database, as far as the caller may see their users. */
PG_FUNCTION_INFO_V1(atq_sql_pool_counters);

Datum
atq_sql_pool_counters(PG_FUNCTION_ARGS)
{
	bool		all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < ATQ_MAX_POOLS; i++)
	{
		AtqPoolStat stat;

		if (read_entry(&stats->entries[i], &stat) &&
			stat.database == MyDatabaseId &&
			(all || has_privs_of_role(GetUserId(), stat.user)))
			put_row((ReturnSetInfo *) fcinfo->resultinfo, &stat);
	}
	return (Datum) 0;
}

static bool
read_entry(AtqPoolStat *entry, AtqPoolStat *copy)
{
	LWLockAcquire(stats->lock, LW_SHARED);
	SpinLockAcquire(&entry->mutex);
	memcpy(copy, entry, sizeof(AtqPoolStat));
	SpinLockRelease(&entry->mutex);
	LWLockRelease(stats->lock);
	return copy->pid != 0;
}

/* In the order of the function's columns. */
static void
put_row(ReturnSetInfo *rsinfo, const AtqPoolStat *stat)
{
	const AtqPoolCounts *counts = &stat->counts;
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS] = {0};
	int			i = 0;

	values[i++] = Int32GetDatum(stat->pid);
	values[i++] = ObjectIdGetDatum(stat->server);
	values[i++] = ObjectIdGetDatum(stat->user);
	values[i++] = Int32GetDatum(counts->size);
	values[i++] = Int32GetDatum(counts->checked_out);
	values[i++] = Int32GetDatum(Max(0, counts->size - stat->max_size));
	values[i++] = Int64GetDatum(counts->waits);
	values[i++] = Int64GetDatum(counts->timeouts);
	values[i++] = Int64GetDatum(counts->connects);
	values[i++] = Int64GetDatum(counts->recycled);
	values[i++] = Int64GetDatum(counts->errors);
	values[i++] = Int64GetDatum(counts->queries);
	values[i++] = Float8GetDatum(counts->total_ms);
	values[i++] = Float8GetDatum(counts->max_ms);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
