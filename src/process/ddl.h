/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  Making way for commands that need a database for themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_PROCESS_DDL_H
#define ATQ_PROCESS_DDL_H

#include "nodes/parsenodes.h"

/* What a utility command is about to do that concerns us. */
typedef struct AtqDdl
{
	Oid			emptied;		/* database that it needs for itself */
	bool		drops;			/* .. and drops */
	bool		disables;		/* the trigger that notices foreign tasks */
	bool		enables;		/* triggers on a table of ours */
	List	   *renamed;		/* what may have another name then */
} AtqDdl;

/*
 * Around a utility command: begin, then in a PG_TRY wait, the command, and
 * end; release in whatever way that is left.
 */
extern void atq_ddl_begin(AtqDdl *ddl, Node *statement);
extern void atq_ddl_wait(const AtqDdl *ddl, Node *statement);
extern void atq_ddl_release(const AtqDdl *ddl);
extern void atq_ddl_end(const AtqDdl *ddl);

#endif							/* ATQ_PROCESS_DDL_H */
