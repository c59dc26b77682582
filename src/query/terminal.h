/*-------------------------------------------------------------------------
 *
 * terminal.h
 *	  What the functions that run query sets share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_TERMINAL_H
#define ATQ_QUERY_TERMINAL_H

#include "fmgr.h"

#include "query/queryset.h"

/*
 * An argument that must be a query set, taken apart; throws 22004.  With copy
 * it does not point into the argument.
 */
extern AtqQuerySet *atq_terminal_set(FunctionCallInfo fcinfo, int arg,
									 bool copy);

#endif							/* ATQ_QUERY_TERMINAL_H */
