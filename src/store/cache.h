/*-------------------------------------------------------------------------
 *
 * cache.h
 *	  The registry's cache, as registry.c and models.c fill it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_STORE_CACHE_H
#define ATQ_STORE_CACHE_H

#include "access/htup.h"
#include "access/skey.h"
#include "access/tupdesc.h"
#include "utils/hsearch.h"

#include "store/registry.h"

/* What it points to is in its context. */
typedef struct AtqCache
{
	MemoryContext context;
	HTAB	   *handlers;
	HTAB	   *queues;
	HTAB	   *lanes;
	AtqHome    *home;			/* NULL until it is asked for */
	HTAB	   *watched;		/* OIDs of all models' relations looked up */
	HTAB	   *models;			/* models.c's, NULL until they are needed */
	HTAB	   *relations;
	AtqHandler *last_handler;	/* what was looked up last, as it mostly is
								 * next: found without its hash table */
	AtqQueue   *last_queue;
	struct ModelEntry *last_model;	/* of models.c's */
} AtqCache;

extern AtqCache atq_cache;

/* A row of a registry. */
typedef struct AtqCacheRow
{
	HeapTuple	tuple;
	TupleDesc	desc;
} AtqCacheRow;

typedef void (*AtqCacheReader) (const AtqCacheRow *row, void *arg);

/*
 * Begins a look-up: empties the cache where it is out of date.  Until the next
 * one it stays as it is.
 */
extern void atq_cache_open(void);

/* A hash table in the cache; its keys are strings or plain bytes. */
extern HTAB *atq_cache_hash(const char *name, Size keysize, Size entrysize,
							bool strings);

/*
 * Calls read with each row of a table that an index finds, in the index's
 * order.
 */
extern void atq_cache_scan(AtqTable table, AtqTable index, int nkeys,
						   ScanKey keys, AtqCacheReader read, void *arg);

/* A column of a row; text is palloc'd, and NULL where the column is null. */
extern char *atq_cache_text(const AtqCacheRow *row, int column);
extern Oid	atq_cache_oid(const AtqCacheRow *row, int column);

#endif							/* ATQ_STORE_CACHE_H */
