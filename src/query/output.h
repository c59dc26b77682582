/*-------------------------------------------------------------------------
 *
 * output.h
 *	  Rows of a statement's result as JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_OUTPUT_H
#define ATQ_QUERY_OUTPUT_H

#include "utils/jsonb.h"

#include "query/compile.h"

/* What is known of the columns of a result; made once for all of its rows. */
typedef struct AtqOutputColumns AtqOutputColumns;

extern AtqOutputColumns *atq_output_prepare(int ncolumns, const Oid *types);

/*
 * Appends what the output says of a row to what the state has open; where that
 * is nothing, it is the whole.  Returns it as pushJsonbValue() does; palloc'd,
 * but it points into the values.
 */
extern JsonbValue *atq_output_push(AtqOutputColumns *columns,
								   const AtqOutput *output,
								   JsonbParseState **state,
								   JsonbIteratorToken token,
								   const Datum *values, const bool *nulls);

/* Appends the members of an object that is open. */
extern void atq_output_push_members(AtqOutputColumns *columns,
									const AtqOutput *output,
									JsonbParseState **state,
									const Datum *values, const bool *nulls);

/* Appends a key; the name is not copied. */
extern void atq_output_push_key(JsonbParseState **state, const char *name);

#endif							/* ATQ_QUERY_OUTPUT_H */
