/*
 * Fields that belong to one of the two ways to back up: what a snapshot's spec cannot say of a log
 * backup is refused, since somebody who writes it means another thing than he would get; what has no
 * effect on a log backup is warned of.
 */
#include "proto/spec/internal.h"

static const char *const log_fields[] = {
    "logSubcommand", "logStop",   "logTruncateUntil", "logTruncateForce", "logTruncateGrace",
    "flushInterval", "holdLimit", "onHoldLimit",      "logSource",
};

static const struct {
    const char *path;
    const char *why;
} snapshot_fields[] = {
    {"br.concurrency", "has no effect on a log backup: its stream is one; ignored"},
    {"br.rateLimit", "has no effect on a log backup: it must keep up with the database; ignored"},
    {"br.checksum", "has no effect on a log backup: every chunk carries its digest; ignored"},
    {"cleanGrace", "has no effect on a log backup, which has logTruncateGrace; ignored"},
    {"fastStart", "has no effect on a log backup; ignored"},
    {"backupFrom", "has no effect on a log backup: see 'logSource'; ignored"},
    {"rangeSize", "has no effect on a log backup; ignored"},
    {"logBackup", "has no effect on a log backup; ignored"},
    {"backoffRetryPolicy", "has no effect on a log backup: it goes on by itself; ignored"},
    {"commitTs", "has no effect: log is kept from the moment the task starts; ignored"},
};

/* Written, and not as what it would be anyhow: templates write every field there is. */
static bool is_meant(const struct yaml_node *node)
{
    if (node == NULL || node->kind != YAML_KIND_SCALAR)
        return node != NULL;
    return node->text[0] != '\0' && strcmp(node->text, "false") != 0;
}

void spec_log_warn(const struct backup_spec *b, const struct yaml_node *spec,
                   struct schema_warnings *warnings)
{
    if (b->mode != BACKUP_MODE_LOG) {
        const struct yaml_node *leaned_on = yaml_get(spec, "logBackup");
        if (is_meant(leaned_on))
            schema_warn(warnings, leaned_on,
                        "field 'logBackup' has no effect: a snapshot shares the log of a running "
                        "log backup in the same storage by itself; ignored");
        return;
    }
    for (size_t n = 0; n < TM_ARRAY_LEN(snapshot_fields); n++) {
        const struct yaml_node *node = yaml_find(spec, snapshot_fields[n].path);
        const char *dot = strrchr(snapshot_fields[n].path, '.');
        if (is_meant(node))
            schema_warn(warnings, node, "field '%s' %s",
                        dot != NULL ? dot + 1 : snapshot_fields[n].path, snapshot_fields[n].why);
    }
    if (b->clean_policy != CLEAN_RETAIN)
        schema_warn(warnings, spec_node_at(spec, "cleanPolicy"),
                    "field 'cleanPolicy' has no effect on a log backup: stored log is removed by "
                    "logTruncateUntil alone; ignored");
    if (b->log_truncate_force && b->log_truncate_until == NULL)
        schema_warn(warnings, spec_node_at(spec, "logTruncateForce"),
                    "field 'logTruncateForce' has no effect without 'logTruncateUntil'; ignored");
}

void spec_log_refuse(const struct backup_spec *b, const struct yaml_node *spec,
                     struct tm_err *refusal)
{
    for (size_t n = 0; n < TM_ARRAY_LEN(log_fields) && b->mode == BACKUP_MODE_SNAPSHOT; n++) {
        const struct yaml_node *node = yaml_get(spec, log_fields[n]);
        if (is_meant(node))
            spec_refuse(refusal, TM_E_INVALID, node,
                        "%s belongs to a log backup; add 'backupMode: log', or leave it out",
                        log_fields[n]);
    }
}
