/*
 * Where secrets meet the desired sets of agents: the brain names them, here they are put in, for as long
 * as it takes to encode a message.
 *
 * Only over TLS or loopback. What cannot be sent travels as the reason instead, and the agent fails
 * the job with it: a secret that does not exist may come, a line that anybody can read will not.
 */
#include "coordinator/daemon/credentials.h"

#include "coordinator/control/control.h"
#include "coordinator/daemon/internal.h"
#include "proto/wire/secret.h"

/* One secret as it is sent. */
struct filled {
    struct msg_secret secret;
    struct msg_pair pairs[WIRE_PAIRS_MAX];
    struct msg_error error;
    struct tm_err why;
};

static void refuse(struct filled *to)
{
    to->error = msg_error_of(&to->why, "credentials");
    to->secret.error = &to->error;
}

/* What it returns is in *to. */
static struct msg_secret *fill(const struct secrets *secrets, const struct msg_secret *wanted,
                               bool private_line, struct filled *to)
{
    struct secrets_entry entry;

    to->secret = (struct msg_secret){.pairs_count = 0};
    memcpy(to->secret.name, wanted->name, sizeof to->secret.name);
    if (!private_line) {
        (void)tm_err_set(&to->why, TM_E_REFUSED,
                         "secret '%s' is not sent over a connection without TLS: use tls+tcp:// "
                         "between coordinator and agents, or set br.sendCredToAgents: false and "
                         "give every agent credentials of its own",
                         wanted->name);
        refuse(to);
    } else if (!secrets_find(secrets, wanted->name, &entry)) {
        (void)tm_err_retry(&to->why, TM_E_NOT_FOUND,
                           "there is no secret '%s': tidemark create secret %s --from-literal "
                           "KEY=VALUE …",
                           wanted->name, wanted->name);
        refuse(to);
    } else if (entry.why) {
        (void)tm_err_retry(&to->why, TM_E_UNAVAILABLE,
                           "secret '%s' cannot be read by the coordinator, create it again: %s",
                           wanted->name, entry.why);
        refuse(to);
    } else {
        msg_secret_of(wanted->name, entry.map, to->pairs, &to->secret);
    }
    return &to->secret;
}

/* ---- a whole set ---- */

struct credentials {
    struct msg_desired desired;
    struct msg_assignment jobs[WIRE_JOBS_MAX];
    struct msg_probe probes[WIRE_PROBES_MAX];
    struct msg_log_params logs[WIRE_JOBS_MAX];
    struct msg_log_place places[WIRE_JOBS_MAX][WIRE_PLACES_MAX];
    size_t used;
    struct filled filled[]; /* pairs only point at what the store of secrets has */
};

static size_t places_secrets(const struct msg_log_params *log)
{
    size_t count = 0;

    for (size_t i = 0; log && i < log->places_count; i++)
        count += log->places[i].secret ? 1 : 0;
    return count;
}

static size_t secret_count(const struct msg_desired *desired)
{
    size_t count = 0;

    for (size_t i = 0; i < desired->jobs_count; i++) {
        count += desired->jobs[i].secret ? 1 : 0;
        count += desired->jobs[i].full_secret ? 1 : 0;
        count += places_secrets(desired->jobs[i].log);
    }
    for (size_t i = 0; i < desired->probes_count; i++)
        count += desired->probes[i].secret ? 1 : 0;
    return count;
}

static struct msg_secret *next(const struct secrets *secrets, bool private_line,
                               const struct msg_secret *wanted, struct credentials *to)
{
    return wanted ? fill(secrets, wanted, private_line, &to->filled[to->used++]) : NULL;
}

static void fill_places(const struct secrets *secrets, bool private_line, size_t job,
                        struct credentials *to)
{
    struct msg_log_params *log = &to->logs[job];

    if (places_secrets(to->jobs[job].log) == 0)
        return;
    *log = *to->jobs[job].log;
    for (size_t i = 0; i < log->places_count; i++) {
        to->places[job][i] = log->places[i];
        to->places[job][i].secret = next(secrets, private_line, log->places[i].secret, to);
    }
    log->places = to->places[job];
    to->jobs[job].log = log;
}

int credentials_fill(const struct secrets *secrets, bool private_line,
                     const struct msg_desired *desired, struct credentials **ret,
                     struct tm_err *err)
{
    size_t wanted = secret_count(desired);
    struct credentials *to;

    *ret = NULL;
    if (wanted == 0) /* nearly always: every second from every agent */
        return 0;
    to = calloc(1, sizeof *to + wanted * sizeof to->filled[0]);
    if (!to)
        return tm_err_oom(err);
    to->desired = *desired;
    to->desired.jobs = to->jobs;
    for (size_t i = 0; i < desired->jobs_count; i++) {
        struct msg_assignment *job = &to->jobs[i];

        *job = desired->jobs[i];
        job->secret = next(secrets, private_line, job->secret, to);
        job->full_secret = next(secrets, private_line, job->full_secret, to);
        fill_places(secrets, private_line, i, to);
    }
    to->desired.probes = to->probes;
    for (size_t i = 0; i < desired->probes_count; i++) {
        to->probes[i] = desired->probes[i];
        to->probes[i].secret = next(secrets, private_line, to->probes[i].secret, to);
    }
    *ret = to;
    return 0;
}

const struct msg_desired *credentials_desired(const struct credentials *full)
{
    return &full->desired;
}

void credentials_free(struct credentials *full)
{
    free(full);
}

void coordinator_reply_desired(struct coordinator *c, uint64_t conn, uint64_t ctx,
                               const struct message *message)
{
    TM_CLEANUP(credentials_freep) struct credentials *full = NULL;
    struct message reply = {.type = MESSAGE_desired,
                            .minor = message->minor,
                            .serial = message->serial,
                            .term = message->term};
    struct tm_err err;

    if (credentials_fill(c->secrets, gate_is_private(c->gate, conn), &message->desired, &full,
                         &err) < 0)
        return; /* unanswered, the agent asks again */
    if (!full) {
        gate_reply(c->gate, conn, ctx, message);
        return;
    }
    reply.desired = *credentials_desired(full);
    gate_reply(c->gate, conn, ctx, &reply);
}

/* ---- changes ---- */

static void on_done(void *arg, uint64_t cmd, const char *name, enum secrets_outcome outcome,
                    const struct tm_err *err)
{
    static const enum brain_outcome outcomes[] = {
        [SECRETS_CREATED] = BRAIN_CREATED,
        [SECRETS_CONFIGURED] = BRAIN_CONFIGURED,
        [SECRETS_UNCHANGED] = BRAIN_UNCHANGED,
        [SECRETS_DELETED] = BRAIN_DELETED,
    };
    struct coordinator *c = arg;
    const struct brain_event event = {.kind = BRAIN_EV_SECRET, .secret = {.name = name}};

    if (err) {
        log_error(&c->lg, NULL, "%s", err->msg);
    } else if (outcome != SECRETS_UNCHANGED) {
        log_notice(&c->lg, NULL, "secret '%s' was %s", name,
                   outcome == SECRETS_DELETED   ? "deleted"
                   : outcome == SECRETS_CREATED ? "created"
                                                : "changed");
        coordinator_feed(c, &event);
    }
    if (c->control)
        control_answer(c->control, cmd, outcomes[outcome], err);
}

static void on_note(void *arg, int priority, const char *text)
{
    struct coordinator *c = arg;

    log_write(&c->lg, NULL, LOG_EVENT_NONE, priority, "%s", text);
}

int coordinator_secrets_start(struct coordinator *c, struct tm_err *err)
{
    const struct secrets_options options = {.credentials_dir = getenv("CREDENTIALS_DIRECTORY"),
                                            .done = on_done,
                                            .note = on_note,
                                            .arg = c};

    return secrets_open(c->loop, c->config.state_dir, &options, &c->secrets, err);
}
