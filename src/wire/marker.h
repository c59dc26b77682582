/*-------------------------------------------------------------------------
 *
 * marker.h
 *	  The dict markers that older producers wrote instead of ext types.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_MARKER_H
#define ATQ_WIRE_MARKER_H

#include "wire/msgpack.h"

/*
 * Reads one token as atq_msgpack_next does, with a marker map taken as the
 * ext it stands for: the token is that EXT and the reader stands behind the
 * map.  A UUID's bytes are its text then.  A marked set yields the ARRAY.
 */
extern void atq_marker_next(AtqReader *reader, AtqToken *token);

/*
 * Goes into the data of a set or frozenset: the token becomes its ARRAY, and
 * the reader continues with the first item.  Other tokens stay.
 */
extern void atq_marker_enter_set(AtqReader *reader, AtqToken *token);

#endif							/* ATQ_WIRE_MARKER_H */
