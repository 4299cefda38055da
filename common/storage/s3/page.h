#ifndef TM_COMMON_STORAGE_S3_PAGE_H
#define TM_COMMON_STORAGE_S3_PAGE_H
/*
 * One page of a list, read from an answer that nobody vouches for. Pure.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/storage/s3/s3.h"

#define S3_TOKEN_MAX 2047

struct s3_page_entry {
    size_t key_at; /* in keys */
    uint64_t size_bytes;
    int64_t modified_us;
};

struct s3_page {
    struct s3_page_entry entries[S3_LIST_PAGE];
    size_t count;
    struct buf keys;              /* each with its NUL */
    bool truncated;               /* there is more: */
    char token[S3_TOKEN_MAX + 1]; /* how to get it (continuation token, or marker), "" = nothing */
    /* while reading */
    bool encoded, key_read;
    struct s3_page_entry reading;
};

/* What was in *page is gone, also on failure. Keys start with `prefix` and ascend, the first is
 * greater than `last`; `marker`: of the first version of lists. All failures but memory are
 * TM_E_CORRUPT. */
int s3_page_read(struct s3_page *page, struct slice answer, bool marker, const char *prefix,
                 const char *last, struct tm_err *err) TM_WUR;
void s3_page_release(struct s3_page *page);

static inline const char *s3_page_key(const struct s3_page *page, size_t index)
{
    return (const char *)page->keys.data + page->entries[index].key_at;
}

#endif
