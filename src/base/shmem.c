/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Making the shared memory of other files.
 *
 * The server calls one hook when it adds up the sizes, after all libraries are
 * loaded, and another one when the memory is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/shmem.h"

#define MAX_PARTS		8

typedef struct Part
{
	const char *name;
	Size		bytes;
	AtqShmemAttacher attach;
} Part;

static Part parts[MAX_PARTS];
static int	nparts = 0;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void request_all(void);
static void start_all(void);
static void start_part(const Part *part);

void
atq_shmem_reserve(const char *name, Size bytes, AtqShmemAttacher attach)
{
	if (nparts == 0)
	{
		prev_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = request_all;
		prev_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = start_all;
	}
	Assert(nparts < MAX_PARTS);
	parts[nparts].name = name;
	parts[nparts].bytes = bytes;
	parts[nparts++].attach = attach;
}

static void
request_all(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].bytes == 0)
			continue;
		RequestAddinShmemSpace(parts[i].bytes);
		RequestNamedLWLockTranche(parts[i].name, 1);
	}
}

static void
start_all(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].bytes == 0)
			parts[i].attach(NULL, NULL, false);
		else
			start_part(&parts[i]);
	}
}

static void
start_part(const Part *part)
{
	bool		found;
	void	   *memory;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	memory = ShmemInitStruct(part->name, part->bytes, &found);
	if (!found)
		memset(memory, 0, part->bytes);
	part->attach(memory, &GetNamedLWLockTranche(part->name)->lock, !found);
	LWLockRelease(AddinShmemInitLock);
}
