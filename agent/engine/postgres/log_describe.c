/*
 * What a log task must know before it starts.
 *
 * Happy path: connect, read the facts, judge them, prove that server and directory belong together,
 * ask over a replication connection for timeline, flushed position and the timeline's history: that
 * is what a stream will see, on a primary and on a standby alike.
 *
 * Failure modes: what facts.h judges; no wal sender left; a server that lost the history of its own
 * timeline (NOT_FOUND).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/engine/postgres/facts.h"
#include "agent/engine/postgres/history.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/stream.h"

/* Of the first timeline there is none: *ret stays empty. */
static int read_history(struct pg_conn *replication, uint32_t timeline, struct buf *ret,
                        struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    char sql[48];
    if (timeline == 1)
        return 0;
    snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", timeline);
    int r = pg_conn_query(replication, PG_QUERY_TIMEOUT_MS, sql, NULL, 0, &result, err);
    if (r < 0 && strcmp(pg_conn_sqlstate(replication), "58P01") == 0)
        r = tm_err_set(err, TM_E_NOT_FOUND, "the server has no such file");
    if (r < 0)
        return tm_err_prefix(err, "cannot read the history of timeline %u", timeline);
    if (PQntuples(result) != 1 || PQnfields(result) != 2)
        return tm_err_set(err, TM_E_INTERNAL, "PostgreSQL does not tell the history of timeline %u",
                          timeline);
    size_t len = (size_t)PQgetlength(result, 0, 1);
    if (len > PG_HISTORY_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the history of timeline %u is longer than %d bytes",
                          timeline, PG_HISTORY_MAX);
    return buf_append(ret, PQgetvalue(result, 0, 1), len, err);
}

static int ask_next_xid(struct pg_conn *conn, uint64_t *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS,
                          "SELECT pg_snapshot_xmax(pg_current_snapshot())::text", NULL, 0, &result,
                          err);
    if (r == 0)
        *ret = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    return r;
}

struct look {
    struct pg_facts server;
    struct control_file control;
    struct pg_identity identity;
    uint64_t next_xid;
    struct buf history;
};

static int look(const struct engine_instance *instance, struct look *look, struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    TM_CLEANUP(pg_conn_closep) struct pg_conn *replication = NULL;
    int r = pg_conn_open(instance->conninfo, PG_CONN_SQL, &conn, err);
    if (r == 0)
        r = pg_facts_read(conn, &look->server, err);
    if (r == 0)
        r = pg_facts_judge_log(&look->server, err);
    if (r == 0)
        r = pg_facts_prove(&look->server, instance, conn, &look->control, err);
    if (r == 0)
        r = ask_next_xid(conn, &look->next_xid, err);
    if (r == 0)
        r = pg_replication_open(instance->conninfo, &replication, &look->identity, err);
    if (r < 0)
        return r;
    if (look->identity.system_id != look->server.system_id)
        return tm_err_set(err, TM_E_INVALID,
                          "the replication connection reached another server (system identifier "
                          "%llu, not %llu)",
                          (unsigned long long)look->identity.system_id,
                          (unsigned long long)look->server.system_id);
    return read_history(replication, look->identity.timeline, &look->history, err);
}

static int fill(const struct look *look, struct engine_log_source *ret, struct tm_err *err)
{
    const struct pg_log_facts facts = {
        .system_id = look->server.system_id,
        .version_num = look->server.version_num,
        .timeline = look->identity.timeline,
        .wal_segment_bytes = look->control.wal_segment_bytes,
        .block_bytes = look->control.block_bytes,
        .next_xid = look->next_xid,
    };
    uint32_t parent;
    ret->role = look->server.in_recovery ? ENGINE_ROLE_STANDBY : ENGINE_ROLE_PRIMARY;
    snprintf(ret->identity, sizeof(ret->identity), "%llu", (unsigned long long)facts.system_id);
    pg_version_format(facts.version_num, ret->version);
    snprintf(ret->lineage_label, sizeof(ret->lineage_label), "%u", facts.timeline);
    ret->segment_bytes = facts.wal_segment_bytes;
    ret->flushed = look->identity.flushed;
    int r = pg_history_parent(buf_slice(&look->history), &parent, &ret->fork, err);
    if (r < 0)
        return tm_err_prefix(err, "timeline %u", facts.timeline);
    if (r == 0 && facts.timeline != 1)
        return tm_err_set(err, TM_E_CORRUPT, "the history of timeline %u names no ancestor",
                          facts.timeline);
    if (r == 1)
        snprintf(ret->parent_label, sizeof(ret->parent_label), "%u", parent);
    return pg_log_facts_encode(&facts, &ret->facts, err);
}

int pg_log_describe(const struct engine_instance *instance, struct engine_log_source *ret,
                    struct tm_err *err)
{
    struct look seen = {.history = BUF_INIT};
    struct engine_log_source source = {.facts = BUF_INIT};
    int r = look(instance, &seen, err);
    if (r == 0)
        r = fill(&seen, &source, err);
    if (r < 0) {
        buf_release(&seen.history);
        buf_release(&source.facts);
        return tm_err_prefix(err, "instance '%s'", instance->tenant);
    }
    source.history = seen.history;
    *ret = source;
    return 0;
}

/* Its history is what the child's says before the line about it. */
static int parent_history(struct slice child, struct slice *ret, struct tm_err *err)
{
    uint32_t timeline;
    int r = 1;
    for (size_t n = 0; r > 0; n++)
        r = pg_history_ancestor(child, n, &timeline, ret, err);
    return r;
}

int pg_log_parent(const struct engine_log_source *child, struct engine_log_source *ret,
                  struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    struct engine_log_source parent = *child;
    struct pg_log_facts facts;
    struct slice history = SLICE_EMPTY;
    uint32_t grandparent = 0;
    int r = pg_log_facts_decode(buf_slice(&child->facts), &facts, err);
    if (r == 0)
        r = pg_timeline_parse(child->parent_label, &facts.timeline, err);
    if (r == 0)
        r = parent_history(buf_slice(&child->history), &history, err);
    if (r == 0)
        r = buf_append_slice(&text, history, err);
    if (r == 0)
        r = pg_log_facts_encode(&facts, &blob, err);
    parent.fork = 0;
    if (r == 0)
        r = pg_history_parent(history, &grandparent, &parent.fork, err);
    if (r < 0)
        return r;
    memcpy(parent.lineage_label, child->parent_label, sizeof(parent.lineage_label));
    parent.parent_label[0] = '\0';
    if (r == 1)
        snprintf(parent.parent_label, sizeof(parent.parent_label), "%u", grandparent);
    parent.flushed = child->fork;
    parent.facts = blob;
    parent.history = text;
    blob = text = BUF_INIT;
    *ret = parent;
    return 0;
}

int pg_log_history(const struct engine_instance *instance, const char *label, struct buf *ret,
                   struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *replication = NULL;
    TM_CLEANUP(buf_release) struct buf history = BUF_INIT;
    struct pg_identity identity;
    uint32_t timeline = 0;
    int r = pg_timeline_parse(label, &timeline, err);
    if (r == 0)
        r = pg_replication_open(instance->conninfo, &replication, &identity, err);
    if (r == 0)
        r = read_history(replication, timeline, &history, err);
    if (r < 0)
        return tm_err_prefix(err, "instance '%s'", instance->tenant);
    *ret = history;
    history = BUF_INIT;
    return 0;
}
