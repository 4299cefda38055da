/*
 * The null engine: positions, reader and log. What is in its blobs, session.h tells.
 */
#include "agent/engine/null/null.h"

#include "agent/engine/null/config.h"
#include "agent/engine/null/restore.h"
#include "agent/engine/null/session.h"
#include "common/hash.h"

#define END_BLOB  "null1 end"
#define LOG_FILE  UINT64_MAX /* number of the log's contents for null_fill */
#define LOG_PIECE 65536u

static const uint8_t final_start[] = {0xff};

struct engine_reader {
    struct null_config config;
};

struct engine_log {
    struct null_config config;
    uint64_t next;
    uint64_t end;
    uint8_t piece[LOG_PIECE];
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
    int r = null_config_parse("null", instance->conninfo, &c, err);
    if (r < 0)
        return r;
    *ret = (struct engine_description){
        .role = c.standby ? ENGINE_ROLE_STANDBY : ENGINE_ROLE_PRIMARY,
        .version = "1",
        .lineage_label = "1",
        .now_us = null_config_now_us(&c),
        .data_bytes_estimate = c.files * c.bytes + c.big,
    };
    memcpy(ret->identity, c.identity, sizeof(ret->identity));
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

static int null_snapshot_begin(struct engine_session *s, bool fast, struct buf *ret_begin,
                               struct engine_position *ret_replay_from, struct tm_err *err)
{
    (void)fast;
    int r = null_session_begin(s, ret_begin, err);
    if (r == 0)
        position_of(NULL_LOG_START, ret_replay_from);
    return r;
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
    (void)instance;
    struct null_config c;
    int r = null_begin_config(begin, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "reader_open", err)) < 0)
        return r;
    struct engine_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return tm_err_oom(err);
    reader->config = c;
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
    return plan_cut(&p, slice_of(final_start, sizeof(final_start)), err);
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

static int null_read_range(struct engine_reader *reader, struct engine_key_range range,
                           struct range_sink *sink, struct engine_range_stats *ret,
                           struct tm_err *err)
{
    struct engine_range_stats stats = {0};
    int r = null_config_fail(&reader->config, "read_range", err);
    if (r < 0)
        return r;
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

static int null_final_key(struct engine_reader *reader, uint8_t key[ENGINE_KEY_MAX],
                          size_t *ret_len)
{
    (void)reader;
    memcpy(key, final_start, sizeof(final_start));
    *ret_len = sizeof(final_start);
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

/* ---- log ---- */

static int null_log_position(const struct engine_position *position, uint64_t *ret_byte)
{
    if (position->len != 8)
        return -TM_E_INVALID;
    *ret_byte = be64_get(position->bytes);
    return 0;
}

static int null_log_open(const struct engine_instance *instance, struct slice begin, uint64_t from,
                         struct engine_log **ret, struct tm_err *err)
{
    (void)instance;
    struct null_config c;
    int r = null_begin_config(begin, &c, err);
    if (r < 0)
        return r;
    if (from < NULL_LOG_START || from > NULL_LOG_START + c.log)
        return tm_err_set(err, TM_E_NOT_FOUND, "log at %llu is gone or not written yet",
                          (unsigned long long)from);
    struct engine_log *log = calloc(1, sizeof(*log));
    if (!log)
        return tm_err_oom(err);
    log->config = c;
    log->next = from;
    log->end = NULL_LOG_START + c.log;
    *ret = log;
    return 0;
}

static int null_log_next(struct engine_log *log, unsigned timeout_ms, struct engine_log_event *ret,
                         struct tm_err *err)
{
    int r = null_config_fail(&log->config, "log_next", err);
    if (r < 0)
        return r;
    *ret =
        (struct engine_log_event){.kind = ENGINE_LOG_IDLE, .from = log->next, .flushed = log->end};
    if (log->next >= log->end) {
        /* never asleep in the simulation, which passes 0 */
        struct timespec pause = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
        if (timeout_ms > 0)
            (void)nanosleep(&pause, NULL);
        return 0;
    }
    size_t n = (size_t)TM_MIN((uint64_t)LOG_PIECE, log->end - log->next);
    null_fill(log->config.seed, LOG_FILE, log->next, log->piece, n);
    ret->kind = ENGINE_LOG_DATA;
    ret->data = slice_of(log->piece, n);
    log->next += n;
    return 0;
}

static void null_log_close(struct engine_log *log)
{
    free(log);
}

const struct engine_ops null_engine = {
    .name = "null",
    .caps = ENGINE_CAP_HOLD | ENGINE_CAP_LOG,
    .describe = null_describe,
    .check = null_check,
    .session_open = null_open,
    .snapshot_begin = null_snapshot_begin,
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
    .log_position = null_log_position,
    .log_open = null_log_open,
    .log_next = null_log_next,
    .log_close = null_log_close,
    .restore_open = null_restore_open,
    .restore_prepare = null_restore_prepare,
    .restore_file = null_restore_file,
    .restore_log = null_restore_log,
    .restore_manifest_file = null_restore_manifest_file,
    .restore_finish = null_restore_finish,
    .restore_start = null_restore_start,
    .restore_close = null_restore_close,
};
