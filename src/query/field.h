/*-------------------------------------------------------------------------
 *
 * field.h
 *	  Fields of models: columns, relations, and values for them.
 *
 * Columns go by their names, and "pk" is the key.  A foreign key gives a forward
 * relation: of one column "author_id" it is named "author", of another column
 * as the column; of several columns as the table that it refers to.  From
 * there the relation back is named as the table that has the foreign key; where
 * that has several, as table_relation ("comment_author").
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_FIELD_H
#define ATQ_QUERY_FIELD_H

#include "utils/jsonb.h"
#include "utils/relcache.h"

#include "query/model.h"

typedef struct AtqFieldRelation
{
	char	   *name;
	bool		forward;		/* the foreign key is here, not there */
	bool		many;			/* may lead to several rows */
	bool		optional;		/* .. or to none */
	Oid			other;			/* relation that it leads to */
	int			nkeys;
	AttrNumber	from[ATQ_MAX_KEYS]; /* columns here .. */
	AttrNumber	to[ATQ_MAX_KEYS];	/* .. and those there that they equal .. */
	Oid			operators[ATQ_MAX_KEYS];	/* .. by: referred to, referring */
} AtqFieldRelation;

/*
 * The foreign keys of a relation (of ForeignKeyCacheInfo *, copies), without
 * those that only one to a partitioned table has brought along.
 */
extern List *atq_field_foreign_keys(Relation rel);

/* The column of that name; InvalidAttrNumber where there is none. */
extern AttrNumber atq_field_column(Relation rel, const char *name);

/*
 * The relation of that name, forward or back; NULL where there is none.
 * Throws 42702 where the name stands for several.  Palloc'd.
 */
extern AtqFieldRelation *atq_field_relation(Relation rel, const char *name);

/*
 * Throws 42703: there is no such field, with the nearest one as a hint.
 * extra: of char *, further names that there are.
 */
extern void atq_field_missing(Relation rel, const char *class_name,
							  const char *name, List *extra) atq_noreturn;

/*
 * The column that a row's object has under this name, in writing: a column, "pk"
 * where the key is one column, or a forward relation of one column.  Throws
 * 42703.
 */
extern AttrNumber atq_field_written(const AtqQueryModel *model,
									const char *name);

/*
 * A JSON value as a value of a type; json null is NULL.  Errors of the type's
 * input get "value of field ..." as context; 22P02 where the form of the
 * JSON does not fit.
 */
extern Datum atq_field_value(const JsonbValue *json, Oid type, int32 typmod,
							 const char *field, bool *isnull);

/* A JSON list as an array of a type; NULLs are left out. */
extern Datum atq_field_array(const JsonbValue *json, Oid element_type,
							 const char *field);

/* The nearest of names (of char *) to another one, or NULL where none is near. */
extern const char *atq_field_nearest(const char *name, List *names);

#endif							/* ATQ_QUERY_FIELD_H */
