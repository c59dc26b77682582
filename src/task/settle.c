/*-------------------------------------------------------------------------
 *
 * settle.c
 *	  Giving a failed task its outcome.
 *
 * The attempt's own transaction has been rolled back, so the task's row is
 * there again.  Up to three transactions follow:
 *
 *	plan	looks the handler up and calls its should_retry; an error in it is
 *			logged and counts as "yes"
 *	record	writes the outcome
 *	notify	calls on_failure after a dead letter; an error in it is logged
 *
 * Recording must not fail.  What it writes is truncated and cleaned, times
 * are clamped, and if it fails all the same it is tried once more with
 * nothing but the SQLSTATE.
 *
 * A crash of the server must not come again and again: when one has ended the
 * attempt, should_retry, which may be its cause, is not called, and on_failure
 * is called when the outcome has reached the disk.
 *
 * Some failures are final, whatever max_attempts says: no further attempt can
 * change that the handler does not exist or that the arguments do not fit it,
 * and none is made where tasks like this one crash the server.
 *
 * A cancel() that arrives meanwhile is still the task's: whatever was planned,
 * it ends as cancelled unless it is a dead letter already.
 *
 * The task's timeout holds for should_retry and on_failure too, each by itself.
 *
 * Everything is allocated in the task's context, which task.c owns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/evidence.h"
#include "store/notice.h"
#include "task/dispatch.h"
#include "task/handler.h"
#include "task/resolve.h"
#include "task/settle.h"
#include "wire/jsonform.h"

#define MAX_MESSAGE_BYTES	4096
#define MAX_CONTEXT_BYTES	8192

typedef struct RetryPlan
{
	bool		retry;
	int64		delay_us;
	bool		notify;
} RetryPlan;

static void learn_limit(const AtqRunner *runner, AtqAttempt *attempt);
static bool is_final(const AtqAttempt *attempt, const ErrorData *failure);
static void make_plan(const AtqRunner *runner, const AtqAttempt *attempt,
					  bool final, Jsonb *error, RetryPlan *plan);
static int64 retry_delay(const AtqAttempt *attempt,
						 const AtqHandler *handler);
static bool ask_handler(const AtqRunner *runner, const AtqAttempt *attempt,
						AtqHandler *handler, Jsonb *error);
static bool was_cancelled(const AtqRunner *runner, const AtqAttempt *attempt);
static void arm_timeout(const AtqAttempt *attempt, const AtqHandler *handler);
static bool try_record(const AtqRunner *runner, const AtqAttempt *attempt,
					   AtqOutcome outcome, const RetryPlan *plan, Jsonb *error,
					   bool last_try, bool *recorded);
static bool record(const AtqAttempt *attempt, AtqOutcome outcome,
				   const RetryPlan *plan, Jsonb *error);
static bool record_cancelled(const AtqAttempt *attempt, Jsonb *error);
static void notify_handler(const AtqRunner *runner,
						   const AtqAttempt *attempt, Jsonb *error);
static void roll_back(const AtqRunner *runner, const char *what,
					  const AtqAttempt *attempt);
static Jsonb *error_json(const AtqAttempt *attempt, const ErrorData *failure,
						 bool complete);
static char *clean_text(const char *text, int max_bytes);
static void add_text(JsonbParseState **state, const char *key,
					 const char *value);
static void add_time(JsonbParseState **state, const char *key,
					 TimestampTz value);
static void add_int(JsonbParseState **state, const char *key, int64 value);
static void add_key(JsonbParseState **state, const char *key);

AtqOutcome
atq_settle_failure(const AtqRunner *runner, AtqAttempt *attempt,
				   const ErrorData *failure)
{
	Jsonb	   *error;
	AtqOutcome	outcome;
	RetryPlan	plan = {false, 0, false};
	bool		recorded = false;

	if (attempt->max_attempts < 0)
		learn_limit(runner, attempt);
	error = error_json(attempt, failure, true);
	if (attempt->cancelled || failure->sqlerrcode == ATQ_ERRCODE_DISCARD)
		outcome = ATQ_OUTCOME_CANCELLED;
	else
	{
		make_plan(runner, attempt, is_final(attempt, failure), error, &plan);
		outcome = plan.retry ? ATQ_OUTCOME_RETRIED : ATQ_OUTCOME_FAILED;
	}
	if (was_cancelled(runner, attempt))
		outcome = ATQ_OUTCOME_CANCELLED;
	if (!try_record(runner, attempt, outcome, &plan, error, false, &recorded))
	{
		if (was_cancelled(runner, attempt))
			outcome = ATQ_OUTCOME_CANCELLED;
		(void) try_record(runner, attempt, outcome, &plan,
						  error_json(attempt, failure, false), true,
						  &recorded);
	}
	if (outcome == ATQ_OUTCOME_RETRIED && was_cancelled(runner, attempt))
	{
		outcome = ATQ_OUTCOME_CANCELLED;
		(void) try_record(runner, attempt, outcome, &plan, error, true,
						  &recorded);
	}
	plan.notify = plan.notify && outcome == ATQ_OUTCOME_FAILED && recorded;
	if (attempt->crashed || plan.notify)
		XLogFlush(XactLastCommitEnd);
	if (attempt->crashed)
		atq_evidence_settled(MyDatabaseId, attempt->task.id);
	if (plan.notify)
		notify_handler(runner, attempt, error);
	return outcome;
}

/* Has cancel() reached the task?  It has done its work then. */
static bool
was_cancelled(const AtqRunner *runner, const AtqAttempt *attempt)
{
	if (runner->slot == NULL ||
		runner->slot->cancelled_id != attempt->task.id)
		return false;
	QueryCancelPending = false;
	return true;
}

static bool
is_final(const AtqAttempt *attempt, const ErrorData *failure)
{
	int			category = ERRCODE_TO_CATEGORY(failure->sqlerrcode);

	if (attempt->number >= attempt->max_attempts || attempt->quarantined)
		return true;
	if (attempt->called)
		return false;
	return category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION);
}

/*
 * The attempt ended before its handler was found: it is one of as many as the
 * handler has, or where that still cannot be said, not the last.
 */
static void
learn_limit(const AtqRunner *runner, AtqAttempt *attempt)
{
	MemoryContext context = CurrentMemoryContext;

	runner->begin();
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		AtqHandler *handler = atq_registry_handler(attempt->task.task);

		if (handler != NULL && handler->role == attempt->role)
			attempt->max_attempts = handler->max_attempts;
		runner->commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		roll_back(runner, "max_attempts", attempt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (attempt->max_attempts < 0)
		attempt->max_attempts = attempt->number + 1;
}

static void
make_plan(const AtqRunner *runner, const AtqAttempt *attempt, bool final,
		  Jsonb *error, RetryPlan *plan)
{
	MemoryContext context = CurrentMemoryContext;

	plan->retry = !final;
	runner->begin();
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		AtqHandler *handler = atq_registry_handler(attempt->task.task);

		plan->notify = handler != NULL && handler->on_failure != NULL &&
			handler->role == attempt->role;
		plan->delay_us = retry_delay(attempt, handler);
		if (!final && !attempt->crashed && !attempt->asked &&
			handler != NULL && handler->should_retry != NULL &&
			handler->role == attempt->role)
			plan->retry = ask_handler(runner, attempt, handler, error);
		runner->commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		roll_back(runner, "should_retry", attempt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* base * 2^(n-1) for the nth attempt where the strategy is exponential */
static int64
retry_delay(const AtqAttempt *attempt, const AtqHandler *handler)
{
	int64		base = attempt->task.retry_delay_us;

	if (base < 0)
		base = handler ? handler->retry_delay_us : 60 * USECS_PER_SEC;
	if (handler == NULL || !handler->exponential)
		return Min(base, ATQ_MAX_INTERVAL_US);
	return (int64) Min(ldexp((double) base, attempt->number - 1),
					   (double) ATQ_MAX_INTERVAL_US);
}

static bool
ask_handler(const AtqRunner *runner, const AtqAttempt *attempt,
			AtqHandler *handler, Jsonb *error)
{
	int			level = NewGUCNestLevel();
	bool		retry;

	arm_timeout(attempt, handler);
	retry = atq_handler_should_retry(handler, atq_attempt_json(attempt),
									 error);
	if (runner->finish != NULL)
		runner->finish();
	atq_attempt_disarm();
	AtEOXact_GUC(false, level);
	return retry;
}

static void
arm_timeout(const AtqAttempt *attempt, const AtqHandler *handler)
{
	atq_attempt_arm(attempt->task.timeout_us >= 0 ? attempt->task.timeout_us :
					handler->timeout_us);
}

/*
 * False, or an error at the last try, when it could not be written.
 * *recorded is false when there was nothing to write to.
 */
static bool
try_record(const AtqRunner *runner, const AtqAttempt *attempt,
		   AtqOutcome outcome, const RetryPlan *plan, Jsonb *error,
		   bool last_try, bool *recorded)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	runner->begin();
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		XactReadOnly = false;
		if (runner->slot != NULL)
			XactIsoLevel = XACT_READ_COMMITTED;
		PushActiveSnapshot(GetTransactionSnapshot());
		*recorded = record(attempt, outcome, plan, error);
		PopActiveSnapshot();
		runner->commit();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (last_try)
			atq_attempt_rethrow(runner, CopyErrorData());
		roll_back(runner, "recording the failure", attempt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

/* Where the row is gone, because its queue was purged, there is no outcome. */
static bool
record(const AtqAttempt *attempt, AtqOutcome outcome, const RetryPlan *plan,
	   Jsonb *error)
{
	const AtqTask *task = &attempt->task;
	TimestampTz run_at;

	switch (outcome)
	{
		case ATQ_OUTCOME_RETRIED:
			run_at = GetCurrentTimestamp() + plan->delay_us;
			if (!atq_storage_postpone(task->id, attempt->number, run_at))
				return false;
			atq_notice_add(attempt->role, task->queue_id, task->priority,
						   task->id, run_at);
			return true;
		case ATQ_OUTCOME_FAILED:
			return atq_storage_bury(task->id, attempt->number,
									attempt->started_at, error);
		case ATQ_OUTCOME_CANCELLED:
			return record_cancelled(attempt, error);
		case ATQ_OUTCOME_COMPLETED:
			break;
	}
	elog(ERROR, "task " INT64_FORMAT " has not failed", task->id);
	return false;
}

static bool
record_cancelled(const AtqAttempt *attempt, Jsonb *error)
{
	AtqCandidate candidate;
	AtqTask		task;
	bool		durable;

	if (!atq_storage_find(attempt->task.id, &durable, &candidate) ||
		atq_storage_take(durable, &candidate, NULL, &task) != ATQ_TAKE_DONE)
		return false;
	atq_storage_keep(&task, "cancelled", attempt->number,
					 attempt->max_attempts, attempt->started_at, NULL, error);
	return true;
}

static void
notify_handler(const AtqRunner *runner, const AtqAttempt *attempt,
			   Jsonb *error)
{
	MemoryContext context = CurrentMemoryContext;

	runner->begin();
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		AtqHandler *handler = atq_registry_handler(attempt->task.task);
		int			level = NewGUCNestLevel();

		if (handler != NULL && handler->on_failure != NULL &&
			handler->role == attempt->role)
		{
			arm_timeout(attempt, handler);
			atq_handler_on_failure(handler, atq_attempt_json(attempt), error);
		}
		if (runner->finish != NULL)
			runner->finish();
		atq_attempt_disarm();
		AtEOXact_GUC(false, level);
		runner->commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		roll_back(runner, "on_failure", attempt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/*
 * From PG_CATCH: logs the error, unless it is the caller's, and rolls back.
 */
static void
roll_back(const AtqRunner *runner, const char *what,
		  const AtqAttempt *attempt)
{
	ErrorData  *error = CopyErrorData();
	bool		timed_out = atq_attempt_timed_out() &&
		error->sqlerrcode == ERRCODE_QUERY_CANCELED;

	atq_attempt_disarm();
	if (!timed_out && runner->rethrow(error))
		atq_attempt_rethrow(runner, error);
	FlushErrorState();
	HOLD_INTERRUPTS();
	runner->abort();
	RESUME_INTERRUPTS();
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("%s of task " INT64_FORMAT ", handler \"%s\", failed: %s",
					what, attempt->task.id, attempt->task.task,
					error->message)));
}

static Jsonb *
error_json(const AtqAttempt *attempt, const ErrorData *failure, bool complete)
{
	JsonbParseState *state = NULL;
	const char *message = attempt->timed_out ?
		"task was stopped by its timeout" : failure->message;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	add_text(&state, "sqlstate", unpack_sql_state(failure->sqlerrcode));
	if (complete)
	{
		add_text(&state, "message", clean_text(message, MAX_MESSAGE_BYTES));
		add_text(&state, "detail",
				 clean_text(failure->detail, MAX_MESSAGE_BYTES));
		add_text(&state, "hint",
				 clean_text(failure->hint, MAX_MESSAGE_BYTES));
		add_text(&state, "context",
				 clean_text(failure->context, MAX_CONTEXT_BYTES));
	}
	add_int(&state, "attempt", attempt->number);
	add_time(&state, "failed_at", GetCurrentTimestamp());
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * At most max_bytes of a text, cut between characters; bytes that are no
 * valid text become question marks.  NULL stays NULL.
 */
static char *
clean_text(const char *text, int max_bytes)
{
	int			encoding = GetDatabaseEncoding();
	int			len;
	int			done = 0;
	char	   *copy;

	if (text == NULL)
		return NULL;
	/* enough for the last character to be seen whole */
	len = (int) strnlen(text, max_bytes + MAX_MULTIBYTE_CHAR_LEN);
	copy = palloc(max_bytes + 1);
	while (done < len && done < max_bytes)
	{
		int			n = pg_encoding_verifymbchar(encoding, text +done,
												 len - done);

		if (done + n > max_bytes)
			break;
		if (n > 0)
			memcpy(copy + done, text +done, n);
		else
			copy[done] = '?';
		done += Max(n, 1);
	}
	copy[done] = '\0';
	return copy;
}

static void
add_text(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v;

	add_key(state, key);
	v.type = value ? jbvString : jbvNull;
	if (value)
	{
		v.val.string.val = pstrdup(value);
		v.val.string.len = strlen(value);
	}
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
add_time(JsonbParseState **state, const char *key, TimestampTz value)
{
	char		buf[MAXDATELEN + 1];

	JsonEncodeDateTime(buf, TimestampTzGetDatum(value), TIMESTAMPTZOID, NULL);
	add_text(state, key, buf);
}

static void
add_int(JsonbParseState **state, const char *key, int64 value)
{
	JsonbValue	v;

	add_key(state, key);
	v.type = jbvNumeric;
	v.val.numeric = int64_to_numeric(value);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
add_key(JsonbParseState **state, const char *key)
{
	JsonbValue	k;

	k.type = jbvString;
	k.val.string.val = pstrdup(key);
	k.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &k);
}

Jsonb *
atq_attempt_json(const AtqAttempt *attempt)
{
	const AtqTask *task = &attempt->task;
	JsonbParseState *state = NULL;
	JsonbValue	args;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	add_int(&state, "id", task->id);
	add_text(&state, "task", task->task);
	add_text(&state, "queue", attempt->queue);
	add_int(&state, "priority", task->priority);
	add_int(&state, "attempt", attempt->number);
	add_int(&state, "max_attempts", attempt->max_attempts);
	add_text(&state, "correlation_id", task->correlation_id);
	add_time(&state, "dispatched_at", task->dispatched_at);
	add_key(&state, "args");
	JsonbToJsonbValue(atq_json_tagged(task->args), &args);
	pushJsonbValue(&state, WJB_VALUE, &args);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
