/*
 * Happy path: a block's fork is looked up (mostly it is that of the block before), and fork number
 * and block are appended to a list as one 64-bit number, unless a small cache says that it is there
 * already. The list is sorted when it is encoded, or when it has grown long; doubles go then.
 *
 * Failure modes: no memory. Limits of size end in the flag that says so, never in an error: the log
 * goes on whatever is in it.
 */
#include "agent/engine/postgres/block_refs.h"

#include <stdlib.h>

#include "agent/engine/postgres/varint.h"

#define BUCKETS_MIN  1024u
#define CACHE_SLOTS  8192u
#define REFS_MIN     65536u
#define FORMAT       1
#define FORK_NONE    UINT32_MAX
#define RADIX_BITS   8
#define RADIX_VALUES (1u << RADIX_BITS)

struct fork_entry {
    struct wal_fork fork;
    bool has_limit;
    uint32_t limit;
};

struct block_refs {
    struct fork_entry *forks;
    uint32_t fork_count, fork_cap;
    uint32_t *buckets; /* index + 1; 0 = free */
    uint32_t bucket_count;
    uint32_t last; /* fork of the last block */
    uint64_t *refs;
    uint64_t *scratch; /* of the same size */
    size_t count, cap;
    size_t sorted; /* how long it was after the last sort */
    uint64_t *cache;
    uint8_t flags;
};

/* ---- making, clearing ---- */

void block_refs_clear(struct block_refs *refs)
{
    refs->fork_count = 0;
    refs->last = FORK_NONE;
    refs->count = refs->sorted = 0;
    refs->flags = 0;
    memset(refs->buckets, 0, refs->bucket_count * sizeof(*refs->buckets));
    memset(refs->cache, 0xFF, CACHE_SLOTS * sizeof(*refs->cache)); /* no fork has that number */
}

int block_refs_new(struct block_refs **ret, struct tm_err *err)
{
    TM_CLEANUP(block_refs_freep) struct block_refs *refs = calloc(1, sizeof(*refs));
    if (!refs)
        return tm_err_oom(err);
    refs->bucket_count = BUCKETS_MIN;
    refs->buckets = malloc(BUCKETS_MIN * sizeof(*refs->buckets));
    refs->cache = malloc(CACHE_SLOTS * sizeof(*refs->cache));
    if (!refs->buckets || !refs->cache)
        return tm_err_oom(err);
    block_refs_clear(refs);
    *ret = TM_TAKE(refs);
    return 0;
}

void block_refs_free(struct block_refs *refs)
{
    if (!refs)
        return;
    free(refs->forks);
    free(refs->buckets);
    free(refs->refs);
    free(refs->scratch);
    free(refs->cache);
    free(refs);
}

void block_refs_flag(struct block_refs *refs, uint8_t flags)
{
    refs->flags |= flags;
}

bool block_refs_empty(const struct block_refs *refs)
{
    return refs->fork_count == 0 && refs->flags == 0;
}

/* ---- forks ---- */

static bool same_fork(const struct wal_fork *a, const struct wal_fork *b)
{
    return a->relation == b->relation && a->fork == b->fork && a->database == b->database &&
           a->tablespace == b->tablespace;
}

static uint32_t hash_fork(const struct wal_fork *fork)
{
    uint64_t h = ((uint64_t)fork->relation << 32 | fork->database) * UINT64_C(0x9E3779B97F4A7C15);
    h ^= ((uint64_t)fork->tablespace << 8 | fork->fork) * UINT64_C(0xC2B2AE3D27D4EB4F);
    return (uint32_t)((h * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

/* The bucket of this fork, or the free one where it belongs. */
static uint32_t *find_bucket(const struct block_refs *refs, const struct wal_fork *fork)
{
    uint32_t mask = refs->bucket_count - 1, at = hash_fork(fork) & mask;
    while (refs->buckets[at] != 0 && !same_fork(&refs->forks[refs->buckets[at] - 1].fork, fork))
        at = (at + 1) & mask;
    return &refs->buckets[at];
}

static int grow_forks(struct block_refs *refs, struct tm_err *err)
{
    uint32_t cap = refs->fork_cap == 0 ? BUCKETS_MIN / 2 : refs->fork_cap * 2;
    struct fork_entry *forks = realloc(refs->forks, cap * sizeof(*forks));
    if (!forks)
        return tm_err_oom(err);
    refs->forks = forks;
    uint32_t *buckets = calloc((size_t)cap * 2, sizeof(*buckets));
    if (!buckets)
        return tm_err_oom(err);
    free(refs->buckets);
    refs->buckets = buckets;
    refs->bucket_count = cap * 2;
    refs->fork_cap = cap;
    for (uint32_t n = 0; n < refs->fork_count; n++)
        *find_bucket(refs, &refs->forks[n].fork) = n + 1;
    return 0;
}

/* FORK_NONE: there are too many. */
static int find_fork(struct block_refs *refs, const struct wal_fork *fork, uint32_t *ret,
                     struct tm_err *err)
{
    uint32_t *bucket = find_bucket(refs, fork);
    if (*bucket != 0) {
        *ret = *bucket - 1;
        return 0;
    }
    if (refs->fork_count == BLOCK_FORKS_MAX) {
        refs->flags |= BLOCK_REFS_INCOMPLETE;
        *ret = FORK_NONE;
        return 0;
    }
    if (refs->fork_count == refs->fork_cap) {
        int r = grow_forks(refs, err);
        if (r < 0)
            return r;
        bucket = find_bucket(refs, fork);
    }
    *ret = refs->fork_count++;
    refs->forks[*ret] = (struct fork_entry){.fork = *fork};
    *bucket = *ret + 1;
    return 0;
}

int block_refs_limit(struct block_refs *refs, const struct wal_fork *fork, uint32_t limit,
                     struct tm_err *err)
{
    uint32_t n;
    int r = find_fork(refs, fork, &n, err);
    if (r < 0 || n == FORK_NONE)
        return r;
    struct fork_entry *entry = &refs->forks[n];
    entry->limit = entry->has_limit ? TM_MIN(entry->limit, limit) : limit;
    entry->has_limit = true;
    return 0;
}

/* ---- blocks ---- */

/* One pass by one byte; stable. */
static void radix_pass(const uint64_t *from, uint64_t *to, size_t count, unsigned shift)
{
    size_t places[RADIX_VALUES] = {0};
    for (size_t n = 0; n < count; n++)
        places[from[n] >> shift & (RADIX_VALUES - 1)]++;
    size_t at = 0;
    for (unsigned v = 0; v < RADIX_VALUES; v++) {
        size_t here = places[v];
        places[v] = at;
        at += here;
    }
    for (size_t n = 0; n < count; n++)
        to[places[from[n] >> shift & (RADIX_VALUES - 1)]++] = from[n];
}

static void sort_refs(struct block_refs *refs)
{
    uint64_t differ = 0;
    for (size_t n = 1; n < refs->count; n++)
        differ |= refs->refs[n] ^ refs->refs[0];
    for (unsigned shift = 0; shift < 64; shift += RADIX_BITS) {
        if ((differ >> shift & (RADIX_VALUES - 1)) == 0)
            continue;
        radix_pass(refs->refs, refs->scratch, refs->count, shift);
        uint64_t *other = refs->refs;
        refs->refs = refs->scratch;
        refs->scratch = other;
    }
    size_t kept = 0;
    for (size_t n = 0; n < refs->count; n++)
        if (kept == 0 || refs->refs[n] != refs->refs[kept - 1])
            refs->refs[kept++] = refs->refs[n];
    refs->count = refs->sorted = kept;
}

/* The list is full: doubles go; where that gains too little, it grows. */
static int make_room(struct block_refs *refs, struct tm_err *err)
{
    if (refs->count > 0)
        sort_refs(refs);
    if (refs->cap > 0 && refs->count <= refs->cap / 2)
        return 0;
    if (refs->cap == BLOCK_REFS_MAX) {
        if (refs->count == refs->cap)
            refs->flags |= BLOCK_REFS_INCOMPLETE;
        return 0;
    }
    size_t cap = refs->cap == 0 ? REFS_MIN : refs->cap * 2;
    uint64_t *grown = realloc(refs->refs, cap * sizeof(*grown));
    if (!grown)
        return tm_err_oom(err);
    refs->refs = grown;
    uint64_t *scratch = malloc(cap * sizeof(*scratch));
    if (!scratch)
        return tm_err_oom(err);
    free(refs->scratch);
    refs->scratch = scratch;
    refs->cap = cap;
    return 0;
}

static bool is_last(const struct block_refs *refs, const struct wal_block *block)
{
    if (refs->last == FORK_NONE)
        return false;
    const struct wal_fork *fork = &refs->forks[refs->last].fork;
    return fork->relation == block->relation && fork->fork == block->fork &&
           fork->database == block->database && fork->tablespace == block->tablespace;
}

int block_refs_add(struct block_refs *refs, const struct wal_block *block, struct tm_err *err)
{
    if (!is_last(refs, block)) {
        const struct wal_fork fork = {.tablespace = block->tablespace,
                                      .database = block->database,
                                      .relation = block->relation,
                                      .fork = block->fork};
        int r = find_fork(refs, &fork, &refs->last, err);
        if (r < 0 || refs->last == FORK_NONE)
            return r;
    }
    uint64_t ref = (uint64_t)refs->last << 32 | block->block;
    uint64_t *seen = &refs->cache[(ref * UINT64_C(0x9E3779B97F4A7C15)) >> 32 & (CACHE_SLOTS - 1)];
    if (*seen == ref)
        return 0;
    if (refs->count == refs->cap) {
        int r = make_room(refs, err);
        if (r < 0)
            return r;
        if (refs->count == refs->cap)
            return 0; /* marked incomplete */
    }
    *seen = ref;
    refs->refs[refs->count++] = ref;
    return 0;
}

/* ---- encoding ---- */

struct place {
    const struct fork_entry *entry;
    const uint64_t *refs;
    size_t count;
};

static int compare_places(const void *a, const void *b)
{
    const struct wal_fork *x = &((const struct place *)a)->entry->fork;
    const struct wal_fork *y = &((const struct place *)b)->entry->fork;
    if (x->tablespace != y->tablespace)
        return x->tablespace < y->tablespace ? -1 : 1;
    if (x->database != y->database)
        return x->database < y->database ? -1 : 1;
    if (x->relation != y->relation)
        return x->relation < y->relation ? -1 : 1;
    return x->fork < y->fork ? -1 : x->fork > y->fork;
}

static int encode_fork(const struct place *place, struct buf *out, struct tm_err *err)
{
    const struct fork_entry *entry = place->entry;
    int r = buf_reserve(out, 13 + 2 * VARINT_MAX + place->count * VARINT32_MAX, err);
    if (r < 0)
        return r;
    uint8_t *p = out->data + out->len;
    be32_put(p, entry->fork.tablespace);
    be32_put(p + 4, entry->fork.database);
    be32_put(p + 8, entry->fork.relation);
    p[12] = entry->fork.fork;
    p += 13;
    p = varint_put(p, entry->has_limit ? (uint64_t)entry->limit + 1 : 0);
    p = varint_put(p, place->count);
    uint32_t next = 0;
    for (size_t n = 0; n < place->count; n++) {
        uint32_t block = (uint32_t)place->refs[n];
        p = varint_put(p, block - next);
        next = block + 1;
    }
    out->len = (size_t)(p - out->data);
    return 0;
}

int block_refs_encode(struct block_refs *refs, struct buf *out, struct tm_err *err)
{
    const uint8_t head[2] = {FORMAT, refs->flags};
    uint8_t count[VARINT_MAX];
    sort_refs(refs);
    TM_CLEANUP(freep) struct place *places = calloc((size_t)refs->fork_count + 1, sizeof(*places));
    if (!places)
        return tm_err_oom(err);
    const uint64_t *ref = refs->refs, *end = ref ? ref + refs->count : NULL;
    for (uint32_t n = 0; n < refs->fork_count; n++) {
        places[n] = (struct place){.entry = &refs->forks[n], .refs = ref};
        while (ref != end && *ref >> 32 == n)
            ref++;
        places[n].count = (size_t)(ref - places[n].refs);
    }
    qsort(places, refs->fork_count, sizeof(*places), compare_places);
    int r = buf_append(out, head, sizeof(head), err);
    if (r == 0)
        r = buf_append(out, count, (size_t)(varint_put(count, refs->fork_count) - count), err);
    for (uint32_t n = 0; r == 0 && n < refs->fork_count; n++)
        r = encode_fork(&places[n], out, err);
    return r;
}

/* ---- reading ---- */

static int bad(const char *what, struct tm_err *err)
{
    return tm_err_set(err, TM_E_CORRUPT, "block references: %s", what);
}

static int take(struct slice *rest, uint64_t max, uint64_t *ret, struct tm_err *err)
{
    if (!varint_get(rest, ret))
        return bad("cut off", err);
    return *ret > max ? bad("a number out of bounds", err) : 0;
}

int block_refs_reader_init(struct block_refs_reader *r, struct slice section, struct tm_err *err)
{
    uint64_t forks = 0;
    if (section.len < 2)
        return bad("cut off", err);
    if (section.data[0] != FORMAT)
        return tm_err_set(err, TM_E_UNSUPPORTED, "block references: format %u, not %d",
                          section.data[0], FORMAT);
    struct block_refs_reader reader = {.rest = slice_of(section.data + 2, section.len - 2),
                                       .flags = section.data[1]};
    int rc = take(&reader.rest, BLOCK_FORKS_MAX, &forks, err);
    if (rc < 0)
        return rc;
    reader.forks_left = (uint32_t)forks;
    *r = reader;
    return 0;
}

int block_refs_reader_block(struct block_refs_reader *r, uint32_t *ret, struct tm_err *err)
{
    uint64_t step = 0;
    if (r->blocks_left == 0)
        return 0;
    int rc = take(&r->rest, UINT32_MAX, &step, err);
    if (rc < 0)
        return rc;
    if (r->next_block + step > UINT32_MAX)
        return bad("a block out of bounds", err);
    *ret = (uint32_t)(r->next_block + step);
    r->next_block += step + 1;
    r->blocks_left--;
    return 1;
}

static int take_fork(struct block_refs_reader *r, struct block_refs_fork *ret, struct tm_err *err)
{
    uint64_t limit = 0, blocks = 0;
    if (r->rest.len < 13)
        return bad("cut off", err);
    const uint8_t *p = r->rest.data;
    *ret = (struct block_refs_fork){
        .fork = {be32_get(p), be32_get(p + 4), be32_get(p + 8), p[12]},
    };
    r->rest = slice_of(p + 13, r->rest.len - 13);
    int rc = take(&r->rest, (uint64_t)UINT32_MAX + 1, &limit, err);
    if (rc == 0)
        rc = take(&r->rest, BLOCK_REFS_MAX, &blocks, err);
    ret->has_limit = limit > 0;
    ret->limit = limit > 0 ? (uint32_t)(limit - 1) : 0;
    ret->blocks = (uint32_t)blocks;
    return rc;
}

int block_refs_reader_fork(struct block_refs_reader *r, struct block_refs_fork *ret,
                           struct tm_err *err)
{
    struct block_refs_fork fork;
    uint32_t skipped;
    int rc = 0;
    while ((rc = block_refs_reader_block(r, &skipped, err)) == 1)
        ;
    if (rc < 0)
        return rc;
    if (r->forks_left == 0)
        return r->rest.len > 0 ? bad("bytes behind the last one", err) : 0;
    rc = take_fork(r, &fork, err);
    if (rc < 0)
        return rc;
    const struct fork_entry a = {.fork = r->last.fork}, b = {.fork = fork.fork};
    const struct place x = {.entry = &a}, y = {.entry = &b};
    if (r->started && compare_places(&x, &y) >= 0)
        return bad("forks are not in order", err);
    r->forks_left--;
    r->blocks_left = fork.blocks;
    r->next_block = 0;
    r->started = true;
    r->last = fork;
    *ret = fork;
    return 1;
}
