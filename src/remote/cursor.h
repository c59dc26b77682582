/*-------------------------------------------------------------------------
 *
 * cursor.h
 *	  Another server's rows, a chunk at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_CURSOR_H
#define ATQ_REMOTE_CURSOR_H

#include "nodes/execnodes.h"

#include "remote/job.h"

typedef struct AtqCursor AtqCursor;

/*
 * What rows of a chunk are kept in.  begin forgets those that it had; both
 * palloc in a context that is reset before begin.
 */
typedef struct AtqCursorReader
{
	void		(*begin) (void *chunk);
	AtqFailure *(*row) (void *chunk, const PGresult *result, int row);
} AtqCursorReader;

typedef struct AtqCursorOptions
{
	const AtqJobStatement *query;
	int			fetch_size;
	bool		users;			/* the query is users' own words */
	const AtqCursorReader *reader;
	void	   *chunks[2];		/* for the reader: in turns */
} AtqCursorOptions;

/* Throws 22023 where a number of rows cannot be fetched at a time. */
extern void atq_cursor_check_size(const char *name, int size);

/*
 * A cursor on the server, in a transaction of its own; nothing is sent yet.  It
 * lives in the current context and goes, with its connection, when that is
 * reset.  econtext, or NULL: ends it when the executor wants no more.
 */
extern AtqCursor *atq_cursor_open(struct AtqPool *pool,
								  const AtqCursorOptions *options,
								  ExprContext *econtext);

/*
 * Waits for the next chunk and has the one behind it sent.  Returns the chunk,
 * or NULL where there is no more.
 */
extern void *atq_cursor_next(AtqCursor *cursor);

/* Ends it after the last chunk. */
extern void atq_cursor_close(AtqCursor *cursor);

#endif							/* ATQ_REMOTE_CURSOR_H */
