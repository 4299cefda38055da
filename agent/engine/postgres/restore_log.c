/*
 * Stored log: first looked through, then laid out as segment files.
 *
 * Replay repeats CREATE TABLESPACE with the absolute path of the source. On the source's own host
 * that path is the live directory, and replay would link, and before version 15 empty, it. So every
 * such record in the range must name a place that is absent or empty and inside the roots, or be
 * the very place where that tablespace is restored to; anything else refuses the whole restore.
 *
 * A restore to a record looks no further than that record: what comes behind it is not replayed.
 *
 * Segments are padded with zeros to their full size, which PostgreSQL takes for the end of log.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "agent/engine/postgres/history.h"
#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/wal.h"
#include "common/fd.h"
#include "common/parse.h"

/* ---- what replay would do ---- */

static int late_dir_add(struct engine_restore *r, const char *path, struct tm_err *err)
{
    for (size_t k = 0; k < r->late_dir_count; k++) {
        if (strcmp(r->late_dirs[k], path) == 0)
            return 0;
    }
    if (r->late_dir_count >= PG_TABLESPACES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the log creates more than %d tablespaces",
                          PG_TABLESPACES_MAX);
    char **list = realloc(r->late_dirs, (r->late_dir_count + 1) * sizeof(*list));
    if (list == NULL)
        return tm_err_oom(err);
    r->late_dirs = list;
    if ((list[r->late_dir_count] = strdup(path)) == NULL)
        return tm_err_oom(err);
    r->late_dir_count++;
    return 0;
}

static int tablespace_place(struct engine_restore *r, const struct wal_tablespace_create *c,
                            const char *real, struct tm_err *err)
{
    enum place_state state;
    uid_t uid;
    for (size_t k = 0; k < r->tablespace_count; k++) {
        const struct restore_tablespace *t = &r->tablespaces[k];
        if (t->oid != c->oid)
            continue;
        if (strcmp(t->root.path, real) == 0)
            return 0;
        return tm_err_set(err, TM_E_REFUSED,
                          "tablespace %" PRIu32
                          " was created just as the backup began: it can only "
                          "be restored at its own place '%s', not at '%s'; or take another backup",
                          c->oid, c->path, t->root.path);
    }
    for (size_t k = 0; k < r->late_dir_count; k++) {
        if (strcmp(r->late_dirs[k], real) == 0)
            return 0;
    }
    int rc = place_look(real, "a place where", &state, &uid, err);
    if (rc < 0)
        return rc;
    if (state == PLACE_FILLED)
        return tm_err_set(err, TM_E_REFUSED,
                          "the log creates tablespace %" PRIu32
                          " at '%s', which exists on this host "
                          "and is not empty: replay could destroy it; restore on another host, or "
                          "use a backup taken after the tablespace was created",
                          c->oid, c->path);
    if (place_below(real, r->data.path) || place_below(r->data.path, real))
        return tm_err_set(err, TM_E_REFUSED,
                          "the log creates tablespace %" PRIu32 " at '%s', which overlaps the data "
                          "directory",
                          c->oid, c->path);
    rc = place_check(r, real, "a tablespace that the log creates at", err);
    return rc < 0 ? rc : late_dir_add(r, real, err);
}

int replay_tablespace(struct engine_restore *r, const struct wal_tablespace_create *create,
                      struct tm_err *err)
{
    if (create->path[0] != '/')
        return 0; /* in place, below the data directory */
    TM_CLEANUP(freep) char *real = NULL;
    int rc = place_real(create->path, "tablespace", &real, err);
    return rc < 0 ? rc : tablespace_place(r, create, real, err);
}

void replay_parameters(struct engine_restore *r, const struct wal_parameters *p)
{
    struct wal_parameters *top = &r->raised;
    top->max_connections = TM_MAX(top->max_connections, p->max_connections);
    top->max_worker_processes = TM_MAX(top->max_worker_processes, p->max_worker_processes);
    top->max_wal_senders = TM_MAX(top->max_wal_senders, p->max_wal_senders);
    top->max_prepared_xacts = TM_MAX(top->max_prepared_xacts, p->max_prepared_xacts);
    top->max_locks_per_xact = TM_MAX(top->max_locks_per_xact, p->max_locks_per_xact);
}

bool replay_reaches(const struct engine_restore *r, uint32_t timeline, uint64_t record)
{
    return r->stop_record == 0 || timeline != r->stop_timeline || record <= r->stop_record;
}

static int log_record(void *arg, const struct wal_record *record, struct tm_err *err)
{
    struct engine_restore *r = arg;
    struct wal_tablespace_create create;
    struct wal_parameters parameters;
    struct wal_fork fork;
    char at[PG_LSN_TEXT_MAX];
    if (r->now_timeline == r->stop_timeline && record->lsn == r->stop_record)
        r->stop_seen = true;
    if (!replay_reaches(r, r->now_timeline, record->lsn))
        return 0;
    if (record->end_lsn <= r->end.stop_lsn && r->now_timeline == r->end.timeline)
        r->last_record = record->lsn;
    if (wal_parameters_of(record, &parameters))
        replay_parameters(r, &parameters);
    const enum wal_kind kind = wal_record_kind(record, r->version->major);
    if (kind == WAL_FORK_CREATE && wal_fork_create_of(record, &fork))
        return unlogged_note(r, &fork, err);
    if (kind != WAL_TABLESPACE_CREATE)
        return 0;
    if (!wal_tablespace_create_of(record, &create))
        return tm_err_set(err, TM_E_CORRUPT,
                          "log at %s: a tablespace is created, but not said where",
                          pg_lsn_format(record->lsn, at));
    return replay_tablespace(r, &create, err);
}

int restore_timeline(const char *lineage_label, uint32_t *ret_timeline, struct tm_err *err)
{
    uint64_t number = 0;
    int rc = parse_u64_in(lineage_label, 1, UINT32_MAX, &number, err);
    if (rc < 0)
        return tm_err_prefix(err, "timeline");
    *ret_timeline = (uint32_t)number;
    return 0;
}

/* Gives the slice to the reader of that pass; starts a new one where another timeline begins. */
static int read_on(struct engine_restore *r, struct wal_reader **reader, uint64_t *next,
                   uint32_t *timeline, uint32_t now, uint64_t from, struct slice data,
                   struct tm_err *err)
{
    int rc = 0;
    r->now_timeline = now;
    if (*reader == NULL || *timeline != now) {
        const struct wal_reader_config config = {
            .major = r->version->major,
            .from = from,
            .segment_bytes = r->begin.wal_segment_bytes,
            .system_identifier = r->begin.system_id,
            .record = log_record,
            .arg = r,
        };
        struct wal_reader *fresh = NULL;
        rc = wal_reader_new(&config, &fresh, err);
        if (rc < 0)
            return rc;
        wal_reader_free(*reader);
        *reader = fresh;
        *timeline = now;
    } else if (from != *next) {
        char have[PG_LSN_TEXT_MAX];
        char want[PG_LSN_TEXT_MAX];
        return tm_err_set(err, TM_E_CORRUPT, "stored log has a gap: %s follows %s",
                          pg_lsn_format(from, have), pg_lsn_format(*next, want));
    }
    rc = wal_reader_push(*reader, data, err);
    if (rc >= 0)
        *next = from + data.len;
    return rc;
}

int pg_restore_check_log(struct engine_restore *r, const char *lineage_label, uint64_t from,
                         struct slice data, struct tm_err *err)
{
    uint32_t timeline = 0;
    int rc = restore_timeline(lineage_label, &timeline, err);
    if (rc >= 0)
        rc = read_on(r, &r->check_reader, &r->check_next, &r->check_timeline, timeline, from, data,
                     err);
    return rc < 0 ? tm_err_prefix(err, "checking the stored log") : 0;
}

/* ---- where to stop ---- */

static int histories_copy(struct engine_restore *r, const struct engine_restore_spec *spec,
                          struct tm_err *err)
{
    if (spec->history_count == 0)
        return 0;
    if (spec->history_count > RESTORE_STRINGS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d timelines", RESTORE_STRINGS_MAX);
    r->histories = calloc(spec->history_count, sizeof(*r->histories));
    if (r->histories == NULL)
        return tm_err_oom(err);
    for (size_t k = 0; k < spec->history_count; k++) {
        struct restore_history *to = &r->histories[k];
        int rc = restore_timeline(spec->history_labels[k], &to->timeline, err);
        if (rc >= 0)
            rc = buf_append_slice(&to->text, spec->histories[k], err);
        if (rc < 0)
            return rc;
        r->history_count++;
    }
    return 0;
}

int target_stop_set(struct engine_restore *r, const struct engine_restore_spec *spec,
                    struct tm_err *err)
{
    const char *target = spec->target != NULL ? spec->target : "";
    if (target[0] == '\0' || strcmp(target, "immediate") == 0)
        return histories_copy(r, spec, err);
    if (strcmp(target, "record") != 0 || spec->stop_record == 0 || spec->stop_label == NULL)
        return tm_err_set(
            err, TM_E_UNSUPPORTED,
            "cannot restore to '%.64s': 'immediate' or the place of a record is wanted", target);
    r->stop_record = spec->stop_record;
    int rc = restore_timeline(spec->stop_label, &r->stop_timeline, err);
    return rc < 0 ? rc : histories_copy(r, spec, err);
}

/* ---- segments ---- */

static int write_done_mark(struct engine_restore *r, const char *name, struct tm_err *err)
{
    char path[96];
    int fd = -1;
    (void)snprintf(path, sizeof(path), "pg_wal/archive_status/%s.done", name);
    int rc = target_open_file(r, path, place_file_mode(r), 0, &fd, err);
    closep(&fd);
    return rc;
}

/* Pads the open segment and closes it. */
static int segment_close(struct engine_restore *r, struct tm_err *err)
{
    if (r->log_fd < 0)
        return 0;
    if (ftruncate(r->log_fd, (off_t)r->begin.wal_segment_bytes) < 0)
        return tm_err_errno(err, errno, "cannot pad '%s'", r->log_name);
    int rc = fd_close(&r->log_fd, r->log_name, err);
    /* it came from a backup: the restored server has no business archiving it */
    return rc < 0 ? rc : write_done_mark(r, r->log_name, err);
}

static int segment_open(struct engine_restore *r, uint64_t at, struct tm_err *err)
{
    char path[64];
    (void)pg_wal_segment_name(r->log_timeline, at, r->begin.wal_segment_bytes, r->log_name);
    (void)snprintf(path, sizeof(path), "pg_wal/%s", r->log_name);
    return target_open_file(r, path, place_file_mode(r), 0, &r->log_fd, err);
}

static int write_segments(struct engine_restore *r, uint64_t at, struct slice data,
                          struct tm_err *err)
{
    const uint32_t size = r->begin.wal_segment_bytes;
    while (data.len > 0) {
        uint64_t offset = at % size;
        size_t n = (size_t)TM_MIN((uint64_t)data.len, size - offset);
        int rc = 0;
        if (offset == 0)
            rc = segment_close(r, err);
        if (rc >= 0 && r->log_fd < 0)
            rc = segment_open(r, at, err);
        if (rc >= 0)
            rc = fd_pwrite_full(r->log_fd, data.data, n, offset, r->log_name, err);
        if (rc < 0)
            return rc;
        at += n;
        data.data += n;
        data.len -= n;
    }
    return 0;
}

int pg_restore_log(struct engine_restore *r, const char *lineage_label, uint64_t from,
                   struct slice data, struct tm_err *err)
{
    uint32_t timeline = 0;
    if (!r->prepared || r->finished)
        return tm_err_set(err, TM_E_INTERNAL, "log was restored before prepare or after finish");
    int rc = restore_timeline(lineage_label, &timeline, err);
    if (rc >= 0 && r->log_reader != NULL && r->log_timeline != timeline)
        rc = segment_close(r, err);
    if (rc >= 0)
        rc = read_on(r, &r->log_reader, &r->log_next, &r->log_timeline, timeline, from, data, err);
    if (rc >= 0)
        rc = write_segments(r, from, data, err);
    return rc < 0 ? tm_err_prefix(err, "restoring the log") : 0;
}

/* Is the log there that makes the files consistent? */
static int log_complete(const struct engine_restore *r, struct tm_err *err)
{
    char have[PG_LSN_TEXT_MAX];
    char want[PG_LSN_TEXT_MAX];
    if (r->wal_get != NULL)
        return 0; /* the server fetches what is missing */
    if (r->log_reader == NULL)
        return tm_err_set(err, TM_E_CORRUPT, "the backup has no log: it cannot be made consistent");
    if (r->stop_record != 0 && !r->stop_seen)
        return tm_err_set(err, TM_E_CORRUPT,
                          "the stored log does not hold the record at %s to stop behind",
                          pg_lsn_format(r->stop_record, want));
    if (r->stop_record != 0 && r->stop_timeline != r->end.timeline)
        return 0; /* the chain of timelines leads behind the end of the backup */
    uint64_t end = wal_reader_valid_end(r->log_reader);
    if (end < r->end.stop_lsn)
        return tm_err_set(err, TM_E_CORRUPT, "the stored log ends at %s, but is needed up to %s",
                          pg_lsn_format(end, have), pg_lsn_format(r->end.stop_lsn, want));
    return 0;
}

static int write_history(struct engine_restore *r, uint32_t timeline, struct slice text,
                         struct tm_err *err)
{
    char name[PG_WAL_NAME_MAX];
    char path[64];
    TM_CLEANUP(closep) int fd = -1;
    if (text.len == 0)
        return 0;
    (void)pg_wal_history_name(timeline, name);
    (void)snprintf(path, sizeof(path), "pg_wal/%s", name);
    int rc = target_open_file(r, path, place_file_mode(r), O_TRUNC, &fd, err);
    if (rc >= 0)
        rc = fd_pwrite_full(fd, text.data, text.len, 0, path, err);
    if (rc >= 0)
        rc = fd_close(&fd, path, err);
    return rc < 0 ? rc : write_done_mark(r, name, err);
}

static bool history_known(const struct engine_restore *r, uint32_t timeline)
{
    for (size_t k = 0; k < r->history_count; k++) {
        if (r->histories[k].timeline == timeline)
            return true;
    }
    return timeline == r->begin.timeline;
}

/* A timeline of which no log was stored is known by those that came from it. */
static int write_ancestors(struct engine_restore *r, struct slice history, struct tm_err *err)
{
    struct slice own;
    uint32_t timeline;
    int rc = 1;
    for (size_t n = 0; rc > 0; n++) {
        rc = pg_history_ancestor(history, n, &timeline, &own, err);
        if (rc > 0 && !history_known(r, timeline)) {
            int written = write_history(r, timeline, own, err);
            rc = written < 0 ? written : 1;
        }
    }
    return rc;
}

/* All that are known, also of branches that are not on the way: the restored server then takes a
 * timeline number that nobody has. The backup's own last: it is the truth about its timeline. */
static int write_histories(struct engine_restore *r, struct tm_err *err)
{
    int rc = write_ancestors(r, buf_slice(&r->begin.history), err);
    for (size_t k = 0; rc >= 0 && k < r->history_count; k++) {
        rc = write_ancestors(r, buf_slice(&r->histories[k].text), err);
        if (rc >= 0)
            rc = write_history(r, r->histories[k].timeline, buf_slice(&r->histories[k].text), err);
    }
    return rc < 0 ? rc : write_history(r, r->begin.timeline, buf_slice(&r->begin.history), err);
}

/* Replay does not make the directory of a tablespace it creates. */
static int make_late_dirs(struct engine_restore *r, struct tm_err *err)
{
    for (size_t k = 0; k < r->late_dir_count; k++) {
        struct restore_root root = {.path = r->late_dirs[k], .fd = -1};
        int rc = place_open(r, &root, "tablespace", err);
        closep(&root.fd);
        if (rc >= 0)
            rc = fs_sync_parent(root.path, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int target_log_finish(struct engine_restore *r, struct tm_err *err)
{
    int rc = log_complete(r, err);
    if (rc >= 0)
        rc = segment_close(r, err);
    if (rc >= 0)
        rc = write_histories(r, err);
    return rc < 0 ? rc : make_late_dirs(r, err);
}

void target_log_release(struct engine_restore *r)
{
    wal_reader_free(r->check_reader);
    wal_reader_free(r->log_reader);
    closep(&r->log_fd);
    for (size_t k = 0; k < r->late_dir_count; k++)
        free(r->late_dirs[k]);
    free(r->late_dirs);
    free(r->unlogged);
    for (size_t k = 0; k < r->history_count; k++)
        buf_release(&r->histories[k].text);
    free(r->histories);
}
