/* Specs of the TiDB Operator as they stand: full backups, log backups, restores to a point in time. */
#include "tests/unit/proto/spec/spec_stage.h"

static void operator_files(void **state)
{
    (void)state;
    static const char *const warnings[] = {
        "s.yaml:7:3: field 'annotations' has no meaning outside Kubernetes and is ignored",
        "s.yaml:10:3: field 'from' is how TiDB Operator reaches a TiDB server; agents have their "
        "own "
        "conninfo; ignored",
        "s.yaml:11:3: field 'tikvGCLifeTime' is about TiDB's own components and is ignored",
        "s.yaml:12:3: field 'toolImage' configures a pod; there are none here, it is ignored",
        "s.yaml:13:3: field 'serviceAccount' configures a pod; there are none here, it is ignored",
        "s.yaml:14:3: field 'podSecurityContext' configures a pod; there are none here, it is "
        "ignored",
        "s.yaml:15:3: field 'env' configures a pod; there are none here, it is ignored",
        "s.yaml:16:3: field 'resources' configures a pod; there are none here, it is ignored",
        "s.yaml:20:5: field 'clusterNamespace' has no meaning outside Kubernetes and is ignored",
        "s.yaml:21:5: field 'logLevel' belongs to the daemons' configuration; ignored",
        "s.yaml:26:5: field 'volume' is mounted by Kubernetes there; here the directory must be "
        "mounted on every node already; ignored",
        "s.yaml:23:30: flag '--lastbackupts' asks for an incremental backup; a full one is taken",
    };
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    parse(operator_spec, &list);
    struct tm_err err = {0};
    assert_int_equal(resource_check_apply(list.items[0], &err), 0);
    assert_string_equal(list.items[0]->backup.storage.url, "file:///nfs/backup-nfs");
    assert_int_equal(list.items[0]->backup.br.gcttl_us, 54000 * USEC_PER_SEC);
    assert_int_equal(list.warnings.count, TM_ARRAY_LEN(warnings));
    for (size_t n = 0; n < TM_ARRAY_LEN(warnings); n++)
        assert_string_equal(list.warnings.items[n], warnings[n]);
}

/* Log and PITR specs in the forms of the TiDB Operator's documents, versions 1 and 2: all of them are
 * understood; what keeps one from being carried out is said at apply. */
#define OPERATOR_LOG(api, more)                                                                    \
    "---\napiVersion: " api "\nkind: Backup\nmetadata:\n  name: demo1-log-backup-s3\n"             \
    "  namespace: backup-test\nspec:\n  backupMode: log\n" more                                    \
    "  br:\n    cluster: demo1\n    clusterNamespace: test1\n    sendCredToTikv: true\n"           \
    "  s3:\n    provider: aws\n    secretName: s3-secret\n    region: us-west-1\n"                 \
    "    bucket: my-bucket\n    prefix: my-log-backup-folder\n"
#define OPERATOR_LOG_LOCAL(api, more)                                                              \
    "---\napiVersion: " api "\nkind: Backup\nmetadata:\n  name: demo1-log-backup-nfs\n"            \
    "  namespace: backup-test\nspec:\n  backupMode: log\n" more                                    \
    "  br:\n    cluster: demo1\n    clusterNamespace: test1\n"                                     \
    "  local:\n    prefix: log-nfs\n    volume: {name: nfs, nfs: {server: h, path: /nfs}}\n"       \
    "    volumeMount: {name: nfs, mountPath: /nfs}\n"
#define V1 "pingcap.com/v1alpha1"
#define V2 "br.pingcap.com/v1alpha1"

static const struct {
    const char *yaml;
    enum log_subcommand subcommand;
    bool stop;
    const char *truncate;
} operator_logs[] = {
    {OPERATOR_LOG(V1, ""), LOG_SUBCOMMAND_NONE, false, NULL},
    {OPERATOR_LOG(V1, "  logStop: true\n"), LOG_SUBCOMMAND_NONE, true, NULL},
    {OPERATOR_LOG(V1, "  logTruncateUntil: \"2022-10-10T16:21:00+08:00\"\n"), LOG_SUBCOMMAND_NONE,
     false, "2022-10-10T16:21:00+08:00"},
    {OPERATOR_LOG(V2, "  logSubcommand: log-start\n"), LOG_START, false, NULL},
    {OPERATOR_LOG(V2, "  logSubcommand: log-pause\n"), LOG_PAUSE, false, NULL},
    {OPERATOR_LOG(V2, "  logSubcommand: log-stop\n"), LOG_STOP, false, NULL},
    {OPERATOR_LOG_LOCAL(V1, "  logSubcommand: log-start\n  toolImage: pingcap/br:v8.5.2\n"
                            "  commitTs: \"2022-10-10T16:21:00+08:00\"\n"),
     LOG_START, false, NULL},
    {OPERATOR_LOG_LOCAL(V2,
                        "  logSubcommand: log-stop\n  logTruncateUntil: '435000000000000000'\n"),
     LOG_STOP, false, "435000000000000000"},
};

static void operator_log_files(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(operator_logs); n++) {
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(operator_logs[n].yaml);
        struct tm_err err = {0};
        assert_int_equal(r->backup.mode, BACKUP_MODE_LOG);
        assert_int_equal(r->backup.log_subcommand, operator_logs[n].subcommand);
        assert_int_equal(r->backup.log_stop, operator_logs[n].stop);
        if (operator_logs[n].truncate != NULL)
            assert_string_equal(r->backup.log_truncate_until, operator_logs[n].truncate);
        else
            assert_null(r->backup.log_truncate_until);
        assert_int_equal(resource_check_apply(r, &err), 0);
    }
}

#define OPERATOR_PITR(api, more)                                                                   \
    "---\napiVersion: " api "\nkind: Restore\nmetadata:\n  name: demo3-restore-s3\n"               \
    "  namespace: restore-test\nspec:\n  restoreMode: pitr\n" more                                 \
    "  br:\n    cluster: demo3\n    clusterNamespace: test3\n"                                     \
    "  s3:\n    provider: aws\n    region: us-west-1\n    bucket: my-bucket\n"                     \
    "    prefix: my-log-backup-folder-pitr\n"                                                      \
    "  pitrRestoredTs: \"2022-10-10T17:21:00+08:00\"\n"                                            \
    "  pitrFullBackupStorageProvider:\n    s3:\n      provider: aws\n      region: us-west-1\n"    \
    "      bucket: my-bucket\n      prefix: my-full-backup-folder-pitr\n"

static void operator_pitr_files(void **state)
{
    (void)state;
    static const char *const specs[] = {OPERATOR_PITR(V1, ""),
                                        OPERATOR_PITR(V2, "  prune: afterFailed\n")};
    for (size_t n = 0; n < TM_ARRAY_LEN(specs); n++) {
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(specs[n]);
        char target[RESTORE_TARGET_MAX];
        struct tm_err err = {0};
        assert_int_equal(r->restore.mode, RESTORE_MODE_PITR);
        assert_string_equal(restore_target_text(&r->restore, target, sizeof(target)),
                            "time:2022-10-10T09:21:00.000000Z");
        assert_string_equal(r->restore.storage.url,
                            "s3://my-bucket/my-log-backup-folder-pitr?provider=aws&region="
                            "us-west-1");
        assert_string_equal(r->restore.full_storage.url,
                            "s3://my-bucket/my-full-backup-folder-pitr?provider=aws&region="
                            "us-west-1");
        assert_int_equal(resource_check_apply(r, &err), -TM_E_INVALID);
        assert_non_null(strstr(err.msg, "dataDir is missing"));
    }
    TM_CLEANUP(resource_freep)
    struct resource *r = parse_one(
        RESTORE_HEAD "  restoreMode: pitr\n  br: {cluster: demo3}\n  local: {path: /log}\n"
                     "  pitrFullBackupStorageProvider: {nfs: {path: /full, prefix: p}}\n"
                     "  pitrRestoredTs: \"2022-10-10T17:21:00+08:00\"\n  dataDir: /srv/r\n");
    struct tm_err err = {0};
    assert_int_equal(resource_check_apply(r, &err), 0);
    assert_string_equal(r->restore.full_storage.url, "file:///full/p");
}

/* What the store keeps of them reads back as the same. */
static void documents(void **state)
{
    (void)state;
    const char *const texts[] = {operator_logs[6].yaml, operator_logs[2].yaml,
                                 OPERATOR_PITR(V2, "")};
    for (size_t n = 0; n < TM_ARRAY_LEN(texts); n++) {
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(texts[n]);
        TM_CLEANUP(resource_freep) struct resource *back = NULL;
        struct tm_err err = {0};
        assert_int_equal(
            resource_parse_document("back", slice_of(r->document, r->document_len), &back, &err),
            0);
        assert_string_equal(back->document, r->document);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operator_files),
        cmocka_unit_test(operator_log_files),
        cmocka_unit_test(operator_pitr_files),
        cmocka_unit_test(documents),
    };
    return cmocka_run_group_tests_name("proto/spec/operator", tests, NULL, NULL);
}
