/*-------------------------------------------------------------------------
 *
 * model.h
 *	  The model of a query set, ready to be used.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_MODEL_H
#define ATQ_QUERY_MODEL_H

#include "fmgr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#include "store/relkey.h"

typedef struct AtqQueryModel
{
	const AtqModel *model;
	Relation	rel;			/* open until closed, locked until the
								 * transaction ends */
	int			nkeys;			/* 0: no key */
	AttrNumber	keys[ATQ_MAX_KEYS];
	bool		guarded;		/* the guard is on: see store/trust.h */
} AtqQueryModel;

/*
 * Looks the class up and locks its relation; orm NULL: in whichever ORM has
 * it.  Throws 42704 (with the nearest class as a hint) where there is none,
 * 42725 where several ORMs have it.  Turns the guard on where it must be.
 * Only below atq_query_call.  The caller closes it, except when it throws.
 */
extern AtqQueryModel *atq_query_model_open(const char *orm,
										   const char *class_name,
										   LOCKMODE lock);

/* Closes the relation; its lock stays. */
extern void atq_query_model_close(AtqQueryModel *model);

/*
 * Calls body with the registry kept, and the guard put back afterwards: every
 * SQL function that opens a model does its work so.
 */
extern Datum atq_query_call(PGFunction body, FunctionCallInfo fcinfo);

/* Defines such a function. */
#define ATQ_QUERY_FUNCTION(name, body) \
PG_FUNCTION_INFO_V1(name); \
\
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	return atq_query_call(body, fcinfo); \
} \
\
extern int no_such_variable

#endif							/* ATQ_QUERY_MODEL_H */
