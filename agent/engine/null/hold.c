/*
 * Holds of the null engine. With a state file a hold is a file beside it, "<state>.hold.<name>", that
 * says from where on log is kept, so that it outlives the process as a real one does; without, it
 * lives as long as it is open. A hold whose file went away is lost.
 */
#include "agent/engine/null/log.h"

#include <dirent.h>

#include "agent/engine/null/null.h"
#include "agent/engine/null/source.h"
#include "common/fs.h"
#include "common/parse.h"

#define HOLD_NAME_MAX 64
#define HOLD_TEXT_MAX 32

struct engine_hold {
    char conninfo[NULL_CONNINFO_MAX];
    char path[sizeof(((struct null_config *)0)->state) + HOLD_NAME_MAX + 8]; /* "" = none */
    uint64_t from;
};

static int hold_read(struct engine_hold *h, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    const char *number = "";
    if (!h->path[0])
        return 0;
    int r = fs_read_file(h->path, HOLD_TEXT_MAX, &text, err);
    if (r == 0)
        r = buf_cstr(&text, &number, err);
    return r < 0 ? r : parse_u64(number, &h->from, err);
}

static int hold_write(const struct engine_hold *h, struct tm_err *err)
{
    char text[HOLD_TEXT_MAX];
    if (!h->path[0])
        return 0;
    int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)h->from);
    return fs_write_atomic(h->path, slice_of(text, (size_t)len), 0600, err);
}

int null_hold_open(const struct engine_instance *instance, const char *name, bool may_make,
                   struct engine_hold **ret, bool *ret_made, struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    int r = null_source_read(instance->conninfo, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "hold_open", err)) < 0)
        return r;
    if (strcmp(c.fail, "hold_taken") == 0 || strlen(name) > HOLD_NAME_MAX)
        return tm_err_set(err, TM_E_CONFLICT, "hold '%s' is somebody else's", name);
    struct engine_hold *h = calloc(1, sizeof(*h));
    if (!h)
        return tm_err_oom(err);
    (void)snprintf(h->conninfo, sizeof(h->conninfo), "%s",
                   instance->conninfo ? instance->conninfo : "");
    if (c.state[0])
        (void)snprintf(h->path, sizeof(h->path), "%s.hold.%s", c.state, name);
    bool made = false;
    r = h->path[0] ? hold_read(h, err) : tm_err_set(err, TM_E_NOT_FOUND, "no hold '%s'", name);
    if (r == -TM_E_NOT_FOUND && may_make) {
        h->from = null_source_flushed(&c, null_config_now_us(&c));
        r = hold_write(h, err);
        made = true;
    }
    if (r < 0) {
        free(h);
        return r;
    }
    *ret = h;
    *ret_made = made;
    return 0;
}

/* Of the last one that ends at or before `flushed`; 0 = there is none. */
static int64_t last_commit_us(uint64_t flushed)
{
    const uint64_t every = NULL_LOG_COMMIT_EVERY * (uint64_t)NULL_LOG_RECORD;
    if (flushed < NULL_LOG_RECORD)
        return 0;
    uint64_t at = (flushed - NULL_LOG_RECORD) / every * every;
    return at < NULL_LOG_START ? 0 : NULL_LOG_TIME_US + (int64_t)at;
}

int null_hold_look(struct engine_hold *h, struct engine_hold_state *ret, struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    int r = null_source_read(h->conninfo, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "hold_look", err)) < 0)
        return r;
    if (strcmp(c.fail, "hold_gone") == 0)
        return tm_err_set(err, TM_E_NOT_FOUND, "the hold was dropped by somebody");
    r = hold_read(h, err);
    if (r < 0 && r != -TM_E_NOT_FOUND)
        return r;
    *ret =
        (struct engine_hold_state){.lost = r < 0 || c.lost || h->from < c.cut,
                                   .from = h->from,
                                   .source_us = null_config_now_us(&c),
                                   .skew_us = (int64_t)c.ahead,
                                   .role = c.standby ? ENGINE_ROLE_STANDBY : ENGINE_ROLE_PRIMARY};
    ret->flushed = null_source_flushed(&c, ret->source_us);
    ret->proven_us = ret->source_us;
    ret->bytes = ret->flushed > h->from ? ret->flushed - h->from : 0;
    /* a standby knows the times of commits: the last one's before `flushed` */
    ret->proven_us = c.standby ? last_commit_us(ret->flushed) : ret->source_us;
    memcpy(ret->lineage_label, c.branch, sizeof(ret->lineage_label));
    return 0;
}

int null_hold_touch(struct engine_hold *h, uint64_t durable, uint64_t *ret_from, struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    int r = null_source_read(h->conninfo, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "hold_touch", err)) < 0 || (r = hold_read(h, err)) < 0)
        return r;
    uint64_t flushed = null_source_flushed(&c, null_config_now_us(&c));
    uint64_t to = TM_MIN(durable, flushed);
    if (to > h->from) {
        h->from = to;
        r = hold_write(h, err);
    }
    if (r == 0)
        *ret_from = h->from;
    return r;
}

int null_hold_drop(struct engine_hold *h, struct tm_err *err)
{
    if (h->path[0] && unlink(h->path) < 0 && errno != ENOENT)
        return tm_err_errno(err, errno, "cannot remove '%s'", h->path);
    return 0;
}

void null_hold_close(struct engine_hold *h) /* NULL, too */
{
    free(h);
}

/* ---- list ---- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* 0 = it is none of them, or has just gone. */
static int take_found(const struct engine_instance *instance, const char *name,
                      struct engine_hold_found *ret, struct tm_err *err)
{
    struct engine_hold_state state = {.lost = false};
    struct engine_hold *hold = NULL;
    bool made;
    int r = null_hold_open(instance, name, false, &hold, &made, err);
    if (r == 0)
        r = null_hold_look(hold, &state, err);
    null_hold_close(hold);
    if (r == -TM_E_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    *ret = (struct engine_hold_found){.from = state.from, .bytes = state.bytes, .lost = state.lost};
    memcpy(ret->name, name, strlen(name) + 1);
    return 1;
}

int null_hold_list(const struct engine_instance *instance, const char *prefix,
                   struct engine_hold_found *ret, size_t max, size_t *ret_count, struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    char dir[sizeof(c.state)], start[sizeof(c.state) + 2 * HOLD_NAME_MAX];
    struct dirent **entries = NULL;
    size_t count = 0;
    int r = null_source_read(instance->conninfo, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "hold_list", err)) < 0)
        return r;
    const char *slash = strrchr(c.state, '/');
    const char *base = slash ? slash + 1 : c.state;
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(base - c.state), c.state);
    (void)snprintf(start, sizeof(start), "%s.hold.", base);
    int found = c.state[0] ? scandir(dir[0] ? dir : ".", &entries, NULL, by_name) : 0;
    if (found < 0)
        return tm_err_errno(err, errno, "cannot read directory '%s'", dir);
    for (int at = 0; at < found; at++) {
        const char *name = entries[at]->d_name + strlen(start);
        if (r == 0 && count < max && strncmp(entries[at]->d_name, start, strlen(start)) == 0 &&
            strlen(name) < sizeof(ret->name) && strncmp(name, prefix, strlen(prefix)) == 0 &&
            (r = take_found(instance, name, &ret[count], err)) > 0) {
            count++;
            r = 0;
        }
        free(entries[at]);
    }
    free(entries);
    if (r == 0)
        *ret_count = count;
    return r;
}
