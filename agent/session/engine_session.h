#ifndef TM_AGENT_SESSION_ENGINE_SESSION_H
#define TM_AGENT_SESSION_ENGINE_SESSION_H
/*
 * A database session that outlives work: one thread for one job, which makes the engine's blocking
 * calls; the loop asks and hears.
 *
 *     engine_session_begin(loop, &spec, &handlers, arg, &s, err)
 *         thread: describe, check, session_open, snapshot_begin or snapshot_resume  → begun | failed
 *     engine_session_hold(s, byte)       thread: hold_advance, best effort
 *     engine_session_end(s)              thread: snapshot_end         → ended | failed
 *     engine_session_close(s)            cancels what blocks; thread: session_close → closed, once
 *     engine_session_free(s)             after closed; before it, closes and waits
 *
 * Between begin and end the thread looks every ENGINE_SESSION_PING_MS whether the session still
 * lives; a dead one is `failed` with stage "session". After `failed` only close makes sense.
 *
 * Handlers are called from the loop, never from inside an engine_session_* call; what they are
 * given is valid during the call. Threads: the loop's, but for what happens inside.
 */
#include "agent/engine/engine.h"
#include "common/err.h"

#define ENGINE_SESSION_PING_MS   5000
#define ENGINE_SESSION_LABEL_MAX 127

struct loop;
struct engine_session_thread;

struct engine_session_spec {
    const struct engine_ops *ops;
    struct engine_instance instance; /* strings borrowed until free */
    const char *label;               /* copied */
    bool fast;
    const char *hold; /* copied; NULL = log is held only while the session lives */
    struct {
        struct slice first; /* copied; empty = a new snapshot is begun */
        uint64_t log_from;  /* first stream byte that is not stored */
    } resume;
};

struct engine_session_begun {
    struct slice begin;
    struct engine_position replay_from;
    struct engine_description description;
};

struct engine_session_ended {
    struct slice end;
    struct engine_position consistent_at;
    int64_t commit_us;
};

struct engine_session_handlers {
    void (*begun)(void *arg, const struct engine_session_begun *begun);
    void (*ended)(void *arg, const struct engine_session_ended *ended);
    void (*failed)(void *arg, const char *stage, const struct tm_err *err);
    void (*closed)(void *arg); /* the last one; may free the session */
};

int engine_session_begin(struct loop *loop, const struct engine_session_spec *spec,
                         const struct engine_session_handlers *handlers, void *arg,
                         struct engine_session_thread **ret, struct tm_err *err) TM_WUR;
void engine_session_hold(struct engine_session_thread *s, uint64_t durable);
void engine_session_end(struct engine_session_thread *s);
void engine_session_close(struct engine_session_thread *s);
void engine_session_free(struct engine_session_thread *s);
TM_DEFINE_FREEP(struct engine_session_thread, engine_session_free)

#endif
