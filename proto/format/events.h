#ifndef TM_PROTO_FORMAT_EVENTS_H
#define TM_PROTO_FORMAT_EVENTS_H
/*
 * Events of a log: the transactions and named points that a chunk's bytes hold, so that a time, a
 * transaction or a name is found without reading the log again. Section EVENTS of a chunk.
 *
 * An event belongs to the chunk in which its record ends. Events are in log order. `time_us` is
 * not: commit times run backwards now and then.
 *
 * Encoding: the count, then for each an array [kind, at, previous, end, time, xid, name], where
 * `at`, `time` and `xid` are differences to the event before (0 before the first), `previous` is
 * at - previous and `end` is end - at, and trailing zero or empty members are left out after xid.
 *
 *     events_writer_add* → events_writer_section          events_reader_init → events_reader_next*
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define EVENT_NAME_MAX 64
#define EVENTS_MAX     1000000u /* in one chunk */

enum event_kind {
    EVENT_COMMIT = 1,
    EVENT_ABORT = 2,
    EVENT_PREPARE = 3, /* of a two-phase transaction: name is its global identifier, cut */
    EVENT_POINT = 4,   /* named by an operator (PostgreSQL: a restore point) */
};

/* "commit", "abort", "prepare", "point"; "unknown" for a number that is none. */
const char *event_kind_text(unsigned kind);

struct log_point {
    enum event_kind kind;
    uint64_t at;       /* start of the record */
    uint64_t previous; /* start of the record before: the last one wanted by who wants less */
    uint64_t end;      /* where the next record may start */
    int64_t time_us;
    uint64_t xid; /* 64 bits, 0 = none */
    char name[EVENT_NAME_MAX];
};

struct events_writer {
    struct buf items;
    struct log_point last;
    uint32_t count;
    int64_t min_us; /* of commits and aborts; 0 = there was none */
    int64_t max_us;
};
#define EVENTS_WRITER_INIT ((struct events_writer){.count = 0})

int events_writer_add(struct events_writer *w, const struct log_point *event,
                      struct tm_err *err) TM_WUR;
/* The whole section's bytes, appended to *out. */
int events_writer_section(const struct events_writer *w, struct buf *out,
                          struct tm_err *err) TM_WUR;
void events_writer_clear(struct events_writer *w); /* ready for the next chunk */
void events_writer_release(struct events_writer *w);

struct events_reader {
    struct slice rest;
    struct log_point last;
    uint32_t left;
};
/* `section` must outlive the reader. Anything malformed is TM_E_CORRUPT. */
int events_reader_init(struct events_reader *r, struct slice section, struct tm_err *err) TM_WUR;
/* 1 = *ret filled, 0 = end (and nothing follows). */
int events_reader_next(struct events_reader *r, struct log_point *ret, struct tm_err *err) TM_WUR;

#endif
