/*-------------------------------------------------------------------------
 *
 * gather.c
 *	  gather_lists(): the rows of several query sets at once.
 *
 * Those of other servers are asked for together (result.c).  Each set is
 * read in subtransactions, so that what goes wrong with one is told in its row
 * and the others go on.
 *
 * Memory: each set's rows have a context of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/argument.h"
#include "query/result.h"

static Datum gather_lists(PG_FUNCTION_ARGS);
static List *read_sets(ArrayType *array);
static void put_answer(ReturnSetInfo *rsinfo, int ord,
					   const AtqResult *result);

ATQ_QUERY_FUNCTION(atq_sql_queryset_gather_lists, gather_lists);

static Datum
gather_lists(PG_FUNCTION_ARGS)
{
	List	   *results = NIL;
	int			ord = 0;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	atq_require_arg(fcinfo, 0, "query sets");
	foreach(lc, read_sets(PG_GETARG_ARRAYTYPE_P(0)))
		results = lappend(results,
						  atq_result_make_later(lfirst(lc),
												AllocSetContextCreate(CurrentMemoryContext,
																	  "asynctasq list",
																	  ALLOCSET_SMALL_SIZES)));
	atq_result_read_apart(results);
	foreach(lc, results)
		put_answer((ReturnSetInfo *) fcinfo->resultinfo, ++ord, lfirst(lc));
	return (Datum) 0;
}

/* Of AtqQuerySet *. */
static List *
read_sets(ArrayType *array)
{
	List	   *sets = NIL;
	int16		length;
	bool		by_value;
	char		align;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, align,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("query sets must not contain nulls")));
		sets = lappend(sets, atq_queryset_read(DatumGetJsonbP(elements[i])));
	}
	return sets;
}

/* One row: number, rows or NULL, NULL or error. */
static void
put_answer(ReturnSetInfo *rsinfo, int ord, const AtqResult *result)
{
	bool		failed = result->failure != NULL;
	Datum		values[3] = {Int32GetDatum(ord)};
	bool		nulls[3] = {false, failed, !failed};

	if (failed)
		values[2] = CStringGetTextDatum(atq_failure_line(result->failure));
	else
		values[1] = JsonbPGetDatum(result->list);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	MemoryContextDelete(result->context);
}
