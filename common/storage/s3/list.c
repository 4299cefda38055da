/*
 * Listing, page by page: one page in memory at a time.
 *
 * Happy path: a page of at most S3_LIST_PAGE keys in ascending order, the next by the token the store
 * gave, or behind the name that was skipped to. Names that could not be ours are passed over.
 * Failures: an answer that is no list, is out of order or leads nowhere is TM_E_CORRUPT.
 */
#include "common/clock.h"
#include "common/parse.h"
#include "common/storage/s3/internal.h"
#include "common/xml.h"

#define EMPTY_PAGES_MAX 1000 /* in a row: a bucket of deleted versions can have some */

struct entry {
    size_t key_at; /* in page.keys */
    uint64_t size_bytes;
    int64_t modified_us;
};

struct page {
    struct entry entries[S3_LIST_PAGE];
    size_t count;
    struct buf keys; /* each with its NUL */
    bool truncated, encoded;
    char token[2048]; /* NextContinuationToken, or NextMarker */
    struct entry reading;
    bool key_read;
};

struct s3_iter {
    struct storage_iter base;
    struct s3 *s3;
    char prefix[S3_KEY_MAX + STORAGE_NAME_MAX + 1]; /* of keys */
    char after[S3_KEY_MAX + STORAGE_NAME_MAX + 1];  /* the next key is greater; "" = any */
    char last[S3_KEY_MAX + 1];                      /* key of the pages so far */
    bool started;
    size_t at; /* next of page.entries */
    struct page page;
};

/* ---- reading a page ---- */

static int take_key(struct page *page, const char *text, struct tm_err *err)
{
    if (page->key_read)
        return tm_err_set(err, TM_E_CORRUPT, "a listed object has two keys");
    page->reading.key_at = page->keys.len;
    page->key_read = true;
    return buf_append(&page->keys, text, strlen(text) + 1, err);
}

static int take_entry(struct page *page, struct tm_err *err)
{
    if (!page->key_read)
        return tm_err_set(err, TM_E_CORRUPT, "a listed object has no key");
    if (page->count == S3_LIST_PAGE)
        return tm_err_set(err, TM_E_CORRUPT, "more than %d objects in one page", S3_LIST_PAGE);
    page->entries[page->count++] = page->reading;
    page->reading = (struct entry){.key_at = 0};
    page->key_read = false;
    return 0;
}

static int take_token(struct page *page, const char *text, struct tm_err *err)
{
    if (strlen(text) >= sizeof(page->token))
        return tm_err_set(err, TM_E_CORRUPT, "the token of the next page is too long");
    (void)snprintf(page->token, sizeof(page->token), "%s", text);
    return 0;
}

static int on_list_end(const char *path, const char *text, void *arg, struct tm_err *err)
{
    struct page *page = arg;
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

/* Decodes, and checks that the keys are what was asked for, in order. */
static int check_page(struct s3_iter *it, struct tm_err *err)
{
    struct page *page = &it->page;
    for (size_t n = 0; n < page->count; n++) {
        char *key = (char *)page->keys.data + page->entries[n].key_at;
        if ((page->encoded && !s3_decode(key)) || strlen(key) > S3_KEY_MAX)
            return tm_err_set(err, TM_E_CORRUPT, "a key is not encoded rightly or too long");
        if (strncmp(key, it->prefix, strlen(it->prefix)) != 0)
            return tm_err_set(err, TM_E_CORRUPT, "key '%.200s' was not asked for", key);
        if (strcmp(key, it->last) <= 0)
            return tm_err_set(err, TM_E_CORRUPT, "key '%.200s' is out of order", key);
        (void)snprintf(it->last, sizeof(it->last), "%s", key);
    }
    bool marker = it->s3->config.provider->list_v1;
    if (marker && page->encoded && !s3_decode(page->token))
        return tm_err_set(err, TM_E_CORRUPT, "the marker of the next page is not encoded rightly");
    if (page->truncated && page->token[0] == '\0') {
        if (!marker || page->count == 0)
            return tm_err_set(err, TM_E_CORRUPT, "there is more, but not how to get it");
        (void)snprintf(page->token, sizeof(page->token), "%s", it->last);
    }
    return 0;
}

static void page_reset(struct page *page)
{
    page->count = 0;
    page->keys.len = 0;
    page->truncated = page->encoded = page->key_read = false;
    page->token[0] = '\0';
    page->reading = (struct entry){.key_at = 0};
}

static int ask(struct s3_iter *it, struct s3_call *c, struct tm_err *err)
{
    bool marker = it->s3->config.provider->list_v1;
    bool skipped = strcmp(it->after, it->last) > 0;
    int r = 0;
    if (it->page.token[0] != '\0' && !skipped)
        r = s3_call_query(c, marker ? "marker" : "continuation-token", it->page.token, err);
    if (r == 0)
        r = s3_call_query(c, "encoding-type", "url", err);
    if (r == 0 && !marker)
        r = s3_call_query(c, "list-type", "2", err);
    if (r == 0)
        r = s3_call_query(c, "max-keys", "1000", err);
    if (r == 0)
        r = s3_call_query(c, "prefix", it->prefix, err);
    if (r == 0 && skipped)
        r = s3_call_query(c, marker ? "marker" : "start-after", it->after, err);
    return r == 0 ? s3_call_run(c, err) : r;
}

static int fetch(struct s3_iter *it, struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, it->s3, "GET", "");
    int r = ask(it, &c, err);
    page_reset(&it->page);
    it->at = 0;
    it->started = true;
    if (r == 0) {
        r = xml_read(buf_slice(&c.call.x.answer), on_list_end, &it->page, err);
        if (r == 0)
            r = check_page(it, err);
        if (r < 0) {
            err->code = err->code == TM_E_NO_MEMORY ? err->code : TM_E_CORRUPT;
            r = tm_err_prefix(err, "%s", it->s3->store.place);
        }
    }
    s3_call_release(&c);
    return r;
}

/* ---- the iterator ---- */

static bool take_next(struct s3_iter *it, struct storage_object *ret)
{
    struct page *page = &it->page;
    size_t cut = strlen(it->s3->config.prefix);
    while (it->at < page->count) {
        const struct entry *entry = &page->entries[it->at++];
        const char *key = (const char *)page->keys.data + entry->key_at;
        if (strcmp(key, it->after) <= 0 || !storage_name_valid(key + cut))
            continue;
        (void)snprintf(ret->name, sizeof(ret->name), "%s", key + cut);
        ret->size_bytes = entry->size_bytes;
        ret->modified_us = entry->modified_us;
        (void)snprintf(it->after, sizeof(it->after), "%s", key);
        return true;
    }
    return false;
}

static int iter_next(struct storage_iter *base, struct storage_object *ret, struct tm_err *err)
{
    struct s3_iter *it = (struct s3_iter *)base;
    unsigned empty_pages = 0;
    while (!take_next(it, ret)) {
        if (it->started && !it->page.truncated)
            return 0;
        if (it->started && it->page.count == 0 && ++empty_pages == EMPTY_PAGES_MAX)
            return tm_err_set(err, TM_E_CORRUPT, STORAGE_ERROR_LIST ": %s: %d empty pages in a row",
                              it->prefix, it->s3->store.place, EMPTY_PAGES_MAX);
        int r = fetch(it, err);
        if (r < 0)
            return tm_err_prefix(err, STORAGE_ERROR_LIST, it->prefix);
    }
    return 1;
}

static int iter_skip(struct storage_iter *base, const char *name, struct tm_err *err)
{
    (void)err;
    struct s3_iter *it = (struct s3_iter *)base;
    char key[sizeof(it->after)];
    s3_key(it->s3, name, key, sizeof(key));
    if (strcmp(key, it->after) > 0)
        (void)snprintf(it->after, sizeof(it->after), "%s", key);
    return 0;
}

static void iter_free(struct storage_iter *base)
{
    struct s3_iter *it = (struct s3_iter *)base;
    buf_release(&it->page.keys);
    free(it);
}

static const struct storage_iter_ops iter_ops = {
    .next = iter_next, .skip = iter_skip, .free = iter_free};

int s3_list(struct storage *st, const char *prefix, const char *start_after,
            struct storage_iter **ret, struct tm_err *err)
{
    struct s3_iter *it = calloc(1, sizeof(*it));
    if (it == NULL)
        return tm_err_oom(err);
    it->base.ops = &iter_ops;
    it->s3 = s3_of(st);
    s3_key(it->s3, prefix, it->prefix, sizeof(it->prefix));
    if (start_after[0] != '\0')
        s3_key(it->s3, start_after, it->after, sizeof(it->after));
    *ret = &it->base;
    return 0;
}
