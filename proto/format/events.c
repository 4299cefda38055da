/*
 * Events in a chunk's footer: differences to the event before, so that thousands of commits take a
 * few bytes each; differences of times and xids are taken modulo 2^64, so any value has one.
 * Failure modes: a section that is cut off, counts wrong, runs backwards in the log or carries
 * something behind its end is TM_E_CORRUPT.
 */
#include "proto/format/events.h"

#include <assert.h>

#include "proto/format/pack.h"

#define MEMBERS_SHORT 6 /* kind, at, previous, end, time, xid */
#define MEMBERS_NAMED 7

const char *event_kind_text(unsigned kind)
{
    switch (kind) {
    case EVENT_COMMIT:
        return "commit";
    case EVENT_ABORT:
        return "abort";
    case EVENT_PREPARE:
        return "prepare";
    case EVENT_POINT:
        return "point";
    default:
        return "unknown";
    }
}

int events_writer_add(struct events_writer *w, const struct log_point *event, struct tm_err *err)
{
    assert(event->at >= w->last.at && event->previous <= event->at && event->end >= event->at);
    if (w->count == EVENTS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %u events in one chunk", EVENTS_MAX);
    bool named = event->name[0] != '\0';
    int r = pack_array(&w->items, named ? MEMBERS_NAMED : MEMBERS_SHORT, err);
    if (r == 0)
        r = pack_uint(&w->items, event->kind, err);
    if (r == 0)
        r = pack_uint(&w->items, event->at - w->last.at, err);
    if (r == 0)
        r = pack_uint(&w->items, event->at - event->previous, err);
    if (r == 0)
        r = pack_uint(&w->items, event->end - event->at, err);
    if (r == 0)
        r = pack_int(&w->items, (int64_t)((uint64_t)event->time_us - (uint64_t)w->last.time_us),
                     err);
    if (r == 0)
        r = pack_int(&w->items, (int64_t)(event->xid - w->last.xid), err);
    if (r == 0 && named)
        r = pack_str(&w->items, event->name, err);
    if (r < 0)
        return r;
    if (event->kind == EVENT_COMMIT || event->kind == EVENT_ABORT) {
        w->min_us = w->max_us == 0 ? event->time_us : TM_MIN(w->min_us, event->time_us);
        w->max_us = w->max_us == 0 ? event->time_us : TM_MAX(w->max_us, event->time_us);
    }
    w->last = *event;
    w->count++;
    return 0;
}

int events_writer_section(const struct events_writer *w, struct buf *out, struct tm_err *err)
{
    int r = pack_uint(out, w->count, err);
    return r < 0 ? r : buf_append_slice(out, buf_slice(&w->items), err);
}

void events_writer_clear(struct events_writer *w)
{
    buf_reset(&w->items);
    w->last = (struct log_point){.at = 0};
    w->count = 0;
    w->min_us = 0;
    w->max_us = 0;
}

void events_writer_release(struct events_writer *w)
{
    buf_release(&w->items);
    *w = EVENTS_WRITER_INIT;
}

int events_reader_init(struct events_reader *r, struct slice section, struct tm_err *err)
{
    uint64_t count;
    *r = (struct events_reader){.rest = section};
    int rc = unpack_uint(&r->rest, "events", EVENTS_MAX, &count, err);
    if (rc == 0)
        r->left = (uint32_t)count;
    return rc;
}

static int unpack_event(struct events_reader *r, struct log_point *ret, struct tm_err *err)
{
    uint32_t members = 0;
    uint64_t kind = 0, step = 0, back = 0, length = 0;
    int64_t time = 0, xid = 0;
    int rc = unpack_array(&r->rest, "event", &members, err);
    if (rc == 0 && (members < MEMBERS_SHORT || members > MEMBERS_NAMED))
        return tm_err_set(err, TM_E_CORRUPT, "event: %u members", members);
    if (rc == 0)
        rc = unpack_uint(&r->rest, "event kind", EVENT_POINT, &kind, err);
    if (rc == 0)
        rc = unpack_uint(&r->rest, "event place", UINT64_MAX - r->last.at, &step, err);
    if (rc == 0)
        rc = unpack_uint(&r->rest, "event before", r->last.at + step, &back, err);
    if (rc == 0)
        rc = unpack_uint(&r->rest, "event end", UINT64_MAX - r->last.at - step, &length, err);
    if (rc == 0)
        rc = unpack_int(&r->rest, "event time", &time, err);
    if (rc == 0)
        rc = unpack_int(&r->rest, "event xid", &xid, err);
    if (rc < 0)
        return rc;
    if (kind == 0)
        return tm_err_set(err, TM_E_CORRUPT, "event kind: 0 is none");
    *ret = (struct log_point){.kind = (enum event_kind)kind,
                              .at = r->last.at + step,
                              .previous = r->last.at + step - back,
                              .end = r->last.at + step + length,
                              .time_us = (int64_t)((uint64_t)r->last.time_us + (uint64_t)time),
                              .xid = r->last.xid + (uint64_t)xid};
    return members == MEMBERS_NAMED
               ? unpack_str(&r->rest, "event name", ret->name, sizeof(ret->name), err)
               : 0;
}

int events_reader_next(struct events_reader *r, struct log_point *ret, struct tm_err *err)
{
    struct log_point event;
    if (r->left == 0) {
        if (r->rest.len > 0)
            return tm_err_set(err, TM_E_CORRUPT, "events: bytes behind the last one");
        return 0;
    }
    int rc = unpack_event(r, &event, err);
    if (rc < 0)
        return rc;
    r->last = event;
    r->left--;
    *ret = event;
    return 1;
}
