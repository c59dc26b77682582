/*-------------------------------------------------------------------------
 *
 * select.h
 *	  The select list of a query set, and the JSON that is made of its rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_SELECT_H
#define ATQ_QUERY_SELECT_H

#include "query/build.h"
#include "query/compile.h"

typedef struct AtqSelect
{
	AtqScope   *scope;
	StringInfoData sql;
	List	   *expressions;	/* of AtqExpression * */
} AtqSelect;

extern void atq_select_begin(AtqSelect *select, AtqScope *scope);

/* Adds an expression if it is not there; the number of its column, from 0. */
extern int	atq_select_expression(AtqSelect *select,
								  AtqExpression *expression);

/* Without parts; name NULL: not in an object. */
extern AtqOutput *atq_select_output(AtqOutputKind kind, const char *name);

/* Adds an expression; what becomes of its column. */
extern AtqOutput *atq_select_column(AtqSelect *select,
									AtqExpression *expression,
									const char *name);

/* Adds a table's columns as parts; wanted, by number from 0, NULL: all. */
extern void atq_select_columns(AtqSelect *select, AtqOutput *output,
							   AtqSource *table, const bool *wanted);

/* What the set's form asks for. */
extern AtqOutput *atq_select_form(AtqSelect *select, const AtqQuerySet *set);

/* A column for each attribute of the relation. */
extern void atq_select_attributes(AtqSelect *select, const AtqQuerySet *set);

/* The key's columns. */
extern void atq_select_key(AtqSelect *select);

/* What it takes to read further relations: of AtqPrefetch *. */
extern List *atq_select_prefetches(AtqSelect *select, List *paths);

#endif							/* ATQ_QUERY_SELECT_H */
