/*-------------------------------------------------------------------------
 *
 * evidence.h
 *	  What must be known after a crash of the server: a mapped file.
 *
 * None of these throws.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_EVIDENCE_H
#define ATQ_BASE_EVIDENCE_H

#include "base/lane.h"

/* An attempt that a crash of the server has ended. */
typedef struct AtqCrashed
{
	int64		task_id;
	int			attempt;
	TimestampTz started_at;
} AtqCrashed;

/* Has the file mapped when shared memory is made; from _PG_init only. */
extern void atq_evidence_init(void);

/*
 * What tasks of a database that are alike have in common; never 0.  Without
 * arguments, what the calls of a handler for several tasks have.
 */
extern uint64 atq_evidence_signature(Oid role, const char *handler,
									 const void *args, Size len);

/*
 * Says that a slot's worker begins an attempt, in the place of what it did
 * before.  A signature of 0 keeps it from being held against tasks like it.
 */
extern void atq_evidence_begin(const AtqSlot *slot, int64 task_id,
							   int attempt, TimestampTz started_at,
							   uint64 signature);

/*
 * Says that the attempt is one call for all tasks up to last_id, with the
 * signature of such calls, or 0.
 */
extern void atq_evidence_batch(const AtqSlot *slot, int64 last_id,
							   uint64 signature);

/*
 * The worker ends, but not the server: notes a call for several tasks that is
 * under way, so that each of them runs alone.  False where there is none.
 */
extern bool atq_evidence_note_batch(const AtqSlot *slot);

/* Says that the slot's worker is done with what it said. */
extern void atq_evidence_end(const AtqSlot *slot);

/*
 * Says that the slot's worker ends because the server tells it to.  For
 * signal handlers.
 */
extern void atq_evidence_told_to_quit(const AtqSlot *slot);

/*
 * Finds an attempt of a lane's, with an id above after, that a crash has ended
 * and nobody has settled; false when there is none.
 */
extern bool atq_evidence_next(Oid database, Oid role, int64 after,
							  AtqCrashed *crashed);

/* Says that it has been settled, which a crash must not undo. */
extern void atq_evidence_settled(Oid database, int64 task_id);

/*
 * True when the server crashed or a worker ended during a call for several
 * tasks of which this may have been one, so that it must run alone, or when
 * the server crashed with one like it.  Only where
 * tasks do not survive a crash the handler is given, by which one is found
 * that was dispatched since then.
 */
extern bool atq_evidence_suspect(Oid database, Oid role, int64 task_id,
								 const char *handler);

/* Says that all of a lane's have run. */
extern void atq_evidence_clear_suspects(Oid database, Oid role);

/* In how many crashes in a row a task with this signature was running. */
extern int	atq_evidence_poison(Oid database, uint64 signature);

/* Says that such a task has ended well, or is to be tried all the same. */
extern void atq_evidence_forgive(Oid database, uint64 signature);

/*
 * Notes an id taken from this database's sequence; false when it may have been
 * handed out before a crash, so that another one must be taken.
 */
extern bool atq_evidence_new_id(Oid sequence, int64 id);

/*
 * The highest id that the sequence has handed out before the crash with which
 * the server began, and when that was; 0 when there was none, or nobody knows.
 */
extern int64 atq_evidence_old_id(Oid sequence, TimestampTz *crashed_at);

/* Says that the launcher starts a worker. */
extern void atq_evidence_worker_started(TimestampTz now);

/* Crashes in a row, each soon after workers were started. */
extern int	atq_evidence_crashes(void);

/*
 * True when another such crash may be about to come, so that what is done
 * must reach the disk.
 */
extern bool atq_evidence_careful(void);

#endif							/* ATQ_BASE_EVIDENCE_H */
