/*-------------------------------------------------------------------------
 *
 * value.h
 *	  Values of other servers as jsonb, and jsonb as parameters for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_VALUE_H
#define ATQ_REMOTE_VALUE_H

#include "utils/jsonb.h"

#include "remote/job.h"

/* Rows as they come, each an object by column name. */
typedef struct AtqRowsReader
{
	int			ncolumns;		/* -1: no row has come */
	char	  **names;
	Oid		   *types;
	Oid		   *elements;		/* of arrays, else InvalidOid */
} AtqRowsReader;

/* Forgets the columns of an answer before. */
extern void atq_value_begin(AtqRowsReader *reader);

/*
 * Appends a row as an object, which is what *object is if it stands alone;
 * NULL, or what is wrong with it.
 */
extern AtqFailure *atq_value_push_row(AtqRowsReader *reader,
									  JsonbParseState **state,
									  const PGresult *result, int row,
									  JsonbValue **object);

/* Appends one value, by its column's number. */
extern AtqFailure *atq_value_push(AtqRowsReader *reader,
								  JsonbParseState **state,
								  JsonbIteratorToken token,
								  const PGresult *result, int row,
								  int column);

/*
 * The elements of a jsonb array, or nothing for NULL, as parameters in text
 * form.  Throws 22023 where it is no array.
 */
extern const char *const *atq_value_params(const Jsonb *params, int *n);

#endif							/* ATQ_REMOTE_VALUE_H */
