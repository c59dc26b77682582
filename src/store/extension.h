/*-------------------------------------------------------------------------
 *
 * extension.h
 *	  The extension as it is installed in this database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_EXTENSION_H
#define ATQ_STORE_EXTENSION_H

#define ATQ_EXTENSION	"asynctasq"
#define ATQ_VERSION		"1.0"	/* as in asynctasq.control */

#define ATQ_VERSION_HINT \
	"Run ALTER EXTENSION asynctasq UPDATE in the database, or install the library of its version and restart the server."

typedef struct AtqExtension
{
	Oid			oid;
	Oid			schema;
	Oid			owner;
	bool		fits;			/* its version is the library's */
} AtqExtension;

/* As of now, uncached; false when it is not installed.  In a transaction. */
extern bool atq_extension_find(AtqExtension *extension);

/* The relation that a session locks before any other of ours. */
#define ATQ_GATE		"task_id_seq"

/*
 * Holds the extension, so that who drops or changes it waits, until a
 * transaction is rolled back or the process releases all locks, which it must
 * do before it ends.  False when it is not installed.  A process that goes on
 * after a rollback calls atq_extension_released().
 */
extern bool atq_extension_hold(void);
extern void atq_extension_released(void);

/*
 * The same for a session, until the transaction's end: locks the gate, given
 * by its OID.  True when it was not locked before: then it may be gone, and
 * the OID is to be looked up again.
 */
extern bool atq_extension_enter(Oid gate);

/*
 * Waits for all who hold it, and for all others who use a relation of it, and
 * keeps them out until the transaction ends.
 */
extern void atq_extension_lock(const AtqExtension *extension);

#endif							/* ATQ_STORE_EXTENSION_H */
