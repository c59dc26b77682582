/*-------------------------------------------------------------------------
 *
 * write.h
 *	  What the functions that write have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_QUERY_WRITE_H
#define ATQ_QUERY_WRITE_H

#include "query/object.h"

/*
 * The model whose class is the first argument, its ORM another one, opened to
 * be written.  Throws 22004, what atq_query_model_open throws, and 0A000 for
 * a model on another server.
 */
extern AtqQueryModel *atq_write_open(FunctionCallInfo fcinfo, int orm_arg);

/* Throws 42P16 where the model has no key. */
extern void atq_write_require_key(const AtqQueryModel *model);

/*
 * Throws 22023 where an object lacks one of the columns, or where one of its
 * key is null.
 */
extern void atq_write_require_values(const AtqQueryModel *model,
									 const AtqObject *object,
									 const Bitmapset *columns);

/* The columns of the key. */
extern Bitmapset *atq_write_key(const AtqQueryModel *model);

/* An argument that is a JSON object or list; throws 22004 and 22023. */
extern JsonbContainer *atq_write_object(FunctionCallInfo fcinfo, int arg,
										const char *name);
extern JsonbContainer *atq_write_list(FunctionCallInfo fcinfo, int arg,
									  const char *name);

/*
 * The columns that an array of names of fields stands for; NULL where it is
 * null or empty.
 */
extern Bitmapset *atq_write_columns(FunctionCallInfo fcinfo, int arg,
									const char *name,
									const AtqQueryModel *model);

#endif							/* ATQ_QUERY_WRITE_H */
