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
 * All of our triggers fire always: whatever session_replication_role is, which
 * in an apply worker is replica.  pg_restore --disable-triggers leaves triggers
 * enabled in the way of others, so that is put right (ddl.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/owner.h"
#include "store/storage.h"

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

void
atq_owner_enable_triggers(void)
{
	static SPIPlanPtr plan = NULL;
	AtqSpi		spi;
	SPITupleTable *table;
	uint64		n;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	atq_spi_begin(&spi);
	n = atq_spi_run(&plan,
					"SELECT pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS "
					"TRIGGER %I', t.tgrelid::pg_catalog.regclass, t.tgname) "
					"FROM pg_catalog.pg_trigger AS t "
					"JOIN pg_catalog.pg_class AS c "
					"ON c.oid OPERATOR(pg_catalog.=) t.tgrelid "
					"JOIN pg_catalog.pg_proc AS p "
					"ON p.oid OPERATOR(pg_catalog.=) t.tgfoid "
					"WHERE c.relnamespace OPERATOR(pg_catalog.=) "
					"'asynctasq'::pg_catalog.regnamespace "
					"AND p.pronamespace OPERATOR(pg_catalog.=) c.relnamespace "
					"AND t.tgenabled OPERATOR(pg_catalog.=) 'O'",
					0, NULL, NULL, NULL, SPI_OK_SELECT);
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		char	   *command = SPI_getvalue(table->vals[i], table->tupdesc, 1);

		if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not execute \"%s\"", command);
	}
	atq_spi_end(&spi);
	PopActiveSnapshot();
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
