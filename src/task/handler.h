/*-------------------------------------------------------------------------
 *
 * handler.h
 *	  Calling a handler function with a task's arguments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_TASK_HANDLER_H
#define ATQ_TASK_HANDLER_H

#include "store/storage.h"

/*
 * Checks that a function can be a handler and that the role may execute it;
 * returns its qualified signature, palloc'd.  Throws 42809 (an aggregate,
 * window function, procedure or trigger, returns a set), 42P13 (polymorphic
 * or internal parameters), 42501.
 */
extern char *atq_handler_check(Oid function, Oid role);

/* The same for should_retry (returns boolean) and on_failure (void). */
extern char *atq_handler_check_should_retry(Oid function, Oid role);
extern char *atq_handler_check_on_failure(Oid function, Oid role);

/*
 * Binds the task's arguments to the function's parameters, resolving
 * references, and calls it as the current user.  *called is set when the
 * arguments were bound and the function itself is reached.  Unless result is
 * NULL, *result is what it returned as jsonb, SQL NULL and void as JSON null.
 *
 * Throws what the handler throws, and 42883 (the function is gone), 42501 (no
 * privilege), 22023 (a missing or surplus argument, named), 42804 (a value
 * that does not fit its parameter, named), P0002 (a row that does not exist).
 */
extern void atq_handler_call(AtqHandler *handler, const AtqTask *task,
							 Jsonb **result, bool *called);

/* Calls should_retry (NULL counts as true) or on_failure; may throw. */
extern bool atq_handler_should_retry(AtqHandler *handler, Jsonb *task,
									 Jsonb *error);
extern void atq_handler_on_failure(AtqHandler *handler, Jsonb *task,
								   Jsonb *error);

#endif							/* ATQ_TASK_HANDLER_H */
