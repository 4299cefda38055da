/*
 * Prints what the log reader and the index find in log files, to be compared with pg_waldump and
 * with what a server says. Run by tests/integration/wal_index_test.sh; without arguments there is
 * nothing to do.
 *
 *   wal_dump_test records MAJOR SEGMENT_BYTES FROM_LSN NEXT_XID CHUNK_BYTES FILE…
 *   wal_dump_test index   …        the files in order, the first begins at FROM_LSN
 *   wal_dump_test speed   …        only how many MB/s the index takes
 *
 * records:  record LSN PREV LENGTH XID RMID BLOCKS, then for each block TS/DB/REL:FORK:BLOCK:FLAGS
 * index, after each CHUNK_BYTES:
 *   event KIND LSN PREV END TIME_US XID NAME
 *   ref TS/DB/REL:FORK:BLOCK      limit TS/DB/REL:FORK BLOCKS     flags N
 *   setting KIND LSN …            space KIND LSN …
 *   last LSN
 * A search for the last record at and before the end of each chunk must agree with the records:
 *   search LIMIT LSN LSN          at or before, and before, that LSN
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/engine/postgres/block_refs.h"
#include "agent/engine/postgres/log_facts.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"
#include "agent/engine/postgres/wal_sections.h"
#include "common/clock.h"
#include "common/fs.h"
#include "proto/format/events.h"

struct lsn_text {
    char s[PG_LSN_TEXT_MAX];
};
static struct lsn_text lsn(uint64_t value)
{
    struct lsn_text text;
    (void)pg_lsn_format(value, text.s);
    return text;
}

static int print_record(void *arg, const struct wal_record *r, struct tm_err *err)
{
    (void)arg;
    (void)err;
    printf("record %s %s %u %u %u %u", lsn(r->lsn).s, lsn(r->prev_lsn).s, r->total_bytes, r->xid,
           r->rmid, r->block_count);
    for (unsigned n = 0; n < r->block_count; n++) {
        const struct wal_block *b = &r->blocks[n];
        printf(" %u/%u/%u:%u:%u:%u", b->tablespace, b->database, b->relation, b->fork, b->block,
               b->flags);
    }
    printf("\n");
    return 0;
}

static int print_blocks(struct slice section, struct tm_err *err)
{
    struct block_refs_reader r;
    struct block_refs_fork f;
    uint32_t block;
    int rc = block_refs_reader_init(&r, section, err);
    if (rc == 0)
        printf("flags %u\n", r.flags);
    while (rc >= 0 && (rc = block_refs_reader_fork(&r, &f, err)) == 1) {
        const struct wal_fork *k = &f.fork;
        if (f.has_limit)
            printf("limit %u/%u/%u:%u %u\n", k->tablespace, k->database, k->relation, k->fork,
                   f.limit);
        while ((rc = block_refs_reader_block(&r, &block, err)) == 1)
            printf("ref %u/%u/%u:%u:%u\n", k->tablespace, k->database, k->relation, k->fork, block);
    }
    return rc;
}

static int print_settings(struct slice section, struct tm_err *err)
{
    struct wal_items_reader r;
    struct wal_setting s;
    int rc = wal_items_reader_init(&r, section, err);
    while (rc >= 0 && (rc = wal_items_next_setting(&r, &s, err)) == 1) {
        const struct wal_parameters *p = &s.parameters;
        const struct wal_checkpoint *c = &s.checkpoint;
        printf("setting %d %s ", s.kind, lsn(s.at).s);
        if (s.kind == WAL_SETTING_FULL_PAGE_WRITES)
            printf("%d\n", s.full_page_writes);
        else if (s.kind == WAL_SETTING_PARAMETERS)
            printf("%d %d %d %d %d %d %d %d\n", p->max_connections, p->max_worker_processes,
                   p->max_wal_senders, p->max_prepared_xacts, p->max_locks_per_xact, p->wal_level,
                   p->wal_log_hints, p->track_commit_timestamp);
        else
            printf("%d %s %d %d %" PRIu64 " %" PRId64 "\n", c->shutdown, lsn(c->redo_lsn).s,
                   c->full_page_writes, c->wal_level, c->next_xid, c->time_us);
    }
    return rc;
}

static int print_spaces(struct slice section, struct tm_err *err)
{
    struct wal_items_reader r;
    struct wal_space s;
    int rc = wal_items_reader_init(&r, section, err);
    while (rc >= 0 && (rc = wal_items_next_space(&r, &s, err)) == 1)
        printf("space %d %s %u %u %u %u %s\n", s.kind, lsn(s.at).s, s.tablespace, s.database,
               s.source_tablespace, s.source_database, s.path);
    return rc;
}

static int print_part(const struct engine_index_part *part, struct tm_err *err)
{
    int rc = 0;
    for (size_t n = 0; n < part->event_count; n++) {
        const struct log_point *e = &part->events[n];
        printf("event %d %s %s %s %" PRId64 " %" PRIu64 " %s\n", e->kind, lsn(e->at).s,
               lsn(e->previous).s, lsn(e->end).s, e->time_us, e->xid, e->name);
    }
    for (size_t n = 0; rc == 0 && n < part->section_count; n++) {
        if (part->sections[n].id == WAL_SECTION_BLOCKS)
            rc = print_blocks(part->sections[n].bytes, err);
        else if (part->sections[n].id == WAL_SECTION_SETTINGS)
            rc = print_settings(part->sections[n].bytes, err);
        else
            rc = print_spaces(part->sections[n].bytes, err);
    }
    printf("last %s\n", lsn(part->last_record).s);
    return rc;
}

struct job {
    struct pg_log_facts facts;
    struct buf blob;
    uint64_t from;
    size_t chunk;
    struct buf bytes;
};

static int read_piece(void *arg, uint64_t at, struct slice *ret, struct tm_err *err)
{
    const struct job *job = arg;
    size_t offset = (size_t)(at - job->from);
    (void)err;
    *ret = slice_of(job->bytes.data + offset, TM_MIN(job->bytes.len - offset, (size_t)77777));
    return 0;
}

static int print_search(struct job *job, uint64_t limit, struct tm_err *err)
{
    uint64_t found, earlier;
    int rc = pg_log_last_record(buf_slice(&job->blob), job->from, read_piece, job, limit, false,
                                &found, err);
    if (rc == 0)
        rc = pg_log_last_record(buf_slice(&job->blob), job->from, read_piece, job, found, true,
                                &earlier, err);
    if (rc == 0)
        printf("search %s %s %s\n", lsn(limit).s, lsn(found).s, lsn(earlier).s);
    return rc == -TM_E_NOT_FOUND ? 0 : rc;
}

static int run_index(struct job *job, bool print, struct tm_err *err)
{
    struct engine_log_index *index = NULL;
    struct engine_index_part part;
    int rc = pg_index_open(buf_slice(&job->blob), job->from, &index, err);
    for (size_t at = 0; rc == 0 && at < job->bytes.len;) {
        size_t n =
            TM_MIN(TM_MIN((size_t)131072, job->bytes.len - at), job->chunk - at % job->chunk);
        rc = pg_index_push(index, slice_of(job->bytes.data + at, n), err);
        at += n;
        if (rc == 0 && (at % job->chunk == 0 || at == job->bytes.len)) {
            rc = pg_index_take(index, &part, err);
            if (rc == 0 && print)
                rc = print_part(&part, err);
        }
    }
    pg_index_close(index);
    for (size_t at = job->chunk; rc == 0 && print && at < job->bytes.len; at += job->chunk * 4)
        rc = print_search(job, job->from + at, err);
    return rc;
}

static int run_records(struct job *job, struct tm_err *err)
{
    struct wal_reader *reader = NULL;
    const struct wal_reader_config config = {.major = job->facts.version_num / 10000,
                                             .from = job->from,
                                             .segment_bytes = job->facts.wal_segment_bytes,
                                             .record = print_record};
    int rc = wal_reader_new(&config, &reader, err);
    for (size_t at = 0; rc == 0 && at < job->bytes.len; at += job->chunk)
        rc = wal_reader_push(
            reader, slice_of(job->bytes.data + at, TM_MIN(job->chunk, job->bytes.len - at)), err);
    wal_reader_free(reader);
    return rc;
}

static int load(int argc, char **argv, struct job *job, struct tm_err *err)
{
    job->facts = (struct pg_log_facts){
        .version_num = (uint32_t)strtoul(argv[2], NULL, 10) * 10000,
        .timeline = 1,
        .wal_segment_bytes = (uint32_t)strtoul(argv[3], NULL, 10),
        .block_bytes = 8192,
        .next_xid = strtoull(argv[5], NULL, 10),
    };
    job->chunk = strtoul(argv[6], NULL, 10);
    int rc = pg_lsn_parse(argv[4], &job->from, err);
    if (rc == 0)
        rc = pg_log_facts_encode(&job->facts, &job->blob, err);
    for (int k = 7; rc == 0 && k < argc; k++)
        rc = fs_read_file(argv[k], job->facts.wal_segment_bytes, &job->bytes, err);
    return rc;
}

int main(int argc, char **argv)
{
    static struct job job;
    struct tm_err err;
    if (argc < 8) {
        (void)puts("skipped: run by tests/integration/wal_index_test.sh");
        return argc == 1 ? 0 : 2;
    }
    int rc = load(argc, argv, &job, &err);
    if (rc == 0 && strcmp(argv[1], "records") == 0) {
        rc = run_records(&job, &err);
    } else if (rc == 0 && strcmp(argv[1], "index") == 0) {
        rc = run_index(&job, true, &err);
    } else if (rc == 0) {
        int64_t start = clock_mono_us();
        rc = run_index(&job, false, &err);
        printf("%.0f MB/s\n", (double)job.bytes.len / (double)(clock_mono_us() - start));
    }
    if (rc < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    buf_release(&job.blob);
    buf_release(&job.bytes);
    return 0;
}
