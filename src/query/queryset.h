/*-------------------------------------------------------------------------
 *
 * queryset.h
 *	  Query sets as values.
 *
 * The members of the JSON form are described in src/README, "Query sets".
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_QUERYSET_H
#define ATQ_QUERY_QUERYSET_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* What becomes of a row. */
typedef enum AtqQueryForm
{
	ATQ_FORM_MODEL,				/* an object of its columns */
	ATQ_FORM_VALUES,			/* an object of the fields asked for */
	ATQ_FORM_LIST,				/* a list of them */
	ATQ_FORM_FLAT				/* the only one's value */
} AtqQueryForm;

typedef struct AtqAnnotation
{
	const char *name;
	JsonbValue *expression;		/* an object (jbvBinary) */
} AtqAnnotation;

/*
 * A query set, taken apart.  Strings and lists are palloc'd; JsonbValues point
 * into the value it was read from.
 */
typedef struct AtqQuerySet
{
	const char *orm;			/* NULL: whichever has the class */
	const char *class_name;
	const char *server;			/* of using(), else NULL */
	List	   *where;			/* of JsonbValue *, objects (jbvBinary) */
	List	   *annotations;	/* of AtqAnnotation * */
	bool		grouped;
	List	   *group;			/* of char *; empty: one group of all rows */
	List	   *order;			/* of char *, "-name" descending, "?" random */
	bool		reversed;
	bool		distinct;
	List	   *distinct_on;	/* of char * */
	bool		sliced;
	int64		start;
	int64		stop;			/* -1: the end */
	List	   *only;			/* of char *, as the following */
	List	   *defer;
	AtqQueryForm form;
	List	   *fields;			/* of form's; empty: all columns */
	List	   *select_related;
	List	   *prefetch_related;
} AtqQuerySet;

/*
 * Takes a value apart.  Throws 22023 where it is no query set, saying which
 * member is wrong.
 */
extern AtqQuerySet *atq_queryset_read(const Jsonb *value);

/* The value of a query set; palloc'd. */
extern Jsonb *atq_queryset_write(const AtqQuerySet *set);

/* A query set of all rows of a class; orm may be NULL. */
extern AtqQuerySet *atq_queryset_make(const char *orm, const char *class_name);

/*
 * Adds a condition (an object of lookups), as filter() does.  Throws 55000 where
 * the set is sliced.
 */
extern void atq_queryset_filter(AtqQuerySet *set, const Jsonb *condition);

/* asynctasq.queryset, whose values are those of jsonb. */
extern Oid	atq_queryset_type(void);

#define ATQ_GETARG_QUERYSET(n) atq_queryset_read(PG_GETARG_JSONB_P(n))

#endif							/* ATQ_QUERY_QUERYSET_H */
