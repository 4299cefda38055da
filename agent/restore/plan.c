/*
 * What is asked, and what it needs: the scope, the backup, the log up to the stop, the place.
 *
 * A moment of the last minute may not be proven yet: an idle log task stores a time mark only now and
 * then. It is waited for, so that "one second ago" works.
 *
 * Nothing is written here. Failure modes: nothing stored fits the target (the error names what could
 * be had), the engine is unknown, the place refuses.
 */
#include "agent/restore/internal.h"

#include <sys/statvfs.h>

#include "common/size.h"

#define LOG_WAIT_US                                                                                \
    (30 * USEC_PER_SEC) /* behind the target: well above the pause between two marks */
#define LOG_LOOK_US USEC_PER_SEC

/* How the repository's rooms ask the engine about its log. */
static int
last_record(void *arg, struct slice facts, const char *label, uint64_t from,
            int (*read)(void *read_arg, uint64_t at, struct slice *ret, struct tm_err *err),
            void *read_arg, uint64_t limit, bool before, uint64_t *ret_record, struct tm_err *err)
{
    const struct engine_ops *engine = arg;
    (void)label;
    return engine->log_last_record(facts, from, read, read_arg, limit, before, ret_record, err);
}

static int parse_target(const struct restore_job *job, struct target *ret, struct tm_err *err)
{
    int rc = target_parse(job->to && job->to[0] ? job->to : "immediate", ret, err);
    if (rc < 0)
        return rc;
    ret->exclusive = job->exclusive;
    if (!job->lineage || !job->lineage[0])
        return 0;
    ret->has_lineage = true;
    if (!names_lineage_parse(job->lineage, ret->lineage))
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a lineage: 32 hex digits are wanted",
                          job->lineage);
    return 0;
}

static int choose_engine(struct restore *r, struct tm_err *err)
{
    struct identity identity;
    int rc = identity_read(r->object_scratch, r->st, &r->scope, &identity, err);
    if (rc < 0)
        return rc;
    r->engine = engine_find(identity.engine);
    if (!r->engine)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "the backups of %s/%s are of engine '%s', which is "
                          "not known",
                          r->scope.cluster, r->scope.tenant, identity.engine);
    return 0;
}

static int choose_immediate(struct restore *r, struct tm_err *err)
{
    struct restore_request request = {.backup_id = r->job->backup_id, .immediate = true};
    struct restore_choice choice = {.exact = false};
    int rc = restore_choose(r->object_scratch, r->st, &r->scope, &request, &choice, err);
    if (rc < 0)
        return rc;
    memcpy(r->outcome.backup_id, choice.backup_id, sizeof(r->outcome.backup_id));
    r->outcome.commit_us = choice.commit_us;
    return 0;
}

/* Whether a running log task may still prove this moment: the planner says what nothing stored rules
 * out, the clock what is worth waiting for. */
static bool may_come(const struct restore *r, const struct target *target, const struct tm_err *err)
{
    int64_t now_us = clock_real_us();
    return err->code == TM_E_NOT_FOUND && err->retryable && !r->job->dry_run &&
           target->time_us <= now_us && now_us - target->time_us < LOG_WAIT_US;
}

static int wait_a_little(struct restore *r, struct tm_err *err)
{
    struct timespec until = clock_after(CLOCK_MONOTONIC, LOG_LOOK_US);
    pthread_mutex_lock(&r->lock);
    (void)pthread_cond_timedwait(&r->changed, &r->lock, &until);
    pthread_mutex_unlock(&r->lock);
    return restore_canceled(r, err);
}

static int choose_by_log(struct restore *r, const struct target *target, struct tm_err *err)
{
    struct object_scratch *scratches[3] = {r->manifest_scratch, r->segment_scratch,
                                           r->object_scratch};
    if (!r->engine->log_last_record || !r->engine->position_text)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "engine '%s' has no log to replay: restore to 'immediate'",
                          r->engine->name);
    struct target_engine engine = {
        .positions = {r->engine->position_text, r->engine->position_parse},
        .last_record = last_record,
        .arg = (void *)(uintptr_t)r->engine,
    };
    int rc;
    while ((rc = target_plan_make(scratches, r->log_st, r->st, &r->scope, r->job->backup_id, target,
                                  &engine, &r->plan, err)) < 0) {
        if (!may_come(r, target, err)) {
            err->retryable = err->retryable && err->code != TM_E_NOT_FOUND; /* it was waited for */
            return rc;
        }
        if ((rc = wait_a_little(r, err)) < 0)
            return rc;
    }
    memcpy(r->outcome.backup_id, r->plan.backup_id, sizeof(r->outcome.backup_id));
    r->outcome.commit_us = r->plan.stop_us;
    r->outcome.by_log = !r->plan.immediate;
    r->outcome.log_bytes = r->plan.log_bytes;
    memcpy(r->outcome.label, r->plan.stop_label, sizeof(r->outcome.label));
    memcpy(r->outcome.position, r->plan.stop_position, sizeof(r->outcome.position));
    return 0;
}

static int choose(struct restore *r, struct tm_err *err)
{
    struct target target;
    int rc = parse_target(r->job, &target, err);
    if (rc == 0)
        rc = catalog_resolve(r->object_scratch, r->st, r->job->cluster, r->job->tenant,
                             r->job->incarnation, &r->scope, err);
    if (rc == 0)
        rc = choose_engine(r, err);
    if (rc < 0)
        return rc;
    return target.kind == TARGET_IMMEDIATE ? choose_immediate(r, err)
                                           : choose_by_log(r, &target, err);
}

static int read_manifest(struct restore *r, struct tm_err *err)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    int rc =
        manifest_reader_open(&mr, r->manifest_scratch, r->st, &r->scope, r->outcome.backup_id, err);
    if (rc == 0) {
        const struct manifest *m = &mr.root;
        r->log_from = m->log_from;
        r->log_to = m->log_to;
        r->outcome.totals.bytes_total = m->raw_bytes + r->plan.log_bytes;
        r->outcome.totals.ranges_total = m->ranges;
        if (m->consistent_at && !r->outcome.by_log)
            (void)snprintf(r->outcome.position, sizeof(r->outcome.position), "%s",
                           m->consistent_at->text);
        if ((rc = buf_append_slice(&r->begin, m->begin, err)) == 0)
            rc = buf_append_slice(&r->end, m->end, err);
    }
    manifest_reader_release(&mr);
    return rc;
}

/* ---- the place ---- */

/* A branch that is on the way has the say over its label, else the one minted last. */
static bool speaks_for_label(const struct target_plan *plan, const struct log_lineages *all,
                             size_t at)
{
    const struct lineage *one = &all->items[at].record;
    bool taken = false;
    for (size_t n = 0; n < plan->label_count; n++) {
        if (memcmp(plan->lineages[n], one->id, sizeof(one->id)) == 0)
            return true;
        taken = taken || strcmp(plan->labels[n], one->label) == 0;
    }
    for (size_t n = at + 1; n < all->count; n++)
        taken = taken || strcmp(all->items[n].record.label, one->label) == 0;
    return !taken;
}

int restore_histories(const struct target_plan *plan, const struct log_lineages *all,
                      struct restore_histories *ret, struct tm_err *err)
{
    struct restore_histories list = {.texts = calloc(all->count + 1, sizeof(*list.texts)),
                                     .labels = calloc(all->count + 1, sizeof(*list.labels))};
    if (!list.texts || !list.labels) {
        restore_histories_release(&list);
        return tm_err_oom(err);
    }
    for (size_t n = 0; n < all->count; n++) {
        const struct lineage *one = &all->items[n].record;
        if (one->history.len == 0 || !speaks_for_label(plan, all, n))
            continue;
        list.texts[list.count] = one->history;
        list.labels[list.count++] = one->label;
    }
    *ret = list;
    return 0;
}

void restore_histories_release(struct restore_histories *h)
{
    free(h->texts);
    free(h->labels);
    *h = (struct restore_histories){.count = 0};
}

static int collect_histories(struct restore *r, struct restore_histories *ret, struct tm_err *err)
{
    int rc = log_lineages_read(r->object_scratch, r->log_st, &r->scope, &r->lineages, err);
    return rc < 0 ? rc : restore_histories(&r->plan, &r->lineages, ret, err);
}

static int open_target(struct restore *r, struct tm_err *err)
{
    const struct restore_job *job = r->job;
    TM_CLEANUP(restore_histories_release) struct restore_histories histories = {.count = 0};
    int rc = r->engine->log_describe ? collect_histories(r, &histories, err) : 0;
    struct engine_restore_spec spec = {
        .data_dir = job->data_dir,
        .wal_dir = job->wal_dir,
        .live_data_dirs = job->live_data_dirs,
        .tablespace_map = job->tablespace_map,
        .restore_roots = job->restore_roots,
        .server_options = job->server_options,
        .begin = buf_slice(&r->begin),
        .end = buf_slice(&r->end),
        .delta = job->delta,
        .resume = job->resume,
        .target = r->outcome.by_log ? "record" : "immediate",
        .stop_record = r->outcome.by_log ? r->plan.stop_record : 0,
        .stop_label = r->outcome.by_log ? r->plan.stop_label : NULL,
        .histories = histories.texts,
        .history_labels = histories.labels,
        .history_count = histories.count,
        .port = job->port,
    };
    if (rc == 0)
        rc = r->engine->restore_open(&spec, &r->target, err);
    return rc;
}

/* Free bytes where `path` is, or would be made; UINT64_MAX when that cannot be told. */
static uint64_t free_at(const char *path)
{
    char place[ENGINE_PATH_MAX + 1];
    struct statvfs fs;
    (void)snprintf(place, sizeof(place), "%s", path);
    while (statvfs(place, &fs) < 0) {
        char *slash = strrchr(place, '/');
        if (errno != ENOENT || !slash || slash == place)
            return UINT64_MAX;
        *slash = '\0';
    }
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* A restore that cannot end is refused before it begins: data and log together, where both go to one
 * place. What is spread over several, or there already, is not judged. */
static int check_space(const struct restore *r, struct tm_err *err)
{
    const struct restore_job *job = r->job;
    char have[SIZE_TEXT_MAX], want[SIZE_TEXT_MAX];
    bool spread = job->wal_dir || (job->tablespace_map && job->tablespace_map[0]);
    if (job->delta || job->resume || spread)
        return 0;
    uint64_t needed = r->outcome.totals.bytes_total + (r->log_to - r->log_from);
    uint64_t left = free_at(job->data_dir);
    if (left >= needed)
        return 0;
    return tm_err_set(err, TM_E_NO_SPACE,
                      "'%s' has room for %s, data and log to be replayed need %s", job->data_dir,
                      size_format(left, have), size_format(needed, want));
}

int restore_plan(struct restore *r, struct tm_err *err)
{
    int rc = choose(r, err);
    if (rc == 0)
        rc = read_manifest(r, err);
    if (rc == 0)
        rc = open_target(r, err);
    return rc < 0 ? rc : check_space(r, err);
}
