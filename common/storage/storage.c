/*
 * The front of all storage drivers: opening by URL, checking names, and the small conveniences. A
 * driver sees validated names only. Failure modes are the drivers'; what is added here is that a
 * writer misused after commit is a programmer's error.
 */
#include "common/storage/storage.h"

#include <assert.h>

#include "common/storage/driver.h"
#include "common/storage/url.h"

int storage_open(const char *url, const struct storage_options *options, struct storage **ret,
                 struct tm_err *err)
{
    struct storage_url parsed;
    int r = storage_url_parse(url, &parsed, err);
    if (r < 0)
        return r;
    struct storage_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    if (strcmp(parsed.scheme, "file") == 0)
        return posix_open(&parsed, options, ret, err);
    if (strcmp(parsed.scheme, "ram") == 0)
        return ram_open_url(&parsed, ret, err);
    if (strcmp(parsed.scheme, "s3") == 0)
        return s3_open(&parsed, options, ret, err);
    if (strcmp(parsed.scheme, "azblob") == 0)
        return azblob_open(&parsed, options, ret, err);
    return tm_err_set(
        err, TM_E_UNSUPPORTED,
        "no storage driver for '%s://': there are file://, s3://, azblob:// and ram://",
        parsed.scheme);
}

void storage_free(struct storage *st)
{
    if (st != NULL)
        st->ops->free(st);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '=' || c == '+' || c == '-';
}

bool storage_name_valid(const char *name)
{
    size_t segment = 0;
    size_t at;
    for (at = 0;; at++) {
        if (at > STORAGE_NAME_MAX)
            return false;
        if (name[at] == '/' || name[at] == '\0') {
            const char *start = name + at - segment;
            /* a leading '.' would also be a driver's temporary name */
            if (segment == 0 || start[0] == '.')
                return false;
            segment = 0;
            if (name[at] == '\0')
                return true;
        } else if (!name_char(name[at])) {
            return false;
        } else {
            segment++;
        }
    }
}

static int check_name(const char *name, struct tm_err *err)
{
    if (!storage_name_valid(name))
        return tm_err_set(err, TM_E_INVALID, STORAGE_ERROR_NAME, name);
    return 0;
}

/* A prefix may end anywhere inside a name. */
static int check_prefix(const char *prefix, struct tm_err *err)
{
    size_t len = strnlen(prefix, STORAGE_NAME_MAX + 1);
    bool good = len <= STORAGE_NAME_MAX;
    for (size_t at = 0; good && at < len; at++) {
        bool first = at == 0 || prefix[at - 1] == '/';
        good = prefix[at] == '/' ? !first : name_char(prefix[at]) && !(first && prefix[at] == '.');
    }
    if (!good)
        return tm_err_set(err, TM_E_INVALID, STORAGE_ERROR_NAME, prefix);
    return 0;
}

int storage_create(struct storage *st, const char *name, struct storage_writer **ret,
                   struct tm_err *err)
{
    int r = check_name(name, err);
    if (r < 0)
        return r;
    struct storage_writer *w;
    r = st->ops->create(st, name, &w, err);
    if (r < 0)
        return r;
    w->done = false;
    w->sealed = false;
    w->settled = false;
    *ret = w;
    return 0;
}

int storage_writer_write(struct storage_writer *w, const void *data, size_t len, struct tm_err *err)
{
    assert(!w->done && !w->sealed);
    return len == 0 ? 0 : w->ops->write(w, data, len, err);
}

int storage_writer_seal(struct storage_writer *w, struct tm_err *err)
{
    assert(!w->done && !w->sealed);
    w->sealed = true;
    return w->ops->seal != NULL ? w->ops->seal(w, err) : 0;
}

int storage_writer_commit(struct storage_writer *w, struct tm_err *err)
{
    assert(!w->done);
    w->done = true;
    return w->ops->commit(w, err);
}

void storage_writer_free(struct storage_writer *w)
{
    if (w != NULL)
        w->ops->free(w);
}

/* No object is that long, and there are stores that answer with all of it to such a range. */
static int check_range(const char *name, uint64_t offset, size_t len, struct tm_err *err)
{
    if (offset > INT64_MAX - len)
        return tm_err_set(err, TM_E_CORRUPT, STORAGE_ERROR_SHORT, name, len,
                          (unsigned long long)offset);
    return 0;
}

int storage_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                 struct tm_err *err)
{
    int r = check_name(name, err);
    if (r < 0 || len == 0)
        return r;
    r = check_range(name, offset, len, err);
    return r < 0 ? r : st->ops->read(st, name, offset, dst, len, err);
}

bool storage_can_fetch(const struct storage *st)
{
    return st->ops->fetch != NULL;
}

int storage_fetch(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                  struct storage_fetch **ret, struct tm_err *err)
{
    assert(storage_can_fetch(st) && len > 0);
    int r = check_name(name, err);
    if (r == 0)
        r = check_range(name, offset, len, err);
    return r < 0 ? r : st->ops->fetch(st, name, offset, dst, len, ret, err);
}

int storage_fetch_wait(struct storage_fetch *f, uint64_t *ret_object_bytes, struct tm_err *err)
{
    return f->ops->wait(f, ret_object_bytes, err);
}

void storage_fetch_free(struct storage_fetch *f)
{
    if (f != NULL)
        f->ops->free(f);
}

int storage_stat(struct storage *st, const char *name, struct storage_object *ret,
                 struct tm_err *err)
{
    int r = check_name(name, err);
    return r < 0 ? r : st->ops->stat(st, name, ret, err);
}

int storage_list(struct storage *st, const char *prefix, const char *start_after,
                 struct storage_iter **ret, struct tm_err *err)
{
    int r = check_prefix(prefix, err);
    if (r < 0)
        return r;
    if (start_after != NULL && strnlen(start_after, STORAGE_NAME_MAX + 1) > STORAGE_NAME_MAX)
        return tm_err_set(err, TM_E_INVALID, STORAGE_ERROR_NAME, start_after);
    return st->ops->list(st, prefix, start_after != NULL ? start_after : "", ret, err);
}

int storage_iter_next(struct storage_iter *it, struct storage_object *ret, struct tm_err *err)
{
    return it->ops->next(it, ret, err);
}

int storage_iter_skip(struct storage_iter *it, const char *name, struct tm_err *err)
{
    if (strnlen(name, STORAGE_NAME_MAX + 1) > STORAGE_NAME_MAX)
        return tm_err_set(err, TM_E_INVALID, STORAGE_ERROR_NAME, name);
    return it->ops->skip(it, name, err);
}

void storage_iter_free(struct storage_iter *it)
{
    if (it != NULL)
        it->ops->free(it);
}

int storage_remove(struct storage *st, const char *const *names, size_t count, struct tm_err *err)
{
    for (size_t i = 0; i < count; i++) {
        int r = check_name(names[i], err);
        if (r < 0)
            return r;
    }
    return count == 0 ? 0 : st->ops->remove(st, names, count, err);
}

int storage_discard(struct storage *st, const char *name, struct tm_err *err)
{
    int r = check_name(name, err);
    if (r < 0)
        return r;
    r = st->ops->discard != NULL ? st->ops->discard(st, name, err)
                                 : st->ops->remove(st, &name, 1, err);
    return r == -TM_E_REFUSED ? 0 : r;
}

int storage_now(struct storage *st, int64_t *ret_us, struct tm_err *err)
{
    return st->ops->now(st, ret_us, err);
}

int storage_sweep_leftovers(struct storage *st, const char *prefix, int64_t older_than_us,
                            uint64_t *ret_count, struct tm_err *err)
{
    int r = check_prefix(prefix, err);
    if (r < 0)
        return r;
    if (st->ops->sweep_leftovers == NULL) {
        *ret_count = 0;
        return 0;
    }
    return st->ops->sweep_leftovers(st, prefix, older_than_us, ret_count, err);
}

int storage_free_space(struct storage *st, uint64_t *ret_bytes, struct tm_err *err)
{
    if (st->ops->free_space == NULL) {
        *ret_bytes = UINT64_MAX;
        return 0;
    }
    return st->ops->free_space(st, ret_bytes, err);
}

void storage_stats(struct storage *st, struct storage_stats *ret)
{
    *ret = (struct storage_stats){.requests = 0};
    if (st->ops->stats != NULL)
        st->ops->stats(st, ret);
}

int storage_put(struct storage *st, const char *name, struct slice data, struct tm_err *err)
{
    TM_CLEANUP(storage_writer_freep) struct storage_writer *w = NULL;
    int r = storage_create(st, name, &w, err);
    if (r == 0)
        r = storage_writer_write(w, data.data, data.len, err);
    if (r == 0)
        r = storage_writer_commit(w, err);
    return r;
}

int storage_get(struct storage *st, const char *name, size_t max_bytes, struct buf *ret,
                struct tm_err *err)
{
    struct storage_object info;
    int r = storage_stat(st, name, &info, err);
    if (r < 0)
        return r;
    if (info.size_bytes > max_bytes)
        return tm_err_set(err, TM_E_LIMIT,
                          "'%s' has %llu bytes, more than the %zu expected at most", name,
                          (unsigned long long)info.size_bytes, max_bytes);
    r = buf_reserve(ret, (size_t)info.size_bytes, err);
    if (r == 0)
        r = storage_read(st, name, 0, ret->data + ret->len, (size_t)info.size_bytes, err);
    if (r == 0)
        ret->len += (size_t)info.size_bytes;
    return r;
}
