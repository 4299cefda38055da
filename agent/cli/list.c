/*
 * tidemark-agent list: which backups lie in a repository, and to which moments they and the stored
 * log lead back.
 */

#include "agent/cli/internal.h"
#include "common/clock.h"

static const char help[] =
    "usage: tidemark-agent list --storage URL [--full-backup-storage URL] [--cluster C]\n"
    "                           [--tenant T] [-o json]\n"
    "\n"
    "Shows the backups in a repository, and the moments that they and the stored log lead back "
    "to.\n"
    "Needs no daemon.\n"
    "\n"
    "      --storage URL               of the repository: file:///path, s3://…, azblob://…\n"
    "      --secret-file FILE          its credentials, lines of KEY=VALUE; else the host's own\n"
    "      --full-backup-storage URL   where the backups lie, when --storage holds only the log\n"
    "      --full-backup-secret-file FILE  the credentials of that\n"
    "      --cluster C                 only this cluster\n"
    "      --tenant T                  only this tenant\n"
    "  -o, --output json               for programs\n"
    "  -h, --help                      print this and end\n"
    "\n"
    "STATE is committed, unfinished (running, or given up) or deleted. Every moment from "
    "RECOVERABLE\n"
    "FROM to TO can be restored; what a failover left behind is abandoned, and is had by naming "
    "its\n"
    "lineage. Exit status: 0 ok, 1 failed, 2 wrong usage, 3 nothing found.\n";

struct lister {
    struct storage *st;     /* of the backups */
    struct storage *log_st; /* may be the same */
    struct object_scratch *scratches[3];
    json_t *backups; /* NULL: a table is printed */
    json_t *recoverable;
    struct recoverable *moments; /* for the table's second part */
    struct repo_scope *moment_scopes;
    size_t moment_count;
    size_t shown;
};

#define MOMENTS_MAX 10000u

static int keep_moment(struct lister *l, const struct repo_scope *scope,
                       const struct recoverable *moment, struct tm_err *err)
{
    if (l->moment_count >= MOMENTS_MAX)
        return 0;
    if (l->moment_count % 64 == 0) {
        size_t cap = l->moment_count + 64;
        struct recoverable *moments = realloc(l->moments, cap * sizeof(*moments));
        if (!moments)
            return tm_err_oom(err);
        l->moments = moments;
        struct repo_scope *scopes = realloc(l->moment_scopes, cap * sizeof(*scopes));
        if (!scopes)
            return tm_err_oom(err);
        l->moment_scopes = scopes;
    }
    l->moments[l->moment_count] = *moment;
    l->moment_scopes[l->moment_count++] = *scope;
    return 0;
}

static int keep_moments(struct lister *l, const struct repo_scope *scope, struct tm_err *err)
{
    TM_CLEANUP(recoverable_list_release) struct recoverable_list list = RECOVERABLE_LIST_INIT;
    struct log_positions positions;
    int r = cli_positions(l->scratches[0], l->st, scope, &positions, err);
    if (r == 0)
        r = log_recoverable(l->scratches, l->log_st, l->st, scope, &positions, &list, err);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        r = keep_moment(l, scope, &list.items[i], err);
    return r;
}

static int add_json(struct lister *l, const struct repo_scope *scope, const char *id,
                    const char *state, const struct manifest *m, struct tm_err *err)
{
    char text[CLOCK_TEXT_MAX];
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id, "cluster", scope->cluster, "tenant",
                  scope->tenant, "incarnation", scope->incarnation, "state", state);
    if (!o)
        return tm_err_oom(err);
    if (m) {
        json_object_set_new(o, "type",
                            json_string(m->kind == BACKUP_FULL ? "full" : "incremental"));
        json_object_set_new(o, "engine", json_string(m->engine));
        json_object_set_new(o, "engineVersion", json_string(m->engine_version));
        json_object_set_new(o, "timeStarted", json_string(clock_format(m->started_us, text)));
        json_object_set_new(o, "timeCompleted", json_string(clock_format(m->completed_us, text)));
        json_object_set_new(o, "commitTs", json_string(clock_format(m->commit_us, text)));
        json_object_set_new(o, "position",
                            json_string(m->consistent_at ? m->consistent_at->text : ""));
        json_object_set_new(o, "size", json_integer((json_int_t)m->raw_bytes));
        json_object_set_new(o, "storedSize", json_integer((json_int_t)m->stored_bytes));
        json_object_set_new(o, "files", json_integer((json_int_t)m->files));
        json_object_set_new(o, "ranges", json_integer((json_int_t)m->ranges));
        json_object_set_new(o, "corruptPages", json_integer((json_int_t)m->pages_corrupt));
    }
    return json_array_append_new(l->backups, o) == 0 ? 0 : tm_err_oom(err);
}

static void print_row(struct lister *l, const struct repo_scope *scope, const char *id,
                      const char *state, const struct manifest *m)
{
    char commit[CLOCK_TEXT_MAX] = "-", size[SIZE_TEXT_MAX] = "-", stored[SIZE_TEXT_MAX] = "-";
    if (l->shown == 0)
        (void)printf("%-25s %-16s %-10s %-11s %-10s %-27s %-18s %10s %10s\n", "BACKUP", "CLUSTER",
                     "TENANT", "TYPE", "STATE", "COMMITTS", "POSITION", "SIZE", "STORED");
    if (m) {
        (void)clock_format(m->commit_us, commit);
        (void)size_format(m->raw_bytes, size);
        (void)size_format(m->stored_bytes, stored);
    }
    const char *type = m ? (m->kind == BACKUP_FULL ? "full" : "incremental") : "-";
    (void)printf("%-25s %-16s %-10s %-11s %-10s %-27s %-18s %10s %10s\n", id, scope->cluster,
                 scope->tenant, type, state, commit,
                 m && m->consistent_at ? m->consistent_at->text : "-", size, stored);
}

static int show_backup(struct lister *l, const struct repo_scope *scope,
                       const struct backup_entry *entry, struct tm_err *err)
{
    struct manifest_reader mr = MANIFEST_READER_INIT;
    const struct manifest *m = NULL;
    const char *state = backup_state_text(entry->state);
    int r = 0;
    if (entry->state == BACKUP_COMMITTED) {
        struct tm_err bad;
        if (manifest_reader_open(&mr, l->scratches[0], l->st, scope, entry->id, &bad) == 0)
            m = &mr.root;
        else
            state = "damaged"; /* `verify` says how */
    }
    if (r == 0 && l->backups)
        r = add_json(l, scope, entry->id, state, m, err);
    else if (r == 0)
        print_row(l, scope, entry->id, state, m);
    l->shown++;
    manifest_reader_release(&mr);
    return r;
}

static int show_scope(void *arg, const struct repo_scope *scope, struct tm_err *err)
{
    struct lister *l = arg;
    TM_CLEANUP(backup_list_release) struct backup_list list = BACKUP_LIST_INIT;
    int r = catalog_backups(l->st, scope, &list, err);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        r = show_backup(l, scope, &list.items[i], err);
    return r < 0 ? r : keep_moments(l, scope, err);
}

static int print_json(struct lister *l, struct tm_err *err)
{
    for (size_t i = 0; i < l->moment_count; i++) {
        const struct recoverable *m = &l->moments[i];
        char from[CLOCK_TEXT_MAX], to[CLOCK_TEXT_MAX], lineage[33];
        names_lineage_text(m->lineage, lineage);
        json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "cluster",
                              l->moment_scopes[i].cluster, "tenant", l->moment_scopes[i].tenant,
                              "backup", m->backup_id, "lineage", lineage, "lineageLabel",
                              m->lineage_label, "fromPosition", m->from_position, "toPosition",
                              m->to_position, "from", clock_format(m->from_us, from), "to",
                              clock_format(m->to_us, to), "abandoned", (int)m->abandoned);
        if (!o || json_array_append_new(l->recoverable, o) < 0)
            return tm_err_oom(err);
    }
    return cli_print_json(
        json_pack("{s:O, s:O}", "backups", l->backups, "recoverable", l->recoverable), err);
}

static void print_moments(const struct lister *l)
{
    if (l->shown == 0)
        (void)printf("no backups\n");
    if (l->moment_count == 0)
        return;
    (void)printf("\n%-16s %-10s %-27s %-27s %-32s %s\n", "CLUSTER", "TENANT", "RECOVERABLE FROM",
                 "TO", "LINEAGE", "POSITIONS");
    for (size_t i = 0; i < l->moment_count; i++) {
        const struct recoverable *m = &l->moments[i];
        char from[CLOCK_TEXT_MAX], to[CLOCK_TEXT_MAX], lineage[33];
        names_lineage_text(m->lineage, lineage);
        (void)printf("%-16s %-10s %-27s %-27s %-32s %s", l->moment_scopes[i].cluster,
                     l->moment_scopes[i].tenant, clock_format(m->from_us, from),
                     clock_format(m->to_us, to), lineage, m->from_position);
        if (strcmp(m->from_position, m->to_position) != 0)
            (void)printf(" to %s", m->to_position);
        (void)puts(m->abandoned ? " abandoned" : "");
    }
}

struct list_args {
    const char *full_url;
    const char *full_secret;
    bool json;
};

static int list(const struct cli_where *where, const struct list_args *args, struct tm_err *err)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    TM_CLEANUP(storage_freep) struct storage *full_st = NULL;
    struct lister l = {.st = NULL};
    int r = cli_open(where->url, where->secret_file, &st, err);
    if (r == 0 && args->full_url)
        r = cli_open(args->full_url, args->full_secret, &full_st, err);
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(l.scratches); i++)
        r = object_scratch_new(&l.scratches[i], err);
    l.st = full_st ? full_st : st;
    l.log_st = st;
    if (r == 0 && args->json) {
        l.backups = json_array();
        l.recoverable = json_array();
        r = l.backups && l.recoverable ? 0 : tm_err_oom(err);
    }
    if (r == 0)
        r = cli_each_scope(l.st, where->cluster, where->tenant, show_scope, &l, err);
    if (r == 0 && args->json)
        r = print_json(&l, err);
    else if (r == 0)
        print_moments(&l);
    json_decref(l.backups);
    json_decref(l.recoverable);
    free(l.moments);
    free(l.moment_scopes);
    for (size_t i = 0; i < TM_ARRAY_LEN(l.scratches); i++)
        object_scratch_free(l.scratches[i]);
    return r;
}

static int take_option(void *arg, int option)
{
    struct list_args *args = arg;
    if (option == CLI_OPT_OWN) {
        args->full_url = optarg;
        return 0;
    }
    if (option == CLI_OPT_OWN + 1) {
        args->full_secret = optarg;
        return 0;
    }
    return cli_take_output("list", &args->json);
}

int cli_list(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_OPTIONS,
        {"full-backup-storage", required_argument, NULL, CLI_OPT_OWN},
        {"full-backup-secret-file", required_argument, NULL, CLI_OPT_OWN + 1},
        {"output", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    struct list_args args = {.json = false};
    const struct cli_command command = {.subject = "list",
                                        .help = help,
                                        .letters = "+:o:h",
                                        .options = options,
                                        .take = take_option,
                                        .arg = &args};
    struct cli_where where;
    struct tm_err err;
    int status = cli_parse(&command, argc, argv, &where);
    if (status != 0)
        return TM_MAX(status, 0);
    return list(&where, &args, &err) < 0 ? cli_fail("list", &err) : 0;
}
