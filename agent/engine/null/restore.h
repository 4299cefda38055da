#ifndef TM_AGENT_ENGINE_NULL_RESTORE_H
#define TM_AGENT_ENGINE_NULL_RESTORE_H
/*
 * The restore side of the null and mock engines: plain files below the data directory. engine.h
 * says what each call promises.
 */
#include "agent/engine/engine.h"
#include "agent/engine/null/config.h"

#define NULL_STARTABLE "STARTABLE"

/* Reads the config back from a begin blob. */
int null_begin_config(struct slice begin, struct null_config *ret, struct tm_err *err) TM_WUR;

int null_restore_open(const struct engine_restore_spec *spec, struct engine_restore **ret,
                      struct tm_err *err) TM_WUR;
int null_restore_prepare(struct engine_restore *restore, struct tm_err *err) TM_WUR;
int null_restore_file(struct engine_restore *restore, const struct file_entry *entry, int *ret_fd,
                      struct tm_err *err) TM_WUR;
int null_restore_log(struct engine_restore *restore, const char *lineage_label, uint64_t from,
                     struct slice data, struct tm_err *err) TM_WUR;
int null_restore_manifest_file(struct engine_restore *restore, const char *path, uint64_t size,
                               int64_t modified_us, uint32_t crc32c, struct tm_err *err) TM_WUR;
int null_restore_finish(struct engine_restore *restore, struct tm_err *err) TM_WUR;
int null_restore_start(struct engine_restore *restore, unsigned timeout_ms,
                       struct tm_err *err) TM_WUR;
void null_restore_close(struct engine_restore *restore);

#endif
