/*
 * Happy path: open parses the conninfo, begin and end make their blobs. Failure modes: a word that
 * is not known, a call that was asked to fail, a session that was canceled, an end without begin,
 * a blob of another engine.
 */
#include "agent/engine/null/session.h"

int null_session_describe(const char *engine, const struct engine_instance *instance,
                          struct null_config *ret_config, struct engine_description *ret,
                          struct tm_err *err)
{
    int r = null_config_parse(engine, instance->conninfo, ret_config, err);
    if (r < 0)
        return r;
    *ret = (struct engine_description){
        .version = "1", .lineage_label = "1", .now_us = null_config_now_us(ret_config)};
    memcpy(ret->identity, ret_config->identity, sizeof(ret->identity));
    return 0;
}

int null_session_check(const char *engine, const struct engine_instance *instance,
                       struct tm_err *err)
{
    struct null_config c;
    int r = null_config_parse(engine, instance->conninfo, &c, err);
    return r < 0 ? r : null_config_fail(&c, "check", err);
}

int null_session_open(const char *engine, const struct engine_instance *instance,
                      struct engine_session **ret, struct tm_err *err)
{
    struct null_config c;
    int r = null_config_parse(engine, instance->conninfo, &c, err);
    if (r < 0 || (r = null_config_fail(&c, "session_open", err)) < 0)
        return r;
    struct engine_session *s = calloc(1, sizeof(*s));
    if (!s)
        return tm_err_oom(err);
    s->engine = engine;
    s->config = c;
    (void)snprintf(s->conninfo, sizeof(s->conninfo), "%s",
                   instance->conninfo ? instance->conninfo : "");
    *ret = s;
    return 0;
}

int null_session_begin(struct engine_session *s, struct buf *ret_begin, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    int r = null_config_fail(&s->config, "begin", err);
    if (r < 0 || (r = buf_printf(&begin, err, "%s1 %s", s->engine, s->conninfo)) < 0)
        return r;
    s->begun = true;
    *ret_begin = begin;
    begin = BUF_INIT;
    return 0;
}

int null_session_resume(struct engine_session *s, struct slice first, struct buf *ret_begin,
                        struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    struct null_config before;
    int r = null_config_fail(&s->config, "resume", err);
    if (r < 0 || (r = null_session_config(s->engine, first, &before, err)) < 0)
        return r;
    if (strcmp(s->config.fail, "resume_conflict") == 0)
        return tm_err_set(err, TM_E_CONFLICT, "resume: asked to fail by conninfo");
    if (strcmp(before.identity, s->config.identity) != 0)
        return tm_err_set(err, TM_E_CONFLICT, "the source is %s, the earlier attempt was on %s",
                          s->config.identity, before.identity);
    if ((r = buf_append_slice(&begin, first, err)) < 0)
        return r;
    begin.data[strlen(s->engine)] = '2';
    s->begun = true;
    *ret_begin = begin;
    begin = BUF_INIT;
    return 0;
}

bool null_session_resumed(const char *engine, struct slice begin)
{
    struct null_config c;
    struct tm_err ignored = {0};
    return null_session_config(engine, begin, &c, &ignored) == 0 &&
           begin.data[strlen(engine)] == '2';
}

static int alive(struct engine_session *s, struct tm_err *err)
{
    if (atomic_load(&s->canceled))
        return tm_err_set(err, TM_E_CANCELED, "the session was canceled");
    return 0;
}

int null_session_hold(struct engine_session *s, uint64_t durable, struct tm_err *err)
{
    (void)durable;
    return alive(s, err);
}

int null_session_ping(struct engine_session *s, struct tm_err *err)
{
    int r = null_config_fail(&s->config, "ping", err);
    return r < 0 ? r : alive(s, err);
}

int null_session_end(struct engine_session *s, struct buf *ret_end, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf end = BUF_INIT;
    int r = null_config_fail(&s->config, "end", err);
    if (r < 0 || (r = alive(s, err)) < 0)
        return r;
    if (!s->begun)
        return tm_err_set(err, TM_E_INTERNAL, "snapshot_end without snapshot_begin");
    r = buf_printf(&end, err, "%s1 end", s->engine);
    if (r < 0)
        return r;
    s->begun = false;
    *ret_end = end;
    end = BUF_INIT;
    return 0;
}

void null_session_close(struct engine_session *s)
{
    free(s);
}

void null_session_cancel(struct engine_session *s)
{
    atomic_store(&s->canceled, true);
}

int null_session_config(const char *engine, struct slice begin, struct null_config *ret,
                        struct tm_err *err)
{
    char text[NULL_CONNINFO_MAX];
    const size_t name = strlen(engine), len = name + 2;
    if (begin.len < len || memcmp(begin.data, engine, name) != 0 ||
        (begin.data[name] != '1' && begin.data[name] != '2') || begin.data[name + 1] != ' ' ||
        begin.len - len >= sizeof(text))
        return tm_err_set(err, TM_E_INVALID, "the begin blob is not the %s engine's", engine);
    memcpy(text, begin.data + len, begin.len - len);
    text[begin.len - len] = '\0';
    return null_config_parse(engine, text, ret, err);
}

void null_position(uint64_t number, const char *prefix, struct engine_position *ret)
{
    *ret = (struct engine_position){.len = 8};
    be64_put(ret->bytes, number);
    (void)snprintf(ret->text, sizeof(ret->text), "%s%llu", prefix, (unsigned long long)number);
}

struct slice null_final_start(void)
{
    static const uint8_t start[] = {0xff};
    return slice_of(start, sizeof(start));
}

int null_final_key(struct engine_reader *reader, uint8_t key[ENGINE_KEY_MAX], size_t *ret_len)
{
    (void)reader;
    struct slice start = null_final_start();
    memcpy(key, start.data, start.len);
    *ret_len = start.len;
    return 0;
}
