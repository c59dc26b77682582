/*-------------------------------------------------------------------------
 *
 * run.h
 *	  What job.c and answer.c do for each other in a run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_RUN_H
#define ATQ_REMOTE_RUN_H

#include "remote/job.h"

/*
 * Takes the answers that are there, without waiting; false when the
 * connection is gone.
 */
extern bool atq_answer_read(struct AtqConn *conn);

/* Ends a job, which is in no list any more; failure may be NULL. */
extern void atq_run_finish(AtqJob *job, AtqFailure *failure);

/*
 * Closes a connection that was in use or idle; its jobs are sent once more or
 * fail.
 */
extern void atq_run_lose(struct AtqConn *conn, AtqFailure *failure);

/* The failure of a connection that was lost, with libpq's reason. */
extern AtqFailure *atq_run_lost(const struct AtqConn *conn);

#endif							/* ATQ_REMOTE_RUN_H */
