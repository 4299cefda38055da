/*
 * Happy path: the file is opened, its part read straight into the sink's buffer up to a MiB at a
 * time, pages checked, a CRC taken, the buffer handed on.
 *
 * Failure modes: the file vanished (nothing is stored; replay knows); it is shorter than it was (a
 * middle part is filled with zeros so that parts stay adjacent, a last part ends early); a page
 * does not check (read again, for it may be half-written; then judged by its LSN); reading fails
 * (an error that names file and offset). A configuration file outside the data directory that
 * cannot be read is told, and the backup goes on: it is not part of the database.
 *
 * Judging a page that stays wrong: an LSN beyond what the server has flushed cannot be true, so it
 * is corrupt; else an LSN at or behind the snapshot's start means that replay brings the page's
 * full image: unverified; else it is corrupt.
 */
#include "agent/engine/postgres/reader.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/engine/postgres/page.h"
#include "agent/engine/postgres/twophase.h"
#include "agent/engine/postgres/wal.h"
#include "common/clock.h"
#include "common/hash.h"

#define READ_BYTES     (1u << 20)
#define SEQUENTIAL_MIN (256u << 10) /* files below this are read at once anyway */
#define PAGE_RETRIES   5
#define PAGE_RETRY_NS  2000000L
#define PROBLEMS_MAX   100 /* told per range; all are counted */
#define MODE_BITS      07777u

struct part {
    struct engine_reader *reader;
    const struct walk_item *item;
    struct range_sink *sink;
    struct engine_range_stats *stats;
    int fd;
    bool check_pages;
    bool last;
    uint64_t at;     /* offset in the file */
    uint64_t target; /* where the part ends */
    uint32_t crc;
};

static int64_t time_us(struct timespec ts)
{
    return (int64_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

static int set_entry_path(struct file_entry *entry, const char *path, struct tm_err *err)
{
    size_t len = strlen(path);
    if (len >= sizeof(entry->path))
        return tm_err_set(err, TM_E_LIMIT, "the path '%.300s' is too long", path);
    memcpy(entry->path, path, len + 1);
    return 0;
}

/* Reads until `len` bytes or the end of the file; returns how many through ret. */
static int read_at(const struct part *p, uint8_t *data, size_t len, uint64_t offset, size_t *ret,
                   struct tm_err *err)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = pread(p->fd, data + have, len - have, (off_t)(offset + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot read '%s' at byte %llu", p->item->path,
                                (unsigned long long)(offset + have));
        if (n == 0)
            break;
        have += (size_t)n;
    }
    *ret = have;
    return 0;
}

/* ---- pages ---- */

/* On a standby the position before which pages may have been written: that is noted in pg_control
 * before a page is written, while replay still is at the record, which may not come by streaming. */
#define FLUSHED_SQL                                                                                \
    "SELECT CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), "               \
    "pg_last_wal_replay_lsn(), (SELECT min_recovery_end_lsn FROM pg_control_recovery())) "         \
    "ELSE pg_current_wal_flush_lsn() END"

static int ask_flush_lsn(struct engine_reader *reader, uint64_t *ret)
{
    TM_CLEANUP(pg_result_freep) PGresult *result = NULL;
    struct tm_err err = {0};
    if (!reader->flush_conn &&
        pg_conn_open(reader->instance->conninfo, PG_CONN_SQL, &reader->flush_conn, &err) < 0)
        return -1;
    if (pg_conn_query(reader->flush_conn, PG_QUERY_TIMEOUT_MS, FLUSHED_SQL, NULL, 0, &result,
                      &err) < 0)
        return -1;
    return PQntuples(result) == 1 && pg_lsn_parse(PQgetvalue(result, 0, 0), ret, &err) == 0 ? 0
                                                                                            : -1;
}

/* A page's LSN is flushed before the page is written, so one beyond the flush position, asked for
 * after the page was read, is not the server's work. When the server cannot be asked, nothing is
 * claimed. */
static bool lsn_is_impossible(struct engine_reader *reader, uint64_t lsn)
{
    if (lsn <= atomic_load(&reader->flush_lsn))
        return false;
    bool impossible = false;
    pthread_mutex_lock(&reader->flush_lock);
    if (lsn > atomic_load(&reader->flush_lsn) && !reader->flush_failed) {
        uint64_t flushed = 0;
        if (ask_flush_lsn(reader, &flushed) < 0)
            reader->flush_failed = true;
        else
            atomic_store(&reader->flush_lsn, flushed);
        impossible = !reader->flush_failed && lsn > flushed;
    }
    pthread_mutex_unlock(&reader->flush_lock);
    return impossible;
}

/* A page that may have been torn is read again into place, a few times. */
static int check_again(struct part *p, uint8_t *page, uint64_t offset, uint32_t block,
                       enum page_verdict *ret_verdict, struct page_result *ret_result,
                       struct tm_err *err)
{
    const size_t block_bytes = p->item->unit_bytes;
    for (unsigned attempt = 0; attempt < PAGE_RETRIES && *ret_verdict == PAGE_WRONG; attempt++) {
        uint8_t again[32768];
        size_t have;
        (void)nanosleep(&(struct timespec){.tv_nsec = PAGE_RETRY_NS}, NULL);
        int r = read_at(p, again, block_bytes, offset, &have, err);
        if (r < 0)
            return r;
        if (have < block_bytes)
            break; /* truncated meanwhile: keep what was read */
        memcpy(page, again, block_bytes);
        *ret_verdict = page_check(page, block_bytes, block, ret_result);
    }
    return 0;
}

static int tell_corrupt(struct part *p, uint64_t offset, const struct page_result *result,
                        bool impossible, struct tm_err *err)
{
    char what[160], lsn[PG_LSN_TEXT_MAX];
    p->stats->pages_corrupt++;
    if (p->stats->pages_corrupt > PROBLEMS_MAX)
        return 0;
    pg_lsn_format(result->lsn, lsn);
    if (impossible)
        snprintf(what, sizeof(what), "page has log position %s, which the server never reached",
                 lsn);
    else if (result->computed == 0)
        snprintf(what, sizeof(what), "page says that it is new, but is not empty");
    else
        snprintf(what, sizeof(what), "page checksum is %04x, the page says %04x (log position %s)",
                 result->computed, result->stored, lsn);
    return p->sink->ops->problem(p->sink, p->item->path, offset / p->item->unit_bytes, what, err);
}

static int check_page(struct part *p, uint8_t *page, uint64_t offset, struct tm_err *err)
{
    const size_t block_bytes = p->item->unit_bytes;
    const uint32_t block = p->item->first_block + (uint32_t)(offset / block_bytes);
    struct page_result result;
    enum page_verdict verdict = page_check(page, block_bytes, block, &result);
    if (verdict == PAGE_NEW)
        return 0;
    const uint64_t start = p->reader->begin.start_lsn;
    if (verdict == PAGE_GOOD && result.lsn < start) {
        p->stats->pages_checked++;
        return 0;
    }
    /* changed since the start, and perhaps half-written: its own LSN may be the wrong half */
    if (verdict == PAGE_WRONG) {
        int r = check_again(p, page, offset, block, &verdict, &result, err);
        if (r < 0)
            return r;
        if (verdict == PAGE_NEW)
            return 0;
    }
    bool impossible = result.lsn >= start && lsn_is_impossible(p->reader, result.lsn);
    if (impossible || (verdict == PAGE_WRONG && result.lsn < start))
        return tell_corrupt(p, offset, &result, impossible, err);
    if (verdict == PAGE_GOOD)
        p->stats->pages_checked++;
    else
        p->stats->pages_unverified++;
    return 0;
}

static int check_pages(struct part *p, uint8_t *data, size_t len, struct tm_err *err)
{
    const size_t block_bytes = p->item->unit_bytes;
    int r = 0;
    for (size_t n = 0; r == 0 && n + block_bytes <= len; n += block_bytes)
        r = check_page(p, data + n, p->at + n, err);
    return r;
}

/* ---- reading ---- */

/* One buffer's worth. *ret_ended: the file ended before its target. */
static int read_piece(struct part *p, bool *ret_ended, struct tm_err *err)
{
    uint8_t *room;
    size_t len, have;
    size_t want = (size_t)TM_MIN(p->target - p->at, (uint64_t)READ_BYTES);
    int r = p->sink->ops->room(p->sink, want, &room, &len, err);
    if (r < 0)
        return r;
    len = TM_MIN(len, want);
    const size_t unit = p->reader->begin.block_bytes;
    if (len < want && len > unit)
        len -= len % unit;
    r = read_at(p, room, len, p->at, &have, err);
    if (r == 0 && p->check_pages)
        r = check_pages(p, room, have, err);
    if (r < 0)
        return r;
    *ret_ended = have < len;
    if (have < len && !p->last) {
        memset(room + have, 0, len - have);
        have = len;
        *ret_ended = false;
    }
    p->crc = crc32c(p->crc, room, have);
    p->at += have;
    p->stats->bytes += have;
    return p->sink->ops->advance(p->sink, have, err);
}

static int read_file(struct part *p, const struct stat *st, struct tm_err *err)
{
    const struct walk_item *item = p->item;
    uint64_t size = (uint64_t)TM_MAX(st->st_size, 0);
    struct file_entry entry = {.kind = FILE_REGULAR,
                               .mode = st->st_mode & MODE_BITS,
                               .modified_us = time_us(st->st_mtim),
                               .offset_bytes = item->from_bytes,
                               .last_part = item->to_bytes == UINT64_MAX};
    p->last = entry.last_part;
    p->at = item->from_bytes;
    p->target = p->last ? TM_MAX(size, p->at) : item->to_bytes;
    int r = set_entry_path(&entry, item->path, err);
    if (r < 0)
        return r;
    if (p->target - p->at >= SEQUENTIAL_MIN)
        (void)posix_fadvise(p->fd, (off_t)p->at, (off_t)(p->target - p->at), POSIX_FADV_SEQUENTIAL);
    r = p->sink->ops->file_begin(p->sink, &entry, err);
    bool ended = false;
    while (r == 0 && !ended && p->at < p->target)
        r = read_piece(p, &ended, err);
    if (r == 0)
        r = p->sink->ops->file_end(p->sink, p->crc, err);
    if (r == 0 && item->from_bytes == 0)
        p->stats->files++;
    return r;
}

static int tell_unreadable(struct part *p, int os_errno, struct tm_err *err)
{
    if (p->item->class_byte != FILES_CLASS_CONFIG)
        return tm_err_errno(err, os_errno, "cannot open '%s'", p->item->path);
    char what[160];
    snprintf(what, sizeof(what), "configuration file cannot be read: %s",
             strerrordesc_np(os_errno));
    return p->sink->ops->problem(p->sink, p->item->path, ENGINE_NO_BLOCK, what, err);
}

/* A server with a torn state file does not start. */
static int settle_twophase(struct part *p, struct tm_err *err)
{
    const struct walk_item *item = p->item;
    bool whole = false;
    if (item->class_byte != FILES_CLASS_PLAIN ||
        !twophase_is_state_file(&p->reader->begin, item->path))
        return 0;
    int r = twophase_await_whole(p->fd, item->path, &whole, err);
    if (r < 0 || whole || item->from_bytes > 0)
        return r;
    return p->sink->ops->problem(
        p->sink, item->path, ENGINE_NO_BLOCK,
        "the state file of a prepared transaction is damaged: its checksum is "
        "wrong",
        err);
}

static int read_regular(struct part *p, struct tm_err *err)
{
    struct stat st;
    /* O_NONBLOCK: should the name have become a fifo, do not hang */
    TM_CLEANUP(closep)
    int fd =
        openat(p->reader->root_fd, p->item->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        if (errno == ENOENT && p->item->class_byte != FILES_CLASS_CONFIG)
            return 0;
        return tell_unreadable(p, errno, err);
    }
    if (fstat(fd, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", p->item->path);
    if (!S_ISREG(st.st_mode))
        return 0;
    p->fd = fd;
    int r = settle_twophase(p, err);
    /* it may have grown until it was whole */
    if (r == 0 && fstat(fd, &st) < 0)
        r = tm_err_errno(err, errno, "cannot stat '%s'", p->item->path);
    return r < 0 ? r : read_file(p, &st, err);
}

/* ---- directories and links ---- */

static const char *special_text(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFLNK:
        return "symbolic link leads to no file or directory: it is not in the backup";
    case S_IFIFO:
        return "a named pipe is not in the backup";
    case S_IFSOCK:
        return "a socket is not in the backup";
    case S_IFCHR:
    case S_IFBLK:
        return "a device is not in the backup";
    default:
        return NULL;
    }
}

static int tell_special(struct part *p, struct tm_err *err)
{
    struct stat st;
    if (fstatat(p->reader->root_fd, p->item->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : tm_err_errno(err, errno, "cannot stat '%s'", p->item->path);
    const char *what = special_text(st.st_mode);
    if (what == NULL) /* another thing since it was listed: as new as what came after the begin */
        return 0;
    return p->sink->ops->problem(p->sink, p->item->path, ENGINE_NO_BLOCK, what, err);
}

static int read_other(struct part *p, struct tm_err *err)
{
    const struct walk_item *item = p->item;
    struct file_entry entry = {.kind = item->kind == LISTING_LINK ? FILE_LINK : FILE_DIRECTORY,
                               .last_part = true};
    struct stat st;
    if (item->kind == LISTING_SPECIAL)
        return tell_special(p, err);
    if (item->kind == LISTING_FOREIGN_DIR)
        return p->sink->ops->problem(p->sink, item->path, ENGINE_NO_BLOCK,
                                     "symbolic link to a directory is not followed: what is "
                                     "behind it is not in the backup",
                                     err);
    if (fstatat(p->reader->root_fd, item->path, &st, 0) < 0) {
        if (errno == ENOENT)
            return 0;
        return tm_err_errno(err, errno, "cannot stat '%s'", item->path);
    }
    if (entry.kind == FILE_LINK) {
        ssize_t len = readlinkat(p->reader->root_fd, item->path, entry.link, sizeof(entry.link));
        if (len < 0 && errno == ENOENT)
            return 0;
        if (len < 0)
            return tm_err_errno(err, errno, "cannot read link '%s'", item->path);
        if ((size_t)len >= sizeof(entry.link))
            return tm_err_set(err, TM_E_LIMIT, "the target of link '%s' is too long", item->path);
        entry.link[len] = '\0';
    }
    entry.mode = st.st_mode & MODE_BITS;
    entry.modified_us = time_us(st.st_mtim);
    int r = set_entry_path(&entry, item->path, err);
    if (r == 0)
        r = p->sink->ops->file_begin(p->sink, &entry, err);
    if (r == 0)
        r = p->sink->ops->file_end(p->sink, CRC32C_INIT, err);
    return r;
}

int part_read(struct engine_reader *reader, const struct walk_item *item, struct range_sink *sink,
              struct engine_range_stats *stats, struct tm_err *err)
{
    struct part p = {.reader = reader,
                     .item = item,
                     .sink = sink,
                     .stats = stats,
                     .fd = -1,
                     .crc = CRC32C_INIT,
                     .check_pages = item->class_byte == FILES_CLASS_RELATION &&
                                    reader->begin.checksum_version != 0};
    return item->kind == LISTING_FILE ? read_regular(&p, err) : read_other(&p, err);
}

int part_write_bytes(const char *path, uint32_t mode, int64_t modified_us, struct slice bytes,
                     struct range_sink *sink, struct engine_range_stats *stats, struct tm_err *err)
{
    struct file_entry entry = {
        .kind = FILE_REGULAR, .mode = mode, .modified_us = modified_us, .last_part = true};
    uint32_t crc = crc32c(CRC32C_INIT, bytes.data, bytes.len);
    int r = set_entry_path(&entry, path, err);
    if (r == 0)
        r = sink->ops->file_begin(sink, &entry, err);
    for (size_t at = 0; r == 0 && at < bytes.len;) {
        uint8_t *room;
        size_t len;
        r = sink->ops->room(sink, bytes.len - at, &room, &len, err);
        if (r < 0)
            return r;
        len = TM_MIN(len, bytes.len - at);
        memcpy(room, bytes.data + at, len);
        at += len;
        r = sink->ops->advance(sink, len, err);
    }
    if (r == 0)
        r = sink->ops->file_end(sink, crc, err);
    if (r == 0) {
        stats->files++;
        stats->bytes += bytes.len;
    }
    return r;
}
