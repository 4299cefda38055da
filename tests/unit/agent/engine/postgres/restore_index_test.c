/* What replay would do, told by a chunk's index: the same as when its records are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/engine/postgres/block_refs.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/wal_sections.h"
#include "proto/format/pack.h"
#include "tests/unit/agent/engine/postgres/wal_build.h"

#define FROM UINT64_C(0x100000)

struct fixture {
    char dir[64];
    char place[128]; /* of the tablespace that the log makes */
    struct wal_build log;
    uint64_t parameters; /* the records */
    uint64_t create;
    struct engine_log_index *index;
    struct engine_index_part part;
    uint16_t replaced; /* a section that is given other bytes */
    struct slice instead;
    struct engine_restore r;
    struct tm_err err;
};

static void build_log(struct fixture *f)
{
    uint8_t parameters[28] = {0};
    uint8_t create[200] = {0};
    wal_build_init(&f->log, 15, FROM);
    (void)wal_data(&f->log, 10, 0, 1, "x", 1);
    wal_put32(parameters, 700); /* max_connections */
    wal_put32(parameters + 16, 90);
    f->parameters = wal_data(&f->log, WAL_RM_XLOG, 0x60, 0, parameters, sizeof(parameters));
    wal_put32(create, 16390);
    int n = snprintf((char *)create + 4, sizeof(create) - 4, "%s", f->place);
    uint8_t fork[16];
    const uint32_t unlogged[] = {1663, 5, 16500, 3}, logged[] = {1663, 5, 16501, 0};
    const uint32_t elsewhere[] = {16600, 5, 16502, 3};
    const uint32_t *const forks[] = {unlogged, logged, elsewhere};
    for (size_t k = 0; k < TM_ARRAY_LEN(forks); k++) {
        for (size_t word = 0; word < 4; word++)
            wal_put32(fork + 4 * word, forks[k][word]);
        (void)wal_data(&f->log, WAL_RM_SMGR, 0x10, 1, fork, sizeof(fork));
    }
    f->create = wal_data(&f->log, WAL_RM_TBLSPC, 0, 1, create, (uint32_t)n + 5);
}

static void build_index(struct fixture *f)
{
    const struct pg_log_facts facts = {.system_id = f->log.system_id,
                                       .version_num = 150000,
                                       .timeline = 1,
                                       .wal_segment_bytes = WAL_BUILD_SEGMENT,
                                       .block_bytes = 8192};
    TM_CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    assert_int_equal(pg_log_facts_encode(&facts, &encoded, &f->err), 0);
    assert_int_equal(pg_index_open(buf_slice(&encoded), FROM, &f->index, &f->err), 0);
    assert_int_equal(
        pg_index_push(f->index, slice_of(f->log.bytes, (size_t)(f->log.at - FROM)), &f->err), 0);
    assert_int_equal(pg_index_take(f->index, &f->part, &f->err), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/tm-restore-index.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->place, sizeof(f->place), "%s/live", f->dir);
    build_log(f);
    build_index(f);
    f->r.data.path = strdup("/nowhere/data");
    f->r.version = pg_version_find(15);
    f->r.begin.wal_segment_bytes = WAL_BUILD_SEGMENT;
    f->r.log_fd = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    target_log_release(&f->r);
    free(f->r.data.path);
    pg_index_close(f->index);
    wal_build_release(&f->log);
    int rc = fs_remove_tree(f->dir, true, &f->err);
    free(f);
    return rc;
}

/* The place is in use. */
static void fill_place(struct fixture *f)
{
    char file[160];
    (void)snprintf(file, sizeof(file), "%s/x", f->place);
    assert_int_equal(mkdir(f->place, 0700), 0);
    assert_int_equal(fs_write_atomic(file, slice_str("x"), 0600, &f->err), 0);
}

static int get(void *arg, uint16_t id, struct slice *ret, struct tm_err *err)
{
    const struct fixture *f = arg;
    (void)err;
    if (f->replaced == id) {
        *ret = f->instead;
        return f->instead.len > 0;
    }
    for (size_t n = 0; n < f->part.section_count; n++) {
        if (f->part.sections[n].id != id)
            continue;
        *ret = f->part.sections[n].bytes;
        return 1;
    }
    return 0;
}

static int check(struct fixture *f, const char *label, uint64_t start, uint64_t until, bool *known)
{
    const struct engine_sections sections = {get, f};
    *known = false;
    return pg_restore_check_index(&f->r, label, start, until, &sections, known, &f->err);
}

static void same_refusal(void **state)
{
    struct fixture *f = *state;
    struct tm_err read_err;
    bool known;
    fill_place(f);
    assert_int_equal(pg_restore_check_log(&f->r, "1", FROM,
                                          slice_of(f->log.bytes, (size_t)(f->log.at - FROM)),
                                          &read_err),
                     -TM_E_REFUSED);
    assert_int_equal(check(f, "1", FROM, f->log.at, &known), -TM_E_REFUSED);
    assert_string_equal(f->err.msg, read_err.msg);
    assert_non_null(
        strstr(f->err.msg, "checking the stored log: the log creates tablespace 16390"));
    assert_non_null(strstr(f->err.msg, "exists on this host and is not empty"));
    assert_int_equal(check(f, "one", FROM, f->log.at, &known), -TM_E_INVALID);
}

static void what_is_replayed_counts(void **state)
{
    struct fixture *f = *state;
    bool known;
    fill_place(f);
    assert_int_equal(check(f, "1", f->create + 1, f->log.at, &known), 0); /* before replay begins */
    assert_true(known);
    assert_int_equal(f->r.raised.max_connections, 0);
    assert_int_equal(check(f, "1", FROM, f->create, &known), 0); /* behind the fork */
    assert_true(known);
    assert_int_equal(f->r.raised.max_connections, 700);
    f->r.stop_record = f->create - 1;
    f->r.stop_timeline = 1;
    assert_int_equal(check(f, "1", FROM, f->log.at, &known), 0); /* behind the stop */
    assert_true(known);
    f->r.stop_record = f->create;
    assert_int_equal(check(f, "1", FROM, f->log.at, &known), -TM_E_REFUSED);
    f->r.stop_record = FROM;
    f->r.stop_timeline = 2; /* on the way to it */
    assert_int_equal(check(f, "1", FROM, f->log.at, &known), -TM_E_REFUSED);
}

static void what_replay_needs(void **state)
{
    struct fixture *f = *state;
    bool known;
    f->r.raised.max_prepared_xacts = 99;
    assert_int_equal(check(f, "1", FROM, f->log.at, &known), 0); /* the place is absent */
    assert_true(known);
    assert_int_equal(f->r.raised.max_connections, 700);
    assert_int_equal(f->r.raised.max_prepared_xacts, 99);
    assert_int_equal(f->r.late_dir_count, 1);
    assert_string_equal(f->r.late_dirs[0], f->place);
    f->replaced = WAL_SECTION_SPACES; /* a chunk that makes none */
    assert_int_equal(check(f, "1", FROM, f->log.at, &known), 0);
    assert_true(known);
}

static void too_little_is_said(void **state)
{
    struct fixture *f = *state;
    const uint8_t flags[] = {BLOCK_REFS_INCOMPLETE, BLOCK_REFS_HEADLESS};
    bool known;
    for (size_t n = 0; n < TM_ARRAY_LEN(flags); n++) {
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        struct block_refs *refs = NULL;
        assert_int_equal(block_refs_new(&refs, &f->err), 0);
        block_refs_flag(refs, flags[n]);
        assert_int_equal(block_refs_encode(refs, &bytes, &f->err), 0);
        block_refs_free(refs);
        f->replaced = WAL_SECTION_BLOCKS;
        f->instead = buf_slice(&bytes);
        assert_int_equal(check(f, "1", FROM, f->log.at, &known), 0);
        assert_false(known);
    }
    const uint16_t ids[] = {WAL_SECTION_BLOCKS, WAL_SECTION_SETTINGS, WAL_SECTION_SPACES};
    for (size_t n = 0; n < TM_ARRAY_LEN(ids); n++) {
        f->replaced = ids[n];
        f->instead = slice_str("?"); /* cannot be read */
        assert_int_equal(check(f, "1", FROM, f->log.at, &known), 0);
        assert_false(known);
        if (ids[n] == WAL_SECTION_BLOCKS)
            continue;
        TM_CLEANUP(buf_release) struct buf dropped = BUF_INIT;
        assert_int_equal(pack_uint(&dropped, 1, &f->err), 0);
        assert_int_equal(pack_uint(&dropped, 0, &f->err), 0);
        f->instead = buf_slice(&dropped); /* there was one more than it has */
        assert_int_equal(check(f, "1", FROM, f->log.at, &known), 0);
        assert_false(known);
    }
}

/* Files of relations whose _init fork the log makes are left out; told by records and by the index. */
static void what_becomes_unlogged(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *path;
        bool left_out;
    } cases[] = {
        {"base/5/16500", true},
        {"base/5/16500_fsm", true},
        {"base/5/16500_vm.1", true},
        {"base/5/16500.2", true},
        {"base/5/16500_init", false},
        {"base/5/16501", false},
        {"base/6/16500", false},
        {"base/5/16499", false},
        {"base/5/x16500", false},
        {"global/16500", false},
        {"16500", false},
        {"base/5/16502", false},
        {"pg_tblspc/16600/PG_15_202209061/5/16502", true},
        {"pg_tblspc/16600/PG_15_202209061/5/16500", false},
        {"pg_tblspc/16601/PG_15_202209061/5/16502", false},
        {"pg_tblspc/16600/PG_14_202107181/5/16502", false},
    };
    bool known;
    assert_string_equal(pg_version_tablespace_dir(15, 202209061, f->r.version_dir),
                        "PG_15_202209061");
    for (unsigned way = 0; way < 2; way++) {
        f->r.unlogged_count = 0;
        assert_false(unlogged_has(&f->r, "base/5/16500"));
        if (way == 0)
            assert_int_equal(check(f, "1", FROM, f->log.at, &known), 0);
        else
            assert_int_equal(
                pg_restore_check_log(&f->r, "1", FROM,
                                     slice_of(f->log.bytes, (size_t)(f->log.at - FROM)), &f->err),
                0);
        assert_int_equal(f->r.unlogged_count, 2);
        unlogged_sort(&f->r);
        for (size_t k = 0; k < TM_ARRAY_LEN(cases); k++)
            if (unlogged_has(&f->r, cases[k].path) != cases[k].left_out)
                fail_msg("%s", cases[k].path);
    }
    const struct wal_fork one = {.fork = 3};
    f->r.unlogged_count = RESTORE_UNLOGGED_MAX;
    assert_int_equal(unlogged_note(&f->r, &one, &f->err), -TM_E_LIMIT);
    assert_string_equal(f->err.msg,
                        "the log makes more than 4194304 unlogged relations: restore to "
                        "an earlier moment, or from a later backup");
    f->r.unlogged_count = 0;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {T(same_refusal), T(what_is_replayed_counts),
                                       T(what_replay_needs), T(too_little_is_said),
                                       T(what_becomes_unlogged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
