/*
 * Checkpoints, as the lead's agent sees them: it carries results between coordinator and runner, which
 * stores them.
 *
 * Happy path: the runner asks for what was accepted since the last time → a page of it from the
 * coordinator → the runner stores it. A resumed job: before it says `ready` the runner tells what earlier
 * attempts left; the session is begun with that, or anew when there is nothing; what is done goes to
 * the coordinator before the plan is complete, so that none of it is leased.
 *
 * Failure modes: a coordinator that was restarted has accepted in another order: it is asked from
 * the start again, and the runner knows what it has stored. It has forgotten what others read, too,
 * and one of them may be gone: it hears of that from here, as of what earlier attempts did. A
 * runner that is lost takes nothing along: the next one asks from the start, too. A manifest that
 * is found means that an earlier attempt committed, and could not tell.
 */
#include "agent/brain/internal.h"

#define LATER_PAUSE_US 500000

bool agent_checkpoint_ready(const struct job *job)
{
    return job->want.backup == NULL || !job->want.backup->resume || job->found_known;
}

void agent_checkpoint_found(struct agent_brain *b, struct job *job, const struct frame_found *found)
{
    if (!agent_job_is_lead(job) || job->stage >= JOB_STAGE_COMMITTED)
        return;
    if (found->committed) { /* by an earlier attempt, or the runner before, that could not tell */
        agent_runner_reached(b, job, JOB_STAGE_COMMITTED, found->totals);
        return;
    }
    if (job->found_known || job->stage != JOB_STAGE_STARTING)
        return; /* of a later runner: the session is up, or beginning */
    job->found_known = true;
    job->found = found->begin.len > 0;
    job->first_log = found->log_from;
    buf_reset(&job->first);
    agent_check(b, buf_append_slice(&job->first, found->begin, b->err));
    if (found->why != NULL && found->why[0] != '\0')
        agent_job_warn(b, job, found->why);
    agent_log(b, job, 5, AGENT_LOG_PLAIN,
              job->found ? "job '%s' goes on where an earlier attempt stopped"
                         : "job '%s' finds nothing of an earlier attempt",
              job->want.name);
}

void agent_checkpoint_stored(struct agent_brain *b, struct job *job,
                             const struct frame_stored *stored)
{
    for (size_t at = 0; at < stored->results_count && job->stage != JOB_STAGE_FAILED; at++) {
        struct msg_result result = stored->results[at];
        result.stored = true;
        size_t before = job->result_count;
        agent_work_keep_result(b, job, &result);
        if (job->result_count == before)
            continue;
        job->results[before].early = true;
        job->early_open++;
    }
}

void agent_checkpoint_wanted(struct job *job, const struct frame_want_accepted *want)
{
    job->checkpointed = want->stored;
    job->accepted_wanted = true;
}

void agent_checkpoint_send(struct agent_brain *b, struct job *job)
{
    if (!job->accepted_wanted || job->accepted_serial != 0 ||
        b->now.mono_us < job->accepted_again_us || job->runner != RUNNER_READY ||
        job->stage >= JOB_STAGE_FINISHING)
        return;
    if (job->accepted_term != b->term) {
        job->accepted_term = b->term;
        job->accepted_from = 0;
    }
    job->accepted_serial = agent_work_ask_results(b, job, job->accepted_from, true);
}

void agent_checkpoint_reply(struct agent_brain *b, struct job *job, const struct message *m)
{
    if (m == NULL || m->results.not_ready) {
        job->accepted_again_us = b->now.mono_us + LATER_PAUSE_US;
        return;
    }
    if (job->runner != RUNNER_READY || !job->accepted_wanted || !m->results.accepted ||
        m->results.from != job->accepted_from || job->accepted_term != b->term)
        return;
    struct frame *f = agent_runner_send(b, job, FRAME_accepted);
    if (f == NULL)
        return;
    struct frame_accepted view = {.last = m->results.last,
                                  .results = m->results.results,
                                  .results_count = m->results.results_count};
    agent_check(b, codec_copy(&frame_accepted_codec, &view, &b->step, &f->accepted, b->err));
    for (size_t at = 0; at < m->results.results_count; at++)
        agent_work_keep_accepted(b, job, &m->results.results[at]);
    job->accepted_from += (uint32_t)m->results.results_count;
    job->accepted_wanted = false;
}
