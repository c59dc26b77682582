# What stands in the way of the names that the extension uses is never called:
# objects in a schema that settings of the database or of the role put before
# pg_catalog, and temporary ones, which come before it by themselves.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster(
	'main',
	'asynctasq.workers_per_lane' => '1',
	'asynctasq.sweep_interval' => '1s',
	'asynctasq.result_retention' => '1d');
create_tenant($node, 'shop', 'app', 'other');

# A trap counts in a sequence, which a rollback does not undo.
$node->safe_psql('shop', q{
	CREATE SCHEMA trap;
	GRANT USAGE ON SCHEMA trap TO PUBLIC;
	CREATE SEQUENCE trap.sprung;
	GRANT ALL ON SEQUENCE trap.sprung TO PUBLIC;
	CREATE FUNCTION trap.spring(what text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN
		RAISE LOG 'trap % is sprung', what;
		PERFORM nextval('trap.sprung');
		RETURN true;
	END $$;});

# For each function of pg_catalog one of the same name and types, as far as
# PL/pgSQL can have them; each operator, relation and many types too.  Each type
# of these is one with implicit casts to and from its namesake, or a domain.
$node->safe_psql('shop', q{
	DO $do$
	DECLARE
		f record;
		one text;
		real text;
	BEGIN
		FOR f IN
			SELECT proname, CASE WHEN proretset THEN 'SETOF ' ELSE '' END || format_type(prorettype, NULL) AS result,
				CASE WHEN proretset OR prorettype = 'void'::regtype THEN '' ELSE ' NULL' END AS value,
				(SELECT string_agg(CASE WHEN provariadic <> 0 AND n = pronargs THEN 'VARIADIC ' ELSE '' END
					|| CASE t WHEN '"any"'::regtype THEN 'anyelement' ELSE format_type(t, NULL) END
					|| CASE WHEN n > pronargs - pronargdefaults THEN ' DEFAULT NULL' ELSE '' END, ', ' ORDER BY n)
					FROM unnest(proargtypes) WITH ORDINALITY AS a (t, n)) AS args
			FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
		LOOP
			BEGIN
				EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname, f.args, f.result,
					format('BEGIN PERFORM trap.spring(%L); RETURN%s; END', f.proname, f.value));
			EXCEPTION WHEN feature_not_supported OR invalid_function_definition OR duplicate_function THEN
				-- types that only C has
			END;
		END LOOP;
		CREATE FUNCTION trap.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.spring('format'); RETURN ''; END $$;
		CREATE FUNCTION trap.concat(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.spring('concat'); RETURN ''; END $$;
		FOR f IN
			SELECT oprname, proname, concat_ws(', ', 'LEFTARG = ' || format_type(nullif(oprleft, 0), NULL), 'RIGHTARG = ' || format_type(oprright, NULL)) AS args
			FROM pg_operator JOIN pg_proc AS p ON p.oid = oprcode
			WHERE oprnamespace = 'pg_catalog'::regnamespace AND to_regprocedure(format('trap.%I(%s)', proname, oidvectortypes(proargtypes))) IS NOT NULL
		LOOP
			EXECUTE format('CREATE OPERATOR trap.%s (%s, FUNCTION = trap.%I)', f.oprname, f.args, f.proname);
		END LOOP;
		FOR f IN
			SELECT DISTINCT relname FROM pg_class
			WHERE relnamespace IN ('asynctasq'::regnamespace, 'pg_catalog'::regnamespace) AND relkind IN ('r', 'p', 'v')
		LOOP
			EXECUTE format('CREATE VIEW trap.%I AS SELECT 1 AS id WHERE trap.spring(%L)', f.relname, f.relname);
		END LOOP;
		FOREACH one IN ARRAY '{regrole,timestamptz,int8,text}'::text[] LOOP
			EXECUTE format('CREATE DOMAIN trap.%I AS pg_catalog.%I CHECK (trap.spring(%L))', one, one, one);
		END LOOP;
		FOREACH one IN ARRAY '{msgpack,queryset,jsonb,json,name,oid,regclass,regtype,interval,bool,uuid,numeric,bytea,int2,int4,float8,date,timestamp,varchar,_text,_int8}'::text[] LOOP
			real := CASE WHEN one IN ('msgpack', 'queryset') THEN 'asynctasq.' ELSE 'pg_catalog.' END || one;
			EXECUTE format('CREATE TYPE trap.%I AS (x int)', one);
			EXECUTE format('CREATE FUNCTION trap.cast_to(%s) RETURNS trap.%I LANGUAGE plpgsql AS %L', real, one,
				format('BEGIN PERFORM trap.spring(%L); RETURN NULL; END', 'cast to ' || one));
			EXECUTE format('CREATE FUNCTION trap.cast_from(trap.%I) RETURNS %s LANGUAGE plpgsql AS %L', one, real,
				format('BEGIN PERFORM trap.spring(%L); RETURN NULL; END', 'cast from ' || one));
			EXECUTE format('CREATE CAST (%s AS trap.%I) WITH FUNCTION trap.cast_to(%s) AS IMPLICIT', real, one, real);
			EXECUTE format('CREATE CAST (trap.%I AS %s) WITH FUNCTION trap.cast_from(trap.%I) AS IMPLICIT', one, real, one);
		END LOOP;
	END $do$;
	-- The same as temporary objects of the session
	CREATE FUNCTION trap.set_temporary() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog SET client_min_messages = error AS $$
	DECLARE
		one text;
	BEGIN
		FOR one IN
			SELECT relname FROM pg_class WHERE relnamespace = 'asynctasq'::regnamespace AND relkind IN ('r', 'p', 'v')
			UNION ALL SELECT unnest('{pg_class,pg_type,pg_proc,pg_authid,pg_roles,pg_database,pg_extension,pg_namespace,pg_attribute,pg_cursors,pg_depend,pg_inherits}'::text[])
		LOOP
			EXECUTE format('CREATE TEMP VIEW %I AS SELECT 1 AS id WHERE trap.spring(%L)', one, 'pg_temp.' || one);
		END LOOP;
		FOREACH one IN ARRAY '{regrole,timestamptz,int8,text,jsonb,name,oid,regclass,interval,bool,int4}'::text[] LOOP
			EXECUTE format('CREATE DOMAIN pg_temp.%I AS pg_catalog.%I CHECK (trap.spring(%L))', one, one, 'pg_temp.' || one);
		END LOOP;
		CREATE DOMAIN pg_temp.msgpack AS asynctasq.msgpack CHECK (trap.spring('pg_temp.msgpack'));
		CREATE DOMAIN pg_temp.queryset AS asynctasq.queryset CHECK (trap.spring('pg_temp.queryset'));
	END $$;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA trap TO PUBLIC;});

# For sessions of the test itself.
my $untrapped = '-c search_path=pg_catalog -c statement_timeout=0 -c lock_timeout=0 -c DateStyle=ISO -c standard_conforming_strings=on';

sub is_unsprung
{
	my ($offset, $name) = @_;
	my @sprung = slurp_file($node->logfile, $offset) =~ /LOG:  (trap .* is sprung)/g;
	local $ENV{PGOPTIONS} = $untrapped;

	is_deeply(\@sprung, [], "$name: no trap is sprung");
	query_is($node, 'shop', 'SELECT is_called FROM trap.sprung', 'f', "$name: nor in what was rolled back");
	return;
}

# Each kind of trap springs, also where it is rolled back.
cmp_ok($node->safe_psql('shop', q{SELECT count(*) FROM pg_proc WHERE pronamespace = 'trap'::regnamespace}), '>', 2000, 'there are enough functions');
cmp_ok($node->safe_psql('shop', q{SELECT count(*) FROM pg_operator WHERE oprnamespace = 'trap'::regnamespace}), '>', 600, 'and operators');
foreach my $case (
	[ 'a function', q{SELECT pg_has_role('app', 'USAGE')} ],
	[ 'a polymorphic function', q{SELECT array_append('{1}'::int[], 1)} ],
	[ 'a function that returns a set', q{SELECT unnest('{1}'::int[])} ],
	[ 'an operator', 'SELECT 1 = 1' ],
	[ 'a polymorphic operator', q{SELECT '{1}'::int[] = '{1}'::int[]} ],
	[ 'a prefix operator', 'SELECT - 1::float4' ],
	[ 'a domain', q{SELECT 'x'::pg_catalog.text::text::pg_catalog.text} ],
	[ 'a cast', 'SELECT true::pg_catalog.bool::trap.bool' ],
	[ 'a cast that is implied', 'SELECT pg_catalog.booland_statefunc(ROW(1)::trap.bool, true)' ],
	[ 'a catalog', 'SELECT pg_catalog.count(*) FROM pg_class' ],
	[ 'a table of ours', 'SELECT pg_catalog.count(*) FROM task' ],
	[ 'a temporary table', 'SELECT trap.set_temporary(); SET LOCAL search_path = pg_catalog; SELECT count(*) FROM task' ],
	[ 'a temporary type', q{SELECT trap.set_temporary(); SET LOCAL search_path = pg_catalog; SELECT '1'::int8} ])
{
	my ($name, $sql) = @$case;

	$node->psql('shop', qq{
		BEGIN;
		SET LOCAL search_path = trap, pg_temp, pg_catalog;
		$sql;
		ROLLBACK;});
	query_is($node, 'shop', q{SELECT is_called, setval('trap.sprung', 1, false) FROM trap.sprung}, 't|1', "$name is a trap");
}

# What the role has: tables, models, and a handler for each way to run a task.
app($node, 'shop', 'app', q{
	CREATE TABLE users (id int PRIMARY KEY, name text, age int, joined date DEFAULT '2026-01-01');
	INSERT INTO users SELECT n, 'user ' || n, n, '2026-01-01' FROM generate_series(1, 20) AS n;
	CREATE TABLE post (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, author_id int REFERENCES users, title text UNIQUE);
	INSERT INTO post (author_id, title) SELECT n, 'post ' || n FROM generate_series(1, 20) AS n;
	SELECT asynctasq.register_model('User', 'users', on_missing => 'error'), asynctasq.register_model('Post', 'post');
	CREATE TABLE log (what text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN INSERT INTO app.log VALUES ('deferred'); RETURN NULL; END $$;
	CREATE TABLE deferred (n int);
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
	CREATE FUNCTION greet(u users, us users[], n int, at timestamptz, d jsonb, x numeric DEFAULT 3) RETURNS jsonb LANGUAGE plpgsql
		SET search_path = pg_catalog AS $$ BEGIN IF n < 0 THEN RAISE 'no'; END IF; RETURN to_jsonb(u); END $$;
	CREATE FUNCTION greet_all(u users[], n int[]) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN
		IF -1 = ANY (n) THEN RAISE 'no'; END IF;
		INSERT INTO app.log SELECT 'batch' FROM unnest(n);
	END $$;
	CREATE FUNCTION read_set(us users[], later asynctasq.queryset, raw asynctasq.msgpack) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN
		PERFORM asynctasq.list(asynctasq.prefetch_related(asynctasq.filter(later, '{"post__title__icontains": "post"}'), 'post'));
		PERFORM asynctasq.fetch(raw), asynctasq.refresh(raw), asynctasq.fetch_related(asynctasq.ref('Post', 1), 'author_id');
		PERFORM asynctasq.update(asynctasq.filter(later, '{"pk": 1}'), '{"age": {"F": ["age", "+", 0]}}');
		PERFORM asynctasq.dispatch('rest', priority => 1, delay => '1 ms');
		RETURN to_jsonb(cardinality(us));
	END $$;
	CREATE FUNCTION rest() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN PERFORM id FROM asynctasq.current_task(); END $$;
	CREATE FUNCTION each(u users) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT (u).name; END;
	-- leaves temporary objects, its path and a deferred trigger to what follows
	-- in its transaction
	CREATE FUNCTION litter(u users, fail boolean) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM trap.set_temporary();
		INSERT INTO app.deferred VALUES (1);
		PERFORM pg_catalog.set_config('search_path', 'pg_temp, trap, pg_catalog', false);
		IF fail THEN RAISE 'no'; END IF;
		RETURN (u).name;
	END $$;
	CREATE FUNCTION litter_all(u users[], fail boolean[]) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
	BEGIN
		PERFORM app.litter(v, f) FROM unnest(u) AS v, unnest(fail) AS f;
	END $$;
	CREATE FUNCTION note(task jsonb, error jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM trap.set_temporary();
		PERFORM pg_catalog.set_config('search_path', 'pg_temp, trap, pg_catalog', false);
		INSERT INTO app.log VALUES ('on_failure');
	END $$;
	CREATE FUNCTION ask(task jsonb, error jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM trap.set_temporary();
		PERFORM pg_catalog.set_config('search_path', 'pg_temp, trap, pg_catalog', false);
		RETURN true;
	END $$;
	CREATE FUNCTION sleep() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT pg_sleep(3600); END;
	SELECT asynctasq.register_handler(name, function::regprocedure, keep_result => keep, max_attempts => 2, retry_delay => '1 ms',
		should_retry => 'ask(jsonb, jsonb)', on_failure => 'note(jsonb, jsonb)', group_size => g, batch_size => b, lock => 'share')
	FROM (VALUES ('greet', 'greet(users, users[], int, timestamptz, jsonb, numeric)', true, 1, NULL::int),
		('group', 'greet(users, users[], int, timestamptz, jsonb, numeric)', true, 5, NULL),
		('batch', 'greet_all(users[], int[])', false, 1, 5),
		('set', 'read_set(users[], asynctasq.queryset, asynctasq.msgpack)', true, 1, NULL),
		('each', 'each(users)', true, 5, NULL),
		('litter', 'litter(users, boolean)', true, 1, NULL),
		('litter_group', 'litter(users, boolean)', true, 5, NULL),
		('litter_batch', 'litter_all(users[], boolean[])', false, 1, 5)) AS h (name, function, keep, g, b);
	SELECT asynctasq.register_handler('rest', 'rest()', queue => 'two'),
		asynctasq.register_handler('sleep', 'sleep()', max_attempts => 1),
		asynctasq.create_queue('two', durable => true);});

# All that workers do.  Retries and delayed tasks are promoted by the way.
my $everything = q{
	SET search_path = pg_catalog;
	SELECT count(asynctasq.dispatch(task, m, queue => q, delay => d)) FROM
		(SELECT asynctasq.args('u', u, 'us', (SELECT array_agg(v) FROM app.users AS v), 'n', u.id - 2, 'at', now(), 'd', asynctasq.set(ARRAY[1])) AS m FROM app.users AS u) AS a,
		unnest('{greet,group}'::text[]) AS task, unnest('{one,two}'::text[]) AS q, unnest(ARRAY['0', '1 ms']::interval[]) AS d;
	SELECT count(asynctasq.dispatch('batch', asynctasq.args('u', u, 'n', u.id - 2))) FROM app.users AS u;
	SELECT count(asynctasq.dispatch('set', asynctasq.args('us', asynctasq.filter(asynctasq.objects('User'), '{"name__startswith": "user 1", "age__gt": 3}'),
		'later', asynctasq.objects('User'), 'raw', asynctasq.ref('User', n)))) FROM generate_series(1, 5) AS n;
	SELECT asynctasq.dispatch_each('each', asynctasq.order_by(asynctasq.exclude(asynctasq.objects('User'), '{"post__title": "post 3"}'), '-name'), 'u');
	SELECT count(*) FROM asynctasq.dispatch_many('rest', array_fill(asynctasq.args(), ARRAY[5]));
	SELECT count(asynctasq.dispatch(task, asynctasq.args('u', u, 'fail', u.id = 3))) FROM app.users AS u, unnest('{litter,litter_group,litter_batch}'::text[]) AS task WHERE u.id < 5;
	SELECT asynctasq.dispatch('each', asynctasq.args('u', asynctasq.ref('User', 0)));
	SELECT asynctasq.dispatch('rest', asynctasq.args('nonsense', 1));
	SELECT asynctasq.dispatch('sleep', timeout => '50 ms');};
my $idle = q{SELECT sum(ready + running + scheduled) = 0 FROM asynctasq.stat_queues WHERE owner = 'app'};
sub run_everything
{
	my $id = (split /\n/, app($node, 'shop', 'app', qq{
		$everything
		SELECT asynctasq.dispatch('sleep')}))[-1];
	wait_for($node, 'shop', "SELECT count(*) = 1 FROM asynctasq.stat_workers WHERE task_id = $id");
	app($node, 'shop', 'app', "SELECT asynctasq.cancel($id)");
	wait_for($node, 'shop', $idle);
	return $node->safe_psql('shop', q{
		SELECT task, status, count(*) FROM (SELECT task, status FROM asynctasq.result
			UNION ALL SELECT task, error ->> 'sqlstate' FROM asynctasq.dead_letter
			UNION ALL SELECT what, 'log' FROM app.log) AS r GROUP BY task, status ORDER BY task, status});
}

sub empty
{
	$node->safe_psql('shop', q{DELETE FROM asynctasq.result; DELETE FROM asynctasq.dead_letter; DELETE FROM app.log});
	return;
}

# All functions, in a session that may have traps of its own.
my $in_session = q{
	SELECT asynctasq.create_queue('three'), asynctasq.pause_queue('three');
	SELECT asynctasq.dispatch('greet', '{}', queue => 'three'::pg_catalog.text) AS id \gset
	SELECT asynctasq.task_info(:id), asynctasq.result(:id), asynctasq.cancel(:id);
	SELECT asynctasq.wait(0), asynctasq.retry(0);
	SELECT asynctasq.register_model('Two', 'app.users'), asynctasq.unregister_model('Two');
	SELECT asynctasq.register_handler('h', 'app.greet(app.users, app.users[], pg_catalog.int4, pg_catalog.timestamptz, pg_catalog.jsonb, pg_catalog.numeric)');
	SELECT asynctasq.grant_dispatch('h', 'other'), asynctasq.revoke_dispatch('h', 'other'), asynctasq.unregister_handler('h');
	SELECT pg_catalog.count(*) FROM asynctasq.tasks;
	SELECT pg_catalog.count(*) FROM asynctasq.dead_letters;
	SELECT pg_catalog.count(*) FROM asynctasq.stat_queues;
	SELECT pg_catalog.count(*) FROM asynctasq.stat_workers;
	SELECT pg_catalog.count(*) FROM asynctasq.stat_handlers;
	SELECT pg_catalog.count(*) FROM asynctasq.stat_pools;
	SELECT asynctasq.fetch(asynctasq.ref('User'::pg_catalog.text, 1)), asynctasq.fetch_related(asynctasq.ref('Post'::pg_catalog.text, 1), 'author_id');
	SELECT asynctasq.fetch(NULL::app.users, asynctasq.ref('User'::pg_catalog.text, 1)), asynctasq.refresh(asynctasq.ref('User'::pg_catalog.text, 1));
	SELECT asynctasq.args('a', asynctasq.set(ARRAY[1, 2]), 'b', now() , 'c', ARRAY['x'::pg_catalog.text], 'd', u, 'e', '1'::pg_catalog.jsonb) FROM app.users AS u;
	SELECT asynctasq.list(asynctasq.select_related(asynctasq.filter(asynctasq.objects('Post'), '{"author__name__istartswith": "USER", "id__in": [1, 2], "title__regex": "^p"}'), 'author'));
	SELECT asynctasq.list(asynctasq.prefetch_related(asynctasq.exclude(asynctasq.objects('User'), '{"or": [{"age__range": [3, 5]}, {"joined__year": 2025}]}'), 'post'));
	SELECT asynctasq.list(asynctasq.distinct(asynctasq.values_list(asynctasq.order_by(asynctasq.objects('Post'), 'author__name'), true, 'author__name')));
	SELECT asynctasq.list(asynctasq.filter(asynctasq.annotate(asynctasq.objects('User'), '{"n": {"Count": "post"}}'), '{"n__gt": 0, "age": {"F": ["age", "+", 0]}}'));
	SELECT asynctasq.aggregate(asynctasq.objects('Post'), '{"n": {"Count": "author", "distinct": true}, "m": {"Max": "author__age"}, "s": {"Sum": "author__age"}, "a": {"Avg": "author__age"}}');
	SELECT asynctasq.get(asynctasq.objects('User'), '{"pk": 1}'), asynctasq.first(asynctasq.objects('User')), asynctasq.last(asynctasq.objects('User')),
		asynctasq.count(asynctasq.objects('User')), asynctasq.exists(asynctasq.objects('User')), asynctasq.in_bulk(asynctasq.objects('User'), '[1, 2]'),
		asynctasq.iterate(asynctasq.objects('User'), chunk_size => 3), asynctasq.sql(asynctasq.objects('User')), asynctasq.explain(asynctasq.objects('User'));
	SELECT (r).id FROM asynctasq.rows(NULL::app.users, asynctasq.slice(asynctasq.objects('User'), 0, 2)) AS r;
	SELECT ord FROM asynctasq.gather_lists(asynctasq.objects('User'), asynctasq.objects('Post'));
	BEGIN;
	SELECT asynctasq.create('User', '{"id": 30, "name": "new", "age": 1}'), asynctasq.save('User', '{"id": 30, "name": "saved"}', update_fields => '{name}');
	SELECT asynctasq.bulk_create('Post', '[{"author": 30, "title": "new 1"}, {"author": 30, "title": "new 2"}]');
	SELECT asynctasq.bulk_create('Post', '[{"author": 30, "title": "new 1"}]', update_conflicts => true, update_fields => '{author}', unique_fields => '{title}');
	SELECT asynctasq.bulk_update('User', '[{"id": 30, "age": 2}]', '{age}'), asynctasq.update(asynctasq.filter(asynctasq.objects('User'), '{"pk": 30}'), '{"age": {"F": ["age", "+", 1]}}');
	SELECT created FROM asynctasq.get_or_create('Post', '{"title": "new 3"}', '{"author": 30}');
	SELECT created FROM asynctasq.update_or_create('Post', '{"title": "new 3"}', '{"author": 30}');
	SELECT asynctasq.delete(asynctasq.filter(asynctasq.objects('Post'), '{"author__pk": 30}'));
	ROLLBACK;
	SELECT asynctasq.dispatch('each', asynctasq.args('u', u), queue => 'three') FROM app.users AS u;
	SELECT asynctasq.dispatch_many('greet', ARRAY['{}'::asynctasq.msgpack], queue => 'three', max_attempts => 1);
	SELECT asynctasq.dispatch('litter', asynctasq.args('u', u, 'fail', false), queue => 'three', correlation_id => 'x', delay => '0') FROM app.users AS u;
	SELECT asynctasq.dispatch('set', asynctasq.args('us', asynctasq.objects('User'), 'later', asynctasq.objects('User'), 'raw', asynctasq.ref('User'::pg_catalog.text, 1)), queue => 'three');
	SELECT asynctasq.resume_queue('three'), asynctasq.drain('three'), asynctasq.purge_queue('three', true), asynctasq.drop_queue('three');};
$in_session =~ s/now\(\)/pg_catalog.now()/;
sub use_session
{
	my ($before, $name) = @_;
	my $offset = -s $node->logfile;
	my (undef, undef, $stderr) = $node->psql('shop', "SET statement_timeout = 0; SET lock_timeout = 0; $before; $in_session",
		on_error_stop => 1, extra_params => [ '-U', 'app' ]);

	is($stderr, '', "$name: nothing is in the way");
	is_unsprung($offset, $name);
	return;
}

my $expected = run_everything();
note($expected);
like($expected, qr/^batch\|P0001\|1\nbatch\|log\|19\n/, 'without traps, a batch runs but for one task');
like($expected, qr/\ndeferred\|log\|9\n/, 'deferred triggers');
like($expected, qr/\neach\|P0002\|1\neach\|completed\|19\n/, 'tasks of a query set and one without its row') or diag($expected);
like($expected, qr/\ngreet\|P0001\|4\ngreet\|completed\|76\ngroup\|P0001\|4\ngroup\|completed\|76\n/, 'single tasks and groups');
like($expected, qr/\nlitter\|P0001\|1\nlitter\|completed\|3\nlitter_batch\|P0001\|1\nlitter_group\|P0001\|1\nlitter_group\|completed\|3\n/, 'tasks with temporary objects');
like($expected, qr/\non_failure\|log\|13\nrest\|22023\|1\nset\|completed\|5\n/, 'on_failure, a call that does not fit, and query sets');
like($expected, qr/\nsleep\|57014\|1\nsleep\|cancelled\|1$/, 'a timeout and a cancelled task');

use_session("SELECT trap.set_temporary()", 'a session with temporary objects');
foreach my $for ('DATABASE shop', 'ROLE app')
{
	my $offset = -s $node->logfile;

	empty();
	$node->safe_psql('shop', qq{
		ALTER $for SET search_path = trap, pg_temp, pg_catalog;
		ALTER $for SET transform_null_equals = on;
		ALTER $for SET "DateStyle" = 'German';
		ALTER $for SET "TimeZone" = 'Asia/Kathmandu';
		ALTER $for SET "IntervalStyle" = 'iso_8601';
		ALTER $for SET default_transaction_deferrable = on;
		ALTER $for SET lock_timeout = '1ms';
		ALTER $for SET statement_timeout = '1ms';
		ALTER $for SET row_security = off;
		ALTER $for SET standard_conforming_strings = off;
		ALTER $for SET enable_indexscan = off;
		ALTER $for SET work_mem = '64kB';});
	{
		local $ENV{PGOPTIONS} = $untrapped;

		# workers, the scanner and the launcher begin anew
		$node->restart;
		is(run_everything(), $expected, "ALTER $for: tasks run as ever");
		is_unsprung($offset, "ALTER $for");
	}
	use_session('SELECT 1', "ALTER $for, in a session");
	use_session('SELECT trap.set_temporary()', "ALTER $for, in a session with temporary objects");
	{
		local $ENV{PGOPTIONS} = $untrapped;
		$node->safe_psql('shop', "ALTER $for RESET ALL");
	}
}

$node->stop;
done_testing();
