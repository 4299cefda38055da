#ifndef TM_COMMON_HTTP_PACE_H
#define TM_COMMON_HTTP_PACE_H
/*
 * How many requests may be under way at once: additive increase, multiplicative decrease.
 *
 * A server that says "slow down" halves the limit, at most once in PACE_CUT_US (the answers to one
 * burst count as one). Each request that goes well while the limit is what holds others back adds
 * 1/limit: one more request in parallel per full round. Never below 1 nor above max.
 *
 *     if (pace_may_start(p)) pace_start(p);  …  pace_end(p, well);
 *     pace_slow_down(p, now)      at any time
 *
 * Pure: told the time. Not thread safe.
 */
#include <stdbool.h>
#include <stdint.h>

#define PACE_CUT_US 1000000

struct pace {
    unsigned max;
    unsigned in_flight;
    uint64_t limit_milli; /* in thousandths of a request */
    bool cut;             /* last_cut_us is set */
    int64_t last_cut_us;
    uint64_t slow_downs; /* how often the server asked, ever */
};

void pace_init(struct pace *p, unsigned max);
/* Requests that may be under way now: max after pace_init. */
unsigned pace_limit(const struct pace *p);
bool pace_may_start(const struct pace *p);
void pace_start(struct pace *p);
/* `well`: the server did its work. A broken connection or a cancellation proves nothing. */
void pace_end(struct pace *p, bool well);
void pace_slow_down(struct pace *p, int64_t now_mono_us);

#endif
