/*-------------------------------------------------------------------------
 *
 * host.h
 *	  Looking up host names without waiting for the answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_HOST_H
#define ATQ_REMOTE_HOST_H

/* A look-up under way; palloc'd. */
typedef struct AtqHostLookup AtqHostLookup;

/* What libpq is given: lists of one length, separated by commas. */
typedef struct AtqHostAnswer
{
	char	   *host;
	char	   *hostaddr;
	char	   *port;			/* or NULL */
	char	   *error;			/* nothing was found: why */
} AtqHostAnswer;

/* True where a list of hosts, which may be NULL, holds a name. */
extern bool atq_host_is_name(const char *hosts);

/*
 * Starts looking them up; ports, which may be NULL, is libpq's list of one
 * port or as many as hosts.  NULL when no process or pipe is to be had.
 */
extern AtqHostLookup *atq_host_start(const char *hosts, const char *ports);

/* The descriptor that becomes readable when there is something to do. */
extern int	atq_host_fd(const AtqHostLookup *lookup);

/* Reads what has come; true when it is all. */
extern bool atq_host_continue(AtqHostLookup *lookup);

/* After the end; palloc'd. */
extern AtqHostAnswer *atq_host_answer(const AtqHostLookup *lookup);

/* Ends it at once, whatever its state, and frees it. */
extern void atq_host_end(AtqHostLookup *lookup);

#endif							/* ATQ_REMOTE_HOST_H */
