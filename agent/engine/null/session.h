#ifndef TM_AGENT_ENGINE_NULL_SESSION_H
#define TM_AGENT_ENGINE_NULL_SESSION_H
/*
 * Sessions of the null and mock engines: all but the positions, which are each engine's own.
 *
 * Blobs are text, so that a failing test shows what was in them: begin is "<engine>1 " and the
 * conninfo, or "<engine>2 " of a snapshot that was resumed; end is "<engine>1 end". Thread safety: as engine.h says.
 */
#include <stdatomic.h>

#include "agent/engine/null/config.h"

struct engine_session {
    const char *engine; /* "null" or "mock" */
    struct null_config config;
    char conninfo[NULL_CONNINFO_MAX];
    bool begun;
    atomic_bool canceled;
};

/* All of a description but role, sizes and position; *ret_config is what the conninfo says. */
int null_session_describe(const char *engine, const struct engine_instance *instance,
                          struct null_config *ret_config, struct engine_description *ret,
                          struct tm_err *err) TM_WUR;
int null_session_check(const char *engine, const struct engine_instance *instance,
                       struct tm_err *err) TM_WUR;
int null_session_open(const char *engine, const struct engine_instance *instance,
                      struct engine_session **ret, struct tm_err *err) TM_WUR;
int null_session_begin(struct engine_session *s, struct buf *ret_begin, struct tm_err *err) TM_WUR;
/* Begins again: `first` with its number raised. */
int null_session_resume(struct engine_session *s, struct slice first, struct buf *ret_begin,
                        struct tm_err *err) TM_WUR;
bool null_session_resumed(const char *engine, struct slice begin);
int null_session_hold(struct engine_session *s, uint64_t durable, struct tm_err *err) TM_WUR;
int null_session_ping(struct engine_session *s, struct tm_err *err) TM_WUR;
int null_session_end(struct engine_session *s, struct buf *ret_end, struct tm_err *err) TM_WUR;
void null_session_close(struct engine_session *s);
void null_session_cancel(struct engine_session *s); /* from any thread */

/* The configuration that a begin blob of this engine carries. */
int null_session_config(const char *engine, struct slice begin, struct null_config *ret,
                        struct tm_err *err) TM_WUR;

/* Behind all keys of both engines; and engine_ops.final_key. */
struct slice null_final_start(void);
int null_final_key(struct engine_reader *reader, uint8_t key[ENGINE_KEY_MAX], size_t *ret_len);

/* An eight-byte position; its text is the number behind `prefix`. */
void null_position(uint64_t number, const char *prefix, struct engine_position *ret);

#endif
