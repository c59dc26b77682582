# The example for Tortoise: models registered from what they say of themselves,
# references in SQL and as its serializer writes them, loaded and lazy.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('tortoise');
create_tenant($node, 'shop', 'app');

is(python($node, 'shop', 'examples/tortoise/shop_tasks.py'),
	join("\n",
		'model shop.models.Product',
		'model shop.models.Country',
		'A fan for 19 goes to Germany',
		'A lamp for 30 goes to Germany',
		'task before the rollback: True',
		'task after the rollback: False'),
	'tasks commit with the objects that they are about');
query_is(
	$node, 'shop', q{
	SELECT class, orm, relation, key, on_missing FROM asynctasq.model ORDER BY class},
	join("\n",
		'shop.models.Country|tortoise|app."Country"|{code}|error',
		'shop.models.Product|tortoise|app.product|{id}|error'),
	'each model has its table and its key');
query_is(
	$node, 'shop', q{
	SELECT task, status, jsonb_path_query_array(args::jsonb, '$.destination.keyvalue().key')
	FROM asynctasq.result ORDER BY id},
	join("\n",
		'shop.tasks.Ship|completed|["__orm_class__", "__orm:tortoise__"]',
		'shop.tasks.Ship|completed|["pk", "__type__", "model_class"]'),
	'references travelled, also one to an object that was not loaded');
query_is($node, 'shop', 'SELECT name FROM app.product ORDER BY name',
	"A fan\nA lamp", 'what was rolled back left nothing');
query_is($node, 'shop',
	'SELECT (SELECT count(*) FROM asynctasq.tasks), (SELECT count(*) FROM asynctasq.dead_letters)',
	'0|0', 'no task is left');

$node->stop;
done_testing();
