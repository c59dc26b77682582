/*-------------------------------------------------------------------------
 *
 * job.c
 *	  Queries on other servers, many at once.
 *
 * A run takes jobs, gives them to connections of their pools, and waits for
 * all sockets and the latch in one wait event set until no job is left.  What
 * is ready is read without blocking; between the waits interrupts are served.
 *
 * A job goes to a connection that is idle; else one more is opened, as long as
 * the pool may grow; else it is sent behind others that are under way
 * (pipeline), each connection getting a like share.  Jobs that write want a
 * connection for themselves, and one that has just shown that it is alive,
 * because they cannot be sent twice.
 *
 * Where a connection is lost, jobs that only read go back to the waiting ones,
 * once.  If it had been idle before, the other idle ones are closed too: what
 * took the one, mostly a restart, took them all.  Where none can be opened,
 * jobs use those that there are; where there are none, they fail.
 *
 * A run is not reentrant.  Connections that a stream holds, or jobs that were
 * sent ahead (ahead.c), are not touched by runs of others in between; but if
 * the latter are needed they are closed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "remote/pool.h"
#include "remote/run.h"

typedef struct Run
{
	uint32		number;
	int			ms;				/* for all jobs; 0: any */
	int			active;			/* jobs that are not done */
	List	   *pools;
	WaitEventSet *set;			/* or NULL: to be made anew */
	bool		reserved;		/* a descriptor is kept for the set */
	int			room;			/* of events */
	WaitEvent  *events;
	int64		deadline;		/* of all jobs, or ATQ_CLOCK_NEVER */
} Run;

/* The run under way, or NULL. */
static Run *run = NULL;
static uint32 run_number = 0;
static uint32 wait_event = 0;

uint64		atq_job_writes = 0;

static void begin_run(int ms);
static void do_run(void);
static void end_run(void);
static void abandon_run(void);
static void give_up(AtqConn *conn);
static void enter_pool(AtqPool *pool);
static void begin_job(AtqJob *job);
static void enqueue(AtqJob *job, bool first);
static void assign(AtqPool *pool);
static bool assign_one(AtqPool *pool, bool share);
static AtqConn *find_idle(AtqPool *pool);
static AtqConn *find_sharing(AtqPool *pool);
static int	count_pending(const AtqPool *pool);
static bool takes_part(const AtqConn *conn);
static void use_conn(AtqConn *conn, AtqJob *job);
static void send_job(AtqConn *conn, AtqJob *job);
static void open_conns(AtqPool *pool);
static void check_stuck(AtqPool *pool);
static void fail_waiting(AtqPool *pool, const AtqFailure *failure);
static void lose_opening(AtqConn *conn, AtqFailure *failure);
static void detach_jobs(AtqConn *conn, const AtqFailure *failure);
static void wait_for_events(void);
static void make_set(void);
static void update_set(void);
static void drop_set(void);
static void reserve_descriptor(void);
static AtqConn *find_event(int position);
static uint32 wanted_events(const AtqConn *conn);
static void advance(AtqConn *conn, uint32 events);
static void resolve_pool(AtqPool *pool);
static long wait_ms(void);
static int64 waiting_until(const AtqPool *pool);
static bool expire(void);
static bool expire_conns(AtqPool *pool, int64 now);
static void fail_jobs(AtqConn *conn, const AtqFailure *failure);
static bool may_end(void);

AtqJob *
atq_job_make(AtqPool *pool)
{
	AtqJob	   *job = palloc0(sizeof(AtqJob));

	job->pool = pool;
	return job;
}

void
atq_job_run(AtqJob **jobs, int n)
{
	atq_job_run_for(jobs, n, atq_fetch_timeout_ms);
}

void
atq_job_run_for(AtqJob **jobs, int n, int ms)
{
	if (run != NULL)
		elog(ERROR, "queries on other servers cannot be nested");
	if (n == 0)
		return;
	if (wait_event == 0)
		wait_event = atq_wait_event("AsynctasqRemote");
	begin_run(ms);
	PG_TRY();
	{
		reserve_descriptor();
		for (int i = 0; i < n; i++)
			enter_pool(jobs[i]->pool);
		for (int i = 0; i < n; i++)
			begin_job(jobs[i]);
		do_run();
		end_run();
	}
	PG_CATCH();
	{
		abandon_run();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
atq_job_run_one(AtqJob *job)
{
	char	   *server = job->pool->login->server_name;

	atq_job_run(&job, 1);
	if (job->failure != NULL)
		atq_failure_throw(job->failure, server);
}

/* Nothing of it is needed once it has ended, but failures of jobs. */
static void
begin_run(int ms)
{
	run = palloc0(sizeof(Run));
	run->number = ++run_number;
	run->ms = ms;
	run->deadline = ms == 0 ? ATQ_CLOCK_NEVER :
		atq_clock_after(atq_clock_now(), ms);
}

static void
enter_pool(AtqPool *pool)
{
	if (list_member_ptr(run->pools, pool))
		return;
	run->pools = lappend(run->pools, pool);
	atq_pool_begin(pool);
}

static void
begin_job(AtqJob *job)
{
	job->begun_at = atq_clock_now();
	job->run = run->number;
	run->active++;
	atq_job_writes += job->write ? 1 : 0;
	if (job->conn != NULL)
		job->conn->run = run->number;
	if (job->state == ATQ_JOB_SENT)
		return;					/* ahead of this run */
	job->failure = NULL;
	job->tries = 0;
	if (job->conn != NULL)
		send_job(job->conn, job);
	else
		enqueue(job, false);
}

static void
enqueue(AtqJob *job, bool first)
{
	job->state = ATQ_JOB_WAITING;
	job->conn = NULL;
	job->waits_since = atq_clock_now();
	if (first)
		dlist_push_head(&job->pool->waiting, &job->node);
	else
		dlist_push_tail(&job->pool->waiting, &job->node);
	job->pool->nwaiting++;
}

static void
do_run(void)
{
	for (;;)
	{
		ListCell   *lc;

		CHECK_FOR_INTERRUPTS();
		foreach(lc, run->pools)
			assign(lfirst(lc));
		if (run->active == 0 && may_end())
			break;
		if (!expire())
			wait_for_events();
	}
}

static void
end_run(void)
{
	Run		   *ended = run;
	ListCell   *lc;

	run = NULL;
	foreach(lc, ended->pools)
		atq_pool_end(lfirst(lc));
	if (ended->set != NULL)
		FreeWaitEventSet(ended->set);
	if (ended->reserved)
		ReleaseExternalFD();
}

/* After an error: what is under way is in no state to be used again. */
static void
abandon_run(void)
{
	Run		   *ended = run;
	ListCell   *lc;

	if (ended == NULL)
		return;
	foreach(lc, ended->pools)
	{
		AtqPool    *pool = lfirst(lc);
		dlist_mutable_iter iter;

		if (!pool->in_run)
			continue;
		dlist_foreach_modify(iter, &pool->conns)
		{
			AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

			if (ended->number == conn->run || !conn->held)
				give_up(conn);
		}
		dlist_init(&pool->waiting);
		pool->nwaiting = 0;
	}
	end_run();
}

static void
give_up(AtqConn *conn)
{
	dlist_iter	iter;

	if (conn->njobs == 0 && conn->result == NULL)
		return;
	dlist_foreach(iter, &conn->jobs)
		dlist_container(AtqJob, node, iter.cur)->conn = NULL;
	atq_conn_close(conn);
}

/* ---- jobs to connections ---- */

static void
assign(AtqPool *pool)
{
	dlist_iter	iter;

	while (!dlist_is_empty(&pool->waiting) && assign_one(pool, false))
		;
	dlist_foreach(iter, &pool->waiting)
	{
		AtqJob	   *job = dlist_container(AtqJob, node, iter.cur);

		pool->counts.waits += job->waited ? 0 : 1;
		job->waited = true;
	}
	open_conns(pool);
	while (pool->nwaiting > count_pending(pool) && assign_one(pool, true))
		;
	check_stuck(pool);
}

/*
 * Gives the next waiting job to an idle connection, or with share to one that
 * is busy; false when there is none.
 */
static bool
assign_one(AtqPool *pool, bool share)
{
	AtqJob	   *job = dlist_head_element(AtqJob, node, &pool->waiting);
	AtqConn    *conn = find_idle(pool);

	if (conn == NULL && share && !job->write && !job->hold)
		conn = find_sharing(pool);
	if (conn == NULL)
		return false;
	use_conn(conn, job);
	return true;
}

static AtqConn *
find_idle(AtqPool *pool)
{
	dlist_iter	iter;

	dlist_foreach(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

		if (atq_conn_is_idle(conn))
			return conn;
	}
	return NULL;
}

/* The one with the fewest jobs, if that is below its share. */
static AtqConn *
find_sharing(AtqPool *pool)
{
	AtqConn    *found = NULL;
	int			usable = 0;
	int			jobs = pool->nwaiting;
	dlist_iter	iter;

	dlist_foreach(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

		if (conn->held)
			continue;
		usable++;
		jobs += conn->njobs;
		if (conn->state == ATQ_CONN_READY && conn->njobs > 0 &&
			!dlist_tail_element(AtqJob, node, &conn->jobs)->write &&
			(found == NULL || conn->njobs < found->njobs))
			found = conn;
	}
	if (found == NULL || found->njobs >= (jobs + usable - 1) / usable)
		return NULL;
	return found;
}

/* Connections that will be ready for a waiting job. */
static int
count_pending(const AtqPool *pool)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &((AtqPool *) pool)->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

		if (conn->state != ATQ_CONN_READY)
			n++;
	}
	return n;
}

static bool
takes_part(const AtqConn *conn)
{
	return !conn->held || conn->run == run->number;
}

/*
 * Sends a job on an idle or busy connection.  One that has been idle is asked
 * for a sign of life first where that is wanted: the job waits on.
 */
static void
use_conn(AtqConn *conn, AtqJob *job)
{
	AtqPool    *pool = conn->pool;

	dlist_move_head(&pool->conns, &conn->node);
	if ((conn->reused && pool->options.pre_ping) ||
		((job->write || job->hold) &&
		 (conn->reused || !dlist_is_empty(&conn->jobs))))
	{
		if (!atq_conn_ping(conn))
			atq_run_lose(conn, atq_run_lost(conn));
		return;
	}
	dlist_delete(&job->node);
	pool->nwaiting--;
	if (job->reader != NULL && job->reader->begin != NULL)
		job->reader->begin(job);
	job->bytes = 0;
	send_job(conn, job);
}

static void
send_job(AtqConn *conn, AtqJob *job)
{
	if (!atq_conn_send(conn, job))
		atq_run_lose(conn, atq_run_lost(conn));
}

/* As many as there are jobs waiting that none will be ready for. */
static void
open_conns(AtqPool *pool)
{
	int			wanted = pool->nwaiting - count_pending(pool);
	bool		first = pool->size == 0;

	if (wanted > 0 && pool->size >= pool->limit)
		atq_ahead_reclaim(pool, run->number);
	if (pool->nwaiting > 0 && first)
		wanted = Max(wanted, Min(pool->options.min_size, pool->limit));
	while (wanted-- > 0 && pool->size < pool->limit)
	{
		AtqConn    *conn = atq_conn_open(pool);

		if (conn == NULL)
		{
			pool->limit = pool->size;
			pool->failure = atq_failure_make(ERRCODE_INSUFFICIENT_RESOURCES,
											 "There are too many open files on the local server.",
											 "could not connect to server \"%s\"",
											 pool->login->server_name);
			return;
		}
		if (pool->lookup == NULL)
		{
			AtqFailure *failure = atq_conn_resolve(conn);

			if (failure != NULL)
				lose_opening(conn, failure);
		}
		drop_set();
	}
}

/* Fails what waits where no connection is left that could become free. */
static void
check_stuck(AtqPool *pool)
{
	dlist_iter	iter;

	if (dlist_is_empty(&pool->waiting))
		return;
	dlist_foreach(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

		if (takes_part(conn))
			return;
	}
	if (pool->failure == NULL)
	{
		pool->counts.timeouts += pool->nwaiting;
		pool->failure = atq_failure_make(ERRCODE_TOO_MANY_CONNECTIONS,
										 "All of its connections are held by streams of this session.",
										 "pool of server \"%s\" is exhausted",
										 pool->login->server_name);
	}
	fail_waiting(pool, pool->failure);
}

static void
fail_waiting(AtqPool *pool, const AtqFailure *failure)
{
	while (!dlist_is_empty(&pool->waiting))
	{
		AtqJob	   *job = dlist_head_element(AtqJob, node, &pool->waiting);

		dlist_delete(&job->node);
		pool->nwaiting--;
		atq_run_finish(job, atq_failure_copy(failure));
	}
}

void
atq_run_finish(AtqJob *job, AtqFailure *failure)
{
	AtqPoolCounts *counts = &job->pool->counts;
	double		ms = (atq_clock_now() - job->begun_at) / 1000.0;

	job->state = ATQ_JOB_DONE;
	if (failure != NULL)
		job->failure = failure;
	run->active -= job->run == run->number ? 1 : 0;
	counts->queries++;
	counts->total_ms += ms;
	counts->max_ms = Max(counts->max_ms, ms);
}

/* ---- connections that are lost ---- */

AtqFailure *
atq_run_lost(const AtqConn *conn)
{
	char	   *reason = pstrdup(PQerrorMessage(conn->pg));

	/* What libpq adds are guesses. */
	reason[strcspn(reason, "\n")] = '\0';
	return atq_failure_make(ERRCODE_CONNECTION_FAILURE, reason,
							"connection to server \"%s\" was lost",
							conn->pool->login->server_name);
}

void
atq_run_lose(AtqConn *conn, AtqFailure *failure)
{
	AtqPool    *pool = conn->pool;
	bool		reused = conn->reused;
	dlist_mutable_iter iter;

	if (!conn->proven)
	{
		lose_opening(conn, failure);
		return;
	}
	pool->counts.errors++;
	detach_jobs(conn, failure);
	atq_conn_close(conn);
	drop_set();
	if (!reused)
		return;
	dlist_foreach_modify(iter, &pool->conns)
	{
		AtqConn    *other = dlist_container(AtqConn, node, iter.cur);

		if (other->reused && atq_conn_is_idle(other))
			atq_conn_close(other);
	}
}

/* One that has never answered; jobs wait for others, if there are any. */
static void
lose_opening(AtqConn *conn, AtqFailure *failure)
{
	AtqPool    *pool = conn->pool;

	pool->counts.errors++;
	pool->failure = failure;
	detach_jobs(conn, failure);
	atq_conn_close(conn);
	pool->limit = pool->size;
	drop_set();
}

/* Jobs that may be sent again go back, the others fail. */
static void
detach_jobs(AtqConn *conn, const AtqFailure *failure)
{
	while (!dlist_is_empty(&conn->jobs))
	{
		AtqJob	   *job = dlist_tail_element(AtqJob, node, &conn->jobs);

		dlist_delete(&job->node);
		if (job->own)
			continue;
		job->conn = NULL;
		if (!job->write && !conn->held && job->failure == NULL &&
			job->tries++ == 0)
			enqueue(job, true);
		else
			atq_run_finish(job, job->failure ? job->failure :
						   atq_failure_copy(failure));
	}
}

/* ---- waiting ---- */

static void
wait_for_events(void)
{
	int			n;
	ListCell   *lc;

	foreach(lc, run->pools)
		atq_pool_publish(lfirst(lc));
	if (run->set == NULL)
		make_set();
	else
		update_set();
	n = WaitEventSetWait(run->set, wait_ms(), run->events, run->room,
						 wait_event);
	for (int i = 0; i < n; i++)
	{
		WaitEvent  *event = &run->events[i];
		AtqConn    *conn;

		if (event->events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if ((event->events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE)) == 0)
			continue;
		/* It may be gone by what was done for another one. */
		conn = find_event(event->pos);
		if (conn != NULL)
			advance(conn, event->events);
	}
}

/* Of all connections that take part; sockets come and go. */
static void
make_set(void)
{
	ListCell   *lc;

	run->room = 2;
	foreach(lc, run->pools)
		run->room += ((AtqPool *) lfirst(lc))->size + 1;
	if (run->events != NULL)
		pfree(run->events);
	run->events = palloc(run->room * sizeof(WaitEvent));
	ReleaseExternalFD();
	run->reserved = false;
	run->set = atq_wait_event_set(run->room);
	AddWaitEventToSet(run->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch,
					  NULL);
	AddWaitEventToSet(run->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
					  NULL);
	foreach(lc, run->pools)
	{
		AtqPool    *pool = lfirst(lc);
		dlist_iter	iter;

		pool->lookup_event = pool->lookup == NULL ? -1 :
			AddWaitEventToSet(run->set, WL_SOCKET_READABLE,
							  atq_host_fd(pool->lookup), NULL, NULL);
		dlist_foreach(iter, &pool->conns)
		{
			AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

			conn->events = wanted_events(conn);
			conn->event = conn->events == 0 ? -1 :
				AddWaitEventToSet(run->set, conn->events, PQsocket(conn->pg),
								  NULL, NULL);
		}
	}
}

static void
update_set(void)
{
	ListCell   *lc;

	foreach(lc, run->pools)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &((AtqPool *) lfirst(lc))->conns)
		{
			AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);
			uint32		events = wanted_events(conn);

			if (conn->event < 0 || events == conn->events || events == 0)
				continue;
			ModifyWaitEvent(run->set, conn->event, events, NULL);
			conn->events = events;
		}
	}
}

static void
drop_set(void)
{
	if (run->set == NULL)
		return;
	FreeWaitEventSet(run->set);
	run->set = NULL;
	reserve_descriptor();
}

/* The wait set is made anew at times, when connections may have taken all. */
static void
reserve_descriptor(void)
{
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not wait for other servers"),
				 errdetail("There are too many open files on the local server.")));
	run->reserved = true;
}

/* 0 where there is nothing to wait for. */
static uint32
wanted_events(const AtqConn *conn)
{
	if (!takes_part(conn) || conn->state == ATQ_CONN_RESOLVING)
		return 0;
	if (conn->state == ATQ_CONN_CONNECTING)
		return conn->polling == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
	return PQflush(conn->pg) == 1 ?
		WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE;
}

/* The connection that waits for it; NULL too where it was a look-up. */
static AtqConn *
find_event(int position)
{
	ListCell   *lc;

	foreach(lc, run->pools)
	{
		AtqPool    *pool = lfirst(lc);
		dlist_iter	iter;

		if (pool->lookup != NULL && pool->lookup_event == position)
		{
			resolve_pool(pool);
			return NULL;
		}
		dlist_foreach(iter, &pool->conns)
		{
			AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

			if (conn->event == position && takes_part(conn))
				return conn;
		}
	}
	return NULL;
}

/* Does what a connection's socket is ready for. */
static void
advance(AtqConn *conn, uint32 events)
{
	if (conn->state == ATQ_CONN_CONNECTING)
	{
		AtqFailure *failure = atq_conn_poll(conn);

		/* libpq may have gone on to another socket. */
		drop_set();
		if (failure != NULL)
			lose_opening(conn, failure);
		return;
	}
	if ((events & WL_SOCKET_READABLE) == 0)
		return;
	if (atq_conn_read(conn))
		atq_answer_read(conn);
	else if (atq_answer_read(conn))
		atq_run_lose(conn, atq_run_lost(conn));
}

/* The addresses have come, or a part of them. */
static void
resolve_pool(AtqPool *pool)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);
		AtqFailure *failure;

		if (conn->state != ATQ_CONN_RESOLVING)
			continue;
		failure = atq_conn_resolve(conn);
		if (pool->lookup != NULL)
			return;
		if (failure != NULL)
			lose_opening(conn, failure);
	}
	drop_set();
}

/* Until the next thing that expires; -1: nothing does. */
static long
wait_ms(void)
{
	int64		next = run->deadline;
	ListCell   *lc;

	foreach(lc, run->pools)
	{
		AtqPool    *pool = lfirst(lc);
		dlist_iter	iter;

		dlist_foreach(iter, &pool->conns)
		{
			AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

			if (conn->state != ATQ_CONN_READY && takes_part(conn))
				next = Min(next, conn->deadline);
		}
		if (!dlist_is_empty(&pool->waiting) && count_pending(pool) == 0)
			next = Min(next, waiting_until(pool));
	}
	return next == ATQ_CLOCK_NEVER ? -1 : atq_clock_ms_until(next);
}

/* When the first of the waiting jobs has waited long enough. */
static int64
waiting_until(const AtqPool *pool)
{
	int64		since = ATQ_CLOCK_NEVER;
	dlist_iter	iter;

	dlist_foreach(iter, &((AtqPool *) pool)->waiting)
		since = Min(since,
					dlist_container(AtqJob, node, iter.cur)->waits_since);
	return atq_clock_after(since, pool->options.timeout_s * INT64CONST(1000));
}

/* Gives up what has taken too long; true where there was something. */
static bool
expire(void)
{
	int64		now = atq_clock_now();
	bool		found = false;
	ListCell   *lc;

	foreach(lc, run->pools)
	{
		AtqPool    *pool = lfirst(lc);

		found |= expire_conns(pool, now);
		if (dlist_is_empty(&pool->waiting))
			continue;
		if (now >= run->deadline)
			fail_waiting(pool, atq_failure_make(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
												pool->failure ? pool->failure->message : NULL,
												"no connection to server \"%s\" within %d ms",
												pool->login->server_name,
												run->ms));
		else if (count_pending(pool) == 0 && now >= waiting_until(pool))
		{
			pool->counts.timeouts += pool->nwaiting;
			fail_waiting(pool, atq_failure_make(ERRCODE_TOO_MANY_CONNECTIONS,
												"All of its connections were in use for pool_timeout.",
												"pool of server \"%s\" is exhausted",
												pool->login->server_name));
		}
		found |= dlist_is_empty(&pool->waiting);
	}
	return found;
}

/* Closes connections that are not ready in time, or do not answer. */
static bool
expire_conns(AtqPool *pool, int64 now)
{
	dlist_node *node = dlist_is_empty(&pool->conns) ? NULL :
		dlist_head_node(&pool->conns);
	bool		found = false;

	while (node != NULL)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, node);
		AtqFailure *failure;

		node = dlist_has_next(&pool->conns, node) ?
			dlist_next_node(&pool->conns, node) : NULL;
		if (!takes_part(conn))
			continue;
		if (conn->njobs > 0 && now >= run->deadline)
		{
			failure = atq_failure_make(ERRCODE_CONNECTION_FAILURE, NULL,
									   "server \"%s\" did not answer within %d ms",
									   pool->login->server_name, run->ms);
			fail_jobs(conn, failure);
			conn->reused = false;
			atq_run_lose(conn, failure);
			found = true;
		}
		else if (conn->state == ATQ_CONN_PROVING && now >= conn->deadline)
		{
			atq_run_lose(conn, atq_run_lost(conn));
			return true;
		}
		else if (conn->state != ATQ_CONN_READY &&
				 now >= Min(conn->deadline, run->deadline))
		{
			found = true;
			lose_opening(conn, atq_failure_make(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
												"The time for connecting is over.",
												"could not connect to server \"%s\"",
												pool->login->server_name));
		}
	}
	return found;
}

static void
fail_jobs(AtqConn *conn, const AtqFailure *failure)
{
	dlist_iter	iter;

	dlist_foreach(iter, &conn->jobs)
	{
		AtqJob	   *job = dlist_container(AtqJob, node, iter.cur);

		if (job->failure == NULL && !job->own)
			job->failure = atq_failure_copy(failure);
	}
}

/* False while connections of a pool's minimum are still being opened. */
static bool
may_end(void)
{
	ListCell   *lc;

	foreach(lc, run->pools)
	{
		AtqPool    *pool = lfirst(lc);

		if (pool->size <= pool->options.min_size && count_pending(pool) > 0 &&
			!pool->options.null_class)
			return false;
	}
	return true;
}

bool
atq_job_send(AtqJob *job)
{
	AtqConn    *conn = job->conn;

	job->failure = NULL;
	job->tries = 0;
	job->bytes = 0;
	if (job->reader != NULL && job->reader->begin != NULL)
		job->reader->begin(job);
	if (atq_conn_send(conn, job))
		return true;
	atq_conn_close(conn);
	job->conn = NULL;
	return false;
}

void
atq_job_release(AtqConn *conn)
{
	AtqPool    *pool = conn->pool;

	atq_ahead_leave(conn);
	conn->held = false;
	atq_conn_give_back(conn);
	atq_pool_publish(pool);
}
