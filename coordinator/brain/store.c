/* The resources: a sorted array; read back at start, found by name or by job. */
#include "coordinator/brain/logs.h"

#include "common/array.h"

CODEC_DEFINE(log_record, "log record", LOG_RECORD_FIELDS);
CODEC_DEFINE(node_share, "share", NODE_SHARE_FIELDS);
CODEC_DEFINE(record, "record", RECORD_FIELDS);

static int compare(const struct res *res, const char *kind, const char *namespace_,
                   const char *name, const char *part)
{
    int order = strcmp(res->now.rec.kind, kind);
    if (order == 0)
        order = strcmp(res->now.rec.namespace_, namespace_);
    if (order == 0)
        order = strcmp(res->now.rec.name, name);
    return order != 0 ? order : strcmp(res->now.rec.part, part);
}

static size_t position(const struct brain *b, const char *kind, const char *namespace_,
                       const char *name, const char *part)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, b->resource_count, at,
                      compare(b->resources[at], kind, namespace_, name, part) < 0);
    return low;
}

size_t brain_resource_after(const struct brain *b, const char *kind, const char *namespace_,
                            const char *name)
{
    size_t at = position(b, kind, namespace_, name, "");
    bool there =
        at < b->resource_count && compare(b->resources[at], kind, namespace_, name, "") == 0;
    return at + there;
}

struct res *store_find(const struct brain *b, const char *kind, const char *namespace_,
                       const char *name)
{
    return store_find_part(b, kind, namespace_, name, "");
}

struct res *store_find_part(const struct brain *b, const char *kind, const char *namespace_,
                            const char *name, const char *part)
{
    size_t at = position(b, kind, namespace_, name, part);
    if (at < b->resource_count && compare(b->resources[at], kind, namespace_, name, part) == 0)
        return b->resources[at];
    return NULL;
}

size_t store_parts(const struct brain *b, const struct res *res, struct res *const **ret)
{
    const struct record *rec = &res->now.rec;
    size_t first = position(b, rec->kind, rec->namespace_, rec->name, "") + 1;
    size_t at = first;
    while (at < b->resource_count && strcmp(b->resources[at]->now.rec.name, rec->name) == 0 &&
           strcmp(b->resources[at]->now.rec.namespace_, rec->namespace_) == 0 &&
           strcmp(b->resources[at]->now.rec.kind, rec->kind) == 0)
        at++;
    *ret = at > first ? &b->resources[first] : NULL;
    return at - first;
}

struct res *store_find_job(const struct brain *b, const char *uid, uint32_t attempt)
{
    size_t low;
    ARRAY_LOWER_BOUND(low, b->lists.job_count, at, strcmp(b->lists.jobs[at]->now.rec.job, uid) < 0);
    for (; low < b->lists.job_count; low++) {
        struct res *res = b->lists.jobs[low];
        if (strcmp(res->now.rec.job, uid) != 0)
            break;
        if (res->now.rec.attempt == attempt)
            return res;
    }
    return NULL;
}

/* ---- lists ---- */

void store_lists_old(struct brain *b)
{
    b->lists.old = true;
}

/* job_tick has nothing to do for any other one, nor is anything of it under way. */
static bool is_busy(const struct res *res)
{
    return res->live != NULL || res->staged ||
           (res->now.rec.phase == PHASE_FAILED && (res->now.rec.resumable || parts_is(res)));
}

/* Every other one is no job of any node, see desired_roles. */
static bool is_given(const struct res *res)
{
    const struct record *rec = &res->now.rec;
    if (!res->exists || res->live == NULL)
        return false;
    return log_is(res) || job_deleting(res) || resume_sweeping(res) ||
           rec->phase == PHASE_PREPARE || rec->phase == PHASE_RUNNING;
}

static int compare_jobs(const void *a, const void *b)
{
    const struct res *const *left = a;
    const struct res *const *right = b;
    int order = strcmp((*left)->now.rec.job, (*right)->now.rec.job);
    if (order != 0)
        return order;
    return ((*left)->now.rec.attempt > (*right)->now.rec.attempt) -
           ((*left)->now.rec.attempt < (*right)->now.rec.attempt);
}

static int lists_reserve(struct brain *b)
{
    struct store_lists *l = &b->lists;
    struct res ***const arrays[] = {&l->busy, &l->given, &l->jobs};
    if (l->cap >= b->resource_count)
        return 0;
    for (size_t at = 0; at < TM_ARRAY_LEN(arrays); at++) {
        struct res **larger = realloc(*arrays[at], b->resource_cap * sizeof(struct res *));
        if (larger == NULL)
            return tm_err_oom(b->err);
        *arrays[at] = larger;
    }
    l->cap = b->resource_cap;
    return 0;
}

void store_list(struct brain *b)
{
    struct store_lists *l = &b->lists;
    if (!l->old || !b->loaded)
        return;
    if (lists_reserve(b) < 0) {
        brain_check(b, -1);
        return;
    }
    l->old = false;
    l->busy_count = 0;
    l->given_count = 0;
    l->job_count = 0;
    for (size_t at = 0; at < b->resource_count; at++) {
        struct res *res = b->resources[at];
        if (is_busy(res))
            l->busy[l->busy_count++] = res;
        if (is_given(res))
            l->given[l->given_count++] = res;
        if (res->exists && res->live != NULL && res->now.rec.job[0] != '\0')
            l->jobs[l->job_count++] = res;
    }
    if (l->job_count > 0)
        qsort(l->jobs, l->job_count, sizeof(struct res *), compare_jobs);
}

struct res *store_add(struct brain *b, const char *kind, const char *namespace_, const char *name,
                      const char *part)
{
    if (ARRAY_ROOM(b->resources, b->resource_count, b->resource_cap, 64, b->err) < 0) {
        brain_check(b, -1);
        return NULL;
    }
    struct res *res = calloc(1, sizeof(*res));
    if (res == NULL || status_new(res, b->err) < 0) {
        free(res);
        brain_check(b, tm_err_oom(b->err));
        return NULL;
    }
    memcpy(res->now.rec.kind, kind, strlen(kind) + 1);
    memcpy(res->now.rec.namespace_, namespace_, strlen(namespace_) + 1);
    memcpy(res->now.rec.name, name, strlen(name) + 1);
    memcpy(res->now.rec.part, part, strlen(part) + 1);
    size_t at = position(b, kind, namespace_, name, part);
    memmove(&b->resources[at + 1], &b->resources[at],
            (b->resource_count - at) * sizeof(struct res *));
    b->resources[at] = res;
    b->resource_count++;
    store_lists_old(b);
    return res;
}

void store_remove(struct brain *b, struct res *res)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        if (b->resources[at] != res)
            continue;
        memmove(&b->resources[at], &b->resources[at + 1],
                (b->resource_count - at - 1) * sizeof(struct res *));
        b->resource_count--;
        break;
    }
    store_res_free(res);
    store_lists_old(b);
    store_list(b); /* none of them may go on pointing to it */
    b->version++;
}

void store_res_free(struct res *res)
{
    if (res == NULL)
        return;
    view_free(res->spec);
    view_free(res->next_spec);
    job_live_free(res->live);
    codec_arena_release(&res->now.arena);
    codec_arena_release(&res->next.arena);
    codec_arena_release(&res->view_arena);
    status_free(res);
    free(res);
}

int store_set_spec(struct res *res, struct resource *spec, struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct view view;
    int r = view_of(spec, &arena, &view, err);
    if (r < 0) {
        codec_arena_release(&arena);
        view_free(spec);
        return r;
    }
    view_free(res->spec);
    codec_arena_release(&res->view_arena);
    res->spec = spec;
    res->view_arena = arena;
    res->view = view;
    if (part_is(res)) /* its document is the whole's */
        res->view.tenant = res->now.rec.part;
    return 0;
}

bool store_terminal(const struct res *res)
{
    return res->now.rec.phase == PHASE_COMPLETE || res->now.rec.phase == PHASE_FAILED;
}

/* ---- at start ---- */

static bool has_prefix(struct slice key, const char *prefix)
{
    size_t len = strlen(prefix);
    return key.len >= len && memcmp(key.data, prefix, len) == 0;
}

/* A part's document is that of the whole, which may be loaded later. */
static int load_spec(struct res *res, const struct record *rec, struct tm_err *err)
{
    struct resource *spec = NULL;
    int r = view_parse(rec->document, &spec, err);
    if (r == 0)
        r = store_set_spec(res, spec, err);
    if (r == 0 && log_is(res) && rec->log == NULL)
        r = tm_err_set(err, TM_E_CORRUPT, "what a log backup has is missing");
    return r;
}

int store_load(struct brain *b, struct slice key, struct slice value, struct tm_err *err)
{
    bool part = has_prefix(key, BRAIN_PART_PREFIX);
    if (has_prefix(key, BRAIN_KEPT_PREFIX))
        return kept_load(b, key, value, err);
    if (has_prefix(key, BRAIN_CLUSTER_PREFIX))
        return tenants_load(b, value, err);
    if (has_prefix(key, BRAIN_INTENT_PREFIX))
        return intents_load(b, key, value, err);
    if (has_prefix(key, BRAIN_REBUILD_KEY))
        return rebuild_load(b, value, err);
    if (has_prefix(key, BRAIN_LIVES_KEY))
        return lives_load(b, value, err);
    if (!part && !has_prefix(key, BRAIN_KEY_PREFIX))
        return 0; /* somebody else's record */
    struct stored stored = {0};
    int r = codec_decode(&record_codec, value, &stored.arena, &stored.rec, err);
    if (r == 0 && part != (stored.rec.part[0] != '\0'))
        r = tm_err_set(err, TM_E_CORRUPT, "its tenant and its key disagree");
    struct res *res = NULL;
    if (r == 0) {
        res =
            store_add(b, stored.rec.kind, stored.rec.namespace_, stored.rec.name, stored.rec.part);
        if (res == NULL)
            r = tm_err_oom(err);
    }
    if (r == 0 && !part)
        r = load_spec(res, &stored.rec, err);
    if (r != 0) {
        codec_arena_release(&stored.arena);
        if (err->code != TM_E_NO_MEMORY)
            err->code = TM_E_CORRUPT;
        return tm_err_prefix(err, "stored record '%.*s'", (int)TM_MIN(key.len, (size_t)200),
                             (const char *)key.data);
    }
    res->now = stored;
    res->exists = true;
    return 0;
}

/* Something to do for it: it is not at its end, or it is to be deleted. */
static bool has_work(const struct res *res)
{
    return !store_terminal(res) || res->now.rec.deleting || resume_sweeping(res);
}

void store_loaded(struct brain *b)
{
    if (parts_loaded(b) < 0)
        return;
    b->loaded = true;
    store_lists_old(b);
    for (size_t at = 0; at < b->resource_count; at++) {
        struct res *res = b->resources[at];
        if (has_work(res) && !brain_plant(b, BRAIN_PLANT_FORGET_RESTART))
            brain_check(b, job_live(b, res, true));
        status_changed(b, res);
    }
    rebuild_loaded(b);
    lives_begin(b);
}
