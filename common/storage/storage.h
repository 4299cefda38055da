#ifndef TM_COMMON_STORAGE_STORAGE_H
#define TM_COMMON_STORAGE_STORAGE_H
/*
 * Object storage: bytes under names. Knows nothing of backups.
 *
 * Names are relative to the repository's prefix, '/'-separated, made of [A-Za-z0-9._=+-] segments,
 * at most STORAGE_NAME_MAX bytes; no segment is empty or starts with ".". An object appears whole,
 * under its final name, or not at all, and is never changed afterwards.
 *
 * Calling order for writing:
 *
 *     storage_create → storage_writer_write … (→ storage_writer_seal) → storage_writer_commit
 *                    | storage_writer_free
 *
 * commit makes the object durable and visible; only after it returned 0 may metadata name the
 * object. A writer freed without commit leaves nothing visible (a leftover part is found by
 * storage_sweep_leftovers). Commit never replaces: an existing object of that name gives
 * TM_E_EXISTS where the driver has STORAGE_CONDITIONAL_CREATE; elsewhere it is a best effort, and
 * correctness rests on names that carry epochs. seal does what commit has to wait for but may be
 * done before it, when objects must be committed in order: the bytes are made durable, unseen.
 *
 * Every driver speaks with the same error words (the STORAGE_ERROR_… constants). retryable is set
 * for failures that may pass. A storage that has become another one since it was opened (unmounted,
 * moved) is a retryable TM_E_CONFLICT: it must be opened anew.
 *
 * Threads: a struct storage may be used from any number of threads at once; a writer, an iterator
 * and a fetch belong to one thread at a time. All calls block, but for storage_fetch; each has a
 * deadline (storage_options.io_timeout_ms).
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define STORAGE_NAME_MAX 512
#define STORAGE_URL_MAX  1024

#define STORAGE_ERROR_NAME   "storage name '%s' is not valid"
#define STORAGE_ERROR_CREATE "cannot create '%s'"
#define STORAGE_ERROR_WRITE  "cannot write '%s'"
#define STORAGE_ERROR_SYNC   "cannot sync '%s' to disk"
#define STORAGE_ERROR_COMMIT "cannot commit '%s'"
#define STORAGE_ERROR_READ   "cannot read '%s'"
#define STORAGE_ERROR_SHORT  "'%s' is shorter than expected: wanted %zu bytes at %llu"
#define STORAGE_ERROR_STAT   "cannot stat '%s'"
#define STORAGE_ERROR_LIST   "cannot list '%s'"
#define STORAGE_ERROR_REMOVE "cannot remove '%s'"

enum storage_feature {
    STORAGE_CONDITIONAL_CREATE = 1u << 0, /* commit refuses an existing name, atomically */
    STORAGE_SHARED_PATH = 1u << 1,        /* a mounted path: free space can be asked */
};

struct storage_object {
    char name[STORAGE_NAME_MAX + 1];
    uint64_t size_bytes;
    int64_t modified_us; /* by the store's clock, µs since 1970 */
};

struct storage;
struct storage_writer;
struct storage_iter;
struct storage_fetch;
struct secret_map;

struct storage_stats {
    uint64_t requests;   /* ended, whatever their outcome */
    uint64_t retries;    /* of them: sent again */
    uint64_t slow_downs; /* answers that asked for fewer requests */
    uint32_t limit;      /* requests that may be under way at once now … */
    uint32_t limit_max;  /* … and when the store does not mind; 0: no object store */
    int64_t skew_us;     /* the store's clock minus this host's, as last seen */
};

/*
 * A driver embeds these structs first in its own and fills ops. All functions are mandatory except
 * the ones marked optional. Names reach a driver validated.
 */
struct storage_ops {
    const char *scheme; /* "file", "ram", "s3", "azblob" */
    int (*create)(struct storage *, const char *name, struct storage_writer **ret, struct tm_err *);
    int (*read)(struct storage *, const char *name, uint64_t offset, void *dst, size_t len,
                struct tm_err *);
    int (*stat)(struct storage *, const char *name, struct storage_object *ret, struct tm_err *);
    int (*list)(struct storage *, const char *prefix, const char *start_after,
                struct storage_iter **ret, struct tm_err *);
    int (*remove)(struct storage *, const char *const *names, size_t count, struct tm_err *);
    /* optional: remove, where something less will do for what nobody needs */
    int (*discard)(struct storage *, const char *name, struct tm_err *);
    int (*now)(struct storage *, int64_t *ret_us, struct tm_err *);
    /* optional, of stores that are far away: begins a read and returns */
    int (*fetch)(struct storage *, const char *name, uint64_t offset, void *dst, size_t len,
                 struct storage_fetch **ret, struct tm_err *);
    /* optional: unfinished uploads older than `older_than_us` by the store's clock are removed, and
     * what else no object needs (empty directories) */
    int (*sweep_leftovers)(struct storage *, const char *prefix, int64_t older_than_us,
                           uint64_t *ret_count, struct tm_err *);
    /* optional: bytes free for new objects; UINT64_MAX when unknown */
    int (*free_space)(struct storage *, uint64_t *ret_bytes, struct tm_err *);
    /* optional: how the requests to an object store have gone; all zero without it */
    void (*stats)(struct storage *, struct storage_stats *ret);
    void (*free)(struct storage *);
};

struct storage {
    const struct storage_ops *ops;
    uint32_t features;             /* enum storage_feature, as probed */
    char display[STORAGE_URL_MAX]; /* for messages: URL without anything secret */
};

struct storage_writer_ops {
    int (*write)(struct storage_writer *, const void *data, size_t len, struct tm_err *);
    int (*commit)(struct storage_writer *, struct tm_err *);
    int (*seal)(struct storage_writer *, struct tm_err *); /* NULL: nothing can be done ahead */
    void (*free)(struct storage_writer *);                 /* after commit, or instead of it */
};

struct storage_writer {
    const struct storage_writer_ops *ops;
    bool sealed;  /* seal was called; only commit and free may follow */
    bool done;    /* commit was called; nothing but free may follow */
    bool settled; /* by the driver, in a commit that returned 0: nothing was replaced, for sure */
};

struct storage_fetch_ops {
    int (*wait)(struct storage_fetch *, uint64_t *ret_object_bytes, struct tm_err *);
    void (*free)(struct storage_fetch *); /* ends it first, if it is under way */
};

struct storage_fetch {
    const struct storage_fetch_ops *ops;
};

struct storage_iter_ops {
    /* 1 = *ret filled, 0 = end, negative = error. Ascending byte order of names. */
    int (*next)(struct storage_iter *, struct storage_object *ret, struct tm_err *);
    /* The next name is one > `name`; never goes back. */
    int (*skip)(struct storage_iter *, const char *name, struct tm_err *);
    void (*free)(struct storage_iter *);
};

struct storage_iter {
    const struct storage_iter_ops *ops;
};

/* ---- opening ---- */

/* An attempt of a call failed and the next one is under way, or will be: `text` names place, name, call,
 * what failed and which attempt of how many it was. NULL: the call is over, however it ended. `call`
 * tells calls apart while they are under way; since_us is mono, when it began. Called from the thread that
 * waits for the call; must not block nor use the storage. */
typedef void (*storage_trouble_fn)(void *arg, const void *call, int64_t since_us, const char *text);

struct storage_options {
    unsigned io_timeout_ms; /* deadline for one call; 0 = 60 s */
    bool create_root; /* posix: make the prefix directory when missing (its parent must exist) */
    /* Credentials for an object store, borrowed for the call; NULL = the host's own, as
     * common/credential/credential.h finds them. file and ram ignore it. */
    const struct secret_map *secret;
    unsigned parallel; /* requests at once to an object store, at most; 0 = 16 */
    storage_trouble_fn
        trouble; /* of an object store; NULL = nobody wants to know before a call ends */
    void *trouble_arg;
};

/*
 * Opens by URL: file:///path, ram://name (one shared in-process store per name, for tests),
 * s3://bucket/prefix?… or azblob://container/prefix?… (their parameters: s3/s3.h, azblob/azblob.h).
 * A scheme without a driver is TM_E_UNSUPPORTED and names the schemes there are; user:password@ in
 * a URL, or a parameter that holds a secret, is TM_E_INVALID; so is a parameter that the scheme does
 * not have. Opening an object store sends nothing yet.
 */
int storage_open(const char *url, const struct storage_options *options, struct storage **ret,
                 struct tm_err *err) TM_WUR;
void storage_free(struct storage *st);
TM_DEFINE_FREEP(struct storage, storage_free)

/* Whether `name` follows the rule at the top of this file. */
bool storage_name_valid(const char *name);

/* ---- using ---- */

int storage_create(struct storage *st, const char *name, struct storage_writer **ret,
                   struct tm_err *err) TM_WUR;
int storage_writer_write(struct storage_writer *w, const void *data, size_t len,
                         struct tm_err *err) TM_WUR;
/* Optional, once, before commit. */
int storage_writer_seal(struct storage_writer *w, struct tm_err *err) TM_WUR;
int storage_writer_commit(struct storage_writer *w, struct tm_err *err) TM_WUR;
void storage_writer_free(struct storage_writer *w);
TM_DEFINE_FREEP(struct storage_writer, storage_writer_free)

/* Exactly len bytes from offset; fewer is TM_E_CORRUPT (STORAGE_ERROR_SHORT). */
int storage_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                 struct tm_err *err) TM_WUR;
/* Whether storage_fetch is there: where it is not, a read is not worth being begun ahead. */
bool storage_can_fetch(const struct storage *st);
/* Begins what storage_read does and returns. dst (len > 0 bytes) is the store's until wait returned or
 * the fetch is freed. */
int storage_fetch(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                  struct storage_fetch **ret, struct tm_err *err) TM_WUR;
/* As storage_read, once; *ret_object_bytes is the size of the whole object, as the store said. */
int storage_fetch_wait(struct storage_fetch *f, uint64_t *ret_object_bytes,
                       struct tm_err *err) TM_WUR;
void storage_fetch_free(struct storage_fetch *f);
TM_DEFINE_FREEP(struct storage_fetch, storage_fetch_free)
/* TM_E_NOT_FOUND only when the store says so; an unreachable store is another error. */
int storage_stat(struct storage *st, const char *name, struct storage_object *ret,
                 struct tm_err *err) TM_WUR;
/* Objects whose name starts with prefix ("" = all) and is > start_after (NULL = from the first). */
int storage_list(struct storage *st, const char *prefix, const char *start_after,
                 struct storage_iter **ret, struct tm_err *err) TM_WUR;
int storage_iter_next(struct storage_iter *it, struct storage_object *ret,
                      struct tm_err *err) TM_WUR;
/* Goes on behind `name`, which need not exist (forward only): how whole directories are passed
 * over. */
int storage_iter_skip(struct storage_iter *it, const char *name, struct tm_err *err) TM_WUR;
void storage_iter_free(struct storage_iter *it);
TM_DEFINE_FREEP(struct storage_iter, storage_iter_free)
/* Removing what is not there is success. TM_E_REFUSED: the storage was told by those who run it to
 * keep something (object lock, an immutability policy). */
int storage_remove(struct storage *st, const char *const *names, size_t count,
                   struct tm_err *err) TM_WUR;
/* For small objects that others have made worthless, such as marks of a log: it need not be listed
 * any more, whether its bytes are gone or only hidden. One that the storage was told to keep and show
 * stays, which is no error. */
int storage_discard(struct storage *st, const char *name, struct tm_err *err) TM_WUR;
int storage_now(struct storage *st, int64_t *ret_us, struct tm_err *err) TM_WUR;
int storage_sweep_leftovers(struct storage *st, const char *prefix, int64_t older_than_us,
                            uint64_t *ret_count, struct tm_err *err) TM_WUR;
int storage_free_space(struct storage *st, uint64_t *ret_bytes, struct tm_err *err) TM_WUR;
/* All zero for a store that is no object store. */
void storage_stats(struct storage *st, struct storage_stats *ret);

/* Convenience for small objects. */
int storage_put(struct storage *st, const char *name, struct slice data, struct tm_err *err) TM_WUR;
int storage_get(struct storage *st, const char *name, size_t max_bytes, struct buf *ret,
                struct tm_err *err) TM_WUR;

#endif
