/*-------------------------------------------------------------------------
 *
 * argument.c
 *	  Arguments of SQL functions that are not strict.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/argument.h"

void
atq_require_arg(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

char *
atq_text_arg(FunctionCallInfo fcinfo, int arg, const char *name)
{
	atq_require_arg(fcinfo, arg, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}
