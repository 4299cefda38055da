/* Memory freed all at once: a list of chunks, the newest one being filled. */
#include "proto/wire/codec.h"

#define CHUNK_MIN   ((size_t)1024)
#define CHUNK_ALIGN _Alignof(max_align_t)

struct codec_chunk {
    struct codec_chunk *next;
    size_t used;
    size_t cap;
    _Alignas(max_align_t) uint8_t data[];
};

void codec_arena_release(struct codec_arena *arena)
{
    while (arena->chunks != NULL) {
        struct codec_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        if (arena->wipe)
            explicit_bzero(chunk->data, chunk->used);
        free(chunk);
    }
    arena->total_bytes = 0;
}

void *codec_arena_alloc(struct codec_arena *arena, size_t size, struct tm_err *err)
{
    if (size > CODEC_ARENA_MAX || arena->total_bytes > CODEC_ARENA_MAX - size) {
        (void)tm_err_set(err, TM_E_LIMIT, "record needs more than %zu bytes", CODEC_ARENA_MAX);
        return NULL;
    }
    size_t need = (TM_MAX(size, (size_t)1) + CHUNK_ALIGN - 1) & ~(CHUNK_ALIGN - 1);
    struct codec_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->cap - chunk->used < need) {
        size_t cap = TM_MAX(need, CHUNK_MIN);
        chunk = malloc(sizeof(*chunk) + cap);
        if (chunk == NULL) {
            (void)tm_err_oom(err);
            return NULL;
        }
        *chunk = (struct codec_chunk){.next = arena->chunks, .used = 0, .cap = cap};
        arena->chunks = chunk;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += need;
    arena->total_bytes += need;
    memset(memory, 0, size);
    return memory;
}

void *codec_arena_array(struct codec_arena *arena, size_t count, size_t size, struct tm_err *err)
{
    if (size != 0 && count > CODEC_ARENA_MAX / size) {
        (void)tm_err_set(err, TM_E_LIMIT, "record needs more than %zu bytes", CODEC_ARENA_MAX);
        return NULL;
    }
    return codec_arena_alloc(arena, count * size, err);
}

const char *codec_arena_text(struct codec_arena *arena, const char *text, struct tm_err *err)
{
    size_t len = strlen(text);
    char *copy = codec_arena_alloc(arena, len + 1, err);
    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

int codec_arena_bytes(struct codec_arena *arena, struct slice in, struct slice *ret,
                      struct tm_err *err)
{
    if (in.len == 0) {
        *ret = SLICE_EMPTY;
        return 0;
    }
    uint8_t *copy = codec_arena_alloc(arena, in.len, err);
    if (copy == NULL)
        return -(int)err->code;
    memcpy(copy, in.data, in.len);
    *ret = slice_of(copy, in.len);
    return 0;
}
