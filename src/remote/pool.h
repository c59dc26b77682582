/*-------------------------------------------------------------------------
 *
 * pool.h
 *	  Pools of connections to other servers, one for each user mapping.
 *
 * See "Remote models and the pool" in src/README for states and rules.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_POOL_H
#define ATQ_REMOTE_POOL_H

#include "lib/ilist.h"

#include "remote/host.h"
#include "remote/job.h"
#include "remote/option.h"
#include "remote/poolstat.h"

typedef enum AtqConnState
{
	ATQ_CONN_RESOLVING,			/* -> CONNECTING: the host's name is known */
	ATQ_CONN_CONNECTING,		/* -> READY: logged in, set-up is sent */
	ATQ_CONN_PROVING,			/* -> READY: a sign of life has come */
	ATQ_CONN_READY				/* -> PROVING when it is used again */
} AtqConnState;

/* Jobs of the pool's own: none of them is sent twice before its answer. */
typedef enum AtqOwnJob
{
	ATQ_OWN_ROLLBACK,
	ATQ_OWN_RESET,
	ATQ_OWN_SETUP,
	ATQ_OWN_PIN,
	ATQ_OWN_UNPIN,
	ATQ_OWN_WATCH,				/* whose failure does not matter */
	ATQ_OWN_PING,
	ATQ_OWN_JOBS
} AtqOwnJob;

typedef struct AtqConn
{
	dlist_node	node;			/* in its pool, last used first */
	struct AtqPool *pool;
	AtqConnState state;
	PGconn	   *pg;				/* NULL while RESOLVING */
	PostgresPollingStatusType polling;	/* while CONNECTING */
	uint32		generation;		/* the pool's when it was opened */
	int64		created_at;
	int64		deadline;		/* of getting READY, or ATQ_CLOCK_NEVER */
	bool		proven;			/* has answered since it was opened */
	bool		reused;			/* has been idle since it was opened */
	bool		dirty;			/* users' queries have run since its reset */
	bool		pinned;			/* its search_path is pg_catalog alone */
	bool		held;			/* by a stream, or ahead, between runs */
	bool		ahead;			/* held by jobs that were sent ahead */
	uint32		run;			/* the run that uses it while held */
	dlist_head	jobs;			/* sent, their answers not complete */
	int			njobs;			/* .. without those of the pool's own */
	AtqJob		own[ATQ_OWN_JOBS];
	PGresult   *result;			/* being looked at */
	Size		unread;			/* bytes read since the last result */
	int			ends;			/* of statements, without a result between */
	int			event;			/* position in the wait set, or -1 */
	uint32		events;			/* .. what it waits for there */
} AtqConn;

typedef struct AtqPoolKey
{
	Oid			mapping;
	Oid			user;
} AtqPoolKey;

typedef struct AtqPool
{
	AtqPoolKey	key;			/* of the hash: first */
	Oid			server;
	uint32		server_hash;	/* of the syscache entries */
	uint32		mapping_hash;
	uint32		user_hash;
	LocalTransactionId lxid;	/* the last one in which it was asked for */
	bool		stale;			/* server or mapping has changed */
	uint32		generation;		/* of the options */
	MemoryContext context;		/* of the options; NULL: none read */
	AtqLogin   *login;
	AtqPoolOptions options;		/* as of this run */
	dlist_head	conns;
	int			size;
	AtqHostLookup *lookup;		/* of the host's name, under way */
	AtqHostAnswer *answer;		/* .. its answer, or the last one's .. */
	MemoryContext answer_context;	/* .. a child of context, or NULL */
	int64		answered_at;
	int			lookup_event;	/* position in the wait set, or -1 */
	AtqPoolStat *stat;
	AtqPoolCounts counts;

	/* Of the run under way. */
	bool		in_run;
	dlist_head	waiting;		/* jobs without a connection */
	int			nwaiting;
	int			limit;			/* connections, as far as the server lets us */
	AtqFailure *failure;		/* why the last one could not be opened */
} AtqPool;

/*
 * The pool of a user on a server, with options as they are now; NULL, and the
 * reason, where the user may not connect.  Checks the privilege; throws 42501.
 */
extern AtqPool *atq_pool_get(Oid server, Oid user, AtqFailure **failure);

/* The same of the current user on a server by its name; throws the reason. */
extern AtqPool *atq_pool_named(const char *server);

/* Readies a pool for a run: options, and what is stale or dead closed. */
extern void atq_pool_begin(AtqPool *pool);

/* Ends it: gives back what is ready, closes what is not. */
extern void atq_pool_end(AtqPool *pool);

/* Gives one back, to be used again or closed.  Never throws. */
extern void atq_conn_give_back(AtqConn *conn);

/* Starts to open one more connection; NULL when descriptors are short. */
extern AtqConn *atq_conn_open(AtqPool *pool);

/*
 * Takes the next step towards READY; NULL, or why it failed: then it is
 * still to be closed.
 */
extern AtqFailure *atq_conn_resolve(AtqConn *conn);
extern AtqFailure *atq_conn_poll(AtqConn *conn);

/* True when it is too old, or was opened with other options. */
extern bool atq_conn_is_worn(const AtqConn *conn);

/* False when an idle connection is known to be dead. */
extern bool atq_conn_is_alive(AtqConn *conn);

/*
 * Closes a connection.  Queries that run on it are cancelled on the other
 * side as far as that does not take time.  Never throws.
 */
extern void atq_conn_close(AtqConn *conn);

/* Asks for a sign of life; false where the connection is lost. */
extern bool atq_conn_ping(AtqConn *conn);

/* True when the only thing under way on it is the pool's own. */
extern bool atq_conn_is_idle(const AtqConn *conn);

/* Sends a job on a connection; false where that is not to be had. */
extern bool atq_conn_send(AtqConn *conn, AtqJob *job);

/* Reads what has come, without waiting; false when the connection is lost. */
extern bool atq_conn_read(AtqConn *conn);

/*
 * Of jobs that were sent ahead (ahead.c): closes the connections of a pool
 * that have only such jobs and do not take part in a run; notes that a job on
 * a connection has ended; lets a connection be any other.  Never throw.
 */
extern void atq_ahead_reclaim(AtqPool *pool, uint32 run);
extern void atq_ahead_note(AtqConn *conn);
extern void atq_ahead_leave(AtqConn *conn);

/* Writes the pool's counters where others see them. */
extern void atq_pool_publish(AtqPool *pool);

#endif							/* ATQ_REMOTE_POOL_H */
