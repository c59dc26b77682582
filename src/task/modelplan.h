/*-------------------------------------------------------------------------
 *
 * modelplan.h
 *	  How the rows of a model are read: its key, names and statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_MODELPLAN_H
#define ATQ_TASK_MODELPLAN_H

#include "executor/spi.h"
#include "remote/rows.h"
#include "store/relkey.h"
#include "task/keyread.h"
#include "wire/datum.h"

/* Owned by the registry's context, as its model is. */
typedef struct AtqModelPlan
{
	Oid			row_type;
	int			nkeys;
	AtqTypeInfo *types[ATQ_MAX_KEYS];
	Oid			array_types[ATQ_MAX_KEYS];
	char	   *table;			/* qualified and quoted, as are the others */
	char	   *by_key;			/* the key equals $1, $2, ... */
	char	   *by_join;		/* the key equals that of asynctasq_key */
	char	   *order;			/* of locking: the key's columns */
	AtqKeyReader *reader;		/* or NULL */
	AtqRemoteTable *remote;		/* of a model on another server */
	SPIPlanPtr	one[ATQ_NLOCKS];
	SPIPlanPtr	many[ATQ_NLOCKS];
	MemoryContextCallback callback;
} AtqModelPlan;

/*
 * The model's plan, made when it is first asked for.  The relation is locked;
 * where it is gone all the same, or has no key, this throws.
 */
extern AtqModelPlan *atq_modelplan_get(AtqModel *model);

/* SELECT of the row with the key $1, $2, ...; palloc'd. */
extern char *atq_modelplan_one(const AtqModelPlan *plan, AtqRowLock lock);

/*
 * SELECT of the ordinal numbers and the rows of keys in the arrays $1, $2, ...;
 * palloc'd.
 */
extern char *atq_modelplan_many(const AtqModelPlan *plan, AtqRowLock lock);

#endif							/* ATQ_TASK_MODELPLAN_H */
