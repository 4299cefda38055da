/*
 * Log from the source's own files: whole segments that lie in pg_wal.
 *
 * Happy path: the server is asked how far it is and proven to be the one that runs on data_dir; each
 * segment that is asked for ended before the one that is being written (or before the timeline was
 * left); its first page says that it is that segment of that system; its bytes are read; its first
 * page still says so.
 *
 * Failure modes: not whole yet, never there, removed, or recycled under the reader's hands: all
 * NOT_FOUND. A recycled file is written anew from its first page on, so a first page that is
 * unchanged after reading proves what was read. A file that claims another system, or a timeline
 * that cannot stand there, is CORRUPT.
 */
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "agent/engine/postgres/facts.h"
#include "agent/engine/postgres/history.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/wal.h"
#include "common/fd.h"
#include "common/fs.h"

#define PAGE_HEAD_BYTES 40
#define PAGE_LONG       0x0002u

/* Which segments may be read, and what must stand in them. */
struct place {
    const struct pg_version *version;
    struct pg_log_facts facts; /* its timeline is the one asked for */
    uint64_t begin;            /* where the timeline left its parent; 0 on the first */
    uint64_t end;              /* segments that end behind it are not whole */
};

/* ---- how far ---- */

static int read_history(const struct engine_instance *instance, uint32_t timeline, struct buf *out,
                        struct tm_err *err)
{
    char name[PG_WAL_NAME_MAX], path[ENGINE_PATH_MAX];
    if (timeline == 1)
        return 0;
    snprintf(path, sizeof(path), "%s/pg_wal/%s", instance->data_dir,
             pg_wal_history_name(timeline, name));
    return fs_read_file(path, PG_HISTORY_MAX, out, err);
}

#define HOW_FAR_SQL                                                                                \
    "SELECT CASE WHEN rec THEN coalesce(pg_last_wal_receive_lsn(), '0/0') "                        \
    "ELSE pg_current_wal_flush_lsn() END::text, "                                                  \
    "CASE WHEN rec THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END, "            \
    "coalesce((SELECT received_tli FROM pg_stat_wal_receiver), "                                   \
    "(SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) "                                \
    "FROM pg_control_checkpoint() c, pg_control_recovery() r)) "                                   \
    "FROM pg_is_in_recovery() AS rec"

static int ask(const struct engine_instance *instance, const struct pg_log_facts *facts,
               uint32_t *ret_timeline, uint64_t *ret_flushed, struct tm_err *err)
{
    TM_CLEANUP(pg_conn_closep) struct pg_conn *conn = NULL;
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct pg_facts server = {.version = NULL};
    struct control_file control;
    int r = pg_conn_open(instance->conninfo, PG_CONN_SQL, &conn, err);
    if (r == 0)
        r = pg_facts_read(conn, &server, err);
    if (r == 0)
        r = pg_facts_prove(&server, instance, conn, &control, err);
    if (r < 0)
        return r;
    if (server.system_id != facts->system_id)
        return tm_err_set(
            err, TM_E_CONFLICT, "the server has system identifier %llu, the log is that of %llu",
            (unsigned long long)server.system_id, (unsigned long long)facts->system_id);
    r = pg_conn_query(conn, PG_QUERY_TIMEOUT_MS, HOW_FAR_SQL, NULL, 0, &result, err);
    if (r < 0)
        return r;
    *ret_timeline = PQgetisnull(result, 0, 1)
                        ? (uint32_t)strtoul(PQgetvalue(result, 0, 2), NULL, 10)
                        : (uint32_t)strtoul(PQgetvalue(result, 0, 1), NULL, 16);
    return pg_lsn_parse(PQgetvalue(result, 0, 0), ret_flushed, err);
}

static int find_place(const struct engine_instance *instance, struct place *place,
                      struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf now = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf own = BUF_INIT;
    const uint32_t timeline = place->facts.timeline;
    uint32_t current = 0, parent;
    int r = ask(instance, &place->facts, &current, &place->end, err);
    if (r == 0)
        r = read_history(instance, timeline, &own, err);
    if (r == 0)
        r = pg_history_parent(buf_slice(&own), &parent, &place->begin, err);
    if (r < 0 || timeline == current)
        return r < 0 ? r : 0;
    r = read_history(instance, current, &now, err);
    if (r == 0)
        r = pg_history_end_of(buf_slice(&now), timeline, &place->end, err);
    if (r == 0)
        return tm_err_set(err, TM_E_NOT_FOUND, "timeline %u is no ancestor of the server's, %u",
                          timeline, current);
    return r < 0 ? r : 0;
}

/* ---- one segment ---- */

static uint64_t le_get(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | p[bytes];
    return value;
}

/* The segment that holds the fork begins with pages of an ancestor. */
static bool timeline_fits(const struct place *place, uint64_t segment, uint64_t timeline)
{
    const bool forked = place->begin >= segment &&
                        place->begin - segment < place->facts.wal_segment_bytes &&
                        place->begin != 0;
    if (timeline == place->facts.timeline)
        return true;
    return forked && timeline > 0 && timeline < place->facts.timeline;
}

static int check_head(const struct place *place, uint64_t segment, const uint8_t *head,
                      const char *name, struct tm_err *err)
{
    uint64_t flags = le_get(head + 2, 2);
    if (le_get(head + 8, 8) != segment)
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' is not written yet: it holds other log", name);
    if (le_get(head, 2) != place->version->wal_page_magic || !(flags & PAGE_LONG) ||
        le_get(head + 32, 4) != place->facts.wal_segment_bytes)
        return tm_err_set(err, TM_E_CORRUPT, "'%s' is no log segment of PostgreSQL %u", name,
                          place->version->major);
    if (le_get(head + 24, 8) != place->facts.system_id)
        return tm_err_set(err, TM_E_CORRUPT, "'%s' belongs to system identifier %llu, not %llu",
                          name, (unsigned long long)le_get(head + 24, 8),
                          (unsigned long long)place->facts.system_id);
    if (!timeline_fits(place, segment, le_get(head + 4, 4)))
        return tm_err_set(err, TM_E_CORRUPT, "'%s' begins with timeline %llu", name,
                          (unsigned long long)le_get(head + 4, 4));
    return 0;
}

static int open_segment(int dir_fd, const char *name, uint32_t segment_bytes, int *ret_fd,
                        struct tm_err *err)
{
    struct stat st;
    int r = fs_open_beneath(dir_fd, name, O_RDONLY | O_NONBLOCK, 0, ret_fd, err);
    if (r < 0)
        return r;
    if (fstat(*ret_fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", name);
    if (!S_ISREG(st.st_mode) || st.st_size != (off_t)segment_bytes)
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' is no whole log segment", name);
    return 0;
}

static int read_segment(const struct place *place, int dir_fd, uint64_t from, uint8_t *dst,
                        size_t len, struct tm_err *err)
{
    const uint32_t size = place->facts.wal_segment_bytes;
    const uint64_t segment = pg_wal_segment_start(from, size);
    char name[PG_WAL_NAME_MAX];
    uint8_t before[PAGE_HEAD_BYTES], after[PAGE_HEAD_BYTES];
    TM_CLEANUP(closep) int fd = -1;
    pg_wal_segment_name(place->facts.timeline, from, size, name);
    if (segment + size > pg_wal_segment_start(place->end, size))
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' is not whole yet", name);
    int r = open_segment(dir_fd, name, size, &fd, err);
    if (r == 0)
        r = fd_pread_full(fd, before, sizeof(before), 0, name, err);
    if (r == 0)
        r = check_head(place, segment, before, name, err);
    if (r == 0)
        r = fd_pread_full(fd, dst, len, from - segment, name, err);
    if (r == 0)
        r = fd_pread_full(fd, after, sizeof(after), 0, name, err);
    if (r == 0 && memcmp(before, after, sizeof(before)) != 0)
        r = tm_err_set(err, TM_E_NOT_FOUND, "'%s' was recycled while it was read", name);
    return r;
}

static int read_all(const struct engine_instance *instance, const struct place *place,
                    uint64_t from, uint8_t *dst, size_t len, struct tm_err *err)
{
    char path[ENGINE_PATH_MAX];
    snprintf(path, sizeof(path), "%s/pg_wal", instance->data_dir);
    /* pg_wal itself may be a link to another disk, nothing in it may */
    TM_CLEANUP(closep) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", path);
    int r = 0;
    while (r == 0 && len > 0) {
        size_t left =
            (size_t)(place->facts.wal_segment_bytes - from % place->facts.wal_segment_bytes);
        size_t n = TM_MIN(len, left);
        r = read_segment(place, dir_fd, from, dst, n, err);
        from += n;
        dst += n;
        len -= n;
    }
    return r;
}

int pg_log_read_file(const struct engine_instance *instance, struct slice blob, const char *label,
                     uint64_t from, uint8_t *dst, size_t len, struct tm_err *err)
{
    struct place place = {.begin = 0};
    int r = pg_log_facts_decode(blob, &place.facts, err);
    if (r == 0)
        r = pg_timeline_parse(label, &place.facts.timeline, err);
    if (r == 0)
        r = pg_version_require(place.facts.version_num, &place.version, err);
    if (r == 0 && len > UINT64_MAX - from)
        r = tm_err_set(err, TM_E_INVALID, "there is no such log");
    if (r == 0)
        r = find_place(instance, &place, err);
    if (r == 0)
        r = read_all(instance, &place, from, dst, len, err);
    return r < 0 ? tm_err_prefix(err, "instance '%s'", instance->tenant) : 0;
}
