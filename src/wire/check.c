/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Checking a whole MessagePack value, once, where it enters the server.
 *
 * What passes here may be walked without a second thought by everything
 * else: one value, well formed to the last ext, no deeper than allowed.
 *
 * The walk is one loop with a stack of its own, so that depth costs heap and
 * not C stack.  The data of a set is MessagePack within MessagePack; since it
 * lies in the same bytes, the reader just goes into it, and must come out at
 * its end exactly.
 *
 * Keys of all open maps lie on one array, a map's above its parent's.  When
 * a map closes, its own are compared and taken off: pairwise when they are
 * few, sorted when they are many.  Keys are compared by what they stand for
 * and not by their bytes on the wire, else a str 8 "a" would hide a fixstr
 * "a", and the value's own JSON text could not be read back.
 *
 * Memory: the two arrays grow with what was read, never with what a header
 * announces, in the caller's context; they are freed at the end, or with the
 * context on an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/guc.h"
#include "wire/iso.h"
#include "wire/marker.h"
#include "wire/text.h"

/* More keys than this are sorted to find duplicates. */
#define PAIRWISE_KEYS	16

/* The kind of a key that is an array, a map or a set. */
#define CONTAINER_KEY	(-1)

/* What a key is compared by; off is where it stands. */
typedef struct CheckKey
{
	int			kind;			/* AtqTokenKind, or CONTAINER_KEY */
	int64		number;			/* of an int, float or bool; an ext's code */
	AtqSpan		bytes;			/* of a str, bin or ext; a whole container */
	Size		off;
} CheckKey;

/* A container that is being walked. */
typedef struct CheckLevel
{
	uint64		pending;		/* values still to come */
	bool		is_map;
	int			first_key;		/* MAP: its first on the key array */
	int			own_key;		/* the key that this container is, or -1 */
	Size		end;			/* of a set's data, else 0 */
} CheckLevel;

/* The arrays begin in the struct: most values never need more. */
typedef struct Check
{
	AtqReader	reader;
	CheckLevel *levels;
	int			depth;
	int			max_levels;
	CheckKey   *keys;
	int			key_count;
	int			max_keys;
	CheckLevel	few_levels[8];
	CheckKey	few_keys[32];
} Check;

static void check_token(Check *check);
static void *grow(void *array, void *few, int *max, Size item_size);
static int	check_key(Check *check, const AtqToken *token, Size off);
static void check_str(const Check *check, AtqSpan text);
static bool check_ext(Check *check, const AtqToken *token, int own_key);
static void check_scalar_ext(const Check *check, const AtqToken *token);
static void open_level(Check *check, uint64 pending, bool is_map,
					   int own_key);
static void close_levels(Check *check);
static void check_duplicates(CheckKey *keys, int count);
static AtqSpan normal_form(AtqSpan value);
static void append_normal(StringInfo buf, AtqReader *reader);
static int	compare_keys(const void *a, const void *b);

/* Checks a whole value; see msgpack.h for what is thrown. */
void
atq_msgpack_check(AtqSpan value)
{
	Check		check;

	atq_msgpack_check_size(value.len);
	atq_msgpack_open(&check.reader, value);
	check.depth = 0;
	check.max_levels = lengthof(check.few_levels);
	check.levels = check.few_levels;
	check.key_count = 0;
	check.max_keys = lengthof(check.few_keys);
	check.keys = check.few_keys;

	do
	{
		CHECK_FOR_INTERRUPTS();
		check_token(&check);
		close_levels(&check);
	} while (check.depth > 0);

	if (check.reader.off != value.len)
		atq_msgpack_fail("data follows the value", check.reader.off);

	if (check.levels != check.few_levels)
		pfree(check.levels);
	if (check.keys != check.few_keys)
		pfree(check.keys);
}

/* Throws 54000 when a value of this size exceeds asynctasq.max_payload. */
void
atq_msgpack_check_size(Size len)
{
	if (len > (Size) atq_max_payload_kb * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("MessagePack value of %zu bytes exceeds the maximum of %d kB",
						len, atq_max_payload_kb),
				 errhint("Raise \"%s\", or pass less.",
						 "asynctasq.max_payload")));
}

/* Reads and checks one token, opening a level for a container. */
static void
check_token(Check *check)
{
	AtqToken	token;
	Size		off = check->reader.off;
	int			own_key = -1;

	atq_msgpack_next(&check->reader, &token);

	if (token.kind == ATQ_TOKEN_STR)
		check_str(check, token.v.bytes);

	if (check->depth > 0)
	{
		CheckLevel *level = &check->levels[check->depth - 1];

		if (level->is_map && level->pending % 2 == 0)
			own_key = check_key(check, &token, off);
		level->pending--;
	}

	switch (token.kind)
	{
		case ATQ_TOKEN_ARRAY:
			open_level(check, token.count, false, own_key);
			break;
		case ATQ_TOKEN_MAP:
			open_level(check, 2 * (uint64) token.count, true, own_key);
			break;
		case ATQ_TOKEN_EXT:
			if (!check_ext(check, &token, own_key))
				check_scalar_ext(check, &token);
			break;
		default:
			break;
	}
}

/* Doubles an array, which may be the one in the struct. */
static void *
grow(void *array, void *few, int *max, Size item_size)
{
	Size		size = *max * item_size;

	*max *= 2;
	if (array != few)
		return repalloc_huge(array, 2 * size);
	return memcpy(MemoryContextAllocHuge(CurrentMemoryContext, 2 * size),
				  few, size);
}

/*
 * Puts a key on the array and returns where, or -1 if it is complete.  One
 * that is a container gets its bytes when it is closed.
 */
static int
check_key(Check *check, const AtqToken *token, Size off)
{
	CheckKey   *key;

	if (check->key_count == check->max_keys)
		check->keys = grow(check->keys, check->few_keys, &check->max_keys,
						   sizeof(CheckKey));
	key = &check->keys[check->key_count];
	key->kind = token->kind;
	key->number = 0;
	key->off = off;
	key->bytes.data = check->reader.data + off;
	key->bytes.len = 0;

	switch (token->kind)
	{
		case ATQ_TOKEN_NIL:
			break;
		case ATQ_TOKEN_BOOL:
			key->number = token->v.boolean;
			break;
		case ATQ_TOKEN_INT:
		case ATQ_TOKEN_UINT:
			key->number = token->v.i;
			break;
		case ATQ_TOKEN_FLOAT:
			memcpy(&key->number, &token->v.f, sizeof(key->number));
			break;
		case ATQ_TOKEN_STR:
		case ATQ_TOKEN_BIN:
			key->bytes = token->v.bytes;
			break;
		case ATQ_TOKEN_EXT:
			if (!atq_token_is_set(token))
			{
				key->number = token->ext_code;
				key->bytes = token->v.bytes;
				break;
			}
			/* FALLTHROUGH */
		default:
			key->kind = CONTAINER_KEY;
			return check->key_count++;
	}
	check->key_count++;
	return -1;
}

/* Throws 22021 when a str is no UTF-8. */
static void
check_str(const Check *check, AtqSpan text)
{
	Size		good = atq_text_verify(text);

	if (good < text.len)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("invalid UTF-8 in MessagePack str"),
				 errdetail("The error is at byte %zu.",
						   (Size) (text.data - check->reader.data) +good)));
}

/*
 * Opens a set: its data must be one array, which is the level.  False when
 * the ext is no set.
 */
static bool
check_ext(Check *check, const AtqToken *token, int own_key)
{
	AtqReader  *reader = &check->reader;
	Size		end = reader->off;
	AtqToken	inner;

	if (!atq_token_is_set(token))
		return false;

	reader->off = token->v.bytes.data - reader->data;
	if (token->v.bytes.len == 0)
		atq_msgpack_fail("a set holds no array", reader->off);
	atq_msgpack_next(reader, &inner);
	if (inner.kind != ATQ_TOKEN_ARRAY)
		atq_msgpack_fail("a set holds no array", end - token->v.bytes.len);

	open_level(check, inner.count, false, own_key);
	check->levels[check->depth - 1].end = end;
	return true;
}

/* Throws 22P03 when an ext of a known code is not what it should be. */
static void
check_scalar_ext(const Check *check, const AtqToken *token)
{
	Size		off = token->v.bytes.data - check->reader.data;
	AtqIso		iso;
	int64		seconds;
	uint32		nanos;

	switch (token->ext_code)
	{
		case ATQ_EXT_TIMESTAMP:
			if (!atq_token_timestamp(token, &seconds, &nanos))
				atq_msgpack_fail("a timestamp is malformed", off);
			break;
		case ATQ_EXT_DATETIME:
			if (!atq_iso_read_datetime(token->v.bytes, &iso))
				atq_msgpack_fail("a datetime is not in ISO format", off);
			break;
		case ATQ_EXT_DATE:
			if (!atq_iso_read_date(token->v.bytes, &iso))
				atq_msgpack_fail("a date is not in ISO format", off);
			break;
		case ATQ_EXT_UUID:
			if (token->v.bytes.len != 16)
				atq_msgpack_fail("a UUID is not 16 bytes long", off);
			break;
		case ATQ_EXT_DECIMAL:
			if (!atq_decimal_valid(token->v.bytes))
				atq_msgpack_fail("a Decimal is malformed", off);
			break;
		default:
			break;
	}
}

/* Throws 54000 when the value is deeper than asynctasq.max_depth. */
static void
open_level(Check *check, uint64 pending, bool is_map, int own_key)
{
	CheckLevel *level;

	if (check->depth >= atq_max_depth)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("MessagePack value is nested deeper than the maximum of %d levels",
						atq_max_depth),
				 errdetail("The limit is reached at byte %zu.",
						   check->reader.off),
				 errhint("Raise \"%s\", or pass less.",
						 "asynctasq.max_depth")));

	if (check->depth == check->max_levels)
		check->levels = grow(check->levels, check->few_levels,
							 &check->max_levels, sizeof(CheckLevel));
	level = &check->levels[check->depth++];
	level->pending = pending;
	level->is_map = is_map;
	level->first_key = check->key_count;
	level->own_key = own_key;
	level->end = 0;
}

/* Closes every level that has come to its end. */
static void
close_levels(Check *check)
{
	while (check->depth > 0)
	{
		CheckLevel *level = &check->levels[check->depth - 1];

		if (level->pending > 0)
			return;
		if (level->end > 0 && check->reader.off != level->end)
			atq_msgpack_fail("a set does not end with its array",
							 check->reader.off);
		if (level->is_map)
		{
			check_duplicates(check->keys + level->first_key,
							 check->key_count - level->first_key);
			check->key_count = level->first_key;
		}
		if (level->own_key >= 0)
		{
			CheckKey   *key = &check->keys[level->own_key];

			key->bytes.len = check->reader.off - key->off;
		}
		check->depth--;
	}
}

/* Throws 22P03 when two keys are equal; reorders them. */
static void
check_duplicates(CheckKey *keys, int count)
{
	int			containers = 0;
	int			i;
	int			j;

	for (i = 0; i < count; i++)
		containers += keys[i].kind == CONTAINER_KEY;
	for (i = 0; i < count && containers > 1; i++)
		if (keys[i].kind == CONTAINER_KEY)
			keys[i].bytes = normal_form(keys[i].bytes);

	if (count > PAIRWISE_KEYS)
		qsort(keys, count, sizeof(CheckKey), compare_keys);

	for (i = 1; i < count; i++)
	{
		int			first = count > PAIRWISE_KEYS ? i - 1 : 0;

		for (j = first; j < i; j++)
			if (compare_keys(&keys[i], &keys[j]) == 0)
				atq_msgpack_fail("a map holds a key twice",
								 Max(keys[i].off, keys[j].off));
	}

	for (i = 0; i < count && containers > 1; i++)
		if (keys[i].kind == CONTAINER_KEY)
			pfree((char *) keys[i].bytes.data);
}

/* The value with each of its tokens in the shortest form; palloc'd. */
static AtqSpan
normal_form(AtqSpan value)
{
	AtqReader	reader;
	StringInfoData buf;

	initStringInfo(&buf);
	atq_msgpack_open(&reader, value);
	append_normal(&buf, &reader);
	return (AtqSpan) {buf.data, buf.len};
}

static void
append_normal(StringInfo buf, AtqReader *reader)
{
	AtqToken	token;
	bool		set;
	int8		code;
	int			start = buf->len;
	uint64		items = 0;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	atq_msgpack_next(reader, &token);
	set = atq_token_is_set(&token);
	code = token.ext_code;
	atq_marker_enter_set(reader, &token);

	switch (token.kind)
	{
		case ATQ_TOKEN_NIL:
			atq_pack_nil(buf);
			break;
		case ATQ_TOKEN_BOOL:
			atq_pack_bool(buf, token.v.boolean);
			break;
		case ATQ_TOKEN_INT:
			atq_pack_int(buf, token.v.i);
			break;
		case ATQ_TOKEN_UINT:
			atq_pack_uint(buf, token.v.u);
			break;
		case ATQ_TOKEN_FLOAT:
			atq_pack_float(buf, token.v.f);
			break;
		case ATQ_TOKEN_STR:
			atq_pack_str(buf, token.v.bytes.data, token.v.bytes.len);
			break;
		case ATQ_TOKEN_BIN:
			atq_pack_bin(buf, token.v.bytes.data, token.v.bytes.len);
			break;
		case ATQ_TOKEN_EXT:
			atq_pack_ext(buf, code, token.v.bytes.data, token.v.bytes.len);
			break;
		case ATQ_TOKEN_ARRAY:
			atq_pack_array(buf, token.count);
			items = token.count;
			break;
		case ATQ_TOKEN_MAP:
			atq_pack_map(buf, token.count);
			items = 2 * (uint64) token.count;
			break;
	}
	for (; items > 0; items--)
		append_normal(buf, reader);
	if (set)
		atq_pack_wrap(buf, start, code);
}

/* Any total order does, as long as equal keys are equal in it. */
static int
compare_keys(const void *a, const void *b)
{
	const CheckKey *x = a;
	const CheckKey *y = b;

	CHECK_FOR_INTERRUPTS();
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	if (x->bytes.len != y->bytes.len)
		return x->bytes.len < y->bytes.len ? -1 : 1;
	return memcmp(x->bytes.data, y->bytes.data, x->bytes.len);
}
