/*-------------------------------------------------------------------------
 *
 * job.h
 *	  Queries on other servers, many at once.
 *
 * A job is one or more statements for one server, sent together.  A run has
 * any number of jobs under way at the same time and ends when each is done or
 * has failed.  A job that only reads is sent once more, on a new connection,
 * if its connection is lost.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_JOB_H
#define ATQ_REMOTE_JOB_H

#include "lib/ilist.h"

#include "remote/failure.h"

typedef struct AtqJobStatement
{
	const char *sql;
	int			nparams;
	const char *const *params;	/* in text form; NULL is NULL */
} AtqJobStatement;

typedef enum AtqJobState
{
	ATQ_JOB_NEW,				/* -> WAITING by a run */
	ATQ_JOB_WAITING,			/* -> SENT, DONE (failed) */
	ATQ_JOB_SENT,				/* -> DONE, or WAITING to be sent once more */
	ATQ_JOB_DONE
} AtqJobState;

typedef struct AtqJob AtqJob;

/*
 * What is done with the answer.  None of these may run users' code, or another
 * job: connections of the run have answers half read then.  They may throw,
 * which ends the whole run; row and end may return a failure instead, which
 * ends the job.
 */
typedef struct AtqJobReader
{
	void		(*begin) (AtqJob *job); /* answers begin, maybe again */
	AtqFailure *(*row) (AtqJob *job, const PGresult *result, int row);
	AtqFailure *(*end) (AtqJob *job, const PGresult *result);
} AtqJobReader;

struct AtqJob
{
	/* What the caller sets. */
	struct AtqPool *pool;
	int			nstatements;
	const AtqJobStatement *statements;
	const AtqJobReader *reader; /* or NULL */
	void	   *arg;
	bool		write;			/* is not sent twice, nor beside others */
	bool		users;			/* users' own words: the session is reset */
	bool		hold;			/* keep the connection for the caller */
	bool		ahead;			/* sent before the run that waits for it */
	struct AtqConn *conn;		/* the one that is kept, for its next job */

	/* What the run sets. */
	AtqFailure *failure;		/* or NULL; in the run's context */
	AtqJobState state;
	bool		own;			/* the pool's own */
	uint32		run;			/* that waits for it */
	int			statement;		/* whose answer is being read */
	int			tries;
	bool		waited;			/* found no connection ready */
	Size		bytes;			/* of the answer */
	int64		begun_at;
	int64		waits_since;	/* for a connection */
	dlist_node	node;			/* in its pool's waiting, its connection's
								 * jobs */
};

/* A job for a pool, zeroed but for that; palloc'd. */
extern AtqJob *atq_job_make(struct AtqPool *pool);

/*
 * Runs jobs until all are done or have failed (job->failure).  Throws only
 * for what is local: interrupts, memory, what readers throw; whatever is
 * under way then is given up.  What is palloc'd lives in the current context.
 */
extern void atq_job_run(AtqJob **jobs, int n);

/* The same with so much time for all, 0 meaning any. */
extern void atq_job_run_for(AtqJob **jobs, int n, int ms);

/* The same for one, whose failure is thrown. */
extern void atq_job_run_one(AtqJob *job);

/*
 * Sends a job on the connection that it holds, without waiting: a later run
 * reads the answer.  False when the connection is lost.
 */
extern bool atq_job_send(AtqJob *job);

/* Gives a held connection back, or closes it if it is not idle.  No throw. */
extern void atq_job_release(struct AtqConn *conn);

/*
 * Reads what a held connection still has to say, for so long at most; true
 * when that was all.  Never throws.
 */
extern bool atq_job_drain(struct AtqConn *conn, int ms);

/* How many jobs that write this process has begun. */
extern uint64 atq_job_writes;

/*
 * Sends a job that only reads on a connection that is there already and has
 * nothing to do, or only such jobs; false where there is none.  A later run
 * reads the answer, if atq_job_is_under_way then: the connection is closed
 * when other jobs need it, or a second after.  Whoever sends a job ahead keeps
 * its memory until it is not under way any more.
 */
extern bool atq_job_send_ahead(AtqJob *job);

/* True of a job that was sent ahead while its answer can still be read. */
extern bool atq_job_is_under_way(const AtqJob *job);

/*
 * Does without the answer of a job that is under way, and without those of
 * all others on its connection.  Never throws.
 */
extern void atq_job_forget(AtqJob *job);

#endif							/* ATQ_REMOTE_JOB_H */
