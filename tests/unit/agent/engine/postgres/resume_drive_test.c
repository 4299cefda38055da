/*
 * A snapshot in several sessions, each but the last one lost, with real storage objects: plays runner and
 * coordinator. Run by tests/integration/pg_resume_test.sh and pg_standby_read_test.sh; without arguments it
 * has nothing to do and succeeds.
 *
 *   resume_drive_test DATA_DIR CONNINFO STORAGE_URL HOLD ATTEMPTS GATE
 *                     [BYTES [ENDED [STATES [STANDBY_DIR CONNINFO]]]]
 *
 * Every attempt but the last one reads each ATTEMPTS-th range (of BYTES), streams the log there is, makes
 * GATE.lost-N and waits for GATE.go-N, until when its session must have been lost. Attempt ENDED has even
 * ended its backup before; that was told nobody. Attempt STATES reads the state files of prepared
 * transactions, whichever range they fall into; before it reads are GATE.begun and GATE.go-begun.
 * With a standby, each range that may be is read there. Once before that it is asked whether it is ready,
 * then come GATE.asked and GATE.go-asked, then it has a minute to become ready. A range that fails there
 * in a way that passes is read again once the standby is ready. In the middle of the last attempt are
 * GATE.half and GATE.go-half.
 * The last attempt reads all that is missing; GATE.end and GATE.go-end are before its end. Then the proof,
 * the final range, the commit. Prints a line for each attempt, and how it ended: "committed …" with
 * status 0, "refused: …" with 3 when the earlier ranges are no good any more, "error: …" with 1.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "agent/backup/backup.h"
#include "agent/engine/postgres/snapshot.h"
#include "common/storage/storage.h"

#define RANGES_MAX 20000
#define PIECE      65536

struct range {
    uint8_t start[ENGINE_KEY_MAX], end[ENGINE_KEY_MAX];
    size_t start_len, end_len;
    bool done;
    struct backup_result result;
};

struct drive {
    const struct engine_ops *engine;
    struct engine_instance instance;
    struct engine_instance standby_instance; /* data_dir NULL: none */
    const char *hold;
    const char *gate;
    unsigned attempts;
    unsigned ended;
    unsigned states; /* 0: whichever it is */
    uint64_t range_bytes;
    struct storage *storage;
    struct backup_options options;
    char identity[ENGINE_IDENTITY_MAX], version[32], lineage_label[ENGINE_LABEL_MAX];
    struct buf begin; /* the newest */
    struct buf end;
    struct engine_position replay_from, consistent_at;
    uint64_t log_from, log_to;
    int64_t commit_us;
    int log_fd; /* all log since log_from, as it was streamed */
    struct range *ranges;
    uint32_t count;
    struct backup_result final;
    /* of the attempt */
    struct engine_session *session;
    struct engine_reader *reader;
    struct engine_reader *standby;
    struct backup *backup;
    struct backup_worker *worker;
    struct backup_log *log;
    struct engine_log *stream;
};

static void die(const struct tm_err *err)
{
    bool refused = err->code == TM_E_CONFLICT;
    printf("%s: %s\n", refused ? "refused" : "error", err->msg);
    exit(refused ? 3 : 1);
}

static void need(int r, const struct tm_err *err)
{
    if (r < 0)
        die(err);
}

static void must(bool is, const char *what)
{
    if (is)
        return;
    printf("error: not so: %s\n", what);
    exit(1);
}

/* ---- the pieces of an attempt ---- */

static int take_range(void *arg, uint32_t index, struct engine_key_range range, uint64_t bytes,
                      struct tm_err *err)
{
    struct drive *d = arg;
    (void)bytes;
    if (index != d->count || d->count == RANGES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "too many ranges for this test");
    struct range *r = &d->ranges[d->count++];
    if (range.start.len > 0)
        memcpy(r->start, range.start.data, range.start.len);
    if (range.end.len > 0)
        memcpy(r->end, range.end.data, range.end.len);
    r->start_len = range.start.len;
    r->end_len = range.end.len;
    return 0;
}

static void open_session(struct drive *d, unsigned attempt, uint64_t log_next)
{
    struct tm_err err = {0};
    struct buf begin = BUF_INIT;
    need(d->engine->session_open(&d->instance, "resume drive", &d->session, &err), &err);
    if (attempt == 0)
        need(d->engine->snapshot_begin(d->session, d->hold, true, &begin, &d->replay_from, &err),
             &err);
    else
        need(d->engine->snapshot_resume(d->session, d->hold, true, buf_slice(&d->begin), log_next,
                                        &begin, &d->replay_from, &err),
             &err);
    buf_release(&d->begin);
    d->begin = begin;
    must(d->engine->snapshot_resumed(buf_slice(&begin)) == (attempt > 0), "resumed when resumed");
    uint64_t from = 0;
    must(d->engine->log_position(&d->replay_from, &from) == 0, "a position");
    must(attempt == 0 || from == d->log_from, "replay begins where it did");
    d->log_from = from;
}

static uint64_t open_log(struct drive *d, unsigned attempt)
{
    struct tm_err err = {0};
    const struct backup_log_options options = {
        .lineage_label = d->lineage_label, .from = d->log_from, .epoch = {1, attempt + 1}};
    uint64_t next;
    need(backup_log_open(d->backup, &options, &d->log, &next, &err), &err);
    return next;
}

/* Log from the source up to `until`; 0 = as much as there is at this moment. */
static void stream(struct drive *d, uint64_t until)
{
    struct tm_err err = {0};
    struct engine_log_event event;
    const bool cut = until > 0;
    while (until == 0 || backup_log_next(d->log) < until) {
        need(d->engine->log_next(d->stream, 1000, &event, &err), &err);
        if (until == 0)
            until = event.flushed;
        if (event.kind != ENGINE_LOG_DATA)
            continue;
        if (cut)
            event.data.len = (size_t)TM_MIN((uint64_t)event.data.len, until - event.from);
        must(pwrite(d->log_fd, event.data.data, event.data.len,
                    (off_t)(event.from - d->log_from)) == (ssize_t)event.data.len,
             "log is kept");
        need(backup_log_append(d->log, event.from, event.data, &err), &err);
    }
    need(d->engine->hold_advance(d->session, backup_log_durable(d->log), &err), &err);
}

/* A session that lives goes on with its log meanwhile: a stream that nobody reads is given up. */
static void pass_gate(struct drive *d, const char *made, const char *waited, bool lives)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s.%s", d->gate, made);
    TM_CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    must(fd >= 0, path);
    snprintf(path, sizeof(path), "%s.%s", d->gate, waited);
    while (access(path, F_OK) < 0)
        if (lives)
            stream(d, 0);
        else
            (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* Says what is in the way, each reason but for its positions once. */
static bool is_ready(struct drive *d)
{
    static char told[sizeof((struct tm_err){0}.msg)];
    struct tm_err err = {0};
    int r = d->engine->reader_ready(d->standby, &err);
    need(r, &err);
    if (r == 0 && strcmp(told, err.msg) != 0)
        printf("not yet: %s\n", err.msg);
    if (r == 0)
        memcpy(told, err.msg, sizeof(told));
    return r == 1;
}

static void await_ready(struct drive *d)
{
    for (unsigned n = 0; !is_ready(d); n++) {
        must(n < 600, "the standby is ready within a minute");
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
}

static void open_standby(struct drive *d, unsigned attempt)
{
    struct tm_err err = {0};
    if (!d->standby_instance.data_dir)
        return;
    need(d->engine->reader_ready(d->reader, &err) - 1, &err); /* the primary always is */
    need(d->engine->reader_open(&d->standby_instance, buf_slice(&d->begin), &d->standby, &err),
         &err);
    bool ready = is_ready(d);
    printf("standby: %s at first\n", ready ? "ready" : "not ready");
    if (attempt == 0)
        pass_gate(d, "asked", "go-asked", true);
    await_ready(d);
}

static void start_attempt(struct drive *d, unsigned attempt)
{
    struct tm_err err = {0};
    d->options.epoch = (struct epoch){1, attempt + 1};
    need(backup_open(&d->options, &d->backup, &err), &err);
    need(backup_worker_new(d->backup, &d->worker, &err), &err);
    uint64_t next = attempt > 0 ? open_log(d, attempt) : 0;
    open_session(d, attempt, next);
    if (attempt == 0)
        next = open_log(d, attempt);
    need(d->engine->reader_open(&d->instance, buf_slice(&d->begin), &d->reader, &err), &err);
    need(d->engine->log_open(&d->instance, buf_slice(&d->begin), next, &d->stream, &err), &err);
    open_standby(d, attempt);
    if (attempt > 0)
        return;
    struct engine_plan_options plan = {.range_bytes = d->range_bytes, .range_files = 40};
    struct backup_plan_totals totals;
    need(backup_store_plan(d->worker, d->engine, d->reader, &plan, take_range, d, &totals, &err),
         &err);
}

static void stop_attempt(struct drive *d)
{
    d->engine->log_close(d->stream);
    backup_log_free(d->log);
    d->engine->reader_close(d->reader);
    if (d->standby)
        d->engine->reader_close(d->standby);
    d->standby = NULL;
    d->engine->session_close(d->session);
    backup_worker_free(d->worker);
    backup_free(d->backup);
}

struct standby_share {
    uint32_t ranges, again;
    uint64_t bytes;
};

static void store_range(struct drive *d, uint32_t n, struct standby_share *share)
{
    struct tm_err err = {0};
    struct range *r = &d->ranges[n];
    struct backup_lease lease = {
        .index = n,
        .epoch = {1, n + 1},
        .range = {slice_of(r->start, r->start_len), slice_of(r->end, r->end_len)}};
    if (!d->standby || !d->engine->range_anywhere(lease.range)) {
        need(backup_store_range(d->worker, d->engine, d->reader, &lease, &r->result, &err), &err);
        return;
    }
    while (backup_store_range(d->worker, d->engine, d->standby, &lease, &r->result, &err) < 0) {
        if (!err.retryable)
            die(&err);
        printf("again: %s\n", err.msg);
        share->again++;
        lease.epoch.counter += RANGES_MAX;
        await_ready(d);
    }
    share->ranges++;
    share->bytes += r->result.raw_bytes;
}

static bool holds_states(const struct range *r)
{
    /* of all that is in the directory, see files.h */
    const struct slice from = slice_str("\x10pg_twophase\x01"),
                       to = slice_str("\x10pg_twophase\x02");
    return slice_cmp(slice_of(r->end, r->end_len), from) > 0 &&
           slice_cmp(slice_of(r->start, r->start_len), to) < 0;
}

static bool is_read_by(const struct drive *d, uint32_t n, unsigned attempt)
{
    if (d->states > 0 && holds_states(&d->ranges[n]))
        return attempt + 1 == d->states;
    return attempt + 1 == d->attempts || n % d->attempts == attempt;
}

static void read_ranges(struct drive *d, unsigned attempt)
{
    uint32_t ranges = 0;
    uint64_t bytes = 0, corrupt = 0;
    struct standby_share share = {0};
    bool half = false;
    const bool last = attempt + 1 == d->attempts;
    for (uint32_t n = 0; n < d->count; n++) {
        struct range *r = &d->ranges[n];
        if (r->done || !is_read_by(d, n, attempt))
            continue;
        if (d->standby && last && !half && n >= d->count / 2) {
            pass_gate(d, "half", "go-half", true);
            half = true;
        }
        store_range(d, n, &share);
        r->done = true;
        ranges++;
        bytes += r->result.raw_bytes;
        corrupt += r->result.stats.pages_corrupt;
        for (unsigned p = 0; p < r->result.problem_count; p++)
            printf("problem: %s block %" PRIu64 ": %s\n", r->result.problems[p].path,
                   r->result.problems[p].block, r->result.problems[p].what);
        if (ranges % 8 == 0)
            stream(d, 0);
    }
    stream(d, 0);
    printf("attempt %u: %u of %u ranges, %" PRIu64 " bytes, %" PRIu64 " corrupt\n", attempt + 1,
           ranges, d->count, bytes, corrupt);
    if (d->standby)
        printf("standby %u: %u ranges, %" PRIu64 " bytes, %u read again\n", attempt + 1,
               share.ranges, share.bytes, share.again);
}

/* ---- the end ---- */

static void prove(const struct drive *d)
{
    struct tm_err err = {0};
    struct engine_proof *proof = NULL;
    uint8_t piece[PIECE];
    if (!d->engine->snapshot_resumed(buf_slice(&d->begin)))
        return;
    need(d->engine->proof_open(buf_slice(&d->begin), &proof, &err), &err);
    for (uint64_t at = d->log_from; at < d->log_to;) {
        const size_t n = (size_t)TM_MIN((uint64_t)PIECE, d->log_to - at);
        must(pread(d->log_fd, piece, n, (off_t)(at - d->log_from)) == (ssize_t)n, "log is there");
        need(d->engine->proof_push(proof, slice_of(piece, n), &err), &err);
        at += n;
    }
    need(d->engine->proof_end(proof, buf_slice(&d->end), &err), &err);
    d->engine->proof_close(proof);
}

static int next_result(void *arg, uint32_t index, struct slice *ret, struct tm_err *err)
{
    const struct drive *d = arg;
    (void)err;
    if (index > d->count)
        return 0;
    *ret = buf_slice(index == d->count ? &d->final.blob : &d->ranges[index].result.blob);
    return ret->len > 0;
}

static void finish(struct drive *d)
{
    struct tm_err err = {0};
    uint8_t key[ENGINE_KEY_MAX];
    size_t len;
    int64_t settled_us;
    struct backup_totals totals = {0};
    need(d->engine->session_ping(d->session, &err), &err);
    need(d->engine->snapshot_end(d->session, &d->end, &d->consistent_at, &d->commit_us, &err),
         &err);
    need(d->engine->snapshot_settled(buf_slice(&d->end), &settled_us, &err), &err);
    must(d->engine->log_position(&d->consistent_at, &d->log_to) == 0, "a position");
    stream(d, d->log_to);
    need(backup_log_finish(d->log, &err), &err);
    prove(d);
    must(d->engine->final_key(d->reader, key, &len) == 0, "a final key");
    const struct backup_lease lease = {
        .index = d->count, .epoch = {1, d->count + 1}, .range = {slice_of(key, len), SLICE_EMPTY}};
    need(backup_store_final(d->worker, d->engine, d->reader, buf_slice(&d->end), &lease, &d->final,
                            &err),
         &err);
    const struct backup_commit commit = {.epoch = {1, 1000 * RANGES_MAX},
                                         .begin = buf_slice(&d->begin),
                                         .end = buf_slice(&d->end),
                                         .replay_from = d->replay_from,
                                         .consistent_at = d->consistent_at,
                                         .log_from = d->log_from,
                                         .log_to = d->log_to,
                                         .log = d->log,
                                         .started_us = 1000000,
                                         .commit_us = d->commit_us,
                                         .settled_us = settled_us,
                                         .engine = d->engine->name,
                                         .engine_version = d->version,
                                         .lineage_label = d->lineage_label,
                                         .node = "n1",
                                         .name = "resumed",
                                         .ranges = d->count + 1};
    need(backup_commit(d->worker, &commit, next_result, d, &totals, &err), &err);
    printf("committed at %s\n", d->consistent_at.text);
}

static void run(struct drive *d)
{
    struct tm_err err = {0};
    for (unsigned attempt = 0; attempt < d->attempts; attempt++) {
        char lost[32], go[32];
        start_attempt(d, attempt);
        if (attempt + 1 == d->states)
            pass_gate(d, "begun", "go-begun", true);
        read_ranges(d, attempt);
        if (attempt + 1 == d->attempts) {
            pass_gate(d, "end", "go-end", true);
            finish(d);
        } else {
            if (attempt + 1 == d->ended) {
                need(d->engine->snapshot_end(d->session, &d->end, &d->consistent_at, &d->commit_us,
                                             &err),
                     &err);
                buf_release(&d->end);
                d->end = BUF_INIT;
            }
            snprintf(lost, sizeof(lost), "lost-%u", attempt + 1);
            snprintf(go, sizeof(go), "go-%u", attempt + 1);
            pass_gate(d, lost, go, false);
            err = (struct tm_err){0};
            must(d->engine->session_ping(d->session, &err) < 0, "the session was lost");
        }
        stop_attempt(d);
    }
}

int main(int argc, char **argv)
{
    struct tm_err err = {0};
    struct engine_description description;
    char path[4096];
    if (argc < 7)
        return 0;
    static struct drive d = {.log_fd = -1};
    setvbuf(stdout, NULL, _IOLBF, 0);
    d.engine = engine_find("postgres");
    d.instance = (struct engine_instance){"main", argv[1], argv[2]};
    d.hold = argv[4];
    d.attempts = (unsigned)strtoul(argv[5], NULL, 10);
    d.gate = argv[6];
    d.range_bytes = argc > 7 ? strtoull(argv[7], NULL, 10) : 1000000;
    d.ended = argc > 8 ? (unsigned)strtoul(argv[8], NULL, 10) : 0;
    d.states = argc > 9 ? (unsigned)strtoul(argv[9], NULL, 10) : 0;
    if (argc > 11)
        d.standby_instance = (struct engine_instance){"main", argv[10], argv[11]};
    d.ranges = calloc(RANGES_MAX, sizeof(*d.ranges));
    must(d.ranges != NULL, "memory");
    snprintf(path, sizeof(path), "%s.wal", d.gate);
    d.log_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(d.log_fd >= 0, path);
    need(storage_open(argv[3], NULL, &d.storage, &err), &err);
    need(d.engine->describe(&d.instance, &description, &err), &err);
    need(d.engine->check(&d.instance, &err), &err);
    snprintf(d.version, sizeof(d.version), "%s", description.version);
    snprintf(d.lineage_label, sizeof(d.lineage_label), "%s", description.lineage_label);
    d.options = (struct backup_options){.storage = d.storage,
                                        .engine = d.engine->name,
                                        .backup_id = "20261121T100000Z-0000abcd",
                                        .lead = true,
                                        .zstd_level = 1};
    need(names_scope_set(&d.options.scope, "test", "main", description.identity, &err), &err);
    run(&d);
    storage_free(d.storage);
    closep(&d.log_fd);
    buf_release(&d.begin);
    buf_release(&d.end);
    for (uint32_t n = 0; n < d.count; n++)
        backup_result_release(&d.ranges[n].result);
    backup_result_release(&d.final);
    free(d.ranges);
    return 0;
}
