/*-------------------------------------------------------------------------
 *
 * jsonbwrite.c
 *	  Writing Jsonb from left to right.
 *
 * The server makes Jsonb of a tree of JsonbValues, which takes several times
 * the memory of the value, and is deaf to interrupts while it converts it.
 * Here the bytes of the format (utils/jsonb.h) are written as the items come:
 * how many a container has is known before, so that its entries can be
 * reserved in front of them.  What is written is, byte for byte, what the
 * server writes.
 *
 * A value's size is limited by what an entry can say of it, the same at each
 * level, so that one check (make_room) serves all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "wire/jsonbwrite.h"

struct AtqJsonbLevel
{
	uint32		header;			/* as it will be written */
	uint32		entries;		/* items, or keys and values */
	uint32		count;			/* of them, those that have come */
	int			start;			/* where it begins, what pads it included */
	int			head;			/* where its header is */
};

static void begin(AtqJsonbWriter *writer, uint32 header, Size entries);
static AtqJsonbLevel *top(AtqJsonbWriter *writer);
static void put(AtqJsonbWriter *writer, JEntry type, const void *data,
				Size len);
static void note_item(AtqJsonbWriter *writer, JEntry type, int start);
static void align(AtqJsonbWriter *writer);
static char *make_room(AtqJsonbWriter *writer, Size len);
static void put_value(AtqJsonbWriter *writer, const JsonbValue *value);
static AtqSpan string_of(const JsonbValue *value);

void
atq_jsonb_open(AtqJsonbWriter *writer)
{
	initStringInfo(&writer->data);
	writer->data.len = VARHDRSZ;
	writer->depth = 0;
	writer->max_depth = 8;
	writer->levels = palloc(writer->max_depth * sizeof(AtqJsonbLevel));
}

Jsonb *
atq_jsonb_close(AtqJsonbWriter *writer)
{
	Jsonb	   *json = (Jsonb *) writer->data.data;

	Assert(writer->depth == 0 && writer->data.len > VARHDRSZ);
	pfree(writer->levels);
	SET_VARSIZE(json, writer->data.len);
	return json;
}

void
atq_jsonb_begin_array(AtqJsonbWriter *writer, uint32 items)
{
	begin(writer, JB_FARRAY | items, items);
}

void
atq_jsonb_begin_object(AtqJsonbWriter *writer, uint32 pairs)
{
	begin(writer, JB_FOBJECT | pairs, (Size) pairs * 2);
}

/* Entries without items would say what the memory held before. */
void
atq_jsonb_end(AtqJsonbWriter *writer)
{
	AtqJsonbLevel *level = top(writer);

	CHECK_FOR_INTERRUPTS();
	if (level->count != level->entries)
		elog(ERROR, "jsonb container of %u items has %u",
			 level->entries, level->count);
	memcpy(writer->data.data + level->head, &level->header, sizeof(uint32));
	if (--writer->depth > 0)
		note_item(writer, JENTRY_ISCONTAINER, level->start);
}

/* The server's order of keys (lengthCompareJsonbString). */
int
atq_jsonb_compare(AtqSpan a, AtqSpan b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return memcmp(a.data, b.data, a.len);
}

void
atq_jsonb_string(AtqJsonbWriter *writer, AtqSpan string)
{
	put(writer, JENTRY_ISSTRING, string.data, string.len);
}

void
atq_jsonb_numeric(AtqJsonbWriter *writer, Numeric number)
{
	put(writer, JENTRY_ISNUMERIC, number, VARSIZE_ANY(number));
}

void
atq_jsonb_bool(AtqJsonbWriter *writer, bool value)
{
	put(writer, value ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE, NULL, 0);
}

void
atq_jsonb_null(AtqJsonbWriter *writer)
{
	put(writer, JENTRY_ISNULL, NULL, 0);
}

void
atq_jsonb_put(AtqJsonbWriter *writer, Jsonb *json)
{
	JsonbValue	value;

	if (JsonbExtractScalar(&json->root, &value))
		put_value(writer, &value);
	else
		put(writer, JENTRY_ISCONTAINER, &json->root,
			VARSIZE(json) - VARHDRSZ);
}

Jsonb *
atq_jsonb_make(const JsonbValue *value)
{
	AtqJsonbWriter writer;

	atq_jsonb_open(&writer);
	put_value(&writer, value);
	return atq_jsonb_close(&writer);
}

/* Opens a container, with room for its header and entries. */
static void
begin(AtqJsonbWriter *writer, uint32 header, Size entries)
{
	AtqJsonbLevel *level;
	int			start = writer->data.len;

	if (writer->depth == writer->max_depth)
	{
		writer->max_depth *= 2;
		writer->levels = repalloc(writer->levels,
								  writer->max_depth * sizeof(AtqJsonbLevel));
	}
	level = &writer->levels[writer->depth++];
	align(writer);
	level->header = header;
	level->entries = (uint32) entries;
	level->count = 0;
	level->start = start;
	level->head = writer->data.len;
	(void) make_room(writer, sizeof(uint32) + entries * sizeof(JEntry));
}

static AtqJsonbLevel *
top(AtqJsonbWriter *writer)
{
	Assert(writer->depth > 0);
	return &writer->levels[writer->depth - 1];
}

/* Appends an item; a scalar that stands alone is in an array that says so. */
static void
put(AtqJsonbWriter *writer, JEntry type, const void *data, Size len)
{
	bool		alone = writer->depth == 0 && type != JENTRY_ISCONTAINER;
	int			start;

	if (alone)
		begin(writer, JB_FARRAY | JB_FSCALAR | 1, 1);
	start = writer->data.len;
	if (type == JENTRY_ISNUMERIC || type == JENTRY_ISCONTAINER)
		align(writer);
	if (len > 0)
		memcpy(make_room(writer, len), data, len);
	if (writer->depth > 0)
		note_item(writer, type, start);
	if (alone)
		atq_jsonb_end(writer);
}

/*
 * Writes the entry of the item that was appended last, from start on, what
 * pads it included.  Most entries have a length, some where the item ends, as
 * in convertJsonbArray().
 */
static void
note_item(AtqJsonbWriter *writer, JEntry type, int start)
{
	AtqJsonbLevel *level = top(writer);
	int			entries = level->head + sizeof(uint32);
	uint32		i = level->count++;
	JEntry		entry;

	if (i >= level->entries)
		elog(ERROR, "jsonb container of %u items has more", level->entries);
	if (i % JB_OFFSET_STRIDE == 0)
		entry = type | JENTRY_HAS_OFF |
			(writer->data.len - entries - level->entries * sizeof(JEntry));
	else
		entry = type | (writer->data.len - start);
	memcpy(writer->data.data + entries + i * sizeof(JEntry), &entry,
		   sizeof(JEntry));
}

static void
align(AtqJsonbWriter *writer)
{
	Size		pad = INTALIGN(writer->data.len) - writer->data.len;

	if (pad > 0)
		memset(make_room(writer, pad), 0, pad);
}

/* Appends so many bytes, for the caller to set. */
static char *
make_room(AtqJsonbWriter *writer, Size len)
{
	StringInfo	data = &writer->data;
	char	   *room;

	if (len > JENTRY_OFFLENMASK - (Size) (data->len - VARHDRSZ))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("jsonb value exceeds the maximum of %u bytes",
						JENTRY_OFFLENMASK)));
	enlargeStringInfo(data, (int) len);
	room = data->data + data->len;
	data->len += (int) len;
	return room;
}

static void
put_value(AtqJsonbWriter *writer, const JsonbValue *value)
{
	check_stack_depth();
	switch (value->type)
	{
		case jbvNull:
			atq_jsonb_null(writer);
			break;
		case jbvBool:
			atq_jsonb_bool(writer, value->val.boolean);
			break;
		case jbvNumeric:
			atq_jsonb_numeric(writer, value->val.numeric);
			break;
		case jbvString:
			atq_jsonb_string(writer, string_of(value));
			break;
		case jbvArray:
			Assert(!value->val.array.rawScalar);
			atq_jsonb_begin_array(writer, value->val.array.nElems);
			for (int i = 0; i < value->val.array.nElems; i++)
			{
				CHECK_FOR_INTERRUPTS();
				put_value(writer, &value->val.array.elems[i]);
			}
			atq_jsonb_end(writer);
			break;
		case jbvObject:
			atq_jsonb_begin_object(writer, value->val.object.nPairs);
			for (int i = 0; i < value->val.object.nPairs; i++)
			{
				CHECK_FOR_INTERRUPTS();
				atq_jsonb_string(writer,
								 string_of(&value->val.object.pairs[i].key));
			}
			for (int i = 0; i < value->val.object.nPairs; i++)
			{
				CHECK_FOR_INTERRUPTS();
				put_value(writer, &value->val.object.pairs[i].value);
			}
			atq_jsonb_end(writer);
			break;
		case jbvBinary:
			put(writer, JENTRY_ISCONTAINER, value->val.binary.data,
				value->val.binary.len);
			break;
		default:
			elog(ERROR, "unexpected type of jsonb value: %d", value->type);
	}
}

static AtqSpan
string_of(const JsonbValue *value)
{
	AtqSpan		string = {value->val.string.val, value->val.string.len};

	return string;
}
