/*
 * Happy path of a decode: magic, version, then tag after tag until the last byte; known tags are
 * checked for their length and taken, unknown ones skipped; at the end every required tag was seen.
 *
 * Failure modes: bytes that end inside a field, a number of the wrong width, text with a NUL, a
 * list over its limit, a required tag missing. All are TM_E_CORRUPT and name the field by its tag:
 * these bytes were written by this program, so only damage can bring them there.
 */
#include "agent/engine/postgres/snapshot.h"

#include <stdlib.h>

#include "agent/engine/postgres/blob.h"
#include "agent/engine/postgres/wal.h"

#define BLOB_FIELD_MAX ((size_t)ENGINE_BLOB_MAX)

#define BEGIN "snapshot's begin"
#define END   "snapshot's end"

enum begin_tag {
    B_SYSTEM_ID = 1,
    B_START_LSN,
    B_REPLAY_FROM,
    B_TIMELINE,
    B_VERSION_NUM,
    B_CATALOG_VERSION,
    B_CONTROL_VERSION,
    B_BLOCK_BYTES,
    B_RELATION_SEGMENT,
    B_WAL_SEGMENT,
    B_CHECKSUM_VERSION,
    B_START_US,
    B_DATA_DIR,
    B_LABEL,
    B_LAST_REQUIRED = B_LABEL,
    B_TABLESPACE,  /* list: u32 oid, path */
    B_CONFIG_FILE, /* list: u8 length of role, role, path */
    B_HISTORY,
    B_CHECKPOINT_LSN,
    B_SETTINGS,      /* six i32, u8 wal_log_hints, u8 track_commit_timestamp */
    B_FURTHER_START, /* list: u64 LSN, u64 time */
    B_NEXT_XID,
};

#define SETTINGS_BYTES 26
#define START_BYTES    16

enum end_tag {
    E_STOP_LSN = 1,
    E_TIMELINE,
    E_COMMIT_US,
    E_BACKUP_LABEL,
    E_LAST_REQUIRED = E_BACKUP_LABEL,
    E_TABLESPACE_MAP,
    E_SETTLED_US,
};

/* ---- writing ---- */

static int put_tablespace(struct buf *out, const struct pg_tablespace *tablespace,
                          struct tm_err *err)
{
    uint8_t value[4 + ENGINE_PATH_MAX];
    size_t len = strlen(tablespace->path);
    if (len >= ENGINE_PATH_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the path of tablespace %u is too long",
                          tablespace->oid);
    be32_put(value, tablespace->oid);
    memcpy(value + 4, tablespace->path, len);
    return pg_blob_put_field(out, B_TABLESPACE, value, 4 + len, err);
}

static int put_config_file(struct buf *out, const struct pg_config_file *file, struct tm_err *err)
{
    uint8_t value[1 + UINT8_MAX + ENGINE_PATH_MAX];
    size_t role = strlen(file->role), len = strlen(file->path);
    if (len >= ENGINE_PATH_MAX || role > UINT8_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the path of configuration file '%.200s' is too long",
                          file->path);
    value[0] = (uint8_t)role;
    memcpy(value + 1, file->role, role);
    memcpy(value + 1 + role, file->path, len);
    return pg_blob_put_field(out, B_CONFIG_FILE, value, 1 + role + len, err);
}

static int put_settings(struct buf *out, const struct control_settings *settings,
                        struct tm_err *err)
{
    const int32_t words[] = {settings->wal_level,
                             settings->max_connections,
                             settings->max_worker_processes,
                             settings->max_wal_senders,
                             settings->max_prepared_transactions,
                             settings->max_locks_per_transaction};
    uint8_t value[SETTINGS_BYTES];
    for (size_t n = 0; n < TM_ARRAY_LEN(words); n++)
        be32_put(value + 4 * n, (uint32_t)words[n]);
    value[24] = settings->wal_log_hints;
    value[25] = settings->track_commit_timestamp;
    return pg_blob_put_field(out, B_SETTINGS, value, sizeof(value), err);
}

static int put_starts(const struct pg_begin *begin, struct buf *out, struct tm_err *err)
{
    int r = 0;
    if (begin->next_xid != 0)
        r = pg_blob_put_u64(out, B_NEXT_XID, begin->next_xid, err);
    if (begin->checkpoint_lsn == 0)
        return r;
    if (r == 0)
        r = pg_blob_put_u64(out, B_CHECKPOINT_LSN, begin->checkpoint_lsn, err);
    if (r == 0)
        r = put_settings(out, &begin->settings, err);
    for (size_t n = 0; r == 0 && n < begin->further_count; n++) {
        uint8_t value[START_BYTES];
        be64_put(value, begin->further[n].lsn);
        be64_put(value + 8, (uint64_t)begin->further[n].us);
        r = pg_blob_put_field(out, B_FURTHER_START, value, sizeof(value), err);
    }
    return r;
}

static int put_begin_lists(const struct pg_begin *begin, struct buf *out, struct tm_err *err)
{
    int r = 0;
    for (size_t n = 0; r == 0 && n < begin->tablespace_count; n++)
        r = put_tablespace(out, &begin->tablespaces[n], err);
    for (size_t n = 0; r == 0 && n < begin->config_file_count; n++)
        r = put_config_file(out, &begin->config_files[n], err);
    if (r == 0 && begin->history.len > 0)
        r = pg_blob_put_field(out, B_HISTORY, begin->history.data, begin->history.len, err);
    return r;
}

int pg_begin_encode(const struct pg_begin *begin, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    const struct {
        unsigned tag;
        uint32_t value;
    } words[] = {
        {B_TIMELINE, begin->timeline},
        {B_VERSION_NUM, begin->version_num},
        {B_CATALOG_VERSION, begin->catalog_version},
        {B_CONTROL_VERSION, begin->control_version},
        {B_BLOCK_BYTES, begin->block_bytes},
        {B_RELATION_SEGMENT, begin->relation_segment_blocks},
        {B_WAL_SEGMENT, begin->wal_segment_bytes},
        {B_CHECKSUM_VERSION, begin->checksum_version},
    };
    int r = pg_blob_put_header(&blob, 'B', err);
    if (r == 0)
        r = pg_blob_put_u64(&blob, B_SYSTEM_ID, begin->system_id, err);
    if (r == 0)
        r = pg_blob_put_u64(&blob, B_START_LSN, begin->start_lsn, err);
    if (r == 0)
        r = pg_blob_put_u64(&blob, B_REPLAY_FROM, begin->replay_from, err);
    for (size_t n = 0; r == 0 && n < TM_ARRAY_LEN(words); n++)
        r = pg_blob_put_u32(&blob, words[n].tag, words[n].value, err);
    if (r == 0)
        r = pg_blob_put_u64(&blob, B_START_US, (uint64_t)begin->start_us, err);
    if (r == 0)
        r = pg_blob_put_text(&blob, B_DATA_DIR, begin->data_dir, err);
    if (r == 0)
        r = pg_blob_put_text(&blob, B_LABEL, begin->label, err);
    if (r == 0)
        r = put_begin_lists(begin, &blob, err);
    if (r == 0)
        r = put_starts(begin, &blob, err);
    if (r < 0)
        return r;
    if (blob.len > BLOB_FIELD_MAX)
        return tm_err_set(err, TM_E_LIMIT,
                          "what must be known of the snapshot does not fit: %zu bytes of %d",
                          blob.len, ENGINE_BLOB_MAX);
    return buf_append_slice(out, buf_slice(&blob), err);
}

int pg_end_encode(const struct pg_end *end, struct buf *out, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    int r = pg_blob_put_header(&blob, 'E', err);
    if (r == 0)
        r = pg_blob_put_u64(&blob, E_STOP_LSN, end->stop_lsn, err);
    if (r == 0)
        r = pg_blob_put_u32(&blob, E_TIMELINE, end->timeline, err);
    if (r == 0)
        r = pg_blob_put_u64(&blob, E_COMMIT_US, (uint64_t)end->commit_us, err);
    if (r == 0)
        r = pg_blob_put_field(&blob, E_BACKUP_LABEL, end->backup_label.data, end->backup_label.len,
                              err);
    if (r == 0 && end->tablespace_map.len > 0)
        r = pg_blob_put_field(&blob, E_TABLESPACE_MAP, end->tablespace_map.data,
                              end->tablespace_map.len, err);
    if (r == 0 && end->settled_us != 0)
        r = pg_blob_put_u64(&blob, E_SETTLED_US, (uint64_t)end->settled_us, err);
    if (r < 0)
        return r;
    if (blob.len > BLOB_FIELD_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the end of the snapshot does not fit: %zu bytes of %d",
                          blob.len, ENGINE_BLOB_MAX);
    return buf_append_slice(out, buf_slice(&blob), err);
}

/* ---- reading ---- */

static int get_tablespace(struct pg_blob_field field, struct pg_begin *begin, struct tm_err *err)
{
    if (field.value.len < 5)
        return pg_blob_bad(BEGIN, field.tag, "too short", err);
    if (begin->tablespace_count == PG_TABLESPACES_MAX)
        return pg_blob_bad(BEGIN, field.tag, "too many tablespaces", err);
    if (!begin->tablespaces) {
        begin->tablespaces = calloc(PG_TABLESPACES_MAX, sizeof(*begin->tablespaces));
        if (!begin->tablespaces)
            return tm_err_oom(err);
    }
    struct pg_tablespace *tablespace = &begin->tablespaces[begin->tablespace_count++];
    tablespace->oid = be32_get(field.value.data);
    return pg_blob_get_text(BEGIN, field, slice_of(field.value.data + 4, field.value.len - 4),
                            ENGINE_PATH_MAX, &tablespace->path, err);
}

static int get_config_file(struct pg_blob_field field, struct pg_begin *begin, struct tm_err *err)
{
    if (field.value.len < 2 || field.value.len < 1u + field.value.data[0])
        return pg_blob_bad(BEGIN, field.tag, "too short", err);
    if (begin->config_file_count == PG_CONFIG_FILES_MAX)
        return pg_blob_bad(BEGIN, field.tag, "too many configuration files", err);
    if (!begin->config_files) {
        begin->config_files = calloc(PG_CONFIG_FILES_MAX, sizeof(*begin->config_files));
        if (!begin->config_files)
            return tm_err_oom(err);
    }
    struct pg_config_file *file = &begin->config_files[begin->config_file_count++];
    size_t role = field.value.data[0];
    int r = pg_blob_get_text(BEGIN, field, slice_of(field.value.data + 1, role), UINT8_MAX + 1,
                             &file->role, err);
    if (r < 0)
        return r;
    return pg_blob_get_text(BEGIN, field,
                            slice_of(field.value.data + 1 + role, field.value.len - 1 - role),
                            ENGINE_PATH_MAX, &file->path, err);
}

static int get_settings(struct pg_blob_field field, struct control_settings *ret,
                        struct tm_err *err)
{
    const uint8_t *value = field.value.data;
    if (field.value.len != SETTINGS_BYTES || value[24] > 1 || value[25] > 1)
        return pg_blob_bad(BEGIN, field.tag, "impossible", err);
    *ret = (struct control_settings){
        .wal_level = (int32_t)be32_get(value),
        .max_connections = (int32_t)be32_get(value + 4),
        .max_worker_processes = (int32_t)be32_get(value + 8),
        .max_wal_senders = (int32_t)be32_get(value + 12),
        .max_prepared_transactions = (int32_t)be32_get(value + 16),
        .max_locks_per_transaction = (int32_t)be32_get(value + 20),
        .wal_log_hints = value[24] == 1,
        .track_commit_timestamp = value[25] == 1,
    };
    return 0;
}

int pg_begin_add_start(struct pg_begin *begin, struct pg_start start, struct tm_err *err)
{
    if (begin->further_count == PG_STARTS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "it was resumed %d times", PG_STARTS_MAX);
    if (!begin->further) {
        begin->further = calloc(PG_STARTS_MAX, sizeof(*begin->further));
        if (!begin->further)
            return tm_err_oom(err);
    }
    begin->further[begin->further_count++] = start;
    return 0;
}

static int get_start(struct pg_blob_field field, struct pg_begin *begin, struct tm_err *err)
{
    if (field.value.len != START_BYTES)
        return pg_blob_bad(BEGIN, field.tag, "not two numbers", err);
    if (begin->further_count == PG_STARTS_MAX)
        return pg_blob_bad(BEGIN, field.tag, "too many starts", err);
    const struct pg_start start = {be64_get(field.value.data),
                                   (int64_t)be64_get(field.value.data + 8)};
    return pg_begin_add_start(begin, start, err);
}

static int take_begin_field(struct pg_blob_field field, void *arg, struct tm_err *err)
{
    struct pg_begin *begin = arg;
    switch (field.tag) {
    case B_SYSTEM_ID:
        return pg_blob_get_u64(BEGIN, field, &begin->system_id, err);
    case B_START_LSN:
        return pg_blob_get_u64(BEGIN, field, &begin->start_lsn, err);
    case B_REPLAY_FROM:
        return pg_blob_get_u64(BEGIN, field, &begin->replay_from, err);
    case B_TIMELINE:
        return pg_blob_get_u32(BEGIN, field, &begin->timeline, err);
    case B_VERSION_NUM:
        return pg_blob_get_u32(BEGIN, field, &begin->version_num, err);
    case B_CATALOG_VERSION:
        return pg_blob_get_u32(BEGIN, field, &begin->catalog_version, err);
    case B_CONTROL_VERSION:
        return pg_blob_get_u32(BEGIN, field, &begin->control_version, err);
    case B_BLOCK_BYTES:
        return pg_blob_get_u32(BEGIN, field, &begin->block_bytes, err);
    case B_RELATION_SEGMENT:
        return pg_blob_get_u32(BEGIN, field, &begin->relation_segment_blocks, err);
    case B_WAL_SEGMENT:
        return pg_blob_get_u32(BEGIN, field, &begin->wal_segment_bytes, err);
    case B_CHECKSUM_VERSION:
        return pg_blob_get_u32(BEGIN, field, &begin->checksum_version, err);
    case B_START_US: {
        uint64_t value;
        int r = pg_blob_get_u64(BEGIN, field, &value, err);
        if (r == 0)
            begin->start_us = (int64_t)value;
        return r;
    }
    case B_DATA_DIR:
        return pg_blob_get_text(BEGIN, field, field.value, ENGINE_PATH_MAX, &begin->data_dir, err);
    case B_LABEL:
        return pg_blob_get_text(BEGIN, field, field.value, PG_LABEL_MAX, &begin->label, err);
    case B_TABLESPACE:
        return get_tablespace(field, begin, err);
    case B_CONFIG_FILE:
        return get_config_file(field, begin, err);
    case B_HISTORY:
        return pg_blob_get_bytes(BEGIN, field, PG_HISTORY_MAX, &begin->history, err);
    case B_CHECKPOINT_LSN:
        return pg_blob_get_u64(BEGIN, field, &begin->checkpoint_lsn, err);
    case B_NEXT_XID:
        return pg_blob_get_u64(BEGIN, field, &begin->next_xid, err);
    case B_SETTINGS:
        return get_settings(field, &begin->settings, err);
    case B_FURTHER_START:
        return get_start(field, begin, err);
    default:
        return 0;
    }
}

/* Numbers that are divided by, or that size something. */
static int check_begin(const struct pg_begin *begin, struct tm_err *err)
{
    uint32_t block = begin->block_bytes, segment = begin->wal_segment_bytes;
    if (block < 1024 || block > 32768 || (block & (block - 1)) != 0)
        return pg_blob_bad(BEGIN, B_BLOCK_BYTES, "impossible", err);
    if (!pg_wal_segment_bytes_valid(segment))
        return pg_blob_bad(BEGIN, B_WAL_SEGMENT, "impossible", err);
    if (begin->relation_segment_blocks == 0)
        return pg_blob_bad(BEGIN, B_RELATION_SEGMENT, "impossible", err);
    if (begin->replay_from > begin->start_lsn || begin->replay_from % segment != 0)
        return pg_blob_bad(BEGIN, B_REPLAY_FROM, "impossible", err);
    if (begin->checkpoint_lsn != 0 && begin->checkpoint_lsn < begin->start_lsn)
        return pg_blob_bad(BEGIN, B_CHECKPOINT_LSN, "impossible", err);
    if (begin->checkpoint_lsn != 0 && begin->settings.wal_level < 1)
        return pg_blob_bad(BEGIN, B_SETTINGS, "impossible", err);
    uint64_t before = begin->checkpoint_lsn;
    for (size_t n = 0; n < begin->further_count; before = begin->further[n++].lsn)
        if (before == 0 || begin->further[n].lsn <= before)
            return pg_blob_bad(BEGIN, B_FURTHER_START, "impossible", err);
    return 0;
}

int pg_begin_decode(struct slice blob, struct pg_begin *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_begin_release) struct pg_begin begin = {0};
    int r = pg_blob_read(BEGIN, 'B', blob, B_LAST_REQUIRED, take_begin_field, &begin, err);
    if (r == 0)
        r = check_begin(&begin, err);
    if (r < 0)
        return r;
    *ret = begin;
    begin = (struct pg_begin){0};
    return 0;
}

static int take_end_field(struct pg_blob_field field, void *arg, struct tm_err *err)
{
    struct pg_end *end = arg;
    uint64_t value;
    int r;
    switch (field.tag) {
    case E_STOP_LSN:
        return pg_blob_get_u64(END, field, &end->stop_lsn, err);
    case E_TIMELINE:
        return pg_blob_get_u32(END, field, &end->timeline, err);
    case E_COMMIT_US:
        r = pg_blob_get_u64(END, field, &value, err);
        if (r == 0)
            end->commit_us = (int64_t)value;
        return r;
    case E_SETTLED_US:
        r = pg_blob_get_u64(END, field, &value, err);
        if (r == 0)
            end->settled_us = (int64_t)value;
        return r;
    case E_BACKUP_LABEL:
        return pg_blob_get_bytes(END, field, BLOB_FIELD_MAX, &end->backup_label, err);
    case E_TABLESPACE_MAP:
        return pg_blob_get_bytes(END, field, BLOB_FIELD_MAX, &end->tablespace_map, err);
    default:
        return 0;
    }
}

int pg_end_decode(struct slice blob, struct pg_end *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_end_release) struct pg_end end = {0};
    int r = pg_blob_read(END, 'E', blob, E_LAST_REQUIRED, take_end_field, &end, err);
    if (r < 0)
        return r;
    *ret = end;
    end = (struct pg_end){0};
    return 0;
}

/* ---- release ---- */

void pg_begin_release(struct pg_begin *begin)
{
    for (size_t n = 0; n < begin->tablespace_count; n++)
        free(begin->tablespaces[n].path);
    for (size_t n = 0; n < begin->config_file_count; n++) {
        free(begin->config_files[n].path);
        free(begin->config_files[n].role);
    }
    free(begin->tablespaces);
    free(begin->config_files);
    free(begin->further);
    free(begin->data_dir);
    free(begin->label);
    buf_release(&begin->history);
    *begin = (struct pg_begin){0};
}

void pg_end_release(struct pg_end *end)
{
    buf_release(&end->backup_label);
    buf_release(&end->tablespace_map);
    *end = (struct pg_end){0};
}
