/*
 * Credentials that the coordinator sends along with a job. They live in the job's assignment and go
 * to its runner, nowhere else: what is kept for the next life of the agent has their names alone.
 * Those of the other storages that a log job looks into go along with what is wanted of it: there a change
 * needs no other runner, and one that did not come makes its storage unreadable, nothing more.
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

/* It is kept from an earlier life, and its pairs are not here yet. */
static bool is_name_only(const struct msg_secret *secret)
{
    return secret != NULL && secret->pairs_count == 0 && secret->error == NULL;
}

static void not_sent(const struct msg_secret *secret, struct tm_err *ret)
{
    (void)tm_err_retry(ret, TM_E_UNAVAILABLE,
                       "secret '%s' comes from the coordinator, which was not reached since "
                       "the agent was started",
                       secret->name);
}

bool agent_secret_lacks(const struct agent_brain *b, const struct msg_secret *secret,
                        struct tm_err *ret)
{
    if (secret == NULL || secret->pairs_count > 0 ||
        (is_name_only(secret) && b->config.own_credentials))
        return false;
    if (is_name_only(secret))
        not_sent(secret, ret);
    else
        msg_error_to(secret->error, ret);
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

/* The log job's other storages once more, to be changed. NULL: there are none. */
static struct msg_log_place *places_copy(struct agent_brain *b, const struct msg_log_params *log)
{
    struct msg_log_place *copy =
        log->places_count > 0 ? agent_step_alloc(b, log->places_count * sizeof(*copy)) : NULL;
    for (size_t at = 0; copy != NULL && at < log->places_count; at++)
        copy[at] = log->places[at];
    return copy;
}

void agent_secret_strip(struct agent_brain *b, struct msg_assignment *shallow)
{
    shallow->secret = name_of(b, shallow->secret);
    shallow->full_secret = name_of(b, shallow->full_secret);
    if (shallow->log == NULL)
        return;
    struct msg_log_place *places = places_copy(b, shallow->log);
    for (size_t at = 0; places != NULL && at < shallow->log->places_count; at++)
        places[at].secret = name_of(b, places[at].secret);
    shallow->log->places = places;
    shallow->log->places_count = places != NULL ? shallow->log->places_count : 0;
}

/* What the runner is told in place of a name: the host's own credentials, or why there are none. */
static struct msg_secret *told_for_name(struct agent_brain *b, const struct msg_secret *secret)
{
    struct msg_secret *told = b->config.own_credentials ? NULL : name_of(b, secret);
    struct msg_error *error = told != NULL ? agent_step_alloc(b, sizeof(*error)) : NULL;
    struct tm_err why;
    if (error == NULL)
        return NULL;
    not_sent(secret, &why);
    *error = msg_error_of(&why, "credentials");
    error->text = agent_step_text(b, why.msg);
    told->error = error;
    return told;
}

void agent_secret_places(struct agent_brain *b, struct msg_log_params *shallow)
{
    bool any = false;
    for (size_t at = 0; at < shallow->places_count; at++)
        any = any || is_name_only(shallow->places[at].secret);
    struct msg_log_place *places = any ? places_copy(b, shallow) : NULL;
    if (places == NULL)
        return;
    for (size_t at = 0; at < shallow->places_count; at++) {
        if (is_name_only(places[at].secret))
            places[at].secret = told_for_name(b, places[at].secret);
    }
    shallow->places = places;
}
