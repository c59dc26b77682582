/*-------------------------------------------------------------------------
 *
 * elsewhere.c
 *	  From references to rows of other servers.
 *
 * The rows of all models are read by one query each, all under way at the same
 * time (remote/rows.c), as the current user, who must have a reason to trust
 * the model: its rights on the other server are used.
 *
 * They may have been asked for ahead of the task, by a resolution of its own
 * (prefetch.c).  What is found there is an answer to the same question, or is
 * not used; see atq_rows_same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"

#include "base/clock.h"
#include "base/guc.h"
#include "store/trust.h"
#include "task/target.h"

uint64		atq_resolve_fetches = 0;

static void check_target(const AtqResolution *resolution,
						 AtqTarget *target);
static void take_ahead(List *targets);
static void find_answers(AtqTarget *target, List **jobs);
static AtqRowsAnswer *find_answer(const AtqTarget *target, AtqEntry *entry);
static void wait_for_answers(List *jobs);
static void take_entry(const AtqTarget *target, AtqEntry *entry);
static int	list_missing(AtqTarget *target);
static bool may_ask(AtqTarget *target);
static void request_rows(AtqTarget *target, List *entries, int first,
						 AtqRowsRequest *request);
static void keep_rows(AtqTarget *target, int first,
					  const AtqRowsRequest *request);

/* One query for each model, all under way at the same time. */
void
atq_elsewhere_fetch(AtqResolution *resolution, List *targets)
{
	AtqRowsRequest *requests;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, targets)
		check_target(resolution, lfirst(lc));
	take_ahead(targets);
	foreach(lc, targets)
		n += list_missing(lfirst(lc));
	if (n == 0)
		return;
	requests = palloc0(n * sizeof(AtqRowsRequest));
	n = 0;
	foreach(lc, targets)
	{
		AtqTarget  *target = lfirst(lc);

		for (int first = 0; first < list_length(target->missing);
			 first += ATQ_MAX_CHUNK)
			request_rows(target, target->missing, first, &requests[n++]);
	}
	atq_rows_fetch(requests, n);
	atq_resolve_fetches++;
	n = 0;
	foreach(lc, targets)
	{
		AtqTarget  *target = lfirst(lc);

		for (int first = 0; first < list_length(target->missing);
			 first += ATQ_MAX_CHUNK)
			keep_rows(target, first, &requests[n++]);
	}
}

static void
check_target(const AtqResolution *resolution, AtqTarget *target)
{
	if (resolution->lock != ATQ_LOCK_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("rows of model \"%s\" cannot be locked",
						target->model->class_name),
				 errdetail("They are on server \"%s\".",
						   target->model->server)));
	(void) atq_target_lock(target, true);
	atq_target_check_place(target, true);
	if (!atq_trust_model(target->model))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for model \"%s\"",
						target->model->class_name),
				 errdetail("Neither who has registered it nor the owner of its relation may act as role \"%s\", whose rights on server \"%s\" it would use.",
						   GetUserNameFromId(GetUserId(), false),
						   target->model->server)));
	target->plan = atq_modelplan_get(target->model);
}

/* Lists the entries that are still to be fetched; in how many queries. */
static int
list_missing(AtqTarget *target)
{
	ListCell   *lc;

	foreach(lc, target->entries)
	{
		if (!((AtqEntry *) lfirst(lc))->found)
			target->missing = lappend(target->missing, lfirst(lc));
	}
	return (list_length(target->missing) + ATQ_MAX_CHUNK - 1) / ATQ_MAX_CHUNK;
}

/*
 * Takes rows that were asked for ahead, and waits for such answers as are
 * under way.  A row that was not there is looked for again: by the time that
 * the task has begun it may be.
 */
static void
take_ahead(List *targets)
{
	List	   *jobs = NIL;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, targets)
		find_answers(lfirst(lc), &jobs);
	if (jobs != NIL)
		wait_for_answers(jobs);
	foreach(lc, targets)
	{
		foreach(lc2, ((AtqTarget *) lfirst(lc))->entries)
			take_entry(lfirst(lc), lfirst(lc2));
	}
}

/* Of each entry, and the jobs of those that are under way. */
static void
find_answers(AtqTarget *target, List **jobs)
{
	AtqRowsAnswer *last = NULL;
	bool		same = false;
	ListCell   *lc;

	foreach(lc, target->entries)
	{
		AtqEntry   *entry = lfirst(lc);
		AtqRowsAnswer *answer = find_answer(target, entry);

		if (answer == NULL)
			continue;
		if (answer != last)
			same = atq_rows_same(answer, target->plan->remote,
								 target->model->server);
		last = answer;
		if (!same)
			continue;
		entry->answer = answer;
		if (atq_job_is_under_way(answer->job))
			*jobs = list_append_unique_ptr(*jobs, answer->job);
	}
}

/* What was asked for the entry's key, if it is not too old; or NULL. */
static AtqRowsAnswer *
find_answer(const AtqTarget *target, AtqEntry *entry)
{
	AtqReference reference = {0};
	AtqTarget  *asked;
	AtqEntry   *found;

	if (entry->ahead == NULL || atq_resolve_is_old(entry->ahead))
		return NULL;
	reference.orm = target->orm;
	reference.class_name.data = target->class_name;
	reference.class_name.len = strlen(target->class_name);
	asked = atq_target_find(entry->ahead, &reference, false);
	found = asked ? atq_target_entry(asked, entry->key) : NULL;
	if (found == NULL || asked->answers == NIL)
		return NULL;
	entry->place = found->number % ATQ_MAX_CHUNK;
	return list_nth(asked->answers, found->number / ATQ_MAX_CHUNK);
}

/* Rows that come later than this would be too old. */
static void
wait_for_answers(List *jobs)
{
	AtqJob	  **array = palloc(list_length(jobs) * sizeof(AtqJob *));
	int			ms = atq_fetch_max_age_ms;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, jobs)
		array[n++] = lfirst(lc);
	if (atq_fetch_timeout_ms > 0)
		ms = Min(ms, atq_fetch_timeout_ms);
	atq_job_run_for(array, n, ms);
}

static void
take_entry(const AtqTarget *target, AtqEntry *entry)
{
	AtqRowsAnswer *answer = entry->answer;

	if (answer == NULL || answer->job->state != ATQ_JOB_DONE ||
		answer->job->failure != NULL || answer->ambiguous ||
		answer->rows[entry->place] == NULL)
		return;
	entry->row = atq_rows_read(answer, entry->place, target->plan->remote);
	entry->found = true;
}

bool
atq_resolve_is_old(const AtqResolution *ahead)
{
	return atq_clock_now() >= atq_clock_after(ahead->asked_at,
											  atq_fetch_max_age_ms);
}

bool
atq_resolve_ask(AtqResolution *ahead)
{
	bool		noted = false;
	ListCell   *lc;

	ahead->asked_at = atq_clock_now();
	foreach(lc, ahead->targets)
	{
		AtqTarget  *target = lfirst(lc);

		noted |= target->entries != NIL;
		if (!may_ask(target))
			continue;
		for (int first = 0; first < list_length(target->entries);
			 first += ATQ_MAX_CHUNK)
		{
			AtqRowsRequest request = {0};
			AtqRowsAnswer *answer;

			request_rows(target, target->entries, first, &request);
			answer = atq_rows_ask(&request);
			target->answers = lappend(target->answers, answer);
			(void) atq_job_send_ahead(answer->job);
		}
	}
	return noted;
}

/*
 * Nothing that a task would not do, and nothing that could take time: no
 * waiting for locks, and no keys whose types are not the server's own.
 */
static bool
may_ask(AtqTarget *target)
{
	if (target->entries == NIL || !atq_target_lock(target, false) ||
		target->model->server == NULL || !atq_trust_model(target->model))
		return false;
	target->plan = atq_modelplan_get(target->model);
	for (int i = 0; i < target->plan->nkeys; i++)
	{
		if (target->plan->types[i]->type >= FirstUnpinnedObjectId)
			return false;
	}
	return true;
}

void
atq_resolve_look(const AtqResolution *ahead, AtqAheadState *state)
{
	ListCell   *lc;
	ListCell   *lc2;

	memset(state, 0, sizeof(AtqAheadState));
	foreach(lc, ahead->targets)
	{
		foreach(lc2, ((AtqTarget *) lfirst(lc))->answers)
		{
			const AtqJob *job = ((AtqRowsAnswer *) lfirst(lc2))->job;

			state->under_way |= atq_job_is_under_way(job);
			state->failed |= job->failure != NULL;
			state->bytes += job->bytes;
		}
	}
}

void
atq_resolve_forget(AtqResolution *ahead)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, ahead->targets)
	{
		foreach(lc2, ((AtqTarget *) lfirst(lc))->answers)
		{
			AtqJob	   *job = ((AtqRowsAnswer *) lfirst(lc2))->job;

			if (atq_job_is_under_way(job))
				atq_job_forget(job);
		}
	}
}

static void
request_rows(AtqTarget *target, List *entries, int first,
			 AtqRowsRequest *request)
{
	request->table = target->plan->remote;
	request->server = target->model->server;
	request->n = Min(list_length(entries) - first, ATQ_MAX_CHUNK);
	request->keys = atq_target_key_arrays(target, entries, first, request->n);
}

static void
keep_rows(AtqTarget *target, int first, const AtqRowsRequest *request)
{
	if (request->ambiguous)
		atq_target_refuse_ambiguous(target,
									((AtqEntry *) list_nth(target->missing,
														   first + request->ambiguous_key))->key);
	for (int i = 0; i < request->n; i++)
	{
		AtqEntry   *entry = list_nth(target->missing, first + i);

		entry->found = request->found[i];
		entry->row = request->rows[i];
	}
}
