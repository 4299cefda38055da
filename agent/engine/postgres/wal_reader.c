/*
 * Happy path: bytes go through one of four states. At a page start the page header is collected and
 * judged; inside a page, a record header is collected at the next aligned position, then the rest
 * of the record is collected (its first bytes) and summed. When its last byte came,
 * the checksum decides and the record is handed out.
 *
 * Failure modes: everything that does not fit is TM_E_CORRUPT with the position; PostgreSQL would
 * take the same bytes for the end of log, but stored log ends where it was said to end, so there is
 * no such thing as a benign misfit. The one exception is a zero length where a record would start:
 * the padding of the last segment. After it only zeros may come.
 */
#include "agent/engine/postgres/wal_reader.h"

#include <endian.h>

#include "agent/engine/postgres/version.h"
#include "agent/engine/postgres/wal.h"
#include "agent/engine/postgres/wal_body.h"
#include "common/hash.h"

#define PAGE_SHORT_BYTES  24
#define PAGE_LONG_BYTES   40
#define RECORD_HEAD_BYTES 24
#define RECORD_CRC_OFFSET 20
#define PAGE_BYTES_MIN    1024u
#define PAGE_BYTES_MAX    65536u
#define RECORD_ALIGN      8u

/* page header flags */
#define PAGE_CONTINUES   0x0001u /* starts with the rest of a record */
#define PAGE_LONG        0x0002u
#define PAGE_FLAGS_KNOWN 0x000Fu
#define PAGE_OVERWRITES  0x0008u /* 14.1+: the record that began before was given up */

enum state {
    STATE_HEAD, /* between records, or collecting a record's header */
    STATE_BODY, /* collecting the rest of a record */
    STATE_STEP, /* stepping over a record that began before `from` */
    STATE_SKIP, /* behind a switch record, up to the next segment */
    STATE_ZERO, /* behind the last record */
    STATE_FAILED,
};

struct wal_reader {
    struct wal_reader_config config;
    enum state state;
    uint64_t position; /* of the next byte */
    uint64_t valid_end;
    uint64_t prev_lsn; /* 0: not known yet */
    uint64_t count;
    uint32_t page_bytes; /* 0 until the first page header */
    uint32_t timeline;   /* of the current page */
    uint64_t step_left;  /* STATE_STEP: bytes of the foreign record still to come */
    uint8_t page[PAGE_LONG_BYTES];
    uint32_t page_have; /* bytes of the current page header collected */
    uint32_t page_need; /* 0: not at a page header */
    uint8_t head[RECORD_HEAD_BYTES];
    uint32_t head_have;
    uint64_t record_lsn;
    uint32_t record_timeline;
    uint32_t total; /* length of the current record */
    uint32_t body_have;
    uint32_t crc;    /* over the body so far */
    uint32_t keep;   /* how much of the body is kept */
    struct buf kept; /* its first bytes */
    bool stepped;    /* a record that began before `from` has ended */
    struct wal_block blocks[WAL_BLOCKS_MAX];
};

static bool is_power_of_two(uint32_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

static uint16_t page_magic(unsigned major)
{
    const struct pg_version *version = pg_version_find(major);
    return version != NULL ? version->wal_page_magic : 0;
}

static int corrupt(struct wal_reader *r, uint64_t at, const char *what, struct tm_err *err)
{
    char text[PG_LSN_TEXT_MAX];
    r->state = STATE_FAILED;
    return tm_err_set(err, TM_E_CORRUPT, "log at %s: %s", pg_lsn_format(at, text), what);
}

int wal_reader_new(const struct wal_reader_config *config, struct wal_reader **ret_reader,
                   struct tm_err *err)
{
    if (page_magic(config->major) == 0)
        return tm_err_set(err, TM_E_UNSUPPORTED, "cannot read the log of PostgreSQL %u",
                          config->major);
    if (!pg_wal_segment_bytes_valid(config->segment_bytes))
        return tm_err_set(err, TM_E_INVALID, "%u is not a log segment size", config->segment_bytes);
    if (config->from % config->segment_bytes != 0) {
        char text[PG_LSN_TEXT_MAX];
        return tm_err_set(err, TM_E_INVALID, "log does not begin at a segment start: %s",
                          pg_lsn_format(config->from, text));
    }
    struct wal_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return tm_err_oom(err);
    r->config = *config;
    r->position = config->from;
    r->valid_end = config->from;
    r->state = STATE_HEAD;
    r->page_need = PAGE_LONG_BYTES;
    *ret_reader = r;
    return 0;
}

void wal_reader_free(struct wal_reader *r)
{
    if (r == NULL)
        return;
    buf_release(&r->kept);
    free(r);
}

uint64_t wal_reader_position(const struct wal_reader *r)
{
    return r->position;
}

uint64_t wal_reader_valid_end(const struct wal_reader *r)
{
    return r->valid_end;
}

uint64_t wal_reader_record_count(const struct wal_reader *r)
{
    return r->count;
}

bool wal_reader_stepped_over(const struct wal_reader *r)
{
    return r->stepped;
}

/* ---- pages ---- */

static bool at_segment_start(const struct wal_reader *r, uint64_t lsn)
{
    return (lsn & (r->config.segment_bytes - 1)) == 0;
}

static uint64_t page_start(const struct wal_reader *r)
{
    return r->position - r->page_have;
}

static int long_header_check(struct wal_reader *r, uint64_t start, struct tm_err *err)
{
    uint64_t system = wal_le64(r->page + 24);
    if (r->config.system_identifier != 0 && system != r->config.system_identifier)
        return corrupt(r, start, "it belongs to another server (system identifier differs)", err);
    if (wal_le32(r->page + 32) != r->config.segment_bytes)
        return corrupt(r, start, "segment size differs from the expected one", err);
    uint32_t page_bytes = wal_le32(r->page + 36);
    if (!is_power_of_two(page_bytes) || page_bytes < PAGE_BYTES_MIN ||
        page_bytes > PAGE_BYTES_MAX || (r->page_bytes != 0 && page_bytes != r->page_bytes))
        return corrupt(r, start, "page size is wrong", err);
    r->page_bytes = page_bytes;
    return 0;
}

/* The record that is being collected, and what the page says of it. */
static int continuation_check(struct wal_reader *r, uint64_t start, uint16_t flags, uint32_t rest,
                              struct tm_err *err)
{
    bool continues = (flags & PAGE_CONTINUES) != 0;
    bool inside = r->state == STATE_BODY || (r->state == STATE_HEAD && r->head_have > 0);
    if ((inside || r->state == STATE_STEP) && !continues && (flags & PAGE_OVERWRITES) != 0) {
        /* the server crashed inside this record and went on with another one: it never was */
        r->state = STATE_HEAD;
        r->head_have = 0;
        r->prev_lsn = 0;
        return 0;
    }
    if (inside) {
        uint64_t left = (uint64_t)r->total - r->head_have - r->body_have;
        if (!continues || rest != left)
            return corrupt(r, start, "a record is not continued on the next page", err);
        return 0;
    }
    if (r->state == STATE_STEP) {
        if (!continues || rest != r->step_left)
            return corrupt(r, start, "a record is not continued on the next page", err);
        return 0;
    }
    if (!continues)
        return 0;
    if (start != r->config.from)
        return corrupt(r, start, "a page continues a record that did not begin", err);
    if (rest == 0 || rest > WAL_RECORD_MAX)
        return corrupt(r, start, "a page continues a record of impossible length", err);
    r->state = STATE_STEP;
    r->step_left = rest;
    return 0;
}

static int page_header_done(struct wal_reader *r, struct tm_err *err)
{
    uint64_t start = page_start(r);
    uint16_t magic = wal_le16(r->page);
    uint16_t flags = wal_le16(r->page + 2);
    uint32_t timeline = wal_le32(r->page + 4);
    bool is_long = (flags & PAGE_LONG) != 0;

    r->page_need = 0;
    r->page_have = 0;
    if (magic != page_magic(r->config.major))
        return corrupt(r, start, magic == 0 ? "the page is empty" : "the page magic is wrong", err);
    if ((flags & ~PAGE_FLAGS_KNOWN) != 0 || is_long != at_segment_start(r, start))
        return corrupt(r, start, "the page flags are wrong", err);
    if (wal_le64(r->page + 8) != start)
        return corrupt(r, start, "the page belongs to another place", err);
    if (timeline == 0 || timeline < r->timeline)
        return corrupt(r, start, "the timeline goes back", err);
    int rc = is_long ? long_header_check(r, start, err) : 0;
    if (rc < 0)
        return rc;
    r->timeline = timeline;
    return continuation_check(r, start, flags, wal_le32(r->page + 16), err);
}

static bool page_is_zero(const struct wal_reader *r)
{
    for (uint32_t k = 0; k < r->page_have; k++) {
        if (r->page[k] != 0)
            return false;
    }
    return true;
}

/* Takes bytes of a page header; returns how many. */
static int page_header_take(struct wal_reader *r, struct slice in, size_t *ret_used,
                            struct tm_err *err)
{
    size_t n = TM_MIN(in.len, (size_t)(r->page_need - r->page_have));
    memcpy(r->page + r->page_have, in.data, n);
    r->page_have += (uint32_t)n;
    r->position += n;
    *ret_used = n;
    if (r->page_have < r->page_need)
        return 0;
    bool between = r->state == STATE_HEAD && r->head_have == 0;
    if (between && page_is_zero(r)) {
        /* padding that begins exactly at a page */
        r->state = STATE_ZERO;
        r->page_need = 0;
        r->page_have = 0;
        return 0;
    }
    return page_header_done(r, err);
}

/* ---- records ---- */

static int record_done(struct wal_reader *r, struct tm_err *err)
{
    uint32_t body = r->total - RECORD_HEAD_BYTES;
    uint32_t crc = crc32c(r->crc, r->head, RECORD_CRC_OFFSET);
    if (crc != wal_le32(r->head + RECORD_CRC_OFFSET))
        return corrupt(r, r->record_lsn, "the record's checksum is wrong", err);
    struct wal_body layout;
    if (!wal_body_parse(r->config.major, buf_slice(&r->kept), body, &layout, r->blocks))
        return corrupt(r, r->record_lsn, "the record is malformed", err);

    struct wal_record record = {
        .lsn = r->record_lsn,
        .end_lsn = (r->position + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1),
        .prev_lsn = wal_le64(r->head + 8),
        .total_bytes = r->total,
        .xid = wal_le32(r->head + 4),
        .timeline = r->record_timeline,
        .info = r->head[16],
        .rmid = r->head[17],
        .data_bytes = layout.data_bytes,
        .blocks = r->blocks,
        .block_count = layout.block_count,
    };
    if (layout.data_offset < r->kept.len)
        record.data = slice_of(r->kept.data + layout.data_offset, r->kept.len - layout.data_offset);
    bool is_switch = wal_record_kind(&record, r->config.major) == WAL_SWITCH;
    if (is_switch)
        record.end_lsn =
            (r->position + r->config.segment_bytes - 1) & ~(uint64_t)(r->config.segment_bytes - 1);
    r->prev_lsn = r->record_lsn;
    r->valid_end = record.end_lsn;
    r->count++;
    r->head_have = 0;
    r->body_have = 0;
    r->state = is_switch && record.end_lsn != r->position ? STATE_SKIP : STATE_HEAD;
    int rc = r->config.record != NULL ? r->config.record(r->config.arg, &record, err) : 0;
    if (rc < 0)
        r->state = STATE_FAILED;
    return rc;
}

static int record_head_done(struct wal_reader *r, struct tm_err *err)
{
    uint64_t prev = wal_le64(r->head + 8);
    if (prev >= r->record_lsn || (r->prev_lsn != 0 && prev != r->prev_lsn))
        return corrupt(r, r->record_lsn, "the record's link to the one before is wrong", err);
    r->state = STATE_BODY;
    r->body_have = 0;
    r->crc = CRC32C_INIT;
    r->keep = r->head[17] == WAL_RM_XACT ? WAL_RECORD_KEEP_XACT : WAL_RECORD_KEEP;
    if (r->kept.cap > 2 * WAL_RECORD_KEEP)
        buf_release(&r->kept);
    buf_reset(&r->kept);
    return r->total == RECORD_HEAD_BYTES ? record_done(r, err) : 0;
}

/* The length comes first and never crosses a page, because records are aligned. */
static int record_length_known(struct wal_reader *r, struct tm_err *err)
{
    r->total = wal_le32(r->head);
    if (r->total == 0) {
        r->state = STATE_ZERO;
        r->head_have = 0;
        return 0;
    }
    if (r->total < RECORD_HEAD_BYTES)
        return corrupt(r, r->record_lsn, "the record's length is too small", err);
    if (r->total > WAL_RECORD_MAX)
        return corrupt(r, r->record_lsn, "the record's length is impossible", err);
    return 0;
}

/* Each take_ function gets at most the rest of the page and says how much it used. */
static int head_take(struct wal_reader *r, struct slice in, size_t *ret_used, struct tm_err *err)
{
    if (r->head_have == 0) {
        size_t pad = (size_t)(-r->position & (RECORD_ALIGN - 1));
        if (pad > 0) {
            *ret_used = TM_MIN(pad, in.len);
            r->position += *ret_used;
            return 0;
        }
        r->record_lsn = r->position;
        r->record_timeline = r->timeline;
        r->total = 0;
        r->body_have = 0;
    }
    uint32_t want = r->head_have < 4 ? 4 : RECORD_HEAD_BYTES;
    size_t n = TM_MIN(in.len, (size_t)(want - r->head_have));
    memcpy(r->head + r->head_have, in.data, n);
    r->head_have += (uint32_t)n;
    r->position += n;
    *ret_used = n;
    if (r->head_have < want)
        return 0;
    return want == 4 ? record_length_known(r, err) : record_head_done(r, err);
}

static int body_take(struct wal_reader *r, struct slice in, size_t *ret_used, struct tm_err *err)
{
    size_t n = TM_MIN(in.len, (size_t)(r->total - RECORD_HEAD_BYTES - r->body_have));
    r->crc = crc32c(r->crc, in.data, n);
    size_t keep = TM_MIN(n, (size_t)r->keep - r->kept.len);
    int rc = buf_append(&r->kept, in.data, keep, err);
    if (rc < 0) {
        r->state = STATE_FAILED;
        return rc;
    }
    r->body_have += (uint32_t)n;
    r->position += n;
    *ret_used = n;
    return r->body_have == r->total - RECORD_HEAD_BYTES ? record_done(r, err) : 0;
}

static size_t step_take(struct wal_reader *r, struct slice in)
{
    size_t n = TM_MIN((uint64_t)in.len, r->step_left);
    r->step_left -= n;
    r->position += n;
    if (r->step_left == 0) {
        r->state = STATE_HEAD;
        r->stepped = true;
    }
    return n;
}

static size_t skip_take(struct wal_reader *r, struct slice in)
{
    uint64_t segment_left = r->config.segment_bytes - (r->position & (r->config.segment_bytes - 1));
    size_t n = TM_MIN((uint64_t)in.len, segment_left);
    r->position += n;
    if (n == segment_left)
        r->state = STATE_HEAD;
    return n;
}

static int zero_take(struct wal_reader *r, struct slice in, struct tm_err *err)
{
    for (size_t k = 0; k < in.len; k++) {
        if (in.data[k] != 0)
            return corrupt(r, r->position + k, "bytes follow the end of the log", err);
    }
    r->position += in.len;
    return 0;
}

/* One step: part of a page header, or of what lies on the page. */
static int step(struct wal_reader *r, struct slice in, size_t *ret_used, struct tm_err *err)
{
    if (r->state == STATE_ZERO) {
        *ret_used = in.len;
        return zero_take(r, in, err);
    }
    if (r->state == STATE_SKIP) {
        *ret_used = skip_take(r, in);
        if (r->state == STATE_HEAD)
            r->page_need = PAGE_LONG_BYTES;
        return 0;
    }
    if (r->page_need > 0)
        return page_header_take(r, in, ret_used, err);

    uint64_t page_left = r->page_bytes - (r->position & (r->page_bytes - 1));
    struct slice part = slice_of(in.data, TM_MIN((uint64_t)in.len, page_left));
    int rc = 0;
    if (r->state == STATE_HEAD)
        rc = head_take(r, part, ret_used, err);
    else if (r->state == STATE_BODY)
        rc = body_take(r, part, ret_used, err);
    else
        *ret_used = step_take(r, part);
    if (rc < 0)
        return rc;
    if ((r->position & (r->page_bytes - 1)) == 0 && r->state != STATE_ZERO)
        r->page_need = at_segment_start(r, r->position) ? PAGE_LONG_BYTES : PAGE_SHORT_BYTES;
    return 0;
}

int wal_reader_push(struct wal_reader *r, struct slice bytes, struct tm_err *err)
{
    if (r->state == STATE_FAILED)
        return tm_err_set(err, TM_E_CORRUPT, "the log could not be read up to here");
    if (bytes.len > UINT64_MAX - r->position)
        return corrupt(r, r->position, "the log is longer than any log can be", err);
    while (bytes.len > 0) {
        size_t used = 0;
        int rc = step(r, bytes, &used, err);
        if (rc < 0)
            return rc;
        bytes.data += used;
        bytes.len -= used;
    }
    return 0;
}
