/*-------------------------------------------------------------------------
 *
 * trust.h
 *	  What code may run while the rows of a model are read or written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_TRUST_H
#define ATQ_STORE_TRUST_H

#include "store/registry.h"

/* Sets the planner's hook; from _PG_init. */
extern void atq_trust_init(void);

/*
 * True when the current user need not fear what is a model's, or its table's;
 * the model remembers for whom.
 */
extern bool atq_trust_model(AtqModel *model);

/* The same of any relation. */
extern bool atq_trust_relation(Oid relation);

/*
 * True when the current user may go by what a model says of a relation, or may
 * take its class for the relation's name: who registered it can act as the
 * relation's owner or as the user.
 */
extern bool atq_trust_registration(const AtqModel *model, Oid relation);

/*
 * Until the next call, functions that the current user has no reason to trust
 * throw 42501 instead of being called; NULL ends that.
 */
extern void atq_trust_guard(const AtqModel *model);

/* A function is about to be called: throws 42501 as said. */
extern void atq_trust_check_call(Oid function);

/* The model given last, to be given again. */
extern const AtqModel *atq_trust_guarded(void);

#endif							/* ATQ_STORE_TRUST_H */
