#ifndef TM_COMMON_HTTP_RETRY_H
#define TM_COMMON_HTTP_RETRY_H
/*
 * Whether and when a failed request is sent again. Pure: randomness and time are arguments.
 *
 * Waits grow exponentially from RETRY_FIRST_US to RETRY_CAP_US; of each, a random half is taken off
 * (jitter), so that many nodes that failed together do not come back together. A server's
 * Retry-After is respected up to RETRY_CAP_US. Given up after `attempts_max` attempts, or when the
 * wait would pass the deadline.
 */
#include <stdbool.h>
#include <stdint.h>

#define RETRY_ATTEMPTS_MAX 10
#define RETRY_FIRST_US     100000
#define RETRY_CAP_US       10000000

struct retry {
    unsigned attempts;     /* made so far, counting the one that just failed */
    unsigned attempts_max; /* 0 = RETRY_ATTEMPTS_MAX */
    int64_t deadline_us;   /* monotonic; INT64_MAX = none */
};

/* µs to wait before the next attempt, or -1: give up. `after_us` is what the server asked for (0 =
 * nothing), `random` any 64 random bits. */
int64_t retry_wait(const struct retry *retry, int64_t after_us, uint64_t random,
                   int64_t now_mono_us);

/* Whether an answer of this status may be another one next time: 408, 429 and 5xx but 501. */
bool retry_status(unsigned status);

#endif
