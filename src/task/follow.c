/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  Handlers and models follow their functions and relations to new names.
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
 * A model has its relation's OID and two names: the one that it was registered
 * with, by which a relation that is made again is found, and the one that the
 * relation has, which is written here.
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
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"

#include "store/registry.h"
#include "store/storage.h"
#include "task/follow.h"

typedef struct Renaming
{
	bool		is_relation;	/* not a function */
	Oid			object;
	char	   *name;			/* signature or qualified name */
} Renaming;

static List *note_functions(void);
static List *registered_signatures(void);
static bool is_among(List *signatures, const char *signature);
static List *note_relations(void);
static Renaming *make_renaming(bool is_relation, Oid object, char *name);
static char *current_name(const Renaming *renaming);
static void replace_signature(const char *old, const char *new);
static void replace_relation_name(Oid relation, const char *old,
								  const char *new);

List *
atq_follow_note(void)
{
	return list_concat(note_functions(), note_relations());
}

/* Functions of the server itself keep their names. */
static List *
note_functions(void)
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

		CHECK_FOR_INTERRUPTS();
		if (function < FirstNormalObjectId)
			continue;
		signature = format_procedure_qualified(function);
		if (!is_among(signatures, signature))
		{
			pfree(signature);
			continue;
		}
		noted = lappend(noted, make_renaming(false, function, signature));
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

/* Those that are there. */
static List *
note_relations(void)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext old = CurrentMemoryContext;
	List	   *noted = NIL;
	AtqSpi		spi;
	uint64		n;

	PushActiveSnapshot(GetTransactionSnapshot());
	atq_spi_begin(&spi);
	n = atq_spi_run(&plan,
					"SELECT DISTINCT relation::pg_catalog.oid, current_name "
					"FROM asynctasq.model",
					0, NULL, NULL, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < n; i++)
	{
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Oid			relation = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
															  desc, 1,
															  &isnull));
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], desc, 2);
		MemoryContext spi_context = MemoryContextSwitchTo(old);

		if (atq_registry_is_relation(relation, name))
			noted = lappend(noted,
							make_renaming(true, relation, pstrdup(name)));
		MemoryContextSwitchTo(spi_context);
	}
	atq_spi_end(&spi);
	PopActiveSnapshot();
	return noted;
}

static Renaming *
make_renaming(bool is_relation, Oid object, char *name)
{
	Renaming   *renaming = palloc(sizeof(Renaming));

	renaming->is_relation = is_relation;
	renaming->object = object;
	renaming->name = name;
	return renaming;
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
		char	   *name = current_name(renaming);

		if (name == NULL || strcmp(name, renaming->name) == 0)
			continue;
		if (renaming->is_relation)
			replace_relation_name(renaming->object, renaming->name, name);
		else
			replace_signature(renaming->name, name);
	}
}

/* NULL where it is gone: somebody else may have dropped it meanwhile. */
static char *
current_name(const Renaming *renaming)
{
	Oid			object = renaming->object;
	char	   *name = renaming->is_relation ? get_rel_name(object) :
		get_func_name(object);

	if (name == NULL)
		return NULL;
	if (!renaming->is_relation)
		return format_procedure_qualified(object);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(object)),
									  name);
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

static void
replace_relation_name(Oid relation, const char *old, const char *new)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {OIDOID, TEXTOID, TEXTOID};
	Datum		values[3];

	values[0] = ObjectIdGetDatum(relation);
	values[1] = CStringGetTextDatum(old);
	values[2] = CStringGetTextDatum(new);
	PushActiveSnapshot(GetTransactionSnapshot());
	atq_spi_execute(&plan,
					"UPDATE asynctasq.model SET current_name = $3 "
					"WHERE relation OPERATOR(pg_catalog.=) $1 "
					"AND current_name OPERATOR(pg_catalog.=) $2",
					3, types, values, NULL, SPI_OK_UPDATE);
	PopActiveSnapshot();
}
