/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between the supported releases of PostgreSQL (15 to 18).
 *
 * Every test of PG_VERSION_NUM stands here:
 *
 *	- 15.4 and 16 mark a database that could not be dropped by its connection
 *	  limit, as DATCONNLIMIT_INVALID_DB.
 *	- 16 replaced the pg_xxx_aclcheck family by object_aclcheck.
 *	- 16 made membership of a role and the right to SET ROLE two things
 *	  (member_can_set_role).
 *	- 16 added onlySummarizing to ExecInsertIndexTuples.
 *	- 16 gave what names a relation's file another name (rd_locator).
 *	- 16 lets the JSON parser's callbacks return an error; ours never do.
 *	- 17 gave makeJsonLexContextCstringLen a context to fill, and made
 *	  intervals infinite.
 *	- 17 dropped PGPROC.pgprocno, and moved PGPROC.lxid.
 *	- 17 added transaction_timeout, which would end a worker whose tasks share a
 *	  transaction; a task's own timeout holds without it.
 *	- 17 has wait event sets owned by a resource owner.
 *	- 17 lets background workers of NOLOGIN roles connect
 *	  (BGWORKER_BYPASS_ROLELOGINCHECK) and names extensions' wait events
 *	  (WaitEventExtensionNew).
 *	- 18 replaced pg_attribute_noreturn() by pg_noreturn, which stands elsewhere.
 *	- 18 lets RelationGetPrimaryKeyIndex give deferrable keys.
 *	- 18 added instrumentation to index_beginscan.
 *	- 18 added generated columns that are computed when they are read.
 *	- 18 made the list of registered background workers a doubly linked one.
 *	- 18 made PG_MODULE_MAGIC_EXT name the library and its version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_COMPAT_H
#define ATQ_BASE_COMPAT_H

#include "utils/acl.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "asynctasq needs PostgreSQL 15 or later"
#endif

#define ATQ_SERVER_MAJOR	(PG_VERSION_NUM / 10000)

#define ATQ_INVALID_DATABASE	(-2)

#define atq_noreturn __attribute__((noreturn))

#if PG_VERSION_NUM >= 160000
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_proc.h"
#define atq_function_aclcheck(oid, role) \
	object_aclcheck(ProcedureRelationId, (oid), (role), ACL_EXECUTE)
#define atq_schema_aclcheck(oid, role) \
	object_aclcheck(NamespaceRelationId, (oid), (role), ACL_USAGE)
#define atq_server_aclcheck(oid, role) \
	object_aclcheck(ForeignServerRelationId, (oid), (role), ACL_USAGE)
#define atq_relation_ownercheck(oid, role) \
	object_ownercheck(RelationRelationId, (oid), (role))
#define atq_may_set_role(member, role)	member_can_set_role((member), (role))
#else
#define atq_function_aclcheck(oid, role) \
	pg_proc_aclcheck((oid), (role), ACL_EXECUTE)
#define atq_schema_aclcheck(oid, role) \
	pg_namespace_aclcheck((oid), (role), ACL_USAGE)
#define atq_server_aclcheck(oid, role) \
	pg_foreign_server_aclcheck((oid), (role), ACL_USAGE)
#define atq_relation_ownercheck(oid, role) \
	pg_class_ownercheck((oid), (role))
#define atq_may_set_role(member, role)	is_member_of_role((member), (role))
#endif

#if PG_VERSION_NUM >= 170000
#define ATQ_BYPASS_LOGIN_CHECK	BGWORKER_BYPASS_ROLELOGINCHECK
#define ATQ_WORKER_NEEDS_LOGIN	false
#define atq_wait_event(name)	WaitEventExtensionNew(name)
#else
#define ATQ_BYPASS_LOGIN_CHECK	0
#define ATQ_WORKER_NEEDS_LOGIN	true
#define atq_wait_event(name)	PG_WAIT_EXTENSION
#endif

#if PG_VERSION_NUM >= 160000
#define atq_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL, \
						  false)
#else
#define atq_insert_index_tuples(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL)
#endif

#if PG_VERSION_NUM >= 160000
#define atq_read_recent_buffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_locator, MAIN_FORKNUM, (block), (buffer))
#else
#define atq_read_recent_buffer(rel, block, buffer) \
	ReadRecentBuffer((rel)->rd_node, MAIN_FORKNUM, (block), (buffer))
#endif

#if PG_VERSION_NUM >= 170000
#define atq_my_procno() GetNumberFromPGProc(MyProc)
#define atq_my_lxid() (MyProc->vxid.lxid)
#else
#define atq_my_procno() (MyProc->pgprocno)
#define atq_my_lxid() (MyProc->lxid)
#endif

#if PG_VERSION_NUM >= 170000
#define atq_disable_transaction_timeout() \
	SetConfigOption("transaction_timeout", "0", PGC_USERSET, PGC_S_OVERRIDE)
#else
#define atq_disable_transaction_timeout() ((void) 0)
#endif

#if PG_VERSION_NUM >= 170000
#define atq_wait_event_set(n)	CreateWaitEventSet(NULL, (n))
#else
#define atq_wait_event_set(n)	CreateWaitEventSet(TopMemoryContext, (n))
#endif

#if PG_VERSION_NUM >= 180000
#define atq_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan((rel), (index), (snapshot), NULL, (nkeys), 0)
#else
#define atq_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan((rel), (index), (snapshot), (nkeys), 0)
#endif

#if PG_VERSION_NUM >= 180000
#define AtqWorkerIter dlist_iter
#define atq_worker_foreach(iter) dlist_foreach((iter), &BackgroundWorkerList)
#define atq_worker_at(iter) \
	(&dlist_container(RegisteredBgWorker, rw_lnode, (iter).cur)->rw_worker)
#else
#define AtqWorkerIter slist_iter
#define atq_worker_foreach(iter) slist_foreach((iter), &BackgroundWorkerList)
#define atq_worker_at(iter) \
	(&slist_container(RegisteredBgWorker, rw_lnode, (iter).cur)->rw_worker)
#endif

#if PG_VERSION_NUM >= 180000
#define atq_has_virtual_columns(desc) \
	((desc)->constr != NULL && (desc)->constr->has_generated_virtual)
#else
#define atq_has_virtual_columns(desc) false
#endif

#if PG_VERSION_NUM >= 180000
#define atq_primary_key_index(rel) RelationGetPrimaryKeyIndex((rel), false)
#else
#define atq_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

#if PG_VERSION_NUM >= 160000
#define AtqJsonResult			JsonParseErrorType
#define ATQ_JSON_SUCCESS		JSON_SUCCESS
#else
#define AtqJsonResult			void
#define ATQ_JSON_SUCCESS
#endif

#if PG_VERSION_NUM >= 170000
#define atq_json_lexer(json, len) \
	makeJsonLexContextCstringLen(NULL, (json), (len), \
								 GetDatabaseEncoding(), true)
#define atq_interval_finite(interval)	(!INTERVAL_NOT_FINITE(interval))
#else
#define atq_json_lexer(json, len) \
	makeJsonLexContextCstringLen((char *) (json), (len), \
								 GetDatabaseEncoding(), true)
#define atq_interval_finite(interval)	true
#endif

#endif							/* ATQ_BASE_COMPAT_H */
