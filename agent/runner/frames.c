/* Frames: the tables, the union around them, and how they are cut from a stream. */
#include "agent/runner/frames.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

CODEC_DEFINE(frame_job, "job", FRAME_JOB_FIELDS);
CODEC_DEFINE(frame_begin, "begin", FRAME_BEGIN_FIELDS);
CODEC_DEFINE(frame_ranges, "ranges", FRAME_RANGES_FIELDS);
CODEC_DEFINE(frame_cancel, "cancel", FRAME_CANCEL_FIELDS);
CODEC_DEFINE(frame_finish, "finish", FRAME_FINISH_FIELDS);
CODEC_DEFINE(frame_results, "results", FRAME_RESULTS_FIELDS);
CODEC_DEFINE(frame_sweep, "sweep", FRAME_SWEEP_FIELDS);
CODEC_DEFINE(frame_stop, "stop", FRAME_STOP_FIELDS);
CODEC_DEFINE(frame_ready, "ready", FRAME_READY_FIELDS);
CODEC_DEFINE(frame_plan_batch, "plan_batch", FRAME_PLAN_BATCH_FIELDS);
CODEC_DEFINE(frame_range_done, "range_done", FRAME_RANGE_DONE_FIELDS);
CODEC_DEFINE(frame_range_failed, "range_failed", FRAME_RANGE_FAILED_FIELDS);
CODEC_DEFINE(frame_need, "need", FRAME_NEED_FIELDS);
CODEC_DEFINE(frame_want_results, "want_results", FRAME_WANT_RESULTS_FIELDS);
CODEC_DEFINE(frame_log_durable, "log_durable", FRAME_LOG_DURABLE_FIELDS);
CODEC_DEFINE(frame_progress, "progress", FRAME_PROGRESS_FIELDS);
CODEC_DEFINE(frame_committed, "committed", FRAME_COMMITTED_FIELDS);
CODEC_DEFINE(frame_swept, "swept", FRAME_SWEPT_FIELDS);
CODEC_DEFINE(frame_restored, "restored", FRAME_RESTORED_FIELDS);
CODEC_DEFINE(frame_warning, "warning", FRAME_WARNING_FIELDS);
CODEC_DEFINE(frame_failed, "failed", FRAME_FAILED_FIELDS);
CODEC_DEFINE(frame_log_want, "log_want", FRAME_LOG_WANT_FIELDS);
CODEC_DEFINE(frame_log_status, "log_status", FRAME_LOG_STATUS_FIELDS);
CODEC_DEFINE(frame_log_answer, "log_answer", FRAME_LOG_ANSWER_FIELDS);
CODEC_DEFINE(frame_probed, "probed", FRAME_PROBED_FIELDS);
CODEC_DEFINE(frame_found, "found", FRAME_FOUND_FIELDS);
CODEC_DEFINE(frame_stored, "stored", FRAME_STORED_FIELDS);
CODEC_DEFINE(frame_want_accepted, "want_accepted", FRAME_WANT_ACCEPTED_FIELDS);
CODEC_DEFINE(frame_accepted, "accepted", FRAME_ACCEPTED_FIELDS);
CODEC_DEFINE(frame_trouble, "trouble", FRAME_TROUBLE_FIELDS);

#define LENGTH_BYTES 4
#define READ_BYTES   (64 * 1024)
#define STREAM_MAX   (2 * FRAME_MAX_BYTES)

/* Type first, so that the body's table is known; one envelope table a type as in wire/messages.c.
 */
struct frame_head {
    uint32_t type;
    void *body;
};

#define HEAD_OF(which, number)                                                                     \
    static const struct codec_field head_##which##_fields[] = {                                    \
        {.key = "t",                                                                               \
         .name = "type",                                                                           \
         .kind = CODEC_u32,                                                                        \
         .required = true,                                                                         \
         .max = 255,                                                                               \
         .offset = offsetof(struct frame_head, type)},                                             \
        {.key = "m",                                                                               \
         .name = "",                                                                               \
         .kind = CODEC_msg,                                                                        \
         .required = true,                                                                         \
         .sub = &frame_##which##_codec,                                                            \
         .offset = offsetof(struct frame_head, body)},                                             \
    };                                                                                             \
    static const struct codec_table head_##which##_table = {                                       \
        .name = "frame " #which,                                                                   \
        .size = sizeof(struct frame_head),                                                         \
        .fields = head_##which##_fields,                                                           \
        .field_count = TM_ARRAY_LEN(head_##which##_fields),                                        \
    };
FRAME_MAP(HEAD_OF)

static const struct codec_field type_fields[] = {
    {.key = "t",
     .name = "type",
     .kind = CODEC_u32,
     .required = true,
     .max = 255,
     .offset = offsetof(struct frame_head, type)},
};
static const struct codec_table type_table = {
    .name = "frame", .size = sizeof(struct frame_head), .fields = type_fields, .field_count = 1};

struct type_row {
    const char *name;
    const struct codec_table *head;
    const struct codec_table *body;
};

static const struct type_row types[] = {
#define TYPE_ROW(which, number) [number] = {#which, &head_##which##_table, &frame_##which##_codec},
    FRAME_MAP(TYPE_ROW)
#undef TYPE_ROW
};

static const struct type_row *type_find(unsigned type)
{
    return type < TM_ARRAY_LEN(types) && types[type].name != NULL ? &types[type] : NULL;
}

const char *frame_name(unsigned type)
{
    const struct type_row *row = type_find(type);
    return row != NULL ? row->name : "unknown";
}

static void *frame_body(struct frame *f)
{
    return &f->job;
}

int frame_encode(const struct frame *f, struct buf *out, struct tm_err *err)
{
    const struct type_row *row = type_find(f->type);
    if (row == NULL)
        return tm_err_set(err, TM_E_INVALID, "frame: type %u is not known", (unsigned)f->type);
    struct frame *view = (struct frame *)(uintptr_t)f; /* read only by the encoder */
    struct frame_head head = {.type = f->type, .body = frame_body(view)};
    size_t before = out->len;
    int r = buf_append(out, (const uint8_t[LENGTH_BYTES]){0}, LENGTH_BYTES, err);
    if (r == 0)
        r = codec_encode(row->head, &head, CODEC_MINOR_ALL, out, err);
    size_t len = out->len - before - LENGTH_BYTES;
    if (r == 0 && len > FRAME_MAX_BYTES)
        r = tm_err_set(err, TM_E_LIMIT, "frame %s: %zu bytes, more than a frame may have (%zu)",
                       row->name, len, FRAME_MAX_BYTES);
    if (r < 0)
        out->len = before;
    else
        be32_put(out->data + before, (uint32_t)len);
    return r;
}

int frame_decode(struct slice in, struct frame *ret, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct frame_head head;
    int r = codec_decode(&type_table, in, &arena, &head, err);
    if (r < 0)
        return r;
    const struct type_row *row = type_find(head.type);
    if (row == NULL)
        return tm_err_set(err, TM_E_UNSUPPORTED, "frame: type %u is not known", head.type);
    arena.wipe = head.type == FRAME_job || head.type == FRAME_log_want;
    r = codec_decode(row->head, in, &arena, &head, err);
    if (r < 0)
        return r;
    *ret = (struct frame){.type = (enum frame_type)head.type};
    memcpy(frame_body(ret), head.body, row->body->size);
    ret->arena = arena;
    arena = (struct codec_arena){0};
    return 0;
}

void frame_release(struct frame *f)
{
    codec_arena_release(&f->arena);
    *f = (struct frame){0};
}

int frame_next(struct buf *in, struct frame *ret, struct tm_err *err)
{
    if (in->len < LENGTH_BYTES)
        return 0;
    size_t len = be32_get(in->data);
    if (len > FRAME_MAX_BYTES)
        return tm_err_set(err, TM_E_INVALID, "frame: %zu bytes, more than a frame may have (%zu)",
                          len, FRAME_MAX_BYTES);
    if (in->len - LENGTH_BYTES < len)
        return 0;
    int r = frame_decode(slice_of(in->data + LENGTH_BYTES, len), ret, err);
    if (r < 0)
        return r;
    in->len -= LENGTH_BYTES + len;
    memmove(in->data, in->data + LENGTH_BYTES + len, in->len);
    return 1;
}

int frame_send(int fd, const struct frame *f, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    int r = frame_encode(f, &out, err);
    if (r < 0)
        return r;
    for (size_t sent = 0; sent < out.len;) {
        ssize_t n = send(fd, out.data + sent, out.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot send frame %s", frame_name(f->type));
        sent += (size_t)n;
    }
    return 0;
}

int frame_recv(int fd, struct buf *in, struct frame *ret, struct tm_err *err)
{
    for (;;) {
        int r = frame_next(in, ret, err);
        if (r != 0)
            return r;
        if (in->len > STREAM_MAX)
            return tm_err_set(err, TM_E_LIMIT, "frame: more than %zu bytes wait", STREAM_MAX);
        r = buf_reserve(in, READ_BYTES, err);
        if (r < 0)
            return r;
        ssize_t n = recv(fd, in->data + in->len, READ_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot receive a frame");
        if (n == 0)
            return in->len == 0
                       ? 0
                       : tm_err_set(err, TM_E_CORRUPT, "the other end closed inside a frame");
        in->len += (size_t)n;
    }
}
