/*
 * The chain of a committed backup: manifest → segments → ranges, streamed and proven on the way.
 *
 * Happy path: the manifest gives a segment; the segment, opened against size and digest that the
 * manifest names, gives its ranges; every range starts where the one before ended; the last ends at
 * the top of the key space. Failure modes: any gap, overlap, foreign name or too high an epoch is
 * TM_E_CORRUPT at the first range that shows it.
 */
#include "proto/repo/ranges.h"

#include "proto/repo/catalog.h"

static int broken(const struct backup_ranges *br, struct tm_err *err, const char *what)
{
    return tm_err_set(err, TM_E_CORRUPT, "backup '%s': range %llu: %s", br->manifest.root.backup_id,
                      (unsigned long long)br->ranges, what);
}

int backup_ranges_open(struct backup_ranges *br, struct object_scratch *manifest_scratch,
                       struct object_scratch *segment_scratch, struct storage *st,
                       const struct repo_scope *scope, const char *backup_id, struct tm_err *err)
{
    *br = BACKUP_RANGES_INIT;
    enum backup_state state = BACKUP_UNFINISHED;
    int r = catalog_backup_state(st, scope, backup_id, &state, err);
    if (r < 0)
        return r;
    if (state == BACKUP_DELETED)
        return tm_err_set(err, TM_E_NOT_FOUND, "backup '%s' is deleted", backup_id);
    if (state == BACKUP_UNFINISHED)
        return tm_err_set(err, TM_E_NOT_FOUND,
                          "backup '%s' of %s/%s has no manifest: it does not exist or was never "
                          "finished",
                          backup_id, scope->cluster, scope->tenant);
    return backup_ranges_reopen(br, manifest_scratch, segment_scratch, st, scope, backup_id, err);
}

int backup_ranges_reopen(struct backup_ranges *br, struct object_scratch *manifest_scratch,
                         struct object_scratch *segment_scratch, struct storage *st,
                         const struct repo_scope *scope, const char *backup_id, struct tm_err *err)
{
    *br = BACKUP_RANGES_INIT;
    br->st = st;
    br->scope = *scope;
    br->segment_scratch = segment_scratch;
    return manifest_reader_open(&br->manifest, manifest_scratch, st, scope, backup_id, err);
}

static bool key_is(const uint8_t *key, size_t len, struct slice other)
{
    return slice_eq(slice_of(key, len), other);
}

static int segment_open(struct backup_ranges *br, const struct segment_ref *ref, struct tm_err *err)
{
    if (br->at_top || !key_is(br->expected_start, br->expected_start_len, ref->start))
        return broken(br, err, "its segment does not start where the one before ended");
    if (names_parse_rel(ref->object).kind != NAME_CHECKPOINT ||
        strcmp(names_parse_rel(ref->object).backup_id, br->manifest.root.backup_id) != 0)
        return broken(br, err, "its segment has a foreign name");
    struct object_ref expect = segment_ref_object(ref);
    struct full_name name = names_full(&br->scope, ref->object);
    int r = stream_open(&br->segment, br->segment_scratch, br->st, name.s, OBJECT_SEGMENT, &expect,
                        err);
    if (r < 0)
        return r;
    br->current = *ref;
    if (ref->end.len > 0)
        memcpy(br->current_end, ref->end.data, ref->end.len);
    br->current_end_len = ref->end.len;
    br->left_in_segment = ref->ranges;
    br->in_segment = true;
    return 0;
}

static int segment_close(struct backup_ranges *br, struct tm_err *err)
{
    stream_release(&br->segment);
    br->in_segment = false;
    bool ends_right =
        br->current_end_len == 0
            ? br->at_top
            : !br->at_top && key_is(br->current_end, br->current_end_len,
                                    slice_of(br->expected_start, br->expected_start_len));
    if (br->left_in_segment != 0 || !ends_right)
        return broken(br, err, "a segment does not hold what the manifest says");
    return 0;
}

static int range_check(struct backup_ranges *br, const struct segment_range *range,
                       struct tm_err *err)
{
    const struct manifest *m = &br->manifest.root;
    struct epoch epoch = {range->term, range->counter};
    struct epoch ceiling = {m->term, m->counter};
    if (br->left_in_segment == 0)
        return broken(br, err, "its segment holds more than the manifest says");
    if (br->at_top || !key_is(br->expected_start, br->expected_start_len, range->start))
        return broken(br, err, "it does not start where the one before ended");
    if (range->end.len > 0 && slice_cmp(range->start, range->end) >= 0)
        return broken(br, err, "it ends before it starts");
    if (range->index != br->ranges)
        return broken(br, err, "its number is not the next one");
    if (epoch_cmp(epoch, ceiling) > 0)
        return broken(br, err, "its epoch is above the manifest's");
    struct rel_name name = names_rel_data(m->backup_id, range->index, epoch);
    if (strcmp(range->object, name.s) != 0)
        return broken(br, err, "its object has a foreign name");
    return 0;
}

static void range_passed(struct backup_ranges *br, const struct segment_range *range)
{
    br->at_top = range->end.len == 0;
    if (range->end.len > 0)
        memcpy(br->expected_start, range->end.data, range->end.len);
    br->expected_start_len = range->end.len;
    br->left_in_segment--;
    br->ranges++;
}

/* Takes the next manifest item: 1 = a segment was opened, 0 = no more segments. */
static int next_segment(struct backup_ranges *br, struct tm_err *err)
{
    int r = manifest_reader_next(&br->manifest, &br->item, err);
    if (r < 0)
        return r;
    if (r > 0 && br->item.kind == MANIFEST_SEGMENT) {
        r = segment_open(br, &br->item.segment, err);
        return r < 0 ? r : 1;
    }
    br->have_item = r > 0;
    br->items_done = true;
    if (!br->at_top)
        return broken(br, err, "it is the last, and does not reach the top of the key space");
    if (br->ranges != br->manifest.root.ranges)
        return broken(br, err, "it is the last, and the manifest counts others");
    return 0;
}

int backup_ranges_next(struct backup_ranges *br, struct segment_range *ret, struct tm_err *err)
{
    while (!br->items_done) {
        int r;
        if (!br->in_segment) {
            r = next_segment(br, err);
            if (r <= 0)
                return r;
        }
        r = stream_next(&br->segment, &segment_range_codec, ret, err);
        if (r < 0)
            return r;
        if (r > 0) {
            r = range_check(br, ret, err);
            if (r < 0)
                return r;
            range_passed(br, ret);
            return 1;
        }
        r = segment_close(br, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- log and problems ---- */

/* 1 = br->item is the next item. */
static int item_peek(struct backup_ranges *br, struct tm_err *err)
{
    if (br->have_item)
        return 1;
    if (br->manifest_done)
        return 0;
    int r = manifest_reader_next(&br->manifest, &br->item, err);
    br->have_item = r > 0;
    br->manifest_done = r == 0;
    return r;
}

static int log_check(struct backup_ranges *br, const struct log_ref *log, struct tm_err *err)
{
    const struct manifest *m = &br->manifest.root;
    struct name_parts parts = names_parse_rel(log->object);
    const char *what = NULL;
    if (log->to < log->from)
        what = "it ends before it starts";
    else if (log->task
                 ? parts.kind != NAME_CHUNK ||
                       memcmp(parts.lineage, log->lineage, sizeof(log->lineage)) != 0
                 : parts.kind != NAME_BACKUP_LOG || strcmp(parts.backup_id, m->backup_id) != 0)
        what = "it has a foreign name";
    else if (br->logs == 0 && log->from > m->log_from)
        what = "it starts behind where replay starts";
    else if (br->logs > 0 && memcmp(log->lineage, br->log_lineage, sizeof(log->lineage)) == 0 &&
             log->from != br->log_end)
        what = "it does not start where the one before ended";
    if (what != NULL)
        return tm_err_set(err, TM_E_CORRUPT, "backup '%s': log object '%s': %s", m->backup_id,
                          log->object, what);
    return 0;
}

int backup_ranges_log(struct backup_ranges *br, struct log_ref *ret, struct tm_err *err)
{
    const struct manifest *m = &br->manifest.root;
    int r = item_peek(br, err);
    if (r < 0)
        return r;
    if (r == 0 || br->item.kind != MANIFEST_LOG) {
        if (m->log_to > m->log_from && (br->logs == 0 || br->log_end < m->log_to))
            return tm_err_set(err, TM_E_CORRUPT,
                              "backup '%s': its log ends before the backup is consistent",
                              m->backup_id);
        return 0;
    }
    r = log_check(br, &br->item.log, err);
    if (r < 0)
        return r;
    *ret = br->item.log;
    memcpy(br->log_lineage, ret->lineage, sizeof(br->log_lineage));
    br->log_end = ret->to;
    br->logs++;
    br->have_item = false;
    return 1;
}

int backup_ranges_problem(struct backup_ranges *br, struct problem *ret, struct tm_err *err)
{
    int r = item_peek(br, err);
    if (r <= 0)
        return r;
    if (br->item.kind != MANIFEST_PROBLEM)
        return tm_err_set(err, TM_E_INTERNAL, "problems are read after the log objects");
    *ret = br->item.problem;
    br->have_item = false;
    return 1;
}

void backup_ranges_release(struct backup_ranges *br)
{
    stream_release(&br->segment);
    manifest_reader_release(&br->manifest);
    *br = BACKUP_RANGES_INIT;
}
