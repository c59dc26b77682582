# The extension is dropped while sessions dispatch and look.

use strict;
use warnings;

use AtqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $sessions = 4;
my $rounds = 6;

my $node = new_cluster(
	'main',
	'max_worker_processes' => '24',
	'deadlock_timeout' => '100ms');
create_tenant($node, 'shop', 'app');

sub super { return $node->safe_psql('shop', @_); }

sub register
{
	app($node, 'shop', 'app', q{
		SELECT asynctasq.create_queue('safe', durable => true);
		SELECT asynctasq.register_handler('note', 'note(text)');});
	return;
}

super('CREATE TABLE app.stop (); GRANT SELECT ON app.stop TO app');
app($node, 'shop', 'app', q{
	CREATE TABLE app.tally (n int);
	CREATE FUNCTION note(what text) RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT 1; END;});
register();

# What a session is told when the extension is gone, and nothing else.  That a
# function is gone between look-up and call the server itself says so oddly.
my $busy = q{
	DO $$
	DECLARE
		n int := 0;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM app.stop) LOOP
			BEGIN
				PERFORM asynctasq.dispatch('note', asynctasq.args('what', 'one'));
				PERFORM asynctasq.dispatch('note', asynctasq.args('what', 'two'), queue => 'safe');
				BEGIN
					PERFORM asynctasq.dispatch('note', asynctasq.args('what', 'three'), delay => '1 h');
					RAISE division_by_zero;
				EXCEPTION WHEN division_by_zero THEN
					PERFORM count(*) FROM asynctasq.stat_queues;
				END;
				PERFORM count(*) FROM asynctasq.tasks;
				PERFORM asynctasq.cancel(1);
				n := n + 1;
			EXCEPTION
				WHEN undefined_function OR undefined_table OR undefined_object OR invalid_schema_name
					OR insufficient_privilege OR object_not_in_prerequisite_state THEN
					NULL;
				WHEN internal_error THEN
					IF SQLERRM NOT LIKE 'cache lookup failed for function %' THEN
						RAISE;
					END IF;
			END;
			COMMIT;
		END LOOP;
		INSERT INTO app.tally VALUES (n);
	END $$;};
my @busy;
foreach my $i (1 .. $sessions)
{
	my $session = $node->background_psql('shop', on_error_stop => 0,
		extra_params => [ '-U', 'app' ]);
	$session->query_until(qr/begun/, "\\echo begun\n$busy\n\\echo ended\n");
	push @busy, $session;
}

my %ways = (
	'commit' => [ 'DROP EXTENSION asynctasq CASCADE', 1 ],
	'rollback' => [ 'BEGIN; DROP EXTENSION asynctasq CASCADE; ROLLBACK', 0 ],
	'anew' => [
		'BEGIN; DROP EXTENSION asynctasq CASCADE; CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app; COMMIT',
		2 ],
	'update' => [ 'ALTER EXTENSION asynctasq UPDATE', 0 ],
	'schema' => [ 'DROP SCHEMA asynctasq CASCADE', 1 ]);
foreach my $round (1 .. $rounds)
{
	foreach my $way (sort keys %ways)
	{
		my ($command, $dropped) = @{ $ways{$way} };
		my ($status, undef, $stderr) = $node->psql('shop', $command);

		is($status, 0, "$way, round $round") or diag($stderr);
		super('CREATE EXTENSION asynctasq; GRANT USAGE ON SCHEMA asynctasq TO app')
		  if $dropped == 1;
		register() if $dropped;
		wait_for($node, 'shop', 'SELECT nextval(\'asynctasq.task_id_seq\') > 20');
	}
}

super('INSERT INTO app.stop DEFAULT VALUES');
foreach my $session (@busy)
{
	$session->query_until(qr/ended/, '');
	$session->quit;
}
query_is($node, 'shop', 'SELECT count(*), min(n) > 0 FROM app.tally',
	"$sessions|t", 'no session has met another error');

$node->stop;
done_testing();
