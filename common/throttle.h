#ifndef TM_COMMON_THROTTLE_H
#define TM_COMMON_THROTTLE_H
/*
 * Token bucket over bytes.
 *
 * The core (throttle_take) is pure: it is told the time and answers how long to wait. The bucket
 * may go into debt by one request, so requests larger than the burst work and the long-run rate is
 * exact. throttle_wait is the blocking form for worker threads that share one limit. All functions
 * are thread safe on one struct throttle. Rate 0 means no limit.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define THROTTLE_BURST_US 100000              /* the bucket holds this much time's worth of bytes */
#define THROTTLE_RATE_MAX (UINT64_C(1) << 40) /* bytes per second; higher counts as no limit */

struct throttle {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t rate_bytes_per_s;
    int64_t balance; /* byte-microseconds: bytes × 10^6 that may be taken now; negative: debt */
    int64_t last_us;
    bool stopped;
};

int throttle_init(struct throttle *t, uint64_t rate_bytes_per_s, int64_t now_mono_us,
                  struct tm_err *err) TM_WUR;
void throttle_release(struct throttle *t);

/* Takes `bytes` at once and returns how many µs the caller should wait before using them (0: none).
 */
int64_t throttle_take(struct throttle *t, uint64_t bytes, int64_t now_mono_us);
/* Takes and sleeps. TM_E_CANCELED after throttle_stop. A changed rate takes effect in sleeping
 * calls. */
int throttle_wait(struct throttle *t, uint64_t bytes, struct tm_err *err) TM_WUR;
void throttle_set_rate(struct throttle *t, uint64_t rate_bytes_per_s, int64_t now_mono_us);
/* Wakes all waiters; further waits fail at once. */
void throttle_stop(struct throttle *t);

#endif
