/*
 * The null engine: positions and reader. What is in its blobs, session.h tells; its log, log.h.
 */
#include "agent/engine/null/null.h"

#include "agent/engine/null/config.h"
#include "agent/engine/null/log.h"
#include "agent/engine/null/restore.h"
#include "agent/engine/null/session.h"
#include "agent/engine/null/source.h"
#include "common/hash.h"

#define END_BLOB "null1 end"

struct engine_reader {
    struct null_config config; /* as the begin says */
    const char *conninfo;      /* of the instance, borrowed */
};

static void position_of(uint64_t byte, struct engine_position *ret)
{
    null_position(byte, "", ret);
}

/* ---- session side ---- */

static int null_describe(const struct engine_instance *instance, struct engine_description *ret,
                         struct tm_err *err)
{
    struct null_config c;
    int r = null_session_describe("null", instance, &c, ret, err);
    if (r < 0)
        return r;
    ret->role = c.standby ? ENGINE_ROLE_STANDBY : ENGINE_ROLE_PRIMARY;
    ret->data_bytes_estimate = c.files * c.bytes + c.big;
    ret->hold_max_bytes = c.hold;
    position_of(NULL_LOG_START + c.log, &ret->position);
    return 0;
}

static int null_check(const struct engine_instance *instance, struct tm_err *err)
{
    return null_session_check("null", instance, err);
}

static int null_open(const struct engine_instance *instance, const char *label,
                     struct engine_session **ret, struct tm_err *err)
{
    (void)label;
    return null_session_open("null", instance, ret, err);
}

/* Finds or makes the lasting hold; without a state file there is nothing that could outlive us. */
static int take_hold(const struct engine_session *s, const char *name, bool may_make,
                     struct tm_err *err)
{
    const struct engine_instance instance = {.conninfo = s->conninfo};
    struct engine_hold_state state = {.lost = false};
    struct engine_hold *hold = NULL;
    bool made;
    if (!name || !s->config.state[0])
        return 0;
    int r = null_hold_open(&instance, name, may_make, &hold, &made, err);
    if (r == 0)
        r = null_hold_look(hold, &state, err);
    null_hold_close(hold);
    if (r == -TM_E_NOT_FOUND || (r == 0 && state.lost))
        return tm_err_set(err, TM_E_CONFLICT, "hold '%s' is gone", name);
    return r;
}

static int null_snapshot_begin(struct engine_session *s, const char *hold, bool fast,
                               struct buf *ret_begin, struct engine_position *ret_replay_from,
                               struct tm_err *err)
{
    (void)fast;
    int r = take_hold(s, hold, true, err);
    if (r == 0)
        r = null_session_begin(s, ret_begin, err);
    if (r == 0)
        position_of(NULL_LOG_START, ret_replay_from);
    return r;
}

static int null_snapshot_resume(struct engine_session *s, const char *hold, bool fast,
                                struct slice first, uint64_t log_from, struct buf *ret_begin,
                                struct engine_position *ret_replay_from, struct tm_err *err)
{
    (void)fast;
    (void)log_from; /* the hold of a source that is only arithmetic keeps all of it */
    int r = take_hold(s, hold, false, err);
    if (r == 0)
        r = null_session_resume(s, first, ret_begin, err);
    if (r == 0)
        position_of(NULL_LOG_START, ret_replay_from);
    return r;
}

static bool null_snapshot_resumed(struct slice begin)
{
    return null_session_resumed("null", begin);
}

static int null_snapshot_end(struct engine_session *s, struct buf *ret_end,
                             struct engine_position *ret_consistent_at, int64_t *ret_commit_us,
                             struct tm_err *err)
{
    int r = null_session_end(s, ret_end, err);
    if (r < 0)
        return r;
    position_of(NULL_LOG_START + s->config.log, ret_consistent_at);
    *ret_commit_us = null_config_now_us(&s->config);
    return 0;
}

/* ---- reader ---- */

int null_begin_config(struct slice begin, struct null_config *ret, struct tm_err *err)
{
    return null_session_config("null", begin, ret, err);
}

static int null_reader_open(const struct engine_instance *instance, struct slice begin,
                            struct engine_reader **ret, struct tm_err *err)
{
    struct null_config c;
    int r = null_begin_config(begin, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "reader_open", err)) < 0)
        return r;
    struct engine_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return tm_err_oom(err);
    reader->config = c;
    reader->conninfo = instance->conninfo;
    *ret = reader;
    return 0;
}

struct plan_state {
    engine_plan_fn fn;
    void *arg;
    uint8_t start[ENGINE_KEY_MAX];
    size_t start_len;
    uint64_t bytes;
    uint32_t files;
};

static int plan_cut(struct plan_state *p, struct slice end, struct tm_err *err)
{
    int r = p->fn(p->arg, (struct engine_key_range){slice_of(p->start, p->start_len), end},
                  p->bytes, err);
    if (r < 0)
        return r;
    memcpy(p->start, end.data, end.len);
    p->start_len = end.len;
    p->bytes = 0;
    p->files = 0;
    return 0;
}

static int null_plan(struct engine_reader *reader, const struct engine_plan_options *options,
                     engine_plan_fn fn, void *arg, struct tm_err *err)
{
    uint64_t range_bytes = options && options->range_bytes ? options->range_bytes : 128u << 20;
    uint32_t range_files = options && options->range_files ? options->range_files : 16384;
    range_bytes = TM_MAX(range_bytes - range_bytes % NULL_BLOCK_BYTES, NULL_BLOCK_BYTES);
    int r = null_config_fail(&reader->config, "plan", err);
    if (r < 0)
        return r;
    struct plan_state p = {.fn = fn, .arg = arg};
    uint64_t count = null_entry_count(&reader->config);
    for (uint64_t i = 0; i < count; i++) {
        struct null_entry entry;
        null_entry_at(&reader->config, i, &entry);
        uint8_t key[ENGINE_KEY_MAX];
        if ((p.bytes + entry.size > range_bytes || p.files >= range_files) && p.files > 0) {
            r = plan_cut(&p, slice_of(key, null_key(&entry, 0, key)), err);
            if (r < 0)
                return r;
        }
        uint64_t left = entry.size;
        while (left > range_bytes) {
            left -= range_bytes;
            p.bytes = range_bytes;
            r = plan_cut(&p, slice_of(key, null_key(&entry, entry.size - left, key)), err);
            if (r < 0)
                return r;
        }
        p.bytes += left;
        p.files++;
    }
    return plan_cut(&p, null_final_start(), err);
}

/* The contents [lo, hi) of one file into the sink. */
static int send_bytes(const struct null_config *c, const struct null_entry *entry, uint64_t lo,
                      uint64_t hi, struct range_sink *sink, uint32_t *ret_crc, struct tm_err *err)
{
    uint32_t crc = CRC32C_INIT;
    while (lo < hi) {
        uint8_t *room;
        size_t size;
        int r =
            sink->ops->room(sink, (size_t)TM_MIN(hi - lo, (uint64_t)1 << 20), &room, &size, err);
        if (r < 0)
            return r;
        size_t n = (size_t)TM_MIN(hi - lo, (uint64_t)size);
        if (n < hi - lo)
            n -= n % NULL_BLOCK_BYTES;
        null_fill(c->seed, entry->file, lo, room, n);
        crc = crc32c(crc, room, n);
        r = sink->ops->advance(sink, n, err);
        if (r < 0)
            return r;
        lo += n;
    }
    *ret_crc = crc;
    return 0;
}

static int send_entry(const struct null_config *c, const struct null_entry *entry, uint64_t lo,
                      uint64_t hi, struct range_sink *sink, struct engine_range_stats *stats,
                      struct tm_err *err)
{
    struct file_entry file = {.kind = entry->kind,
                              .mode = entry->kind == FILE_DIRECTORY ? 0700 : 0600,
                              .modified_us = INT64_C(1000000) * (int64_t)entry->file,
                              .offset_bytes = lo,
                              .last_part = hi == entry->size};
    (void)snprintf(file.path, sizeof(file.path), "%s", entry->path);
    int r = sink->ops->file_begin(sink, &file, err);
    if (r < 0)
        return r;
    uint32_t crc = 0;
    r = send_bytes(c, entry, lo, hi, sink, &crc, err);
    /* corrupt=N: the first block of each of the first N files */
    if (r == 0 && entry->kind == FILE_REGULAR && entry->file < c->corrupt && lo == 0) {
        r = sink->ops->problem(sink, entry->path, 0, "page checksum does not match", err);
        stats->pages_corrupt++;
    }
    if (r < 0 || (r = sink->ops->file_end(sink, crc, err)) < 0)
        return r;
    stats->files++;
    stats->bytes += hi - lo;
    stats->pages_checked += (hi - lo) / NULL_BLOCK_BYTES;
    return 0;
}

/* All files are the same everywhere. */
static bool null_range_anywhere(struct engine_key_range range)
{
    return range.end.len > 0 && slice_cmp(range.end, null_final_start()) <= 0;
}

/* What the reader's own instance says now, not the one that the snapshot was begun on. */
static int null_reader_ready(struct engine_reader *reader, struct tm_err *err)
{
    struct null_config now;
    int r = null_source_read(reader->conninfo, &now, err);
    if (r < 0)
        return r;
    if (strcmp(now.fail, "ready_conflict") == 0)
        return tm_err_set(err, TM_E_CONFLICT, "ready: asked to fail by conninfo");
    return null_config_fail(&now, "ready", err) < 0 ? 0 : 1;
}

static int null_read_range(struct engine_reader *reader, struct engine_key_range range,
                           struct range_sink *sink, struct engine_range_stats *ret,
                           struct tm_err *err)
{
    struct engine_range_stats stats = {0};
    struct null_config now;
    struct tm_err ignored;
    int r = null_config_fail(&reader->config, "read_range", err);
    if (r < 0)
        return r;
    if (null_source_read(reader->conninfo, &now, &ignored) == 0 &&
        strcmp(now.fail, "read_conflict") == 0)
        return tm_err_set(err, TM_E_CONFLICT, "read_range: asked to fail by conninfo");
    uint64_t count = null_entry_count(&reader->config);
    for (uint64_t i = 0; i < count; i++) {
        struct null_entry entry;
        uint64_t lo = 0, hi = 0;
        null_entry_at(&reader->config, i, &entry);
        if (!null_entry_part(&entry, range, &lo, &hi))
            continue;
        r = send_entry(&reader->config, &entry, lo, hi, sink, &stats, err);
        if (r < 0)
            return r;
    }
    *ret = stats;
    return 0;
}

static int null_read_final(struct engine_reader *reader, struct slice end, struct range_sink *sink,
                           struct engine_range_stats *ret, struct tm_err *err)
{
    (void)reader;
    if (!slice_eq(end, slice_str(END_BLOB)))
        return tm_err_set(err, TM_E_INVALID, "the end blob is not the null engine's");
    struct file_entry file = {
        .kind = FILE_REGULAR, .path = "control", .mode = 0600, .last_part = true};
    uint8_t *room;
    size_t size;
    int r = sink->ops->file_begin(sink, &file, err);
    if (r < 0 || (r = sink->ops->room(sink, end.len, &room, &size, err)) < 0)
        return r;
    if (size < end.len)
        return tm_err_set(err, TM_E_INTERNAL, "no room for %zu bytes", end.len);
    memcpy(room, end.data, end.len);
    uint32_t crc = crc32c(CRC32C_INIT, end.data, end.len);
    r = sink->ops->advance(sink, end.len, err);
    if (r < 0 || (r = sink->ops->file_end(sink, crc, err)) < 0)
        return r;
    *ret = (struct engine_range_stats){.files = 1, .bytes = end.len};
    return 0;
}

static void null_reader_close(struct engine_reader *reader)
{
    free(reader);
}

const struct engine_ops null_engine = {
    .name = "null",
    .caps = ENGINE_CAP_HOLD | ENGINE_CAP_LOG,
    .describe = null_describe,
    .check = null_check,
    .session_open = null_open,
    .snapshot_begin = null_snapshot_begin,
    .snapshot_resume = null_snapshot_resume,
    .hold_advance = null_session_hold,
    .session_ping = null_session_ping,
    .snapshot_end = null_snapshot_end,
    .session_close = null_session_close,
    .session_cancel = null_session_cancel,
    .reader_open = null_reader_open,
    .plan = null_plan,
    .read_range = null_read_range,
    .final_key = null_final_key,
    .read_final = null_read_final,
    .reader_close = null_reader_close,
    .range_anywhere = null_range_anywhere,
    .reader_ready = null_reader_ready,
    .snapshot_resumed = null_snapshot_resumed,
    .proof_open = null_proof_open,
    .proof_push = null_proof_push,
    .proof_end = null_proof_end,
    .proof_close = null_proof_close,
    .log_position = null_log_position,
    .log_open = null_log_open,
    .log_next = null_log_next,
    .log_close = null_log_close,
    .log_describe = null_log_describe,
    .log_history = null_log_history,
    .log_read_file = null_log_read_file,
    .hold_open = null_hold_open,
    .hold_look = null_hold_look,
    .hold_touch = null_hold_touch,
    .hold_drop = null_hold_drop,
    .hold_close = null_hold_close,
    .hold_list = null_hold_list,
    .index_open = null_index_open,
    .index_push = null_index_push,
    .index_take = null_index_take,
    .index_close = null_index_close,
    .log_last_record = null_log_last_record,
    .position_text = null_position_text,
    .position_parse = null_position_parse,
    .restore_open = null_restore_open,
    .restore_prepare = null_restore_prepare,
    .restore_file = null_restore_file,
    .restore_log = null_restore_log,
    .restore_manifest_file = null_restore_manifest_file,
    .restore_finish = null_restore_finish,
    .restore_start = null_restore_start,
    .restore_close = null_restore_close,
};
