/*
 * Listing in order of names, page by page, one page in memory (two after a leap).
 *
 * Happy path: pages of the prefix, flat, each name told once. The service cannot begin behind a name:
 * its markers mean something to itself only. So what is to be passed over is read and dropped, as
 * long as that is little; after PASSED_MAX pages in a row that held nothing wanted, the list leaps:
 * the directory of the place to go on from is listed by its entries, directories counting as one
 * each, and only those that reach behind the place are listed flat. When a directory is at its end
 * the one above it goes on in the same way, up to the prefix.
 *
 * Failure modes: the service's, told with the prefix. A failed page may be asked for again.
 */
#include "common/storage/azblob/internal.h"

#define PASSED_MAX 2
#define BEHIND_ALL "\x7f" /* sorts behind every character of a name */

struct cursor {
    char prefix[AZBLOB_KEY_MAX + 2];
    bool by_directory;
    bool begun;
    struct azblob_page page;
    size_t at;
};

struct azblob_iter {
    struct storage_iter base;
    struct azblob *az;
    char prefix[AZBLOB_KEY_MAX + 1]; /* of all that is told, whole key */
    char last[AZBLOB_KEY_MAX + 4];   /* whole key: names up to this one have been told, or are to be
                                        passed over */
    bool leapt;                      /* outer is in use */
    struct cursor outer;             /* entries of a directory */
    struct cursor inner;             /* objects below a prefix */
    unsigned passed;                 /* pages in a row without a wanted name */
};

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Only names behind `last` are wanted, so nothing below this prefix is. */
static bool is_behind(const struct azblob_iter *it, const char *prefix)
{
    if (begins_with(it->last, prefix))
        return strcmp(it->last + strlen(prefix), BEHIND_ALL) == 0;
    return strcmp(it->last, prefix) > 0;
}

/* ---- cursors ---- */

static void cursor_open(struct cursor *c, const char *prefix, size_t len, bool by_directory)
{
    char text[sizeof(c->prefix)]; /* prefix may be ours */
    (void)snprintf(text, sizeof(text), "%.*s", (int)len, prefix);
    memcpy(c->prefix, text, sizeof(text));
    c->by_directory = by_directory;
    c->begun = false;
    c->page.count = c->page.marker.len = 0;
    c->at = 0;
}

static void cursor_end(struct cursor *c)
{
    c->begun = true;
    c->page.count = c->page.marker.len = 0;
    c->at = 0;
}

static bool cursor_at_end(const struct cursor *c)
{
    return c->begun && c->at == c->page.count && c->page.marker.len == 0;
}

static int cursor_load(struct azblob_iter *it, struct cursor *c, struct tm_err *err)
{
    int r = azblob_page_next(it->az, c->prefix, c->by_directory, &c->page, err);
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_LIST, it->prefix);
    c->begun = true;
    c->at = 0;
    return 0;
}

/* ---- leaping ---- */

static size_t dir_len(const char *name, size_t len)
{
    while (len > 0 && name[len - 1] != '/')
        len--;
    return len;
}

/* The directory of the place to go on from, as far as it is below the prefix. */
static size_t leap_len(const struct azblob_iter *it)
{
    return TM_MAX(dir_len(it->last, strlen(it->last)), strlen(it->prefix));
}

/* Whether that directory, by its entries, is shorter than what is being read. */
static bool leap_helps(const struct azblob_iter *it)
{
    const struct azblob_page *page = &it->inner.page;
    if (page->count == 0 || !begins_with(it->last, it->prefix))
        return false;
    size_t len = leap_len(it);
    const char *reading = azblob_page_name(page, page->count - 1);
    return strncmp(reading, it->last, len) != 0 || strchr(reading + len, '/') != NULL;
}

static void leap(struct azblob_iter *it)
{
    it->leapt = true;
    it->passed = 0;
    cursor_open(&it->outer, it->last, leap_len(it), true);
    cursor_end(&it->inner);
}

/* The directory is at its end: the one above it goes on behind it. False: that was all. */
static bool climb(struct azblob_iter *it)
{
    char done[sizeof(it->outer.prefix)];
    memcpy(done, it->outer.prefix, sizeof(done));
    size_t len = strlen(done);
    size_t prefix_len = strlen(it->prefix);
    if (len <= prefix_len)
        return false;
    if (!is_behind(it, done))
        (void)snprintf(it->last, sizeof(it->last), "%s" BEHIND_ALL, done);
    size_t above = dir_len(done, len - 1);
    cursor_open(&it->outer, done, TM_MAX(above, prefix_len), true);
    return true;
}

/* ---- going on ---- */

/* The next wanted object below inner's prefix: 1, or 0 at its end. */
static int inner_next(struct azblob_iter *it, const struct azblob_entry **ret, struct tm_err *err)
{
    struct cursor *c = &it->inner;
    while (!cursor_at_end(c)) {
        while (c->at < c->page.count) {
            const struct azblob_entry *entry = &c->page.entries[c->at++];
            if (strcmp(azblob_page_name(&c->page, c->at - 1), it->last) > 0) {
                it->passed = 0;
                *ret = entry;
                return 1;
            }
        }
        if (c->begun && c->page.marker.len == 0)
            break;
        if (c->begun && ++it->passed >= PASSED_MAX && leap_helps(it)) {
            leap(it);
            break;
        }
        if (is_behind(it, c->prefix)) {
            cursor_end(c);
            break;
        }
        int r = cursor_load(it, c, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* After a leap: the next entry that reaches behind `last`. 1 = an object in *ret, or inner was opened
 * on a directory (*ret NULL); 0 = that was all. */
static int outer_next(struct azblob_iter *it, const struct azblob_entry **ret, struct tm_err *err)
{
    struct cursor *c = &it->outer;
    for (;;) {
        while (c->at < c->page.count) {
            const struct azblob_entry *entry = &c->page.entries[c->at];
            const char *name = azblob_page_name(&c->page, c->at++);
            if (entry->is_prefix ? is_behind(it, name) : strcmp(name, it->last) <= 0)
                continue;
            *ret = entry->is_prefix ? NULL : entry;
            if (entry->is_prefix)
                cursor_open(&it->inner, name, strlen(name), false);
            return 1;
        }
        if (cursor_at_end(c)) {
            if (!climb(it))
                return 0;
            continue;
        }
        int r = cursor_load(it, c, err);
        if (r < 0)
            return r;
    }
}

/* 1 = *ret is wanted and comes from *ret_page. */
static int next_entry(struct azblob_iter *it, const struct azblob_entry **ret,
                      const struct azblob_page **ret_page, struct tm_err *err)
{
    for (;;) {
        *ret_page = &it->inner.page;
        int r = inner_next(it, ret, err);
        if (r != 0 || !it->leapt)
            return r;
        *ret_page = &it->outer.page;
        r = outer_next(it, ret, err);
        if (r <= 0 || *ret != NULL)
            return r;
    }
}

static int azblob_next(struct storage_iter *base, struct storage_object *ret, struct tm_err *err)
{
    struct azblob_iter *it = (struct azblob_iter *)base;
    size_t root_len = strlen(it->az->config.prefix);
    const struct azblob_entry *entry;
    const struct azblob_page *page;
    int r;
    while ((r = next_entry(it, &entry, &page, err)) > 0) {
        const char *key = (const char *)page->names.data + entry->name_at;
        if (strlen(key) > AZBLOB_KEY_MAX || !begins_with(key, it->prefix))
            continue; /* nothing of ours has such a name */
        (void)snprintf(it->last, sizeof(it->last), "%s", key);
        if (!storage_name_valid(key + root_len))
            continue;
        (void)snprintf(ret->name, sizeof(ret->name), "%s", key + root_len);
        ret->size_bytes = entry->size_bytes;
        ret->modified_us = entry->modified_us;
        return 1;
    }
    return r;
}

static int azblob_skip(struct storage_iter *base, const char *name, struct tm_err *err)
{
    struct azblob_iter *it = (struct azblob_iter *)base;
    char key[AZBLOB_KEY_MAX + 1];
    (void)err;
    azblob_key(it->az, name, key);
    if (strcmp(key, it->last) > 0)
        (void)snprintf(it->last, sizeof(it->last), "%s", key);
    return 0;
}

static void azblob_iter_free(struct storage_iter *base)
{
    struct azblob_iter *it = (struct azblob_iter *)base;
    azblob_page_release(&it->inner.page);
    azblob_page_release(&it->outer.page);
    free(it);
}

static const struct storage_iter_ops iter_ops = {
    .next = azblob_next, .skip = azblob_skip, .free = azblob_iter_free};

int azblob_list(struct storage *st, const char *prefix, const char *start_after,
                struct storage_iter **ret, struct tm_err *err)
{
    struct azblob_iter *it = calloc(1, sizeof(*it));
    if (it == NULL)
        return tm_err_oom(err);
    it->base.ops = &iter_ops;
    it->az = azblob_of(st);
    azblob_key(it->az, prefix, it->prefix);
    if (start_after[0] != '\0')
        (void)azblob_skip(&it->base, start_after, err);
    cursor_open(&it->inner, it->prefix, strlen(it->prefix), false);
    *ret = &it->base;
    return 0;
}
