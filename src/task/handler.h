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

/*
 * Checks that a handler can be called with batches: all its parameters are
 * arrays.  Throws 42P13.
 */
extern void atq_handler_check_batch(Oid function);

/* As atq_handler_check for should_retry (returns boolean) and on_failure (void). */
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

/*
 * Notes what rows a call for the task would read.  Throws what keeps the
 * arguments from being bound.
 */
extern void atq_handler_note(AtqHandler *handler, const AtqTask *task,
							 struct AtqResolution *resolution);

/*
 * The same as atq_handler_call for n tasks in one call, each parameter being
 * an array with an element for each task.  Unless results is NULL it gets one
 * jsonb for each: the element of the array that the function returned, or what
 * else it returned.  Throws also 22023 when that array has another length, and
 * for an argument that a task lacks, even where the parameter has a default.
 */
extern void atq_handler_call_batch(AtqHandler *handler,
								   const AtqTask **tasks, int n,
								   Jsonb **results, bool *called);

/* Calls should_retry (NULL counts as true) or on_failure; may throw. */
extern bool atq_handler_should_retry(AtqHandler *handler, Jsonb *task,
									 Jsonb *error);
extern void atq_handler_on_failure(AtqHandler *handler, Jsonb *task,
								   Jsonb *error);

#endif							/* ATQ_TASK_HANDLER_H */
