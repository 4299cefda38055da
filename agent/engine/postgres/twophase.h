#ifndef TM_AGENT_ENGINE_POSTGRES_TWOPHASE_H
#define TM_AGENT_ENGINE_POSTGRES_TWOPHASE_H
/*
 * The state files of prepared transactions, pg_twophase/<xid>: which of them belong into a snapshot, and
 * whether one is whole.
 *
 * A transaction that is prepared before the start has its file by then, for the start's checkpoint
 * makes it. One that began after the start is prepared by replay, from the log. Its file, made by a
 * checkpoint while the snapshot was read, must not be there: before it replays, the server removes files
 * of transactions that are still to come, but 17 and 18 remove by a wrong name as long as no
 * transaction number has wrapped around, then find the file when they replay, take the transaction
 * for one that was restored already, and lose it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/postgres/snapshot.h"

/* Is `path`, relative to the data directory, the state file of a transaction that began after the snapshot's
 * first start? Never, when the start does not say which transaction was next. */
bool twophase_is_later(const struct pg_begin *begin, const char *path);

/* Is `path` a state file at all? */
bool twophase_is_state_file(const struct pg_begin *begin, const char *path);

/* The server writes a state file in place, once. Waits until it is whole, as long as that may take; *ret_whole
 * says whether it is. What stays torn is damage. Fails when the file cannot be read. */
int twophase_await_whole(int fd, const char *path, bool *ret_whole, struct tm_err *err) TM_WUR;

#endif
