/*
 * Token bucket. The balance is kept in byte-microseconds (bytes × 10^6), so refilling `rate ×
 * elapsed` is exact integer arithmetic at any rate, with nothing lost to rounding when it is called
 * often.
 */
#include "common/throttle.h"

#include <errno.h>
#include <time.h>

#include "common/clock.h"

/* Keeps every product below 2^63: 2^40 B/s × 0.1 s = 2^40 × 10^5 < 2^57. */
static int64_t burst_of(const struct throttle *t)
{
    return (int64_t)t->rate_bytes_per_s * THROTTLE_BURST_US;
}

static uint64_t effective_rate(uint64_t rate)
{
    return rate >= THROTTLE_RATE_MAX ? 0 : rate;
}

int throttle_init(struct throttle *t, uint64_t rate_bytes_per_s, int64_t now_mono_us,
                  struct tm_err *err)
{
    *t = (struct throttle){.rate_bytes_per_s = effective_rate(rate_bytes_per_s),
                           .last_us = now_mono_us};
    t->balance = burst_of(t);
    pthread_condattr_t attr;
    int r = pthread_condattr_init(&attr);
    if (r == 0)
        r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (r == 0)
        r = pthread_cond_init(&t->changed, &attr);
    if (r == 0)
        r = pthread_mutex_init(&t->lock, NULL);
    (void)pthread_condattr_destroy(&attr);
    return r == 0 ? 0 : tm_err_errno(err, r, "cannot create a throttle");
}

void throttle_release(struct throttle *t)
{
    (void)pthread_cond_destroy(&t->changed);
    (void)pthread_mutex_destroy(&t->lock);
}

static void refill(struct throttle *t, int64_t now_us)
{
    int64_t elapsed = now_us - t->last_us;
    if (elapsed <= 0)
        return;
    t->last_us = now_us;
    int64_t gained;
    int64_t burst = burst_of(t);
    if (__builtin_mul_overflow((int64_t)t->rate_bytes_per_s, elapsed, &gained) ||
        __builtin_add_overflow(t->balance, gained, &t->balance) || t->balance > burst)
        t->balance = burst;
}

/* µs until the balance is no longer negative */
static int64_t debt_us(const struct throttle *t)
{
    if (t->balance >= 0 || t->rate_bytes_per_s == 0)
        return 0;
    int64_t rate = (int64_t)t->rate_bytes_per_s;
    return (-t->balance + rate - 1) / rate;
}

static int64_t take_locked(struct throttle *t, uint64_t bytes, int64_t now_us)
{
    if (t->rate_bytes_per_s == 0)
        return 0;
    refill(t, now_us);
    int64_t cost;
    if (bytes > INT64_MAX || __builtin_mul_overflow((int64_t)bytes, USEC_PER_SEC, &cost) ||
        __builtin_sub_overflow(t->balance, cost, &t->balance))
        t->balance = INT64_MIN / 2;
    return debt_us(t);
}

int64_t throttle_take(struct throttle *t, uint64_t bytes, int64_t now_mono_us)
{
    (void)pthread_mutex_lock(&t->lock);
    int64_t wait_us = take_locked(t, bytes, now_mono_us);
    (void)pthread_mutex_unlock(&t->lock);
    return wait_us;
}

static void wait_locked(struct throttle *t, int64_t wait_us)
{
    struct timespec until = clock_after(CLOCK_MONOTONIC, wait_us);
    (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
}

int throttle_wait(struct throttle *t, uint64_t bytes, struct tm_err *err)
{
    (void)pthread_mutex_lock(&t->lock);
    int64_t wait_us = t->stopped ? 0 : take_locked(t, bytes, clock_mono_us());
    int64_t ready_us = clock_mono_us() + wait_us;
    uint64_t rate = t->rate_bytes_per_s;
    while (!t->stopped && rate != 0) {
        int64_t left = ready_us - clock_mono_us();
        if (left <= 0)
            break;
        wait_locked(t, left);
        if (t->rate_bytes_per_s !=
            rate) { /* what is left of our debt takes longer or shorter now */
            int64_t now = clock_mono_us();
            left = TM_MAX(ready_us - now, (int64_t)0);
            __int128 scaled = (__int128)left * (int64_t)rate;
            rate = t->rate_bytes_per_s;
            ready_us = now + (rate == 0 ? 0 : (int64_t)(scaled / (int64_t)rate));
        }
    }
    bool stopped = t->stopped;
    (void)pthread_mutex_unlock(&t->lock);
    if (stopped)
        return tm_err_set(err, TM_E_CANCELED, "stopped while waiting for the rate limit");
    return 0;
}

void throttle_set_rate(struct throttle *t, uint64_t rate_bytes_per_s, int64_t now_mono_us)
{
    (void)pthread_mutex_lock(&t->lock);
    refill(t, now_mono_us);
    bool unlimited = t->rate_bytes_per_s == 0;
    t->rate_bytes_per_s = effective_rate(rate_bytes_per_s);
    int64_t burst = burst_of(t);
    if (unlimited || t->balance > burst)
        t->balance = burst;
    t->last_us = TM_MAX(t->last_us, now_mono_us);
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

void throttle_stop(struct throttle *t)
{
    (void)pthread_mutex_lock(&t->lock);
    t->stopped = true;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}
