/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  fetch(), refresh() and fetch_related(): reading what a lazy argument
 *	  refers to.
 *
 * A handler's parameter of type msgpack keeps its references, and its query
 * sets.  These functions read their rows when they are wanted, as the current user and under a new
 * snapshot, in the same way as the other parameters are resolved.
 *
 * refresh() is fetch() of one row that must be there.
 *
 * fetch_related() follows a foreign key of the row that a reference stands
 * for, by one join of the two tables, planned at each call, under guard where
 * either is not to be trusted (store/trust.h).  The table that the key refers
 * to need not be a model.
 *
 * All may run code of users (row security, input functions), so what the
 * registry has given is kept meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_constraint.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "query/field.h"
#include "store/trust.h"
#include "task/resolve.h"
#include "wire/type.h"

typedef Datum (*Fetcher) (FunctionCallInfo fcinfo, AtqSpan value);

static Datum fetch_kept(FunctionCallInfo fcinfo, int arg, Fetcher fetch);
static void read_rows(AtqResolution *resolution, AtqSpan value);
static Datum fetch_json(FunctionCallInfo fcinfo, AtqSpan value);
static Datum fetch_row(FunctionCallInfo fcinfo, AtqSpan value);
static Datum refresh(FunctionCallInfo fcinfo, AtqSpan value);
static Datum fetch_related(FunctionCallInfo fcinfo, AtqSpan value);
static bool is_nil(AtqSpan value);
static void match_reference(AtqSpan value, AtqReference *reference);
static char *related_statement(const AtqLocation *location, const char *name,
							   Oid *row_type);
static void guard_other(const AtqLocation *location, Oid other);
static ForeignKeyCacheInfo *find_foreign_key(Relation rel, const char *name);
static List *keys_of_column(Relation rel, AttrNumber column);
static bool has_column(const ForeignKeyCacheInfo *key, AttrNumber column);
static void refuse_column(Relation rel, const char *name, AttrNumber column,
						  List *keys) atq_noreturn;
static void join_condition(StringInfo sql, const ForeignKeyCacheInfo *key,
						   Relation rel, Relation other);

PG_FUNCTION_INFO_V1(atq_sql_fetch);

Datum
atq_sql_fetch(PG_FUNCTION_ARGS)
{
	return fetch_kept(fcinfo, 0, fetch_json);
}

PG_FUNCTION_INFO_V1(atq_sql_fetch_row);

Datum
atq_sql_fetch_row(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	return fetch_kept(fcinfo, 1, fetch_row);
}

PG_FUNCTION_INFO_V1(atq_sql_refresh);

Datum
atq_sql_refresh(PG_FUNCTION_ARGS)
{
	return fetch_kept(fcinfo, 0, refresh);
}

PG_FUNCTION_INFO_V1(atq_sql_fetch_related);

Datum
atq_sql_fetch_related(PG_FUNCTION_ARGS)
{
	return fetch_kept(fcinfo, 0, fetch_related);
}

static Datum
fetch_kept(FunctionCallInfo fcinfo, int arg, Fetcher fetch)
{
	bool		kept = atq_registry_keep(true);
	const AtqModel *guarded = atq_trust_guarded();
	Datum		result;

	PG_TRY();
	{
		result = fetch(fcinfo, ATQ_GETARG_MSGPACK(arg));
	}
	PG_FINALLY();
	{
		atq_trust_guard(guarded);
		(void) atq_registry_keep(kept);
	}
	PG_END_TRY();
	return result;
}

static void
read_rows(AtqResolution *resolution, AtqSpan value)
{
	atq_resolve_note(resolution, value, NULL);
	(void) atq_resolve_fetch(resolution);
	PopActiveSnapshot();
}

static Datum
fetch_json(FunctionCallInfo fcinfo, AtqSpan value)
{
	AtqResolution *resolution = atq_resolve_begin(ATQ_LOCK_NONE);
	const AtqResolver *resolver = atq_resolve_resolver(resolution);

	read_rows(resolution, value);
	PG_RETURN_JSONB_P(atq_json_plain(value, resolver->json, resolver->arg));
}

/* The row type is that of the first argument, whatever that is. */
static Datum
fetch_row(FunctionCallInfo fcinfo, AtqSpan value)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	AtqResolution *resolution = atq_resolve_begin(ATQ_LOCK_NONE);
	const AtqResolver *resolver = atq_resolve_resolver(resolution);
	AtqReference reference;

	if (!OidIsValid(get_typ_typrelid(type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("fetch() cannot return type %s",
						format_type_be(type)),
				 errhint("Give a table's row type: fetch(NULL::table, reference).")));
	if (is_nil(value))
		PG_RETURN_NULL();
	match_reference(value, &reference);
	read_rows(resolution, value);
	return resolver->row(&reference, type, &fcinfo->isnull, resolver->arg);
}

static Datum
refresh(FunctionCallInfo fcinfo, AtqSpan value)
{
	AtqResolution *resolution = atq_resolve_begin(ATQ_LOCK_NONE);
	const AtqResolver *resolver = atq_resolve_resolver(resolution);
	AtqReference reference;

	match_reference(value, &reference);
	atq_resolve_require(resolution);
	read_rows(resolution, value);
	PG_RETURN_JSONB_P(resolver->json(&reference, resolver->arg));
}

static bool
is_nil(AtqSpan value)
{
	AtqReader	reader;
	AtqToken	token;

	atq_msgpack_open(&reader, value);
	atq_msgpack_next(&reader, &token);
	return token.kind == ATQ_TOKEN_NIL;
}

static void
match_reference(AtqSpan value, AtqReference *reference)
{
	if (!atq_reference_match(value, reference) ||
		reference->set.data != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value is not a reference to one row")));
}

static Datum
fetch_related(FunctionCallInfo fcinfo, AtqSpan value)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	MemoryContext context = CurrentMemoryContext;
	AtqLocation location;
	AtqReference reference;
	Oid			row_type;
	char	   *sql;
	SPIPlanPtr	statement;
	Jsonb	   *json = NULL;

	if (is_nil(value))
		PG_RETURN_NULL();
	match_reference(value, &reference);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	atq_resolve_locate(&reference, &location);
	sql = related_statement(&location, name, &row_type);
	statement = SPI_prepare(sql, location.nkeys, location.types);
	if (statement == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	if (SPI_execute_plan(statement, location.values, NULL, false,
						 2) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	if (SPI_processed == 0)
		atq_resolve_missing(location.model, reference.key);
	else if (SPI_processed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ROWS),
				 errmsg("\"%s\" of a row of model \"%s\" leads to more than one row",
						name, location.model->class_name)));
	else
	{
		Datum		row = SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1,
										&fcinfo->isnull);
		MemoryContext old = MemoryContextSwitchTo(context);

		if (!fcinfo->isnull)
			json = atq_datum_jsonb(row, row_type);
		MemoryContextSwitchTo(old);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	if (json == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(json);
}

/*
 * Reads the row that the foreign key leads to: no row where the first is
 * missing, NULL where only the second is, or where its key is NULL.
 */
static char *
related_statement(const AtqLocation *location, const char *name,
				  Oid *row_type)
{
	Relation	rel = relation_open(location->model->relation, NoLock);
	ForeignKeyCacheInfo *key = find_foreign_key(rel, name);
	Relation	other = relation_open(key->confrelid, AccessShareLock);
	char	   *table = atq_relkey_name(other);
	StringInfoData sql;

	guard_other(location, key->confrelid);
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT asynctasq_other.*::%s FROM %s AS asynctasq_row "
					 "LEFT JOIN %s AS asynctasq_other ON ",
					 table, location->table, table);
	join_condition(&sql, key, rel, other);
	appendStringInfo(&sql, " WHERE %s", location->condition);
	*row_type = other->rd_rel->reltype;
	relation_close(other, NoLock);
	relation_close(rel, NoLock);
	return sql.data;
}

/* The table that is referred to need not be one that the reader trusts. */
static void
guard_other(const AtqLocation *location, Oid other)
{
	AtqModel   *model = atq_registry_model_of(other);

	if (!(model != NULL ? atq_trust_model(model) : atq_trust_relation(other)))
		atq_trust_guard(location->model);
}

/*
 * By the name of a column, of which a key of this column alone goes before
 * those that contain others, or by the name of the constraint.
 */
static ForeignKeyCacheInfo *
find_foreign_key(Relation rel, const char *name)
{
	AttrNumber	column = get_attnum(RelationGetRelid(rel), name);
	List	   *keys = column == InvalidAttrNumber ? NIL :
		keys_of_column(rel, column);
	ListCell   *lc;
	char	   *constraint;

	if (list_length(keys) == 1)
		return linitial(keys);
	foreach(lc, keys_of_column(rel, InvalidAttrNumber))
	{
		constraint = get_constraint_name(((ForeignKeyCacheInfo *) lfirst(lc))->conoid);
		if (constraint != NULL && strcmp(constraint, name) == 0)
			return lfirst(lc);
	}
	refuse_column(rel, name, column, keys);
}

/* Copies; all of the relation's where no column is given. */
static List *
keys_of_column(Relation rel, AttrNumber column)
{
	List	   *all = atq_field_foreign_keys(rel);
	List	   *keys = NIL;
	List	   *alone = NIL;
	ListCell   *lc;

	foreach(lc, all)
	{
		ForeignKeyCacheInfo *key = lfirst(lc);

		if (column == InvalidAttrNumber || has_column(key, column))
			keys = lappend(keys, key);
		if (key->nkeys == 1 && has_column(key, column))
			alone = lappend(alone, key);
	}
	return list_length(alone) == 1 ? alone : keys;
}

static bool
has_column(const ForeignKeyCacheInfo *key, AttrNumber column)
{
	for (int i = 0; i < key->nkeys; i++)
	{
		if (key->conkey[i] == column)
			return true;
	}
	return false;
}

static void
refuse_column(Relation rel, const char *name, AttrNumber column, List *keys)
{
	if (column == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(rel)),
				 errhint("Name a column of a foreign key, or the foreign key.")));
	if (keys == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of relation \"%s\" has no foreign key",
						name, RelationGetRelationName(rel)),
				 errhint("Name a column of a foreign key, or the foreign key.")));
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_COLUMN),
			 errmsg("column \"%s\" of relation \"%s\" has several foreign keys",
					name, RelationGetRelationName(rel)),
			 errhint("Name the foreign key instead.")));
}

/* By the operators that the constraint itself is checked with. */
static void
join_condition(StringInfo sql, const ForeignKeyCacheInfo *key, Relation rel,
			   Relation other)
{
	for (int i = 0; i < key->nkeys; i++)
	{
		Form_pg_attribute to = TupleDescAttr(RelationGetDescr(other),
											 key->confkey[i] - 1);
		Form_pg_attribute from = TupleDescAttr(RelationGetDescr(rel),
											   key->conkey[i] - 1);

		appendStringInfoString(sql, i == 0 ? "" : " AND ");
		generate_operator_clause(sql,
								 psprintf("asynctasq_other.%s",
										  quote_identifier(NameStr(to->attname))),
								 to->atttypid, key->conpfeqop[i],
								 psprintf("asynctasq_row.%s",
										  quote_identifier(NameStr(from->attname))),
								 from->atttypid);
	}
}
