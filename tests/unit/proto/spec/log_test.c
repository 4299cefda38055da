/* Specs of log backups and of restores to a point in time. */
#include "tests/unit/proto/spec/spec_stage.h"

#define LOG_HEAD BACKUP_HEAD "  backupMode: log\n" GOOD /* more begins in line 8 */

static void log_defaults(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep) struct resource *r = parse_one(LOG_HEAD);
    struct tm_err err = {0};
    assert_int_equal(resource_check_apply(r, &err), 0);
    assert_int_equal(r->backup.mode, BACKUP_MODE_LOG);
    assert_int_equal(r->backup.log_subcommand, LOG_SUBCOMMAND_NONE);
    assert_false(r->backup.log_stop);
    assert_null(r->backup.log_truncate_until);
    assert_int_equal(r->backup.log_truncate_grace_us, 600 * USEC_PER_SEC);
    assert_int_equal(r->backup.flush_interval_us, 5 * USEC_PER_SEC);
    assert_int_equal(r->backup.hold_limit, 0);
    assert_int_equal(r->backup.on_hold_limit, HOLD_ALERT);
    assert_int_equal(r->backup.log_source, LOG_SOURCE_PRIMARY);
    assert_int_equal(r->backup.br.gcttl_us, 0);
}

static void log_everything(void **state)
{
    (void)state;
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    parse(BACKUP_HEAD "  backupMode: log\n  logSubcommand: log-pause\n  flushInterval: 250ms\n"
                      "  holdLimit: 10GiB\n  onHoldLimit: release\n  logSource: standby\n"
                      "  logTruncateUntil: '2018-05-11 01:42:23'\n  logTruncateForce: true\n"
                      "  logTruncateGrace: 1h\n"
                      "  compression: none\n  acceptIncarnation: true\n"
                      "  br: {cluster: test, gcttl: 2h}\n  local: {path: /x}\n",
          &list);
    const struct backup_spec *b = &list.items[0]->backup;
    struct tm_err err = {0};
    assert_int_equal(resource_check_apply(list.items[0], &err), 0);
    assert_int_equal(list.warnings.count, 0); /* gcttl means something here */
    assert_int_equal(b->log_subcommand, LOG_PAUSE);
    assert_int_equal(b->flush_interval_us, 250 * USEC_PER_MSEC);
    assert_int_equal(b->hold_limit, 10 * GIB);
    assert_int_equal(b->on_hold_limit, HOLD_RELEASE);
    assert_int_equal(b->log_source, LOG_SOURCE_STANDBY);
    assert_string_equal(b->log_truncate_until, "2018-05-11 01:42:23");
    assert_true(b->log_truncate_force);
    assert_int_equal(b->log_truncate_grace_us, 3600 * USEC_PER_SEC);
    assert_string_equal(b->compression, "none");
    assert_true(b->accept_incarnation);
    assert_int_equal(b->br.gcttl_us, 2 * USEC_PER_HOUR);
}

static void warns(const char *text, const char *const *warnings, size_t count)
{
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    struct tm_err err = {0};
    parse(text, &list);
    assert_int_equal(resource_check_apply(list.items[0], &err), 0);
    for (size_t n = 0; n < TM_MIN(count, list.warnings.count); n++)
        assert_string_equal(list.warnings.items[n], warnings[n]);
    assert_int_equal(list.warnings.count, count);
}

static void what_the_other_mode_means_nothing_to(void **state)
{
    (void)state;
    static const char *const log_warnings[] = {
        "s.yaml:5:23: field 'concurrency' has no effect on a log backup: its stream is one; "
        "ignored",
        "s.yaml:5:39: field 'rateLimit' has no effect on a log backup: it must keep up with the "
        "database; ignored",
        "s.yaml:5:53: field 'checksum' has no effect on a log backup: every chunk carries its "
        "digest; ignored",
        "s.yaml:15:3: field 'cleanGrace' has no effect on a log backup, which has "
        "logTruncateGrace; ignored",
        "s.yaml:8:3: field 'fastStart' has no effect on a log backup; ignored",
        "s.yaml:9:3: field 'rangeSize' has no effect on a log backup; ignored",
        "s.yaml:12:3: field 'logBackup' has no effect on a log backup; ignored",
        "s.yaml:10:3: field 'backoffRetryPolicy' has no effect on a log backup: it goes on by "
        "itself; ignored",
        "s.yaml:11:3: field 'commitTs' has no effect: log is kept from the moment the task starts; "
        "ignored",
        "s.yaml:13:3: field 'cleanPolicy' has no effect on a log backup: stored log is removed by "
        "logTruncateUntil alone; ignored",
        "s.yaml:14:3: field 'logTruncateForce' has no effect without 'logTruncateUntil'; ignored",
    };
    warns(BACKUP_HEAD "  br: {cluster: test, concurrency: 3, rateLimit: 1, checksum: true}\n"
                      "  local: {path: /x}\n  backupMode: log\n  fastStart: true\n"
                      "  rangeSize: 1MiB\n  backoffRetryPolicy: {maxRetryTimes: 1}\n"
                      "  commitTs: '400036290571534337'\n  logBackup: x\n  cleanPolicy: Delete\n"
                      "  logTruncateForce: true\n  cleanGrace: 1h\n",
          log_warnings, TM_ARRAY_LEN(log_warnings));
    static const char *const snapshot_warnings[] = {
        "s.yaml:7:3: field 'logBackup' has no effect: a snapshot shares the log of a running log "
        "backup in the same storage by itself; ignored",
    };
    warns(BACKUP_HEAD "  br: {cluster: test, gcttl: 54000}\n  local: {path: /x}\n"
                      "  logBackup: wal\n",
          snapshot_warnings, TM_ARRAY_LEN(snapshot_warnings));
}

static void moments(void **state)
{
    (void)state;
    static const struct {
        const char *given;
        const char *text; /* NULL = none */
    } cases[] = {
        {"2026-11-21T10:00:00Z", "2026-11-21T10:00:00.000000Z"},
        {"2022-10-10T17:21:00+08:00", "2022-10-10T09:21:00.000000Z"},
        {"2018-05-11 01:42:23", "2018-05-11T01:42:23.000000Z"},
        {"2018-05-11 01:42:23+0800", "2018-05-10T17:42:23.000000Z"},
        {"2018-05-11 01:42:23.5-0130", "2018-05-11T03:12:23.500000Z"},
        {"400036290571534337", "2018-05-11T05:42:23.794000Z"}, /* 1526017343794 ms */
        {"0/3000148", "0/3000148"},
        {"A/3000148", "A/3000148"},
        {"2018", NULL},
        {"20180511", NULL},
        {"1526017343", NULL},
        {"0/", NULL},
        {"/0", NULL},
        {"2018-05-11", NULL},
        {"+0800", NULL},
        {"", NULL},
        {"latest", NULL},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        struct moment moment;
        struct tm_err err = {0};
        char text[MOMENT_TEXT_MAX];
        int r = moment_parse(cases[n].given, &moment, &err);
        assert_int_equal(r, cases[n].text != NULL ? 0 : -TM_E_INVALID);
        if (r == 0)
            assert_string_equal(moment_text(&moment, text), cases[n].text);
    }
}

static void restore_targets(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        const char *target;
    } cases[] = {
        {"", "immediate"},
        {"  target: {immediate: true}\n", "immediate"},
        {"  restoreMode: pitr\n", "latest"},
        {"  restoreMode: pitr\n  target: {immediate: true}\n", "immediate"},
        {"  restoreMode: pitr\n  pitrRestoredTs: '400036290571534337'\n",
         "time:2018-05-11T05:42:23.794000Z"},
        {"  restoreMode: pitr\n  pitrRestoredTs: 0/3000148\n", "position:0/3000148"},
        {"  restoreMode: pitr\n  pitrRestoredTs: 2018-05-11 01:42:23\n  target: {inclusive: "
         "false}\n",
         "time:2018-05-11T01:42:23.000000Z"},
        {"  target: {time: '2026-11-21T10:00:00+01:00'}\n", "time:2026-11-21T09:00:00.000000Z"},
        {"  target: {position: 16/B374D848}\n", "position:16/B374D848"},
        {"  target: {xid: 742, inclusive: false}\n", "xid:742"},
        {"  target: {name: before upgrade, lineage: 00112233445566778899aabbccddeeff}\n",
         "name:before upgrade"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        char yaml[512];
        char target[RESTORE_TARGET_MAX];
        struct tm_err err = {0};
        (void)snprintf(yaml, sizeof(yaml), "%s  backup: x\n  dataDir: /x\n%s", RESTORE_HEAD,
                       cases[n].fields);
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(yaml);
        assert_int_equal(resource_check_apply(r, &err), 0);
        assert_string_equal(restore_target_text(&r->restore, target, sizeof(target)),
                            cases[n].target);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_defaults),
        cmocka_unit_test(log_everything),
        cmocka_unit_test(what_the_other_mode_means_nothing_to),
        cmocka_unit_test(moments),
        cmocka_unit_test(restore_targets),
    };
    return cmocka_run_group_tests_name("proto/spec/log", tests, NULL, NULL);
}
