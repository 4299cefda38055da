/*
 * Writing objects.
 *
 * Happy path, small: the bytes are gathered, commit sends them in one PUT. Large: when the first part
 * is full an upload is begun; each full part is sent while the next is filled, S3_PARTS_IN_FLIGHT at
 * once; commit (or seal before it) waits for all, commit completes the upload.
 *
 * Failures: a part that fails for good fails the writer, now and at every later call. An upload not
 * completed is aborted when the writer is freed. Where the answer to the last request was lost, or
 * says that the object exists although only we can have made it, the object itself is asked: it
 * carries the writer's nonce.
 */
#include "common/clock.h"
#include "common/hash.h"
#include "common/storage/s3/internal.h"
#include "common/xml.h"

#define SLOTS        (S3_PARTS_IN_FLIGHT + 1) /* one is being filled */
#define GROW_AT_ONCE ((size_t)1 << 20)        /* a buffer that passes this gets all its memory */
#define PROBE_MAX    ((size_t)64 << 10) /* objects that may be sent twice to learn something */

struct part {
    struct buf data;
    struct s3_call call;
    bool busy; /* call is started */
    unsigned number;
};

struct s3_writer {
    struct storage_writer base;
    struct s3 *s3;
    char name[STORAGE_NAME_MAX + 1];
    char key[S3_KEY_MAX + 1];
    char nonce[2 * S3_NONCE_BYTES + 1];
    char upload_id[S3_UPLOAD_ID_MAX + 1]; /* "" = no upload is begun */
    uint64_t size_bytes;
    unsigned part_count; /* sent or being sent */
    size_t filling;      /* index of the slot that takes bytes; the one behind it is the oldest */
    struct part slots[SLOTS];
    struct buf complete; /* the body of CompleteMultipartUpload, as far as it goes */
    bool completed;      /* there is nothing to abort any more */
    int failed;          /* 0, or what every call from now on returns, with: */
    struct tm_err why;
};

/* Bytes are missing from now on: whatever the caller does next, this is what it is told. */
static int fail(struct s3_writer *w, const struct tm_err *err)
{
    w->failed = -(int)err->code;
    w->why = *err;
    return w->failed;
}

static int failed_before(const struct s3_writer *w, struct tm_err *err)
{
    if (w->failed < 0)
        *err = w->why;
    return w->failed;
}

/* ---- parts ---- */

static int on_upload_end(const char *path, const char *text, void *arg, struct tm_err *err)
{
    char *id = arg;
    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0)
        return 0;
    if (strlen(text) > S3_UPLOAD_ID_MAX)
        return tm_err_set(err, TM_E_CORRUPT, "the upload's id is too long");
    (void)snprintf(id, S3_UPLOAD_ID_MAX + 1, "%s", text);
    return 0;
}

static int begin_upload(struct s3_writer *w, struct tm_err *err)
{
    struct s3_call c;
    s3_call_init(&c, w->s3, "POST", w->key);
    c.creates = true;
    c.nonce = w->nonce;
    int r = s3_call_query(&c, "uploads", "", err);
    if (r == 0)
        r = store_call_run(&c.call, err);
    struct tm_err ignored; /* one that will not be encrypted is there all the same, to be aborted */
    if (r < 0 && strcmp(c.call.error.code, S3_CODE_NOT_ENCRYPTED) == 0)
        (void)!xml_read(buf_slice(&c.call.x.answer), on_upload_end, w->upload_id, &ignored);
    if (r == 0)
        r = xml_read(buf_slice(&c.call.x.answer), on_upload_end, w->upload_id, err);
    if (r == 0 && w->upload_id[0] == '\0')
        r = tm_err_set(err, TM_E_CORRUPT, "%s: the answer names no upload", w->s3->store.place);
    s3_call_release(&c);
    return r == 0 ? buf_printf(&w->complete, err, "<CompleteMultipartUpload>") : r;
}

/* Somebody took it for a leftover. Nothing is known against the object: it may be begun anew. */
static void upload_is_gone(struct tm_err *err)
{
    err->code = TM_E_UNAVAILABLE;
    err->retryable = true;
}

/* Waits for a part; its ETag goes into the list of parts, its buffer may be filled again. */
static int finish_part(struct s3_writer *w, struct part *part, struct tm_err *err)
{
    int r = store_call_wait_late(&part->call.call, err); /* the source may have been slow */
    if (r < 0 && err->code == TM_E_NOT_FOUND)
        upload_is_gone(err);
    char etag[80];
    if (r == 0 && !s3_etag(&part->call.call.x, etag, sizeof(etag)))
        r = tm_err_set(err, TM_E_CORRUPT, "%s: the store gave no ETag", w->s3->store.place);
    if (r == 0)
        r = buf_printf(&w->complete, err, "<Part><PartNumber>%u</PartNumber><ETag>", part->number);
    if (r == 0)
        r = s3_escape(&w->complete, etag, err);
    if (r == 0)
        r = buf_printf(&w->complete, err, "</ETag></Part>");
    s3_call_release(&part->call);
    part->busy = false;
    part->data.len = 0;
    return r < 0 ? -(int)err->code : 0;
}

static int start_part(struct s3_writer *w, struct part *part, struct tm_err *err)
{
    char number[16];
    part->number = w->part_count + 1;
    (void)snprintf(number, sizeof(number), "%u", part->number);
    struct s3_call *c = &part->call;
    s3_call_init(c, w->s3, "PUT", w->key);
    c->answer = S3_ANSWER_ETAG;
    int r = s3_call_query(c, "partNumber", number, err);
    if (r == 0)
        r = s3_call_query(c, "uploadId", w->upload_id, err);
    if (r == 0)
        r = s3_call_body(c, buf_slice(&part->data), true, err);
    if (r == 0)
        r = store_call_start(&c->call, err);
    if (r < 0) {
        s3_call_release(c);
        return r;
    }
    part->busy = true;
    w->part_count++;
    return 0;
}

/* The slot that was filled is sent, and the next made ready. */
static int send_filled(struct s3_writer *w, struct tm_err *err)
{
    if (w->part_count == S3_PARTS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d parts of %zu bytes", S3_PARTS_MAX,
                          S3_PART_BYTES);
    int r = w->upload_id[0] == '\0' ? begin_upload(w, err) : 0;
    if (r == 0)
        r = start_part(w, &w->slots[w->filling], err);
    if (r < 0)
        return r;
    w->filling = (w->filling + 1) % SLOTS;
    struct part *next = &w->slots[w->filling];
    return next->busy ? finish_part(w, next, err) : 0;
}

static int finish_parts(struct s3_writer *w, struct tm_err *err)
{
    int r = w->slots[w->filling].data.len > 0 ? send_filled(w, err) : 0;
    for (size_t n = 1; r == 0 && n < SLOTS; n++) {
        struct part *part = &w->slots[(w->filling + n) % SLOTS];
        if (part->busy)
            r = finish_part(w, part, err);
    }
    return r;
}

static int append(struct buf *data, const void *bytes, size_t len, struct tm_err *err)
{
    if (data->len + len > GROW_AT_ONCE && data->cap < S3_PART_BYTES) {
        int r = buf_reserve(data, S3_PART_BYTES - data->len, err);
        if (r < 0)
            return r;
    }
    return buf_append(data, bytes, len, err);
}

static int s3_write(struct storage_writer *base, const void *data, size_t len, struct tm_err *err)
{
    struct s3_writer *w = (struct s3_writer *)base;
    const uint8_t *bytes = data;
    if (w->failed < 0)
        return failed_before(w, err);
    while (len > 0) {
        int r = 0;
        if (w->slots[w->filling].data.len == S3_PART_BYTES)
            r = send_filled(w, err);
        struct buf *to = &w->slots[w->filling].data;
        size_t n = TM_MIN(len, S3_PART_BYTES - to->len);
        if (r == 0)
            r = append(to, bytes, n, err);
        if (r < 0) {
            (void)tm_err_prefix(err, STORAGE_ERROR_WRITE, w->name);
            return fail(w, err);
        }
        bytes += n;
        len -= n;
        w->size_bytes += n;
    }
    return 0;
}

/* What is small enough to be committed in no time stays one request. */
static int s3_seal(struct storage_writer *base, struct tm_err *err)
{
    struct s3_writer *w = (struct s3_writer *)base;
    if (w->failed < 0)
        return failed_before(w, err);
    if (w->upload_id[0] == '\0' && w->slots[w->filling].data.len < S3_SEAL_PART_BYTES)
        return 0;
    if (finish_parts(w, err) < 0) {
        (void)tm_err_prefix(err, STORAGE_ERROR_WRITE, w->name);
        return fail(w, err);
    }
    return 0;
}

/* ---- commit ---- */

static int exists(const struct s3_writer *w, struct tm_err *err)
{
    return tm_err_set(err, TM_E_EXISTS, "%s/%s: it already exists", w->s3->store.place, w->key);
}

static int refuse_existing(struct s3_writer *w, struct tm_err *err)
{
    struct s3_head head = {.found = false};
    int r = s3_head(w->s3, w->key, &head, err);
    return r == 0 && head.found ? exists(w, err) : r;
}

/* The request may have had its effect or not, or had it twice (curl sends again by itself on a kept
 * connection that is dead): the object tells, by its nonce. `md5` of the bytes when they were sent in
 * one piece, else "". *said is what it comes to when there is no object. */
static int settle(struct s3_writer *w, const char *md5, const struct tm_err *said,
                  struct tm_err *err)
{
    struct s3_head head = {.found = false};
    int r = s3_head(w->s3, w->key, &head, err);
    if (r < 0)
        return r;
    if (!head.found) {
        *err = *said;
        return -(int)err->code;
    }
    if (strcmp(head.nonce, w->nonce) != 0)
        return exists(w, err);
    if (head.size_bytes == w->size_bytes &&
        (md5[0] == '\0' || head.md5[0] == '\0' || strcasecmp(md5, head.md5) == 0))
        return 0;
    /* ours, and not what was sent: nobody can have relied on it yet */
    r = s3_remove_key(w->s3, w->key, err);
    if (r < 0)
        return tm_err_prefix(err, "what the store keeps is not what was sent");
    return tm_err_retry(err, TM_E_CORRUPT, "%s/%s: what the store kept was not what was sent",
                        w->s3->store.place, w->key);
}

/* What is stored in the clear, against what was asked for, must not stay: nobody relies on it yet. */
static int take_back(struct s3_writer *w, struct tm_err *err)
{
    struct s3_head head = {.found = false};
    struct tm_err why;
    int r = s3_head(w->s3, w->key, &head, &why);
    if (r == 0 && head.found && strcmp(head.nonce, w->nonce) == 0)
        r = s3_remove_key(w->s3, w->key, &why);
    if (r < 0)
        return tm_err_prefix(err, "the object is still there (%.100s)", why.msg);
    return -(int)err->code;
}

/* What a status that was wanted, or a failure, of the last request comes to. `again`: without the
 * condition, which this store does not have. */
static int judge(struct s3_writer *w, struct s3_call *c, int sent, bool *again, struct tm_err *err)
{
    unsigned status = c->call.x.status;
    const char *code = c->call.error.code;
    *again = false;
    if (sent == 0 && status == 501) {
        *again = true;
        return 0;
    }
    bool taken = status == 412 || (status == 409 && strcmp(code, "FileAlreadyExists") == 0);
    bool upload_gone = status == 404 && strcmp(code, "NoSuchUpload") == 0;
    bool doubtful = sent < 0 && strcmp(code, "WrongETag") == 0;
    if (sent < 0 && strcmp(code, S3_CODE_NOT_ENCRYPTED) == 0)
        return take_back(w, err);
    if (upload_gone)
        upload_is_gone(err);
    else if (sent < 0 && err->code == TM_E_EXISTS) /* a 409: no word on whether it exists */
        err->code = err->retryable ? TM_E_UNAVAILABLE : TM_E_CONFLICT;
    if (!taken && !upload_gone && !doubtful)
        return sent < 0 ? -(int)err->code : 0;
    struct tm_err said;
    if (taken)
        (void)tm_err_retry(&said, TM_E_UNAVAILABLE,
                           "%s/%s: the store said it exists, and then that it does not",
                           w->s3->store.place, w->key);
    else
        said = *err;
    return settle(w, c->answer == S3_ANSWER_ETAG ? c->md5 : "", &said, err);
}

/* A PUT, or the completion of an upload; *ret_unconditional: the store refused the condition. */
static int send_last(struct s3_writer *w, struct slice body, bool *ret_unconditional,
                     struct tm_err *err)
{
    bool upload = w->upload_id[0] != '\0';
    bool again = false;
    struct s3_call c;
    s3_call_init(&c, w->s3, upload ? "POST" : "PUT", w->key);
    c.answer = upload ? S3_ANSWER_COMPLETE : S3_ANSWER_ETAG;
    c.creates = !upload;
    c.nonce = w->nonce;
    c.only_new = !*ret_unconditional;
    c.call.wanted[0] = 412;
    c.call.wanted[1] = c.only_new ? 501 : 0;
    int r = upload ? s3_call_query(&c, "uploadId", w->upload_id, err) : 0;
    if (r == 0)
        r = s3_call_body(&c, body, !upload, err);
    if (r == 0)
        r = judge(w, &c, store_call_run(&c.call, err), &again, err);
    s3_call_release(&c);
    *ret_unconditional = *ret_unconditional || again;
    return r;
}

/* The same object once more, now that it is there: whether the store refuses is what we want to know.
 * One that does not has replaced it by itself. No answer: another object will tell. */
static void probe(struct s3_writer *w)
{
    struct tm_err ignored;
    struct s3_call c;
    s3_call_init(&c, w->s3, "PUT", w->key);
    c.answer = S3_ANSWER_ETAG;
    c.creates = true;
    c.nonce = w->nonce;
    c.only_new = true;
    c.call.wanted[0] = 412;
    int r = s3_call_body(&c, buf_slice(&w->slots[w->filling].data), true, &ignored);
    if (r == 0)
        r = store_call_run(&c.call, &ignored);
    if (r == 0)
        w->s3->bucket->put = c.call.x.status == 412 ? S3_CONDITIONAL_YES : S3_CONDITIONAL_NO;
    s3_call_release(&c);
}

/* Refuses by itself what the store cannot be relied on to refuse. */
static int send_fenced(struct s3_writer *w, struct slice body, struct tm_err *err)
{
    bool upload = w->upload_id[0] != '\0';
    int known = w->s3->bucket->put;
    bool fenced = known == S3_CONDITIONAL_YES && (!upload || w->s3->config.provider->complete);
    bool unconditional = false;
    int r = fenced ? 0 : refuse_existing(w, err);
    if (r == 0)
        r = send_last(w, body, &unconditional, err);
    w->base.settled = r == 0 && fenced && !unconditional;
    if (r < 0 || (!unconditional && (upload || known != S3_CONDITIONAL_UNKNOWN)))
        return r;
    if (!unconditional) {
        if (body.len <= PROBE_MAX)
            probe(w);
        return 0;
    }
    if (fenced) /* so far nobody has asked */
        r = refuse_existing(w, err);
    if (r == 0)
        r = send_last(w, body, &unconditional, err);
    if (r == 0 && !upload) /* now it is sure that the condition was what it did not know */
        w->s3->bucket->put = S3_CONDITIONAL_NO;
    return r;
}

static int s3_commit(struct storage_writer *base, struct tm_err *err)
{
    struct s3_writer *w = (struct s3_writer *)base;
    if (w->failed < 0)
        return failed_before(w, err);
    bool upload = w->upload_id[0] != '\0';
    int r = upload ? finish_parts(w, err) : 0;
    if (r < 0) {
        (void)tm_err_prefix(err, STORAGE_ERROR_COMMIT, w->name);
        return fail(w, err);
    }
    if (r == 0 && upload)
        r = buf_printf(&w->complete, err, "</CompleteMultipartUpload>");
    if (r == 0)
        r = send_fenced(w, buf_slice(upload ? &w->complete : &w->slots[w->filling].data), err);
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_COMMIT, w->name);
    w->completed = true;
    return 0;
}

/* ---- making and ending ---- */

static void writer_free(struct storage_writer *base)
{
    struct s3_writer *w = (struct s3_writer *)base;
    for (size_t n = 0; n < SLOTS; n++) {
        struct part *part = &w->slots[n];
        if (part->busy) {
            store_call_cancel(&part->call.call);
            s3_call_release(&part->call);
        }
        buf_release(&part->data);
    }
    struct tm_err ignored; /* what is left over is swept some day, nobody waits for it here */
    if (w->upload_id[0] != '\0' && !w->completed)
        (void)!s3_abort_upload(w->s3, w->key, w->upload_id, 1, &ignored);
    buf_release(&w->complete);
    free(w);
}

static const struct storage_writer_ops writer_ops = {
    .write = s3_write, .commit = s3_commit, .seal = s3_seal, .free = writer_free};

int s3_create(struct storage *st, const char *name, struct storage_writer **ret, struct tm_err *err)
{
    struct s3 *s3 = s3_of(st);
    uint8_t nonce[S3_NONCE_BYTES];
    int r = random_bytes(nonce, sizeof(nonce), err);
    if (r < 0)
        return tm_err_prefix(err, STORAGE_ERROR_CREATE, name);
    struct s3_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tm_err_oom(err);
    w->base.ops = &writer_ops;
    w->s3 = s3;
    (void)snprintf(w->name, sizeof(w->name), "%s", name);
    s3_key(s3, name, w->key, sizeof(w->key));
    (void)hex_encode(nonce, sizeof(nonce), w->nonce);
    *ret = &w->base;
    return 0;
}
