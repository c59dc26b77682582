/*-------------------------------------------------------------------------
 *
 * owner.c
 *	  Nobody but their owner writes our tables.
 *
 * A registry's row says as whom code runs, so that who writes it may run code
 * as anybody.  No privilege is granted on any of our tables, but a member of
 * pg_write_all_data has it on all tables there are.  PostgreSQL keeps that role
 * from its catalogs, and a trigger on each of our tables keeps it from those:
 * statements of others than the owner, superusers and members of the owner
 * are refused.  Our own statements run as the owner (atq_spi_begin), and what
 * goes through the table access method fires no trigger.
 *
 * A subscription's apply worker, which may run as the subscription's owner,
 * fires no triggers of statements.  So the tables whose rows decide what runs
 * have the trigger for each row too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"

#include "store/owner.h"

void
atq_owner_check(Relation rel)
{
	if (has_privs_of_role(GetUserId(), rel->rd_rel->relowner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s",
					RelationGetRelationName(rel)),
			 errhint("Only the owner of the extension may write its tables; others use its functions.")));
}

/* Before statements and rows, or after rows. */
PG_FUNCTION_INFO_V1(atq_owner_only);

Datum
atq_owner_only(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("asynctasq.owner_only() must be called as a trigger")));
	atq_owner_check(data->tg_relation);
	if (TRIGGER_FIRED_FOR_STATEMENT(data->tg_event))
		PG_RETURN_POINTER(NULL);
	PG_RETURN_POINTER(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
					  data->tg_newtuple : data->tg_trigtuple);
}
