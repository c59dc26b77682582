/*-------------------------------------------------------------------------
 *
 * result.h
 *	  Rows of query sets, with what is prefetched for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_RESULT_H
#define ATQ_QUERY_RESULT_H

#include "query/output.h"
#include "query/run.h"
#include "remote/job.h"

typedef struct AtqResultRow
{
	Datum	   *values;
	bool	   *nulls;
	int			next;			/* of a part: the next row for the same row of
								 * the whole, or -1 */
} AtqResultRow;

/* All rows of a statement, or a chunk of them. */
typedef struct AtqResult
{
	const AtqQuerySet *set;		/* of which the query is to be made, or NULL */
	const AtqQuery *query;
	const AtqModel *guarded;	/* as it is while this is read */
	AtqOutputColumns *columns;
	int16	   *lengths;		/* of the columns' types */
	bool	   *by_value;
	MemoryContext context;		/* of the rows and parts, and what they need */
	int			nrows;
	int			max_rows;
	AtqResultRow *rows;
	List	   *parts;			/* of AtqResult *, for query->prefetches */
	AtqJob	   *job;			/* of a remote one */

	/* Of a root, the result that is no part, that is read apart. */
	AtqFailure *failure;
	Jsonb	   *list;

	/* Of a part; its query's last column says for which row it is. */
	struct AtqResult *whole;
	struct AtqResult *root;		/* .. of that and all between */
	const AtqPrefetch *prefetch;
	int		   *first;			/* for each row of the whole: the first one
								 * here, .. */
	int		   *last;			/* .. the last, or -1 */
} AtqResult;

/*
 * For the rows of a query that has just been compiled, so that the guard in
 * force is its own.  Rows go into context.
 */
extern AtqResult *atq_result_make(const AtqQuery *query,
								  MemoryContext context);

/* For the rows of a query set that is compiled when it is read. */
extern AtqResult *atq_result_make_later(const AtqQuerySet *set,
										MemoryContext context);

/* Adds a copy of a row: an AtqQueryTaker, whose arg is the result. */
extern bool atq_result_add(const Datum *values, const bool *nulls, void *arg);

/* Forgets the rows, whose context has been reset. */
extern void atq_result_clear(AtqResult *result);

/* Reads what is prefetched for the rows that there are. */
extern void atq_result_complete(AtqResult *result);

/* Reads all rows, with what is prefetched. */
extern void atq_result_read(AtqResult *result);

/*
 * The same for several, with their rows as lists.  One that fails does so by
 * itself, and says why in its failure; only what ends the caller too is
 * thrown.
 */
extern void atq_result_read_apart(List *results);

/* A row that need not be added, one that has been, or all, as JSON; palloc'd. */
extern Jsonb *atq_result_json(const AtqResult *result, const Datum *values,
							  const bool *nulls);
extern Jsonb *atq_result_row(const AtqResult *result, int row);
extern Jsonb *atq_result_list(const AtqResult *result);

#endif							/* ATQ_QUERY_RESULT_H */
