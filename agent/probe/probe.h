#ifndef TM_AGENT_PROBE_PROBE_H
#define TM_AGENT_PROBE_PROBE_H
/*
 * Tests a storage from where it is called: everything that a backup, a log task and a restore ask of it
 * is done once, on objects of its own below "probe/", which are removed again.
 *
 *     probe_url(url, &storage_options, &options, report)   report is calloc'ed: it is big
 *     probe_report_message(report, id, arena, &message, err)
 *
 * The report is the answer, whatever happened: each step is ok, failed with the storage's own error, or
 * skipped because what it needs was not there. A step that fails does not keep the others from being
 * done, so that all that is denied is named at once.
 *
 * A mounted path (file://) is looked at more closely: which file system it is, whether it is a mount at
 * all, how much is free, and which of the other nodes that are asked at the same time see the same
 * directory. Each leaves a token there for as long as the others may look for it; of two that share a
 * directory, one at least sees the other's.
 *
 * Nothing stays behind, also when a step failed; when the store will not remove, the error names what
 * stays. What a test that was killed left is removed by the next one of the same node, an hour later.
 *
 * All calls block. `told`, before each step, tells how far it is, so that somebody outside can say what
 * it hung in. Threads: none of its own.
 */
#include "common/storage/storage.h"
#include "proto/wire/messages.h"

#define PROBE_PREFIX      "probe/"
#define PROBE_SMALL_COUNT 5 /* small objects: the median of so many is the latency */
#define PROBE_SMALL_BYTES ((size_t)1024)
#define PROBE_BULK_BYTES  ((size_t)4 << 20)
#define PROBE_STALE_US    (3600 * INT64_C(1000000))
#define PROBE_SKEW_US     (60 * INT64_C(1000000)) /* a clock that is further off is told */
#define PROBE_FREE_BYTES  ((uint64_t)1 << 30)     /* so is less room */

struct probe_report;

struct probe_options {
    const char *node;       /* names the objects */
    uint64_t id;            /* of the question: nodes with the same one look for each other */
    size_t nodes;           /* that are asked; 0 and 1: nobody else */
    const char *data_dir;   /* of the database here; NULL or "" = not known */
    size_t bulk_bytes;      /* 0 = PROBE_BULK_BYTES */
    unsigned share_wait_ms; /* for the others' tokens, at most; 0 = 5000 */
    unsigned timeout_ms;    /* steps that begin later fail; 0 = 60000 */
    void (*told)(void *arg, const struct probe_report *now); /* may be NULL */
    void *arg;
};

struct probe_one {
    enum probe_outcome outcome;
    int64_t took_us;
    struct tm_err err; /* FAILED */
};

struct probe_report {
    struct probe_one steps[PROBE_STEP_LAST + 1]; /* by enum probe_step */
    int64_t put_us;                              /* medians; 0 = not known */
    int64_t get_us;
    uint64_t upload_rate; /* bytes a second; 0 = not known */
    uint64_t download_rate;
    enum probe_create create;
    bool has_skew;
    int64_t skew_us; /* the store's clock minus this host's */
    bool is_path;    /* the four below are set */
    char mount[WIRE_PATH_MAX + 1];
    char mount_source[WIRE_PATH_MAX + 1];
    char fs_type[64];
    bool network;
    bool has_free;
    uint64_t free_bytes;
    char seen[WIRE_PROBE_NODES][WIRE_NAME_MAX + 1]; /* sorted */
    size_t seen_count;
    char warnings[WIRE_WARNINGS_MAX][WIRE_TEXT_MAX + 1];
    size_t warning_count;
};

/* Opens the storage and tests it. A path that is not there yet is tested in its parent, where the first
 * backup will make it. */
void probe_url(const char *url, const struct storage_options *storage,
               const struct probe_options *options, struct probe_report *ret);
/* Tests one that is open. */
void probe_storage(struct storage *st, const struct probe_options *options,
                   struct probe_report *ret);

/* True: every step was done and is ok. */
bool probe_well(const struct probe_report *report);
/* As it goes over the wire; what it points to lies in the arena or in the report. */
int probe_report_message(const struct probe_report *report, uint64_t id, struct codec_arena *arena,
                         struct msg_probe_answer *ret, struct tm_err *err) TM_WUR;
#endif
