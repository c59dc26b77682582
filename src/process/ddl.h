/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  Making way for commands that need a database for themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_PROCESS_DDL_H
#define ATQ_PROCESS_DDL_H

/* Sets the utility hook; from _PG_init only. */
extern void atq_ddl_init(void);

#endif							/* ATQ_PROCESS_DDL_H */
