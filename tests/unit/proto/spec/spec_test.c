/* Specs: every error word for word, the warnings, the defaults, the canonical form. */
#include "tests/unit/proto/spec/spec_stage.h"

#include "proto/spec/status.h"

/* ---- what is wrong, and how it is said ---- */

static const struct {
    const char *text;
    const char *message;
} wrong[] = {
    {"", "s.yaml: there is no resource in it"},
    {"just text", "s.yaml:1:1: a resource must be a map with apiVersion, kind, metadata and spec, "
                  "not text"},
    {"kind: Backup\nmetadata: {name: x}\nspec: {}\n",
     "s.yaml:1:1: field 'apiVersion' of resource is missing"},
    {"apiVersion: v1\nkind: Backup\nmetadata: {name: x}\nspec: {}\n",
     "s.yaml:1:13: unknown apiVersion 'v1' (known: tidemark/v1, pingcap.com/v1alpha1, "
     "br.pingcap.com/v1alpha1)"},
    {"apiVersion: tidemark/v1\nkind: Bakcup\nmetadata: {name: x}\nspec: {}\n",
     "s.yaml:2:7: unknown kind 'Bakcup', did you mean 'Backup'?"},
    {"apiVersion: tidemark/v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n",
     "s.yaml:2:7: unknown kind 'Pod' (known: Backup, Restore, BackupSchedule, CompactBackup)"},
    {"apiVersion: tidemark/v1\nkind: Backup\nmetadata: {nmae: x}\nspec: {}\n",
     "s.yaml:3:12: unknown field 'nmae' in metadata, did you mean 'name'?"},
    {"apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: Big_Name}\nspec: {}\n",
     "s.yaml:3:18: metadata.name 'Big_Name' may hold only a-z, 0-9, '-' and '.', and must begin "
     "and end with a letter or digit"},
    {"apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: x}\n",
     "s.yaml:1:1: field 'spec' of Backup is missing"},
    {BACKUP_HEAD GOOD "---\n" BACKUP_HEAD GOOD, "s.yaml:8:1: backup/x is there twice"},
    {BACKUP_HEAD "  compresion: zstd\n" GOOD,
     "s.yaml:5:3: unknown field 'compresion' in spec of Backup, did you mean 'compression'?"},
    {BACKUP_HEAD "  compression: lz4\n" GOOD,
     "s.yaml:5:16: 'compression': 'lz4' is not known: zstd, zstd:1 to zstd:19, or none"},
    {BACKUP_HEAD "  compression: zstd:20\n" GOOD,
     "s.yaml:5:16: 'compression': 'zstd:20' is not known: zstd, zstd:1 to zstd:19, or none"},
    {BACKUP_HEAD "  br: {cluster: test, concurrency: many}\n  local: {path: /x}\n",
     "s.yaml:5:36: 'concurrency': 'many' is not a whole number"},
    {BACKUP_HEAD "  br: {cluster: test, concurrency: 1000}\n  local: {path: /x}\n",
     "s.yaml:5:36: 'concurrency': 1000 is not in 0 to 256"},
    {BACKUP_HEAD "  br: {cluster: test, rateLimit: fast}\n  local: {path: /x}\n",
     "s.yaml:5:34: 'rateLimit': 'fast' is not a whole number"},
    {BACKUP_HEAD "  br: [cluster]\n  local: {path: /x}\n",
     "s.yaml:5:7: 'br' must be a map, not a list"},
    {BACKUP_HEAD "  br: {cluster: a b}\n  local: {path: /x}\n",
     "s.yaml:5:17: br.cluster 'a b' is no name: use up to 63 letters, digits, '-', '_' and '.'"},
    {BACKUP_HEAD "  br: {cluster: test, gcttl: 5x}\n  local: {path: /x}\n",
     "s.yaml:5:30: 'gcttl': '5x' is not a duration: unknown unit at 'x' (known: w d h m s ms us "
     "ns)"},
    {BACKUP_HEAD "  br: {cluster: test, gcttl: 1ms}\n  local: {path: /x}\n",
     "s.yaml:5:30: 'gcttl': 1ms is not in 1s to 30d"},
    {BACKUP_HEAD "  br: {cluster: test, options: [--checksum=maybe]}\n  local: {path: /x}\n",
     "s.yaml:5:33: flag '--checksum': 'maybe' is not true or false"},
    {BACKUP_HEAD "  br: {cluster: test, options: [checksum]}\n  local: {path: /x}\n",
     "s.yaml:5:33: 'checksum' is not a flag of br: '--name=value' is wanted"},
    {BACKUP_HEAD "  br: {cluster: test, options: [--gcttl]}\n  local: {path: /x}\n",
     "s.yaml:5:33: flag '--gcttl' needs a value"},
    {BACKUP_HEAD "  local: {path: /x}\n",
     "s.yaml:5:3: br.cluster is missing: the name of the cluster, as in the agents' configuration"},
    {BACKUP_HEAD "  br: {cluster: test}\n",
     "s.yaml:5:3: no storage is given: exactly one of s3, azblob, oss, cos, local and nfs"},
    {BACKUP_HEAD GOOD "  nfs: {path: /y}\n",
     "s.yaml:7:3: 'nfs' is a second storage block; exactly one of s3, azblob, oss, cos, local and "
     "nfs can be given"},
    {BACKUP_HEAD "  br: {cluster: test}\n  local: {path: x}\n",
     "s.yaml:6:10: 'path' must be absolute, 'x' is not"},
    {BACKUP_HEAD "  br: {cluster: test}\n  local: {prefix: x}\n",
     "s.yaml:6:10: field 'path' of local storage is missing"},
    {BACKUP_HEAD "  br: {cluster: test}\n  local: {path: /a/../b}\n",
     "s.yaml:6:10: 'path' must not contain '..' as a component"},
    {BACKUP_HEAD "  br: {cluster: test}\n  local: {path: /a, volumeMount: {mountPath: /b}}\n",
     "s.yaml:6:10: both 'path' and 'volumeMount' are given; one is enough"},
    {BACKUP_HEAD "  br: {cluster: test}\n  s3: {provider: aws}\n",
     "s.yaml:6:7: field 'bucket' of s3 storage is missing"},
    {BACKUP_HEAD "  br: {cluster: test}\n  s3: {bukcet: a}\n",
     "s.yaml:6:8: unknown field 'bukcet' in s3 storage, did you mean 'bucket'?"},
    {BACKUP_HEAD "  br: {cluster: test}\n  s3: {bucket: 'a b'}\n",
     "s.yaml:6:7: 'a b' is not the name of a bucket: 3 to 63 lower-case letters, digits, '-' and "
     "'.'"},
    {BACKUP_HEAD "  br: {cluster: test}\n  azblob: {container: c, sasToken: s}\n",
     "s.yaml:6:26: 'sasToken' is a secret and must not be written into a spec; put it into the "
     "secret that 'secretName' names"},
    {BACKUP_HEAD "  br: {cluster: test}\n  gcs: {bucket: c}\n",
     "s.yaml:6:3: 'gcs' is not supported; Google Cloud Storage can be written as an 's3' block "
     "with "
     "its S3-compatible endpoint"},
    {BACKUP_HEAD "  rangeSize: 1KiB\n" GOOD, "s.yaml:5:14: 'rangeSize': 1KiB is not in 1MiB to "
                                             "1GiB"},
    {BACKUP_HEAD "  rangeSize: big\n" GOOD, NULL},
    {BACKUP_HEAD "  fastStart: yes\n" GOOD, NULL},
    {BACKUP_HEAD "  cleanPolicy: delete\n" GOOD,
     "s.yaml:5:16: 'cleanPolicy': unknown value 'delete', did you mean 'Delete'?"},
    {BACKUP_HEAD "  logStop: true\n  logSubcommand: log-stop\n" GOOD,
     "s.yaml:5:12: 'logStop' and 'logSubcommand' are both given; logStop is the older form, use "
     "logSubcommand"},
    {BACKUP_HEAD "  logTruncateUntil: soon\n" GOOD,
     "s.yaml:5:21: 'logTruncateUntil': 'soon' is no time (2026-11-21T10:00:00Z), position "
     "(0/3000148) or TSO"},
    {BACKUP_HEAD "  env: \"\\u007f\"\n" GOOD,
     "s.yaml:5:3: the spec holds text that cannot be stored: control characters, or keys of more "
     "than a line"},
    {RESTORE_HEAD "  dataDir: ''\n  br: {cluster: test}\n  backup: x\n", NULL},
    {BACKUP_HEAD "  flushInterval: 10ms\n" GOOD,
     "s.yaml:5:18: 'flushInterval': 10ms is not in 100ms to 1h"},
    {BACKUP_HEAD "  cleanGrace: 31d\n" GOOD, "s.yaml:5:15: 'cleanGrace': 31d is not in 0s to 30d"},
    {BACKUP_HEAD "  logTruncateGrace: 10ms\n" GOOD,
     "s.yaml:5:21: 'logTruncateGrace': 10ms is not in 1s to 30d"},
    {BACKUP_HEAD "  holdLimit: much\n" GOOD, NULL},
    {BACKUP_HEAD "  onHoldLimit: panic\n" GOOD,
     "s.yaml:5:16: 'onHoldLimit': unknown value 'panic' (known: alert, release)"},
    {BACKUP_HEAD "  logSource: replica\n" GOOD,
     "s.yaml:5:14: 'logSource': unknown value 'replica' (known: primary, standby)"},
    {BACKUP_HEAD "  logSubcommand: log-resume\n" GOOD, NULL},
    {RESTORE_HEAD "  backup: x\n  restoreMode: pitr\n  pitrRestoredTs: '12:00'\n",
     "s.yaml:7:19: 'pitrRestoredTs': '12:00' is no time (2026-11-21T10:00:00Z), position "
     "(0/3000148) or TSO"},
    {RESTORE_HEAD "  backup: x\n  restoreMode: pitr\n  pitrRestoredTs: 0/1\n  target: {xid: 7}\n",
     "s.yaml:7:19: 'pitrRestoredTs' and 'target' each name a point; one is wanted"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  target: {inclusive: false}\n",
     "s.yaml:7:23: 'target.inclusive' is false, but there is no time, position, xid or name to "
     "stop before"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  target: {xid: 7, lineage: abc}\n",
     "s.yaml:7:29: 'target.lineage': 'abc' is not the 32 hex digits of a lineage; the status of "
     "the log backup lists them"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  target: {time: 0/3000148}\n",
     "s.yaml:7:18: 'target.time': '0/3000148' is not a time: write it as 2026-11-21T09:54:01Z"},
    {RESTORE_HEAD "  br: {cluster: test}\n  backup: x\n  dataDir: x\n",
     "s.yaml:7:12: 'dataDir' must be an absolute path, 'x' is not"},
    {RESTORE_HEAD "  br: {cluster: test}\n  dataDir: /x\n",
     "s.yaml:5:3: neither 'backup' nor storage is given: name a Backup, or one of s3, azblob, oss, "
     "cos, local and nfs"},
    {RESTORE_HEAD "  local: {path: /x}\n  dataDir: /x\n",
     "s.yaml:5:3: br.cluster is missing: the name of the cluster, as in the agents' configuration"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  target: {time: yesterday}\n",
     "s.yaml:7:18: 'target.time': 'yesterday' is not a time: write it as 2026-11-21T09:54:01Z"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  target: {position: here}\n",
     "s.yaml:7:22: 'target.position': 'here' is no position (0/3000148)"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  target: {xid: 1, immediate: true}\n",
     "s.yaml:7:11: 'target' names 2 points; one of time, position, xid, name and immediate is "
     "wanted"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  port: 99999\n",
     "s.yaml:7:9: 'port': 99999 is not in 1 to 65535"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  port: 5433\n",
     "s.yaml:7:9: 'port' is for a restored server that is started; add 'start: true'"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  tablespaceMap: {/a: b}\n",
     "s.yaml:7:18: 'tablespaceMap' maps '/a' to 'b', which is not an absolute path"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  serverOptions: {\"a'b\": c}\n",
     "s.yaml:7:18: 'serverOptions': 'a'b' is not the name of a setting"},
    {SCHEDULE_HEAD "  backupTemplate: {br: {cluster: a}, local: {path: /x}}\n",
     "s.yaml:5:3: field 'schedule' of spec of BackupSchedule is missing"},
    {SCHEDULE_HEAD "  schedule: '61 * * * *'\n  backupTemplate: {br: {cluster: a}, local: {path: "
                   "/x}}\n",
     "s.yaml:5:13: 'schedule': cron '61 * * * *': minute: 61 is not in 0 to 59, at character 1"},
    {SCHEDULE_HEAD "  schedule: '0 1 * * *'\n  maxReservedTime: 3 weeks\n  backupTemplate: {br: "
                   "{cluster: a}, local: {path: /x}}\n",
     NULL},
    {SCHEDULE_HEAD "  schedule: '0 1 * * *'\n  backupTemplate: {br: {cluster: a}}\n",
     "s.yaml:6:19: no storage is given, in 'backupTemplate' or beside it"},
    {SCHEDULE_HEAD "  schedule: '0 1 * * *'\n  backupTemplate: {local: {path: /x}}\n",
     "s.yaml:6:19: br.cluster is missing, in 'backupTemplate' and beside it"},
    {COMPACT_HEAD "  startTs: x\n" GOOD,
     "s.yaml:5:12: 'startTs': 'x' is no time (2026-11-21T10:00:00Z), position (0/3000148) or TSO"},
};

static void mistakes(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(wrong); n++) {
        struct tm_err err = {0};
        struct resource_list list = RESOURCE_LIST_INIT;
        int r = resource_parse("s.yaml", slice_str(wrong[n].text), &list, &err);
        if (r == 0)
            fail_msg("accepted:\n%s", wrong[n].text);
        assert_int_equal(list.count, 0);
        assert_int_equal(err.code, TM_E_INVALID);
        if (wrong[n].message != NULL)
            assert_string_equal(err.msg, wrong[n].message);
        else
            assert_non_null(strstr(err.msg, "s.yaml:5:") != NULL ? err.msg
                                                                 : strstr(err.msg, "s.yaml:6:"));
    }
}

/* ---- what is understood and not carried out ---- */

static const struct {
    const char *text;
    enum tm_err_code code;
    const char *message;
} refused[] = {
    {BACKUP_HEAD "  br: {cluster: test, timeAgo: 1h}\n  local: {path: /x}\n", TM_E_INVALID,
     "s.yaml:5:23: timeAgo cannot be honoured: a physical backup is of the moment it ends, the "
     "past "
     "is not kept in the data files; restore an earlier backup to that time"},
    {BACKUP_HEAD "  br: {cluster: test, options: ['--timeago 1h']}\n  local: {path: /x}\n",
     TM_E_INVALID,
     "s.yaml:5:3: timeAgo cannot be honoured: a physical backup is of the moment it ends, the past "
     "is not kept in the data files; restore an earlier backup to that time"},
    {BACKUP_HEAD "  tableFilter: ['db.*']\n" GOOD, TM_E_INVALID,
     "s.yaml:5:3: tableFilter cannot be honoured: a physical backup copies the whole cluster; "
     "restore it elsewhere and export the tables from there"},
    {BACKUP_HEAD "  br: {cluster: test, db: shop}\n  local: {path: /x}\n", TM_E_INVALID,
     "s.yaml:5:3: databases and tables cannot be chosen: a physical backup copies the whole "
     "cluster; restore it elsewhere and export the tables from there"},
    {BACKUP_HEAD "  backupType: table\n" GOOD, TM_E_INVALID,
     "s.yaml:5:3: backupType of a backup can only be full: a physical backup copies the whole "
     "cluster; restore it elsewhere and export the tables from there"},
    {BACKUP_HEAD "  commitTs: '400036290571534337'\n" GOOD, TM_E_INVALID,
     "s.yaml:5:3: commitTs cannot be chosen: a physical backup is of the moment it ends; the "
     "status "
     "tells it afterwards"},
    {BACKUP_HEAD "  logSubcommand: log-start\n" GOOD, TM_E_INVALID,
     "s.yaml:5:3: logSubcommand belongs to a log backup; add 'backupMode: log', or leave it out"},
    {BACKUP_HEAD "  flushInterval: 1s\n" GOOD, TM_E_INVALID,
     "s.yaml:5:3: flushInterval belongs to a log backup; add 'backupMode: log', or leave it out"},
    {BACKUP_HEAD "  backupMode: log\n  backupType: table\n" GOOD, TM_E_INVALID,
     "s.yaml:6:3: backupType of a backup can only be full: a physical backup copies the whole "
     "cluster; restore it elsewhere and export the tables from there"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  pitrRestoredTs: '2026-11-21T10:00:00Z'\n",
     TM_E_INVALID,
     "s.yaml:7:3: pitrRestoredTs belongs to restoreMode pitr; add it, or leave pitrRestoredTs out "
     "to restore the moment the backup is of"},
    {RESTORE_HEAD "  backup: x\n  dataDir: /x\n  pitrFullBackupStorageProvider: {local: {path: "
                  "/f}}\n",
     TM_E_INVALID,
     "s.yaml:7:3: pitrFullBackupStorageProvider belongs to restoreMode pitr or a target; without "
     "log, give the backup's storage alone"},
    {RESTORE_HEAD "  br: {cluster: test}\n  backup: x\n", TM_E_INVALID,
     "s.yaml:4:1: dataDir is missing: a directory on the node, below a restore_root of its agent, "
     "to restore into"},
    {SCHEDULE_HEAD "  schedule: '@daily'\n  timeZone: UTC\n  backupTemplate: {}\n" GOOD,
     TM_E_UNSUPPORTED,
     "s.yaml:4:1: schedules are not run by this version; apply the backupTemplate as a Backup from "
     "a systemd timer"},
    {COMPACT_HEAD GOOD "  startTs: '2018-05-11 01:42:23'\n", TM_E_UNSUPPORTED,
     "s.yaml:4:1: log backups are not compacted by this version"},
};

static void refusals(void **state)
{
    (void)state;
    for (size_t n = 0; n < TM_ARRAY_LEN(refused); n++) {
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(refused[n].text);
        struct tm_err err = {0};
        assert_int_equal(resource_check_apply(r, &err), -(int)refused[n].code);
        assert_string_equal(err.msg, refused[n].message);
    }
}

/* ---- what is right ---- */

static void backup_defaults(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep) struct resource *r = parse_one(BACKUP_HEAD GOOD);
    struct tm_err err = {0};
    assert_int_equal(resource_check_apply(r, &err), 0);
    assert_int_equal(r->kind, RESOURCE_BACKUP);
    assert_string_equal(r->name, "x");
    assert_string_equal(r->namespace_, "default");
    assert_string_equal(r->backup.br.cluster, "test");
    assert_null(r->backup.br.tenant); /* all of the cluster's */
    assert_int_equal(r->backup.br.concurrency, 0);
    assert_int_equal(r->backup.br.rate_limit_mib, 0);
    assert_false(r->backup.br.checksum);
    assert_int_equal(r->backup.clean_policy, CLEAN_RETAIN);
    assert_int_equal(r->backup.clean_grace_us, 10 * USEC_PER_MIN);
    assert_string_equal(r->backup.compression, "zstd:3");
    assert_true(r->backup.fast_start);
    assert_null(r->backup.retry);
    assert_int_equal(r->backup.storage.kind, STORAGE_SPEC_LOCAL);
    assert_string_equal(r->backup.storage.url, "file:///x");
    assert_string_equal(r->document,
                        "{\"apiVersion\": \"tidemark/v1\", \"kind\": \"Backup\", \"metadata\": "
                        "{\"name\": \"x\", \"namespace\": \"default\"}, \"spec\": {\"br\": "
                        "{\"cluster\": \"test\"}, \"local\": {\"path\": \"/x\"}}}");
    assert_int_equal(strlen(r->document), r->document_len);
}

static void backup_everything(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep)
    struct resource *r = parse_one(
        "apiVersion: tidemark/v1\nkind: Backup\n"
        "metadata: {name: full-1, namespace: prod, labels: {team: db, app: 1}}\n"
        "spec:\n  backupType: full\n  backupMode: snapshot\n  compression: none\n"
        "  fastStart: false\n  rangeSize: 64MiB\n  cleanPolicy: OnFailure\n  cleanGrace: 0s\n"
        "  backoffRetryPolicy: {maxRetryTimes: 3}\n  alerts: {backupTimeout: 2h}\n"
        "  br:\n    cluster: c1\n    tenant: t2\n    concurrency: 4\n    rateLimit: 30\n"
        "    gcttl: 54000\n    options: [--checksum=true, --concurrency, '8', '--ratelimit 50']\n"
        "  nfs: {path: /mnt/a b/, prefix: /p//q/}\n");
    assert_string_equal(r->namespace_, "prod");
    assert_string_equal(schema_map_get(&r->labels, "team"), "db");
    assert_string_equal(r->backup.compression, "none");
    assert_false(r->backup.fast_start);
    assert_int_equal(r->backup.range_bytes, 64 * MIB);
    assert_int_equal(r->backup.clean_policy, CLEAN_ON_FAILURE);
    assert_int_equal(r->backup.clean_grace_us, 0);
    assert_int_equal(r->backup.retry->max_retry_times, 3);
    assert_int_equal(r->backup.retry->min_retry_us, 300 * USEC_PER_SEC);
    assert_int_equal(r->backup.alerts->backup_timeout_us, 2 * USEC_PER_HOUR);
    assert_string_equal(r->backup.br.tenant, "t2");
    assert_true(r->backup.br.checksum);
    assert_int_equal(r->backup.br.concurrency, 8);
    assert_int_equal(r->backup.br.rate_limit_mib, 50);
    assert_int_equal(r->backup.br.gcttl_us, 54000 * USEC_PER_SEC);
    assert_string_equal(r->backup.storage.url, "file:///mnt/a%20b/p/q");
}

static void restore_everything(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep)
    struct resource *r =
        parse_one(RESTORE_HEAD "  br: {cluster: c1, rateLimit: 5}\n  backup: full-1\n"
                               "  node: db-b\n  dataDir: /srv/r\n  walDir: /srv/w\n"
                               "  target: {immediate: true}\n  tablespaceMap: {/a: /b}\n"
                               "  start: true\n  port: 5433\n  startTimeout: 90s\n  delta: true\n"
                               "  serverOptions: {shared_buffers: 1GB, fsync: off}\n");
    struct tm_err err = {0};
    char target[RESTORE_TARGET_MAX];
    assert_int_equal(resource_check_apply(r, &err), 0);
    assert_string_equal(r->restore.backup, "full-1");
    assert_string_equal(r->restore.node, "db-b");
    assert_string_equal(r->restore.data_dir, "/srv/r");
    assert_string_equal(r->restore.wal_dir, "/srv/w");
    assert_string_equal(restore_target_text(&r->restore, target, sizeof(target)), "immediate");
    assert_string_equal(schema_map_get(&r->restore.tablespace_map, "/a"), "/b");
    assert_string_equal(schema_map_get(&r->restore.server_options, "fsync"), "off");
    assert_true(r->restore.start);
    assert_true(r->restore.delta);
    assert_int_equal(r->restore.port, 5433);
    assert_int_equal(r->restore.start_timeout_us, 90 * USEC_PER_SEC);
    assert_int_equal(r->restore.storage.kind, STORAGE_SPEC_NONE);
}

/* Templates write all fields, empty where nothing is meant. */
static void empty_is_not_given(void **state)
{
    (void)state;
    static const char *const texts[] = {
        BACKUP_HEAD "  br: {cluster: test, db: \"\", table: \"\", timeAgo: \"\", options: []}\n"
                    "  tableFilter: []\n  commitTs: \"\"\n  local: {path: /x, prefix: \"\"}\n"
                    "  logStop: false\n  logTruncateUntil: \"\"\n  logBackup: \"\"\n"
                    "  requests: {cpu: 1000m}\n  limits: {cpu: 2000m}\n",
        RESTORE_HEAD "  backup: x\n  dataDir: /x\n  pitrRestoredTs: \"\"\n"
                     "  target: {time: \"\", name: \"\", xid: \"\", lineage: \"\"}\n",
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(texts); n++) {
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(texts[n]);
        struct tm_err err = {0};
        if (resource_check_apply(r, &err) < 0)
            fail_msg("%s", err.msg);
    }
}

static void several_documents(void **state)
{
    (void)state;
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    parse("---\n" BACKUP_HEAD GOOD "---\n\n---\n" RESTORE_HEAD "  backup: x\n  dataDir: /x\n",
          &list);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0]->kind, RESOURCE_BACKUP);
    assert_int_equal(list.items[1]->kind, RESOURCE_RESTORE);
}

/* What `get -o yaml` prints of several can be applied again. */
static void a_list(void **state)
{
    (void)state;
#define ITEM(name)                                                                                 \
    "- apiVersion: tidemark/v1\n  kind: Backup\n  metadata: {name: " name                          \
    "}\n  spec: {br: {cluster: c}, local: {path: /x}}\n  status: {phase: Complete}\n"
    static const struct {
        const char *text;
        const char *want;
    } bad_lists[] = {
        {"items: []\n", "s.yaml: there is no resource in it"},
        {"items:\n" ITEM("a") ITEM("a"), "s.yaml:7:3: backup/a is there twice"},
        {"items:\n" ITEM("a") "spec: {}\n",
         "s.yaml:7:1: unknown field 'spec' in a list of resources"},
        {"items: [x]\n",
         "s.yaml:1:9: a resource must be a map with apiVersion, kind, metadata and spec, not text"},
    };
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    parse("apiVersion: v1\nkind: List\nmetadata: {}\nitems:\n" ITEM("a")
              ITEM("b") "---\n" BACKUP_HEAD GOOD,
          &list);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0]->name, "a");
    assert_string_equal(list.items[1]->name, "b");
    assert_string_equal(list.items[2]->name, "x");
    for (size_t n = 0; n < TM_ARRAY_LEN(bad_lists); n++) {
        TM_CLEANUP(resource_list_release) struct resource_list none = RESOURCE_LIST_INIT;
        struct tm_err err = {0};
        assert_int_equal(resource_parse("s.yaml", slice_str(bad_lists[n].text), &none, &err),
                         -TM_E_INVALID);
        assert_string_equal(err.msg, bad_lists[n].want);
    }
#undef ITEM
}

/* ---- canonical form ---- */

static struct resource *back_through_yaml(const struct resource *r)
{
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf yaml = BUF_INIT;
    struct tm_err err = {0};
    struct resource_status status = {.phase = RESOURCE_RUNNING};
    struct resource_meta meta = {.uid = "u1", .created_us = 1, .generation = 2, .deleting = true};
    struct resource *back = NULL;
    if (resource_json(r, &status, &meta, &json, &err) < 0 ||
        json_to_yaml(buf_slice(&json), &yaml, &err) < 0 ||
        resource_parse_document("back", buf_slice(&yaml), &back, &err) < 0)
        fail_msg("%s\n%.*s", err.msg, (int)yaml.len, (const char *)yaml.data);
    return back;
}

static void what_get_shows_is_unchanged(void **state)
{
    (void)state;
    const char *const texts[] = {
        BACKUP_HEAD GOOD,
        operator_spec,
        BACKUP_HEAD "  br: {cluster: test}\n  local: {path: \"/ü ✓ 😀 'q\\\" \\\\ #:\"}\n",
        BACKUP_HEAD "  env: [[], {}, [[1, -2, 1.5, 1.50, 007, 1e3, ~, true, 'true', \"\", '- x', "
                    "': y', 0x1F, 99999999999999999999, 2026-01-01, 'a\\n', \"a\\nb\\tc\", [{a: "
                    "[]}]]]]\n" GOOD,
        BACKUP_HEAD "  env: \"a\\u0001b\"\n" GOOD,
        RESTORE_HEAD "  backup: x\n  dataDir: /x\n  serverOptions: {fsync: off, port: '1', a.b: "
                     "null}\n",
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(texts); n++) {
        TM_CLEANUP(resource_freep) struct resource *r = parse_one(texts[n]);
        TM_CLEANUP(resource_freep) struct resource *back = back_through_yaml(r);
        assert_string_equal(back->document, r->document);
        assert_true(resource_equal(r, back));
    }
}

static void equality(void **state)
{
    (void)state;
    TM_CLEANUP(resource_freep) struct resource *a = parse_one(BACKUP_HEAD GOOD);
    TM_CLEANUP(resource_freep)
    struct resource *b = parse_one("kind: Backup # other order, explicit namespace\n"
                                   "apiVersion: tidemark/v1\n"
                                   "metadata: {namespace: default, name: x}\n"
                                   "spec: {local: {path: /x}, br: {cluster: test}}\n");
    TM_CLEANUP(resource_freep)
    struct resource *c = parse_one(BACKUP_HEAD "  br: {cluster: test}\n  local: {path: /y}\n");
    assert_true(resource_equal(a, b));
    assert_false(resource_equal(a, c));
}

static void kind_words(void **state)
{
    (void)state;
    enum resource_kind kind = RESOURCE_NONE;
    struct tm_err err = {0};
    assert_int_equal(resource_kind_parse("bk", &kind, &err), 0);
    assert_int_equal(kind, RESOURCE_BACKUP);
    assert_int_equal(resource_kind_parse("Restore", &kind, &err), 0);
    assert_int_equal(kind, RESOURCE_RESTORE);
    assert_int_equal(resource_kind_parse("cpbk", &kind, &err), 0);
    assert_int_equal(kind, RESOURCE_COMPACT_BACKUP);
    assert_string_equal(resource_kind_text(RESOURCE_BACKUP_SCHEDULE), "BackupSchedule");
    assert_string_equal(resource_kind_word(RESOURCE_BACKUP_SCHEDULE), "backupschedule");
    assert_int_equal(resource_kind_parse("bakcup", &kind, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "unknown kind 'bakcup', did you mean 'backup'?");
    assert_int_equal(resource_kind_parse("pods", &kind, &err), -TM_E_INVALID);
    assert_string_equal(
        err.msg, "unknown kind 'pods' (known: backup, restore, backupschedule, compactbackup)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(backup_defaults),
        cmocka_unit_test(backup_everything),
        cmocka_unit_test(restore_everything),
        cmocka_unit_test(empty_is_not_given),
        cmocka_unit_test(several_documents),
        cmocka_unit_test(a_list),
        cmocka_unit_test(what_get_shows_is_unchanged),
        cmocka_unit_test(equality),
        cmocka_unit_test(kind_words),
    };
    return cmocka_run_group_tests_name("proto/spec/spec", tests, NULL, NULL);
}
