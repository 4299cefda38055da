/*
 * Storage blocks: s3, azblob, oss, cos, gcs, local, nfs → one struct storage_spec with the URL that
 * a driver opens.
 *
 * Happy path: a block's own table loads it into a local struct, the fields that name the place are
 * joined and percent-encoded into a URL, the rest is handed over. Failures: two blocks in one spec,
 * a block that names no place, a path that is not absolute, a secret written into the spec.
 */
#include <ctype.h>

#include "common/storage/storage.h"
#include "proto/spec/internal.h"

/* Every block's fields in one struct: each table uses those it has. */
struct block {
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
    char *access_tier;
    bool force_path_style;
    char *mount_path; /* TiDB's local.volumeMount */
};

struct mount {
    char *mount_path;
    char *sub_path;
};

static const struct schema_field mount_fields[] = {
    SCHEMA_FIELD(struct mount, mount_path, "mountPath", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY),
    SCHEMA_FIELD(struct mount, sub_path, "subPath", SCHEMA_STRING),
    SCHEMA_SKIP("name", SPEC_POD),
    SCHEMA_SKIP("readOnly", SPEC_POD),
    SCHEMA_SKIP("mountPropagation", SPEC_POD),
};
static const struct schema mount_schema = SCHEMA("volumeMount", struct mount, mount_fields);

/* volumeMount: {mountPath, subPath} → the directory */
static int parse_mount(const struct schema_field *field, const struct yaml_node *node, void *member,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    (void)field;
    struct mount mount;
    struct schema_warnings dropped = SCHEMA_WARNINGS_INIT; /* "name" needs no word */
    int r = schema_load(&mount_schema, node, &mount, &dropped, err);
    schema_warnings_release(&dropped);
    if (r < 0)
        return r;
    (void)warnings;
    char **path = member;
    free(*path);
    *path = NULL;
    if (asprintf(path, "%s%s%s", mount.mount_path, mount.sub_path != NULL ? "/" : "",
                 mount.sub_path != NULL ? mount.sub_path : "") < 0) {
        *path = NULL;
        r = tm_err_oom(err);
    }
    schema_release(&mount_schema, &mount);
    return r;
}

static void clear_mount(void *member)
{
    char **path = member;
    free(*path);
    *path = NULL;
}

static int refuse_token(const struct schema_field *field, const struct yaml_node *node,
                        void *member, struct schema_warnings *warnings, struct tm_err *err)
{
    (void)member, (void)warnings;
    return yaml_key_error(node, err,
                          "'%s' is a secret and must not be written into a spec; put it into the "
                          "secret that 'secretName' names",
                          field->name);
}

#define TEXT(member_, name_) SCHEMA_FIELD(struct block, member_, name_, SCHEMA_STRING)

static const struct schema_field local_fields[] = {
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    {.name = "volumeMount",
     .type = SCHEMA_CUSTOM,
     .offset = offsetof(struct block, mount_path),
     .parse = parse_mount,
     .clear = clear_mount},
    SCHEMA_SKIP("volume", "is mounted by Kubernetes there; here the directory must be mounted on "
                          "every node already; ignored"),
};
static const struct schema local_schema = SCHEMA("local storage", struct block, local_fields);

static const struct schema_field nfs_fields[] = {
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    SCHEMA_SKIP("server", "is used by whoever mounts it; here the directory must be mounted on "
                          "every node already; ignored"),
};
static const struct schema nfs_schema = SCHEMA("nfs storage", struct block, nfs_fields);

static const struct schema_field s3_fields[] = {
    TEXT(provider, "provider"),
    TEXT(region, "region"),
    TEXT(bucket, "bucket"),
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    TEXT(endpoint, "endpoint"),
    TEXT(secret_name, "secretName"),
    TEXT(storage_class, "storageClass"),
    TEXT(acl, "acl"),
    TEXT(sse, "sse"),
    SCHEMA_FIELD(struct block, force_path_style, "forcePathStyle", SCHEMA_BOOL),
    SCHEMA_SKIP("options", "holds options of rclone, which is not used here; ignored"),
};
static const struct schema s3_schema = SCHEMA("s3 storage", struct block, s3_fields);

static const struct schema_field azblob_fields[] = {
    TEXT(bucket, "container"),
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    TEXT(account, "storageAccount"),
    TEXT(endpoint, "endpoint"),
    TEXT(secret_name, "secretName"),
    TEXT(access_tier, "accessTier"),
    {.name = "sasToken", .type = SCHEMA_CUSTOM, .parse = refuse_token},
};
static const struct schema azblob_schema = SCHEMA("azblob storage", struct block, azblob_fields);

static const struct schema_field bucket_fields[] = {
    /* oss, cos */
    TEXT(bucket, "bucket"), TEXT(prefix, "prefix"),          TEXT(endpoint, "domain"),
    TEXT(region, "region"), TEXT(secret_name, "secretName"), TEXT(storage_class, "storageClass"),
};
static const struct schema oss_schema = SCHEMA("oss storage", struct block, bucket_fields);
static const struct schema cos_schema = SCHEMA("cos storage", struct block, bucket_fields);

static const struct kind {
    const char *name;
    enum storage_spec_kind kind;
    const struct schema *schema;
} kinds[] = {
    {"local", STORAGE_SPEC_LOCAL, &local_schema}, {"nfs", STORAGE_SPEC_NFS, &nfs_schema},
    {"s3", STORAGE_SPEC_S3, &s3_schema},          {"azblob", STORAGE_SPEC_AZBLOB, &azblob_schema},
    {"oss", STORAGE_SPEC_OSS, &oss_schema},       {"cos", STORAGE_SPEC_COS, &cos_schema},
};

static const struct kind *find_kind(const char *name)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(kinds); n++)
        if (strcmp(kinds[n].name, name) == 0)
            return &kinds[n];
    return NULL;
}

/* ---- joining a URL ---- */

/* Percent-encodes all but unreserved characters and '/'. */
static int append_encoded(struct buf *url, const char *text, struct tm_err *err)
{
    int r = 0;
    for (const char *at = text; r == 0 && *at != '\0'; at++) {
        if (isalnum((unsigned char)*at) || strchr("-._~/", *at) != NULL)
            r = buf_append(url, at, 1, err);
        else
            r = buf_printf(url, err, "%%%02X", (unsigned)(unsigned char)*at);
    }
    return r;
}

/* "/" and the components of text, without empty ones; "." and ".." are refused. */
static int append_components(struct buf *url, const char *text, const struct yaml_node *node,
                             const char *what, struct tm_err *err)
{
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, "/");
        if ((len == 1 && text[0] == '.') || (len == 2 && memcmp(text, "..", 2) == 0))
            return yaml_error(node, err, "'%s' must not contain '%.*s' as a component", what,
                              (int)len, text);
        if (len > 0) {
            char component[STORAGE_URL_MAX];
            (void)snprintf(component, sizeof(component), "/%.*s", (int)len, text);
            int r = append_encoded(url, component, err);
            if (r < 0)
                return r;
        }
        text += len;
        text += *text == '/';
    }
    return 0;
}

static int append_param(struct buf *url, const char *key, const char *value, char *separator,
                        struct tm_err *err)
{
    if (value == NULL || value[0] == '\0')
        return 0;
    int r = buf_printf(url, err, "%c%s=", *separator, key);
    *separator = '&';
    return r < 0 ? r : append_encoded(url, value, err);
}

static int join_path_url(struct buf *url, const struct block *b, const struct yaml_node *node,
                         struct tm_err *err)
{
    if (b->path != NULL && b->mount_path != NULL)
        return yaml_error(node, err, "both 'path' and 'volumeMount' are given; one is enough");
    const char *path = b->path != NULL ? b->path : b->mount_path;
    if (path == NULL || path[0] == '\0')
        return yaml_error(node, err, "field 'path' of %s storage is missing", node->key);
    if (path[0] != '/')
        return yaml_error(node, err, "'path' must be absolute, '%s' is not", path);
    int r = buf_append(url, "file://", 7, err);
    if (r == 0)
        r = append_components(url, path, node, "path", err);
    if (r == 0)
        r = append_components(url, b->prefix, node, "prefix", err);
    if (r == 0 && url->len == 7)
        r = buf_append(url, "/", 1, err);
    return r;
}

static int join_bucket_url(struct buf *url, const struct kind *kind, const struct block *b,
                           const struct yaml_node *node, struct tm_err *err)
{
    bool azblob = kind->kind == STORAGE_SPEC_AZBLOB;
    const char *bucket = b->bucket;
    const char *below = NULL;
    size_t len = bucket != NULL ? strlen(bucket) : 0;
    if (len == 0 && b->path != NULL) { /* TiDB's older form: bucket/prefix in one */
        bucket = b->path;
        len = strcspn(bucket, "/");
        below = bucket + len;
    }
    if (len == 0)
        return yaml_error(node, err, "field '%s' of %s storage is missing",
                          azblob ? "container" : "bucket", node->key);
    for (size_t at = 0; at < len; at++)
        if (!isalnum((unsigned char)bucket[at]) && strchr("-._", bucket[at]) == NULL)
            return yaml_error(node, err, "'%s' is not the name of a %s", bucket,
                              azblob ? "container" : "bucket");
    char separator = '?';
    int r = buf_printf(url, err, "%s://%.*s", kind->name, (int)len, bucket);
    if (r == 0)
        r = append_components(url, below, node, "path", err);
    if (r == 0)
        r = append_components(url, b->prefix, node, "prefix", err);
    if (r == 0)
        r = append_param(url, azblob ? "account" : "provider", azblob ? b->account : b->provider,
                         &separator, err);
    if (r == 0)
        r = append_param(url, "region", b->region, &separator, err);
    if (r == 0)
        r = append_param(url, "endpoint", b->endpoint, &separator, err);
    if (r == 0 && b->force_path_style)
        r = append_param(url, "force-path-style", "true", &separator, err);
    return r;
}

/* A user part in an endpoint would carry a secret into URLs and logs. */
static int check_endpoint(const struct block *b, const struct yaml_node *node, struct tm_err *err)
{
    if (b->endpoint == NULL || strchr(b->endpoint, '@') == NULL)
        return 0;
    return yaml_error(node, err,
                      "an endpoint must not carry a user or password; put them into the "
                      "secret that 'secretName' names");
}

static int fill(struct storage_spec *storage, const struct kind *kind, struct block *b,
                const struct yaml_node *node, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf url = BUF_INIT;
    bool directory = kind->kind == STORAGE_SPEC_LOCAL || kind->kind == STORAGE_SPEC_NFS;
    int r = check_endpoint(b, node, err);
    if (r == 0)
        r = directory ? join_path_url(&url, b, node, err)
                      : join_bucket_url(&url, kind, b, node, err);
    const char *text = NULL;
    if (r < 0 || (r = buf_cstr(&url, &text, err)) < 0)
        return r;
    if (url.len >= STORAGE_URL_MAX)
        return yaml_error(node, err, "the storage URL would be longer than %d bytes",
                          STORAGE_URL_MAX - 1);
    *storage = (struct storage_spec){.kind = kind->kind,
                                     .url = strdup(text),
                                     .secret_name = TM_TAKE(b->secret_name),
                                     .storage_class = TM_TAKE(b->storage_class),
                                     .acl = TM_TAKE(b->acl),
                                     .sse = TM_TAKE(b->sse),
                                     .access_tier = TM_TAKE(b->access_tier)};
    return storage->url == NULL ? tm_err_oom(err) : 0;
}

int spec_storage_block(const struct schema_field *field, const struct yaml_node *node, void *member,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    struct storage_spec *storage = member;
    const struct kind *kind = find_kind(field->name);
    if (kind == NULL)
        return yaml_key_error(node, err,
                              "'gcs' is not supported; Google Cloud Storage can be "
                              "written as an 's3' block with its S3-compatible endpoint");
    if (storage->kind != STORAGE_SPEC_NONE)
        return yaml_key_error(
            node, err,
            "'%s' is a second storage block; exactly one of s3, azblob, oss, cos, "
            "local and nfs can be given",
            field->name);
    struct block b;
    int r = schema_load(kind->schema, node, &b, warnings, err);
    if (r < 0)
        return r;
    r = fill(storage, kind, &b, node, err);
    schema_release(kind->schema, &b);
    return r;
}

void spec_storage_clear(void *member)
{
    struct storage_spec *storage = member;
    free(storage->url);
    free(storage->secret_name);
    free(storage->storage_class);
    free(storage->acl);
    free(storage->sse);
    free(storage->access_tier);
    *storage = (struct storage_spec){.kind = STORAGE_SPEC_NONE};
}

static const struct schema_field storage_only_fields[] = {
    SPEC_STORAGE_FIELD(struct storage_spec, kind, "local"),
    SPEC_STORAGE_FIELD(struct storage_spec, kind, "nfs"),
    SPEC_STORAGE_FIELD(struct storage_spec, kind, "s3"),
    SPEC_STORAGE_FIELD(struct storage_spec, kind, "azblob"),
    SPEC_STORAGE_FIELD(struct storage_spec, kind, "oss"),
    SPEC_STORAGE_FIELD(struct storage_spec, kind, "cos"),
    SPEC_STORAGE_FIELD(struct storage_spec, kind, "gcs"),
};
const struct schema spec_storage_only_schema =
    SCHEMA("storage provider", struct storage_spec, storage_only_fields);

void spec_refuse_storage(const struct storage_spec *storage, const struct yaml_node *spec,
                         struct tm_err *refusal)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(kinds); n++) {
        if (kinds[n].kind != storage->kind || kinds[n].kind == STORAGE_SPEC_LOCAL ||
            kinds[n].kind == STORAGE_SPEC_NFS)
            continue;
        spec_refuse(
            refusal, TM_E_UNSUPPORTED, yaml_get(spec, kinds[n].name),
            "there is no driver for %s storage in this version; use 'local' or 'nfs' with a "
            "directory that is mounted on every node",
            kinds[n].name);
    }
}
