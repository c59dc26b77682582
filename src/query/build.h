/*-------------------------------------------------------------------------
 *
 * build.h
 *	  A statement under construction: its tables, expressions, conditions.
 *
 * Between condition.c and compile.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_BUILD_H
#define ATQ_QUERY_BUILD_H

#include "lib/stringinfo.h"

#include "query/field.h"
#include "query/model.h"
#include "query/queryset.h"

/* Of one statement, whatever subqueries it has. */
typedef struct AtqBuild
{
	AtqQueryModel *model;		/* of the statement itself */
	const char *server;
	bool		anywhere;		/* using() says where: models need not agree */
	int			naliases;
	List	   *bound;			/* of AtqSource *, of subqueries: what their
								 * relations' names mean outside meanwhile */
	List	   *opened;			/* of Relation */
	int			nparams;
	int			max_params;
	Oid		   *types;
	Datum	   *values;
	char	   *nulls;
} AtqBuild;

/* A FROM clause, of the statement or of a subquery. */
typedef struct AtqScope
{
	AtqBuild   *build;
	struct AtqSource *root;
	List	   *joined;			/* of AtqSource *, as they follow */
	List	   *annotations;	/* of AtqAnnotation *, which the root has */
	bool		grouped;		/* .. over groups of rows */
	List	   *group;			/* of char *: what the groups are by */
	List	   *built;			/* of AtqBuilt *: annotations that are used */
} AtqScope;

/* An annotation has one text, wherever it stands. */
typedef struct AtqBuilt
{
	const AtqAnnotation *annotation;
	struct AtqExpression *expression;
} AtqBuilt;

typedef struct AtqSource
{
	AtqScope   *scope;
	Relation	rel;
	const char *class_name;		/* for messages */
	char	   *alias;
	bool		optional;		/* all its columns may be NULL */
	List	   *children;		/* of AtqSource *, joined to this one */
	const AtqFieldRelation *by; /* NULL: the root */
	struct AtqSource *parent;	/* .. the root of a subquery has both */
} AtqSource;

/* A value in the statement. */
typedef struct AtqExpression
{
	char	   *sql;
	Oid			type;
	bool		nullable;
	bool		aggregate;		/* over a group */
} AtqExpression;

/* What a path of names leads to. */
typedef struct AtqPath
{
	List	   *columns;		/* of AtqExpression *: several of a key */
	AtqSource  *table;			/* of a relation to many rows, where the .. */
	AtqFieldRelation *many;		/* .. path leaves the FROM clause, else NULL */
	int			used;			/* names that this took */
} AtqPath;

/*
 * Opens and locks a relation that the statement reads; *class_name is for
 * messages: that of its model, or the table's name.  Turns the guard on where
 * it must be.
 */
extern Relation atq_build_open(AtqBuild *build, Oid relation,
							   const char **class_name);

/* A member of a condition that is about a field. */
typedef struct AtqLookup
{
	char	   *text;			/* "author__name__in", for messages */
	AtqPath		path;
	char	  **names;			/* what follows the path */
	int			n;
	JsonbValue	value;
} AtqLookup;

typedef struct AtqCondition
{
	char	   *sql;			/* NULL: there is none */
	bool		nullable;
} AtqCondition;

/* "a__b" as names; *n of them, palloc'd. */
extern char **atq_build_split(const char *path, int *n);

/* A scope whose root is the relation. */
extern AtqScope *atq_build_scope(AtqBuild *build, Relation rel,
								 const char *class_name);

/* A scope of a subquery on the rows that a relation of a table leads to. */
extern AtqScope *atq_build_related(AtqSource *table,
								   const AtqFieldRelation *relation);

/* The table that a relation to one row leads to, joined once. */
extern AtqSource *atq_build_join(AtqSource *table,
								 const AtqFieldRelation *relation);

/* " AND "-joined equalities of the relation's columns. */
extern char *atq_build_join_condition(const AtqSource *table);

/*
 * Has the relation that a subquery's root is for, and those to many rows that
 * the names lead to from there and which are joined to it, mean its rows;
 * until the caller puts build->bound back.  Returns how many names are left.
 */
extern int	atq_build_bind(AtqSource *root, char **names, int n);

/* The FROM clause without FROM. */
extern char *atq_build_from(const AtqScope *scope);

/* A column of a table; type as declared. */
extern AtqExpression *atq_build_column(AtqSource *table, AttrNumber column);

/* Any text, which cannot be NULL. */
extern AtqExpression *atq_build_text(char *sql, Oid type);

/* The key of a table: of AtqExpression *. */
extern List *atq_build_key(AtqSource *table);

/* A parameter, as it stands in the text. */
extern char *atq_build_param(AtqBuild *build, Oid type, Datum value,
							 bool isnull);

/*
 * Follows names from a table as far as they go; what is left are a
 * transform and a lookup.
 */
extern AtqPath atq_build_path(AtqSource *table, char **names, int n);

/* The whole of a path as columns; throws where names are left, or many rows. */
extern List *atq_build_columns(AtqSource *table, const char *path);

/* What an annotation is: {"F": ..} or {"Count": .., ..}. */
extern AtqExpression *atq_build_annotation(AtqSource *table,
										   const AtqAnnotation *annotation);

/* The same where aggregates are over all rows of the scope. */
extern AtqExpression *atq_build_aggregate(AtqSource *table,
										  const AtqAnnotation *annotation);

/*
 * The operand of {"F": operand} or NULL where the JSON is something else;
 * palloc'd.
 */
extern JsonbValue *atq_build_f(const JsonbValue *json);

/* What {"F": operand} stands for; field is for messages. */
extern AtqExpression *atq_build_expression(AtqSource *table,
										   const JsonbValue *operand,
										   const char *field);

/* A lookup whose path leads to columns. */
extern AtqCondition atq_build_lookup(AtqLookup *lookup);

/*
 * That columns are equal to those of a row of a subquery; the operators are the
 * types' own, whatever search_path has.
 */
extern char *atq_build_within(List *columns, List *others, const char *sql);

/* Throws 22P02: the lookup's value must be something else. */
extern void atq_build_refuse_value(const AtqLookup *lookup,
								   const char *what) atq_noreturn;

/* True for the names of lookups and transforms. */
extern bool atq_build_is_lookup(const char *name);

/*
 * Conditions, all of which hold; NULL: there is none.  having: those on
 * annotations over groups, else the others.
 */
extern char *atq_build_conditions(AtqSource *table, List *conditions,
								  bool having);

/* The SELECT of a set's keys, or of its only field, for a subquery. */
extern char *atq_build_subquery(AtqBuild *build, const AtqQuerySet *set,
								List **columns);

#endif							/* ATQ_QUERY_BUILD_H */
