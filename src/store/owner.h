/*-------------------------------------------------------------------------
 *
 * owner.h
 *	  Nobody but their owner writes our tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_OWNER_H
#define ATQ_STORE_OWNER_H

#include "utils/relcache.h"

/* Throws unless the current user has the rights of the relation's owner. */
extern void atq_owner_check(Relation rel);

/*
 * Has those of our triggers fire always that are enabled in the way in which
 * others are.
 */
extern void atq_owner_enable_triggers(void);

#endif							/* ATQ_STORE_OWNER_H */
