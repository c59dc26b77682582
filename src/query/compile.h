/*-------------------------------------------------------------------------
 *
 * compile.h
 *	  Query sets to statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_COMPILE_H
#define ATQ_QUERY_COMPILE_H

#include "query/field.h"
#include "query/model.h"
#include "query/queryset.h"

/* How a JSON value is made of a row of the result. */
typedef enum AtqOutputKind
{
	ATQ_OUTPUT_COLUMN,
	ATQ_OUTPUT_OBJECT,
	ATQ_OUTPUT_LIST
} AtqOutputKind;

typedef struct AtqOutput
{
	AtqOutputKind kind;
	const char *name;			/* in the object around it */
	int			column;			/* of the result, from 0; of an OBJECT the
								 * column that is NULL where the whole is
								 * null, or -1 */
	Oid			type;			/* of a COLUMN */
	List	   *parts;			/* of AtqOutput *, of an OBJECT or a LIST */
} AtqOutput;

/* A relation whose rows are read by a statement of their own. */
typedef struct AtqPrefetch
{
	const AtqFieldRelation *relation;	/* its name is that in the object */
	int			columns[ATQ_MAX_KEYS];	/* of the result, from 0: the values
										 * it is joined by */
	Oid			types[ATQ_MAX_KEYS];	/* .. and their types */
	List	   *nested;			/* of char *: prefetch_related of its rows */
} AtqPrefetch;

typedef enum AtqQueryPurpose
{
	ATQ_QUERY_OBJECTS,			/* rows in the form that the set says */
	ATQ_QUERY_ROWS,				/* a column for each attribute of the
								 * relation, NULL where it is dropped or left
								 * out by only() or defer() */
	ATQ_QUERY_KEYS,				/* the key's columns */
	ATQ_QUERY_COUNT,			/* one row: the number */
	ATQ_QUERY_EXISTS,			/* one row: true or false */
	ATQ_QUERY_DELETE			/* DELETE; no result */
} AtqQueryPurpose;

typedef struct AtqQuery
{
	AtqQueryModel *model;		/* its relation is closed, but locked */
	const char *server;			/* where it runs; NULL: here */
	bool		anywhere;		/* .. because using() says so */
	char	   *sql;
	int			nparams;
	Oid		   *types;			/* of parameters */
	Datum	   *values;
	char	   *nulls;			/* as SPI has them */
	int			ncolumns;		/* of the result */
	Oid		   *column_types;	/* .. their types here */
	AtqOutput  *output;			/* of OBJECTS and aggregates, else NULL */
	List	   *prefetches;		/* of AtqPrefetch * */
} AtqQuery;

/*
 * Compiles a query set; all is palloc'd.  Opens its model (model.h), so only
 * below atq_query_call.  Throws 42703 for unknown fields, 42883 for unknown
 * lookups, 22P02 for values that do not fit, 0A000 for what cannot be had.
 */
extern AtqQuery *atq_query_compile(const AtqQuerySet *set,
								   AtqQueryPurpose purpose);

/* One row with one object: {name: {function: ..}, ..} over the query set. */
extern AtqQuery *atq_query_aggregate(const AtqQuerySet *set,
									 const Jsonb *aggregates);

/* UPDATE of the set's rows: {field: value or {"F": ..}, ..}; no result. */
extern AtqQuery *atq_query_update(const AtqQuerySet *set,
								  const Jsonb *assignments);

/*
 * The rows that a prefetched relation leads to from a chunk of rows: $1 to
 * $nkeys are the arrays of the joining values (values[]), all of one length.
 * The last column of the result is the number, from 1, of the row in the
 * chunk (int8); output makes the object of the related row.
 */
extern AtqQuery *atq_query_prefetch(const AtqQuery *parent,
									const AtqPrefetch *prefetch,
									const Datum *arrays);

#endif							/* ATQ_QUERY_COMPILE_H */
