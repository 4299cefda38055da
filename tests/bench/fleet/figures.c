/* How long requests took: all of them are kept, and sorted at the end. */
#include "tests/bench/fleet/fleet.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/array.h"

static const char *const sort_names[FLEET_SORTS] = {
    [FIGURE_HEARTBEAT] = "heartbeat", [FIGURE_WANT] = "want",       [FIGURE_DONE] = "done",
    [FIGURE_PLAN] = "plan",           [FIGURE_RESULTS] = "results",
};

void figures_add(struct figures *f, enum figure_sort sort, int64_t us)
{
    struct tm_err err;
    if (ARRAY_ROOM(f->us[sort], f->count[sort], f->cap[sort], 4096, &err) < 0)
        fleet_die("figures", &err);
    f->us[sort][f->count[sort]++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

void figures_forget(struct figures *f)
{
    for (size_t sort = 0; sort < FLEET_SORTS; sort++)
        f->count[sort] = 0;
    f->failed = 0;
    f->lost = 0;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *left = a;
    const uint32_t *right = b;
    return (*left > *right) - (*left < *right);
}

static double ms_at(const struct figures *f, size_t sort, double share)
{
    size_t count = f->count[sort];
    if (count == 0)
        return 0;
    size_t at = (size_t)((double)(count - 1) * share + 0.5);
    return (double)f->us[sort][at] / 1000;
}

void figures_samples(const struct fleet *fleet)
{
    const struct figures *f = &fleet->figures;
    FILE *out = fopen(fleet->options.samples, "we");
    if (out == NULL)
        fleet_die("cannot write the samples", NULL);
    for (size_t at = 0; at < f->count[FIGURE_HEARTBEAT]; at++)
        (void)fprintf(out, "%" PRIu32 "\n", f->us[FIGURE_HEARTBEAT][at]);
    if (fclose(out) != 0)
        fleet_die("cannot write the samples", NULL);
}

void figures_print(const struct fleet *fleet)
{
    const struct figures *f = &fleet->figures;
    (void)printf("{\"stored\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"committed\":%" PRIu64
                 ",\"failed\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"violations\":%" PRIu64,
                 fleet->stored, fleet->accepted, fleet->committed, f->failed, f->lost,
                 fleet->violations);
    for (size_t sort = 0; sort < FLEET_SORTS; sort++) {
        if (f->count[sort] > 0)
            qsort(f->us[sort], f->count[sort], sizeof(uint32_t), compare);
        (void)printf(",\"%s\":{\"count\":%zu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}",
                     sort_names[sort], f->count[sort], ms_at(f, sort, 0.5), ms_at(f, sort, 0.99),
                     ms_at(f, sort, 1));
    }
    (void)printf("}\n");
    (void)fflush(stdout);
}
