/*
 * Happy path: the begin of the earlier attempt is decoded, the server is looked at and nothing is in
 * the way; the backup is started once more, and all is looked at again, for the start took a while and
 * a checkpoint. The new begin is the earlier one with one more start.
 *
 * Failure modes: each guard is TM_E_CONFLICT with its own words (judge): ranges have to be read again.
 * A server that cannot be asked is UNAVAILABLE as always, and says nothing of the ranges.
 */
#include "agent/engine/postgres/resume.h"

#include <stdlib.h>

#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/session.h"
#include "agent/engine/postgres/wal.h"

#define CONFLICT(...) tm_err_set(err, TM_E_CONFLICT, __VA_ARGS__)

/* ---- judging ---- */

static int judge_version(const struct pg_begin *first, const struct pg_resume_now *now,
                         struct tm_err *err)
{
    const unsigned before = first->version_num / 10000;
    if (now->version->major != before)
        return CONFLICT("the server is PostgreSQL %u now, the earlier attempt was on %u",
                        now->version->major, before);
    if (!now->version->resume_proven)
        return CONFLICT("it is not proven for PostgreSQL %u", now->version->major);
    if (now->place.catalog_version != first->catalog_version)
        return CONFLICT("the server has catalog version %u now, the earlier attempt was on %u",
                        now->place.catalog_version, first->catalog_version);
    return 0;
}

static int judge_lineage(const struct pg_begin *first, const struct pg_resume_now *now,
                         struct tm_err *err)
{
    const struct pg_begin *place = &now->place;
    if (place->system_id != first->system_id)
        return CONFLICT("the server has system identifier %llu, the earlier attempt was on %llu",
                        (unsigned long long)place->system_id, (unsigned long long)first->system_id);
    if (place->timeline != first->timeline)
        return CONFLICT("the server is on timeline %u now, the earlier attempt was on %u",
                        place->timeline, first->timeline);
    if (!slice_eq(buf_slice(&place->history), buf_slice(&first->history)))
        return CONFLICT("timeline %u has another history than at the earlier attempt",
                        first->timeline);
    return 0;
}

static int judge_settings(const struct pg_begin *first, const struct pg_resume_now *now,
                          struct tm_err *err)
{
    if (now->place.checksum_version != first->checksum_version)
        return CONFLICT("page checksums have version %u now, at the earlier attempt %u (0 is none)",
                        now->place.checksum_version, first->checksum_version);
    if (strcmp(now->wal_level, "minimal") == 0)
        return CONFLICT("wal_level is minimal");
    if (!now->full_page_writes)
        return CONFLICT("full_page_writes is off");
    return 0;
}

static const struct pg_tablespace *tablespace_of(const struct pg_begin *begin, uint32_t oid)
{
    for (size_t n = 0; n < begin->tablespace_count; n++)
        if (begin->tablespaces[n].oid == oid)
            return &begin->tablespaces[n];
    return NULL;
}

static int judge_tablespaces(const struct pg_begin *first, const struct pg_resume_now *now,
                             struct tm_err *err)
{
    const struct pg_begin *place = &now->place;
    for (size_t n = 0; n < place->tablespace_count; n++) {
        const struct pg_tablespace *is = &place->tablespaces[n];
        const struct pg_tablespace *was = tablespace_of(first, is->oid);
        if (!was)
            return CONFLICT("tablespace %u at '%s' was created since the earlier attempt", is->oid,
                            is->path);
        if (strcmp(was->path, is->path) != 0)
            return CONFLICT("tablespace %u is at '%s' now, at the earlier attempt at '%s'", is->oid,
                            is->path, was->path);
    }
    for (size_t n = 0; n < first->tablespace_count; n++) {
        const struct pg_tablespace *was = &first->tablespaces[n];
        if (!tablespace_of(place, was->oid))
            return CONFLICT("tablespace %u at '%s' was dropped since the earlier attempt", was->oid,
                            was->path);
    }
    return 0;
}

static int judge_log(const struct pg_resume_now *now, const char *hold, uint64_t log_from,
                     struct tm_err *err)
{
    const struct pg_slot_state *slot = &now->slot;
    char from[PG_LSN_TEXT_MAX], wanted[PG_LSN_TEXT_MAX];
    pg_lsn_format(log_from, wanted);
    if (!slot->found)
        return CONFLICT("replication slot '%s', which held the log, is gone", hold);
    if (!slot->physical || slot->temporary)
        return CONFLICT("replication slot '%s' is a %s one", hold,
                        slot->temporary ? "temporary" : "logical");
    if (slot->lost)
        return CONFLICT("the server gave up replication slot '%s', which held the log", hold);
    if (slot->from > log_from)
        return CONFLICT("replication slot '%s' holds log from %s on, but it is stored only up to "
                        "%s",
                        hold, pg_lsn_format(slot->from, from), wanted);
    if (now->flushed < log_from)
        return CONFLICT("the server's log ends at %s, but is stored up to %s: the server was set "
                        "back",
                        pg_lsn_format(now->flushed, from), wanted);
    return 0;
}

int pg_resume_judge(const struct pg_begin *first, const struct pg_resume_now *now, const char *hold,
                    uint64_t log_from, struct tm_err *err)
{
    if (first->checkpoint_lsn == 0)
        return CONFLICT("the earlier attempt does not say which checkpoint it began from");
    if (first->next_xid == 0)
        return CONFLICT("the earlier attempt does not say which transaction was next at its start");
    if (first->further_count == PG_STARTS_MAX)
        return CONFLICT("it was resumed %d times", PG_STARTS_MAX);
    int r = judge_version(first, now, err);
    if (r == 0)
        r = judge_lineage(first, now, err);
    if (r == 0)
        r = judge_settings(first, now, err);
    if (r == 0)
        r = judge_tablespaces(first, now, err);
    return r < 0 ? r : judge_log(now, hold, log_from, err);
}

/* ---- looking ---- */

static int ask(struct engine_session *session, struct pg_resume_now *now, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = pg_conn_query(session->conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT current_setting('wal_level'), "
                          "current_setting('full_page_writes')::boolean, "
                          "pg_current_wal_flush_lsn()::text",
                          NULL, 0, &result, err);
    if (r < 0)
        return r;
    snprintf(now->wal_level, sizeof(now->wal_level), "%s", PQgetvalue(result, 0, 0));
    now->full_page_writes = PQgetvalue(result, 0, 1)[0] == 't';
    return pg_lsn_parse(PQgetvalue(result, 0, 2), &now->flushed, err);
}

static int guard(struct engine_session *session, const struct pg_begin *first, const char *hold,
                 uint64_t log_from, struct tm_err *err)
{
    struct pg_resume_now now = {.version = session->facts.version};
    int r = pg_begin_look(session->instance, session->conn, &now.place, err);
    if (r == 0)
        r = ask(session, &now, err);
    if (r == 0)
        r = pg_slot_look(session->conn, hold, &now.slot, err);
    if (r == 0)
        r = pg_resume_judge(first, &now, hold, log_from, err);
    if (r == 0)
        session->held_from = now.slot.from;
    pg_begin_release(&now.place);
    return r;
}

static int start_again(struct engine_session *session, bool fast, struct pg_begin *begin,
                       struct tm_err *err)
{
    const uint64_t before = begin->further_count > 0 ? begin->further[begin->further_count - 1].lsn
                                                     : begin->checkpoint_lsn;
    struct pg_start start = {.lsn = 0};
    char was[PG_LSN_TEXT_MAX], is[PG_LSN_TEXT_MAX];
    int r = pg_session_clock(session, &start.us, err);
    if (r == 0)
        r = pg_session_start(session, fast, &start.lsn, err);
    if (r < 0)
        return r;
    if (start.lsn <= before)
        return CONFLICT(
            "the backup starts at %s now, the earlier attempt was at %s: the server was "
            "set back",
            pg_lsn_format(start.lsn, is), pg_lsn_format(before, was));
    return pg_begin_add_start(begin, start, err);
}

static int resume(struct engine_session *session, const char *hold, bool fast, uint64_t log_from,
                  struct pg_begin *begin, struct tm_err *err)
{
    if (!hold || strlen(hold) >= sizeof(session->slot))
        return CONFLICT("no replication slot held the log");
    int r = guard(session, begin, hold, log_from, err);
    if (r < 0)
        return r;
    memcpy(session->slot, hold, strlen(hold) + 1);
    r = start_again(session, fast, begin, err);
    return r < 0 ? r : guard(session, begin, hold, log_from, err);
}

int pg_snapshot_resume(struct engine_session *session, const char *hold, bool fast,
                       struct slice first, uint64_t log_from, struct buf *ret_begin,
                       struct engine_position *ret_replay_from, struct tm_err *err)
{
    TM_CLEANUP(pg_begin_release) struct pg_begin begin = {0};
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    if (session->begun)
        return tm_err_set(err, TM_E_REFUSED, "this session has begun a snapshot already");
    int r = pg_begin_decode(first, &begin, err);
    if (r == 0)
        r = resume(session, hold, fast, log_from, &begin, err);
    if (r == 0)
        r = pg_begin_encode(&begin, &blob, err);
    if (r < 0 && err->code == TM_E_CONFLICT)
        r = tm_err_prefix(err, "the snapshot cannot be resumed");
    if (r < 0)
        return tm_err_prefix(err, "instance '%s'", session->instance->tenant);
    session->timeline = begin.timeline;
    pg_position_set(ret_replay_from, begin.replay_from);
    session->resumed = begin;
    begin = (struct pg_begin){0};
    *ret_begin = blob;
    blob = BUF_INIT;
    return 0;
}

bool pg_snapshot_resumed(struct slice blob)
{
    TM_CLEANUP(pg_begin_release) struct pg_begin begin = {0};
    struct tm_err ignored = {0};
    return pg_begin_decode(blob, &begin, &ignored) == 0 && begin.further_count > 0;
}
