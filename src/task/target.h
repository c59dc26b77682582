/*-------------------------------------------------------------------------
 *
 * target.h
 *	  What a resolution has noted: models, and the keys of their rows.
 *
 * For resolve.c, which reads the rows that are here, and elsewhere.c, which
 * reads those on other servers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_TARGET_H
#define ATQ_TASK_TARGET_H

#include "utils/hsearch.h"

#include "task/modelplan.h"
#include "task/resolve.h"

/* Rows that one query reads at most. */
#define ATQ_MAX_CHUNK	10000

/* Rows of a model up to which no index of entries, and no query, is worth it. */
#define ATQ_FEW_ROWS	8

typedef struct AtqTarget
{
	const char *orm;
	char	   *class_name;
	AtqModel   *model;
	uint64		generation;		/* of the registry, when it was looked up */
	AtqModelPlan *plan;
	bool		guarded;		/* see trust.h */
	List	   *entries;
	HTAB	   *index;			/* of the entries, if they are many */
	List	   *missing;		/* entries to be fetched from another server */
	List	   *answers;		/* asked for ahead: for ATQ_MAX_CHUNK entries
								 * each */
} AtqTarget;

typedef struct AtqEntry
{
	AtqSpan		key;
	int			number;			/* in its target's entries */
	AtqResolution *ahead;		/* where the row may be, or NULL .. */
	AtqRowsAnswer *answer;		/* .. what has been asked there, or NULL .. */
	int			place;			/* .. and the key's number in that */
	bool		found;
	Datum		row;
} AtqEntry;

struct AtqResolution
{
	AtqRowLock	lock;
	bool		required;		/* a missing row is an error */
	bool		later;			/* rows are of later snapshots than the one
								 * that it leaves active */
	bool		is_ahead;
	int64		asked_at;		/* of one ahead */
	AtqResolution *offered;		/* for what is being noted, or NULL */
	List	   *targets;
	MemoryContext context;
	AtqResolver resolver;
};

/*
 * The target of a reference's model; unless create, NULL where there is none.
 * Throws 42704 where the model is not registered.
 */
extern AtqTarget *atq_target_find(AtqResolution *resolution,
								  const AtqReference *reference, bool create);

/* One that belongs to no resolution. */
extern AtqTarget *atq_target_make(const AtqReference *reference);

/* The entry of a key, or NULL. */
extern AtqEntry *atq_target_entry(const AtqTarget *target, AtqSpan key);

extern void atq_target_add(AtqResolution *resolution, AtqTarget *target,
						   AtqSpan key);

/*
 * Waits for whoever changes the model's relation, and takes the model as it
 * is then.  SELECT takes the same lock.  False where that takes a wait which
 * is not wanted.
 */
extern bool atq_target_lock(AtqTarget *target, bool wait);

/* Throws 40001 where the lock's wait has seen the model move. */
extern void atq_target_check_place(const AtqTarget *target, bool elsewhere);

/* The key's values in the types of the key's columns. */
extern void atq_target_read_keys(const AtqTarget *target, AtqSpan key,
								 Datum *values);

/* Those of n entries, beginning with the first: an array for each column. */
extern Datum *atq_target_key_arrays(const AtqTarget *target, List *entries,
									int first, int n);

/* Throws P0003. */
extern void atq_target_refuse_ambiguous(const AtqTarget *target,
										AtqSpan key) atq_noreturn;

/* A key for a message. */
extern char *atq_target_key_text(AtqSpan key);

/* Reads the rows of targets on other servers (elsewhere.c). */
extern void atq_elsewhere_fetch(AtqResolution *resolution, List *targets);

#endif							/* ATQ_TASK_TARGET_H */
