# A payload at the limit is dispatched, run, copied, dumped and restored; one
# byte more is refused at the door.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_cluster('main');
create_tenant($node, 'shop', 'app');

sub sql
{
	return app($node, 'shop', 'app', $_[0]);
}

sub fails
{
	return app_fails($node, 'shop', 'app', @_);
}

sql(q{
	CREATE TABLE got (what text, size int, hash text);
	CREATE FUNCTION measure(v text) RETURNS void LANGUAGE sql AS
		'INSERT INTO app.got VALUES (''text'', length(v), md5(v))';
	CREATE FUNCTION weigh(v bytea) RETURNS void LANGUAGE sql AS
		'INSERT INTO app.got VALUES (''bytea'', length(v), md5(v))';
	SELECT asynctasq.register_handler('measure', 'measure(text)', queue => 'safe'),
		asynctasq.register_handler('weigh', 'weigh(bytea)', queue => 'safe'),
		asynctasq.create_queue('safe', durable => true);});

# {"v": <text or bytes>} takes eight bytes besides; {"class": "measure",
# "params": .., "metadata": {}} 39 more.
sub check_limit
{
	my ($kb) = @_;
	my $most = $kb * 1024 - 8;
	my $too_many = $most + 1;

	foreach my $value ("repeat(E'\\x01', %d)", "convert_to(repeat('x', %d), 'UTF8')")
	{
		my $handler = $value =~ /^repeat/ ? 'measure' : 'weigh';
		my $args = "asynctasq.args('v', $value)";

		is( sql(sprintf("SELECT length($args\::bytea)", $most)),
			$kb * 1024, "$kb kB: args() at the limit");
		fails(sprintf("SELECT $args", $too_many), qr/54000/, "$kb kB: args() over it");
		sql(sprintf("SELECT asynctasq.dispatch('$handler', $args)", $most));
	}
	wait_for($node, 'shop', 'SELECT count(*) = 2 FROM app.got');
	is( sql("DELETE FROM got WHERE size = $most RETURNING what"),
		"text\nbytea", "$kb kB: tasks at the limit run");
	sql('TRUNCATE got');

	my $task = q{'\x83a5636c617373a7' || 'measure'::bytea || '\xa6706172616d73' || $1 || '\xa86d6574616461746180'};
	sql(qq{
		CREATE FUNCTION task_of(params bytea) RETURNS bytea LANGUAGE sql AS \$\$ SELECT $task \$\$})
	  if $kb == 1024;
	my $params = "task_of('\\x81a176db' || int4send(%d) || convert_to(repeat('x', %d), 'UTF8'))";
	my $rest = length(sql("SELECT task_of('')")) / 2 - 1;
	my $size = $most - $rest;
	sql(sprintf("SELECT asynctasq.dispatch_payload($params)", $size, $size));
	fails(sprintf("SELECT asynctasq.dispatch_payload($params)", $size + 1, $size + 1),
		qr/54000/, "$kb kB: dispatch_payload() over it");
	wait_for($node, 'shop', 'SELECT count(*) = 1 FROM app.got');
	is(sql("DELETE FROM got RETURNING size"), $size, "$kb kB: a payload at the limit runs");
	return;
}

check_limit(1024);
$node->append_conf('postgresql.conf', "asynctasq.max_payload = '64MB'");
$node->reload;
wait_for($node, 'shop', "SELECT current_setting('asynctasq.max_payload') = '64MB'");
check_limit(65536);

# The largest ones wait while their table is copied, and dumped.  Text of
# control characters is what grows most in the text form.
sql(q{
	SELECT asynctasq.dispatch('measure', asynctasq.args('v', repeat(E'\x01', 64 * 1024 * 1024 - 8)), delay => '1 day');
	SELECT asynctasq.dispatch('weigh', asynctasq.args('v', convert_to(repeat('x', 64 * 1024 * 1024 - 8), 'UTF8')), delay => '1 day');});
my $hashes = 'SELECT string_agg(md5(args::bytea), \' \' ORDER BY id) FROM asynctasq.task';
my $expected = $node->safe_psql('shop', $hashes);
my $dir = $node->basedir;

foreach my $format ('text', 'binary')
{
	$node->safe_psql('shop', qq{
		COPY (SELECT id, args FROM asynctasq.task) TO '$dir/copy' (FORMAT $format);
		CREATE UNLOGGED TABLE copied_$format (id bigint, args asynctasq.msgpack);
		COPY copied_$format FROM '$dir/copy' (FORMAT $format)});
	is( $node->safe_psql('shop',
			"SELECT string_agg(md5(args::bytea), ' ' ORDER BY id) FROM copied_$format"),
		$expected, "COPY of the largest payloads, $format");
	$node->safe_psql('shop', "DROP TABLE copied_$format");
	unlink "$dir/copy";
}

$node->command_ok([ 'pg_dump', '--no-sync', '--format=custom', '--compress=1', '-f', "$dir/dump", 'shop' ],
	'pg_dump of the largest payloads');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', "$dir/dump" ],
	'pg_restore');
query_is($node, 'restored', $hashes, $expected, 'and they are the same');

done_testing();
