#ifndef TM_AGENT_ENGINE_POSTGRES_MANIFEST_H
#define TM_AGENT_ENGINE_POSTGRES_MANIFEST_H
/*
 * Writes PostgreSQL's own backup_manifest, so that pg_verifybackup can judge a restored directory.
 *
 * Calling order:
 *
 *     pg_manifest_new → pg_manifest_file … → pg_manifest_wal_range … → pg_manifest_finish → pg_manifest_free
 *
 * Streaming: files are written out as they come, in any order; memory does not grow with their
 * number. Version 1 for PostgreSQL 13 to 16, version 2 (with the system identifier) from 17.
 * Checksums are CRC32C. Names that are not UTF-8 are written hex-encoded ("Encoded-Path"), as
 * PostgreSQL does.
 *
 * The bytes go to `write`; pg_manifest_finish appends the SHA-256 of everything before it.
 * Not thread safe.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

typedef int (*manifest_write_fn)(void *arg, struct slice bytes, struct tm_err *err);

struct pg_manifest;
int pg_manifest_new(unsigned major, uint64_t system_identifier, manifest_write_fn write, void *arg,
                    struct pg_manifest **ret_manifest, struct tm_err *err) TM_WUR;
void pg_manifest_free(struct pg_manifest *manifest);
TM_DEFINE_FREEP(struct pg_manifest, pg_manifest_free)

int pg_manifest_file(struct pg_manifest *manifest, const char *path, uint64_t size_bytes,
                     int64_t modified_us, uint32_t crc32c, struct tm_err *err) TM_WUR;
/* Log needed to make the files consistent: [start, end) of one timeline. */
int pg_manifest_wal_range(struct pg_manifest *manifest, uint32_t timeline, uint64_t start_lsn,
                          uint64_t end_lsn, struct tm_err *err) TM_WUR;
int pg_manifest_finish(struct pg_manifest *manifest, struct tm_err *err) TM_WUR;

#endif
