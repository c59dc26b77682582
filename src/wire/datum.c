/*-------------------------------------------------------------------------
 *
 * datum.c
 *	  MessagePack into SQL values.
 *
 * A SQL type takes the wire type that means the same, and nothing else: an
 * integer parameter refuses text and floats, as a typed language would.  The
 * exceptions are SQL's own implicit casts: ints go into floats and numerics,
 * Decimals, as which SQL's literals with a point travel, into floats.  The
 * common types are made directly from the bytes; types unknown here take a
 * str through their input function.
 *
 * A list of lists becomes an array of more dimensions where its shape is
 * regular.  Where the element type is JSON or msgpack, a list is an element.
 *
 * Memory: values are palloc'd in the caller's context.  AtqTypeInfo lives in
 * the context given to atq_datum_prepare, and what is added to it later (a
 * domain's constraints, a row type's attributes) as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "wire/datum.h"
#include "wire/iso.h"
#include "wire/marker.h"
#include "wire/text.h"
#include "wire/type.h"

/* The elements of an array while it is read. */
typedef struct ArrayBuild
{
	AtqTypeInfo *element;
	const AtqResolver *resolver;
	int			ndim;			/* 0: not known before the first element */
	int			dims[MAXDIM];	/* -1: not known yet */
	Datum	   *values;
	bool	   *nulls;
	int			count;
	int			max_count;
} ArrayBuild;

static Datum decode_base(AtqSpan value, AtqTypeInfo *type,
						 const AtqResolver *resolver, bool *isnull);
static Datum decode_scalar(const AtqToken *token, AtqTypeInfo *type);
static void refuse(const AtqToken *token, const AtqTypeInfo *type)
			atq_noreturn;
static void refuse_range(const AtqTypeInfo *type) atq_noreturn;
static Datum decode_bool(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_int(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_float(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_numeric(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_text(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_bytea(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_uuid(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_date(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_timestamp(const AtqToken *token, AtqTypeInfo *type);
static Timestamp iso_to_timestamp(const AtqIso *iso, bool with_zone);
static Timestamp wall_to_instant(const AtqIso *iso);
static Timestamp instant_to_wall(Timestamp instant);
static Datum decode_interval(const AtqToken *token, AtqTypeInfo *type);
static Datum decode_input(const AtqToken *token, AtqTypeInfo *type);
static Datum call_input(AtqSpan text, AtqTypeInfo *type);
static Datum numeric_from_text(const char *text);
static Datum apply_typmod(Datum value, const AtqTypeInfo *type);
static Jsonb *plain_json(AtqSpan value, const AtqResolver *resolver);
static Jsonb *refuse_reference(const AtqReference *reference, void *arg);
static bool is_set(AtqSpan value, const AtqToken *token,
				   AtqReference *reference);
static Datum decode_set(const AtqReference *reference,
						const AtqTypeInfo *type,
						const AtqResolver *resolver);
static Datum decode_array(AtqSpan value, AtqTypeInfo *type,
						  const AtqResolver *resolver);
static void read_items(ArrayBuild *build, AtqReader *reader, uint32 count,
					   int level);
static void add_element(ArrayBuild *build, AtqSpan value);
static void refuse_shape(void) atq_noreturn;
static bool element_takes_lists(const AtqTypeInfo *element);
static Datum build_array(const ArrayBuild *build, const AtqTypeInfo *type);
static Datum decode_row(AtqSpan value, AtqTypeInfo *type,
						const AtqResolver *resolver, bool *isnull);
static Datum decode_map_row(AtqReader *reader, uint32 pairs,
							AtqTypeInfo *type, const AtqResolver *resolver);
static int	find_attribute(TupleDesc desc, AtqSpan name,
						   const AtqTypeInfo *type);
static AtqTypeInfo *attribute_info(AtqTypeInfo *type, TupleDesc desc,
								   int attribute);
static List *open_rows(List *opened, Oid type);
static List *open_record(List *opened, Datum value);

/* Looks a type up; throws when it does not exist or is a shell. */
AtqTypeInfo *
atq_datum_prepare(Oid type, int32 typmod, MemoryContext context)
{
	AtqTypeInfo *info = MemoryContextAllocZero(context, sizeof(AtqTypeInfo));
	Oid			input;

	check_stack_depth();
	info->type = type;
	info->typmod = typmod;
	info->context = context;
	info->base_type = getBaseTypeAndTypmod(type, &info->typmod);
	info->kind = get_typtype(info->base_type);
	info->is_msgpack = info->base_type == atq_type_oid();
	get_typlenbyvalalign(info->base_type, &info->len, &info->by_value,
						 &info->align);
	getTypeInputInfo(info->base_type, &input, &info->input_ioparam);
	fmgr_info_cxt(input, &info->input, context);

	info->element_type = atq_datum_element_type(info->base_type);
	if (OidIsValid(info->element_type))
		info->element = atq_datum_prepare(info->element_type, info->typmod,
										  context);
	return info;
}

Oid
atq_datum_element_type(Oid type)
{
	return type == INT2VECTOROID || type == OIDVECTOROID ? InvalidOid :
		get_element_type(type);
}

/* Decodes one value into the type; see datum.h. */
Datum
atq_datum_decode(AtqSpan value, AtqTypeInfo *type,
				 const AtqResolver *resolver, bool *isnull)
{
	Datum		result;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	*isnull = false;
	result = decode_base(value, type, resolver, isnull);
	atq_datum_check_domain(result, *isnull, type);
	return result;
}

void
atq_datum_check_domain(Datum value, bool isnull, AtqTypeInfo *type)
{
	if (type->base_type != type->type)
		domain_check(value, isnull, type->type, &type->domain_extra,
					 type->context);
}

/* Decodes one column of a reference's key; see datum.h. */
Datum
atq_datum_decode_key(AtqSpan value, AtqTypeInfo *type)
{
	AtqReader	reader;
	AtqToken	token;
	Datum		result;
	bool		isnull;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_NIL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the key of a reference is nil")));

	if (token.kind != ATQ_TOKEN_STR || type->element ||
		type->base_type == BYTEAOID ||
		type->base_type == TIMESTAMPOID || type->base_type == TIMESTAMPTZOID)
		return atq_datum_decode(value, type, NULL, &isnull);

	result = call_input(token.v.bytes, type);
	atq_datum_check_domain(result, false, type);
	return result;
}

/* What messages call a token. */
const char *
atq_token_name(const AtqToken *token)
{
	static const char *const kinds[] = {
		"nil", "bool", "int", "int", "float", "str", "bin", "ext", "array",
		"map"
	};
	static const char *const exts[] = {
		"timestamp", "ext", "datetime", "date", "UUID", "Decimal", "set",
		"frozenset"
	};

	if (token->kind == ATQ_TOKEN_EXT &&
		token->ext_code >= ATQ_EXT_TIMESTAMP &&
		token->ext_code <= ATQ_EXT_FROZENSET)
		return exts[token->ext_code + 1];
	return kinds[token->kind];
}

/* Decodes into the type below any domain. */
static Datum
decode_base(AtqSpan value, AtqTypeInfo *type, const AtqResolver *resolver,
			bool *isnull)
{
	AtqReference reference;
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, value);
	atq_marker_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_NIL)
	{
		*isnull = true;
		return (Datum) 0;
	}
	if (type->is_msgpack)
		return atq_type_make(value.data, value.len);
	if (type->base_type == JSONBOID)
		return JsonbPGetDatum(plain_json(value, resolver));
	if (type->base_type == JSONOID)
	{
		Jsonb	   *json = plain_json(value, resolver);

		return CStringGetTextDatum(JsonbToCString(NULL, &json->root,
												  VARSIZE(json)));
	}
	if (is_set(value, &token, &reference))
		return decode_set(&reference, type, resolver);
	if (type->element)
		return decode_array(value, type, resolver);
	if (type->kind == TYPTYPE_COMPOSITE)
		return decode_row(value, type, resolver, isnull);
	return apply_typmod(decode_scalar(&token, type), type);
}

static Datum
decode_scalar(const AtqToken *token, AtqTypeInfo *type)
{
	switch (type->base_type)
	{
		case BOOLOID:
			return decode_bool(token, type);
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			return decode_int(token, type);
		case FLOAT4OID:
		case FLOAT8OID:
			return decode_float(token, type);
		case NUMERICOID:
			return decode_numeric(token, type);
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return decode_text(token, type);
		case BYTEAOID:
			return decode_bytea(token, type);
		case UUIDOID:
			return decode_uuid(token, type);
		case DATEOID:
			return decode_date(token, type);
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return decode_timestamp(token, type);
		case INTERVALOID:
			return decode_interval(token, type);
		default:
			return decode_input(token, type);
	}
}

static void
refuse(const AtqToken *token, const AtqTypeInfo *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("cannot convert MessagePack %s to type %s",
					atq_token_name(token), format_type_be(type->type))));
}

static void
refuse_range(const AtqTypeInfo *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("MessagePack number is out of range for type %s",
					format_type_be(type->type))));
}

static Datum
decode_bool(const AtqToken *token, AtqTypeInfo *type)
{
	if (token->kind != ATQ_TOKEN_BOOL)
		refuse(token, type);
	return BoolGetDatum(token->v.boolean);
}

static Datum
decode_int(const AtqToken *token, AtqTypeInfo *type)
{
	int64		value = token->v.i;

	if (token->kind == ATQ_TOKEN_UINT)
		refuse_range(type);
	if (token->kind != ATQ_TOKEN_INT)
		refuse(token, type);

	switch (type->base_type)
	{
		case INT2OID:
			if (value < PG_INT16_MIN || value > PG_INT16_MAX)
				refuse_range(type);
			return Int16GetDatum((int16) value);
		case INT4OID:
			if (value < PG_INT32_MIN || value > PG_INT32_MAX)
				refuse_range(type);
			return Int32GetDatum((int32) value);
		case OIDOID:
			if (value < 0 || value > (int64) PG_UINT32_MAX)
				refuse_range(type);
			return ObjectIdGetDatum((Oid) value);
		default:
			return Int64GetDatum(value);
	}
}

static Datum
decode_float(const AtqToken *token, AtqTypeInfo *type)
{
	double		value;

	if (token->kind == ATQ_TOKEN_FLOAT)
		value = token->v.f;
	else if (token->kind == ATQ_TOKEN_INT)
		value = (double) token->v.i;
	else if (token->kind == ATQ_TOKEN_UINT)
		value = (double) token->v.u;
	else if (token->kind == ATQ_TOKEN_EXT &&
			 token->ext_code == ATQ_EXT_DECIMAL)
		value = DatumGetFloat8(DirectFunctionCall1(numeric_float8,
												   decode_numeric(token, type)));
	else
		refuse(token, type);

	if (type->base_type == FLOAT8OID)
		return Float8GetDatum(value);
	if (isinf((float4) value) && !isinf(value))
		refuse_range(type);
	if ((float4) value == 0 && value != 0)
		refuse_range(type);
	return Float4GetDatum((float4) value);
}

/*
 * Every number, with all its digits.  A float is taken by its shortest text:
 * the server's own cast would cut it to 15 digits.
 */
static Datum
decode_numeric(const AtqToken *token, AtqTypeInfo *type)
{
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	char	   *text;

	switch (token->kind)
	{
		case ATQ_TOKEN_INT:
			return NumericGetDatum(int64_to_numeric(token->v.i));
		case ATQ_TOKEN_UINT:
			digits[pg_ulltoa_n(token->v.u, digits)] = '\0';
			return numeric_from_text(digits);
		case ATQ_TOKEN_FLOAT:
			double_to_shortest_decimal_buf(token->v.f, digits);
			return numeric_from_text(digits);
		case ATQ_TOKEN_EXT:
			if (token->ext_code != ATQ_EXT_DECIMAL)
				refuse(token, type);
			text = pnstrdup(token->v.bytes.data, token->v.bytes.len);

			if (strchr(text, 's'))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						 errmsg("cannot convert a signaling NaN to type %s",
								format_type_be(type->type))));
			return numeric_from_text(strchr(text, 'N') ? "NaN" : text);
		default:
			refuse(token, type);
	}
}

/* Text without a copy in between, where encodings are the same. */
static Datum
decode_text(const AtqToken *token, AtqTypeInfo *type)
{
	AtqSpan text = token->v.bytes;

	if (token->kind != ATQ_TOKEN_STR)
		refuse(token, type);
	if (memchr(text.data, '\0', text.len))
		(void) atq_text_cstring(text);	/* throws */

	text = atq_text_import(text);

	return PointerGetDatum(cstring_to_text_with_len(text.data,
													(int) text.len));
}

static Datum
decode_bytea(const AtqToken *token, AtqTypeInfo *type)
{
	if (token->kind != ATQ_TOKEN_BIN)
		refuse(token, type);
	return PointerGetDatum(cstring_to_text_with_len(token->v.bytes.data,
													(int) token->v.bytes.len));
}

static Datum
decode_uuid(const AtqToken *token, AtqTypeInfo *type)
{
	if (token->kind == ATQ_TOKEN_EXT && token->ext_code == ATQ_EXT_UUID)
	{
		pg_uuid_t  *uuid;

		if (token->v.bytes.len != UUID_LEN)
			return call_input(token->v.bytes, type);
		uuid = palloc(sizeof(pg_uuid_t));
		memcpy(uuid->data, token->v.bytes.data, UUID_LEN);
		return UUIDPGetDatum(uuid);
	}
	return decode_input(token, type);
}

static Datum
decode_date(const AtqToken *token, AtqTypeInfo *type)
{
	AtqIso		iso;
	bool		is_date = token->kind == ATQ_TOKEN_EXT &&
		token->ext_code == ATQ_EXT_DATE;

	if ((is_date || token->kind == ATQ_TOKEN_STR) &&
		atq_iso_read_date(token->v.bytes, &iso))
		return DateADTGetDatum(atq_iso_date(&iso));
	return decode_input(token, type);
}

/* A timestamp with or without time zone, from all that means a moment. */
static Datum
decode_timestamp(const AtqToken *token, AtqTypeInfo *type)
{
	bool		with_zone = type->base_type == TIMESTAMPTZOID;
	bool		is_datetime = token->kind == ATQ_TOKEN_EXT &&
		token->ext_code == ATQ_EXT_DATETIME;
	AtqIso		iso;
	int64		seconds;
	uint32		nanos;

	if (atq_token_timestamp(token, &seconds, &nanos))
	{
		Timestamp	instant = atq_iso_from_unix(seconds, nanos);

		return TimestampGetDatum(with_zone ? instant :
								 instant_to_wall(instant));
	}
	if ((is_datetime || token->kind == ATQ_TOKEN_STR) &&
		atq_iso_read_datetime(token->v.bytes, &iso))
		return TimestampGetDatum(iso_to_timestamp(&iso, with_zone));
	return decode_input(token, type);
}

/*
 * As PostgreSQL's own casts between the two types: the session's TimeZone is
 * where a naive datetime is local, and what an instant is shown in.
 */
static Timestamp
iso_to_timestamp(const AtqIso *iso, bool with_zone)
{
	if (iso->has_offset)
		return with_zone ? atq_iso_instant(iso) :
			instant_to_wall(atq_iso_instant(iso));
	return with_zone ? wall_to_instant(iso) : atq_iso_wall(iso);
}

static Timestamp
wall_to_instant(const AtqIso *iso)
{
	Datum		wall = TimestampGetDatum(atq_iso_wall(iso));

	return DatumGetTimestampTz(DirectFunctionCall1(timestamp_timestamptz,
												   wall));
}

static Timestamp
instant_to_wall(Timestamp instant)
{
	Datum		value = TimestampTzGetDatum(instant);

	return DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp,
												 value));
}

/*
 * An interval's ISO 8601 text.  A sign in front of the P, which negative
 * timedeltas have, is not known to PostgreSQL.
 */
static Datum
decode_interval(const AtqToken *token, AtqTypeInfo *type)
{
	AtqSpan text = token->v.bytes;

	if (token->kind == ATQ_TOKEN_STR && text.len > 2 &&
		text.data[0] == '-' && text.data[1] == 'P')
	{
		text.		data++;
		text.		len--;

		return DirectFunctionCall1(interval_um, call_input(text, type));
	}
	return decode_input(token, type);
}

/* Any other type from a str. */
static Datum
decode_input(const AtqToken *token, AtqTypeInfo *type)
{
	if (token->kind != ATQ_TOKEN_STR)
		refuse(token, type);
	return call_input(token->v.bytes, type);
}

/* Text through the type's input function, which applies the typmod. */
static Datum
call_input(AtqSpan text, AtqTypeInfo *type)
{
	return InputFunctionCall(&type->input, atq_text_cstring(text),
							 type->input_ioparam, type->typmod);
}

static Datum
numeric_from_text(const char *text)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/* Brings a value that was made directly to the declared size. */
static Datum
apply_typmod(Datum value, const AtqTypeInfo *type)
{
	Datum		typmod = Int32GetDatum(type->typmod);

	if (type->typmod < 0)
		return value;
	switch (type->base_type)
	{
		case NUMERICOID:
			return DirectFunctionCall2(numeric, value, typmod);
		case VARCHAROID:
			return DirectFunctionCall3(varchar, value, typmod,
									   BoolGetDatum(false));
		case BPCHAROID:
			return DirectFunctionCall3(bpchar, value, typmod,
									   BoolGetDatum(false));
		case TIMESTAMPOID:
			return DirectFunctionCall2(timestamp_scale, value, typmod);
		case TIMESTAMPTZOID:
			return DirectFunctionCall2(timestamptz_scale, value, typmod);
		default:
			return value;
	}
}

static Jsonb *
plain_json(AtqSpan value, const AtqResolver *resolver)
{
	if (resolver && resolver->json)
		return atq_json_plain(value, resolver->json, resolver->arg);
	return atq_json_plain(value, refuse_reference, NULL);
}

static Jsonb *
refuse_reference(const AtqReference *reference, void *arg)
{
	if (reference->set.data)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("cannot run a query set here")));
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("cannot resolve a reference to class \"%s\" here",
					atq_text_cstring(reference->class_name))));
	return NULL;				/* keep the compiler quiet */
}

/* True for a query set; fills *reference. */
static bool
is_set(AtqSpan value, const AtqToken *token, AtqReference *reference)
{
	return token->kind == ATQ_TOKEN_MAP && token->count == 1 &&
		atq_reference_match(value, reference);
}

static Datum
decode_set(const AtqReference *reference, const AtqTypeInfo *type,
		   const AtqResolver *resolver)
{
	if (!resolver || !resolver->set)
		(void) refuse_reference(reference, NULL);
	return resolver->set(reference, type, resolver->arg);
}

/* An array from a list or a set. */
static Datum
decode_array(AtqSpan value, AtqTypeInfo *type, const AtqResolver *resolver)
{
	ArrayBuild	build = {0};
	AtqReader	reader;
	AtqToken	token;
	int			i;

	atq_msgpack_open(&reader, value);
	atq_marker_next(&reader, &token);
	atq_marker_enter_set(&reader, &token);
	if (token.kind != ATQ_TOKEN_ARRAY)
		refuse(&token, type);

	build.element = type->element;
	build.resolver = resolver;
	build.max_count = 16;
	build.values = palloc(build.max_count * sizeof(Datum));
	build.nulls = palloc(build.max_count * sizeof(bool));
	for (i = 0; i < MAXDIM; i++)
		build.dims[i] = -1;

	read_items(&build, &reader, token.count, 0);
	return build_array(&build, type);
}

/* Reads the items of one list, level dimensions deep. */
static void
read_items(ArrayBuild *build, AtqReader *reader, uint32 count, int level)
{
	uint32		i;

	if (build->dims[level] >= 0 && (uint32) build->dims[level] != count)
		refuse_shape();
	build->dims[level] = (int) count;

	for (i = 0; i < count; i++)
	{
		AtqReader	start = *reader;
		AtqToken	token;

		CHECK_FOR_INTERRUPTS();
		atq_msgpack_next(reader, &token);
		if (token.kind == ATQ_TOKEN_ARRAY &&
			!element_takes_lists(build->element))
		{
			if (build->ndim == level + 1 || level + 1 >= MAXDIM)
				refuse_shape();
			read_items(build, reader, token.count, level + 1);
			continue;
		}
		if (build->ndim == 0)
			build->ndim = level + 1;
		if (build->ndim != level + 1)
			refuse_shape();
		*reader = start;
		add_element(build, atq_msgpack_skip(reader));
	}
}

static void
add_element(ArrayBuild *build, AtqSpan value)
{
	if (build->count == build->max_count)
	{
		build->max_count *= 2;
		build->values = repalloc(build->values,
								 build->max_count * sizeof(Datum));
		build->nulls = repalloc(build->nulls,
								build->max_count * sizeof(bool));
	}
	build->values[build->count] =
		atq_datum_decode(value, build->element, build->resolver,
						 &build->nulls[build->count]);
	build->count++;
}

static void
refuse_shape(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
			 errmsg("cannot convert nested MessagePack arrays to a SQL array"),
			 errdetail("Sub-arrays must be of the same length, at most %d deep, and not mixed with elements.",
					   MAXDIM)));
}

/* True when a list is a value of the element type. */
static bool
element_takes_lists(const AtqTypeInfo *element)
{
	return element->is_msgpack || element->element ||
		element->base_type == JSONBOID || element->base_type == JSONOID;
}

static Datum
build_array(const ArrayBuild *build, const AtqTypeInfo *type)
{
	const AtqTypeInfo *element = build->element;
	int			lbs[MAXDIM];
	int64		expected = 1;
	int			i;

	if (build->count == 0)
		return PointerGetDatum(construct_empty_array(type->element_type));

	for (i = 0; i < build->ndim; i++)
	{
		lbs[i] = 1;
		expected *= build->dims[i];
		if (expected > build->count)
			refuse_shape();		/* an empty list stands beside elements */
	}
	return PointerGetDatum(construct_md_array(build->values, build->nulls,
											  build->ndim,
											  (int *) build->dims, lbs,
											  type->element_type,
											  element->len,
											  element->by_value,
											  element->align));
}

/* A row from a reference, or from a map of its attributes. */
static Datum
decode_row(AtqSpan value, AtqTypeInfo *type, const AtqResolver *resolver,
		   bool *isnull)
{
	AtqReference reference;
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		refuse(&token, type);
	if (!atq_reference_match(value, &reference))
		return decode_map_row(&reader, token.count, type, resolver);

	if (!resolver || !resolver->row)
		(void) refuse_reference(&reference, NULL);
	return resolver->row(&reference, type->base_type, isnull, resolver->arg);
}

/* Keys are attributes; those that do not occur are NULL. */
static Datum
decode_map_row(AtqReader *reader, uint32 pairs, AtqTypeInfo *type,
			   const AtqResolver *resolver)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type->base_type, -1);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	bool	   *seen = palloc0(desc->natts * sizeof(bool));
	int			i;

	for (; pairs > 0; pairs--)
	{
		AtqToken	key;

		atq_msgpack_next(reader, &key);
		if (key.kind != ATQ_TOKEN_STR)
			refuse(&key, type);
		i = find_attribute(desc, key.v.bytes, type);
		seen[i] = true;
		values[i] = atq_datum_decode(atq_msgpack_skip(reader),
									 attribute_info(type, desc, i),
									 resolver, &nulls[i]);
	}
	for (i = 0; i < desc->natts; i++)
	{
		AtqSpan		nil = {"\xc0", 1};

		if (seen[i])
			continue;
		nulls[i] = true;
		if (!TupleDescAttr(desc, i)->attisdropped)
			values[i] = atq_datum_decode(nil, attribute_info(type, desc, i),
										 resolver, &nulls[i]);
	}
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* The index of the attribute of this name; throws 42703. */
static int
find_attribute(TupleDesc desc, AtqSpan name, const AtqTypeInfo *type)
{
	char	   *text = atq_text_cstring(name);
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped &&
			strcmp(NameStr(attribute->attname), text) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("type %s has no attribute \"%s\"",
					format_type_be(type->type), text)));
}

/* What decoding to an attribute needs; made anew when it was altered. */
static AtqTypeInfo *
attribute_info(AtqTypeInfo *type, TupleDesc desc, int attribute)
{
	Form_pg_attribute form = TupleDescAttr(desc, attribute);
	AtqTypeInfo *info;

	if (type->attribute_count < desc->natts)
	{
		type->attributes =
			MemoryContextAllocZero(type->context,
								   desc->natts * sizeof(AtqTypeInfo *));
		type->attribute_count = desc->natts;
	}
	info = type->attributes[attribute];
	if (!info || info->type != form->atttypid ||
		(info->type == info->base_type && info->typmod != form->atttypmod))
	{
		info = atq_datum_prepare(form->atttypid, form->atttypmod,
								 type->context);
		type->attributes[attribute] = info;
	}
	return info;
}

Jsonb *
atq_datum_jsonb(Datum value, Oid type)
{
	FmgrInfo	to_jsonb;

	atq_datum_prepare_jsonb(&to_jsonb, type, CurrentMemoryContext);
	return atq_datum_call_jsonb(&to_jsonb, value, type);
}

void
atq_datum_prepare_jsonb(FmgrInfo *to_jsonb, Oid type, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	fmgr_info(F_TO_JSONB, to_jsonb);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
											 list_make1(makeNullConst(type, -1, InvalidOid)),
											 InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   to_jsonb);
	MemoryContextSwitchTo(old);
}

/*
 * to_jsonb() keeps pointers to the column names of rows until it has put all
 * of the object together, when it has let go of their descriptors.  These stay
 * where they are while the relations are open.
 */
Jsonb *
atq_datum_call_jsonb(FmgrInfo *to_jsonb, Datum value, Oid type)
{
	List	   *opened = type == RECORDOID ? open_record(NIL, value) :
		open_rows(NIL, type);
	Jsonb	   *json = DatumGetJsonbP(FunctionCall1(to_jsonb, value));
	ListCell   *lc;

	foreach(lc, opened)
		relation_close(lfirst(lc), AccessShareLock);
	list_free(opened);
	return json;
}

/* Opens the relations of a type's rows, and of the rows in these, each once. */
static List *
open_rows(List *opened, Oid type)
{
	TypeCacheEntry *entry;
	Relation	rel;
	ListCell   *lc;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	entry = lookup_type_cache(type, 0);
	if (entry->typtype == TYPTYPE_DOMAIN)
		return open_rows(opened, getBaseType(type));
	if (IsTrueArrayType(entry))
		return open_rows(opened, entry->typelem);
	if (!OidIsValid(entry->typrelid))
		return opened;
	foreach(lc, opened)
	{
		if (RelationGetRelid((Relation) lfirst(lc)) == entry->typrelid)
			return opened;
	}
	rel = relation_open(entry->typrelid, AccessShareLock);
	opened = lappend(opened, rel);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);

		if (!attribute->attisdropped)
			opened = open_rows(opened, attribute->atttypid);
	}
	return opened;
}

/* The same of a row whose type has no name: only the row knows its columns. */
static List *
open_record(List *opened, Datum value)
{
	HeapTupleHeader row = DatumGetHeapTupleHeader(value);
	Oid			type = HeapTupleHeaderGetTypeId(row);
	HeapTupleData tuple = {0};
	TupleDesc	desc;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (type != RECORDOID)
		return open_rows(opened, type);
	desc = lookup_rowtype_tupdesc(type, HeapTupleHeaderGetTypMod(row));
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	for (int i = 0; i < desc->natts; i++)
	{
		Oid			column = TupleDescAttr(desc, i)->atttypid;
		bool		isnull;
		Datum		inner = heap_getattr(&tuple, i + 1, desc, &isnull);

		if (column != RECORDOID)
			opened = open_rows(opened, column);
		else if (!isnull)
			opened = open_record(opened, inner);
	}
	ReleaseTupleDesc(desc);
	return opened;
}
