#ifndef TM_AGENT_ENGINE_POSTGRES_LABEL_H
#define TM_AGENT_ENGINE_POSTGRES_LABEL_H
/*
 * backup_label and tablespace_map: the two small texts that pg_backup_stop returns.
 *
 * The label is what makes recovery start at the right record. It is kept as PostgreSQL wrote it,
 * unless its snapshot was resumed; parsing is for checking and for what the restore needs to know.
 * tablespace_map is parsed and never written back: a restore makes the links itself, to the places
 * it was told.
 *
 * Pure functions, thread safe.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define LABEL_SEGMENT_MAX   25
#define LABEL_TEXT_MAX      1024
#define TABLESPACE_PATH_MAX 1024
#define TABLESPACES_MAX     4096

struct label {
    uint64_t start_lsn;
    uint32_t start_timeline; /* 0 when the label does not say (before 11) */
    uint64_t checkpoint_lsn;
    char start_segment[LABEL_SEGMENT_MAX]; /* 24 hex digits */
    bool streamed;                         /* BACKUP METHOD: streamed */
    bool from_standby;                     /* BACKUP FROM: standby */
    bool incremental;          /* INCREMENTAL FROM …: cannot be started as it stands */
    char text[LABEL_TEXT_MAX]; /* LABEL: what the user called it */
};
int label_parse(struct slice text, struct label *ret_label, struct tm_err *err) TM_WUR;

/* Appends a label in the server's form, as one has to be that begins at `start_lsn` but did not end
 * with a backup's end: recovery is consistent where pg_control says so (BACKUP FROM: standby, BACKUP
 * METHOD: pg_rewind). Of *label the two positions and the timeline are taken. */
int label_write(const struct label *label, uint32_t wal_segment_bytes, int64_t start_us,
                const char *text, struct buf *out, struct tm_err *err) TM_WUR;

struct tablespace_link {
    uint32_t oid;
    char path[TABLESPACE_PATH_MAX];
};
/* One call per line "oid path", escapes undone. Refuses paths that are not absolute. */
typedef int (*tablespace_link_fn)(void *arg, const struct tablespace_link *link,
                                  struct tm_err *err);
int tablespace_map_parse(struct slice text, tablespace_link_fn fn, void *arg,
                         struct tm_err *err) TM_WUR;

#endif
