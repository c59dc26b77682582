/*-------------------------------------------------------------------------
 *
 * output.c
 *	  Rows of a statement's result as JSON.
 *
 * A value becomes what to_jsonb() makes of it.  Common types are converted
 * here, others of PostgreSQL's own by their output functions; arrays, rows and
 * types of users, which may have casts to JSON, are left to to_jsonb().  What
 * that needs of the catalogs is looked up once for all rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "query/output.h"
#include "wire/datum.h"

/* How values of a column are converted. */
typedef enum ColumnWay
{
	WAY_UNKNOWN,				/* not looked up yet */
	WAY_DIRECT,					/* by their type */
	WAY_OUTPUT,					/* a string, by the type's output function */
	WAY_TO_JSONB
} ColumnWay;

typedef struct Column
{
	Oid			type;
	Oid			base;			/* type, or what its domain is over */
	ColumnWay	way;
	FmgrInfo	function;		/* of WAY_OUTPUT, WAY_TO_JSONB */
} Column;

struct AtqOutputColumns
{
	MemoryContext context;
	int			n;
	Column		columns[FLEXIBLE_ARRAY_MEMBER];
};

static void prepare_column(Column *column, MemoryContext context);
static bool is_direct(Oid type);
static void make_value(AtqOutputColumns *columns, int column, Datum value,
					   bool isnull, JsonbValue *result);
static void make_direct(Oid base, Datum value, JsonbValue *result);
static void make_float(double number, char *text, JsonbValue *result);
static void make_numeric(Numeric number, JsonbValue *result);
static void make_string(char *text, JsonbValue *result);
static void make_json(Jsonb *json, JsonbValue *result);
static JsonbValue *push_value(JsonbParseState **state,
							  JsonbIteratorToken token, JsonbValue *value);

AtqOutputColumns *
atq_output_prepare(int ncolumns, const Oid *types)
{
	AtqOutputColumns *columns =
		palloc0(offsetof(AtqOutputColumns, columns) +
				ncolumns * sizeof(Column));

	columns->context = CurrentMemoryContext;
	columns->n = ncolumns;
	for (int i = 0; i < ncolumns; i++)
		columns->columns[i].type = types[i];
	return columns;
}

/* When the first value comes: of some columns none does. */
static void
prepare_column(Column *column, MemoryContext context)
{
	Oid			output;
	bool		is_varlena;

	column->base = getBaseType(column->type);
	if (is_direct(column->base))
	{
		column->way = WAY_DIRECT;
		return;
	}
	if (column->base < FirstGenbkiObjectId && column->base != JSONOID &&
		get_typtype(column->base) == TYPTYPE_BASE &&
		!OidIsValid(get_element_type(column->base)))
	{
		getTypeOutputInfo(column->base, &output, &is_varlena);
		fmgr_info_cxt(output, &column->function, context);
		column->way = WAY_OUTPUT;
		return;
	}
	atq_datum_prepare_jsonb(&column->function, column->type, context);
	column->way = WAY_TO_JSONB;
}

static bool
is_direct(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case JSONBOID:
			return true;
		default:
			return false;
	}
}

static void
make_value(AtqOutputColumns *columns, int number, Datum value, bool isnull,
		   JsonbValue *result)
{
	Column	   *column = &columns->columns[number];

	Assert(number < columns->n);
	if (isnull)
	{
		result->type = jbvNull;
		return;
	}
	if (column->way == WAY_UNKNOWN)
	{
		MemoryContext old = MemoryContextSwitchTo(columns->context);

		prepare_column(column, columns->context);
		MemoryContextSwitchTo(old);
	}
	if (column->way == WAY_DIRECT)
		make_direct(column->base, value, result);
	else if (column->way == WAY_OUTPUT)
		make_string(OutputFunctionCall(&column->function, value), result);
	else
		make_json(atq_datum_call_jsonb(&column->function, value,
									   column->type), result);
}

static void
make_direct(Oid base, Datum value, JsonbValue *result)
{
	switch (base)
	{
		case BOOLOID:
			result->type = jbvBool;
			result->val.boolean = DatumGetBool(value);
			break;
		case INT2OID:
			make_numeric(int64_to_numeric(DatumGetInt16(value)), result);
			break;
		case INT4OID:
			make_numeric(int64_to_numeric(DatumGetInt32(value)), result);
			break;
		case INT8OID:
			make_numeric(int64_to_numeric(DatumGetInt64(value)), result);
			break;
		case FLOAT4OID:
			make_float(DatumGetFloat4(value),
					   DatumGetCString(DirectFunctionCall1(float4out, value)),
					   result);
			break;
		case FLOAT8OID:
			make_float(DatumGetFloat8(value),
					   DatumGetCString(DirectFunctionCall1(float8out, value)),
					   result);
			break;
		case NUMERICOID:
			make_numeric(DatumGetNumeric(value), result);
			break;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			make_string(JsonEncodeDateTime(NULL, value, base, NULL), result);
			break;
		case JSONBOID:
			make_json(DatumGetJsonbP(value), result);
			break;
		default:
			{
				text	   *str = DatumGetTextPP(value);

				result->type = jbvString;
				result->val.string.val = VARDATA_ANY(str);
				result->val.string.len = VARSIZE_ANY_EXHDR(str);
				break;
			}
	}
}

/* What is no number in JSON is a string, here and in numerics. */
static void
make_float(double number, char *text, JsonbValue *result)
{
	if (isnan(number) || isinf(number))
		make_string(text, result);
	else
		make_numeric(DatumGetNumeric(DirectFunctionCall3(numeric_in,
														 CStringGetDatum(text),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1))),
					 result);
}

static void
make_numeric(Numeric number, JsonbValue *result)
{
	if (numeric_is_nan(number) || numeric_is_inf(number))
	{
		make_string(DatumGetCString(DirectFunctionCall1(numeric_out,
														NumericGetDatum(number))),
					result);
		return;
	}
	result->type = jbvNumeric;
	result->val.numeric = number;
}

static void
make_string(char *text, JsonbValue *result)
{
	result->type = jbvString;
	result->val.string.val = text;

	result->val.string.len = strlen(text);
}

static void
make_json(Jsonb *json, JsonbValue *result)
{
	if (JB_ROOT_IS_SCALAR(json))
	{
		*result = *getIthJsonbValueFromContainer(&json->root, 0);
		return;
	}
	result->type = jbvBinary;
	result->val.binary.data = &json->root;
	result->val.binary.len = VARSIZE(json) - VARHDRSZ;
}

JsonbValue *
atq_output_push(AtqOutputColumns *columns, const AtqOutput *output,
				JsonbParseState **state, JsonbIteratorToken token,
				const Datum *values, const bool *nulls)
{
	JsonbValue	value;
	ListCell   *lc;

	if (output->kind == ATQ_OUTPUT_COLUMN)
	{
		make_value(columns, output->column, values[output->column],
				   nulls[output->column], &value);
		return push_value(state, token, &value);
	}
	if (output->kind == ATQ_OUTPUT_LIST)
	{
		pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
		foreach(lc, output->parts)
			(void) atq_output_push(columns, lfirst(lc), state, WJB_ELEM,
								   values, nulls);
		return pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	if (output->column >= 0 && nulls[output->column])
	{
		value.type = jbvNull;
		return push_value(state, token, &value);
	}
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	atq_output_push_members(columns, output, state, values, nulls);
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* What stands alone is not pushed: pushJsonbValue() wants a container. */
static JsonbValue *
push_value(JsonbParseState **state, JsonbIteratorToken token,
		   JsonbValue *value)
{
	JsonbValue *whole;

	if (*state != NULL)
		return pushJsonbValue(state, token, value);
	whole = palloc(sizeof(JsonbValue));
	*whole = *value;
	return whole;
}

void
atq_output_push_members(AtqOutputColumns *columns, const AtqOutput *output,
						JsonbParseState **state, const Datum *values,
						const bool *nulls)
{
	ListCell   *lc;

	foreach(lc, output->parts)
	{
		const AtqOutput *part = lfirst(lc);

		atq_output_push_key(state, part->name);
		(void) atq_output_push(columns, part, state, WJB_VALUE, values, nulls);
	}
}

void
atq_output_push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	make_string((char *) name, &key);
	pushJsonbValue(state, WJB_KEY, &key);
}
