/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  SQL values into MessagePack.
 *
 * Each built-in type goes to the wire type that means the same to Python; a
 * type unknown here goes as the text of its output function.  The settings
 * that such text depends on are pinned, as postgres_fdw does: the session
 * that reads it may have others.
 *
 * What grows beyond asynctasq.max_payload is given up at the next value.
 *
 * The keys of references bypass the ext types: what would be one is text
 * there, and an instant is an ext -1, which Python's ORM side expects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "wire/datum.h"
#include "wire/iso.h"
#include "wire/text.h"
#include "wire/type.h"

/* How a value is written; handed down through arrays and rows. */
typedef struct Encode
{
	StringInfo	buf;
	AtqPacker	pack;
	void	   *arg;
	bool		is_key;			/* no ext types */
} Encode;

/* An array being written. */
typedef struct ArrayWalk
{
	Oid			element;
	Datum	   *values;
	bool	   *nulls;
	int		   *dims;
	int			ndim;
	int			next;
} ArrayWalk;

static void encode_value(const Encode *encode, Datum value, Oid type);
static bool encode_number(StringInfo buf, Datum value, Oid type);
static bool encode_text(StringInfo buf, Datum value, Oid type);
static bool encode_moment(const Encode *encode, Datum value, Oid type);
static bool is_moment(Oid type);
static void encode_instant_key(StringInfo buf, TimestampTz instant);
static void encode_tagged(const Encode *encode, int8 code,
						  const char *text, Size len);
static void encode_timetz(StringInfo text, const TimeTzADT *time);
static void encode_interval(StringInfo text, const Interval *interval);
static void encode_seconds(StringInfo text, uint64 time_us);
static void encode_uuid(const Encode *encode, const pg_uuid_t *uuid);
static void encode_numeric(const Encode *encode, Datum value);
static void encode_json(StringInfo buf, Datum value, Oid type);
static void encode_span(StringInfo buf, AtqSpan span);
static void encode_other(const Encode *encode, Datum value, Oid type);
static void encode_output(const Encode *encode, Datum value, Oid type);
static void pin_setting(const char *name, const char *value);
static void encode_array(const Encode *encode, ArrayType *array);
static void encode_dimension(const Encode *encode, ArrayWalk *walk,
							 int level);
static void encode_row(const Encode *encode, HeapTupleHeader row);
static bool is_table_row(Oid type);
static void encode_attributes(const Encode *encode, HeapTupleHeader row);

/* Appends a SQL value in its wire type; see datum.h. */
void
atq_datum_encode(StringInfo buf, Datum value, Oid type, bool isnull,
				 AtqPacker pack, void *arg)
{
	Encode		encode = {buf, pack, arg, false};

	if (isnull)
		atq_pack_nil(buf);
	else
		encode_value(&encode, value, type);
}

/* Appends a value as a reference's key carries it. */
void
atq_datum_encode_key(StringInfo buf, Datum value, Oid type)
{
	Encode		encode = {buf, NULL, NULL, true};

	encode_value(&encode, value, type);
}

static void
encode_value(const Encode *encode, Datum value, Oid type)
{
	AtqSpan		bytes;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	atq_msgpack_check_size(encode->buf->len);

	if (encode_number(encode->buf, value, type) ||
		encode_text(encode->buf, value, type) ||
		encode_moment(encode, value, type))
		return;

	switch (type)
	{
		case VOIDOID:
			atq_pack_nil(encode->buf);
			break;
		case BOOLOID:
			atq_pack_bool(encode->buf, DatumGetBool(value));
			break;
		case NUMERICOID:
			encode_numeric(encode, value);
			break;
		case BYTEAOID:
			bytes = atq_type_span(value);
			atq_pack_bin(encode->buf, bytes.data, bytes.len);
			break;
		case UUIDOID:
			encode_uuid(encode, DatumGetUUIDP(value));
			break;
		case JSONOID:
		case JSONBOID:
			encode_json(encode->buf, value, type);
			break;
		default:
			encode_other(encode, value, type);
			break;
	}
}

/* Integers and floats; false for other types. */
static bool
encode_number(StringInfo buf, Datum value, Oid type)
{
	switch (type)
	{
		case INT2OID:
			atq_pack_int(buf, DatumGetInt16(value));
			return true;
		case INT4OID:
			atq_pack_int(buf, DatumGetInt32(value));
			return true;
		case INT8OID:
			atq_pack_int(buf, DatumGetInt64(value));
			return true;
		case OIDOID:
			atq_pack_int(buf, DatumGetObjectId(value));
			return true;
		case FLOAT4OID:
			atq_pack_float(buf, DatumGetFloat4(value));
			return true;
		case FLOAT8OID:
			atq_pack_float(buf, DatumGetFloat8(value));
			return true;
		default:
			return false;
	}
}

/* Text and names; false for other types. */
static bool
encode_text(StringInfo buf, Datum value, Oid type)
{
	AtqSpan text;

	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			text = atq_type_span(value);

			break;
		case NAMEOID:
			text.		data = NameStr(*DatumGetName(value));
			text.		len = strlen(text.data);

			break;
		case UNKNOWNOID:
		case CSTRINGOID:
			text.		data = DatumGetCString(value);
			text.		len = strlen(text.data);

			break;
		default:
			return false;
	}
	atq_text_pack(buf, text.data, text.len);
	return true;
}

/* Dates, times and intervals; false for other types. */
static bool
encode_moment(const Encode *encode, Datum value, Oid type)
{
	StringInfoData text;
	int8		code = 0;

	if (type == TIMESTAMPTZOID && encode->is_key)
	{
		encode_instant_key(encode->buf, DatumGetTimestampTz(value));
		return true;
	}
	if (!is_moment(type))
		return false;

	initStringInfo(&text);
	switch (type)
	{
		case DATEOID:
			code = ATQ_EXT_DATE;
			atq_iso_print_date(&text, DatumGetDateADT(value));
			break;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			code = ATQ_EXT_DATETIME;
			atq_iso_print_timestamp(&text, DatumGetTimestamp(value),
									type == TIMESTAMPTZOID);
			break;
		case TIMEOID:
			atq_iso_print_time(&text, DatumGetTimeADT(value));
			break;
		case TIMETZOID:
			encode_timetz(&text, DatumGetTimeTzADTP(value));
			break;
		default:
			encode_interval(&text, DatumGetIntervalP(value));
			break;
	}
	if (code != 0)
		encode_tagged(encode, code, text.data, text.len);
	else
		atq_pack_str(encode->buf, text.data, text.len);
	pfree(text.data);
	return true;
}

static bool
is_moment(Oid type)
{
	return type == DATEOID || type == TIMESTAMPOID ||
		type == TIMESTAMPTZOID || type == TIMEOID || type == TIMETZOID ||
		type == INTERVALOID;
}

/* An ext -1; throws 22008 for an infinity. */
static void
encode_instant_key(StringInfo buf, TimestampTz instant)
{
	StringInfoData text;
	AtqSpan		span;
	AtqIso		iso;

	initStringInfo(&text);
	atq_iso_print_timestamp(&text, instant, true);
	span.data = text.data;
	span.len = text.len;

	if (!atq_iso_read_datetime(span, &iso))
		elog(ERROR, "could not read back timestamp \"%s\"", text.data);
	atq_pack_timestamp(buf, atq_iso_unix(&iso), iso.nanos);
}

/* Text as an ext of its code, or as a str in a key. */
static void
encode_tagged(const Encode *encode, int8 code, const char *text, Size len)
{
	if (encode->is_key)
		atq_pack_str(encode->buf, text, len);
	else
		atq_pack_ext(encode->buf, code, text, len);
}

static void
encode_timetz(StringInfo text, const TimeTzADT *time)
{
	atq_iso_print_time(text, time->time);
	atq_iso_print_offset(text, -time->zone);
}

/*
 * ISO 8601, and in the form of a Python timedelta, [-]P<days>DT<seconds>S,
 * where one could hold it: no months, no mixed signs, and no number whose
 * negative PostgreSQL could not read back.
 */
static void
encode_interval(StringInfo text, const Interval *interval)
{
	bool		negative = interval->day < 0 || interval->time < 0;
	uint64		time_us = interval->time < 0 ?
		-(uint64) interval->time : (uint64) interval->time;
	struct pg_itm itm;
	char		iso[MAXDATELEN + 1];

	if (!atq_interval_finite(interval))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("cannot convert an infinite interval to MessagePack")));
	if (interval->month != 0 || interval->day == PG_INT32_MIN ||
		interval->time == PG_INT64_MIN ||
		(negative && (interval->day > 0 || interval->time > 0)))
	{
		interval2itm(*interval, &itm);
		EncodeInterval(&itm, INTSTYLE_ISO_8601, iso);
		appendStringInfoString(text, iso);
		return;
	}

	appendStringInfoString(text, negative ? "-P" : "P");
	if (interval->day != 0 || time_us == 0)
		appendStringInfo(text, "%lldD", llabs((long long) interval->day));
	if (time_us != 0)
		encode_seconds(text, time_us);
}

/* Appends T<seconds>S, with as many digits of a second as there are. */
static void
encode_seconds(StringInfo text, uint64 time_us)
{
	int			micros = (int) (time_us % USECS_PER_SEC);

	appendStringInfo(text, "T%llu",
					 (unsigned long long) (time_us / USECS_PER_SEC));
	if (micros != 0)
	{
		appendStringInfo(text, ".%06d", micros);
		while (text->data[text->len - 1] == '0')
			text	  ->data[--text->len] = '\0';
	}
	appendStringInfoChar(text, 'S');
}

static void
encode_uuid(const Encode *encode, const pg_uuid_t *uuid)
{
	Datum text;

	if (!encode->is_key)
	{
		atq_pack_ext(encode->buf, ATQ_EXT_UUID, (const char *) uuid->data,
					 UUID_LEN);
		return;
	}
	text = DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid));

	atq_pack_str(encode->buf, DatumGetCString(text),
				 strlen(DatumGetCString(text)));
}

static void
encode_numeric(const Encode *encode, Datum value)
{
	char	   *digits = DatumGetCString(DirectFunctionCall1(numeric_out,
															 value));

	encode_tagged(encode, ATQ_EXT_DECIMAL, digits, strlen(digits));
	pfree(digits);
}

/* JSON is in tagged form, as what the type's casts take. */
static void
encode_json(StringInfo buf, Datum value, Oid type)
{
	AtqSpan		json;

	if (type == JSONBOID)
	{
		atq_json_pack(buf, DatumGetJsonbP(value));
		return;
	}
	json = atq_type_span(value);
	atq_json_pack_text(buf, json.data, json.len);
}

static void
encode_span(StringInfo buf, AtqSpan span)
{
	appendBinaryStringInfo(buf, span.data, (int) span.len);
}

/* What no case above names: domains, containers, and text at last. */
static void
encode_other(const Encode *encode, Datum value, Oid type)
{
	Oid			base = getBaseType(type);

	if (base != type)
	{
		encode_value(encode, value, base);
		return;
	}
	if (type == atq_type_oid())
	{
		encode_span(encode->buf, atq_type_span(value));
		return;
	}
	if (OidIsValid(get_element_type(type)) || type == ANYARRAYOID)
	{
		encode_array(encode, DatumGetArrayTypeP(value));
		return;
	}
	if (type_is_rowtype(type))
	{
		encode_row(encode, DatumGetHeapTupleHeader(value));
		return;
	}
	if (encode->pack && encode->pack(encode->buf, value, type, encode->arg))
		return;
	encode_output(encode, value, type);
}

/* The text of a type's output function, whatever the session's settings. */
static void
encode_output(const Encode *encode, Datum value, Oid type)
{
	bool		pinned = get_typtype(type) != TYPTYPE_ENUM;
	int			level = pinned ? atq_datum_pin_settings() : 0;
	Oid			output;
	bool		is_varlena;
	char	   *text;

	getTypeOutputInfo(type, &output, &is_varlena);
	text = OidOutputFunctionCall(output, value);

	if (pinned)
		AtEOXact_GUC(true, level);
	atq_text_pack(encode->buf, text, strlen(text));
	pfree(text);
}

/*
 * Pins what output functions look at, and returns the GUC nest level to be
 * ended; an error's rollback ends it too.  The empty path makes the names of
 * reg* types qualified.
 */
int
atq_datum_pin_settings(void)
{
	int			level = NewGUCNestLevel();

	pin_setting("datestyle", "ISO");
	pin_setting("intervalstyle", "postgres");
	pin_setting("extra_float_digits", "3");
	pin_setting("search_path", "pg_catalog");
	return level;
}

static void
pin_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
encode_array(const Encode *encode, ArrayType *array)
{
	ArrayWalk	walk = {0};
	int			count;
	int16		len;
	bool		by_value;
	char		align;

	walk.element = ARR_ELEMTYPE(array);
	walk.ndim = ARR_NDIM(array);
	walk.dims = ARR_DIMS(array);
	if (walk.ndim == 0)
	{
		atq_pack_array(encode->buf, 0);
		return;
	}
	get_typlenbyvalalign(walk.element, &len, &by_value, &align);
	deconstruct_array(array, walk.element, len, by_value, align,
					  &walk.values, &walk.nulls, &count);
	encode_dimension(encode, &walk, 0);
	pfree(walk.values);
	pfree(walk.nulls);
}

/* One list of a dimension, with the lists below it. */
static void
encode_dimension(const Encode *encode, ArrayWalk *walk, int level)
{
	int			i;

	atq_pack_array(encode->buf, walk->dims[level]);
	for (i = 0; i < walk->dims[level]; i++)
	{
		if (level + 1 < walk->ndim)
			encode_dimension(encode, walk, level + 1);
		else if (walk->nulls[walk->next])
		{
			atq_pack_nil(encode->buf);
			walk->next++;
		}
		else
			encode_value(encode, walk->values[walk->next++], walk->element);
	}
}

/* A table's row as a reference, if the caller can, else as a map. */
static void
encode_row(const Encode *encode, HeapTupleHeader row)
{
	Oid			type = HeapTupleHeaderGetTypeId(row);

	if (encode->pack && is_table_row(type) &&
		encode->pack(encode->buf, PointerGetDatum(row), type,
					 encode->arg))
		return;
	encode_attributes(encode, row);
}

/* True for the row type of anything that holds or shows rows. */
static bool
is_table_row(Oid type)
{
	Oid			relation = type == RECORDOID ? InvalidOid :
		get_typ_typrelid(type);

	if (!OidIsValid(relation))
		return false;
	return get_rel_relkind(relation) != RELKIND_COMPOSITE_TYPE;
}

/* A map of a row's attributes, without the dropped ones. */
static void
encode_attributes(const Encode *encode, HeapTupleHeader row)
{
	Oid			type = HeapTupleHeaderGetTypeId(row);
	int32		typmod = HeapTupleHeaderGetTypMod(row);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, typmod);
	HeapTupleData tuple = {0};
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	int			count = 0;
	int			i;

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	heap_deform_tuple(&tuple, desc, values, nulls);

	for (i = 0; i < desc->natts; i++)
		count += !TupleDescAttr(desc, i)->attisdropped;
	atq_pack_map(encode->buf, count);

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		char	   *name = NameStr(attribute->attname);

		if (attribute->attisdropped)
			continue;
		atq_text_pack(encode->buf, name, strlen(name));
		if (nulls[i])
			atq_pack_nil(encode->buf);
		else
			encode_value(encode, values[i], attribute->atttypid);
	}
	FreeTupleDesc(desc);
	pfree(values);
	pfree(nulls);
}
