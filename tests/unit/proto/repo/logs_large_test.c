/*
 * Months of log: 500,000 chunks, nearly all of them rolled up, are listed and planned over below 5 s
 * and 64 MiB. Roll-ups are written as the log task writes them, from made-up entries; their chunks
 * are links to one file, because only their names and sizes are looked at.
 *
 * TIDEMARK_LARGE_DIR: where the repository is made, and stays (tests/bench/log_many.sh lists it).
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/fs.h"
#include "proto/repo/catalog.h"
#include "proto/repo/logs_internal.h"
#include "proto/repo/target.h"
#include "tests/unit/proto/repo/log_fixture.h"

#define CHUNKS       500000u
#define REAL         100u /* newest ones, not rolled up */
#define CHUNK        SEG
#define STORED       700u
#define LINKS        30000u /* to one file: less than every file system allows */
#define PEAK_BYTES   (64L << 20)
#define LIMIT_US     (5 * SECOND)
#define ID_OLD       "20261121T100000Z-0000000a"
#define ID_NEW       "20261121T110000Z-0000000b"
#define COMMIT_US(n) ((int64_t)(n)*100000 + 1)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

struct large {
    struct fixture f;
    char dir[256];
    struct test_branch b;
};

static struct log_entry entry_of(uint32_t n)
{
    return (struct log_entry){.from = (uint64_t)n * CHUNK,
                              .to = (uint64_t)(n + 1) * CHUNK,
                              .term = 1,
                              .counter = 1,
                              .stored_bytes = STORED,
                              .raw_bytes = CHUNK,
                              .last_record = (uint64_t)(n + 1) * CHUNK - RECORD,
                              .events = 1,
                              .min_us = COMMIT_US(n),
                              .max_us = COMMIT_US(n),
                              .mark_at = (uint64_t)(n + 1) * CHUNK,
                              .mark_us = COMMIT_US(n) + 1};
}

static const struct log_point *commit_of(uint32_t n)
{
    static struct log_point commit;
    commit = (struct log_point){.kind = EVENT_COMMIT,
                                .at = (uint64_t)n * CHUNK + RECORD,
                                .previous = (uint64_t)n * CHUNK,
                                .end = (uint64_t)n * CHUNK + 2 * RECORD,
                                .time_us = COMMIT_US(n),
                                .xid = n + 1};
    return &commit;
}

/* Chunk n as a name for a file of the right size. */
static void link_chunk(struct large *l, uint32_t n, char base[500])
{
    static const uint8_t zeros[STORED];
    struct full_name name = names_full(
        &l->f.scope, names_rel_chunk(l->b.record.id, (uint64_t)n * CHUNK, (struct epoch){1, 1}).s);
    char path[800];
    (void)snprintf(path, sizeof(path), "%s/%s", l->dir, name.s);
    if (n % LINKS == 1) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
        assert_int_equal(close(fd), 0);
        (void)snprintf(base, 500, "%.499s", path);
        return;
    }
    assert_int_equal(link(base, path), 0);
}

static void put_rolled(struct large *l)
{
    char base[500] = "";
    struct log_entry *entries = calloc(LOGS_INDEX_CHUNKS, sizeof(*entries));
    size_t count = 0;
    struct log_ref first = put_chunk(&l->f, &l->b, 0, CHUNK, 1, NULL);
    for (uint32_t n = 0; n < CHUNKS - REAL; n++) {
        entries[count] = entry_of(n);
        if (n == 0) {
            entries[0].stored_bytes = first.stored_bytes;
            memcpy(entries[0].digest, first.digest, sizeof(first.digest));
            entries[0].max_us = entries[0].min_us = 0;
            entries[0].events = 0;
        } else {
            link_chunk(l, n, base);
        }
        count++;
        if (count < LOGS_INDEX_CHUNKS && n + 1 < CHUNKS - REAL)
            continue;
        assert_int_equal(log_index_store(l->f.scratch[0], l->f.st, &l->f.scope, l->b.record.id,
                                         (struct epoch){1, 1}, nonce, entries, count, &l->f.err),
                         0);
        count = 0;
    }
    free(entries);
}

/* What makes it a repository of an engine. */
static void put_place(struct fixture *f)
{
    struct identity mine = {
        .cluster = "demo1", .tenant = "main", .engine = "null", .incarnation = "42"};
    struct repository repository;
    assert_int_equal(repository_open(f->scratch[0], f->st, nonce, 1, &repository, &f->err), 0);
    assert_int_equal(identity_ensure(f->scratch[0], f->st, &mine, nonce, &f->err), 0);
}

static int large_setup(void **state)
{
    struct large *l = calloc(1, sizeof(*l));
    struct fixture *f = &l->f;
    char url[300];
    /* half a million names are made there in a second */
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    const char *stays = getenv("TIDEMARK_LARGE_DIR");
    (void)snprintf(l->dir, sizeof(l->dir), stays ? "%.*s" : "%.*s/logs-XXXXXX", 200,
                   stays ? stays : tmp);
    assert_true(stays != NULL || mkdtemp(l->dir) != NULL);
    position_mark = "";
    (void)snprintf(url, sizeof(url), "file://%s", l->dir);
    assert_int_equal(storage_open(url, &(struct storage_options){0}, &f->st, &f->err), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(object_scratch_new(&f->scratch[i], &f->err), 0);
    assert_int_equal(names_scope_set(&f->scope, "demo1", "main", "42", &f->err), 0);
    put_place(f);
    l->b = (struct test_branch){.record = {.id = "a", .label = "1"}};
    put_lineage(f, &l->b);
    put_writer(f, &l->b, 1, 0);
    struct log_ref ref = {.stored_bytes = STORED, .to = CHUNK, .task = true, .label = "1"};
    for (uint32_t n = CHUNKS - REAL; n < CHUNKS; n++)
        ref = put_chunk(f, &l->b, (uint64_t)n * CHUNK, (uint64_t)(n + 1) * CHUNK, 1,
                        &(struct extra){commit_of(n), 1, COMMIT_US(n) + 1});
    put_rolled(l);
    put_backup(f, f->st, ID_NEW, &l->b, ref.from + 64, COMMIT_US(CHUNKS - 1), &ref, 1);
    struct log_entry first = entry_of(0);
    log_entry_ref(&l->b.record, &first, &ref);
    put_backup(f, f->st, ID_OLD, &l->b, 64, 1, &ref, 1);
    *state = l;
    return 0;
}

static int large_teardown(void **state)
{
    struct large *l = *state;
    char command[300];
    branch_done(&l->b);
    for (int i = 0; i < 3; i++)
        object_scratch_free(l->f.scratch[i]);
    storage_free(l->f.st);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", l->dir);
    assert_int_equal(getenv("TIDEMARK_LARGE_DIR") != NULL || system(command) == 0, 1);
    free(l);
    return 0;
}

static int
last_record(void *arg, struct slice facts, const char *label, uint64_t from,
            int (*read)(void *read_arg, uint64_t at, struct slice *ret, struct tm_err *err),
            void *read_arg, uint64_t limit, bool before, uint64_t *ret_record, struct tm_err *err)
{
    (void)arg, (void)facts, (void)label, (void)from, (void)read, (void)read_arg, (void)limit;
    (void)before, (void)ret_record;
    return tm_err_set(err, TM_E_INTERNAL, "roll-ups tell of the record");
}

/* ---- what is measured, each in a process of its own ---- */

static int list_all(struct large *l)
{
    struct recoverable_list list;
    struct fixture *f = &l->f;
    if (log_recoverable(f->scratch, f->st, f->st, &f->scope, &test_positions, &list, &f->err) < 0)
        return 1;
    bool good = list.count == 1 && strcmp(list.items[0].backup_id, ID_OLD) == 0 &&
                strcmp(list.items[0].from_position, "64") == 0 &&
                strcmp(list.items[0].to_position, "512000000") == 0 &&
                list.items[0].to_us == COMMIT_US(CHUNKS - 1) + 1;
    return good ? 0 : 2;
}

static int head_all(struct large *l)
{
    struct fixture *f = &l->f;
    struct log_lineages list;
    struct log_head h;
    if (log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err) < 0 ||
        log_head_read(f->scratch, f->st, &f->scope, &list.items[0], &h, &f->err) < 0)
        return 1;
    return h.to == (uint64_t)CHUNKS * CHUNK && h.from == 0 && h.chunks == REAL && h.boundary == h.to
               ? 0
               : 2;
}

static int plan(struct large *l, const char *backup, const struct target *target, size_t pieces,
                uint64_t record)
{
    struct fixture *f = &l->f;
    const struct target_engine engine = {.positions = test_positions, .last_record = last_record};
    struct target_plan p;
    if (target_plan_make(f->scratch, f->st, f->st, &f->scope, backup, target, &engine, &p,
                         &f->err) < 0)
        return 1;
    if (p.piece_count == pieces && p.stop_record == record)
        return 0;
    (void)fprintf(stderr, "%zu pieces to %llu\n", p.piece_count, (unsigned long long)p.stop_record);
    return 2;
}

/* To a moment in the last seconds, from the first backup: nearly every chunk there is. */
static int plan_late(struct large *l)
{
    struct target target = {.kind = TARGET_TIME, .time_us = COMMIT_US(CHUNKS - 10)};
    return plan(l, NULL, &target, CHUNKS - 8, (uint64_t)(CHUNKS - 9) * CHUNK);
}

static void measure(struct large *l, const char *what, int (*fn)(struct large *l))
{
    int64_t start_us = clock_mono_us();
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int r = fn(l);
        if (r != 0)
            (void)fprintf(stderr, "%s: %d: %s\n", what, r, r == 1 ? l->f.err.msg : "wrong answer");
        _exit(r);
    }
    int status = -1;
    struct rusage usage;
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    /* of the processor: other tests run beside this one */
    int64_t took_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND +
                      usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    print_message("%s: %lld ms of processor in %lld ms, %ld KiB\n", what,
                  (long long)(took_us / 1000), (long long)((clock_mono_us() - start_us) / 1000),
                  usage.ru_maxrss);
    assert_int_equal(status, 0);
    if (SANITIZED)
        return;
    assert_in_range(usage.ru_maxrss * 1024, 1, PEAK_BYTES);
    assert_in_range(took_us, 0, LIMIT_US);
}

static void test_large(void **state)
{
    struct large *l = *state;
    measure(l, "list", list_all);
    measure(l, "head", head_all);
    measure(l, "plan", plan_late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_large, large_setup, large_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
