/*
 * The proof that a source's log is the one that is stored: byte by byte, over the last segment. Stored
 * chunks are read as they are needed, so that memory does not depend on the segment's size.
 *
 * A chunk that is missing or corrupt proves nothing, and counts as a difference: then a new lineage
 * begins, and log goes on being stored.
 */
#include "agent/log/internal.h"

#include <stdlib.h>

struct log_proof {
    struct log_task *task;
    struct lineage lineage; /* its slices are not used */
    struct object_scratch *scratches[2];
    struct log_chain *chain;
    struct object_scratch *chunk_scratch;
    struct chunk_reader reader;
    bool reading;
    uint64_t at; /* of `piece` */
    struct slice piece;
};

int log_proof_open(struct log_task *t, const struct log_lineage *lineage, uint64_t from,
                   struct log_proof **ret, struct tm_err *err)
{
    struct log_proof *p = calloc(1, sizeof(*p));
    if (!p)
        return tm_err_oom(err);
    p->task = t;
    p->lineage = lineage->record;
    p->reader = CHUNK_READER_INIT;
    p->at = from;
    int r = object_scratch_new(&p->scratches[0], err);
    if (r == 0)
        r = object_scratch_new(&p->scratches[1], err);
    if (r == 0)
        r = object_scratch_new(&p->chunk_scratch, err);
    if (r == 0)
        r = log_chain_open(p->scratches, t->options.storage, &t->options.scope, lineage, from,
                           &p->chain, err);
    if (r < 0) {
        log_proof_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void log_proof_free(struct log_proof *p)
{
    if (!p)
        return;
    chunk_reader_release(&p->reader);
    log_chain_free(p->chain);
    object_scratch_free(p->chunk_scratch);
    object_scratch_free(p->scratches[0]);
    object_scratch_free(p->scratches[1]);
    free(p);
}

static int next_chunk(struct log_proof *p, struct tm_err *err)
{
    struct log_entry entry;
    struct log_ref ref;
    int r = log_chain_next(p->chain, &entry, err);
    if (r <= 0)
        return r;
    log_entry_ref(&p->lineage, &entry, &ref);
    struct full_name name = names_full(&p->task->options.scope, ref.object);
    r = chunk_reader_open(&p->reader, p->chunk_scratch, p->task->options.storage, name.s, &ref,
                          err);
    if (r < 0)
        return r;
    p->reading = true;
    return 1;
}

/* The stored piece that holds byte `at`. 0 = there is none. */
static int stored_piece(struct log_proof *p, uint64_t at, struct tm_err *err)
{
    while (p->piece.len == 0 || p->at + p->piece.len <= at) {
        int r = 0;
        if (p->reading)
            r = chunk_reader_next(&p->reader, &p->at, &p->piece, err);
        if (r == 0) {
            chunk_reader_release(&p->reader);
            p->reading = false;
            p->piece = SLICE_EMPTY;
            r = next_chunk(p, err);
        }
        if (r <= 0)
            return r;
    }
    return p->at <= at;
}

int log_proof_read(struct log_proof *p, uint64_t at, struct slice *ret, struct tm_err *err)
{
    int r = stored_piece(p, at, err);
    if (r < 0 && (err->code == TM_E_CORRUPT || err->code == TM_E_NOT_FOUND))
        return 0;
    if (r <= 0)
        return r;
    size_t skip = (size_t)(at - p->at);
    *ret = slice_of(p->piece.data + skip, p->piece.len - skip);
    return 1;
}

int log_proof_compare(struct log_proof *p, uint64_t at, struct slice bytes, bool *ret_same,
                      struct tm_err *err)
{
    while (bytes.len > 0) {
        struct slice piece = SLICE_EMPTY;
        int r = log_proof_read(p, at, &piece, err);
        if (r < 0)
            return r;
        size_t n = TM_MIN(bytes.len, piece.len);
        if (r == 0 || memcmp(piece.data, bytes.data, n) != 0) {
            *ret_same = false;
            return 0;
        }
        at += n;
        bytes = slice_of(bytes.data + n, bytes.len - n);
    }
    *ret_same = true;
    return 0;
}
