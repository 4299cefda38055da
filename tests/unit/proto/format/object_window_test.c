/* Objects of a store that is far away: what is asked for, in which order, and how much of it at once. */
#include "proto/format/object_internal.h"
#include "tests/unit/proto/format/fixture.h"

#define MIB  ((size_t)1 << 20)
#define TAIL 65536

static const uint8_t nonce_a[16] = "nonce a 1234567";

/* ---- a store in front of the fixture's, whose reads take until they are waited for ---- */

struct far {
    struct storage base;
    struct storage *near;
    char log[1000]; /* "offset+length " of each fetch begun, "stat ", "read " */
    unsigned under_way, under_way_max, fail_wait; /* the Nth wait from now fails */
    struct storage_writer_ops writer_ops;
    const struct storage_writer_ops *near_writer_ops;
    bool settles;
};

struct far_fetch {
    struct storage_fetch base;
    struct far *far;
    char name[STORAGE_NAME_MAX + 1];
    uint64_t offset;
    uint8_t *dst;
    size_t len;
    bool waited;
};

static struct far far;

static struct far *far_of(struct storage *st)
{
    return (struct far *)st;
}

static void note(struct far *f, const char *what)
{
    size_t at = strlen(f->log);
    (void)snprintf(f->log + at, sizeof(f->log) - at, "%s ", what);
}

static int far_wait(struct storage_fetch *base, uint64_t *ret_object_bytes, struct tm_err *err)
{
    struct far_fetch *x = (struct far_fetch *)base;
    struct storage_object object;
    assert_false(x->waited);
    x->waited = true;
    x->far->under_way--;
    if (x->far->fail_wait > 0 && --x->far->fail_wait == 0)
        return tm_err_retry(err, TM_E_UNAVAILABLE, "the line is cut");
    int r = storage_read(x->far->near, x->name, x->offset, x->dst, x->len, err);
    if (r == 0)
        r = storage_stat(x->far->near, x->name, &object, err);
    if (r == 0)
        *ret_object_bytes = object.size_bytes;
    return r;
}

static void far_fetch_free(struct storage_fetch *base)
{
    struct far_fetch *x = (struct far_fetch *)base;
    if (!x->waited)
        x->far->under_way--;
    free(x);
}

static const struct storage_fetch_ops far_fetch_ops = {far_wait, far_fetch_free};

static int far_fetch(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                     struct storage_fetch **ret, struct tm_err *err)
{
    (void)err;
    struct far *f = far_of(st);
    struct far_fetch *x = calloc(1, sizeof(*x));
    assert_non_null(x);
    *x = (struct far_fetch){
        .base = {&far_fetch_ops}, .far = f, .offset = offset, .dst = dst, .len = len};
    (void)snprintf(x->name, sizeof(x->name), "%s", name);
    memset(dst, 0xee, len); /* nobody may rely on it yet */
    char range[64];
    (void)snprintf(range, sizeof(range), "%llu+%zu", (unsigned long long)offset, len);
    note(f, range);
    f->under_way++;
    f->under_way_max = TM_MAX(f->under_way_max, f->under_way);
    *ret = &x->base;
    return 0;
}

static int far_read(struct storage *st, const char *name, uint64_t offset, void *dst, size_t len,
                    struct tm_err *err)
{
    note(far_of(st), "read");
    return storage_read(far_of(st)->near, name, offset, dst, len, err);
}

static int far_stat(struct storage *st, const char *name, struct storage_object *ret,
                    struct tm_err *err)
{
    note(far_of(st), "stat");
    return storage_stat(far_of(st)->near, name, ret, err);
}

static int far_commit(struct storage_writer *w, struct tm_err *err)
{
    int r = far.near_writer_ops->commit(w, err);
    w->settled = r == 0 && far.settles;
    return r;
}

static int far_create(struct storage *st, const char *name, struct storage_writer **ret,
                      struct tm_err *err)
{
    struct far *f = far_of(st);
    int r = storage_create(f->near, name, ret, err);
    if (r < 0)
        return r;
    f->near_writer_ops = (*ret)->ops;
    f->writer_ops = *f->near_writer_ops;
    f->writer_ops.commit = far_commit;
    (*ret)->ops = &f->writer_ops;
    return 0;
}

static const struct storage_ops far_ops = {
    .scheme = "far", .create = far_create, .read = far_read, .stat = far_stat, .fetch = far_fetch};

static void far_begin(struct fixture *f)
{
    far = (struct far){.base = {.ops = &far_ops}, .near = f->st};
}

/* ---- objects ---- */

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

/* Frames of 1 MiB, stored as they are or packed; afterwards the log is empty. */
static struct object_ref put_object(struct fixture *f, size_t raw, int level)
{
    struct object_options options = {
        .kind = OBJECT_DATA, .zstd_level = level, .frame_bytes = (uint32_t)MIB};
    memcpy(options.nonce, nonce_a, 16);
    TM_CLEANUP(freep) uint8_t *bytes = malloc(raw);
    assert_non_null(bytes);
    for (size_t at = 0; at < raw; at++)
        bytes[at] = byte_at(at);
    struct object_writer *w = NULL;
    struct object_info info;
    assert_int_equal(object_writer_open(f->scratch, &far.base, "o", &options, &w, &f->err), 0);
    assert_int_equal(object_writer_append(w, slice_of(bytes, raw), &f->err), 0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    struct object_ref ref = {.stored_bytes = info.stored_bytes, .raw_bytes = info.raw_bytes};
    memcpy(ref.digest, info.digest, sizeof(ref.digest));
    return ref;
}

static struct object_reader *open_object(struct fixture *f, const struct object_ref *ref)
{
    struct object_reader *r = NULL;
    far.log[0] = '\0';
    assert_int_equal(object_reader_open(f->scratch, &far.base, "o", OBJECT_DATA, ref, &r, &f->err),
                     0);
    return r;
}

static void expect_frame(struct fixture *f, struct object_reader *r, uint32_t index, size_t len)
{
    struct slice frame;
    assert_int_equal(object_reader_frame(r, index, &frame, &f->err), 0);
    assert_int_equal(frame.len, len);
    for (size_t at = 0; at < len; at++)
        if (frame.data[at] != byte_at(index * MIB + at))
            fail_msg("frame %u: byte %zu is another one", index, at);
}

static void expect_log(const char *want)
{
    assert_string_equal(far.log, want);
    far.log[0] = '\0';
}

static void test_in_order(void **state)
{
    struct fixture *f = *state;
    for (int level = 0; level <= 3; level += 3) {
        far_begin(f);
        assert_int_equal(storage_remove(f->st, (const char *const[]){"o"}, 1, &f->err), 0);
        struct object_ref ref = put_object(f, 10 * MIB + 5, level);
        struct object_reader *r = open_object(f, &ref);
        char want[100];
        (void)snprintf(want, sizeof(want), "%llu+%d 0+128 ",
                       (unsigned long long)ref.stored_bytes - TAIL, TAIL);
        expect_log(want);
        far.under_way_max = 0;
        for (uint32_t n = 0; n <= 10; n++) {
            expect_frame(f, r, n, n < 10 ? MIB : 5);
            if (level == 0) /* the next stretch once the one before is left */
                expect_log(n == 0   ? "128+4194304 4194432+4194304 "
                           : n == 4 ? "8388736+2097157 "
                                    : "");
        }
        assert_true(far.under_way_max <= 2);
        object_reader_close(r);
        assert_int_equal(far.under_way, 0);
    }
}

static void test_jumps(void **state)
{
    struct fixture *f = *state;
    far_begin(f);
    struct object_ref ref = put_object(f, 10 * MIB, 0);
    struct object_reader *r = open_object(f, &ref);
    far.log[0] = '\0';
    expect_frame(f, r, 7, MIB);
    expect_log("7340160+1048576 ");
    expect_frame(f, r, 2, MIB);
    expect_log("2097280+1048576 ");
    expect_frame(f, r, 3, MIB); /* now it looks like going on */
    expect_log("3145856+4194304 7340160+3145728 ");
    expect_frame(f, r, 9, MIB); /* it is on its way already */
    expect_log("");
    expect_frame(f, r, 0, MIB);
    expect_log("128+1048576 ");
    expect_frame(f, r, 1, MIB);
    expect_log("1048704+4194304 5243008+4194304 ");
    object_reader_close(r); /* with one under way */
    assert_int_equal(far.under_way, 0);
}

static void test_small_ones_take_one_question(void **state)
{
    struct fixture *f = *state;
    far_begin(f);
    struct object_ref ref = put_object(f, 40000, 0);
    assert_true(ref.stored_bytes < TAIL);
    struct object_reader *r = open_object(f, &ref);
    assert_int_equal(object_reader_verify(r, &f->err), 0);
    object_reader_close(r);
    char want[100];
    (void)snprintf(want, sizeof(want), "0+%llu ", (unsigned long long)ref.stored_bytes);
    expect_log(want);
    r = open_object(f, NULL);
    assert_int_equal(object_reader_verify(r, &f->err), 0);
    object_reader_close(r);
    (void)snprintf(want, sizeof(want), "stat 0+%llu ", (unsigned long long)ref.stored_bytes);
    expect_log(want);
}

static void expect_refused(struct fixture *f, const struct object_ref *ref, const char *text)
{
    struct object_reader *r = NULL;
    assert_int_equal(object_reader_open(f->scratch, &far.base, "o", OBJECT_DATA, ref, &r, &f->err),
                     -TM_E_CORRUPT);
    assert_string_equal(f->err.msg, text);
    assert_int_equal(far.under_way, 0);
}

static void test_other_sizes(void **state)
{
    struct fixture *f = *state;
    far_begin(f);
    struct object_ref ref = put_object(f, MIB, 0);
    char want[200];
    size_t len;
    (void)ram_bytes(f->st, "o", &len);
    struct object_ref other = ref;
    other.stored_bytes = len + 1; /* there is less than metadata says */
    (void)snprintf(want, sizeof(want),
                   "object 'o' has %zu bytes, metadata says %zu: it is cut off or damaged", len,
                   len + 1);
    expect_refused(f, &other, want);
    other.stored_bytes = len - 1; /* … and more */
    (void)snprintf(want, sizeof(want),
                   "object 'o' has %zu bytes, metadata says %zu: it is cut off or damaged", len,
                   len - 1);
    expect_refused(f, &other, want);
}

static void test_a_stretch_that_fails(void **state)
{
    struct fixture *f = *state;
    far_begin(f);
    struct object_ref ref = put_object(f, 10 * MIB, 0);
    struct object_reader *r = open_object(f, &ref);
    expect_frame(f, r, 0, MIB);
    far.fail_wait = 1; /* of what was asked for ahead */
    for (uint32_t n = 1; n < 4; n++)
        expect_frame(f, r, n, MIB);
    struct slice frame;
    assert_int_equal(object_reader_frame(r, 4, &frame, &f->err), -TM_E_UNAVAILABLE);
    assert_string_equal(f->err.msg, "frame 4: the line is cut");
    assert_true(f->err.retryable);
    for (uint32_t n = 4; n < 10; n++)
        expect_frame(f, r, n, MIB);
    object_reader_close(r);
    assert_int_equal(far.under_way, 0);
}

/* A store that cannot be relied on to refuse is looked at after the commit: both ends at once. */
static void test_what_was_written(void **state)
{
    struct fixture *f = *state;
    far_begin(f);
    struct object_ref ref = put_object(f, MIB, 0);
    char want[100];
    (void)snprintf(want, sizeof(want), "0+128 %llu+64 ", (unsigned long long)ref.stored_bytes - 64);
    expect_log(want);
    assert_int_equal(far.under_way_max, 2);
    assert_int_equal(storage_remove(f->st, (const char *const[]){"o"}, 1, &f->err), 0);
    far.settles = true;
    (void)put_object(f, MIB, 0);
    expect_log("");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_in_order),
        T(test_jumps),
        T(test_small_ones_take_one_question),
        T(test_other_sizes),
        T(test_a_stretch_that_fails),
        T(test_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
