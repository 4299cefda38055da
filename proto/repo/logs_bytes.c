/*
 * Bytes of stored log in order, chunk by chunk, of a list of references or of a chain. Failure
 * modes: a chunk that is not what its reference says is TM_E_CORRUPT; where log ends there is
 * nothing.
 */
#include "proto/repo/logs_internal.h"

static int bytes_open_next(struct log_bytes *s, struct tm_err *err)
{
    struct log_ref ref;
    struct log_entry entry = {.from = 0};
    if (s->chain != NULL) {
        int r = log_chain_next(s->chain, &entry, err);
        if (r <= 0)
            return r;
        log_entry_ref(s->lineage, &entry, &ref);
    } else {
        if (s->count == 0)
            return 0;
        ref = *s->refs++;
        s->count--;
    }
    int r =
        chunk_reader_open(&s->cr, s->scratch, s->st, names_full(s->scope, ref.object).s, &ref, err);
    s->open = r == 0;
    return r == 0 ? 1 : r;
}

int log_bytes_fill(struct log_bytes *s, uint64_t at, struct tm_err *err)
{
    while (s->piece.len == 0 || s->at + s->piece.len <= at) {
        int r = s->open ? chunk_reader_next(&s->cr, &s->at, &s->piece, err) : 0;
        if (r == 0) {
            s->piece = SLICE_EMPTY;
            chunk_reader_release(&s->cr);
            s->open = false;
            r = bytes_open_next(s, err);
        }
        s->failed = r < 0;
        if (r <= 0)
            return r;
    }
    if (s->at > at)
        return 0;
    s->piece = slice_of(s->piece.data + (at - s->at), s->piece.len - (size_t)(at - s->at));
    s->at = at;
    return 1;
}

void log_bytes_take(struct log_bytes *s, size_t len)
{
    s->piece = slice_of(s->piece.data + len, s->piece.len - len);
    s->at += len;
}

void log_bytes_release(struct log_bytes *s)
{
    chunk_reader_release(&s->cr);
    s->open = false;
}
