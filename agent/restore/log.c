/*
 * The log of a restore: the backup's own, and what the log task stored behind it.
 *
 * Pass "check": before anything is written, every range of the manifest is read (which proves that
 * they cover the key space), the backup's own log is fetched, verified and shown to the engine, and so
 * are the indexes of the task's pieces, whose bytes are compared with their hashes as they lie in
 * storage. Only where an index does not say all, all of those bytes are unpacked and shown, too.
 * Pass "write": the same log into its place. The backup's own comes first, then the task's pieces by
 * a thread of their own, while other threads restore the files.
 *
 * Where the task's pieces begin, the backup's own log ends: both hold the same bytes there, which the
 * planner has proven. The engine gets one stream without gap or overlap, but for a new branch, which
 * begins anew at the fork's segment.
 * Failure: a chunk that is missing, damaged or not the one that the plan names stops the restore with
 * its name; in the first pass nothing has been written by then.
 */
#include "agent/restore/internal.h"

#include "proto/format/chunk.h"

#define STACK_BYTES (256u << 10)

static int give(struct restore *r, enum restore_log_pass pass, const struct log_ref *ref,
                uint64_t at, struct slice piece, struct tm_err *err)
{
    int rc = restore_canceled(r, err);
    if (rc < 0 || (rc = restore_failed(r, err)) < 0)
        return rc;
    if (pass == RESTORE_LOG_CHECK)
        return r->engine->restore_check_log
                   ? r->engine->restore_check_log(r->target, ref->label, at, piece, err)
                   : 0;
    return r->engine->restore_log(r->target, ref->label, at, piece, err);
}

/* The bytes of one stored chunk from `from` up to `until`. */
static int one_chunk(struct restore *r, enum restore_log_pass pass, struct storage *st,
                     const struct log_ref *ref, uint64_t from, uint64_t until, struct tm_err *err)
{
    struct full_name name = names_full(&r->scope, ref->object);
    struct chunk_reader cr = CHUNK_READER_INIT;
    struct slice piece;
    uint64_t at;
    int rc = chunk_reader_open(&cr, r->log_scratch, st, name.s, ref, err);
    while (rc == 0 && (rc = chunk_reader_next(&cr, &at, &piece, err)) == 1) {
        rc = 0;
        if (at >= until)
            break;
        piece.len = (size_t)TM_MIN((uint64_t)piece.len, until - at);
        size_t skip = at < from ? (size_t)TM_MIN(from - at, (uint64_t)piece.len) : 0;
        if (skip < piece.len)
            rc = give(r, pass, ref, at + skip, slice_of(piece.data + skip, piece.len - skip), err);
    }
    chunk_reader_release(&cr);
    return rc;
}

/* ---- the backup's own ---- */

static int all_ranges(struct backup_ranges *ranges, struct tm_err *err)
{
    struct segment_range range;
    int rc;
    while ((rc = backup_ranges_next(ranges, &range, err)) == 1)
        ;
    return rc;
}

/* What was streamed beyond the snapshot's end is not part of it. */
static uint64_t own_until(const struct restore *r)
{
    if (r->plan.piece_count == 0)
        return r->log_to;
    return TM_MAX(r->log_from, TM_MIN(r->log_to, r->plan.pieces[0].from));
}

/* A chunk of the log task lies where the log lies; a backup that was taken beside it has it at hand. */
static int place_of(const struct restore *r, const struct log_ref *ref, struct storage **ret,
                    struct tm_err *err)
{
    struct storage_object found;
    *ret = r->st;
    if (!ref->task || r->log_st == r->st)
        return 0;
    int rc = storage_stat(r->log_st, names_full(&r->scope, ref->object).s, &found, err);
    if (rc < 0 && err->code == TM_E_NOT_FOUND)
        return 0;
    if (rc == 0)
        *ret = r->log_st;
    return rc;
}

static int own_log(struct restore *r, enum restore_log_pass pass, struct tm_err *err)
{
    struct backup_ranges ranges = BACKUP_RANGES_INIT;
    struct log_ref ref;
    uint64_t until = own_until(r);
    int rc = backup_ranges_reopen(&ranges, r->manifest_scratch, r->segment_scratch, r->st,
                                  &r->scope, r->outcome.backup_id, err);
    if (rc == 0)
        rc = all_ranges(&ranges, err);
    while (rc == 0 && (rc = backup_ranges_log(&ranges, &ref, err)) == 1) {
        struct storage *st = r->st;
        rc = ref.from >= until ? 0 : place_of(r, &ref, &st, err);
        if (rc == 0 && ref.from < until)
            rc = one_chunk(r, pass, st, &ref, r->log_from, until, err);
    }
    backup_ranges_release(&ranges);
    return rc < 0 ? tm_err_prefix(err, "backup '%s'", r->outcome.backup_id) : 0;
}

/* ---- the task's ---- */

/* What cannot be had then, in the engine's words. Returns -err->code. */
static int lost(const struct restore *r, const struct log_ref *ref, struct tm_err *err)
{
    char from[ENGINE_POSITION_MAX], to[ENGINE_POSITION_MAX];
    if (err->code != TM_E_CORRUPT && err->code != TM_E_NOT_FOUND)
        return -(int)err->code;
    r->engine->position_text(ref->from, from);
    r->engine->position_text(ref->to, to);
    return tm_err_prefix(err, "log from %s to %s is lost", from, to);
}

static int pieces(struct restore *r, enum restore_log_pass pass, struct tm_err *err)
{
    int rc = 0;
    for (size_t n = 0; rc == 0 && n < r->plan.piece_count; n++) {
        const struct target_piece *piece = &r->plan.pieces[n];
        bool first_branch = piece->branch == r->plan.pieces[0].branch;
        struct log_ref ref;
        uint64_t from = TM_MAX(piece->from, first_branch ? own_until(r) : 0);
        target_plan_piece(&r->plan, n, &ref);
        rc = one_chunk(r, pass, r->log_st, &ref, from, piece->until, err);
        if (rc < 0)
            return lost(r, &ref, err);
        if (pass == RESTORE_LOG_WRITE && piece->until > from)
            atomic_fetch_add(&r->log_done, piece->until - from);
    }
    return rc;
}

static int section_of(void *arg, uint16_t id, struct slice *ret, struct tm_err *err)
{
    return chunk_reader_section(arg, id, ret, err);
}

/* *ret_known false: the piece must be read. */
static int check_piece(struct restore *r, size_t n, uint64_t start, bool *ret_known,
                       struct tm_err *err)
{
    struct chunk_reader cr = CHUNK_READER_INIT;
    const struct engine_sections sections = {section_of, &cr};
    struct log_ref ref;
    target_plan_piece(&r->plan, n, &ref);
    struct full_name name = names_full(&r->scope, ref.object);
    int rc = restore_canceled(r, err);
    if (rc == 0)
        rc = chunk_reader_open(&cr, r->log_scratch, r->log_st, name.s, &ref, err);
    if (rc == 0)
        rc = chunk_reader_verify_stored(&cr, err);
    bool known = rc == 0 && cr.root.last_record != 0; /* somebody looked for records in it */
    if (known)
        rc = r->engine->restore_check_index(r->target, ref.label, start, r->plan.pieces[n].until,
                                            &sections, &known, err);
    if (rc == 0)
        *ret_known = known;
    chunk_reader_release(&cr);
    return rc < 0 ? lost(r, &ref, err) : 0;
}

/* The task's pieces by what they say of themselves. */
static int check_indexes(struct restore *r, bool *ret_known, struct tm_err *err)
{
    const struct target_piece *pieces = r->plan.pieces;
    uint64_t start = r->log_from, next = TM_MAX(r->log_from, own_until(r));
    bool known = r->engine->restore_check_index != NULL;
    for (size_t n = 0; known && n < r->plan.piece_count; n++) {
        bool follows = n > 0 && pieces[n].branch == pieces[n - 1].branch;
        if (n > 0 && !follows)
            start = next = pieces[n].from; /* a new branch is read anew from there */
        known = follows ? pieces[n].from == next : pieces[n].from <= next; /* else reading tells */
        int rc = known ? check_piece(r, n, start, &known, err) : 0;
        if (rc < 0)
            return rc;
        next = TM_MAX(next, pieces[n].until);
    }
    *ret_known = known;
    return 0;
}

int restore_log_check(struct restore *r, struct tm_err *err)
{
    bool known = false;
    int rc = own_log(r, RESTORE_LOG_CHECK, err);
    if (rc == 0)
        rc = check_indexes(r, &known, err);
    return rc < 0 || known ? rc : pieces(r, RESTORE_LOG_CHECK, err);
}

static void *pieces_main(void *arg)
{
    struct restore *r = arg;
    struct tm_err err;
    if (pieces(r, RESTORE_LOG_WRITE, &err) < 0)
        restore_fail(r, &err);
    return NULL;
}

int restore_log_write(struct restore *r, struct tm_err *err)
{
    pthread_attr_t attr;
    int rc = own_log(r, RESTORE_LOG_WRITE, err);
    if (rc < 0 || r->plan.piece_count == 0)
        return rc;
    pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    rc = pthread_create(&r->log_thread, &attr, pieces_main, r);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return tm_err_errno(err, rc, "cannot start a thread");
    r->log_started = true;
    return 0;
}

void restore_log_join(struct restore *r)
{
    while (r->log_started) {
        struct tm_err err;
        struct timespec until = clock_after(CLOCK_REALTIME, RESTORE_TICK_MS * USEC_PER_MSEC);
        r->log_started = pthread_timedjoin_np(r->log_thread, NULL, &until) == ETIMEDOUT;
        restore_report(r);
        if (r->log_started && restore_canceled(r, &err) < 0)
            restore_fail(r, &err);
    }
}
