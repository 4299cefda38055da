#ifndef TM_AGENT_ENGINE_NULL_SOURCE_H
#define TM_AGENT_ENGINE_NULL_SOURCE_H
/*
 * The null engine's source as it is at this moment. For the null engine's files only.
 */
#include "agent/engine/null/config.h"

/* The words of `conninfo`, and of its state file as it is now. */
int null_source_read(const char *conninfo, struct null_config *ret, struct tm_err *err) TM_WUR;
/* End of the log when the source's clock reads now_us. */
uint64_t null_source_flushed(const struct null_config *c, int64_t now_us);
/* The log's bytes [at, at + len), of the branch that is written. */
void null_source_log(const struct null_config *c, uint64_t at, uint8_t *dst, size_t len);

#endif
