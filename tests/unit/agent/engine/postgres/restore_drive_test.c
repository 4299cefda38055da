/*
 * Plays the caller of the restore side: pushes a copied data directory, file by file and in parts,
 * through the restore functions. Run by tests/integration/postgres_engine_restore_test.sh; without arguments it
 * has nothing to do and succeeds.
 *
 *   restore_drive_test --source DIR --label FILE --stop LSN --target DIR [--map OLD=NEW]…
 *                      [--config FILE:ROLE]… [--option NAME=VALUE]… [--root DIR]… [--live DIR]…
 *                      [--port N] [--delta] [--start] [--history FILE] [--part BYTES]
 *
 * Prints "restored" or the error.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/label.h"
#include "agent/engine/postgres/restore.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/fs.h"
#include "common/hash.h"

#define LIST_MAX  64
#define FILES_MAX 200000
#define THREADS   3

struct item {
    struct file_entry entry;
    char source[PATH_MAX];
    uint64_t size;
    uint32_t crc;
};

struct drive {
    const char *source;
    const char *label;
    const char *history;
    const char *target;
    uint64_t stop;
    uint64_t part;
    bool start;
    const char *map[LIST_MAX * 2 + 1];
    const char *options[LIST_MAX * 2 + 1];
    const char *roots[LIST_MAX + 1];
    const char *live[LIST_MAX + 1];
    struct pg_config_file configs[LIST_MAX];
    size_t config_count;
    size_t map_count, option_count, root_count, live_count;
    bool delta;
    uint16_t port;

    struct pg_begin begin;
    struct pg_end end;
    struct pg_tablespace tablespaces[LIST_MAX];
    struct item **items;
    size_t count;
    struct engine_restore *restore;
    atomic_size_t next;
    pthread_mutex_t lock;
    struct tm_err err;
};

static int add(struct drive *d, enum file_kind kind, const char *path, const char *source,
               const struct stat *st, const char *link)
{
    struct item *i = calloc(1, sizeof(*i));
    if (i == NULL || d->count >= FILES_MAX)
        return -1;
    i->entry.kind = kind;
    (void)snprintf(i->entry.path, sizeof(i->entry.path), "%s", path);
    (void)snprintf(i->entry.link, sizeof(i->entry.link), "%s", link);
    (void)snprintf(i->source, sizeof(i->source), "%s", source);
    i->entry.mode = st->st_mode & 07777;
    i->entry.modified_us = (int64_t)st->st_mtime * 1000000;
    i->size = (uint64_t)st->st_size;
    d->items[d->count++] = i;
    return 0;
}

static bool left_out(const char *path)
{
    static const char *const names[] = {"postmaster.pid", "postmaster.opts", "backup_manifest"};
    for (size_t k = 0; k < TM_ARRAY_LEN(names); k++) {
        if (strcmp(names[k], path) == 0)
            return true;
    }
    return false;
}

/* Like the backup side: contents of some directories are not taken. */
static bool emptied(const char *path)
{
    static const char *const names[] = {"pg_wal",    "pg_replslot",  "pg_dynshmem", "pg_notify",
                                        "pg_serial", "pg_snapshots", "pg_subtrans", "pg_stat_tmp"};
    for (size_t k = 0; k < TM_ARRAY_LEN(names); k++) {
        if (strcmp(names[k], path) == 0)
            return true;
    }
    return false;
}

static int walk(struct drive *d, const char *dir, const char *prefix)
{
    DIR *h = opendir(dir);
    struct dirent *e;
    if (h == NULL)
        return -1;
    while ((e = readdir(h)) != NULL) {
        char path[PATH_MAX];
        char source[PATH_MAX];
        char link[PATH_MAX] = "";
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] ? "/" : "", e->d_name);
        (void)snprintf(source, sizeof(source), "%s/%s", dir, e->d_name);
        if (lstat(source, &st) < 0 || left_out(path))
            continue;
        if (S_ISLNK(st.st_mode) && strncmp(path, "pg_tblspc/", 10) == 0) {
            if (readlink(source, link, sizeof(link) - 1) < 0)
                return -1;
            if (add(d, FILE_LINK, path, source, &st, link) < 0 || walk(d, source, path) < 0)
                return -1;
        } else if (S_ISDIR(st.st_mode)) {
            if (add(d, FILE_DIRECTORY, path, source, &st, "") < 0 ||
                (!emptied(path) && walk(d, source, path) < 0))
                return -1;
        } else if (S_ISREG(st.st_mode)) {
            if (add(d, FILE_REGULAR, path, source, &st, "") < 0)
                return -1;
        }
    }
    (void)closedir(h);
    return 0;
}

static int restore_one(struct drive *d, struct item *i, struct tm_err *err)
{
    static _Thread_local uint8_t data[1 << 20];
    struct file_entry e = i->entry;
    TM_CLEANUP(closep) int in = -1;
    uint64_t at = 0;
    if (e.kind != FILE_REGULAR) {
        int none = 0;
        int rc = pg_restore_file(d->restore, &e, &none, err);
        return rc < 0       ? rc
               : none == -1 ? 0
                            : tm_err_set(err, TM_E_INTERNAL, "an fd for a directory");
    }
    in = open(i->source, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", i->source);
    do {
        TM_CLEANUP(closep) int out = -1;
        size_t n = (size_t)TM_MIN(TM_MIN((uint64_t)sizeof(data), d->part), i->size - at);
        e.offset_bytes = at;
        e.length_bytes = n;
        e.last_part = at + n == i->size;
        int rc = fd_pread_full(in, data, n, at, i->source, err);
        if (rc >= 0)
            rc = pg_restore_file(d->restore, &e, &out, err);
        if (rc >= 0)
            rc = fd_pwrite_full(out, data, n, at, e.path, err);
        if (rc < 0)
            return rc;
        i->crc = crc32c(i->crc, data, n);
        at += n;
    } while (at < i->size);
    return 0;
}

static void *worker(void *arg)
{
    struct drive *d = arg;
    for (;;) {
        size_t k = atomic_fetch_add(&d->next, 1);
        struct tm_err err = {0};
        if (k >= d->count)
            return NULL;
        /* backwards: files come before their directories */
        if (restore_one(d, d->items[d->count - 1 - k], &err) < 0) {
            (void)pthread_mutex_lock(&d->lock);
            d->err = err;
            (void)pthread_mutex_unlock(&d->lock);
        }
    }
}

static int push_files(struct drive *d, struct tm_err *err)
{
    pthread_t threads[THREADS];
    for (size_t k = 0; k < THREADS; k++) {
        if (pthread_create(&threads[k], NULL, worker, d) != 0)
            return tm_err_oom(err);
    }
    for (size_t k = 0; k < THREADS; k++)
        (void)pthread_join(threads[k], NULL);
    *err = d->err;
    return -(int)err->code;
}

/* Stored log is cut anywhere. */
static int push_log(struct drive *d, bool check, struct tm_err *err)
{
    uint32_t size = d->begin.wal_segment_bytes;
    char lineage[16];
    (void)snprintf(lineage, sizeof(lineage), "%" PRIu32, d->begin.timeline);
    for (uint64_t at = d->begin.replay_from; at < d->end.stop_lsn;) {
        static uint8_t data[300007];
        char name[PG_WAL_NAME_MAX];
        char path[PATH_MAX];
        uint64_t offset = at % size;
        (void)pg_wal_segment_name(d->begin.timeline, at, size, name);
        (void)snprintf(path, sizeof(path), "%s/pg_wal/%s", d->source, name);
        TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return tm_err_errno(err, errno, "cannot open '%s'", path);
        size_t n = (size_t)TM_MIN((uint64_t)sizeof(data), size - offset);
        n = (size_t)TM_MIN((uint64_t)n, d->end.stop_lsn - at);
        int rc = fd_pread_full(fd, data, n, offset, path, err);
        if (rc >= 0)
            rc = check ? pg_restore_check_log(d->restore, lineage, at, slice_of(data, n), err)
                       : pg_restore_log(d->restore, lineage, at, slice_of(data, n), err);
        if (rc < 0)
            return rc;
        at += n;
    }
    return 0;
}

static int push_manifest(struct drive *d, struct tm_err *err)
{
    int rc = 0;
    for (size_t k = 0; rc >= 0 && k < d->count; k++) {
        const struct item *i = d->items[k];
        if (i->entry.kind == FILE_REGULAR)
            rc = pg_restore_manifest_file(d->restore, i->entry.path, i->size, i->entry.modified_us,
                                          i->crc, err);
    }
    return rc;
}

static int describe(struct drive *d, struct tm_err *err)
{
    struct control_file control;
    struct label label;
    TM_CLEANUP(closep) int fd = open(d->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = control_file_read(fd, &control, NULL, err);
    if (rc >= 0)
        rc = fs_read_file(d->label, 65536, &d->end.backup_label, err);
    if (rc >= 0)
        rc = label_parse(buf_slice(&d->end.backup_label), &label, err);
    if (rc >= 0 && d->history != NULL)
        rc = fs_read_file(d->history, 65536, &d->begin.history, err);
    if (rc < 0)
        return rc;
    d->begin.system_id = control.system_id;
    d->begin.start_lsn = label.start_lsn;
    d->begin.replay_from = pg_wal_segment_start(label.start_lsn, control.wal_segment_bytes);
    d->begin.timeline = label.start_timeline;
    d->begin.version_num = control.major * 10000;
    d->begin.catalog_version = control.catalog_version;
    d->begin.control_version = control.control_version;
    d->begin.block_bytes = control.block_bytes;
    d->begin.relation_segment_blocks = control.relation_segment_blocks;
    d->begin.wal_segment_bytes = control.wal_segment_bytes;
    d->begin.checksum_version = control.checksum_version;
    d->begin.data_dir = strdup(d->source);
    d->begin.label = strdup("test");
    d->begin.config_files = d->configs;
    d->begin.config_file_count = d->config_count;
    d->end.stop_lsn = d->stop;
    d->end.timeline = label.start_timeline;
    d->end.commit_us = clock_real_us();
    return 0;
}

static int find_tablespaces(struct drive *d)
{
    d->begin.tablespaces = d->tablespaces;
    for (size_t k = 0; k < d->count; k++) {
        const struct file_entry *e = &d->items[k]->entry;
        if (e->kind != FILE_LINK)
            continue;
        d->tablespaces[d->begin.tablespace_count++] = (struct pg_tablespace){
            .oid = (uint32_t)strtoul(e->path + 10, NULL, 10),
            .path = strdup(e->link),
        };
    }
    return 0;
}

static int add_configs(struct drive *d)
{
    for (size_t k = 0; k < d->config_count; k++) {
        struct stat st;
        if (stat(d->configs[k].path, &st) < 0 ||
            add(d, FILE_REGULAR, d->configs[k].path, d->configs[k].path, &st, "") < 0)
            return -1;
    }
    return 0;
}

static int drive(struct drive *d, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf end = BUF_INIT;
    d->items = calloc(FILES_MAX, sizeof(struct item *));
    int rc = describe(d, err);
    if (rc < 0)
        return rc;
    if (walk(d, d->source, "") < 0 || find_tablespaces(d) < 0 || add_configs(d) < 0)
        return tm_err_set(err, TM_E_INTERNAL, "cannot list the source");
    rc = pg_begin_encode(&d->begin, &begin, err);
    if (rc >= 0)
        rc = pg_end_encode(&d->end, &end, err);
    const struct engine_restore_spec spec = {
        .data_dir = d->target,
        .tablespace_map = d->map,
        .restore_roots = d->root_count > 0 ? d->roots : NULL,
        .server_options = d->options,
        .live_data_dirs = d->live,
        .begin = buf_slice(&begin),
        .end = buf_slice(&end),
        .delta = d->delta,
        .target = "immediate",
        .port = d->port,
    };
    if (rc >= 0)
        rc = pg_restore_open(&spec, &d->restore, err);
    if (rc >= 0)
        rc = push_log(d, true, err);
    if (rc >= 0)
        rc = pg_restore_prepare(d->restore, err);
    if (rc >= 0)
        rc = push_files(d, err);
    if (rc >= 0)
        rc = push_log(d, false, err);
    if (rc >= 0)
        rc = push_manifest(d, err);
    if (rc >= 0)
        rc = pg_restore_finish(d->restore, err);
    if (rc >= 0 && d->start)
        rc = pg_restore_start(d->restore, 60000, err);
    pg_restore_close(d->restore);
    return rc;
}

static void pair(const char **list, size_t *count, char *text)
{
    char *eq = strchr(text, '=');
    if (eq == NULL || *count >= LIST_MAX)
        exit(2);
    *eq = '\0';
    list[*count * 2] = text;
    list[*count * 2 + 1] = eq + 1;
    (*count)++;
}

static int arguments(struct drive *d, int argc, char **argv)
{
    struct tm_err err;
    for (int k = 1; k < argc; k++) {
        const char *a = argv[k];
        if (strcmp(a, "--delta") == 0) {
            d->delta = true;
            continue;
        }
        if (strcmp(a, "--start") == 0) {
            d->start = true;
            continue;
        }
        if (++k >= argc)
            return -1;
        char *v = argv[k];
        if (strcmp(a, "--source") == 0)
            d->source = v;
        else if (strcmp(a, "--label") == 0)
            d->label = v;
        else if (strcmp(a, "--history") == 0)
            d->history = v;
        else if (strcmp(a, "--target") == 0)
            d->target = v;
        else if (strcmp(a, "--stop") == 0) {
            if (pg_lsn_parse(v, &d->stop, &err) < 0)
                return -1;
        } else if (strcmp(a, "--part") == 0)
            d->part = strtoull(v, NULL, 10);
        else if (strcmp(a, "--port") == 0)
            d->port = (uint16_t)strtoul(v, NULL, 10);
        else if (strcmp(a, "--map") == 0)
            pair(d->map, &d->map_count, v);
        else if (strcmp(a, "--option") == 0)
            pair(d->options, &d->option_count, v);
        else if (strcmp(a, "--root") == 0)
            d->roots[d->root_count++] = v;
        else if (strcmp(a, "--live") == 0)
            d->live[d->live_count++] = v;
        else if (strcmp(a, "--config") == 0) {
            char *colon = strchr(v, ':');
            if (colon == NULL)
                return -1;
            *colon = '\0';
            d->configs[d->config_count++] = (struct pg_config_file){.path = v, .role = colon + 1};
        } else
            return -1;
    }
    return d->source != NULL && d->label != NULL && d->target != NULL ? 0 : -1;
}

int main(int argc, char **argv)
{
    static struct drive d = {.part = 1 << 20, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct tm_err err = {0};
    if (argc == 1) {
        (void)puts("skipped: run by tests/integration/postgres_engine_restore_test.sh");
        return 0;
    }
    if (arguments(&d, argc, argv) < 0) {
        (void)fputs("usage: see the head of the source\n", stderr);
        return 2;
    }
    int rc = drive(&d, &err);
    if (rc < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    (void)puts("restored");
    return 0;
}
