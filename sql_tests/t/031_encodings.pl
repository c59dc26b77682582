# Text in databases whose encoding is not UTF8: what stands on the wire is
# UTF-8, and is converted or refused, never mangled.  Tasks are run by workers.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main');

# What each encoding can hold, and what it cannot, in hexadecimal UTF-8.
my %text = (
	latin1 => { encoding => 'LATIN1', good => 'c3a9c3bf', bad => 'e282ac' },
	eucjp => { encoding => 'EUC_JP', good => 'e697a5e69cace8aa9e', bad => 'f09f9880' },
	ascii => { encoding => 'SQL_ASCII', good => 'c3a9e282acf09f9880' });

# The text of some hexadecimal UTF-8, in the database's encoding.
sub text
{
	my ($db, $hex) = @_;

	return $db eq 'ascii'
	  ? "convert_from('\\x$hex', 'SQL_ASCII')"
	  : "convert_from('\\x$hex', 'UTF8')";
}

# A msgpack str of some hexadecimal UTF-8, and a map of such strs.
sub str
{
	my ($hex) = @_;

	return sprintf('%02x', 0xa0 | length($hex) / 2) . $hex;
}

sub map_of
{
	my (@items) = @_;

	return sprintf('%02x', 0x80 | @items / 2) . join('', @items);
}

sub ascii
{
	return str(unpack('H*', $_[0]));
}

# A task as Python writes it.
sub payload
{
	my ($class, $params) = @_;

	return map_of(ascii('class'), str($class), ascii('params'), $params,
		ascii('metadata'), map_of(ascii('max_attempts'), '03'));
}

foreach my $db ('latin1', 'eucjp', 'ascii')
{
	my ($encoding, $good, $bad) = @{ $text{$db} }{ 'encoding', 'good', 'bad' };
	my $literal = text($db, $good);

	$node->safe_psql('postgres',
		"CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	create_tenant($node, $db, 'app');

	my $sql = sub { return app($node, $db, 'app', $_[0]); };
	my $fails = sub {
		my ($query, $pattern, $name) = @_;
		return app_fails($node, $db, 'app', $query, $pattern, "$db: $name");
	};

	# Names with characters of the encoding's own: handler, parameter, queue,
	# label, attribute, class, column.
	$sql->(qq{
		CREATE TABLE got (what text, value text);
		DO \$\$
		DECLARE
			name text := $literal;
		BEGIN
			EXECUTE format('CREATE TYPE label AS ENUM (%L)', name);
			EXECUTE format('CREATE TYPE pair AS (%I text)', name);
			EXECUTE format('CREATE TABLE %I (%I text PRIMARY KEY)', name, name);
			EXECUTE format('INSERT INTO %I VALUES (%L)', name, name);
			EXECUTE format('CREATE FUNCTION %I(%I text, l label, p pair, j jsonb, r %I) RETURNS void LANGUAGE sql AS
				''INSERT INTO app.got VALUES (''''text'''', \$1), (''''label'''', \$2::text), (''''attribute'''', (\$3).%I),
				(''''json'''', \$4 #>> ''''{}''''), (''''row'''', (\$5).%I)''', name, name, name, name, name);
			PERFORM asynctasq.register_model(name || '.Model', format('%I', name)::regclass);
			PERFORM asynctasq.register_handler(name, (SELECT oid::regprocedure FROM pg_proc WHERE proname = name), queue => name);
		END \$\$;
		CREATE FUNCTION note(v text) RETURNS void LANGUAGE sql AS 'INSERT INTO app.got VALUES (''note'', v)';
		CREATE FUNCTION note_json(v jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO app.got VALUES (''json'', v)';
		CREATE FUNCTION fail(v text) RETURNS void LANGUAGE plpgsql AS \$\$
			BEGIN RAISE EXCEPTION 'failed: %', v USING DETAIL = v, HINT = v; END \$\$;
		SELECT asynctasq.register_handler('note', 'note(text)'), asynctasq.register_handler('note_json', 'note_json(jsonb)'),
			asynctasq.register_handler('fail', 'fail(text)', max_attempts => 1);});

	# From SQL: the wire holds UTF-8, whatever the database's encoding.
	is( $sql->("SELECT encode(asynctasq.args($literal, $literal)::bytea, 'hex')"),
		map_of(str($good), str($good)),
		"$db: args() writes UTF-8");
	my $args = qq{asynctasq.args($literal, $literal, 'l', ${literal}::label, 'p', ROW($literal)::pair, 'j', to_jsonb(${literal}::text),
		'r', asynctasq.ref($literal || '.Model', ${literal}::text))};
	$sql->("SELECT asynctasq.dispatch($literal, $args)");
	wait_for($node, $db, "SELECT count(*) = 5 FROM app.got");
	is( $sql->("SELECT string_agg(what, ' ' ORDER BY what) FROM got WHERE value = $literal"),
		'attribute json label row text',
		"$db: a worker gets names and values as they were");

	# As Python writes it.
	$sql->('TRUNCATE got');
	my $reference = map_of(ascii('__orm:sqlalchemy__'), str($good),
		ascii('__orm_class__'), str($good . unpack('H*', '.Model')));
	my $task = payload($good,
		map_of(str($good), str($good), ascii('l'), str($good), ascii('p'), map_of(str($good), str($good)),
			ascii('j'), str($good), ascii('r'), $reference));
	$sql->("SELECT asynctasq.dispatch_payload('\\x$task')");
	wait_for($node, $db, "SELECT count(*) = 5 FROM app.got");
	is( $sql->("SELECT string_agg(what, ' ' ORDER BY what) FROM got WHERE value = $literal"),
		'attribute json label row text',
		"$db: and so from Python's bytes");

	# The forms of a value.
	my $map = map_of(str($good), str($good));
	is( $sql->(qq{
			SELECT '\\x$map'::bytea::asynctasq.msgpack::text = format('{"%s": "%s"}', $literal, $literal),
				'\\x$map'::bytea::asynctasq.msgpack::jsonb = jsonb_build_object($literal, $literal),
				format('{"%s": "%s"}', $literal, $literal)::asynctasq.msgpack::bytea = '\\x$map',
				jsonb_build_object($literal, $literal)::asynctasq.msgpack::bytea = '\\x$map',
				'\\x$map'::bytea::asynctasq.msgpack OPERATOR(asynctasq.->>) $literal = $literal}),
		't|t|t|t|t',
		"$db: JSON forms and access by key");

	# A failure's own words.
	my $id = $sql->("SELECT asynctasq.dispatch('fail', asynctasq.args('v', $literal))");
	wait_for($node, $db, "SELECT count(*) = 1 FROM asynctasq.dead_letters WHERE id = $id");
	is( $sql->(qq{
			SELECT error ->> 'message' = 'failed: ' || $literal, error ->> 'detail' = $literal, error ->> 'hint' = $literal
			FROM asynctasq.dead_letters WHERE id = $id}),
		't|t|t',
		"$db: error texts of a failed task");

	# Whatever the client's encoding.
	foreach my $client ('UTF8', $encoding)
	{
		next if $client eq 'SQL_ASCII';
		my ($value, $bytes) = split /\n/, $sql->(qq{
			SET client_encoding = '$client';
			SELECT asynctasq.args('v', $literal);
			SELECT encode(convert_to($literal, '$client'), 'hex')});
		is(unpack('H*', $value), unpack('H*', '{"v": "') . $bytes . unpack('H*', '"}'),
			"$db: a value as a client with encoding $client reads it");
		is( $sql->(sprintf(q{
				SET client_encoding = '%s';
				SELECT encode('{"v": "%s"}'::asynctasq.msgpack::bytea, 'hex')}, $client, pack('H*', $bytes))),
			map_of(ascii('v'), str($good)),
			"$db: and writes it");
	}
	$node->safe_psql($db, 'DELETE FROM asynctasq.dead_letter');

	if ($db eq 'ascii')
	{
		# Bytes that are no UTF-8 are text there, and nothing on the wire.
		$fails->("SELECT asynctasq.args('v', E'\\xe9')", qr/22021/, 'bytes that are no UTF-8 as a value');
		$fails->("SELECT asynctasq.args(E'\\xe9', 1)", qr/22021/, 'as a name');
		$fails->("SELECT asynctasq.set(ARRAY[E'\\xe9'])", qr/22021/, 'in a set');
		$fails->("SELECT jsonb_build_object('v', E'\\xe9')::asynctasq.msgpack", qr/22021/, 'in jsonb');
		$fails->("SELECT json_build_object(E'\\xe9', 1)::asynctasq.msgpack", qr/22021/, 'in json');
		$fails->("SELECT asynctasq.dispatch_payload('\\x" . payload('e9', '80') . "')", qr/22021/, 'in a payload');
		next;
	}

	# Characters that the encoding lacks are refused where they would be text ...
	my $euro = map_of(ascii('v'), str($bad));
	$fails->("SELECT asynctasq.dispatch_payload('\\x" . payload($bad, '80') . "')", qr/22P05/, 'class beyond the encoding');
	my $escape = $db eq 'latin1' ? '\u20ac' : '\ud83d\ude00';
	$fails->(qq(SELECT '{"v": "$escape"}'::asynctasq.msgpack), qr/22P05/, 'JSON escape beyond the encoding');
	$fails->("SELECT '\\x$euro'::bytea::asynctasq.msgpack OPERATOR(asynctasq.->>) 'v'", qr/22P05/, 'text of a value beyond the encoding');

	# ... and end a task at its first attempt, which everyone can look at.
	my $bad_ref = map_of(ascii('__orm:sqlalchemy__'), '01', ascii('__orm_class__'), str($bad));
	my @tasks = (
		[ 'note', $euro, '22P05' ],
		[ 'note', map_of(str($bad), '01'), '22P05' ],
		[ 'note_json', map_of(ascii('v'), map_of(str($bad), '01')), '22P05' ],
		[ 'note_json', map_of(ascii('v'), $bad_ref), '22P05' ]);
	my @ids = map { $sql->("SELECT asynctasq.dispatch_payload('\\x" . payload(unpack('H*', $_->[0]), $_->[1]) . "')"); } @tasks;
	wait_for($node, $db, 'SELECT count(*) = 0 FROM asynctasq.task');
	is( $sql->("SELECT string_agg(concat_ws(' ', task, attempt, error ->> 'sqlstate'), ', ' ORDER BY id) FROM asynctasq.dead_letters"),
		join(', ', map { "$_->[0] 1 $_->[2]"; } @tasks),
		"$db: tasks with characters beyond the encoding are dead letters at once");
	is( $sql->("SELECT count(args) FROM asynctasq.dead_letters"),
		scalar(@tasks), "$db: their arguments can be read");
	is( $sql->("SELECT args ->> 'v' FROM asynctasq.dead_letters WHERE id = $ids[0]"),
		sprintf('{"__str__": "%s"}', $sql->("SELECT encode('\\x$bad', 'base64')")),
		"$db: as bytes");
	is( $sql->(qq{
			SELECT count(*) FILTER (WHERE v::text::asynctasq.msgpack OPERATOR(asynctasq.=) v), count(*) FILTER (WHERE v::json::asynctasq.msgpack OPERATOR(asynctasq.=) v),
				count(*) FILTER (WHERE v::jsonb::asynctasq.msgpack::jsonb = v::jsonb)
			FROM (VALUES ('\\x$euro'::bytea::asynctasq.msgpack), ('\\x} . map_of(str($bad), str($bad), str($good), str($good . $bad)) . qq{'::bytea::asynctasq.msgpack)) AS t (v)}),
		'2|2|2',
		"$db: nothing is lost in the JSON forms");
	is( $sql->("SELECT status FROM asynctasq.task_info($ids[3])"),
		'failed', "$db: task_info() of such a task");

	# The same for one that waits.
	$sql->("SELECT asynctasq.dispatch_payload('\\x" . payload(unpack('H*', 'note'), $euro) . "', delay => '1 hour')");
	is($sql->('SELECT count(args) FROM asynctasq.tasks'), '1', "$db: tasks shows it while it waits");
	$sql->("SELECT asynctasq.dispatch('note', asynctasq.args('v', 'next'))");
	wait_for($node, $db, "SELECT count(*) = 1 FROM app.got WHERE value = 'next'");
	pass("$db: and the queue goes on");
}

done_testing();
