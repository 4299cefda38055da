/* The field tables of the four kinds: names, types, bounds, defaults, and what is ignored and why. */
#include "common/clock.h"
#include "proto/spec/internal.h"

#define WEEKS(n) (INT64_C(n) * 7 * USEC_PER_DAY)

static const struct schema_enum backup_types[] = {
    {"full", BACKUP_TYPE_FULL},
    {"db", BACKUP_TYPE_PART},
    {"table", BACKUP_TYPE_PART},
    {"raw", BACKUP_TYPE_OTHER},
    {"tiflash-replica", BACKUP_TYPE_OTHER},
    {NULL, 0},
};
static const struct schema_enum backup_modes[] = {
    {"snapshot", BACKUP_MODE_SNAPSHOT},
    {"log", BACKUP_MODE_LOG},
    {"volume-snapshot", BACKUP_MODE_VOLUME},
    {NULL, 0},
};
static const struct schema_enum clean_policies[] = {
    {"Retain", CLEAN_RETAIN},
    {"OnFailure", CLEAN_ON_FAILURE},
    {"Delete", CLEAN_DELETE},
    {NULL, 0},
};
static const struct schema_enum log_subcommands[] = {
    {"log-start", LOG_START},
    {"log-stop", LOG_STOP},
    {"log-pause", LOG_PAUSE},
    {NULL, 0},
};
static const struct schema_enum log_sources[] = {
    {"primary", LOG_SOURCE_PRIMARY},
    {"standby", LOG_SOURCE_STANDBY},
    {NULL, 0},
};
static const struct schema_enum hold_policies[] = {
    {"alert", HOLD_ALERT},
    {"release", HOLD_RELEASE},
    {NULL, 0},
};
static const struct schema_enum backup_sources[] = {
    {"primary", BACKUP_FROM_PRIMARY},
    {"prefer-standby", BACKUP_FROM_STANDBY},
    {"any", BACKUP_FROM_ANY},
    {NULL, 0},
};
static const struct schema_enum restore_modes[] = {
    {"snapshot", RESTORE_MODE_SNAPSHOT},
    {"pitr", RESTORE_MODE_PITR},
    {"volume-snapshot", RESTORE_MODE_VOLUME},
    {NULL, 0},
};

/* ---- Backup ---- */

static const struct schema_field retry_fields[] = {
    SCHEMA_FIELD(struct retry_policy, min_retry_us, "minRetryDuration", SCHEMA_DURATION,
                 .def = "300s"),
    SCHEMA_FIELD(struct retry_policy, max_retry_times, "maxRetryTimes", SCHEMA_INT, .def = "2",
                 .min = 0, .max = 100),
    SCHEMA_FIELD(struct retry_policy, retry_timeout_us, "retryTimeout", SCHEMA_DURATION,
                 .def = "30m", .flags = SCHEMA_WARN,
                 .warning = "has no effect in this version: maxRetryTimes alone bounds retries"),
};
static const struct schema retry_schema =
    SCHEMA("backoffRetryPolicy", struct retry_policy, retry_fields);

static const struct schema_field alerts_fields[] = {
    SCHEMA_FIELD(struct alerts_spec, backup_timeout_us, "backupTimeout", SCHEMA_DURATION),
    SCHEMA_FIELD(struct alerts_spec, log_latency_us, "logLatency", SCHEMA_DURATION),
    SCHEMA_FIELD(struct alerts_spec, failed_period_us, "failedPeriod", SCHEMA_DURATION),
};
static const struct schema alerts_schema = SCHEMA("alerts", struct alerts_spec, alerts_fields);

static const struct schema_field backup_fields[] = {
    SCHEMA_FIELD(struct backup_spec, type, "backupType", SCHEMA_ENUM, .values = backup_types,
                 .def = "full"),
    SCHEMA_FIELD(struct backup_spec, mode, "backupMode", SCHEMA_ENUM, .values = backup_modes,
                 .def = "snapshot"),
    SCHEMA_FIELD(struct backup_spec, br, "br", SCHEMA_STRUCT, .sub = &spec_br_schema),
    SPEC_STORAGE_FIELDS(struct backup_spec, storage),
    SCHEMA_FIELD(struct backup_spec, clean_policy, "cleanPolicy", SCHEMA_ENUM,
                 .values = clean_policies, .def = "Retain"),
    SCHEMA_FIELD(struct backup_spec, clean_grace_us, "cleanGrace", SCHEMA_DURATION, .def = "10m",
                 .min = 0, .max = 30 * USEC_PER_DAY),
    SCHEMA_FIELD(struct backup_spec, compression, "compression", SCHEMA_STRING, .def = "zstd:3"),
    SCHEMA_FIELD(struct backup_spec, fast_start, "fastStart", SCHEMA_BOOL, .def = "true"),
    SCHEMA_FIELD(struct backup_spec, from, "backupFrom", SCHEMA_ENUM, .values = backup_sources,
                 .def = "primary"),
    SCHEMA_FIELD(struct backup_spec, accept_incarnation, "acceptIncarnation", SCHEMA_BOOL),
    SCHEMA_FIELD(struct backup_spec, range_bytes, "rangeSize", SCHEMA_SIZE, .min = 1 << 20,
                 .max = INT64_C(1) << 30),
    SCHEMA_FIELD(struct backup_spec, log_backup, "logBackup", SCHEMA_STRING),
    SCHEMA_FIELD(struct backup_spec, table_filter, "tableFilter", SCHEMA_LIST,
                 .item = &spec_text_item, .item_size = sizeof(char *)),
    SCHEMA_FIELD(struct backup_spec, retry, "backoffRetryPolicy", SCHEMA_POINTER,
                 .sub = &retry_schema),
    SCHEMA_FIELD(struct backup_spec, alerts, "alerts", SCHEMA_POINTER, .sub = &alerts_schema,
                 .flags = SCHEMA_WARN,
                 .warning = "has no effect in this version: there are no alerts; ignored"),
    SCHEMA_FIELD(struct backup_spec, log_subcommand, "logSubcommand", SCHEMA_ENUM,
                 .values = log_subcommands),
    SCHEMA_FIELD(struct backup_spec, log_stop, "logStop", SCHEMA_BOOL),
    SCHEMA_FIELD(struct backup_spec, log_truncate_until, "logTruncateUntil", SCHEMA_STRING,
                 .max = MOMENT_TEXT_MAX - 1),
    SCHEMA_FIELD(struct backup_spec, log_truncate_force, "logTruncateForce", SCHEMA_BOOL),
    SCHEMA_FIELD(struct backup_spec, log_truncate_grace_us, "logTruncateGrace", SCHEMA_DURATION,
                 .def = "10m", .min = USEC_PER_SEC, .max = 30 * USEC_PER_DAY),
    SCHEMA_FIELD(struct backup_spec, flush_interval_us, "flushInterval", SCHEMA_DURATION,
                 .def = "5s", .min = 100 * USEC_PER_MSEC, .max = USEC_PER_HOUR),
    SCHEMA_FIELD(struct backup_spec, hold_limit, "holdLimit", SCHEMA_SIZE),
    SCHEMA_FIELD(struct backup_spec, on_hold_limit, "onHoldLimit", SCHEMA_ENUM,
                 .values = hold_policies, .def = "alert"),
    SCHEMA_FIELD(struct backup_spec, log_source, "logSource", SCHEMA_ENUM, .values = log_sources,
                 .def = "primary"),
    SCHEMA_FIELD(struct backup_spec, commit_ts, "commitTs", SCHEMA_STRING),
    SPEC_POD_FIELDS,
    SCHEMA_SKIP("from", "is how TiDB Operator reaches a TiDB server; agents have their own "
                        "conninfo; ignored"),
    SCHEMA_SKIP("dumpling", "configures a logical export, which is another kind of backup; "
                            "ignored"),
    SCHEMA_SKIP("cleanOption", "tunes how TiDB Operator deletes; ignored"),
    SCHEMA_SKIP("federalVolumeBackupPhase", SPEC_TIDB),
    SCHEMA_SKIP("resumeGcSchedule", SPEC_TIDB),
    SCHEMA_SKIP("calcSizeLevel", SPEC_TIDB),
    SCHEMA_SKIP("volumeBackupInitJobMaxActiveSeconds", SPEC_TIDB),
};
const struct schema spec_backup_schema =
    SCHEMA("spec of Backup", struct backup_spec, backup_fields);

/* ---- Restore ---- */

static const struct schema_field target_fields[] = {
    SCHEMA_FIELD(struct restore_target, time, "time", SCHEMA_STRING),
    SCHEMA_FIELD(struct restore_target, position, "position", SCHEMA_STRING),
    SCHEMA_FIELD(struct restore_target, xid, "xid", SCHEMA_STRING),
    SCHEMA_FIELD(struct restore_target, name, "name", SCHEMA_STRING, .max = 127),
    SCHEMA_FIELD(struct restore_target, immediate, "immediate", SCHEMA_BOOL),
    SCHEMA_FIELD(struct restore_target, inclusive, "inclusive", SCHEMA_BOOL, .def = "true"),
    SCHEMA_FIELD(struct restore_target, lineage, "lineage", SCHEMA_STRING),
};
static const struct schema target_schema = SCHEMA("target", struct restore_target, target_fields);

static const struct schema_field restore_fields[] = {
    SCHEMA_FIELD(struct restore_spec, type, "backupType", SCHEMA_ENUM, .values = backup_types,
                 .def = "full"),
    SCHEMA_FIELD(struct restore_spec, mode, "restoreMode", SCHEMA_ENUM, .values = restore_modes,
                 .def = "snapshot"),
    SCHEMA_FIELD(struct restore_spec, br, "br", SCHEMA_STRUCT, .sub = &spec_br_schema),
    SPEC_STORAGE_FIELDS(struct restore_spec, storage),
    SCHEMA_FIELD(struct restore_spec, full_storage, "pitrFullBackupStorageProvider", SCHEMA_STRUCT,
                 .sub = &spec_storage_only_schema),
    SCHEMA_FIELD(struct restore_spec, backup, "backup", SCHEMA_STRING),
    SCHEMA_FIELD(struct restore_spec, node, "node", SCHEMA_STRING),
    SCHEMA_FIELD(struct restore_spec, data_dir, "dataDir", SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY,
                 .max = 1023),
    SCHEMA_FIELD(struct restore_spec, wal_dir, "walDir", SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY,
                 .max = 1023),
    SCHEMA_FIELD(struct restore_spec, target, "target", SCHEMA_STRUCT, .sub = &target_schema),
    SCHEMA_FIELD(struct restore_spec, tablespace_map, "tablespaceMap", SCHEMA_MAP,
                 .max = RESTORE_MAP_MAX),
    SCHEMA_FIELD(struct restore_spec, server_options, "serverOptions", SCHEMA_MAP,
                 .max = RESTORE_MAP_MAX),
    SCHEMA_FIELD(struct restore_spec, start, "start", SCHEMA_BOOL),
    SCHEMA_FIELD(struct restore_spec, delta, "delta", SCHEMA_BOOL),
    SCHEMA_FIELD(struct restore_spec, dry_run, "dryRun", SCHEMA_BOOL),
    SCHEMA_FIELD(struct restore_spec, port, "port", SCHEMA_INT, .min = 1, .max = 65535),
    SCHEMA_FIELD(struct restore_spec, start_timeout_us, "startTimeout", SCHEMA_DURATION,
                 .def = "10m", .min = USEC_PER_SEC, .max = WEEKS(4)),
    SCHEMA_FIELD(struct restore_spec, pitr_restored_ts, "pitrRestoredTs", SCHEMA_STRING,
                 .max = MOMENT_TEXT_MAX - 1),
    SCHEMA_FIELD(struct restore_spec, table_filter, "tableFilter", SCHEMA_LIST,
                 .item = &spec_text_item, .item_size = sizeof(char *)),
    SPEC_POD_FIELDS,
    SCHEMA_SKIP("to", "is how TiDB Operator reaches a TiDB server; a restore writes into 'dataDir' "
                      "here; ignored"),
    SCHEMA_SKIP("logRestoreStartTs", "has no effect: a restore finds the log it needs; ignored"),
    SCHEMA_SKIP("prune",
                "tunes how TiDB Operator retries; a restore is retried as a whole; ignored"),
    SCHEMA_SKIP("federalVolumeRestorePhase", SPEC_TIDB),
    SCHEMA_SKIP("volumeAZ", SPEC_TIDB),
    SCHEMA_SKIP("warmup", SPEC_TIDB),
    SCHEMA_SKIP("warmupImage", SPEC_TIDB),
    SCHEMA_SKIP("warmupStrategy", SPEC_TIDB),
    SCHEMA_SKIP("tolerateSingleTiKVOutage", SPEC_TIDB),
};
const struct schema spec_restore_schema =
    SCHEMA("spec of Restore", struct restore_spec, restore_fields);

/* ---- CompactBackup ---- */

static const struct schema_field compact_fields[] = {
    SCHEMA_FIELD(struct compact_spec, br, "br", SCHEMA_STRUCT, .sub = &spec_br_schema),
    SPEC_STORAGE_FIELDS(struct compact_spec, storage),
    SCHEMA_FIELD(struct compact_spec, start_ts, "startTs", SCHEMA_STRING),
    SCHEMA_FIELD(struct compact_spec, end_ts, "endTs", SCHEMA_STRING),
    SCHEMA_FIELD(struct compact_spec, concurrency, "concurrency", SCHEMA_INT, .def = "4", .min = 1,
                 .max = 256),
    SCHEMA_FIELD(struct compact_spec, max_retry_times, "maxRetryTimes", SCHEMA_INT, .def = "6",
                 .min = 0, .max = 100),
    SPEC_POD_FIELDS,
    SCHEMA_SKIP("brImage", SPEC_POD),
    SCHEMA_SKIP("tikvImage", SPEC_POD),
};
const struct schema spec_compact_schema =
    SCHEMA("spec of CompactBackup", struct compact_spec, compact_fields);

/* ---- BackupSchedule ---- */

static const struct schema_field schedule_fields[] = {
    SCHEMA_FIELD(struct schedule_spec, schedule, "schedule", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY, .max = CRON_TEXT_MAX - 1),
    SCHEMA_FIELD(struct schedule_spec, time_zone, "timeZone", SCHEMA_STRING,
                 .max = CRON_ZONE_MAX - 1),
    SCHEMA_FIELD(struct schedule_spec, pause, "pause", SCHEMA_BOOL),
    SCHEMA_FIELD(struct schedule_spec, max_backups, "maxBackups", SCHEMA_INT, .min = 0,
                 .max = 1000000),
    SCHEMA_FIELD(struct schedule_spec, max_reserved_time_us, "maxReservedTime", SCHEMA_DURATION),
    SCHEMA_FIELD(struct schedule_spec, compact_interval_us, "compactInterval", SCHEMA_DURATION),
    SCHEMA_FIELD(struct schedule_spec, compact_interval_us, "compactSpan", SCHEMA_DURATION),
    SCHEMA_FIELD(struct schedule_spec, backup_template, "backupTemplate", SCHEMA_STRUCT,
                 .flags = SCHEMA_REQUIRED, .sub = &spec_backup_schema),
    SCHEMA_FIELD(struct schedule_spec, log_backup_template, "logBackupTemplate", SCHEMA_POINTER,
                 .sub = &spec_backup_schema),
    SCHEMA_FIELD(struct schedule_spec, compact_backup_template, "compactBackupTemplate",
                 SCHEMA_POINTER, .sub = &spec_compact_schema),
    SCHEMA_FIELD(struct schedule_spec, br, "br", SCHEMA_STRUCT, .sub = &spec_br_schema),
    SPEC_STORAGE_FIELDS(struct schedule_spec, storage),
    SCHEMA_SKIP("storageClassName", SPEC_POD),
    SCHEMA_SKIP("storageSize", SPEC_POD),
    SCHEMA_SKIP("imagePullSecrets", SPEC_POD),
};
const struct schema spec_schedule_schema =
    SCHEMA("spec of BackupSchedule", struct schedule_spec, schedule_fields);
