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

/* Throws 22023 where the value is no condition. */
extern void atq_queryset_check_condition(const Jsonb *condition);

/*
 * Adds a condition (an object of lookups), as filter() does; an empty one adds
 * nothing.  Throws 22023 where it is no condition, 55000 where the set is
 * sliced.
 */
extern void atq_queryset_filter(AtqQuerySet *set, const Jsonb *condition);

/*
 * Adds an annotation.  Throws 22023 where its expression is no object, 42712
 * where there is one of that name.
 */
extern void atq_queryset_annotate(AtqQuerySet *set, const char *name,
								  JsonbValue *expression);

/* Says what becomes of a row.  Throws 22023 for flat values of several fields. */
extern void atq_queryset_form(AtqQuerySet *set, AtqQueryForm form,
							  List *fields);

/* What a JSON value is, which is no scalar. */
extern bool atq_json_is_object(const JsonbValue *value);
extern bool atq_json_is_list(const JsonbValue *value);

/* asynctasq.queryset, whose values are those of jsonb. */
extern Oid	atq_queryset_type(void);

#define ATQ_GETARG_QUERYSET(n) atq_queryset_read(PG_GETARG_JSONB_P(n))

#endif							/* ATQ_QUERY_QUERYSET_H */
