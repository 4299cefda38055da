/* The envelope: round trips, unknown types, serials of what is refused, size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/wire/messages.h"

static void round_trip(void **state)
{
    (void)state;
    struct tm_err err;
    struct msg_lease lease = {.range = 3, .term = 5, .counter = 8, .start = slice_str("k")};
    struct message in = {.type = MESSAGE_ranges, .serial = 77, .term = 5};
    (void)snprintf(in.ranges.uid, sizeof(in.ranges.uid), "abc");
    in.ranges.attempt = 2;
    in.ranges.leases = &lease;
    in.ranges.leases_count = 1;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct message out;
    uint64_t serial = 0;
    assert_int_equal(message_encode(&in, MESSAGE_MINOR, &bytes, &err), 0);
    assert_int_equal(message_decode(buf_slice(&bytes), &out, &serial, &err), 0);
    assert_int_equal(serial, 77);
    assert_int_equal(out.type, MESSAGE_ranges);
    assert_int_equal(out.term, 5);
    assert_int_equal(out.ranges.leases_count, 1);
    assert_int_equal(out.ranges.leases[0].counter, 8);
    assert_memory_equal(out.ranges.leases[0].start.data, "k", 1);
    struct message copy;
    assert_int_equal(message_copy(&out, &copy, &err), 0);
    message_release(&out);
    assert_string_equal(copy.ranges.uid, "abc");
    message_release(&copy);
}

static void refused(void **state)
{
    (void)state;
    struct tm_err err;
    struct message out;
    uint64_t serial = 0;
    /* {v:0, t:99, r:5, e:0, m:{}} */
    static const char unknown[] = "\x85\xa1v\x00\xa1t\x63\xa1r\x05\xa1"
                                  "e\x00\xa1m\x80";
    assert_int_equal(message_decode(slice_of(unknown, sizeof(unknown) - 1), &out, &serial, &err),
                     -TM_E_UNSUPPORTED);
    assert_string_equal(err.msg, "message: type 99 is not known");
    assert_int_equal(serial, 5);

    /* a heartbeat whose job has no uid: the path is told, the serial too */
    static const char bad[] = "\x85\xa1v\x00\xa1t\x05\xa1r\x06\xa1"
                              "e\x00\xa1m\x81\xa1j\x91\x81\xa1"
                              "a\x01";
    assert_int_equal(message_decode(slice_of(bad, sizeof(bad) - 1), &out, &serial, &err),
                     -TM_E_INVALID);
    assert_string_equal(err.msg, "heartbeat.jobs[0].uid: missing");
    assert_int_equal(serial, 6);

    static const char no_body[] = "\x84\xa1v\x00\xa1t\x05\xa1r\x06\xa1"
                                  "e\x00";
    assert_int_equal(message_decode(slice_of(no_body, sizeof(no_body) - 1), &out, &serial, &err),
                     -TM_E_INVALID);
    assert_string_equal(err.msg, "heartbeat: missing");

    TM_CLEANUP(freep) uint8_t *huge = calloc(1, MESSAGE_MAX_BYTES + 1);
    assert_int_equal(message_decode(slice_of(huge, MESSAGE_MAX_BYTES + 1), &out, NULL, &err),
                     -TM_E_LIMIT);
    assert_string_equal(err.msg, "message: longer than 1048576 bytes");
}

static void errors_travel(void **state)
{
    (void)state;
    struct tm_err err;
    struct tm_err back;
    (void)tm_err_retry(&err, TM_E_NO_SPACE, "cannot write 'x'");
    struct msg_error wire = msg_error_of(&err, "range");
    assert_string_equal(wire.stage, "range");
    msg_error_to(&wire, &back);
    assert_int_equal(back.code, TM_E_NO_SPACE);
    assert_true(back.retryable);
    assert_string_equal(back.msg, "cannot write 'x'");
    wire.code = 200;
    msg_error_to(&wire, &back);
    assert_int_equal(back.code, TM_E_INTERNAL);
}

static void names_of_types(void **state)
{
    (void)state;
    assert_string_equal(message_name(MESSAGE_heartbeat), "heartbeat");
    assert_string_equal(message_name(0), "unknown");
    assert_string_equal(message_name(1000), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(refused),
        cmocka_unit_test(errors_travel),
        cmocka_unit_test(names_of_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
