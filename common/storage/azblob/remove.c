/*
 * Removing: in batches, and one by one what no batch has removed.
 *
 * Happy path: batches of AZBLOB_REMOVE_BATCH, BATCHES under way; the few of a short call, and those
 * a batch left over, by DELETE, SINGLES under way. Removing what is not there is success. Failures
 * are those of the single DELETE: it names the object and the service's reason, such as a policy
 * that keeps it.
 */
#include "common/storage/azblob/internal.h"

#define BATCHES   4
#define SINGLES   16
#define BATCH_MIN 4 /* fewer are removed one by one */

/* ---- one by one ---- */

struct single {
    struct azblob_call call;
    const char *name;
    bool under_way;
};

static int single_start(struct azblob *az, struct single *s, const char *name, struct tm_err *err)
{
    char key[AZBLOB_KEY_MAX + 1];
    azblob_key(az, name, key);
    azblob_call_init(&s->call, az, "DELETE", key);
    s->call.removes = true;
    s->call.call.wanted[0] = 404;
    s->name = name;
    int r = store_call_start(&s->call.call, err);
    s->under_way = r == 0;
    if (r < 0)
        azblob_call_release(&s->call);
    return r;
}

static int single_wait(struct single *s, struct tm_err *err)
{
    if (!s->under_way)
        return 0;
    s->under_way = false;
    int r = store_call_wait(&s->call.call, err);
    azblob_call_release(&s->call);
    return r < 0 ? tm_err_prefix(err, STORAGE_ERROR_REMOVE, s->name) : 0;
}

/* After an error no more are begun; those under way are waited for. */
static int remove_singly(struct azblob *az, const char *const *names, const bool *done,
                         size_t count, struct tm_err *err)
{
    struct single *slots = calloc(SINGLES, sizeof(*slots));
    if (slots == NULL)
        return tm_err_oom(err);
    int result = 0;
    size_t slot = 0;
    for (size_t n = 0; n < count + SINGLES; n++, slot = (slot + 1) % SINGLES) {
        struct tm_err own;
        int r = single_wait(&slots[slot], &own);
        while (n < count && done[n])
            n++;
        if (r == 0 && result == 0 && n < count)
            r = single_start(az, &slots[slot], names[n], &own);
        if (r < 0 && result == 0) {
            result = r;
            *err = own;
        }
    }
    free(slots);
    return result;
}

/* ---- batches ---- */

/* A failed batch is no failure: its objects are removed one by one, and then it shows. */
static void batch_end(struct azblob_batch *b, bool *done)
{
    struct tm_err ignored;
    if (b->started)
        (void)!azblob_batch_wait(b, done, &ignored);
    azblob_batch_release(b);
}

static void remove_in_batches(struct azblob *az, const char *const *names, bool *done, size_t count)
{
    struct azblob_batch *slots = calloc(BATCHES, sizeof(*slots));
    if (slots == NULL)
        return;
    bool *done_at[BATCHES] = {NULL};
    size_t slot = 0;
    for (size_t at = 0; at < count && !az->no_batch; slot = (slot + 1) % BATCHES) {
        size_t n = TM_MIN(count - at, (size_t)AZBLOB_REMOVE_BATCH);
        struct tm_err ignored;
        batch_end(&slots[slot], done_at[slot]);
        done_at[slot] = done + at;
        (void)!azblob_batch_start(az, &slots[slot], names + at, n, &ignored);
        at += n;
    }
    for (size_t n = 0; n < BATCHES; n++, slot = (slot + 1) % BATCHES)
        batch_end(&slots[slot], done_at[slot]);
    free(slots);
}

int azblob_remove(struct storage *st, const char *const *names, size_t count, struct tm_err *err)
{
    struct azblob *az = azblob_of(st);
    TM_CLEANUP(freep) bool *done = calloc(count, sizeof(*done));
    if (done == NULL)
        return tm_err_oom(err);
    if (count >= BATCH_MIN && !az->no_batch)
        remove_in_batches(az, names, done, count);
    return remove_singly(az, names, done, count, err);
}
