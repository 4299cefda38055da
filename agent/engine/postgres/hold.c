/*
 * Holds: lasting physical replication slots of a given name, over one SQL connection.
 *
 * Happy path: open finds the slot or makes it; look asks everything in one query; touch moves the
 * slot forward and reads back where it is; drop removes it. The hold outlives the connection and
 * this process.
 *
 * Failure modes: the connection is lost: that call fails (UNAVAILABLE, retryable), the next one
 * connects again, and proves that it is the same system. The slot is gone because somebody dropped
 * it (NOT_FOUND, from look and touch); the server took the log away (state.lost, and UNAVAILABLE
 * from touch): both retryable, for opening the hold anew makes it again; a slot of that name that
 * is logical, temporary, or in use by somebody (CONFLICT). Nobody streams with our slots: one that
 * is in use is another's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/slot.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"

#define BUSY_TRIES 4 /* another connection that advances the slot holds it for a moment */

struct engine_hold {
    const struct engine_instance *instance; /* borrowed */
    struct pg_conn *conn;                   /* NULL: to be opened by the next call */
    char name[PG_SLOT_NAME_MAX];
    uint64_t system_id; /* 0 before the first connection */
    uint64_t from;      /* where the slot was last seen */
};

TM_DEFINE_FREEP(struct engine_hold, pg_hold_close)

/* ---- the connection ---- */

static int prove(struct engine_hold *hold, struct pg_conn *conn, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r =
        pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                      "SELECT system_identifier FROM pg_control_system()", NULL, 0, &result, err);
    if (r < 0)
        return r;
    uint64_t system_id = (uint64_t)strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    if (hold->system_id != 0 && system_id != hold->system_id)
        return tm_err_set(err, TM_E_CONFLICT,
                          "the server now has system identifier %llu, the hold is on %llu",
                          (unsigned long long)system_id, (unsigned long long)hold->system_id);
    hold->system_id = system_id;
    return 0;
}

static int connected(struct engine_hold *hold, struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    if (hold->conn)
        return 0;
    int r = pg_conn_open(hold->instance->conninfo, PG_CONN_SQL, &conn, err);
    if (r == 0)
        r = prove(hold, conn, err);
    if (r == 0)
        hold->conn = TM_TAKE(conn);
    return r;
}

/* What every call ends with: a connection that does not work any more is not kept. */
static int ended(struct engine_hold *hold, int r, struct tm_err *err)
{
    if (r == 0)
        return 0;
    if (hold->conn && !pg_conn_usable(hold->conn)) {
        pg_conn_close(hold->conn);
        hold->conn = NULL;
    }
    (void)tm_err_prefix(err, "hold '%s'", hold->name);
    return tm_err_prefix(err, "instance '%s'", hold->instance->tenant);
}

static int query(struct engine_hold *hold, const char *sql, PGresult **ret, struct tm_err *err)
{
    const char *const params[] = {hold->name};
    return pg_conn_query(hold->conn, PG_QUERY_TIMEOUT_MS, sql, params, 1, ret, err);
}

/* ---- open ---- */

/* 1 = there and ours; 0 = none; 2 = in use. The pause is the server's. */
static int find(struct engine_hold *hold, bool pause, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = query(hold,
                  pause ? "SELECT slot_type, temporary, active, coalesce(active_pid, 0), "
                          "coalesce(restart_lsn, '0/0')::text "
                          "FROM pg_sleep(0.1), pg_replication_slots WHERE slot_name = $1"
                        : "SELECT slot_type, temporary, active, coalesce(active_pid, 0), "
                          "coalesce(restart_lsn, '0/0')::text "
                          "FROM pg_replication_slots WHERE slot_name = $1",
                  &result, err);
    if (r < 0 || PQntuples(result) == 0)
        return r;
    if (strcmp(PQgetvalue(result, 0, 0), "physical") != 0)
        return tm_err_set(err, TM_E_CONFLICT, "the replication slot of that name is a %s one",
                          PQgetvalue(result, 0, 0));
    if (PQgetvalue(result, 0, 1)[0] == 't')
        return tm_err_set(err, TM_E_CONFLICT, "the replication slot of that name is temporary");
    if (PQgetvalue(result, 0, 2)[0] == 't') {
        (void)tm_err_set(err, TM_E_CONFLICT,
                         "the replication slot of that name is in use by process %s",
                         PQgetvalue(result, 0, 3));
        return 2;
    }
    r = pg_lsn_parse(PQgetvalue(result, 0, 4), &hold->from, err);
    return r < 0 ? r : 1;
}

static int find_or_make(struct engine_hold *hold, bool may_make, bool *ret_made, struct tm_err *err)
{
    int r = 2;
    for (unsigned n = 0; r == 2 && n < BUSY_TRIES; n++)
        r = find(hold, n > 0, err);
    if (r < 0)
        return r;
    if (r == 2)
        return -TM_E_CONFLICT; /* as find said */
    if (r == 1) {
        *ret_made = false;
        return 0;
    }
    if (!may_make)
        return tm_err_set(err, TM_E_NOT_FOUND, "there is no replication slot of that name");
    r = pg_slot_make(hold->conn, hold->name, false, &hold->from, err);
    if (r == 0)
        *ret_made = true;
    else if (err->code == TM_E_EXISTS) /* made by another at this moment: find it next time */
        err->retryable = true;
    return r;
}

int pg_hold_open(const struct engine_instance *instance, const char *name, bool may_make,
                 struct engine_hold **ret, bool *ret_made, struct tm_err *err)
{
    TM_CLEANUP(pg_hold_closep) struct engine_hold *hold = calloc(1, sizeof(*hold));
    bool made = false;
    if (!hold)
        return tm_err_oom(err);
    if (strlen(name) >= sizeof(hold->name))
        return tm_err_set(err, TM_E_INVALID, "'%.80s' is too long for a replication slot", name);
    hold->instance = instance;
    memcpy(hold->name, name, strlen(name));
    int r = connected(hold, err);
    if (r == 0)
        r = find_or_make(hold, may_make, &made, err);
    if (r < 0)
        return ended(hold, r, err);
    *ret_made = made;
    *ret = TM_TAKE(hold);
    return 0;
}

void pg_hold_close(struct engine_hold *hold)
{
    if (!hold)
        return;
    pg_conn_close(hold->conn);
    free(hold);
}

/* ---- look ---- */

/* The clock is read by a scan below, the flushed position by the projection above it: a commit that
 * was acknowledged before that time lies before that position. A standby has what it received by
 * stream, or from an archive, whichever is more; what it proves is the time in the last commit or
 * abort that it replayed: that was taken before the record was made, and whatever was acknowledged
 * by then lies before it. Its timeline is the newest that any of three places knows. A primary's
 * comes from its log position: after a promotion pg_control still shows the old one until the next
 * checkpoint. */
#define LOOK_SQL                                                                                   \
    "WITH t AS MATERIALIZED (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint "    \
    "AS us, (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint AS replayed) " \
    "SELECT t.us, rec, CASE WHEN rec THEN coalesce(greatest(pg_last_wal_receive_lsn(), "           \
    "pg_last_wal_replay_lsn()), '0/0') ELSE pg_current_wal_flush_lsn() END::text, "                \
    "CASE WHEN rec THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END, "            \
    "(SELECT greatest(c.timeline_id, r.min_recovery_end_timeline, "                                \
    "(SELECT received_tli FROM pg_stat_wal_receiver)) "                                            \
    "FROM pg_control_checkpoint() c, pg_control_recovery() r), "                                   \
    "s.slot_type, s.restart_lsn::text, coalesce(s.wal_status, 'lost'), "                           \
    "current_setting('max_slot_wal_keep_size'), "                                                  \
    "coalesce(current_setting('idle_replication_slot_timeout', true), '0'), "                      \
    "coalesce(t.replayed, 0), NOT rec OR EXISTS (SELECT FROM pg_stat_wal_receiver), "              \
    "current_setting('synchronous_commit') = 'off' "                                               \
    "FROM t CROSS JOIN pg_is_in_recovery() AS rec "                                                \
    "LEFT JOIN pg_replication_slots s ON s.slot_name = $1"

/* What the look's settings say that an operator should hear of. */
struct concerns {
    const char *status; /* of the slot */
    const char *keep;   /* max_slot_wal_keep_size */
    const char *idle;   /* idle_replication_slot_timeout */
    bool fed;           /* a primary, or a standby that receives */
    bool async;
};

/* Asynchronous commits are acknowledged before they are in the log: no look can promise them. Sessions
 * may ask for them on their own, too; what is told is what a session does that says nothing. */
static void warn(const struct concerns *c, char *ret, size_t size)
{
    char hold[256] = "", commits[160] = "";
    if (strcmp(c->status, "unreserved") == 0) /* all is there yet, and moving the slot saves it */
        snprintf(hold, sizeof(hold),
                 "the hold is beyond max_slot_wal_keep_size (%s): the server gives it up at its "
                 "next checkpoint unless what it holds is stored before",
                 c->keep);
    else if (!c->fed)
        snprintf(hold, sizeof(hold),
                 "the standby receives no stream: what its primary writes now does not come here");
    else if (strcmp(c->keep, "-1") == 0)
        snprintf(
            hold, sizeof(hold),
            "max_slot_wal_keep_size is -1: while log cannot be stored, the server keeps all of "
            "it, until its disk is full");
    else if (strcmp(c->idle, "0") != 0)
        snprintf(hold, sizeof(hold),
                 "idle_replication_slot_timeout is %.32s: the server gives up a hold that does not "
                 "move for so long, as in a pause; set it to 0",
                 c->idle);
    if (c->async)
        snprintf(commits, sizeof(commits),
                 "synchronous_commit is off: what was acknowledged in the last moments before the "
                 "checkpoint may not be stored yet");
    snprintf(ret, size, "%s%s%s", hold, hold[0] && commits[0] ? "; " : "", commits);
}

static int gone(struct tm_err *err)
{
    return tm_err_retry(err, TM_E_NOT_FOUND, "the replication slot was dropped by somebody");
}

static int take_look(struct engine_hold *hold, const PGresult *result, int64_t asked_us,
                     int64_t answered_us, struct engine_hold_state *ret, struct tm_err *err)
{
    struct engine_hold_state state = {.source_us = strtoll(PQgetvalue(result, 0, 0), NULL, 10)};
    const bool standby = PQgetvalue(result, 0, 1)[0] == 't';
    const char *status = PQgetvalue(result, 0, 7);
    if (PQgetisnull(result, 0, 5))
        return gone(err);
    if (strcmp(PQgetvalue(result, 0, 5), "physical") != 0)
        return tm_err_set(err, TM_E_CONFLICT, "the replication slot of that name is a %s one now",
                          PQgetvalue(result, 0, 5));
    int r = pg_lsn_parse(PQgetvalue(result, 0, 2), &state.flushed, err);
    /* a slot that was given up may say no position any more: what it held when it was last seen may
     * be gone, all of it if it never was */
    if (r == 0 && !PQgetisnull(result, 0, 6))
        r = pg_lsn_parse(PQgetvalue(result, 0, 6), &hold->from, err);
    if (r < 0)
        return r;
    state.proven_us = standby ? strtoll(PQgetvalue(result, 0, 10), NULL, 10) : state.source_us;
    state.role = standby ? ENGINE_ROLE_STANDBY : ENGINE_ROLE_PRIMARY;
    state.lost = PQgetisnull(result, 0, 6) || strcmp(status, "lost") == 0;
    state.from = hold->from;
    if (!PQgetisnull(result, 0, 6) && state.flushed > state.from)
        state.bytes = state.flushed - state.from;
    /* the clock was read somewhere between: only what lies outside is proven */
    if (state.source_us < asked_us)
        state.skew_us = state.source_us - asked_us;
    else if (state.source_us > answered_us)
        state.skew_us = state.source_us - answered_us;
    unsigned long timeline = standby ? strtoul(PQgetvalue(result, 0, 4), NULL, 10)
                                     : strtoul(PQgetvalue(result, 0, 3), NULL, 16);
    snprintf(state.lineage_label, sizeof(state.lineage_label), "%lu", timeline);
    const struct concerns concerns = {.status = status,
                                      .keep = PQgetvalue(result, 0, 8),
                                      .idle = PQgetvalue(result, 0, 9),
                                      .fed = PQgetvalue(result, 0, 11)[0] == 't',
                                      .async = PQgetvalue(result, 0, 12)[0] == 't'};
    warn(&concerns, state.warning, sizeof(state.warning));
    *ret = state;
    return 0;
}

int pg_hold_look(struct engine_hold *hold, struct engine_hold_state *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = connected(hold, err);
    int64_t asked_us = clock_real_us();
    if (r == 0)
        r = query(hold, LOOK_SQL, &result, err);
    if (r == 0)
        r = take_look(hold, result, asked_us, clock_real_us(), ret, err);
    return ended(hold, r, err);
}

/* ---- touch, drop ---- */

/* Where the slot stands. */
static int read_from(struct engine_hold *hold, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = query(hold,
                  "SELECT restart_lsn::text, coalesce(wal_status, 'lost'), "
                  "current_setting('max_slot_wal_keep_size') "
                  "FROM pg_replication_slots WHERE slot_name = $1 AND slot_type = 'physical'",
                  &result, err);
    if (r < 0)
        return r;
    if (PQntuples(result) == 0)
        return gone(err);
    if (PQgetisnull(result, 0, 0) || strcmp(PQgetvalue(result, 0, 1), "lost") == 0)
        return tm_err_retry(
            err, TM_E_UNAVAILABLE,
            "the server gave up the replication slot (max_slot_wal_keep_size is %s)",
            PQgetvalue(result, 0, 2));
    return pg_lsn_parse(PQgetvalue(result, 0, 0), &hold->from, err);
}

int pg_hold_touch(struct engine_hold *hold, uint64_t durable, uint64_t *ret_from,
                  struct tm_err *err)
{
    uint64_t answered;
    int r = connected(hold, err);
    if (r == 0)
        r = read_from(hold, err);
    if (r == 0 && durable > hold->from) {
        r = pg_slot_advance(hold->conn, hold->name, durable, &answered, err);
        if (r == 0)
            r = read_from(hold, err);
    }
    if (r == 0)
        *ret_from = hold->from;
    return ended(hold, r, err);
}

int pg_hold_drop(struct engine_hold *hold, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = connected(hold, err);
    if (r == 0)
        r = query(hold,
                  "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                  "WHERE slot_name = $1 AND slot_type = 'physical'",
                  &result, err);
    if (r < 0 && hold->conn && strcmp(pg_conn_sqlstate(hold->conn), "42704") == 0)
        r = 0; /* somebody was faster */
    return ended(hold, r, err);
}

/* ---- list ---- */

/* One that the server gave up may say no position any more. */
#define LIST_SQL                                                                                   \
    "SELECT slot_name, coalesce(restart_lsn, '0/0')::text, "                                       \
    "restart_lsn IS NULL OR coalesce(wal_status, 'lost') = 'lost', at::text "                      \
    "FROM pg_replication_slots, LATERAL (SELECT CASE WHEN pg_is_in_recovery() "                    \
    "THEN coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0') "         \
    "ELSE pg_current_wal_flush_lsn() END AS at) now "                                              \
    "WHERE slot_type = 'physical' AND NOT temporary AND starts_with(slot_name::text, $1) "         \
    "ORDER BY slot_name::text COLLATE \"C\" LIMIT $2::bigint"

static int take_found(const PGresult *result, int row, struct engine_hold_found *ret,
                      struct tm_err *err)
{
    uint64_t at = 0;
    int r = pg_lsn_parse(PQgetvalue(result, row, 1), &ret->from, err);
    if (r == 0)
        r = pg_lsn_parse(PQgetvalue(result, row, 3), &at, err);
    snprintf(ret->name, sizeof(ret->name), "%s", PQgetvalue(result, row, 0));
    ret->lost = PQgetvalue(result, row, 2)[0] == 't';
    ret->bytes = ret->from != 0 && at > ret->from ? at - ret->from : 0;
    return r;
}

int pg_hold_list(const struct engine_instance *instance, const char *prefix,
                 struct engine_hold_found *ret, size_t max, size_t *ret_count, struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    char limit[24];
    snprintf(limit, sizeof(limit), "%zu", max);
    const char *const params[] = {prefix, limit};
    int r = pg_conn_open(instance->conninfo, PG_CONN_SQL, &conn, err);
    if (r == 0)
        r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, LIST_SQL, params, 2, &result, err);
    for (int row = 0; r == 0 && row < PQntuples(result); row++)
        r = take_found(result, row, &ret[row], err);
    if (r < 0)
        return tm_err_prefix(err, "instance '%s': the replication slots", instance->tenant);
    *ret_count = (size_t)PQntuples(result);
    return 0;
}
