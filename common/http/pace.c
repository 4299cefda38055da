/*
 * The concurrency limit of one server. Happy path: the limit stays at max. Under "slow down" it is
 * halved once a second at most, and grows by one request for each full round that went well, and
 * for each while in which the server asked for nothing.
 */
#include "common/http/pace.h"

#include <assert.h>

#include "common/cleanup.h"

#define ONE UINT64_C(1000)

void pace_init(struct pace *p, unsigned max)
{
    assert(max > 0);
    *p = (struct pace){.max = max, .worked_milli = max * ONE};
}

/* Thousandths. What time gives is added only here, so that it need not be told of each moment. */
static uint64_t limit_milli(const struct pace *p, int64_t now_us)
{
    uint64_t calm = 0;
    if (p->cut && now_us > p->last_asked_us)
        calm = (uint64_t)(now_us - p->last_asked_us) / PACE_CALM_US;
    return TM_MIN(p->worked_milli + TM_MIN(calm, p->max) * ONE, p->max * ONE);
}

unsigned pace_limit(const struct pace *p, int64_t now_mono_us)
{
    return (unsigned)(limit_milli(p, now_mono_us) / ONE);
}

bool pace_may_start(const struct pace *p, int64_t now_mono_us)
{
    return p->in_flight < pace_limit(p, now_mono_us);
}

void pace_start(struct pace *p)
{
    p->in_flight++;
}

void pace_end(struct pace *p, int64_t now_mono_us, bool well)
{
    assert(p->in_flight > 0);
    uint64_t limit = limit_milli(p, now_mono_us);
    assert(limit >= ONE); /* neither max nor what worked is ever less */
    /* a limit that nobody touches proves nothing about a higher one */
    bool held_back = p->in_flight >= limit / ONE;
    p->in_flight--;
    if (well && held_back)
        p->worked_milli = TM_MIN(p->worked_milli + TM_MAX(ONE * ONE / limit, 1), p->max * ONE);
}

void pace_slow_down(struct pace *p, int64_t now_mono_us)
{
    uint64_t limit = limit_milli(p, now_mono_us);
    p->slow_downs++;
    p->last_asked_us = now_mono_us;
    p->worked_milli = limit; /* what time gave so far is kept, it counts anew from here */
    if (p->cut && now_mono_us - p->last_cut_us < PACE_CUT_US)
        return;
    p->cut = true;
    p->last_cut_us = now_mono_us;
    p->worked_milli = TM_MAX(limit / 2, ONE);
}
