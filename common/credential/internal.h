#ifndef TM_COMMON_CREDENTIAL_INTERNAL_H
#define TM_COMMON_CREDENTIAL_INTERNAL_H
/*
 * What the sources of credentials share with the cache in front of them. For this room only.
 */
#include <pthread.h>

#include "common/credential/credential.h"
#include "common/http/http.h"

#define CREDENTIAL_ANSWER_MAX ((size_t)64 << 10) /* of a service that gives keys */
#define CREDENTIAL_FILE_MAX   ((size_t)16 << 10) /* of a token file */

/* What a source gives: of one kind or the other. */
struct grant {
    struct s3_keys s3;
    struct azure_token azure;
    int64_t ends_us;
};
#define GRANT_INIT ((struct grant){.ends_us = 0})
void grant_release(struct grant *grant);

struct source {
    /* Gets new ones, by whatever I/O that takes. NULL: there are no others than the first. */
    int (*fetch)(struct credential *c, struct grant *ret, struct tm_err *err);
    bool on_host; /* asks this host's own services: never by a proxy, and they answer soon */
};

struct credential {
    const struct source *source;
    char describe[400];
    char account[64];
    int64_t (*now_real_us)(void);
    char *ca_file, *proxy;
    /* what the source needs to know, each with its own use of it; NULL where it has none */
    char *url;
    char *file;
    char *subject;       /* role, profile or tenant */
    char *name;          /* of the session or client */
    struct secret given; /* a client secret */
    struct http *http;   /* made by the first fetch */
    /* the cache */
    pthread_mutex_t lock;
    pthread_cond_t renewed;
    struct grant grant;
    bool have;           /* grant was given … */
    bool rejected;       /* … and is no good */
    bool renewing;       /* some thread is at it */
    uint64_t renewals;   /* ended ones, for those who wait */
    int64_t tried_us;    /* when the last one ended */
    int64_t rejected_us; /* when a rejection was last listened to */
    struct tm_err last_err;
    int last_result;
};

/* ---- choosing the source: fills source, describe and what it needs ---- */
int s3_choose(struct credential *c, const struct secret_map *secret,
              const struct credential_options *options, struct tm_err *err) TM_WUR;
int azure_choose(struct credential *c, const struct secret_map *secret,
                 const struct credential_options *options, struct tm_err *err) TM_WUR;

/* NULL or empty → NULL. */
const char *credential_env(const char *name);
/* *place = copy of text */
int credential_copy(char **place, const char *text, struct tm_err *err) TM_WUR;
/* A place that tokens are sent to: https, or plain http on this host (loopback, link-local); without
 * user information. Else TM_E_INVALID that starts with `what`. A trailing '/' does not matter. */
int credential_url(char **place, const char *what, const char *url, struct tm_err *err) TM_WUR;

/* The profile's keys from a shared credentials file (s3_file.c). *ret_found false: there is no such
 * profile in it. */
int s3_file_read(const char *path, const char *profile, struct s3_keys *ret, bool *ret_found,
                 struct tm_err *err) TM_WUR;

/* ---- asking a service ---- */

struct ask {
    struct http_exchange x; /* the caller adds headers and the body */
    struct buf url;
    struct buf body;
    uint8_t *bytes; /* of a 2xx answer: x.into_got of them, and a NUL */
};
#define ASK_INIT ((struct ask){.x = HTTP_EXCHANGE_INIT})
/* Wipes what was sent and answered. */
void ask_release(struct ask *a);
/* A few attempts, until an answer came that another attempt would not better; the URL is a->url.
 * Any status but 404 and 5xx … is the caller's to judge. */
int ask_run(struct credential *c, struct ask *a, const char *method, struct tm_err *err) TM_WUR;
/* The answer's body, whatever its status. */
struct slice ask_answer(const struct ask *a);
/* Appends to a text with %-encoding for queries and forms. */
int ask_encode(struct buf *out, const char *text, struct tm_err *err) TM_WUR;
/* Reads a token file: printable, one line. Room for it is made first, so that no copy is left. */
int ask_token_file(const char *path, struct buf *ret, struct tm_err *err) TM_WUR;
void ask_wipe(struct buf *b);
/* → error for an answer with this status. `code` and `words` are the service's and may be "". What
 * it says is not passed on when it repeats what it was told. */
int ask_refused(const struct ask *a, const char *code, const char *words, struct tm_err *err);

/* Printable ASCII without blanks. */
bool credential_is_token(const char *text, size_t len);
/* Copies a value that a service answered; NULL, empty or not printable is an error that names it. */
int credential_take(struct secret *to, const char *name, const char *value,
                    struct tm_err *err) TM_WUR;
/* "an answer that makes no sense": it may be better later. */
#define CREDENTIAL_NONSENSE(err, ...) tm_err_retry(err, TM_E_UNAVAILABLE, __VA_ARGS__)

struct json_t;
/* NULL with *err when it is no JSON object. */
struct json_t *answer_json(const struct ask *a, struct tm_err *err);
/* A string member, or NULL. */
const char *answer_text(const struct json_t *object, const char *name);
/* Its texts wiped, then freed; NULL is fine. */
void answer_json_free(struct json_t *object);
static inline TM_UNUSED void answer_json_freep(struct json_t **object)
{
    answer_json_free(*object);
}

#endif
