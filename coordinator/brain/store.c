/* The resources: a sorted array; read back at start, found by name or by job. */
#include "coordinator/brain/logs.h"

#include "common/array.h"

CODEC_DEFINE(log_record, "log record", LOG_RECORD_FIELDS);
CODEC_DEFINE(node_share, "share", NODE_SHARE_FIELDS);
CODEC_DEFINE(record, "record", RECORD_FIELDS);

static int compare(const struct res *res, const char *kind, const char *namespace_,
                   const char *name)
{
    int order = strcmp(res->now.rec.kind, kind);
    if (order == 0)
        order = strcmp(res->now.rec.namespace_, namespace_);
    return order != 0 ? order : strcmp(res->now.rec.name, name);
}

static size_t position(const struct brain *b, const char *kind, const char *namespace_,
                       const char *name)
{
    size_t low = 0;
    size_t high = b->resource_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(b->resources[middle], kind, namespace_, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct res *store_find(const struct brain *b, const char *kind, const char *namespace_,
                       const char *name)
{
    size_t at = position(b, kind, namespace_, name);
    if (at < b->resource_count && compare(b->resources[at], kind, namespace_, name) == 0)
        return b->resources[at];
    return NULL;
}

struct res *store_find_job(const struct brain *b, const char *uid, uint32_t attempt)
{
    for (size_t at = 0; at < b->resource_count; at++) {
        struct res *res = b->resources[at];
        if (res->exists && res->now.rec.attempt == attempt && strcmp(res->now.rec.job, uid) == 0)
            return res;
    }
    return NULL;
}

struct res *store_add(struct brain *b, const char *kind, const char *namespace_, const char *name)
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
    size_t at = position(b, kind, namespace_, name);
    memmove(&b->resources[at + 1], &b->resources[at],
            (b->resource_count - at) * sizeof(struct res *));
    b->resources[at] = res;
    b->resource_count++;
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
    return 0;
}

bool store_terminal(const struct res *res)
{
    return res->now.rec.phase == PHASE_COMPLETE || res->now.rec.phase == PHASE_FAILED;
}

/* ---- at start ---- */

static bool key_is(struct slice key, const char *prefix)
{
    size_t len = strlen(prefix);
    return key.len >= len && memcmp(key.data, prefix, len) == 0;
}

int store_load(struct brain *b, struct slice key, struct slice value, struct tm_err *err)
{
    if (key_is(key, BRAIN_KEPT_PREFIX))
        return kept_load(b, key, value, err);
    if (key_is(key, BRAIN_INTENT_PREFIX))
        return intents_load(b, key, value, err);
    if (key_is(key, BRAIN_REBUILD_KEY))
        return rebuild_load(b, value, err);
    if (!key_is(key, BRAIN_KEY_PREFIX))
        return 0; /* somebody else's record */
    struct stored stored = {0};
    int r = codec_decode(&record_codec, value, &stored.arena, &stored.rec, err);
    struct res *res = NULL;
    if (r == 0) {
        res = store_add(b, stored.rec.kind, stored.rec.namespace_, stored.rec.name);
        if (res == NULL)
            r = tm_err_oom(err);
    }
    struct resource *spec = NULL;
    if (r == 0)
        r = view_parse(stored.rec.document, &spec, err);
    if (r == 0)
        r = store_set_spec(res, spec, err);
    if (r == 0 && log_is(res) && stored.rec.log == NULL)
        r = tm_err_set(err, TM_E_CORRUPT, "what a log backup has is missing");
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
    b->loaded = true;
    for (size_t at = 0; at < b->resource_count; at++) {
        struct res *res = b->resources[at];
        if (has_work(res) && !brain_plant(b, BRAIN_PLANT_FORGET_RESTART))
            brain_check(b, job_live(b, res, true));
        status_changed(b, res);
    }
    rebuild_loaded(b);
}
