/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Text between the wire, which is UTF-8, and the server's encoding.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_TEXT_H
#define ATQ_WIRE_TEXT_H

#include "wire/msgpack.h"

/*
 * True when the server's encoding can hold the text: no U+0000, and an
 * equivalent for every character.
 */
extern bool atq_text_fits(AtqSpan utf8);

/*
 * All three throw 22021 or 22P05 when a character has no equivalent; what
 * they return is palloc'd, or points into their argument where both
 * encodings are the same.
 */

/* UTF-8 into the server's encoding; not NUL-terminated. */
extern AtqSpan atq_text_import(AtqSpan utf8);

/* The same, always palloc'd and NUL-terminated; throws 22P05 for U+0000. */
extern char *atq_text_cstring(AtqSpan utf8);

/* From the server's encoding into UTF-8. */
extern AtqSpan atq_text_export(const char *data, Size len);

/* Appends text in the server's encoding as a str. */
extern void atq_text_pack(StringInfo buf, const char *data, Size len);

/* Where the first byte that is no UTF-8 stands, or the length. */
extern Size atq_text_verify(AtqSpan utf8);

/* True when a span equals a C string. */
extern bool atq_text_is(AtqSpan span, const char *text);

#endif							/* ATQ_WIRE_TEXT_H */
