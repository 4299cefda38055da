/* One secret's file in each of its forms, and every way it can fail to open. */
#include "coordinator/secrets/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"

#define VALUE "hunter2-value"
#define HEAD  "tidemark secret 2 aes-256-gcm 0123456789abcdef\n"

static const struct secrets_key key = {.bytes = {1, 2, 3}, .id = "0123456789abcdef"};
static const struct secrets_key other = {.bytes = {1, 2, 4}, .id = "fedcba9876543210"};
static const struct secrets_key twin = {.bytes = {1, 2, 5}, .id = "0123456789abcdef"};

static void fill_map(struct secret_map *map)
{
    struct tm_err err;
    *map = SECRET_MAP_INIT;
    assert_int_equal(secret_map_set(map, "secret_key", VALUE, strlen(VALUE), &err), 0);
}

static void encode(const char *name, enum secret_form form, const struct secret_means *means,
                   struct buf *out)
{
    struct secret_map map;
    struct tm_err err;
    fill_map(&map);
    if (secret_file_encode(name, &map, form, means, out, &err) < 0)
        fail_msg("%s", err.msg);
    secret_map_release(&map);
}

static void opens(const char *name, struct slice in, const struct secret_means *means,
                  enum secret_form form)
{
    struct secret_map map = SECRET_MAP_INIT;
    enum secret_form found;
    struct tm_err err;
    if (secret_file_decode(name, in, means, &found, &map, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(found, form);
    const struct secret *secret = secret_map_get(&map, "secret_key");
    assert_non_null(secret);
    assert_int_equal(secret->len, strlen(VALUE));
    assert_memory_equal(secret->data, VALUE, secret->len);
    secret_map_release(&map);
}

static void fails(const char *name, struct slice in, const struct secret_means *means,
                  enum secret_form form, enum tm_err_code code, const char *why)
{
    struct secret_map map = SECRET_MAP_INIT;
    enum secret_form found;
    struct tm_err err;
    assert_int_equal(secret_file_decode(name, in, means, &found, &map, &err), -(int)code);
    assert_string_equal(err.msg, why);
    assert_int_equal(found, form);
    assert_int_equal(map.count, 0);
}

static void with_a_key(void **state)
{
    static const char changed[] = "it was changed, or belongs to a secret of another name";
    const struct secret_means means = {.key = &key};
    const struct secret_means none = {.key = NULL};
    const struct secret_means wrong = {.key = &other};
    const struct secret_means same_id = {.key = &twin};
    TM_CLEANUP(buf_release) struct buf file = BUF_INIT;
    (void)state;
    encode("a", SECRET_FORM_KEY, &means, &file);
    const struct slice all = buf_slice(&file);
    assert_memory_equal(all.data, HEAD, strlen(HEAD));
    assert_null(memmem(all.data, all.len, VALUE, strlen(VALUE)));
    assert_null(memmem(all.data, all.len, "secret_key", 10));
    opens("a", all, &means, SECRET_FORM_KEY);

    fails("b", all, &means, SECRET_FORM_KEY, TM_E_CORRUPT, changed);
    fails("a", all, &same_id, SECRET_FORM_KEY, TM_E_CORRUPT, changed);
    fails("a", all, &none, SECRET_FORM_KEY, TM_E_UNSUPPORTED,
          "it is encrypted with key 0123456789abcdef of credential 'tidemark.secrets-key', and "
          "there is no such key here");
    fails("a", all, &wrong, SECRET_FORM_KEY, TM_E_UNSUPPORTED,
          "it is encrypted with key 0123456789abcdef of credential 'tidemark.secrets-key', and the "
          "key here is fedcba9876543210");
    for (size_t len = 0; len < all.len; len++) {
        const bool known = len >= strlen("tidemark secret 2 aes-256-gcm ");
        fails("a", slice_of(all.data, len), &means, known ? SECRET_FORM_KEY : SECRET_FORM_PLAIN,
              TM_E_CORRUPT,
              !known                         ? "it is no secret of this version"
              : len < strlen(HEAD) + 12 + 16 ? "it is too short"
                                             : changed);
    }
    /* the id of the first line is vouched for, too */
    memcpy(file.data + strlen("tidemark secret 2 aes-256-gcm "), other.id, SECRETS_KEY_ID);
    const struct secret_means renamed = {
        .key = &(struct secrets_key){.bytes = {1, 2, 3}, .id = "fedcba9876543210"}};
    fails("a", all, &renamed, SECRET_FORM_KEY, TM_E_CORRUPT, changed);
    file.data[strlen("tidemark secret 2 aes-256-gcm ")] = '\n';
    fails("a", all, &means, SECRET_FORM_KEY, TM_E_CORRUPT, "its first line names no key");
}

/* Files of before, whatever there is now to encrypt with. */
static void of_before(void **state)
{
    static const char script[] =
        "#!/bin/sh\n[ $1 = encrypt ] && { echo \"$2\"; base64; exit; }\nread -r name\n"
        "[ \"$name\" = \"$2\" ] && base64 -d\n";
    char dir[] = "/tmp/file_test.XXXXXX";
    char program[64];
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf plain = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(program, sizeof(program), "%s/creds", dir);
    assert_int_equal(fs_write_atomic(program, slice_str(script), 0700, &err), 0);
    const struct secret_means all = {
        .key = &key, .program = program, .until_us = clock_mono_us() + 60 * USEC_PER_SEC};
    const struct secret_means only_key = {.key = &key};
    const struct secret_means late = {.key = &key, .program = program, .until_us = 1};
    char want[192];

    encode("a", SECRET_FORM_PLAIN, &all, &plain);
    assert_memory_equal(plain.data, "tidemark secret 1 plain\n", 24);
    opens("a", buf_slice(&plain), &all, SECRET_FORM_PLAIN);
    opens("a", buf_slice(&plain), &only_key, SECRET_FORM_PLAIN);
    fails("a", slice_of(plain.data, 24 + 15), &all, SECRET_FORM_PLAIN, TM_E_CORRUPT,
          "it is too short");
    fails("a", slice_of(plain.data, plain.len - 1), &all, SECRET_FORM_PLAIN, TM_E_CORRUPT,
          "its checksum is not that of its contents");

    encode("a", SECRET_FORM_CREDS, &all, &sealed);
    assert_memory_equal(sealed.data, "tidemark secret 1 systemd-creds\n--name=tidemark-secret-a\n",
                        57);
    opens("a", buf_slice(&sealed), &all, SECRET_FORM_CREDS);
    fails("a", buf_slice(&sealed), &only_key, SECRET_FORM_CREDS, TM_E_UNSUPPORTED,
          "it is encrypted, and there is no systemd-creds");
    (void)snprintf(want, sizeof(want), "%s decrypt: it failed and does not say why", program);
    fails("b", buf_slice(&sealed), &all, SECRET_FORM_CREDS, TM_E_IO, want);
    (void)snprintf(want, sizeof(want), "%s decrypt: not tried, no time is left for it", program);
    fails("a", buf_slice(&sealed), &late, SECRET_FORM_CREDS, TM_E_TIMEOUT, want);
    assert_int_equal(fs_remove_tree(dir, true, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_key),
        cmocka_unit_test(of_before),
    };
    return cmocka_run_group_tests_name("coordinator/secrets/file", tests, NULL, NULL);
}
