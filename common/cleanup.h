#ifndef TM_COMMON_CLEANUP_H
#define TM_COMMON_CLEANUP_H
/*
 * Ownership by scope.
 *
 * A local that owns something is declared with TM_CLEANUP(fn); fn runs when the scope is left, by
 * whatever path, and must accept the "nothing held" value (NULL, -1, a zeroed struct). To hand the
 * thing over, take it: `*ret_x = TM_TAKE(x)` leaves NULL behind, so the cleanup finds nothing.
 *
 *     TM_CLEANUP(freep) char *name = NULL;
 *     TM_CLEANUP(closep) int fd = -1;
 *     TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
 *
 * For a type with `void thing_free(struct thing *)` write TM_DEFINE_FREEP(struct thing, thing_free)
 * once in its header; it defines `thing_freep` for pointers to such locals.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define TM_CLEANUP(fn)  __attribute__((cleanup(fn)))
#define TM_WUR          __attribute__((warn_unused_result))
#define TM_PRINTF(a, b) __attribute__((format(printf, a, b)))
#define TM_UNUSED       __attribute__((unused))

/* Moves a pointer out of its variable, leaving NULL. */
#define TM_TAKE(p)                                                                                 \
    ({                                                                                             \
        __typeof__(p) tm_taken_ = (p);                                                             \
        (p) = NULL;                                                                                \
        tm_taken_;                                                                                 \
    })

/* Moves a file descriptor out of its variable, leaving -1. */
#define TM_TAKE_FD(fd)                                                                             \
    ({                                                                                             \
        int tm_taken_ = (fd);                                                                      \
        (fd) = -1;                                                                                 \
        tm_taken_;                                                                                 \
    })

#define TM_DEFINE_FREEP(type, free_fn)                                                             \
    static inline TM_UNUSED void free_fn##p(type **p)                                              \
    {                                                                                              \
        free_fn(*p);                                                                               \
        *p = NULL;                                                                                 \
    }

#define TM_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define TM_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define TM_MAX(a, b)    ((a) > (b) ? (a) : (b))

/* Frees a malloc'ed pointer held by a TM_CLEANUP local of any pointer type. */
static inline TM_UNUSED void freep(void *pointer_to_pointer)
{
    void **p = pointer_to_pointer;
    free(*p);
    *p = NULL;
}

/* Closes a descriptor that was only read from; for written files use fd_close (checked). */
static inline TM_UNUSED void closep(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        (void)close(*fd);
        errno = saved;
        *fd = -1;
    }
}

#endif
