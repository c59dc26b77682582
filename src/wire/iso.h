/*-------------------------------------------------------------------------
 *
 * iso.h
 *	  Dates, times, Decimals and floats as text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_WIRE_ISO_H
#define ATQ_WIRE_ISO_H

#include "datatype/timestamp.h"
#include "utils/date.h"

#include "wire/msgpack.h"

typedef struct AtqIso
{
	int			year;			/* 1 to 9999, proleptic Gregorian */
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second;
	uint32		nanos;
	bool		has_offset;
	int64		offset_us;		/* microseconds east of UTC */
} AtqIso;

/*
 * A date as Python's isoformat() writes it, and a datetime with or without an
 * offset, also as PostgreSQL writes one; false when the text is anything else,
 * or no real day.
 */
extern bool atq_iso_read_date(AtqSpan text, AtqIso *iso);
extern bool atq_iso_read_datetime(AtqSpan text, AtqIso *iso);

/* The day; the wall clock; the instant (the offset taken off). */
extern DateADT atq_iso_date(const AtqIso *iso);
extern Timestamp atq_iso_wall(const AtqIso *iso);
extern Timestamp atq_iso_instant(const AtqIso *iso);

/* As isoformat() writes them; throw 22008 outside the years 1 to 9999. */
extern void atq_iso_print_date(StringInfo buf, DateADT date);
extern void atq_iso_print_timestamp(StringInfo buf, Timestamp timestamp,
									bool utc);
extern void atq_iso_print_time(StringInfo buf, TimeADT time);
extern void atq_iso_print_offset(StringInfo buf, int seconds_east);

/*
 * An ext -1 as ISO text in UTC, with nine digits where six do not do; false,
 * and nothing appended, outside the years 1 to 9999.
 */
extern bool atq_iso_print_unix(StringInfo buf, int64 seconds, uint32 nanos);

/* The seconds since 1970 of an instant. */
extern int64 atq_iso_unix(const AtqIso *iso);

/* The instant of an ext -1; throws 22008 when it does not fit. */
extern Timestamp atq_iso_from_unix(int64 seconds, uint32 nanos);

/*
 * NaN as text, and a float's text as a float: "NaN(<16 hexadecimal digits>)"
 * stands for a NaN of just these bits.  Reading is false for other text.
 */
extern void atq_nan_print(char *text, Size size, double value);
extern bool atq_float_read(AtqSpan text, double *value);

/* True for what str() of a Decimal writes. */
extern bool atq_decimal_valid(AtqSpan text);

#endif							/* ATQ_WIRE_ISO_H */
