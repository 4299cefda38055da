#ifndef TM_AGENT_RESTORE_RESTORE_H
#define TM_AGENT_RESTORE_RESTORE_H
/*
 * From stored backup to a data directory that starts.
 *
 *   1 plan      proto/repo resolves the job to a backup, the log behind it and the record to stop at
 *   2 check     manifest, segments and log are looked through before anything is written: all is
 *               there, undamaged, and its replay will do no harm
 *   3 files     threads take ranges: fetch, verify, write; data is flushed while the rest is fetched;
 *               another thread fetches the log and puts it into its place, in order
 *   4 log       what is left of it
 *   5 manifest  file entries once more, in key order, for the engine's own manifest
 *   6 finish    the engine makes the directory startable, last; and starts it when asked to
 *
 * Any failure before 6 leaves a directory that cannot start: the file that makes it startable is
 * written by the engine at the very end. A damaged object stops the restore with its name and
 * range.
 *
 * One call does it all; it uses `threads` threads of its own and about 6 MiB of memory for each.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "agent/engine/engine.h"
#include "common/err.h"
#include "common/storage/storage.h"
#include "proto/format/names.h"

#define RESTORE_THREADS_MAX     16
#define RESTORE_THREADS_DEFAULT 2

enum restore_stage {
    RESTORE_PLAN,
    RESTORE_CHECK,
    RESTORE_FILES,
    RESTORE_LOG,
    RESTORE_MANIFEST,
    RESTORE_FINISH,
    RESTORE_START,
    RESTORE_DONE,
};
/* "files" … */
const char *restore_stage_text(enum restore_stage stage);

struct restore_progress {
    enum restore_stage stage;
    uint32_t ranges_total;
    uint32_t ranges_done;
    uint64_t bytes_total; /* raw */
    uint64_t bytes_done;
    uint64_t bytes_kept;   /* delta: found identical */
    uint64_t replay_total; /* bytes of log that the started server replays … */
    uint64_t replay_done;  /* … and has replayed */
    uint64_t files;
};

struct restore_job {
    struct storage *storage;      /* borrowed */
    struct storage *full_storage; /* where snapshots lie when not in `storage`; NULL = same */
    const char *cluster;
    const char *tenant;      /* NULL = "main" */
    const char *incarnation; /* NULL = the only one, or the one of the backup */
    const char *backup_id;   /* NULL = the latest that fits */
    const char *to;          /* NULL = "immediate"; the forms of proto/repo/target.h */
    bool exclusive;          /* stop before the target, not behind it */
    const char *lineage;     /* 32 hex digits; NULL = choose */
    bool dry_run;            /* plan and check only: nothing is written */
    const char *data_dir;
    const char *wal_dir;               /* log directory outside data_dir, or NULL */
    const char *const *live_data_dirs; /* never restored over; NULL-terminated or NULL */
    const char *const *tablespace_map; /* pairs, NULL-terminated, or NULL */
    const char *const *restore_roots;  /* NULL-terminated, empty = nowhere; NULL = anywhere */
    const char *const *server_options; /* pairs, NULL-terminated, or NULL */
    bool delta;
    bool resume; /* an earlier run of this very job got as far as `writing` and was killed */
    bool start;
    uint16_t port;               /* 0 = leave */
    unsigned start_timeout_ms;   /* 0 = 10 minutes */
    unsigned threads;            /* 0 = 2 */
    uint64_t rate_limit_bytes_s; /* of bytes written; 0 = none */
    const atomic_bool *cancel;   /* may be NULL */
    /* Called from one thread at a time, about twice a second; may be NULL. */
    void (*progress)(void *arg, const struct restore_progress *p);
    void *progress_arg;
    /* Called once, before anything is written; may be NULL. */
    void (*writing)(void *arg);
    void *writing_arg;
};

struct restore_outcome {
    char backup_id[NAMES_BACKUP_ID_LEN + 1];
    char position[ENGINE_POSITION_MAX];
    int64_t commit_us;
    bool by_log;                  /* log behind the backup is replayed, up to position */
    char label[ENGINE_LABEL_MAX]; /* by_log: of the branch */
    uint64_t log_bytes;           /* by_log: raw, of the task's log */
    int64_t estimate_us;          /* dry_run: of fetching and unpacking all, without replay */
    struct restore_progress totals;
    bool started;
};

/* How many it uses. */
unsigned restore_threads(const struct restore_job *job);
int restore_run(const struct restore_job *job, struct restore_outcome *ret,
                struct tm_err *err) TM_WUR;

#endif
