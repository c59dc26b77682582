/*-------------------------------------------------------------------------
 *
 * relkey.c
 *	  The key columns by which rows of a relation are referred to.
 *
 * Which relations and which types of columns will do is decided here alone:
 * for registering a model, for making a reference and for following one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "store/relkey.h"
#include "wire/datum.h"

static int	named_columns(Relation rel, const AtqModel *model,
						  AttrNumber *columns);
static int	primary_key_columns(Relation rel, AttrNumber *columns);
static const char *kind_obstacle(Relation rel);
static const char *type_obstacle(Oid type);

int
atq_relkey_columns(Relation rel, const AtqModel *model, AttrNumber *columns)
{
	if (model != NULL && model->nkeys > 0)
		return named_columns(rel, model, columns);
	return primary_key_columns(rel, columns);
}

/* A view's column may be named as a system column of the table that follows. */
static int
named_columns(Relation rel, const AtqModel *model, AttrNumber *columns)
{
	for (int i = 0; i < model->nkeys; i++)
	{
		columns[i] = get_attnum(RelationGetRelid(rel), model->keys[i]);
		if (columns[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist",
							model->keys[i], RelationGetRelationName(rel)),
					 errdetail("It is part of the key of model \"%s\".",
							   model->class_name)));
		if (columns[i] < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("key must not contain system column \"%s\"",
							model->keys[i])));
	}
	return model->nkeys;
}

static int
primary_key_columns(Relation rel, AttrNumber *columns)
{
	Oid			index_oid;
	Relation	index;
	int			n;

	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return 0;
	index_oid = atq_primary_key_index(rel);
	if (!OidIsValid(index_oid))
		return 0;
	index = index_open(index_oid, AccessShareLock);
	n = index->rd_index->indnkeyatts;
	for (int i = 0; i < n; i++)
		columns[i] = index->rd_index->indkey.values[i];
	index_close(index, AccessShareLock);
	return n;
}

void
atq_relkey_check_kind(Relation rel)
{
	const char *obstacle = kind_obstacle(rel);

	if (obstacle != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot refer to rows of relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("%s", obstacle)));
}

/* Why nobody can refer to rows of a relation, or NULL. */
static const char *
kind_obstacle(Relation rel)
{
	Oid			schema = RelationGetNamespace(rel);
	char		kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE &&
		kind != RELKIND_FOREIGN_TABLE && kind != RELKIND_VIEW &&
		kind != RELKIND_MATVIEW)
		return "It is not a table or view.";
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return "It is temporary: no worker could read it.";
	if (IsCatalogNamespace(schema) || IsToastNamespace(schema) ||
		schema == get_namespace_oid("information_schema", true) ||
		schema == get_rel_namespace(atq_registry_table(ATQ_TABLE_HANDLER)))
		return psprintf("It belongs to schema \"%s\".",
						get_namespace_name(schema));
	return NULL;
}

bool
atq_relkey_may_name(Oid relation)
{
	return atq_schema_aclcheck(get_rel_namespace(relation),
							   GetUserId()) == ACLCHECK_OK;
}

void
atq_relkey_check_schema(Oid relation)
{
	if (!atq_relkey_may_name(relation))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA,
					   get_namespace_name(get_rel_namespace(relation)));
}

Oid
atq_relkey_type(Relation rel, AttrNumber column)
{
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(rel), column - 1);
	Oid			type = getBaseType(attribute->atttypid);
	const char *obstacle = type_obstacle(type);

	if (obstacle != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("column \"%s\" of relation \"%s\" cannot be part of a key",
						NameStr(attribute->attname),
						RelationGetRelationName(rel)),
				 errdetail("Type %s %s.", format_type_be(type), obstacle)));
	return type;
}

/* Why values of a type cannot be a key, or NULL; type is no domain. */
static const char *
type_obstacle(Oid type)
{
	if (OidIsValid(get_element_type(type)) || type_is_rowtype(type) ||
		type == JSONBOID)
		return "has values that are not scalars";
	if (!OidIsValid(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr))
		return "has no equality operator";
	return NULL;
}

int
atq_relkey_unregistered(Relation rel, AttrNumber *columns)
{
	int			n = kind_obstacle(rel) != NULL ? 0 :
		primary_key_columns(rel, columns);

	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute attribute =
			TupleDescAttr(RelationGetDescr(rel), columns[i] - 1);

		if (type_obstacle(getBaseType(attribute->atttypid)) != NULL)
			return 0;
	}
	return n;
}

void
atq_relkey_equals(StringInfo sql, Relation rel, AttrNumber column,
				  const char *row, const char *value)
{
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(rel), column - 1);
	Oid			type = getBaseType(attribute->atttypid);

	generate_operator_clause(sql,
							 psprintf("%s.%s", row,
									  quote_identifier(NameStr(attribute->attname))),
							 attribute->atttypid,
							 lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr,
							 value, type);
}

void
atq_relkey_pack(StringInfo buf, Relation rel, int nkeys,
				const AttrNumber *columns, const Datum *values,
				const bool *nulls)
{
	if (nkeys > 1)
		atq_pack_array(buf, nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel),
												 columns[i] - 1);

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("cannot refer to a row of table \"%s\" whose key column \"%s\" is null",
							RelationGetRelationName(rel),
							NameStr(column->attname))));
		atq_datum_encode_key(buf, values[i], column->atttypid);
	}
}

char *
atq_relkey_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}
