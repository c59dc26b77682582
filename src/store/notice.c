/*-------------------------------------------------------------------------
 *
 * notice.c
 *	  Telling lanes of new tasks at commit.
 *
 * One transaction callback, registered once in the life of a backend, tells
 * the lanes when the transaction has committed: by then the rows can be seen.
 * There is one note for each (role, queue, priority), with the lowest id, so
 * a million tasks cost what one does.  What a subtransaction noted before it
 * was rolled back only makes a worker look in vain.
 *
 * Where tasks may not run (home.c) nothing is noted.
 *
 * Where the registries have changed as well, the lanes are told only when others
 * have been told of that: who wakes up before takes a queue that is new, or has
 * been resumed, for one that has nothing for him.  Invalidations are sent after
 * the transaction callbacks and before the resource owner's last release.
 *
 * COMMIT PREPARED runs in another backend, which has no notes: the scanner
 * finds these tasks.
 *
 * Notes live in TopTransactionContext, which ends after the callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/lane.h"
#include "store/home.h"
#include "store/notice.h"

typedef struct Note
{
	Oid			role;
	int32		queue_id;
	int32		priority;
	int64		id;				/* lowest that is ready, or ATQ_ID_NONE */
	TimestampTz due;			/* earliest of delayed ones, or DT_NOEND */
	struct Note *next;
} Note;

static Note *notes = NULL;
static bool scan_database = false;
static bool leave_database = false;
static bool committed = false;	/* and the lanes are still to be told */
static bool callback_registered = false;
static bool release_registered = false;

static void register_callback(void);
static void at_transaction_end(XactEvent event, void *arg);
static void at_release(ResourceReleasePhase phase, bool is_commit,
					   bool is_top, void *arg);
static void tell_lanes(void);
static void tell_lane(const Note *note);
static void forget_notes(void);
static Note *find_note(Oid role, int32 queue_id, int32 priority);

void
atq_notice_add(Oid role, int32 queue_id, int32 priority, int64 id,
			   TimestampTz run_at)
{
	Note	   *note;

	if (!atq_home_is_here())
		return;
	register_callback();
	note = find_note(role, queue_id, priority);
	if (run_at == 0)
		note->id = Min(note->id, id);
	else
		note->due = Min(note->due, run_at);
}

void
atq_notice_scan(void)
{
	register_callback();
	if (!release_registered)
		RegisterResourceReleaseCallback(at_release, NULL);
	release_registered = true;
	scan_database = true;
}

void
atq_notice_leave(void)
{
	register_callback();
	leave_database = true;
}

static void
register_callback(void)
{
	if (callback_registered)
		return;
	RegisterXactCallback(at_transaction_end, NULL);
	callback_registered = true;
}

static Note *
find_note(Oid role, int32 queue_id, int32 priority)
{
	Note	   *note;

	for (note = notes; note != NULL; note = note->next)
	{
		if (note->role == role && note->queue_id == queue_id &&
			note->priority == priority)
			return note;
	}
	note = MemoryContextAlloc(TopTransactionContext, sizeof(Note));
	note->role = role;
	note->queue_id = queue_id;
	note->priority = priority;
	note->id = ATQ_ID_NONE;
	note->due = DT_NOEND;
	note->next = notes;
	notes = note;
	return note;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			committed = scan_database;
			if (committed)
				break;
			tell_lanes();
			forget_notes();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_notes();
			break;
		default:
			break;
	}
}

static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top, void *arg)
{
	if (!committed || !is_top || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	committed = false;
	tell_lanes();
	forget_notes();
}

/* The database's scanner must be known too, for the sweeps to come. */
static void
tell_lanes(void)
{
	for (Note *note = notes; note != NULL; note = note->next)
		tell_lane(note);
	if (notes != NULL)
		(void) atq_lane_find(MyDatabaseId, InvalidOid, true);
	if (scan_database)
		atq_lane_scan(MyDatabaseId);
	if (leave_database)
		atq_lane_leave(MyDatabaseId);
}

/* Again where the lane has made room for another one before it was told. */
static void
tell_lane(const Note *note)
{
	int			lane;

	do
	{
		lane = atq_lane_find(MyDatabaseId, note->role, true);
		if (note->id != ATQ_ID_NONE)
		{
			atq_lane_announce(lane, note->queue_id, note->priority, note->id);
			atq_lane_wake(lane);
		}
		if (note->due != DT_NOEND)
			atq_lane_announce_due(lane, note->due);
	} while (lane >= 0 &&
			 atq_lane_find(MyDatabaseId, note->role, true) != lane);
}

static void
forget_notes(void)
{
	if (leave_database)
		atq_lane_hold(MyDatabaseId, 0);
	notes = NULL;
	scan_database = false;
	leave_database = false;
}
