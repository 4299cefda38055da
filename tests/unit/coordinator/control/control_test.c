/*
 * The control socket over a real UNIX socket, with a real brain behind it: apply, list, get, delete,
 * every refusal, junk, half frames, too many peers, peers that leave.
 */
#include "tests/unit/coordinator/control/control_stage.h"

static void version(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, &(struct control_request){.command = CONTROL_VERSION}, &a);
    assert_int_equal(a.reply.version, CONTROL_PROTOCOL);
    assert_int_equal(a.reply.items_count, 1);
    assert_non_null(strstr(a.reply.items[0].json, "\"version\":\"9.9\""));
    assert_non_null(strstr(a.reply.items[0].json, "\"term\":7"));
}

static void apply_many(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    TM_CLEANUP(answer_release) struct answer a;
    struct control_request request = apply_of(DOC("one") DOC("two") DOC("three"));
    ask(f, fd, &request, &a);
    assert_null(a.reply.error);
    assert_int_equal(a.reply.warnings_count, 3);
    assert_string_equal(
        a.reply.warnings[0],
        "s.yaml:5:25: field 'logLevel' belongs to the daemons' configuration; ignored");
    assert_int_equal(a.reply.results_count, 3);
    static const char *const names[] = {"one", "two", "three"};
    for (size_t n = 0; n < 3; n++) {
        assert_string_equal(a.reply.results[n].kind, "backup");
        assert_string_equal(a.reply.results[n].name, names[n]);
        assert_string_equal(a.reply.results[n].outcome, "created");
    }
    TM_CLEANUP(answer_release) struct answer list;
    ask(f, fd, &(struct control_request){.command = CONTROL_LIST, .kind = "bk"}, &list);
    assert_int_equal(list.reply.items_count, 3);
    assert_string_equal(list.reply.after, "");
    assert_non_null(strstr(list.reply.items[0].json, "\"name\": \"one\""));
    assert_non_null(strstr(list.reply.items[1].json, "\"name\": \"three\""));
    assert_non_null(strstr(list.reply.items[2].json, "\"phase\": \"Scheduled\""));
}

static void life_of_a_backup(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    struct control_request apply = apply_of(DOC("one"));
    expect_outcome(f, fd, &apply, "created");
    expect_outcome(f, fd, &apply, "unchanged");
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, &(struct control_request){.command = CONTROL_GET, .kind = "Backup", .name = "one"},
        &a);
    assert_int_equal(a.reply.items_count, 1);
    expect_outcome(
        f, fd,
        &(struct control_request){.command = CONTROL_DELETE, .kind = "backup", .name = "one"},
        "deleted");
    expect_error(f, fd,
                 &(struct control_request){.command = CONTROL_GET, .kind = "bk", .name = "one"},
                 TM_E_NOT_FOUND, "backup/one: not found");
}

static void dry_run_changes_nothing(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    TM_CLEANUP(answer_release) struct answer a;
    struct control_request request = apply_of(DOC("one"));
    request.dry_run = true;
    ask(f, fd, &request, &a);
    assert_null(a.reply.error);
    assert_int_equal(a.reply.warnings_count, 1);
    expect_error(f, fd,
                 &(struct control_request){.command = CONTROL_GET, .kind = "bk", .name = "one"},
                 TM_E_NOT_FOUND, "backup/one: not found");
}

static void refusals_keep_the_connection(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    struct control_request broken = apply_of(DOC("one") "---\nkind: [");
    struct control_request later =
        apply_of("apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: x}\n"
                 "spec: {br: {cluster: c}, backupMode: volume-snapshot, local: {path: /x}}\n");
    expect_error(f, fd, &later, TM_E_UNSUPPORTED,
                 "s.yaml:4:26: volume snapshots are not taken; use backupMode snapshot");
    expect_error(f, fd, &(struct control_request){.command = CONTROL_GET, .kind = "bakcup"},
                 TM_E_INVALID, "unknown kind 'bakcup', did you mean 'backup'?");
    expect_error(f, fd, &(struct control_request){.command = CONTROL_DELETE, .kind = "backup"},
                 TM_E_INVALID, "backup: a name is missing");
    expect_error(f, fd, &(struct control_request){.command = 99}, TM_E_UNSUPPORTED,
                 "command 99 is not known to this coordinator");
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, &broken, &a);
    assert_int_equal(a.reply.error->code, TM_E_INVALID);
    assert_memory_equal(a.reply.error->text, "s.yaml:", 7);
    TM_CLEANUP(answer_release) struct answer list; /* nothing of the broken file was applied */
    ask(f, fd, &(struct control_request){.command = CONTROL_LIST}, &list);
    assert_int_equal(list.reply.items_count, 0);
}

static void another_protocol_is_named(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    TM_CLEANUP(answer_release) struct answer a;
    ask_raw(fd, &(struct control_request){.version = 2, .command = CONTROL_VERSION});
    assert_true(take(f, fd, &a));
    assert_int_equal(a.reply.error->code, TM_E_UNSUPPORTED);
    assert_string_equal(a.reply.error->text,
                        "this coordinator speaks version 1 of the control protocol, not 2; use the "
                        "tidemark command of its release");
    assert_true(is_over(f, fd));
}

static void pages(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    enum { TOTAL = 50, PADDING = 40000 }; /* together more than a page holds */
    TM_CLEANUP(freep) char *padding = calloc(1, PADDING + 1);
    assert_non_null(padding);
    memset(padding, 'x', PADDING);
    for (size_t n = 0; n < TOTAL; n++) {
        TM_CLEANUP(freep) char *yaml = NULL;
        assert_true(asprintf(&yaml,
                             "{apiVersion: tidemark/v1, kind: Backup, metadata: {name: b%02zu}, "
                             "spec: {br: {cluster: c}, local: {path: /x}, env: %s}}",
                             n, padding) > 0);
        struct control_request request = apply_of(yaml);
        expect_outcome(f, fd, &request, "created");
    }
    struct control_request request = {.command = CONTROL_LIST, .kind = "backup"};
    TM_CLEANUP(answer_release) struct answer first;
    TM_CLEANUP(answer_release) struct answer second;
    ask(f, fd, &request, &first);
    assert_in_range(first.reply.items_count, 20, TOTAL - 1);
    memcpy(request.after, first.reply.after, sizeof(request.after));
    ask(f, fd, &request, &second);
    assert_int_equal(first.reply.items_count + second.reply.items_count, TOTAL);
    assert_string_equal(second.reply.after, "");
    assert_non_null(strstr(second.reply.items[second.reply.items_count - 1].json, "\"b49\""));
}

static void junk(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 42;
    for (int round = 0; round < 200; round++) {
        TM_CLEANUP(closep) int fd = dial(f);
        uint8_t bytes[600];
        size_t len = 1 + next_random(&seed) % sizeof(bytes);
        for (size_t n = 0; n < len; n++)
            bytes[n] = (uint8_t)(next_random(&seed) >> 33);
        if (round % 2 == 0 && len > 4) /* a believable length in front */
            be32_put(bytes, (uint32_t)(len - 4));
        put(fd, bytes, len);
        TM_CLEANUP(answer_release) struct answer a = {0};
        if (len >= 4 && (round % 2 == 0 || be32_get(bytes) > CONTROL_REQUEST_MAX_BYTES) &&
            len > 4) {
            assert_true(take(f, fd, &a));
            assert_non_null(a.reply.error);
            assert_true(is_over(f, fd));
        }
    }
    version(state);
}

static void a_byte_at_a_time(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};
    struct control_request request = {.version = CONTROL_PROTOCOL, .command = CONTROL_VERSION};
    assert_int_equal(control_request_encode(&request, &out, &err), 0);
    assert_int_equal(control_request_encode(&request, &out, &err), 0); /* two in a row */
    for (size_t n = 0; n < out.len; n++) {
        put(fd, out.data + n, 1);
        if (n % 3 == 0)
            turn(f);
        if (n + 1 == out.len / 2) {
            TM_CLEANUP(answer_release) struct answer a;
            assert_true(take(f, fd, &a));
            assert_null(a.reply.error);
        }
    }
    TM_CLEANUP(answer_release) struct answer a;
    assert_true(take(f, fd, &a));
    assert_null(a.reply.error);
}

static void clients_that_leave(void **state)
{
    struct fixture *f = *state;
    struct control_request apply = apply_of(DOC("one") DOC("two"));
    apply.version = CONTROL_PROTOCOL;
    f->hold = true;
    int fd = dial(f);
    ask_raw(fd, &apply);
    turn(f); /* the first one is with the brain */
    closep(&fd);
    turn(f);
    f->hold = false;
    turn(f); /* its answer finds nobody; what was begun stays done, the rest is not begun */
    TM_CLEANUP(closep) int other = dial(f);
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, other, &(struct control_request){.command = CONTROL_LIST}, &a);
    assert_int_equal(a.reply.items_count, 1);
}

static void too_many_clients(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CONNECTIONS_MAX];
    for (size_t n = 0; n < TM_ARRAY_LEN(fds); n++)
        fds[n] = dial(f);
    int one_more = dial(f);
    assert_true(is_over(f, one_more));
    closep(&one_more);
    closep(&fds[3]);
    turn(f);
    fds[3] = dial(f);
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fds[3], &(struct control_request){.command = CONTROL_VERSION}, &a);
    assert_null(a.reply.error);
    for (size_t n = 0; n < TM_ARRAY_LEN(fds); n++)
        closep(&fds[n]);
    turn(f);
}

static void the_socket_itself(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    struct tm_err err = {0};
    struct control *second = NULL;
    const struct control_config config = config_of(f);
    char text[256];
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    (void)snprintf(text, sizeof(text), "control socket '%s': another coordinator listens there",
                   f->path);
    assert_int_equal(control_new(f->loop, &config, &second, &err), -TM_E_EXISTS);
    assert_string_equal(err.msg, text);

    struct control_config other = config;
    char plain[128];
    (void)snprintf(plain, sizeof(plain), "%s/plain", f->dir);
    int fd = open(plain, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    closep(&fd);
    other.path = plain;
    (void)snprintf(text, sizeof(text), "control socket '%s': something else is there", plain);
    assert_int_equal(control_new(f->loop, &other, &second, &err), -TM_E_EXISTS);
    assert_string_equal(err.msg, text);
    assert_int_equal(unlink(plain), 0);

    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* left behind by a killed daemon */
    memcpy(address.sun_path, plain, strlen(plain) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    closep(&fd);
    assert_int_equal(control_new(f->loop, &other, &second, &err), 0);
    control_free(second);
}

static void who_may(void **state)
{
    (void)state;
    const gid_t groups[] = {5, 900};
    const struct control_peer root = {.uid = 0};
    const struct control_peer daemon = {.uid = 77};
    const struct control_peer member = {.uid = 1000, .gid = 900};
    const struct control_peer other_member = {
        .uid = 1000, .gid = 1000, .groups = groups, .group_count = 2};
    const struct control_peer stranger = {
        .uid = 1000, .gid = 1000, .groups = groups, .group_count = 1};
    struct tm_err err = {0};
    const struct control_peer *const trusted[] = {&root, &daemon, &member, &other_member};
    for (size_t n = 0; n < TM_ARRAY_LEN(trusted); n++)
        for (uint32_t command = CONTROL_APPLY; command <= CONTROL_SECRET_DELETE; command++)
            assert_int_equal(control_authorise(trusted[n], command, 77, 900, &err), 0);
    static const uint32_t changes[] = {CONTROL_APPLY,      CONTROL_DELETE,        CONTROL_RETRY,
                                       CONTROL_SECRET_PUT, CONTROL_SECRET_DELETE, 99};
    static const uint32_t reads[] = {CONTROL_LIST,    CONTROL_GET,   CONTROL_NODES,
                                     CONTROL_VERSION, CONTROL_QUERY, CONTROL_SECRETS};
    for (size_t n = 0; n < TM_ARRAY_LEN(changes); n++)
        assert_int_equal(control_authorise(&stranger, changes[n], 77, 900, &err), -TM_E_PERMISSION);
    for (size_t n = 0; n < TM_ARRAY_LEN(reads); n++)
        assert_int_equal(control_authorise(&stranger, reads[n], 77, 900, &err), 0);
    assert_int_equal(tm_err_exit_status(TM_E_PERMISSION), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(version, setup, teardown),
        cmocka_unit_test_setup_teardown(apply_many, setup, teardown),
        cmocka_unit_test_setup_teardown(life_of_a_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(dry_run_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_keep_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(another_protocol_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(pages, setup, teardown),
        cmocka_unit_test_setup_teardown(junk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_byte_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(clients_that_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(the_socket_itself, setup, teardown),
        cmocka_unit_test(who_may),
    };
    return cmocka_run_group_tests_name("coordinator/control/control", tests, NULL, NULL);
}
