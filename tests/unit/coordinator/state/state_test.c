/* The contract of the state store, run over every driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "coordinator/state/state.h"

struct fixture {
    bool sqlite;
    char dir[64];
    struct state *st;
    uint64_t term;
};

static void open_store(struct fixture *f)
{
    struct tm_err err = {0};

    if (f->sqlite)
        assert_int_equal(state_open_sqlite(f->dir, NULL, &f->st, &err), 0);
    else
        assert_int_equal(state_open_ram(&f->st, &err), 0);
    assert_int_equal(state_take_term(f->st, 0, &f->term, &err), 0);
}

static int setup_sqlite(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->sqlite = true;
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/tidemark-state-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    open_store(f);
    *state = f;
    return 0;
}

static int setup_ram(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};

    state_free(f->st);
    if (f->sqlite)
        assert_int_equal(fs_remove_tree(f->dir, true, &err), 0);
    free(f);
    return 0;
}

struct outcome {
    int calls;
    int result;
    uint64_t revision;
    char msg[TM_ERR_MSG_MAX];
};

static void done(void *arg, int result, uint64_t revision, const struct tm_err *err)
{
    struct outcome *o = arg;

    o->calls++;
    o->result = result;
    o->revision = revision;
    if (result < 0)
        (void)snprintf(o->msg, sizeof o->msg, "%s", err->msg);
}

static struct state_op put(const char *key, const char *value)
{
    return (struct state_op){STATE_PUT, slice_str(key), slice_str(value)};
}

static struct outcome commit(struct fixture *f, const struct state_compare *compares, size_t n,
                             const struct state_op *ops, size_t m)
{
    const struct state_txn txn = {f->term, compares, n, ops, m};
    struct outcome o = {0};
    struct tm_err err = {0};

    assert_int_equal(state_submit(f->st, &txn, done, &o, &err), 0);
    assert_int_equal(o.calls, 0); /* never from inside submit */
    assert_true(state_pending(f->st));
    state_run(f->st);
    assert_int_equal(o.calls, 1);
    assert_false(state_pending(f->st));
    return o;
}

static void assert_value(struct fixture *f, const char *key, const char *value, uint64_t revision)
{
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    struct tm_err err = {0};
    uint64_t have = 0;

    assert_int_equal(state_get(f->st, slice_str(key), &got, &have, &err), 0);
    assert_true(slice_eq(buf_slice(&got), slice_str(value)));
    assert_int_equal(have, revision);
}

static void assert_absent(struct fixture *f, const char *key)
{
    TM_CLEANUP(buf_release) struct buf got = BUF_INIT;
    struct tm_err err = {0};
    char want[128];

    assert_int_equal(state_get(f->st, slice_str(key), &got, NULL, &err), -TM_E_NOT_FOUND);
    (void)snprintf(want, sizeof want, "state key '%s' does not exist", key);
    assert_string_equal(err.msg, want);
}

static void test_put_get_delete(void **state)
{
    struct fixture *f = *state;
    const struct state_op puts[] = {put("a", "1"), put("b", ""), put("c", "3")};
    const struct state_op deletes[] = {{STATE_DELETE, slice_str("a"), SLICE_EMPTY},
                                       {STATE_DELETE, slice_str("zz"), SLICE_EMPTY}};

    assert_int_equal(commit(f, NULL, 0, puts, 3).revision, 1);
    assert_value(f, "a", "1", 1);
    assert_value(f, "b", "", 1);
    assert_int_equal(
        commit(f, NULL, 0, &(struct state_op){STATE_PUT, slice_str("a"), slice_str("2")}, 1)
            .revision,
        2);
    assert_value(f, "a", "2", 2);
    assert_value(f, "c", "3", 1);
    assert_int_equal(commit(f, NULL, 0, deletes, 2).result, 0);
    assert_absent(f, "a");
}

static void test_compare(void **state)
{
    struct fixture *f = *state;
    const struct state_op op = put("a", "1");
    const struct state_op op2[] = {put("b", "1"), put("a", "2")};
    const struct state_compare absent = {slice_str("a"), 0};
    const struct state_compare first = {slice_str("a"), 1};
    struct outcome o;

    assert_int_equal(commit(f, &absent, 1, &op, 1).result, 0);
    o = commit(f, &absent, 1, op2, 2);
    assert_int_equal(o.result, -TM_E_CONFLICT);
    assert_string_equal(o.msg, "state key 'a' has revision 1, expected 0");
    assert_absent(f, "b"); /* whole or not at all */
    assert_int_equal(commit(f, &first, 1, op2, 2).revision, 2);
    assert_value(f, "a", "2", 2);
    assert_value(f, "b", "1", 2);
}

static void test_term_guards(void **state)
{
    struct fixture *f = *state;
    const struct state_op op = put("a", "1");
    uint64_t old = f->term;
    uint64_t revision;
    struct tm_err err = {0};
    struct outcome o;

    assert_int_equal(old, 1);
    assert_int_equal(state_take_term(f->st, 0, &f->term, &err), 0);
    assert_int_equal(f->term, 2);
    f->term = old;
    o = commit(f, NULL, 0, &op, 1);
    assert_int_equal(o.result, -TM_E_CONFLICT);
    assert_string_equal(o.msg,
                        "state belongs to term 2, not 1: another coordinator has taken over");
    assert_absent(f, "a");
    assert_int_equal(state_take_term(f->st, 40, &f->term, &err), 0);
    assert_int_equal(f->term, 40);
    assert_int_equal(state_revision(f->st, &revision, &err), 0);
    assert_int_equal(revision, 0); /* neither a term nor what is refused is a change */
    assert_int_equal(commit(f, NULL, 0, &op, 1).result, 0);
    assert_int_equal(state_revision(f->st, &revision, &err), 0);
    assert_int_equal(revision, 1);
}

/* A loser in the middle of a batch takes nobody with it, and order is kept. */
static void test_batch(void **state)
{
    struct fixture *f = *state;
    const struct state_op first = put("k", "1"), second = put("k", "2"), third = put("m", "3");
    const struct state_compare wrong = {slice_str("k"), 7};
    const struct state_txn txns[] = {{f->term, NULL, 0, &first, 1},
                                     {f->term, &wrong, 1, &second, 1},
                                     {f->term, NULL, 0, &third, 1}};
    struct outcome o[3] = {0};
    struct tm_err err = {0};

    for (int i = 0; i < 3; i++)
        assert_int_equal(state_submit(f->st, &txns[i], done, &o[i], &err), 0);
    state_run(f->st);
    assert_int_equal(o[0].revision, 1);
    assert_int_equal(o[1].result, -TM_E_CONFLICT);
    assert_string_equal(o[1].msg, "state key 'k' has revision 1, expected 7");
    assert_int_equal(o[2].revision, 2);
    assert_value(f, "k", "1", 1);
    assert_value(f, "m", "3", 2);
}

static void test_bounds(void **state)
{
    struct fixture *f = *state;
    struct state_op ops[STATE_TXN_OPS_MAX + 1];
    struct state_txn txn = {f->term, NULL, 0, ops, STATE_TXN_OPS_MAX + 1};
    static uint8_t big[STATE_VALUE_MAX + 1];
    struct tm_err err = {0};

    for (size_t i = 0; i < TM_ARRAY_LEN(ops); i++)
        ops[i] = put("a", "b");
    assert_int_equal(state_submit(f->st, &txn, done, NULL, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "state transaction has more than 128 operations");
    txn.op_count = 1;
    ops[0].value = slice_of(big, sizeof big);
    assert_int_equal(state_submit(f->st, &txn, done, NULL, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "state value of 'a' is larger than 524288 bytes");
    txn.op_count = 3;
    for (int i = 0; i < 3; i++)
        ops[i].value = slice_of(big, STATE_VALUE_MAX);
    assert_int_equal(state_submit(f->st, &txn, done, NULL, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "state transaction is larger than 1048576 bytes");
    txn.op_count = 1;
    ops[0] = put("", "b");
    assert_int_equal(state_submit(f->st, &txn, done, NULL, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "state key is empty");
    ops[0].key = slice_of(big, STATE_KEY_MAX + 1);
    assert_int_equal(state_submit(f->st, &txn, done, NULL, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "state key is longer than 512 bytes");
    assert_false(state_pending(f->st));
}

struct seen {
    char text[256];
    int stop_after;
};

static int see(void *arg, struct slice key, struct slice value, uint64_t revision,
               struct tm_err *err)
{
    struct seen *s = arg;
    size_t len = strlen(s->text);

    if (s->stop_after > 0 && --s->stop_after == 0)
        return tm_err_set(err, TM_E_CORRUPT, "stopped");
    (void)snprintf(s->text + len, sizeof s->text - len, "%.*s=%.*s@%llu ", (int)key.len,
                   (const char *)key.data, (int)value.len, (const char *)value.data,
                   (unsigned long long)revision);
    return 0;
}

static void test_each(void **state)
{
    struct fixture *f = *state;
    const struct state_op ops[] = {put("b/2", "x"), put("a/1", "y"), put("b/1", "z"),
                                   put("c", "w")};
    struct tm_err err = {0};
    struct seen all = {0}, some = {0}, stopped = {.stop_after = 2};

    assert_int_equal(commit(f, NULL, 0, ops, 4).result, 0);
    assert_int_equal(state_each(f->st, "", see, &all, &err), 0);
    assert_string_equal(all.text, "a/1=y@1 b/1=z@1 b/2=x@1 c=w@1 ");
    assert_int_equal(state_each(f->st, "b/", see, &some, &err), 0);
    assert_string_equal(some.text, "b/1=z@1 b/2=x@1 ");
    assert_int_equal(state_each(f->st, "", see, &stopped, &err), -TM_E_CORRUPT);
    assert_string_equal(stopped.text, "a/1=y@1 ");
}

static void test_drop_pending(void **state)
{
    struct fixture *f = *state;
    const struct state_op op = put("a", "1");
    const struct state_txn txn = {f->term, NULL, 0, &op, 1};
    struct outcome o = {0};
    struct tm_err err = {0};

    assert_int_equal(state_submit(f->st, &txn, done, &o, &err), 0);
    state_drop_pending(f->st);
    state_run(f->st);
    assert_int_equal(o.calls, 0);
    assert_absent(f, "a");
}

struct again {
    struct fixture *f;
    int calls;
};

static void submit_again(void *arg, int result, uint64_t revision, const struct tm_err *err)
{
    struct again *a = arg;
    const struct state_op op = put("again", "1");
    const struct state_txn txn = {a->f->term, NULL, 0, &op, 1};
    struct tm_err ignored = {0};

    (void)revision;
    (void)err;
    assert_int_equal(result, 0);
    if (++a->calls == 1)
        assert_int_equal(state_submit(a->f->st, &txn, submit_again, a, &ignored), 0);
}

static void test_submit_from_done(void **state)
{
    struct fixture *f = *state;
    struct again a = {.f = f};
    const struct state_op op = put("a", "1");
    const struct state_txn txn = {f->term, NULL, 0, &op, 1};
    struct tm_err err = {0};

    assert_int_equal(state_submit(f->st, &txn, submit_again, &a, &err), 0);
    state_run(f->st);
    assert_int_equal(a.calls, 1);
    assert_true(state_pending(f->st));
    state_run(f->st);
    assert_int_equal(a.calls, 2);
    assert_value(f, "again", "1", 2);
}

/* ---- sqlite alone ---- */

static void test_survives(void **state)
{
    struct fixture *f = *state;
    const struct state_op op = put("a", "1");
    char path[128];
    struct stat st;

    assert_int_equal(commit(f, NULL, 0, &op, 1).revision, 1);
    state_free(f->st);
    open_store(f);
    assert_int_equal(f->term, 2);
    assert_value(f, "a", "1", 1);
    assert_int_equal(commit(f, NULL, 0, &op, 1).revision, 2);
    (void)snprintf(path, sizeof path, "%s/state.db", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_damaged(void **state)
{
    struct fixture *f = *state;
    char path[128], want[400];
    struct tm_err err = {0};
    struct state *st = NULL;

    state_free(f->st);
    f->st = NULL;
    (void)snprintf(path, sizeof path, "%s/state.db", f->dir);
    assert_int_equal(
        fs_write_atomic(path, slice_str("this is not a database, not at all, no"), 0600, &err), 0);
    assert_int_equal(state_open_sqlite(f->dir, NULL, &st, &err), -TM_E_CORRUPT);
    (void)snprintf(
        want, sizeof want,
        "cannot open state '%s': file is not a database; restore the file from a copy, or "
        "move it away and start with an empty state",
        path);
    assert_string_equal(err.msg, want);
}

/* What `sql` makes of the database, the fixture's or a fresh one, is refused. */
static void refuse_after(struct fixture *f, const char *sql, enum tm_err_code code,
                         const char *before, const char *after)
{
    char path[128], want[256];
    struct tm_err err = {0};
    struct state *st = NULL;
    sqlite3 *db = NULL;

    (void)snprintf(path, sizeof path, "%s/state.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(state_open_sqlite(f->dir, NULL, &st, &err), -(int)code);
    (void)snprintf(want, sizeof want, "%s'%s'%s", before, path, after);
    assert_string_equal(err.msg, want);
}

static void test_foreign(void **state)
{
    struct fixture *f = *state;
    struct tm_err err = {0};

    state_free(f->st);
    f->st = NULL;
    assert_int_equal(fs_remove_tree(f->dir, false, &err), 0);
    refuse_after(f, "CREATE TABLE t (x)", TM_E_CORRUPT, "",
                 " is a database of another program; set another state_dir");
}

static void test_newer_format(void **state)
{
    struct fixture *f = *state;

    state_free(f->st);
    f->st = NULL;
    refuse_after(f, "PRAGMA user_version = 9", TM_E_UNSUPPORTED, "state ",
                 " has format 9, this version reads 1; install the version that wrote it");
}

static void test_missing_dir(void **state)
{
    struct tm_err err = {0};
    struct state *st = NULL;

    (void)state;
    assert_int_equal(state_open_sqlite("/nowhere/tidemark", NULL, &st, &err), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "cannot open state directory '/nowhere/tidemark': No such file or "
                                 "directory");
}

#define CONTRACT(name)                                                                             \
    cmocka_unit_test_setup_teardown(name, setup_ram, teardown),                                    \
        cmocka_unit_test_setup_teardown(name, setup_sqlite, teardown)
#define SQLITE(name) cmocka_unit_test_setup_teardown(name, setup_sqlite, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(test_put_get_delete),
        CONTRACT(test_compare),
        CONTRACT(test_term_guards),
        CONTRACT(test_batch),
        CONTRACT(test_bounds),
        CONTRACT(test_each),
        CONTRACT(test_drop_pending),
        CONTRACT(test_submit_from_done),
        SQLITE(test_survives),
        SQLITE(test_damaged),
        SQLITE(test_foreign),
        SQLITE(test_newer_format),
        cmocka_unit_test(test_missing_dir),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
