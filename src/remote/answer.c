/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  From what comes on a connection to the ends of its jobs.
 *
 * Answers come in the order in which jobs were sent, one for each statement,
 * and after the last the mark that the job is complete (PGRES_PIPELINE_SYNC).
 * Whatever does not fit that, or is larger than it may be, costs the
 * connection: nothing that comes behind it could be trusted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <poll.h>

#include "mb/pg_wchar.h"

#include "base/clock.h"
#include "base/guc.h"
#include "remote/pool.h"
#include "remote/run.h"

/* What a value costs in memory beside its text. */
#define CELL_BYTES		32

static AtqFailure *too_large(const AtqPool *pool);
static bool take_result(AtqConn *conn, AtqJob *job, PGresult *result);
static bool take_rows(AtqConn *conn, AtqJob *job, const PGresult *result);
static AtqFailure *take_row(AtqJob *job, const PGresult *result, int row);
static bool take_error(AtqConn *conn, AtqJob *job, const PGresult *result);
static void take_sync(AtqConn *conn, AtqJob *job);
static bool drop_answers(AtqConn *conn);

bool
atq_answer_read(AtqConn *conn)
{
	while (!dlist_is_empty(&conn->jobs) && !PQisBusy(conn->pg))
	{
		AtqJob	   *job = dlist_head_element(AtqJob, node, &conn->jobs);
		PGresult   *result = PQgetResult(conn->pg);

		if (result == NULL)
		{
			if (PQstatus(conn->pg) != CONNECTION_OK || ++conn->ends > 1)
				break;
			job->statement++;
			(void) PQsetSingleRowMode(conn->pg);
			continue;
		}
		conn->ends = 0;
		conn->unread = 0;
		conn->result = result;
		if (!take_result(conn, job, result))
			return false;
		PQclear(result);
		conn->result = NULL;
	}
	if (PQstatus(conn->pg) == CONNECTION_OK && conn->ends <= 1 &&
		conn->unread <= (Size) atq_max_answer_kb * 1024)
		return true;
	atq_run_lose(conn, conn->unread <= (Size) atq_max_answer_kb * 1024 ?
				 atq_run_lost(conn) : too_large(conn->pool));
	return false;
}

/* The failure of an answer that will not be kept. */
static AtqFailure *
too_large(const AtqPool *pool)
{
	return atq_failure_make(ERRCODE_PROGRAM_LIMIT_EXCEEDED, NULL,
							"answer of server \"%s\" is larger than asynctasq.max_answer",
							pool->login->server_name);
}

/* False when the connection is gone, and the result with it. */
static bool
take_result(AtqConn *conn, AtqJob *job, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (job->statement == job->nstatements &&
		status != PGRES_PIPELINE_SYNC && status != PGRES_FATAL_ERROR)
	{
		atq_run_lose(conn, atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
											"server \"%s\" answers more than it was asked",
											conn->pool->login->server_name));
		return false;
	}
	switch (status)
	{
		case PGRES_SINGLE_TUPLE:
		case PGRES_TUPLES_OK:
			if (!take_rows(conn, job, result))
				return false;
			if (status == PGRES_SINGLE_TUPLE)
				return true;
			/* FALLTHROUGH */
		case PGRES_COMMAND_OK:
		case PGRES_EMPTY_QUERY:
			if (job->reader != NULL && job->reader->end != NULL &&
				job->failure == NULL)
				job->failure = job->reader->end(job, result);
			return true;
		case PGRES_PIPELINE_ABORTED:
			return true;
		case PGRES_PIPELINE_SYNC:
			if (job->statement == job->nstatements)
			{
				take_sync(conn, job);
				return true;
			}
			atq_run_lose(conn, atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
												"server \"%s\" ends an answer before it is complete",
												conn->pool->login->server_name));
			return false;
		case PGRES_FATAL_ERROR:
			return take_error(conn, job, result);
		default:
			if (job->failure == NULL && !job->own)
				job->failure = atq_failure_make(ERRCODE_FEATURE_NOT_SUPPORTED,
												NULL, "COPY cannot be used here");
			atq_run_lose(conn, atq_run_lost(conn));
			return false;
	}
}

/* A failure that is ours ends the connection: there is more to come on it. */
static bool
take_rows(AtqConn *conn, AtqJob *job, const PGresult *result)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		if (job->failure == NULL && !job->own)
			job->failure = take_row(job, result, row);
		if (job->failure != NULL)
		{
			atq_run_lose(conn, job->failure);
			return false;
		}
	}
	return true;
}

static AtqFailure *
take_row(AtqJob *job, const PGresult *result, int row)
{
	for (int i = 0; i < PQnfields(result); i++)
	{
		int			len = PQgetlength(result, row, i);

		job->bytes += len + CELL_BYTES;
		if (!pg_verifymbstr(PQgetvalue(result, row, i), len, true))
			return atq_failure_make(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, NULL,
									"answer of server \"%s\" is not valid in encoding \"%s\"",
									job->pool->login->server_name,
									GetDatabaseEncodingName());
	}
	if (job->bytes > (Size) atq_max_answer_kb * 1024)
		return too_large(job->pool);
	if (job->reader == NULL || job->reader->row == NULL)
		return NULL;
	return job->reader->row(job, result, row);
}

/* An error of the query, or the end of the session. */
static bool
take_error(AtqConn *conn, AtqJob *job, const PGresult *result)
{
	AtqFailure *failure = atq_failure_of_result(result);
	const char *severity = PQresultErrorField(result,
											  PG_DIAG_SEVERITY_NONLOCALIZED);

	if (PQresultErrorField(result, PG_DIAG_SQLSTATE) == NULL ||
		PQstatus(conn->pg) != CONNECTION_OK ||
		(severity != NULL && strcmp(severity, "ERROR") != 0))
	{
		AtqFailure *lost = atq_run_lost(conn);

		if (severity != NULL)
			lost->detail = failure->message;
		atq_run_lose(conn, lost);
		return false;
	}
	if (job == &conn->own[ATQ_OWN_WATCH])
		return true;
	if (job->own)
	{
		atq_run_lose(conn, failure);
		return false;
	}
	if (failure->sqlstate == ERRCODE_READ_ONLY_SQL_TRANSACTION &&
		failure->hint == NULL && !job->write)
		failure->hint = pstrdup("Use asynctasq.execute() to change data.");
	if (job->failure == NULL)
		job->failure = failure;
	return true;
}

static void
take_sync(AtqConn *conn, AtqJob *job)
{
	dlist_delete(&job->node);
	conn->proven = true;
	if (job == &conn->own[ATQ_OWN_PING])
	{
		conn->state = ATQ_CONN_READY;
		conn->reused = false;
	}
	if (!dlist_is_empty(&conn->jobs))
		(void) PQsetSingleRowMode(conn->pg);
	if (job->own)
		return;
	conn->njobs--;
	atq_ahead_note(conn);
	conn->held = job->hold || conn->ahead;
	if (!conn->held)
		job->conn = NULL;
	atq_run_finish(job, NULL);
}

bool
atq_job_drain(AtqConn *conn, int ms)
{
	int64		deadline = atq_clock_after(atq_clock_now(), ms);

	while (conn->njobs > 0)
	{
		struct pollfd pfd;
		long		left = atq_clock_ms_until(deadline);

		pfd.fd = PQsocket(conn->pg);
		pfd.events = POLLIN;
		pfd.revents = 0;
		if (left == 0 || poll(&pfd, 1, left) <= 0 || !atq_conn_read(conn))
			return false;
		if (!drop_answers(conn))
			return false;
	}
	return true;
}

static bool
drop_answers(AtqConn *conn)
{
	while (!dlist_is_empty(&conn->jobs) && !PQisBusy(conn->pg))
	{
		AtqJob	   *job = dlist_head_element(AtqJob, node, &conn->jobs);
		PGresult   *result = PQgetResult(conn->pg);
		ExecStatusType status = PQresultStatus(result);

		conn->ends = result == NULL ? conn->ends + 1 : 0;
		conn->unread = 0;
		PQclear(result);
		if (conn->ends > 1 || PQstatus(conn->pg) != CONNECTION_OK)
			return false;
		if (result == NULL)
			(void) PQsetSingleRowMode(conn->pg);
		else if (status == PGRES_PIPELINE_SYNC)
		{
			dlist_delete(&job->node);
			conn->njobs -= job->own ? 0 : 1;
		}
	}
	return true;
}
