/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Kept plans of query sets' statements.
 *
 * The text of a query set's statement depends on its shape alone, so its plan
 * serves all query sets of that shape.  Of more than MAX_PLANS the one that was
 * used longest ago goes.
 *
 * A plan must not go while somebody runs it, and running it may run other
 * statements.  So whoever gets one uses it until the memory context that he
 * got it in is reset: SPI's own, of which SPI_finish and errors see to that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "query/run.h"

#define MAX_PLANS	200

typedef struct PlanKey
{
	const char *sql;
	int			nparams;
	const Oid  *types;
} PlanKey;

typedef struct KeptPlan
{
	PlanKey		key;			/* of the hash: first */
	SPIPlanPtr	plan;
	int			users;
	dlist_node	node;			/* in used */
} KeptPlan;

/* One use of a plan. */
typedef struct Use
{
	MemoryContextCallback callback;
	KeptPlan   *plan;
} Use;

static HTAB *plans = NULL;
static dlist_head used = DLIST_STATIC_INIT(used);	/* last used first */

static SPIPlanPtr prepare(const PlanKey *key);
static void make_table(void);
static uint32 hash_key(const void *key, Size size);
static int	compare_keys(const void *a, const void *b, Size size);
static KeptPlan *add_plan(const PlanKey *key);
static void make_room(void);
static void remove_plan(KeptPlan *plan);
static void use_plan(KeptPlan *plan);
static void end_use(void *arg);

SPIPlanPtr
atq_query_plan(const char *sql, int nparams, const Oid *types, bool guarded)
{
	PlanKey		key = {sql, nparams, types};
	KeptPlan   *plan;

	if (guarded)
		return prepare(&key);
	if (plans == NULL)
		make_table();
	plan = hash_search(plans, &key, HASH_FIND, NULL);
	if (plan == NULL)
		plan = add_plan(&key);
	dlist_move_head(&used, &plan->node);
	use_plan(plan);
	return plan->plan;
}

static SPIPlanPtr
prepare(const PlanKey *key)
{
	SPIPlanPtr	plan = SPI_prepare(key->sql, key->nparams,
								   (Oid *) key->types);

	if (plan == NULL)
		elog(ERROR, "could not prepare a query set's statement: %s",
			 SPI_result_code_string(SPI_result));
	return plan;
}

static void
make_table(void)
{
	HASHCTL		info = {
		.keysize = sizeof(PlanKey),
		.entrysize = sizeof(KeptPlan),
		.hash = hash_key,
		.match = compare_keys
	};

	plans = hash_create("asynctasq plans", 64, &info,
						HASH_ELEM | HASH_FUNCTION | HASH_COMPARE);
}

static uint32
hash_key(const void *key, Size size)
{
	const PlanKey *plan = key;
	uint32		hash = hash_bytes((const unsigned char *) plan->sql,
								  strlen(plan->sql));

	if (plan->nparams == 0)
		return hash;
	return hash_combine(hash,
						hash_bytes((const unsigned char *) plan->types,
								   plan->nparams * sizeof(Oid)));
}

/* 0 where they are the same. */
static int
compare_keys(const void *a, const void *b, Size size)
{
	const PlanKey *one = a;
	const PlanKey *other = b;

	return one->nparams != other->nparams ||
		strcmp(one->sql, other->sql) != 0 ||
		(one->nparams > 0 &&
		 memcmp(one->types, other->types, one->nparams * sizeof(Oid)) != 0);
}

static KeptPlan *
add_plan(const PlanKey *key)
{
	SPIPlanPtr	prepared = prepare(key);
	Size		size = key->nparams * sizeof(Oid);
	PlanKey		copy = *key;
	KeptPlan   *plan;

	make_room();
	copy.sql = MemoryContextStrdup(TopMemoryContext, key->sql);
	if (size > 0)
		copy.types = memcpy(MemoryContextAlloc(TopMemoryContext, size),
							key->types, size);
	SPI_keepplan(prepared);
	plan = hash_search(plans, &copy, HASH_ENTER, NULL);
	plan->plan = prepared;
	plan->users = 0;
	dlist_push_head(&used, &plan->node);
	return plan;
}

/* Those in use stay, and go at a later time. */
static void
make_room(void)
{
	dlist_node *node = dlist_is_empty(&used) ? NULL : dlist_tail_node(&used);

	while (node != NULL && hash_get_num_entries(plans) >= MAX_PLANS)
	{
		KeptPlan   *plan = dlist_container(KeptPlan, node, node);

		node = dlist_has_prev(&used, node) ? dlist_prev_node(&used, node) :
			NULL;
		if (plan->users == 0)
			remove_plan(plan);
	}
}

static void
remove_plan(KeptPlan *plan)
{
	PlanKey		key = plan->key;

	dlist_delete(&plan->node);
	SPI_freeplan(plan->plan);
	(void) hash_search(plans, &key, HASH_REMOVE, NULL);
	pfree(unconstify(char *, key.sql));
	if (key.nparams > 0)
		pfree(unconstify(Oid *, key.types));
}

static void
use_plan(KeptPlan *plan)
{
	Use		   *use = palloc(sizeof(Use));

	use->plan = plan;
	use->callback.func = end_use;
	use->callback.arg = use;
	plan->users++;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &use->callback);
}

static void
end_use(void *arg)
{
	((Use *) arg)->plan->users--;
}
