/* Field tables: round trips, every refusal with its exact words, bombs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/wire/codec.h"

#define PART_FIELDS(X, T)                                                                          \
    X(T, u32, index, "i", REQ, 0, 100)                                                             \
    X(T, str, name, "n", OPT, 0, 4)
CODEC_DECLARE(part, PART_FIELDS);
CODEC_DEFINE(part, "part", PART_FIELDS);

#define THING_FIELDS(X, T)                                                                         \
    X(T, u64, big, "b", REQ, 0, UINT64_MAX)                                                        \
    X(T, u32, small, "s", OPT, 0, 1000)                                                            \
    X(T, i64, when, "w", OPT, 0, 0)                                                                \
    X(T, flag, on, "o", OPT, 0, 0)                                                                 \
    X(T, str, name, "n", OPT, 0, 8)                                                                \
    X(T, txt, text, "t", OPT, 0, 16)                                                               \
    X(T, bin, blob, "d", OPT, 0, 4)                                                                \
    X(T, raw, id, "r", OPT, 0, 4)                                                                  \
    X(T, msg, one, "p", OPT, 0, part)                                                              \
    X(T, list, parts, "l", OPT, 0, part, 3)                                                        \
    X(T, strs, words, "x", OPT, 0, 4, 3)                                                           \
    X(T, u32, newer, "z", OPT, 2, 10)
CODEC_DECLARE(thing, THING_FIELDS);
CODEC_DEFINE(thing, "thing", THING_FIELDS);

static void round_trip(void **state)
{
    (void)state;
    struct part one = {.index = 7, .name = "abcd"};
    struct part parts[2] = {{.index = 1}, {.index = 100, .name = "ü"}};
    const char *words[] = {"a", "", "wxyz"};
    struct thing in = {.big = UINT64_MAX,
                       .small = 1000,
                       .when = INT64_MIN,
                       .on = true,
                       .name = "12345678",
                       .text = "",
                       .blob = slice_of("\0\1\2\3", 4),
                       .id = {1, 0, 0, 2},
                       .one = &one,
                       .parts = parts,
                       .parts_count = 2,
                       .words = words,
                       .words_count = 3,
                       .newer = 3};
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct tm_err err;
    struct thing out;
    assert_int_equal(codec_encode(&thing_codec, &in, CODEC_MINOR_ALL, &bytes, &err), 0);
    assert_int_equal(codec_decode(&thing_codec, buf_slice(&bytes), &arena, &out, &err), 0);
    assert_true(out.big == UINT64_MAX);
    assert_int_equal(out.small, 1000);
    assert_true(out.when == INT64_MIN);
    assert_true(out.on);
    assert_string_equal(out.name, "12345678");
    assert_string_equal(out.text, "");
    assert_int_equal(out.blob.len, 4);
    assert_memory_equal(out.blob.data, "\0\1\2\3", 4);
    assert_memory_equal(out.id, in.id, 4);
    assert_int_equal(out.one->index, 7);
    assert_string_equal(out.one->name, "abcd");
    assert_int_equal(out.parts_count, 2);
    assert_string_equal(out.parts[1].name, "ü");
    assert_int_equal(out.words_count, 3);
    assert_string_equal(out.words[2], "wxyz");
    assert_int_equal(out.newer, 3);
    assert_true(codec_equal(&thing_codec, &in, &out));
    out.small = 999;
    assert_false(codec_equal(&thing_codec, &in, &out));
}

static void defaults_stay_home(void **state)
{
    (void)state;
    struct thing in = {.big = 0, .newer = 3};
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct tm_err err;
    assert_int_equal(codec_encode(&thing_codec, &in, 1, &bytes, &err), 0);
    /* one pair: b = 0; "newer" came with minor version 2 */
    assert_int_equal(bytes.len, 4);
    assert_memory_equal(bytes.data, "\x81\xa1\x62\x00", 4);
}

static void extremes(void **state)
{
    (void)state;
    static const int64_t values[] = {0,   1,    -1,   -32,       -33,      127,
                                     128, -128, -129, INT32_MIN, INT64_MAX};
    for (size_t at = 0; at < TM_ARRAY_LEN(values); at++) {
        struct thing in = {.when = values[at]};
        struct thing out;
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct tm_err err;
        assert_int_equal(codec_encode(&thing_codec, &in, CODEC_MINOR_ALL, &bytes, &err), 0);
        assert_int_equal(codec_decode(&thing_codec, buf_slice(&bytes), &arena, &out, &err), 0);
        assert_true(out.when == values[at]);
    }
}

struct refusal {
    const char *bytes;
    size_t len;
    const char *message;
};
#define R(bytes, message)                                                                          \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, message                                                          \
    }

static void refusals(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        R("", "thing: truncated"),
        R("\x01", "thing: not a map"),
        R("\x80", "thing.big: missing"),
        R("\x81\xa1\x62\x01\x00", "thing: bytes behind the end"),
        R("\x81\xa1\x62", "thing: truncated"),
        R("\x82\xa1\x62\x01\xa1\x62\x01", "thing.big: twice"),
        R("\x81\xa1\x62\xff", "thing.big: not an unsigned integer"),
        R("\x81\xa1\x62\xa1\x61", "thing.big: not an unsigned integer"),
        R("\x82\xa1\x62\x01\xa1\x73\xcd\x03\xe9", "thing.small: above 1000"),
        R("\x82\xa1\x62\x01\xa1\x77\xcf\x80\x00\x00\x00\x00\x00\x00\x00",
          "thing.when: not a 64 bit integer"),
        R("\x82\xa1\x62\x01\xa1\x6f\x01", "thing.on: not a boolean"),
        R("\x82\xa1\x62\x01\xa1\x6e\xa9"
          "123456789",
          "thing.name: longer than 8 bytes"),
        R("\x82\xa1\x62\x01\xa1\x6e\xa2\x61\x00", "thing.name: contains a NUL"),
        R("\x82\xa1\x62\x01\xa1\x6e\xa2\xc0\xaf", "thing.name: not UTF-8"),
        R("\x82\xa1\x62\x01\xa1\x6e\xa3\xed\xa0\x80", "thing.name: not UTF-8"),
        R("\x82\xa1\x62\x01\xa1\x6e\x05", "thing.name: not a string"),
        R("\x82\xa1\x62\x01\xa1\x64\xa1\x61", "thing.blob: not binary"),
        R("\x82\xa1\x62\x01\xa1\x64\xc4\x05"
          "12345",
          "thing.blob: longer than 4 bytes"),
        R("\x82\xa1\x62\x01\xa1\x72\xc4\x03"
          "123",
          "thing.id: not exactly 4 bytes"),
        R("\x82\xa1\x62\x01\xa1\x70\x80", "thing.one.index: missing"),
        R("\x82\xa1\x62\x01\xa1\x70\x90", "thing.one: not a map"),
        R("\x82\xa1\x62\x01\xa1\x6c\x80", "thing.parts: not an array"),
        R("\x82\xa1\x62\x01\xa1\x6c\x94\xc0\xc0\xc0\xc0", "thing.parts: more than 3 items"),
        R("\x82\xa1\x62\x01\xa1\x6c\x92\x81\xa1\x69\x01\x81\xa1\x69\x65",
          "thing.parts[1].index: above 100"),
        R("\x82\xa1\x62\x01\xa1\x78\x91\xa5"
          "12345",
          "thing.words[0]: longer than 4 bytes"),
        R("\x81\xc4\x01\x62\x01", "thing: a key is not a string"),
        R("\x81\xa1\x62\xd4\x01\x00", "thing: holds a type that is not used here"),
        R("\x81\xa1\x62\xc1", "thing: holds a type that is not used here"),
        /* bombs: more items than there can be bytes */
        R("\xdd\xff\xff\xff\xff", "thing: truncated"),
        R("\xdf\x80\x00\x00\x00\x00", "thing: truncated"),
        R("\x81\xa1\x62\xdb\xff\xff\xff\xff", "thing: truncated"),
        R("\x81\xa1\x7a\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x00",
          "thing: nested too deeply"),
    };
    for (size_t at = 0; at < TM_ARRAY_LEN(cases); at++) {
        TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
        struct thing out = {.big = 42};
        struct tm_err err = {0};
        int r = codec_decode(&thing_codec, slice_of(cases[at].bytes, cases[at].len), &arena, &out,
                             &err);
        assert_int_equal(r, -TM_E_INVALID);
        assert_string_equal(err.msg, cases[at].message);
        assert_true(out.big == 42);
    }
}

static void unknown_keys_are_skipped(void **state)
{
    (void)state;
    /* {"q": [1, {"a": 1.5}, nil], "b": 5} */
    static const char bytes[] =
        "\x82\xa1\x71\x93\x01\x81\xa1\x61\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xc0\xa1\x62\x05";
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct thing out;
    struct tm_err err;
    assert_int_equal(
        codec_decode(&thing_codec, slice_of(bytes, sizeof(bytes) - 1), &arena, &out, &err), 0);
    assert_true(out.big == 5);
}

static void encoder_has_the_same_bounds(void **state)
{
    (void)state;
    struct part parts[2] = {{.index = 1}, {.index = 101}};
    struct thing in = {.parts = parts, .parts_count = 2};
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct tm_err err;
    assert_int_equal(codec_encode(&thing_codec, &in, CODEC_MINOR_ALL, &bytes, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "thing.parts[1].index: above 100");
    assert_int_equal(bytes.len, 0);

    in = (struct thing){.text = "seventeen letters"};
    assert_int_equal(codec_encode(&thing_codec, &in, CODEC_MINOR_ALL, &bytes, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "thing.text: longer than 16 bytes");
}

static void arena_has_a_bound(void **state)
{
    (void)state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct tm_err err;
    assert_null(codec_arena_alloc(&arena, CODEC_ARENA_MAX + 1, &err));
    assert_string_equal(err.msg, "record needs more than 16777216 bytes");
    assert_null(codec_arena_array(&arena, SIZE_MAX, 2, &err));
    uint8_t *first = codec_arena_alloc(&arena, 10, &err);
    uint8_t *second = codec_arena_alloc(&arena, 5000, &err);
    assert_non_null(first);
    assert_non_null(second);
    assert_int_equal((uintptr_t)second % _Alignof(max_align_t), 0);
    assert_string_equal(codec_arena_text(&arena, "text", &err), "text");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(defaults_stay_home),
        cmocka_unit_test(extremes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(unknown_keys_are_skipped),
        cmocka_unit_test(encoder_has_the_same_bounds),
        cmocka_unit_test(arena_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
