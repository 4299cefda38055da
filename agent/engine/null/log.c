/*
 * The null engine's log: what it is made of, streams, and files.
 *
 * A stream is opened either with a snapshot's begin blob, then it has the fixed bytes between that
 * snapshot's begin and end, or with a log task's facts, then it is the live log of one branch: it
 * grows, may be cut off, and ends where another branch has left it. Facts are "nullog1 " and the
 * label of the branch.
 */
#include "agent/engine/null/log.h"

#include "agent/engine/null/null.h"
#include "agent/engine/null/restore.h"
#include "agent/engine/null/source.h"
#include "common/parse.h"
#include "common/fs.h"

#define FACTS_MAGIC "nullog1 "
#define LOG_FILE    UINT64_MAX /* number of the log's contents for null_fill */
#define LOG_PIECE   65536u
#define IDLE_MS     20

struct engine_log {
    struct null_config config; /* of a snapshot; for a live log as it was at the last look */
    char conninfo[NULL_CONNINFO_MAX];
    char label[ENGINE_LABEL_MAX];
    bool live;
    uint64_t next;
    uint64_t end;
    uint8_t piece[LOG_PIECE];
};

/* ---- the source as it is now ---- */

int null_source_read(const char *conninfo, struct null_config *ret, struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    const char *words = "";
    int r = null_config_parse("null", conninfo, &c, err);
    if (r < 0 || !c.state[0]) {
        if (r == 0)
            *ret = c;
        return r;
    }
    r = buf_printf(&text, err, "%s ", conninfo);
    if (r == 0)
        r = fs_read_file(c.state, NULL_CONNINFO_MAX, &text, err);
    if (r == 0)
        r = buf_cstr(&text, &words, err);
    if (r == 0)
        r = null_config_parse("null", words, ret, err);
    return r < 0 ? tm_err_prefix(err, "state") : 0;
}

uint64_t null_source_flushed(const struct null_config *c, int64_t now_us)
{
    int64_t real_us = now_us - (int64_t)c->ahead;
    uint64_t grown = 0;
    if (c->rate > 0 && real_us > (int64_t)c->since)
        grown = (uint64_t)((double)c->rate * (double)(real_us - (int64_t)c->since) / 1e6);
    return NULL_LOG_START + c->log + grown;
}

/* ---- bytes ---- */

static uint64_t branch_seed(const struct null_config *c, const char *label)
{
    uint64_t number = 0;
    if (strcmp(label, "1") == 0)
        return c->seed;
    for (const char *p = label; *p; p++)
        number = number * 257 + (uint8_t)*p;
    return null_mix(c->seed, number);
}

/* Bytes of the branch `label`, which is the one that is written or its parent. */
static void fill(const struct null_config *c, const char *label, uint64_t at, uint8_t *dst,
                 size_t len)
{
    bool own = strcmp(label, c->branch) == 0;
    size_t before = 0;
    if (own && c->parent[0] && at < c->fork) {
        before = (size_t)TM_MIN((uint64_t)len, c->fork - at);
        null_fill(branch_seed(c, c->parent), LOG_FILE, at, dst, before);
    }
    if (before < len)
        null_fill(branch_seed(c, label), LOG_FILE, at + before, dst + before, len - before);
    for (size_t i = 0; c->twist > 0 && i < len; i++)
        dst[i] ^= at + i >= c->twist ? 0x5a : 0;
}

void null_source_log(const struct null_config *c, uint64_t at, uint8_t *dst, size_t len)
{
    fill(c, c->branch, at, dst, len);
}

int null_log_fill(const char *conninfo, uint64_t at, void *ret, size_t len, struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    int r = null_source_read(conninfo, &c, err);
    if (r == 0)
        fill(&c, c.branch, at, ret, len);
    return r;
}

/* ---- facts ---- */

static int facts_label(struct slice facts, char ret[ENGINE_LABEL_MAX], struct tm_err *err)
{
    size_t magic = strlen(FACTS_MAGIC);
    if (facts.len <= magic || facts.len - magic >= ENGINE_LABEL_MAX ||
        memcmp(facts.data, FACTS_MAGIC, magic) != 0)
        return tm_err_set(err, TM_E_INVALID, "the facts are not the null engine's");
    memcpy(ret, facts.data + magic, facts.len - magic);
    ret[facts.len - magic] = '\0';
    return 0;
}

static int put_history(const struct null_config *c, struct buf *ret, struct tm_err *err)
{
    return c->parent[0] ? buf_printf(ret, err, "%s %llu\n", c->parent, (unsigned long long)c->fork)
                        : 0;
}

int null_log_describe(const struct engine_instance *instance, struct engine_log_source *ret,
                      struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    TM_CLEANUP(buf_release) struct buf facts = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf history = BUF_INIT;
    int r = null_source_read(instance->conninfo, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "log_describe", err)) < 0 ||
        (r = buf_printf(&facts, err, FACTS_MAGIC "%s", c.branch)) < 0 ||
        (r = put_history(&c, &history, err)) < 0)
        return r;
    *ret = (struct engine_log_source){.role = c.standby ? ENGINE_ROLE_STANDBY : ENGINE_ROLE_PRIMARY,
                                      .version = "1",
                                      .segment_bytes = NULL_LOG_SEGMENT,
                                      .flushed = null_source_flushed(&c, null_config_now_us(&c)),
                                      .fork = c.fork,
                                      .facts = facts,
                                      .history = history};
    memcpy(ret->identity, c.identity, sizeof(ret->identity));
    memcpy(ret->lineage_label, c.branch, sizeof(ret->lineage_label));
    memcpy(ret->parent_label, c.parent, sizeof(ret->parent_label));
    facts = history = BUF_INIT;
    return 0;
}

int null_log_history(const struct engine_instance *instance, const char *label, struct buf *ret,
                     struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    int r = null_source_read(instance->conninfo, &c, err);
    if (r < 0)
        return r;
    if (strcmp(label, c.branch) == 0)
        return put_history(&c, ret, err);
    return strcmp(label, c.parent) == 0
               ? 0
               : tm_err_set(err, TM_E_NOT_FOUND, "there is no branch '%s'", label);
}

/* ---- streams ---- */

int null_log_position(const struct engine_position *position, uint64_t *ret_byte)
{
    if (position->len != 8)
        return -TM_E_INVALID;
    *ret_byte = be64_get(position->bytes);
    return 0;
}

static int gone(uint64_t at, struct tm_err *err)
{
    return tm_err_set(err, TM_E_NOT_FOUND, "log at %llu is gone or not written yet",
                      (unsigned long long)at);
}

/* A live log: how far it goes now. */
static int look(struct engine_log *log, struct tm_err *err)
{
    int r = null_source_read(log->conninfo, &log->config, err);
    if (r < 0)
        return r;
    const struct null_config *c = &log->config;
    if (strcmp(log->label, c->branch) == 0)
        log->end = null_source_flushed(c, null_config_now_us(c));
    else if (strcmp(log->label, c->parent) == 0)
        log->end = c->fork;
    else
        return tm_err_set(err, TM_E_NOT_FOUND, "there is no branch '%s'", log->label);
    return log->next < c->cut ? gone(log->next, err) : 0;
}

static int open_live(struct engine_log *log, const struct engine_instance *instance,
                     struct slice facts, struct tm_err *err)
{
    log->live = true;
    (void)snprintf(log->conninfo, sizeof(log->conninfo), "%s",
                   instance->conninfo ? instance->conninfo : "");
    int r = facts_label(facts, log->label, err);
    if (r == 0)
        r = look(log, err);
    return r < 0 ? r : null_config_fail(&log->config, "log_open", err);
}

int null_log_open(const struct engine_instance *instance, struct slice begin, uint64_t from,
                  struct engine_log **ret, struct tm_err *err)
{
    size_t magic = strlen(FACTS_MAGIC);
    struct engine_log *log = calloc(1, sizeof(*log));
    if (!log)
        return tm_err_oom(err);
    int r;
    log->next = from;
    if (begin.len > magic && memcmp(begin.data, FACTS_MAGIC, magic) == 0)
        r = open_live(log, instance, begin, err);
    else if ((r = null_begin_config(begin, &log->config, err)) == 0)
        log->end = NULL_LOG_START + log->config.log;
    memcpy(log->label, log->live ? log->label : log->config.branch, sizeof(log->label));
    if (r == 0 && (from < NULL_LOG_START || from > log->end))
        r = gone(from, err);
    if (r < 0) {
        free(log);
        return r;
    }
    *ret = log;
    return 0;
}

int null_log_next(struct engine_log *log, unsigned timeout_ms, struct engine_log_event *ret,
                  struct tm_err *err)
{
    int r = log->live ? look(log, err) : 0;
    if (r == 0)
        r = null_config_fail(&log->config, "log_next", err);
    if (r < 0)
        return r;
    *ret = (struct engine_log_event){.kind = ENGINE_LOG_IDLE,
                                     .from = log->next,
                                     .flushed = log->end,
                                     .source_us = null_config_now_us(&log->config)};
    if (log->next >= log->end) {
        if (log->live && strcmp(log->label, log->config.branch) != 0) {
            ret->kind = ENGINE_LOG_END;
            return 0;
        }
        unsigned ms = log->live ? TM_MIN(timeout_ms, (unsigned)IDLE_MS) : timeout_ms;
        /* never asleep in the simulation, which passes 0 */
        struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
        if (ms > 0)
            (void)nanosleep(&pause, NULL);
        return 0;
    }
    size_t n = (size_t)TM_MIN((uint64_t)LOG_PIECE, log->end - log->next);
    fill(&log->config, log->label, log->next, log->piece, n);
    ret->kind = ENGINE_LOG_DATA;
    ret->data = slice_of(log->piece, n);
    log->next += n;
    return 0;
}

void null_log_close(struct engine_log *log)
{
    free(log);
}

int null_log_read_file(const struct engine_instance *instance, struct slice facts,
                       const char *label, uint64_t from, uint8_t *dst, size_t len,
                       struct tm_err *err)
{
    struct null_config c = {.seed = 0};
    char fact_label[ENGINE_LABEL_MAX];
    int r = null_source_read(instance->conninfo, &c, err);
    if (r < 0 || (r = facts_label(facts, fact_label, err)) < 0)
        return r;
    uint64_t end = 0;
    if (strcmp(label, c.branch) == 0)
        end = null_source_flushed(&c, null_config_now_us(&c));
    else if (strcmp(label, c.parent) == 0)
        end = c.fork;
    end -= end % NULL_LOG_SEGMENT;
    if (from < NULL_LOG_START || from < c.cut || from + len > end ||
        strcmp(c.fail, "log_read_file") == 0)
        return gone(from, err);
    fill(&c, label, from, dst, len);
    return 0;
}

/* ---- positions ---- */

void null_position_text(uint64_t byte, char ret[ENGINE_POSITION_MAX])
{
    (void)snprintf(ret, ENGINE_POSITION_MAX, "%llu", (unsigned long long)byte);
}

int null_position_parse(const char *text, uint64_t *ret_byte, struct tm_err *err)
{
    return parse_u64(text, ret_byte, err);
}
