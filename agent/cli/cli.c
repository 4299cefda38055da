/*
 * The sub-commands that need no daemon: finding the right one, and what they share.
 */
#include "agent/cli/cli.h"

#include <stdarg.h>

#include "agent/cli/internal.h"
#include "agent/engine/engine.h"
#include "common/parse.h"
#include "common/secret_map.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"restore", cli_restore}, {"list", cli_list},       {"search", cli_search},
    {"verify", cli_verify},   {"storage", cli_storage},
};

bool cli_knows(int argc, char *const *argv)
{
    for (size_t i = 0; argc > 1 && i < TM_ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return true;
    }
    return false;
}

int cli_main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < TM_ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return cli_usage("command", "restore, list, search, verify or storage is needed");
}

int cli_fail(const char *subject, const struct tm_err *err)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "tidemark-agent: %s: %s\n", subject, err->msg);
    /* 4 means "the daemon cannot be reached": there is none here */
    return err->code == TM_E_UNAVAILABLE ? 1 : tm_err_exit_status(err->code);
}

int cli_usage(const char *subject, const char *fmt, ...)
{
    va_list args;
    (void)fflush(stdout);
    (void)fprintf(stderr, "tidemark-agent: %s: ", subject);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fprintf(stderr, " (see --help)\n");
    return CLI_USAGE;
}

static int take_common(struct cli_where *where, int option)
{
    switch (option) {
    case CLI_OPT_STORAGE:
        where->url = optarg;
        return 1;
    case CLI_OPT_SECRET:
        where->secret_file = optarg;
        return 1;
    case CLI_OPT_CLUSTER:
        where->cluster = optarg;
        return 1;
    case CLI_OPT_TENANT:
        where->tenant = optarg;
        return 1;
    default:
        return 0;
    }
}

int cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_where *ret)
{
    const char *subject = command->subject;
    struct cli_where where = {.url = NULL};
    int option;
    while ((option = getopt_long(argc, argv, command->letters, command->options, NULL)) != -1) {
        if (option == 'h') {
            (void)fputs(command->help, stdout);
            return -1;
        }
        if (option == ':')
            return cli_usage(subject, "'%s' wants a value", argv[optind - 1]);
        if (option == '?')
            return cli_usage(subject, "'%s' is no option", argv[optind - 1]);
        if (optarg && !optarg[0]) /* a script's unset variable is not the default */
            return cli_usage(subject, "'%s' has an empty value",
                             argv[optind - 1][0] ? argv[optind - 1] : argv[optind - 2]);
        int status = take_common(&where, option) ? 0 : command->take(command->arg, option);
        if (status != 0)
            return status;
    }
    if (optind < argc)
        return cli_usage(subject, "'%s' is one word too many", argv[optind]);
    if (!where.url)
        return cli_usage(subject, "--storage is needed");
    *ret = where;
    return 0;
}

int cli_open(const char *url, const char *secret_file, struct storage **ret, struct tm_err *err)
{
    TM_CLEANUP(secret_map_release) struct secret_map secret = SECRET_MAP_INIT;
    struct storage_options options = {.secret = secret_file ? &secret : NULL};
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct repository repo;
    int r = secret_file ? secret_map_load(secret_file, &secret, err) : 0;
    if (r < 0 || (r = storage_open(url, &options, &st, err)) < 0 ||
        (r = object_scratch_new(&scratch, err)) < 0 ||
        (r = repository_read(scratch, st, &repo, err)) < 0)
        return r;
    *ret = TM_TAKE(st);
    return 0;
}

/* The names below `prefix`, or just the one that is wanted. */
static int names_below(struct storage *st, const char *prefix, const char *wanted,
                       struct name_list *ret, struct tm_err *err)
{
    struct name_list all = NAME_LIST_INIT;
    int r = catalog_children(st, prefix, &all, err);
    if (r < 0)
        return r;
    if (wanted) {
        size_t kept = 0;
        for (size_t i = 0; i < all.count; i++) {
            if (strcmp(all.items[i], wanted) == 0)
                memmove(all.items[kept++], all.items[i], sizeof(all.items[i]));
        }
        all.count = kept;
    }
    *ret = all;
    return 0;
}

static int each_incarnation(struct storage *st, const char *cluster, const char *tenant,
                            cli_scope_fn fn, void *arg, struct tm_err *err)
{
    char prefix[NAMES_CLUSTER_MAX + NAMES_TENANT_MAX + 3];
    TM_CLEANUP(name_list_release) struct name_list list = NAME_LIST_INIT;
    (void)snprintf(prefix, sizeof(prefix), "%.63s/%.63s/", cluster, tenant);
    int r = names_below(st, prefix, NULL, &list, err);
    for (size_t i = 0; r == 0 && i < list.count; i++) {
        struct repo_scope scope;
        struct tm_err ignored;
        if (names_scope_set(&scope, cluster, tenant, list.items[i], &ignored) == 0)
            r = fn(arg, &scope, err);
    }
    return r;
}

int cli_each_scope(struct storage *st, const char *cluster, const char *tenant, cli_scope_fn fn,
                   void *arg, struct tm_err *err)
{
    TM_CLEANUP(name_list_release) struct name_list clusters = NAME_LIST_INIT;
    int r = names_below(st, "", cluster, &clusters, err);
    bool known = (!cluster || clusters.count > 0) && !tenant;
    for (size_t i = 0; r == 0 && i < clusters.count; i++) {
        char prefix[NAMES_CLUSTER_MAX + 2];
        TM_CLEANUP(name_list_release) struct name_list tenants = NAME_LIST_INIT;
        (void)snprintf(prefix, sizeof(prefix), "%.63s/", clusters.items[i]);
        r = names_below(st, prefix, tenant, &tenants, err);
        known = known || tenants.count > 0;
        for (size_t t = 0; r == 0 && t < tenants.count; t++)
            r = each_incarnation(st, clusters.items[i], tenants.items[t], fn, arg, err);
    }
    return r == 0 && !known ? catalog_unknown(st, cluster, tenant, err) : r;
}

/* ---- positions ---- */

static void plain_text(uint64_t byte, char ret[FORMAT_POSITION_MAX])
{
    (void)snprintf(ret, FORMAT_POSITION_MAX, "%llu", (unsigned long long)byte);
}

static int plain_parse(const char *text, uint64_t *ret_byte, struct tm_err *err)
{
    return parse_u64(text, ret_byte, err);
}

int cli_positions(struct object_scratch *scratch, struct storage *st,
                  const struct repo_scope *scope, struct log_positions *ret, struct tm_err *err)
{
    struct log_positions positions = {.text = plain_text, .parse = plain_parse};
    struct identity identity;
    int r = identity_read(scratch, st, scope, &identity, err);
    if (r < 0 && err->code != TM_E_NOT_FOUND)
        return r;
    const struct engine_ops *engine = r == 0 ? engine_find(identity.engine) : NULL;
    if (engine != NULL && engine->position_text != NULL && engine->position_parse != NULL)
        positions =
            (struct log_positions){.text = engine->position_text, .parse = engine->position_parse};
    *ret = positions;
    return 0;
}

int cli_take_output(const char *subject, bool *ret_json)
{
    if (strcmp(optarg, "json") != 0)
        return cli_usage(subject, "output '%s' is not json", optarg);
    *ret_json = true;
    return 0;
}

int cli_print_json(json_t *root, struct tm_err *err)
{
    TM_CLEANUP(freep) char *text = NULL;
    if (root != NULL)
        text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (text == NULL)
        return tm_err_oom(err);
    (void)puts(text);
    return 0;
}
