/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  Making the shared memory of other files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ATQ_BASE_SHMEM_H
#define ATQ_BASE_SHMEM_H

#include "storage/lwlock.h"

/*
 * Called at server start, and again after each crash: memory and lock are new,
 * and the memory is zero, if fresh is true.
 */
typedef void (*AtqShmemAttacher) (void *memory, LWLock *lock, bool fresh);

/*
 * Reserves memory and a lock of that name for what one file shares; from
 * _PG_init only.  They are attached in the order of these calls.  For zero
 * bytes attach is called with neither, outside of any lock.
 */
extern void atq_shmem_reserve(const char *name, Size bytes,
							  AtqShmemAttacher attach);

#endif							/* ATQ_BASE_SHMEM_H */
