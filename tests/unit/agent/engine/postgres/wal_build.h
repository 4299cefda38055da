#ifndef TM_TESTS_WAL_BUILD_H
#define TM_TESTS_WAL_BUILD_H
/*
 * Writes log as PostgreSQL would, for tests: pages with headers, records cut over them.
 * Segments of 1 MiB, pages of 8 KiB.
 */
#include <endian.h>

#include "agent/engine/postgres/version.h"
#include "common/hash.h"

#define WAL_BUILD_SEGMENT 1048576u
#define WAL_BUILD_PAGE    8192u
#define WAL_BUILD_MAX     ((size_t)4 * WAL_BUILD_SEGMENT)

struct wal_build {
    uint8_t *bytes; /* WAL_BUILD_MAX, zeros */
    unsigned major;
    uint64_t from; /* position of bytes[0] */
    uint64_t at;   /* next position */
    uint64_t prev;
    uint64_t system_id;
    uint32_t timeline;
};

static inline void wal_put16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof(v));
}
static inline void wal_put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}
static inline void wal_put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static inline uint8_t *wal_at(struct wal_build *b, uint64_t lsn)
{
    return b->bytes + (lsn - b->from);
}

static inline void wal_page_begin(struct wal_build *b, uint16_t flags, uint32_t rest)
{
    bool is_long = b->at % WAL_BUILD_SEGMENT == 0;
    uint8_t *p = wal_at(b, b->at);
    wal_put16(p, pg_version_find(b->major)->wal_page_magic);
    wal_put16(p + 2, (uint16_t)(flags | (is_long ? 2 : 0)));
    wal_put32(p + 4, b->timeline);
    wal_put64(p + 8, b->at);
    wal_put32(p + 16, rest);
    if (is_long) {
        wal_put64(p + 24, b->system_id);
        wal_put32(p + 32, WAL_BUILD_SEGMENT);
        wal_put32(p + 36, WAL_BUILD_PAGE);
    }
    b->at += is_long ? 40 : 24;
}

static inline void wal_raw(struct wal_build *b, const uint8_t *data, uint32_t len)
{
    while (len > 0) {
        if (b->at % WAL_BUILD_PAGE == 0)
            wal_page_begin(b, 1, len);
        uint32_t room = WAL_BUILD_PAGE - (uint32_t)(b->at % WAL_BUILD_PAGE);
        uint32_t n = len < room ? len : room;
        memcpy(wal_at(b, b->at), data, n);
        b->at += n;
        data += n;
        len -= n;
    }
}

/* A record whose body is given; returns its position. */
static inline uint64_t wal_body(struct wal_build *b, uint8_t rmid, uint8_t info, uint32_t xid,
                                const uint8_t *body, uint32_t len)
{
    uint8_t *record = calloc(1, 24 + (size_t)len);
    b->at = (b->at + 7) & ~UINT64_C(7);
    if (b->at % WAL_BUILD_PAGE == 0)
        wal_page_begin(b, 0, 0);
    uint64_t lsn = b->at;
    wal_put32(record, 24 + len);
    wal_put32(record + 4, xid);
    wal_put64(record + 8, b->prev);
    record[16] = info;
    record[17] = rmid;
    if (len > 0)
        memcpy(record + 24, body, len);
    uint32_t crc = crc32c(CRC32C_INIT, record + 24, len);
    crc = crc32c(crc, record, 20);
    wal_put32(record + 20, crc);
    wal_raw(b, record, 24 + len);
    b->prev = lsn;
    free(record);
    return lsn;
}

/* A record with main data only. */
static inline uint64_t wal_data(struct wal_build *b, uint8_t rmid, uint8_t info, uint32_t xid,
                                const void *data, uint32_t len)
{
    uint8_t *body = calloc(1, 5 + (size_t)len);
    uint32_t head;
    if (len == 0) {
        head = 0;
    } else if (len < 256) {
        body[0] = 0xFF;
        body[1] = (uint8_t)len;
        head = 2;
    } else {
        body[0] = 0xFE;
        wal_put32(body + 1, len);
        head = 5;
    }
    if (len > 0)
        memcpy(body + head, data, len);
    uint64_t lsn = wal_body(b, rmid, info, xid, body, head + len);
    free(body);
    return lsn;
}

/* A switch record, and on to the next segment. */
static inline uint64_t wal_switch(struct wal_build *b)
{
    uint64_t lsn = wal_data(b, 0, 0x40, 0, NULL, 0);
    b->at = (b->at + WAL_BUILD_SEGMENT - 1) / WAL_BUILD_SEGMENT * WAL_BUILD_SEGMENT;
    return lsn;
}

static inline void wal_build_init(struct wal_build *b, unsigned major, uint64_t from)
{
    *b = (struct wal_build){
        .bytes = calloc(1, WAL_BUILD_MAX),
        .major = major,
        .from = from,
        .at = from,
        .prev = from > 0 ? from - 100 : 0,
        .system_id = 7000000000000000001u,
        .timeline = 1,
    };
}

static inline void wal_build_release(struct wal_build *b)
{
    free(b->bytes);
    b->bytes = NULL;
}

#endif
