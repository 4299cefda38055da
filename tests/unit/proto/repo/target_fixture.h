#ifndef TM_TESTS_UNIT_PROTO_REPO_TARGET_FIXTURE_H
#define TM_TESTS_UNIT_PROTO_REPO_TARGET_FIXTURE_H
/*
 * A stored log with a backup, and plans over it as one line of text each.
 */
#include "common/clock.h"
#include "proto/repo/target.h"
#include "tests/unit/proto/repo/log_fixture.h"

#define ID_A "20261121T100000Z-0000000a"
#define ID_B "20261121T110000Z-0000000b"
#define ID_C "20261121T120000Z-0000000c"
#define T(n) ((n)*SECOND)

static struct test_branch *known[4]; /* whose bytes the engine must be shown */

/* Records begin at multiples of 16; the bytes that are shown must be the branch's own. */
static TM_UNUSED int
last_record(void *arg, struct slice facts, const char *label, uint64_t from,
            int (*read)(void *read_arg, uint64_t at, struct slice *ret, struct tm_err *err),
            void *read_arg, uint64_t limit, bool before, uint64_t *ret_record, struct tm_err *err)
{
    const struct test_branch *b = NULL;
    assert_string_equal(arg, "arg");
    for (size_t i = 0; i < TM_ARRAY_LEN(known); i++)
        b = known[i] != NULL && strcmp(known[i]->record.label, label) == 0 ? known[i] : b;
    assert_non_null(b);
    assert_true(slice_eq(facts, b->record.facts));
    assert_int_equal(from % SEG, 0);
    uint64_t at = from;
    while (at < limit + RECORD) {
        struct slice piece = SLICE_EMPTY;
        int r = read(read_arg, at, &piece, err);
        if (r < 0)
            return r;
        if (piece.len == 0)
            break;
        for (size_t i = 0; i < piece.len; i++)
            assert_int_equal(piece.data[i], log_byte(b, at + i));
        at += piece.len;
    }
    uint64_t record = (before ? limit - 1 : limit) / RECORD * RECORD;
    while (record + RECORD > at && record > from)
        record -= RECORD;
    if (record + RECORD > at || record < from)
        return tm_err_set(err, TM_E_NOT_FOUND, "no record");
    *ret_record = record;
    return 0;
}

static char engine_arg[] = "arg";

/* What is asked beside the target's text. */
struct ask {
    const char *backup;
    bool exclusive;
    const char *lineage;
    struct storage *backup_st;
};

/* "backup record<log_to label time: from-until …", "backup immediate", or the error's text. */
static TM_UNUSED const char *plan_of(struct fixture *f, const char *text, const struct ask *ask)
{
    static char out[1200];
    const struct target_engine engine = {
        .positions = test_positions, .last_record = last_record, .arg = engine_arg};
    struct target target;
    struct target_plan plan = TARGET_PLAN_INIT;
    assert_int_equal(target_parse(text, &target, &f->err), 0);
    target.exclusive = ask != NULL && ask->exclusive;
    if (ask != NULL && ask->lineage != NULL) {
        target.has_lineage = true;
        memset(target.lineage, 0, 16);
        memcpy(target.lineage, ask->lineage, strlen(ask->lineage));
    }
    int r = target_plan_make(f->scratch, f->st,
                             ask != NULL && ask->backup_st ? ask->backup_st : f->st, &f->scope,
                             ask != NULL ? ask->backup : NULL, &target, &engine, &plan, &f->err);
    if (r < 0) {
        (void)snprintf(out, sizeof(out), "%s", f->err.msg);
        return out;
    }
    if (plan.immediate) {
        (void)snprintf(out, sizeof(out), "%s immediate %s", plan.backup_id + 24,
                       plan.stop_position);
        target_plan_release(&plan);
        return out;
    }
    size_t used = (size_t)snprintf(
        out, sizeof(out), "%s %llu<%llu %s %lld.%lld:", plan.backup_id + 24,
        (unsigned long long)plan.stop_record, (unsigned long long)plan.log_to, plan.stop_label,
        (long long)(plan.stop_us / SECOND), (long long)(plan.stop_us % SECOND / 100000));
    char position[FORMAT_POSITION_MAX];
    position_text(plan.stop_record, position);
    assert_string_equal(plan.stop_position, position);
    for (size_t i = 0; i < plan.piece_count; i++) {
        struct log_ref ref;
        struct storage_object object;
        target_plan_piece(&plan, i, &ref);
        assert_int_equal(storage_stat(f->st, names_full(&f->scope, ref.object).s, &object, &f->err),
                         0);
        assert_true(ref.task);
        assert_int_equal(ref.stored_bytes, object.size_bytes);
        used += (size_t)snprintf(out + used, sizeof(out) - used, " %s@%llu-%llu", ref.label,
                                 (unsigned long long)ref.from,
                                 (unsigned long long)plan.pieces[i].until);
    }
    target_plan_release(&plan);
    return out;
}

static TM_UNUSED struct log_point commit(uint64_t at, int64_t time_us)
{
    return (struct log_point){.kind = EVENT_COMMIT,
                              .at = at,
                              .previous = at - RECORD,
                              .end = at + RECORD,
                              .time_us = time_us,
                              .xid = at};
}

static TM_UNUSED struct log_point point(uint64_t at, int64_t time_us, const char *name)
{
    struct log_point p = commit(at, time_us);
    p.kind = EVENT_POINT;
    p.xid = 0;
    (void)snprintf(p.name, sizeof(p.name), "%s", name);
    return p;
}

static TM_UNUSED void branches_done(void)
{
    for (size_t i = 0; i < TM_ARRAY_LEN(known); i++) {
        if (known[i] != NULL)
            branch_done(known[i]);
        known[i] = NULL;
    }
}

/* One lineage, one backup, two chunks, proven up to second 20. */
static TM_UNUSED void put_story(struct fixture *f, struct test_branch *p)
{
    known[0] = p;
    *p = (struct test_branch){
        .record = {.id = "p", .label = "1", .created_us = 1, .facts = slice_str("f")}};
    put_lineage(f, p);
    put_writer(f, p, 1, 0);
    const struct log_point first[] = {commit(96, T(10)), commit(160, T(12)), commit(224, T(11)),
                                      commit(288, T(13))};
    const struct log_point second[] = {point(544, T(14), "n1"), commit(608, T(15))};
    struct log_ref ref = put_chunk(f, p, 0, 512, 1, &(struct extra){first, 4, 0});
    put_chunk(f, p, 512, 1024, 1, &(struct extra){second, 2, T(16)});
    put_mark(f, p, 1024, 1, 0, T(20));
    put_backup(f, f->st, ID_A, p, 64, T(5), &ref, 1);
}

#define TIME(n) "time:1970-01-01T00:00:" n "Z"

#endif
