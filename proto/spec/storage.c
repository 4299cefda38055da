/*
 * Storage blocks: s3, azblob, oss, cos, gcs, local, nfs → one struct storage_spec with the URL that
 * a driver opens. Here: which blocks there are, and directories; buckets are bucket.c's.
 *
 * Happy path: a block's own table loads it into a local struct, its fields become a storage URL,
 * percent-encoded. Failures: two blocks in one spec, a block that names no place, a path that is not
 * absolute, a value that no store would take, a secret written into the spec.
 */
#include "proto/spec/storage_block.h"

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

#define TEXT(member_, name_) SCHEMA_FIELD(struct spec_block, member_, name_, SCHEMA_STRING)

static const struct schema_field local_fields[] = {
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    {.name = "volumeMount",
     .type = SCHEMA_CUSTOM,
     .offset = offsetof(struct spec_block, mount_path),
     .parse = parse_mount,
     .clear = clear_mount},
    SCHEMA_SKIP("volume", "is mounted by Kubernetes there; here the directory must be mounted on "
                          "every node already; ignored"),
};
static const struct schema local_schema = SCHEMA("local storage", struct spec_block, local_fields);

static const struct schema_field nfs_fields[] = {
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    SCHEMA_SKIP("server", "is used by whoever mounts it; here the directory must be mounted on "
                          "every node already; ignored"),
};
static const struct schema nfs_schema = SCHEMA("nfs storage", struct spec_block, nfs_fields);

static const struct kind {
    const char *name;
    enum storage_spec_kind kind;
    const struct schema *schema;
} kinds[] = {
    {"local", STORAGE_SPEC_LOCAL, &local_schema},
    {"nfs", STORAGE_SPEC_NFS, &nfs_schema},
    {"s3", STORAGE_SPEC_S3, &spec_s3_schema},
    {"azblob", STORAGE_SPEC_AZBLOB, &spec_azblob_schema},
    {"oss", STORAGE_SPEC_OSS, &spec_oss_schema},
    {"cos", STORAGE_SPEC_COS, &spec_cos_schema},
};

static const struct kind *find_kind(const char *name)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(kinds); n++)
        if (strcmp(kinds[n].name, name) == 0)
            return &kinds[n];
    return NULL;
}

/* ---- directories ---- */

static int join_path_url(struct buf *url, const struct spec_block *b, const struct yaml_node *node,
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
        r = spec_append_components(url, path, node, "path", err);
    if (r == 0)
        r = spec_append_components(url, b->prefix, node, "prefix", err);
    if (r == 0 && url->len == 7)
        r = buf_append(url, "/", 1, err);
    return r;
}

static int fill_directory(struct spec_block *b, const struct yaml_node *node, char **ret_url,
                          struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf url = BUF_INIT;
    const char *text = NULL;
    int r = join_path_url(&url, b, node, err);
    if (r < 0 || (r = buf_cstr(&url, &text, err)) < 0)
        return r;
    if (url.len >= STORAGE_URL_MAX)
        return yaml_error(node, err, "the storage URL would be longer than %d bytes",
                          STORAGE_URL_MAX - 1);
    *ret_url = strdup(text);
    return *ret_url == NULL ? tm_err_oom(err) : 0;
}

static int fill(struct storage_spec *storage, const struct kind *kind, struct spec_block *b,
                const struct yaml_node *node, struct schema_warnings *warnings, struct tm_err *err)
{
    bool directory = kind->kind == STORAGE_SPEC_LOCAL || kind->kind == STORAGE_SPEC_NFS;
    char *url = NULL;
    int r = directory ? fill_directory(b, node, &url, err)
                      : spec_bucket_url(kind->kind, b, node, warnings, &url, err);
    if (r < 0)
        return r;
    if (b->secret_name != NULL && b->secret_name[0] == '\0') {
        free(b->secret_name);
        b->secret_name = NULL;
    }
    *storage = (struct storage_spec){
        .kind = kind->kind, .url = url, .secret_name = TM_TAKE(b->secret_name)};
    return spec_check_name(node, "secretName", storage->secret_name, err);
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
    struct spec_block b;
    int r = schema_load(kind->schema, node, &b, warnings, err);
    if (r < 0)
        return r;
    r = fill(storage, kind, &b, node, warnings, err);
    if (r < 0)
        spec_storage_clear(storage);
    schema_release(kind->schema, &b);
    return r;
}

void spec_storage_clear(void *member)
{
    struct storage_spec *storage = member;
    free(storage->url);
    free(storage->secret_name);
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
