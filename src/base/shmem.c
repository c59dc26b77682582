/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Making the shared memory of other files.
 *
 * The server calls one hook when it adds up the sizes, which may depend on
 * settings of any library, and another one when the memory is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/shmem.h"

#define MAX_PARTS		8

static const AtqShmem *parts[MAX_PARTS];
static int	nparts = 0;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void request_all(void);
static void start_all(void);
static void start_part(const AtqShmem *part);

void
atq_shmem_reserve(const AtqShmem *part)
{
	if (nparts == 0)
	{
		prev_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = request_all;
		prev_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = start_all;
	}
	Assert(nparts < MAX_PARTS);
	parts[nparts++] = part;
}

static void
request_all(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < nparts; i++)
	{
		if (parts[i]->size == NULL)
			continue;
		RequestAddinShmemSpace(parts[i]->size());
		RequestNamedLWLockTranche(parts[i]->name, 1);
	}
}

static void
start_all(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	for (int i = 0; i < nparts; i++)
	{
		if (parts[i]->size == NULL)
			parts[i]->attach(NULL, NULL, false);
		else
			start_part(parts[i]);
	}
}

static void
start_part(const AtqShmem *part)
{
	bool		found;
	void	   *memory;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	memory = ShmemInitStruct(part->name, part->size(), &found);
	if (!found)
		memset(memory, 0, part->size());
	part->attach(memory, &GetNamedLWLockTranche(part->name)->lock, !found);
	LWLockRelease(AddinShmemInitLock);
}
