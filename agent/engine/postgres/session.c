/*
 * Happy path: open connects and proves the place; begin makes a temporary slot (the hold: it ends
 * with the connection, whatever happens to us), or finds or makes a lasting one of a given name,
 * starts the backup and collects what readers need; pings follow; end stops the backup. A temporary
 * slot stays until close, for the log up to the stop position may still be on its way.
 *
 * Failure modes: the connection breaks, and PostgreSQL then forgets the backup (UNAVAILABLE; the
 * attempt is over); the server took away log that the slot should hold (max_slot_wal_keep_size);
 * rights or slots were taken away between check and begin.
 *
 * No step of ours commits anything, and the log stream never reports a flush position, so neither
 * waits for a synchronous standby nor becomes one.
 */
#include "agent/engine/postgres/session.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/engine/postgres/label.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/slot.h"
#include "agent/engine/postgres/wal.h"
#include "common/hash.h"

TM_DEFINE_FREEP(struct engine_session, pg_session_close)

static int prefix_instance(const struct engine_instance *instance, struct tm_err *err)
{
    return tm_err_prefix(err, "instance '%s'", instance->tenant);
}

/* ---- open, close ---- */

static int open_and_prove(struct engine_session *session, struct tm_err *err)
{
    const struct engine_instance *instance = session->instance;
    int r = pg_conn_open(instance->conninfo, PG_CONN_SQL, &session->conn, err);
    if (r == 0)
        r = pg_facts_read(session->conn, &session->facts, err);
    if (r == 0)
        r = pg_facts_judge(&session->facts, err);
    if (r == 0)
        r = pg_facts_prove(&session->facts, instance, session->conn, &session->control, err);
    return r;
}

int pg_session_open(const struct engine_instance *instance, const char *label,
                    struct engine_session **ret, struct tm_err *err)
{
    TM_CLEANUP(pg_session_closep) struct engine_session *session = calloc(1, sizeof(*session));
    if (!session || !(session->label = strdup(label)))
        return tm_err_oom(err);
    session->instance = instance;
    if (open_and_prove(session, err) < 0)
        return prefix_instance(instance, err);
    *ret = TM_TAKE(session);
    return 0;
}

void pg_session_close(struct engine_session *session)
{
    if (!session)
        return;
    /* ending the connection aborts a backup that was not ended, and drops a temporary slot */
    pg_conn_close(session->conn);
    pg_begin_release(&session->resumed);
    free(session->label);
    free(session);
}

void pg_session_cancel(struct engine_session *session)
{
    pg_conn_cancel(session->conn);
}

/* ---- begin ---- */

static int make_temporary(struct engine_session *session, struct tm_err *err)
{
    uint8_t random[4];
    char name[PG_SLOT_NAME_MAX];
    int r = random_bytes(random, sizeof(random), err);
    if (r < 0)
        return r;
    snprintf(name, sizeof(name), "tidemark_%d_%08x", (int)getpid(), be32_get(random));
    r = pg_slot_make(session->conn, name, true, &session->held_from, err);
    if (r == 0)
        memcpy(session->slot, name, sizeof(name));
    return r;
}

/* One that an earlier attempt left is as good, unless the server gave it up. */
static int make_lasting(struct engine_session *session, const char *name, struct tm_err *err)
{
    struct pg_slot_state state;
    if (strlen(name) >= sizeof(session->slot))
        return tm_err_set(err, TM_E_INVALID, "'%.80s' is too long for a replication slot", name);
    int r = pg_slot_look(session->conn, name, &state, err);
    if (r == 0 && state.found && (!state.physical || state.temporary))
        r = tm_err_set(err, TM_E_CONFLICT, "replication slot '%s' is a %s one", name,
                       state.temporary ? "temporary" : "logical");
    if (r == 0 && state.found && state.lost) {
        r = pg_slot_drop(session->conn, name, err);
        state.found = false;
    }
    if (r == 0 && !state.found)
        r = pg_slot_make(session->conn, name, false, &state.from, err);
    if (r < 0)
        return r;
    memcpy(session->slot, name, strlen(name) + 1);
    session->held_from = state.from;
    return 0;
}

int pg_session_clock(struct engine_session *session, int64_t *ret_us, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = pg_conn_query(session->conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", NULL,
                          0, &result, err);
    if (r == 0)
        *ret_us = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    return r;
}

int pg_session_start(struct engine_session *session, bool fast, uint64_t *ret_lsn,
                     struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    const char *const params[] = {session->label, fast ? "true" : "false"};
    /* waits for a checkpoint, which the server may spread over many minutes */
    int r =
        pg_conn_query(session->conn, 0, session->facts.version->start_sql, params, 2, &result, err);
    if (r < 0)
        return tm_err_prefix(err, "cannot start the backup");
    session->begun = true;
    return pg_lsn_parse(PQgetvalue(result, 0, 0), ret_lsn, err);
}

int pg_snapshot_begin(struct engine_session *session, const char *hold, bool fast,
                      struct buf *ret_begin, struct engine_position *ret_replay_from,
                      struct tm_err *err)
{
    TM_CLEANUP(pg_begin_release)
    struct pg_begin begin = {.version_num = session->facts.version_num};
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    if (session->begun)
        return tm_err_set(err, TM_E_REFUSED, "this session has begun a snapshot already");
    int r = hold ? make_lasting(session, hold, err) : make_temporary(session, err);
    if (r == 0)
        r = pg_session_clock(session, &begin.start_us, err);
    if (r == 0)
        r = pg_session_start(session, fast, &begin.start_lsn, err);
    if (r == 0)
        r = pg_begin_collect(session->instance, session->conn, &session->facts, session->label,
                             &begin, err);
    if (r == 0)
        r = pg_begin_encode(&begin, &blob, err);
    if (r < 0)
        return prefix_instance(session->instance, err);
    session->timeline = begin.timeline;
    pg_position_set(ret_replay_from, begin.replay_from);
    *ret_begin = blob;
    blob = BUF_INIT;
    return 0;
}

/* ---- between ---- */

int pg_hold_advance(struct engine_session *session, uint64_t durable, struct tm_err *err)
{
    /* whole segments only: the server recycles nothing smaller */
    uint64_t to = pg_wal_segment_start(durable, session->control.wal_segment_bytes);
    if (session->slot[0] == '\0' || to <= session->held_from)
        return 0;
    int r = pg_slot_advance(session->conn, session->slot, to, &session->held_from, err);
    return r < 0 ? prefix_instance(session->instance, err) : 0;
}

int pg_session_ping(struct engine_session *session, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    const char *const params[] = {session->slot};
    int r = pg_conn_query(session->conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT wal_status, current_setting('max_slot_wal_keep_size') "
                          "FROM pg_replication_slots WHERE slot_name = $1",
                          params, 1, &result, err);
    if (r < 0)
        return prefix_instance(session->instance, err);
    if (session->slot[0] == '\0')
        return 0;
    if (PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "lost") != 0)
        return 0;
    if (PQntuples(result) == 0)
        (void)tm_err_set(err, TM_E_UNAVAILABLE,
                         "replication slot '%s', which holds the log for the backup, was dropped",
                         session->slot);
    else
        (void)tm_err_set(err, TM_E_UNAVAILABLE,
                         "the server removed log that the backup still needs "
                         "(max_slot_wal_keep_size is %s)",
                         PQgetvalue(result, 0, 1));
    return prefix_instance(session->instance, err);
}

/* ---- end ---- */

/* The server's label speaks of this session's start; a snapshot that was resumed began earlier. */
static int take_label(const struct engine_session *session, const char *theirs, struct pg_end *end,
                      struct tm_err *err)
{
    if (session->resumed.further_count == 0)
        return buf_append_slice(&end->backup_label, slice_str(theirs), err);
    const struct pg_begin *begin = &session->resumed;
    const struct label label = {
        .start_lsn = begin->start_lsn,
        .start_timeline = begin->timeline,
        .checkpoint_lsn = begin->checkpoint_lsn,
    };
    return label_write(&label, begin->wal_segment_bytes, begin->start_us, begin->label,
                       &end->backup_label, err);
}

static int stop_backup(struct engine_session *session, struct pg_end *end, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r =
        pg_conn_query(session->conn, 0, session->facts.version->stop_sql, NULL, 0, &result, err);
    if (r < 0)
        return tm_err_prefix(err, "cannot stop the backup");
    session->begun = false;
    r = pg_lsn_parse(PQgetvalue(result, 0, 0), &end->stop_lsn, err);
    if (r == 0)
        r = take_label(session, PQgetvalue(result, 0, 1), end, err);
    if (r == 0)
        r = buf_append_slice(&end->tablespace_map, slice_str(PQgetvalue(result, 0, 2)), err);
    return r;
}

/* Two promises of the snapshot, by the server's clock. `commit`, read before the stop: what was
 * acknowledged until then lies before the stop position. `settled`, read after it is known: what lies
 * before it was given its time before, so that no commit of the snapshot has a later one. */
int pg_snapshot_end(struct engine_session *session, struct buf *ret_end,
                    struct engine_position *ret_consistent_at, int64_t *ret_commit_us,
                    struct tm_err *err)
{
    TM_CLEANUP(pg_end_release) struct pg_end end = {.timeline = session->timeline};
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    if (!session->begun)
        return tm_err_set(err, TM_E_REFUSED, "this session has no snapshot to end");
    int r = pg_session_clock(session, &end.commit_us, err);
    if (r == 0)
        r = stop_backup(session, &end, err);
    if (r == 0)
        r = pg_session_clock(session, &end.settled_us, err);
    end.settled_us = TM_MAX(end.settled_us, end.commit_us); /* the clock may have been set back */
    if (r == 0)
        r = pg_end_encode(&end, &blob, err);
    if (r < 0)
        return prefix_instance(session->instance, err);
    pg_position_set(ret_consistent_at, end.stop_lsn);
    *ret_commit_us = end.commit_us;
    *ret_end = blob;
    blob = BUF_INIT;
    return 0;
}

int pg_snapshot_settled(struct slice blob, int64_t *ret_us, struct tm_err *err)
{
    TM_CLEANUP(pg_end_release) struct pg_end end = {.timeline = 0};
    int r = pg_end_decode(blob, &end, err);
    if (r == 0)
        *ret_us = TM_MAX(end.settled_us, end.commit_us);
    return r;
}
