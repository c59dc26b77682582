/*-------------------------------------------------------------------------
 *
 * jsonout.c
 *	  Writing JSON, as text or as Jsonb, with the same calls.
 *
 * The text looks as jsonb's own text does.  Memory: everything is palloc'd in
 * the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "wire/jsonout.h"

static void begin_text(AtqJsonOut *out, char bracket);
static void end_container(AtqJsonOut *out, char bracket);
static void put_text(AtqJsonOut *out, const char *text, Size len);
static void lead(AtqJsonOut *out);
static void put_quoted(StringInfo text, AtqSpan string);
static void put_escape(StringInfo text, char c);

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
	atq_jsonb_open(&out->jsonb);
}

Jsonb *
atq_out_finish(AtqJsonOut *out)
{
	return atq_jsonb_close(&out->jsonb);
}

void
atq_out_begin_array(AtqJsonOut *out, uint32 items)
{
	if (out->text)
		begin_text(out, '[');
	else
		atq_jsonb_begin_array(&out->jsonb, items);
}

void
atq_out_end_array(AtqJsonOut *out)
{
	end_container(out, ']');
}

void
atq_out_begin_object(AtqJsonOut *out, uint32 pairs)
{
	if (out->text)
		begin_text(out, '{');
	else
		atq_jsonb_begin_object(&out->jsonb, pairs);
}

void
atq_out_end_object(AtqJsonOut *out)
{
	end_container(out, '}');
}

void
atq_out_key(AtqJsonOut *out, AtqSpan name)
{
	if (!out->text)
	{
		atq_jsonb_string(&out->jsonb, name);
		return;
	}
	lead(out);
	put_quoted(out->text, name);
	appendBinaryStringInfo(out->text, ": ", 2);
	out->after_key = true;
}

void
atq_out_string(AtqJsonOut *out, AtqSpan string)
{
	if (!out->text)
	{
		atq_jsonb_string(&out->jsonb, string);
		return;
	}
	lead(out);
	put_quoted(out->text, string);
}

/* A number with all its digits; throws 22003 beyond numeric's range. */
void
atq_out_number(AtqJsonOut *out, char *digits)
{
	Numeric		number;

	if (out->text)
	{
		put_text(out, digits, strlen(digits));
		return;
	}
	number = DatumGetNumeric(DirectFunctionCall3(numeric_in,
												 CStringGetDatum(digits),
												 ObjectIdGetDatum(InvalidOid),
												 Int32GetDatum(-1)));
	atq_jsonb_numeric(&out->jsonb, number);
	pfree(number);
}

void
atq_out_int(AtqJsonOut *out, int64 value)
{
	Numeric		number;

	if (out->text)
	{
		char		digits[24];

		put_text(out, digits, pg_lltoa(value, digits));
		return;
	}
	number = int64_to_numeric(value);
	atq_jsonb_numeric(&out->jsonb, number);
	pfree(number);
}

void
atq_out_bool(AtqJsonOut *out, bool value)
{
	if (!out->text)
		atq_jsonb_bool(&out->jsonb, value);
	else if (value)
		put_text(out, "true", 4);
	else
		put_text(out, "false", 5);
}

void
atq_out_null(AtqJsonOut *out)
{
	if (out->text)
		put_text(out, "null", 4);
	else
		atq_jsonb_null(&out->jsonb);
}

void
atq_out_jsonb(AtqJsonOut *out, Jsonb *json)
{
	Assert(!out->text);
	atq_jsonb_put(&out->jsonb, json);
}

static void
begin_text(AtqJsonOut *out, char bracket)
{
	lead(out);
	appendStringInfoChar(out->text, bracket);
	out->first = true;
}

static void
end_container(AtqJsonOut *out, char bracket)
{
	if (!out->text)
	{
		atq_jsonb_end(&out->jsonb);
		return;
	}
	appendStringInfoChar(out->text, bracket);
	out->first = false;
}

/* Appends an item that is written as it is. */
static void
put_text(AtqJsonOut *out, const char *text, Size len)
{
	lead(out);
	appendBinaryStringInfo(out->text, text, (int) len);
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
