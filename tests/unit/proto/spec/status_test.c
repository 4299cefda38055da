/* Status: phases and conditions, problems, and the JSON that scripts rely on, byte for byte. */
#include "proto/spec/status.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define T0 INT64_C(1795255200000000) /* 2026-11-21T10:00:00Z */

static void phases(void **state)
{
    (void)state;
    enum resource_phase phase = RESOURCE_PHASE_NONE;
    struct tm_err err = {0};
    assert_string_equal(resource_phase_text(RESOURCE_RUNNING), "Running");
    assert_string_equal(resource_phase_text(RESOURCE_PHASE_NONE), "");
    assert_int_equal(resource_phase_parse("complete", &phase, &err), 0);
    assert_int_equal(phase, RESOURCE_COMPLETE);
    assert_int_equal(resource_phase_parse("Compleet", &phase, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "unknown phase 'Compleet', did you mean 'Complete'?");
    assert_int_equal(resource_phase_parse("x", &phase, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "unknown phase 'x' (known: Scheduled, Prepare, Running, Complete, "
                                 "Failed, Pause, Stopped, Fail, Deleting)");

    assert_true(resource_phase_is_past(RESOURCE_FAILED, RESOURCE_COMPLETE));
    assert_true(resource_phase_is_past(RESOURCE_COMPLETE, RESOURCE_FAILED));
    assert_true(resource_phase_is_past(RESOURCE_COMPLETE, RESOURCE_RUNNING));
    assert_true(resource_phase_is_past(RESOURCE_DELETING, RESOURCE_COMPLETE));
    assert_false(resource_phase_is_past(RESOURCE_COMPLETE, RESOURCE_COMPLETE));
    assert_false(resource_phase_is_past(RESOURCE_RUNNING, RESOURCE_COMPLETE));
    assert_false(resource_phase_is_past(RESOURCE_FAILED, RESOURCE_DELETING));
}

static void conditions(void **state)
{
    (void)state;
    TM_CLEANUP(resource_status_freep) struct resource_status *st = resource_status_new();
    resource_status_set_phase(st, RESOURCE_SCHEDULED, T0, "", "");
    resource_status_set_phase(st, RESOURCE_RUNNING, T0 + 1, "Begin", "");
    resource_status_set_phase(st, RESOURCE_RUNNING, T0 + 2, "Again", "more");
    assert_int_equal(st->phase, RESOURCE_RUNNING);
    assert_int_equal(st->condition_count, 2);
    assert_int_equal(st->conditions[0].type, RESOURCE_SCHEDULED);
    assert_false(st->conditions[0].status);
    assert_int_equal(st->conditions[0].last_transition_us, T0 + 1);
    assert_true(st->conditions[1].status);
    assert_int_equal(st->conditions[1].last_transition_us, T0 + 1);
    assert_string_equal(st->conditions[1].reason, "Again");
    assert_string_equal(st->conditions[1].message, "more");
}

static void limits(void **state)
{
    (void)state;
    TM_CLEANUP(resource_status_freep) struct resource_status *st = resource_status_new();
    for (int n = 0; n < STATUS_PROBLEMS_MAX + 5; n++)
        resource_status_add_problem(st, "db-a", "base/5/1", n, "checksum");
    for (int n = 0; n < STATUS_WARNINGS_MAX + 5; n++)
        resource_status_add_warning(st, "w");
    assert_int_equal(st->problem_count, STATUS_PROBLEMS_MAX);
    assert_int_equal(st->problems_dropped, 5);
    assert_int_equal(st->warning_count, STATUS_WARNINGS_MAX);
    resource_status_clear(st);
    assert_int_equal(st->problem_count, 0);
    assert_null(st->problems);
}

static struct resource *sample(void)
{
    struct resource *r = NULL;
    struct tm_err err = {0};
    if (resource_parse_document(
            "s",
            slice_str("{apiVersion: tidemark/v1, kind: Backup, metadata: {name: "
                      "x, labels: {b: 2, a: one}}, spec: {br: {cluster: c}, "
                      "local: {path: /x}}}"),
            &r, &err) < 0)
        fail_msg("%s", err.msg);
    return r;
}

static void json_without_status(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep) struct resource *r = sample();
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};
    const char *text = NULL;
    assert_int_equal(resource_json(r, NULL, NULL, &out, &err), 0);
    assert_int_equal(buf_cstr(&out, &text, &err), 0);
    assert_string_equal(text,
                        "{\"apiVersion\": \"tidemark/v1\", \"kind\": \"Backup\", \"metadata\": "
                        "{\"name\": \"x\", \"namespace\": \"default\", \"labels\": {\"a\": "
                        "\"one\", \"b\": \"2\"}}, \"spec\": {\"br\": {\"cluster\": \"c\"}, "
                        "\"local\": {\"path\": \"/x\"}}}");
}

static void fill(struct resource_status *st)
{
    resource_status_set_phase(st, RESOURCE_FAILED, T0 + 2, "Why", "because");
    (void)snprintf(st->backup_path, sizeof(st->backup_path), "file:///x/c/main/1/backup/b1");
    (void)snprintf(st->position, sizeof(st->position), "0/3000148");
    st->backup_bytes = 1234;
    st->commit_us = T0 + 123456;
    st->started_us = T0;
    st->completed_us = T0 + 90000000;
    st->removal_us = T0 + 600000000;
    st->ranges_total = 3;
    st->ranges_done = 2;
    st->bytes_total = 300;
    st->bytes_done = 200;
    st->attempt = 1;
    st->pages_checked = 7;
    st->pages_corrupt = 1;
    st->has_error = true;
    st->error = (struct status_error){.since_us = T0 + 1, .code = TM_E_IO};
    (void)snprintf(st->error.node, sizeof(st->error.node), "db-a");
    (void)snprintf(st->error.stage, sizeof(st->error.stage), "range");
    (void)snprintf(st->error.message, sizeof(st->error.message), "cannot read \"f\"");
    resource_status_add_problem(st, "db-a", "base/5/16384", 7, "wrong checksum");
    resource_status_add_warning(st, "careful");
}

static void json_with_everything(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep) struct resource *r = sample();
    TM_CLEANUP(resource_status_freep) struct resource_status *st = resource_status_new();
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};
    const char *text = NULL;
    const struct resource_meta meta = {.uid = "u1", .created_us = T0, .generation = 2};
    fill(st);
    assert_int_equal(resource_json(r, st, &meta, &out, &err), 0);
    assert_int_equal(buf_cstr(&out, &text, &err), 0);
    const char *status = strstr(text, "\"status\": ");
    assert_non_null(status);
    assert_string_equal(
        status,
        "\"status\": {\"phase\": \"Failed\", \"conditions\": [{\"type\": \"Failed\", \"status\": "
        "\"True\", \"lastTransitionTime\": \"2026-11-21T10:00:00.000002Z\", \"reason\": \"Why\", "
        "\"message\": \"because\"}], \"backupPath\": \"file:///x/c/main/1/backup/b1\", "
        "\"backupSize\": 1234, \"commitTs\": \"2026-11-21T10:00:00.123456Z\", \"position\": "
        "\"0/3000148\", \"timeStarted\": \"2026-11-21T10:00:00.000000Z\", \"timeCompleted\": "
        "\"2026-11-21T10:01:30.000000Z\", \"timeRemoval\": \"2026-11-21T10:10:00.000000Z\", "
        "\"timeTaken\": \"1m30s\", \"attempt\": 1, \"progress\": "
        "{\"rangesTotal\": 3, \"rangesDone\": 2, \"bytesTotal\": 300, \"bytesDone\": 200}, "
        "\"pages\": {\"checked\": 7, \"unverified\": 0, \"corrupt\": 1}, \"lastError\": {\"node\": "
        "\"db-a\", \"stage\": \"range\", \"since\": \"2026-11-21T10:00:00.000001Z\", \"message\": "
        "\"cannot read \\\"f\\\"\", \"code\": \"input/output error\"}, \"problems\": [{\"node\": "
        "\"db-a\", \"file\": \"base/5/16384\", \"block\": 7, \"message\": \"wrong checksum\"}], "
        "\"warnings\": [\"careful\"]}}");
    assert_non_null(strstr(text, "\"uid\": \"u1\", \"creationTimestamp\": "
                                 "\"2026-11-21T10:00:00.000000Z\", \"generation\": 2}"));
}

static void json_of_a_log_backup(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep) struct resource *r = sample();
    TM_CLEANUP(resource_status_freep) struct resource_status *st = resource_status_new();
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf bare = BUF_INIT;
    struct tm_err err = {0};
    const char *text = NULL;
    st->log.is_log = true;
    assert_int_equal(resource_json(r, st, NULL, &bare, &err), 0);
    assert_int_equal(buf_cstr(&bare, &text, &err), 0);
    assert_string_equal(strstr(text, "\"status\": "),
                        "\"status\": {\"phase\": \"\", \"conditions\": [], \"recoverable\": [], "
                        "\"progress\": {\"rangesTotal\": 0, \"rangesDone\": 0, \"bytesTotal\": 0, "
                        "\"bytesDone\": 0}}}");
    resource_status_set_phase(st, RESOURCE_RUNNING, T0, "", "");
    st->log.checkpoint_us = T0 + 250;
    (void)snprintf(st->log.position, sizeof(st->log.position), "0/3000148");
    (void)snprintf(st->lineage, sizeof(st->lineage), "00112233445566778899aabbccddeeff");
    st->log.has_latency = true;
    st->log.latency_us = 4203999;
    st->log.has_skew = true;
    st->log.skew_us = -1500;
    st->log.needs_full = true;
    st->log.truncated_us = T0;
    (void)snprintf(st->log.truncate_until, sizeof(st->log.truncate_until), "0/2000");
    (void)snprintf(st->log.truncate_error, sizeof(st->log.truncate_error), "backup 'b' needs it");
    st->log.removing = true;
    (void)snprintf(st->log.removal_error, sizeof(st->log.removal_error), "it is away");
    resource_status_add_interval(st, &(struct status_interval){.lineage = "0011",
                                                               .label = "1",
                                                               .from_position = "0/1",
                                                               .to_position = "0/2",
                                                               .from_us = T0,
                                                               .to_us = T0 + 1,
                                                               .backup_id = "b1"});
    resource_status_add_interval(st, &(struct status_interval){.lineage = "0022",
                                                               .from_position = "0/2",
                                                               .to_position = "0/3",
                                                               .abandoned = true});
    resource_status_add_hold(
        st, &(struct status_hold){.node = "db-b", .at = "0/7", .bytes = 8, .at_risk = true});
    assert_int_equal(resource_json(r, st, NULL, &out, &err), 0);
    assert_int_equal(buf_cstr(&out, &text, &err), 0);
    assert_string_equal(
        strstr(text, "\"lineage\": "),
        "\"lineage\": \"00112233445566778899aabbccddeeff\", \"logCheckpointTs\": "
        "\"2026-11-21T10:00:00.000250Z\", \"logCheckpointPosition\": \"0/3000148\", "
        "\"latencySeconds\": 4.203, \"skewSeconds\": -0.001, \"recoverable\": [{\"lineage\": "
        "\"0011\", \"label\": \"1\", \"fromPosition\": \"0/1\", \"toPosition\": \"0/2\", "
        "\"from\": \"2026-11-21T10:00:00.000000Z\", \"to\": \"2026-11-21T10:00:00.000001Z\", "
        "\"backupId\": \"b1\", \"abandoned\": false}, {\"lineage\": \"0022\", "
        "\"fromPosition\": \"0/2\", \"toPosition\": \"0/3\", \"abandoned\": true}], "
        "\"logSuccessTruncateUntil\": \"2026-11-21T10:00:00.000000Z\", \"logTruncate\": "
        "{\"until\": \"0/2000\", \"pending\": false, \"error\": \"backup 'b' needs it\", "
        "\"removing\": true, \"removalError\": \"it is away\"}, "
        "\"holds\": [{\"node\": \"db-b\", \"at\": \"0/7\", \"bytes\": 8, \"atRisk\": true, "
        "\"lost\": false}], \"needsFullBackup\": true, \"progress\": {\"rangesTotal\": 0, "
        "\"rangesDone\": 0, \"bytesTotal\": 0, \"bytesDone\": 0}}}");
}

/* Each tenant by itself; of very many with very much only what counts. */
static void json_of_tenants(void **state)
{
    (void)state;
    struct tm_err err = {0};
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    TM_CLEANUP(resource_status_freep) struct resource_status *st = resource_status_new();
    TM_CLEANUP(resource_status_freep) struct resource_status *one = resource_status_new();
    static const char yaml[] = "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: b}\n"
                               "spec:\n  br: {cluster: c}\n  local: {path: /b}\n";
    assert_int_equal(resource_parse("test", slice_str(yaml), &list, &err), 0);
    resource_status_set_phase(one, RESOURCE_FAILED, T0, "", "");
    (void)snprintf(one->tenant, sizeof(one->tenant), "second");
    one->has_error = true;
    (void)snprintf(one->error.message, sizeof(one->error.message), "disk full");
    resource_status_add_tenant(st, one);
    assert_int_equal(resource_json(list.items[0], st, NULL, &out, &err), 0);
    assert_int_equal(buf_append(&out, "", 1, &err), 0);
    const char *tenants = strstr((char *)out.data, "\"tenants\": [{\"phase\": \"Failed\"");
    assert_non_null(tenants);
    assert_non_null(strstr(tenants, "\"conditions\": [{\"type\": \"Failed\""));
    assert_non_null(strstr(tenants, "\"tenant\": \"second\""));
    assert_non_null(strstr(tenants, "\"message\": \"disk full\"}]"));
    char text[500];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (size_t at = 0; at < STATUS_WARNINGS_MAX; at++)
        resource_status_add_warning(one, text);
    while (st->tenant_count < STATUS_TENANTS_MAX)
        resource_status_add_tenant(st, one);
    resource_status_add_tenant(st, one);
    assert_int_equal(st->tenant_count, STATUS_TENANTS_MAX);
    buf_reset(&out);
    assert_int_equal(resource_json(list.items[0], st, NULL, &out, &err), 0);
    assert_true(out.len < 64 * 1024);
    assert_int_equal(buf_append(&out, "", 1, &err), 0);
    assert_null(strstr((char *)out.data, "xxx"));
    assert_non_null(strstr((char *)out.data, "\"message\": \"disk full\"}]"));
}

static void yaml_text(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        const char *yaml;
    } cases[] = {
        {"{}", "{}\n"},
        {"[]", "[]\n"},
        {"\"plain\"", "plain\n"},
        {"\"yes\"", "\"yes\"\n"},
        {"\"0/3000148\"", "\"0/3000148\"\n"},
        {"\"file:///a b\"", "\"file:///a b\"\n"},
        {"{\"a\": 1, \"b\": {\"c\": [], \"d\": null}}", "a: 1\nb:\n  c: []\n  d: null\n"},
        {"{\"l\": [1, {\"x\": true, \"z\": [\"p\", \"q\"]}, [2, 3]]}",
         "l:\n- 1\n- x: true\n  z:\n  - p\n  - q\n- - 2\n  - 3\n"},
        {"{\"a b\": \"x:\", \"m\": \"7\"}", "\"a b\": \"x:\"\nm: \"7\"\n"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
        struct tm_err err = {0};
        const char *text = NULL;
        assert_int_equal(json_to_yaml(slice_str(cases[n].json), &out, &err), 0);
        assert_int_equal(buf_cstr(&out, &text, &err), 0);
        assert_string_equal(text, cases[n].yaml);
    }
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    struct tm_err err = {0};
    assert_int_equal(json_to_yaml(slice_str("{"), &out, &err), -TM_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phases),
        cmocka_unit_test(conditions),
        cmocka_unit_test(limits),
        cmocka_unit_test(json_without_status),
        cmocka_unit_test(json_with_everything),
        cmocka_unit_test(json_of_a_log_backup),
        cmocka_unit_test(json_of_tenants),
        cmocka_unit_test(yaml_text),
    };
    return cmocka_run_group_tests_name("proto/spec/status", tests, NULL, NULL);
}
