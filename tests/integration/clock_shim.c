/*
 * A wrong clock for one program: preloaded, it adds the microseconds that the file $CLOCK_SHIM_FILE holds (a decimal
 * number, read anew at every call) to the wall clock. The monotonic clocks stay true, as they do on a real host.
 *
 *     cc -D_GNU_SOURCE -shared -fPIC -O2 -o clock_shim.so clock_shim.c
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t offset_us(void)
{
    char text[32];
    const char *path = getenv("CLOCK_SHIM_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return strtoll(text, NULL, 10);
}

static int64_t real_us(void)
{
    struct timespec now;
    (void)syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + offset_us();
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, ret);
    int64_t us = real_us();
    ret->tv_sec = us / 1000000;
    ret->tv_nsec = us % 1000000 * 1000;
    return 0;
}

int gettimeofday(struct timeval *ret, void *zone)
{
    int64_t us = real_us();
    (void)zone;
    ret->tv_sec = us / 1000000;
    ret->tv_usec = us % 1000000;
    return 0;
}

time_t time(time_t *ret)
{
    time_t now = real_us() / 1000000;
    if (ret != NULL)
        *ret = now;
    return now;
}
