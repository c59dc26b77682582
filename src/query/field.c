/*-------------------------------------------------------------------------
 *
 * field.c
 *	  Fields of models: columns, relations, and values for them.
 *
 * Foreign keys of a relation are in its relcache entry; those that refer to it
 * are found by the triggers that they have put on it.
 *
 * Scalars are read by the input function of their type, everything else by
 * jsonb_populate_record() as the only column of a record, which knows arrays,
 * rows and domains.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "query/field.h"
#include "query/queryset.h"

/* Farther than this no name is near. */
#define MAX_DISTANCE	3

static bool is_partition_copy(const ForeignKeyCacheInfo *key);
static bool is_validated(Oid constraint);
static char *forward_name(Relation rel, const ForeignKeyCacheInfo *key);
static AtqFieldRelation *find_forward(Relation rel, const char *name);
static AtqFieldRelation *make_forward(Relation rel, const char *name,
									  const ForeignKeyCacheInfo *key);
static AtqFieldRelation *find_back(Relation rel, const char *name);
static List *keys_to(Relation rel);
static char *full_back_name(const ForeignKeyCacheInfo *key);
static AtqFieldRelation *make_back(const char *name,
								   const ForeignKeyCacheInfo *key);
static bool is_unique(Oid relation, const ForeignKeyCacheInfo *key);
static bool index_within(Relation index, const ForeignKeyCacheInfo *key);
static ForeignKeyCacheInfo *read_key(Oid constraint);
static void refuse_ambiguous(Relation rel, const char *name,
							 const char *hint) atq_noreturn;
static List *all_names(Relation rel);
static Datum read_value(const JsonbValue *json, Oid type, int32 typmod,
						bool *isnull);
static char *scalar_text(const JsonbValue *json);
static Datum populate(const JsonbValue *json, Oid type, int32 typmod,
					  bool *isnull);
static void report_value(void *arg);

AttrNumber
atq_field_column(Relation rel, const char *name)
{
	AttrNumber	column = get_attnum(RelationGetRelid(rel), name);

	return column > 0 ? column : InvalidAttrNumber;
}

List *
atq_field_foreign_keys(Relation rel)
{
	List	   *keys = copyObject(RelationGetFKeyList(rel));
	ListCell   *lc;

	foreach(lc, keys)
	{
		if (is_partition_copy(lfirst(lc)))
			keys = foreach_delete_current(keys, lc);
	}
	return keys;
}

/*
 * A key to a partitioned table has, beside itself, one of the same relation
 * for each partition.
 */
static bool
is_partition_copy(const ForeignKeyCacheInfo *key)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID,
										ObjectIdGetDatum(key->conoid));
	HeapTuple	parent;
	Oid			parent_oid;
	bool		copy;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", key->conoid);
	parent_oid = ((Form_pg_constraint) GETSTRUCT(tuple))->conparentid;
	ReleaseSysCache(tuple);
	if (!OidIsValid(parent_oid))
		return false;
	parent = SearchSysCache1(CONSTROID, ObjectIdGetDatum(parent_oid));
	if (!HeapTupleIsValid(parent))
		elog(ERROR, "cache lookup failed for constraint %u", parent_oid);
	copy = ((Form_pg_constraint) GETSTRUCT(parent))->conrelid == key->conrelid;
	ReleaseSysCache(parent);
	return copy;
}

static bool
is_validated(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID,
										ObjectIdGetDatum(constraint));
	bool		validated;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	validated = ((Form_pg_constraint) GETSTRUCT(tuple))->convalidated;
	ReleaseSysCache(tuple);
	return validated;
}

AtqFieldRelation *
atq_field_relation(Relation rel, const char *name)
{
	AtqFieldRelation *relation = find_forward(rel, name);

	return relation != NULL ? relation : find_back(rel, name);
}

/* What a foreign key is called where it is; palloc'd. */
static char *
forward_name(Relation rel, const ForeignKeyCacheInfo *key)
{
	const char *column;
	Size		len;

	if (key->nkeys > 1)
		return get_rel_name(key->confrelid);
	column = NameStr(TupleDescAttr(RelationGetDescr(rel),
								   key->conkey[0] - 1)->attname);
	len = strlen(column);
	if (len > 3 && strcmp(column + len - 3, "_id") == 0)
		len -= 3;
	return pnstrdup(column, len);
}

static AtqFieldRelation *
find_forward(Relation rel, const char *name)
{
	List	   *keys = atq_field_foreign_keys(rel);
	ForeignKeyCacheInfo *found = NULL;
	ListCell   *lc;

	foreach(lc, keys)
	{
		ForeignKeyCacheInfo *key = lfirst(lc);
		char	   *candidate = forward_name(rel, key);

		if (candidate == NULL || strcmp(candidate, name) != 0)
			continue;
		if (found != NULL)
			refuse_ambiguous(rel, name, NULL);
		found = key;
	}
	return found == NULL ? NULL : make_forward(rel, name, found);
}

static AtqFieldRelation *
make_forward(Relation rel, const char *name, const ForeignKeyCacheInfo *key)
{
	AtqFieldRelation *relation = palloc0(sizeof(AtqFieldRelation));

	relation->name = pstrdup(name);
	relation->forward = true;
	relation->optional = !is_validated(key->conoid);
	relation->other = key->confrelid;
	relation->nkeys = key->nkeys;
	for (int i = 0; i < key->nkeys; i++)
	{
		relation->from[i] = key->conkey[i];
		relation->to[i] = key->confkey[i];
		relation->operators[i] = key->conpfeqop[i];
		if (!TupleDescAttr(RelationGetDescr(rel),
						   key->conkey[i] - 1)->attnotnull)
			relation->optional = true;
	}
	return relation;
}

/*
 * By the name of the table that refers to this one, if it does so once, or by
 * that name and the foreign key's own.
 */
static AtqFieldRelation *
find_back(Relation rel, const char *name)
{
	ForeignKeyCacheInfo *by_table = NULL;
	ForeignKeyCacheInfo *by_both = NULL;
	char	   *full_name = NULL;
	int			ntables = 0;
	ListCell   *lc;

	foreach(lc, keys_to(rel))
	{
		ForeignKeyCacheInfo *key = lfirst(lc);
		char	   *table = get_rel_name(key->conrelid);
		char	   *both;

		if (table == NULL || strncmp(name, table, strlen(table)) != 0)
			continue;
		both = full_back_name(key);
		if (strcmp(name, table) == 0)
		{
			by_table = key;
			full_name = both;
			ntables++;
		}
		else if (strcmp(name, both) == 0)
		{
			if (by_both != NULL)
				refuse_ambiguous(rel, name, NULL);
			by_both = key;
		}
	}
	if (ntables == 1)
		return make_back(name, by_table);
	if (ntables > 1)
		refuse_ambiguous(rel, name, full_name);
	return by_both == NULL ? NULL : make_back(name, by_both);
}

/* The foreign keys that refer to a relation; of ForeignKeyCacheInfo *. */
static List *
keys_to(Relation rel)
{
	List	   *constraints = NIL;
	List	   *keys = NIL;
	ListCell   *lc;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_PK)
			constraints = list_append_unique_oid(constraints,
												 trigger->tgconstraint);
	}
	foreach(lc, constraints)
	{
		ForeignKeyCacheInfo *key = read_key(lfirst_oid(lc));

		if (key != NULL)
			keys = lappend(keys, key);
	}
	return keys;
}

static ForeignKeyCacheInfo *
read_key(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID,
										ObjectIdGetDatum(constraint));
	ForeignKeyCacheInfo *key;
	Form_pg_constraint form;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	key = makeNode(ForeignKeyCacheInfo);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	key->conoid = form->oid;
	key->conrelid = form->conrelid;
	key->confrelid = form->confrelid;
	DeconstructFkConstraintRow(tuple, &key->nkeys, key->conkey, key->confkey,
							   key->conpfeqop, NULL, NULL, NULL, NULL);
	ReleaseSysCache(tuple);
	return key;
}

/* "comment_author"; palloc'd. */
static char *
full_back_name(const ForeignKeyCacheInfo *key)
{
	Relation	other = relation_open(key->conrelid, AccessShareLock);
	char	   *name = psprintf("%s_%s", RelationGetRelationName(other),
								forward_name(other, key));

	relation_close(other, NoLock);
	return name;
}

static AtqFieldRelation *
make_back(const char *name, const ForeignKeyCacheInfo *key)
{
	AtqFieldRelation *relation = palloc0(sizeof(AtqFieldRelation));

	relation->name = pstrdup(name);
	relation->many = !is_unique(key->conrelid, key);
	relation->optional = true;
	relation->other = key->conrelid;
	relation->nkeys = key->nkeys;
	memcpy(relation->from, key->confkey, key->nkeys * sizeof(AttrNumber));
	memcpy(relation->to, key->conkey, key->nkeys * sizeof(AttrNumber));
	memcpy(relation->operators, key->conpfeqop, key->nkeys * sizeof(Oid));
	return relation;
}

/* True when no two rows of the referring relation can have the same key. */
static bool
is_unique(Oid relation, const ForeignKeyCacheInfo *key)
{
	Relation	rel = relation_open(relation, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	bool		unique = false;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisunique && index->rd_index->indimmediate &&
			index->rd_index->indisvalid && index_within(index, key))
			unique = true;
		index_close(index, AccessShareLock);
	}
	relation_close(rel, NoLock);
	return unique;
}

/* True when the index is on columns of the foreign key alone, all of them. */
static bool
index_within(Relation index, const ForeignKeyCacheInfo *key)
{
	if (!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	column = index->rd_index->indkey.values[i];
		bool		within = false;

		for (int j = 0; j < key->nkeys; j++)
			within = within || key->conkey[j] == column;
		if (!within)
			return false;
	}
	return true;
}

static void
refuse_ambiguous(Relation rel, const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_COLUMN),
			 errmsg("relation \"%s\" of table \"%s\" is ambiguous", name,
					RelationGetRelationName(rel)),
			 errdetail("Several foreign keys give it that name."),
			 hint == NULL ? 0 :
			 errhint("Name the foreign key as well, as in \"%s\".", hint)));
}

void
atq_field_missing(Relation rel, const char *class_name, const char *name,
				  List *extra)
{
	const char *nearest = atq_field_nearest(name,
											list_concat(all_names(rel), extra));

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("\"%s\" has no field \"%s\"", class_name, name),
			 nearest == NULL ? 0 :
			 errhint("Perhaps you meant the field \"%s\".", nearest)));
}

/* Names of columns and relations, and pk. */
static List *
all_names(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *names = list_make1("pk");
	ListCell   *lc;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!column->attisdropped)
			names = lappend(names, NameStr(column->attname));
	}
	foreach(lc, atq_field_foreign_keys(rel))
	{
		char	   *name = forward_name(rel, lfirst(lc));

		if (name != NULL)
			names = lappend(names, name);
	}
	foreach(lc, keys_to(rel))
	{
		ForeignKeyCacheInfo *key = lfirst(lc);
		char	   *name = get_rel_name(key->conrelid);

		if (name != NULL)
			names = lappend(names, name);
	}
	return names;
}

const char *
atq_field_nearest(const char *name, List *names)
{
	int			len = Min(strlen(name), NAMEDATALEN);
	int			limit = Min(MAX_DISTANCE, len / 2);
	const char *nearest = NULL;
	ListCell   *lc;

	foreach(lc, names)
	{
		const char *candidate = lfirst(lc);
		int			candidate_len = Min(strlen(candidate), NAMEDATALEN);
		int			distance;

		distance = varstr_levenshtein_less_equal(name,
												 pg_mbcliplen(name, len, len),
												 candidate,
												 pg_mbcliplen(candidate,
															  candidate_len,
															  candidate_len),
												 1, 1, 1, limit, true);
		if (distance > limit || distance == 0)
			continue;
		nearest = candidate;
		limit = distance - 1;
	}
	return nearest;
}

AttrNumber
atq_field_written(const AtqQueryModel *model, const char *name)
{
	AttrNumber	column = atq_field_column(model->rel, name);
	AtqFieldRelation *relation;

	if (column != InvalidAttrNumber)
		return column;
	if (strcmp(name, "pk") == 0 && model->nkeys == 1)
		return model->keys[0];
	relation = find_forward(model->rel, name);
	if (relation == NULL || relation->nkeys != 1)
		atq_field_missing(model->rel, model->model->class_name, name, NIL);
	return relation->from[0];
}

Datum
atq_field_value(const JsonbValue *json, Oid type, int32 typmod,
				const char *field, bool *isnull)
{
	ErrorContextCallback callback;
	Datum		value;

	callback.callback = report_value;
	callback.arg = unconstify(char *, field);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	value = read_value(json, type, typmod, isnull);
	error_context_stack = callback.previous;
	return value;
}

Datum
atq_field_array(const JsonbValue *json, Oid element_type, const char *field)
{
	ArrayBuildState *state = initArrayResult(element_type,
											 CurrentMemoryContext, false);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (!atq_json_is_list(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("values of field \"%s\" must be a list", field)));
	it = JsonbIteratorInit(json->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		bool		isnull;
		Datum		value;

		if (token != WJB_ELEM)
			continue;
		value = atq_field_value(&element, element_type, -1, field, &isnull);
		if (!isnull)
			state = accumArrayResult(state, value, false, element_type,
									 CurrentMemoryContext);
	}
	return makeArrayResult(state, CurrentMemoryContext);
}

static void
report_value(void *arg)
{
	errcontext("value of field \"%s\"", (const char *) arg);
}

static Datum
read_value(const JsonbValue *json, Oid type, int32 typmod, bool *isnull)
{
	Oid			base = getBaseType(type);
	Oid			input;
	Oid			ioparam;

	*isnull = false;
	if (json->type == jbvNull)
	{
		if (type != base)
			domain_check((Datum) 0, true, type, NULL, NULL);
		*isnull = true;
		return (Datum) 0;
	}
	if (base == JSONBOID)
		return type == base ? JsonbPGetDatum(JsonbValueToJsonb((JsonbValue *) json)) :
			populate(json, type, typmod, isnull);
	if (base == JSONOID || json->type == jbvBinary)
		return populate(json, type, typmod, isnull);
	getTypeInputInfo(type, &input, &ioparam);
	return OidInputFunctionCall(input, scalar_text(json), ioparam, typmod);
}

/* A JSON scalar in the form that input functions read; palloc'd. */
static char *
scalar_text(const JsonbValue *json)
{
	switch (json->type)
	{
		case jbvString:
			return pnstrdup(json->val.string.val, json->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(json->val.numeric)));
		case jbvBool:
			return pstrdup(json->val.boolean ? "true" : "false");
		default:
			elog(ERROR, "unexpected kind of JSON value: %d", (int) json->type);
	}
}

/* By way of a record with one column of the type. */
static Datum
populate(const JsonbValue *json, Oid type, int32 typmod, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo	flinfo;
	TupleDesc	desc;
	JsonbParseState *state = NULL;
	JsonbValue	name;
	JsonbValue *object;
	Datum		nothing = (Datum) 0;
	bool		null = true;
	HeapTuple	record;
	HeapTupleData result;
	Node	   *argument;

	if (json->type == jbvBinary && !type_is_array_domain(type) &&
		!type_is_rowtype(getBaseType(type)) && getBaseType(type) != JSONOID &&
		getBaseType(type) != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("a JSON %s is no value of type %s",
						JsonContainerIsArray(json->val.binary.data) ?
						"list" : "object",
						format_type_be(type))));
	desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(desc, 1, "value", type, typmod, 0);
	desc = BlessTupleDesc(desc);
	record = heap_form_tuple(desc, &nothing, &null);

	name.type = jbvString;
	name.val.string.val = "value";
	name.val.string.len = strlen("value");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &name);
	pushJsonbValue(&state, WJB_VALUE, (JsonbValue *) json);
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);

	fmgr_info(F_JSONB_POPULATE_RECORD, &flinfo);
	argument = (Node *) makeNullConst(RECORDOID, -1, InvalidOid);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD,
											 RECORDOID, list_make1(argument),
											 InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = HeapTupleGetDatum(record);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(JsonbValueToJsonb(object));
	fcinfo->args[1].isnull = false;
	result.t_data = DatumGetHeapTupleHeader(FunctionCallInvoke(fcinfo));
	result.t_len = HeapTupleHeaderGetDatumLength(result.t_data);
	ItemPointerSetInvalid(&result.t_self);
	result.t_tableOid = InvalidOid;
	return heap_getattr(&result, 1, desc, isnull);
}
