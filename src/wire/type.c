/*-------------------------------------------------------------------------
 *
 * type.c
 *	  The SQL type asynctasq.msgpack: a varlena of MessagePack bytes.
 *
 * Everything that becomes a value of the type is checked on the way in, so
 * whoever gets one may walk it.  Text in and out is tagged JSON; binary in and
 * out are the bytes themselves, so drivers in binary mode pass them through.
 *
 * Comparison is that of bytea, on the bytes: the functions behind its
 * operators are PostgreSQL's own.  The cast to bytea needs no function at
 * all.
 *
 * The type's OID is looked up once and forgotten when pg_type changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"

#include "wire/jsonform.h"
#include "wire/marker.h"
#include "wire/text.h"
#include "wire/type.h"

static Oid	type_oid = InvalidOid;

static void forget_type_oid(Datum arg, int cache, uint32 hash);
static Datum make_checked(StringInfo buf);
static Datum make_from_span(AtqSpan span);
static bool find_key(AtqSpan map, AtqSpan key, AtqSpan *value);
static bool find_item(AtqSpan list, int64 index, AtqSpan *value);
static bool find_int_key(AtqReader *reader, uint32 pairs, int64 key,
						 AtqSpan *value);
static Datum return_text(FunctionCallInfo fcinfo, bool found, AtqSpan value);

PG_FUNCTION_INFO_V1(atq_sql_msgpack_in);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_out);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_recv);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_send);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_from_json);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_from_jsonb);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_from_bytea);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_to_json);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_to_jsonb);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_field);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_field_text);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_item);
PG_FUNCTION_INFO_V1(atq_sql_msgpack_item_text);

/* The bytes of a value, detoasted where needed; may throw. */
AtqSpan
atq_type_span(Datum value)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
	AtqSpan		span = {VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed)};

	return span;
}

/* The bytes of a bytea, checked; its size before it is decompressed. */
AtqSpan
atq_type_check_bytea(Datum bytes)
{
	AtqSpan		span;

	atq_msgpack_check_size(toast_raw_datum_size(bytes) - VARHDRSZ);
	span = atq_type_span(bytes);
	atq_msgpack_check(span);
	return span;
}

/* A new palloc'd value of bytes that were checked. */
Datum
atq_type_make(const char *data, Size len)
{
	struct varlena *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return PointerGetDatum(value);
}

/* The type's OID, or InvalidOid where the extension is not installed. */
Oid
atq_type_oid(void)
{
	static bool registered = false;
	Oid			schema;

	if (OidIsValid(type_oid))
		return type_oid;
	if (!registered)
	{
		CacheRegisterSyscacheCallback(TYPEOID, forget_type_oid, (Datum) 0);
		registered = true;
	}
	schema = get_namespace_oid("asynctasq", true);
	if (!OidIsValid(schema))
		return InvalidOid;
	type_oid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
							   CStringGetDatum("msgpack"),
							   ObjectIdGetDatum(schema));
	return type_oid;
}

static void
forget_type_oid(Datum arg, int cache, uint32 hash)
{
	type_oid = InvalidOid;
}

Datum
atq_sql_msgpack_in(PG_FUNCTION_ARGS)
{
	char	   *json = PG_GETARG_CSTRING(0);
	StringInfoData buf;

	initStringInfo(&buf);
	atq_json_pack_text(&buf, json, strlen(json));
	return make_checked(&buf);
}

Datum
atq_sql_msgpack_out(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	initStringInfo(&buf);
	atq_json_print(&buf, ATQ_GETARG_MSGPACK(0));
	PG_RETURN_CSTRING(buf.data);
}

Datum
atq_sql_msgpack_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			len = message->len - message->cursor;
	AtqSpan		span = {pq_getmsgbytes(message, len), len};

	atq_msgpack_check(span);
	return make_from_span(span);
}

Datum
atq_sql_msgpack_send(PG_FUNCTION_ARGS)
{
	AtqSpan		span = ATQ_GETARG_MSGPACK(0);

	/* a bytea is laid out the same */
	return atq_type_make(span.data, span.len);
}

Datum
atq_sql_msgpack_from_json(PG_FUNCTION_ARGS)
{
	AtqSpan		json = atq_type_span(PG_GETARG_DATUM(0));
	StringInfoData buf;

	initStringInfo(&buf);
	atq_json_pack_text(&buf, json.data, json.len);
	return make_checked(&buf);
}

Datum
atq_sql_msgpack_from_jsonb(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	initStringInfo(&buf);
	atq_json_pack(&buf, PG_GETARG_JSONB_P(0));
	return make_checked(&buf);
}

Datum
atq_sql_msgpack_from_bytea(PG_FUNCTION_ARGS)
{
	return make_from_span(atq_type_check_bytea(PG_GETARG_DATUM(0)));
}

Datum
atq_sql_msgpack_to_json(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	initStringInfo(&buf);
	atq_json_print(&buf, ATQ_GETARG_MSGPACK(0));
	return make_from_span((AtqSpan) {buf.data, buf.len});
}

Datum
atq_sql_msgpack_to_jsonb(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(atq_json_tagged(ATQ_GETARG_MSGPACK(0)));
}

/* msgpack -> text: a map's value by its key, or NULL. */
Datum
atq_sql_msgpack_field(PG_FUNCTION_ARGS)
{
	AtqSpan		value;

	if (!find_key(ATQ_GETARG_MSGPACK(0),
				  atq_type_span(PG_GETARG_DATUM(1)), &value))
		PG_RETURN_NULL();
	return make_from_span(value);
}

/* msgpack ->> text */
Datum
atq_sql_msgpack_field_text(PG_FUNCTION_ARGS)
{
	AtqSpan		value;
	bool		found = find_key(ATQ_GETARG_MSGPACK(0),
								 atq_type_span(PG_GETARG_DATUM(1)), &value);

	return return_text(fcinfo, found, value);
}

/* msgpack -> int: an item by its index from 0, or from -1 backwards. */
Datum
atq_sql_msgpack_item(PG_FUNCTION_ARGS)
{
	AtqSpan		value;

	if (!find_item(ATQ_GETARG_MSGPACK(0), PG_GETARG_INT32(1), &value))
		PG_RETURN_NULL();
	return make_from_span(value);
}

/* msgpack ->> int */
Datum
atq_sql_msgpack_item_text(PG_FUNCTION_ARGS)
{
	AtqSpan		value;
	bool		found = find_item(ATQ_GETARG_MSGPACK(0), PG_GETARG_INT32(1),
								  &value);

	return return_text(fcinfo, found, value);
}

/* Checks what was packed and makes it a value. */
static Datum
make_checked(StringInfo buf)
{
	AtqSpan		span = {buf->data, buf->len};

	atq_msgpack_check(span);
	return make_from_span(span);
}

static Datum
make_from_span(AtqSpan span)
{
	return atq_type_make(span.data, span.len);
}

/* Finds a str key; false when there is none or the value is no map. */
static bool
find_key(AtqSpan map, AtqSpan key, AtqSpan *value)
{
	AtqReader	reader;
	AtqToken	token;
	uint32		pairs;

	atq_msgpack_open(&reader, map);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		return false;

	key = atq_text_export(key.data, key.len);
	for (pairs = token.count; pairs > 0; pairs--)
	{
		*value = atq_msgpack_pair(&reader, &token);
		if (token.kind == ATQ_TOKEN_STR &&
			token.v.bytes.len == key.len &&
			memcmp(token.v.bytes.data, key.data, key.len) == 0)
			return true;
	}
	return false;
}

/* Finds an item of a list or set, or a map's value by an int key. */
static bool
find_item(AtqSpan list, int64 index, AtqSpan *value)
{
	AtqReader	reader;
	AtqToken	token;
	int64		i;

	atq_msgpack_open(&reader, list);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_MAP)
		return find_int_key(&reader, token.count, index, value);

	atq_marker_enter_set(&reader, &token);
	if (token.kind != ATQ_TOKEN_ARRAY)
		return false;
	if (index < 0)
		index += token.count;
	if (index < 0 || index >= (int64) token.count)
		return false;
	for (i = 0; i <= index; i++)
		*value = atq_msgpack_skip(&reader);
	return true;
}

static bool
find_int_key(AtqReader *reader, uint32 pairs, int64 key, AtqSpan *value)
{
	for (; pairs > 0; pairs--)
	{
		AtqToken	token;

		*value = atq_msgpack_pair(reader, &token);
		if (token.kind == ATQ_TOKEN_INT && token.v.i == key)
			return true;
	}
	return false;
}

/* What ->> returns: nil is NULL, as JSON null is there. */
static Datum
return_text(FunctionCallInfo fcinfo, bool found, AtqSpan value)
{
	AtqReader	reader;
	AtqToken	token;
	StringInfoData buf;

	if (!found)
		PG_RETURN_NULL();
	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (token.kind == ATQ_TOKEN_NIL)
		PG_RETURN_NULL();

	initStringInfo(&buf);
	atq_json_text(&buf, value);
	return make_from_span((AtqSpan) {buf.data, buf.len});
}
