/*-------------------------------------------------------------------------
 *
 * host.c
 *	  Looking up host names without waiting for the answer.
 *
 * libpq connects without blocking but for one thing: it looks host names up
 * with getaddrinfo(), which may take a minute and cannot be interrupted.  So
 * the names are looked up by a child process, which writes the addresses to a
 * pipe that can be waited for, and libpq gets the addresses beside the names.
 * Whoever waits can stop at any time by killing the child.
 *
 * The child has nothing to do with the server but that it is a copy of one of
 * its processes: it takes no signal handlers along, lets go of shared memory,
 * which would keep a server from being started again, and leaves with _exit().
 *
 * Paths of sockets and addresses need no look-up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/fd.h"
#include "storage/pg_shmem.h"

#include "base/compat.h"
#include "remote/host.h"

/* After this the child gives up by itself. */
#define CHILD_SECONDS	120
#define MAX_ANSWER		65536

struct AtqHostLookup
{
	List	   *hosts;
	List	   *ports;			/* NIL, one, or as many as hosts */
	pid_t		pid;
	int			fd;
	StringInfoData answer;		/* "NUMBER ADDRESS\n" or "NUMBER !ERROR\n" */
};

static List *split(const char *list);
static bool is_name(const char *host);
static void look_up(const List *hosts, int fd) atq_noreturn;
static void look_up_one(int number, const char *host, int fd);
static void write_line(int fd, const char *line);
static void reset_signals(void);
static void add_answer(const AtqHostLookup *lookup, int number,
					   const char *address, StringInfo hosts,
					   StringInfo addresses, StringInfo ports);

bool
atq_host_is_name(const char *hosts)
{
	ListCell   *lc;

	if (hosts == NULL)
		return false;
	foreach(lc, split(hosts))
	{
		if (is_name(lfirst(lc)))
			return true;
	}
	return false;
}

static List *
split(const char *list)
{
	List	   *parts = NIL;
	const char *end;

	while ((end = strchr(list, ',')) != NULL)
	{
		parts = lappend(parts, pnstrdup(list, end - list));
		list = end + 1;
	}
	return lappend(parts, pstrdup(list));
}

static bool
is_name(const char *host)
{
	struct in6_addr address;

	return host[0] != '\0' && host[0] != '/' && host[0] != '@' &&
		inet_pton(AF_INET, host, &address) != 1 &&
		inet_pton(AF_INET6, host, &address) != 1;
}

AtqHostLookup *
atq_host_start(const char *hosts, const char *ports)
{
	AtqHostLookup *lookup = palloc0(sizeof(AtqHostLookup));
	sigset_t	all;
	sigset_t	old;
	int			fds[2];

	lookup->hosts = split(hosts);
	lookup->ports = ports != NULL && ports[0] != '\0' ? split(ports) : NIL;
	initStringInfo(&lookup->answer);
	if (!AcquireExternalFD())
		return NULL;
	if (pipe(fds) != 0)
	{
		ReleaseExternalFD();
		return NULL;
	}
	(void) fcntl(fds[0], F_SETFL, O_NONBLOCK);
	(void) fcntl(fds[0], F_SETFD, FD_CLOEXEC);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	lookup->pid = fork();
	if (lookup->pid == 0)
	{
		PGSharedMemoryDetach();
		reset_signals();
		sigprocmask(SIG_SETMASK, &old, NULL);
		look_up(lookup->hosts, fds[1]);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(fds[1]);
	lookup->fd = fds[0];
	if (lookup->pid > 0)
		return lookup;
	close(fds[0]);
	ReleaseExternalFD();
	return NULL;
}

/* In the child: signals do what they do in any program. */
static void
reset_signals(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGALRM,
	SIGPIPE, SIGUSR1, SIGUSR2, SIGCHLD, SIGURG};

	for (int i = 0; i < lengthof(signals); i++)
		(void) signal(signals[i], SIG_DFL);
	(void) alarm(CHILD_SECONDS);
}

static void
look_up(const List *hosts, int fd)
{
	for (int i = 0; i < list_length(hosts); i++)
		look_up_one(i, list_nth(hosts, i), fd);
	_exit(0);
}

static void
look_up_one(int number, const char *host, int fd)
{
	struct addrinfo hints = {0};
	struct addrinfo *found = NULL;
	char		address[NI_MAXHOST];
	char		line[NI_MAXHOST + 64];
	int			error;

	if (!is_name(host))
	{
		snprintf(line, sizeof(line), "%d \n", number);
		write_line(fd, line);
		return;
	}
	hints.ai_family = AF_UNSPEC;
	hints.ai_socktype = SOCK_STREAM;
	error = getaddrinfo(host, NULL, &hints, &found);
	if (error != 0)
	{
		snprintf(line, sizeof(line), "%d !%s\n", number, gai_strerror(error));
		write_line(fd, line);
	}
	for (struct addrinfo *at = found; at != NULL && error == 0; at = at->ai_next)
	{
		if (getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof(address),
						NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		snprintf(line, sizeof(line), "%d %s\n", number, address);
		write_line(fd, line);
	}
}

static void
write_line(int fd, const char *line)
{
	if (write(fd, line, strlen(line)) < 0)
		_exit(1);
}

int
atq_host_fd(const AtqHostLookup *lookup)
{
	return lookup->fd;
}

bool
atq_host_continue(AtqHostLookup *lookup)
{
	char		buf[1024];
	ssize_t		n;

	while ((n = read(lookup->fd, buf, sizeof(buf))) > 0)
	{
		appendBinaryStringInfo(&lookup->answer, buf, n);
		if (lookup->answer.len > MAX_ANSWER)
			return true;
	}
	return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK &&
					  errno != EINTR);
}

AtqHostAnswer *
atq_host_answer(const AtqHostLookup *lookup)
{
	AtqHostAnswer *answer = palloc0(sizeof(AtqHostAnswer));
	StringInfoData hosts;
	StringInfoData addresses;
	StringInfoData ports;
	char	   *at = pstrdup(lookup->answer.data);
	char	   *end;

	initStringInfo(&hosts);
	initStringInfo(&addresses);
	initStringInfo(&ports);
	answer->error = "the look-up ended without an answer";
	for (; (end = strchr(at, '\n')) != NULL; at = end + 1)
	{
		int			number = atoi(at);
		char	   *rest = strchr(at, ' ');

		*end = '\0';
		if (rest == NULL || number < 0 || number >= list_length(lookup->hosts))
			continue;
		if (rest[1] == '!')
			answer->error = psprintf("could not translate host name \"%s\" to address: %s",
									 (char *) list_nth(lookup->hosts, number),
									 rest + 2);
		else
			add_answer(lookup, number, rest + 1, &hosts, &addresses, &ports);
	}
	if (hosts.len > 0 || addresses.len > 0)
		answer->error = NULL;
	answer->host = hosts.data;
	answer->hostaddr = addresses.data;
	answer->port = lookup->ports != NIL ? ports.data : NULL;
	return answer;
}

static void
add_answer(const AtqHostLookup *lookup, int number, const char *address,
		   StringInfo hosts, StringInfo addresses, StringInfo ports)
{
	const char *comma = hosts->len > 0 || addresses->len > 0 ? "," : "";

	appendStringInfo(hosts, "%s%s", comma,
					 (char *) list_nth(lookup->hosts, number));
	appendStringInfo(addresses, "%s%s", comma, address);
	if (lookup->ports == NIL)
		return;
	if (list_length(lookup->ports) == 1)
		number = 0;
	appendStringInfo(ports, "%s%s", comma,
					 number < list_length(lookup->ports) ?
					 (char *) list_nth(lookup->ports, number) : "");
}

void
atq_host_end(AtqHostLookup *lookup)
{
	(void) kill(lookup->pid, SIGKILL);
	while (waitpid(lookup->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(lookup->fd);
	ReleaseExternalFD();
	pfree(lookup->answer.data);
	list_free_deep(lookup->hosts);
	list_free_deep(lookup->ports);
	pfree(lookup);
}
