#ifndef TM_AGENT_ENGINE_POSTGRES_WAL_READER_H
#define TM_AGENT_ENGINE_POSTGRES_WAL_READER_H
/*
 * PostgreSQL's write-ahead log (13 to 18), read as a stream.
 *
 * Calling order:
 *
 *     wal_reader_new(from, a segment start) → wal_reader_push(any slices, in order) …
 *     → wal_reader_free
 *
 * `push` takes the bytes that follow what was pushed before, cut anywhere, and calls back once per
 * whole record whose checksum is right. A record that began before `from` is stepped over. After
 * the last record only zeros may follow (padding of the last segment); log after a switch record is
 * ignored up to the next segment, as PostgreSQL does.
 *
 * Nothing is trusted: wrong magic, address, timeline going back, system identifier, back link,
 * length, block headers or CRC give TM_E_CORRUPT, naming the position. Memory is bounded: of a
 * record longer than WAL_RECORD_KEEP only that many bytes are kept (its checksum is still verified
 * over all of it), and `data` is cut accordingly. Ends of transactions list their subtransactions
 * and the files they drop, and are kept up to WAL_RECORD_KEEP_XACT.
 *
 * A failed reader stays failed. Not thread safe; one per stream.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define WAL_RECORD_KEEP      (1024 * 1024)
#define WAL_RECORD_KEEP_XACT (64 * 1024 * 1024)
#define WAL_RECORD_MAX       (1024u * 1024 * 1024) /* PostgreSQL writes at most 1020 MiB */
#define WAL_BLOCKS_MAX       33                    /* PostgreSQL's limit in one record */

/* resource managers and infos that Tidemark looks at */
enum { WAL_RM_XLOG = 0, WAL_RM_XACT = 1, WAL_RM_SMGR = 2, WAL_RM_DBASE = 4, WAL_RM_TBLSPC = 5 };

enum { WAL_BLOCK_IMAGE = 0x10, WAL_BLOCK_DATA = 0x20, WAL_BLOCK_INIT = 0x40 };

/* One block that a record changes. */
struct wal_block {
    uint32_t tablespace;
    uint32_t database;
    uint32_t relation; /* relfilenode */
    uint32_t block;
    uint8_t fork;
    uint8_t flags; /* WAL_BLOCK_… */
};

struct wal_record {
    uint64_t lsn; /* first byte of the record */
    uint64_t
        end_lsn; /* where the next record may start (8-byte aligned, page header skipped not) */
    uint64_t prev_lsn;
    uint32_t total_bytes;
    uint32_t xid;
    uint32_t timeline; /* of the page the record starts on */
    uint8_t rmid;
    uint8_t info;
    struct slice data;   /* main data, valid during the callback; may be cut, see above */
    uint32_t data_bytes; /* full length of the main data */
    const struct wal_block *blocks; /* valid during the callback */
    unsigned block_count;
};

/* A negative result stops the reader and is returned by push, err as the callback set it. */
typedef int (*wal_record_fn)(void *arg, const struct wal_record *record, struct tm_err *err);

struct wal_reader_config {
    unsigned major;             /* 13 to 18 */
    uint64_t from;              /* stream byte; a segment start */
    uint32_t segment_bytes;     /* 1 MiB to 1 GiB, a power of two */
    uint64_t system_identifier; /* 0 = any */
    wal_record_fn record;       /* may be NULL: only verify */
    void *arg;
};

struct wal_reader;
int wal_reader_new(const struct wal_reader_config *config, struct wal_reader **ret_reader,
                   struct tm_err *err) TM_WUR;
void wal_reader_free(struct wal_reader *reader);
TM_DEFINE_FREEP(struct wal_reader, wal_reader_free)

int wal_reader_push(struct wal_reader *reader, struct slice bytes, struct tm_err *err) TM_WUR;

/* Stream byte of what push expects next. */
uint64_t wal_reader_position(const struct wal_reader *reader);
/* Just behind the last whole record, or `from` when there was none yet. */
uint64_t wal_reader_valid_end(const struct wal_reader *reader);
uint64_t wal_reader_record_count(const struct wal_reader *reader);
/* A record that began before `from` has ended: it was not seen. */
bool wal_reader_stepped_over(const struct wal_reader *reader);

/* ---- what records say; each returns false when the record is not that, or is malformed ---- */

enum wal_kind {
    WAL_OTHER,
    WAL_COMMIT, /* also of prepared transactions */
    WAL_ABORT,
    WAL_PREPARE,
    WAL_CHECKPOINT, /* online or shutdown */
    WAL_SWITCH,
    WAL_BACKUP_END,
    WAL_RESTORE_POINT,
    WAL_PARAMETER_CHANGE,
    WAL_FPW_CHANGE,
    WAL_END_OF_RECOVERY,
    WAL_TABLESPACE_CREATE,
    WAL_TABLESPACE_DROP,
    WAL_DATABASE_CREATE, /* by file copy, or the header of one by log */
    WAL_DATABASE_DROP,
    WAL_FORK_CREATE, /* the file of a relation's fork */
    WAL_FORK_TRUNCATE,
};
enum wal_kind wal_record_kind(const struct wal_record *record, unsigned major);

#define WAL_TABLESPACE_PATH_MAX 1024
struct wal_tablespace_create {
    uint32_t oid;
    char path[WAL_TABLESPACE_PATH_MAX];
};
bool wal_tablespace_create_of(const struct wal_record *record, struct wal_tablespace_create *ret);

struct wal_database_create {
    uint32_t database;
    uint32_t tablespace;
    bool by_file_copy;
    uint32_t source_database; /* by_file_copy only */
    uint32_t source_tablespace;
};
bool wal_database_create_of(const struct wal_record *record, unsigned major,
                            struct wal_database_create *ret);

/* The n-th tablespace that a dropped database lies in; false when there is none. */
bool wal_database_drop_of(const struct wal_record *record, unsigned major, uint32_t n,
                          uint32_t *ret_database, uint32_t *ret_tablespace);
bool wal_tablespace_drop_of(const struct wal_record *record, uint32_t *ret_oid);

struct wal_fork {
    uint32_t tablespace;
    uint32_t database;
    uint32_t relation;
    uint8_t fork;
};
bool wal_fork_create_of(const struct wal_record *record, struct wal_fork *ret);

struct wal_fork_truncate {
    struct wal_fork relation; /* its fork is 0 */
    uint32_t blocks;          /* that are left of the main fork */
    bool main;                /* which forks are truncated */
    bool vm;
    bool fsm;
};
bool wal_fork_truncate_of(const struct wal_record *record, struct wal_fork_truncate *ret);

/* The end of a transaction, or its preparation. */
struct wal_xact {
    uint32_t xid; /* of the prepared one, where one is ended; 0 = it had none */
    int64_t time_us;
    uint32_t subxact_count;
    uint32_t relation_count; /* whose files go with it; of a prepared one none is said */
    struct slice relations;  /* 12 bytes each */
    struct slice name;       /* global identifier of a prepared one, without NUL */
    bool cut;                /* too long to be known whole: count and list may be short, xid 0 */
};
bool wal_xact_of(const struct wal_record *record, unsigned major, struct wal_xact *ret);
struct wal_fork wal_xact_relation(const struct wal_xact *xact, uint32_t n);

struct wal_checkpoint {
    uint64_t redo_lsn;
    uint64_t next_xid; /* 64 bits */
    int32_t wal_level; /* -1: not said, before 17 */
    uint32_t timeline;
    uint32_t prev_timeline;
    bool full_page_writes;
    bool shutdown;
    int64_t time_us; /* real time */
};
bool wal_checkpoint_of(const struct wal_record *record, unsigned major, struct wal_checkpoint *ret);

struct wal_parameters {
    int32_t max_connections;
    int32_t max_worker_processes;
    int32_t max_wal_senders;
    int32_t max_prepared_xacts;
    int32_t max_locks_per_xact;
    int32_t wal_level;
    bool wal_log_hints;
    bool track_commit_timestamp;
};
bool wal_parameters_of(const struct wal_record *record, struct wal_parameters *ret);

#define WAL_RESTORE_POINT_MAX 64
/* Time of a commit, abort, restore point or end of recovery, as real_us. */
bool wal_time_of(const struct wal_record *record, unsigned major, int64_t *ret_real_us);
bool wal_restore_point_of(const struct wal_record *record, char ret_name[WAL_RESTORE_POINT_MAX]);
bool wal_backup_end_of(const struct wal_record *record, uint64_t *ret_start_lsn);
bool wal_fpw_change_of(const struct wal_record *record, bool *ret_on);

#endif
