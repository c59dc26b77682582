/*-------------------------------------------------------------------------
 *
 * queryarg.c
 *	  Query sets as arguments of tasks.
 *
 * A query set is run when its argument is decoded, each by itself: what it
 * gives is as fresh as the rows of references.  For a parameter of its own
 * type it is only checked; the handler runs it, or does not.
 *
 * It is the dispatcher who has made it.  Its statement has the rights of the
 * current user, the handler's role, and what it may call is limited where the
 * model is not that role's to trust (store/trust.h).  It may not name a server:
 * who can make a table of the model's name on any that the role may use would
 * have his code run there as the role's user.  The handler's lock is for
 * references: it does not say what rows of a query set are locked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "query/run.h"
#include "store/trust.h"
#include "task/queryarg.h"

/* Elements of a jsonb[] under way. */
typedef struct Elements
{
	ArrayBuildState *state;
	MemoryContext context;
} Elements;

typedef Datum (*Reader) (const AtqQuerySet *set, const AtqTypeInfo *type);

static Datum read_guarded(const AtqReference *reference, Reader read,
						  const AtqTypeInfo *type);
static Datum read_itself(const AtqQuerySet *set, const AtqTypeInfo *type);
static Datum read_rows(const AtqQuerySet *set, const AtqTypeInfo *type);
static Datum read_elements(const AtqQuerySet *set, const AtqTypeInfo *type);
static bool add_element(Jsonb *row, void *arg);
static Datum read_list(const AtqQuerySet *set, const AtqTypeInfo *type);
static void refuse_type(const AtqModel *model, const AtqTypeInfo *type)
			atq_noreturn;

Datum
atq_queryarg_value(const AtqReference *reference, const AtqTypeInfo *type)
{
	if (type->base_type == atq_queryset_type())
		return read_guarded(reference, read_itself, type);
	if (type->element != NULL && type->element->kind == TYPTYPE_COMPOSITE)
		return read_guarded(reference, read_rows, type);
	if (type->element_type == JSONBOID)
		return read_guarded(reference, read_elements, type);
	refuse_type(NULL, type);
}

Jsonb *
atq_queryarg_json(const AtqReference *reference)
{
	return DatumGetJsonbP(read_guarded(reference, read_list, NULL));
}

/* Reads what the set gives; a guard that this turns on is off again after it. */
static Datum
read_guarded(const AtqReference *reference, Reader read,
			 const AtqTypeInfo *type)
{
	const AtqQuerySet *set = atq_queryset_read(atq_json_literal(reference->set));
	const AtqModel *before = atq_trust_guarded();
	Datum		result;

	if (set->server != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("query set of \"%s\" in an argument must not name a server",
						set->class_name),
				 errhint("Have the handler call asynctasq.using(), or register the model with asynctasq.register_model(..., server => ...).")));
	PG_TRY();
	{
		result = read(set, type);
	}
	PG_FINALLY();
	{
		atq_trust_guard(before);
	}
	PG_END_TRY();
	return result;
}

static Datum
read_itself(const AtqQuerySet *set, const AtqTypeInfo *type)
{
	return JsonbPGetDatum(atq_queryset_write(set));
}

/* An array of the model's row type. */
static Datum
read_rows(const AtqQuerySet *set, const AtqTypeInfo *type)
{
	AtqQuery   *query = atq_query_compile(set, ATQ_QUERY_ROWS);
	const AtqModel *model = query->model->model;

	if (get_rel_type_id(model->relation) != type->element_type)
		refuse_type(model, type);
	return atq_query_array(query);
}

/* An array of JSON values, one for each row. */
static Datum
read_elements(const AtqQuerySet *set, const AtqTypeInfo *type)
{
	AtqQuery   *query = atq_query_compile(set, ATQ_QUERY_OBJECTS);
	Elements	elements = {NULL, CurrentMemoryContext};

	elements.state = initArrayResult(JSONBOID, CurrentMemoryContext, false);
	atq_query_each(query, add_element, &elements);
	return makeArrayResult(elements.state, CurrentMemoryContext);
}

static bool
add_element(Jsonb *row, void *arg)
{
	Elements   *elements = arg;

	(void) accumArrayResult(elements->state, JsonbPGetDatum(row), false,
							JSONBOID, elements->context);
	return true;
}

static Datum
read_list(const AtqQuerySet *set, const AtqTypeInfo *type)
{
	AtqQuery   *query = atq_query_compile(set, ATQ_QUERY_OBJECTS);

	return JsonbPGetDatum(atq_query_list(query));
}

static void
refuse_type(const AtqModel *model, const AtqTypeInfo *type)
{
	if (model != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a query set of model \"%s\" is rows of type %s, not %s",
						model->class_name,
						format_type_be(get_rel_type_id(model->relation)),
						format_type_be(type->element_type))));
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("cannot convert a query set to type %s",
					format_type_be(type->type)),
			 errhint("Take it as an array of the table's row type, as jsonb, or as asynctasq.queryset.")));
}
