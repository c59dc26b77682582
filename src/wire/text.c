/*-------------------------------------------------------------------------
 *
 * text.c
 *	  Text between the wire, which is UTF-8, and the server's encoding.
 *
 * A MessagePack str is UTF-8 whatever the database's encoding, and was
 * verified when it entered the server, so where the database is UTF8 its
 * bytes are used in place.  Elsewhere PostgreSQL's own conversions run; they
 * refuse what the other side cannot hold.  SQL_ASCII has no conversion:
 * UTF-8 goes through unchanged inwards, and must be UTF-8 outwards.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "wire/text.h"

static bool is_convertible(AtqSpan utf8);

/* True when the server's encoding can hold the text. */
bool
atq_text_fits(AtqSpan utf8)
{
	Size		i = 0;

	if (memchr(utf8.data, '\0', utf8.len) != NULL)
		return false;
	if (GetDatabaseEncoding() == PG_UTF8 ||
		GetDatabaseEncoding() == PG_SQL_ASCII)
		return true;
	while (i < utf8.len && !IS_HIGHBIT_SET(utf8.data[i]))
		i++;
	return i == utf8.len || is_convertible(utf8);
}

/* Tries the server's own conversion, without an error if it fails. */
static bool
is_convertible(AtqSpan utf8)
{
	Oid			conversion = FindDefaultConversionProc(PG_UTF8,
													   GetDatabaseEncoding());
	int			size = (int) utf8.len * MAX_CONVERSION_GROWTH + 1;
	unsigned char *result;
	int			converted;

	if (!OidIsValid(conversion))
		return false;
	result = MemoryContextAllocHuge(CurrentMemoryContext, size);

	converted = pg_do_encoding_conversion_buf(conversion, PG_UTF8,
											  GetDatabaseEncoding(),
											  (unsigned char *) utf8.data,
											  (int) utf8.len, result, size,
											  true);
	pfree(result);
	return converted == (int) utf8.len;
}

/* UTF-8 into the server's encoding. */
AtqSpan
atq_text_import(AtqSpan utf8)
{
	AtqSpan		result = utf8;

	if (GetDatabaseEncoding() != PG_UTF8)
	{
		result.data = pg_any_to_server(utf8.data, (int) utf8.len, PG_UTF8);
		if (result.data != utf8.data)
			result.len = strlen(result.data);
	}
	return result;
}

/* UTF-8 into a palloc'd C string in the server's encoding. */
char *
atq_text_cstring(AtqSpan utf8)
{
	const char *nul = memchr(utf8.data, '\0', utf8.len);
	AtqSpan text;

	if (nul)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("cannot convert MessagePack str to SQL text"),
				 errdetail("It holds the character U+0000 at byte %zu.",
						   (Size) (nul - utf8.data))));

	text = atq_text_import(utf8);

	return pnstrdup(text.data, text.len);
}

/* From the server's encoding into UTF-8. */
AtqSpan
atq_text_export(const char *data, Size len)
{
	AtqSpan		result = {data, len};

	if (GetDatabaseEncoding() != PG_UTF8)
	{
		result.data = pg_server_to_any(data, (int) len, PG_UTF8);
		if (result.data != data)
			result.len = strlen(result.data);
	}
	return result;
}

/* Appends text in the server's encoding as a str. */
void
atq_text_pack(StringInfo buf, const char *data, Size len)
{
	AtqSpan		utf8 = atq_text_export(data, len);

	atq_pack_str(buf, utf8.data, utf8.len);
}

/*
 * Returns where the first byte that is no UTF-8 stands, or the length.  The
 * server's verifier stops at U+0000, which is legal here.
 */
Size
atq_text_verify(AtqSpan utf8)
{
	Size		off = 0;

	while (off < utf8.len)
	{
		off += pg_encoding_verifymbstr(PG_UTF8, utf8.data + off,
									   (int) (utf8.len - off));
		if (off == utf8.len || utf8.data[off] != '\0')
			break;
		off++;
	}
	return off;
}

/* True when a span equals a C string. */
bool
atq_text_is(AtqSpan span, const char *text)
{
	return span.len == strlen(text) &&
		memcmp(span.data, text, span.len) == 0;
}
