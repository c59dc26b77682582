/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Names of hosts that the tests know, for a server that preloads this file.
 *
 * The dynamic linker puts this function in front of the C library's.  No name
 * server is asked for these names: the look-up of slow.test never ends, that
 * of none.test finds nothing, here.test is this machine.  Who looks none.test
 * up with a service, as libpq does, gets an error of its own.
 *
 *-------------------------------------------------------------------------
 */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int (*Getaddrinfo) (const char *node, const char *service,
							const struct addrinfo *hints,
							struct addrinfo **result);

/* Modules' functions are hidden unless they say otherwise. */
__attribute__((visibility("default")))
int
getaddrinfo(const char *node, const char *service,
			const struct addrinfo *hints, struct addrinfo **result)
{
	Getaddrinfo real = (Getaddrinfo) dlsym(RTLD_NEXT, "getaddrinfo");

	if (node != NULL && strcmp(node, "slow.test") == 0)
		for (;;)
			pause();
	if (node != NULL && strcmp(node, "none.test") == 0)
		return service == NULL ? EAI_NONAME : EAI_FAIL;
	if (node != NULL && strcmp(node, "here.test") == 0)
		node = "127.0.0.1";
	return real(node, service, hints, result);
}
