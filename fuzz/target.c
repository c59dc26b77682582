/*-------------------------------------------------------------------------
 *
 * target.c
 *	  What must hold for any bytes, as a libFuzzer target.
 *
 * The input is taken as MessagePack and then as JSON text:
 *
 *	- bytes are refused with one of the documented codes, or accepted;
 *	- what is accepted is one value, and no beginning of it is accepted;
 *	- its JSON text is always written, and gives bytes that are accepted and
 *	  have the same JSON text; from then on bytes and text stay the same;
 *	- its Jsonb, tagged and plain, is as utils/jsonb.h describes it, unless it
 *	  has no plain form;
 *	- every reference found lies within the value and is found again;
 *	- JSON text is refused with one of the documented codes, or gives bytes
 *	  of which the same holds;
 *	- memory stays in proportion to the input.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "wire/jsonform.h"
#include "wire/marker.h"
#include "wire/reference.h"
#include "wire/text.h"

#include "server.h"

/* All that may be palloc'd for an input of len bytes. */
#define MAX_MEMORY(len)		(256 * 1024 + 1024 * (len))

/* Inputs up to this size are cut at every byte, longer ones at one. */
#define CUT_EVERYWHERE		24

/* A step: from bytes to bytes. */
typedef struct Step
{
	AtqSpan		input;
	StringInfoData output;
	Jsonb	   *json;
	uint64		references;
} Step;

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static void check_step(void *arg);
static void print_step(void *arg);
static void text_step(void *arg);
static void tagged_step(void *arg);
static void plain_step(void *arg);
static void pack_step(void *arg);
static void walk_step(void *arg);
static void walk_value(AtqReader *reader);
static void scan_step(void *arg);
static void visit(const AtqReference *reference, void *arg);
static AtqSpan must(const char *what, void (*step) (void *), AtqSpan input);
static bool is_accepted(AtqSpan bytes);
static void check_accepted(AtqSpan bytes);
static void check_text(AtqSpan bytes);
static void check_jsonb(AtqSpan bytes);
static void check_container(const char *data, Size len);
static void check_item(JEntry type, const char *data, Size len);
static void check_cut(AtqSpan bytes, Size len);
static void check_json(AtqSpan text);
static bool is_same(AtqSpan a, AtqSpan b);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	AtqSpan		bytes = {(const char *) data, size};

	if (is_accepted(bytes))
		check_accepted(bytes);
	check_json(bytes);

	if (fuzz_peak() > MAX_MEMORY(size))
		fuzz_fail("%zu bytes were palloc'd for %zu", fuzz_peak(), size);
	fuzz_release();
	return 0;
}

static void
check_step(void *arg)
{
	Step	   *step = arg;

	atq_msgpack_check(step->input);
}

static void
print_step(void *arg)
{
	Step	   *step = arg;

	initStringInfo(&step->output);
	atq_json_print(&step->output, step->input);
}

static void
text_step(void *arg)
{
	Step	   *step = arg;

	initStringInfo(&step->output);
	atq_json_text(&step->output, step->input);
}

static void
tagged_step(void *arg)
{
	Step	   *step = arg;

	step->json = atq_json_tagged(step->input);
}

static void
plain_step(void *arg)
{
	Step	   *step = arg;

	step->json = atq_json_plain(step->input, NULL, NULL);
}

static void
pack_step(void *arg)
{
	Step	   *step = arg;

	initStringInfo(&step->output);
	atq_json_pack_text(&step->output, step->input.data, step->input.len);
}

/* Reads the value with dict markers taken as what they stand for. */
static void
walk_step(void *arg)
{
	Step	   *step = arg;
	AtqReader	reader;

	atq_msgpack_open(&reader, step->input);
	walk_value(&reader);
	if (reader.off != reader.len)
		fuzz_fail("a walk ends at byte %zu of %zu", reader.off, reader.len);
}

static void
walk_value(AtqReader *reader)
{
	AtqToken	token;
	uint64		items = 0;

	atq_marker_next(reader, &token);
	atq_marker_enter_set(reader, &token);
	if (token.kind == ATQ_TOKEN_ARRAY)
		items = token.count;
	else if (token.kind == ATQ_TOKEN_MAP)
		items = 2 * (uint64) token.count;
	for (; items > 0; items--)
		walk_value(reader);
}

static void
scan_step(void *arg)
{
	Step	   *step = arg;

	atq_reference_scan(step->input, visit, step);
}

static void
visit(const AtqReference *reference, void *arg)
{
	Step	   *step = arg;
	const char *end = step->input.data + step->input.len;
	AtqReference again;

	if (reference->set.data != NULL)
	{
		if (reference->set.data < step->input.data ||
			reference->set.data + reference->set.len != reference->whole.data + reference->whole.len ||
			reference->whole.data + reference->whole.len > end)
			fuzz_fail("a query set lies outside its value");
		if (!is_accepted(reference->set))
			fuzz_fail("a query set is no value");
		step->references++;
		return;
	}
	if (reference->whole.data < step->input.data ||
		reference->whole.data + reference->whole.len > end ||
		reference->key.data < reference->whole.data ||
		reference->key.data + reference->key.len > end ||
		reference->class_name.data + reference->class_name.len > end)
		fuzz_fail("a reference lies outside its value");
	if (!atq_reference_match(reference->whole, &again) ||
		!is_same(again.key, reference->key) ||
		!is_same(again.class_name, reference->class_name))
		fuzz_fail("a reference is not found again");
	if (!is_accepted(reference->key))
		fuzz_fail("a reference's key is no value");
	step->references++;
}

/* A step that must not throw; returns its output. */
static AtqSpan
must(const char *what, void (*function) (void *), AtqSpan input)
{
	Step		step = {input};
	FuzzError	error;
	AtqSpan		output;

	if (!fuzz_call(function, &step, &error))
		fuzz_fail("%s: %s", what, error.message);
	output.data = step.output.data;
	output.len = step.output.len;
	return output;
}

static bool
is_accepted(AtqSpan bytes)
{
	Step		step = {bytes};
	FuzzError	error;

	if (fuzz_call(check_step, &step, &error))
		return true;
	if (error.code != ERRCODE_INVALID_BINARY_REPRESENTATION &&
		error.code != ERRCODE_CHARACTER_NOT_IN_REPERTOIRE &&
		error.code != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		fuzz_fail("refused with %d: %s", error.code, error.message);
	return false;
}

static void
check_accepted(AtqSpan bytes)
{
	AtqReader	reader;
	AtqSpan		json;
	AtqSpan		packed;
	AtqSpan		printed;

	atq_msgpack_open(&reader, bytes);
	if (atq_msgpack_skip(&reader).len != bytes.len)
		fuzz_fail("a value is shorter than what was checked");

	if (bytes.len <= CUT_EVERYWHERE)
		for (Size len = 0; len < bytes.len; len++)
			check_cut(bytes, len);
	else
		check_cut(bytes, bytes.len * (unsigned char) bytes.data[bytes.len / 2] / 256);

	(void) must("walking", walk_step, bytes);
	(void) must("scanning for references", scan_step, bytes);
	check_text(bytes);
	check_jsonb(bytes);
	json = must("writing JSON", print_step, bytes);
	packed = must("packing JSON", pack_step, json);
	if (!is_accepted(packed))
		fuzz_fail("the JSON of a value makes bytes that are refused");
	printed = must("writing JSON again", print_step, packed);
	if (!is_same(json, printed))
		fuzz_fail("JSON differs: %.*s and %.*s", (int) json.len, json.data,
				  (int) printed.len, printed.data);
	if (!is_same(packed, must("packing JSON again", pack_step, printed)))
		fuzz_fail("bytes differ after the second time");
}

/* What ->> gives; SQL text cannot hold U+0000. */
static void
check_text(AtqSpan bytes)
{
	Step		step = {bytes};
	FuzzError	error;

	if (!fuzz_call(text_step, &step, &error) &&
		error.code != ERRCODE_UNTRANSLATABLE_CHARACTER)
		fuzz_fail("writing as text: %s", error.message);
}

static void
check_jsonb(AtqSpan bytes)
{
	Step		step = {bytes};
	FuzzError	error;

	if (!fuzz_call(tagged_step, &step, &error))
		fuzz_fail("making tagged Jsonb: %s", error.message);
	check_container((char *) &step.json->root, VARSIZE(step.json) - VARHDRSZ);
	if (fuzz_call(plain_step, &step, &error))
		check_container((char *) &step.json->root,
						VARSIZE(step.json) - VARHDRSZ);
	else if (error.code != ERRCODE_DUPLICATE_JSON_OBJECT_KEY_VALUE &&
			 error.code != ERRCODE_UNTRANSLATABLE_CHARACTER)
		fuzz_fail("making plain Jsonb: %s", error.message);
}

/* A container that takes just so many bytes. */
static void
check_container(const char *data, Size len)
{
	const JsonbContainer *container = (const JsonbContainer *) data;
	uint32		count = JsonContainerSize(container);
	uint32		keys = JsonContainerIsObject(container) ? count : 0;
	const char *items = (const char *) &container->children[count + keys];
	Size		offset = 0;
	AtqSpan		key = {NULL, 0};

	for (uint32 i = 0; i < count + keys; i++)
	{
		JEntry		entry = container->children[i];
		Size		start = offset;
		AtqSpan		next;

		if (JBE_HAS_OFF(entry) != (i % JB_OFFSET_STRIDE == 0))
			fuzz_fail("entry %u of %u has %x", i, count + keys, entry);
		offset = JBE_OFFLENFLD(entry) + (JBE_HAS_OFF(entry) ? 0 : start);
		if (offset < start || items + offset > data + len)
			fuzz_fail("entry %u ends at %zu", i, offset);
		check_item(entry & JENTRY_TYPEMASK, items + start, offset - start);
		if (i >= keys)
			continue;
		next.data = items + start;
		next.len = offset - start;
		if (!JBE_ISSTRING(entry) ||
			(i > 0 && (next.len < key.len ||
					   (next.len == key.len &&
						memcmp(next.data, key.data, key.len) <= 0))))
			fuzz_fail("key %u is out of order", i);
		key = next;
	}
	if (items + offset != data + len)
		fuzz_fail("a container of %zu bytes ends at %zu", len,
				  (Size) (items + offset - data));
}

static void
check_item(JEntry type, const char *data, Size len)
{
	const char *aligned = (const char *) INTALIGN(data);

	if (type == JENTRY_ISCONTAINER)
		check_container(aligned, data + len - aligned);
	else if (type == JENTRY_ISNUMERIC)
	{
		if (VARSIZE(aligned) != data + len - aligned)
			fuzz_fail("a number of %zu bytes has %u", len, VARSIZE(aligned));
	}
	else if (type != JENTRY_ISSTRING && len != 0)
		fuzz_fail("an item without data has %zu bytes", len);
}

/* The copy ends where the bytes do, for the address sanitizer to see. */
static void
check_cut(AtqSpan bytes, Size len)
{
	char	   *copy = palloc(len);
	AtqSpan		cut = {memcpy(copy, bytes.data, len), len};

	if (is_accepted(cut))
		fuzz_fail("%zu of %zu bytes are accepted", len, bytes.len);
	pfree(copy);
}

static void
check_json(AtqSpan text)
{
	Step		step = {text};
	FuzzError	error;
	AtqSpan		bytes;

	/* input functions and casts get text that the server has verified */
	if (atq_text_verify(text) < text.len ||
		memchr(text.data, '\0', text.len) != NULL)
		return;

	if (!fuzz_call(pack_step, &step, &error))
	{
		if (error.code != ERRCODE_INVALID_TEXT_REPRESENTATION &&
			error.code != ERRCODE_UNTRANSLATABLE_CHARACTER &&
			error.code != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			error.code != ERRCODE_STATEMENT_TOO_COMPLEX)
			fuzz_fail("JSON is refused with %d: %s", error.code,
					  error.message);
		return;
	}
	bytes.data = step.output.data;
	bytes.len = step.output.len;
	if (is_accepted(bytes))
		check_accepted(bytes);
}

static bool
is_same(AtqSpan a, AtqSpan b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
