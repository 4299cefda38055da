/*
 * A session's bytes come from the start of a segment on, and a record may lie across that place: whoever
 * begins to look there never sees it whole. When it ends in log that this session is to store, nobody else
 * will tell of it.
 *
 * Happy path: the newest record that stored chunks tell of begins behind the stream's first byte, so no
 * record that is not told of lies across it: nothing is to be done. Else what is stored from that
 * record's segment on is read into the index first. What that finds is thrown away: the chunks tell it.
 *
 * Failure modes: what is stored begins behind the record's beginning, or cannot be trusted. Then no way
 * leads over that place anyway, and the index begins at the stream; it says that it stepped over a record.
 * A storage that does not answer is an error of the session.
 */
#include "agent/log/internal.h"

/* Where to begin; s->next = there is nothing to be done. */
static uint64_t prime_from(const struct log_session *s, const struct log_head *head)
{
    uint64_t segment = s->segment_bytes;
    if (head->to == head->from || head->last_record >= s->next)
        return s->next;
    uint64_t stored = (head->from + segment - 1) / segment * segment;
    return TM_MAX(head->last_record - head->last_record % segment, stored);
}

/* 1 = the index has seen all up to s->next, 0 = that cannot be had. */
static int feed(struct log_task *t, const struct log_session *s, struct log_proof *stored,
                uint64_t at, struct engine_log_index *index, struct tm_err *err)
{
    struct engine_index_part told;
    while (at < s->next) {
        struct slice piece = SLICE_EMPTY;
        if (log_leaving(t))
            return tm_err_retry(err, TM_E_CANCELED, "canceled");
        int r = log_proof_read(stored, at, &piece, err);
        if (r <= 0)
            return r < 0 ? log_storage_error(t, err) : 0;
        piece.len = (size_t)TM_MIN((uint64_t)piece.len, s->next - at);
        r = t->options.engine->index_push(index, piece, err);
        if (r == 0)
            r = t->options.engine->index_take(index, &told, err);
        if (r < 0)
            return err->code == TM_E_CORRUPT ? 0 : r;
        at += piece.len;
    }
    return 1;
}

int log_prime(struct log_task *t, struct log_session *s, const struct log_lineage *lineage,
              const struct log_head *head, struct tm_err *err)
{
    const struct engine_ops *engine = t->options.engine;
    struct engine_log_index *index = NULL;
    struct log_proof *stored = NULL;
    uint64_t from = prime_from(s, head);
    if (from >= s->next)
        return 0;
    int r = log_proof_open(t, lineage, from, &stored, err);
    if (r < 0)
        return log_storage_error(t, err);
    r = engine->index_open(buf_slice(&s->facts), from, &index, err);
    if (r == 0)
        r = feed(t, s, stored, from, index, err);
    if (r > 0)
        s->index = TM_TAKE(index);
    if (index)
        engine->index_close(index);
    log_proof_free(stored);
    return r < 0 ? r : 0;
}
