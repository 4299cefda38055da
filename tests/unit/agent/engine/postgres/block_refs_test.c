/* Block references: exact bytes, random sets against a plain list, limits, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/engine/postgres/block_refs.h"
#include "agent/engine/postgres/varint.h"

static void add(struct block_refs *refs, uint32_t relation, uint8_t fork, uint32_t block)
{
    struct tm_err err;
    const struct wal_block b = {
        .tablespace = 1663, .database = 5, .relation = relation, .fork = fork, .block = block};
    assert_int_equal(block_refs_add(refs, &b, &err), 0);
}

static void limit(struct block_refs *refs, uint32_t relation, uint8_t fork, uint32_t blocks)
{
    struct tm_err err;
    const struct wal_fork f = {
        .tablespace = 1663, .database = 5, .relation = relation, .fork = fork};
    assert_int_equal(block_refs_limit(refs, &f, blocks, &err), 0);
}

static struct block_refs *make(void)
{
    struct block_refs *refs = NULL;
    struct tm_err err;
    assert_int_equal(block_refs_new(&refs, &err), 0);
    return refs;
}

static void exact_bytes(void **state)
{
    static const uint8_t want[] = {
        1, 0,    3, /* format, flags, forks */
        0, 0,    6,    127,  0,    0,    0, 5, 0, 0, 0, 9,  0,   0,    4, 0,
        4,                               /* 9 main: blocks 0, 5, 6, … */
        0, 0xF8, 0xFF, 0xFF, 0xFF, 0x0F, /* … and the last there can be */
        0, 0,    6,    127,  0,    0,    0, 5, 0, 0, 0, 9,  2,   0x81, 1, 0, /* 9 vm: limit 128 */
        0, 0,    6,    127,  0,    0,    0, 5, 0, 0, 0, 10, 255, 1,    0,    /* 10: gone */
    };
    struct block_refs *refs = make();
    struct buf out = BUF_INIT;
    struct tm_err err;
    (void)state;
    assert_true(block_refs_empty(refs));
    limit(refs, 10, BLOCK_REFS_ALL, 0);
    limit(refs, 9, 2, 200);
    limit(refs, 9, 2, 128);
    limit(refs, 9, 2, 300); /* the lowest counts */
    add(refs, 9, 0, 5);
    add(refs, 9, 0, UINT32_MAX);
    add(refs, 9, 0, 6);
    add(refs, 9, 0, 5);
    add(refs, 9, 0, 0);
    assert_false(block_refs_empty(refs));
    assert_int_equal(block_refs_encode(refs, &out, &err), 0);
    assert_int_equal(out.len, sizeof(want));
    assert_memory_equal(out.data, want, sizeof(want));
    block_refs_clear(refs);
    assert_true(block_refs_empty(refs));
    block_refs_flag(refs, BLOCK_REFS_HEADLESS);
    buf_reset(&out);
    assert_int_equal(block_refs_encode(refs, &out, &err), 0);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "\1\2\0", 3);
    buf_release(&out);
    block_refs_free(refs);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Many forks and blocks, many of them twice, cleared between: what comes out is the sorted set. */
static void random_sets(void **state)
{
    enum { COUNT = 300000 };
    uint64_t *model = malloc(COUNT * sizeof(*model)), seed = 12345;
    struct block_refs *refs = make();
    struct buf out = BUF_INIT;
    struct tm_err err;
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        const uint32_t relations = round == 0 ? 3 : 3000;
        for (size_t n = 0; n < COUNT; n++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint32_t relation = 16384 + (uint32_t)(seed >> 33) % relations;
            uint32_t block = (uint32_t)(seed >> 20) % (round == 2 ? UINT32_MAX : 70000);
            model[n] = (uint64_t)relation << 32 | block;
            add(refs, relation, 0, block);
        }
        qsort(model, COUNT, sizeof(*model), compare);
        assert_int_equal(block_refs_encode(refs, &out, &err), 0);
        struct block_refs_reader r;
        struct block_refs_fork fork;
        uint32_t block;
        size_t at = 0;
        assert_int_equal(block_refs_reader_init(&r, buf_slice(&out), &err), 0);
        assert_int_equal(r.flags, 0);
        while (block_refs_reader_fork(&r, &fork, &err) == 1) {
            assert_true(fork.fork.tablespace == 1663 && fork.fork.database == 5 && !fork.has_limit);
            while (block_refs_reader_block(&r, &block, &err) == 1) {
                assert_int_equal(model[at], (uint64_t)fork.fork.relation << 32 | block);
                while (at < COUNT && model[at] == ((uint64_t)fork.fork.relation << 32 | block))
                    at++;
            }
        }
        assert_int_equal(at, COUNT);
        assert_int_equal(r.rest.len, 0);
        buf_reset(&out);
        block_refs_clear(refs);
    }
    buf_release(&out);
    block_refs_free(refs);
    free(model);
}

/* More than fits is said, not lost silently, and not an error. */
static void too_many(void **state)
{
    struct block_refs *refs = make();
    struct block_refs_reader r;
    struct buf out = BUF_INIT;
    struct tm_err err;
    (void)state;
    for (uint32_t n = 0; n < BLOCK_REFS_MAX; n++)
        add(refs, 1, 0, n);
    assert_int_equal(block_refs_encode(refs, &out, &err), 0);
    assert_int_equal(block_refs_reader_init(&r, buf_slice(&out), &err), 0);
    assert_int_equal(r.flags, 0);
    add(refs, 1, 0, BLOCK_REFS_MAX);
    buf_reset(&out);
    assert_int_equal(block_refs_encode(refs, &out, &err), 0);
    assert_int_equal(block_refs_reader_init(&r, buf_slice(&out), &err), 0);
    assert_int_equal(r.flags, BLOCK_REFS_INCOMPLETE);
    block_refs_clear(refs);
    for (uint32_t n = 0; n <= BLOCK_FORKS_MAX; n++)
        limit(refs, n, BLOCK_REFS_ALL, 0);
    buf_reset(&out);
    assert_int_equal(block_refs_encode(refs, &out, &err), 0);
    assert_int_equal(block_refs_reader_init(&r, buf_slice(&out), &err), 0);
    assert_int_equal(r.flags, BLOCK_REFS_INCOMPLETE);
    assert_int_equal(r.forks_left, BLOCK_FORKS_MAX);
    buf_release(&out);
    block_refs_free(refs);
}

/* Reads all; the error's text, or NULL. */
static const char *read_all(struct slice section, struct tm_err *err)
{
    struct block_refs_reader r;
    struct block_refs_fork fork;
    int rc = block_refs_reader_init(&r, section, err);
    while (rc >= 0 && (rc = block_refs_reader_fork(&r, &fork, err)) == 1)
        ;
    return rc < 0 ? err->msg : NULL;
}

static void damage(void **state)
{
    struct block_refs *refs = make();
    struct buf out = BUF_INIT;
    struct tm_err err;
    (void)state;
    add(refs, 9, 0, 5);
    add(refs, 9, 1, 300);
    limit(refs, 9, 1, 1000);
    assert_int_equal(block_refs_encode(refs, &out, &err), 0);
    assert_null(read_all(buf_slice(&out), &err));
    for (size_t len = 0; len < out.len; len++)
        assert_string_equal(read_all(slice_of(out.data, len), &err), "block references: cut off");
    assert_int_equal(buf_append(&out, "", 1, &err), 0);
    assert_string_equal(read_all(buf_slice(&out), &err),
                        "block references: bytes behind the last one");
    out.len--;
    out.data[0] = 2;
    assert_string_equal(read_all(buf_slice(&out), &err), "block references: format 2, not 1");
    assert_int_equal(err.code, TM_E_UNSUPPORTED);
    out.data[0] = 1;
    out.data[15] = 2; /* the first fork behind the second */
    assert_string_equal(read_all(buf_slice(&out), &err),
                        "block references: forks are not in order");
    buf_release(&out);
    block_refs_free(refs);
    static const uint8_t beyond[] = {1, 0, 1, 0, 0, 0, 0,    0,    0,    0,    0,    0,
                                     0, 0, 0, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0};
    assert_string_equal(read_all(slice_of(beyond, sizeof(beyond)), &err),
                        "block references: a block out of bounds");
}

static void numbers(void **state)
{
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};
    static const size_t lengths[] = {1, 1, 1, 2, 2, 3, 5, 10};
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(values); n++) {
        uint8_t bytes[VARINT_MAX];
        uint64_t value;
        size_t len = (size_t)(varint_put(bytes, values[n]) - bytes);
        assert_int_equal(len, lengths[n]);
        struct slice in = slice_of(bytes, len);
        assert_true(varint_get(&in, &value));
        assert_int_equal(value, values[n]);
        assert_int_equal(in.len, 0);
        in = slice_of(bytes, len - 1);
        assert_false(varint_get(&in, &value));
    }
    uint64_t value;
    struct slice in = slice_of("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", 10); /* 65 bits */
    assert_false(varint_get(&in, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_bytes), cmocka_unit_test(random_sets), cmocka_unit_test(too_many),
        cmocka_unit_test(damage),      cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
