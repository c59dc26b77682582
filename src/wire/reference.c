/*-------------------------------------------------------------------------
 *
 * reference.c
 *	  References to ORM objects as they stand in MessagePack.
 *
 * Anything may look like half a reference: only a map with exactly the two
 * markers, and at most the class file beside them, is one.  A key is a
 * scalar or an array of scalars.  That is all a primary key can be, and it
 * means that matching never looks deeper than two levels: nested near-misses
 * cannot make a walk quadratic.  A query set is a map of its marker alone with
 * a map; who reads it says whether that is one.
 *
 * The scan needs no stack: a map anywhere is looked at where its header
 * stands, and the data of a set is read as what it is, MessagePack in place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "wire/jsonform.h"
#include "wire/reference.h"
#include "wire/text.h"

#define CLASS_MARKER	"__orm_class__"
#define FILE_MARKER		"__orm_class_file__"
#define PROXY_TYPE		"__lazy_orm_proxy__"
#define SET_MARKER		"__orm_queryset__"

/* Up to this size a value is walked as fast as it is searched. */
#define SMALL_VALUE		512

static bool match_pairs(AtqReader *reader, uint32 pairs,
						AtqReference *reference);
static bool match_object(AtqReader *reader, uint32 pairs,
						 AtqReference *reference);
static bool match_proxy(AtqReader *reader, AtqReference *reference);
static bool match_set(AtqReader *reader, AtqReference *reference);
static const char *find_orm(const AtqToken *name);
static bool read_text(AtqReader *reader, AtqSpan *text);
static bool read_key(AtqReader *reader, AtqSpan *key);
static bool is_container(const AtqToken *token);

/* True when the value is a reference; fills *reference. */
bool
atq_reference_match(AtqSpan value, AtqReference *reference)
{
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	if (token.kind != ATQ_TOKEN_MAP ||
		!match_pairs(&reader, token.count, reference))
		return false;

	reference->whole.data = value.data;
	reference->whole.len = reader.off;
	return true;
}

/*
 * Calls visit for every reference in a value.  Nothing inside a reference is
 * visited.
 */
void
atq_reference_scan(AtqSpan value, AtqReferenceVisitor visit, void *arg)
{
	AtqReader	reader;

	if (value.len > SMALL_VALUE &&
		!memmem(value.data, value.len, CLASS_MARKER, strlen(CLASS_MARKER)) &&
		!memmem(value.data, value.len, PROXY_TYPE, strlen(PROXY_TYPE)) &&
		!memmem(value.data, value.len, SET_MARKER, strlen(SET_MARKER)))
		return;

	atq_msgpack_open(&reader, value);
	while (reader.off < reader.len)
	{
		AtqSpan		rest = {
			reader.data + reader.off, reader.len - reader.off
		};
		AtqReference reference;
		AtqToken	token;

		CHECK_FOR_INTERRUPTS();
		atq_msgpack_next(&reader, &token);
		if (atq_token_is_set(&token))
			reader.off = token.v.bytes.data - reader.data;
		else if (token.kind == ATQ_TOKEN_MAP &&
				 atq_reference_match(rest, &reference))
		{
			visit(&reference, arg);
			reader.off = rest.data - reader.data + reference.whole.len;
		}
	}
}

/* Appends a reference; key is the packed key (an array when composite). */
void
atq_reference_pack(StringInfo buf, const char *orm, const char *class_name,
				   AtqSpan key)
{
	char		marker[NAMEDATALEN];
	int			len;

	len = snprintf(marker, sizeof(marker), "__orm:%s__", orm);
	Assert(len < (int) sizeof(marker));
	atq_pack_map(buf, 2);
	atq_pack_str(buf, marker, len);
	appendBinaryStringInfoNT(buf, key.data, (int) key.len);
	atq_pack_str(buf, CLASS_MARKER, strlen(CLASS_MARKER));
	atq_text_pack(buf, class_name, strlen(class_name));
}

/* Appends a query set, given by its JSON, whose objects are no tags. */
void
atq_reference_pack_set(StringInfo buf, Jsonb *set)
{
	atq_pack_map(buf, 1);
	atq_pack_str(buf, SET_MARKER, strlen(SET_MARKER));
	atq_json_pack_literal(buf, set);
}

/* Matches a map's pairs, the reader standing behind its header. */
static bool
match_pairs(AtqReader *reader, uint32 pairs, AtqReference *reference)
{
	AtqReader	start = *reader;

	memset(reference, 0, sizeof(*reference));
	if (pairs == 1)
		return match_set(reader, reference);
	if (pairs != 2 && pairs != 3)
		return false;
	if (match_object(reader, pairs, reference))
		return true;

	*reader = start;
	memset(reference, 0, sizeof(*reference));
	return pairs == 3 && match_proxy(reader, reference);
}

/* The two markers, in any order, and perhaps the class file. */
static bool
match_object(AtqReader *reader, uint32 pairs, AtqReference *reference)
{
	bool		file_seen = false;
	uint32		i;

	for (i = 0; i < pairs; i++)
	{
		AtqToken	name;
		AtqToken	file;
		const char *orm;

		atq_msgpack_next(reader, &name);
		orm = find_orm(&name);
		if (orm && !reference->orm)
		{
			reference->orm = orm;
			if (!read_key(reader, &reference->key))
				return false;
		}
		else if (atq_token_is(&name, CLASS_MARKER))
		{
			if (!read_text(reader, &reference->class_name))
				return false;
		}
		else if (atq_token_is(&name, FILE_MARKER))
		{
			atq_msgpack_next(reader, &file);
			if (is_container(&file))
				return false;
			file_seen = true;
		}
		else
			return false;
	}
	return reference->orm && reference->class_name.data &&
		file_seen == (pairs == 3);
}

/* Tortoise's lazy proxy: three pairs in any order. */
static bool
match_proxy(AtqReader *reader, AtqReference *reference)
{
	AtqSpan		proxy_type = {NULL, 0};
	int			i;

	for (i = 0; i < 3; i++)
	{
		AtqToken	name;
		bool		good;

		atq_msgpack_next(reader, &name);
		if (atq_token_is(&name, "__type__"))
			good = read_text(reader, &proxy_type) &&
				atq_text_is(proxy_type, PROXY_TYPE);
		else if (atq_token_is(&name, "model_class"))
			good = read_text(reader, &reference->class_name);
		else
			good = atq_token_is(&name, "pk") &&
				read_key(reader, &reference->key);
		if (!good)
			return false;
	}
	reference->orm = "tortoise";
	return proxy_type.data && reference->class_name.data &&
		reference->key.data;
}

/* The marker and a map. */
static bool
match_set(AtqReader *reader, AtqReference *reference)
{
	AtqReader	value;
	AtqToken	token;

	atq_msgpack_next(reader, &token);
	if (!atq_token_is(&token, SET_MARKER))
		return false;
	value = *reader;
	atq_msgpack_next(&value, &token);
	if (token.kind != ATQ_TOKEN_MAP)
		return false;
	reference->set = atq_msgpack_skip(reader);
	return true;
}

/* The ORM a marker names, or NULL. */
static const char *
find_orm(const AtqToken *name)
{
	if (atq_token_is(name, "__orm:sqlalchemy__"))
		return "sqlalchemy";
	if (atq_token_is(name, "__orm:django__"))
		return "django";
	if (atq_token_is(name, "__orm:tortoise__"))
		return "tortoise";
	if (atq_token_is(name, "__orm:postgres__"))
		return "postgres";
	return NULL;
}

/* Reads a str; false when the next token is none. */
static bool
read_text(AtqReader *reader, AtqSpan *text)
{
	AtqToken	token;

	atq_msgpack_next(reader, &token);
	if (token.kind != ATQ_TOKEN_STR)
		return false;
	*text = token.v.bytes;
	return true;
}

/* Reads a scalar or an array of scalars; false when there is neither. */
static bool
read_key(AtqReader *reader, AtqSpan *key)
{
	Size		start = reader->off;
	AtqToken	token;
	uint32		columns;

	atq_msgpack_next(reader, &token);
	if (token.kind == ATQ_TOKEN_MAP)
		return false;
	if (token.kind == ATQ_TOKEN_ARRAY)
	{
		for (columns = token.count; columns > 0; columns--)
		{
			CHECK_FOR_INTERRUPTS();
			atq_msgpack_next(reader, &token);
			if (is_container(&token))
				return false;
		}
	}
	key->data = reader->data + start;
	key->len = reader->off - start;
	return true;
}

static bool
is_container(const AtqToken *token)
{
	return token->kind == ATQ_TOKEN_ARRAY || token->kind == ATQ_TOKEN_MAP;
}
