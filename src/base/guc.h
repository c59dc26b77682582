/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Settings of asynctasq.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_GUC_H
#define ATQ_BASE_GUC_H

/* Values of asynctasq.pool_class. */
#define ATQ_POOL_QUEUE	0		/* connections are kept */
#define ATQ_POOL_NULL	1		/* each use has its own */

extern PGDLLIMPORT bool atq_enabled;
extern PGDLLIMPORT int atq_max_workers;
extern PGDLLIMPORT int atq_workers_per_lane;
extern PGDLLIMPORT int atq_worker_idle_timeout_ms;
extern PGDLLIMPORT int atq_worker_max_tasks;
extern PGDLLIMPORT int atq_cancel_grace_ms;
extern PGDLLIMPORT int atq_claim_size;
extern PGDLLIMPORT int atq_sweep_interval_s;
extern PGDLLIMPORT int atq_synchronous_commit;
extern PGDLLIMPORT int atq_group_duration_ms;
extern PGDLLIMPORT int atq_max_payload_kb;
extern PGDLLIMPORT int atq_max_depth;
extern PGDLLIMPORT int atq_max_chain_depth;
extern PGDLLIMPORT int atq_result_retention_s;
extern PGDLLIMPORT int atq_pool_min_size;
extern PGDLLIMPORT int atq_pool_max_size;
extern PGDLLIMPORT int atq_pool_max_overflow;
extern PGDLLIMPORT int atq_pool_timeout_s;
extern PGDLLIMPORT bool atq_pool_pre_ping;
extern PGDLLIMPORT int atq_pool_recycle_s;
extern PGDLLIMPORT int atq_pool_class;
extern PGDLLIMPORT int atq_fetch_timeout_ms;
extern PGDLLIMPORT int atq_fetch_max_age_ms;
extern PGDLLIMPORT int atq_max_answer_kb;

/* Defines all settings and reserves their prefix; from _PG_init only. */
extern void atq_guc_init(void);

#endif							/* ATQ_BASE_GUC_H */
