
=pod

=head1 NAME

AtqRemote - what the TAP tests of asynctasq that ask other servers share

=cut

package AtqRemote;

use strict;
use warnings;

use Exporter 'import';
use IO::Socket::INET;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Socket;

our @EXPORT = qw(create_servers create_fdw_server address_of
  black_hole start_fake_server);

my (@fake_servers, @sockets);

END
{
	local $?;
	$_->kill_kill foreach @fake_servers;
}

# create_servers($node, $db, $login, name => options, ...): servers that the
# role app may use, with the same options of its user mapping for each.
sub create_servers
{
	my ($node, $db, $login, %servers) = @_;

	create_server($node, $db, 'asynctasq', $login, $_, $servers{$_}) foreach sort keys %servers;
	return;
}

# create_fdw_server($node, $db, $login, name => options): one of postgres_fdw.
sub create_fdw_server
{
	my ($node, $db, @server) = @_;

	$node->safe_psql($db, 'CREATE EXTENSION postgres_fdw');
	create_server($node, $db, 'postgres_fdw', @server);
	return;
}

sub create_server
{
	my ($node, $db, $wrapper, $login, $name, $options) = @_;

	$node->safe_psql(
		$db, qq{
		CREATE SERVER "$name" FOREIGN DATA WRAPPER $wrapper OPTIONS ($options);
		CREATE USER MAPPING FOR app SERVER "$name" OPTIONS ($login, password_required 'false');
		GRANT USAGE ON FOREIGN SERVER "$name" TO app;});
	return;
}

# address_of($node, $db): a server's options for a database of this cluster.
sub address_of
{
	my ($node, $db) = @_;

	return sprintf "host '%s', port '%s', dbname '%s'", $node->host, $node->port, $db;
}

# black_hole(): an address at which nobody answers, by which a server's options
# begin.  It listens, and accepts nobody: what is beyond the few that wait is
# dropped.
sub black_hole
{
	my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
	  or die "could not listen: $!";

	push @sockets, $listener;
	for (1 .. 20)
	{
		my $waits = IO::Socket::INET->new(Proto => 'tcp', Blocking => 0);

		connect $waits, $listener->sockname;
		push @sockets, $waits;
	}
	return sprintf "host '127.0.0.1', port '%s'", $listener->sockport;
}

# start_fake_server(): the address of fake_server.py, by which a server's
# options begin; the database's name says how it misbehaves.  It ends with the
# test.
sub start_fake_server
{
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my ($in, $out) = ('', '');
	my $server = IPC::Run::start(
		[ '/usr/bin/python3', 'sql_tests/t/fake_server.py', "$dir/.s.PGSQL.7777" ],
		'<' => \$in,
		'>' => \$out,
		IPC::Run::timeout(600));

	push @fake_servers, $server;
	$server->pump until $out =~ /listening/;
	return "host '$dir', port '7777'";
}

1;
