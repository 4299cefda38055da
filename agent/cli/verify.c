/*
 * tidemark-agent verify: every object of a backup, and of the log, is read again and judged by its
 * digests.
 */
#include "agent/cli/internal.h"
#include "proto/repo/verify.h"

static const char help[] =
    "usage: tidemark-agent verify --storage URL [--cluster C] [--tenant T] [--backup ID]\n"
    "\n"
    "Reads every stored object of the backups and of the log again and checks all digests. Needs\n"
    "no daemon. Gaps in the log are told; they are no damage.\n"
    "\n"
    "      --storage URL   of the repository: file:///path, s3://…, azblob://…\n"
    "      --secret-file F  its credentials, lines of KEY=VALUE; else the host's own\n"
    "      --cluster C     only this cluster\n"
    "      --tenant T      only this tenant\n"
    "      --backup ID     only this backup, and no log\n"
    "  -v, --verbose       a line for every object\n"
    "  -h, --help          print this and end\n"
    "\n"
    "Exit status: 0 all is well, 1 something is damaged or failed, 2 wrong usage, 3 nothing "
    "found.\n";

struct verifier {
    struct storage *st;
    struct object_scratch *scratches[3];
    const char *backup_id; /* NULL = all */
    bool verbose;
    unsigned checked;
    unsigned bad;
    unsigned lineages;
    unsigned bad_lineages;
    struct log_positions positions; /* of the scope that is looked at */
};

static int say_object(void *arg, const char *name, uint64_t stored_bytes, const struct tm_err *err)
{
    const struct verifier *v = arg;
    if (err)
        (void)printf("  damaged: %s\n", err->msg);
    else if (v->verbose)
        (void)printf("  ok: %s (%llu bytes)\n", name, (unsigned long long)stored_bytes);
    return 0;
}

static void verify_one(struct verifier *v, const struct repo_scope *scope, const char *id)
{
    struct verify_totals totals = {0};
    struct tm_err err;
    char size[SIZE_TEXT_MAX];
    (void)printf("%s %s/%s\n", id, scope->cluster, scope->tenant);
    (void)fflush(stdout);
    int r = verify_backup(v->scratches, v->st, scope, id, say_object, v, &totals, &err);
    v->checked++;
    if (r < 0) {
        v->bad++;
        (void)printf("  NOT GOOD: %s\n", err.msg);
        return;
    }
    (void)printf("  good: %llu objects, %s, %llu ranges, %llu files\n",
                 (unsigned long long)totals.objects, size_format(totals.stored_bytes, size),
                 (unsigned long long)totals.ranges, (unsigned long long)totals.files);
}

/* ---- log ---- */

static void say_gap(void *arg, uint64_t from, uint64_t to)
{
    const struct verifier *v = arg;
    char from_text[FORMAT_POSITION_MAX], to_text[FORMAT_POSITION_MAX];
    v->positions.text(from, from_text);
    v->positions.text(to, to_text);
    (void)printf("  no log from %s to %s\n", from_text, to_text);
}

static void say_damage(struct verifier *v, const struct repo_scope *scope, const uint8_t id[16],
                       const char *text)
{
    char lineage[33];
    names_lineage_text(id, lineage);
    v->lineages++;
    v->bad_lineages++;
    (void)printf("log %s %s/%s\n  NOT GOOD: %s\n", lineage, scope->cluster, scope->tenant, text);
}

static int verify_one_lineage(struct verifier *v, const struct repo_scope *scope,
                              const struct log_lineage *lineage, struct tm_err *err)
{
    const struct verify_lineage_calls calls = {.object = say_object, .gap = say_gap, .arg = v};
    struct verify_log_totals totals = {0};
    char text[33], size[SIZE_TEXT_MAX];
    names_lineage_text(lineage->record.id, text);
    (void)printf("log %s %s/%s\n", text, scope->cluster, scope->tenant);
    (void)fflush(stdout);
    int r = verify_lineage(v->scratches, v->st, scope, lineage, &calls, &totals, err);
    v->lineages++;
    if (r < 0 && err->code != TM_E_CORRUPT)
        return r;
    if (r < 0 || totals.bad > 0) {
        v->bad_lineages++;
        if (r < 0)
            (void)printf("  NOT GOOD: %s\n", err->msg);
        else
            (void)printf("  NOT GOOD: %llu of %llu objects are damaged\n",
                         (unsigned long long)totals.bad, (unsigned long long)totals.objects);
        return 0;
    }
    (void)printf("  good: %llu objects, %s, %llu running digests, %llu gaps\n",
                 (unsigned long long)totals.objects, size_format(totals.stored_bytes, size),
                 (unsigned long long)totals.boundaries, (unsigned long long)totals.gaps);
    return 0;
}

static int verify_log_of(struct verifier *v, const struct repo_scope *scope, struct tm_err *err)
{
    TM_CLEANUP(log_lineages_release) struct log_lineages list = LOG_LINEAGES_INIT;
    TM_CLEANUP(log_damages_release) struct log_damages damages = LOG_DAMAGES_INIT;
    int r = cli_positions(v->scratches[0], v->st, scope, &v->positions, err);
    if (r == 0)
        r = log_lineages_look(v->scratches[0], v->st, scope, &list, &damages, err);
    for (size_t i = 0; r == 0 && i < list.count; i++)
        r = verify_one_lineage(v, scope, &list.items[i], err);
    for (size_t i = 0; r == 0 && i < damages.count; i++)
        say_damage(v, scope, damages.items[i].lineage, damages.items[i].text);
    return r;
}

static int verify_scope(void *arg, const struct repo_scope *scope, struct tm_err *err)
{
    struct verifier *v = arg;
    TM_CLEANUP(backup_list_release) struct backup_list list = BACKUP_LIST_INIT;
    int r = catalog_backups(v->st, scope, &list, err);
    for (size_t i = 0; r == 0 && i < list.count; i++) {
        const struct backup_entry *entry = &list.items[i];
        bool wanted = !v->backup_id || strcmp(v->backup_id, entry->id) == 0;
        if (wanted && entry->state == BACKUP_COMMITTED)
            verify_one(v, scope, entry->id);
    }
    return r < 0 || v->backup_id ? r : verify_log_of(v, scope, err);
}

static int verdict(const struct verifier *v, struct tm_err *err)
{
    if (v->checked == 0 && v->backup_id)
        return tm_err_set(err, TM_E_NOT_FOUND, "no committed backup '%s' in '%s'", v->backup_id,
                          v->st->display);
    if (v->checked == 0 && v->lineages == 0)
        return tm_err_set(err, TM_E_NOT_FOUND, "no committed backup and no log in '%s'",
                          v->st->display);
    if (v->bad > 0)
        return tm_err_set(err, TM_E_CORRUPT, "%u of %u backups are damaged", v->bad, v->checked);
    return v->bad_lineages == 0
               ? 0
               : tm_err_set(err, TM_E_CORRUPT, "log of %u of %u lineages is damaged",
                            v->bad_lineages, v->lineages);
}

static int verify(struct verifier *v, const struct cli_where *where, struct tm_err *err)
{
    int r = cli_open(where->url, where->secret_file, &v->st, err);
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(v->scratches); i++)
        r = object_scratch_new(&v->scratches[i], err);
    if (r == 0)
        r = cli_each_scope(v->st, where->cluster, where->tenant, verify_scope, v, err);
    if (r == 0)
        r = verdict(v, err);
    for (size_t i = 0; i < TM_ARRAY_LEN(v->scratches); i++)
        object_scratch_free(v->scratches[i]);
    storage_free(v->st);
    return r;
}

enum { OPT_BACKUP = CLI_OPT_OWN };

static int take_option(void *arg, int option)
{
    struct verifier *v = arg;
    if (option == OPT_BACKUP)
        v->backup_id = optarg;
    else
        v->verbose = true;
    return 0;
}

int cli_verify(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_OPTIONS,
        {"backup", required_argument, NULL, OPT_BACKUP},
        {"verbose", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    struct verifier v = {.st = NULL};
    const struct cli_command command = {.subject = "verify",
                                        .help = help,
                                        .letters = "+:vh",
                                        .options = options,
                                        .take = take_option,
                                        .arg = &v};
    struct cli_where where;
    struct tm_err err;
    int status = cli_parse(&command, argc, argv, &where);
    if (status != 0)
        return TM_MAX(status, 0);
    return verify(&v, &where, &err) < 0 ? cli_fail("verify", &err) : 0;
}
