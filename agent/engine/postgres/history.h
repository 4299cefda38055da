#ifndef TM_AGENT_ENGINE_POSTGRES_HISTORY_H
#define TM_AGENT_ENGINE_POSTGRES_HISTORY_H
/*
 * Timeline history files: one line for each ancestor, oldest first: "timeline TAB lsn TAB reason",
 * where lsn is where the next timeline left it. Pure functions on the file's bytes.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

/* 1 = the direct parent and where it was left, 0 = no ancestor; a line that is none is
 * TM_E_CORRUPT and named by its number. */
int pg_history_parent(struct slice history, uint32_t *ret_timeline, uint64_t *ret_fork,
                      struct tm_err *err) TM_WUR;
/* 1 = `timeline` is an ancestor, and ended at *ret_end. */
int pg_history_end_of(struct slice history, uint32_t timeline, uint64_t *ret_end,
                      struct tm_err *err) TM_WUR;
/* 1 = the ancestor in line `index` (of 0), and what its own history says: the lines before; 0 = there
 * are no more. */
int pg_history_ancestor(struct slice history, size_t index, uint32_t *ret_timeline,
                        struct slice *ret_own, struct tm_err *err) TM_WUR;

#endif
