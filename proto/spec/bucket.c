/*
 * Object stores in specs: s3, azblob, oss and cos blocks, and br's storage flags → storage URLs.
 *
 * Happy path: a block's fields become parameters of a storage URL, each checked by its own rule; the
 * URL is written with its parameters in one order, so that equal wishes are equal URLs. A flag is the
 * same with a URL that is there already. oss and cos are s3 with a provider, their endpoint made of the
 * domain; with a region alone it is the provider's.
 *
 * Failures name the field: a bucket that no store would make, an endpoint that is none, a word that
 * no store knows (with the one that was probably meant), a secret.
 */
#include <ctype.h>

#include "common/parse.h"
#include "common/storage/url.h"
#include "proto/spec/storage_block.h"

#define TEXT(member_, name_) SCHEMA_FIELD(struct spec_block, member_, name_, SCHEMA_STRING)

/* ---- the blocks ---- */

static int refuse_secret(const struct schema_field *field, const struct yaml_node *node,
                         void *member, struct schema_warnings *warnings, struct tm_err *err)
{
    (void)member, (void)warnings;
    return yaml_key_error(node, err,
                          "'%s' is a secret and must not be written into a spec; put it into the "
                          "secret that 'secretName' names",
                          field->name);
}

/* true or false, kept as text */
static int parse_switch(const struct schema_field *field, const struct yaml_node *node,
                        void *member, struct schema_warnings *warnings, struct tm_err *err)
{
    (void)warnings;
    struct tm_err why;
    bool value;
    char **text = member;
    if (node->kind != YAML_KIND_SCALAR)
        return yaml_error(node, err, "'%s' must be true or false, not %s", field->name,
                          yaml_kind_text(node->kind));
    if (parse_bool(node->text, &value, &why) < 0)
        return yaml_error(node, err, "'%s': %s", field->name, why.msg);
    *text = strdup(value ? "true" : "false");
    return *text == NULL ? tm_err_oom(err) : 0;
}

static void clear_switch(void *member)
{
    char **text = member;
    free(*text);
    *text = NULL;
}

#define SWITCH(member_, name_)                                                                     \
    {                                                                                              \
        .name = (name_), .type = SCHEMA_CUSTOM, .offset = offsetof(struct spec_block, member_),    \
        .parse = parse_switch, .clear = clear_switch                                               \
    }
#define SECRET(name_)                                                                              \
    {                                                                                              \
        .name = (name_), .type = SCHEMA_CUSTOM, .parse = refuse_secret                             \
    }
/* how the store is reached, whichever it is */
#define REACH_FIELDS TEXT(ca_file, "caFile"), TEXT(proxy, "proxy"), SWITCH(insecure, "insecure")

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
    TEXT(sse_key, "sseKmsKeyId"),
    SWITCH(path_style, "forcePathStyle"),
    REACH_FIELDS,
    SECRET("accessKey"),
    SECRET("secretKey"),
    SECRET("sessionToken"),
    SCHEMA_SKIP("options", "holds options of rclone, which is not used here; ignored"),
};
const struct schema spec_s3_schema = SCHEMA("s3 storage", struct spec_block, s3_fields);

static const struct schema_field azblob_fields[] = {
    TEXT(bucket, "container"),
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    TEXT(account, "storageAccount"),
    TEXT(endpoint, "endpoint"),
    TEXT(secret_name, "secretName"),
    TEXT(access_tier, "accessTier"),
    REACH_FIELDS,
    SECRET("sasToken"),
    SECRET("accountKey"),
};
const struct schema spec_azblob_schema = SCHEMA("azblob storage", struct spec_block, azblob_fields);

static const struct schema_field bucket_fields[] = {
    /* oss, cos */
    TEXT(bucket, "bucket"),
    TEXT(path, "path"),
    TEXT(prefix, "prefix"),
    TEXT(endpoint, "domain"),
    TEXT(region, "region"),
    TEXT(secret_name, "secretName"),
    TEXT(storage_class, "storageClass"),
    TEXT(acl, "acl"),
    TEXT(sse, "sse"),
    TEXT(sse_key, "sseKmsKeyId"),
    REACH_FIELDS,
    SECRET("accessKey"),
    SECRET("secretKey"),
};
const struct schema spec_oss_schema = SCHEMA("oss storage", struct spec_block, bucket_fields);
const struct schema spec_cos_schema = SCHEMA("cos storage", struct spec_block, bucket_fields);

/* ---- parameters ---- */

static bool param_of(const struct spec_param *p, const char *scheme)
{
    return p->family[0] == '\0' || strcmp(p->family, scheme) == 0;
}

static int param_set(struct storage_url *url, const char *key, const char *value,
                     struct tm_err *err)
{
    size_t at = 0;
    while (at < url->param_count && strcmp(url->params[at].key, key) != 0)
        at++;
    if (strlen(value) >= sizeof(url->params[0].value))
        return tm_err_set(err, TM_E_INVALID, "the value is longer than %zu bytes",
                          sizeof(url->params[0].value) - 1);
    if (at == STORAGE_URL_PARAMS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "a storage URL has at most %d parameters",
                          STORAGE_URL_PARAMS_MAX);
    (void)snprintf(url->params[at].key, sizeof(url->params[at].key), "%s", key);
    (void)snprintf(url->params[at].value, sizeof(url->params[at].value), "%s", value);
    url->param_count = TM_MAX(url->param_count, at + 1);
    return 0;
}

/* ---- writing a URL ---- */

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

int spec_append_components(struct buf *url, const char *text, const struct yaml_node *node,
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

static int url_write(const struct storage_url *url, char **ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    const char *text = NULL;
    char separator = '?';
    int r = buf_printf(&out, err, "%s://%s", url->scheme, url->host);
    if (r == 0)
        r = append_encoded(&out, url->path, err);
    for (size_t n = 0; r == 0 && n < spec_param_count; n++) {
        const struct spec_param *p = &spec_params[n];
        const char *value = param_of(p, url->scheme) ? storage_url_param(url, p->key) : NULL;
        if (value == NULL || value[0] == '\0')
            continue;
        r = buf_printf(&out, err, "%c%s=", separator, p->key);
        if (r == 0)
            r = append_encoded(&out, value, err);
        separator = '&';
    }
    if (r == 0)
        r = buf_cstr(&out, &text, err);
    if (r != 0)
        return r;
    if (out.len >= STORAGE_URL_MAX)
        return tm_err_set(err, TM_E_LIMIT, "the storage URL would be longer than %d bytes",
                          STORAGE_URL_MAX - 1);
    *ret = strdup(text);
    return *ret == NULL ? tm_err_oom(err) : 0;
}

/* What parameters need of each other, once block and flags are taken. */
static int url_check(const struct storage_url *url, struct tm_err *err)
{
    const char *sse = storage_url_param(url, "sse");
    if (storage_url_param(url, "sse-kms-key-id") != NULL &&
        (sse == NULL || strcmp(sse, "aws:kms") != 0))
        return tm_err_set(err, TM_E_INVALID,
                          "a KMS key is named, but it is used with 'sse' aws:kms only");
    return 0;
}

/* ---- buckets ---- */

static bool chars_of(const char *text, size_t len, const char *more)
{
    for (size_t at = 0; at < len; at++)
        if (!(islower((unsigned char)text[at]) || isdigit((unsigned char)text[at]) ||
              strchr(more, text[at]) != NULL))
            return false;
    return true;
}

static bool looks_like_address(const char *text)
{
    return strspn(text, "0123456789.") == strlen(text) && strchr(text, '.') != NULL;
}

/* S3's rule. A server of one's own may have older names: upper case, '_'. */
static bool bucket_good(const char *name, bool older)
{
    size_t len = strlen(name);
    if (older)
        return len >= 3 && len <= 255 &&
               strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
                   len &&
               name[0] != '.' && name[0] != '-';
    return len >= 3 && len <= 63 && chars_of(name, len, "-.") && chars_of(name, 1, "") &&
           chars_of(name + len - 1, 1, "") && strstr(name, "..") == NULL &&
           !looks_like_address(name);
}

static bool container_good(const char *name)
{
    size_t len = strlen(name);
    return len >= 3 && len <= 63 && chars_of(name, len, "-") && chars_of(name, 1, "") &&
           chars_of(name + len - 1, 1, "") && strstr(name, "--") == NULL;
}

static int check_bucket(const struct storage_url *url, const struct yaml_node *node,
                        struct tm_err *err)
{
    if (strcmp(url->scheme, "azblob") == 0)
        return container_good(url->host)
                   ? 0
                   : yaml_error(node, err,
                                "'%.64s' is not the name of a container: 3 to 63 lower-case "
                                "letters, digits and single '-'",
                                url->host);
    const char *provider = storage_url_param(url, "provider");
    bool own =
        storage_url_param(url, "endpoint") != NULL &&
        (provider == NULL || (strcmp(provider, "aws") != 0 && strcmp(provider, "alibaba") != 0 &&
                              strcmp(provider, "tencent") != 0));
    return bucket_good(url->host, own)
               ? 0
               : yaml_error(node, err,
                            "'%.64s' is not the name of a bucket: 3 to 63 lower-case letters, "
                            "digits, '-' and '.'",
                            url->host);
}

/* "bucket" or "container"; or TiDB's older form, "path: bucket/prefix" in one. */
static int take_bucket(struct storage_url *url, const struct spec_block *b,
                       const struct yaml_node *node, struct tm_err *err)
{
    const char *bucket = b->bucket;
    const char *below = "";
    size_t len = bucket != NULL ? strlen(bucket) : 0;
    if (len == 0 && b->path != NULL) {
        bucket = b->path;
        len = strcspn(bucket, "/");
        below = bucket + len;
    }
    if (len == 0)
        return yaml_error(node, err, "field '%s' of %s storage is missing",
                          strcmp(url->scheme, "azblob") == 0 ? "container" : "bucket", node->key);
    if (len >= sizeof(url->host))
        return yaml_error(node, err, "the name of the bucket is longer than %zu bytes",
                          sizeof(url->host) - 1);
    (void)snprintf(url->host, sizeof(url->host), "%.*s", (int)len, bucket);
    const char *parts[] = {below, b->prefix != NULL ? b->prefix : ""};
    static const char *const names[] = {"path", "prefix"};
    size_t used = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(parts); n++) {
        TM_CLEANUP(buf_release) struct buf checked = BUF_INIT;
        int r = spec_append_components(&checked, parts[n], node, names[n], err);
        if (r < 0)
            return r;
        for (const char *at = parts[n]; *at != '\0';) {
            at += strspn(at, "/");
            size_t part = strcspn(at, "/");
            if (part == 0)
                break;
            int wrote =
                snprintf(url->path + used, sizeof(url->path) - used, "/%.*s", (int)part, at);
            if (wrote < 0 || (size_t)wrote >= sizeof(url->path) - used)
                return yaml_error(node, err, "the storage URL would be longer than %d bytes",
                                  STORAGE_URL_MAX - 1);
            used += (size_t)wrote;
            at += part;
        }
    }
    return 0;
}

/* ---- oss, cos ---- */

/* oss-cn-hangzhou.aliyuncs.com, oss-cn-hangzhou-internal.aliyuncs.com, cos.ap-beijing.myqcloud.com:
 * what lies between is the region. */
static void region_of_domain(const char *domain, bool oss, char *region, size_t size)
{
    const char *host = strstr(domain, "://");
    host = host != NULL ? host + 3 : domain;
    const char *head = oss ? "oss-" : "cos.";
    if (oss && strncmp(host, "s3.", 3) == 0)
        host += 3;
    if (strncmp(host, head, 4) != 0)
        return;
    host += 4;
    size_t len = strcspn(host, ".:/");
    const char *tail = "-internal";
    if (oss && len > strlen(tail) && memcmp(host + len - strlen(tail), tail, strlen(tail)) == 0)
        len -= strlen(tail);
    (void)snprintf(region, size, "%.*s", (int)TM_MIN(len, size - 1), host);
}

static int take_cloud(struct storage_url *url, const struct spec_block *b, bool oss,
                      const struct yaml_node *node, struct tm_err *err)
{
    char endpoint[256];
    char region[64] = "";
    const char *domain = b->endpoint != NULL ? b->endpoint : "";
    if (b->region != NULL)
        (void)snprintf(region, sizeof(region), "%s", b->region);
    if (oss && strncmp(region, "oss-", 4) == 0) /* written so in Alibaba's documents */
        memmove(region, region + 4, strlen(region + 4) + 1);
    if (region[0] == '\0')
        region_of_domain(domain, oss, region, sizeof(region));
    if (domain[0] == '\0' && region[0] == '\0')
        return yaml_error(node, err, "field 'domain' of %s storage is missing, and no 'region'",
                          node->key);
    struct tm_err why;
    int wrote = snprintf(endpoint, sizeof(endpoint), "%s%s",
                         strstr(domain, "://") != NULL ? "" : "https://", domain);
    bool fits = wrote < (int)sizeof(endpoint);
    if (domain[0] != '\0' && (!fits || spec_check_endpoint(endpoint, &why) < 0))
        return yaml_error(spec_node_at(node, "domain"), err, "'domain': %s",
                          fits ? why.msg : "it is too long");
    int r = param_set(url, "provider", oss ? "alibaba" : "tencent", err);
    if (r == 0 && domain[0] != '\0') /* without, the provider's own for that region */
        r = param_set(url, "endpoint", endpoint, err);
    if (r == 0 && region[0] != '\0')
        r = spec_check_region(region, &why) == 0
                ? param_set(url, "region", region, err)
                : yaml_error(spec_node_at(node, "region"), err, "'region': %s", why.msg);
    return r;
}

/* ---- a block ---- */

static int take_params(struct storage_url *url, const struct spec_block *b,
                       const struct yaml_node *node, bool cloud, struct tm_err *err)
{
    for (size_t n = 0; n < spec_param_count; n++) {
        const struct spec_param *p = &spec_params[n];
        char *const *member = (char *const *)((const char *)b + p->offset);
        struct tm_err why;
        bool made = cloud && (strcmp(p->key, "endpoint") == 0 || strcmp(p->key, "region") == 0);
        if (!param_of(p, url->scheme) || made || *member == NULL || **member == '\0')
            continue;
        char value[256];
        (void)snprintf(value, sizeof(value), "%s", *member);
        size_t len = strlen(value);
        if (strcmp(p->key, "endpoint") == 0 && len > 0 && value[len - 1] == '/')
            value[len - 1] = '\0'; /* "https://host/" is meant as "https://host" */
        if (strlen(*member) >= sizeof(value) || p->check(value, &why) < 0)
            return yaml_error(spec_node_at(node, p->field), err, "'%s': %s", p->field,
                              strlen(*member) >= sizeof(value) ? "it is too long" : why.msg);
        int r = param_set(url, p->key, value, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int spec_bucket_url(enum storage_spec_kind kind, const struct spec_block *block,
                    const struct yaml_node *node, struct schema_warnings *warnings, char **ret_url,
                    struct tm_err *err)
{
    struct storage_url url = {.param_count = 0};
    struct tm_err why;
    bool cloud = kind == STORAGE_SPEC_OSS || kind == STORAGE_SPEC_COS;
    (void)snprintf(url.scheme, sizeof(url.scheme), "%s",
                   kind == STORAGE_SPEC_AZBLOB ? "azblob" : "s3");
    int r = take_bucket(&url, block, node, err);
    if (r == 0 && cloud)
        r = take_cloud(&url, block, kind == STORAGE_SPEC_OSS, node, err);
    if (r == 0)
        r = take_params(&url, block, node, cloud, err);
    if (r == 0)
        r = check_bucket(&url, node, err);
    if (r < 0)
        return r;
    if (url_write(&url, ret_url, &why) < 0)
        return yaml_error(node, err, "%s", why.msg);
    const char *insecure = storage_url_param(&url, "insecure");
    if (insecure != NULL && strcmp(insecure, "true") == 0)
        schema_warn(warnings, spec_node_at(node, "insecure"),
                    "the store's certificate is not checked; whoever is between may read and "
                    "forge what is stored");
    return 0;
}

/* ---- flags ---- */

int spec_storage_flag(struct storage_spec *storage, const char *family, const char *key,
                      const char *value, bool *ret_taken, struct tm_err *err)
{
    struct storage_url url;
    char *text = NULL;
    *ret_taken = false;
    if (storage == NULL || storage->url == NULL)
        return 0;
    int r = storage_url_parse(storage->url, &url, err);
    if (r < 0 || strcmp(url.scheme, family) != 0)
        return r;
    for (size_t n = 0; r == 0 && n < spec_param_count; n++)
        if (strcmp(spec_params[n].family, family) == 0 && strcmp(spec_params[n].key, key) == 0)
            r = value[0] != '\0' ? spec_params[n].check(value, err) : 0;
    if (r == 0)
        r = param_set(&url, key, value, err);
    if (r == 0)
        r = url_write(&url, &text, err);
    if (r < 0)
        return r;
    free(storage->url);
    storage->url = text;
    *ret_taken = true;
    return 0;
}

int spec_storage_check(const struct storage_spec *storage, const struct yaml_node *node,
                       struct tm_err *err)
{
    struct storage_url url;
    struct tm_err why;
    if (storage == NULL || storage->url == NULL)
        return 0;
    if (storage_url_parse(storage->url, &url, &why) < 0 || url_check(&url, &why) < 0)
        return yaml_error(node, err, "%s", why.msg);
    return 0;
}

/* ---- places ---- */

static bool param_equal(const struct storage_url *a, const struct storage_url *b, const char *key)
{
    const char *x = storage_url_param(a, key);
    const char *y = storage_url_param(b, key);
    return strcmp(x != NULL ? x : "", y != NULL ? y : "") == 0;
}

bool storage_place_equal(const char *a, const char *b)
{
    struct storage_url x;
    struct storage_url y;
    struct tm_err ignored;
    if (strcmp(a, b) == 0)
        return true;
    if (storage_url_parse(a, &x, &ignored) < 0 || storage_url_parse(b, &y, &ignored) < 0)
        return false;
    return strcmp(x.scheme, y.scheme) == 0 && strcmp(x.host, y.host) == 0 &&
           strcmp(x.path, y.path) == 0 && param_equal(&x, &y, "endpoint") &&
           param_equal(&x, &y, "account-name");
}
