/*-------------------------------------------------------------------------
 *
 * relkey.c
 *	  The key columns by which rows of a relation are referred to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "store/relkey.h"

static int	named_columns(Relation rel, const AtqModel *model,
						  AttrNumber *columns);
static int	primary_key_columns(Relation rel, AttrNumber *columns);

int
atq_relkey_columns(Relation rel, const AtqModel *model, AttrNumber *columns)
{
	if (model != NULL && model->nkeys > 0)
		return named_columns(rel, model, columns);
	return primary_key_columns(rel, columns);
}

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
