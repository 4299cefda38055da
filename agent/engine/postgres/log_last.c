/*
 * Where the last record before a place begins.
 *
 * Happy path: the log is read from the start of a segment on, until no more record can begin within
 * the limit, or the log ends; what began last before that is the answer. Log behind it is not asked
 * for: it may be lost, and is not needed.
 *
 * Failure modes: log that is not whole (CORRUPT); no record at all (NOT_FOUND).
 */
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"

struct search {
    uint64_t limit;
    bool before;
    uint64_t found; /* 0 = none */
    bool passed;
};

static bool begins_by_limit(const struct search *s, uint64_t lsn)
{
    return lsn < s->limit || (!s->before && lsn == s->limit);
}

static int look(void *arg, const struct wal_record *record, struct tm_err *err)
{
    struct search *s = arg;
    bool wanted = begins_by_limit(s, record->lsn);
    if (wanted)
        s->found = record->lsn;
    s->passed = !wanted || !begins_by_limit(s, record->end_lsn);
    /* ends the push: not an error */
    return s->passed ? tm_err_set(err, TM_E_CANCELED, "far enough") : 0;
}

static int read_on(struct wal_reader *reader, uint64_t at,
                   int (*read)(void *arg, uint64_t at, struct slice *ret, struct tm_err *err),
                   void *arg, struct search *search, struct tm_err *err)
{
    while (!search->passed) {
        struct slice bytes = SLICE_EMPTY;
        int r = read(arg, at, &bytes, err);
        if (r < 0)
            return r;
        if (bytes.len == 0)
            return 0;
        r = wal_reader_push(reader, bytes, err);
        if (r < 0 && !search->passed)
            return r;
        at += bytes.len;
    }
    return 0;
}

int pg_log_last_record(struct slice blob, uint64_t from,
                       int (*read)(void *arg, uint64_t at, struct slice *ret, struct tm_err *err),
                       void *arg, uint64_t limit, bool before, uint64_t *ret_record,
                       struct tm_err *err)
{
    struct search search = {.limit = limit, .before = before};
    struct pg_log_facts facts;
    char text[PG_LSN_TEXT_MAX];
    TM_CLEANUP(wal_reader_freep) struct wal_reader *reader = NULL;
    int r = pg_log_facts_decode(blob, &facts, err);
    if (r < 0)
        return r;
    const struct wal_reader_config config = {
        .major = facts.version_num / 10000,
        .from = from,
        .segment_bytes = facts.wal_segment_bytes,
        .system_identifier = facts.system_id,
        .record = look,
        .arg = &search,
    };
    r = wal_reader_new(&config, &reader, err);
    if (r == 0)
        r = read_on(reader, from, read, arg, &search, err);
    if (r < 0)
        return r;
    if (search.found == 0)
        return tm_err_set(err, TM_E_NOT_FOUND, "no record begins %s %s in the log from there on",
                          before ? "before" : "at or before", pg_lsn_format(limit, text));
    *ret_record = search.found;
    return 0;
}
