/*
 * Credentials that the coordinator sends along with a job. They live in the job's assignment and go
 * to its runner, nowhere else: what is kept for the next life of the agent has their names alone.
 *
 * A job whose credentials did not come, or cannot, is not begun: one that is to end by itself fails
 * with the coordinator's reason, a log job waits where the reason may pass. One that an earlier life
 * kept goes on with the host's own credentials, where it has some, until the coordinator sends them.
 */
#include "agent/brain/internal.h"

#include "proto/wire/secret.h"

/* Whether the runner opens storage at all: one that only holds log does not. */
static bool stores(const struct job *job)
{
    return !agent_logjob_is(job) || (job->want.roles & JOB_ROLE_LEAD) != 0;
}

bool agent_secret_lacks(const struct agent_brain *b, const struct msg_secret *secret,
                        struct tm_err *ret)
{
    if (secret == NULL || secret->pairs_count > 0)
        return false;
    if (secret->error == NULL && b->config.own_credentials)
        return false;
    if (secret->error != NULL)
        msg_error_to(secret->error, ret);
    else
        (void)tm_err_retry(ret, TM_E_UNAVAILABLE,
                           "secret '%s' comes from the coordinator, which was not reached since "
                           "the agent was started",
                           secret->name);
    return true;
}

bool agent_secret_missing(const struct agent_brain *b, const struct job *job, struct tm_err *ret)
{
    return stores(job) && (agent_secret_lacks(b, job->want.secret, ret) ||
                           agent_secret_lacks(b, job->want.full_secret, ret));
}

const struct msg_secret *agent_secret_for(const struct job *job, const struct msg_secret *secret)
{
    return stores(job) && secret != NULL && secret->pairs_count > 0 ? secret : NULL;
}

static bool changed(const struct msg_secret *is, const struct msg_secret *want)
{
    if (want == NULL)
        return is != NULL;
    /* taken away while it is used: what runs goes on */
    return want->pairs_count > 0 && !msg_secret_equal(is, want);
}

bool agent_secret_changed(const struct msg_assignment *is, const struct msg_assignment *want)
{
    return changed(is->secret, want->secret) || changed(is->full_secret, want->full_secret);
}

static struct msg_secret *name_of(struct agent_brain *b, const struct msg_secret *secret)
{
    struct msg_secret *name = secret != NULL ? agent_step_alloc(b, sizeof(*name)) : NULL;
    if (name != NULL)
        memcpy(name->name, secret->name, sizeof(name->name));
    return name;
}

void agent_secret_strip(struct agent_brain *b, struct msg_assignment *shallow)
{
    shallow->secret = name_of(b, shallow->secret);
    shallow->full_secret = name_of(b, shallow->full_secret);
}
