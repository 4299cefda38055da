/*
 * The index of a log: what later work wants to know of it, found while it is streamed, so that the
 * log need not be read again. See proto/format/events.h, block_refs.h and wal_sections.h for what
 * comes out.
 *
 * Happy path: the reader hands out every record once; its blocks are noted; the few kinds of record
 * that say more are looked at; take encodes what came together and the next push begins anew.
 *
 * Failure modes: log that is not whole (CORRUPT, from the reader). A record whose checksum is right
 * but which is not understood does not stop the log from being stored: its piece is marked
 * incomplete, so that nobody builds on it.
 *
 * 64-bit transaction ids: each is taken to be the one nearest to the next id as it is known so far:
 * from the facts, then from every checkpoint and every newer id. Facts that do not say it, or say it
 * as of 2^31 transactions ago, give a wrong upper half until the first checkpoint; so give fresh
 * ones.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/engine/postgres/block_refs.h"
#include "agent/engine/postgres/files.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/version.h"
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"
#include "agent/engine/postgres/wal_sections.h"
#include "common/array.h"
#include "common/utf8.h"
#include "proto/format/events.h"

#define SECTION_MAX ((size_t)24 << 20) /* an object's section has at most 32 MiB */

struct engine_log_index {
    unsigned major;
    struct wal_reader *reader;
    uint64_t next_xid; /* 0 = not known */
    uint64_t last_record;
    struct log_point *events;
    size_t event_count, event_cap;
    struct block_refs *blocks;
    struct wal_items settings;
    struct wal_items spaces;
    struct buf encoded[3];
    bool headless_told;
    bool taken; /* what is noted was taken: the next push clears it */
};

TM_DEFINE_FREEP(struct engine_log_index, pg_index_close)

/* ---- transaction ids ---- */

static uint64_t widen_xid(struct engine_log_index *index, uint32_t xid)
{
    if (xid == 0)
        return 0;
    int64_t step = (int32_t)(xid - (uint32_t)index->next_xid);
    uint64_t full = index->next_xid + (uint64_t)step;
    if (index->next_xid == 0 || (step < 0 && index->next_xid < (uint64_t)-step))
        full = xid;
    if (full >= index->next_xid)
        index->next_xid = full + 1;
    return full;
}

/* ---- events ---- */

static int add_event(struct engine_log_index *index, const struct log_point *event,
                     struct tm_err *err)
{
    if (index->event_count == EVENTS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u events in one piece of log", EVENTS_MAX);
    if (ARRAY_ROOM(index->events, index->event_count, index->event_cap, 1024, err) < 0)
        return -(int)err->code;
    index->events[index->event_count++] = *event;
    return 0;
}

/* Names are in the server's encoding, whatever that is: what is no UTF-8 becomes '?'. */
static void set_name(struct log_point *event, struct slice name)
{
    size_t len = TM_MIN(name.len, sizeof(event->name) - 1);
    memcpy(event->name, name.data, len);
    event->name[len] = '\0';
    utf8_clean(event->name);
}

static struct log_point event_at(const struct wal_record *record, enum event_kind kind)
{
    return (struct log_point){
        .kind = kind, .at = record->lsn, .previous = record->prev_lsn, .end = record->end_lsn};
}

/* All forks of a relation, or of all relations of a database, begin anew or are gone. */
static int forget(struct engine_log_index *index, struct wal_fork relation, struct tm_err *err)
{
    relation.fork = BLOCK_REFS_ALL;
    return block_refs_limit(index->blocks, &relation, 0, err);
}

static void not_understood(struct engine_log_index *index)
{
    block_refs_flag(index->blocks, BLOCK_REFS_INCOMPLETE);
}

static int note_xact(struct engine_log_index *index, const struct wal_record *record,
                     enum wal_kind kind, struct tm_err *err)
{
    struct wal_xact xact;
    if (!wal_xact_of(record, index->major, &xact)) {
        not_understood(index);
        return 0;
    }
    if (xact.cut)
        not_understood(index);
    struct log_point event = event_at(record, kind == WAL_COMMIT  ? EVENT_COMMIT
                                              : kind == WAL_ABORT ? EVENT_ABORT
                                                                  : EVENT_PREPARE);
    event.time_us = xact.time_us;
    event.xid = widen_xid(index, xact.xid);
    if (xact.name.len > 0)
        set_name(&event, xact.name);
    int r = add_event(index, &event, err);
    for (uint32_t n = 0; r == 0 && n < xact.relation_count; n++)
        r = forget(index, wal_xact_relation(&xact, n), err);
    return r;
}

static int note_restore_point(struct engine_log_index *index, const struct wal_record *record,
                              struct tm_err *err)
{
    char name[WAL_RESTORE_POINT_MAX];
    struct log_point event = event_at(record, EVENT_POINT);
    if (!wal_restore_point_of(record, name) || !wal_time_of(record, index->major, &event.time_us)) {
        not_understood(index);
        return 0;
    }
    set_name(&event, slice_str(name));
    return add_event(index, &event, err);
}

/* ---- settings ---- */

static int note_setting(struct engine_log_index *index, const struct wal_record *record,
                        enum wal_kind kind, struct tm_err *err)
{
    struct wal_setting s = {.at = record->lsn};
    bool known;
    if (kind == WAL_FPW_CHANGE) {
        s.kind = WAL_SETTING_FULL_PAGE_WRITES;
        known = wal_fpw_change_of(record, &s.full_page_writes);
    } else if (kind == WAL_PARAMETER_CHANGE) {
        s.kind = WAL_SETTING_PARAMETERS;
        known = wal_parameters_of(record, &s.parameters);
    } else {
        s.kind = WAL_SETTING_CHECKPOINT;
        known = wal_checkpoint_of(record, index->major, &s.checkpoint);
        if (known && s.checkpoint.next_xid != 0)
            index->next_xid = s.checkpoint.next_xid;
    }
    if (!known) {
        not_understood(index);
        return 0;
    }
    return wal_items_setting(&index->settings, &s, err);
}

/* ---- tablespaces, databases, files ---- */

static int note_tablespace(struct engine_log_index *index, const struct wal_record *record,
                           enum wal_kind kind, struct tm_err *err)
{
    struct wal_space s = {.kind = WAL_SPACE_TABLESPACE_DROP, .at = record->lsn};
    struct wal_tablespace_create create;
    bool known;
    if (kind == WAL_TABLESPACE_DROP) {
        known = wal_tablespace_drop_of(record, &s.tablespace);
    } else {
        known = wal_tablespace_create_of(record, &create);
        if (known) {
            s.kind = WAL_SPACE_TABLESPACE_CREATE;
            s.tablespace = create.oid;
            memcpy(s.path, create.path, sizeof(s.path));
        }
    }
    if (!known) {
        not_understood(index);
        return 0;
    }
    return wal_items_space(&index->spaces, &s, err);
}

static int note_database(struct engine_log_index *index, const struct wal_space *space,
                         struct tm_err *err)
{
    const struct wal_fork all = {.tablespace = space->tablespace, .database = space->database};
    int r = forget(index, all, err);
    return r < 0 ? r : wal_items_space(&index->spaces, space, err);
}

static int note_database_create(struct engine_log_index *index, const struct wal_record *record,
                                struct tm_err *err)
{
    struct wal_database_create create;
    if (!wal_database_create_of(record, index->major, &create)) {
        not_understood(index);
        return 0;
    }
    const struct wal_space s = {
        .kind = create.by_file_copy ? WAL_SPACE_DATABASE_COPY : WAL_SPACE_DATABASE_CREATE,
        .at = record->lsn,
        .tablespace = create.tablespace,
        .database = create.database,
        .source_tablespace = create.source_tablespace,
        .source_database = create.source_database,
    };
    return note_database(index, &s, err);
}

static int note_database_drop(struct engine_log_index *index, const struct wal_record *record,
                              struct tm_err *err)
{
    struct wal_space s = {.kind = WAL_SPACE_DATABASE_DROP, .at = record->lsn};
    uint32_t n = 0;
    int r = 0;
    while (r == 0 && wal_database_drop_of(record, index->major, n, &s.database, &s.tablespace)) {
        r = note_database(index, &s, err);
        n++;
    }
    if (n == 0 || record->data.len < record->data_bytes)
        not_understood(index);
    return r;
}

static int note_truncate(struct engine_log_index *index, const struct wal_record *record,
                         struct tm_err *err)
{
    struct wal_fork_truncate t;
    if (!wal_fork_truncate_of(record, &t)) {
        not_understood(index);
        return 0;
    }
    struct wal_fork fork = t.relation;
    int r = t.main ? block_refs_limit(index->blocks, &fork, t.blocks, err) : 0;
    /* how long the other two become follows from the main fork's length; take them as made anew */
    fork.fork = FORK_FSM;
    if (r == 0 && t.fsm)
        r = block_refs_limit(index->blocks, &fork, 0, err);
    fork.fork = FORK_VM;
    if (r == 0 && t.vm)
        r = block_refs_limit(index->blocks, &fork, 0, err);
    return r;
}

static int note_fork_create(struct engine_log_index *index, const struct wal_record *record,
                            struct tm_err *err)
{
    struct wal_fork fork;
    if (!wal_fork_create_of(record, &fork)) {
        not_understood(index);
        return 0;
    }
    return block_refs_limit(index->blocks, &fork, 0, err);
}

/* ---- records ---- */

static int note_kind(struct engine_log_index *index, const struct wal_record *record,
                     struct tm_err *err)
{
    const enum wal_kind kind = wal_record_kind(record, index->major);
    switch (kind) {
    case WAL_COMMIT:
    case WAL_ABORT:
    case WAL_PREPARE:
        return note_xact(index, record, kind, err);
    case WAL_RESTORE_POINT:
        return note_restore_point(index, record, err);
    case WAL_CHECKPOINT:
    case WAL_PARAMETER_CHANGE:
    case WAL_FPW_CHANGE:
        return note_setting(index, record, kind, err);
    case WAL_TABLESPACE_CREATE:
    case WAL_TABLESPACE_DROP:
        return note_tablespace(index, record, kind, err);
    case WAL_DATABASE_CREATE:
        return note_database_create(index, record, err);
    case WAL_DATABASE_DROP:
        return note_database_drop(index, record, err);
    case WAL_FORK_CREATE:
        return note_fork_create(index, record, err);
    case WAL_FORK_TRUNCATE:
        return note_truncate(index, record, err);
    default:
        return 0;
    }
}

static int note_record(void *arg, const struct wal_record *record, struct tm_err *err)
{
    struct engine_log_index *index = arg;
    int r = 0;
    index->last_record = record->lsn;
    (void)widen_xid(index, record->xid);
    for (unsigned n = 0; r == 0 && n < record->block_count; n++)
        r = block_refs_add(index->blocks, &record->blocks[n], err);
    return r < 0 ? r : note_kind(index, record, err);
}

/* ---- the interface ---- */

int pg_index_open(struct slice blob, uint64_t from, struct engine_log_index **ret,
                  struct tm_err *err)
{
    TM_CLEANUP(pg_index_closep) struct engine_log_index *index = calloc(1, sizeof(*index));
    struct pg_log_facts facts;
    if (!index)
        return tm_err_oom(err);
    int r = pg_log_facts_decode(blob, &facts, err);
    if (r < 0)
        return r;
    index->major = facts.version_num / 10000;
    index->next_xid = facts.next_xid;
    const struct wal_reader_config config = {
        .major = index->major,
        .from = from,
        .segment_bytes = facts.wal_segment_bytes,
        .system_identifier = facts.system_id,
        .record = note_record,
        .arg = index,
    };
    r = block_refs_new(&index->blocks, err);
    if (r == 0)
        r = wal_reader_new(&config, &index->reader, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(index);
    return 0;
}

void pg_index_close(struct engine_log_index *index)
{
    if (!index)
        return;
    wal_reader_free(index->reader);
    block_refs_free(index->blocks);
    wal_items_release(&index->settings);
    wal_items_release(&index->spaces);
    for (size_t n = 0; n < TM_ARRAY_LEN(index->encoded); n++)
        buf_release(&index->encoded[n]);
    free(index->events);
    free(index);
}

int pg_index_push(struct engine_log_index *index, struct slice bytes, struct tm_err *err)
{
    if (index->taken) {
        index->taken = false;
        index->event_count = 0;
        block_refs_clear(index->blocks);
        wal_items_clear(&index->settings);
        wal_items_clear(&index->spaces);
    }
    int r = wal_reader_push(index->reader, bytes, err);
    if (!index->headless_told && wal_reader_stepped_over(index->reader)) {
        block_refs_flag(index->blocks, BLOCK_REFS_HEADLESS);
        index->headless_told = true;
    }
    return r;
}

/* What does not fit into a section says only that anything may have changed. */
static int encode_blocks(struct engine_log_index *index, struct buf *out, struct tm_err *err)
{
    int r = block_refs_encode(index->blocks, out, err);
    if (r < 0 || out->len <= SECTION_MAX)
        return r;
    buf_reset(out);
    block_refs_clear(index->blocks);
    not_understood(index);
    return block_refs_encode(index->blocks, out, err);
}

int pg_index_take(struct engine_log_index *index, struct engine_index_part *ret, struct tm_err *err)
{
    struct engine_index_part part = {.events = index->events,
                                     .event_count = index->event_count,
                                     .last_record = index->last_record};
    const uint16_t ids[] = {WAL_SECTION_BLOCKS, WAL_SECTION_SETTINGS, WAL_SECTION_SPACES};
    const bool some[] = {!block_refs_empty(index->blocks), index->settings.seen > 0,
                         index->spaces.seen > 0};
    int r = 0;
    if (index->taken) { /* nothing came since */
        *ret = (struct engine_index_part){.last_record = index->last_record};
        return 0;
    }
    for (size_t n = 0; n < TM_ARRAY_LEN(ids); n++)
        buf_reset(&index->encoded[n]);
    if (some[0])
        r = encode_blocks(index, &index->encoded[0], err);
    if (r == 0 && some[1])
        r = wal_items_encode(&index->settings, &index->encoded[1], err);
    if (r == 0 && some[2])
        r = wal_items_encode(&index->spaces, &index->encoded[2], err);
    if (r < 0)
        return r;
    for (size_t n = 0; n < TM_ARRAY_LEN(ids); n++) {
        if (!some[n])
            continue;
        part.sections[part.section_count].id = ids[n];
        part.sections[part.section_count++].bytes = buf_slice(&index->encoded[n]);
    }
    index->taken = true;
    *ret = part;
    return 0;
}
