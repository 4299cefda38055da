/*
 * Questions about a log backup's stored log: what is found, what a truncation would take. The
 * coordinator never opens storage, so an agent answers.
 *
 * Happy path: a command asks → the question is in the lead's desired job until a report carries the
 * answer to it → the command is answered, the question is gone. A task that is Stopped is given to an
 * agent of its tenant for it.
 *
 * Failure modes: nobody can be asked (said at once), or nobody answers within QUERY_MAX_US; whoever
 * asked has gone (then the answer has no reader). Nothing of this is durable: a question dies with the
 * coordinator, as its connection does. One question a task, and one a node, at a time: answers are long,
 * and they travel in heartbeats.
 */
#include "coordinator/brain/logs.h"

#include <stdio.h>

#define QUERY_MAX_US UINT64_C(30000000)

bool log_asked(const struct res *res)
{
    return res->live != NULL && res->live->log != NULL && res->live->log->asked.cmd != 0;
}

static void forget(struct brain *b, struct res *res)
{
    struct log_live *log = res->live->log;
    codec_arena_release(&log->asked.arena);
    memset(&log->asked, 0, sizeof(log->asked));
    desired_changed(b, res);
}

/* ---- asking ---- */

/* Who is to answer: the lead, or for a task that is Stopped anybody of the tenant. */
static int find_node(struct brain *b, struct res *res, const struct node **ret, struct tm_err *err)
{
    const struct record *rec = &res->now.rec;
    const struct msg_instance *instance;
    const struct node *lead = lead_of(b, res);
    if (lead != NULL && lead_usable(lead)) {
        *ret = lead;
        return 0;
    }
    if (rec->phase != PHASE_STOPPED)
        return tm_err_retry(err, TM_E_UNAVAILABLE,
                            "%s/%s: node '%s', which reads its log, is not there", rec->kind,
                            rec->name, rec->node);
    *ret = log_truncator_pick(b, res, &instance);
    if (*ret == NULL)
        return tm_err_retry(err, TM_E_UNAVAILABLE,
                            "%s/%s: there is no agent of cluster '%s', tenant '%s' to read its log",
                            rec->kind, rec->name, rec->cluster, rec->tenant);
    return 0;
}

static int check(struct brain *b, struct res *res, struct tm_err *err)
{
    const struct record *rec = &res->now.rec;
    const struct node *node;
    if (!log_is(res))
        return tm_err_set(err, TM_E_REFUSED, "%s/%s is no log backup", rec->kind, rec->name);
    if (rec->deleting)
        return tm_err_set(err, TM_E_REFUSED, "%s/%s is being deleted", rec->kind, rec->name);
    if (rec->phase == PHASE_SCHEDULED || rec->node[0] == '\0' || res->live == NULL)
        return tm_err_set(err, TM_E_REFUSED, "%s/%s has stored nothing yet", rec->kind, rec->name);
    if (rec->phase == PHASE_FAIL)
        return tm_err_set(err, TM_E_REFUSED,
                          "%s/%s is Fail: no agent reads its log; tidemark-agent can, without "
                          "the coordinator",
                          rec->kind, rec->name);
    int r = find_node(b, res, &node, err);
    for (size_t at = 0; r == 0 && at < b->resource_count; at++) {
        const struct res *other = b->resources[at];
        if (log_asked(other) && (other == res || job_is_lead(other, node)))
            r = tm_err_retry(err, TM_E_CONFLICT,
                             "%s/%s: node '%s' is answering another question, try again", rec->kind,
                             rec->name, node->name);
    }
    return r;
}

int log_ask(struct brain *b, struct res *res, uint64_t cmd, const struct msg_log_query *query,
            struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct msg_log_query copy;
    int r = check(b, res, err);
    if (r == 0 && query->kind == LOG_QUERY_TRUNCATE)
        r = log_may_truncate(b, res, query->until, query->force, err);
    if (r == 0)
        r = codec_copy(&msg_log_query_codec, query, &arena, &copy, err);
    if (r < 0)
        return r;
    struct log_live *log = res->live->log;
    do
        copy.id = b->rng.next(b->rng.arg);
    while (copy.id == 0);
    log->asked.cmd = cmd;
    log->asked.since_us = b->now.mono_us;
    log->asked.query = copy;
    log->asked.arena = arena;
    desired_changed(b, res);
    return 0;
}

/* ---- answering ---- */

void log_answered(struct brain *b, struct res *res, const struct msg_log_answer *answer)
{
    uint64_t cmd = log_asked(res) ? res->live->log->asked.cmd : 0;
    if (cmd == 0 || answer->id != res->live->log->asked.query.id)
        return;
    if (answer->error != NULL) {
        struct tm_err err;
        msg_error_to(answer->error, &err);
        brain_answer(b, cmd, BRAIN_DONE, &err);
    } else {
        brain_answer_log(b, cmd, res, answer);
    }
    forget(b, res);
}

void log_unanswered(struct brain *b, struct res *res, enum tm_err_code code, const char *why)
{
    struct tm_err err;
    if (!log_asked(res))
        return;
    (void)tm_err_set(&err, code, "%s/%s: %s", res->now.rec.kind, res->now.rec.name, why);
    brain_answer(b, res->live->log->asked.cmd, BRAIN_DONE, &err);
    forget(b, res);
}

void log_query_tick(struct brain *b, struct res *res)
{
    char why[128];
    if (!log_asked(res))
        return;
    if (res->now.rec.phase == PHASE_FAIL) {
        log_unanswered(b, res, TM_E_UNAVAILABLE, "it is Fail: no agent reads its log");
    } else if (b->now.mono_us - res->live->log->asked.since_us >= QUERY_MAX_US) {
        (void)snprintf(why, sizeof(why), "node '%s' did not answer within %u s", res->now.rec.node,
                       (unsigned)(QUERY_MAX_US / 1000000));
        log_unanswered(b, res, TM_E_TIMEOUT, why);
    }
}
