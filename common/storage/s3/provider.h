#ifndef TM_COMMON_STORAGE_S3_PROVIDER_H
#define TM_COMMON_STORAGE_S3_PROVIDER_H
/*
 * What sets the stores that speak S3 apart, as data. Pure, thread safe.
 *
 * A URL names its store by `provider`; without it, the endpoint's host may tell; else a store with
 * an endpoint is "other", one without is AWS.
 */
#include <stdbool.h>
#include <stddef.h>

/* Whether a PUT with `If-None-Match: *` fails when the object exists. */
enum s3_conditional {
    S3_CONDITIONAL_UNKNOWN = 0, /* find out with the first small object (write.c) */
    S3_CONDITIONAL_NO,
    S3_CONDITIONAL_YES,
};

struct s3_provider {
    const char *name;
    const char *alias;            /* another name operators know it by, or NULL */
    const char *host;             /* its endpoint, {region} in it; NULL: has to be given */
    const char *default_region;   /* NULL: has to be given, or is part of the endpoint */
    bool path_style;              /* https://host/bucket/key, not https://bucket.host/key */
    bool never_path_style;        /* force-path-style has no effect, as it would not work */
    bool list_v1;                 /* lists with marker; the others have list-type=2 */
    unsigned delete_batch;        /* names in one; 0 = S3_REMOVE_BATCH, 1 = there is none */
    enum s3_conditional put;      /* for PutObject */
    bool complete;                /* CompleteMultipartUpload has the condition, too */
    const char *forbid_overwrite; /* a header of its own for the same, or NULL */
};

/* All of them, one by one from 0; NULL behind the last. */
const struct s3_provider *s3_provider_at(size_t n);
/* Case does not matter. NULL when there is none. */
const struct s3_provider *s3_provider_find(const char *name);
/* By the host of an endpoint; NULL when it is nobody's. */
const struct s3_provider *s3_provider_of_host(const char *host);
/* The best guess at what a misspelt name meant, or NULL. */
const char *s3_provider_suggest(const char *name);
/* The region in a host of this provider: false when there is none. */
bool s3_provider_region(const struct s3_provider *p, const char *host, char *ret_region,
                        size_t size);
/* The host for a region; false when the provider has none of its own, or it is too long. */
bool s3_provider_host(const struct s3_provider *p, const char *region, char *ret_host, size_t size);

#endif
