/*
 * Decoding in two passes over the same bytes. The first walks the whole structure with a cursor and
 * allocates nothing: depth, counts against the bytes that are left, forbidden types, the exact end.
 * A bomb (an array of four thousand million items in five bytes) ends there. The second fills the
 * struct field by field, with the bounds of the table, into an arena that has its own bound.
 */
#include "proto/wire/codec_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/utf8.h"

/* ---- path ---- */

static void path_append(struct codec_path *path, const char *text, size_t len)
{
    size_t room = sizeof(path->text) - 1 - path->len;
    len = TM_MIN(len, room);
    for (size_t at = 0; at < len; at++) {
        char c = text[at];
        path->text[path->len + at] = c >= 0x20 && c < 0x7f ? c : '?';
    }
    path->len += len;
    path->text[path->len] = '\0';
}

size_t codec_path_key(struct codec_path *path, const char *key)
{
    size_t before = path->len;
    if (before > 0)
        path_append(path, ".", 1);
    path_append(path, key, strlen(key));
    return before;
}

size_t codec_path_field(struct codec_path *path, const struct codec_field *field)
{
    const char *name = field->name != NULL ? field->name : field->key;
    return name[0] != '\0' ? codec_path_key(path, name) : path->len;
}

size_t codec_path_index(struct codec_path *path, size_t index)
{
    size_t before = path->len;
    char text[32];
    int len = snprintf(text, sizeof(text), "[%zu]", index);
    path_append(path, text, len > 0 ? (size_t)len : 0);
    return before;
}

void codec_path_back(struct codec_path *path, size_t to)
{
    path->len = to;
    path->text[to] = '\0';
}

int codec_fail(const struct codec_path *path, struct tm_err *err, const char *fmt, ...)
{
    char what[160];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return tm_err_set(err, TM_E_INVALID, "%s: %s", path->text, what);
}

const char *codec_text_problem(struct slice text)
{
    for (size_t at = 0; at < text.len;) {
        if (text.data[at] == 0)
            return "contains a NUL";
        size_t len = utf8_sequence(text.data + at, text.len - at);
        if (len == 0)
            return "not UTF-8";
        at += len;
    }
    return NULL;
}

/* ---- the cursor ---- */

enum token_kind {
    TOKEN_NIL,
    TOKEN_BOOL,
    TOKEN_UINT,
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_STR,
    TOKEN_BIN,
    TOKEN_ARRAY,
    TOKEN_MAP,
    TOKEN_EXT
};

struct token {
    enum token_kind kind;
    uint64_t number;    /* UINT; INT as two's complement; BOOL */
    uint32_t count;     /* ARRAY items, MAP pairs */
    struct slice bytes; /* STR, BIN */
};

struct cursor {
    const uint8_t *p;
    const uint8_t *end;
};

static size_t left(const struct cursor *c)
{
    return (size_t)(c->end - c->p);
}

/* Takes a big-endian number of 1, 2, 4 or 8 bytes. */
static bool take_number(struct cursor *c, size_t size, uint64_t *ret)
{
    if (left(c) < size)
        return false;
    uint64_t value = 0;
    for (size_t at = 0; at < size; at++)
        value = value << 8 | c->p[at];
    c->p += size;
    *ret = value;
    return true;
}

static bool take_bytes(struct cursor *c, enum token_kind kind, uint64_t len, struct token *ret)
{
    if (left(c) < len)
        return false;
    ret->kind = kind;
    ret->bytes = slice_of(c->p, (size_t)len);
    c->p += len;
    return true;
}

static bool take_sized(struct cursor *c, enum token_kind kind, size_t size, struct token *ret)
{
    uint64_t len;
    if (!take_number(c, size, &len))
        return false;
    if (kind == TOKEN_STR || kind == TOKEN_BIN)
        return take_bytes(c, kind, len, ret);
    ret->kind = kind;
    ret->count = (uint32_t)len;
    return true;
}

static uint64_t sign_extend(uint64_t value, size_t size)
{
    uint64_t sign = (uint64_t)1 << (size * 8 - 1);
    return size == 8 ? value : (value ^ sign) - sign;
}

static bool take_tagged(struct cursor *c, uint8_t tag, struct token *ret)
{
    switch (tag) {
    case 0xc0:
        ret->kind = TOKEN_NIL;
        return true;
    case 0xc2:
    case 0xc3:
        ret->kind = TOKEN_BOOL;
        ret->number = tag == 0xc3;
        return true;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return take_sized(c, TOKEN_BIN, (size_t)1 << (tag - 0xc4), ret);
    case 0xca:
    case 0xcb:
        ret->kind = TOKEN_FLOAT;
        return take_number(c, tag == 0xca ? 4 : 8, &ret->number);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        ret->kind = TOKEN_UINT;
        return take_number(c, (size_t)1 << (tag - 0xcc), &ret->number);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: {
        size_t size = (size_t)1 << (tag - 0xd0);
        if (!take_number(c, size, &ret->number))
            return false;
        ret->number = sign_extend(ret->number, size);
        ret->kind = ret->number >> 63 ? TOKEN_INT : TOKEN_UINT;
        return true;
    }
    case 0xd9:
    case 0xda:
    case 0xdb:
        return take_sized(c, TOKEN_STR, (size_t)1 << (tag - 0xd9), ret);
    case 0xdc:
    case 0xdd:
        return take_sized(c, TOKEN_ARRAY, tag == 0xdc ? 2 : 4, ret);
    case 0xde:
    case 0xdf:
        return take_sized(c, TOKEN_MAP, tag == 0xde ? 2 : 4, ret);
    default: /* 0xc1 and the ext types */
        ret->kind = TOKEN_EXT;
        return true;
    }
}

/* False when the bytes end inside the token. */
static bool take(struct cursor *c, struct token *ret)
{
    *ret = (struct token){0};
    if (left(c) == 0)
        return false;
    uint8_t tag = *c->p++;
    if (tag < 0x80 || tag >= 0xe0) {
        ret->kind = tag < 0x80 ? TOKEN_UINT : TOKEN_INT;
        ret->number = tag < 0x80 ? tag : sign_extend(tag, 1);
        return true;
    }
    if (tag < 0xa0) {
        ret->kind = tag < 0x90 ? TOKEN_MAP : TOKEN_ARRAY;
        ret->count = tag & 0x0f;
        return true;
    }
    if (tag < 0xc0)
        return take_bytes(c, TOKEN_STR, tag & 0x1f, ret);
    return take_tagged(c, tag, ret);
}

/* Walks one value. NULL when it is sound, else what is wrong. */
static const char *scan(struct cursor *c, unsigned depth)
{
    struct token token;
    if (!take(c, &token))
        return "truncated";
    if (token.kind == TOKEN_EXT)
        return "holds a type that is not used here";
    if (token.kind != TOKEN_ARRAY && token.kind != TOKEN_MAP)
        return NULL;
    if (depth == CODEC_DEPTH_MAX)
        return "nested too deeply";
    uint64_t values = token.kind == TOKEN_MAP ? (uint64_t)token.count * 2 : token.count;
    if (values > left(c)) /* a value takes a byte at least */
        return "truncated";
    for (uint64_t at = 0; at < values; at++) {
        const char *problem = scan(c, depth + 1);
        if (problem != NULL)
            return problem;
    }
    return NULL;
}

/* ---- filling the struct ---- */

struct decoder {
    struct cursor cursor;
    struct codec_path path;
    struct codec_arena *arena;
    struct tm_err *err;
};

#define FAIL(d, ...) codec_fail(&(d)->path, (d)->err, __VA_ARGS__)

static int decode_record(struct decoder *d, const struct codec_table *table, void *record);

static int check_text(struct decoder *d, const struct codec_field *f, const struct token *token)
{
    if (token->kind != TOKEN_STR)
        return FAIL(d, "not a string");
    if (token->bytes.len > f->max)
        return FAIL(d, "longer than %llu bytes", (unsigned long long)f->max);
    const char *problem = codec_text_problem(token->bytes);
    return problem != NULL ? FAIL(d, "%s", problem) : 0;
}

static int arena_text(struct decoder *d, struct slice text, const char **ret)
{
    char *copy = codec_arena_alloc(d->arena, text.len + 1, d->err);
    if (copy == NULL)
        return -(int)d->err->code;
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    *ret = copy;
    return 0;
}

static int decode_number(struct decoder *d, const struct codec_field *f, void *record)
{
    struct token token;
    (void)take(&d->cursor, &token);
    if (f->kind == CODEC_flag) {
        if (token.kind != TOKEN_BOOL)
            return FAIL(d, "not a boolean");
        *CODEC_AT(record, f->offset, bool) = token.number != 0;
        return 0;
    }
    if (f->kind == CODEC_i64) {
        if (token.kind != TOKEN_INT && (token.kind != TOKEN_UINT || token.number > INT64_MAX))
            return FAIL(d, "not a 64 bit integer");
        int64_t value;
        memcpy(&value, &token.number, sizeof(value));
        *CODEC_AT(record, f->offset, int64_t) = value;
        return 0;
    }
    if (token.kind != TOKEN_UINT)
        return FAIL(d, "not an unsigned integer");
    if (token.number > f->max)
        return FAIL(d, "above %llu", (unsigned long long)f->max);
    if (f->kind == CODEC_u64)
        *CODEC_AT(record, f->offset, uint64_t) = token.number;
    else
        *CODEC_AT(record, f->offset, uint32_t) = (uint32_t)token.number;
    return 0;
}

static int decode_bytes(struct decoder *d, const struct codec_field *f, void *record)
{
    struct token token;
    (void)take(&d->cursor, &token);
    if (token.kind != TOKEN_BIN)
        return FAIL(d, "not binary");
    if (f->kind == CODEC_raw) {
        if (token.bytes.len != f->max)
            return FAIL(d, "not exactly %llu bytes", (unsigned long long)f->max);
        memcpy(CODEC_AT(record, f->offset, uint8_t), token.bytes.data, token.bytes.len);
        return 0;
    }
    if (token.bytes.len > f->max)
        return FAIL(d, "longer than %llu bytes", (unsigned long long)f->max);
    return codec_arena_bytes(d->arena, token.bytes, CODEC_AT(record, f->offset, struct slice),
                             d->err);
}

static int decode_text(struct decoder *d, const struct codec_field *f, void *record)
{
    struct token token;
    (void)take(&d->cursor, &token);
    int r = check_text(d, f, &token);
    if (r < 0)
        return r;
    if (f->kind == CODEC_txt) {
        const char *copy = NULL;
        r = arena_text(d, token.bytes, &copy);
        codec_pointer_set(record, f->offset, copy);
        return r;
    }
    char *text = CODEC_AT(record, f->offset, char);
    if (token.bytes.len > 0)
        memcpy(text, token.bytes.data, token.bytes.len);
    text[token.bytes.len] = '\0';
    return 0;
}

static int decode_strs(struct decoder *d, const struct codec_field *f, uint32_t count, void *record)
{
    const char **texts = codec_arena_array(d->arena, count, sizeof(*texts), d->err);
    if (texts == NULL)
        return -(int)d->err->code;
    for (uint32_t at = 0; at < count; at++) {
        size_t back = codec_path_index(&d->path, at);
        struct token token;
        (void)take(&d->cursor, &token);
        int r = check_text(d, f, &token);
        if (r == 0)
            r = arena_text(d, token.bytes, &texts[at]);
        if (r < 0)
            return r;
        codec_path_back(&d->path, back);
    }
    codec_pointer_set(record, f->offset, texts);
    return 0;
}

static int decode_list(struct decoder *d, const struct codec_field *f, uint32_t count, void *record)
{
    char *items = codec_arena_array(d->arena, count, f->sub->size, d->err);
    if (items == NULL)
        return -(int)d->err->code;
    for (uint32_t at = 0; at < count; at++) {
        size_t back = codec_path_index(&d->path, at);
        int r = decode_record(d, f->sub, items + at * f->sub->size);
        if (r < 0)
            return r;
        codec_path_back(&d->path, back);
    }
    codec_pointer_set(record, f->offset, items);
    return 0;
}

static int decode_array(struct decoder *d, const struct codec_field *f, void *record)
{
    struct token token;
    (void)take(&d->cursor, &token);
    if (token.kind != TOKEN_ARRAY)
        return FAIL(d, "not an array");
    if (token.count > f->max_items)
        return FAIL(d, "more than %u items", f->max_items);
    if (token.count == 0)
        return 0;
    int r = f->kind == CODEC_list ? decode_list(d, f, token.count, record)
                                  : decode_strs(d, f, token.count, record);
    if (r == 0)
        *CODEC_AT(record, f->count_offset, size_t) = token.count;
    return r;
}

static int decode_field(struct decoder *d, const struct codec_field *f, void *record)
{
    switch (f->kind) {
    case CODEC_u64:
    case CODEC_u32:
    case CODEC_i64:
    case CODEC_flag:
        return decode_number(d, f, record);
    case CODEC_str:
    case CODEC_txt:
        return decode_text(d, f, record);
    case CODEC_bin:
    case CODEC_raw:
        return decode_bytes(d, f, record);
    case CODEC_list:
    case CODEC_strs:
        return decode_array(d, f, record);
    case CODEC_msg: {
        void *sub = codec_arena_alloc(d->arena, f->sub->size, d->err);
        if (sub == NULL)
            return -(int)d->err->code;
        codec_pointer_set(record, f->offset, sub);
        return decode_record(d, f->sub, sub);
    }
    }
    return FAIL(d, "unknown kind");
}

static size_t field_of(const struct codec_table *table, struct slice key)
{
    size_t at = 0;
    while (at < table->field_count && !slice_eq(slice_str(table->fields[at].key), key))
        at++;
    return at;
}

static int decode_record(struct decoder *d, const struct codec_table *table, void *record)
{
    uint64_t seen = 0;
    struct token map;
    (void)take(&d->cursor, &map);
    if (map.kind != TOKEN_MAP)
        return FAIL(d, "not a map");
    for (uint32_t at = 0; at < map.count; at++) {
        struct token key;
        (void)take(&d->cursor, &key);
        if (key.kind != TOKEN_STR)
            return FAIL(d, "a key is not a string");
        size_t field = field_of(table, key.bytes);
        if (field == table->field_count) {
            (void)scan(&d->cursor, 0);
            continue;
        }
        size_t back = codec_path_field(&d->path, &table->fields[field]);
        if (seen & (uint64_t)1 << field)
            return FAIL(d, "twice");
        seen |= (uint64_t)1 << field;
        int r = decode_field(d, &table->fields[field], record);
        if (r < 0)
            return r;
        codec_path_back(&d->path, back);
    }
    for (size_t field = 0; field < table->field_count; field++) {
        const struct codec_field *f = &table->fields[field];
        if (f->required && !(seen & (uint64_t)1 << field)) {
            (void)codec_path_field(&d->path, f);
            return FAIL(d, "missing");
        }
    }
    return 0;
}

int codec_decode(const struct codec_table *table, struct slice in, struct codec_arena *arena,
                 void *record, struct tm_err *err)
{
    struct decoder d = {.cursor = {in.data, in.data + in.len}, .arena = arena, .err = err};
    (void)codec_path_key(&d.path, table->name);

    struct cursor walk = d.cursor;
    const char *problem = scan(&walk, 0);
    if (problem == NULL && walk.p != walk.end)
        problem = "bytes behind the end";
    if (problem != NULL)
        return FAIL(&d, "%s", problem);

    void *scratch = codec_arena_alloc(arena, table->size, err);
    if (scratch == NULL)
        return -(int)err->code;
    int r = decode_record(&d, table, scratch);
    if (r == 0)
        memcpy(record, scratch, table->size);
    return r;
}
