#ifndef TM_AGENT_ENGINE_POSTGRES_CHECKPOINT_H
#define TM_AGENT_ENGINE_POSTGRES_CHECKPOINT_H
/*
 * Where the record of the checkpoint lies that a backup starts from: a label that is made by hand has
 * to say it, and the server tells only of the newest checkpoint. It also says which transaction was next.
 */
#include "agent/engine/postgres/snapshot.h"

/* From the log in data_dir's pg_wal, which has all of it since the start. Of *begin the version,
 * system_id, timeline, wal_segment_bytes, start_lsn and replay_from must be set. */
int pg_checkpoint_find(const char *data_dir, const struct pg_begin *begin, uint64_t *ret_lsn,
                       uint64_t *ret_next_xid, struct tm_err *err) TM_WUR;

#endif
