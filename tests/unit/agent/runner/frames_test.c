/* Frames: cut from a stream in any pieces, bounds, a real socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>

#include "agent/runner/frames.h"

static void in_pieces(void **state)
{
    (void)state;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct frame need = {.type = FRAME_need};
    need.need.count = 9;
    struct frame ready = {.type = FRAME_ready};
    assert_int_equal(frame_encode(&need, &bytes, &err), 0);
    assert_int_equal(frame_encode(&ready, &bytes, &err), 0);
    TM_CLEANUP(buf_release) struct buf in = BUF_INIT;
    struct frame out;
    size_t got = 0;
    for (size_t at = 0; at < bytes.len; at++) {
        assert_int_equal(buf_append(&in, bytes.data + at, 1, &err), 0);
        int r = frame_next(&in, &out, &err);
        assert_true(r >= 0);
        if (r == 0)
            continue;
        assert_int_equal(out.type, got == 0 ? FRAME_need : FRAME_ready);
        if (got == 0)
            assert_int_equal(out.need.count, 9);
        got++;
        frame_release(&out);
    }
    assert_int_equal(got, 2);
    assert_int_equal(in.len, 0);
}

static void refused(void **state)
{
    (void)state;
    struct tm_err err;
    struct frame out;
    TM_CLEANUP(buf_release) struct buf in = BUF_INIT;
    assert_int_equal(buf_append(&in, "\x00\x10\x00\x01", 4, &err), 0);
    assert_int_equal(frame_next(&in, &out, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "frame: 1048577 bytes, more than a frame may have (1048576)");
    static const char unknown[] = "\x82\xa1t\x63\xa1m\x80";
    assert_int_equal(frame_decode(slice_of(unknown, sizeof(unknown) - 1), &out, &err),
                     -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg, "frame: type 99 is not known");
    static const char missing[] = "\x82\xa1t\x14\xa1m\x80";
    assert_int_equal(frame_decode(slice_of(missing, sizeof(missing) - 1), &out, &err),
                     -TM_E_INVALID);
    assert_string_equal(err.msg, "frame need.count: missing");
}

static void over_a_socket(void **state)
{
    (void)state;
    struct tm_err err;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct frame f = {.type = FRAME_log_durable};
    f.log_durable.byte = UINT64_C(1) << 40;
    assert_int_equal(frame_send(fds[0], &f, &err), 0);
    assert_int_equal(send(fds[0], "\x00\x00", 2, 0), 2);
    closep(&fds[0]);
    TM_CLEANUP(buf_release) struct buf in = BUF_INIT;
    struct frame out;
    assert_int_equal(frame_recv(fds[1], &in, &out, &err), 1);
    assert_true(out.log_durable.byte == UINT64_C(1) << 40);
    frame_release(&out);
    assert_int_equal(frame_recv(fds[1], &in, &out, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "the other end closed inside a frame");
    closep(&fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_pieces),
        cmocka_unit_test(refused),
        cmocka_unit_test(over_a_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
