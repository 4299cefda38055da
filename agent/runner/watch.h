#ifndef TM_AGENT_RUNNER_WATCH_H
#define TM_AGENT_RUNNER_WATCH_H
/*
 * Calls to storage that do not come back: a server that is gone behind a hard mount holds whoever calls
 * for as long as it likes. A watched storage notes each call while it is under way, so that a thread
 * which never touches storage can say which one hangs, and since when.
 *
 *     watch_storage(&watch, inner, &st, err)   st has taken inner over, and is used in its place
 *     watch_enter … watch_leave                around what is no call to a storage that is there yet
 *     watch_hangs(&watch, now, patience, …)    from any thread
 *     watch_trouble                            for storage_options.trouble: attempts that failed, of calls
 *                                              that go on; watch_troubled tells one, from any thread
 *
 * A watch outlives its storages. Thread safe.
 */
#include <pthread.h>

#include "common/storage/storage.h"

#define WATCH_CALLS_MAX   64 /* noted at once; more than threads, which have one each */
#define WATCH_TEXT_MAX    256
#define WATCH_TROUBLE_MAX 512

struct watch_call {
    int64_t since_us; /* mono; 0 = free */
    const char *what; /* "writing" */
    char name[128];   /* cut where it is longer */
};

/* A call of which an attempt failed. */
struct watch_trouble {
    const void *call; /* NULL = free */
    int64_t since_us; /* mono */
    char text[WATCH_TROUBLE_MAX];
};

struct storage_watch {
    pthread_mutex_t lock;
    struct watch_call calls[WATCH_CALLS_MAX];
    struct watch_trouble troubles[WATCH_CALLS_MAX];
};

void watch_init(struct storage_watch *w);
void watch_release(struct storage_watch *w);

/* `what` is a constant. The answer is for watch_leave. */
size_t watch_enter(struct storage_watch *w, const char *what, const char *name);
void watch_leave(struct storage_watch *w, size_t call);

/* True: a call is under way for longer than that; the oldest one as "writing 'x'". */
bool watch_hangs(struct storage_watch *w, int64_t now_us, int64_t patience_us,
                 int64_t *ret_since_us, char ret_text[WATCH_TEXT_MAX]);

/* A storage_trouble_fn; arg is the watch. */
void watch_trouble(void *arg, const void *call, int64_t since_us, const char *text);
/* True: some call had an attempt that failed, and goes on; what is told of the oldest one. */
bool watch_troubled(struct storage_watch *w, int64_t *ret_since_us,
                    char ret_text[WATCH_TROUBLE_MAX]);

/* Takes inner over when it succeeds; storage_free gives both back. */
int watch_storage(struct storage_watch *w, struct storage *inner, struct storage **ret,
                  struct tm_err *err) TM_WUR;

#endif
