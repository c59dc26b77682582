/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  Pools of connections to other servers, one for each user mapping.
 *
 * A process has its pools for itself, found by user mapping and user: a
 * mapping for PUBLIC serves several users, and what a superuser may connect
 * with others may not.
 *
 * Connections are made and used without blocking, in libpq's pipeline mode.
 * A connection is given back only when its answers are complete, and then
 * brought back to where it began (DISCARD ALL and our settings), which is sent
 * at once and whose answer is read when it is used again.  Any other one is
 * closed.
 *
 * What runs on the other side when a connection is closed is ended in two
 * ways: libpq 17 and later can send a cancel request without blocking, for
 * which there are a few milliseconds; and the other server, from 14 on, looks
 * every half second whether we are still there (client_connection_check_interval).
 *
 * Each open connection counts as one descriptor (AcquireExternalFD).
 *
 * Memory: pools and connections live in TopMemoryContext, options in a context
 * of their pool, which is replaced when they are read anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <poll.h>
#include <sys/ioctl.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "remote/pool.h"

/* How long addresses of a host are used for further connections. */
#define ANSWER_MS		10000

/* What a server may send before the session has begun. */
#define MAX_LOGIN_BYTES	(1024 * 1024)

/* How long to try to cancel a query, and not to try after that was in vain. */
#define CANCEL_MS		50
#define NO_CANCEL_MS	1000

static const AtqJobStatement own_statements[ATQ_OWN_JOBS] = {
	[ATQ_OWN_ROLLBACK] = {"ROLLBACK"},
	[ATQ_OWN_RESET] = {"DISCARD ALL"},
	/* As postgres_fdw does, and nothing is written but by execute(). */
	[ATQ_OWN_SETUP] = {"SELECT pg_catalog.set_config('timezone', 'GMT', false), "
		"pg_catalog.set_config('datestyle', 'ISO', false), "
		"pg_catalog.set_config('intervalstyle', 'postgres', false), "
		"pg_catalog.set_config('extra_float_digits', '3', false), "
		"pg_catalog.set_config('default_transaction_isolation', 'read committed', false), "
	"pg_catalog.set_config('default_transaction_read_only', 'on', false)"},
	/* Names in values are qualified; users' queries find what they name. */
	[ATQ_OWN_PIN] = {"SET search_path = pg_catalog"},
	[ATQ_OWN_UNPIN] = {"RESET search_path"},
	[ATQ_OWN_WATCH] = {"SELECT pg_catalog.set_config('client_connection_check_interval', '500', false)"},
	[ATQ_OWN_PING] = {NULL},
};

static HTAB *pools = NULL;
static bool any_stale = false;

static void make_pools(void);
static void catalog_changed(Datum arg, int cacheid, uint32 hashvalue);
static void sweep_pools(void);
static void close_all(int code, Datum arg);
static void init_pool(AtqPool *pool, Oid server);
static bool read_options(AtqPool *pool, AtqFailure **failure);
static const char *login_value(const AtqLogin *login, const char *keyword);
static bool needs_lookup(const AtqPool *pool);
static void take_answer(AtqPool *pool);
static AtqFailure *start_connecting(AtqConn *conn);
static const char *replaced(const AtqPool *pool, const char *keyword);
static void ignore_notice(void *arg, const PGresult *result);
static void end_conn(AtqConn *conn);
static AtqFailure *begin_session(AtqConn *conn);
static bool send_own(AtqConn *conn, AtqOwnJob which);
static bool reset_session(AtqConn *conn);
static void note_unread(AtqConn *conn);
static void cancel_queries(PGconn *pg);

AtqPool *
atq_pool_get(Oid server, Oid user, AtqFailure **failure)
{
	char	   *name = atq_server_check(server, user);
	AtqPoolKey	key;
	AtqPool    *pool;
	bool		found;

	if (any_stale)
		sweep_pools();
	key.mapping = atq_server_mapping(server, user);
	key.user = user;
	if (!OidIsValid(key.mapping))
	{
		*failure = atq_failure_make(ERRCODE_UNDEFINED_OBJECT, NULL,
									"user mapping for \"%s\" on server \"%s\" does not exist",
									GetUserNameFromId(user, true), name);
		return NULL;
	}
	if (pools == NULL)
		make_pools();
	pool = hash_search(pools, &key, HASH_ENTER, &found);
	if (!found)
		init_pool(pool, server);
	pool->lxid = atq_my_lxid();
	if ((pool->stale || pool->context == NULL) &&
		!read_options(pool, failure))
		return NULL;
	return pool;
}

AtqPool *
atq_pool_named(const char *server)
{
	AtqFailure *failure = NULL;
	AtqPool    *pool = atq_pool_get(atq_server_find(server, GetUserId()),
									GetUserId(), &failure);

	if (pool == NULL)
		atq_failure_throw(failure, server);
	return pool;
}

static void
make_pools(void)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(AtqPoolKey);
	ctl.entrysize = sizeof(AtqPool);
	ctl.hcxt = TopMemoryContext;
	pools = hash_create("asynctasq pools", 8, &ctl,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, catalog_changed,
								  (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_changed, (Datum) 0);
	before_shmem_exit(close_all, (Datum) 0);
}

/* Also of users: who is no superuser any more must give a password. */
static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	AtqPool    *pool;

	hash_seq_init(&status, pools);
	while ((pool = hash_seq_search(&status)) != NULL)
	{
		if (hashvalue == 0 ||
			hashvalue == (cacheid == FOREIGNSERVEROID ? pool->server_hash :
						  cacheid == AUTHOID ? pool->user_hash :
						  pool->mapping_hash))
			pool->stale = any_stale = true;
	}
}

/*
 * Closes what changed servers and mappings have left, and forgets dropped ones,
 * but those for which this transaction may have made jobs.
 */
static void
sweep_pools(void)
{
	HASH_SEQ_STATUS status;
	AtqPool    *pool;
	dlist_mutable_iter iter;

	any_stale = false;
	hash_seq_init(&status, pools);
	while ((pool = hash_seq_search(&status)) != NULL)
	{
		if (!pool->stale || pool->in_run)
			continue;
		dlist_foreach_modify(iter, &pool->conns)
		{
			AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

			if (!conn->held)
				atq_conn_close(conn);
		}
		atq_pool_publish(pool);
		if (pool->lxid == atq_my_lxid())
		{
			any_stale = true;
			continue;
		}
		if (pool->size > 0 ||
			SearchSysCacheExists1(USERMAPPINGOID,
								  ObjectIdGetDatum(pool->key.mapping)))
			continue;
		if (pool->context != NULL)
			MemoryContextDelete(pool->context);
		atq_poolstat_remove(pool->stat);
		(void) hash_search(pools, &pool->key, HASH_REMOVE, NULL);
	}
}

/*
 * At the process's end.  A cursor of a transaction under way lets go of its
 * connection only later, so what connections were made of stays.
 */
static void
close_all(int code, Datum arg)
{
	HASH_SEQ_STATUS status;
	AtqPool    *pool;
	dlist_mutable_iter iter;

	hash_seq_init(&status, pools);
	while ((pool = hash_seq_search(&status)) != NULL)
	{
		if (pool->lookup != NULL)
			atq_host_end(pool->lookup);
		pool->lookup = NULL;
		dlist_foreach_modify(iter, &pool->conns)
			end_conn(dlist_container(AtqConn, node, iter.cur));
		atq_poolstat_remove(pool->stat);
		pool->stat = NULL;
	}
}

static void
init_pool(AtqPool *pool, Oid server)
{
	AtqPoolKey	key = pool->key;

	memset(pool, 0, sizeof(AtqPool));
	pool->key = key;
	pool->server = server;
	dlist_init(&pool->conns);
	dlist_init(&pool->waiting);
	pool->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID,
											  ObjectIdGetDatum(server));
	pool->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID,
											   ObjectIdGetDatum(key.mapping));
	pool->user_hash = GetSysCacheHashValue1(AUTHOID,
											ObjectIdGetDatum(key.user));
	pool->stat = atq_poolstat_add(server, key.user);
}

/*
 * Makes what was opened with other options a former generation.  Where the
 * new ones will not do, the old ones stay, for a stream that is under way.
 */
static bool
read_options(AtqPool *pool, AtqFailure **failure)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "asynctasq pool",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	AtqFailure *reason = NULL;
	AtqLogin   *login;

	pool->stale = false;
	login = atq_login_read(pool->server, pool->key.mapping, pool->key.user,
						   &reason);
	MemoryContextSwitchTo(old);
	if (login == NULL)
	{
		*failure = atq_failure_copy(reason);
		MemoryContextDelete(context);
		pool->stale = true;
		return false;
	}
	if (pool->lookup != NULL)
		atq_host_end(pool->lookup);
	pool->lookup = NULL;
	pool->answer = NULL;
	pool->answer_context = NULL;
	if (pool->context != NULL)
		MemoryContextDelete(pool->context);
	MemoryContextSetParent(context, TopMemoryContext);
	pool->context = context;
	pool->login = login;
	pool->generation++;
	return true;
}

void
atq_pool_begin(AtqPool *pool)
{
	dlist_mutable_iter iter;

	pool->options = atq_login_pool(pool->login);
	pool->limit = pool->options.max_overflow < 0 ? PG_INT32_MAX :
		pool->options.max_size + pool->options.max_overflow;
	pool->failure = NULL;
	pool->in_run = true;
	pool->nwaiting = 0;
	pool->lookup_event = -1;
	dlist_init(&pool->waiting);
	dlist_foreach_modify(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);
		bool		alive;

		if (conn->held)
			continue;
		alive = !atq_conn_is_worn(conn) && atq_conn_is_alive(conn);
		if (alive)
			continue;
		if (atq_conn_is_worn(conn))
			pool->counts.recycled++;
		else
			pool->counts.errors++;
		atq_conn_close(conn);
	}
}

bool
atq_conn_is_worn(const AtqConn *conn)
{
	const AtqPool *pool = conn->pool;

	return conn->generation != pool->generation ||
		(pool->options.recycle_s >= 0 &&
		 atq_clock_now() >= atq_clock_after(conn->created_at,
											pool->options.recycle_s * INT64CONST(1000)));
}

/* The one that was used last stays first. */
void
atq_pool_end(AtqPool *pool)
{
	dlist_node *node = dlist_is_empty(&pool->conns) ? NULL :
		dlist_tail_node(&pool->conns);

	while (node != NULL)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, node);

		node = dlist_has_prev(&pool->conns, node) ?
			dlist_prev_node(&pool->conns, node) : NULL;
		if (!conn->held)
			atq_conn_give_back(conn);
	}
	if (pool->lookup != NULL)
		atq_host_end(pool->lookup);
	pool->lookup = NULL;
	pool->in_run = false;
	atq_pool_publish(pool);
}

void
atq_conn_give_back(AtqConn *conn)
{
	AtqPool    *pool = conn->pool;
	int			keep = pool->options.null_class ? 0 : pool->options.max_size;

	conn->event = -1;
	if (!atq_conn_is_idle(conn) || conn->generation != pool->generation ||
		pool->stale || pool->size > keep || !reset_session(conn))
		atq_conn_close(conn);
	else
		conn->reused = true;
}

void
atq_pool_publish(AtqPool *pool)
{
	dlist_iter	iter;

	pool->counts.size = pool->size;
	pool->counts.checked_out = 0;
	dlist_foreach(iter, &pool->conns)
	{
		AtqConn    *conn = dlist_container(AtqConn, node, iter.cur);

		if (conn->held || conn->njobs > 0)
			pool->counts.checked_out++;
	}
	atq_poolstat_set(pool->stat, pool->options.max_size, &pool->counts);
}

AtqConn *
atq_conn_open(AtqPool *pool)
{
	MemoryContext old;
	AtqConn    *conn;
	int			timeout_s = pool->login->connect_timeout_s;
	bool		look_up = needs_lookup(pool);

	if (!AcquireExternalFD())
		return NULL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (look_up)
	{
		pool->lookup = atq_host_start(login_value(pool->login, "host"),
									  login_value(pool->login, "port"));
		if (pool->lookup == NULL)
		{
			MemoryContextSwitchTo(old);
			ReleaseExternalFD();
			return NULL;
		}
	}
	conn = palloc0(sizeof(AtqConn));
	MemoryContextSwitchTo(old);
	conn->pool = pool;
	conn->generation = pool->generation;
	conn->created_at = atq_clock_now();
	conn->deadline = timeout_s == 0 ? ATQ_CLOCK_NEVER :
		atq_clock_after(conn->created_at, timeout_s * INT64CONST(1000));
	conn->event = -1;
	dlist_init(&conn->jobs);
	dlist_push_head(&pool->conns, &conn->node);
	pool->size++;
	return conn;
}

static const char *
login_value(const AtqLogin *login, const char *keyword)
{
	const char *value = NULL;

	for (int i = 0; login->keywords[i] != NULL; i++)
	{
		if (strcmp(login->keywords[i], keyword) == 0)
			value = login->values[i];
	}
	return value;
}

/* True where a name is to be looked up and nobody does it. */
static bool
needs_lookup(const AtqPool *pool)
{
	const char *hostaddr = login_value(pool->login, "hostaddr");

	if (pool->lookup != NULL ||
		(hostaddr != NULL && hostaddr[0] != '\0') ||
		!atq_host_is_name(login_value(pool->login, "host")))
		return false;
	return pool->answer == NULL || pool->answer->error != NULL ||
		atq_clock_now() >= atq_clock_after(pool->answered_at, ANSWER_MS);
}

AtqFailure *
atq_conn_resolve(AtqConn *conn)
{
	AtqPool    *pool = conn->pool;

	if (pool->lookup != NULL)
	{
		if (!atq_host_continue(pool->lookup))
			return NULL;
		take_answer(pool);
	}
	if (pool->answer != NULL && pool->answer->error != NULL)
		return atq_failure_make(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
								pool->answer->error,
								"could not connect to server \"%s\"",
								pool->login->server_name);
	return start_connecting(conn);
}

/* In the place of the last one: for all connections that wait for it. */
static void
take_answer(AtqPool *pool)
{
	MemoryContext old;

	pool->answer = NULL;
	if (pool->answer_context == NULL)
		pool->answer_context = AllocSetContextCreate(pool->context,
													 "asynctasq host",
													 ALLOCSET_SMALL_SIZES);
	MemoryContextReset(pool->answer_context);
	old = MemoryContextSwitchTo(pool->answer_context);
	pool->answer = atq_host_answer(pool->lookup);
	MemoryContextSwitchTo(old);
	pool->answered_at = atq_clock_now();
	atq_host_end(pool->lookup);
	pool->lookup = NULL;
}

static AtqFailure *
start_connecting(AtqConn *conn)
{
	const AtqLogin *login = conn->pool->login;
	const char **keywords;
	const char **values;
	int			n = 0;

	while (login->keywords[n] != NULL)
		n++;
	keywords = palloc0((n + 2) * sizeof(char *));
	values = palloc0((n + 2) * sizeof(char *));
	for (int i = 0; i < n; i++)
	{
		const char *value = replaced(conn->pool, login->keywords[i]);

		keywords[i] = login->keywords[i];
		values[i] = value != NULL ? value : login->values[i];
	}
	if (conn->pool->answer != NULL)
	{
		keywords[n] = "hostaddr";
		values[n] = conn->pool->answer->hostaddr;
	}
	conn->pg = PQconnectStartParams(keywords, values, false);
	if (conn->pg == NULL || PQstatus(conn->pg) == CONNECTION_BAD)
		return atq_failure_of_connect(conn->pg, login->server_name);
	(void) PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
	(void) PQsetNoticeReceiver(conn->pg, ignore_notice, NULL);
	conn->state = ATQ_CONN_CONNECTING;
	conn->polling = PGRES_POLLING_WRITING;
	return NULL;
}

/* What looking names up has made of an option's value. */
static const char *
replaced(const AtqPool *pool, const char *keyword)
{
	if (pool->answer == NULL)
		return NULL;
	if (strcmp(keyword, "host") == 0)
		return pool->answer->host;
	return strcmp(keyword, "port") == 0 ? pool->answer->port : NULL;
}

static void
ignore_notice(void *arg, const PGresult *result)
{
}

AtqFailure *
atq_conn_poll(AtqConn *conn)
{
	const AtqLogin *login = conn->pool->login;

	note_unread(conn);
	if (conn->unread > MAX_LOGIN_BYTES)
		return atq_failure_make(ERRCODE_PROTOCOL_VIOLATION, NULL,
								"server \"%s\" sends too much before the session begins",
								login->server_name);
	conn->polling = PQconnectPoll(conn->pg);
	if (conn->polling == PGRES_POLLING_FAILED)
		return atq_failure_of_connect(conn->pg, login->server_name);
	return conn->polling == PGRES_POLLING_OK ? begin_session(conn) : NULL;
}

static AtqFailure *
begin_session(AtqConn *conn)
{
	AtqFailure *failure = atq_login_check(conn->pool->login, conn->pg);

	if (failure != NULL)
		return failure;
	conn->state = ATQ_CONN_READY;
	conn->unread = 0;
	conn->pool->counts.connects++;
	if (PQsetnonblocking(conn->pg, 1) != 0 ||
		!PQenterPipelineMode(conn->pg) ||
		!send_own(conn, ATQ_OWN_SETUP) || !send_own(conn, ATQ_OWN_WATCH))
		return atq_failure_of_connect(conn->pg,
									  conn->pool->login->server_name);
	return NULL;
}

static bool
send_own(AtqConn *conn, AtqOwnJob which)
{
	AtqJob	   *job = &conn->own[which];

	if (which == ATQ_OWN_WATCH && PQserverVersion(conn->pg) < 140000)
		return true;
	memset(job, 0, sizeof(AtqJob));
	job->pool = conn->pool;
	job->own = true;
	job->statements = &own_statements[which];
	job->nstatements = which == ATQ_OWN_PING ? 0 : 1;
	return atq_conn_send(conn, job);
}

bool
atq_conn_ping(AtqConn *conn)
{
	int			timeout_s = conn->pool->login->connect_timeout_s;

	conn->state = ATQ_CONN_PROVING;
	conn->deadline = timeout_s == 0 ? ATQ_CLOCK_NEVER :
		atq_clock_after(atq_clock_now(), timeout_s * INT64CONST(1000));
	return send_own(conn, ATQ_OWN_PING);
}

static bool
reset_session(AtqConn *conn)
{
	PGTransactionStatusType status = PQtransactionStatus(conn->pg);
	bool		in_transaction = status == PQTRANS_INTRANS ||
		status == PQTRANS_INERROR;

	if (!conn->dirty && !in_transaction && dlist_is_empty(&conn->jobs) &&
		status != PQTRANS_IDLE)
		return false;
	if (in_transaction && !send_own(conn, ATQ_OWN_ROLLBACK))
		return false;
	if (!conn->dirty)
		return !in_transaction || PQflush(conn->pg) == 0;
	conn->dirty = conn->pinned = false;
	return send_own(conn, ATQ_OWN_RESET) && send_own(conn, ATQ_OWN_SETUP) &&
		send_own(conn, ATQ_OWN_WATCH) && PQflush(conn->pg) == 0;
}

bool
atq_conn_is_idle(const AtqConn *conn)
{
	return conn->state == ATQ_CONN_READY && conn->njobs == 0 && !conn->held;
}

bool
atq_conn_is_alive(AtqConn *conn)
{
	struct pollfd pfd;

	if (PQstatus(conn->pg) != CONNECTION_OK)
		return false;
	pfd.fd = PQsocket(conn->pg);
	pfd.events = POLLIN;
	/* What came last may be a farewell, and behind it the end. */
	for (int i = 0; i < 3; i++)
	{
		pfd.revents = 0;
		if (poll(&pfd, 1, 0) == 0)
			break;
		if (!atq_conn_read(conn))
			return false;
	}
	return true;
}

bool
atq_conn_send(AtqConn *conn, AtqJob *job)
{
	bool		first;

	if (!job->own && job->users == conn->pinned)
	{
		conn->pinned = !job->users;
		if (!send_own(conn, job->users ? ATQ_OWN_UNPIN : ATQ_OWN_PIN))
			return false;
	}
	first = dlist_is_empty(&conn->jobs);
	job->state = ATQ_JOB_SENT;
	job->conn = conn;
	job->statement = 0;
	dlist_push_tail(&conn->jobs, &job->node);
	if (!job->own)
		conn->njobs++;
	conn->dirty |= job->users;
	for (int i = 0; i < job->nstatements; i++)
	{
		const AtqJobStatement *statement = &job->statements[i];

		if (!PQsendQueryParams(conn->pg, statement->sql, statement->nparams,
							   NULL, statement->params, NULL, NULL, 0))
			return false;
		if (first && i == 0)
			(void) PQsetSingleRowMode(conn->pg);
	}
	return PQpipelineSync(conn->pg) && PQflush(conn->pg) >= 0;
}

bool
atq_conn_read(AtqConn *conn)
{
	PGnotify   *notify;
	bool		ok;

	note_unread(conn);
	ok = PQconsumeInput(conn->pg) != 0;
	while ((notify = PQnotifies(conn->pg)) != NULL)
		PQfreemem(notify);
	return ok;
}

/* libpq does not tell how much it keeps of an answer that is not complete. */
static void
note_unread(AtqConn *conn)
{
	int			n = 0;

	if (ioctl(PQsocket(conn->pg), FIONREAD, &n) == 0 && n > 0)
		conn->unread += n;
}

void
atq_conn_close(AtqConn *conn)
{
	end_conn(conn);
	pfree(conn);
}

/* All but freeing it; nobody holds it any more. */
static void
end_conn(AtqConn *conn)
{
	atq_ahead_leave(conn);
	conn->held = false;
	if (conn->pg != NULL)
	{
		if (conn->njobs > 0 && PQstatus(conn->pg) == CONNECTION_OK &&
			!proc_exit_inprogress)
			cancel_queries(conn->pg);
		PQclear(conn->result);
		PQfinish(conn->pg);
	}
	ReleaseExternalFD();
	dlist_delete(&conn->node);
	conn->pool->size--;
}

#ifdef LIBPQ_HAS_ASYNC_CANCEL

/* Within CANCEL_MS, and not where that was not enough a moment ago. */
static void
cancel_queries(PGconn *pg)
{
	static int64 not_before = 0;
	int64		begun_at = atq_clock_now();
	int64		deadline = atq_clock_after(begun_at, CANCEL_MS);
	PGcancelConn *cancel;
	PostgresPollingStatusType status;

	if (begun_at < not_before)
		return;
	cancel = PQcancelCreate(pg);
	status = cancel != NULL && PQcancelStart(cancel) ?
		PGRES_POLLING_WRITING : PGRES_POLLING_FAILED;
	while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING)
	{
		struct pollfd pfd;
		long		ms = atq_clock_ms_until(deadline);

		pfd.fd = PQcancelSocket(cancel);
		pfd.events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
		pfd.revents = 0;
		if (ms == 0 || poll(&pfd, 1, ms) < 0)
		{
			not_before = atq_clock_after(begun_at, NO_CANCEL_MS);
			break;
		}
		if (pfd.revents != 0)
			status = PQcancelPoll(cancel);
	}
	PQcancelFinish(cancel);
}

#else

/* PQcancel() waits for as long as connecting takes. */
static void
cancel_queries(PGconn *pg)
{
}

#endif
