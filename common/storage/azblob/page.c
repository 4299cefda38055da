/*
 * One page of a list: asked for, read, kept in two pieces of memory that the next page reuses.
 *
 * Failures: an answer that is no list, or whose names do not ascend byte by byte: stores with a
 * hierarchical namespace sort otherwise when a directory and a file begin alike, and a reader of
 * names in order would pass over some.
 */
#include <curl/curl.h>

#include "common/array.h"
#include "common/clock.h"
#include "common/parse.h"
#include "common/storage/azblob/internal.h"
#include "common/xml.h"

#define LIST   "EnumerationResults/"
#define BLOB   LIST "Blobs/Blob/"
#define PREFIX LIST "Blobs/BlobPrefix/"

void azblob_page_release(struct azblob_page *page)
{
    buf_release(&page->names);
    buf_release(&page->marker);
    free(page->entries);
    *page = AZBLOB_PAGE_INIT;
}

struct reader {
    struct azblob_page *page;
    struct azblob_entry entry; /* the one that is read */
    bool by_directory;
    bool named, sized, is_directory, is_list;
};

static int take_name(struct reader *r, const char *text, struct tm_err *err)
{
    r->entry.name_at = (uint32_t)r->page->names.len;
    r->named = true;
    return buf_append(&r->page->names, text, strlen(text) + 1, err);
}

static int take_entry(struct reader *r, bool is_prefix, struct tm_err *err)
{
    struct azblob_page *page = r->page;
    struct azblob_entry entry = r->entry;
    bool good = r->named && (is_prefix || r->sized);
    bool wanted = is_prefix || !r->is_directory;
    r->entry = (struct azblob_entry){.is_prefix = false};
    r->named = r->sized = r->is_directory = false;
    if (!good)
        return tm_err_set(err, TM_E_CORRUPT, "an entry without name, size or time");
    if (!wanted)
        return 0;
    entry.is_prefix = is_prefix;
    const char *name = (const char *)page->names.data + entry.name_at;
    if (!r->by_directory && page->count > 0 &&
        strcmp(azblob_page_name(page, page->count - 1), name) >= 0)
        return tm_err_set(
            err, TM_E_UNSUPPORTED,
            "the store does not list in order of names: is it one with a hierarchical "
            "namespace?");
    if (ARRAY_ROOM(page->entries, page->count, page->cap, 256, err) < 0)
        return -(int)err->code;
    page->entries[page->count++] = entry;
    return 0;
}

static int take_marker(struct reader *r, const char *text, struct tm_err *err)
{
    r->page->marker.len = 0;
    return text[0] != '\0' ? buf_append(&r->page->marker, text, strlen(text) + 1, err) : 0;
}

static int on_end(const char *path, const char *text, void *arg, struct tm_err *err)
{
    struct reader *r = arg;
    struct tm_err ignored;
    if (strcmp(path, BLOB "Name") == 0 || strcmp(path, PREFIX "Name") == 0)
        return take_name(r, text, err);
    if (strcmp(path, BLOB "Properties/Content-Length") == 0) {
        r->sized = parse_u64(text, &r->entry.size_bytes, &ignored) == 0;
    } else if (strcmp(path, BLOB "Properties/Last-Modified") == 0) {
        time_t seconds = curl_getdate(text, NULL);
        r->entry.modified_us = seconds > 0 ? (int64_t)seconds * USEC_PER_SEC : 0;
    } else if (strcmp(path, BLOB "Properties/ResourceType") == 0) {
        r->is_directory = strcmp(text, "directory") == 0;
    } else if (strcmp(path, LIST "Blobs/Blob") == 0) {
        return take_entry(r, false, err);
    } else if (strcmp(path, LIST "Blobs/BlobPrefix") == 0) {
        return take_entry(r, true, err);
    } else if (strcmp(path, LIST "NextMarker") == 0) {
        return take_marker(r, text, err);
    } else if (strcmp(path, "EnumerationResults") == 0) {
        r->is_list = true;
    }
    return 0;
}

static int build(struct azblob_call *c, const char *prefix, bool by_directory,
                 const struct azblob_page *page, struct tm_err *err)
{
    char count[16];
    (void)snprintf(count, sizeof(count), "%d", AZBLOB_LIST_PAGE);
    int r = azblob_call_query(c, "restype", "container", err);
    if (r == 0)
        r = azblob_call_query(c, "comp", "list", err);
    if (r == 0)
        r = azblob_call_query(c, "maxresults", count, err);
    if (r == 0 && prefix[0] != '\0')
        r = azblob_call_query(c, "prefix", prefix, err);
    if (r == 0 && by_directory)
        r = azblob_call_query(c, "delimiter", "/", err);
    if (r == 0 && page->marker.len > 0)
        r = azblob_call_query(c, "marker", (const char *)page->marker.data, err);
    return r;
}

/* Blobs and directories may come as two lists. */
static int by_name(const void *a, const void *b, void *names)
{
    return strcmp((const char *)names + ((const struct azblob_entry *)a)->name_at,
                  (const char *)names + ((const struct azblob_entry *)b)->name_at);
}

int azblob_page_next(struct azblob *az, const char *prefix, bool by_directory,
                     struct azblob_page *page, struct tm_err *err)
{
    struct azblob_call c;
    azblob_call_init(&c, az, "GET", "");
    int r = build(&c, prefix, by_directory, page, err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    if (r == 0) {
        page->names.len = page->marker.len = page->count = 0;
        struct reader reader = {.page = page, .by_directory = by_directory};
        r = xml_read(buf_slice(&c.call.x.answer), on_end, &reader, err);
        if (r == 0 && !reader.is_list)
            r = tm_err_set(err, TM_E_CORRUPT, "no EnumerationResults");
        if (r == -TM_E_CORRUPT) /* what is stored is not meant */
            r = tm_err_retry(err, TM_E_UNAVAILABLE, "%s: the answer is no list of blobs",
                             az->store.place);
        else if (r < 0)
            (void)tm_err_prefix(err, "%s", az->store.place);
        else if (by_directory)
            qsort_r(page->entries, page->count, sizeof(page->entries[0]), by_name,
                    page->names.data);
    }
    azblob_call_release(&c);
    return r;
}
