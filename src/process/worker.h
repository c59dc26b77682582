/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The processes that run tasks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_PROCESS_WORKER_H
#define ATQ_PROCESS_WORKER_H

#include "base/lane.h"

/* What the launcher hands to a new worker, in bgw_extra. */
typedef struct AtqWorkerStart
{
	int			slot;
	uint32		generation;
	Oid			database;
	Oid			role;			/* InvalidOid: a scanner */
} AtqWorkerStart;

/* Entry point of both workers and scanners. */
extern PGDLLEXPORT void atq_worker_main(Datum arg);

/* The scanner's work; the connection is made.  Throws what goes wrong. */
extern void atq_scanner_run(int lane);

#endif							/* ATQ_PROCESS_WORKER_H */
