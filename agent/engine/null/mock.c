/*
 * The mock range engine. Keys k00000000 … in order; a reader's revision rises with every range it
 * reads, so no two ranges of a backup are at the same position.
 */
#include "agent/engine/null/mock.h"

#include <stdatomic.h>

#include "agent/engine/null/config.h"
#include "agent/engine/null/null.h"
#include "agent/engine/null/restore.h"
#include "agent/engine/null/session.h"
#include "common/hash.h"
#include "common/parse.h"

#define KEY_DIGITS 8
#define KEY_LEN    (1 + KEY_DIGITS)

struct engine_reader {
    struct null_config config;
    _Atomic uint64_t revision;
};

static void position_of(uint64_t revision, struct engine_position *ret)
{
    null_position(revision, "revision ", ret);
}

static int mock_describe(const struct engine_instance *instance, struct engine_description *ret,
                         struct tm_err *err)
{
    struct null_config c;
    int r = null_session_describe("mock", instance, &c, ret, err);
    if (r < 0)
        return r;
    ret->role = c.standby ? ENGINE_ROLE_MEMBER : ENGINE_ROLE_PRIMARY;
    ret->data_bytes_estimate = c.keys * (c.value + KEY_LEN + 8);
    position_of(c.revision, &ret->position);
    return 0;
}

static int mock_check(const struct engine_instance *instance, struct tm_err *err)
{
    return null_session_check("mock", instance, err);
}

static int mock_open(const struct engine_instance *instance, const char *label,
                     struct engine_session **ret, struct tm_err *err)
{
    (void)label;
    return null_session_open("mock", instance, ret, err);
}

static int mock_snapshot_begin(struct engine_session *s, const char *hold, bool fast,
                               struct buf *ret_begin, struct engine_position *ret_replay_from,
                               struct tm_err *err)
{
    (void)hold;
    (void)fast;
    int r = null_session_begin(s, ret_begin, err);
    if (r == 0)
        position_of(s->config.revision, ret_replay_from);
    return r;
}

/* Each range has a position of its own: there is nothing that a lost session could have lost. */
static int mock_snapshot_resume(struct engine_session *s, const char *hold, bool fast,
                                struct slice first, uint64_t log_from, struct buf *ret_begin,
                                struct engine_position *ret_replay_from, struct tm_err *err)
{
    (void)hold;
    (void)fast;
    (void)log_from;
    int r = null_session_resume(s, first, ret_begin, err);
    if (r == 0)
        position_of(s->config.revision, ret_replay_from);
    return r;
}

static int mock_snapshot_end(struct engine_session *s, struct buf *ret_end,
                             struct engine_position *ret_consistent_at, int64_t *ret_commit_us,
                             struct tm_err *err)
{
    int r = null_session_end(s, ret_end, err);
    if (r < 0)
        return r;
    position_of(s->config.revision + s->config.keys, ret_consistent_at);
    *ret_commit_us = null_config_now_us(&s->config);
    return 0;
}

static int mock_reader_open(const struct engine_instance *instance, struct slice begin,
                            struct engine_reader **ret, struct tm_err *err)
{
    (void)instance;
    struct null_config c;
    int r = null_session_config("mock", begin, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "reader_open", err)) < 0)
        return r;
    struct engine_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return tm_err_oom(err);
    reader->config = c;
    atomic_store(&reader->revision, c.revision);
    *ret = reader;
    return 0;
}

static void key_of(uint64_t number, char key[KEY_LEN + 1])
{
    (void)snprintf(key, KEY_LEN + 1, "k%08u", (unsigned)(number % 100000000));
}

static int mock_plan(struct engine_reader *reader, const struct engine_plan_options *options,
                     engine_plan_fn fn, void *arg, struct tm_err *err)
{
    const struct null_config *c = &reader->config;
    int r = null_config_fail(c, "plan", err);
    if (r < 0)
        return r;
    uint64_t row = c->value + KEY_LEN + 8;
    uint64_t range_bytes = options && options->range_bytes ? options->range_bytes : 128u << 20;
    uint64_t step = TM_MAX(range_bytes / row, (uint64_t)1);
    char start[KEY_LEN + 1] = "", end[KEY_LEN + 1];
    size_t start_len = 0;
    for (uint64_t at = step; at < c->keys; at += step) {
        key_of(at, end);
        r = fn(arg, (struct engine_key_range){slice_of(start, start_len), slice_of(end, KEY_LEN)},
               step * row, err);
        if (r < 0)
            return r;
        memcpy(start, end, sizeof(start));
        start_len = KEY_LEN;
    }
    return fn(arg, (struct engine_key_range){slice_of(start, start_len), null_final_start()},
              c->keys % step * row, err);
}

/* Index of the first key not below `bound`. */
static int key_index(struct slice bound, uint64_t keys, uint64_t top, uint64_t *ret,
                     struct tm_err *err)
{
    if (bound.len != KEY_LEN || bound.data[0] != 'k') {
        *ret = top;
        return 0;
    }
    char digits[KEY_DIGITS + 1];
    memcpy(digits, bound.data + 1, KEY_DIGITS);
    digits[KEY_DIGITS] = '\0';
    int r = parse_u64(digits, ret, err);
    if (r == 0)
        *ret = TM_MIN(*ret, keys);
    return r;
}

static int put(struct range_sink *sink, const void *data, size_t len, uint32_t *crc,
               struct tm_err *err)
{
    const uint8_t *in = data;
    *crc = crc32c(*crc, data, len);
    while (len > 0) {
        uint8_t *room;
        size_t size;
        int r = sink->ops->room(sink, len, &room, &size, err);
        if (r < 0)
            return r;
        size_t n = TM_MIN(len, size);
        memcpy(room, in, n);
        r = sink->ops->advance(sink, n, err);
        if (r < 0)
            return r;
        in += n;
        len -= n;
    }
    return 0;
}

static int put_row(const struct null_config *c, uint64_t number, struct range_sink *sink,
                   uint32_t *crc, struct tm_err *err)
{
    uint8_t row[4 + KEY_LEN + 1 + 4 + 4096];
    be32_put(row, KEY_LEN);
    key_of(number, (char *)row + 4);
    be32_put(row + 4 + KEY_LEN, (uint32_t)c->value);
    null_fill(c->seed, number, 0, row + 8 + KEY_LEN, (size_t)c->value);
    return put(sink, row, 8 + KEY_LEN + (size_t)c->value, crc, err);
}

static int mock_read_range(struct engine_reader *reader, struct engine_key_range range,
                           struct range_sink *sink, struct engine_range_stats *ret,
                           struct tm_err *err)
{
    const struct null_config *c = &reader->config;
    uint64_t first, behind;
    int r = null_config_fail(c, "read_range", err);
    if (r < 0 || (r = key_index(range.start, c->keys, 0, &first, err)) < 0 ||
        (r = key_index(range.end, c->keys, c->keys, &behind, err)) < 0)
        return r;
    struct file_entry file = {.kind = FILE_REGULAR, .mode = 0600, .last_part = true};
    (void)snprintf(file.path, sizeof(file.path), "kv/%08llu", (unsigned long long)first);
    r = sink->ops->file_begin(sink, &file, err);
    if (r < 0)
        return r;
    uint32_t crc = CRC32C_INIT;
    uint8_t revision[8];
    be64_put(revision, atomic_fetch_add(&reader->revision, 1) + 1);
    r = put(sink, revision, sizeof(revision), &crc, err);
    for (uint64_t number = first; r == 0 && number < behind; number++)
        r = put_row(c, number, sink, &crc, err);
    if (r < 0 || (r = sink->ops->file_end(sink, crc, err)) < 0)
        return r;
    *ret = (struct engine_range_stats){.files = 1,
                                       .bytes = 8 + (behind - first) * (8 + KEY_LEN + c->value)};
    return 0;
}

static int mock_read_final(struct engine_reader *reader, struct slice end, struct range_sink *sink,
                           struct engine_range_stats *ret, struct tm_err *err)
{
    (void)end;
    struct file_entry file = {
        .kind = FILE_REGULAR, .path = "revision", .mode = 0600, .last_part = true};
    uint8_t revision[8];
    be64_put(revision, reader->config.revision + reader->config.keys);
    uint32_t crc = CRC32C_INIT;
    int r = sink->ops->file_begin(sink, &file, err);
    if (r < 0 || (r = put(sink, revision, sizeof(revision), &crc, err)) < 0 ||
        (r = sink->ops->file_end(sink, crc, err)) < 0)
        return r;
    *ret = (struct engine_range_stats){.files = 1, .bytes = sizeof(revision)};
    return 0;
}

static void mock_reader_close(struct engine_reader *reader)
{
    free(reader);
}

const struct engine_ops mock_engine = {
    .name = "mock",
    .caps = ENGINE_CAP_RANGE_OWN_POSITION,
    .describe = mock_describe,
    .check = mock_check,
    .session_open = mock_open,
    .snapshot_begin = mock_snapshot_begin,
    .snapshot_resume = mock_snapshot_resume,
    .hold_advance = null_session_hold,
    .session_ping = null_session_ping,
    .snapshot_end = mock_snapshot_end,
    .session_close = null_session_close,
    .session_cancel = null_session_cancel,
    .reader_open = mock_reader_open,
    .plan = mock_plan,
    .read_range = mock_read_range,
    .final_key = null_final_key,
    .read_final = mock_read_final,
    .reader_close = mock_reader_close,
    .restore_open = null_restore_open,
    .restore_prepare = null_restore_prepare,
    .restore_file = null_restore_file,
    .restore_log = null_restore_log,
    .restore_manifest_file = null_restore_manifest_file,
    .restore_finish = null_restore_finish,
    .restore_start = null_restore_start,
    .restore_close = null_restore_close,
};
