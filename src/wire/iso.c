/*-------------------------------------------------------------------------
 *
 * iso.c
 *	  Dates, times, Decimals and floats as text.
 *
 * PostgreSQL's datetime input is not used: it obeys DateStyle, knows words
 * like "tomorrow" and drops a timestamp's offset.  What stands on the wire is
 * isoformat(), whose offsets may have seconds, as local mean times do, and
 * even fractions of them.  What to_json() and the text of a timestamp make of
 * the same counts as well: a space for the T, and a fraction without its last
 * zeros; and so do Z, a clock without seconds and nine digits of a fraction.
 * All of that is read by Python's fromisoformat(), too.
 *
 * Python's years are 1 to 9999.  Everything in that range is far inside the
 * limits of PostgreSQL's types, so arithmetic here cannot overflow.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "wire/iso.h"

/* Days from 1970-01-01 to 2000-01-01, times seconds. */
#define EPOCH_SHIFT_SECONDS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* 0001-01-01 and the second after 9999-12-31T23:59:59, counted from 1970. */
#define UNIX_MIN_SECONDS	INT64CONST(-62135596800)
#define UNIX_END_SECONDS	INT64CONST(253402300800)

/* What Python's float("nan") is. */
#define COMMON_NAN_BITS		UINT64CONST(0x7ff8000000000000)

static bool read_digits(AtqSpan *text, int count, int *value);
static bool read_char(AtqSpan *text, char c);
static bool read_day(AtqSpan *text, AtqIso *iso);
static bool read_clock(AtqSpan *text, int *hour, int *minute, int *second,
					   uint32 *nanos);
static bool read_offset(AtqSpan *text, AtqIso *iso);
static void print_day(StringInfo buf, int julian_day);
static void print_clock(StringInfo buf, int64 time_us);
static void refuse_date(void) atq_noreturn;
static bool skip_digits(AtqSpan *text);

bool
atq_iso_read_date(AtqSpan text, AtqIso *iso)
{
	memset(iso, 0, sizeof(*iso));
	return read_day(&text, iso) && text.len == 0;
}

bool
atq_iso_read_datetime(AtqSpan text, AtqIso *iso)
{
	memset(iso, 0, sizeof(*iso));
	if (!read_day(&text, iso))
		return false;
	if (!read_char(&text, 'T') && !read_char(&text, ' '))
		return false;
	if (!read_clock(&text, &iso->hour, &iso->minute, &iso->second,
					&iso->nanos))
		return false;
	return read_offset(&text, iso) && text.len == 0;
}

/* Takes exactly count digits off the front. */
static bool
read_digits(AtqSpan *text, int count, int *value)
{
	int			i;

	if (text->len < (Size) count)
		return false;
	*value = 0;
	for (i = 0; i < count; i++)
	{
		char		c = text->data[i];

		if (c < '0' || c > '9')
			return false;
		*value = *value * 10 + (c - '0');
	}
	text	  ->data += count;
	text	  ->len -= count;

	return true;
}

/* Takes one character off the front if it is c. */
static bool
read_char(AtqSpan *text, char c)
{
	if (text->len == 0 || text->data[0] != c)
		return false;
	text	  ->data++;
	text	  ->len--;

	return true;
}

/* Reads YYYY-MM-DD of a day that exists. */
static bool
read_day(AtqSpan *text, AtqIso *iso)
{
	if (!read_digits(text, 4, &iso->year) || !read_char(text, '-') ||
		!read_digits(text, 2, &iso->month) || !read_char(text, '-') ||
		!read_digits(text, 2, &iso->day))
		return false;

	return iso->year >= 1 && iso->month >= 1 && iso->month <= 12 &&
		iso->day >= 1 &&
		iso->day <= day_tab[isleap(iso->year)][iso->month - 1];
}

/* Reads HH:MM[:SS[.fraction]], the fraction of one to nine digits. */
static bool
read_clock(AtqSpan *text, int *hour, int *minute, int *second,
		   uint32 *nanos)
{
	int			digit;
	uint32		unit = 100000000;

	if (!read_digits(text, 2, hour) || !read_char(text, ':') ||
		!read_digits(text, 2, minute) || *hour > 23 || *minute > 59)
		return false;
	if (!read_char(text, ':'))
		return true;
	if (!read_digits(text, 2, second) || *second > 59)
		return false;
	if (!read_char(text, '.'))
		return true;
	if (!read_digits(text, 1, &digit))
		return false;
	do
	{
		*nanos += digit * unit;
		unit /= 10;
	} while (unit > 0 && read_digits(text, 1, &digit));
	return true;
}

/* Reads an offset from UTC if there is one. */
static bool
read_offset(AtqSpan *text, AtqIso *iso)
{
	int			hour;
	int			minute;
	int			second = 0;
	uint32		nanos = 0;
	bool		west;

	if (text->len == 0)
		return true;
	iso->has_offset = true;
	if (read_char(text, 'Z'))
		return true;
	west = read_char(text, '-');
	if (!west && !read_char(text, '+'))
		return false;
	if (!read_clock(text, &hour, &minute, &second, &nanos))
		return false;
	iso->offset_us = ((hour * INT64CONST(60) + minute) * 60 + second) *
		USECS_PER_SEC + nanos / 1000;
	if (west)
		iso->offset_us = -iso->offset_us;
	return true;
}

DateADT
atq_iso_date(const AtqIso *iso)
{
	return date2j(iso->year, iso->month, iso->day) - POSTGRES_EPOCH_JDATE;
}

/* What the clock showed, offset or not; below a microsecond is cut off. */
Timestamp
atq_iso_wall(const AtqIso *iso)
{
	int64		seconds = (iso->hour * INT64CONST(60) + iso->minute) * 60 +
		iso->second;

	return atq_iso_date(iso) * USECS_PER_DAY + seconds * USECS_PER_SEC +
		iso->nanos / 1000;
}

/* The instant; a text without an offset counts as UTC. */
Timestamp
atq_iso_instant(const AtqIso *iso)
{
	return atq_iso_wall(iso) - iso->offset_us;
}

/* The instant's seconds since 1970, rounded down. */
int64
atq_iso_unix(const AtqIso *iso)
{
	Timestamp	instant = atq_iso_instant(iso);
	int64		seconds = instant / USECS_PER_SEC;

	if (instant % USECS_PER_SEC < 0)
		seconds--;
	return seconds + EPOCH_SHIFT_SECONDS;
}

/* The instant of an ext -1; throws 22008 when it does not fit. */
Timestamp
atq_iso_from_unix(int64 seconds, uint32 nanos)
{
	Timestamp	result;

	if (pg_sub_s64_overflow(seconds, EPOCH_SHIFT_SECONDS, &result) ||
		pg_mul_s64_overflow(result, USECS_PER_SEC, &result) ||
		pg_add_s64_overflow(result, nanos / 1000, &result) ||
		!IS_VALID_TIMESTAMP(result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("MessagePack timestamp is out of range for type timestamp with time zone")));
	return result;
}

/* Appends a date; throws 22008 outside the years 1 to 9999. */
void
atq_iso_print_date(StringInfo buf, DateADT date)
{
	if (DATE_NOT_FINITE(date))
		refuse_date();
	print_day(buf, date + POSTGRES_EPOCH_JDATE);
}

/* Appends a timestamp, with +00:00 when it is an instant; throws 22008. */
void
atq_iso_print_timestamp(StringInfo buf, Timestamp timestamp, bool utc)
{
	int64		day = timestamp / USECS_PER_DAY;
	int64		time_us = timestamp % USECS_PER_DAY;

	if (TIMESTAMP_NOT_FINITE(timestamp))
		refuse_date();
	if (time_us < 0)
	{
		time_us += USECS_PER_DAY;
		day--;
	}
	print_day(buf, (int) day + POSTGRES_EPOCH_JDATE);
	appendStringInfoChar(buf, 'T');
	print_clock(buf, time_us);
	if (utc)
		appendStringInfoString(buf, "+00:00");
}

/* Appends a time of day; 24:00, which Python lacks, throws 22008. */
void
atq_iso_print_time(StringInfo buf, TimeADT time)
{
	if (time >= USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("cannot convert time 24:00:00 to MessagePack"),
				 errdetail("Times of the wire format end before midnight.")));
	print_clock(buf, time);
}

/* Appends ±HH:MM, with seconds where there are some. */
void
atq_iso_print_offset(StringInfo buf, int seconds_east)
{
	int			seconds = abs(seconds_east);

	appendStringInfo(buf, "%c%02d:%02d", seconds_east < 0 ? '-' : '+',
					 seconds / 3600, seconds / 60 % 60);
	if (seconds % 60 != 0)
		appendStringInfo(buf, ":%02d", seconds % 60);
}

/* Appends an ext -1 in UTC; false outside the years 1 to 9999. */
bool
atq_iso_print_unix(StringInfo buf, int64 seconds, uint32 nanos)
{
	if (seconds < UNIX_MIN_SECONDS || seconds >= UNIX_END_SECONDS)
		return false;

	atq_iso_print_timestamp(buf, atq_iso_from_unix(seconds, nanos), false);
	if (nanos > 0 && nanos < 1000)
		appendStringInfo(buf, ".000000%03u", nanos);
	else if (nanos % 1000 != 0)
		appendStringInfo(buf, "%03u", nanos % 1000);
	appendStringInfoString(buf, "+00:00");
	return true;
}

/* Appends YYYY-MM-DD; throws 22008. */
static void
print_day(StringInfo buf, int julian_day)
{
	int			year;
	int			month;
	int			day;

	j2date(julian_day, &year, &month, &day);
	if (year < 1 || year > 9999)
		refuse_date();
	appendStringInfo(buf, "%04d-%02d-%02d", year, month, day);
}

/* Appends HH:MM:SS, and six digits of a second when there are any. */
static void
print_clock(StringInfo buf, int64 time_us)
{
	int			seconds = (int) (time_us / USECS_PER_SEC);
	int			micros = (int) (time_us % USECS_PER_SEC);

	appendStringInfo(buf, "%02d:%02d:%02d", seconds / 3600,
					 seconds / 60 % 60, seconds % 60);
	if (micros != 0)
		appendStringInfo(buf, ".%06d", micros);
}

static void
refuse_date(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("cannot convert date or timestamp to MessagePack"),
			 errdetail("Dates of the wire format are finite and lie in the years 1 to 9999.")));
}

/* True for what str() of a Decimal writes; e for E is let pass. */
bool
atq_decimal_valid(AtqSpan text)
{
	bool		digits;

	if (!read_char(&text, '-'))
		read_char(&text, '+');
	if (text.len == 8 && memcmp(text.data, "Infinity", 8) == 0)
		return true;
	if (text.len >= 4 && memcmp(text.data, "sNaN", 4) == 0)
		read_char(&text, 's');
	if (text.len >= 3 && memcmp(text.data, "NaN", 3) == 0)
	{
		text.		data += 3;
		text.		len -= 3;

		skip_digits(&text);
		return text.len == 0;
	}

	digits = skip_digits(&text);
	if (read_char(&text, '.'))
		digits = skip_digits(&text) || digits;
	if (!digits)
		return false;
	if (read_char(&text, 'E') || read_char(&text, 'e'))
	{
		if (!read_char(&text, '-'))
			read_char(&text, '+');
		if (!skip_digits(&text))
			return false;
	}
	return text.len == 0;
}

/* The common NaN by its name, others with their bits. */
void
atq_nan_print(char *text, Size size, double value)
{
	uint64		bits;

	memcpy(&bits, &value, sizeof(bits));
	if (bits == COMMON_NAN_BITS)
		strlcpy(text, "NaN", size);
	else
		snprintf(text, size, "NaN(%016llx)", (unsigned long long) bits);
}

/* Reads a whole text as a float; false when it is none. */
bool
atq_float_read(AtqSpan text, double *value)
{
	char		buf[64];
	char	   *end;
	uint64		bits;

	if (text.len == 0 || text.len >= sizeof(buf) ||
		isspace((unsigned char) text.data[0]))
		return false;
	memcpy(buf, text.data, text.len);
	buf[text.len] = '\0';

	if (text.len == 21 && strncmp(buf, "NaN(", 4) == 0)
	{
		bits = strtoull(buf + 4, &end, 16);
		memcpy(value, &bits, sizeof(bits));
		return strcmp(end, ")") == 0 && end == buf + 20 && isnan(*value);
	}
	*value = strtod(buf, &end);
	if (isnan(*value))
		return strcmp(buf, "NaN") == 0;
	return *end == '\0';
}

/* Takes all digits off the front; true when there was one. */
static bool
skip_digits(AtqSpan *text)
{
	int			digit;
	Size		before = text->len;

	while (read_digits(text, 1, &digit))
		;
	return text->len < before;
}
