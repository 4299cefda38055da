#ifndef TM_COMMON_STORAGE_S3_INTERNAL_H
#define TM_COMMON_STORAGE_S3_INTERNAL_H
/*
 * What the files of the S3 driver share.
 *
 *     struct s3_call c;
 *     s3_call_init(&c, s3, "GET", key);          key "" = the bucket itself
 *     s3_call_query(&c, err, "list-type", "2") …
 *     store_call_run(&c.call, err);              or store_call_start … store_call_wait
 *     s3_call_release(&c);
 *
 * A call must not move between start and wait.
 */
#include <pthread.h>

#include "common/clock.h"
#include "common/credential/credential.h"
#include "common/storage/call.h"
#include "common/storage/s3/provider.h"
#include "common/storage/s3/s3.h"

#define S3_CODE_NOT_ENCRYPTED "NotEncrypted" /* ours: see answer.c */
#define S3_NONCE_BYTES        16
#define S3_NONCE_HEADER       "x-amz-meta-tidemark-writer"
#define S3_ANSWER_MAX         ((size_t)8 << 20) /* a page of a list */
#define S3_UPLOAD_ID_MAX      1024
#define S3_SECOND_CHANCES     2 /* of one call, for expired tokens, wrong clocks, damaged bodies */
#define S3_SKEW_NOTICED_US    (240 * USEC_PER_SEC)

/* What the URL said. */
struct s3_config {
    const struct s3_provider *provider;
    char bucket[256];
    char prefix[S3_KEY_MAX]; /* "" or with a '/' at the end */
    char scheme[8];          /* "https" */
    char host[256];          /* of the endpoint, with its port */
    char region[64];
    bool path_style;
    bool endpoint_given;
    const char *storage_class, *acl, *sse, *sse_key; /* NULL = none; into `url` */
    const char *ca_file, *proxy;
    bool insecure;
    struct storage_url url; /* a copy */
};

int s3_config_read(const struct storage_url *url, struct s3_config *ret, struct tm_err *err) TM_WUR;

/* What is known of a bucket, shared by all that open it in this process. */
struct s3_bucket {
    char place[520];
    _Atomic int put; /* enum s3_conditional */
};

struct s3 {
    struct storage base;
    struct store store;
    struct s3_config config;
    struct credential *credential;
    struct s3_bucket *bucket;
    struct s3_bucket own_bucket; /* used when there are too many to remember */
    bool tls;
    _Atomic bool bucket_seen;     /* some answer proved that the bucket exists */
    _Atomic int locks;            /* enum s3_locks */
    _Atomic unsigned remove_most; /* names in the next batch delete (remove.c) */
};

/* Whether the bucket has object lock: a store keeps there what it is told to delete. */
enum s3_locks {
    S3_LOCKS_UNKNOWN = 0,
    S3_LOCKS_NO,
    S3_LOCKS_YES,
};

/* What a good answer has to be like. */
enum s3_answer {
    S3_ANSWER_ANY = 0,
    S3_ANSWER_RANGE,    /* the bytes asked for */
    S3_ANSWER_ETAG,     /* an ETag that is the body's MD5 */
    S3_ANSWER_COMPLETE, /* XML that says the upload is complete, or an error in a 200 */
    S3_ANSWER_DELETE,   /* XML that may list errors */
    S3_ANSWER_LIST,     /* XML of a list; what is in it is judged by who reads it */
};

struct s3_call {
    struct store_call call;
    struct s3 *s3;
    struct buf url;
    size_t path_at, query_at; /* in url; query_at == url.len without a query */
    enum s3_answer answer;
    bool creates;      /* carries what is said of new objects, and the nonce */
    bool only_new;     /* must not replace an object */
    bool asks_feature; /* of the bucket: a 404 in any words says that it has none */
    const char *nonce;
    uint64_t offset; /* S3_ANSWER_RANGE; the length is x.into_len */
    uint64_t total;  /* the object's size, as a range's answer said */
    char md5[33];    /* of the body, "" = none */
    char md5_base64[25];
    char sha256[65]; /* what x-amz-content-sha256 says */
    bool temporary;  /* it was signed with keys that have a session token */
    int64_t signed_us;
    unsigned second_chances;
    char right_region[64]; /* that the store named */
};

void s3_call_init(struct s3_call *c, struct s3 *s3, const char *method, const char *key);
void s3_call_release(struct s3_call *c);
/* Appends key=value to the URL, encoded. After init, before start. */
int s3_call_query(struct s3_call *c, const char *key, const char *value, struct tm_err *err) TM_WUR;
/* The body and its digests; `bulk`: the payload is not signed over TLS. Borrowed until the end. */
int s3_call_body(struct s3_call *c, struct slice body, bool bulk, struct tm_err *err) TM_WUR;
/* Appends text with what XML gives a meaning escaped. */
int s3_escape(struct buf *out, const char *text, struct tm_err *err) TM_WUR;
/* store_ops */
int s3_sign(struct store_call *call, int64_t now_real_us, struct tm_err *err);
bool s3_read_error(const struct store_call *call, struct store_error *ret);
bool s3_passes(struct store_call *call, const struct store_error *e);
bool s3_says_absent(const struct store_call *call);
int s3_prepare(struct store_call *call, struct tm_err *err) TM_WUR;
int s3_result(struct store_call *call, int result, struct tm_err *err);
/* The id that a store gives each request, NULL = none: what answers without one may be no store. */
const char *s3_request_id(const struct http_exchange *x);
/* After an error of the store's: says what to do, on top of what the store said. Returns -code. */
int s3_explain(const struct s3_call *c, struct tm_err *err);

/* The ETag of an answer without its quotes; false: it has none. */
bool s3_etag(const struct http_exchange *x, char *ret_etag, size_t size);
/* Whether that has to be the MD5 of an object or part sent in one piece. */
bool s3_etag_is_md5(const struct http_exchange *x, const char *etag);

/* prefix and name; `size` of at least S3_KEY_MAX + 1 bytes */
void s3_key(const struct s3 *s3, const char *name, char *ret_key, size_t size);

/* What one HEAD tells of a key. */
struct s3_head {
    bool found;
    uint64_t size_bytes;
    int64_t modified_us;
    char md5[33];                       /* by its ETag; "" = that does not tell */
    char nonce[2 * S3_NONCE_BYTES + 1]; /* "" = not one of ours */
};
/* 0 also when there is no such object. */
int s3_head(struct s3 *s3, const char *key, struct s3_head *ret, struct tm_err *err) TM_WUR;
/* With at most `attempts`; 0 = as usual. */
int s3_abort_upload(struct s3 *s3, const char *key, const char *upload_id, unsigned attempts,
                    struct tm_err *err) TM_WUR;
int s3_remove_key(struct s3 *s3, const char *key, struct tm_err *err) TM_WUR;
/* Adds an object to the body of a batch delete; `version` NULL = none. */
int s3_batch_add(struct buf *body, const char *key, const char *version, struct tm_err *err) TM_WUR;
int s3_batch_begin(struct buf *body, struct tm_err *err) TM_WUR;
/* Ends and sends it. *ret_late: no answer came in time, and the store may still be at it; NULL: wait as
 * for any call. */
int s3_batch_send(struct s3 *s3, struct buf *body, bool *ret_late, struct tm_err *err) TM_WUR;
/* Asks the bucket, once. One that may not be asked has none as far as we know. */
int s3_has_locks(struct s3 *s3, bool *ret, struct tm_err *err) TM_WUR;
/* s3_remove, up to S3_REMOVE_BATCH names, in a bucket with object lock. */
int s3_remove_versions(struct s3 *s3, const char *const *names, size_t count,
                       struct tm_err *err) TM_WUR;
/* How many names the next batch delete may have, of `max` at most, when one of `count` was answered
 * after `took_us`; negative: not within `limit_us`. Pure. */
unsigned s3_remove_next(unsigned count, unsigned max, int64_t took_us, int64_t limit_us);
/* Percent-decoding in place, '+' is a blank, as encoding-type=url answers; false: it is not encoded
 * rightly. */
bool s3_decode(char *text);

/* the parts of struct storage_ops */
int s3_create(struct storage *st, const char *name, struct storage_writer **ret,
              struct tm_err *err);
int s3_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
            struct tm_err *err);
int s3_fetch(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
             struct storage_fetch **ret, struct tm_err *err);
int s3_stat(struct storage *st, const char *name, struct storage_object *ret, struct tm_err *err);
int s3_list(struct storage *st, const char *prefix, const char *start_after,
            struct storage_iter **ret, struct tm_err *err);
int s3_remove(struct storage *st, const char *const *names, size_t count, struct tm_err *err);
int s3_discard(struct storage *st, const char *name, struct tm_err *err);
int s3_sweep(struct storage *st, const char *prefix, int64_t older_than_us, uint64_t *ret_count,
             struct tm_err *err);

static inline struct s3 *s3_of(struct storage *st)
{
    return (struct s3 *)st;
}

#endif
