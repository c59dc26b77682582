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
 * What one file keeps in shared memory.  At server start, and again after each
 * crash, attach is called with size() bytes and with a lock of that name; both
 * are new, and the memory is zero, if fresh is true.  Without a size, attach
 * is called with neither, outside of any lock.
 */
typedef struct AtqShmem
{
	const char *name;
	Size		(*size) (void);
	void		(*attach) (void *memory, LWLock *lock, bool fresh);
} AtqShmem;

/*
 * Reserves it; from _PG_init only.  The struct is kept, and attached in the
 * order of these calls.
 */
extern void atq_shmem_reserve(const AtqShmem *part);

#endif							/* ATQ_BASE_SHMEM_H */
