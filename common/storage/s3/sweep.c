/*
 * Aborting uploads that nobody completes any more.
 *
 * Happy path: the uploads under way, page by page; the ones older than the limit are aborted. One
 * that has ended meanwhile is fine. Failures end it; what was aborted stays so.
 */
#include "common/clock.h"
#include "common/parse.h"
#include "common/storage/s3/internal.h"
#include "common/xml.h"

#define MARKER_MAX (3 * S3_KEY_MAX + 1)

struct upload {
    size_t key_at, id_at; /* in page.text; SIZE_MAX = not given */
    int64_t initiated_us; /* INT64_MAX = not given: never old */
};

struct page {
    struct upload uploads[S3_LIST_PAGE];
    size_t count;
    struct upload reading;
    struct buf text;
    bool truncated, encoded;
    char next_key[MARKER_MAX], next_id[S3_UPLOAD_ID_MAX + 1];
};

int s3_abort_upload(struct s3 *s3, const char *key, const char *upload_id, unsigned attempts,
                    struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, s3, "DELETE", key);
    c.call.wanted[0] = 404;
    c.call.attempts_max = attempts;
    int r = s3_call_query(&c, "uploadId", upload_id, err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    s3_call_release(&c);
    return r;
}

static int take_text(struct page *page, const char *text, size_t *ret_at, struct tm_err *err)
{
    *ret_at = page->text.len;
    return buf_append(&page->text, text, strlen(text) + 1, err);
}

static int take_upload(struct page *page, struct tm_err *err)
{
    if (page->reading.key_at == SIZE_MAX || page->reading.id_at == SIZE_MAX)
        return tm_err_set(err, TM_E_CORRUPT, "a listed upload has no key or no id");
    if (page->count == S3_LIST_PAGE)
        return tm_err_set(err, TM_E_CORRUPT, "more than %d uploads in one page", S3_LIST_PAGE);
    page->uploads[page->count++] = page->reading;
    page->reading = (struct upload){SIZE_MAX, SIZE_MAX, INT64_MAX};
    return 0;
}

static int on_uploads_end(const char *path, const char *text, void *arg, struct tm_err *err)
{
    struct page *page = arg;
    static const char root[] = "ListMultipartUploadsResult";
    if (strncmp(path, root, sizeof(root) - 1) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "the answer is a '%.60s', not a list", path);
    const char *rest = path + sizeof(root) - 1;
    if (strcmp(rest, "/Upload/Key") == 0)
        return take_text(page, text, &page->reading.key_at, err);
    if (strcmp(rest, "/Upload/UploadId") == 0)
        return take_text(page, text, &page->reading.id_at, err);
    if (strcmp(rest, "/Upload/Initiated") == 0)
        return clock_parse(text, &page->reading.initiated_us, err);
    if (strcmp(rest, "/Upload") == 0)
        return take_upload(page, err);
    if (strcmp(rest, "/IsTruncated") == 0)
        return parse_bool(text, &page->truncated, err);
    if (strcmp(rest, "/EncodingType") == 0)
        page->encoded = strcmp(text, "url") == 0;
    else if (strcmp(rest, "/NextKeyMarker") == 0)
        (void)snprintf(page->next_key, sizeof(page->next_key), "%s", text);
    else if (strcmp(rest, "/NextUploadIdMarker") == 0)
        (void)snprintf(page->next_id, sizeof(page->next_id), "%s", text);
    return 0;
}

/* The page behind the markers in *page, into *page. */
static int fetch(struct s3 *s3, const char *prefix, struct page *page, struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, s3, "GET", "");
    c.answer = S3_ANSWER_LIST;
    int r = s3_call_query(&c, "encoding-type", "url", err);
    if (r == 0 && page->next_key[0] != '\0')
        r = s3_call_query(&c, "key-marker", page->next_key, err);
    if (r == 0)
        r = s3_call_query(&c, "max-uploads", "1000", err);
    if (r == 0)
        r = s3_call_query(&c, "prefix", prefix, err);
    if (r == 0 && page->next_id[0] != '\0')
        r = s3_call_query(&c, "upload-id-marker", page->next_id, err);
    if (r == 0)
        r = s3_call_query(&c, "uploads", "", err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    page->count = 0;
    page->text.len = 0;
    page->truncated = page->encoded = false;
    page->next_key[0] = page->next_id[0] = '\0';
    page->reading = (struct upload){SIZE_MAX, SIZE_MAX, INT64_MAX};
    if (r == 0 && xml_read(buf_slice(&c.call.x.answer), on_uploads_end, page, err) < 0) {
        err->code = err->code == TM_E_NO_MEMORY ? err->code : TM_E_CORRUPT;
        r = tm_err_prefix(err, "%s", s3->store.place);
    }
    s3_call_release(&c);
    if (r == 0 && page->encoded && !s3_decode(page->next_key))
        r = tm_err_set(err, TM_E_CORRUPT, "%s: a key is not encoded rightly", s3->store.place);
    return r;
}

static int sweep_page(struct s3 *s3, const char *prefix, int64_t older_than_us, struct page *page,
                      uint64_t *count, struct tm_err *err)
{
    for (size_t n = 0; n < page->count; n++) {
        char *key = (char *)page->text.data + page->uploads[n].key_at;
        const char *id = (const char *)page->text.data + page->uploads[n].id_at;
        if (page->encoded && !s3_decode(key))
            return tm_err_set(err, TM_E_CORRUPT, "%s: a key is not encoded rightly",
                              s3->store.place);
        /* a store that does not filter must not make us abort what belongs to others */
        if (strncmp(key, prefix, strlen(prefix)) != 0 ||
            page->uploads[n].initiated_us >= older_than_us)
            continue;
        int r = s3_abort_upload(s3, key, id, 0, err);
        if (r < 0)
            return r;
        (*count)++;
    }
    return 0;
}

int s3_sweep(struct storage *st, const char *prefix, int64_t older_than_us, uint64_t *ret_count,
             struct tm_err *err)
{
    struct s3 *s3 = s3_of(st);
    char key_prefix[S3_KEY_MAX + STORAGE_NAME_MAX + 1];
    s3_key(s3, prefix, key_prefix, sizeof(key_prefix));
    struct page *page = calloc(1, sizeof(*page));
    if (page == NULL)
        return tm_err_oom(err);
    uint64_t count = 0;
    char before[MARKER_MAX + S3_UPLOAD_ID_MAX + 2] = "";
    int r;
    do {
        r = fetch(s3, key_prefix, page, err);
        if (r == 0)
            r = sweep_page(s3, key_prefix, older_than_us, page, &count, err);
        char now[sizeof(before)];
        (void)snprintf(now, sizeof(now), "%s %s", page->next_key, page->next_id);
        if (r == 0 && page->truncated && strcmp(now, before) == 0)
            r = tm_err_set(err, TM_E_CORRUPT, "%s: the list of uploads does not go on",
                           s3->store.place);
        (void)snprintf(before, sizeof(before), "%s", now);
    } while (r == 0 && page->truncated);
    buf_release(&page->text);
    free(page);
    if (r < 0)
        return tm_err_prefix(err, "cannot abort unfinished uploads");
    *ret_count = count;
    return 0;
}
