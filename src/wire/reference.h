/*-------------------------------------------------------------------------
 *
 * reference.h
 *	  References to ORM objects as they stand in MessagePack.
 *
 * A reference to a row is a map of an ORM's marker with the key,
 * "__orm_class__" and optionally "__orm_class_file__" (ignored), or Tortoise's
 * lazy proxy; one to the rows of a query set is a map of the marker
 * "__orm_queryset__" with the query set's JSON.  See docs/wire.md.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_REFERENCE_H
#define ATQ_WIRE_REFERENCE_H

#include "utils/jsonb.h"

#include "wire/msgpack.h"

typedef struct AtqReference
{
	const char *orm;			/* "sqlalchemy", "django", "tortoise",
								 * "postgres": static strings */
	AtqSpan		class_name;		/* text, not NUL-terminated */
	AtqSpan		key;			/* the key's whole value; composite keys are
								 * arrays */
	AtqSpan		set;			/* of a query set, which has nothing of the
								 * above: its JSON as a map; else no data */
	AtqSpan		whole;			/* the map itself */
} AtqReference;

typedef void (*AtqReferenceVisitor) (const AtqReference *reference, void *arg);

/* True when the value is a reference; fills *reference (pointing into it). */
extern bool atq_reference_match(AtqSpan value, AtqReference *reference);

/*
 * Calls visit for every reference in a value, at any depth, in lists, maps
 * and sets.  A value without one costs a search for the marker's bytes.
 */
extern void atq_reference_scan(AtqSpan value, AtqReferenceVisitor visit,
							   void *arg);

/* Appends a reference; key is the packed key (an array when composite). */
extern void atq_reference_pack(StringInfo buf, const char *orm,
							   const char *class_name, AtqSpan key);

/* Appends a query set, given by its JSON. */
extern void atq_reference_pack_set(StringInfo buf, Jsonb *set);

#endif							/* ATQ_WIRE_REFERENCE_H */
