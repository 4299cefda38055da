#ifndef TM_AGENT_ENGINE_POSTGRES_CONTROL_FILE_H
#define TM_AGENT_ENGINE_POSTGRES_CONTROL_FILE_H
/*
 * global/pg_control of PostgreSQL 13 to 18, as a server on this machine writes it (native order and
 * alignment: a cluster is bound to its architecture, and so is its backup).
 *
 * The server rewrites the file in place, so a reader may see a half-written one. control_file_read
 * then tries again, 10 times 10 ms apart, until the CRC is right or the same wrong CRC was
 * seen twice in a row (the file is then really damaged).
 *
 * Errors: TM_E_CORRUPT for a wrong CRC or size, TM_E_UNSUPPORTED for another version (the version
 * field is looked at before the CRC, for its place depends on it).
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define CONTROL_FILE_PATH  "global/pg_control"
#define CONTROL_FILE_BYTES 8192 /* the file's size on disk; at most 512 are used */

/* DBState */
enum control_file_state {
    CONTROL_STARTUP = 0,
    CONTROL_SHUTDOWNED = 1,
    CONTROL_SHUTDOWNED_IN_RECOVERY = 2,
    CONTROL_SHUTDOWNING = 3,
    CONTROL_IN_CRASH_RECOVERY = 4,
    CONTROL_IN_ARCHIVE_RECOVERY = 5,
    CONTROL_IN_PRODUCTION = 6,
};

/* What a server that replays must at least be set to. Where settings change, the log says so: these
 * are those in force at some place of it. */
struct control_settings {
    int32_t wal_level; /* 0 minimal, 1 replica, 2 logical */
    int32_t max_connections;
    int32_t max_worker_processes;
    int32_t max_wal_senders;
    int32_t max_prepared_transactions;
    int32_t max_locks_per_transaction;
    bool wal_log_hints;
    bool track_commit_timestamp;
};

struct control_file {
    uint64_t system_id;
    uint32_t control_version;
    uint32_t catalog_version;
    uint32_t major; /* from the two above: 13 … 18 */
    enum control_file_state state;
    uint64_t checkpoint;   /* LSN of the last checkpoint record */
    uint64_t redo;         /* its redo point */
    uint32_t timeline;     /* of the last checkpoint */
    bool full_page_writes; /* at the last checkpoint */
    uint64_t next_xid;     /* at the last checkpoint, 64 bits */
    uint64_t min_recovery_point;
    uint32_t min_recovery_timeline;
    struct control_settings settings; /* a server restored from this needs as much */
    uint32_t block_bytes;
    uint32_t relation_segment_blocks; /* blocks per 1 GiB file of a relation */
    uint32_t wal_block_bytes;
    uint32_t wal_segment_bytes;
    uint32_t checksum_version; /* 0 = pages carry no checksums */
};

/* Parses bytes read from the file; at least 512 of them. */
int control_file_parse(struct slice bytes, struct control_file *ret, struct tm_err *err) TM_WUR;

/* Reads below the directory `data_dir_fd`. ret_bytes (may be NULL) has CONTROL_FILE_BYTES and gets
 * the very bytes that were parsed, padded with zeros. */
int control_file_read(int data_dir_fd, struct control_file *ret, uint8_t *ret_bytes,
                      struct tm_err *err) TM_WUR;

/* Rewrites the file's bytes, as control_file_read gave them, into those of a server that was recovering
 * from an archive: it replays at least up to min_recovery_point before it calls itself consistent,
 * and begins with these settings. */
int control_file_recovering(uint8_t bytes[CONTROL_FILE_BYTES], uint64_t min_recovery_point,
                            uint32_t timeline, const struct control_settings *settings,
                            struct tm_err *err) TM_WUR;

const char *control_file_state_text(enum control_file_state state);

#endif
