# Statements that are cancelled at any moment: no answer ever belongs to
# another question, and nothing is left behind on either side.

use strict;
use warnings;

use lib 'sql_tests/t';
use AtqRemote;
use AtqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $statements = amount(3000, 20000);

my $remote = PostgreSQL::Test::Cluster->new('remote');
$remote->init;
$remote->append_conf('postgresql.conf', "max_connections = 300\nlog_statement = 'none'");
$remote->start;
$remote->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE TABLE seen (nonce int); GRANT ALL ON seen TO app');

my $node = new_cluster('near', 'asynctasq.enabled' => 'off', 'log_statement' => 'none', 'log_min_error_statement' => 'panic', 'log_min_messages' => 'fatal');
create_tenant($node, 'shop', 'app');
create_servers($node, 'shop', "user 'app'",
	far => address_of($remote, 'postgres') . ", pool_max_size '3', pool_max_overflow '0'");

# Each statement asks for its own number and shows "number answer".
my $sql = "\\set VERBOSITY sqlstate\n";
for my $i (1 .. $statements)
{
	my $sleep = sprintf '%.4f', rand(0.004);
	my $question = (
		qq{SELECT $i, string_agg(coalesce(rows #>> '{0,n}', error), ',' ORDER BY ord) FROM asynctasq.gather('far', 'SELECT $i AS n, pg_sleep($sleep)', 'SELECT $i AS n', 'SELECT $i AS n, pg_sleep($sleep)', 'SELECT $i AS n')},
		qq{SELECT $i, asynctasq.scalar('far', 'SELECT \$1::int FROM pg_sleep($sleep)', '[$i]')},
		qq{SELECT $i, (asynctasq.stream('far', 'SELECT $i AS n, pg_sleep($sleep / 20) FROM generate_series(1, 20)', fetch_size => 3) ->> 'n') LIMIT 5},
		qq{SELECT $i, asynctasq.execute('far', 'INSERT INTO seen SELECT $i FROM pg_sleep($sleep)')})[$i % 4];

	$sql .= 'SET statement_timeout = ' . (1 + int rand($i % 2 ? 6 : 60)) . ";\n$question;\n";
}
# The timeout that is set last is in force until another has been set, which it
# may cancel too.
$sql .= "SET statement_timeout = 0;\n" x 50;
my ($status, $stdout, $stderr) = $node->psql('shop', $sql . q{
	SELECT 'end', sum(checked_out), sum(size) <= 3 FROM asynctasq.stat_pools WHERE pid = pg_backend_pid();}, extra_params => [ '-U', 'app' ], on_error_stop => 0);

my ($right, $wrong) = (0, 0);
foreach my $line (split /\n/, $stdout)
{
	next if $line =~ /^end/;
	if ($line =~ /^(\d+)\|(?:\1|\1,\1,\1,\1|\{1\})$/) { $right++ }
	else { $wrong++; diag($line) }
}
my %errors;
$errors{$_}++ for $stderr =~ /ERROR:\s+(\S+)/g;
note("$right answers, errors: " . join(', ', map { "$_ $errors{$_}" } sort keys %errors));
is($wrong, 0, 'each answer belongs to its question');
cmp_ok($right, '>', 0, 'some statements were answered');
cmp_ok($errors{'57014'} // 0, '>', 0, 'some were cancelled');
is(join(',', grep { $_ ne '57014' } keys %errors), '', 'and none failed otherwise');
like($stdout, qr/^end\|0\|t$/m, 'no connection is left in use');
wait_for($remote, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'});
is($remote->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT nonce) FROM seen'), '0', 'nothing was written twice');

$node->stop;
$remote->stop;
done_testing();
