/*-------------------------------------------------------------------------
 *
 * trust.c
 *	  What code may run while the rows of a model are read or written.
 *
 * A reference names its model, and it is the dispatcher who writes the
 * reference.  Reading a view, a table with row security, or just planning to
 * read a table that has an index on an expression calls functions that the
 * relation's owner has chosen, with the rights of who reads: without more ado,
 * whoever may dispatch to a handler could have it read his own view and so do
 * all that the handler's role can do.
 *
 * So a model counts as harmless only when it was registered by, or when its
 * relation belongs to, a role that gains nothing: a superuser, the reader
 * himself, or a role that can act as the reader.  Who registered it has not
 * seen a relation that was made anew under the name: that is its owner's alone
 * to vouch for.  While rows of any other model are read, functions are called
 * only if they belong to such a role and are not volatile, because a volatile
 * one, dispatch() among them, could be told to do harm.  That leaves what row
 * security and views are mostly made of: operators, current_user,
 * current_setting().
 *
 * Writing such a relation would call its triggers, which belong to its owner or
 * to who was allowed to make them, and with them what foreign keys do to other
 * tables, whose triggers may run as the writer too.  Deferred ones run when
 * nobody looks any more.  So a statement that would fire a trigger other than
 * those that check a key is not planned.
 *
 * Hooks see to it.  Nearly all functions are announced to object_access_hook
 * (hooks.c) before they are called.  Those of operators that only the planner
 * calls, on a column's statistics, are not, so that each query is looked through
 * before it is planned.  Nor are, depending on the release, those that belong to
 * a type: its casts to JSON, its subtype_diff.  So the function manager's hooks
 * refuse what a role that is not trusted owns when it is looked up.  There
 * volatile ones of others must pass, as many a type's or foreign data wrapper's
 * functions are declared so, by default.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "store/trust.h"

static planner_hook_type prev_planner = NULL;
static needs_fmgr_hook_type prev_needs_fmgr = NULL;
static fmgr_hook_type prev_fmgr = NULL;
static const AtqModel *guarded = NULL;
static Oid	guarded_user = InvalidOid;	/* as whom the guard was turned on */

static PlannedStmt *plan_query(Query *query, const char *source, int options,
							   ParamListInfo params);
static bool check_node(Node *node, void *arg);
static void check_written(const Query *query);
static void check_triggers(Relation rel, const Query *query);
static bool only_checks(Oid function);
static bool check_function(Oid function, void *arg);
static bool needs_hook(Oid function);
static void call_hook(FmgrHookEventType event, FmgrInfo *flinfo, Datum *arg);
static void check_owner(Oid function, Oid user);
static void refuse_function(Oid function) atq_noreturn;
static bool trust_role(Oid role);
static bool gains_nothing(Oid role, Oid user);
static Oid	relation_owner(Oid relation);

void
atq_trust_init(void)
{
	prev_planner = planner_hook;
	planner_hook = plan_query;
	prev_needs_fmgr = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	prev_fmgr = fmgr_hook;
	fmgr_hook = call_hook;
}

bool
atq_trust_model(AtqModel *model)
{
	AtqAllowed	now;

	if (atq_registry_still_allowed(&model->trusted, &now))
		return true;
	if (!(OidIsValid(model->owner) && !model->made_again &&
		  trust_role(model->owner)) &&
		!atq_trust_relation(model->relation))
		return false;
	model->trusted = now;
	return true;
}

bool
atq_trust_relation(Oid relation)
{
	Oid			owner = relation_owner(relation);

	return OidIsValid(owner) && trust_role(owner);
}

bool
atq_trust_registration(const AtqModel *model, Oid relation)
{
	Oid			owner = relation_owner(relation);

	return trust_role(model->owner) ||
		(OidIsValid(owner) && has_privs_of_role(model->owner, owner));
}

/* InvalidOid where there is no such relation. */
static Oid
relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* True for a role that gains nothing by acting as the current user. */
static bool
trust_role(Oid role)
{
	return gains_nothing(role, GetUserId());
}

static bool
gains_nothing(Oid role, Oid user)
{
	return role == user || superuser_arg(role) ||
		has_privs_of_role(role, user);
}

void
atq_trust_guard(const AtqModel *model)
{
	if (guarded == NULL)
		guarded_user = GetUserId();
	guarded = model;
}

const AtqModel *
atq_trust_guarded(void)
{
	return guarded;
}

void
atq_trust_check_call(Oid function)
{
	if (guarded != NULL)
		(void) check_function(function, NULL);
}

static PlannedStmt *
plan_query(Query *query, const char *source, int options,
		   ParamListInfo params)
{
	if (guarded != NULL)
		(void) check_node((Node *) query, NULL);
	return prev_planner ? prev_planner(query, source, options, params) :
		standard_planner(query, source, options, params);
}

static bool
check_node(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, check_function, arg);
	if (IsA(node, Query))
	{
		if (((Query *) node)->resultRelation > 0)
			check_written((Query *) node);
		return query_tree_walker((Query *) node, check_node, arg, 0);
	}
	return expression_tree_walker(node, check_node, arg);
}

/* The relation that a statement writes, with its partitions and children. */
static void
check_written(const Query *query)
{
	Oid			written = rt_fetch(query->resultRelation,
								   query->rtable)->relid;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(written, AccessShareLock, NULL))
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);

		check_triggers(rel, query);
		relation_close(rel, NoLock);
	}
}

static void
check_triggers(Relation rel, const Query *query)
{
	bool		only_inserts = query->commandType == CMD_INSERT &&
		(query->onConflict == NULL ||
		 query->onConflict->action == ONCONFLICT_NOTHING);

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgenabled == TRIGGER_DISABLED ||
			(only_inserts && !TRIGGER_FOR_INSERT(trigger->tgtype)) ||
			(trigger->tgisinternal && only_checks(trigger->tgfoid)))
			continue;
		(void) check_function(trigger->tgfoid, NULL);
	}
}

/* True for what foreign keys and deferrable unique ones check rows with. */
static bool
only_checks(Oid function)
{
	switch (function)
	{
		case F_RI_FKEY_CHECK_INS:
		case F_RI_FKEY_CHECK_UPD:
		case F_RI_FKEY_NOACTION_DEL:
		case F_RI_FKEY_NOACTION_UPD:
		case F_RI_FKEY_RESTRICT_DEL:
		case F_RI_FKEY_RESTRICT_UPD:
		case F_UNIQUE_KEY_RECHECK:
			return true;
		default:
			return false;
	}
}

/* Throws, or returns false. */
static bool
check_function(Oid function, void *arg)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool		harmless;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	harmless = proc->provolatile != PROVOLATILE_VOLATILE &&
		trust_role(proc->proowner);
	ReleaseSysCache(tuple);
	if (!harmless)
		refuse_function(function);
	return false;
}

/* Asked of each function that is looked up to be called, but the next ones. */
static bool
needs_hook(Oid function)
{
	if (guarded != NULL)
		check_owner(function, GetUserId());
	return prev_needs_fmgr != NULL && prev_needs_fmgr(function);
}

/* Called with those that have settings, or are SECURITY DEFINER. */
static void
call_hook(FmgrHookEventType event, FmgrInfo *flinfo, Datum *arg)
{
	if (guarded != NULL && event == FHET_START)
		check_owner(flinfo->fn_oid, guarded_user);
	if (prev_fmgr != NULL)
		prev_fmgr(event, flinfo, arg);
}

static void
check_owner(Oid function, Oid user)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	if (!gains_nothing(owner, user))
		refuse_function(function);
}

static void
refuse_function(Oid function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("function %s must not be called to read or write rows of model \"%s\"",
					format_procedure(function), guarded->class_name),
			 errdetail("Neither who registered the model nor the owner of its relation can act as role \"%s\".",
					   GetUserNameFromId(GetUserId(), false)),
			 errhint("If that role trusts the relation, have it or a superuser register the model.")));
}
