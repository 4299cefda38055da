/*
 * Happy path: elements as they end → entries → keys decoded and checked → how to go on. Failures: an
 * answer that is no list, or one that cannot be right.
 */
#include "common/storage/s3/page.h"

#include "common/clock.h"
#include "common/parse.h"
#include "common/storage/s3/internal.h"
#include "common/xml.h"

static int take_key(struct s3_page *page, const char *text, struct tm_err *err)
{
    if (page->key_read)
        return tm_err_set(err, TM_E_CORRUPT, "a listed object has two keys");
    page->reading.key_at = page->keys.len;
    page->key_read = true;
    return buf_append(&page->keys, text, strlen(text) + 1, err);
}

static int take_entry(struct s3_page *page, struct tm_err *err)
{
    if (!page->key_read)
        return tm_err_set(err, TM_E_CORRUPT, "a listed object has no key");
    if (page->count == S3_LIST_PAGE)
        return tm_err_set(err, TM_E_CORRUPT, "more than %d objects in one page", S3_LIST_PAGE);
    page->entries[page->count++] = page->reading;
    page->reading = (struct s3_page_entry){.key_at = 0};
    page->key_read = false;
    return 0;
}

static int take_token(struct s3_page *page, const char *text, struct tm_err *err)
{
    if (strlen(text) >= sizeof(page->token))
        return tm_err_set(err, TM_E_CORRUPT, "the token of the next page is too long");
    (void)snprintf(page->token, sizeof(page->token), "%s", text);
    return 0;
}

static int on_list_end(const char *path, const char *text, void *arg, struct tm_err *err)
{
    struct s3_page *page = arg;
    static const char root[] = "ListBucketResult";
    if (strncmp(path, root, sizeof(root) - 1) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "the answer is a '%.60s', not a list", path);
    const char *rest = path + sizeof(root) - 1;
    if (strcmp(rest, "/Contents/Key") == 0)
        return take_key(page, text, err);
    if (strcmp(rest, "/Contents/Size") == 0)
        return parse_u64(text, &page->reading.size_bytes, err);
    if (strcmp(rest, "/Contents/LastModified") == 0)
        return clock_parse(text, &page->reading.modified_us, err);
    if (strcmp(rest, "/Contents") == 0)
        return take_entry(page, err);
    if (strcmp(rest, "/IsTruncated") == 0)
        return parse_bool(text, &page->truncated, err);
    if (strcmp(rest, "/NextContinuationToken") == 0 || strcmp(rest, "/NextMarker") == 0)
        return take_token(page, text, err);
    if (strcmp(rest, "/EncodingType") == 0)
        page->encoded = strcmp(text, "url") == 0;
    return 0;
}

/* Decodes the keys, and checks that they are what was asked for, in order. */
static int check_keys(struct s3_page *page, const char *prefix, const char *last,
                      struct tm_err *err)
{
    for (size_t n = 0; n < page->count; n++) {
        char *key = (char *)page->keys.data + page->entries[n].key_at;
        if ((page->encoded && !s3_decode(key)) || strlen(key) > S3_KEY_MAX)
            return tm_err_set(err, TM_E_CORRUPT, "a key is not encoded rightly or too long");
        if (strncmp(key, prefix, strlen(prefix)) != 0)
            return tm_err_set(err, TM_E_CORRUPT, "key '%.200s' was not asked for", key);
        if (strcmp(key, last) <= 0)
            return tm_err_set(err, TM_E_CORRUPT, "key '%.200s' is out of order", key);
        last = key;
    }
    return 0;
}

static int check_token(struct s3_page *page, bool marker, struct tm_err *err)
{
    if (marker && page->encoded && !s3_decode(page->token))
        return tm_err_set(err, TM_E_CORRUPT, "the marker of the next page is not encoded rightly");
    if (!page->truncated || page->token[0] != '\0')
        return 0;
    if (!marker || page->count == 0)
        return tm_err_set(err, TM_E_CORRUPT, "there is more, but not how to get it");
    (void)snprintf(page->token, sizeof(page->token), "%s", s3_page_key(page, page->count - 1));
    return 0;
}

int s3_page_read(struct s3_page *page, struct slice answer, bool marker, const char *prefix,
                 const char *last, struct tm_err *err)
{
    page->count = 0;
    page->keys.len = 0;
    page->truncated = page->encoded = page->key_read = false;
    page->token[0] = '\0';
    page->reading = (struct s3_page_entry){.key_at = 0};
    int r = xml_read(answer, on_list_end, page, err);
    if (r == 0)
        r = check_keys(page, prefix, last, err);
    if (r == 0)
        r = check_token(page, marker, err);
    if (r < 0) {
        page->count = 0;
        if (err->code != TM_E_NO_MEMORY)
            err->code = TM_E_CORRUPT;
        return -(int)err->code;
    }
    return 0;
}

void s3_page_release(struct s3_page *page)
{
    buf_release(&page->keys);
}
