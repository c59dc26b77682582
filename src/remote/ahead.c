/*-------------------------------------------------------------------------
 *
 * ahead.c
 *	  Jobs that are sent before somebody waits for their answers.
 *
 * Such a job goes to a connection that is open and idle, or behind others of
 * its kind, and nothing waits: the answer comes into the socket while this
 * process does something else, and the run that wants it reads it there.
 * Until then the connection is held.  It gives way to whoever needs one and
 * cannot open another.
 *
 * An answer that nobody reads may fill the socket, and then the other server's
 * query, and the snapshot with it, lasts as long as what this process does.  So
 * a timer looks after those connections: it shuts down what has lain there for
 * LINGER_MS.  That is all it does, being a signal handler; whoever comes to
 * the connection next finds it lost.  A socket leaves the timer's list before
 * it is closed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>

#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "remote/pool.h"

#define LINGER_MS		1000

/* How often the timer looks. */
#define LOOK_MS			500

/* How long to read what is not wanted, so as to keep the connection. */
#define FORGET_MS		2

/* Connections with jobs that were sent ahead. */
#define MAX_WATCHED		16

typedef struct Watched
{
	const AtqConn *conn;
	int			socket;
	int64		since;			/* when its first answer was asked for */
} Watched;

/* Read by the timer at any moment. */
static volatile Watched watched[MAX_WATCHED];
static volatile int nwatched = 0;

static TimeoutId timer = MAX_TIMEOUTS;

static AtqConn *find_conn(AtqPool *pool);
static bool watch(AtqConn *conn);
static int	find_watched(const AtqConn *conn);
static void shut_down_old(void);
static void close_conn(AtqConn *conn);
static void detach_jobs(AtqConn *conn);

bool
atq_job_send_ahead(AtqJob *job)
{
	AtqConn    *conn = find_conn(job->pool);

	if (conn == NULL || !watch(conn))
		return false;
	conn->held = conn->ahead = job->ahead = true;
	job->failure = NULL;
	job->tries = 0;
	job->run = 0;
	job->bytes = 0;
	job->begun_at = atq_clock_now();
	if (job->reader != NULL && job->reader->begin != NULL)
		job->reader->begin(job);
	if (!atq_conn_send(conn, job))
	{
		close_conn(conn);
		return false;
	}
	atq_pool_publish(job->pool);
	return true;
}

/* An idle one, else that with the fewest jobs which were sent ahead too. */
static AtqConn *
find_conn(AtqPool *pool)
{
	AtqConn    *found = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

		if (conn->state != ATQ_CONN_READY || atq_conn_is_worn(conn))
			continue;
		if (atq_conn_is_idle(conn) && atq_conn_is_alive(conn))
			return conn;
		if (conn->ahead && (found == NULL || conn->njobs < found->njobs))
			found = conn;
	}
	return found;
}

/* False where there are too many already. */
static bool
watch(AtqConn *conn)
{
	if (conn->ahead)
		return true;
	if (nwatched == MAX_WATCHED)
		return false;
	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, shut_down_old);
	watched[nwatched].conn = conn;
	watched[nwatched].socket = PQsocket(conn->pg);
	watched[nwatched].since = atq_clock_now();
	if (nwatched++ == 0)
		enable_timeout_every(timer,
							 TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														 LOOK_MS), LOOK_MS);
	return true;
}

static int
find_watched(const AtqConn *conn)
{
	int			i = 0;

	while (i < nwatched - 1 && watched[i].conn != conn)
		i++;
	Assert(watched[i].conn == conn);
	return i;
}

/* The timer: a signal handler. */
static void
shut_down_old(void)
{
	int64		now = atq_clock_now();

	for (int i = 0; i < nwatched; i++)
	{
		if (now >= atq_clock_after(watched[i].since, LINGER_MS))
			(void) shutdown(watched[i].socket, SHUT_RDWR);
	}
}

bool
atq_job_is_under_way(const AtqJob *job)
{
	return job->ahead && job->state == ATQ_JOB_SENT && job->conn != NULL;
}

void
atq_job_forget(AtqJob *job)
{
	AtqConn    *conn = job->conn;

	detach_jobs(conn);
	(void) atq_job_drain(conn, FORGET_MS);
	atq_job_release(conn);
}

void
atq_ahead_note(AtqConn *conn)
{
	if (conn->ahead && conn->njobs > 0)
		watched[find_watched(conn)].since = atq_clock_now();
	else
		atq_ahead_leave(conn);
}

void
atq_ahead_leave(AtqConn *conn)
{
	int			i;

	if (!conn->ahead)
		return;
	conn->ahead = false;
	i = find_watched(conn);
	watched[i].conn = watched[nwatched - 1].conn;
	watched[i].since = watched[nwatched - 1].since;
	watched[i].socket = watched[nwatched - 1].socket;
	if (--nwatched == 0)
		disable_timeout(timer, false);
}

void
atq_ahead_reclaim(AtqPool *pool, uint32 run)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

		if (conn->ahead && conn->run != run)
			close_conn(conn);
	}
}

static void
close_conn(AtqConn *conn)
{
	detach_jobs(conn);
	atq_conn_close(conn);
}

/* Their answers will not be read. */
static void
detach_jobs(AtqConn *conn)
{
	dlist_iter	iter;

	dlist_foreach(iter, &conn->jobs)
		dlist_container(AtqJob, node, iter.cur)->conn = NULL;
}
