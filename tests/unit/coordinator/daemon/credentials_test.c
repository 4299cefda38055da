/* What an agent is sent of the secrets that its desired set names. */
#include "coordinator/daemon/credentials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/loop.h"

struct fixture {
    struct loop *loop;
    struct secrets *secrets;
    char dir[64];
    unsigned done;
};

static void on_done(void *arg, uint64_t cmd, const char *name, enum secrets_outcome outcome,
                    const struct tm_err *err)
{
    struct fixture *f = arg;
    (void)cmd;
    (void)name;
    (void)outcome;
    assert_null(err);
    f->done++;
}

static void on_note(void *arg, int priority, const char *text)
{
    (void)arg;
    (void)priority;
    (void)text;
}

static void put(struct fixture *f, const char *name, const char *key, const char *value)
{
    struct secret_map map = SECRET_MAP_INIT;
    struct tm_err err;
    unsigned before = f->done;
    int64_t until_us = clock_mono_us() + 20 * USEC_PER_SEC;
    assert_int_equal(secret_map_set(&map, key, value, strlen(value), &err), 0);
    assert_int_equal(secrets_put(f->secrets, name, &map, 7, &err), 0);
    while (f->done == before && clock_mono_us() < until_us)
        assert_true(loop_turn(f->loop, 20, &err) >= 0);
    assert_int_equal(f->done, before + 1);
}

static void open_store(struct fixture *f)
{
    const struct secrets_options options = {
        .seal_program = "", .done = on_done, .note = on_note, .arg = f};
    struct tm_err err;
    assert_int_equal(secrets_open(f->loop, f->dir, &options, &f->secrets, &err), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct tm_err err;
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/credentials_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, &err), 0);
    open_store(f);
    put(f, "s3", "access_key", "AK");
    put(f, "az", "AZURE_STORAGE_KEY", "blue");
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

static struct msg_secret s3 = {.name = "s3"}, az = {.name = "az"}, none = {.name = "none"};

/* A restore with two stores, a log task with three places, one without any, a probe. */
static struct msg_log_place places[] = {{.storage = "s3://one", .secret = &s3},
                                        {.storage = "file:///two"},
                                        {.storage = "s3://three", .secret = &none}};
static struct msg_log_place plain[] = {{.storage = "file:///one"}};
static struct msg_log_params with_places = {
    .flush_ms = 77, .places = places, .places_count = TM_ARRAY_LEN(places)};
static struct msg_log_params with_plain = {
    .flush_ms = 78, .places = plain, .places_count = TM_ARRAY_LEN(plain)};
static struct msg_assignment jobs[] = {
    {.name = "r", .storage = "s3://r", .secret = &s3, .full_secret = &az},
    {.name = "wal", .storage = "s3://l", .secret = &az, .log = &with_places},
    {.name = "wal2", .storage = "file:///l", .log = &with_plain}};
static struct msg_probe probes[] = {{.secret = &s3}};

static struct msg_desired whole(void)
{
    return (struct msg_desired){.revision = 5,
                                .lease_ms = 30000,
                                .jobs = jobs,
                                .jobs_count = TM_ARRAY_LEN(jobs),
                                .probes = probes,
                                .probes_count = TM_ARRAY_LEN(probes)};
}

static struct credentials *filled(struct fixture *f, bool private_line,
                                  const struct msg_desired *desired)
{
    struct credentials *full = NULL;
    struct tm_err err;
    assert_int_equal(credentials_fill(f->secrets, private_line, desired, &full, &err), 0);
    return full;
}

static void has(const struct msg_secret *secret, const char *name, const char *key,
                const char *value)
{
    assert_non_null(secret);
    assert_string_equal(secret->name, name);
    assert_null(secret->error);
    assert_int_equal(secret->pairs_count, 1);
    assert_string_equal(secret->pairs[0].name, key);
    assert_int_equal(secret->pairs[0].value.len, strlen(value));
    assert_memory_equal(secret->pairs[0].value.data, value, strlen(value));
}

static void is_refused(const struct msg_secret *secret, enum tm_err_code code, bool retryable,
                       const char *text)
{
    assert_non_null(secret);
    assert_int_equal(secret->pairs_count, 0);
    assert_non_null(secret->error);
    assert_int_equal(secret->error->code, code);
    assert_int_equal(secret->error->retryable, retryable);
    assert_string_equal(secret->error->stage, "credentials");
    assert_string_equal(secret->error->text, text);
}

static void each_gets_what_it_names(void **state)
{
    struct msg_desired desired = whole();
    TM_CLEANUP(credentials_freep) struct credentials *full = filled(*state, true, &desired);
    const struct msg_desired *d = credentials_desired(full);
    assert_int_equal(d->revision, 5);
    assert_int_equal(d->lease_ms, 30000);
    assert_int_equal(d->jobs_count, 3);
    assert_string_equal(d->jobs[0].storage, "s3://r");
    has(d->jobs[0].secret, "s3", "access_key", "AK");
    has(d->jobs[0].full_secret, "az", "AZURE_STORAGE_KEY", "blue");
    has(d->jobs[1].secret, "az", "AZURE_STORAGE_KEY", "blue");
    assert_null(d->jobs[1].full_secret);
    const struct msg_log_params *log = d->jobs[1].log;
    assert_int_equal(log->flush_ms, 77);
    assert_int_equal(log->places_count, 3);
    assert_string_equal(log->places[0].storage, "s3://one");
    has(log->places[0].secret, "s3", "access_key", "AK");
    assert_string_equal(log->places[1].storage, "file:///two");
    assert_null(log->places[1].secret);
    is_refused(log->places[2].secret, TM_E_NOT_FOUND, true,
               "there is no secret 'none': tidemark create secret none --from-literal KEY=VALUE …");
    assert_null(d->jobs[2].secret);
    assert_ptr_equal(d->jobs[2].log, &with_plain);
    assert_int_equal(d->probes_count, 1);
    has(d->probes[0].secret, "s3", "access_key", "AK");
    /* what it was made of still holds names alone */
    assert_ptr_equal(jobs[1].log->places[0].secret, &s3);
    assert_int_equal(s3.pairs_count, 0);
}

static void nothing_over_an_open_line(void **state)
{
    struct msg_desired desired = whole();
    TM_CLEANUP(credentials_freep) struct credentials *full = filled(*state, false, &desired);
    const struct msg_desired *d = credentials_desired(full);
    static const char text[] = "secret 's3' is not sent over a connection without TLS: use "
                               "tls+tcp:// between coordinator and agents, or set "
                               "br.sendCredToAgents: false and give every agent credentials of its "
                               "own";
    is_refused(d->jobs[0].secret, TM_E_REFUSED, false, text);
    is_refused(d->jobs[1].log->places[0].secret, TM_E_REFUSED, false, text);
    is_refused(d->probes[0].secret, TM_E_REFUSED, false, text);
}

static void sent_as_it_is_without_secrets(void **state)
{
    struct msg_desired desired = {.jobs = &jobs[2], .jobs_count = 1};
    assert_null(filled(*state, true, &desired));
}

static void damaged_on_disk(void **state)
{
    struct fixture *f = *state;
    struct msg_desired desired = {.jobs = jobs, .jobs_count = 1};
    struct secrets_entry entry;
    struct tm_err err;
    char path[128], text[512];
    (void)snprintf(path, sizeof(path), "%s/secrets/s3", f->dir);
    assert_int_equal(fs_write_atomic(path, slice_str("nonsense"), 0600, &err), 0);
    secrets_free(f->secrets);
    open_store(f);
    assert_true(secrets_find(f->secrets, "s3", &entry));
    assert_non_null(entry.why);
    (void)snprintf(text, sizeof(text),
                   "secret 's3' cannot be read by the coordinator, create it again: %s", entry.why);
    TM_CLEANUP(credentials_freep) struct credentials *full = filled(f, true, &desired);
    const struct msg_desired *d = credentials_desired(full);
    is_refused(d->jobs[0].secret, TM_E_UNAVAILABLE, true, text);
    has(d->jobs[0].full_secret, "az", "AZURE_STORAGE_KEY", "blue");
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(each_gets_what_it_names),
        SCENE(nothing_over_an_open_line),
        SCENE(sent_as_it_is_without_secrets),
        SCENE(damaged_on_disk),
    };
    return cmocka_run_group_tests_name("coordinator/daemon/credentials", tests, NULL, NULL);
}
