/*-------------------------------------------------------------------------
 *
 * marker.c
 *	  The dict markers that older producers wrote instead of ext types.
 *
 * {"__date__": "2024-02-29"} and its like are what they say, as long as the
 * text is well formed; else they are ordinary maps.  Only what decodes to
 * SQL values and plain JSON looks here: in the tagged form such a map stays
 * a map, so that it keeps its bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "wire/iso.h"
#include "wire/marker.h"

static bool match_marker(AtqReader *reader, AtqToken *token);
static bool match_text(const AtqToken *name, AtqToken *value);
static bool uuid_shaped(AtqSpan text);

/* Reads one token, a marker map as the ext it stands for. */
void
atq_marker_next(AtqReader *reader, AtqToken *token)
{
	AtqReader	ahead;
	AtqToken	marked;

	atq_msgpack_next(reader, token);
	if (token->kind != ATQ_TOKEN_MAP || token->count != 1)
		return;

	ahead = *reader;
	if (match_marker(&ahead, &marked))
	{
		*reader = ahead;
		*token = marked;
	}
}

/*
 * Goes into a set's data.  It ends where the data ends, which was checked,
 * so the reader comes out behind the set by itself.
 */
void
atq_marker_enter_set(AtqReader *reader, AtqToken *token)
{
	if (!atq_token_is_set(token))
		return;

	reader->off = token->v.bytes.data - reader->data;
	atq_msgpack_next(reader, token);
	if (token->kind != ATQ_TOKEN_ARRAY)
		atq_msgpack_fail("a set holds no array", reader->off);
}

/* Reads the one pair of a map; true when it is a marker. */
static bool
match_marker(AtqReader *reader, AtqToken *token)
{
	AtqToken	name;

	atq_msgpack_next(reader, &name);
	if (name.kind != ATQ_TOKEN_STR)
		return false;

	atq_msgpack_next(reader, token);
	if (token->kind == ATQ_TOKEN_ARRAY)
		return atq_token_is(&name, "__set__");
	return token->kind == ATQ_TOKEN_STR && match_text(&name, token);
}

/* Turns a marker's text into the ext of its name, if it is well formed. */
static bool
match_text(const AtqToken *name, AtqToken *value)
{
	AtqIso		iso;
	bool		good;

	if (atq_token_is(name, "__datetime__"))
	{
		value->ext_code = ATQ_EXT_DATETIME;
		good = atq_iso_read_datetime(value->v.bytes, &iso);
	}
	else if (atq_token_is(name, "__date__"))
	{
		value->ext_code = ATQ_EXT_DATE;
		good = atq_iso_read_date(value->v.bytes, &iso);
	}
	else if (atq_token_is(name, "__decimal__"))
	{
		value->ext_code = ATQ_EXT_DECIMAL;
		good = atq_decimal_valid(value->v.bytes);
	}
	else
	{
		value->ext_code = ATQ_EXT_UUID;
		good = atq_token_is(name, "__uuid__") &&
			uuid_shaped(value->v.bytes);
	}
	value->kind = ATQ_TOKEN_EXT;
	return good;
}

/* True for 8-4-4-4-12 hexadecimal digits. */
static bool
uuid_shaped(AtqSpan text)
{
	Size		i;

	if (text.len != 36)
		return false;
	for (i = 0; i < text.len; i++)
	{
		bool		dash = (i == 8 || i == 13 || i == 18 || i == 23);

		if (dash ? text.data[i] != '-' :
			!isxdigit((unsigned char) text.data[i]))
			return false;
	}
	return true;
}
