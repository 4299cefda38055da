#ifndef TM_AGENT_ENGINE_POSTGRES_PAGE_H
#define TM_AGENT_ENGINE_POSTGRES_PAGE_H
/*
 * Judging one page of a relation by its header and checksum; pure, no I/O.
 *
 * PostgreSQL's page checksum is a 32-lane variant of FNV-1a over the page with the checksum field
 * taken as zero, mixed with the block number within the relation (through all segment files), so
 * that a page in the wrong place is wrong, too.
 *
 * A verdict of PAGE_WRONG is not yet corruption: the page may have been torn while it was read, or
 * lie beyond the snapshot's start, where replay brings its full image. The reader decides.
 */
#include <stddef.h>
#include <stdint.h>

enum page_verdict {
    PAGE_GOOD,
    PAGE_NEW,   /* all zeros: allocated, never written */
    PAGE_WRONG, /* checksum or header do not fit */
};

struct page_result {
    uint64_t lsn; /* of the page's last change, as its header says */
    uint16_t stored;
    uint16_t computed; /* 0 when a page that should be new is not all zeros */
};

/* block_bytes is a multiple of 128. `page` needs no alignment. */
enum page_verdict page_check(const uint8_t *page, size_t block_bytes, uint32_t block,
                             struct page_result *ret);

uint16_t page_checksum(const uint8_t *page, size_t block_bytes, uint32_t block);
/* As page_checksum without the processor's wide registers: for tests. */
uint16_t page_checksum_portable(const uint8_t *page, size_t block_bytes, uint32_t block);

#endif
