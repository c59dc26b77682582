/*-------------------------------------------------------------------------
 *
 * asynctasq.c
 *	  A task queue inside PostgreSQL: entry point of the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "base/evidence.h"
#include "base/guc.h"
#include "base/lane.h"
#include "base/stats.h"
#include "process/hooks.h"
#include "process/launcher.h"
#include "remote/poolstat.h"
#include "store/registry.h"
#include "store/trust.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

/*
 * Shared memory and the launcher exist only if the library is loaded at
 * server start, so anything else is refused.
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("asynctasq must be loaded at server start"),
				 errhint("Add asynctasq to shared_preload_libraries and restart the server.")));
	atq_guc_init();
	atq_lane_init();
	atq_stats_init();
	atq_evidence_init();
	atq_poolstat_init();
	atq_registry_init();
	atq_trust_init();
	atq_hooks_init();
	if (!IsBinaryUpgrade)
		atq_launcher_init();
}
