/*
 * tidemark-agent verify: every object of a backup is read again and judged by its digests.
 */
#include "agent/cli/internal.h"
#include "proto/repo/verify.h"

static const char help[] =
    "usage: tidemark-agent verify --storage URL [--cluster C] [--tenant T] [--backup ID]\n"
    "\n"
    "Reads every stored object of the backups again and checks all digests. Needs no daemon.\n"
    "\n"
    "      --storage URL   of the repository: file:///path, s3://…, azblob://…\n"
    "      --secret-file F  its credentials, lines of KEY=VALUE; else the host's own\n"
    "      --cluster C     only this cluster\n"
    "      --tenant T      only this tenant\n"
    "      --backup ID     only this backup\n"
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
    return r;
}

static int verify(struct verifier *v, const struct cli_where *where, struct tm_err *err)
{
    int r = cli_open(where->url, where->secret_file, &v->st, err);
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(v->scratches); i++)
        r = object_scratch_new(&v->scratches[i], err);
    if (r == 0)
        r = cli_each_scope(v->st, where->cluster, where->tenant, verify_scope, v, err);
    if (r == 0 && v->checked == 0)
        r = v->backup_id
                ? tm_err_set(err, TM_E_NOT_FOUND, "no committed backup '%s' in '%s'", v->backup_id,
                             v->st->display)
                : tm_err_set(err, TM_E_NOT_FOUND, "no committed backup in '%s'", v->st->display);
    if (r == 0 && v->bad > 0)
        r = tm_err_set(err, TM_E_CORRUPT, "%u of %u backups are damaged", v->bad, v->checked);
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
