/* Storage tests over the control socket, with an agent that answers. */
#include "tests/unit/coordinator/control/control_stage.h"

#define DOCUMENT(name, mode, path)                                                                 \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: " name "}\nspec: {" mode              \
    "br: {cluster: c}, local: {path: " path "}}\n---\n"
#define LOG "backupMode: log, "

static void beat(struct fixture *f, struct msg_probe_answer *answer)
{
    static uint64_t serial;
    serial++;
    struct message m = {.type = MESSAGE_heartbeat, .serial = serial, .term = 7};
    m.heartbeat.probes = answer;
    m.heartbeat.probes_count = answer != NULL;
    feed(f, &(struct brain_event){.kind = BRAIN_EV_REQUEST,
                                  .request = {.conn = 5, .ctx = serial, .message = &m}});
    persist(f);
}

static void agent_up(struct fixture *f)
{
    feed(f, &(struct brain_event){
                .kind = BRAIN_EV_AGENT_UP,
                .up = {.conn = 5, .ctx = 1, .cluster = "c", .node = "n1", .boot = "b1"}});
    beat(f, NULL);
}

static struct control_request probe_of(const char *yaml)
{
    return (struct control_request){.version = CONTROL_PROTOCOL,
                                    .command = CONTROL_PROBE,
                                    .source = "file",
                                    .yaml = slice_str(yaml),
                                    .timeout_ms = 4000};
}

static void item_is(struct fixture *f, int fd, const char *json, const char *after)
{
    TM_CLEANUP(answer_release) struct answer reply;
    assert_true(take(f, fd, &reply));
    assert_null(reply.reply.error);
    assert_string_equal(reply.reply.after, after);
    assert_int_equal(reply.reply.items_count, json != NULL);
    assert_true(json == NULL || reply.reply.items != NULL);
    if (json != NULL && reply.reply.items != NULL)
        assert_string_equal(reply.reply.items[0].json, json);
}

static void what_an_agent_found(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    agent_up(f);
    struct control_request request = probe_of(DOCUMENT("b", "", "/x"));
    ask_raw(fd, &request);
    turn(f);
    beat(f, NULL);
    assert_int_equal(f->reply.desired.probes_count, 1);
    const struct msg_probe *probe = &f->reply.desired.probes[0];
    assert_string_equal(probe->storage, "file:///x");
    assert_int_equal(probe->timeout_ms, 4000);
    struct msg_error denied = {.code = TM_E_PERMISSION, .text = "no"};
    struct msg_probe_step steps[] = {
        {.step = PROBE_PUT, .outcome = PROBE_OK, .took_us = 9},
        {.step = PROBE_REMOVE, .outcome = PROBE_FAILED, .took_us = 8, .error = &denied}};
    const char *seen[] = {"n1"};
    const char *warnings[] = {"beware"};
    struct msg_probe_answer answer = {.id = probe->id,
                                      .steps = steps,
                                      .steps_count = 2,
                                      .put_us = 1,
                                      .get_us = 2,
                                      .upload_rate = 3,
                                      .download_rate = 4,
                                      .create = PROBE_CREATE_LOOKED,
                                      .has_skew = true,
                                      .skew_us = -5,
                                      .mount = "/m",
                                      .mount_source = "nas:/e",
                                      .fs_type = "nfs4",
                                      .network = true,
                                      .has_free = true,
                                      .free_bytes = 6,
                                      .seen = seen,
                                      .seen_count = 1,
                                      .warnings = warnings,
                                      .warnings_count = 1};
    beat(f, &answer);
    item_is(f, fd,
            "{\"kind\":\"Backup\",\"name\":\"b\",\"cluster\":\"c\",\"storage\":\"file:///x\","
            "\"nodesWell\":0,\"nodesNotConnected\":0,\"nodesTotal\":1,\"nodes\":[{\"node\":\"n1\","
            "\"result\":\"failed\",\"error\":\"no\",\"steps\":[{\"step\":\"write\",\"outcome\":"
            "\"ok\",\"microseconds\":9},{\"step\":\"delete\",\"outcome\":\"failed\","
            "\"microseconds\":8,\"error\":\"no\"}],\"writeMicroseconds\":1,\"readMicroseconds\":2,"
            "\"writeBytesPerSecond\":3,\"readBytesPerSecond\":4,\"conditionalCreate\":false,"
            "\"skewMicroseconds\":-5,\"mount\":{\"point\":\"/m\",\"source\":\"nas:/e\",\"type\":"
            "\"nfs4\",\"network\":true,\"freeBytes\":6},\"sees\":[\"n1\"],\"warnings\":[\"beware\"]"
            "}]}",
            "");
}

#define NOBODY(name, path, cluster)                                                                \
    "{\"kind\":\"Backup\",\"name\":\"" name "\",\"cluster\":\"" cluster                            \
    "\",\"storage\":\"file://" path                                                                \
    "\",\"nodesWell\":0,\"nodesNotConnected\":0,\"nodesTotal\":0,\"nodes\":[]}"

static void one_document_after_the_other(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    struct control_request request =
        probe_of(DOCUMENT("a", "", "/a") DOCUMENT("b", LOG, "/b") DOCUMENT("d", LOG, "/d"));
    ask_raw(fd, &request);
    item_is(f, fd, NOBODY("a", "/a", "c"), "1");
    (void)snprintf(request.after, sizeof(request.after), "2");
    (void)snprintf(request.cluster, sizeof(request.cluster), "e");
    ask_raw(fd, &request);
    item_is(f, fd, NOBODY("d", "/d", "e"), "");
    (void)snprintf(request.after, sizeof(request.after), "3");
    expect_error(f, fd, &request, TM_E_INVALID, "file has 3 documents");

    request.after[0] = '\0';
    request.cluster[0] = '\0';
    request.new_logs = true; /* what is no log is passed over */
    ask_raw(fd, &request);
    item_is(f, fd, NOBODY("b", "/b", "c"), "2");
    struct control_request apply = apply_of(DOCUMENT("b", LOG, "/b"));
    expect_outcome(f, fd, &apply, "created");
    ask_raw(fd, &request);
    item_is(f, fd, NOBODY("d", "/d", "c"), "");
    request.yaml = slice_str(DOCUMENT("a", "", "/a") DOCUMENT("b", LOG, "/b"));
    ask_raw(fd, &request);
    item_is(f, fd, NULL, "");
}

static void by_name(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(closep) int fd = dial(f);
    struct control_request apply = apply_of(DOCUMENT("b", "", "/b"));
    expect_outcome(f, fd, &apply, "created");
    struct control_request request = {
        .version = CONTROL_PROTOCOL, .command = CONTROL_PROBE, .kind = "bk", .name = "b"};
    ask_raw(fd, &request);
    item_is(f, fd, NOBODY("b", "/b", "c"), "");
    (void)snprintf(request.name, sizeof(request.name), "x");
    expect_error(f, fd, &request, TM_E_NOT_FOUND, "Backup/x: not found");
    request.name[0] = '\0';
    expect_error(f, fd, &request, TM_E_INVALID, "bk: a name is missing");
}

/* Who asked has gone before the answer is there. */
static void nobody_waits_for_the_answer(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    agent_up(f);
    struct control_request request = probe_of(DOCUMENT("b", "", "/x"));
    ask_raw(fd, &request);
    turn(f);
    beat(f, NULL);
    assert_int_equal(f->reply.desired.probes_count, 1);
    struct msg_probe_answer answer = {.id = f->reply.desired.probes[0].id};
    closep(&fd);
    turn(f);
    beat(f, &answer);
    beat(f, NULL);
    assert_int_equal(f->reply.desired.probes_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_an_agent_found, setup, teardown),
        cmocka_unit_test_setup_teardown(one_document_after_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_for_the_answer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
