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
#include "lib/stringinfo.h"
#include "utils/relcache.h"

#include "store/registry.h"

#define ATQ_MAX_KEYS	32		/* INDEX_MAX_KEYS */

/*
 * The columns of a model's key, or of the primary key where the model (which
 * may be NULL) names none, in key order; returns their number, 0 when there
 * is no primary key.  Throws 42703 when a named column is gone, 42P10 when
 * it is a system column.
 */
extern int	atq_relkey_columns(Relation rel, const AtqModel *model,
							   AttrNumber *columns);

/*
 * The primary key of a relation that is no registered model; 0 too when no
 * reference by it can be made.
 */
extern int	atq_relkey_unregistered(Relation rel, AttrNumber *columns);

/* Throws 42809 where rows of such a relation cannot be referred to. */
extern void atq_relkey_check_kind(Relation rel);

/*
 * True where the current user may use a relation's schema, as a statement that
 * names the relation asks when it is parsed, and not when a kept plan runs.
 */
extern bool atq_relkey_may_name(Oid relation);

/* Throws 42501 where not. */
extern void atq_relkey_check_schema(Oid relation);

/*
 * The type of a key column, below any domain.  Throws 42P16 where it cannot
 * be a key: it is no scalar, or has no equality operator.
 */
extern Oid	atq_relkey_type(Relation rel, AttrNumber column);

/*
 * Appends "row.column = value", where row is an alias of the relation, by the
 * equality operator of the column's type, which atq_relkey_type has found to
 * be there.  value is of that type.
 */
extern void atq_relkey_equals(StringInfo sql, Relation rel,
							  AttrNumber column, const char *row,
							  const char *value);

/*
 * Appends a row's key as a reference carries it: a value, or an array where it
 * has several columns.  Throws 22004 where one is NULL.
 */
extern void atq_relkey_pack(StringInfo buf, Relation rel, int nkeys,
							const AttrNumber *columns, const Datum *values,
							const bool *nulls);

/* Schema and name, quoted; palloc'd. */
extern char *atq_relkey_name(Relation rel);

#endif							/* ATQ_STORE_RELKEY_H */
