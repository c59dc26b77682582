/*-------------------------------------------------------------------------
 *
 * remoterows.h
 *	  Rows of query sets on other servers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_REMOTEROWS_H
#define ATQ_QUERY_REMOTEROWS_H

#include "query/run.h"
#include "remote/cursor.h"

/* Rows as they come: as text, until the run has ended. */
typedef struct AtqRemoteRows
{
	const AtqQuery *query;
	int			n;
	int			max;
	char	 ***rows;			/* of each its columns, NULL for NULL */
	FmgrInfo   *inputs;			/* of the columns' types, made when needed */
	Oid		   *ioparams;
	MemoryContext context;		/* of those */
} AtqRemoteRows;

/* What a query's rows will be kept in; palloc'd, as what is taken later is. */
extern AtqRemoteRows *atq_remoterows_make(const AtqQuery *query);

/* The query's parameters as text. */
extern const char *const *atq_remoterows_params(const AtqQuery *query);

/* A job that takes all rows of a query; job->arg is its AtqRemoteRows. */
extern AtqJob *atq_remoterows_job(const AtqQuery *query);

/* Forgets the rows; takes one more: NULL, or what is wrong with it. */
extern void atq_remoterows_begin(AtqRemoteRows *rows);
extern AtqFailure *atq_remoterows_take(AtqRemoteRows *rows,
									   const PGresult *result, int row);

/* After the run: the rows as values; false where take() wants no more. */
extern bool atq_remoterows_give(AtqRemoteRows *rows, AtqQueryTaker take,
								void *arg);

/* A cursor whose chunks are AtqRemoteRows; see atq_cursor_open. */
extern AtqCursor *atq_remoterows_cursor(const AtqQuery *query, int fetch_size,
										ExprContext *econtext);

/*
 * Runs the query and gives all rows to take, two chunks of them in memory at
 * most.
 */
extern void atq_remoterows_stream(const AtqQuery *query, AtqQueryTaker take,
								  void *arg);

#endif							/* ATQ_QUERY_REMOTEROWS_H */
