/*
 * Reading a snapshot's relation files on a standby, while its session is held on the primary.
 *
 * Replay of the restored cluster begins at the snapshot's start S, a checkpoint's redo position, and goes
 * through all log up to the stop. Why may a page come from a standby?
 *
 *   - A page that is changed between S and the stop comes back whole: the first change after a checkpoint
 *     is logged with the page's full image (or makes the page anew), for a backup that runs on the primary
 *     forces full_page_writes there. What was read of such a page, torn or old or new, does not matter.
 *     Of a snapshot that was resumed, the proof over its log says so for the time between two sessions.
 *   - A page that is not changed after S must be as it was at S. On the standby it is, once all that was
 *     replayed of the time before S is on the standby's disk. A standby writes its buffers out for a
 *     restartpoint, and notes in pg_control the redo position of the checkpoint that it stands for, after
 *     they are written and synced. So: when that redo position is S or later. (pg_last_wal_replay_lsn()
 *     alone says nothing of the disk.) From then on the page is not written again: nothing changes it but
 *     hint bits, which may be set or not, and are never set by a standby where pages have checksums.
 *   - Files: what was created after S is created by replay, what was dropped after S is dropped by it, and
 *     relations are cut and grown by it. What is missing on the standby because it is behind is the same as
 *     what is missing at a primary because it was read early.
 *   - No page has changes from behind the stop: a standby has no log that the primary has not flushed, and
 *     the stop comes after the last range was read.
 *
 * The redo position never goes back, as it is in pg_control, so a restart changes nothing: replay then
 * begins there, and may write older states of pages that all are changed after S.
 *
 * All this holds only while the standby's disk knows nothing but the log of the primary's timeline.
 * Promotion, or following another server that was promoted, ends that. Before a standby writes a page
 * it notes in pg_control how far replay is, and on which timeline (the minimum recovery point); so that,
 * asked after reading, is what tells about the pages that were read. Nothing of a range counts before
 * it was asked.
 *
 * Somebody could make the standby anew from a base backup while a range is read. The server that answers
 * after a range must therefore be the one (by its start) that was found ready before it, and run on the
 * directory that is open here; otherwise the range fails in a way that passes, and is read again.
 *
 * Plain files, pg_control and configuration are the primary's alone.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/engine/postgres/facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/reader.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"

#define RESTART_AGAIN_US (10 * USEC_PER_SEC)
#define CONFLICT(...)    tm_err_set(err, TM_E_CONFLICT, __VA_ARGS__)
#define NOT_YET(...)     (tm_err_retry(err, TM_E_UNAVAILABLE, __VA_ARGS__), 0)

bool pg_range_anywhere(struct engine_key_range range)
{
    static const uint8_t next_class = FILES_CLASS_CONFIG;
    return range.start.len > 0 && range.start.data[0] == FILES_CLASS_RELATION &&
           range.end.len > 0 && slice_cmp(range.start, range.end) < 0 &&
           slice_cmp(range.end, slice_of(&next_class, 1)) <= 0;
}

void standby_init(struct engine_reader *reader, enum control_file_state state)
{
    atomic_store(&reader->standby,
                 state == CONTROL_IN_ARCHIVE_RECOVERY || state == CONTROL_SHUTDOWNED_IN_RECOVERY);
}

void standby_release(struct engine_reader *reader)
{
    pg_conn_close(reader->standby_conn);
    pg_conn_close(reader->restart_conn);
    pthread_mutex_destroy(&reader->standby_lock);
}

/* ---- judging ---- */

static int judge_place(const struct pg_begin *begin, bool was_standby,
                       const struct standby_now *now, struct tm_err *err)
{
    const int64_t last_start_us =
        begin->further_count > 0 ? begin->further[begin->further_count - 1].us : begin->start_us;
    if (now->system_id != begin->system_id)
        return CONFLICT("the server has system identifier %llu, the snapshot was begun on %llu",
                        (unsigned long long)now->system_id, (unsigned long long)begin->system_id);
    if (!now->in_recovery && was_standby)
        return CONFLICT("the standby was promoted");
    if (now->timeline > begin->timeline || now->redo_timeline > begin->timeline)
        return CONFLICT("the server is on timeline %u, the snapshot was begun on %u",
                        TM_MAX(now->timeline, now->redo_timeline), begin->timeline);
    if (now->in_recovery)
        return 0;
    /* the primary runs since before it began the backup; what was taken out of recovery did not */
    if (now->timeline != begin->timeline || now->started_us > last_start_us)
        return CONFLICT("the server is no standby, nor the one that the snapshot was begun on");
    return 0;
}

int standby_judge(const struct pg_begin *begin, bool was_standby, const struct standby_now *now,
                  struct tm_err *err)
{
    char replayed[PG_LSN_TEXT_MAX], redo[PG_LSN_TEXT_MAX], start[PG_LSN_TEXT_MAX];
    int r = judge_place(begin, was_standby, now, err);
    if (r < 0 || !now->in_recovery)
        return r < 0 ? r : 1;
    if (now->redo >= begin->start_lsn && now->redo_timeline == begin->timeline)
        return 1;
    if (now->redo >= begin->start_lsn)
        return CONFLICT("the standby is on timeline %u at %s, but the snapshot was begun on "
                        "timeline %u at %s",
                        now->redo_timeline, pg_lsn_format(now->redo, redo), begin->timeline,
                        pg_lsn_format(begin->start_lsn, start));
    return NOT_YET("the standby has replayed up to %s, its last restartpoint is at %s, the backup "
                   "started at %s",
                   pg_lsn_format(now->replayed, replayed), pg_lsn_format(now->redo, redo),
                   pg_lsn_format(begin->start_lsn, start));
}

/* ---- asking ---- */

/* The timeline of a primary is in the names of its log only. */
#define STANDBY_SQL                                                                                \
    "SELECT recovering, (SELECT system_identifier FROM pg_control_system()), "                     \
    "CASE WHEN recovering THEN (SELECT min_recovery_end_timeline FROM pg_control_recovery()) "     \
    "ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer END, "   \
    "c.timeline_id, c.redo_lsn, coalesce(pg_last_wal_replay_lsn(), '0/0'), "                       \
    "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, "                         \
    "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR "                             \
    "EXISTS (SELECT FROM pg_roles p WHERE p.rolname = 'pg_checkpoint' "                            \
    "AND pg_has_role(p.oid, 'USAGE')) "                                                            \
    "FROM pg_is_in_recovery() AS recovering, pg_control_checkpoint() AS c"

static int parse_now(const PGresult *result, struct standby_now *ret, struct tm_err *err)
{
    struct standby_now now = {
        .in_recovery = PQgetvalue(result, 0, 0)[0] == 't',
        /* printed as a signed number */
        .system_id = (uint64_t)strtoll(PQgetvalue(result, 0, 1), NULL, 10),
        .timeline = (uint32_t)strtoul(PQgetvalue(result, 0, 2), NULL, 10),
        .redo_timeline = (uint32_t)strtoul(PQgetvalue(result, 0, 3), NULL, 10),
        .started_us = strtoll(PQgetvalue(result, 0, 6), NULL, 10),
        .may_checkpoint = PQgetvalue(result, 0, 7)[0] == 't',
    };
    int r = pg_lsn_parse(PQgetvalue(result, 0, 4), &now.redo, err);
    if (r == 0)
        r = pg_lsn_parse(PQgetvalue(result, 0, 5), &now.replayed, err);
    if (r == 0)
        *ret = now;
    return r;
}

/* Is what is open here still what the server runs on? */
static int same_directory(const struct engine_reader *reader, struct tm_err *err)
{
    struct stat ours, theirs;
    if (fstat(reader->root_fd, &ours) < 0 || stat(reader->instance->data_dir, &theirs) < 0)
        return tm_err_errno(err, errno, "cannot stat");
    if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
        return CONFLICT("is another directory than it was: the standby was made anew");
    return 0;
}

/* A server that is away, or starting, or that ended our statement because of its replay, will answer
 * another time. */
static int passes(int r, struct tm_err *err)
{
    if (r == -TM_E_UNAVAILABLE || r == -TM_E_INTERNAL || r == -TM_E_TIMEOUT || r == -TM_E_INVALID) {
        err->code = TM_E_UNAVAILABLE;
        err->retryable = true;
        return -TM_E_UNAVAILABLE;
    }
    return r;
}

static int connect_standby(struct engine_reader *reader, struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    struct pg_facts facts = {.version = NULL};
    struct control_file control;
    int r = pg_conn_open(reader->instance->conninfo, PG_CONN_SQL, &conn, err);
    if (r == 0)
        r = pg_facts_read(conn, &facts, err);
    if (r == 0)
        r = pg_facts_prove(&facts, reader->instance, conn, &control, err);
    if (r == 0)
        reader->standby_conn = TM_TAKE(conn);
    return r;
}

static int ask_once(struct engine_reader *reader, struct standby_now *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    int r = reader->standby_conn ? 0 : connect_standby(reader, err);
    if (r == 0)
        r = pg_conn_query(reader->standby_conn, PG_QUERY_TIMEOUT_MS, STANDBY_SQL, NULL, 0, &result,
                          err);
    if (r == 0 && PQntuples(result) != 1)
        r = tm_err_set(err, TM_E_INTERNAL, "PostgreSQL does not say where it is");
    return r < 0 ? r : parse_now(result, ret, err);
}

/* A connection that lay idle may be gone: then a second one is tried at once. */
static int ask(struct engine_reader *reader, struct standby_now *ret, struct tm_err *err)
{
    int r = -1;
    for (bool again = true; again && r < 0;) {
        again = reader->standby_conn != NULL;
        r = ask_once(reader, ret, err);
        if (r < 0) {
            pg_conn_close(reader->standby_conn);
            reader->standby_conn = NULL;
        }
    }
    if (r == 0)
        r = same_directory(reader, err);
    if (r == 0 && ret->in_recovery)
        atomic_store(&reader->standby, true);
    return passes(r, err);
}

/* ---- a restartpoint ---- */

/* Runs on a connection of its own, for as long as it takes; nobody waits for it. */
static void restart_look(struct engine_reader *reader)
{
    PGconn *pq = pg_conn_raw(reader->restart_conn);
    if (PQconsumeInput(pq) == 1 && PQisBusy(pq) == 1)
        return;
    pg_conn_close(reader->restart_conn); /* done, or refused: its effect is seen, or not */
    reader->restart_conn = NULL;
    reader->restart_again_us = clock_mono_us() + RESTART_AGAIN_US;
}

/* The server makes one of its own by and by: a failure is none. */
static void restart_ask(struct engine_reader *reader, const struct standby_now *now)
{
    struct tm_err ignored = {0};
    const struct pg_begin *begin = &reader->begin;
    if (reader->restart_conn)
        restart_look(reader);
    /* only a checkpoint that was replayed can become a restartpoint */
    if (reader->restart_conn || !now->may_checkpoint ||
        now->replayed <= TM_MAX(begin->start_lsn, begin->checkpoint_lsn) ||
        clock_mono_us() < reader->restart_again_us)
        return;
    reader->restart_again_us = clock_mono_us() + RESTART_AGAIN_US;
    if (pg_conn_open(reader->instance->conninfo, PG_CONN_SQL, &reader->restart_conn, &ignored) < 0)
        return;
    PGconn *pq = pg_conn_raw(reader->restart_conn);
    if (PQsendQuery(pq, "CHECKPOINT") != 1 || PQflush(pq) != 0) {
        pg_conn_close(reader->restart_conn);
        reader->restart_conn = NULL;
    }
}

/* ---- ready ---- */

static int ready_locked(struct engine_reader *reader, struct tm_err *err)
{
    struct standby_now now = {0};
    const bool was_standby = atomic_load(&reader->standby);
    int r = ask(reader, &now, err);
    if (r == 0)
        r = standby_judge(&reader->begin, was_standby, &now, err);
    else if (err->retryable)
        return 0;
    if (r == 1)
        reader->ready_us = now.started_us;
    if (r == 0)
        restart_ask(reader, &now);
    if (r != 0 && reader->restart_conn) {
        pg_conn_close(reader->restart_conn);
        reader->restart_conn = NULL;
    }
    return r;
}

static int say(const struct engine_reader *reader, int r, struct tm_err *err)
{
    const int prefixed = tm_err_prefix(err, "data directory '%s'", reader->instance->data_dir);
    return r < 0 ? prefixed : r;
}

int pg_reader_ready(struct engine_reader *reader, struct tm_err *err)
{
    pthread_mutex_lock(&reader->standby_lock);
    int r = ready_locked(reader, err);
    pthread_mutex_unlock(&reader->standby_lock);
    return r == 1 ? 1 : say(reader, r, err);
}

/* ---- around a range ---- */

int standby_before(struct engine_reader *reader, struct engine_key_range range,
                   int64_t *ret_server_us, struct tm_err *err)
{
    if (!atomic_load(&reader->standby))
        return 0;
    if (!pg_range_anywhere(range))
        return tm_err_set(err, TM_E_REFUSED, "only the primary has all files of this range");
    pthread_mutex_lock(&reader->standby_lock);
    int r = reader->ready_us != 0 ? 1 : ready_locked(reader, err);
    const int64_t server_us = reader->ready_us;
    pthread_mutex_unlock(&reader->standby_lock);
    if (r == 1)
        *ret_server_us = server_us;
    return r == 1 ? 0 : say(reader, r == 0 ? -TM_E_UNAVAILABLE : r, err);
}

int standby_after(struct engine_reader *reader, int64_t server_us, struct tm_err *err)
{
    if (server_us == 0)
        return 0;
    pthread_mutex_lock(&reader->standby_lock);
    int r = ready_locked(reader, err);
    if (r == 0)
        reader->ready_us = 0; /* away, or another server: to be asked before the next range */
    if (r == 1 && reader->ready_us != server_us)
        r = tm_err_retry(err, TM_E_UNAVAILABLE, "the standby was started anew meanwhile");
    pthread_mutex_unlock(&reader->standby_lock);
    return r == 1 ? 0 : say(reader, r == 0 ? -TM_E_UNAVAILABLE : r, err);
}
