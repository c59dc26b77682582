/*-------------------------------------------------------------------------
 *
 * option.c
 *	  Foreign servers and user mappings: who may use them, and their options.
 *
 * Servers are those of the foreign-data wrapper asynctasq, whose validator is
 * here, and those of postgres_fdw.  Both are told by their validator function,
 * so that a wrapper may have any name.  Options are those of libpq, divided
 * between server and mapping as postgres_fdw divides them, and for the
 * server those of the pool.
 *
 * Who is no superuser must not connect as the operating system's user or with
 * a password file of the server: as in postgres_fdw, the mapping must hold a
 * password, which is checked before connecting, and the other server must have
 * asked for it, which is checked after.  A superuser lifts both with
 * password_required = false in the mapping.  Delegated GSSAPI credentials and
 * SCRAM pass-through, which postgres_fdw takes instead of a password, need the
 * client's own connection, which a worker does not have; they are not taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/guc.h"
#include "remote/option.h"

#define OUR_VALIDATOR	"atq_sql_fdw_validator"
#define PGFDW_VALIDATOR	"postgres_fdw_validator"

/* Options of a pool that are numbers, within the bounds of their settings. */
static const struct
{
	const char *name;
	int			min;
	int			max;
	int			unit;			/* as of settings, or 0 */
	Size		offset;			/* in AtqPoolOptions */
}			pool_numbers[] = {
	{"pool_min_size", 0, 1000, 0, offsetof(AtqPoolOptions, min_size)},
	{"pool_max_size", 1, 1000, 0, offsetof(AtqPoolOptions, max_size)},
	{"pool_max_overflow", -1, 1000, 0, offsetof(AtqPoolOptions, max_overflow)},
	{"pool_timeout", 0, INT_MAX / 1000, GUC_UNIT_S, offsetof(AtqPoolOptions, timeout_s)},
	{"pool_recycle", -1, INT_MAX / 1000, GUC_UNIT_S, offsetof(AtqPoolOptions, recycle_s)},
};

static PQconninfoOption *libpq_options = NULL;

static void load_libpq_options(void);
static bool is_hidden(const PQconninfoOption *option);
static bool is_secret(const PQconninfoOption *option);
static bool is_valid(const char *name, Oid catalog);
static bool is_pool_option(const char *name);
static void list_option(StringInfo buf, const char *name);
static void refuse_option(const char *name, Oid catalog) atq_noreturn;
static void check_value(DefElem *option, Oid catalog);
static int	read_number(DefElem *option, int which);
static bool read_class(DefElem *option);
static bool is_usable_server(const ForeignServer *server);
static char *validator_name(Oid wrapper);
static List *mapping_options(Oid mapping);
static void take_libpq_options(AtqLogin *login, List *options, int *n);
static void take_pool_options(AtqLogin *login, List *options);
static bool has_password(const AtqLogin *login);

PG_FUNCTION_INFO_V1(atq_sql_fdw_validator);

Datum
atq_sql_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *lc;

	load_libpq_options();
	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (!is_valid(option->defname, catalog))
			refuse_option(option->defname, catalog);
		check_value(option, catalog);
	}
	PG_RETURN_VOID();
}

/* They stay for the process's life. */
static void
load_libpq_options(void)
{
	if (libpq_options == NULL)
		libpq_options = PQconndefaults();
	if (libpq_options == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Could not get libpq's default connection options.")));
}

/*
 * Options for debugging, those that are set here, and those of OAuth, for which
 * libpq would ask servers of its own and a user on the terminal.
 */
static bool
is_hidden(const PQconninfoOption *option)
{
	return strchr(option->dispchar, 'D') != NULL ||
		strncmp(option->keyword, "oauth_", 6) == 0 ||
		strcmp(option->keyword, "fallback_application_name") == 0 ||
		strcmp(option->keyword, "client_encoding") == 0;
}

static bool
is_secret(const PQconninfoOption *option)
{
	return strcmp(option->keyword, "user") == 0 ||
		strchr(option->dispchar, '*') != NULL;
}

static bool
is_valid(const char *name, Oid catalog)
{
	bool		server = catalog == ForeignServerRelationId;
	bool		mapping = catalog == UserMappingRelationId;

	for (PQconninfoOption *option = libpq_options; option->keyword; option++)
	{
		if (strcmp(option->keyword, name) == 0 && !is_hidden(option) &&
			(is_secret(option) ? mapping : server))
			return true;
	}
	if (mapping)
		return strcmp(name, "password_required") == 0 ||
			strcmp(name, "sslcert") == 0 || strcmp(name, "sslkey") == 0;
	return server && is_pool_option(name);
}

static bool
is_pool_option(const char *name)
{
	for (int i = 0; i < lengthof(pool_numbers); i++)
	{
		if (strcmp(name, pool_numbers[i].name) == 0)
			return true;
	}
	return strcmp(name, "pool_pre_ping") == 0 ||
		strcmp(name, "pool_class") == 0;
}

static void
refuse_option(const char *name, Oid catalog)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (PQconninfoOption *option = libpq_options; option->keyword; option++)
	{
		if (is_valid(option->keyword, catalog))
			list_option(&buf, option->keyword);
	}
	if (catalog == UserMappingRelationId)
		list_option(&buf, "password_required");
	for (int i = 0; i < lengthof(pool_numbers); i++)
	{
		if (is_valid(pool_numbers[i].name, catalog))
			list_option(&buf, pool_numbers[i].name);
	}
	if (catalog == ForeignServerRelationId)
	{
		list_option(&buf, "pool_pre_ping");
		list_option(&buf, "pool_class");
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 buf.len > 0 ?
			 errhint("Valid options in this context are: %s", buf.data) :
			 errhint("There are no valid options in this context.")));
}

static void
list_option(StringInfo buf, const char *name)
{
	appendStringInfo(buf, "%s%s", buf->len > 0 ? ", " : "", name);
}

/* Throws where a value is none of its option. */
static void
check_value(DefElem *option, Oid catalog)
{
	const char *name = option->defname;

	for (int i = 0; i < lengthof(pool_numbers); i++)
	{
		if (strcmp(name, pool_numbers[i].name) == 0)
			(void) read_number(option, i);
	}
	if (strcmp(name, "pool_pre_ping") == 0)
		(void) defGetBoolean(option);
	if (strcmp(name, "pool_class") == 0)
		(void) read_class(option);
	if (strcmp(name, "password_required") == 0 && !defGetBoolean(option) &&
		!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("password_required=false is superuser-only"),
				 errhint("User mappings with the password_required option set to false may only be created or modified by the superuser.")));
	if ((strcmp(name, "sslcert") == 0 || strcmp(name, "sslkey") == 0) &&
		catalog == UserMappingRelationId && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("sslcert and sslkey are superuser-only"),
				 errhint("User mappings with the sslcert or sslkey options set may only be created or modified by the superuser.")));
}

static int
read_number(DefElem *option, int which)
{
	char	   *text = defGetString(option);
	int			value;
	const char *hint = NULL;

	if (!parse_int(text, &value, pool_numbers[which].unit, &hint) ||
		value < pool_numbers[which].min || value > pool_numbers[which].max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option->defname, text),
				 hint ? errhint("%s", hint) :
				 errhint("It must be an integer between %d and %d.",
						 pool_numbers[which].min, pool_numbers[which].max)));
	return value;
}

/* True for "null". */
static bool
read_class(DefElem *option)
{
	char	   *text = defGetString(option);

	if (strcmp(text, "queue") != 0 && strcmp(text, "null") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option->defname, text),
				 errhint("Valid values are: queue, null.")));
	return strcmp(text, "null") == 0;
}

Oid
atq_server_find(const char *name, Oid user)
{
	Oid			server = get_foreign_server_oid(name, false);

	(void) atq_server_check(server, user);
	return server;
}

char *
atq_server_check(Oid oid, Oid user)
{
	ForeignServer *server = GetForeignServer(oid);
	AclResult	result;

	if (!is_usable_server(server))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" cannot be used", server->servername),
				 errdetail("Its foreign-data wrapper is neither asynctasq nor postgres_fdw.")));
	result = atq_server_aclcheck(oid, user);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, server->servername);
	return server->servername;
}

static bool
is_usable_server(const ForeignServer *server)
{
	char	   *validator = validator_name(server->fdwid);

	return validator != NULL && (strcmp(validator, OUR_VALIDATOR) == 0 ||
								 strcmp(validator, PGFDW_VALIDATOR) == 0);
}

/* The C name of a wrapper's validator function, or NULL. */
static char *
validator_name(Oid wrapper)
{
	ForeignDataWrapper *fdw = GetForeignDataWrapper(wrapper);
	HeapTuple	tuple;
	Datum		source;
	bool		isnull;
	char	   *name = NULL;

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fdw->fdwvalidator));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	if (!isnull)
		name = TextDatumGetCString(source);
	ReleaseSysCache(tuple);
	return name;
}

List *
atq_server_list(Oid user)
{
	Relation	rel = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, ForeignServerNameIndexId, true,
										  NULL, 0, NULL);
	List	   *servers = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			oid = ((Form_pg_foreign_server) GETSTRUCT(tuple))->oid;

		if (atq_server_aclcheck(oid, user) == ACLCHECK_OK &&
			is_usable_server(GetForeignServer(oid)))
			servers = lappend_oid(servers, oid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return servers;
}

Oid
atq_server_mapping(Oid server, Oid user)
{
	Oid			users[] = {user, InvalidOid};	/* its own, or PUBLIC's */
	Oid			mapping = InvalidOid;

	for (int i = 0; i < lengthof(users) && !OidIsValid(mapping); i++)
		mapping = GetSysCacheOid2(USERMAPPINGUSERSERVER,
								  Anum_pg_user_mapping_oid,
								  ObjectIdGetDatum(users[i]),
								  ObjectIdGetDatum(server));
	return mapping;
}

AtqLogin *
atq_login_read(Oid server, Oid mapping, Oid user, AtqFailure **failure)
{
	ForeignServer *foreign = GetForeignServer(server);
	List	   *options = mapping_options(mapping);
	AtqLogin   *login = palloc0(sizeof(AtqLogin));
	int			room = list_length(foreign->options) +
		list_length(options) + 3;
	int			n = 0;
	ListCell   *lc;

	login->server = server;
	login->user = user;
	login->mapping = mapping;
	login->server_name = foreign->servername;
	login->keywords = palloc0(room * sizeof(char *));
	login->values = palloc0(room * sizeof(char *));
	load_libpq_options();
	take_libpq_options(login, foreign->options, &n);
	take_libpq_options(login, options, &n);
	login->keywords[n] = "fallback_application_name";
	login->values[n++] = "asynctasq";
	login->keywords[n] = "client_encoding";
	login->values[n++] = GetDatabaseEncodingName();
	take_pool_options(login, foreign->options);

	login->needs_password = !superuser_arg(user);
	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "password_required") == 0 &&
			!defGetBoolean(option))
			login->needs_password = false;
	}
	if (!login->needs_password || has_password(login))
		return login;
	*failure = atq_failure_make(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED,
								"Non-superusers must provide a password in the user mapping.",
								"password is required");
	return NULL;
}

static List *
mapping_options(Oid mapping)
{
	HeapTuple	tuple = SearchSysCache1(USERMAPPINGOID,
										ObjectIdGetDatum(mapping));
	Datum		options;
	bool		isnull;
	List	   *list;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for user mapping %u", mapping);
	options = SysCacheGetAttr(USERMAPPINGOID, tuple,
							  Anum_pg_user_mapping_umoptions, &isnull);
	list = isnull ? NIL : untransformRelOptions(options);
	ReleaseSysCache(tuple);
	return list;
}

static void
take_libpq_options(AtqLogin *login, List *options, int *n)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		for (PQconninfoOption *known = libpq_options; known->keyword; known++)
		{
			if (strcmp(known->keyword, option->defname) != 0 ||
				is_hidden(known))
				continue;
			login->keywords[*n] = known->keyword;
			login->values[*n] = defGetString(option);
			(*n)++;
			if (strcmp(known->keyword, "connect_timeout") == 0)
				login->connect_timeout_s = Max(0, atoi(defGetString(option)));
		}
	}
}

static void
take_pool_options(AtqLogin *login, List *options)
{
	ListCell   *lc;

	for (int i = 0; i < lengthof(pool_numbers); i++)
		*(int *) ((char *) &login->given + pool_numbers[i].offset) = INT_MIN;
	login->pre_ping_given = login->null_class_given = -1;
	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		for (int i = 0; i < lengthof(pool_numbers); i++)
		{
			if (strcmp(option->defname, pool_numbers[i].name) == 0)
				*(int *) ((char *) &login->given + pool_numbers[i].offset) =
					read_number(option, i);
		}
		if (strcmp(option->defname, "pool_pre_ping") == 0)
			login->pre_ping_given = defGetBoolean(option);
		if (strcmp(option->defname, "pool_class") == 0)
			login->null_class_given = read_class(option);
	}
}

static bool
has_password(const AtqLogin *login)
{
	for (int i = 0; login->keywords[i] != NULL; i++)
	{
		if (strcmp(login->keywords[i], "password") == 0 &&
			login->values[i][0] != '\0')
			return true;
	}
	return false;
}

AtqFailure *
atq_login_check(const AtqLogin *login, PGconn *pg)
{
	if (!login->needs_password ||
		(PQconnectionUsedPassword(pg) && has_password(login)))
		return NULL;
	return atq_failure_make(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED,
							"Non-superuser cannot connect if the server does not request a password.",
							"password is required");
}

AtqPoolOptions
atq_login_pool(const AtqLogin *login)
{
	AtqPoolOptions options;

	options.min_size = atq_pool_min_size;
	options.max_size = atq_pool_max_size;
	options.max_overflow = atq_pool_max_overflow;
	options.timeout_s = atq_pool_timeout_s;
	options.recycle_s = atq_pool_recycle_s;
	for (int i = 0; i < lengthof(pool_numbers); i++)
	{
		int			given = *(int *) ((char *) &login->given +
									  pool_numbers[i].offset);

		if (given != INT_MIN)
			*(int *) ((char *) &options + pool_numbers[i].offset) = given;
	}
	options.pre_ping = login->pre_ping_given >= 0 ?
		login->pre_ping_given : atq_pool_pre_ping;
	options.null_class = login->null_class_given >= 0 ?
		login->null_class_given : atq_pool_class == ATQ_POOL_NULL;
	return options;
}
