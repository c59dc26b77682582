/*-------------------------------------------------------------------------
 *
 * relkey.h
 *	  The key columns by which rows of a relation are referred to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_RELKEY_H
#define ATQ_STORE_RELKEY_H

#include "access/attnum.h"
#include "utils/relcache.h"

#include "store/registry.h"

#define ATQ_MAX_KEYS	32		/* INDEX_MAX_KEYS */

/*
 * The columns of a model's key, or of the primary key where the model (which
 * may be NULL) names none, in key order; returns their number, 0 when there
 * is no primary key.  Throws 42703 when a named column is gone.
 */
extern int	atq_relkey_columns(Relation rel, const AtqModel *model,
							   AttrNumber *columns);

#endif							/* ATQ_STORE_RELKEY_H */
