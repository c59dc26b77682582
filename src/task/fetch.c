/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  fetch(): reading what a lazy argument refers to.
 *
 * A handler's parameter of type msgpack keeps its references.  fetch() reads
 * their rows when they are wanted, as the current user and under a new
 * snapshot, in the same way as the other parameters are resolved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "task/resolve.h"
#include "wire/type.h"

PG_FUNCTION_INFO_V1(atq_sql_fetch);

Datum
atq_sql_fetch(PG_FUNCTION_ARGS)
{
	AtqSpan		value = ATQ_GETARG_MSGPACK(0);
	AtqResolution *resolution = atq_resolve_begin();
	const AtqResolver *resolver = atq_resolve_resolver(resolution);

	atq_resolve_note(resolution, value);
	atq_resolve_fetch(resolution);
	PG_RETURN_JSONB_P(atq_json_plain(value, resolver->json, resolver->arg));
}
