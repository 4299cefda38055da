/* The tables of the messages, and the envelope around them. */
#include "proto/wire/messages.h"

#include <stdio.h>

CODEC_DEFINE(msg_error, "error", MSG_ERROR_FIELDS);
CODEC_DEFINE(msg_instance, "instance", MSG_INSTANCE_FIELDS);
CODEC_DEFINE(msg_hold, "hold", MSG_HOLD_FIELDS);
CODEC_DEFINE(msg_lease, "lease", MSG_LEASE_FIELDS);
CODEC_DEFINE(msg_counters, "counters", MSG_COUNTERS_FIELDS);
CODEC_DEFINE(msg_problem, "problem", MSG_PROBLEM_FIELDS);
CODEC_DEFINE(msg_result, "result", MSG_RESULT_FIELDS);
CODEC_DEFINE(msg_restore_plan, "restore plan", MSG_RESTORE_PLAN_FIELDS);
CODEC_DEFINE(msg_totals, "totals", MSG_TOTALS_FIELDS);
CODEC_DEFINE(msg_storage_stats, "storage", MSG_STORAGE_STATS_FIELDS);
CODEC_DEFINE(msg_pair, "pair", MSG_PAIR_FIELDS);
CODEC_DEFINE(msg_secret, "secret", MSG_SECRET_FIELDS);
CODEC_DEFINE(msg_intent, "intent", MSG_INTENT_FIELDS);
CODEC_DEFINE(msg_read, "read", MSG_READ_FIELDS);
CODEC_DEFINE(msg_stored, "stored", MSG_STORED_FIELDS);
CODEC_DEFINE(msg_page, "page", MSG_PAGE_FIELDS);
CODEC_DEFINE(msg_probe_step, "probe_step", MSG_PROBE_STEP_FIELDS);
CODEC_DEFINE(msg_probe, "probe", MSG_PROBE_FIELDS);
CODEC_DEFINE(msg_probe_answer, "probe_answer", MSG_PROBE_ANSWER_FIELDS);
CODEC_DEFINE(msg_interval, "interval", MSG_INTERVAL_FIELDS);
CODEC_DEFINE(msg_log_status, "log_status", MSG_LOG_STATUS_FIELDS);
CODEC_DEFINE(msg_log_query, "log_query", MSG_LOG_QUERY_FIELDS);
CODEC_DEFINE(msg_log_event, "log_event", MSG_LOG_EVENT_FIELDS);
CODEC_DEFINE(msg_log_answer, "log_answer", MSG_LOG_ANSWER_FIELDS);
CODEC_DEFINE(msg_log_place, "log_place", MSG_LOG_PLACE_FIELDS);
CODEC_DEFINE(msg_log_params, "log_params", MSG_LOG_PARAMS_FIELDS);
CODEC_DEFINE(msg_job, "job", MSG_JOB_FIELDS);
CODEC_DEFINE(msg_heartbeat, "heartbeat", MSG_HEARTBEAT_FIELDS);
CODEC_DEFINE(msg_poll, "poll", MSG_POLL_FIELDS);
CODEC_DEFINE(msg_backup_params, "backup_params", MSG_BACKUP_PARAMS_FIELDS);
CODEC_DEFINE(msg_restore_params, "restore_params", MSG_RESTORE_PARAMS_FIELDS);
CODEC_DEFINE(msg_assignment, "assignment", MSG_ASSIGNMENT_FIELDS);
CODEC_DEFINE(msg_desired, "desired", MSG_DESIRED_FIELDS);
CODEC_DEFINE(msg_plan_range, "plan_range", MSG_PLAN_RANGE_FIELDS);
CODEC_DEFINE(msg_plan_ranges, "plan_ranges", MSG_PLAN_RANGES_FIELDS);
CODEC_DEFINE(msg_plan_ack, "plan_ack", MSG_PLAN_ACK_FIELDS);
CODEC_DEFINE(msg_want_ranges, "want_ranges", MSG_WANT_RANGES_FIELDS);
CODEC_DEFINE(msg_ranges, "ranges", MSG_RANGES_FIELDS);
CODEC_DEFINE(msg_ranges_done, "ranges_done", MSG_RANGES_DONE_FIELDS);
CODEC_DEFINE(msg_verdict, "verdict", MSG_VERDICT_FIELDS);
CODEC_DEFINE(msg_verdicts, "verdicts", MSG_VERDICTS_FIELDS);
CODEC_DEFINE(msg_want_results, "want_results", MSG_WANT_RESULTS_FIELDS);
CODEC_DEFINE(msg_results, "results", MSG_RESULTS_FIELDS);
CODEC_DEFINE(msg_hello, "hello", MSG_HELLO_FIELDS);
CODEC_DEFINE(msg_challenge, "challenge", MSG_CHALLENGE_FIELDS);
CODEC_DEFINE(msg_proof, "proof", MSG_PROOF_FIELDS);
CODEC_DEFINE(msg_welcome, "welcome", MSG_WELCOME_FIELDS);

/* The envelope carries the body as a map inside it, decoded by the table the type names. To keep
 * one decoder, there is one envelope table a type, differing in what `m` is. */
#define ENVELOPE_FIELDS(X, T)                                                                      \
    X(T, u32, minor, "v", REQ, 0, 255)                                                             \
    X(T, u32, type, "t", REQ, 0, 255)                                                              \
    X(T, u64, serial, "r", REQ, 0, UINT64_MAX)                                                     \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)
CODEC_DECLARE(envelope, ENVELOPE_FIELDS);
CODEC_DEFINE(envelope, "message", ENVELOPE_FIELDS);

#define ENVELOPE_OF(which, number)                                                                 \
    struct envelope_##which {                                                                      \
        struct envelope head;                                                                      \
        struct msg_##which *body;                                                                  \
    };                                                                                             \
    static const struct codec_field envelope_##which##_fields[] = {                                \
        {.key = "v",                                                                               \
         .name = "minor",                                                                          \
         .kind = CODEC_u32,                                                                        \
         .required = true,                                                                         \
         .max = 255,                                                                               \
         .offset = offsetof(struct envelope, minor)},                                              \
        {.key = "t",                                                                               \
         .name = "type",                                                                           \
         .kind = CODEC_u32,                                                                        \
         .required = true,                                                                         \
         .max = 255,                                                                               \
         .offset = offsetof(struct envelope, type)},                                               \
        {.key = "r",                                                                               \
         .kind = CODEC_u64,                                                                        \
         .required = true,                                                                         \
         .max = UINT64_MAX,                                                                        \
         .offset = offsetof(struct envelope, serial)},                                             \
        {.key = "e",                                                                               \
         .kind = CODEC_u64,                                                                        \
         .required = true,                                                                         \
         .max = UINT64_MAX,                                                                        \
         .offset = offsetof(struct envelope, term)},                                               \
        {.key = "m",                                                                               \
         .name = "",                                                                               \
         .kind = CODEC_msg,                                                                        \
         .required = true,                                                                         \
         .sub = &msg_##which##_codec,                                                              \
         .offset = offsetof(struct envelope_##which, body)},                                       \
    };                                                                                             \
    static const struct codec_table envelope_##which##_table = {                                   \
        .name = #which,                                                                            \
        .size = sizeof(struct envelope_##which),                                                   \
        .fields = envelope_##which##_fields,                                                       \
        .field_count = TM_ARRAY_LEN(envelope_##which##_fields),                                    \
    };
MESSAGE_MAP(ENVELOPE_OF)

/* All bodies lie at the same place behind the head. */
struct any_envelope {
    struct envelope head;
    void *body;
};

struct type_row {
    const char *name;
    const struct codec_table *envelope;
    const struct codec_table *body;
};

static const struct type_row types[] = {
#define TYPE_ROW(name, number) [number] = {#name, &envelope_##name##_table, &msg_##name##_codec},
    MESSAGE_MAP(TYPE_ROW)
#undef TYPE_ROW
};

static const struct type_row *type_find(unsigned type)
{
    return type < TM_ARRAY_LEN(types) && types[type].name != NULL ? &types[type] : NULL;
}

const char *message_name(unsigned type)
{
    const struct type_row *row = type_find(type);
    return row != NULL ? row->name : "unknown";
}

/* Where the body begins: all members of the union start at the same address. */
static void *message_body(struct message *m)
{
    return &m->hello;
}

int message_encode(const struct message *m, uint8_t minor, struct buf *out, struct tm_err *err)
{
    const struct type_row *row = type_find(m->type);
    if (row == NULL)
        return tm_err_set(err, TM_E_INVALID, "message: type %u is not known", (unsigned)m->type);
    struct message *mutable_view = (struct message *)(uintptr_t)m; /* read only by the encoder */
    struct any_envelope envelope = {
        .head = {.minor = MESSAGE_MINOR, .type = m->type, .serial = m->serial, .term = m->term},
        .body = message_body(mutable_view),
    };
    size_t before = out->len;
    int r = codec_encode(row->envelope, &envelope, minor, out, err);
    if (r == 0 && out->len - before > MESSAGE_MAX_BYTES) {
        size_t len = out->len - before;
        out->len = before;
        r = tm_err_set(err, TM_E_LIMIT, "%s: %zu bytes, more than a message may have (%zu)",
                       row->name, len, MESSAGE_MAX_BYTES);
    }
    return r;
}

int message_decode(struct slice in, struct message *ret, uint64_t *ret_serial, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    if (in.len > MESSAGE_MAX_BYTES)
        return tm_err_set(err, TM_E_LIMIT, "message: longer than %zu bytes", MESSAGE_MAX_BYTES);
    struct envelope head;
    int r = codec_decode(&envelope_codec, in, &arena, &head, err);
    if (r < 0)
        return r;
    if (ret_serial != NULL)
        *ret_serial = head.serial;
    const struct type_row *row = type_find(head.type);
    if (row == NULL)
        return tm_err_set(err, TM_E_UNSUPPORTED, "message: type %u is not known", head.type);
    struct any_envelope envelope;
    arena.wipe = head.type == MESSAGE_desired;
    r = codec_decode(row->envelope, in, &arena, &envelope, err);
    if (r < 0)
        return r;
    *ret = (struct message){.type = (enum message_type)head.type,
                            .minor = head.minor,
                            .serial = head.serial,
                            .term = head.term};
    memcpy(message_body(ret), envelope.body, row->body->size);
    ret->arena = arena;
    arena = (struct codec_arena){0};
    return 0;
}

void message_release(struct message *m)
{
    codec_arena_release(&m->arena);
    *m = (struct message){0};
}

int message_copy(const struct message *m, struct message *ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    int r = message_encode(m, CODEC_MINOR_ALL, &bytes, err);
    return r < 0 ? r : message_decode(buf_slice(&bytes), ret, NULL, err);
}

struct msg_error msg_error_of(const struct tm_err *from, const char *stage)
{
    struct msg_error to = {
        .code = (uint32_t)from->code, .text = from->msg, .retryable = from->retryable};
    if (stage != NULL)
        (void)snprintf(to.stage, sizeof(to.stage), "%s", stage);
    return to;
}

void msg_error_to(const struct msg_error *from, struct tm_err *ret)
{
    enum tm_err_code code = tm_err_code_from_wire(from->code);
    const char *text = from->text != NULL ? from->text : "";
    if (from->retryable)
        (void)tm_err_retry(ret, code, "%s", text);
    else
        (void)tm_err_set(ret, code, "%s", text);
}
