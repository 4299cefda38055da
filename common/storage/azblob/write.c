/*
 * Writing an object: block by block, several under way, then the list of blocks; or all at once.
 *
 * Happy path: bytes fill a buffer → the next one is needed → Put Block of the full one, in the
 * background → … → commit: the last block, all waited for, Put Block List. An object that fits one
 * buffer is one Put Blob at commit. Both carry If-None-Match: *, so that an object is never replaced.
 *
 * Failure modes: a block that fails makes the writer fail, now and at every later call. "It exists"
 * at commit may speak of this very object, when an earlier attempt did its work and its answer was
 * lost: the object's metadata names its writer. Another writer of the same name drops our blocks when
 * it commits: then the list is refused, and the object is the other's. The ids of blocks begin with
 * the writer's number, so that two writers of one name never mix.
 */
#include <openssl/evp.h>

#include "common/hash.h"
#include "common/storage/azblob/internal.h"

#define ID_BYTES 12 /* of the writer, and the block's number */
#define ID_MAX   (4 * ID_BYTES / 3 + 1)

struct block {
    struct azblob_call call;
    uint8_t *data; /* NULL until needed */
    size_t len;
    bool under_way;
};

struct azblob_writer {
    struct storage_writer base;
    struct azblob *az;
    char name[STORAGE_NAME_MAX + 1];
    char key[AZBLOB_KEY_MAX + 1];
    uint8_t number[AZBLOB_NONCE_BYTES];
    char nonce[2 * AZBLOB_NONCE_BYTES + 1];
    struct block blocks[AZBLOB_IN_FLIGHT];
    size_t filling;   /* the block that bytes go to */
    unsigned started; /* blocks that were sent */
    uint64_t written;
    int failed; /* 0, or what every call from now on returns, with: */
    struct tm_err why;
};

static struct azblob_writer *writer_of(struct storage_writer *base)
{
    return (struct azblob_writer *)base;
}

static int fail(struct azblob_writer *w, int result, const struct tm_err *err)
{
    w->failed = result;
    w->why = *err;
    return result;
}

/* ---- blocks ---- */

static void block_id(const struct azblob_writer *w, unsigned index, char *text)
{
    uint8_t id[ID_BYTES];
    memcpy(id, w->number, ID_BYTES - 4);
    be32_put(id + ID_BYTES - 4, index);
    (void)EVP_EncodeBlock((unsigned char *)text, id, ID_BYTES);
}

static int block_wait(struct azblob_writer *w, struct block *b, struct tm_err *err)
{
    if (!b->under_way)
        return 0;
    b->under_way = false;
    int r = store_call_wait_late(&b->call.call, err); /* the source may have been slow */
    azblob_call_release(&b->call);
    b->len = 0;
    if (r < 0) {
        (void)tm_err_prefix(err, STORAGE_ERROR_WRITE, w->name);
        return fail(w, r, err);
    }
    return 0;
}

static int block_send(struct azblob_writer *w, struct block *b, struct tm_err *err)
{
    char id[ID_MAX];
    if (w->started == AZBLOB_BLOCKS_MAX) {
        int r =
            tm_err_set(err, TM_E_LIMIT, STORAGE_ERROR_WRITE ": more than %d blocks of %zu bytes",
                       w->name, AZBLOB_BLOCKS_MAX, AZBLOB_BLOCK_BYTES);
        return fail(w, r, err);
    }
    block_id(w, w->started, id);
    azblob_call_init(&b->call, w->az, "PUT", w->key);
    int r = azblob_call_query(&b->call, "comp", "block", err);
    if (r == 0)
        r = azblob_call_query(&b->call, "blockid", id, err);
    if (r == 0)
        r = azblob_call_body(&b->call, slice_of(b->data, b->len), NULL, err);
    if (r == 0)
        r = store_call_start(&b->call.call, err);
    if (r < 0) {
        azblob_call_release(&b->call);
        (void)tm_err_prefix(err, STORAGE_ERROR_WRITE, w->name);
        return fail(w, r, err);
    }
    b->under_way = true;
    w->started++;
    return 0;
}

/* The block that is filled is full, and there is more. */
static int next_block(struct azblob_writer *w, struct tm_err *err)
{
    int r = block_send(w, &w->blocks[w->filling], err);
    if (r < 0)
        return r;
    w->filling = (w->filling + 1) % AZBLOB_IN_FLIGHT;
    return block_wait(w, &w->blocks[w->filling], err);
}

static int azblob_write(struct storage_writer *base, const void *data, size_t len,
                        struct tm_err *err)
{
    struct azblob_writer *w = writer_of(base);
    const uint8_t *bytes = data;
    if (w->failed < 0) {
        *err = w->why;
        return w->failed;
    }
    while (len > 0) {
        struct block *b = &w->blocks[w->filling];
        if (b->len == AZBLOB_BLOCK_BYTES) {
            int r = next_block(w, err);
            if (r < 0)
                return r;
            b = &w->blocks[w->filling];
        }
        if (b->data == NULL && (b->data = malloc(AZBLOB_BLOCK_BYTES)) == NULL)
            return fail(w, tm_err_oom(err), err);
        size_t n = TM_MIN(len, AZBLOB_BLOCK_BYTES - b->len);
        memcpy(b->data + b->len, bytes, n);
        b->len += n;
        bytes += n;
        len -= n;
        w->written += n;
    }
    return 0;
}

/* Sends what is left, and waits for all. */
static int finish_blocks(struct azblob_writer *w, struct tm_err *err)
{
    struct block *last = &w->blocks[w->filling];
    int r = !last->under_way && last->len > 0 ? block_send(w, last, err) : 0;
    for (size_t n = 0; r == 0 && n < AZBLOB_IN_FLIGHT; n++)
        r = block_wait(w, &w->blocks[n], err);
    return r;
}

static int azblob_seal(struct storage_writer *base, struct tm_err *err)
{
    struct azblob_writer *w = writer_of(base);
    if (w->failed < 0) {
        *err = w->why;
        return w->failed;
    }
    return w->started > 0 || w->written >= AZBLOB_SEAL_BYTES ? finish_blocks(w, err) : 0;
}

/* ---- commit ---- */

static int append_list(const struct azblob_writer *w, struct buf *out, struct tm_err *err)
{
    int r = buf_printf(out, err, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for (unsigned n = 0; r == 0 && n < w->started; n++) {
        char id[ID_MAX];
        block_id(w, n, id);
        r = buf_printf(out, err, "<Uncommitted>%s</Uncommitted>", id);
    }
    return r == 0 ? buf_printf(out, err, "</BlockList>") : r;
}

/* The service will not make the object, or has made it already: which, tells the object itself. */
static int look_who_was_first(struct azblob_writer *w, struct azblob_call *c, struct tm_err *err)
{
    struct azblob_head head = {.found = false};
    int r = azblob_head(w->az, w->key, &head, err);
    if (r < 0)
        return r;
    if (!head.found) { /* gone again, or there was another reason: it may be begun anew */
        (void)azblob_call_error(c, err);
        err->code = TM_E_UNAVAILABLE;
        err->retryable = true;
        return -TM_E_UNAVAILABLE;
    }
    if (strcmp(head.nonce, w->nonce) != 0)
        return tm_err_set(err, TM_E_EXISTS, "it already exists");
    if (head.size_bytes != w->written ||
        (c->whole && head.md5[0] != '\0' && strcmp(head.md5, c->md5) != 0))
        return tm_err_set(err, TM_E_CORRUPT, "the stored object has not the bytes that were sent");
    return 0;
}

static int make_object(struct azblob_writer *w, struct tm_err *err)
{
    static const uint8_t none[1];
    TM_CLEANUP(buf_release) struct buf list = BUF_INIT;
    struct azblob_call c;
    azblob_call_init(&c, w->az, "PUT", w->key);
    c.nonce = w->nonce;
    c.whole = w->started == 0;
    c.call.wanted[0] = 409;
    c.call.wanted[1] = 412;
    struct block *only = &w->blocks[w->filling];
    int r = 0;
    if (!c.whole)
        r = azblob_call_query(&c, "comp", "blocklist", err);
    if (r == 0 && !c.whole)
        r = append_list(w, &list, err);
    if (r == 0)
        r = c.whole
                ? azblob_call_body(&c, slice_of(only->data != NULL ? only->data : none, only->len),
                                   "application/octet-stream", err)
                : azblob_call_body(&c, buf_slice(&list), "application/xml", err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    bool refused = r == 0 && c.call.x.status >= 300;
    if (refused || (r < 0 && strcmp(c.call.error.code, "InvalidBlockList") == 0))
        r = look_who_was_first(w, &c, err);
    azblob_call_release(&c);
    return r;
}

static int azblob_commit(struct storage_writer *base, struct tm_err *err)
{
    struct azblob_writer *w = writer_of(base);
    if (w->failed < 0) {
        *err = w->why;
        return w->failed;
    }
    int r = w->started > 0 ? finish_blocks(w, err) : 0;
    if (r < 0)
        return r;
    r = make_object(w, err);
    if (r < 0) {
        char shown[AZBLOB_KEY_MAX + 420];
        (void)snprintf(shown, sizeof(shown), "%s/%s", w->az->store.place, w->key);
        (void)tm_err_prefix(err, STORAGE_ERROR_COMMIT, err->code == TM_E_EXISTS ? shown : w->name);
    }
    return r;
}

/* Blocks that were sent are seen by nobody, and dropped by the service. */
static void azblob_writer_free(struct storage_writer *base)
{
    struct azblob_writer *w = writer_of(base);
    for (size_t n = 0; n < AZBLOB_IN_FLIGHT; n++) {
        struct block *b = &w->blocks[n];
        if (b->under_way) {
            store_call_cancel(&b->call.call);
            azblob_call_release(&b->call);
        }
        free(b->data);
    }
    free(w);
}

static const struct storage_writer_ops writer_ops = {
    .write = azblob_write,
    .commit = azblob_commit,
    .seal = azblob_seal,
    .free = azblob_writer_free,
};

int azblob_create(struct storage *st, const char *name, struct storage_writer **ret,
                  struct tm_err *err)
{
    TM_CLEANUP(freep) struct azblob_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tm_err_oom(err);
    int r = random_bytes(w->number, sizeof(w->number), err);
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_CREATE, name);
    w->base.ops = &writer_ops;
    w->az = azblob_of(st);
    (void)hex_encode(w->number, sizeof(w->number), w->nonce);
    (void)snprintf(w->name, sizeof(w->name), "%s", name);
    azblob_key(w->az, name, w->key);
    *ret = &TM_TAKE(w)->base;
    return 0;
}
