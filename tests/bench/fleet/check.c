/*
 * Each range exactly once, as all members together see it: a verdict accepts one epoch of a range
 * and no other, and all processes together tell of as many accepted ranges as there are; the
 * results that come back for the manifest are those, all of them, in order, each with the blob that
 * was made under its epoch.
 */
#include "tests/bench/fleet/fleet.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void fleet_violate(struct fleet *fleet, const char *fmt, ...)
{
    va_list ap;
    if (fleet->violations++ > 0)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(fleet->violation, sizeof(fleet->violation), fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "fleet: %s\n", fleet->violation);
}

struct check *check_of(struct fleet *fleet, const char *uid)
{
    struct check *empty = NULL;
    for (size_t at = 0; at < FLEET_CHECKS_MAX; at++) {
        struct check *c = &fleet->checks[at];
        if (strcmp(c->uid, uid) == 0)
            return c;
        if (c->uid[0] == '\0' && empty == NULL)
            empty = c;
    }
    if (empty == NULL)
        fleet_die("too many jobs at once", NULL);
    *empty = (struct check){.ranges = fleet->options.ranges};
    (void)snprintf(empty->uid, sizeof(empty->uid), "%s", uid);
    empty->accepted = calloc(empty->ranges, sizeof(*empty->accepted));
    if (empty->accepted == NULL)
        fleet_die("memory", NULL);
    return empty;
}

void check_blob(uint8_t *blob, uint32_t len, uint32_t range, uint64_t term, uint64_t counter)
{
    memset(blob, (int)(range & 0x7f), len);
    be32_put(blob, range);
    be64_put(blob + 4, term);
    be64_put(blob + 12, counter);
}

static bool blob_is_of(const struct fleet *fleet, const struct msg_result *result)
{
    uint8_t want[WIRE_RESULT_MAX];
    if (result->blob.len != fleet->options.blob_bytes)
        return false;
    check_blob(want, (uint32_t)result->blob.len, result->range, result->term, result->counter);
    return memcmp(want, result->blob.data, result->blob.len) == 0;
}

void check_verdicts(struct fleet *fleet, const struct msg_verdicts *verdicts)
{
    struct check *c = check_of(fleet, verdicts->uid);
    for (size_t at = 0; at < verdicts->verdicts_count; at++) {
        const struct msg_verdict *v = &verdicts->verdicts[at];
        if (v->verdict != VERDICT_ACCEPTED)
            continue;
        if (v->range >= c->ranges) {
            fleet_violate(fleet, "range %u of %u is accepted", v->range, c->ranges);
            return;
        }
        if (c->accepted[v->range] == 0)
            fleet->accepted++;
        else if (c->accepted[v->range] != v->counter)
            fleet_violate(fleet, "range %u is accepted under two epochs", v->range);
        c->accepted[v->range] = v->counter;
    }
}

void check_page(struct fleet *fleet, const char *uid, const struct frame_results *page)
{
    struct check *c = check_of(fleet, uid);
    if (page->from != c->listed)
        fleet_violate(fleet, "a page of results begins at %u, %u have come", page->from, c->listed);
    for (size_t at = 0; at < page->results_count; at++) {
        const struct msg_result *result = &page->results[at];
        if (result->range != c->listed || result->range >= c->ranges) {
            fleet_violate(fleet, "result of range %u comes in place of %u", result->range,
                          c->listed);
            return;
        }
        /* a verdict whose answer was lost is not known here */
        if (c->accepted[result->range] != 0 && c->accepted[result->range] != result->counter)
            fleet_violate(fleet, "range %u has a result that was not accepted", result->range);
        if (!blob_is_of(fleet, result))
            fleet_violate(fleet, "range %u has a result of another epoch", result->range);
        c->listed++;
    }
    if (page->last && c->listed != c->ranges)
        fleet_violate(fleet, "the last page ends at %u of %u ranges", c->listed, c->ranges);
}

void check_accepted(struct fleet *fleet, const char *uid, const struct frame_accepted *page)
{
    struct check *c = check_of(fleet, uid);
    for (size_t at = 0; at < page->results_count; at++) {
        const struct msg_result *result = &page->results[at];
        if (result->range >= c->ranges || !blob_is_of(fleet, result))
            fleet_violate(fleet, "a checkpoint is given a wrong result of range %u", result->range);
        c->checkpoint++;
    }
}

void check_commit(struct fleet *fleet, const char *uid)
{
    struct check *c = check_of(fleet, uid);
    if (c->listed != c->ranges)
        fleet_violate(fleet, "a manifest with %u of %u ranges", c->listed, c->ranges);
    if (c->checkpoint > c->ranges)
        fleet_violate(fleet, "checkpoints have %u results of %u ranges", c->checkpoint, c->ranges);
    fleet->committed++;
    free(c->accepted);
    *c = (struct check){0};
}
