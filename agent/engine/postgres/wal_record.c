/*
 * What single records say. Layouts are PostgreSQL's in-memory structs of versions 13 to 18, written
 * in the byte order of the server; servers of the other byte order are not supported. Every read is
 * bounded by the main data that is there; a record that is too short for its kind is not decoded.
 */
#include <endian.h>

#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"

#define XLOG_CHECKPOINT_SHUTDOWN 0x00
#define XLOG_CHECKPOINT_ONLINE   0x10
#define XLOG_SWITCH              0x40
#define XLOG_BACKUP_END          0x50
#define XLOG_PARAMETER_CHANGE    0x60
#define XLOG_RESTORE_POINT       0x70
#define XLOG_FPW_CHANGE          0x80
#define XLOG_END_OF_RECOVERY     0x90

#define XACT_OPERATION       0x70
#define XACT_COMMIT          0x00
#define XACT_ABORT           0x20
#define XACT_COMMIT_PREPARED 0x30
#define XACT_ABORT_PREPARED  0x40

static bool get32(struct slice data, size_t offset, uint32_t *ret)
{
    if (data.len < 4 || offset > data.len - 4)
        return false;
    uint32_t v;
    memcpy(&v, data.data + offset, sizeof(v));
    *ret = le32toh(v);
    return true;
}

static bool get_int(struct slice data, size_t offset, int32_t *ret)
{
    uint32_t v;
    if (!get32(data, offset, &v))
        return false;
    *ret = (int32_t)v;
    return true;
}

static bool get64(struct slice data, size_t offset, uint64_t *ret)
{
    if (data.len < 8 || offset > data.len - 8)
        return false;
    uint64_t v;
    memcpy(&v, data.data + offset, sizeof(v));
    *ret = le64toh(v);
    return true;
}

static bool get8(struct slice data, size_t offset, uint8_t *ret)
{
    if (offset >= data.len)
        return false;
    *ret = data.data[offset];
    return true;
}

static enum wal_kind xlog_kind(uint8_t info)
{
    switch (info & 0xF0) {
    case XLOG_CHECKPOINT_SHUTDOWN:
    case XLOG_CHECKPOINT_ONLINE:
        return WAL_CHECKPOINT;
    case XLOG_SWITCH:
        return WAL_SWITCH;
    case XLOG_BACKUP_END:
        return WAL_BACKUP_END;
    case XLOG_PARAMETER_CHANGE:
        return WAL_PARAMETER_CHANGE;
    case XLOG_RESTORE_POINT:
        return WAL_RESTORE_POINT;
    case XLOG_FPW_CHANGE:
        return WAL_FPW_CHANGE;
    case XLOG_END_OF_RECOVERY:
        return WAL_END_OF_RECOVERY;
    default:
        return WAL_OTHER;
    }
}

static enum wal_kind xact_kind(uint8_t info)
{
    switch (info & XACT_OPERATION) {
    case XACT_COMMIT:
    case XACT_COMMIT_PREPARED:
        return WAL_COMMIT;
    case XACT_ABORT:
    case XACT_ABORT_PREPARED:
        return WAL_ABORT;
    default:
        return WAL_OTHER;
    }
}

enum wal_kind wal_record_kind(const struct wal_record *record, unsigned major)
{
    uint8_t high = record->info & 0xF0;
    switch (record->rmid) {
    case WAL_RM_XLOG:
        return xlog_kind(record->info);
    case WAL_RM_XACT:
        return xact_kind(record->info);
    case WAL_RM_TBLSPC:
        return high == 0x00 ? WAL_TABLESPACE_CREATE : WAL_OTHER;
    case WAL_RM_DBASE:
        /* 15 split creation in two, and moved the drop */
        return high == 0x00 || (major >= 15 && high == 0x10) ? WAL_DATABASE_CREATE : WAL_OTHER;
    default:
        return WAL_OTHER;
    }
}

bool wal_tablespace_create_of(const struct wal_record *record, struct wal_tablespace_create *ret)
{
    uint32_t oid;
    if (record->rmid != WAL_RM_TBLSPC || (record->info & 0xF0) != 0x00 ||
        !get32(record->data, 0, &oid))
        return false;
    const uint8_t *path = record->data.data + 4;
    size_t room = record->data.len - 4;
    const uint8_t *end = memchr(path, 0, room);
    if (end == NULL || (size_t)(end - path) >= WAL_TABLESPACE_PATH_MAX)
        return false;
    ret->oid = oid;
    memcpy(ret->path, path, (size_t)(end - path) + 1);
    return true;
}

bool wal_database_create_of(const struct wal_record *record, unsigned major,
                            struct wal_database_create *ret)
{
    struct wal_database_create out = {0};
    if (wal_record_kind(record, major) != WAL_DATABASE_CREATE ||
        !get32(record->data, 0, &out.database) || !get32(record->data, 4, &out.tablespace))
        return false;
    out.by_file_copy = (record->info & 0xF0) == 0x00;
    if (out.by_file_copy && (!get32(record->data, 8, &out.source_database) ||
                             !get32(record->data, 12, &out.source_tablespace)))
        return false;
    *ret = out;
    return true;
}

bool wal_checkpoint_of(const struct wal_record *record, struct wal_checkpoint *ret)
{
    struct wal_checkpoint out = {0};
    uint8_t full_page_writes;
    uint64_t time_s;
    if (record->rmid != WAL_RM_XLOG || xlog_kind(record->info) != WAL_CHECKPOINT ||
        !get64(record->data, 0, &out.redo_lsn) || !get32(record->data, 8, &out.timeline) ||
        !get32(record->data, 12, &out.prev_timeline) ||
        !get8(record->data, 16, &full_page_writes) || !get64(record->data, 64, &time_s))
        return false;
    out.full_page_writes = full_page_writes != 0;
    out.shutdown = (record->info & 0xF0) == XLOG_CHECKPOINT_SHUTDOWN;
    out.time_us = (int64_t)(time_s * 1000000u);
    *ret = out;
    return true;
}

bool wal_parameters_of(const struct wal_record *record, struct wal_parameters *ret)
{
    struct wal_parameters out;
    if (record->rmid != WAL_RM_XLOG || xlog_kind(record->info) != WAL_PARAMETER_CHANGE ||
        !get_int(record->data, 0, &out.max_connections) ||
        !get_int(record->data, 4, &out.max_worker_processes) ||
        !get_int(record->data, 8, &out.max_wal_senders) ||
        !get_int(record->data, 12, &out.max_prepared_xacts) ||
        !get_int(record->data, 16, &out.max_locks_per_xact) ||
        !get_int(record->data, 20, &out.wal_level))
        return false;
    *ret = out;
    return true;
}

bool wal_time_of(const struct wal_record *record, unsigned major, int64_t *ret_real_us)
{
    uint64_t raw;
    switch (wal_record_kind(record, major)) {
    case WAL_COMMIT:
    case WAL_ABORT:
    case WAL_RESTORE_POINT:
    case WAL_END_OF_RECOVERY:
        break;
    default:
        return false;
    }
    if (!get64(record->data, 0, &raw))
        return false;
    return !__builtin_add_overflow((int64_t)raw, PG_EPOCH_US, ret_real_us);
}

bool wal_restore_point_of(const struct wal_record *record, char ret_name[WAL_RESTORE_POINT_MAX])
{
    if (record->rmid != WAL_RM_XLOG || xlog_kind(record->info) != WAL_RESTORE_POINT ||
        record->data.len < 8 + WAL_RESTORE_POINT_MAX)
        return false;
    memcpy(ret_name, record->data.data + 8, WAL_RESTORE_POINT_MAX);
    ret_name[WAL_RESTORE_POINT_MAX - 1] = '\0';
    return true;
}

bool wal_backup_end_of(const struct wal_record *record, uint64_t *ret_start_lsn)
{
    return record->rmid == WAL_RM_XLOG && xlog_kind(record->info) == WAL_BACKUP_END &&
           get64(record->data, 0, ret_start_lsn);
}

bool wal_fpw_change_of(const struct wal_record *record, bool *ret_on)
{
    uint8_t on;
    if (record->rmid != WAL_RM_XLOG || xlog_kind(record->info) != WAL_FPW_CHANGE ||
        !get8(record->data, 0, &on))
        return false;
    *ret_on = on != 0;
    return true;
}
