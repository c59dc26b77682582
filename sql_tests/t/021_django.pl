# The example for Django: models registered by a management command, tasks in
# the transactions of the ORM, in SQL and as payloads.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('django');
create_tenant($node, 'shop', 'app');

# Composite keys came with Django 5.2.
my $composite = python($node, 'shop', '-c',
	'import django; print(django.VERSION >= (5, 2))') eq 'True';
my @models = map { "shop.models.$_" }
  ('Article', 'Discounted', 'Book', 'Cart', $composite ? 'CartItem' : ());
my @packed = $composite ? '3 articles' : ();

python($node, 'shop', 'examples/django/manage.py', 'migrate', '--run-syncdb', '--verbosity=0');
is(python($node, 'shop', 'examples/django/manage.py', 'asynctasq_sync'),
	join("\n", map { "model $_" } @models),
	'asynctasq_sync registers all models');
query_is(
	$node, 'shop', q{
	SELECT class, orm, relation, key FROM asynctasq.model ORDER BY class},
	join("\n",
		'shop.models.Article|django|app.shop_article|{id}',
		'shop.models.Book|django|app.shop_book|{article_ptr_id}',
		'shop.models.Cart|django|app."Shopping carts"|{id}',
		$composite ? 'shop.models.CartItem|django|app.shop_cartitem|{cart_id,article_id}' : (),
		'shop.models.Discounted|django|app.shop_article|{id}'),
	'each model has its table and its key');
is(python($node, 'shop', 'examples/django/manage.py', 'asynctasq_sync', '--verbosity=0'),
	'', 'and again');

is(python($node, 'shop', 'examples/django/manage.py', 'shop'),
	join("\n",
		'A fan for 19.90',
		'A fan for 19.90',
		'Thank you, Ann',
		@packed,
		'task before the rollback: True',
		'task after the rollback: False'),
	'tasks commit with the objects that they are about');
query_is($node, 'shop', 'SELECT customer FROM app."Shopping carts"',
	'Ann', 'what was rolled back left nothing');
query_is(
	$node, 'shop', q{
	SELECT task, status, args::jsonb #>> '{article,__orm_class__}',
		jsonb_array_length(args::jsonb #> '{items,0,__orm:django__}')
	FROM asynctasq.result ORDER BY id},
	join("\n",
		'shop.tasks.Announce|completed|shop.models.Article|',
		'shop.tasks.Announce|completed|shop.models.Discounted|',
		'shop.tasks.Greet|completed||',
		map { 'shop.tasks.Pack|completed||2' } @packed),
	'references travelled, of either making');
query_is($node, 'shop',
	'SELECT (SELECT count(*) FROM asynctasq.tasks), (SELECT count(*) FROM asynctasq.dead_letters)',
	'0|0', 'no task is left');

$node->stop;
done_testing();
