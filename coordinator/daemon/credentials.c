/*
 * Where secrets meet the desired sets of agents: the brain names them, here they are put in, for as long
 * as it takes to encode a message.
 *
 * Only over TLS or loopback. What cannot be sent travels as the reason instead, and the agent fails
 * the job with it: a secret that does not exist may come, a line that anybody can read will not.
 */
#include "coordinator/daemon/internal.h"

#include "coordinator/control/control.h"
#include "proto/wire/secret.h"

/* What one assignment needs to be complete. */
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
static struct msg_secret *fill(const struct coordinator *c, const struct msg_secret *wanted,
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
    } else if (!secrets_find(c->secrets, wanted->name, &entry)) {
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

static size_t secret_count(const struct msg_desired *desired)
{
    size_t count = 0;

    for (size_t i = 0; i < desired->jobs_count; i++) {
        count += desired->jobs[i].secret ? 1 : 0;
        count += desired->jobs[i].full_secret ? 1 : 0;
    }
    for (size_t i = 0; i < desired->probes_count; i++)
        count += desired->probes[i].secret ? 1 : 0;
    return count;
}

void coordinator_reply_desired(struct coordinator *c, uint64_t conn, uint64_t ctx,
                               const struct message *message)
{
    const struct msg_desired *desired = &message->desired;
    bool private_line = gate_is_private(c->gate, conn);
    struct msg_assignment jobs[WIRE_JOBS_MAX];
    struct msg_probe probes[WIRE_PROBES_MAX];
    size_t wanted = secret_count(desired);
    size_t used = 0;
    struct filled *filled;
    struct message full = {.type = MESSAGE_desired,
                           .minor = message->minor,
                           .serial = message->serial,
                           .term = message->term};

    if (wanted == 0) { /* nearly always: every second from every agent */
        gate_reply(c->gate, conn, ctx, message);
        return;
    }
    filled = calloc(wanted, sizeof *filled);
    if (!filled)
        return; /* unanswered, the agent asks again */
    full.desired = *desired;
    full.desired.jobs = jobs;
    for (size_t i = 0; i < desired->jobs_count; i++) {
        jobs[i] = desired->jobs[i];
        if (jobs[i].secret)
            jobs[i].secret = fill(c, jobs[i].secret, private_line, &filled[used++]);
        if (jobs[i].full_secret)
            jobs[i].full_secret = fill(c, jobs[i].full_secret, private_line, &filled[used++]);
    }
    full.desired.probes = probes;
    for (size_t i = 0; i < desired->probes_count; i++) {
        probes[i] = desired->probes[i];
        if (probes[i].secret)
            probes[i].secret = fill(c, probes[i].secret, private_line, &filled[used++]);
    }
    gate_reply(c->gate, conn, ctx, &full);
    free(filled); /* pairs only point at what they are */
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
    const struct secrets_options options = {.done = on_done, .note = on_note, .arg = c};

    return secrets_open(c->loop, c->config.state_dir, &options, &c->secrets, err);
}
