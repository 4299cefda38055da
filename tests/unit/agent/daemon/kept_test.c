/* What the daemon keeps in state_dir for its next life: log jobs, the newest writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/daemon/internal.h"
#include "common/fs.h"
#include "common/hash.h"

#define HEADER_LEN (sizeof("tidemark kept 1\n") - 1 + XXH3_128_LEN)

static struct msg_secret name_only = {.name = "s3-secret"};
static struct msg_log_place places[] = {{.storage = "s3://fulls", .secret = &name_only},
                                        {.storage = "file:///more"}};
static struct msg_log_params params = {.compression = "zstd:3",
                                       .flush_ms = 5000,
                                       .truncate_gen = 2,
                                       .truncate_until = "0/3000148",
                                       .places = places,
                                       .places_count = 2};

static struct msg_assignment wanted(const char *name)
{
    struct msg_assignment a = {.uid = "00bb",
                               .attempt = 3,
                               .kind = JOB_KIND_LOG,
                               .roles = JOB_ROLE_LEAD,
                               .step = JOB_STEP_PAUSE,
                               .boot = "boot",
                               .cluster = "demo1",
                               .tenant = "main",
                               .identity = "7000",
                               .name = name,
                               .storage = "s3://bucket/prefix?region=eu",
                               .log = &params};
    return a;
}

static void encode_two(struct buf *ret)
{
    struct tm_err err;
    struct msg_assignment jobs[] = {wanted("one"), wanted("two")};
    const struct kept_jobs record = {.jobs = jobs, .jobs_count = 2};
    assert_int_equal(agent_kept_encode(&kept_jobs_codec, &record, ret, &err), 0);
}

static int decode(struct slice in, struct agent_kept *ret, struct tm_err *err)
{
    return agent_kept_decode(&kept_jobs_codec, in, &ret->arena, &ret->jobs, err);
}

static void comes_back_as_it_was(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    TM_CLEANUP(agent_kept_release) struct agent_kept back = {0};
    encode_two(&bytes);
    assert_int_equal(decode(buf_slice(&bytes), &back, &err), 0);
    buf_release(&bytes);
    assert_int_equal(back.jobs.jobs_count, 2);
    struct msg_assignment two = wanted("two");
    assert_true(codec_equal(&msg_assignment_codec, &back.jobs.jobs[1], &two));
    assert_string_equal(back.jobs.jobs[1].log->truncate_until, "0/3000148");
    assert_int_equal(back.jobs.jobs[1].log->places_count, 2);
    assert_string_equal(back.jobs.jobs[1].log->places[0].secret->name, "s3-secret");
    assert_string_equal(back.jobs.jobs[1].log->places[1].storage, "file:///more");
    assert_null(back.jobs.jobs[1].log->places[1].secret);
}

static void expect_refused(struct slice bytes, const char *message)
{
    struct tm_err err;
    TM_CLEANUP(agent_kept_release) struct agent_kept back = {0};
    assert_true(decode(bytes, &back, &err) < 0);
    if (message != NULL)
        assert_string_equal(err.msg, message);
    assert_int_equal(back.jobs.jobs_count, 0);
}

static void every_damage_is_seen(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    encode_two(&bytes);
    for (size_t at = 0; at < bytes.len; at++) {
        bytes.data[at] ^= 0x10;
        expect_refused(buf_slice(&bytes), at < HEADER_LEN - XXH3_128_LEN
                                              ? "it is no file of this version"
                                              : "its checksum is not that of its contents");
        bytes.data[at] ^= 0x10;
        expect_refused(slice_of(bytes.data, at), NULL);
    }
    expect_refused(SLICE_EMPTY, "it is no file of this version");
}

/* ---- files ---- */

struct place {
    char dir[64];
    char file[128];
    struct agent agent;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tm-log-jobs-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->agent.config.state_dir = p->dir;
    log_init(&p->agent.lg, "test", LOG_EMERG); /* what it says is not looked at */
    *state = p;
    return 0;
}

static void name_file(struct place *p, const char *name)
{
    (void)snprintf(p->file, sizeof(p->file), "%s/%s", p->dir, name);
}

static int teardown(void **state)
{
    struct place *p = *state;
    agent_kept_release(&p->agent.kept);
    name_file(p, "log-jobs");
    (void)unlink(p->file);
    name_file(p, "log-writers");
    (void)unlink(p->file);
    int r = rmdir(p->dir);
    free(p);
    return r;
}

static void put(struct place *p, const char *name, struct slice bytes)
{
    struct tm_err err;
    name_file(p, name);
    assert_int_equal(fs_write_atomic(p->file, bytes, 0600, &err), 0);
}

/* Bodies that were not written by us, under a checksum that says they were. */
static void forge(struct buf *bytes)
{
    struct xxh3_128 sum = xxh3_128_of(bytes->data + HEADER_LEN, bytes->len - HEADER_LEN);
    memcpy(bytes->data + HEADER_LEN - XXH3_128_LEN, sum.bytes, XXH3_128_LEN);
}

static void forged_files_do_no_harm(void **state)
{
    struct place *p = *state;
    uint64_t random = 1;
    unsigned refused = 0;
    for (int round = 0; round < 2000; round++) {
        struct tm_err err;
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        TM_CLEANUP(agent_kept_release) struct agent_kept back = {0};
        encode_two(&bytes);
        for (int hits = 0; hits <= round % 4; hits++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            size_t at = HEADER_LEN + (size_t)(random >> 33) % (bytes.len - HEADER_LEN);
            bytes.data[at] = (uint8_t)(random >> 20);
        }
        forge(&bytes);
        bool good = decode(buf_slice(&bytes), &back, &err) == 0;
        refused += !good;
        put(p, "log-jobs", buf_slice(&bytes));
        agent_kept_release(&p->agent.kept);
        agent_kept_load_jobs(&p->agent);
        const struct kept_jobs *jobs = &p->agent.kept.jobs;
        assert_true(good || jobs->jobs_count == 0);
        for (size_t at = 0; at < jobs->jobs_count; at++) {
            assert_int_equal(jobs->jobs[at].kind, JOB_KIND_LOG);
            assert_non_null(jobs->jobs[at].log);
        }
    }
    assert_in_range(refused, 100, 1999);
}

static void jobs_are_stored(void **state)
{
    struct place *p = *state;
    struct stat st;
    const struct msg_assignment job = wanted("one");
    agent_kept_load_jobs(&p->agent); /* no file, no jobs */
    assert_int_equal(p->agent.kept.jobs.jobs_count, 0);
    agent_kept_store_jobs(&p->agent, &job, 1, 6);
    name_file(p, "log-jobs");
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    agent_kept_load_jobs(&p->agent);
    assert_int_equal(p->agent.kept.jobs.jobs_count, 1);
    assert_string_equal(p->agent.kept.jobs.jobs[0].storage, "s3://bucket/prefix?region=eu");
    assert_int_equal(p->agent.kept.jobs.term, 6);
    agent_kept_release(&p->agent.kept);
    agent_kept_store_jobs(&p->agent, NULL, 0, 7);
    agent_kept_load_jobs(&p->agent);
    assert_int_equal(p->agent.kept.jobs.jobs_count, 0);
}

static void a_damaged_file_is_ignored(void **state)
{
    struct place *p = *state;
    static uint8_t huge[300 * 1024];
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    encode_two(&bytes);
    put(p, "log-jobs", slice_of(bytes.data, bytes.len - 1));
    agent_kept_load_jobs(&p->agent);
    assert_int_equal(p->agent.kept.jobs.jobs_count, 0);
    put(p, "log-jobs", slice_of(huge, sizeof(huge)));
    agent_kept_load_jobs(&p->agent);
    assert_int_equal(p->agent.kept.jobs.jobs_count, 0);
    struct msg_assignment job = wanted("one");
    agent_kept_store_jobs(&p->agent, &job, 1, 6); /* and replaced */
    agent_kept_load_jobs(&p->agent);
    assert_int_equal(p->agent.kept.jobs.jobs_count, 1);
    agent_kept_release(&p->agent.kept);
    job.log = NULL; /* whole, and not what it should be */
    agent_kept_store_jobs(&p->agent, &job, 1, 6);
    agent_kept_load_jobs(&p->agent);
    assert_int_equal(p->agent.kept.jobs.jobs_count, 0);
}

static void writers_are_stored(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    const struct agent_writer writers[] = {{.uid = "00aa", .term = 12, .attempt = 1, .runners = 34},
                                           {.uid = "00bb", .term = 13, .attempt = 2, .runners = 5}};
    assert_int_equal(agent_kept_load_writers(&p->agent, &err), 0);
    assert_int_equal(p->agent.kept.writers.writers_count, 0);
    assert_int_equal(agent_kept_store_writers(&p->agent, writers, 2, &err), 0);
    assert_int_equal(agent_kept_load_writers(&p->agent, &err), 0);
    assert_int_equal(p->agent.kept.writers.writers_count, 2);
    assert_true(codec_equal(&agent_writer_codec, &p->agent.kept.writers.writers[1], &writers[1]));
}

static void expect_writers_error(struct place *p, struct slice bytes, const char *what)
{
    char expected[400];
    struct tm_err err;
    put(p, "log-writers", bytes);
    (void)snprintf(expected, sizeof(expected),
                   "'%s' cannot be used; remove it after a restart of the coordinator, which gives "
                   "a new term: %s",
                   p->file, what);
    assert_int_equal(agent_kept_load_writers(&p->agent, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, expected);
    assert_int_equal(p->agent.kept.writers.writers_count, 0);
}

static void damaged_writers_are_refused(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct agent_writer writer = {.uid = "00aa", .term = 12, .attempt = 1, .runners = 34};
    const struct kept_writers record = {.writers = &writer, .writers_count = 1};
    assert_int_equal(agent_kept_encode(&kept_writers_codec, &record, &bytes, &err), 0);
    expect_writers_error(p, SLICE_EMPTY, "it is no file of this version");
    expect_writers_error(p, slice_str("12 34\n"), "it is no file of this version");
    expect_writers_error(p, slice_of(bytes.data, bytes.len - 1),
                         "its checksum is not that of its contents");
    bytes.data[bytes.len - 1] ^= 1;
    expect_writers_error(p, buf_slice(&bytes), "its checksum is not that of its contents");
}

#define PLACED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was), cmocka_unit_test(every_damage_is_seen),
        PLACED(forged_files_do_no_harm),        PLACED(jobs_are_stored),
        PLACED(a_damaged_file_is_ignored),      PLACED(writers_are_stored),
        PLACED(damaged_writers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
