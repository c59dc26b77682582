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
 * seen: one that is no text makes it a "__map__".  Looking ahead at every map
 * would read nested ones over and over, so a first walk over the bytes
 * notes, for each map in the order of their headers, how it must be written,
 * and the second follows the notes.  The plain form needs no notes: its keys
 * become text.
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

typedef struct Form
{
	AtqJsonOut	out;
	AtqReader	reader;
	bool		plain;
	bool		literal;		/* plain, and dict markers are maps */
	AtqJsonResolver resolve;	/* plain: NULL leaves references as maps */
	void	   *arg;
	StringInfoData notes;		/* tagged: a byte per map, true for __map__ */
	int			next_note;
	StringInfoData scratch;		/* for short texts, copied out */
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

static void write_tagged(Form *form, AtqSpan value);
static void note_maps(AtqReader *reader, StringInfo notes);
static void note_map(AtqReader *reader, uint32 pairs, StringInfo notes);
static bool has_nul(AtqSpan text);
static void write_value(Form *form);
static void write_items(Form *form, uint32 count);
static void write_map(Form *form, uint32 pairs);
static void write_pairs(Form *form, uint32 pairs);
static void write_plain_map(Form *form, uint32 pairs, Size start);
static AtqSpan plain_key(Form *form);
static void write_str(Form *form, AtqSpan text);
static void write_bytes(Form *form, AtqSpan bytes);
static void write_float(Form *form, double value);
static void write_uint(Form *form, uint64 value);
static void write_ext(Form *form, const AtqToken *token);
static void write_unknown_ext(Form *form, const AtqToken *token);
static void write_decimal(Form *form, AtqSpan digits);
static void write_timestamp(Form *form, const AtqToken *token);
static AtqSpan copy_scratch(Form *form);
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
	write_tagged(&form, value);
	return atq_out_finish(&form.out);
}

/* Appends the tagged form's text, in the server's encoding. */
void
atq_json_print(StringInfo buf, AtqSpan value)
{
	Form		form = {0};

	atq_out_open_text(&form.out, buf);
	write_tagged(&form, value);
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
	atq_msgpack_open(&form.reader, value);
	form.plain = true;
	form.resolve = resolve;
	form.arg = arg;
	initStringInfo(&form.scratch);
	write_value(&form);
	return atq_out_finish(&form.out);
}

/* The JSON that atq_json_pack_literal has packed; throws as the plain form. */
Jsonb *
atq_json_literal(AtqSpan value)
{
	Form		form = {0};

	atq_out_open_jsonb(&form.out);
	atq_msgpack_open(&form.reader, value);
	form.plain = true;
	form.literal = true;
	initStringInfo(&form.scratch);
	write_value(&form);
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
write_tagged(Form *form, AtqSpan value)
{
	AtqReader	reader;

	initStringInfo(&form->notes);
	initStringInfo(&form->scratch);
	atq_msgpack_open(&reader, value);
	note_maps(&reader, &form->notes);
	atq_msgpack_open(&form->reader, value);
	write_value(form);
	pfree(form->notes.data);
	pfree(form->scratch.data);
}

/* Notes how each map of a value must be written, and goes behind it. */
static void
note_maps(AtqReader *reader, StringInfo notes)
{
	AtqToken	token;
	uint32		i;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	atq_msgpack_next(reader, &token);
	atq_marker_enter_set(reader, &token);
	if (token.kind == ATQ_TOKEN_ARRAY)
	{
		for (i = 0; i < token.count; i++)
			note_maps(reader, notes);
	}
	else if (token.kind == ATQ_TOKEN_MAP)
		note_map(reader, token.count, notes);
}

/* A key that no JSON object can have, or a tag's look, make a __map__. */
static void
note_map(AtqReader *reader, uint32 pairs, StringInfo notes)
{
	int			note = notes->len;
	uint32		i;

	appendStringInfoChar(notes, false);
	for (i = 0; i < pairs; i++)
	{
		AtqReader	key_reader = *reader;
		AtqToken	key;

		atq_msgpack_next(&key_reader, &key);
		if (key.kind != ATQ_TOKEN_STR || !atq_text_fits(key.v.bytes) ||
			(pairs == 1 && atq_tag_find(key.v.bytes) != ATQ_TAG_NONE))
		{
			notes->data[note] = true;
			note_maps(reader, notes);
		}
		else
			*reader = key_reader;
		note_maps(reader, notes);
	}
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
	if (form->plain && !form->literal)
		atq_marker_next(&form->reader, &token);
	else
		atq_msgpack_next(&form->reader, &token);
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
			if (form->plain)
				write_plain_map(form, token.count, start);
			else
				write_map(form, token.count);
			break;
	}
}

static void
write_items(Form *form, uint32 count)
{
	uint32		i;

	atq_out_begin_array(&form->out);
	for (i = 0; i < count; i++)
		write_value(form);
	atq_out_end_array(&form->out);
}

/* Writes a map as the notes say. */
static void
write_map(Form *form, uint32 pairs)
{
	uint32		i;

	if (form->notes.data[form->next_note++])
	{
		write_pairs(form, pairs);
		return;
	}
	atq_out_begin_object(&form->out);
	for (i = 0; i < pairs; i++)
	{
		AtqToken	key;

		atq_msgpack_next(&form->reader, &key);
		atq_out_key(&form->out, atq_text_import(key.v.bytes));
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
	atq_out_begin_array(&form->out);
	for (i = 0; i < pairs; i++)
	{
		atq_out_begin_array(&form->out);
		write_value(form);
		write_value(form);
		atq_out_end_array(&form->out);
	}
	atq_out_end_array(&form->out);
	end_tag(form);
}

/*
 * Writes a map with its keys as text, or what a reference stands for; start
 * is where its header stands.
 */
static void
write_plain_map(Form *form, uint32 pairs, Size start)
{
	AtqReader  *reader = &form->reader;
	AtqSpan		whole = {reader->data + start, reader->len - start};
	AtqReference reference;
	uint32		i;

	if (form->resolve && atq_reference_match(whole, &reference))
	{
		Jsonb	   *row = form->resolve(&reference, form->arg);

		if (row)
			atq_out_jsonb(&form->out, row);
		else
			atq_out_null(&form->out);
		reader->off = start + reference.whole.len;
		return;
	}

	atq_out_begin_object(&form->out);
	for (i = 0; i < pairs; i++)
	{
		atq_out_key(&form->out, plain_key(form));
		write_value(form);
	}
	if ((uint32) atq_out_end_object(&form->out) != pairs)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_JSON_OBJECT_KEY_VALUE),
				 errmsg("two keys of a MessagePack map are the same text in plain JSON"),
				 errhint("Take the argument as type asynctasq.msgpack.")));
}

/* Reads a key as text. */
static AtqSpan
plain_key(Form *form)
{
	AtqReader	ahead = form->reader;
	AtqToken	key;

	atq_msgpack_next(&ahead, &key);
	if (key.kind == ATQ_TOKEN_STR && !has_nul(key.v.bytes))
	{
		form->reader = ahead;
		return atq_text_import(key.v.bytes);
	}

	resetStringInfo(&form->scratch);
	atq_json_text(&form->scratch, atq_msgpack_skip(&form->reader));
	return copy_scratch(form);
}

static void
write_str(Form *form, AtqSpan text)
{
	if (form->plain ? !has_nul(text) : atq_text_fits(text))
	{
		atq_out_string(&form->out, atq_text_import(text));
		return;
	}
	if (form->plain)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("cannot convert MessagePack str to plain JSON"),
				 errdetail("It holds the character U+0000."),
				 errhint("Take the argument as type asynctasq.msgpack.")));

	begin_tag(form, ATQ_TAG_STR);
	atq_out_string(&form->out, encode_base64(text));
	end_tag(form);
}

static void
write_bytes(Form *form, AtqSpan bytes)
{
	if (!form->plain)
		begin_tag(form, ATQ_TAG_BYTES);
	atq_out_string(&form->out, encode_base64(bytes));
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
	write_ascii(form, pstrdup(digits));
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
	atq_out_string(&form->out, copy_scratch(form));
	if (!form->plain)
		end_tag(form);
}

/* Writes {"__ext__": [code, base64]}, in both forms. */
static void
write_unknown_ext(Form *form, const AtqToken *token)
{
	begin_tag(form, ATQ_TAG_EXT);
	atq_out_begin_array(&form->out);
	atq_out_int(&form->out, token->ext_code);
	atq_out_string(&form->out, encode_base64(token->v.bytes));
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
	atq_out_string(&form->out, copy_scratch(form));
	if (!form->plain)
		end_tag(form);
}

/* What stands in the scratch buffer; Jsonb needs it to stay. */
static AtqSpan
copy_scratch(Form *form)
{
	AtqSpan		copy = {form->scratch.data, form->scratch.len};

	if (!form->out.text)
		copy.data = pnstrdup(copy.data, copy.len);
	return copy;
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

	atq_out_begin_object(&form->out);
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
