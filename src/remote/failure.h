/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  What went wrong with something that was asked of another server.
 *
 * A failure is a value until somebody throws it: one request of several may
 * fail without the others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_FAILURE_H
#define ATQ_REMOTE_FAILURE_H

#include "libpq-fe.h"

#include "base/compat.h"

/* Palloc'd, texts too; those but the message may be NULL. */
typedef struct AtqFailure
{
	int			sqlstate;
	char	   *message;
	char	   *detail;
	char	   *hint;
	char	   *context;
} AtqFailure;

/* With a message; the detail may be NULL. */
extern AtqFailure *atq_failure_make(int sqlstate, const char *detail,
									const char *format,...)
			pg_attribute_printf(3, 4);

/*
 * From the error of a query; the SQLSTATE is the other server's where it does
 * not mean something of this server's own.
 */
extern AtqFailure *atq_failure_of_result(const PGresult *result);

/*
 * From a connection that could not be made.  53xxx (too many connections)
 * stays what it is, all else is 08001.
 */
extern AtqFailure *atq_failure_of_connect(const PGconn *pg,
										  const char *server);

/* A copy, with the texts, in the current context. */
extern AtqFailure *atq_failure_copy(const AtqFailure *failure);

/* "message (detail)", and "SQLSTATE: message (detail)"; palloc'd. */
extern char *atq_failure_text(const AtqFailure *failure);
extern char *atq_failure_line(const AtqFailure *failure);

/* Throws it, with the name of the server as context. */
extern void atq_failure_throw(const AtqFailure *failure, const char *server)
			atq_noreturn;

#endif							/* ATQ_REMOTE_FAILURE_H */
