/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  A clock that the tests can set, for a server that preloads this file.
 *
 * The dynamic linker puts these functions in front of the C library's.  What
 * they give is its time, and the number of seconds that stands, as eight
 * bytes, in the file named by ATQ_TEST_CLOCK, which is mapped: whoever writes
 * there sets the clock of all processes at once.  Clocks other than that of
 * the day, and what waits for them, are left alone.
 *
 *-------------------------------------------------------------------------
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*ClockGettime) (clockid_t clock, struct timespec *now);

static const volatile int64_t *offset_s = NULL;
static ClockGettime real_clock_gettime = NULL;

static void find_clock(void) __attribute__((constructor));

/* Modules' functions are hidden unless they say otherwise. */
#define VISIBLE __attribute__((visibility("default")))

static void
find_clock(void)
{
	const char *path = getenv("ATQ_TEST_CLOCK");
	int			fd = path ? open(path, O_RDONLY) : -1;
	void	   *address = MAP_FAILED;

	real_clock_gettime = (ClockGettime) dlsym(RTLD_NEXT, "clock_gettime");
	if (fd >= 0)
	{
		address = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (address != MAP_FAILED)
		offset_s = address;
}

VISIBLE int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result;

	if (real_clock_gettime == NULL)
		find_clock();
	result = real_clock_gettime(clock, now);
	if (result == 0 && clock == CLOCK_REALTIME && offset_s != NULL)
		now->tv_sec += *offset_s;
	return result;
}

VISIBLE int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	int			result = clock_gettime(CLOCK_REALTIME, &precise);

	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}

VISIBLE time_t
time(time_t *now)
{
	struct timespec precise;

	(void) clock_gettime(CLOCK_REALTIME, &precise);
	if (now != NULL)
		*now = precise.tv_sec;
	return precise.tv_sec;
}
