#ifndef TM_COORDINATOR_SECRETS_SECRETS_H
#define TM_COORDINATOR_SECRETS_SECRETS_H
/*
 * The secrets that specs name: what agents need to get into object stores.
 *
 *     secrets_open(loop, state_dir, &options, &secrets, err)   reads all; blocks
 *     secrets_put | secrets_remove(secrets, …, cmd, err)       → options.done(arg, cmd, …)
 *     secrets_find, secrets_next                               what there is now
 *     secrets_free(secrets)
 *
 * Each lies in a file of its own, state_dir/secrets/NAME, mode 0600 in a directory 0700, replaced
 * whole (a temporary file, fsync, rename, fsync of the directory). With a key of the coordinator's own,
 * which systemd hands over (key.h), the file is encrypted with that; without, with systemd-creds,
 * where that works for this user, with the host's key; else it is plain: options.note says which at
 * the start. Files of another form are read as long as what opened them is there, and get the form
 * of now at the next write.
 *
 * A file that cannot be read is listed with the reason, kept, and may be replaced or removed; what a
 * crash left of a write is removed at the next start. But nothing is written in a weaker form than one
 * that cannot be opened now, nor while a key was handed over that is none: that would quietly lay
 * plain files where encrypted ones were meant to be.
 *
 * Values are in memory here and in what is sent to agents, and nowhere else: not in the state
 * store, documents, messages or logs. Memory that held one is zeroed.
 *
 * Names follow resource_name_check; at most SECRETS_MAX secrets, each with at most SECRET_MAP_MAX
 * keys and SECRETS_BYTES_MAX bytes in all.
 *
 * Threads: loop thread only; files are written by one worker, in the order of the calls.
 */
#include <stdint.h>

#include "common/secret_map.h"

#define SECRETS_MAX       256
#define SECRETS_BYTES_MAX ((size_t)16384) /* what an assignment has room for: WIRE_SECRET_MAX */

struct loop;
struct secrets;

enum secrets_outcome {
    SECRETS_CREATED = 1,
    SECRETS_CONFIGURED, /* another value than before */
    SECRETS_UNCHANGED,
    SECRETS_DELETED,
};

struct secrets_options {
    const char *credentials_dir; /* $CREDENTIALS_DIRECTORY; NULL = no key is handed over */
    const char *seal_program;    /* NULL = SEAL_PROGRAM; "" = there is none */
    int64_t seal_timeout_us; /* of all its calls at the start, and of one later; 0 = the usual */
    /* When a change is durable, or failed (err set). The old value is still there inside `done`
     * of a failure only. */
    void (*done)(void *arg, uint64_t cmd, const char *name, enum secrets_outcome outcome,
                 const struct tm_err *err);
    void (*note)(void *arg, int priority, const char *text); /* for the log */
    void *arg;
};

struct secrets_entry {
    const char *name;
    const struct secret_map *map; /* empty when it cannot be read */
    const char *why;              /* why not; NULL = it can be */
    bool encrypted;               /* the file */
    int64_t changed_us;           /* real time */
};

/* systemd-creds delays it by seal_timeout_us at most; what it has not opened by then is unreadable. */
int secrets_open(struct loop *loop, const char *state_dir, const struct secrets_options *options,
                 struct secrets **ret, struct tm_err *err) TM_WUR;
/* Waits for what is being written; `done` is not called any more. */
void secrets_free(struct secrets *s);
TM_DEFINE_FREEP(struct secrets, secrets_free)

/* Whether files are encrypted from now on. */
bool secrets_sealed(const struct secrets *s);

/* Creates or replaces. The map is taken over, whatever happens. A bad name, no key, an empty value,
 * too many, too large, TM_E_REFUSED for a form that is too weak: at once. */
int secrets_put(struct secrets *s, const char *name, struct secret_map *map, uint64_t cmd,
                struct tm_err *err) TM_WUR;
/* TM_E_NOT_FOUND at once. */
int secrets_remove(struct secrets *s, const char *name, uint64_t cmd, struct tm_err *err) TM_WUR;

/* Valid until the loop runs again. */
bool secrets_find(const struct secrets *s, const char *name, struct secrets_entry *ret);
/* In order of names; start with *cursor = 0. */
bool secrets_next(const struct secrets *s, size_t *cursor, struct secrets_entry *ret);

#endif
