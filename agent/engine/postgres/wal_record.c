/*
 * What single records say. Layouts are PostgreSQL's in-memory structs of versions 13 to 18, written
 * in the byte order of the server; servers of the other byte order are not supported. Every read is
 * bounded by the main data that is there; a record that is too short for its kind is not decoded.
 */
#include "agent/engine/postgres/files.h"
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_body.h"
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
#define XACT_PREPARE         0x10
#define XACT_ABORT           0x20
#define XACT_COMMIT_PREPARED 0x30
#define XACT_ABORT_PREPARED  0x40

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
    case XACT_PREPARE:
        return WAL_PREPARE;
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
    case WAL_RM_SMGR:
        return high == 0x10 ? WAL_FORK_CREATE : high == 0x20 ? WAL_FORK_TRUNCATE : WAL_OTHER;
    case WAL_RM_TBLSPC:
        return high == 0x00   ? WAL_TABLESPACE_CREATE
               : high == 0x10 ? WAL_TABLESPACE_DROP
                              : WAL_OTHER;
    case WAL_RM_DBASE:
        /* 15 split creation in two, and moved the drop */
        if (high == (major >= 15 ? 0x20 : 0x10))
            return WAL_DATABASE_DROP;
        return high == 0x00 || (major >= 15 && high == 0x10) ? WAL_DATABASE_CREATE : WAL_OTHER;
    default:
        return WAL_OTHER;
    }
}

bool wal_tablespace_create_of(const struct wal_record *record, struct wal_tablespace_create *ret)
{
    uint32_t oid;
    if (record->rmid != WAL_RM_TBLSPC || (record->info & 0xF0) != 0x00 ||
        !wal_get32(record->data, 0, &oid))
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
        !wal_get32(record->data, 0, &out.database) || !wal_get32(record->data, 4, &out.tablespace))
        return false;
    out.by_file_copy = (record->info & 0xF0) == 0x00;
    if (out.by_file_copy && (!wal_get32(record->data, 8, &out.source_database) ||
                             !wal_get32(record->data, 12, &out.source_tablespace)))
        return false;
    *ret = out;
    return true;
}

bool wal_database_drop_of(const struct wal_record *record, unsigned major, uint32_t n,
                          uint32_t *ret_database, uint32_t *ret_tablespace)
{
    uint32_t count;
    return wal_record_kind(record, major) == WAL_DATABASE_DROP &&
           wal_get32(record->data, 4, &count) && n < count &&
           wal_get32(record->data, 8 + (size_t)n * 4, ret_tablespace) &&
           wal_get32(record->data, 0, ret_database);
}

bool wal_tablespace_drop_of(const struct wal_record *record, uint32_t *ret_oid)
{
    return record->rmid == WAL_RM_TBLSPC && (record->info & 0xF0) == 0x10 &&
           wal_get32(record->data, 0, ret_oid);
}

static bool get_relation(struct slice data, size_t offset, struct wal_fork *ret)
{
    return wal_get32(data, offset, &ret->tablespace) &&
           wal_get32(data, offset + 4, &ret->database) &&
           wal_get32(data, offset + 8, &ret->relation);
}

bool wal_fork_create_of(const struct wal_record *record, struct wal_fork *ret)
{
    struct wal_fork out = {0};
    uint32_t fork;
    if (record->rmid != WAL_RM_SMGR || (record->info & 0xF0) != 0x10 ||
        !get_relation(record->data, 0, &out) || !wal_get32(record->data, 12, &fork) ||
        fork > FORK_INIT)
        return false;
    out.fork = (uint8_t)fork;
    *ret = out;
    return true;
}

bool wal_fork_truncate_of(const struct wal_record *record, struct wal_fork_truncate *ret)
{
    struct wal_fork_truncate out = {.blocks = 0};
    uint32_t flags;
    if (record->rmid != WAL_RM_SMGR || (record->info & 0xF0) != 0x20 ||
        !wal_get32(record->data, 0, &out.blocks) || !get_relation(record->data, 4, &out.relation) ||
        !wal_get32(record->data, 16, &flags))
        return false;
    out.main = (flags & 1) != 0;
    out.vm = (flags & 2) != 0;
    out.fsm = (flags & 4) != 0;
    *ret = out;
    return true;
}

bool wal_checkpoint_of(const struct wal_record *record, unsigned major, struct wal_checkpoint *ret)
{
    struct wal_checkpoint out = {.wal_level = -1};
    uint8_t full_page_writes;
    uint64_t time_s;
    if (record->rmid != WAL_RM_XLOG || xlog_kind(record->info) != WAL_CHECKPOINT ||
        !wal_get64(record->data, 0, &out.redo_lsn) || !wal_get32(record->data, 8, &out.timeline) ||
        !wal_get32(record->data, 12, &out.prev_timeline) ||
        !wal_get8(record->data, 16, &full_page_writes) || !wal_get64(record->data, 64, &time_s))
        return false;
    if (!wal_get64(record->data, 24, &out.next_xid) ||
        (major >= 17 && !wal_get32(record->data, 20, (uint32_t *)&out.wal_level)))
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
    uint8_t hints, stamps;
    if (record->rmid != WAL_RM_XLOG || xlog_kind(record->info) != WAL_PARAMETER_CHANGE ||
        !wal_get32(record->data, 0, (uint32_t *)&out.max_connections) ||
        !wal_get32(record->data, 4, (uint32_t *)&out.max_worker_processes) ||
        !wal_get32(record->data, 8, (uint32_t *)&out.max_wal_senders) ||
        !wal_get32(record->data, 12, (uint32_t *)&out.max_prepared_xacts) ||
        !wal_get32(record->data, 16, (uint32_t *)&out.max_locks_per_xact) ||
        !wal_get32(record->data, 20, (uint32_t *)&out.wal_level) ||
        !wal_get8(record->data, 24, &hints) || !wal_get8(record->data, 25, &stamps))
        return false;
    out.wal_log_hints = hints != 0;
    out.track_commit_timestamp = stamps != 0;
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
    if (!wal_get64(record->data, 0, &raw))
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
           wal_get64(record->data, 0, ret_start_lsn);
}

bool wal_fpw_change_of(const struct wal_record *record, bool *ret_on)
{
    uint8_t on;
    if (record->rmid != WAL_RM_XLOG || xlog_kind(record->info) != WAL_FPW_CHANGE ||
        !wal_get8(record->data, 0, &on))
        return false;
    *ret_on = on != 0;
    return true;
}
