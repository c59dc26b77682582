/*-------------------------------------------------------------------------
 *
 * jsonform.c
 *	  MessagePack as JSON: the tagged, lossless form and the plain one.
 *
 * One walk over the bytes writes either form, into text or Jsonb.  It goes
 * down the C stack, guarded; the depth was limited when the bytes were
 * checked.
 *
 * Whether a map can be a JSON object is only known when its last key was
 * seen: one that is no text makes it a "__map__".  Jsonb has all keys of an
 * object, in an order of its own, in front of the values.  Looking ahead at
 * every map would read nested ones over and over, so a first walk over the
 * bytes notes what each map is, in the order of their headers, and for Jsonb
 * its keys and where their values are.  The second walk follows the notes, and
 * goes from value to value in the order of the keys.  A map without pairs
 * needs no note.
 *
 * Text that the server's encoding cannot hold goes as base64, as does what
 * holds U+0000: whoever looks at a task must see it, not an error.
 *
 * A float is a JSON number only when it will come back as a float, through
 * jsonb too, which knows no exponents: its text has a point and its value a
 * fraction.  Other floats are tagged.
 *
 * Memory: everything is palloc'd in the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/base64.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "wire/iso.h"
#include "wire/jsonform.h"
#include "wire/jsonout.h"
#include "wire/marker.h"
#include "wire/text.h"

/* What a map becomes. */
typedef enum MapKind
{
	MAP_OBJECT,
	MAP_PAIRS,					/* tagged: a "__map__" */
	MAP_REFERENCE				/* plain: what it stands for */
} MapKind;

typedef struct MapNote
{
	MapKind		kind;
	uint32		end;			/* the offset of what is behind it */
	uint32		next_note;		/* the first note of what is behind it */
	uint32		first_pair;		/* Jsonb object: those from here on are its */
} MapNote;

/* Of a Jsonb object, in the order of the keys once all have been seen. */
typedef struct MapPair
{
	AtqSpan		key;			/* in the server's encoding */
	uint32		value;			/* its offset */
	uint32		note;			/* its first note */
} MapPair;

typedef struct Form
{
	AtqJsonOut	out;
	AtqReader	reader;
	bool		plain;
	bool		literal;		/* plain, and dict markers are maps */
	AtqJsonResolver resolve;	/* plain: NULL leaves references as maps */
	void	   *arg;
	MapNote    *notes;
	uint32		nnotes;
	uint32		max_notes;
	MapPair    *pairs;
	uint32		npairs;
	uint32		max_pairs;
	uint32		next_note;		/* second walk */
	StringInfoData scratch;		/* for short texts */
} Form;

static const char *const tag_names[] = {
	[ATQ_TAG_DATETIME] = "__datetime__",
	[ATQ_TAG_DATE] = "__date__",
	[ATQ_TAG_UUID] = "__uuid__",
	[ATQ_TAG_DECIMAL] = "__decimal__",
	[ATQ_TAG_SET] = "__set__",
	[ATQ_TAG_FROZENSET] = "__frozenset__",
	[ATQ_TAG_BYTES] = "__bytes__",
	[ATQ_TAG_TIMESTAMP] = "__timestamp__",
	[ATQ_TAG_FLOAT] = "__float__",
	[ATQ_TAG_STR] = "__str__",
	[ATQ_TAG_MAP] = "__map__",
	[ATQ_TAG_EXT] = "__ext__",
};

static void write_form(Form *form, AtqSpan value);
static void read_token(Form *form, AtqToken *token);
static void note_maps(Form *form);
static void note_map(Form *form, uint32 pairs, Size start);
static bool match_reference(Form *form, Size start, AtqReference *reference);
static MapKind note_pairs(Form *form, uint32 pairs, uint32 first);
static bool note_key(Form *form, uint32 pairs, AtqSpan *key);
static void sort_pairs(MapPair *pairs, uint32 count);
static int	compare_pairs(const void *a, const void *b);
static void *grow(void *array, uint32 *max, uint32 needed, Size size);
static bool has_nul(AtqSpan text);
static void write_value(Form *form);
static void write_items(Form *form, uint32 count);
static void write_map(Form *form, uint32 pairs, Size start);
static void write_members(Form *form, uint32 pairs);
static void write_object(Form *form, const MapPair *members, uint32 pairs);
static void write_pairs(Form *form, uint32 pairs);
static void write_reference(Form *form, Size start);
static AtqSpan plain_key(Form *form);
static void write_str(Form *form, AtqSpan text);
static void write_bytes(Form *form, AtqSpan bytes);
static void write_float(Form *form, double value);
static void write_uint(Form *form, uint64 value);
static void write_ext(Form *form, const AtqToken *token);
static void write_unknown_ext(Form *form, const AtqToken *token);
static void write_decimal(Form *form, AtqSpan digits);
static void write_timestamp(Form *form, const AtqToken *token);
static void write_scratch(Form *form);
static void write_base64(Form *form, AtqSpan bytes);
static void write_ascii(Form *form, const char *text);
static void begin_tag(Form *form, AtqTag tag);
static void end_tag(Form *form);
static AtqSpan encode_base64(AtqSpan bytes);
static bool scalar_text(StringInfo buf, const AtqToken *token);
static bool ext_text(StringInfo buf, const AtqToken *token);

AtqTag
atq_tag_find(AtqSpan name)
{
	int			i;

	if (name.len < 7 || name.data[0] != '_' || name.data[1] != '_')
		return ATQ_TAG_NONE;
	for (i = 0; i < lengthof(tag_names); i++)
		if (atq_text_is(name, tag_names[i]))
			return (AtqTag) i;
	return ATQ_TAG_NONE;
}

const char *
atq_tag_name(AtqTag tag)
{
	return tag_names[tag];
}

/* The tagged form as a palloc'd Jsonb. */
Jsonb *
atq_json_tagged(AtqSpan value)
{
	Form		form = {0};

	atq_out_open_jsonb(&form.out);
	write_form(&form, value);
	return atq_out_finish(&form.out);
}

/* Appends the tagged form's text, in the server's encoding. */
void
atq_json_print(StringInfo buf, AtqSpan value)
{
	Form		form = {0};

	atq_out_open_text(&form.out, buf);
	write_form(&form, value);
}

/*
 * The plain form as a palloc'd Jsonb.  Throws 22030 when two keys of a map
 * become the same text, 22P05 when a str holds U+0000.
 */
Jsonb *
atq_json_plain(AtqSpan value, AtqJsonResolver resolve, void *arg)
{
	Form		form = {0};

	atq_out_open_jsonb(&form.out);
	form.plain = true;
	form.resolve = resolve;
	form.arg = arg;
	write_form(&form, value);
	return atq_out_finish(&form.out);
}

/* The JSON that atq_json_pack_literal has packed; throws as the plain form. */
Jsonb *
atq_json_literal(AtqSpan value)
{
	Form		form = {0};

	atq_out_open_jsonb(&form.out);
	form.plain = true;
	form.literal = true;
	write_form(&form, value);
	return atq_out_finish(&form.out);
}

/* Appends a value as text, containers as tagged JSON. */
void
atq_json_text(StringInfo buf, AtqSpan value)
{
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (!scalar_text(buf, &token))
		atq_json_print(buf, value);
}

static void
write_form(Form *form, AtqSpan value)
{
	initStringInfo(&form->scratch);
	atq_msgpack_open(&form->reader, value);
	note_maps(form);
	atq_msgpack_open(&form->reader, value);
	write_value(form);
	pfree(form->scratch.data);
	if (form->notes != NULL)
		pfree(form->notes);
	if (form->pairs != NULL)
		pfree(form->pairs);
}

/* Reads a token as both walks take it, but for the sets of the tagged form. */
static void
read_token(Form *form, AtqToken *token)
{
	if (form->plain && !form->literal)
		atq_marker_next(&form->reader, token);
	else
		atq_msgpack_next(&form->reader, token);
}

/* Notes the maps of a value, and goes behind it. */
static void
note_maps(Form *form)
{
	Size		start = form->reader.off;
	AtqToken	token;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	read_token(form, &token);
	atq_marker_enter_set(&form->reader, &token);
	if (token.kind == ATQ_TOKEN_ARRAY)
	{
		for (uint32 i = 0; i < token.count; i++)
			note_maps(form);
	}
	else if (token.kind == ATQ_TOKEN_MAP && token.count > 0)
		note_map(form, token.count, start);
}

/* Start is where its header stands. */
static void
note_map(Form *form, uint32 pairs, Size start)
{
	uint32		note = form->nnotes++;
	uint32		first = form->npairs;
	AtqReference reference;
	MapKind		kind;

	form->notes = grow(form->notes, &form->max_notes, form->nnotes,
					   sizeof(MapNote));
	if (match_reference(form, start, &reference))
	{
		kind = MAP_REFERENCE;
		form->reader.off = start + reference.whole.len;
	}
	else
	{
		if (!form->out.text)
		{
			form->npairs += pairs;
			form->pairs = grow(form->pairs, &form->max_pairs, form->npairs,
							   sizeof(MapPair));
		}
		kind = note_pairs(form, pairs, first);
		if (!form->out.text && kind == MAP_OBJECT)
			sort_pairs(form->pairs + first, pairs);
	}
	form->notes[note].kind = kind;
	form->notes[note].end = form->reader.off;
	form->notes[note].next_note = form->nnotes;
	form->notes[note].first_pair = first;
}

static bool
match_reference(Form *form, Size start, AtqReference *reference)
{
	AtqSpan		whole = {form->reader.data + start, form->reader.len - start};

	return form->resolve != NULL && atq_reference_match(whole, reference);
}

/* Goes through the pairs of a map, and keeps those of a Jsonb object. */
static MapKind
note_pairs(Form *form, uint32 pairs, uint32 first)
{
	MapKind		kind = MAP_OBJECT;

	for (uint32 i = 0; i < pairs; i++)
	{
		AtqSpan		key;

		if (!note_key(form, pairs, &key))
			kind = MAP_PAIRS;
		else if (!form->out.text)
		{
			MapPair    *pair = &form->pairs[first + i];

			pair->key = key;
			pair->value = form->reader.off;
			pair->note = form->nnotes;
		}
		note_maps(form);
	}
	return kind;
}

/* False for what no JSON object can have as a key, or what looks like a tag. */
static bool
note_key(Form *form, uint32 pairs, AtqSpan *key)
{
	AtqReader	ahead = form->reader;
	AtqToken	token;

	if (form->plain)
	{
		*key = plain_key(form);
		return true;
	}
	atq_msgpack_next(&ahead, &token);
	if (token.kind != ATQ_TOKEN_STR || !atq_text_fits(token.v.bytes) ||
		(pairs == 1 && atq_tag_find(token.v.bytes) != ATQ_TAG_NONE))
	{
		note_maps(form);
		return false;
	}
	form->reader = ahead;
	if (!form->out.text)
		*key = atq_text_import(token.v.bytes);
	return true;
}

/* Brings pairs in the order of their keys; throws where two have the same. */
static void
sort_pairs(MapPair *pairs, uint32 count)
{
	if (count == 1)
		return;
	qsort(pairs, count, sizeof(MapPair), compare_pairs);
	for (uint32 i = 1; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (atq_jsonb_compare(pairs[i - 1].key, pairs[i].key) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_JSON_OBJECT_KEY_VALUE),
					 errmsg("two keys of a MessagePack map are the same text in plain JSON"),
					 errhint("Take the argument as type asynctasq.msgpack.")));
	}
}

static int
compare_pairs(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return atq_jsonb_compare(((const MapPair *) a)->key,
							 ((const MapPair *) b)->key);
}

/* The array with room for so many elements. */
static void *
grow(void *array, uint32 *max, uint32 needed, Size size)
{
	if (needed <= *max)
		return array;
	*max = Max(needed, *max * 2);
	if (array == NULL)
		return palloc_extended(*max * size, MCXT_ALLOC_HUGE);
	return repalloc_huge(array, *max * size);
}

static bool
has_nul(AtqSpan text)
{
	return memchr(text.data, '\0', text.len) != NULL;
}

/* Writes the value at the reader and goes behind it. */
static void
write_value(Form *form)
{
	Size		start = form->reader.off;
	AtqToken	token;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	read_token(form, &token);
	if (form->plain)
		atq_marker_enter_set(&form->reader, &token);
	switch (token.kind)
	{
		case ATQ_TOKEN_NIL:
			atq_out_null(&form->out);
			break;
		case ATQ_TOKEN_BOOL:
			atq_out_bool(&form->out, token.v.boolean);
			break;
		case ATQ_TOKEN_INT:
			atq_out_int(&form->out, token.v.i);
			break;
		case ATQ_TOKEN_UINT:
			write_uint(form, token.v.u);
			break;
		case ATQ_TOKEN_FLOAT:
			write_float(form, token.v.f);
			break;
		case ATQ_TOKEN_STR:
			write_str(form, token.v.bytes);
			break;
		case ATQ_TOKEN_BIN:
			write_bytes(form, token.v.bytes);
			break;
		case ATQ_TOKEN_EXT:
			write_ext(form, &token);
			break;
		case ATQ_TOKEN_ARRAY:
			write_items(form, token.count);
			break;
		case ATQ_TOKEN_MAP:
			write_map(form, token.count, start);
			break;
	}
}

static void
write_items(Form *form, uint32 count)
{
	uint32		i;

	atq_out_begin_array(&form->out, count);
	for (i = 0; i < count; i++)
		write_value(form);
	atq_out_end_array(&form->out);
}

/* Writes a map as its note says; start is where its header stands. */
static void
write_map(Form *form, uint32 pairs, Size start)
{
	const MapNote *note;

	if (pairs == 0)
	{
		atq_out_begin_object(&form->out, 0);
		atq_out_end_object(&form->out);
		return;
	}
	note = &form->notes[form->next_note++];
	if (note->kind == MAP_REFERENCE)
		write_reference(form, start);
	else if (note->kind == MAP_PAIRS)
		write_pairs(form, pairs);
	else if (form->out.text)
		write_members(form, pairs);
	else
		write_object(form, form->pairs + note->first_pair, pairs);
	form->reader.off = note->end;
	form->next_note = note->next_note;
}

/* Writes the members of an object as text, in the order in which they are. */
static void
write_members(Form *form, uint32 pairs)
{
	atq_out_begin_object(&form->out, pairs);
	for (uint32 i = 0; i < pairs; i++)
	{
		AtqToken	key;

		atq_msgpack_next(&form->reader, &key);
		atq_out_key(&form->out, atq_text_import(key.v.bytes));
		write_value(form);
	}
	atq_out_end_object(&form->out);
}

/* Writes an object of Jsonb; leaves the reader anywhere. */
static void
write_object(Form *form, const MapPair *members, uint32 pairs)
{
	atq_out_begin_object(&form->out, pairs);
	for (uint32 i = 0; i < pairs; i++)
	{
		CHECK_FOR_INTERRUPTS();
		atq_out_key(&form->out, members[i].key);
	}
	for (uint32 i = 0; i < pairs; i++)
	{
		form->reader.off = members[i].value;
		form->next_note = members[i].note;
		write_value(form);
	}
	atq_out_end_object(&form->out);
}

/* Writes a map as {"__map__": [[key, value], ..]}. */
static void
write_pairs(Form *form, uint32 pairs)
{
	uint32		i;

	begin_tag(form, ATQ_TAG_MAP);
	atq_out_begin_array(&form->out, pairs);
	for (i = 0; i < pairs; i++)
	{
		atq_out_begin_array(&form->out, 2);
		write_value(form);
		write_value(form);
		atq_out_end_array(&form->out);
	}
	atq_out_end_array(&form->out);
	end_tag(form);
}

/* Writes what a reference stands for. */
static void
write_reference(Form *form, Size start)
{
	AtqReference reference;
	Jsonb	   *row;

	if (!match_reference(form, start, &reference))
		elog(ERROR, "reference is none the second time");
	row = form->resolve(&reference, form->arg);
	if (row != NULL)
		atq_out_jsonb(&form->out, row);
	else
		atq_out_null(&form->out);
}

/* Reads a key as text. */
static AtqSpan
plain_key(Form *form)
{
	AtqReader	ahead = form->reader;
	AtqToken	key;
	AtqSpan		text;

	atq_msgpack_next(&ahead, &key);
	if (key.kind == ATQ_TOKEN_STR && !has_nul(key.v.bytes))
	{
		form->reader = ahead;
		return atq_text_import(key.v.bytes);
	}

	resetStringInfo(&form->scratch);
	atq_json_text(&form->scratch, atq_msgpack_skip(&form->reader));
	text.data = pnstrdup(form->scratch.data, form->scratch.len);
	text.len = form->scratch.len;
	return text;
}

static void
write_str(Form *form, AtqSpan text)
{
	if (form->plain ? !has_nul(text) : atq_text_fits(text))
	{
		AtqSpan		imported = atq_text_import(text);

		atq_out_string(&form->out, imported);
		if (imported.data != text.data)
			pfree((void *) imported.data);
		return;
	}
	if (form->plain)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("cannot convert MessagePack str to plain JSON"),
				 errdetail("It holds the character U+0000."),
				 errhint("Take the argument as type asynctasq.msgpack.")));

	begin_tag(form, ATQ_TAG_STR);
	write_base64(form, text);
	end_tag(form);
}

static void
write_bytes(Form *form, AtqSpan bytes)
{
	if (!form->plain)
		begin_tag(form, ATQ_TAG_BYTES);
	write_base64(form, bytes);
	if (!form->plain)
		end_tag(form);
}

static void
write_uint(Form *form, uint64 value)
{
	char		digits[24];

	digits[pg_ulltoa_n(value, digits)] = '\0';
	atq_out_number(&form->out, digits);
}

/*
 * A number where it comes back as the same float, else its text.  NaNs other
 * than the common one, as x86 computes them, show their bits.
 */
static void
write_float(Form *form, double value)
{
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	bool		finite = isfinite(value);

	double_to_shortest_decimal_buf(value, digits);
	if (isnan(value) && !form->plain)
		atq_nan_print(digits, sizeof(digits), value);
	if (form->plain ? finite :
		(finite && value != floor(value) && strchr(digits, '.')))
	{
		atq_out_number(&form->out, digits);
		return;
	}
	if (!form->plain)
		begin_tag(form, ATQ_TAG_FLOAT);
	write_ascii(form, digits);
	if (!form->plain)
		end_tag(form);
}

/* Writes an ext; in the plain form sets never come here. */
static void
write_ext(Form *form, const AtqToken *token)
{
	AtqToken	set = *token;
	AtqTag		tag;

	switch (token->ext_code)
	{
		case ATQ_EXT_DATETIME:
			tag = ATQ_TAG_DATETIME;
			break;
		case ATQ_EXT_DATE:
			tag = ATQ_TAG_DATE;
			break;
		case ATQ_EXT_UUID:
			tag = ATQ_TAG_UUID;
			break;
		case ATQ_EXT_DECIMAL:
			write_decimal(form, token->v.bytes);
			return;
		case ATQ_EXT_TIMESTAMP:
			write_timestamp(form, token);
			return;
		case ATQ_EXT_SET:
		case ATQ_EXT_FROZENSET:
			begin_tag(form, token->ext_code == ATQ_EXT_SET ?
					  ATQ_TAG_SET : ATQ_TAG_FROZENSET);
			atq_marker_enter_set(&form->reader, &set);
			write_items(form, set.count);
			end_tag(form);
			return;
		default:
			write_unknown_ext(form, token);
			return;
	}

	if (!form->plain)
		begin_tag(form, tag);
	resetStringInfo(&form->scratch);
	ext_text(&form->scratch, token);
	write_scratch(form);
	if (!form->plain)
		end_tag(form);
}

/* Writes {"__ext__": [code, base64]}, in both forms. */
static void
write_unknown_ext(Form *form, const AtqToken *token)
{
	begin_tag(form, ATQ_TAG_EXT);
	atq_out_begin_array(&form->out, 2);
	atq_out_int(&form->out, token->ext_code);
	write_base64(form, token->v.bytes);
	atq_out_end_array(&form->out);
	end_tag(form);
}

/* Plain: a number, if it is one; throws 22003 beyond numeric's range. */
static void
write_decimal(Form *form, AtqSpan digits)
{
	char	   *text = pnstrdup(digits.data, digits.len);

	if (!form->plain)
	{
		begin_tag(form, ATQ_TAG_DECIMAL);
		write_ascii(form, text);
		end_tag(form);
	}
	else if (strchr(text, 'N') || strchr(text, 'I'))
		write_ascii(form, text);
	else
		atq_out_number(&form->out, text);
	pfree(text);
}

/*
 * Writes an ext -1 as ISO text.  One that lies beyond Python's years, or is
 * not of its shortest form, goes as an unknown ext to keep its bytes.
 */
static void
write_timestamp(Form *form, const AtqToken *token)
{
	StringInfo	scratch = &form->scratch;
	int64		seconds;
	uint32		nanos;
	bool		shortest;

	resetStringInfo(scratch);
	if (!atq_token_timestamp(token, &seconds, &nanos))
	{
		write_unknown_ext(form, token);
		return;
	}
	atq_pack_timestamp(scratch, seconds, nanos);
	shortest = scratch->len ==
		(int) token->v.bytes.len + (token->v.bytes.len == 12 ? 3 : 2);

	resetStringInfo(scratch);
	if (!atq_iso_print_unix(scratch, seconds, nanos) ||
		!(shortest || form->plain))
	{
		write_unknown_ext(form, token);
		return;
	}
	if (!form->plain)
		begin_tag(form, ATQ_TAG_TIMESTAMP);
	write_scratch(form);
	if (!form->plain)
		end_tag(form);
}

static void
write_scratch(Form *form)
{
	AtqSpan		text = {form->scratch.data, form->scratch.len};

	atq_out_string(&form->out, text);
}

static void
write_base64(Form *form, AtqSpan bytes)
{
	AtqSpan		text = encode_base64(bytes);

	atq_out_string(&form->out, text);
	pfree((void *) text.data);
}

static void
write_ascii(Form *form, const char *text)
{
	AtqSpan		span = {text, strlen(text)};

	atq_out_string(&form->out, span);
}

static void
begin_tag(Form *form, AtqTag tag)
{
	AtqSpan		name = {tag_names[tag], strlen(tag_names[tag])};

	atq_out_begin_object(&form->out, 1);
	atq_out_key(&form->out, name);
}

static void
end_tag(Form *form)
{
	atq_out_end_object(&form->out);
}

/* Bytes as palloc'd base64, on one line. */
static AtqSpan
encode_base64(AtqSpan bytes)
{
	int			size = pg_b64_enc_len((int) bytes.len);
	char	   *text = palloc(size + 1);
	int			len;
	AtqSpan		result;

	len = pg_b64_encode((const void *) bytes.data, (int) bytes.len,
						text, size);
	if (len < 0)
		elog(ERROR, "could not encode %zu bytes", bytes.len);
	result.data = text;
	result.len = len;
	return result;
}

/*
 * Appends a scalar's text in the server's encoding; false, and nothing
 * appended, for containers and sets.
 */
static bool
scalar_text(StringInfo buf, const AtqToken *token)
{
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	AtqSpan		bytes = token->v.bytes;
	char	   *text;

	switch (token->kind)
	{
		case ATQ_TOKEN_NIL:
			appendStringInfoString(buf, "null");
			return true;
		case ATQ_TOKEN_BOOL:
			appendStringInfoString(buf, token->v.boolean ? "true" : "false");
			return true;
		case ATQ_TOKEN_INT:
			appendStringInfo(buf, INT64_FORMAT, token->v.i);
			return true;
		case ATQ_TOKEN_UINT:
			appendStringInfo(buf, UINT64_FORMAT, token->v.u);
			return true;
		case ATQ_TOKEN_FLOAT:
			double_to_shortest_decimal_buf(token->v.f, digits);
			appendStringInfoString(buf, digits);
			return true;
		case ATQ_TOKEN_STR:
			text = atq_text_cstring(bytes);
			appendStringInfoString(buf, text);
			pfree(text);
			return true;
		case ATQ_TOKEN_BIN:
			bytes = encode_base64(bytes);
			appendBinaryStringInfo(buf, bytes.data, (int) bytes.len);
			return true;
		case ATQ_TOKEN_EXT:
			return ext_text(buf, token);
		default:
			return false;
	}
}

/* The same for an ext; false for sets and unknown codes. */
static bool
ext_text(StringInfo buf, const AtqToken *token)
{
	AtqSpan		bytes = token->v.bytes;
	int64		seconds;
	uint32		nanos;
	int			i;

	switch (token->ext_code)
	{
		case ATQ_EXT_TIMESTAMP:
			return atq_token_timestamp(token, &seconds, &nanos) &&
				atq_iso_print_unix(buf, seconds, nanos);
		case ATQ_EXT_UUID:
			if (bytes.len == UUID_LEN)
			{
				for (i = 0; i < UUID_LEN; i++)
					appendStringInfo(buf, i == 4 || i == 6 || i == 8 ||
									 i == 10 ? "-%02x" : "%02x",
									 (unsigned char) bytes.data[i]);
				return true;
			}
			/* a marker's is text */
			/* FALLTHROUGH */
		case ATQ_EXT_DATETIME:
		case ATQ_EXT_DATE:
		case ATQ_EXT_DECIMAL:
			appendBinaryStringInfo(buf, bytes.data, (int) bytes.len);
			return true;
		default:
			return false;
	}
}
