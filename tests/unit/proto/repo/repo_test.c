/* Backups in a repository, written here with the format alone: chain, choice, verification, sweeps. */
#include "common/hash.h"
#include "proto/format/chunk.h"
#include "proto/format/data.h"
#include "proto/repo/planner.h"
#include "proto/repo/sweep.h"
#include "proto/repo/verify.h"
#include "tests/unit/proto/repo/fixture.h"

#define ID_A "20261121T100000Z-0000000a"
#define ID_B "20261121T110000Z-0000000b"
#define ID_C "20261121T120000Z-0000000c"

static const uint8_t nonce[16] = "nonce";

/* ---- a small backup ---- */

enum { RANGES = 10, PER_SEGMENT = 4 };
#define LOG_SEGMENT UINT64_C(1024)

/* What a test wants to be wrong with the backup it writes. */
struct wrong {
    uint32_t gap_at;       /* this range starts a byte later than the one before ended */
    uint32_t epoch_at;     /* this range's epoch is above the manifest's */
    uint32_t foreign_at;   /* this range names another backup's object */
    uint32_t skip_segment; /* 1 + number of a segment that the manifest leaves out */
    bool no_top;           /* the last range ends early */
    bool log_hole;
    bool log_short;
    bool wrong_crc;
    bool unfinished; /* no manifest */
    int64_t commit_us;
};

static int sweep_at_once(struct fixture *f, struct sweep_totals *ret)
{
    int64_t next_us = 0;
    int r =
        backup_delete_sweep(f->scratch[0], f->st, &f->scope, ID_A, 1, 0, &next_us, ret, &f->err);
    assert_int_equal(next_us, 0);
    return r;
}

static struct slice key_of(uint8_t key[4], uint32_t number)
{
    be32_put(key, number * 16);
    return number == 0 ? SLICE_EMPTY : slice_of(key, 4);
}

static void write_data(struct fixture *f, const char *id, const struct wrong *wrong,
                       struct segment_range *range)
{
    struct object_options options = {.kind = OBJECT_DATA, .zstd_level = 1, .frame_bytes = 256};
    struct data_index index = DATA_INDEX_INIT;
    struct object_writer *w = NULL;
    struct object_info info;
    struct tm_err *e = &f->err;
    struct rel_name rel =
        names_rel_data(id, range->index, (struct epoch){range->term, range->counter});
    char text[700];
    memset(text, 'a' + (int)range->index, sizeof(text));
    text[699] = '\0';
    assert_int_equal(
        object_writer_open(f->scratch[0], f->st, names_full(&f->scope, rel.s).s, &options, &w, e),
        0);
    struct data_file file = {.kind = DATA_REGULAR, .last_part = true};
    (void)snprintf(file.path, sizeof(file.path), "file%u", range->index);
    assert_int_equal(data_index_file(&index, &file, 0, e), 0);
    assert_int_equal(object_writer_append(w, slice_str(text), e), 0);
    uint32_t crc = crc32c(CRC32C_INIT, text, strlen(text)) + (wrong->wrong_crc ? 1 : 0);
    assert_int_equal(data_index_file_end(&index, object_writer_raw_bytes(w), crc, e), 0);
    struct data_root root = {.range = range->index,
                             .term = range->term,
                             .counter = range->counter,
                             .start = range->start,
                             .end = range->end};
    memcpy(root.backup_id, id, sizeof(root.backup_id));
    assert_int_equal(data_index_store(&index, &root, w, e), 0);
    assert_int_equal(object_writer_finish(w, &info, e), 0);
    object_writer_close(w);
    data_index_release(&index);
    (void)snprintf(range->object, sizeof(range->object), "%s", rel.s);
    range->stored_bytes = info.stored_bytes;
    range->raw_bytes = info.raw_bytes;
    memcpy(range->digest, info.digest, sizeof(range->digest));
}

static struct segment_range make_range(struct fixture *f, const char *id, uint32_t i,
                                       const struct wrong *wrong, uint8_t keys[2][4])
{
    struct segment_range range = {.index = i, .term = 3, .counter = i + 1};
    range.start = key_of(keys[0], i);
    range.end = i + 1 == RANGES && !wrong->no_top ? SLICE_EMPTY : key_of(keys[1], i + 1);
    if (wrong->gap_at != 0 && wrong->gap_at == i)
        keys[0][3]++;
    if (wrong->epoch_at != 0 && wrong->epoch_at == i)
        range.counter = 1001;
    write_data(f, id, wrong, &range);
    if (wrong->foreign_at != 0 && wrong->foreign_at == i) {
        struct rel_name rel = names_rel_data(ID_C, i, (struct epoch){3, i + 1});
        memcpy(range.object, rel.s, sizeof(range.object));
    }
    return range;
}

/* Segments of PER_SEGMENT ranges; *refs' keys point into keys. */
static uint32_t write_segments(struct fixture *f, const char *id, const struct wrong *wrong,
                               struct segment_ref *refs, uint8_t (*keys)[2][4])
{
    uint32_t count = 0;
    struct buf buf = BUF_INIT;
    for (uint32_t i = 0; i < RANGES; count++) {
        struct object_options options = {.kind = OBJECT_SEGMENT, .frame_bytes = 4096};
        struct rel_name rel = names_rel_checkpoint(id, (struct epoch){3, 1000}, count);
        struct object_info info;
        struct segment_range ranges[PER_SEGMENT];
        uint32_t n = 0;
        uint8_t range_keys[PER_SEGMENT][2][4];
        for (; n < PER_SEGMENT && i < RANGES; n++, i++)
            ranges[n] = make_range(f, id, i, wrong, range_keys[n]);
        struct object_writer *w = NULL;
        assert_int_equal(object_writer_open(f->scratch[1], f->st, names_full(&f->scope, rel.s).s,
                                            &options, &w, &f->err),
                         0);
        for (uint32_t k = 0; k < n; k++)
            assert_int_equal(stream_put(w, &buf, &segment_range_codec, &ranges[k], &f->err), 0);
        assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
        object_writer_close(w);
        struct segment_ref ref = {
            .stored_bytes = info.stored_bytes, .raw_bytes = info.raw_bytes, .ranges = n};
        memcpy(ref.object, rel.s, sizeof(ref.object));
        memcpy(ref.digest, info.digest, sizeof(ref.digest));
        memcpy(keys[count][0], range_keys[0][0], 4);
        memcpy(keys[count][1], range_keys[n - 1][1], 4);
        ref.start = slice_of(keys[count][0], ranges[0].start.len);
        ref.end = slice_of(keys[count][1], ranges[n - 1].end.len);
        refs[count] = ref;
    }
    buf_release(&buf);
    return count;
}

static void write_log(struct fixture *f, const char *id, struct manifest_writer *mw,
                      const struct wrong *wrong)
{
    static uint8_t zeros[3 * LOG_SEGMENT];
    struct log_digest d;
    assert_int_equal(log_digest_init(&d, LOG_SEGMENT, 0, NULL, &f->err), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct chunk_writer cw = CHUNK_WRITER_INIT;
        struct log_chunk root = {.from = i * LOG_SEGMENT, .term = 3, .counter = 1};
        struct rel_name rel = names_rel_backup_log(id, root.from, (struct epoch){3, 1});
        struct log_ref ref;
        struct object_info info;
        assert_int_equal(chunk_writer_open(&cw, f->scratch[1], f->st,
                                           names_full(&f->scope, rel.s).s, &root, 1, nonce, &d,
                                           &f->err),
                         0);
        assert_int_equal(chunk_writer_data(&cw, slice_of(zeros, LOG_SEGMENT), &f->err), 0);
        assert_int_equal(chunk_writer_finish(&cw, rel.s, &ref, &info, &f->err), 0);
        chunk_writer_release(&cw);
        if ((i == 1 && wrong->log_hole) || (i == 2 && wrong->log_short))
            continue;
        assert_int_equal(manifest_writer_log(mw, &ref, &f->err), 0);
    }
    log_digest_release(&d);
}

static void write_backup(struct fixture *f, const char *id, const struct wrong *wrong)
{
    struct segment_ref refs[RANGES];
    uint8_t keys[RANGES][2][4];
    uint32_t segments = write_segments(f, id, wrong, refs, keys);
    struct manifest_writer mw = MANIFEST_WRITER_INIT;
    struct object_info info;
    struct position at = {.bytes = slice_str("x"), .text = "0/42"};
    struct manifest root = {.engine = "mock",
                            .kind = BACKUP_FULL,
                            .term = 3,
                            .counter = 1000,
                            .commit_us = wrong->commit_us,
                            .consistent_at = &at,
                            .log_to = 3 * LOG_SEGMENT};
    memcpy(root.backup_id, id, sizeof(root.backup_id));
    memcpy(root.cluster, f->scope.cluster, sizeof(root.cluster));
    memcpy(root.tenant, f->scope.tenant, sizeof(root.tenant));
    memcpy(root.incarnation, f->scope.incarnation, sizeof(root.incarnation));
    assert_int_equal(manifest_writer_open(&mw, f->scratch[2], f->st, &f->scope, id, nonce, &f->err),
                     0);
    for (uint32_t i = 0; i < segments; i++) {
        if (wrong->skip_segment != i + 1)
            assert_int_equal(manifest_writer_segment(&mw, &refs[i], &f->err), 0);
    }
    write_log(f, id, &mw, wrong);
    struct problem problem;
    problem_set(&problem, "file1", 3, "page checksum");
    assert_int_equal(manifest_writer_problem(&mw, &problem, &f->err), 0);
    if (!wrong->unfinished)
        assert_int_equal(manifest_writer_commit(&mw, &root, &info, &f->err), 0);
    manifest_writer_release(&mw);
}

static const struct wrong nothing = {.commit_us = 1000};

static void put(struct fixture *f, const char *name)
{
    assert_int_equal(storage_put(f->st, name, SLICE_EMPTY, &f->err), 0);
}

/* ---- chain ---- */

/* Streams everything; the number of ranges, or the error. */
static int walk(struct fixture *f, const char *id)
{
    struct backup_ranges br = BACKUP_RANGES_INIT;
    struct segment_range range;
    struct log_ref log;
    struct problem problem;
    int count = 0;
    int logs = 0;
    int problems = 0;
    int r = backup_ranges_open(&br, f->scratch[0], f->scratch[1], f->st, &f->scope, id, &f->err);
    while (r >= 0 && (r = backup_ranges_next(&br, &range, &f->err)) > 0)
        assert_int_equal(range.index, count++);
    while (r >= 0 && (r = backup_ranges_log(&br, &log, &f->err)) > 0)
        assert_int_equal(log.from, LOG_SEGMENT * (uint64_t)logs++);
    while (r >= 0 && (r = backup_ranges_problem(&br, &problem, &f->err)) > 0)
        problems++;
    if (r == 0) {
        assert_int_equal(logs, 3);
        assert_int_equal(problems, 1);
    }
    backup_ranges_release(&br);
    return r < 0 ? r : count;
}

static void test_chain(void **state)
{
    struct fixture *f = *state;
    write_backup(f, ID_A, &nothing);
    assert_int_equal(walk(f, ID_A), RANGES);
    assert_int_equal(walk(f, ID_B), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "backup '" ID_B "' of demo1/main has no manifest: it does not "
                                    "exist or was never finished");
}

static void test_broken_chains(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct wrong wrong;
        const char *text;
    } cases[] = {
        {{.gap_at = 6}, "range 6: it does not start where the one before ended"},
        {{.gap_at = 4}, "range 4: its segment does not start where the one before ended"},
        {{.epoch_at = 5}, "range 5: its epoch is above the manifest's"},
        {{.foreign_at = 7}, "range 7: its object has a foreign name"},
        {{.skip_segment = 1}, "range 0: its segment does not start where the one before ended"},
        {{.skip_segment = 2}, "range 4: its segment does not start where the one before ended"},
        {{.skip_segment = 3},
         "range 8: it is the last, and does not reach the top of the key space"},
        {{.no_top = true}, "range 10: it is the last, and does not reach the top of the key space"},
        {{.log_short = true}, "its log ends before the backup is consistent"},
        {{.log_hole = true},
         "log object 'backup/" ID_A
         "/log/0000000000000800-0000000000000003.00000001': it does not start "
         "where the one before ended"},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(cases); i++) {
        char text[400];
        struct sweep_totals totals;
        write_backup(f, ID_A, &cases[i].wrong);
        assert_int_equal(walk(f, ID_A), -TM_E_CORRUPT);
        (void)snprintf(text, sizeof(text), "backup '" ID_A "': %s", cases[i].text);
        assert_string_equal(f->err.msg, text);
        struct tombstone t = {.backup_id = ID_A};
        assert_int_equal(backup_delete_mark(f->scratch[0], f->st, &f->scope, &t, nonce, &f->err),
                         0);
        assert_int_equal(sweep_at_once(f, &totals), 0);
        const char *stone = "demo1/main/42/backup/" ID_A "/deleted.mpk";
        assert_int_equal(storage_remove(f->st, &stone, 1, &f->err), 0);
        assert_int_equal(ram_object_count(f->st), 0);
    }
}

/* ---- verify ---- */

static int count_bad(void *arg, const char *name, uint64_t stored_bytes, const struct tm_err *err)
{
    int *seen = arg;
    assert_true(name[0] == 'b' && stored_bytes > 0);
    seen[err != NULL]++;
    return 0;
}

static int verify(struct fixture *f, const char *id, int seen[2], struct verify_totals *totals)
{
    seen[0] = seen[1] = 0;
    return verify_backup(f->scratch, f->st, &f->scope, id, count_bad, seen, totals, &f->err);
}

static void test_verify(void **state)
{
    struct fixture *f = *state;
    struct verify_totals totals;
    int seen[2];
    write_backup(f, ID_A, &nothing);
    assert_int_equal(verify(f, ID_A, seen, &totals), 0);
    assert_int_equal(totals.ranges, RANGES);
    assert_int_equal(totals.files, RANGES);
    assert_int_equal(totals.objects, RANGES + 3);
    assert_int_equal(seen[0], RANGES + 3);
    assert_int_equal(seen[1], 0);

    struct full_name data = names_full(&f->scope, names_rel_data(ID_A, 4, (struct epoch){3, 5}).s);
    size_t len = 0;
    uint8_t *bytes = ram_bytes(f->st, data.s, &len);
    for (size_t at = 0; at < len; at += 5) { /* each byte counts */
        bytes[at] ^= 0x40;
        assert_int_equal(verify(f, ID_A, seen, &totals), -TM_E_CORRUPT);
        assert_int_equal(seen[1], 1);
        assert_int_equal(seen[0], RANGES + 2);
        bytes[at] ^= 0x40;
    }
    bytes[130] ^= 1;
    assert_int_equal(verify(f, ID_A, seen, &totals), -TM_E_CORRUPT);
    assert_string_equal(
        f->err.msg,
        "1 of 13 objects are damaged, the first: range 4: 'backup/" ID_A
        "/data/00000004-0000000000000003.00000005': object 'demo1/main/42/backup/" ID_A
        "/data/00000004-0000000000000003.00000005': frame 0: stored bytes do not match their hash");
    const char *log =
        "demo1/main/42/backup/" ID_A "/log/0000000000000400-0000000000000003.00000001";
    assert_int_equal(storage_remove(f->st, &log, 1, &f->err), 0);
    assert_int_equal(verify(f, ID_A, seen, &totals), -TM_E_CORRUPT);
    assert_int_equal(seen[1], 2);
    /* a store that does not answer is no verdict */
    struct ram_faults faults = {.fail_op[RAM_READ] = 7, .fail_code = TM_E_UNAVAILABLE};
    ram_set_faults(f->st, &faults);
    assert_int_equal(verify(f, ID_A, seen, &totals), -TM_E_UNAVAILABLE);
}

static void test_verify_crc(void **state)
{
    struct fixture *f = *state;
    struct verify_totals totals;
    int seen[2];
    struct wrong wrong = {.wrong_crc = true};
    write_backup(f, ID_A, &wrong);
    assert_int_equal(verify(f, ID_A, seen, &totals), -TM_E_CORRUPT);
    assert_int_equal(totals.bad, RANGES);
    assert_non_null(strstr(f->err.msg, "file 'file0': bytes do not match the CRC of the source"));
}

/* ---- choice ---- */

static int choose(struct fixture *f, struct restore_request request, struct restore_choice *ret)
{
    return restore_choose(f->scratch[0], f->st, &f->scope, &request, ret, &f->err);
}

static void test_choose(void **state)
{
    struct fixture *f = *state;
    struct restore_choice c;
    assert_int_equal(choose(f, (struct restore_request){.immediate = true}, &c), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "there is no finished backup of demo1/main");
    write_backup(f, ID_A, &(struct wrong){.commit_us = 1000000});
    write_backup(f, ID_B, &(struct wrong){.commit_us = 2000000});
    write_backup(f, ID_C, &(struct wrong){.commit_us = 3000000, .unfinished = true});
    assert_int_equal(choose(f, (struct restore_request){.immediate = true}, &c), 0);
    assert_string_equal(c.backup_id, ID_B);
    assert_true(c.exact);
    assert_int_equal(choose(f, (struct restore_request){0}, &c), 0);
    assert_string_equal(c.backup_id, ID_B);
    assert_int_equal(choose(f, (struct restore_request){.backup_id = ID_A, .immediate = true}, &c),
                     0);
    assert_string_equal(c.backup_id, ID_A);
    assert_int_equal(c.commit_us, 1000000);
    assert_int_equal(choose(f, (struct restore_request){.target_us = 1000000}, &c), 0);
    assert_string_equal(c.backup_id, ID_A);
    assert_int_equal(choose(f, (struct restore_request){.target_us = 1999999}, &c),
                     -TM_E_UNSUPPORTED);
    assert_string_equal(f->err.msg,
                        "there is no stored log from backup '" ID_A
                        "' (consistent at 1970-01-01T00:00:01.000000Z) to "
                        "1970-01-01T00:00:01.999999Z: restore to that backup's own time, "
                        "or 'immediate'");
    assert_int_equal(choose(f, (struct restore_request){.target_us = 999999}, &c), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "no backup of demo1/main is consistent at or before "
                                    "1970-01-01T00:00:00.999999Z: the oldest, '" ID_A
                                    "', is at 1970-01-01T00:00:01.000000Z");
    assert_int_equal(
        choose(f, (struct restore_request){.backup_id = ID_B, .target_us = 1500000}, &c),
        -TM_E_INVALID);
    assert_int_equal(choose(f, (struct restore_request){.target_position = "0/42"}, &c), 0);
    assert_int_equal(choose(f, (struct restore_request){.target_position = "0/43"}, &c),
                     -TM_E_UNSUPPORTED);
    assert_int_equal(choose(f, (struct restore_request){.backup_id = ID_C}, &c), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg,
                        "backup '" ID_C "' of demo1/main does not exist or was never finished");
}

static void test_recoverable(void **state)
{
    (void)state;
    struct position at = {.text = "0/42"};
    struct manifest m = {.backup_id = ID_A, .commit_us = 5, .consistent_at = &at};
    struct recoverable r;
    recoverable_of(&m, &r);
    assert_string_equal(r.backup_id, ID_A);
    assert_int_equal(r.from_us, 5);
    assert_int_equal(r.to_us, 5);
    assert_string_equal(r.from_position, "0/42");
    assert_string_equal(r.to_position, "0/42");
    assert_false(r.abandoned);
}

/* ---- sweeps ---- */

static void test_sweeps(void **state)
{
    struct fixture *f = *state;
    struct sweep_totals totals;
    enum backup_state s;
    write_backup(f, ID_A, &nothing);
    write_backup(f, ID_B, &(struct wrong){.unfinished = true});
    size_t each = RANGES + 3 + 3; /* data, segments, log */
    assert_int_equal(ram_object_count(f->st), 2 * each + 1);
    put(f, "demo1/main/42/backup/" ID_B "/plan/0000000000000001.00000001-00000000");
    put(f, "demo1/main/42/backup/" ID_B "/somebodys.file");

    assert_int_equal(backup_sweep_unfinished(f->st, &f->scope, ID_A, &totals, &f->err),
                     -TM_E_REFUSED);
    assert_string_equal(f->err.msg, "backup '" ID_A "' is committed: it is deleted, not swept");
    assert_int_equal(sweep_at_once(f, &totals), -TM_E_REFUSED);
    assert_string_equal(f->err.msg, "backup '" ID_A "' has no tombstone: it is not deleted");

    assert_int_equal(backup_sweep_unfinished(f->st, &f->scope, ID_B, &totals, &f->err), 0);
    assert_int_equal(totals.removed, each + 1);
    assert_int_equal(totals.left, 1);
    assert_true(totals.bytes > 0);
    assert_int_equal(ram_object_count(f->st), each + 2);
    assert_int_equal(walk(f, ID_A), RANGES);
    assert_int_equal(backup_sweep_unfinished(f->st, &f->scope, ID_B, &totals, &f->err), 0);
    assert_int_equal(totals.removed, 0);

    struct tombstone t = {.backup_id = ID_A, .reason = "test"};
    assert_int_equal(backup_delete_mark(f->scratch[0], f->st, &f->scope, &t, nonce, &f->err), 0);
    assert_int_equal(backup_delete_mark(f->scratch[0], f->st, &f->scope, &t, nonce, &f->err), 0);
    assert_int_equal(walk(f, ID_A), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "backup '" ID_A "' is deleted");
    assert_int_equal(sweep_at_once(f, &totals), 0);
    assert_int_equal(totals.removed, each + 1);
    assert_int_equal(catalog_backup_state(f->st, &f->scope, ID_A, &s, &f->err), 0);
    assert_int_equal(s, BACKUP_DELETED);
    assert_int_equal(ram_object_count(f->st), 2);
    bool there = true;
    assert_int_equal(backup_anything(f->st, &f->scope, ID_C, &there, &f->err), 0);
    assert_false(there);
}

/* Killed at any call: what is left is a whole backup, or one that is treated as absent; and repeating
 * the deletion ends it. */
static void test_delete_killed_anywhere(void **state)
{
    struct fixture *f = *state;
    for (uint64_t n = 1;; n++) {
        struct sweep_totals totals;
        struct tombstone t = {.backup_id = ID_A};
        write_backup(f, ID_A, &nothing);
        struct ram_faults faults = {.seed = n, .fail_per_mille = 120};
        ram_set_faults(f->st, &faults);
        /* either may fail: that is the point */
        if (backup_delete_mark(f->scratch[0], f->st, &f->scope, &t, nonce, &f->err) == 0)
            (void)!sweep_at_once(f, &totals);
        ram_set_faults(f->st, &(struct ram_faults){0});
        int walked = walk(f, ID_A);
        assert_true(walked == RANGES || walked == -TM_E_NOT_FOUND);
        assert_int_equal(backup_delete_mark(f->scratch[0], f->st, &f->scope, &t, nonce, &f->err),
                         0);
        assert_int_equal(sweep_at_once(f, &totals), 0);
        assert_int_equal(ram_object_count(f->st), 1);
        const char *stone = "demo1/main/42/backup/" ID_A "/deleted.mpk";
        assert_int_equal(storage_remove(f->st, &stone, 1, &f->err), 0);
        if (n == 50)
            break;
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_chain),  T(test_broken_chains), T(test_verify), T(test_verify_crc),
        T(test_choose), T(test_recoverable),   T(test_sweeps), T(test_delete_killed_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
