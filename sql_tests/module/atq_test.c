/*-------------------------------------------------------------------------
 *
 * atq_test.c
 *	  Handlers that misbehave as only C code can, for the tests.
 *
 * Where a server preloads it, it has atq_test.processes background workers that
 * do nothing, from the start until they are told to end.
 *
 * It is built for the tests and never installed: they name it by its path
 * (see create_test_functions in AtqTest.pm).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define BAD_TEXT_BYTES	(10 * 1024 * 1024)

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);
extern PGDLLEXPORT void atq_test_idle_main(Datum arg);

/* The transaction event at which this process kills itself. */
static XactEvent fatal_event;
static int	events_left = 0;

static void kill_self(void);
static void kill_at_event(XactEvent event, void *arg);
static char *bad_text(int len);

void
_PG_init(void)
{
	BackgroundWorker worker = {0};
	static int	processes = 0;

	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("atq_test.processes",
							"Sets how many background workers do nothing.",
							NULL, &processes, 0, 0, 100, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "atq_test",
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "atq_test_idle_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "asynctasq test", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "asynctasq test", BGW_MAXLEN);
	for (int i = 0; i < processes; i++)
		RegisterBackgroundWorker(&worker);
}

void
atq_test_idle_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, 0,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

PG_FUNCTION_INFO_V1(atq_test_segfault);

Datum
atq_test_segfault(PG_FUNCTION_ARGS)
{
	volatile char *volatile nowhere = NULL;

	*nowhere = 'x';
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(atq_test_kill_self);

Datum
atq_test_kill_self(PG_FUNCTION_ARGS)
{
	kill_self();
	PG_RETURN_VOID();
}

static void
kill_self(void)
{
	kill(MyProcPid, SIGKILL);
	for (;;)
		pause();
}

/*
 * atq_test_kill_at(event text, n int): this process kills itself at the nth
 * end of a transaction from here on.  Events: "before commit" (all but the
 * commit's record is done), "after commit" (the record is written and, unless
 * synchronous_commit is off, flushed).
 */
PG_FUNCTION_INFO_V1(atq_test_kill_at);

Datum
atq_test_kill_at(PG_FUNCTION_ARGS)
{
	static bool registered = false;
	char	   *event = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (strcmp(event, "before commit") == 0)
		fatal_event = XACT_EVENT_PRE_COMMIT;
	else if (strcmp(event, "after commit") == 0)
		fatal_event = XACT_EVENT_COMMIT;
	else
		elog(ERROR, "unknown event \"%s\"", event);
	if (!registered)
		RegisterXactCallback(kill_at_event, NULL);
	registered = true;
	events_left = PG_GETARG_INT32(1);
	PG_RETURN_VOID();
}

static void
kill_at_event(XactEvent event, void *arg)
{
	if (event == fatal_event && events_left > 0 && --events_left == 0)
		kill_self();
}

/* Neither a cancel nor a request to exit is heard before its time is over. */
PG_FUNCTION_INFO_V1(atq_test_loop_uninterruptible);

Datum
atq_test_loop_uninterruptible(PG_FUNCTION_ARGS)
{
	TimestampTz start = GetCurrentTimestamp();

	while (!TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
									   PG_GETARG_INT32(0)))
		;
	PG_RETURN_VOID();
}

/* Goes on for ever, whoever cancels it; only a request to exit ends it. */
PG_FUNCTION_INFO_V1(atq_test_swallow_cancel);

Datum
atq_test_swallow_cancel(PG_FUNCTION_ARGS)
{
	for (;;)
	{
		MemoryContext context = CurrentMemoryContext;

		PG_TRY();
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(1000);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
		}
		PG_END_TRY();
	}
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(atq_test_fatal);

Datum
atq_test_fatal(PG_FUNCTION_ARGS)
{
	ereport(FATAL,
			(errmsg("a handler raised FATAL")));
	PG_RETURN_VOID();
}

/* Says so in the data directory, and waits until that is removed. */
static void
linger(int code, Datum arg)
{
	FILE	   *file = fopen("atq_test.lingers", "w");

	if (file == NULL)
		elog(PANIC, "could not say that the process lingers: %m");
	fclose(file);
	while (access("atq_test.lingers", F_OK) == 0)
		pg_usleep(10000);
}

PG_FUNCTION_INFO_V1(atq_test_linger);

/* Ends the process, which stays for a while when its transaction is undone. */
Datum
atq_test_linger(PG_FUNCTION_ARGS)
{
	on_shmem_exit(linger, (Datum) 0);
	ereport(FATAL,
			(errmsg("a handler raised FATAL, and lingers")));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(atq_test_panic);

Datum
atq_test_panic(PG_FUNCTION_ARGS)
{
	ereport(PANIC,
			(errmsg("a handler raised PANIC")));
	PG_RETURN_VOID();
}

/* Returns at once; the launcher, a second one, starts soon. */
PG_FUNCTION_INFO_V1(atq_test_start_launcher);

Datum
atq_test_start_launcher(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "asynctasq",
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "atq_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "asynctasq second launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "asynctasq launcher", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, NULL))
		elog(ERROR, "no background worker slot is free");
	PG_RETURN_VOID();
}

/* An error of which no text is short, or valid in any encoding. */
PG_FUNCTION_INFO_V1(atq_test_bad_text);

Datum
atq_test_bad_text(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_RAISE_EXCEPTION),
			 errmsg_internal("%s", bad_text(BAD_TEXT_BYTES)),
			 errdetail_internal("%s", bad_text(BAD_TEXT_BYTES)),
			 errhint("%s", bad_text(BAD_TEXT_BYTES))));
	PG_RETURN_VOID();
}

/* The same as a result, or a text with a zero byte. */
PG_FUNCTION_INFO_V1(atq_test_bad_result);

Datum
atq_test_bad_result(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_BOOL(0))
		PG_RETURN_TEXT_P(cstring_to_text_with_len("a\0b", 3));
	PG_RETURN_TEXT_P(cstring_to_text(bad_text(100)));
}

/* atq_test_deep_record(levels int): a record in a record in .. */
PG_FUNCTION_INFO_V1(atq_test_deep_record);

Datum
atq_test_deep_record(PG_FUNCTION_ARGS)
{
	int			levels = PG_GETARG_INT32(0);
	Size		hoff = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(1));
	TupleDesc	desc = CreateTemplateTupleDesc(1);
	char	   *record = palloc0(levels * hoff);

	TupleDescInitEntry(desc, 1, "inner", RECORDOID, -1, 0);
	desc = BlessTupleDesc(desc);
	for (int i = 0; i < levels; i++)
	{
		HeapTupleHeader row = (HeapTupleHeader) (record + i * hoff);

		HeapTupleHeaderSetDatumLength(row, (levels - i) * hoff);
		HeapTupleHeaderSetTypeId(row, RECORDOID);
		HeapTupleHeaderSetTypMod(row, desc->tdtypmod);
		HeapTupleHeaderSetNatts(row, 1);
		row->t_infomask = i < levels - 1 ? HEAP_HASVARWIDTH : HEAP_HASNULL;
#ifdef HEAP_IS_DATUM
		row->t_infomask |= HEAP_IS_DATUM;	/* or each look makes a copy */
#endif
		row->t_hoff = hoff;
	}
	PG_RETURN_HEAPTUPLEHEADER((HeapTupleHeader) record);
}

/* Valid characters, bytes that are none, and a character that is cut off. */
static char *
bad_text(int len)
{
	char	   *text = palloc(len + 1);

	memset(text, 'x', len);
	memcpy(text, "bad: \303\251 \377\376 \300\200", 13);
	text[len - 1] = '\342';
	text[len] = '\0';
	return text;
}
