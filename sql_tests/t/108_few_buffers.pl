# The index page on which the last keys were found may have left the server's
# buffers when the next one is looked for.

use strict;
use warnings;

use AtqTest;
use Test::More;

my $node = new_cluster('main', 'shared_buffers' => '256kB');
create_tenant($node, 'shop', 'app');
app($node, 'shop', 'app', q{
	CREATE TABLE side AS SELECT generate_series(1, 2000) AS id;
	ALTER TABLE side ADD CONSTRAINT side_pkey PRIMARY KEY (id);
	CREATE TABLE crowd AS SELECT i, repeat('x', 1000) AS x FROM generate_series(1, 1000) AS i;
	CREATE INDEX ON crowd (i);
	SELECT asynctasq.register_model('Side', 'side');
	CREATE FUNCTION is_found(id int) RETURNS boolean LANGUAGE sql
		RETURN asynctasq.fetch(asynctasq.ref('Side', id)) = jsonb_build_object('id', id);
	CREATE FUNCTION crowd_out() RETURNS bigint LANGUAGE sql SET enable_seqscan = off SET enable_bitmapscan = off
		RETURN (SELECT count(x) FROM app.crowd WHERE i > 0);});

is( app($node, 'shop', 'app', q{
	SELECT count(*) FROM generate_series(1, 1900, 20) AS i
	WHERE is_found(i) AND is_found(i + 1) AND is_found(i + 2) AND crowd_out() = 1000 AND is_found(i + 3)}),
	'95', 'keys are found when others have taken the place of their page');
wait_for($node, 'shop', q{SELECT idx_blks_read >= 95 FROM pg_statio_user_indexes WHERE indexrelname = 'side_pkey'});
pass('which is read again');

$node->stop;
done_testing();
