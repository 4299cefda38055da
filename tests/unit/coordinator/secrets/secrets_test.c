/*
 * The store of secrets on a real directory: modes, replacing, leftovers of a crash, damage; sealed by
 * a program that stands in for systemd-creds.
 */
#include "coordinator/secrets/secrets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/loop.h"
#include "coordinator/secrets/file.h"
#include "coordinator/secrets/seal.h"

#define VALUE "hunter2-value"

struct fixture {
    struct loop *loop;
    struct secrets *secrets;
    char dir[64];
    char program[96]; /* in place of systemd-creds; "" = none */
    unsigned done;
    uint64_t cmd;
    enum secrets_outcome outcome;
    struct tm_err err; /* code OK: done */
    char notes[64 << 10];
};

static void on_done(void *arg, uint64_t cmd, const char *name, enum secrets_outcome outcome,
                    const struct tm_err *err)
{
    struct fixture *f = arg;
    (void)name;
    f->done++;
    f->cmd = cmd;
    f->outcome = outcome;
    f->err = err != NULL ? *err : (struct tm_err){0};
}

static void on_note(void *arg, int priority, const char *text)
{
    struct fixture *f = arg;
    size_t used = strlen(f->notes);
    assert_true(priority >= LOG_ERR && priority <= LOG_INFO);
    (void)snprintf(f->notes + used, sizeof(f->notes) - used, "%s\n", text);
}

static void open_secrets(struct fixture *f)
{
    const struct secrets_options options = {
        .seal_program = f->program, .done = on_done, .note = on_note, .arg = f};
    struct tm_err err;
    f->notes[0] = '\0';
    if (secrets_open(f->loop, f->dir, &options, &f->secrets, &err) < 0)
        fail_msg("%s", err.msg);
}

static void reopen(struct fixture *f)
{
    secrets_free(f->secrets);
    f->secrets = NULL;
    open_secrets(f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct tm_err err;
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/secrets_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, &err), 0);
    open_secrets(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct tm_err err;
    secrets_free(f->secrets);
    loop_free(f->loop);
    assert_int_equal(fs_remove_tree(f->dir, true, &err), 0);
    free(f);
    return 0;
}

/* A program that turns bytes into other bytes and back, under the name given only. */
static void with_seal(struct fixture *f, const char *script)
{
    struct tm_err err;
    (void)snprintf(f->program, sizeof(f->program), "%s/creds", f->dir);
    assert_int_equal(fs_write_atomic(f->program, slice_str(script), 0700, &err), 0);
    reopen(f);
}

#define SEAL                                                                                       \
    "#!/bin/sh\n"                                                                                  \
    "case $1 in\n"                                                                                 \
    "encrypt) echo \"$2\"; base64 ;;\n"                                                            \
    "decrypt) read -r name; [ \"$name\" = \"$2\" ] || { echo \"name does not match\" >&2; exit "   \
    "1; }; base64 -d ;;\n"                                                                         \
    "esac\n"

static void settle(struct fixture *f)
{
    struct tm_err err;
    unsigned before = f->done;
    int64_t until_us = clock_mono_us() + 20 * USEC_PER_SEC;
    while (f->done == before && clock_mono_us() < until_us)
        if (loop_turn(f->loop, 20, &err) < 0)
            fail_msg("%s", err.msg);
    assert_int_equal(f->done, before + 1);
}

static void fill_map(struct secret_map *map, const char *value)
{
    struct tm_err err;
    *map = SECRET_MAP_INIT;
    assert_int_equal(secret_map_set(map, "secret_key", value, strlen(value), &err), 0);
    assert_int_equal(secret_map_set(map, "access_key", "AK", 2, &err), 0);
}

static void put(struct fixture *f, const char *name, const char *value,
                enum secrets_outcome outcome)
{
    struct secret_map map;
    struct tm_err err;
    fill_map(&map, value);
    if (secrets_put(f->secrets, name, &map, 7, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(map.count, 0); /* taken over */
    settle(f);
    assert_string_equal(f->err.msg, "");
    assert_int_equal(f->cmd, 7);
    assert_int_equal(f->outcome, outcome);
}

static void holds(struct fixture *f, const char *name, const char *value, bool encrypted)
{
    struct secrets_entry entry;
    assert_true(secrets_find(f->secrets, name, &entry));
    assert_null(entry.why);
    assert_int_equal(entry.encrypted, encrypted);
    assert_true(entry.changed_us > 0);
    const struct secret *secret = secret_map_get(entry.map, "secret_key");
    assert_non_null(secret);
    assert_int_equal(secret->len, strlen(value));
    assert_memory_equal(secret->data, value, secret->len);
}

static char *path_of(const struct fixture *f, const char *name, char path[128])
{
    (void)snprintf(path, 128, "%s/secrets/%s", f->dir, name);
    return path;
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777u;
}

static bool file_has(const char *path, const char *text)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct tm_err err;
    assert_int_equal(fs_read_file(path, SECRET_FILE_MAX, &bytes, &err), 0);
    return memmem(bytes.data, bytes.len, text, strlen(text)) != NULL;
}

static void stored_replaced_removed(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct tm_err err;
    struct secrets_entry entry;
    size_t cursor = 0;
    assert_non_null(strstr(f->notes, "secrets are stored in plain files that only this user can "
                                     "read (mode 0600): there is no systemd-creds on this host"));
    assert_false(secrets_sealed(f->secrets));
    put(f, "b", VALUE, SECRETS_CREATED);
    put(f, "a", "x", SECRETS_CREATED);
    put(f, "b", VALUE, SECRETS_UNCHANGED);
    put(f, "b", "other", SECRETS_CONFIGURED);
    holds(f, "b", "other", false);
    assert_int_equal(mode_of(path_of(f, "b", path)), 0600);
    assert_int_equal(mode_of(path_of(f, "", path)), 0700);
    reopen(f);
    holds(f, "b", "other", false);
    holds(f, "a", "x", false);
    assert_true(secrets_next(f->secrets, &cursor, &entry));
    assert_string_equal(entry.name, "a");
    assert_true(secrets_next(f->secrets, &cursor, &entry));
    assert_string_equal(entry.name, "b");
    assert_false(secrets_next(f->secrets, &cursor, &entry));
    assert_int_equal(secrets_remove(f->secrets, "b", 9, &err), 0);
    settle(f);
    assert_int_equal(f->outcome, SECRETS_DELETED);
    assert_int_equal(access(path_of(f, "b", path), F_OK), -1);
    assert_false(secrets_find(f->secrets, "b", &entry));
    assert_int_equal(secrets_remove(f->secrets, "b", 9, &err), -TM_E_NOT_FOUND);
    assert_string_equal(err.msg, "secret/b: not found");
}

static void refuse(struct fixture *f, const char *name, struct secret_map *map,
                   enum tm_err_code code, const char *text)
{
    struct tm_err err;
    assert_int_equal(secrets_put(f->secrets, name, map, 1, &err), -(int)code);
    assert_string_equal(err.msg, text);
    assert_int_equal(map->count, 0);
}

static void bad_input(void **state)
{
    struct fixture *f = *state;
    struct secret_map map = SECRET_MAP_INIT;
    struct tm_err err;
    refuse(f, "a", &map, TM_E_INVALID, "a secret without a key holds nothing");
    fill_map(&map, VALUE);
    refuse(f, "../x", &map, TM_E_INVALID,
           "name '../x' may hold only a-z, 0-9, '-' and '.', and must begin and end "
           "with a letter or digit");
    fill_map(&map, VALUE);
    refuse(f, "a.tmp-b", &map, TM_E_INVALID, "name 'a.tmp-b' must not contain '.tmp-'");
    fill_map(&map, "");
    refuse(f, "a", &map, TM_E_INVALID, "key 'secret_key' has no value");
    char *large = calloc(1, SECRET_MAX_LEN);
    assert_non_null(large);
    memset(large, 'x', SECRET_MAX_LEN);
    for (int key = 'a'; key < 'e'; key++)
        assert_int_equal(
            secret_map_set(&map, (char[]){(char)key, '\0'}, large, SECRET_MAX_LEN, &err), 0);
    free(large);
    refuse(f, "a", &map, TM_E_LIMIT, "16388 bytes are too many for one secret, 16384 is the most");
    assert_int_equal(f->done, 0);
}

static void what_a_crash_left(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct tm_err err;
    struct secrets_entry entry;
    put(f, "a", VALUE, SECRETS_CREATED);
    assert_int_equal(
        fs_write_atomic(path_of(f, "a.tmp-0011223344556677", path), slice_str("half"), 0600, &err),
        0);
    assert_int_equal(fs_write_atomic(path_of(f, "Not A Secret", path), slice_str("x"), 0600, &err),
                     0);
    reopen(f);
    assert_int_equal(access(path_of(f, "a.tmp-0011223344556677", path), F_OK), -1);
    assert_int_equal(access(path_of(f, "Not A Secret", path), F_OK), 0);
    assert_non_null(strstr(f->notes, "Not A Secret' is no secret's file and is left alone"));
    assert_false(secrets_find(f->secrets, "a.tmp-0011223344556677", &entry));
    holds(f, "a", VALUE, false);
}

/* More than there may be, copied in: what fits is taken, and the coordinator starts. */
static void too_many_files(void **state)
{
    struct fixture *f = *state;
    char path[128], name[32];
    struct tm_err err;
    for (unsigned n = 0; n <= SECRETS_MAX; n++) {
        (void)snprintf(name, sizeof(name), "s%u", n);
        assert_int_equal(fs_write_atomic(path_of(f, name, path), slice_str("x"), 0600, &err), 0);
    }
    reopen(f);
    assert_non_null(strstr(f->notes, "is left alone: there are 256 secrets already"));
}

static void damage_is_named(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct tm_err err;
    struct secrets_entry entry;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    put(f, "a", VALUE, SECRETS_CREATED);
    assert_int_equal(fs_read_file(path_of(f, "a", path), SECRET_FILE_MAX, &bytes, &err), 0);
    bytes.data[bytes.len - 1] ^= 1;
    assert_int_equal(fs_write_atomic(path, buf_slice(&bytes), 0600, &err), 0);
    assert_int_equal(fs_write_atomic(path_of(f, "b", path), slice_str("what"), 0600, &err), 0);
    reopen(f);
    assert_true(secrets_find(f->secrets, "a", &entry));
    assert_string_equal(entry.why, "its checksum is not that of its contents");
    assert_int_equal(entry.map->count, 0);
    assert_true(secrets_find(f->secrets, "b", &entry));
    assert_string_equal(entry.why, "it is no secret of this version");
    assert_null(strstr(f->notes, VALUE));
    put(f, "a", "x", SECRETS_CONFIGURED);
    holds(f, "a", "x", false);
}

static void an_open_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct tm_err err;
    struct secrets *second;
    const struct secrets_options options = {.seal_program = "", .done = on_done, .arg = f};
    assert_int_equal(chmod(path_of(f, "", path), 0750), 0);
    assert_int_equal(secrets_open(f->loop, f->dir, &options, &second, &err), -TM_E_PERMISSION);
    assert_non_null(strstr(err.msg, "is open to others, run: chmod 700"));
}

static void a_write_that_fails(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct secret_map map;
    struct tm_err err;
    put(f, "a", VALUE, SECRETS_CREATED);
    assert_int_equal(mkdir(path_of(f, "b", path), 0700), 0); /* a directory in the file's place */
    fill_map(&map, "x");
    assert_int_equal(secrets_put(f->secrets, "b", &map, 3, &err), 0);
    settle(f);
    assert_int_not_equal(f->err.code, TM_E_OK);
    assert_memory_equal(f->err.msg, "secret/b: ", 10);
    struct secrets_entry entry;
    assert_false(secrets_find(f->secrets, "b", &entry));
    holds(f, "a", VALUE, false);
    (void)rmdir(path);
}

static void sealed(void **state)
{
    struct fixture *f = *state;
    char path[128];
    char other[128];
    struct secrets_entry entry;
    put(f, "plain", VALUE, SECRETS_CREATED);
    with_seal(f, SEAL);
    assert_true(secrets_sealed(f->secrets));
    assert_non_null(strstr(f->notes, "secrets are stored encrypted with this host's key"));
    holds(f, "plain", VALUE, false); /* still read; encrypted when it is created again */
    put(f, "a", VALUE, SECRETS_CREATED);
    holds(f, "a", VALUE, true);
    assert_true(file_has(path_of(f, "a", path), "--name=tidemark-secret-a"));
    assert_false(file_has(path, VALUE));
    assert_int_equal(mode_of(path), 0600);
    put(f, "plain", VALUE, SECRETS_UNCHANGED);
    assert_false(file_has(path_of(f, "plain", path), VALUE));
    reopen(f);
    holds(f, "a", VALUE, true);
    holds(f, "plain", VALUE, true);
    /* under another name, and without the program, it is of no use */
    assert_int_equal(rename(path_of(f, "a", path), path_of(f, "b", other)), 0);
    reopen(f);
    assert_true(secrets_find(f->secrets, "b", &entry));
    assert_non_null(strstr(entry.why, "creds decrypt: name does not match"));
    assert_true(entry.encrypted);
    f->program[0] = '\0';
    reopen(f);
    assert_true(secrets_find(f->secrets, "plain", &entry));
    assert_string_equal(entry.why, "it is encrypted, and there is no systemd-creds");
}

/* A program that does not do what it should is not used. */
static void seals_that_are_none(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *script;
        const char *note;
    } cases[] = {
        {"#!/bin/sh\necho 'note' >&2\necho 'no key here' >&2\nexit 1\n",
         "systemd-creds cannot encrypt here: "},
        {"#!/bin/sh\ncat\n", "what should be encrypted is not"},
        {"#!/bin/sh\n[ $1 = encrypt ] && base64 || echo x\n", "does not come back"},
        {"#!/bin/sh\nkill -9 $$\n", "it was killed by signal 9"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        with_seal(f, cases[n].script);
        assert_false(secrets_sealed(f->secrets));
        assert_non_null(strstr(f->notes, cases[n].note));
        assert_non_null(strstr(f->notes, "plain files"));
    }
    with_seal(f, cases[0].script);
    assert_non_null(strstr(f->notes, "encrypt: no key here\n")); /* its last line */
    put(f, "a", VALUE, SECRETS_CREATED);
    holds(f, "a", VALUE, false);
}

/* It worked at the start: a secret is not stored in plain because it does not now. */
static void a_seal_that_breaks(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct secret_map map;
    struct tm_err err;
    with_seal(f, SEAL);
    assert_int_equal(unlink(f->program), 0);
    fill_map(&map, VALUE);
    assert_int_equal(secrets_put(f->secrets, "a", &map, 3, &err), 0);
    settle(f);
    assert_int_equal(f->err.code, TM_E_NOT_FOUND);
    assert_null(strstr(f->err.msg, VALUE));
    assert_int_equal(access(path_of(f, "a", path), F_OK), -1);
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(stored_replaced_removed),
        SCENE(bad_input),
        SCENE(what_a_crash_left),
        SCENE(damage_is_named),
        SCENE(too_many_files),
        SCENE(a_write_that_fails),
        SCENE(an_open_directory_is_refused),
        SCENE(sealed),
        SCENE(seals_that_are_none),
        SCENE(a_seal_that_breaks),
    };
    return cmocka_run_group_tests_name("coordinator/secrets/secrets", tests, NULL, NULL);
}
