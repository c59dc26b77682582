/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  Rows of tables on other servers, by key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_ROWS_H
#define ATQ_REMOTE_ROWS_H

#include "utils/rel.h"

#include "remote/job.h"

/* How rows of a table are asked for; lives in the context it was made in. */
typedef struct AtqRemoteTable AtqRemoteTable;

/* Keys whose rows are wanted, and the rows. */
typedef struct AtqRowsRequest
{
	AtqRemoteTable *table;
	const char *server;
	int			n;
	Datum	   *keys;			/* for each key column an array of n values */
	bool	   *found;			/* n of them, set by atq_rows_fetch */
	Datum	   *rows;			/* composite values, in the current context */
	bool		ambiguous;		/* several rows have the same key .. */
	int			ambiguous_key;	/* .. this one */
} AtqRowsRequest;

/*
 * For a local relation that has the form of the other server's table: its
 * name and columns, or what the options of a foreign table say, and its row
 * type.  array_types are those of the key's columns.
 */
extern AtqRemoteTable *atq_rows_prepare(Relation rel, int nkeys,
										const AttrNumber *columns,
										const Oid *types,
										const Oid *array_types,
										MemoryContext context);

/*
 * What a local relation and its columns are called there: quoted, the relation
 * qualified; palloc'd.
 */
extern char *atq_rows_table_name(Relation rel);
extern char *atq_rows_column_name(Relation rel, AttrNumber column);

/*
 * What is asked of a server, and what it has answered, for as long as the
 * context lives that it was made in, whatever becomes of the table.
 */
typedef struct AtqRowsAnswer
{
	Oid			mapping;		/* who was asked .. */
	Oid			user;
	uint32		generation;		/* .. with which options */
	const char *server;
	const char *sql;
	uint64		writes;			/* as of atq_job_writes */
	AtqJob	   *job;			/* to be run or sent */
	MemoryContext context;
	int			n;				/* keys */
	int			ncolumns;
	char	 ***rows;			/* the values of each, NULL: there is none */
	bool		ambiguous;		/* several rows have the same key .. */
	int			ambiguous_key;	/* .. this one */
} AtqRowsAnswer;

/*
 * Makes a request's job, as the current user.  Throws where that may not ask
 * the server.
 */
extern AtqRowsAnswer *atq_rows_ask(const AtqRowsRequest *request);

/*
 * True where asking for rows of the table, of that server and as the current
 * user, means to ask the same question of the same one, and this process has
 * written nothing there since.  Throws as atq_rows_ask does.
 */
extern bool atq_rows_same(const AtqRowsAnswer *answer,
						  const AtqRemoteTable *table, const char *server);

/* A row of an answer, in the current context.  May run users' code. */
extern Datum atq_rows_read(const AtqRowsAnswer *answer, int key,
						   AtqRemoteTable *table);

/*
 * Reads the rows of all requests at once, as the current user.  Throws what
 * keeps it from reading any of them.
 */
extern void atq_rows_fetch(AtqRowsRequest *requests, int n);

#endif							/* ATQ_REMOTE_ROWS_H */
