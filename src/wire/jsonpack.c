/*-------------------------------------------------------------------------
 *
 * jsonpack.c
 *	  Tagged JSON, as text or as Jsonb, into MessagePack.
 *
 * MessagePack wants to know how many items follow before the first one, and
 * whether an object is a tag shows only at its end.  So the JSON is first
 * laid out on a tape: one node per value or key, in the order they stand,
 * with the count of items in the node that opens a container.  The second
 * pass reads the tape from left to right and writes bytes.
 *
 * JSON text comes through the server's parser by callbacks, because jsonb
 * would sort the keys; Jsonb through its iterator.  Numbers stay text, so no
 * digit is lost on the way.
 *
 * The work is bounded before it is done: every byte of MessagePack takes at
 * most four nodes, and every level at most three of JSON.
 *
 * Memory: the tape is palloc'd in the caller's context and freed at the end,
 * or with the context on an error.  Strings are the parser's, or lie in the
 * Jsonb.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/base64.h"
#include "common/jsonapi.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonfuncs.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/guc.h"
#include "wire/iso.h"
#include "wire/jsonform.h"
#include "wire/text.h"

/* JSON levels of one level of a __map__, and nodes of a byte, at most. */
#define JSON_LEVELS_PER_LEVEL	3
#define NODES_PER_BYTE			4

typedef enum TapeKind
{
	NODE_NULL,
	NODE_BOOL,
	NODE_NUMBER,
	NODE_STRING,				/* also a key, in front of its value */
	NODE_ARRAY,
	NODE_OBJECT
} TapeKind;

typedef struct TapeNode
{
	TapeKind	kind;
	uint32		count;			/* ARRAY: items; OBJECT: pairs; BOOL: 1 */
	const char *text;			/* NUMBER, STRING: in the server's encoding */
	Size		len;
} TapeNode;

typedef struct Tape
{
	TapeNode   *nodes;
	int			count;
	int			max_count;
	int		   *open;			/* the open containers' nodes */
	int			depth;
	int			max_depth;
} Tape;

/* Reads a tape from left to right. */
typedef struct Packer
{
	StringInfo	buf;
	const TapeNode *node;
	bool		literal;		/* objects are maps, none is a tag */
} Packer;

static void tape_open(Tape *tape);
static void tape_close(Tape *tape);
static TapeNode *tape_add(Tape *tape, TapeKind kind);
static void tape_add_text(Tape *tape, TapeKind kind, const char *text,
						  Size len);
static void tape_begin(Tape *tape, TapeKind kind);
static void tape_end(Tape *tape);
static void tape_from_text(Tape *tape, const char *json, Size len);
static void hint_nul(void *arg);
static void tape_from_jsonb(Tape *tape, Jsonb *json);
static void tape_add_jsonb(Tape *tape, const JsonbValue *value);
static void pack_tape(StringInfo buf, const Tape *tape, bool literal);
static void pack_value(Packer *packer);
static void pack_number(StringInfo buf, const TapeNode *node);
static bool is_exact_float(const TapeNode *node, double value);
static int	significant_digits(const char *number, Size len, char *digits,
							   int max_digits, int64 *exponent);
static void pack_object(Packer *packer);
static void pack_tag(Packer *packer, AtqTag tag);
static void refuse_tag(AtqTag tag) atq_noreturn;
static bool pack_text_tag(StringInfo buf, AtqTag tag, AtqSpan text);
static bool pack_ext_text(StringInfo buf, int8 code, AtqSpan text,
						  bool valid);
static bool pack_uuid(StringInfo buf, AtqSpan text);
static bool pack_float(StringInfo buf, AtqSpan text);
static bool pack_base64(StringInfo buf, AtqTag tag, AtqSpan text);
static bool pack_pairs(Packer *packer);
static bool pack_unknown_ext(Packer *packer);

/* Appends the bytes of a Jsonb in tagged form. */
void
atq_json_pack(StringInfo buf, Jsonb *json)
{
	Tape		tape;

	tape_open(&tape);
	tape_from_jsonb(&tape, json);
	pack_tape(buf, &tape, false);
	tape_close(&tape);
}

/* Appends the bytes of a Jsonb as it stands. */
void
atq_json_pack_literal(StringInfo buf, Jsonb *json)
{
	Tape		tape;

	tape_open(&tape);
	tape_from_jsonb(&tape, json);
	pack_tape(buf, &tape, true);
	tape_close(&tape);
}

/* Appends the bytes of JSON text in tagged form; throws 22P02, 22P05. */
void
atq_json_pack_text(StringInfo buf, const char *json, Size len)
{
	Tape		tape;

	tape_open(&tape);
	tape_from_text(&tape, json, len);
	pack_tape(buf, &tape, false);
	tape_close(&tape);
}

static void
tape_open(Tape *tape)
{
	tape->count = 0;
	tape->max_count = 16;
	tape->nodes = palloc(tape->max_count * sizeof(TapeNode));
	tape->depth = 0;
	tape->max_depth = 8;
	tape->open = palloc(tape->max_depth * sizeof(int));
}

static void
tape_close(Tape *tape)
{
	pfree(tape->nodes);
	pfree(tape->open);
}

/* A new node at the end; throws 54000 when the limit must be passed. */
static TapeNode *
tape_add(Tape *tape, TapeKind kind)
{
	TapeNode   *node;

	if (tape->count == tape->max_count)
	{
		CHECK_FOR_INTERRUPTS();
		if (tape->count / NODES_PER_BYTE > atq_max_payload_kb * 1024)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("JSON value exceeds the maximum of %d kB as MessagePack",
							atq_max_payload_kb),
					 errhint("Raise \"%s\", or pass less.",
							 "asynctasq.max_payload")));
		tape->max_count *= 2;
		tape->nodes = repalloc_huge(tape->nodes,
									tape->max_count * sizeof(TapeNode));
	}
	node = &tape->nodes[tape->count++];
	memset(node, 0, sizeof(*node));
	node->kind = kind;
	return node;
}

static void
tape_add_text(Tape *tape, TapeKind kind, const char *text, Size len)
{
	TapeNode   *node = tape_add(tape, kind);

	node->text = text;

	node->len = len;
}

/* Opens a container; throws 54000 when it must become too deep. */
static void
tape_begin(Tape *tape, TapeKind kind)
{
	if (tape->depth / JSON_LEVELS_PER_LEVEL > atq_max_depth)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("JSON value is nested deeper than the maximum of %d levels",
						atq_max_depth),
				 errhint("Raise \"%s\", or pass less.",
						 "asynctasq.max_depth")));
	if (tape->depth == tape->max_depth)
	{
		tape->max_depth *= 2;
		tape->open = repalloc(tape->open, tape->max_depth * sizeof(int));
	}
	tape->open[tape->depth++] = tape->count;
	(void) tape_add(tape, kind);
}

static void
tape_end(Tape *tape)
{
	tape->depth--;
}

/* The parser's callbacks; their state is the tape. */
static AtqJsonResult
on_object_start(void *state)
{
	tape_begin(state, NODE_OBJECT);
	return ATQ_JSON_SUCCESS;
}

static AtqJsonResult
on_array_start(void *state)
{
	tape_begin(state, NODE_ARRAY);
	return ATQ_JSON_SUCCESS;
}

static AtqJsonResult
on_end(void *state)
{
	tape_end(state);
	return ATQ_JSON_SUCCESS;
}

static AtqJsonResult
on_field(void *state, char *name, bool isnull)
{
	Tape	   *tape = state;

	tape->nodes[tape->open[tape->depth - 1]].count++;
	tape_add_text(tape, NODE_STRING, name, strlen(name));
	return ATQ_JSON_SUCCESS;
}

static AtqJsonResult
on_element(void *state, bool isnull)
{
	Tape	   *tape = state;

	tape->nodes[tape->open[tape->depth - 1]].count++;
	return ATQ_JSON_SUCCESS;
}

static AtqJsonResult
on_scalar(void *state, char *text, JsonTokenType type)
{
	switch (type)
	{
		case JSON_TOKEN_STRING:
			tape_add_text(state, NODE_STRING, text, strlen(text));
			break;
		case JSON_TOKEN_NUMBER:
			tape_add_text(state, NODE_NUMBER, text, strlen(text));
			break;
		case JSON_TOKEN_TRUE:
		case JSON_TOKEN_FALSE:
			tape_add(state, NODE_BOOL)->count = (type == JSON_TOKEN_TRUE);
			break;
		default:
			(void) tape_add(state, NODE_NULL);
			break;
	}
	return ATQ_JSON_SUCCESS;
}

/* Lays JSON text out; throws what the server's JSON input throws. */
static void
tape_from_text(Tape *tape, const char *json, Size len)
{
	JsonSemAction actions = {0};
	ErrorContextCallback context;

	actions.semstate = tape;
	actions.object_start = on_object_start;
	actions.object_end = on_end;
	actions.array_start = on_array_start;
	actions.array_end = on_end;
	actions.object_field_start = on_field;
	actions.array_element_start = on_element;
	actions.scalar = on_scalar;

	context.callback = hint_nul;
	context.arg = NULL;
	context.previous = error_context_stack;
	error_context_stack = &context;

	pg_parse_json_or_ereport(atq_json_lexer(json, (int) len), &actions);

	error_context_stack = context.previous;
}

/* Says how text with U+0000 can be passed. */
static void
hint_nul(void *arg)
{
	if (geterrcode() == ERRCODE_UNTRANSLATABLE_CHARACTER)
		errhint("Write text that holds U+0000 as {\"__str__\": \"<base64 of its UTF-8>\"}.");
}

static void
tape_from_jsonb(Tape *tape, Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	bool		scalar = JB_ROOT_IS_SCALAR(json);
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM)
			tape_add_jsonb(tape, &value);
		else if (scalar)
			continue;
		else if (token == WJB_BEGIN_ARRAY)
		{
			tape_begin(tape, NODE_ARRAY);
			tape->nodes[tape->count - 1].count = value.val.array.nElems;
		}
		else if (token == WJB_BEGIN_OBJECT)
		{
			tape_begin(tape, NODE_OBJECT);
			tape->nodes[tape->count - 1].count = value.val.object.nPairs;
		}
		else
			tape_end(tape);
	}
}

static void
tape_add_jsonb(Tape *tape, const JsonbValue *value)
{
	Datum		digits;

	switch (value->type)
	{
		case jbvNull:
			(void) tape_add(tape, NODE_NULL);
			break;
		case jbvBool:
			tape_add(tape, NODE_BOOL)->count = value->val.boolean;
			break;
		case jbvString:
			tape_add_text(tape, NODE_STRING, value->val.string.val,
						  value->val.string.len);
			break;
		case jbvNumeric:
			digits = DirectFunctionCall1(numeric_out,
										 NumericGetDatum(value->val.numeric));
			tape_add_text(tape, NODE_NUMBER, DatumGetCString(digits),
						  strlen(DatumGetCString(digits)));
			break;
		default:
			elog(ERROR, "unexpected jsonb value type: %d", value->type);
	}
}

static void
pack_tape(StringInfo buf, const Tape *tape, bool literal)
{
	Packer		packer = {buf, tape->nodes, literal};

	pack_value(&packer);
	Assert(packer.node == tape->nodes + tape->count);
}

/* Packs the value at the packer's node and goes behind it. */
static void
pack_value(Packer *packer)
{
	const TapeNode *node = packer->node;
	uint32		i;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (node->kind == NODE_OBJECT)
	{
		pack_object(packer);
		return;
	}

	packer->node++;
	switch (node->kind)
	{
		case NODE_NULL:
			atq_pack_nil(packer->buf);
			break;
		case NODE_BOOL:
			atq_pack_bool(packer->buf, node->count != 0);
			break;
		case NODE_NUMBER:
			pack_number(packer->buf, node);
			break;
		case NODE_STRING:
			atq_text_pack(packer->buf, node->text, node->len);
			break;
		default:
			atq_pack_array(packer->buf, node->count);
			for (i = 0; i < node->count; i++)
				pack_value(packer);
			break;
	}
}

/*
 * An integer literal becomes an int while it fits 64 bits; any other number
 * a float if that has exactly this value in its shortest form; what is left
 * is a Decimal.
 */
static void
pack_number(StringInfo buf, const TapeNode *node)
{
	char	   *text = pnstrdup(node->text, node->len);
	char	   *end;

	errno = 0;
	if (strcspn(text, ".eE") == node->len)
	{
		int64		value = strtoll(text, &end, 10);
		uint64		large;

		if (errno == 0)
		{
			atq_pack_int(buf, value);
			return;
		}
		errno = 0;
		large = strtoull(text, &end, 10);
		if (errno == 0 && text[0] != '-')
		{
			atq_pack_uint(buf, large);
			return;
		}
	}
	else
	{
		double		value = strtod(text, &end);

		if (is_exact_float(node, value))
		{
			atq_pack_float(buf, value);
			return;
		}
	}
	atq_pack_ext(buf, ATQ_EXT_DECIMAL, text, node->len);
}

/* True when a number and a float's shortest text are the same value. */
static bool
is_exact_float(const TapeNode *node, double value)
{
	char		shortest[DOUBLE_SHORTEST_DECIMAL_LEN];
	char		x[DOUBLE_SHORTEST_DECIMAL_LEN];
	char		y[DOUBLE_SHORTEST_DECIMAL_LEN];
	int64		x_exponent;
	int64		y_exponent;
	int			x_len;
	int			y_len;

	if (!isfinite(value))
		return false;
	double_to_shortest_decimal_buf(value, shortest);
	x_len = significant_digits(node->text, node->len, x, sizeof(x),
							   &x_exponent);
	y_len = significant_digits(shortest, strlen(shortest), y, sizeof(y),
							   &y_exponent);
	return x_len == y_len && x_exponent == y_exponent && x_len >= 0 &&
		memcmp(x, y, x_len) == 0;
}

/*
 * A number's digits without zeros at either end, and the power of ten of the
 * last one.  Returns how many, or -1 when they are more than max_digits.
 */
static int
significant_digits(const char *number, Size len, char *digits,
				   int max_digits, int64 *exponent)
{
	bool		fraction = false;
	int64		zeros = 0;		/* not yet known to be in the middle */
	int			count = 0;
	Size		i;

	*exponent = 0;
	for (i = 0; i < len && number[i] != 'e' && number[i] != 'E'; i++)
	{
		if (number[i] == '.')
			fraction = true;
		if (!isdigit((unsigned char) number[i]))
			continue;
		if (fraction)
			(*exponent)--;
		if (number[i] == '0')
		{
			zeros += count > 0;
			continue;
		}
		if (count + zeros >= max_digits)
			return -1;
		memset(digits + count, '0', zeros);
		count += zeros;
		zeros = 0;
		digits[count++] = number[i];
	}
	if (i < len)
	{
		long		power = strtol(number + i + 1, NULL, 10);

		*exponent += Max(Min(power, 1000000000), -1000000000);
	}
	*exponent = count == 0 ? 0 : *exponent + zeros;
	return count;
}

/* A map, unless its only key is a tag that counts. */
static void
pack_object(Packer *packer)
{
	const TapeNode *node = packer->node++;
	uint32		i;

	if (node->count == 1 && !packer->literal)
	{
		AtqSpan		name = {packer->node->text, packer->node->len};
		AtqTag		tag = atq_tag_find(name);

		if (tag != ATQ_TAG_NONE)
		{
			packer->node++;
			pack_tag(packer, tag);
			return;
		}
	}
	atq_pack_map(packer->buf, node->count);
	for (i = 0; i < node->count; i++)
	{
		pack_value(packer);
		pack_value(packer);
	}
}

/* Packs what a tag with the value at the packer's node stands for. */
static void
pack_tag(Packer *packer, AtqTag tag)
{
	const TapeNode *node = packer->node;
	AtqSpan text = {node->text, node->len};
	int			start = packer->buf->len;
	bool		good;

	switch (tag)
	{
		case ATQ_TAG_SET:
		case ATQ_TAG_FROZENSET:
			good = node->kind == NODE_ARRAY;
			if (!good)
				break;
			pack_value(packer);
			atq_pack_wrap(packer->buf, start, tag == ATQ_TAG_SET ?
						  ATQ_EXT_SET : ATQ_EXT_FROZENSET);
			break;
		case ATQ_TAG_MAP:
			good = pack_pairs(packer);
			break;
		case ATQ_TAG_EXT:
			good = pack_unknown_ext(packer);
			break;
		default:
			good = node->kind == NODE_STRING &&
				pack_text_tag(packer->buf, tag, text);
			packer->node++;
			break;
	}
	if (!good)
		refuse_tag(tag);
}

static void
refuse_tag(AtqTag tag)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid value for JSON tag \"%s\"", atq_tag_name(tag)),
			 errhint("An object with this key alone is written as {\"__map__\": [[key, value]]}.")));
}

/* Packs a tag whose value is text; false when the text is malformed. */
static bool
pack_text_tag(StringInfo buf, AtqTag tag, AtqSpan text)
{
	AtqIso		iso;

	switch (tag)
	{
		case ATQ_TAG_DATETIME:
			return pack_ext_text(buf, ATQ_EXT_DATETIME, text,
								 atq_iso_read_datetime(text, &iso));
		case ATQ_TAG_DATE:
			return pack_ext_text(buf, ATQ_EXT_DATE, text,
								 atq_iso_read_date(text, &iso));
		case ATQ_TAG_DECIMAL:
			return pack_ext_text(buf, ATQ_EXT_DECIMAL, text,
								 atq_decimal_valid(text));
		case ATQ_TAG_UUID:
			return pack_uuid(buf, text);
		case ATQ_TAG_TIMESTAMP:
			if (!atq_iso_read_datetime(text, &iso) || !iso.has_offset)
				return false;
			atq_pack_timestamp(buf, atq_iso_unix(&iso), iso.nanos);
			return true;
		case ATQ_TAG_FLOAT:
			return pack_float(buf, text);
		default:
			return pack_base64(buf, tag, text);
	}
}

static bool
pack_ext_text(StringInfo buf, int8 code, AtqSpan text, bool valid)
{
	if (valid)
		atq_pack_ext(buf, code, text.data, text.len);
	return valid;
}

/* Throws 22P02 by itself when the text is no UUID. */
static bool
pack_uuid(StringInfo buf, AtqSpan text)
{
	char	   *string = pnstrdup(text.data, text.len);
	pg_uuid_t  *uuid;

	uuid = DatumGetUUIDP(DirectFunctionCall1(uuid_in,
											 CStringGetDatum(string)));
	atq_pack_ext(buf, ATQ_EXT_UUID, (const char *) uuid->data, UUID_LEN);
	return true;
}

/* A float's text as this extension writes it, or as Python does. */
static bool
pack_float(StringInfo buf, AtqSpan text)
{
	double		value;

	if (!atq_float_read(text, &value))
		return false;
	atq_pack_float(buf, value);
	return true;
}

/* Bytes, or a str whose UTF-8 is given as base64. */
static bool
pack_base64(StringInfo buf, AtqTag tag, AtqSpan text)
{
	int			size = pg_b64_dec_len((int) text.len);
	char	   *bytes = palloc(size + 1);
	int			len;

	len = pg_b64_decode(text.data, (int) text.len, (void *) bytes, size);
	if (len < 0)
		return false;
	if (tag == ATQ_TAG_STR)
	{
		AtqSpan		str = {bytes, len};

		if (atq_text_verify(str) != str.len)
			return false;
		atq_pack_str(buf, bytes, len);
	}
	else
		atq_pack_bin(buf, bytes, len);
	pfree(bytes);
	return true;
}

/* Packs [[key, value], ..] as a map. */
static bool
pack_pairs(Packer *packer)
{
	const TapeNode *list = packer->node++;
	uint32		i;

	if (list->kind != NODE_ARRAY)
		return false;
	atq_pack_map(packer->buf, list->count);
	for (i = 0; i < list->count; i++)
	{
		const TapeNode *pair = packer->node++;

		if (pair->kind != NODE_ARRAY || pair->count != 2)
			return false;
		pack_value(packer);
		pack_value(packer);
	}
	return true;
}

/* Packs [code, base64] as an ext. */
static bool
pack_unknown_ext(Packer *packer)
{
	const TapeNode *node = packer->node;
	char	   *bytes;
	char	   *end;
	long		code;
	int			len;

	if (node[0].kind != NODE_ARRAY || node[0].count != 2 ||
		node[1].kind != NODE_NUMBER || node[2].kind != NODE_STRING)
		return false;

	code = strtol(pnstrdup(node[1].text, node[1].len), &end, 10);
	bytes = palloc(pg_b64_dec_len((int) node[2].len) + 1);
	len = pg_b64_decode(node[2].text, (int) node[2].len, (void *) bytes,
						pg_b64_dec_len((int) node[2].len));
	if (*end != '\0' || code < PG_INT8_MIN || code > PG_INT8_MAX || len < 0)
		return false;

	atq_pack_ext(packer->buf, (int8) code, bytes, len);
	packer->node += 3;
	return true;
}
