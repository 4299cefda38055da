/*
 * Storage tests, and what else the coordinator has done in a storage (a resource kept, a page read): each is
 * a runner of its own, and no job. It is begun when it is desired, its answer is
 * reported until it is not desired any more.
 *
 * Happy path: desired → RUNNER_SPAWN, RUNNER_SEND(job) → probed… → the one with `done` is the answer →
 * RUNNER_SEND(stop) → the runner exits → not desired → forgotten.
 *
 * Failure modes: a runner that has not answered at its deadline hangs: it is killed, and the answer
 * says in what. A process that cannot even be killed (the kernel waits for a server that is gone) is
 * awaited without anybody waiting for it; while too many of those are there, no more are begun.
 */
#include "agent/brain/internal.h"

#include <inttypes.h>
#include <stdio.h>

#define GENERATION 1       /* of a test's one runner */
#define STOP_US    3000000 /* one that has answered and does not go is killed */

static void probe_free(struct probe *p)
{
    codec_arena_release(&p->want_arena);
    codec_arena_release(&p->answer_arena);
    free(p);
}

void agent_probes_free(struct agent_brain *b)
{
    for (size_t at = 0; at < b->probe_count; at++)
        probe_free(b->probes[at]);
    b->probe_count = 0;
}

struct probe *agent_probe_find(const struct agent_brain *b, uint32_t handle)
{
    for (size_t at = 0; at < b->probe_count; at++) {
        if (b->probes[at]->handle == handle)
            return b->probes[at];
    }
    return NULL;
}

/* ---- answers ---- */

static const char *what_of(const struct probe *p)
{
    if (p->want.keep != NULL)
        return "keeping a resource in storage";
    return p->want.read != NULL ? "reading what storage holds" : "storage test";
}

/* The answer is what the runner told last, and why there will be no more. */
static void give_up(struct agent_brain *b, struct probe *p, const struct tm_err *err)
{
    p->err = *err;
    p->error = msg_error_of(&p->err, "probe");
    p->answer.id = p->want.id;
    p->answer.error = &p->error;
    p->done = true;
    b->heartbeat_urgent = true;
    agent_log(b, NULL, 4, AGENT_LOG_PLAIN, "%s: %s", what_of(p), err->msg);
}

static void kill_runner(struct agent_brain *b, struct probe *p)
{
    if (!p->running || p->killed)
        return;
    struct agent_action *action = agent_emit(b, AGENT_ACT_RUNNER_KILL);
    action->runner.job = p->handle;
    action->runner.generation = GENERATION;
    p->killed = true;
}

static const char *step_under_way(const struct probe *p)
{
    static const char *const texts[] = {
        [PROBE_OPEN] = "opening it",         [PROBE_PUT] = "writing to it",
        [PROBE_GET] = "reading from it",     [PROBE_RANGE] = "reading from it",
        [PROBE_LIST] = "listing it",         [PROBE_AGAIN] = "writing to it",
        [PROBE_UPLOAD] = "writing to it",    [PROBE_DOWNLOAD] = "reading from it",
        [PROBE_REMOVE] = "removing from it", [PROBE_GONE] = "listing it",
    };
    for (size_t at = 0; at < p->answer.steps_count; at++) {
        const struct msg_probe_step *one = &p->answer.steps[at];
        if (one->outcome == PROBE_RUNNING && one->step < TM_ARRAY_LEN(texts) && one->step > 0)
            return texts[one->step];
    }
    if (p->want.keep != NULL)
        return "writing to it";
    return p->want.read != NULL ? "reading from it" : "testing it";
}

static void hangs(struct agent_brain *b, struct probe *p)
{
    struct tm_err err;
    (void)tm_err_retry(
        &err, TM_E_TIMEOUT, "node '%s': storage '%.300s' hangs: %s was not over after %u s",
        b->config.node, p->want.storage, step_under_way(p), (p->want.timeout_ms + 999) / 1000);
    give_up(b, p, &err);
    kill_runner(b, p);
}

static void keep_answer(struct agent_brain *b, struct probe *p, const struct frame_probed *probed)
{
    struct codec_arena arena = {0};
    struct msg_probe_answer copy;
    if (codec_copy(&msg_probe_answer_codec, probed->answer, &arena, &copy, b->err) < 0) {
        codec_arena_release(&arena);
        b->failed = true;
        return;
    }
    codec_arena_release(&p->answer_arena);
    p->answer_arena = arena;
    p->answer = copy;
    p->answer.id = p->want.id;
    if (!probed->done)
        return;
    p->done = true;
    p->stop_by_us = b->now.mono_us + STOP_US;
    b->heartbeat_urgent = true;
    struct frame *stop = agent_step_alloc(b, sizeof(*stop));
    if (stop == NULL)
        return;
    stop->type = FRAME_stop;
    struct agent_action *action = agent_emit(b, AGENT_ACT_RUNNER_SEND);
    action->runner.job = p->handle;
    action->runner.generation = GENERATION;
    action->runner.frame = stop;
}

void agent_probe_frame(struct agent_brain *b, struct probe *p, const struct frame *f)
{
    struct tm_err err;
    if (p->done || p->killed)
        return;
    if (f->type == FRAME_probed) {
        keep_answer(b, p, &f->probed);
    } else if (f->type == FRAME_failed) {
        msg_error_to(f->failed.error, &err);
        give_up(b, p, &err);
        kill_runner(b, p);
    }
}

void agent_probe_exited(struct agent_brain *b, struct probe *p, int signal, int status)
{
    struct tm_err err;
    char how[80];
    p->running = false;
    if (p->done || p->dropped)
        return;
    agent_runner_describe_death(signal, status, how, sizeof(how));
    (void)tm_err_set(&err, TM_E_INTERNAL, "node '%s': the runner of the test %s", b->config.node,
                     how);
    give_up(b, p, &err);
}

/* ---- what is desired ---- */

static void send_job(struct agent_brain *b, struct probe *p, const char *uid)
{
    struct frame *f = agent_step_alloc(b, sizeof(*f));
    struct msg_probe *probe = agent_step_alloc(b, sizeof(*probe));
    if (f == NULL || probe == NULL)
        return;
    f->type = FRAME_job;
    struct frame_job *to = &f->job;
    *probe = p->want;
    probe->secret = NULL; /* the job has it */
    to->kind = JOB_KIND_PROBE;
    (void)snprintf(to->uid, sizeof(to->uid), "%s", uid);
    to->generation = GENERATION;
    to->term = b->term;
    (void)snprintf(to->cluster, sizeof(to->cluster), "%s", b->config.cluster);
    (void)snprintf(to->node, sizeof(to->node), "%s", b->config.node);
    to->data_dir = b->config.instance_count > 0 ? b->instances[0].config.data_dir : NULL;
    to->storage = p->want.storage;
    to->secret = p->want.secret;
    to->probe = probe;
    struct agent_action *action = agent_emit(b, AGENT_ACT_RUNNER_SEND);
    action->runner.job = p->handle;
    action->runner.generation = GENERATION;
    action->runner.frame = f;
}

static void spawn(struct agent_brain *b, struct probe *p)
{
    char text[WIRE_UID_MAX + 1];
    (void)snprintf(text, sizeof(text), "probe-%016" PRIx64, p->want.id);
    const char *uid = agent_step_text(b, text);
    if (uid == NULL)
        return;
    struct agent_action *action = agent_emit(b, AGENT_ACT_RUNNER_SPAWN);
    action->runner.job = p->handle;
    action->runner.generation = GENERATION;
    action->runner.uid = uid;
    p->running = true;
    send_job(b, p, uid);
}

static size_t hanging(const struct agent_brain *b)
{
    size_t count = 0;
    for (size_t at = 0; at < b->probe_count; at++)
        count += b->probes[at]->dropped;
    return count;
}

static void take(struct agent_brain *b, const struct msg_probe *want)
{
    size_t hung = hanging(b);
    struct tm_err err;
    if (b->probe_count == AGENT_BRAIN_PROBES_MAX || b->stopping)
        return;
    struct probe *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        b->failed = true;
        (void)tm_err_oom(b->err);
        return;
    }
    p->want_arena.wipe = true;
    if (codec_copy(&msg_probe_codec, want, &p->want_arena, &p->want, b->err) < 0) {
        b->failed = true;
        probe_free(p);
        return;
    }
    p->handle = ++b->next_handle;
    p->deadline_us = b->now.mono_us + (uint64_t)want->timeout_ms * 1000;
    b->probes[b->probe_count++] = p;
    if (agent_secret_lacks(b, p->want.secret, &err)) {
        give_up(b, p, &err);
    } else if (hung >= AGENT_BRAIN_PROBES_HUNG) {
        (void)tm_err_retry(
            &err, TM_E_LIMIT,
            "node '%s': %zu storage tests of before still hang, and cannot be killed",
            b->config.node, hung);
        give_up(b, p, &err);
    } else {
        spawn(b, p);
    }
}

static const struct msg_probe *find_wanted(const struct msg_desired *desired, uint64_t id)
{
    for (size_t at = 0; at < desired->probes_count; at++) {
        if (desired->probes[at].id == id)
            return &desired->probes[at];
    }
    return NULL;
}

void agent_probes_apply(struct agent_brain *b, const struct msg_desired *desired)
{
    for (size_t at = 0; at < b->probe_count; at++) {
        struct probe *p = b->probes[at];
        if (p->dropped || find_wanted(desired, p->want.id) != NULL)
            continue;
        p->dropped = true;
        kill_runner(b, p);
    }
    for (size_t at = 0; at < desired->probes_count && !b->failed; at++) {
        bool known = false;
        for (size_t is = 0; is < b->probe_count && !known; is++)
            known = b->probes[is]->want.id == desired->probes[at].id;
        if (!known)
            take(b, &desired->probes[at]);
    }
}

void agent_probes_stop(struct agent_brain *b)
{
    for (size_t at = 0; at < b->probe_count; at++)
        kill_runner(b, b->probes[at]);
}

/* ---- time ---- */

void agent_probes_tick(struct agent_brain *b)
{
    size_t kept = 0;
    for (size_t at = 0; at < b->probe_count; at++) {
        struct probe *p = b->probes[at];
        if (!p->done && !p->dropped && b->now.mono_us >= p->deadline_us)
            hangs(b, p);
        if (p->done && p->running && b->now.mono_us >= p->stop_by_us)
            kill_runner(b, p);
        if (p->dropped && !p->running)
            probe_free(p);
        else
            b->probes[kept++] = p;
    }
    b->probe_count = kept;
}

uint64_t agent_probes_next_us(const struct agent_brain *b)
{
    uint64_t next = UINT64_MAX;
    for (size_t at = 0; at < b->probe_count; at++) {
        const struct probe *p = b->probes[at];
        if (!p->done && !p->dropped)
            next = TM_MIN(next, p->deadline_us);
        else if (p->running && !p->killed)
            next = TM_MIN(next, p->stop_by_us);
    }
    return next;
}

/* ---- telling ---- */

void agent_probes_report(struct agent_brain *b, struct msg_heartbeat *to)
{
    struct msg_probe_answer *answers = agent_step_alloc(b, WIRE_PROBES_MAX * sizeof(*answers));
    size_t count = 0;
    for (size_t at = 0; answers != NULL && at < b->probe_count && count < WIRE_PROBES_MAX; at++) {
        if (b->probes[at]->done && !b->probes[at]->dropped)
            answers[count++] = b->probes[at]->answer;
    }
    to->probes = answers;
    to->probes_count = count;
}
