/*-------------------------------------------------------------------------
 *
 * server.h
 *	  The codec outside the server.
 *
 * src/wire is linked as it is; server.c stands in for what it calls of the
 * server: errors, memory, interrupts.  Everything is UTF-8.  Jsonb is written,
 * with numbers that are text, but nothing reads it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_SERVER_H
#define FUZZ_SERVER_H

typedef struct FuzzError
{
	int			code;			/* as given to errcode() */
	char		message[256];
} FuzzError;

/*
 * Calls function(arg).  Returns true when it came back; false, and *error
 * filled in, when it threw.  Calls may be nested.
 */
extern bool fuzz_call(void (*function) (void *), void *arg, FuzzError *error);

/* Frees all that was palloc'd since the last time. */
extern void fuzz_release(void);

/* The most bytes that were palloc'd at once since the last fuzz_release. */
extern Size fuzz_peak(void);

/* Says what is wrong and aborts. */
extern void fuzz_fail(const char *format,...) pg_attribute_printf(1, 2)
			__attribute__((noreturn));

#endif							/* FUZZ_SERVER_H */
