/*
 * Secrets over the control socket: stored, listed without what they hold, named by specs, removed; and
 * refused with words that tell no value.
 */
#include "coordinator/secrets/secrets.h"
#include "common/fs.h"
#include "tests/unit/coordinator/control/control_stage.h"

#define VALUE "hunter2-value"

static struct secrets *secrets;
static unsigned changes;

static void on_done(void *arg, uint64_t cmd, const char *name, enum secrets_outcome outcome,
                    const struct tm_err *err)
{
    static const enum brain_outcome outcomes[] = {[SECRETS_CREATED] = BRAIN_CREATED,
                                                  [SECRETS_CONFIGURED] = BRAIN_CONFIGURED,
                                                  [SECRETS_UNCHANGED] = BRAIN_UNCHANGED,
                                                  [SECRETS_DELETED] = BRAIN_DELETED};
    struct fixture *f = arg;
    (void)name;
    changes++;
    control_answer(f->control, cmd, outcomes[outcome], err);
}

static int secret_setup(void **state)
{
    assert_int_equal(setup(state), 0);
    struct fixture *f = *state;
    struct tm_err err;
    const struct secrets_options options = {.seal_program = "", .done = on_done, .arg = f};
    struct control_config config = config_of(f);
    control_free(f->control);
    if (secrets_open(f->loop, f->dir, &options, &secrets, &err) < 0)
        fail_msg("%s", err.msg);
    config.secrets = secrets;
    if (control_new(f->loop, &config, &f->control, &err) < 0)
        fail_msg("%s", err.msg);
    return 0;
}

static int secret_teardown(void **state)
{
    struct fixture *f = *state;
    struct tm_err err;
    char path[128];
    secrets_free(secrets);
    (void)snprintf(path, sizeof(path), "%s/secrets", f->dir);
    assert_int_equal(fs_remove_tree(path, true, &err), 0);
    return teardown(state);
}

/* The worker's turn, then the answer. */
static void ask_change(struct fixture *f, int fd, struct control_request *request,
                       const char *outcome)
{
    TM_CLEANUP(answer_release) struct answer a;
    struct tm_err err;
    unsigned before = changes;
    request->version = CONTROL_PROTOCOL;
    ask_raw(fd, request);
    for (int tries = 0; tries < 400 && changes == before; tries++)
        if (loop_turn(f->loop, 25, &err) < 0)
            fail_msg("%s", err.msg);
    assert_true(take(f, fd, &a));
    if (a.reply.error != NULL)
        fail_msg("%s", a.reply.error->text);
    assert_int_equal(a.reply.results_count, 1);
    assert_null(a.reply.results[0].error);
    assert_string_equal(a.reply.results[0].kind, "secret");
    assert_string_equal(a.reply.results[0].name, request->name);
    assert_string_equal(a.reply.results[0].outcome, outcome);
}

static struct control_request put_of(const char *name, struct msg_pair *pairs, size_t count)
{
    struct control_request request = {
        .command = CONTROL_SECRET_PUT, .pairs = pairs, .pairs_count = count};
    (void)snprintf(request.name, sizeof(request.name), "%s", name);
    return request;
}

static void create(struct fixture *f, int fd, const char *name, const char *outcome)
{
    struct msg_pair pairs[] = {{.name = "access_key", .value = slice_str("AK")},
                               {.name = "secret_key", .value = slice_str(VALUE)}};
    struct control_request request = put_of(name, pairs, 2);
    ask_change(f, fd, &request, outcome);
}

static void life_of_a_secret(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    create(f, fd, "s3", "created");
    create(f, fd, "s3", "unchanged");
    create(f, fd, "another", "created");
    TM_CLEANUP(answer_release) struct answer list;
    ask(f, fd, &(struct control_request){.command = CONTROL_SECRETS}, &list);
    assert_null(list.reply.error);
    assert_int_equal(list.reply.items_count, 2);
    assert_string_equal(list.reply.after, "");
    assert_memory_equal(
        list.reply.items[1].json,
        "{\"apiVersion\":\"tidemark/v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":"
        "\"s3\"},\"keys\":[\"access_key\",\"secret_key\"],\"file\":\"plain\",",
        118);
    for (size_t n = 0; n < 2; n++)
        assert_null(strstr(list.reply.items[n].json, VALUE));
    TM_CLEANUP(answer_release) struct answer one;
    ask(f, fd, &(struct control_request){.command = CONTROL_SECRETS, .name = "s3"}, &one);
    assert_int_equal(one.reply.items_count, 1);
    assert_non_null(strstr(one.reply.items[0].json, "\"usedBy\":[]"));
    ask_change(f, fd, &(struct control_request){.command = CONTROL_SECRET_DELETE, .name = "s3"},
               "deleted");
    expect_error(f, fd, &(struct control_request){.command = CONTROL_SECRETS, .name = "s3"},
                 TM_E_NOT_FOUND, "secret/s3: not found");
    expect_error(f, fd, &(struct control_request){.command = CONTROL_SECRET_DELETE, .name = "s3"},
                 TM_E_NOT_FOUND, "secret/s3: not found");
}

static void bad_input(void **state)
{
    struct fixture *f = *state;
    unsigned before = changes;
    TM_CLEANUP(closep) int fd = dial(f);
    struct msg_pair pairs[] = {{.name = "k", .value = slice_str(VALUE)},
                               {.name = "k", .value = slice_str(VALUE)}};
    struct control_request request = put_of("", pairs, 1);
    expect_error(f, fd, &request, TM_E_INVALID, "secret: a name is missing");
    request = put_of("s3", NULL, 0);
    expect_error(f, fd, &request, TM_E_INVALID, "secret: a secret without a key holds nothing");
    request = put_of("s3", pairs, 2);
    expect_error(f, fd, &request, TM_E_INVALID, "secret 's3': key 'k' is given twice");
    (void)snprintf(pairs[0].name, sizeof(pairs[0].name), "%s", "a b");
    request = put_of("s3", pairs, 1);
    expect_error(f, fd, &request, TM_E_INVALID,
                 "secret 's3': 'a b' is no key of a secret: 1 to 63 letters, digits, '.', '_' or "
                 "'-'");
    assert_int_equal(changes, before);
}

static void unknown_keys_are_named(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    TM_CLEANUP(answer_release) struct answer a;
    struct msg_pair pairs[] = {{.name = "acces_key", .value = slice_str("AK")},
                               {.name = "zzz", .value = slice_str(VALUE)}};
    struct control_request request = put_of("s3", pairs, 2);
    struct tm_err err;
    unsigned before = changes;
    request.version = CONTROL_PROTOCOL;
    ask_raw(fd, &request);
    for (int tries = 0; tries < 400 && changes == before; tries++)
        assert_true(loop_turn(f->loop, 25, &err) >= 0);
    assert_true(take(f, fd, &a));
    assert_int_equal(a.reply.warnings_count, 2);
    assert_string_equal(a.reply.warnings[0],
                        "key 'acces_key' is used by no store, did you mean 'access_key'?");
    assert_string_equal(a.reply.warnings[1], "key 'zzz' is used by no store");
}

#define S3(name, secret, more)                                                                     \
    "---\napiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name "}\n"                     \
    "spec: {br: {cluster: c" more "}, s3: {bucket: bucket, secretName: " secret "}}\n"
#define AZ(name, secret)                                                                           \
    "---\napiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name "}\n"                     \
    "spec: {br: {cluster: c}, azblob: {container: full, secretName: " secret "}}\n"

static void specs_need_them(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    struct control_request request = apply_of(DOC("first") S3("one", "s3", ""));
    expect_error(f, fd, &request, TM_E_INVALID,
                 "backup/one: there is no secret 's3'; create it first: tidemark create secret s3 "
                 "--from-literal KEY=VALUE …, or set br.sendCredToAgents: false when every agent "
                 "has credentials of its own");
    expect_error(f, fd,
                 &(struct control_request){.command = CONTROL_GET, .kind = "bk", .name = "first"},
                 TM_E_NOT_FOUND, "backup/first: not found"); /* nothing of the file was applied */
    request = apply_of(S3("own", "s3", ", sendCredToTikv: false"));
    expect_outcome(f, fd, &request, "created");
    create(f, fd, "s3", "created");
    request = apply_of(AZ("az", "s3"));
    expect_error(f, fd, &request, TM_E_INVALID,
                 "backup/az: secret 's3' will not do: AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, "
                 "or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are needed for "
                 "Azure");
    request = apply_of(S3("one", "s3", ""));
    expect_outcome(f, fd, &request, "created");
    expect_error(f, fd, &(struct control_request){.command = CONTROL_SECRET_DELETE, .name = "s3"},
                 TM_E_REFUSED,
                 "secret/s3: is named by backup/one; delete what names it first, or use --force");
    ask_change(
        f, fd,
        &(struct control_request){.command = CONTROL_SECRET_DELETE, .name = "s3", .force = true},
        "deleted");
    request = apply_of(S3("one", "s3", "")); /* what is there already is not kept from changes */
    expect_outcome(f, fd, &request, "unchanged");
    request = apply_of(S3("one", "gone", ""));
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, &request, &a);
    assert_non_null(a.reply.error);
    assert_non_null(strstr(a.reply.error->text, "there is no secret 'gone'"));
}

static void many_users(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    create(f, fd, "s3", "created");
    struct control_request request =
        apply_of(S3("a", "s3", "") S3("b", "s3", "") S3("c", "s3", "") S3("d", "s3", ""));
    TM_CLEANUP(answer_release) struct answer applied;
    ask(f, fd, &request, &applied);
    assert_int_equal(applied.reply.results_count, 4);
    expect_error(f, fd, &(struct control_request){.command = CONTROL_SECRET_DELETE, .name = "s3"},
                 TM_E_REFUSED,
                 "secret/s3: is named by backup/a, backup/b, backup/c and others; delete what "
                 "names it first, or use --force");
    TM_CLEANUP(answer_release) struct answer one;
    ask(f, fd, &(struct control_request){.command = CONTROL_SECRETS, .name = "s3"}, &one);
    assert_non_null(strstr(one.reply.items[0].json,
                           "\"usedBy\":[\"backup/a\",\"backup/b\",\"backup/c\",\"backup/d\"]"));
}

static void none_are_kept(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    expect_error(f, fd, &(struct control_request){.command = CONTROL_SECRETS}, TM_E_UNSUPPORTED,
                 "this coordinator keeps no secrets");
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, secret_setup, secret_teardown)
    const struct CMUnitTest tests[] = {
        SCENE(bad_input),
        SCENE(life_of_a_secret),
        SCENE(unknown_keys_are_named),
        SCENE(specs_need_them),
        SCENE(many_users),
        cmocka_unit_test_setup_teardown(none_are_kept, setup, teardown),
    };
    return cmocka_run_group_tests_name("coordinator/control/secret", tests, NULL, NULL);
}
