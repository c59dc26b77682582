/*-------------------------------------------------------------------------
 *
 * server.c
 *	  What the codec calls of the server, outside of it.
 *
 * Each palloc is a malloc of its own, so that the address sanitizer sees
 * every byte beyond it; the chunks are on a list, as they would be in a
 * memory context.  An error is a longjmp.  StringInfo, the JSON parser, UTF-8
 * and the like are PostgreSQL's own, from libpgcommon and libpgport.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>

#include "catalog/namespace.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/jsonfuncs.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

#include "base/guc.h"

#include "server.h"

/* As the server guards its own stack; the sanitizers make frames larger. */
#define MAX_STACK_BYTES		(6 * 1024 * 1024)

typedef struct Chunk
{
	void	   *data;
	Size		size;
} Chunk;

static Chunk *chunks;
static int	chunk_count;
static int	max_chunks;
static Size allocated;
static Size peak;

static sigjmp_buf *catcher;
static FuzzError thrown;
static char *stack_base;

int			atq_max_payload_kb = 64;
int			atq_max_depth = 512;

MemoryContext CurrentMemoryContext;
ErrorContextCallback *error_context_stack;
volatile sig_atomic_t InterruptPending;

/* ---- calling ---- */

bool
fuzz_call(void (*function) (void *), void *arg, FuzzError *error)
{
	sigjmp_buf	here;
	sigjmp_buf *outer_catcher = catcher;
	ErrorContextCallback *outer_context = error_context_stack;
	volatile bool returned = false;
	char		base;

	if (!outer_catcher)
		stack_base = &base;
	memset(&thrown, 0, sizeof(thrown));
	if (sigsetjmp(here, 0) == 0)
	{
		catcher = &here;
		function(arg);
		returned = true;
	}
	catcher = outer_catcher;
	error_context_stack = outer_context;
	*error = thrown;
	return returned;
}

void
fuzz_fail(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

/* ---- memory ---- */

static void *
add_chunk(Size size)
{
	Chunk	   *chunk;

	if (size > 1024 * 1024 * 1024)
		fuzz_fail("palloc of %zu bytes", size);
	if (chunk_count == max_chunks)
	{
		max_chunks = max_chunks == 0 ? 64 : 2 * max_chunks;
		chunks = realloc(chunks, max_chunks * sizeof(Chunk));
	}
	chunk = &chunks[chunk_count++];
	chunk->data = malloc(size);
	chunk->size = size;
	if (!chunks || !chunk->data)
		fuzz_fail("out of memory");
	allocated += size;
	peak = Max(peak, allocated);
	return chunk->data;
}

/* What was allocated last is mostly freed first. */
static Chunk *
find_chunk(void *data)
{
	for (int i = chunk_count - 1; i >= 0; i--)
		if (chunks[i].data == data)
			return &chunks[i];
	fuzz_fail("not palloc'd: %p", data);
}

void *
palloc(Size size)
{
	return add_chunk(size);
}

void *
palloc0(Size size)
{
	return memset(add_chunk(size), 0, size);
}

void *
MemoryContextAllocHuge(MemoryContext context, Size size)
{
	return add_chunk(size);
}

void
pfree(void *data)
{
	Chunk	   *chunk = find_chunk(data);

	free(data);
	allocated -= chunk->size;
	*chunk = chunks[--chunk_count];
}

/* Never in place, so that pointers kept from before are found. */
void *
repalloc(void *data, Size size)
{
	void	   *larger = add_chunk(size);

	memcpy(larger, data, Min(size, find_chunk(data)->size));
	pfree(data);
	return larger;
}

void *
palloc_extended(Size size, int flags)
{
	return palloc(size);
}

void *
repalloc_huge(void *data, Size size)
{
	return repalloc(data, size);
}

char *
pnstrdup(const char *text, Size len)
{
	Size		size = strnlen(text, len);
	char	   *copy = palloc(size + 1);

	memcpy(copy, text, size);
	copy[size] = '\0';
	return copy;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

void
fuzz_release(void)
{
	while (chunk_count > 0)
		free(chunks[--chunk_count].data);
	allocated = 0;
	peak = 0;
}

Size
fuzz_peak(void)
{
	return peak;
}

/* ---- errors and interrupts ---- */

bool
errstart(int elevel, const char *domain)
{
	if (elevel < ERROR)
		fuzz_fail("a report of level %d", elevel);
	memset(&thrown, 0, sizeof(thrown));
	thrown.code = ERRCODE_INTERNAL_ERROR;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int code)
{
	thrown.code = code;
	return 0;
}

int
geterrcode(void)
{
	return thrown.code;
}

int
errmsg(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(thrown.message, sizeof(thrown.message), format, args);
	va_end(args);
	return 0;
}

int
errmsg_internal(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(thrown.message, sizeof(thrown.message), format, args);
	va_end(args);
	return 0;
}

/* Formatted, for the sanitizers to see their arguments. */
int
errdetail(const char *format,...)
{
	char		detail[1024];
	va_list		args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	return 0;
}

int
errhint(const char *format,...)
{
	return 0;
}

void
errfinish(const char *file, int line, const char *function)
{
	for (ErrorContextCallback *context = error_context_stack; context;
		 context = context->previous)
		context->callback(context->arg);
	if (!catcher)
		fuzz_fail("%s:%d: %s", file, line, thrown.message);
	siglongjmp(*catcher, 1);
}

/* ExceptionalCondition, whatever parameters this release gives it. */
extern void assertion_failed(void) __asm__("ExceptionalCondition");

void
assertion_failed(void)
{
	fuzz_fail("an assertion failed");
}

void
ProcessInterrupts(void)
{
}

void
check_stack_depth(void)
{
	char		here;

	if (labs(stack_base - &here) > MAX_STACK_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("stack depth limit exceeded")));
}

/* ---- text ---- */

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

char *
pg_any_to_server(const char *text, int len, int encoding)
{
	fuzz_fail("conversion in a UTF-8 database");
}

char *
pg_server_to_any(const char *text, int len, int encoding)
{
	fuzz_fail("conversion in a UTF-8 database");
}

Oid
FindDefaultConversionProc(int32 from, int32 to)
{
	fuzz_fail("conversion in a UTF-8 database");
}

int
pg_do_encoding_conversion_buf(Oid conversion, int from, int to,
							  unsigned char *text, int len,
							  unsigned char *result, int size, bool no_error)
{
	fuzz_fail("conversion in a UTF-8 database");
}

int
pg_ulltoa_n(uint64 value, char *text)
{
	char		digits[24];
	int			len = snprintf(digits, sizeof(digits), UINT64_FORMAT, value);

	memcpy(text, digits, len);
	return len;
}

int
pg_lltoa(int64 value, char *text)
{
	return sprintf(text, INT64_FORMAT, value);
}

/* As the server's, with the errors it gives for JSON text. */
void
pg_parse_json_or_ereport(JsonLexContext *lexer, JsonSemAction *actions)
{
	JsonParseErrorType result = pg_parse_json(lexer, actions);

	if (result != JSON_SUCCESS)
		ereport(ERROR,
				(errcode(result == JSON_UNICODE_CODE_POINT_ZERO ?
						 ERRCODE_UNTRANSLATABLE_CHARACTER :
						 ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid JSON")));
}

/* ---- days ---- */

const int	day_tab[2][13] = {
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0},
	{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0}
};

/* Julian day numbers, by the formulas of Fliegel and Van Flandern. */
int
date2j(int year, int month, int day)
{
	int			shift = (month - 14) / 12;

	return (1461 * (year + 4800 + shift)) / 4 +
		(367 * (month - 2 - 12 * shift)) / 12 -
		(3 * ((year + 4900 + shift) / 100)) / 4 + day - 32075;
}

void
j2date(int jd, int *year, int *month, int *day)
{
	int			l = jd + 68569;
	int			n = (4 * l) / 146097;
	int			i;
	int			j;

	l -= (146097 * n + 3) / 4;
	i = (4000 * (l + 1)) / 1461001;
	l -= (1461 * i) / 4 - 31;
	j = (80 * l) / 2447;
	*day = l - (2447 * j) / 80;
	l = j / 11;
	*month = j + 2 - 12 * l;
	*year = 100 * (n - 49) + i + l;
}

/* ---- SQL values ---- */

/* Only uuid_in is called this way. */
Datum
DirectFunctionCall1Coll(PGFunction function, Oid collation, Datum arg)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, NULL, 1, collation, NULL, NULL);
	fcinfo->args[0].value = arg;
	fcinfo->args[0].isnull = false;
	return function(fcinfo);
}

/* 32 hexadecimal digits, with hyphens where the server takes them. */
Datum
uuid_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));
	bool		braces = text[0] == '{';

	text += braces;
	for (int i = 0; i < UUID_LEN; i++)
	{
		char		digits[3] = {0};

		if (!isxdigit((unsigned char) text[0]) ||
			!isxdigit((unsigned char) text[1]))
			goto bad;
		memcpy(digits, text, 2);
		uuid->data[i] = (unsigned char) strtoul(digits, NULL, 16);
		text += 2;
		if (*text == '-' && i % 2 == 1 && i < UUID_LEN - 1)
			text++;
	}
	if (braces && *text++ != '}')
		goto bad;
	if (*text == '\0')
		PG_RETURN_UUID_P(uuid);

bad:
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid UUID")));
}

/* Nothing here looks into a number: its text stands for it. */
static Numeric
number_of(const char *text)
{
	Size		len = VARHDRSZ + strlen(text);
	Numeric		number = palloc(len);

	SET_VARSIZE(number, len);
	memcpy(VARDATA(number), text, len - VARHDRSZ);
	return number;
}

Numeric
int64_to_numeric(int64 value)
{
	char		text[24];

	snprintf(text, sizeof(text), INT64_FORMAT, value);
	return number_of(text);
}

/* Any number of digits is taken. */
Datum
numeric_in(PG_FUNCTION_ARGS)
{
	return NumericGetDatum(number_of(PG_GETARG_CSTRING(0)));
}

/* Nothing is compressed or out of line. */
struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

/* Only numeric_in is called this way. */
Datum
DirectFunctionCall3Coll(PGFunction function, Oid collation, Datum arg1,
						Datum arg2, Datum arg3)
{
	LOCAL_FCINFO(fcinfo, 3);

	InitFunctionCallInfoData(*fcinfo, NULL, 3, collation, NULL, NULL);
	fcinfo->args[0].value = arg1;
	fcinfo->args[1].value = arg2;
	fcinfo->args[2].value = arg3;
	return function(fcinfo);
}

/* What only reading Jsonb needs must not be reached. */
#define NOT_OUTSIDE(name) \
	extern void not_outside_##name(void) __asm__(#name); \
	void not_outside_##name(void) { fuzz_fail(#name " was called"); }

NOT_OUTSIDE(JsonbExtractScalar)
NOT_OUTSIDE(JsonbIteratorInit)
NOT_OUTSIDE(JsonbIteratorNext)
NOT_OUTSIDE(numeric_out)
