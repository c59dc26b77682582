/*-------------------------------------------------------------------------
 *
 * hooks.h
 *	  The server's hooks on commands and on calls of functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_PROCESS_HOOKS_H
#define ATQ_PROCESS_HOOKS_H

/* Sets the hooks; from _PG_init only. */
extern void atq_hooks_init(void);

#endif							/* ATQ_PROCESS_HOOKS_H */
