/*
 * A storage test, in the step thread: `probed` goes out before each step, so that the agent can say what
 * a runner that never comes back hung in, and once more with `done`.
 *
 * Failure modes: all that the test finds is its result; a runner that hangs is killed by the agent at
 * its deadline, so the test itself has somewhat less time.
 */
#include "agent/runner/internal.h"

#include "agent/probe/probe.h"
#include "proto/wire/secret.h"

static int tell(struct runner *r, const struct probe_report *report, bool done, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct msg_probe_answer answer;
    int rc = probe_report_message(report, r->job->probe->id, &arena, &answer, err);
    if (rc < 0)
        return rc;
    struct frame f = {.type = FRAME_probed, .probed = {.done = done, .answer = &answer}};
    runner_tell(r, &f);
    return 0;
}

static void told(void *arg, const struct probe_report *now)
{
    struct tm_err ignored; /* it is only to be known when nothing else comes */
    if (tell(arg, now, false, &ignored) < 0)
        return;
}

int step_probe(struct runner *r, struct tm_err *err)
{
    const struct msg_probe *want = r->job->probe;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    TM_CLEANUP(freep) struct probe_report *report = calloc(1, sizeof(*report));
    if (report == NULL)
        return tm_err_oom(err);
    if (want == NULL)
        return tm_err_set(err, TM_E_INVALID, "job: nothing is to be tested");
    /* a store that does not answer is asked twice at most: to write, and to remove what it may have */
    struct storage_options storage = {.io_timeout_ms = want->timeout_ms / 3};
    const struct probe_options options = {
        .node = r->job->node,
        .id = want->id,
        .nodes = want->nodes,
        .data_dir = r->job->data_dir,
        .timeout_ms = want->timeout_ms - want->timeout_ms / 4,
        .told = told,
        .arg = r,
    };
    int rc = r->job->secret != NULL ? msg_secret_to(r->job->secret, &map, err) : 0;
    if (rc < 0)
        return rc;
    if (r->job->secret != NULL)
        storage.secret = &map;
    probe_url(r->job->storage, &storage, &options, report);
    return tell(r, report, true, err);
}
