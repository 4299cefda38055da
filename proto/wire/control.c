/* The control protocol's field tables. The frame's length is written once the record is known. */
#include "proto/wire/control.h"

CODEC_DEFINE(control_request, "request", CONTROL_REQUEST_FIELDS);
CODEC_DEFINE(control_result, "result", CONTROL_RESULT_FIELDS);
CODEC_DEFINE(control_item, "item", CONTROL_ITEM_FIELDS);
CODEC_DEFINE(control_reply, "reply", CONTROL_REPLY_FIELDS);

static const struct {
    uint32_t number;
    const char *text;
    bool changes;
} commands[] = {
#define CONTROL_COMMAND_ROW(name, number, changes) {number, #name, changes},
    CONTROL_COMMAND_MAP(CONTROL_COMMAND_ROW)
#undef CONTROL_COMMAND_ROW
};

const char *control_command_text(uint32_t command)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(commands); n++)
        if (commands[n].number == command)
            return commands[n].text;
    return NULL;
}

bool control_command_changes(uint32_t command)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(commands); n++)
        if (commands[n].number == command)
            return commands[n].changes;
    return true;
}

static int encode_frame(const struct codec_table *table, const void *record, size_t max_bytes,
                        struct buf *out, struct tm_err *err)
{
    size_t start = out->len;
    int r = buf_append(out, "\0\0\0\0", 4, err);
    if (r == 0)
        r = codec_encode(table, record, CODEC_MINOR_ALL, out, err);
    size_t body_bytes = out->len - start - 4;
    if (r == 0 && body_bytes > max_bytes)
        r = tm_err_set(err, TM_E_LIMIT, "%s of %zu bytes is longer than %zu", table->name,
                       body_bytes, max_bytes);
    if (r < 0) {
        out->len = start;
        return r;
    }
    be32_put(out->data + start, (uint32_t)body_bytes);
    return 0;
}

int control_request_encode(const struct control_request *request, struct buf *out,
                           struct tm_err *err)
{
    return encode_frame(&control_request_codec, request, CONTROL_REQUEST_MAX_BYTES, out, err);
}

int control_reply_encode(const struct control_reply *reply, struct buf *out, struct tm_err *err)
{
    return encode_frame(&control_reply_codec, reply, CONTROL_REPLY_MAX_BYTES, out, err);
}
