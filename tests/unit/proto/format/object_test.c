/* The container: what is written comes back; whatever is changed on the way is refused. */
#include "proto/format/object.h"
#include "tests/unit/proto/format/fixture.h"

static const uint8_t nonce_a[16] = "nonce a 1234567";
static const uint8_t nonce_b[16] = "nonce b 1234567";

/* A few frames of repetitive bytes, two sections. */
static int write_object(struct fixture *f, const char *name, const uint8_t *nonce, int level,
                        size_t raw, struct object_info *ret)
{
    struct object_options options = {
        .kind = OBJECT_DATA, .zstd_level = level, .frame_bytes = 4096, .block_bytes = 512};
    memcpy(options.nonce, nonce, 16);
    struct object_writer *w = NULL;
    int r = object_writer_open(f->scratch, f->st, name, &options, &w, &f->err);
    for (size_t done = 0; r == 0 && done < raw;) {
        uint8_t *room;
        size_t len;
        r = object_writer_room(w, &room, &len, &f->err);
        if (r < 0)
            break;
        assert_int_equal(len % 512, 0);
        len = TM_MIN(len, raw - done);
        for (size_t i = 0; i < len; i++)
            room[i] = (uint8_t)((done + i) / 7 ^ (done + i));
        r = object_writer_advance(w, len, &f->err);
        done += len;
    }
    if (r == 0)
        assert_int_equal(object_writer_raw_bytes(w), raw);
    if (r == 0)
        r = object_writer_section(w, OBJECT_SECTION_ROOT, OBJECT_SECTION_REQUIRED,
                                  slice_str("root"), &f->err);
    char text[300];
    memset(text, 'x', sizeof(text));
    if (r == 0)
        r = object_writer_section(w, 300, 0, slice_of(text, sizeof(text)), &f->err);
    if (r == 0)
        r = object_writer_finish(w, ret, &f->err);
    object_writer_close(w);
    return r;
}

static int read_all(struct fixture *f, const char *name, const struct object_ref *expect)
{
    struct object_reader *r = NULL;
    int code = object_reader_open(f->scratch, f->st, name, OBJECT_DATA, expect, &r, &f->err);
    if (code == 0)
        code = object_reader_verify(r, &f->err);
    object_reader_close(r);
    return code;
}

static struct object_ref ref_for(const struct object_info *info)
{
    struct object_ref ref = {.stored_bytes = info->stored_bytes, .raw_bytes = info->raw_bytes};
    memcpy(ref.digest, info->digest, sizeof(ref.digest));
    return ref;
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    const size_t sizes[] = {0, 1, 511, 512, 4095, 4096, 4097, 20000};
    for (size_t i = 0; i < TM_ARRAY_LEN(sizes); i++) {
        for (int level = 0; level <= 3; level += 3) {
            char name[32];
            struct object_info info;
            struct object_reader *r = NULL;
            (void)snprintf(name, sizeof(name), "o/%zu-%d", sizes[i], level);
            assert_int_equal(write_object(f, name, nonce_a, level, sizes[i], &info), 0);
            assert_int_equal(info.raw_bytes, sizes[i]);
            assert_int_equal(info.frame_count, (sizes[i] + 4095) / 4096);
            struct object_ref ref = ref_for(&info);
            assert_int_equal(
                object_reader_open(f->scratch, f->st, name, OBJECT_DATA, &ref, &r, &f->err), 0);
            assert_memory_equal(object_reader_nonce(r), nonce_a, 16);
            for (size_t at = 0; at < sizes[i];) {
                struct slice piece;
                assert_int_equal(object_reader_piece(r, at, 1000, &piece, &f->err), 0);
                assert_true(piece.len >= 1 && piece.len <= 1000);
                for (size_t k = 0; k < piece.len; k++)
                    assert_int_equal(piece.data[k], (uint8_t)((at + k) / 7 ^ (at + k)));
                at += piece.len;
            }
            struct slice section;
            assert_int_equal(object_reader_section(r, OBJECT_SECTION_ROOT, &section, &f->err), 1);
            assert_true(slice_eq(section, slice_str("root")));
            assert_int_equal(object_reader_section(r, 300, &section, &f->err), 1);
            assert_int_equal(section.len, 300);
            assert_int_equal(section.data[299], 'x');
            assert_int_equal(object_reader_section(r, 2, &section, &f->err), 0);
            object_reader_close(r);
        }
    }
}

static void test_info_matches_bytes(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    assert_int_equal(write_object(f, "o", nonce_a, 3, 9000, &info), 0);
    size_t len = 0;
    assert_non_null(ram_bytes(f->st, "o", &len));
    assert_int_equal(info.stored_bytes, len);
    assert_true(info.footer_offset < len - OBJECT_TRAILER_BYTES);
}

static void test_every_bit_flip_is_refused(void **state)
{
    struct fixture *f = *state;
    for (int level = 0; level <= 3; level += 3) {
        struct object_info info;
        const char *name = level == 0 ? "plain" : "packed";
        assert_int_equal(write_object(f, name, nonce_a, level, 5000, &info), 0);
        size_t len = 0;
        uint8_t *bytes = ram_bytes(f->st, name, &len);
        for (size_t at = 0; at < len; at++) {
            uint8_t before = bytes[at];
            bytes[at] ^= (uint8_t)(1u << (at % 8));
            int code = read_all(f, name, NULL);
            if (code != -TM_E_CORRUPT)
                fail_msg("byte %zu of %zu: code %d", at, len, code);
            bytes[at] = before;
        }
        assert_int_equal(read_all(f, name, NULL), 0);
    }
}

static void test_every_truncation_is_refused(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    assert_int_equal(write_object(f, "o", nonce_a, 3, 5000, &info), 0);
    size_t len = 0;
    uint8_t *bytes = ram_bytes(f->st, "o", &len);
    TM_CLEANUP(buf_release) struct buf copy = BUF_INIT;
    assert_int_equal(buf_append(&copy, bytes, len, &f->err), 0);
    struct object_ref ref = ref_for(&info);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(ram_replace(f->st, "o", slice_of(copy.data, cut), &f->err), 0);
        assert_int_equal(read_all(f, "o", NULL), -TM_E_CORRUPT);
        assert_int_equal(read_all(f, "o", &ref), -TM_E_CORRUPT);
    }
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "object 'o' has %zu bytes, metadata says %zu: it is cut off or damaged", len - 1,
                   len);
    assert_string_equal(f->err.msg, text);
    /* something behind it is no better */
    assert_int_equal(buf_append(&copy, "x", 1, &f->err), 0);
    assert_int_equal(ram_replace(f->st, "o", buf_slice(&copy), &f->err), 0);
    assert_int_equal(read_all(f, "o", NULL), -TM_E_CORRUPT);
    assert_string_equal(f->err.msg,
                        "object 'o': no trailer at its end: it is cut off, or no object");
}

static void test_texts(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    struct object_info other;
    struct object_reader *r = NULL;
    assert_int_equal(write_object(f, "a/o", nonce_a, 3, 9000, &info), 0);
    assert_int_equal(write_object(f, "a/p", nonce_a, 3, 9001, &other), 0);
    size_t len = 0;
    uint8_t *bytes = ram_bytes(f->st, "a/o", &len);

    bytes[OBJECT_HEADER_BYTES + 10] ^= 1;
    assert_int_equal(read_all(f, "a/o", NULL), -TM_E_CORRUPT);
    assert_string_equal(f->err.msg, "object 'a/o': frame 0: stored bytes do not match their hash");
    assert_false(f->err.retryable);
    bytes[OBJECT_HEADER_BYTES + 10] ^= 1;

    assert_int_equal(object_reader_open(f->scratch, f->st, "a/o", OBJECT_CHUNK, NULL, &r, &f->err),
                     -TM_E_CORRUPT);
    assert_string_equal(f->err.msg, "object 'a/o' is of kind data, not chunk");

    struct object_ref ref = ref_for(&info);
    ref.digest[3] ^= 1;
    assert_int_equal(read_all(f, "a/o", &ref), -TM_E_CORRUPT);
    assert_string_equal(f->err.msg,
                        "object 'a/o': it is not the object that metadata names: another digest");

    assert_int_equal(ram_replace(f->st, "a/q", slice_of(bytes, len), &f->err), 0);
    assert_int_equal(read_all(f, "a/q", NULL), -TM_E_CORRUPT);
    assert_string_equal(f->err.msg, "object 'a/q' was stored as 'a/o'");

    assert_int_equal(read_all(f, "a/none", NULL), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "cannot stat 'a/none': No such file or directory");
}

/* Changes header bytes and sets the hash right again. */
static void patch_header(struct fixture *f, const char *name, size_t at, uint8_t value)
{
    size_t len = 0;
    uint8_t *bytes = ram_bytes(f->st, name, &len);
    bytes[at] = value;
    object_header_rehash(bytes);
}

static void test_unknown_is_refused(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    const struct {
        size_t at;
        uint8_t value;
        int code;
        const char *text;
    } cases[] = {
        {9, 2, TM_E_UNSUPPORTED,
         "object 'o': object format version 2 is not known (only 1): a newer Tidemark wrote it"},
        {15, 4, TM_E_UNSUPPORTED,
         "object 'o': required features 0x4 are not known: a newer Tidemark wrote it"},
        {21, 7, TM_E_UNSUPPORTED, "object 'o': cipher suite 7 is not known"},
        {23, 9, TM_E_UNSUPPORTED, "object 'o': compression 9 is not known"},
        {24, 255, TM_E_CORRUPT, "object 'o': header: impossible frame or block size"},
        {40, 1, TM_E_CORRUPT, "object 'o': header: bytes that must be zero are not"},
        {100, 1, TM_E_CORRUPT, "object 'o': header: bytes that must be zero are not"},
        /* an optional feature is no reason to refuse, only the digest tells that it was added */
        {19, 1, TM_E_CORRUPT, "object 'o': header and footer do not match their digest"},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(cases); i++) {
        const char *name = "o";
        assert_int_equal(storage_remove(f->st, &name, 1, &f->err), 0);
        assert_int_equal(write_object(f, "o", nonce_a, 3, 100, &info), 0);
        patch_header(f, "o", cases[i].at, cases[i].value);
        assert_int_equal(read_all(f, "o", NULL), -cases[i].code);
        assert_string_equal(f->err.msg, cases[i].text);
    }
}

static void test_required_section(void **state)
{
    struct fixture *f = *state;
    struct object_options options = {.kind = OBJECT_DATA};
    struct object_writer *w = NULL;
    struct object_info info;
    assert_int_equal(object_writer_open(f->scratch, f->st, "o", &options, &w, &f->err), 0);
    assert_int_equal(object_writer_section(w, 77, OBJECT_SECTION_REQUIRED, slice_str("?"), &f->err),
                     0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    struct object_reader *r = NULL;
    const uint16_t known[] = {OBJECT_SECTION_ROOT};
    assert_int_equal(object_reader_open(f->scratch, f->st, "o", OBJECT_DATA, NULL, &r, &f->err), 0);
    assert_int_equal(object_reader_require_known(r, known, 1, &f->err), -TM_E_UNSUPPORTED);
    assert_string_equal(f->err.msg,
                        "object 'o': required section 77 is not known: a newer Tidemark wrote it");
    object_reader_close(r);
}

static void test_exists(void **state)
{
    struct fixture *f = *state;
    struct object_info first;
    struct object_info again;
    assert_int_equal(write_object(f, "o", nonce_a, 3, 5000, &first), 0);
    assert_int_equal(write_object(f, "o", nonce_a, 3, 5000, &again), 0);
    assert_memory_equal(first.digest, again.digest, sizeof(first.digest));
    assert_memory_equal(first.hash, again.hash, sizeof(first.hash));
    assert_int_equal(write_object(f, "o", nonce_b, 3, 5000, &again), -TM_E_EXISTS);
    assert_string_equal(f->err.msg, "object 'o' already exists, written by somebody else");
    assert_int_equal(write_object(f, "o", nonce_a, 3, 5001, &again), -TM_E_EXISTS);
    assert_int_equal(read_all(f, "o", NULL), 0);
}

/* Damage to frames is seen without unpacking them; the offset of a byte in each of them. */
static void test_verify_stored(void **state)
{
    struct fixture *f = *state;
    const size_t places[] = {OBJECT_HEADER_BYTES, OBJECT_HEADER_BYTES + 4096 * 2 + 7};
    struct object_reader *r = NULL;
    struct object_info info;
    assert_int_equal(write_object(f, "o", nonce_a, 0, 3 * 4096, &info), 0);
    assert_int_equal(object_reader_open(f->scratch, f->st, "o", OBJECT_DATA, NULL, &r, &f->err), 0);
    assert_int_equal(object_reader_verify_stored(r, &f->err), 0);
    object_reader_close(r);
    for (size_t n = 0; n < TM_ARRAY_LEN(places); n++) {
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        char want[64];
        const char *name = "o";
        assert_int_equal(storage_get(f->st, "o", 1 << 20, &bytes, &f->err), 0);
        bytes.data[places[n]] ^= 1;
        assert_int_equal(storage_remove(f->st, &name, 1, &f->err), 0);
        assert_int_equal(storage_put(f->st, "o", buf_slice(&bytes), &f->err), 0);
        assert_int_equal(object_reader_open(f->scratch, f->st, "o", OBJECT_DATA, NULL, &r, &f->err),
                         0);
        assert_int_equal(object_reader_verify_stored(r, &f->err), -TM_E_CORRUPT);
        (void)snprintf(want, sizeof(want),
                       "object 'o': frame %d: stored bytes do not match their hash",
                       n == 0 ? 0 : 2);
        assert_string_equal(f->err.msg, want);
        object_reader_close(r);
        bytes.data[places[n]] ^= 1;
        assert_int_equal(storage_remove(f->st, &name, 1, &f->err), 0);
        assert_int_equal(storage_put(f->st, "o", buf_slice(&bytes), &f->err), 0);
    }
}

/* However the bytes come, and sealed or not, the object is the same. */
static void test_same_however_written(void **state)
{
    struct fixture *f = *state;
    const size_t steps[] = {20000, 4096, 4095, 9000, 1};
    struct object_options options = {.kind = OBJECT_DATA, .zstd_level = 3, .frame_bytes = 4096};
    struct object_info first = {.raw_bytes = 0};
    uint8_t bytes[20000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i / 7 ^ i);
    memcpy(options.nonce, nonce_a, sizeof(options.nonce));
    for (size_t n = 0; n < TM_ARRAY_LEN(steps); n++) {
        struct object_writer *w = NULL;
        struct object_info info;
        struct storage_object stored;
        assert_int_equal(object_writer_open(f->scratch, f->st, "o", &options, &w, &f->err), 0);
        for (size_t at = 0; at < sizeof(bytes); at += steps[n])
            assert_int_equal(
                object_writer_append(w, slice_of(bytes + at, TM_MIN(steps[n], sizeof(bytes) - at)),
                                     &f->err),
                0);
        assert_int_equal(object_writer_raw_bytes(w), sizeof(bytes));
        if (n % 2 == 0)
            assert_int_equal(object_writer_seal(w, &f->err), 0);
        if (n == 0)
            assert_int_equal(storage_stat(f->st, "o", &stored, &f->err), -TM_E_NOT_FOUND);
        assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
        object_writer_close(w);
        if (n == 0)
            first = info;
        assert_int_equal(info.frame_count, 5);
        assert_int_equal(info.stored_bytes, first.stored_bytes);
        assert_memory_equal(info.digest, first.digest, sizeof(info.digest));
        assert_memory_equal(info.hash, first.hash, sizeof(info.hash));
        assert_int_equal(read_all(f, "o", NULL), 0);
    }
}

static void test_lost_reply(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    struct ram_faults faults = {.drop_reply_per_mille = 1000};
    ram_set_faults(f->st, &faults);
    assert_int_equal(write_object(f, "o", nonce_a, 3, 5000, &info), 0);
    assert_int_equal(ram_object_count(f->st), 1);

    /* the answer is lost, and the look fails too: unknown, may be tried again */
    faults.fail_op[RAM_STAT] = 1;
    ram_set_faults(f->st, &faults);
    assert_int_equal(write_object(f, "p", nonce_a, 3, 5000, &info), -TM_E_UNAVAILABLE);
    assert_true(f->err.retryable);
    assert_string_equal(f->err.msg, "cannot commit 'p': the store does not answer");
    assert_int_equal(write_object(f, "p", nonce_a, 3, 5000, &info), 0);
}

static void test_store_without_fence(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    struct ram_faults faults = {.no_conditional_create = true};
    ram_set_faults(f->st, &faults);
    assert_int_equal(write_object(f, "o", nonce_a, 3, 5000, &info), 0);
    assert_int_equal(write_object(f, "o", nonce_b, 3, 5000, &info), -TM_E_EXISTS);
    assert_int_equal(write_object(f, "o", nonce_a, 3, 5000, &info), 0);
}

static void test_no_space(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    struct ram_faults faults = {.capacity_bytes = 3000};
    ram_set_faults(f->st, &faults);
    assert_int_equal(write_object(f, "o", nonce_a, 0, 20000, &info), -TM_E_NO_SPACE);
    assert_string_equal(f->err.msg, "cannot write 'o': No space left on device");
    assert_int_equal(ram_object_count(f->st), 0);
    /* the scratch is free again */
    faults.capacity_bytes = 0;
    ram_set_faults(f->st, &faults);
    assert_int_equal(write_object(f, "o", nonce_a, 0, 20000, &info), 0);
}

static void test_every_failing_call(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    const enum ram_op ops[] = {RAM_CREATE, RAM_WRITE, RAM_COMMIT};
    for (size_t i = 0; i < TM_ARRAY_LEN(ops); i++) {
        for (uint64_t n = 1; n < 10; n++) {
            struct ram_faults faults = {.fail_code = TM_E_IO};
            faults.fail_op[ops[i]] = n;
            ram_set_faults(f->st, &faults);
            int code = write_object(f, "o", nonce_a, 3, 9000, &info);
            assert_int_equal(ram_object_count(f->st), code == 0 ? 1 : 0);
            assert_true(code == 0 || code == -TM_E_IO);
            const char *name = "o";
            assert_int_equal(storage_remove(f->st, &name, 1, &f->err), 0);
            if (code == 0)
                break;
        }
    }
}

static void test_records(void **state)
{
    struct fixture *f = *state;
    struct object_options options = {.kind = OBJECT_SEGMENT, .zstd_level = 3, .frame_bytes = 256};
    struct object_writer *w = NULL;
    struct object_info info;
    assert_int_equal(object_writer_open(f->scratch, f->st, "o", &options, &w, &f->err), 0);
    uint8_t bytes[260] = {0};
    for (size_t i = 0; i < 1000; i++) {
        size_t len = i * 37 % 253; /* 252 = the largest that fits */
        memset(bytes, (int)i & 255, len);
        assert_int_equal(object_writer_record(w, slice_of(bytes, len), &f->err), 0);
    }
    assert_int_equal(object_writer_record(w, slice_of(bytes, 253), &f->err), -TM_E_LIMIT);
    assert_string_equal(f->err.msg, "object 'o': a record of 253 bytes is too large");
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    struct object_reader *r = NULL;
    struct slice record;
    assert_int_equal(object_reader_open(f->scratch, f->st, "o", OBJECT_SEGMENT, NULL, &r, &f->err),
                     0);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(object_reader_record(r, &record, &f->err), 1);
        assert_int_equal(record.len, i * 37 % 253);
        if (record.len > 0)
            assert_int_equal(record.data[record.len - 1], i & 255);
    }
    assert_int_equal(object_reader_record(r, &record, &f->err), 0);
    assert_int_equal(object_reader_record(r, &record, &f->err), 0);
    object_reader_close(r);
}

static void test_empty_record_stream(void **state)
{
    struct fixture *f = *state;
    struct object_options options = {.kind = OBJECT_SEGMENT};
    struct object_writer *w = NULL;
    struct object_info info;
    struct slice record;
    assert_int_equal(object_writer_open(f->scratch, f->st, "o", &options, &w, &f->err), 0);
    assert_int_equal(object_writer_finish(w, &info, &f->err), 0);
    object_writer_close(w);
    struct object_reader *r = NULL;
    assert_int_equal(object_reader_open(f->scratch, f->st, "o", OBJECT_SEGMENT, NULL, &r, &f->err),
                     0);
    assert_int_equal(object_reader_record(r, &record, &f->err), 0);
    object_reader_close(r);
}

static void test_root(void **state)
{
    struct fixture *f = *state;
    struct object_info info;
    TM_CLEANUP(buf_release) struct buf root = BUF_INIT;
    assert_int_equal(object_put_root(f->scratch, f->st, "o", OBJECT_IDENTITY, nonce_a,
                                     slice_str("hello"), &info, &f->err),
                     0);
    assert_int_equal(object_get_root(f->scratch, f->st, "o", OBJECT_IDENTITY, &root, &f->err), 0);
    assert_true(slice_eq(buf_slice(&root), slice_str("hello")));
    assert_int_equal(object_get_root(f->scratch, f->st, "o", OBJECT_WRITER, &root, &f->err),
                     -TM_E_CORRUPT);
    assert_string_equal(f->err.msg, "object 'o' is of kind identity, not writer");
}

static void test_bad_options(void **state)
{
    struct fixture *f = *state;
    struct object_writer *w = NULL;
    struct object_options options = {.kind = OBJECT_DATA, .frame_bytes = 1000, .block_bytes = 512};
    assert_int_equal(object_writer_open(f->scratch, f->st, "o", &options, &w, &f->err),
                     -TM_E_INVALID);
    assert_string_equal(f->err.msg, "frames of 1000 bytes in blocks of 512 are not possible");
    options = (struct object_options){.kind = OBJECT_DATA, .zstd_level = 23};
    assert_int_equal(object_writer_open(f->scratch, f->st, "o", &options, &w, &f->err),
                     -TM_E_INVALID);
    assert_string_equal(f->err.msg, "zstd level 23 is not in 0 … 19");
    assert_null(w);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_round_trip),
        T(test_info_matches_bytes),
        T(test_every_bit_flip_is_refused),
        T(test_every_truncation_is_refused),
        T(test_texts),
        T(test_unknown_is_refused),
        T(test_required_section),
        T(test_exists),
        T(test_verify_stored),
        T(test_same_however_written),
        T(test_lost_reply),
        T(test_store_without_fence),
        T(test_no_space),
        T(test_every_failing_call),
        T(test_records),
        T(test_empty_record_stream),
        T(test_root),
        T(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
