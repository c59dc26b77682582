/*-------------------------------------------------------------------------
 *
 * jsonout.c
 *	  Writing JSON, as text or as Jsonb, with the same calls.
 *
 * The text looks as jsonb's own text does.  Jsonb is built with the server's
 * parse state; strings given to it are pointed at, not copied, and must live
 * until atq_out_finish.
 *
 * Memory: everything is palloc'd in the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "wire/jsonout.h"

/* An object with as many pairs takes the server long to sort. */
#define MANY_PAIRS		10000

static void sort_pairs(JsonbValue *object);
static int	compare_pairs(const void *a, const void *b);
static void lead(AtqJsonOut *out);
static void put_quoted(StringInfo text, AtqSpan string);
static void put_escape(StringInfo text, char c);
static void push(AtqJsonOut *out, JsonbValue *value);

void
atq_out_open_text(AtqJsonOut *out, StringInfo text)
{
	memset(out, 0, sizeof(*out));
	out->text = text;

	out->first = true;
}

void
atq_out_open_jsonb(AtqJsonOut *out)
{
	memset(out, 0, sizeof(*out));
}

/* The finished Jsonb; throws 54000 where the format's limits are passed. */
Jsonb *
atq_out_finish(AtqJsonOut *out)
{
	Assert(out->root && !out->state);
	return JsonbValueToJsonb(out->root);
}

void
atq_out_begin_array(AtqJsonOut *out)
{
	if (out->text)
	{
		lead(out);
		appendStringInfoChar(out->text, '[');
		out->first = true;
	}
	else
		pushJsonbValue(&out->state, WJB_BEGIN_ARRAY, NULL);
}

void
atq_out_end_array(AtqJsonOut *out)
{
	if (out->text)
	{
		appendStringInfoChar(out->text, ']');
		out->first = false;
	}
	else
		out->root = pushJsonbValue(&out->state, WJB_END_ARRAY, NULL);
}

void
atq_out_begin_object(AtqJsonOut *out)
{
	if (out->text)
	{
		lead(out);
		appendStringInfoChar(out->text, '{');
		out->first = true;
	}
	else
		pushJsonbValue(&out->state, WJB_BEGIN_OBJECT, NULL);
}

int
atq_out_end_object(AtqJsonOut *out)
{
	if (out->text)
	{
		appendStringInfoChar(out->text, '}');
		out->first = false;
		return 0;
	}
	sort_pairs(&out->state->contVal);
	out->root = pushJsonbValue(&out->state, WJB_END_OBJECT, NULL);
	return out->root->val.object.nPairs;
}

/*
 * At an object's end the server sorts its pairs, deaf to interrupts: for
 * millions of them that takes most of a minute.  It is done at once where they
 * are in order already.
 */
static void
sort_pairs(JsonbValue *object)
{
	if (object->val.object.nPairs >= MANY_PAIRS)
		qsort(object->val.object.pairs, object->val.object.nPairs,
			  sizeof(JsonbPair), compare_pairs);
}

/* The server's order; of equal keys the last is the first. */
static int
compare_pairs(const void *a, const void *b)
{
	const JsonbPair *x = a;
	const JsonbPair *y = b;
	int			x_len = x->key.val.string.len;
	int			y_len = y->key.val.string.len;
	int			order;

	CHECK_FOR_INTERRUPTS();
	if (x_len != y_len)
		return x_len < y_len ? -1 : 1;
	order = memcmp(x->key.val.string.val, y->key.val.string.val, x_len);
	if (order != 0)
		return order;
	return x->order > y->order ? -1 : 1;
}

void
atq_out_key(AtqJsonOut *out, AtqSpan name)
{
	JsonbValue	value;

	if (out->text)
	{
		lead(out);
		put_quoted(out->text, name);
		appendBinaryStringInfo(out->text, ": ", 2);
		out->after_key = true;
		return;
	}
	value.type = jbvString;
	value.val.string.val = (char *) name.data;
	value.val.string.len = (int) name.len;
	pushJsonbValue(&out->state, WJB_KEY, &value);
}

void
atq_out_string(AtqJsonOut *out, AtqSpan string)
{
	JsonbValue	value;

	if (out->text)
	{
		lead(out);
		put_quoted(out->text, string);
		return;
	}
	value.type = jbvString;
	value.val.string.val = (char *) string.data;
	value.val.string.len = (int) string.len;
	push(out, &value);
}

/* A number with all its digits; throws 22003 beyond numeric's range. */
void
atq_out_number(AtqJsonOut *out, char *digits)
{
	JsonbValue	value;

	if (out->text)
	{
		lead(out);
		appendStringInfoString(out->text, digits);
		return;
	}
	value.type = jbvNumeric;
	value.val.numeric =
		DatumGetNumeric(DirectFunctionCall3(numeric_in,
											CStringGetDatum(digits),
											ObjectIdGetDatum(InvalidOid),
											Int32GetDatum(-1)));
	push(out, &value);
}

void
atq_out_int(AtqJsonOut *out, int64 number)
{
	JsonbValue	value;

	if (out->text)
	{
		char		digits[24];
		int			len = pg_lltoa(number, digits);

		lead(out);
		appendBinaryStringInfo(out->text, digits, len);
		return;
	}
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	push(out, &value);
}

void
atq_out_bool(AtqJsonOut *out, bool boolean)
{
	JsonbValue	value;

	if (out->text)
	{
		lead(out);
		appendStringInfoString(out->text, boolean ? "true" : "false");
		return;
	}
	value.type = jbvBool;
	value.val.boolean = boolean;
	push(out, &value);
}

void
atq_out_null(AtqJsonOut *out)
{
	JsonbValue	value;

	if (out->text)
	{
		lead(out);
		appendBinaryStringInfo(out->text, "null", 4);
		return;
	}
	value.type = jbvNull;
	push(out, &value);
}

/* Puts a whole Jsonb in, a scalar as a scalar. */
void
atq_out_jsonb(AtqJsonOut *out, Jsonb *json)
{
	JsonbValue	value;

	Assert(!out->text);
	if (!JB_ROOT_IS_SCALAR(json))
	{
		value.type = jbvBinary;
		value.val.binary.data = &json->root;
		value.val.binary.len = VARSIZE_ANY_EXHDR(json);
	}
	else
		(void) JsonbExtractScalar(&json->root, &value);
	push(out, &value);
}

/* What must stand in front of an item of the text. */
static void
lead(AtqJsonOut *out)
{
	if (out->after_key)
		out->after_key = false;
	else if (!out->first)
		appendBinaryStringInfo(out->text, ", ", 2);
	out->first = false;
}

/* Appends a JSON string; runs without need of escapes go as they are. */
static void
put_quoted(StringInfo text, AtqSpan string)
{
	Size		done = 0;
	Size		i;

	appendStringInfoCharMacro(text, '"');
	for (i = 0; i < string.len; i++)
	{
		unsigned char c = string.data[i];

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(text, string.data + done, (int) (i - done));
		put_escape(text, c);
		done = i + 1;
	}
	appendBinaryStringInfo(text, string.data + done, (int) (i - done));
	appendStringInfoCharMacro(text, '"');
}

static void
put_escape(StringInfo text, char c)
{
	static const char named[] = "\"\\\b\f\n\r\t";
	static const char letters[] = "\"\\bfnrt";
	const char *at = c ? strchr(named, c) : NULL;

	if (at)
		appendStringInfo(text, "\\%c", letters[at - named]);
	else
		appendStringInfo(text, "\\u%04x", (int) c);
}

/* Puts a value where the parse state stands, or makes it the root. */
static void
push(AtqJsonOut *out, JsonbValue *value)
{
	if (!out->state)
	{
		out->scalar = *value;
		out->root = &out->scalar;
	}
	else
		pushJsonbValue(&out->state,
					   out->state->contVal.type == jbvObject ?
					   WJB_VALUE : WJB_ELEM, value);
}
