/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The process that keeps workers running.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_PROCESS_LAUNCHER_H
#define ATQ_PROCESS_LAUNCHER_H

/* Registers the launcher; from _PG_init only. */
extern void atq_launcher_init(void);

extern PGDLLEXPORT void atq_launcher_main(Datum arg);

#endif							/* ATQ_PROCESS_LAUNCHER_H */
