/*-------------------------------------------------------------------------
 *
 * queryarg.h
 *	  Query sets as arguments of tasks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_QUERYARG_H
#define ATQ_TASK_QUERYARG_H

#include "wire/datum.h"

/*
 * What a query set is to a parameter, as AtqSetResolver and AtqJsonResolver
 * have it; the statement runs in the current transaction, as the current user.
 * Throws 42804 where the type takes no query set, or not one of this model,
 * 22023 where it is none, and what compiling and running it throw.
 */
extern Datum atq_queryarg_value(const AtqReference *reference,
								const AtqTypeInfo *type);
extern Jsonb *atq_queryarg_json(const AtqReference *reference);

#endif							/* ATQ_TASK_QUERYARG_H */
