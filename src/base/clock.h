/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The time that passes, in microseconds since any moment.
 *
 * What is to end after a while is measured with it: whoever sets the system's
 * clock, which is what GetCurrentTimestamp() reads, makes it no longer.  It
 * may be read in a signal handler.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_CLOCK_H
#define ATQ_BASE_CLOCK_H

#include "portability/instr_time.h"

#define ATQ_CLOCK_NEVER PG_INT64_MAX

static inline int64
atq_clock_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

static inline int64
atq_clock_after(int64 us, int64 ms)
{
	return us + ms * 1000;
}

/* Milliseconds until then, for a wait: rounded up, never less than 0. */
static inline long
atq_clock_ms_until(int64 us)
{
	int64		left = us - atq_clock_now();

	return left <= 0 ? 0 : (long) Min((left + 999) / 1000, PG_INT32_MAX);
}

#endif
