/*
 * How fast log is packed: real WAL files through the log task's receiver and packers, to a path.
 *
 *     log_pack WAL_DIR DESTINATION_DIR [stream|files] [threads] [zstd level]
 *
 * WAL_DIR holds segments of 16 MiB of one timeline without a gap. Prints MB/s by the clock and CPU
 * seconds a GB of this process, and the size of what was stored. The engine is PostgreSQL's, its
 * source is replaced: `stream` hands the bytes on in pieces of 128 KiB as a wal sender does, `files`
 * lets the packers read whole chunks.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/log/log.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/parse.h"

#define SEGMENT  (16u << 20)
#define PIECE    (128u << 10)
#define FILES    4096
#define FATAL(e) (fprintf(stderr, "log_pack: %s\n", (e)->msg), exit(1))

static struct {
    char dir[512];
    uint32_t timeline;
    uint64_t system_id;
    uint64_t from, to;
    struct log_task *task;
    _Atomic uint64_t durable, stored;
} bench;

struct engine_log {
    uint64_t next;
    int fd;
    uint8_t piece[PIECE];
};

static int read_at(uint64_t at, uint8_t *dst, size_t len, int *fd, struct tm_err *err)
{
    char path[600];
    if (*fd < 0 || at % SEGMENT == 0) {
        closep(fd);
        (void)snprintf(path, sizeof(path), "%s/%08X%08X%08X", bench.dir, bench.timeline,
                       (unsigned)(at >> 32), (unsigned)(at % (UINT64_C(1) << 32) / SEGMENT));
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        if (*fd < 0)
            return tm_err_errno(err, errno, "cannot open '%s'", path);
    }
    if (pread(*fd, dst, len, (off_t)(at % SEGMENT)) != (ssize_t)len)
        return tm_err_errno(err, errno, "cannot read");
    return 0;
}

static int b_describe(const struct engine_instance *i, struct engine_log_source *ret,
                      struct tm_err *err)
{
    (void)i;
    struct pg_log_facts facts = {.system_id = bench.system_id,
                                 .version_num = 150000,
                                 .timeline = bench.timeline,
                                 .wal_segment_bytes = SEGMENT,
                                 .block_bytes = 8192};
    *ret = (struct engine_log_source){.role = ENGINE_ROLE_PRIMARY,
                                      .identity = "1",
                                      .segment_bytes = SEGMENT,
                                      .flushed = bench.to};
    (void)snprintf(ret->lineage_label, sizeof(ret->lineage_label), "%u", bench.timeline);
    return pg_log_facts_encode(&facts, &ret->facts, err);
}

static int b_log_open(const struct engine_instance *i, struct slice facts, uint64_t from,
                      struct engine_log **ret, struct tm_err *err)
{
    (void)i;
    (void)facts;
    struct engine_log *log = calloc(1, sizeof(*log));
    if (!log)
        return tm_err_oom(err);
    log->next = from;
    log->fd = -1;
    *ret = log;
    return 0;
}

static int b_log_next(struct engine_log *log, unsigned ms, struct engine_log_event *ret,
                      struct tm_err *err)
{
    *ret =
        (struct engine_log_event){.kind = ENGINE_LOG_IDLE, .from = log->next, .flushed = bench.to};
    if (log->next >= bench.to) {
        struct timespec pause = {0, (long)TM_MIN(ms, 5u) * 1000000};
        (void)nanosleep(&pause, NULL);
        return 0;
    }
    int r = read_at(log->next, log->piece, PIECE, &log->fd, err);
    if (r < 0)
        return r;
    ret->kind = ENGINE_LOG_DATA;
    ret->data = slice_of(log->piece, PIECE);
    log->next += PIECE;
    return 0;
}

static void b_log_close(struct engine_log *log)
{
    closep(&log->fd);
    free(log);
}

static int b_read_file(const struct engine_instance *i, struct slice facts, const char *label,
                       uint64_t from, uint8_t *dst, size_t len, struct tm_err *err)
{
    (void)i;
    (void)facts;
    (void)label;
    TM_CLEANUP(closep) int fd = -1;
    for (size_t done = 0; done < len; done += SEGMENT) {
        int r = read_at(from + done, dst + done, TM_MIN(len - done, (size_t)SEGMENT), &fd, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int b_hold_open(const struct engine_instance *i, const char *name, bool may_make,
                       struct engine_hold **ret, bool *made, struct tm_err *err)
{
    (void)i;
    (void)name;
    (void)may_make;
    (void)err;
    static int hold;
    *ret = (struct engine_hold *)(void *)&hold;
    *made = true;
    return 0;
}

static int b_hold_look(struct engine_hold *h, struct engine_hold_state *ret, struct tm_err *err)
{
    (void)h;
    (void)err;
    *ret = (struct engine_hold_state){.from = bench.from,
                                      .flushed = bench.to,
                                      .source_us = clock_real_us(),
                                      .role = ENGINE_ROLE_PRIMARY};
    return 0;
}

static int b_hold_touch(struct engine_hold *h, uint64_t durable, uint64_t *from, struct tm_err *err)
{
    (void)h;
    (void)err;
    *from = durable;
    return 0;
}

static int b_hold_drop(struct engine_hold *h, struct tm_err *err)
{
    (void)h;
    (void)err;
    return 0;
}

static void b_hold_close(struct engine_hold *h)
{
    (void)h;
}

static void on_status(void *arg, enum job_stage stage, const struct msg_log_status *s)
{
    (void)arg;
    (void)stage;
    if (s->error)
        (void)fprintf(stderr, "log_pack: %s\n", s->error->text);
    bench.stored = s->stored_bytes;
    bench.durable = s->durable;
    if (s->durable >= bench.to)
        log_task_cancel(bench.task);
}

/* The longest run of segments that the directory begins with. */
static void find_segments(void)
{
    uint64_t found[FILES];
    size_t count = 0;
    DIR *dir = opendir(bench.dir);
    struct dirent *e;
    while (dir && (e = readdir(dir)) && count < FILES) {
        unsigned tli, high, low;
        if (strlen(e->d_name) != 24 || sscanf(e->d_name, "%8X%8X%8X", &tli, &high, &low) != 3)
            continue;
        bench.timeline = tli;
        found[count++] = ((uint64_t)high << 32) + (uint64_t)low * SEGMENT;
    }
    if (dir)
        (void)closedir(dir);
    bench.from = UINT64_MAX;
    for (size_t i = 0; i < count; i++)
        bench.from = TM_MIN(bench.from, found[i]);
    bench.to = bench.from;
    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; n < count; n++)
            bench.to += found[n] == bench.to ? SEGMENT : 0;
    }
}

static double cpu_s(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    struct tm_err err;
    char url[600];
    if (argc < 3)
        return fprintf(stderr,
                       "log_pack WAL_DIR DESTINATION_DIR [stream|files] [threads] [level]\n"),
               2;
    (void)snprintf(bench.dir, sizeof(bench.dir), "%s", argv[1]);
    find_segments();
    int first = -1;
    uint8_t header[40]; /* of the first page: the system identifier, in this machine's order */
    if (read_at(bench.from, header, sizeof(header), &first, &err) < 0)
        FATAL(&err);
    memcpy(&bench.system_id, header + 24, 8);
    closep(&first);
    struct engine_ops ops = postgres_engine;
    bool stream = argc > 3 && strcmp(argv[3], "stream") == 0;
    ops.log_describe = b_describe;
    ops.log_open = b_log_open;
    ops.log_next = b_log_next;
    ops.log_close = b_log_close;
    ops.log_read_file = stream ? NULL : b_read_file;
    ops.hold_open = b_hold_open;
    ops.hold_look = b_hold_look;
    ops.hold_touch = b_hold_touch;
    ops.hold_drop = b_hold_drop;
    ops.hold_close = b_hold_close;
    (void)snprintf(url, sizeof(url), "file://%s", argv[2]);
    uint64_t threads = 0, level = 3;
    if ((argc > 4 && parse_u64(argv[4], &threads, &err) < 0) ||
        (argc > 5 && parse_u64(argv[5], &level, &err) < 0))
        FATAL(&err);
    struct log_task_options o = {.engine = &ops,
                                 .engine_name = "postgres",
                                 .instance = {.tenant = "main", .data_dir = "/", .conninfo = ""},
                                 .node = "bench",
                                 .name = "bench",
                                 .epoch = {1, 1},
                                 .zstd_level = (int)level,
                                 .threads = (unsigned)threads,
                                 .status = on_status};
    if (names_scope_set(&o.scope, "bench", "main", "1", &err) < 0 ||
        storage_open(url, &(struct storage_options){.create_root = true}, &o.storage, &err) < 0 ||
        log_task_new(&o, &bench.task, &err) < 0 ||
        log_task_want(bench.task, JOB_STEP_RUN, &(struct msg_log_params){.flush_ms = 5000}, &err) <
            0)
        FATAL(&err);
    int64_t start_us = clock_mono_us();
    if (log_task_run(bench.task, &err) != -TM_E_CANCELED)
        FATAL(&err);
    double s = (double)(clock_mono_us() - start_us) / 1e6;
    double gb = (double)(bench.to - bench.from) / 1e9;
    printf("log_pack: %.2f GB to %.2f GB in %.2f s: %.0f MB/s, %.2f CPU s/GB\n", gb,
           (double)bench.stored / 1e9, s, gb * 1000 / s, cpu_s() / gb);
    log_task_free(bench.task);
    storage_free(o.storage);
    return 0;
}
