/*-------------------------------------------------------------------------
 *
 * extension.c
 *	  The extension as it is installed in this database.
 *
 * The SQL objects and the library are of one version: with those of another
 * one, which may have other columns, nothing works but DROP and ALTER
 * EXTENSION.  A version that adds a patch's number to the library's, such as
 * 1.0.1, changes functions at most, and fits.
 *
 * Who drops or changes the extension locks all of our tables, in no order that
 * others know.  So each of our processes holds a lock, shared, and what drops
 * or changes the extension first takes that lock exclusively (process/ddl.c):
 * it waits for tasks under way while it holds nothing of ours.  The lock is one
 * on the extension with a subobject that it does not have, so that only this
 * file takes it: the extension's own is there for any user to take.
 *
 * Sessions come and go too fast for that.  They lock the gate, which is the
 * sequence of ids, before anything else of ours; that is a lock of the cheap
 * kind.  Who drops or changes the extension then locks the gate and all
 * relations of the extension, and waits for none of them while it has another:
 * somebody who reads a view has not come by the gate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "store/extension.h"

#define HOLD_SUBOBJECT	1

static void read_extension(HeapTuple tuple, TupleDesc desc,
						   AtqExtension *extension);
static bool version_fits(const char *version);
static List *find_relations(Oid extension);
static Oid	lock_others(List *relations, Oid locked);

/* The process holds the extension. */
static bool held = false;

/* The gate that was locked last, and by which transaction. */
static Oid	entered = InvalidOid;
static LocalTransactionId entered_by = InvalidLocalTransactionId;

bool
atq_extension_find(AtqExtension *extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(ATQ_EXTENSION));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		read_extension(tuple, RelationGetDescr(rel), extension);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static void
read_extension(HeapTuple tuple, TupleDesc desc, AtqExtension *extension)
{
	Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);
	bool		isnull;
	Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion,
									   desc, &isnull);

	extension->oid = form->oid;
	extension->schema = form->extnamespace;
	extension->owner = form->extowner;
	extension->fits = version_fits(TextDatumGetCString(version));
}

static bool
version_fits(const char *version)
{
	Size		len = strlen(ATQ_VERSION);

	return strncmp(version, ATQ_VERSION, len) == 0 &&
		(version[len] == '\0' || version[len] == '.');
}

/* It may be gone, or another one, when the lock is ours. */
bool
atq_extension_hold(void)
{
	AtqExtension found;
	AtqExtension now;
	LOCKTAG		tag;

	while (!held && atq_extension_find(&found))
	{
		SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, found.oid,
						   HOLD_SUBOBJECT);
		(void) LockAcquire(&tag, AccessShareLock, true, false);
		AcceptInvalidationMessages();
		if (atq_extension_find(&now) && now.oid == found.oid)
			held = true;
		else
			LockRelease(&tag, AccessShareLock, true);
	}
	return held;
}

void
atq_extension_released(void)
{
	held = false;
}

/* The lock is the whole transaction's, whichever subtransaction fails. */
bool
atq_extension_enter(Oid gate)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (held || creating_extension ||
		(entered == gate && entered_by == atq_my_lxid()))
		return false;
	CurrentResourceOwner = TopTransactionResourceOwner;
	LockRelationOid(gate, AccessShareLock);
	CurrentResourceOwner = owner;
	entered = gate;
	entered_by = atq_my_lxid();
	return true;
}

void
atq_extension_lock(const AtqExtension *extension)
{
	List	   *relations;
	Oid			first;

	LockDatabaseObject(ExtensionRelationId, extension->oid, HOLD_SUBOBJECT,
					   AccessExclusiveLock);
	relations = find_relations(extension->oid);
	first = get_relname_relid(ATQ_GATE, extension->schema);
	while (OidIsValid(first))
	{
		Oid			refused;

		CHECK_FOR_INTERRUPTS();
		LockRelationOid(first, AccessExclusiveLock);
		refused = lock_others(relations, first);
		if (OidIsValid(refused))
			UnlockRelationOid(first, AccessExclusiveLock);
		first = refused;
	}
	list_free(relations);
}

/* All tables, views and sequences. */
static List *
find_relations(Oid extension)
{
	List	   *relations = NIL;
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ExtensionRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == RelationRelationId &&
			depend->deptype == DEPENDENCY_EXTENSION)
			relations = lappend_oid(relations, depend->objid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return relations;
}

/*
 * Locks all but the one that is locked, waiting for none.  Returns one that
 * somebody else has, with none of the others locked, or InvalidOid.
 */
static Oid
lock_others(List *relations, Oid locked)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, relations)
	{
		if (lfirst_oid(lc) != locked &&
			!ConditionalLockRelationOid(lfirst_oid(lc), AccessExclusiveLock))
			break;
		n++;
	}
	if (lc == NULL)
		return InvalidOid;
	while (--n >= 0)
	{
		if (list_nth_oid(relations, n) != locked)
			UnlockRelationOid(list_nth_oid(relations, n),
							  AccessExclusiveLock);
	}
	return lfirst_oid(lc);
}
