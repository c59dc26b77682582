/*-------------------------------------------------------------------------
 *
 * home.h
 *	  Whether tasks may run in this database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_HOME_H
#define ATQ_STORE_HOME_H

#include "base/compat.h"

#define ATQ_HOME_DETAIL	"Some came from another database, a dump or a publisher."
#define ATQ_HOME_HINT	"Call asynctasq.adopt() in it if they are to run there."

/* True where tasks may run; needs a transaction. */
extern bool atq_home_is_here(void);

/*
 * The same, but where it is not known, and no task could run twice, has them
 * run; needs a transaction that may write.
 */
extern bool atq_home_enter(void);

/* Has no task run until adopt() is called. */
extern void atq_home_leave(void);

/* Throws 55000: tasks may not run here. */
extern void atq_home_deny(void) atq_noreturn;

#endif							/* ATQ_STORE_HOME_H */
