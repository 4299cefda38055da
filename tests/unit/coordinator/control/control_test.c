/*
 * The control socket over a real UNIX socket, with a real brain behind it: apply, list, get, delete,
 * every refusal, junk, half frames, too many peers, peers that leave.
 */
#include "coordinator/control/control.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/clock.h"
#include "proto/wire/control.h"

#define TXNS_MAX 64

struct fixture {
    struct loop *loop;
    struct brain *brain;
    struct control *control;
    bool stepping;
    bool hold; /* transactions wait for settle() */
    uint64_t txns[TXNS_MAX];
    size_t txn_count;
    struct message reply; /* the brain's newest to an agent */
    char dir[64];
    char path[96];
};

/* ---- a daemon in a few lines ---- */

static uint64_t next_random(void *arg)
{
    uint64_t *state = arg;
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state;
}

static void feed(void *arg, const struct brain_event *event)
{
    struct fixture *f = arg;
    struct brain_actions actions = {0};
    struct tm_err err = {0};
    const struct brain_now now = {.mono_us = (uint64_t)clock_mono_us(), .real_us = clock_real_us()};
    assert_false(f->stepping); /* nobody may feed from inside an answer */
    f->stepping = true;
    if (brain_step(f->brain, event, now, &actions, &err) < 0)
        fail_msg("%s", err.msg);
    for (size_t n = 0; n < actions.count; n++) {
        const struct brain_action *a = &actions.items[n];
        if (a->kind == BRAIN_ACT_PERSIST) {
            assert_true(f->txn_count < TXNS_MAX);
            f->txns[f->txn_count++] = a->persist.txn;
        } else if (a->kind == BRAIN_ACT_ANSWER) {
            if (a->answer.log != NULL)
                control_answer_log(f->control, a->answer.cmd, a->answer.log, a->answer.cluster,
                                   a->answer.tenant);
            else
                control_answer(f->control, a->answer.cmd, a->answer.outcome, a->answer.err);
        } else if (a->kind == BRAIN_ACT_REPLY) {
            message_release(&f->reply);
            assert_int_equal(message_copy(a->reply.message, &f->reply, &err), 0);
        }
    }
    f->stepping = false;
}

static void persist(struct fixture *f)
{
    while (f->txn_count > 0) {
        struct brain_event event = {.kind = BRAIN_EV_PERSISTED,
                                    .persisted = {.txn = f->txns[0], .ok = true}};
        f->txn_count--;
        memmove(f->txns, f->txns + 1, f->txn_count * sizeof(f->txns[0]));
        feed(f, &event);
    }
}

static const struct brain *look(void *arg)
{
    return ((struct fixture *)arg)->brain;
}

static void turn(struct fixture *f)
{
    struct tm_err err = {0};
    for (int n = 0; n < 8; n++) {
        if (loop_turn(f->loop, 0, &err) < 0)
            fail_msg("%s", err.msg);
        if (!f->hold)
            persist(f);
    }
}

static struct control_config config_of(struct fixture *f)
{
    return (struct control_config){
        .path = f->path, .version = "9.9", .brain = look, .feed = feed, .arg = f};
}

static int setup(void **state)
{
    static uint64_t seed = 1;
    struct fixture *f = calloc(1, sizeof(*f));
    struct tm_err err = {0};
    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/control_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/control.sock", f->dir);
    const struct brain_config brain = {.term = 7, .start = 1};
    const struct brain_rng rng = {.next = next_random, .arg = &seed};
    const struct control_config config = config_of(f);
    if (loop_new(&f->loop, &err) < 0 || brain_new(&brain, rng, &f->brain, &err) < 0 ||
        control_new(f->loop, &config, &f->control, &err) < 0)
        fail_msg("%s", err.msg);
    feed(f, &(struct brain_event){.kind = BRAIN_EV_LOADED_END});
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    control_free(f->control);
    brain_free(f->brain);
    message_release(&f->reply);
    loop_free(f->loop);
    assert_int_equal(access(f->path, F_OK), -1); /* the socket goes with the daemon */
    (void)rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- a client ---- */

struct answer {
    struct control_reply reply;
    struct codec_arena arena;
};

static void answer_release(struct answer *a)
{
    codec_arena_release(&a->arena);
}

static int dial(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, f->path, strlen(f->path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    turn(f);
    return fd;
}

static void put(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* True when the server has hung up and nothing is left to read. */
static bool is_over(struct fixture *f, int fd)
{
    uint8_t byte;
    turn(f);
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static bool take(struct fixture *f, int fd, struct answer *ret)
{
    TM_CLEANUP(buf_release) struct buf in = BUF_INIT;
    struct tm_err err = {0};
    memset(ret, 0, sizeof(*ret));
    for (int tries = 0; tries < 200; tries++) {
        turn(f);
        if (buf_reserve(&in, 65536, &err) < 0)
            fail_msg("%s", err.msg);
        ssize_t got = recv(fd, in.data + in.len, 65536, MSG_DONTWAIT);
        if (got == 0)
            return false;
        if (got > 0)
            in.len += (size_t)got;
        if (in.len < 4 || in.len < 4 + (size_t)be32_get(in.data))
            continue;
        assert_int_equal(in.len, 4 + (size_t)be32_get(in.data));
        if (codec_decode(&control_reply_codec, slice_of(in.data + 4, in.len - 4), &ret->arena,
                         &ret->reply, &err) < 0)
            fail_msg("%s", err.msg);
        return true;
    }
    return false;
}

static void ask_raw(int fd, const struct control_request *request)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};
    if (control_request_encode(request, &out, &err) < 0)
        fail_msg("%s", err.msg);
    put(fd, out.data, out.len);
}

static void ask(struct fixture *f, int fd, struct control_request *request, struct answer *ret)
{
    request->version = CONTROL_PROTOCOL;
    ask_raw(fd, request);
    if (!take(f, fd, ret))
        fail_msg("no answer");
}

static struct control_request apply_of(const char *yaml)
{
    return (struct control_request){
        .command = CONTROL_APPLY, .source = "s.yaml", .yaml = slice_str(yaml)};
}

#define DOC(name)                                                                                  \
    "---\napiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name "}\n"                     \
    "spec: {br: {cluster: c, logLevel: x}, local: {path: /x}}\n"

static void expect_error(struct fixture *f, int fd, struct control_request *request,
                         enum tm_err_code code, const char *text)
{
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, request, &a);
    assert_non_null(a.reply.error);
    assert_string_equal(a.reply.error->text, text);
    assert_int_equal(a.reply.error->code, code);
}

static void expect_outcome(struct fixture *f, int fd, struct control_request *request,
                           const char *outcome)
{
    TM_CLEANUP(answer_release) struct answer a;
    ask(f, fd, request, &a);
    assert_null(a.reply.error);
    assert_int_equal(a.reply.results_count, 1);
    if (a.reply.results[0].error != NULL)
        fail_msg("%s", a.reply.results[0].error->text);
    assert_string_equal(a.reply.results[0].outcome, outcome);
}

/* ---- tests ---- */

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

/* ---- questions ---- */

static void beat(struct fixture *f, struct msg_job *job)
{
    static uint64_t serial;
    struct msg_instance instance = {
        .tenant = "main", .engine = "mock", .role = INSTANCE_PRIMARY, .identity = "7000"};
    serial++;
    struct message m = {.type = MESSAGE_heartbeat, .serial = serial, .term = 7};
    m.heartbeat.instances = &instance;
    m.heartbeat.instances_count = 1;
    m.heartbeat.jobs = job;
    m.heartbeat.jobs_count = job != NULL;
    feed(f, &(struct brain_event){.kind = BRAIN_EV_REQUEST,
                                  .request = {.conn = 5, .ctx = serial, .message = &m}});
    persist(f);
}

/* A log backup "wal" that an agent streams; its job is in f->reply. */
static void stream(struct fixture *f, int fd)
{
    struct control_request apply =
        apply_of("apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: wal}\n"
                 "spec: {backupMode: log, br: {cluster: c}, local: {path: /x}}\n");
    feed(f, &(struct brain_event){
                .kind = BRAIN_EV_AGENT_UP,
                .up = {.conn = 5, .ctx = 1, .cluster = "c", .node = "n1", .boot = "b1"}});
    beat(f, NULL);
    expect_outcome(f, fd, &apply, "created");
    beat(f, NULL);
    assert_int_equal(f->reply.desired.jobs_count, 1);
}

static void what_an_agent_found(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    stream(f, fd);
    struct msg_log_query query = {.kind = LOG_QUERY_TRUNCATE, .until = "2018-05-11 01:42:23"};
    struct control_request request = {.version = CONTROL_PROTOCOL,
                                      .command = CONTROL_QUERY,
                                      .kind = "backup",
                                      .name = "wal",
                                      .query = &query};
    ask_raw(fd, &request);
    turn(f);
    beat(f, NULL);
    const struct msg_assignment *a = &f->reply.desired.jobs[0];
    assert_string_equal(a->log->query->until, "2018-05-11T01:42:23.000000Z");
    struct msg_log_event events[2] = {
        {.kind = 1, .time_us = 1000000, .position = "0/1", .xid = UINT64_MAX, .lineage = "aa"},
        {.kind = 4,
         .time_us = 2000000,
         .position = "0/2",
         .lineage = "aa",
         .label = "1",
         .name = "p"},
    };
    struct msg_log_answer found = {.id = a->log->query->id,
                                   .events = events,
                                   .events_count = 2,
                                   .chunks = 3,
                                   .bytes = 4,
                                   .truncated_us = 1000000,
                                   .truncated_position = "0/3"};
    struct msg_job job = {.attempt = 1, .kind = JOB_KIND_LOG, .stage = JOB_STAGE_WORKING};
    memcpy(job.uid, a->uid, sizeof(job.uid));
    job.answer = &found;
    beat(f, &job);
    TM_CLEANUP(answer_release) struct answer reply;
    assert_true(take(f, fd, &reply));
    assert_null(reply.reply.error);
    assert_int_equal(reply.reply.items_count, 1);
    assert_string_equal(
        reply.reply.items[0].json,
        "{\"events\":[{\"cluster\":\"c\",\"tenant\":\"main\",\"kind\":\"commit\",\"time\":"
        "\"1970-01-01T00:00:01.000000Z\",\"position\":\"0/1\",\"lineage\":\"aa\","
        "\"lineageLabel\":\"\",\"xid\":\"18446744073709551615\"},{\"cluster\":\"c\",\"tenant\":"
        "\"main\",\"kind\":\"point\",\"time\":\"1970-01-01T00:00:02.000000Z\",\"position\":"
        "\"0/2\",\"lineage\":\"aa\",\"lineageLabel\":\"1\",\"name\":\"p\"}],\"more\":false,"
        "\"truncate\":{\"chunks\":3,\"bytes\":4,\"until\":\"1970-01-01T00:00:01.000000Z\","
        "\"position\":\"0/3\"}}");
}

static void questions_that_are_refused(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    struct control_request request = {.command = CONTROL_QUERY, .kind = "backup", .name = "wal"};
    struct msg_log_query query = {.kind = 9};
    expect_error(f, fd, &request, TM_E_INVALID, "query: what is asked is missing");
    request.query = &query;
    expect_error(f, fd, &request, TM_E_UNSUPPORTED, "query 9 is not known to this coordinator");
    query.kind = LOG_QUERY_TRUNCATE;
    expect_error(f, fd, &request, TM_E_INVALID,
                 "'' is no time (2026-11-21T10:00:00Z), position (0/3000148) or TSO");
    query.kind = LOG_QUERY_SEARCH;
    expect_error(f, fd, &request, TM_E_NOT_FOUND, "Backup/wal: not found");
    stream(f, fd); /* the connection is good for more */
}

/* Who asked has gone before the answer is there. */
static void nobody_waits_for_the_answer(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    stream(f, fd);
    struct msg_log_query query = {.kind = LOG_QUERY_SEARCH};
    ask_raw(fd, &(struct control_request){.version = CONTROL_PROTOCOL,
                                          .command = CONTROL_QUERY,
                                          .kind = "backup",
                                          .name = "wal",
                                          .query = &query});
    turn(f);
    beat(f, NULL);
    const struct msg_assignment *a = &f->reply.desired.jobs[0];
    struct msg_log_answer found = {.id = a->log->query->id};
    struct msg_job job = {.attempt = 1, .kind = JOB_KIND_LOG, .stage = JOB_STAGE_WORKING};
    memcpy(job.uid, a->uid, sizeof(job.uid));
    job.answer = &found;
    closep(&fd);
    turn(f);
    beat(f, &job);
    assert_null(f->reply.desired.jobs[0].log->query);
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
        assert_int_equal(control_authorise(trusted[n], CONTROL_APPLY, 77, 900, &err), 0);
    static const uint32_t changes[] = {CONTROL_APPLY, CONTROL_DELETE, CONTROL_RETRY, 99};
    static const uint32_t reads[] = {CONTROL_LIST, CONTROL_GET, CONTROL_NODES, CONTROL_VERSION,
                                     CONTROL_QUERY};
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
        cmocka_unit_test_setup_teardown(what_an_agent_found, setup, teardown),
        cmocka_unit_test_setup_teardown(questions_that_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_for_the_answer, setup, teardown),
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
