/*-------------------------------------------------------------------------
 *
 * task.c
 *	  Tasks through all stages: take, call, settle.
 *
 * A unit is one transaction: a task's row is deleted, the handler is called,
 * the result is kept, and all of it commits or nothing does.  A group does
 * that for one task of a handler after the other, a batch for several at
 * once; src/README says when and why.  An error rolls the unit back.  If its
 * task was alone, settle.c records it; else the unit leaves behind what is to
 * be run again (Split).
 *
 * Between the rollback of a failed attempt and its record the task's row is
 * free, and another worker that had read its id may take it.  It sees in the
 * first one's slot, which names the task until the failure is recorded, that
 * the row is not its own, and gives it back.  The first one announces it again
 * then, because the retry may have been due by that time.
 *
 * What a handler leaves to the end of its transaction (deferred triggers,
 * WITH HOLD cursors) is done by runner->finish before the commit, while the
 * settings that it changed and the task's timeout are still in force: it is
 * the task's own doing.
 *
 * Memory: a task lives in a context "asynctasq task", a child of the caller's.
 * The tasks of a group take turns with two of them, so that the last one is
 * there until the next has begun; a batch's tasks live in one all together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/evidence.h"
#include "base/guc.h"
#include "task/handler.h"
#include "task/prefetch.h"
#include "task/settle.h"
#include "task/task.h"

/*
 * Ids of subtransactions after which a unit takes no other task.  With more
 * than PGPROC_MAX_CACHED_SUBXIDS, 64, every snapshot in the cluster gets slower:
 * a group has so many only where its last task has most of them.
 */
#define MAX_SUBXIDS		16

/* Crashes in a row after which tasks that are alike are not run any more. */
#define QUARANTINE_CRASHES	3

/* A task whose row the unit has taken. */
typedef struct Member
{
	int			candidate;		/* its index */
	int64		id;
	TimestampTz started_at;
	uint64		suspected;		/* its signature, if tasks like it were there
								 * when the server crashed, or 0 */
	AtqStat    *queue_stat;
	AtqStat    *handler_stat;
	AtqAttempt *attempt;		/* of a group the last one's only */
} Member;

typedef struct Unit
{
	const AtqRunner *runner;
	bool		durable;
	const AtqCandidate *candidates;
	int			n;				/* candidates that may be looked at */
	int			seen;			/* .. that were */
	AtqHandler *handler;		/* of all members; NULL before the first */
	int			batch_size;		/* the handler's; 0: one task at a time */
	bool		suspect;		/* its first task must be alone */
	bool		foreign;		/* the last row seen is being settled by
								 * another worker */
	bool		moved;			/* as in AtqRun */
	int			nmembers;
	Member	   *members;		/* room for max_members, or &one */
	int			max_members;
	Member		one;			/* mostly there is but one */
	TimestampTz started_at;
	MemoryContext contexts[2];	/* the second made for a second task */
	int			turn;			/* which of the two */
} Unit;

/*
 * What a unit leaves to be run again of the candidates it has seen:
 * [0, first_end) and [second, done).
 */
typedef struct Split
{
	int			first_end;
	int			second;
	int			done;
	int			ended;			/* tasks that have got an outcome */
} Split;

/* An attempt of which only the task's id is left. */
typedef struct Absent
{
	int64		id;
	int			number;			/* or 0: whichever it was */
	bool		crashed;		/* the server did */
	TimestampTz started_at;
	AtqOrphanReason reason;
	bool		asked;			/* should_retry was called */
	bool		evidence;		/* this worker says of no other one that it is
								 * under way */
} Absent;

static void run_all(const AtqRunner *runner, bool durable,
					const AtqCandidate *candidates, int n, AtqRun *run);
static void run_unit(Unit *unit, Split *split);
static void use_context(Unit *unit, MemoryContext parent, int turn);
static ErrorData *try_unit(Unit *unit);
static AtqAttempt *take_next(Unit *unit);
static void begin_attempt(Unit *unit, AtqAttempt *attempt);
static void add_member(Unit *unit, AtqAttempt *attempt);
static void start_attempt(AtqAttempt *attempt, TimestampTz now);
static void check_poison(Unit *unit, AtqAttempt *attempt);
static AtqHandler *find_handler(AtqAttempt *attempt);
static bool is_suspect(const Unit *unit, int64 id);
static void use_handler(AtqAttempt *attempt, AtqHandler *handler);
static int	unit_room(const Unit *unit);
static bool may_go_on(Unit *unit);
static void call_one(Unit *unit, AtqAttempt *attempt);
static void call_batch(Unit *unit);
static int64 member_timeout(const Unit *unit, const AtqAttempt *attempt);
static void keep_result(const AtqAttempt *attempt, Jsonb *result);
static void check_stopped(const Unit *unit);
static ErrorData *catch_error(Unit *unit);
static int	cancelled_member(const Unit *unit);
static ErrorData *make_failure(int sqlstate, const char *message);
static void end_unit(Unit *unit, Split *split);
static void split_unit(Unit *unit, const ErrorData *failure, Split *split);
static void settle_member(Unit *unit, int i, const ErrorData *failure);
static void end_settling(AtqSlot *slot);
static bool settle_absent(const AtqRunner *runner, const Absent *absent,
						  const ErrorData *failure);
static void count_outcome(const AtqAttempt *attempt, AtqOutcome outcome);
static void report_context(void *arg);

int
atq_task_run(const AtqRunner *runner, bool durable,
			 const AtqCandidate *candidates, int n, AtqRun *run)
{
	Unit		unit = {0};
	Split		split = {0};

	unit.runner = runner;
	unit.durable = durable;
	unit.candidates = candidates;
	unit.n = n;
	run_unit(&unit, &split);
	run->ended += split.ended;
	run->batch_size = unit.batch_size;
	run->moved |= unit.moved;
	run_all(runner, durable, candidates, split.first_end, run);
	run_all(runner, durable, candidates + split.second,
			split.done - split.second, run);
	return split.done;
}

/* Fewer than the unit that has failed, so this comes to an end. */
static void
run_all(const AtqRunner *runner, bool durable,
		const AtqCandidate *candidates, int n, AtqRun *run)
{
	check_stack_depth();
	while (n > 0)
	{
		int			done = atq_task_run(runner, durable, candidates, n, run);

		candidates += done;
		n -= done;
	}
}

static void
run_unit(Unit *unit, Split *split)
{
	MemoryContext old = CurrentMemoryContext;
	AtqAttempt *outer = atq_attempt_current;
	bool		kept;
	ErrorData  *failure;

	unit->members = &unit->one;
	unit->max_members = 1;
	use_context(unit, old, 0);
	kept = atq_registry_keep(true);
	PG_TRY();
	{
		failure = try_unit(unit);
		MemoryContextSwitchTo(unit->contexts[unit->turn]);
		if (failure == NULL)
			end_unit(unit, split);
		else
			split_unit(unit, failure, split);
	}
	PG_FINALLY();
	{
		(void) atq_registry_keep(kept);
		atq_attempt_current = outer;
		if (unit->nmembers > 0 && unit->runner->slot != NULL)
			atq_attempt_settled(unit->runner->slot, split->ended);
		MemoryContextSwitchTo(old);
	}
	PG_END_TRY();
	for (int i = 0; i < lengthof(unit->contexts); i++)
	{
		if (unit->contexts[i] != NULL)
			MemoryContextDelete(unit->contexts[i]);
	}
	if (unit->members != &unit->one)
		pfree(unit->members);
}

/* Makes one of the two contexts the current one, empty. */
static void
use_context(Unit *unit, MemoryContext parent, int turn)
{
	if (unit->contexts[turn] == NULL)
		unit->contexts[turn] = AllocSetContextCreate(parent,
													 "asynctasq task",
													 ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(unit->contexts[turn]);
	unit->turn = turn;
	MemoryContextSwitchTo(unit->contexts[turn]);
}

/* Returns the error that ended the unit, or NULL. */
static ErrorData *
try_unit(Unit *unit)
{
	const AtqRunner *runner = unit->runner;
	ErrorData  *volatile failure = NULL;
	ErrorContextCallback callback;

	callback.callback = report_context;
	callback.arg = unit;
	callback.previous = error_context_stack;

	runner->begin();
	MemoryContextSwitchTo(unit->contexts[0]);
	PG_TRY();
	{
		AtqAttempt *attempt;

		error_context_stack = &callback;
		while ((attempt = take_next(unit)) != NULL)
		{
			begin_attempt(unit, attempt);
			if (unit->batch_size > 0)
			{
				call_batch(unit);
				break;
			}
			call_one(unit, attempt);
			if (!may_go_on(unit))
				break;
		}
		error_context_stack = callback.previous;
		if (unit->nmembers > 0 && !unit->foreign)
			runner->commit();
		else
			runner->abort();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(unit->contexts[unit->turn]);
		if (unit->nmembers == 0)
			atq_attempt_rethrow(runner, CopyErrorData());
		failure = catch_error(unit);
	}
	PG_END_TRY();
	return failure;
}

/*
 * Takes the row of the next task that may join the unit; NULL when there is
 * none.
 */
static AtqAttempt *
take_next(Unit *unit)
{
	AtqSlot    *slot = unit->runner->slot;
	const char *only = unit->handler ? unit->handler->name : NULL;
	AtqAttempt *attempt = palloc0(sizeof(AtqAttempt));

	while (unit->seen < unit->n)
	{
		const AtqCandidate *candidate = &unit->candidates[unit->seen];

		if (unit->batch_size > 0 && is_suspect(unit, candidate->id))
			return NULL;
		switch (atq_storage_take(unit->durable, candidate, only,
								 &attempt->task))
		{
			case ATQ_TAKE_OTHER:
				return NULL;
			case ATQ_TAKE_MOVED:
				unit->moved = true;
				/* FALLTHROUGH */
			case ATQ_TAKE_GONE:
				unit->seen++;
				break;
			case ATQ_TAKE_DONE:
				unit->seen++;
				attempt->task.ahead = atq_prefetch_of(candidate->id);
				if (slot == NULL ||
					!atq_slot_want(MyDatabaseId, candidate->id))
					return attempt;
				unit->foreign = true;
				return NULL;
		}
	}
	return NULL;
}

static void
begin_attempt(Unit *unit, AtqAttempt *attempt)
{
	AtqSlot    *slot = unit->runner->slot;

	start_attempt(attempt, slot != NULL ?
				  GetCurrentStatementStartTimestamp() :
				  GetCurrentTimestamp());
	if (unit->nmembers == 0)
		unit->started_at = attempt->started_at;
	else if (slot != NULL)
		atq_attempt_add_member(slot,
							   unit->members[unit->nmembers - 1].id);
	add_member(unit, attempt);
	atq_attempt_begin(attempt, slot, unit->seen < unit->n ?
					  unit->candidates[unit->seen].id : ATQ_ID_NONE);
	if (unit->handler == NULL)
	{
		unit->handler = find_handler(attempt);
		unit->batch_size = unit->handler->batch_size;
		unit->suspect = unit->batch_size > 0 &&
			is_suspect(unit, attempt->task.id);
	}
	use_handler(attempt, unit->handler);
	unit->members[unit->nmembers - 1].handler_stat = attempt->handler_stat;
	check_poison(unit, attempt);
}

static void
add_member(Unit *unit, AtqAttempt *attempt)
{
	Member	   *member;

	if (unit->nmembers == unit->max_members)
	{
		MemoryContext parent = MemoryContextGetParent(CurrentMemoryContext);
		Member	   *members;

		unit->max_members = unit_room(unit);
		members = MemoryContextAlloc(parent,
									 unit->max_members * sizeof(Member));
		members[0] = unit->one;
		unit->members = members;
	}
	member = &unit->members[unit->nmembers++];
	member->candidate = unit->seen - 1;
	member->id = attempt->task.id;
	member->started_at = attempt->started_at;
	member->suspected = 0;
	member->queue_stat = attempt->queue_stat;
	member->handler_stat = NULL;
	member->attempt = attempt;
}

static void
start_attempt(AtqAttempt *attempt, TimestampTz now)
{
	AtqQueue   *queue = atq_registry_queue(attempt->task.queue_id);

	attempt->number = attempt->task.attempt + 1;
	attempt->max_attempts = attempt->task.max_attempts;
	attempt->started_at = now;
	attempt->depth = attempt->task.depth;
	attempt->role = GetUserId();
	if (queue != NULL)
	{
		strlcpy(attempt->queue, queue->name, ATQ_NAME_LEN);
		attempt->queue_stat = queue->stat;
	}
	if (!attempt->task.durable)
		attempt->signature = atq_evidence_signature(attempt->role,
													attempt->task.task,
													attempt->task.args.data,
													attempt->task.args.len);
}

/*
 * A task that crashes the server is not there any more to be counted on, if
 * its queue is not durable; those who dispatch the same again are met here.
 */
static void
check_poison(Unit *unit, AtqAttempt *attempt)
{
	int			crashes;

	if (unit->runner->slot == NULL || attempt->signature == 0)
		return;
	crashes = atq_evidence_poison(MyDatabaseId, attempt->signature);
	if (crashes > 0)
		unit->members[unit->nmembers - 1].suspected = attempt->signature;
	if (crashes < QUARANTINE_CRASHES)
		return;
	attempt->quarantined = true;
	ereport(ERROR,
			(errcode(ERRCODE_CRASH_SHUTDOWN),
			 errmsg("server crashed while running"),
			 errdetail("It did so %d times in a row with this handler and these arguments, so the task was not run.",
					   crashes),
			 errhint("Call asynctasq.retry(" INT64_FORMAT ") to have it run all the same.",
					 attempt->task.id)));
}

/*
 * The handler belongs to the role of the task's queue, as whom this process
 * runs.  Where it was registered anew by another role, its task is nobody's.
 */
static AtqHandler *
find_handler(AtqAttempt *attempt)
{
	AtqHandler *handler = atq_registry_handler(attempt->task.task);

	if (handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler \"%s\" does not exist", attempt->task.task),
				 errhint("Register it with asynctasq.register_handler() and call asynctasq.retry(" INT64_FORMAT ").",
						 attempt->task.id)));
	if (handler->role != attempt->role)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("handler \"%s\" belongs to another role than the task's queue",
						attempt->task.task)));
	return handler;
}

static void
use_handler(AtqAttempt *attempt, AtqHandler *handler)
{
	if (attempt->task.max_attempts < 0)
		attempt->max_attempts = handler->max_attempts;
	attempt->handler_stat = handler->stat;
}

/* Whether the task may have crashed the server as one of a batch. */
static bool
is_suspect(const Unit *unit, int64 id)
{
	const AtqSlot *slot = unit->runner->slot;

	return slot != NULL &&
		atq_evidence_suspect(slot->database, slot->role, id,
							 unit->durable ? NULL : unit->handler->name);
}

/* How many members the unit may have. */
static int
unit_room(const Unit *unit)
{
	if (unit->suspect)
		return 1;
	if (unit->batch_size > 0)
		return Min(unit->batch_size, ATQ_MAX_MEMBERS);
	if (unit->runner->next == NULL || XactIsoLevel != XACT_READ_COMMITTED)
		return 1;
	return Min(unit->handler->group_size, ATQ_MAX_MEMBERS);
}

/* True when the next task may run in the same transaction as the last one. */
static bool
may_go_on(Unit *unit)
{
	if (unit->nmembers >= unit_room(unit) || unit->seen >= unit->n ||
		atq_attempt_touched_session() ||
		MyProc->subxidStatus.count >= MAX_SUBXIDS)
		return false;
	unit->runner->next();
	if (TimestampDifferenceExceeds(unit->started_at,
								   GetCurrentStatementStartTimestamp(),
								   atq_group_duration_ms))
		return false;
	use_context(unit, MemoryContextGetParent(CurrentMemoryContext),
				1 - unit->turn);
	return true;
}

static void
call_one(Unit *unit, AtqAttempt *attempt)
{
	bool		keep = unit->handler->keep_result;
	Jsonb	   *result = NULL;
	int			level = NewGUCNestLevel();

	atq_attempt_arm(member_timeout(unit, attempt));
	atq_handler_call(unit->handler, &attempt->task, keep ? &result : NULL,
					 &attempt->called);
	if (unit->runner->finish != NULL)
		unit->runner->finish();
	check_stopped(unit);
	atq_attempt_disarm();
	AtEOXact_GUC(false, level);
	if (keep)
		keep_result(attempt, result);
}

/* The first member has been begun; the shortest of the timeouts holds. */
static void
call_batch(Unit *unit)
{
	AtqAttempt *first = unit->members[0].attempt;
	int64		timeout_us = member_timeout(unit, first);
	bool		keep = unit->handler->keep_result;
	Jsonb	  **results = NULL;
	const AtqTask **tasks;
	AtqAttempt *attempt;
	int			level = NewGUCNestLevel();

	while (unit->nmembers < unit_room(unit) &&
		   (attempt = take_next(unit)) != NULL)
	{
		int64		us;

		start_attempt(attempt, unit->started_at);
		add_member(unit, attempt);
		use_handler(attempt, unit->handler);
		unit->members[unit->nmembers - 1].handler_stat =
			attempt->handler_stat;
		check_poison(unit, attempt);
		if (unit->runner->slot != NULL)
			atq_attempt_add_member(unit->runner->slot, attempt->task.id);
		first->depth = Max(first->depth, attempt->depth);
		us = member_timeout(unit, attempt);
		if (us > 0 && (timeout_us <= 0 || us < timeout_us))
			timeout_us = us;
	}
	if (unit->foreign)
		return;
	if (unit->nmembers > 1 && unit->runner->slot != NULL)
		atq_evidence_batch(unit->runner->slot,
						   unit->members[unit->nmembers - 1].id,
						   unit->durable ? 0 :
						   atq_evidence_signature(first->role,
												  unit->handler->name,
												  NULL, 0));

	tasks = palloc(unit->nmembers * sizeof(AtqTask *));
	for (int i = 0; i < unit->nmembers; i++)
		tasks[i] = &unit->members[i].attempt->task;
	if (keep)
		results = palloc(unit->nmembers * sizeof(Jsonb *));
	atq_attempt_arm(timeout_us);
	atq_handler_call_batch(unit->handler, tasks, unit->nmembers, results,
						   &first->called);
	if (unit->runner->finish != NULL)
		unit->runner->finish();
	check_stopped(unit);
	atq_attempt_disarm();
	AtEOXact_GUC(false, level);
	for (int i = 0; i < unit->nmembers && keep; i++)
		keep_result(unit->members[i].attempt, results[i]);
}

static int64
member_timeout(const Unit *unit, const AtqAttempt *attempt)
{
	return attempt->task.timeout_us >= 0 ? attempt->task.timeout_us :
		unit->handler->timeout_us;
}

/* A task that was told to stop and has swallowed it must not have effects. */
static void
check_stopped(const Unit *unit)
{
	CHECK_FOR_INTERRUPTS();
	if (atq_attempt_timed_out() || cancelled_member(unit) >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("task was told to stop")));
}

static void
keep_result(const AtqAttempt *attempt, Jsonb *result)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	atq_storage_keep(&attempt->task, "completed", attempt->number,
					 attempt->max_attempts, attempt->started_at, result,
					 NULL);
	PopActiveSnapshot();
}

/*
 * From PG_CATCH: rolls the unit back, keeps its error.  Before the rows are
 * free again the slot is made to name the one whose failure will be recorded.
 */
static ErrorData *
catch_error(Unit *unit)
{
	const AtqRunner *runner = unit->runner;
	Member	   *last = &unit->members[unit->nmembers - 1];
	ErrorData  *failure = CopyErrorData();
	int			cancelled = cancelled_member(unit);

	atq_attempt_disarm();
	last->attempt->timed_out = cancelled < 0 && atq_attempt_timed_out() &&
		failure->sqlerrcode == ERRCODE_QUERY_CANCELED;
	if (!last->attempt->timed_out && runner->rethrow(failure))
		atq_attempt_rethrow(runner, failure);
	if (runner->slot != NULL)
	{
		EmitErrorReport();
		if (cancelled >= 0)
			last = &unit->members[cancelled];
		atq_attempt_keep_only(runner->slot, last->id);
	}
	FlushErrorState();
	HOLD_INTERRUPTS();
	QueryCancelPending = false;
	runner->abort();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(unit->contexts[unit->turn]);
	if (cancelled >= 0 && failure->sqlerrcode != ERRCODE_QUERY_CANCELED)
		failure = make_failure(ERRCODE_QUERY_CANCELED, "task was cancelled");
	return failure;
}

static ErrorData *
make_failure(int sqlstate, const char *message)
{
	ErrorData  *failure = palloc0(sizeof(ErrorData));

	failure->sqlerrcode = sqlstate;
	failure->message = pstrdup(message);
	return failure;
}

/* The member that cancel() meant, whatever became of it since, or -1. */
static int
cancelled_member(const Unit *unit)
{
	AtqSlot    *slot = unit->runner->slot;

	if (slot == NULL || slot->cancelled_id == 0)
		return -1;
	for (int i = unit->nmembers - 1; i >= 0; i--)
	{
		if (unit->members[i].id == slot->cancelled_id)
			return i;
	}
	return -1;
}

/* The unit has committed, or has found nothing of its own. */
static void
end_unit(Unit *unit, Split *split)
{
	TimestampTz now = unit->runner->slot != NULL ?
		GetCurrentTransactionStopTimestamp() : GetCurrentTimestamp();

	split->done = split->second = unit->seen;
	if (unit->foreign)
	{
		/* the row just seen is left to the other, the members run again */
		split->first_end = unit->nmembers > 0 ? unit->seen - 1 : 0;
		return;
	}
	split->ended = unit->nmembers;
	for (int i = 0; i < unit->nmembers; i++)
	{
		Member	   *member = &unit->members[i];

		if (member->suspected != 0)
			atq_evidence_forgive(MyDatabaseId, member->suspected);
		atq_stats_count(member->queue_stat, ATQ_OUTCOME_COMPLETED,
						member->started_at, now);
		atq_stats_count(member->handler_stat, ATQ_OUTCOME_COMPLETED,
						member->started_at, now);
	}
}

/*
 * The unit was rolled back: records the failure that is a task's own, and
 * says what is to be run again.
 */
static void
split_unit(Unit *unit, const ErrorData *failure, Split *split)
{
	int			last = unit->nmembers - 1;
	Member	   *members = unit->members;
	int			own = cancelled_member(unit);
	bool		stopped = failure->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		!members[last].attempt->timed_out;

	split->done = split->second = unit->batch_size > 0 ? unit->seen :
		members[last].candidate + 1;
	if (own < 0 && (unit->nmembers == 1 || (stopped && unit->batch_size == 0)))
		own = last;

	if (own >= 0)
	{
		settle_member(unit, own, failure);
		split->ended = 1;
		split->first_end = members[own].candidate;
		split->second = members[own].candidate + 1;
		if (unit->batch_size == 0 && own < last)
			split->done = members[last].candidate;
	}
	else if (stopped)
	{
		for (int i = 0; i < unit->nmembers; i++)
			settle_member(unit, i, failure);
		split->ended = unit->nmembers;
	}
	else
	{
		split->first_end = split->second =
			members[unit->batch_size > 0 ? unit->nmembers / 2 : last].candidate;
		if (unit->runner->slot != NULL)
			atq_attempt_keep_only(unit->runner->slot, 0);
	}
}

static void
settle_member(Unit *unit, int i, const ErrorData *failure)
{
	Member	   *member = &unit->members[i];
	bool		cancelled = cancelled_member(unit) == i;

	if (unit->batch_size > 0 || i == unit->nmembers - 1)
	{
		AtqAttempt *attempt = member->attempt;

		attempt->cancelled = cancelled;
		atq_attempt_current = attempt;
		count_outcome(attempt,
					  atq_settle_failure(unit->runner, attempt, failure));
	}
	else
	{
		Absent		absent = {0};

		absent.id = member->id;
		absent.started_at = member->started_at;
		if (cancelled)
			absent.reason = ATQ_ORPHAN_CANCELLED;
		(void) settle_absent(unit->runner, &absent, failure);
	}
}

void
atq_task_settle_orphan(const AtqRunner *runner, const AtqOrphan *orphan)
{
	bool		told = orphan->reason != ATQ_ORPHAN_TERMINATED;
	ErrorData  *failure;
	Absent		absent = {0};

	if (!atq_slot_settle(runner->slot, orphan->task_id))
		return;
	failure = make_failure(told ? ERRCODE_QUERY_CANCELED :
						   ERRCODE_ADMIN_SHUTDOWN,
						   told ? "task was told to stop" :
						   "worker was terminated while it ran the task");
	absent.id = orphan->task_id;
	absent.number = orphan->attempt;
	absent.started_at = orphan->started_at;
	absent.reason = orphan->reason;
	absent.asked = orphan->settling;
	absent.evidence = true;
	(void) settle_absent(runner, &absent, failure);
	end_settling(runner->slot);
	pfree(failure);
}

void
atq_task_settle_crashed(const AtqRunner *runner, const AtqCrashed *crashed)
{
	ErrorData  *failure;
	Absent		absent = {0};

	if (!atq_slot_settle(runner->slot, crashed->task_id))
		return;
	failure = make_failure(ERRCODE_CRASH_SHUTDOWN,
						   "server crashed while running");
	absent.id = crashed->task_id;
	absent.number = crashed->attempt;
	absent.crashed = true;
	absent.started_at = crashed->started_at;
	absent.evidence = true;
	if (!settle_absent(runner, &absent, failure))
		atq_evidence_settled(MyDatabaseId, crashed->task_id);
	end_settling(runner->slot);
	pfree(failure);
}

/* What another worker has given back meanwhile is looked for. */
static void
end_settling(AtqSlot *slot)
{
	if (atq_slot_settled(slot))
		atq_lane_scan(MyDatabaseId);
}

/*
 * Settles an attempt of which only the task's id is left; false when there is
 * nothing to settle.
 */
static bool
settle_absent(const AtqRunner *runner, const Absent *absent,
			  const ErrorData *failure)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "asynctasq orphan",
												  ALLOCSET_DEFAULT_SIZES);
	AtqAttempt *outer = atq_attempt_current;
	AtqAttempt *attempt;
	AtqHandler *handler;
	AtqCandidate candidate;
	bool		durable;
	bool		found;

	attempt = MemoryContextAllocZero(context, sizeof(AtqAttempt));
	runner->begin();
	MemoryContextSwitchTo(context);
	found = atq_storage_find(absent->id, &durable, &candidate) &&
		atq_storage_take(durable, &candidate, NULL,
						 &attempt->task) == ATQ_TAKE_DONE;
	if (found)
	{
		start_attempt(attempt, absent->started_at);
		found = absent->number == 0 || absent->number == attempt->number;
	}
	if (found)
	{
		attempt->called = true;
		attempt->crashed = absent->crashed;
		attempt->cancelled = absent->reason == ATQ_ORPHAN_CANCELLED;
		attempt->timed_out = absent->reason == ATQ_ORPHAN_TIMEOUT;
		attempt->asked = absent->asked;
		handler = atq_registry_handler(attempt->task.task);
		if (handler != NULL && handler->role == attempt->role)
			use_handler(attempt, handler);
		else
			attempt->max_attempts = Max(attempt->max_attempts, 1);
	}
	runner->abort();
	MemoryContextSwitchTo(context);
	if (found)
	{
		if (absent->evidence)
			atq_evidence_begin(runner->slot, absent->id, attempt->number,
							   attempt->started_at, 0);
		atq_attempt_current = attempt;
		count_outcome(attempt,
					  atq_settle_failure(runner, attempt, failure));
		atq_attempt_current = outer;
		if (absent->evidence)
			atq_evidence_end(runner->slot);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return found;
}

static void
count_outcome(const AtqAttempt *attempt, AtqOutcome outcome)
{
	TimestampTz now = GetCurrentTimestamp();

	atq_stats_count(attempt->queue_stat, outcome, attempt->started_at, now);
	atq_stats_count(attempt->handler_stat, outcome, attempt->started_at, now);
}

/* Also where a task hears that it is cancelled, whether it heeds it or not. */
static void
report_context(void *arg)
{
	const AtqAttempt *attempt = atq_attempt_current;
	const Unit *unit = arg;

	if (geterrcode() == ERRCODE_QUERY_CANCELED && cancelled_member(unit) >= 0)
		atq_attempt_cancel_heard();
	if (attempt != NULL)
		errcontext("task " INT64_FORMAT ", handler \"%s\", attempt %d",
				   attempt->task.id, attempt->task.task, attempt->number);
}
