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
 * takes long the command fails as it would with any busy session.  DROP
 * DATABASE with FORCE, which ends sessions itself, does not wait for it.
 *
 * Before what drops or changes the extension (DROP and ALTER EXTENSION, DROP
 * SCHEMA, DROP OWNED, REASSIGN OWNED) they are asked to exit too, and the
 * command waits for the lock that each of them holds on the extension
 * (extension.c).  None are started until its transaction has ended; one that
 * is waits for the lock.
 *
 * Only commands of those who may run them have workers leave.
 *
 * Three more things are seen here: that something is renamed (follow.c), that
 * the trigger which notices tasks from elsewhere is disabled (home.c), and that
 * triggers of ours are enabled (owner.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/lane.h"
#include "process/ddl.h"
#include "store/extension.h"
#include "store/home.h"
#include "store/notice.h"
#include "store/owner.h"
#include "store/registry.h"
#include "task/follow.h"

#define HOLD_MS		60000
#define WAIT_MS		2000
#define LOOK_MS		5

static bool renames(Node *statement);
static void check_rename(Node *statement);
static bool changes_extension(Node *statement);
static bool names_object(List *names);
static bool names_owner(List *roles);
static void make_way(void);
static bool disables_trigger(Node *statement);
static bool enables_trigger(Node *statement);
static Oid	switched_table(Node *statement, AlterTableType one,
						   AlterTableType all, AlterTableType user);
static Oid	emptied_database(Node *statement);
static const char *template_name(CreatedbStmt *statement);
static bool sets_tablespace(AlterDatabaseStmt *statement);
static bool may_empty(Oid database, bool as_template);
static bool is_forced(Node *statement);
static void wait_for_workers(Oid database);

void
atq_ddl_begin(AtqDdl *ddl, Node *statement)
{
	ddl->emptied = emptied_database(statement);
	ddl->drops = OidIsValid(ddl->emptied) && IsA(statement, DropdbStmt);
	ddl->disables = disables_trigger(statement);
	ddl->enables = enables_trigger(statement);
	ddl->renamed = NIL;
	check_rename(statement);
	if (changes_extension(statement))
		make_way();
	if (renames(statement) && atq_registry_installed())
		ddl->renamed = atq_follow_note();
	if (OidIsValid(ddl->emptied))
		atq_lane_hold(ddl->emptied, HOLD_MS);
}

void
atq_ddl_wait(const AtqDdl *ddl, Node *statement)
{
	if (OidIsValid(ddl->emptied) && !is_forced(statement))
		wait_for_workers(ddl->emptied);
}

void
atq_ddl_release(const AtqDdl *ddl)
{
	if (OidIsValid(ddl->emptied))
		atq_lane_hold(ddl->emptied, 0);
}

void
atq_ddl_end(const AtqDdl *ddl)
{
	if (ddl->drops)
		atq_lane_forget(ddl->emptied);
	atq_follow_update(ddl->renamed);
	if (ddl->disables)
		atq_home_leave();
	if (ddl->enables)
		atq_owner_enable_triggers();
}

/* True when functions may have other signatures afterwards. */
static bool
renames(Node *statement)
{
	if (IsA(statement, AlterObjectSchemaStmt))
		return true;
	if (!IsA(statement, RenameStmt))
		return false;
	switch (((RenameStmt *) statement)->renameType)
	{
		case OBJECT_FUNCTION:
		case OBJECT_ROUTINE:
		case OBJECT_SCHEMA:
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
		case OBJECT_TABLE:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_FOREIGN_TABLE:
		case OBJECT_INDEX:		/* tables too */
			return true;
		default:
			return false;
	}
}

/* Our statements name the schema. */
static void
check_rename(Node *statement)
{
	AtqExtension extension;

	if (IsA(statement, RenameStmt) &&
		((RenameStmt *) statement)->renameType == OBJECT_SCHEMA &&
		strcmp(((RenameStmt *) statement)->subname, ATQ_EXTENSION) == 0 &&
		atq_extension_find(&extension))
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot rename schema \"%s\" because extension \"%s\" requires it",
						ATQ_EXTENSION, ATQ_EXTENSION)));
}

/* True when it may drop or change the extension, and may be run by the user. */
static bool
changes_extension(Node *statement)
{
	AtqExtension extension;
	bool		changes = false;

	if (IsA(statement, DropStmt) &&
		(((DropStmt *) statement)->removeType == OBJECT_EXTENSION ||
		 ((DropStmt *) statement)->removeType == OBJECT_SCHEMA))
		changes = names_object(((DropStmt *) statement)->objects);
	else if (IsA(statement, AlterExtensionStmt))
		changes = strcmp(((AlterExtensionStmt *) statement)->extname,
						 ATQ_EXTENSION) == 0;
	else if (IsA(statement, DropOwnedStmt))
		changes = names_owner(((DropOwnedStmt *) statement)->roles);
	else if (IsA(statement, ReassignOwnedStmt))
		changes = names_owner(((ReassignOwnedStmt *) statement)->roles);
	return changes && atq_extension_find(&extension) &&
		has_privs_of_role(GetUserId(), extension.owner);
}

/* The extension's schema has its name. */
static bool
names_object(List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(strVal(lfirst(lc)), ATQ_EXTENSION) == 0)
			return true;
	}
	return false;
}

static bool
names_owner(List *roles)
{
	AtqExtension extension;
	ListCell   *lc;

	if (!atq_extension_find(&extension))
		return false;
	foreach(lc, roles)
	{
		if (get_rolespec_oid(lfirst(lc), true) == extension.owner)
			return true;
	}
	return false;
}

/*
 * Has our processes leave this database until the transaction's end, which
 * tells them of the changes too.
 */
static void
make_way(void)
{
	AtqExtension extension;

	atq_notice_leave();
	atq_notice_scan();
	atq_lane_hold(MyDatabaseId, HOLD_MS);
	if (atq_extension_find(&extension))
		atq_extension_lock(&extension);
	atq_registry_invalidate();
}

/*
 * The trigger that notices tasks from elsewhere, as pg_restore does with
 * --disable-triggers.
 */
static bool
disables_trigger(Node *statement)
{
	Oid			relation = switched_table(statement, AT_DisableTrig,
										  AT_DisableTrigAll,
										  AT_DisableTrigUser);

	return OidIsValid(relation) &&
		(relation == atq_registry_table(ATQ_TABLE_TASK_LOGGED) ||
		 relation == atq_registry_table(ATQ_TABLE_TASK_UNLOGGED));
}

/* A trigger of a table of ours, or all; but not as ALWAYS or REPLICA. */
static bool
enables_trigger(Node *statement)
{
	Oid			relation = switched_table(statement, AT_EnableTrig,
										  AT_EnableTrigAll, AT_EnableTrigUser);

	return OidIsValid(relation) && get_rel_namespace(relation) ==
		get_rel_namespace(atq_registry_table(ATQ_TABLE_HANDLER));
}

/*
 * The table whose triggers, one, all or the user's, a statement switches so;
 * InvalidOid where it does not, or the extension is not there.
 */
static Oid
switched_table(Node *statement, AlterTableType one, AlterTableType all,
			   AlterTableType user)
{
	AlterTableStmt *alter = (AlterTableStmt *) statement;
	bool		switches = false;
	ListCell   *lc;

	if (!IsA(statement, AlterTableStmt))
		return InvalidOid;
	foreach(lc, alter->cmds)
	{
		AlterTableType type = ((AlterTableCmd *) lfirst(lc))->subtype;

		switches |= type == one || type == all || type == user;
	}
	if (!switches || !atq_registry_installed())
		return InvalidOid;
	return RangeVarGetRelid(alter->relation, NoLock, true);
}

/* The database that a statement needs for itself, or InvalidOid. */
static Oid
emptied_database(Node *statement)
{
	const char *name = NULL;
	Oid			database;

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
	if (name == NULL)
		return InvalidOid;
	database = get_database_oid(name, true);
	return OidIsValid(database) &&
		may_empty(database, IsA(statement, CreatedbStmt)) ? database :
		InvalidOid;
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

/* The database's owner, and for a template who may create databases. */
static bool
may_empty(Oid database, bool as_template)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID,
										ObjectIdGetDatum(database));
	bool		may = false;
	bool		creates = false;

	if (HeapTupleIsValid(tuple))
	{
		may = has_privs_of_role(GetUserId(),
								((Form_pg_database) GETSTRUCT(tuple))->datdba);
		as_template &= ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	if (may || !as_template)
		return may;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		creates = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return creates;
}

static bool
is_forced(Node *statement)
{
	ListCell   *lc;

	if (!IsA(statement, DropdbStmt))
		return false;
	foreach(lc, ((DropdbStmt *) statement)->options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "force") == 0)
			return true;
	}
	return false;
}

/* Waits for those that run no task, and gives the others a moment. */
static void
wait_for_workers(Oid database)
{
	for (int ms = 0; ms < WAIT_MS && atq_lane_slots(database) > 0; ms += LOOK_MS)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
