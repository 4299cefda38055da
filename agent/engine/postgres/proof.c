/*
 * The proof that what was read under an earlier session of a snapshot is still good: from its log, which
 * is read from the first start to the end.
 *
 * Happy path: each record is whole and names the one before it (wal_reader), so all of it was written by
 * one server that never went back. No record says that pages were changed without their images
 * (full_page_writes), that changes were left out (wal_level), that another timeline began, or that a
 * tablespace came or went between the starts. Each start's checkpoint is met, and at last the record
 * that ends the backup: the log is that of our very sessions.
 *
 * CREATE DATABASE by files is replayed by copying the template's directory as replay finds it, which is as
 * it was when it was read, perhaps long after. So the template must not have changed since, nor be gone.
 *
 * Failure modes: any of these otherwise is TM_E_CONFLICT and names the place. So is log that is not
 * whole: nobody can say any more what happened.
 *
 * A tablespace that comes or goes behind the last start is no matter of ours: that is a backup like any
 * other. Between the starts, the map of the last stop and the ranges that were read before it would
 * speak of different tablespaces.
 */
#include <stdlib.h>

#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"
#include "common/array.h"

#define COPIED_MAX    4096
#define CONFLICT(...) tm_err_set(err, TM_E_CONFLICT, __VA_ARGS__)

/* A database whose files another one was copied from. */
struct copied {
    uint32_t source, database;
    uint64_t lsn;
};

struct engine_proof {
    struct pg_begin begin;
    unsigned major;
    uint64_t last_start;
    struct wal_reader *reader;
    bool checkpoint_met; /* of the first start */
    bool further_met[PG_STARTS_MAX];
    struct copied *copied;
    size_t copied_count, copied_cap;
    uint64_t ended; /* where the last session's end was written; 0 = not met */
};

TM_DEFINE_FREEP(struct engine_proof, pg_proof_close)

/* ---- records ---- */

static int other_timeline(uint64_t lsn, uint32_t from, uint32_t to, struct tm_err *err)
{
    char at[PG_LSN_TEXT_MAX];
    return CONFLICT("the server went from timeline %u to %u at %s", from, to,
                    pg_lsn_format(lsn, at));
}

static int low_level(uint64_t lsn, struct tm_err *err)
{
    char at[PG_LSN_TEXT_MAX];
    return CONFLICT("wal_level was minimal at %s", pg_lsn_format(lsn, at));
}

static int no_images(uint64_t lsn, struct tm_err *err)
{
    char at[PG_LSN_TEXT_MAX];
    return CONFLICT("full_page_writes was off at %s", pg_lsn_format(lsn, at));
}

static int senseless(const struct wal_record *record, struct tm_err *err)
{
    char at[PG_LSN_TEXT_MAX];
    return CONFLICT("log at %s: a record makes no sense", pg_lsn_format(record->lsn, at));
}

static int on_checkpoint(struct engine_proof *proof, const struct wal_record *record,
                         struct tm_err *err)
{
    struct wal_checkpoint checkpoint;
    if (!wal_checkpoint_of(record, proof->major, &checkpoint))
        return senseless(record, err);
    if (checkpoint.timeline != proof->begin.timeline ||
        checkpoint.prev_timeline != proof->begin.timeline)
        return other_timeline(record->lsn, checkpoint.prev_timeline, checkpoint.timeline, err);
    if (!checkpoint.full_page_writes)
        return no_images(record->lsn, err);
    if (checkpoint.wal_level == 0)
        return low_level(record->lsn, err);
    if (checkpoint.redo_lsn == proof->begin.start_lsn && record->lsn == proof->begin.checkpoint_lsn)
        proof->checkpoint_met = true;
    for (size_t n = 0; n < proof->begin.further_count; n++)
        if (checkpoint.redo_lsn == proof->begin.further[n].lsn)
            proof->further_met[n] = true;
    return 0;
}

static int on_tablespace(struct engine_proof *proof, const struct wal_record *record,
                         enum wal_kind kind, struct tm_err *err)
{
    struct wal_tablespace_create create;
    char at[PG_LSN_TEXT_MAX];
    uint32_t oid;
    if (record->lsn >= proof->last_start)
        return 0;
    pg_lsn_format(record->lsn, at);
    if (kind == WAL_TABLESPACE_CREATE && wal_tablespace_create_of(record, &create))
        return CONFLICT("tablespace %u at '%.200s' was created at %s, between the attempts",
                        create.oid, create.path, at);
    if (kind == WAL_TABLESPACE_DROP && wal_tablespace_drop_of(record, &oid))
        return CONFLICT("tablespace %u was dropped at %s, between the attempts", oid, at);
    return senseless(record, err);
}

/* ---- databases ---- */

static int on_database_create(struct engine_proof *proof, const struct wal_record *record,
                              struct tm_err *err)
{
    struct wal_database_create create;
    char at[PG_LSN_TEXT_MAX];
    if (!wal_database_create_of(record, proof->major, &create))
        return senseless(record, err);
    if (!create.by_file_copy)
        return 0;
    for (size_t n = 0; n < proof->copied_count; n++)
        if (proof->copied[n].source == create.source_database)
            return 0; /* watched already */
    if (proof->copied_count == COPIED_MAX)
        return CONFLICT("more than %d databases were copied by files, the last at %s", COPIED_MAX,
                        pg_lsn_format(record->lsn, at));
    if (ARRAY_ROOM(proof->copied, proof->copied_count, proof->copied_cap, 16, err) < 0)
        return -(int)err->code;
    proof->copied[proof->copied_count++] =
        (struct copied){create.source_database, create.database, record->lsn};
    return 0;
}

static int template_changed(const struct engine_proof *proof, uint32_t database, uint64_t lsn,
                            const char *what, struct tm_err *err)
{
    char at[PG_LSN_TEXT_MAX], copied_at[PG_LSN_TEXT_MAX];
    for (size_t n = 0; n < proof->copied_count; n++) {
        const struct copied *c = &proof->copied[n];
        if (c->source == database)
            return CONFLICT("database %u was copied by files from database %u at %s, which was %s "
                            "at %s",
                            c->database, c->source, pg_lsn_format(c->lsn, copied_at), what,
                            pg_lsn_format(lsn, at));
    }
    return 0;
}

/* Does it touch a template? */
static int watch_templates(const struct engine_proof *proof, const struct wal_record *record,
                           enum wal_kind kind, struct tm_err *err)
{
    struct wal_fork fork;
    struct wal_fork_truncate cut;
    uint32_t database, tablespace;
    int r = 0;
    for (unsigned n = 0; r == 0 && n < record->block_count; n++)
        r = template_changed(proof, record->blocks[n].database, record->lsn, "changed", err);
    if (r == 0 && kind == WAL_FORK_CREATE && wal_fork_create_of(record, &fork))
        r = template_changed(proof, fork.database, record->lsn, "changed", err);
    if (r == 0 && kind == WAL_FORK_TRUNCATE && wal_fork_truncate_of(record, &cut))
        r = template_changed(proof, cut.relation.database, record->lsn, "changed", err);
    if (r == 0 && kind == WAL_DATABASE_DROP &&
        wal_database_drop_of(record, proof->major, 0, &database, &tablespace))
        r = template_changed(proof, database, record->lsn, "dropped", err);
    return r;
}

static int on_other(struct engine_proof *proof, const struct wal_record *record, enum wal_kind kind,
                    struct tm_err *err)
{
    struct wal_parameters parameters;
    uint64_t start;
    bool on;
    switch (kind) {
    case WAL_FPW_CHANGE:
        if (!wal_fpw_change_of(record, &on))
            return senseless(record, err);
        return on ? 0 : no_images(record->lsn, err);
    case WAL_PARAMETER_CHANGE:
        if (!wal_parameters_of(record, &parameters))
            return senseless(record, err);
        return parameters.wal_level < 1 ? low_level(record->lsn, err) : 0;
    case WAL_END_OF_RECOVERY: /* of an archive's: a crash's ends with a checkpoint */
        return other_timeline(record->lsn, proof->begin.timeline, record->timeline, err);
    case WAL_BACKUP_END:
        if (!wal_backup_end_of(record, &start))
            return senseless(record, err);
        if (start == proof->last_start)
            proof->ended = record->end_lsn;
        return 0;
    default:
        return 0;
    }
}

static int on_record(void *arg, const struct wal_record *record, struct tm_err *err)
{
    struct engine_proof *proof = arg;
    const enum wal_kind kind = wal_record_kind(record, proof->major);
    if (record->lsn < proof->begin.start_lsn)
        return 0; /* perhaps of the timeline that this one came from */
    if (record->timeline != proof->begin.timeline)
        return other_timeline(record->lsn, proof->begin.timeline, record->timeline, err);
    int r = proof->copied_count > 0 ? watch_templates(proof, record, kind, err) : 0;
    if (r < 0)
        return r;
    switch (kind) {
    case WAL_CHECKPOINT:
        return on_checkpoint(proof, record, err);
    case WAL_TABLESPACE_CREATE:
    case WAL_TABLESPACE_DROP:
        return on_tablespace(proof, record, kind, err);
    case WAL_DATABASE_CREATE:
        return on_database_create(proof, record, err);
    default:
        return on_other(proof, record, kind, err);
    }
}

/* ---- the proof ---- */

int pg_proof_open(struct slice begin, struct engine_proof **ret, struct tm_err *err)
{
    TM_CLEANUP(pg_proof_closep) struct engine_proof *proof = calloc(1, sizeof(*proof));
    if (!proof)
        return tm_err_oom(err);
    int r = pg_begin_decode(begin, &proof->begin, err);
    if (r < 0)
        return r;
    const struct pg_begin *b = &proof->begin;
    proof->major = b->version_num / 10000;
    proof->last_start = b->further_count > 0 ? b->further[b->further_count - 1].lsn : b->start_lsn;
    const struct wal_reader_config config = {.major = proof->major,
                                             .from = b->replay_from,
                                             .segment_bytes = b->wal_segment_bytes,
                                             .system_identifier = b->system_id,
                                             .record = on_record,
                                             .arg = proof};
    r = wal_reader_new(&config, &proof->reader, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(proof);
    return 0;
}

int pg_proof_push(struct engine_proof *proof, struct slice bytes, struct tm_err *err)
{
    int r = wal_reader_push(proof->reader, bytes, err);
    if (r == -TM_E_CORRUPT) {
        err->code = TM_E_CONFLICT;
        r = tm_err_prefix(err, "the log since the first start is not of one piece");
    }
    return r;
}

int pg_proof_end(struct engine_proof *proof, struct slice blob, struct tm_err *err)
{
    TM_CLEANUP(pg_end_release) struct pg_end end = {0};
    const struct pg_begin *begin = &proof->begin;
    char at[PG_LSN_TEXT_MAX], stop[PG_LSN_TEXT_MAX];
    int r = pg_end_decode(blob, &end, err);
    if (r < 0)
        return r;
    const uint64_t reached = wal_reader_valid_end(proof->reader);
    if (end.timeline != begin->timeline)
        return other_timeline(end.stop_lsn, begin->timeline, end.timeline, err);
    if (reached < end.stop_lsn)
        return CONFLICT("the log ends at %s, but the snapshot at %s", pg_lsn_format(reached, at),
                        pg_lsn_format(end.stop_lsn, stop));
    if (!proof->checkpoint_met)
        return CONFLICT("the log does not hold the checkpoint of the start at %s",
                        pg_lsn_format(begin->start_lsn, at));
    for (size_t n = 0; n < begin->further_count; n++)
        if (!proof->further_met[n])
            return CONFLICT("the log does not hold the checkpoint of the start at %s",
                            pg_lsn_format(begin->further[n].lsn, at));
    if (proof->ended == 0 || proof->ended > end.stop_lsn)
        return CONFLICT("the log does not hold the end of the backup that started at %s",
                        pg_lsn_format(proof->last_start, at));
    return 0;
}

void pg_proof_close(struct engine_proof *proof)
{
    if (!proof)
        return;
    wal_reader_free(proof->reader);
    free(proof->copied);
    pg_begin_release(&proof->begin);
    free(proof);
}
