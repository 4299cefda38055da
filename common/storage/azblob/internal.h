#ifndef TM_COMMON_STORAGE_AZBLOB_INTERNAL_H
#define TM_COMMON_STORAGE_AZBLOB_INTERNAL_H
/*
 * What the files of the Azure Blob driver share.
 *
 *     struct azblob_call c;
 *     azblob_call_init(&c, az, "GET", key);        key "" = the container itself
 *     azblob_call_query(&c, "comp", "list", err) …
 *     store_call_run(&c.call, err);                or store_call_start … store_call_wait
 *     azblob_call_release(&c);
 *
 * A call must not move between start and wait.
 */
#include "common/credential/credential.h"
#include "common/storage/azblob/azblob.h"
#include "common/storage/azblob/sign.h"
#include "common/storage/call.h"

#define AZBLOB_VERSION     "2021-12-02"
#define AZBLOB_NONCE_BYTES 16
#define AZBLOB_META        "x-ms-meta-tidemarkwriter"

/* What the URL said. */
struct azblob_config {
    char container[64];
    char prefix[AZBLOB_KEY_MAX]; /* "" or with a '/' at the end */
    char scheme[8];              /* "https" */
    char host[256];              /* with its port; "" = follows from the account */
    char base[80];               /* "/account" in front of the container, or "" */
    char account[64];            /* "" = not said */
    bool path_style;             /* an address: the account is in the path */
    bool endpoint_given;
    const char *tier; /* NULL = none; into `url`, as the next */
    const char *ca_file, *proxy;
    bool insecure;
    struct storage_url url; /* a copy */
};

int azblob_config_read(const struct storage_url *url, struct azblob_config *ret,
                       struct tm_err *err) TM_WUR;
/* Host and base, once it is known which account the credentials are for ("" = they do not say). */
int azblob_config_account(struct azblob_config *c, const char *account, struct tm_err *err) TM_WUR;
/* Whether the endpoint is this host itself. */
bool azblob_config_is_loopback(const struct azblob_config *c);

struct azblob {
    struct storage base;
    struct store store;
    struct azblob_config config;
    struct credential *credential;
    _Atomic bool no_batch; /* the service, or our rights, have no batch delete */
};

/* What a good answer has to be like. */
enum azblob_answer {
    AZBLOB_ANSWER_ANY = 0,
    AZBLOB_ANSWER_RANGE, /* the bytes asked for */
    AZBLOB_ANSWER_MD5,   /* the MD5 of the body sent, if it names one */
};

struct azblob_call {
    struct store_call call;
    struct azblob *az;
    struct buf url, full; /* without and with what the SAS adds */
    size_t path_at, query_at;
    enum azblob_answer answer;
    const char *content_type; /* of the body, NULL = none */
    char md5[AZBLOB_BASE64_MD5_MAX];
    const char *nonce;  /* it makes an object, and must not replace one; NULL = not */
    bool whole;         /* it makes one of its body alone */
    bool removes;       /* with its snapshots */
    uint64_t offset;    /* AZBLOB_ANSWER_RANGE; the length is x.into_len */
    uint64_t total;     /* the object's size, as a range's answer said */
    int64_t signed_us;  /* the time that was said */
    bool second_chance; /* was had: for a token that ended or a wrong clock */
    enum azure_auth how;
};

void azblob_call_init(struct azblob_call *c, struct azblob *az, const char *method,
                      const char *key);
void azblob_call_release(struct azblob_call *c);
/* Appends key=value to the URL, encoded. After init, before start. */
int azblob_call_query(struct azblob_call *c, const char *key, const char *value,
                      struct tm_err *err) TM_WUR;
/* The body and its MD5. Borrowed until the end. */
int azblob_call_body(struct azblob_call *c, struct slice body, const char *content_type,
                     struct tm_err *err) TM_WUR;
/* What a call's last answer says, as this driver's error; for statuses that were wanted. */
int azblob_call_error(struct azblob_call *c, struct tm_err *err);
/* store_ops */
int azblob_sign(struct store_call *call, int64_t now_real_us, struct tm_err *err);
bool azblob_read_error(const struct store_call *call, struct store_error *ret);
bool azblob_passes(struct store_call *call, const struct store_error *e);
bool azblob_says_absent(const struct store_call *call);
int azblob_prepare(struct store_call *call, struct tm_err *err) TM_WUR;
int azblob_result(struct store_call *call, int result, struct tm_err *err);

/* Adds Authorization to the headers of x, for this path and query; nothing with a SAS. */
int azblob_authorize(struct azblob *az, const struct azure_token *token, struct http_exchange *x,
                     const char *path, const char *query, struct tm_err *err) TM_WUR;

/* prefix and name; `ret_key` has AZBLOB_KEY_MAX + 1 bytes */
void azblob_key(const struct azblob *az, const char *name, char *ret_key);

/* What one HEAD tells of a key. */
struct azblob_head {
    bool found;
    uint64_t size_bytes;
    int64_t modified_us;
    char md5[64];
    char nonce[2 * AZBLOB_NONCE_BYTES + 1]; /* "" = not one of ours */
};
/* 0 also when there is no such object. */
int azblob_head(struct azblob *az, const char *key, struct azblob_head *ret,
                struct tm_err *err) TM_WUR;

/* the parts of struct storage_ops */
int azblob_create(struct storage *st, const char *name, struct storage_writer **ret,
                  struct tm_err *err);
int azblob_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                struct tm_err *err);
int azblob_fetch(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                 struct storage_fetch **ret, struct tm_err *err);
int azblob_stat(struct storage *st, const char *name, struct storage_object *ret,
                struct tm_err *err);
int azblob_list(struct storage *st, const char *prefix, const char *start_after,
                struct storage_iter **ret, struct tm_err *err);
int azblob_remove(struct storage *st, const char *const *names, size_t count, struct tm_err *err);

/* ---- deleting many with one request (batch.c) ---- */
/* Sets done[n] for each key that is known to be gone. A batch that the service does not do, or not
 * for us, is no error: then nothing is done. */
struct azblob_batch {
    struct azblob_call call;
    struct buf body;
    char content_type[80];
    size_t count;
    bool started;
};
int azblob_batch_start(struct azblob *az, struct azblob_batch *b, const char *const *names,
                       size_t count, struct tm_err *err) TM_WUR;
int azblob_batch_wait(struct azblob_batch *b, bool *done, struct tm_err *err) TM_WUR;
void azblob_batch_release(struct azblob_batch *b);

/* ---- one page of a list (page.c) ---- */
struct azblob_entry {
    uint32_t name_at; /* in names */
    bool is_prefix;   /* a "directory", with its '/' */
    uint64_t size_bytes;
    int64_t modified_us;
};
struct azblob_page {
    struct buf names; /* NUL-terminated, whole keys */
    struct azblob_entry *entries;
    size_t count, cap;
    struct buf marker; /* NUL-terminated; empty = there are no more */
};
#define AZBLOB_PAGE_INIT ((struct azblob_page){.count = 0})
void azblob_page_release(struct azblob_page *page);
/* Replaces what is in the page by the one behind page->marker (empty: the first). */
int azblob_page_next(struct azblob *az, const char *prefix, bool by_directory,
                     struct azblob_page *page, struct tm_err *err) TM_WUR;
static inline const char *azblob_page_name(const struct azblob_page *page, size_t at)
{
    return (const char *)page->names.data + page->entries[at].name_at;
}

static inline struct azblob *azblob_of(struct storage *st)
{
    return (struct azblob *)st;
}

#endif
