/*
 * How long a restore will take, for a dry run: the first data object is fetched, verified and unpacked
 * into nowhere by one thread, for a second at most, and the rest is taken to go like that.
 *
 * An estimate: what the disk takes is not known, and replay is the server's. Failure modes: an object
 * that is missing or damaged fails the dry run with its name, as it would the restore.
 */
#include "agent/restore/internal.h"

#define PROBE_US    USEC_PER_SEC
#define PROBE_BYTES ((uint64_t)64 << 20)

static int fetch(struct restore *r, const struct segment_range *range, uint64_t *ret_bytes,
                 struct tm_err *err)
{
    struct object_ref ref = segment_range_object(range);
    struct full_name name = names_full(&r->scope, ref.name);
    TM_CLEANUP(object_reader_closep) struct object_reader *object = NULL;
    int64_t until_us = clock_mono_us() + PROBE_US;
    uint64_t bytes = 0;
    int rc = object_reader_open(r->object_scratch, r->st, name.s, OBJECT_DATA, &ref, &object, err);
    uint32_t frames = rc == 0 ? object_reader_info(object)->frame_count : 0;
    for (uint32_t n = 0; rc == 0 && n < frames; n++) {
        struct slice frame;
        if (bytes >= PROBE_BYTES || clock_mono_us() >= until_us)
            break;
        if ((rc = object_reader_frame(object, n, &frame, err)) == 0)
            bytes += frame.len;
    }
    if (rc == 0)
        *ret_bytes = bytes;
    return rc;
}

int restore_probe(struct restore *r, struct tm_err *err)
{
    struct backup_ranges ranges = BACKUP_RANGES_INIT;
    struct segment_range range;
    uint64_t bytes = 0;
    int64_t began_us = 0, took_us = 0;
    int rc = backup_ranges_reopen(&ranges, r->manifest_scratch, r->segment_scratch, r->st,
                                  &r->scope, r->outcome.backup_id, err);
    /* the first range may be but a few small files: the first of a million bytes tells more */
    while (rc == 0 && bytes < (1u << 20) && (rc = backup_ranges_next(&ranges, &range, err)) == 1) {
        began_us = clock_mono_us();
        rc = fetch(r, &range, &bytes, err);
        took_us = clock_mono_us() - began_us;
    }
    backup_ranges_release(&ranges);
    if (rc < 0 || bytes == 0)
        return TM_MIN(rc, 0);
    double each = (double)bytes / (double)TM_MAX(took_us, INT64_C(1)) * restore_threads(r->job);
    double limit = (double)r->job->rate_limit_bytes_s / 1e6;
    if (limit > 0 && each > limit)
        each = limit;
    r->outcome.estimate_us = (int64_t)((double)r->outcome.totals.bytes_total / each);
    return 0;
}
