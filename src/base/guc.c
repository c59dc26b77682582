/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Settings of asynctasq.
 *
 * Each has the laxest context that is safe: what sizes shared memory is
 * fixed at server start, what steers workers follows a reload, and the
 * limits of payloads and chains may be changed by a superuser for one session,
 * because they guard the server and not the session.  Of the pools of connections to
 * other servers each session has its own.
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
int			atq_max_chain_depth = 0;
int			atq_result_retention_s = 86400;
int			atq_pool_min_size = 0;
int			atq_pool_max_size = 5;
int			atq_pool_max_overflow = 10;
int			atq_pool_timeout_s = 30;
bool		atq_pool_pre_ping = false;
int			atq_pool_recycle_s = -1;
int			atq_pool_class = ATQ_POOL_QUEUE;
int			atq_fetch_timeout_ms = 30000;
int			atq_fetch_max_age_ms = 100;
int			atq_max_answer_kb = 65536;

static const struct config_enum_entry synchronous_commit_options[] = {
	{"local", SYNCHRONOUS_COMMIT_LOCAL_FLUSH, false},
	{"remote_write", SYNCHRONOUS_COMMIT_REMOTE_WRITE, false},
	{"remote_apply", SYNCHRONOUS_COMMIT_REMOTE_APPLY, false},
	{"on", SYNCHRONOUS_COMMIT_REMOTE_FLUSH, false},
	{"off", SYNCHRONOUS_COMMIT_OFF, false},
	{NULL, 0, false}
};

static const struct config_enum_entry pool_class_options[] = {
	{"queue", ATQ_POOL_QUEUE, false},
	{"null", ATQ_POOL_NULL, false},
	{NULL, 0, false}
};

static void define_worker_settings(void);
static void define_limit_settings(void);
static void define_remote_settings(void);

void
atq_guc_init(void)
{
	define_worker_settings();
	define_limit_settings();
	define_remote_settings();
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
	DefineCustomIntVariable("asynctasq.max_chain_depth",
							"Sets the maximum length of chains of tasks that dispatch each other.",
							"A task that no task has dispatched has the depth 0. Zero means no limit.",
							&atq_max_chain_depth, 0, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
}

static void
define_remote_settings(void)
{
	DefineCustomIntVariable("asynctasq.pool_min_size",
							"Sets how many connections to another server are opened with the first one.",
							"This and the other settings of a pool are for servers without the option of that name.",
							&atq_pool_min_size, 0, 0, 1000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.pool_max_size",
							"Sets how many connections to another server a process keeps open.",
							NULL,
							&atq_pool_max_size, 5, 1, 1000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.pool_max_overflow",
							"Sets how many more connections may be open at times of need.",
							"-1 means any number. They are closed after use.",
							&atq_pool_max_overflow, 10, -1, 1000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.pool_timeout",
							"Sets how long to wait for a connection of a pool that is used up.",
							NULL,
							&atq_pool_timeout_s, 30, 0, INT_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomBoolVariable("asynctasq.pool_pre_ping",
							 "Asks a connection for a sign of life before it is used again.",
							 NULL,
							 &atq_pool_pre_ping, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.pool_recycle",
							"Sets the age at which a connection is replaced instead of being used again.",
							"-1 means never.",
							&atq_pool_recycle_s, -1, -1, INT_MAX / 1000,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomEnumVariable("asynctasq.pool_class",
							 "Sets whether connections to other servers are kept (queue) or made for each use (null).",
							 NULL,
							 &atq_pool_class, ATQ_POOL_QUEUE,
							 pool_class_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.fetch_timeout",
							"Sets the maximum time to get an answer from another server, with connecting.",
							"0 means no limit.",
							&atq_fetch_timeout_ms, 30000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.fetch_max_age",
							"Sets the age at which rows that were fetched ahead of their task are fetched again.",
							"0 means that rows are not fetched ahead.",
							&atq_fetch_max_age_ms, 100, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("asynctasq.max_answer",
							"Sets the maximum size of an answer of another server.",
							"For stream() it is that of the rows fetched at a time.",
							&atq_max_answer_kb, 65536, 64, 1024 * 1024 - 1,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
}
