/*
 * Listing, page by page: one page in memory at a time.
 *
 * Happy path: a page of at most S3_LIST_PAGE keys in ascending order, the next by the token the store
 * gave, or behind the name that was skipped to. Names that could not be ours are passed over.
 * Failures: an answer that is no list, is out of order or leads nowhere is TM_E_CORRUPT.
 */
#include "common/storage/s3/internal.h"
#include "common/storage/s3/page.h"

#define EMPTY_PAGES_MAX 1000 /* in a row: a bucket of deleted versions can have some */

struct s3_iter {
    struct storage_iter base;
    struct s3 *s3;
    char prefix[S3_KEY_MAX + STORAGE_NAME_MAX + 1]; /* of keys */
    char after[S3_KEY_MAX + STORAGE_NAME_MAX + 1];  /* the next key is greater; "" = any */
    char last[S3_KEY_MAX + 1];                      /* key of the pages so far */
    bool started;
    size_t at; /* next of page.entries */
    struct s3_page page;
};

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
    return r == 0 ? store_call_run(&c->call, err) : r;
}

static int fetch(struct s3_iter *it, struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, it->s3, "GET", "");
    c.answer = S3_ANSWER_LIST;
    int r = ask(it, &c, err);
    it->at = 0;
    it->started = true;
    if (r == 0 && s3_page_read(&it->page, buf_slice(&c.call.x.answer),
                               it->s3->config.provider->list_v1, it->prefix, it->last, err) < 0)
        r = tm_err_prefix(err, "%s", it->s3->store.place);
    if (r == 0 && it->page.count > 0)
        (void)snprintf(it->last, sizeof(it->last), "%s",
                       s3_page_key(&it->page, it->page.count - 1));
    s3_call_release(&c);
    return r;
}

/* ---- the iterator ---- */

static bool take_next(struct s3_iter *it, struct storage_object *ret)
{
    struct s3_page *page = &it->page;
    size_t cut = strlen(it->s3->config.prefix);
    while (it->at < page->count) {
        const struct s3_page_entry *entry = &page->entries[it->at];
        const char *key = s3_page_key(page, it->at++);
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
    s3_page_release(&it->page);
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
