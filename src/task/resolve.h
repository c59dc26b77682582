/*-------------------------------------------------------------------------
 *
 * resolve.h
 *	  From references to fresh rows, by primary key through SPI.
 *
 * A resolution serves one call: references are first noted, then all read at
 * once, one query for each model, then looked up while the arguments are
 * decoded.  Everything is read in the task's own transaction as the current
 * user, under new snapshots.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_RESOLVE_H
#define ATQ_TASK_RESOLVE_H

#include "store/relkey.h"
#include "wire/datum.h"

/* SQLSTATE of a task that its model's on_missing "discard" ends. */
#define ATQ_ERRCODE_DISCARD	MAKE_SQLSTATE('Q','T','0','0','1')

typedef struct AtqResolution AtqResolution;

/*
 * Palloc'd in the current context, whose reset frees it.  The rows will be
 * locked so when they are read.
 */
extern AtqResolution *atq_resolve_begin(AtqRowLock lock);

/* Has a missing row be an error, P0002, whatever its model says. */
extern void atq_resolve_require(AtqResolution *resolution);

/*
 * Notes every reference to a row; throws where one cannot be resolved.
 * Rows that are in ahead, unless that is NULL, may be taken from there.
 */
extern void atq_resolve_note(AtqResolution *resolution, AtqSpan value,
							 AtqResolution *ahead);

/*
 * Reads all noted rows, and leaves a new snapshot active, for the caller to
 * pop.  False where rows are not as that snapshot shows them: those of a query
 * are as new as the query, and query sets are still to be read.
 */
extern bool atq_resolve_fetch(AtqResolution *resolution);

/* For atq_datum_decode, serving what was fetched. */
extern const AtqResolver *atq_resolve_resolver(AtqResolution *resolution);

/*
 * A resolution ahead is of tasks that will run soon, and only of rows of other
 * servers.  Its queries are sent without waiting (atq_resolve_ask), and tasks
 * of which it was made may take rows from it, which wait then as long as
 * needed: those that have been asked for since less than
 * asynctasq.fetch_max_age.  Whatever it lacks they read for themselves.  It
 * uses no code of users.
 */
extern AtqResolution *atq_resolve_begin_ahead(void);

/*
 * Sends the queries for all that was noted, as far as there are connections
 * with nothing to do; false where nothing was noted.  Throws for what could be
 * sent neither now nor by the tasks themselves.
 */
extern bool atq_resolve_ask(AtqResolution *ahead);

/* True where its rows are too old to be taken. */
extern bool atq_resolve_is_old(const AtqResolution *ahead);

typedef struct AtqAheadState
{
	bool		under_way;		/* not all answers have been read */
	bool		failed;			/* some were errors, or came too late */
	Size		bytes;			/* of those that came */
} AtqAheadState;

extern void atq_resolve_look(const AtqResolution *ahead,
							 AtqAheadState *state);

/* Answers under way are done without.  Never throws. */
extern void atq_resolve_forget(AtqResolution *ahead);

/* How often this process has read rows of other servers for a task's sake. */
extern uint64 atq_resolve_fetches;

/*
 * Where the row of a reference is, for a query of its own: the condition is
 * on asynctasq_row, with the parameters $1 to $nkeys.
 */
typedef struct AtqLocation
{
	const AtqModel *model;
	const char *table;			/* qualified and quoted */
	const char *condition;
	int			nkeys;
	Oid			types[ATQ_MAX_KEYS];
	Datum		values[ATQ_MAX_KEYS];
} AtqLocation;

/*
 * Locks the relation against changes until the transaction ends.  Where the
 * model is not to be trusted, it leaves the guard on (atq_trust_guard).
 */
extern void atq_resolve_locate(const AtqReference *reference,
							   AtqLocation *location);

/* The row was not there: a warning or an error, as the model says. */
extern void atq_resolve_missing(const AtqModel *model, AtqSpan key);

#endif							/* ATQ_TASK_RESOLVE_H */
