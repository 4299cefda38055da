#ifndef TM_AGENT_ENGINE_POSTGRES_STREAM_H
#define TM_AGENT_ENGINE_POSTGRES_STREAM_H
/*
 * A replication connection and what the server says about itself on it. The log stream itself is
 * behind agent/engine/engine.h (see pg.h).
 */
#include <stdint.h>

#include "agent/engine/postgres/conn.h"

struct pg_identity {
    uint64_t system_id;
    uint32_t timeline;
    uint64_t flushed;
};

/* Opens, and runs IDENTIFY_SYSTEM. Errors name max_wal_senders or pg_hba.conf where they are the
 * reason. */
int pg_replication_open(const char *conninfo, struct pg_conn **ret,
                        struct pg_identity *ret_identity, struct tm_err *err) TM_WUR;

#endif
