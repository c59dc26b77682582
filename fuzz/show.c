/*-------------------------------------------------------------------------
 *
 * show.c
 *	  What the codec makes of files, for fuzz/compare.
 *
 * Reads file names from standard input, a line each, and writes for each a
 * line with the file's tagged JSON, or "-" when its bytes are refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "wire/jsonform.h"

#include "server.h"

typedef struct Show
{
	AtqSpan		input;
	StringInfoData json;
} Show;

static void show_step(void *arg);
static AtqSpan read_file(const char *name);

int
main(void)
{
	char		name[MAXPGPATH];

	while (fgets(name, sizeof(name), stdin))
	{
		Show		show;
		FuzzError	error;

		name[strcspn(name, "\n")] = '\0';
		show.input = read_file(name);
		puts(fuzz_call(show_step, &show, &error) ? show.json.data : "-");
		fuzz_release();
	}
	return 0;
}

static void
show_step(void *arg)
{
	Show	   *show = arg;

	atq_msgpack_check(show->input);
	initStringInfo(&show->json);
	atq_json_print(&show->json, show->input);
}

/* The bytes are released with what was palloc'd. */
static AtqSpan
read_file(const char *name)
{
	FILE	   *file = fopen(name, "rb");
	AtqSpan		bytes;
	char	   *data;
	long		size;

	if (!file || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
		fuzz_fail("cannot read \"%s\"", name);
	rewind(file);
	data = palloc(size);
	bytes.data = data;
	bytes.len = fread(data, 1, size, file);
	fclose(file);
	return bytes;
}
