/* Time, the queue (a binary heap by time, then by order of arrival), randomness. */
#include "tests/sim/sim.h"

#include "common/storage/ram.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* xorshift128+: small, fast, the same everywhere */
uint64_t sim_random(struct world *w)
{
    uint64_t x = w->rng[0];
    uint64_t y = w->rng[1];
    w->rng[0] = y;
    x ^= x << 23;
    w->rng[1] = x ^ y ^ (x >> 17) ^ (y >> 26);
    return w->rng[1] + y;
}

uint64_t sim_rng_next(void *world)
{
    return sim_random(world);
}

uint64_t sim_below(struct world *w, uint64_t bound)
{
    return bound == 0 ? 0 : sim_random(w) % bound;
}

bool sim_chance(struct world *w, uint32_t of_thousand)
{
    return sim_below(w, 1000) < of_thousand;
}

void sim_die(const char *what, const struct tm_err *err)
{
    (void)fprintf(stderr, "sim: %s: %s\n", what, err != NULL ? err->msg : "");
    abort();
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void swap(struct world *w, size_t a, size_t b)
{
    struct sim_event saved = w->queue[a];
    w->queue[a] = w->queue[b];
    w->queue[b] = saved;
}

struct sim_arg *sim_at(struct world *w, uint64_t delay_us, sim_fn fn)
{
    if (w->queue_count == w->queue_cap) {
        w->queue_cap = w->queue_cap == 0 ? 256 : w->queue_cap * 2;
        w->queue = realloc(w->queue, w->queue_cap * sizeof(*w->queue));
        if (w->queue == NULL)
            sim_die("queue", NULL);
    }
    size_t at = w->queue_count++;
    w->queue[at] = (struct sim_event){.at_us = w->now_us + delay_us, .seq = ++w->seq, .fn = fn};
    while (at > 0 && before(&w->queue[at], &w->queue[(at - 1) / 2])) {
        swap(w, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
    return &w->queue[at].arg;
}

bool sim_step(struct world *w)
{
    if (w->queue_count == 0)
        return false;
    struct sim_event event = w->queue[0];
    w->queue[0] = w->queue[--w->queue_count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++) {
            if (child < w->queue_count && before(&w->queue[child], &w->queue[least]))
                least = child;
        }
        if (least == at)
            break;
        swap(w, at, least);
        at = least;
    }
    w->now_us = event.at_us;
    w->counts.steps++;
    event.fn(w, &event.arg);
    buf_release(&event.arg.bytes);
    return true;
}

void sim_log(struct world *w, const char *fmt, ...)
{
    if (!w->verbose)
        return;
    (void)printf("%10.4f ", (double)w->now_us / 1e6);
    va_list ap;
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)printf("\n");
}

void sim_violate(struct world *w, const char *fmt, ...)
{
    if (w->violated)
        return;
    w->violated = true;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(w->violation, sizeof(w->violation), fmt, ap);
    va_end(ap);
    sim_log(w, "VIOLATION %s", w->violation);
}

void world_release(struct world *w)
{
    for (size_t at = 0; at < w->queue_count; at++)
        buf_release(&w->queue[at].arg.bytes);
    free(w->queue);
    for (size_t at = 0; at < SIM_COORDS_MAX; at++)
        brain_free(w->coords[at].brain);
    for (size_t at = 0; at < SIM_AGENTS_MAX; at++)
        agent_brain_free(w->agents[at].brain);
    for (size_t at = 0; at < SIM_RUNNERS_MAX; at++) {
        runner_release(&w->runners[at]);
    }
    for (size_t at = 0; at < w->backup_count; at++) {
        free(w->backups[at].objects);
        free(w->backups[at].entries);
    }
    for (size_t at = 0; at < w->intent_count; at++)
        buf_release(&w->intents[at].resource);
    lineages_release(w);
    ram_registry_free(w->registry);
    store_release(&w->store);
    store_release(&w->old_store);
}
