#ifndef TM_AGENT_ENGINE_POSTGRES_SNAPSHOT_H
#define TM_AGENT_ENGINE_POSTGRES_SNAPSHOT_H
/*
 * What is known about a snapshot at its begin and at its end: the two blobs that the core carries
 * from the session to readers, log streams and restores, and keeps in the backup's manifest.
 *
 * Encoding (kept for good): "TMPG", u8 'B' or 'E', u8 version 1, then fields: u16 tag, u32 length,
 * value; all integers big-endian. A tag may repeat where it is a list. A reader skips tags it does
 * not know; it refuses a missing required one, a wrong length and trailing bytes.
 *
 * Ownership: a decoded struct owns its strings and lists; release it with …_release, which accepts
 * a zeroed struct. Not thread safe, but read-only use by many threads is fine.
 */
#include <stdint.h>

#include "agent/engine/engine.h"
#include "agent/engine/postgres/control_file.h"
#include "common/buf.h"
#include "common/err.h"

#define PG_TABLESPACES_MAX  1024
#define PG_STARTS_MAX       256 /* further ones */
#define PG_CONFIG_FILES_MAX 256
#define PG_LABEL_MAX        1024
#define PG_HISTORY_MAX      131072

struct pg_tablespace {
    uint32_t oid;
    char *path; /* absolute, as the server says */
};

/* A configuration file outside the data directory. */
struct pg_config_file {
    char *path; /* absolute */
    char *role; /* "config_file", "hba_file", "ident_file" or "include" */
};

/* A later session of the same snapshot, whose earlier one was lost. */
struct pg_start {
    uint64_t lsn; /* as pg_backup_start answered */
    int64_t us;   /* the server's clock, before it */
};

/* Of a snapshot that was resumed all is said as it was at the first start, but `further`. */
struct pg_begin {
    uint64_t system_id;
    uint64_t start_lsn;   /* as pg_backup_start answered: the redo point */
    uint64_t replay_from; /* start of the segment that holds it */
    uint32_t timeline;
    uint32_t version_num; /* 150018 */
    uint32_t catalog_version;
    uint32_t control_version;
    uint32_t block_bytes;
    uint32_t relation_segment_blocks;
    uint32_t wal_segment_bytes;
    uint32_t checksum_version; /* 0 = none */
    int64_t start_us;          /* the server's clock, before the start */
    char *data_dir;            /* the server's own name for it */
    char *label;
    struct pg_tablespace *tablespaces; /* sorted by oid */
    size_t tablespace_count;
    struct pg_config_file *config_files;
    size_t config_file_count;
    struct buf history;      /* bytes of <timeline>.history; empty on timeline 1 */
    uint64_t checkpoint_lsn; /* the record of the start's checkpoint; 0 = not said (older blobs) */
    uint64_t
        next_xid; /* transactions from it on began after the start; 0 = not said (older blobs) */
    struct control_settings settings; /* at the start; with checkpoint_lsn */
    struct pg_start *further;         /* in log order */
    size_t further_count;
};

struct pg_end {
    uint64_t stop_lsn; /* consistent when replay has reached it */
    uint32_t timeline;
    int64_t commit_us;         /* every commit acknowledged before this is in the snapshot */
    int64_t settled_us;        /* no commit in the snapshot has a later time; 0 = not known */
    struct buf backup_label;   /* the file's bytes */
    struct buf tablespace_map; /* the file's bytes as the server gave them; empty = no such file */
};

void pg_begin_release(struct pg_begin *begin);
/* TM_E_LIMIT when there are PG_STARTS_MAX already. */
int pg_begin_add_start(struct pg_begin *begin, struct pg_start start, struct tm_err *err) TM_WUR;
int pg_begin_encode(const struct pg_begin *begin, struct buf *out, struct tm_err *err) TM_WUR;
int pg_begin_decode(struct slice blob, struct pg_begin *ret, struct tm_err *err) TM_WUR;

void pg_end_release(struct pg_end *end);
int pg_end_encode(const struct pg_end *end, struct buf *out, struct tm_err *err) TM_WUR;
int pg_end_decode(struct slice blob, struct pg_end *ret, struct tm_err *err) TM_WUR;

#endif
