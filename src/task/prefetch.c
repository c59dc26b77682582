/*-------------------------------------------------------------------------
 *
 * prefetch.c
 *	  Rows of other servers, asked for before their tasks begin.
 *
 * A worker has claimed tasks that it will run one after the other.  Where they
 * refer to rows of other servers it looks at them ahead, sends one query for
 * each model of all of them, and begins the first.  The first task that needs
 * one of the answers waits for it, as it would have waited for a query of its
 * own; for the others the rows are there then, or in the socket.
 *
 * There are two windows of tasks: the one that is being run, and the one
 * behind it, whose queries are sent before the first begins.
 *
 * What a task may take from a window: rows that were asked for on its own
 * account, hence after its dispatch had been committed (a window lasts no
 * longer than the claim, which has seen all of its tasks); less than
 * asynctasq.fetch_max_age before it looks for them; by the very question that
 * it would ask now, as the same user and with the same options of the server
 * (atq_rows_same), none of this process's own writes in between.  All that a
 * task does to read a row for itself it does all the same, but for the query.
 *
 * Nobody's error: what goes wrong while tasks are looked at is thrown away,
 * the transaction is rolled back, and half as many are tried; at last the task
 * itself will run into it, and looking ahead begins anew with the next one that
 * has to wait.  What a server answers wrongly, or too late, makes
 * the tasks ask for themselves, and is not tried for a while.  No code of
 * users runs: keys of types that are not the server's own are left to the
 * tasks.
 *
 * It costs nothing where no task refers to another server: it begins with the
 * first task that had to wait for one, and ends with a window that needs none.
 *
 * Memory: each window has a context, "asynctasq prefetch", from when it is
 * filled until its tasks have been run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/guc.h"
#include "task/handler.h"
#include "task/prefetch.h"

/* Tasks of a window, unless a batch has more. */
#define WINDOW_TASKS	100

/* Arguments of a window's tasks, and what its answers should have at most. */
#define WINDOW_BYTES	(1024 * 1024)

/* How long not to try again after a failure, and after many. */
#define PAUSE_MIN_MS	1000
#define PAUSE_MAX_MS	60000

typedef struct Window
{
	MemoryContext context;		/* NULL: there is no such window */
	AtqResolution *ahead;
	int64		first;			/* candidates that were looked at: their ids */
	int64		last;
	int			ntasks;			/* of them that were there */
	bool		empty;			/* they refer to no other server */
} Window;

/* The window whose tasks are run, and the next one. */
static Window windows[2];

static bool on = false;
static uint64 fetches = 0;		/* as of atq_resolve_fetches */
static int64 not_before = 0;
static int	pause_ms = 0;
static Size task_bytes = 0;		/* of answers, for each task of a window */

static bool is_wanted(void);
static bool contains(const Window *window, int64 id);
static bool go_on(int64 id);
static void fill(const AtqRunner *runner, Window *window, bool durable,
				 const AtqCandidate *candidates, int n, int batch);
static bool try_to_fill(const AtqRunner *runner, Window *window,
						bool durable, const AtqCandidate *candidates, int n);
static void collect(Window *window, bool durable,
					const AtqCandidate *candidates, int n);
static void end_window(Window *window);
static void pause_for_failure(void);

void
atq_prefetch_ask(const AtqRunner *runner, bool durable,
				 const AtqCandidate *candidates, int n, int batch)
{
	if (!is_wanted())
		return;
	if (!go_on(candidates[0].id))
	{
		atq_prefetch_forget();
		if (n > 1 && is_wanted())
			fill(runner, &windows[0], durable, candidates, n, batch);
	}
	if (windows[0].context == NULL || windows[0].empty ||
		windows[1].context != NULL)
		return;
	while (n > 0 && contains(&windows[0], candidates[0].id))
	{
		candidates++;
		n--;
	}
	if (n > 0)
		fill(runner, &windows[1], durable, candidates, n, batch);
}

static bool
is_wanted(void)
{
	if (fetches != atq_resolve_fetches)
		on = true;
	fetches = atq_resolve_fetches;
	return on && atq_fetch_max_age_ms > 0 &&
		atq_clock_now() >= not_before;
}

bool
atq_prefetch_is_on(void)
{
	return is_wanted();
}

static bool
contains(const Window *window, int64 id)
{
	return window->context != NULL && id >= window->first &&
		id <= window->last;
}

/*
 * Makes the window that a task is in the first one; false where it is in none,
 * or in one that is too old.
 */
static bool
go_on(int64 id)
{
	if (contains(&windows[1], id))
	{
		AtqAheadState state;

		atq_resolve_look(windows[0].ahead, &state);
		if (state.under_way)
			return false;
		end_window(&windows[0]);
		windows[0] = windows[1];
		memset(&windows[1], 0, sizeof(Window));
	}
	return contains(&windows[0], id) &&
		(windows[0].empty || !atq_resolve_is_old(windows[0].ahead));
}

static void
fill(const AtqRunner *runner, Window *window, bool durable,
	 const AtqCandidate *candidates, int n, int batch)
{
	n = Min(n, Max(batch, WINDOW_TASKS));
	if (task_bytes > 0)
		n = Min(n, Max(1, WINDOW_BYTES / task_bytes));
	for (; n > 0; n /= 2)
	{
		if (try_to_fill(runner, window, durable, candidates, n))
		{
			on = !window->empty;
			return;
		}
	}
	on = false;
}

static bool
try_to_fill(const AtqRunner *runner, Window *window, bool durable,
			const AtqCandidate *candidates, int n)
{
	MemoryContext old = CurrentMemoryContext;
	bool		kept;
	volatile bool ok = false;

	window->context = AllocSetContextCreate(TopMemoryContext,
											"asynctasq prefetch",
											ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(window->context);
	window->ahead = atq_resolve_begin_ahead();
	runner->begin();
	kept = atq_registry_keep(true);
	PG_TRY();
	{
		MemoryContextSwitchTo(window->context);
		PushActiveSnapshot(GetTransactionSnapshot());
		collect(window, durable, candidates, n);
		window->empty = !atq_resolve_ask(window->ahead);
		PopActiveSnapshot();
		runner->commit();
		ok = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(window->context);
		HOLD_INTERRUPTS();
		FlushErrorState();
		runner->abort();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	(void) atq_registry_keep(kept);
	MemoryContextSwitchTo(old);
	if (!ok)
		end_window(window);
	return ok;
}

/* Notes what each task refers to. */
static void
collect(Window *window, bool durable, const AtqCandidate *candidates, int n)
{
	Size		bytes = 0;

	window->first = candidates[0].id;
	for (int i = 0; i < n && bytes <= WINDOW_BYTES; i++)
	{
		AtqTask		task = {0};
		AtqHandler *handler;

		CHECK_FOR_INTERRUPTS();
		window->last = candidates[i].id;
		if (!atq_storage_peek(durable, &candidates[i], &task))
			continue;
		window->ntasks++;
		bytes += task.args.len;
		handler = atq_registry_handler(task.task);
		if (handler != NULL && handler->role == GetUserId())
			atq_handler_note(handler, &task, window->ahead);
	}
}

AtqResolution *
atq_prefetch_of(int64 task_id)
{
	for (int i = 0; i < lengthof(windows); i++)
	{
		if (contains(&windows[i], task_id))
			return windows[i].ahead;
	}
	return NULL;
}

void
atq_prefetch_forget(void)
{
	for (int i = 0; i < lengthof(windows); i++)
		end_window(&windows[i]);
}

/* Notes how it went. */
static void
end_window(Window *window)
{
	AtqAheadState state;

	if (window->context == NULL)
		return;
	atq_resolve_look(window->ahead, &state);
	if (state.failed)
		pause_for_failure();
	else if (state.bytes > 0)
	{
		task_bytes = state.bytes / window->ntasks;
		pause_ms = 0;
	}
	atq_resolve_forget(window->ahead);
	MemoryContextDelete(window->context);
	memset(window, 0, sizeof(Window));
}

static void
pause_for_failure(void)
{
	pause_ms = Min(Max(pause_ms * 2, PAUSE_MIN_MS), PAUSE_MAX_MS);
	not_before = atq_clock_after(atq_clock_now(), pause_ms);
}
