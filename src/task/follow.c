/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  Handlers follow their functions to new names.
 *
 * A handler is stored by its function's qualified signature, which outlives
 * dump, restore, pg_upgrade and a function that is dropped and made again, as
 * no OID does.  The signature changes when the function, its schema or the
 * type of a parameter is renamed or moved: before such a command we note which
 * function each signature means, and afterwards, in its transaction, store the
 * signature that this function has.
 *
 * To find the functions all are written as signatures: that cannot fail, while
 * a signature that is read may name what does not exist.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"

#include "store/storage.h"
#include "task/follow.h"

typedef struct Renaming
{
	Oid			function;
	char	   *signature;
} Renaming;

static List *registered_signatures(void);
static bool is_among(List *signatures, const char *signature);
static void replace_signature(const char *old, const char *new);

/* Functions of the server itself keep their names. */
List *
atq_follow_note(void)
{
	List	   *signatures = registered_signatures();
	List	   *noted = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	if (signatures == NIL)
		return NIL;
	rel = table_open(ProcedureRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Oid			function = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
		char	   *signature;
		Renaming   *renaming;

		CHECK_FOR_INTERRUPTS();
		if (function < FirstNormalObjectId)
			continue;
		signature = format_procedure_qualified(function);
		if (!is_among(signatures, signature))
		{
			pfree(signature);
			continue;
		}
		renaming = palloc(sizeof(Renaming));
		renaming->function = function;
		renaming->signature = signature;
		noted = lappend(noted, renaming);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return noted;
}

static List *
registered_signatures(void)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext old = CurrentMemoryContext;
	List	   *signatures = NIL;
	AtqSpi		spi;
	uint64		n;

	PushActiveSnapshot(GetTransactionSnapshot());
	atq_spi_begin(&spi);
	n = atq_spi_run(&plan,
					"SELECT DISTINCT signature FROM asynctasq.handler, "
					"LATERAL (VALUES (function), (should_retry), (on_failure)) "
					"AS v (signature) WHERE signature IS NOT NULL",
					0, NULL, NULL, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *signature = SPI_getvalue(SPI_tuptable->vals[i],
											 SPI_tuptable->tupdesc, 1);
		MemoryContext spi_context = MemoryContextSwitchTo(old);

		signatures = lappend(signatures, pstrdup(signature));
		MemoryContextSwitchTo(spi_context);
	}
	atq_spi_end(&spi);
	PopActiveSnapshot();
	return signatures;
}

static bool
is_among(List *signatures, const char *signature)
{
	ListCell   *lc;

	foreach(lc, signatures)
	{
		if (strcmp(lfirst(lc), signature) == 0)
			return true;
	}
	return false;
}

void
atq_follow_update(List *noted)
{
	ListCell   *lc;

	if (noted == NIL)
		return;
	CommandCounterIncrement();
	foreach(lc, noted)
	{
		Renaming   *renaming = lfirst(lc);
		char	   *signature = format_procedure_qualified(renaming->function);

		if (strcmp(signature, renaming->signature) != 0)
			replace_signature(renaming->signature, signature);
		pfree(signature);
	}
}

static void
replace_signature(const char *old, const char *new)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {TEXTOID, TEXTOID};
	Datum		values[2];

	values[0] = CStringGetTextDatum(old);
	values[1] = CStringGetTextDatum(new);
	PushActiveSnapshot(GetTransactionSnapshot());
	atq_spi_execute(&plan,
					"UPDATE asynctasq.handler SET "
					"function = CASE function WHEN $1 THEN $2 "
					"ELSE function END, "
					"should_retry = CASE should_retry WHEN $1 THEN $2 "
					"ELSE should_retry END, "
					"on_failure = CASE on_failure WHEN $1 THEN $2 "
					"ELSE on_failure END "
					"WHERE $1 OPERATOR(pg_catalog.=) ANY (ARRAY[function, "
					"should_retry, on_failure])",
					2, types, values, NULL, SPI_OK_UPDATE);
	PopActiveSnapshot();
}
