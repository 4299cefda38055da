/*
 * The log reader, the record decoders, and the index: whatever the log says, the sections that come
 * out are well-formed.
 *
 * Input: byte 0 picks the version (low 3 bits) and the mode (bit 3), byte 1 the size of slices.
 * Mode 0: the rest is log as it stands. Mode 1: the rest is cut into record bodies (two bytes of
 * length, resource manager, info, body), which get headers, checksums and pages, so that what lies
 * behind the checksum is reached.
 */
#include "agent/engine/postgres/block_refs.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/wal_reader.h"
#include "agent/engine/postgres/wal_sections.h"
#include "proto/format/events.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int look(void *arg, const struct wal_record *record, struct tm_err *err)
{
    unsigned major = *(unsigned *)arg;
    struct wal_tablespace_create tablespace;
    struct wal_database_create database;
    struct wal_checkpoint checkpoint;
    struct wal_parameters parameters;
    struct wal_xact xact;
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
    if (wal_xact_of(record, major, &xact) && xact.relation_count > 0)
        (void)wal_xact_relation(&xact, xact.relation_count - 1);
    if (record->end_lsn <= record->lsn || record->block_count > WAL_BLOCKS_MAX ||
        record->data.len > record->data_bytes)
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

static void must(bool condition)
{
    if (!condition)
        __builtin_trap();
}

static void check_section(uint16_t id, struct slice bytes)
{
    struct block_refs_reader refs;
    struct block_refs_fork fork;
    struct wal_items_reader items;
    struct wal_setting setting;
    struct wal_space space;
    struct tm_err err;
    uint32_t block;
    int rc = 1;
    if (id == WAL_SECTION_BLOCKS) {
        must(block_refs_reader_init(&refs, bytes, &err) == 0);
        while ((rc = block_refs_reader_fork(&refs, &fork, &err)) == 1)
            while (block_refs_reader_block(&refs, &block, &err) == 1)
                ;
    } else {
        must(wal_items_reader_init(&items, bytes, &err) == 0);
        while (rc == 1)
            rc = id == WAL_SECTION_SETTINGS ? wal_items_next_setting(&items, &setting, &err)
                                            : wal_items_next_space(&items, &space, &err);
    }
    must(rc == 0);
}

static void check_part(struct engine_log_index *index)
{
    struct engine_index_part part;
    struct events_writer writer = EVENTS_WRITER_INIT;
    struct tm_err err;
    must(pg_index_take(index, &part, &err) == 0);
    for (size_t n = 0; n < part.section_count; n++)
        check_section(part.sections[n].id, part.sections[n].bytes);
    for (size_t n = 0; n < part.event_count; n++)
        must(events_writer_add(&writer, &part.events[n], &err) == 0);
    events_writer_release(&writer);
}

static void index_all(unsigned major, const uint8_t *data, size_t size, size_t step)
{
    const struct pg_log_facts facts = {.version_num = major * 10000,
                                       .timeline = 1,
                                       .wal_segment_bytes = WAL_BUILD_SEGMENT,
                                       .block_bytes = 8192};
    struct engine_log_index *index = NULL;
    struct buf blob = BUF_INIT;
    struct tm_err err;
    must(pg_log_facts_encode(&facts, &blob, &err) == 0);
    must(pg_index_open(buf_slice(&blob), 0, &index, &err) == 0);
    for (size_t at = 0; at < size; at += step * 3) {
        if (pg_index_push(index, slice_of(data + at, TM_MIN(step * 3, size - at)), &err) < 0)
            break;
        if (at % 2 == 0)
            check_part(index);
    }
    check_part(index);
    pg_index_close(index);
    buf_release(&blob);
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
    index_all(major, b.bytes, b.at, 50000 + step);
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
