/*
 * Arbitrary bytes as a request, or as a reply, on the control socket: refused with a reason, or a
 * record that is written again as the same bytes that a fresh encoding of it has.
 */
#include "proto/wire/control.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct codec_table *table, void *record, struct slice in)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    TM_CLEANUP(codec_arena_release) struct codec_arena again_arena = {0};
    TM_CLEANUP(buf_release) struct buf once = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf twice = BUF_INIT;
    struct tm_err err = {0};
    if (codec_decode(table, in, &arena, record, &err) < 0) {
        if (err.code == TM_E_OK || err.msg[0] == '\0')
            abort();
        return;
    }
    if (codec_encode(table, record, CODEC_MINOR_ALL, &once, &err) < 0 ||
        codec_decode(table, buf_slice(&once), &again_arena, record, &err) < 0 ||
        codec_encode(table, record, CODEC_MINOR_ALL, &twice, &err) < 0 ||
        !slice_eq(buf_slice(&once), buf_slice(&twice)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_request request;
    struct control_reply reply;
    check(&control_request_codec, &request, slice_of(data, size));
    check(&control_reply_codec, &reply, slice_of(data, size));
    return 0;
}
