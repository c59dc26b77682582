/*-------------------------------------------------------------------------
 *
 * msgpack.c
 *	  Reading and writing MessagePack tokens.
 *
 * msgpack-c's templates know the bytes; this file turns them into a pull
 * parser.  The unpacking template wants to parse a whole value at once, with
 * a stack of its own.  It gets a stack of one and is run anew for every
 * token: a scalar ends the run by itself, and the callbacks of arrays and
 * maps stop it at their header by returning a code of our own.  So nothing
 * is built, nothing is allocated, and a header that announces four billion
 * items costs no more than its five bytes.  msgpack-c's object parser is not
 * used: it allocates from what a header says and stops at 32 levels.
 *
 * Writing includes the packing template over StringInfo, so a token is
 * appended without an indirect call.  Only headers of the library are used;
 * nothing is linked.
 *
 * This file knows nothing of tasks, catalogs or memory contexts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <msgpack/pack_define.h>
#include <msgpack/timestamp.h>
#include <msgpack/unpack.h>

#define MSGPACK_EMBED_STACK_SIZE 1
#include <msgpack/unpack_define.h>

#include "miscadmin.h"

#include "wire/msgpack.h"

/* Stops the template at a container's header; no code of the library. */
#define TOKEN_CONTAINER		(-100)

/* What the template needs an object for is not used. */
typedef int AtqNothing;

#define msgpack_unpack_struct(name) struct template ## name
#define msgpack_unpack_func(ret, name) static inline ret template ## name
#define msgpack_unpack_callback(name) token ## name
#define msgpack_unpack_object AtqNothing
#define msgpack_unpack_user AtqToken *

static inline AtqNothing
token_root(AtqToken **token)
{
	return 0;
}

static inline int
token_nil(AtqToken **token, AtqNothing *nothing)
{
	(*token)->kind = ATQ_TOKEN_NIL;
	*nothing = 0;
	return 0;
}

static inline int
token_bool(AtqToken *token, bool value, AtqNothing *nothing)
{
	token->kind = ATQ_TOKEN_BOOL;
	token->v.boolean = value;
	*nothing = 0;
	return 0;
}

#define token_true(token, nothing)	token_bool(*(token), true, nothing)
#define token_false(token, nothing) token_bool(*(token), false, nothing)

static inline int
token_int64(AtqToken **token, int64 value, AtqNothing *nothing)
{
	(*token)->kind = ATQ_TOKEN_INT;
	(*token)->v.i = value;
	*nothing = 0;
	return 0;
}

#define token_int8 token_int64
#define token_int16 token_int64
#define token_int32 token_int64
#define token_uint8 token_int64
#define token_uint16 token_int64
#define token_uint32 token_int64

static inline int
token_uint64(AtqToken **token, uint64 value, AtqNothing *nothing)
{
	if (value <= (uint64) PG_INT64_MAX)
		return token_int64(token, (int64) value, nothing);

	(*token)->kind = ATQ_TOKEN_UINT;
	(*token)->v.u = value;
	*nothing = 0;
	return 0;
}

static inline int
token_double(AtqToken **token, double value, AtqNothing *nothing)
{
	(*token)->kind = ATQ_TOKEN_FLOAT;
	(*token)->v.f = value;
	*nothing = 0;
	return 0;
}

#define token_float token_double

static inline int
token_bytes(AtqToken *token, AtqTokenKind kind, const char *data, Size len,
			AtqNothing *nothing)
{
	token->kind = kind;
	token->v.bytes.data = data;
	token->v.bytes.len = len;
	*nothing = 0;
	return 0;
}

#define token_str(token, base, data, len, nothing) \
	token_bytes(*(token), ATQ_TOKEN_STR, data, len, nothing)
#define token_bin(token, base, data, len, nothing) \
	token_bytes(*(token), ATQ_TOKEN_BIN, data, len, nothing)

/*
 * The length counts the type code, so it is never zero, except where an ext
 * 32 of 2^32-1 bytes made the template's counter overflow.
 */
static inline int
token_ext(AtqToken **token, const char *base, const char *data,
		  unsigned int len, AtqNothing *nothing)
{
	if (len == 0)
		return MSGPACK_UNPACK_PARSE_ERROR;

	(*token)->ext_code = (int8) data[0];
	return token_bytes(*token, ATQ_TOKEN_EXT, data + 1, len - 1, nothing);
}

static inline int
token_container(AtqToken *token, AtqTokenKind kind, uint32 count)
{
	token->kind = kind;
	token->count = count;
	return TOKEN_CONTAINER;
}

#define token_array(token, count, nothing) \
	token_container(*(token), ATQ_TOKEN_ARRAY, count)
#define token_map(token, count, nothing) \
	token_container(*(token), ATQ_TOKEN_MAP, count)

/* Never reached: the template's run ends before a container's first item. */
static inline int
token_array_item(AtqToken **token, AtqNothing *array, AtqNothing item)
{
	return MSGPACK_UNPACK_PARSE_ERROR;
}

static inline int
token_map_item(AtqToken **token, AtqNothing *map, AtqNothing key,
			   AtqNothing item)
{
	return MSGPACK_UNPACK_PARSE_ERROR;
}

#include <msgpack/unpack_template.h>

/* Throws 22P03; off is where the bytes went wrong. */
void
atq_msgpack_fail(const char *message, Size off)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid MessagePack: %s", message),
			 errdetail("The error is at byte %zu.", off)));
}

/* Starts reading at the first byte of a span; cannot fail. */
void
atq_msgpack_open(AtqReader *reader, AtqSpan span)
{
	reader->data = span.data;
	reader->len = span.len;
	reader->off = 0;
}

/* Reads one token and leaves the reader behind it; throws 22P03. */
void
atq_msgpack_next(AtqReader *reader, AtqToken *token)
{
	struct template_context context;
	size_t		off = reader->off;
	int			rc;

	context.user = token;
	template_init(&context);
	rc = template_execute(&context, reader->data, reader->len, &off);

	if (rc == TOKEN_CONTAINER)
		off++;					/* from the header's last byte */
	else if (rc == 0)
		atq_msgpack_fail("the value ends too early", reader->len);
	else if (rc != 1)
		atq_msgpack_fail("no value starts with this byte", reader->off);
	else if (token->kind >= ATQ_TOKEN_STR && token->v.bytes.len == 0)
		token->v.bytes.data = reader->data + off;

	reader->off = off;
}

/*
 * Skips one whole value and returns its bytes.  The values still to come are
 * counted, so no stack is needed: 2^64 would take more bytes than there are.
 */
AtqSpan
atq_msgpack_skip(AtqReader *reader)
{
	AtqSpan		span = {reader->data + reader->off, 0};
	Size		start = reader->off;
	uint64		pending = 1;

	while (pending > 0)
	{
		AtqToken	token;

		CHECK_FOR_INTERRUPTS();
		atq_msgpack_next(reader, &token);
		pending--;
		if (token.kind == ATQ_TOKEN_ARRAY)
			pending += token.count;
		else if (token.kind == ATQ_TOKEN_MAP)
			pending += 2 * (uint64) token.count;
	}

	span.len = reader->off - start;
	return span;
}

AtqSpan
atq_msgpack_pair(AtqReader *reader, AtqToken *key)
{
	AtqReader	ahead = *reader;

	atq_msgpack_next(&ahead, key);
	(void) atq_msgpack_skip(reader);
	return atq_msgpack_skip(reader);
}

/* True for the ext of a set or frozenset. */
bool
atq_token_is_set(const AtqToken *token)
{
	return token->kind == ATQ_TOKEN_EXT &&
		(token->ext_code == ATQ_EXT_SET ||
		 token->ext_code == ATQ_EXT_FROZENSET);
}

/*
 * Reads an ext -1 in one of its three forms; false when it is of no form or
 * has a second's worth of nanoseconds.
 */
bool
atq_token_timestamp(const AtqToken *token, int64 *seconds, uint32 *nanos)
{
	const char *data = token->v.bytes.data;
	uint32		word;
	uint64		both;

	if (token->kind != ATQ_TOKEN_EXT ||
		token->ext_code != ATQ_EXT_TIMESTAMP)
		return false;

	switch (token->v.bytes.len)
	{
		case 4:
			_msgpack_load32(uint32_t, data, &word);
			*seconds = word;
			*nanos = 0;
			return true;
		case 8:
			_msgpack_load64(uint64_t, data, &both);
			*seconds = both & ((UINT64CONST(1) << 34) - 1);
			*nanos = both >> 34;
			return *nanos < 1000000000;
		case 12:
			_msgpack_load32(uint32_t, data, nanos);
			_msgpack_load64(uint64_t, data + 4, &both);
			*seconds = (int64) both;
			return *nanos < 1000000000;
		default:
			return false;
	}
}

/*
 * The packing template over StringInfo.  Its functions bear the library's
 * names, because some call each other by these; msgpack/pack.h, which would
 * define them over a callback, must not be included here.
 */
#define msgpack_pack_inline_func(name) \
	static inline int msgpack_pack ## name
#define msgpack_pack_user StringInfo
#define msgpack_pack_append_buffer(user, buf, len) \
	do { \
		appendBinaryStringInfoNT(user, (const char *) (buf), (int) (len)); \
		return 0; \
	} while (0)

static inline int msgpack_pack_ext(StringInfo x, size_t l, int8_t type);

#include <msgpack/pack_template.h>

void
atq_pack_nil(StringInfo buf)
{
	msgpack_pack_nil(buf);
}

void
atq_pack_bool(StringInfo buf, bool value)
{
	if (value)
		msgpack_pack_true(buf);
	else
		msgpack_pack_false(buf);
}

void
atq_pack_int(StringInfo buf, int64 value)
{
	msgpack_pack_int64(buf, value);
}

void
atq_pack_uint(StringInfo buf, uint64 value)
{
	msgpack_pack_uint64(buf, value);
}

void
atq_pack_float(StringInfo buf, double value)
{
	msgpack_pack_double(buf, value);
}

void
atq_pack_str(StringInfo buf, const char *data, Size len)
{
	msgpack_pack_str(buf, len);
	appendBinaryStringInfoNT(buf, data, (int) len);
}

void
atq_pack_bin(StringInfo buf, const char *data, Size len)
{
	msgpack_pack_bin(buf, len);
	appendBinaryStringInfoNT(buf, data, (int) len);
}

void
atq_pack_ext(StringInfo buf, int8 code, const char *data, Size len)
{
	msgpack_pack_ext(buf, len, code);
	appendBinaryStringInfoNT(buf, data, (int) len);
}

void
atq_pack_array(StringInfo buf, uint32 count)
{
	msgpack_pack_array(buf, count);
}

void
atq_pack_map(StringInfo buf, uint32 count)
{
	msgpack_pack_map(buf, count);
}

/* Appends an ext -1 in the shortest of its forms. */
void
atq_pack_timestamp(StringInfo buf, int64 seconds, uint32 nanos)
{
	msgpack_timestamp stamp;

	stamp.tv_sec = seconds;
	stamp.tv_nsec = nanos;
	msgpack_pack_timestamp(buf, &stamp);
}

/*
 * Makes what was appended since buf->len was start the data of an ext.  Its
 * header is as short as the data allows, so it can only be written now: at
 * the end first, then swapped with the data.
 */
void
atq_pack_wrap(StringInfo buf, int start, int8 code)
{
	char		header[6];
	int			len = buf->len - start;
	int			header_len;

	msgpack_pack_ext(buf, len, code);
	header_len = buf->len - start - len;
	Assert(header_len <= (int) sizeof(header));
	memcpy(header, buf->data + start + len, header_len);
	memmove(buf->data + start + header_len, buf->data + start, len);
	memcpy(buf->data + start, header, header_len);
}
