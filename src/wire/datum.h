/*-------------------------------------------------------------------------
 *
 * datum.h
 *	  MessagePack to and from SQL values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_DATUM_H
#define ATQ_WIRE_DATUM_H

#include "access/htup.h"
#include "fmgr.h"

#include "wire/jsonform.h"

/* What decoding to a type needs to know; made once by atq_datum_prepare. */
typedef struct AtqTypeInfo
{
	Oid			type;
	int32		typmod;
	Oid			base_type;		/* of a domain, else type */
	char		kind;			/* pg_type.typtype of base_type */
	Oid			element_type;	/* of an array, else InvalidOid */
	struct AtqTypeInfo *element;	/* of an array, else NULL */
	bool		is_msgpack;		/* asynctasq.msgpack: takes bytes as they are */
	int16		len;
	bool		by_value;
	char		align;
	FmgrInfo	input;			/* the type's input function */
	Oid			input_ioparam;
	void	   *domain_extra;	/* domain_check's own */
	struct AtqTypeInfo **attributes;	/* of a row type, made when needed */
	int			attribute_count;
	MemoryContext context;		/* what all this lives in */
} AtqTypeInfo;

/*
 * The row a reference stands for, as a composite value of row_type (a
 * table's row type).  May throw.
 */
typedef Datum (*AtqRowResolver) (const AtqReference *reference, Oid row_type,
								 bool *isnull, void *arg);

/*
 * What a query set is to a parameter of a type (neither msgpack nor a JSON
 * type): an array of its rows, or the query set itself.  May throw.
 */
typedef Datum (*AtqSetResolver) (const AtqReference *reference,
								 const AtqTypeInfo *type, void *arg);

typedef struct AtqResolver
{
	AtqRowResolver row;
	AtqSetResolver set;
	AtqJsonResolver json;
	void	   *arg;
} AtqResolver;

/*
 * Writes a table's row, or a value of a type unknown here, in a form of its
 * own; false when it has none (a table without a key), in which case nothing
 * was written and the value goes as a map or as text.
 */
typedef bool (*AtqPacker) (StringInfo buf, Datum value, Oid type, void *arg);

/* Looks a type up in the catalogs; what it keeps lives in context. */
extern AtqTypeInfo *atq_datum_prepare(Oid type, int32 typmod,
									  MemoryContext context);

/*
 * What the elements of a type's arrays are, or InvalidOid: a type that is no
 * domain takes lists where it has some.  Vectors take text.
 */
extern Oid	atq_datum_element_type(Oid type);

/*
 * Decodes one value into the type, as a handler's parameter takes it: a
 * scalar from the matching wire type, checked; an array from a list; a row
 * type from a reference; an array from a query set; jsonb as plain JSON with
 * references resolved; msgpack as it is.  Domains are checked.  resolver may be NULL, references
 * then are an error.  Throws 42804 (the wire type does not fit the SQL type),
 * 22003, 22007 and their like; the caller adds the parameter's name as error
 * context.
 */
extern Datum atq_datum_decode(AtqSpan value, AtqTypeInfo *type,
							  const AtqResolver *resolver, bool *isnull);

/*
 * Throws where a value of the type below a domain is not one of the domain's;
 * what atq_datum_decode gives has been checked.
 */
extern void atq_datum_check_domain(Datum value, bool isnull,
								   AtqTypeInfo *type);

/*
 * Decodes a reference's key (one column): as above, but UUIDs, dates,
 * timestamps and Decimals come as text, aware datetimes as ext -1, and text
 * for an integer is accepted if it is one.  nil throws 22004.
 */
extern Datum atq_datum_decode_key(AtqSpan value, AtqTypeInfo *type);

/*
 * Appends a SQL value in its wire type; pack may be NULL, rows then always go
 * as maps.
 */
extern void atq_datum_encode(StringInfo buf, Datum value, Oid type,
							 bool isnull, AtqPacker pack, void *arg);

/*
 * Has output functions write what pg_dump would write; returns the GUC nest
 * level to be ended.
 */
extern int	atq_datum_pin_settings(void);

/* A SQL value as jsonb, as to_jsonb() gives it. */
extern Jsonb *atq_datum_jsonb(Datum value, Oid type);

/* The same for many of a type: prepared once, with memory of the context. */
extern void atq_datum_prepare_jsonb(FmgrInfo *to_jsonb, Oid type,
									MemoryContext context);
extern Jsonb *atq_datum_call_jsonb(FmgrInfo *to_jsonb, Datum value, Oid type);

/* "str", "datetime", ..: what messages call a token. */
extern const char *atq_token_name(const AtqToken *token);

/* Appends a value as a reference's key carries it (see decode_key). */
extern void atq_datum_encode_key(StringInfo buf, Datum value, Oid type);

#endif							/* ATQ_WIRE_DATUM_H */
