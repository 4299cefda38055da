/*
 * Plays the core for the backup side of the PostgreSQL engine, against a real server. Run by
 * tests/integration/pg_engine_test.sh; without arguments it has nothing to do and succeeds.
 *
 *   engine_drive_test COMMAND DATA_DIR CONNINFO …
 *
 *     control               prints pg_control as "name value" lines
 *     check                 prints "ok" or the error, with its code
 *     describe              prints role, version, identity, lineage label
 *     backup TARGET BYTES FILES [GATE]
 *                           a whole backup, written straight to TARGET as a data directory that can
 *                           be started: ranges of BYTES or FILES, read by three threads; the log
 *                           goes to TARGET/pg_wal. When the plan is made and the log streams,
 *                           GATE.planned appears, and nothing is read before GATE.go is there
 *     plan BYTES FILES      plans only; prints ranges, and the peak of our memory in KiB
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/engine/engine.h"
#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"

#define RANGES_MAX  100000
#define THREADS     3
#define ROOM_BYTES  (256u << 10)
#define PROBLEM_MAX 20

struct key {
    size_t len;
    uint8_t bytes[ENGINE_KEY_MAX];
};

struct drive {
    struct engine_instance instance;
    const char *target;
    int target_fd;
    struct key *starts; /* of each range; the next one's start is its end */
    size_t range_count;
    uint64_t planned_bytes;
    struct engine_reader *reader;
    pthread_mutex_t lock;
    size_t next_range;
    struct engine_range_stats stats;
    uint64_t links, directories, problems;
    struct slice begin;
    uint64_t log_from, log_until; /* until: 0 while it is not known */
    uint32_t wal_segment_bytes;
    uint32_t timeline;
};

static void die(const struct tm_err *err)
{
    printf("error: %s (%s%s)\n", err->msg, tm_err_code_text(err->code),
           err->retryable ? ", retryable" : "");
    exit(1);
}

static void die_errno(const char *what)
{
    printf("error: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

/* ---- a sink that writes a data directory ---- */

struct sink {
    struct range_sink base;
    struct drive *drive;
    struct file_entry entry;
    int fd;
    uint64_t at;
    bool open;
    uint8_t room[ROOM_BYTES];
};

/* pg_tblspc/N → TARGET-N, a directory of our own */
static int link_tablespace(const struct drive *drive, const struct file_entry *entry,
                           struct tm_err *err)
{
    char place[2 * ENGINE_PATH_MAX];
    snprintf(place, sizeof(place), "%s-%s", drive->target, strrchr(entry->path, '/') + 1);
    if (mkdir(place, 0700) < 0 || symlinkat(place, drive->target_fd, entry->path) < 0)
        return tm_err_errno(err, errno, "cannot link '%s'", entry->path);
    return 0;
}

static int sink_file_begin(struct range_sink *base, const struct file_entry *entry,
                           struct tm_err *err)
{
    struct sink *sink = (struct sink *)(void *)base;
    struct drive *drive = sink->drive;
    if (sink->open)
        return tm_err_set(err, TM_E_INTERNAL, "'%s' begins inside '%s'", entry->path,
                          sink->entry.path);
    sink->entry = *entry;
    sink->open = true;
    sink->at = entry->offset_bytes;
    if (entry->path[0] == '/')
        return 0; /* configuration: read, not written */
    if (entry->kind == FILE_DIRECTORY || entry->kind == FILE_LINK) {
        pthread_mutex_lock(&drive->lock);
        *(entry->kind == FILE_LINK ? &drive->links : &drive->directories) += 1;
        pthread_mutex_unlock(&drive->lock);
        if (entry->kind == FILE_LINK)
            return link_tablespace(drive, entry, err);
        if (mkdirat(drive->target_fd, entry->path, (mode_t)entry->mode) < 0 && errno != EEXIST)
            return tm_err_errno(err, errno, "cannot make '%s'", entry->path);
        return 0;
    }
    sink->fd =
        openat(drive->target_fd, entry->path, O_WRONLY | O_CREAT | O_CLOEXEC, (mode_t)entry->mode);
    if (sink->fd < 0)
        return tm_err_errno(err, errno, "cannot create '%s'", entry->path);
    return 0;
}

static int sink_room(struct range_sink *base, size_t want, uint8_t **ret, size_t *ret_bytes,
                     struct tm_err *err)
{
    struct sink *sink = (struct sink *)(void *)base;
    (void)err;
    *ret = sink->room;
    *ret_bytes = TM_MIN(want, sizeof(sink->room));
    return 0;
}

static int sink_advance(struct range_sink *base, size_t bytes, struct tm_err *err)
{
    struct sink *sink = (struct sink *)(void *)base;
    if (sink->fd >= 0 && pwrite(sink->fd, sink->room, bytes, (off_t)sink->at) != (ssize_t)bytes)
        return tm_err_errno(err, errno, "cannot write '%s'", sink->entry.path);
    sink->at += bytes;
    return 0;
}

static int sink_file_end(struct range_sink *base, uint32_t crc, struct tm_err *err)
{
    struct sink *sink = (struct sink *)(void *)base;
    (void)crc;
    (void)err;
    closep(&sink->fd);
    sink->open = false;
    return 0;
}

static int sink_problem(struct range_sink *base, const char *path, uint64_t block, const char *what,
                        struct tm_err *err)
{
    struct sink *sink = (struct sink *)(void *)base;
    (void)err;
    pthread_mutex_lock(&sink->drive->lock);
    if (sink->drive->problems++ < PROBLEM_MAX)
        printf("problem: %s block %" PRIu64 ": %s\n", path, block, what);
    pthread_mutex_unlock(&sink->drive->lock);
    return 0;
}

static const struct range_sink_ops sink_ops = {sink_file_begin, sink_room, sink_advance,
                                               sink_file_end, sink_problem};

static struct sink *sink_new(struct drive *drive)
{
    struct sink *sink = calloc(1, sizeof(*sink));
    if (!sink)
        die_errno("sink");
    sink->base.ops = &sink_ops;
    sink->drive = drive;
    sink->fd = -1;
    return sink;
}

static void add_stats(struct drive *drive, const struct engine_range_stats *stats)
{
    pthread_mutex_lock(&drive->lock);
    drive->stats.files += stats->files;
    drive->stats.bytes += stats->bytes;
    drive->stats.pages_checked += stats->pages_checked;
    drive->stats.pages_unverified += stats->pages_unverified;
    drive->stats.pages_corrupt += stats->pages_corrupt;
    pthread_mutex_unlock(&drive->lock);
}

/* ---- plan, ranges ---- */

static int take_range(void *arg, struct engine_key_range range, uint64_t bytes, struct tm_err *err)
{
    struct drive *drive = arg;
    struct key *key = &drive->starts[drive->range_count];
    if (drive->range_count + 1 >= RANGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "too many ranges for this test");
    if (!slice_eq(range.start, slice_of(key->bytes, key->len)))
        return tm_err_set(err, TM_E_INTERNAL, "range %zu is not adjacent", drive->range_count);
    if (slice_cmp(range.start, range.end) >= 0)
        return tm_err_set(err, TM_E_INTERNAL, "range %zu is empty", drive->range_count);
    key++;
    memcpy(key->bytes, range.end.data, range.end.len);
    key->len = range.end.len;
    drive->range_count++;
    drive->planned_bytes += bytes;
    return 0;
}

static void *read_ranges(void *arg)
{
    struct drive *drive = arg;
    struct tm_err err = {0};
    struct sink *sink = sink_new(drive);
    for (;;) {
        pthread_mutex_lock(&drive->lock);
        size_t n = drive->next_range++;
        pthread_mutex_unlock(&drive->lock);
        if (n >= drive->range_count)
            break;
        const struct key *key = &drive->starts[n];
        struct engine_key_range range = {slice_of(key[0].bytes, key[0].len),
                                         slice_of(key[1].bytes, key[1].len)};
        struct engine_range_stats stats;
        if (pg_read_range(drive->reader, range, &sink->base, &stats, &err) < 0)
            die(&err);
        add_stats(drive, &stats);
    }
    free(sink);
    return NULL;
}

/* ---- log ---- */

static int write_log(const struct drive *drive, uint64_t from, struct slice data)
{
    while (data.len > 0) {
        char name[PG_WAL_NAME_MAX], path[64];
        uint64_t in_segment = from % drive->wal_segment_bytes;
        size_t len = (size_t)TM_MIN(data.len, drive->wal_segment_bytes - in_segment);
        snprintf(path, sizeof(path), "pg_wal/%s",
                 pg_wal_segment_name(drive->timeline, from, drive->wal_segment_bytes, name));
        TM_CLEANUP(closep)
        int fd = openat(drive->target_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, drive->wal_segment_bytes) < 0 ||
            pwrite(fd, data.data, len, (off_t)in_segment) != (ssize_t)len)
            return -1;
        from += len;
        data = slice_of(data.data + len, data.len - len);
    }
    return 0;
}

static void *read_log(void *arg)
{
    struct drive *drive = arg;
    struct tm_err err = {0};
    struct engine_log *log = NULL;
    uint64_t at = drive->log_from, until = 0;
    if (pg_log_open(&drive->instance, drive->begin, at, &log, &err) < 0)
        die(&err);
    while (until == 0 || at < until) {
        struct engine_log_event event;
        if (pg_log_next(log, 100, &event, &err) < 0)
            die(&err);
        if (event.kind == ENGINE_LOG_DATA) {
            if (event.from != at || write_log(drive, event.from, event.data) < 0)
                die_errno("log");
            at += event.data.len;
        }
        pthread_mutex_lock(&drive->lock);
        until = drive->log_until;
        pthread_mutex_unlock(&drive->lock);
    }
    pg_log_close(log);
    return NULL;
}

/* ---- commands ---- */

static void plan(struct drive *drive, const char *bytes, const char *files)
{
    struct tm_err err = {0};
    struct engine_plan_options options = {.range_bytes = strtoull(bytes, NULL, 10),
                                          .range_files = (uint32_t)strtoul(files, NULL, 10)};
    drive->starts = calloc(RANGES_MAX + 1, sizeof(*drive->starts));
    if (!drive->starts)
        die_errno("plan");
    if (pg_plan(drive->reader, &options, take_range, drive, &err) < 0)
        die(&err);
    uint8_t final[ENGINE_KEY_MAX];
    size_t len;
    const struct key *last = &drive->starts[drive->range_count];
    if (pg_final_key(drive->reader, final, &len) < 0 || last->len != len ||
        memcmp(final, last->bytes, len) != 0) {
        printf("error: the plan does not reach the final key\n");
        exit(1);
    }
}

static struct engine_session *begin(struct drive *drive, struct buf *blob)
{
    struct tm_err err = {0};
    struct engine_session *session;
    struct engine_position from;
    struct pg_begin decoded;
    if (pg_session_open(&drive->instance, "engine drive", &session, &err) < 0 ||
        pg_snapshot_begin(session, NULL, true, blob, &from, &err) < 0)
        die(&err);
    drive->begin = buf_slice(blob);
    if (pg_log_position(&from, &drive->log_from) < 0 ||
        pg_begin_decode(drive->begin, &decoded, &err) < 0)
        die(&err);
    drive->timeline = decoded.timeline;
    drive->wal_segment_bytes = decoded.wal_segment_bytes;
    for (size_t n = 0; n < decoded.config_file_count; n++)
        printf("config: %s %s\n", decoded.config_files[n].role, decoded.config_files[n].path);
    pg_begin_release(&decoded);
    if (pg_reader_open(&drive->instance, drive->begin, &drive->reader, &err) < 0)
        die(&err);
    return session;
}

static void finish(struct drive *drive, struct engine_session *session, pthread_t log_thread)
{
    TM_CLEANUP(buf_release) struct buf end = BUF_INIT;
    struct tm_err err = {0};
    struct engine_position consistent;
    struct engine_range_stats stats;
    int64_t commit_us = 0;
    uint64_t until;
    if (pg_session_ping(session, &err) < 0 || pg_hold_advance(session, drive->log_from, &err) < 0 ||
        pg_snapshot_end(session, &end, &consistent, &commit_us, &err) < 0)
        die(&err);
    if (pg_log_position(&consistent, &until) < 0)
        die(&err);
    pthread_mutex_lock(&drive->lock);
    drive->log_until = until;
    pthread_mutex_unlock(&drive->lock);
    pthread_join(log_thread, NULL);
    if (pg_hold_advance(session, until, &err) < 0 || pg_session_ping(session, &err) < 0)
        die(&err);
    struct sink *sink = sink_new(drive);
    if (pg_read_final(drive->reader, buf_slice(&end), &sink->base, &stats, &err) < 0)
        die(&err);
    add_stats(drive, &stats);
    free(sink);
    /* the sink linked tablespaces to places of its own; the server must not link them again */
    (void)unlinkat(drive->target_fd, "tablespace_map", 0);
    char text[CLOCK_TEXT_MAX];
    printf("consistent at %s, %s\n", consistent.text, clock_format(commit_us, text));
}

/* Says that the plan is made, and waits for whoever is to go first. */
static void pass_gate(const char *gate)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s.planned", gate);
    TM_CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        die_errno(path);
    snprintf(path, sizeof(path), "%s.go", gate);
    while (access(path, F_OK) < 0)
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static void backup(struct drive *drive, char **argv, int argc)
{
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    pthread_t threads[THREADS], log_thread;
    drive->target = argv[0];
    if (mkdir(drive->target, 0700) < 0 ||
        (drive->target_fd = open(drive->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        die_errno(drive->target);
    struct engine_session *session = begin(drive, &blob);
    plan(drive, argv[1], argv[2]);
    (void)mkdirat(drive->target_fd, "pg_wal", 0700);
    if (pthread_create(&log_thread, NULL, read_log, drive) != 0)
        die_errno("thread");
    /* what changes now was planned otherwise; and the stream can be looked at meanwhile */
    if (argc > 3)
        pass_gate(argv[3]);
    /* the first range makes the directories that the others write into */
    size_t all = drive->range_count;
    for (drive->range_count = 0; drive->range_count < all; drive->range_count++)
        if (drive->starts[drive->range_count].len > 0 &&
            drive->starts[drive->range_count].bytes[0] >= 0x20)
            break;
    read_ranges(drive);
    drive->next_range = drive->range_count;
    drive->range_count = all;
    for (size_t n = 0; n < THREADS; n++)
        if (pthread_create(&threads[n], NULL, read_ranges, drive) != 0)
            die_errno("thread");
    for (size_t n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    finish(drive, session, log_thread);
    pg_reader_close(drive->reader);
    pg_session_close(session);
    printf("ranges %zu files %" PRIu64 " bytes %" PRIu64 " planned %" PRIu64 " directories %" PRIu64
           " links %" PRIu64 " checked %" PRIu64 " unverified %" PRIu64 " corrupt %" PRIu64 "\n",
           drive->range_count, drive->stats.files, drive->stats.bytes, drive->planned_bytes,
           drive->directories, drive->links, drive->stats.pages_checked,
           drive->stats.pages_unverified, drive->stats.pages_corrupt);
}

static void plan_only(struct drive *drive, char **argv)
{
    TM_CLEANUP(buf_release) struct buf blob = BUF_INIT;
    struct engine_session *session = begin(drive, &blob);
    struct rusage before, after;
    (void)getrusage(RUSAGE_SELF, &before);
    plan(drive, argv[0], argv[1]);
    (void)getrusage(RUSAGE_SELF, &after);
    pg_reader_close(drive->reader);
    pg_session_close(session);
    printf("ranges %zu bytes %" PRIu64 " memory %ld\n", drive->range_count, drive->planned_bytes,
           after.ru_maxrss - before.ru_maxrss);
}

static void control(const char *data_dir)
{
    struct tm_err err = {0};
    struct control_file c;
    TM_CLEANUP(closep) int fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char checkpoint[PG_LSN_TEXT_MAX], redo[PG_LSN_TEXT_MAX];
    if (control_file_read(fd, &c, NULL, &err) < 0)
        die(&err);
    printf("%" PRIu64 "|%u|%u|%u|%s|%s|%u|%s|%d|%d|%d|%d|%d|%d|%s|%u|%u|%u|%u|%u\n", c.system_id,
           c.control_version, c.catalog_version, c.major, pg_lsn_format(c.checkpoint, checkpoint),
           pg_lsn_format(c.redo, redo), c.timeline, c.full_page_writes ? "t" : "f",
           c.settings.wal_level, c.settings.max_connections, c.settings.max_worker_processes,
           c.settings.max_wal_senders, c.settings.max_prepared_transactions,
           c.settings.max_locks_per_transaction, c.settings.track_commit_timestamp ? "on" : "off",
           c.block_bytes, c.relation_segment_blocks, c.wal_block_bytes, c.wal_segment_bytes,
           c.checksum_version);
    printf("%s\n", control_file_state_text(c.state));
}

static void describe(const struct engine_instance *instance)
{
    struct tm_err err = {0};
    struct engine_description d;
    if (pg_describe(instance, &d, &err) < 0)
        die(&err);
    printf("%s %s %s %s %s\n", d.role == ENGINE_ROLE_PRIMARY ? "primary" : "standby", d.version,
           d.identity, d.lineage_label, d.data_bytes_estimate > 0 ? "sized" : "unsized");
}

int main(int argc, char **argv)
{
    struct tm_err err = {0};
    if (argc < 4)
        return 0;
    static struct drive drive = {.target_fd = -1};
    drive.instance = (struct engine_instance){"main", argv[2], argv[3]};
    pthread_mutex_init(&drive.lock, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(argv[1], "control") == 0) {
        control(argv[2]);
    } else if (strcmp(argv[1], "check") == 0) {
        if (pg_check(&drive.instance, &err) < 0)
            die(&err);
        printf("ok\n");
    } else if (strcmp(argv[1], "describe") == 0) {
        describe(&drive.instance);
    } else if (strcmp(argv[1], "backup") == 0 && argc >= 7) {
        backup(&drive, argv + 4, argc - 4);
    } else if (strcmp(argv[1], "plan") == 0 && argc >= 6) {
        plan_only(&drive, argv + 4);
    } else {
        printf("error: unknown command '%s'\n", argv[1]);
        return 2;
    }
    free(drive.starts);
    closep(&drive.target_fd);
    return 0;
}
