/*-------------------------------------------------------------------------
 *
 * msgpack.h
 *	  Reading and writing MessagePack tokens.
 *
 * The reader is a pull parser over bytes it does not own: every call yields
 * one token (a scalar, or the header of an array or map).  It never
 * allocates, never reads past the end, and keeps no stack; depth is the
 * business of its callers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_MSGPACK_H
#define ATQ_WIRE_MSGPACK_H

#include "lib/stringinfo.h"

#include "base/compat.h"

/* The bytes of one whole value, or of a part of one. */
typedef struct AtqSpan
{
	const char *data;
	Size		len;
} AtqSpan;

typedef enum AtqTokenKind
{
	ATQ_TOKEN_NIL,
	ATQ_TOKEN_BOOL,
	ATQ_TOKEN_INT,				/* fits int64 */
	ATQ_TOKEN_UINT,				/* above PG_INT64_MAX */
	ATQ_TOKEN_FLOAT,
	ATQ_TOKEN_STR,
	ATQ_TOKEN_BIN,
	ATQ_TOKEN_EXT,
	ATQ_TOKEN_ARRAY,
	ATQ_TOKEN_MAP
} AtqTokenKind;

/* Extension type codes of the Python package asynctasq 1.7. */
#define ATQ_EXT_TIMESTAMP	(-1)
#define ATQ_EXT_DATETIME	1
#define ATQ_EXT_DATE		2
#define ATQ_EXT_UUID		3
#define ATQ_EXT_DECIMAL		4
#define ATQ_EXT_SET			5
#define ATQ_EXT_FROZENSET	6

typedef struct AtqToken
{
	AtqTokenKind kind;
	int8		ext_code;		/* EXT */
	uint32		count;			/* ARRAY: items; MAP: pairs */
	union
	{
		bool		boolean;
		int64		i;
		uint64		u;
		double		f;
		AtqSpan		bytes;		/* STR, BIN, EXT (without the code) */
	}			v;
} AtqToken;

typedef struct AtqReader
{
	const char *data;
	Size		len;
	Size		off;			/* of the next token */
} AtqReader;

/* Starts reading at the first byte of a span; cannot fail. */
extern void atq_msgpack_open(AtqReader *reader, AtqSpan span);

/*
 * Reads one token.  Throws 22P03 with the byte offset in the detail when the
 * bytes end too early or are no MessagePack.
 */
extern void atq_msgpack_next(AtqReader *reader, AtqToken *token);

/*
 * Skips one whole value, however deep, and returns its bytes.  Iterative; a
 * count announced by a header is never trusted for more than counting down.
 */
extern AtqSpan atq_msgpack_skip(AtqReader *reader);

/* Skips a pair of a map: the key's first token, and the bytes of the value. */
extern AtqSpan atq_msgpack_pair(AtqReader *reader, AtqToken *key);

/* True when a STR token equals a C string; inline for literals' lengths. */
static inline bool
atq_token_is(const AtqToken *token, const char *text)
{
	return token->kind == ATQ_TOKEN_STR &&
		token->v.bytes.len == strlen(text) &&
		memcmp(token->v.bytes.data, text, token->v.bytes.len) == 0;
}

/* True for the ext of a set or frozenset. */
extern bool atq_token_is_set(const AtqToken *token);

/*
 * Checks a whole value: exactly one, nothing behind it, valid UTF-8, no
 * duplicate map keys, known ext types well formed, depth (counted through
 * sets) and size within asynctasq.max_depth and asynctasq.max_payload.
 * Throws 22P03 (bad bytes), 22021 (text), 54000 (limits).
 */
extern void atq_msgpack_check(AtqSpan value);

/* Throws 54000 when a value of this size exceeds asynctasq.max_payload. */
extern void atq_msgpack_check_size(Size len);

/*
 * Reads an ext -1 in one of its three forms; false when it is of no form or
 * has a second's worth of nanoseconds.
 */
extern bool atq_token_timestamp(const AtqToken *token, int64 *seconds,
								uint32 *nanos);

/* Throws 22P03 with the byte offset in the detail. */
extern void atq_msgpack_fail(const char *message, Size off)
			atq_noreturn;

/* Writing, each appending one token to buf in its shortest form. */
extern void atq_pack_nil(StringInfo buf);
extern void atq_pack_bool(StringInfo buf, bool value);
extern void atq_pack_int(StringInfo buf, int64 value);
extern void atq_pack_uint(StringInfo buf, uint64 value);
extern void atq_pack_float(StringInfo buf, double value);
extern void atq_pack_str(StringInfo buf, const char *data, Size len);
extern void atq_pack_bin(StringInfo buf, const char *data, Size len);
extern void atq_pack_ext(StringInfo buf, int8 code, const char *data, Size len);
extern void atq_pack_array(StringInfo buf, uint32 count);
extern void atq_pack_map(StringInfo buf, uint32 count);

/* Appends an ext -1 in the shortest of its forms. */
extern void atq_pack_timestamp(StringInfo buf, int64 seconds, uint32 nanos);

/* Makes what was appended since buf->len was start the data of an ext. */
extern void atq_pack_wrap(StringInfo buf, int start, int8 code);

#endif							/* ATQ_WIRE_MSGPACK_H */
