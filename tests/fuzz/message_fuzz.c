/*
 * Arbitrary bytes from a peer: as a message and as a frame. What is refused is refused with a
 * reason; what is taken means the same after another trip. A message that decodes is also given to
 * both brains, as a question and as an answer of an authenticated peer that lies: whatever it says,
 * they go on.
 */
#include "agent/brain/brain.h"
#include "coordinator/brain/brain.h"
#include "proto/spec/spec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next_number(void *arg)
{
    uint64_t *state = arg;
    *state = *state * UINT64_C(6364136223846793005) + 1;
    return *state;
}

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* ---- the coordinator, with one node and one backup under way ---- */

struct coordinator {
    struct brain *brain;
    uint64_t mono_us;
    uint64_t random;
};

static void coordinator_feed(struct coordinator *c, const struct brain_event *event)
{
    struct tm_err err = {0};
    struct brain_actions actions;
    uint64_t txns[16];
    size_t txn_count = 0;
    c->mono_us += 1000;
    struct brain_now now = {.mono_us = c->mono_us, .real_us = (int64_t)c->mono_us};
    must(brain_step(c->brain, event, now, &actions, &err) == 0);
    for (size_t at = 0; at < actions.count; at++) {
        const struct brain_action *action = &actions.items[at];
        if (action->kind == BRAIN_ACT_PERSIST && txn_count < TM_ARRAY_LEN(txns))
            txns[txn_count++] = action->persist.txn;
        if (action->kind == BRAIN_ACT_REPLY) {
            TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
            must(message_encode(action->reply.message, MESSAGE_MINOR, &bytes, &err) == 0);
        }
    }
    for (size_t at = 0; at < txn_count; at++) {
        struct brain_event done = {.kind = BRAIN_EV_PERSISTED};
        done.persisted.txn = txns[at];
        done.persisted.ok = true;
        coordinator_feed(c, &done);
    }
}

static void coordinator_apply(struct coordinator *c)
{
    static const char yaml[] = "apiVersion: tidemark/v1\nkind: Backup\nmetadata:\n  name: b\n"
                               "spec:\n  br:\n    cluster: c1\n  local:\n    path: /backup\n";
    struct tm_err err = {0};
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    must(resource_parse("fuzz", slice_str(yaml), &list, &err) == 0);
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 1;
    event.command.what = BRAIN_CMD_APPLY;
    event.command.resource = TM_TAKE(list.items[0]);
    coordinator_feed(c, &event);
}

static void coordinator_request(struct coordinator *c, const struct message *m)
{
    struct brain_event event = {.kind = BRAIN_EV_REQUEST};
    event.request.conn = 1;
    event.request.ctx = 1;
    event.request.message = m;
    coordinator_feed(c, &event);
}

static void to_coordinator(const struct message *m)
{
    struct coordinator c = {.random = 0};
    struct brain_rng rng = {.next = next_number, .arg = &c.random};
    struct brain_config config = {.term = 5, .start = 1};
    struct tm_err err = {0};
    must(brain_new(&config, rng, &c.brain, &err) == 0);
    struct brain_event event = {.kind = BRAIN_EV_LOADED_END};
    coordinator_feed(&c, &event);
    event = (struct brain_event){.kind = BRAIN_EV_AGENT_UP};
    event.up.conn = 1;
    event.up.cluster = "c1";
    event.up.node = "n0";
    event.up.boot = "boot";
    coordinator_feed(&c, &event);
    struct msg_instance instance = {
        .tenant = "main", .engine = "mock", .role = INSTANCE_PRIMARY, .identity = "7"};
    struct message hello = {.type = MESSAGE_heartbeat, .serial = 1, .term = 5};
    hello.heartbeat.instances = &instance;
    hello.heartbeat.instances_count = 1;
    coordinator_request(&c, &hello);
    coordinator_apply(&c);
    coordinator_request(&c, m);
    coordinator_request(&c, m);
    event = (struct brain_event){.kind = BRAIN_EV_TICK};
    c.mono_us += UINT64_C(100000000);
    coordinator_feed(&c, &event);
    brain_free(c.brain);
}

/* ---- the agent ---- */

static void agent_give(struct agent_brain *b, uint64_t *mono_us, const struct agent_event *event)
{
    struct tm_err err = {0};
    struct agent_actions actions;
    *mono_us += 300000;
    struct agent_now now = {.mono_us = *mono_us, .real_us = (int64_t)*mono_us};
    must(agent_brain_step(b, event, now, &actions, &err) == 0);
    for (size_t at = 0; at < actions.count; at++) {
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        const struct agent_action *action = &actions.items[at];
        if (action->kind == AGENT_ACT_SEND)
            must(message_encode(action->send.message, MESSAGE_MINOR, &bytes, &err) == 0);
        if (action->kind == AGENT_ACT_RUNNER_SEND)
            must(frame_encode(action->runner.frame, &bytes, &err) == 0);
    }
}

static void to_agent(const struct message *m, const struct frame *f)
{
    struct agent_instance instance = {
        .tenant = "main", .engine = "mock", .data_dir = "/data", .conninfo = ""};
    struct agent_brain_config config = {.cluster = "c1",
                                        .node = "n0",
                                        .boot = "boot",
                                        .version = "1",
                                        .instances = &instance,
                                        .instance_count = 1};
    uint64_t random = 0;
    uint64_t mono_us = 0;
    struct agent_rng rng = {.next = next_number, .arg = &random};
    struct agent_brain *b = NULL;
    struct tm_err err = {0};
    must(agent_brain_new(&config, rng, &b, &err) == 0);
    struct agent_event event = {.kind = AGENT_EV_TICK};
    agent_give(b, &mono_us, &event);
    event = (struct agent_event){.kind = AGENT_EV_CONNECTED};
    event.connected.term = 1;
    agent_give(b, &mono_us, &event);
    for (uint64_t serial = 1; m != NULL && serial <= 8; serial++) {
        struct message copy = *m; /* an answer to whatever was asked */
        copy.serial = serial;
        event = (struct agent_event){.kind = AGENT_EV_REPLY};
        event.reply.message = &copy;
        agent_give(b, &mono_us, &event);
    }
    for (uint32_t job = 1; f != NULL && job <= 2; job++) {
        event = (struct agent_event){.kind = AGENT_EV_RUNNER_FRAME};
        event.frame.job = job;
        event.frame.generation = 1;
        event.frame.frame = f;
        agent_give(b, &mono_us, &event);
    }
    event = (struct agent_event){.kind = AGENT_EV_STOP};
    agent_give(b, &mono_us, &event);
    agent_brain_free(b);
}

/* ---- bytes ---- */

static void as_message(struct slice in)
{
    struct tm_err err = {0};
    struct message m;
    uint64_t serial = 0;
    if (message_decode(in, &m, &serial, &err) < 0) {
        must(err.code != TM_E_OK && err.msg[0] != '\0');
        return;
    }
    TM_CLEANUP(buf_release) struct buf once = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf twice = BUF_INIT;
    struct message back;
    must(message_encode(&m, CODEC_MINOR_ALL, &once, &err) == 0 || err.code == TM_E_LIMIT);
    if (once.len > 0) {
        must(message_decode(buf_slice(&once), &back, NULL, &err) == 0);
        must(message_encode(&back, CODEC_MINOR_ALL, &twice, &err) == 0);
        must(slice_eq(buf_slice(&once), buf_slice(&twice)));
        message_release(&back);
    }
    to_coordinator(&m);
    to_agent(&m, NULL);
    message_release(&m);
}

static void as_frame(struct slice in)
{
    struct tm_err err = {0};
    struct frame f;
    if (frame_decode(in, &f, &err) < 0) {
        must(err.code != TM_E_OK && err.msg[0] != '\0');
        return;
    }
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    must(frame_encode(&f, &bytes, &err) == 0 || err.code == TM_E_LIMIT);
    to_agent(NULL, &f);
    frame_release(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    as_message(slice_of(data, size));
    as_frame(slice_of(data, size));
    return 0;
}
