#ifndef TM_PROTO_SPEC_STORAGE_BLOCK_H
#define TM_PROTO_SPEC_STORAGE_BLOCK_H
/* A storage block as it was written. Between storage.c and bucket.c; nobody else includes this. */
#include "common/storage/storage.h"
#include "proto/spec/internal.h"

/* Every block's fields in one struct: each table uses those it has. */
struct spec_block {
    char *provider;
    char *region;
    char *bucket; /* or container */
    char *path;   /* TiDB: "bucket/prefix"; local: the directory */
    char *prefix;
    char *endpoint; /* or domain */
    char *account;
    char *secret_name;
    char *storage_class;
    char *acl;
    char *sse;
    char *sse_key;
    char *access_tier;
    char *path_style; /* "true" or "false"; not given is a third answer: as the provider has it */
    char *ca_file;
    char *proxy;
    char *insecure;
    char *mount_path; /* TiDB's local.volumeMount */
};

/* bucket_rules.c: the parameters of object stores, in the order in which URLs are written. */
struct spec_param {
    const char *family; /* scheme of the URL; "" = all */
    const char *key;    /* of the parameter, and of br's flag behind "--s3." */
    const char *field;  /* in the block */
    size_t offset;      /* in struct spec_block */
    int (*check)(const char *text, struct tm_err *err);
};
extern const struct spec_param spec_params[];
extern const size_t spec_param_count;
int spec_check_endpoint(const char *text, struct tm_err *err) TM_WUR;
int spec_check_region(const char *text, struct tm_err *err) TM_WUR;

/* bucket.c: object stores. */
extern const struct schema spec_s3_schema;
extern const struct schema spec_azblob_schema;
extern const struct schema spec_oss_schema;
extern const struct schema spec_cos_schema;

/* The URL of a loaded block, malloc'ed. `node` is the block. */
int spec_bucket_url(enum storage_spec_kind kind, const struct spec_block *block,
                    const struct yaml_node *node, struct schema_warnings *warnings, char **ret_url,
                    struct tm_err *err) TM_WUR;
/* "/" and the components of text (may be NULL), percent-encoded, without empty ones; "." and ".."
 * are refused, `what` names the field. */
int spec_append_components(struct buf *url, const char *text, const struct yaml_node *node,
                           const char *what, struct tm_err *err) TM_WUR;

#endif
