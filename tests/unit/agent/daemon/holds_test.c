/* The holds that the daemon keeps in state_dir/holds: stored before they are made, refused when damaged. */
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

struct place {
    char dir[64];
    char file[128];
    struct agent agent;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/tm-holds-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->file, sizeof(p->file), "%s/holds", p->dir);
    p->agent.config.state_dir = p->dir;
    log_init(&p->agent.lg, "test", LOG_EMERG);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    agent_kept_release(&p->agent.kept);
    (void)unlink(p->file);
    int r = rmdir(p->dir);
    free(p);
    return r;
}

static struct agent_hold hold_of(size_t number)
{
    struct agent_hold hold = {.tenant = "main",
                              .backup_id = "20261121T000000Z-00000001",
                              .since_us = 1790000000000000,
                              .renewed_us = 1790000000000000 + (int64_t)number,
                              .ttl_s = 54000};
    (void)snprintf(hold.name, sizeof(hold.name), "tidemark_b_00000001_%016zu", number);
    return hold;
}

static void no_file(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    assert_int_equal(agent_holds_load(&p->agent, &err), 0);
    assert_int_equal(p->agent.kept.holds.holds_count, 0);
}

static void come_back(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    struct stat st;
    struct agent_hold holds[] = {hold_of(1), hold_of(2)};
    assert_int_equal(agent_holds_store(&p->agent, holds, 2, &err), 0);
    assert_int_equal(stat(p->file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(agent_holds_load(&p->agent, &err), 0);
    assert_int_equal(p->agent.kept.holds.holds_count, 2);
    for (size_t at = 0; at < 2; at++)
        assert_true(codec_equal(&agent_hold_codec, &p->agent.kept.holds.holds[at], &holds[at]));
    agent_kept_release(&p->agent.kept);
    assert_int_equal(agent_holds_store(&p->agent, NULL, 0, &err), 0);
    assert_int_equal(agent_holds_load(&p->agent, &err), 0);
    assert_int_equal(p->agent.kept.holds.holds_count, 0);
}

static void as_many_as_there_may_be(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    struct agent_hold holds[AGENT_BRAIN_HOLDS_MAX];
    for (size_t at = 0; at < AGENT_BRAIN_HOLDS_MAX; at++)
        holds[at] = hold_of(at);
    assert_int_equal(agent_holds_store(&p->agent, holds, AGENT_BRAIN_HOLDS_MAX, &err), 0);
    assert_int_equal(agent_holds_load(&p->agent, &err), 0);
    assert_int_equal(p->agent.kept.holds.holds_count, AGENT_BRAIN_HOLDS_MAX);
    assert_true(codec_equal(&agent_hold_codec,
                            &p->agent.kept.holds.holds[AGENT_BRAIN_HOLDS_MAX - 1],
                            &holds[AGENT_BRAIN_HOLDS_MAX - 1]));
}

static void expect_refused(struct place *p, struct slice bytes, const char *what)
{
    struct tm_err err;
    char expected[512];
    assert_int_equal(fs_write_atomic(p->file, bytes, 0600, &err), 0);
    (void)snprintf(expected, sizeof(expected),
                   "'%s' cannot be used; remove it: the holds that it told of are found, and "
                   "dropped after an hour: %s",
                   p->file, what);
    assert_int_equal(agent_holds_load(&p->agent, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, expected);
    assert_int_equal(p->agent.kept.holds.holds_count, 0);
}

/* Somebody may want to go on with its backups: nobody may go on as if there were none. */
static void damaged(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    struct agent_hold hold = hold_of(1);
    const struct kept_holds record = {.holds = &hold, .holds_count = 1};
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    assert_int_equal(agent_kept_encode(&kept_holds_codec, &record, &bytes, &err), 0);
    expect_refused(p, SLICE_EMPTY, "it is no file of this version");
    expect_refused(p, slice_str("tidemark_b_1\n"), "it is no file of this version");
    expect_refused(p, slice_of(bytes.data, bytes.len - 1),
                   "its checksum is not that of its contents");
    bytes.data[bytes.len - 1] ^= 1;
    expect_refused(p, buf_slice(&bytes), "its checksum is not that of its contents");
}

/* What cannot be stored is said: the hold is not made then. */
static void nowhere_to_store(void **state)
{
    struct place *p = *state;
    struct tm_err err;
    char missing[96];
    struct agent_hold hold = hold_of(1);
    (void)snprintf(missing, sizeof(missing), "%s/gone", p->dir);
    p->agent.config.state_dir = missing;
    assert_true(agent_holds_store(&p->agent, &hold, 1, &err) < 0);
    assert_non_null(strstr(err.msg, "/gone/holds"));
    p->agent.config.state_dir = p->dir;
}

#define PLACED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACED(no_file), PLACED(come_back),        PLACED(as_many_as_there_may_be),
        PLACED(damaged), PLACED(nowhere_to_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
