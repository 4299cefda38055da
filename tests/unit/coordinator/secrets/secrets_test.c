/*
 * The store of secrets on a real directory: modes, replacing, leftovers of a crash, damage; sealed by
 * a program that stands in for systemd-creds.
 */
#include "coordinator/secrets/secrets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
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
    bool keyed;       /* dir/credentials is handed over */
    int64_t seal_timeout_us;
    unsigned done;
    uint64_t cmd;
    enum secrets_outcome outcome;
    struct tm_err err; /* code OK: done */
    char notes[64 << 10];
    int priority; /* of the last note */
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
    f->priority = priority;
}

static void open_secrets(struct fixture *f)
{
    char credentials[96];
    (void)snprintf(credentials, sizeof(credentials), "%s/credentials", f->dir);
    const struct secrets_options options = {.credentials_dir = f->keyed ? credentials : NULL,
                                            .seal_program = f->program,
                                            .seal_timeout_us = f->seal_timeout_us,
                                            .done = on_done,
                                            .note = on_note,
                                            .arg = f};
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

/* A key whose bytes are all `byte`; of another length than a key's it is none. */
static void with_key(struct fixture *f, char byte, size_t len)
{
    char path[128];
    char bytes[64];
    struct tm_err err;
    memset(bytes, byte, sizeof(bytes));
    (void)snprintf(path, sizeof(path), "%s/credentials", f->dir);
    assert_int_equal(fs_mkdir_p(path, 0700, &err), 0);
    (void)snprintf(path, sizeof(path), "%s/credentials/" SECRETS_KEY_NAME, f->dir);
    assert_int_equal(fs_write_atomic(path, slice_of(bytes, len), 0400, &err), 0);
    f->keyed = true;
    reopen(f);
}

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

/* The reason names the file. */
static void why_is(const struct fixture *f, const struct secrets_entry *entry, const char *why)
{
    char path[128];
    char want[TM_ERR_MSG_MAX];
    (void)snprintf(want, sizeof(want), "'%s': %s", path_of(f, entry->name, path), why);
    assert_non_null(entry->why);
    assert_string_equal(entry->why, want);
}

/* Because of `culprit`, which cannot be opened. */
static void put_refused(struct fixture *f, const char *name, const char *culprit)
{
    char path[128];
    char want[TM_ERR_MSG_MAX];
    struct secrets_entry entry;
    struct secret_map map;
    struct tm_err err;
    bool there = access(path_of(f, name, path), F_OK) == 0;
    assert_true(secrets_find(f->secrets, culprit, &entry));
    (void)snprintf(
        want, sizeof(want),
        "not stored: secret '%s' is there encrypted and cannot be opened, and this would "
        "be stored less well; restore its key, or delete it: %.200s",
        culprit, entry.why);
    fill_map(&map, VALUE);
    assert_int_equal(secrets_put(f->secrets, name, &map, 1, &err), -TM_E_REFUSED);
    assert_string_equal(err.msg, want);
    assert_int_equal(map.count, 0);
    assert_int_equal(access(path, F_OK) == 0, there);
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
    why_is(f, &entry, "its checksum is not that of its contents");
    assert_int_equal(entry.map->count, 0);
    assert_true(secrets_find(f->secrets, "b", &entry));
    why_is(f, &entry, "it is no secret of this version");
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
    why_is(f, &entry, "it is encrypted, and there is no systemd-creds");
    put_refused(f, "c", "b"); /* it would lie there in plain */
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

static void bytes_of(struct fixture *f, const char *name, struct buf *ret)
{
    char path[128];
    struct tm_err err;
    buf_reset(ret);
    assert_int_equal(fs_read_file(path_of(f, name, path), SECRET_FILE_MAX, ret, &err), 0);
}

#define KEY_X "a669f844a3544506" /* HMAC-SHA-256 of its name with 32 times 'x', by openssl dgst */
#define KEY_Y "74b7733993527456"

static void a_key_of_ones_own(void **state)
{
    struct fixture *f = *state;
    char path[128];
    put(f, "plain", VALUE, SECRETS_CREATED);
    with_seal(f, SEAL);
    put(f, "creds", VALUE, SECRETS_CREATED);
    with_key(f, 'x', 32);
    assert_true(secrets_sealed(f->secrets));
    assert_string_equal(f->notes,
                        "secrets are stored encrypted with key " KEY_X
                        " of credential 'tidemark.secrets-key'\n"
                        "2 secrets were stored before in a weaker form, 'creds' first: creating it "
                        "again encrypts it as new ones are\n");
    holds(f, "plain", VALUE, false);
    holds(f, "creds", VALUE, true);
    put(f, "a", VALUE, SECRETS_CREATED);
    put(f, "plain", VALUE, SECRETS_UNCHANGED);
    put(f, "creds", "other", SECRETS_CONFIGURED);
    const char *const names[] = {"a", "plain", "creds"};
    for (size_t n = 0; n < TM_ARRAY_LEN(names); n++) {
        assert_true(file_has(path_of(f, names[n], path), "tidemark secret 2 aes-256-gcm " KEY_X));
        assert_false(file_has(path, VALUE));
        assert_int_equal(mode_of(path), 0600);
    }
    reopen(f);
    assert_string_equal(f->notes, "secrets are stored encrypted with key " KEY_X
                                  " of credential 'tidemark.secrets-key'\n");
    holds(f, "a", VALUE, true);
    holds(f, "plain", VALUE, true);
    holds(f, "creds", "other", true);
}

/* Nothing that the right key would open is touched, and nothing weaker lies beside it. */
static void a_key_that_is_missing(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(buf_release) struct buf before = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf after = BUF_INIT;
    struct secrets_entry entry;
    struct tm_err err;
    with_key(f, 'x', 32);
    put(f, "a", VALUE, SECRETS_CREATED);
    bytes_of(f, "a", &before);
    f->keyed = false;
    for (int sealed = 0; sealed < 2; sealed++) { /* nor is systemd-creds as good */
        if (sealed == 1)
            with_seal(f, SEAL);
        else
            reopen(f);
        assert_true(secrets_find(f->secrets, "a", &entry));
        assert_true(entry.encrypted);
        assert_int_equal(entry.map->count, 0);
        why_is(f, &entry,
               "it is encrypted with key " KEY_X
               " of credential 'tidemark.secrets-key', and there is no such key here");
        assert_non_null(strstr(f->notes, entry.why));
        put_refused(f, "a", "a");
        put_refused(f, "b", "a");
    }
    bytes_of(f, "a", &after);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    f->keyed = true;
    reopen(f);
    holds(f, "a", VALUE, true);
    /* given up by hand */
    f->keyed = false;
    reopen(f);
    assert_int_equal(secrets_remove(f->secrets, "a", 9, &err), 0);
    settle(f);
    put(f, "b", VALUE, SECRETS_CREATED);
}

static void a_key_that_is_another(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(buf_release) struct buf before = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf after = BUF_INIT;
    struct secrets_entry entry;
    with_key(f, 'x', 32);
    put(f, "a", VALUE, SECRETS_CREATED);
    bytes_of(f, "a", &before);
    with_key(f, 'y', 32);
    assert_true(secrets_find(f->secrets, "a", &entry));
    why_is(f, &entry,
           "it is encrypted with key " KEY_X
           " of credential 'tidemark.secrets-key', and the key here is " KEY_Y);
    put(f, "b", VALUE, SECRETS_CREATED); /* as well stored as that */
    bytes_of(f, "a", &after);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    with_key(f, 'x', 32);
    holds(f, "a", VALUE, true);
    assert_true(secrets_find(f->secrets, "b", &entry));
    assert_non_null(entry.why);
    put(f, "b", VALUE, SECRETS_CONFIGURED); /* asked for */
    holds(f, "b", VALUE, true);
}

/* Something was handed over: that plain files are wanted it does not mean. */
static void a_key_that_is_none(void **state)
{
    struct fixture *f = *state;
    char want[TM_ERR_MSG_MAX];
    struct secret_map map;
    struct tm_err err;
    put(f, "plain", VALUE, SECRETS_CREATED);
    with_key(f, 'x', 31);
    (void)snprintf(want, sizeof(want),
                   "secrets that are created now are not stored: "
                   "'%s/credentials/tidemark.secrets-key' is no key: it has 31 bytes, 32 are "
                   "wanted\n",
                   f->dir);
    assert_string_equal(f->notes, want);
    holds(f, "plain", VALUE, false);
    fill_map(&map, "other");
    assert_int_equal(secrets_put(f->secrets, "plain", &map, 1, &err), -TM_E_REFUSED);
    (void)snprintf(want, sizeof(want),
                   "not stored: '%s/credentials/tidemark.secrets-key' is no key: it has 31 bytes, "
                   "32 are wanted",
                   f->dir);
    assert_string_equal(err.msg, want);
    holds(f, "plain", VALUE, false);
}

/* Held by the program and by what it has started. */
static bool lock_is_free(const struct fixture *f)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s.lock", f->program);
    TM_CLEANUP(closep) int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0); /* it did run */
    int64_t until_us = clock_mono_us() + 20 * USEC_PER_SEC;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0)
        if (clock_mono_us() > until_us)
            return false;
    return true;
}

/* The start goes on, whatever of it hangs: also one that ended its output before, and its children. */
static void a_seal_that_hangs(void **state)
{
    struct fixture *f = *state;
#define LOCK "#!/bin/sh\nexec 9>\"$0.lock\"\nflock 9\n"
    static const char *const scripts[] = {
        LOCK "sleep 1000\n", LOCK "exec >&- 2>&- <&-\nsleep 1000\n",
        LOCK "trap '' TERM\nwhile :; do sleep 1000; done\n",
        LOCK "sleep 1000 &\nexit 0\n", /* its child holds the output open */
    };
    struct secrets_entry entry;
    with_seal(f, SEAL);
    put(f, "a", VALUE, SECRETS_CREATED);
    put(f, "b", VALUE, SECRETS_CREATED);
    f->seal_timeout_us = USEC_PER_SEC;
    for (size_t n = 0; n < TM_ARRAY_LEN(scripts); n++) {
        int64_t before_us = clock_mono_us();
        with_seal(f, scripts[n]);
        int64_t took_us = clock_mono_us() - before_us;
        assert_true(took_us >= USEC_PER_SEC); /* one second in all, not one a call */
        assert_true(took_us < 10 * USEC_PER_SEC);
        assert_true(lock_is_free(f));
        assert_false(secrets_sealed(f->secrets));
        assert_true(secrets_find(f->secrets, "a", &entry));
        assert_non_null(strstr(entry.why, "decrypt: not tried, no time is left for it"));
        assert_non_null(strstr(f->notes, entry.why));
        put_refused(f, "c", "a");
    }
    f->seal_timeout_us = 0;
    with_seal(f, SEAL);
    holds(f, "a", VALUE, true);
    holds(f, "b", VALUE, true);
}

/* Nothing is there yet: a clear word, and the next best. */
static void a_seal_that_hangs_at_first(void **state)
{
    struct fixture *f = *state;
    char want[TM_ERR_MSG_MAX];
    f->seal_timeout_us = 200 * USEC_PER_MSEC;
    with_seal(f, "#!/bin/sh\nexec sleep 1000\n");
    (void)snprintf(want, sizeof(want),
                   "secrets are stored in plain files that only this user can read (mode 0600): "
                   "systemd-creds cannot encrypt here: %s encrypt: it did not end in time and was "
                   "killed\n",
                   f->program);
    assert_string_equal(f->notes, want);
    assert_int_equal(f->priority, LOG_WARNING);
    put(f, "a", VALUE, SECRETS_CREATED);
    holds(f, "a", VALUE, false);
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
        SCENE(a_seal_that_hangs),
        SCENE(a_seal_that_hangs_at_first),
        SCENE(a_key_of_ones_own),
        SCENE(a_key_that_is_missing),
        SCENE(a_key_that_is_another),
        SCENE(a_key_that_is_none),
    };
    return cmocka_run_group_tests_name("coordinator/secrets/secrets", tests, NULL, NULL);
}
