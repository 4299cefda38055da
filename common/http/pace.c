/*
 * The concurrency limit of one server. Happy path: the limit stays at max. Under "slow down" it is
 * halved once a second at most, and grows by one request for each full round that went well.
 */
#include "common/http/pace.h"

#include <assert.h>

#include "common/cleanup.h"

#define ONE UINT64_C(1000)

void pace_init(struct pace *p, unsigned max)
{
    assert(max > 0);
    *p = (struct pace){.max = max, .limit_milli = max * ONE};
}

unsigned pace_limit(const struct pace *p)
{
    return (unsigned)(p->limit_milli / ONE);
}

bool pace_may_start(const struct pace *p)
{
    return p->in_flight < pace_limit(p);
}

void pace_start(struct pace *p)
{
    p->in_flight++;
}

void pace_end(struct pace *p, bool well)
{
    assert(p->in_flight > 0);
    /* a limit that nobody touches proves nothing about a higher one */
    bool held_back = p->in_flight >= pace_limit(p);
    p->in_flight--;
    if (well && held_back)
        p->limit_milli =
            TM_MIN(p->limit_milli + TM_MAX(ONE * ONE / p->limit_milli, 1), p->max * ONE);
}

void pace_slow_down(struct pace *p, int64_t now_mono_us)
{
    p->slow_downs++;
    if (p->cut && now_mono_us - p->last_cut_us < PACE_CUT_US)
        return;
    p->cut = true;
    p->last_cut_us = now_mono_us;
    p->limit_milli = TM_MAX(p->limit_milli / 2, ONE);
}
