/*
 * What the coordinator has done in a storage: a resource is kept there, or what there is is read. In the
 * step thread; one answer. Failure modes: an error is the answer; a runner that hangs is killed by the
 * agent.
 */
#include "agent/runner/internal.h"

#include "agent/stored/stored.h"
#include "proto/wire/secret.h"

int step_errand(struct runner *r, struct tm_err *err)
{
    const struct msg_probe *want = r->job->probe;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct storage_options options = {.io_timeout_ms = want->timeout_ms / 2};
    struct msg_page page;
    struct msg_probe_answer answer = {.id = want->id, .kept = want->keep != NULL};
    struct frame f = {.type = FRAME_probed, .probed = {.done = true, .answer = &answer}};
    int rc = r->job->secret != NULL ? msg_secret_to(r->job->secret, &map, err) : 0;
    if (r->job->secret != NULL)
        options.secret = &map;
    if (rc == 0)
        rc = storage_open(r->job->storage, &options, &st, err);
    if (rc == 0 && want->keep != NULL)
        rc = stored_keep(st, want->keep, err);
    else if (rc == 0)
        rc = stored_page(st, want->read, &arena, &page, err);
    if (rc < 0)
        return rc;
    if (want->read != NULL)
        answer.page = &page;
    runner_tell(r, &f);
    return 0;
}
