/*-------------------------------------------------------------------------
 *
 * sql.c
 *	  gather(), gather_many(), scalar(), execute() and check_servers().
 *
 * Each runs as the current user, who needs USAGE on the server and a user
 * mapping.  What may differ from server to server or from query to query, a
 * server that cannot be reached or a query that fails, is told in the rows of
 * gather(); what is wrong with the call itself is thrown.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "base/argument.h"
#include "remote/pool.h"
#include "remote/value.h"
#include "wire/jsonbwrite.h"

/* The rows of one answer, or one value, on their way to jsonb. */
typedef struct Answer
{
	AtqRowsReader columns;
	JsonbParseState *state;
	int			nrows;
} Answer;

/* How many rows each statement has touched. */
typedef struct Counts
{
	int			n;
	int64	   *rows;
} Counts;

static char *get_server(FunctionCallInfo fcinfo);
static char **get_texts(FunctionCallInfo fcinfo, int arg, const char *name,
						int *n);
static const Jsonb *get_params(FunctionCallInfo fcinfo, int arg);
static AtqJob *make_query(AtqPool *pool, const char *sql,
						  const Jsonb *params, const AtqJobReader *reader);
static void put_answers(FunctionCallInfo fcinfo, AtqJob **jobs,
						char **servers, int n);
static void begin_rows(AtqJob *job);
static AtqFailure *take_row(AtqJob *job, const PGresult *result, int row);
static AtqFailure *take_value(AtqJob *job, const PGresult *result, int row);
static void check_statement(const char *sql);
static const char *skip_space(const char *sql);
static void run_transaction(AtqPool *pool, AtqJobStatement *statements, int n,
							int64 *counts);
static void commit(AtqJob *job);
static AtqFailure *take_count(AtqJob *job, const PGresult *result);
static ArrayType *int8_array(const int64 *values, int n);

static const AtqJobReader rows_reader = {begin_rows, take_row, NULL};
static const AtqJobReader value_reader = {begin_rows, take_value, NULL};
static const AtqJobReader count_reader = {NULL, NULL, take_count};

PG_FUNCTION_INFO_V1(atq_sql_gather);

Datum
atq_sql_gather(PG_FUNCTION_ARGS)
{
	AtqPool    *pool;
	char	  **queries;
	AtqJob	  **jobs;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	pool = atq_pool_named(get_server(fcinfo));
	queries = get_texts(fcinfo, 1, "queries", &n);
	jobs = palloc(n * sizeof(AtqJob *));
	for (int i = 0; i < n; i++)
		jobs[i] = make_query(pool, queries[i], NULL, &rows_reader);
	atq_job_run(jobs, n);
	put_answers(fcinfo, jobs, NULL, n);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(atq_sql_gather_many);

Datum
atq_sql_gather_many(PG_FUNCTION_ARGS)
{
	char	  **servers;
	char	   *query;
	const Jsonb *params;
	AtqJob	  **jobs;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	servers = get_texts(fcinfo, 0, "servers", &n);
	query = atq_text_arg(fcinfo, 1, "query");
	params = get_params(fcinfo, 2);
	jobs = palloc(n * sizeof(AtqJob *));
	for (int i = 0; i < n; i++)
		jobs[i] = make_query(atq_pool_named(servers[i]), query, params,
							 &rows_reader);
	atq_job_run(jobs, n);
	put_answers(fcinfo, jobs, servers, n);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(atq_sql_scalar);

Datum
atq_sql_scalar(PG_FUNCTION_ARGS)
{
	AtqPool    *pool = atq_pool_named(get_server(fcinfo));
	AtqJob	   *job = make_query(pool, atq_text_arg(fcinfo, 1, "query"),
								 get_params(fcinfo, 2), &value_reader);
	Answer	   *answer = job->arg;
	JsonbValue *value;
	Jsonb	   *list;

	atq_job_run_one(job);
	list = atq_jsonb_make(pushJsonbValue(&answer->state, WJB_END_ARRAY, NULL));
	value = getIthJsonbValueFromContainer(&list->root, 0);
	if (value == NULL || value->type == jbvNull)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(JsonbValueToJsonb(value));
}

PG_FUNCTION_INFO_V1(atq_sql_execute);

Datum
atq_sql_execute(PG_FUNCTION_ARGS)
{
	AtqPool    *pool = atq_pool_named(get_server(fcinfo));
	int			n;
	char	  **texts = get_texts(fcinfo, 1, "statements", &n);
	AtqJobStatement *statements = palloc0((n + 1) * sizeof(AtqJobStatement));
	int64	   *counts = palloc0((n + 1) * sizeof(int64));
	const Jsonb *params = PG_NARGS() > 2 ? get_params(fcinfo, 2) : NULL;

	if (params != NULL &&
		(!JB_ROOT_IS_ARRAY(params) || JB_ROOT_COUNT(params) != n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameters must be a JSON array with an array for each of %d statements",
						n)));
	statements[0].sql = "BEGIN READ WRITE";
	for (int i = 0; i < n; i++)
	{
		JsonbValue *value = params == NULL ? NULL :
			getIthJsonbValueFromContainer((JsonbContainer *) &params->root, i);

		check_statement(texts[i]);
		statements[i + 1].sql = texts[i];
		if (value != NULL && value->type != jbvNull)
			statements[i + 1].params =
				atq_value_params(JsonbValueToJsonb(value),
								 &statements[i + 1].nparams);
	}
	if (n > 0)
		run_transaction(pool, statements, n + 1, counts);
	PG_RETURN_ARRAYTYPE_P(int8_array(counts + 1, n));
}

PG_FUNCTION_INFO_V1(atq_sql_check_servers);

Datum
atq_sql_check_servers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *servers = atq_server_list(GetUserId());
	int			n = list_length(servers);
	AtqFailure **failures = palloc0((n + 1) * sizeof(AtqFailure *));
	AtqJob	  **jobs = palloc0((n + 1) * sizeof(AtqJob *));
	int			njobs = 0;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		AtqPool    *pool = atq_pool_get(list_nth_oid(servers, i), GetUserId(),
										&failures[i]);

		if (pool != NULL)
			jobs[njobs++] = make_query(pool, "SELECT", NULL, NULL);
	}
	atq_job_run(jobs, njobs);
	njobs = 0;
	for (int i = 0; i < n; i++)
	{
		AtqFailure *failure = failures[i] ? failures[i] :
			jobs[njobs++]->failure;
		ForeignServer *server = GetForeignServer(list_nth_oid(servers, i));
		Datum		values[3];
		bool		nulls[3] = {false, false, failure == NULL};

		values[0] = DirectFunctionCall1(namein,
										CStringGetDatum(server->servername));
		values[1] = BoolGetDatum(failure == NULL);
		values[2] = failure == NULL ? (Datum) 0 :
			CStringGetTextDatum(atq_failure_line(failure));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/* ---- arguments ---- */

/* The first argument: a server's name. */
static char *
get_server(FunctionCallInfo fcinfo)
{
	atq_require_arg(fcinfo, 0, "server");
	return NameStr(*PG_GETARG_NAME(0));
}

/* An array of text or name. */
static char **
get_texts(FunctionCallInfo fcinfo, int arg, const char *name, int *n)
{
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	char	  **texts;
	bool		is_name;

	atq_require_arg(fcinfo, arg, name);
	array = PG_GETARG_ARRAYTYPE_P(arg);
	is_name = ARR_ELEMTYPE(array) == NAMEOID;
	if (is_name)
		deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
						  &elements, &nulls, n);
	else
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements,
						  &nulls, n);
	texts = palloc((*n + 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not contain nulls", name)));
		texts[i] = is_name ? pstrdup(NameStr(*DatumGetName(elements[i]))) :
			TextDatumGetCString(elements[i]);
	}
	return texts;
}

static const Jsonb *
get_params(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : PG_GETARG_JSONB_P(arg);
}

/* ---- rows and values ---- */

static AtqJob *
make_query(AtqPool *pool, const char *sql, const Jsonb *params,
		   const AtqJobReader *reader)
{
	AtqJob	   *job = atq_job_make(pool);
	AtqJobStatement *statement = palloc0(sizeof(AtqJobStatement));

	statement->sql = sql;
	statement->params = atq_value_params(params, &statement->nparams);
	job->statements = statement;
	job->nstatements = 1;
	job->users = reader != NULL;
	job->reader = reader;
	job->arg = palloc0(sizeof(Answer));
	return job;
}

static void
begin_rows(AtqJob *job)
{
	Answer	   *answer = job->arg;

	atq_value_begin(&answer->columns);
	answer->state = NULL;
	answer->nrows = 0;
	pushJsonbValue(&answer->state, WJB_BEGIN_ARRAY, NULL);
}

static AtqFailure *
take_row(AtqJob *job, const PGresult *result, int row)
{
	Answer	   *answer = job->arg;
	JsonbValue *object;

	return atq_value_push_row(&answer->columns, &answer->state, result, row,
							  &object);
}

static AtqFailure *
take_value(AtqJob *job, const PGresult *result, int row)
{
	Answer	   *answer = job->arg;

	if (answer->nrows++ > 0)
		return atq_failure_make(ERRCODE_CARDINALITY_VIOLATION, NULL,
								"query of scalar() returned more than one row");
	if (PQnfields(result) != 1)
		return atq_failure_make(ERRCODE_SYNTAX_ERROR, NULL,
								"query of scalar() must return one column");
	return atq_value_push(&answer->columns, &answer->state, WJB_ELEM, result,
						  row, 0);
}

/* One row for each job: number, server if there are several, rows, error. */
static void
put_answers(FunctionCallInfo fcinfo, AtqJob **jobs, char **servers, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int i = 0; i < n; i++)
	{
		Answer	   *answer = jobs[i]->arg;
		AtqFailure *failure = jobs[i]->failure;
		Datum		values[4] = {0};
		bool		nulls[4] = {0};
		int			column = 0;

		values[column++] = Int32GetDatum(i + 1);
		if (servers != NULL)
			values[column++] = DirectFunctionCall1(namein,
												   CStringGetDatum(servers[i]));
		nulls[column] = failure != NULL;
		nulls[column + 1] = failure == NULL;
		if (failure == NULL)
			values[column] = JsonbPGetDatum(atq_jsonb_make(pushJsonbValue(&answer->state,
																		  WJB_END_ARRAY,
																		  NULL)));
		else
			values[column + 1] = CStringGetTextDatum(atq_failure_line(failure));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

/* ---- transactions ---- */

/* Throws where a statement would end or begin the transaction. */
static void
check_statement(const char *sql)
{
	static const char *const words[] = {"begin", "start", "commit", "end",
	"rollback", "abort", "savepoint", "release", "prepare"};
	const char *word = skip_space(sql);
	size_t		len = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

	for (int i = 0; i < lengthof(words); i++)
	{
		if (strlen(words[i]) == len && pg_strncasecmp(word, words[i], len) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
					 errmsg("execute() cannot run %s",
							asc_toupper(words[i], len)),
					 errdetail("Its statements are one transaction.")));
	}
}

/* Behind white space, comments and empty statements. */
static const char *
skip_space(const char *sql)
{
	for (;;)
	{
		sql += strspn(sql, " \t\n\r\f\v;");
		if (strncmp(sql, "--", 2) == 0)
			sql += strcspn(sql, "\n\r");
		else if (strncmp(sql, "/*", 2) == 0)
		{
			int			depth = 0;

			do
			{
				if (strncmp(sql, "/*", 2) == 0)
					depth++;
				else if (strncmp(sql, "*/", 2) == 0)
					depth--;
				else
				{
					sql++;
					continue;
				}
				sql += 2;
			} while (depth > 0 && *sql != '\0');
		}
		else
			return sql;
	}
}

/*
 * The commit is sent when all statements have succeeded: so a connection that
 * is lost before has changed nothing.
 */
static void
run_transaction(AtqPool *pool, AtqJobStatement *statements, int n,
				int64 *counts)
{
	AtqJob	   *job = atq_job_make(pool);
	Counts		result = {0, counts};

	job->statements = statements;
	job->nstatements = n;
	job->write = job->users = job->hold = true;
	job->reader = &count_reader;
	job->arg = &result;
	PG_TRY();
	{
		atq_job_run_one(job);
		commit(job);
	}
	PG_CATCH();
	{
		if (job->conn != NULL && job->conn->held)
			atq_job_release(job->conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
commit(AtqJob *job)
{
	static const AtqJobStatement statement = {"COMMIT"};
	char	   *server = job->pool->login->server_name;

	job->statements = &statement;
	job->nstatements = 1;
	job->reader = NULL;
	job->hold = false;
	job->state = ATQ_JOB_NEW;
	atq_job_run(&job, 1);
	if (job->failure == NULL)
		return;
	if (ERRCODE_TO_CATEGORY(job->failure->sqlstate) == ERRCODE_CONNECTION_EXCEPTION)
	{
		job->failure->sqlstate = ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN;
		job->failure->hint = pstrdup("Whether the transaction was committed is not known.");
	}
	atq_failure_throw(job->failure, server);
}

/* The first statement is BEGIN. */
static AtqFailure *
take_count(AtqJob *job, const PGresult *result)
{
	Counts	   *counts = job->arg;

	counts->rows[counts->n++] = strtoll(PQcmdTuples((PGresult *) result),
										NULL, 10);
	return NULL;
}

static ArrayType *
int8_array(const int64 *values, int n)
{
	Datum	   *elements = palloc((n + 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(values[i]);
	return construct_array(elements, n, INT8OID, sizeof(int64),
						   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}
