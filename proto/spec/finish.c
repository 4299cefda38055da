/*
 * What the tables cannot say: names, paths and times, fields that need each other, and what is
 * understood but not carried out.
 *
 * Mistakes are errors. Wishes that this version, or any physical backup, cannot fulfil go into
 * *refusal with the reason and what to do instead, so that a file can be read, shown and checked
 * before it is refused at apply.
 */
#include <stdarg.h>

#include "common/clock.h"
#include "common/parse.h"
#include "proto/spec/internal.h"

void spec_refuse(struct tm_err *refusal, enum tm_err_code code, const struct yaml_node *node,
                 const char *fmt, ...)
{
    if (refusal->code != TM_E_OK)
        return;
    char text[TM_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)yaml_key_error(node, refusal, "%s", text);
    refusal->code = code;
}

/* Generated specs carry empty strings for what is not meant. */
static void drop_empty(char **text)
{
    if (*text == NULL || (*text)[0] != '\0')
        return;
    free(*text);
    *text = NULL;
}

const struct yaml_node *spec_node_at(const struct yaml_node *spec, const char *path)
{
    char nearer[128];
    (void)snprintf(nearer, sizeof(nearer), "%s", path);
    for (;;) {
        const struct yaml_node *node = yaml_find(spec, nearer);
        char *dot = strrchr(nearer, '.');
        if (node != NULL || dot == NULL)
            return node != NULL ? node : spec;
        *dot = '\0';
    }
}

int spec_check_name(const struct yaml_node *spec, const char *path, const char *text,
                    struct tm_err *err)
{
    struct tm_err why;
    if (text == NULL || resource_name_check(path, text, &why) == 0)
        return 0;
    return yaml_error(spec_node_at(spec, path), err, "%s", why.msg);
}

/* Clusters, tenants and nodes are named in configuration files, under a wider rule. */
static int check_place(const struct yaml_node *spec, const char *path, const char *text,
                       struct tm_err *err)
{
    if (text == NULL)
        return 0;
    size_t len = strlen(text);
    if (len > 0 && len <= RESOURCE_NAME_MAX && text[0] != '.' &&
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len)
        return 0;
    return yaml_error(spec_node_at(spec, path), err,
                      "%s '%.64s' is no name: use up to %d letters, digits, '-', '_' and '.'", path,
                      text, RESOURCE_NAME_MAX);
}

int spec_check_path(const struct yaml_node *spec, const char *path, const char *text,
                    struct tm_err *err)
{
    if (text == NULL)
        return 0;
    const struct yaml_node *node = spec_node_at(spec, path);
    if (text[0] != '/')
        return yaml_error(node, err, "'%s' must be an absolute path, '%s' is not", path, text);
    for (const char *at = text; *at != '\0';) {
        at += *at == '/';
        size_t len = strcspn(at, "/");
        if ((len == 1 && at[0] == '.') || (len == 2 && memcmp(at, "..", 2) == 0))
            return yaml_error(node, err, "'%s' must not contain '%.*s' as a component", path,
                              (int)len, at);
        at += len;
    }
    return 0;
}

int spec_check_moment(const struct yaml_node *spec, const char *path, const char *text,
                      bool position_too, struct tm_err *err)
{
    struct moment moment;
    struct tm_err why;
    if (text == NULL)
        return 0;
    if (moment_parse(text, &moment, &why) == 0 && (position_too || !moment.is_position))
        return 0;
    return yaml_error(spec_node_at(spec, path), err,
                      "'%s': '%s' is no time (2026-11-21T10:00:00Z)%s or TSO", path, text,
                      position_too ? ", position (0/3000148)" : "");
}

/* ---- br ---- */

static int finish_br(struct br_spec *br, const struct spec_br_reach *reach,
                     const struct yaml_node *spec, bool cluster_required,
                     struct schema_warnings *warnings, struct tm_err *err)
{
    const struct yaml_node *gcttl = yaml_find(spec, "br.gcttl");
    const struct yaml_node *tikv = yaml_find(spec, "br.sendCredToTikv");
    const struct yaml_node *agents = yaml_find(spec, "br.sendCredToAgents");
    if (tikv != NULL && agents != NULL && strcmp(tikv->text, agents->text) != 0)
        return yaml_error(agents, err,
                          "'sendCredToAgents' and 'sendCredToTikv' are one wish under two names, "
                          "and say different things");
    drop_empty(&br->time_ago);
    drop_empty(&br->database);
    drop_empty(&br->table);
    if (gcttl != NULL && !reach->holds)
        schema_warn(warnings, gcttl, "field 'gcttl' " SPEC_NO_HOLD);
    int r = spec_br_options(br, reach, yaml_find(spec, "br.options"), warnings, err);
    for (size_t n = 0; r == 0 && n < TM_ARRAY_LEN(reach->stores); n++)
        r = spec_storage_check(reach->stores[n], spec, err);
    if (r < 0)
        return r;
    if (cluster_required && br->cluster == NULL)
        return yaml_error(spec_node_at(spec, "br"), err,
                          "br.cluster is missing: the name of the cluster, as in the agents' "
                          "configuration");
    r = check_place(spec, "br.cluster", br->cluster, err);
    return r < 0 ? r : check_place(spec, "br.tenant", br->tenant, err);
}

static void refuse_parts(const struct br_spec *br, const struct schema_list *table_filter, int type,
                         const char *what, const struct yaml_node *spec, struct tm_err *refusal)
{
    static const char why[] =
        "a physical backup copies the whole cluster; restore it elsewhere and "
        "export the tables from there";
    if (table_filter->count > 0)
        spec_refuse(refusal, TM_E_INVALID, spec_node_at(spec, "tableFilter"),
                    "tableFilter cannot be honoured: %s", why);
    if (br->database != NULL || br->table != NULL)
        spec_refuse(refusal, TM_E_INVALID, spec_node_at(spec, "br"),
                    "databases and tables cannot be chosen: %s", why);
    if (type == BACKUP_TYPE_PART)
        spec_refuse(refusal, TM_E_INVALID, spec_node_at(spec, "backupType"),
                    "backupType of a %s can only be full: %s", what, why);
    if (type == BACKUP_TYPE_OTHER)
        spec_refuse(refusal, TM_E_INVALID, spec_node_at(spec, "backupType"),
                    "backupType of a %s can only be full: the others exist for TiKV alone", what);
}

/* ---- Backup ---- */

static int check_compression(const struct yaml_node *spec, const char *text, struct tm_err *err)
{
    uint64_t level;
    struct tm_err why;
    if (strcmp(text, "none") == 0 || strcmp(text, "zstd") == 0)
        return 0;
    if (strncmp(text, "zstd:", 5) == 0 && parse_u64_in(text + 5, 1, 19, &level, &why) == 0)
        return 0;
    return yaml_error(spec_node_at(spec, "compression"), err,
                      "'compression': '%s' is not known: zstd, zstd:1 to zstd:19, or none", text);
}

static void refuse_backup(const struct backup_spec *b, const struct yaml_node *spec,
                          struct tm_err *refusal)
{
    if (b->mode == BACKUP_MODE_VOLUME)
        spec_refuse(refusal, TM_E_UNSUPPORTED, spec_node_at(spec, "backupMode"),
                    "volume snapshots are not taken; use backupMode snapshot");
    spec_log_refuse(b, spec, refusal);
    refuse_parts(&b->br, &b->table_filter, b->type, "backup", spec, refusal);
    if (b->br.time_ago != NULL)
        spec_refuse(refusal, TM_E_INVALID, spec_node_at(spec, "br.timeAgo"),
                    "timeAgo cannot be honoured: a physical backup is of the moment it ends, the "
                    "past is not kept in the data files; restore an earlier backup to that time");
    if (b->mode == BACKUP_MODE_SNAPSHOT && b->commit_ts != NULL)
        spec_refuse(refusal, TM_E_INVALID, spec_node_at(spec, "commitTs"),
                    "commitTs cannot be chosen: a physical backup is of the moment it ends; the "
                    "status tells it afterwards");
}

/* A template of a schedule may leave cluster and storage to the schedule. */
static int finish_backup(struct backup_spec *b, const struct yaml_node *spec, bool is_template,
                         struct schema_warnings *warnings, struct tm_err *err)
{
    drop_empty(&b->log_backup);
    drop_empty(&b->log_truncate_until);
    drop_empty(&b->commit_ts);
    const struct spec_br_reach reach = {
        .compression = &b->compression, .stores = {&b->storage}, .holds = true};
    int r = finish_br(&b->br, &reach, spec, !is_template, warnings, err);
    if (r == 0)
        spec_log_warn(b, spec, warnings);
    if (r == 0)
        r = check_compression(spec, b->compression, err);
    if (r == 0)
        r = spec_check_name(spec, "logBackup", b->log_backup, err);
    if (r == 0)
        r = spec_check_moment(spec, "logTruncateUntil", b->log_truncate_until, true, err);
    if (r == 0)
        r = spec_check_moment(spec, "commitTs", b->commit_ts, true, err);
    if (r < 0)
        return r;
    if (b->log_stop && b->log_subcommand != LOG_SUBCOMMAND_NONE)
        return yaml_error(
            spec_node_at(spec, "logStop"), err,
            "'logStop' and 'logSubcommand' are both given; logStop is the older form, "
            "use logSubcommand");
    if (!is_template && b->storage.kind == STORAGE_SPEC_NONE)
        return yaml_error(
            spec, err, "no storage is given: exactly one of s3, azblob, oss, cos, local and nfs");
    return 0;
}

int spec_backup_finish(struct backup_spec *b, const struct yaml_node *spec,
                       struct schema_warnings *warnings, struct tm_err *refusal, struct tm_err *err)
{
    int r = finish_backup(b, spec, false, warnings, err);
    if (r == 0)
        refuse_backup(b, spec, refusal);
    return r;
}

/* ---- Restore ---- */

static int check_point(const struct restore_target *t, const struct yaml_node *spec,
                       struct tm_err *err)
{
    struct moment moment;
    int64_t us;
    uint64_t xid;
    struct tm_err why;
    if (t->time != NULL && (moment_parse(t->time, &moment, &why) < 0 || moment.is_position) &&
        clock_parse(t->time, &us, &why) < 0)
        return yaml_error(spec_node_at(spec, "target.time"), err, "'target.time': %s", why.msg);
    if (t->position != NULL &&
        (moment_parse(t->position, &moment, &why) < 0 || !moment.is_position))
        return yaml_error(spec_node_at(spec, "target.position"), err,
                          "'target.position': '%s' is no position (0/3000148)", t->position);
    if (t->xid != NULL && parse_u64(t->xid, &xid, &why) < 0)
        return yaml_error(spec_node_at(spec, "target.xid"), err, "'target.xid': %s", why.msg);
    if (t->lineage != NULL &&
        (strlen(t->lineage) != 32 || strspn(t->lineage, "0123456789abcdef") != 32))
        return yaml_error(spec_node_at(spec, "target.lineage"), err,
                          "'target.lineage': '%s' is not the 32 hex digits of a lineage; the "
                          "status of the log backup lists them",
                          t->lineage);
    return 0;
}

static int points_of(const struct restore_target *t)
{
    return (t->time != NULL) + (t->position != NULL) + (t->xid != NULL) + (t->name != NULL) +
           t->immediate;
}

static int check_target(const struct restore_spec *r, const struct yaml_node *spec,
                        struct tm_err *err)
{
    const struct restore_target *t = &r->target;
    int given = points_of(t);
    if (given > 1)
        return yaml_error(
            spec_node_at(spec, "target"), err,
            "'target' names %d points; one of time, position, xid, name and immediate "
            "is wanted",
            given);
    if (given > 0 && r->pitr_restored_ts != NULL)
        return yaml_error(spec_node_at(spec, "pitrRestoredTs"), err,
                          "'pitrRestoredTs' and 'target' each name a point; one is wanted");
    bool to_point = (given > 0 && !t->immediate) || r->pitr_restored_ts != NULL;
    if (!t->inclusive && !to_point)
        return yaml_error(spec_node_at(spec, "target.inclusive"), err,
                          "'target.inclusive' is false, but there is no time, position, xid or "
                          "name to stop before");
    return check_point(t, spec, err);
}

static int check_tablespaces(const struct restore_spec *r, const struct yaml_node *spec,
                             struct tm_err *err)
{
    for (size_t n = 0; n < r->tablespace_map.count; n++) {
        const struct schema_map_entry *entry = &r->tablespace_map.entries[n];
        if (entry->value[0] != '/')
            return yaml_error(spec_node_at(spec, "tablespaceMap"), err,
                              "'tablespaceMap' maps '%s' to '%s', which is not an absolute path",
                              entry->key, entry->value);
    }
    for (size_t n = 0; n < r->server_options.count; n++)
        if (r->server_options.entries[n].key[strspn(r->server_options.entries[n].key,
                                                    "abcdefghijklmnopqrstuvwxyz"
                                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")] !=
            '\0')
            return yaml_error(spec_node_at(spec, "serverOptions"), err,
                              "'serverOptions': '%s' is not the name of a setting",
                              r->server_options.entries[n].key);
    return 0;
}

static int check_restore(struct restore_spec *r, const struct yaml_node *spec, struct tm_err *err)
{
    int result = check_place(spec, "node", r->node, err);
    if (result == 0)
        result = spec_check_path(spec, "dataDir", r->data_dir, err);
    if (result == 0)
        result = spec_check_path(spec, "walDir", r->wal_dir, err);
    if (result == 0)
        result = check_target(r, spec, err);
    if (result == 0)
        result = check_tablespaces(r, spec, err);
    if (result == 0)
        result = spec_check_moment(spec, "pitrRestoredTs", r->pitr_restored_ts, true, err);
    if (result < 0)
        return result;
    if (r->storage.kind == STORAGE_SPEC_NONE && r->backup == NULL)
        return yaml_error(spec, err,
                          "neither 'backup' nor storage is given: name a Backup, or one of s3, "
                          "azblob, oss, cos, local and nfs");
    if (r->port != 0 && !r->start)
        return yaml_error(spec_node_at(spec, "port"), err,
                          "'port' is for a restored server that is started; add 'start: true'");
    return 0;
}

static void refuse_restore(const struct restore_spec *r, const struct yaml_node *spec,
                           struct tm_err *refusal)
{
    bool beyond = points_of(&r->target) > 0 && !r->target.immediate;
    if (r->mode == RESTORE_MODE_VOLUME)
        spec_refuse(refusal, TM_E_UNSUPPORTED, spec_node_at(spec, "restoreMode"),
                    "volume snapshots are not restored; use restoreMode snapshot");
    if (r->mode != RESTORE_MODE_PITR && r->pitr_restored_ts != NULL)
        spec_refuse(refusal, TM_E_INVALID, spec_node_at(spec, "pitrRestoredTs"),
                    "pitrRestoredTs belongs to restoreMode pitr; add it, or leave pitrRestoredTs "
                    "out to restore the moment the backup is of");
    if (r->mode != RESTORE_MODE_PITR && !beyond && r->full_storage.kind != STORAGE_SPEC_NONE)
        spec_refuse(
            refusal, TM_E_INVALID, spec_node_at(spec, "pitrFullBackupStorageProvider"),
            "pitrFullBackupStorageProvider belongs to restoreMode pitr or a target; without "
            "log, give the backup's storage alone");
    refuse_parts(&r->br, &r->table_filter, r->type, "restore", spec, refusal);
    if (r->data_dir == NULL)
        spec_refuse(refusal, TM_E_INVALID, spec,
                    "dataDir is missing: a directory on the node, below a restore_root of its "
                    "agent, to restore into");
}

int spec_restore_finish(struct restore_spec *r, const struct yaml_node *spec,
                        struct schema_warnings *warnings, struct tm_err *refusal,
                        struct tm_err *err)
{
    char **const optional[] = {&r->pitr_restored_ts, &r->target.time, &r->target.position,
                               &r->target.xid,       &r->target.name, &r->target.lineage};
    for (size_t n = 0; n < TM_ARRAY_LEN(optional); n++)
        drop_empty(optional[n]);
    const struct spec_br_reach reach = {.stores = {&r->storage, &r->full_storage}};
    int result = finish_br(&r->br, &reach, spec, r->backup == NULL, warnings, err);
    if (result == 0)
        result = check_restore(r, spec, err);
    if (result == 0)
        refuse_restore(r, spec, refusal);
    return result;
}

/* ---- CompactBackup, BackupSchedule ---- */

static int finish_compact(struct compact_spec *c, const struct yaml_node *spec, bool is_template,
                          struct schema_warnings *warnings, struct tm_err *err)
{
    const struct spec_br_reach reach = {.stores = {&c->storage}};
    int r = finish_br(&c->br, &reach, spec, !is_template, warnings, err);
    if (r == 0)
        r = spec_check_moment(spec, "startTs", c->start_ts, true, err);
    if (r == 0)
        r = spec_check_moment(spec, "endTs", c->end_ts, true, err);
    if (r == 0 && !is_template && c->storage.kind == STORAGE_SPEC_NONE)
        r = yaml_error(spec, err,
                       "no storage is given: exactly one of s3, azblob, oss, cos, local and nfs");
    return r;
}

int spec_compact_finish(struct compact_spec *c, const struct yaml_node *spec,
                        struct schema_warnings *warnings, struct tm_err *refusal,
                        struct tm_err *err)
{
    int r = finish_compact(c, spec, false, warnings, err);
    if (r == 0)
        spec_refuse(refusal, TM_E_UNSUPPORTED, spec,
                    "log backups are not compacted by this version");
    return r;
}

/* Cluster and storage must come from the template or from the schedule around it. */
static int check_template(const struct schedule_spec *s, const struct br_spec *br,
                          const struct storage_spec *storage, const struct yaml_node *node,
                          struct tm_err *err)
{
    if (br->cluster == NULL && s->br.cluster == NULL)
        return yaml_error(node, err, "br.cluster is missing, in '%s' and beside it", node->key);
    if (storage->kind == STORAGE_SPEC_NONE && s->storage.kind == STORAGE_SPEC_NONE)
        return yaml_error(node, err, "no storage is given, in '%s' or beside it", node->key);
    return 0;
}

static int finish_templates(struct schedule_spec *s, const struct yaml_node *spec,
                            struct schema_warnings *warnings, struct tm_err *err)
{
    const struct yaml_node *node = yaml_get(spec, "backupTemplate");
    int r = finish_backup(&s->backup_template, node, true, warnings, err);
    if (r == 0)
        r = check_template(s, &s->backup_template.br, &s->backup_template.storage, node, err);
    if (r == 0 && s->log_backup_template != NULL) {
        node = yaml_get(spec, "logBackupTemplate");
        r = finish_backup(s->log_backup_template, node, true, warnings, err);
        if (r == 0)
            r = check_template(s, &s->log_backup_template->br, &s->log_backup_template->storage,
                               node, err);
    }
    if (r == 0 && s->compact_backup_template != NULL) {
        node = yaml_get(spec, "compactBackupTemplate");
        r = finish_compact(s->compact_backup_template, node, true, warnings, err);
        if (r == 0)
            r = check_template(s, &s->compact_backup_template->br,
                               &s->compact_backup_template->storage, node, err);
    }
    return r;
}

int spec_schedule_finish(struct schedule_spec *s, const struct yaml_node *spec,
                         struct schema_warnings *warnings, struct tm_err *refusal,
                         struct tm_err *err)
{
    struct tm_err why;
    if (cron_parse(s->schedule, s->time_zone, &s->cron, &why) < 0)
        return yaml_error(spec_node_at(spec, "schedule"), err, "'schedule': %s", why.msg);
    const struct spec_br_reach reach = {.stores = {&s->storage}};
    int r = finish_br(&s->br, &reach, spec, false, warnings, err);
    if (r == 0)
        r = finish_templates(s, spec, warnings, err);
    if (r == 0)
        spec_refuse(refusal, TM_E_UNSUPPORTED, spec,
                    "schedules are not run by this version; apply the backupTemplate as a Backup "
                    "from a systemd timer");
    return r;
}
