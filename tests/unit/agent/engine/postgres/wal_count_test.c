/*
 * Counts records of log files by resource manager and kind, to be compared with pg_waldump. Run by
 * tests/integration/postgres_engine_restore_test.sh; without arguments there is nothing to do.
 *
 *   wal_count_test MAJOR SEGMENT_BYTES FROM_LSN FILE…     files in order, the first begins at FROM_LSN
 *
 * Prints "rmgr N COUNT BYTES" per resource manager, "kind NAME COUNT", and "end LSN".
 */
#include <inttypes.h>
#include <stdio.h>

#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"
#include "common/fs.h"

struct counts {
    unsigned major;
    uint64_t records[256];
    uint64_t bytes[256];
    uint64_t commits;
    uint64_t checkpoints;
};

static int count(void *arg, const struct wal_record *record, struct tm_err *err)
{
    struct counts *c = arg;
    int64_t us;
    struct wal_checkpoint checkpoint;
    c->records[record->rmid]++;
    c->bytes[record->rmid] += record->total_bytes;
    if (wal_record_kind(record, c->major) == WAL_COMMIT) {
        c->commits++;
        if (!wal_time_of(record, c->major, &us) || us < INT64_C(1500000000000000))
            return tm_err_set(err, TM_E_CORRUPT, "a commit without a sensible time");
    }
    if (wal_record_kind(record, c->major) == WAL_CHECKPOINT) {
        c->checkpoints++;
        if (!wal_checkpoint_of(record, c->major, &checkpoint) ||
            checkpoint.time_us < INT64_C(1500000000000000) || checkpoint.redo_lsn > record->lsn)
            return tm_err_set(err, TM_E_CORRUPT, "a checkpoint that makes no sense");
    }
    return 0;
}

static int run(int argc, char **argv, struct counts *c, uint64_t *ret_end, struct tm_err *err)
{
    struct wal_reader_config config = {
        .major = c->major,
        .segment_bytes = (uint32_t)strtoul(argv[2], NULL, 10),
        .record = count,
        .arg = c,
    };
    TM_CLEANUP(wal_reader_freep) struct wal_reader *reader = NULL;
    int rc = pg_lsn_parse(argv[3], &config.from, err);
    if (rc >= 0)
        rc = wal_reader_new(&config, &reader, err);
    for (int k = 4; rc >= 0 && k < argc; k++) {
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        rc = fs_read_file(argv[k], config.segment_bytes, &bytes, err);
        for (size_t at = 0; rc >= 0 && at < bytes.len; at += 50021)
            rc = wal_reader_push(
                reader, slice_of(bytes.data + at, TM_MIN((size_t)50021, bytes.len - at)), err);
    }
    if (rc >= 0)
        *ret_end = wal_reader_valid_end(reader);
    return rc;
}

int main(int argc, char **argv)
{
    static struct counts c;
    struct tm_err err;
    uint64_t end = 0;
    char text[PG_LSN_TEXT_MAX];
    if (argc < 5) {
        (void)puts("skipped: run by tests/integration/postgres_engine_restore_test.sh");
        return argc == 1 ? 0 : 2;
    }
    c.major = (unsigned)strtoul(argv[1], NULL, 10);
    if (run(argc, argv, &c, &end, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    for (unsigned k = 0; k < 256; k++) {
        if (c.records[k] > 0)
            (void)printf("rmgr %u %" PRIu64 " %" PRIu64 "\n", k, c.records[k], c.bytes[k]);
    }
    (void)printf("kind commit %" PRIu64 "\nkind checkpoint %" PRIu64 "\nend %s\n", c.commits,
                 c.checkpoints, pg_lsn_format(end, text));
    return 0;
}
