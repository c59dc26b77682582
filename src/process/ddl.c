/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Making way for commands that need a database for themselves.
 *
 * DROP DATABASE, ALTER DATABASE RENAME and SET TABLESPACE, and CREATE DATABASE
 * with a template wait only five seconds for other sessions to leave, and a
 * user has none: the idle workers are ours.  So before such a command the
 * workers of its database are asked to exit and none are started, until the
 * command has ended.  A worker that runs a task finishes it first, and if that
 * takes long the command fails as it would with any busy session.
 *
 * DROP EXTENSION locks all of our tables, in no order that our processes
 * know, so they leave before it begins and come back, if it was rolled back,
 * when its transaction has ended.  Where the extension goes by another command
 * (DROP OWNED, DROP SCHEMA) they leave at the commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/lane.h"
#include "process/ddl.h"
#include "store/notice.h"
#include "task/attempt.h"

#define HOLD_MS		60000
#define WAIT_MS		2000
#define LOOK_MS		5

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static object_access_hook_type prev_object_access = NULL;

static void process_utility(PlannedStmt *pstmt, const char *queryString,
							bool readOnlyTree, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *queryEnv,
							DestReceiver *dest, QueryCompletion *qc);
static void object_access(ObjectAccessType access, Oid class_id,
						  Oid object_id, int sub_id, void *arg);
static bool works_on_session(Oid function);
static bool drops_extension(Node *statement);
static Oid	emptied_database(Node *statement);
static const char *template_name(CreatedbStmt *statement);
static bool sets_tablespace(AlterDatabaseStmt *statement);
static void wait_for_workers(Oid database);

void
atq_ddl_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (access == OAT_FUNCTION_EXECUTE && atq_attempt_current != NULL &&
		works_on_session(object_id))
		atq_attempt_touch_session();
	if (access == OAT_DROP && class_id == ExtensionRelationId &&
		object_id == get_extension_oid("asynctasq", true))
		atq_notice_leave();
}

/* Functions whose effects the end of a task cannot undo before the commit. */
static bool
works_on_session(Oid function)
{
	switch (function)
	{
		case F_PG_NOTIFY:
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
			return true;
		default:
			return false;
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString,
				bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_ProcessUtility ?
		prev_ProcessUtility : standard_ProcessUtility;
	Oid			database = emptied_database(pstmt->utilityStmt);

	if (atq_attempt_current != NULL)
		atq_attempt_touch_session();
	if (drops_extension(pstmt->utilityStmt))
	{
		atq_notice_leave();
		atq_lane_hold(MyDatabaseId, HOLD_MS);
		wait_for_workers(MyDatabaseId);
	}
	if (!OidIsValid(database))
	{
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv,
			 dest, qc);
		return;
	}
	atq_lane_hold(database, HOLD_MS);
	PG_TRY();
	{
		wait_for_workers(database);
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv,
			 dest, qc);
		if (IsA(pstmt->utilityStmt, DropdbStmt))
			atq_lane_forget(database);
	}
	PG_FINALLY();
	{
		atq_lane_hold(database, 0);
	}
	PG_END_TRY();
}

static bool
drops_extension(Node *statement)
{
	ListCell   *lc;

	if (!IsA(statement, DropStmt) ||
		((DropStmt *) statement)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, ((DropStmt *) statement)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "asynctasq") == 0)
			return OidIsValid(get_extension_oid("asynctasq", true));
	}
	return false;
}

/* The database that a statement needs for itself, or InvalidOid. */
static Oid
emptied_database(Node *statement)
{
	const char *name = NULL;

	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) statement)->subname;
	else if (IsA(statement, CreatedbStmt))
		name = template_name((CreatedbStmt *) statement);
	else if (IsA(statement, AlterDatabaseStmt) &&
			 sets_tablespace((AlterDatabaseStmt *) statement))
		name = ((AlterDatabaseStmt *) statement)->dbname;
	return name != NULL ? get_database_oid(name, true) : InvalidOid;
}

static const char *
template_name(CreatedbStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return "template1";
}

static bool
sets_tablespace(AlterDatabaseStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
			return true;
	}
	return false;
}

/* Waits for those that run no task, and gives the others a moment. */
static void
wait_for_workers(Oid database)
{
	TimestampTz start = GetCurrentTimestamp();

	while (atq_lane_slots(database) > 0 &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), WAIT_MS))
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
