#ifndef TM_AGENT_ENGINE_POSTGRES_MANIFEST_H
#define TM_AGENT_ENGINE_POSTGRES_MANIFEST_H
/*
 * Writes PostgreSQL's own backup_manifest, so that pg_verifybackup can judge a restored directory.
 *
 * Calling order:
 *
 *     manifest_new → manifest_file … → manifest_wal_range … → manifest_finish → manifest_free
 *
 * Streaming: files are written out as they come, in any order; memory does not grow with their
 * number. Version 1 for PostgreSQL 13 to 16, version 2 (with the system identifier) from 17.
 * Checksums are CRC32C. Names that are not UTF-8 are written hex-encoded ("Encoded-Path"), as
 * PostgreSQL does.
 *
 * The bytes go to `write`; manifest_finish appends the SHA-256 of everything before it.
 * Not thread safe.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

typedef int (*manifest_write_fn)(void *arg, struct slice bytes, struct tm_err *err);

struct manifest;
int manifest_new(unsigned major, uint64_t system_identifier, manifest_write_fn write, void *arg,
                 struct manifest **ret_manifest, struct tm_err *err) TM_WUR;
void manifest_free(struct manifest *manifest);
TM_DEFINE_FREEP(struct manifest, manifest_free)

int manifest_file(struct manifest *manifest, const char *path, uint64_t size_bytes,
                  int64_t modified_us, uint32_t crc32c, struct tm_err *err) TM_WUR;
/* Log needed to make the files consistent: [start, end) of one timeline. */
int manifest_wal_range(struct manifest *manifest, uint32_t timeline, uint64_t start_lsn,
                       uint64_t end_lsn, struct tm_err *err) TM_WUR;
int manifest_finish(struct manifest *manifest, struct tm_err *err) TM_WUR;

#endif
