/*-------------------------------------------------------------------------
 *
 * evidence.c
 *	  What must be known after a crash of the server: a mapped file.
 *
 * Shared memory is made anew after a crash, and what a transaction under way
 * has written is rolled back.  So each worker says in a file which task it
 * runs: by a store into a mapping that the postmaster makes once and all its
 * children inherit.  Nothing is flushed; the file survives the end of all
 * processes, not that of the machine.  It is in a directory that base backups
 * leave out.
 *
 * When shared memory is made, what the slots say becomes notes, which stay
 * until a worker of the lane has settled them, through any number of crashes:
 *
 *	- A worker that died by itself may be the cause.  One that the server told
 *	  to quit is not, if there is one of the first kind; else all may be.
 *	- An attempt of one task is settled as failed.
 *	- Of a call for several tasks nobody knows which of them it was: its note
 *	  is a range of ids, and each task in it runs alone, until the lane has
 *	  nothing left.  A worker that ends by itself in such a call leaves the
 *	  same note.
 *
 * After a clean shutdown the slots mean nothing.
 *
 * A task that does not survive the crash has no row on which to count its
 * attempts, but whoever dispatched it may do so again.  So its note comes with
 * a signature, a hash of its handler and arguments, and crashes are counted
 * for each signature (Poison) until a task with it has ended well or the
 * server was shut down cleanly.  Only a worker that died by itself is
 * counted.  A call for several such tasks has a signature of its own, for an
 * hour, in which all tasks of its handler run alone.
 *
 * The file also has the highest id handed out by each database's sequence: a
 * transaction that wrote only to unlogged tables is not flushed, so after a
 * crash the sequence may have gone back behind ids that somebody was told.
 *
 * The file is not trusted.  One that is not as long as it should be, or of
 * another cluster or release, is made anew; where there can be none, memory
 * that the postmaster keeps stands for it.  What it says of attempts counts
 * only if the task's row agrees; ids that it puts far ahead are not believed.
 *
 * Writers.  A slot's entry is written by its worker alone.  Notes and poisons
 * are made by the postmaster while it has no children; they and marks are
 * removed, and marks and notes of a worker's end made, under AtqShared.lock.
 * A task_id of 0 says that an entry or note is free; of an entry it is written
 * last when one is made, first when one is removed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "common/file_perm.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/timestamp.h"

#include "base/evidence.h"
#include "base/shmem.h"

#define EVIDENCE_FILE	PG_STAT_TMP_DIR "/asynctasq.evidence"
#define EVIDENCE_MAGIC	0x41545131
#define MAX_NOTES		1024
#define MAX_MARKS		512
#define MAX_POISONS		128
#define MAX_CRASHES		1000
#define MAX_IDS_BACK	10000000	/* how far a crash takes a sequence back */
#define SOON_MS			60000
#define SUSPECT_MS		3600000 /* after a crash in a call for several */

/*
 * An attempt under way, in its slot's place, or one that a crash ended.  Of
 * the size of a cache line, because each worker writes its own all the time.
 */
typedef struct Attempt
{
	int64		task_id;		/* 0: none */
	int64		last_id;		/* of a call for several tasks, else 0 */
	TimestampTz started_at;
	Oid			database;
	Oid			role;
	int			attempt;		/* from 1 */
	volatile sig_atomic_t told_to_quit;
	uint64		signature;		/* or 0 */
	char		unused[16];
} Attempt;

/* Tasks that are alike and have crashed the server. */
typedef struct Poison
{
	uint64		signature;		/* 0: free */
	Oid			database;
	int			crashes;		/* in a row */
	TimestampTz crashed_at;		/* the last time */
} Poison;

/* The ids of one sequence. */
typedef struct IdMark
{
	Oid			database;		/* InvalidOid: free */
	Oid			sequence;
	int64		old;			/* highest before the crash, or 0 */
	pg_atomic_uint64 highest;
} IdMark;

typedef struct Evidence
{
	uint32		magic;
	uint32		size;			/* of this struct */
	uint64		system;			/* the cluster's identifier */
	TimestampTz crashed_at;		/* the crash with which the server began, as
								 * far as is known, or 0 */
	TimestampTz worker_started_at;	/* the first one since then, or 0 */
	int			crashes;		/* in a row, soon after that */
	pg_atomic_uint32 nnotes;	/* behind them all are free */
	pg_atomic_uint32 npoisons;	/* the same */
	char		unused[20];
	Attempt		slots[ATQ_MAX_WORKERS + 1];
	Attempt		notes[MAX_NOTES];
	IdMark		marks[MAX_MARKS];
	Poison		poisons[MAX_POISONS];
} Evidence;

static Evidence *evidence = NULL;
static bool is_file = false;	/* or else memory of the postmaster's */

static void start_evidence(void *memory, LWLock *lock, bool fresh);
static void map_evidence(void);
static void *map_file(void);
static int	open_file(void);
static bool fill_file(int fd);
static void *reject_file(int fd, const char *what);
static bool is_ours(const Evidence *mapped);
static bool file_was_cut(void);
static bool was_shut_down(void);
static void note_crash(void);
static void note_attempts(void);
static bool any_died_by_itself(void);
static void add_note(const Attempt *attempt);
static void add_poison(const Attempt *attempt);
static void count_notes(void);
static int	nnotes(void);
static void count_poisons(void);
static int	npoisons(void);
static Poison *find_poison(Oid database, uint64 signature);
static bool is_suspect_handler(Oid database, Oid role, const char *handler);
static void start_marks(bool crashed);
static Attempt *own_entry(const AtqSlot *slot);
static void remove_note(Attempt *note);
static IdMark *get_mark(Oid sequence);
static IdMark *add_mark(Oid sequence);

StaticAssertDecl(sizeof(Attempt) == 64, "an attempt is a cache line");
StaticAssertDecl(offsetof(Evidence, slots) == 64, "attempts are aligned");

void
atq_evidence_init(void)
{
	atq_shmem_reserve(NULL, 0, start_evidence);
}

/* In the postmaster; the file takes the place of shared memory. */
static void
start_evidence(void *memory, LWLock *lock, bool fresh)
{
	bool		crashed = true;

	if (evidence == NULL)
	{
		map_evidence();
		crashed = !was_shut_down();
	}
	else if (file_was_cut())
		map_evidence();
	if (crashed)
	{
		note_crash();
		note_attempts();
	}
	else
	{
		evidence->crashes = 0;
		evidence->crashed_at = 0;
		memset(evidence->poisons, 0, sizeof(evidence->poisons));
	}
	evidence->worker_started_at = 0;
	memset(evidence->slots, 0, sizeof(evidence->slots));
	count_notes();
	count_poisons();
	start_marks(crashed);
}

static void
map_evidence(void)
{
	void	   *address = IsPostmasterEnvironment ? map_file() : MAP_FAILED;

	is_file = address != MAP_FAILED;
	if (!is_file)
		address = mmap(NULL, sizeof(Evidence), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (address == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map anonymous shared memory: %m")));
	evidence = address;
	if (is_ours(evidence))
		return;
	memset(evidence, 0, sizeof(Evidence));
	evidence->magic = EVIDENCE_MAGIC;
	evidence->size = sizeof(Evidence);
	evidence->system = GetSystemIdentifier();
}

/* The mapping is page-aligned and never undone. */
static void *
map_file(void)
{
	int			fd = open_file();
	void	   *address;

	if (fd < 0)
		return MAP_FAILED;
	if (!fill_file(fd))
		return reject_file(fd, "write");
	address = mmap(NULL, sizeof(Evidence), PROT_READ | PROT_WRITE, MAP_SHARED,
				   fd, 0);
	if (address == MAP_FAILED)
		return reject_file(fd, "map");
	close(fd);
	return address;
}

/* Without waiting, should it be a pipe. */
static int
open_file(void)
{
	int			fd = open(EVIDENCE_FILE, O_RDWR | O_CREAT | O_NONBLOCK,
						  pg_file_create_mode);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
	{
		(void) reject_file(fd, "open");
		return -1;
	}
	if (!S_ISREG(st.st_mode))
	{
		errno = EINVAL;
		(void) reject_file(fd, "open");
		return -1;
	}
	return fd;
}

/*
 * A file of another length is filled with zeros: written, because a store
 * into a hole may find the disk full.
 */
static bool
fill_file(int fd)
{
	struct stat st;
	char		zeros[8192] = {0};
	size_t		left = sizeof(Evidence);

	if (fstat(fd, &st) != 0)
		return false;
	if (st.st_size == (off_t) left)
		return true;
	if (st.st_size != 0)
		ereport(LOG,
				(errmsg("file \"%s\" is not as long as it should be and is made anew",
						EVIDENCE_FILE)));
	if (ftruncate(fd, 0) != 0)
		return false;
	while (left > 0)
	{
		ssize_t		written;

		errno = ENOSPC;
		written = write(fd, zeros, Min(left, sizeof(zeros)));
		if (written <= 0)
			return false;
		left -= written;
	}
	return true;
}

static void *
reject_file(int fd, const char *what)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not %s file \"%s\": %m", what, EVIDENCE_FILE),
			 errdetail("Attempts that a crash of the server ends are not counted unless it restarts by itself.")));
	if (fd >= 0)
		close(fd);
	return MAP_FAILED;
}

static bool
is_ours(const Evidence *mapped)
{
	if (mapped->magic == EVIDENCE_MAGIC &&
		mapped->size == sizeof(Evidence) &&
		mapped->system == GetSystemIdentifier())
		return true;
	if (mapped->magic != 0)
		ereport(LOG,
				(errmsg("file \"%s\" is of another release or cluster and is made anew",
						EVIDENCE_FILE)));
	return false;
}

/* What is behind the end of a file that was cut cannot be touched. */
static bool
file_was_cut(void)
{
	struct stat st;

	return is_file && stat(EVIDENCE_FILE, &st) == 0 &&
		st.st_size < (off_t) sizeof(Evidence);
}

static bool
was_shut_down(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	bool		shut_down = control->state == DB_SHUTDOWNED ||
		control->state == DB_SHUTDOWNED_IN_RECOVERY;

	pfree(control);
	return shut_down;
}

/* A crash before any worker was started says nothing of workers. */
static void
note_crash(void)
{
	evidence->crashed_at = GetCurrentTimestamp();
	if (evidence->worker_started_at == 0)
		return;
	if (evidence->crashes < 0 || evidence->crashes > MAX_CRASHES ||
		TimestampDifferenceExceeds(evidence->worker_started_at,
								   evidence->crashed_at, SOON_MS))
		evidence->crashes = 0;
	else
		evidence->crashes = Min(evidence->crashes + 1, MAX_CRASHES);
}

static void
note_attempts(void)
{
	bool		by_itself = any_died_by_itself();

	for (int i = 0; i < lengthof(evidence->slots); i++)
	{
		const Attempt *attempt = &evidence->slots[i];

		if (attempt->task_id != 0 && !(by_itself && attempt->told_to_quit))
			add_note(attempt);
		if (attempt->task_id != 0 && attempt->signature != 0 &&
			!attempt->told_to_quit)
			add_poison(attempt);
	}
}

static bool
any_died_by_itself(void)
{
	for (int i = 0; i < lengthof(evidence->slots); i++)
	{
		if (evidence->slots[i].task_id != 0 &&
			!evidence->slots[i].told_to_quit)
			return true;
	}
	return false;
}

/*
 * In the place of the same one, or of none; when there is no room, of the
 * oldest.
 */
static void
add_note(const Attempt *attempt)
{
	Attempt    *room = &evidence->notes[0];

	for (int i = 0; i < MAX_NOTES; i++)
	{
		Attempt    *note = &evidence->notes[i];

		if (note->task_id == attempt->task_id &&
			note->last_id == attempt->last_id &&
			note->database == attempt->database)
		{
			room = note;
			break;
		}
		if (room->task_id != 0 && (note->task_id == 0 ||
								   note->started_at < room->started_at))
			room = note;
	}
	*room = *attempt;
}

/* In the place of one like it, or of none, or of the oldest. */
static void
add_poison(const Attempt *attempt)
{
	Poison	   *room = &evidence->poisons[0];

	for (int i = 0; i < MAX_POISONS; i++)
	{
		Poison	   *poison = &evidence->poisons[i];

		if (poison->signature == attempt->signature &&
			poison->database == attempt->database)
		{
			room = poison;
			break;
		}
		if (room->signature != 0 && (poison->signature == 0 ||
									 poison->crashed_at < room->crashed_at))
			room = poison;
	}
	if (room->signature != attempt->signature ||
		room->database != attempt->database || room->crashes < 0)
		room->crashes = 0;
	room->signature = attempt->signature;
	room->database = attempt->database;
	room->crashes = Min(room->crashes + 1, MAX_CRASHES);
	room->crashed_at = evidence->crashed_at;
}

static void
count_notes(void)
{
	uint32		n = MAX_NOTES;

	while (n > 0 && evidence->notes[n - 1].task_id == 0)
		n--;
	pg_atomic_write_u32(&evidence->nnotes, n);
}

static int
nnotes(void)
{
	return (int) pg_atomic_read_u32(&evidence->nnotes);
}

static void
count_poisons(void)
{
	uint32		n = MAX_POISONS;

	while (n > 0 && evidence->poisons[n - 1].signature == 0)
		n--;
	pg_atomic_write_u32(&evidence->npoisons, n);
}

static int
npoisons(void)
{
	return (int) pg_atomic_read_u32(&evidence->npoisons);
}

/* After a clean shutdown all that the sequences say has been flushed. */
static void
start_marks(bool crashed)
{
	if (!crashed)
	{
		memset(evidence->marks, 0, sizeof(evidence->marks));
		return;
	}
	for (int i = 0; i < MAX_MARKS; i++)
	{
		IdMark	   *mark = &evidence->marks[i];

		mark->old = (int64) pg_atomic_read_u64(&mark->highest);
	}
}

uint64
atq_evidence_signature(Oid role, const char *handler, const void *args,
					   Size len)
{
	uint64		signature;

	signature = hash_bytes_extended((const unsigned char *) handler,
									strlen(handler), role);
	if (len > 0)
		signature = hash_bytes_extended(args, len, signature);
	return Max(signature, 1);
}

void
atq_evidence_begin(const AtqSlot *slot, int64 task_id, int attempt,
				   TimestampTz started_at, uint64 signature)
{
	Attempt    *entry = own_entry(slot);

	entry->task_id = 0;
	pg_write_barrier();
	entry->last_id = 0;
	entry->started_at = started_at;
	entry->database = slot->database;
	entry->role = slot->role;
	entry->attempt = attempt;
	entry->told_to_quit = false;
	entry->signature = signature;
	pg_write_barrier();
	entry->task_id = task_id;
}

static Attempt *
own_entry(const AtqSlot *slot)
{
	return &evidence->slots[slot - atq_shared->slots];
}

void
atq_evidence_batch(const AtqSlot *slot, int64 last_id, uint64 signature)
{
	Attempt    *entry = own_entry(slot);

	entry->last_id = last_id;
	entry->signature = signature;
}

bool
atq_evidence_note_batch(const AtqSlot *slot)
{
	const Attempt *entry = own_entry(slot);

	if (entry->task_id == 0 || entry->last_id == 0)
		return false;
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	add_note(entry);
	count_notes();
	LWLockRelease(atq_shared->lock);
	return true;
}

void
atq_evidence_end(const AtqSlot *slot)
{
	own_entry(slot)->task_id = 0;
}

void
atq_evidence_told_to_quit(const AtqSlot *slot)
{
	own_entry(slot)->told_to_quit = true;
}

bool
atq_evidence_next(Oid database, Oid role, int64 after, AtqCrashed *crashed)
{
	const Attempt *found = NULL;

	if (nnotes() == 0)
		return false;
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < nnotes(); i++)
	{
		const Attempt *note = &evidence->notes[i];

		if (note->task_id > after && note->last_id == 0 &&
			note->database == database && note->role == role &&
			(found == NULL || note->task_id < found->task_id))
			found = note;
	}
	if (found != NULL)
	{
		crashed->task_id = found->task_id;
		crashed->attempt = found->attempt;
		crashed->started_at = found->started_at;
	}
	LWLockRelease(atq_shared->lock);
	return found != NULL;
}

void
atq_evidence_settled(Oid database, int64 task_id)
{
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < nnotes(); i++)
	{
		Attempt    *note = &evidence->notes[i];

		if (note->task_id == task_id && note->last_id == 0 &&
			note->database == database)
			remove_note(note);
	}
	LWLockRelease(atq_shared->lock);
}

static void
remove_note(Attempt *note)
{
	note->task_id = 0;
	count_notes();
}

bool
atq_evidence_suspect(Oid database, Oid role, int64 task_id,
					 const char *handler)
{
	bool		suspect = false;

	if (handler != NULL && is_suspect_handler(database, role, handler))
		return true;
	if (nnotes() == 0)
		return false;
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	for (int i = 0; i < nnotes() && !suspect; i++)
	{
		const Attempt *note = &evidence->notes[i];

		suspect = note->task_id != 0 && note->database == database &&
			note->role == role && note->task_id <= task_id &&
			task_id <= note->last_id;
	}
	LWLockRelease(atq_shared->lock);
	return suspect;
}

static bool
is_suspect_handler(Oid database, Oid role, const char *handler)
{
	const Poison *poison;
	bool		suspect = false;

	if (npoisons() == 0)
		return false;
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	poison = find_poison(database,
						 atq_evidence_signature(role, handler, NULL, 0));
	if (poison != NULL)
		suspect = !TimestampDifferenceExceeds(poison->crashed_at,
											  GetCurrentTimestamp(),
											  SUSPECT_MS);
	LWLockRelease(atq_shared->lock);
	return suspect;
}

/* The lock is held. */
static Poison *
find_poison(Oid database, uint64 signature)
{
	for (int i = 0; i < npoisons(); i++)
	{
		Poison	   *poison = &evidence->poisons[i];

		if (poison->signature == signature && poison->database == database)
			return poison;
	}
	return NULL;
}

int
atq_evidence_poison(Oid database, uint64 signature)
{
	const Poison *poison;
	int			crashes;

	if (npoisons() == 0)
		return 0;
	LWLockAcquire(atq_shared->lock, LW_SHARED);
	poison = find_poison(database, signature);
	crashes = poison ? poison->crashes : 0;
	LWLockRelease(atq_shared->lock);
	return crashes;
}

void
atq_evidence_forgive(Oid database, uint64 signature)
{
	Poison	   *poison;

	if (npoisons() == 0)
		return;
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	poison = find_poison(database, signature);
	if (poison != NULL)
	{
		poison->signature = 0;
		count_poisons();
	}
	LWLockRelease(atq_shared->lock);
}

void
atq_evidence_clear_suspects(Oid database, Oid role)
{
	if (nnotes() == 0)
		return;
	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < nnotes(); i++)
	{
		Attempt    *note = &evidence->notes[i];

		if (note->task_id != 0 && note->last_id != 0 &&
			note->database == database && note->role == role)
			remove_note(note);
	}
	LWLockRelease(atq_shared->lock);
}

bool
atq_evidence_new_id(Oid sequence, int64 id)
{
	IdMark	   *mark = get_mark(sequence);
	uint64		known;

	if (mark == NULL || id > mark->old)
	{
		known = mark ? pg_atomic_read_u64(&mark->highest) : PG_UINT64_MAX;
		while (known < (uint64) id &&
			   !pg_atomic_compare_exchange_u64(&mark->highest, &known,
											   (uint64) id))
			;
		return true;
	}
	if (mark->old - id < MAX_IDS_BACK)
		return false;
	ereport(LOG,
			(errmsg("file \"%s\" is wrong about the ids of database %u",
					EVIDENCE_FILE, MyDatabaseId)));
	mark->old = 0;
	pg_atomic_write_u64(&mark->highest, (uint64) id);
	return true;
}

int64
atq_evidence_old_id(Oid sequence, TimestampTz *crashed_at)
{
	const IdMark *mark = get_mark(sequence);

	*crashed_at = evidence->crashed_at;
	return mark != NULL ? mark->old : 0;
}

/* The mark of this database's sequence; NULL when there is no room for it. */
static IdMark *
get_mark(Oid sequence)
{
	static IdMark *mark = NULL;

	if (mark == NULL || mark->database != MyDatabaseId ||
		mark->sequence != sequence)
		mark = add_mark(sequence);
	return mark;
}

/* A sequence made anew with the extension begins anew. */
static IdMark *
add_mark(Oid sequence)
{
	IdMark	   *found = NULL;

	LWLockAcquire(atq_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_MARKS; i++)
	{
		IdMark	   *mark = &evidence->marks[i];

		if (mark->database == MyDatabaseId)
		{
			found = mark;
			break;
		}
		if (mark->database == InvalidOid && found == NULL)
			found = mark;
	}
	if (found != NULL && (found->database != MyDatabaseId ||
						  found->sequence != sequence))
	{
		pg_atomic_write_u64(&found->highest, 0);
		found->old = 0;
		found->sequence = sequence;
		found->database = MyDatabaseId;
	}
	LWLockRelease(atq_shared->lock);
	return found;
}

void
atq_evidence_worker_started(TimestampTz now)
{
	if (evidence->worker_started_at == 0)
		evidence->worker_started_at = now;
}

int
atq_evidence_crashes(void)
{
	return evidence->crashes;
}

bool
atq_evidence_careful(void)
{
	return evidence->crashes >= 2 &&
		!TimestampDifferenceExceeds(evidence->worker_started_at,
									GetCurrentTimestamp(), SOON_MS);
}
