#ifndef TM_AGENT_ENGINE_POSTGRES_RESTORE_INTERNAL_H
#define TM_AGENT_ENGINE_POSTGRES_RESTORE_INTERNAL_H
/*
 * What the files of the restore side share. Nobody else includes this.
 *
 *   restore.c           open: reads the blobs, refuses; close
 *   restore_place.c     real paths, roots, owners: where may be written
 *   restore_prepare.c   directories, links, making the target unstartable
 *   restore_file.c      file parts, many threads at once
 *   restore_delta.c     which paths belong; removing the others
 *   restore_log.c       stored log: checking and writing segments
 *   restore_index.c     the same check, by what chunks say of themselves
 *   restore_unlogged.c  what a backup holds of relations that are unlogged, and were not known to be
 *   restore_conf.c      configuration files and recovery settings
 *   restore_finish.c    manifest, syncing, pg_control last
 *   restore_start.c     starting the result
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "agent/engine/postgres/label.h"
#include "agent/engine/postgres/manifest.h"
#include "agent/engine/postgres/restore.h"
#include "agent/engine/postgres/snapshot.h"
#include "agent/engine/postgres/version.h"
#include "agent/engine/postgres/wal_reader.h"
#include "common/fs.h"

#define RESTORE_STRINGS_MAX       4096
#define RESTORE_CONFIG_MAX_BYTES  ((size_t)4 << 20)  /* of one configuration file */
#define RESTORE_CONFIGS_MAX_BYTES ((size_t)16 << 20) /* of all that are held in memory */
#define RESTORE_OWN_FILES_MAX     (PG_CONFIG_FILES_MAX + 16)
#define RESTORE_UNLOGGED_MAX      (1u << 22)

#define PATH_CONTROL         "global/pg_control"
#define PATH_CONTROL_PENDING "global/pg_control.tidemark"
#define PATH_AUTO_CONF       "postgresql.auto.conf"
#define PATH_MANIFEST        "backup_manifest"

/* server options that are for us */
#define OPTION_OWNER  "tidemark.owner"
#define OPTION_BINDIR "tidemark.bindir"

#define CONF_TAG_RECOVERY "recovery"
#define CONF_TAG_CLONE    "clone"
#define CONF_TAG_OPTIONS  "options"

/* A directory that is written to: the data directory, a tablespace, the log directory. */
struct restore_root {
    char *path; /* real path */
    int fd;     /* -1 until prepare; then open for listing and syncing */
};
#define RESTORE_ROOT_INIT ((struct restore_root){NULL, -1})

struct restore_tablespace {
    uint32_t oid;
    char *source;             /* where it was */
    struct restore_root root; /* where it goes */
};

/* A file written at the end by us: its entry in the manifest is ours, not the backup's. */
struct restore_own_file {
    char *path;
    uint64_t size;
    int64_t modified_us;
    uint32_t crc;
    bool written; /* else: the backup's, held back until it is known whether it stays */
};

/* Configuration from outside the data directory, held in memory. */
struct restore_config_file {
    char *path;
    uint32_t mode;
    int fd; /* memory file */
    uint64_t bytes;
};

/* How a timeline came to be: the bytes of its .history file. */
struct restore_history {
    uint32_t timeline;
    struct buf text;
};

/* Compared by memcmp: no order is meant. */
struct restore_unlogged {
    uint32_t tablespace, database, relation;
};

struct path_set; /* restore_delta.c */

struct engine_restore {
    /* what was asked; copies */
    char **tablespace_map;
    char **roots; /* real paths; NULL = anywhere */
    char **server_options;
    char **live_data_dirs; /* real paths */
    uint64_t stop_record;  /* replay ends behind the record that begins here; 0 = at consistency */
    uint32_t stop_timeline;
    struct restore_history *histories;
    size_t history_count;
    char *wal_get;
    uint16_t port;
    bool delta;
    bool resume; /* what is there was left by an earlier try */

    /* what the backup says */
    struct pg_begin begin;
    struct pg_end end;
    struct label label;
    const struct pg_version *version;
    char version_dir[64];

    /* where it goes */
    struct restore_root data;
    struct restore_root wal; /* path NULL: pg_wal inside data */
    struct restore_tablespace *tablespaces;
    size_t tablespace_count;
    bool chown; /* we are root: give files to the owner */
    uid_t uid;
    gid_t gid;
    atomic_bool group_access; /* 0750/0640, as at the source */

    /* progress */
    bool prepared;
    bool finished;
    pthread_mutex_t lock; /* configs, seen, links */
    bool lock_ready;
    struct restore_config_file *configs;
    size_t config_count;
    uint64_t config_bytes; /* of all of them, at most RESTORE_CONFIGS_MAX_BYTES */
    struct path_set *seen; /* delta only */

    /* log */
    struct wal_reader *check_reader;
    uint64_t check_next;
    uint32_t check_timeline;
    struct wal_reader *log_reader;
    uint64_t log_next;
    uint32_t log_timeline;
    int log_fd;
    char log_name[40];
    char **late_dirs; /* of tablespaces that replay will create */
    size_t late_dir_count;
    uint64_t last_record;  /* start of the last record that ends at or before stop_lsn; 0 = none */
    uint32_t now_timeline; /* of the log that is being read */
    bool stop_seen;        /* the record to stop behind was there */
    struct wal_parameters raised;      /* the highest limits that the log asks for */
    struct restore_unlogged *unlogged; /* that the log makes; sorted by prepare */
    size_t unlogged_count, unlogged_cap;

    /* manifest */
    struct pg_manifest *manifest;
    int manifest_fd;
    uint64_t manifest_bytes;
    struct restore_own_file *own;
    size_t own_count;
};

/* restore_place.c */
/* The real path `path` would have: links of what exists are resolved, the rest appended. */
int place_real(const char *path, const char *what, char **ret_real, struct tm_err *err) TM_WUR;
bool place_below(const char *path, const char *root); /* equal counts */
/* Refuses places outside the roots, over live data directories, too high up. */
int place_check(const struct engine_restore *r, const char *path, const char *what,
                struct tm_err *err) TM_WUR;
enum place_state { PLACE_ABSENT, PLACE_EMPTY, PLACE_FILLED };
/* What is at `path`; refuses what is not a directory. *ret_uid only when it exists. */
int place_look(const char *path, const char *what, enum place_state *ret_state, uid_t *ret_uid,
               struct tm_err *err) TM_WUR;
/* Makes the directory if absent, opens it, proves that it is where it was when it was checked, and
 * gives it to the owner. */
int place_open(struct engine_restore *r, struct restore_root *root, const char *what,
               struct tm_err *err) TM_WUR;
int place_owner(struct engine_restore *r, const char *data_dir, const char *user,
                struct tm_err *err) TM_WUR;
/* Mode and owner of something just made. */
int place_give(const struct engine_restore *r, int fd, mode_t mode, const char *path,
               struct tm_err *err) TM_WUR;
mode_t place_dir_mode(const struct engine_restore *r);
mode_t place_file_mode(const struct engine_restore *r);

/* restore_file.c */
/* Which root a path of the backup goes below, and its path there. */
int target_route(const struct engine_restore *r, const char *path,
                 const struct restore_root **ret_root, const char **ret_below,
                 struct tm_err *err) TM_WUR;
/* Not restored from the backup, because finish or the server makes it. */
bool target_is_ours(const char *path);
int target_make_dirs(struct engine_restore *r, const char *path, mode_t mode,
                     struct tm_err *err) TM_WUR;
/* Opens and creates below the right root; existing content stays. */
int target_open_file(struct engine_restore *r, const char *path, mode_t mode, int extra_flags,
                     int *ret_fd, struct tm_err *err) TM_WUR;

/* restore_delta.c */
int path_set_new(struct path_set **ret_set, struct tm_err *err) TM_WUR;
void path_set_free(struct path_set *set);
int path_set_add(struct path_set *set, const char *path, struct tm_err *err) TM_WUR;
bool path_set_has(const struct path_set *set, const char *path);
int target_remember(struct engine_restore *r, const char *path, struct tm_err *err) TM_WUR;
/* The log directory's contents; it must be open. */
int target_empty_wal_dir(struct engine_restore *r, struct tm_err *err) TM_WUR;
/* A directory with all that is in it. */
int target_remove_dir(int dir_fd, const char *name, struct tm_err *err) TM_WUR;
int target_remove_foreign(struct engine_restore *r, struct tm_err *err) TM_WUR;

/* restore_log.c */
/* Which record to stop behind, and the timelines on the way. */
int target_stop_set(struct engine_restore *r, const struct engine_restore_spec *spec,
                    struct tm_err *err) TM_WUR;
int restore_timeline(const char *lineage_label, uint32_t *ret_timeline, struct tm_err *err) TM_WUR;
/* Replay will make that tablespace: refuses where it would do harm. */
int replay_tablespace(struct engine_restore *r, const struct wal_tablespace_create *create,
                      struct tm_err *err) TM_WUR;
/* Replay needs limits at least as high as the source had at any moment of it. */
void replay_parameters(struct engine_restore *r, const struct wal_parameters *p);
/* False: replay stops before that record. */
bool replay_reaches(const struct engine_restore *r, uint32_t timeline, uint64_t record);
int target_log_finish(struct engine_restore *r, struct tm_err *err) TM_WUR;
void target_log_release(struct engine_restore *r);

/* restore_unlogged.c */
/* The log makes that fork; only an _init fork is of interest. During the check pass. */
int unlogged_note(struct engine_restore *r, const struct wal_fork *fork, struct tm_err *err) TM_WUR;
void unlogged_sort(struct engine_restore *r);
/* Is `path` a file of a relation that is unlogged once the log is replayed, and no _init fork? After the
 * sorting; many threads may ask. */
bool unlogged_has(const struct engine_restore *r, const char *path);

/* restore_conf.c */
int target_conf_install(struct engine_restore *r, struct tm_err *err) TM_WUR;
int target_conf_clone(struct engine_restore *r, struct tm_err *err) TM_WUR;
const char *target_option(const struct engine_restore *r, const char *name);
/* The whole file below the data directory; an absent one is empty and *ret_exists false. */
int target_read(const struct engine_restore *r, const char *path, struct buf *out, bool *ret_exists,
                struct tm_err *err) TM_WUR;

/* restore_finish.c */
/* Writes a whole small file below the data directory and notes it for the manifest. */
int target_write(struct engine_restore *r, const char *path, struct slice text, mode_t mode,
                 struct tm_err *err) TM_WUR;
struct restore_own_file *target_own_find(struct engine_restore *r, const char *path);

#endif
