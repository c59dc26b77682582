/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Settings of asynctasq.
 *
 * Each has the laxest context that is safe: what sizes shared memory is
 * fixed at server start, what steers workers follows a reload, and the
 * limits of a payload may be changed by a superuser for one session, because
 * they guard the server and not the session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "utils/guc.h"

#include "base/guc.h"
#include "base/lane.h"

bool		atq_enabled = true;
int			atq_max_workers = 4;
int			atq_workers_per_lane = 2;
int			atq_worker_idle_timeout_ms = 10000;
int			atq_worker_max_tasks = 0;
int			atq_cancel_grace_ms = 5000;
int			atq_claim_size = 100;
int			atq_sweep_interval_s = 60;
int			atq_synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
int			atq_group_duration_ms = 10;
int			atq_max_payload_kb = 1024;
int			atq_max_depth = 512;
int			atq_result_retention_s = 86400;

static const struct config_enum_entry synchronous_commit_options[] = {
	{"local", SYNCHRONOUS_COMMIT_LOCAL_FLUSH, false},
	{"remote_write", SYNCHRONOUS_COMMIT_REMOTE_WRITE, false},
	{"remote_apply", SYNCHRONOUS_COMMIT_REMOTE_APPLY, false},
	{"on", SYNCHRONOUS_COMMIT_REMOTE_FLUSH, false},
	{"off", SYNCHRONOUS_COMMIT_OFF, false},
	{NULL, 0, false}
};

static void define_worker_settings(void);
static void define_limit_settings(void);

void
atq_guc_init(void)
{
	define_worker_settings();
	define_limit_settings();
	MarkGUCPrefixReserved("asynctasq");
}

static void
define_worker_settings(void)
{
	DefineCustomBoolVariable("asynctasq.enabled",
							 "Runs tasks.",
							 "When off, tasks can be dispatched but no worker runs them.",
							 &atq_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.max_workers",
							"Sets the maximum number of worker processes of all databases and roles together.",
							"Each also needs one of max_worker_processes.",
							&atq_max_workers, 4, 1, ATQ_MAX_WORKERS,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.workers_per_lane",
							"Sets the maximum number of worker processes of one role in one database.",
							NULL,
							&atq_workers_per_lane, 2, 1, 256,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.worker_idle_timeout",
							"Sets how long a worker waits for work before it exits.",
							NULL,
							&atq_worker_idle_timeout_ms, 10000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.worker_max_tasks",
							"Sets after how many tasks a worker exits, and another takes its place.",
							"Zero means never. It bounds what handlers leave behind in a process.",
							&atq_worker_max_tasks, 0, 0, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.cancel_grace",
							"Sets how long a task may go on that was told to stop.",
							"A worker whose task does not heed cancel() or its timeout is ended.",
							&atq_cancel_grace_ms, 5000, 10, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.claim_size",
							"Sets how many tasks a worker claims at a time.",
							NULL,
							&atq_claim_size, 100, 1, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.sweep_interval",
							"Sets the time between searches for tasks that no commit announced.",
							"Such are tasks of COMMIT PREPARED, of replication and of a restored dump.",
							&atq_sweep_interval_s, 60, 1, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable("asynctasq.synchronous_commit",
							 "Sets synchronous_commit of the workers' transactions.",
							 "Off is safe: a crash that loses a commit loses the task's effects and its removal together, so it runs again.",
							 &atq_synchronous_commit, SYNCHRONOUS_COMMIT_OFF,
							 synchronous_commit_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.group_duration",
							"Sets the maximum time that tasks of a group share a transaction.",
							NULL,
							&atq_group_duration_ms, 10, 1, 10000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.result_retention",
							"Sets how long results and cancelled tasks are kept.",
							NULL,
							&atq_result_retention_s, 86400, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_limit_settings(void)
{
	DefineCustomIntVariable("asynctasq.max_payload",
							"Sets the maximum size of a task's arguments.",
							NULL,
							&atq_max_payload_kb, 1024, 1, 65536,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.max_depth",
							"Sets the maximum nesting depth of a task's arguments.",
							"Arrays, maps and sets count.",
							&atq_max_depth, 512, 1, 4096,
							PGC_SUSET, 0, NULL, NULL, NULL);
}
