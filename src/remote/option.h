/*-------------------------------------------------------------------------
 *
 * option.h
 *	  Foreign servers and user mappings: who may use them, and their options.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_REMOTE_OPTION_H
#define ATQ_REMOTE_OPTION_H

#include "nodes/pg_list.h"

#include "remote/failure.h"

/* Of a server's pool; what its options leave out the settings give. */
typedef struct AtqPoolOptions
{
	int			min_size;		/* opened with the first connection */
	int			max_size;		/* kept open */
	int			max_overflow;	/* beyond, closed after use; -1: any number */
	int			timeout_s;		/* of waiting for a connection */
	int			recycle_s;		/* age at which one is replaced; -1: never */
	bool		pre_ping;		/* asked for a sign of life before use */
	bool		null_class;		/* none is kept */
} AtqPoolOptions;

/* What connecting needs, read from server and mapping. */
typedef struct AtqLogin
{
	Oid			server;
	Oid			user;			/* for whom */
	Oid			mapping;
	char	   *server_name;
	const char **keywords;		/* libpq's, ending with NULL */
	const char **values;
	bool		needs_password; /* the user must have logged in with it */
	int			connect_timeout_s;	/* 0: none */
	AtqPoolOptions given;		/* INT_MIN where not */
	int			pre_ping_given; /* -1 where not */
	int			null_class_given;
} AtqLogin;

/*
 * The server of that name; throws 42704 when there is none, 42809 when it is
 * of another kind, 42501 when the user has no USAGE on it.
 */
extern Oid	atq_server_find(const char *name, Oid user);

/* The same by OID, and its name. */
extern char *atq_server_check(Oid server, Oid user);

/* OIDs of all servers that the user may use. */
extern List *atq_server_list(Oid user);

/* The mapping that serves the user on the server, or InvalidOid. */
extern Oid	atq_server_mapping(Oid server, Oid user);

/*
 * Reads the options into the current context; NULL, and the reason, where
 * this user may not connect with them.
 */
extern AtqLogin *atq_login_read(Oid server, Oid mapping, Oid user,
								AtqFailure **failure);

/* After connecting; NULL when all is well, else the reason. */
extern AtqFailure *atq_login_check(const AtqLogin *login, PGconn *pg);

/* What is in force: the server's own options, else the settings. */
extern AtqPoolOptions atq_login_pool(const AtqLogin *login);

#endif							/* ATQ_REMOTE_OPTION_H */
