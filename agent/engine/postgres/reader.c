/*
 * Happy path: the begin blob is decoded, the data directory opened and proven to be the one the
 * snapshot was begun on (system identifier); each range walks what exists in its span and reads it;
 * the final range holds the label of the end, and pg_control as it is then. Of a snapshot that was
 * resumed, no end of a backup is in the log that recovery could wait for: there pg_control says up to
 * where it has to replay. On a standby, standby.c says whether a range may be read, and whether what
 * was read counts.
 *
 * Failure modes: a blob that is no blob, another cluster's data directory, and those of walk.c and
 * part.c, with the data directory put in front.
 */
#include "agent/engine/postgres/reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/pg.h"

#define FILE_MODE_DEFAULT 0600u

/* The part of `path` below `dir`, or NULL. */
static const char *below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (strncmp(path, dir, len) != 0 || path[len] != '/' || path[len + 1] == '\0')
        return NULL;
    return path + len + 1;
}

/* Tablespaces inside the data directory would be walked twice. */
static int find_inside(struct engine_reader *reader, struct tm_err *err)
{
    TM_CLEANUP(freep) char *root = realpath(reader->instance->data_dir, NULL);
    if (!root)
        return tm_err_errno(err, errno, "cannot resolve");
    size_t count = reader->begin.tablespace_count;
    reader->inside = calloc(count + 1, sizeof(*reader->inside));
    if (!reader->inside)
        return tm_err_oom(err);
    for (size_t n = 0; n < count; n++) {
        TM_CLEANUP(freep) char *path = realpath(reader->begin.tablespaces[n].path, NULL);
        const char *inside = path ? below(path, root) : NULL;
        if (!inside || strncmp(inside, "pg_tblspc/", strlen("pg_tblspc/")) == 0)
            continue; /* elsewhere; or made in place, where it is walked once anyway */
        char *copy = strdup(inside);
        if (!copy)
            return tm_err_oom(err);
        reader->inside[reader->inside_count++] = copy;
    }
    return 0;
}

static int check_identity(struct engine_reader *reader, struct tm_err *err)
{
    struct control_file control;
    int r = control_file_read(reader->root_fd, &control, NULL, err);
    if (r < 0)
        return r;
    if (control.system_id != reader->begin.system_id)
        return tm_err_set(
            err, TM_E_CONFLICT, "holds system identifier %llu, the snapshot was begun on %llu",
            (unsigned long long)control.system_id, (unsigned long long)reader->begin.system_id);
    standby_init(reader, control.state);
    return 0;
}

static int open_inside(struct engine_reader *reader, struct slice begin, struct tm_err *err)
{
    int r = pg_begin_decode(begin, &reader->begin, err);
    if (r < 0)
        return r;
    pg_version_tablespace_dir(reader->begin.version_num / 10000, reader->begin.catalog_version,
                              reader->version_dir);
    reader->root_fd = open(reader->instance->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (reader->root_fd < 0)
        return tm_err_errno(err, errno, "cannot open");
    r = check_identity(reader, err);
    if (r == 0)
        r = find_inside(reader, err);
    if (r == 0)
        r = listing_cache_new(reader->root_fd, reader->version_dir,
                              reader->begin.relation_segment_blocks, &reader->listings, err);
    return r;
}

TM_DEFINE_FREEP(struct engine_reader, pg_reader_close)

int pg_reader_open(const struct engine_instance *instance, struct slice begin,
                   struct engine_reader **ret, struct tm_err *err)
{
    TM_CLEANUP(pg_reader_closep) struct engine_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return tm_err_oom(err);
    reader->instance = instance;
    reader->root_fd = -1;
    pthread_mutex_init(&reader->flush_lock, NULL);
    pthread_mutex_init(&reader->standby_lock, NULL);
    int r = open_inside(reader, begin, err);
    if (r < 0)
        return tm_err_prefix(err, "data directory '%s'", instance->data_dir);
    *ret = TM_TAKE(reader);
    return 0;
}

void pg_reader_close(struct engine_reader *reader)
{
    if (!reader)
        return;
    listing_cache_free(reader->listings);
    for (size_t n = 0; n < reader->inside_count; n++)
        free(reader->inside[n]);
    free(reader->inside);
    pg_conn_close(reader->flush_conn);
    pthread_mutex_destroy(&reader->flush_lock);
    standby_release(reader);
    pg_begin_release(&reader->begin);
    closep(&reader->root_fd);
    free(reader);
}

struct range_job {
    struct engine_reader *reader;
    struct range_sink *sink;
    struct engine_range_stats stats;
};

static int read_item(void *arg, const struct walk_item *item, struct tm_err *err)
{
    struct range_job *job = arg;
    return part_read(job->reader, item, job->sink, &job->stats, err);
}

int pg_read_range(struct engine_reader *reader, struct engine_key_range range,
                  struct range_sink *sink, struct engine_range_stats *ret, struct tm_err *err)
{
    struct range_job job = {.reader = reader, .sink = sink};
    struct walk_span span;
    int64_t server_us = 0;
    int r = standby_before(reader, range, &server_us, err);
    if (r == 0)
        r = walk_span_init(&span, range, err);
    if (r == 0)
        r = walk(reader, &span, read_item, &job, err);
    if (r == 0)
        r = standby_after(reader, server_us, err);
    if (r < 0)
        return r;
    *ret = job.stats;
    return 0;
}

int pg_final_key(struct engine_reader *reader, uint8_t key[ENGINE_KEY_MAX], size_t *ret_len)
{
    (void)reader;
    key[0] = FILES_CLASS_FINAL;
    *ret_len = 1;
    return 0;
}

/* Modes are those of the neighbours, so that group access (initdb -g) is kept. */
static uint32_t file_mode(const struct engine_reader *reader)
{
    struct stat st;
    if (fstatat(reader->root_fd, CONTROL_FILE_PATH, &st, 0) < 0)
        return FILE_MODE_DEFAULT;
    return st.st_mode & 07777u;
}

int pg_read_final(struct engine_reader *reader, struct slice end_blob, struct range_sink *sink,
                  struct engine_range_stats *ret, struct tm_err *err)
{
    TM_CLEANUP(pg_end_release) struct pg_end end = {0};
    struct engine_range_stats stats = {0};
    struct control_file control;
    uint8_t bytes[CONTROL_FILE_BYTES];
    int r = pg_end_decode(end_blob, &end, err);
    if (r < 0)
        return r;
    r = control_file_read(reader->root_fd, &control, bytes, err);
    if (r == 0 && reader->begin.further_count > 0)
        r = control_file_recovering(bytes, end.stop_lsn, end.timeline, &reader->begin.settings,
                                    err);
    if (r < 0)
        return tm_err_prefix(err, "data directory '%s'", reader->instance->data_dir);
    uint32_t mode = file_mode(reader);
    r = part_write_bytes("backup_label", mode, end.commit_us, buf_slice(&end.backup_label), sink,
                         &stats, err);
    if (r == 0 && end.tablespace_map.len > 0)
        r = part_write_bytes("tablespace_map", mode, end.commit_us, buf_slice(&end.tablespace_map),
                             sink, &stats, err);
    if (r == 0)
        r = part_write_bytes(CONTROL_FILE_PATH, mode, end.commit_us, slice_of(bytes, sizeof(bytes)),
                             sink, &stats, err);
    if (r == 0)
        *ret = stats;
    return r;
}
