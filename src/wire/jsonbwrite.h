/*-------------------------------------------------------------------------
 *
 * jsonbwrite.h
 *	  Writing Jsonb from left to right.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_JSONBWRITE_H
#define ATQ_WIRE_JSONBWRITE_H

#include "utils/jsonb.h"

#include "wire/msgpack.h"

typedef struct AtqJsonbLevel AtqJsonbLevel;

/* Fields are jsonbwrite.c's own; made by atq_jsonb_open. */
typedef struct AtqJsonbWriter
{
	StringInfoData data;		/* the whole, from its length word on */
	AtqJsonbLevel *levels;		/* the open containers, outermost first */
	int			depth;			/* how many these are */
	int			max_depth;
} AtqJsonbWriter;

/*
 * Everything is palloc'd in the context that is current here.  Writing throws
 * 54000 where the value passes the format's limits.
 */
extern void atq_jsonb_open(AtqJsonbWriter *writer);

/* The finished value, palloc'd: one scalar, or one container. */
extern Jsonb *atq_jsonb_close(AtqJsonbWriter *writer);

/* So many items must follow. */
extern void atq_jsonb_begin_array(AtqJsonbWriter *writer, uint32 items);

/*
 * So many keys must follow, no two the same and in the order of
 * atq_jsonb_compare, and then as many values.
 */
extern void atq_jsonb_begin_object(AtqJsonbWriter *writer, uint32 pairs);

/* Ends an array or an object; hears interrupts. */
extern void atq_jsonb_end(AtqJsonbWriter *writer);

/* As memcmp. */
extern int	atq_jsonb_compare(AtqSpan a, AtqSpan b);

/* Also a key; in the server's encoding. */
extern void atq_jsonb_string(AtqJsonbWriter *writer, AtqSpan string);
extern void atq_jsonb_numeric(AtqJsonbWriter *writer, Numeric number);
extern void atq_jsonb_bool(AtqJsonbWriter *writer, bool value);
extern void atq_jsonb_null(AtqJsonbWriter *writer);

/* Puts a whole value in. */
extern void atq_jsonb_put(AtqJsonbWriter *writer, Jsonb *json);

/*
 * What JsonbValueToJsonb() makes of a value, palloc'd, but it hears
 * interrupts.
 */
extern Jsonb *atq_jsonb_make(const JsonbValue *value);

#endif							/* ATQ_WIRE_JSONBWRITE_H */
