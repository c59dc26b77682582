# The examples for SQLAlchemy: models registered from their metadata, tasks in
# the transactions of sync and asyncio sessions, in SQL and as payloads.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('sqlalchemy');
create_tenant($node, 'shop', 'app');
$node->safe_psql('shop', 'GRANT CREATE ON DATABASE shop TO app');

my @models = (
	'shop.models.Employee', 'shop.models.Order',
	'shop.models.OrderLine', 'shop.models.User');
my $registered = join '', map { "model $_\n" } @models;
my $rolled_back =
  "task before the rollback: True\ntask after the rollback: False";

is(python($node, 'shop', 'examples/sqlalchemy/sync_shop.py'),
	"${registered}Welcome, Ann\nAnn owes 44.85\n$rolled_back",
	'a session of psycopg2');
query_is(
	$node, 'shop', q{
	SELECT class, orm, relation, key FROM asynctasq.model ORDER BY class},
	join("\n",
		'shop.models.Employee|sqlalchemy|shop.employees|{user_id}',
		'shop.models.Order|sqlalchemy|shop."Customer orders"|{id}',
		'shop.models.OrderLine|sqlalchemy|shop.order_lines|{order_id,line}',
		'shop.models.User|sqlalchemy|shop.users|{id}'),
	'each model has its table and its key');

is(python($node, 'shop', 'examples/sqlalchemy/async_shop.py'),
	"${registered}Welcome, Bela\nBela owes 21.50\n$rolled_back",
	'a session of asyncpg, after models were registered again');

# SQLAlchemy knows psycopg from 2.0 on.
if (python($node, 'shop', '-c', 'import sqlalchemy; print(sqlalchemy.__version__)') !~ /^1\./)
{
	is( python($node, 'shop', 'examples/sqlalchemy/sync_shop.py',
			'postgresql+psycopg://'),
		"${registered}Welcome, Ann\nAnn owes 44.85\n$rolled_back",
		'a session of psycopg');
	is( python($node, 'shop', 'examples/sqlalchemy/async_shop.py',
			'postgresql+psycopg://'),
		"${registered}Welcome, Bela\nBela owes 21.50\n$rolled_back",
		'a session of psycopg for asyncio');
}

# Classes that have no simple table of their own.
is(python($node, 'shop', 'sql_tests/t/mappings.py'),
	join("\n", map { "__main__.$_" } qw(Circle Manager Mapped Named Outer.Inner Person Trainee Worker)),
	'mapped classes are found');
query_is(
	$node, 'shop', q{
	SELECT substr(class, 10), relation, key FROM asynctasq.model
	WHERE class ~ '^__main__' ORDER BY class},
	join("\n",
		'Circle|app.circle|{circle_id}',
		'Manager|app.manager|{worker_a,worker_b}',
		'Mapped|app.mapped|{id}',
		'Named|app."a ""b"".c"|{"the \"key\""}',
		'Outer.Inner|app.inner_table|{id}',
		'Person|app.person|{a,b}',
		'Trainee|app.worker|{person_a,person_b}',
		'Worker|app.worker|{person_a,person_b}'),
	'inherited, imperative and nested classes have their own table and its key');

query_is($node, 'shop', 'SELECT DISTINCT name FROM shop.users ORDER BY name',
	"Ann\nBela", 'what was rolled back left nothing');
query_is(
	$node, 'shop', q{
	SELECT DISTINCT task, status, args::jsonb #>> '{user,__orm_class__}',
		args::jsonb #>> '{lines,1,__orm:sqlalchemy__,1}'
	FROM asynctasq.result ORDER BY task},
	"shop.tasks.Invoice|completed||2\nshop.tasks.Welcome|completed|shop.models.User|",
	'references travelled, of either making');
query_is($node, 'shop',
	'SELECT (SELECT count(*) FROM asynctasq.tasks), (SELECT count(*) FROM asynctasq.dead_letters)',
	'0|0', 'no task is left');

$node->stop;
done_testing();
