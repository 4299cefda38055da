/*
 * The presets. Nothing here can fail but for want of room.
 */
#include "common/storage/s3/provider.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/suggest.h"

static const struct s3_provider providers[] = {
    {.name = "aws",
     .host = "s3.{region}.amazonaws.com",
     .default_region = "us-east-1",
     .put = S3_CONDITIONAL_YES,
     .complete = true},
    {.name = "minio", .default_region = "us-east-1", .path_style = true},
    {.name = "ceph", .default_region = "us-east-1", .path_style = true},
    /* looks up and deletes them two at a time, and answers behind the last */
    {.name = "swift", .default_region = "us-east-1", .path_style = true, .delete_batch = 100},
    {.name = "seaweedfs", .default_region = "us-east-1", .path_style = true},
    {.name = "alibaba",
     .alias = "oss",
     .host = "s3.oss-{region}.aliyuncs.com",
     .never_path_style = true,
     .put = S3_CONDITIONAL_NO,
     .forbid_overwrite = "x-oss-forbid-overwrite"},
    {.name = "tencent",
     .alias = "cos",
     .host = "cos.{region}.myqcloud.com",
     .list_v1 = true,
     .put = S3_CONDITIONAL_NO,
     .forbid_overwrite = "x-cos-forbid-overwrite"},
    {.name = "tencentcos",
     .host = "cos.{region}.myqcloud.com",
     .list_v1 = true,
     .put = S3_CONDITIONAL_NO,
     .forbid_overwrite = "x-cos-forbid-overwrite"},
    {.name = "huawei", .alias = "obs", .host = "obs.{region}.myhuaweicloud.com", .list_v1 = true},
    {.name = "netease", .default_region = "us-east-1", .never_path_style = true, .list_v1 = true},
    {.name = "gcs",
     .alias = "google",
     .host = "storage.googleapis.com",
     .default_region = "auto",
     .path_style = true,
     .delete_batch = 1},
    {.name = "digitalocean", .host = "{region}.digitaloceanspaces.com"},
    {.name = "wasabi", .host = "s3.{region}.wasabisys.com", .default_region = "us-east-1"},
    {.name = "ibmcos", .host = "s3.{region}.cloud-object-storage.appdomain.cloud"},
    {.name = "dreamhost", .default_region = "us-east-1", .path_style = true},
    {.name = "stackpath", .default_region = "us-east-1", .path_style = true},
    {.name = "other", .default_region = "us-east-1", .path_style = true},
};

/* other forms of endpoint that tell whose it is, and the region */
static const struct {
    const char *provider;
    const char *host;
} more_hosts[] = {
    {"aws", "s3.{region}.amazonaws.com.cn"},
    {"aws", "s3.dualstack.{region}.amazonaws.com"},
    {"aws", "s3-fips.{region}.amazonaws.com"},
    {"alibaba", "oss-{region}-internal.aliyuncs.com"},
    {"alibaba", "s3.oss-{region}-internal.aliyuncs.com"},
    {"alibaba", "oss-{region}.aliyuncs.com"},
};

const struct s3_provider *s3_provider_at(size_t n)
{
    return n < TM_ARRAY_LEN(providers) ? &providers[n] : NULL;
}

const struct s3_provider *s3_provider_find(const char *name)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(providers); n++)
        if (strcasecmp(providers[n].name, name) == 0 ||
            (providers[n].alias != NULL && strcasecmp(providers[n].alias, name) == 0))
            return &providers[n];
    return NULL;
}

const char *s3_provider_suggest(const char *name)
{
    struct suggest s;
    suggest_init(&s, name);
    for (size_t n = 0; n < TM_ARRAY_LEN(providers); n++) {
        suggest_offer(&s, providers[n].name);
        if (providers[n].alias != NULL)
            suggest_offer(&s, providers[n].alias);
    }
    return suggest_best(&s);
}

#define REGION "{region}"

/* Whether `host` has the form of `pattern`; what stands for the region goes to ret_region. */
static bool matches(const char *pattern, const char *host, char *ret_region, size_t size)
{
    const char *mark = strstr(pattern, REGION);
    if (mark == NULL) {
        if (strcasecmp(pattern, host) != 0)
            return false;
        ret_region[0] = '\0';
        return true;
    }
    size_t before = (size_t)(mark - pattern);
    const char *after = mark + strlen(REGION);
    size_t len = strlen(host);
    size_t after_len = strlen(after);
    if (len <= before + after_len || strncasecmp(host, pattern, before) != 0 ||
        strcasecmp(host + len - after_len, after) != 0)
        return false;
    size_t region_len = len - before - after_len;
    if (region_len >= size || memchr(host + before, '.', region_len) != NULL)
        return false;
    (void)snprintf(ret_region, size, "%.*s", (int)region_len, host + before);
    return true;
}

static bool find_region(const struct s3_provider *p, const char *host, char *ret_region,
                        size_t size)
{
    /* the longer forms first: "-internal" is not part of a region */
    for (size_t n = 0; n < TM_ARRAY_LEN(more_hosts); n++)
        if (strcmp(more_hosts[n].provider, p->name) == 0 &&
            matches(more_hosts[n].host, host, ret_region, size))
            return true;
    return p->host != NULL && matches(p->host, host, ret_region, size);
}

const struct s3_provider *s3_provider_of_host(const char *host)
{
    char region[64];
    for (size_t n = 0; n < TM_ARRAY_LEN(providers); n++)
        if (find_region(&providers[n], host, region, sizeof(region)))
            return &providers[n];
    return NULL;
}

bool s3_provider_region(const struct s3_provider *p, const char *host, char *ret_region,
                        size_t size)
{
    return find_region(p, host, ret_region, size) && ret_region[0] != '\0';
}

bool s3_provider_host(const struct s3_provider *p, const char *region, char *ret_host, size_t size)
{
    if (p->host == NULL)
        return false;
    const char *mark = strstr(p->host, REGION);
    int len =
        mark == NULL
            ? snprintf(ret_host, size, "%s", p->host)
            : snprintf(ret_host, size, "%.*s%s%s%s", (int)(mark - p->host), p->host, region,
                       mark + strlen(REGION),
                       strcmp(p->name, "aws") == 0 && strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    return len > 0 && (size_t)len < size;
}
