# A million rows of a query set take no more memory than a thousand, whichever
# way they are read, here and on another server.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant ROWS => 1_000_000;

# What may come on top: of allocation, and of work_mem, which is 4 MB.
use constant SLACK_KB => 12 * 1024;

my $node = new_cluster('main', 'asynctasq.enabled' => 'off', 'shared_buffers' => '1MB');
create_tenant($node, 'shop', 'app');
create_servers($node, 'shop', "user 'app'", self => address_of($node, 'shop'));
app($node, 'shop', 'app', q{
	CREATE TABLE parents (id int PRIMARY KEY);
	INSERT INTO parents SELECT generate_series(1, 10);
	CREATE TABLE many (id int PRIMARY KEY, name text, parent_id int REFERENCES parents);
	INSERT INTO many SELECT i, 'the name of row ' || i, 1 + i % 10 FROM generate_series(1, } . ROWS . q{) AS i;
	ANALYZE many;});

# What a session's highest amount of memory is, after a thousand rows and after
# all; a reader is a query of one column, with %s for the query set.
sub peaks
{
	my ($reader, $set) = @_;
	my $session = $node->background_psql('shop', extra_params => [ '-U', 'app' ]);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my @peaks;

	foreach my $rows (1000, ROWS)
	{
		my $limited = "asynctasq.slice($set, 0, $rows)";

		is($session->query_safe('SELECT count(*) FROM (' . sprintf($reader, $limited) . ' OFFSET 0) AS s'), $rows, "$rows rows: $reader $set");
		push @peaks, slurp_file("/proc/$pid/status") =~ /VmHWM:\s+(\d+)/ ? $1 : 0;
	}
	$session->quit;
	return @peaks;
}

my $here = q{asynctasq.objects('app.many')};
my $there = q{asynctasq.using(asynctasq.objects('app.many'), 'self')};
foreach my $case (
	[ 'SELECT asynctasq.iterate(%s)', $here ],
	[ 'SELECT asynctasq.iterate(%s)', $there ],
	[ 'SELECT asynctasq.iterate(%s)', "asynctasq.prefetch_related($there, 'parent')" ],
	[ 'SELECT asynctasq.list(%s)', $here ],
	[ 'SELECT * FROM asynctasq.list(%s)', "asynctasq.prefetch_related($here, 'parent')" ],
	[ 'SELECT * FROM asynctasq.rows(NULL::app.many, %s)', $here ])
{
	my ($reader, $set) = @$case;
	my ($few, $all) = peaks($reader, $set);

	cmp_ok($all - $few, '<', SLACK_KB, "which takes as much memory: $reader of $set");
}

# The other way shows that it is seen.
my ($few, $all) = peaks('SELECT jsonb_array_elements(jsonb_agg(q)) FROM asynctasq.list(%s) AS q', $here);
cmp_ok($all - $few, '>', SLACK_KB, 'as one value they take more');

done_testing();
