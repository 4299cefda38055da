/* Status: phases, conditions, problems. Nothing here fails: what finds no room is counted. */
#include "proto/spec/status.h"

#include "common/suggest.h"
#include "common/utf8.h"

static const char *const phase_texts[] = {"",
#define RESOURCE_PHASE_ROW(name, text) text,
                                          RESOURCE_PHASE_MAP(RESOURCE_PHASE_ROW)
#undef RESOURCE_PHASE_ROW
};

const char *resource_phase_text(enum resource_phase phase)
{
    return (size_t)phase < TM_ARRAY_LEN(phase_texts) ? phase_texts[phase] : "";
}

int resource_phase_parse(const char *text, enum resource_phase *ret_phase, struct tm_err *err)
{
    struct suggest s;
    suggest_init(&s, text);
    for (size_t n = 1; n < TM_ARRAY_LEN(phase_texts); n++) {
        if (strcasecmp(phase_texts[n], text) == 0) {
            *ret_phase = (enum resource_phase)n;
            return 0;
        }
        suggest_offer(&s, phase_texts[n]);
    }
    if (suggest_best(&s) != NULL)
        return tm_err_set(err, TM_E_INVALID, "unknown phase '%s', did you mean '%s'?", text,
                          suggest_best(&s));
    return tm_err_set(err, TM_E_INVALID,
                      "unknown phase '%s' (known: Scheduled, Prepare, Running, Complete, Failed, "
                      "Pause, Stopped, Fail, Deleting)",
                      text);
}

bool resource_phase_is_past(enum resource_phase now, enum resource_phase wanted)
{
    switch (now) {
    case RESOURCE_COMPLETE:
    case RESOURCE_FAILED:
    case RESOURCE_STOPPED:
        return wanted != now && wanted != RESOURCE_DELETING;
    case RESOURCE_DELETING:
        return wanted != now;
    default:
        return false;
    }
}

struct resource_status *resource_status_new(void)
{
    return calloc(1, sizeof(struct resource_status));
}

void resource_status_clear(struct resource_status *st)
{
    for (size_t n = 0; n < st->warning_count; n++)
        free(st->warnings[n]);
    free(st->warnings);
    free(st->problems);
    free(st->log.recoverable);
    free(st->log.holds);
    free(st->storage);
    free(st->shares);
    free(st->tenants);
    memset(st, 0, sizeof(*st));
}

void resource_status_free(struct resource_status *st)
{
    if (st == NULL)
        return;
    resource_status_clear(st);
    free(st);
}

/* The condition of a phase; a full list loses its oldest. */
static struct status_condition *condition_of(struct resource_status *st, enum resource_phase type)
{
    for (size_t n = 0; n < st->condition_count; n++)
        if (st->conditions[n].type == type)
            return &st->conditions[n];
    if (st->condition_count == STATUS_CONDITIONS_MAX) {
        memmove(&st->conditions[0], &st->conditions[1],
                (STATUS_CONDITIONS_MAX - 1) * sizeof(st->conditions[0]));
        st->condition_count--;
    }
    struct status_condition *fresh = &st->conditions[st->condition_count++];
    *fresh = (struct status_condition){.type = type};
    return fresh;
}

void resource_status_set_phase(struct resource_status *st, enum resource_phase phase,
                               int64_t now_us, const char *reason, const char *message)
{
    for (size_t n = 0; n < st->condition_count; n++) {
        struct status_condition *c = &st->conditions[n];
        if (c->type != phase && c->status) {
            c->status = false;
            c->last_transition_us = now_us;
        }
    }
    struct status_condition *c = condition_of(st, phase);
    if (!c->status)
        c->last_transition_us = now_us;
    c->status = true;
    (void)snprintf(c->reason, sizeof(c->reason), "%s", reason != NULL ? reason : "");
    (void)snprintf(c->message, sizeof(c->message), "%s", message != NULL ? message : "");
    utf8_clean(c->message);
    st->phase = phase;
}

void resource_status_add_problem(struct resource_status *st, const char *node, const char *file,
                                 int64_t block, const char *message)
{
    struct status_problem *grown = NULL;
    if (st->problem_count < STATUS_PROBLEMS_MAX)
        grown = reallocarray(st->problems, st->problem_count + 1, sizeof(*grown));
    if (grown == NULL) {
        st->problems_dropped++;
        return;
    }
    st->problems = grown;
    struct status_problem *p = &grown[st->problem_count++];
    *p =
        (struct status_problem){.has_block = block >= 0, .block = block >= 0 ? (uint64_t)block : 0};
    (void)snprintf(p->node, sizeof(p->node), "%s", node != NULL ? node : "");
    (void)snprintf(p->file, sizeof(p->file), "%s", file != NULL ? file : "");
    (void)snprintf(p->message, sizeof(p->message), "%s", message != NULL ? message : "");
}

void resource_status_add_warning(struct resource_status *st, const char *text)
{
    if (st->warning_count >= STATUS_WARNINGS_MAX)
        return;
    char **grown = reallocarray(st->warnings, st->warning_count + 1, sizeof(*grown));
    if (grown == NULL)
        return;
    st->warnings = grown;
    char *copy = strdup(text);
    if (copy != NULL)
        grown[st->warning_count++] = copy;
}

void resource_status_add_interval(struct resource_status *st, const struct status_interval *one)
{
    struct status_log *log = &st->log;
    if (log->recoverable_count >= STATUS_INTERVALS_MAX)
        return;
    struct status_interval *grown =
        reallocarray(log->recoverable, log->recoverable_count + 1, sizeof(*grown));
    if (grown == NULL)
        return;
    log->recoverable = grown;
    grown[log->recoverable_count++] = *one;
}

void resource_status_add_hold(struct resource_status *st, const struct status_hold *one)
{
    struct status_log *log = &st->log;
    if (log->hold_count >= STATUS_HOLDS_MAX)
        return;
    struct status_hold *grown = reallocarray(log->holds, log->hold_count + 1, sizeof(*grown));
    if (grown == NULL)
        return;
    log->holds = grown;
    grown[log->hold_count++] = *one;
}

void resource_status_add_share(struct resource_status *st, const struct status_share *one)
{
    size_t count = st->share_count;
    if (count >= STATUS_SHARES_MAX)
        return;
    if ((count & (count - 1)) == 0) { /* 0, 1, 2, 4, …: it is full */
        size_t cap = count == 0 ? 1 : 2 * count;
        struct status_share *grown = reallocarray(st->shares, cap, sizeof(*grown));
        if (grown == NULL)
            return;
        st->shares = grown;
    }
    st->shares[st->share_count++] = *one;
}

void resource_status_add_storage(struct resource_status *st, const struct status_storage *one)
{
    if (st->storage_count >= STATUS_STORAGE_MAX)
        return;
    struct status_storage *grown = reallocarray(st->storage, st->storage_count + 1, sizeof(*grown));
    if (grown == NULL)
        return;
    st->storage = grown;
    grown[st->storage_count++] = *one;
}

void resource_status_add_tenant(struct resource_status *st, const struct resource_status *one)
{
    if (st->tenant_count >= STATUS_TENANTS_MAX)
        return;
    const struct resource_status **grown =
        reallocarray(st->tenants, st->tenant_count + 1, sizeof(*grown));
    if (grown == NULL)
        return;
    st->tenants = grown;
    grown[st->tenant_count++] = one;
}
