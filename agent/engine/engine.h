#ifndef TM_AGENT_ENGINE_ENGINE_H
#define TM_AGENT_ENGINE_ENGINE_H
/*
 * What Tidemark needs from a database. The core knows key ranges, positions, lineages and times;
 * everything else is behind this interface. Keys are byte strings in the engine's own order; the
 * empty string is the lowest start and, as an end, means "to the top of the key space".
 *
 * An engine has two sides that live in different processes and share nothing but bytes:
 *
 *   session side (agent, one thread per session, calls block that thread only)
 *       check · describe · session_open → snapshot_begin | snapshot_resume → hold_advance* → snapshot_end
 *                                         → session_close
 *   data side (runner; reader calls from worker threads, log calls from the log thread)
 *       reader_open(begin) → plan → read_range* → read_final(end) → reader_close
 *       elsewhere: reader_open(begin) → reader_ready* → (read_range where range_anywhere)* → reader_close
 *       snapshot_resumed(begin) yes: proof_open(begin) → proof_push* → proof_end(end) → proof_close
 *       log_open(begin or facts) → log_next* → log_close
 *       log_describe → facts;  hold_open(name) → hold_look* hold_touch* → hold_drop | hold_close
 *       index_open(facts) → (index_push → index_take)* → index_close
 *       restore_open → restore_file* → restore_log* → restore_finish → restore_close
 *
 * `begin` and `end` are opaque blobs (at most ENGINE_BLOB_MAX) made by snapshot_begin (or snapshot_resume)
 * and snapshot_end, carried by the core, and read back by the same engine's data side.
 *
 * Errors name the setting, file, block or GRANT; retryable is decided here. No engine logs, keeps
 * globals, or forks. Outputs are untouched on failure.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define ENGINE_NAME_MAX     16
#define ENGINE_KEY_MAX      1100 /* class byte, path up to 1024, block */
#define ENGINE_BLOB_MAX     (256 * 1024)
#define ENGINE_POSITION_MAX 64
#define ENGINE_LABEL_MAX    64
#define ENGINE_PATH_MAX     1024
#define ENGINE_IDENTITY_MAX 64
#define ENGINE_WARNING_MAX  256
#define ENGINE_NO_BLOCK     UINT64_MAX

enum engine_cap {
    ENGINE_CAP_HOLD = 1u << 0,               /* can keep the source from recycling log */
    ENGINE_CAP_LOG = 1u << 1,                /* a snapshot needs log to be consistent */
    ENGINE_CAP_RANGE_OWN_POSITION = 1u << 2, /* each range is consistent at its own position */
};

enum engine_role {
    ENGINE_ROLE_UNKNOWN,
    ENGINE_ROLE_PRIMARY,
    ENGINE_ROLE_STANDBY,
    ENGINE_ROLE_MEMBER
};

/* A place in a tenant's log. bytes compare with memcmp inside one lineage; text is what people read. */
struct engine_position {
    uint8_t len; /* of bytes; 0 = none */
    uint8_t bytes[ENGINE_POSITION_MAX];
    char text[ENGINE_POSITION_MAX];
};

/* One instance as configured in agent.yaml. Strings are borrowed for the whole life of the user. */
struct engine_instance {
    const char *tenant;
    const char *data_dir;
    const char *conninfo;
};

struct engine_description {
    enum engine_role role;
    char identity[ENGINE_IDENTITY_MAX];   /* incarnation: PostgreSQL's system identifier */
    char version[32];                     /* "15.18" */
    char lineage_label[ENGINE_LABEL_MAX]; /* the engine's own branch name: timeline "1" */
    struct engine_position position;
    int64_t now_us; /* the source's clock */
    uint64_t data_bytes_estimate;
    uint64_t hold_max_bytes; /* the source breaks a hold that keeps more; 0 = none is set */
    char warning[ENGINE_WARNING_MAX]; /* a setting that makes backups a risk; "" = none */
};

/* ---- backup: what a reader sends, into a sink that owns the buffer ---- */

enum file_kind { FILE_REGULAR = 1, FILE_DIRECTORY = 2, FILE_LINK = 3 /* tablespace */ };

/* One file or directory, or the part of a file that this range covers. */
struct file_entry {
    enum file_kind kind;
    char path[ENGINE_PATH_MAX]; /* relative to the data directory; "/…" for files outside it */
    char link[ENGINE_PATH_MAX]; /* FILE_LINK: the source's absolute target */
    uint32_t mode;              /* permission bits */
    int64_t modified_us;
    uint64_t offset_bytes; /* where this part starts in the file */
    uint64_t length_bytes; /* restore: contents of this part; a reader leaves it 0 */
    bool last_part;        /* no later range carries more of this file */
};

/*
 * Calling order per file:  file_begin → (room → advance)* → file_end.
 * `room` hands out a buffer of the next stage: the reader fills it (reads the source into it) and
 * says how much with `advance`. For block files every advance but the last is a multiple of the
 * block size. Directories and links: file_begin → file_end(0).
 */
struct range_sink;
struct range_sink_ops {
    int (*file_begin)(struct range_sink *, const struct file_entry *, struct tm_err *);
    int (*room)(struct range_sink *, size_t want_bytes, uint8_t **ret, size_t *ret_bytes,
                struct tm_err *);
    int (*advance)(struct range_sink *, size_t bytes, struct tm_err *);
    /* crc32c of this part as read from the source; may be combined across parts */
    int (*file_end)(struct range_sink *, uint32_t crc32c, struct tm_err *);
    /* something the operator must hear of (a corrupt page); the backup goes on. block:
     * ENGINE_NO_BLOCK when it is about the whole file */
    int (*problem)(struct range_sink *, const char *path, uint64_t block, const char *what,
                   struct tm_err *);
};
struct range_sink {
    const struct range_sink_ops *ops;
};

struct engine_key_range {
    struct slice start;
    struct slice end; /* empty = top */
};

/* Ranges arrive in key order, adjacent, from the empty key up to where read_final takes over. */
typedef int (*engine_plan_fn)(void *arg, struct engine_key_range range, uint64_t bytes,
                              struct tm_err *err);

struct engine_plan_options {
    uint64_t range_bytes; /* 0 = the engine's choice, at most 128 MiB */
    uint32_t range_files; /* 0 = 16384: small files together, but bounded */
};

struct engine_range_stats {
    uint64_t files;
    uint64_t bytes;
    uint64_t pages_checked;
    uint64_t pages_unverified; /* changed while read: counted, never called verified */
    uint64_t pages_corrupt;
};

/* ---- log ---- */

enum engine_log_kind {
    ENGINE_LOG_DATA, /* bytes of log at `position`, contiguous with what came before */
    ENGINE_LOG_IDLE, /* nothing new; flushed position and source time only */
    ENGINE_LOG_END,  /* the lineage ends here */
};

struct engine_log_event {
    enum engine_log_kind kind;
    uint64_t from;     /* DATA: byte position of data[0] in the stream */
    struct slice data; /* valid until the next call */
    uint64_t flushed;  /* end of what the source has made durable */
    int64_t source_us;
};

/* ---- log backup ---- */

/* What a log task must know of the log it is to stream. */
struct engine_log_source {
    enum engine_role role;
    char identity[ENGINE_IDENTITY_MAX];
    char version[32];
    char lineage_label[ENGINE_LABEL_MAX]; /* of the branch the source writes now */
    uint64_t segment_bytes;               /* stored log starts at a multiple of this */
    uint64_t flushed;                     /* end of what the source has made durable */
    struct buf facts;   /* opaque, kept in lineage.mpk: index and streams need it */
    struct buf history; /* how this branch came to be; empty for the first */
    /* the branch it came from, when it has one, and where it left that */
    char parent_label[ENGINE_LABEL_MAX];
    uint64_t fork;
};

/* One look at source and hold. */
struct engine_hold_state {
    bool lost;         /* the source released it: log from `from` on may be gone */
    uint64_t from;     /* log is kept from here on */
    uint64_t bytes;    /* kept for this hold */
    uint64_t flushed;  /* on a standby: received and flushed there */
    int64_t source_us; /* the source's clock */
    /* a commit acknowledged before this moment lies before `flushed`; 0 = none is known. A primary's
     * is its clock, read before flushed. A standby's clock proves nothing, for who knows how late it
     * is: it has the time of the last transaction that it received */
    int64_t proven_us;
    int64_t skew_us; /* minus ours, as far as the question's travel time tells */
    enum engine_role role;
    char lineage_label[ENGINE_LABEL_MAX];
    char warning[512]; /* what an operator should change, "" = nothing */
};

#define ENGINE_HOLD_NAME_MAX 64

/* A hold as it is found at the source. */
struct engine_hold_found {
    char name[ENGINE_HOLD_NAME_MAX];
    uint64_t from; /* log is kept from here on; 0 when that is not said */
    uint64_t bytes;
    bool lost; /* the source released it */
};

#define ENGINE_SECTIONS_MAX 8

/* What the bytes pushed since the last take say. Valid until the next call. */
struct engine_index_part {
    const struct log_point *events; /* in log order; their records ended in those bytes */
    size_t event_count;
    uint64_t last_record; /* start of the last whole record so far; 0 = none yet */
    struct {
        uint16_t id; /* from 256 on, ascending */
        struct slice bytes;
    } sections[ENGINE_SECTIONS_MAX];
    size_t section_count;
};

/* ---- restore ---- */

struct engine_restore_spec {
    const char *data_dir;
    const char *const *tablespace_map; /* pairs "old", "new", NULL-terminated */
    const char *const *restore_roots;  /* NULL-terminated; a restore writes only below these */
    const char *const *server_options; /* pairs "name", "value", NULL-terminated */
    struct slice begin;                /* blobs stored with the backup */
    struct slice end;
    bool delta;  /* keep what is identical */
    bool resume; /* what lies there an earlier try of this restore has left: go on as delta */
    const char *target;     /* "immediate" for a snapshot; "record" = stop behind stop_record */
    uint64_t stop_record;   /* start of the last record that is wanted; 0 with "immediate" */
    const char *stop_label; /* the branch it lies on; NULL = the snapshot's own */
    const struct slice *histories; /* of all branches on the way, and others; labels are unique */
    const char *const *history_labels;
    size_t history_count;
    const char *wal_get; /* command line for restore_command, or NULL: log is all local */
    uint16_t port;       /* 0 = leave */
    const char *wal_dir; /* log directory outside data_dir, or NULL */
    const char *const *live_data_dirs; /* NULL-terminated or NULL: only the very place, stopped */
};

/* The sections that index_take gave for a chunk, as stored. */
struct engine_sections {
    /* 1 = *ret is the section's bytes, valid until the call they are used in returns; 0 = it has
     * none of that id */
    int (*get)(void *arg, uint16_t id, struct slice *ret, struct tm_err *err);
    void *arg;
};

struct engine_session;
struct engine_reader;
struct engine_log;
struct engine_restore;
struct engine_hold;
struct engine_log_index;
struct engine_proof;
struct log_point; /* proto/format/events.h */

struct engine_ops {
    const char *name;
    uint32_t caps;

    /* -- session side -- */

    /* Connects, looks, disconnects. */
    int (*describe)(const struct engine_instance *, struct engine_description *ret,
                    struct tm_err *);
    /* All that can be known to stop a backup: rights, settings, versions, data_dir of another server. */
    int (*check)(const struct engine_instance *, struct tm_err *);
    int (*session_open)(const struct engine_instance *, const char *label,
                        struct engine_session **ret, struct tm_err *);
    /* Takes the hold, starts the backup. *ret_begin is handed over; replay_from is where stored log
     * must start. `fast` asks for an immediate checkpoint. `hold` NULL: log is held until the session
     * ends; else by a hold of that name, as hold_open makes it, which is made when absent and stays
     * when the session goes (hold_open and hold_drop give it up). */
    int (*snapshot_begin)(struct engine_session *, const char *hold, bool fast,
                          struct buf *ret_begin, struct engine_position *ret_replay_from,
                          struct tm_err *);
    /* Optional, NULL: cannot. In place of snapshot_begin: goes on with a snapshot whose session was
     * lost, so that ranges that were read under it stay good. `first` is the newest begin blob that
     * there is of it; `log_from` the first byte of its log that is not stored; *ret_begin is to be
     * used from here on. TM_E_CONFLICT: the ranges must be read again, and why. What only the log can
     * tell is left to the proof. */
    int (*snapshot_resume)(struct engine_session *, const char *hold, bool fast, struct slice first,
                           uint64_t log_from, struct buf *ret_begin,
                           struct engine_position *ret_replay_from, struct tm_err *);
    /* Everything before `durable` (a stream byte position) is stored: the source may recycle it. */
    int (*hold_advance)(struct engine_session *, uint64_t durable, struct tm_err *);
    /* A cheap liveness check, called every few seconds between begin and end. */
    int (*session_ping)(struct engine_session *, struct tm_err *);
    /* *ret_commit_us: every commit acknowledged before is in the snapshot. */
    int (*snapshot_end)(struct engine_session *, struct buf *ret_end,
                        struct engine_position *ret_consistent_at, int64_t *ret_commit_us,
                        struct tm_err *);
    void (*session_close)(struct engine_session *); /* gives up what is not ended */
    /* From another thread: makes a blocking session call return TM_E_CANCELED soon. */
    void (*session_cancel)(struct engine_session *);

    /* -- data side: backup -- */

    int (*reader_open)(const struct engine_instance *, struct slice begin,
                       struct engine_reader **ret, struct tm_err *);
    int (*plan)(struct engine_reader *, const struct engine_plan_options *, engine_plan_fn,
                void *arg, struct tm_err *);
    /* Reads all of the range that exists now, also files newer than the plan. Thread safe. */
    int (*read_range)(struct engine_reader *, struct engine_key_range, struct range_sink *,
                      struct engine_range_stats *ret, struct tm_err *);
    /* What may only be read after the end (pg_control, the label): the top of the key space. */
    int (*final_key)(struct engine_reader *, uint8_t key[ENGINE_KEY_MAX], size_t *ret_len);
    int (*read_final)(struct engine_reader *, struct slice end, struct range_sink *,
                      struct engine_range_stats *ret, struct tm_err *);
    void (*reader_close)(struct engine_reader *);
    /* Optional, NULL: each range where it always was read. Does the range lie wholly in what any copy of
     * the source may read, a standby for example? The rest only the instance that the snapshot was begun
     * on may read. Pure. */
    bool (*range_anywhere)(struct engine_key_range);
    /* Optional, NULL: always. May this instance read for the snapshot that was begun on another? 1 = now;
     * 0 = not yet, err->msg says why; TM_E_CONFLICT: never, it is (or became) no copy. Asks, does not
     * wait. On the instance it was begun on: 1. A later read_range says TM_E_CONFLICT when meanwhile the
     * instance is none any more, and may say TM_E_UNAVAILABLE (retryable): ask this again first. Thread
     * safe. */
    int (*reader_ready)(struct engine_reader *, struct tm_err *);
    /* Optional, NULL: it is the commit time. The other promise of a snapshot's `end`: no commit in it has
     * a later time, by the source's clock. So from here on a moment can be told by log behind it. */
    int (*snapshot_settled)(struct slice end, int64_t *ret_us, struct tm_err *);

    /* Was this snapshot resumed, and does the log have to say whether that was right? Then it must not
     * be committed unless the proof holds. NULL, as the four below: never. */
    bool (*snapshot_resumed)(struct slice begin);
    /* The proof, from the stored log, that what was read before a session was lost is still good. */
    int (*proof_open)(struct slice begin, struct engine_proof **ret, struct tm_err *);
    /* Log, from replay_from's byte on, without a gap, up to the snapshot's end and not beyond. push
     * and end: TM_E_CONFLICT says what in the log made the earlier ranges bad, and where. */
    int (*proof_push)(struct engine_proof *, struct slice bytes, struct tm_err *);
    int (*proof_end)(struct engine_proof *, struct slice end, struct tm_err *);
    void (*proof_close)(struct engine_proof *);

    /* -- data side: log (engines with ENGINE_CAP_LOG) -- */

    int (*log_position)(const struct engine_position *, uint64_t *ret_byte); /* to a stream byte */
    int (*log_open)(const struct engine_instance *, struct slice begin, uint64_t from,
                    struct engine_log **ret, struct tm_err *);
    /* Waits at most timeout_ms; TM_E_UNAVAILABLE (retryable) when the connection is gone. */
    int (*log_next)(struct engine_log *, unsigned timeout_ms, struct engine_log_event *ret,
                    struct tm_err *);
    void (*log_close)(struct engine_log *);

    /* -- log backup: NULL without ENGINE_CAP_HOLD -- */

    /* Connects, looks, disconnects; all that can be known to stop a log backup is an error here:
     * settings (named with their values), rights. *ret owns two buffers. */
    int (*log_describe)(const struct engine_instance *, struct engine_log_source *ret,
                        struct tm_err *);
    /* The branch that this one came from, as it was described: its flushed is where it was left. Asks
     * nobody. NULL: cannot be told. *ret owns two buffers. */
    int (*log_parent)(const struct engine_log_source *, struct engine_log_source *ret,
                      struct tm_err *);
    /* One branch's history by its label, from a source that has it. */
    int (*log_history)(const struct engine_instance *, const char *label, struct buf *ret,
                       struct tm_err *);
    /* Log that is whole at the source, from its files; thread safe: bytes [from, from + len) of
     * branch `label`. TM_E_NOT_FOUND when they are not there, or not whole. */
    int (*log_read_file)(const struct engine_instance *, struct slice facts, const char *label,
                         uint64_t from, uint8_t *dst, size_t len, struct tm_err *);

    /* Finds the hold of this name, or makes it: then the source keeps log from now on. Another's
     * hold of the same name is TM_E_CONFLICT; none, and may_make false, TM_E_NOT_FOUND. */
    int (*hold_open)(const struct engine_instance *, const char *name, bool may_make,
                     struct engine_hold **ret, bool *ret_made, struct tm_err *);
    int (*hold_look)(struct engine_hold *, struct engine_hold_state *ret, struct tm_err *);
    /* Log before `durable` is not needed any more. Never moves back; reads back what it became. */
    int (*hold_touch)(struct engine_hold *, uint64_t durable, uint64_t *ret_from, struct tm_err *);
    int (*hold_drop)(struct engine_hold *, struct tm_err *); /* not there is success */
    void (*hold_close)(struct engine_hold *);
    /* Connects, looks, disconnects: the holds that last, whose names begin with `prefix`, whoever made
     * them, in order of their names. More than `max`: the first ones, and *ret_count is max. */
    int (*hold_list)(const struct engine_instance *, const char *prefix,
                     struct engine_hold_found *ret, size_t max, size_t *ret_count, struct tm_err *);

    /* Bytes of one branch in order, from a multiple of segment_bytes on. */
    int (*index_open)(struct slice facts, uint64_t from, struct engine_log_index **ret,
                      struct tm_err *);
    int (*index_push)(struct engine_log_index *, struct slice bytes, struct tm_err *);
    int (*index_take)(struct engine_log_index *, struct engine_index_part *ret, struct tm_err *);
    void (*index_close)(struct engine_log_index *);
    /* Start of the last whole record that begins at or before `limit` (`before`: strictly before), in
     * log that `read` hands out piece by piece: *ret are the bytes at `at`, empty at its end. `from` is
     * a multiple of segment_bytes. */
    int (*log_last_record)(struct slice facts, uint64_t from,
                           int (*read)(void *arg, uint64_t at, struct slice *ret, struct tm_err *),
                           void *arg, uint64_t limit, bool before, uint64_t *ret_record,
                           struct tm_err *);
    /* Stream byte <-> what people read ("0/3000148"). */
    void (*position_text)(uint64_t byte, char ret[ENGINE_POSITION_MAX]);
    int (*position_parse)(const char *text, uint64_t *ret_byte, struct tm_err *);

    /* -- data side: restore -- */

    /* Refuses a non-empty target (unless delta), a live server, a foreign owner, a place outside
     * restore_roots, and log that creates tablespaces over existing paths. Writes nothing yet. */
    int (*restore_open)(const struct engine_restore_spec *, struct engine_restore **ret,
                        struct tm_err *);
    /* Optional, NULL where log is not replayed. A first pass over the stored log, given as to
     * restore_log, before restore_prepare: finds what its replay would do to this host (creating
     * tablespaces over existing paths) while nothing has been written yet. */
    int (*restore_check_log)(struct engine_restore *, const char *lineage_label, uint64_t from,
                             struct slice data, struct tm_err *);
    /* Optional, in place of restore_check_log: what a chunk's index says of its bytes, of which those
     * before `until` are replayed. `start` is where replay of that branch begins; chunks come in
     * order. *ret_known false = the index does not say all: the bytes themselves must be checked. */
    int (*restore_check_index)(struct engine_restore *, const char *lineage_label, uint64_t start,
                               uint64_t until, const struct engine_sections *sections,
                               bool *ret_known, struct tm_err *);
    /* Called before the first file: makes the target unstartable and prepares directories. */
    int (*restore_prepare)(struct engine_restore *, struct tm_err *);
    /* A file part; thread safe. `*ret_fd` is open for pwrite of at most entry->length_bytes at
     * entry->offset_bytes, owned by the caller, or -1 for directories and links (already made).
     * It is no plain file, and takes no length, when the engine does not want the contents. */
    int (*restore_file)(struct engine_restore *, const struct file_entry *, int *ret_fd,
                        struct tm_err *);
    /* One piece of stored log, in order: the lineage label it belongs to and its byte position. */
    int (*restore_log)(struct engine_restore *, const char *lineage_label, uint64_t from,
                       struct slice data, struct tm_err *);
    /* A whole file as restored, in key order: for the engine's own manifest. */
    int (*restore_manifest_file)(struct engine_restore *, const char *path, uint64_t size,
                                 int64_t modified_us, uint32_t crc32c, struct tm_err *);
    /* Recovery settings, manifest, fsync of everything, and last what makes it startable. */
    int (*restore_finish)(struct engine_restore *, struct tm_err *);
    /* Starts the restored server and waits until it accepts connections. */
    int (*restore_start)(struct engine_restore *, unsigned timeout_ms, struct tm_err *);
    /* Optional. From another thread, while restore_start runs: log before *ret_byte is replayed; false
     * when that cannot be told (yet). */
    bool (*restore_replayed)(const struct engine_restore *, uint64_t *ret_byte);
    void (*restore_close)(struct engine_restore *);
};

/* NULL when there is no engine of that name; "postgres", "null", "mock". */
const struct engine_ops *engine_find(const char *name);

#endif
