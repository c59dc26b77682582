/*-------------------------------------------------------------------------
 *
 * keyread.h
 *	  Reading rows by key through an index, without a query.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_KEYREAD_H
#define ATQ_TASK_KEYREAD_H

#include "utils/rel.h"

/* How rows of a table are found; lives in the context it was made in. */
typedef struct AtqKeyReader AtqKeyReader;

/*
 * For a relation and its key's columns; NULL where only a query will do.  It
 * is valid while the relation is not changed.
 */
extern AtqKeyReader *atq_keyread_make(Relation rel, int nkeys,
									  const AttrNumber *columns,
									  MemoryContext context);

/*
 * Opens the table, which the caller has locked, for the current user; NULL,
 * and nothing is open, where that user's SELECT would not be just this (see
 * keyread.c): then a query will do.
 */
extern Relation atq_keyread_open(AtqKeyReader *reader);

/*
 * Finds the row with these keys under the active snapshot; true, and *row a
 * palloc'd composite value, when there is one.
 */
extern bool atq_keyread_find(AtqKeyReader *reader, Relation rel,
							 const Datum *keys, Datum *row);

/* Closes the table; the caller's lock stays. */
extern void atq_keyread_close(Relation rel);

#endif							/* ATQ_TASK_KEYREAD_H */
