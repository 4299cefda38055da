/*
 * The null engine's log index. Records have a fixed size, so what bytes say follows from where they
 * lie: record n of 256 bytes is a named point when n is a multiple of 4096, else a commit when it is
 * one of 16. Section 256 is the number of records that ended, 8 bytes.
 */
#include "agent/engine/null/log.h"

#include "agent/engine/null/null.h"
#include "proto/format/events.h"

#define POINT_EVERY 4096u
#define SECTION     256

struct engine_log_index {
    uint64_t first; /* of the bytes that were pushed */
    uint64_t taken;
    uint64_t next;
    struct log_point *events;
    size_t cap;
    uint8_t section[8];
};

int null_index_open(struct slice facts, uint64_t from, struct engine_log_index **ret,
                    struct tm_err *err)
{
    (void)facts;
    if (from % NULL_LOG_SEGMENT != 0)
        return tm_err_set(err, TM_E_INVALID, "an index cannot begin at %llu",
                          (unsigned long long)from);
    struct engine_log_index *index = calloc(1, sizeof(*index));
    if (!index)
        return tm_err_oom(err);
    index->first = index->taken = index->next = from;
    *ret = index;
    return 0;
}

int null_index_push(struct engine_log_index *index, struct slice bytes, struct tm_err *err)
{
    (void)err;
    index->next += bytes.len;
    return 0;
}

static void event_of(uint64_t record, struct log_point *ret)
{
    uint64_t at = record * NULL_LOG_RECORD;
    *ret = (struct log_point){.kind = record % POINT_EVERY == 0 ? EVENT_POINT : EVENT_COMMIT,
                              .at = at,
                              .previous = at - NULL_LOG_RECORD,
                              .end = at + NULL_LOG_RECORD,
                              .time_us = NULL_LOG_TIME_US + (int64_t)at};
    if (ret->kind == EVENT_POINT)
        (void)snprintf(ret->name, sizeof(ret->name), "p%llu", (unsigned long long)record);
    else
        ret->xid = record / NULL_LOG_COMMIT_EVERY;
}

int null_index_take(struct engine_log_index *index, struct engine_index_part *ret,
                    struct tm_err *err)
{
    uint64_t from = index->taken / NULL_LOG_RECORD; /* records from … that ended */
    uint64_t to = index->next / NULL_LOG_RECORD;
    size_t room = (size_t)((to - from) / NULL_LOG_COMMIT_EVERY + 1);
    if (room > index->cap) {
        struct log_point *grown = realloc(index->events, room * sizeof(*grown));
        if (!grown)
            return tm_err_oom(err);
        index->events = grown;
        index->cap = room;
    }
    size_t count = 0;
    for (uint64_t n =
             (from + NULL_LOG_COMMIT_EVERY - 1) / NULL_LOG_COMMIT_EVERY * NULL_LOG_COMMIT_EVERY;
         n < to; n += NULL_LOG_COMMIT_EVERY)
        event_of(n, &index->events[count++]);
    be64_put(index->section, to - from);
    *ret = (struct engine_index_part){.events = index->events,
                                      .event_count = count,
                                      .sections = {{SECTION, slice_of(index->section, 8)}},
                                      .section_count = 1};
    if (to * NULL_LOG_RECORD > index->first)
        ret->last_record = (to - 1) * NULL_LOG_RECORD;
    index->taken = index->next;
    return 0;
}

void null_index_close(struct engine_log_index *index)
{
    if (!index)
        return;
    free(index->events);
    free(index);
}

int null_log_last_record(struct slice facts, uint64_t from,
                         int (*read)(void *arg, uint64_t at, struct slice *ret, struct tm_err *),
                         void *arg, uint64_t limit, bool before, uint64_t *ret_record,
                         struct tm_err *err)
{
    (void)facts;
    uint64_t record = limit - limit % NULL_LOG_RECORD;
    if (before && record == limit)
        record -= TM_MIN(record, (uint64_t)NULL_LOG_RECORD);
    uint64_t end = from;
    while (end < record + NULL_LOG_RECORD) {
        struct slice piece = SLICE_EMPTY;
        int r = read(arg, end, &piece, err);
        if (r < 0)
            return r;
        if (piece.len == 0)
            break;
        end += piece.len;
    }
    if (record + NULL_LOG_RECORD > end) /* cut off: the last whole one */
        record = end < NULL_LOG_RECORD ? 0 : (end / NULL_LOG_RECORD - 1) * NULL_LOG_RECORD;
    if (record < from || end < from + NULL_LOG_RECORD)
        return tm_err_set(err, TM_E_NOT_FOUND, "no record begins at or before %llu",
                          (unsigned long long)limit);
    *ret_record = record;
    return 0;
}
