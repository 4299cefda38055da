#ifndef TM_COMMON_HTTP_PACE_H
#define TM_COMMON_HTTP_PACE_H
/*
 * How many requests may be under way at once: additive increase, multiplicative decrease.
 *
 * A server that says "slow down" halves the limit, at most once in PACE_CUT_US (the answers to one
 * burst count as one). It grows back in two ways, never above max:
 * - by work: each request that goes well while the limit is what holds others back adds 1/limit, one
 *   more request in parallel per full round;
 * - by time: each PACE_CALM_US since the server last asked adds one request, whatever is under way.
 *   Who sends little never meets the limit, and is to be free of what was asked for long ago.
 * Never below 1.
 *
 *     if (pace_may_start(p, now)) pace_start(p);  …  pace_end(p, now, well);
 *     pace_slow_down(p, now)      at any time
 *
 * Pure: told the monotonic time. Not thread safe.
 */
#include <stdbool.h>
#include <stdint.h>

#define PACE_CUT_US  INT64_C(1000000)
#define PACE_CALM_US INT64_C(5000000)

struct pace {
    unsigned max;
    unsigned in_flight;
    uint64_t worked_milli; /* the limit but for what time gave back, in thousandths of a request */
    bool cut;              /* the two times are set */
    int64_t last_cut_us;
    int64_t last_asked_us; /* also when that cut nothing */
    uint64_t slow_downs;   /* how often the server asked, ever */
};

void pace_init(struct pace *p, unsigned max);
/* Requests that may be under way now: max after pace_init. */
unsigned pace_limit(const struct pace *p, int64_t now_mono_us);
bool pace_may_start(const struct pace *p, int64_t now_mono_us);
void pace_start(struct pace *p);
/* `well`: the server did its work. A broken connection or a cancellation proves nothing. */
void pace_end(struct pace *p, int64_t now_mono_us, bool well);
void pace_slow_down(struct pace *p, int64_t now_mono_us);

#endif
