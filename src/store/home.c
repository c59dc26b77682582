/*-------------------------------------------------------------------------
 *
 * home.c
 *	  Whether tasks may run in this database.
 *
 * A copy of a database has the original's tasks, and must not run them too.
 * So asynctasq.home names the databases in which tasks run, by their OID and
 * their cluster's system identifier.  Elsewhere tasks are dispatched and stay:
 * nobody is told of them, workers and drain() take none, until adopt() is
 * called.
 *
 *	- A template's copy has another OID, and a cluster that was given a new
 *	  system identifier (initdb, pg_createsubscriber, pg_resetwal) another
 *	  identifier: they have no row.  A database that is renamed or moved, a
 *	  promoted standby and a restored backup keep both.  So does a second
 *	  cluster made of the same backup, which nothing can tell from the first.
 *	- pg_upgrade keeps the OID alone: where the row was written by an older
 *	  major version the identifier does not count.
 *	- The table is not dumped, so CREATE EXTENSION writes a row for the new
 *	  database.  Dumped tasks come by INSERT or COPY, those of a publisher
 *	  through its apply worker.  We use neither: the trigger task_copied
 *	  notices them and has the row say no, in the transaction that brings them.
 *	  Commands that disable the trigger do the same (ddl.c).
 *
 * Where there is no row and no task, none can run twice.  A copy of that kind,
 * as of a template with the extension, gets its row by its first dispatch or
 * at the next scan.
 *
 * Who writes the row has locked it, as an object of its own: between the look
 * for tasks and the commit none can come from elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"

#include "store/home.h"
#include "store/owner.h"
#include "store/storage.h"

static void lock_home(void);
static bool any_tasks(void);
static void write_home(bool here);

bool
atq_home_is_here(void)
{
	return atq_registry_home()->here;
}

bool
atq_home_enter(void)
{
	const AtqHome *home = atq_registry_home();

	if (home->known)
		return home->here;
	if (!home->here && any_tasks())
		return false;
	lock_home();
	home = atq_registry_home();
	if (home->known)
		return home->here;
	if (!home->here && any_tasks())
		return false;
	write_home(true);
	return true;
}

void
atq_home_leave(void)
{
	const AtqHome *home = atq_registry_home();

	if (home->known && !home->here)
		return;
	lock_home();
	write_home(false);
	ereport(WARNING,
			(errmsg("tasks in this database do not run"),
			 errdetail(ATQ_HOME_DETAIL),
			 errhint(ATQ_HOME_HINT)));
}

void
atq_home_deny(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("tasks in this database do not run"),
			 errdetail(ATQ_HOME_DETAIL),
			 errhint(ATQ_HOME_HINT)));
}

PG_FUNCTION_INFO_V1(atq_sql_adopt);

Datum
atq_sql_adopt(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("adopt()");
	PreventCommandIfParallelMode("adopt()");
	if (!has_privs_of_role(GetUserId(), atq_registry_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to adopt the tasks of this database"),
				 errdetail("Only members of role \"%s\", which owns the extension, can.",
						   GetUserNameFromId(atq_registry_owner(), false))));
	lock_home();
	write_home(true);
	PG_RETURN_VOID();
}

/* Until the transaction's end; what others have written is seen behind it. */
static void
lock_home(void)
{
	LockDatabaseObject(atq_registry_table(ATQ_TABLE_HOME), MyDatabaseId, 0,
					   ExclusiveLock);
}

static bool
any_tasks(void)
{
	static SPIPlanPtr plan = NULL;
	bool		found;

	PushActiveSnapshot(GetTransactionSnapshot());
	found = atq_spi_execute(&plan, "SELECT FROM asynctasq.task LIMIT 1",
							0, NULL, NULL, NULL, SPI_OK_SELECT) > 0;
	PopActiveSnapshot();
	return found;
}

static void
write_home(bool here)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {OIDOID, INT8OID, INT4OID, BOOLOID};
	Datum		values[4];

	values[0] = ObjectIdGetDatum(MyDatabaseId);
	values[1] = Int64GetDatum((int64) GetSystemIdentifier());
	values[2] = Int32GetDatum(ATQ_SERVER_MAJOR);
	values[3] = BoolGetDatum(here);
	PushActiveSnapshot(GetTransactionSnapshot());
	atq_spi_execute(&plan,
					"INSERT INTO asynctasq.home "
					"(database, system_identifier, version, here) "
					"VALUES ($1, $2, $3, $4) "
					"ON CONFLICT (database, system_identifier) DO UPDATE SET "
					"version = EXCLUDED.version, here = EXCLUDED.here",
					4, types, values, NULL, SPI_OK_INSERT);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/*
 * Before each row that dispatch() has not written.  A subscription's apply
 * worker fires no trigger of statements, which would see to the user.
 */
PG_FUNCTION_INFO_V1(atq_task_copied);

Datum
atq_task_copied(PG_FUNCTION_ARGS)
{
	TriggerData *data;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("asynctasq.task_copied() must be called as a trigger")));
	data = (TriggerData *) fcinfo->context;
	atq_owner_check(data->tg_relation);
	atq_home_leave();
	PG_RETURN_POINTER(data->tg_trigtuple);
}
