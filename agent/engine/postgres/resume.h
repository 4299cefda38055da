#ifndef TM_AGENT_ENGINE_POSTGRES_RESUME_H
#define TM_AGENT_ENGINE_POSTGRES_RESUME_H
/*
 * May a snapshot go on in another session? What can be told now, without the log, which proof.c reads.
 *
 * Why it may at all: replay begins at the first start, and the first record that touches a page after
 * a checkpoint carries its whole image. So whatever was copied since the first start is overwritten
 * where it has changed, no matter how often a session, or the server, was lost in between.
 */
#include "agent/engine/postgres/slot.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/version.h"

struct pg_resume_now {
    const struct pg_version *version;
    char wal_level[16];
    bool full_page_writes;
    uint64_t flushed; /* end of the log */
    struct pg_slot_state slot;
    struct pg_begin place; /* as pg_begin_look fills it */
};

/* TM_E_CONFLICT and what is in the way. `hold` is the slot's name, `log_from` the first byte of log
 * that is not stored. Pure. */
int pg_resume_judge(const struct pg_begin *first, const struct pg_resume_now *now, const char *hold,
                    uint64_t log_from, struct tm_err *err) TM_WUR;

#endif
