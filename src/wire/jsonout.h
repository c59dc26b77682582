/*-------------------------------------------------------------------------
 *
 * jsonout.h
 *	  Writing JSON, as text or as Jsonb, with the same calls.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_JSONOUT_H
#define ATQ_WIRE_JSONOUT_H

#include "wire/jsonbwrite.h"

/* Fields are jsonout.c's own; made by the two atq_out_open functions. */
typedef struct AtqJsonOut
{
	StringInfo text;			/* where the text goes, or NULL for Jsonb */
	bool		first;			/* text: nothing in this container yet */
	bool		after_key;		/* text: the value of a key comes next */
	AtqJsonbWriter jsonb;		/* where Jsonb goes */
} AtqJsonOut;

extern void atq_out_open_text(AtqJsonOut *out, StringInfo text);
extern void atq_out_open_jsonb(AtqJsonOut *out);

/* The finished Jsonb. */
extern Jsonb *atq_out_finish(AtqJsonOut *out);

/* So many items must follow. */
extern void atq_out_begin_array(AtqJsonOut *out, uint32 items);
extern void atq_out_end_array(AtqJsonOut *out);

/*
 * So many pairs must follow: in text each key in front of its value, in Jsonb
 * all keys, in its order, in front of the first value.
 */
extern void atq_out_begin_object(AtqJsonOut *out, uint32 pairs);
extern void atq_out_end_object(AtqJsonOut *out);

/* Strings and keys are in the server's encoding, numbers are JSON's. */
extern void atq_out_key(AtqJsonOut *out, AtqSpan name);
extern void atq_out_string(AtqJsonOut *out, AtqSpan string);
extern void atq_out_number(AtqJsonOut *out, char *digits);
extern void atq_out_int(AtqJsonOut *out, int64 value);
extern void atq_out_bool(AtqJsonOut *out, bool value);
extern void atq_out_null(AtqJsonOut *out);

/* Puts a whole Jsonb in; only where Jsonb is written. */
extern void atq_out_jsonb(AtqJsonOut *out, Jsonb *json);

#endif							/* ATQ_WIRE_JSONOUT_H */
