/*
 * How a reader gets stored bytes: through two windows, stretches of the object that are here or on
 * their way.
 *
 * Happy path: a reader that goes from frame to frame through an object of a store that is far away
 * finds its frame in one window, while the frames behind are fetched into the other; when it leaves
 * the first, that is filled anew. A reader that jumps gets just the frame it asked for, and what was on
 * its way is given up. Where a store is near, windows hold what was asked for and nothing is fetched
 * ahead.
 *
 * Failure modes: the storage's; a window whose fetch failed is empty, and the frame may be asked for
 * again.
 */
#include "proto/format/object_internal.h"

void object_window_drop(struct object_window *w)
{
    storage_fetch_free(w->fetch);
    w->fetch = NULL;
    w->len = 0;
}

int object_window_begin(struct object_window *w, struct storage *st, const char *name,
                        uint64_t offset, size_t len, struct tm_err *err)
{
    object_window_drop(w);
    int r = buf_reserve(&w->data, len, err);
    if (r < 0)
        return r;
    w->object_bytes = UINT64_MAX;
    r = storage_can_fetch(st) ? storage_fetch(st, name, offset, w->data.data, len, &w->fetch, err)
                              : storage_read(st, name, offset, w->data.data, len, err);
    if (r < 0)
        return r;
    w->offset = offset;
    w->len = len;
    return 0;
}

int object_window_wait(struct object_window *w, struct tm_err *err)
{
    if (w->fetch == NULL)
        return 0;
    int r = storage_fetch_wait(w->fetch, &w->object_bytes, err);
    storage_fetch_free(w->fetch);
    w->fetch = NULL;
    if (r < 0)
        w->len = 0;
    return r;
}

static bool covers(const struct object_window *w, uint64_t offset, size_t len)
{
    return w->len > 0 && offset >= w->offset && len <= w->len && offset - w->offset <= w->len - len;
}

/* Frames from `from`, which is stored at `offset`, into a window: one, or as many as it takes. */
static int begin_frames(struct object_reader *r, struct object_window *w, uint32_t from,
                        uint64_t offset, bool many, struct tm_err *err)
{
    uint32_t next = from;
    size_t len = 0;
    do {
        size_t stored = (size_t)object_entry_stored(r->table + (size_t)next * OBJECT_FRAME_ENTRY);
        if (len > 0 && len + stored > OBJECT_WINDOW_BYTES)
            break;
        len += stored;
        next++;
    } while (many && next < r->info.frame_count);
    int code = object_window_begin(w, r->st, r->name, offset, len, err);
    if (code == 0) {
        r->asked = next;
        r->asked_offset = offset + len;
    }
    return code;
}

/* What is behind all that was asked for is asked for, when the window is not needed for anything
 * before it. Ahead of need: its failure is told when it is waited for, or not at all. */
static void read_ahead(struct object_reader *r, struct object_window *w)
{
    struct tm_err ignored;
    bool used = w->fetch != NULL || (w->len > 0 && w->offset >= r->frame_offset);
    if (!used && r->asked < r->info.frame_count)
        (void)!begin_frames(r, w, r->asked, r->asked_offset, true, &ignored);
}

int object_window_frame(struct object_reader *r, size_t len, uint8_t **ret, struct tm_err *err)
{
    struct object_window *windows = r->scratch->windows;
    bool ahead = r->frame == r->next_frame && storage_can_fetch(r->st);
    size_t at = covers(&windows[0], r->frame_offset, len) ? 0 : 1;
    struct object_window *w = &windows[at];
    struct object_window *other = &windows[1 - at];
    int code = 0;
    if (!covers(w, r->frame_offset, len)) {
        object_window_drop(other);
        code = begin_frames(r, w, r->frame, r->frame_offset, ahead, err);
    }
    if (code == 0 && ahead && r->asked > r->frame)
        read_ahead(r, other);
    if (code == 0)
        code = object_window_wait(w, err);
    if (code < 0)
        return code;
    r->next_frame = r->frame + 1;
    *ret = w->data.data + (r->frame_offset - w->offset);
    return 0;
}
