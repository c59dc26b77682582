/*-------------------------------------------------------------------------
 *
 * scanner.c
 *	  The short-lived process that looks through one database.
 *
 * It announces to the lanes what no commit has announced since the server
 * started: tasks that were there before, that came by COMMIT PREPARED, by
 * replication or from a dump.  It finds queues that a crash has emptied, and
 * removes results that are past their time.  Where tasks may not run (home.c)
 * it announces none and says so.  Where the extension is not
 * installed it has its lane removed.
 *
 * The queues that are not durable have a row each in asynctasq.crash_mark,
 * which is unlogged like their tasks: where the row is missing, a crash has
 * emptied both.  So are the tables of a database that comes from a backup, a
 * dump or a standby.
 *
 * The scanner connects as the bootstrap superuser and calls no user code: the
 * only tables it touches are our own, through their access methods or with
 * qualified statements.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/evidence.h"
#include "base/guc.h"
#include "process/worker.h"
#include "store/extension.h"
#include "store/home.h"
#include "store/storage.h"

static bool installed_well(void);
static bool may_run(AtqLane *mine);
static bool clean_tables(void);
static void note_emptied(void);
static void note_crash(int64 last_id, TimestampTz crashed_at);
static void scan_queue(const AtqQueue *queue);

void
atq_scanner_run(int lane)
{
	AtqLane    *mine = &atq_shared->lanes[lane];
	bool		installed;
	ListCell   *lc;

	SpinLockAcquire(&mine->mutex);
	mine->pending_since = 0;
	SpinLockRelease(&mine->mutex);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	installed = atq_extension_hold() && installed_well();
	if (installed)
	{
		XactReadOnly = false;
		if (clean_tables())
			note_emptied();
		if (may_run(mine))
		{
			foreach(lc, atq_registry_queues())
				scan_queue(lfirst(lc));
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	SpinLockAcquire(&mine->mutex);
	mine->absent = !installed;
	SpinLockRelease(&mine->mutex);
}

static bool
installed_well(void)
{
	if (atq_registry_installed())
		return true;
	ereport(WARNING,
			(errmsg("tasks in database \"%s\" do not run",
					get_database_name(MyDatabaseId)),
			 errdetail("Extension asynctasq has another version there than its library, which is %s.",
					   ATQ_VERSION),
			 errhint(ATQ_VERSION_HINT)));
	return false;
}

/* Says once, while the server runs, that tasks may not run here. */
static bool
may_run(AtqLane *mine)
{
	bool		here = atq_home_enter();

	if (!here && !mine->held)
		ereport(LOG,
				(errmsg("tasks in database \"%s\" do not run",
						get_database_name(MyDatabaseId)),
				 errdetail(ATQ_HOME_DETAIL),
				 errhint(ATQ_HOME_HINT)));
	mine->held = !here;
	return here;
}

/*
 * Removes the results that are past their time, and says whether a crash has
 * emptied queues: one statement for both, which is all that the sweep of an
 * idle database executes.  Emptied queues are looked for before they are
 * written to, because an UPDATE of the queues, even of none, has the database
 * scanned again.
 */
static bool
clean_tables(void)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TIMESTAMPTZOID};
	Datum		values[1];

	values[0] = TimestampTzGetDatum(GetCurrentTimestamp() -
									atq_result_retention_s * USECS_PER_SEC);
	return atq_spi_execute(&plan,
						   "WITH old AS (DELETE FROM asynctasq.result "
						   "WHERE finished_at OPERATOR(pg_catalog.<) $1) "
						   "SELECT FROM asynctasq.queue "
						   "WHERE NOT durable AND NOT EXISTS ("
						   "SELECT FROM asynctasq.crash_mark WHERE "
						   "queue_id OPERATOR(pg_catalog.=) queue.id)",
						   1, types, values, NULL, SPI_OK_SELECT) > 0;
}

static void
note_emptied(void)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TIMESTAMPTZOID};
	TimestampTz crashed_at;
	int64		last_id;
	Datum		values[1];
	AtqSpi		spi;
	uint64		n;

	atq_spi_begin(&spi);
	last_id = atq_evidence_old_id(atq_registry_table(ATQ_TABLE_TASK_ID_SEQ),
								  &crashed_at);
	if (crashed_at == 0)
		crashed_at = GetCurrentTimestamp();
	values[0] = TimestampTzGetDatum(crashed_at);
	n = atq_spi_run(&plan,
					"WITH emptied AS ("
					"INSERT INTO asynctasq.crash_mark (queue_id) "
					"SELECT id FROM asynctasq.queue "
					"WHERE NOT durable AND NOT EXISTS ("
					"SELECT FROM asynctasq.crash_mark WHERE "
					"queue_id OPERATOR(pg_catalog.=) queue.id) "
					"ON CONFLICT DO NOTHING RETURNING queue_id) "
					"UPDATE asynctasq.queue SET lost = NULL, lost_at = $1, "
					"emptied = emptied OPERATOR(pg_catalog.+) 1 "
					"FROM emptied WHERE id OPERATOR(pg_catalog.=) queue_id",
					1, types, values, NULL, SPI_OK_UPDATE);
	if (last_id > 0)
		note_crash(last_id, crashed_at);
	atq_spi_end(&spi);
	if (n > 0)
		ereport(WARNING,
				(errmsg("recovery of the server has emptied " UINT64_FORMAT " queues that are not durable",
						n),
				 errdetail("Columns lost_at and emptied of asynctasq.stat_queues show them."),
				 errhint("Tasks of durable queues survive a crash, are in backups and on standbys.")));
	CommandCounterIncrement();
}

/* What task_info() says of ids that it does not know. */
static void
note_crash(int64 last_id, TimestampTz crashed_at)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {INT8OID, TIMESTAMPTZOID};
	Datum		values[2];

	values[0] = Int64GetDatum(last_id);
	values[1] = TimestampTzGetDatum(crashed_at);
	atq_spi_run(&plan,
				"INSERT INTO asynctasq.crash (last_id, crashed_at) "
				"VALUES ($1, $2) ON CONFLICT DO NOTHING",
				2, types, values, NULL, SPI_OK_INSERT);
}

static void
scan_queue(const AtqQueue *queue)
{
	int64		from = PG_INT32_MIN;
	int			lane;
	int32		priority;
	int64		id;
	bool		found = false;
	TimestampTz due;

	if (queue->paused ||
		!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(queue->owner)))
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	lane = atq_lane_find(MyDatabaseId, queue->owner, true);
	while (atq_storage_first_ready(queue->durable, queue->id, from,
								   GetActiveSnapshot(), &priority, &id))
	{
		atq_lane_announce(lane, queue->id, priority, id);
		from = (int64) priority + 1;
		found = true;
	}
	due = atq_storage_next_due(queue->durable, queue->id,
							   GetActiveSnapshot());
	PopActiveSnapshot();
	if (found)
		atq_lane_wake(lane);
	if (due != DT_NOEND)
		atq_lane_announce_due(lane, due);
}
