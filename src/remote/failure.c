/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  What went wrong with something that was asked of another server.
 *
 * Text that comes from the other side is not trusted to be in this
 * database's encoding: before the session has begun it is in any, and a
 * broken server may send anything.  Where it is not valid its bytes beyond
 * ASCII become question marks.
 *
 * libpq tells the SQLSTATE of a connection that was refused only within its
 * message, if asked to be verbose; it is read from there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "remote/failure.h"

static char *clean_text(const char *text);
static int	read_sqlstate(const char *code);
static int	sqlstate_of_message(char *message);
static void cut_location(char *message);

AtqFailure *
atq_failure_make(int sqlstate, const char *detail, const char *format,...)
{
	AtqFailure *failure = palloc0(sizeof(AtqFailure));
	StringInfoData buf;

	initStringInfo(&buf);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&buf, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	failure->sqlstate = sqlstate;
	failure->message = buf.data;
	if (detail != NULL)
		failure->detail = clean_text(detail);
	return failure;
}

/* A valid copy without white space at its end; NULL for NULL. */
static char *
clean_text(const char *text)
{
	char	   *copy;
	int			len;

	if (text == NULL)
		return NULL;
	copy = pstrdup(text);
	len = strlen(copy);
	while (len > 0 && (copy[len - 1] == '\n' || copy[len - 1] == ' '))
		copy[--len] = '\0';
	if (pg_verifymbstr(copy, len, true))
		return copy;
	for (int i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(copy[i]))
			copy[i] = '?';
	}
	return copy;
}

AtqFailure *
atq_failure_of_result(const PGresult *result)
{
	AtqFailure *failure = palloc0(sizeof(AtqFailure));
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result,
											 PG_DIAG_MESSAGE_PRIMARY);

	failure->sqlstate = code != NULL ? read_sqlstate(code) :
		ERRCODE_CONNECTION_FAILURE;
	failure->message = clean_text(message != NULL ? message :
								  PQresultErrorMessage(result));
	failure->detail = clean_text(PQresultErrorField(result,
													PG_DIAG_MESSAGE_DETAIL));
	failure->hint = clean_text(PQresultErrorField(result,
												  PG_DIAG_MESSAGE_HINT));
	failure->context = clean_text(PQresultErrorField(result,
													 PG_DIAG_CONTEXT));
	if (failure->message[0] == '\0')
		failure->message = pstrdup("the server gave no reason");
	return failure;
}

/*
 * query_canceled means here that the local task was cancelled, and QTxxx are
 * this extension's own: neither is the other server's to say.
 */
static int
read_sqlstate(const char *code)
{
	int			sqlstate;

	if (strlen(code) != 5 || strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5)
		return ERRCODE_PROTOCOL_VIOLATION;
	sqlstate = MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
	if (sqlstate == ERRCODE_QUERY_CANCELED || strncmp(code, "QT", 2) == 0 ||
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_SUCCESSFUL_COMPLETION)
		return ERRCODE_FDW_ERROR;
	return sqlstate;
}

AtqFailure *
atq_failure_of_connect(const PGconn *pg, const char *server)
{
	char	   *detail = pstrdup(pg != NULL ? PQerrorMessage(pg) :
								 "out of memory");
	int			sqlstate = sqlstate_of_message(detail);

	cut_location(detail);
	if (ERRCODE_TO_CATEGORY(sqlstate) != ERRCODE_INSUFFICIENT_RESOURCES)
		sqlstate = ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
	return atq_failure_make(sqlstate, detail,
							"could not connect to server \"%s\"", server);
}

/* Takes the last "FATAL:  53300: " of a message, and the code from it. */
static int
sqlstate_of_message(char *message)
{
	int			sqlstate = 0;

	for (char *at = strstr(message, ":  "); at != NULL;
		 at = strstr(at + 3, ":  "))
	{
		char		code[6];

		strlcpy(code, at + 3, sizeof(code));
		if (strlen(code) != 5 || strncmp(at + 8, ": ", 2) != 0 ||
			strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5)
			continue;
		sqlstate = MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]);
		memmove(at + 3, at + 10, strlen(at + 10) + 1);
	}
	return sqlstate;
}

/* Removes the lines that name a place in the other server's source. */
static void
cut_location(char *message)
{
	char	   *at;

	while ((at = strstr(message, "\nLOCATION:")) != NULL)
	{
		char	   *end = strchr(at + 1, '\n');

		if (end == NULL)
			*at = '\0';
		else
			memmove(at, end, strlen(end) + 1);
	}
}

AtqFailure *
atq_failure_copy(const AtqFailure *failure)
{
	AtqFailure *copy = palloc0(sizeof(AtqFailure));

	copy->sqlstate = failure->sqlstate;
	copy->message = pstrdup(failure->message);
	copy->detail = failure->detail ? pstrdup(failure->detail) : NULL;
	copy->hint = failure->hint ? pstrdup(failure->hint) : NULL;
	copy->context = failure->context ? pstrdup(failure->context) : NULL;
	return copy;
}

char *
atq_failure_text(const AtqFailure *failure)
{
	if (failure->detail == NULL)
		return pstrdup(failure->message);
	return psprintf("%s (%s)", failure->message, failure->detail);
}

char *
atq_failure_line(const AtqFailure *failure)
{
	return psprintf("%s: %s", unpack_sql_state(failure->sqlstate),
					atq_failure_text(failure));
}

void
atq_failure_throw(const AtqFailure *failure, const char *server)
{
	ereport(ERROR,
			(errcode(failure->sqlstate),
			 errmsg_internal("%s", failure->message),
			 failure->detail ? errdetail_internal("%s", failure->detail) : 0,
			 failure->hint ? errhint("%s", failure->hint) : 0,
			 failure->context ? errcontext("%s", failure->context) : 0,
			 errcontext("query on server \"%s\"", server)));
}
