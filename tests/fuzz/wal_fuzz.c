/*
 * The log reader and the record decoders.
 *
 * Input: byte 0 picks the version (low 3 bits) and the mode (bit 3), byte 1 the size of slices.
 * Mode 0: the rest is log as it stands. Mode 1: the rest is cut into record bodies (two bytes of
 * length, resource manager, info, body), which get headers, checksums and pages, so that what lies
 * behind the checksum is reached.
 */
#include "agent/engine/postgres/wal_reader.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int look(void *arg, const struct wal_record *record, struct tm_err *err)
{
    unsigned major = *(unsigned *)arg;
    struct wal_tablespace_create tablespace;
    struct wal_database_create database;
    struct wal_checkpoint checkpoint;
    struct wal_parameters parameters;
    char name[WAL_RESTORE_POINT_MAX];
    uint64_t start;
    int64_t us;
    bool on;
    (void)err;
    (void)wal_tablespace_create_of(record, &tablespace);
    (void)wal_database_create_of(record, major, &database);
    (void)wal_checkpoint_of(record, major, &checkpoint);
    (void)wal_parameters_of(record, &parameters);
    (void)wal_restore_point_of(record, name);
    (void)wal_backup_end_of(record, &start);
    (void)wal_fpw_change_of(record, &on);
    (void)wal_time_of(record, major, &us);
    if (record->end_lsn <= record->lsn || record->data.len > record->data_bytes)
        __builtin_trap();
    return 0;
}

static void read_all(unsigned major, const uint8_t *data, size_t size, size_t step)
{
    struct wal_reader *reader = NULL;
    struct tm_err err;
    const struct wal_reader_config config = {
        .major = major,
        .from = 0,
        .segment_bytes = WAL_BUILD_SEGMENT,
        .record = look,
        .arg = &major,
    };
    if (wal_reader_new(&config, &reader, &err) < 0)
        __builtin_trap();
    for (size_t at = 0; at < size; at += step) {
        if (wal_reader_push(reader, slice_of(data + at, TM_MIN(step, size - at)), &err) < 0)
            break;
    }
    wal_reader_free(reader);
}

static void build_and_read(unsigned major, const uint8_t *data, size_t size, size_t step)
{
    struct wal_build b;
    wal_build_init(&b, major, 0);
    while (size >= 4 && b.at < WAL_BUILD_MAX - 131072) {
        size_t len = TM_MIN((size_t)(data[0] | data[1] << 8), size - 4);
        (void)wal_body(&b, data[2], data[3], 1, data + 4, (uint32_t)len);
        if (data[2] == WAL_RM_XLOG && (data[3] & 0xF0) == 0x40)
            b.at = (b.at + WAL_BUILD_SEGMENT - 1) / WAL_BUILD_SEGMENT * WAL_BUILD_SEGMENT;
        data += 4 + len;
        size -= 4 + len;
    }
    read_all(major, b.bytes, b.at, step);
    wal_build_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned major = 13u + (data[0] & 7u) % 6u;
    size_t step = (size_t)data[1] * 16 + 1;
    if (data[0] & 8)
        build_and_read(major, data + 2, size - 2, step);
    else
        read_all(major, data + 2, size - 2, step);
    return 0;
}
