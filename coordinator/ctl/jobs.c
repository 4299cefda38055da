/*
 * tidemark backup | restore: a spec made from options, applied, and followed to its end.
 * The spec is written as JSON, which is YAML: nothing needs quoting rules of our own.
 * Failure modes: those of apply; a job that ends Failed is status 1 and says why.
 */
#include "coordinator/ctl/command.h"
#include "proto/spec/spec.h"

/* Applies and, unless told not to, follows. Takes the spec over. */
static int apply_and_follow(struct ctl *c, const char *kind, const char *word, const char *name,
                            json_t *spec, bool wait)
{
    struct tm_err err;
    int result = spec_apply(c, kind, word, name, NULL, spec, APPLY_PLAIN, &err);
    if (result == 0 && wait)
        result = follow(
            c, &(struct follow_what){.kind = kind, .word = word, .name = name, .phase = "Complete"},
            -1, true, &err);
    if (result < 0) {
        int status = ctl_fail(c, &err);
        return err.code == TM_E_REFUSED ? 1 : status;
    }
    return 0;
}

enum backup_option {
    BACKUP_CLUSTER,
    BACKUP_TENANT,
    BACKUP_STORAGE,
    BACKUP_SECRET,
    BACKUP_COMPRESSION,
    BACKUP_CONCURRENCY,
    BACKUP_RATE,
    BACKUP_CHECKSUM,
    BACKUP_CLEAN,
    BACKUP_NO_CHECKPOINT,
    BACKUP_GCTTL,
    BACKUP_NO_WAIT,
};

static const struct option_row backup_rows[] = {
    [BACKUP_CLUSTER] = {.name = "cluster", .value = "NAME", .help = "what to back up"},
    [BACKUP_TENANT] = {.name = "tenant",
                       .value = "NAME",
                       .help = "one database of the cluster; default: all"},
    [BACKUP_STORAGE] = {.name = "storage",
                        .value = "URL",
                        .help = "where to: file:///PATH, s3://BUCKET/…"},
    [BACKUP_SECRET] = {.name = "secret", .value = "NAME", .help = "that gets into an object store"},
    [BACKUP_COMPRESSION] = {.name = "compression",
                            .value = "HOW",
                            .help = "zstd, zstd:LEVEL or none; default zstd:3"},
    [BACKUP_CONCURRENCY] = {.name = "concurrency", .value = "N", .help = "threads on a node"},
    [BACKUP_RATE] = {.name = "rate-limit", .value = "MIB", .help = "MiB/s read on a node"},
    [BACKUP_CHECKSUM] = {.name = "checksum", .help = "read back all that was stored"},
    [BACKUP_CLEAN] = {.name = "clean-policy",
                      .value = "POLICY",
                      .help = "Retain, OnFailure or Delete"},
    [BACKUP_NO_CHECKPOINT] = {.name = "no-checkpoint",
                              .help = "when it is interrupted, begin anew"},
    [BACKUP_GCTTL] = {.name = "gcttl",
                      .value = "DURATION",
                      .help = "how long an interrupted one may be resumed; default 1h"},
    [BACKUP_NO_WAIT] = {.name = "no-wait", .help = "do not follow it to its end"},
};

static int spec_no_checkpoint(json_t *br, const struct option_value *value, struct tm_err *err)
{
    if (!value->given)
        return 0;
    json_t *options = json_pack("[s]", "--no-checkpoint");
    return options == NULL || json_object_set_new(br, "options", options) < 0 ? tm_err_oom(err) : 0;
}

/* tidemark backup resume NAME */
static int run_resume(struct ctl *c, const struct command *self, const struct option_value *values,
                      const char *name)
{
    struct tm_err err;
    for (size_t at = 0; at < TM_ARRAY_LEN(backup_rows); at++) {
        if (values[at].given && at != BACKUP_NO_WAIT)
            return ctl_usage(c, self->name, "--%s belongs to the spec, which a resumed backup has",
                             backup_rows[at].name);
    }
    int result = resource_change(c, CONTROL_RETRY, "Backup", NULL, name, false, &err);
    if (result == 0 && !values[BACKUP_NO_WAIT].given)
        result = follow(c,
                        &(struct follow_what){
                            .kind = "Backup", .word = "backup", .name = name, .phase = "Complete"},
                        -1, true, &err);
    if (result == 0)
        return 0;
    int status = ctl_fail(c, &err);
    return err.code == TM_E_REFUSED ? 1 : status;
}

static int run_backup(struct ctl *c, const struct command *self, const struct option_value *values,
                      const struct option_words *words)
{
    struct tm_err err;
    if (words->count == 2 && strcmp(words->words[0], "resume") == 0)
        return run_resume(c, self, values, words->words[1]);
    if (words->count != 1)
        return ctl_usage(c, self->name, "one NAME is wanted");
    if (!values[BACKUP_CLUSTER].given || !values[BACKUP_STORAGE].given)
        return ctl_usage(c, self->name, "--cluster and --storage are wanted");
    json_t *spec = json_object();
    json_t *br = json_object();
    if (spec == NULL || br == NULL || json_object_set_new(spec, "br", br) < 0) {
        json_decref(spec);
        (void)tm_err_oom(&err);
        return ctl_fail(c, &err);
    }
    if (spec_text(br, "cluster", &values[BACKUP_CLUSTER], &err) < 0 ||
        spec_text(br, "tenant", &values[BACKUP_TENANT], &err) < 0 ||
        spec_number(br, "concurrency", &values[BACKUP_CONCURRENCY], &err) < 0 ||
        spec_number(br, "rateLimit", &values[BACKUP_RATE], &err) < 0 ||
        spec_flag(br, "checksum", &values[BACKUP_CHECKSUM], &err) < 0 ||
        spec_text(spec, "compression", &values[BACKUP_COMPRESSION], &err) < 0 ||
        spec_text(spec, "cleanPolicy", &values[BACKUP_CLEAN], &err) < 0 ||
        spec_text(br, "gcttl", &values[BACKUP_GCTTL], &err) < 0 ||
        spec_no_checkpoint(br, &values[BACKUP_NO_CHECKPOINT], &err) < 0 ||
        spec_storage(values[BACKUP_STORAGE].text, values[BACKUP_SECRET].text, spec, &err) < 0) {
        json_decref(spec);
        return ctl_usage(c, self->name, "%s", err.msg);
    }
    return apply_and_follow(c, "Backup", "backup", words->words[0], spec,
                            !values[BACKUP_NO_WAIT].given);
}

const struct command command_backup = {
    .name = "backup",
    .words = "NAME --cluster C --storage URL | resume NAME",
    .summary = "take a full backup and show its progress",
    .detail =
        "Makes a Backup resource and follows it until it is Complete or Failed. One that was\n"
        "interrupted (Failed, reason Resumable) goes on where it stopped with resume, for as long\n"
        "as its gcttl says; backoffRetryPolicy in a spec lets it do so by itself.\n\n"
        "  tidemark backup resume first\n"
        "  tidemark backup first --cluster demo1 --storage file:///srv/backup\n"
        "  tidemark backup first --cluster demo1 --storage 's3://bucket/shop?region=eu-west-1' \\\n"
        "      --secret s3-secret",
    .options = backup_rows,
    .option_count = TM_ARRAY_LEN(backup_rows),
    .run = run_backup,
};

enum restore_option {
    RESTORE_BACKUP,
    RESTORE_CLUSTER,
    RESTORE_TENANT,
    RESTORE_STORAGE,
    RESTORE_SECRET,
    RESTORE_FULL,
    RESTORE_FULL_SECRET,
    RESTORE_TO,
    RESTORE_INCLUSIVE,
    RESTORE_EXCLUSIVE,
    RESTORE_LINEAGE,
    RESTORE_DATA_DIR,
    RESTORE_WAL_DIR,
    RESTORE_NODE,
    RESTORE_MAP,
    RESTORE_SERVER,
    RESTORE_CONCURRENCY,
    RESTORE_RATE,
    RESTORE_DELTA,
    RESTORE_START,
    RESTORE_PORT,
    RESTORE_NO_WAIT,
    RESTORE_DRY_RUN,
    RESTORE_OUTPUT,
};

static const struct option_row restore_rows[] = {
    [RESTORE_BACKUP] = {.name = "backup",
                        .value = "NAME|ID",
                        .help = "default: the newest in storage"},
    [RESTORE_CLUSTER] = {.name = "cluster", .value = "NAME", .help = "that was backed up"},
    [RESTORE_TENANT] = {.name = "tenant",
                        .value = "NAME",
                        .help = "default: the backup's only one, or main"},
    [RESTORE_STORAGE] = {.name = "storage", .value = "URL", .help = "default: the backup's"},
    [RESTORE_SECRET] = {.name = "secret", .value = "NAME", .help = "that gets into --storage"},
    [RESTORE_FULL_SECRET] = {.name = "full-backup-secret",
                             .value = "NAME",
                             .help = "that gets into --full-backup-storage"},
    [RESTORE_FULL] = {.name = "full-backup-storage",
                      .value = "URL",
                      .help = "where backups lie, when not with the log"},
    [RESTORE_TO] = {.name = "to",
                    .value = "POINT",
                    .help = "a time, TSO or position; xid:N, name:TEXT, latest, immediate"},
    [RESTORE_INCLUSIVE] = {.name = "inclusive", .help = "stop behind the point (default)"},
    [RESTORE_EXCLUSIVE] = {.name = "exclusive", .help = "stop before the point"},
    [RESTORE_LINEAGE] = {.name = "lineage",
                         .value = "ID",
                         .help = "which branch of the log; default: the one that has the point"},
    [RESTORE_DATA_DIR] = {.name = "data-dir", .value = "DIR", .help = "where to, on the node"},
    [RESTORE_WAL_DIR] = {.name = "wal-dir", .value = "DIR", .help = "a place of its own for WAL"},
    [RESTORE_NODE] = {.name = "node",
                      .value = "NAME",
                      .help = "whose agent restores; default: the cluster's only one"},
    [RESTORE_MAP] = {.name = "tablespace-map",
                     .value = "OLD=NEW",
                     .help = "where a tablespace goes",
                     .repeat = true},
    [RESTORE_SERVER] = {.name = "server-option",
                        .value = "NAME=VALUE",
                        .help = "a setting of the restored server",
                        .repeat = true},
    [RESTORE_CONCURRENCY] = {.name = "concurrency", .value = "N", .help = "threads"},
    [RESTORE_RATE] = {.name = "rate-limit", .value = "MIB", .help = "MiB/s written"},
    [RESTORE_DELTA] = {.name = "delta", .help = "rewrite only what differs"},
    [RESTORE_START] = {.name = "start", .help = "start the server and wait until it answers"},
    [RESTORE_PORT] = {.name = "port", .value = "N", .help = "of the started server"},
    [RESTORE_NO_WAIT] = {.name = "no-wait", .help = "do not follow it to its end"},
    [RESTORE_DRY_RUN] = {.name = "dry-run",
                         .help = "say what would be restored, and write nothing"},
    [RESTORE_OUTPUT] = {.name = "output",
                        .letter = 'o',
                        .value = "json",
                        .help = "--dry-run: the plan for programs"},
};

/* "xid:7" → target.xid; what has no word before it is a position or a time. */
static int point_of(const char *text, json_t *spec, json_t *target, struct tm_err *err)
{
    static const char *const words[] = {"time", "position", "xid", "name"};
    const char *key = strchr(text, '/') != NULL ? "position" : "time";
    const char *value = text;
    if (strcmp(text, "immediate") == 0)
        return json_object_set_new(target, "immediate", json_true()) < 0 ? tm_err_oom(err) : 0;
    if (json_object_set_new(spec, "restoreMode", json_string("pitr")) < 0)
        return tm_err_oom(err);
    if (strcmp(text, "latest") == 0)
        return 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(words); n++) {
        size_t len = strlen(words[n]);
        if (strncmp(text, words[n], len) != 0 || text[len] != ':')
            continue;
        key = words[n];
        value = text + len + 1;
    }
    struct moment moment;
    bool is_moment = strcmp(key, "time") == 0 || strcmp(key, "position") == 0;
    if (is_moment && moment_parse(value, &moment, err) < 0)
        return -(int)err->code;
    if (json_object_set_new(target, key, json_string(value)) < 0)
        return tm_err_set(err, TM_E_INVALID, "to '%s' is not UTF-8 text", text);
    return 0;
}

static int target_of(const struct option_value *values, json_t *spec, struct tm_err *err)
{
    if (values[RESTORE_INCLUSIVE].given && values[RESTORE_EXCLUSIVE].given)
        return tm_err_set(err, TM_E_INVALID, "--inclusive and --exclusive contradict each other");
    if ((values[RESTORE_INCLUSIVE].given || values[RESTORE_EXCLUSIVE].given ||
         values[RESTORE_LINEAGE].given || values[RESTORE_FULL].given) &&
        !values[RESTORE_TO].given)
        return tm_err_set(err, TM_E_INVALID, "--to is wanted: what point is meant?");
    json_t *target = json_object();
    if (target == NULL)
        return tm_err_oom(err);
    int result =
        values[RESTORE_TO].given ? point_of(values[RESTORE_TO].text, spec, target, err) : 0;
    if (result == 0)
        result = spec_text(target, "lineage", &values[RESTORE_LINEAGE], err);
    if (result == 0 && values[RESTORE_EXCLUSIVE].given &&
        json_object_set_new(target, "inclusive", json_false()) < 0)
        result = tm_err_oom(err);
    if (result == 0 && json_object_size(target) > 0 && json_object_set(spec, "target", target) < 0)
        result = tm_err_oom(err);
    json_decref(target);
    if (result < 0 || !values[RESTORE_FULL].given)
        return result;
    json_t *full = json_object();
    if (full == NULL || json_object_set_new(spec, "pitrFullBackupStorageProvider", full) < 0)
        return tm_err_oom(err);
    return spec_storage(values[RESTORE_FULL].text, values[RESTORE_FULL_SECRET].text, full, err);
}

static int restore_spec_of(const struct option_value *values, json_t *spec, struct tm_err *err)
{
    json_t *br = json_object();
    if (br == NULL || json_object_set_new(spec, "br", br) < 0)
        return tm_err_oom(err);
    int result;
    if ((result = spec_text(br, "cluster", &values[RESTORE_CLUSTER], err)) < 0 ||
        (result = spec_text(br, "tenant", &values[RESTORE_TENANT], err)) < 0 ||
        (result = spec_number(br, "concurrency", &values[RESTORE_CONCURRENCY], err)) < 0 ||
        (result = spec_number(br, "rateLimit", &values[RESTORE_RATE], err)) < 0 ||
        (result = spec_text(spec, "backup", &values[RESTORE_BACKUP], err)) < 0 ||
        (result = spec_text(spec, "dataDir", &values[RESTORE_DATA_DIR], err)) < 0 ||
        (result = spec_text(spec, "walDir", &values[RESTORE_WAL_DIR], err)) < 0 ||
        (result = spec_text(spec, "node", &values[RESTORE_NODE], err)) < 0 ||
        (result = spec_pairs(spec, "tablespaceMap", &values[RESTORE_MAP], err)) < 0 ||
        (result = spec_pairs(spec, "serverOptions", &values[RESTORE_SERVER], err)) < 0 ||
        (result = spec_flag(spec, "delta", &values[RESTORE_DELTA], err)) < 0 ||
        (result = spec_flag(spec, "start", &values[RESTORE_START], err)) < 0 ||
        (result = spec_number(spec, "port", &values[RESTORE_PORT], err)) < 0 ||
        (result = target_of(values, spec, err)) < 0)
        return result;
    if (json_object_size(br) == 0)
        (void)json_object_del(spec, "br");
    return values[RESTORE_STORAGE].given
               ? spec_storage(values[RESTORE_STORAGE].text, values[RESTORE_SECRET].text, spec, err)
               : 0;
}

static int run_restore(struct ctl *c, const struct command *self, const struct option_value *values,
                       const struct option_words *words)
{
    struct tm_err err;
    if (words->count != 1)
        return ctl_usage(c, self->name, "one NAME is wanted");
    if (!values[RESTORE_DATA_DIR].given)
        return ctl_usage(c, self->name, "--data-dir is wanted");
    if (!values[RESTORE_BACKUP].given && !values[RESTORE_STORAGE].given)
        return ctl_usage(c, self->name, "--backup or --storage is wanted");
    bool json = values[RESTORE_OUTPUT].given;
    if (json && strcmp(values[RESTORE_OUTPUT].text, "json") != 0)
        return ctl_usage(c, self->name, "output '%s' is not known; there is json",
                         values[RESTORE_OUTPUT].text);
    if (json && !values[RESTORE_DRY_RUN].given)
        return ctl_usage(c, self->name, "--output is for --dry-run");
    json_t *spec = json_object();
    if (spec == NULL) {
        (void)tm_err_oom(&err);
        return ctl_fail(c, &err);
    }
    if (restore_spec_of(values, spec, &err) < 0) {
        json_decref(spec);
        return ctl_usage(c, self->name, "%s", err.msg);
    }
    if (values[RESTORE_DRY_RUN].given)
        return restore_dry_run(c, words->words[0], spec, values[RESTORE_DATA_DIR].text, json,
                               &err) < 0
                   ? ctl_fail(c, &err)
                   : 0;
    return apply_and_follow(c, "Restore", "restore", words->words[0], spec,
                            !values[RESTORE_NO_WAIT].given);
}

const struct command command_restore = {
    .name = "restore",
    .words = "NAME --backup B --data-dir DIR",
    .summary = "restore a backup on a node and show its progress",
    .detail =
        "Makes a Restore resource and follows it until it is Complete or Failed. The agent\n"
        "writes only below its restore_roots and never over a live database.\n\n"
        "  tidemark restore try --backup first --data-dir /srv/restore/try --start --port 5433\n\n"
        "With --to, log behind the backup is replayed up to that point; --backup may then name a\n"
        "log backup, or be left out with --storage: the newest backup before the point is "
        "taken.\n\n"
        "  tidemark restore r --backup wal --to 2026-11-21T10:00:00Z --data-dir /srv/restore/r\n\n"
        "With --dry-run the node's agent only plans: which backup, how much log, how many bytes, "
        "about\n"
        "how long. What would refuse the restore is said; nothing is written, no resource stays.",
    .options = restore_rows,
    .option_count = TM_ARRAY_LEN(restore_rows),
    .run = run_restore,
};
