/*-------------------------------------------------------------------------
 *
 * result.c
 *	  Rows of query sets, with what is prefetched for them.
 *
 * A result is a tree: the rows of one statement, and for each relation that
 * is prefetched for them a part, which has its own rows and parts.  The tree is
 * read level by level: all that is asked of other servers on one level, of
 * several trees too, goes over the pool together.  JSON is made of it in the
 * end, when each row has all that belongs to it.
 *
 * Several trees are read apart in subtransactions: one for each step of each
 * tree, as between the steps others have theirs.  A tree that has failed takes
 * no further part.
 *
 * Memory: rows live in the result's context, which whoever made it resets;
 * what is made of the catalogs for a whole lives where the whole does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "query/remoterows.h"
#include "query/result.h"
#include "remote/pool.h"
#include "store/trust.h"
#include "wire/jsonbwrite.h"

/* A step of reading a result; what it adds to the list is to be read next. */
typedef void (*Step) (AtqResult *result, List **next);

static void set_query(AtqResult *result, const AtqQuery *query);
static void make_list(AtqResult *result, List **next);
static void read_levels(List *results, bool apart);
static void take_step(AtqResult *result, Step step, bool apart, List **next);
static void step_apart(AtqResult *result, Step step, List **next);
static void start(AtqResult *result, List **next);
static void finish(AtqResult *result, List **next);
static void add_parts(AtqResult *result, List **next);
static void add_part(AtqResult *whole, const AtqPrefetch *prefetch,
					 List **next);
static Datum join_values(const AtqResult *result,
						 const AtqPrefetch *prefetch, int key);
static void copy_row(AtqResult *result, const Datum *values,
					 const bool *nulls);
static void link_row(AtqResult *part);
static JsonbValue *push_row(const AtqResult *result, int row,
							JsonbParseState **state,
							JsonbIteratorToken token);
static void push_part(const AtqResult *part, int row,
					  JsonbParseState **state);

AtqResult *
atq_result_make(const AtqQuery *query, MemoryContext context)
{
	AtqResult  *result = palloc0(sizeof(AtqResult));

	result->context = context;
	result->root = result;
	set_query(result, query);
	return result;
}

AtqResult *
atq_result_make_later(const AtqQuerySet *set, MemoryContext context)
{
	AtqResult  *result = palloc0(sizeof(AtqResult));

	result->context = context;
	result->root = result;
	result->set = set;
	result->guarded = atq_trust_guarded();
	return result;
}

static void
set_query(AtqResult *result, const AtqQuery *query)
{
	int			n = query->ncolumns;

	result->query = query;
	result->guarded = atq_trust_guarded();
	result->columns = atq_output_prepare(n, query->column_types);
	result->lengths = palloc0(n * sizeof(int16));
	result->by_value = palloc0(n * sizeof(bool));
	for (int i = 0; i < n; i++)
		get_typlenbyval(query->column_types[i], &result->lengths[i],
						&result->by_value[i]);
}

void
atq_result_clear(AtqResult *result)
{
	result->nrows = result->max_rows = 0;
	result->rows = NULL;
	result->parts = NIL;
}

/* ---- reading ---- */

void
atq_result_complete(AtqResult *result)
{
	const AtqModel *guarded = atq_trust_guarded();
	List	   *parts = NIL;

	add_parts(result, &parts);
	read_levels(parts, false);
	atq_trust_guard(guarded);
}

void
atq_result_read(AtqResult *result)
{
	const AtqModel *guarded = atq_trust_guarded();

	read_levels(list_make1(result), false);
	atq_trust_guard(guarded);
}

void
atq_result_read_apart(List *results)
{
	const AtqModel *guarded = atq_trust_guarded();
	ListCell   *lc;

	read_levels(results, true);
	foreach(lc, results)
		take_step(lfirst(lc), make_list, true, NULL);
	atq_trust_guard(guarded);
}

static void
make_list(AtqResult *result, List **next)
{
	result->list = atq_result_list(result);
}

/* Local statements run in the first step of their level, remote ones between. */
static void
read_levels(List *results, bool apart)
{
	while (results != NIL)
	{
		AtqJob	  **jobs = palloc(list_length(results) * sizeof(AtqJob *));
		List	   *next = NIL;
		int			n = 0;
		ListCell   *lc;

		foreach(lc, results)
			take_step(lfirst(lc), start, apart, &next);
		foreach(lc, results)
		{
			AtqResult  *result = lfirst(lc);

			if (result->root->failure == NULL && result->job != NULL)
				jobs[n++] = result->job;
		}
		atq_job_run(jobs, n);
		foreach(lc, results)
			take_step(lfirst(lc), finish, apart, &next);
		results = next;
	}
}

static void
take_step(AtqResult *result, Step step, bool apart, List **next)
{
	MemoryContext old = MemoryContextSwitchTo(result->context);

	CHECK_FOR_INTERRUPTS();
	atq_trust_guard(result->guarded);
	if (!apart)
		step(result, next);
	else if (result->root->failure == NULL)
		step_apart(result, step, next);
	MemoryContextSwitchTo(old);
}

static void
step_apart(AtqResult *result, Step step, List **next)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(result, next);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		result->root->failure = atq_failure_make(error->sqlerrcode,
												 error->detail, "%s",
												 error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* Runs a local statement, readies a remote one. */
static void
start(AtqResult *result, List **next)
{
	if (result->query == NULL)
		set_query(result, atq_query_compile(result->set, ATQ_QUERY_OBJECTS));
	if (result->query->server == NULL)
		atq_query_run(result->query, atq_result_add, result);
	else
		result->job = atq_remoterows_job(result->query);
}

/* Takes the rows of a remote one. */
static void
finish(AtqResult *result, List **next)
{
	if (result->job != NULL)
	{
		if (result->job->failure != NULL)
			atq_failure_throw(result->job->failure, result->query->server);
		(void) atq_remoterows_give(result->job->arg, atq_result_add, result);
	}
	add_parts(result, next);
}

/* ---- prefetched relations ---- */

static void
add_parts(AtqResult *result, List **next)
{
	MemoryContext old = MemoryContextSwitchTo(result->context);
	ListCell   *lc;

	if (result->nrows > 0)
	{
		foreach(lc, result->query->prefetches)
			add_part(result, lfirst(lc), next);
	}
	MemoryContextSwitchTo(old);
}

static void
add_part(AtqResult *whole, const AtqPrefetch *prefetch, List **next)
{
	Datum		arrays[ATQ_MAX_KEYS];
	AtqResult  *part;

	for (int i = 0; i < prefetch->relation->nkeys; i++)
		arrays[i] = join_values(whole, prefetch, i);
	atq_trust_guard(whole->guarded);
	part = atq_result_make(atq_query_prefetch(whole->query, prefetch, arrays),
						   whole->context);
	part->whole = whole;
	part->root = whole->root;
	part->prefetch = prefetch;
	part->first = palloc(whole->nrows * sizeof(int));
	part->last = palloc(whole->nrows * sizeof(int));
	for (int i = 0; i < whole->nrows; i++)
		part->first[i] = part->last[i] = -1;
	whole->parts = lappend(whole->parts, part);
	*next = lappend(*next, part);
}

/* What the rows are joined by, as an array in their order. */
static Datum
join_values(const AtqResult *result, const AtqPrefetch *prefetch, int key)
{
	Datum	   *values = palloc(result->nrows * sizeof(Datum));
	bool	   *nulls = palloc(result->nrows * sizeof(bool));
	int			column = prefetch->columns[key];
	int			lower_bound = 1;
	int16		length;
	bool		by_value;
	char		align;

	for (int i = 0; i < result->nrows; i++)
	{
		values[i] = result->rows[i].values[column];
		nulls[i] = result->rows[i].nulls[column];
	}
	get_typlenbyvalalign(prefetch->types[key], &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(values, nulls, 1,
											  (int *) &result->nrows,
											  &lower_bound,
											  prefetch->types[key], length,
											  by_value, align));
}

/* ---- rows ---- */

bool
atq_result_add(const Datum *values, const bool *nulls, void *arg)
{
	AtqResult  *result = arg;
	MemoryContext old = MemoryContextSwitchTo(result->context);

	if (result->nrows == result->max_rows)
	{
		bool		first = result->max_rows == 0;

		result->max_rows = first ? 64 : 2 * result->max_rows;
		result->rows = first ?
			palloc(result->max_rows * sizeof(AtqResultRow)) :
			repalloc_huge(result->rows,
						  result->max_rows * sizeof(AtqResultRow));
	}
	copy_row(result, values, nulls);
	if (result->whole != NULL)
		link_row(result);
	result->nrows++;
	MemoryContextSwitchTo(old);
	return true;
}

static void
copy_row(AtqResult *result, const Datum *values, const bool *nulls)
{
	AtqResultRow *row = &result->rows[result->nrows];
	int			n = result->query->ncolumns;

	row->next = -1;
	row->values = palloc(n * sizeof(Datum));
	row->nulls = palloc(n * sizeof(bool));
	memcpy(row->nulls, nulls, n * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			row->values[i] = (Datum) 0;
		else if (result->lengths[i] == -1)
			row->values[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[i]));
		else
			row->values[i] = datumCopy(values[i], result->by_value[i],
									   result->lengths[i]);
	}
}

/* Appends the row to those of its row in the whole. */
static void
link_row(AtqResult *part)
{
	int64		number = DatumGetInt64(part->rows[part->nrows].values[part->query->ncolumns - 1]);
	int			of;

	if (number < 1 || number > part->whole->nrows)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("server \"%s\" answers with a row that was not asked for",
						part->query->server)));
	of = number - 1;
	if (part->last[of] < 0)
		part->first[of] = part->nrows;
	else
		part->rows[part->last[of]].next = part->nrows;
	part->last[of] = part->nrows;
}

/* ---- JSON ---- */

Jsonb *
atq_result_json(const AtqResult *result, const Datum *values,
				const bool *nulls)
{
	JsonbParseState *state = NULL;

	return atq_jsonb_make(atq_output_push(result->columns,
										  result->query->output, &state,
										  WJB_VALUE, values, nulls));
}

Jsonb *
atq_result_row(const AtqResult *result, int row)
{
	JsonbParseState *state = NULL;

	return atq_jsonb_make(push_row(result, row, &state, WJB_VALUE));
}

Jsonb *
atq_result_list(const AtqResult *result)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < result->nrows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) push_row(result, i, &state, WJB_ELEM);
	}
	return atq_jsonb_make(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* Only objects have prefetched relations. */
static JsonbValue *
push_row(const AtqResult *result, int row, JsonbParseState **state,
		 JsonbIteratorToken token)
{
	const AtqResultRow *values = &result->rows[row];
	ListCell   *lc;

	check_stack_depth();
	if (result->parts == NIL)
		return atq_output_push(result->columns, result->query->output, state,
							   token, values->values, values->nulls);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	atq_output_push_members(result->columns, result->query->output, state,
							values->values, values->nulls);
	foreach(lc, result->parts)
		push_part(lfirst(lc), row, state);
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* The list of what a relation leads to, or the one object, or null. */
static void
push_part(const AtqResult *part, int row, JsonbParseState **state)
{
	atq_output_push_key(state, part->prefetch->relation->name);
	if (part->prefetch->relation->many)
	{
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		for (int i = part->first[row]; i >= 0; i = part->rows[i].next)
			(void) push_row(part, i, state, WJB_ELEM);
		pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	else if (part->first[row] >= 0)
		(void) push_row(part, part->first[row], state, WJB_VALUE);
	else
	{
		JsonbValue	null = {.type = jbvNull};

		pushJsonbValue(state, WJB_VALUE, &null);
	}
}
