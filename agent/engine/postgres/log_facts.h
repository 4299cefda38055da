#ifndef TM_AGENT_ENGINE_POSTGRES_LOG_FACTS_H
#define TM_AGENT_ENGINE_POSTGRES_LOG_FACTS_H
/*
 * What streams and indexes must know of a log: the facts blob ("TMPG", 'L'; see blob.h and
 * proto/README.md), made by log_describe and kept with the lineage.
 *
 * A snapshot's begin blob ('B') says the same things, and is taken in the facts' place.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

struct pg_log_facts {
    uint64_t system_id;
    uint32_t version_num; /* 150018 */
    uint32_t timeline;
    uint32_t wal_segment_bytes;
    uint32_t block_bytes; /* of relations */
    uint64_t next_xid;    /* 64 bits, when the source was described; 0 = not known */
};

int pg_log_facts_encode(const struct pg_log_facts *facts, struct buf *out,
                        struct tm_err *err) TM_WUR;
/* 'L' or 'B'. */
int pg_log_facts_decode(struct slice blob, struct pg_log_facts *ret, struct tm_err *err) TM_WUR;

/* "2" → 2: a branch's label is its timeline. TM_E_INVALID for anything else. */
int pg_timeline_parse(const char *label, uint32_t *ret, struct tm_err *err) TM_WUR;

#endif
