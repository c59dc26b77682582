/*-------------------------------------------------------------------------
 *
 * argument.h
 *	  Arguments of SQL functions that are not strict.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_ARGUMENT_H
#define ATQ_BASE_ARGUMENT_H

#include "fmgr.h"

/* Throws 22004 when an argument is null; name is what the message calls it. */
extern void atq_require_arg(FunctionCallInfo fcinfo, int arg,
							const char *name);

/* A text argument that must not be null; palloc'd. */
extern char *atq_text_arg(FunctionCallInfo fcinfo, int arg, const char *name);

#endif							/* ATQ_BASE_ARGUMENT_H */
