/*-------------------------------------------------------------------------
 *
 * monitor.c
 *	  What shared memory knows, as the rows behind the views.
 *
 * Each function shows the caller what belongs to roles of which it is a
 * member, and everything to members of pg_monitor, so whoever may call it
 * learns no more than the views would say.  Inside a view the caller is who
 * reads the view.
 *
 * A slot or an entry is copied under its lock and shown from the copy; rows
 * of one call are not of one instant.
 *
 * Rows go to a tuplestore, which the executor owns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/lane.h"
#include "base/stats.h"
#include "store/registry.h"

/* Columns of worker_slots(), from 0. */
enum
{
	SLOT_PID, SLOT_DATABASE, SLOT_ROLE, SLOT_STATE, SLOT_QUEUE_ID, SLOT_TASK,
	SLOT_TASK_ID, SLOT_ATTEMPT, SLOT_TASK_STARTED_AT, SLOT_TASKS_DONE,
	SLOT_STARTED_AT,
	SLOT_NCOLUMNS
};

#define COUNTER_NCOLUMNS 7		/* of both kinds, behind what they count */
#define QUEUE_NCOLUMNS	(1 + COUNTER_NCOLUMNS)
#define HANDLER_NCOLUMNS (2 + COUNTER_NCOLUMNS)

static bool may_see(Oid role);
static void put_slot(ReturnSetInfo *rsinfo, const AtqSlot *slot);
static bool is_stuck(const AtqSlot *slot);
static const char *state_name(const AtqSlot *slot);
static void put_queue(ReturnSetInfo *rsinfo, const AtqStat *stat);
static void put_handler(ReturnSetInfo *rsinfo, const AtqStat *stat);
static void fill_counters(const AtqStat *stat, Datum *values);

PG_FUNCTION_INFO_V1(atq_sql_worker_slots);

Datum
atq_sql_worker_slots(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < atq_shared->nslots; i++)
	{
		AtqSlot		slot;

		CHECK_FOR_INTERRUPTS();
		if (atq_slot_read(i, &slot) && may_see(slot.role))
			put_slot((ReturnSetInfo *) fcinfo->resultinfo, &slot);
	}
	return (Datum) 0;
}

static bool
may_see(Oid role)
{
	return has_privs_of_role(GetUserId(), role) ||
		has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/* What a worker has not yet or not now is null; a scanner has no role. */
static void
put_slot(ReturnSetInfo *rsinfo, const AtqSlot *slot)
{
	Datum		values[SLOT_NCOLUMNS] = {0};
	bool		nulls[SLOT_NCOLUMNS] = {0};
	bool		started = slot->pid != 0;
	bool		running = started && slot->task_id != 0;

	values[SLOT_PID] = Int32GetDatum(slot->pid);
	values[SLOT_DATABASE] = ObjectIdGetDatum(slot->database);
	values[SLOT_ROLE] = ObjectIdGetDatum(slot->role);
	nulls[SLOT_ROLE] = !OidIsValid(slot->role);
	values[SLOT_STATE] = CStringGetTextDatum(state_name(slot));
	nulls[SLOT_PID] = nulls[SLOT_TASKS_DONE] = !started;
	nulls[SLOT_STARTED_AT] = !started;
	if (started)
	{
		values[SLOT_TASKS_DONE] = Int64GetDatum(slot->tasks_done);
		values[SLOT_STARTED_AT] = TimestampTzGetDatum(slot->started_at);
	}
	nulls[SLOT_QUEUE_ID] = nulls[SLOT_TASK] = nulls[SLOT_TASK_ID] = !running;
	nulls[SLOT_ATTEMPT] = nulls[SLOT_TASK_STARTED_AT] = !running;
	if (running)
	{
		values[SLOT_QUEUE_ID] = Int32GetDatum(slot->queue_id);
		values[SLOT_TASK] = CStringGetTextDatum(slot->task);
		values[SLOT_TASK_ID] = Int64GetDatum(slot->task_id);
		values[SLOT_ATTEMPT] = Int32GetDatum(slot->attempt);
		values[SLOT_TASK_STARTED_AT] =
			TimestampTzGetDatum(slot->task_started_at);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Its task was told to stop and goes on all the same. */
static bool
is_stuck(const AtqSlot *slot)
{
	return slot->task_id != 0 && slot->stopped_at != 0 &&
		TimestampDifferenceExceeds(slot->stopped_at, GetCurrentTimestamp(),
								   atq_cancel_grace_ms);
}

static const char *
state_name(const AtqSlot *slot)
{
	switch (slot->state)
	{
		case ATQ_SLOT_FREE:
		case ATQ_SLOT_STARTING:
			break;
		case ATQ_SLOT_IDLE:
			return "idle";
		case ATQ_SLOT_BUSY:
			return is_stuck(slot) ? "stuck" : "busy";
	}
	return "starting";
}

PG_FUNCTION_INFO_V1(atq_sql_queue_counters);

Datum
atq_sql_queue_counters(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < ATQ_MAX_STATS; i++)
	{
		AtqStat		stat;
		AtqQueue   *queue;

		CHECK_FOR_INTERRUPTS();
		if (!atq_stats_read_queue(i, &stat) || stat.database != MyDatabaseId)
			continue;
		queue = atq_registry_queue(stat.queue_id);
		if (queue != NULL && may_see(queue->owner))
			put_queue((ReturnSetInfo *) fcinfo->resultinfo, &stat);
	}
	return (Datum) 0;
}

static void
put_queue(ReturnSetInfo *rsinfo, const AtqStat *stat)
{
	Datum		values[QUEUE_NCOLUMNS] = {0};
	bool		nulls[QUEUE_NCOLUMNS] = {0};

	values[0] = Int32GetDatum(stat->queue_id);
	fill_counters(stat, values + 1);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(atq_sql_handler_counters);

Datum
atq_sql_handler_counters(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < ATQ_MAX_STATS; i++)
	{
		AtqStat		stat;

		CHECK_FOR_INTERRUPTS();
		if (atq_stats_read_handler(i, &stat) &&
			stat.database == MyDatabaseId && may_see(stat.role))
			put_handler((ReturnSetInfo *) fcinfo->resultinfo, &stat);
	}
	return (Datum) 0;
}

static void
put_handler(ReturnSetInfo *rsinfo, const AtqStat *stat)
{
	Datum		values[HANDLER_NCOLUMNS] = {0};
	bool		nulls[HANDLER_NCOLUMNS] = {0};

	values[0] = CStringGetTextDatum(stat->name);
	values[1] = ObjectIdGetDatum(stat->role);
	fill_counters(stat, values + 2);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* In the order of the functions' columns. */
static void
fill_counters(const AtqStat *stat, Datum *values)
{
	values[0] = Int64GetDatum(stat->completed);
	values[1] = Int64GetDatum(stat->failed);
	values[2] = Int64GetDatum(stat->retried);
	values[3] = Int64GetDatum(stat->cancelled);
	values[4] = Float8GetDatum(stat->total_ms);
	values[5] = Float8GetDatum(stat->max_ms);
	values[6] = Float8GetDatum(atq_stats_per_minute(stat,
													GetCurrentTimestamp()));
}
