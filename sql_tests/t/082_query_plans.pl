# What counts, aggregates and changes the rows of a query set has the plan of
# the statement one would write by hand; list() is in queryset_plans.

use strict;
use warnings;

use AtqTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main', 'autovacuum' => 'off');
create_tenant($node, 'shop', 'app');
app($node, 'shop', 'app', q{
	CREATE TABLE author (id int PRIMARY KEY, name text NOT NULL, age int NOT NULL);
	CREATE TABLE post (id int PRIMARY KEY, author_id int NOT NULL REFERENCES author, title text NOT NULL, views bigint NOT NULL);
	CREATE TABLE comment (id int PRIMARY KEY, post_id int NOT NULL REFERENCES post, body text NOT NULL);
	CREATE INDEX ON author (age);
	CREATE INDEX ON post (author_id);
	CREATE INDEX ON comment (post_id);
	INSERT INTO author SELECT i, md5(i::text), i % 90 FROM generate_series(1, 10000) AS i;
	INSERT INTO post SELECT i, i % 10000 + 1, 'post ' || i, i % 1000 FROM generate_series(1, 20000) AS i;
	INSERT INTO comment SELECT i, i % 5000 + 1, 'comment ' || i FROM generate_series(1, 20000) AS i;
	ANALYZE author, post, comment;});

# logged_plan($sql, $ours): of the statement, or of the one that it has asynctasq
# run, as the server logs it; without what it is estimated at.
sub logged_plan
{
	my ($sql, $ours) = @_;
	my $offset = -s $node->logfile;

	$node->safe_psql(
		'shop', qq{
		LOAD 'auto_explain';
		SET auto_explain.log_min_duration = 0;
		SET auto_explain.log_nested_statements = on;
		SET auto_explain.log_format = json;
		SET search_path = app, asynctasq;
		BEGIN;
		$sql;
		ROLLBACK;});
	my @logged = map { decode_json(tr/\t//dr) }
	  slurp_file($node->logfile, $offset) =~ /LOG:  duration: [\d.]+ ms  plan:\n((?:\t.*\n)+)/g;
	@logged = grep { $_->{'Query Text'} ne "$sql;" } @logged if $ours;
	is(scalar(@logged), 1, "one statement: $sql");
	diag(explain([ map { $_->{'Query Text'} } @logged ])) if @logged != 1;
	return strip($logged[0]{Plan});
}

sub strip
{
	my ($plan) = @_;

	delete @$plan{ 'Startup Cost', 'Total Cost', 'Plan Rows', 'Plan Width' };
	strip($_) foreach @{ $plan->{Plans} // [] };
	return $plan;
}

# same_plan($name, $sql, $by_hand, $expected): the plan has $expected in it,
# lest all that is compared be scans of whole tables
sub same_plan
{
	my ($name, $sql, $by_hand, $expected) = @_;
	my $plan = logged_plan($sql, 1);

	is_deeply($plan, logged_plan($by_hand, 0), $name);
	return like(encode_json($plan), qr/$expected/, "$name: $expected");
}

sub set
{
	my ($table, $lookups) = @_;

	return "filter(objects('app.$table'), '$lookups')";
}

same_plan('count of all', q{SELECT count(objects('app.author'))}, 'SELECT count(*) FROM author AS t0', 'Aggregate');
same_plan('count', 'SELECT count(' . set('author', '{"age": 30}') . ')', 'SELECT count(*) FROM author AS t0 WHERE t0.age = 30', 'author_age_idx');
same_plan('count over a foreign key', 'SELECT count(' . set('post', '{"author__age": 30}') . ')',
	'SELECT count(*) FROM post AS t0 JOIN author AS t1 ON t1.id = t0.author_id WHERE t1.age = 30', 'author_age_idx');
same_plan('count over a relation back', 'SELECT count(' . set('author', '{"post__views": 999}') . ')',
	q{SELECT count(*) FROM author AS t0 WHERE EXISTS (SELECT 1 FROM post AS t1 WHERE t1.author_id = t0.id AND t1.views = '999')}, 'Join|Loop');
same_plan('count of a slice', 'SELECT count(slice(order_by(' . set('author', '{"age__gt": 10}') . q{, 'id'), 0, 10))},
	'SELECT count(*) FROM (SELECT 1 FROM author AS t0 WHERE t0.age > 10 ORDER BY t0.id LIMIT 10) AS asynctasq_set', 'author_pkey');
same_plan('exists', 'SELECT asynctasq.exists(' . set('author', '{"pk": 42}') . ')', 'SELECT EXISTS (SELECT 1 FROM author AS t0 WHERE t0.id = 42)', 'author_pkey');
same_plan('exists over two foreign keys', 'SELECT asynctasq.exists(' . set('comment', '{"post__author__id": 30}') . ')',
	'SELECT EXISTS (SELECT 1 FROM comment AS t0 JOIN post AS t1 ON t1.id = t0.post_id WHERE t1.author_id = 30)', 'post_author_id_idx');
same_plan('aggregate', 'SELECT aggregate(' . set('post', '{"author": 30}') . q{, '{"n": {"Count": "*"}, "v": {"Sum": "views"}}')},
	'SELECT count(*), sum(t0.views) FROM post AS t0 WHERE t0.author_id = 30', 'post_author_id_idx');
same_plan('greatest', q{SELECT aggregate(objects('app.author'), '{"oldest": {"Max": "age"}}')}, 'SELECT max(t0.age) FROM author AS t0', 'author_age_idx');
same_plan('first', 'SELECT first(' . set('author', '{"age__gt": 10}') . ')', 'SELECT t0.* FROM author AS t0 WHERE t0.age > 10 ORDER BY t0.id LIMIT 1', 'author_pkey');
same_plan('last', 'SELECT last(' . set('author', '{"age__gt": 10}') . ')', 'SELECT t0.* FROM author AS t0 WHERE t0.age > 10 ORDER BY t0.id DESC LIMIT 1', 'Backward');
same_plan('get', 'SELECT get(' . set('author', '{"pk": 42}') . ')', 'SELECT t0.* FROM author AS t0 WHERE t0.id = 42 LIMIT 2', 'author_pkey');
same_plan('in_bulk', q{SELECT in_bulk(objects('app.author'), '[1, 5, 9]')}, 'SELECT t0.* FROM author AS t0 WHERE t0.id IN (1, 5, 9)', 'author_pkey');
same_plan('update by key', 'SELECT update(' . set('author', '{"pk": 42}') . q{, '{"name": "x"}')}, q{UPDATE author AS t0 SET name = 'x' WHERE t0.id = 42}, 'author_pkey');
same_plan('update of an expression', 'SELECT update(' . set('post', '{"author": 30}') . q{, '{"views": {"F": ["views", "+", 1]}}')},
	'UPDATE post AS t0 SET views = t0.views + 1 WHERE t0.author_id = 30', 'post_author_id_idx');
same_plan('update over a foreign key', 'SELECT update(' . set('post', '{"author__age": 30}') . q{, '{"title": "x"}')},
	q{UPDATE post AS t0 SET title = 'x' WHERE t0.id IN (SELECT t2.id FROM post AS t2 JOIN author AS t3 ON t3.id = t2.author_id WHERE t3.age = 30)}, 'author_age_idx');
same_plan('update over a relation back', 'SELECT update(' . set('author', '{"post__views": 999}') . q{, '{"name": "x"}')},
	q{UPDATE author AS t0 SET name = 'x' WHERE EXISTS (SELECT 1 FROM post AS t1 WHERE t1.author_id = t0.id AND t1.views = '999')}, 'Join|Loop');
same_plan('delete by key', 'SELECT delete(' . set('comment', '{"pk": 42}') . ')', 'DELETE FROM comment AS t0 WHERE t0.id = 42', 'comment_pkey');
same_plan('delete', 'SELECT delete(' . set('comment', '{"post": 30}') . ')', 'DELETE FROM comment AS t0 WHERE t0.post_id = 30', 'comment_post_id_idx');
same_plan('delete over a foreign key', 'SELECT delete(' . set('comment', '{"post__author__id": 30}') . ')',
	'DELETE FROM comment AS t0 WHERE t0.id IN (SELECT t2.id FROM comment AS t2 JOIN post AS t3 ON t3.id = t2.post_id WHERE t3.author_id = 30)', 'post_author_id_idx');

# A comparison that finds differences.
isnt(encode_json(logged_plan('SELECT count(' . set('author', '{"age": 30}') . ')', 1)), encode_json(logged_plan('SELECT count(*) FROM author AS t0 WHERE t0.id = 30', 0)), 'plans that differ');

$node->stop;
done_testing();
