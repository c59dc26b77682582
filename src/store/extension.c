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
 * our processes know.  So each of these holds a lock, shared, and what drops or
 * changes the extension first takes that lock exclusively (process/ddl.c): it
 * waits for tasks under way while it holds nothing of ours.  The lock is one on
 * the extension with a subobject that it does not have, so that only this file
 * takes it: the extension's own is there for any user to take.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "store/extension.h"

#define HOLD_SUBOBJECT	1

static void read_extension(HeapTuple tuple, TupleDesc desc,
						   AtqExtension *extension);
static bool version_fits(const char *version);

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
	AtqExtension held;
	LOCKTAG		tag;

	while (atq_extension_find(&found))
	{
		SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId, found.oid,
						   HOLD_SUBOBJECT);
		(void) LockAcquire(&tag, AccessShareLock, true, false);
		AcceptInvalidationMessages();
		if (atq_extension_find(&held) && held.oid == found.oid)
			return true;
		LockRelease(&tag, AccessShareLock, true);
	}
	return false;
}

void
atq_extension_lock(const AtqExtension *extension)
{
	LockDatabaseObject(ExtensionRelationId, extension->oid, HOLD_SUBOBJECT,
					   AccessExclusiveLock);
}
