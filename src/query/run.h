/*-------------------------------------------------------------------------
 *
 * run.h
 *	  Statements of query sets, run here or on other servers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_RUN_H
#define ATQ_QUERY_RUN_H

#include "executor/spi.h"

#include "query/compile.h"

/* Rows that are held at once, with what is prefetched for them. */
#define ATQ_QUERY_CHUNK	1000

/*
 * Takes one row's JSON, or its values in the order of the query's columns;
 * returns false to have no more.  They last until it returns.
 */
typedef bool (*AtqQueryVisitor) (Jsonb *row, void *arg);
typedef bool (*AtqQueryTaker) (const Datum *values, const bool *nulls,
							   void *arg);

/* Runs the statement and gives each row's values to take. */
extern void atq_query_run(const AtqQuery *query, AtqQueryTaker take,
						  void *arg);

/*
 * Runs the statement and gives each row's JSON to visit, prefetched relations
 * in it.  Holds a chunk of rows at a time.
 */
extern void atq_query_each(const AtqQuery *query, AtqQueryVisitor visit,
						   void *arg);

/* All rows as one JSON list. */
extern Jsonb *atq_query_list(const AtqQuery *query);

/*
 * All rows of a query compiled with ATQ_QUERY_ROWS as an array of the
 * relation's row type.
 */
extern Datum atq_query_array(const AtqQuery *query);

/* The only value of a one-row result (COUNT, EXISTS); by value. */
extern Datum atq_query_scalar(const AtqQuery *query, bool *isnull);

/* Runs a statement that has no result here; the number of rows it has changed. */
extern uint64 atq_query_execute(const AtqQuery *query);

/*
 * The plan of a statement, kept by its text and the types of its parameters
 * unless the guard is on.  Below SPI_connect: it lasts until SPI_finish.
 */
extern SPIPlanPtr atq_query_plan(const char *sql, int nparams,
								 const Oid *types, bool guarded);

/* The query's parameters, for SPI; palloc'd. */
extern ParamListInfo atq_query_params(const AtqQuery *query);

/* A receiver that gives rows to take; palloc'd. */
extern DestReceiver *atq_query_receiver(AtqQueryTaker take, void *arg);

#endif							/* ATQ_QUERY_RUN_H */
