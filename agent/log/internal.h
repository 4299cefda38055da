#ifndef TM_AGENT_LOG_INTERNAL_H
#define TM_AGENT_LOG_INTERNAL_H
/*
 * What the files of agent/log share. Not for others.
 *
 *   task.c      the run: what is wanted, one session after the other, retries; threads
 *   open.c      a session's beginning: which lineage, from where; the writer object; gaps
 *   proof.c     what the source sends, compared with what is stored
 *   prime.c     what the index must have seen before a session's first byte
 *   receive.c   the stream, chunk buffers, index and digest
 *   files.c     catching up from the source's files
 *   pack.c      the packers: read, compress, upload, commit
 *   hold.c      the thread that looks at source and hold; looks and the checkpoint
 *   keep.c      the thread that stores marks and looks for newer writers
 *   help.c      the thread that truncates, rolls up, and counts what can be restored
 *   ask.c       the thread that answers queries: searches, truncations that are only tried
 *   places.c    the other storages that backups lie in, which may hang
 *   status.c    the thread that tells
 *
 * One mutex guards all that threads share, one condition wakes all of them: there are few events.
 * No call to storage or engine is made under the lock.
 *
 * Slots are chunk buffers. Their numbers are the order of the log; a slot is committed only when all
 * lower numbers were, so storage never has a chunk without the one before it.
 */
#include <pthread.h>

#include "agent/log/log.h"
#include "proto/format/chunk.h"
#include "proto/repo/logs.h"
#include "proto/repo/target.h"

#define LOG_LOOKS_MAX    64u
#define LOG_REFUTED_MAX  64u   /* lineages that were proven to be another branch */
#define LOG_STUCK_MS     10000 /* a stage that waits for so long is told as an error */
#define LOG_STOP_MS      30000 /* stop: so long for what is received but not stored */
#define LOG_RECOVER_MS   60000 /* what can be restored is counted anew this often */
#define LOG_PLACE_MS     20000 /* so long a call to another storage may take */
#define LOG_DIGEST_BYTES (1u << 20)
#define LOG_STEP_BYTES   (256u << 10) /* bytes are indexed and digested while they are hot */
#define LOG_STACK_BYTES  (512u << 10)
#define LOG_CATCH_UP     4u /* chunks of whole segments that make reading files worth it */

enum log_part { /* whose trouble, most telling first */
                LOG_PART_PACK,
                LOG_PART_STREAM,
                LOG_PART_HOLD,
                LOG_PART_KEEP,
                LOG_PARTS,
};

struct log_trouble {
    bool on;
    const char *stage;
    int64_t since_us; /* real */
    struct tm_err err;
};

enum slot_state {
    SLOT_FREE,
    SLOT_FILLING, /* the receiver's */
    SLOT_READ,    /* to be read from the source's files */
    SLOT_READING, /* a packer's */
    SLOT_HERE,    /* read, or not (`read`); the receiver's */
    SLOT_PACK,    /* complete, to be stored */
    SLOT_PACKING, /* a packer's */
};
enum slot_step { SLOT_WAITS, SLOT_UPLOADS, SLOT_COMMITS };

struct log_look {
    uint64_t flushed;
    int64_t source_us;
    int64_t mono_us;
};

struct log_slot {
    enum slot_state state;
    enum slot_step step;
    int64_t step_us; /* mono: since when */
    uint64_t number;
    uint8_t *data; /* CHUNK_BYTES, made when first needed */
    size_t len;
    int64_t oldest_us; /* mono: when its first byte came */
    struct log_chunk root;
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct buf boundaries;
    uint32_t boundary_count;
    struct events_writer events;
    uint64_t last_record;
    struct {
        uint16_t id;
        struct buf bytes;
    } sections[ENGINE_SECTIONS_MAX];
    size_t section_count;
    struct log_look marks[LOG_LOOKS_MAX];
    size_t mark_count;
    int read;
    struct tm_err read_err;
};

enum hold_is { HOLD_UNKNOWN, HOLD_OPEN, HOLD_RELEASED, HOLD_DROPPED };

/* Which log is written. Changes only while no slot is in use. */
struct log_branch {
    uint8_t lineage[NAMES_LINEAGE_BYTES];
    char label[FORMAT_LABEL_MAX];
    struct buf facts;
    struct epoch epoch;
    uint64_t from; /* of the unbroken run */
};

/* The interval that ends where the log is written: how far that is by now is known without storage. */
struct log_growing {
    bool is;
    size_t at; /* in intervals */
    int64_t settled_us;
    uint8_t lineage[NAMES_LINEAGE_BYTES];
    uint64_t from; /* of the unbroken run it ends in */
    uint64_t to;   /* when it was read */
};

struct log_task {
    struct log_task_options options;
    char node[WIRE_NAME_MAX + 1];
    char name[WIRE_NAME_MAX + 1];
    char hold_name[LOG_HOLD_NAME_MAX + 1];
    unsigned threads;
    int64_t mark_us; /* LOG_MARK_MS, LOG_STUCK_MS, LOGS_INDEX_AFTER, LOG_PLACE_MS; less in tests */
    int64_t stuck_us;
    uint32_t roll_after;
    unsigned place_ms;
    atomic_bool cancel;
    pthread_mutex_t lock;
    pthread_cond_t changed;

    /* ---- under lock ---- */
    bool quit; /* threads end */
    bool fatal;
    struct tm_err fatal_err;

    bool wanted;
    bool in_session;      /* something may be received and not stored */
    uint64_t want_serial; /* grows when another round of the hold's thread is due at once */
    enum job_step step;
    struct msg_log_params params;
    char truncate_until[64];
    struct msg_log_place places[WIRE_PLACES_MAX];
    size_t place_count;
    struct codec_arena places_arena; /* has what they point to; wiped */
    int64_t paused_us;               /* real: when PAUSE was first seen */

    enum job_stage stage;
    bool wrote;   /* branch tells what was written last */
    bool writing; /* branch is proven, durable and received tell of it */
    bool proven;  /* by the session that is open: looks tell of that branch, too */
    struct log_branch branch;
    struct epoch epoch; /* the next one to write under */
    uint64_t received;
    uint64_t durable;
    uint64_t fenced; /* durable, and no newer writer was there afterwards: what may be promised */
    uint64_t flushed;
    bool needs_full;
    uint64_t gap_from; /* log the source had no more, up to gap_to: told while needs_full */
    uint64_t gap_to;
    uint64_t chunks, raw_bytes, stored_bytes;
    uint64_t unrolled; /* chunks behind the last roll-up */

    struct log_slot slots[LOG_CHUNKS_IN_FLIGHT];
    uint64_t next_number;
    uint64_t commit_number;
    bool dropping; /* slots are given up */

    struct log_look looks[LOG_LOOKS_MAX]; /* not durable yet, oldest first */
    size_t look_count;
    struct log_look last_look;
    struct log_look checkpoint;  /* flushed and time of the newest look that counts */
    struct log_look stored_mark; /* the newest one in storage; mono_us is when it came there */
    struct log_look told;        /* the newest one in storage that is not contested … */
    uint8_t told_lineage[NAMES_LINEAGE_BYTES]; /* … of this lineage */
    bool mark_now;

    enum hold_is hold;
    struct engine_hold_state hold_state;
    bool hold_lost;
    bool at_risk;
    uint64_t hold_touched;
    int64_t alert_real_us; /* since when the hold is beyond its bounds */

    struct log_trouble troubles[LOG_PARTS];

    struct msg_log_query query; /* id 0 = none is wanted */
    char query_name[64], query_until[64];
    uint64_t query_done; /* the id that was answered */

    uint32_t truncate_done;
    int64_t truncated_us;
    char truncated_position[WIRE_POSITION_MAX + 1];
    bool truncate_failed;
    int64_t truncate_failed_us;
    struct tm_err truncate_err;
    enum log_removal removal;
    bool removal_failed;
    int64_t removal_failed_us;
    struct tm_err removal_err;
    struct msg_interval intervals[WIRE_INTERVALS_MAX];
    size_t interval_count;
    struct log_growing growing;
    char away[480];    /* the other storages that could not be read, in words; "" = none */
    char damaged[480]; /* what of the stored log is missing or damaged, in words; "" = nothing */
    char emptied[WIRE_PLACES_MAX][WIRE_URL_MAX + 1]; /* read, and no backup is left there */
    size_t emptied_count;
    bool place_ready; /* repository and identity are there and ours */
    bool recover_now;
    uint64_t recover_at;    /* and when what is stored reaches this byte; UINT64_MAX = none */
    uint64_t status_serial; /* grows with each change worth telling at once */

    /* ---- the run's own ---- */
    uint8_t refuted[LOG_REFUTED_MAX][NAMES_LINEAGE_BYTES];
    size_t refuted_count;
    bool finished; /* a parent lineage was finished up to the fork */
    bool finished_proven;
    uint8_t finished_id[NAMES_LINEAGE_BYTES];
    uint64_t progress; /* grows with what was received: a retry starts afresh */
    struct object_scratch *scratches[3];

    pthread_t packers[LOG_THREADS_MAX];
    unsigned packer_count;
    pthread_t hold_thread, keep_thread, help_thread, ask_thread, tell_thread;
    bool hold_up, keep_up, help_up, ask_up, tell_up;
};

/* ---- task.c ---- */

/* Waits for a change, at most so long. With the lock. */
void log_wait(struct log_task *t, int64_t us);
/* The run cannot go on. */
void log_fail(struct log_task *t, const struct tm_err *err);
/* Whether to try again. Rights that were there before may be given back: a task that has stored log waits
 * for that, for one that failed would hold log at the source for ever and store none of it. */
bool log_may_be_mended(struct log_task *t, const struct tm_err *err);
/* With the lock: the run is over. */
static inline bool log_over(const struct log_task *t)
{
    return t->quit || t->fatal || atomic_load_explicit(&t->cancel, memory_order_relaxed);
}
int log_random(struct log_task *t, void *ret, size_t len, struct tm_err *err) TM_WUR;
/* A storage's error: whether trying again may help is decided here; when only opening the storage anew
 * may, the run is over. Returns -err->code. */
int log_storage_error(struct log_task *t, struct tm_err *err);
/* The epoch to write under next; when there is none left the run is over. */
int log_epoch_take(struct log_task *t, struct epoch *ret, struct tm_err *err) TM_WUR;
/* Whether this task took it. */
bool log_epoch_is_own(struct log_task *t, struct epoch epoch);
/* The next pause of a growing series that starts with 0; microseconds. */
int64_t log_backoff(int64_t pause_us);

/* ---- proof.c ---- */

struct log_proof;
/* Compares with what is stored of the lineage from `from` on. */
int log_proof_open(struct log_task *t, const struct log_lineage *lineage, uint64_t from,
                   struct log_proof **ret, struct tm_err *err) TM_WUR;
/* Whether stored log at `at` has these bytes. In order, without gaps. A stored chunk that cannot be
 * trusted has not. */
int log_proof_compare(struct log_proof *p, uint64_t at, struct slice bytes, bool *ret_same,
                      struct tm_err *err) TM_WUR;
/* Stored log from `at` on, as much as lies together, valid until the next call: 1, or 0 when there is
 * none that can be trusted. In order, without gaps; either read or compare. */
int log_proof_read(struct log_proof *p, uint64_t at, struct slice *ret, struct tm_err *err) TM_WUR;
void log_proof_free(struct log_proof *p);

/* ---- open.c ---- */

/* From the choice of a lineage to the end of its streaming. */
struct log_session {
    uint8_t lineage[NAMES_LINEAGE_BYTES];
    char label[FORMAT_LABEL_MAX];
    struct buf facts;
    uint64_t segment_bytes;
    uint64_t run_from;     /* of the unbroken run that is continued */
    uint64_t next;         /* stream byte that is wanted next */
    uint64_t compare_from; /* log before this is not stored any more: only indexed */
    uint64_t fresh;        /* bytes before this are stored: compared only */
    uint64_t until;        /* the fork that ends this branch; 0 = none */
    bool empty; /* nothing is stored before `until`: there is nothing to prove or finish */
    uint64_t previous_end;
    uint64_t unrolled;
    bool gap; /* begins behind one */
    uint64_t gap_from;
    char gap_reason[128];
    uint32_t digest_step;
    uint64_t digest_from;
    uint8_t digest_seed[32];
    uint64_t no_files; /* files are not there for log before this byte */
    struct log_proof *proof;
    struct engine_log *stream;
    struct engine_log_index *index;
    struct log_digest digest;
    struct buf passed; /* boundaries of stored log: thrown away */
    struct log_slot *slot;
};
#define LOG_SESSION_INIT ((struct log_session){.next = 0})

/* Describes the source and finds or mints the lineage to write. */
int log_session_open(struct log_task *t, struct log_session *s, struct tm_err *err) TM_WUR;
/* All before `fresh` is proven: stores the writer object; from now on bytes are stored. */
int log_session_write(struct log_task *t, struct log_session *s, struct tm_err *err) TM_WUR;
/* The lineage is another branch than the source's, for this run. */
int log_refute(struct log_task *t, const uint8_t id[16], struct tm_err *err) TM_WUR;
/* The source does not have s->next any more (`why`): where it goes on, behind a gap. Everything
 * received is durable. */
int log_session_gap(struct log_task *t, struct log_session *s, const struct tm_err *why,
                    struct tm_err *err) TM_WUR;
void log_session_release(struct log_task *t, struct log_session *s);

/* ---- prime.c ---- */

/* Opens s->index, which has seen the beginning of the record that lies across s->next; or leaves it
 * NULL when there is none, or its beginning cannot be had. */
int log_prime(struct log_task *t, struct log_session *s, const struct log_lineage *lineage,
              const struct log_head *head, struct tm_err *err) TM_WUR;

/* ---- receive.c ---- */

/* One session. 0 = it ended in order: something else is wanted, or the branch has ended. */
int log_session_run(struct log_task *t, struct tm_err *err) TM_WUR;
/* A free slot, in the order of the log; waits for one. NULL = the run is over. */
struct log_slot *log_slot_take(struct log_task *t, bool wait);
/* Index and digest over bytes at s->next, which then are behind. */
int log_feed(struct log_task *t, struct log_session *s, struct log_slot *slot, struct slice bytes,
             struct tm_err *err) TM_WUR;
/* The slot is complete. */
int log_cut(struct log_task *t, struct log_session *s, struct log_slot *slot,
            struct tm_err *err) TM_WUR;
/* Something else than streaming is wanted. */
bool log_leaving(struct log_task *t);

/* ---- files.c ---- */

bool log_far_behind(struct log_task *t, const struct log_session *s);
/* Reads whole chunks from the source's files until that is not worth it, or not possible. */
int log_catch_up(struct log_task *t, struct log_session *s, struct tm_err *err) TM_WUR;

/* ---- pack.c ---- */

void *log_pack_main(void *arg);

/* ---- hold.c ---- */

void *log_hold_main(void *arg);
/* With the lock: durable or looks changed. */
void log_looks_settle(struct log_task *t);
/* With the lock: looks that a chunk ending at `to` proves, into its marks. */
void log_looks_mark(struct log_task *t, struct log_slot *slot);

/* ---- places.c ---- */

struct log_elsewhere {
    struct log_source items[WIRE_PLACES_MAX];
    char urls[WIRE_PLACES_MAX][WIRE_URL_MAX + 1];
    /* that did not answer in time, until it does; NULL = none */
    struct storage *hung[WIRE_PLACES_MAX];
    size_t count;
};
/* With the lock: another set of places. Nothing is changed on failure. */
int log_places_want(struct log_task *t, const struct msg_log_place *places, size_t count,
                    struct tm_err *err) TM_WUR;
/* For one look at the places that are wanted now; zeroed before the first. */
void log_elsewhere_open(struct log_task *t, struct object_scratch *scratch,
                        struct log_elsewhere *elsewhere);
/* What was found out stays known. */
void log_elsewhere_close(struct log_elsewhere *elsewhere);
void log_elsewhere_release(struct log_elsewhere *elsewhere);

/* ---- keep.c, help.c, ask.c, status.c ---- */

void *log_keep_main(void *arg);
void *log_help_main(void *arg);
void *log_ask_main(void *arg);
struct log_positions log_positions_of(const struct log_task *t);
/* The wish that an operator's text means; *target owns what *wish then points to. */
int log_truncate_wish(const char *until, struct log_truncate *wish, struct target *target,
                      struct tm_err *err) TM_WUR;
void *log_tell_main(void *arg);
void log_trouble(struct log_task *t, enum log_part part, const char *stage,
                 const struct tm_err *err);
void log_trouble_over(struct log_task *t, enum log_part part);

#endif
