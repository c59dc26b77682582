/*-------------------------------------------------------------------------
 *
 * type.h
 *	  The SQL type asynctasq.msgpack: a varlena of MessagePack bytes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_TYPE_H
#define ATQ_WIRE_TYPE_H

#include "fmgr.h"

#include "wire/msgpack.h"

/* A msgpack argument or column, detoasted; its bytes were checked on input. */
#define ATQ_GETARG_MSGPACK(n) atq_type_span(PG_GETARG_DATUM(n))

extern AtqSpan atq_type_span(Datum value);

/*
 * The bytes of a bytea that is to become a value, checked; throws 22P03,
 * 22021, 54000.
 */
extern AtqSpan atq_type_check_bytea(Datum bytes);

/* A new palloc'd value of the given bytes, which must have been checked. */
extern Datum atq_type_make(const char *data, Size len);

/* The type's OID, or InvalidOid where the extension is not installed. */
extern Oid	atq_type_oid(void);

#endif							/* ATQ_WIRE_TYPE_H */
