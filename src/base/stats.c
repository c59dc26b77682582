/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  Counters of queues and handlers in shared memory.
 *
 * Two arrays of fixed size, one of queues, one of handlers.  An LWLock guards
 * which entries are in use; entries do not move and are freed only with their
 * database.  When an array is full, further objects are not counted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "base/shmem.h"
#include "base/stats.h"

typedef struct AtqStats
{
	LWLock	   *lock;
	AtqStat		queues[ATQ_MAX_STATS];
	AtqStat		handlers[ATQ_MAX_STATS];
} AtqStats;

static AtqStats *stats = NULL;

static void attach_stats(void *memory, LWLock *lock, bool fresh);
static void init_entries(AtqStat *entries);
static AtqStat *find_or_add(AtqStat *entries, Oid database, int32 queue_id,
							Oid role, const char *name);
static AtqStat *find(AtqStat *entries, Oid database, int32 queue_id,
					 Oid role, const char *name);
static AtqStat *add(AtqStat *entries, Oid database, int32 queue_id,
					Oid role, const char *name);
static void count_minute(AtqStat *stat, TimestampTz now);
static bool read_entry(AtqStat *entry, AtqStat *copy);
static void forget(AtqStat *entries, Oid database);

void
atq_stats_init(void)
{
	atq_shmem_reserve("asynctasq stats", sizeof(AtqStats), attach_stats);
}

static void
attach_stats(void *memory, LWLock *lock, bool fresh)
{
	stats = memory;
	if (!fresh)
		return;
	stats->lock = lock;
	init_entries(stats->queues);
	init_entries(stats->handlers);
}

static void
init_entries(AtqStat *entries)
{
	for (int i = 0; i < ATQ_MAX_STATS; i++)
		SpinLockInit(&entries[i].mutex);
}

AtqStat *
atq_stats_queue(Oid database, int32 queue_id)
{
	return find_or_add(stats->queues, database, queue_id, InvalidOid, "");
}

AtqStat *
atq_stats_handler(Oid database, Oid role, const char *name)
{
	return find_or_add(stats->handlers, database, 0, role, name);
}

static AtqStat *
find_or_add(AtqStat *entries, Oid database, int32 queue_id, Oid role,
			const char *name)
{
	AtqStat    *entry;

	LWLockAcquire(stats->lock, LW_SHARED);
	entry = find(entries, database, queue_id, role, name);
	LWLockRelease(stats->lock);
	if (entry != NULL)
		return entry;

	LWLockAcquire(stats->lock, LW_EXCLUSIVE);
	entry = find(entries, database, queue_id, role, name);
	if (entry == NULL)
		entry = add(entries, database, queue_id, role, name);
	LWLockRelease(stats->lock);
	return entry;
}

static AtqStat *
find(AtqStat *entries, Oid database, int32 queue_id, Oid role,
	 const char *name)
{
	for (int i = 0; i < ATQ_MAX_STATS; i++)
	{
		AtqStat    *entry = &entries[i];

		if (entry->database == database && entry->queue_id == queue_id &&
			entry->role == role && strcmp(entry->name, name) == 0)
			return entry;
	}
	return NULL;
}

static AtqStat *
add(AtqStat *entries, Oid database, int32 queue_id, Oid role,
	const char *name)
{
	for (int i = 0; i < ATQ_MAX_STATS; i++)
	{
		AtqStat    *entry = &entries[i];

		if (OidIsValid(entry->database))
			continue;
		entry->queue_id = queue_id;
		entry->role = role;
		strlcpy(entry->name, name, ATQ_NAME_LEN);
		pg_write_barrier();
		entry->database = database;
		return entry;
	}
	return NULL;
}

void
atq_stats_count(AtqStat *stat, AtqOutcome outcome, TimestampTz started_at,
				TimestampTz now)
{
	double		ms = (now - started_at) / 1000.0;

	if (stat == NULL)
		return;
	SpinLockAcquire(&stat->mutex);
	switch (outcome)
	{
		case ATQ_OUTCOME_COMPLETED:
			stat->completed++;
			break;
		case ATQ_OUTCOME_RETRIED:
			stat->retried++;
			break;
		case ATQ_OUTCOME_FAILED:
			stat->failed++;
			break;
		case ATQ_OUTCOME_CANCELLED:
			stat->cancelled++;
			break;
	}
	stat->total_ms += ms;
	stat->max_ms = Max(stat->max_ms, ms);
	count_minute(stat, now);
	SpinLockRelease(&stat->mutex);
}

static void
count_minute(AtqStat *stat, TimestampTz now)
{
	int64		minute = now / USECS_PER_MINUTE;

	if (minute != stat->minute)
	{
		stat->in_minute_before = minute == stat->minute + 1 ?
			stat->in_minute : 0;
		stat->in_minute = 0;
		stat->minute = minute;
	}
	stat->in_minute++;
}

/*
 * A sliding minute: all of the current minute and that share of the one
 * before which the last sixty seconds still cover.
 */
double
atq_stats_per_minute(const AtqStat *copy, TimestampTz now)
{
	int64		minute = (int64) (now / USECS_PER_MINUTE);
	double		elapsed;

	if (minute > copy->minute + 1)
		return 0;
	elapsed = (double) (now % USECS_PER_MINUTE) / USECS_PER_MINUTE;
	if (minute == copy->minute + 1)
		return copy->in_minute * (1 - elapsed);
	return copy->in_minute + copy->in_minute_before * (1 - elapsed);
}

bool
atq_stats_read_queue(int i, AtqStat *copy)
{
	return read_entry(&stats->queues[i], copy);
}

bool
atq_stats_read_handler(int i, AtqStat *copy)
{
	return read_entry(&stats->handlers[i], copy);
}

static bool
read_entry(AtqStat *entry, AtqStat *copy)
{
	if (!OidIsValid(entry->database))
		return false;
	SpinLockAcquire(&entry->mutex);
	memcpy(copy, entry, sizeof(AtqStat));
	SpinLockRelease(&entry->mutex);
	return OidIsValid(copy->database);
}

void
atq_stats_forget(Oid database)
{
	LWLockAcquire(stats->lock, LW_EXCLUSIVE);
	forget(stats->queues, database);
	forget(stats->handlers, database);
	LWLockRelease(stats->lock);
}

static void
forget(AtqStat *entries, Oid database)
{
	for (int i = 0; i < ATQ_MAX_STATS; i++)
	{
		AtqStat    *entry = &entries[i];

		if (entry->database != database)
			continue;
		SpinLockAcquire(&entry->mutex);
		entry->database = InvalidOid;
		entry->completed = entry->failed = 0;
		entry->retried = entry->cancelled = 0;
		entry->total_ms = entry->max_ms = 0;
		entry->minute = entry->in_minute = entry->in_minute_before = 0;
		SpinLockRelease(&entry->mutex);
	}
}
