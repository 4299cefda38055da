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

#define HEADER_LEN (sizeof("tm-log-jobs 1\n") - 1 + XXH3_128_LEN)

static struct msg_log_params params = {
    .compression = "zstd:3", .flush_ms = 5000, .truncate_gen = 2, .truncate_until = "0/3000148"};

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
    const struct msg_assignment jobs[] = {wanted("one"), wanted("two")};
    assert_int_equal(agent_log_jobs_encode(jobs, 2, ret, &err), 0);
}

static void comes_back_as_it_was(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    TM_CLEANUP(agent_log_jobs_release) struct agent_log_jobs back = {0};
    encode_two(&bytes);
    assert_int_equal(agent_log_jobs_decode(buf_slice(&bytes), &back, &err), 0);
    buf_release(&bytes);
    assert_int_equal(back.count, 2);
    struct msg_assignment two = wanted("two");
    assert_true(codec_equal(&msg_assignment_codec, &back.items[1], &two));
    assert_string_equal(back.items[1].log->truncate_until, "0/3000148");
}

static void no_jobs_are_a_file_too(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct agent_log_jobs back = {0};
    assert_int_equal(agent_log_jobs_encode(NULL, 0, &bytes, &err), 0);
    assert_int_equal(agent_log_jobs_decode(buf_slice(&bytes), &back, &err), 0);
    assert_int_equal(back.count, 0);
    agent_log_jobs_release(&back);
}

static void expect_refused(struct slice bytes, const char *message)
{
    struct tm_err err;
    struct agent_log_jobs back = {0};
    assert_true(agent_log_jobs_decode(bytes, &back, &err) < 0);
    if (message != NULL)
        assert_string_equal(err.msg, message);
    assert_int_equal(back.count, 0);
    assert_null(back.arena.chunks);
}

static void every_damage_is_seen(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    encode_two(&bytes);
    for (size_t at = 0; at < bytes.len; at++) {
        bytes.data[at] ^= 0x10;
        expect_refused(buf_slice(&bytes), at < HEADER_LEN - XXH3_128_LEN
                                              ? "it is no file of log jobs of this version"
                                              : "its checksum is not that of its contents");
        bytes.data[at] ^= 0x10;
        expect_refused(slice_of(bytes.data, at), NULL);
    }
    expect_refused(SLICE_EMPTY, "it is no file of log jobs of this version");
}

/* Bodies that were not written by us, under a checksum that says they were. */
static void forge(struct buf *bytes)
{
    struct xxh3_128 sum = xxh3_128_of(bytes->data + HEADER_LEN, bytes->len - HEADER_LEN);
    memcpy(bytes->data + HEADER_LEN - XXH3_128_LEN, sum.bytes, XXH3_128_LEN);
}

static void forged_files_do_no_harm(void **state)
{
    (void)state;
    uint64_t random = 1;
    unsigned refused = 0;
    for (int round = 0; round < 20000; round++) {
        struct tm_err err;
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        TM_CLEANUP(agent_log_jobs_release) struct agent_log_jobs back = {0};
        encode_two(&bytes);
        for (int hits = 0; hits <= round % 4; hits++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            size_t at = HEADER_LEN + (size_t)(random >> 33) % (bytes.len - HEADER_LEN);
            bytes.data[at] = (uint8_t)(random >> 20);
        }
        forge(&bytes);
        if (agent_log_jobs_decode(buf_slice(&bytes), &back, &err) < 0) {
            refused++;
            continue;
        }
        for (size_t at = 0; at < back.count; at++) {
            assert_int_equal(back.items[at].kind, JOB_KIND_LOG);
            assert_non_null(back.items[at].log);
        }
    }
    assert_in_range(refused, 1000, 19999);
}

static void only_log_jobs_are_taken(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct msg_assignment job = wanted("one");
    job.log = NULL;
    assert_int_equal(agent_log_jobs_encode(&job, 1, &bytes, &err), 0);
    expect_refused(buf_slice(&bytes), "job 'one' is not a log job");
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
    agent_log_jobs_release(&p->agent.log_jobs);
    name_file(p, "log-jobs");
    (void)unlink(p->file);
    name_file(p, "writer");
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

static void jobs_are_stored(void **state)
{
    struct place *p = *state;
    struct stat st;
    const struct msg_assignment job = wanted("one");
    agent_log_jobs_load(&p->agent); /* no file, no jobs */
    assert_int_equal(p->agent.log_jobs.count, 0);
    agent_log_jobs_store(&p->agent, &job, 1);
    name_file(p, "log-jobs");
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    agent_log_jobs_load(&p->agent);
    assert_int_equal(p->agent.log_jobs.count, 1);
    assert_string_equal(p->agent.log_jobs.items[0].storage, "s3://bucket/prefix?region=eu");
}

static void a_damaged_file_is_ignored(void **state)
{
    struct place *p = *state;
    static uint8_t huge[300 * 1024];
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    encode_two(&bytes);
    put(p, "log-jobs", slice_of(bytes.data, bytes.len - 1));
    agent_log_jobs_load(&p->agent);
    assert_int_equal(p->agent.log_jobs.count, 0);
    put(p, "log-jobs", slice_of(huge, sizeof(huge)));
    agent_log_jobs_load(&p->agent);
    assert_int_equal(p->agent.log_jobs.count, 0);
    const struct msg_assignment job = wanted("one");
    agent_log_jobs_store(&p->agent, &job, 1); /* and replaced */
    agent_log_jobs_load(&p->agent);
    assert_int_equal(p->agent.log_jobs.count, 1);
}

static void writers_are_stored(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    const struct agent_writer writer = {.term = 12, .number = 34};
    assert_int_equal(agent_writer_load(&p->agent, &err), 0);
    assert_int_equal(p->agent.writer.number, 0);
    assert_int_equal(agent_writer_store(&p->agent, writer, &err), 0);
    assert_int_equal(agent_writer_load(&p->agent, &err), 0);
    assert_int_equal(p->agent.writer.term, 12);
    assert_int_equal(p->agent.writer.number, 34);
}

static void expect_writer_error(struct place *p, const char *text, const char *what)
{
    char expected[300];
    struct tm_err err;
    put(p, "writer", slice_str(text));
    (void)snprintf(expected, sizeof(expected),
                   "'%s' is damaged%s; remove it after a restart of the coordinator, which gives "
                   "a new term",
                   p->file, what);
    assert_int_equal(agent_writer_load(&p->agent, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, expected);
}

static void a_damaged_writer_is_refused(void **state)
{
    struct place *p = *state;
    expect_writer_error(p, "12\n", "");
    expect_writer_error(p, "12 34 56\n", "");
    expect_writer_error(p, "", "");
    expect_writer_error(p, "12 262144\n", ": 262144 is no number of a writer");
}

#define PLACED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),    cmocka_unit_test(no_jobs_are_a_file_too),
        cmocka_unit_test(every_damage_is_seen),    cmocka_unit_test(forged_files_do_no_harm),
        cmocka_unit_test(only_log_jobs_are_taken), PLACED(jobs_are_stored),
        PLACED(a_damaged_file_is_ignored),         PLACED(writers_are_stored),
        PLACED(a_damaged_writer_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
