/*-------------------------------------------------------------------------
 *
 * hooks.c
 *	  The server's hooks on commands and on calls of functions.
 *
 * Each is set once, here, and asks in turn the parts that want to know:
 *
 *	utility commands	drain.c and attempt.c, what a task's command does to
 *						the session; ddl.c, who has to make way
 *	calls of functions	trust.c, whether it may be called now; drain.c and
 *						attempt.c as above
 *
 * What refuses a command or a call does so before anything is done for it.
 * The planner's hook, which trust.c alone wants, is set there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "tcop/utility.h"

#include "process/ddl.h"
#include "process/hooks.h"
#include "store/trust.h"
#include "task/attempt.h"
#include "task/drain.h"

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static object_access_hook_type prev_object_access = NULL;

static void process_utility(PlannedStmt *pstmt, const char *queryString,
							bool readOnlyTree, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *queryEnv,
							DestReceiver *dest, QueryCompletion *qc);
static void object_access(ObjectAccessType access, Oid class_id,
						  Oid object_id, int sub_id, void *arg);

void
atq_hooks_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString,
				bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv,
				DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = prev_ProcessUtility ?
		prev_ProcessUtility : standard_ProcessUtility;
	Node	   *statement = pstmt->utilityStmt;
	AtqDdl		ddl;

	if (atq_attempt_current != NULL)
	{
		atq_drain_check_command(statement);
		atq_attempt_touch_session();
	}
	atq_ddl_begin(&ddl, statement);
	PG_TRY();
	{
		atq_ddl_wait(&ddl, statement);
		next(pstmt, queryString, readOnlyTree, context, params, queryEnv,
			 dest, qc);
		atq_ddl_end(&ddl);
	}
	PG_FINALLY();
	{
		atq_ddl_release(&ddl);
	}
	PG_END_TRY();
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (access != OAT_FUNCTION_EXECUTE)
		return;
	atq_trust_check_call(object_id);
	if (atq_attempt_current != NULL)
		atq_drain_check_call(object_id);
	atq_attempt_note_call(object_id);
}
