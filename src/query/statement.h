/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Statements that write rows of a model.
 *
 * In all of them t0 is the model's relation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_STATEMENT_H
#define ATQ_QUERY_STATEMENT_H

#include "executor/spi.h"

#include "query/object.h"

typedef struct AtqStatement
{
	const AtqQueryModel *model;
	bool		guarded;		/* its plan is not kept */
	StringInfoData sql;
	int			nparams;
	Oid		   *types;
	Datum	   *values;
	char	   *nulls;			/* as SPI has them */
} AtqStatement;

/* For up to max parameters; palloc'd. */
extern void atq_statement_begin(AtqStatement *statement,
								const AtqQueryModel *model, int max);

/* Adds a parameter; what it is called, palloc'd. */
extern char *atq_statement_param(AtqStatement *statement, Oid type,
								 Datum value, bool isnull);

/* A column's name, quoted; palloc'd. */
extern const char *atq_statement_name(Relation rel, AttrNumber column);

/* Appends columns' names, with commas. */
extern void atq_statement_names(StringInfo sql, Relation rel,
								const Bitmapset *columns);

/* ON CONFLICT (unique) DO UPDATE SET set; DO NOTHING where set is empty. */
extern char *atq_statement_conflict(Relation rel, const Bitmapset *unique,
									const Bitmapset *set);

/* Appends RETURNING with the whole row as the only column. */
extern void atq_statement_returning(StringInfo sql, Relation rel);

/*
 * Runs a statement between SPI_connect(), which this calls, and
 * atq_statement_end(): up to limit rows (0: all) are in SPI_tuptable, their
 * number, or that of the rows written, in SPI_processed.
 */
extern void atq_statement_run(const AtqStatement *statement, long limit);
extern void atq_statement_end(void);

/*
 * Runs a statement with the whole row as its result: the row's object, NULL
 * where there is none.  Throws P0003 where there are more.
 */
extern Jsonb *atq_statement_row(const AtqStatement *statement);

/* INSERT of these columns; conflict is a clause or "". */
extern Jsonb *atq_statement_insert(const AtqQueryModel *model,
								   const AtqObject *object,
								   const Bitmapset *columns,
								   const char *conflict);

/* UPDATE of the row that has the object's key; where set is empty, SELECT. */
extern Jsonb *atq_statement_update(const AtqQueryModel *model,
								   const AtqObject *object,
								   const Bitmapset *set);

#endif							/* ATQ_QUERY_STATEMENT_H */
