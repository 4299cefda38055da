#ifndef TM_AGENT_ENGINE_POSTGRES_WAL_BODY_H
#define TM_AGENT_ENGINE_POSTGRES_WAL_BODY_H
/*
 * What lies behind a log record's header: the headers of its block references and of its main data,
 * then images and data in the same order, the main data last. Shared by the reader and the decoders
 * of single records; pure.
 */
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/postgres/wal_reader.h"

struct wal_body {
    uint32_t data_offset; /* of the main data, within the body */
    uint32_t data_bytes;
    unsigned block_count; /* how many of the blocks were filled */
};

/* `kept` holds the first bytes of a body of `body` bytes. False: malformed. */
bool wal_body_parse(unsigned major, struct slice kept, uint32_t body, struct wal_body *ret,
                    struct wal_block blocks[WAL_BLOCKS_MAX]);

/* Numbers in the server's byte order, which is little-endian. */
static inline uint16_t wal_le16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return le16toh(v);
}
static inline uint32_t wal_le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}
static inline uint64_t wal_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

/* The same; false when they are not there. */
static inline bool wal_get8(struct slice data, size_t offset, uint8_t *ret)
{
    if (offset >= data.len)
        return false;
    *ret = data.data[offset];
    return true;
}
static inline bool wal_get16(struct slice data, size_t offset, uint16_t *ret)
{
    if (data.len < sizeof(*ret) || offset > data.len - sizeof(*ret))
        return false;
    *ret = wal_le16(data.data + offset);
    return true;
}
static inline bool wal_get32(struct slice data, size_t offset, uint32_t *ret)
{
    if (data.len < sizeof(*ret) || offset > data.len - sizeof(*ret))
        return false;
    *ret = wal_le32(data.data + offset);
    return true;
}
static inline bool wal_get64(struct slice data, size_t offset, uint64_t *ret)
{
    if (data.len < sizeof(*ret) || offset > data.len - sizeof(*ret))
        return false;
    *ret = wal_le64(data.data + offset);
    return true;
}

#endif
