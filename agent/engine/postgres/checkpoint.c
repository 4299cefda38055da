/*
 * Happy path: pg_control shows the checkpoint that the backup starts from, for nothing was written
 * there since.
 *
 * Another checkpoint may have overtaken it. Then its record is looked for in the log, from the start
 * of the backup on: it was written before the backup's start was answered, and the log since then is
 * held, so it is in pg_wal.
 *
 * Failure modes: a segment that is not there, log that is not whole before the record was found.
 */
#include "agent/engine/postgres/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>

#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_reader.h"

#define PIECE_BYTES ((size_t)65536)

struct search {
    const char *wal_dir;
    unsigned major;
    uint64_t redo; /* of the checkpoint that is wanted */
    uint64_t found;
    uint64_t next_xid;
};

static int look(void *arg, const struct wal_record *record, struct tm_err *err)
{
    struct search *search = arg;
    struct wal_checkpoint checkpoint;
    if (!wal_checkpoint_of(record, search->major, &checkpoint) ||
        checkpoint.redo_lsn != search->redo)
        return 0;
    search->found = record->lsn;
    search->next_xid = checkpoint.next_xid;
    return tm_err_set(err, TM_E_EXISTS, "found"); /* ends the reading, and is told nobody */
}

/* One segment, or what is needed of it. */
static int read_segment(const struct search *search, struct wal_reader *reader, const char *name,
                        struct tm_err *err)
{
    TM_CLEANUP(freep) uint8_t *piece = malloc(PIECE_BYTES);
    char path[ENGINE_PATH_MAX];
    if (!piece)
        return tm_err_oom(err);
    snprintf(path, sizeof(path), "%s/%s", search->wal_dir, name);
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", path);
    for (;;) {
        ssize_t n = read(fd, piece, PIECE_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot read '%s'", path);
        if (n == 0)
            return 0;
        int r = wal_reader_push(reader, slice_of(piece, (size_t)n), err);
        if (r < 0)
            return r;
    }
}

int pg_checkpoint_find(const char *data_dir, const struct pg_begin *begin, uint64_t *ret_lsn,
                       uint64_t *ret_next_xid, struct tm_err *err)
{
    TM_CLEANUP(wal_reader_freep) struct wal_reader *reader = NULL;
    char dir[ENGINE_PATH_MAX], name[PG_WAL_NAME_MAX], lsn[PG_LSN_TEXT_MAX];
    struct search search = {
        .wal_dir = dir, .major = begin->version_num / 10000, .redo = begin->start_lsn};
    const struct wal_reader_config config = {.major = search.major,
                                             .from = begin->replay_from,
                                             .segment_bytes = begin->wal_segment_bytes,
                                             .system_identifier = begin->system_id,
                                             .record = look,
                                             .arg = &search};
    snprintf(dir, sizeof(dir), "%.*s/pg_wal", ENGINE_PATH_MAX - 64, data_dir);
    int r = wal_reader_new(&config, &reader, err);
    for (uint64_t at = begin->replay_from; r == 0; at += begin->wal_segment_bytes) {
        (void)pg_wal_segment_name(begin->timeline, at, begin->wal_segment_bytes, name);
        r = read_segment(&search, reader, name, err);
        if (r == 0 && wal_reader_position(reader) != at + begin->wal_segment_bytes)
            r = tm_err_set(err, TM_E_CORRUPT, "'%s' is no whole segment", name);
    }
    if (search.found == 0)
        return tm_err_prefix(err, "cannot find the checkpoint that the backup starts from, at %s",
                             pg_lsn_format(begin->start_lsn, lsn));
    *ret_lsn = search.found;
    *ret_next_xid = search.next_xid;
    return 0;
}
