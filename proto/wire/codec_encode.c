/*
 * Encoding: msgpack-c's packer writes into a buf; the table says which fields go out. Bounds are
 * checked with the words the decoder uses, so a program finds its own mistakes before its peer
 * does.
 */
#include "proto/wire/codec_internal.h"

#include <msgpack.h>

struct encoder {
    msgpack_packer packer;
    struct codec_path path;
    struct buf *out;
    uint8_t minor;
    int result; /* of the append that failed, 0 so far */
    struct tm_err *err;
};

#define FAIL(e, ...) codec_fail(&(e)->path, (e)->err, __VA_ARGS__)

static int append(void *arg, const char *data, size_t len)
{
    struct encoder *e = arg;
    if (e->result == 0)
        e->result = buf_append(e->out, data, len, e->err);
    return e->result == 0 ? 0 : -1;
}

static int encode_record(struct encoder *e, const struct codec_table *table, const void *record);

static bool all_zero(const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len; at++) {
        if (bytes[at] != 0)
            return false;
    }
    return true;
}

static bool is_default(const struct codec_field *f, const void *record)
{
    switch (f->kind) {
    case CODEC_u64:
        return *CODEC_AT_CONST(record, f->offset, uint64_t) == 0;
    case CODEC_u32:
        return *CODEC_AT_CONST(record, f->offset, uint32_t) == 0;
    case CODEC_i64:
        return *CODEC_AT_CONST(record, f->offset, int64_t) == 0;
    case CODEC_flag:
        return !*CODEC_AT_CONST(record, f->offset, bool);
    case CODEC_str:
        return *CODEC_AT_CONST(record, f->offset, char) == '\0';
    case CODEC_txt:
        return codec_pointer(record, f->offset) == NULL;
    case CODEC_bin:
        return CODEC_AT_CONST(record, f->offset, struct slice)->len == 0;
    case CODEC_raw:
        return all_zero(CODEC_AT_CONST(record, f->offset, uint8_t), (size_t)f->max);
    case CODEC_msg:
        return codec_pointer(record, f->offset) == NULL;
    case CODEC_list:
    case CODEC_strs:
        return *CODEC_AT_CONST(record, f->count_offset, size_t) == 0;
    }
    return true;
}

static bool goes_out(const struct encoder *e, const struct codec_field *f, const void *record)
{
    return f->required || (f->since <= e->minor && !is_default(f, record));
}

static int encode_text(struct encoder *e, const struct codec_field *f, const char *text, size_t len)
{
    if (len > f->max)
        return FAIL(e, "longer than %llu bytes", (unsigned long long)f->max);
    const char *problem = codec_text_problem(slice_of(text, len));
    if (problem != NULL)
        return FAIL(e, "%s", problem);
    (void)msgpack_pack_str_with_body(&e->packer, text, len);
    return 0;
}

static int encode_number(struct encoder *e, const struct codec_field *f, uint64_t value)
{
    if (value > f->max)
        return FAIL(e, "above %llu", (unsigned long long)f->max);
    (void)msgpack_pack_uint64(&e->packer, value);
    return 0;
}

static int encode_list(struct encoder *e, const struct codec_field *f, const void *record)
{
    size_t count = *CODEC_AT_CONST(record, f->count_offset, size_t);
    const char *items = codec_pointer(record, f->offset);
    const char *const *texts = codec_pointer(record, f->offset);
    if (count > f->max_items)
        return FAIL(e, "more than %u items", f->max_items);
    (void)msgpack_pack_array(&e->packer, count);
    for (size_t at = 0; at < count; at++) {
        size_t back = codec_path_index(&e->path, at);
        int r = f->kind == CODEC_list ? encode_record(e, f->sub, items + at * f->sub->size)
                                      : encode_text(e, f, texts[at], strlen(texts[at]));
        if (r < 0)
            return r;
        codec_path_back(&e->path, back);
    }
    return 0;
}

static int encode_bytes(struct encoder *e, const struct codec_field *f, const void *record)
{
    struct slice bytes;
    if (f->kind == CODEC_raw)
        bytes = slice_of(CODEC_AT_CONST(record, f->offset, uint8_t), (size_t)f->max);
    else
        bytes = *CODEC_AT_CONST(record, f->offset, struct slice);
    if (bytes.len > f->max)
        return FAIL(e, "longer than %llu bytes", (unsigned long long)f->max);
    (void)msgpack_pack_bin_with_body(&e->packer, bytes.data, bytes.len);
    return 0;
}

static int encode_field(struct encoder *e, const struct codec_field *f, const void *record)
{
    switch (f->kind) {
    case CODEC_u64:
        return encode_number(e, f, *CODEC_AT_CONST(record, f->offset, uint64_t));
    case CODEC_u32:
        return encode_number(e, f, *CODEC_AT_CONST(record, f->offset, uint32_t));
    case CODEC_i64:
        (void)msgpack_pack_int64(&e->packer, *CODEC_AT_CONST(record, f->offset, int64_t));
        return 0;
    case CODEC_flag:
        (void)(*CODEC_AT_CONST(record, f->offset, bool) ? msgpack_pack_true(&e->packer)
                                                        : msgpack_pack_false(&e->packer));
        return 0;
    case CODEC_str: {
        const char *text = CODEC_AT_CONST(record, f->offset, char);
        return encode_text(e, f, text, strnlen(text, (size_t)f->max));
    }
    case CODEC_txt: {
        const char *text = codec_pointer(record, f->offset);
        return text == NULL ? FAIL(e, "missing") : encode_text(e, f, text, strlen(text));
    }
    case CODEC_bin:
    case CODEC_raw:
        return encode_bytes(e, f, record);
    case CODEC_list:
    case CODEC_strs:
        return encode_list(e, f, record);
    case CODEC_msg: {
        const void *sub = codec_pointer(record, f->offset);
        return sub == NULL ? FAIL(e, "missing") : encode_record(e, f->sub, sub);
    }
    }
    return FAIL(e, "unknown kind");
}

static int encode_record(struct encoder *e, const struct codec_table *table, const void *record)
{
    size_t pairs = 0;
    for (size_t at = 0; at < table->field_count; at++)
        pairs += goes_out(e, &table->fields[at], record);
    (void)msgpack_pack_map(&e->packer, pairs);
    for (size_t at = 0; at < table->field_count; at++) {
        const struct codec_field *f = &table->fields[at];
        if (!goes_out(e, f, record))
            continue;
        size_t key_len = strlen(f->key);
        size_t back = codec_path_field(&e->path, f);
        (void)msgpack_pack_str_with_body(&e->packer, f->key, key_len);
        int r = encode_field(e, f, record);
        if (r < 0)
            return r;
        codec_path_back(&e->path, back);
    }
    return 0;
}

int codec_encode(const struct codec_table *table, const void *record, uint8_t minor,
                 struct buf *out, struct tm_err *err)
{
    struct encoder e = {.out = out, .minor = minor, .err = err};
    size_t before = out->len;
    msgpack_packer_init(&e.packer, &e, append);
    (void)codec_path_key(&e.path, table->name);
    int r = encode_record(&e, table, record);
    if (r == 0)
        r = e.result;
    if (r < 0)
        out->len = before;
    return r;
}

int codec_copy(const struct codec_table *table, const void *record, struct codec_arena *arena,
               void *copy, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = {.wipe = arena->wipe};
    int r = codec_encode(table, record, CODEC_MINOR_ALL, &bytes, err);
    return r < 0 ? r : codec_decode(table, buf_slice(&bytes), arena, copy, err);
}

bool codec_equal(const struct codec_table *table, const void *a, const void *b)
{
    TM_CLEANUP(buf_release) struct buf first = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf second = BUF_INIT;
    struct tm_err err;
    return codec_encode(table, a, CODEC_MINOR_ALL, &first, &err) == 0 &&
           codec_encode(table, b, CODEC_MINOR_ALL, &second, &err) == 0 &&
           slice_eq(buf_slice(&first), buf_slice(&second));
}
