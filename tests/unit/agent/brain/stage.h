#ifndef TM_TESTS_UNIT_AGENT_BRAIN_STAGE_H
#define TM_TESTS_UNIT_AGENT_BRAIN_STAGE_H
/* One brain on its own, for scenes: fed with events, its actions looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/brain/brain.h"

#define SEC(n) ((uint64_t)(n)*1000000)

/* A brain, what it did in the last step by kind, and the newest request and frame of each type. */
struct stage {
    struct agent_brain *brain;
    uint64_t mono_us;
    uint64_t random;
    uint64_t term; /* connected to */
    bool desired;  /* a set of this term was applied */
    uint32_t job;  /* whose runner frames and deaths come from */
    unsigned did[32];
    unsigned sent[FRAME_probed + 1];         /* frames of the last step, by type */
    struct message asked[MESSAGE_error + 1]; /* copies, type 0 = none */
    struct frame told[FRAME_probed + 1];
    struct agent_action last[32]; /* what it points to is gone with the next step */
    unsigned said[AGENT_LOG_RESTORE_COMPLETE + 1]; /* lines of the last step, by event */
    char log[512];
};

static uint64_t next_number(void *arg)
{
    return ++((struct stage *)arg)->random;
}

static TM_UNUSED void copy_frame(const struct frame *f, struct frame *ret)
{
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    frame_release(ret);
    assert_int_equal(frame_encode(f, &bytes, &err), 0);
    assert_int_equal(frame_next(&bytes, ret, &err), 1);
}

static TM_UNUSED void feed(struct stage *s, const struct agent_event *event)
{
    struct tm_err err = {0};
    struct agent_actions actions;
    struct agent_now now = {.mono_us = s->mono_us, .real_us = (int64_t)s->mono_us};
    memset(s->did, 0, sizeof(s->did));
    memset(s->sent, 0, sizeof(s->sent));
    memset(s->said, 0, sizeof(s->said));
    assert_int_equal(agent_brain_step(s->brain, event, now, &actions, &err), 0);
    for (size_t at = 0; at < actions.count; at++) {
        const struct agent_action *a = &actions.items[at];
        s->did[a->kind]++;
        s->last[a->kind] = *a;
        if (a->kind == AGENT_ACT_SEND) {
            struct message *to = &s->asked[a->send.message->type];
            message_release(to);
            assert_int_equal(message_copy(a->send.message, to, &err), 0);
        } else if (a->kind == AGENT_ACT_RUNNER_SEND) {
            s->sent[a->runner.frame->type]++;
            copy_frame(a->runner.frame, &s->told[a->runner.frame->type]);
        } else if (a->kind == AGENT_ACT_LOG) {
            s->said[a->log.event]++;
            (void)snprintf(s->log, sizeof(s->log), "%s", a->log.text);
        }
    }
}

static TM_UNUSED void tick(struct stage *s, uint64_t after_us)
{
    struct agent_event event = {.kind = AGENT_EV_TICK};
    s->mono_us += after_us;
    feed(s, &event);
}

static TM_UNUSED void connect_to(struct stage *s, uint64_t term)
{
    struct agent_event event = {.kind = AGENT_EV_CONNECTED};
    event.connected.term = term;
    event.connected.start = term * 10;
    s->term = term;
    s->desired = false;
    feed(s, &event);
}

/* As the daemon would start it; log jobs, writers and holds of an earlier life as given, and other
 * instances, when there are some. */
static TM_UNUSED struct stage *stage_new(const struct agent_brain_config *kept)
{
    struct stage *s = calloc(1, sizeof(*s));
    struct tm_err err;
    struct agent_instance instance = {
        .tenant = "main", .engine = "mock", .data_dir = "/data", .conninfo = "host=/run"};
    struct agent_brain_config config = {.cluster = "demo1",
                                        .node = "db-a",
                                        .boot = "boot1",
                                        .version = "1.0",
                                        .instances = &instance,
                                        .instance_count = 1,
                                        .seen_term = 3,
                                        .seen_start = 30};
    if (kept != NULL) {
        config.writers = kept->writers;
        config.writer_count = kept->writer_count;
        config.log_jobs = kept->log_jobs;
        config.log_jobs_term = kept->log_jobs_term;
        config.log_job_count = kept->log_job_count;
        config.own_credentials = kept->own_credentials;
        config.holds = kept->holds;
        config.hold_count = kept->hold_count;
        config.rate_limit_bytes_s = kept->rate_limit_bytes_s;
        if (kept->instance_count > 0) {
            config.instances = kept->instances;
            config.instance_count = kept->instance_count;
        }
    }
    struct agent_rng rng = {.next = next_number, .arg = s};
    s->job = 1;
    s->mono_us = SEC(50);
    assert_int_equal(agent_brain_new(&config, rng, &s->brain, &err), 0);
    tick(s, 0);
    return s;
}

static TM_UNUSED int setup(void **state)
{
    *state = stage_new(NULL);
    return 0;
}

static TM_UNUSED int teardown(void **state)
{
    struct stage *s = *state;
    agent_brain_free(s->brain);
    for (size_t at = 0; at < TM_ARRAY_LEN(s->asked); at++)
        message_release(&s->asked[at]);
    for (size_t at = 0; at < TM_ARRAY_LEN(s->told); at++)
        frame_release(&s->told[at]);
    free(s);
    return 0;
}

static TM_UNUSED struct msg_assignment backup_wanted(enum job_step step)
{
    static struct msg_backup_params params = {.backup_id = "20261121T000000Z-00000001"};
    struct msg_assignment a = {.uid = "00aa",
                               .attempt = 1,
                               .kind = JOB_KIND_BACKUP,
                               .roles = JOB_ROLE_LEAD | JOB_ROLE_WORKER,
                               .step = step,
                               .boot = "boot1",
                               .cluster = "demo1",
                               .tenant = "main",
                               .name = "b",
                               .storage = "file:///backup",
                               .backup = &params};
    return a;
}

static TM_UNUSED void begun_with(struct stage *s, const char *warning)
{
    struct agent_event event = {.kind = AGENT_EV_SESSION_BEGUN};
    event.begun.job = s->job;
    event.begun.begin = slice_str("blob");
    event.begun.identity = "7000";
    event.begun.warning = warning;
    feed(s, &event);
}

static TM_UNUSED void begun(struct stage *s)
{
    begun_with(s, "");
}

/* Answers the newest request of `to`. */
static TM_UNUSED void answer(struct stage *s, enum message_type to, struct message *m,
                             uint64_t term)
{
    struct agent_event event = {.kind = AGENT_EV_REPLY};
    m->serial = s->asked[to].serial;
    m->term = term;
    event.reply.message = m;
    feed(s, &event);
}

/* The coordinator has the first `next` ranges of the plan; `done`: it knows that there are no more. */
static TM_UNUSED void plan_ack(struct stage *s, uint32_t attempt, uint32_t next, bool done,
                               uint64_t term)
{
    struct message m = {.type = MESSAGE_plan_ack};
    memcpy(m.plan_ack.uid, "00aa", 5);
    m.plan_ack.attempt = attempt;
    m.plan_ack.gen = s->asked[MESSAGE_plan_ranges].plan_ranges.gen;
    m.plan_ack.next = next;
    m.plan_ack.done = done;
    answer(s, MESSAGE_plan_ranges, &m, term);
}

static TM_UNUSED void desire(struct stage *s, uint64_t revision, struct msg_assignment *a)
{
    struct message m = {.type = MESSAGE_desired};
    m.desired.revision = revision;
    m.desired.lease_ms = 10000;
    m.desired.jobs = a;
    m.desired.jobs_count = a != NULL;
    s->mono_us += SEC(1);
    s->desired = true;
    answer(s, MESSAGE_poll, &m, s->term);
    if (s->did[AGENT_ACT_SEND] == 0)
        tick(s, 0);
}

static TM_UNUSED void frame(struct stage *s, uint32_t generation, struct frame f)
{
    struct agent_event event = {.kind = AGENT_EV_RUNNER_FRAME};
    event.frame.job = s->job;
    event.frame.generation = generation;
    event.frame.frame = &f;
    feed(s, &event);
}

static TM_UNUSED void exited(struct stage *s, uint32_t generation)
{
    struct agent_event event = {.kind = AGENT_EV_RUNNER_EXITED};
    event.exited.job = s->job;
    event.exited.generation = generation;
    event.exited.signal = 9;
    feed(s, &event);
}

/* The one job of the newest heartbeat, made now. */
static TM_UNUSED const struct msg_job *reported(struct stage *s)
{
    struct agent_event event = {.kind = AGENT_EV_REQUEST_FAILED};
    struct message nothing_new = {.type = MESSAGE_desired};
    event.request_failed.serial = s->asked[MESSAGE_heartbeat].serial;
    if (s->desired)
        answer(s, MESSAGE_heartbeat, &nothing_new, s->term);
    else
        feed(s, &event);
    tick(s, SEC(2));
    assert_int_equal(s->asked[MESSAGE_heartbeat].heartbeat.jobs_count, 1);
    return &s->asked[MESSAGE_heartbeat].heartbeat.jobs[0];
}

#endif
