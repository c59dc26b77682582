/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Values of other servers as jsonb, and jsonb as parameters for them.
 *
 * Values come as text, written with the settings that pool.c pins.  They
 * become what to_jsonb() makes of them, but times with a zone are always in
 * UTC.  The types are the server's: only those that come with PostgreSQL
 * itself mean the same here; the others' values are strings.
 *
 * Nothing here calls an input function that could run users' code, and
 * nothing is taken for granted: a number that is none is a string.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "remote/value.h"

static AtqFailure *read_columns(AtqRowsReader *reader,
								const PGresult *result);
static void push_text(JsonbParseState **state, JsonbIteratorToken token,
					  Oid type, const char *str, int len);
static void push_json(JsonbParseState **state, JsonbIteratorToken token,
					  const char *str);
static void set_string(JsonbValue *value, const char *str, int len);
static void set_number(JsonbValue *value, const char *str, int len);
static char *iso_time(const char *str, bool zone);
static bool push_array(JsonbParseState **state, JsonbIteratorToken token,
					   Oid element, const char *str);
static const char *walk_array(JsonbParseState **state,
							  JsonbIteratorToken token, Oid element,
							  const char *at, int depth);
static const char *walk_element(JsonbParseState **state, Oid element,
								const char *at);
static const char *make_param(JsonbValue *value);

void
atq_value_begin(AtqRowsReader *reader)
{
	reader->ncolumns = -1;
}

static AtqFailure *
read_columns(AtqRowsReader *reader, const PGresult *result)
{
	int			n = PQnfields(result);

	if (reader->ncolumns == n)
		return NULL;
	if (reader->ncolumns >= 0)
		return atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
								"rows of an answer differ in their number of columns");
	reader->names = palloc(n * sizeof(char *));
	reader->types = palloc(n * sizeof(Oid));
	reader->elements = palloc0(n * sizeof(Oid));
	for (int i = 0; i < n; i++)
	{
		Oid			type = PQftype(result, i);

		reader->names[i] = pstrdup(PQfname(result, i));
		if (!pg_verifymbstr(reader->names[i], strlen(reader->names[i]), true))
			return atq_failure_make(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, NULL,
									"name of a column is not valid in encoding \"%s\"",
									GetDatabaseEncodingName());
		reader->types[i] = type;
		if (type < FirstGenbkiObjectId)
			reader->elements[i] = get_element_type(type);
		if (reader->elements[i] == BOXOID)
			reader->elements[i] = InvalidOid;
	}
	reader->ncolumns = n;
	return NULL;
}

AtqFailure *
atq_value_push_row(AtqRowsReader *reader, JsonbParseState **state,
				   const PGresult *result, int row, JsonbValue **object)
{
	AtqFailure *failure = read_columns(reader, result);

	if (failure != NULL)
		return failure;
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < reader->ncolumns; i++)
	{
		JsonbValue	key;

		set_string(&key, reader->names[i], strlen(reader->names[i]));
		pushJsonbValue(state, WJB_KEY, &key);
		failure = atq_value_push(reader, state, WJB_VALUE, result, row, i);
		if (failure != NULL)
			return failure;
	}
	*object = pushJsonbValue(state, WJB_END_OBJECT, NULL);
	return NULL;
}

AtqFailure *
atq_value_push(AtqRowsReader *reader, JsonbParseState **state,
			   JsonbIteratorToken token, const PGresult *result, int row,
			   int column)
{
	AtqFailure *failure = read_columns(reader, result);
	const char *str = PQgetvalue(result, row, column);
	int			len = PQgetlength(result, row, column);
	JsonbValue	value;

	if (failure != NULL)
		return failure;
	if (PQgetisnull(result, row, column))
	{
		value.type = jbvNull;
		pushJsonbValue(state, token, &value);
	}
	else if (!OidIsValid(reader->elements[column]) ||
			 !push_array(state, token, reader->elements[column], str))
		push_text(state, token, reader->types[column], str, len);
	return NULL;
}

/* What is appended does not point to the text. */
static void
push_text(JsonbParseState **state, JsonbIteratorToken token, Oid type,
		  const char *str, int len)
{
	JsonbValue	value;
	char	   *time;

	switch (type)
	{
		case BOOLOID:
			value.type = jbvBool;
			value.val.boolean = str[0] == 't';

			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			set_number(&value, str, len);
			break;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			time = iso_time(str, type == TIMESTAMPTZOID);
			set_string(&value, time, strlen(time));
			break;
		case JSONOID:
		case JSONBOID:
			/* jsonb cannot hold U+0000 */
			if (strstr(str, "\\u0000") == NULL)
			{
				push_json(state, token, str);
				return;
			}
			/* FALLTHROUGH */
		default:
			set_string(&value, pnstrdup(str, len), len);
			break;
	}
	pushJsonbValue(state, token, &value);
}

static void
push_json(JsonbParseState **state, JsonbIteratorToken token,
		  const char *str)
{
	Jsonb	   *json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														  CStringGetDatum(str)));
	JsonbValue	value;

	if (JB_ROOT_IS_SCALAR(json))
		value = *getIthJsonbValueFromContainer(&json->root, 0);
	else
	{
		value.type = jbvBinary;
		value.val.binary.data = &json->root;
		value.val.binary.len = VARSIZE(json) - VARHDRSZ;
	}
	pushJsonbValue(state, token, &value);
}

/* The text is not copied. */
static void
set_string(JsonbValue *value, const char *str, int len)
{
	value->type = jbvString;
	value->val.string.val = (char *) str;

	value->val.string.len = len;
}

/* NaN, infinities and what is no number are strings. */
static void
set_number(JsonbValue *value, const char *str, int len)
{
	if (!IsValidJsonNumber(str, len))
	{
		set_string(value, pnstrdup(str, len), len);
		return;
	}
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in,
															 CStringGetDatum(str),
															 ObjectIdGetDatum(InvalidOid),
															 Int32GetDatum(-1)));
}

/* "2020-01-02 03:04:05+00 BC" as "2020-01-02T03:04:05+00:00 BC". */
static char *
iso_time(const char *str, bool zone)
{
	StringInfoData buf;
	const char *space = strchr(str, ' ');

	if (space == NULL || strspn(str, "0123456789") == 0)
		return pstrdup(str);	/* infinity */
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, str, space - str);
	appendStringInfoChar(&buf, 'T');
	for (const char *at = space + 1; *at != '\0'; at++)
	{
		appendStringInfoChar(&buf, *at);
		if (zone && *at == '+' && strspn(at + 1, "0123456789") == 2)
		{
			appendStringInfo(&buf, "%.2s:00", at + 1);
			at += 2;
		}
	}
	return buf.data;
}

/* False, and nothing is appended, for what is no array. */
static bool
push_array(JsonbParseState **state, JsonbIteratorToken token, Oid element,
		   const char *str)
{
	const char *end;

	if (str[0] == '[')
	{
		str = strchr(str, '='); /* lower bounds */

		if (str == NULL)
			return false;
		str++;
	}
	end = walk_array(NULL, token, element, str, 0);
	if (end == NULL || *end != '\0')
		return false;
	(void) walk_array(state, token, element, str, 0);
	return true;
}

/* Appends an array, or with no state checks it; NULL or where it ends. */
static const char *
walk_array(JsonbParseState **state, JsonbIteratorToken token, Oid element,
		   const char *at, int depth)
{
	if (*at++ != '{' || depth > MAXDIM)
		return NULL;
	if (state != NULL)
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	while (*at != '}')
	{
		at = *at == '{' ?
			walk_array(state, WJB_ELEM, element, at, depth + 1) :
			walk_element(state, element, at);
		if (at == NULL || (*at != ',' && *at != '}'))
			return NULL;
		if (*at == ',')
			at++;
	}
	if (state != NULL)
		pushJsonbValue(state, WJB_END_ARRAY, NULL);
	return at + 1;
}

static const char *
walk_element(JsonbParseState **state, Oid element, const char *at)
{
	bool		quoted = *at == '"';
	StringInfoData buf;
	JsonbValue	value;

	initStringInfo(&buf);
	if (quoted)
		at++;
	while (*at != '\0' && (quoted ? *at != '"' : *at != ',' && *at != '}'))
	{
		if (*at == '\\' && at[1] != '\0')
			at++;
		appendStringInfoChar(&buf, *at++);
	}
	if (*at == '\0')
		return NULL;
	if (quoted)
		at++;
	if (state != NULL && !quoted && pg_strcasecmp(buf.data, "NULL") == 0)
	{
		value.type = jbvNull;
		pushJsonbValue(state, WJB_ELEM, &value);
	}
	else if (state != NULL)
		push_text(state, WJB_ELEM, element, buf.data, buf.len);
	pfree(buf.data);
	return at;
}

const char *const *
atq_value_params(const Jsonb *params, int *n)
{
	const char **values;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	*n = 0;
	if (params == NULL)
		return NULL;
	if (!JB_ROOT_IS_ARRAY(params) || JB_ROOT_IS_SCALAR(params))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameters must be a JSON array")));
	values = palloc0((JB_ROOT_COUNT(params) + 1) * sizeof(char *));
	it = JsonbIteratorInit(&((Jsonb *) params)->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		values[(*n)++] = make_param(&value);
	}
	return values;
}

/* Strings as they are, arrays and objects as JSON; NULL for null. */
static const char *
make_param(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		default:
			{
				Jsonb	   *json = JsonbValueToJsonb(value);

				return JsonbToCString(NULL, &json->root, VARSIZE(json));
			}
	}
}
