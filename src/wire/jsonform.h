/*-------------------------------------------------------------------------
 *
 * jsonform.h
 *	  MessagePack as JSON: the tagged, lossless form and the plain one.
 *
 * Tagged is what the type's text form and its casts give; docs/wire.md lists
 * the tags.  Plain is what a jsonb parameter of a handler gets: dates and
 * UUIDs as strings, Decimals as numbers (NaN and infinities as strings), sets
 * as arrays, bytes as base64, references replaced by what the resolver
 * returns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_JSONFORM_H
#define ATQ_WIRE_JSONFORM_H

#include "utils/jsonb.h"

#include "wire/reference.h"

/*
 * What stands for a reference, of either kind, in plain JSON: a palloc'd Jsonb,
 * or NULL for a JSON null.  May throw.
 */
typedef Jsonb *(*AtqJsonResolver) (const AtqReference *reference, void *arg);

/* Both forms are palloc'd in the current context. */
extern Jsonb *atq_json_tagged(AtqSpan value);
extern Jsonb *atq_json_plain(AtqSpan value, AtqJsonResolver resolve,
							 void *arg);

/*
 * JSON that is only carried: an object is a map, whatever its keys, and the
 * other way round.  What JSON lacks is read as in the plain form.
 */
extern void atq_json_pack_literal(StringInfo buf, Jsonb *json);
extern Jsonb *atq_json_literal(AtqSpan value);

/* Appends the tagged form's text. */
extern void atq_json_print(StringInfo buf, AtqSpan value);

/*
 * Appends a value as text: a str as it is, other scalars as in the plain
 * form, containers as tagged JSON.
 */
extern void atq_json_text(StringInfo buf, AtqSpan value);

/*
 * Append the bytes that a JSON value in tagged form stands for; JSON text is
 * in the server's encoding, and keeps the order of its keys.  Neither checks
 * for duplicate keys and sizes: atq_msgpack_check does, on the whole.
 */
extern void atq_json_pack(StringInfo buf, Jsonb *json);
extern void atq_json_pack_text(StringInfo buf, const char *json, Size len);

/* The tag a name is, or -1. */
typedef enum AtqTag
{
	ATQ_TAG_NONE = -1,
	ATQ_TAG_DATETIME,
	ATQ_TAG_DATE,
	ATQ_TAG_UUID,
	ATQ_TAG_DECIMAL,
	ATQ_TAG_SET,
	ATQ_TAG_FROZENSET,
	ATQ_TAG_BYTES,
	ATQ_TAG_TIMESTAMP,
	ATQ_TAG_FLOAT,
	ATQ_TAG_STR,
	ATQ_TAG_MAP,
	ATQ_TAG_EXT
} AtqTag;

extern AtqTag atq_tag_find(AtqSpan name);
extern const char *atq_tag_name(AtqTag tag);

#endif							/* ATQ_WIRE_JSONFORM_H */
