/*-------------------------------------------------------------------------
 *
 * args.c
 *	  The SQL functions that make arguments: args(), set() and ref().
 *
 * A row of a table that has a key becomes a reference: the key's values are
 * read out of the row that was given, the table itself is not.  Its class is
 * the registered model's, or the table's qualified name with the ORM
 * "postgres" where no model was registered.  A row without a key goes as a
 * map of its columns.  A query set goes as it is, and is run with the task.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "base/argument.h"
#include "query/queryset.h"
#include "store/registry.h"
#include "store/relkey.h"
#include "wire/datum.h"
#include "wire/text.h"
#include "wire/type.h"

static bool pack_value(StringInfo buf, Datum value, Oid type, void *arg);
static bool pack_row(StringInfo buf, HeapTupleHeader row);
static void pack_key(StringInfo buf, HeapTupleHeader row, Relation rel,
					 int nkeys, const AttrNumber *columns);
static Datum make_checked(StringInfo buf);
static const char *class_orm(const char *class_name);
static int	variadic(FunctionCallInfo fcinfo, int first, Datum **values,
					 Oid **types, bool **nulls);

PG_FUNCTION_INFO_V1(atq_sql_args);

Datum
atq_sql_args(PG_FUNCTION_ARGS)
{
	Datum	   *values;
	Oid		   *types;
	bool	   *nulls;
	int			n = variadic(fcinfo, 0, &values, &types, &nulls);
	StringInfoData buf;

	if (n % 2 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("args() needs an even number of arguments"),
				 errhint("Give a name and a value for each argument of the task.")));
	initStringInfo(&buf);
	atq_pack_map(&buf, n / 2);
	for (int i = 0; i < n; i += 2)
	{
		if (nulls[i] || (types[i] != TEXTOID && types[i] != VARCHAROID &&
						 types[i] != NAMEOID))
			ereport(ERROR,
					(errcode(nulls[i] ? ERRCODE_NULL_VALUE_NOT_ALLOWED :
							 ERRCODE_DATATYPE_MISMATCH),
					 errmsg("argument %d of args() must be a name", i + 1),
					 errhint("Give a name and a value for each argument of the task.")));
		atq_datum_encode(&buf, values[i], types[i], false, NULL, NULL);
		atq_datum_encode(&buf, values[i + 1], types[i + 1], nulls[i + 1],
						 pack_value, NULL);
	}
	return make_checked(&buf);
}

/* args() without arguments: an empty map. */
PG_FUNCTION_INFO_V1(atq_sql_args_none);

Datum
atq_sql_args_none(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	initStringInfo(&buf);
	atq_pack_map(&buf, 0);
	return make_checked(&buf);
}

PG_FUNCTION_INFO_V1(atq_sql_set);

Datum
atq_sql_set(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	StringInfoData items;
	StringInfoData buf;

	initStringInfo(&items);
	atq_datum_encode(&items, PG_GETARG_DATUM(0), type, false, pack_value, NULL);
	initStringInfo(&buf);
	atq_pack_ext(&buf, ATQ_EXT_SET, items.data, items.len);
	return make_checked(&buf);
}

PG_FUNCTION_INFO_V1(atq_sql_ref_row);

Datum
atq_sql_ref_row(PG_FUNCTION_ARGS)
{
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);
	StringInfoData buf;

	initStringInfo(&buf);
	if (!pack_row(&buf, row))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot refer to a row of type %s, which has no key",
						format_type_be(HeapTupleHeaderGetTypeId(row))),
				 errhint("Give its table a primary key, or register it with asynctasq.register_model(..., key => ...).")));
	return make_checked(&buf);
}

PG_FUNCTION_INFO_V1(atq_sql_ref_key);

Datum
atq_sql_ref_key(PG_FUNCTION_ARGS)
{
	char	   *class_name = atq_text_arg(fcinfo, 0, "class");
	Datum	   *values;
	Oid		   *types;
	bool	   *nulls;
	int			n = variadic(fcinfo, 1, &values, &types, &nulls);
	StringInfoData key;
	StringInfoData buf;

	atq_registry_check_name("class", class_name);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reference to model \"%s\" needs a key", class_name)));
	initStringInfo(&key);
	if (n > 1)
		atq_pack_array(&key, n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("key of a reference to model \"%s\" must not be null",
							class_name)));
		atq_datum_encode_key(&key, values[i], types[i]);
	}
	initStringInfo(&buf);
	atq_reference_pack(&buf, class_orm(class_name), class_name,
					   (AtqSpan) {
						   key.data, key.len
					   });
	return make_checked(&buf);
}

/*
 * The ORM of a class that is registered for one; where it is registered for
 * several the order of the list decides.
 */
static const char *
class_orm(const char *class_name)
{
	static const char *const orms[] = {"sqlalchemy", "django", "tortoise",
	"postgres"};
	AtqSpan		name = {class_name, strlen(class_name)};

	for (int i = 0; i < lengthof(orms); i++)
	{
		AtqModel   *model = atq_registry_model(orms[i], name);

		if (model != NULL && atq_registry_has_name(model))
			return orms[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("model \"%s\" is not registered", class_name),
			 errhint("Register it with asynctasq.register_model().")));
}

/* For atq_datum_encode: rows of tables, and query sets. */
static bool
pack_value(StringInfo buf, Datum value, Oid type, void *arg)
{
	if (type_is_rowtype(type))
		return pack_row(buf, DatumGetHeapTupleHeader(value));
	if (type != atq_queryset_type())
		return false;
	atq_reference_pack_set(buf, DatumGetJsonbP(value));
	return true;
}

static bool
pack_row(StringInfo buf, HeapTupleHeader row)
{
	Oid			relid = get_typ_typrelid(HeapTupleHeaderGetTypeId(row));
	AttrNumber	columns[ATQ_MAX_KEYS];
	StringInfoData key;
	AtqModel   *model;
	Relation	rel;
	int			nkeys;

	if (!OidIsValid(relid))
		return false;
	model = atq_registry_model_of(relid);
	rel = relation_open(relid, AccessShareLock);
	nkeys = model != NULL ? atq_relkey_columns(rel, model, columns) :
		atq_relkey_unregistered(rel, columns);
	if (nkeys > 0)
	{
		const char *class_name = model ? model->class_name :
			atq_relkey_name(rel);

		initStringInfo(&key);
		pack_key(&key, row, rel, nkeys, columns);
		atq_reference_pack(buf, model ? model->orm : "postgres", class_name,
						   (AtqSpan) {
							   key.data, key.len
						   });
	}
	relation_close(rel, AccessShareLock);
	return nkeys > 0;
}

static void
pack_key(StringInfo buf, HeapTupleHeader row, Relation rel, int nkeys,
		 const AttrNumber *columns)
{
	Datum		values[ATQ_MAX_KEYS];
	bool		nulls[ATQ_MAX_KEYS];

	for (int i = 0; i < nkeys; i++)
		values[i] = GetAttributeByNum(row, columns[i], &nulls[i]);
	atq_relkey_pack(buf, rel, nkeys, columns, values, nulls);
}

/* The value of packed bytes, within the limits of size and depth. */
static Datum
make_checked(StringInfo buf)
{
	atq_msgpack_check((AtqSpan) {
		buf->data, buf->len
	});
	return atq_type_make(buf->data, buf->len);
}

static int
variadic(FunctionCallInfo fcinfo, int first, Datum **values, Oid **types,
		 bool **nulls)
{
	int			n = extract_variadic_args(fcinfo, first, true, values, types,
										  nulls);

	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("variadic array must not be null")));
	return n;
}
