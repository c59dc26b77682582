/*-------------------------------------------------------------------------
 *
 * object.h
 *	  JSON objects as values for a model's columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_OBJECT_H
#define ATQ_QUERY_OBJECT_H

#include "nodes/bitmapset.h"

#include "query/field.h"

/* What an object is, which says what becomes of members that are no columns. */
typedef enum AtqObjectKind
{
	ATQ_OBJECT_VALUES,			/* values for a row: all must be columns */
	ATQ_OBJECT_ROW,				/* a row as it was read: relations back may be
								 * in it */
	ATQ_OBJECT_LOOKUPS			/* conditions: those other than a column's
								 * value are left out */
} AtqObjectKind;

/* Values by column, from 0; palloc'd. */
typedef struct AtqObject
{
	Bitmapset  *given;			/* the columns that have one */
	Datum	   *values;
	bool	   *nulls;			/* true too where none is given */
} AtqObject;

/*
 * Reads an object.  Members go by the names of columns, "pk" and forward
 * relations, whose values are a key or an object that has it.  Unless wanted
 * is NULL, all but these columns are left out, and unknown members too.
 * Throws 42703, what atq_field_value throws, and 22023 where a related object
 * lacks its key or a column is given different values.
 */
extern AtqObject *atq_object_read(const AtqQueryModel *model,
								  JsonbContainer *json, AtqObjectKind kind,
								  const Bitmapset *wanted);

/*
 * An object whose members that are related objects are replaced by their keys,
 * under the names of the columns.  Throws 22023 where it has such a column too.
 */
extern const Jsonb *atq_object_flatten(const AtqQueryModel *model,
									   const Jsonb *json);

/* Adds the values of another object, which go before those there are. */
extern void atq_object_merge(AtqObject *object, const AtqObject *other);

#endif							/* ATQ_QUERY_OBJECT_H */
