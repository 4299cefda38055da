/*
 * Happy path: header after header, until what they announce is as long as what is left.
 *
 * Failure modes: an unknown id, a header that is cut off, a block of "the same relation" before any
 * relation was named, more blocks than a record may have, lengths that do not add up.
 */
#include "agent/engine/postgres/wal_body.h"

#define ID_BLOCK_MAX  32
#define ID_DATA_SHORT 0xFF
#define ID_DATA_LONG  0xFE
#define ID_ORIGIN     0xFD
#define ID_TOPLEVEL   0xFC

#define BLOCK_SAME_RELATION 0x80
#define BLOCK_FORK          0x0F
#define IMAGE_HAS_HOLE      0x01

/* Length of the fixed part of one block reference, and of the data it announces. 0: malformed, or
 * not enough bytes. */
static uint32_t block_reference(unsigned major, const uint8_t *p, uint32_t have,
                                const struct wal_block *before, struct wal_block *ret,
                                uint32_t *ret_payload)
{
    const uint8_t image_compressed = major >= 15 ? 0x1C : 0x02;
    uint32_t used = 4; /* id, fork and flags, data length */
    if (have < used)
        return 0;
    const uint8_t flags = p[1];
    uint32_t payload = wal_le16(p + 2);
    if (flags & WAL_BLOCK_IMAGE) {
        if (have < used + 5)
            return 0;
        payload += wal_le16(p + used);
        uint8_t image_flags = p[used + 4];
        used += 5;
        if ((image_flags & IMAGE_HAS_HOLE) && (image_flags & image_compressed))
            used += 2; /* length of the hole */
    }
    const uint32_t relation = flags & BLOCK_SAME_RELATION ? 0 : 12;
    if (have < used + relation + 4 || (relation == 0 && before == NULL))
        return 0;
    if (relation > 0) {
        ret->tablespace = wal_le32(p + used);
        ret->database = wal_le32(p + used + 4);
        ret->relation = wal_le32(p + used + 8);
    } else {
        *ret = *before;
    }
    used += relation;
    ret->block = wal_le32(p + used);
    ret->fork = flags & BLOCK_FORK;
    ret->flags = flags & (WAL_BLOCK_IMAGE | WAL_BLOCK_DATA | WAL_BLOCK_INIT);
    *ret_payload = payload;
    return used + 4;
}

bool wal_body_parse(unsigned major, struct slice kept, uint32_t body, struct wal_body *ret,
                    struct wal_block blocks[WAL_BLOCKS_MAX])
{
    uint64_t payload = 0;
    uint32_t data_bytes = 0, at = 0;
    unsigned count = 0;
    bool data_seen = false;
    while (!data_seen && (uint64_t)body - at > payload) {
        const uint32_t have = (uint32_t)kept.len - at;
        const uint8_t *p = kept.data + at;
        uint32_t announced = 0, used;
        if (have < 1)
            return false;
        switch (p[0]) {
        case ID_DATA_SHORT:
            used = 2;
            data_seen = true;
            break;
        case ID_DATA_LONG:
            used = 5;
            data_seen = true;
            break;
        case ID_ORIGIN:
            used = 3;
            break;
        case ID_TOPLEVEL:
            used = 5;
            break;
        default:
            if (p[0] > ID_BLOCK_MAX || count == WAL_BLOCKS_MAX)
                return false;
            used = block_reference(major, p, have, count > 0 ? &blocks[count - 1] : NULL,
                                   &blocks[count], &announced);
            count++;
        }
        if (used == 0 || used > have)
            return false;
        if (data_seen)
            announced = data_bytes = used == 2 ? p[1] : wal_le32(p + 1);
        payload += announced;
        at += used;
    }
    if ((uint64_t)at + payload != body)
        return false;
    *ret = (struct wal_body){
        .data_offset = body - data_bytes, .data_bytes = data_bytes, .block_count = count};
    return true;
}
